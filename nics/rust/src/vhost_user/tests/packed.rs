//! The packed ring: what it does of its own, and what a hostile guest does to it. What is the same
//! for both layouts is in `frames.rs` and `rings.rs`.

use super::super::protocol::feature::{EVENT_IDX, INDIRECT_DESC, LOG_ALL, RING_PACKED};
use super::front::{GPA, Guest, PLAIN, SIZE, frame, pair};
use super::host::{Host, count, memfd};
use super::restarts::receive_inflight;
use crate::nic::Nic;
use crate::offload::Offload;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use switch::DropReason;

const FEATURES: u64 = PLAIN | RING_PACKED | INDIRECT_DESC;
/// Bytes in guest memory that no ring and no buffer of these tests is in.
const FREE: u64 = 0x1c0000;

#[test]
fn chains_and_indirect_tables_wrap_around() {
    for indirect in [false, true] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 8);
        guest.set_up(&mut host, FEATURES, 1);
        let data = guest.rings[1].buffers;
        for round in 0..40usize {
            let bytes = frame(200 + round, round);
            guest.write(data, &[0; 12]);
            guest.write(data + 12, &bytes);
            let end = (12 + bytes.len()) as u32;
            // Header cut in two, a piece, and the rest: three descriptors of eight.
            let pieces: Vec<_> =
                [(0, 5), (5, 100), (100, end)].map(|(a, b)| (GPA + data + u64::from(a), b - a, 0)).to_vec();
            let id = (round % 8) as u16;
            if indirect {
                for (i, (addr, len, _)) in pieces.iter().enumerate() {
                    // NEXT means nothing in a table, nor do ids.
                    let at = FREE + 16 * i as u64;
                    guest.write(at, &addr.to_le_bytes());
                    guest.write(at + 8, &len.to_le_bytes());
                    guest.write(at + 12, &[9, 9, 1, 0]);
                }
                guest.offer_packed(1, &[(GPA + FREE, 48, 4)], id);
            } else {
                guest.offer_packed(1, &pieces, id);
            }
            assert_eq!(host.receive_all(), [(bytes, Offload::NONE)]);
            assert_eq!(guest.used(1), [(u32::from(id), 0)]);
        }
        assert_eq!(host.news().1, Vec::<String>::new());
    }
}

#[test]
fn a_frame_goes_into_a_chain() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 16);
    guest.set_up(&mut host, FEATURES, 0);
    guest.start_ring(&mut host, 0, 0);
    guest.start_ring(&mut host, 1, 0);
    let at = guest.rings[0].buffers;
    let bytes = frame(2500, 9);
    for round in 0..20u16 {
        guest.offer_packed(
            0,
            &[(GPA + at, 12, 2), (GPA + at + 0x1000, 1000, 2), (GPA + at + 0x2000, 2000, 2)],
            round % 16,
        );
        assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
        assert_eq!(guest.used(0), [(u32::from(round % 16), 2512)]);
        assert_eq!(guest.read(at, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(guest.read(at + 0x1000, 1000), bytes[..1000]);
        assert_eq!(guest.read(at + 0x2000, 1500), bytes[1000..]);
        assert_eq!(host.send(std::slice::from_ref(&bytes)), [(0, DropReason::TxFull)]);
    }
}

#[test]
fn a_guest_is_interrupted_when_it_wants_to_be() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, FEATURES | EVENT_IDX);
    let mut told = |wish: u32, frames: usize| {
        // What the driver wants to be told stands where a split ring has its available entries.
        guest.write(guest.rings[0].avail, &wish.to_le_bytes());
        host.wait(1_000_000);
        count(&guest.calls[0]);
        host.send(&vec![frame(60, 0); frames]);
        host.wait(100_000);
        count(&guest.calls[0])
    };
    assert_eq!(told(0, 5), 1, "whatever comes");
    assert_eq!(told(1 << 16, 5), 0, "nothing");
    // Ten were given back. Tell me of the fourteenth: that is place 13, in the first round.
    assert_eq!(told(2 << 16 | 0x8000 | 13, 3), 0);
    assert_eq!(told(2 << 16 | 0x8000 | 13, 1), 1);
    assert_eq!(told(2 << 16 | 0x8000 | 13, 1), 0);
    // Of one in the round after this one.
    assert_eq!(told(2 << 16 | 13, 1), 0);
}

