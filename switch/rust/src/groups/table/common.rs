//! What connections have in common that differ in nothing but their ports: hosts, VLAN, protocol, and the rules that allow
//! them. Each is kept once, and a number stands for it where connections are looked for (`line.rs`).
//!
//! A number is given to another one only when no connection has it any more, so whoever has the same number has all of
//! that in common. Found by a hash with a secret, like connections; but rarely: when one gets its place in a line.

use super::conn::{Conn, State};
use super::hash::Fold;
use super::{Key, NONE};
use crate::VlanId;
use crate::groups::tcp;
use crate::headers::{TCP, UDP};

/// Nobody's number; there are no more than that, which are as many as a tag has bits for (`line.rs`).
pub(super) const NOBODY: u32 = (1 << 20) - 1;

/// Both ends of a connection or a packet of IPv4, by ascending address, and what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Ends {
    /// Of the low end, of the high one. Never the same: of such no line says anything.
    pub(in crate::groups) addresses: u64,
    /// As a packet has them, the low end's first: not this machine's order of bytes.
    pub(in crate::groups) ports: u32,
    /// The VLAN, `IS_TCP`, `KNOWN`, and from which ends packets need nobody's leave, or this one comes. 0: it does not go
    /// this way.
    pub(in crate::groups) what: u32,
}

/// Bits of `what`.
const VLAN: u32 = 0xfff;
const FROM_LOW: u32 = 1 << 28;
const FROM_HIGH: u32 = 1 << 29;
const IS_TCP: u32 = 1 << 30;
const KNOWN: u32 = 1 << 31;

impl Ends {
    /// What packets of UDP or TCP are that the `near` end (0: the low one) sent.
    #[inline]
    pub(in crate::groups) fn what(vlan: VlanId, tcp: bool, near: usize) -> u32 {
        let from = FROM_LOW << (near & 1);
        let tcp = if tcp { IS_TCP } else { 0 };
        u32::from(vlan) & VLAN | KNOWN | tcp | from
    }

    #[inline]
    pub(in crate::groups) fn vlan(&self) -> VlanId {
        (self.what & VLAN) as u16
    }

    #[inline]
    pub(in crate::groups) fn is_tcp(&self) -> bool {
        self.what & IS_TCP != 0
    }

    /// Such a packet does not go this way, wherever its connection is: from an address to itself, or of DHCP.
    pub(in crate::groups) fn is_odd(&self) -> bool {
        let ports = u32::from_be(self.ports);
        let ports = [ports >> 16, ports & 0xffff];
        let dhcp = !self.is_tcp() && ports.iter().any(|port| matches!(port, 67 | 68));
        self.what == 0 || dhcp || self.addresses == self.addresses.rotate_left(32)
    }
}

/// What connections have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Common {
    addresses: u64,
    /// The stamps of the ports and rules that allowed them, of the low end and, above, of the high one.
    pub(in crate::groups) allowed: u64,
    what: u32,
}

impl Common {
    /// Of a connection and others, as far as it goes the short way, and its own ports.
    pub(super) fn of(conn: &Conn) -> Option<(Common, u32)> {
        let Key([a, low, b, high, word]) = conn.key;
        let (family, proto, vlan) = (word >> 8 & 0xff, word as u8, (word >> 16) as u16);
        let from = match conn.state {
            State::Tcp(tcp::State::Established) if proto == TCP => FROM_LOW | FROM_HIGH | IS_TCP,
            State::Answered if proto == UDP => FROM_LOW | FROM_HIGH,
            State::New if proto == UDP => FROM_LOW << (conn.origin & 1),
            _ => return None,
        };
        let ends = Ends {
            addresses: low << 32 | high,
            ports: ((word >> 32) as u32).to_be(),
            what: from | u32::from(vlan) & VLAN | KNOWN,
        };
        let [one, other] = conn.allowed;
        let common = Common {
            addresses: ends.addresses,
            allowed: u64::from(other) << 32 | u64::from(one),
            what: ends.what,
        };
        let goes = family == 4 && a | b == 0 && vlan >> 12 == 0 && !ends.is_odd();
        goes.then_some((common, ends.ports))
    }

