//! The short way of most packets: IPv4 without tag, options or fragments, UDP or an acknowledgement of
//! TCP, of a connection that both gates know.
//!
//! Thousands of connections don't fit the fastest caches, and one lookup is two or three loads that wait
//! for each other. So a burst is looked up before it is decided: while one packet's key is hashed, the head of
//! the chain of some packet before is asked for, and for another the first connection in its chain; nobody waits
//! for either. Long frames need it most, whose copying displaces connections from the second cache. Nor may
//! the last step, over the chain's first connection, branch on what it loads: one in four connections
//! is not the first of its chain, and a branch guessed wrong is found out when the load has arrived, and
//! until then nothing behind it counts. What was found is only a place to look at: a connection that
//! has gone since has another key, and one that is further behind goes the long way.
//!
//! A packet like the one before it, with the same ends, is not looked up at all, and if that one passed
//! as UDP, so does it: nothing that it would be asked can have changed.

use super::packet::{Key, Segment};
use super::table::{State, Table};
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};

/// Packets that are read while a chain's head is on its way into the cache. 40 look better with made-up copies in
/// between (`examples/groups`), but between two guests long frames lose 2 to 4 % by it.
const LAG: usize = 8;
/// Packets looked up together.
pub(crate) const BURST: usize = 64;

/// What the short way needs to know of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Plain {
    /// Both ends, address and port in one, ascending.
    low: u64,
    high: u64,
    /// The last word of its key; 0: it does not go this way.
    word: u64,
    near: usize,
}

/// A burst's packets, and where their connections are. What is like the one before it shares its place.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    packets: [Plain; BURST],
    places: [u32; BURST],
    /// By number in the burst: which of these.
    which: [u8; BURST],
}

/// Where the EtherType stands.
const AT: usize = 12;

impl Ready {
    pub(super) fn new() -> Ready {
        Ready { packets: [Plain::default(); BURST], places: [u32::MAX; BURST], which: [0; BURST] }
    }

    /// Look up a burst that came in by a port whose untagged frames are in `vlan`. Which of its packets
    /// are between the same ends as the one before, by number from the lowest bit on.
    pub(super) fn bring(&mut self, table: &Table, views: &[View<'_>], vlan: u16) -> u64 {
        const { assert!(BURST <= u64::BITS as usize) };
        let (mut count, mut alike, mut reached) = (0, 0, 0);
        let mut last = Raw::NONE;
        for (number, (view, which)) in views.iter().zip(&mut self.which).enumerate() {
            let raw = Raw::of(view);
            if raw == last && raw.is_sure() {
                alike |= 1 << number;
            } else {
                last = raw;
                let packet = raw.plain(vlan);
                if let (Some(kept), Some(place)) = (self.packets.get_mut(count), self.places.get_mut(count)) {
                    *kept = packet;
                    *place = table.ask_for_head(&key(&packet));
                }
                count += 1;
                if count > LAG {
                    reach(table, &mut self.places, reached);
                    reached += 1;
                }
            }
            *which = (count - 1) as u8;
        }
        for number in reached..count {
            reach(table, &mut self.places, number);
        }
        let found = self.places.get_mut(..count).unwrap_or_default();
        for (place, packet) in found.iter_mut().zip(&self.packets) {
            *place = table.step(*place, packet.word);
        }
        alike
    }

    /// Whether it passes gates with these stamps (0: there is none) as one more packet of a connection,
    /// which then knows of it; where `source` is given, from there. Otherwise nothing has changed, and it
    /// goes the long way.
    #[inline]
    pub(super) fn passes(
        &self,
        table: &mut Table,
        number: usize,
        view: &View<'_>,
        source: Option<u32>,
        stamps: (u32, u32),
        now: u32,
    ) -> Short {
        let which = usize::from(self.which.get(number).copied().unwrap_or(u8::MAX));
        let (Some(packet), Some(&place)) = (self.packets.get(which), self.places.get(which)) else {
            return Short::No;
        };
        let from = (if packet.near == 0 { packet.low } else { packet.high } >> 16) as u32;
        let Some(conn) = table.get_mut(place) else { return Short::No };
        if packet.word == 0 || source.is_some_and(|source| source != from) || !is_of(packet, &conn.key) {
            return Short::No;
        }
        let [one, other] = conn.allowed;
        let (near, far) = if packet.near == 0 { (one, other) } else { (other, one) };
        if stamps.0 != 0 && stamps.0 != near || stamps.1 != 0 && stamps.1 != far || conn.is_old(now) {
            return Short::No;
        }
        let short = if let State::Tcp(state) = conn.state {
            let good = state == tcp::State::Established
                && acknowledgement(view)
                    .is_some_and(|segment| tcp::carries_on(&mut conn.halves, packet.near, &segment));
            if good { Short::One } else { Short::No }
        } else if conn.state == State::Answered
            || (conn.state == State::New && packet.near == usize::from(conn.origin))
        {
            Short::All
        } else {
            Short::No
        };
        if short != Short::No {
            conn.heard = now;
        }
        short
    }
}

/// Exchange the place of a chain's head for that of its first connection.
#[inline]
fn reach(table: &Table, places: &mut [u32; BURST], number: usize) {
    if let Some(place) = places.get_mut(number) {
        *place = table.ask_for_first(*place);
    }
}

/// Whether a packet goes the short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    No,
    /// This one does.
    One,
    /// And so does the next, if it is between the same ends: there is no more to ask.
    All,
}

