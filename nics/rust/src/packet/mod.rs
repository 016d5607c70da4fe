//! `packet`: AF_PACKET on an interface of this host, the usual uplink.
//!
//! What comes in on the interface is ours as well as the host's (filter.rs says what of it), what we
//! send goes out there and to nobody on this host. Frames are read from a ring in shared memory
//! (ring.rs) and sent a burst in a call. Both ways carry the header of virtio-net (PACKET_VNET_HDR),
//! so super-frames pass whole.
//!
//! The kernel takes the outer VLAN tag out of a frame before anybody sees it and tells it beside; it
//! is put back where it was. What others on this host send by the interface we don't see
//! (PACKET_IGNORE_OUTGOING), our own frames included; so two fabrics on one interface do not see each
//! other's guests.
//!
//! What the interface's queue does not take at once waits in a queue that is fair to the guests
//! (`fair.rs`). The socket's own buffer is short on purpose: what is in there is first come, first
//! served.
//!
//! The interface may go down, be renamed, get another MTU, be deleted or moved away, and come again:
//! link.rs tells, and the door follows. By name it is looked for only while there is none.

mod filter;
mod link;
mod ring;
mod send;
mod stations;

use crate::context::{Context, EventKind};
use crate::fair::FairQueue;
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::{Joiner, Offload};
use crate::poller::{Interest, Readiness};
use crate::socket::calls;
pub use filter::Mac;
use link::{Link, Links};
use ring::{Ring, SLOTS, Slot, receive, set};
pub use stations::{Stations, Takes, Wanted};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use switch::{DropReason, Nanos};

const HEADER: usize = Offload::LEN;
const TAG: usize = 4;
/// Room for the longest frame.
const WHOLE: usize = TAG + HEADER + FRAME_MAX;

/// What the socket may hold for super-frames that wait to be read, and for frames on their way out.
const RECEIVE_BUFFER: libc::c_int = 16 << 20;
const SEND_BUFFER: libc::c_int = 256 << 10;
/// Bytes after which a burst ends; see the TAP's.
const BURST_BYTES: usize = 256 << 10;

/// Descriptors by their `sub`.
const PACKETS: u16 = 0;
const LINKS: u16 = 1;

/// How an interface is used.
#[derive(Clone, Debug)]
pub struct Options {
    pub interface: String,
    /// Exchange super-frames and frames without checksum.
    pub offload: bool,
}

/// AF_PACKET on an interface.
#[derive(Debug)]
pub struct PacketNic {
    ring: Ring,
    socket: OwnedFd,
    links: Links,
    stations: Arc<Stations>,
    options: Options,
    /// The interface, while there is one.
    link: Option<Link>,
    up: bool,
    caps: Caps,
    /// Slots that the last burst lent.
    lent: usize,
    /// Slots read since the ring was last found empty.
    backlog: usize,
    fronts: Box<send::Fronts>,
    gather: Vec<u8>,
    /// While the kernel takes UDP super-frames.
    joiner: Option<Joiner>,
    queue: FairQueue,
    /// The socket is watched for room.
    blocked: bool,
    retry: Option<Nanos>,
    overrun: u64,
    malformed: u64,
    cx: Option<Context>,
}

