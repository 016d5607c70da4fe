#![allow(clippy::unwrap_used)]

use super::*;
use nics::Offload;
use nics::bpf::Insn;
use std::fs::File;
use std::io::{Read, Seek};

/// A file without a name, and its descriptor for the capture.
fn file() -> (File, OwnedFd) {
    let path = std::env::temp_dir().join(format!(
        "vnet-capture-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let fd = file.try_clone().unwrap().into();
    (file, fd)
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = vec![];
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn wait(handle: &Handle) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !handle.has_ended() {
        assert!(std::time::Instant::now() < deadline, "the writer did not end");
        std::thread::yield_now();
    }
}

fn word(b: &[u8]) -> u32 {
    u32::from_le_bytes(b[..4].try_into().unwrap())
}

/// By code.
type Options = BTreeMap<u16, Vec<u8>>;

#[derive(Debug, Default)]
struct Parsed {
    interfaces: Vec<String>,
    packets: Vec<Packet>,
    /// (interface, options)
    statistics: Vec<(u32, Options)>,
}

/// (interface, time, kept, original length, options)
type Packet = (u32, u64, Vec<u8>, u32, Options);

fn options(mut bytes: &[u8]) -> Options {
    let half = |b: &[u8]| u16::from_le_bytes(b[..2].try_into().unwrap());
    let mut found = BTreeMap::new();
    while half(bytes) != 0 {
        let len = usize::from(half(&bytes[2..]));
        found.insert(half(bytes), bytes[4..4 + len].to_vec());
        bytes = &bytes[4 + len.next_multiple_of(4)..];
    }
    found
}

fn parse(mut bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    assert_eq!(word(bytes), 0x0a0d_0d0a);
    while !bytes.is_empty() {
        let (kind, len) = (word(bytes), word(&bytes[4..]) as usize);
        assert_eq!(word(&bytes[len - 4..]) as usize, len);
        let body = &bytes[8..len - 4];
        match kind {
            1 => {
                let name = options(&body[8..])[&2].clone();
                parsed.interfaces.push(String::from_utf8(name).unwrap());
            }
            5 => parsed.statistics.push((word(body), options(&body[12..]))),
            6 => {
                let kept = word(&body[12..]) as usize;
                let time = u64::from(word(&body[4..])) << 32 | u64::from(word(&body[8..]));
                let told = options(&body[20 + kept.next_multiple_of(4)..]);
                parsed.packets.push((
                    word(body),
                    time,
                    body[20..20 + kept].to_vec(),
                    word(&body[16..]),
                    told,
                ));
                assert!((word(body) as usize) < parsed.interfaces.len());
            }
            _ => assert_eq!(kind, 0x0a0d_0d0a),
        }
        bytes = &bytes[len..];
    }
    parsed
}

fn count(options: &Options, code: u16) -> u64 {
    u64::from_le_bytes(options[&code].as_slice().try_into().unwrap())
}

fn seen(now: Nanos, port: PortId, packet: u64) -> Sighting {
    Sighting { now, port, vlan: 10, packet, dropped: None }
}

fn named(name: &str) -> PortInfo {
    PortInfo { name: name.into(), ..PortInfo::default() }
}

fn both(mut check: impl FnMut(bool)) {
    check(true);
    check(false);
}

#[test]
fn a_frame_is_seen_at_both_its_ports() {
    both(|inline| {
        let (out, fd) = file();
        let mut set = CaptureSet::default();
        set.describe(3, named("web.0"));
        set.describe(5, named("db.0"));
        assert!(!set.any() && !set.wants(3));
        let spec = Spec { all: true, inline, epoch: 1 << 60, ..Spec::default() };
        let (id, handle) = set.start(50, spec, fd).unwrap();
        assert!(set.any() && set.wants(3) && set.wants(4095));
        let data: Vec<u8> = (0..200).map(|i| i as u8).collect();
        let frame = Frame::flat(&data, Offload::NONE);
        set.rx(&seen(100, 3, 7), &frame);
        let edit = TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE };
        set.tx(&seen(100, 5, 7), &TxFrame { frame: &frame, edit });
        let dropped = Some(DropReason::TxFull);
        set.tx(&Sighting { dropped, ..seen(101, 9, 7) }, &TxFrame { frame: &frame, edit: TagEdit::NONE });
        set.flush(0, true, true);
        set.stop(500, id);
        assert!(!set.any() && !set.wants(3));
        wait(&handle);
        assert_eq!(handle.error(), None);
        let bytes = contents(out);
        assert_eq!(handle.bytes.get(), bytes.len() as u64);
        let parsed = parse(&bytes);
        assert_eq!(parsed.interfaces, ["web.0", "db.0", "port9"]);
        let [rx, tx, lost] = parsed.packets.as_slice() else { panic!("{parsed:?}") };
        assert_eq!((rx.0, rx.1, &rx.2, rx.3), (0, (1 << 60) + 100, &data, 200));
        assert_eq!((tx.0, tx.3), (1, 204));
        assert_eq!(tx.2, [&data[..12], &[0x81, 0, 0, 5], &data[12..]].concat());
        assert_eq!(rx.4[&5], tx.4[&5]);
        assert_eq!((rx.4[&2][0] & 3, tx.4[&2][0] & 3), (1, 2));
        assert!(!rx.4.contains_key(&1) && lost.4[&1].starts_with(b"dropped: tx-full: "));
        assert_eq!(lost.4[&7], b"\0tx-full");
        for (i, (interface, told)) in parsed.statistics.iter().enumerate() {
            assert_eq!(*interface as usize, i);
            assert_eq!([4, 5, 6, 8].map(|code| count(told, code)), [1, 0, 1, 1]);
        }
        assert_eq!(parsed.statistics.len(), 3);
    });
}

#[test]
fn the_same_frames_give_the_same_bytes_whoever_writes() {
    let run = |inline| {
        let (out, fd) = file();
        let mut set = CaptureSet::default();
        set.describe(1, named("a"));
        let (id, handle) = set.start(0, Spec { all: true, inline, ..Spec::default() }, fd).unwrap();
        for i in 0..1000u64 {
            let data = vec![i as u8; 60 + i as usize];
            set.rx(&seen(i, (i % 3) as PortId, i), &Frame::flat(&data, Offload::NONE));
            if i % 7 == 0 {
                set.flush(0, true, true);
            }
        }
        set.stop(1000, id);
        wait(&handle);
        contents(out)
    };
    let first = run(true);
    assert!(first == run(true) && first == run(false));
}

#[test]
fn ports_vlans_drops_and_lengths_are_selected() {
    both(|inline| {
        let (out, fd) = file();
        let mut set = CaptureSet::default();
        let vlans = [20].into_iter().collect();
        let direction = Some(Direction::In);
        let spec = Spec { ports: vec![1], vlans, direction, snaplen: 20, inline, ..Spec::default() };
        let (id, handle) = set.start(0, spec, fd).unwrap();
        let (drops, drops_fd) = file();
        let spec = Spec { all: true, drops_only: true, limit: Some(1), inline, ..Spec::default() };
        let (_, drops_handle) = set.start(0, spec, drops_fd).unwrap();
        let data = vec![9; 1500];
        let frame = Frame::flat(&data, Offload::NONE);
        set.rx(&seen(1, 1, 1), &frame);
        set.tx(&seen(1, 1, 1), &TxFrame { frame: &frame, edit: TagEdit::NONE });
        set.rx(&seen(2, 2, 2), &frame);
        set.rx(&Sighting { vlan: 20, ..seen(3, 2, 3) }, &frame);
        for packet in [4, 5] {
            set.rx(&Sighting { dropped: Some(DropReason::NoMember), ..seen(4, 2, packet) }, &frame);
        }
        set.flush(0, true, true);
        wait(&drops_handle);
        set.stop(9, id);
        set.stop(9, id);
        wait(&handle);
        let parsed = parse(&contents(out));
        let ids: Vec<u64> = parsed.packets.iter().map(|p| count(&p.4, 5)).collect();
        assert_eq!(ids, [1, 3]);
        assert!(parsed.packets.iter().all(|p| p.2 == [9; 20] && p.3 == 1500));
        let parsed = parse(&contents(drops));
        let ids: Vec<u64> = parsed.packets.iter().map(|p| count(&p.4, 5)).collect();
        assert_eq!(ids, [4]);
    });
}

#[test]
fn a_filter_sees_the_whole_frame_and_the_tag_of_its_port() {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    // A byte far behind the head is 7, and the frame is tagged; then keep 100 bytes.
    let program = Program::new(&[
        insn(0x28, 0, 0, 12),
        insn(0x15, 0, 3, 0x8100),
        insn(0x30, 0, 0, 1004),
        insn(0x15, 0, 1, 7),
        insn(0x06, 0, 0, 100),
        insn(0x06, 0, 0, 0),
    ]);
    let (out, fd) = file();
    let mut set = CaptureSet::default();
    let spec = Spec { all: true, program: Some(program.unwrap()), inline: true, ..Spec::default() };
    let (id, handle) = set.start(0, spec, fd).unwrap();
    let mut data = vec![1; 1500];
    let edit = TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE };
    for (packet, byte) in [(1, 7), (2, 8)] {
        data[1000] = byte;
        let frame = Frame::flat(&data, Offload::NONE);
        set.rx(&seen(1, 1, packet), &frame);
        set.tx(&seen(1, 2, packet), &TxFrame { frame: &frame, edit });
    }
    set.stop(9, id);
    let parsed = parse(&contents(out));
    assert_eq!(parsed.packets.len(), 1);
    let (interface, _, kept, len, told) = &parsed.packets[0];
    assert_eq!((*interface, kept.len(), *len, count(told, 5)), (1, 100, 1504, 1));
    assert_eq!(kept[12..16], [0x81, 0, 0, 5]);
    assert_eq!([&handle.received, &handle.accepted, &handle.written].map(|c| c.get()), [4, 1, 1]);
    assert_eq!(count(&parsed.statistics[0].1, 4), 2);
    assert_eq!(count(&parsed.statistics[0].1, 6), 0);
}

