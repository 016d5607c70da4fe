//! What passes, both ways.

use super::*;

#[test]
fn frames_pass_in_both_directions() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        for len in [60, 64, 128, 129, 1514] {
            let frame = plain(len);
            guest.send(Offload::NONE, &frame);
            assert_eq!(tap.receive(1), [(Offload::NONE, frame.clone())]);
            assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), []);
            assert_eq!(guest.receive().1, frame);
        }
        assert!(tap.nic.carrier());
        assert_eq!(tap.nic.take_drops(), None);
    });
}

#[test]
fn super_frames_pass_untouched() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        let (offload, frame) = super_frame(65_000);
        guest.send(offload, &frame);
        let got = tap.receive(1);
        assert_eq!((got[0].0, &got[0].1), (offload, &frame));
        assert_eq!(tap.send(Frame::flat(&frame, offload)), []);
        let (got, bytes) = guest.receive();
        assert_eq!((got.gso_type, got.gso_size, got.csum_start), (Offload::GSO_TCPV4, 1448, 34));
        assert_eq!(bytes, frame);
    });
}

/// A datagram of 20 bytes over IPv4, its checksum still to be computed.
fn datagram(number: u16) -> (Offload, Vec<u8>) {
    let mut bytes = super_frame(8).1;
    bytes[18..20].copy_from_slice(&number.to_be_bytes());
    bytes[23] = 17;
    bytes[24..26].fill(0);
    let sum = crate::offload::checksum::finish(crate::offload::checksum::sum(&bytes[14..34]));
    bytes[24..26].copy_from_slice(&sum);
    bytes[38..40].copy_from_slice(&28_u16.to_be_bytes());
    bytes[42..].fill(number as u8);
    let flags = Offload::NEEDS_CSUM;
    (Offload { flags, hdr_len: 42, csum_start: 34, csum_offset: 6, ..Offload::NONE }, bytes)
}

#[test]
fn datagrams_of_a_flow_are_written_together() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        assert!(tap.nic.caps().uso, "this kernel takes no UDP super-frames");
        set_up(true);
        let guest = Guest::new();
        let other = plain(60);
        let datagrams: Vec<_> = (0..6).map(datagram).collect();
        let mut frames: Vec<_> = datagrams.iter().map(|(o, bytes)| Frame::flat(bytes, *o)).collect();
        frames.insert(4, Frame::flat(&other, Offload::NONE));
        let edit = TagEdit::NONE;
        let burst: Vec<_> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        let mut report = TxReport::default();
        tap.nic.tx_burst(0, &burst, &mut report);
        assert_eq!(report.drops(), []);
        for count in [4, 2] {
            let (offload, bytes) = guest.receive();
            assert_eq!((offload.gso_type, offload.gso_size), (Offload::GSO_UDP_L4, 20));
            assert_eq!(bytes.len(), 42 + count * 20);
            if count == 4 {
                assert_eq!(guest.receive().1, other, "the order is kept");
            }
        }
        // An interface that is down takes none of them, and each is named.
        set_up(false);
        tap.nic.tx_burst(0, &burst, &mut report);
        assert_eq!(report.drops().len(), burst.len());
    });
}

#[test]
fn without_offload_the_kernel_segments_for_us() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(Options { offload: false, ..OFFLOAD }));
        assert_eq!(tap.nic.caps(), Caps::plain(1518));
        set_up(true);
        let (offload, frame) = super_frame(4 * 1448);
        Guest::new().send(offload, &frame);
        let got = tap.receive(4);
        assert!(
            got.iter().all(|(o, bytes)| *o == Offload::NONE && bytes.len() == 54 + 1448),
            "{}",
            got.len()
        );
    });
}

#[test]
fn a_frame_in_many_pieces_is_gathered() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        let frame = plain(1000);
        let more: Vec<Seg<'_>> = frame[128..].chunks(11).map(Seg::from).collect();
        assert_eq!(tap.send(Frame::scattered(&frame[..128], Seg::EMPTY, &more, Offload::NONE)), []);
        assert_eq!(guest.receive().1, frame);
    });
}

#[test]
fn an_offload_header_that_lies_is_refused_by_the_kernel_and_named() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let (offload, frame) = super_frame(3000);
        let lie = Offload { csum_start: 60_000, ..offload };
        assert_eq!(tap.send(Frame::flat(&frame, lie)), [(0, DropReason::TxOffload)]);
        assert!(tap.nic.carrier());
    });
}

#[test]
fn steering_never_reads_beyond_a_short_head() {
    for len in 0..64 {
        for kind in [[8, 0, 0x45], [0x86, 0xdd, 0x60], [1, 2, 3]] {
            let mut head = vec![0xff; len];
            for (into, byte) in head.iter_mut().skip(12).zip(kind) {
                *into = byte;
            }
            assert!(steer(&head, 5) < 5);
        }
    }
}
