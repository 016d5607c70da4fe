//! Frames that nobody should send.

use super::sim::{Hub, MS, SECOND, bytes, config, ip};
use crate::offload::checksum::{finish, sum};
use crate::stack::StackError;
use crate::stack::packet::{Header, pseudo};
use crate::{Event, EventKind, Nic, Offload};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

pub fn ethernet(dst: [u8; 6], src: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &kind, payload].concat()
}

pub fn ipv4_frame(mac: [u8; 6], src: Ipv4Addr, dst: Ipv4Addr, proto: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = [&[0; 20][..], payload].concat();
    Header { src: src.into(), dst: dst.into(), proto, hop_limit: ttl }.write(&mut packet);
    ethernet(mac, [2, 0, 0, 0, 0, 9], [8, 0], &packet)
}

#[allow(clippy::too_many_arguments)]
pub fn tcp_frame(
    to: u8,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    (from, port): (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 0x40, 0, 0, 0, 0, 0]);
    segment.extend(data);
    let total = pseudo(src.into(), dst.into(), 6, segment.len()) + sum(&segment);
    segment[16..18].copy_from_slice(&finish(total));
    ipv4_frame([2, 0, 0, 0, 0, to], src, dst, 6, 64, &segment)
}

/// Where the server's end of a connection is: the number of the next byte that it sends, and of the next that it expects.
fn numbers(hub: &mut Hub, server: u32) -> (u32, u32) {
    hub.trace = Some(Vec::new());
    hub.ends[1].tcp_send(server, b"x").unwrap();
    hub.pass(SECOND);
    let segments = hub.trace.take().unwrap();
    let (_, last) = segments.iter().find(|(_, frame)| frame[26..30] == [10, 0, 0, 2]).unwrap();
    let number = |at: usize| u32::from_be_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    (number(38).wrapping_add(1), number(42))
}

/// A running network: an established connection, a listener, sockets, and what was on the wire.
fn network() -> (Hub, u32, u32, Vec<Vec<u8>>) {
    let mut hub = Hub::new([config(1), config(2)]);
    hub.trace = Some(Vec::new());
    for end in &hub.ends {
        end.tcp_listen(None, 22, 4).unwrap();
        let udp = end.udp_bind(None, 53).unwrap();
        end.udp_join(udp, ip("ff02::fb")).unwrap();
        end.udp_join(udp, ip("224.0.0.251")).unwrap();
    }
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.connect(0, 1, "fd00::2", 81);
    hub.ends[0].tcp_send(client, &bytes(5000)).unwrap();
    hub.ping(0, "fd00::2", 3000).unwrap();
    hub.ping(1, "10.0.0.1", 3000).unwrap();
    let udp = hub.ends[0].udp_bind(None, 0).unwrap();
    hub.ends[0].udp_send(udp, &bytes(4000), "[fd00::2]:53".parse().unwrap()).unwrap();
    hub.ends[0].udp_send(udp, b"closed", "10.0.0.2:54".parse().unwrap()).unwrap();
    hub.pass(MS);
    let trace = hub.trace.take().unwrap().into_iter().map(|(_, frame)| frame).collect();
    (hub, client, server, trace)
}

/// Make the checksums of a mutated frame right again, so that it gets further.
fn mend(frame: &mut [u8]) {
    if frame.len() >= 34 && frame[12..14] == [8, 0] {
        let header = (usize::from(frame[14] & 15) * 4).clamp(20, frame.len() - 14);
        crate::stack::packet::seal_v4(&mut frame[14..14 + header]);
    }
    let Some(packet) = crate::stack::packet::Packet::parse(frame.get(14..).unwrap_or_default()) else {
        return;
    };
    let (src, dst, proto, len) = (packet.src, packet.dst, packet.proto, packet.payload.len());
    let start = 14 + packet.bytes.len() - len;
    let (at, base) = match proto {
        6 => (16, pseudo(src, dst, 6, len)),
        17 => (6, pseudo(src, dst, 17, len)),
        58 => (2, pseudo(src, dst, 58, len)),
        1 | 2 => (2, 0),
        _ => return,
    };
    let payload = &mut frame[start..start + len];
    if let Some(check) = payload.get_mut(at..at + 2) {
        check.fill(0);
        let check = finish(base + sum(payload));
        payload[at..at + 2].copy_from_slice(&check);
    }
}

