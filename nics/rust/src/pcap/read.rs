//! From a capture file to frames that are ready to be played, a chunk at a time, by a thread of its
//! own, so that the engine never waits for a disk or for whoever fills a FIFO.
//!
//! A few chunks go round: filled by the thread, played by the door, filled again. In virtual time
//! there is no thread: the next chunk is read when it is needed, so that the same file gives the same
//! frames at the same times.

use super::parse::{Item, LeftOut, NEED_MAX, Parser};
use crate::context::Context;
use crate::poller::{eventfd, signal};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes after which a chunk is full enough.
const TARGET: usize = 256 << 10;
/// Room for those and for the longest record behind them.
const ROOM: usize = TARGET + NEED_MAX;
/// Frames in a chunk at most.
const SHOTS: usize = 4096;
/// Chunks that wait to be played at most.
const AHEAD: usize = 3;

/// One frame to be played: where it lies in its chunk, and its time in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    pub at: Range<usize>,
    pub time: u64,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// It can't be read any further.
    Broken(String),
}

/// Frames, one after the other, in the bytes of the file.
#[derive(Debug)]
pub struct Chunk {
    bytes: Box<[u8]>,
    shots: Vec<Shot>,
    played: usize,
    /// What is behind them, if this is the last one.
    pub end: Option<End>,
    /// Packets that were not played, by [`LeftOut`].
    pub left_out: [u64; 3],
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk {
            bytes: vec![0; ROOM].into_boxed_slice(),
            shots: Vec::new(),
            played: 0,
            end: None,
            left_out: [0; 3],
        }
    }
}

impl Chunk {
    /// The next frame to be played.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<&Shot> {
        self.shots.get(self.played)
    }

    #[inline]
    pub fn advance(&mut self) {
        self.played += 1;
    }

    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads one file.
#[derive(Debug)]
pub struct Reader {
    file: File,
    regular: bool,
    parser: Parser,
    /// Bytes that were read and belong to the next chunk.
    rest: Vec<u8>,
    /// Bytes to pass over before anything is looked at again.
    skip: u64,
    /// How far into the file the parser is, for error lines.
    offset: u64,
    /// The time of the last frame: that of one that has none.
    last: u64,
}

impl Reader {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let regular = file.metadata()?.is_file();
        Ok(Reader { file, regular, parser: Parser::default(), rest: Vec::new(), skip: 0, offset: 0, last: 0 })
    }

    /// Whether it can be read without waiting for anybody.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// The next chunk, of at least one frame or with the end. `None`: `stop` became readable.
    pub fn fill(&mut self, mut chunk: Chunk, stop: Option<&OwnedFd>) -> Option<Chunk> {
        chunk.shots.clear();
        (chunk.played, chunk.end, chunk.left_out) = (0, None, [0; 3]);
        let mut end = self.rest.len();
        chunk.bytes[..end].copy_from_slice(&self.rest);
        let mut at = 0;
        loop {
            let need = self.parse(&mut chunk, &mut at, end);
            if chunk.end.is_some() {
                break;
            }
            let enough = at >= TARGET || chunk.shots.len() >= SHOTS || at + need > ROOM;
            if !chunk.shots.is_empty() && (enough || !self.ready(None)) {
                break;
            }
            if chunk.shots.is_empty() {
                // Nothing here is needed any more but what was not looked at yet.
                chunk.bytes.copy_within(at..end, 0);
                (at, end) = (0, end - at);
            }
            if !self.ready(Some(stop)) {
                return None;
            }
            let room = &mut chunk.bytes[end..];
            let size = room.len().min(TARGET);
            match self.file.read(&mut room[..size]) {
                Ok(0) => {
                    let within = end > at || self.skip > 0;
                    chunk.end = Some(match (within, self.offset) {
                        (false, 0) => End::Broken("it is empty".into()),
                        (false, _) => End::Whole,
                        (true, byte) => {
                            End::Broken(format!("it ends in the middle of a block, at byte {byte}"))
                        }
                    });
                    break;
                }
                Ok(n) => end += n,
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(e) => {
                    chunk.end = Some(End::Broken(crate::socket::claim::plain(&e)));
                    break;
                }
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(&chunk.bytes[at..end]);
        Some(chunk)
    }

    /// Look at what is there, from `at` on; how many bytes the next record needs.
    fn parse(&mut self, chunk: &mut Chunk, at: &mut usize, end: usize) -> usize {
        loop {
            let passed = self.skip.min((end - *at) as u64);
            self.skip -= passed;
            self.offset += passed;
            *at += passed as usize;
            if self.skip > 0 || chunk.shots.len() >= SHOTS {
                return 0;
            }
            match self.parser.next(&chunk.bytes[*at..end]) {
                Ok(Item::Frame { used, start, end, time }) => {
                    self.last = time.unwrap_or(self.last);
                    chunk.shots.push(Shot { at: *at + start..*at + end, time: self.last });
                    self.skip = used as u64;
                }
                Ok(Item::Other { used, left_out }) => {
                    self.skip = used;
                    if let Some(why) = left_out {
                        chunk.left_out[why as usize] += 1;
                    }
                }
                Ok(Item::Need(bytes)) => return bytes,
                Err(problem) => {
                    chunk.end = Some(End::Broken(format!("{problem}, at byte {}", self.offset)));
                    return 0;
                }
            }
        }
    }

    /// Whether there is something to read. With `wait`, wait for it, until what is given there
    /// becomes readable instead.
    fn ready(&self, wait: Option<Option<&OwnedFd>>) -> bool {
        if self.regular {
            return true;
        }
        let stop = wait.flatten().map_or(-1, AsRawFd::as_raw_fd);
        let timeout = if wait.is_some() { -1 } else { 0 };
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [entry(self.file.as_raw_fd()), entry(stop)];
        loop {
            // SAFETY: two entries that live through the call; a negative descriptor is passed over.
            let n = unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) };
            if n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return n > 0 && fds[1].revents == 0;
            }
        }
    }
}

