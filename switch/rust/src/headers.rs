//! Where the headers behind a frame's tags are, found within the private bytes of its head.
//!
//! Everything here is made of numbers that a guest chose. So each step asks for its bytes and gets
//! `None` when they are not there; the number of steps is bounded; and what can't be followed to its
//! upper-layer header is an error and never "nothing special".

/// Extension headers followed, more than any host sends; a longer chain is refused.
pub(crate) const EXTENSIONS: usize = 8;

pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP6: u8 = 58;
/// Of multicast routers (RFC 7761).
pub(crate) const PIM: u8 = 103;

/// Why a packet can't be judged by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Malformed, or its chain of headers leads out of sight or is too long.
    Headers,
    /// Source routing: an IPv4 option, or an IPv6 routing header that is still in use or of type 0; and
    /// a mobile host's home address, by which it speaks from another one.
    SourceRoute,
    /// A fragment that no sender needs to make: too small, overlapping by construction, too long.
    Fragment,
}

/// Which part of a packet a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The first fragment, with at least eight bytes of the upper-layer header.
    First,
    /// A further fragment: no upper-layer header.
    Later,
}

/// An IP packet as far as it was followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip<'a, A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    /// The datagram that it is a fragment of; 0 for a whole one.
    pub(crate) id: u32,
    pub(crate) part: Part,
    /// The upper-layer protocol.
    pub(crate) proto: u8,
    /// Its header and what follows, as far as it is seen. Padding is not cut off.
    pub(crate) upper: &'a [u8],
    /// How long `upper` is by the IP header's word.
    pub(crate) len: usize,
}

#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[inline]
pub(crate) fn be128(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..at + 16)?.try_into().ok().map(u128::from_be_bytes)
}

/// The MAC address at `at` as a 48-bit number.
#[inline]
pub(crate) fn mac(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(be16(bytes, at)?) << 32 | u64::from(be32(bytes, at + 2)?))
}

/// The Internet checksum's sum (RFC 1071), folded, on top of `start`.
pub(crate) fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut total = start;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        total += u32::from(word);
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// An IPv4 packet (RFC 791), from its first byte on.
#[inline]
pub(crate) fn ipv4(bytes: &[u8]) -> Result<Ip<'_, u32>, Bad> {
    let fixed: &[u8; 20] = bytes.first_chunk().ok_or(Bad::Headers)?;
    let header = usize::from(fixed[0] & 15) * 4;
    if fixed[0] >> 4 != 4 || header < 20 {
        return Err(Bad::Headers);
    }
    if header > 20 {
        options(bytes.get(20..header).ok_or(Bad::Headers)?)?;
    }
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let mut ip = Ip {
        src: u32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]),
        dst: u32::from_be_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]),
        id: 0,
        part: Part::Whole,
        proto: fixed[9],
        upper: bytes.get(header..).ok_or(Bad::Headers)?,
        len: total.saturating_sub(header),
    };
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x3fff != 0 {
        ip.id = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        ip.part = part(usize::from(fragment & 0x1fff) * 8, ip.len, ip.upper.len())?;
        // A TCP header must not be cut at its flags, nor overwritten there (RFC 1858, RFC 3128).
        let cut = ip.part == Part::First && ip.len.min(ip.upper.len()) < 20;
        if ip.proto == TCP && (cut || fragment & 0x1fff == 1) {
            return Err(Bad::Fragment);
        }
    }
    Ok(ip)
}

/// Which part a fragment is that begins at `offset` and has `len` bytes, of which `seen` are there.
fn part(offset: usize, len: usize, seen: usize) -> Result<Part, Bad> {
    if offset + len > 0xffff {
        return Err(Bad::Fragment); // "ping of death"
    }
    match offset {
        0 if len.min(seen) < 8 => Err(Bad::Fragment), // RFC 7112, 5: a chain cut in two
        0 => Ok(Part::First),
        _ => Ok(Part::Later),
    }
}

