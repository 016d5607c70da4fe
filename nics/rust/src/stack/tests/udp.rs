//! Datagrams and echoes.

use super::sim::{Hub, Impair, MS, SECOND, at, bytes, config, ip};
use crate::stack::{StackConfig, StackError, ready};
use crate::{EventKind, Offload};

#[test]
fn datagrams_of_every_size_arrive_over_both_versions() {
    for plain in [false, true] {
        let mut hub = Hub::new([config(1), config(2)]);
        hub.impair.plain = plain;
        let server = hub.ends[1].udp_bind(None, 53).unwrap();
        let client = hub.ends[0].udp_bind(None, 0).unwrap();
        for to in ["10.0.0.2:53", "[fd00::2]:53"] {
            for size in [0, 1, 1472, 1473, 9000, 60_000, if to.starts_with('[') { 65_527 } else { 65_507 }] {
                let data = bytes(size);
                hub.ends[0].udp_send(client, &data, at(to)).unwrap();
                let (from, dst, got) = hub.wait(|hub| hub.ends[1].udp_recv(server)).unwrap();
                assert_eq!((dst, got[..] == data), (at(to).ip(), true), "{to} {size}");
                hub.ends[1].udp_send(server, &got, from).unwrap();
                let (_, _, got) = hub.wait(|hub| hub.ends[0].udp_recv(client)).unwrap();
                assert!(got[..] == data);
            }
        }
        assert_eq!(hub.ends[0].udp_send(client, &bytes(65_508), at("10.0.0.2:53")), Err(StackError::TooBig));
    }
}

#[test]
fn a_queue_that_nobody_reads_is_bounded() {
    let mut hub = Hub::new([config(1), config(2)]);
    let server = hub.ends[1].udp_bind(None, 53).unwrap();
    let client = hub.ends[0].udp_bind(None, 0).unwrap();
    hub.ping(0, "10.0.0.2", 8).unwrap();
    let mut blocked = 0;
    for _ in 0..2000 {
        match hub.ends[0].udp_send(client, &[0; 1000], at("10.0.0.2:53")) {
            Ok(()) => {}
            Err(StackError::WouldBlock) => {
                blocked += 1;
                hub.pass(MS);
                let events = hub.take_events();
                assert!(events.iter().any(|e| e.kind == EventKind::Socket(client, u32::from(ready::WRITE))));
            }
            Err(error) => panic!("{error}"),
        }
    }
    hub.pass(MS);
    assert!(blocked > 3);
    let mut received = 0;
    while hub.ends[1].udp_recv(server).is_ok() {
        received += 1;
    }
    assert_eq!(received, (512 << 10) / 1128);
    assert_eq!(hub.ends[1].udp_lost(server), Ok(2000 - blocked - received as u64));
}

#[test]
fn a_super_frame_is_many_datagrams() {
    let mut hub = Hub::new([config(1)]);
    let socket = hub.ends[0].udp_bind(None, 53).unwrap();
    hub.pass(SECOND);
    let data = bytes(2500);
    let mut udp = vec![0, 7, 0, 53, 0, 0, 0, 0];
    udp.extend(&data);
    let frame = super::hostile::ipv4_frame(
        [2, 0, 0, 0, 0, 1],
        [10, 0, 0, 9].into(),
        [10, 0, 0, 1].into(),
        17,
        64,
        &udp,
    );
    let gso_type = Offload::GSO_UDP_L4;
    let offload = Offload { flags: Offload::NEEDS_CSUM, gso_type, gso_size: 1000, ..Offload::NONE };
    hub.inject(&frame, offload);
    hub.pass(MS);
    for piece in data.chunks(1000) {
        assert_eq!(&*hub.ends[0].udp_recv(socket).unwrap().2, piece);
    }
    assert_eq!(hub.ends[0].udp_recv(socket), Err(StackError::WouldBlock));
}

#[test]
fn groups_and_broadcast_reach_who_listens() {
    let mut hub = Hub::new([config(1), config(2), config(3)]);
    hub.pass(SECOND);
    let sockets: Vec<_> = (0..3).map(|i| hub.ends[i].udp_bind(None, 5353).unwrap()).collect();
    for group in ["224.0.0.251", "ff02::fb"] {
        hub.ends[1].udp_join(sockets[1], ip(group)).unwrap();
        hub.ends[1].udp_join(sockets[1], ip(group)).unwrap();
        let to = std::net::SocketAddr::new(ip(group), 5353);
        hub.ends[0].udp_send(sockets[0], b"who?", to).unwrap();
        hub.pass(MS);
        assert_eq!(hub.ends[1].udp_recv(sockets[1]).unwrap().1, ip(group));
        assert_eq!(hub.ends[2].udp_recv(sockets[2]), Err(StackError::WouldBlock));
        hub.ends[1].udp_leave(sockets[1], ip(group)).unwrap();
        hub.ends[0].udp_send(sockets[0], b"who?", to).unwrap();
        hub.pass(MS);
        assert_eq!(hub.ends[1].udp_recv(sockets[1]), Err(StackError::WouldBlock));
        assert_eq!(hub.ends[1].udp_leave(sockets[1], ip(group)), Err(StackError::Invalid));
    }
    for broadcast in ["10.0.0.255:5353", "255.255.255.255:5353"] {
        hub.ends[0].udp_send(sockets[0], b"all", at(broadcast)).unwrap();
        hub.pass(MS);
        for i in [1, 2] {
            assert_eq!(hub.ends[i].udp_recv(sockets[i]).unwrap().0, at("10.0.0.1:5353"));
        }
    }
    assert_eq!(hub.ends[0].udp_join(sockets[0], ip("10.0.0.9")), Err(StackError::Invalid));
}