/// Whether a guest's turn panicked, which is only seen in the log.
fn panicked(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(&event.kind, EventKind::Log(line) if line.contains("internal error")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Real frames, changed here and there, with right checksums: guests stay alive and answer.
    #[test]
    fn mutated_frames_do_no_harm(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
             any::<prop::sample::Index>(), 0u8..6, (any::<bool>(), 0u8..40, 0u16..2000), 0u64..3000),
            1..60,
        ),
    ) {
        let (mut hub, client, server, trace) = network();
        for (which, edits, cut, cuts, (verified, gso_type, gso_size), wait) in changes {
            let mut frame = which.get(&trace).clone();
            for (at, value) in edits {
                // Headers are where it matters.
                let at = at.index(frame.len().min(90));
                frame[at] = value;
            }
            if cuts == 0 {
                frame.truncate(cut.index(frame.len()));
            }
            mend(&mut frame);
            let flags = if verified { Offload::DATA_VALID } else { 0 };
            let gso_type = if gso_type < 6 { gso_type } else { 0 };
            hub.inject(&frame, Offload { flags, gso_type, gso_size, ..Offload::NONE });
            hub.pass(wait * MS);
            let _ = hub.ends[0].tcp_send(client, b"on");
            let mut buffer = [0; 3000];
            let _ = hub.ends[1].tcp_recv(server, &mut buffer);
        }
        hub.pass(70 * SECOND);
        // An address that somebody took over may stay taken; the others work.
        let alive = ["10.0.0.2", "fd00::2", "fe80::ff:fe00:2"].iter().any(|to| hub.ping(0, to, 56).is_ok());
        prop_assert!(alive);
        prop_assert!(!panicked(&hub.take_events()));
    }

    /// Noise.
    #[test]
    fn random_frames_do_no_harm(frames in proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..300), 0usize..4, any::<bool>()), 1..40)) {
        let mut hub = Hub::new([config(1)]);
        for (mut frame, kind, multicast) in frames {
            if frame.len() > 14 {
                frame[..6].copy_from_slice(if multicast { &[0xff; 6] } else { &[2, 0, 0, 0, 0, 1] });
                frame[6] &= 0xfe;
                frame[12..14].copy_from_slice(&[[8, 0], [8, 6], [0x86, 0xdd], [0x88, 0xcc]][kind]);
                if kind == 0 && frame.len() >= 34 {
                    frame[14] = 0x45;
                    let len = (frame.len() - 14) as u16;
                    frame[16..18].copy_from_slice(&len.to_be_bytes());
                    frame[30..34].copy_from_slice(&[10, 0, 0, 1]);
                }
                mend(&mut frame);
            }
            hub.inject(&frame, Offload::NONE);
        }
        hub.pass(40 * SECOND);
        prop_assert_eq!(hub.ping(0, "10.0.0.1", 56), Ok(0));
        prop_assert!(!panicked(&hub.take_events()));
    }
}

#[test]
fn a_wrong_checksum_is_not_taken_unless_it_was_vouched_for() {
    let mut hub = Hub::new([config(1)]);
    let listener = hub.ends[0].tcp_listen(None, 80, 4).unwrap();
    hub.pass(SECOND);
    hub.trace = Some(Vec::new());
    let mut frame = tcp_frame(1, [10, 0, 0, 9].into(), [10, 0, 0, 1].into(), (5, 80), 1, 0, 2, &[]);
    frame[50] ^= 1;
    hub.inject(&frame, Offload::NONE);
    hub.pass(MS);
    assert_eq!(hub.trace.as_ref().unwrap().len(), 1);
    hub.inject(&frame, Offload { flags: Offload::DATA_VALID, ..Offload::NONE });
    hub.pass(MS);
    // It asks for the MAC address of who said so.
    assert!(hub.trace.take().unwrap().iter().any(|(_, f)| f[12..14] == [8, 6]));
    assert_eq!(hub.ends[0].tcp_accept(listener), Err(StackError::WouldBlock));
}

