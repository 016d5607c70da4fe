//! The door itself: connection, session and rings, as the engine sees them.

use super::fault;
use super::protocol;
use super::queue::KICKS;
use super::ring::{RingFault, Run};
use super::rx;
use super::session::{Offer, Session};
use super::socket::{Gone, Listener, Peer};
use super::steer::Steer;
use super::tx;
use crate::context::{Context, EventKind};
use crate::frame::{Arena, Burst, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::{Interest, Readiness};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use switch::{DropReason, Nanos};

/// Numbers of our descriptors; kicks come behind (`KICKS`).
const LISTENER: u16 = 0;
const PEER: u16 = 1;

/// Requests handled in one turn: a front-end that floods us with them delays nobody.
const REQUESTS: usize = 32;
/// How soon a preliminary "no interrupt" is asked again (see `vring.rs`).
const RECHECK: Nanos = 30_000;
/// From the first to the longest time between two attempts to connect.
const RETRY_MIN: Nanos = 10_000_000;
const RETRY_MAX: Nanos = 1_000_000_000;
/// No more than one line for the log in this time.
const LINES: Nanos = 1_000_000_000;

/// Who listens on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do; the front-end connects.
    Server,
    /// The front-end does; we connect, again and again.
    Client,
}

/// How a door is set up.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    pub role: Role,
    /// Queue pairs that are offered.
    pub queues: u16,
    /// Largest payload in bytes.
    pub mtu: u16,
    /// Offer checksum and segmentation offloads.
    pub offloads: bool,
}

/// A vhost-user NIC.
#[derive(Debug)]
pub struct VhostUser {
    config: Config,
    offer: Offer,
    cx: Option<Context>,
    listener: Option<Listener>,
    peer: Option<Peer>,
    session: Option<Session>,
    steer: Steer,
    /// The queue that frames were lent from last.
    lender: usize,
    /// The next queue to receive from.
    turn: usize,
    runs: Vec<Run>,
    /// Whether the guest could be reached when we last told.
    carrier: bool,
    link: bool,
    /// Faults that were caught when we last looked.
    strikes: u64,
    malformed: u64,
    recheck: Option<Nanos>,
    retry: Option<Nanos>,
    backoff: Nanos,
    now: Nanos,
    quiet_until: Nanos,
    unsaid: u64,
}

impl VhostUser {
    /// A door at `config.path`. A server listens from now on.
    pub fn open(config: Config) -> io::Result<Self> {
        let listener = match config.role {
            Role::Server => Some(Listener::bind(&config.path)?),
            Role::Client => None,
        };
        Ok(VhostUser {
            offer: Offer::all(config.queues, config.mtu, config.offloads),
            config,
            cx: None,
            listener,
            peer: None,
            session: None,
            steer: Steer::default(),
            lender: 0,
            turn: 0,
            runs: Vec::new(),
            carrier: false,
            link: true,
            strikes: fault::strikes(),
            malformed: 0,
            recheck: None,
            retry: None,
            backoff: RETRY_MIN,
            now: 0,
            quiet_until: 0,
            unsaid: 0,
        })
    }

    /// One line for the log, but not more often than anybody can read.
    fn say(&mut self, line: &str) {
        if self.now < self.quiet_until {
            self.unsaid += 1;
            return;
        }
        self.quiet_until = self.now + LINES;
        let more = std::mem::take(&mut self.unsaid);
        if let Some(cx) = &self.cx {
            let path = self.config.path.display();
            if more == 0 {
                cx.log(format!("vhost-user {path}: {line}"));
            } else {
                cx.log(format!("vhost-user {path}: {line} ({more} lines before this one were left out)"));
            }
        }
    }

