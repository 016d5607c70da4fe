//! Segments in a row that one end of a connection sends, asked about together.
//!
//! Who sends much sends segments that are as long as each other, acknowledge and offer the same or nearly, and differ in
//! where they begin. Each number that is asked for has to lie in some half of the circle of all numbers; so if the
//! first and the last of a stretch that is shorter than half of it do, all between them do. What is learned from
//! them is learned from the last. Any others are asked one by one, in order.

use super::{Half, OLD_ACK, UNSEEN, after};
use crate::View;
use crate::groups::packet::Segment;
use crate::groups::raw::{Numbers, acknowledgement};

/// A stretch on the circle: its first number and its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch(u32, u32);

/// Longer ones are none: a quarter of the circle.
const LONGEST: u32 = 1 << 30;

impl Stretch {
    /// From so far before a number to so far behind it.
    #[inline]
    fn around(number: u32, (before, behind): (i32, i32)) -> Option<Stretch> {
        let (first, last) = (number.wrapping_add_signed(before), number.wrapping_add_signed(behind));
        (last.wrapping_sub(first) < LONGEST).then_some(Stretch(first, last))
    }

    /// Whether none of it is later than `most`, nor earlier than `least`.
    #[inline]
    fn is_between(self, least: u32, most: u32) -> bool {
        let Stretch(first, last) = self;
        let late = most.wrapping_sub(first) | most.wrapping_sub(last);
        let early = first.wrapping_sub(least) | last.wrapping_sub(least);
        (late | early) as i32 >= 0
    }

    /// The latest of it and `before`; `None`: it begins later and ends earlier, half a circle away, and that depends on
    /// the order.
    #[inline]
    fn latest(self, before: u32, is_later: impl Fn(u32) -> bool) -> Option<u32> {
        match (is_later(self.0), is_later(self.1)) {
            (true, false) => None,
            (_, later) => Some(if later { self.1 } else { before }),
        }
    }

    /// All of it so much further on.
    #[inline]
    fn plus(self, more: u32) -> Stretch {
        Stretch(self.0.wrapping_add(more), self.1.wrapping_add(more))
    }
}

/// Segments that only acknowledge and differ in nothing but where they begin and what they acknowledge.
#[derive(Clone, Copy, Debug)]
pub(in crate::groups) struct Row {
    first: Segment,
    begins: Stretch,
    acks: Stretch,
}

