//! From a burst and the switch's decisions to the egress NICs.
//!
//! Most bursts are one flow: every frame has the same decision, and one `tx_burst` takes them all.
//! Otherwise frames are grouped by egress, so that each NIC is called once; a flooded frame ends a
//! group, because nothing may overtake it. Within a group frames keep their order, so the order of
//! each (source, destination, VLAN) is kept whatever the mix.

use super::bridges::Bpdus;
use super::lost::Lost;
use super::ports::{PortSet, Slot};
use super::shape::{Ingress, Note};
use super::usage::{self, Bill, Book, Ledger};
use crate::capture::{CaptureSet, Sighting};
use crate::flows::Flows;
use crate::mirror::{MirrorSet, Passing};
use crate::recorder::Recorder;
use arrayvec::ArrayVec;
use nics::offload::Completer;
use nics::{BURST, Burst, Frame, Nic, Offload, Origin, TxFrame, TxReport};
use switch::{Answer, Decision, DropReason, Nanos, Out, PortCounters, PortId, Switch, TagEdit, VlanId};

/// Indexes of frames in a burst, in order.
type Group = ArrayVec<u8, BURST>;

pub struct Delivery {
    /// Who wants to see the frames.
    pub captures: CaptureSet,
    /// Who gets copies of them.
    pub mirrors: MirrorSet,
    /// The last frames that ports lost.
    pub lost: Lost,
    /// Who keeps the latest of them.
    pub recorder: Recorder,
    /// Who counts a sample of them.
    pub flows: Flows,
    /// For whom they count.
    pub ledger: Ledger,
    /// Number of the next frame.
    packet: u64,
    decisions: [Decision; BURST],
    completer: Completer,
    report: TxReport,
    /// What came in for the switches themselves.
    pub bpdus: Bpdus,
    /// What the switch answers to the latest burst, by the port that it came in by.
    pub answers: ArrayVec<Answer, BURST>,
    /// Frames of the latest burst that were flooded.
    pub floods: u32,
}

/// What all egresses of one burst have in common.
struct Work<'a, 'f> {
    now: Nanos,
    switch: &'a Switch,
    slots: &'a mut [Slot],
    touched: &'a mut PortSet,
    burst: &'a [Frame<'f>],
    decisions: &'a [Decision],
    completer: &'a mut Completer,
    report: &'a mut TxReport,
    captures: &'a mut CaptureSet,
    mirrors: &'a mut MirrorSet,
    lost: &'a mut Lost,
    /// The burst came over a link.
    linked: bool,
    recorder: &'a mut Recorder,
    book: Book<'a>,
    /// The packet number of the burst's first frame.
    packet: u64,
    bpdus: &'a mut Bpdus,
    answers: &'a mut ArrayVec<Answer, BURST>,
}

impl Delivery {
    pub fn new() -> Self {
        Delivery {
            captures: CaptureSet::default(),
            mirrors: MirrorSet::default(),
            lost: Lost::default(),
            recorder: Recorder::new(),
            flows: Flows::default(),
            ledger: Ledger::default(),
            packet: 0,
            decisions: [Decision::dropped(DropReason::Runt); BURST],
            completer: Completer::new(),
            report: TxReport::default(),
            bpdus: Bpdus::default(),
            answers: ArrayVec::new(),
            floods: 0,
        }
    }

    /// What was decided about the latest burst's first frame.
    pub fn decided(&self) -> Decision {
        self.decisions[0]
    }

