//! Whoever may connect may say anything, and name anybody's socket.

use super::*;
use crate::backoff::Backoff;
use std::os::unix::net::UnixListener;

/// Say `words` on a fresh connection; the line that the door has for it.
fn refused(folder: &TestFolder, bench: &mut Bench<VdeNic>, words: &[u8]) -> String {
    bench.log.clear();
    bench.nic.complaint.clear();
    bench.advance(Backoff::LONGEST);
    let mut control = call(folder);
    control.write_all(words).unwrap();
    bench.until("refused", |b| !b.log.is_empty());
    let data = UnixDatagram::unbound().unwrap();
    assert!(Guest { control, data }.is_unplugged());
    assert!(!bench.nic.carrier() && bench.nic.plug().is_none());
    bench.log[0].split_once("vde/ctl: ").unwrap().1.to_owned()
}

fn naming(path: impl Into<PathBuf>) -> Vec<u8> {
    words::request(&Name::Path(path.into()), 0, "")
}

/// The only thing in the switch's folder is `ctl`, but for those that are a test's.
fn others(folder: &TestFolder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("vde")).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "ctl");
    names.sort();
    names
}

#[test]
fn what_is_no_request_is_refused_with_a_line() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let good = naming(folder.path("vde/x"));
    assert!(refused(&folder, &mut bench, b"GET / HTTP/1.1\r\n").contains("no VDE request"));
    let mut inet = good.clone();
    inet[12] = 2;
    assert!(refused(&folder, &mut bench, &inet).contains("no unix socket"));
    let mut odd = good.clone();
    odd[8] = 9;
    assert!(refused(&folder, &mut bench, &odd).contains("type 9"));
    let mut late = good;
    late[4] = 4;
    assert!(refused(&folder, &mut bench, &late).contains("version 4"));
    // The same words again are refused as before, and not told.
    bench.advance(Backoff::LONGEST);
    call(&folder).write_all(&late).unwrap();
    bench.settle();
    assert_eq!(bench.log.len(), 1);
    assert!(others(&folder).is_empty());
}

#[test]
fn nobody_elses_socket_can_be_named() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let victim = UnixDatagram::bind(folder.path("victim")).unwrap();
    victim.set_nonblocking(true).unwrap();
    let inside = |name: &str| folder.path("vde").join(name);
    let says = |bench: &mut Bench<VdeNic>, path: PathBuf| refused(&folder, bench, &naming(path));

    std::os::unix::fs::symlink(folder.path("victim"), inside("link")).unwrap();
    assert!(says(&mut bench, inside("link")).ends_with("/vde/link\" is not a socket"));
    std::fs::write(inside("file"), "").unwrap();
    assert!(says(&mut bench, inside("file")).ends_with("is not a socket"));
    let _listener = UnixListener::bind(inside("stream")).unwrap();
    assert!(says(&mut bench, inside("stream")).ends_with("is not a datagram socket"));
    assert!(says(&mut bench, inside("ctl")).ends_with("is not a datagram socket"));
    drop(UnixDatagram::bind(inside("dead")).unwrap());
    assert!(says(&mut bench, inside("dead")).starts_with("nobody has "));
    assert!(says(&mut bench, inside("none")).ends_with("No such file or directory"));
    for path in ["..", "/", "relative", "vde/.."] {
        let line = says(&mut bench, path.into());
        assert!(line.starts_with("can't reach ") || line.ends_with("can't be a socket"), "{line}");
    }
    // Somebody's socket that speaks to somebody else.
    let (other, busy) =
        (UnixDatagram::bind(inside("other")).unwrap(), UnixDatagram::bind(inside("busy")).unwrap());
    busy.connect(inside("other")).unwrap();
    assert!(says(&mut bench, inside("busy")).ends_with("speaks to somebody else already"));
    drop(other);
    // Another user's, where we may make it so.
    let foreign = UnixDatagram::bind(inside("foreign")).unwrap();
    if std::os::unix::fs::chown(inside("foreign"), Some(65_534), None).is_ok() {
        assert!(says(&mut bench, inside("foreign")).ends_with("belongs to another user (65534)"));
        std::fs::rename(inside("foreign"), folder.path("foreign")).unwrap();
        assert!(says(&mut bench, folder.path("foreign")).ends_with("belongs to another user (65534)"));
    }
    drop(foreign);
    // One of our own elsewhere is taken, and hears nothing, because it never says anything.
    bench.advance(Backoff::LONGEST);
    let guest = Guest::ask(&folder, UnixDatagram::unbound().unwrap(), &Name::Path(folder.path("victim")));
    bench.until("plugged in", |b| b.nic.plug().is_some());
    assert_eq!(bench.send(&[numbered(1, 60)]), 0);
    assert_eq!(victim.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!bench.nic.carrier());
    drop(guest);
    bench.until("unplugged", |b| b.nic.plug().is_none());
    assert!(folder.path("victim").exists(), "what is not in the folder is not removed");
}

