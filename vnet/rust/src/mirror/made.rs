//! Copies that have to be made, because they are cut or packed, in memory that is used again.

use super::erspan::Packed;
use super::{Door, Spec};
use arrayvec::ArrayVec;
use nics::frame::FRAME_MAX;
use nics::{BURST, Frame, Offload, TxFrame};
use switch::{Decision, PortId, TagEdit};

/// Room for two of the longest, or a burst of the usual ones.
const ROOM: usize = 2 * FRAME_MAX.next_multiple_of(64);

/// Made copies, until they are handed over together.
pub struct Made {
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: ArrayVec<usize, BURST>,
}

impl Default for Made {
    fn default() -> Self {
        Made { bytes: vec![0; ROOM].into_boxed_slice(), ends: ArrayVec::new() }
    }
}

impl Made {
    /// Make a copy of `tx`, which is no longer than `longest` when it leaves.
    pub(super) fn add(
        &mut self,
        tx: &TxFrame<'_>,
        spec: &Spec,
        (ingress, decision): (PortId, &Decision),
        longest: usize,
        sequence: &mut u32,
        door: &mut Door<'_>,
    ) {
        let len = tx.len();
        let front = spec.erspan.as_ref().map_or(0, |erspan| erspan.front());
        // The longest frame that a door carries may have a tag, and this one has none.
        let room = if front > 0 { longest.saturating_sub(4 + front) } else { longest };
        let kept = len.min(spec.snap.unwrap_or(usize::MAX)).min(room);
        let mut start = self.ends.last().copied().unwrap_or(0);
        if self.ends.is_full() || self.bytes.len() - start < front + kept {
            self.flush(door);
            start = 0;
        }
        let Some(place) = self.bytes.get_mut(start..start + front + kept) else { return };
        let (head, body) = place.split_at_mut(front);
        tx.copy_beginning(body);
        if let Some(erspan) = &spec.erspan {
            let cut = kept < len;
            let packed = Packed {
                sequence: *sequence,
                vlan: decision.vlan,
                cos: decision.pcp >> 1,
                tagged: body.get(12..14) == Some(&[0x81, 0x00]),
                cut,
                index: u32::from(ingress),
                len: kept,
            };
            erspan.write(head, &packed);
            *sequence = sequence.wrapping_add(1);
        }
        self.ends.push(start + front + kept);
    }

    /// Hand them over.
    pub(super) fn flush(&mut self, door: &mut Door<'_>) {
        let mut start = 0;
        let mut frames: ArrayVec<Frame<'_>, BURST> = ArrayVec::new();
        for end in self.ends.drain(..) {
            frames.push(Frame::flat(&self.bytes[start..end], Offload::NONE));
            start = end;
        }
        let out: ArrayVec<TxFrame<'_>, BURST> =
            frames.iter().map(|frame| TxFrame { frame, edit: TagEdit::NONE }).collect();
        door.send(&out);
    }
}
