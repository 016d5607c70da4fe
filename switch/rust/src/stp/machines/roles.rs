//! Port Role Selection (802.1D-2004 17.28) and Port Role Transitions (17.29).

use super::super::Bridge;
use super::super::bpdu::{Times, Vector};
use super::super::port::{InfoIs, MIGRATE, Port, Role};
use super::{MAC, seconds};
use crate::PortId;

impl Bridge {
    // -- port role selection, 17.28 --------------------------------------------------------------

    pub(super) fn select_roles(&mut self) -> bool {
        if !self.ports.values().any(|port| port.reselect) {
            return false;
        }
        self.ports.values_mut().for_each(|port| port.reselect = false);
        self.update_roles();
        self.ports.values_mut().for_each(|port| port.selected = true);
        true
    }

    /// 17.21.25.
    fn update_roles(&mut self) {
        let own = self.id();
        let mut best = (self.own_vector(), 0);
        self.root_times = self.own_times();
        self.root_port = None;
        for (&id, port) in &self.ports {
            if port.info_is != InfoIs::Received || port.port_vector.bridge & MAC == own & MAC {
                continue;
            }
            let cost = port.port_vector.cost.saturating_add(port.setup.cost);
            let path = (Vector { cost, ..port.port_vector }, port.id());
            if path < best {
                best = path;
                self.root_port = Some(id);
                let times = port.port_times;
                self.root_times = Times { age: times.age.saturating_add(256), ..times };
            }
        }
        self.root = best.0;
        let hello = self.setup.hello.saturating_mul(256);
        for (&id, port) in &mut self.ports {
            port.designated =
                Vector { root: self.root.root, cost: self.root.cost, bridge: own, port: port.id() };
            port.designated_times = Times { hello, ..self.root_times };
            (port.selected_role, port.updt_info) = match port.info_is {
                InfoIs::Disabled => (Role::Disabled, port.updt_info),
                InfoIs::Aged => (Role::Designated, true),
                InfoIs::Mine => {
                    let same =
                        port.port_vector == port.designated && port.port_times == port.designated_times;
                    (Role::Designated, port.updt_info || !same)
                }
                InfoIs::Received if self.root_port == Some(id) => (Role::Root, false),
                InfoIs::Received if port.designated < port.port_vector => (Role::Designated, true),
                InfoIs::Received if port.port_vector.bridge & MAC == own & MAC => (Role::Backup, false),
                InfoIs::Received => (Role::Alternate, false),
            };
        }
    }

    // -- port role transitions, 17.29 ------------------------------------------------------------

    /// All ports in step with what is selected, and synced but for the root port (17.20.3).
    fn all_synced(&self) -> bool {
        self.ports.values().all(|port| {
            port.selected
                && port.role == port.selected_role
                && !port.updt_info
                && (port.synced || port.role == Role::Root)
        })
    }

