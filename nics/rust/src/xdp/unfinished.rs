//! Frames whose checksum their sender left to a card that does not exist.
//!
//! Behind a veth there is a kernel that hands its frames over with the sum of the pseudo-header where the
//! checksum belongs, to be finished by the hardware. A packet socket is told; XDP is not. So it is found
//! by looking: the field holds just that sum, and the packet is not right as it is.

use crate::offload::Offload;
use crate::offload::checksum::{fold, sum};
use crate::offload::headers::Headers;

/// What is to be done to `frame`'s checksum.
#[inline]
pub(super) fn offload(frame: &[u8]) -> Offload {
    look(frame).unwrap_or(Offload::NONE)
}

fn look(frame: &[u8]) -> Option<Offload> {
    let headers = Headers::parse(frame)?;
    let segment = frame.get(headers.l4..headers.ip_end)?;
    let field = *segment.get(headers.checksum_offset()..)?.first_chunk::<2>()?;
    let pseudo = headers.pseudo(frame, segment.len());
    if field == [0; 2] || field != fold(pseudo).to_ne_bytes() || fold(pseudo + sum(segment)) == 0xffff {
        return None;
    }
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        csum_start: headers.l4 as u16,
        csum_offset: headers.checksum_offset() as u16,
        ..Offload::NONE
    };
    offload.vet(frame.len(), frame)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::offload::checksum::finish;

    /// A UDP datagram over IPv4 with this in its checksum field.
    fn datagram(checksum: impl Fn(u64, &[u8]) -> [u8; 2]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x30, 0x39, 0, 53, 0, 12, 0, 0]);
        frame.extend(*b"what");
        let headers = Headers::parse(&frame).unwrap();
        let field = checksum(headers.pseudo(&frame, 12), &frame[34..]);
        frame[40..42].copy_from_slice(&field);
        frame
    }

    #[test]
    fn one_that_was_left_to_the_card_is_found() {
        let found = offload(&datagram(|pseudo, _| fold(pseudo).to_ne_bytes()));
        assert_eq!((found.flags, found.csum_start, found.csum_offset), (Offload::NEEDS_CSUM, 34, 6));
    }

    #[test]
    fn one_that_is_right_wrong_or_not_there_is_left_alone() {
        let right = datagram(|pseudo, segment| finish(pseudo + sum(segment)));
        assert_eq!(offload(&right), Offload::NONE);
        assert_eq!(offload(&datagram(|_, _| [0x12, 0x34])), Offload::NONE);
        assert_eq!(offload(&datagram(|_, _| [0, 0])), Offload::NONE);
        for cut in 0..right.len() {
            assert_eq!(offload(&right[..cut]), Offload::NONE);
        }
    }
}
