//! Security groups: what a burst is decided from at once is what its frames are decided from one by one.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use switch::{Groups, Rule};

const HOSTS: [Mac; 2] = [A, B];

/// IPv4 from one host's address to the other's: UDP from `port`, or TCP with these flags.
fn packet(from: usize, port: u16, tcp: Option<u8>, payload: usize) -> Vec<u8> {
    let to = 1 - from;
    let mut bytes = [HOSTS[to], HOSTS[from]].concat();
    let (proto, header) = if tcp.is_some() { (6, 20) } else { (17, 8) };
    let total = (20 + header + payload) as u16;
    bytes.extend([8, 0, 0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, from as u8 + 1, 10, 0, 0, to as u8 + 1]);
    let ports = if from == 0 { [port, 9] } else { [9, port] };
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    if let Some(flags) = tcp {
        bytes.extend([0, 0, 0, 101, 0, 0, 0, 101, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend([0, 0, 0, 0]);
    }
    bytes.resize(60.max(14 + usize::from(total)), 0xa5);
    bytes
}

/// Two guests with a guard and rules, and two established connections of TCP between them.
fn pair() -> Switch {
    let rule = |low, high| Rule { protocol: None, numbers: (low, high), remotes: None };
    let groups = Arc::new(Groups::new(&[rule(0, 9)], &[rule(0, 9)], false));
    let mut switch = Switch::new(SwitchConfig::default());
    for (port, mac) in HOSTS.into_iter().enumerate() {
        let mut guard = Guard::new(mac);
        assert!(guard.add_addresses([10, 0, 0, port as u8 + 1].into(), 32, None, None));
        let (guard, groups) = (Some(Box::new(guard)), Some(groups.clone()));
        let config = PortConfig { guard, groups, connections: 5, ..PortConfig::access(1) };
        switch.add_port(port as PortId, config).unwrap();
    }
    for port in [1, 2] {
        for (from, flags, seq, ack) in [(0, 2, 100, 0), (1, 18, 100, 101), (0, 16, 101, 101)] {
            let mut bytes = packet(from, port, Some(flags), 0);
            (bytes[41], bytes[45]) = (seq, ack);
            switch.classify(SECOND, from as PortId, [view(&bytes)], &mut [Decision::default()]);
        }
    }
    switch
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let plain = (0..4_u16, prop_oneof![Just(None), Just(Some(16)), Just(Some(2)), Just(Some(4))], 0..3_usize);
    let edit = (12..44_usize, any::<u8>());
    (plain, prop::option::weighted(0.1, edit), 0..40_usize).prop_map(|((port, tcp, payload), edit, odd)| {
        let mut bytes = packet(0, port, tcp, [0, 18, 1400][payload]);
        if let Some((at, value)) = edit {
            bytes[at] = value;
        }
        match odd {
            0 => bytes[11] = 0xc,
            1 => bytes[29] = 9,
            2 => bytes.extend([0; 200]),
            3 => bytes.truncate(37),
            _ => {}
        }
        bytes
    })
}

/// Each several times in a row; segments go on by as much each time, within the window or not.
fn runs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let step =
        || prop_oneof![3 => Just(0), 2 => 1..20_u32, 1 => 0..800_u32, 1 => Just(u32::MAX), 1 => any::<u32>()];
    let run = (frames(), 1..5_usize, step(), prop_oneof![9 => Just(0), 1 => step()]);
    prop::collection::vec(run, 0..30).prop_map(|runs| {
        let row = |(frame, n, seq, ack): (Vec<u8>, usize, u32, u32)| {
            (0..n as u32).map(move |i| on(&frame, i.wrapping_mul(seq), i.wrapping_mul(ack)))
        };
        runs.into_iter().flat_map(row).collect()
    })
}

/// A frame; of TCP, so much further on.
fn on(frame: &[u8], seq: u32, ack: u32) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for (at, more) in [(38, seq), (42, ack)] {
        if bytes.get(23) == Some(&6)
            && let Some(number) = bytes.get_mut(at..at + 4).and_then(|b| <&mut [u8; 4]>::try_from(b).ok())
        {
            *number = u32::from_be_bytes(*number).wrapping_add(more).to_be_bytes();
        }
    }
    bytes
}

