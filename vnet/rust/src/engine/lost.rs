//! The last frame that each port lost for each reason: what `vnet drops` shows beside the counts.
//!
//! The beginning of a frame is kept, as it came in, once for a burst and port at the most: a flood of
//! drops costs one copy of 128 bytes a burst. Memory is about 1 KB for a port that ever lost a frame.

use arrayvec::ArrayVec;
use nics::{HEAD, TxFrame};
use switch::{DropReason, Nanos, PortId, VlanId};

/// Reasons that are remembered at a port; a further one takes the place of the oldest.
const REASONS: usize = 8;

/// A frame that was dropped.
#[derive(Clone, Debug)]
pub struct LostFrame {
    pub reason: DropReason,
    pub at: Nanos,
    /// 0: it was dropped before it had any.
    pub vlan: VlanId,
    /// Bytes of all of it, and the first of them.
    pub len: u32,
    pub head: ArrayVec<u8, HEAD>,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Lost {
    ports: Vec<Option<Box<ArrayVec<LostFrame, REASONS>>>>,
}

impl Lost {
    /// `frame` was dropped at `port`.
    #[cold]
    pub fn note(&mut self, port: PortId, reason: DropReason, now: Nanos, vlan: VlanId, frame: &TxFrame<'_>) {
        let index = usize::from(port);
        if index >= self.ports.len() {
            self.ports.resize_with(index + 1, || None);
        }
        let frames = self.ports[index].get_or_insert_default();
        let head = frame.frame.head();
        let mut kept = ArrayVec::new();
        let _ = kept.try_extend_from_slice(&head[..head.len().min(HEAD)]);
        let lost = LostFrame { reason, at: now, vlan, len: frame.frame.len() as u32, head: kept };
        if let Some(place) = frames.iter_mut().find(|place| place.reason == reason) {
            *place = lost;
        } else if let Err(full) = frames.try_push(lost)
            && let Some(oldest) = frames.iter_mut().min_by_key(|place| place.at)
        {
            *oldest = full.element();
        }
    }

    /// What is remembered of a port.
    pub fn of(&self, port: PortId) -> impl Iterator<Item = &LostFrame> {
        self.ports.get(usize::from(port)).and_then(Option::as_deref).into_iter().flatten()
    }

    /// The port's number is free for another.
    pub fn forget(&mut self, port: PortId) {
        if let Some(place) = self.ports.get_mut(usize::from(port)) {
            *place = None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nics::{Frame, Offload};
    use switch::TagEdit;

    #[test]
    fn the_last_of_each_reason_is_kept_and_no_more_than_there_is_room_for() {
        let mut lost = Lost::default();
        for (at, reason) in DropReason::ALL.iter().chain(&DropReason::ALL[..2]).enumerate() {
            let bytes = vec![at as u8; 20 + at * 10];
            let frame = Frame::flat(&bytes, Offload::NONE);
            lost.note(3, *reason, at as u64, 7, &TxFrame { frame: &frame, edit: TagEdit::NONE });
        }
        let found: Vec<_> = lost.of(3).collect();
        assert_eq!(found.len(), REASONS);
        let last = DropReason::COUNT + 1;
        let newest = found.iter().max_by_key(|frame| frame.at).unwrap();
        assert_eq!((newest.reason, newest.at), (DropReason::ALL[1], last as u64));
        assert_eq!((newest.len as usize, newest.head.len()), (20 + last * 10, HEAD));
        assert!(found.iter().all(|frame| frame.at > (last - REASONS) as u64));
        assert_eq!(lost.of(2).count() + lost.of(9).count(), 0);
        lost.forget(3);
        assert_eq!(lost.of(3).count(), 0);
    }
}
