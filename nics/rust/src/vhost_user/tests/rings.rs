//! Rings: where they go on, who is told of what, and several of them.

use super::super::protocol::feature::{EVENT_IDX, IN_ORDER, MQ, MRG_RXBUF, RING_PACKED, VERSION_1};
use super::front::{GPA, Guest, PLAIN, flow, frame, pair};
use super::host::{Host, count};
use crate::nic::Nic;
use crate::offload::Offload;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use switch::DropReason;

#[test]
fn indexes_wrap_around() {
    for features in [0, EVENT_IDX, IN_ORDER] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        for ring in &mut guest.rings {
            ring.next = 65_500;
            ring.seen = 65_500;
        }
        for ring in 0..2 {
            let r = guest.rings[ring].clone();
            guest.u16(r.avail + 2).store(65_500, Ordering::SeqCst);
            guest.u16(r.used + 2).store(65_500, Ordering::SeqCst);
        }
        guest.say(&mut host, 2, &(PLAIN | features).to_ne_bytes(), &[]);
        guest.features = PLAIN | features;
        guest.set_memory(&mut host);
        guest.start_ring(&mut host, 0, 65_500);
        guest.start_ring(&mut host, 1, 65_500);
        guest.fill_all(1);
        for round in 0..100 {
            let bytes = frame(100 + round, round);
            guest.send(&bytes);
            assert_eq!(host.receive_all(), [(bytes.clone(), Offload::NONE)]);
            assert_eq!(guest.reclaim(1), 1);
            assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
            assert_eq!(guest.receive()[0].1, bytes);
        }
    }
}

#[test]
fn a_sleeping_door_is_kicked_and_a_polling_one_is_not() {
    for features in [0, EVENT_IDX, RING_PACKED, RING_PACKED | EVENT_IDX] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | features);
        let mut before = guest.rings[1].next;
        guest.send(&frame(60, 0));
        assert!(!guest.kick(1, before), "it polls");
        assert!(!host.nic.arm(), "there is work");
        assert_eq!(host.receive_all().len(), 1);
        assert!(host.nic.arm());
        before = guest.rings[1].next;
        guest.send(&frame(60, 1));
        assert!(guest.kick(1, before), "it sleeps");
        assert!(host.woken());
        host.poll();
        assert!(!host.woken());
        assert_eq!(host.receive_all().len(), 1);
        before = guest.rings[1].next;
        guest.send(&frame(60, 2));
        assert!(!guest.kick(1, before), "it polls again");
    }
}

#[test]
fn a_guest_is_interrupted_when_it_wants_to_be() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    host.wait(1_000_000);
    for call in &guest.calls {
        count(call);
    }
    host.send(&[frame(60, 0), frame(60, 1)]);
    assert_eq!(count(&guest.calls[0]), 1, "one for the burst");
    assert_eq!(count(&guest.calls[1]), 0);
    // It polls.
    guest.u16(guest.rings[0].avail).store(1, Ordering::SeqCst);
    host.send(&[frame(60, 0)]);
    assert_eq!(count(&guest.calls[0]), 0);
    // It goes to sleep right after we looked; soon we look again.
    guest.u16(guest.rings[0].avail).store(0, Ordering::SeqCst);
    host.wait(100_000);
    assert_eq!(count(&guest.calls[0]), 1);
    host.wait(1_000_000);
    assert_eq!(count(&guest.calls[0]), 0);
    // And so for what it sent.
    count(&guest.calls[1]);
    guest.send(&frame(60, 0));
    host.receive_all();
    assert_eq!(count(&guest.calls[1]), 1);
}

#[test]
fn a_guest_that_falls_asleep_while_its_ring_is_started_anew_is_interrupted() {
    for killed in [false, true] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN);
        host.wait(1_000_000);
        count(&guest.calls[0]);
        // It polls, as far as we see without a fence.
        guest.u16(guest.rings[0].avail).store(1, Ordering::SeqCst);
        host.send(&[frame(60, 0)]);
        assert_eq!(count(&guest.calls[0]), 0);
        // It falls asleep, and before we look again its memory changes, or we are gone.
        guest.u16(guest.rings[0].avail).store(0, Ordering::SeqCst);
        if killed {
            host = Host::new();
            let mut next = Guest::connect(&mut host, 256);
            std::mem::swap(&mut guest.sock, &mut next.sock);
            guest.say(&mut host, 2, &PLAIN.to_ne_bytes(), &[]);
            guest.set_memory(&mut host);
            guest.start_ring(&mut host, 0, 1);
            guest.start_ring(&mut host, 1, 0);
        } else {
            guest.set_memory(&mut host);
        }
        host.wait(1_000_000);
        assert_eq!(count(&guest.calls[0]), 1, "somebody tells it of its frame");
    }
}

