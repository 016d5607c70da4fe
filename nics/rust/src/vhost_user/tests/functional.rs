//! What a well-behaved guest sees.

use super::super::protocol::feature::{
    CSUM, EVENT_IDX, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, IN_ORDER, INDIRECT_DESC, LOG_ALL, MAC, MQ, MRG_RXBUF,
    PROTOCOL_FEATURES, RING_PACKED, VERSION_1,
};
use super::front::{GPA, Guest, Host, PLAIN, SIZE, UVA, count, frame, memfd, pair, table};
use crate::frame::{Frame, HEAD, Seg};
use crate::nic::{Nic, Rx};
use crate::offload::Offload;
use crate::socket::Role;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;
use switch::{DropReason, TagEdit};

const LENGTHS: [usize; 16] = [14, 15, 42, 59, 60, 61, 64, 100, 127, 128, 129, 500, 1514, 1518, 2000, 2035];

#[test]
fn frames_pass_unchanged_both_ways_whatever_was_negotiated() {
    for features in [
        0,
        IN_ORDER,
        EVENT_IDX,
        IN_ORDER | EVENT_IDX | INDIRECT_DESC,
        CSUM | GUEST_CSUM,
        RING_PACKED,
        RING_PACKED | EVENT_IDX | INDIRECT_DESC | CSUM,
    ] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | features);
        for round in 0..200 {
            let frames: Vec<_> = LENGTHS.iter().map(|len| frame(*len, round)).collect();
            for bytes in &frames {
                guest.send(bytes);
            }
            let got = host.receive_all();
            assert!(got.iter().all(|(_, offload)| *offload == Offload::NONE));
            assert_eq!(got.into_iter().map(|(bytes, _)| bytes).collect::<Vec<_>>(), frames);
            let used = guest.used(1);
            if features & IN_ORDER == 0 {
                guest.rings[1].free.extend(used.iter().map(|(id, _)| *id as u16).rev());
            } else {
                // One entry stands for all of a batch: the last buffer of it.
                guest.rings[1].free = (0..256).rev().collect();
            }
            assert_eq!(used.len(), frames.len());

            assert_eq!(host.send(&frames), []);
            let got = guest.receive();
            assert!(got.iter().all(|(header, _)| *header == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
            assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), frames);
        }
        assert_eq!(host.nic.take_drops(), None);
        assert_eq!(host.news(), (vec![true], vec![]));
    }
}

#[test]
fn a_burst_is_at_most_64_frames_and_nothing_is_left_behind() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        for i in 0..256 {
            guest.send(&frame(60, i));
        }
        let (_, first) = host.receive();
        assert_eq!(first.len(), 64);
        assert_eq!(host.receive_all().len(), 192);
        assert_eq!(guest.reclaim(1), 256);
    }
}

#[test]
fn a_frame_longer_than_a_buffer_takes_several() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        for len in [2036, 2037, 4084, 4085, 9014, 65_000] {
            let bytes = frame(len, len);
            assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
            let got = guest.receive();
            assert_eq!(got.len(), 1);
            assert_eq!(
                usize::from(u16::from_le_bytes([got[0].0[10], got[0].0[11]])),
                (len + 12).div_ceil(2048)
            );
            assert_eq!(got[0].1, bytes);
        }
        // 8 of 32 buffers each fit into the 256, and not one more byte.
        let bytes = frame(65_000, 1);
        let drops = host.send(&vec![bytes.clone(); 10]);
        assert_eq!(drops, [(8, DropReason::TxFull), (9, DropReason::TxFull)]);
        assert_eq!(guest.receive().len(), 8);
        assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
        assert_eq!(guest.receive()[0].1, bytes);
    }
}

#[test]
fn a_full_ring_costs_the_frames_that_do_not_fit() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        let frames: Vec<_> = (0..64).map(|i| frame(60, i)).collect();
        for _ in 0..4 {
            assert_eq!(host.send(&frames), []);
        }
        let drops = host.send(&frames);
        assert_eq!(drops.len(), 64);
        assert!(drops.iter().all(|(_, reason)| *reason == DropReason::TxFull));
        assert_eq!(guest.receive().len(), 256);
        assert_eq!(host.send(&frames), []);
    }
}

