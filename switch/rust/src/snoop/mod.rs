//! Addresses that guests get by DHCP: bindings, learned from what servers tell clients.
//!
//! A port whose guard `learns` begins without addresses. A server's acknowledgement that is on its way
//! to it (DHCPv4, RFC 2131; DHCPv6 replies, RFC 8415) binds the address or prefix to the port for the
//! time of the lease; a release, a decline, a negative acknowledgement and the lease's end unbind it.
//! Whose acknowledgements these are need not be asked here: guests that may not serve DHCP had theirs
//! dropped when they sent them.
//!
//! A binding's anchor is the port, and the hardware address that its guard vouches for (as in RFC 7513);
//! of DHCPv6 the client's DUID is kept with it, which tells a guest that was installed anew from the one
//! before. An address is bound at one port at a time, at all switches that are joined: others are told by whoever
//! joins them ([`Switch::given`]).
//!
//! These messages are longer than the private head of a frame, so the engine hands over a copy of the
//! whole. It is a server's or a guest's: every step asks for its bytes, and a port holds no more than
//! `MOST` addresses of each family.

mod bindings;
mod message;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_v6;

pub use bindings::Binding;
pub(crate) use bindings::Bindings;
pub use message::is_dhcp;
pub(crate) use message::{GIVES_BACK6, each_lease6};

use crate::fdb::Flush;
use crate::headers::mac;
use crate::{Decision, Nanos, Out, PortId, Switch};
use message::{Lease, Said, said};

/// A DHCP message in one frame, at the largest MTU that counts.
pub const LONGEST: usize = 2048;
const SECOND: Nanos = 1_000_000_000;

impl Switch {
    /// Whether any port's guard learns addresses: only then is `snoop` to be called.
    #[inline]
    #[must_use]
    pub fn snoops(&self) -> bool {
        self.learners > 0
    }

    /// A frame, all of it, that `ingress` sent and that goes where `decision` says: learn from it.
    pub fn snoop(&mut self, now: Nanos, ingress: PortId, decision: &Decision, frame: &[u8]) {
        let vlan = decision.vlan;
        let passes = !matches!(decision.out, Out::Drop(_) | Out::Answer | Out::Local);
        match said(frame) {
            None => {}
            Some(Said::Gone(gone)) if passes => {
                // A prefix goes with any address in it: servers may look for it by that.
                self.unbind(ingress, |binding| gone.iter().any(|&ip| binding.is_for(vlan, ip)));
            }
            Some(Said::Gone(_)) => {}
            Some(Said::Refused(chaddr)) => {
                if let Some(port) = self.learner(ingress, decision, Some(chaddr), frame) {
                    self.unbind(port, |binding| binding.vlan == vlan && binding.ip.is_ipv4());
                }
            }
            Some(Said::Moved(duid)) => {
                if let Some(port) = self.learner(ingress, decision, None, frame) {
                    let of_link = |b: &Binding| b.vlan == vlan && b.client == duid && b.prefix == 128;
                    self.unbind(port, of_link);
                }
            }
            Some(Said::Bound(chaddr, leases)) => {
                let Some(port) = self.learner(ingress, decision, chaddr, frame) else { return };
                for Lease { ip, prefix, seconds, client } in leases {
                    if seconds == 0 {
                        self.unbind(port, |b| (b.vlan, b.ip, b.prefix) == (vlan, ip, prefix));
                        continue;
                    }
                    let until = match seconds {
                        u32::MAX => Nanos::MAX,
                        seconds => now.saturating_add(Nanos::from(seconds) * SECOND),
                    };
                    let binding = Binding { vlan, ip, prefix, until, client };
                    self.bind(port, binding);
                    self.given.push(binding);
                }
            }
        }
    }

