//! One port of a spanning tree bridge: its variables (802.1D-2004 17.19) under their own names.

use super::bpdu::{Config, Times, Vector};

/// Seconds (17.14).
pub(super) const MIGRATE: u16 = 3;

/// How a port is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSetup {
    /// 0..=240 in steps of 16; the lower is preferred.
    pub priority: u8,
    /// What a frame pays for passing here, 1..=200,000,000 (17.14).
    pub cost: u32,
    /// Nobody but stations is behind it: it forwards at once.
    pub edge: bool,
    /// It may find out by itself that it is an edge.
    pub auto_edge: bool,
    /// A BPDU heard here takes the port out of service.
    pub bpdu_guard: bool,
}

impl Default for PortSetup {
    fn default() -> Self {
        PortSetup { priority: 128, cost: 2000, edge: false, auto_edge: true, bpdu_guard: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Disabled,
    Root,
    Designated,
    Alternate,
    Backup,
}

impl Role {
    /// As `vnet status` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Disabled => "disabled",
            Role::Root => "root",
            Role::Designated => "designated",
            Role::Alternate => "alternate",
            Role::Backup => "backup",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InfoIs {
    Disabled,
    Mine,
    Aged,
    Received,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Migration {
    Checking,
    Sensing,
    SelectingStp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Inactive,
    Learning,
    Active,
}

/// The variables, and the states of those machines that are more than their variables.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Port {
    pub number: u16,
    pub setup: PortSetup,
    /// Taken out of service by BPDU guard.
    pub refused: bool,
    /// Carrier, and administratively up.
    pub enabled: bool,
    pub agree: bool,
    pub agreed: bool,
    pub disputed: bool,
    pub forward: bool,
    pub forwarding: bool,
    pub info_is: InfoIs,
    pub learn: bool,
    pub learning: bool,
    pub new_info: bool,
    pub oper_edge: bool,
    pub proposed: bool,
    pub proposing: bool,
    /// A message that was not looked at yet.
    pub received: Option<Config>,
    pub rcvd_rstp: bool,
    pub rcvd_stp: bool,
    pub rcvd_tc: bool,
    pub rcvd_tc_ack: bool,
    pub rcvd_tcn: bool,
    pub re_root: bool,
    pub reselect: bool,
    pub role: Role,
    pub selected: bool,
    pub selected_role: Role,
    pub send_rstp: bool,
    pub sync: bool,
    pub synced: bool,
    pub tc_ack: bool,
    pub tc_prop: bool,
    pub updt_info: bool,
    pub port_vector: Vector,
    pub port_times: Times,
    pub designated: Vector,
    pub designated_times: Times,
    pub edge_delay_while: u16,
    pub fd_while: u16,
    pub hello_when: u16,
    pub mdelay_while: u16,
    pub rb_while: u16,
    pub rcvd_info_while: u16,
    pub rr_while: u16,
    pub tc_while: u16,
    pub tx_count: u16,
    pub migration: Migration,
    pub change: Change,
}

impl Port {
    pub fn new(number: u16, setup: PortSetup) -> Self {
        Port {
            number,
            setup,
            refused: false,
            enabled: false,
            agree: false,
            agreed: false,
            disputed: false,
            forward: false,
            forwarding: false,
            info_is: InfoIs::Disabled,
            learn: false,
            learning: false,
            new_info: true,
            oper_edge: setup.edge,
            proposed: false,
            proposing: false,
            received: None,
            rcvd_rstp: false,
            rcvd_stp: false,
            rcvd_tc: false,
            rcvd_tc_ack: false,
            rcvd_tcn: false,
            re_root: true,
            reselect: true,
            role: Role::Disabled,
            selected: false,
            selected_role: Role::Disabled,
            send_rstp: true,
            sync: true,
            synced: false,
            tc_ack: false,
            tc_prop: false,
            updt_info: false,
            port_vector: Vector::default(),
            port_times: Times::default(),
            designated: Vector::default(),
            designated_times: Times::default(),
            edge_delay_while: MIGRATE,
            fd_while: 0,
            hello_when: 0,
            mdelay_while: MIGRATE,
            rb_while: 0,
            rcvd_info_while: 0,
            rr_while: 0,
            tc_while: 0,
            tx_count: 0,
            migration: Migration::Checking,
            change: Change::Inactive,
        }
    }

    /// 9.2.7: priority in the upper four bits, number in the others.
    pub fn id(&self) -> u16 {
        u16::from(self.setup.priority & 0xf0) << 8 | self.number & 0xfff
    }

    /// A second has passed (17.22).
    pub fn tick(&mut self) {
        for timer in [
            &mut self.edge_delay_while,
            &mut self.fd_while,
            &mut self.hello_when,
            &mut self.mdelay_while,
            &mut self.rb_while,
            &mut self.rcvd_info_while,
            &mut self.rr_while,
            &mut self.tc_while,
            &mut self.tx_count,
        ] {
            *timer = timer.saturating_sub(1);
        }
    }
}
