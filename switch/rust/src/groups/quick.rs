//! The short way of most packets: IPv4 without tag, options or fragments, UDP or an acknowledgement of
//! TCP, of a connection that both gates know.
//!
//! Thousands of connections don't fit the fastest cache, and one lookup is two or three loads that wait
//! for each other. So a burst is looked up before it is decided, step by step: the keys of all its
//! packets, then the heads of all their chains, then all the connections. Within a step nothing waits
//! for anything, and the processor overlaps the misses: long frames need it most, whose copying displaces
//! connections from the second cache. What was found is only a place to look at: a connection that has
//! gone since has another key.

use super::packet::{Key, Segment};
use super::table::{State, Table};
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};

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

/// A burst's packets, and where their connections are.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    packets: [Plain; BURST],
    places: [u32; BURST],
}

/// Where the EtherType stands.
const AT: usize = 12;

impl Ready {
    pub(super) fn new() -> Ready {
        Ready { packets: [Plain::default(); BURST], places: [u32::MAX; BURST] }
    }

    /// Look up a burst that came in by a port whose untagged frames are in `vlan`.
    pub(super) fn bring(&mut self, table: &Table, views: &[View<'_>], vlan: u16) {
        let mut last = Plain::default();
        let mut first = [false; BURST];
        for ((view, packet), first) in views.iter().zip(&mut self.packets).zip(&mut first) {
            *packet = plain(view, vlan);
            *first = packet.word != 0
                && (packet.low, packet.high, packet.word) != (last.low, last.high, last.word);
            last = *packet;
        }
        for ((packet, place), first) in self.packets.iter().zip(&mut self.places).zip(&first) {
            if *first {
                *place = table.head(&key(packet));
            }
        }
        let mut at = u32::MAX;
        for ((packet, place), first) in self.packets.iter().zip(&mut self.places).zip(&first) {
            if *first {
                at = table.along(*place, &key(packet));
            }
            *place = at;
        }
    }

    /// The IPv4 source of a packet that may go the short way.
    #[inline]
    pub(super) fn source(&self, number: usize) -> Option<u32> {
        let packet = self.packets.get(number).filter(|packet| packet.word != 0)?;
        Some((if packet.near == 0 { packet.low } else { packet.high } >> 16) as u32)
    }

    /// Whether it passes gates with these stamps (0: there is none) as one more packet of a connection,
    /// which then knows of it. Otherwise nothing has changed, and it goes the long way.
    #[inline]
    pub(super) fn passes(
        &self,
        table: &mut Table,
        number: usize,
        view: &View<'_>,
        stamps: (u32, u32),
        now: u32,
    ) -> bool {
        let (Some(packet), Some(&place)) = (self.packets.get(number), self.places.get(number)) else {
            return false;
        };
        let Some(conn) = table.get_mut(place).filter(|conn| conn.key == key(packet)) else { return false };
        let [one, other] = conn.allowed;
        let (near, far) = if packet.near == 0 { (one, other) } else { (other, one) };
        if stamps.0 != 0 && stamps.0 != near || stamps.1 != 0 && stamps.1 != far || Table::is_old(conn, now) {
            return false;
        }
        let good = match conn.state {
            State::Answered => true,
            State::New => packet.near == usize::from(conn.origin),
            State::Tcp(tcp::State::Established) => acknowledgement(view)
                .is_some_and(|segment| tcp::carries_on(&mut conn.halves, packet.near, &segment)),
            _ => false,
        };
        if good {
            conn.heard = now;
        }
        good
    }
}

#[inline]
fn key(packet: &Plain) -> Key {
    Key([0, packet.low >> 16, 0, packet.high >> 16, packet.word])
}

/// What a frame is that goes this way. DHCP does not.
#[inline]
fn plain(view: &View<'_>, vlan: u16) -> Plain {
    let Some(b) = view.head.first_chunk::<38>() else { return Plain::default() };
    let number = |at: usize| u64::from(u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]));
    let start = number(AT) >> 8 == 0x08_0045;
    let whole = number(AT + 8) >> 16 & 0x3fff == 0;
    let proto = b[AT + 11];
    let long = u32::from(u16::from_be_bytes([b[AT + 4], b[AT + 5]])) >= if proto == TCP { 40 } else { 28 };
    let (ports, source, target) = (number(AT + 22), number(AT + 14), number(AT + 18));
    let (from, to) = (ports >> 16, ports & 0xffff);
    let dhcp = proto == UDP && (from == 67 || to == 67 || to == 68);
    if !(start && whole && long && (proto == UDP || proto == TCP)) || dhcp {
        return Plain::default();
    }
    let (one, other) = (source << 16 | from, target << 16 | to);
    let (low, high) = (one.min(other), one.max(other));
    let word =
        (low & 0xffff) << 48 | (high & 0xffff) << 32 | u64::from(vlan) << 16 | 4 << 8 | u64::from(proto);
    Plain { low, high, word, near: usize::from(one > other) }
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
