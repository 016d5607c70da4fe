//! Ports whose guests receive no more than so much: what may pass now, and what has waited long enough.

use super::Delivery;
use super::egress::{hand_over, length};
use super::watch::Watch;
use crate::capture::Sighting;
use crate::engine::lost::Lost;
use crate::engine::ports::Slot;
use crate::engine::shape::Ingress;
use crate::engine::usage::{self, Bill, Book};
use nics::offload::Completer;
use nics::{Nic, TxFrame, TxReport};
use switch::{DropReason, Nanos, PortCounters, PortId, TagEdit};

impl Delivery {
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
}

/// A port whose guest receives no more than so much.
pub(super) struct Shaped<'a, 'n, 'b> {
    pub(super) now: Nanos,
    pub(super) port: PortId,
    pub(super) nic: &'n mut dyn Nic,
    pub(super) counters: &'n PortCounters,
    pub(super) ingress: &'n mut Ingress,
    pub(super) watch: Watch<'a>,
    pub(super) book: &'n mut Book<'b>,
    pub(super) lost: &'n mut Lost,
}

impl Shaped<'_, '_, '_> {
    /// Hand over what may pass, queue what may not, drop what finds no room.
    pub(super) fn send(
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
