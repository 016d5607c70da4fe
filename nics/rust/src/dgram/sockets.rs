//! The sockets of a `dgram` door, of three sorts.
//!
//! * **Unix.** One socket, never connected: a guest that is started again makes a new socket of the
//!   same name, which a connected socket would not find, and which could not send to one either.
//! * **UDP.** Connected to the peer, so that the kernel tells us when nobody is there
//!   (ECONNREFUSED), and others can't fill the buffer that the peer's frames need. A second socket
//!   on the same port, the *sink*, takes what others send, to be counted.
//! * **A group.** QEMU's `mcast`: everybody receives on the group's port, and hears itself. We send
//!   from a socket of our own, by whose address our own frames are told apart from those of others
//!   on this host.

use crate::error::OpenError;
use crate::socket::claim::{self, Claim, plain};
use crate::socket::{Endpoint, calls};
use socket2::{InterfaceIndexOrAddress, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// See the top of the file.
#[derive(Debug)]
pub enum Sort {
    Unix,
    Udp {
        /// Where the door is bound: an address, or all of them.
        bound: SockAddr,
        sink: Option<Socket>,
    },
    Group {
        sender: Socket,
        own: SockAddr,
    },
}

/// See the top of the file.
#[derive(Debug)]
pub struct Sockets {
    /// What is received from, and sent with except to a group.
    pub socket: Socket,
    pub sort: Sort,
    /// Where no file keeps others out (an abstract name), the kernel says who sent each datagram.
    pub vouched: bool,
    /// Goes with the socket.
    _claim: Option<Claim>,
}

/// Room for bursts of the longest frames.
const BUFFER: libc::c_int = 64 * 65_536;

const CHOOSE: &str = "give local, remote, or both: a path, @name or ip:port each";

impl Sockets {
    /// Bind `local` and aim at `remote`. At least one must be given, and both of the same family.
    pub fn open(local: Option<&Endpoint>, remote: Option<&Endpoint>) -> Result<Self, OpenError> {
        let Some(any) = local.or(remote) else {
            return Err(OpenError::new("a dgram door without local and remote", CHOOSE));
        };
        if let (Some(local), Some(remote)) = (local, remote)
            && local.domain() != remote.domain()
        {
            return Err(OpenError::new(
                format!("local {local} and remote {remote} are of different families"),
                "both must be unix sockets, both IPv4, or both IPv6",
            ));
        }
        let sockets = match (any, remote) {
            (_, Some(Endpoint::Inet(group))) if group.ip().is_multicast() => {
                let interface = match local {
                    Some(Endpoint::Inet(local)) => Some(*local),
                    _ => None,
                };
                join(*group, interface).map_err(|e| no_group(*group, interface, &e))?
            }
            (Endpoint::Inet(_), _) => udp(any, local, remote)?,
            _ => unix(any, local)?,
        };
        calls::buffers(&sockets.socket, BUFFER);
        Ok(sockets)
    }

    /// What is sent with.
    #[must_use]
    pub fn sender(&self) -> &Socket {
        match &self.sort {
            Sort::Group { sender, .. } => sender,
            _ => &self.socket,
        }
    }

    /// Where the socket is bound.
    #[must_use]
    pub fn bound_at(&self) -> Option<Endpoint> {
        match &self.sort {
            Sort::Udp { bound, .. } => bound.as_socket().map(Endpoint::Inet),
            _ => self.socket.local_addr().ok()?.as_socket().map(Endpoint::Inet),
        }
    }

    /// Speak with `peer` alone from now on. For UDP.
    pub fn aim(&mut self, peer: &SockAddr) -> io::Result<()> {
        let Sort::Udp { bound, sink } = &mut self.sort else { return Ok(()) };
        self.socket.connect(peer)?;
        if bound.as_socket().is_some_and(|at| at.port() == 0) {
            *bound = self.socket.local_addr()?;
        }
        // A door without a sink works; it just can't count what the kernel then refuses.
        *sink = second_on(&self.socket, bound).ok();
        Ok(())
    }

    /// Listen to everybody again. For UDP.
    pub fn release(&mut self) -> io::Result<()> {
        let Sort::Udp { sink, bound } = &mut self.sort else { return Ok(()) };
        *sink = None;
        calls::disconnect(&self.socket)?;
        // A port that the kernel chose is lost with the connection, and taken again here; one that
        // was asked for is kept, and can't be taken twice.
        match self.socket.bind(bound) {
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => Err(e),
            _ => Ok(()),
        }
    }
}

/// A second socket on the port of `first`, for what is not from the peer that `first` is connected to.
fn second_on(first: &Socket, bound: &SockAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let sink = Socket::new(bound.domain(), kind, None)?;
    if bound.is_ipv6() {
        sink.set_only_v6(true)?;
    }
    // Both must agree to share the port; when they do, nobody else may join them.
    first.set_reuse_address(true)?;
    sink.set_reuse_address(true)?;
    let shared = sink.bind(bound);
    first.set_reuse_address(false)?;
    sink.set_reuse_address(false)?;
    shared.map(|()| sink)
}

fn unix(any: &Endpoint, local: Option<&Endpoint>) -> Result<Sockets, OpenError> {
    let (socket, claim) = match local {
        Some(local) => claim::bind(local, Type::DGRAM)?,
        None => {
            let socket = claim::new(any, Type::DGRAM)?;
            calls::autobind(&socket)
                .map_err(|e| OpenError::new(format!("can't name a socket: {}", plain(&e)), "give local"))?;
            (socket, None)
        }
    };
    let vouched = claim.is_none();
    if vouched {
        calls::set(&socket, libc::SOL_SOCKET, libc::SO_PASSCRED, 1).map_err(|e| {
            OpenError::new(format!("can't ask who sends to {any}: {}", plain(&e)), "give a path")
        })?;
    }
    Ok(Sockets { socket, sort: Sort::Unix, vouched, _claim: claim })
}

fn udp(any: &Endpoint, local: Option<&Endpoint>, remote: Option<&Endpoint>) -> Result<Sockets, OpenError> {
    let (socket, bound) = match local {
        Some(local) => (claim::bind(local, Type::DGRAM)?.0, local.clone()),
        None => {
            let anywhere: IpAddr = match any {
                Endpoint::Inet(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
                _ => Ipv4Addr::UNSPECIFIED.into(),
            };
            (claim::new(any, Type::DGRAM)?, Endpoint::Inet(SocketAddr::new(anywhere, 0)))
        }
    };
    // A frame and its headers may be longer than a link's MTU: IP fragments it then.
    for (level, name, value) in [
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
    ] {
        // One of the two is not of this socket's family.
        let _ = calls::set(&socket, level, name, value);
    }
    let mut bound = bound.address()?;
    if local.is_some() {
        let port = socket.local_addr().ok().and_then(|at| at.as_socket()).map_or(0, |at| at.port());
        if let Some(mut at) = bound.as_socket() {
            at.set_port(port);
            bound = at.into();
        }
    }
    let sort = Sort::Udp { bound, sink: None };
    let mut sockets = Sockets { socket, sort, vouched: false, _claim: None };
    if let Some(remote) = remote {
        sockets.aim(&remote.address()?).map_err(|e| {
            OpenError::new(
                format!("can't send to {remote}: {}", plain(&e)),
                "`ip route get` tells how an address is reached",
            )
        })?;
    }
    Ok(sockets)
}

fn join(group: SocketAddr, local: Option<SocketAddr>) -> io::Result<Sockets> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let (address, domain) = (SockAddr::from(group), socket2::Domain::for_address(group));
    let (socket, sender) = (Socket::new(domain, kind, None)?, Socket::new(domain, kind, None)?);
    // All members on this host share the group's port.
    socket.set_reuse_address(true)?;
    match (group, local) {
        (SocketAddr::V4(group), local) => {
            let interface = match local {
                Some(SocketAddr::V4(local)) => *local.ip(),
                _ => Ipv4Addr::UNSPECIFIED,
            };
            socket.bind(&address)?;
            socket.join_multicast_v4_n(group.ip(), &InterfaceIndexOrAddress::Address(interface))?;
            // Only this group, not every one that anybody on this host has joined.
            calls::set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)?;
            if !interface.is_unspecified() {
                sender.set_multicast_if_v4(&interface)?;
            }
            sender.set_multicast_ttl_v4(1)?;
            sender.set_multicast_loop_v4(true)?;
        }
        (SocketAddr::V6(group), local) => {
            let interface = match (group.scope_id(), local) {
                (0, Some(SocketAddr::V6(local))) => local.scope_id(),
                (index, _) => index,
            };
            socket.set_only_v6(true)?;
            socket.bind(&address)?;
            socket.join_multicast_v6(group.ip(), interface)?;
            calls::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0)?;
            if interface != 0 {
                sender.set_multicast_if_v6(interface)?;
            }
            sender.set_multicast_hops_v6(1)?;
            sender.set_multicast_loop_v6(true)?;
        }
    }
    if let Some(local) = local {
        sender.bind(&local.into())?;
    }
    sender.connect(&address)?;
    calls::buffers(&sender, BUFFER);
    let own = sender.local_addr()?;
    Ok(Sockets { socket, sort: Sort::Group { sender, own }, vouched: false, _claim: None })
}

fn no_group(group: SocketAddr, local: Option<SocketAddr>, error: &io::Error) -> OpenError {
    let remedy = match (group, local) {
        (_, Some(_)) => "`ip address` lists the addresses and interfaces there are here",
        (SocketAddr::V4(_), None) => "give local, the address of the interface to use (its port may be 0)",
        (SocketAddr::V6(_), None) => "name the interface to use: [ff02::1234%eth0]:5000",
    };
    OpenError::new(format!("can't join the group {group}: {}", plain(error)), remedy)
}
