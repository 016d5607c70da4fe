//! A `dgram` door against real sockets.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backoff::Backoff;
use crate::frame::{HEAD, Seg};
use crate::outgoing::Outgoing;

use crate::testkit::{Bench, Folder, PATIENCE, numbered};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use switch::TagEdit;

fn unix(folder: &Folder) -> Bench<DgramNic> {
    let (local, remote) = (folder.endpoint("vnet"), folder.endpoint("vm"));
    Bench::new(DgramNic::open(Some(&local), Some(&remote)).unwrap())
}

fn vm(folder: &Folder) -> UnixDatagram {
    let vm = UnixDatagram::bind(folder.path("vm")).unwrap();
    vm.set_read_timeout(Some(PATIENCE)).unwrap();
    vm
}

fn parse(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

fn udp(host: &str) -> (Bench<DgramNic>, UdpSocket, SocketAddr) {
    let vm = UdpSocket::bind(host).unwrap();
    vm.set_read_timeout(Some(PATIENCE)).unwrap();
    let remote = Endpoint::Inet(vm.local_addr().unwrap());
    let nic = DgramNic::open(Some(&parse(host)), Some(&remote)).unwrap();
    let at = inet(&nic);
    (Bench::new(nic), vm, at)
}

fn inet(nic: &DgramNic) -> SocketAddr {
    match nic.bound_at() {
        Some(Endpoint::Inet(at)) => at,
        other => panic!("bound at {other:?}"),
    }
}

fn numbers(range: std::ops::Range<u32>, len: usize) -> Vec<Vec<u8>> {
    range.map(|i| numbered(i, len)).collect()
}

#[test]
fn frames_of_all_sizes_pass_both_ways_over_unix_sockets() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = unix(&folder);
    assert_eq!(bench.carrier, [true], "somebody is there");
    let mut room = vec![0; 70_000];
    for (i, n) in [14, 60, 128, 129, 1514, 9018, 65_535, FRAME_MAX].into_iter().enumerate() {
        let frame = numbered(n as u32, n);
        vm.send_to(&frame, folder.path("vnet")).unwrap();
        bench.until("received", |b| b.received.len() > i);
        assert_eq!(bench.received[i], frame);
        assert_eq!(bench.send(std::slice::from_ref(&frame)), 1);
        let (got, from) = vm.recv_from(&mut room).unwrap();
        assert_eq!(room[..got], frame);
        assert_eq!(from.as_pathname(), Some(folder.path("vnet").as_path()));
    }
}

#[test]
fn frames_of_all_sizes_pass_both_ways_over_udp() {
    for (host, longest) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
        let (mut bench, vm, at) = udp(host);
        assert_eq!(bench.nic.caps().max_frame, longest);
        let mut room = vec![0; 70_000];
        for (i, n) in [14, 60, 1514, 9018, longest as usize].into_iter().enumerate() {
            let frame = numbered(n as u32, n);
            vm.send_to(&frame, at).unwrap();
            bench.until("received", |b| b.received.len() > i);
            assert_eq!(bench.received[i], frame);
            assert_eq!(bench.send(std::slice::from_ref(&frame)), 1);
            let (got, from) = vm.recv_from(&mut room).unwrap();
            assert_eq!((&room[..got], from), (&frame[..], at));
        }
    }
}

#[test]
fn bursts_are_received_and_sent_in_order_with_tags_edited_and_chains_flattened() {
    let (mut bench, vm, at) = udp("127.0.0.1:0");
    let frames = numbers(0..200, 1000);
    for frame in &frames {
        vm.send_to(frame, at).unwrap();
    }
    bench.until("received", |b| b.received.len() == frames.len());
    assert_eq!(bench.received, frames);
    let mut room = vec![0; 70_000];
    let data = numbered(7, 20_000);
    for pieces in [1, 3, 100, 300, 2000] {
        let body = &data[HEAD..];
        let segs: Vec<Seg<'_>> = body.chunks(body.len().div_ceil(pieces)).map(Seg::from).collect();
        let chain = Frame::scattered(&data[..HEAD], segs[0], &segs[1..], Offload::NONE);
        for edit in [TagEdit::NONE, TagEdit { strip: 0, insert: 0x8100_0009, ..TagEdit::NONE }] {
            let mut want = data.clone();
            if edit != TagEdit::NONE {
                want.splice(12..12, [0x81, 0, 0, 9]);
            }
            let (before, after) = (numbered(1, 100), numbered(2, 100));
            let burst =
                [Frame::flat(&before, Offload::NONE), chain, chain, Frame::flat(&after, Offload::NONE)];
            assert_eq!(bench.send_frames(&burst, edit), 4);
            bench.nic.flush(bench.now);
            let mut got = Vec::new();
            for _ in 0..4 {
                let n = vm.recv(&mut room).unwrap();
                got.push(room[..n].to_vec());
            }
            assert_eq!(got[1..3], [want.clone(), want], "{pieces} pieces");
            assert_eq!(got[0][got[0].len() - 80..], before[20..]);
            assert_eq!(got[3][got[3].len() - 80..], after[20..]);
        }
    }
}

