//! On real TAPs, each in a network namespace of its own.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Events, Poller, Seg, Waker};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::Arc;
use switch::TagEdit;

const OFFLOAD: Options = Options { mtu: 1500, offload: true };
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Run a test in a thread with a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: no pointers; it concerns this thread alone, which ends with the test.
        let made = check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).and_then(|_| open().map(drop));
        if let Err(e) = made {
            let needs = format!("needs root and /dev/net/tun: {e}");
            assert!(std::env::var_os("VNET_NO_SKIP").is_none(), "{needs}");
            eprintln!("skipped: {needs}");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn open() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/net/tun")?.into())
}

fn claim(options: Options) -> TapNic {
    TapNic::claim(vec![open().unwrap()], "tap0", true, options).unwrap()
}

fn ifreq(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain bytes, for which all zeroes is a value.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    for (into, byte) in req.ifr_name.iter_mut().zip(name.bytes()) {
        *into = byte as libc::c_char;
    }
    req
}

fn socket() -> OwnedFd {
    // SAFETY: no pointers; the result is checked and owned here alone.
    unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)).unwrap()) }
}

fn set_up(up: bool) {
    let mut req = ifreq("tap0");
    req.ifr_ifru.ifru_flags = if up { libc::IFF_UP as i16 } else { 0 };
    // SAFETY: the request lives through the call, which reads it.
    check(unsafe { libc::ioctl(socket().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const req) }).unwrap();
}

/// ETHTOOL_GLINK: the carrier as the kernel has it.
fn guest_carrier() -> bool {
    let mut value = [10u32, 0];
    let mut req = ifreq("tap0");
    req.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request and the eight bytes that it points to live through the call.
    check(unsafe { libc::ioctl(socket().as_raw_fd(), 0x8946, &raw mut req) }).unwrap();
    value[1] == 1
}

/// A packet socket on the interface: what a guest sends and receives, header and all.
struct Guest(OwnedFd);

impl Guest {
    fn new() -> Self {
        // SAFETY: the address and the option live through the calls, their lengths are right, and
        // the result is owned here alone.
        unsafe {
            let any = (libc::ETH_P_ALL as u16).to_be();
            let fd = check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(any))).unwrap();
            let guest = Guest(OwnedFd::from_raw_fd(fd));
            let on: libc::c_int = 1;
            check(libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, (&raw const on).cast(), 4))
                .unwrap();
            let mut addr: libc::sockaddr_ll = std::mem::zeroed();
            addr.sll_family = libc::AF_PACKET as u16;
            addr.sll_protocol = any;
            addr.sll_ifindex = libc::if_nametoindex(c"tap0".as_ptr()) as i32;
            let len = size_of::<libc::sockaddr_ll>() as u32;
            check(libc::bind(fd, (&raw const addr).cast(), len)).unwrap();
            guest
        }
    }

    fn send(&self, offload: Offload, frame: &[u8]) {
        let bytes = [&offload.to_bytes(), frame].concat();
        // SAFETY: the kernel reads bytes.len() bytes.
        let n = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        check(n as i32).unwrap();
    }

    /// The next frame to our MAC (the kernel sends some of its own, too).
    fn receive(&self) -> (Offload, Vec<u8>) {
        loop {
            let mut bytes = vec![0; HEADER + FRAME_MAX];
            // SAFETY: the kernel writes at most bytes.len() bytes.
            let n = unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
            bytes.truncate(check(n as i32).unwrap() as usize);
            let (header, frame) = bytes.split_first_chunk::<HEADER>().unwrap();
            if frame.starts_with(&MAC) {
                return (Offload::from_bytes(header), frame.to_vec());
            }
        }
    }
}

struct Bench {
    nic: TapNic,
    poller: Arc<Poller>,
    events: Arc<Events>,
    arena: Arena,
}

impl Bench {
    fn new(mut nic: TapNic) -> Self {
        let (poller, events) = (Arc::new(Poller::new().unwrap()), Arc::new(Events::new().unwrap()));
        let waker = Arc::new(Waker::new().unwrap());
        nic.attach(Context { port: 3, poller: poller.clone(), waker, events: events.clone() }, 0).unwrap();
        Bench { nic, poller, events, arena: Arena::new() }
    }

