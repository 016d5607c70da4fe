//! How far a guest's chains are looked at for one burst.

use super::super::chain::STEPS;
use super::super::protocol::feature::{INDIRECT_DESC, MQ, RING_PACKED};
use super::front::{GPA, Guest, PLAIN, SIZE, UVA, flow, frame};
use super::host::{Host, memfd};
use crate::nic::Nic;
use std::os::fd::AsRawFd;
use switch::DropReason;

const FEATURES: u64 = PLAIN | INDIRECT_DESC;

#[test]
fn chains_of_nothing_are_looked_at_only_so_far() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, FEATURES, 0);
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
        let write = if ring == 0 { 2 } else { 0 };
        for index in 0..256 {
            guest.desc(ring, index, GPA, 0, write | u16::from(index != 255), index + 1);
        }
        // The same chain of 256 descriptors, 256 times.
        for _ in 0..256 {
            guest.offer(ring, 0);
        }
    }
    // For any frame there would be all to be looked at, and then nothing is used up.
    let full: Vec<_> = (0..64).map(|i| (i, DropReason::TxFull)).collect();
    let steps = |host: &Host, ring| host.nic.steps(ring).0;
    assert_eq!(host.send(&vec![frame(60, 0); 64]), full);
    assert_eq!(steps(&host, 0), 0);
    // Sixteen a burst.
    for _ in 0..16 {
        assert_eq!(host.receive().1, []);
        host.nic.rx_done();
        assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 16)));
        assert_eq!(guest.used(1).len(), 16);
    }
    assert_eq!(host.receive_all(), []);
    assert_eq!(host.news(), (vec![true], vec![]));
}

#[test]
fn a_burst_into_several_queues_looks_no_farther_than_one_into_one() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, FEATURES | MQ, 0);
    for ring in 0..4 {
        guest.start_ring(&mut host, ring, 0);
    }
    for ring in [0, 2] {
        for index in 0..256 {
            guest.desc(ring, index, GPA, 0, 2 | u16::from(index != 255), index + 1);
        }
        guest.offer(ring, 0);
    }
    let flows: Vec<_> = (0..8).map(|port| flow(port, true)).collect();
    assert_eq!(host.send(&flows).len(), 8);
    let left = [0, 2].map(|ring| host.nic.steps(ring).0);
    assert_eq!(left.iter().min(), Some(&(STEPS - 8 * 256)), "{left:?}");
    assert!(left.iter().all(|left| *left < STEPS), "it went into both: {left:?}");
}

#[test]
fn chains_as_long_as_they_may_be() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, FEATURES);
    // 256 descriptors of which most are empty, and 256 in a table.
    for index in 0..256 {
        let len = if index < 16 { 64 } else { 0 };
        guest.desc(1, index, GPA + 0x80000, len, u16::from(index != 255), index + 1);
        guest.write_desc(0x1c0000 + 16 * u64::from(index), GPA, 250, u16::from(index != 255), index + 1);
    }
    guest.offer(1, 0);
    let got = host.receive_all();
    assert_eq!(got[0].0.len(), 16 * 64 - 12);
    guest.desc(1, 3, GPA + 0x1c0000, 256 * 16, 4, 0);
    for _ in 0..64 {
        guest.offer(1, 3);
    }
    // More runs than one burst has room for: they come in several.
    let got = host.receive_all();
    assert_eq!(got.len(), 64);
    assert!(got.iter().all(|(bytes, _)| bytes.len() == 256 * 250 - 12));
    assert!(host.nic.carrier());
}

#[test]
fn a_buffer_that_lies_in_many_regions_counts_for_each_of_them() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, FEATURES, 0);
    let page = memfd(0x1000);
    for i in 0..255 {
        let words = [0, 0x1000 * (i + 1), 0x1000, UVA + SIZE + 0x1000 * i, 0u64];
        let region: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(guest.acked(&mut host, 37, &region, &[page.as_raw_fd()]), Some(0));
    }
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
        let write = if ring == 0 { 2 } else { 0 };
        for index in 0..20 {
            guest.desc(ring, index, 0x1000, 255 * 0x1000, write, 0);
            guest.offer(ring, index);
        }
    }
    assert_eq!(host.send(&[frame(60, 0)]), []);
    assert_eq!(host.nic.steps(0).0, STEPS - 256);
    // They are longer than any frame.
    assert_eq!(host.receive().1, []);
    host.nic.rx_done();
    assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 16)));
    assert!(host.nic.carrier());
}

#[test]
fn chains_of_nothing_in_a_packed_ring_are_looked_at_only_so_far() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, FEATURES | RING_PACKED, 0);
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
        let write = if ring == 0 { 2 } else { 0 };
        let table = 0x1c0000 + 0x100000 * ring as u64;
        for index in 0..256 {
            guest.write_desc(table + 16 * index, GPA, 0, 0, write);
        }
        for id in 0..256 {
            guest.offer_packed(ring, &[(GPA + table, 256 * 16, 4)], id);
        }
    }
    let full: Vec<_> = (0..64).map(|i| (i, DropReason::TxFull)).collect();
    assert_eq!(host.send(&vec![frame(60, 0); 64]), full);
    assert_eq!(host.nic.steps(0).0, 0);
    // Fifteen a burst, each with its table.
    for n in std::iter::repeat_n(15, 17).chain([1]) {
        assert_eq!(host.receive().1, []);
        host.nic.rx_done();
        assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, n)));
    }
    assert_eq!(host.receive_all(), []);
    assert_eq!(host.news(), (vec![true], vec![]));
}

#[test]
fn chains_in_a_packed_ring_are_measured_only_so_far() {
    const LONG: usize = 3000;
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 16_384);
    for ring in 0..2 {
        // Behind the rest, where there is room.
        guest.rings[ring].desc = SIZE / 2 + SIZE / 4 * ring as u64;
    }
    guest.set_up(&mut host, FEATURES | RING_PACKED, 0);
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
        let write = if ring == 0 { 2 } else { 0 };
        for id in 0..5 {
            guest.offer_packed(ring, &[(GPA, 0, write); LONG], id);
        }
    }
    // One is measured and walked, and of the next one is known that it is too long for this burst.
    for _ in 0..5 {
        assert_eq!(host.receive().1, []);
        host.nic.rx_done();
        assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 1)));
        let (steps, measure) = host.nic.steps(1);
        assert_eq!(steps, STEPS - LONG as u32);
        assert!(measure == 0 || measure == STEPS - LONG as u32);
    }
    assert_eq!(host.receive_all(), []);
    assert_eq!(guest.used(1).len(), 5);
    let full: Vec<_> = (0..64).map(|i| (i, DropReason::TxFull)).collect();
    assert_eq!(host.send(&vec![frame(60, 0); 64]), full);
    assert_eq!(host.nic.steps(0), (0, 0));
    assert_eq!(host.news(), (vec![true], vec![]));
    // One that is too long for any burst.
    guest.offer_packed(1, &[(GPA, 0, 0); STEPS as usize + 1], 5);
    host.receive();
    let (carrier, log) = host.news();
    assert_eq!(carrier, [false]);
    assert!(log[0].contains("more descriptors than a frame could need"), "{log:?}");
}
