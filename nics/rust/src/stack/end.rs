//! The far end of a guest: its sockets, for any thread of this process.
//!
//! Every call takes the guest's lock for as long as a copy takes, and then has the engine look at
//! the guest. Nothing here waits: what can't be done now says so, and an event
//! ([`EventKind::Socket`]) tells when to try again, once for every time it was said.

use super::conn::KeepAlive;
use super::guest::Guest;
use super::sockets::{SocketId, StackError};
use super::stream::Names;
use super::udp::{Datagram, UdpSettings};
use crate::context::{Context, EventKind};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use switch::Nanos;

pub struct Shared {
    pub guest: Mutex<Guest>,
    /// Somebody listens to all frames, whosever they are.
    pub promiscuous: AtomicBool,
    /// Which group frames matter, see [`filter_bit`](super::multicast::filter_bit).
    pub filter: AtomicU64,
    cx: Mutex<Option<Context>>,
}

/// The socket number of events that concern all sockets: the guest left its port.
pub const ALL: SocketId = u32::MAX;

impl Shared {
    pub fn new(guest: Guest) -> Self {
        let filter = AtomicU64::new(guest.multicast.filter());
        let promiscuous = AtomicBool::new(false);
        Shared { guest: Mutex::new(guest), promiscuous, filter, cx: Mutex::new(None) }
    }

    pub fn attach(&self, cx: Context, now: Nanos) {
        self.guest.lock().now = now;
        *self.cx.lock() = Some(cx);
    }

    pub fn detach(&self) {
        self.guest.lock().closed = true;
        if let Some(cx) = self.cx.lock().take() {
            cx.event(EventKind::Socket(ALL, u32::MAX));
        }
    }

    /// Tell what there is to tell.
    pub fn publish(&self, guest: &mut Guest) {
        if std::mem::take(&mut guest.multicast.changed) {
            self.filter.store(guest.multicast.filter(), Ordering::Relaxed);
        }
        if std::mem::take(&mut guest.raws.changed) {
            self.promiscuous.store(guest.raws.any(), Ordering::Relaxed);
        }
        if guest.sockets.news.is_empty() && guest.log.is_none() {
            return;
        }
        if let Some(cx) = &*self.cx.lock() {
            for (id, bits) in guest.sockets.news.drain(..) {
                cx.event(EventKind::Socket(id, u32::from(bits)));
            }
            if let Some(line) = guest.log.take() {
                cx.log(line);
            }
        }
    }
}

/// The far end of a guest.
#[derive(Clone)]
pub struct StackEnd(pub(super) Arc<Shared>);

impl StackEnd {
    /// Do something with the guest, and have the engine look at it then.
    fn with<T>(&self, f: impl FnOnce(&mut Guest) -> Result<T, StackError>) -> Result<T, StackError> {
        let result = {
            let mut guest = self.0.guest.lock();
            if guest.closed {
                return Err(StackError::Closed);
            }
            let result = f(&mut guest);
            self.0.publish(&mut guest);
            result
        };
        if result.is_ok()
            && let Some(cx) = &*self.0.cx.lock()
        {
            cx.kick();
        }
        result
    }
}

