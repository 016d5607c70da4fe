//! What happens to a frame on its way in (802.1Q 8.6): one burst from one port, frame by frame.
//!
//! The order of the checks is part of what users see, because the first that fails names the drop:
//! port down, runt, malformed tag, giant, source address, link-local destination, VLAN, guard, then learning
//! (sticky stations, the port's limit), then the destination, and last storm control.
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
//! What profiling said (`examples/cycles.rs`): a frame like the last one takes some 40 instructions, one
//! from and to other stations about 130, and 250 where their pair is not in the cache; so up to 100,000
//! stations it is instructions that count, not the processor's cache. Going over the burst once before, to bring the slots into
//! the cache, gained nothing even then: the lookups of neighbouring frames do not depend on each other,
//! and the processor overlaps them by itself. Words are loaded one by one, on purpose: the same with
//! `array::map` or `from_fn` was not inlined, and ten times slower. And what is written field by field is
//! not read as a word soon after: such a read waits until the writes have arrived in the cache, which
//! takes longer than all the rest.

use crate::beyond::{self, Beyond};
use crate::config::{PortConfig, PortMode};
use crate::decision::{Came, Decision, Flood, Out, View};
use crate::egress::longest;
use crate::fdb::{Fdb, Home, Kind, key};
use crate::groups::{BURST, Frame, Gate, Judged, Payer, Refusal, Short, Tracker};
use crate::guard::{Guard, Memory};
use crate::limits::Bucket;
use crate::members::Vlans;
use crate::multicast::{Snooper, Way};
use crate::pairs::{Pair, Pairs};
use crate::parse::{self, BROADCAST, First, Header, JUDGED, Tags, is_group, is_link_local};
use crate::private::Place;
use crate::proxy::Gateways;
use crate::stp::PortState;
use crate::switch::Port;
use crate::{DropReason, Nanos, PortCounters, PortId, Switch, VlanId};
use std::collections::BTreeSet;

/// The last decision at a port, and what it holds for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    first: First,
    judged: &'static First,
    /// Where it went. What `decision` says of that is where the last one went that was parsed: a word
    /// that was written in part a moment ago can't be read as a whole without waiting.
    out: Out,
    decision: Decision,
    /// It came past the guard, or there is none.
    admitted: bool,
    /// Security groups look at every frame of this kind.
    grouped: bool,
    /// At a port with a guard: the source that plain frames from this station are admitted with, of
    /// IPv4 and IPv6; 0 for none.
    plain4: u32,
    plain6: u128,
    /// No longer frame is like it; 0 when none is.
    longest: u32,
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
        plain4: 0,
        plain6: 0,
        longest: 0,
        version: 0,
    };
}

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
        burst: impl IntoIterator<Item = View<'a>>,
        out: &mut [Decision],
    ) -> usize {
        self.fdb.advance(now);
        let Switch { ports, vlans, fdb, pairs, tracker, multicast, gateways, own, beyond, .. } = self;
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
            alike: 0,
            ran: 0,
            pass,
            moves,
            snooper: multicast.as_deref(),
            reports,
        };
        if desk.last.version != desk.fdb.version() {
            desk.last.longest = 0;
        }
        let mut tally = Tally([0; DropReason::COUNT]);
        let mut counted = 0;
        let mut bytes = 0;
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
                tally.0[reason as usize] += 1;
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
                let mut views = [View::plain(&[], 0); BURST];
                let taken = views.iter_mut().zip(burst.by_ref().take(out.len()));
                let n = taken.map(|(place, view)| *place = view).count();
                let views = views.get(..n).unwrap_or_default();
                (desk.alike, desk.ran) = (desk.bring(views), 0);
                for (number, (out, view)) in out.iter_mut().zip(views).enumerate() {
                    desk.number = number;
                    desk.one(memo, view, out);
                    book(out, view);
                }
                if n < out.len() {
                    break;
                }
            }
        }
        *last = Last { version: desk.fdb.version(), ..desk.last };
        tally.book(counters, counted, bytes);
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

/// The drops of a burst, by reason.
struct Tally([u32; DropReason::COUNT]);

