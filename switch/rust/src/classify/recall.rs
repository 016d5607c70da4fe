//! The short way: what was decided about the last frame, or about two stations, holds for most others.
//!
//! Most frames are like the one before from the same port: same addresses, same tags. What was
//! decided then is kept (`Last`) and is right as long as FDB and configuration have the same version,
//! which also changes with every step of coarse time, so that a station that talks is heard. Such a
//! frame is compared as three words and costs no parsing and no lookup. Most others differ in nothing but
//! their addresses (`recall_stations`): where both stations are known, two lookups make the decision, or
//! one in the cache of what such lookups came to (`pairs.rs`).
//!
//! The guard judges by more than that. But a plain packet that it has admitted it admits again from the
//! same station with the same source, so that source is kept, with the last decision and in the FDB's
//! entry of the station, which is looked up anyway. Whatever else looks at every frame of a port has to
//! be asked in `recall` and `recall_stations`, or must say there that they don't apply.
//!
//! Where many come at once, runs of such frames are looked at first (`runs.rs`); what is here is for the others.
//!
//! What profiling said (`examples/cycles.rs`): a frame like the last one takes some 80 instructions, in a run 25, one
//! from and to other stations about 200, in a run 90, and more where their pair is not in the cache; so up to 100,000
//! stations it is instructions that count, not the processor's cache. Going over the burst once before, to bring the slots into
//! the cache, gained nothing even then: the lookups of neighbouring frames do not depend on each other,
//! and the processor overlaps them by itself. Words are loaded one by one, on purpose: the same with
//! `array::map` or `from_fn` was not inlined, and ten times slower. And what is written field by field is
//! not read as a word soon after: such a read waits until the writes have arrived in the cache, which
//! takes longer than all the rest.

use super::Desk;
use super::gates::passed;
use super::judge::Guarded;
use crate::config::PortConfig;
use crate::decision::{Decision, Out, View};
use crate::egress::longest;
use crate::fdb::key;
use crate::groups::{Asked, Passing};
use crate::guard::Guard;
use crate::pairs::Pair;
use crate::parse::{First, Header, JUDGED};
use crate::private::Place;
use crate::{DropReason, PortId};

/// The last decision at a port, and what it holds for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(super) first: First,
    pub(super) judged: &'static First,
    /// Where it went. What `decision` says of that is where the last one went that was parsed: a word
    /// that was written in part a moment ago can't be read as a whole without waiting.
    pub(super) out: Out,
    pub(super) decision: Decision,
    /// It came past the guard, or there is none.
    pub(super) admitted: bool,
    /// Security groups look at every frame of this kind.
    pub(super) grouped: bool,
    /// Where they do: the stamps of both gates, 0 where there is none.
    stamps: (u32, u32),
    /// At a port with a guard: the source that plain frames from this station are admitted with, of
    /// IPv4 and IPv6; 0 for none.
    pub(super) plain4: u32,
    pub(super) plain6: u128,
    /// No longer frame is like it, but for super-frames; 0 when none is.
    pub(super) longest: u32,
    /// What the next frames may be, by this one.
    pub(super) next: Next,
    /// Of FDB and configuration, when the burst was over.
    version: u64,
}

impl Last {
    pub(crate) const NONE: Last = Last {
        first: JUDGED[0],
        judged: &JUDGED[0],
        out: Out::Drop(DropReason::Runt),
        decision: Decision::dropped(DropReason::Runt),
        admitted: false,
        grouped: false,
        stamps: (0, 0),
        plain4: 0,
        plain6: 0,
        longest: 0,
        next: Next::Other,
        version: 0,
    };

    /// It holds for nothing if FDB or configuration have another version since.
    #[inline]
    pub(super) fn expect(&mut self, version: u64) {
        if self.version != version {
            self.longest = 0;
        }
    }

    /// Whether it may have gone to several ports.
    #[inline]
    pub(super) fn floods(&self) -> bool {
        self.out.flood().is_some()
    }

    /// Whether it is right for a frame like it, where no security group looks at it.
    #[inline(always)]
    fn knows(&self, memo: Memo, view: &View<'_>) -> bool {
        match memo {
            Memo::Open => true,
            Memo::Placed => view.place == self.decision.place,
            _ if !self.admitted => true,
            Memo::Source if self.plain4 != 0 => Guard::plain4(view.head) == self.plain4,
            Memo::Source => self.plain6 != 0 && Guard::plain6(view.head) == self.plain6,
            Memo::Nothing => false,
        }
    }

