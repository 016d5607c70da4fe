//! How far a guest's chains are looked at for one burst.

use super::super::chain::STEPS;
use super::super::protocol::feature::INDIRECT_DESC;
use super::front::{GPA, Guest, PLAIN, SIZE, UVA, frame};
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
    let steps = |host: &Host, ring| host.nic.steps(ring);
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
    assert_eq!(host.nic.steps(0), STEPS - 256);
    // They are longer than any frame.
    assert_eq!(host.receive().1, []);
    host.nic.rx_done();
    assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 16)));
    assert!(host.nic.carrier());
}
