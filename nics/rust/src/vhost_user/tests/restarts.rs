//! Front-ends and doors that come and go, and guests that move.

use super::super::protocol::feature::LOG_ALL;
use super::front::{GPA, Guest, PLAIN, frame, pair};
use super::host::{Host, memfd};
use crate::nic::Nic;
use crate::socket::Role;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

#[test]
fn a_front_end_may_come_back_and_only_one_is_served() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, PLAIN);
    let mut second = Guest::connect(&mut host, 256);
    assert!(second.hung_up());
    drop(guest);
    // The old one's end and the new one's beginning may be seen in either order.
    let mut third = Guest::connect(&mut host, 256);
    third.set_up(&mut host, PLAIN, 1);
    third.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
    let (carrier, log) = host.news();
    // Of changes that nobody took only the last two are told.
    assert_eq!(carrier, [false, true]);
    assert_eq!(log.len(), 1);
    assert!(log[0].contains("refused a connection"));
    host.nic.detach();
    assert!(!host.path.exists());
}

#[test]
fn a_front_end_that_dies_before_it_has_its_answers_does_no_wrong() {
    let mut host = Host::new();
    for _ in 0..10 {
        let guest = Guest::connect(&mut host, 256);
        for _ in 0..3 {
            guest.request(1, 0, &[], &[]);
        }
        drop(guest);
        host.poll();
    }
    assert_eq!(host.news(), (vec![], vec![]));
    // Nor did anybody have to wait.
    Guest::running(&mut host, PLAIN);
}

#[test]
fn a_client_connects_again_and_again() {
    let mut host = Host::with(|config| config.role = Role::Client);
    host.wait(60_000_000_000);
    let listener = UnixListener::bind(&host.path).unwrap();
    listener.set_nonblocking(true).unwrap();
    for _ in 0..3 {
        host.wait(6_000_000_000);
        let (sock, _) = listener.accept().unwrap();
        host.poll();
        let mut guest = Guest::over(sock, 256);
        guest.set_up(&mut host, PLAIN, 1);
        assert!(host.nic.carrier());
        guest.send(&frame(60, 0));
        assert_eq!(host.receive_all().len(), 1);
        drop(guest);
        host.poll();
        assert!(!host.nic.carrier());
    }
    // The operator takes the link down and up again: the guest sees it.
    host.wait(6_000_000_000);
    let (mut sock, _) = listener.accept().unwrap();
    host.nic.set_link(false, host.now);
    assert_eq!(std::io::Read::read(&mut sock, &mut [0]).unwrap(), 0);
    host.wait(10_000_000_000);
    assert!(listener.accept().is_err());
    host.nic.set_link(true, host.now);
    host.wait(6_000_000_000);
    assert!(listener.accept().is_ok());
    std::fs::remove_file(&host.path).unwrap();
}

#[test]
fn a_reset_by_status_or_request_starts_anew() {
    for reset in [39, 34, 4] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN);
        for i in 0..3 {
            guest.send(&frame(60, i));
            assert_eq!(host.send(&[frame(60, 5)]), []);
        }
        assert_eq!(host.receive_all().len(), 3);
        guest.say(&mut host, 39, &15u64.to_ne_bytes(), &[]);
        assert_eq!(guest.ask(&mut host, 40, &[]), 15);
        guest.say(&mut host, reset, &0u64.to_ne_bytes()[..if reset == 39 { 8 } else { 0 }], &[]);
        assert!(!host.nic.carrier());
        for ring in 0..2 {
            // Asked for afterwards, it still knows how far it was.
            assert_eq!(guest.ask(&mut host, 11, &pair(ring, 0)) >> 32, 3);
        }
        for ring in 0..2 {
            let r = &guest.rings[ring];
            let (next, free) = (r.next, r.free.len());
            assert!(free < 256 || ring == 1);
            guest.start_ring(&mut host, ring, if ring == 0 { 0 } else { next });
        }
        assert!(host.nic.carrier());
        assert_eq!(host.send(&[frame(60, 5)]), []);
    }
}