#[test]
fn chains_and_indirect_tables_are_frames_too() {
    for indirect in [false, true] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | INDIRECT_DESC);
        for len in [14, 60, 128, 129, 1514, 9014, 65_500] {
            // Header alone, a header cut in two, everything in one, and pieces of all lengths.
            for cuts in [vec![12], vec![5, 12], vec![5, 20, 21, 100, 150], vec![12 + len / 2]] {
                let bytes = frame(len, len);
                let data = guest.rings[1].buffers;
                guest.write(data, &[0; 12]);
                guest.write(data + 12, &bytes);
                let mut edges: Vec<usize> = cuts.into_iter().filter(|cut| *cut < len + 12).collect();
                edges.insert(0, 0);
                edges.push(len + 12);
                let last = edges.len() - 2;
                let tables = guest.rings[1].buffers + 0x18000;
                for (i, edge) in edges.windows(2).enumerate() {
                    let (addr, n) = (GPA + data + edge[0] as u64, (edge[1] - edge[0]) as u32);
                    let flags = u16::from(i != last);
                    if indirect {
                        guest.write_desc(tables + 16 * i as u64, addr, n, flags, i as u16 + 1);
                    } else {
                        guest.desc(1, 10 + i as u16, addr, n, flags, 11 + i as u16);
                    }
                }
                if indirect {
                    guest.desc(1, 10, GPA + tables, 16 * (last as u32 + 1), 4, 0);
                }
                guest.offer(1, 10);
                let got = host.receive_all();
                assert_eq!(got, [(bytes, Offload::NONE)]);
                assert_eq!(guest.used(1), [(10, 0)]);
            }
        }
        assert_eq!(host.news().1, Vec::<String>::new());
    }
}

#[test]
fn a_frame_in_pieces_of_another_guest_is_put_together() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        let bytes = frame(5000, 3);
        let more = [Seg::from(&bytes[1000..1001]), Seg::EMPTY, Seg::from(&bytes[1001..])];
        let tail = Seg::from(&bytes[HEAD..1000]);
        let pieces = Frame::scattered(&bytes[..HEAD], tail, &more, Offload::NONE);
        assert_eq!(host.send_frames(&[pieces], TagEdit::NONE), []);
        assert_eq!(guest.receive()[0].1, bytes);
    }
}

#[test]
fn tags_come_and_go() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        for len in [60, 200, 3000] {
            let bytes = frame(len, 3);
            let tag = [0x81, 0, 0, 5];
            let edit = TagEdit { strip: 0, insert: u32::from_be_bytes(tag), ..TagEdit::NONE };
            assert_eq!(host.send_frames(&[Frame::flat(&bytes, Offload::NONE)], edit), []);
            assert_eq!(guest.receive()[0].1, [&bytes[..12], &tag, &bytes[12..]].concat());
            let edit = TagEdit { strip: 4, insert: 0, ..TagEdit::NONE };
            assert_eq!(host.send_frames(&[Frame::flat(&bytes, Offload::NONE)], edit), []);
            assert_eq!(guest.receive()[0].1, [&bytes[..12], &bytes[16..]].concat());
        }
    }
}

#[test]
fn without_mergeable_buffers_a_frame_goes_into_one_chain() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, VERSION_1 | PROTOCOL_FEATURES, 1);
    // Instead of what was posted: a chain of header, 1,000 and 2,000 bytes.
    guest.used(0);
    let at = guest.rings[0].buffers;
    let bytes = frame(2500, 9);
    let buffer = |i: u16| GPA + at + u64::from(i) * 2048;
    guest.desc(0, 255, buffer(255), 12, 3, 254);
    guest.desc(0, 254, buffer(254), 1000, 3, 253);
    guest.desc(0, 253, buffer(253), 2000, 2, 0);
    guest.u16(guest.rings[0].avail + 4).store(255, Ordering::SeqCst);
    assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
    assert_eq!(guest.used(0), [(255, 2512)]);
    assert_eq!(guest.read(at + 255 * 2048, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(guest.read(at + 254 * 2048, 1000), bytes[..1000]);
    assert_eq!(guest.read(at + 253 * 2048, 1500), bytes[1000..]);
    // The next buffers are single ones of 2,048 bytes: too small, but not lost.
    assert_eq!(host.send(std::slice::from_ref(&bytes)), [(0, DropReason::TxTooBig)]);
    assert_eq!(host.send(&[frame(2000, 1)]), []);
    assert_eq!(guest.used(0).len(), 1);
}

#[test]
fn old_drivers_have_a_header_of_ten_bytes() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, PROTOCOL_FEATURES, 1);
    let bytes = frame(300, 2);
    guest.send_with(1, &[0; 10], &bytes);
    assert_eq!(host.receive_all(), [(bytes.clone(), Offload::NONE)]);
    assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
    let (id, len) = guest.used(0)[0];
    assert_eq!(len, 310);
    let at = guest.buffer(0, id as u16);
    assert_eq!(guest.read(at, 310), [&[0; 10], &bytes[..]].concat());
}

