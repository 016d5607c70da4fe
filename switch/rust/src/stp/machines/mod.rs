//! The state machines of RSTP (802.1D-2004 17.23 to 17.31), run until none has anything to do.
//!
//! Each function is one machine at one port: it makes the transitions whose conditions hold, and says
//! whether there were any. A machine with one resting state is its conditions alone. Conditions and
//! actions are in the order of the standard's figures, so that the two can be read side by side; where
//! 802.1Q-2011 mended 802.1D-2004 (`disputed`), we do as it says.

mod information;
mod roles;
mod topology;
mod transmit;

use super::port::{MIGRATE, Migration, Port};
use super::{Bridge, Output, PortState, Version};
use crate::PortId;

/// BPDUs in a row before a port waits for the next second (17.13.12).
const TX_HOLD: u16 = 6;
/// More rounds than any number of events can need; a mistake here shall not hang a switch.
const ROUNDS: usize = 10_000;

const fn seconds(ticks: u16) -> u16 {
    ticks / 256
}

impl Bridge {
    /// Make all transitions that can be made.
    pub(super) fn run(&mut self) {
        let ids: Vec<PortId> = self.ports.keys().copied().collect();
        for _ in 0..ROUNDS {
            let mut moved = self.select_roles();
            for &id in &ids {
                moved |= self.migration(id);
                moved |= self.edge_detection(id);
                moved |= self.information(id);
                moved |= self.role_transitions(id);
                moved |= self.state_transition(id);
                moved |= self.topology_change(id);
            }
            if !moved {
                break;
            }
        }
        for id in ids {
            self.transmit(id);
        }
    }

    fn rstp(&self) -> bool {
        self.setup.version == Version::Rstp
    }

    /// 17.20.5 and 17.20.6.
    fn forward_delay(&self, port: &Port) -> u16 {
        if port.send_rstp { self.setup.hello } else { seconds(self.root_times.forward_delay) }
    }

    // -- port protocol migration, 17.24 ----------------------------------------------------------

    fn migration(&mut self, id: PortId) -> bool {
        let rstp = self.rstp();
        let Some(port) = self.ports.get_mut(&id) else { return false };
        let before = port.migration;
        match port.migration {
            Migration::Checking => {
                if port.mdelay_while == 0 {
                    port.migration = Migration::Sensing;
                    port.rcvd_rstp = false;
                    port.rcvd_stp = false;
                } else if port.mdelay_while != MIGRATE && !port.enabled {
                    port.mdelay_while = MIGRATE;
                    port.send_rstp = rstp;
                    return true;
                }
            }
            Migration::Sensing => {
                if !port.enabled || rstp && !port.send_rstp && port.rcvd_rstp {
                    port.migration = Migration::Checking;
                    port.send_rstp = rstp;
                    port.mdelay_while = MIGRATE;
                } else if port.send_rstp && port.rcvd_stp {
                    port.migration = Migration::SelectingStp;
                    port.send_rstp = false;
                    port.mdelay_while = MIGRATE;
                }
            }
            Migration::SelectingStp => {
                if port.mdelay_while == 0 || !port.enabled {
                    port.migration = Migration::Sensing;
                    port.rcvd_rstp = false;
                    port.rcvd_stp = false;
                }
            }
        }
        port.migration != before
    }

    // -- bridge detection, 17.25 -----------------------------------------------------------------

    fn edge_detection(&mut self, id: PortId) -> bool {
        let Some(port) = self.ports.get_mut(&id) else { return false };
        let edge = if port.enabled {
            port.oper_edge
                || port.edge_delay_while == 0 && port.setup.auto_edge && port.send_rstp && port.proposing
        } else {
            port.edge_delay_while = MIGRATE;
            port.setup.edge
        };
        std::mem::replace(&mut port.oper_edge, edge) != edge
    }

    // -- port state transition, 17.30 ------------------------------------------------------------

    fn state_transition(&mut self, id: PortId) -> bool {
        let Some(port) = self.ports.get_mut(&id) else { return false };
        let (learning, forwarding) = (port.learn, port.learn && port.forward);
        if (port.learning, port.forwarding) == (learning, forwarding) {
            return false;
        }
        port.learning = learning;
        port.forwarding = forwarding;
        let state = match (learning, forwarding) {
            (_, true) => PortState::Forwarding,
            (true, false) => PortState::Learning,
            (false, false) => PortState::Discarding,
        };
        self.out.push_back(Output::State(id, state));
        true
    }
}

/// The address in a bridge identifier: bridges are told apart by it alone.
const MAC: u64 = 0xffff_ffff_ffff;
