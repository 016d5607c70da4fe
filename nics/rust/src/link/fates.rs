//! What chance has in store for each frame of one direction. The same seed gives the same fates.
//!
//! Each kind of misfortune draws from a sequence of its own, so that the same frames get lost whether
//! or not others are duplicated, and whatever the jitter. Nothing here depends on the platform's
//! mathematics library: only additions, products and square roots, which IEEE 754 defines to the bit.

use super::impair::{Bursts, Impair, Share, Spread};
use switch::Nanos;

/// SplitMix64: a sequence from 64 bits of seed that passes the usual tests of randomness.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `n`.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn happens(&mut self, share: Share) -> bool {
        share != 0 && self.below(1_000_000) < u64::from(share)
    }

    /// 0 to 1, without 0.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// See the top of this file.
#[derive(Clone, Debug)]
pub struct Fates {
    loss: Chance,
    burst: Chance,
    delay: Chance,
    duplicate: Chance,
    reorder: Chance,
    corrupt: Chance,
    /// In a burst of losses.
    bad: bool,
}

impl Fates {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut seeds = Chance(seed);
        let mut chance = || Chance(seeds.next());
        Fates {
            loss: chance(),
            burst: chance(),
            delay: chance(),
            duplicate: chance(),
            reorder: chance(),
            corrupt: chance(),
            bad: false,
        }
    }

    /// Whether the next frame is lost.
    pub fn lost(&mut self, impair: &Impair) -> bool {
        let Some(Bursts { begin, end, loss }) = impair.bursts else {
            self.bad = false;
            return self.loss.happens(impair.loss);
        };
        self.bad = if self.bad { !self.burst.happens(end) } else { self.burst.happens(begin) };
        self.loss.happens(if self.bad { loss } else { impair.loss })
    }

    pub fn duplicated(&mut self, impair: &Impair) -> bool {
        self.duplicate.happens(impair.duplicate)
    }

    pub fn overtakes(&mut self, impair: &Impair) -> bool {
        self.reorder.happens(impair.reorder)
    }

    /// How long the next frame is on its way.
    pub fn delay(&mut self, impair: &Impair) -> Nanos {
        if impair.jitter == 0 {
            return impair.delay;
        }
        let off = match impair.spread {
            Spread::Uniform => 2.0 * self.delay.part() - 1.0,
            // The sum of twelve has a variance of one.
            Spread::Normal => (0..12).map(|_| self.delay.part()).sum::<f64>() - 6.0,
            Spread::Pareto => {
                const MEAN: f64 = 4.0 / 3.0;
                const DEVIATION: f64 = 0.471_404_520_791_031_7;
                (1.0 / self.delay.part().sqrt().sqrt() - MEAN) / DEVIATION
            }
        };
        let delay = impair.delay as f64 + off * impair.jitter as f64;
        // Saturates, at 0 for one.
        delay as Nanos
    }

    /// Flip a bit of the payload, perhaps. Addresses and tags stay: a frame with another VLAN or
    /// station would not be a damaged one but a forged one.
    pub fn corrupt(&mut self, impair: &Impair, frame: &mut [u8]) {
        if !self.corrupt.happens(impair.corrupt) {
            return;
        }
        let mut from = 14;
        while matches!(frame.get(from - 2..from), Some([0x81, 0] | [0x88, 0xa8])) {
            from += 4;
        }
        let Some(payload) = frame.get_mut(from..) else { return };
        let bit = self.corrupt.below((payload.len() as u64 * 8).max(1));
        if let Some(byte) = payload.get_mut((bit / 8) as usize) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's chi-square of counts against what was expected.
    fn chi_square(counts: &[u64], expected: &[f64]) -> f64 {
        counts.iter().zip(expected).map(|(&n, e)| (n as f64 - e).powi(2) / e).sum()
    }

    #[test]
    fn loss_is_what_was_asked() {
        const FRAMES: u64 = 200_000;
        for seed in 0..5 {
            for share in [100, 10_000, 333_333, 999_000] {
                let impair = Impair { loss: share, ..Impair::default() };
                let mut fates = Fates::new(seed);
                let lost = (0..FRAMES).filter(|_| fates.lost(&impair)).count() as u64;
                let p = f64::from(share) / 1e6;
                let all = FRAMES as f64;
                let x = chi_square(&[lost, FRAMES - lost], &[all * p, all * (1.0 - p)]);
                // One degree of freedom: 15.1 is passed once in ten thousand tries.
                assert!(x < 15.1, "{share} of a million, seed {seed}: {lost} lost, chi-square {x}");
            }
        }
    }

    #[test]
    fn losses_are_independent_of_one_another() {
        // How many of each eight are lost is binomially distributed.
        let impair = Impair { loss: 250_000, ..Impair::default() };
        let mut fates = Fates::new(1);
        let mut counts = [0; 9];
        for _ in 0..20_000 {
            counts[(0..8).filter(|_| fates.lost(&impair)).count()] += 1;
        }
        let choose = [1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0];
        let expected: Vec<f64> =
            (0..9).map(|k| 20_000.0 * choose[k as usize] * 0.25_f64.powi(k) * 0.75_f64.powi(8 - k)).collect();
        // The rarest are taken together.
        let fold = |values: &[f64]| [&values[..6], &[values[6..].iter().sum()]].concat();
        let counts: Vec<f64> = counts.iter().map(|&n| f64::from(n)).collect();
        let x: f64 = fold(&counts).iter().zip(fold(&expected)).map(|(n, e)| (n - e).powi(2) / e).sum();
        // Six degrees of freedom: 27.9 once in ten thousand.
        assert!(x < 27.9, "chi-square {x}: {counts:?}, expected {expected:?}");
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_was_asked() {
        let bursts = Some(Bursts { begin: 10_000, end: 200_000, loss: 1_000_000 });
        let impair = Impair { bursts, ..Impair::default() };
        let mut fates = Fates::new(9);
        let fate: Vec<bool> = (0..400_000).map(|_| fates.lost(&impair)).collect();
        let lost = fate.iter().filter(|lost| **lost).count() as f64;
        let runs = fate.windows(2).filter(|pair| pair[0] && !pair[1]).count() as f64;
        // In the long run a share of begin / (begin + end).
        let share = lost / fate.len() as f64;
        assert!((share - 1.0 / 21.0).abs() < 0.002, "{share}");
        assert!((lost / runs - 5.0).abs() < 0.15, "bursts of {}", lost / runs);
    }

    #[test]
    fn delays_have_their_mean_and_spread() {
        for (spread, deviation) in
            [(Spread::Uniform, 1.0 / 3.0_f64.sqrt()), (Spread::Normal, 1.0), (Spread::Pareto, 1.0)]
        {
            let impair = Impair { delay: 10_000_000, jitter: 1_000_000, spread, ..Impair::default() };
            let mut fates = Fates::new(4);
            let delays: Vec<f64> = (0..200_000).map(|_| fates.delay(&impair) as f64).collect();
            let n = delays.len() as f64;
            let mean = delays.iter().sum::<f64>() / n;
            let found = (delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!((mean - 1e7).abs() < 1e4, "{spread:?}: mean {mean}");
            // The fourth moment of a Pareto of shape 4 is infinite, so its deviation converges slowly.
            let off = if spread == Spread::Pareto { 0.15 } else { 0.02 };
            assert!((found / 1e6 - deviation).abs() < off, "{spread:?}: deviation {found}");
        }
        let impair = Impair { delay: 10, jitter: 1_000_000, spread: Spread::Normal, ..Impair::default() };
        let mut fates = Fates::new(4);
        assert!((0..1000).any(|_| fates.delay(&impair) == 0));
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_whatever_else_is_asked() {
        let plain = Impair { loss: 100_000, ..Impair::default() };
        let more = Impair { duplicate: 500_000, corrupt: 500_000, jitter: 5, ..plain.clone() };
        let fates = |impair: &Impair, seed| {
            let mut fates = Fates::new(seed);
            (0..1000)
                .map(|_| {
                    fates.delay(impair);
                    fates.duplicated(impair);
                    fates.lost(impair)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(&plain, 7), fates(&more, 7));
        assert_ne!(fates(&plain, 7), fates(&plain, 8));
    }

    #[test]
    fn corruption_is_one_bit_of_the_payload() {
        let impair = Impair { corrupt: 1_000_000, ..Impair::default() };
        let mut fates = Fates::new(0);
        for (header, len) in [(14, 60), (18, 64), (22, 68), (14, 15)] {
            let mut frame = vec![0_u8; len];
            for tag in 0..(header - 14) / 4 {
                frame[12 + tag * 4..14 + tag * 4].copy_from_slice(&[0x81, 0]);
            }
            let before = frame.clone();
            for _ in 0..200 {
                frame.copy_from_slice(&before);
                fates.corrupt(&impair, &mut frame);
                let bits: u32 = frame.iter().zip(&before).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!(bits, 1);
                assert_eq!(frame[..header], before[..header]);
            }
        }
        for len in 0..15 {
            fates.corrupt(&impair, &mut vec![0x81; len]);
        }
    }
}
