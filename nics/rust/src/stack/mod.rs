//! `stack`: a guest that is a TCP/IP host in this process.
//!
//! # Theory of operation
//!
//! A [`Guest`](guest::Guest) is a host without I/O: Ethernet frames and a time in, frames out. The
//! engine's side of it, [`StackNic`], copies frames that arrive into an inbox; when it is asked for
//! frames, it has the guest look at the inbox and fill a burst, in the engine's own memory. The far
//! end, [`StackEnd`], is what a program does with the guest: sockets. Both share one lock; the engine
//! only tries it, and takes its turn again when the far end is just copying.
//!
//! TCP is smoltcp's. The layers below and beside it are small and here, because a host among hostile
//! neighbours needs more of them than smoltcp's own interface has (0.14):
//!
//!  * after an unanswered ARP request smoltcp asks for no other address for a second, so one
//!    neighbour that is not there stops the guest from meeting two hundred that are: `neighbour.rs`;
//!  * IPv6 packets are neither fragmented nor put together, IPv4 ones in buffers that every guest
//!    would hold whether used or not: `fragment.rs`;
//!  * membership reports of MLDv2 say "leave" when they mean "join": `multicast.rs`;
//!  * a listening socket is one connection; a backlog is to be made of several: `listen.rs`;
//!  * an unreachable host, and ICMP errors, are told to nobody: `icmp.rs`, `resolve.rs`;
//!  * every packet and every poll looks through all sockets: `sockets.rs` and `tcp.rs` show smoltcp
//!    one at a time.
//!
//! What is not here: routing between interfaces, IPsec, SLAAC and DHCP clients (addresses are given),
//! path MTU discovery, TCP timestamps, received SACK blocks (smoltcp has none), urgent data. smoltcp waits at least a
//! second before it sends again what was lost, and having waited twice as long, does so until it has measured a round
//! trip of new data: bulk over a wire that loses much takes long.
//!
//! Everything random follows from the seed: the same frames at the same times give the same frames.
//!
//! Reading order: `packet.rs`, `address.rs`, `guest.rs`, then by interest.

mod address;
mod conn;
mod end;
mod fragment;
mod guest;
mod icmp;
mod inbox;
mod linger;
mod listen;
mod memory;
mod multicast;
mod neighbour;
mod nic;
mod outbox;
mod outcome;
mod packet;
mod raw;
mod resolve;
mod sockets;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use address::Net;
pub use conn::KeepAlive;
pub use end::{ALL, StackEnd};
pub use nic::StackNic;
pub use sockets::{SocketId, StackError, ready};
pub use udp::UdpSettings;

use end::Shared;
use guest::Guest;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct StackConfig {
    pub mac: [u8; 6],
    /// Its addresses; the link-local IPv6 address comes by itself.
    pub addresses: Vec<Net>,
    /// Where packets to other networks go; the first of each version counts.
    pub gateways: Vec<IpAddr>,
    /// The longest IP packet on the link, in bytes.
    pub mtu: u32,
    /// What everything random follows from.
    pub seed: u64,
    /// Bytes that a TCP connection buffers each way.
    pub receive_buffer: u32,
    pub send_buffer: u32,
    /// Send TCP super-frames, which are cut into segments where it has to be.
    pub gso: bool,
    /// Sockets there may be, those included that others opened by connecting.
    pub sockets: usize,
    /// Bytes of frames that wait to be looked at.
    pub inbox: usize,
}

impl StackConfig {
    /// A guest with the defaults, without addresses.
    #[must_use]
    pub fn new(mac: [u8; 6], seed: u64) -> Self {
        StackConfig {
            mac,
            addresses: Vec::new(),
            gateways: Vec::new(),
            mtu: 1500,
            seed,
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            gso: true,
            sockets: 4096,
            inbox: 1 << 20,
        }
    }
}

/// Why a guest can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadConfig {
    Mac,
    Address(IpAddr),
    Gateway(IpAddr),
    Mtu(u32),
    Buffer(u32),
    Sockets(usize),
    Inbox(usize),
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadConfig::Mac => write!(f, "a group or zero MAC address can't be a station's"),
            BadConfig::Address(address) => write!(f, "{address} with this prefix can't be a host's address"),
            BadConfig::Gateway(address) => write!(f, "{address} can't be a gateway"),
            BadConfig::Mtu(mtu) => write!(f, "an MTU of {mtu} bytes is not in 1280..=65521"),
            BadConfig::Buffer(size) => write!(f, "a buffer of {size} bytes is not in 4 KiB..=16 MiB"),
            BadConfig::Sockets(count) => write!(f, "{count} sockets are not in 1..=65535"),
            BadConfig::Inbox(size) => write!(f, "an inbox of {size} bytes is not in 128 KiB..=64 MiB"),
        }
    }
}

impl std::error::Error for BadConfig {}

/// A host's own address, or another's that one can send to.
fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || address.is_loopback() || broadcast)
}

impl StackConfig {
    fn check(&self) -> Result<(), BadConfig> {
        if self.mac[0] & 1 != 0 || self.mac == [0; 6] {
            return Err(BadConfig::Mac);
        }
        for net in &self.addresses {
            let longest = if net.address.is_ipv4() { 32 } else { 128 };
            if !is_unicast(net.address) || net.prefix > longest {
                return Err(BadConfig::Address(net.address));
            }
        }
        if let Some(gateway) = self.gateways.iter().find(|gateway| !is_unicast(**gateway)) {
            return Err(BadConfig::Gateway(*gateway));
        }
        // IPv6 needs 1280 (RFC 8200, 5); a frame's length field ends at 65,521 + 14.
        if !(1280..=65_521).contains(&self.mtu) {
            return Err(BadConfig::Mtu(self.mtu));
        }
        for size in [self.receive_buffer, self.send_buffer] {
            if !(4 << 10..=16 << 20).contains(&size) {
                return Err(BadConfig::Buffer(size));
            }
        }
        if !(1..=65_535).contains(&self.sockets) {
            return Err(BadConfig::Sockets(self.sockets));
        }
        if !(128 << 10..=64 << 20).contains(&self.inbox) {
            return Err(BadConfig::Inbox(self.inbox));
        }
        Ok(())
    }
}

/// A guest: its NIC, to be attached to a port, and its far end.
pub fn stack(config: &StackConfig) -> Result<(StackNic, StackEnd), BadConfig> {
    config.check()?;
    let shared = Arc::new(Shared::new(Guest::new(config)));
    let nic = StackNic::new(shared.clone(), config);
    Ok((nic, StackEnd(shared)))
}