#[test]
fn indexes_wrap_around() {
    for features in [0, EVENT_IDX, IN_ORDER] {
        let mut host = Host::new();
        let mut guest = Guest::connect(&mut host, 256);
        for ring in &mut guest.rings {
            ring.next = 65_500;
            ring.seen = 65_500;
        }
        for ring in 0..2 {
            let r = guest.rings[ring].clone();
            guest.u16(r.avail + 2).store(65_500, Ordering::SeqCst);
            guest.u16(r.used + 2).store(65_500, Ordering::SeqCst);
        }
        guest.say(&mut host, 2, &(PLAIN | features).to_ne_bytes(), &[]);
        guest.features = PLAIN | features;
        guest.set_memory(&mut host);
        guest.start_ring(&mut host, 0, 65_500);
        guest.start_ring(&mut host, 1, 65_500);
        guest.fill_all(1);
        for round in 0..100 {
            let bytes = frame(100 + round, round);
            guest.send(&bytes);
            assert_eq!(host.receive_all(), [(bytes.clone(), Offload::NONE)]);
            assert_eq!(guest.reclaim(1), 1);
            assert_eq!(host.send(std::slice::from_ref(&bytes)), []);
            assert_eq!(guest.receive()[0].1, bytes);
        }
    }
}

#[test]
fn a_sleeping_door_is_kicked_and_a_polling_one_is_not() {
    for features in [0, EVENT_IDX, RING_PACKED, RING_PACKED | EVENT_IDX] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | features);
        let mut before = guest.rings[1].next;
        guest.send(&frame(60, 0));
        assert!(!guest.kick(1, before), "it polls");
        assert!(!host.nic.arm(), "there is work");
        assert_eq!(host.receive_all().len(), 1);
        assert!(host.nic.arm());
        before = guest.rings[1].next;
        guest.send(&frame(60, 1));
        assert!(guest.kick(1, before), "it sleeps");
        assert!(host.woken());
        host.poll();
        assert!(!host.woken());
        assert_eq!(host.receive_all().len(), 1);
        before = guest.rings[1].next;
        guest.send(&frame(60, 2));
        assert!(!guest.kick(1, before), "it polls again");
    }
}

#[test]
fn a_guest_is_interrupted_when_it_wants_to_be() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    host.wait(1_000_000);
    count(&guest.calls[0]);
    host.send(&[frame(60, 0), frame(60, 1)]);
    assert_eq!(count(&guest.calls[0]), 1, "one for the burst");
    assert_eq!(count(&guest.calls[1]), 0);
    // It polls.
    guest.u16(guest.rings[0].avail).store(1, Ordering::SeqCst);
    host.send(&[frame(60, 0)]);
    assert_eq!(count(&guest.calls[0]), 0);
    // It goes to sleep right after we looked; soon we look again.
    guest.u16(guest.rings[0].avail).store(0, Ordering::SeqCst);
    host.wait(100_000);
    assert_eq!(count(&guest.calls[0]), 1);
    host.wait(1_000_000);
    assert_eq!(count(&guest.calls[0]), 0);
    // And so for what it sent.
    count(&guest.calls[1]);
    guest.send(&frame(60, 0));
    host.receive_all();
    assert_eq!(count(&guest.calls[1]), 1);
}

#[test]
fn with_event_idx_a_guest_names_the_entry() {
    let mut host = Host::new();
    let guest = Guest::running(&mut host, PLAIN | EVENT_IDX);
    host.wait(1_000_000);
    count(&guest.calls[0]);
    let event = guest.rings[0].avail + 4 + 2 * 256;
    guest.u16(event).store(3, Ordering::SeqCst);
    for n in 0..8 {
        host.send(&[frame(60, 0)]);
        host.wait(100_000);
        assert_eq!(count(&guest.calls[0]), u64::from(n == 3), "entry {n}");
    }
}

