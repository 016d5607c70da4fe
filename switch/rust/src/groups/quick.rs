//! The short way of most packets: IPv4 without tag, options or fragments, UDP or an acknowledgement of
//! TCP, of a connection that both gates know.
//!
//! A burst is looked up before it is decided. First each packet's ends are hashed and the line that they lead to is
//! asked for (`table/line.rs`), and nobody waits for it: thousands of connections don't fit the fastest caches, and
//! copying long frames displaces lines from the second one. Then all lines are looked into: which packets pass is
//! known with that, and of TCP only the windows are left to be asked, in order. Where a connection is none of the two
//! in its line, the first of the chain is asked for.
//!
//! That holds as long as nothing but the short way is taken. Whatever else happens to a connection, or changes what
//! is asked, makes the rest of the burst ask one by one ([`Tracker::passes`](super::Tracker::passes)); a connection
//! that has gone since is not there any more, and one that is further behind is looked for in the chain.
//!
//! A packet like the one before it, with the same ends, is not looked up at all: it shares what was found.
//!
//! Between two guests the instructions are what it costs, more than the memory: so there are no branches but those
//! that go one way nearly always, and ends are compared as they lie in the packet, but for the order.

use super::packet::{Key, Segment};
use super::table::{ASKED, Ends, STALE, State, Table};
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};

/// Packets looked up together.
pub(crate) const BURST: usize = 64;

/// What the short way needs to know of a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    ends: Ends,
    /// Who sent it.
    source: u32,
    /// Where its connection's line is.
    line: u32,
    /// Of TCP: where the connection is, if it was found.
    at: u32,
    /// Which of the ends sent it.
    near: u8,
    /// The number of the first of the burst's packets that share this.
    first: u8,
}

/// What is asked about packets at the gates that they pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Where given, they come from there.
    pub(crate) source: Option<u32>,
    /// Of the gates that they come from and go to; 0: there is none.
    pub(crate) stamps: (u32, u32),
}

/// Which of a burst's packets pass, by number from the lowest bit on, as long as nothing changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passing {
    /// As they are.
    pub(crate) sure: u64,
    /// If the windows of their connection allow: [`Tracker::carries_on`](super::Tracker::carries_on).
    pub(crate) segments: u64,
}

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

    /// Look up a burst that came in by a port whose untagged frames are in `vlan`. Which of its packets pass.
    #[inline]
    pub(super) fn bring<'a>(
        &mut self,
        table: &Table,
        views: impl Iterator<Item = View<'a>>,
        vlan: u16,
        asked: Option<Asked>,
        now: u32,
    ) -> Passing {
        const { assert!(BURST <= u64::BITS as usize) };
        let (mut count, mut all) = (0, 0);
        let mut last = Raw::NONE;
        // What packets between two addresses have in common: all but the ports.
        let mut common = Common::default();
        for (number, (view, which)) in views.zip(&mut self.which).enumerate() {
            let raw = Raw::of(&view);
            let sure = raw.is_sure();
            let same = raw.is_like(&last) && sure;
            if !(same && raw.ports == last.ports) {
                if !same {
                    common = Common::of(&raw, table, vlan);
                }
                last = raw;
                if let Some(kept) = self.packets.get_mut(count) {
                    *kept = common.with(raw.ports, table);
                    kept.first = number as u8;
                }
                count += 1;
                if count % ASKED == 0
                    && let Some(some) = self.packets.get(count - ASKED..count)
                {
                    table.ask_for_lines(some.iter().map(|packet| packet.line));
                }
            }
            *which = (count - 1) as u8;
            all = number + 1;
        }
        if let Some(some) = self.packets.get(count / ASKED * ASKED..count) {
            table.ask_for_lines(some.iter().map(|packet| packet.line));
        }
        self.look(table, count, all, asked, now)
    }

    /// Look into the lines of the first `count` packets that differ, of `all`.
    #[inline]
    fn look(&mut self, table: &Table, count: usize, all: usize, asked: Option<Asked>, now: u32) -> Passing {
        let question = Question::of(asked, now);
        let mut passing = Passing::default();
        // The last first: who shares what with one is known where the next one begins.
        let mut behind = mask(all);
        for packet in self.packets.iter_mut().take(count).rev() {
            let before = !(u64::MAX << (packet.first & 63));
            let mine = behind & !before;
            behind &= before;
            let Some(line) = table.line(packet.line) else { continue };
            let Some(place) = line.find(&packet.ends) else {
                table.ask_for_first(line);
                continue;
            };
            let (allowed, heard, at) = line.get(place);
            let mine = if question.is_met(packet, allowed, heard) { mine } else { 0 };
            if packet.ends.is_tcp() {
                packet.at = at;
                table.ask_for_halves(at);
                passing.segments |= mine;
            } else {
                passing.sure |= mine;
            }
        }
        if asked.is_some() { passing } else { Passing::default() }
    }

    /// Whether a packet that [`Passing`] has as a segment is one more of its connection.
    #[inline]
    pub(super) fn carries_on(&self, table: &mut Table, number: usize, view: &View<'_>) -> bool {
        let Some(packet) = self.packet(number) else { return false };
        table.get_mut(packet.at).is_some_and(|conn| packet.carries_on(&mut conn.halves, view))
    }

    /// Whether it passes as one more packet of a connection, which then knows of it. Otherwise nothing has changed,
    /// and it goes the long way.
    #[inline(never)]
    pub(super) fn passes(
        &self,
        table: &mut Table,
        number: usize,
        view: &View<'_>,
        asked: Asked,
        now: u32,
    ) -> bool {
        let Some(packet) = self.packet(number) else { return false };
        let question = Question::of(Some(asked), now);
        if let Some(line) = table.line(packet.line)
            && let Some(place) = line.find(&packet.ends)
            && let (allowed, heard, at) = line.get(place)
            && question.is_met(packet, allowed, heard)
        {
            // TCP is established, or it would not be in its line.
            return !packet.ends.is_tcp()
                || table.get_mut(at).is_some_and(|conn| packet.carries_on(&mut conn.halves, view));
        }
        packet.behind(table, view, &question)
    }

    #[inline]
    fn packet(&self, number: usize) -> Option<&Plain> {
        self.packets.get(usize::from(*self.which.get(number)?))
    }
}