impl Tally {
    /// One addition a counter and burst.
    fn book(&self, counters: &PortCounters, frames: u64, bytes: u64) {
        counters.rx_frames.add(frames);
        counters.rx_bytes.add(bytes);
        let mut forwarded = frames;
        for (counter, &n) in counters.drops.iter().zip(&self.0) {
            if n > 0 {
                counter.add(u64::from(n));
                forwarded -= u64::from(n);
            }
        }
        counters.forwarded.add(forwarded);
    }
}

/// The VLAN a frame belongs to at a port (802.1Q 6.9.1, 8.6.2), and whether its tag is consumed.
#[inline]
pub(crate) fn vlan(config: &PortConfig, tags: Tags) -> Result<VlanId, DropReason> {
    match &config.mode {
        PortMode::Access(vlan) => {
            // Behind a priority tag there must not be a VLAN tag either: without the first, it
            // would say where the frame belongs.
            if tags.tagged() && (tags.vid() != 0 || tags.double()) {
                return Err(DropReason::TagNotAllowed);
            }
            Ok(*vlan)
        }
        PortMode::Trunk { tagged, native } => match (tags.tagged(), tags.vid()) {
            (false, _) | (true, 0) => native.map(|native| native.vlan).ok_or(DropReason::UntaggedNotAllowed),
            (true, vid) => {
                let vlan = config.translate.as_ref().map_or(vid, |map| map.inward(vid));
                let member = tagged.contains(vlan) || native.is_some_and(|native| native.vlan == vlan);
                if member { Ok(vlan) } else { Err(DropReason::VlanNotMember) }
            }
        },
    }
}

/// What a port may remember of the frames that it let in.
#[derive(Clone, Copy)]
enum Memo {
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
    fn of(config: &PortConfig) -> Memo {
        match &config.guard {
            None if config.places => Memo::Placed,
            None => Memo::Open,
            Some(guard) if guard.remembers() => Memo::Source,
            Some(_) => Memo::Nothing,
        }
    }
}

/// The Bridge Group Address, which BPDUs are sent to.
const BRIDGES: u64 = 0x0180_c200_0000;

/// Whether a port lets frames in.
#[derive(Clone, Copy)]
struct Pass {
    state: PortState,
    control: bool,
    looped: bool,
}