    pub fn deliver(
        &mut self,
        now: Nanos,
        ingress: PortId,
        switch: &mut Switch,
        slots: &mut [Slot],
        touched: &mut PortSet,
        burst: &Burst<'_>,
    ) {
        let Delivery {
            captures,
            mirrors,
            lost,
            recorder,
            flows,
            ledger,
            packet,
            decisions,
            completer,
            report,
            bpdus,
            answers,
            floods,
        } = self;
        let count = switch.classify(now, ingress, burst.iter().map(Frame::view), decisions);
        if switch.listens() {
            listen(switch, now, ingress, burst, &mut decisions[..count]);
        }
        let decisions = &decisions[..count];
        let linked = slots.get(usize::from(ingress)).is_some_and(|slot| slot.peer.is_some());
        if linked {
            *floods = decisions.iter().filter(|d| matches!(d.out, Out::Flood(_))).count() as u32;
        }
        report.ingress = ingress;
        if switch.snoops() {
            snoop(switch, now, ingress, burst, decisions);
        }
        let Some((first, rest)) = decisions.split_first() else { return };
        let same = rest.iter().all(|decision| decision == first);
        let number = *packet;
        *packet = number.wrapping_add(count as u64);
        recorder.rx(now, ingress, number, burst, decisions, same);
        if flows.on() {
            let at = slots.get(usize::from(ingress)).map_or(0, |slot| slot.switch);
            flows.see(now, at, ingress, burst, decisions);
        }
        if captures.any() && captures.wants(ingress) {
            capture_rx(captures, now, ingress, number, burst, decisions);
        }
        let mirrored = mirrors.any();
        if mirrors.wants_in(ingress) {
            mirrors.came_in(ingress, decisions);
        }
        let mut work = Work {
            now,
            switch,
            slots,
            touched,
            burst,
            decisions,
            completer,
            report,
            captures,
            mirrors,
            lost,
            linked,
            recorder,
            book: Book::new(ledger, ingress, burst.origins),
            packet: number,
            bpdus,
            answers,
        };
        if same {
            work.uniform(ingress, first);
        } else {
            work.mixed(ingress);
        }
        if mirrored {
            let passing = Passing { now, ingress, burst, decisions };
            mirrors.copy(&passing, slots, touched, completer, report, (captures, packet));
        }
    }
}

impl Delivery {
    /// What cuts super-frames.
    pub fn completer(&mut self) -> &mut Completer {
        &mut self.completer
    }

    /// Hand over what waited for its port's limit and may pass now. Whether anything did.
    pub fn release(&mut self, now: Nanos, port: PortId, slot: &mut Slot) -> bool {
        let Delivery { captures, recorder, ledger, completer, report, .. } = self;
        let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref()) else { return false };
        let Some(ingress) = slot.shaper.as_mut().and_then(|shaper| shaper.ingress.as_mut()) else {
            return false;
        };
        let carrier = nic.carrier();
        let caps = nic.caps();
        let mut moved = false;
        loop {
            let (burst, notes) = ingress.waiting(now);
            for (frame, note) in burst.iter().zip(&notes) {
                let tx = TxFrame { frame, edit: TagEdit::NONE };
                let sighting = Sighting { now, port, vlan: note.vlan, packet: note.packet, dropped: None };
                let mut see = |tx: &TxFrame<'_>, dropped| {
                    if let Some(reason) = dropped {
                        recorder.refused(now, port, note.packet, note.vlan, tx, reason);
                    }
                    if captures.wants(port) {
                        captures.tx(&Sighting { dropped, ..sighting }, tx);
                    }
                };
                // What the guest takes may have changed since the frame was queued.
                let done = if carrier {
                    completer.complete(&tx, &caps, &mut |frames| {
                        hand_over(now, nic.as_mut(), counters, frames, length(frames), report);
                        for (at, frame) in frames.iter().enumerate() {
                            let refused = report.reason(at);
                            if refused.is_none() {
                                ledger.count(note.origin, port, usage::wire(frame, note.tags));
                            }
                            see(frame, refused);
                        }
                    })
                } else {
                    Err(DropReason::TxNoCarrier)
                };
                if let Err(reason) = done {
                    counters.dropped(reason, 1);
                    see(&tx, Some(reason));
                }
            }
            let n = notes.len();
            drop(burst);
            ingress.queue.forget(n);
            if n == 0 {
                return moved;
            }
            moved = true;
        }
    }

    /// Send what the switch answered to the latest burst, which came in by `port`.
    #[inline]
    pub fn reply(&mut self, now: Nanos, port: PortId, slots: &mut [Slot], touched: &mut PortSet) {
        // Nearly always: to take none out would still move the room for a burst of them.
        if self.answers.is_empty() {
            return;
        }
        for answer in std::mem::take(&mut self.answers) {
            self.originate(now, port, slots, touched, (answer.bytes(), TagEdit::NONE));
        }
    }

    /// Send a frame of the switch's own by `egress`, whatever its state, with such a tag.
    pub fn originate(
        &mut self,
        now: Nanos,
        egress: PortId,
        slots: &mut [Slot],
        touched: &mut PortSet,
        (bytes, edit): (&[u8], TagEdit),
    ) {
        let Some(slot) = slots.get_mut(usize::from(egress)) else { return };
        let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref()) else { return };
        if !nic.carrier() || bytes.len() > nic.caps().max_frame as usize {
            return;
        }
        let frame = Frame::flat(bytes, Offload::NONE);
        let out = [TxFrame { frame: &frame, edit }];
        touched.insert(egress);
        self.report.ingress = egress;
        self.report.origins.set(Origin::NOBODY);
        hand_over(now, nic.as_mut(), counters, &out, length(&out), &mut self.report);
        let dropped = self.report.drops().first().map(|(_, reason)| *reason);
        match dropped {
            Some(reason) => self.recorder.refused(now, egress, self.packet, 0, &out[0], reason),
            None => self.recorder.own(now, egress, self.packet, &out[0]),
        }
        if self.captures.wants(egress) {
            self.captures.tx(&Sighting { now, port: egress, vlan: 0, packet: self.packet, dropped }, &out[0]);
        }
        self.packet = self.packet.wrapping_add(1);
    }
}

