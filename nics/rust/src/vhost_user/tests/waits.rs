//! A front-end that would have us wait at the eventfds that it shares with us.

use super::front::{Guest, PLAIN, frame};
use super::host::{Host, count, eventfd};
use crate::nic::Nic;
use std::os::fd::{AsRawFd, OwnedFd};

/// Set it to block, with `value` in it.
fn blocking(fd: &OwnedFd, value: u64) {
    count(fd);
    // SAFETY: no pointers but one to eight bytes of a local.
    unsafe {
        if value > 0 {
            assert_eq!(libc::write(fd.as_raw_fd(), (&raw const value).cast(), 8), 8);
        }
        assert_eq!(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, 0), 0);
    }
}

#[test]
fn an_interrupt_that_would_wait_is_given_up_and_there_is_no_other() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    assert_eq!(host.news(), (vec![true], vec![]));
    for _ in 0..2 {
        for fd in &guest.calls {
            blocking(fd, u64::MAX - 1);
        }
        guest.send(&frame(60, 0));
        assert_eq!(host.receive_all().len(), 1);
        assert_eq!(host.send(&[frame(60, 0)]), []);
        host.wait(1_000_000);
        assert_eq!(guest.receive().len(), 1, "frames go on");
    }
    let (carrier, log) = host.news();
    assert_eq!(carrier, []);
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("not interrupted any more"), "{log:?}");
    // Nor is one that it brings later.
    let call = eventfd();
    guest.say(&mut host, 13, &0u64.to_ne_bytes(), &[call.as_raw_fd()]);
    assert_eq!(host.send(&[frame(60, 0)]), []);
    host.wait(1_000_000);
    assert_eq!(count(&call), 0);
}

#[test]
fn a_kick_that_somebody_else_reads_is_a_kick() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    host.receive_all();
    assert!(host.nic.arm());
    // A read would wait for ever.
    blocking(&guest.kicks[1], 0);
    assert!(!host.woken());
    let before = guest.rings[1].next;
    guest.send(&frame(60, 1));
    assert!(guest.kick(1, before));
    host.poll();
    assert_eq!(host.receive_all().len(), 1);
}
