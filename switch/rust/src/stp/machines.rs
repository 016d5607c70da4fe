//! The state machines of RSTP (802.1D-2004 17.23 to 17.31), run until none has anything to do.
//!
//! Each function is one machine at one port: it makes the transitions whose conditions hold, and says
//! whether there were any. A machine with one resting state is its conditions alone. Conditions and
//! actions are in the order of the standard's figures, so that the two can be read side by side; where
//! 802.1Q-2011 mended 802.1D-2004 (`disputed`), we do as it says.

use super::bpdu::{Bpdu, Config, Sender, Times, Vector};
use super::port::{Change, InfoIs, MIGRATE, Migration, Port, Role};
use super::{Bridge, Output, PortState, Version};
use crate::PortId;

/// BPDUs in a row before a port waits for the next second (17.13.12).
const TX_HOLD: u16 = 6;
/// More rounds than any number of events can need; a mistake here shall not hang a switch.
const ROUNDS: usize = 10_000;

const fn seconds(ticks: u16) -> u16 {
    ticks / 256
}

/// What a message is to a port (17.21.8).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Info {
    SuperiorDesignated,
    RepeatedDesignated,
    InferiorDesignated,
    InferiorRootAlternate,
    Other,
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

    // -- port information, 17.27 -----------------------------------------------------------------

    fn information(&mut self, id: PortId) -> bool {
        let rstp = self.rstp();
        let Some(port) = self.ports.get_mut(&id) else { return false };
        if !port.enabled {
            port.received = None;
            if port.info_is == InfoIs::Disabled {
                return false;
            }
            port.proposing = false;
            port.proposed = false;
            port.agree = false;
            port.agreed = false;
            port.rcvd_info_while = 0;
            port.info_is = InfoIs::Disabled;
            port.reselect = true;
            port.selected = false;
            return true;
        }
        if port.info_is == InfoIs::Disabled
            || port.info_is == InfoIs::Received
                && port.rcvd_info_while == 0
                && !port.updt_info
                && port.received.is_none()
        {
            port.info_is = InfoIs::Aged;
            port.reselect = true;
            port.selected = false;
            return true;
        }
        if port.selected && port.updt_info {
            port.proposing = false;
            port.proposed = false;
            port.agreed &= port.info_is == InfoIs::Mine && port.designated <= port.port_vector;
            port.synced &= port.agreed;
            port.port_vector = port.designated;
            port.port_times = port.designated_times;
            port.updt_info = false;
            port.info_is = InfoIs::Mine;
            port.new_info = true;
            return true;
        }
        if port.updt_info || port.info_is == InfoIs::Aged {
            return false;
        }
        let Some(config) = port.received.take() else { return false };
        receive(port, &config, rstp);
        true
    }

    // -- port role selection, 17.28 --------------------------------------------------------------

    fn select_roles(&mut self) -> bool {
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

    fn role_transitions(&mut self, id: PortId) -> bool {
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

    // -- topology change, 17.31 ------------------------------------------------------------------

    fn topology_change(&mut self, id: PortId) -> bool {
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

    // -- port transmit, 17.26 --------------------------------------------------------------------

    fn transmit(&mut self, id: PortId) {
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

/// The address in a bridge identifier: bridges are told apart by it alone.
const MAC: u64 = 0xffff_ffff_ffff;

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

/// 17.21.8.
fn classify(port: &Port, config: &Config) -> Info {
    let (msg, own) = (config.vector, port.port_vector);
    match config.sender {
        Sender::Designated => {
            let same_sender = msg.bridge & MAC == own.bridge & MAC && msg.port & 0xfff == own.port & 0xfff;
            if msg < own || same_sender && (msg != own || config.times != port.port_times) {
                Info::SuperiorDesignated
            } else if msg == own {
                Info::RepeatedDesignated
            } else {
                Info::InferiorDesignated
            }
        }
        Sender::Root | Sender::AlternateOrBackup if msg >= own => Info::InferiorRootAlternate,
        _ => Info::Other,
    }
}

/// A message is looked at: the states RECEIVE and after it of 17.27.
fn receive(port: &mut Port, config: &Config, rstp: bool) {
    let info = classify(port, config);
    let designated = config.sender == Sender::Designated;
    let flags = |port: &mut Port| {
        port.rcvd_tc |= config.tc;
        port.rcvd_tc_ack |= config.tc_ack;
    };
    let proposal = |port: &mut Port| port.proposed |= designated && config.proposal;
    match info {
        Info::SuperiorDesignated => {
            port.agreed = false;
            port.proposing = false;
            proposal(port);
            flags(port);
            port.agree &= port.info_is == InfoIs::Received && config.vector <= port.port_vector;
            port.port_vector = config.vector;
            port.port_times = config.times;
            // A hello time of nothing would have the information age at once.
            port.port_times.hello = port.port_times.hello.max(256);
            info_while(port);
            port.info_is = InfoIs::Received;
            port.reselect = true;
            port.selected = false;
        }
        Info::RepeatedDesignated => {
            proposal(port);
            flags(port);
            info_while(port);
        }
        Info::InferiorDesignated => {
            if config.learning {
                port.disputed = true;
                port.agreed = false;
            }
        }
        Info::InferiorRootAlternate => {
            port.agreed = rstp && config.agreement;
            if port.agreed {
                port.proposing = false;
            }
            flags(port);
        }
        Info::Other => {}
    }
}

/// 17.21.23.
fn info_while(port: &mut Port) {
    let Times { age, max_age, hello, .. } = port.port_times;
    port.rcvd_info_while =
        if age.saturating_add(256) <= max_age { seconds(hello.saturating_mul(3)).max(1) } else { 0 };
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