#[test]
fn what_is_not_for_the_guest_is_not_taken() {
    let mut hub = Hub::new([config(1)]);
    hub.pass(SECOND);
    hub.trace = Some(Vec::new());
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let (from, own) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1));
    let mac = [2, 0, 0, 0, 0, 1];
    let cases = [
        // Another's MAC, another's address, a broadcast frame for one address.
        ipv4_frame([2, 0, 0, 0, 0, 3], from, own, 1, 64, &echo),
        ipv4_frame(mac, from, [10, 0, 0, 3].into(), 1, 64, &echo),
        ipv4_frame([0xff; 6], from, own, 1, 64, &echo),
        // Sources that can't be: loopback, ourselves, a group, nobody.
        ipv4_frame(mac, [127, 0, 0, 1].into(), own, 1, 64, &echo),
        ipv4_frame(mac, own, own, 1, 64, &echo),
        ipv4_frame(mac, [224, 0, 0, 5].into(), own, 1, 64, &echo),
        ipv4_frame(mac, [255, 255, 255, 255].into(), own, 1, 64, &echo),
        ipv4_frame(mac, [0, 0, 0, 0].into(), own, 1, 64, &echo),
        // To all: no answer, so that nobody is flooded by way of us.
        ipv4_frame([0xff; 6], from, [10, 0, 0, 255].into(), 1, 64, &echo),
        ipv4_frame(mac, from, [127, 0, 0, 1].into(), 1, 64, &echo),
    ];
    let count = cases.len();
    for frame in cases {
        hub.inject(&frame, Offload::NONE);
    }
    hub.pass(SECOND);
    assert_eq!(hub.trace.as_ref().unwrap().len(), count);
    hub.inject(&ipv4_frame(mac, from, own, 1, 64, &echo), Offload::NONE);
    hub.pass(MS);
    assert_eq!(hub.trace.take().unwrap().len(), count + 2);
}

#[test]
fn a_forged_reset_or_error_needs_the_numbers() {
    let (mut hub, client, server, _) = network();
    let (local, remote) = hub.ends[0].names(client).unwrap();
    let (IpAddr::V4(own), IpAddr::V4(peer)) = (local.ip(), remote.unwrap().ip()) else { panic!() };
    for seq in (0..u32::MAX).step_by(1 << 26) {
        let ports = (80, local.port());
        hub.inject(&tcp_frame(1, peer, own, ports, seq, 0, 4, &[]), Offload::NONE);
        hub.inject(&tcp_frame(1, peer, own, ports, seq, 0, 2, &[]), Offload::NONE);
        // "Port unreachable", quoting a segment of ours.
        let mut quoted = tcp_frame(1, own, peer, (local.port(), 80), seq, 0, 2, &[])[14..].to_vec();
        let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
        error.append(&mut quoted);
        let check = finish(sum(&error));
        error[2..4].copy_from_slice(&check);
        hub.inject(&ipv4_frame([2, 0, 0, 0, 0, 1], peer, own, 1, 64, &error), Offload::NONE);
    }
    hub.pass(SECOND);
    let mut buffer = [0; 6000];
    assert_eq!(hub.ends[1].tcp_recv(server, &mut buffer), Ok(5000));
    // Within the window is not enough for a reset, but gets an answer.
    let (next, _) = numbers(&mut hub, server);
    let ports = (80, local.port());
    for off in [1, 1000, 100_000, u32::MAX] {
        hub.inject(&tcp_frame(1, peer, own, ports, next.wrapping_add(off), 0, 4, &[]), Offload::NONE);
    }
    hub.trace = Some(Vec::new());
    hub.pass(SECOND);
    assert_eq!(
        hub.trace.take().unwrap().iter().filter(|(_, frame)| frame[26..30] == [10, 0, 0, 1]).count(),
        1
    );
    hub.ends[0].tcp_send(client, b"alive").unwrap();
    assert_eq!(hub.wait(|hub| hub.ends[1].tcp_recv(server, &mut buffer)), Ok(5));
    hub.inject(&tcp_frame(1, peer, own, ports, next, 0, 4, &[]), Offload::NONE);
    hub.pass(SECOND);
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Reset));
}

