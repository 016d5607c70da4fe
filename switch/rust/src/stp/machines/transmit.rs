//! Port Transmit (802.1D-2004 17.26).

use super::super::bpdu::{Bpdu, Config, Sender};
use super::super::port::{Port, Role};
use super::super::{Bridge, Output};
use super::TX_HOLD;
use crate::PortId;

impl Bridge {
    // -- port transmit, 17.26 --------------------------------------------------------------------

    pub(super) fn transmit(&mut self, id: PortId) {
        let hello = self.setup.hello;
        let Some(port) = self.ports.get_mut(&id) else { return };
        if !port.enabled {
            port.new_info = true;
            port.tx_count = 0;
            return;
        }
        if !port.selected || port.updt_info {
            return;
        }
        if port.hello_when == 0 {
            port.new_info |= port.role == Role::Designated || port.role == Role::Root && port.tc_while != 0;
            port.hello_when = hello;
        }
        if !port.new_info || port.tx_count >= TX_HOLD {
            return;
        }
        let bpdu = if port.send_rstp {
            Bpdu::Config(message(port))
        } else {
            match port.role {
                Role::Designated => Bpdu::Config(message(port)),
                Role::Root => Bpdu::Tcn,
                _ => return,
            }
        };
        // A TCN is sent for a topology change only, not because a root port heard something new.
        if bpdu == Bpdu::Tcn && port.tc_while == 0 {
            port.new_info = false;
            return;
        }
        port.new_info = false;
        port.tx_count += 1;
        port.tc_ack = false;
        port.hello_when = hello;
        self.out.push_back(Output::Send(id, bpdu));
    }
}

/// 17.21.19 and 17.21.20.
fn message(port: &Port) -> Config {
    let rapid = port.send_rstp;
    Config {
        rapid,
        sender: match port.role {
            Role::Root => Sender::Root,
            Role::Designated => Sender::Designated,
            Role::Alternate | Role::Backup => Sender::AlternateOrBackup,
            Role::Disabled => Sender::Unknown,
        },
        tc: port.tc_while != 0,
        tc_ack: port.tc_ack && !rapid,
        proposal: port.proposing && rapid,
        agreement: port.agree && rapid,
        learning: port.learning && rapid,
        forwarding: port.forwarding && rapid,
        vector: port.designated,
        times: port.designated_times,
    }
}
