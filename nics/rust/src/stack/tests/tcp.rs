//! Connections.

use super::sim::{Hub, Impair, MS, SECOND, at, bytes, config, ip};
use crate::stack::{StackConfig, StackError, ready};
use crate::{EventKind, Nic};

fn pair() -> Hub {
    Hub::new([config(1), config(2)])
}

#[test]
fn data_arrives_whole_over_both_versions() {
    for plain in [false, true] {
        for address in ["10.0.0.2", "fd00::2", "fe80::ff:fe00:2"] {
            let mut hub = pair();
            hub.impair = Impair { plain, delay: MS, ..Impair::default() };
            let (client, server) = hub.connect(0, 1, address, 80);
            let data = bytes(3_000_000);
            assert!(hub.transfer((0, client), (1, server), &data) == data);
            assert!(hub.longest > 60_000);
            // And the other way, after one half is closed.
            assert!(hub.transfer((1, server), (0, client), &data) == data);
            hub.ends[0].close(client).unwrap();
            hub.ends[1].close(server).unwrap();
            hub.pass(20 * SECOND);
            assert_eq!(hub.ends[0].socket_count(), Ok(0));
            assert_eq!(hub.ends[1].socket_count(), Ok(0));
            assert_eq!(hub.next().filter(|at| *at < hub.now + 3600 * SECOND), None);
        }
    }
}

#[test]
fn data_arrives_whole_over_a_bad_wire() {
    for (loss, duplicate, reorder) in [(2, 0, 0), (0, 20, 0), (0, 0, 20), (5, 5, 5)] {
        let mut hub = pair();
        hub.impair = Impair { delay: 2 * MS, loss, duplicate, reorder, plain: true };
        let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
        let data = bytes(400_000);
        assert!(hub.transfer((0, client), (1, server), &data) == data, "{:?}", hub.impair);
        // No super-frames where they get lost.
        assert!(loss == 0 && reorder == 0 || hub.longest == 0);
    }
}

#[test]
fn small_windows_and_jumbo_frames() {
    for (mtu, buffer) in [(1280, 4096), (9000, 16 << 10), (65_521, 1 << 20), (1500, 4 << 20)] {
        let configs =
            [1, 2].map(|n| StackConfig { mtu, receive_buffer: buffer, send_buffer: buffer, ..config(n) });
        let mut hub = Hub::new(configs);
        hub.impair.delay = MS;
        let (client, server) = hub.connect(0, 1, "fd00::2", 80);
        let data = bytes(2_000_000);
        assert!(hub.transfer((0, client), (1, server), &data) == data, "{mtu}");
    }
}

#[test]
fn super_frames_are_cut_as_the_peer_wants_it() {
    // Unlike MTUs: the smaller one counts, whoever has it.
    for (mtus, gso) in
        [([9000, 1500], true), ([1500, 9000], true), ([1280, 1280], true), ([1500, 1500], false)]
    {
        for plain in [false, true] {
            let mut hub =
                Hub::new([1, 2].map(|n| StackConfig { mtu: mtus[usize::from(n) - 1], gso, ..config(n) }));
            hub.impair.plain = plain;
            let (client, server) = hub.connect(0, 1, "fd00::2", 80);
            let data = bytes(3_000_000);
            assert!(hub.transfer((0, client), (1, server), &data) == data, "{mtus:?}");
            assert_eq!(hub.longest > 60_000, gso, "{mtus:?} {plain} {}", hub.longest);
        }
    }
}

#[test]
fn the_window_opens_as_fast_as_acknowledgements_allow() {
    let mut hub = pair();
    hub.impair.delay = 25 * MS;
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    let data = bytes(2_000_000);
    let begin = hub.now;
    hub.transfer((0, client), (1, server), &data);
    // A window of 256 KiB a round trip of 50 ms, and some round trips to get there.
    let ideal = 2_000_000 / (256 << 10) * 50 * MS;
    assert!(hub.now - begin < ideal + 10 * 50 * MS, "{} ms", (hub.now - begin) / MS);
}

#[test]
fn nobody_listens() {
    let mut hub = pair();
    for address in ["10.0.0.2:81", "[fd00::2]:81"] {
        let client = hub.ends[0].tcp_connect(at(address), None, 0).unwrap();
        assert_eq!(hub.wait(|hub| hub.ends[0].tcp_connected(client)), Err(StackError::Refused));
        assert!(hub.now < MS);
        assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Refused));
        hub.ends[0].close(client).unwrap();
        assert_eq!(hub.ends[0].close(client), Err(StackError::Closed));
    }
    assert_eq!(hub.ends[0].socket_count(), Ok(0));
}

