//! One frame of each kind that deserves a word.

use super::*;

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
