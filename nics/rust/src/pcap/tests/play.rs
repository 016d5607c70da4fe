//! A door that plays a capture.

use super::*;
use std::io::Write;

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