#[test]
fn a_reader_that_stops_costs_the_capture_frames_and_nobody_time() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut set = CaptureSet::default();
    let spec = Spec { all: true, room: 1 << 16, ..Spec::default() };
    let (id, handle) = set.start(0, spec, writer.into()).unwrap();
    let data = vec![5; 1000];
    for i in 0..1000 {
        set.rx(&seen(i, 1, i), &Frame::flat(&data, Offload::NONE));
        set.flush(0, true, true);
    }
    let lost = handle.lost.get();
    assert!(lost > 700, "{lost}");
    // It reads on: what was kept comes out, and then what comes next tells how many are missing.
    let thread = std::thread::spawn(move || {
        let mut bytes = vec![];
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while handle.lost.get() + handle.written.get() == handle.received.get()
        && handle.lost.get() - lost >= handle.received.get() - 1000
    {
        assert!(std::time::Instant::now() < deadline);
        set.rx(&seen(2000, 1, 2000), &Frame::flat(&data, Offload::NONE));
        set.flush(0, true, true);
    }
    set.stop(3000, id);
    wait(&handle);
    let parsed = parse(&thread.join().unwrap());
    assert_eq!(handle.error(), None);
    let gaps: u64 = parsed.packets.iter().filter_map(|p| p.4.get(&4).map(|_| count(&p.4, 4))).sum();
    let told = &parsed.statistics[0].1;
    assert_eq!(gaps, handle.lost.get());
    assert_eq!(count(told, 5), handle.lost.get());
    assert_eq!(count(told, 8), parsed.packets.len() as u64);
    assert_eq!(count(told, 4), count(told, 5) + count(told, 8));
}

#[test]
fn a_reader_that_is_gone_ends_the_capture() {
    let (reader, writer) = io::pipe().unwrap();
    let mut set = CaptureSet::default();
    let (_, handle) = set.start(0, Spec { all: true, ..Spec::default() }, writer.into()).unwrap();
    drop(reader);
    let data = vec![5; 1000];
    set.rx(&seen(1, 1, 1), &Frame::flat(&data, Offload::NONE));
    set.flush(0, true, true);
    wait(&handle);
    assert_eq!(handle.error().unwrap().0, Some(32));
    set.flush(0, true, true);
    assert!(!set.any());
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_the_end() {
    let (reader, writer) = io::pipe().unwrap();
    let mut set = CaptureSet::default();
    let (id, handle) = set.start(0, Spec { all: true, ..Spec::default() }, writer.into()).unwrap();
    let data = vec![5; 60_000];
    for i in 0..100 {
        set.rx(&seen(i, 1, i), &Frame::flat(&data, Offload::NONE));
    }
    set.flush(0, true, true);
    set.stop(1, id);
    wait(&handle);
    assert!(handle.error().unwrap().1.contains("takes nothing"));
    drop(reader);
}

#[test]
fn a_full_disk_ends_the_capture() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut set = CaptureSet::default();
    let (_, handle) = set.start(0, Spec { all: true, ..Spec::default() }, full.into()).unwrap();
    set.flush(0, true, true);
    wait(&handle);
    assert_eq!(handle.error().unwrap().0, Some(28));
    set.flush(0, true, true);
    assert!(!set.any());
}

#[test]
fn a_port_number_used_again_is_another_interface() {
    let (out, fd) = file();
    let mut set = CaptureSet::default();
    set.describe(1, named("old"));
    let (id, _) = set.start(0, Spec { all: true, inline: true, ..Spec::default() }, fd).unwrap();
    let data = vec![5; 60];
    set.rx(&seen(1, 1, 1), &Frame::flat(&data, Offload::NONE));
    set.forget(1);
    set.describe(1, named("new"));
    set.rx(&seen(2, 1, 2), &Frame::flat(&data, Offload::NONE));
    set.stop(3, id);
    let parsed = parse(&contents(out));
    assert_eq!(parsed.interfaces, ["old", "new"]);
    assert_eq!(parsed.packets.iter().map(|p| p.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(parsed.statistics.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_port_that_is_gone_is_not_looked_at_under_its_number() {
    let (out, fd) = file();
    let mut set = CaptureSet::default();
    set.describe(1, named("old"));
    let spec = Spec { ports: vec![1, 2], inline: true, ..Spec::default() };
    let (id, _) = set.start(0, spec, fd).unwrap();
    let data = vec![5; 60];
    set.rx(&seen(1, 1, 1), &Frame::flat(&data, Offload::NONE));
    set.forget(1);
    assert!(!set.wants(1) && set.wants(2));
    set.describe(1, named("another's"));
    set.rx(&seen(2, 1, 2), &Frame::flat(&data, Offload::NONE));
    set.stop(3, id);
    let parsed = parse(&contents(out));
    assert_eq!(parsed.interfaces, ["old"]);
    assert_eq!(parsed.packets.iter().map(|p| count(&p.4, 5)).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_capture_goes_on_at_the_ports_and_vlans_that_it_is_told() {
    let (out, fd) = file();
    let mut set = CaptureSet::default();
    set.describe(1, named("web.0"));
    set.describe(2, named("db.0"));
    let spec = Spec { vlans: [10].into_iter().collect(), inline: true, ..Spec::default() };
    let (id, _) = set.start(0, spec, fd).unwrap();
    let data = vec![5; 60];
    let frame = Frame::flat(&data, Offload::NONE);
    set.rx(&seen(1, 1, 1), &frame);
    set.select(id, &[], &[30].into_iter().collect());
    set.rx(&seen(2, 1, 2), &frame);
    set.rx(&Sighting { vlan: 30, ..seen(3, 1, 3) }, &frame);
    // Its ports have their interfaces before their first frames.
    set.select(id, &[2], &VlanSet::default());
    assert!(!set.wants(1) && set.wants(2));
    set.rx(&seen(4, 1, 4), &frame);
    set.rx(&seen(5, 2, 5), &frame);
    set.select(id, &[], &VlanSet::default());
    assert!(set.any() && !set.wants(2));
    set.stop(6, id);
    set.select(id, &[1], &VlanSet::default());
    assert!(!set.wants(1));
    let parsed = parse(&contents(out));
    assert_eq!(parsed.interfaces, ["web.0", "db.0"]);
    assert_eq!(parsed.packets.iter().map(|p| count(&p.4, 5)).collect::<Vec<_>>(), [1, 3, 5]);
}

#[test]
fn what_there_is_no_time_for_is_counted_where_it_passed() {
    let (out, fd) = file();
    let mut set = CaptureSet::default();
    let (id, handle) = set.start(0, Spec { all: true, ..Spec::default() }, fd).unwrap();
    let data = [7; 60];
    let frame = Frame::flat(&data, Offload::NONE);
    set.flush(0, false, false);
    let mut seen_whole = 0;
    for packet in 0..1_000_000 {
        set.settle();
        if !set.looks_at(3) {
            break;
        }
        set.rx(&seen(0, 3, packet), &frame);
        seen_whole += 1;
    }
    assert!((10_000..100_000).contains(&seen_whole), "{seen_whole}");
    // Told of one by one, and at once.
    set.rx(&seen(0, 3, 0), &frame);
    set.tx(&seen(0, 5, 0), &TxFrame { frame: &frame, edit: TagEdit::NONE });
    set.pass_over(3, 10, Direction::In, 64, 0);
    // After a second of rest there is time again.
    set.flush(0, true, true);
    set.flush(1_000_000_000, false, false);
    set.settle();
    assert!(set.looks_at(3));
    set.rx(&seen(1_000_000_000, 3, 1), &frame);
    set.stop(1_000_000_001, id);
    wait(&handle);
    assert_eq!((handle.lost.get(), handle.written.get()), (66, seen_whole + 1));
    let parsed = parse(&contents(out));
    let last = parsed.packets.last().unwrap();
    assert_eq!((last.0, count(&last.4, 4)), (0, 65));
    let lost: Vec<u64> = parsed.statistics.iter().map(|(_, options)| count(options, 5)).collect();
    assert_eq!(lost, [65, 1]);
}

#[test]
fn a_capture_that_is_to_be_complete_has_all_the_time_it_needs() {
    let (_out, fd) = file();
    let mut set = CaptureSet::default();
    let spec = Spec { all: true, complete: true, ..Spec::default() };
    let (id, handle) = set.start(0, spec, fd).unwrap();
    let data = [7; 60];
    let frame = Frame::flat(&data, Offload::NONE);
    for packet in 0..50_000 {
        set.settle();
        assert!(set.looks_at(3));
        set.rx(&seen(0, 3, packet), &frame);
    }
    set.stop(1, id);
    wait(&handle);
    assert_eq!((handle.lost.get(), handle.written.get()), (0, 50_000));
}
