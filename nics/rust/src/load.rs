//! Load for `vnet bench`: the far sides of doors, driven by one thread and faster than Python could.
//!
//! One thread plays both the sender and the receiver, so that on a small machine one core is left to
//! the engine, which is what is measured. Nothing here blocks; who has nothing to do yields.

use crate::pipe::PipeEnd;
use crate::socket::calls::{receive, send};
use crate::socket::many::Outbox;
use crate::stack::{SocketId, StackEnd, StackError};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use switch::PortCounters;

/// Frames that are sent together.
const BATCH: usize = 32;
/// Bytes of a read from a byte stream.
const CHUNK: usize = 256 << 10;
/// Frames that were not seen again for so long are not waited for any more.
const PATIENCE: Duration = Duration::from_millis(50);
/// A flood of which nothing has arrived yet goes on for so many times as long.
const LONGER: u32 = 25;
/// A round trip is over after so long in any case. Nothing is usually lost on the way, but on a busy
/// machine each of two threads may have to wait for its core.
const TRIP: Duration = Duration::from_millis(500);
/// Between two looks for one frame: some hundred nanoseconds.
const PAUSE: usize = 20;
/// The EtherType of our frames: for local experiments (IEEE 802).
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

fn would_block(e: &io::Error) -> bool {
    // ENOBUFS: how a full transmit queue shows at a packet socket.
    e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::ENOBUFS)
}

fn zero_if_full(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if would_block(&e) => Ok(0),
        other => other,
    }
}

fn stack_error(e: StackError) -> io::Error {
    io::Error::from_raw_os_error(e.errno())
}

/// How a far side is reached.
pub enum Way {
    /// The far end of a pipe.
    Pipe(PipeEnd),
    /// A connected stream socket with 4-byte length framing.
    Stream(OwnedFd),
    /// A packet socket that is bound to an interface and does not block.
    Packet(File),
    /// A UDP socket of an in-process guest, and whom to send to.
    Udp(StackEnd, SocketId, SocketAddr),
}

/// One far side: how it is reached, and the frame (or datagram's payload) that it sends.
pub struct Far {
    way: Way,
    frame: Vec<u8>,
    /// A stream only: what is half sent, and what is half received.
    unsent: VecDeque<u8>,
    half: Vec<u8>,
    buffer: Vec<u8>,
    taken: Vec<Box<[u8]>>,
}

impl Far {
    #[must_use]
    pub fn new(way: Way, frame: Vec<u8>) -> Self {
        Far {
            way,
            frame,
            unsent: VecDeque::new(),
            half: Vec::new(),
            buffer: vec![0; CHUNK],
            taken: Vec::new(),
        }
    }

    /// Where a number can be put into what is sent: behind the Ethernet header, if there is one.
    fn number_at(&self) -> usize {
        if matches!(self.way, Way::Udp(..)) { 0 } else { 14 }
    }

    fn set_number(&mut self, number: u64) {
        let at = self.number_at();
        if let Some(room) = self.frame.get_mut(at..at + 8) {
            room.copy_from_slice(&number.to_be_bytes());
        }
    }

    fn has_number(&self, received: &[u8], number: u64) -> bool {
        let at = self.number_at();
        let ours = at == 0 || received.get(12..14) == Some(&EXPERIMENTAL);
        ours && received.get(at..at + 8) == Some(&number.to_be_bytes())
    }

    /// Send the frame up to `n` times (no more than [`BATCH`]), and what is left of the last one; how
    /// many were taken.
    fn send(&mut self, n: usize) -> io::Result<usize> {
        let n = n.min(BATCH);
        match &self.way {
            Way::Pipe(end) => Ok(end.offer((0..n).map(|_| self.frame.as_slice().into()))),
            Way::Packet(fd) => {
                let mut outbox = Outbox::default();
                for _ in 0..n {
                    let _ = outbox.push(1, [self.frame.as_slice().into()]);
                }
                zero_if_full(outbox.send(fd, None))
            }
            Way::Udp(end, socket, to) => {
                for sent in 0..n {
                    match end.udp_send(*socket, &self.frame, *to) {
                        Ok(()) => {}
                        Err(StackError::WouldBlock) => return Ok(sent),
                        Err(e) => return Err(stack_error(e)),
                    }
                }
                Ok(n)
            }
            Way::Stream(fd) => {
                let mut taken = 0;
                if self.unsent.is_empty() {
                    for _ in 0..n {
                        self.unsent.extend((self.frame.len() as u32).to_be_bytes());
                        self.unsent.extend(&self.frame);
                    }
                    taken = n;
                }
                let sent = zero_if_full(send(fd, &[(&*self.unsent.make_contiguous()).into()]))?;
                self.unsent.drain(..sent);
                Ok(taken)
            }
        }
    }

