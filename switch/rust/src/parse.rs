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
/// 18..20 how many tags there are, 20 one of them is an S-tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags(u32);

impl Tags {
    pub(crate) const NONE: Tags = Tags(0);
    const OUTER: u32 = 1 << 16;
    const INNER: u32 = 1 << 17;
    const SERVICE: u32 = 1 << 20;

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
        (self.0 >> 18 & 3) as u8
    }

    /// One of them is an S-tag.
    #[inline]
    pub(crate) fn any_service(self) -> bool {
        self.0 & Self::SERVICE != 0
    }
}

/// A parsed frame. Addresses are 48-bit numbers whose first byte on the wire is the highest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) dst: u64,
    pub(crate) src: u64,
    pub(crate) tags: Tags,
}

/// Bytes in which all of this stands: addresses, two tags, and the type behind them.
const FIRST: usize = 24;

/// The first bytes of a frame as they lie in memory, to be compared with those of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    a: u64,
    b: u64,
    c: u64,
}

/// By number of tags: the bytes that a frame is judged by. Those are all up to the type behind the
/// tags, which says that there are no more.
pub(crate) const JUDGED: [First; 3] = [
    First { a: u64::MAX, b: 0xffff_ffff_ffff_0000_u64.to_be(), c: 0 },
    First { a: u64::MAX, b: u64::MAX, c: 0xffff_0000_0000_0000_u64.to_be() },
    First { a: u64::MAX, b: u64::MAX, c: 0xffff_ffff_ffff_0000_u64.to_be() },
];

/// Of the second word: the bytes that are behind the addresses.
const BEHIND: u64 = 0xffff_ffff_u64.to_be();

/// Eight bytes as they lie in memory. One by one: see `classify/recall.rs`.
#[inline]
pub(crate) fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let b = bytes;
    u64::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]])
}

impl First {
    /// `None` for the few frames that are shorter than 24 bytes.
    #[inline]
    pub(crate) fn of(view: &View<'_>) -> Option<First> {
        view.head.first_chunk::<FIRST>().map(First::from_bytes)
    }

    #[inline]
    fn from_bytes(bytes: &[u8; FIRST]) -> First {
        First { a: word(bytes, 0), b: word(bytes, 8), c: word(bytes, 16) }
    }

    /// Whether another frame says the same in the bytes that `judged` is set in.
    #[inline]
    pub(crate) fn same(&self, other: &First, judged: &First) -> bool {
        (self.a ^ other.a) | ((self.b ^ other.b) & judged.b) | ((self.c ^ other.c) & judged.c) == 0
    }

    /// Of bits in which frames differ: whether none is set in the bytes that `judged` is set in.
    #[inline]
    pub(crate) fn is_nowhere(&self, judged: &First) -> bool {
        self.same(&First { a: 0, b: 0, c: 0 }, judged)
    }

    /// The same without the addresses.
    #[inline]
    pub(crate) fn same_behind(&self, other: &First, judged: &First) -> bool {
        ((self.b ^ other.b) & judged.b & BEHIND) | ((self.c ^ other.c) & judged.c) == 0
    }

    /// Destination and source.
    #[inline]
    pub(crate) fn addresses(&self) -> (u64, u64) {
        let (a, b) = (u64::from_be(self.a), u64::from_be(self.b));
        (a >> 16, (a & 0xffff) << 32 | b >> 32)
    }

    /// The same as they lie in memory, and in the four bytes behind them `beside`.
    #[inline]
    pub(crate) fn stations(&self, beside: u32) -> [u64; 2] {
        [self.a, self.b & !BEHIND | u64::from(beside).to_be()]
    }

    /// Whether one of them is a group's.
    #[inline]
    pub(crate) fn any_group(&self) -> bool {
        self.a & (1_u64 << 56 | 1 << 8).to_be() != 0
    }

    /// Parse them.
    #[inline]
    pub(crate) fn parse(self) -> Result<Header, DropReason> {
        self.parse_up_to(FIRST)
    }

    /// Parse a frame that has `len` bytes of them, 14 at least.
    #[inline]
    fn parse_up_to(self, len: usize) -> Result<Header, DropReason> {
        let (b, c) = (u64::from_be(self.b), u64::from_be(self.c));
        let (dst, src) = self.addresses();
        let mut header = Header { dst, src, tags: Tags::NONE };
        if is_tag((b >> 16) as u16) {
            header.tags = tags(b as u32, c, len)?;
        }
        Ok(header)
    }
}

/// Parse a frame that is shorter than 24 bytes.
#[cold]
pub(crate) fn parse_short(view: &View<'_>) -> Result<Header, DropReason> {
    let len = view.head.len().min(FIRST);
    if len < ETHERNET as usize {
        return Err(DropReason::Runt);
    }
    let mut bytes = [0; FIRST];
    bytes[..len].copy_from_slice(&view.head[..len]);
    First::from_bytes(&bytes).parse_up_to(len)
}

