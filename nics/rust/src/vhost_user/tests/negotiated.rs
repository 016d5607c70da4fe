//! What is negotiated: offloads, addresses, the MTU, and memory.

use super::super::protocol::feature::{CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MAC};
use super::front::{GPA, Guest, PLAIN, SIZE, UVA, frame, table};
use super::host::{Host, memfd};
use crate::frame::Frame;
use crate::nic::Nic;
use crate::offload::Offload;
use std::os::fd::AsRawFd;
use switch::{DropReason, TagEdit};

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
