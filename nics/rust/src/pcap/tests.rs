//! A `pcap` door, and the reading of captures of all sorts.
#![allow(clippy::unwrap_used)]

use super::parse::{Item, NEED_MAX, Parser};
use super::read::told;
use super::*;
use crate::testkit::{Bench, Folder, numbered};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use switch::TagEdit;

/// A capture as other programs write them, of either byte order.
struct Capture {
    big: bool,
    bytes: Vec<u8>,
}

impl Capture {
    fn new(big: bool) -> Self {
        Capture { big, bytes: Vec::new() }
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn pcap(big: bool, magic: u32, kind: u32) -> Self {
        let mut file = Capture::new(big);
        file.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65_535).u32(kind);
        file
    }

    fn record(&mut self, seconds: u32, fraction: u32, data: &[u8], len: usize) -> &mut Self {
        self.u32(seconds).u32(fraction).u32(data.len() as u32).u32(len as u32);
        self.bytes.extend(data);
        self
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.u32(kind).u32(0);
        body(self);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - start + 4) as u32;
        self.u32(length);
        let length = if self.big { length.to_be_bytes() } else { length.to_le_bytes() };
        self.bytes[start + 4..start + 8].copy_from_slice(&length);
        self
    }

    fn section(&mut self) -> &mut Self {
        self.block(0x0a0d_0d0a, |f| {
            f.u32(0x1a2b_3c4d).u16(1).u16(0).u32(u32::MAX).u32(u32::MAX);
        })
    }

    fn interface(&mut self, kind: u16, snaplen: u32, options: &[(u16, &[u8])]) -> &mut Self {
        self.block(1, |f| {
            f.u16(kind).u16(0).u32(snaplen);
            f.options(options);
        })
    }

    fn options(&mut self, options: &[(u16, &[u8])]) -> &mut Self {
        for (code, value) in options {
            self.u16(*code).u16(value.len() as u16);
            self.bytes.extend(*value);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        self
    }

    fn packet(&mut self, interface: u32, ticks: u64, data: &[u8], options: &[(u16, &[u8])]) -> &mut Self {
        self.block(6, |f| {
            f.u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
            f.u32(data.len() as u32).u32(data.len() as u32);
            f.bytes.extend(data);
            f.bytes.resize(f.bytes.len().next_multiple_of(4), 0);
            f.options(options);
        })
    }

    fn simple(&mut self, len: usize, data: &[u8]) -> &mut Self {
        self.block(3, |f| {
            f.u32(len as u32);
            f.bytes.extend(data);
        })
    }
}

type Read = (Vec<(u64, Vec<u8>)>, [u64; 3], Option<End>);

/// All that the reader makes of a file.
fn read(bytes: &[u8]) -> Read {
    let folder = Folder::new();
    std::fs::write(folder.path("x"), bytes).unwrap();
    let mut reader = Reader::new(File::open(folder.path("x")).unwrap().into()).unwrap();
    let (mut frames, mut left_out, mut chunk) = (Vec::new(), [0; 3], Chunk::default());
    loop {
        chunk = reader.fill(chunk, None).unwrap();
        while let Some(shot) = chunk.next() {
            frames.push((shot.time, chunk.bytes()[shot.at.clone()].to_vec()));
            chunk.advance();
        }
        for (sum, n) in left_out.iter_mut().zip(chunk.left_out) {
            *sum += n;
        }
        if let Some(end) = chunk.end.take() {
            return (frames, left_out, Some(end));
        }
    }
}

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

fn spec(folder: &Folder, bytes: Option<&[u8]>, write: bool, speed: f64, virtual_time: bool) -> Spec {
    let read = bytes.map(|bytes| {
        std::fs::write(folder.path("in"), bytes).unwrap();
        File::open(folder.path("in")).unwrap().into()
    });
    let write = write.then(|| File::create(folder.path("out")).unwrap().into());
    Spec { read, write, speed, name: "web.0".into(), epoch: virtual_time.then_some(0), ..Spec::default() }
}

fn open(spec: Spec) -> (Bench<PcapNic>, Files) {
    let (nic, files) = PcapNic::open(spec).unwrap();
    (Bench::new(nic), files)
}

/// Wait until the threads of a door that was detached are gone.
fn wait_for_end(fd: i32) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives through the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 20_000) }, 1, "a thread does not end");
}

/// A pcap of one frame a millisecond.
fn a_frame_a_millisecond(count: u32) -> Vec<u8> {
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1);
    for i in 0..count {
        file.record(
            5 + i / 1000,
            i % 1000 * 1000,
            &numbered(i, 60 + i as usize % 1000),
            60 + i as usize % 1000,
        );
    }
    file.bytes
}