    pub(super) fn role_transitions(&mut self, id: PortId) -> bool {
        let all_synced = self.all_synced();
        let re_rooted = self.ports.iter().all(|(&other, port)| other == id || port.rr_while == 0);
        let (rstp, max_age) = (self.rstp(), seconds(self.root_times.max_age));
        let full_delay = seconds(self.root_times.forward_delay);
        let hello = self.setup.hello;
        let Some(port) = self.ports.get(&id) else { return false };
        let delay = self.forward_delay(port);
        let Some(port) = self.ports.get_mut(&id) else { return false };
        if !port.selected || port.updt_info {
            return false;
        }
        let (mut sync_tree, mut re_root_tree) = (false, false);
        let moved = match port.selected_role {
            Role::Disabled => {
                if port.role != Role::Disabled || port.learn || port.forward {
                    port.role = Role::Disabled;
                    port.learn = false;
                    port.forward = false;
                    true
                } else if !port.learning
                    && !port.forwarding
                    && (port.fd_while != max_age || port.sync || port.re_root || !port.synced)
                {
                    port.fd_while = max_age;
                    port.synced = true;
                    port.rr_while = 0;
                    port.sync = false;
                    port.re_root = false;
                    true
                } else {
                    false
                }
            }
            Role::Root => {
                if port.role != Role::Root {
                    port.role = Role::Root;
                    port.rr_while = full_delay;
                    true
                } else if port.proposed && !port.agree {
                    sync_tree = true;
                    port.proposed = false;
                    true
                } else if all_synced && !port.agree || port.proposed && port.agree {
                    port.proposed = false;
                    port.sync = false;
                    port.agree = true;
                    port.new_info = true;
                    true
                } else if port.agreed && !port.synced || port.sync && port.synced {
                    port.synced = true;
                    port.sync = false;
                    true
                } else if !port.forward && !port.re_root {
                    re_root_tree = true;
                    true
                } else if port.re_root && port.forward {
                    port.re_root = false;
                    true
                } else if (port.fd_while == 0 || re_rooted && port.rb_while == 0 && rstp)
                    && !(port.learn && port.forward)
                {
                    begin_or_go_on(port, delay);
                    true
                } else {
                    // Its own timer runs only once it is no longer the root port. This is no event.
                    port.rr_while = full_delay;
                    false
                }
            }
            Role::Designated => {
                if port.role != Role::Designated {
                    port.role = Role::Designated;
                    true
                } else if !port.forward && !port.agreed && !port.proposing && !port.oper_edge {
                    port.proposing = true;
                    port.edge_delay_while = MIGRATE;
                    port.new_info = true;
                    true
                } else if !port.learning && !port.forwarding && !port.synced
                    || port.agreed && !port.synced
                    || port.oper_edge && !port.synced
                    || port.sync && port.synced
                {
                    port.rr_while = 0;
                    port.synced = true;
                    port.sync = false;
                    true
                } else if port.rr_while == 0 && port.re_root {
                    port.re_root = false;
                    true
                } else if (port.sync && !port.synced || port.re_root && port.rr_while != 0 || port.disputed)
                    && !port.oper_edge
                    && (port.learn || port.forward)
                {
                    port.learn = false;
                    port.forward = false;
                    port.disputed = false;
                    port.fd_while = delay;
                    true
                } else if (port.fd_while == 0 || port.agreed || port.oper_edge)
                    && (port.rr_while == 0 || !port.re_root)
                    && !port.sync
                    && !(port.learn && port.forward)
                {
                    if port.learn {
                        port.agreed = port.send_rstp;
                    }
                    begin_or_go_on(port, delay);
                    true
                } else {
                    false
                }
            }
            role @ (Role::Alternate | Role::Backup) => {
                if port.role != role || port.learn || port.forward {
                    port.role = role;
                    port.learn = false;
                    port.forward = false;
                    true
                } else if port.learning || port.forwarding {
                    false
                } else if port.proposed && !port.agree {
                    sync_tree = true;
                    port.proposed = false;
                    true
                } else if all_synced && !port.agree || port.proposed && port.agree {
                    port.proposed = false;
                    port.agree = true;
                    port.new_info = true;
                    true
                } else if port.sync || port.re_root || !port.synced || port.rr_while != 0 {
                    port.synced = true;
                    port.rr_while = 0;
                    port.sync = false;
                    port.re_root = false;
                    true
                } else {
                    // These stand still here. This is no event.
                    port.fd_while = full_delay;
                    if role == Role::Backup {
                        port.rb_while = 2 * hello;
                    }
                    false
                }
            }
        };
        if sync_tree {
            self.ports.values_mut().for_each(|port| port.sync = true);
        }
        if re_root_tree {
            self.ports.values_mut().for_each(|port| port.re_root = true);
        }
        moved
    }
}

/// First learn, then forward.
fn begin_or_go_on(port: &mut Port, delay: u16) {
    if port.learn {
        port.forward = true;
        port.fd_while = 0;
    } else {
        port.learn = true;
        port.fd_while = delay;
    }
}
