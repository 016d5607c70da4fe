//! What a well-behaved guest sends and receives, whatever its buffers look like.

use super::super::protocol::feature::{
    CSUM, EVENT_IDX, GUEST_CSUM, IN_ORDER, INDIRECT_DESC, PROTOCOL_FEATURES, RING_PACKED, VERSION_1,
};
use super::front::{GPA, Guest, PLAIN, SIZE, frame};
use super::host::Host;
use crate::frame::{ENOUGH, Frame, HEAD, Seg};
use crate::nic::{Nic, Rx};
use crate::offload::Offload;
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
    // What lies side by side is taken as one piece.
    for (indirect, gap) in [(false, 0), (false, 1), (true, 0), (true, 9)] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | INDIRECT_DESC);
        for len in [14, 60, 128, 129, 1514, 9014, 65_500] {
            // Header alone, a header cut in two, everything in one, and pieces of all lengths.
            for cuts in [vec![12], vec![5, 12], vec![5, 20, 21, 100, 150], vec![12 + len / 2]] {
                let bytes = frame(len, len);
                let data = guest.rings[1].buffers;
                let sent = [&[0; 12], &bytes[..]].concat();
                let mut edges: Vec<usize> = cuts.into_iter().filter(|cut| *cut < len + 12).collect();
                edges.insert(0, 0);
                edges.push(len + 12);
                let last = edges.len() - 2;
                let tables = guest.rings[1].buffers + 0x18000;
                for (i, edge) in edges.windows(2).enumerate() {
                    let at = data + (edge[0] + i * gap) as u64;
                    guest.write(at, &sent[edge[0]..edge[1]]);
                    let (addr, n) = (GPA + at, (edge[1] - edge[0]) as u32);
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
fn super_frames_go_in_short_bursts_whose_buffers_are_given_back() {
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | layout);
        // All of them from one place: nobody looks at what is in them.
        let offer = |guest: &mut Guest, index| {
            if guest.packed() {
                guest.offer_packed(1, &[(GPA + SIZE / 2, 60_012, 0)], index);
            } else {
                guest.desc(1, index, GPA + SIZE / 2, 60_012, 0, 0);
                guest.offer(1, index);
            }
        };
        (0..30).for_each(|index| offer(&mut guest, index));
        for (frames, rx) in [(11, Rx::More), (11, Rx::More), (8, Rx::Idle)] {
            let (told, got) = host.receive();
            assert_eq!((got.len(), told), (frames, rx));
            assert_eq!(guest.used(1).len(), frames);
        }
        // Where nobody else waits bursts are longer, and a quarter of what there is remains.
        for (enough, bursts) in [(4 * ENOUGH, &[23, 7][..]), (2 * ENOUGH, &[22, 8])] {
            host.enough = enough;
            (0..30).for_each(|index| offer(&mut guest, index));
            for frames in bursts {
                assert_eq!(host.receive().1.len(), *frames);
                assert_eq!(guest.used(1).len(), *frames);
            }
        }
    }
}

/// Where that is known it is so, of whatever is received: the host looks. Here it is that it is known.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_frames_have_in_common_is_known_if_they_are_alike_and_ask_for_nothing() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return;
    }
    let udp = |len, number| {
        let mut bytes = frame(len, 0);
        bytes[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        bytes[35] = number;
        bytes
    };
    for layout in [0, RING_PACKED] {
        let mut host = Host::new();
        let mut guest = Guest::running(&mut host, PLAIN | CSUM | layout);
        let mut compared = |odd: &dyn Fn(&mut Guest)| {
            for number in 0..20 {
                guest.send(&udp(60, number));
                if number == 10 {
                    odd(&mut guest);
                }
            }
            let (_, got) = host.receive();
            (host.compared, got.len())
        };
        assert_eq!(compared(&|_| {}), (true, 20));
        assert_eq!(compared(&|guest| guest.send(&udp(61, 0))), (false, 21));
        // Its checksum is asked for.
        let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
        assert_eq!(compared(&|guest| guest.send_with(1, &header, &udp(60, 0))), (false, 21));
        // No frame at all, whose place among the heads is left out.
        assert_eq!(compared(&|guest| guest.send_with(1, &[0; 5], &[])), (true, 20));
    }
}
