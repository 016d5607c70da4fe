//! What happens to a frame on its way in (802.1Q 8.6): one burst from one port, frame by frame.
//!
//! The order of the checks is part of what users see, because the first that fails names the drop:
//! port down, runt, malformed tag, giant, source address, link-local destination, VLAN, guard, then learning
//! (sticky stations, the port's limit), then the destination, and last storm control.
//!
//! In reading order: here, what comes in, and what goes into the books; `judge.rs`, the checks; `learn.rs`;
//! `route.rs`; `gates.rs`, security groups; and last `recall.rs`, the short way, which most frames take.

mod gates;
mod judge;
mod learn;
mod recall;
mod route;

pub(crate) use gates::is_payer;
pub(crate) use judge::vlan;
pub(crate) use recall::Last;

use crate::beyond::Beyond;
use crate::config::PortConfig;
use crate::decision::{Decision, Flood, Out, View};
use crate::fdb::Fdb;
use crate::groups::{BURST, Gate, Passing, Tracker};
use crate::guard::Memory;
use crate::limits::Bucket;
use crate::members::Vlans;
use crate::multicast::Snooper;
use crate::pairs::Pairs;
use crate::parse::First;
use crate::proxy::Gateways;
use crate::stp::PortState;
use crate::switch::Port;
use crate::{DropReason, Nanos, PortId, Switch};
use recall::Memo;
use std::collections::BTreeSet;

impl Switch {
    /// Decide about a burst of frames that came in by `ingress`, in order, and learn from them.
    ///
    /// Takes at most `out.len()` frames and writes one decision for each; returns how many. Counts
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
        self.fdb.advance(now);
        let Switch { ports, vlans, fdb, pairs, tracker, multicast, gateways, own, beyond, weighs, .. } = self;
        let tracker = tracker.get_mut().watch(now);
        // Taken out for the time being, because the desk looks at the others.
        let Some(mut port) = ports.get_mut(usize::from(ingress)).and_then(Option::take) else {
            // In this order, a frame there is no room for stays in the iterator.
            let frames = out.iter_mut().zip(burst);
            return frames.map(|(out, _)| *out = Decision::dropped(DropReason::PortDown)).count();
        };
        let Port { config, counters, last, memory, stamp, storm, state, control, looped, moves, reports } =
            &mut *port;
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
            number: 0,
            passing: Passing::default(),
            pass,
            moves,
            snooper: multicast.as_deref(),
            reports,
        };
        desk.last.expect(desk.fdb.version());
        let (mut counted, mut bytes, mut dropped) = (0, 0, 0);
        let mut book = |out: &mut Decision, view: &View<'_>| {
            counted += 1;
            bytes += u64::from(view.len);
            if let Some(kind) = out.out.flood()
                && let Some(storm) = storm
                && !storm.passes(now, kind, view.segments)
            {
                out.out = Out::Drop(storm_reason(kind));
            }
            if let Out::Drop(reason) = out.out {
                dropped += 1;
                counters.drops[reason as usize].add(1);
            }
        };
        if desk.tracker.is_none() {
            for (out, view) in out.iter_mut().zip(burst) {
                desk.one(memo, &view, out);
                book(out, &view);
            }
        } else {
            let mut burst = burst.into_iter();
            for out in out.chunks_mut(BURST) {
                // Each frame is looked at twice, which costs less than to keep what was seen of it.
                desk.passing = desk.bring(memo, burst.clone().take(out.len()));
                let mut number = 0;
                for (out, view) in out.iter_mut().zip(burst.by_ref()) {
                    desk.number = number;
                    number += 1;
                    desk.one(memo, &view, out);
                    book(out, &view);
                }
                if number < BURST {
                    break;
                }
            }
        }
        *last = desk.last.since(desk.fdb.version());
        *weighs |= std::mem::take(&mut memory.asked);
        counters.rx_frames.add(counted);
        counters.rx_bytes.add(bytes);
        counters.forwarded.add(counted - dropped);
        ports[usize::from(ingress)] = Some(port);
        counted as usize
    }
}

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
    /// The frame's, among those that the tracker has looked up.
    number: usize,
    /// Which of those pass as long as nothing changes.
    passing: Passing,
    pass: Pass,
    moves: &'a mut u64,
    /// Where multicast groups are snooped in any VLAN.
    snooper: Option<&'a Snooper>,
    /// What the port may report of them; `None`: anything.
    reports: &'a mut Option<Bucket>,
    gateways: &'a mut Gateways,
    /// See [`Switch::own`].
    own: &'a BTreeSet<(u64, PortId)>,
    beyond: &'a Beyond,
    /// A gateway that is looked for may be heard here.
    listens: bool,
}

impl Desk<'_> {
    /// Decide about a frame. Each way writes where the decision stays. Put together elsewhere, it would
    /// be written field by field and read as words, and such a read waits for the writes to arrive.
    #[inline(always)]
    fn one(&mut self, memo: Memo, view: &View<'_>, out: &mut Decision) {
        match First::of(view) {
            Some(first) => {
                if !self.recall(memo, &first, view, out) {
                    self.judge(first, view, out);
                }
            }
            None => self.judge_short(view, out),
        }
    }
}
