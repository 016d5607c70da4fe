//! Listeners: who may connect, and how many at once.
//!
//! A SYN makes a connection, which waits in its listener's queue first for the handshake and then
//! to be accepted. Both queues are short, and what is in them is nearly nothing in memory, so that a
//! flood of SYNs costs its sender more than us: the oldest handshake makes room for the newest,
//! because a real one is over long before.

use super::address::Scope;
use super::conn::{Conn, Role, Tuple};
use super::guest::Guest;
use super::sockets::{Socket, SocketId, StackError, ready};
use super::udp::{EPHEMERAL, ephemeral};
use smoltcp::wire::IpListenEndpoint;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// The longest queue that can be asked for (Linux: `somaxconn`).
pub const BACKLOG_MAX: usize = 4096;
/// Handshakes under way, whatever the backlog.
const HALF_OPEN_MIN: usize = 16;

#[derive(Debug)]
pub struct Listener {
    pub scope: Scope,
    pub port: u16,
    pub want: u8,
    /// How many wait at most; it is bound only and listens to nobody when this is 0.
    backlog: usize,
    half_open: VecDeque<SocketId>,
    queue: VecDeque<SocketId>,
}

/// Which listeners have which port.
#[derive(Debug, Default)]
pub struct Listeners {
    bound: BTreeMap<u16, Vec<SocketId>>,
}

impl Guest {
    /// Listen at `port` (0: any), of `address` or of all, for at most `backlog` connections that
    /// were not accepted yet.
    pub fn tcp_listen(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        backlog: usize,
    ) -> Result<SocketId, StackError> {
        let id = self.tcp_bind(address, port)?;
        self.tcp_listen_at(id, backlog)?;
        Ok(id)
    }

    /// Take `port` (0: any) of `address`, of all of one version when that is unspecified, or of all
    /// (`None`), without listening there yet.
    pub fn tcp_bind(&mut self, address: Option<IpAddr>, port: u16) -> Result<SocketId, StackError> {
        let scope = Scope::of(address);
        if scope.one().is_some_and(|address| !self.addressing.has(address)) {
            return Err(StackError::AddressNotAvailable);
        }
        let port = match port {
            0 => self.listen_port().ok_or(StackError::AddressInUse)?,
            _ => port,
        };
        let others = self.tcp.listeners.bound.get(&port).cloned().unwrap_or_default();
        for other in others {
            if self.sockets.listener(other).is_some_and(|other| other.scope.meets(scope)) {
                return Err(StackError::AddressInUse);
            }
        }
        let (half_open, queue) = (VecDeque::new(), VecDeque::new());
        let listener = Listener { scope, port, want: 0, backlog: 0, half_open, queue };
        let id = self.sockets.add(Socket::Listener(Box::new(listener)))?;
        self.tcp.listeners.bound.entry(port).or_default().push(id);
        Ok(id)
    }

    /// Listen at what was bound; again, to have another backlog.
    pub fn tcp_listen_at(&mut self, id: SocketId, backlog: usize) -> Result<(), StackError> {
        let listener = self.sockets.listener(id).ok_or(StackError::Closed)?;
        listener.backlog = backlog.clamp(1, BACKLOG_MAX);
        Ok(())
    }

    fn listen_port(&mut self) -> Option<u16> {
        let start = self.random.next();
        let count = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        (0..count)
            .map(|i| ephemeral(start % count + i))
            .find(|port| !self.tcp.listeners.bound.contains_key(port))
    }

