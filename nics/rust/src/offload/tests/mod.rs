//! Against an implementation that is slow and shares nothing with the fast one.
#![allow(clippy::unwrap_used)]

mod cases;
mod random;

use super::*;
use crate::frame::{FRAME_MAX, Frame, HEAD, Seg, TxFrame};
use crate::nic::Caps;
use proptest::prelude::*;
use switch::{DropReason, Place, TagEdit};

/// RFC 1071 in network order; 0 over data that includes a right checksum.
fn slow_checksum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn be(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b))
}

/// A frame to build: everything that the code has to cope with.
#[derive(Clone, Debug)]
struct Spec {
    tags: usize,
    ipv6: bool,
    tcp: bool,
    /// 32-bit words of IPv4 options, or 8-byte units of an IPv6 destination options header.
    ip_options: usize,
    tcp_options: usize,
    flags: u8,
    seq: u32,
    id: u16,
    payload: Vec<u8>,
}

impl Spec {
    fn l3(&self) -> usize {
        14 + 4 * self.tags
    }

    fn l4(&self) -> usize {
        self.l3() + if self.ipv6 { 40 + 8 * self.ip_options } else { 20 + 4 * self.ip_options }
    }

    fn headers(&self) -> usize {
        self.l4() + if self.tcp { 20 + 4 * self.tcp_options } else { 8 }
    }

    /// The whole frame, its checksum field holding the sum of the pseudo-header.
    fn build(&self) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in 0..self.tags {
            f.extend([[0x81, 0x00, 0, 5], [0x88, 0xa8, 0, 7]][(tag + self.tags) % 2]);
        }
        let proto = if self.tcp { 6 } else { 17 };
        let l4_len = self.headers() - self.l4() + self.payload.len();
        let l3_len = self.l4() - self.l3() + l4_len;
        let mut pseudo = Vec::new();
        if self.ipv6 {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            f.extend(((l3_len - 40) as u16).to_be_bytes());
            f.push(if self.ip_options > 0 { 60 } else { proto });
            f.push(64);
            let addresses: Vec<u8> = (1..=32).collect();
            f.extend(&addresses);
            if self.ip_options > 0 {
                f.extend([proto, self.ip_options as u8 - 1]);
                f.extend(vec![0; 8 * self.ip_options - 2]);
            }
            pseudo.extend(&addresses);
            pseudo.extend((l4_len as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, proto]);
        } else {
            f.extend([0x08, 0x00, 0x45 + self.ip_options as u8, 0]);
            f.extend((l3_len as u16).to_be_bytes());
            f.extend(self.id.to_be_bytes());
            f.extend([0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            f.extend(vec![1; 4 * self.ip_options]);
            let sum = slow_checksum(&f[self.l3()..]);
            let at = self.l3() + 10;
            f[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            pseudo.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, proto]);
            pseudo.extend((l4_len as u16).to_be_bytes());
        }
        let partial = (!slow_checksum(&pseudo)).to_be_bytes();
        if self.tcp {
            f.extend([0x12, 0x34, 0, 80]);
            f.extend(self.seq.to_be_bytes());
            f.extend([9, 9, 9, 9, ((5 + self.tcp_options) << 4) as u8, self.flags, 1, 0]);
            f.extend(partial);
            f.extend([0, 100]);
            f.extend(vec![1; 4 * self.tcp_options]);
        } else {
            f.extend([0x12, 0x34, 0, 53]);
            f.extend((l4_len as u16).to_be_bytes());
            f.extend(partial);
        }
        f.extend(&self.payload);
        f
    }

    fn offload(&self, gso_size: u16) -> Offload {
        let gso_type = match (gso_size, self.tcp, self.ipv6) {
            (0, _, _) => Offload::GSO_NONE,
            (_, true, false) => Offload::GSO_TCPV4,
            (_, true, true) => Offload::GSO_TCPV6,
            (_, false, _) => Offload::GSO_UDP_L4,
        };
        Offload {
            flags: Offload::NEEDS_CSUM,
            gso_type,
            hdr_len: 1,
            gso_size,
            csum_start: self.l4() as u16,
            csum_offset: if self.tcp { 16 } else { 6 },
        }
    }

