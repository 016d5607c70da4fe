//! Topology Change (802.1D-2004 17.31).

use super::super::port::{Change, Port, Role};
use super::super::{Bridge, Output};
use super::seconds;
use crate::PortId;

impl Bridge {
    // -- topology change, 17.31 ------------------------------------------------------------------

    pub(super) fn topology_change(&mut self, id: PortId) -> bool {
        let hello = self.setup.hello;
        let long = seconds(self.root_times.max_age) + seconds(self.root_times.forward_delay);
        let now = self.now;
        let Some(port) = self.ports.get_mut(&id) else { return false };
        let active = matches!(port.role, Role::Root | Role::Designated);
        let heard = port.rcvd_tc || port.rcvd_tcn || port.rcvd_tc_ack || port.tc_prop;
        let (mut spread, mut flush, mut detected) = (false, false, false);
        let moved = match port.change {
            Change::Inactive => {
                if port.learn {
                    port.change = Change::Learning;
                }
                port.rcvd_tc = false;
                port.rcvd_tcn = false;
                port.rcvd_tc_ack = false;
                port.tc_prop = false;
                port.learn
            }
            Change::Learning => {
                if active && port.forward && !port.oper_edge {
                    new_tc_while(port, hello, long);
                    port.new_info = true;
                    port.change = Change::Active;
                    spread = true;
                    detected = true;
                    true
                } else if !active && !port.learn && !port.learning && !heard {
                    port.change = Change::Inactive;
                    port.tc_while = 0;
                    port.tc_ack = false;
                    flush = true;
                    true
                } else {
                    port.rcvd_tc = false;
                    port.rcvd_tcn = false;
                    port.rcvd_tc_ack = false;
                    port.tc_prop = false;
                    heard
                }
            }
            Change::Active => {
                if !active || port.oper_edge {
                    port.change = Change::Learning;
                    true
                } else if port.rcvd_tcn || port.rcvd_tc {
                    if port.rcvd_tcn {
                        new_tc_while(port, hello, long);
                    }
                    port.rcvd_tcn = false;
                    port.rcvd_tc = false;
                    port.tc_ack |= port.role == Role::Designated;
                    spread = true;
                    detected = true;
                    true
                } else if port.tc_prop {
                    new_tc_while(port, hello, long);
                    flush = true;
                    port.tc_prop = false;
                    true
                } else if port.rcvd_tc_ack {
                    port.tc_while = 0;
                    port.rcvd_tc_ack = false;
                    true
                } else {
                    false
                }
            }
        };
        if flush {
            self.out.push_back(Output::Flush(id));
        }
        if detected {
            self.changes += 1;
            self.changed = Some(now);
        }
        if spread {
            for (&other, port) in &mut self.ports {
                port.tc_prop |= other != id;
            }
        }
        moved
    }
}

/// 17.21.7.
fn new_tc_while(port: &mut Port, hello: u16, long: u16) {
    if port.tc_while == 0 {
        if port.send_rstp {
            port.tc_while = hello + 1;
            port.new_info = true;
        } else {
            port.tc_while = long;
            port.new_info = true;
        }
    }
}
