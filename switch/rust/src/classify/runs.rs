//! Frames in a row that need no thought: those like the last one, and those between stations that are known.
//!
//! Bursts are full of them. Each kind has a loop that does nothing but see whether the next frame is one more, so small
//! that the processor keeps in registers all that it is compared with; what was decided is written afterwards, for all at
//! once. That takes a third to a half of the instructions that `recall.rs` takes for one frame after the other. The first
//! that is none is left for that: what is asked here, is asked there.

use super::Desk;
use super::gates::passed;
use super::recall::{Last, Memo, Next, is_as_long};
use crate::Alike;
use crate::alike::leading;
use crate::decision::{Decision, Out, View};
use crate::groups::Tracker;
use crate::guard::Guard;
use crate::pairs::Pair;
use crate::parse::First;
use crate::private::Place;

impl Desk<'_> {
    /// Decide about those of the frames that are next in a burst, `out.len()` at most, that are as the last one says: how
    /// many, and their bytes. They are out of the burst, and all decided alike.
    #[inline(always)]
    pub(super) fn run<'v>(
        &mut self,
        memo: Memo,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        out: &mut [Decision],
    ) -> (usize, u64) {
        match self.last.next {
            Next::Same => self.same(memo, burst, out),
            Next::Stations => self.stations(memo, burst, out),
            Next::Other => (0, 0),
        }
    }

    /// Decide about a whole burst, if all of it is like the last one and known with that: how many they are, and their
    /// bytes. They are out of the burst.
    #[inline(always)]
    pub(super) fn whole<'v>(
        &mut self,
        memo: Memo,
        common: &Alike<'_>,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        out: &mut [Decision],
    ) -> Option<(usize, u64)> {
        let (count, most) = burst.size_hint();
        let (view, out) = (burst.clone().next()?, out.get_mut(..count)?);
        if most != Some(count) || self.last.next != Next::Same {
            return None;
        }
        let decision = self.known(memo, common, &view, burst, count)?;
        fill(out, &decision);
        burst.for_each(drop);
        Some((count, count as u64 * u64::from(view.len)))
    }

    /// What is decided about all `count` frames of a burst, if it is known by the first one and by what they have in common.
    #[inline(never)]
    fn known<'v>(
        &self,
        memo: Memo,
        common: &Alike<'_>,
        view: &View<'v>,
        burst: &(impl Iterator<Item = View<'v>> + Clone),
        count: usize,
    ) -> Option<Decision> {
        let (last, differ) = (&self.last, common.view());
        let (first, noted) = (First::of(view)?, First::of(&differ)?);
        let same = first.same(&last.first, last.judged) && noted.is_nowhere(last.judged);
        // Over a link, what is beside a frame is asked as well, also where groups look at it.
        if !same || !is_as_long(view, last.longest) || matches!(memo, Memo::Placed) {
            return None;
        }
        let decision = Decision { out: last.out, ..last.decision };
        if last.grouped {
            let passes =
                self.passing.longest <= last.longest && self.passing.sure.trailing_ones() as usize >= count;
            return passes.then_some(decision.judged(passed(last.out)));
        }
        let known = match memo {
            Memo::Open => true,
            _ if !last.admitted => true,
            Memo::Source if last.plain4 != 0 => {
                let source = |view: View<'_>| Guard::plain4(view.head);
                source(*view) == last.plain4
                    && (Guard::is_plain4_alike(view.head, differ.head, common.ports(count))
                        || burst.clone().all(|view| source(view) == last.plain4))
            }
            Memo::Source if last.plain6 != 0 => {
                Guard::plain6(view.head) == last.plain6 && Guard::is_plain6_alike(view.head, differ.head)
            }
            Memo::Source | Memo::Placed | Memo::Nothing => false,
        };
        known.then_some(decision)
    }

    /// Those that are like the last one and known with that.
    #[inline(always)]
    fn same<'v>(
        &mut self,
        memo: Memo,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        out: &mut [Decision],
    ) -> (usize, u64) {
        let last = self.last;
        let mut decision = Decision { out: last.out, ..last.decision };
        let (mut room, mut segments, mut alike) = (out.len(), false, false);
        if last.grouped {
            alike = self.passing.longest <= last.longest;
            decision.judged = passed(last.out);
            let in_a_row = |bits: u64| (bits >> (self.number & 63)).trailing_ones() as usize;
            let mut passing = in_a_row(self.passing.sure);
            if passing == 0 {
                (passing, segments) = (in_a_row(self.passing.segments), true);
            }
            room = room.min(passing);
        }
        // A loop for each, so that it has nothing to decide but what is asked there.
        let place = last.decision.place;
        let (count, bytes) = match memo {
            _ if segments && alike && !matches!(memo, Memo::Placed) => {
                let tracker = self.tracker.as_deref_mut();
                tracker.map_or((0, 0), |tracker| tracker.carry_on(self.number, burst, room))
            }
            _ if segments => {
                let (any, mut tracker) = (!matches!(memo, Memo::Placed), self.tracker.as_deref_mut());
                let mut numbers = self.number..;
                last.repeats(burst, room, |view| {
                    let goes_on = |tracker: &mut &mut Tracker| {
                        numbers.next().is_some_and(|n| tracker.carries_on(n, view))
                    };
                    (any || view.place == place) && tracker.as_mut().is_some_and(goes_on)
                })
            }
            Memo::Placed => last.repeats(burst, room, |view| view.place == place),
            _ if alike => take(burst, room),
            _ if last.grouped || !last.admitted || matches!(memo, Memo::Open) => {
                last.repeats(burst, room, |_| true)
            }
            Memo::Source if last.plain4 != 0 => {
                last.repeats(burst, room, |view| Guard::plain4(view.head) == last.plain4)
            }
            Memo::Source if last.plain6 != 0 => {
                last.repeats(burst, room, |view| Guard::plain6(view.head) == last.plain6)
            }
            _ => (0, 0),
        };
        fill(out.get_mut(..count).unwrap_or_default(), &decision);
        (count, bytes)
    }

    /// Those that are like the last one but for their stations, which are a pair that is known, all for one port.
    #[inline(always)]
    fn stations<'v>(
        &mut self,
        memo: Memo,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        out: &mut [Decision],
    ) -> (usize, u64) {
        let last = self.last;
        let room = if last.admitted { out.len() } else { 0 };
        let (count, bytes) = match memo {
            Memo::Open => self.couples(burst, room, |_| Some(0)),
            Memo::Source => {
                self.couples(burst, room, |view| Some(Guard::plain4(view.head)).filter(|source| *source != 0))
            }
            Memo::Placed if self.is_unasked(memo, last.decision.place) => {
                self.couples(burst, room, |view| (view.place == Place::PROMISCUOUS).then_some(0))
            }
            Memo::Placed | Memo::Nothing => (0, 0),
        };
        let decision = Decision { out: self.last.out, ..last.decision };
        fill(out.get_mut(..count).unwrap_or_default(), &decision);
        (count, bytes)
    }

    /// How many of a burst's next frames are that, `room` at most, and their bytes. They are out of the burst. The source
    /// that the guard has to admit one with is asked for, 0 where there is no guard; `None`: it needs a look.
    #[inline(always)]
    fn couples<'v>(
        &mut self,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        room: usize,
        source: impl Fn(&View<'v>) -> Option<u32>,
    ) -> (usize, u64) {
        let Last { first: last, longest, decision, .. } = self.last;
        let (judged, ingress) = (*self.last.judged, self.id);
        let seeker = self.pairs.seek(self.fdb.version());
        let (mut count, mut bytes, mut to) = (0, 0, 0);
        let mut latest = None;
        while count < room {
            let before = burst.clone();
            let Some(view) = burst.next() else { break };
            // No closures, which were not inlined where there are several.
            let known = 'known: {
                let (Some(first), Some(source)) = (First::of(&view), source(&view)) else {
                    break 'known None;
                };
                if !first.same_behind(&last, &judged) || !is_as_long(&view, longest) {
                    break 'known None;
                }
                seeker.find(Pair::new(&first, decision.vlan, ingress), source)
            };
            let (Some(port), true) = (known, count == 0 || known == Some(to)) else {
                *burst = before;
                break;
            };
            to = port;
            latest = Some(before);
            count += 1;
            bytes += u64::from(view.len);
        }
        if let Some(view) = latest.and_then(|mut latest| latest.next())
            && let Some(first) = First::of(&view)
        {
            self.pairs.found(count);
            self.last.grouped = false;
            (self.last.first, self.last.out) = (first, Out::Port(to));
            self.last.plain4 = source(&view).unwrap_or_default();
        }
        (count, bytes)
    }
}

impl Last {
    /// How many of a burst's next frames are like it and `known`, `room` at most, and their bytes. They are out of the
    /// burst.
    #[inline(always)]
    fn repeats<'v>(
        &self,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        room: usize,
        mut known: impl FnMut(&View<'v>) -> bool,
    ) -> (usize, u64) {
        let (last, judged, longest) = (self.first, *self.judged, self.longest);
        leading(burst, room, |view| {
            let like = First::of(view).is_some_and(|first| first.same(&last, &judged));
            like && is_as_long(view, longest) && known(view)
        })
    }
}

/// A burst's next frames, `room` at most, which are like the last one as far as anybody asks: how many, and their bytes.
#[inline(always)]
fn take<'v>(burst: &mut impl Iterator<Item = View<'v>>, room: usize) -> (usize, u64) {
    let taken = burst.take(room);
    taken.fold((0, 0), |(count, bytes), view| (count + 1, bytes + u64::from(view.len)))
}

/// All of these are decided so. Not inlined: it is known field by field there, and would be written so.
#[inline(never)]
fn fill(out: &mut [Decision], decision: &Decision) {
    out.fill(*decision);
}
