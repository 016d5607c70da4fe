//! Learned entries in the order they were last heard: a list through the slots of the table.
//!
//! Every learned address has the same time to live, so the one heard longest ago is the next to
//! expire. A list kept in that order makes ageing exact and costs nothing for what does not expire:
//! no sweep over a table that is mostly young. The links lie apart from the slots, because a lookup
//! needs no link, and an entry moves in the list only when the coarse clock has gone on since it
//! was heard before.

use super::table::SEGMENT;

/// No neighbour: the entry is first, or last.
const END: u32 = u32::MAX;
/// In `prev`: the slot is not in the list.
const OUT: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// The list. Slots are told apart by their number in the table.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    /// As many as slots, and like them in pieces, so that growing moves nothing.
    links: Vec<Box<[Link; SEGMENT]>>,
    oldest: u32,
    newest: u32,
}

impl Ages {
    pub(super) fn new() -> Self {
        Ages { links: Vec::new(), oldest: END, newest: END }
    }

    /// The table has one more segment.
    pub(super) fn grow(&mut self) {
        self.links.push(Box::new([Link { prev: OUT, next: END }; SEGMENT]));
    }

    fn link(&self, slot: usize) -> Link {
        self.links[slot / SEGMENT][slot % SEGMENT]
    }

    fn link_mut(&mut self, slot: usize) -> &mut Link {
        &mut self.links[slot / SEGMENT][slot % SEGMENT]
    }

    /// The slot that was heard longest ago.
    #[inline]
    pub(super) fn oldest(&self) -> Option<usize> {
        (self.oldest != END).then_some(self.oldest as usize)
    }

    /// The slot that was heard next after this one, which is in the list.
    pub(super) fn newer(&self, slot: usize) -> Option<usize> {
        let next = self.link(slot).next;
        (next != END).then_some(next as usize)
    }

    /// Whether this slot is in the list.
    #[cfg(test)]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.link(slot).prev != OUT
    }

    /// A slot that is not in the list was heard just now.
    pub(super) fn push(&mut self, slot: usize) {
        let me = slot as u32;
        debug_assert_eq!(self.link(slot).prev, OUT);
        *self.link_mut(slot) = Link { prev: self.newest, next: END };
        match self.newest {
            END => self.oldest = me,
            last => self.link_mut(last as usize).next = me,
        }
        self.newest = me;
    }

    /// Take a slot out of the list, if it is in it.
    pub(super) fn unlink(&mut self, slot: usize) {
        let Link { prev, next } = self.link(slot);
        match prev {
            OUT => return,
            END => self.oldest = next,
            prev => self.link_mut(prev as usize).next = next,
        }
        match next {
            END => self.newest = prev,
            next => self.link_mut(next as usize).prev = prev,
        }
        self.link_mut(slot).prev = OUT;
    }

    /// What was in slot `from` is in slot `to` now, which was not in the list.
    pub(super) fn moved(&mut self, from: usize, to: usize) {
        debug_assert_eq!(self.link(to).prev, OUT);
        let Link { prev, next } = self.link(from);
        match prev {
            OUT => return,
            END => self.oldest = to as u32,
            prev => self.link_mut(prev as usize).next = to as u32,
        }
        match next {
            END => self.newest = to as u32,
            next => self.link_mut(next as usize).prev = to as u32,
        }
        *self.link_mut(to) = Link { prev, next };
        self.link_mut(from).prev = OUT;
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.links.len() * size_of::<[Link; SEGMENT]>()
            + self.links.capacity() * size_of::<Box<[Link; SEGMENT]>>()
    }

    /// The slots from oldest to newest.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let slot = at;
            (slot != END).then(|| {
                at = self.link(slot as usize).next;
                slot as usize
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(ages: &Ages) -> Vec<usize> {
        ages.iter().collect()
    }

    #[test]
    fn first_in_first_out() {
        let mut ages = Ages::new();
        ages.grow();
        for slot in [3, 1, 4] {
            ages.push(slot);
        }
        assert_eq!(order(&ages), [3, 1, 4]);
        ages.unlink(1);
        assert_eq!(order(&ages), [3, 4]);
        ages.push(1);
        ages.unlink(3);
        assert_eq!(ages.oldest(), Some(4));
        ages.unlink(1);
        ages.unlink(4);
        assert_eq!((ages.oldest(), order(&ages)), (None, vec![]));
        ages.unlink(4);
        ages.push(0);
        assert_eq!(order(&ages), [0]);
    }

    #[test]
    fn a_moved_slot_keeps_its_place() {
        let mut ages = Ages::new();
        ages.grow();
        for slot in [0, 1, 2] {
            ages.push(slot);
        }
        ages.moved(0, 5);
        ages.moved(1, 6);
        ages.moved(2, 7);
        ages.moved(3, 4);
        assert_eq!(order(&ages), [5, 6, 7]);
        assert!(!ages.contains(0) && !ages.contains(4));
        ages.push(0);
        assert_eq!(order(&ages), [5, 6, 7, 0]);
    }
}
