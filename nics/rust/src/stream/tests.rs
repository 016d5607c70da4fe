//! A `stream` door against real sockets.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backoff::Backoff;
use crate::frame::{BURST, HEAD, Seg};
use crate::testkit::{Bench, Folder, PATIENCE, numbered};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use switch::TagEdit;

fn server(folder: &Folder) -> Bench<StreamNic> {
    Bench::new(StreamNic::open(folder.endpoint("vm.sock"), Role::Server).unwrap())
}

/// A client that is connected, as the door knows.
fn plug(bench: &mut Bench<StreamNic>, folder: &Folder) -> UnixStream {
    let peer = UnixStream::connect(folder.path("vm.sock")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    bench.until("connected", |b| b.nic.carrier());
    peer
}

fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|f| [&(f.len() as u32).to_be_bytes()[..], f].concat()).collect()
}

fn read_frame(peer: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn frames_of_all_sizes_pass_both_ways_unchanged() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    assert_eq!(bench.carrier, [true]);
    let frames: Vec<_> =
        [14, 15, 60, HEAD, HEAD + 1, 1514, 9018, 65_535, FRAME_MAX].map(|n| numbered(n as u32, n)).into();
    for (i, frame) in frames.iter().enumerate() {
        peer.write_all(&wire(std::slice::from_ref(frame))).unwrap();
        bench.until("received", |b| b.received.len() > i);
        assert_eq!(bench.send(std::slice::from_ref(frame)), 1);
        assert_eq!(read_frame(&mut peer), *frame);
    }
    assert_eq!(bench.received, frames);
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_one_frame() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    let frame = numbered(1, 200);
    for byte in wire(std::slice::from_ref(&frame)) {
        assert!(bench.received.is_empty());
        peer.write_all(&[byte]).unwrap();
        bench.settle();
    }
    assert_eq!(bench.received, [frame]);
}

#[test]
fn a_thousand_frames_in_one_write_keep_their_order() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    let frames: Vec<_> = (0..1000).map(|i| numbered(i, 60 + i as usize % 90)).collect();
    peer.write_all(&wire(&frames)).unwrap();
    bench.until("received", |b| b.received.len() == frames.len());
    assert_eq!(bench.received, frames);
    assert_eq!(bench.send(&frames), frames.len());
    for frame in &frames {
        assert_eq!(read_frame(&mut peer), *frame);
    }
}

#[test]
fn small_bursts_leave_together_at_the_end_of_the_turn() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    let frames: Vec<_> = (0..20).map(|i| numbered(i, 100)).collect();
    for frame in &frames {
        assert_eq!(bench.send_frames(&[Frame::flat(frame, Offload::NONE)], TagEdit::NONE), 1);
    }
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    bench.nic.flush(bench.now);
    let mut all = vec![0; 4000];
    assert_eq!(peer.read(&mut all).unwrap(), 20 * 104);
    assert_eq!(all[..20 * 104], wire(&frames));
}

#[test]
fn tags_are_edited_and_chains_flattened_on_the_way_out() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    let data = numbered(5, 30_000);
    // In pieces: a few, and more than one system call could take.
    for pieces in [1, 3, 300, 2000] {
        let body = &data[HEAD..];
        let segs: Vec<Seg<'_>> = body.chunks(body.len().div_ceil(pieces)).map(Seg::from).collect();
        let frame = Frame::scattered(&data[..HEAD], segs[0], &segs[1..], Offload::NONE);
        for edit in [TagEdit::NONE, TagEdit { strip: 0, insert: 0x8100_0009, ..TagEdit::NONE }] {
            let mut want = data.clone();
            if edit != TagEdit::NONE {
                want.splice(12..12, [0x81, 0, 0, 9]);
            }
            assert_eq!(bench.send_frames(&[frame; 5], edit), 5);
            bench.nic.flush(bench.now);
            for _ in 0..5 {
                assert_eq!(read_frame(&mut peer), want, "{pieces} pieces");
            }
        }
    }
}