#[test]
fn datagrams_that_are_no_frames_are_counted_and_a_greeting_is_not() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = unix(&folder);
    for bytes in [&b"VFKT"[..], b"", &[0; FRAME_MAX + 1], &[0; Arena::SLOT + 1], &numbered(1, 60)] {
        vm.send_to(bytes, folder.path("vnet")).unwrap();
    }
    bench.until("received", |b| b.received.len() == 1);
    assert_eq!(bench.received[0], numbered(1, 60));
    assert_eq!(bench.dropped(DropReason::DoorMalformed), 3);
    assert!(bench.log.is_empty());
}

#[test]
fn only_the_peer_may_send_over_unix_sockets() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = unix(&folder);
    let named = UnixDatagram::bind(folder.path("other")).unwrap();
    let unnamed = UnixDatagram::unbound().unwrap();
    for stranger in [&named, &unnamed, &named] {
        stranger.send_to(&numbered(9, 60), folder.path("vnet")).unwrap();
    }
    vm.send_to(&numbered(1, 60), folder.path("vnet")).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    assert_eq!(bench.received[0], numbered(1, 60));
    assert_eq!(bench.dropped(DropReason::DoorStranger), 3);
    let (other, vm) = (folder.path("other"), folder.path("vm"));
    let line = format!("dropped a datagram from {}: only {} may send", other.display(), vm.display());
    assert_eq!(bench.log, [line]);
}

#[test]
fn a_peer_may_know_its_own_path_by_another_name() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("run")).unwrap();
    std::os::unix::fs::symlink(folder.path("run"), folder.path("var")).unwrap();
    let vm = UnixDatagram::bind(folder.path("run/vm")).unwrap();
    let (local, remote) = (folder.endpoint("vnet"), folder.endpoint("var/vm"));
    let mut bench = Bench::new(DgramNic::open(Some(&local), Some(&remote)).unwrap());
    for i in 0..3 {
        vm.send_to(&numbered(i, 60), folder.path("vnet")).unwrap();
    }
    bench.until("received", |b| b.received.len() == 3);
    assert!(bench.drops.is_empty());
}

#[test]
fn only_the_peer_may_send_over_udp_and_strangers_do_not_use_up_its_room() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let (mut bench, vm, at) = udp(host);
        let stranger = UdpSocket::bind(host).unwrap();
        for i in 0..100 {
            stranger.send_to(&numbered(i, 60), at).unwrap();
        }
        vm.send_to(&numbered(1, 60), at).unwrap();
        bench.until("all came", |b| b.received.len() == 1 && b.dropped(DropReason::DoorStranger) == 100);
        assert_eq!(bench.received[0], numbered(1, 60));
        let (from, peer) = (stranger.local_addr().unwrap(), vm.local_addr().unwrap());
        assert_eq!(bench.log, [format!("dropped a datagram from {from}: only {peer} may send")]);
        // The port is shared by the door's own two sockets, and by nobody else.
        let thief =
            socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::DGRAM, None).unwrap();
        thief.set_reuse_address(true).unwrap();
        assert!(thief.bind(&at.into()).is_err());
    }
}

