//! On real TAPs, each in a network namespace of its own.

#![allow(clippy::unwrap_used)]

mod passing;
mod queues;
mod states;

use super::*;
use crate::{Events, Poller, Seg, Waker, testkit};
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

/// In the namespace of this thread.
fn ip(words: &[&str]) {
    assert!(testkit::run(std::process::Command::new("ip").args(words)).status.success(), "ip {words:?}");
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