#[test]
fn a_killed_door_leaves_nothing_lost_and_nothing_twice() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.say(&mut host, 16, &(1u64 << 12).to_ne_bytes(), &[]);
    let spec = [0u64.to_ne_bytes(), 0u64.to_ne_bytes(), [2, 0, 0, 1, 0, 0, 0, 0]].concat();
    // Asked for, kept, and handed over.
    guest.request(31, 0, &spec, &[]);
    host.poll();
    let (spec, fd) = receive_inflight(&mut guest);
    guest.say(&mut host, 32, &spec, &[fd.as_raw_fd()]);
    guest.set_up(&mut host, PLAIN, 1);
    for i in 0..100 {
        guest.send(&frame(60, i));
    }
    host.receive();
    host.send(&[frame(60, 0), frame(60, 1)]);
    // Killed: it said nothing to anybody.
    let Host { nic, .. } = std::mem::replace(&mut host, Host::new());
    std::mem::forget(nic);
    let mut next = Guest::connect(&mut host, 256);
    std::mem::swap(&mut guest.sock, &mut next.sock);
    guest.say(&mut host, 2, &PLAIN.to_ne_bytes(), &[]);
    guest.set_memory(&mut host);
    guest.say(&mut host, 32, &spec, &[fd.as_raw_fd()]);
    guest.start_ring(&mut host, 0, 2);
    guest.start_ring(&mut host, 1, 64);
    let got: Vec<_> = host.receive_all().into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(got, (64..100).map(|i| frame(60, i)).collect::<Vec<_>>());
    assert_eq!(guest.reclaim(1), 100);
    assert_eq!(host.send(&vec![frame(60, 7); 64]), []);
    assert_eq!(guest.receive().len(), 66);
    // And it goes on: as many buffers as there were.
    for _ in 0..4 {
        assert_eq!(host.send(&vec![frame(60, 7); 64]), []);
    }
    assert_eq!(guest.receive().len(), 256);
}

/// The answer to GET_INFLIGHT_FD, with its descriptor.
pub fn receive_inflight(guest: &mut Guest) -> (Vec<u8>, std::os::fd::OwnedFd) {
    use std::os::fd::FromRawFd;
    let mut bytes = vec![0u8; 36];
    let mut control = [0u64; 8];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: plain data.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = 64;
    // SAFETY: everything that msg points to lives through the call.
    let n = unsafe { libc::recvmsg(guest.sock.as_raw_fd(), &raw mut msg, 0) };
    assert_eq!(n, 36);
    // SAFETY: one descriptor came, as the length shows.
    let fd = unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        assert_eq!((*cmsg).cmsg_len as u32, libc::CMSG_LEN(4));
        std::os::fd::OwnedFd::from_raw_fd(libc::CMSG_DATA(cmsg).cast::<i32>().read_unaligned())
    };
    (bytes.split_off(12), fd)
}

#[test]
fn pages_written_to_are_logged_while_the_guest_moves() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN | LOG_ALL & !LOG_ALL);
    let log = memfd(0x20000);
    guest.say(&mut host, 6, &[0x20000u64.to_ne_bytes(), [0; 8]].concat(), &[log.as_raw_fd()]);
    assert_eq!(guest.answer(), Some(0));
    guest.say(&mut host, 2, &(PLAIN | LOG_ALL).to_ne_bytes(), &[]);
    for ring in 0..2 {
        let addr = guest.addr(ring, 1);
        guest.say(&mut host, 9, &addr, &[]);
    }
    assert!(host.nic.carrier());
    assert_eq!(host.send(&[frame(60, 5), frame(5000, 1)]), []);
    guest.send(&frame(60, 3));
    assert_eq!(host.receive_all().len(), 1);
    let used = guest.rings[0].used;
    let mut pages: Vec<u64> = vec![(GPA + used) >> 12, (GPA + guest.rings[1].used) >> 12];
    for (id, len) in guest.used(0) {
        let at = GPA + guest.buffer(0, id as u16);
        pages.extend((at >> 12)..=((at + u64::from(len) - 1) >> 12));
    }
    pages.sort_unstable();
    pages.dedup();
    let mut bits = vec![0u8; 0x20000];
    // SAFETY: a buffer of as many bytes.
    let n = unsafe { libc::pread(log.as_raw_fd(), bits.as_mut_ptr().cast(), 0x20000, 0) };
    assert_eq!(n, 0x20000);
    let set: Vec<u64> = (0..0x20000 * 8)
        .filter(|page| bits[page / 8] >> (page % 8) & 1 == 1)
        .map(|page| page as u64)
        .collect();
    assert_eq!(set, pages);
    // Off again.
    guest.say(&mut host, 2, &PLAIN.to_ne_bytes(), &[]);
    assert_eq!(host.send(&[frame(60, 5)]), []);
    assert!(host.nic.carrier());
}