    /// The port that a server's message is for: where it goes, if the guest there has the hardware
    /// address that it names (in DHCPv6, that it is sent to). Of a private network's ports those alone that
    /// hear the server.
    fn learner(
        &self,
        ingress: PortId,
        decision: &Decision,
        chaddr: Option<u64>,
        frame: &[u8],
    ) -> Option<PortId> {
        let client = chaddr.or_else(|| mac(frame, 0))?;
        let is_it = |port: PortId| {
            let guard = self.port(port).and_then(|config| config.guard.as_deref());
            port != ingress && guard.is_some_and(|guard| guard.learns && guard.is_first(client))
        };
        match decision.out {
            Out::Port(port) => is_it(port).then_some(port),
            Out::Flood(_) => {
                let mut ports = self.flood_ports(decision.vlan).iter().copied();
                ports.find(|&port| self.floods_to(port, decision) && is_it(port))
            }
            Out::Group(_) | Out::Report(_) | Out::Local | Out::Answer | Out::Drop(_) => None,
        }
    }

    /// Bind an address to a port whose guard learns; at others nothing happens. Whose it was before loses
    /// it: a server gives an address to one at a time, and its last word counts.
    pub fn bind(&mut self, port: PortId, binding: Binding) {
        if !self.learns(port) {
            return;
        }
        for id in 0..self.ports.len() {
            if id != usize::from(port) {
                self.unbind(id as PortId, |other| other.is_same(&binding));
            }
        }
        let Some(at) = self.ports.get_mut(usize::from(port)).and_then(Option::as_deref_mut) else { return };
        if at.memory.relearn(|learned| learned.bind(binding)) {
            self.unremember(port);
        }
        self.leases = self.leases.into_iter().chain([binding.until]).min();
    }

    /// Whether `given` has any.
    #[inline]
    #[must_use]
    pub fn has_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// What servers gave to guests here since this was asked last: at other switches of the same networks it is
    /// nobody's any more.
    pub fn given(&mut self) -> Vec<Binding> {
        std::mem::take(&mut self.given)
    }

    /// An address was given to somebody at another switch.
    pub fn give_up(&mut self, binding: &Binding) {
        for id in 0..self.ports.len() {
            self.unbind(id as PortId, |other| other.is_same(binding));
        }
    }

    fn learns(&self, port: PortId) -> bool {
        self.port(port).and_then(|config| config.guard.as_ref()).is_some_and(|guard| guard.learns)
    }

    fn unbind(&mut self, port: PortId, gone: impl Fn(&Binding) -> bool) {
        let at = self.ports.get_mut(usize::from(port)).and_then(Option::as_deref_mut);
        if at.is_some_and(|at| at.memory.unlearn(|binding| !gone(binding))) {
            self.unremember(port);
        }
    }

    /// An address is the guest's no longer: forget whatever was decided from it.
    pub(crate) fn unremember(&mut self, port: PortId) {
        self.fdb.flush(Flush { port: Some(port), vlan: None, fixed: false }, |_| true);
        self.fdb.unbind(port);
        self.fdb.outdate();
    }

    /// What was learned at a port.
    #[must_use]
    pub fn bindings(&self, port: PortId) -> &[Binding] {
        let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        port.map_or(&[], |port| port.memory.learned.all())
    }

    /// Forget the leases that have ended.
    pub(crate) fn expire(&mut self, now: Nanos) {
        if self.leases.is_none_or(|at| at > now) {
            return;
        }
        self.leases = None;
        for id in 0..self.ports.len() {
            let Some(port) = self.ports.get_mut(id).and_then(Option::as_deref_mut) else { continue };
            let ended = port.memory.unlearn(|binding| binding.until > now);
            self.leases = self.leases.into_iter().chain(port.memory.learned.next()).min();
            if ended {
                self.unremember(id as PortId);
            }
        }
    }

    /// Count the ports that learn.
    pub(crate) fn count_learners(&mut self) {
        let guards = self.ports.iter().flatten().filter_map(|port| port.config.guard.as_ref());
        self.learners = guards.filter(|guard| guard.learns).count();
    }
}
