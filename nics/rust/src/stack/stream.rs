//! What the far end does with connections: open, send, receive, end.

use super::address::Hop;
use super::conn::{Conn, KeepAlive, Role, Tuple};
use super::guest::Guest;
use super::sockets::{Socket, SocketId, StackError, ready};
use super::udp::{EPHEMERAL, ephemeral};
use smoltcp::socket::tcp::{RecvError, State};
use std::net::{IpAddr, SocketAddr};

/// The two ends of a socket: its own address (unspecified: all), and its peer's.
pub type Names = (SocketAddr, Option<SocketAddr>);

impl Guest {
    /// Begin to connect to `remote`, from `local` or the best address, and from `port` or any.
    pub fn tcp_connect(
        &mut self,
        remote: SocketAddr,
        local: Option<IpAddr>,
        port: u16,
    ) -> Result<SocketId, StackError> {
        if remote.port() == 0 || remote.ip().is_unspecified() {
            return Err(StackError::Invalid);
        }
        match self.addressing.hop(remote.ip()) {
            Hop::Group(_) | Hop::Nowhere => return Err(StackError::NetUnreachable),
            Hop::Own | Hop::Neighbour(_) => {}
        }
        let local = self.source_for(remote.ip(), local)?;
        let tuple = self.tuple(local, port, remote)?;
        let (receive, send) = (self.tcp.receive_buffer, self.tcp.send_buffer);
        let conn = Conn::new(tuple, Role::User, receive, send);
        let mut conn = conn.map_err(|_| StackError::TooMany)?;
        let iface = self.tcp.fresh(&tuple);
        let (to, from) = ((remote.ip(), remote.port()), (local, tuple.local.port()));
        conn.socket().connect(iface.context(), to, from).map_err(|_| StackError::Invalid)?;
        conn.seen = conn.state();
        let id = self.sockets.add(Socket::Tcp(Box::new(conn)))?;
        self.tcp.insert(tuple, id);
        self.sockets.touch(id);
        Ok(id)
    }

    /// A pair of ends that is not in use.
    fn tuple(&mut self, local: IpAddr, port: u16, remote: SocketAddr) -> Result<Tuple, StackError> {
        let count = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        // Ports go up from a number that only who knows the secret can tell (RFC 6056, 3.3.3).
        let start = self.tcp.unpredictable((local, remote)) % count + self.tcp.opened;
        let ports = if port == 0 { count } else { 1 };
        for i in 0..ports {
            let port = if port == 0 { ephemeral(start + i) } else { port };
            let tuple = Tuple { local: SocketAddr::new(local, port), remote };
            if self.tcp.find(&tuple).is_none() && !self.tcp.lingering.has(&tuple, self.now) {
                return Ok(tuple);
            }
        }
        Err(StackError::AddressInUse)
    }

    fn stream(&mut self, id: SocketId) -> Result<&mut Conn, StackError> {
        self.sockets.conn(id).filter(|conn| conn.role == Role::User).ok_or(StackError::Closed)
    }

    /// Whether an attempt to connect is over; an error if it failed.
    pub fn tcp_connected(&mut self, id: SocketId) -> Result<(), StackError> {
        let conn = self.stream(id)?;
        match conn.state() {
            State::SynSent | State::SynReceived => {
                conn.want |= ready::WRITE;
                Err(StackError::WouldBlock)
            }
            _ => conn.error.map_or(Ok(()), Err),
        }
    }

    /// Take over as much of `data` as there is room for. Of no data nothing is taken at once when
    /// there is room worth being woken for.
    pub fn tcp_send(&mut self, id: SocketId, data: &[u8]) -> Result<usize, StackError> {
        let conn = self.stream(id)?;
        if let State::SynSent | State::SynReceived | State::Listen = conn.state() {
            return Err(StackError::NotConnected);
        }
        let error = conn.error;
        let roomy = conn.ready() & ready::WRITE != 0;
        let socket = conn.socket();
        let idle = socket.send_queue() == 0;
        let full = if data.is_empty() { !roomy } else { socket.may_send() && !socket.can_send() };
        match socket.send_slice(data) {
            Ok(_) if full => {
                conn.want |= ready::WRITE;
                Err(StackError::WouldBlock)
            }
            Ok(sent) => {
                if idle {
                    conn.progress = None;
                }
                self.sockets.touch(id);
                Ok(sent)
            }
            Err(_) => Err(error.unwrap_or(StackError::BrokenPipe)),
        }
    }

