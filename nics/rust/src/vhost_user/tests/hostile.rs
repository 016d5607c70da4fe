//! What a hostile guest does to its rings and its memory.

use super::super::protocol::feature::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, RING_PACKED};
use super::front::{GPA, Guest, PLAIN, SIZE, frame, pair};
use super::host::{Host, alone, open_fds};
use crate::frame::{Arena, Burst, TxFrame};
use crate::nic::{Nic, TxReport};
use crate::socket::Role;
use crate::stream::StreamNic;
use crate::testkit::{Bench, Folder, PATIENCE};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use switch::{DropReason, TagEdit};

const FEATURES: u64 = PLAIN | INDIRECT_DESC;

/// The door noticed: link down, one line that says why; nothing passes; a reset brings it back.
fn noticed(host: &mut Host, guest: &mut Guest, why: &str) {
    host.receive_all();
    let (carrier, log) = host.news();
    assert_eq!(carrier.last(), Some(&false), "{why}");
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains(why), "{log:?} should say {why:?}");
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    assert_eq!(host.receive_all(), []);
    assert_eq!(host.news(), (vec![], vec![]));
    // The driver starts anew: the front-end stops the rings and sets them up again.
    host.wait(6_000_000_000);
    for ring in 0..2 {
        guest.ask(host, 11, &pair(ring, 0));
    }
    let mut fresh = Guest::over(guest.sock.try_clone().unwrap(), 256);
    fresh.set_memory(host);
    for ring in 0..2 {
        fresh.start_ring(host, ring, 0);
    }
    fresh.fill_all(1);
    assert!(host.nic.carrier(), "a reset brings it back");
    fresh.send(&frame(100, 1));
    assert_eq!(host.receive_all().len(), 1);
    assert_eq!(host.send(&[frame(60, 0)]), []);
    assert_eq!(fresh.receive().len(), 1);
    assert_eq!(host.news(), (vec![true], vec![]));
}

fn case(why: &str, attack: impl FnOnce(&mut Host, &mut Guest)) {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    assert_eq!(host.news(), (vec![true], vec![]));
    // Some good traffic first.
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
    attack(&mut host, &mut guest);
    noticed(&mut host, &mut guest, why);
}

#[test]
fn a_chain_that_loops() {
    case("loops", |_, guest| {
        guest.desc(1, 5, GPA, 64, 1, 6);
        guest.desc(1, 6, GPA, 64, 1, 5);
        guest.offer(1, 5);
    });
    case("loops", |_, guest| {
        guest.desc(1, 5, GPA, 0, 1, 5);
        guest.offer(1, 5);
    });
    case("loops", |_, guest| {
        let at = 0x1c0000;
        guest.write_desc(at, GPA, 64, 1, 1);
        guest.write_desc(at + 16, GPA, 64, 1, 0);
        guest.desc(1, 5, GPA + at, 32, 4, 0);
        guest.offer(1, 5);
    });
}

#[test]
fn a_chain_out_of_the_table() {
    case("loops or is longer", |_, guest| {
        guest.desc(1, 5, GPA, 64, 1, 256);
        guest.offer(1, 5);
    });
    case("loops or is longer", |_, guest| {
        let at = 0x1c0000;
        guest.write_desc(at, GPA, 64, 1, 2);
        guest.desc(1, 5, GPA + at, 32, 4, 0);
        guest.offer(1, 5);
    });
    case("not in the ring", |_, guest| guest.offer(1, 256));
    case("not in the ring", |_, guest| guest.offer(1, u16::MAX));
    case("not in the ring", |host, guest| {
        for i in 0..256 {
            guest.u16(guest.rings[0].avail + 4 + 2 * i).store(300, Ordering::SeqCst);
        }
        // Enough to use up what was taken ahead.
        for _ in 0..8 {
            host.send(&vec![frame(60, 0); 64]);
        }
    });
}