#[test]
fn ports_are_for_one_and_come_back() {
    let mut hub = Hub::new([config(1)]);
    let end = hub.ends[0].clone();
    let one = end.udp_bind(Some(ip("10.0.0.1")), 53).unwrap();
    assert_eq!(end.udp_bind(Some(ip("10.0.0.1")), 53), Err(StackError::AddressInUse));
    let all = end.udp_bind(None, 53).unwrap();
    assert_eq!(end.udp_bind(Some(ip("10.0.0.9")), 53), Err(StackError::AddressNotAvailable));
    // The one with the very address gets what is for it.
    let other = end.udp_bind(None, 0).unwrap();
    end.udp_send(other, b"v4", at("10.0.0.1:53")).unwrap();
    end.udp_send(other, b"v6", at("[::1]:53")).unwrap();
    hub.pass(MS);
    assert_eq!(&*end.udp_recv(one).unwrap().2, b"v4");
    assert_eq!(&*end.udp_recv(all).unwrap().2, b"v6");
    for id in [one, all, other] {
        end.close(id).unwrap();
    }
    end.udp_bind(Some(ip("10.0.0.1")), 53).unwrap();
}

#[test]
fn echoes_take_the_time_they_take() {
    let mut hub = Hub::new([config(1), config(2)]);
    hub.impair = Impair { delay: 7 * MS, plain: true, ..Impair::default() };
    hub.ping(0, "10.0.0.2", 56).unwrap();
    hub.ping(0, "fd00::2", 56).unwrap();
    for (target, size) in [("10.0.0.2", 0), ("10.0.0.2", 1472), ("10.0.0.2", 65_507), ("fd00::2", 9000)] {
        assert_eq!(hub.ping(0, target, size), Ok(14 * MS), "{target} {size}");
    }
    assert_eq!(hub.ping(0, "10.0.0.1", 56), Ok(0));
    assert_eq!(hub.ping(0, "::1", 56), Ok(0));
    // Who answers has to ask who asked, the first time.
    assert_eq!(hub.ping(0, "ff02::1", 56), Ok(28 * MS));
    assert_eq!(hub.ping(0, "ff02::1", 56), Ok(14 * MS));
    let ping = hub.ends[0].ping_open(ip("10.0.0.2"), 64).unwrap();
    assert_eq!(hub.ends[0].ping_send(ping, 1, 65_508), Err(StackError::TooBig));
}

#[test]
fn silence_is_told_and_delays_nobody_else() {
    let mut hub = Hub::new((1..=3).map(config));
    let end = hub.ends[0].clone();
    let pings: Vec<_> = ["10.0.0.77", "10.0.0.2", "10.0.0.3", "fd00::77", "fd00::3"]
        .map(|target| end.ping_open(ip(target), 64).unwrap())
        .into();
    for ping in &pings {
        end.ping_send(*ping, 1, 56).unwrap();
    }
    hub.pass(MS);
    for (i, ping) in pings.iter().enumerate() {
        let result = end.ping_recv(*ping);
        if i % 3 == 0 {
            assert_eq!(result, Err(StackError::WouldBlock));
        } else {
            assert_eq!(result, Ok((1, Ok(0))));
        }
    }
    hub.pass(3 * SECOND);
    for i in [0, 3] {
        assert_eq!(end.ping_recv(pings[i]), Ok((1, Err(StackError::HostUnreachable))));
    }
    assert_eq!(end.ping_open(ip("8.8.8.8"), 64), Err(StackError::NetUnreachable));
}

#[test]
fn a_closed_port_says_so_but_not_too_often() {
    let mut hub = Hub::new([config(1), config(2)]);
    hub.ping(0, "10.0.0.2", 8).unwrap();
    let client = hub.ends[0].udp_bind(None, 0).unwrap();
    hub.pass(SECOND);
    hub.trace = Some(Vec::new());
    for _ in 0..500 {
        hub.ends[0].udp_send(client, b"anybody?", at("10.0.0.2:9")).unwrap();
    }
    hub.pass(MS);
    let errors = hub.trace.take().unwrap().iter().filter(|(_, f)| f[23] == 1 && f[34..36] == [3, 3]).count();
    assert_eq!(errors, 50);
}

#[test]
fn two_hundred_guests_meet() {
    let count = 200;
    let mut hub = Hub::new((1..=count).map(|n| StackConfig { sockets: 1000, ..config(n) }));
    let servers: Vec<_> = hub.ends.iter().map(|end| end.udp_bind(None, 7).unwrap()).collect();
    let begin = hub.now;
    for (i, end) in hub.ends.iter().enumerate() {
        for n in 1..=count {
            if usize::from(n) != i + 1 {
                end.udp_send(servers[i], &[n], std::net::SocketAddr::new([10, 0, 0, n].into(), 7)).unwrap();
            }
        }
    }
    hub.pass(MS);
    assert!(hub.now - begin < SECOND);
    for (i, end) in hub.ends.iter().enumerate() {
        let mut from = Vec::new();
        while let Ok((sender, _, _)) = end.udp_recv(servers[i]) {
            from.push(sender);
        }
        assert_eq!(from.len(), usize::from(count) - 1, "{i}");
    }
}
