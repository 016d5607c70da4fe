//! Against an implementation that is slow and shares nothing with the fast one.
#![allow(clippy::unwrap_used)]

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

proptest! {
    #[test]
    fn a_checksum_is_completed(spec in spec(bytes(2000))) {
        let data = spec.build();
        let out = complete(&data, spec.offload(0), TagEdit::NONE, &PLAIN).unwrap();
        prop_assert_eq!(out.len(), 1);
        prop_assert_eq!(out[0].1, Offload::NONE);
        spec.verify(&out[0].0, 0, 0, true);
    }

    #[test]
    fn padding_is_not_summed(spec in spec(bytes(20)), padding in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut data = spec.build();
        let len = data.len();
        data.extend(&padding);
        let out = complete(&data, spec.offload(0), TagEdit::NONE, &PLAIN).unwrap();
        spec.verify(&out[0].0[..len], 0, 0, true);
        prop_assert_eq!(&out[0].0[len..], padding);
    }

    #[test]
    fn segments_are_what_a_wire_would_see(spec in spec(bytes(65_000)), size in 48u16..9000, csum in any::<bool>()) {
        let most = if spec.tcp { Offload::TCP_SEGMENTS_MAX } else { Offload::UDP_SEGMENTS_MAX };
        let size = size.max(spec.payload.len().div_ceil(most) as u16);
        let data = spec.build();
        let offload = spec.offload(size);
        let caps = if csum { CSUM } else { PLAIN };
        let vetted = offload.vet(data.len(), &data[..data.len().min(HEAD)]).unwrap();
        let out = complete(&data, offload, TagEdit::NONE, &caps).unwrap();
        prop_assert_eq!(out.len(), vetted.segments(data.len()));
        let mut offset = 0;
        for (index, (mut frame, offload)) in out.clone().into_iter().enumerate() {
            prop_assert_eq!(offload.flags & Offload::NEEDS_CSUM != 0, csum);
            finish_as_hardware(&mut frame, offload);
            let last = index + 1 == out.len();
            spec.verify(&frame, offset, index, last);
            let payload = frame.len() - spec.headers();
            prop_assert!(payload == usize::from(size) || last);
            offset += payload;
        }
        prop_assert_eq!(offset, spec.payload.len());
    }

    /// Joined and cut again, datagrams are what they were, and the super-frame passes for an honest one.
    #[test]
    fn what_is_joined_comes_apart_again(
        spec in spec(bytes(1)), size in 1usize..1473, count in 2usize..100, last in 1usize..1473, edit in any::<bool>(),
    ) {
        let spec = Spec { tcp: false, ip_options: 0, ..spec };
        let edit = if edit { TagEdit { insert: 0x8100_0005, ..TagEdit::NONE } } else { TagEdit::NONE };
        let datagrams: Vec<_> = (0..count).map(|i| {
            let len = if i + 1 == count { last.min(size) } else { size };
            let payload = (0..len).map(|at| (at + i * 7) as u8).collect();
            Spec { id: spec.id.wrapping_add(i as u16), payload, ..spec.clone() }.build()
        }).collect();
        let offload = spec.offload(0).vet(datagrams[0].len(), &datagrams[0]).unwrap();
        let frames: Vec<_> = datagrams.iter().map(|data| Frame::flat(data, offload)).collect();
        let frames: Vec<_> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        let mut joiner = Joiner::new();
        let (n, joined) = joiner.join(&frames).unwrap();
        prop_assert!(n == count.min(64) || (n + 1) * size > 65_000);
        let mut whole = vec![0; joined.len()];
        TxFrame { frame: &joined, edit: TagEdit::NONE }.copy_to(&mut whole);
        prop_assert_eq!(joined.offload.vet(whole.len(), &whole), Some(joined.offload));
        prop_assert_eq!(joined.offload.segments(whole.len()), n);
        let out = complete(&whole, joined.offload, edit, &PLAIN).unwrap();
        prop_assert_eq!(out.len(), n);
        for (data, (segment, _)) in datagrams.iter().zip(&out) {
            let alone = complete(data, offload, edit, &PLAIN).unwrap();
            prop_assert_eq!(&alone[0].0, segment);
        }
    }

    /// Of two datagrams that differ in anything but what counts up, each goes alone.
    #[test]
    fn what_would_come_apart_otherwise_goes_alone(
        spec in spec(bytes(1)), at in 0usize..70, bit in 0u8..8, which in 0usize..2,
    ) {
        let spec = Spec { tcp: false, ip_options: 0, tags: 0, payload: vec![9; 30], ..spec };
        let second = Spec { id: spec.id.wrapping_add(1), ..spec.clone() };
        let mut datagrams = [spec.build(), second.build()];
        let changed = at % spec.headers();
        datagrams[which][changed] ^= 1 << bit;
        let sum = spec.l4() + 6..spec.l4() + 8;
        let honest = spec.offload(0).vet(datagrams[0].len(), &datagrams[0]);
        prop_assume!(!sum.contains(&changed) && honest.is_some());
        let frames = datagrams.each_ref().map(|data| Frame::flat(data, honest.unwrap()));
        let frames = frames.each_ref().map(|frame| TxFrame { frame, edit: TagEdit::NONE });
        prop_assert!(Joiner::new().join(&frames).is_none(), "byte {changed}");
    }

    #[test]
    fn a_tag_comes_and_goes_on_the_way(spec in spec(bytes(5000)), size in 400u16..1500, insert in any::<bool>()) {
        let insert = insert || spec.tags == 0;
        let mut tagged = spec.clone();
        let data = spec.build();
        let edit = if insert {
            tagged.tags += 1;
            TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE }
        } else {
            tagged.tags -= 1;
            TagEdit { strip: 4, insert: 0, ..TagEdit::NONE }
        };
        let out = complete(&data, spec.offload(size), edit, &PLAIN).unwrap();
        let mut whole: Vec<u8> = Vec::new();
        for (frame, _) in &out {
            prop_assert_eq!(insert, be(&frame[12..16]) == 0x8100_0005 && spec.tags == tagged.tags - 1);
            prop_assert_eq!(be(&frame[tagged.l3() - 2..tagged.l3()]), if spec.ipv6 { 0x86dd } else { 0x0800 });
            whole.extend(&frame[tagged.headers()..]);
        }
        prop_assert_eq!(whole, spec.payload);
    }

    /// Whatever a guest writes: no panic, nothing longer than allowed, not more segments than
    /// bounded; and what is let through at the ingress can be completed at any egress.
    #[test]
    fn lies_are_found_out(
        spec in spec(bytes(3000)),
        fields in (any::<u8>(), prop_oneof![0u8..6, any::<u8>(), 128u8..134]),
        words in (any::<u16>(), prop_oneof![0u16..60, any::<u16>()], prop_oneof![10u16..150, any::<u16>()],
            prop_oneof![Just(16), Just(6), any::<u16>()]),
        honest in any::<bool>(),
        cut in 0usize..3000,
        noise in proptest::collection::vec((0usize..150, any::<u8>()), 0..4),
        edit in prop_oneof![Just(TagEdit::NONE), Just(TagEdit { strip: 0, insert: 0x8100_0001, ..TagEdit::NONE }), Just(TagEdit { strip: 4, insert: 0, ..TagEdit::NONE })],
    ) {
        let mut data = spec.build();
        for (at, value) in noise {
            if let Some(byte) = data.get_mut(at) {
                *byte = value;
            }
        }
        data.truncate(cut.max(14));
        let mut offload = Offload {
            flags: fields.0, gso_type: fields.1, hdr_len: words.0, gso_size: words.1,
            csum_start: words.2, csum_offset: words.3,
        };
        if honest {
            offload.csum_start = spec.l4() as u16;
            offload.csum_offset = if spec.tcp { 16 } else { 6 };
        }
        let caps = Caps { max_frame: 1518, ..PLAIN };
        let edit = if data.len() < 18 { TagEdit::NONE } else { edit };
        for caps in [PLAIN, CSUM, TSO, caps] {
            if let Ok(out) = complete(&data, offload, edit, &caps) {
                prop_assert!(out.len() <= Offload::TCP_SEGMENTS_MAX);
                for (frame, state) in out {
                    prop_assert!(frame.len() <= caps.max_frame as usize || state.gso_type != 0);
                }
            }
        }
        let vetted = offload.vet(data.len(), &data[..data.len().min(HEAD)]);
        prop_assert_eq!(vetted.is_some(), offload.check(data.len(), &data[..data.len().min(HEAD)]));
        if let Some(vetted) = vetted {
            let plain = Offload { flags: vetted.flags & Offload::DATA_VALID, ..Offload::NONE };
            prop_assert!(vetted == plain || usize::from(vetted.hdr_len) <= data.len());
            prop_assert_eq!(vetted.vet(data.len(), &data), Some(vetted));
            let out = complete(&data, vetted, TagEdit::NONE, &PLAIN).unwrap();
            prop_assert_eq!(out.len(), vetted.segments(data.len()));
        }
    }
}