#[test]
fn nobody_is_there() {
    let mut hub = pair();
    for address in ["10.0.0.9:80", "[fd00::9]:80"] {
        let begin = hub.now;
        let client = hub.ends[0].tcp_connect(at(address), None, 0).unwrap();
        assert_eq!(hub.wait(|hub| hub.ends[0].tcp_connected(client)), Err(StackError::HostUnreachable));
        assert_eq!(hub.now - begin, 3 * SECOND);
        hub.ends[0].close(client).unwrap();
    }
    // No gateway, and nowhere to send to.
    assert_eq!(hub.ends[0].tcp_connect(at("8.8.8.8:80"), None, 0), Err(StackError::NetUnreachable));
    assert_eq!(hub.ends[0].tcp_connect(at("10.0.0.255:80"), None, 0), Err(StackError::NetUnreachable));
    assert_eq!(hub.ends[0].tcp_connect(at("0.0.0.0:80"), None, 0), Err(StackError::Invalid));
    assert_eq!(
        hub.ends[0].tcp_connect(at("10.0.0.2:80"), Some(ip("10.0.0.3")), 0),
        Err(StackError::AddressNotAvailable)
    );
    hub.pass(5 * SECOND);
    assert_eq!(hub.ends[0].socket_count(), Ok(0));
}

#[test]
fn an_attempt_without_an_answer_ends() {
    let mut hub = pair();
    hub.ping(0, "10.0.0.2", 8).unwrap();
    hub.impair.loss = 100;
    let begin = hub.now;
    let client = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap();
    let result = hub.wait(|hub| hub.ends[0].tcp_connected(client));
    // The neighbour is doubted after a while, and then it is nobody.
    assert!(matches!(result, Err(StackError::TimedOut | StackError::HostUnreachable)), "{result:?}");
    assert!((15 * SECOND..=130 * SECOND).contains(&(hub.now - begin)), "{}", hub.now - begin);
}

#[test]
fn a_reset_is_told_to_both_sides() {
    let mut hub = pair();
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[0].tcp_send(client, b"last words").unwrap();
    hub.pass(MS);
    hub.ends[0].tcp_abort(client).unwrap();
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Closed));
    hub.pass(MS);
    let mut buffer = [0; 100];
    assert_eq!(hub.ends[1].tcp_recv(server, &mut buffer), Ok(10));
    assert_eq!(hub.ends[1].tcp_recv(server, &mut buffer), Err(StackError::Reset));
    assert_eq!(hub.ends[1].tcp_send(server, b"x"), Err(StackError::Reset));
    hub.ends[1].close(server).unwrap();
    assert_eq!((hub.ends[0].socket_count(), hub.ends[1].socket_count()), (Ok(0), Ok(0)));
}

#[test]
fn closing_with_unread_data_resets() {
    let mut hub = pair();
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[0].tcp_send(client, b"unread").unwrap();
    hub.pass(MS);
    hub.ends[1].close(server).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(hub.wait(|hub| hub.ends[0].tcp_recv(client, &mut buffer)), Err(StackError::Reset));

    // What comes after the end nobody reads either.
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[1].close(server).unwrap();
    hub.pass(MS);
    assert_eq!(hub.ends[0].tcp_recv(client, &mut buffer), Ok(0));
    hub.ends[0].tcp_send(client, b"too late").unwrap();
    hub.pass(MS);
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Reset));
    assert_eq!(hub.ends[1].socket_count(), Ok(0));
}

#[test]
fn who_closed_first_lingers_without_memory_and_ports_come_back() {
    let mut hub = pair();
    let listener = hub.ends[1].tcp_listen(None, 80, 16).unwrap();
    for _ in 0..50 {
        let client = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 4000).unwrap();
        hub.wait(|hub| hub.ends[0].tcp_connected(client)).unwrap();
        let server = hub.wait(|hub| hub.ends[1].tcp_accept(listener)).unwrap();
        hub.ends[0].close(client).unwrap();
        hub.pass(MS);
        hub.ends[1].close(server).unwrap();
        hub.pass(MS);
        assert_eq!((hub.ends[0].socket_count(), hub.ends[1].socket_count()), (Ok(0), Ok(1)));
        assert_eq!(hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 4000), Err(StackError::AddressInUse));
        // Another port is free.
        let other = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 4001).unwrap();
        hub.ends[0].close(other).unwrap();
        hub.pass(10 * SECOND);
    }
}

