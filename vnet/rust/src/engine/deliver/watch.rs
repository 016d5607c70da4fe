//! What captures and the recorder are shown of a burst.

use crate::capture::{CaptureSet, Sighting};
use crate::engine::shape::Note;
use crate::recorder::Recorder;
use nics::pcapng::Direction;
use nics::{BURST, Frame, TxFrame, TxReport};
use switch::{Decision, DropReason, Nanos, Out, PortId, VlanId};

/// What captures and the recorder see of one egress. Costs two tests where nobody looks and nothing is
/// refused.
pub(super) struct Watch<'a> {
    pub(super) captures: Option<&'a mut CaptureSet>,
    recorder: &'a mut Recorder,
    pub(super) decisions: &'a [Decision],
    sighting: Sighting,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
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
    pub(super) fn note(&self, i: u8) -> Note {
        note(self.decisions, self.sighting.packet, i)
    }

    /// Frame `i` of the burst left here, or was dropped.
    #[inline]
    pub(super) fn see(&mut self, i: u8, tx: &TxFrame<'_>, dropped: Option<DropReason>) {
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
    pub(super) fn burst(&mut self, out: &[TxFrame<'_>], numbers: impl Fn(usize) -> u8, report: &TxReport) {
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

/// What is to be known of frame `i` of a burst whose first has number `first`.
fn note(decisions: &[Decision], first: u64, i: u8) -> Note {
    let vlan = decisions.get(usize::from(i)).map_or(0, |decision| decision.vlan);
    Note { vlan, packet: first.wrapping_add(u64::from(i)), ..Note::default() }
}

/// Show captures what came in, with the verdict on it.
#[cold]
pub(super) fn capture_rx(
    captures: &mut CaptureSet,
    now: Nanos,
    port: PortId,
    packet: u64,
    burst: &[Frame<'_>],
    decisions: &[Decision],
    same: bool,
) {
    if same && !captures.looks_at(port) {
        let Some(first) = decisions.first() else { return };
        let dropped = matches!(first.out, Out::Drop(_));
        if !captures.looks_at_drops(port) {
            let n = burst.len() as u64;
            captures.pass_over(port, first.vlan, Direction::In, n, if dropped { n } else { 0 });
            return;
        }
        if !dropped {
            return;
        }
    }
    for (i, (frame, decision)) in burst.iter().zip(decisions).enumerate() {
        let dropped = match decision.out {
            Out::Drop(reason) => Some(reason),
            _ => None,
        };
        let packet = packet + i as u64;
        captures.rx(&Sighting { now, port, vlan: decision.vlan, packet, dropped }, frame);
    }
}
