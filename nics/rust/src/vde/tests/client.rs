//! As a plug in somebody else's switch.

use super::*;
use std::os::unix::net::UnixListener;

/// A switch of one port, as vde_switch has it.
struct Switch {
    listener: UnixListener,
}

/// Its side of a plug.
struct Port {
    control: UnixStream,
    data: UnixDatagram,
    request: Vec<u8>,
}

impl Switch {
    fn new(folder: &TestFolder) -> Switch {
        let _ = std::fs::create_dir(folder.path("vde"));
        let _ = std::fs::remove_file(folder.path("vde/ctl"));
        Switch { listener: UnixListener::bind(folder.path("vde/ctl")).unwrap() }
    }

    /// Take the request of the door that is connected.
    fn accept(&self) -> (UnixStream, Vec<u8>) {
        let (mut control, _) = self.listener.accept().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut room = vec![0; 1000];
        let n = control.read(&mut room).unwrap();
        room.truncate(n);
        (control, room)
    }

    fn plug(&self, folder: &TestFolder, number: u32) -> Port {
        let (mut control, request) = self.accept();
        let ours = Name::Path(folder.path("vde").join(format!("003.{number}")));
        let data = bound(&ours);
        let theirs = words::read_request(&request).unwrap().unwrap();
        Socket::connect(
            &socket2::Socket::from(std::os::fd::OwnedFd::from(data.try_clone().unwrap())),
            &theirs.address().unwrap(),
        )
        .unwrap();
        control.write_all(&words::answer(&ours)).unwrap();
        Port { control, data, request }
    }
}

fn client(folder: &TestFolder, port: u32) -> Bench<VdeNic> {
    Bench::new(VdeNic::open(&folder.path("vde"), Role::Client, port, "vnet vm1.0").unwrap())
}

fn uid() -> u32 {
    // SAFETY: no pointers; it can't fail.
    unsafe { libc::geteuid() }
}

/// Let time pass until the door has connected, and no longer: it has little patience.
fn connected(bench: &mut Bench<VdeNic>) {
    while bench.nic.connection.peer().is_none() {
        let due = bench.nic.deadline().unwrap();
        bench.advance(due.saturating_sub(bench.now));
    }
}

#[test]
fn a_switch_is_plugged_into_and_again_whenever_it_comes_back() {
    let folder = TestFolder::new();
    let mut bench = client(&folder, 5);
    assert!(bench.log[0].contains("can't connect to"), "{:?}", bench.log);
    for round in 0..3 {
        let switch = Switch::new(&folder);
        connected(&mut bench);
        let port = switch.plug(&folder, round);
        bench.until("carrier", |b| b.nic.carrier());
        assert_eq!(port.request[..12], [0xce, 0xfa, 0xed, 0xfe, 3, 0, 0, 0, 0, 5, 0, 0]);
        assert_eq!(port.request[122..], *b"vnet vm1.0");
        let mut room = vec![0; 70_000];
        for n in [14, 60, 1514, FRAME_MAX] {
            let frame = numbered(n as u32, n);
            port.data.send(&frame).unwrap();
            let before = bench.received.len();
            bench.until("received", |b| b.received.len() > before);
            assert_eq!(bench.received[before], frame);
            assert_eq!(bench.send(std::slice::from_ref(&frame)), 1);
            let got = port.data.recv(&mut room).unwrap();
            assert_eq!(room[..got], frame);
        }
        drop((port, switch));
        bench.until("carrier is down", |b| !b.nic.carrier());
    }
    bench.detach();
    // What is the switch's is the switch's to remove.
    let left: Vec<_> =
        std::fs::read_dir(folder.path("vde")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_switch_that_answers_nonsense_nothing_or_too_much_is_told_and_tried_again() {
    let folder = TestFolder::new();
    let switch = Switch::new(&folder);
    std::fs::write(folder.path("vde/file"), "").unwrap();
    let mut bench = client(&folder, 0);
    let mut inet = words::answer(&Name::Path("/x".into()));
    inet[0] = 2;
    let file = words::answer(&Name::Path(folder.path("vde/file")));
    for (answer, why) in [
        (inet, "no unix socket"),
        (file, "is not a socket"),
        (words::answer(&Name::Path(folder.path("vde/none"))), "No such file or directory"),
        (words::answer(&Name::Path(folder.path("vde/ctl"))), "is not a datagram socket"),
        (vec![0; 109], "it says nothing for 3 s"),
        (vec![], "it says nothing for 3 s"),
    ] {
        bench.log.clear();
        bench.nic.complaint.clear();
        let (mut control, _) = switch.accept();
        control.write_all(&answer).unwrap();
        bench.settle();
        if bench.log.is_empty() {
            bench.advance(VdeNic::PATIENCE);
        }
        let line = bench.log.first().unwrap();
        assert!(line.starts_with("can't plug into the switch at ") && line.contains(why), "{line}");
        assert!(!bench.nic.carrier());
        connected(&mut bench);
    }
    let port = switch.plug(&folder, 0);
    bench.until("carrier", |b| b.nic.carrier());
    (&port.control).write_all(&[0; 200]).unwrap();
    bench.until("carrier is down", |b| !b.nic.carrier());
}

#[test]
fn a_switch_that_names_a_bystander_sends_nothing_there() {
    let folder = TestFolder::new();
    let switch = Switch::new(&folder);
    let mut bench = client(&folder, 0);
    let victim = UnixDatagram::bind(folder.path("victim")).unwrap();
    victim.set_nonblocking(true).unwrap();
    let (mut control, _) = switch.accept();
    control.write_all(&words::answer(&Name::Path(folder.path("victim")))).unwrap();
    bench.until("plugged in", |b| b.nic.plug().is_some());
    assert_eq!(bench.send(&[numbered(1, 60)]), 0);
    assert_eq!(victim.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_others_sent_before_the_switch_answered_is_no_frame() {
    let folder = TestFolder::new();
    let switch = Switch::new(&folder);
    let mut bench = client(&folder, 0);
    let (mut control, request) = switch.accept();
    let theirs = words::read_request(&request).unwrap().unwrap();
    let Name::Path(path) = &theirs else { panic!("an abstract name") };
    UnixDatagram::unbound().unwrap().send_to(&numbered(9, 60), path).unwrap();
    let ours = Name::Path(folder.path("vde/003"));
    let data = bound(&ours);
    control.write_all(&words::answer(&ours)).unwrap();
    bench.until("carrier", |b| b.nic.carrier());
    data.send_to(&numbered(1, 60), path).unwrap();
    bench.until("received", |b| !b.received.is_empty());
    assert_eq!(bench.received, [numbered(1, 60)]);
    assert!(UnixDatagram::unbound().unwrap().send_to(&numbered(9, 60), path).is_err());
}

#[test]
fn where_the_folder_can_not_be_written_to_an_abstract_name_does() {
    let folder = TestFolder::new();
    let own = plug::offer(&folder.path("none"), 0).unwrap();
    assert!(matches!(own.name, Name::Abstract(_)));
    let switch = UnixDatagram::bind(folder.path("003")).unwrap();
    let name = own.name.clone();
    let plug = plug::settle(own, &Name::Path(folder.path("003")), &folder.path(""), uid());
    assert!(plug.unwrap().proved);
    // As vde_switch looks for it: by an address of full length.
    let socket = socket2::Socket::from(std::os::fd::OwnedFd::from(switch));
    assert!(socket.connect(&name.address().unwrap()).is_err(), "it went with its door");
}
