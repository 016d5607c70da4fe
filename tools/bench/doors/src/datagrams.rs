//! Datagrams, 64 in a call.

use crate::words::{Outcome, Words};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const MANY: usize = 64;
/// A paced sender that is ahead sleeps until so many are due.
const FEW: f64 = 16.0;
const ROOM: usize = 2048;
const BUFFER: libc::c_int = 4 << 20;

/// The same buffer or buffers for every message of a call.
fn messages(runs: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    runs.iter_mut()
        .map(|run| {
            // SAFETY: all-zero is a message without address, data and notes.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = run;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect()
}

fn run(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// To `--to`, as many as go or `--rate` a second.
pub fn send(words: &Words) -> Outcome {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(words.address()?)?;
    // SAFETY: no pointers; a sleep then ends when it should.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let mut payload = vec![0_u8; words.payload()];
    let mut runs = [run(&mut payload); MANY];
    let mut messages = messages(&mut runs);
    let (begun, end) = (Instant::now(), words.end());
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let mut now = begun;
    while now < end {
        let mut count = MANY;
        if words.rate > 0.0 {
            let due = (now - begun).as_secs_f64() * words.rate - sent as f64;
            if due < FEW {
                std::thread::sleep(Duration::from_secs_f64((FEW - due) / words.rate));
                now = Instant::now();
                continue;
            }
            count = (due as usize).min(MANY);
        }
        // SAFETY: `count` messages at most as there are, each with a buffer that lives as long as they.
        let n = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
        match u64::try_from(n) {
            Ok(n) => sent += n,
            Err(_) => refused += 1,
        }
        now = Instant::now();
    }
    let seconds = (now - begun).as_secs_f64();
    Ok(format!("{{\"sent\": {sent}, \"refused\": {refused}, \"seconds\": {seconds:.4}}}"))
}

/// At `--at`.
pub fn receive(words: &Words) -> Outcome {
    let socket = UdpSocket::bind(words.address()?)?;
    let size = BUFFER;
    for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        // SAFETY: an int that lives through the call. An ordinary user gets less.
        unsafe {
            let value = (&raw const size).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, 4);
        }
    }
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffers = vec![[0_u8; ROOM]; MANY];
    let mut runs: Vec<_> = buffers.iter_mut().map(|bytes| run(&mut bytes[..])).collect();
    let mut messages = messages(&mut runs);
    println!("ready");
    let end = words.end();
    let mut received = 0_u64;
    while Instant::now() < end {
        // SAFETY: as many messages as there are, each with a buffer of its own that lives as long as they.
        let n = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                MANY as u32,
                libc::MSG_WAITFORONE as _,
                timeout,
            )
        };
        match u64::try_from(n) {
            Ok(n) => received += n,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(io::Error::last_os_error().into()),
        }
    }
    Ok(format!("{{\"received\": {received}}}"))
}
