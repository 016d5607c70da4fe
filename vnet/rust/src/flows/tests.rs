#![allow(clippy::unwrap_used)]

use super::*;
use nics::Offload;
use proptest::prelude::*;

const SECOND: Nanos = 1_000_000_000;

fn settings(every: u32, limit: usize) -> Settings {
    Settings { every, active: 60 * SECOND, idle: 15 * SECOND, limit }
}

/// UDP from `host` to 10.0.0.99.
fn udp(host: u8, port: u16) -> Vec<u8> {
    let mut frame =
        vec![2, 0, 0, 0, 0, 99, 2, 0, 0, 0, 0, host, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    frame.extend([10, 0, 0, host, 10, 0, 0, 99]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 53, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

fn see(flows: &mut Flows, now: Nanos, ingress: PortId, frames: &[Vec<u8>], out: Out) {
    let burst: Vec<_> = frames.iter().map(|frame| Frame::flat(frame, Offload::NONE)).collect();
    let decision = Decision { out, vlan: 10, ingress, ..Decision::default() };
    for burst in burst.chunks(64) {
        flows.see(now, 0, ingress, burst, &vec![decision; burst.len()]);
    }
}

fn all(flows: &mut Flows, now: Nanos) -> Vec<Flow> {
    let mut found = vec![];
    while !flows.take(now, usize::MAX, &mut found) {}
    found
}

#[test]
fn every_nth_frame_of_a_switch_is_counted_whatever_the_bursts() {
    for size in [1, 7, 64, 200] {
        let mut flows = Flows::new(Some(settings(10, 100)));
        for _ in 0..1400 / size {
            see(&mut flows, 0, 1, &vec![udp(1, 7); size], Out::Port(2));
        }
        let sent = 1400 / size * size;
        let found = all(&mut flows, 20 * SECOND);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].packets as usize, sent / 10, "bursts of {size}");
        assert_eq!(found[0].bytes as usize, sent / 10 * 60);
        assert_eq!(found[0].octets as usize, sent / 10 * 46);
        assert_eq!(found[0].key.packet.ports, [7, 53]);
    }
}

#[test]
fn a_flow_ends_when_it_is_silent_and_is_told_when_it_is_long() {
    let mut flows = Flows::new(Some(settings(1, 100)));
    see(&mut flows, 0, 1, &[udp(1, 1)], Out::Port(2));
    for second in 0..60 {
        see(&mut flows, second * SECOND, 1, &[udp(1, 2)], Out::Port(2));
        let told = all(&mut flows, second * SECOND);
        assert_eq!(told.len(), usize::from(second == 15), "at {second} s");
        assert!(told.iter().all(|flow| flow.end == End::Idle && flow.key.packet.ports[0] == 1));
    }
    let told = all(&mut flows, 60 * SECOND);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].end, told[0].packets), (End::Active, 60));
    assert_eq!(flows.stats().flows, 0);
}

#[test]
fn why_a_frame_was_dropped_is_part_of_its_flow() {
    let mut flows = Flows::new(Some(settings(1, 100)));
    for out in [Out::Port(2), Out::Drop(DropReason::GuardMac), Out::Local] {
        see(&mut flows, 0, 1, &[udp(1, 1)], out);
    }
    let told = flows.end();
    assert_eq!(told.iter().map(|flow| flow.key.dropped).filter(Option::is_some).count(), 1);
    assert_eq!(told.iter().filter(|flow| flow.key.consumed).count(), 1);
    assert!(told.iter().all(|flow| flow.end == End::Forced));
}

#[test]
fn a_flood_of_flows_gives_up_its_own() {
    let mut flows = Flows::new(Some(settings(1, 100)));
    for port in 0..20 {
        see(&mut flows, 0, 1, &[udp(1, port)], Out::Port(2));
    }
    for port in 0..5000 {
        see(&mut flows, u64::from(port), 3, &[udp(3, port)], Out::Port(2));
        assert!(flows.stats().flows <= 100);
    }
    assert_eq!(flows.stats().evicted, 4920);
    assert_eq!(flows.stats().lost, 4920 - WAITING as u64);
    let told = flows.end();
    assert_eq!(told.iter().filter(|flow| flow.key.ingress == 1).count(), 20);
    assert_eq!(told.iter().filter(|flow| flow.end == End::NoRoom).count(), WAITING);
}

proptest! {
    #[test]
    fn any_bytes_are_some_flow(bytes in prop::collection::vec(any::<u8>(), 0..128), tags in 0_u8..3) {
        let (packet, _, start) = packet::read(&bytes, tags);
        prop_assert_eq!(start, 14 + 4 * usize::from(tags));
        prop_assert!(matches!(packet.version, 0 | 4 | 6));
    }

    #[test]
    fn nothing_is_counted_twice_or_lost(
        frames in prop::collection::vec((0_u8..4, 0_u16..30, 0_u64..40), 1..400), limit in 1_usize..40
    ) {
        let mut flows = Flows::new(Some(settings(1, limit)));
        let (mut now, mut told) = (0, vec![]);
        for (host, port, pause) in &frames {
            now += pause * SECOND / 4;
            see(&mut flows, now, u16::from(*host), &[udp(*host, *port)], Out::Port(9));
            if pause % 8 == 0 {
                flows.take(now, 5, &mut told);
                flows.take(now, usize::MAX, &mut told);
            }
        }
        told.extend(flows.end());
        prop_assert_eq!(told.iter().map(|flow| flow.packets).sum::<u64>(), frames.len() as u64);
    }
}