    fn wait(&mut self) -> usize {
        let nic = &mut self.nic;
        self.poller
            .wait(Some(5_000_000_000), |_, sub, readiness| {
                nic.ready(sub, readiness, 0);
            })
            .unwrap()
    }

    /// Frames that a guest sent to our MAC, until there are `n`.
    fn receive(&mut self, n: usize) -> Vec<(Offload, Vec<u8>)> {
        let mut got = Vec::new();
        while got.len() < n {
            assert_ne!(self.wait(), 0, "nothing came");
            loop {
                let mut burst = Burst::new();
                let rx = self.nic.rx_burst(0, &mut self.arena, &mut burst);
                got.extend(burst.iter().filter(|f| f.head().starts_with(&MAC)).map(|frame| {
                    let mut bytes = vec![0; frame.len()];
                    TxFrame { frame, edit: TagEdit::NONE }.copy_to(&mut bytes).unwrap();
                    (frame.offload, bytes)
                }));
                if rx == Rx::Idle {
                    break;
                }
            }
        }
        got
    }

    fn send(&mut self, frame: Frame<'_>) -> Vec<(u8, DropReason)> {
        let mut report = TxReport::default();
        self.nic.tx_burst(0, &[TxFrame { frame: &frame, edit: TagEdit::NONE }], &mut report);
        report.drops().to_vec()
    }

    fn events(&self) -> Vec<EventKind> {
        self.events.take().0.into_iter().map(|event| event.kind).collect()
    }
}

fn plain(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
    bytes[..6].copy_from_slice(&MAC);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 8]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// A TCP super-frame over IPv4: its checksum is that of the pseudo-header, as senders leave it.
fn super_frame(payload: usize) -> (Offload, Vec<u8>) {
    let total = (40 + payload) as u16;
    let mut bytes = plain(14 + 40 + payload);
    let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = |bytes: &[u8]| {
        let sum: u32 = bytes.chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
        ((sum & 0xffff) + (sum >> 16)) as u16
    };
    let ip_sum = !sum(&ip);
    ip[10..12].copy_from_slice(&ip_sum.to_be_bytes());
    let tcp_len = total - 20;
    let pseudo = [&ip[12..20], &[0, 6], &tcp_len.to_be_bytes()].concat();
    let mut tcp = [0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
    tcp[16..18].copy_from_slice(&sum(&pseudo).to_be_bytes());
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..34].copy_from_slice(&ip);
    bytes[34..54].copy_from_slice(&tcp);
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type: Offload::GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    (offload, bytes)
}

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
        let done = std::process::Command::new("ip").args(["link", "delete", "tap0"]).status().unwrap();
        assert!(done.success());
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
        let made = std::process::Command::new("ip")
            .args(["tuntap", "add", "dev", "tap0", "mode", "tap", "multi_queue"])
            .status();
        assert!(made.unwrap().success());
        for _ in 0..2 {
            let tap = TapNic::claim(vec![open().unwrap()], "tap0", false, OFFLOAD).unwrap();
            let fd = crate::output::duplicate(tap.queues[0].as_fd().as_raw_fd()).unwrap();
            assert_eq!(TapNic::adopt(vec![fd], OFFLOAD).unwrap().name(), "tap0");
        }
    });
}

#[test]
fn all_queues_are_read_and_a_flow_keeps_to_one() {
    in_namespace(|| {
        let fds = (0..4).map(|_| open().unwrap()).collect();
        let mut tap = Bench::new(TapNic::claim(fds, "tap0", true, OFFLOAD).unwrap());
        set_up(true);
        let guest = Guest::new();
        let frames: Vec<Vec<u8>> = (0..40u8)
            .map(|i| {
                let (_, mut frame) = super_frame(100);
                frame[29] = i;
                frame
            })
            .collect();
        for frame in &frames {
            guest.send(Offload::NONE, frame);
        }
        let mut got: Vec<Vec<u8>> = tap.receive(40).into_iter().map(|(_, bytes)| bytes).collect();
        got.sort();
        assert_eq!(got, frames);
        let queues: std::collections::BTreeSet<usize> = frames.iter().map(|f| steer(f, 4)).collect();
        assert_eq!(queues.len(), 4);
        for frame in &frames {
            assert_eq!(tap.send(Frame::flat(frame, Offload::NONE)), []);
            assert_eq!(&guest.receive().1, frame);
        }
    });
}