fn tcp4(payload: usize) -> Spec {
    Spec {
        tags: 0,
        ipv6: false,
        tcp: true,
        ip_options: 0,
        tcp_options: 0,
        flags: 0x18,
        seq: 0xffff_ff00,
        id: 0xffff,
        payload: vec![7; payload],
    }
}

#[test]
fn what_a_door_takes_passes_untouched() {
    let spec = tcp4(10_000);
    let data = spec.build();
    let out = complete(&data, spec.offload(1448), TagEdit::NONE, &TSO).unwrap();
    assert_eq!(out, [(data.clone(), spec.offload(1448))]);
    let ecn = Offload { gso_type: Offload::GSO_TCPV4 | Offload::GSO_ECN, ..spec.offload(1448) };
    assert_eq!(complete(&data, ecn, TagEdit::NONE, &TSO).unwrap().len(), 1);
    let no_ecn = Caps { ecn: false, ..TSO };
    assert_eq!(complete(&data, ecn, TagEdit::NONE, &no_ecn).unwrap().len(), 7);
}

#[test]
fn a_checksum_may_not_rewrite_what_a_guard_approved() {
    let spec = tcp4(100);
    let data = spec.build();
    let honest = spec.offload(0);
    assert!(honest.check(data.len(), &data));
    // The source MAC, the source address, the ports; and right behind the true place.
    for (start, offset) in [(0, 6), (6, 0), (14, 12), (26, 0), (34, 0), (34, 2), (34, 18), (33, 17), (36, 14)]
    {
        let lie = Offload { csum_start: start, csum_offset: offset, ..honest };
        assert!(!lie.check(data.len(), &data), "{start} {offset}");
        assert_eq!(complete(&data, lie, TagEdit::NONE, &PLAIN), Err(DropReason::TxOffload));
    }
    // ARP has no checksum at all.
    let mut arp = data.clone();
    arp[13] = 6;
    assert!(!honest.check(arp.len(), &arp));
}