    /// Tell what the session has to say, and whether the link went up or down.
    fn report(&mut self) {
        if let Some(line) = self.session.as_mut().and_then(|session| session.complaint.take()) {
            self.say(&line);
        }
        let carrier = self.session.as_ref().is_some_and(Session::running);
        if carrier != self.carrier {
            self.carrier = carrier;
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Carrier(carrier));
            }
        }
    }

    fn meet(&mut self, peer: Peer) -> io::Result<()> {
        if let Some(cx) = &self.cx {
            cx.poller.add(&peer, cx.port, PEER, Interest::READ)?;
        }
        self.peer = Some(peer);
        self.session = Some(Session::new(self.offer, self.cx.clone()));
        self.backoff = RETRY_MIN;
        Ok(())
    }

    /// The connection is over, and with it everything that came through it.
    fn part(&mut self, why: Option<&str>) {
        if let (Some(peer), Some(cx)) = (self.peer.take(), &self.cx) {
            cx.poller.remove(&peer);
        }
        self.session = None;
        self.steer = Steer::default();
        self.recheck = None;
        if self.config.role == Role::Client && self.link && self.cx.is_some() {
            self.retry = Some(self.now + self.backoff);
        }
        if let Some(why) = why {
            self.say(why);
        }
        self.report();
    }

    /// A front-end came to our socket.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let peer = match listener.accept() {
            Ok(Some(peer)) => peer,
            Ok(None) => return,
            Err(e) => return self.say(&format!("a front-end can't be accepted: {e}")),
        };
        if let Some(current) = &self.peer {
            if !current.hung_up() {
                return self.say("a second front-end was turned away");
            }
            self.part(None);
        }
        if let Err(e) = self.meet(peer) {
            self.say(&format!("a front-end can't be watched: {e}"));
        }
    }

    /// Go to the front-end's socket.
    fn connect(&mut self) {
        self.retry = None;
        let met = Peer::connect(&self.config.path).and_then(|peer| self.meet(peer));
        if met.is_err() {
            // It is not there yet, or busy: that is what the next attempt is for.
            self.retry = Some(self.now + self.backoff);
            self.backoff = (self.backoff * 2).min(RETRY_MAX);
        }
    }

    /// Carry out what the front-end asks for.
    fn listen_to_peer(&mut self) {
        for _ in 0..REQUESTS {
            let (Some(peer), Some(session)) = (&mut self.peer, &mut self.session) else { return };
            let message = match peer.receive() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(gone) => return self.gone(&gone),
            };
            let number = message.header.request;
            match session.handle(message.request, message.header.need_reply, message.fds) {
                Ok(None) => {}
                Ok(Some((answer, fd))) => {
                    if let Err(gone) = peer.send(&protocol::answer(number, &answer), fd.as_ref()) {
                        return self.gone(&gone);
                    }
                }
                Err(refusal) => {
                    return self.part(Some(&format!("disconnected, request {number}: {refusal}")));
                }
            }
            self.report();
        }
    }

    fn gone(&mut self, gone: &Gone) {
        match gone {
            Gone::Closed => self.part(None),
            Gone::Malformed(what) => self.part(Some(&format!("disconnected, it sent {what}"))),
            Gone::Io(e) => self.part(Some(&format!("disconnected: {e}"))),
        }
    }

    /// What went wrong in a ring: nothing runs any more until the guest starts anew.
    fn broke(&mut self, queue: usize, fault: RingFault) {
        if let Some(session) = &mut self.session {
            session.fault(queue, fault);
        }
        self.report();
    }

    /// Whether memory was taken away under somebody, and if so, under us.
    #[inline(always)]
    fn check_memory(&mut self) {
        if fault::strikes() != self.strikes {
            self.strikes = fault::strikes();
            if let Some(session) = &mut self.session {
                session.check_memory();
            }
            self.report();
        }
    }

    /// Interrupt whoever wants to be: for queues whose answer is not known for sure, ask again.
    fn call_all(&mut self, sure: bool) {
        let Some(session) = &mut self.session else { return };
        let mut unsure = false;
        for queue in &mut session.queues {
            if let Some(ring) = &mut queue.ring {
                ring.call(queue.call.as_ref(), sure);
                unsure |= ring.unsure;
            }
        }
        if !unsure {
            self.recheck = None;
        } else if self.recheck.is_none() {
            self.recheck = Some(self.now + RECHECK);
        }
    }

    /// Find the next transmit queue with work; they have odd numbers and take turns.
    #[inline]
    fn look(&mut self) -> Look {
        let Some(session) = &mut self.session else { return Look::Nothing };
        if let Some(mac) = session.announce.take() {
            return Look::Announce(mac);
        }
        let pairs = session.queues.len() / 2;
        let (mut found, mut broken, mut running, mut emptied) = (None, None, 0, false);
        for step in 0..pairs {
            let index = (self.turn + step) % pairs * 2 + 1;
            let Some(queue) = session.queues.get_mut(index) else { continue };
            let Some(ring) = &mut queue.ring else { continue };
            running += 1;
            if found.is_some() {
                continue;
            }
            match ring.take::<false>(rx::AHEAD) {
                Ok(0) => ring.call(queue.call.as_ref(), true),
                Ok(waiting) if queue.enabled => found = Some((index, waiting)),
                Ok(waiting) => {
                    // What a disabled queue holds is discarded, so that the guest does not wait.
                    ring.give_sent(waiting);
                    ring.call(queue.call.as_ref(), false);
                    emptied = true;
                }
                Err(fault) => broken = Some((index, fault)),
            }
        }
        if let Some((index, fault)) = broken {
            self.broke(index, fault);
            return Look::Nothing;
        }
        match found {
            Some((queue, waiting)) => {
                self.turn = queue / 2 + 1;
                Look::Work(Work { queue, waiting, several: running > 1 })
            }
            None if emptied => Look::Again,
            None => Look::Nothing,
        }
    }
}

/// What there is to receive.
enum Look {
    Nothing,
    /// Nothing for the engine, but there may be more.
    Again,
    Work(Work),
    Announce([u8; 6]),
}

struct Work {
    queue: usize,
    /// Buffers that were taken ahead from it.
    waiting: usize,
    /// The guest uses several queues.
    several: bool,
}

