//! Which of a guest's receive queues a frame goes to, when it has several.
//!
//! A flow stays on one queue, so that it stays in order and on one of the guest's processors. Which
//! one is the guest's choice: it shows it by the queue it sends that flow's other direction from
//! (virtio 1.2, 5.1.6.5.6, "automatic receive steering"). So a small table remembers, for a hash
//! that is the same both ways, where the flow was sent from last; flows never heard of are spread.

use super::queue::Queue;
use super::vring::Vring;
use crate::frame::{BURST, Frame, TxFrame};
use crate::nic::TxReport;
use arrayvec::ArrayVec;
use switch::DropReason;

const FLOWS: usize = 512;
const UNKNOWN: u8 = u8::MAX;
/// Queues that are told apart; further ones get flows only by the table.
const QUEUES: usize = 128;

#[derive(Debug)]
pub struct Steer {
    /// The pair a flow was sent from last.
    pair: Box<[u8; FLOWS]>,
}

impl Default for Steer {
    fn default() -> Self {
        Steer { pair: Box::new([UNKNOWN; FLOWS]) }
    }
}

/// A hash of the addresses and ports, the same in both directions.
fn flow(head: &[u8]) -> usize {
    let word =
        |at: usize| head.get(at..at + 4).and_then(|b| b.first_chunk().copied()).map_or(0, u32::from_be_bytes);
    let half = |at: usize| word(at) >> 16;
    let mut at = 12;
    while matches!(half(at), 0x8100 | 0x88a8) && at < 20 {
        at += 4;
    }
    let ip = at + 2;
    let mut sum = 0u32;
    let mut add = |a: u32, b: u32| sum = sum.wrapping_add(a ^ b).rotate_left(7);
    let (protocol, ports) = match half(at) {
        0x0800 => {
            add(word(ip + 12), word(ip + 16));
            let fragment = half(ip + 6) & 0x3fff != 0;
            let length = head.get(ip).map_or(0, |b| usize::from(b & 15) * 4);
            (head.get(ip + 9).copied().filter(|_| !fragment), ip + length)
        }
        0x86dd => {
            for i in 0..4 {
                add(word(ip + 8 + 4 * i), word(ip + 24 + 4 * i));
            }
            (head.get(ip + 6).copied(), ip + 40)
        }
        _ => {
            add(word(0), word(6));
            add(half(4), half(10));
            (None, 0)
        }
    };
    if matches!(protocol, Some(6 | 17 | 132)) {
        add(half(ports), half(ports + 2));
    }
    (sum.wrapping_mul(0x9e37_79b1) >> 23) as usize % FLOWS
}

impl Steer {
    /// The guest sent these from queue pair `pair`.
    pub fn learn(&mut self, pair: usize, frames: &[Frame<'_>]) {
        let pair = pair.min(usize::from(UNKNOWN)) as u8;
        for frame in frames {
            self.pair[flow(frame.head())] = pair;
        }
    }

    /// Hand `frames` to the receive queues they belong to, those of each queue together.
    #[inline]
    pub fn each<'f>(
        &self,
        queues: &mut [Queue],
        frames: &[TxFrame<'f>],
        report: &mut TxReport,
        hand: &mut impl FnMut(usize, &mut Vring, &[TxFrame<'f>], &mut TxReport),
    ) {
        let mut open: ArrayVec<u8, QUEUES> = ArrayVec::new();
        for (pair, queue) in queues.iter().step_by(2).enumerate().take(QUEUES) {
            if queue.enabled && queue.ring.is_some() {
                let _ = open.try_push(pair as u8);
            }
        }
        let Some((&first, others)) = open.split_first() else {
            return report.drop_rest(0, frames.len(), DropReason::TxNoCarrier);
        };
        if others.is_empty() {
            let index = usize::from(first) * 2;
            if let Some(ring) = queues.get_mut(index).and_then(|queue| queue.ring.as_mut()) {
                hand(index, ring, frames, report);
            }
            return;
        }
        let pick: ArrayVec<u8, BURST> = frames.iter().take(BURST).map(|tx| self.pick(tx, &open)).collect();
        for &pair in &open {
            let of = pick.iter().enumerate().filter(|(_, at)| **at == pair).map(|(i, _)| i);
            let places: ArrayVec<usize, BURST> = of.collect();
            if places.is_empty() {
                continue;
            }
            let mine: ArrayVec<TxFrame<'f>, BURST> = places.iter().map(|i| frames[*i]).collect();
            let index = usize::from(pair) * 2;
            if let Some(ring) = queues.get_mut(index).and_then(|queue| queue.ring.as_mut()) {
                let mut part = TxReport::default();
                hand(index, ring, &mine, &mut part);
                for &(i, reason) in part.drops() {
                    report.drop(places.get(usize::from(i)).copied().unwrap_or(0), reason);
                }
            }
        }
    }

    fn pick(&self, tx: &TxFrame<'_>, open: &[u8]) -> u8 {
        let flow = flow(tx.frame.head());
        let known = self.pair[flow];
        if open.contains(&known) { known } else { open.get(flow % open.len().max(1)).copied().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_flow_hash_alike() {
        for (kind, at) in [([8, 0], 14), ([0x86, 0xdd], 14)] {
            let mut there: Vec<u8> = (0..80).map(|i| (i * 37) as u8).collect();
            there[12..14].copy_from_slice(&kind);
            there[at] = 0x45;
            let (protocol, a, b, n, ports) =
                if kind[0] == 8 { (23, 26, 30, 4, 34) } else { (20, 22, 38, 16, 54) };
            if kind[0] == 8 {
                there[20..22].fill(0);
            }
            there[protocol] = 6;
            let mut back = there.clone();
            back[a..a + n].copy_from_slice(&there[b..b + n]);
            back[b..b + n].copy_from_slice(&there[a..a + n]);
            back[ports..ports + 2].copy_from_slice(&there[ports + 2..ports + 4]);
            back[ports + 2..ports + 4].copy_from_slice(&there[ports..ports + 2]);
            assert_eq!(flow(&there), flow(&back));
            let mut other = there.clone();
            other[ports] ^= 1;
            assert_ne!(flow(&there), flow(&other));
        }
    }

    #[test]
    fn a_head_cut_anywhere_does_no_harm() {
        let bytes = [0x81; 128];
        for len in 0..bytes.len() {
            assert!(flow(&bytes[..len]) < FLOWS);
        }
    }
}
