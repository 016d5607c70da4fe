//! Memory that a front-end changes, or takes away, while its guest runs.

use super::super::protocol::feature::{LOG_ALL, RING_PACKED};
use super::front::{GPA, Guest, PLAIN, SIZE, UVA, frame, pair, table};
use super::host::{Host, memfd};
use super::restarts::receive_inflight;
use crate::nic::Nic;
use std::os::fd::{AsRawFd, OwnedFd};

fn cut(fd: &OwnedFd) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 0) }, 0);
}

/// It stopped, and one line says why.
fn stopped(host: &mut Host) {
    host.receive_all();
    let (carrier, log) = host.news();
    assert_eq!(carrier.last(), Some(&false));
    assert!(log[0].contains("truncated"), "{log:?}");
    assert!(!host.nic.polled());
}

/// The front-end stops both rings and starts them where they were.
fn start_again(host: &mut Host, guest: &mut Guest) {
    let bases = [0, 1].map(|ring| guest.ask(host, 11, &pair(ring, 0)) >> 32);
    for (ring, base) in bases.into_iter().enumerate() {
        guest.start_ring(host, ring, base as u16);
    }
}

fn works(host: &mut Host, guest: &mut Guest) {
    assert!(host.nic.carrier());
    guest.send(&frame(60, 1));
    assert_eq!(host.receive_all().len(), 1);
    assert_eq!(host.send(&[frame(60, 2)]), []);
    assert_eq!(guest.receive().len(), 1);
}

/// Have a front-end map what `regions` says until it gets no answer: how often it got one.
fn map_on_and_on(
    host: &mut Host,
    guest: &mut Guest,
    regions: &[(u64, u64, u64, u64)],
    fd: &OwnedFd,
) -> usize {
    let fds = vec![fd.as_raw_fd(); regions.len()];
    for answered in 0..100 {
        match guest.acked(host, 5, &table(regions), &fds) {
            Some(value) => assert_eq!(value, 0),
            None => return answered,
        }
    }
    100
}

#[test]
fn a_door_that_is_behind_with_unmapping_maps_nothing_more() {
    let few = memfd(0x8000);
    let pages: Vec<_> = (0..8).map(|i| (i * 0x1000, 0x1000, i * 0x1000, i * 0x1000)).collect();
    let much = memfd(1 << 40);
    for (regions, fd, most) in [(&pages[..], &few, 34), (&[(0, 1 << 40, 0, 0)][..], &much, 3)] {
        let mut host = Host::new();
        let unmapping = host.nic.unmapping().clone();
        // The thread that unmaps has something that takes long.
        unmapping.lane().hold();
        let mut guest = Guest::connect(&mut host, 256);
        guest.set_up(&mut host, PLAIN, 0);
        let times = map_on_and_on(&mut host, &mut guest, regions, fd);
        assert!((most - 2..=most).contains(&times), "{times}");
        // It waits, and so does what it says next; the engine need not look again and again.
        guest.request(1, 0, &[], &[]);
        assert!(!host.woken());
        host.wait(1_000_000_000);
        assert_eq!(guest.answer(), None);
        // It goes while it waits, and nobody who comes gets more: but for that, they are served.
        drop(guest);
        host.poll();
        let mut next = Guest::connect(&mut host, 256);
        next.say(&mut host, 16, &8u64.to_ne_bytes(), &[]);
        assert_ne!(next.ask(&mut host, 1, &[]), 0);
        assert_eq!(map_on_and_on(&mut host, &mut next, regions, fd), 0);
        // Another door maps what it wants.
        let mut elsewhere = Host::new();
        let mut other = Guest::running(&mut elsewhere, PLAIN);
        works(&mut elsewhere, &mut other);
        unmapping.lane().work();
        host.wait(1_000_000_000);
        assert_eq!(next.answer(), Some(0));
        next.set_up(&mut host, PLAIN, 1);
        works(&mut host, &mut next);
        assert_eq!(host.news(), (vec![true], vec![]));
    }
}

