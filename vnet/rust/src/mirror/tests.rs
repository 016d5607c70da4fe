#![allow(clippy::unwrap_used)]

use super::erspan::{Erspan, Packed};
use super::{MirrorSet, Spec};
use std::net::IpAddr;
use switch::{Decision, DropReason, Limit, VlanSet};

fn spec(name: &str, ingress: &[u16], to: u16) -> Spec {
    Spec {
        name: name.into(),
        ingress: ingress.to_vec(),
        egress: ingress.to_vec(),
        vlans: None,
        transit: true,
        to,
        erspan: None,
        snap: None,
        tagged: false,
        limit: Limit::default(),
    }
}

#[test]
fn a_port_that_copies_go_to_is_no_source() {
    let mut set = MirrorSet::default();
    set.set(vec![spec("a", &[1, 2, 3], 3), spec("b", &[3, 2], 4)], |_| true);
    assert!(set.wants_in(1) && set.wants_out(2) && !set.wants_in(3) && !set.wants_in(4));
    set.forget(3);
    assert!(!set.wants_in(1) && set.wants_in(2));
    set.forget(4);
    assert!(!set.any() && !set.wants_in(2));
}

#[test]
fn a_frame_is_noted_once_and_only_in_its_vlan() {
    let mut set = MirrorSet::default();
    let vlans = Some([10].into_iter().collect::<VlanSet>());
    set.set(vec![Spec { vlans, ..spec("a", &[1], 3) }], |_| true);
    let of = |vlan| Decision { vlan, ..Decision::dropped(DropReason::NoMember) };
    set.came_in(1, &[of(10), of(20), of(0)]);
    assert_eq!(set.mirrors[0].noted, 1);
    set.goes_out(1, 0, &of(10), switch::TagEdit { strip: 4, ..switch::TagEdit::NONE }, false);
    assert_eq!((set.mirrors[0].noted, set.mirrors[0].edits[0]), (1, switch::TagEdit::NONE));
}

#[test]
fn headers_are_as_the_draft_draws_them() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut erspan = Erspan {
        dst: [2, 0, 0, 0, 0, 9],
        src: [2, 0, 0, 0, 0, 8],
        vid: Some(100),
        from: ip("192.0.2.1"),
        to: ip("192.0.2.2"),
        session: 1023,
    };
    let packed =
        Packed { sequence: 7, vlan: 0xabc, cos: 5, tagged: true, cut: true, index: 0x1_2345, len: 60 };
    let mut bytes = vec![0xff; erspan.front()];
    erspan.write(&mut bytes, &packed);
    assert_eq!(bytes.len(), 18 + 20 + 16);
    assert_eq!(bytes[12..20], [0x81, 0, 0, 100, 8, 0, 0x45, 0]);
    assert_eq!(bytes[20..22], (20u16 + 16 + 60).to_be_bytes());
    let tail = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 7, 0x1a, 0xbc, 0b1011_1111, 0xff, 0, 1, 0x23, 0x45];
    assert_eq!(bytes[38..], tail);
    (erspan.from, erspan.to, erspan.vid) = (ip("fd00::1"), ip("fd00::2"), None);
    let mut bytes = vec![0xff; erspan.front()];
    erspan.write(&mut bytes, &packed);
    assert_eq!(bytes[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 76, 47, 64]);
    assert_eq!(bytes[54..], tail);
}
