//! What a hostile front-end says.

use super::super::protocol::feature::LOG_ALL;
use super::front::{GPA, Guest, PLAIN, SIZE, UVA, frame, pair, table};
use super::host::{Host, alone, eventfd, memfd, open_fds};
use crate::nic::Nic;
use crate::testkit::{BIRTHS, PATIENCE};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// It was hung up on, one line says why, and it may come back.
fn hung_up(host: &mut Host, guest: &mut Guest, why: &str) {
    assert!(guest.hung_up(), "{why}");
    assert!(!host.nic.carrier());
    let (_, log) = host.news();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains(why), "{log:?} should say {why:?}");
    host.wait(6_000_000_000);
    let mut fresh = Guest::running(host, PLAIN);
    fresh.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
}

fn case(why: &str, attack: impl FnOnce(&mut Host, &mut Guest)) {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    attack(&mut host, &mut guest);
    hung_up(&mut host, &mut guest, why);
}

#[test]
fn headers_and_bodies_that_make_no_sense() {
    case("no version 1 request", |host, guest| {
        guest.raw(&[0xff; 64], &[]);
        host.poll();
    });
    case("longer than any message", |host, guest| {
        guest.raw(&[[5, 0, 0, 0], [1, 0, 0, 0], [255; 4]].concat(), &[]);
        host.poll();
    });
    case("too short", |host, guest| guest.say(host, 2, &[1; 4], &[]));
    case("more than 8 regions", |host, guest| guest.say(host, 5, &[255; 264], &[]));
    case("not offered", |host, guest| guest.say(host, 2, &u64::MAX.to_ne_bytes(), &[]));
    case("not offered", |host, guest| guest.say(host, 16, &u64::MAX.to_ne_bytes(), &[]));
    case("other features while", |host, guest| guest.say(host, 2, &0u64.to_ne_bytes(), &[]));
    case("beyond the offered", |host, guest| guest.say(host, 18, &pair(8, 1), &[]));
    case("beyond the offered", |host, guest| guest.say(host, 11, &pair(u32::MAX, 1), &[]));
    case("ring of 3 entries", |host, guest| guest.say(host, 8, &pair(3, 3), &[]));
    case("ring of 0 entries", |host, guest| guest.say(host, 8, &pair(3, 0), &[]));
    case("ring of 65536 entries", |host, guest| guest.say(host, 8, &pair(3, 65_536), &[]));
    case("ring size while", |host, guest| guest.say(host, 8, &pair(1, 512), &[]));
    case("ring index while", |host, guest| guest.say(host, 10, &pair(1, 512), &[]));
}

#[test]
fn descriptors_missing_and_descriptors_too_many() {
    case("0 descriptors", |host, guest| guest.say(host, 5, &table(&[(GPA, SIZE, UVA, 0)]), &[]));
    case("0 descriptors", |host, guest| guest.say(host, 12, &1u64.to_ne_bytes(), &[]));
    let fd = eventfd();
    let fd = fd.as_raw_fd();
    case("2 descriptors", |host, guest| guest.say(host, 12, &1u64.to_ne_bytes(), &[fd, fd]));
    case("1 descriptors", |host, guest| guest.say(host, 3, &[], &[fd]));
    case("1 descriptors", |host, guest| guest.say(host, 12, &0x101u64.to_ne_bytes(), &[fd]));
    case("2 descriptors", |host, guest| guest.say(host, 99, &[], &[fd, fd]));
    case("more descriptors", |host, guest| guest.say(host, 3, &[], &[fd; 9]));
    case("more descriptors", |host, guest| {
        // Beside two halves of one message.
        guest.raw(&[5, 0, 0, 0, 1, 0], &[fd; 8]);
        host.poll();
        guest.raw(&[0, 0, 8, 0, 0, 0], &[fd; 8]);
        host.poll();
    });
    case("more descriptors", |host, guest| guest.say(host, 5, &table(&[(GPA, SIZE, UVA, 0)]), &[fd; 28]));
}

#[test]
fn descriptors_that_are_something_else() {
    let (read, write) = std::io::pipe().unwrap();
    for request in [12, 13, 14] {
        case("no eventfd", |host, guest| {
            guest.say(host, request, &1u64.to_ne_bytes(), &[write.as_raw_fd()]);
        });
    }
    case("no shared memory", |host, guest| {
        guest.say(host, 5, &table(&[(GPA, SIZE, UVA, 0)]), &[read.as_raw_fd()]);
    });
    case("no shared memory", |host, guest| {
        guest.say(host, 6, &[4096u64.to_ne_bytes(), [0; 8]].concat(), &[read.as_raw_fd()]);
    });
}

