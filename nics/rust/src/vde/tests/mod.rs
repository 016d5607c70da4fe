//! A `vde` door against plugs and switches of our own; real ones are in `tests/nics` and `tests/qemu`.
#![allow(clippy::unwrap_used)]

mod client;
mod hostile;
mod random;

use super::words::{self, Name};
use super::*;
use crate::socket::names;
use crate::testkit::{Bench, Folder as TestFolder, PATIENCE, numbered};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

fn server(folder: &TestFolder) -> Bench<VdeNic> {
    Bench::new(VdeNic::open(&folder.path("vde"), Role::Server, 0, "").unwrap())
}

/// A plug as libvdeplug makes it.
struct Guest {
    control: UnixStream,
    data: UnixDatagram,
}

/// A datagram socket bound to a name of full length.
fn bound(name: &Name) -> UnixDatagram {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    socket.bind(&name.address().unwrap()).unwrap();
    let data = UnixDatagram::from(std::os::fd::OwnedFd::from(socket));
    data.set_read_timeout(Some(PATIENCE)).unwrap();
    data
}

fn call(folder: &TestFolder) -> UnixStream {
    let control = UnixStream::connect(folder.path("vde/ctl")).unwrap();
    control.set_read_timeout(Some(PATIENCE)).unwrap();
    control
}

impl Guest {
    /// Say that frames are taken at `name`, where `data` is.
    fn ask(folder: &TestFolder, data: UnixDatagram, name: &Name) -> Guest {
        let mut control = call(folder);
        control.write_all(&words::request(name, 0, "a test user=nobody PID=1")).unwrap();
        Guest { control, data }
    }

    /// Plug in, with a data socket in the switch's folder.
    fn plug(folder: &TestFolder, bench: &mut Bench<VdeNic>, name: &str) -> Guest {
        let name = Name::Path(folder.path("vde").join(name));
        let guest = Guest::ask(folder, bound(&name), &name);
        bench.until("carrier", |b| b.nic.carrier());
        guest.connect();
        guest
    }

    /// Take the switch's answer, which must be there.
    fn answer(&self) -> Name {
        let mut room = [0; 110];
        (&self.control).read_exact(&mut room).unwrap();
        words::read_answer(&room).unwrap().unwrap()
    }

    /// As libvdeplug does, but not Bochs.
    fn connect(&self) {
        let Name::Path(path) = self.answer() else { panic!("an abstract answer") };
        self.data.connect(path).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut room = vec![0; 70_000];
        let n = self.data.recv(&mut room).unwrap();
        room.truncate(n);
        room
    }

    /// The switch has closed the control connection.
    fn is_unplugged(&self) -> bool {
        let mut room = [0; 256];
        match (&self.control).read(&mut room) {
            Ok(n) => n == 0 || self.is_unplugged(),
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn frames_of_all_sizes_pass_both_ways_and_the_carrier_follows_the_plug() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let mode = std::fs::metadata(folder.path("vde")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!bench.nic.carrier());
    assert_eq!(bench.send(&[numbered(0, 60)]), 0);
    assert_eq!(bench.dropped(DropReason::TxNoCarrier), 1);
    for round in 1..4 {
        let guest = Guest::plug(&folder, &mut bench, ".00001-00000");
        for n in [14, 60, 128, 129, 1514, 9018, 65_535, FRAME_MAX] {
            let frame = numbered(n as u32, n);
            guest.data.send(&frame).unwrap();
            let before = bench.received.len();
            bench.until("received", |b| b.received.len() > before);
            assert_eq!(bench.received[before], frame);
            assert_eq!(bench.send(std::slice::from_ref(&frame)), 1);
            assert_eq!(guest.receive(), frame);
        }
        drop(guest);
        bench.until("carrier is down", |b| !b.nic.carrier());
        assert_eq!(bench.carrier.len(), 2 * round);
        // The plug's file would be in the way of the folder, and was not removed by it.
        let names: Vec<_> = std::fs::read_dir(folder.path("vde")).unwrap().collect();
        assert_eq!(names.len(), 1, "only ctl: {names:?}");
    }
    bench.detach();
    assert!(folder.names().is_empty());
    assert!(bench.log.is_empty());
}

#[test]
fn a_door_that_is_dropped_with_its_plug_in_leaves_nothing() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let _guest = Guest::plug(&folder, &mut bench, "plug");
    // The engine always detaches; who does not must not leave a folder behind either.
    let nic =
        std::mem::replace(&mut bench.nic, VdeNic::open(&folder.path("other"), Role::Server, 0, "").unwrap());
    drop(nic);
    assert_eq!(folder.names(), ["other"]);
}

#[test]
fn bursts_pass_in_order_beyond_what_a_receivers_queue_takes() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    let frames: Vec<_> = (0..60).map(|i| numbered(i, 1000)).collect();
    assert_eq!(bench.send(&frames), frames.len());
    for frame in &frames {
        assert_eq!(guest.receive(), *frame);
        guest.data.send(frame).unwrap();
    }
    bench.until("received", |b| b.received.len() == frames.len());
    assert_eq!(bench.received, frames);
    assert_eq!(bench.nic.deadline(), None);
}