#[test]
fn a_hostile_length_costs_the_connection_and_a_growing_pause() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let lengths = [0, FRAME_MAX as u32 + 1, 0x4000_0000, u32::MAX];
    for (n, bad) in lengths.into_iter().enumerate() {
        let mut peer = plug(&mut bench, &folder);
        let good = numbered(n as u32, 100);
        let mut bytes = wire(std::slice::from_ref(&good));
        bytes.extend(bad.to_be_bytes());
        peer.write_all(&bytes).unwrap();
        bench.until("dropped", |b| !b.nic.carrier());
        assert_eq!(bench.received.last(), Some(&good), "what came before is a frame");
        assert_eq!(peer.read(&mut [0; 1]).unwrap_or(0), 0, "the connection is closed");
        assert_eq!(bench.dropped(DropReason::DoorMalformed), n as u64 + 1);
        assert_eq!(bench.log.len(), n + 1);
        assert!(bench.log[n].contains(&format!("a frame of {bad} bytes was announced")), "{}", bench.log[n]);
        let pause = Backoff::FIRST << n;
        assert_eq!(bench.nic.deadline(), Some(bench.now + pause));
        let early = UnixStream::connect(folder.path("vm.sock")).unwrap();
        bench.advance(pause - 1);
        assert!(!bench.nic.carrier(), "accepted before the pause was over");
        bench.advance(1);
        bench.until("accepted again", |b| b.nic.carrier());
        drop(early);
        bench.until("gone", |b| !b.nic.carrier());
    }
}

#[test]
fn a_connection_that_held_wipes_the_slate() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    for _ in 0..3 {
        let mut peer = plug(&mut bench, &folder);
        bench.advance(Backoff::LONGEST + 1);
        peer.write_all(&[0; 4]).unwrap();
        bench.until("dropped", |b| !b.nic.carrier());
        assert_eq!(bench.nic.deadline(), Some(bench.now + Backoff::FIRST));
        bench.advance(Backoff::FIRST);
    }
}

#[test]
fn a_frame_cut_off_by_a_disconnect_does_not_reach_into_the_next_connection() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    for cut in [1, 3, 4, 5, 50, 103] {
        let mut peer = plug(&mut bench, &folder);
        let frames = [numbered(1, 60), numbered(2, 100)];
        peer.write_all(&wire(&frames)[..64 + cut]).unwrap();
        drop(peer);
        bench.until("gone", |b| !b.nic.carrier());
        assert_eq!(std::mem::take(&mut bench.received), frames[..1], "cut after {cut} bytes");
    }
    let mut peer = plug(&mut bench, &folder);
    peer.write_all(&wire(&[numbered(3, 80)])).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    assert_eq!(bench.received[0], numbered(3, 80));
    assert!(bench.log.is_empty() && bench.drops.is_empty());
}

#[test]
fn a_peer_that_stops_reading_costs_a_bounded_ring_and_whole_frames() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    let frames: Vec<_> = (0..3000).map(|i| numbered(i, 1514)).collect();
    let mut taken = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        if bench.send(std::slice::from_ref(frame)) == 1 {
            taken.push(i);
        }
        assert!(bench.nic.outgoing.len() <= Outgoing::ROOM);
    }
    assert!(taken.len() < frames.len());
    assert_eq!(bench.dropped(DropReason::TxFull), (frames.len() - taken.len()) as u64);
    assert!(bench.nic.carrier(), "still connected");
    // It still sends, and that is still received.
    peer.write_all(&wire(&frames[..3])).unwrap();
    bench.until("received", |b| b.received.len() == 3);
    // It reads again: whole frames, in order, none of those that were taken missing.
    let mut got = 0;
    peer.set_nonblocking(true).unwrap();
    let mut incoming = Incoming::default();
    bench.until("all frames arrived", |_| {
        loop {
            let mut spans = Spans::new();
            incoming.take(&mut spans, BURST).unwrap();
            for span in &spans {
                assert_eq!(incoming.bytes()[span.clone()], frames[taken[got]]);
                got += 1;
            }
            if spans.is_empty() && incoming.fill(|room| peer.read(room)).unwrap() == Fill::Nothing {
                break;
            }
        }
        got == taken.len()
    });
    assert!(bench.nic.outgoing.is_empty());
    // And there is room again.
    assert_eq!(bench.send(&frames[..1]), 1);
}

#[test]
fn a_burst_that_the_kernel_takes_in_part_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    for size in [1514, 9000, 65_000] {
        let frames: Vec<_> = (0..BURST as u32).map(|i| numbered(i, size)).collect();
        for edit in [TagEdit::NONE, TagEdit { strip: 0, insert: 0x8100_0001, ..TagEdit::NONE }] {
            let dropped = bench.dropped(DropReason::TxFull);
            let taken = bench.send_edited(&frames, edit);
            assert_eq!(bench.dropped(DropReason::TxFull) - dropped, (BURST - taken) as u64);
            let reader = std::thread::scope(|scope| {
                let reader = scope.spawn(|| (0..taken).map(|_| read_frame(&mut peer)).collect::<Vec<_>>());
                bench.until("sent", |b| b.nic.outgoing.is_empty() && reader.is_finished());
                reader.join().unwrap()
            });
            let mut from = 0;
            for got in reader {
                let mut want = got.clone();
                if edit != TagEdit::NONE {
                    want.drain(12..16);
                }
                let at = frames[from..].iter().position(|f| *f == want).expect("a frame, in order");
                from += at + 1;
            }
        }
    }
}