#[test]
fn a_full_burst_says_that_there_is_more() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        for _ in 0..crate::BURST + 10 {
            guest.send(Offload::NONE, &plain(60));
        }
        tap.wait();
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::More);
        assert_eq!(burst.len(), crate::BURST);
        drop(burst);
        let (offload, frame) = super_frame(65_000);
        for _ in 0..crate::BURST + 10 {
            guest.send(offload, &frame);
        }
        // Of super-frames a burst is shorter, so that nobody waits long for its end.
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::More);
        // Before them come the ten that were left, and what the kernel itself says on a new interface.
        let long = burst.iter().filter(|frame| frame.len() > 60_000).count();
        assert!((1..6).contains(&long), "{long} of {}", burst.len());
    });
}

/// Have it busy, and empty.
fn flooded(tap: &mut Bench, guest: &Guest) {
    for _ in 0..crate::BURST {
        guest.send(Offload::NONE, &plain(60));
    }
    tap.wait();
    while tap.nic.rx_burst(0, &mut tap.arena, &mut Burst::new()) == Rx::More {}
    assert!(tap.nic.polled(), "it waits to be told");
}

fn told(tap: &Bench) -> usize {
    tap.poller.wait(Some(0), |_, _, _| {}).unwrap()
}

#[test]
fn a_busy_guest_is_looked_at_without_epoll_until_it_is_armed() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        flooded(&mut tap, &guest);
        guest.send(Offload::NONE, &plain(60));
        assert_eq!(told(&tap), 0, "still in epoll");
        let mut burst = Burst::new();
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut burst), Rx::Idle);
        assert_eq!(burst.len(), 1);
        drop(burst);
        // What comes before it is armed is told then; so is what comes later.
        guest.send(Offload::NONE, &plain(60));
        assert!(tap.nic.arm() && !tap.nic.polled());
        assert_eq!(tap.receive(1).len(), 1);
        guest.send(Offload::NONE, &plain(60));
        assert_eq!(tap.receive(1).len(), 1);
        // A limit may hold it off while it rests: then it stays held.
        flooded(&mut tap, &guest);
        tap.poller.hold(3, true);
        guest.send(Offload::NONE, &plain(60));
        assert!(tap.nic.arm());
        assert_eq!(told(&tap), 0, "not held");
        tap.poller.hold(3, false);
        assert_eq!(tap.receive(1).len(), 1);
    });
}

#[test]
fn a_busy_guest_may_go_down_and_away() {
    in_namespace(|| {
        let mut tap = Bench::new(claim(OFFLOAD));
        set_up(true);
        let guest = Guest::new();
        flooded(&mut tap, &guest);
        set_up(false);
        let frame = plain(60);
        assert_eq!(tap.send(Frame::flat(&frame, Offload::NONE)), [(0, DropReason::TxNoCarrier)]);
        assert!(!tap.nic.polled());
        set_up(true);
        while !tap.nic.carrier() {
            assert_ne!(tap.wait(), 0, "not told that it is up");
        }
        // The old guest's socket was told that its network was down.
        flooded(&mut tap, &Guest::new());
        tap.events();
        assert!(
            std::process::Command::new("ip").args(["link", "delete", "tap0"]).status().unwrap().success()
        );
        assert_eq!(tap.nic.rx_burst(0, &mut tap.arena, &mut Burst::new()), Rx::Idle);
        assert!(!tap.nic.carrier() && !tap.nic.polled());
        assert_eq!(tap.events()[0], EventKind::Carrier(false));
        assert_eq!(told(&tap), 0);
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
