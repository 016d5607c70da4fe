//! On whose account a frame comes: who has to pay for its connection, its fragments, its multicast groups.
//!
//! It is the port by which the frame came into the fabric. At that port's own switch this is its ingress. Over
//! a link between two switches its number goes beside the frame ([`View::sender`](crate::View)), as the sender's
//! place does, in no byte of it that a guest could write. So guests behind a link have accounts of their own at each
//! switch, bounded as they are at home, and nobody spends another's. What comes by a link with no sender told is on
//! the link's account.
//!
//! How many connections a guest of another switch may have, a switch is told by whoever joins them.

use crate::config::PortConfig;
use crate::groups::Payer;
use crate::switch::PORTS;
use crate::twin::own;
use crate::{PortId, Switch};

/// Connections that may be on the account of a port, at whatever switch that is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowances(Vec<Option<u32>>);

impl Allowances {
    fn set(&mut self, port: PortId, connections: Option<u32>) {
        let at = usize::from(port);
        if at >= self.0.len() && connections.is_some() {
            self.0.resize(at + 1, None);
        }
        if let Some(allowance) = self.0.get_mut(at) {
            *allowance = connections;
        }
    }

    pub(crate) fn of(&self, port: PortId) -> Option<u32> {
        self.0.get(usize::from(port)).copied().flatten()
    }

    /// One as it is there: see `twin.rs`.
    pub(crate) fn bring(&mut self, from: &Allowances, port: PortId) {
        self.set(port, from.of(port));
    }
}

/// On whose account a frame is that came in by `ingress` with this sender beside it.
pub(crate) fn account(config: &PortConfig, ingress: PortId, sender: PortId) -> PortId {
    if config.places && sender < PORTS { sender } else { ingress }
}

/// How many connections that begin at a port are on its own account; `None`: on that of the guest which they are for.
fn allowance(config: &PortConfig) -> Option<u32> {
    (config.guard.is_some() || config.groups.is_some()).then_some(config.connections)
}

/// Who pays for a connection that begins with a frame on this account, which came in by a port; `None`: the guest that it
/// is for.
pub(crate) fn payer(
    (id, config): (PortId, &PortConfig),
    account: PortId,
    told: &Allowances,
) -> Option<Payer> {
    let limit = if account == id { allowance(config) } else { told.of(account) };
    limit.map(|limit| Payer { port: account, limit })
}

impl Switch {
    /// How many connections that begin at a port are on its own account, if they are.
    #[must_use]
    pub fn allowance(&self, port: PortId) -> Option<u32> {
        allowance(self.port(port)?)
    }

    /// So many may be on the account of a port of any switch that links lead to; `None`: it pays for none.
    pub fn set_allowance(&mut self, port: PortId, connections: Option<u32>) {
        if port < PORTS {
            self.allowances.set(port, connections);
        }
    }

    /// A port of another switch is gone, and with it what is on its account.
    pub fn close_account(&mut self, port: PortId) {
        self.allowances.set(port, None);
        self.tracker.get_mut().forget(port);
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.close_account(port);
        }
    }
}