impl PacketNic {
    /// By a packet socket (SOCK_RAW, protocol 0) and a netlink socket (NETLINK_ROUTE) of the
    /// namespace that the interface is in. ENODEV: there is no such interface.
    pub fn new(socket: OwnedFd, links: OwnedFd, options: Options) -> io::Result<Self> {
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
            set(&socket, option, 1)?;
        }
        for (option, plain, bytes) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER),
        ] {
            if calls::set(&socket, libc::SOL_SOCKET, option, bytes).is_err() {
                calls::set(&socket, libc::SOL_SOCKET, plain, bytes)?;
            }
        }
        let ring = Ring::new(&socket)?;
        let stations = Arc::new(Stations::new(vec![socket.try_clone()?]));
        let mut nic = PacketNic {
            ring,
            socket,
            links: Links::new(links)?,
            stations,
            options,
            link: None,
            up: true,
            caps: Caps::plain(1500 + 14),
            lent: 0,
            backlog: 0,
            fronts: Box::new(send::FRONTS),
            gather: Vec::new(),
            joiner: None,
            queue: FairQueue::default(),
            blocked: false,
            retry: None,
            overrun: 0,
            malformed: 0,
            cx: None,
        };
        nic.joiner = nic.options.offload.then(Joiner::new);
        nic.look();
        if nic.link.is_none() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(nic)
    }

    /// What decides about which frames come in.
    #[must_use]
    pub fn stations(&self) -> Arc<Stations> {
        self.stations.clone()
    }

    /// The interface's largest payload in bytes, while there is one.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.mtu)
    }

    /// The interface's number, name and MTU, while there is one.
    pub(crate) fn interface(&self) -> Option<(i32, &str, u32)> {
        self.link.as_ref().map(|link| (link.index, link.name.as_str(), link.mtu))
    }

    fn log(&self, text: impl Into<String>) {
        if let Some(cx) = &self.cx {
            cx.log(text);
        }
    }

    /// Change something that the carrier may depend on, and tell when it did.
    fn update(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.carrier();
        change(self);
        let after = self.carrier();
        if before != after
            && let Some(cx) = &self.cx
        {
            cx.event(EventKind::Carrier(after));
        }
    }

    // -- the interface -----------------------------------------------------------------------------

    /// Ask for the interface of our name, or anew about the one that we have.
    fn look(&mut self) {
        let name = self.link.as_ref().map_or(&self.options.interface, |link| &link.name);
        if let Err(e) = self.links.ask(name) {
            self.log(format!("{name}: rtnetlink: {e}"));
        }
        self.hear();
    }

    fn hear(&mut self) {
        for _ in 0..2 {
            let news = self.links.news();
            for link in news.links {
                self.heard(link);
            }
            if !news.lost {
                return;
            }
            let name = self.link.as_ref().map_or(&self.options.interface, |link| &link.name);
            // Its answer comes with the next round.
            let _ = self.links.ask(name);
        }
    }

    fn heard(&mut self, new: Link) {
        match &self.link {
            Some(old) if old.index == new.index => {
                if new.gone {
                    return self.went();
                }
                if old.name != new.name {
                    self.log(format!("the interface {} is called {} now", old.name, new.name));
                }
                if old.mtu != new.mtu {
                    self.log(format!("{}: its MTU is {} now", new.name, new.mtu));
                }
                let moved = old.mac != new.mac;
                self.follow(new, moved);
            }
            None if !new.gone && new.name == self.options.interface => {
                if let Err(e) = self.bind(new.index) {
                    return self.log(format!("{}: it can't be used: {e}", new.name));
                }
                self.log(format!("{}: the interface is there again", new.name));
                self.follow(new, true);
            }
            _ => {}
        }
    }

    fn follow(&mut self, new: Link, moved: bool) {
        if moved && let Err(e) = self.stations.moved(Some((new.index, new.mac))) {
            self.log(format!("{}: it can't be told what to receive: {e}", new.name));
        }
        // The largest Ethernet frame there may be, with a tag.
        let max_frame = new.mtu.saturating_add(18).min(FRAME_MAX as u32);
        let full = Caps { csum: true, tso4: true, tso6: true, ecn: true, uso: true, max_frame };
        self.caps = if self.options.offload { full } else { Caps::plain(max_frame) };
        self.update(|nic| nic.link = Some(new));
    }

    fn went(&mut self) {
        self.log(format!("{}: the interface is gone; waiting for one of that name", self.options.interface));
        self.update(|nic| nic.link = None);
        let _ = self.stations.moved(None);
        // Like what is lost on a wire: it was sent.
        self.queue.clear();
        self.unblock();
    }

    fn bind(&self, index: i32) -> io::Result<()> {
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: the address lives through the call, and its size is given.
        let ret = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    // -- in ----------------------------------------------------------------------------------------

    /// What the kernel had no room for since the last time.
    fn count_overrun(&mut self) {
        let asked = calls::get(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS);
        if let Ok(libc::tpacket_stats { tp_drops, .. }) = asked {
            self.overrun += u64::from(tp_drops);
        }
    }
}

