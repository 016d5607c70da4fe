//! Private VLANs, and places that go over links: see `src/private.rs`. Whole fabrics are in `tests/model`.

use crate::*;
use switch::Place;

fn isolated() -> PortConfig {
    let private = switch::Private { vlans: [1].into_iter().collect(), community: 0 };
    PortConfig { private: Some(Box::new(private)), ..PortConfig::access(1) }
}

/// An isolated guest, a promiscuous one, the end of a link.
fn leaf() -> Bench {
    Bench::new([isolated(), PortConfig::access(1), PortConfig { places: true, ..trunk(&[1], None) }])
}

fn from_link(bench: &mut Bench, bytes: &[u8], place: Place) -> Out {
    bench.decide_view(0, 2, View { place, ..view(bytes) }).out
}

#[test]
fn the_senders_place_goes_over_links_and_nowhere_else() {
    let mut bench = leaf();
    for (ingress, place) in [(0, Place::ISOLATED), (1, Place::PROMISCUOUS)] {
        let decision = bench.decide(0, ingress, &frame(BROADCAST, [2, 0, 0, 0, 1, ingress as u8], &[], 46));
        assert_eq!(decision.place, place);
        let edit = bench.0.egress(2, &decision, &of_len(64, false)).unwrap();
        assert_eq!(edit.place, place);
        assert_eq!(bench.0.egress_all(2, &decision).unwrap().0, edit);
        let edit = bench.0.egress(1 - ingress, &decision, &of_len(64, false)).unwrap();
        assert_eq!(edit, TagEdit::NONE, "a guest is told nothing");
    }
}

#[test]
fn what_comes_over_a_link_stands_where_the_other_switch_says() {
    let mut bench = leaf();
    bench.hear(0, A);
    bench.hear(1, B);
    for (place, to_isolated) in [
        (Place::PROMISCUOUS, Out::Port(0)),
        (Place::ISOLATED, Out::Drop(Private)),
        (Place::UNTOLD, Out::Drop(Private)),
        (Place::from(7), Out::Drop(Private)),
    ] {
        // Twice: what was decided about the last frame holds for its place alone.
        for _ in 0..2 {
            assert_eq!(from_link(&mut bench, &frame(A, C, &[0x8100, 1], 46), place), to_isolated);
            assert_eq!(from_link(&mut bench, &frame(B, C, &[0x8100, 1], 46), place), Out::Port(1));
        }
    }
}

#[test]
fn frames_that_differ_in_nothing_but_their_place_are_told_apart() {
    let mut bench = leaf();
    bench.hear(0, A);
    let bytes = frame(A, C, &[0x8100, 1], 46);
    let places = [Place::PROMISCUOUS, Place::ISOLATED, Place::PROMISCUOUS, Place::UNTOLD];
    let views = places.map(|place| View { place, ..view(&bytes) });
    let mut out = [Decision::default(); 4];
    bench.0.classify(0, 2, views, &mut out);
    let dropped = Out::Drop(DropReason::Private);
    assert_eq!(out.map(|decision| decision.out), [Out::Port(0), dropped, Out::Port(0), dropped]);
}

#[test]
fn a_guest_that_tells_a_place_is_not_listened_to() {
    let mut bench = leaf();
    let bytes = frame(BROADCAST, A, &[], 46);
    let view = View { place: Place::PROMISCUOUS, ..view(&bytes) };
    assert_eq!(bench.decide_view(0, 0, view).place, Place::ISOLATED);
}
