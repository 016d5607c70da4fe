//! From the ring to the file: a thread that may wait, so that the engine never does.

use crate::bytering::{Consumer, Producer, ring};
use crate::output::Output;
use crate::poller::{eventfd, signal};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use switch::Counter;

/// The most bytes given to one write, so that the ring gets free again piece by piece.
const PIECE: usize = 256 << 10;

/// How long a capture that was stopped waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Of 19: beside one busy thread it gets about a thirtieth of a core.
const NICE: libc::c_int = 15;

/// Bytes that an inline capture gathers before it writes within a turn.
const GATHER: usize = 256 << 10;

/// What others may know of a capture, at any time and from any thread.
#[derive(Debug)]
pub struct Handle {
    /// Frames seen at the ports in question, let through by the filter, lost for want of room or time,
    /// and written (or on their way).
    pub received: Counter,
    pub accepted: Counter,
    pub lost: Counter,
    pub written: Counter,
    /// Bytes in the file.
    pub bytes: Counter,
    ended: AtomicBool,
    /// Readable from the end on.
    end_fd: OwnedFd,
    /// Interrupts the writer when the capture is being closed.
    closing: OwnedFd,
    /// Written last.
    trailer: Mutex<Vec<u8>>,
    error: Mutex<Option<io::Error>>,
}

impl Handle {
    fn new() -> io::Result<Self> {
        Ok(Handle {
            received: Counter::default(),
            accepted: Counter::default(),
            lost: Counter::default(),
            written: Counter::default(),
            bytes: Counter::default(),
            ended: AtomicBool::new(false),
            end_fd: eventfd()?,
            closing: eventfd()?,
            trailer: Mutex::default(),
            error: Mutex::default(),
        })
    }

    /// Readable once the capture has ended, for whatever reason.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.end_fd.as_raw_fd()
    }

    /// Whether it has ended: all that will ever be written is.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// What writing failed with, if it did: (error number, text).
    #[must_use]
    pub fn error(&self) -> Option<(Option<i32>, String)> {
        self.error.lock().as_ref().map(|e| (e.raw_os_error(), e.to_string()))
    }

    fn end(&self, result: io::Result<()>) {
        *self.error.lock() = result.err();
        self.ended.store(true, Ordering::Release);
        signal(&self.end_fd);
    }
}

/// Where a capture's blocks go.
#[derive(Debug)]
pub enum Sink {
    /// To a thread that writes.
    Thread(Producer),
    /// Into a regular file, from within the turn.
    Inline { output: Output, buffer: Vec<u8> },
    /// Nowhere any more.
    Closed,
}

impl Sink {
    /// A sink for `fd`. `inline` is granted to regular files alone.
    pub fn open(fd: OwnedFd, room: usize, inline: bool) -> io::Result<(Sink, Arc<Handle>)> {
        let handle = Arc::new(Handle::new()?);
        let output = Output::new(fd)?;
        if inline && output.is_regular() {
            return Ok((Sink::Inline { output, buffer: Vec::new() }, handle));
        }
        let (mut producer, consumer) = ring(room);
        let shared = handle.clone();
        let thread = std::thread::Builder::new().name("vnet-writer".into()).spawn(move || {
            yield_to_others();
            let result = drain(consumer, output, &shared);
            shared.end(result);
        })?;
        producer.set_consumer(thread.thread().clone());
        Ok((Sink::Thread(producer), handle))
    }

    /// Take a whole block; false when there is no room for it.
    pub fn push(&mut self, block: &[u8], handle: &Handle) -> bool {
        match self {
            Sink::Thread(producer) => producer.push(block),
            Sink::Inline { buffer, .. } => {
                buffer.extend_from_slice(block);
                if buffer.len() >= GATHER {
                    self.flush(handle);
                }
                true
            }
            Sink::Closed => false,
        }
    }

    /// Take a whole block of `len` bytes, which `fill` writes; false when there is no room for it.
    #[inline]
    pub fn push_with(&mut self, len: usize, handle: &Handle, fill: impl FnOnce(&mut [u8])) -> bool {
        match self {
            Sink::Thread(producer) => producer.push_with(len, fill),
            Sink::Inline { buffer, .. } => {
                let at = buffer.len();
                buffer.resize(at + len, 0);
                fill(&mut buffer[at..]);
                if buffer.len() >= GATHER {
                    self.flush(handle);
                }
                true
            }
            Sink::Closed => false,
        }
    }

    /// The turn is over: have what there is written.
    pub fn flush(&mut self, handle: &Handle) {
        match self {
            Sink::Thread(producer) => producer.wake(),
            Sink::Inline { output, buffer } => {
                let result = write_all(output, buffer, handle);
                buffer.clear();
                if result.is_err() {
                    *self = Sink::Closed;
                    handle.end(result);
                }
            }
            Sink::Closed => {}
        }
    }

    /// Nothing more comes but `trailer`.
    pub fn close(&mut self, trailer: Vec<u8>, handle: &Handle) {
        match std::mem::replace(self, Sink::Closed) {
            Sink::Thread(mut producer) => {
                *handle.trailer.lock() = trailer;
                producer.close();
                signal(&handle.closing);
            }
            Sink::Inline { mut output, mut buffer } => {
                buffer.extend(trailer);
                handle.end(write_all(&mut output, &buffer, handle));
            }
            Sink::Closed => {}
        }
    }
}

fn write_all(output: &mut Output, mut bytes: &[u8], handle: &Handle) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = output.write(bytes, None, None)?.unwrap_or(0);
        handle.bytes.add(n as u64);
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Have this thread run where there is CPU to spare, and else hardly: what it can't write in time is lost to a
/// capture, and no guest waits for it.
fn yield_to_others() {
    // SAFETY: no pointers. On Linux, 0 is the calling thread. Refused, it only runs as others do.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// The writer's thread: write what comes until the capture is closed, then the trailer.
fn drain(mut consumer: Consumer, mut output: Output, handle: &Handle) -> io::Result<()> {
    let mut progress = Instant::now();
    loop {
        consumer.wait();
        // In this order: what came before the end is seen.
        let closed = consumer.closed();
        let [bytes, _] = consumer.peek();
        if bytes.is_empty() && closed {
            break;
        }
        let bytes = &bytes[..bytes.len().min(PIECE)];
        match write_some(&mut output, bytes, closed, &mut progress, handle)? {
            0 => {}
            n => consumer.consume(n),
        }
    }
    let trailer = std::mem::take(&mut *handle.trailer.lock());
    let mut rest = trailer.as_slice();
    while !rest.is_empty() {
        let n = write_some(&mut output, rest, true, &mut progress, handle)?;
        rest = &rest[n..];
    }
    Ok(())
}

/// Write some of `bytes`, waiting for the reader; once closed, only as long as it takes some.
fn write_some(
    output: &mut Output,
    bytes: &[u8],
    closed: bool,
    progress: &mut Instant,
    handle: &Handle,
) -> io::Result<usize> {
    let written = if closed {
        output.write(bytes, None, Some(PATIENCE))?
    } else {
        output.write(bytes, Some(&handle.closing), None)?
    };
    match written {
        Some(n) if n > 0 => {
            *progress = Instant::now();
            handle.bytes.add(n as u64);
            Ok(n)
        }
        _ if closed && progress.elapsed() > PATIENCE => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing any more"))
        }
        _ => Ok(0),
    }
}