#[test]
fn a_ring_is_stopped_and_goes_on_where_it_was() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for i in 0..100 {
        guest.send(&frame(60, i));
    }
    host.receive();
    host.send(&[frame(60, 0)]);
    // What was taken ahead and not given back counts as not taken.
    assert_eq!(guest.ask(&mut host, 11, &pair(1, 0)) >> 32, 64);
    assert_eq!(guest.ask(&mut host, 11, &pair(0, 0)) >> 32, 1);
    assert_eq!(host.news().0, [true, false]);
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    assert!(host.receive_all().is_empty());
    guest.start_ring(&mut host, 1, 64);
    assert_eq!(host.receive_all().len(), 36);
    guest.start_ring(&mut host, 0, 1);
    assert_eq!(host.news().0, [true]);
    assert_eq!(host.send(&[frame(60, 0)]), []);
    assert_eq!(guest.receive().len(), 2);
}

#[test]
fn a_disabled_transmit_queue_is_emptied() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    for ring in 0..2 {
        guest.say(&mut host, 18, &pair(ring, 0), &[]);
    }
    assert!(!host.nic.carrier());
    for i in 0..200 {
        guest.send(&frame(60, i));
    }
    assert!(host.receive_all().is_empty());
    assert_eq!(guest.reclaim(1), 200);
    assert_eq!(host.send(&[frame(60, 0)]), [(0, DropReason::TxNoCarrier)]);
    for ring in 0..2 {
        guest.say(&mut host, 18, &pair(ring, 1), &[]);
    }
    guest.send(&frame(60, 1));
    assert_eq!(host.receive_all().len(), 1);
}

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
    assert_eq!(carrier, [true, false, true]);
    assert_eq!(log.len(), 1);
    assert!(log[0].contains("refused a connection"));
    host.nic.detach();
    assert!(!host.path.exists());
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
fn two_queue_pairs_share_the_flows() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.set_up(&mut host, PLAIN | MQ, 2);
    let flow = |port: u16, back: bool| {
        let mut bytes = frame(100, 0);
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes[14] = 0x45;
        bytes[20..22].fill(0);
        bytes[23] = 6;
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        bytes[26..30].copy_from_slice(if back { &b } else { &a });
        bytes[30..34].copy_from_slice(if back { &a } else { &b });
        bytes[34..36].copy_from_slice(&if back { 80 } else { port }.to_be_bytes());
        bytes[36..38].copy_from_slice(&if back { port } else { 80 }.to_be_bytes());
        bytes
    };
    // What the guest sent from a queue comes back to it.
    for (port, ring) in [(1000, 1), (1001, 3), (1002, 3), (1003, 1)] {
        guest.send_with(ring, &[0; 12], &flow(port, false));
    }
    assert_eq!(host.receive_all().len(), 4);
    let answers: Vec<_> = (1000..1004).map(|port| flow(port, true)).collect();
    assert_eq!(host.send(&answers), []);
    let first: Vec<_> = guest.receive_from(0).into_iter().map(|(_, bytes)| bytes).collect();
    let second: Vec<_> = guest.receive_from(2).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(first, [answers[0].clone(), answers[3].clone()]);
    assert_eq!(second, [answers[1].clone(), answers[2].clone()]);
    // What it never sent is spread.
    let others: Vec<_> = (2000..2064).map(|port| flow(port, true)).collect();
    assert_eq!(host.send(&others), []);
    let (a, b) = (guest.receive_from(0).len(), guest.receive_from(2).len());
    assert_eq!(a + b, 64);
    assert!(a > 8 && b > 8, "{a} and {b}");
    // With the second pair disabled, all of it goes to the first.
    guest.say(&mut host, 18, &pair(2, 0), &[]);
    assert_eq!(host.send(&answers), []);
    assert_eq!(guest.receive_from(0).len(), 4);
}