#[test]
fn memory_tables_that_can_not_be() {
    let mem = memfd(0x10000);
    let fd = mem.as_raw_fd();
    for (regions, why) in [
        (vec![(0, 0x10001, 0, 0)], "beyond the end"),
        (vec![(0, 0x10000, 0, 0x1000)], "beyond the end"),
        (vec![(0, 0, 0, 0)], "impossible size"),
        (vec![(u64::MAX, 0x1000, 0, 0)], "impossible size"),
        (vec![(0, 0x1000, u64::MAX, 0)], "impossible size"),
        (vec![(0, 0x1000, 0, u64::MAX)], "impossible size"),
        // Found before any of it is mapped.
        (vec![(0, u64::MAX, 0, 0)], "more memory regions or bytes"),
        (vec![(0, 1 << 40, 0, 0), (1 << 40, 0x1000, 1 << 40, 0)], "more memory regions or bytes"),
        (vec![(0, 0x2000, 0, 0), (0x1000, 0x1000, 0x10000, 0)], "overlap"),
        (vec![(0, 0x2000, 0, 0), (0x10000, 0x1000, 0x1000, 0)], "overlap"),
    ] {
        let fds = vec![fd; regions.len()];
        case(why, |host, guest| guest.say(host, 5, &table(&regions), &fds));
        // Whoever asks is told, and nothing changes.
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN);
        assert_eq!(guest.acked(&mut host, 5, &table(&regions), &fds), Some(1));
        assert!(host.nic.carrier());
    }
}

#[test]
fn a_socket_that_stops_in_the_middle_stops_nobody() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    let fd = guest.memfd.as_raw_fd();
    let mut message = [5u32.to_ne_bytes(), 1u32.to_ne_bytes(), 40u32.to_ne_bytes()].concat();
    message.extend(table(&[(GPA, SIZE, UVA, 0)]));
    for cut in [1, 11, 12, 13, 51] {
        guest.raw(&message[..cut], &[fd]);
        host.poll();
        assert!(!host.woken());
        guest.send(&frame(60, cut));
        assert_eq!(host.receive_all().len(), 1);
        guest.raw(&message[cut..], &[]);
        host.poll();
        assert!(host.nic.carrier());
    }
    guest.raw(&message[..20], &[fd]);
    host.poll();
    drop(guest);
    host.poll();
    Guest::running(&mut host, PLAIN);
}

#[test]
fn a_front_end_that_does_not_read_its_answers() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for _ in 0..10_000 {
        guest.request(1, 0, &[], &[]);
        host.poll();
        if !host.nic.carrier() {
            break;
        }
    }
    assert!(!host.nic.carrier());
    while guest.answer().is_some() {}
    assert!(guest.hung_up());
}

#[test]
fn a_flood_of_requests_is_worked_off_in_portions() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, PLAIN);
    for _ in 0..1000 {
        guest.request(18, 0, &pair(1, 1), &[]);
    }
    host.nic.ready(1, crate::poller::Readiness { read: true, write: false, hangup: false }, host.now);
    assert!(host.woken(), "most of it still waits");
    host.poll();
    assert!(host.nic.carrier());
}

#[test]
fn rings_outside_memory_are_a_broken_device() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for (which, value) in
        [(0, UVA - 1), (0, UVA + SIZE - 8), (1, UVA + 2), (1, u64::MAX), (2, UVA + 1), (2, 0), (0, UVA + 8)]
    {
        let mut body = guest.addr(1, 0);
        body[8 + which * 8..16 + which * 8].copy_from_slice(&u64::to_ne_bytes(value));
        guest.say(&mut host, 9, &body, &[]);
        assert!(!host.nic.carrier());
        host.wait(6_000_000_000);
        let (_, log) = host.news();
        assert!(log[0].contains("the ring itself"), "{log:?}");
        for ring in 0..2 {
            guest.ask(&mut host, 11, &pair(ring, 0));
        }
        guest.start_ring(&mut host, 0, 0);
        guest.start_ring(&mut host, 1, 0);
        assert!(host.nic.carrier());
        host.news();
    }
    // Memory that the rings are not in.
    let other = memfd(0x1000);
    guest.say(&mut host, 5, &table(&[(0, 0x1000, 0, 0)]), &[other.as_raw_fd()]);
    assert!(!host.nic.carrier());
}

#[test]
fn unknown_requests_are_refused_and_nothing_else() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for request in [0, 21, 22, 25, 33, 35, 41, 42, 1000, u32::MAX] {
        host.wait(6_000_000_000);
        guest.say(&mut host, request, &[0; 100], &[]);
        assert_eq!(guest.acked(&mut host, request, &[0; 100], &[eventfd().as_raw_fd()]), Some(1));
    }
    assert!(host.nic.carrier());
}

