//! How a TAP is found, ends and pauses.

use super::*;

#[test]
fn an_interface_that_is_down_has_no_carrier_until_it_is_up() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        let frame = plain(60);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), [(0, DropReason::TxNoCarrier)]);
        assert!(!tap.nic.carrier());
        assert_eq!(tap.events(), [EventKind::Carrier(false)]);
        assert_eq!(tap.poller.wait(Some(0), |_, _, _| {}).unwrap(), 0, "no spinning while it is down");
        set_up(true);
        while !tap.nic.carrier() {
            assert_ne!(tap.wait(), 0, "not told that it is up");
        }
        assert_eq!(tap.events(), [EventKind::Carrier(true)]);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), []);
        set_up(false);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), [(0, DropReason::TxNoCarrier)]);
        assert_eq!(tap.events(), [EventKind::Carrier(false)]);
    });
}

#[test]
fn a_deleted_interface_is_told_once_and_does_not_spin() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        ip(&["link", "delete", "tap0"]);
        while tap.nic.carrier() {
            assert_ne!(tap.wait(), 0, "not told that it is gone");
            assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut Burst::new()), Rx::Idle);
        }
        let events = tap.events();
        assert_eq!(events[0], EventKind::Carrier(false));
        assert!(
            matches!(&events[1], EventKind::Log(line) if line.contains("tap0: the interface was deleted"))
        );
        assert_eq!(tap.poller.wait(Some(0), |_, _, _| {}).unwrap(), 0, "still watched");
        let frame = plain(60);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), [(0, DropReason::TxNoCarrier)]);
        tap.nic.set_link(false, 0);
        tap.nic.set_link(true, 0);
        assert!(!tap.nic.carrier());
        assert_eq!(tap.events(), []);
    });
}

#[test]
fn the_guest_sees_the_link_that_the_operator_sets() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        assert!(guest_carrier());
        tap.nic.set_link(false, 0);
        assert!(!guest_carrier() && !tap.nic.carrier());
        tap.nic.set_link(true, 0);
        assert!(guest_carrier() && tap.nic.carrier());
        assert_eq!(tap.events(), [EventKind::Carrier(false), EventKind::Carrier(true)]);
    });
}

#[test]
fn names_are_taken_given_and_refused() {
    in_namespace(|| {
        let tap = claim(OFFLOAD);
        let again = |create| TapNic::claim(vec![open().unwrap()], "tap0", create, OFFLOAD);
        assert_eq!(again(true).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert_eq!(again(false).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        let numbered = TapNic::claim(vec![open().unwrap()], "vm%d", true, OFFLOAD).unwrap();
        assert_eq!((tap.name(), numbered.name()), ("tap0", "vm0"));
        let lo = TapNic::claim(vec![open().unwrap()], "lo", false, OFFLOAD).unwrap_err();
        assert_eq!(lo.raw_os_error(), Some(libc::EINVAL));
        drop(tap);
        drop(claim(OFFLOAD));
    });
}

#[test]
fn a_persistent_tap_is_used_and_left() {
    in_namespace(|| {
        ip(&["tuntap", "add", "dev", "tap0", "mode", "tap", "multi_queue"]);
        for _ in 0..2 {
            let tap = TapNic::claim(vec![open().unwrap()], "tap0", false, OFFLOAD).unwrap();
            let fd = crate::output::duplicate(tap.queues[0].as_fd().as_raw_fd()).unwrap();
            assert_eq!(TapNic::adopt(vec![fd], OFFLOAD).unwrap().name(), "tap0");
        }
    });
}