    /// How many bytes can be received; 0 is the end of the stream.
    pub fn tcp_readable(&mut self, id: SocketId) -> Result<usize, StackError> {
        let conn = self.stream(id)?;
        let (error, state) = (conn.error, conn.state());
        let socket = conn.socket();
        match (socket.recv_queue(), state) {
            (0, State::SynSent | State::SynReceived | State::Listen) => Err(StackError::NotConnected),
            (0, _) if socket.may_recv() => {
                conn.want |= ready::READ;
                Err(StackError::WouldBlock)
            }
            (0, _) => error.map_or(Ok(0), Err),
            (n, _) => Ok(n),
        }
    }

    /// Receive into `data`; 0 is the end of the stream.
    pub fn tcp_recv(&mut self, id: SocketId, data: &mut [u8]) -> Result<usize, StackError> {
        self.tcp_readable(id)?;
        let conn = self.stream(id)?;
        let socket = conn.socket();
        let tight = socket.recv_queue() * 2 >= socket.recv_capacity();
        match socket.recv_slice(data) {
            Ok(received) => {
                // The peer must be told that there is room again, if it was told that there is
                // little.
                if tight {
                    self.sockets.touch(id);
                }
                Ok(received)
            }
            Err(RecvError::Finished | RecvError::InvalidState) => Ok(0),
        }
    }