/// Whether a connection's key is this packet's. The last word says that it is IPv4, so that the upper
/// halves of its addresses are 0.
#[inline]
fn is_of(packet: &Plain, key: &Key) -> bool {
    let Key([_, low, _, high, word]) = *key;
    (low ^ packet.low >> 16) | (high ^ packet.high >> 16) | (word ^ packet.word) == 0
}

#[inline]
fn key(packet: &Plain) -> Key {
    Key([0, packet.low >> 16, 0, packet.high >> 16, packet.word])
}

/// The bytes that say whether a packet goes this way, and between which ends.
#[derive(Clone, Copy, Debug)]
struct Raw {
    /// EtherType, version, header's length, type of service.
    start: u32,
    total: u16,
    /// Flags, offset, hops, protocol.
    middle: u32,
    /// Source and target.
    addresses: u64,
    /// Source and target.
    ports: u32,
}

impl PartialEq for Raw {
    /// All but the lengths and the hops, at once.
    #[inline]
    fn eq(&self, other: &Raw) -> bool {
        let (one, two) = (self.start ^ other.start, (self.middle ^ other.middle) & 0xffff_00ff);
        (self.addresses ^ other.addresses) | u64::from(one | two | self.ports ^ other.ports) == 0
    }
}

impl Raw {
    const NONE: Raw = Raw { start: 0, total: 0, middle: 0, addresses: 0, ports: 0 };

    #[inline]
    fn of(view: &View<'_>) -> Raw {
        let Some(b) = view.head.first_chunk::<38>() else { return Raw::NONE };
        let number = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Raw {
            start: number(AT),
            total: u16::from_be_bytes([b[AT + 4], b[AT + 5]]),
            middle: number(AT + 8),
            addresses: u64::from(number(AT + 14)) << 32 | u64::from(number(AT + 18)),
            ports: number(AT + 22),
        }
    }

    /// Whether its length is enough for any protocol.
    #[inline]
    fn is_sure(&self) -> bool {
        self.total >= 40
    }

    /// DHCP does not go this way.
    #[inline]
    fn plain(&self, vlan: u16) -> Plain {
        let proto = self.middle as u8;
        let whole = (self.middle >> 16) & 0x3fff == 0;
        let long = self.total >= if proto == TCP { 40 } else { 28 };
        let (from, to) = (u64::from(self.ports >> 16), u64::from(self.ports & 0xffff));
        let dhcp = proto == UDP && (from == 67 || to == 67 || to == 68);
        if !(self.start >> 8 == 0x08_0045 && whole && long && (proto == UDP || proto == TCP)) || dhcp {
            return Plain::default();
        }
        let (source, target) = (self.addresses >> 32, self.addresses & 0xffff_ffff);
        let (one, other) = (source << 16 | from, target << 16 | to);
        let (low, high) = (one.min(other), one.max(other));
        let ports = (low & 0xffff) << 48 | (high & 0xffff) << 32;
        let word = ports | u64::from(vlan) << 16 | 4 << 8 | u64::from(proto);
        Plain { low, high, word, near: usize::from(one > other) }
    }
}

/// A segment that only acknowledges, with or without data.
#[inline]
fn acknowledgement(view: &View<'_>) -> Option<Segment> {
    let b = view.head.get(AT + 22..)?.first_chunk::<16>()?;
    let header = 20 + usize::from(b[12] >> 4) * 4;
    if b[13] & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK) != tcp::ACK || header < 40 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([*view.head.get(AT + 4)?, *view.head.get(AT + 5)?]));
    let have = (view.len as usize).checked_sub(AT + 2)?;
    let len = if view.gso { have } else { total.min(have) };
    let number = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    Some(Segment {
        seq: number(4),
        ack: number(8),
        flags: b[13],
        window: u16::from_be_bytes([b[14], b[15]]),
        len: len.checked_sub(header)? as u32,
        scale: None,
        cut: false,
    })
}