#[test]
fn a_lost_last_acknowledgement_is_sent_again() {
    let mut hub = pair();
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[0].close(client).unwrap();
    hub.pass(MS);
    // The peer's FIN is answered, but the answer is lost.
    hub.impair.delay = MS;
    hub.ends[1].close(server).unwrap();
    hub.run(hub.now, |_| true);
    hub.impair.loss = 100;
    hub.pass(10 * MS);
    assert_eq!((hub.ends[0].socket_count(), hub.ends[1].socket_count()), (Ok(0), Ok(1)));
    hub.impair.loss = 0;
    hub.pass(5 * SECOND);
    assert_eq!(hub.ends[1].socket_count(), Ok(0));
}

#[test]
fn a_backlog_holds_as_many_as_it_says() {
    let mut hub = pair();
    let listener = hub.ends[1].tcp_listen(Some(ip("10.0.0.2")), 80, 5).unwrap();
    assert_eq!(hub.ends[1].tcp_listen(None, 80, 5), Err(StackError::AddressInUse));
    let clients: Vec<_> =
        (0..20).map(|_| hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap()).collect();
    hub.pass(100 * MS);
    // All that were let in before the first handshake was done wait; later ones try again.
    let mut accepted = 0;
    while hub.ends[1].tcp_accept(listener).is_ok() {
        accepted += 1;
    }
    assert!((5..=16).contains(&accepted), "{accepted}");
    while accepted < 20 {
        hub.wait(|hub| hub.ends[1].tcp_accept(listener)).unwrap();
        accepted += 1;
    }
    for client in clients {
        assert_eq!(hub.ends[0].tcp_connected(client), Ok(()));
    }
    // Not at the other address.
    let refused = hub.ends[0].tcp_connect(at("[fd00::2]:80"), None, 0).unwrap();
    assert_eq!(hub.wait(|hub| hub.ends[0].tcp_connected(refused)), Err(StackError::Refused));
}

#[test]
fn a_listener_that_closes_resets_who_waits() {
    let mut hub = pair();
    let listener = hub.ends[1].tcp_listen(None, 80, 5).unwrap();
    let client = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap();
    hub.wait(|hub| hub.ends[0].tcp_connected(client)).unwrap();
    hub.pass(MS);
    hub.ends[1].close(listener).unwrap();
    hub.pass(MS);
    assert_eq!(hub.ends[0].tcp_recv(client, &mut [0; 9]), Err(StackError::Reset));
    assert_eq!(hub.ends[1].socket_count(), Ok(0));
    assert!(hub.ends[1].tcp_listen(None, 80, 5).is_ok());
}

#[test]
fn a_guest_talks_to_itself() {
    let mut hub = pair();
    for address in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1"] {
        let (client, server) = hub.connect(0, 0, address, 80);
        let data = bytes(500_000);
        let before = hub.frames;
        assert!(hub.transfer((0, client), (0, server), &data) == data);
        assert_eq!(hub.frames, before, "nothing of it is on the wire");
        hub.ends[0].close(client).unwrap();
        hub.ends[0].close(server).unwrap();
        hub.pass(SECOND);
    }
}

#[test]
fn events_come_once_for_who_waits() {
    let mut hub = pair();
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.take_events();
    let mut buffer = [0; 100];
    for _ in 0..3 {
        hub.ends[0].tcp_send(client, b"nobody asked").unwrap();
        hub.pass(MS);
    }
    assert_eq!(hub.take_events(), []);
    while hub.ends[1].tcp_recv(server, &mut buffer).is_ok() {}
    for _ in 0..3 {
        hub.ends[0].tcp_send(client, b"somebody asked").unwrap();
        hub.pass(MS);
    }
    let kinds: Vec<_> = hub.take_events().into_iter().map(|event| (event.port, event.kind)).collect();
    assert_eq!(kinds, [(1, EventKind::Socket(server, u32::from(ready::READ)))]);
}

#[test]
fn a_port_that_goes_takes_its_sockets_along() {
    let mut hub = pair();
    let (client, _) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.take_events();
    hub.nics[0].detach();
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Closed));
    assert_eq!(hub.take_events().len(), 1);
}