/// The tags of a frame: `outer` is TPID and TCI of the first, `behind` the eight bytes after it, and
/// `len` the length of the frame as far as it counts here.
#[inline]
fn tags(outer: u32, behind: u64, len: usize) -> Result<Tags, DropReason> {
    let inner = (behind >> 48) as u16;
    let depth = 1 + u32::from(is_tag(inner));
    // A tag and no type after it was cut off.
    if len < (ETHERNET + TAG * depth) as usize || (depth == 2 && is_tag((behind >> 16) as u16)) {
        return Err(DropReason::MalformedTag);
    }
    if (outer >> 16) as u16 == S_TAG {
        return Ok(Tags(depth << 18 | Tags::SERVICE));
    }
    let behind = match inner {
        C_TAG => Tags::INNER,
        S_TAG => Tags::SERVICE,
        _ => 0,
    };
    Ok(Tags(depth << 18 | behind | Tags::OUTER | outer & 0xffff))
}

/// A frame's destination; 0 for what is no frame.
#[inline]
pub(crate) fn destination(view: &View<'_>) -> u64 {
    view.head.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes) >> 16)
}

#[inline]
fn is_tag(kind: u16) -> bool {
    kind == C_TAG || kind == S_TAG
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
        let view = View::plain(bytes, bytes.len() as u32);
        First::of(&view).map_or_else(|| parse_short(&view), First::parse)
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
        assert!(!tags.tagged() && !tags.double() && tags.any_service());
        assert_eq!((tags.vid(), tags.pcp(), tags.count()), (0, 0, 2));
    }

    #[test]
    fn a_c_tag_behind_a_c_tag() {
        let tags = parsed(&frame(&[0x8100, 3, 0x8100, 5, 0x0800])).unwrap().tags;
        assert!(tags.tagged() && tags.double() && !tags.any_service());
        assert_eq!((tags.vid(), tags.count()), (3, 2));
        let tags = parsed(&frame(&[0x8100, 3, 0x88a8, 5, 0x0800])).unwrap().tags;
        assert!(tags.tagged() && !tags.double() && tags.any_service());
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
    fn short_and_long_frames_are_parsed_alike() {
        let tags = [0x8100, 0x88a8, 0x0800, 5];
        for words in (0..4u32.pow(5)).map(|n| [0, 2, 4, 6, 8].map(|shift| tags[(n >> shift & 3) as usize])) {
            let bytes = frame(&words);
            let (short, long) = (&bytes[..22], [&bytes[..22], &[0x08, 0, 0, 0][..]].concat());
            // What stands behind byte 22 can only be the type behind two tags.
            if let (Ok(short), Ok(long)) = (parsed(short), parsed(&long)) {
                assert_eq!((short.dst, short.src, short.tags), (long.dst, long.src, long.tags));
            } else {
                assert_eq!(parsed(short).err(), Some(DropReason::MalformedTag), "{words:x?}");
            }
        }
    }

    #[test]
    fn frames_are_the_same_when_all_that_was_judged_is() {
        let first = |words: &[u16]| {
            let mut bytes = frame(words);
            bytes.resize(64, 0);
            First::of(&View::plain(&bytes, 64)).unwrap()
        };
        for (words, judged) in [
            (&[0x0800, 0, 0, 0, 0, 0][..], 1),
            (&[0x8100, 5, 0x0800, 0, 0, 0], 3),
            (&[0x88a8, 5, 0x0800, 0, 0, 0], 3),
            (&[0x8100, 5, 0x8100, 6, 0x0800, 0], 5),
        ] {
            let one = first(words);
            let mask = JUDGED[usize::from(one.parse().unwrap().tags.count())];
            assert!(one.same(&one, &mask) && one.same_behind(&one, &mask));
            for i in 0..words.len() {
                let mut other = words.to_vec();
                other[i] ^= 0x0101;
                assert_eq!(one.same(&first(&other), &mask), i >= judged, "{words:x?} {i}");
            }
            let mut bytes = frame(words);
            bytes.resize(64, 0);
            for i in 0..12 {
                let mut other = bytes.clone();
                other[i] ^= 1;
                let other = First::of(&View::plain(&other, 64)).unwrap();
                assert!(!one.same(&other, &mask) && one.same_behind(&other, &mask));
            }
        }
    }

    #[test]
    fn kinds_of_addresses() {
        assert!(is_group(BROADCAST) && is_group(0x0100_5e00_0001) && !is_group(0x0200_0000_0001));
        for (dst, src) in [(0, 0), (1, 0), (0, 1), (0xfe, 0xfe)] {
            let mut bytes = [0xfe; 64];
            (bytes[0], bytes[6]) = (dst, src);
            let first = First::of(&View::plain(&bytes, 64)).unwrap();
            assert_eq!(first.any_group(), dst & 1 == 1 || src & 1 == 1);
        }
        assert!(is_link_local(0x0180_c200_0000) && is_link_local(0x0180_c200_000f));
        assert!(!is_link_local(0x0180_c200_0010) && !is_link_local(0x0180_c200_0100));
    }
}
