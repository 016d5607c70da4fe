//! Memory that a front-end changes, or takes away, while its guest runs.

use super::front::{GPA, Guest, PLAIN, SIZE, UVA, frame, table};
use super::host::{Host, memfd};
use crate::nic::Nic;
use std::os::fd::{AsRawFd, OwnedFd};

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
