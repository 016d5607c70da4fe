//! The short way of most packets: IPv4 without tag, options or fragments, UDP or an acknowledgement of
//! TCP, of a connection that both gates know.
//!
//! A burst is looked up before it is decided. First each packet's ends are hashed and the line that they lead to is
//! asked for (`table/line.rs`), and nobody waits for it: thousands of connections don't fit the fastest caches, and
//! copying long frames displaces lines from the second one. Then all lines are looked into: which packets pass is
//! known with that, and of TCP only the windows are left to be asked, in order; those of one connection mostly together
//! (`tcp/row.rs`).
//!
//! That holds as long as nothing but the short way is taken. Whatever else happens to a connection, or changes what
//! is asked, makes the rest of the burst ask one by one ([`Tracker::passes`](super::Tracker::passes)); a connection
//! that has gone since is not there any more, and one that is further behind is looked for in the chain.
//!
//! A packet like the one before it, with the same ends, is not looked up at all: it shares what was found.
//!
//! Between two guests the instructions are what it costs, more than the memory: so there are no branches but those
//! that go one way nearly always, ends are compared as they lie in the packet, but for the order, and each of three small
//! loops goes over the whole burst. What packets in a row have in common is not repeated for each, and where their lines
//! are is reckoned for some at once, which is why the hash is of 32 bits. It takes some 30 instructions a packet where a
//! door says what a burst has in common (`Alike`), and as many more where it does not.

use super::packet::Key;
use super::raw::{Raw, acknowledgement};
use super::table::{Ends, Table};
use super::tcp;
use crate::alike::leading;
use crate::headers::{TCP, UDP};
use crate::{Alike, View};
use look::Question;
pub use look::{LookUp, Lookup};
use std::ops::Range;

mod look;

/// Packets looked up together.
pub(crate) const BURST: usize = 64;

/// What packets in a row have in common that are alike but for their ports, their stations included.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// All but the ports.
    ends: Ends,
    /// Who sent them.
    source: u32,
    /// Which of the ends sent them.
    near: u8,
    /// The numbers of the first, and of the first that does not belong to it.
    begin: u8,
    end: u8,
    /// They have the ports in common, too.
    same: bool,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    /// As they are.
    pub(crate) sure: u64,
    /// If the windows of their connection allow: [`Tracker::carries_on`](super::Tracker::carries_on).
    pub(crate) segments: u64,
    /// How long the longest is, if all are like the last one before them; `u32::MAX`: they are not.
    pub(crate) longest: u32,
}

impl Passing {
    pub(crate) const NONE: Passing = Passing { sure: 0, segments: 0, longest: u32::MAX };
}

/// A burst's packets, and where their connections are, by number in the burst. In columns, so that what is alike is there
/// once, and little is written for each.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    /// Their ports, as they stand in them, and then the low end's first; where their lines are; and of TCP where the
    /// connections are that were found. Of packets with the same ends the first has all but the ports.
    ports: [u32; BURST],
    lines: [u32; BURST],
    at: [u32; BURST],
    /// Which of these runs each belongs to.
    runs_of: [u8; BURST],
    runs: [Run; BURST],
}

/// What an index is at most.
const LAST: usize = BURST - 1;

impl Ready {
    pub(super) fn new() -> Ready {
        Ready {
            ports: [0; BURST],
            lines: [0; BURST],
            at: [0; BURST],
            runs_of: [0; BURST],
            runs: [Run::default(); BURST],
        }
    }

    /// Look up a burst that came in `now` by a port whose untagged frames are in `vlan`. Which of its packets pass. `alike`:
    /// what is known of all of them. `like`: whether one has the stations and tags of the last one before them.
    ///
    /// In three loops, each of which is so small that the processor has all of it in registers: what they are, where
    /// their lines are, and what is there.
    #[inline]
    pub(super) fn bring<'a>(
        &mut self,
        table: &Table,
        views: impl Iterator<Item = View<'a>> + Clone,
        alike: Option<&Alike<'_>>,
        (vlan, now): (u16, u32),
        asked: Option<Asked>,
        like: impl Fn(&View<'a>) -> bool,
    ) -> Passing {
        const { assert!(BURST == u64::BITS as usize) };
        let one = match alike {
            Some(alike) => self.alike(views.clone(), alike, vlan, &like),
            None => self.whole(views.clone(), vlan, &like),
        };
        let (runs, longest) = one.map_or_else(|| self.sort(views, vlan, &like), |longest| (1, longest));
        let (sure, segments) = table.look_up(Lookup { ready: self, table, runs, asked, now });
        if asked.is_some() { Passing { sure, segments, longest } } else { Passing::NONE }
    }