#[test]
fn nobody_else_can_send_to_a_plugs_port() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    let stranger = UnixDatagram::unbound().unwrap();
    for name in others(&folder) {
        if name != "plug" {
            assert!(stranger.send_to(&numbered(9, 60), folder.path("vde").join(name)).is_err());
        }
    }
    guest.data.send(&numbered(1, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 1);
    assert_eq!(bench.received[0], numbered(1, 60));
}

#[test]
fn a_plug_that_speaks_to_somebody_else_is_unplugged() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    let _other = UnixDatagram::bind(folder.path("other")).unwrap();
    guest.data.connect(folder.path("other")).unwrap();
    bench.send(&[numbered(1, 60)]);
    bench.until("carrier is down", |b| !b.nic.carrier());
    assert!(guest.is_unplugged());
    // And one whose data socket is gone, its control connection left behind.
    let guest = Guest::plug(&folder, &mut bench, "again");
    let Guest { control, data } = guest;
    drop(data);
    bench.send(&[numbered(1, 60)]);
    bench.until("carrier is down", |b| !b.nic.carrier());
    assert!(Guest { control, data: UnixDatagram::unbound().unwrap() }.is_unplugged());
    assert!(others(&folder).is_empty());
}

#[test]
fn silence_half_a_request_and_a_flood_of_words_end_in_time() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    for words in [&b""[..], &naming(folder.path("vde/x"))[..121]] {
        let mut control = call(&folder);
        control.write_all(words).unwrap();
        bench.settle();
        bench.advance(VdeNic::PATIENCE - 1);
        assert!(bench.log.is_empty());
        bench.advance(1);
        assert!(bench.log.pop().unwrap().ends_with("it says nothing for 3 s"));
        bench.nic.complaint.clear();
        let data = UnixDatagram::unbound().unwrap();
        assert!(Guest { control, data }.is_unplugged());
        bench.advance(Backoff::LONGEST);
    }
    let mut guest = Guest::plug(&folder, &mut bench, "plug");
    guest.control.write_all(&[0; 100]).unwrap();
    bench.settle();
    assert!(bench.nic.carrier());
    guest.control.write_all(&[0; 100]).unwrap();
    bench.settle();
    assert!(bench.log.pop().unwrap().ends_with("it says more than 256 bytes"));
    assert!(!bench.nic.carrier() && guest.is_unplugged());
}

#[test]
fn datagrams_that_are_no_frames_are_counted() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    for bytes in [&[0; FRAME_MAX + 1][..], &[0; Arena::SLOT + 1], b"", &numbered(1, 60)] {
        guest.data.send(bytes).unwrap();
    }
    bench.until("received", |b| b.received.len() == 1);
    assert_eq!(bench.received[0], numbered(1, 60));
    assert_eq!(bench.dropped(DropReason::DoorMalformed), 2);
}

#[test]
fn a_plug_that_stops_reading_costs_a_bounded_ring_and_no_time() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    let frames: Vec<_> = (0..64).map(|i| numbered(i, 9000)).collect();
    let mut sent = 0;
    while bench.dropped(DropReason::TxFull) == 0 {
        sent += bench.send(&frames);
    }
    assert!(bench.nic.waiting && bench.nic.carrier());
    assert_eq!(bench.nic.deadline(), None, "nobody looks in");
    for number in 0..sent {
        assert_eq!(guest.receive(), frames[number % frames.len()], "frame {number}");
        bench.settle();
    }
    assert!(!bench.nic.waiting);
    assert_eq!(bench.send(&frames[..1]), 1);
    assert_eq!(guest.receive(), frames[0]);
}

#[test]
fn names_for_frames_are_told_as_the_kernel_has_them() {
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let guest = Guest::plug(&folder, &mut bench, "plug");
    assert_eq!(bench.send(&[numbered(1, 60)]), 1);
    let (_, from) = guest.data.recv_from(&mut [0; 100]).unwrap();
    let from = from.as_pathname().unwrap().to_owned();
    let address = socket2::SockAddr::unix(&from).unwrap();
    assert_eq!(names::path(names::raw(&address)), Some(from.as_path()));
    assert_eq!(from.parent(), Some(folder.path("vde").as_path()));
}
