#![allow(clippy::unwrap_used)]

use super::erspan::{Erspan, Packed};
use super::{MirrorSet, Passing, Spec};
use crate::capture::CaptureSet;
use crate::engine::{PortSet, Slot};
use nics::{Arena, Burst, Caps, Completer, Frame, Nic, Offload, Origin, Rx, TxFrame, TxReport};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use switch::{Decision, DropReason, Limit, Nanos, PortCounters, PortId, VlanSet};

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

/// Notes whose the frames are that are sent by it: who shares it, and who is billed for them.
struct Asks(Arc<Mutex<Vec<(PortId, Origin)>>>);

impl Nic for Asks {
    fn kind(&self) -> &'static str {
        "asks"
    }

    fn caps(&self) -> Caps {
        Caps::plain(1514)
    }

    fn carrier(&self) -> bool {
        true
    }

    fn rx_burst<'a>(&'a mut self, _: Nanos, _: &'a mut Arena, _: &mut Burst<'a>) -> Rx {
        Rx::Idle
    }

    fn tx_burst(&mut self, _: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        self.0.lock().unwrap().extend((0..frames.len()).map(|i| (report.sender(i), report.origins.of(i))));
    }
}

#[test]
fn copies_are_the_uplinks_own_whoever_sent_the_originals() {
    let (guest, uplink) = (1, 4);
    let mut set = MirrorSet::default();
    set.set(vec![spec("a", &[guest], uplink)], |_| true);
    let bytes = [0; 60];
    let burst = [Frame::flat(&bytes, Offload::NONE)];
    let decisions = [Decision { vlan: 10, ..Decision::default() }];
    set.came_in(guest, &decisions);
    // The originals went out by an uplink, too.
    let mut report = TxReport::default();
    (report.ingress, report.by_origin) = (guest, true);
    report.origins.set(Origin::of(guest));
    let seen = Arc::default();
    let mut slots: Vec<Slot> = (0..=uplink).map(|_| Slot::default()).collect();
    slots[usize::from(uplink)] = Slot {
        nic: Some(Box::new(Asks(Arc::clone(&seen)))),
        counters: Some(Arc::new(PortCounters::default())),
        ..Slot::default()
    };
    let passing = Passing { now: 0, ingress: guest, burst: &burst, decisions: &decisions };
    let (mut touched, mut captures, mut packet) = (PortSet::new(), CaptureSet::default(), 0);
    set.copy(
        &passing,
        &mut slots,
        &mut touched,
        &mut Completer::new(),
        &mut report,
        (&mut captures, &mut packet),
    );
    assert_eq!(*seen.lock().unwrap(), [(uplink, Origin::NOBODY)]);
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