    /// Receive up to `most` bytes that lie in one piece, as what `f` makes of them; of none, at the end
    /// of the stream.
    pub fn tcp_recv_with<T>(
        &mut self,
        id: SocketId,
        most: usize,
        f: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, StackError> {
        if self.tcp_readable(id)? == 0 {
            return Ok(f(&[]));
        }
        let socket = self.stream(id)?.socket();
        let tight = socket.recv_queue() * 2 >= socket.recv_capacity();
        let received = socket.recv(|piece| {
            let piece = &piece[..piece.len().min(most)];
            (piece.len(), f(piece))
        });
        if tight {
            self.sockets.touch(id);
        }
        received.map_err(|_| StackError::Closed)
    }

    /// Close the sending half: the peer sees the end of the stream behind what was sent.
    pub fn tcp_shutdown(&mut self, id: SocketId) -> Result<(), StackError> {
        let conn = self.stream(id)?;
        match conn.state() {
            State::SynSent | State::SynReceived | State::Listen => Err(StackError::NotConnected),
            State::Closed => Err(conn.error.unwrap_or(StackError::BrokenPipe)),
            _ => {
                conn.progress = None;
                conn.socket().close();
                self.sockets.touch(id);
                Ok(())
            }
        }
    }

    pub fn nets(&mut self) -> Result<Vec<(IpAddr, u8)>, StackError> {
        Ok(self.addressing.nets().iter().map(|net| (net.address, net.prefix)).collect())
    }

    pub fn known_neighbours(&mut self) -> Result<Vec<(IpAddr, [u8; 6])>, StackError> {
        Ok(self.neighbours.all())
    }

    pub fn socket_count(&mut self) -> Result<usize, StackError> {
        Ok(self.sockets.len())
    }

    /// Own and peer's address.
    pub fn names(&mut self, id: SocketId) -> Result<Names, StackError> {
        match self.sockets.get(id).ok_or(StackError::Closed)? {
            Socket::Tcp(conn) => Ok((conn.tuple.local, Some(conn.tuple.remote))),
            Socket::Listener(listener) => Ok((SocketAddr::new(listener.scope.name(), listener.port), None)),
            Socket::Udp(udp) => Ok(match udp.peer {
                Some((own, peer)) => (SocketAddr::new(own, udp.port), Some(peer)),
                None => (SocketAddr::new(udp.scope.name(), udp.port), None),
            }),
            Socket::Ping(_) | Socket::Raw(_) => Err(StackError::Invalid),
        }
    }

    /// Whether a socket can be read from, or accept, now, be it an end or an error; if not, an event
    /// will tell when.
    pub fn readable(&mut self, id: SocketId) -> Result<bool, StackError> {
        let now = match self.sockets.get(id).ok_or(StackError::Closed)? {
            Socket::Tcp(_) => !matches!(self.tcp_readable(id), Err(StackError::WouldBlock)),
            Socket::Listener(_) => self.waits(id),
            Socket::Udp(_) => self.udp_waits(id),
            Socket::Ping(_) | Socket::Raw(_) => return Err(StackError::Invalid),
        };
        if !now {
            match self.sockets.get_mut(id) {
                Some(Socket::Listener(listener)) => listener.want |= ready::ACCEPT,
                Some(Socket::Udp(udp)) => udp.want |= ready::READ,
                _ => {}
            }
        }
        Ok(now)
    }

    /// The hop limit of a connection's packets; at least 1.
    pub fn tcp_hops(&mut self, id: SocketId, hops: u8) -> Result<(), StackError> {
        self.stream(id)?.socket().set_hop_limit(Some(hops.max(1)));
        Ok(())
    }

    /// Ask a silent peer whether it is still there (RFC 9293, 3.8.4), or no longer.
    pub fn tcp_keep_alive(&mut self, id: SocketId, keep: Option<KeepAlive>) -> Result<(), StackError> {
        self.stream(id)?.keep(keep);
        self.sockets.touch(id);
        Ok(())
    }

    /// The name of a connection's state, as in RFC 9293.
    pub fn tcp_state(&mut self, id: SocketId) -> Result<String, StackError> {
        Ok(self.stream(id)?.state().to_string())
    }

    /// End a connection at once; the peer is told by a reset.
    pub fn tcp_abort(&mut self, id: SocketId) -> Result<(), StackError> {
        self.stream(id)?;
        self.abort(id);
        Ok(())
    }

    pub(super) fn abort(&mut self, id: SocketId) {
        let Some(conn) = self.sockets.conn(id) else { return };
        conn.role = Role::Orphan;
        if matches!(conn.state(), State::SynSent | State::Listen) || conn.over() {
            return self.discard(id);
        }
        conn.socket().abort();
        self.sockets.touch(id);
    }

    /// Give back a socket's number. What was sent on a connection is still delivered; what was
    /// received and not read makes it end by a reset (RFC 9293, 3.6.1; RFC 2525, 2.17).
    pub fn close(&mut self, id: SocketId) -> Result<(), StackError> {
        match self.sockets.get(id).ok_or(StackError::Closed)? {
            Socket::Tcp(conn) => {
                if conn.role != Role::User {
                    return Err(StackError::Closed);
                }
                let conn = self.stream(id)?;
                if conn.socket().recv_queue() > 0 {
                    self.abort(id);
                    return Ok(());
                }
                if conn.over() || conn.state() == State::SynSent {
                    self.discard(id);
                    return Ok(());
                }
                conn.role = Role::Orphan;
                conn.progress = None;
                conn.socket().close();
                self.sockets.touch(id);
            }
            Socket::Listener(_) | Socket::Udp(_) | Socket::Ping(_) | Socket::Raw(_) => {
                match self.sockets.remove(id) {
                    Some(Socket::Listener(listener)) => self.listener_close(id, &listener),
                    Some(Socket::Udp(udp)) => self.udp_close(id, &udp),
                    Some(Socket::Ping(ping)) => self.ping_close(&ping),
                    Some(Socket::Raw(_)) => self.raw_close(id),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
