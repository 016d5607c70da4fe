//! The Internet checksum (RFC 1071).
//!
//! A ones' complement sum does not care for the byte order of the machine that adds, as long as the
//! result is stored the way the words were loaded. So everything here is in native order until
//! [`finish`], and wide: 32-bit words add up in 64 bits, which can't overflow before 16 GiB.

/// The sum of `bytes`, unfolded. Sums of runs may be added when all but the last are even in length.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total = words.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum::<u64>();
    let (halves, last) = rest.as_chunks::<2>();
    for half in halves {
        total += u64::from(u16::from_ne_bytes(*half));
    }
    if let [byte] = last {
        total += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    total
}

/// Folded to 16 bits, in native order.
#[inline]
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The two bytes of the checksum as they stand in a header.
#[inline]
#[must_use]
pub fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// Like [`finish`], for UDP: a checksum that comes out as zero, which would mean "none", is sent as its other
/// representation (RFC 768).
#[inline]
#[must_use]
pub fn finish_nonzero(sum: u64) -> [u8; 2] {
    match finish(sum) {
        [0, 0] => [0xff, 0xff],
        bytes => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Straight from RFC 1071, section 4.1, in network order.
    fn slow(bytes: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            if total > 0xffff {
                total -= 0xffff;
            }
        }
        !(total as u16)
    }

    #[test]
    fn the_example_of_the_rfc() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(u16::from_be_bytes(finish(sum(&data))), !0xddf2);
    }

    #[test]
    fn the_largest_sums_fold() {
        for n in [0, 1, 2, 3, 4, 65_535, 1 << 20] {
            let data = vec![0xff; n];
            assert_eq!(u16::from_be_bytes(finish(sum(&data))), slow(&data), "{n}");
        }
        assert_eq!(fold(u64::MAX), 0xffff);
    }

    proptest! {
        #[test]
        fn equals_the_slow_one(data in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..200) {
            let want = slow(&data);
            let cut = (cut * 2).min(data.len() & !1);
            let got = u16::from_be_bytes(finish(sum(&data[..cut]) + sum(&data[cut..])));
            // Zero has two representations; only all-zero data tells them apart.
            prop_assert!(got == want || (got == 0xffff && want == 0) || (got == 0 && want == 0xffff));
            prop_assert_eq!(got == 0xffff, data.iter().all(|&b| b == 0));
        }
    }
}
