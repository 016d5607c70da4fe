//! Frames drawn by chance, completed and checked by the slow way.

use super::*;

proptest! {
    #[test]
    fn a_checksum_is_completed(spec in spec(bytes(2000))) {
        let data = spec.build();
        let out = complete(&data, spec.offload(0), TagEdit::NONE, &PLAIN).unwrap();
        prop_assert_eq!(out.len(), 1);
        prop_assert_eq!(out[0].1, Offload::NONE);
        spec.verify(&out[0].0, 0, 0, true);
    }

    #[test]
    fn padding_is_not_summed(spec in spec(bytes(20)), padding in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut data = spec.build();
        let len = data.len();
        data.extend(&padding);
        let out = complete(&data, spec.offload(0), TagEdit::NONE, &PLAIN).unwrap();
        spec.verify(&out[0].0[..len], 0, 0, true);
        prop_assert_eq!(&out[0].0[len..], padding);
    }

    #[test]
    fn segments_are_what_a_wire_would_see(spec in spec(bytes(65_000)), size in 48u16..9000, csum in any::<bool>()) {
        let most = if spec.tcp { Offload::TCP_SEGMENTS_MAX } else { Offload::UDP_SEGMENTS_MAX };
        let size = size.max(spec.payload.len().div_ceil(most) as u16);
        let data = spec.build();
        let offload = spec.offload(size);
        let caps = if csum { CSUM } else { PLAIN };
        let vetted = offload.vet(data.len(), &data[..data.len().min(HEAD)]).unwrap();
        let out = complete(&data, offload, TagEdit::NONE, &caps).unwrap();
        prop_assert_eq!(out.len(), vetted.segments(data.len()));
        let mut offset = 0;
        for (index, (mut frame, offload)) in out.clone().into_iter().enumerate() {
            prop_assert_eq!(offload.flags & Offload::NEEDS_CSUM != 0, csum);
            finish_as_hardware(&mut frame, offload);
            let last = index + 1 == out.len();
            spec.verify(&frame, offset, index, last);
            let payload = frame.len() - spec.headers();
            prop_assert!(payload == usize::from(size) || last);
            offset += payload;
        }
        prop_assert_eq!(offset, spec.payload.len());
    }

    /// Joined and cut again, datagrams are what they were, and the super-frame passes for an honest one.
    #[test]
    fn what_is_joined_comes_apart_again(
        spec in spec(bytes(1)), size in 1usize..1473, count in 2usize..100, last in 1usize..1473, edit in any::<bool>(),
    ) {
        let spec = Spec { tcp: false, ip_options: 0, ..spec };
        let edit = if edit { TagEdit { insert: 0x8100_0005, ..TagEdit::NONE } } else { TagEdit::NONE };
        let datagrams: Vec<_> = (0..count).map(|i| {
            let len = if i + 1 == count { last.min(size) } else { size };
            let payload = (0..len).map(|at| (at + i * 7) as u8).collect();
            Spec { id: spec.id.wrapping_add(i as u16), payload, ..spec.clone() }.build()
        }).collect();
        let offload = spec.offload(0).vet(datagrams[0].len(), &datagrams[0]).unwrap();
        let frames: Vec<_> = datagrams.iter().map(|data| Frame::flat(data, offload)).collect();
        let frames: Vec<_> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        let mut joiner = Joiner::new();
        let (n, joined) = joiner.join(&frames).unwrap();
        prop_assert!(n == count.min(64) || (n + 1) * size > 65_000);
        let mut whole = vec![0; joined.len()];
        TxFrame { frame: &joined, edit: TagEdit::NONE }.copy_to(&mut whole);
        prop_assert_eq!(joined.offload.vet(whole.len(), &whole), Some(joined.offload));
        prop_assert_eq!(joined.offload.segments(whole.len()), n);
        let out = complete(&whole, joined.offload, edit, &PLAIN).unwrap();
        prop_assert_eq!(out.len(), n);
        for (data, (segment, _)) in datagrams.iter().zip(&out) {
            let alone = complete(data, offload, edit, &PLAIN).unwrap();
            prop_assert_eq!(&alone[0].0, segment);
        }
    }

    /// Of two datagrams that differ in anything but what counts up, each goes alone.
    #[test]
    fn what_would_come_apart_otherwise_goes_alone(
        spec in spec(bytes(1)), at in 0usize..70, bit in 0u8..8, which in 0usize..2,
    ) {
        let spec = Spec { tcp: false, ip_options: 0, tags: 0, payload: vec![9; 30], ..spec };
        let second = Spec { id: spec.id.wrapping_add(1), ..spec.clone() };
        let mut datagrams = [spec.build(), second.build()];
        let changed = at % spec.headers();
        datagrams[which][changed] ^= 1 << bit;
        let sum = spec.l4() + 6..spec.l4() + 8;
        let honest = spec.offload(0).vet(datagrams[0].len(), &datagrams[0]);
        prop_assume!(!sum.contains(&changed) && honest.is_some());
        let frames = datagrams.each_ref().map(|data| Frame::flat(data, honest.unwrap()));
        let frames = frames.each_ref().map(|frame| TxFrame { frame, edit: TagEdit::NONE });
        prop_assert!(Joiner::new().join(&frames).is_none(), "byte {changed}");
    }

    #[test]
    fn a_tag_comes_and_goes_on_the_way(spec in spec(bytes(5000)), size in 400u16..1500, insert in any::<bool>()) {
        let insert = insert || spec.tags == 0;
        let mut tagged = spec.clone();
        let data = spec.build();
        let edit = if insert {
            tagged.tags += 1;
            TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE }
        } else {
            tagged.tags -= 1;
            TagEdit { strip: 4, insert: 0, ..TagEdit::NONE }
        };
        let out = complete(&data, spec.offload(size), edit, &PLAIN).unwrap();
        let mut whole: Vec<u8> = Vec::new();
        for (frame, _) in &out {
            prop_assert_eq!(insert, be(&frame[12..16]) == 0x8100_0005 && spec.tags == tagged.tags - 1);
            prop_assert_eq!(be(&frame[tagged.l3() - 2..tagged.l3()]), if spec.ipv6 { 0x86dd } else { 0x0800 });
            whole.extend(&frame[tagged.headers()..]);
        }
        prop_assert_eq!(whole, spec.payload);
    }

    /// Whatever a guest writes: no panic, nothing longer than allowed, not more segments than
    /// bounded; and what is let through at the ingress can be completed at any egress.
    #[test]
    fn lies_are_found_out(
        spec in spec(bytes(3000)),
        fields in (any::<u8>(), prop_oneof![0u8..6, any::<u8>(), 128u8..134]),
        words in (any::<u16>(), prop_oneof![0u16..60, any::<u16>()], prop_oneof![10u16..150, any::<u16>()],
            prop_oneof![Just(16), Just(6), any::<u16>()]),
        honest in any::<bool>(),
        cut in 0usize..3000,
        noise in proptest::collection::vec((0usize..150, any::<u8>()), 0..4),
        edit in prop_oneof![Just(TagEdit::NONE), Just(TagEdit { strip: 0, insert: 0x8100_0001, ..TagEdit::NONE }), Just(TagEdit { strip: 4, insert: 0, ..TagEdit::NONE })],
    ) {
        let mut data = spec.build();
        for (at, value) in noise {
            if let Some(byte) = data.get_mut(at) {
                *byte = value;
            }
        }
        data.truncate(cut.max(14));
        let mut offload = Offload {
            flags: fields.0, gso_type: fields.1, hdr_len: words.0, gso_size: words.1,
            csum_start: words.2, csum_offset: words.3,
        };
        if honest {
            offload.csum_start = spec.l4() as u16;
            offload.csum_offset = if spec.tcp { 16 } else { 6 };
        }
        let caps = Caps { max_frame: 1518, ..PLAIN };
        let edit = if data.len() < 18 { TagEdit::NONE } else { edit };
        for caps in [PLAIN, CSUM, TSO, caps] {
            if let Ok(out) = complete(&data, offload, edit, &caps) {
                prop_assert!(out.len() <= Offload::TCP_SEGMENTS_MAX);
                for (frame, state) in out {
                    prop_assert!(frame.len() <= caps.max_frame as usize || state.gso_type != 0);
                }
            }
        }
        let vetted = offload.vet(data.len(), &data[..data.len().min(HEAD)]);
        prop_assert_eq!(vetted.is_some(), offload.check(data.len(), &data[..data.len().min(HEAD)]));
        if let Some(vetted) = vetted {
            let plain = Offload { flags: vetted.flags & Offload::DATA_VALID, ..Offload::NONE };
            prop_assert!(vetted == plain || usize::from(vetted.hdr_len) <= data.len());
            prop_assert_eq!(vetted.vet(data.len(), &data), Some(vetted));
            let out = complete(&data, vetted, TagEdit::NONE, &PLAIN).unwrap();
            prop_assert_eq!(out.len(), vetted.segments(data.len()));
        }
    }
}
