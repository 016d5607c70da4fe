//! A host for the door: no threads, no waiting. Everything a test does happens when it says so.

use super::super::nic::{Config, VhostUser};
use crate::context::{Context, Event, EventKind, Events, Waker};
use crate::frame::{Arena, Burst, ENOUGH, Frame, TxFrame};
use crate::nic::{Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Poller;
use crate::socket::{Endpoint, Role};
use crate::testkit::{Folder, run};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use switch::{DropReason, Nanos, TagEdit};

/// The door under test, with all that an engine would give it.
pub struct Host {
    pub nic: VhostUser,
    pub poller: Arc<Poller>,
    events: Arc<Events>,
    arena: Arena,
    pub now: Nanos,
    pub path: PathBuf,
    _folder: Folder,
    /// With so many bytes a burst is long enough.
    pub enough: usize,
    /// What the frames of the latest burst have in common was known.
    pub compared: bool,
}

impl Host {
    pub fn new() -> Host {
        Host::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Host {
        let folder = Folder::new();
        let path = folder.path("vm.sock");
        let mut config = Config {
            endpoint: Endpoint::Path(path.clone()),
            role: Role::Server,
            queues: 2,
            mtu: 9000,
            offloads: true,
            mac: None,
        };
        change(&mut config);
        let mut nic = VhostUser::open(&config).unwrap();
        let poller = Arc::new(Poller::new().unwrap());
        let events = Arc::new(Events::new().unwrap());
        let waker = Arc::new(Waker::new().unwrap());
        let cx = Context { port: 7, poller: poller.clone(), waker, events: events.clone() };
        nic.attach(cx, 1).unwrap();
        Host {
            nic,
            poller,
            events,
            arena: Arena::new(),
            now: 1,
            path,
            _folder: folder,
            enough: ENOUGH,
            compared: false,
        }
    }

    /// Let the door do what its descriptors and deadlines ask for, until they ask for nothing.
    pub fn poll(&mut self) {
        for _ in 0..100 {
            let seen = self.turn();
            if self.nic.deadline().is_some_and(|at| at <= self.now) {
                self.nic.tick(self.now);
            } else if !seen {
                return;
            }
        }
    }

    /// Let it do once what its descriptors ask for; whether they did.
    pub fn turn(&mut self) -> bool {
        self.now += 1000;
        let mut seen = vec![];
        self.poller.wait(Some(0), |_, sub, readiness| seen.push((sub, readiness))).unwrap();
        for (sub, readiness) in &seen {
            self.nic.ready(*sub, *readiness, self.now);
        }
        !seen.is_empty()
    }

    /// Whether a kick (or anything else) waits to be seen.
    pub fn woken(&self) -> bool {
        self.poller.sleep(Some(0)).unwrap()
    }

    /// All frames that the guest sent, with their offload state.
    pub fn receive_all(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut all = vec![];
        for _ in 0..100_000 {
            let (rx, mut frames) = self.receive();
            let empty = frames.is_empty();
            all.append(&mut frames);
            if rx == Rx::Idle && empty {
                break;
            }
        }
        all
    }

    /// One burst.
    pub fn receive(&mut self) -> (Rx, Vec<(Vec<u8>, Offload)>) {
        self.now += 1000;
        let mut burst = Burst::new();
        burst.enough = self.enough;
        let rx = self.nic.rx_burst(self.now, &mut self.arena, &mut burst);
        let frames: Vec<_> = burst
            .iter()
            .map(|frame| {
                let mut bytes = vec![0; frame.len()];
                TxFrame { frame, edit: TagEdit::NONE }.copy_to(&mut bytes).unwrap();
                (bytes, frame.offload)
            })
            .collect();
        let known = burst.alike;
        assert!(known.is_none_or(|known| known.is_true(burst.iter().map(Frame::view))));
        self.compared = known.is_some();
        drop(burst);
        if !frames.is_empty() {
            self.nic.rx_done();
        }
        (rx, frames)
    }

    /// Send frames to the guest; the reasons of those that were dropped.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> Vec<(u8, DropReason)> {
        let frames: Vec<Frame<'_>> = frames.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
        self.send_frames(&frames, TagEdit::NONE)
    }

    pub fn send_frames(&mut self, frames: &[Frame<'_>], edit: TagEdit) -> Vec<(u8, DropReason)> {
        self.now += 1000;
        let mut report = TxReport::default();
        let frames: Vec<TxFrame<'_>> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        self.nic.tx_burst(self.now, &frames, &mut report);
        self.nic.flush(self.now);
        report.drops().to_vec()
    }

    /// What was told upstairs since the last call: carrier changes, and lines for the log.
    pub fn news(&mut self) -> (Vec<bool>, Vec<String>) {
        let (mut carrier, mut log) = (vec![], vec![]);
        for Event { kind, .. } in self.events.take().0 {
            match kind {
                EventKind::Carrier(up) => carrier.push(up),
                EventKind::Log(line) => log.push(line),
                other => panic!("{other:?}"),
            }
        }
        (carrier, log)
    }

    /// Run the clock on, deadlines included.
    pub fn wait(&mut self, by: Nanos) {
        let end = self.now + by;
        while let Some(at) = self.nic.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.nic.tick(self.now);
        }
        self.now = end;
    }
}

pub fn eventfd() -> OwnedFd {
    crate::poller::eventfd().unwrap()
}

/// How often an eventfd was signalled.
pub fn count(fd: &OwnedFd) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight bytes of a local; an eventfd that does not block.
    let n = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    if n == 8 { count } else { 0 }
}

pub fn memfd(size: u64) -> OwnedFd {
    // SAFETY: the name is a C string; ftruncate checks the result.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC)) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) }, 0);
    fd
}

/// Whether this process is of this test alone, so that nobody else in it opens or closes descriptors. If it is not, the
/// test is run in one that is.
pub fn alone(test: &str) -> bool {
    const ALONE: &str = "VNET_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let me = std::env::current_exe().unwrap();
    let done = run(Command::new(me).args(["--exact", test, "--nocapture"]).env(ALONE, "1"));
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("1 passed"), "{test} is none of {told}");
    print!("{told}");
    false
}

/// How many descriptors this process has open.
pub fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
