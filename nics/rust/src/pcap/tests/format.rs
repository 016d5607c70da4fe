//! Captures as other programs write them, and as nobody should.

use super::*;
use crate::pcap::parse::{Item, NEED_MAX, Parser};
use crate::pcap::read::told;
use proptest::prelude::*;

#[test]
fn pcap_of_both_byte_orders_and_resolutions() {
    for big in [false, true] {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let mut file = Capture::pcap(big, magic, 1);
            file.record(7, 5, &numbered(1, 60), 60).record(8, 999, &numbered(2, 1514), 1514);
            let want = vec![
                (7_000_000_000 + 5 * unit, numbered(1, 60)),
                (8_000_000_000 + 999 * unit, numbered(2, 1514)),
            ];
            assert_eq!(read(&file.bytes), (want, [0; 3], Some(End::Whole)));
        }
    }
}

#[test]
fn pcap_with_check_sequences_cut_and_impossible_packets() {
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1 | 1 << 26 | 2 << 28);
    let mut with_fcs = numbered(1, 60);
    with_fcs.extend([1, 2, 3, 4]);
    file.record(1, 0, &with_fcs, 64).record(1, 0, &with_fcs, 65).record(1, 0, &[1, 2, 3, 4], 4);
    file.record(1, 0, &vec![0; FRAME_MAX + 5], FRAME_MAX + 5);
    file.record(2, 0, &with_fcs, 64);
    let want = vec![(1_000_000_000, numbered(1, 60)), (2_000_000_000, numbered(1, 60))];
    assert_eq!(read(&file.bytes), (want, [1, 0, 2], Some(End::Whole)));
    assert_eq!(told([1, 0, 2]), "1 cut short by a snaplen, 2 of an impossible length");
}

#[test]
fn kuznetzovs_pcap_has_longer_records() {
    let mut file = Capture::pcap(false, 0xa1b2_cd34, 1);
    for i in 0..2 {
        file.u32(i).u32(0).u32(60).u32(60).u32(3).u16(0x0800).u16(0);
        file.bytes.extend(numbered(i, 60));
    }
    let want = vec![(0, numbered(0, 60)), (1_000_000_000, numbered(1, 60))];
    assert_eq!(read(&file.bytes), (want, [0; 3], Some(End::Whole)));
}

#[test]
fn pcapng_with_sections_interfaces_and_all_sorts_of_packets() {
    let mut all = Vec::new();
    for big in [true, false] {
        let mut file = Capture::new(big);
        let offset = if big { (-5_i64).to_be_bytes() } else { (-5_i64).to_le_bytes() };
        file.section();
        file.interface(1, 0, &[(2, b"eth0")]);
        file.interface(113, 0, &[]);
        file.interface(1, 0, &[(2, b"odd"), (9, &[9]), (14, &offset), (0, &[])]);
        file.interface(1, 0, &[(9, &[0x80 | 10]), (13, &[4])]);
        file.block(4, |f| f.bytes.extend([0; 50]));
        file.packet(0, 3_000_000, &numbered(1, 61), &[(1, b"a comment"), (0, &[])]);
        file.packet(1, 3_000_000, &numbered(2, 60), &[]);
        file.packet(2, 7_000_000_001, &numbered(3, 60), &[]);
        file.packet(3, 5 << 10 | 512, &numbered(4, 64), &[]);
        let flags = if big { (8_u32 << 5).to_be_bytes() } else { (8_u32 << 5).to_le_bytes() };
        file.packet(0, 6_000_000, &numbered(5, 68), &[(2, &flags)]);
        file.simple(70, &numbered(6, 70));
        file.block(2, |f| {
            f.u16(0).u16(9).u32(0).u32(8_000_000).u32(60).u32(60);
            f.bytes.extend(numbered(7, 60));
        });
        all.extend(file.bytes);
    }
    let (frames, left_out, end) = read(&all);
    let one = [
        (3_000_000_000, numbered(1, 61)),
        (2_000_000_001, numbered(3, 60)),
        (5_500_000_000, numbered(4, 64)[..60].to_vec()),
        (6_000_000_000, numbered(5, 68)[..60].to_vec()),
        (6_000_000_000, numbered(6, 70)),
        (8_000_000_000, numbered(7, 60)),
    ];
    assert_eq!(frames, [one.clone(), one].concat());
    assert_eq!((left_out, end), ([0, 2, 0], Some(End::Whole)));
}

