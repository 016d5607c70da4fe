//! From the ends of a connection to its line: keyed hashes, because a guest chooses what is hashed.

/// A keyed hash, by multiply and fold as in wyhash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold(pub(super) [u64; 4]);

impl Fold {
    #[inline]
    pub(super) fn of(&self, a: u64, b: u64) -> u64 {
        let s = &self.0;
        fold(fold(a ^ s[0], s[1]) ^ s[2], b ^ s[3])
    }
}

/// Both halves of a product, one over the other.
#[inline]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// What leads to the lines of connections that have all but their ports in common: see [`Table::way`](super::Table::way).
#[derive(Clone, Copy)]
pub(in crate::groups) struct Way {
    pub(super) keys: [u32; 2],
    pub(super) factors: [u32; 2],
    /// Of the table: see there.
    pub(super) mask: u32,
    pub(super) lines: u32,
}

/// The line that a hash leads to, in a table of so many: as many as there are have been split in this round. A choice, not
/// a branch that nobody can guess.
#[inline]
pub(super) fn line_of(hash: u32, mask: u32, lines: u32) -> u32 {
    let (wide, narrow) = (hash & (mask << 1 | 1), hash & mask);
    if wide < lines { wide } else { narrow }
}

impl Way {
    /// By both ports, as a packet has them. All is of 32 bits: so some are done at once. One product were not
    /// enough: ports in a row would be led to lines at even distances, and by some seeds to few.
    #[inline]
    pub(super) fn hash(&self, ports: u32) -> u32 {
        let once = (ports ^ self.keys[0]).wrapping_mul(self.factors[0]);
        let twice = (once ^ once >> 15 ^ self.keys[1]).wrapping_mul(self.factors[1]);
        twice ^ twice >> 16
    }

    /// Where the lines of packets of IPv4 with these ports are, the low end's first.
    #[inline]
    pub(in crate::groups) fn lines(&self, ports: &[u32], lines: &mut [u32]) {
        for (&ports, line) in ports.iter().zip(lines) {
            *line = line_of(self.hash(ports), self.mask, self.lines);
        }
    }
}