    /// The packets' ports, where all are one run, by what is known of all of them. The rest as of [`Ready::sort`].
    #[inline]
    fn alike<'a>(
        &mut self,
        mut views: impl Iterator<Item = View<'a>> + Clone,
        alike: &Alike<'_>,
        vlan: u16,
        like: &impl Fn(&View<'a>) -> bool,
    ) -> Option<u32> {
        let view = views.next()?;
        let ((first, own), (noted, differ)) = (Raw::of(&view), Raw::of(&alike.view()));
        if !first.is_sure() || !noted.is_little() {
            return None;
        }
        let (others, most) = views.size_hint();
        let number = if most == Some(others) { others + 1 } else { 1 + views.clone().count() };
        self.ports[0] = own;
        match (alike.ports(number), self.ports.get_mut(..number)) {
            _ if differ == 0 => {}
            (Some(ports), Some(places)) => places.copy_from_slice(ports),
            _ => {
                let [_, places @ ..] = &mut self.ports;
                views.zip(places).for_each(|(view, place)| *place = Raw::ports(&view));
            }
        }
        self.begin(0, 0, &view, vlan);
        self.end(1, number, differ);
        Some(if like(&view) { view.len } else { u32::MAX })
    }

    /// The packets' ports, where all are one run and of one length, as they are where somebody sends much: then it is enough
    /// to gather what differs, and to look at that once. The rest as of [`Ready::sort`].
    #[inline]
    fn whole<'a>(
        &mut self,
        mut views: impl Iterator<Item = View<'a>> + Clone,
        vlan: u16,
        like: &impl Fn(&View<'a>) -> bool,
    ) -> Option<u32> {
        let view = views.next()?;
        let (first, own) = Raw::of(&view);
        let second = views.clone().next();
        if !first.is_sure() || second.is_some_and(|second| !Raw::of(&second).0.is_like(&first)) {
            return None;
        }
        let (mut noted, mut differ, mut longest, mut number) = (Raw::NONE, 0, view.len, 1_usize);
        self.ports[0] = own;
        views.for_each(|view| {
            let (raw, ports) = Raw::of(&view);
            noted.note(&raw, &first);
            differ |= ports ^ own;
            longest = view.len.max(longest);
            self.ports[number & LAST] = ports;
            number += 1;
        });
        if !noted.is_little() {
            return None;
        }
        self.begin(0, 0, &view, vlan);
        self.end(1, number, differ);
        Some(if like(&view) { longest } else { u32::MAX })
    }

    /// The packets' ports, and the runs, of which it says how many there are; and how long the longest is, as in
    /// [`Passing`]. Those of a run have the same stations: so one of them is asked about.
    #[inline]
    fn sort<'a>(
        &mut self,
        views: impl Iterator<Item = View<'a>>,
        vlan: u16,
        like: &impl Fn(&View<'a>) -> bool,
    ) -> (usize, u32) {
        let (mut number, mut runs) = (0_usize, 0);
        // The ports of the latest run's first, and where those of others differ.
        let (mut first, mut own, mut differ) = (Raw::NONE, 0, 0);
        let (mut longest, mut alike) = (0, true);
        // By `for_each`, which is compiled to half of what a `for` is here.
        views.for_each(|view| {
            let (raw, ports) = Raw::of(&view);
            longest = view.len.max(longest);
            if !(raw.is_like(&first) & raw.is_sure()) {
                self.end(runs, number, differ);
                first = self.begin(runs, number, &view, vlan);
                (own, differ) = (ports, 0);
                alike &= like(&view);
                runs += 1;
            }
            differ |= ports ^ own;
            self.ports[number & LAST] = ports;
            number += 1;
        });
        self.end(runs, number, differ);
        (runs, if alike { longest } else { u32::MAX })
    }

    /// Another run begins with this one.
    #[inline(never)]
    fn begin(&mut self, runs: usize, number: usize, view: &View<'_>, vlan: u16) -> Raw {
        let (raw, _) = Raw::of(view);
        self.runs[runs & LAST] = Run { begin: number as u8, ..Run::of(&raw, vlan) };
        raw
    }

    /// The latest run ends here. `differ`: 0 if all of it have the same ports.
    #[inline]
    fn end(&mut self, runs: usize, number: usize, differ: u32) {
        let run = &mut self.runs[runs.wrapping_sub(1) & LAST];
        (run.end, run.same) = (number as u8, differ == 0);
    }

    /// The run that one of the burst belongs to, and where what was found for it stands.
    #[inline]
    fn place(&self, number: usize) -> (&Run, usize) {
        let run = &self.runs[usize::from(self.runs_of[number & LAST]) & LAST];
        (run, if run.same { usize::from(run.begin) } else { number } & LAST)
    }

    /// Whether a packet that [`Passing`] has as a segment is one more of its connection.
    #[inline]
    pub(super) fn carries_on(&self, table: &mut Table, number: usize, view: &View<'_>) -> bool {
        let (run, place) = self.place(number);
        table.get_mut(self.at[place]).is_some_and(|conn| carries_on(&mut conn.halves, run.near.into(), view))
    }

