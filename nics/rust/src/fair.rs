//! A queue for an egress that is slower than its guests together: deficit round robin.
//!
//! What an uplink's kernel queue does not take at once waits here, apart by who sent it (the ingress
//! port), and each sender in turn gets the same number of bytes on the wire. A frame costs its length
//! and what Ethernet puts around each of its segments, so that many short frames are as dear as they
//! are for the wire. A sender that had nothing waiting goes before those that have (as in FQ-CoDel,
//! RFC 8290): who sends little never waits behind who sends much.
//!
//! Room is shared alike: a sender may keep its share of [`ROOM`] waiting, at most [`ROOM_EACH`], and
//! loses what comes on top of that. Memory is thus bounded whatever guests send (it is some 72 KiB a
//! guest when thousands send more than there is room for), and given back when nothing waits.

use std::collections::VecDeque;
use switch::PortId;

/// Bytes that may wait in all, but for what a new sender is granted in any case.
const ROOM: usize = 8 << 20;
/// Bytes of one sender that may wait: 8 ms at 1 Gbit/s.
const ROOM_EACH: usize = 1 << 20;
/// What a sender may always keep: a super-frame.
const ROOM_LEAST: usize = 72 << 10;
/// Bytes on the wire that each sender gets in turn.
const QUANTUM: i64 = 4096;
/// Preamble, FCS and the gap between frames, in bytes.
pub const WIRE: usize = 24;
/// Memory that a sender keeps while it has nothing waiting.
const KEPT: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In no list: nothing waits.
    #[default]
    Idle,
    New,
    Old,
}

#[derive(Debug, Default)]
struct Flow {
    /// Length and cost of each record in `bytes`, in order.
    records: VecDeque<(u32, u32)>,
    bytes: VecDeque<u8>,
    /// Bytes on the wire that it may still send in this round.
    deficit: i64,
    place: Place,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub struct FairQueue {
    /// By ingress port.
    flows: Vec<Flow>,
    /// Senders that had nothing waiting before, then all others, each in turn.
    new: VecDeque<PortId>,
    old: VecDeque<PortId>,
    waiting: usize,
}

impl FairQueue {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Records that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Keep a record that `from` sent, in pieces, and that costs `cost` bytes on the wire; false: its
    /// sender has its share of the room.
    pub fn push<'a>(
        &mut self,
        from: PortId,
        cost: usize,
        len: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let at = usize::from(from);
        if at >= self.flows.len() {
            self.flows.resize_with(at + 1, Flow::default);
        }
        let senders = self.new.len() + self.old.len() + 1;
        let room = (ROOM / senders).clamp(ROOM_LEAST, ROOM_EACH);
        let flow = &mut self.flows[at];
        if flow.bytes.len() + len > room {
            return false;
        }
        let before = flow.bytes.len();
        for piece in pieces {
            flow.bytes.extend(piece);
        }
        let kept = flow.bytes.len() - before;
        flow.records.push_back((kept as u32, cost as u32));
        self.waiting += 1;
        if flow.place == Place::Idle {
            flow.place = Place::New;
            flow.deficit = QUANTUM;
            self.new.push_back(from);
        }
        true
    }

    /// The record whose turn it is, in two pieces, the second of which may be empty.
    pub fn peek(&mut self) -> Option<(&[u8], &[u8])> {
        let from = self.turn()?;
        let flow = self.flows.get(usize::from(from))?;
        let len = flow.records.front()?.0 as usize;
        let (a, b) = flow.bytes.as_slices();
        let first = a.len().min(len);
        Some((&a[..first], &b[..len - first]))
    }

    /// The record that `peek` showed is gone.
    pub fn pop(&mut self) {
        let Some(from) = self.turn() else { return };
        let Some(flow) = self.flows.get_mut(usize::from(from)) else { return };
        let Some((len, cost)) = flow.records.pop_front() else { return };
        flow.bytes.drain(..len as usize);
        flow.deficit -= i64::from(cost);
        self.waiting -= 1;
    }

    /// Nothing waits any more; how many records are lost.
    pub fn clear(&mut self) -> usize {
        std::mem::take(self).waiting
    }

    /// Whose turn it is: the first in line that has something waiting and may still send.
    fn turn(&mut self) -> Option<PortId> {
        loop {
            let (line, from) = match (self.new.front(), self.old.front()) {
                (Some(&from), _) => (Place::New, from),
                (None, Some(&from)) => (Place::Old, from),
                (None, None) => return None,
            };
            let flow = self.flows.get_mut(usize::from(from))?;
            let empty = flow.records.is_empty();
            if !empty && flow.deficit > 0 {
                return Some(from);
            }
            match line {
                Place::New => self.new.pop_front(),
                _ => self.old.pop_front(),
            };
            if empty && (line != Place::New || self.old.is_empty()) {
                flow.place = Place::Idle;
                flow.bytes.shrink_to(KEPT);
                flow.records.shrink_to(KEPT / 64);
                continue;
            }
            // A new sender whose records are gone waits for a turn like the others before it is new
            // again, or it could stay in front of them for ever.
            if !empty {
                flow.deficit += QUANTUM;
            }
            flow.place = Place::Old;
            self.old.push_back(from);
        }
    }
}

