//! What happens to a frame on its way in (802.1Q 8.6): one burst from one port, frame by frame.
//!
//! The order of the checks is part of what users see, because the first that fails names the drop:
//! port down, runt, malformed tag, giant, source address, link-local destination, VLAN, guard, then learning
//! (sticky stations, the port's limit), then the destination, and last storm control.
//!
//! In reading order: here, what comes in, and what goes into the books; `judge.rs`, the checks; `learn.rs`;
//! `route.rs`; `gates.rs`, security groups; and last `recall.rs` and `runs.rs`, the short way, which most frames take.

mod gates;
mod judge;
mod learn;
mod recall;
mod route;
mod runs;

pub(crate) use judge::vlan;
pub(crate) use recall::Last;

use crate::account::Allowances;
use crate::beyond::Beyond;
use crate::config::PortConfig;
use crate::decision::{Decision, Flood, Out, View};
use crate::fdb::Fdb;
use crate::groups::{BURST, Gate, Passing, Tracker};
use crate::guard::Memory;
use crate::limits::{Bucket, StormMeter};
use crate::members::Vlans;
use crate::multicast::Snooper;
use crate::pairs::Pairs;
use crate::parse::First;
use crate::proxy::Gateways;
use crate::stp::PortState;
use crate::switch::Port;
use crate::{Alike, DropReason, Nanos, PortCounters, PortId, Switch};
use recall::{Memo, Next};
use std::collections::BTreeSet;
use std::ops::Range;

impl Switch {
    /// Decide about a burst of frames that came in by `ingress`, in order, and learn from them.
    ///
    /// Takes at most `out.len()` frames and writes one decision for each; returns how many, and [`Switch::decided_alike`]
    /// whether all decisions are the same. Counts
    /// received, forwarded and dropped frames at the ingress port. A frame for a port that does not
    /// exist is `port-down`, and counted nowhere.
    #[inline]
    pub fn classify<'a>(
        &mut self,
        now: Nanos,
        ingress: PortId,
        burst: impl IntoIterator<Item = View<'a>, IntoIter: Clone>,
        out: &mut [Decision],
    ) -> usize {
        self.classify_alike(now, ingress, burst, None, out)
    }

    /// The same for a burst of which it may be known what its frames have in common: of all of them, or what is decided
    /// here is wrong.
    #[inline]
    pub fn classify_alike<'a>(
        &mut self,
        now: Nanos,
        ingress: PortId,
        burst: impl IntoIterator<Item = View<'a>, IntoIter: Clone>,
        common: Option<&Alike<'_>>,
        out: &mut [Decision],
    ) -> usize {
        self.fdb.advance(now);
        let Switch {
            ports,
            vlans,
            fdb,
            pairs,
            tracker,
            allowances,
            multicast,
            gateways,
            own,
            beyond,
            weighs,
            alike,
            ..
        } = self;
        let tracker = tracker.get_mut().watch(now);
        let mut burst = burst.into_iter();
        debug_assert!(common.is_none_or(|common| common.is_true(burst.clone())));
        if burst.size_hint() == (1, Some(1))
            && let (Some(Some(port)), Some(view), Some(out)) =
                (ports.get(usize::from(ingress)), burst.clone().next(), out.first_mut())
            && port.last.holds(&port.config, fdb.version(), &view)
        {
            *out = Decision { out: port.last.out, ..port.last.decision };
            *alike = true;
            port.counters.rx_frames.add(1);
            port.counters.rx_bytes.add(u64::from(view.len));
            port.counters.forwarded.add(1);
            return 1;
        }
        // Taken out for the time being, because the desk looks at the others.
        let Some(mut port) = ports.get_mut(usize::from(ingress)).and_then(Option::take) else {
            *alike = true;
            // In this order, a frame there is no room for stays in the iterator.
            let frames = out.iter_mut().zip(burst);
            return frames.map(|(out, _)| *out = Decision::dropped(DropReason::PortDown)).count();
        };
        let Port {
            config, counters, last, memory, stamp, storm, state, control, looped, moves, bpdus, ..
        } = &mut *port;
        let pass = Pass { state: *state, control: *control, looped: *looped };
        let memo = Memo::of(config);
        let gate = Gate::of(ingress, *stamp, config);
        let mut desk = Desk {
            listens: (config.uplink || config.places) && gateways.any(),
            gateways,
            own,
            beyond,
            ports,
            vlans,
            fdb,
            pairs,
            id: ingress,
            config,
            last: *last,
            memory,
            now,
            gate,
            tracker,
            allowances,
            common,
            number: 0,
            passing: Passing::NONE,
            pass,
            moves,
            snooper: multicast.as_deref(),
            bpdus,
        };
        desk.last.expect(desk.fdb.version());
        let mut books = Books { counters, storm, now, counted: 0, bytes: 0, dropped: 0, alike: true };
        if desk.tracker.is_none() {
            desk.all(memo, &mut burst, out, 0..out.len(), &mut books);
        } else {
            for begin in (0..out.len()).step_by(BURST) {
                let places = begin..out.len().min(begin + BURST);
                // Each frame is looked at twice, which costs less than to keep what was seen of it.
                desk.passing = desk.bring(memo, burst.clone().take(places.len()), common);
                desk.number = 0;
                desk.all(memo, &mut burst, out, places, &mut books);
                if desk.number < BURST {
                    break;
                }
            }
        }
        let Books { counters, counted, bytes, dropped, .. } = books;
        *alike = books.alike;
        *last = desk.last.since(desk.fdb.version());
        *weighs |= std::mem::take(&mut memory.asked);
        counters.rx_frames.add(counted);
        counters.rx_bytes.add(bytes);
        counters.forwarded.add(counted - dropped);
        ports[usize::from(ingress)] = Some(port);
        counted as usize
    }
}

