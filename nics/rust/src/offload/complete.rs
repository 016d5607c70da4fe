//! Completion of offloads in software: at the first port that does not take them.

use super::headers::Headers;
use super::segment::{self, Slots};
use super::{Offload, checksum};
use crate::frame::{FRAME_MAX, Frame, TxFrame};
use crate::nic::Caps;
use switch::{DropReason, TagEdit};

/// Room for the longest frame with a tag more.
const WHOLE: usize = FRAME_MAX + 4;

/// Completes checksums and cuts super-frames into segments. One for the engine: its memory is
/// reused for every frame.
#[derive(Debug)]
pub struct Completer {
    /// The frame as it leaves. Copied once; everything is read from this copy, which no guest can
    /// change any more.
    whole: Box<[u8]>,
    slots: Slots,
}

impl Completer {
    #[must_use]
    pub fn new() -> Self {
        Completer { whole: vec![0; WHOLE].into_boxed_slice(), slots: Slots::new() }
    }

    /// Make `tx` acceptable to a door with `caps` and hand the result to `emit`, in order, up to
    /// [`BURST`](crate::BURST) frames at a time: `tx` itself when it is acceptable already, one frame
    /// with its checksum completed, or segments (whose checksums stay partial when `caps` take that).
    ///
    /// # Errors
    /// `TxOffload`: the frame's offload header does not fit it. `TxTooBig`: the frame, or each of its
    /// segments, is longer than `caps.max_frame`. Nothing was emitted then.
    pub fn complete(
        &mut self,
        tx: &TxFrame<'_>,
        caps: &Caps,
        emit: &mut dyn FnMut(&[TxFrame<'_>]),
    ) -> Result<(), DropReason> {
        let offload = tx.offload();
        if caps.take(offload) {
            if offload.gso_type == Offload::GSO_NONE && tx.len() > caps.max_frame as usize {
                return Err(DropReason::TxTooBig);
            }
            emit(std::slice::from_ref(tx));
            return Ok(());
        }
        let len = tx.copy_to(&mut self.whole).ok_or(DropReason::TxOffload)?;
        let whole = &mut self.whole[..len];
        let headers = offload.agrees(len, whole).ok_or(DropReason::TxOffload)?;
        if offload.gso_type != Offload::GSO_NONE && len - headers.payload > usize::from(offload.gso_size) {
            return segment::segment(
                whole,
                &headers,
                usize::from(offload.gso_size),
                caps,
                &mut self.slots,
                TagEdit::beside(tx.edit.place),
                emit,
            );
        }
        if len > caps.max_frame as usize {
            return Err(DropReason::TxTooBig);
        }
        let offload = if caps.csum && offload.flags & Offload::NEEDS_CSUM != 0 {
            // A super-frame of one segment; all it lacks is its checksum.
            Offload { gso_type: Offload::GSO_NONE, gso_size: 0, ..offload }
        } else {
            if offload.flags & Offload::NEEDS_CSUM != 0 {
                complete_checksum(whole, &headers, offload)?;
            }
            Offload::NONE
        };
        let frame = Frame::flat(whole, offload);
        emit(&[TxFrame { frame: &frame, edit: TagEdit::beside(tx.edit.place) }]);
        Ok(())
    }

    /// The bytes of a frame as it leaves, its checksum completed over all of it, super-frame or not: for people
    /// to look at, who would take a partial checksum for a wrong one. `None`: its offload header does not
    /// fit it.
    pub fn whole(&mut self, tx: &TxFrame<'_>) -> Option<&[u8]> {
        let offload = tx.offload();
        let len = tx.copy_to(&mut self.whole)?;
        let whole = &mut self.whole[..len];
        if offload.flags & Offload::NEEDS_CSUM != 0 {
            let headers = offload.agrees(len, whole)?;
            complete_checksum(whole, &headers, offload).ok()?;
        }
        Some(whole)
    }
}

/// Store the checksum that a frame asks for in its bytes, which are all of it. One whose offload header does not
/// fit it stays as it is.
pub fn complete_in_place(whole: &mut [u8], offload: Offload) {
    if let Some(headers) = offload.agrees(whole.len(), whole) {
        let _ = complete_checksum(whole, &headers, offload);
    }
}

impl Default for Completer {
    fn default() -> Self {
        Completer::new()
    }
}

/// Store the checksum that a frame asks for. It covers the packet, not the padding behind it.
fn complete_checksum(whole: &mut [u8], headers: &Headers, offload: Offload) -> Result<(), DropReason> {
    let end = if offload.gso_type == Offload::GSO_NONE { headers.ip_end } else { whole.len() };
    let at = headers.l4 + headers.checksum_offset();
    whole.get_mut(at..at + 2).ok_or(DropReason::TxOffload)?.fill(0);
    let data = whole.get(headers.l4..end).ok_or(DropReason::TxOffload)?;
    let sum = headers.pseudo(whole, data.len()) + checksum::sum(data);
    whole[at..at + 2].copy_from_slice(&headers.checksum(sum));
    Ok(())
}