/// A frame as it came, in `bytes`: room for a tag, header, Ethernet. Who wrote the header is another
/// kernel, or its user, so nothing of it is believed.
#[inline]
fn received<'a>(slot: &Slot, bytes: &'a mut [u8]) -> Option<Frame<'a>> {
    const AT: usize = TAG + HEADER;
    let header = bytes.get(TAG..)?.first_chunk::<HEADER>()?;
    let mut offload = Offload::from_bytes(header);
    let mut at = AT;
    if slot.status & libc::TP_STATUS_VLAN_VALID != 0 {
        // The addresses move forward, and the tag stands behind them again.
        let front = bytes.get_mut(HEADER..AT + 12)?;
        front.copy_within(TAG.., 0);
        let tpid = if slot.status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { slot.tpid } else { 0x8100 };
        front[12..14].copy_from_slice(&tpid.to_be_bytes());
        front[14..].copy_from_slice(&slot.tci.to_be_bytes());
        offload = offload.shifted(TAG as i32);
        at = HEADER;
    }
    let frame = bytes.get(at..)?;
    let offload = offload.vet(frame.len(), frame)?;
    Some(Frame::flat(frame, offload))
}

impl Nic for PacketNic {
    fn kind(&self) -> &'static str {
        "packet"
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn carrier(&self) -> bool {
        self.up && self.link.as_ref().is_some_and(|link| link.running)
    }

    /// The interface is the host's: it stays up, and we take nothing from it and send nothing there.
    fn set_link(&mut self, up: bool, _now: Nanos) {
        self.update(|nic| nic.up = up);
    }

    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        cx.poller.add(&self.socket, cx.port, PACKETS, Interest::READ)?;
        cx.poller.add(&self.links, cx.port, LINKS, Interest::READ)?;
        self.cx = Some(cx);
        Ok(())
    }

    fn detach(&mut self) {
        if let Some(cx) = self.cx.take() {
            cx.poller.remove(&self.socket);
            cx.poller.remove(&self.links);
        }
        self.stations.close();
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        if sub == LINKS {
            self.hear();
            return false;
        }
        if readiness.hangup {
            // The interface went down; that it did is told by rtnetlink. To ask takes it away.
            let _ = calls::get::<libc::c_int>(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR);
        }
        if readiness.write && self.blocked {
            self.drain(now);
        }
        self.ring.ready()
    }

    fn rx_burst<'a>(&'a mut self, _now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut room = arena.bytes();
        let (mut bytes, mut losing) = (0, false);
        while burst.len() < BURST && self.lent < BURST && bytes < BURST_BYTES && room.len() >= WHOLE {
            let Some(slot) = self.ring.next() else { break };
            self.lent += 1;
            self.backlog += 1;
            losing |= slot.status & libc::TP_STATUS_LOSING != 0;
            let frame = if slot.status & libc::TP_STATUS_COPY != 0 {
                let Ok(len) = receive(&self.socket, &mut room[TAG..WHOLE]) else {
                    self.overrun += 1;
                    continue;
                };
                let (mine, rest) = std::mem::take(&mut room).split_at_mut(TAG + len);
                room = rest;
                received(&slot, mine)
            } else if slot.here < slot.len {
                // There was no room to put it aside.
                self.overrun += 1;
                continue;
            } else {
                // SAFETY: the slot is released when the frames of this burst are no longer lent, by
                // `rx_done` or below, and each slot is looked at once.
                unsafe { slot.bytes(TAG + HEADER) }.and_then(|bytes| received(&slot, bytes))
            };
            match frame {
                Some(frame) => {
                    bytes += frame.len();
                    burst.push(frame);
                }
                None => self.malformed += 1,
            }
        }
        if burst.is_empty() {
            self.ring.release(std::mem::take(&mut self.lent));
        }
        let more = self.ring.ready();
        // Of what was lost the next slot tells. After so many there may have been no room for that one.
        if losing || !more && self.backlog > SLOTS / 2 {
            self.count_overrun();
        }
        if more {
            return Rx::More;
        }
        self.backlog = 0;
        Rx::Idle
    }

    fn rx_done(&mut self) {
        self.ring.release(std::mem::take(&mut self.lent));
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        self.send_burst(now, frames, report);
    }

    fn deadline(&self) -> Option<Nanos> {
        self.retry
    }

    fn tick(&mut self, now: Nanos) -> bool {
        if self.retry.take().is_some() {
            self.drain(now);
        }
        false
    }

    fn polled(&self) -> bool {
        true
    }

    fn arm(&mut self) -> bool {
        !self.ring.ready()
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        for (count, reason) in
            [(&mut self.overrun, DropReason::DoorOverrun), (&mut self.malformed, DropReason::DoorMalformed)]
        {
            match std::mem::take(count) {
                0 => {}
                n => return Some((reason, n)),
            }
        }
        None
    }
}