    /// Whether it is right for a frame that came by itself. What there is to do for a burst takes several times as long as
    /// this, and somebody waits for the one frame. False when that is not certain.
    #[inline(always)]
    pub(super) fn holds(&self, config: &PortConfig, version: u64, view: &View<'_>) -> bool {
        let to_one = matches!(self.out, Out::Port(_)) && self.next == Next::Same && !self.grouped;
        to_one
            && self.version == version
            && is_as_long(view, self.longest)
            && First::of(view).is_some_and(|first| first.same(&self.first, self.judged))
            && self.knows(Memo::of(config), view)
    }

    /// The same, made by this version.
    #[inline]
    pub(super) fn since(self, version: u64) -> Last {
        Last { version, ..self }
    }
}

/// Whether a frame is as long as one may be that is like the last one. Super-frames are cut, or received as they are.
#[inline(always)]
pub(super) fn is_as_long(view: &View<'_>, longest: u32) -> bool {
    view.len <= longest || view.gso && longest > 0
}

/// What the frames behind one may be, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It was like the last one: so may they be.
    Same,
    /// It differed in its stations, and theirs was a pair that is known.
    Stations,
    Other,
}

/// What a port may remember of the frames that it let in.
#[derive(Clone, Copy)]
pub(super) enum Memo {
    /// Everything: there is no guard.
    Open,
    /// Everything for the place of its sender: the port is the end of a link.
    Placed,
    /// The source that a plain frame was admitted with.
    Source,
    /// Nothing: every frame is asked about.
    Nothing,
}

impl Memo {
    pub(super) fn of(config: &PortConfig) -> Memo {
        match &config.guard {
            None if config.places => Memo::Placed,
            None => Memo::Open,
            Some(guard) if guard.remembers() => Memo::Source,
            Some(_) => Memo::Nothing,
        }
    }
}

