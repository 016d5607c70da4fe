//! A SYN in a connection that is there, by the end that began it: that has lost the connection, and takes the same ports
//! once more. What is known changes nothing yet, for anybody may have sent it. If the other end has the connection it
//! challenges; if it has lost it, too, it answers with a SYN of its own, and both begin anew, as Linux has it.

use super::{Half, SYN, Segment, Step, answer, offer};

/// The latest such SYN.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::groups) struct Knock {
    /// What acknowledges it.
    next: u32,
    /// Never 0, unless there was none.
    window: u16,
    scale: Option<u8>,
}

impl Knock {
    pub(super) fn by(syn: &Segment) -> Knock {
        Knock { next: syn.seq.wrapping_add(1), window: syn.window.max(1), scale: syn.scale }
    }

    /// A SYN with an ACK that does not fit what is known: whether it answers this one, with which both halves begin.
    #[cold]
    pub(super) fn answer(&mut self, sender: &mut Half, receiver: &mut Half, segment: &Segment) -> Step {
        if self.window == 0 || segment.ack != self.next {
            return Step::Bad;
        }
        // Once: the same answer that comes again, late, must not take the connection back.
        let Knock { next, window, scale } = std::mem::take(self);
        let seq = next.wrapping_sub(1);
        offer(receiver, &Segment { seq, ack: 0, flags: SYN, window, len: 0, scale, cut: false });
        answer(sender, receiver, false, segment)
    }
}