#[test]
fn every_order_of_the_setup_ends_in_a_running_device() {
    // Each step in every position once, by rotation and reversal.
    for rotate in 0..7 {
        for reverse in [false, true] {
            let mut host = Host::new();
            let mut guest = Guest::connect(&mut host, 256);
            guest.say(&mut host, 2, &PLAIN.to_ne_bytes(), &[]);
            let fd = guest.memfd.as_raw_fd();
            let mut steps: Vec<usize> = (0..7).collect();
            steps.rotate_left(rotate);
            if reverse {
                steps.reverse();
            }
            for step in steps {
                for ring in 0..2u32 {
                    let index = u64::from(ring).to_ne_bytes();
                    let ring = ring as usize;
                    match step {
                        0 => guest.say(&mut host, 8, &pair(ring as u32, 256), &[]),
                        1 => guest.say(&mut host, 9, &guest.addr(ring, 0), &[]),
                        2 => guest.say(&mut host, 12, &index, &[guest.kicks[ring].as_raw_fd()]),
                        3 => guest.say(&mut host, 13, &index, &[guest.calls[ring].as_raw_fd()]),
                        4 => guest.say(&mut host, 18, &pair(ring as u32, 1), &[]),
                        5 => guest.say(&mut host, 5, &table(&[(GPA, SIZE, UVA, 0)]), &[fd]),
                        _ => guest.say(&mut host, 14, &index, &[guest.calls[ring].as_raw_fd()]),
                    }
                }
            }
            guest.fill_all(1);
            assert!(host.nic.carrier());
            guest.send(&frame(60, 0));
            assert_eq!(host.receive_all().len(), 1);
            assert_eq!(host.send(&[frame(60, 0)]), []);
            assert_eq!(guest.receive().len(), 1);
        }
    }
}

#[test]
fn connecting_over_and_over_leaks_nothing() {
    if !alone("vhost_user::tests::messages::connecting_over_and_over_leaks_nothing") {
        return;
    }
    let mut host = Host::new();
    let mut before = 0;
    for round in 0..100 {
        let mut guest = Guest::connect(&mut host, 256);
        guest.set_up(&mut host, PLAIN, 2);
        let log = memfd(4096);
        guest.say(&mut host, 6, &[4096u64.to_ne_bytes(), [0; 8]].concat(), &[log.as_raw_fd()]);
        guest.say(&mut host, 2, &(PLAIN | LOG_ALL).to_ne_bytes(), &[]);
        match round % 3 {
            0 => guest.raw(&[0xff; 12], &[log.as_raw_fd()]),
            1 => guest.raw(&[5, 0, 0], &[log.as_raw_fd(); 5]),
            _ => {}
        }
        drop((guest, log));
        host.poll();
        host.nic.until_closed();
        host.wait(6_000_000_000);
        if round == 10 {
            before = open_fds();
        }
    }
    assert_eq!(open_fds(), before);
}

/// A socket whose last close waits, and the end that nobody reads from: gone, it waits no longer.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 65536]).is_ok() {}
    socket2::SockRef::from(&socket).set_linger(Some(Duration::from_secs(60))).unwrap();
    (socket, peer)
}

#[test]
fn descriptors_that_are_slow_to_close_delay_nobody() {
    let _births = BIRTHS.lock();
    let call = |guest: &Guest, fd| guest.request(13, 0, &0u64.to_ne_bytes(), &[fd]);
    let unknown = |guest: &Guest, fd| guest.request(99, 0, &[], &[fd]);
    let memory = |guest: &Guest, fd| guest.request(5, 0, &table(&[(GPA, SIZE, UVA, 0)]), &[fd]);
    let unexpected = |guest: &Guest, fd| guest.request(3, 0, &[], &[fd]);
    // More than any message has, and more than there was room for.
    let surplus = |guest: &Guest, fd| {
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut fds = [null.as_raw_fd(); 250];
        fds[249] = fd;
        guest.request(5, 0, &table(&[(GPA, SIZE, UVA, 0)]), &fds);
    };
    // Never read, because what came before it was the end.
    let unread = |guest: &Guest, fd| {
        guest.raw(&[0xff; 12], &[]);
        guest.request(13, 0, &0u64.to_ne_bytes(), &[fd]);
    };
    let none = |_: &Guest, _| ();
    // By another connection, which is refused; by one that nobody took yet.
    type Way<'a> = (bool, bool, &'a dyn Fn(&Guest, i32));
    let ways: [Way<'_>; 8] = [
        (false, false, &call),
        (false, false, &unknown),
        (false, false, &memory),
        (false, false, &unexpected),
        (false, false, &surplus),
        (false, false, &unread),
        (true, false, &none),
        (false, true, &none),
    ];
    for (way, (second, waits, send)) in ways.into_iter().enumerate() {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        let (socket, peer) = lingering();
        send(&guest, socket.as_raw_fd());
        if second || waits {
            let other = Guest::over(UnixStream::connect(&host.path).unwrap(), 256);
            call(&other, socket.as_raw_fd());
            guest = other;
        }
        // Not the last of it: that one is ours.
        drop(socket);
        let start = Instant::now();
        if waits {
            host.nic.detach();
        }
        host.poll();
        assert!(!(second || waits) || guest.hung_up(), "way {way}");
        let took = start.elapsed();
        drop(peer);
        assert!(took < Duration::from_secs(5), "way {way}: the engine stood still for {took:?}");
    }
}