    /// How many of a burst's next packets, which [`Passing`] has as segments, are more of their connections, from `number` on
    /// and `room` at most; and their bytes. They are out of the burst.
    #[inline]
    pub(super) fn carry_on<'v>(
        &self,
        table: &mut Table,
        number: usize,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        room: usize,
    ) -> (usize, u64) {
        let (mut count, mut bytes) = (0, 0);
        while count < room {
            let (run, place) = self.place(number + count);
            let most = usize::from(run.end).saturating_sub(number + count).min(room - count);
            let near = usize::from(run.near);
            // Of one connection, and mostly alike: then they are asked about together.
            let row = (run.same && most > 1).then(|| tcp::Row::of(burst.clone().take(most))).flatten();
            let known = row.zip(table.get_mut(self.at[place])).is_some_and(|(row, conn)| {
                let (sender, receiver) = tcp::ends(&mut conn.halves, near);
                row.carries_on(sender, receiver)
            });
            let mut all = self.at[place..].iter();
            let (more, long) = leading(burst, most, |view| {
                let at = if run.same { self.at.get(place) } else { all.next() };
                known
                    || at
                        .and_then(|at| table.get_mut(*at))
                        .is_some_and(|conn| carries_on(&mut conn.halves, near, view))
            });
            count += more;
            bytes += long;
            if more < most || most == 0 {
                break;
            }
        }
        (count, bytes)
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
        let (run, place) = self.place(number);
        let question = Question::of(Some(asked), now, run.near);
        if !run.goes() || !question.is_from(run.source) {
            return false;
        }
        let plain = Plain {
            ends: Ends { ports: self.ports[place], ..run.ends },
            line: self.lines[place],
            near: run.near,
        };
        if let Some(brief) = question.finds(table, plain.line, &plain.ends) {
            if !plain.ends.is_tcp() {
                return true;
            }
            // It is established, or it would not be in its line.
            let at = table.at(plain.line, brief.place);
            return table.get_mut(at).is_some_and(|conn| carries_on(&mut conn.halves, run.near.into(), view));
        }
        plain.behind(table, view, &question)
    }
}

impl Ends {
    /// The last word of the key of such a connection.
    #[inline]
    fn last(&self) -> u64 {
        let proto = if self.is_tcp() { TCP } else { UDP };
        let ports = u64::from(u32::from_be(self.ports)) << 32;
        ports | u64::from(self.vlan()) << 16 | 4 << 8 | u64::from(proto)
    }

    fn key(&self) -> Key {
        Key([0, self.addresses >> 32, 0, self.addresses & 0xffff_ffff, self.last()])
    }
}

impl Run {
    /// One that begins with such a packet, of which the ends are known but for the ports.
    #[inline]
    fn of(raw: &Raw, vlan: u16) -> Run {
        let (goes, tcp) = raw.kind();
        if !goes {
            return Run::default();
        }
        let (one, other) = (u64::from_be(raw.addresses), u64::from_be(raw.addresses).rotate_left(32));
        // In order without a branch that a guest's addresses decide.
        let near = one > other;
        let what = Ends::what(vlan, tcp, usize::from(near));
        let ends = Ends { addresses: one.min(other), ports: 0, what };
        Run { ends, source: (one >> 32) as u32, near: u8::from(near), ..Run::default() }
    }

    /// Its packets' numbers.
    #[inline]
    fn all(&self) -> Range<usize> {
        let begin = usize::from(self.begin).min(BURST);
        begin..usize::from(self.end).clamp(begin, BURST)
    }

    /// Those of whom it is found out: of packets with the same ends the first.
    #[inline]
    fn some(&self) -> Range<usize> {
        let all = self.all();
        if self.same { all.start..all.end.min(all.start + 1) } else { all }
    }

    /// Whether its packets go this way at all.
    #[inline]
    fn goes(&self) -> bool {
        self.ends.what != 0
    }
}

/// One packet, where its line does not say enough.
struct Plain {
    ends: Ends,
    line: u32,
    near: u8,
}

impl Plain {
    /// Whether it passes, where its line says nothing about its connection, or nothing that is fresh.
    #[cold]
    fn behind(&self, table: &mut Table, view: &View<'_>, question: &Question) -> bool {
        if self.ends.is_odd() {
            return false;
        }
        let own = self.ends.key();
        let Some(at) = table.seek(&own) else { return false };
        let Some(conn) = table.get_mut(at) else { return false };
        let passes = question.goes_on(conn, self.near)
            && (!self.ends.is_tcp() || carries_on(&mut conn.halves, self.near.into(), view));
        if passes {
            // That it was heard is only written where that says something new, and a place only asked for where there
            // may be one.
            let there = table.row(self.line).is_some_and(|row| row.offers(at));
            if let Some(conn) = table.get_mut(at).filter(|conn| there || question.is_stale(conn.heard)) {
                conn.heard = question.now;
                table.note_in(self.line, at);
            }
        }
        passes
    }
}

/// Whether it is one more segment of an established connection.
#[inline(always)]
fn carries_on(halves: &mut [tcp::Half; 2], near: usize, view: &View<'_>) -> bool {
    let (sender, receiver) = tcp::ends(halves, near);
    acknowledgement(view).is_some_and(|segment| tcp::carries_on(sender, receiver, &segment))
}

#[cfg(test)]
mod tests;
