//! One connection, kept alive: as a server that takes one client at a time, or as a client that
//! connects again whenever it has to, the first time included.
//!
//! A server's listener stays watched while a client lives, because somebody who connects then must
//! hear at once that the place is taken instead of hanging in the backlog. One case needs care: a
//! guest that was killed and started again connects before its old connection was read to its end.
//! The old one is then known to be hung up, so the new one waits in the backlog for it.
//!
//! A connection that breaks the protocol is an offence. Offences make a server stop accepting for a
//! while (that long grows, as a client's waits do), so that a peer that insists costs next to nothing.
//! A connection that lived for longer than the longest wait wipes the slate.

use super::calls;
use super::claim::{self, Claim, plain};
use super::closing::Lane;
use super::endpoint::Endpoint;
use crate::backoff::{Backoff, LogLimit};
use crate::context::Context;
use crate::error::OpenError;
use crate::poller::{Interest, Readiness};
use socket2::{SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::Shutdown;
use std::time::Duration;
use switch::Nanos;

/// Who listens: `Server` is us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// Whether a unix socket's peer may send descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    Taken,
    Refused,
}

/// What became of a readiness or a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that concerns the door.
    Nothing,
    /// A connection is there.
    Up,
    /// The connection is ready, as the readiness says.
    Peer,
    /// The peer hung up: read what is left, then [`Connection::close`].
    Finish,
}

#[derive(Debug)]
enum State {
    /// Nobody is connected. A server accepts, unless it pauses; a client tries again at its time.
    Alone,
    /// A client's attempt is under way.
    Connecting(Socket),
    Connected {
        socket: Socket,
        since: Nanos,
        writing: bool,
    },
}

/// See the top of the file.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    descriptors: Descriptors,
    endpoint: Endpoint,
    address: SockAddr,
    listener: Option<Socket>,
    claim: Option<Claim>,
    state: State,
    cx: Option<Context>,
    lane: Lane,
    backoff: Backoff,
    /// A client's next attempt, or the end of the present one; a server's end of a pause.
    due: Option<Nanos>,
    refused: LogLimit,
    /// The error of the last failed attempt: told when it changes, not at every attempt.
    told: Option<i32>,
}

impl Connection {
    pub const LISTENER: u16 = 0;
    pub const PEER: u16 = 1;

    /// An attempt that takes longer is given up.
    const PATIENCE: Nanos = 5_000_000_000;
    /// How long accepting rests when the process is out of descriptors or memory, or the lane is full.
    const EXHAUSTED: Nanos = 1_000_000_000;
    const BACKLOG: i32 = 16;

    /// A server listens from now on; a client does nothing before it is attached.
    pub fn open(endpoint: Endpoint, role: Role, descriptors: Descriptors) -> Result<Self, OpenError> {
        let address = endpoint.address()?;
        let (mut listener, mut claim) = (None, None);
        if role == Role::Server {
            let (socket, file) = claim::bind(&endpoint, Type::STREAM)?;
            if descriptors == Descriptors::Taken {
                calls::take_descriptors(&socket, true);
            }
            socket.listen(Self::BACKLOG).map_err(|e| {
                OpenError::new(format!("can't listen on {endpoint}: {}", plain(&e)), "choose another address")
            })?;
            (listener, claim) = (Some(socket), file);
        }
        Ok(Connection {
            role,
            descriptors,
            endpoint,
            address,
            listener,
            claim,
            state: State::Alone,
            cx: None,
            lane: Lane::default(),
            backoff: Backoff::new(),
            due: None,
            refused: LogLimit::default(),
            told: None,
        })
    }

    /// Begin: watch the listener, or try to connect. Returns whether it is connected already.
    pub fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<bool> {
        if let Some(listener) = &self.listener {
            cx.poller.add(listener, cx.port, Self::LISTENER, Interest::REQUESTS)?;
        }
        self.cx = Some(cx);
        Ok(self.role == Role::Client && self.dial(now) == Step::Up)
    }

    /// End: nothing is watched, nothing is open, no file is left.
    pub fn detach(&mut self) {
        if let Some(cx) = self.cx.take() {
            for socket in self.listener.iter().chain(self.any_socket()) {
                cx.poller.remove(socket);
            }
        }
        match std::mem::replace(&mut self.state, State::Alone) {
            State::Alone => {}
            State::Connecting(socket) | State::Connected { socket, .. } => self.leave(socket),
        }
        if let Some(listener) = self.listener.take()
            && self.endpoint.is_unix()
        {
            // Nobody comes any more, and those who wait to be accepted go as others do. It is closed here, for its name must
            // be free.
            let _ = listener.shutdown(Shutdown::Both);
            for _ in 0..2 * Self::BACKLOG {
                let Ok((socket, _)) = listener.accept4(libc::SOCK_CLOEXEC) else { break };
                self.leave(socket);
            }
        }
        self.claim = None;
        self.due = None;
    }