#[test]
fn a_flood_of_syns_leaves_room_for_others() {
    let mut hub = pair();
    let listener = hub.ends[1].tcp_listen(None, 80, 8).unwrap();
    for n in 0..5000u32 {
        let from = std::net::Ipv4Addr::from_bits(0x0a00_0010 + n % 200);
        let mut frame =
            super::hostile::tcp_frame(2, from, [10, 0, 0, 2].into(), (1000 + n as u16, 80), n, 0, 2, &[]);
        frame[6..12].copy_from_slice(&[2, 1, 1, 1, 1, 1]);
        hub.inject(&frame, crate::Offload::NONE);
        if n % 100 == 0 {
            hub.pass(MS);
            assert!(hub.ends[1].socket_count().unwrap() < 40);
        }
    }
    let client = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap();
    hub.wait(|hub| hub.ends[0].tcp_connected(client)).unwrap();
    hub.wait(|hub| hub.ends[1].tcp_accept(listener)).unwrap();
    hub.pass(30 * SECOND);
    assert_eq!(hub.ends[1].socket_count(), Ok(2));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed: u64| {
        let mut hub = Hub::new([StackConfig { seed, ..config(1) }, config(2)]);
        hub.trace = Some(Vec::new());
        hub.impair = Impair { delay: MS, loss: 3, duplicate: 3, reorder: 3, plain: false };
        let (client, server) = hub.connect(0, 1, "fd00::2", 80);
        hub.transfer((0, client), (1, server), &bytes(100_000));
        hub.trace.take().unwrap()
    };
    let first = run(7);
    assert!(first == run(7));
    assert!(first != run(8));
}

#[test]
fn sequence_numbers_and_ports_are_not_to_be_guessed() {
    let mut hub = pair();
    hub.trace = Some(Vec::new());
    let _listener = hub.ends[1].tcp_listen(None, 80, 100).unwrap();
    for _ in 0..50 {
        let client = hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap();
        hub.wait(|hub| hub.ends[0].tcp_connected(client)).unwrap();
    }
    let syns = hub.trace.take().unwrap();
    let numbers: Vec<u32> = syns
        .iter()
        .filter(|(_, frame)| frame.len() > 54 && frame[23] == 6 && frame[47] & 2 != 0)
        .map(|(_, frame)| u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]))
        .collect();
    assert_eq!(numbers.len(), 100);
    let mut gaps: Vec<u32> = numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    gaps.sort_unstable();
    gaps.dedup();
    assert_eq!(gaps.len(), 99);
}

#[test]
fn a_full_guest_refuses_and_recovers() {
    let mut hub = Hub::new([config(1), StackConfig { sockets: 12, ..config(2) }]);
    let listener = hub.ends[1].tcp_listen(None, 80, 100).unwrap();
    for _ in 0..30 {
        hub.ends[0].tcp_connect(at("10.0.0.2:80"), None, 0).unwrap();
    }
    hub.pass(100 * MS);
    // A quarter is kept for the guest itself.
    let count = hub.ends[1].socket_count().unwrap();
    assert!((8..=9).contains(&count), "{count}");
    let first = hub.ends[1].tcp_accept(listener).unwrap();
    let mut own = Vec::new();
    while let Ok(id) = hub.ends[1].udp_bind(None, 0) {
        own.push(id);
    }
    assert_eq!(hub.ends[1].udp_bind(None, 0), Err(StackError::TooMany));
    hub.ends[1].close(first).unwrap();
    for id in own {
        hub.ends[1].close(id).unwrap();
    }
    hub.ends[1].udp_bind(None, 0).unwrap();
}

#[test]
fn nothing_is_ever_sent_twice_over_a_good_wire() {
    for (mtu, gso) in [(1500, false), (1280, false), (9000, true), (1500, true)] {
        let mut hub = Hub::new([1, 2].map(|n| StackConfig { mtu, gso, ..config(n) }));
        let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
        hub.trace = Some(Vec::new());
        let begin = hub.now;
        let data = bytes(5_000_000);
        assert!(hub.transfer((0, client), (1, server), &data) == data);
        assert_eq!(hub.now, begin, "nobody waited for a timer");
        let trace = hub.trace.take().unwrap();
        let sent: usize =
            trace.iter().filter(|(_, f)| f[26..30] == [10, 0, 0, 1]).map(|(_, f)| f.len() - 54).sum();
        assert!((data.len()..data.len() + 100).contains(&sent), "{mtu} {gso}: {sent}");
    }
}

#[test]
fn what_was_sent_before_it_was_closed_arrives_or_its_end_is_told() {
    // A fifth of all frames is lost, so that attempts are a minute apart in the end.
    for size in (100_000..250_000).step_by(10_000) {
        let mut hub = pair();
        hub.impair = Impair { delay: 20 * MS, ..Impair::default() };
        let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
        hub.impair.loss = 20;
        assert_eq!(hub.ends[0].tcp_send(client, &bytes(size)), Ok(size));
        hub.ends[0].close(client).unwrap();
        let (mut got, mut buffer) = (0, vec![0; 100_000]);
        let until = hub.now + 100_000 * SECOND;
        let ended = hub.run(until, |hub| {
            loop {
                match hub.ends[1].tcp_recv(server, &mut buffer) {
                    Ok(0) | Err(StackError::Reset) => return true,
                    Ok(n) => got += n,
                    Err(StackError::WouldBlock) => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert!(ended, "{got} bytes came");
    }
}