#[test]
fn without_remote_the_first_sender_is_the_peer_until_it_is_gone() {
    let folder = Folder::new();
    let mut bench = Bench::new(DgramNic::open(Some(&folder.endpoint("vnet")), None).unwrap());
    assert!(!bench.nic.carrier());
    assert_eq!(bench.send(&[numbered(0, 60)]), 0);
    let first = UnixDatagram::bind(folder.path("first")).unwrap();
    let second = UnixDatagram::bind(folder.path("second")).unwrap();
    // The greeting is enough to be known by.
    first.send_to(b"VFKT", folder.path("vnet")).unwrap();
    bench.until("up", |b| b.nic.carrier());
    second.send_to(&numbered(9, 60), folder.path("vnet")).unwrap();
    bench.until("counted", |b| b.dropped(DropReason::DoorStranger) == 1);
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    let mut room = [0; 100];
    assert_eq!(first.recv(&mut room).unwrap(), 60);
    drop(first);
    bench.send(&[numbered(2, 60)]);
    assert!(!bench.nic.carrier());
    second.send_to(&numbered(3, 60), folder.path("vnet")).unwrap();
    bench.until("the second one's", |b| b.received == [numbered(3, 60)]);
    assert_eq!(bench.carrier, [true, false, true]);
}

#[test]
fn without_remote_udp_learns_its_peer_too() {
    // With a port that the kernel chose, and with one that was asked for.
    let nic = DgramNic::open(Some(&parse("127.0.0.1:0")), None).unwrap();
    let at = inet(&nic);
    learn(nic, at);
    learn(DgramNic::open(Some(&Endpoint::Inet(at)), None).unwrap(), at);
}

fn learn(nic: DgramNic, at: SocketAddr) {
    let mut bench = Bench::new(nic);
    for round in 1..4 {
        let vm = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        vm.send_to(&numbered(round, 60), at).unwrap();
        bench.until("received", |b| b.received.len() == round as usize);
        stranger.send_to(&numbered(9, 60), at).unwrap();
        bench.until("counted", |b| b.dropped(DropReason::DoorStranger) == u64::from(round));
        assert_eq!(bench.send(&[numbered(1, 60)]), 1);
        assert_eq!(vm.recv(&mut [0; 100]).unwrap(), 60);
        drop(vm);
        bench.send(&[numbered(2, 60)]);
        bench.until("down", |b| !b.nic.carrier());
    }
    assert_eq!(inet(&bench.nic), at);
}

#[test]
fn a_missing_unix_peer_is_looked_for_with_growing_waits() {
    let folder = Folder::new();
    let mut bench = unix(&folder);
    assert!(!bench.nic.carrier());
    let mut waits = Vec::new();
    for _ in 0..7 {
        let wait = bench.nic.deadline().unwrap() - bench.now;
        waits.push(wait / 1_000_000);
        bench.advance(wait);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000]);
    let vm = vm(&folder);
    bench.advance(Backoff::LONGEST);
    assert_eq!(bench.carrier, [true]);
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    assert_eq!(vm.recv(&mut [0; 100]).unwrap(), 60);
    assert!(bench.log.is_empty());
}

#[test]
fn a_unix_peer_that_makes_its_socket_again_is_found_again() {
    let folder = Folder::new();
    let old = vm(&folder);
    let mut bench = unix(&folder);
    // At once, as QEMU does when it starts over: without a gap that we could notice.
    std::fs::remove_file(folder.path("vm")).unwrap();
    let new = vm(&folder);
    drop(old);
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    assert_eq!(new.recv(&mut [0; 100]).unwrap(), 60);
    new.send_to(&numbered(2, 60), folder.path("vnet")).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    // With a gap: down, and up with the first frame from it.
    drop(new);
    std::fs::remove_file(folder.path("vm")).unwrap();
    bench.send(&[numbered(3, 60)]);
    assert!(!bench.nic.carrier());
    let newest = vm(&folder);
    newest.send_to(&numbered(4, 60), folder.path("vnet")).unwrap();
    bench.until("received", |b| b.received.len() == 2);
    assert_eq!(bench.carrier, [true, false, true]);
    assert_eq!(bench.send(&[numbered(5, 60)]), 1);
    assert_eq!(newest.recv(&mut [0; 100]).unwrap(), 60);
}