/// Where the door gets its chunks from.
#[derive(Debug)]
pub enum Source {
    /// Not begun, or over.
    None,
    /// A reader that is asked in the turn.
    Inline(Box<Reader>),
    /// A thread that reads ahead.
    Thread(Arc<Shared>),
}

/// What the thread and the door share.
#[derive(Debug)]
pub struct Shared {
    round: Mutex<Round>,
    /// Something is free again, or the door is gone.
    free: Condvar,
    stopped: AtomicBool,
    stop: OwnedFd,
    /// Readable from the thread's end on.
    ended: OwnedFd,
}

#[derive(Debug, Default)]
struct Round {
    ready: VecDeque<Chunk>,
    empty: Vec<Chunk>,
}

impl Shared {
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Shared {
            round: Mutex::default(),
            free: Condvar::new(),
            stopped: AtomicBool::new(false),
            stop: eventfd()?,
            ended: eventfd()?,
        }))
    }

    /// Readable once the thread has ended, or will never begin.
    #[must_use]
    pub fn ended(&self) -> RawFd {
        self.ended.as_raw_fd()
    }

    /// Read ahead in a thread; the port of `cx` is kicked when it has to wait no more.
    pub fn start(self: &Arc<Self>, mut reader: Reader, cx: Context) -> io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name("vnet-pcap".into()).spawn(move || {
            shared.run(&mut reader, &cx);
            // What is waited for is that nothing of this thread is open any more.
            drop((reader, cx));
            signal(&shared.ended);
        })?;
        Ok(())
    }

    fn run(&self, reader: &mut Reader, cx: &Context) {
        loop {
            let chunk = {
                let mut round = self.round.lock();
                while round.ready.len() >= AHEAD && !self.stopped.load(Ordering::Acquire) {
                    self.free.wait(&mut round);
                }
                round.empty.pop()
            };
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let Some(chunk) = reader.fill(chunk.unwrap_or_default(), Some(&self.stop)) else { return };
            let last = chunk.end.is_some();
            self.round.lock().ready.push_back(chunk);
            cx.kick();
            if last {
                return;
            }
        }
    }

    /// The door is gone.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        signal(&self.stop);
        // With the lock held, so that the thread is either before its look at the flag or waiting.
        let _round = self.round.lock();
        self.free.notify_all();
    }

    /// There will be no thread.
    pub fn never_mind(&self) {
        signal(&self.ended);
    }

    /// Give `chunk` back and get the next one.
    fn swap(&self, chunk: &mut Option<Chunk>) -> Supply {
        let Some(mut round) = self.round.try_lock() else { return Supply::Busy };
        let Some(next) = round.ready.pop_front() else { return Supply::Later };
        round.empty.extend(chunk.replace(next));
        self.free.notify_one();
        Supply::There
    }
}

/// Whether there is a next chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    There,
    /// The port is kicked when there is.
    Later,
    /// The thread is at it at this moment: ask again.
    Busy,
}

impl Source {
    /// Exchange `chunk`, which was played, for the next one.
    pub fn next(&mut self, chunk: &mut Option<Chunk>) -> Supply {
        match self {
            Source::None => Supply::Later,
            Source::Inline(reader) => {
                *chunk = reader.fill(chunk.take().unwrap_or_default(), None);
                if chunk.is_some() { Supply::There } else { Supply::Later }
            }
            Source::Thread(shared) => shared.swap(chunk),
        }
    }
}

/// The reasons in `left_out` for a log line; empty when nothing was left out.
#[must_use]
pub fn told(left_out: [u64; 3]) -> String {
    let reasons = [
        (LeftOut::Cut, "cut short by a snaplen"),
        (LeftOut::NotEthernet, "not from Ethernet"),
        (LeftOut::Length, "of an impossible length"),
    ];
    let parts = reasons.map(|(why, text)| (left_out[why as usize], text));
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, text)| format!("{n} {text}")).collect::<Vec<_>>().join(", ")
}