#[test]
fn simple_packets_are_cut_by_the_interfaces_snaplen() {
    let mut file = Capture::new(false);
    file.section().interface(1, 64, &[]).simple(100, &numbered(1, 64)).simple(64, &numbered(2, 64));
    assert_eq!(read(&file.bytes), (vec![(0, numbered(2, 64))], [1, 0, 0], Some(End::Whole)));
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let section = || {
        let mut file = Capture::new(false);
        file.section();
        file
    };
    let cases: [(Vec<u8>, &str); 13] = [
        (vec![], "it is empty"),
        (b"#!/bin/sh\nrm -rf".to_vec(), "neither pcap nor pcapng, at byte 0"),
        (
            Capture::pcap(false, 0xa1b2_c3d4, 1).bytes[..20].to_vec(),
            "it ends in the middle of a block, at byte 0",
        ),
        (
            Capture::pcap(true, 0xa1b2_c3d4, 113).bytes,
            "its link type is 113, and only Ethernet (1) can be played",
        ),
        (
            Capture::new(false).u32(0xa1b2_c3d4).u16(9).u16(1).u32(0).u32(0).u32(0).u32(1).bytes.clone(),
            "version 9.1 of its format is not known",
        ),
        (
            Capture::pcap(false, 0xa1b2_c3d4, 1).u32(0).u32(0).u32(u32::MAX).u32(u32::MAX).bytes.clone(),
            "a packet of 4294967295 bytes does not fit into its block, at byte 24",
        ),
        (
            Capture::new(false)
                .block(0x0a0d_0d0a, |f| {
                    f.u32(1);
                })
                .bytes
                .clone(),
            "a section's byte-order magic is 0x01000000",
        ),
        (
            section().packet(0, 0, &[0; 60], &[]).bytes.clone(),
            "a packet is of interface 0, which there is not",
        ),
        (section().u32(1).u32(13).u32(0).bytes.clone(), "a block of 13 bytes is not possible there"),
        (
            section().u32(1).u32(0x8000_0000).u32(0).bytes.clone(),
            "a block of 2147483648 bytes is not possible",
        ),
        (
            section().u32(1).u32(20).u32(1).u32(0).u32(24).bytes.clone(),
            "a block says 20 bytes at its beginning and 24",
        ),
        (section().block(1, |_| ()).bytes.clone(), "a block of 12 bytes is not possible there"),
        (
            section()
                .interface(1, 0, &[])
                .block(6, |f| {
                    f.u32(0).u32(0).u32(0).u32(61).u32(61).bytes.extend([0; 60]);
                })
                .bytes
                .clone(),
            "a packet of 61 bytes does not fit into its block",
        ),
    ];
    for (bytes, line) in cases {
        let (frames, _, end) = read(&bytes);
        let Some(End::Broken(why)) = end else { panic!("{line}: not found") };
        assert!(frames.is_empty() && why.starts_with(line), "{why} instead of {line}");
    }
}

#[test]
fn interfaces_are_limited() {
    let mut file = Capture::new(false);
    file.section();
    for _ in 0..65_537 {
        file.interface(1, 0, &[]);
    }
    let Some(End::Broken(why)) = read(&file.bytes).2 else { panic!("not found") };
    assert!(why.starts_with("more than 65536 interfaces"), "{why}");
}

