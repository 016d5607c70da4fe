//! Several queues, full bursts, and guests that send all the time.

use super::*;

#[test]
fn all_queues_are_read_and_a_flow_keeps_to_one() {
    in_namespace(|| {
        let fds = (0..4).map(|_| open().unwrap()).collect();
        let mut tap = Bench::new(TapNic::claim(fds, "tap0", true, OFFLOAD).unwrap());
        set_up(true);
        let guest = Guest::new();
        let frames: Vec<Vec<u8>> = (0..40u8)
            .map(|i| {
                let (_, mut frame) = super_frame(100);
                frame[29] = i;
                frame
            })
            .collect();
        for frame in &frames {
            guest.send(Offload::NONE, frame);
        }
        let mut got: Vec<Vec<u8>> = tap.receive(40).into_iter().map(|(_, bytes)| bytes).collect();
        got.sort();
        assert_eq!(got, frames);
        let queues: std::collections::BTreeSet<usize> = frames.iter().map(|f| steer(f, 4)).collect();
        assert_eq!(queues.len(), 4);
        for frame in &frames {
            assert_eq!(tap.send(Frame::flat(frame, Offload::NONE)), []);
            assert_eq!(&guest.receive().1, frame);
        }
    });
}

#[test]
fn a_full_burst_says_that_there_is_more() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        for _ in 0..crate::BURST + 10 {
            guest.send(Offload::NONE, &plain(60));
        }
        tap.wait();
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::More);
        assert_eq!(burst.len(), crate::BURST);
        drop(burst);
        let (offload, frame) = super_frame(65_000);
        for _ in 0..crate::BURST + 10 {
            guest.send(offload, &frame);
        }
        // Of super-frames a burst is shorter, so that nobody waits long for its end.
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::More);
        // Before them come the ten that were left, and what the kernel itself says on a new interface.
        let long = burst.iter().filter(|frame| frame.len() > 60_000).count();
        assert!((1..6).contains(&long), "{long} of {}", burst.len());
    });
}

/// Have it busy, and empty.
fn flooded(tap: &mut Bench, guest: &Guest) {
    for _ in 0..crate::BURST {
        guest.send(Offload::NONE, &plain(60));
    }
    tap.wait();
    while tap.nic.rx_burst(0, &mut tap.arena, &mut Burst::new()) == Rx::More {}
    assert!(tap.nic.polled(), "it waits to be told");
}

fn told(tap: &Bench) -> usize {
    tap.poller.wait(Some(0), |_, _, _| {}).unwrap()
}

#[test]
fn a_busy_guest_is_looked_at_without_epoll_until_it_is_armed() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        flooded(&mut tap, &guest);
        guest.send(Offload::NONE, &plain(60));
        assert_eq!(told(&tap), 0, "still in epoll");
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::Idle);
        assert_eq!(burst.len(), 1);
        drop(burst);
        // What comes before it is armed is told then; so is what comes later.
        guest.send(Offload::NONE, &plain(60));
        assert!(tap.nic.arm() && !tap.nic.polled());
        assert_eq!(tap.receive(1).len(), 1);
        guest.send(Offload::NONE, &plain(60));
        assert_eq!(tap.receive(1).len(), 1);
        // A limit may hold it off while it rests: then it stays held.
        flooded(&mut tap, &guest);
        tap.poller.hold(3, true);
        guest.send(Offload::NONE, &plain(60));
        assert!(tap.nic.arm());
        assert_eq!(told(&tap), 0, "not held");
        tap.poller.hold(3, false);
        assert_eq!(tap.receive(1).len(), 1);
    });
}

#[test]
fn two_super_frames_in_a_burst_make_a_guest_busy_and_one_does_not() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        let (offload, frame) = super_frame(65_000);
        for (n, busy) in [(1, false), (2, true)] {
            (0..n).for_each(|_| guest.send(offload, &frame));
            assert_eq!(tap.receive(n).len(), n);
            assert_eq!(tap.nic.polled(), busy, "{n}");
        }
    });
}

#[test]
fn a_busy_guest_may_go_down_and_away() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        flooded(&mut tap, &guest);
        set_up(false);
        let frame = plain(60);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), [(0, DropReason::TxNoCarrier)]);
        assert!(!tap.nic.polled());
        set_up(true);
        while !tap.nic.carrier() {
            assert_ne!(tap.wait(), 0, "not told that it is up");
        }
        // The old guest's socket was told that its network was down.
        flooded(&mut tap, &Guest::new());
        tap.events();
        ip(&["link", "delete", "tap0"]);
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut Burst::new()), Rx::Idle);
        assert!(!tap.nic.carrier() && !tap.nic.polled());
        assert_eq!(tap.events()[0], EventKind::Carrier(false));
        assert_eq!(told(&tap), 0);
    });
}