impl Work<'_, '_> {
    /// A burst with one decision.
    fn uniform(&mut self, ingress: PortId, decision: &Decision) {
        match decision.out {
            Out::Port(egress) => self.send_all(egress, decision),
            Out::Flood(_) | Out::Group(_) | Out::Report(_) => {
                let switch = self.switch;
                for &egress in switch.spread(decision) {
                    if egress != ingress && switch.floods_to(egress, decision) {
                        self.send_all(egress, decision);
                    }
                }
            }
            Out::Local => (0..self.burst.len() as u8).for_each(|i| self.local(ingress, i)),
            Out::Answer => (0..self.burst.len() as u8).for_each(|i| self.answer(i)),
            Out::Drop(reason) => self.dropped(ingress, self.burst.len().wrapping_sub(1), reason),
        }
    }

    /// Frame `i` and perhaps others before it were dropped where they came in.
    #[cold]
    fn dropped(&mut self, ingress: PortId, i: usize, reason: DropReason) {
        if let (Some(frame), Some(decision)) = (self.burst.get(i), self.decisions.get(i)) {
            let tx = TxFrame { frame, edit: TagEdit::NONE };
            self.lost.note(ingress, reason, self.now, decision.vlan, &tx);
        }
    }

    /// A BPDU for the switch itself.
    fn local(&mut self, ingress: PortId, i: u8) {
        if let Some(frame) = self.burst.get(usize::from(i)) {
            self.bpdus.push(ingress, frame.head());
        }
    }

    /// A frame that the switch answers, when its port is there to be sent to again.
    fn answer(&mut self, i: u8) {
        let i = usize::from(i);
        if let (Some(frame), Some(decision)) = (self.burst.get(i), self.decisions.get(i))
            && let Some(answer) = self.switch.answer(decision, &frame.view())
        {
            // As many as there are frames in a burst: there is room.
            let _ = self.answers.try_push(answer);
        }
    }

