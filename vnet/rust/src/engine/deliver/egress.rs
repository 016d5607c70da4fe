//! Frames to one port: tags and lengths as its NIC takes them, offloads completed where it takes none, and the
//! books of what was sent.

use super::shaped::Shaped;
use super::sort::{Group, Work};
use super::watch::Watch;
use crate::engine::lost::Lost;
use crate::engine::usage::Bill;
use arrayvec::ArrayVec;
use nics::pcapng::Direction;
use nics::{BURST, FEW, Nic, Offload, TxFrame, TxReport};
use switch::{Decision, DropReason, Nanos, PortCounters, PortId, TagEdit, VlanId};

impl Work<'_, '_> {
    /// A burst with one decision to one port. What the decision settles is asked once; the frames
    /// are only looked at for their length and for offloads. Anything out of the ordinary goes the
    /// long way.
    pub(super) fn send_all(&mut self, egress: PortId, decision: &Decision) {
        let Some(slot) = self.slots.get_mut(usize::from(egress)) else { return };
        if self.burst.len() <= FEW
            && let Some(nic) = &mut slot.nic
        {
            nic.brace();
        }
        if let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref())
            && let Ok((edit, longest)) = self.switch.egress_all(egress, decision)
            && slot.shaper.as_ref().is_none_or(|shaper| shaper.ingress.is_none())
            && nic.carrier()
            && !self.captures.looks_at(egress)
            && !self.mirrors.wants_out(egress)
        {
            let caps = nic.caps();
            // What may pass unexamined, as it came: the edit makes it longer by a tag at the most.
            let fits = longest.min(caps.max_frame.saturating_sub(4)) as usize;
            let (mut bytes, mut most) = (0, 0);
            let mut out: ArrayVec<TxFrame<'_>, BURST> = ArrayVec::new();
            // Nothing is to be done to any frame: so there is no super-frame.
            let mut bare = self.bare;
            let plain = if bare {
                for frame in self.burst {
                    bytes += frame.len() as u64;
                    most = most.max(frame.len());
                }
                out.extend(self.burst.iter().map(|frame| TxFrame { frame, edit }));
                most <= fits
            } else {
                bare = true;
                let mut plain = true;
                for frame in self.burst {
                    let gso = frame.offload.gso_type != Offload::GSO_NONE;
                    let none = frame.offload.is_none();
                    bare &= none;
                    plain &= none && frame.len() <= fits
                        || caps.take(frame.offload) && (gso || frame.len() <= fits);
                    bytes += frame.len() as u64;
                    out.push(TxFrame { frame, edit });
                }
                plain
            };
            if plain {
                bytes = bytes.wrapping_add_signed(i64::from(edit.delta()) * out.len() as i64);
                self.touched.insert(egress);
                let flood = decision.out.flood().is_some();
                self.report.by_origin = self.book.is_uplink(egress);
                if slot.peer.is_some() || self.report.by_origin {
                    self.book.tell(&mut self.report.origins, 0..out.len() as u8, flood);
                }
                hand_over(self.now, nic.as_mut(), counters, &out, bytes, self.report);
                if self.book.cares(egress, flood) {
                    if self.book.is_plain(flood) && self.report.drops().is_empty() {
                        self.book.all(egress, decision, &out, bare.then_some(bytes));
                    } else {
                        self.book.each(egress, self.decisions, &out, |at| at as u8, self.report);
                    }
                }
                refused(self.lost, egress, self.now, decision.vlan, &out, self.report);
                let dropped = self.report.drops().len();
                let shown = self.captures.looks_at_drops(egress);
                if !shown && self.captures.wants(egress) {
                    let n = out.len() as u64;
                    self.captures.pass_over(egress, decision.vlan, Direction::Out, n, dropped as u64);
                }
                if dropped > 0 {
                    let mut watch = Watch::new(
                        self.captures,
                        self.recorder,
                        egress,
                        self.now,
                        self.packet,
                        self.decisions,
                    );
                    watch.captures.take_if(|_| !shown);
                    watch.burst(&out, |at| at as u8, self.report);
                }
                return;
            }
        }
        let all: Group = (0..self.burst.len() as u8).collect();
        self.send(egress, &all);
    }

    /// To one port.
    pub(super) fn send(&mut self, egress: PortId, frames: &[u8]) {
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
        self.report.by_origin = self.book.is_uplink(egress);
        if slot.peer.is_some() || self.report.by_origin {
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
pub(super) fn length(frames: &[TxFrame<'_>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// Give frames, `bytes` in all, to the NIC and count what became of them.
pub(super) fn hand_over(
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