#[test]
fn interrupts_are_named_across_the_end_of_the_ring() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 8);
    guest.set_up(&mut host, FEATURES | EVENT_IDX, 1);
    let mut place = 0u16;
    for round in 0..50u16 {
        let n = 1 + round % 4;
        let last = place + n - 1;
        let (index, wrap) = (last % 8, (last / 8).is_multiple_of(2));
        let wish = 2 << 16 | u32::from(index) | if wrap { 0x8000 } else { 0 };
        guest.write(guest.rings[0].avail, &wish.to_le_bytes());
        host.wait(1_000_000);
        count(&guest.calls[0]);
        for i in 0..n {
            assert_eq!(host.send(&[frame(60, 0)]), []);
            host.wait(100_000);
            assert_eq!(count(&guest.calls[0]), u64::from(i + 1 == n), "round {round}, frame {i} of {n}");
        }
        place += n;
        assert_eq!(guest.receive().len(), usize::from(n));
    }
}

#[test]
fn a_ring_is_stopped_and_goes_on_where_it_was() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    for i in 0..100 {
        guest.send(&frame(60, i));
    }
    host.receive();
    // What was taken ahead and not given back counts as not taken.
    assert_eq!(guest.ask(&mut host, 11, &pair(1, 0)) >> 32, 0x8040_8040);
    guest.start_ring(&mut host, 1, 64);
    assert_eq!(host.receive_all().len(), 36);
    assert_eq!(guest.reclaim(1), 100);
    // Another memory table stops and starts the rings as well.
    for i in 0..200 {
        guest.send(&frame(60, i));
    }
    host.receive();
    guest.set_memory(&mut host);
    assert_eq!(host.receive_all().len(), 136);
    assert_eq!(guest.reclaim(1), 200);
    // Of changes that nobody took only the last two are told.
    assert_eq!(host.news(), (vec![false, true], vec![]));
}

/// What a front-end keeps of GET_INFLIGHT_FD.
type Table = (Vec<u8>, OwnedFd);

/// Have a table of what is in flight, before the rings are set up.
fn track(host: &mut Host, guest: &mut Guest) -> Table {
    guest.say(host, 16, &(1u64 << 12).to_ne_bytes(), &[]);
    let spec = [0u64.to_ne_bytes(), 0u64.to_ne_bytes(), [2, 0, 0, 1, 0, 0, 0, 0]].concat();
    guest.request(31, 0, &spec, &[]);
    host.poll();
    let (spec, fd) = receive_inflight(guest);
    guest.say(host, 32, &spec, &[fd.as_raw_fd()]);
    (spec, fd)
}

/// A guest goes on at `host`, whose predecessor was killed. The front-end knows nothing better than where it was long ago.
fn resume(host: &mut Host, guest: &mut Guest, table: Option<&Table>) {
    let mut next = Guest::connect(host, 256);
    std::mem::swap(&mut guest.sock, &mut next.sock);
    guest.say(host, 2, &guest.features.to_ne_bytes(), &[]);
    guest.set_memory(host);
    if let Some((spec, fd)) = table {
        guest.say(host, 32, spec, &[fd.as_raw_fd()]);
    }
    guest.start_ring(host, 0, 0);
    guest.start_ring(host, 1, 0);
}

#[test]
fn a_killed_door_leaves_nothing_lost_and_nothing_twice() {
    // With a table of what is in flight, and without.
    for table in [true, false] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        let inflight = table.then(|| track(&mut host, &mut guest));
        guest.set_up(&mut host, FEATURES, 1);
        for round in 0..9 {
            for i in 0..100 {
                guest.send(&frame(60, i));
            }
            host.receive();
            host.send(&[frame(60, 0), frame(60, 1)]);
            // Killed: dropped with all its rings, none of which was stopped.
            host = Host::new();
            if round % 3 == 2 && !table {
                // And before it noted how far it was.
                let at = guest.rings[1].used;
                let note = guest.u16(at).load(Ordering::SeqCst);
                if note & 0x7fff >= 64 {
                    guest.u16(at).store(note - 64, Ordering::SeqCst);
                }
            }
            resume(&mut host, &mut guest, inflight.as_ref());
            let got: Vec<_> = host.receive_all().into_iter().map(|(bytes, _)| bytes).collect();
            assert_eq!(got, (64..100).map(|i| frame(60, i)).collect::<Vec<_>>(), "round {round}");
            assert_eq!(guest.reclaim(1), 100);
            assert_eq!(host.send(&vec![frame(60, 7); 64]), []);
            assert_eq!(guest.receive().len(), 66);
        }
        // And it goes on: as many buffers as there were.
        for _ in 0..4 {
            assert_eq!(host.send(&vec![frame(60, 7); 64]), []);
        }
        assert_eq!(guest.receive().len(), 256);
    }
}