#[test]
fn with_event_idx_a_guest_names_the_entry() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, PLAIN | EVENT_IDX);
    host.wait(1_000_000);
    count(&guest.calls[0]);
    let event = guest.rings[0].avail + 4 + 2 * 256;
    guest.u16(event).store(3, Ordering::SeqCst);
    for n in 0..8 {
        host.send(&[frame(60, 0)]);
        host.wait(100_000);
        assert_eq!(count(&guest.calls[0]), u64::from(n == 3), "entry {n}");
    }
}

#[test]
fn a_ring_is_stopped_and_goes_on_where_it_was() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for i in 0..100 {
        guest.send(&frame(60, i));
    }
    host.receive();
    host.send(&[frame(60, 0)]);
    // What was taken ahead and not given back counts as not taken.
    assert_eq!(guest.ask(&mut host, 11, &pair(1, 0)) >> 32, 64);
    assert_eq!(guest.ask(&mut host, 11, &pair(0, 0)) >> 32, 1);
    assert_eq!(host.news().0, [true, false]);
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    assert!(host.receive_all().is_empty());
    guest.start_ring(&mut host, 1, 64);
    assert_eq!(host.receive_all().len(), 36);
    guest.start_ring(&mut host, 0, 1);
    assert_eq!(host.news().0, [true]);
    assert_eq!(host.send(&[frame(60, 0)]), []);
    assert_eq!(guest.receive().len(), 2);
}

#[test]
fn a_disabled_transmit_queue_is_emptied() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for ring in 0..2 {
        guest.say(&mut host, 18, &pair(ring, 0), &[]);
    }
    assert!(!host.nic.carrier());
    for i in 0..200 {
        guest.send(&frame(60, i));
    }
    assert!(host.receive_all().is_empty());
    assert_eq!(host.nic.take_drops(), Some((DropReason::DoorUnused, 200)));
    assert_eq!(host.nic.take_drops(), None);
    assert_eq!(guest.reclaim(1), 200);
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    for ring in 0..2 {
        guest.say(&mut host, 18, &pair(ring, 1), &[]);
    }
    guest.send(&frame(60, 1));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn two_queue_pairs_share_the_flows() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, PLAIN | MQ, 2);
    // What the guest sent from a queue comes back to it.
    for (port, ring) in [(1000, 1), (1001, 3), (1002, 3), (1003, 1)] {
        guest.send_with(ring, &[0; 12], &flow(port, false));
    }
    assert_eq!(host.receive_all().len(), 4);
    let answers: Vec<_> = (1000..1004).map(|port| flow(port, true)).collect();
    assert_eq!(host.send(&answers), []);
    let first: Vec<_> = guest.receive_from(0).into_iter().map(|(_, bytes)| bytes).collect();
    let second: Vec<_> = guest.receive_from(2).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(first, [answers[0].clone(), answers[3].clone()]);
    assert_eq!(second, [answers[1].clone(), answers[2].clone()]);
    // What it never sent is spread.
    let others: Vec<_> = (2000..2064).map(|port| flow(port, true)).collect();
    assert_eq!(host.send(&others), []);
    let (a, b) = (guest.receive_from(0).len(), guest.receive_from(2).len());
    assert_eq!(a + b, 64);
    assert!(a > 8 && b > 8, "{a} and {b}");
    // With the second pair disabled, all of it goes to the first.
    guest.say(&mut host, 18, &pair(2, 0), &[]);
    assert_eq!(host.send(&answers), []);
    assert_eq!(guest.receive_from(0).len(), 4);
}

#[test]
fn rings_without_protocol_features_are_enabled_by_themselves() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.say(&mut host, 2, &(VERSION_1 | MRG_RXBUF).to_ne_bytes(), &[]);
    guest.set_memory(&mut host);
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
    }
    assert!(host.nic.carrier());
}