#[test]
fn frames_are_played_at_their_times() {
    for virtual_time in [true, false] {
        for (speed, step) in [(1.0, 1_000_000), (10.0, 100_000), (0.5, 2_000_000)] {
            let folder = Folder::new();
            let (mut bench, _) =
                open(spec(&folder, Some(&a_frame_a_millisecond(5)), false, speed, virtual_time));
            assert!(bench.received.is_empty(), "nothing before the first tick");
            bench.advance(0);
            bench.until("the first one came", |b| !b.received.is_empty());
            for count in 1..5 {
                assert_eq!(bench.received.len(), count);
                assert_eq!(bench.nic.deadline(), Some(bench.now + step));
                bench.advance(step - 1);
                assert_eq!(bench.received.len(), count, "too early");
                bench.advance(1);
            }
            assert_eq!(bench.received.len(), 5);
            assert_eq!(bench.nic.deadline(), None);
            assert!(bench.log.is_empty() && bench.drops.is_empty());
        }
    }
}

#[test]
fn as_fast_as_possible_plays_everything_at_once() {
    for virtual_time in [true, false] {
        let folder = Folder::new();
        let (mut bench, files) =
            open(spec(&folder, Some(&a_frame_a_millisecond(20_000)), false, 0.0, virtual_time));
        bench.advance(0);
        bench.until("all were played", |b| b.received.len() == 20_000);
        assert!(bench.received.iter().enumerate().all(|(i, f)| *f == numbered(i as u32, 60 + i % 1000)));
        bench.detach();
        wait_for_end(files.reader.unwrap().ended());
    }
}

#[test]
fn times_that_go_back_or_far_ahead_do_no_harm() {
    let folder = Folder::new();
    let mut file = Capture::new(false);
    file.section().interface(1, 0, &[(9, &[9])]);
    for (i, time) in [1000, 500, 2000, u64::MAX].into_iter().enumerate() {
        file.packet(0, time, &numbered(i as u32, 60), &[]);
    }
    let (mut bench, _) = open(spec(&folder, Some(&file.bytes), false, 1.0, true));
    bench.advance(0);
    assert_eq!(bench.received.len(), 2);
    bench.advance(1000);
    assert_eq!(bench.received.len(), 3);
    assert_eq!(bench.nic.deadline(), Some(u64::MAX));
}

#[test]
fn what_is_left_out_is_counted_and_told() {
    let folder = Folder::new();
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1);
    file.record(1, 0, &numbered(1, 60), 60).record(1, 0, &numbered(2, 60), 1514).record(
        1,
        0,
        &numbered(3, 60),
        60,
    );
    file.bytes.extend([1, 2, 3]);
    let (mut bench, _) = open(spec(&folder, Some(&file.bytes), false, 1.0, true));
    bench.advance(0);
    bench.until("all were played", |b| b.nic.deadline().is_none());
    bench.settle();
    assert_eq!(bench.received, [numbered(1, 60), numbered(3, 60)]);
    assert_eq!(bench.dropped(DropReason::DoorMalformed), 1);
    assert_eq!(
        bench.log,
        [
            "packets of the capture were left out: 1 cut short by a snaplen",
            "the capture can't be played any further: it ends in the middle of a block, at byte 252",
        ]
    );
}

#[test]
fn a_file_that_is_no_capture_is_refused() {
    let folder = Folder::new();
    let error = PcapNic::open(spec(&folder, Some(b"hello, world"), false, 1.0, false)).unwrap_err();
    assert_eq!(error.what, "it can't be played: neither pcap nor pcapng, at byte 0");
}

fn fifo(path: &Path, flags: i32) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(flags != libc::O_WRONLY)
        .write(flags != libc::O_RDONLY)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .unwrap()
        .into()
}

fn make_fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated string that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

#[test]
fn a_fifo_is_played_as_it_is_filled() {
    let folder = Folder::new();
    make_fifo(&folder.path("in"));
    let read = Some(fifo(&folder.path("in"), libc::O_RDONLY));
    let (mut bench, files) = open(Spec { read, ..Spec::default() });
    bench.advance(0);
    bench.settle();
    let mut writer = File::from(fifo(&folder.path("in"), libc::O_WRONLY));
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1);
    writer.write_all(&file.bytes).unwrap();
    for i in 0..100 {
        file.bytes.clear();
        file.record(i, 0, &numbered(i, 60), 60);
        // In two pieces.
        writer.write_all(&file.bytes[..30]).unwrap();
        writer.write_all(&file.bytes[30..]).unwrap();
        bench.until("it was played", |b| b.received.len() == i as usize + 1);
    }
    drop(writer);
    bench.until("the end came", |b| b.nic.clock == Clock::Over);
    assert!(bench.log.is_empty());
    bench.detach();
    wait_for_end(files.reader.unwrap().ended());
}