#[test]
fn offloads_pass_when_negotiated_and_lies_do_not() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN | CSUM | GUEST_CSUM | HOST_TSO4 | GUEST_TSO4);
    let caps = host.nic.caps();
    assert!(caps.csum && caps.tso4 && !caps.tso6 && !caps.uso && !caps.ecn);
    let mut bytes = frame(3000, 0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..34].copy_from_slice(&[0x45, 0, 0x0b, 0xaa, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[46] = 0x50;
    let said =
        Offload { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    let mut header = [0; 12];
    header[..10].copy_from_slice(&said.to_bytes());
    let index = guest.rings[1].free.pop().unwrap();
    let at = guest.buffer(1, index);
    guest.write(at, &header);
    guest.write(at + 12, &bytes);
    guest.desc(1, index, GPA + at, 3012, 0, 0);
    guest.offer(1, index);
    assert_eq!(host.receive_all(), [(bytes.clone(), said)]);
    assert_eq!(host.send_frames(&[Frame::flat(&bytes, said)], TagEdit::NONE), []);
    let (got, data) = guest.receive().remove(0);
    assert_eq!((&got[..10], &got[10..], data), (&header[..10], &[2, 0][..], bytes.clone()));
    // And nothing of it is left in the buffers for the next frames.
    for _ in 0..256 {
        assert_eq!(host.send(&[frame(60, 0)]), []);
        assert_eq!(guest.receive()[0].0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    }
    // TSO6 was not negotiated; a checksum behind the end; a type that does not exist.
    for lie in [
        Offload { gso_type: 4, ..said },
        Offload { csum_start: 5000, ..said },
        Offload { gso_type: 77, ..said },
        Offload { gso_type: 1 | 0x80, ..said },
    ] {
        header[..10].copy_from_slice(&lie.to_bytes());
        guest.send_with(1, &header, &bytes[..1500]);
        assert_eq!(host.receive_all(), []);
        assert_eq!(host.nic.take_drops(), Some((DropReason::DoorMalformed, 1)));
    }
    assert!(host.nic.carrier());
    assert_eq!(guest.reclaim(1), 5);
}

#[test]
fn what_a_guest_did_not_negotiate_its_header_can_not_say() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    guest.send_with(1, &[0xff; 12], &frame(60, 0));
    assert_eq!(host.receive_all(), [(frame(60, 0), Offload::NONE)]);
}

#[test]
fn the_guests_address_is_announced_for_it() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    guest.say(&mut host, 19, &[2, 0, 0, 0, 0, 9, 0, 0], &[]);
    let got = host.receive_all();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0.len(), 60);
    assert_eq!(got[0].0[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x80, 0x35]);
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn the_device_tells_its_address_where_it_should() {
    use std::io::Read;
    let mac = [2, 0, 0, 0, 0, 9];
    let mut host = Host::with(|config| config.mac = Some(mac));
    let mut guest = Guest::running(&mut host, PLAIN | MAC);
    assert_eq!(guest.ask(&mut host, 15, &[]) & 1 << 9, 1 << 9);
    let mut read = |offset: u32, size: u32| {
        let body = [offset.to_ne_bytes(), size.to_ne_bytes(), [0; 4]].concat();
        guest.say(&mut host, 24, &[body, vec![0; size as usize % 300]].concat(), &[]);
        let mut answer = vec![0; 600];
        let n = guest.sock.read(&mut answer).unwrap();
        answer.truncate(n);
        assert_eq!(answer[8..12], (n as u32 - 12).to_ne_bytes());
        answer.split_off(12)
    };
    assert_eq!(read(0, 6)[12..], mac);
    assert_eq!(read(6, 6)[12..], [1, 0, 2, 0, 0x28, 0x23]);
    let all = read(0, 256);
    assert_eq!((all.len(), &all[12..18]), (268, &mac[..]));
    assert!(all[24..].iter().all(|byte| *byte == 0));
    // What can't be is answered with nothing.
    for (offset, size) in [(0, 257), (256, 1), (u32::MAX, 1), (1, u32::MAX)] {
        assert_eq!(read(offset, size), [], "{offset} {size}");
    }
    assert!(host.nic.carrier());
    // Others are not told that there is such a thing: QEMU complains of it.
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    assert_eq!(guest.ask(&mut host, 15, &[]) & 1 << 9, 0);
    assert_eq!(guest.ask(&mut host, 1, &[]) & MAC, 0);
}

#[test]
fn the_mtu_may_be_set_up_to_the_ports() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    assert_eq!(guest.acked(&mut host, 20, &9000u64.to_ne_bytes(), &[]), Some(0));
    assert_eq!(guest.acked(&mut host, 20, &9001u64.to_ne_bytes(), &[]), Some(1));
    assert_eq!(guest.acked(&mut host, 20, &0u64.to_ne_bytes(), &[]), Some(1));
    assert!(host.nic.carrier());
}