/// The lowest bits, 64 at most.
#[inline]
fn mask(bits: usize) -> u64 {
    if bits < 64 { !(u64::MAX << bits) } else { u64::MAX }
}

/// What is asked, as it is compared.
struct Question {
    /// Of the near end and, above, of the far one: stamps, and where there are any.
    stamps: u64,
    gates: u64,
    source: u32,
    sources: u32,
    now: u32,
}

impl Question {
    #[inline]
    fn of(asked: Option<Asked>, now: u32) -> Question {
        let Asked { source, stamps: (near, far) } = asked.unwrap_or(Asked { source: None, stamps: (0, 0) });
        let all = |stamp: u32| if stamp == 0 { 0 } else { u64::from(u32::MAX) };
        Question {
            stamps: u64::from(far) << 32 | u64::from(near),
            gates: all(far) << 32 | all(near),
            source: source.unwrap_or(0),
            sources: if source.is_some() { u32::MAX } else { 0 },
            now,
        }
    }

    /// Of a connection that was allowed and heard so.
    #[inline]
    fn is_met(&self, packet: &Plain, allowed: u64, heard: u32) -> bool {
        self.is_allowed(packet, allowed) & (self.now.wrapping_sub(heard) < STALE)
    }

    /// Whether a packet comes from where it must, and both gates have let its connection pass.
    #[inline]
    fn is_allowed(&self, packet: &Plain, allowed: u64) -> bool {
        let stamps = allowed.rotate_left(u32::from(packet.near) * 32) ^ self.stamps;
        stamps & self.gates | u64::from((packet.source ^ self.source) & self.sources) == 0
    }
}

impl Ends {
    /// The last word of the key of such a connection.
    #[inline]
    fn last(&self) -> u64 {
        let proto = if self.is_tcp() { TCP } else { UDP };
        u64::from(self.ports()) << 32 | u64::from(self.vlan()) << 16 | 4 << 8 | u64::from(proto)
    }