#[test]
fn killed_while_it_asks_for_kicks_with_buffers_ahead() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES | EVENT_IDX);
    // Once round, so that all descriptors were used.
    for i in 0..300 {
        guest.send(&frame(60, i));
        assert_eq!(host.receive_all().len(), 1);
        guest.reclaim(1);
    }
    for i in 0..100 {
        guest.send(&frame(60, i));
    }
    assert_eq!(host.receive().1.len(), 64);
    // What an engine does at the end of each turn in which nobody looks on.
    assert!(!host.nic.arm());
    host = Host::new();
    resume(&mut host, &mut guest, None);
    let got: Vec<_> = host.receive_all().into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(got, (64..100).map(|i| frame(60, i)).collect::<Vec<_>>());
    assert_eq!(guest.reclaim(1), 100);
}

#[test]
fn killed_between_descriptors_and_note_while_the_driver_runs_on() {
    // Where the batch lies: in the middle, up to the end of the ring, and across it. And how many of its buffers the driver
    // posts again before a successor is there.
    for (before, renewed) in [10, 246, 250].into_iter().flat_map(|n| [(n, 0), (n, 4), (n, 10)]) {
        for table in [true, false] {
            let mut host = Host::new();
            let mut guest = Guest::connect(&mut host, 256);
            let inflight = table.then(|| track(&mut host, &mut guest));
            guest.set_up(&mut host, FEATURES, 1);
            for _ in 0..before {
                assert_eq!(host.send(&[frame(60, 1)]), []);
                assert_eq!(guest.receive().len(), 1);
            }
            // As it is in the guest's memory and in the table before the last batch.
            let note = guest.u16(guest.rings[0].used).load(Ordering::SeqCst);
            let mut old = [0u8; 2];
            if let Some((_, fd)) = &inflight {
                // SAFETY: two bytes of a local.
                assert_eq!(unsafe { libc::pread(fd.as_raw_fd(), old.as_mut_ptr().cast(), 2, 18) }, 2);
            }
            assert_eq!(host.send(&vec![frame(60, 2); 10]), []);
            host = Host::new();
            guest.u16(guest.rings[0].used).store(note, Ordering::SeqCst);
            if let Some((_, fd)) = &inflight {
                // SAFETY: two bytes of a local.
                assert_eq!(unsafe { libc::pwrite(fd.as_raw_fd(), old.as_ptr().cast(), 2, 18) }, 2);
            }
            for (id, _) in guest.used_within(0, renewed) {
                guest.rings[0].free.push(id as u16);
                assert!(guest.post(0, 2048));
            }
            resume(&mut host, &mut guest, inflight.as_ref());
            assert_eq!(host.send(&vec![frame(60, 7); 10]), []);
            assert_eq!(
                guest.receive().len(),
                20 - renewed,
                "{before} before, {renewed} renewed, table {table}"
            );
        }
    }
}

#[test]
fn killed_where_a_chain_of_the_last_round_lay() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    let at = GPA + guest.rings[1].buffers;
    // Chains of three once round, then single descriptors: the first 10 of them.
    for id in 0..85 {
        guest.offer_packed(1, &[(at, 12, 0), (at, 20, 0), (at, 40, 0)], id);
        assert_eq!(host.receive_all().len(), 1);
        assert_eq!(guest.used(1), [(u32::from(id), 0)]);
    }
    for id in 0..11 {
        guest.offer_packed(1, &[(at, 72, 0)], id);
        assert_eq!(host.receive_all().len(), 1);
        assert_eq!(guest.used(1), [(u32::from(id), 0)]);
    }
    host = Host::new();
    resume(&mut host, &mut guest, None);
    for id in 20..30 {
        guest.offer_packed(1, &[(at, 72, 0)], id);
        assert_eq!(host.receive_all().len(), 1);
        assert_eq!(guest.used(1), [(u32::from(id), 0)]);
    }
}