/// IPv4 options: well-formed, and none that routes.
#[cold]
fn options(mut options: &[u8]) -> Result<(), Bad> {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return Ok(()),
            1 => options = rest,
            131 | 137 => return Err(Bad::SourceRoute),
            _ => {
                let len = rest.first().map_or(0, |&len| usize::from(len));
                options = options.get(len..).filter(|_| len >= 2).ok_or(Bad::Headers)?;
            }
        }
    }
    Ok(())
}

/// An IPv6 packet (RFC 8200), from its first byte on.
#[inline]
pub(crate) fn ipv6(bytes: &[u8]) -> Result<Ip<'_, u128>, Bad> {
    let fixed: &[u8; 40] = bytes.first_chunk().ok_or(Bad::Headers)?;
    if fixed[0] >> 4 != 6 {
        return Err(Bad::Headers);
    }
    let ip = Ip {
        src: be128(fixed, 8).ok_or(Bad::Headers)?,
        dst: be128(fixed, 24).ok_or(Bad::Headers)?,
        id: 0,
        part: Part::Whole,
        proto: fixed[6],
        upper: &bytes[40..],
        len: usize::from(u16::from_be_bytes([fixed[4], fixed[5]])),
    };
    if is_extension(ip.proto) { extensions(ip) } else { Ok(ip) }
}