#[test]
fn a_door_can_be_detached_while_its_fifo_is_silent_or_its_chunks_are_full() {
    let folder = Folder::new();
    make_fifo(&folder.path("in"));
    let read = Some(fifo(&folder.path("in"), libc::O_RDONLY));
    let (mut bench, files) = open(Spec { read, ..Spec::default() });
    bench.advance(0);
    bench.detach();
    wait_for_end(files.reader.unwrap().ended());

    let folder = Folder::new();
    let (mut bench, files) = open(spec(&folder, Some(&a_frame_a_millisecond(20_000)), false, 1.0, false));
    bench.advance(0);
    bench.until("it plays", |b| !b.received.is_empty());
    bench.detach();
    wait_for_end(files.reader.unwrap().ended());

    // One that is never attached.
    let (nic, files) =
        PcapNic::open(spec(&folder, Some(&a_frame_a_millisecond(3)), true, 1.0, false)).unwrap();
    drop(nic);
    wait_for_end(files.reader.unwrap().ended());
    wait_for_end(files.writer.unwrap().fd());
}

#[test]
fn what_was_recorded_is_what_came_out() {
    for virtual_time in [true, false] {
        let folder = Folder::new();
        let (mut bench, files) = open(spec(&folder, None, true, 1.0, virtual_time));
        let frames: Vec<_> = (0..300).map(|i| numbered(i, 60 + i as usize * 5)).collect();
        let start = bench.now;
        for frame in &frames {
            assert_eq!(bench.send(std::slice::from_ref(frame)), 1);
            bench.advance(1_000_000);
        }
        assert_eq!(
            bench.send_edited(&frames[..1], TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE }),
            1
        );
        bench.detach();
        wait_for_end(files.writer.unwrap().fd());
        let (recorded, _, end) = read(&std::fs::read(folder.path("out")).unwrap());
        assert_eq!(end, Some(End::Whole));
        let times: Vec<u64> = recorded.iter().map(|(time, _)| *time).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000));
        if virtual_time {
            assert_eq!(times[0], start);
        } else {
            assert!(times[0].abs_diff(crate::clock::realtime()) < 3_600_000_000_000);
        }
        let data: Vec<_> = recorded.into_iter().map(|(_, data)| data).collect();
        assert_eq!(data[..300], frames);
        assert_eq!(data[300].len(), 64);
    }
}

#[test]
fn a_reader_that_does_not_keep_up_costs_frames_of_the_recording() {
    let folder = Folder::new();
    make_fifo(&folder.path("out"));
    let write = Some(fifo(&folder.path("out"), libc::O_RDWR));
    let (mut bench, files) = open(Spec { write, ..Spec::default() });
    let frames: Vec<_> = (0..200).map(|i| numbered(i, 60_000)).collect();
    let taken = bench.send(&frames);
    assert!(taken < 200 && bench.dropped(DropReason::TxFull) == 200 - taken as u64);
    let handle = files.writer.unwrap();
    assert_eq!((handle.lost.get(), handle.written.get()), (200 - taken as u64, taken as u64));
    bench.detach();
    // Nobody reads: it gives up by itself.
    wait_for_end(handle.fd());
    assert!(handle.error().is_some());
}

#[test]
fn a_disk_that_is_full_is_told_once() {
    let write = Some(File::options().write(true).open("/dev/full").unwrap().into());
    let (mut bench, files) = open(Spec { write, ..Spec::default() });
    wait_for_end(files.writer.unwrap().fd());
    assert_eq!(bench.send(&[numbered(1, 60), numbered(2, 60)]), 0);
    assert_eq!(bench.send(&[numbered(3, 60)]), 0);
    assert_eq!(bench.dropped(DropReason::TxError), 3);
    assert_eq!(bench.log, ["the recording ends here: No space left on device"]);
    assert!(bench.nic.carrier());
}

#[test]
fn without_a_recording_it_is_a_sink() {
    let folder = Folder::new();
    let (mut bench, _) = open(spec(&folder, Some(&a_frame_a_millisecond(1)), false, 1.0, true));
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    bench.nic.set_link(false, bench.now);
    bench.settle();
    assert_eq!(bench.carrier, [false]);
}
