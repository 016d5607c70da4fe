//! The short way past the guard: what was admitted once from a station is admitted again, if it is plain.
//!
//! What makes a packet plain must leave nothing for any other rule of the guard to say. Whoever adds a rule for
//! IPv4 or IPv6 looks here, too.

use super::Guard;
use crate::headers::{TCP, UDP, be16, be128};
use std::ops::RangeInclusive;

impl Guard {
    /// The source of a frame that is so plain that nothing but its source decides: untagged IPv4
    /// without options, no fragment, with TCP or with UDP that is not DHCP. What else `admits` looks at
    /// has nothing to say about such a frame. 0 for any other.
    #[inline(always)]
    pub(crate) fn plain4(head: &[u8]) -> u32 {
        let Some(b) = head.first_chunk::<38>() else { return 0 };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (kind, part, ports) = (word(12) & 0xffff_ff00, word(20) & 0x3fff_00ff, word(34));
        let (from, to) = (ports >> 16, ports & 0xffff);
        // No fragment, and the protocol.
        let plain = part == u32::from(TCP) || part == u32::from(UDP) && from != 67 && to != 67 && to != 68;
        if kind == 0x0800_4500 && plain { word(26) } else { 0 }
    }

    /// The same of untagged IPv6 without extension headers; 0 for any other frame.
    #[inline]
    pub(crate) fn plain6(head: &[u8]) -> u128 {
        let Some(b) = head.first_chunk::<58>() else { return 0 };
        let plain = u32::from_be_bytes([b[12], b[13], b[14] & 0xf0, 0]) == 0x86dd_6000;
        let (from, to) = (u16::from_be_bytes([b[54], b[55]]), u16::from_be_bytes([b[56], b[57]]));
        let special = from == 547 || to == 547 || to == 546;
        if plain && (b[20] == TCP || (b[20] == UDP && !special)) { be128(b, 22).unwrap_or(0) } else { 0 }
    }

    /// Whether what [`Guard::plain4`] says is the same for each of several frames, of which one has this head and all `differ`
    /// in these bits at most. `ports`: of all of them, as they stand there, if they are known. False where that is not
    /// certain.
    #[inline]
    pub(crate) fn is_plain4_alike(head: &[u8], differ: &[u8], ports: Option<&[u32]>) -> bool {
        let Some(b) = differ.first_chunk::<38>() else { return false };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let same = word(12) & 0xffff_ff00 | word(20) & 0x3fff_00ff | word(26) == 0;
        same && (!may_be(head, differ, 34, 67..=67, 67..=68) || ports.is_some_and(|ports| !any_dhcp(ports)))
    }

    /// The same of [`Guard::plain6`].
    #[inline]
    pub(crate) fn is_plain6_alike(head: &[u8], differ: &[u8]) -> bool {
        let Some(b) = differ.first_chunk::<58>() else { return false };
        let same = u32::from_be_bytes([b[12], b[13], b[14] & 0xf0, b[20]]) == 0 && be128(b, 22) == Some(0);
        same && !may_be(head, differ, 54, 547..=547, 546..=547)
    }

    /// Whether a plain frame that was admitted once from a station is admitted again whenever its
    /// source is the same. Not where the guest may change its MAC address: there the last one counts.
    #[inline]
    pub(crate) fn remembers(&self) -> bool {
        !self.roles.mac_changes
    }
}

/// Whether one of several frames, of which one has this `head` and all `differ` in these bits at most, may come from
/// a port in `from` or go to one in `to`, which stand `at` there: not if a bit says otherwise in which none differ.
#[inline]
fn may_be(head: &[u8], differ: &[u8], at: usize, from: RangeInclusive<u16>, to: RangeInclusive<u16>) -> bool {
    let may = |at: usize, mut ports: RangeInclusive<u16>| match (be16(head, at), be16(differ, at)) {
        (Some(own), Some(differ)) => ports.any(|port| (own ^ port) & !differ == 0),
        _ => true,
    };
    may(at, from) || may(at + 2, to)
}

