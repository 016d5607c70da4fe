//! What the spanning tree, or a loop, lets a port do.

use crate::fdb::Flush;
use crate::limits::Bucket;
use crate::stp::PortState;
use crate::switch::Port;
use crate::twin::own;
use crate::{PortId, Switch, SwitchError};

/// BPDUs that are let in a second, and at once. A bridge sends one in two seconds, and a few at once when the tree
/// changes (802.1D-2004 17.13.12); on a shared segment there may be several.
const BPDUS: u64 = 20;
const BPDUS_AT_ONCE: u64 = 60;

impl Switch {
    /// What the spanning tree lets a port do, and whether BPDUs that come in there are for the switch
    /// itself ([`Out::Local`]). A port that does not forward is in nobody's way: floods pass it by.
    pub fn set_state(&mut self, id: PortId, state: PortState, control: bool) -> Result<(), SwitchError> {
        self.gate(id, |port| {
            port.state = state;
            port.control = control;
            if control && port.bpdus.is_none() {
                port.bpdus = Bucket::new(BPDUS, BPDUS_AT_ONCE, 0).map(Box::new);
            }
        })
    }

    /// Block a port that a loop's frames come in by, or open it again.
    pub fn set_looped(&mut self, id: PortId, looped: bool) -> Result<(), SwitchError> {
        self.gate(id, |port| port.looped = looped)
    }

    fn gate(&mut self, id: PortId, change: impl FnOnce(&mut Port)) -> Result<(), SwitchError> {
        let port =
            self.ports.get_mut(usize::from(id)).and_then(Option::as_mut).ok_or(SwitchError::NoSuchPort)?;
        let before = port.forwards();
        change(port);
        match (before, port.forwards()) {
            (true, false) => self.vlans.remove(id, &port.config),
            (false, true) => self.vlans.add(id, &port.config),
            _ => {}
        }
        if let Some(snooper) = own(&mut self.multicast)
            && before != port.forwards()
        {
            snooper.port(id, &port.config, port.config.up && port.forwards());
        }
        if port.state == PortState::Discarding || port.looped {
            self.fdb.flush(Flush { port: Some(id), vlan: None, fixed: false }, |_| true);
        }
        if !before {
            self.reopen(id);
        }
        self.fdb.outdate();
        Ok(())
    }

    /// How often a station that was learned elsewhere was heard at this port. In a loop, that is with
    /// nearly every frame.
    #[must_use]
    pub fn moves(&self, id: PortId) -> u64 {
        self.ports.get(usize::from(id)).and_then(Option::as_deref).map_or(0, |port| port.moves)
    }

    /// What the spanning tree lets a port do.
    #[must_use]
    pub fn state(&self, id: PortId) -> Option<PortState> {
        self.ports.get(usize::from(id))?.as_deref().map(|port| port.state)
    }
}
