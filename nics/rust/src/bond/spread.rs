//! Which cable a flow goes by: a table of 256 buckets, as of hash tables that are to stay steady.
//!
//! A cable that goes takes no flows along but its own: they are dealt out to those that stay. One that comes
//! gets its share from the others, bucket by bucket, each when nothing has gone through it for a while: what
//! was sent the old way has arrived by then, and order is kept. A bucket that is never quiet moves after a
//! second all the same.

use super::MEMBERS;
use switch::Nanos;

const BUCKETS: usize = 256;
/// Longer than any two cables of one bundle should differ by.
const PAUSE: Nanos = 50_000_000;
const PATIENCE: Nanos = 1_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    member: u8,
    /// Where it shall be, and since when.
    wanted: u8,
    since: Nanos,
    used: Nanos,
}

#[derive(Debug)]
pub(super) struct Spread {
    buckets: Box<[Bucket; BUCKETS]>,
    /// By bit: who is in use.
    members: u8,
}

impl Spread {
    pub fn new() -> Self {
        Spread { buckets: Box::new([Bucket::default(); BUCKETS]), members: 0 }
    }

    /// From now on these are in use, by bit.
    pub fn set(&mut self, members: u8, now: Nanos) {
        let before = std::mem::replace(&mut self.members, members);
        if members == before || members == 0 {
            return;
        }
        let has = |member: u8| members >> member & 1 == 1;
        let mut loads = [usize::MAX; MEMBERS];
        for member in (0..MEMBERS as u8).filter(|&member| has(member)) {
            let on = self.buckets.iter().filter(|bucket| before != 0 && bucket.wanted == member);
            loads[usize::from(member)] = on.count();
        }
        let least =
            |loads: &[usize; MEMBERS]| (0..MEMBERS).min_by_key(|&member| loads[member]).unwrap_or_default();
        for bucket in self.buckets.iter_mut() {
            if before == 0 || !has(bucket.wanted) {
                let member = least(&loads);
                loads[member] += 1;
                (bucket.wanted, bucket.since) = (member as u8, now);
            }
            if before == 0 || !has(bucket.member) {
                bucket.member = bucket.wanted;
            }
        }
        for bucket in self.buckets.iter_mut() {
            let (member, from) = (least(&loads), usize::from(bucket.wanted));
            if loads[from] > loads[member] + 1 {
                loads[from] -= 1;
                loads[member] += 1;
                // Perhaps it was the only one until now, and nobody asked by which a frame goes: something may
                // have gone just now.
                *bucket = Bucket { wanted: member as u8, since: now, used: now, ..*bucket };
            }
        }
    }

    /// By which cable a frame of this flow goes now.
    #[inline]
    pub fn pick(&mut self, flow: u64, now: Nanos) -> u8 {
        let bucket = &mut self.buckets[flow as usize % BUCKETS];
        if bucket.member != bucket.wanted
            && (now.saturating_sub(bucket.used) >= PAUSE || now.saturating_sub(bucket.since) >= PATIENCE)
        {
            bucket.member = bucket.wanted;
        }
        bucket.used = now;
        bucket.member
    }

    /// The same, when nothing is sent.
    pub fn look(&self, flow: u64) -> u8 {
        self.buckets[flow as usize % BUCKETS].member
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(spread: &mut Spread, now: Nanos) -> [usize; MEMBERS] {
        let mut shares = [0; MEMBERS];
        (0..256).for_each(|flow| shares[usize::from(spread.pick(flow, now))] += 1);
        shares
    }

    #[test]
    fn flows_stay_where_they_are_as_far_as_they_can() {
        let mut spread = Spread::new();
        spread.set(0b111, 0);
        let before: Vec<u8> = (0..256).map(|flow| spread.pick(flow, 0)).collect();
        assert!(shares(&mut spread, 0)[..3].iter().all(|n| [85, 86].contains(n)));
        spread.set(0b101, 10);
        for (flow, &was) in before.iter().enumerate() {
            let is = spread.pick(flow as u64, 10);
            assert!(is == was || was == 1, "flow {flow} went from {was} to {is}");
        }
        assert_eq!(shares(&mut spread, 10)[..3], [128, 0, 128]);
        // The one that came back gets nothing while all are busy ...
        spread.set(0b111, 20);
        for now in (20..PATIENCE).step_by(PAUSE as usize / 2) {
            assert_eq!(shares(&mut spread, now)[1], 0);
        }
        // ... and its share when they paused, or after a second.
        let mut paused = Spread { buckets: spread.buckets.clone(), members: spread.members };
        assert!((85..=86).contains(&shares(&mut paused, PATIENCE + PAUSE)[1]));
        assert!((85..=86).contains(&shares(&mut spread, PATIENCE + 20)[1]));
    }

    #[test]
    fn flows_of_the_only_cable_stay_when_another_comes() {
        let mut spread = Spread::new();
        spread.set(0b11, 0);
        spread.set(0b01, 10);
        // While there is one nobody asks: when flows were there last is not known.
        let mut now = 10 * PATIENCE;
        spread.set(0b11, now);
        for _ in 0..10 {
            now += PAUSE / 2;
            assert_eq!(shares(&mut spread, now)[..2], [256, 0]);
        }
        assert_eq!(shares(&mut spread, now + PAUSE)[..2], [128, 128]);
    }

    proptest! {
        #[test]
        fn only_those_in_use_are_used_and_evenly(sets in prop::collection::vec((1..=255_u8, 0..2_000_000_000_u64), 1..20)) {
            let mut spread = Spread::new();
            let mut now = 0;
            for (members, pause) in sets {
                now += pause;
                spread.set(members, now);
                for flow in 0..256 {
                    prop_assert!(members >> spread.pick(flow, now) & 1 == 1);
                }
                let settled = shares(&mut spread, now + 2 * PATIENCE);
                now += 2 * PATIENCE;
                let used: Vec<usize> = (0..MEMBERS).filter(|m| members >> m & 1 == 1).map(|m| settled[m]).collect();
                let (most, least) = (used.iter().max().unwrap_or(&0), used.iter().min().unwrap_or(&0));
                prop_assert!(most - least <= 1, "{:?}", settled);
            }
        }
    }
}