#[test]
fn a_look_at_a_polled_door_tells_whether_a_burst_would_give_anything() {
    for features in [PLAIN, PLAIN | EVENT_IDX] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, features);
        assert_eq!(host.receive_all(), []);
        assert!(host.nic.quiet(0));
        for seed in 0..3 {
            guest.send(&frame(60, seed));
            assert!(!host.nic.quiet(0));
            assert_eq!(host.receive_all().len(), 1);
            assert!(host.nic.quiet(0), "all is taken and given back");
            assert_eq!(host.send(&[frame(60, seed)]), []);
            assert!(host.nic.quiet(0), "what was sent is nothing to receive");
            assert_eq!(guest.receive().len(), 1);
        }
    }
}

#[test]
fn a_guest_sees_nothing_of_what_is_done_before_a_frame_is_sent() {
    for features in [PLAIN, PLAIN | EVENT_IDX, PLAIN | RING_PACKED] {
        let mut host = Host::new();
        // Without a guest there is nothing to be done.
        host.nic.brace();
        let mut guest = Guest::running(&mut host, features);
        for round in 0..600 {
            host.nic.brace();
            assert_eq!(guest.receive(), [], "nothing was sent");
            // Few are hurried on with, many are not.
            let frames: Vec<_> = (0..=round % 5).map(|seed| frame(60 + seed, seed)).collect();
            assert_eq!(host.send(&frames), []);
            host.nic.brace();
            let got = guest.receive();
            assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), frames);
        }
    }
}

#[test]
fn what_a_guest_has_not_read_stays_as_it_is_while_its_door_gets_ready_for_more() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    let mut later = 0;
    let mut quiet = |host: &mut Host| {
        later += 1 << 30;
        assert!(host.nic.quiet(later));
    };
    let sent: Vec<_> = (0..64).map(|seed| frame(60, seed)).collect();
    // Some at a time, until the guest has no buffers any more and has read nothing.
    let mut given = 0;
    loop {
        let refused = host.send(&sent[..5]).len();
        given += 5 - refused;
        quiet(&mut host);
        if refused > 0 {
            break;
        }
    }
    let got = guest.receive();
    assert_eq!(got.len(), given);
    assert!(got.iter().enumerate().all(|(i, (_, bytes))| *bytes == sent[i % 5]));
    // And what comes after that is as good.
    quiet(&mut host);
    assert_eq!(host.send(&sent[..1]), []);
    quiet(&mut host);
    assert_eq!(guest.receive().len(), 1);
}

#[test]
fn a_packed_ring_that_is_paused_while_its_driver_writes_a_chain_goes_on_with_it() {
    // By another memory table, and by a front-end that stops the ring and has it go on.
    for stop in [false, true] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 8);
        guest.set_up(&mut host, PLAIN | RING_PACKED, 1);
        let at = GPA + guest.rings[1].buffers;
        let three = [(at, 12, 0), (at, 20, 0), (at, 40, 0)];
        for id in 0..3 {
            guest.offer_packed(1, &three, id);
            assert_eq!(host.receive_all().len(), 1);
            assert_eq!(guest.used(1), [(u32::from(id), 0)]);
        }
        // At the middle of the first chain of the last round. As Linux does it the first descriptor comes last.
        let head = guest.rings[1].desc + 16 * u64::from(guest.rings[1].next);
        assert_eq!(guest.rings[1].next, 1);
        let old = guest.read(head, 16);
        guest.offer_packed(1, &three[..2], 5);
        let new = guest.read(head, 16);
        guest.write(head, &old);
        if stop {
            let base = guest.ask(&mut host, 11, &pair(1, 0)) >> 32;
            let kick = guest.kicks[1].as_raw_fd();
            guest.say(&mut host, 10, &pair(1, base as u32), &[]);
            guest.say(&mut host, 12, &1u64.to_ne_bytes(), &[kick]);
        } else {
            guest.set_memory(&mut host);
        }
        assert_eq!(host.receive_all(), []);
        guest.write(head, &new);
        assert_eq!(host.receive_all().len(), 1, "stopped: {stop}");
        assert_eq!(guest.used(1), [(5, 0)]);
        assert!(host.nic.carrier());
    }
}
