//! A door without an engine, for tests: a [`Bench`] attaches it, passes on what epoll says, and keeps
//! what comes out. Time stands still until a test moves it on; only the kernel's own readiness is
//! waited for, never longer than [`PATIENCE`].
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, clippy::new_without_default)]

use crate::context::{self, Context, EventKind, Events, Waker};
use crate::frame::{Arena, BURST, Burst, Frame, TxFrame};
use crate::nic::{Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Poller;
use crate::socket::Endpoint;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use switch::{DropReason, Nanos, TagEdit};

/// How long a test waits for the kernel before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

const PORT: switch::PortId = 7;

/// An attached door and everything that came out of it.
pub struct Bench<N: Nic> {
    pub nic: N,
    pub now: Nanos,
    /// Frames that the door received, in order.
    pub received: Vec<Vec<u8>>,
    /// Offloads of those frames.
    pub offloads: Vec<Offload>,
    /// Every carrier change that was announced.
    pub carrier: Vec<bool>,
    pub log: Vec<String>,
    /// What the door says it dropped, and what it refused to send.
    pub drops: BTreeMap<&'static str, u64>,
    poller: Arc<Poller>,
    waker: Arc<Waker>,
    events: Arc<Events>,
    arena: Arena,
    /// The last `rx_burst` said that there may be more.
    more: bool,
    attached: bool,
}

impl<N: Nic> Bench<N> {
    /// Attach `nic` at time 1 s.
    pub fn new(nic: N) -> Self {
        let poller = Arc::new(Poller::new().unwrap());
        let waker = Arc::new(Waker::new().unwrap());
        poller.add_engine(waker.fd()).unwrap();
        let mut bench = Bench {
            nic,
            now: 1_000_000_000,
            received: Vec::new(),
            offloads: Vec::new(),
            carrier: Vec::new(),
            log: Vec::new(),
            drops: BTreeMap::new(),
            poller,
            waker,
            events: Arc::new(Events::new().unwrap()),
            arena: Arena::new(),
            more: false,
            attached: true,
        };
        let cx = Context {
            port: PORT,
            poller: bench.poller.clone(),
            waker: bench.waker.clone(),
            events: bench.events.clone(),
        };
        bench.nic.attach(cx, bench.now).unwrap();
        bench.collect();
        bench
    }

    /// Let the door work until `done`; panics with `what` when that takes too long.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}: {} frames received, carrier {:?}, drops {:?}, log {:?}",
                self.received.len(),
                self.carrier,
                self.drops,
                self.log
            );
            self.turn(20_000_000);
        }
    }

    /// Work until there is nothing to do at this moment. Only for what has surely arrived already,
    /// as bytes through a unix socket or loopback have.
    pub fn settle(&mut self) {
        while self.turn(0) {}
    }

    /// Move time on by `nanos`, in the steps that the door's deadlines ask for.
    pub fn advance(&mut self, nanos: Nanos) {
        let end = self.now + nanos;
        while let Some(due) = self.nic.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            if self.nic.tick(self.now) {
                self.receive();
            }
            self.collect();
            assert!(self.nic.deadline() != Some(due), "a deadline that was served stays");
        }
        self.now = end;
        self.settle();
    }

    /// One turn: whether anything happened.
    fn turn(&mut self, timeout: Nanos) -> bool {
        let mut ready = Vec::new();
        let timeout = if self.more { 0 } else { timeout };
        self.poller.wait(Some(timeout), |port, sub, readiness| ready.push((port, sub, readiness))).unwrap();
        let mut look = self.more;
        self.waker.take(|_| look = true);
        let busy = look || !ready.is_empty();
        for (port, sub, readiness) in ready {
            assert_eq!(context::split(port).0, PORT);
            look |= self.nic.ready(context::sub_of(port, sub), readiness, self.now);
        }
        if look {
            self.receive();
        }
        self.nic.flush(self.now);
        self.collect();
        busy
    }

    /// Receive until there is nothing more: what the engine does for a link whose other end sent.
    pub fn pull(&mut self) {
        self.receive();
        while self.more {
            self.receive();
        }
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        self.more = self.nic.rx_burst(self.now, &mut self.arena, &mut burst) == Rx::More;
        for frame in &burst {
            let mut bytes = vec![0; frame.len()];
            TxFrame { frame, edit: TagEdit::NONE }.copy_to(&mut bytes).unwrap();
            self.received.push(bytes);
            self.offloads.push(frame.offload);
        }
        drop(burst);
        self.nic.rx_done();
    }

    /// Take over events and drops.
    fn collect(&mut self) {
        while let Some((reason, n)) = self.nic.take_drops() {
            assert_eq!(reason.side(), switch::reason::Side::Door);
            *self.drops.entry(reason.name()).or_default() += n;
        }
        let (events, lost) = self.events.take();
        assert_eq!(lost, 0);
        // Doors in a door tell of themselves by numbers of their own.
        for event in events.into_iter().filter(|event| event.port == PORT) {
            match event.kind {
                EventKind::Carrier(up) => self.carrier.push(up),
                EventKind::Log(line) => self.log.push(line),
                _ => {}
            }
        }
    }

    /// Send frames, in bursts, as they are; how many were taken.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> usize {
        self.send_edited(frames, TagEdit::NONE)
    }

    /// Send frames with their tags edited.
    pub fn send_edited(&mut self, frames: &[Vec<u8>], edit: TagEdit) -> usize {
        let mut taken = 0;
        for burst in frames.chunks(BURST) {
            let lent: Vec<Frame<'_>> = burst.iter().map(|f| Frame::flat(f, Offload::NONE)).collect();
            taken += self.send_frames(&lent, edit);
        }
        self.nic.flush(self.now);
        self.collect();
        taken
    }

    /// Send one burst without the flush at the turn's end.
    pub fn send_frames(&mut self, frames: &[Frame<'_>], edit: TagEdit) -> usize {
        let burst: Vec<TxFrame<'_>> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        let mut report = TxReport::default();
        self.nic.tx_burst(self.now, &burst, &mut report);
        for (_, reason) in report.drops() {
            assert_eq!(reason.side(), switch::reason::Side::Egress);
            *self.drops.entry(reason.name()).or_default() += 1;
        }
        frames.len() - report.drops().len()
    }

    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.name()).copied().unwrap_or(0)
    }

    /// Take the door off its port.
    pub fn detach(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.nic.detach();
            self.collect();
        }
    }
}

impl<N: Nic> Drop for Bench<N> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.detach();
        }
    }
}

/// A frame of `len` bytes that tells its own number: from one station to another, IPv4 by its type.
#[must_use]
pub fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| (i as u32).wrapping_mul(31).wrapping_add(number) as u8));
    frame.truncate(len);
    frame
}

/// A temporary folder for socket files, removed with everything in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vnet-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    #[must_use]
    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::Path(self.path(name))
    }

    /// Names of what is in it.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind in the folder for temporary files at worst.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Held while a process is made: for a moment it has all descriptors, and nobody else closes one for the last time.
pub static BIRTHS: Mutex<()> = Mutex::new(());

/// Run a command to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let birth = BIRTHS.lock();
    let child = command.spawn().unwrap();
    drop(birth);
    child.wait_with_output().unwrap()
}