#[test]
fn addresses_outside_memory_and_lengths_that_overflow() {
    for (addr, len) in [
        (GPA - 1, 64),
        (GPA + SIZE - 1, 64),
        (GPA + SIZE, 64),
        (0, 64),
        (u64::MAX, 64),
        (u64::MAX - 31, 64),
        (GPA, u32::MAX),
        (GPA + SIZE - 64, u32::MAX),
    ] {
        case("outside guest memory", |_, guest| {
            guest.desc(1, 5, addr, len, 0, 0);
            guest.offer(1, 5);
        });
        case("outside guest memory", |host, guest| {
            for index in 0..256 {
                guest.desc(0, index, addr, len, 2, 0);
            }
            for _ in 0..8 {
                guest.receive();
                for index in 0..256 {
                    guest.desc(0, index, addr, len, 2, 0);
                }
                host.send(&vec![frame(60, 0); 64]);
            }
        });
    }
    case("outside guest memory", |_, guest| {
        guest.desc(1, 5, GPA + SIZE, 64, 4, 0);
        guest.offer(1, 5);
    });
}

#[test]
fn indirect_tables_that_are_none() {
    for len in [0, 8, 17, 40] {
        case("indirect", |_, guest| {
            guest.desc(1, 5, GPA, len, 4, 0);
            guest.offer(1, 5);
        });
    }
    case("indirect", |_, guest| {
        guest.desc(1, 5, GPA + 0x1c0000, 16, 5, 6);
        guest.offer(1, 5);
    });
    // A table in a table.
    case("indirect", |_, guest| {
        guest.write_desc(0x1c0000, GPA + 0x1c0000, 16, 4, 0);
        guest.desc(1, 5, GPA + 0x1c0000, 16, 4, 0);
        guest.offer(1, 5);
    });
    // One that was never negotiated.
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    guest.write_desc(0x1c0000, GPA, 64, 0, 0);
    guest.desc(1, 5, GPA + 0x1c0000, 16, 4, 0);
    guest.offer(1, 5);
    host.receive_all();
    assert!(!host.nic.carrier());
}

#[test]
fn buffers_of_the_wrong_direction() {
    case("direction", |_, guest| {
        guest.desc(1, 5, GPA, 64, 2, 0);
        guest.offer(1, 5);
    });
    case("direction", |host, guest| {
        for index in 0..256 {
            guest.desc(0, index, GPA, 2048, 0, 0);
        }
        host.send(&[frame(60, 0)]);
    });
}

#[test]
fn what_comes_before_a_wrong_buffer_is_sent_and_the_rest_is_named() {
    for packed in [0, RING_PACKED] {
        // It is found when it is used, or when it is taken.
        for (at, late) in [(0, false), (2, false), (2, true)] {
            let mut host = Host::new();
            let mut guest = Guest::connect(&mut host, 256);
            guest.set_up(&mut host, FEATURES | packed, 0);
            for ring in 0..2 {
                guest.start_ring(&mut host, ring, 0);
            }
            for i in 0..5 {
                let wrong = i == at;
                let buffer = GPA + guest.buffer(0, i);
                match (packed, wrong, late) {
                    (0, true, true) => guest.offer(0, 999),
                    (0, ..) => {
                        guest.desc(0, i, buffer, 2048, if wrong { 0 } else { 2 }, 0);
                        guest.offer(0, i);
                    }
                    (_, true, true) => {
                        // A chain without end.
                        let rest: Vec<_> = (i..256).map(|_| (buffer, 64, 3)).collect();
                        guest.offer_packed(0, &rest, i);
                        break;
                    }
                    _ => guest.offer_packed(0, &[(buffer, 2048, if wrong { 0 } else { 2 })], i),
                }
            }
            let report = host.send(&vec![frame(60, 1); 5]);
            let sent = if late { 0 } else { at as u8 };
            assert_eq!(report, (sent..5).map(|i| (i, DropReason::TxNoCarrier)).collect::<Vec<_>>());
            assert_eq!(guest.used(0), (0..sent).map(|id| (u32::from(id), 72)).collect::<Vec<_>>());
            assert!(!host.nic.carrier());
        }
    }
}

