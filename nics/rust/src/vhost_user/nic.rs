//! The door itself: connection, session and rings, as the engine sees them.

use super::eventfd::Manners;
use super::fault;
use super::mapping::Unmapping;
use super::offer::Offer;
use super::protocol;
use super::queue::KICKS;
use super::ring::RingFault;
use super::rx;
use super::session::Session;
use super::socket::{self, Gone, Messages};
use super::steer::Steer;
use super::tx::{self, Scratch};
use crate::backoff::LogLimit;
use crate::context::{Context, EventKind};
use crate::error::OpenError;
use crate::frame::{Arena, Burst, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Readiness;
use crate::socket::{Connection, Descriptors, Endpoint, Role, Step};
use std::io;
use std::sync::Arc;
use switch::{DropReason, Nanos};

/// Requests handled in one turn: a front-end that floods us with them delays nobody. Of those that
/// have rings start or stop or memory mapped, one.
const REQUESTS: usize = 32;
/// How soon a request is looked at again that waits until less is to be unmapped.
const BEHIND: Nanos = 10_000_000;
/// How soon a preliminary "no interrupt" is asked again (see `vring.rs`).
const RECHECK: Nanos = 30_000;
/// By then a guest that looks on has read what it was given.
const READ: Nanos = 1_500;

/// How a door is set up.
#[derive(Clone, Debug)]
pub struct Config {
    pub endpoint: Endpoint,
    pub role: Role,
    /// Queue pairs that are offered.
    pub queues: u16,
    /// Largest payload in bytes.
    pub mtu: u16,
    /// Offer checksum and segmentation offloads.
    pub offloads: bool,
    /// Let the device itself tell the guest that this is its MAC address.
    pub mac: Option<[u8; 6]>,
}

/// A vhost-user NIC.
#[derive(Debug)]
pub struct VhostUser {
    offer: Offer,
    role: Role,
    cx: Option<Context>,
    connection: Connection,
    messages: Messages,
    session: Option<Session>,
    /// What its front-ends had mapped, one after another.
    unmapping: Unmapping,
    /// A request waits until less is to be unmapped; looked at again then.
    behind: Option<Nanos>,
    steer: Steer,
    /// The queue that frames were lent from last, and whether any have not been taken back.
    lender: usize,
    lent: bool,
    /// The next queue to receive from.
    turn: usize,
    scratch: Scratch,
    /// Whether the guest could be reached when we last told.
    carrier: bool,
    link: bool,
    /// Faults that were caught when we last looked.
    strikes: u64,
    malformed: u64,
    /// Frames in queues that were disabled.
    unused: u64,
    manners: Arc<Manners>,
    recheck: Option<Nanos>,
    /// When frames were given to the guest last, until its rings are ready for the next ones.
    gave: Option<Nanos>,
    now: Nanos,
    lines: LogLimit,
}

impl VhostUser {
    /// Queue pairs that can be offered.
    pub const QUEUES_MAX: u16 = 64;

    /// A server listens from now on; a client connects when it is attached.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let mut offer = Offer::all(config.queues.clamp(1, Self::QUEUES_MAX), config.mtu, config.offloads);
        if let Some(mac) = config.mac {
            offer = offer.with_config(mac);
        }
        let connection = Connection::open(config.endpoint.clone(), config.role, Descriptors::Taken)?;
        Ok(VhostUser {
            offer,
            role: config.role,
            cx: None,
            messages: Messages::new(connection.lane().clone()),
            connection,
            session: None,
            unmapping: Unmapping::default(),
            behind: None,
            steer: Steer::default(),
            lender: 0,
            lent: false,
            turn: 0,
            scratch: Scratch::default(),
            carrier: false,
            link: true,
            strikes: fault::strikes(),
            malformed: 0,
            unused: 0,
            manners: Arc::default(),
            recheck: None,
            gave: None,
            now: 0,
            lines: LogLimit::default(),
        })
    }

    /// One line for the log, but not more often than anybody can read.
    fn say(&mut self, line: &str) {
        let (Some(cx), Some(held)) = (&self.cx, self.lines.admit(self.now)) else { return };
        let endpoint = self.connection.endpoint();
        if held == 0 {
            cx.log(format!("vhost-user {endpoint}: {line}"));
        } else {
            cx.log(format!("vhost-user {endpoint}: {line} ({held} lines before this one were left out)"));
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

    /// A front-end is there.
    fn meet(&mut self) {
        self.messages = Messages::new(self.connection.lane().clone());
        let (cx, manners, unmapping) = (self.cx.clone(), self.manners.clone(), self.unmapping.clone());
        self.session = Some(Session::new(self.offer, cx, manners, unmapping));
    }

    /// The connection is over, and with it everything that came through it. `offence`: why, if the
    /// front-end did what it must not.
    fn part(&mut self, offence: Option<&str>) {
        self.connection.close(offence.is_some(), self.now);
        self.messages = Messages::new(self.connection.lane().clone());
        self.session = None;
        self.behind = None;
        self.steer = Steer::default();
        self.recheck = None;
        if let Some(why) = offence {
            self.say(why);
        }
        self.report();
    }

    /// Wait until all that came from front-ends is closed.
    #[cfg(any(test, fuzzing))]
    pub fn until_closed(&self) {
        self.connection.lane().until_empty();
    }

    #[cfg(test)]
    pub fn unmapping(&self) -> &Unmapping {
        &self.unmapping
    }

    /// Descriptors that were left to look at when a ring's latest burst was over, and to measure its chains by.
    #[cfg(test)]
    pub fn steps(&self, queue: usize) -> (u32, u32) {
        let ring = self.session.as_ref().and_then(|session| session.queues.get(queue)?.ring.as_ref());
        ring.map_or((u32::MAX, u32::MAX), |ring| ring.left())
    }

    /// Carry out what the front-end asks for.
    fn listen_to_peer(&mut self) {
        for _ in 0..REQUESTS {
            let (Some(peer), Some(session)) = (self.connection.peer(), &mut self.session) else { return };
            let message = match self.messages.receive(peer) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(gone) => return self.gone(&gone),
            };
            if message.request.maps() && self.unmapping.is_behind() {
                self.messages.put_back(message);
                self.connection.watch_reading(false);
                self.behind = Some(self.now + BEHIND);
                return;
            }
            let number = message.header.request;
            match session.handle(message.request, message.header.need_reply, message.fds) {
                Ok(None) => {}
                Ok(Some((answer, fd))) => {
                    if let Err(gone) = socket::send(peer, &protocol::answer(number, &answer), fd.as_ref()) {
                        return self.gone(&gone);
                    }
                }
                Err(refusal) => {
                    return self.part(Some(&format!("disconnected, request {number}: {refusal}")));
                }
            }
            let costly = std::mem::take(&mut session.costly);
            self.report();
            let lane = self.connection.lane();
            if lane.is_full() {
                return self
                    .part(Some("disconnected, too many descriptors that it sent are still to be closed"));
            }
            if costly || !lane.is_empty() {
                // The rest is still in the socket, which is ready again.
                break;
            }
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
        let (mut found, mut emptied, mut running, mut at) = (None, false, 0, self.turn);
        for _ in 0..pairs {
            let pair = if at < pairs { at } else { 0 };
            at = pair + 1;
            let Some(queue) = session.queues.get_mut(pair * 2 + 1) else { continue };
            let Some(ring) = &mut queue.ring else { continue };
            running += 1;
            if found.is_some() {
                continue;
            }
            match ring.take::<false>(rx::AHEAD) {
                Ok(0) => ring.call(queue.call.as_ref(), true),
                Ok(waiting) if queue.enabled => found = Some((pair, waiting)),
                Ok(waiting) => {
                    // What a disabled queue holds is discarded, so that the guest does not wait.
                    ring.give_sent(waiting);
                    ring.call(queue.call.as_ref(), false);
                    self.unused += waiting as u64;
                    emptied = true;
                }
                Err(fault) => {
                    self.broke(pair * 2 + 1, fault);
                    return Look::Nothing;
                }
            }
        }
        match found {
            Some((pair, waiting)) => {
                self.turn = pair + 1;
                Look::Work(Work { queue: pair * 2 + 1, waiting, several: running > 1 })
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
        if self.role == Role::Client && !up {
            self.part(None);
        }
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.now = now;
        self.manners.begin(Some((cx.clone(), self.connection.endpoint().to_string())));
        self.cx = Some(cx.clone());
        if self.connection.attach(cx, now)? {
            self.meet();
        }
        Ok(())
    }

    fn detach(&mut self) {
        self.part(None);
        self.connection.detach();
        self.cx = None;
        self.manners.begin(None);
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        self.now = now;
        if sub >= KICKS {
            return self.polled();
        }
        match self.connection.ready(sub, readiness, now) {
            Step::Nothing => {}
            Step::Up => self.meet(),
            // Not watched but for its end.
            Step::Peer if self.behind.is_some() => {
                if readiness.hangup {
                    self.part(None);
                }
            }
            Step::Peer => self.listen_to_peer(),
            Step::Finish => {
                // Nobody waits for what it asked last.
                self.listen_to_peer();
                self.part(None);
            }
        }
        self.polled()
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.now = now;
        self.check_memory();
        if self.lent {
            // A burst without a single frame was not followed by `rx_done`.
            self.rx_done();
        }
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
        let VhostUser { session: Some(session), steer, lender, lent, .. } = self else { return Rx::Idle };
        let sends = session.sends;
        let Some(ring) = session.queues.get_mut(look.queue).and_then(|queue| queue.ring.as_mut()) else {
            return Rx::Idle;
        };
        (*lender, *lent) = (look.queue, true);
        let more = rx::lend(ring, look.waiting, &sends, arena, burst);
        if look.several {
            steer.learn(look.queue / 2, burst);
        }
        if more || look.several || burst.is_empty() { Rx::More } else { Rx::Idle }
    }

    fn rx_done(&mut self) {
        let index = self.lender;
        self.lent = false;
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
        self.gave = Some(now);
        self.check_memory();
        let VhostUser { session: Some(session), steer, scratch, .. } = self else {
            return report.drop_rest(0, frames.len(), DropReason::TxNoCarrier);
        };
        let log = session.log().cloned();
        let takes = session.takes;
        let mut broken = None;
        scratch.begin();
        steer.each(&mut session.queues, frames, report, &mut |index, ring, frames, report| {
            if let Err(fault) = tx::deliver(ring, &takes, frames, log.as_ref(), scratch, report) {
                broken = Some((index, fault));
            }
        });
        if let Some((index, fault)) = broken {
            self.broke(index, fault);
        }
    }

    fn brace(&mut self) {
        let Some(session) = &self.session else { return };
        // Which of several queues a frame is for is not known yet; `tx.rs` does the same where it is.
        if let Some(ring) = session.queues.first().and_then(|queue| queue.ring.as_ref()) {
            ring.brace();
        }
    }

    fn flush(&mut self, now: Nanos) -> bool {
        self.now = now;
        self.call_all(self.recheck.is_some_and(|at| at <= now));
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        let connection = self.connection.deadline().filter(|_| self.link);
        [connection, self.recheck, self.behind].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        self.now = now;
        if self.recheck.is_some_and(|at| at <= now) {
            self.call_all(true);
        }
        if self.behind.is_some_and(|at| at <= now) {
            self.behind = None;
            self.connection.watch_reading(true);
            self.listen_to_peer();
            return self.polled();
        }
        if self.link && self.connection.tick(now) == Step::Up {
            self.meet();
        }
        false
    }

    fn polled(&self) -> bool {
        self.session.as_ref().is_some_and(Session::started)
    }

    fn quiet(&mut self, now: Nanos) -> bool {
        let Some(session) = &self.session else { return false };
        let mut sending = session.queues.iter().skip(1).step_by(2).filter_map(|queue| queue.ring.as_ref());
        let quiet = fault::strikes() == self.strikes
            && session.announce.is_none()
            && sending.all(|ring| ring.quiet());
        if quiet && self.gave.is_some_and(|at| now.saturating_sub(at) >= READ) {
            self.gave = None;
            for queue in session.queues.iter().step_by(2) {
                if let Some(ring) = &queue.ring {
                    ring.get_ready();
                }
            }
        }
        quiet
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
        let drops =
            [(DropReason::DoorMalformed, &mut self.malformed), (DropReason::DoorUnused, &mut self.unused)];
        let (reason, count) = drops.into_iter().find(|(_, count)| **count > 0)?;
        Some((reason, std::mem::take(count)))
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