    /// A SYN came for a connection that does not exist: make it, if somebody listens there (`None`
    /// if not). An error if there is no room for it now.
    pub(super) fn admit(&mut self, tuple: Tuple) -> Result<Option<SocketId>, StackError> {
        let (address, port) = (tuple.local.ip(), tuple.local.port());
        let Some(ids) = self.tcp.listeners.bound.get(&port) else { return Ok(None) };
        let ids = ids.clone();
        let listens = |id: &SocketId| match self.sockets.get(*id) {
            Some(Socket::Listener(listener)) => listener.backlog > 0 && listener.scope.has(address),
            _ => false,
        };
        let Some(at) = ids.into_iter().find(listens) else { return Ok(None) };
        let listener = self.sockets.listener(at).ok_or(StackError::Closed)?;
        if listener.queue.len() >= listener.backlog {
            return Err(StackError::TooMany);
        }
        if listener.half_open.len() >= listener.backlog.max(HALF_OPEN_MIN)
            && let Some(oldest) = listener.half_open.pop_front()
        {
            self.discard(oldest);
        }
        // The last sockets are for those who open them here.
        if self.sockets.room() <= self.sockets.len() / 3 {
            return Err(StackError::TooMany);
        }
        let (receive, send) = (self.tcp.receive_buffer, self.tcp.send_buffer);
        let conn = Conn::new(tuple, Role::HalfOpen(at), receive, send);
        let mut conn = conn.map_err(|_| StackError::TooMany)?;
        self.tcp.fresh(&tuple);
        let endpoint = IpListenEndpoint { addr: Some(address.into()), port };
        conn.socket().listen(endpoint).map_err(|_| StackError::Invalid)?;
        conn.seen = conn.state();
        let id = self.sockets.add(Socket::Tcp(Box::new(conn)))?;
        self.tcp.insert(tuple, id);
        if let Some(listener) = self.sockets.listener(at) {
            listener.half_open.push_back(id);
        }
        Ok(Some(id))
    }

    /// The handshake of `id` is done.
    pub(super) fn queue(&mut self, at: SocketId, id: SocketId) {
        let Some(conn) = self.sockets.conn(id) else { return };
        conn.role = Role::Queued(at);
        let Some(listener) = self.sockets.listener(at) else { return self.discard(id) };
        listener.half_open.retain(|&other| other != id);
        listener.queue.push_back(id);
        if listener.want & ready::ACCEPT != 0 {
            listener.want = 0;
            self.sockets.news.push((at, ready::ACCEPT));
        }
    }

    /// `id`, which waited at a listener, is gone.
    pub(super) fn unlist(&mut self, at: SocketId, id: SocketId) {
        if let Some(listener) = self.sockets.listener(at) {
            listener.half_open.retain(|&other| other != id);
            listener.queue.retain(|&other| other != id);
        }
    }

    /// The next connection. One that its peer has reset meanwhile is passed over.
    pub fn tcp_accept(&mut self, at: SocketId) -> Result<SocketId, StackError> {
        loop {
            let listener = self.sockets.listener(at).ok_or(StackError::Closed)?;
            if listener.backlog == 0 {
                return Err(StackError::Invalid);
            }
            let Some(id) = listener.queue.pop_front() else {
                listener.want |= ready::ACCEPT;
                return Err(StackError::WouldBlock);
            };
            let Some(conn) = self.sockets.conn(id) else { continue };
            if conn.over() && conn.socket().recv_queue() == 0 {
                self.discard(id);
                continue;
            }
            if conn.over() {
                conn.error = Some(StackError::Reset);
            }
            conn.role = Role::User;
            return Ok(id);
        }
    }

    /// Whether a connection waits to be accepted.
    pub(super) fn waits(&self, at: SocketId) -> bool {
        matches!(self.sockets.get(at), Some(Socket::Listener(listener)) if !listener.queue.is_empty())
    }

    /// A listener ends, and with it every connection that nobody accepted.
    pub(super) fn listener_close(&mut self, id: SocketId, listener: &Listener) {
        if let Some(ids) = self.tcp.listeners.bound.get_mut(&listener.port) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.tcp.listeners.bound.remove(&listener.port);
            }
        }
        for &waiting in listener.half_open.iter().chain(&listener.queue) {
            self.abort(waiting);
        }
    }
}