impl Row {
    /// These packets, if they are that.
    #[inline]
    pub(in crate::groups) fn of<'v>(mut views: impl Iterator<Item = View<'v>>) -> Option<Row> {
        let view = views.next()?;
        let first = acknowledgement(&view)?;
        let own = Numbers::of(&view)?;
        let (mut seqs, mut acks, mut differ) = ((0, 0), (0, 0), 0);
        views.for_each(|other| {
            let Some(numbers) = Numbers::of(&other) else { return differ = 1 };
            differ |= numbers.what ^ own.what | u32::from(numbers.total ^ own.total) | other.len ^ view.len;
            differ |= u32::from(other.gso != view.gso);
            let (seq, ack) = (numbers.seq.wrapping_sub(own.seq), numbers.ack.wrapping_sub(own.ack));
            seqs = (seqs.0.min(seq as i32), seqs.1.max(seq as i32));
            acks = (acks.0.min(ack as i32), acks.1.max(ack as i32));
        });
        if differ != 0 {
            return None;
        }
        Some(Row { first, begins: Stretch::around(own.seq, seqs)?, acks: Stretch::around(own.ack, acks)? })
    }

    /// Take all of them, as [`carries_on`](super::carries_on) does one after the other; `false`: not all are known to pass,
    /// and nothing has changed.
    #[inline]
    pub(in crate::groups) fn carries_on(&self, sender: &mut Half, receiver: &mut Half) -> bool {
        let changed = self.known(sender, receiver);
        if let Some((window, end, limit)) = changed {
            (sender.window, sender.end, receiver.limit) = (window, end, limit);
        }
        changed.is_some()
    }

    /// Where both ends are after them: the sender's window and end, and the receiver's limit.
    #[inline]
    fn known(&self, sender: &Half, receiver: &Half) -> Option<(u32, u32, u32)> {
        let Row { first, begins, acks } = *self;
        let window = u32::from(first.window) << (sender.scale & 15);
        let (ends, limits) = (begins.plus(first.len), acks.plus(window.max(1)));
        let end = ends.latest(sender.end, |end| after(end, sender.end))?;
        let limit = limits.latest(receiver.limit, |limit| !after(receiver.limit, limit))?;
        // None may end so far behind where the sender was before them, nor where it is after them.
        let old = |end: u32| end.wrapping_sub(receiver.window.max(1));
        let oldest = receiver.end.wrapping_sub(sender.window.max(OLD_ACK));
        let good = begins.is_between(begins.0, sender.limit)
            && ends.is_between(old(sender.end), end)
            && ends.is_between(old(end), end)
            && acks.is_between(oldest, receiver.end)
            && receiver.flags & UNSEEN == 0;
        good.then_some((sender.window.max(window), end, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ACK, carries_on};
    use super::*;
    use proptest::prelude::*;

    /// A packet with such a segment.
    fn packet(seq: u32, ack: u32, window: u16, len: u16) -> [u8; 60] {
        let mut bytes = [0; 60];
        bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        bytes[16..18].copy_from_slice(&(40 + len).to_be_bytes());
        bytes[23] = 6;
        bytes[38..42].copy_from_slice(&seq.to_be_bytes());
        bytes[42..46].copy_from_slice(&ack.to_be_bytes());
        bytes[46..48].copy_from_slice(&[0x50, ACK]);
        bytes[48..50].copy_from_slice(&window.to_be_bytes());
        bytes
    }

    /// Numbers at and around those where something changes, from a few places of the circle.
    fn near() -> impl Strategy<Value = u32> {
        let place =
            prop_oneof![Just(0_u32), Just(1000), Just(70_000), Just(u32::MAX / 2), Just(u32::MAX - 500)];
        (place, -3000_i32..3000).prop_map(|(place, off)| place.wrapping_add_signed(off))
    }

    fn half() -> impl Strategy<Value = Half> {
        let window = prop_oneof![0_u32..3, 900_u32..1100, 65_000_u32..67_000, any::<u32>()];
        (near(), near(), window, 0_u8..15, prop_oneof![9 => Just(0), 1 => Just(UNSEEN)])
            .prop_map(|(end, limit, window, scale, flags)| Half { end, limit, window, scale, flags })
    }

    proptest! {
        #[test]
        fn all_at_once_is_one_after_the_other(
            (mut one, mut other) in (half(), half()),
            (seq, ack, window, len) in (near(), near(), any::<u16>(), 0_u16..1400),
            steps in prop::collection::vec((-1500_i32..3000, -100_i32..2000), 0..8),
            odd in 0_usize..40,
        ) {
            let mut packets = vec![packet(seq, ack, window, len)];
            let (mut seq, mut ack) = (seq, ack);
            for (number, (far, acked)) in steps.into_iter().enumerate() {
                (seq, ack) = (seq.wrapping_add_signed(far), ack.wrapping_add_signed(acked));
                packets.push(packet(seq, ack, window, len + u16::from(number == odd)));
            }
            let views = || packets.iter().map(|bytes| View::plain(bytes, 60 + u32::from(len)));
            let before = (one, other);
            let (mut slow, mut slower) = before;
            let all = views().all(|view| {
                acknowledgement(&view).is_some_and(|segment| carries_on(&mut slow, &mut slower, &segment))
            });
            let known = Row::of(views()).is_some_and(|row| row.carries_on(&mut one, &mut other));
            if known {
                prop_assert!(all);
                prop_assert_eq!((one, other), (slow, slower));
            } else {
                prop_assert_eq!((one, other), before, "nothing has changed");
            }
        }
    }

    #[test]
    fn what_a_sender_of_much_sends_is_known_at_once() {
        let mut one = Half { end: 100, limit: 90_100, window: 1000, scale: 7, flags: 0 };
        let mut other = Half { end: 5000, limit: 100, window: 90_000, scale: 7, flags: 0 };
        let packets: Vec<_> = (0..64).map(|n| packet(100 + n * 1000, 5000, 500, 1000)).collect();
        let row = Row::of(packets.iter().map(|bytes| View::plain(bytes, 1054))).expect("they are alike");
        assert!(row.carries_on(&mut one, &mut other));
        assert_eq!((one.end, one.window, other.limit), (64_100, 64_000, 69_000));
        // And what acknowledges it.
        let packets: Vec<_> = (0..64).map(|n| packet(5000, 1100 + n * 1000, 700, 0)).collect();
        let row = Row::of(packets.iter().map(|bytes| View::plain(bytes, 60))).expect("they are alike");
        assert!(row.carries_on(&mut other, &mut one));
        assert_eq!((other.end, one.limit), (5000, 64_100 + 700 * 128));
        // One that acknowledges what was not sent spoils it.
        let row = Row { acks: Stretch(row.acks.0, 64_101), ..row };
        assert!(!row.carries_on(&mut other, &mut one));
    }
}