    /// A burst with one decision to one port. What the decision settles is asked once; the frames
    /// are only looked at for their length and for offloads. Anything out of the ordinary goes the
    /// long way.
    fn send_all(&mut self, egress: PortId, decision: &Decision) {
        let Some(slot) = self.slots.get_mut(usize::from(egress)) else { return };
        if let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref())
            && let Ok((edit, longest)) = self.switch.egress_all(egress, decision)
            && slot.shaper.as_ref().is_none_or(|shaper| shaper.ingress.is_none())
            && nic.carrier()
            && !self.captures.wants(egress)
            && !self.mirrors.wants_out(egress)
        {
            let caps = nic.caps();
            // What may pass unexamined, as it came: the edit makes it longer by a tag at the most.
            let fits = longest.min(caps.max_frame.saturating_sub(4)) as usize;
            let mut bytes = 0;
            let mut out: ArrayVec<TxFrame<'_>, BURST> = ArrayVec::new();
            let mut plain = true;
            // Nothing is to be done to any frame: so there is no super-frame.
            let mut bare = true;
            for frame in self.burst {
                let gso = frame.offload.gso_type != Offload::GSO_NONE;
                let none = frame.offload == Offload::NONE;
                bare &= none;
                plain &=
                    none && frame.len() <= fits || caps.take(frame.offload) && (gso || frame.len() <= fits);
                bytes += frame.len() as u64;
                out.push(TxFrame { frame, edit });
            }
            if plain {
                bytes = bytes.wrapping_add_signed(i64::from(edit.delta()) * out.len() as i64);
                self.touched.insert(egress);
                let flood = decision.out.flood().is_some();
                if slot.peer.is_some() {
                    self.book.tell(&mut self.report.origins, 0..out.len() as u8, flood);
                }
                hand_over(self.now, nic.as_mut(), counters, &out, bytes, self.report);
                if self.book.cares(egress, flood) {
                    if self.book.is_plain(flood) && bare && self.report.drops().is_empty() {
                        self.book.all(egress, decision, &out, bytes);
                    } else {
                        self.book.each(egress, self.decisions, &out, |at| at as u8, self.report);
                    }
                }
                refused(self.lost, egress, self.now, decision.vlan, &out, self.report);
                if !self.report.drops().is_empty() {
                    let mut watch = Watch::new(
                        self.captures,
                        self.recorder,
                        egress,
                        self.now,
                        self.packet,
                        self.decisions,
                    );
                    watch.burst(&out, |at| at as u8, self.report);
                }
                return;
            }
        }
        let all: Group = (0..self.burst.len() as u8).collect();
        self.send(egress, &all);
    }

    /// Frames with different decisions.
    fn mixed(&mut self, ingress: PortId) {
        let mut groups: ArrayVec<(PortId, Group), 8> = ArrayVec::new();
        let mut floods = Group::new();
        let mut dropped = None;
        for (i, decision) in self.decisions.iter().enumerate() {
            let i = i as u8;
            match decision.out {
                Out::Drop(reason) => dropped = Some((usize::from(i), reason)),
                Out::Local => self.local(ingress, i),
                Out::Answer => self.answer(i),
                Out::Flood(_) | Out::Group(_) | Out::Report(_) => {
                    for (egress, frames) in groups.drain(..) {
                        self.send(egress, &frames);
                    }
                    floods.push(i);
                }
                Out::Port(egress) => {
                    if !floods.is_empty() {
                        self.flood(ingress, &floods);
                        floods.clear();
                    }
                    if let Some((_, frames)) = groups.iter_mut().find(|(port, _)| *port == egress) {
                        frames.push(i);
                        continue;
                    }
                    if groups.is_full() {
                        // More egresses in one burst than there is room for groups: the oldest one
                        // is complete enough. Its later frames make a new group.
                        let (port, frames) = groups.remove(0);
                        self.send(port, &frames);
                    }
                    groups.push((egress, Group::from_iter([i])));
                }
            }
        }
        for (egress, frames) in groups.drain(..) {
            self.send(egress, &frames);
        }
        if !floods.is_empty() {
            self.flood(ingress, &floods);
        }
        if let Some((i, reason)) = dropped {
            self.dropped(ingress, i, reason);
        }
    }

    /// Each frame to every member of its VLAN that takes such floods, but the ingress.
    fn flood(&mut self, ingress: PortId, frames: &[u8]) {
        let mut rest = frames;
        while let Some(&first) = rest.first() {
            // Runs of one VLAN (on a trunk they may differ) go out together, and so do those of one group.
            let decision = self.decisions[usize::from(first)];
            let alike = |i: &&u8| {
                let other = &self.decisions[usize::from(**i)];
                other.vlan == decision.vlan
                    && match (other.out, decision.out) {
                        (Out::Flood(_), Out::Flood(_)) => true,
                        (one, other) => one == other,
                    }
            };
            let run = rest.iter().take_while(alike).count();
            let (now, later) = rest.split_at(run);
            rest = later;
            let switch = self.switch;
            for &egress in switch.spread(&decision) {
                if egress == ingress {
                    continue;
                }
                let taken: Group = now
                    .iter()
                    .copied()
                    .filter(|i| switch.floods_to(egress, &self.decisions[usize::from(*i)]))
                    .collect();
                if !taken.is_empty() {
                    self.send(egress, &taken);
                }
            }
        }
    }

    /// To one port.
    fn send(&mut self, egress: PortId, frames: &[u8]) {
        let Some(slot) = self.slots.get_mut(usize::from(egress)) else { return };
        // A NIC that is away is the one that is being received from.
        let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref()) else { return };
        let caps = nic.caps();
        let carrier = nic.carrier();
        let mut out: ArrayVec<TxFrame<'_>, BURST> = ArrayVec::new();
        let mut numbers = Group::new();
        let mut plain = true;
        let mut watch =
            Watch::new(self.captures, self.recorder, egress, self.now, self.packet, self.decisions);
        let mirrored = self.mirrors.wants_out(egress);
        let mut kept_out = None;
        for &i in frames {
            let (frame, decision) = (&self.burst[usize::from(i)], &self.decisions[usize::from(i)]);
            let view = frame.view();
            let refused = match self.switch.egress(egress, decision, &view) {
                Ok(edit) if carrier => {
                    let tx = TxFrame { frame, edit };
                    plain &= caps.take(frame.offload) && (view.gso || tx.len() <= caps.max_frame as usize);
                    if mirrored {
                        self.mirrors.goes_out(egress, i, decision, edit, self.linked);
                    }
                    out.push(tx);
                    numbers.push(i);
                    continue;
                }
                Ok(_) => DropReason::TxNoCarrier,
                Err(reason) => reason,
            };
            counters.dropped(refused, 1);
            watch.see(i, &TxFrame { frame, edit: TagEdit::NONE }, Some(refused));
            kept_out = Some((i, refused));
        }
        if let Some((i, reason)) = kept_out {
            let (frame, decision) = (&self.burst[usize::from(i)], &self.decisions[usize::from(i)]);
            self.lost.note(egress, reason, self.now, decision.vlan, &TxFrame { frame, edit: TagEdit::NONE });
        }
        if out.is_empty() {
            return;
        }
        self.touched.insert(egress);
        let flood = numbers.first().is_some_and(|i| self.decisions[usize::from(*i)].out.flood().is_some());
        if slot.peer.is_some() {
            self.book.tell(&mut self.report.origins, numbers.iter().copied(), flood);
        }
        let counts = self.book.cares(egress, flood);
        if let Some(ingress) = slot.shaper.as_mut().and_then(|shaper| shaper.ingress.as_mut()) {
            let mut shaped = Shaped {
                now: self.now,
                port: egress,
                nic: nic.as_mut(),
                counters,
                ingress,
                watch,
                book: &mut self.book,
                lost: self.lost,
            };
            shaped.send(&out, &numbers, self.completer, self.report);
            return;
        }
        if plain {
            hand_over(self.now, nic.as_mut(), counters, &out, length(&out), self.report);
            if counts {
                self.book.each(egress, self.decisions, &out, |at| numbers[at], self.report);
            }
            watch.burst(&out, |at| numbers[at], self.report);
            let vlan = numbers.first().map_or(0, |i| self.decisions[usize::from(*i)].vlan);
            refused(self.lost, egress, self.now, vlan, &out, self.report);
            return;
        }
        for (tx, i) in out.iter().zip(&numbers) {
            let bill = Bill::new(&self.book, egress, *i, tx, &self.decisions[usize::from(*i)]);
            self.report.origins.set(bill.told());
            let done = self.completer.complete(tx, &caps, &mut |frames| {
                hand_over(self.now, nic.as_mut(), counters, frames, length(frames), self.report);
                bill.taken(&mut self.book, frames, self.report);
                watch.burst(frames, |_| *i, self.report);
            });
            if let Err(reason) = done {
                counters.dropped(reason, 1);
                watch.see(*i, tx, Some(reason));
            }
        }
    }
}

