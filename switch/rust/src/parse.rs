//! The first bytes of a frame: addresses and VLAN tags (IEEE 802.3 3.2, 802.1Q clause 9).
//!
//! A port of ours is a C-VLAN port, so the tag it recognises is the C-tag (TPID 81-00). An S-tag
//! (88-A8) in front makes a frame *untagged* here (802.1Q 6.9): it is carried like any payload. What
//! we do look at behind the first tag is how deep tags go, because they lengthen a legal frame, and
//! whether taking the C-tag off would bring another C-tag to the light.

use crate::{DropReason, View};

/// Destination, source and type: the shortest thing that is a frame.
pub(crate) const ETHERNET: u32 = 14;
/// Bytes of one tag.
pub(crate) const TAG: u32 = 4;
/// TPID of a customer VLAN tag.
pub(crate) const C_TAG: u16 = 0x8100;
/// TPID of a service VLAN tag.
pub(crate) const S_TAG: u16 = 0x88a8;

/// What the tags of a frame say, in one word, so that two frames compare at once.
///
/// Bits 0..12 VID, 12..16 PCP and DEI, 16 a C-tag is outermost, 17 and behind it comes another one,
/// 18..20 how many tags there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags(u32);

impl Tags {
    pub(crate) const NONE: Tags = Tags(0);
    const OUTER: u32 = 1 << 16;
    const INNER: u32 = 1 << 17;

    /// A C-tag is outermost: the frame is tagged (or, with VID 0, priority-tagged).
    #[inline]
    pub(crate) fn tagged(self) -> bool {
        self.0 & Self::OUTER != 0
    }

    /// Behind the outermost C-tag comes another C-tag.
    #[inline]
    pub(crate) fn double(self) -> bool {
        self.0 & Self::INNER != 0
    }

    /// VID of the outermost C-tag.
    #[inline]
    pub(crate) fn vid(self) -> u16 {
        (self.0 & 0xfff) as u16
    }

    /// Upper four bits of its TCI: priority and drop eligibility.
    #[inline]
    pub(crate) fn pcp(self) -> u8 {
        (self.0 >> 12 & 0xf) as u8
    }

    /// Tags of either kind, 0..=2.
    #[inline]
    pub(crate) fn count(self) -> u8 {
        (self.0 >> 18) as u8
    }
}

/// A parsed frame. Addresses are 48-bit numbers whose first byte on the wire is the highest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) dst: u64,
    pub(crate) src: u64,
    pub(crate) tags: Tags,
}

/// The two addresses are twelve bytes, type and TCI four more: two loads.
#[inline]
pub(crate) fn parse(view: &View<'_>) -> Result<Header, DropReason> {
    let Some(first) = view.head.first_chunk::<16>() else { return short(view) };
    let (a, b) = words(first);
    let tags = match (b >> 16) as u16 {
        C_TAG | S_TAG => tags(view, b as u32)?,
        _ => Tags::NONE,
    };
    Ok(Header { dst: a >> 16, src: (a & 0xffff) << 32 | b >> 32, tags })
}

#[inline]
fn words(first: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_be_bytes(*first);
    ((both >> 64) as u64, both as u64)
}

/// Frames of fewer than 16 bytes, which have no room for a tag.
#[cold]
fn short(view: &View<'_>) -> Result<Header, DropReason> {
    let Some(head) = view.head.first_chunk::<14>() else { return Err(DropReason::Runt) };
    let mut padded = [0; 16];
    padded[..14].copy_from_slice(head);
    let (a, b) = words(&padded);
    match (b >> 16) as u16 {
        C_TAG | S_TAG => Err(DropReason::MalformedTag),
        _ => Ok(Header { dst: a >> 16, src: (a & 0xffff) << 32 | b >> 32, tags: Tags::NONE }),
    }
}

/// The tags of a frame whose bytes 12..16 are `outer`, a TPID and a TCI.
fn tags(view: &View<'_>, outer: u32) -> Result<Tags, DropReason> {
    let inner = kind(view.head, 16)?;
    let depth = if is_tag(inner) {
        if is_tag(kind(view.head, 20)?) {
            return Err(DropReason::MalformedTag);
        }
        2
    } else {
        1
    };
    if (outer >> 16) as u16 == S_TAG {
        return Ok(Tags(depth << 18));
    }
    let double = if inner == C_TAG { Tags::INNER } else { 0 };
    Ok(Tags(depth << 18 | double | Tags::OUTER | outer & 0xffff))
}