/// How many descriptors of this process lead to the same as `fd`.
fn held(fd: &impl AsRawFd) -> usize {
    let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let this = link(fd.as_raw_fd());
    // Others of this process come and go meanwhile.
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    fds.filter(|entry| std::fs::read_link(entry.path()).ok() == this).count()
}

/// Wait until nobody has the other end of `pipe` open any more.
fn is_closed(pipe: &std::io::PipeReader) {
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: 0, revents: 0 };
    // A timer's signal may come in between.
    let n = (0..100)
        // SAFETY: one pollfd that lives through the call.
        .map(|_| unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as i32) })
        .find(|n| *n >= 0)
        .unwrap();
    assert_eq!((n, poll.revents & libc::POLLHUP), (1, libc::POLLHUP), "it was not closed");
}

#[test]
fn of_what_is_slow_to_close_a_door_has_only_so_much() {
    let _births = BIRTHS.lock();
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    let (socket, peer) = lingering();
    guest.request(99, 0, &[], &[socket.as_raw_fd()]);
    drop(socket);
    host.poll();
    // What comes behind it waits for it, until there is too much.
    let (read, write) = std::io::pipe().unwrap();
    let mut most = 0;
    for _ in 0..600 {
        guest.say(&mut host, 99, &[], &[write.as_raw_fd()]);
        most = most.max(held(&write));
    }
    assert!(guest.hung_up());
    assert!((250..=262).contains(&most), "{most} of its descriptors are open");
    // Nor is anybody else let in, however often they try.
    let mut others: Vec<_> =
        (0..10).map(|_| Guest::over(UnixStream::connect(&host.path).unwrap(), 256)).collect();
    for _ in 0..10 {
        host.wait(6_000_000_000);
        host.poll();
    }
    for other in &mut others {
        other.request(1, 0, &[], &[]);
        host.poll();
        assert_eq!(other.answer(), None);
        assert!(!other.hung_up());
    }
    let (_, log) = host.news();
    assert!(log.last().unwrap().contains("still to be closed"), "{log:?}");
    // At another door what is sent is closed as ever.
    let mut elsewhere = Host::new();
    let neighbour = Guest::running(&mut elsewhere, PLAIN);
    let (there, sent) = std::io::pipe().unwrap();
    neighbour.say(&mut elsewhere, 99, &[], &[sent.as_raw_fd()]);
    drop(sent);
    is_closed(&there);
    // And once it comes to its end, the door is open again.
    drop((peer, others, write));
    is_closed(&read);
    // Those who came and went meanwhile are taken one by one, and hear no answer.
    for _ in 0..20 {
        host.wait(6_000_000_000);
        host.poll();
    }
    let mut fresh = Guest::running(&mut host, PLAIN);
    fresh.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn of_requests_that_take_their_time_a_turn_has_one() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    let (fd, kick) = (guest.memfd.as_raw_fd(), guest.kicks[1].as_raw_fd());
    let (memory, addr) = (table(&[(GPA, SIZE, UVA, 0)]), guest.addr(1, 0));
    // Nearly the region that is there.
    let overlap: Vec<u8> =
        [0, GPA + 0x1000, SIZE, UVA, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let overlapping = table(&[(GPA, SIZE, UVA, 0); 2]);
    for (request, body, fds, answer) in [
        (5, &memory, vec![fd], 0),
        (5, &overlapping, vec![fd; 2], 1),
        (37, &overlap, vec![fd], 1),
        (9, &addr, vec![], 0),
        (12, &1u64.to_ne_bytes().to_vec(), vec![kick], 0),
    ] {
        for _ in 0..3 {
            guest.request(request, 8, body, &fds);
        }
        // It need not be told that there is more.
        for _ in 0..3 {
            assert!(host.turn());
            assert_eq!((guest.answer(), guest.answer()), (Some(answer), None), "request {request}");
        }
        assert!(host.nic.carrier());
    }
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn a_port_that_is_held_answers() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    host.poller.hold(7, true);
    assert!(!host.woken());
    // A VMM may stand still until it has heard.
    assert_ne!(guest.ask(&mut host, 1, &[]), 0);
    crate::poller::signal(&guest.kicks[1]);
    assert!(!host.woken(), "its frames are left where they are");
    host.poller.hold(7, false);
    assert!(host.woken());
}
