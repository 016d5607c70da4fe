//! A door that records what comes out.

use super::*;
use switch::TagEdit;

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