/// A port whose guest receives no more than so much.
struct Shaped<'a, 'n, 'b> {
    now: Nanos,
    port: PortId,
    nic: &'n mut dyn Nic,
    counters: &'n PortCounters,
    ingress: &'n mut Ingress,
    watch: Watch<'a>,
    book: &'n mut Book<'b>,
    lost: &'n mut Lost,
}

impl Shaped<'_, '_, '_> {
    /// Hand over what may pass, queue what may not, drop what finds no room.
    fn send(
        &mut self,
        out: &[TxFrame<'_>],
        numbers: &[u8],
        completer: &mut Completer,
        report: &mut TxReport,
    ) {
        let caps = self.ingress.caps(self.nic.caps());
        for (tx, i) in out.iter().zip(numbers) {
            let bill = Bill::new(self.book, self.port, *i, tx, &self.watch.decisions[usize::from(*i)]);
            let done = completer.complete(tx, &caps, &mut |frames| {
                let (now, later) = frames.split_at(self.ingress.passing(self.now, frames));
                if !now.is_empty() {
                    hand_over(self.now, self.nic, self.counters, now, length(now), report);
                    bill.taken(self.book, now, report);
                    self.watch.burst(now, |_| *i, report);
                }
                for frame in later {
                    if self.ingress.queue.push(frame, bill.note(self.book, self.watch.note(*i))) {
                        bill.waits(self.book, frame);
                    } else {
                        self.counters.dropped(DropReason::TxLimit, 1);
                        self.watch.see(*i, frame, Some(DropReason::TxLimit));
                        let vlan = self.watch.note(*i).vlan;
                        self.lost.note(self.port, DropReason::TxLimit, self.now, vlan, frame);
                    }
                }
            });
            if let Err(reason) = done {
                self.counters.dropped(reason, 1);
                self.watch.see(*i, tx, Some(reason));
            }
        }
    }
}