#[test]
fn what_was_sent_before_the_plug_was_pulled_still_comes() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    for i in 0..100 {
        guest.data.send(&numbered(i, 60)).unwrap();
    }
    // As libvdeplug takes its leave.
    guest.data.send(&[]).unwrap();
    drop(guest);
    bench.until("carrier is down", |b| !b.nic.carrier());
    assert_eq!(bench.received.len(), 100);
    assert!(bench.drops.is_empty());
}

#[test]
fn the_second_plug_is_refused_and_the_one_after_a_dead_one_is_not() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let first = Guest::plug(&folder, &mut bench, "first");
    let name = Name::Path(folder.path("vde/second"));
    let second = Guest::ask(&folder, bound(&name), &name);
    bench.until("refused", |b| !b.log.is_empty());
    assert!(second.is_unplugged());
    assert!(bench.log[0].ends_with("vde/ctl: somebody is connected already"), "{:?}", bench.log);
    first.data.send(&numbered(1, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    // The next one is there before the door has heard that the first is gone.
    drop((first, second));
    let third =
        Guest::ask(&folder, bound(&Name::Path(folder.path("vde/third"))), &Name::Path("third".into()));
    bench.until("up again", |b| b.carrier == [true, false, true]);
    third.connect();
    third.data.send(&numbered(3, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 2);
    assert_eq!(bench.log.len(), 1);
}

#[test]
fn the_oldest_form_of_request_and_one_in_pieces_are_taken() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let name = Name::Path(folder.path("vde/old"));
    let data = bound(&name);
    let mut old: Vec<u8> = [0xfeed_face_u32, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    old.extend([2, 0, 0, 0, 0, 9]);
    old.extend(words::answer(&name));
    let mut control = call(&folder);
    for byte in &old {
        control.write_all(&[*byte]).unwrap();
        bench.settle();
    }
    bench.until("carrier", |b| b.nic.carrier());
    // A description that comes late is nothing to be angry about.
    control.write_all(b"a late description").unwrap();
    let guest = Guest { control, data };
    guest.connect();
    guest.data.send(&numbered(1, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    assert!(bench.nic.carrier() && bench.log.is_empty());
}

#[test]
fn a_folder_has_another_name_in_a_container() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let data = bound(&Name::Path(folder.path("vde/.00001-00000")));
    let guest = Guest::ask(&folder, data, &Name::Path("/elsewhere/vde/.00001-00000".into()));
    bench.until("carrier", |b| b.nic.carrier());
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    assert_eq!(guest.receive(), numbered(1, 60));
}

/// Bochs and Dynamips name sockets that anybody might have named: they are heard before they are told.
#[test]
fn names_outside_of_the_folder_hear_nothing_before_they_have_said_something() {
    let folder = TestFolder::new();
    let mut bochs = vec![0];
    bochs.extend(format!("{}", std::process::id()).bytes());
    bochs.resize(108, 0);
    for name in [Name::Abstract(bochs), Name::Path(folder.path("dynamips"))] {
        let mut bench = server(&folder);
        let guest = Guest::ask(&folder, bound(&name), &name);
        // The answer is there: the door has done what it will do.
        bench.until("answered", |b| matches!(b.nic.stage, Stage::Plugged(_)));
        let Name::Path(ours) = guest.answer() else { panic!("an abstract answer") };
        assert!(!bench.nic.carrier());
        assert_eq!(bench.send(&[numbered(0, 60)]), 0);
        // As Bochs sends: from a socket that is not connected.
        guest.data.send_to(&numbered(1, 60), ours).unwrap();
        bench.until("received", |b| b.received.len() == 1);
        assert_eq!(bench.carrier, [true]);
        let frames: Vec<_> = (2..62).map(|i| numbered(i, 60)).collect();
        assert_eq!(bench.send(&frames), frames.len());
        for frame in &frames {
            // More than its queue takes: the rest comes as it is read.
            assert_eq!(guest.receive(), *frame);
            bench.settle();
        }
        assert!(bench.log.is_empty());
    }
}

#[test]
fn what_can_not_be_opened_is_named() {
    let folder = TestFolder::new();
    let open = |name: &str| VdeNic::open(&folder.path(name), Role::Server, 0, "").unwrap_err();
    std::fs::write(folder.path("file"), "").unwrap();
    assert!(open("file").what.ends_with("/file is not a folder of yours"));
    assert_eq!(open("none/vde").remedy, "make the folder that it is in first");
    std::os::unix::fs::symlink(folder.path(""), folder.path("link")).unwrap();
    assert!(open("link").what.ends_with("/link is not a folder of yours"));
    let error = open(&"x".repeat(107));
    assert!(error.what.ends_with("bytes long, and at most 90 are possible"), "{error}");
    let living = server(&folder);
    let error = open("vde");
    assert!(error.what.starts_with("another VDE switch lives in "), "{error}");
    assert!(error.remedy.contains("role: client"));
    drop(living);
    assert_eq!(folder.names(), ["file", "link"]);
}

#[test]
fn a_killed_switchs_folder_is_taken_over_and_one_of_the_operators_stays() {
    let folder = TestFolder::new();
    std::fs::create_dir(folder.path("vde")).unwrap();
    drop(server(&folder));
    assert_eq!(folder.names(), ["vde"]);
    for leftover in ["ctl", "001.0", ".00001-00000"] {
        drop(UnixDatagram::bind(folder.path("vde").join(leftover)).unwrap());
    }
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, ".00001-00000");
    guest.data.send(&numbered(1, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    drop(bench);
    assert!(folder.names().is_empty());
}
