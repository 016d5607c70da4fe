//! TCP connections from many namespaces at once, all moved by one process; and where they end.

use crate::words::{Outcome, Words};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const PIECE: usize = 128 << 10;

/// A connection from inside a namespace, by a thread that goes there and ends.
fn connect(netns: &str, to: SocketAddr) -> Result<TcpStream, Box<dyn Error>> {
    let file = File::open(netns).map_err(|e| format!("{netns}: {e}"))?;
    let thread = std::thread::spawn(move || -> io::Result<TcpStream> {
        // SAFETY: no pointers, and `file` is open.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        TcpStream::connect_timeout(&to, Duration::from_secs(5))
    });
    let stream = thread.join().map_err(|_| "a thread panicked")?;
    Ok(stream.map_err(|e| format!("{netns}: {e}"))?)
}

/// Move bytes by every descriptor that poll says is ready, until `end` or there is none left.
fn moved(
    streams: &mut Vec<TcpStream>,
    events: libc::c_short,
    end: Instant,
    mut one: impl FnMut(&mut TcpStream) -> io::Result<usize>,
) -> u64 {
    let mut bytes = 0;
    while !streams.is_empty() && Instant::now() < end {
        let entry = |stream: &TcpStream| libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
        let mut fds: Vec<_> = streams.iter().map(entry).collect();
        // SAFETY: the array lives through the call and its length is the one given.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 100) };
        let mut at = 0;
        streams.retain_mut(|stream| {
            let ready = fds[at].revents != 0;
            at += 1;
            if !ready {
                return true;
            }
            match one(stream) {
                Ok(0) => false,
                Ok(n) => {
                    bytes += n as u64;
                    true
                }
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            }
        });
    }
    bytes
}

pub fn pour(words: &Words) -> Outcome {
    let to = words.address()?;
    let mut streams = words.from.iter().map(|netns| connect(netns, to)).collect::<Result<Vec<_>, _>>()?;
    for stream in &streams {
        stream.set_nonblocking(true)?;
    }
    let piece = vec![7; PIECE];
    let (begun, end) = (Instant::now(), words.end());
    let bytes = moved(&mut streams, libc::POLLOUT, end, |stream| stream.write(&piece));
    let (lost, seconds) = (words.from.len() - streams.len(), begun.elapsed().as_secs_f64());
    if lost > 0 {
        return Err(format!("{lost} connections ended").into());
    }
    let rate = bytes as f64 * 8.0 / seconds / 1e9;
    Ok(format!("{{\"gbps\": {rate:.4}, \"bytes\": {bytes}, \"seconds\": {seconds:.4}}}"))
}

/// Takes connections until killed.
pub fn sink(words: &Words) -> Outcome {
    let listener = TcpListener::bind(words.address()?)?;
    listener.set_nonblocking(true)?;
    println!("ready");
    let (mut streams, mut room) = (Vec::new(), vec![0; PIECE]);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                streams.push(stream);
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        let turn = Instant::now() + Duration::from_millis(20);
        moved(&mut streams, libc::POLLIN, turn, |stream| stream.read(&mut room));
        if streams.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
