//! What is known of a burst as a whole.
//!
//! Whoever brings a burst has copied the first bytes of its frames, and can say in which of them they differ while they
//! are at hand. What one guest sends another at a time mostly differs in little that the switch looks at, so all of it is
//! decided as one frame is, without a look at the others. Nothing is kept from burst to burst.

use crate::View;

/// Where the frames of a burst differ, which are as long as each other, without offload and without a place beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Of their first bytes, the bits that are not the same in all of them.
    differ: [u8; Alike::BYTES],
}

impl Alike {
    /// Bytes that are compared, as many as the shortest frame of Ethernet has. Frames that have fewer are not known so.
    pub const BYTES: usize = 60;

    /// `differ`: the bits that are not the same in all of the frames.
    #[inline]
    #[must_use]
    pub fn new(differ: [u8; Self::BYTES]) -> Alike {
        Alike { differ }
    }

    /// As if it were a frame: what is read of it differs in the bits that are set.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        View::plain(&self.differ, Self::BYTES as u32)
    }

    /// Whether it is so.
    #[must_use]
    pub fn is_true<'a>(&self, burst: impl IntoIterator<Item = View<'a>>) -> bool {
        let mut burst = burst.into_iter();
        let Some(first) = burst.next() else { return true };
        let like = |view: &View<'_>| {
            let same = |i: usize| (view.head[i] ^ first.head[i]) & !self.differ[i] == 0;
            let plain = View { head: view.head, ..View::plain(first.head, first.len) };
            *view == plain && view.head.len() >= Self::BYTES && (0..Self::BYTES).all(same)
        };
        like(&first) && burst.all(|view| like(&view))
    }
}
