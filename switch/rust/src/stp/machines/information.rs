//! Port Information (802.1D-2004 17.27): what a message says, and whether it is to be believed.

use super::super::Bridge;
use super::super::bpdu::{Config, Sender, Times};
use super::super::port::{InfoIs, Port};
use super::{MAC, seconds};
use crate::PortId;

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
    // -- port information, 17.27 -----------------------------------------------------------------

    pub(super) fn information(&mut self, id: PortId) -> bool {
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
