//! What is there of a burst's connections: where their lines are, and what stands in them.
//!
//! All of it is inlined into [`Lookup::run`], and that into whoever has a way for it ([`crate::Switch::set_look_up`]): so it is
//! compiled for as wide a processor as there is, and nothing here is unsafe. What is done for each packet are the loops of
//! [`Way::lines`](crate::groups::table) and `Run::look`; the rest is for each run.

use super::{Asked, BURST, Ready, Run};
use crate::groups::table::{Brief, Common, Conn, Ends, STALE, State, Table, Tags};
use crate::groups::tcp;

/// A way to look a burst up: it calls [`Lookup::run`].
pub type LookUp = fn(Lookup<'_>) -> (u64, u64);

/// A burst's packets and where to look for their connections.
pub struct Lookup<'a> {
    pub(super) ready: &'a mut Ready,
    pub(super) table: &'a Table,
    pub(super) runs: usize,
    pub(super) asked: Option<Asked>,
    pub(super) now: u32,
}

impl Lookup<'_> {
    /// Which packets pass, by number from the lowest bit on: surely, and as segments. `ask` brings what is there into the
    /// processor's cache, without waiting for it.
    #[inline(always)]
    #[must_use]
    pub fn run(self, ask: impl Fn(*const u8)) -> (u64, u64) {
        let Lookup { ready, table, runs, asked, now } = self;
        ready.find_lines(table, runs, &ask);
        ready.look(table, runs, asked, now, &ask)
    }
}

impl Ready {
    /// Where the packets' lines are; they are asked for.
    #[inline(always)]
    fn find_lines(&mut self, table: &Table, runs: usize, ask: &impl Fn(*const u8)) {
        for (number, run) in self.runs.iter().take(runs).enumerate() {
            let (all, some) = (run.all(), run.some());
            self.runs_of[all].fill(number as u8);
            if run.goes() {
                let (ports, lines) = (&mut self.ports[some.clone()], &mut self.lines[some]);
                if run.near != 0 {
                    ports.iter_mut().for_each(|ports| *ports = ports.rotate_left(16));
                }
                table.way(run.ends.addresses, run.ends.last()).lines(ports, lines);
                table.ask_for_lines(lines, ask);
                if run.ends.is_tcp() {
                    table.ask_for_places(lines, ask);
                }
            }
        }
    }

    /// Look into the lines. Which pass: surely, and as segments.
    #[inline(always)]
    fn look(
        &mut self,
        table: &Table,
        runs: usize,
        asked: Option<Asked>,
        now: u32,
        ask: &impl Fn(*const u8),
    ) -> (u64, u64) {
        let (mut sure, mut segments) = (0, 0);
        if !table.is_sure(now) {
            return (0, 0);
        }
        for run in self.runs.iter().take(runs).filter(|run| run.goes()) {
            let (all, some) = (run.all(), run.some());
            let question = Question::of(asked, now, run.near);
            let (ports, lines) = (&self.ports[some.clone()], &self.lines[some.clone()]);
            let (at, begin) = (&mut self.at[some], all.start);
            let whole = |bits: u64| if run.same && bits != 0 { lowest(all.len()) } else { bits };
            if run.ends.is_tcp() {
                segments |= whole(run.look::<true>(table, ports, lines, at, &question, ask)) << begin;
            } else {
                sure |= whole(run.look::<false>(table, ports, lines, at, &question, ask)) << begin;
            }
        }
        (sure, segments)
    }
}