    /// Take what has arrived, some of it at least, and show each frame to `look`; whether there was any.
    fn receive(&mut self, mut look: impl FnMut(&Far, &[u8])) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.receive_into(&mut buffer, &mut look);
        self.buffer = buffer;
        result
    }

    fn receive_into(&mut self, buffer: &mut [u8], look: &mut dyn FnMut(&Far, &[u8])) -> io::Result<bool> {
        match &self.way {
            Way::Pipe(end) => {
                let mut taken = std::mem::take(&mut self.taken);
                end.take(&mut taken);
                let any = !taken.is_empty();
                for frame in taken.drain(..) {
                    look(self, &frame);
                }
                self.taken = taken;
                Ok(any)
            }
            Way::Packet(file) => {
                for received in 0..2 * BATCH {
                    // Not `receive`: packet sockets refuse its flags.
                    let mut socket: &File = file;
                    match zero_if_full(socket.read(buffer))? {
                        0 => return Ok(received > 0),
                        n => look(self, &buffer[..n]),
                    }
                }
                Ok(true)
            }
            Way::Udp(end, socket, _) => {
                for received in 0..2 * BATCH {
                    match end.udp_recv(*socket) {
                        Ok((_, _, data)) => look(self, &data),
                        Err(StackError::WouldBlock) => return Ok(received > 0),
                        Err(e) => return Err(stack_error(e)),
                    }
                }
                Ok(true)
            }
            Way::Stream(fd) => {
                let n = zero_if_full(receive(fd, buffer))?;
                let mut half = std::mem::take(&mut self.half);
                half.extend_from_slice(&buffer[..n]);
                let mut rest = &half[..];
                while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                    let Some((frame, later)) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)
                    else {
                        break;
                    };
                    look(self, frame);
                    rest = later;
                }
                let keep = half.len() - rest.len();
                half.drain(..keep);
                self.half = half;
                Ok(n > 0)
            }
        }
    }
}

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    /// Frames that left by the egress port, and how many bytes they had.
    pub frames: u64,
    pub bytes: u64,
    /// Frames that were sent and never left.
    pub lost: u64,
    /// How long it really took.
    pub nanos: u64,
}

fn drops(port: &PortCounters) -> u64 {
    port.drops.iter().map(switch::Counter::get).sum()
}

/// Send as fast as the fabric takes it, with at most `window` frames on their way, for `time`. `ports`
/// are the counters of the ports where the frames come in and go out.
pub fn flood(
    source: &mut Far,
    sink: &mut Far,
    ports: (&PortCounters, &PortCounters),
    window: u64,
    time: Duration,
) -> io::Result<Flood> {
    let (ingress, egress) = ports;
    let seen = || (egress.tx_frames.get(), egress.tx_bytes.get(), drops(ingress) + drops(egress));
    let first = seen();
    let started = Instant::now();
    let (mut sent, mut given_up) = (0u64, 0u64);
    let mut progress = (0, started);
    loop {
        let (frames, _, dropped) = seen();
        let done = (frames - first.0) + (dropped - first.2) + given_up;
        let room = window.saturating_sub(sent.saturating_sub(done));
        let mut idle = true;
        if room >= BATCH as u64 {
            let n = source.send(BATCH)?;
            sent += n as u64;
            idle = n == 0;
        }
        let received = sink.receive(|_, _| {})?;
        let now = Instant::now();
        // Who has seen nothing yet has not measured anything: perhaps the engine waits for its core.
        let enough = if frames > first.0 { time } else { time * LONGER };
        if now - started >= enough {
            break;
        }
        if done != progress.0 {
            progress = (done, now);
        } else if sent > done && now - progress.1 > PATIENCE {
            given_up += sent - done;
            progress.1 = now;
        }
        if idle && !received {
            std::thread::yield_now();
        }
    }
    let last = seen();
    let time = started.elapsed();
    // Leave nothing half sent behind, and no frame of this flood for whoever looks next.
    let mut quiet = Instant::now();
    while quiet.elapsed() < PATIENCE {
        source.send(0)?;
        if sink.receive(|_, _| {})? {
            quiet = Instant::now();
        }
    }
    Ok(Flood {
        frames: last.0 - first.0,
        bytes: last.1 - first.1,
        lost: sent.saturating_sub(egress.tx_frames.get() - first.0),
        nanos: time.as_nanos() as u64,
    })
}

/// Send one frame from `near` to `far` and one back, `count` times but no longer than `time`: the
/// nanoseconds that each took. What is lost is not in it.
pub fn echo(near: &mut Far, far: &mut Far, count: usize, time: Duration) -> io::Result<Vec<u64>> {
    let started = Instant::now();
    let mut trips = Vec::with_capacity(count);
    for number in 0..count as u64 {
        let begun = Instant::now();
        if begun - started > time {
            break;
        }
        if one_way(near, far, number)? && one_way(far, near, number)? {
            trips.push(begun.elapsed().as_nanos() as u64);
        }
    }
    Ok(trips)
}