impl Desk<'_> {
    /// From now on a frame that took the long way is the last one.
    #[inline]
    pub(super) fn remember(
        &mut self,
        first: First,
        header: &Header,
        decision: &Decision,
        guarded: Guarded,
        view: &View<'_>,
    ) {
        let tags = header.tags.count();
        // What was looked up was for the last one.
        self.passing = Passing::NONE;
        self.last.first = first;
        self.last.judged = &JUDGED[usize::from(tags).min(2)];
        // The addresses don't tell which group a frame is for, nor that it is a report.
        let snooped = decision.vlan != 0 && self.is_snooped(decision.vlan, header.dst);
        // Each BPDU is counted.
        let counted = decision.vlan == 0 && self.is_bpdu(header);
        self.last.longest = if snooped || counted { 0 } else { longest(self.config.mtu, tags) };
        (self.last.out, self.last.decision) = (decision.out, *decision);
        self.last.admitted = guarded == Guarded::Admitted;
        self.last.grouped = self.last.admitted && self.tracker.is_some() && self.has_gate(decision);
        let to = decision.to().and_then(|port| self.gate_of(port));
        self.last.stamps = (self.gate.map_or(0, |gate| gate.stamp), to.map_or(0, |gate| gate.stamp));
        if self.last.admitted && self.config.guard.is_some() {
            self.last.plain4 = Guard::plain4(view.head);
            self.last.plain6 = Guard::plain6(view.head);
            if self.last.plain4 != 0 {
                self.fdb.bind(key(decision.vlan, header.src), self.id, self.last.plain4);
            }
        }
        if self.reads() && Guard::plain4(view.head) == 0 {
            // The next one may ask for another address, or say who is where.
            self.last.longest = 0;
        }
    }

    /// Whether security groups look at each frame that is like the last one.
    #[inline]
    pub(super) fn is_grouped(&self) -> bool {
        self.last.grouped
    }

    /// What was decided about the last frame, where it is right for this one, too; or with this one's
    /// addresses in it, where those are all that differs and both stations are known.
    #[inline(always)]
    pub(super) fn recall(
        &mut self,
        memo: Memo,
        first: &First,
        view: &View<'_>,
        decision: &mut Decision,
    ) -> bool {
        let last = &self.last;
        if !is_as_long(view, last.longest) {
            return false;
        }
        if !first.same(&last.first, last.judged) {
            self.last.next = Next::Other;
            return self.recall_stations(memo, first, view, decision);
        }
        if last.next != Next::Same {
            // Not each time: what was written in part a moment ago can't be read as a whole without waiting, and
            // all of it is when the burst is over.
            self.last.next = Next::Same;
        }
        let last = &self.last;
        if last.grouped {
            if matches!(memo, Memo::Placed) && view.place != last.decision.place {
                return false;
            }
            if self.passing.sure >> self.number & 1 != 0 || self.goes_short(memo, view) {
                // It is TCP or UDP, and asks for nobody.
                let out = self.last.out;
                *decision = Decision { out, judged: passed(out), ..self.last.decision };
            } else if self.reads() {
                return false;
            } else {
                *decision = self.judge_again(first, view);
            }
            return true;
        }
        let known = last.knows(memo, view);
        if known {
            *decision = Decision { out: last.out, ..last.decision };
        }
        known
    }

    /// A frame that is like the last one, but for what security groups look at.
    #[inline(never)]
    fn judge_again(&mut self, first: &First, view: &View<'_>) -> Decision {
        let last = self.last.decision;
        let judged = first.parse().and_then(|header| {
            self.guard(&header, last.vlan, view)?;
            Ok(self.judge_groups(&header, last, view))
        });
        judged.unwrap_or_else(|reason| Decision { out: Out::Drop(reason), ..last })
    }

    /// The same for a frame with other addresses, of which both are known.
    #[inline(never)]
    fn recall_stations(
        &mut self,
        memo: Memo,
        first: &First,
        view: &View<'_>,
        decision: &mut Decision,
    ) -> bool {
        let last = &self.last;
        if !first.same_behind(&last.first, last.judged) || !last.admitted {
            return false;
        }
        let mut plain4 = 0;
        if matches!(memo, Memo::Source) {
            plain4 = Guard::plain4(view.head);
            if plain4 == 0 {
                return false;
            }
        } else if !matches!(memo, Memo::Open) && !self.is_unasked(memo, view.place) {
            return false;
        }
        let vlan = last.decision.vlan;
        let pair = Pair::new(first, vlan, self.id);
        let known = self.pairs.find(pair, plain4, self.fdb.version());
        if known.is_some() {
            self.last.next = Next::Stations;
        }
        let Some(port) = known.or_else(|| self.look_up(first, pair, plain4)) else { return false };
        let out = Out::Port(port);
        *decision = Decision { out, ..self.last.decision };
        self.last.grouped = false;
        // What is asked for while there is a source of IPv4 is that alone.
        (self.last.first, self.last.out, self.last.plain4) = (*first, out, plain4);
        true
    }

    /// Whether a frame is let in unasked that is like the last one but for its stations: over a link, where
    /// neither stands in a private network. All who do take the long way.
    #[inline(never)]
    pub(super) fn is_unasked(&self, memo: Memo, place: Place) -> bool {
        matches!(memo, Memo::Placed) && [place, self.last.decision.place] == [Place::PROMISCUOUS; 2]
    }

    /// Where a frame goes from one station to another, as long as the FDB stays as it is, which the pairs don't
    /// tell; `None` where more is to be done than to look both up. `plain4`: the source that the guard has to admit it with.
    #[inline(never)]
    fn look_up(&mut self, first: &First, pair: Pair, plain4: u32) -> Option<PortId> {
        if first.any_group() || !self.config.learning || self.config.private.is_some() {
            return None;
        }
        let (dst, src) = first.addresses();
        let vlan = self.last.decision.vlan;
        let (from, to) = (self.fdb.find(key(vlan, src))?, self.fdb.find(key(vlan, dst))?);
        let heard = from.port == self.id && self.fdb.fresh(&from);
        if !heard || to.port == self.id || plain4 != 0 && plain4 != self.fdb.bound(&from) {
            return None;
        }
        if self.tracker.is_some() && (self.gate.is_some() || self.gate_of(to.port).is_some()) {
            return None;
        }
        self.pairs.put(pair, plain4, self.fdb.version(), to.port);
        Some(to.port)
    }

    /// What is asked about a frame like the last one, to go the short way past guard and groups; `None`: it does not.
    #[inline]
    pub(super) fn asked(&self, memo: Memo) -> Option<Asked> {
        let Last { plain4, stamps, .. } = self.last;
        let source = match memo {
            Memo::Open | Memo::Placed => None,
            Memo::Source if plain4 != 0 => Some(plain4),
            Memo::Source | Memo::Nothing => return None,
        };
        Some(Asked { source, stamps })
    }

    /// Whether a frame like the last one goes the short way past guard and groups, though that is not sure.
    #[inline(never)]
    fn goes_short(&mut self, memo: Memo, view: &View<'_>) -> bool {
        let asked = self.asked(memo);
        let (Some(tracker), Some(asked)) = (&mut self.tracker, asked) else { return false };
        if self.passing.segments >> self.number & 1 != 0 {
            return tracker.carries_on(self.number, view);
        }
        tracker.passes(self.number, view, asked)
    }
}