    /// Whether a packet with such ends, whatever its ports, belongs to one of them and needs nobody's leave.
    #[inline]
    pub(in crate::groups) fn has(&self, ends: &Ends) -> bool {
        // From which other end packets may come does not matter.
        let sure = !(FROM_LOW | FROM_HIGH) | ends.what;
        (self.addresses ^ ends.addresses) | u64::from(self.what & sure ^ ends.what) == 0
    }
}

/// One of them, how many connections have it, and the next one in the chain, or of places that are free.
#[derive(Clone, Debug)]
struct Place {
    common: Common,
    users: u32,
    next: u32,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Commons {
    places: Vec<Place>,
    /// By hash: one more than the first of the chain, so that memory that nobody wrote says that there is none.
    heads: Vec<u32>,
    free: u32,
    seed: Fold,
}

impl Commons {
    /// For none yet.
    pub(super) fn new(seed: Fold) -> Commons {
        Commons { places: vec![], heads: vec![], free: NONE, seed }
    }

    /// Room for those of so many connections.
    pub(super) fn prepare(&mut self, connections: usize) {
        self.places = Vec::with_capacity(connections.min(NOBODY as usize));
        self.heads = vec![0; connections.next_power_of_two().min(1 << 31)];
    }

    pub(super) fn seed(&self) -> Fold {
        self.seed
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Common> {
        Some(&self.places.get(number as usize)?.common)
    }

    fn bucket(&self, common: &Common) -> usize {
        let key = self.seed.of(common.addresses, self.seed.of(common.allowed, u64::from(common.what)));
        key as usize & self.heads.len().wrapping_sub(1)
    }

    /// The number of what one more connection has, which gives it back. `None`: there is no number left.
    pub(super) fn take(&mut self, common: &Common) -> Option<u32> {
        let bucket = self.bucket(common);
        let head = self.heads.get_mut(bucket)?;
        let first = head.wrapping_sub(1);
        let mut number = first;
        while let Some(place) = self.places.get_mut(number as usize) {
            if place.common == *common {
                place.users += 1;
                return Some(number);
            }
            number = place.next;
        }
        let new = Place { common: *common, users: 1, next: first };
        let number = self.free;
        let number = if let Some(place) = self.places.get_mut(number as usize) {
            self.free = place.next;
            *place = new;
            number
        } else {
            let number = self.places.len() as u32;
            if number >= NOBODY {
                return None;
            }
            self.places.push(new);
            number
        };
        *head = number.wrapping_add(1);
        Some(number)
    }

    /// A connection has it no more.
    pub(super) fn give_back(&mut self, number: u32) {
        let used = self.places.get_mut(number as usize).filter(|place| place.users > 0);
        let Some(place) = used else { return };
        place.users -= 1;
        if place.users > 0 {
            return;
        }
        let (next, common) = (place.next, place.common);
        (place.next, place.common) = (self.free, Common::default());
        self.free = number;
        let bucket = self.bucket(&common);
        let Some(head) = self.heads.get_mut(bucket) else { return };
        if *head == number.wrapping_add(1) {
            *head = next.wrapping_add(1);
            return;
        }
        let mut before = head.wrapping_sub(1);
        while let Some(place) = self.places.get_mut(before as usize) {
            if place.next == number {
                place.next = next;
                return;
            }
            before = place.next;
        }
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.places.len() * (size_of::<Place>() + size_of::<u32>())
    }

    /// How many connections have each.
    #[cfg(test)]
    pub(super) fn users(&self) -> impl Iterator<Item = (u32, u32)> {
        let used = self.places.iter().zip(0..).filter(|(place, _)| place.users > 0);
        used.map(|(place, number)| (number, place.users))
    }
}