#[test]
fn a_second_client_is_refused_with_one_line() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut first = plug(&mut bench, &folder);
    for _ in 0..30 {
        let mut second = UnixStream::connect(folder.path("vm.sock")).unwrap();
        second.set_read_timeout(Some(PATIENCE)).unwrap();
        bench.settle();
        assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
    }
    assert_eq!(bench.log.len(), 1, "{:?}", bench.log);
    assert!(bench.log[0].ends_with("somebody is connected already"), "{:?}", bench.log);
    assert_eq!(bench.carrier, [true]);
    first.write_all(&wire(&[numbered(1, 60)])).unwrap();
    bench.until("received", |b| b.received.len() == 1);
}

#[test]
fn a_guest_that_restarts_at_once_is_let_in_after_its_last_frames() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut old = plug(&mut bench, &folder);
    old.write_all(&wire(&(0..500).map(|i| numbered(i, 100)).collect::<Vec<_>>())).unwrap();
    drop(old);
    let mut new = UnixStream::connect(folder.path("vm.sock")).unwrap();
    new.write_all(&wire(&[numbered(500, 60)])).unwrap();
    bench.until("received", |b| b.received.len() == 501);
    assert_eq!(bench.carrier, [true, false, true]);
    assert!(bench.log.is_empty(), "{:?}", bench.log);
}

#[test]
fn a_client_tries_again_with_growing_waits_until_somebody_listens() {
    let folder = Folder::new();
    let mut bench = Bench::new(StreamNic::open(folder.endpoint("vm.sock"), Role::Client).unwrap());
    let mut waits = Vec::new();
    for _ in 0..8 {
        let wait = bench.nic.deadline().unwrap() - bench.now;
        waits.push(wait / 1_000_000);
        bench.advance(wait);
        assert!(!bench.nic.carrier());
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(bench.log.len(), 1, "one line an outage, not one a try: {:?}", bench.log);

    let listener = UnixListener::bind(folder.path("vm.sock")).unwrap();
    bench.advance(Backoff::LONGEST);
    let (mut peer, _) = listener.accept().unwrap();
    assert!(bench.nic.carrier());
    peer.write_all(&wire(&[numbered(1, 60)])).unwrap();
    bench.until("received", |b| b.received.len() == 1);

    // It held for long, so the first wait is short again; then the peer is there at once.
    bench.advance(Backoff::LONGEST + 1);
    drop(peer);
    bench.until("gone", |b| !b.nic.carrier());
    assert_eq!(bench.nic.deadline(), Some(bench.now + Backoff::FIRST));
    bench.advance(Backoff::FIRST);
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(bench.send(&[numbered(2, 60)]), 1);
    assert_eq!(read_frame(&mut peer), numbered(2, 60));
    assert_eq!(bench.carrier, [true, false, true]);
    bench.detach();
    assert_eq!(folder.names(), ["vm.sock"], "the file is the server's, not ours");
}

#[test]
fn a_client_is_not_hung_by_a_backlog_that_is_full_nor_led_on_by_one_that_closes() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("vm.sock")).unwrap();
    let mut bench = Bench::new(StreamNic::open(folder.endpoint("vm.sock"), Role::Client).unwrap());
    let mut waits = Vec::new();
    for _ in 0..5 {
        drop(listener.accept().unwrap());
        bench.until("gone", |b| !b.nic.carrier());
        let wait = bench.nic.deadline().unwrap() - bench.now;
        waits.push(wait / 1_000_000);
        bench.advance(wait);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600]);
    drop(listener.accept().unwrap());
    bench.until("gone", |b| !b.nic.carrier());
    listener.set_nonblocking(true).unwrap();
    let full: Vec<_> = (0..5000)
        .map_while(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM.nonblocking(), None);
            let socket = socket.unwrap();
            socket.connect(&socket2::SockAddr::unix(folder.path("vm.sock")).unwrap()).ok().map(|()| socket)
        })
        .collect();
    bench.advance(Backoff::LONGEST);
    assert!(!bench.nic.carrier() && bench.nic.deadline().is_some());
    drop(full);
}