#[test]
fn a_driver_that_starts_anew_is_not_taken_for_its_predecessor() {
    for frames in [0, 1, 100, 255, 256, 300, 600] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, FEATURES);
        for i in 0..frames {
            guest.send(&frame(60, i));
            assert_eq!(host.receive_all().len(), 1);
            guest.reclaim(1);
            assert_eq!(host.send(&[frame(60, i)]), []);
            guest.receive();
        }
        for ring in 0..2 {
            guest.ask(&mut host, 11, &pair(ring, 0));
        }
        // Fresh memory, all zeros, as drivers begin with.
        let mut fresh = Guest::over(guest.sock.try_clone().unwrap(), 256);
        fresh.features = FEATURES;
        fresh.set_memory(&mut host);
        if frames % 2 == 0 {
            fresh.fill_all(1);
        }
        for ring in 0..2 {
            fresh.start_ring(&mut host, ring, 0);
        }
        fresh.fill_all(1);
        for i in 0..300 {
            fresh.send(&frame(100, i));
            assert_eq!(host.receive_all().len(), 1);
            assert_eq!(fresh.reclaim(1), 1);
            assert_eq!(host.send(&[frame(60, 0)]), []);
            assert_eq!(fresh.receive().len(), 1);
        }
    }
}

#[test]
fn pages_written_to_are_logged() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    let log = memfd(0x20000);
    guest.say(&mut host, 6, &[0x20000u64.to_ne_bytes(), [0; 8]].concat(), &[log.as_raw_fd()]);
    assert_eq!(guest.answer(), Some(0));
    guest.say(&mut host, 2, &(FEATURES | LOG_ALL).to_ne_bytes(), &[]);
    for ring in 0..2 {
        let addr = guest.addr(ring, 1);
        guest.say(&mut host, 9, &addr, &[]);
    }
    assert_eq!(host.send(&[frame(60, 5), frame(5000, 1)]), []);
    guest.send(&frame(60, 3));
    assert_eq!(host.receive_all().len(), 1);
    assert!(host.nic.arm());
    // Used descriptors stand in the table itself; what we want to be told stands beside it.
    let mut pages: Vec<u64> = vec![guest.rings[0].desc, guest.rings[1].desc];
    pages.extend([guest.rings[0].used, guest.rings[1].used]);
    for (id, len) in guest.used(0) {
        let at = guest.buffer(0, id as u16);
        pages.extend([at, at + u64::from(len) - 1]);
    }
    let mut bits = vec![0u8; 0x20000];
    // SAFETY: a buffer of as many bytes.
    let n = unsafe { libc::pread(log.as_raw_fd(), bits.as_mut_ptr().cast(), 0x20000, 0) };
    assert_eq!(n, 0x20000);
    let mut pages: Vec<usize> = pages.iter().map(|at| ((GPA + at) >> 12) as usize).collect();
    pages.sort_unstable();
    pages.dedup();
    let set: Vec<usize> = (0..0x20000 * 8).filter(|page| bits[page / 8] >> (page % 8) & 1 == 1).collect();
    assert_eq!(set, pages);
}

/// The door noticed, one line says why, and a reset brings it back.
fn case(why: &str, attack: impl FnOnce(&mut Host, &mut Guest)) {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
    attack(&mut host, &mut guest);
    host.receive_all();
    let (carrier, log) = host.news();
    assert_eq!(carrier, [true, false], "{why}");
    assert!(log.len() == 1 && log[0].contains(why), "{log:?} should say {why:?}");
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    host.wait(6_000_000_000);
    for ring in 0..2 {
        guest.ask(&mut host, 11, &pair(ring, 0));
    }
    let mut fresh = Guest::over(guest.sock.try_clone().unwrap(), 256);
    fresh.features = FEATURES;
    fresh.set_memory(&mut host);
    for ring in 0..2 {
        fresh.start_ring(&mut host, ring, 0);
    }
    fresh.fill_all(1);
    fresh.send(&frame(100, 1));
    assert_eq!(host.receive_all().len(), 1);
    assert_eq!(host.send(&[frame(60, 0)]), []);
    assert_eq!(fresh.receive().len(), 1);
}

