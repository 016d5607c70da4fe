//! Which frames of a burst go where.
//!
//! Most bursts are one flow: every frame has the same decision, and one `tx_burst` takes them all.
//! Otherwise frames are grouped by egress, so that each NIC is called once; a flooded frame ends a
//! group, because nothing may overtake it. Within a group frames keep their order, so the order of
//! each (source, destination, VLAN) is kept whatever the mix.

use crate::capture::CaptureSet;
use crate::engine::bridges::Bpdus;
use crate::engine::lost::Lost;
use crate::engine::ports::{PortSet, Slot};
use crate::engine::usage::Book;
use crate::mirror::MirrorSet;
use crate::recorder::Recorder;
use arrayvec::ArrayVec;
use nics::offload::Completer;
use nics::{BURST, Frame, TxFrame, TxReport};
use switch::{Answer, Decision, DropReason, Nanos, Out, PortId, Switch, TagEdit};

/// Indexes of frames in a burst, in order.
pub(super) type Group = ArrayVec<u8, BURST>;

/// What all egresses of one burst have in common.
pub(super) struct Work<'a, 'f> {
    pub(super) now: Nanos,
    pub(super) switch: &'a Switch,
    pub(super) slots: &'a mut [Slot],
    pub(super) touched: &'a mut PortSet,
    pub(super) burst: &'a [Frame<'f>],
    /// It is known that none of its frames is offloaded.
    pub(super) bare: bool,
    pub(super) decisions: &'a [Decision],
    pub(super) completer: &'a mut Completer,
    pub(super) report: &'a mut TxReport,
    pub(super) captures: &'a mut CaptureSet,
    pub(super) mirrors: &'a mut MirrorSet,
    pub(super) lost: &'a mut Lost,
    /// The burst came over a link.
    pub(super) linked: bool,
    pub(super) recorder: &'a mut Recorder,
    pub(super) book: Book<'a>,
    /// The packet number of the burst's first frame.
    pub(super) packet: u64,
    pub(super) bpdus: &'a mut Bpdus,
    pub(super) answers: &'a mut ArrayVec<Answer, BURST>,
}

impl Work<'_, '_> {
    /// A burst with one decision.
    pub(super) fn uniform(&mut self, ingress: PortId, decision: &Decision) {
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

    /// Frames with different decisions.
    pub(super) fn mixed(&mut self, ingress: PortId) {
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
}