impl Nic for VhostUser {
    fn kind(&self) -> &'static str {
        "vhost-user"
    }

    fn caps(&self) -> Caps {
        self.session.as_ref().map_or(Caps::plain(0), |session| session.caps)
    }

    fn carrier(&self) -> bool {
        self.carrier
    }

    /// A guest sees its link go down when its front-end loses us. As a client that can be shown and
    /// taken back; a server that hangs up may never see the front-end again.
    fn set_link(&mut self, up: bool, now: Nanos) {
        self.now = self.now.max(now);
        self.link = up;
        if self.config.role == Role::Client {
            if !up {
                self.part(None);
                self.retry = None;
            } else if self.peer.is_none() {
                self.retry = Some(self.now);
            }
        }
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.now = now;
        if let Some(listener) = &self.listener {
            cx.poller.add(listener, cx.port, LISTENER, Interest::READ)?;
        }
        self.cx = Some(cx);
        if self.config.role == Role::Client {
            self.connect();
        }
        Ok(())
    }

    fn detach(&mut self) {
        if let (Some(listener), Some(cx)) = (self.listener.take(), &self.cx) {
            cx.poller.remove(listener.as_fd());
        }
        self.link = false;
        self.part(None);
        self.retry = None;
        self.cx = None;
    }

    fn ready(&mut self, sub: u16, _readiness: Readiness, now: Nanos) -> bool {
        self.now = now;
        match sub {
            LISTENER => self.accept(),
            PEER => self.listen_to_peer(),
            kick => {
                let index = usize::from(kick.wrapping_sub(KICKS));
                if let Some(queue) = self.session.as_ref().and_then(|session| session.queues.get(index)) {
                    queue.kicked();
                }
            }
        }
        self.polled()
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.now = now;
        self.check_memory();
        // A burst without a single frame was not followed by `rx_done`.
        self.rx_done();
        let look = match self.look() {
            Look::Work(look) => look,
            Look::Nothing => return Rx::Idle,
            Look::Again => return Rx::More,
            Look::Announce(mac) => {
                let bytes = &mut arena.bytes()[..60];
                bytes.copy_from_slice(&announcement(mac));
                let _ = burst.try_push(Frame::flat(bytes, Offload::NONE));
                return Rx::More;
            }
        };
        let VhostUser { session: Some(session), steer, lender, .. } = self else { return Rx::Idle };
        let sends = session.sends;
        let Some(ring) = session.queues.get_mut(look.queue).and_then(|queue| queue.ring.as_mut()) else {
            return Rx::Idle;
        };
        *lender = look.queue;
        let more = rx::lend(ring, look.waiting, &sends, arena, burst);
        if look.several {
            steer.learn(look.queue / 2, burst);
        }
        if more || look.several || burst.is_empty() { Rx::More } else { Rx::Idle }
    }

    fn rx_done(&mut self) {
        let index = self.lender;
        let Some(queue) = self.session.as_mut().and_then(|session| session.queues.get_mut(index)) else {
            return;
        };
        let Some(ring) = &mut queue.ring else { return };
        self.malformed += ring.loan.get().malformed as u64;
        let settled = ring.settle_loan();
        ring.call(queue.call.as_ref(), false);
        if let Err(fault) = settled {
            self.broke(index, fault);
        }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        self.now = now;
        self.check_memory();
        let VhostUser { session: Some(session), steer, runs, .. } = self else {
            return report.drop_rest(0, frames.len(), DropReason::TxNoCarrier);
        };
        let log = session.log().cloned();
        let takes = session.takes;
        let mut broken = None;
        steer.each(&mut session.queues, frames, report, &mut |index, ring, frames, report| {
            if let Err(fault) = tx::deliver(ring, &takes, frames, log.as_ref(), runs, report) {
                broken = Some((index, fault));
            }
        });
        if let Some((index, fault)) = broken {
            self.broke(index, fault);
        }
    }

    fn flush(&mut self, now: Nanos) -> bool {
        self.now = now;
        self.call_all(self.recheck.is_some_and(|at| at <= now));
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        match (self.retry, self.recheck) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn tick(&mut self, now: Nanos) -> bool {
        self.now = now;
        if self.recheck.is_some_and(|at| at <= now) {
            self.call_all(true);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.connect();
        }
        false
    }

    fn polled(&self) -> bool {
        self.session.as_ref().is_some_and(Session::started)
    }

    fn arm(&mut self) -> bool {
        self.check_memory();
        self.rx_done();
        self.call_all(true);
        let Some(session) = &mut self.session else { return true };
        let mut asleep = session.announce.is_none();
        for queue in session.queues.iter_mut().skip(1).step_by(2) {
            let announced = queue.announced();
            if let Some(ring) = &mut queue.ring {
                asleep &= ring.listen() && announced;
            }
        }
        asleep
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        match std::mem::take(&mut self.malformed) {
            0 => None,
            n => Some((DropReason::DoorMalformed, n)),
        }
    }
}

/// The frame that announces a guest's address for it (RFC 903, as QEMU sends it).
fn announcement(mac: [u8; 6]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // RARP; Ethernet, IPv4, 6 and 4 bytes, request reverse
    frame[12..22].copy_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    frame[22..28].copy_from_slice(&mac);
    frame[32..38].copy_from_slice(&mac);
    frame
}