impl Run {
    /// Which of its packets pass, by number from the lowest bit on: those with these ports, whose lines are there.
    #[inline(always)]
    fn look<const TCP: bool>(
        &self,
        table: &Table,
        ports: &[u32],
        lines: &[u32],
        at: &mut [u32],
        asked: &Question,
        ask: &impl Fn(*const u8),
    ) -> u64 {
        // The latest that was found has this in common with others, which are known by that.
        let mut tags = Tags::NOBODYS;
        let mut bits = 0;
        // The last first: so the bits of those before are put below without counting.
        let mut all = ports.iter().zip(lines).zip(at.iter_mut()).rev();
        // Who is found by that needs no call here, so all that is compared stays in registers.
        while let Some(((&ports, &line), at)) = all.find_map(|((ports, line), at)| {
            bits <<= 1;
            let there = if TCP {
                table.row(*line).map(|row| row.find(*ports, &tags))
            } else {
                table.line(*line).map(|line| (line.has(*ports, &tags), 0))
            };
            let Some((true, here)) = there else { return Some(((ports, line), at)) };
            bits |= 1;
            if TCP {
                *at = here;
            }
            None
        }) {
            if let Some(brief) = asked.finds(table, line, &Ends { ports, ..self.ends }) {
                bits |= 1;
                tags = Tags::of(brief.common(), asked.now);
                if TCP {
                    *at = table.at(line, brief.place);
                }
            }
        }
        if TCP {
            table.ask_for_halves(at, ask);
        }
        if asked.is_from(self.source) { bits } else { 0 }
    }
}

/// So many bits, from the lowest on.
#[inline]
fn lowest(many: usize) -> u64 {
    u64::MAX.wrapping_shr((BURST - many) as u32)
}

/// What is asked of the packets from one end, as it is compared.
pub(super) struct Question {
    /// Of the low end and, above, of the high one: stamps, and where there are any.
    stamps: u64,
    gates: u64,
    source: u32,
    sources: u32,
    pub(super) now: u32,
}

impl Question {
    #[inline]
    pub(super) fn of(asked: Option<Asked>, now: u32, near: u8) -> Question {
        let Asked { source, stamps: (own, far) } = asked.unwrap_or(Asked { source: None, stamps: (0, 0) });
        let all = |stamp: u32| if stamp == 0 { 0 } else { u64::from(u32::MAX) };
        let turn = u32::from(near) * 32;
        Question {
            stamps: (u64::from(far) << 32 | u64::from(own)).rotate_left(turn),
            gates: (all(far) << 32 | all(own)).rotate_left(turn),
            source: source.unwrap_or(0),
            sources: if source.is_some() { u32::MAX } else { 0 },
            now,
        }
    }

    /// Whether packets that this one sent come from where they must.
    #[inline]
    pub(super) fn is_from(&self, source: u32) -> bool {
        (source ^ self.source) & self.sources == 0
    }

    /// Whether a gate has not let a connection pass that was allowed so.
    #[inline]
    fn refuses(&self, allowed: u64) -> bool {
        (allowed ^ self.stamps) & self.gates != 0
    }

    /// What a line says of the connection of a packet with such ends: if it passes, and was heard a moment ago.
    #[inline(never)]
    pub(super) fn finds(&self, table: &Table, line: u32, ends: &Ends) -> Option<Brief> {
        let is_it = |common: &Common| common.has(ends) && !self.refuses(common.allowed);
        let line = table.line(line).filter(|_| table.is_sure(self.now))?;
        let mut there = line.with(ends.ports);
        there.find(|brief| brief.is_fresh(self.now) && table.common(brief.common()).is_some_and(is_it))
    }

    /// Whether that a connection was heard has to be written down: its line says nothing else.
    #[inline]
    pub(super) fn is_stale(&self, heard: u32) -> bool {
        self.now.wrapping_sub(heard) >= STALE
    }

    /// Whether packets from its `near` end pass as more of a connection, but for TCP's windows.
    #[inline]
    pub(super) fn goes_on(&self, conn: &Conn, near: u8) -> bool {
        let [low, high] = conn.allowed;
        let state = match conn.state {
            State::Tcp(tcp::State::Established) | State::Answered => true,
            State::New => near == conn.origin,
            _ => false,
        };
        state && !self.refuses(u64::from(high) << 32 | u64::from(low)) && !conn.is_old(self.now)
    }
}