#[test]
fn memory_comes_and_goes_in_slots() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    assert!(guest.ask(&mut host, 36, &[]) >= 8);
    let extra = memfd(0x10000);
    let region = |gpa: u64| {
        let words = [0, gpa, 0x10000, UVA + SIZE, 0];
        words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect::<Vec<u8>>()
    };
    let fd = [extra.as_raw_fd()];
    assert_eq!(guest.acked(&mut host, 37, &region(0x1000), &fd), Some(0));
    // The rings went on: a buffer in the new memory.
    assert!(host.nic.carrier());
    let index = guest.rings[1].free.pop().unwrap();
    guest.desc(1, index, 0x1000, 72, 0, 0);
    guest.offer(1, index);
    assert_eq!(host.receive_all().len(), 1);
    // QEMU tells each region once for each queue pair. One that is only nearly the same overlaps.
    assert_eq!(guest.acked(&mut host, 37, &region(0x1000), &fd), Some(0));
    assert_eq!(guest.acked(&mut host, 37, &region(0x1800), &fd), Some(1));
    assert!(host.nic.carrier());
    assert_eq!(guest.acked(&mut host, 38, &region(0x2000), &[]), Some(0));
    for _ in 0..2 {
        assert_eq!(guest.acked(&mut host, 38, &region(0x1000), &fd), Some(0));
    }
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
    // The rest of it: without memory nothing runs.
    let words: [u64; 5] = [0, GPA, SIZE, UVA, 0];
    let all: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert_eq!(guest.acked(&mut host, 38, &all, &[]), Some(0));
    assert!(!host.nic.carrier());
    guest.set_memory(&mut host);
    guest.send(&frame(60, 0));
    assert_eq!(host.receive_all().len(), 1);
}

#[test]
fn a_memory_table_may_be_replaced_while_the_rings_run() {
    let mut host = Host::new();
    let mut guest = Guest::running(&mut host, PLAIN);
    guest.send(&frame(60, 0));
    guest.send(&frame(60, 1));
    let fd = guest.memfd.as_raw_fd();
    // In two regions: rings and buffers of both queues in the first, and the rest.
    let half = SIZE / 2;
    let regions = table(&[(GPA, half, UVA, 0), (GPA + half, half, UVA + half, half)]);
    guest.say(&mut host, 5, &regions, &[fd, fd]);
    assert_eq!(host.receive_all().len(), 2);
    assert_eq!(host.send(&[frame(60, 5)]), []);
    assert_eq!(guest.receive().len(), 1);
    // A buffer that lies across both is fine for a guest whose memory is one piece to it.
    let index = guest.rings[1].free.pop().unwrap();
    guest.write(half - 100, &[0; 12]);
    guest.write(half - 88, &frame(200, 8));
    guest.desc(1, index, GPA + half - 100, 212, 0, 0);
    guest.offer(1, index);
    assert_eq!(host.receive_all(), [(frame(200, 8), Offload::NONE)]);
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
    std::mem::forget(std::mem::replace(&mut host, Host::new()));
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

#[test]
fn rings_without_protocol_features_are_enabled_by_themselves() {
    let mut host = Host::new();
    let mut guest = Guest::connect(&mut host, 256);
    guest.say(&mut host, 2, &(VERSION_1 | MRG_RXBUF).to_ne_bytes(), &[]);
    guest.set_memory(&mut host);
    for ring in 0..2 {
        guest.start_ring(&mut host, ring, 0);
    }
    assert!(host.nic.carrier());
}

#[test]
fn super_frames_go_in_short_bursts_whose_buffers_are_given_back() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        // All of them from one place: nobody looks at what is in them.
        for index in 0..30 {
            if guest.packed() {
                guest.offer_packed(1, &[(GPA + SIZE / 2, 60_012, 0)], index);
            } else {
                guest.desc(1, index, GPA + SIZE / 2, 60_012, 0, 0);
                guest.offer(1, index);
            }
        }
        for (frames, rx) in [(11, Rx::More), (11, Rx::More), (8, Rx::Idle)] {
            let (told, got) = host.receive();
            assert_eq!((got.len(), told), (frames, rx));
            assert_eq!(guest.used(1).len(), frames);
        }
    }
}