impl StackEnd {
    /// Receive up to `most` bytes that lie in one piece, as what `f` makes of them; of none, at the end
    /// of the stream. `f` is called with the guest locked, so it must only copy.
    pub fn tcp_recv_with<T>(
        &self,
        id: SocketId,
        most: usize,
        f: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, StackError> {
        self.with(|guest| guest.tcp_recv_with(id, most, f))
    }
}

macro_rules! calls {
    ($($(#[doc = $doc:expr])+ fn $name:ident($($arg:ident: $kind:ty),*) -> $ok:ty;)+) => {
        impl StackEnd {
            $($(#[doc = $doc])+
            pub fn $name(&self, $($arg: $kind),*) -> Result<$ok, StackError> {
                self.with(|guest| guest.$name($($arg),*))
            })+
        }
    };
}

calls! {
    /// Begin to connect to `remote`, from the address `local` or the best one, and from `port` (0:
    /// any). [`tcp_connected`](Self::tcp_connected) tells how it went, after a `WRITE` event.
    fn tcp_connect(remote: SocketAddr, local: Option<IpAddr>, port: u16) -> SocketId;
    /// Whether an attempt to connect is over; an error if it failed.
    fn tcp_connected(id: SocketId) -> ();
    /// Listen at `port` (0: any), of `address` or of all, for at most `backlog` connections that
    /// were not accepted yet.
    fn tcp_listen(address: Option<IpAddr>, port: u16, backlog: usize) -> SocketId;
    /// Take a port of `address` or of all, without listening there yet.
    fn tcp_bind(address: Option<IpAddr>, port: u16) -> SocketId;
    /// Listen at what was bound.
    fn tcp_listen_at(id: SocketId, backlog: usize) -> ();
    /// The hop limit of a connection's packets.
    fn tcp_hops(id: SocketId, hops: u8) -> ();
    /// Ask a silent peer whether it is still there, or no longer.
    fn tcp_keep_alive(id: SocketId, keep: Option<KeepAlive>) -> ();
    /// Whether a socket can be read from, or accept, now; if not, an event will tell when.
    fn readable(id: SocketId) -> bool;
    /// The next connection that was made to a listener.
    fn tcp_accept(id: SocketId) -> SocketId;
    /// Take over as much of `data` as there is room for.
    fn tcp_send(id: SocketId, data: &[u8]) -> usize;
    /// How many bytes can be received at once; 0 is the end of the stream.
    fn tcp_readable(id: SocketId) -> usize;
    /// Receive into `data`; 0 is the end of the stream.
    fn tcp_recv(id: SocketId, data: &mut [u8]) -> usize;
    /// Close the sending half: the peer sees the end of the stream behind what was sent.
    fn tcp_shutdown(id: SocketId) -> ();
    /// The name of a connection's state, as in RFC 9293.
    fn tcp_state(id: SocketId) -> String;
    /// Bind a UDP socket to `port` (0: any), of `address` or of all.
    fn udp_bind(address: Option<IpAddr>, port: u16) -> SocketId;
    /// The same, with settings of its own.
    fn udp_open(address: Option<IpAddr>, port: u16, settings: UdpSettings) -> SocketId;
    /// Change the settings of a UDP socket.
    fn udp_set(id: SocketId, settings: UdpSettings) -> ();
    /// Talk with `peer` alone, and hear when it can't be reached; or with all again.
    fn udp_connect(id: SocketId, peer: Option<SocketAddr>) -> ();
    /// Send one datagram.
    fn udp_send(id: SocketId, data: &[u8], to: SocketAddr) -> ();
    /// The next datagram: from where, to which address, and what.
    fn udp_recv(id: SocketId) -> Datagram;
    /// Receive what is sent to a multicast group, too.
    fn udp_join(id: SocketId, group: IpAddr) -> ();
    /// Receive it no more.
    fn udp_leave(id: SocketId, group: IpAddr) -> ();
    /// Datagrams that were lost because nobody received them in time.
    fn udp_lost(id: SocketId) -> u64;
    /// Prepare to ping `target`, with this hop limit.
    fn ping_open(target: IpAddr, hop_limit: u8) -> SocketId;
    /// Send echo request number `seq` with `size` bytes of data.
    fn ping_send(id: SocketId, seq: u16, size: usize) -> ();
    /// The next answer: its number, and the time it took or why there is none.
    fn ping_recv(id: SocketId) -> (u16, Result<Nanos, StackError>);
    /// Open a socket for whole frames of one EtherType, or of all.
    fn raw_open(ethertype: Option<u16>) -> SocketId;
    /// Send one frame, whatever it says its source is.
    fn raw_send(id: SocketId, frame: &[u8]) -> ();
    /// The next frame that came to the guest's port.
    fn raw_recv(id: SocketId) -> Box<[u8]>;
    /// Frames that were lost because nobody received them in time.
    fn raw_lost(id: SocketId) -> u64;
    /// A socket's own address (unspecified: all) and that of its peer.
    fn names(id: SocketId) -> Names;
    /// End a connection at once: its peer is told by a reset. The number is given back.
    fn tcp_abort(id: SocketId) -> ();
    /// Give back a socket's number. What was sent on a connection is still delivered.
    fn close(id: SocketId) -> ();
    /// All addresses, with the lengths of their prefixes.
    fn nets() -> Vec<(IpAddr, u8)>;
    /// The neighbours known: address and MAC address.
    fn known_neighbours() -> Vec<(IpAddr, [u8; 6])>;
    /// How many sockets there are, those that only finish what they began included.
    fn socket_count() -> usize;
}