/// Whether any packet has such ports, which [`Guard::plain4`] asks for. All are looked at, some at once.
fn any_dhcp(ports: &[u32]) -> bool {
    const fn port(from: u16, to: u16) -> u32 {
        let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }
    ports.iter().fold(false, |any, &ports| {
        let (from, to) = (ports & port(u16::MAX, 0), ports & port(0, u16::MAX));
        any | (from == port(67, 0)) | (to == port(0, 67)) | (to == port(0, 68))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A plain frame of either family, whose ports are `from` and `to`.
    fn frame(six: bool, protocol: u8, from: u16, to: u16) -> [u8; 60] {
        let mut bytes = [0; 60];
        let (kind, at) = if six { ([0x86, 0xdd, 0x60], 54) } else { ([8, 0, 0x45], 34) };
        bytes[12..15].copy_from_slice(&kind);
        bytes[if six { 20 } else { 23 }] = protocol;
        bytes[26..30].copy_from_slice(&[10, 0, 0, 1]);
        bytes[at..at + 2].copy_from_slice(&from.to_be_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&to.to_be_bytes());
        bytes
    }

    const PORTS: [u16; 10] = [66, 67, 68, 69, 545, 546, 547, 9, 1024, 65_535];

    fn port() -> impl Strategy<Value = u16> {
        prop::sample::select(&PORTS)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// One of the frames is asked about, and any of them may be there.
        #[test]
        fn what_is_said_of_all_is_so_of_each(
            (six, tcp) in any::<(bool, bool)>(),
            (from, to) in (port(), port()),
            other in (port(), port()),
            changes in prop::collection::vec((12..60_usize, 0..8_u8), 0..2),
            chosen in prop::collection::vec(any::<u8>(), 60),
            told in any::<bool>(),
        ) {
            let protocol = if tcp { TCP } else { UDP };
            let (head, mut other) = (frame(six, protocol, from, to), frame(six, protocol, other.0, other.1));
            for (at, bit) in changes {
                other[at] ^= 1 << bit;
            }
            let differ: [u8; 60] = std::array::from_fn(|at| head[at] ^ other[at]);
            let third: [u8; 60] = std::array::from_fn(|at| head[at] ^ differ[at] & chosen[at]);
            let frames = [head, other, third];
            let ports = frames.map(|frame| frame[34..38].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word)));
            for frame in frames {
                if Guard::is_plain4_alike(&head, &differ, told.then_some(&ports)) {
                    prop_assert_eq!(Guard::plain4(&frame), Guard::plain4(&head));
                }
                if Guard::is_plain6_alike(&head, &differ) {
                    prop_assert_eq!(Guard::plain6(&frame), Guard::plain6(&head));
                }
            }
        }
    }

    #[test]
    fn ports_that_differ_elsewhere_are_not_dhcp_s() {
        let [one, other] = [1024, 1087].map(|port| frame(false, UDP, port, 9));
        let differ: [u8; 60] = std::array::from_fn(|at| one[at] ^ other[at]);
        assert!(Guard::is_plain4_alike(&one, &differ, None));
        let far: [u8; 60] = std::array::from_fn(|at| one[at] ^ frame(false, UDP, 67, 9)[at]);
        assert!(!Guard::is_plain4_alike(&one, &far, None));
    }

    #[test]
    fn ports_that_are_known_are_dhcp_s_or_not() {
        let plain = [(1024, 9), (68, 9), (9, 69), (9, 66), (66, 1024), (67 << 8, 68 << 8)];
        let word = |(from, to): (u16, u16)| {
            let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
            u32::from_ne_bytes([a, b, c, d])
        };
        let mut ports = plain.map(word).to_vec();
        let (head, mut differ) = (frame(false, UDP, 1024, 9), [0; 60]);
        differ[34..38].fill(0xff);
        assert!(Guard::is_plain4_alike(&head, &differ, Some(&ports)));
        for special in [(67, 9), (9, 67), (9, 68)] {
            ports[3] = word(special);
            assert!(!Guard::is_plain4_alike(&head, &differ, Some(&ports)), "{special:?}");
        }
    }
}
