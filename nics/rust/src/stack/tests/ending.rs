//! Connections that end by themselves: nobody answers, or somebody does who does not mean it.

use super::hostile::tcp_frame;
use super::sim::{Hub, MS, SECOND, bytes, config};
use crate::stack::{KeepAlive, StackConfig, StackError, ready};
use crate::{EventKind, Offload};

#[test]
fn what_nobody_acknowledges_ends_a_connection() {
    for (closed, limit) in [(true, 180 * SECOND), (false, 924 * SECOND)] {
        let mut hub = Hub::new([config(1), config(2)]);
        let (client, _) = hub.connect(0, 1, "10.0.0.2", 80);
        hub.pass(SECOND);
        hub.take_events();
        hub.impair.loss = 100;
        hub.ends[0].tcp_send(client, &bytes(1000)).unwrap();
        if closed {
            hub.ends[0].close(client).unwrap();
        } else {
            assert_eq!(hub.ends[0].tcp_recv(client, &mut [0; 9]), Err(StackError::WouldBlock));
        }
        hub.pass(limit - SECOND);
        assert_eq!(hub.ends[0].socket_count(), Ok(1));
        assert_eq!(hub.take_events(), []);
        hub.pass(2 * SECOND);
        if !closed {
            let told: Vec<_> = hub.take_events().into_iter().map(|event| event.kind).collect();
            assert_eq!(told, [EventKind::Socket(client, u32::from(ready::READ))]);
            assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::TimedOut));
            hub.ends[0].close(client).unwrap();
        }
        assert_eq!(hub.ends[0].socket_count(), Ok(0));
        hub.pass(60 * SECOND);
        assert_eq!(hub.next(), None);
    }
}

#[test]
fn a_connection_that_was_reset_with_unsent_data_stays_reset() {
    let mut hub = Hub::new([config(1), config(2)]);
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[0].tcp_send(client, &bytes(200_000)).unwrap();
    hub.ends[1].tcp_abort(server).unwrap();
    hub.pass(MS);
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Reset));
    hub.pass(2000 * SECOND);
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Err(StackError::Reset));
    hub.ends[0].close(client).unwrap();
    assert_eq!(hub.ends[0].socket_count(), Ok(0));
}

#[test]
fn a_peer_that_only_talks_keeps_no_connection_that_nobody_has() {
    // It never closes its half, and says something again and again.
    let mut hub = Hub::new([config(1), config(2)]);
    let (client, _) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.trace = Some(Vec::new());
    hub.ends[0].close(client).unwrap();
    hub.pass(MS);
    let trace = hub.trace.take().unwrap();
    let (_, last) = trace.iter().rfind(|(_, frame)| frame[26..30] == [10, 0, 0, 2]).unwrap();
    assert_eq!(last[47], 16, "a bare acknowledgement");
    for _ in 0..5 {
        hub.pass(11 * SECOND);
        assert_eq!(hub.ends[0].socket_count(), Ok(1));
        hub.inject(last, Offload { flags: Offload::DATA_VALID, ..Offload::NONE });
    }
    hub.pass(6 * SECOND);
    assert_eq!(hub.ends[0].socket_count(), Ok(0));

    // It never reads, and says so whenever it is asked.
    let mut hub = Hub::new([config(1), StackConfig { receive_buffer: 4096, ..config(2) }]);
    let (client, server) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.ends[0].tcp_send(client, &bytes(10_000)).unwrap();
    hub.pass(1000 * SECOND);
    assert_eq!(hub.ends[0].tcp_connected(client), Ok(()), "who has it decides");
    hub.ends[0].close(client).unwrap();
    hub.pass(179 * SECOND);
    assert_eq!(hub.ends[0].socket_count(), Ok(1));
    hub.pass(2 * SECOND);
    assert_eq!(hub.ends[0].socket_count(), Ok(0));
    assert_eq!(hub.ends[1].tcp_send(server, b"x"), Err(StackError::Reset));
}

#[test]
fn a_handshake_has_its_time_and_no_more() {
    let mut hub = Hub::new([config(1)]);
    hub.ends[0].tcp_listen(None, 80, 4).unwrap();
    let syn = tcp_frame(1, [10, 0, 0, 9].into(), [10, 0, 0, 1].into(), (5, 80), 1, 0, 2, &[]);
    for _ in 0..4 {
        hub.inject(&syn, Offload::NONE);
        hub.pass(4 * SECOND);
        assert_eq!(hub.ends[0].socket_count(), Ok(2));
    }
    hub.inject(&syn, Offload::NONE);
    hub.pass(5 * SECOND);
    assert_eq!(hub.ends[0].socket_count(), Ok(1));
}

#[test]
fn a_long_silence_is_not_held_against_a_peer_that_was_not_asked() {
    let mut hub = Hub::new([config(1), config(2)]);
    let (client, _) = hub.connect(0, 1, "10.0.0.2", 80);
    hub.pass(10_000 * SECOND);
    let keep = KeepAlive { idle: 60 * SECOND, interval: 10 * SECOND, count: 3 };
    hub.ends[0].tcp_keep_alive(client, Some(keep)).unwrap();
    hub.pass(1000 * SECOND);
    assert_eq!(hub.ends[0].tcp_send(client, b"x"), Ok(1));
}