#[test]
fn a_huge_block_of_another_sort_is_passed_over_without_being_kept() {
    let mut file = Capture::new(false);
    file.section().interface(1, 0, &[]).packet(0, 1, &numbered(1, 60), &[]);
    file.block(10, |f| f.bytes.resize(f.bytes.len() + 5 * NEED_MAX, 7));
    file.packet(0, 2, &numbered(2, 60), &[]);
    assert_eq!(read(&file.bytes).0.len(), 2);
    // And a packet block that no frame could need counts as one that was left out.
    file.block(6, |f| f.bytes.resize(f.bytes.len() + 2 * NEED_MAX, 0));
    file.packet(0, 3, &numbered(3, 60), &[]);
    let (frames, left_out, end) = read(&file.bytes);
    assert_eq!((frames.len(), left_out, end), (3, [0, 0, 1], Some(End::Whole)));
}

#[test]
fn a_file_that_was_cut_off_is_played_up_to_there() {
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1);
    file.record(0, 0, &numbered(1, 60), 60).record(0, 0, &numbered(2, 60), 60);
    for cut in [1, 59, 60, 75] {
        let (frames, _, end) = read(&file.bytes[..file.bytes.len() - cut]);
        assert_eq!(frames.len(), 1);
        assert_eq!(end, Some(End::Broken("it ends in the middle of a block, at byte 100".into())));
    }
}

fn some_file() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec((0..5_000_000_u64, 1..2000_usize), 0..200);
    (any::<bool>(), any::<bool>(), frames).prop_map(|(big, ng, frames)| {
        let mut file = if ng { Capture::new(big) } else { Capture::pcap(big, 0xa1b2_c3d4, 1) };
        if ng {
            file.section().interface(1, 0, &[]);
        }
        for (i, (time, len)) in frames.into_iter().enumerate() {
            let data = numbered(i as u32, len);
            if ng {
                file.packet(0, time, &data, &[(1, b"x")]);
            } else {
                file.record((time / 1_000_000) as u32, (time % 1_000_000) as u32, &data, len);
            }
        }
        file.bytes
    })
}

proptest! {
    /// The parser by itself, on bytes that come in pieces, gives what the reader gives at once.
    #[test]
    fn pieces_make_no_difference(bytes in some_file(), piece in 1..5000_usize) {
        let (mut parser, mut at, mut end, mut skip) = (Parser::default(), 0, 0, 0);
        let mut frames = Vec::new();
        while at < bytes.len() {
            if skip > 0 {
                let passed = skip.min(end - at);
                (skip, at) = (skip - passed, at + passed);
            }
            let item = if skip > 0 { Item::Need(1) } else { parser.next(&bytes[at..end]).unwrap() };
            match item {
                Item::Need(_) if end == bytes.len() => break,
                Item::Need(_) => end = (end + piece).min(bytes.len()),
                Item::Other { used, .. } => skip = used as usize,
                Item::Frame { used, start, end, time } => {
                    frames.push((time.unwrap(), bytes[at + start..at + end].to_vec()));
                    skip = used;
                }
            }
        }
        let whole = read(&bytes);
        prop_assert_eq!((frames, Some(End::Whole)), (whole.0, whole.2));
    }

    /// Whatever stands in a file, reading it ends, and gives no frame that could not be one.
    #[test]
    fn damage_harms_nobody(
        bytes in some_file(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..50),
        cut in any::<prop::sample::Index>(),
        front in 0..4_u8,
    ) {
        let mut bytes = bytes;
        for (at, value) in damage {
            if !bytes.is_empty() {
                let range = if front == 0 { bytes.len().min(60) } else { bytes.len() };
                let at = at.index(range);
                bytes[at] = value;
            }
        }
        if front == 1 {
            let keep = cut.index(bytes.len() + 1);
            bytes.truncate(keep);
        }
        let (frames, _, end) = read(&bytes);
        prop_assert!(end.is_some());
        prop_assert!(frames.iter().all(|(_, frame)| !frame.is_empty() && frame.len() <= FRAME_MAX));
    }
}