#[inline]
fn is_tag(kind: u16) -> bool {
    kind == C_TAG || kind == S_TAG
}

/// The type field at byte `at`; a frame that ends before it was cut off within a tag.
#[inline]
fn kind(head: &[u8], at: usize) -> Result<u16, DropReason> {
    let bytes = head.get(at..at + 2).and_then(|b| b.first_chunk::<2>());
    bytes.map(|b| u16::from_be_bytes(*b)).ok_or(DropReason::MalformedTag)
}

/// Group addresses: the first bit on the wire is set (IEEE 802 8.2.2). Broadcast is one of them.
#[inline]
pub(crate) fn is_group(mac: u64) -> bool {
    mac >> 40 & 1 == 1
}

/// FF-FF-FF-FF-FF-FF.
pub(crate) const BROADCAST: u64 = 0xffff_ffff_ffff;

/// 01-80-C2-00-00-00 to -0F, the reserved addresses of 802.1Q table 8-1.
#[inline]
pub(crate) fn is_link_local(mac: u64) -> bool {
    mac & !0xf == 0x0180_c200_0000
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A frame from 02:..:02 to 02:..:01 with these 16-bit words behind the addresses.
    fn frame(words: &[u16]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        bytes.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        bytes
    }

    fn parsed(bytes: &[u8]) -> Result<Header, DropReason> {
        parse(&View { head: bytes, len: bytes.len() as u32, gso: false })
    }

    #[test]
    fn addresses() {
        for words in [&[0x0800][..], &[0x0800, 0x4500], &[0x8100, 5, 0x0800]] {
            let header = parsed(&frame(words)).unwrap();
            assert_eq!((header.dst, header.src), (0x0200_0000_0001, 0x0200_0000_0002));
        }
    }

    #[test]
    fn every_length_below_a_header_is_a_runt() {
        let bytes = frame(&[0x0800]);
        for n in 0..14 {
            assert_eq!(parsed(&bytes[..n]).err(), Some(DropReason::Runt));
        }
        assert!(parsed(&bytes).is_ok());
    }

    #[test]
    fn a_c_tag() {
        let tags = parsed(&frame(&[0x8100, 0xb064, 0x0800])).unwrap().tags;
        assert!(tags.tagged() && !tags.double());
        assert_eq!((tags.vid(), tags.pcp(), tags.count()), (0x064, 0xb, 1));
    }

    #[test]
    fn an_s_tag_in_front_makes_a_frame_untagged() {
        let tags = parsed(&frame(&[0x88a8, 3, 0x8100, 5, 0x0800])).unwrap().tags;
        assert!(!tags.tagged() && !tags.double());
        assert_eq!((tags.vid(), tags.pcp(), tags.count()), (0, 0, 2));
    }

    #[test]
    fn a_c_tag_behind_a_c_tag() {
        let tags = parsed(&frame(&[0x8100, 3, 0x8100, 5, 0x0800])).unwrap().tags;
        assert!(tags.tagged() && tags.double());
        assert_eq!((tags.vid(), tags.count()), (3, 2));
        let tags = parsed(&frame(&[0x8100, 3, 0x88a8, 5, 0x0800])).unwrap().tags;
        assert!(tags.tagged() && !tags.double());
    }

    #[test]
    fn tags_that_are_cut_off() {
        for words in [&[0x8100, 5, 0x0800][..], &[0x88a8, 5, 0x0800], &[0x8100, 5, 0x8100, 6, 0x0800]] {
            let bytes = frame(words);
            for n in 14..bytes.len() {
                assert_eq!(parsed(&bytes[..n]).err(), Some(DropReason::MalformedTag), "{words:x?} {n}");
            }
            assert!(parsed(&bytes).is_ok());
        }
    }

    #[test]
    fn three_tags_are_too_many() {
        for third in [C_TAG, S_TAG] {
            let bytes = frame(&[0x88a8, 1, 0x8100, 2, third, 3, 0x0800]);
            assert_eq!(parsed(&bytes).err(), Some(DropReason::MalformedTag));
        }
    }

    #[test]
    fn kinds_of_addresses() {
        assert!(is_group(BROADCAST) && is_group(0x0100_5e00_0001) && !is_group(0x0200_0000_0001));
        assert!(is_link_local(0x0180_c200_0000) && is_link_local(0x0180_c200_000f));
        assert!(!is_link_local(0x0180_c200_0010) && !is_link_local(0x0180_c200_0100));
    }
}