impl Switch {
    /// Whether all frames of the latest burst have the same decision.
    #[inline]
    #[must_use]
    pub fn decided_alike(&self) -> bool {
        self.alike
    }
}

/// What a burst comes to.
struct Books<'a> {
    counters: &'a PortCounters,
    storm: &'a mut Option<Box<StormMeter>>,
    now: Nanos,
    counted: u64,
    bytes: u64,
    dropped: u64,
    /// All frames have the same decision so far.
    alike: bool,
}

impl Books<'_> {
    /// So many frames have this decision, with so many bytes in all.
    #[inline]
    fn enter(&mut self, out: Out, frames: u64, bytes: u64) {
        self.counted += frames;
        self.bytes += bytes;
        if let Out::Drop(reason) = out {
            self.dropped += frames;
            self.counters.drops[reason as usize].add(frames);
        }
    }

    /// One frame has this decision, or would have.
    #[inline]
    fn book(&mut self, out: &mut Decision, view: &View<'_>) {
        if !matches!(out.out, Out::Port(_)) {
            self.calm(out, view);
        }
        self.enter(out.out, 1, u64::from(view.len));
    }

    /// What would be one more of a storm is dropped instead.
    fn calm(&mut self, out: &mut Decision, view: &View<'_>) {
        if let Some(kind) = out.out.flood()
            && let Some(storm) = self.storm
            && !storm.passes(self.now, kind, view.segments)
        {
            out.out = Out::Drop(storm_reason(kind));
        }
    }
}

/// Whether a decision is the same as the first. It has many branches, and is over at the first that differs.
#[inline]
fn is_first(out: &[Decision], at: usize) -> bool {
    at == 0 || out.first() == out.get(at)
}

/// So many frames may be worth it to look for runs among them.
const SEVERAL: usize = 4;

/// Too many floods of this kind.
#[cold]
fn storm_reason(kind: Flood) -> DropReason {
    match kind {
        Flood::Broadcast => DropReason::StormBroadcast,
        Flood::Multicast | Flood::LinkLocal => DropReason::StormMulticast,
        Flood::Unknown => DropReason::StormUnknown,
    }
}

/// Whether a port lets frames in.
#[derive(Clone, Copy)]
struct Pass {
    state: PortState,
    control: bool,
    looped: bool,
}

/// All that a decision is made from.
struct Desk<'a> {
    /// The others: the ingress port is not among them.
    ports: &'a [Option<Box<Port>>],
    vlans: &'a Vlans,
    fdb: &'a mut Fdb,
    pairs: &'a mut Pairs,
    id: PortId,
    config: &'a PortConfig,
    last: Last,
    memory: &'a mut Memory,
    now: Nanos,
    /// The port's security groups.
    gate: Option<Gate<'a>>,
    /// Where any port has some.
    tracker: Option<&'a mut Tracker>,
    allowances: &'a Allowances,
    /// The frame's, among those that the tracker has looked up.
    number: usize,
    /// Which of those pass as long as nothing changes.
    passing: Passing,
    /// What is known of the whole burst.
    common: Option<&'a Alike<'a>>,
    pass: Pass,
    moves: &'a mut u64,
    /// Where multicast groups are snooped in any VLAN.
    snooper: Option<&'a Snooper>,
    bpdus: &'a mut Option<Box<Bucket>>,
    gateways: &'a mut Gateways,
    /// See [`Switch::own`].
    own: &'a BTreeSet<(u64, PortId)>,
    beyond: &'a Beyond,
    /// A gateway that is looked for may be heard here.
    listens: bool,
}

impl Desk<'_> {
    /// Decide about a burst's next frames, as many as there are `places` for. Most bursts have many in a row that are
    /// alike.
    #[inline(always)]
    fn all<'v>(
        &mut self,
        memo: Memo,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        out: &mut [Decision],
        places: Range<usize>,
        books: &mut Books<'_>,
    ) {
        // Of a few frames each is decided sooner than it would be seen that they are alike.
        let many = burst.size_hint().0 >= SEVERAL;
        let (mut at, end) = (places.start, places.end);
        if let Some(common) = self.common
            && (books.storm.is_none() || !self.last.floods())
            && let Some((count, bytes)) =
                self.whole(memo, common, burst, out.get_mut(at..end).unwrap_or_default())
        {
            books.enter(self.last.out, count as u64, bytes);
            books.alike = books.alike && is_first(out, at);
            self.number += count;
            return;
        }
        while at < end {
            if many && self.last.next != Next::Other && (books.storm.is_none() || !self.last.floods()) {
                let (count, bytes) = self.run(memo, burst, out.get_mut(at..end).unwrap_or_default());
                if count > 0 {
                    books.enter(self.last.out, count as u64, bytes);
                    books.alike = books.alike && is_first(out, at);
                    at += count;
                    self.number += count;
                }
            }
            let (true, Some(view)) = (at < end, burst.next()) else { break };
            let Some(decision) = out.get_mut(at) else { break };
            self.one(memo, &view, decision);
            books.book(decision, &view);
            books.alike = books.alike && is_first(out, at);
            at += 1;
            self.number += 1;
        }
    }

    /// Decide about a frame. Each way writes where the decision stays. Put together elsewhere, it would
    /// be written field by field and read as words, and such a read waits for the writes to arrive.
    #[inline(always)]
    fn one(&mut self, memo: Memo, view: &View<'_>, out: &mut Decision) {
        match First::of(view) {
            Some(first) => {
                if !self.recall(memo, &first, view, out) {
                    self.last.next = Next::Other;
                    self.judge(first, view, out);
                }
            }
            None => self.judge_short(view, out),
        }
    }
}