#[test]
fn a_missing_udp_peer_is_asked_for_in_silence() {
    let (mut bench, vm, at) = udp("127.0.0.1:0");
    let address = vm.local_addr().unwrap();
    drop(vm);
    bench.send(&[numbered(1, 60)]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        bench.until("down", |b| b.nic.deadline().is_some_and(|due| due != b.now + Peer::PATIENCE));
        let wait = bench.nic.deadline().unwrap() - bench.now;
        waits.push(wait / 1_000_000);
        assert_eq!(bench.send(&[numbered(1, 60)]), 0);
        bench.now += wait;
        bench.nic.tick(bench.now);
        assert!(!bench.nic.carrier());
        assert_eq!(bench.nic.deadline(), Some(bench.now + Peer::PATIENCE));
    }
    assert_eq!((waits, &bench.carrier[..]), (vec![100, 200, 400, 800], &[true, false][..]));
    // It only listens: what is not refused for a second has arrived.
    bench.until("refused", |b| b.nic.deadline() != Some(b.now + Peer::PATIENCE));
    let vm = UdpSocket::bind(address).unwrap();
    vm.set_read_timeout(Some(PATIENCE)).unwrap();
    bench.advance(bench.nic.deadline().unwrap() - bench.now);
    let mut frame = [0; 100];
    assert_eq!(vm.recv(&mut frame).unwrap(), 60);
    assert_eq!(frame[..14], *b"\x01\x80\xc2\0\0\x0e\x02vnet\0\x88\xb5");
    bench.advance(Peer::PATIENCE - 1);
    assert_eq!(bench.carrier, [true, false]);
    bench.advance(1);
    assert_eq!(bench.carrier, [true, false, true]);
    assert_eq!(bench.nic.deadline(), None);
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    assert_eq!(vm.recv(&mut frame).unwrap(), 60);
    vm.send_to(&numbered(2, 60), at).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    drop(vm);
    bench.send(&[numbered(1, 60)]);
    bench.until("down", |b| !b.nic.carrier());
    assert_eq!(bench.nic.deadline(), Some(bench.now + Backoff::FIRST), "it had been there");
    assert!(bench.log.is_empty());
}

#[test]
fn two_udp_doors_find_each_other_again_although_neither_has_a_frame_to_send() {
    let (mut one, vm, at) = udp("127.0.0.1:0");
    let address = vm.local_addr().unwrap();
    drop(vm);
    one.send(&[numbered(1, 60)]);
    one.until("down", |b| !b.nic.carrier());
    let (local, remote) = (Endpoint::Inet(address), Endpoint::Inet(at));
    let mut other = Bench::new(DgramNic::open(Some(&local), Some(&remote)).unwrap());
    one.advance(Backoff::FIRST);
    other.until("asked", |b| b.received.len() == 1);
    one.advance(Peer::PATIENCE);
    assert_eq!((&one.carrier[..], &other.carrier[..]), (&[true, false, true][..], &[true][..]));
    // A link that is down asks nobody.
    drop(other);
    let vm = UdpSocket::bind(address).unwrap();
    vm.set_nonblocking(true).unwrap();
    let now = one.now;
    one.nic.missing(&io::Error::from_raw_os_error(libc::ECONNREFUSED), now);
    one.nic.set_link(false, now);
    one.advance(20 * Peer::PATIENCE);
    assert!(vm.recv(&mut [0; 100]).is_err());
    one.nic.set_link(true, now);
    one.advance(Backoff::LONGEST + Peer::PATIENCE);
    assert!(one.nic.carrier());
}

#[test]
fn a_burst_longer_than_a_unix_receivers_queue_arrives_whole() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = unix(&folder);
    let frames = numbers(0..100, 1514);
    assert_eq!(bench.send(&frames), frames.len());
    vm.set_nonblocking(true).unwrap();
    let (mut got, mut room) = (Vec::new(), [0; 2000]);
    let mut waits = 0;
    while got.len() < frames.len() {
        while let Ok(n) = vm.recv(&mut room) {
            got.push(room[..n].to_vec());
        }
        let Some(due) = bench.nic.deadline() else { continue };
        assert_eq!(due - bench.now, DgramNic::FIRST_WAIT, "it moves, so the wait is short");
        waits += 1;
        assert!(waits < 100);
        bench.advance(DgramNic::FIRST_WAIT);
    }
    assert_eq!(got, frames);
    assert!(bench.drops.is_empty() && bench.nic.deadline().is_none());
}