/// What a frame of `len` bytes in `segments` segments costs on the wire, each with headers of
/// `headers` bytes but the first.
#[must_use]
pub fn cost(len: usize, segments: usize, headers: usize) -> usize {
    let bare = len + WIRE + (segments - segments.min(1)) * (headers + WIRE);
    bare.max(60 + WIRE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn push(queue: &mut FairQueue, from: PortId, len: usize) -> bool {
        let bytes = vec![from as u8; len];
        queue.push(from, cost(len, 1, 0), len, [&bytes[..len / 2], &bytes[len / 2..]].into_iter())
    }

    /// Who sent the next record, and its length.
    fn next(queue: &mut FairQueue) -> Option<(u8, usize)> {
        let (a, b) = queue.peek()?;
        let got = (a.first().or(b.first()).copied()?, a.len() + b.len());
        assert!(a.iter().chain(b).all(|byte| *byte == got.0), "records are not mixed");
        queue.pop();
        Some(got)
    }

    #[test]
    fn each_sender_gets_the_same_bytes_whatever_its_frames() {
        let mut queue = FairQueue::default();
        let lengths = [(1, 60), (2, 1514), (3, 9014)];
        let mut sent = [0_usize; 4];
        // A wire that takes 10 MB, with everybody sending all the time.
        let mut wire = 10_000_000_i64;
        while wire > 0 {
            for (from, len) in lengths {
                while push(&mut queue, from, len) {}
            }
            let (from, len) = next(&mut queue).unwrap();
            let cost = cost(len, 1, 0);
            sent[usize::from(from)] += cost;
            wire -= cost as i64;
        }
        for share in &sent[1..] {
            let ideal = 10_000_000 / 3;
            assert!(share.abs_diff(ideal) < ideal / 50, "{sent:?}");
        }
    }

    #[test]
    fn who_sends_little_goes_before_who_sends_much() {
        let mut queue = FairQueue::default();
        while push(&mut queue, 1, 60) {}
        while push(&mut queue, 2, 1514) {}
        for _ in 0..100 {
            // A round of the others.
            for _ in 0..60 {
                next(&mut queue);
            }
            while push(&mut queue, 1, 60) {}
            assert!(push(&mut queue, 3, 100));
            assert_eq!(next(&mut queue), Some((3, 100)), "it is next");
        }
    }

    #[test]
    fn nobody_stays_new_by_emptying_its_queue() {
        let mut queue = FairQueue::default();
        while push(&mut queue, 1, 1000) {}
        let mut sent = [0_usize; 3];
        for _ in 0..1000 {
            while queue.flows.get(2).is_none_or(|flow| flow.records.len() < 2) {
                assert!(push(&mut queue, 2, 1000));
            }
            sent[usize::from(next(&mut queue).unwrap().0)] += 1;
            while push(&mut queue, 1, 1000) {}
        }
        assert!(sent[1].abs_diff(sent[2]) <= 10, "{sent:?}");
    }

    #[test]
    fn room_is_shared_and_given_back() {
        let mut queue = FairQueue::default();
        while push(&mut queue, 0, 60) {}
        for from in 1..400 {
            while push(&mut queue, from, 1514) {}
        }
        let held: usize = queue.flows.iter().map(|flow| flow.bytes.len()).sum();
        assert!(held <= 400 * ROOM_LEAST + 4 * ROOM, "{held} bytes wait");
        let late = 4095;
        assert!(push(&mut queue, late, 65_550), "a latecomer has room for a super-frame");
        let mut count = 0;
        while next_any(&mut queue) {
            count += 1;
        }
        assert!(count > 400 && queue.is_empty());
        assert!(queue.flows.iter().all(|flow| flow.bytes.capacity() <= KEPT * 2));
        assert!(queue.flows.iter().all(|flow| flow.records.capacity() <= KEPT / 32));
        assert!(queue.new.is_empty() && queue.old.is_empty());
    }

    fn next_any(queue: &mut FairQueue) -> bool {
        let there = queue.peek().is_some();
        queue.pop();
        there
    }

    #[test]
    fn the_order_of_a_sender_is_kept() {
        let mut queue = FairQueue::default();
        for number in 0..100_u8 {
            let bytes = [number; 700];
            for from in [1, 2] {
                assert!(queue.push(from, 724, 700, [&bytes[..]].into_iter()));
            }
        }
        let mut seen = Vec::new();
        while let Some((a, b)) = queue.peek() {
            seen.push(*a.first().or(b.first()).unwrap());
            queue.pop();
        }
        assert_eq!(seen.len(), 200);
        for number in 0..100_u8 {
            assert_eq!(seen.iter().filter(|n| **n == number).count(), 2);
        }
        let firsts: Vec<_> = (0..100).map(|n| seen.iter().position(|s| *s == n).unwrap()).collect();
        assert!(firsts.is_sorted());
    }
}
