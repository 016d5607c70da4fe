//! `vde`: a plug of a VDE switch (Virtual Distributed Ethernet), whose frames are datagrams between two
//! unix sockets. QEMU `-netdev vde`, `vde_plug`, User-mode Linux, Bochs, SIMH, 86Box and whatever else
//! is built on libvdeplug.
//!
//! As `server` we are the switch, with one port: a folder whose socket `ctl` takes one plug at a time.
//! The plug connects there and names a data socket of its own; ours is connected to it, and the answer
//! is its name (`words.rs`, `plug.rs`, `reach.rs`). The control connection stays for as long as the plug
//! is in: it is the carrier. As `client` we are the plug, in a switch that somebody else runs, and plug
//! in again whenever that ends.
//!
//! Both data sockets are connected, so nobody but the other side can send to ours. The kernel tells
//! when there is room again, so the socket is watched for writing only while it took no more.

mod folder;
mod plug;
mod reach;
#[cfg(test)]
mod tests;
mod words;

use crate::context::Context;
use crate::error::OpenError;
use crate::frame::{Arena, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::{Interest, Readiness};
use crate::socket::claim::plain;
use crate::socket::datagrams::{Datagrams, End, Outcome, Wire};
use crate::socket::many::Inbox;
use crate::socket::{Connection, Descriptors, Role, Step, calls};
use crate::told::Told;
use arrayvec::ArrayVec;
use folder::Folder;
use plug::{Own, Plug};
use std::io;
use std::path::{Path, PathBuf};
use switch::{DropReason, Nanos};

/// What a control connection has come to.
#[derive(Debug)]
enum Stage {
    /// There is none.
    Alone,
    /// A plug is to say its request, or the switch its answer to ours, by then.
    Asked {
        own: Option<Own>,
        due: Nanos,
    },
    Plugged(Plug),
    /// It is over; what was sent before still comes, in so many bursts at most and until then.
    Leaving {
        plug: Plug,
        bursts: u32,
        due: Nanos,
    },
}

/// A `vde` door.
#[derive(Debug)]
pub struct VdeNic {
    connection: Connection,
    role: Role,
    path: PathBuf,
    /// As a plug: which port of the switch, or any (0), and who we say we are.
    port: u32,
    description: String,
    stage: Stage,
    /// What was said on this control connection.
    said: ArrayVec<u8, { words::MOST }>,
    outgoing: Datagrams,
    /// The kernel has taken all it can for now; the data socket is watched for writing.
    waiting: bool,
    cx: Option<Context>,
    link: bool,
    told: Told,
    /// Why nobody is plugged in, as it was told last.
    complaint: String,
    malformed: u64,
    /// The switch's, which is ours. The last of all fields: it goes after the sockets in it.
    folder: Option<Folder>,
}

impl VdeNic {
    /// Behind the descriptors of the control connection.
    const DATA: u16 = 2;
    /// Whoever connects says all there is to say at once.
    const PATIENCE: Nanos = 3_000_000_000;
    /// What a plug sent before it went: more than its socket can hold.
    const LAST_BURSTS: u32 = 256;
    /// As long as that takes where the guest is over its rate, and nobody reads.
    const LAST_WORDS: Nanos = 100_000_000;

    /// Open the door at the folder `path`: a server takes plugs from now on, a client plugs in when it is
    /// attached, into `port` of the switch or any (0).
    pub fn open(path: &Path, role: Role, port: u32, description: &str) -> Result<Self, OpenError> {
        let folder = (role == Role::Server).then(|| Folder::open(path)).transpose()?;
        Ok(VdeNic {
            connection: Connection::open(folder::control_of(path)?, role, Descriptors::Refused)?,
            role,
            path: path.into(),
            port,
            description: description.into(),
            stage: Stage::Alone,
            said: ArrayVec::new(),
            outgoing: Datagrams::default(),
            waiting: false,
            cx: None,
            link: true,
            told: Told::default(),
            complaint: String::new(),
            malformed: 0,
            folder,
        })
    }

    fn announce(&mut self) {
        let carrier = self.carrier();
        self.told.tell(carrier, self.cx.as_ref());
    }

    /// Somebody has connected, or we have.
    fn came(&mut self, now: Nanos) {
        self.unplug();
        self.said.clear();
        let own = match self.role {
            Role::Server => None,
            Role::Client => match self.ask() {
                Ok(own) => Some(own),
                Err(why) => return self.offended(&why, now),
            },
        };
        self.stage = Stage::Asked { own, due: now + Self::PATIENCE };
    }

    /// As a plug: ask the switch for a port.
    fn ask(&self) -> Result<Own, String> {
        let own = plug::offer(&self.path, self.other()?)?;
        self.say(&words::request(&own.name, self.port, &self.description))?;
        Ok(own)
    }

    /// The user at the other end of the control connection.
    fn other(&self) -> Result<u32, String> {
        let peer = self.connection.peer().ok_or("nobody is connected")?;
        calls::peer_uid(peer).map_err(|e| format!("the kernel does not say who it is: {}", plain(&e)))
    }

    fn say(&self, bytes: &[u8]) -> Result<(), String> {
        let peer = self.connection.peer().ok_or("nobody is connected")?;
        match calls::send(peer, &[bytes.into()]) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(_) => Err("it takes no answer".into()),
            Err(e) => Err(format!("it takes no answer: {}", plain(&e))),
        }
    }

    /// The control connection can be read, or is over. Whether frames should be looked for.
    fn hear(&mut self, now: Nanos) -> bool {
        let Some(peer) = self.connection.peer() else { return false };
        let mut room = [0; words::MOST];
        match calls::receive(peer, &mut room) {
            Ok(0) => self.over(now),
            Ok(n) => {
                if self.said.try_extend_from_slice(&room[..n]).is_err() {
                    self.offended(&format!("it says more than {} bytes", words::MOST), now);
                } else if matches!(self.stage, Stage::Asked { .. })
                    && let Err(why) = self.understand()
                {
                    self.offended(&why, now);
                }
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.over(now),
        }
        true
    }

    /// Plug in, once all of the request or answer is there. As an error, why that can't be.
    fn understand(&mut self) -> Result<(), String> {
        let name = match self.role {
            Role::Server => words::read_request(&self.said)?,
            Role::Client => words::read_answer(&self.said)?,
        };
        let Some(name) = name else { return Ok(()) };
        let who = self.other()?;
        let plug = match std::mem::replace(&mut self.stage, Stage::Alone) {
            Stage::Asked { own: Some(own), .. } => plug::settle(own, &name, &self.path, who)?,
            _ => {
                let (plug, ours) = plug::take(&name, &self.path, who)?;
                self.say(&words::answer(&ours))?;
                plug
            }
        };
        if let Some(cx) = &self.cx {
            cx.poller
                .add(&plug.socket, cx.port, Self::DATA, Interest::READ)
                .map_err(|e| format!("its frames can't be watched for: {}", plain(&e)))?;
        }
        self.stage = Stage::Plugged(plug);
        self.complaint.clear();
        self.announce();
        Ok(())
    }

    /// The other side broke the rules, or can't be served: end it, and tell why unless that was told.
    fn offended(&mut self, why: &str, now: Nanos) {
        let line = match self.role {
            Role::Server => format!("refused a plug at {}: {why}", self.connection.endpoint()),
            Role::Client => {
                format!("can't plug into the switch at {}: {why}; trying again", self.path.display())
            }
        };
        if self.complaint != line {
            if let Some(cx) = &self.cx {
                cx.log(line.clone());
            }
            self.complaint = line;
        }
        self.unplug();
        self.connection.close(true, now);
    }

    /// The control connection is over; what was sent before that still comes.
    fn over(&mut self, now: Nanos) {
        self.connection.close(false, now);
        match std::mem::replace(&mut self.stage, Stage::Alone) {
            Stage::Plugged(plug) => {
                self.stage = Stage::Leaving { plug, bursts: Self::LAST_BURSTS, due: now + Self::LAST_WORDS };
            }
            _ => self.unplug(),
        }
    }

    /// The data socket is no good any more.
    fn lost(&mut self, now: Nanos) {
        self.connection.close(false, now);
        self.unplug();
    }

    fn unplug(&mut self) {
        if let (Some(cx), Some(plug)) = (&self.cx, self.plug()) {
            cx.poller.remove(&plug.socket);
        }
        self.stage = Stage::Alone;
        self.outgoing.clear();
        self.waiting = false;
        self.announce();
    }

    fn plug(&self) -> Option<&Plug> {
        match &self.stage {
            Stage::Plugged(plug) | Stage::Leaving { plug, .. } => Some(plug),
            _ => None,
        }
    }

    /// Have `ready` called when the other side takes frames again, or no more.
    fn wait(&mut self, on: bool) {
        if self.waiting == on {
            return;
        }
        self.waiting = on;
        if let (Some(cx), Some(plug)) = (&self.cx, self.plug()) {
            let interest = if on { Interest::BOTH } else { Interest::READ };
            // It fails only for a descriptor that is not watched, which then has no events either.
            let _ = cx.poller.modify(&plug.socket, cx.port, Self::DATA, interest);
        }
    }

    /// Send what waits.
    fn drain(&mut self, now: Nanos) {
        if let Some(wire) = wire(&self.stage) {
            let outcome = self.outgoing.drain(wire);
            self.sent(outcome, now);
        }
    }

    fn sent(&mut self, outcome: Outcome, now: Nanos) {
        match outcome.end {
            End::Done => self.wait(false),
            End::Full => self.wait(true),
            End::Missing(_) => self.lost(now),
        }
    }

    /// Something came from there, so it is the socket that speaks to us.
    fn heard(&mut self) {
        if let Stage::Plugged(plug) = &mut self.stage
            && !plug.proved
        {
            plug.proved = true;
            self.announce();
        }
    }
}

/// Where what is sent goes; None: nobody is plugged in.
fn wire(stage: &Stage) -> Option<Wire<'_>> {
    match stage {
        Stage::Plugged(plug) if plug.proved => Some(Wire { socket: &plug.socket, to: None, lossy: false }),
        _ => None,
    }
}