fn connections(switch: &Switch, now: Nanos) -> Vec<String> {
    let mut page = vec![];
    switch.connections(now, 0, 64, &mut page);
    page.iter().map(|connection| format!("{connection:?}")).collect()
}

#[test]
fn what_goes_the_short_way_is_heard() {
    let mut switch = pair();
    assert_eq!(connections(&switch, SECOND).len(), 2, "both are established");
    let (udp, quarter) = (packet(0, 7, None, 18), SECOND / 4);
    let mut now = SECOND;
    for _ in 0..4 * 60 {
        now += quarter;
        switch.tick(now);
        switch.classify(now, 0, [view(&udp)], &mut [Decision::default()]);
    }
    assert_eq!(switch.connection_count(0).0, 3, "for a minute each packet was of one connection");
    let idle = |switch: &Switch, now| {
        let mut page = vec![];
        switch.connections(now, 0, 64, &mut page);
        page.iter().find(|connection| connection.protocol == "udp").map(|connection| connection.idle)
    };
    assert!(idle(&switch, now).is_some_and(|idle| idle <= SECOND / 2), "{:?}", idle(&switch, now));
    assert!(idle(&switch, now + 29 * SECOND).is_some());
    assert!(idle(&switch, now + 31 * SECOND).is_none());
}

proptest! {
    #[test]
    fn a_burst_is_judged_like_its_frames(
        bursts in prop::collection::vec((runs(), any::<bool>(), 0..4_u16, 0..200_u64), 1..5)
    ) {
        let (mut together, mut apart) = (pair(), pair());
        let mut now = SECOND;
        for (mut frames, equal, answered, later) in bursts {
            // Of one length a door knows more.
            let length = frames.first().map_or(0, Vec::len);
            frames.retain(|frame| !equal || frame.len() == length);
            now += later * SECOND;
            let back = packet(1, answered, None, 18);
            for switch in [&mut together, &mut apart] {
                switch.tick(now);
                let mut out = [Decision::default()];
                switch.classify(now, 1, [view(&back)], &mut out);
            }
            let mut all = vec![Decision::default(); frames.len()];
            let views = || frames.iter().map(|bytes| view(bytes));
            together.classify_alike(now, 0, views(), alike(views(), &mut vec![]).as_ref(), &mut all);
            prop_assert_eq!(together.decided_alike(), all.iter().all(|decision| *decision == all[0]));
            for (number, (frame, decision)) in frames.iter().zip(&all).enumerate() {
                let mut out = [Decision::default()];
                apart.classify(now, 0, [view(frame)], &mut out);
                prop_assert_eq!(out[0], *decision, "frame {} of {}", number, frames.len());
            }
            prop_assert_eq!(connections(&together, now), connections(&apart, now));
            let counted = |switch: &Switch| {
                let counters = switch.counters(0).unwrap();
                (counters.rx_bytes.get(), counters.forwarded.get())
            };
            prop_assert_eq!(counted(&together), counted(&apart));
        }
    }
}

/// How far each of some segments goes on, and what it acknowledges: mostly within a window of 256.
fn steps() -> impl Strategy<Value = Vec<(i32, i32)>> {
    let seq = prop_oneof![Just(0..1), Just(0..9), Just(-9..30), Just(-300..300)];
    let ack = prop_oneof![3 => Just(0..1), 1 => Just(-9..9)];
    (seq, ack).prop_flat_map(|(seq, ack)| prop::collection::vec((seq, ack), 2..20))
}

