//! The short way of most packets: IPv4 without tag, options or fragments, UDP or an acknowledgement of
//! TCP, of a connection that both gates know.
//!
//! Thousands of connections don't fit the fastest caches, so a burst is looked up before it is decided: each key
//! is hashed and the line that it leads to asked for (`table/line.rs`), and nobody waits for it. Long frames need it
//! most, whose copying displaces lines from the second cache. Then all lines are
//! looked into: where a connection is none of the two in its line, the first of the chain is asked for, and of TCP
//! the windows. What was found is only a place to look at: a connection that has gone since is not there any
//! more, and one that is further behind is looked for in the chain.
//!
//! A packet like the one before it, with the same ends, is not looked up at all, and if that one passed
//! as UDP, so does it: nothing that it would be asked can have changed.

use super::packet::{Key, Segment};
use super::table::{Ends, STALE, State, Table};
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};

/// Packets looked up together.
pub(crate) const BURST: usize = 64;

/// What the short way needs to know of a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    ends: Ends,
    /// Which of the ends sent it.
    near: u8,
    /// Which place in its line its connection has; `NOWHERE`: none.
    place: u8,
    /// Where that line is.
    line: u32,
}

const NOWHERE: u8 = 2;

/// A burst's packets, and where their connections are. What is like the one before it shares its place.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    packets: [Plain; BURST],
    /// By number in the burst: which of these.
    which: [u8; BURST],
}

/// Where the EtherType stands.
const AT: usize = 12;

impl Ready {
    pub(super) fn new() -> Ready {
        Ready { packets: [Plain::default(); BURST], which: [0; BURST] }
    }

    /// Look up a burst that came in by a port whose untagged frames are in `vlan`. Which of its packets
    /// are between the same ends as the one before, by number from the lowest bit on.
    #[inline]
    pub(super) fn bring<'a>(
        &mut self,
        table: &Table,
        views: impl Iterator<Item = View<'a>>,
        vlan: u16,
    ) -> u64 {
        const { assert!(BURST <= u64::BITS as usize) };
        let (mut count, mut alike) = (0, 0);
        let mut last = Raw::NONE;
        for (number, (view, which)) in views.zip(&mut self.which).enumerate() {
            let raw = Raw::of(&view);
            if raw == last && raw.is_sure() {
                alike |= 1 << number;
            } else {
                last = raw;
                if let Some(kept) = self.packets.get_mut(count) {
                    *kept = raw.plain(vlan);
                    kept.line = table.ask_for_line(&key(&kept.ends));
                }
                count += 1;
            }
            *which = (count - 1) as u8;
        }
        for packet in self.packets.iter_mut().take(count) {
            packet.peek(table);
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
        let Some(packet) = self.packets.get(which) else { return Short::No };
        let from = if packet.near == 0 { packet.ends.low } else { packet.ends.high };
        if packet.ends.what == 0 || source.is_some_and(|source| source != from) {
            return Short::No;
        }
        if packet.place != NOWHERE
            && let Some(line) = table.line(packet.line)
            && let place = usize::from(packet.place)
            && line.is_at(place, &packet.ends)
            && let (allowed, heard, at) = line.get(place)
            && now.wrapping_sub(heard) < STALE
            && packet.is_allowed(allowed, stamps)
        {
            if !packet.ends.is_tcp() {
                return Short::All;
            }
            // It is established, or it would not be in its line.
            let Some(conn) = table.get_mut(at) else { return Short::No };
            return packet.carries_on(&mut conn.halves, view);
        }
        packet.behind(table, view, stamps, now)
    }
}

impl Plain {
    /// Look where its connection is in its line, and ask for what else will be read of it.
    #[inline]
    fn peek(&mut self, table: &Table) {
        let Some(line) = table.line(self.line) else { return };
        if let Some(place) = line.find(&self.ends) {
            self.place = place as u8;
            if self.ends.is_tcp() {
                table.ask_for_halves(line.get(place).2);
            }
        } else {
            table.ask_for_first(self.line);
        }
    }

    /// Whether both gates have let its connection pass.
    #[inline]
    fn is_allowed(&self, [low, high]: [u32; 2], stamps: (u32, u32)) -> bool {
        let (near, far) = if self.near == 0 { (low, high) } else { (high, low) };
        (stamps.0 == 0 || stamps.0 == near) && (stamps.1 == 0 || stamps.1 == far)
    }