#[test]
fn indexes_that_jump() {
    for jump in [257, 1000, 32768, 65000] {
        case("jumped", |_, guest| {
            guest.u16(guest.rings[1].avail + 2).fetch_add(jump, Ordering::SeqCst);
        });
        case("jumped", |host, guest| {
            host.send(&[frame(60, 0)]);
            guest.u16(guest.rings[0].avail + 2).fetch_add(jump, Ordering::SeqCst);
            for _ in 0..8 {
                host.send(&vec![frame(60, 0); 64]);
            }
        });
    }
}

#[test]
fn more_in_flight_than_the_ring_holds() {
    // The driver makes buffers available again that it was not given back.
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for _ in 0..256 {
        guest.send(&frame(60, 0));
    }
    let mut arena = Arena::new();
    let mut burst = Burst::new();
    host.nic.rx_burst(1, &mut arena, &mut burst);
    assert_eq!(burst.len(), 64);
    guest.u16(guest.rings[1].avail + 2).fetch_add(64, Ordering::SeqCst);
    drop(burst);
    host.nic.rx_done();
    assert!(host.receive_all().len() <= 256);
    guest.u16(guest.rings[1].avail + 2).fetch_add(257, Ordering::SeqCst);
    host.receive_all();
    assert!(!host.nic.carrier());
}

#[test]
fn frames_that_are_none_are_counted_and_given_back() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    // No bytes, less than a header, a header and nothing else, more than any frame has.
    for len in [0, 1, 11, 12, 65_535 + 22 + 12 + 1, 1 << 20] {
        guest.desc(1, 5, GPA, len, 0, 0);
        guest.offer(1, 5);
        assert_eq!(host.receive_all(), []);
        assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 1)), "{len}");
        assert_eq!(guest.used(1), [(5, 0)]);
    }
    guest.desc(1, 5, GPA, 5, 1, 6);
    guest.desc(1, 6, GPA, 7, 0, 0);
    guest.offer(1, 5);
    assert_eq!(host.receive_all(), []);
    assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 1)));
    assert!(host.nic.carrier());
    assert_eq!(host.news(), (vec![true], vec![]));
    // Good frames before and behind bad ones are not harmed.
    guest.used(1);
    guest.send(&frame(60, 1));
    guest.desc(1, 5, GPA, 3, 0, 0);
    guest.offer(1, 5);
    guest.send(&frame(60, 2));
    assert_eq!(host.receive_all().len(), 2);
    assert_eq!(guest.used(1).len(), 3);
}

#[test]
fn tiny_receive_buffers_hold_what_they_can() {
    for len in [1, 5, 12, 13] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        guest.set_up(&mut host, PLAIN, 0);
        guest.start_ring(&mut host, 0, 0);
        guest.start_ring(&mut host, 1, 0);
        while guest.post(0, len) {}
        assert_eq!(host.send(&[frame(60, 0)]), []);
        let used = guest.used(0);
        assert_eq!(used.len(), 72usize.div_ceil(len as usize));
        assert!(used.iter().all(|(_, n)| *n <= len));
        assert_eq!(host.send(&[frame(5000, 0)]), [(0, DropReason::TxFull)]);
        assert!(host.nic.carrier());
    }
    // And of no bytes at all, for ever.
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, PLAIN, 0);
    guest.start_ring(&mut host, 0, 0);
    guest.start_ring(&mut host, 1, 0);
    while guest.post(0, 0) {}
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxFull)]);
}