#[test]
fn a_forged_segment_that_is_not_accepted_changes_nothing() {
    let (mut hub, client, server, _) = network();
    let (local, remote) = hub.ends[0].names(client).unwrap();
    let (IpAddr::V4(own), IpAddr::V4(peer)) = (local.ip(), remote.unwrap().ip()) else { panic!() };
    let ports = (80, local.port());
    let (next, ack) = numbers(&mut hub, server);
    // Data that acknowledges what was acknowledged long ago, or lies elsewhere in the window, and then a reset
    // within it.
    for (seq, ack) in [(next, ack.wrapping_sub(1_000_000)), (next.wrapping_add(20_000), ack)] {
        hub.inject(&tcp_frame(1, peer, own, ports, seq, ack, 16, &[7; 1000]), Offload::NONE);
        hub.inject(&tcp_frame(1, peer, own, ports, next.wrapping_add(500), 0, 4, &[]), Offload::NONE);
        hub.pass(SECOND);
        assert_eq!(hub.ends[0].tcp_send(client, b"alive"), Ok(5));
    }
    // A second answer to the SYN, with a segment size by which each segment would be cut into many.
    let mut frame = tcp_frame(1, peer, own, ports, next, ack, 18, &[2, 4, 0, 48]);
    frame[46] = 0x60;
    mend(&mut frame);
    hub.inject(&frame, Offload::NONE);
    hub.pass(SECOND);
    hub.ends[0].tcp_send(client, &bytes(60_000)).unwrap();
    hub.pass(SECOND);
    assert_eq!(hub.longest, 0, "nothing was to be cut");
}

#[test]
fn who_starts_anew_hears_of_the_old_connection() {
    let (mut hub, client, _, trace) = network();
    let last = trace.iter().rfind(|f| f[12..14] == [8, 0] && f[23] == 6 && f[26..30] == [10, 0, 0, 2]);
    let window = last.map(|frame| u16::from_be_bytes([frame[48], frame[49]])).unwrap();
    assert!(window > 1000);
    let (local, remote) = hub.ends[0].names(client).unwrap();
    let (IpAddr::V4(own), IpAddr::V4(peer)) = (local.ip(), remote.unwrap().ip()) else { panic!() };
    let syn = |seq| tcp_frame(2, own, peer, (local.port(), 80), seq, 0, 2, &[]);
    hub.restart(0, &config(1));
    hub.trace = Some(Vec::new());
    for seq in [1000, 500_000, 3_000_000_000] {
        hub.inject(&syn(seq), Offload::NONE);
    }
    hub.pass(SECOND / 2);
    let from = |hub: &Hub, n: u8| {
        let ours = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 6 && frame[26..30] == [10, 0, 0, n];
        hub.trace
            .iter()
            .flatten()
            .filter(|(_, frame)| ours(frame))
            .map(|(_, frame)| (frame[47], u16::from_be_bytes([frame[48], frame[49]])))
            .collect::<Vec<(u8, u16)>>()
    };
    // What it has is told once a second, with the window that it has; to that, who knows of nothing says so, and
    // then there is a new connection.
    assert_eq!(from(&hub, 2), [(16, window)]);
    assert!(from(&hub, 1).iter().any(|(flags, _)| *flags == 4));
    let listener = hub.ends[1].tcp_listen(None, 80, 4);
    assert!(listener.is_ok());
    hub.trace = Some(Vec::new());
    hub.inject(&syn(7000), Offload::NONE);
    hub.pass(SECOND / 2);
    assert!(matches!(from(&hub, 2)[..], [(18, _)]));
}