    fn key(&self) -> Key {
        Key([0, self.addresses >> 32, 0, self.addresses & 0xffff_ffff, self.last()])
    }
}

impl Plain {
    /// Whether it is one more segment of an established connection.
    #[inline]
    fn carries_on(&self, halves: &mut [tcp::Half; 2], view: &View<'_>) -> bool {
        acknowledgement(view).is_some_and(|segment| tcp::carries_on(halves, usize::from(self.near), &segment))
    }

    /// Whether it passes, where its line says nothing about its connection, or nothing that is fresh.
    #[cold]
    fn behind(&self, table: &mut Table, view: &View<'_>, question: &Question) -> bool {
        if self.ends.is_odd() {
            return false;
        }
        let (own, now) = (self.ends.key(), question.now);
        let Some(at) = table.along(self.line, |key| *key == own) else { return false };
        let Some(conn) = table.get_mut(at) else { return false };
        let [low, high] = conn.allowed;
        if !question.is_allowed(self, u64::from(high) << 32 | u64::from(low)) || conn.is_old(now) {
            return false;
        }
        let passes = match conn.state {
            State::Tcp(tcp::State::Established) => self.carries_on(&mut conn.halves, view),
            State::Answered => true,
            State::New => self.near == conn.origin,
            _ => false,
        };
        if passes {
            // One that shares its line with two others comes this way each time: that it was heard is only
            // written where that says something new.
            if now.wrapping_sub(conn.heard) >= STALE {
                conn.heard = now;
            }
            table.note_in(self.line, at);
        }
        passes
    }
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

    /// Whether it is like another one in all but lengths, hops and ports.
    #[inline]
    fn is_like(&self, other: &Raw) -> bool {
        const ALL_BUT_HOPS: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0xff]);
        let (one, two) = (self.start ^ other.start, (self.middle ^ other.middle) & ALL_BUT_HOPS);
        (self.addresses ^ other.addresses) | u64::from(one | two) == 0
    }

    /// Whether it may go this way; and whether it is TCP.
    #[inline]
    fn kind(&self) -> (bool, bool) {
        let (start, middle) = (u32::from_be(self.start), u32::from_be(self.middle));
        // No fragment, and the protocol.
        let part = middle & 0x3fff_00ff;
        let tcp = part == u32::from(TCP);
        let long = u16::from_be(self.total) >= if tcp { 40 } else { 28 };
        (start >> 8 == 0x08_0045 && (tcp || part == u32::from(UDP)) && long, tcp)
    }
}

/// What packets have in common that are alike but for their ports.
#[derive(Clone, Copy, Debug, Default)]
struct Common {
    /// All but the ports, and where.
    plain: Plain,
    /// Their addresses' hash, and the last word of their keys but for the ports.
    hash: u64,
    last: u64,
    /// How far ports are rotated so that the low end's is first.
    turn: u32,
}

impl Common {
    #[inline]
    fn of(raw: &Raw, table: &Table, vlan: u16) -> Common {
        let (goes, tcp) = raw.kind();
        if !goes {
            return Common::default();
        }
        let (one, other) = (u64::from_be(raw.addresses), u64::from_be(raw.addresses).rotate_left(32));
        // In order without a branch that a guest's addresses decide.
        let near = one > other;
        let ends = Ends { addresses: one.min(other), word: Ends::what(vlan, tcp, usize::from(near)) };
        let source = (one >> 32) as u32;
        Common {
            plain: Plain { ends, source, near: u8::from(near), ..Plain::default() },
            hash: table.hash_addresses(ends.addresses),
            last: ends.last(),
            turn: if near { 16 } else { 0 },
        }
    }

    /// One with these ports, as they stand in it.
    #[inline]
    fn with(&self, ports: u32, table: &Table) -> Plain {
        let ports = u64::from(u32::from_be(ports).rotate_left(self.turn)) << 32;
        let Plain { ends: Ends { addresses, word }, .. } = self.plain;
        if word == 0 {
            return Plain { line: u32::MAX, ..self.plain };
        }
        let line = table.place(self.hash, self.last | ports);
        Plain { ends: Ends { addresses, word: word | ports }, line, ..self.plain }
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