/// One frame from one side to the other; whether it came.
fn one_way(from: &mut Far, to: &mut Far, number: u64) -> io::Result<bool> {
    let begun = Instant::now();
    from.set_number(number);
    let mut sent = 0;
    let mut came = false;
    while !came && begun.elapsed() < TRIP {
        if sent == 0 {
            sent = from.send(1)?;
        } else if let Way::Stream(_) = from.way
            && !from.unsent.is_empty()
        {
            from.send(0)?;
        }
        to.receive(|to, frame| came |= to.has_number(frame, number))?;
        // Looking takes locks; whoever looks all the time keeps the other from bringing it.
        for _ in 0..PAUSE {
            std::hint::spin_loop();
        }
    }
    Ok(came)
}

/// One side of a TCP connection.
pub enum Tcp {
    /// Of an in-process guest.
    Stack(StackEnd, SocketId),
    /// Of a kernel.
    Kernel(OwnedFd),
}

/// Bytes through a TCP connection from one side to the other as fast as they go, for `time`: bytes that
/// arrived, and the nanoseconds it really took.
pub fn bulk(source: &Tcp, sink: &Tcp, time: Duration) -> io::Result<(u64, u64)> {
    let data = vec![0x55; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let started = Instant::now();
    let mut arrived = 0;
    // As with a flood: nothing yet is no measurement.
    while started.elapsed() < if arrived > 0 { time } else { time * LONGER } {
        let sent = match source {
            Tcp::Kernel(fd) => zero_if_full(send(fd, &[data.as_slice().into()]))?,
            Tcp::Stack(end, socket) => stack_count(end.tcp_send(*socket, &data))?,
        };
        let got = match sink {
            Tcp::Kernel(fd) => zero_if_full(receive(fd, &mut buffer))?,
            Tcp::Stack(end, socket) => stack_count(end.tcp_recv(*socket, &mut buffer))?,
        };
        arrived += got as u64;
        if sent == 0 && got == 0 {
            std::thread::yield_now();
        }
    }
    Ok((arrived, started.elapsed().as_nanos() as u64))
}

fn stack_count(result: Result<usize, StackError>) -> io::Result<usize> {
    match result {
        Ok(n) => Ok(n),
        Err(StackError::WouldBlock) => Ok(0),
        Err(e) => Err(stack_error(e)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn frame(len: usize) -> Vec<u8> {
        let mut frame = vec![0xaa; len];
        frame[12..14].copy_from_slice(&EXPERIMENTAL);
        frame
    }

    fn cable(len: usize) -> (Far, Far) {
        let (a, b) = UnixStream::pair().unwrap();
        (Far::new(Way::Stream(a.into()), frame(len)), Far::new(Way::Stream(b.into()), frame(len)))
    }

    #[test]
    fn an_echo_counts_only_its_own_frames() {
        let (mut near, mut far) = cable(60);
        far.send(3).unwrap();
        let trips = echo(&mut near, &mut far, 100, Duration::from_secs(20)).unwrap();
        assert_eq!(trips.len(), 100);
    }

    #[test]
    fn what_never_comes_back_is_not_waited_for_for_ever() {
        let (mut near, _far) = cable(60);
        let (_near, mut far) = cable(60);
        assert_eq!(echo(&mut near, &mut far, 2, Duration::from_secs(20)).unwrap(), []);
    }

    #[test]
    fn a_stream_that_is_full_takes_the_rest_later() {
        let (mut near, mut far) = cable(1514);
        let (mut sent, mut received) = (0, 0);
        while near.unsent.is_empty() {
            sent += near.send(BATCH).unwrap();
        }
        while received < sent {
            near.send(0).unwrap();
            far.receive(|_, bytes| {
                assert_eq!(bytes, frame(1514));
                received += 1;
            })
            .unwrap();
        }
        assert!(sent > BATCH && near.unsent.is_empty());
    }

    #[test]
    fn a_flood_that_nobody_forwards_is_lost_but_ends() {
        let (mut near, mut far) = cable(60);
        let ports = (PortCounters::default(), PortCounters::default());
        let done = flood(&mut near, &mut far, (&ports.0, &ports.1), 64, Duration::from_millis(20)).unwrap();
        assert_eq!((done.frames, done.bytes), (0, 0));
        assert!(done.lost >= 64);
    }

    #[test]
    fn tcp_bytes_are_counted_where_they_arrive() {
        let (a, b) = UnixStream::pair().unwrap();
        let (bytes, nanos) =
            bulk(&Tcp::Kernel(a.into()), &Tcp::Kernel(b.into()), Duration::from_millis(20)).unwrap();
        assert!(bytes > 0 && nanos >= 20_000_000);
    }
}
