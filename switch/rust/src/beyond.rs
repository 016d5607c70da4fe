//! Guests' stations that live at other switches of the fabric: no uplink of this one may bring them.
//!
//! A switch knows its own guests. Of those behind links it is told by whoever joins the switches, with the
//! end of the link by which they are reached. While that one forwards, what comes from an uplink with their
//! source is a reflection or a forgery (`uplink-own`). Not where the uplink is part of a spanning tree:
//! there the way to a guest may lead through it.

use crate::fdb::{Kind, Mac, key};
use crate::switch::{Port, vouched};
use crate::{PortId, Switch, VlanId};
use std::collections::BTreeMap;

/// By station, VLAN and the guest's port: the end of the link that leads there.
pub(crate) type Beyond = BTreeMap<(u64, VlanId, PortId), PortId>;

/// Whether a station lives behind a link that forwards.
#[cold]
pub(crate) fn lives(beyond: &Beyond, ports: &[Option<Box<Port>>], vlan: VlanId, mac: u64) -> bool {
    beyond.range((mac, vlan, 0)..=(mac, vlan, PortId::MAX)).any(|(_, &by)| {
        let port = ports.get(usize::from(by)).and_then(Option::as_deref);
        port.is_some_and(|port| port.config.up && port.forwards() && port.config.carries(vlan))
    })
}

/// Whether this end of a link leads to the station that the FDB has under `key`.
pub(crate) fn leads(beyond: &Beyond, key: u64, by: PortId) -> bool {
    let (vlan, mac) = ((key >> 48) as VlanId, key & ((1 << 48) - 1));
    beyond.range((mac, vlan, 0)..=(mac, vlan, PortId::MAX)).any(|(_, &end)| end == by)
}

fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Switch {
    /// The stations that are a port's and nowhere else, as its guard vouches for them, and its VLANs.
    #[must_use]
    pub fn vouched(&self, port: PortId) -> Option<(Vec<Mac>, Vec<VlanId>)> {
        let config = self.port(port)?;
        let address = |mac: &u64| {
            let [_, _, mac @ ..] = mac.to_be_bytes();
            mac
        };
        let macs: Vec<Mac> = vouched(config).iter().map(address).collect();
        if macs.is_empty() { None } else { Some((macs, config.vlans().collect())) }
    }

    /// A guest's station at another switch, whose port there is `owner`, is reached by `by`. Where it was
    /// heard behind an uplink before, it is not any more.
    pub fn set_beyond(&mut self, mac: Mac, vlan: VlanId, owner: PortId, by: PortId) {
        self.beyond.insert((number(mac), vlan, owner), by);
        self.not_outside(number(mac), vlan);
        self.fdb.outdate();
    }

    /// It is not, any more.
    pub fn forget_beyond(&mut self, mac: Mac, vlan: VlanId, owner: PortId) {
        self.beyond.remove(&(number(mac), vlan, owner));
        self.fdb.outdate();
    }

    /// Nobody's is.
    pub fn clear_beyond(&mut self) {
        self.beyond.clear();
        self.fdb.outdate();
    }

    /// An end of a link forwards again, or carries other VLANs. While it did not, an uplink may have brought
    /// the stations that it leads to, and a silent one would stay there for as long as somebody outside likes.
    pub(crate) fn reopen(&mut self, by: PortId) {
        if !self.port(by).is_some_and(|config| config.places && config.up) {
            return;
        }
        let there: Vec<_> = self.beyond.iter().filter(|&(_, &end)| end == by).map(|(&key, _)| key).collect();
        for (mac, vlan, _) in there {
            if lives(&self.beyond, &self.ports, vlan, mac) {
                self.forget_outside(mac, vlan, |port| !port.control);
            }
        }
    }

    /// Forget a station that was heard behind an uplink.
    pub(crate) fn not_outside(&mut self, mac: u64, vlan: VlanId) {
        self.forget_outside(mac, vlan, |_| true);
    }

    /// The same behind one that `which` says.
    fn forget_outside(&mut self, mac: u64, vlan: VlanId, which: impl FnOnce(&Port) -> bool) {
        let home = self.fdb.find(key(vlan, mac)).filter(|home| home.kind == Kind::Learned);
        let port = home.and_then(|home| self.ports.get(usize::from(home.port)).and_then(Option::as_deref));
        if port.is_some_and(|port| port.config.uplink && which(port)) {
            let [_, _, address @ ..] = mac.to_be_bytes();
            // It was found a moment ago.
            let _ = self.fdb.forget(vlan, address);
        }
    }
}
