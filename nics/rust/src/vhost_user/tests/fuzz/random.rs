//! Random choices, and numbers that are interesting.

use super::super::front::{GPA, SIZE};

/// Where the choices come from.
pub enum Random {
    /// xorshift64*: small, and the same everywhere.
    Seed(u64),
    /// What a fuzzer says, two bytes a choice, and where it has come to.
    Said(Vec<u8>, usize),
}

impl Random {
    pub fn next(&mut self) -> u64 {
        match self {
            Random::Seed(seed) => {
                *seed ^= *seed >> 12;
                *seed ^= *seed << 25;
                *seed ^= *seed >> 27;
                seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
            }
            Random::Said(bytes, at) => {
                let said =
                    bytes.get(*at..*at + 2).map_or(0, |two| u64::from(two[0]) << 8 | u64::from(two[1]));
                *at += 2;
                said.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }
        }
    }

    /// Whether a fuzzer has said all.
    pub fn spent(&self) -> bool {
        matches!(self, Random::Said(bytes, at) if *at >= bytes.len())
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Numbers that are interesting near `size`.
    pub fn near(&mut self, size: u64) -> u64 {
        match self.below(12) {
            0 => size,
            1 => size.wrapping_sub(1),
            2 => size.wrapping_add(1),
            3 => 0,
            4 => u64::MAX,
            5 => self.next(),
            _ => self.below(size.max(1)),
        }
    }

    pub fn address(&mut self) -> u64 {
        GPA.wrapping_add(self.near(SIZE))
    }

    pub fn len(&mut self) -> u32 {
        match self.below(8) {
            0 => self.near(70_000) as u32,
            1 => self.below(16) as u32,
            2 => self.next() as u32,
            _ => 12 + self.below(2000) as u32,
        }
    }
}