#[test]
fn memory_that_is_truncated_breaks_its_own_device_only() {
    for features in [PLAIN, FEATURES | EVENT_IDX | IN_ORDER] {
        let mut sender = Host::new();
        let mut other = Host::new();
        let mut evil = Guest::running(&mut sender, features);
        let mut good = Guest::running(&mut other, PLAIN);
        evil.send(&frame(2000, 1));
        evil.send(&frame(60, 2));
        let mut arena = Arena::new();
        let mut burst = Burst::new();
        sender.nic.rx_burst(1, &mut arena, &mut burst);
        // Between being lent and being copied.
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(evil.memfd.as_raw_fd(), 0) }, 0);
        let frames: Vec<_> = burst.iter().map(|frame| TxFrame { frame, edit: TagEdit::NONE }).collect();
        let mut report = TxReport::default();
        other.nic.tx_burst(1, &frames, &mut report);
        assert!(report.drops().is_empty());
        drop(burst);
        sender.nic.rx_done();
        let got = good.receive();
        assert_eq!(got[0].1[..128], frame(2000, 1)[..128], "what was looked at is what is sent");
        assert!(got[0].1[128..].iter().all(|byte| *byte == 0));
        assert_eq!(got[1].1, frame(60, 2));
        sender.receive_all();
        let (carrier, log) = sender.news();
        assert_eq!(carrier, [true, false]);
        assert!(log[0].contains("truncated"), "{log:?}");
        // Nobody else has noticed.
        good.send(&frame(60, 4));
        assert_eq!(other.receive_all().len(), 1);
        assert_eq!(other.send(&[frame(1500, 3)]), []);
        assert_eq!(good.receive().len(), 1);
        assert_eq!(other.news(), (vec![true], vec![]));
        // Its front-end may come back with memory that is there.
        std::mem::forget(evil.memfd.try_clone());
        drop(evil);
        sender.poll();
        let mut fresh = Guest::running(&mut sender, PLAIN);
        fresh.send(&frame(60, 0));
        assert_eq!(sender.receive_all().len(), 1);
    }
}

#[test]
fn memory_that_is_truncated_ends_no_stream_of_another_guest() {
    let folder = Folder::new();
    let mut other = Bench::new(StreamNic::open(folder.endpoint("vm.sock"), Role::Server).unwrap());
    let mut peer = UnixStream::connect(folder.path("vm.sock")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    other.until("connected", |b| b.nic.carrier());
    let mut sender = Host::new();
    let mut evil = Guest::running(&mut sender, PLAIN);
    // So many that they are sent right from where they lie.
    let sent: Vec<_> = (0..20).map(|i| frame(1500, i)).collect();
    for bytes in &sent {
        evil.send(bytes);
    }
    let mut arena = Arena::new();
    let mut burst = Burst::new();
    sender.nic.rx_burst(1, &mut arena, &mut burst);
    assert_eq!(burst.len(), sent.len());
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(evil.memfd.as_raw_fd(), 0) }, 0);
    let frames: Vec<_> = burst.iter().map(|frame| TxFrame { frame, edit: TagEdit::NONE }).collect();
    let mut report = TxReport::default();
    other.nic.tx_burst(1, &frames, &mut report);
    assert!(report.drops().is_empty());
    other.nic.flush(1);
    assert!(other.nic.carrier(), "it is not its peer that did wrong");
    drop(burst);
    sender.nic.rx_done();
    sender.receive_all();
    let (carrier, log) = sender.news();
    assert_eq!(carrier, [true, false]);
    assert!(log[0].contains("truncated"), "{log:?}");
    // The peer finds each frame where it should be.
    for bytes in &sent {
        let mut got = vec![0; 4 + bytes.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got[..4], 1500u32.to_be_bytes());
        assert_eq!(got[4..132], bytes[..128], "what was looked at is what is sent");
        assert!(got[132..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn memory_that_is_truncated_while_frames_are_delivered() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, PLAIN);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(guest.memfd.as_raw_fd(), 0x1000) }, 0);
    for _ in 0..10 {
        host.send(&vec![frame(1500, 0); 64]);
    }
    assert!(!host.nic.carrier());
    assert!(!host.nic.polled());
    assert!(host.nic.arm());
}