#[test]
fn a_peer_that_stops_reading_costs_a_bounded_ring_and_fewer_and_fewer_tries() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = unix(&folder);
    let frames = numbers(0..1000, 1514);
    let taken: Vec<usize> =
        (0..frames.len()).filter(|&i| bench.send(std::slice::from_ref(&frames[i])) == 1).collect();
    assert!(taken.len() < frames.len());
    assert_eq!(bench.dropped(DropReason::TxFull), (frames.len() - taken.len()) as u64);
    assert!(bench.nic.outgoing.len() <= Outgoing::ROOM && bench.nic.carrier());
    let mut tries = 0;
    let start = bench.now;
    while bench.now < start + 1_000_000_000 {
        let due = bench.nic.deadline().unwrap();
        bench.advance(due - bench.now);
        tries += 1;
    }
    assert!(tries < 60, "{tries} tries in a second");
    // It reads again.
    vm.set_nonblocking(true).unwrap();
    let (mut got, mut room) = (Vec::new(), [0; 2000]);
    while got.len() < taken.len() {
        while let Ok(n) = vm.recv(&mut room) {
            got.push(room[..n].to_vec());
        }
        match bench.nic.deadline() {
            Some(due) => bench.advance(due - bench.now),
            None => assert!(bench.nic.outgoing.is_empty()),
        }
    }
    assert!(got.iter().zip(&taken).all(|(frame, &i)| *frame == frames[i]));
}

#[test]
fn members_of_a_group_hear_each_other_and_not_themselves() {
    let (a, b) = match (group(), group()) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(e), _) | (_, Err(e)) => panic!("{e}"),
    };
    let (mut a, mut b) = (Bench::new(a), Bench::new(b));
    assert_eq!(a.carrier, [true]);
    let frames = numbers(0..70, 200);
    assert_eq!(a.send(&frames), frames.len());
    b.until("received", |b| b.received.len() == frames.len());
    assert_eq!(b.received, frames);
    assert_eq!(b.send(&[numbered(99, 60)]), 1);
    a.until("received", |a| !a.received.is_empty());
    assert_eq!(a.received, [numbered(99, 60)], "what the other sent, and nothing of its own");
    a.settle();
    b.settle();
    assert_eq!((a.received.len(), b.received.len()), (1, frames.len()));
}

fn group() -> Result<DgramNic, OpenError> {
    // A port of this process, so that tests that run at the same time don't meet.
    let port = 20_000 + std::process::id() % 20_000;
    DgramNic::open(Some(&parse("127.0.0.1:0")), Some(&parse(&format!("239.255.86.77:{port}"))))
}

#[test]
fn what_can_not_be_opened_is_named() {
    let open = |local: Option<&str>, remote: Option<&str>| {
        let (local, remote) = (local.map(parse), remote.map(parse));
        DgramNic::open(local.as_ref(), remote.as_ref()).unwrap_err()
    };
    assert_eq!(open(None, None).what, "a dgram door without local and remote");
    let error = open(Some("127.0.0.1:0"), Some("[::1]:5"));
    assert_eq!(error.what, "local 127.0.0.1:0 and remote [::1]:5 are of different families");
    let error = open(Some("/x"), Some("127.0.0.1:5"));
    assert_eq!(error.remedy, "both must be unix sockets, both IPv4, or both IPv6");
    let error = open(Some("192.0.2.1:0"), Some("239.1.2.3:5"));
    assert_eq!(error.what, "can't join the group 239.1.2.3:5: No such device");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = open(Some(&taken.local_addr().unwrap().to_string()), None);
    assert_eq!(error.remedy, "`ss -tulnp` names who uses the port");
}

#[test]
fn a_socket_without_a_name_of_its_own_can_be_answered() {
    let folder = Folder::new();
    let vm = vm(&folder);
    let mut bench = Bench::new(DgramNic::open(None, Some(&folder.endpoint("vm"))).unwrap());
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    let raw = socket2::SockRef::from(&vm);
    let mut room = [std::mem::MaybeUninit::uninit(); 100];
    let (n, from) = raw.recv_from(&mut room).unwrap();
    assert_eq!(n, 60);
    raw.send_to(&numbered(2, 60), &from).unwrap();
    bench.until("received", |b| b.received.len() == 1);
}

#[test]
fn a_detached_door_leaves_nothing() {
    let folder = Folder::new();
    let _vm = vm(&folder);
    let mut bench = unix(&folder);
    assert_eq!(folder.names(), ["vm", "vnet"]);
    bench.detach();
    assert_eq!(folder.names(), ["vm"]);
    assert_eq!(bench.carrier, [true, false]);
    assert_eq!(bench.nic.deadline(), None);
}