#[test]
fn memory_that_was_cut_off_is_used_no_more_however_often_rings_start() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    let second = memfd(0x10000);
    let fds = [guest.memfd.as_raw_fd(), second.as_raw_fd()];
    let at = GPA + SIZE;
    guest.say(&mut host, 5, &table(&[(GPA, SIZE, UVA, 0), (at, 0x10000, UVA + SIZE, 0)]), &fds);
    works(&mut host, &mut guest);
    cut(&second);
    guest.desc(1, 5, at, 64, 0, 0);
    guest.offer(1, 5);
    stopped(&mut host);
    for _ in 0..3 {
        start_again(&mut host, &mut guest);
        assert!(!host.nic.carrier());
        assert!(!host.nic.polled());
    }
    // With memory that is there the rings go on.
    guest.set_memory(&mut host);
    works(&mut host, &mut guest);
}

#[test]
fn a_log_that_was_cut_off_is_used_no_more() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    let body = [0x20000u64.to_ne_bytes(), [0; 8]].concat();
    let log = memfd(0x20000);
    guest.say(&mut host, 6, &body, &[log.as_raw_fd()]);
    assert_eq!(guest.answer(), Some(0));
    guest.say(&mut host, 2, &(PLAIN | LOG_ALL).to_ne_bytes(), &[]);
    works(&mut host, &mut guest);
    cut(&log);
    host.send(&[frame(60, 2)]);
    stopped(&mut host);
    guest.receive();
    start_again(&mut host, &mut guest);
    assert!(!host.nic.polled());
    let log = memfd(0x20000);
    guest.say(&mut host, 6, &body, &[log.as_raw_fd()]);
    assert_eq!(guest.answer(), Some(0));
    works(&mut host, &mut guest);
}

#[test]
fn a_table_of_buffers_in_flight_that_was_cut_off_is_noticed() {
    for packed in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        guest.say(&mut host, 16, &(1u64 << 12).to_ne_bytes(), &[]);
        let table = |host: &mut Host, guest: &mut Guest| {
            let spec = [0u64.to_ne_bytes(), 0u64.to_ne_bytes(), [2, 0, 0, 1, 0, 0, 0, 0]].concat();
            guest.request(31, 0, &spec, &[]);
            host.poll();
            let (spec, fd) = receive_inflight(guest);
            guest.say(host, 32, &spec, &[fd.as_raw_fd()]);
            fd
        };
        let fd = table(&mut host, &mut guest);
        guest.set_up(&mut host, PLAIN | packed, 1);
        works(&mut host, &mut guest);
        cut(&fd);
        guest.send(&frame(60, 1));
        stopped(&mut host);
        if packed == 0 {
            start_again(&mut host, &mut guest);
            assert!(!host.nic.polled());
            table(&mut host, &mut guest);
            works(&mut host, &mut guest);
        }
    }
}

#[test]
fn a_ring_waits_for_its_memory_and_goes_on() {
    for packed in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | packed);
        let low = memfd(0x10000);
        let fds = [low.as_raw_fd(), guest.memfd.as_raw_fd()];
        guest.say(&mut host, 5, &table(&[(0, 0x10000, 0, 0), (GPA, SIZE, UVA, 0)]), &fds);
        works(&mut host, &mut guest);
        host.news();
        // The region that the rings are in is removed, and told anew; or all is, at another address.
        let region: Vec<u8> = [0, GPA, SIZE, UVA, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(guest.acked(&mut host, 38, &region, &[]), Some(0));
        assert!(!host.nic.polled());
        assert_eq!(guest.acked(&mut host, 37, &region, &fds[1..]), Some(0));
        works(&mut host, &mut guest);
        guest.say(&mut host, 5, &table(&[(0, 0x10000, 0, 0)]), &fds[..1]);
        assert!(!host.nic.polled());
        guest.set_memory(&mut host);
        works(&mut host, &mut guest);
        assert_eq!(host.news(), (vec![false, true], vec![]));
    }
}