#[test]
fn memory_that_is_rewritten_while_we_read() {
    let mut host = Host::new();
    let mut got = 0;
    for round in 0..60 {
        let packed = if round % 2 == 0 { 0 } else { RING_PACKED };
        let mut guest = Guest::connect(&mut host, 256);
        guest.set_up(&mut host, FEATURES | packed, 1);
        // Another processor of the guest writes what is nearly right to all descriptors and to the frames
        // themselves, at any moment: lengths, upper halves of addresses, flags, ids, EtherTypes.
        let at = |offset: u64| std::ptr::from_ref(guest.u16(offset)) as usize;
        let mut words = vec![];
        for (ring, i) in (0..512u64).map(|n| ((n % 2) as usize, n / 2)) {
            let desc = guest.rings[ring].desc + 16 * i;
            words.extend([
                (at(desc + 8), 2000u16),
                (at(desc + 10), 0),
                (at(desc + 2), (GPA >> 16) as u16 + 8),
            ]);
            words.extend([(at(desc + 12), ring as u16 ^ 1), (at(desc + 14), 0x80)]);
            words.push((at(guest.rings[ring].buffers + 24 + 64 * i), 0x0008));
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = 7 + round as u32;
                while !stop.load(Ordering::Relaxed) {
                    for (word, usual) in &words {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        // SAFETY: an even address in the guest's memory, which is there until the scope ends.
                        let word = unsafe { AtomicU16::from_ptr(*word as *mut u16) };
                        match random >> 24 {
                            0 => word.store((random >> 4) as u16, Ordering::Relaxed),
                            1..=99 => word.store(*usual, Ordering::Relaxed),
                            _ => {}
                        }
                    }
                }
            });
            for burst in 0..8u64 {
                for i in 0..32 {
                    let addr = GPA + guest.rings[1].buffers + 64 * (burst + u64::from(i));
                    if packed == 0 {
                        guest.desc(1, i, addr, 100 + 20 * u32::from(i), 0, 0);
                        guest.offer(1, i);
                    } else {
                        guest.offer_packed(1, &[(addr, 100 + 20 * u32::from(i), 0)], i);
                    }
                }
                got += host.receive_all().len();
                host.send(&vec![frame(1500, 0); 32]);
                host.nic.take_drops();
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop(guest);
        host.poll();
        host.wait(6_000_000_000);
    }
    assert!(got > 60, "{got} frames: it broke before anything was read");
    let mut good = Guest::running(&mut host, PLAIN);
    good.send(&frame(100, 1));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn breaking_and_resetting_over_and_over_says_little_and_leaks_nothing() {
    if !alone(
        "vhost_user::tests::hostile::breaking_and_resetting_over_and_over_says_little_and_leaks_nothing",
    ) {
        return;
    }
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, FEATURES, 1);
    let mut before = 0;
    for round in 0..200 {
        guest.u16(guest.rings[1].avail + 2).fetch_add(1000, Ordering::SeqCst);
        host.receive_all();
        assert!(!host.nic.carrier());
        for ring in 0..2 {
            guest.ask(&mut host, 11, &pair(ring, 0));
            let r = guest.rings[ring as usize].clone();
            guest.u16(r.avail + 2).store(0, Ordering::SeqCst);
            guest.u16(r.used + 2).store(0, Ordering::SeqCst);
        }
        guest.set_memory(&mut host);
        guest.start_ring(&mut host, 0, 0);
        guest.start_ring(&mut host, 1, 0);
        assert!(host.nic.carrier());
        host.nic.until_closed();
        if round == 10 {
            before = open_fds();
        }
    }
    assert_eq!(open_fds(), before);
    let (_, log) = host.news();
    assert!(log.len() <= 2, "{} lines", log.len());
}