/// What captures and the recorder see of one egress. Costs two tests where nobody looks and nothing is
/// refused.
struct Watch<'a> {
    captures: Option<&'a mut CaptureSet>,
    recorder: &'a mut Recorder,
    decisions: &'a [Decision],
    sighting: Sighting,
}

impl<'a> Watch<'a> {
    fn new(
        captures: &'a mut CaptureSet,
        recorder: &'a mut Recorder,
        port: PortId,
        now: Nanos,
        packet: u64,
        decisions: &'a [Decision],
    ) -> Self {
        let captures = Some(captures).filter(|captures| captures.wants(port));
        let sighting = Sighting { now, port, vlan: 0, packet, dropped: None };
        Watch { captures, recorder, decisions, sighting }
    }

    /// What is to be known of frame `i` when it leaves later.
    fn note(&self, i: u8) -> Note {
        note(self.decisions, self.sighting.packet, i)
    }

    /// Frame `i` of the burst left here, or was dropped.
    #[inline]
    fn see(&mut self, i: u8, tx: &TxFrame<'_>, dropped: Option<DropReason>) {
        let Note { vlan, packet, .. } = self.note(i);
        if let Some(reason) = dropped {
            self.recorder.refused(self.sighting.now, self.sighting.port, packet, vlan, tx, reason);
        }
        self.show(vlan, packet, tx, dropped);
    }

    #[inline]
    fn show(&mut self, vlan: VlanId, packet: u64, tx: &TxFrame<'_>, dropped: Option<DropReason>) {
        if let Some(captures) = &mut self.captures {
            captures.tx(&Sighting { vlan, packet, dropped, ..self.sighting }, tx);
        }
    }

