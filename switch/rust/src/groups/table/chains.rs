//! Of all connections that a line is for, whether they have a place in it or not: in a few chains for each line, so that
//! they are short, and the first of each is beside those of the others.

use super::{Key, NONE, Table};

/// Chains of each line.
pub(super) const CHAINS: usize = 4;

impl Table {
    /// The first connection of a chain.
    #[inline]
    fn head(&self, hash: u32) -> u32 {
        self.chains.get(self.bucket(hash)).map_or(NONE, |chains| chains[chain_of(hash)])
    }

    fn head_mut(&mut self, hash: u32) -> Option<&mut u32> {
        let bucket = self.bucket(hash);
        self.chains.get_mut(bucket).map(|chains| &mut chains[chain_of(hash)])
    }

    /// Follow a chain to the connection with this key.
    #[inline]
    pub(super) fn along(&self, hash: u32, key: &Key) -> Option<u32> {
        let mut at = self.head(hash);
        // A chain is as long as there are connections at most.
        loop {
            let conn = self.conns.get(at as usize)?;
            if conn.key == *key {
                return Some(at);
            }
            at = conn.next;
        }
    }

    /// Take a connection out of its chain.
    pub(super) fn unchain(&mut self, at: u32, hash: u32) {
        let next = self.get(at).map_or(NONE, |conn| conn.next);
        let mut before = NONE;
        let mut here = self.head(hash);
        while here != at && here != NONE {
            (before, here) = (here, self.get(here).map_or(NONE, |conn| conn.next));
        }
        match self.get_mut(before) {
            Some(conn) => conn.next = next,
            None => {
                if let Some(head) = self.head_mut(hash) {
                    *head = next;
                }
            }
        }
    }

    /// Put a connection into its chain, as the first.
    pub(super) fn chain(&mut self, at: u32) {
        let Some(hash) = self.get(at).map(|conn| conn.hash) else { return };
        let Some(head) = self.head_mut(hash) else { return };
        let next = std::mem::replace(head, at);
        if let Some(conn) = self.get_mut(at) {
            conn.next = next;
        }
    }
}

/// Which of its line's chains a connection is in: by other bits than those that lead to the line.
#[inline]
fn chain_of(hash: u32) -> usize {
    const { assert!(CHAINS.is_power_of_two()) };
    (hash >> (u32::BITS - CHAINS.ilog2())) as usize % CHAINS
}