/// What the guard said to a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guarded {
    /// It was dropped before.
    NotAsked,
    Admitted,
    Refused,
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
    /// Those that are between the same ends as the one before, by number from the lowest bit on.
    alike: u64,
    /// The number of the one that such a frame has to come after, to go the short way as that did.
    ran: usize,
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

    /// Have the tracker look a burst up: it will be asked for its connections.
    #[inline(never)]
    fn bring(&mut self, views: &[View<'_>]) -> u64 {
        let vlan = match &self.config.mode {
            PortMode::Access(vlan) => *vlan,
            PortMode::Trunk { native, .. } => native.map_or(0, |native| native.vlan),
        };
        self.tracker.as_mut().map_or(0, |tracker| tracker.bring(views, vlan))
    }

    /// Whether a frame like the last one goes the short way past guard and groups.
    #[inline]
    fn goes_short(&mut self, memo: Memo, view: &View<'_>) -> bool {
        let Last { out, plain4, .. } = self.last;
        let Some(tracker) = &mut self.tracker else { return false };
        let source = match memo {
            Memo::Open | Memo::Placed => None,
            Memo::Source if plain4 != 0 => Some(plain4),
            Memo::Source | Memo::Nothing => return false,
        };
        let other = match out {
            Out::Port(port) => self.ports.get(usize::from(port)).and_then(Option::as_deref),
            _ => None,
        };
        let stamps = (self.gate.map_or(0, |gate| gate.stamp), other.map_or(0, |other| other.stamp));
        match tracker.passes(self.number, view, source, stamps) {
            Short::No => false,
            Short::One => true,
            Short::All => {
                self.ran = self.number + 1;
                true
            }
        }
    }

    /// Whether it does because the one before it did.
    #[inline]
    fn runs_along(&mut self) -> bool {
        let runs = (self.alike >> self.number) & 1 != 0 && self.ran == self.number;
        self.ran += usize::from(runs);
        runs
    }

    /// What was decided about the last frame, where it is right for this one, too; or with this one's
    /// addresses in it, where those are all that differs and both stations are known.
    #[inline(always)]
    fn recall(&mut self, memo: Memo, first: &First, view: &View<'_>, decision: &mut Decision) -> bool {
        let last = &self.last;
        if view.len > last.longest {
            return false;
        }
        if !first.same(&last.first, last.judged) {
            return self.recall_stations(memo, first, view, decision);
        }
        if last.grouped {
            if matches!(memo, Memo::Placed) && view.place != last.decision.place {
                return false;
            }
            if self.runs_along() || self.goes_short(memo, view) {
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
        let known = match memo {
            Memo::Open => true,
            Memo::Placed => view.place == last.decision.place,
            _ if !last.admitted => true,
            Memo::Source if last.plain4 != 0 => Guard::plain4(view.head) == last.plain4,
            Memo::Source => last.plain6 != 0 && Guard::plain6(view.head) == last.plain6,
            Memo::Nothing => false,
        };
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
        } else if !matches!(memo, Memo::Open) && !self.is_unasked(memo, view) {
            return false;
        }
        let vlan = last.decision.vlan;
        let pair = Pair::new(first, vlan, self.id);
        let known = self.pairs.find(pair, plain4, self.fdb.version());
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
    fn is_unasked(&self, memo: Memo, view: &View<'_>) -> bool {
        matches!(memo, Memo::Placed) && [view.place, self.last.decision.place] == [Place::PROMISCUOUS; 2]
    }

    /// Where a frame goes from one station to another, as long as the FDB stays as it is; `None` where
    /// more is to be done than to look both up. `plain4`: the source that the guard has to admit it with.
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

    /// A frame that is not like the last one. Afterwards it is the last one, unless the guard refused
    /// it: what its header comes to is not known then.
    #[inline(never)]
    fn judge(&mut self, first: First, view: &View<'_>, out: &mut Decision) {
        self.last.longest = 0;
        let header = match self.admit(first.parse(), view) {
            Ok(header) => header,
            Err(reason) => {
                *out = Decision::dropped(reason);
                return;
            }
        };
        let (decision, guarded) = self.decide(&header, view);
        if guarded != Guarded::Refused {
            let tags = header.tags.count();
            self.last.first = first;
            self.last.judged = &JUDGED[usize::from(tags).min(2)];
            // The addresses don't tell which group a frame is for, nor that it is a report.
            let snooped = decision.vlan != 0 && self.is_snooped(decision.vlan, header.dst);
            self.last.longest = if snooped { 0 } else { longest(self.config.mtu, tags) };
            (self.last.out, self.last.decision) = (decision.out, decision);
            self.last.admitted = guarded == Guarded::Admitted;
            self.last.grouped = self.last.admitted && self.tracker.is_some() && self.has_gate(&decision);
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
            if self.last.grouped {
                *out = self.judge_groups(&header, decision, view);
                return;
            }
        }
        *out = decision;
    }

    /// A frame of less than 24 bytes, which is too rare to be compared with.
    #[cold]
    fn judge_short(&mut self, view: &View<'_>, out: &mut Decision) {
        self.last.longest = 0;
        *out = match self.admit(parse::parse_short(view), view) {
            Ok(header) => {
                let (decision, _) = self.decide(&header, view);
                let grouped = self.tracker.is_some() && self.has_gate(&decision);
                if grouped { self.judge_groups(&header, decision, view) } else { decision }
            }
            Err(reason) => Decision::dropped(reason),
        };
    }

    /// Whether a frame with this decision passes a port with security groups on its way in here, or out
    /// of the one port that it goes to.
    fn has_gate(&self, decision: &Decision) -> bool {
        match decision.out {
            Out::Drop(_) | Out::Local | Out::Answer => false,
            Out::Flood(_) | Out::Group(_) | Out::Report(_) => self.gate.is_some(),
            Out::Port(port) => self.gate.is_some() || self.gate_of(port).is_some(),
        }
    }

    #[inline]
    fn gate_of(&self, port: PortId) -> Option<Gate<'_>> {
        let other = self.ports.get(usize::from(port))?.as_deref()?;
        Gate::of(port, other.stamp, &other.config)
    }

    /// What the security groups at both ends say: a frame that is on its way may be dropped here, or
    /// where it would leave.
    #[inline]
    fn judge_groups(&mut self, header: &Header, decision: Decision, view: &View<'_>) -> Decision {
        let Some(tracker) = self.tracker.as_mut() else { return decision };
        let other =
            decision.to().and_then(|port| Some((port, self.ports.get(usize::from(port))?.as_deref()?)));
        let to = other.and_then(|(port, other)| Gate::of(port, other.stamp, &other.config));
        let payer = match other {
            // What comes from outside is on the account of the guest that it is for.
            Some((port, other)) if !is_payer(self.config) => Payer { port, limit: other.config.connections },
            _ => Payer { port: self.id, limit: self.config.connections },
        };
        let frame = Frame {
            now: self.now,
            ingress: self.id,
            vlan: decision.vlan,
            dst: header.dst,
            tags: header.tags.count(),
            view,
            again: false,
        };
        match tracker.judge(&frame, self.gate, to, payer) {
            Ok(()) => decision.judged(passed(decision.out)),
            Err(Refusal::Leaving(reason)) => Decision { out: Out::Drop(reason), ..decision },
            Err(Refusal::Entering(reason)) => decision.judged(Judged::Refused(reason)),
        }
    }

    /// What can be said about a frame without knowing any other.
    #[inline]
    fn admit(&self, parsed: Result<Header, DropReason>, view: &View<'_>) -> Result<Header, DropReason> {
        if !self.config.up {
            return Err(DropReason::PortDown);
        }
        let header = parsed?;
        if view.len > longest(self.config.mtu, header.tags.count()) && !view.gso {
            return Err(DropReason::Giant);
        }
        Ok(header)
    }

    #[inline]
    fn decide(&mut self, header: &Header, view: &View<'_>) -> (Decision, Guarded) {
        let tags = header.tags;
        let mut place = Place::UNTOLD;
        let (vlan, out, guarded) = match self.enter(header) {
            Err(out) => (0, out, Guarded::NotAsked),
            Ok(vlan) => match self.guard(header, vlan, view) {
                Err(reason) => (vlan, Out::Drop(reason), Guarded::Refused),
                Ok(()) => {
                    place = self.place(vlan, view);
                    (vlan, self.forward(vlan, header, place, view), Guarded::Admitted)
                }
            },
        };
        let came = match tags.vid() {
            _ if !tags.tagged() => Came::Untagged,
            0 => Came::Priority,
            vid if vid == vlan => Came::Tagged,
            _ => Came::Translated,
        };
        let decision = Decision {
            out,
            vlan,
            came,
            pcp: tags.pcp(),
            tags: tags.count(),
            double: tags.double(),
            ingress: self.id,
            judged: Judged::Not,
            place,
        };
        (decision, guarded)
    }

    /// Addresses and VLAN.
    #[inline]
    fn enter(&self, header: &Header) -> Result<VlanId, Out> {
        if is_group(header.src) {
            return Err(Out::Drop(DropReason::SourceMulticast));
        }
        if header.src == 0 {
            return Err(Out::Drop(DropReason::SourceZero));
        }
        if is_link_local(header.dst) && !self.config.transparent {
            let ours = self.pass.control && header.dst == BRIDGES && !header.tags.tagged();
            return Err(if ours { Out::Local } else { Out::Drop(DropReason::LinkLocal) });
        }
        if self.pass.looped {
            return Err(Out::Drop(DropReason::Loop));
        }
        if self.pass.state == PortState::Discarding {
            return Err(Out::Drop(DropReason::StpBlocked));
        }
        vlan(self.config, header.tags).map_err(Out::Drop)
    }

    /// What the port's guard says.
    #[inline]
    fn guard(&mut self, header: &Header, vlan: VlanId, view: &View<'_>) -> Result<(), DropReason> {
        match &self.config.guard {
            Some(guard) => guard.admits(self.memory, header, vlan, view.head),
            None => Ok(()),
        }
    }

    #[inline]
    fn forward(&mut self, vlan: VlanId, header: &Header, place: Place, view: &View<'_>) -> Out {
        match self.hear(vlan, header.src) {
            Ok(()) if self.pass.state == PortState::Learning => Out::Drop(DropReason::StpBlocked),
            Ok(()) if self.reads() && self.is_answered(vlan, header, view, place) => Out::Answer,
            Ok(()) if self.is_snooped(vlan, header.dst) => self.multicast(vlan, header, place, view),
            Ok(()) => self.route(vlan, header.dst, place),
            Err(reason) => Out::Drop(reason),
        }
    }

    /// Whether ARP and neighbour discovery are read here, each message of it (`proxy.rs`).
    #[inline]
    fn reads(&self) -> bool {
        self.listens || self.config.proxy.is_some()
    }

    /// Whether the switch itself answers. What a gateway says is heard by the way.
    #[cold]
    fn is_answered(&mut self, vlan: VlanId, header: &Header, view: &View<'_>, place: Place) -> bool {
        let at = 12 + 4 * usize::from(header.tags.count());
        if self.listens && place == Place::PROMISCUOUS {
            self.gateways.hear(vlan, view.head, at);
        }
        let proxy = self.config.proxy.as_ref();
        proxy.is_some_and(|proxy| proxy.answer(self.gateways, vlan, place, view.head, at).is_some())
    }

    /// Whether where a frame goes depends on which groups are wanted.
    #[inline]
    fn is_snooped(&self, vlan: VlanId, dst: u64) -> bool {
        is_group(dst)
            && dst != BROADCAST
            && self.snooper.is_some_and(|snooper| snooper.watches(vlan) && !is_link_local(dst))
    }

    /// Where a frame to a group address goes in a VLAN in which groups are snooped.
    #[inline(never)]
    fn multicast(&mut self, vlan: VlanId, header: &Header, place: Place, view: &View<'_>) -> Out {
        let Some(snooper) = self.snooper else { return self.flood(vlan, place, Flood::Multicast) };
        match snooper.way(vlan, view.head, header.tags.count()) {
            Way::All => self.flood(vlan, place, Flood::Multicast),
            Way::Report(list) => {
                if let Some(bucket) = self.reports {
                    if bucket.ready() > self.now {
                        return Out::Drop(DropReason::MulticastReports);
                    }
                    bucket.take(self.now, 1);
                }
                Out::Report(list)
            }
            Way::List(list) => {
                let mut reached = DropReason::NoListener;
                for &port in snooper.list(list) {
                    let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
                    if other.is_some_and(|other| other.config.wants(Flood::Multicast)) {
                        // The ingress port itself is not among them.
                        if self.reaches(place, vlan, port) {
                            return Out::Group(list);
                        }
                        reached = DropReason::Private;
                    }
                }
                Out::Drop(reached)
            }
        }
    }

    /// The learning process (802.1Q 8.7).
    #[inline]
    fn hear(&mut self, vlan: VlanId, src: u64) -> Result<(), DropReason> {
        let key = key(vlan, src);
        match self.fdb.find(key) {
            Some(home) if home.port == self.id => {
                if self.config.learning {
                    self.fdb.refresh(&home);
                }
                Ok(())
            }
            Some(home) => self.hear_elsewhere(&home, vlan, src),
            None if self.config.uplink && self.is_own(vlan, src) => Err(DropReason::UplinkOwn),
            None if !self.config.learning => Ok(()),
            None if !self.fdb.has_room(self.id, self.config.mac_limit) => self.over_limit(),
            None => {
                self.fdb.learn(key, self.id);
                Ok(())
            }
        }
    }

    /// A station that lives at another port sends from this one.
    #[cold]
    fn hear_elsewhere(&mut self, home: &Home, vlan: VlanId, src: u64) -> Result<(), DropReason> {
        let stays = match home.kind {
            Kind::Sticky => true,
            Kind::Static => false,
            Kind::Learned => {
                let port = self.ports.get(usize::from(home.port)).and_then(Option::as_deref);
                port.is_some_and(|port| port.config.sticky)
            }
        };
        if stays {
            return Err(DropReason::StationSticky);
        }
        if self.config.uplink && (self.is_guests_own(home.port) || self.is_beyond(vlan, src)) {
            return Err(DropReason::UplinkOwn);
        }
        if home.kind == Kind::Learned && self.config.learning {
            if !self.fdb.has_room(self.id, self.config.mac_limit) {
                return self.over_limit();
            }
            self.fdb.relocate(home, self.id);
            *self.moves += 1;
        }
        Ok(())
    }

    /// Whether a station that nobody has heard, or not for long, is a guest's own.
    #[cold]
    fn is_own(&self, vlan: VlanId, src: u64) -> bool {
        self.own.range((src, 0)..=(src, PortId::MAX)).any(|&(_, port)| {
            let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
            port.is_some_and(|port| port.config.carries(vlan))
        }) || self.is_beyond(vlan, src)
    }

    /// Whether it is that of a guest at another switch.
    #[cold]
    fn is_beyond(&self, vlan: VlanId, src: u64) -> bool {
        !self.pass.control && beyond::lives(self.beyond, self.ports, vlan, src)
    }

    /// Whether stations of `port` are known to live in the fabric and nowhere else, because a guard
    /// vouches for them.
    fn is_guests_own(&self, port: PortId) -> bool {
        let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        port.and_then(|port| port.config.guard.as_ref()).is_some_and(|guard| guard.vouches())
    }

    #[cold]
    fn over_limit(&self) -> Result<(), DropReason> {
        if self.config.mac_limit_drops { Err(DropReason::MacLimit) } else { Ok(()) }
    }

    /// The forwarding process (802.1Q 8.6.3, 8.8).
    #[inline]
    fn route(&self, vlan: VlanId, dst: u64, place: Place) -> Out {
        if is_group(dst) {
            return self.flood(
                vlan,
                place,
                match dst {
                    BROADCAST => Flood::Broadcast,
                    _ if is_link_local(dst) => Flood::LinkLocal,
                    _ => Flood::Multicast,
                },
            );
        }
        match self.fdb.find(key(vlan, dst)) {
            Some(home) if home.port == self.id => Out::Drop(DropReason::SamePort),
            Some(home) if place != Place::PROMISCUOUS && !self.reaches(place, vlan, home.port) => {
                Out::Drop(DropReason::Private)
            }
            Some(home) => Out::Port(home.port),
            None => self.flood(vlan, place, Flood::Unknown),
        }
    }

    fn flood(&self, vlan: VlanId, place: Place, kind: Flood) -> Out {
        if !self.vlans.anybody(vlan, kind, self.config) {
            Out::Drop(DropReason::NoMember)
        } else if place != Place::PROMISCUOUS && !self.reaches_any(place, vlan, kind) {
            Out::Drop(DropReason::Private)
        } else {
            Out::Flood(kind)
        }
    }

    /// Where the sender of a frame stands in its VLAN.
    #[inline]
    fn place(&self, vlan: VlanId, view: &View<'_>) -> Place {
        if self.config.places { view.place } else { Place::of(self.config.private.as_deref(), vlan) }
    }

    /// Whether a private network lets frames from `place` pass to `port`.
    fn reaches(&self, place: Place, vlan: VlanId, port: PortId) -> bool {
        let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        place.reaches(Place::of(other.and_then(|other| other.config.private.as_deref()), vlan))
    }

    /// Whether it lets them pass to any port that wants such a flood.
    #[cold]
    fn reaches_any(&self, place: Place, vlan: VlanId, kind: Flood) -> bool {
        self.vlans.ports(vlan).iter().any(|&port| {
            let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
            other.is_some_and(|other| other.config.wants(kind)) && self.reaches(place, vlan, port)
        })
    }
}

/// Whether connections that begin at a port are on its own account: a guest's are.
pub(crate) fn is_payer(config: &PortConfig) -> bool {
    config.guard.is_some() || config.groups.is_some()
}

/// What is said of a frame that the groups of both ends, or of the one that is known, let pass.
#[inline]
fn passed(out: Out) -> Judged {
    if matches!(out, Out::Port(_)) { Judged::Both } else { Judged::Left }
}
