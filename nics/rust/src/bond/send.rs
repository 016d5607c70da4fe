//! Frames to several cables: each flow by one of them.

use super::{BondNic, Member, bits};
use crate::frame::{BURST, TxFrame};
use crate::nic::TxReport;
use crate::origin::Origin;
use arrayvec::ArrayVec;
use switch::lacp::flow;
use switch::{DropReason, Nanos};

impl BondNic {
    /// Several cables are in use, or none.
    pub(super) fn distribute(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        if self.distributing == 0 {
            report.drop_rest(0, frames.len(), DropReason::TxNoCarrier);
            return;
        }
        let mut ways = [0; BURST];
        let mut used: u8 = 0;
        for (way, frame) in ways.iter_mut().zip(frames) {
            *way = self.spread.pick(flow(frame.frame.head(), self.setup.hashed), now);
            used |= 1 << *way;
        }
        self.touched |= used;
        for at in bits(used) {
            let mut part: ArrayVec<TxFrame<'_>, BURST> = ArrayVec::new();
            let mut places: ArrayVec<u8, BURST> = ArrayVec::new();
            for (i, frame) in frames.iter().enumerate().take(BURST) {
                if usize::from(ways[i]) == at {
                    part.push(*frame);
                    places.push(i as u8);
                }
            }
            let Some(Member { nic, tx, .. }) = self.members.get_mut(at) else { continue };
            self.report.clear();
            (self.report.ingress, self.report.by_origin) = (report.ingress, report.by_origin);
            self.report.origins.set(Origin::NOBODY);
            places.iter().for_each(|&i| self.report.origins.push(report.origins.of(usize::from(i))));
            nic.tx_burst(now, &part, &mut self.report);
            count(tx, &part, self.report.drops());
            for &(i, reason) in self.report.drops() {
                if let Some(&place) = places.get(usize::from(i)) {
                    report.drop(usize::from(place), reason);
                }
            }
        }
    }
}

/// Count what was sent of `frames`.
pub(super) fn count(tx: &mut (u64, u64), frames: &[TxFrame<'_>], drops: &[(u8, DropReason)]) {
    tx.0 += frames.len() as u64;
    tx.1 += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
    for (i, _) in drops {
        tx.0 -= 1;
        tx.1 -= frames.get(usize::from(*i)).map_or(0, |frame| frame.len() as u64);
    }
}