#[test]
fn tcp_works_in_both_roles_over_ipv4_and_ipv6() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let nic = StreamNic::open(Endpoint::parse(host).unwrap(), Role::Server).unwrap();
        let Some(Endpoint::Inet(address)) = nic.listening_at() else { panic!("no port") };
        let mut bench = Bench::new(nic);
        let mut peer = TcpStream::connect(address).unwrap();
        bench.until("connected", |b| b.nic.carrier());
        exchange(&mut bench, &mut peer);
        assert!(bench.nic.connection.peer().unwrap().tcp_nodelay().unwrap());

        let listener = TcpListener::bind(host).unwrap();
        let address = listener.local_addr().unwrap();
        let mut bench = Bench::new(StreamNic::open(Endpoint::Inet(address), Role::Client).unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        bench.until("connected", |b| b.nic.carrier());
        exchange(&mut bench, &mut peer);
        drop((peer, listener));
        bench.until("gone", |b| !b.nic.carrier());
        bench.advance(Backoff::FIRST);
        bench.until("refused", |b| b.nic.deadline().is_some() && !b.log.is_empty());
        let listener = TcpListener::bind(address).unwrap();
        bench.advance(Backoff::LONGEST);
        let (mut peer, _) = listener.accept().unwrap();
        bench.until("connected again", |b| b.nic.carrier());
        exchange(&mut bench, &mut peer);
    }
}

fn exchange(bench: &mut Bench<StreamNic>, peer: &mut TcpStream) {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    bench.received.clear();
    let frames: Vec<_> = (0..100).map(|i| numbered(i, 1514)).collect();
    peer.write_all(&wire(&frames)).unwrap();
    bench.until("received", |b| b.received.len() == frames.len());
    assert_eq!(bench.received, frames);
    assert_eq!(bench.send(&frames), frames.len());
    for frame in &frames {
        assert_eq!(read_frame(peer), *frame);
    }
}

#[test]
fn a_tcp_attempt_that_gets_no_answer_is_given_up() {
    // A listener whose backlog is full answers no further attempt.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _taken = TcpStream::connect(address).unwrap();
    let mut bench = Bench::new(StreamNic::open(Endpoint::Inet(address), Role::Client).unwrap());
    bench.settle();
    assert_eq!(bench.nic.deadline(), Some(bench.now + 5_000_000_000));
    bench.advance(5_000_000_000);
    assert_eq!(bench.nic.deadline(), Some(bench.now + Backoff::FIRST));
    assert!(bench.log[0].ends_with("Connection timed out; trying again"), "{:?}", bench.log);
}

#[test]
fn an_abstract_socket_needs_no_file() {
    use std::os::linux::net::SocketAddrExt;
    let folder = Folder::new();
    let name = folder.path("x").to_string_lossy().replace('/', "-");
    let endpoint = Endpoint::parse(&format!("@{name}")).unwrap();
    let mut bench = Bench::new(StreamNic::open(endpoint.clone(), Role::Server).unwrap());
    assert!(StreamNic::open(endpoint, Role::Server).is_err());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let mut peer = UnixStream::connect_addr(&address).unwrap();
    bench.until("connected", |b| b.nic.carrier());
    peer.write_all(&wire(&[numbered(1, 60)])).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    assert!(folder.names().is_empty());
}

#[test]
fn the_link_is_the_operators_and_the_connection_the_peers() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    bench.nic.set_link(false, bench.now);
    let _peer = UnixStream::connect(folder.path("vm.sock")).unwrap();
    bench.settle();
    assert!(!bench.nic.carrier());
    assert_eq!(bench.send(&[numbered(1, 60)]), 0);
    assert_eq!(bench.dropped(DropReason::TxNoCarrier), 1);
    bench.nic.set_link(true, bench.now);
    bench.settle();
    assert_eq!(bench.carrier, [true]);
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
}

#[test]
fn a_peer_that_goes_while_frames_are_sent_is_a_carrier_that_goes() {
    let folder = Folder::new();
    for size in [100, 1514] {
        let mut bench = server(&folder);
        drop(plug(&mut bench, &folder));
        let frames: Vec<_> = (0..BURST as u32).map(|i| numbered(i, size)).collect();
        // The door does not know yet. Whether all frames are lost at once or only those after the
        // flush depends on their size; none is an error.
        bench.send(&frames);
        assert!(!bench.nic.carrier());
        assert_eq!(bench.carrier, [true, false]);
        assert_eq!(bench.send(&frames), 0);
        assert!(bench.log.is_empty());
    }
}

#[test]
fn a_detached_door_leaves_nothing() {
    let folder = Folder::new();
    let mut bench = server(&folder);
    let mut peer = plug(&mut bench, &folder);
    assert_eq!(folder.names(), ["vm.sock"]);
    bench.detach();
    assert!(folder.names().is_empty());
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(bench.carrier, [true, false]);
    assert_eq!(bench.nic.deadline(), None);
    drop(StreamNic::open(folder.endpoint("vm.sock"), Role::Server).unwrap());
    assert!(folder.names().is_empty(), "a door that was never attached leaves nothing either");
}