    /// Check one frame that came out, whose payload is the one here from `offset` on.
    fn verify(&self, frame: &[u8], offset: usize, index: usize, last: bool) {
        let (l3, l4) = (self.l3(), self.l4());
        let payload = &frame[self.headers()..];
        assert_eq!(payload, &self.payload[offset..offset + payload.len()]);
        let original = self.build();
        assert_eq!(frame[..l3], original[..l3]);
        let segment = &frame[l4..];
        let mut pseudo = Vec::new();
        if self.ipv6 {
            assert_eq!(be(&frame[l3 + 4..l3 + 6]), frame.len() - l3 - 40);
            assert_eq!(frame[l3 + 6..l4], original[l3 + 6..l4]);
            pseudo.extend(&frame[l3 + 8..l3 + 40]);
            pseudo.extend((segment.len() as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, if self.tcp { 6 } else { 17 }]);
        } else {
            assert_eq!(be(&frame[l3 + 2..l3 + 4]), frame.len() - l3);
            assert_eq!(be(&frame[l3 + 4..l3 + 6]), usize::from(self.id.wrapping_add(index as u16)));
            assert_eq!(slow_checksum(&frame[l3..l4]), 0);
            assert_eq!(frame[l3 + 12..l4], original[l3 + 12..l4]);
            pseudo.extend(&frame[l3 + 12..l3 + 20]);
            pseudo.extend([0, if self.tcp { 6 } else { 17 }]);
            pseudo.extend((segment.len() as u16).to_be_bytes());
        }
        pseudo.extend(segment);
        assert_eq!(slow_checksum(&pseudo), 0, "checksum");
        assert_eq!(segment[..4], original[l4..l4 + 4]);
        if self.tcp {
            assert_eq!(be(&segment[4..8]) as u32, self.seq.wrapping_add(offset as u32));
            let mut flags = self.flags;
            if !last {
                flags &= !0x09;
            }
            if index > 0 {
                flags &= !0x80;
            }
            let urgent = 100usize.saturating_sub(offset);
            if flags & 0x20 != 0 {
                if offset > 100 {
                    flags &= !0x20;
                }
                assert_eq!(be(&segment[18..20]), urgent);
            }
            assert_eq!(segment[13], flags);
            assert_eq!(segment[20..self.headers() - l4], original[l4 + 20..self.headers()]);
        } else {
            assert_eq!(be(&segment[4..6]), segment.len());
            assert_ne!(segment[6..8], [0, 0]);
        }
    }
}

fn spec(payload: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Spec> {
    let shape = (0usize..=2, any::<bool>(), any::<bool>(), 0usize..=5, 0usize..=10);
    (shape, any::<u8>(), any::<u32>(), any::<u16>(), payload).prop_map(
        |((tags, ipv6, tcp, ip_options, tcp_options), flags, seq, id, payload)| Spec {
            tags,
            ipv6,
            tcp,
            ip_options,
            tcp_options,
            flags,
            seq,
            id,
            payload,
        },
    )
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..max, any::<u8>(), any::<bool>()).prop_map(|(n, seed, zero)| {
        (0..n).map(|i| if zero { 0 } else { (i * 31 + (i >> 8)) as u8 ^ seed }).collect()
    })
}

/// All that comes out for `data` as flat bytes with their offload state.
fn complete(
    data: &[u8],
    offload: Offload,
    edit: TagEdit,
    caps: &Caps,
) -> Result<Vec<(Vec<u8>, Offload)>, DropReason> {
    // As from a guest: head apart, body in two runs.
    let (head, body) = data.split_at(data.len().min(HEAD));
    let (tail, more) = body.split_at(body.len() / 3);
    let more = [Seg::from(more)];
    let frame = Frame::scattered(head, Seg::from(tail), &more, offload);
    let edit = TagEdit { place: Place::ISOLATED, ..edit };
    let mut out = Vec::new();
    Completer::new().complete(&TxFrame { frame: &frame, edit }, caps, &mut |burst| {
        assert!(!burst.is_empty() && burst.len() <= crate::BURST);
        for tx in burst {
            assert!(caps.take(tx.offload()));
            let mut copy = vec![0; tx.len()];
            assert_eq!(tx.copy_to(&mut copy), Some(tx.len()));
            assert_eq!(tx.frame.head().len(), tx.frame.len().min(HEAD));
            assert_eq!(tx.edit.place, edit.place, "however a frame is cut, its sender stands where it stood");
            out.push((copy, tx.offload()));
        }
    })?;
    Ok(out)
}

/// Finish a partial checksum as a NIC does that knows nothing but the virtio specification.
fn finish_as_hardware(frame: &mut [u8], offload: Offload) {
    if offload.flags & Offload::NEEDS_CSUM == 0 {
        assert_eq!(offload, Offload::NONE);
        return;
    }
    let start = usize::from(offload.csum_start);
    let at = start + usize::from(offload.csum_offset);
    let sum = match slow_checksum(&frame[start..]) {
        0 => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

const PLAIN: Caps = Caps::plain(FRAME_MAX as u32 + 4);
const CSUM: Caps = Caps { csum: true, ..PLAIN };
const TSO: Caps = Caps { csum: true, tso4: true, tso6: true, ecn: true, uso: true, ..PLAIN };