proptest! {
    /// Of one connection, from either end, where all differ by nothing but numbers, or one has another window.
    #[test]
    fn segments_in_a_row_are_judged_like_each(
        rows in prop::collection::vec((0..2_usize, 0..20_usize, steps(), prop::option::weighted(0.2, 0..9_usize)), 1..8)
    ) {
        let (mut together, mut apart) = (pair(), pair());
        let mut numbers = [101_u32; 2];
        for (from, payload, steps, odd) in rows {
            let mut acked = numbers[1 - from];
            let mut seq = numbers[from];
            let row: Vec<_> = steps.into_iter().enumerate().map(|(number, (step, more))| {
                let mut bytes = on(&packet(from, 1, Some(16), payload), seq.wrapping_sub(101), acked.wrapping_sub(101));
                bytes[49] = u8::from(Some(number) == odd);
                (seq, acked) = (seq.wrapping_add_signed(step), acked.wrapping_add_signed(more));
                bytes
            }).collect();
            let views = || row.iter().map(|bytes| view(bytes));
            let mut all = vec![Decision::default(); row.len()];
            let port = from as PortId;
            together.classify_alike(SECOND, port, views(), alike(views(), &mut vec![]).as_ref(), &mut all);
            for (number, (frame, decision)) in row.iter().zip(&all).enumerate() {
                let mut out = [Decision::default()];
                apart.classify(SECOND, port, [view(frame)], &mut out);
                prop_assert_eq!(out[0], *decision, "segment {} of {}", number, row.len());
            }
            numbers[from] = seq;
        }
    }
}

/// One in the middle of a burst may belong to no connection, though all are alike but for their ports.
#[test]
fn who_is_new_among_others_is_not_taken_for_one_of_them() {
    let mut switch = pair();
    let mut out = [Decision::default(); 8];
    let mut send = |ports: &[u16]| {
        let frames: Vec<_> = ports.iter().map(|port| packet(0, *port, None, 18)).collect();
        let views = || frames.iter().map(|bytes| view(bytes));
        assert_eq!(
            switch.classify_alike(SECOND, 0, views(), alike(views(), &mut vec![]).as_ref(), &mut out),
            ports.len()
        );
        switch.connection_count(0).0
    };
    assert_eq!(send(&[5, 6, 5, 6]), 4);
    assert_eq!(send(&[5, 6, 5, 6]), 4);
    assert_eq!(send(&[5, 5, 6, 7, 5, 6]), 5);
    assert_eq!(send(&[5, 5, 5, 5]), 5);
}

/// What SECURITY.md says of memory, where connections have all in common but their ports and where they have nothing.
#[test]
fn two_hundred_thousand_connections() {
    const N: u32 = 200_000;
    for (hosts, bytes) in [(4, 188), (N, 224)] {
        let mut switch = Switch::new(SwitchConfig::default());
        let rule = || [Rule { protocol: None, numbers: (0, u16::MAX), remotes: None }];
        let groups = Arc::new(Groups::new(&rule(), &rule(), false));
        for port in [0, 1] {
            let config = PortConfig { groups: Some(groups.clone()), connections: N, ..PortConfig::access(1) };
            switch.add_port(port, config).unwrap();
            switch.fdb_set(1, HOSTS[usize::from(port)], port, false).unwrap();
        }
        let empty = switch.connection_memory();
        // Each twice: by its second packet one has its place among those that are found fast.
        for n in (0..N).chain(0..N) {
            let mut bytes = packet(0, (n / hosts) as u16, None, 0);
            bytes[26..30].copy_from_slice(&(0x0b00_0000 + n % hosts).to_be_bytes());
            switch.classify(SECOND, 0, [view(&bytes)], &mut [Decision::default()]);
        }
        assert_eq!(switch.connection_count(0), (N, N));
        let each = (switch.connection_memory() - empty) as f64 / f64::from(N);
        assert!((each - f64::from(bytes)).abs() < 1.0, "{each} bytes a connection");
    }
}