#[test]
fn chains_that_do_not_end() {
    case("longer than the ring", |_, guest| {
        guest.offer_packed(1, &[(GPA, 16, 1); 256], 5);
    });
    // One that runs into what is in flight.
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 16);
    guest.set_up(&mut host, FEATURES, 1);
    let room = guest.rings[1].desc;
    for i in 0..8 {
        guest.offer_packed(1, &[(GPA + FREE, 100, 0)], i);
    }
    for i in 8..16 {
        guest.write(room + 16 * i + 14, &[0x81, 0]);
    }
    // The last eight are one chain, and it goes on in the first eight.
    for i in 0..4 {
        guest.write(room + 16 * i + 14, &[0x81, 0]);
    }
    host.receive_all();
    assert!(!host.nic.carrier());
}

#[test]
fn addresses_directions_and_tables_that_are_wrong() {
    for (addr, len) in [(GPA - 1, 64), (GPA + SIZE - 1, 64), (u64::MAX - 31, 64), (GPA, u32::MAX)] {
        case("outside guest memory", |_, guest| guest.offer_packed(1, &[(addr, len, 0)], 5));
        case("outside guest memory", |_, guest| guest.offer_packed(1, &[(GPA, 64, 0), (addr, len, 0)], 5));
    }
    case("direction", |_, guest| guest.offer_packed(1, &[(GPA, 64, 2)], 5));
    case("direction", |_, guest| guest.offer_packed(1, &[(GPA, 64, 0), (GPA, 64, 2)], 5));
    case("indirect", |_, guest| guest.offer_packed(1, &[(GPA, 17, 4)], 5));
    case("indirect", |_, guest| guest.offer_packed(1, &[(GPA, 0, 4)], 5));
    case("indirect", |_, guest| guest.offer_packed(1, &[(GPA + FREE, 32, 4), (GPA, 64, 0)], 5));
    case("indirect", |_, guest| guest.offer_packed(1, &[(GPA, 64, 0), (GPA + FREE, 32, 4)], 5));
    case("outside guest memory", |_, guest| guest.offer_packed(1, &[(GPA + SIZE, 32, 4)], 5));
    case("longer than the ring", |_, guest| guest.offer_packed(1, &[(GPA, 16 * 1025, 4)], 5));
    case("indirect", |_, guest| {
        // A table in a table.
        guest.write(FREE, &(GPA + FREE).to_le_bytes());
        guest.write(FREE + 8, &[16, 0, 0, 0, 0, 0, 4, 0]);
        guest.offer_packed(1, &[(GPA + FREE, 16, 4)], 5);
    });
}

#[test]
fn everything_available_at_once_and_over_again() {
    // All flags say "available", in both rounds, whatever is in flight.
    let mut host = Host::new();
    let guest = Guest::running(&mut host, FEATURES);
    let room = guest.rings[1].desc;
    for round in 0..20 {
        let flags: u16 = if round % 2 == 0 { 0x80 } else { 0x8000 };
        for i in 0..256 {
            guest.write(room + 16 * i, &(GPA + FREE).to_le_bytes());
            guest.write(room + 16 * i + 8, &100u32.to_le_bytes());
            guest.u16(room + 16 * i + 14).store(flags, Ordering::SeqCst);
        }
        assert!(host.receive_all().len() <= 256);
    }
    assert!(host.nic.carrier());
    assert_eq!(host.news().1, Vec::<String>::new());
}

#[test]
fn places_that_are_not_in_the_ring() {
    for base in [0x8100_8100u32, 0xffff_ffff, 0x0100] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        guest.set_up(&mut host, FEATURES, 0);
        guest.start_ring(&mut host, 0, 0);
        guest.ask(&mut host, 11, &pair(0, 0));
        guest.say(&mut host, 10, &pair(0, base), &[]);
        let kick = guest.kicks[0].as_raw_fd();
        guest.say(&mut host, 12, &0u64.to_ne_bytes(), &[kick]);
        assert!(!host.nic.polled());
        assert!(host.news().1[0].contains("jumped"));
    }
}