#[test]
fn a_type_that_the_frame_is_not_is_refused() {
    let spec = tcp4(3000);
    let data = spec.build();
    for gso_type in [2, 3, 4, 5, 6, 0x80, 0x83, 0x84, 0x85, 0xff] {
        let lie = Offload { gso_type, ..spec.offload(1000) };
        assert!(!lie.check(data.len(), &data), "{gso_type}");
        assert_eq!(complete(&data, lie, TagEdit::NONE, &PLAIN), Err(DropReason::TxOffload));
    }
}

#[test]
fn one_frame_does_not_become_sixty_thousand() {
    let spec = tcp4(60_000);
    let data = spec.build();
    for size in [0, 1, 47, 78] {
        let lie = Offload { gso_size: size, ..spec.offload(1000) };
        assert_eq!(complete(&data, lie, TagEdit::NONE, &PLAIN), Err(DropReason::TxOffload), "{size}");
    }
    let out = complete(&data, spec.offload(79), TagEdit::NONE, &PLAIN).unwrap();
    assert_eq!(out.len(), 760);
    let udp = Spec { tcp: false, ..spec };
    let data = udp.build();
    assert!(!udp.offload(468).check(data.len(), &data));
    assert!(udp.offload(469).check(data.len(), &data));
}

#[test]
fn segments_too_long_for_the_door_are_too_big() {
    let spec = tcp4(9000);
    let data = spec.build();
    let caps = Caps { max_frame: 1514, ..PLAIN };
    assert_eq!(complete(&data, spec.offload(1461), TagEdit::NONE, &caps), Err(DropReason::TxTooBig));
    assert_eq!(complete(&data, spec.offload(1460), TagEdit::NONE, &caps).unwrap().len(), 7);
    assert_eq!(complete(&data, spec.offload(0), TagEdit::NONE, &caps), Err(DropReason::TxTooBig));
}

#[test]
fn behind_a_routing_header_the_final_address_counts() {
    // IPv6 with a segment routing header whose final segment is not the destination address.
    let mut f = vec![0; 12];
    f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24 + 8 + 5, 43, 64]);
    f.extend([1; 16]);
    f.extend([2; 16]);
    f.extend([17, 2, 4, 1, 0, 0, 0, 0]);
    f.extend([3; 16]);
    let l4 = f.len();
    f.extend([0, 1, 0, 2, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o']);
    let offload = Offload { flags: 1, csum_start: l4 as u16, csum_offset: 6, ..Offload::NONE };
    let out = complete(&f, offload, TagEdit::NONE, &PLAIN).unwrap();
    let mut pseudo = vec![1; 16];
    pseudo.extend([3; 16]);
    pseudo.extend([0, 0, 0, 13, 0, 0, 0, 17]);
    pseudo.extend(&out[0].0[l4..]);
    assert_eq!(slow_checksum(&pseudo), 0);
}

#[test]
fn fragments_are_not_completed() {
    let spec = tcp4(100);
    let mut data = spec.build();
    for (byte, value) in [(20, 0x20), (21, 0x01)] {
        data[byte] |= value;
        assert!(!spec.offload(0).check(data.len(), &data));
        assert!(!spec.offload(80).check(data.len(), &data));
        data = spec.build();
    }
}
