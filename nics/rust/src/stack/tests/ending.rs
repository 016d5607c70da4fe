//! Connections that end by themselves: nobody answers, or somebody does who does not mean it.

use super::sim::{Hub, MS, SECOND, bytes, config};
use crate::EventKind;
use crate::stack::{StackError, ready};

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
