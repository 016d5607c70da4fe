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

mod aside;
mod filter;
mod lanes;
mod link;
mod ring;
mod send;
mod stations;

use crate::context::{Context, EventKind};
use crate::fair::FairQueue;
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::inside::Inside;
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::{Joiner, Offload};
use crate::poller::{Interest, Readiness};
use crate::socket::calls;
pub use filter::Mac;
use lanes::{Lanes, packet_socket};
use link::{Link, Links};
use ring::Slot;
pub use stations::{Stations, Takes, Wanted};
use std::io;
use std::os::fd::OwnedFd;
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

/// Descriptors by their `sub`: the socket that sends; netlink; other sockets.
const PACKETS: u16 = 0;
const LINKS: u16 = 1;
const MORE: u16 = 2;

/// How an interface is used.
#[derive(Clone, Debug)]
pub struct Options {
    pub interface: String,
    /// Exchange super-frames and frames without checksum.
    pub offload: bool,
    /// Sockets that share what comes in.
    pub queues: usize,
}

/// AF_PACKET on an interface.
#[derive(Debug)]
pub struct PacketNic {
    lanes: Lanes,
    /// Where more sockets are opened, if not here.
    inside: Option<Inside>,
    links: Links,
    stations: Arc<Stations>,
    options: Options,
    /// The interface, while there is one.
    link: Option<Link>,
    /// How often there was none.
    gone: u64,
    up: bool,
    caps: Caps,
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
    /// namespace that the interface is in, with a descriptor of it unless it is ours. ENODEV: there is no
    /// such interface.
    pub fn new(
        socket: OwnedFd,
        links: OwnedFd,
        netns: Option<&OwnedFd>,
        options: Options,
    ) -> io::Result<Self> {
        let inside = netns.filter(|_| options.queues > 1).map(Inside::new).transpose()?;
        let lanes = Lanes::new(socket, options.queues, inside.as_ref())?;
        let stations = Arc::new(Stations::new(copies(&lanes)?));
        let mut nic = PacketNic {
            lanes,
            inside,
            links: Links::new(links)?,
            stations,
            options,
            link: None,
            gone: 0,
            up: true,
            caps: Caps::plain(1500 + 14),
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

    /// How often it went: it has another number by then, or was away and lost what was bound to it.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
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
        if let Err(e) = self.ask() {
            self.log(format!("{}: rtnetlink: {e}", self.options.interface));
        }
        self.hear();
    }

    fn ask(&self) -> io::Result<()> {
        let (index, name) =
            self.link.as_ref().map_or((0, &self.options.interface), |link| (link.index, &link.name));
        self.links.ask(index, name)
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
            // That it went may be what was lost; but its sockets know.
            if self.link.as_ref().is_some_and(|link| self.lanes.have_left(link.index)) {
                self.went();
            }
            // Its answer comes with the next round.
            let _ = self.ask();
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
                if let Err(e) = self.settle(new.index) {
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
        self.gone += 1;
        self.update(|nic| nic.link = None);
        let _ = self.stations.moved(None);
        // Like what is lost on a wire: it was sent.
        self.queue.clear();
        self.unblock();
    }

    /// The interface is this one now.
    fn settle(&mut self, index: i32) -> io::Result<()> {
        if self.lanes.is_fixed() {
            let first = packet_socket(self.inside.as_ref())?;
            let fresh = Lanes::new(first, self.options.queues, self.inside.as_ref())?;
            self.overrun += self.lanes.count();
            self.unwatch();
            self.lanes = fresh;
            self.stations.replace(copies(&self.lanes)?);
            self.watch_all()?;
        }
        self.lanes.bind(index)
    }

    fn watch_all(&self) -> io::Result<()> {
        let Some(cx) = &self.cx else { return Ok(()) };
        for (sub, socket) in std::iter::once(PACKETS).chain(MORE..).zip(self.lanes.sockets()) {
            cx.poller.add(socket, cx.port, sub, Interest::READ)?;
        }
        Ok(())
    }

    fn unwatch(&mut self) {
        self.blocked = false;
        if let Some(cx) = &self.cx {
            self.lanes.sockets().for_each(|socket| cx.poller.remove(socket));
        }
    }
}

/// The sockets once more, for who decides what comes in by them.
fn copies(lanes: &Lanes) -> io::Result<Vec<OwnedFd>> {
    lanes.sockets().map(OwnedFd::try_clone).collect()
}

/// A frame as it came, in `bytes`: room for a tag, header, Ethernet. Who wrote the header is another
/// kernel, or its user, so nothing of it is believed.
#[inline]
fn received<'a>(slot: &Slot, bytes: &'a mut [u8]) -> Option<Frame<'a>> {
    const AT: usize = TAG + HEADER;
    let header = bytes.get(TAG..)?.first_chunk::<HEADER>()?;
    let mut offload = Offload::from_bytes(header);
    let mut at = AT;
    if let Some((tpid, tci)) = slot.tag() {
        // The addresses move forward, and the tag stands behind them again.
        let front = bytes.get_mut(HEADER..AT + 12)?;
        front.copy_within(TAG.., 0);
        front[12..14].copy_from_slice(&tpid.to_be_bytes());
        front[14..].copy_from_slice(&tci.to_be_bytes());
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
        cx.poller.add(&self.links, cx.port, LINKS, Interest::READ)?;
        self.cx = Some(cx);
        self.watch_all()
    }

    fn detach(&mut self) {
        self.unwatch();
        if let Some(cx) = self.cx.take() {
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
            for socket in self.lanes.sockets() {
                let _ = calls::get::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_ERROR);
            }
        }
        if readiness.write && self.blocked {
            self.drain(now);
        }
        self.lanes.ready()
    }

    fn rx_burst<'a>(&'a mut self, _now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut room = arena.bytes();
        let (mut bytes, mut losing) = (0, false);
        self.lanes.turn();
        while burst.len() < BURST && self.lanes.lent() < BURST && bytes < BURST_BYTES && room.len() >= WHOLE {
            let Some(slot) = self.lanes.next() else { break };
            losing |= slot.status & libc::TP_STATUS_LOSING != 0;
            let frame = if slot.status & libc::TP_STATUS_COPY != 0 {
                let Some(len) = self.lanes.whole(&slot, &mut room[TAG..WHOLE]) else {
                    self.lanes.lose();
                    continue;
                };
                if TAG + len > WHOLE {
                    self.malformed += 1;
                    continue;
                }
                let (mine, rest) = std::mem::take(&mut room).split_at_mut(TAG + len);
                room = rest;
                received(&slot, mine)
            } else if slot.here < slot.len {
                // There was no room to put it aside.
                self.lanes.lose();
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
            self.lanes.release();
        }
        if self.lanes.end(losing) { Rx::More } else { Rx::Idle }
    }

    fn rx_done(&mut self) {
        self.lanes.release();
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
        !self.lanes.ready()
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        self.overrun += self.lanes.take_lost();
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