#[test]
fn who_begins_again_what_is_there_hears_a_window_that_there_is() {
    // Nothing was said since the handshake, in which the window is not scaled.
    let mut hub = Hub::new([config(1), config(2)]);
    let (client, _) = hub.connect(0, 1, "10.0.0.2", 80);
    let (local, _) = hub.ends[0].names(client).unwrap();
    hub.pass(SECOND);
    hub.trace = Some(Vec::new());
    let syn = tcp_frame(2, [10, 0, 0, 1].into(), [10, 0, 0, 2].into(), (local.port(), 80), 7, 0, 2, &[]);
    hub.inject(&syn, Offload::NONE);
    hub.pass(SECOND);
    let trace = hub.trace.take().unwrap();
    let (_, answer) = trace.iter().find(|(_, frame)| frame[26..30] == [10, 0, 0, 2]).unwrap();
    assert_eq!((answer[47], u16::from_be_bytes([answer[48], answer[49]])), (16, 65_535 >> 3));
}

#[test]
fn a_panic_costs_one_connection() {
    let (mut hub, client, server, _) = network();
    let (other, peer) = hub.connect(0, 1, "10.0.0.2", 82);
    assert_eq!(hub.ends[1].tcp_recv(server, &mut [0; 6000]), Ok(5000));
    hub.take_events();
    assert_eq!(hub.ends[1].tcp_recv(server, &mut [0; 6000]), Err(StackError::WouldBlock));
    hub.ends[0].tcp_send(client, b"panic, for a test").unwrap();
    hub.pass(SECOND);
    let events = hub.take_events();
    assert!(panicked(&events));
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::Socket(id, _) if id == server)));
    hub.ends[0].tcp_send(other, b"fine").unwrap();
    assert_eq!(hub.wait(|hub| hub.ends[1].tcp_recv(peer, &mut [0; 9])), Ok(4));
    assert_eq!(hub.ends[1].tcp_send(server, b"x"), Err(StackError::Reset));
    hub.ends[1].close(server).unwrap();
    hub.wait(|hub| hub.ends[0].tcp_recv(client, &mut [0; 9])).unwrap_err();

    // One that nobody has is gone at once.
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 83);
    let before = hub.ends[1].socket_count().unwrap();
    hub.ends[1].close(server).unwrap();
    hub.pass(MS);
    assert_eq!(hub.ends[1].socket_count(), Ok(before));
    hub.ends[0].tcp_send(client, b"panic, for a test").unwrap();
    hub.pass(MS);
    assert!(panicked(&hub.take_events()));
    assert_eq!(hub.ends[1].socket_count(), Ok(before - 1));
}

#[test]
fn a_full_inbox_drops_and_goes_on() {
    let mut hub = Hub::new([config(1)]);
    hub.pass(SECOND);
    let frame =
        ipv4_frame([2, 0, 0, 0, 0, 1], [10, 0, 0, 9].into(), [10, 0, 0, 1].into(), 17, 64, &[0; 1400]);
    let flat = crate::Frame::flat(&frame, Offload::NONE);
    let burst = [crate::TxFrame { frame: &flat, edit: switch::TagEdit::NONE }; 64];
    let mut dropped = 0;
    for _ in 0..20 {
        let mut report = crate::TxReport::default();
        hub.nics[0].tx_burst(0, &burst, &mut report);
        dropped += report.drops().len();
        assert!(report.drops().iter().all(|(_, reason)| *reason == switch::DropReason::TxFull));
    }
    assert_eq!(dropped, 20 * 64 - (1 << 20) / (frame.len() + 14));
    hub.pass(SECOND);
    assert_eq!(hub.ping(0, "10.0.0.1", 56), Ok(0));
}
