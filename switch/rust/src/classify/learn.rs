//! The learning process (802.1Q 8.7): who lives where, and who may not.

use super::Desk;
use crate::beyond;
use crate::fdb::{Home, Kind, key};
use crate::{DropReason, PortConfig, PortId, VlanId};

/// Whether stations that are heard from a port are its guest's own.
fn vouches(config: &PortConfig) -> bool {
    config.guard.as_ref().is_some_and(|guard| guard.vouches())
}

impl Desk<'_> {
    /// The learning process (802.1Q 8.7).
    #[inline]
    pub(super) fn hear(&mut self, vlan: VlanId, src: u64) -> Result<(), DropReason> {
        let key = key(vlan, src);
        match self.fdb.find(key) {
            Some(home) if home.port == self.id => {
                if self.config.learning {
                    self.fdb.refresh(&home);
                }
                Ok(())
            }
            Some(home) => self.hear_elsewhere(&home, vlan, src),
            None if self.config.uplink && self.is_own(vlan, src) => Err(DropReason::UplinkOwn),
            None if !self.config.learning => Ok(()),
            None if !self.fdb.has_room(self.id, self.config.mac_limit) => self.over_limit(),
            None => {
                self.learn(key);
                Ok(())
            }
        }
    }

    /// A station that has no entry is heard.
    fn learn(&mut self, key: u64) {
        let Desk { id, config, ports, beyond, fdb, .. } = self;
        let is_guests = |key: u64, at: PortId| {
            // The port that is heard is not among the others.
            let other = || ports.get(usize::from(at)).and_then(Option::as_deref).map(|port| &port.config);
            let of = if at == *id { Some(*config) } else { other() };
            of.is_some_and(|of| vouches(of) || of.places && beyond::leads(beyond, key, at))
        };
        if is_guests(key, *id) {
            fdb.learn_own(key, *id, |key, at| !is_guests(key, at));
        } else {
            fdb.learn(key, *id);
        }
    }

    /// A station that lives at another port sends from this one.
    #[cold]
    fn hear_elsewhere(&mut self, home: &Home, vlan: VlanId, src: u64) -> Result<(), DropReason> {
        let stays = match home.kind {
            Kind::Sticky => true,
            Kind::Static => false,
            Kind::Learned => {
                let port = self.ports.get(usize::from(home.port)).and_then(Option::as_deref);
                port.is_some_and(|port| port.config.sticky)
            }
        };
        if stays {
            return Err(DropReason::StationSticky);
        }
        if self.config.uplink && (self.is_guests_own(home.port) || self.is_beyond(vlan, src)) {
            return Err(DropReason::UplinkOwn);
        }
        if home.kind == Kind::Learned && self.config.learning {
            if !self.fdb.has_room(self.id, self.config.mac_limit) {
                return self.over_limit();
            }
            self.fdb.relocate(home, self.id);
            *self.moves += 1;
        }
        Ok(())
    }

    /// Whether a station that nobody has heard, or not for long, is a guest's own.
    #[cold]
    fn is_own(&self, vlan: VlanId, src: u64) -> bool {
        self.own.range((src, 0)..=(src, PortId::MAX)).any(|&(_, port)| {
            let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
            port.is_some_and(|port| port.config.carries(vlan))
        }) || self.is_beyond(vlan, src)
    }

    /// Whether it is that of a guest at another switch.
    #[cold]
    fn is_beyond(&self, vlan: VlanId, src: u64) -> bool {
        !self.pass.control && beyond::lives(self.beyond, self.ports, vlan, src)
    }

    /// Whether stations of `port` are known to live in the fabric and nowhere else, because a guard
    /// vouches for them.
    fn is_guests_own(&self, port: PortId) -> bool {
        let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        port.is_some_and(|port| vouches(&port.config))
    }

    #[cold]
    fn over_limit(&self) -> Result<(), DropReason> {
        if self.config.mac_limit_drops { Err(DropReason::MacLimit) } else { Ok(()) }
    }
}
