//! The limit of a program between two TAPs: read here, write there, sleep when there is nothing. It
//! switches nothing, checks nothing and counts nothing; super-frames pass whole.

use crate::words::{Outcome, Words};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// `struct virtio_net_hdr`.
const HEADER: libc::c_int = 10;
const ROOM: usize = 65_536 + 128;
/// Frames of one TAP before the other's.
const MANY: usize = 64;

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct ifreq`, as far as TUNSETIFF looks at it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

fn tap(name: &str) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    request.flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    for (to, from) in request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from;
    }
    let (fd, header) = (file.as_raw_fd(), HEADER);
    let plain = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let uso = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    // SAFETY: the request and the length live through their calls, which touch no more than them; the
    // offloads are given in place of a pointer.
    unsafe {
        check(libc::ioctl(fd, libc::TUNSETIFF, &raw mut request))?;
        check(libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const header))?;
        // Kernels before 6.2 know no USO.
        if libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(plain | uso)) < 0 {
            check(libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(plain)))?;
        }
    }
    Ok(file)
}

/// Until killed.
pub fn run(words: &Words) -> Outcome {
    let [one, other] = &words.plain[..] else { return Err("two names of TAPs".into()) };
    let mut taps = [tap(one)?, tap(other)?];
    println!("ready");
    let mut room = vec![0; ROOM];
    loop {
        let mut fds =
            [0, 1].map(|i| libc::pollfd { fd: taps[i].as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: two entries, which live through the call.
        check(unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) })?;
        for (i, entry) in fds.iter().enumerate() {
            if entry.revents == 0 {
                continue;
            }
            for _ in 0..MANY {
                let Ok(len) = taps[i].read(&mut room) else { break };
                // What the other has no room for is lost, as on a wire.
                let _ = taps[1 - i].write(&room[..len]);
            }
        }
    }
}