    /// A whole group was handed over; `numbers` are their places in the burst, `report` says what was
    /// not taken.
    #[inline]
    fn burst(&mut self, out: &[TxFrame<'_>], numbers: impl Fn(usize) -> u8, report: &TxReport) {
        if self.captures.is_none() && report.drops().is_empty() {
            return;
        }
        let mut reasons = [None; BURST];
        for &(at, reason) in report.drops() {
            if let Some(place) = reasons.get_mut(usize::from(at)) {
                *place = Some(reason);
            }
        }
        let Sighting { now, port, packet: first, .. } = self.sighting;
        let decisions = self.decisions;
        let refused = report.drops().iter().filter_map(|&(at, reason)| {
            let Note { vlan, packet, .. } = note(decisions, first, numbers(usize::from(at)));
            Some((packet, vlan, out.get(usize::from(at))?, reason))
        });
        self.recorder.refusals(now, port, report.drops().len(), refused);
        if self.captures.is_some() {
            for (at, (tx, reason)) in out.iter().zip(reasons).enumerate() {
                let Note { vlan, packet, .. } = self.note(numbers(at));
                self.show(vlan, packet, tx, reason);
            }
        }
    }
}

/// Have the switch learn from what hosts and routers say about multicast groups.
fn listen(switch: &mut Switch, now: Nanos, ingress: PortId, burst: &[Frame<'_>], decisions: &mut [Decision]) {
    for (frame, decision) in burst.iter().zip(decisions) {
        if switch.is_heard(decision, frame.head()) {
            let mut copy = [0; switch::multicast::LONGEST];
            if let Some(len) = (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut copy) {
                switch.listen(now, ingress, decision, &copy[..len]);
            }
        }
    }
}

/// What is to be known of frame `i` of a burst whose first has number `first`.
fn note(decisions: &[Decision], first: u64, i: u8) -> Note {
    let vlan = decisions.get(usize::from(i)).map_or(0, |decision| decision.vlan);
    Note { vlan, packet: first.wrapping_add(u64::from(i)), ..Note::default() }
}

/// Have the switch learn addresses from what DHCP servers and clients say.
fn snoop(switch: &mut Switch, now: Nanos, ingress: PortId, burst: &[Frame<'_>], decisions: &[Decision]) {
    for (frame, decision) in burst.iter().zip(decisions) {
        if switch::snoop::is_dhcp(frame.head()) && !matches!(decision.out, Out::Drop(_)) {
            let mut copy = [0; switch::snoop::LONGEST];
            if let Some(len) = (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut copy) {
                switch.snoop(now, ingress, decision, &copy[..len]);
            }
        }
    }
}

/// Show captures what came in, with the verdict on it.
#[cold]
fn capture_rx(
    captures: &mut CaptureSet,
    now: Nanos,
    port: PortId,
    packet: u64,
    burst: &[Frame<'_>],
    decisions: &[Decision],
) {
    for (i, (frame, decision)) in burst.iter().zip(decisions).enumerate() {
        let dropped = match decision.out {
            Out::Drop(reason) => Some(reason),
            _ => None,
        };
        let packet = packet + i as u64;
        captures.rx(&Sighting { now, port, vlan: decision.vlan, packet, dropped }, frame);
    }
}

/// Remember the last frame that a NIC did not take.
#[inline]
fn refused(
    lost: &mut Lost,
    port: PortId,
    now: Nanos,
    vlan: VlanId,
    frames: &[TxFrame<'_>],
    report: &TxReport,
) {
    if let Some(&(i, reason)) = report.drops().last()
        && let Some(frame) = frames.get(usize::from(i))
    {
        lost.note(port, reason, now, vlan, frame);
    }
}

/// Bytes in all.
fn length(frames: &[TxFrame<'_>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// Give frames, `bytes` in all, to the NIC and count what became of them.
fn hand_over(
    now: Nanos,
    nic: &mut dyn Nic,
    counters: &PortCounters,
    frames: &[TxFrame<'_>],
    mut bytes: u64,
    report: &mut TxReport,
) {
    report.clear();
    nic.tx_burst(now, frames, report);
    let mut sent = frames.len() as u64;
    for &(i, reason) in report.drops() {
        sent -= 1;
        bytes -= frames.get(usize::from(i)).map_or(0, |frame| frame.len() as u64);
        counters.dropped(reason, 1);
    }
    counters.tx_frames.add(sent);
    counters.tx_bytes.add(bytes);
}