impl Nic for VdeNic {
    fn kind(&self) -> &'static str {
        "vde"
    }

    fn caps(&self) -> Caps {
        Caps::plain(FRAME_MAX as u32)
    }

    fn carrier(&self) -> bool {
        self.link && self.plug().is_some_and(|plug| plug.proved)
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        // The protocol can't show it to the guest, and plugs that are pulled do not come back by
        // themselves; so the plug stays in.
        self.link = up;
        self.announce();
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.cx = Some(cx.clone());
        if self.connection.attach(cx, now)? {
            self.came(now);
        }
        Ok(())
    }

    fn detach(&mut self) {
        self.unplug();
        self.connection.detach();
        self.folder = None;
        self.announce();
        self.cx = None;
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        if sub == Self::DATA {
            if readiness.hangup
                && let Some(plug) = self.plug()
                && !matches!(plug.socket.take_error(), Ok(None))
            {
                // It speaks to somebody else now. While our guest is over its rate nobody reads here.
                self.lost(now);
                return false;
            }
            if readiness.write {
                self.drain(now);
            }
            return readiness.read;
        }
        match self.connection.ready(sub, readiness, now) {
            Step::Nothing => false,
            Step::Up => {
                self.came(now);
                false
            }
            Step::Peer => self.hear(now),
            Step::Finish => {
                self.over(now);
                true
            }
        }
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let Some(plug) = self.plug() else { return Rx::Idle };
        let mut inbox = Inbox::new();
        let room = burst.room();
        let received = inbox.receive(&plug.socket, arena, room, false);
        let rx = match received {
            Ok(n) => {
                for datagram in inbox.datagrams(arena) {
                    // An empty one is libvdeplug's way to say goodbye.
                    if datagram.bytes.is_empty() && !datagram.cut {
                        continue;
                    }
                    self.heard();
                    if datagram.cut || datagram.bytes.len() > FRAME_MAX {
                        self.malformed += 1;
                    } else {
                        burst.push(Frame::flat(datagram.bytes, Offload::NONE));
                    }
                }
                if n == room { Rx::More } else { Rx::Idle }
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENOBUFS) => Rx::Idle,
                _ => {
                    self.lost(now);
                    Rx::Idle
                }
            },
        };
        if let Stage::Leaving { bursts, .. } = &mut self.stage {
            *bursts = bursts.saturating_sub(1);
            if rx == Rx::Idle || *bursts == 0 {
                self.unplug();
                return Rx::Idle;
            }
        }
        rx
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut done = 0;
        if self.link
            && !self.waiting
            && let Some(wire) = wire(&self.stage)
        {
            let (taken, outcome) = self.outgoing.send(wire, frames, report);
            done = taken;
            // Nothing that was worth a call is no news.
            if done > 0 || !matches!(outcome.end, End::Done) {
                self.sent(outcome, now);
            }
        }
        if !self.link || wire(&self.stage).is_none() {
            report.drop_rest(done, frames.len(), DropReason::TxNoCarrier);
            return;
        }
        self.outgoing.keep(frames, done, report);
    }

    fn flush(&mut self, now: Nanos) -> bool {
        if !self.waiting && !self.outgoing.is_empty() {
            self.drain(now);
        }
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        let due = match self.stage {
            Stage::Asked { due, .. } | Stage::Leaving { due, .. } => Some(due),
            _ => None,
        };
        match (due, self.connection.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn tick(&mut self, now: Nanos) -> bool {
        if self.connection.tick(now) == Step::Up {
            self.came(now);
        }
        match self.stage {
            Stage::Asked { due, .. } if due <= now => {
                let why = format!("it says nothing for {} s", Self::PATIENCE / 1_000_000_000);
                self.offended(&why, now);
            }
            Stage::Leaving { due, .. } if due <= now => self.unplug(),
            _ => {}
        }
        false
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        match std::mem::take(&mut self.malformed) {
            0 => None,
            n => Some((DropReason::DoorMalformed, n)),
        }
    }
}
