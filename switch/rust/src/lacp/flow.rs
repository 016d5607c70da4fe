//! Which flow a frame belongs to, for whoever spreads flows over several cables: frames of one flow get the
//! same number, so they keep their order (802.1AX-2014 6.2.4).

use crate::parse::{C_TAG, S_TAG};

/// What of a frame decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hashed {
    /// MAC addresses.
    Macs,
    /// And IP addresses.
    Ips,
    /// And ports of TCP, UDP and SCTP. The pieces of a fragmented packet go by its addresses.
    #[default]
    Ports,
}

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(PRIME).rotate_left(29)
}

fn word<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..)?.first_chunk().copied()
}

/// The number of a frame's flow, of which `head` is the beginning. Whatever is there is taken as bytes:
/// nothing here believes it.
#[must_use]
pub fn flow(head: &[u8], by: Hashed) -> u64 {
    let mut hash = PRIME;
    for at in [0, 4, 8] {
        hash = mix(hash, word(head, at).map_or(0, u32::from_be_bytes).into());
    }
    if by != Hashed::Macs {
        hash = beyond(head, by, hash).unwrap_or(hash);
    }
    // The last multiplication leaves the upper bits best.
    mix(hash, hash >> 32) >> 32
}

fn beyond(head: &[u8], by: Hashed, mut hash: u64) -> Option<u64> {
    let mut at = 12;
    let mut kind = u16::from_be_bytes(word(head, at)?);
    while (kind == C_TAG || kind == S_TAG) && at < 20 {
        at += 4;
        kind = u16::from_be_bytes(word(head, at)?);
    }
    at += 2;
    let (protocol, ports) = match kind {
        0x0800 => {
            hash = mix(hash, u64::from_be_bytes(word(head, at + 12)?));
            let fragment = u16::from_be_bytes(word(head, at + 6)?) & 0x3fff != 0;
            let length = usize::from(*head.get(at)? & 15) * 4;
            (*head.get(at + 9)?, (!fragment).then_some(at + length))
        }
        0x86dd => {
            for part in [8, 16, 24, 32] {
                hash = mix(hash, u64::from_be_bytes(word(head, at + part)?));
            }
            (*head.get(at + 6)?, Some(at + 40))
        }
        _ => return None,
    };
    // TCP, UDP, SCTP
    if let (Hashed::Ports, 6 | 17 | 132, Some(ports)) = (by, protocol, ports)
        && let Some(ports) = word(head, ports)
    {
        hash = mix(hash, u64::from(protocol) << 32 | u64::from(u32::from_be_bytes(ports)));
    }
    Some(hash)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn udp(source: u16, fragment: u16, tags: usize) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend([0x81, 0, 0, 10].repeat(tags));
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 1]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(source.to_be_bytes());
        frame.extend([0, 53, 0, 8, 0, 0]);
        frame.resize(80, 0);
        frame
    }

    #[test]
    fn ports_tell_flows_apart_where_they_are_asked_for_and_there() {
        let number = |frame: &[u8], by| flow(frame, by);
        assert_ne!(number(&udp(1, 0, 0), Hashed::Ports), number(&udp(2, 0, 0), Hashed::Ports));
        assert_eq!(number(&udp(1, 0, 0), Hashed::Ips), number(&udp(2, 0, 0), Hashed::Ips));
        assert_ne!(number(&udp(1, 0, 0), Hashed::Ips), number(&udp(1, 0, 0), Hashed::Macs));
        // The first piece has ports, the others have none; they go together, by what they have in common.
        assert_eq!(number(&udp(1, 0x2000, 0), Hashed::Ports), number(&udp(2, 0x0010, 0), Hashed::Ports));
        // Tags are not part of it: an egress may add one or take it off.
        for tags in [1, 2] {
            assert_eq!(number(&udp(7, 0, tags), Hashed::Ports), number(&udp(7, 0, 0), Hashed::Ports));
        }
    }

    #[test]
    fn flows_spread() {
        let mut buckets = [0; 8];
        for port in 0..4000 {
            buckets[flow(&udp(port, 0, 0), Hashed::Ports) as usize % 8] += 1;
        }
        assert!(buckets.iter().all(|n| (400..600).contains(n)), "{buckets:?}");
        let macs: BTreeSet<u64> = (0..=255u8)
            .map(|last| {
                let mut frame = udp(1, 0, 0);
                frame[11] = last;
                flow(&frame, Hashed::Macs) % 256
            })
            .collect();
        assert!(macs.len() > 130, "{} of 256", macs.len());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
            for by in [Hashed::Macs, Hashed::Ips, Hashed::Ports] {
                let _ = flow(&bytes, by);
            }
        }
    }
}