/// Hop-by-hop options, routing, fragment, destination options, authentication, mobility, HIP, Shim6
/// (the IANA list but for ESP, behind which nothing can be seen by anybody on the way).
pub(crate) fn is_extension(proto: u8) -> bool {
    matches!(proto, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// Follow extension headers to the upper-layer header.
#[cold]
fn extensions(mut ip: Ip<'_, u128>) -> Result<Ip<'_, u128>, Bad> {
    for n in 0..=EXTENSIONS {
        if !is_extension(ip.proto) {
            return Ok(ip);
        }
        if ip.part == Part::First {
            // What stands behind a fragment header can be overwritten by the next fragment, except
            // for its first eight bytes; those shall be the upper-layer header.
            return Err(Bad::Fragment);
        }
        let head = *ip.upper.first_chunk::<4>().ok_or(Bad::Headers)?;
        let [next, extra, kind, left] = head;
        let len = match ip.proto {
            44 => 8,
            51 => (usize::from(extra) + 2) * 4,
            _ => (usize::from(extra) + 1) * 8,
        };
        if ip.proto == 0 && n > 0 {
            return Err(Bad::Headers); // RFC 8200, 4.1: the first or not at all
        }
        if ip.proto == 43 && (kind == 0 || left > 0) {
            return Err(Bad::SourceRoute); // RFC 5095
        }
        let is_fragment = ip.proto == 44;
        if is_fragment {
            ip.id = be32(ip.upper, 4).ok_or(Bad::Headers)?;
        }
        let (header, upper) = ip.upper.split_at_checked(len).ok_or(Bad::Headers)?;
        ip.upper = upper;
        ip.len = ip.len.checked_sub(len).ok_or(Bad::Headers)?;
        if ip.proto == 60 {
            no_home_address(header.get(2..).unwrap_or_default())?;
        }
        ip.proto = next;
        if is_fragment {
            let offset = usize::from(u16::from_be_bytes([kind, left]) & 0xfff8);
            ip.part = part(offset, ip.len, ip.upper.len())?;
            // Behind the smallest first one that there is: it would overwrite TCP's flags, ICMP's body.
            // Whose packet it is, its own header need not say.
            if offset == 8 {
                return Err(Bad::Fragment);
            }
            if ip.part == Part::Later {
                return Ok(ip);
            }
        }
    }
    Err(Bad::Headers)
}

/// Destination options (RFC 8200, 4.6) without a home address (RFC 6275, 6.3), which takes the place of
/// the source at who receives it.
fn no_home_address(mut options: &[u8]) -> Result<(), Bad> {
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            0 => rest,
            201 => return Err(Bad::SourceRoute),
            _ => {
                let (&len, rest) = rest.split_first().ok_or(Bad::Headers)?;
                rest.get(usize::from(len)..).ok_or(Bad::Headers)?
            }
        };
    }
    Ok(())
}

/// Whether every link-layer address among neighbour discovery options (RFC 4861, 4.6) is `mac`.
pub(crate) fn link_layer_options_are(mut options: &[u8], mac: u64) -> bool {
    while !options.is_empty() {
        let len = options.get(1).map_or(0, |&len| usize::from(len) * 8);
        let Some(option) = options.get(..len).filter(|option| !option.is_empty()) else { return false };
        if matches!(option[0], 1 | 2) && (len != 8 || self::mac(option, 2) != Some(mac)) {
            return false;
        }
        options = &options[len..];
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn v4(header: &[u8], fragment: u16, proto: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x40 | ((20 + header.len()) / 4) as u8, 0];
        bytes.extend(((20 + header.len() + payload) as u16).to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(header);
        bytes.resize(20 + header.len() + payload, 0);
        bytes
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend([next, 64]);
        bytes.extend([0xfe; 32]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn ipv4_options_are_walked_to_their_end() {
        for (options, expected) in [
            (&[1, 1, 1, 0][..], None),
            (&[148, 4, 0, 0], None),
            (&[7, 3, 4, 1], None),
            (&[131, 3, 4, 0], Some(Bad::SourceRoute)),
            (&[1, 137, 3, 4], Some(Bad::SourceRoute)),
            (&[148, 4, 0, 0, 1, 131, 2, 0], Some(Bad::SourceRoute)),
            (&[0, 131, 3, 4], None), // behind the end of the list nothing counts
            (&[7, 1, 0, 0], Some(Bad::Headers)),
            (&[7, 0, 0, 0], Some(Bad::Headers)),
            (&[7, 9, 0, 0], Some(Bad::Headers)),
            (&[1, 1, 1, 7], Some(Bad::Headers)),
        ] {
            assert_eq!(ipv4(&v4(options, 0, UDP, 8)).err(), expected, "{options:?}");
        }
        assert_eq!(ipv4(&v4(&[1, 1, 1, 0], 0, UDP, 0)[..22]).err(), Some(Bad::Headers));
        assert_eq!(ipv4(&[0x46; 20]).err(), Some(Bad::Headers));
        assert_eq!(ipv4(&v6(59, &[])).err(), Some(Bad::Headers));
    }

    #[test]
    fn ipv4_fragments() {
        let part = |fragment, proto, len| ipv4(&v4(&[], fragment, proto, len)).map(|ip| ip.part);
        assert_eq!(part(0x4000, TCP, 20), Ok(Part::Whole));
        assert_eq!(part(0x2000, UDP, 8), Ok(Part::First));
        assert_eq!(part(0x2000, UDP, 7), Err(Bad::Fragment));
        assert_eq!(part(0x2000, TCP, 19), Err(Bad::Fragment));
        assert_eq!(part(0x2000, TCP, 20), Ok(Part::First));
        assert_eq!(part(0x2001, TCP, 40), Err(Bad::Fragment));
        assert_eq!(part(0x2001, UDP, 40), Ok(Part::Later));
        assert_eq!(part(0x1fff, UDP, 8), Err(Bad::Fragment));
    }

    #[test]
    fn ipv6_chains_are_followed_with_a_bound() {
        let chain = |kinds: &[u8], last: u8| {
            let mut bytes = Vec::new();
            for (i, _) in kinds.iter().enumerate() {
                bytes.extend([*kinds.get(i + 1).unwrap_or(&last), 0, 1, 0, 0, 0, 0, 0]);
            }
            bytes.extend([128, 0, 0, 0, 0, 0, 0, 0]);
            v6(kinds.first().copied().unwrap_or(last), &bytes)
        };
        for n in 0..=EXTENSIONS {
            assert_eq!(ipv6(&chain(&vec![60; n], ICMP6)).unwrap().proto, ICMP6, "{n}");
        }
        assert_eq!(ipv6(&chain(&[60; EXTENSIONS + 1], ICMP6)).err(), Some(Bad::Headers));
        assert_eq!(ipv6(&chain(&[0, 60, 43, 135], UDP)).unwrap().proto, UDP);
        assert_eq!(ipv6(&chain(&[60, 0], UDP)).err(), Some(Bad::Headers));
        for cut in 40..56 {
            let bytes = chain(&[60, 60], ICMP6);
            assert_eq!(ipv6(&bytes[..cut]).err(), Some(Bad::Headers), "{cut}");
        }
        let routing = |kind, left| v6(43, &[59, 0, kind, left, 0, 0, 0, 0]);
        assert_eq!(ipv6(&routing(0, 0)).err(), Some(Bad::SourceRoute));
        assert_eq!(ipv6(&routing(4, 1)).err(), Some(Bad::SourceRoute));
        assert!(ipv6(&routing(4, 0)).is_ok());
    }

    #[test]
    fn destination_options_speak_for_no_other() {
        let options = |options: &[u8]| {
            let mut bytes = vec![UDP, (options.len() / 8) as u8];
            bytes.extend(options);
            bytes.extend([0; 8]);
            ipv6(&v6(60, &bytes)).err()
        };
        let home = [&[1, 2, 0, 0, 201, 16][..], &[0xfe; 16]].concat();
        assert_eq!(options(&home), Some(Bad::SourceRoute));
        assert_eq!(options(&[0, 0, 4, 1, 1, 0]), None);
        assert_eq!(options(&[0, 0, 4, 3, 1, 0]), Some(Bad::Headers), "an option that leads out of them");
        assert_eq!(options(&[0, 0, 0, 0, 0, 4]), Some(Bad::Headers), "one without a length");
    }

    #[test]
    fn ipv6_fragments() {
        let fragment = |next: u8, offset: u16, payload: &[u8]| {
            let mut bytes = vec![next, 0];
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0, 0, 7]);
            bytes.extend(payload);
            v6(44, &bytes)
        };
        let part = |bytes: &[u8]| ipv6(bytes).map(|ip| ip.part);
        assert_eq!(part(&fragment(UDP, 1, &[0; 8])), Ok(Part::First));
        assert_eq!(part(&fragment(UDP, 0, &[0; 8])), Ok(Part::First), "atomic");
        assert_eq!(part(&fragment(UDP, 1, &[0; 7])), Err(Bad::Fragment));
        assert_eq!(part(&fragment(60, 1, &[0; 16])), Err(Bad::Fragment));
        assert_eq!(part(&fragment(44, 1, &[0; 16])), Err(Bad::Fragment));
        assert_eq!(part(&fragment(60, 17, &[0; 16])), Ok(Part::Later));
        assert_eq!(part(&fragment(TCP, 9, &[0; 16])), Err(Bad::Fragment));
        assert_eq!(part(&fragment(UDP, 0xfff8, &[0; 8])), Err(Bad::Fragment));
    }

    #[test]
    fn options_of_neighbour_discovery() {
        let mac = 0x0200_0000_0001;
        let own = [1, 1, 2, 0, 0, 0, 0, 1];
        let other = [2, 1, 2, 0, 0, 0, 0, 2];
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        assert!(link_layer_options_are(&[], mac));
        assert!(link_layer_options_are(&[nonce, own].concat(), mac));
        assert!(!link_layer_options_are(&[own, other].concat(), mac));
        assert!(!link_layer_options_are(&[nonce, other].concat(), mac));
        assert!(!link_layer_options_are(&own[..7], mac), "cut off");
        assert!(!link_layer_options_are(&[1], mac));
        assert!(!link_layer_options_are(&[14, 0, 0, 0, 0, 0, 0, 0], mac), "no length");
        assert!(!link_layer_options_are(&[&[1, 2][..], &own[2..], &[0; 8]].concat(), mac), "another length");
    }
}