    /// Where descriptors are closed that come through this connection.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// A connection is over, or was never wanted. What the peer sent and nobody read goes with a unix socket, descriptors
    /// included: so we are not the ones who close it.
    fn leave(&self, socket: Socket) {
        if self.endpoint.is_unix() {
            // The peer should see it now, whenever that is.
            let _ = socket.shutdown(Shutdown::Both);
            self.lane.close(socket.into());
        }
    }

    fn any_socket(&self) -> Option<&Socket> {
        match &self.state {
            State::Alone => None,
            State::Connecting(socket) | State::Connected { socket, .. } => Some(socket),
        }
    }

    /// The connected socket.
    #[inline]
    #[must_use]
    pub fn peer(&self) -> Option<&Socket> {
        match &self.state {
            State::Connected { socket, .. } => Some(socket),
            _ => None,
        }
    }

    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where a server listens: the endpoint with the port that the kernel chose.
    #[must_use]
    pub fn listening_at(&self) -> Option<Endpoint> {
        let bound = self.listener.as_ref()?.local_addr().ok()?;
        Some(bound.as_socket().map_or_else(|| self.endpoint.clone(), Endpoint::Inet))
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        self.due
    }

    /// One of our descriptors is ready.
    pub fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> Step {
        match (sub, &self.state) {
            (Self::LISTENER, _) => self.accept(now),
            (_, State::Connecting(_)) if readiness.write || readiness.hangup => self.settle(now),
            (_, State::Connected { .. }) => Step::Peer,
            _ => Step::Nothing,
        }
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, now: Nanos) -> Step {
        if self.due.is_none_or(|due| now < due) {
            return Step::Nothing;
        }
        self.due = None;
        match (self.role, &self.state) {
            (Role::Server, _) => {
                self.watch_listener(true);
                Step::Nothing
            }
            (Role::Client, State::Alone) => self.dial(now),
            // It may have come to an end just now, its readiness not told yet.
            (Role::Client, State::Connecting(socket)) if calls::settled(socket) => self.settle(now),
            (Role::Client, State::Connecting(_)) => {
                self.failed(&io::Error::from_raw_os_error(libc::ETIMEDOUT), now);
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    /// What a peer is watched for: where descriptors come with it, it is requests that come, not frames.
    fn reading(&self) -> Interest {
        match self.descriptors {
            Descriptors::Taken => Interest::REQUESTS,
            Descriptors::Refused => Interest::READ,
        }
    }

    /// Have `ready` called when the peer takes bytes again.
    pub fn watch_writing(&mut self, on: bool) {
        let interest = Interest { write: on, ..self.reading() };
        let (Some(cx), State::Connected { socket, writing, .. }) = (&self.cx, &mut self.state) else {
            return;
        };
        if *writing != on {
            // It fails only for a descriptor that is not watched, which then has no events either.
            if cx.poller.modify(&*socket, cx.port, Self::PEER, interest).is_ok() {
                *writing = on;
            }
        }
    }

    /// Have `ready` called when the peer has sent something. That it is gone is told in any case.
    pub fn watch_reading(&mut self, on: bool) {
        if let (Some(cx), State::Connected { socket, .. }) = (&self.cx, &self.state) {
            let interest = if on { Interest::READ } else { Interest::NONE };
            // As above.
            let _ = cx.poller.modify(socket, cx.port, Self::PEER, interest);
        }
    }

    /// The connection is over. `offence`: the peer broke the protocol.
    pub fn close(&mut self, offence: bool, now: Nanos) {
        let State::Connected { socket, since, .. } = std::mem::replace(&mut self.state, State::Alone) else {
            return;
        };
        if let Some(cx) = &self.cx {
            cx.poller.remove(&socket);
        }
        self.leave(socket);
        if now.saturating_sub(since) > Backoff::LONGEST {
            self.backoff.reset();
        }
        match self.role {
            Role::Client => self.due = Some(now + self.backoff.step()),
            Role::Server if offence => {
                self.watch_listener(false);
                self.due = Some(now + self.backoff.step());
            }
            Role::Server => {}
        }
    }

    fn log(&self, line: impl Into<String>) {
        if let Some(cx) = &self.cx {
            cx.log(line);
        }
    }

    fn watch_listener(&mut self, on: bool) {
        if let (Some(cx), Some(listener)) = (&self.cx, &self.listener) {
            let interest = if on { Interest::REQUESTS } else { Interest::NONE };
            // As above: it can only fail for a descriptor that has no events.
            let _ = cx.poller.modify(listener, cx.port, Self::LISTENER, interest);
        }
    }

    fn accept(&mut self, now: Nanos) -> Step {
        // As many as one look is worth; the listener stays readable for the rest.
        for _ in 0..Self::BACKLOG {
            if self.peer().is_some_and(calls::hung_up) {
                return Step::Finish;
            }
            if self.lane.is_full() {
                self.complain(
                    now,
                    "took no connection at",
                    "too many descriptors that a peer sent are still to be closed",
                );
                self.watch_listener(false);
                self.due = Some(now + Self::EXHAUSTED);
                break;
            }
            let Some(listener) = &self.listener else { break };
            let socket = match listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
                Ok((socket, _)) => socket,
                Err(e) => match e.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        // The listener stays readable: looking again at once would be a busy loop.
                        self.log(format!("can't accept on {}: {}", self.endpoint, plain(&e)));
                        self.watch_listener(false);
                        self.due = Some(now + Self::EXHAUSTED);
                        break;
                    }
                    Some(libc::EINTR | libc::ECONNABORTED) => continue,
                    _ => break,
                },
            };
            if self.peer().is_some() {
                self.refuse(socket, now, "somebody is connected already");
            } else if !self.welcome(&socket) {
                self.refuse(
                    socket,
                    now,
                    "it belongs to another user, and an abstract socket has no permissions",
                );
            } else if self.connected(socket, now) {
                return Step::Up;
            }
        }
        Step::Nothing
    }