    /// Whether it is one more segment of an established connection.
    #[inline]
    fn carries_on(&self, halves: &mut [tcp::Half; 2], view: &View<'_>) -> Short {
        let good = acknowledgement(view)
            .is_some_and(|segment| tcp::carries_on(halves, usize::from(self.near), &segment));
        if good { Short::One } else { Short::No }
    }

    /// Whether it passes, where its line says nothing about its connection, or nothing that is fresh.
    #[inline(never)]
    fn behind(&self, table: &mut Table, view: &View<'_>, stamps: (u32, u32), now: u32) -> Short {
        let own = key(&self.ends);
        let Some(at) = table.along(self.line, |key| *key == own) else { return Short::No };
        let Some(conn) = table.get_mut(at) else { return Short::No };
        if !self.is_allowed(conn.allowed, stamps) || conn.is_old(now) {
            return Short::No;
        }
        let short = match conn.state {
            State::Tcp(tcp::State::Established) => self.carries_on(&mut conn.halves, view),
            State::Answered => Short::All,
            State::New if self.near == conn.origin => Short::All,
            _ => Short::No,
        };
        if short != Short::No {
            // One that shares its line with two others comes this way each time: that it was heard is only
            // written where that says something new.
            if now.wrapping_sub(conn.heard) >= STALE {
                conn.heard = now;
            }
            table.note(at);
        }
        short
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

#[inline]
fn key(ends: &Ends) -> Key {
    let proto = if ends.is_tcp() { TCP } else { UDP };
    let vlan = u64::from(ends.vlan());
    let word = u64::from(ends.ports) << 32 | vlan << 16 | 4 << 8 | u64::from(proto);
    Key([0, u64::from(ends.low), 0, u64::from(ends.high), word])
}

/// The bytes that say whether a packet goes this way, and between which ends, as they stand there.
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
        const ALL_BUT_HOPS: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0xff]);
        let (one, two) = (self.start ^ other.start, (self.middle ^ other.middle) & ALL_BUT_HOPS);
        (self.addresses ^ other.addresses) | u64::from(one | two | self.ports ^ other.ports) == 0
    }
}

impl Raw {
    const NONE: Raw = Raw { start: 0, total: 0, middle: 0, addresses: 0, ports: 0 };

    #[inline]
    fn of(view: &View<'_>) -> Raw {
        let Some(b) = view.head.first_chunk::<38>() else { return Raw::NONE };
        let number = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (a, at) = (b, AT + 14);
        Raw {
            start: number(AT),
            total: u16::from_ne_bytes([b[AT + 4], b[AT + 5]]),
            middle: number(AT + 8),
            addresses: u64::from_ne_bytes([
                a[at],
                a[at + 1],
                a[at + 2],
                a[at + 3],
                a[at + 4],
                a[at + 5],
                a[at + 6],
                a[at + 7],
            ]),
            ports: number(AT + 22),
        }
    }

    /// Whether its length is enough for any protocol.
    #[inline]
    fn is_sure(&self) -> bool {
        u16::from_be(self.total) >= 40
    }

    /// DHCP does not go this way.
    #[inline]
    fn plain(&self, vlan: u16) -> Plain {
        let (start, middle, ports) =
            (u32::from_be(self.start), u32::from_be(self.middle), u32::from_be(self.ports));
        let proto = middle as u8;
        let whole = (middle >> 16) & 0x3fff == 0;
        let long = u16::from_be(self.total) >= if proto == TCP { 40 } else { 28 };
        let (from, to) = (ports >> 16, ports & 0xffff);
        let dhcp = proto == UDP && (from == 67 || to == 67 || to == 68);
        if !(start >> 8 == 0x08_0045 && whole && long && (proto == UDP || proto == TCP)) || dhcp {
            return Plain::default();
        }
        let addresses = u64::from_be(self.addresses);
        // Ends as numbers, and swapped without a branch that a guest's ports decide.
        let (one, other) =
            (addresses >> 32 << 16 | u64::from(from), (addresses & 0xffff_ffff) << 16 | u64::from(to));
        let (low, high, near) = (one.min(other), one.max(other), one > other);
        Plain {
            ends: Ends {
                low: (low >> 16) as u32,
                high: (high >> 16) as u32,
                ports: (low as u32) << 16 | high as u32 & 0xffff,
                what: Ends::what(vlan, proto == TCP, usize::from(near)),
            },
            near: u8::from(near),
            place: NOWHERE,
            line: 0,
        }
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