    /// An abstract socket has no file whose mode says who may connect: only our own user and root.
    fn welcome(&self, socket: &Socket) -> bool {
        !matches!(self.endpoint, Endpoint::Abstract(_))
            || calls::peer_uid(socket).is_ok_and(calls::is_trusted)
    }

    fn refuse(&mut self, socket: Socket, now: Nanos, why: &str) {
        self.leave(socket);
        self.complain(now, "refused a connection to", why);
    }

    /// One line for the log, but not more often than anybody can read.
    fn complain(&mut self, now: Nanos, what: &str, why: &str) {
        if let Some(held) = self.refused.admit(now) {
            let more = if held > 0 { format!(" (and {held} more)") } else { String::new() };
            self.log(format!("{what} {}{more}: {why}", self.endpoint));
        }
    }

    /// Start connecting.
    fn dial(&mut self, now: Nanos) -> Step {
        if self.lane.is_full() {
            self.due = Some(now + self.backoff.step());
            return Step::Nothing;
        }
        let socket = match claim::new(&self.endpoint, Type::STREAM) {
            Ok(socket) => socket,
            Err(e) => {
                self.log(e.to_string());
                self.due = Some(now + self.backoff.step());
                return Step::Nothing;
            }
        };
        if self.descriptors == Descriptors::Taken {
            calls::take_descriptors(&socket, true);
        }
        match socket.connect(&self.address) {
            Ok(()) => self.reached(socket, now),
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                let watched = match &self.cx {
                    Some(cx) => cx.poller.add(&socket, cx.port, Self::PEER, Interest::WRITE),
                    None => Ok(()),
                };
                self.state = State::Connecting(socket);
                match watched {
                    Ok(()) => self.due = Some(now + Self::PATIENCE),
                    Err(e) => self.failed(&e, now),
                }
                Step::Nothing
            }
            Err(e) => {
                self.failed(&e, now);
                Step::Nothing
            }
        }
    }

    /// An attempt came to an end: how?
    fn settle(&mut self, now: Nanos) -> Step {
        let State::Connecting(socket) = std::mem::replace(&mut self.state, State::Alone) else {
            return Step::Nothing;
        };
        if let Some(cx) = &self.cx {
            cx.poller.remove(&socket);
        }
        match socket.take_error() {
            Ok(None) => self.reached(socket, now),
            Ok(Some(e)) | Err(e) => {
                self.failed(&e, now);
                Step::Nothing
            }
        }
    }

    fn reached(&mut self, socket: Socket, now: Nanos) -> Step {
        // TCP can connect to itself when nobody listens on a port that the kernel hands out.
        if !self.endpoint.is_unix()
            && socket.local_addr().is_ok_and(|own| socket.peer_addr().is_ok_and(|peer| own == peer))
        {
            self.failed(&io::Error::from_raw_os_error(libc::ECONNREFUSED), now);
            return Step::Nothing;
        }
        self.due = None;
        if self.connected(socket, now) {
            self.told = None;
            return Step::Up;
        }
        self.due = Some(now + self.backoff.step());
        Step::Nothing
    }

    fn failed(&mut self, error: &io::Error, now: Nanos) {
        if let Some(socket) = self.any_socket()
            && let Some(cx) = &self.cx
        {
            cx.poller.remove(socket);
        }
        self.state = State::Alone;
        self.due = Some(now + self.backoff.step());
        if self.told != error.raw_os_error() {
            self.told = error.raw_os_error();
            self.log(format!("can't connect to {} yet: {}; trying again", self.endpoint, plain(error)));
        }
    }

    fn connected(&mut self, socket: Socket, now: Nanos) -> bool {
        if !self.endpoint.is_unix() {
            // Frames leave when they are sent, and a peer whose machine died makes room for another
            // within half a minute. Both are comforts, so a failure is none.
            let _ = socket.set_tcp_nodelay(true);
            let alive = TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5))
                .with_retries(3);
            let _ = socket.set_tcp_keepalive(&alive);
        }
        if let Some(cx) = &self.cx
            && let Err(e) = cx.poller.add(&socket, cx.port, Self::PEER, self.reading())
        {
            cx.log(format!("can't watch the connection to {}: {}", self.endpoint, plain(&e)));
            self.leave(socket);
            return false;
        }
        self.state = State::Connected { socket, since: now, writing: false };
        true
    }
}
