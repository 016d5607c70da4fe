//! `dgram`: one frame a datagram, over unix sockets or UDP. QEMU `-netdev dgram` and
//! `socket,udp=`/`mcast=`, vfkit, libkrun, GNS3 and Dynamips NIO UDP, VirtualBox UDPTunnel.
//!
//! A burst is one `recvmmsg`, and one `sendmmsg`. What the kernel does not take now waits in a
//! bounded ring. That matters most for unix sockets: Linux lets only `net.unix.max_dgram_qlen`
//! datagrams (10 by default) wait at a receiver that is not connected to us, fewer than a burst, and
//! it does not tell us when there is room again (a socket that is not connected is always writable).
//! So the ring is tried again on a timer, soon at first, and less and less often while a guest does
//! not read.

mod peer;
mod sockets;
#[cfg(test)]
mod tests;

use crate::context::Context;
use crate::error::OpenError;
use crate::frame::{Arena, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::{Interest, Readiness};
use crate::socket::claim::plain;
use crate::socket::datagrams::{Datagrams, End, Outcome, Wire};
use crate::socket::many::{self, Datagram, Inbox};
use crate::socket::{Endpoint, calls, names};
use crate::told::Told;
use peer::{Peer, Sender};
use sockets::{Sockets, Sort};
use std::io;
use switch::{DropReason, Nanos};

/// A `dgram` door.
#[derive(Debug)]
pub struct DgramNic {
    sockets: Option<Sockets>,
    peer: Peer,
    /// The group is always there.
    group: bool,
    max_frame: u32,
    outgoing: Datagrams,
    /// The ring is to be tried again then; the wait before that.
    stuck: Option<Nanos>,
    wait: Nanos,
    cx: Option<Context>,
    link: bool,
    told: Told,
    malformed: u64,
    strangers: u64,
    stranger_told: bool,
    trouble_told: Option<i32>,
}

impl DgramNic {
    const SOCKET: u16 = 0;
    const SINK: u16 = 1;
    const FIRST_WAIT: Nanos = 200_000;
    const LONGEST_WAIT: Nanos = 20_000_000;
    /// Begins the frame by which a UDP peer is asked whether it is there: to bridges alone, of a kind for experiments.
    /// No bridge forwards it (802.1Q, 8.6.3), and no host knows what it is.
    const QUESTION: &'static [u8; 14] = b"\x01\x80\xc2\0\0\x0e\x02vnet\0\x88\xb5";
    /// vfkit says who it is.
    const GREETING: &'static [u8] = b"VFKT";

    /// Open the door: `local` is our end and `remote` the guest's; at least one must be given.
    pub fn open(local: Option<&Endpoint>, remote: Option<&Endpoint>) -> Result<Self, OpenError> {
        let sockets = Sockets::open(local, remote)?;
        let group = matches!(sockets.sort, Sort::Group { .. });
        let address = remote.filter(|_| !group).map(Endpoint::address).transpose()?;
        let max_frame = match local.or(remote).map(Endpoint::domain) {
            Some(socket2::Domain::IPV4) => 65_535 - 20 - 8,
            Some(socket2::Domain::IPV6) => 65_535 - 8,
            _ => FRAME_MAX as u32,
        };
        Ok(DgramNic {
            sockets: Some(sockets),
            peer: Peer::new(address),
            group,
            max_frame,
            outgoing: Datagrams::default(),
            stuck: None,
            wait: Self::FIRST_WAIT,
            cx: None,
            link: true,
            told: Told::default(),
            malformed: 0,
            strangers: 0,
            stranger_told: false,
            trouble_told: None,
        })
    }

    /// Where a UDP door is bound, with the port that the kernel chose if 0 was asked for.
    #[must_use]
    pub fn bound_at(&self) -> Option<Endpoint> {
        self.sockets.as_ref()?.bound_at()
    }

    fn log(&self, line: String) {
        if let Some(cx) = &self.cx {
            cx.log(line);
        }
    }

    fn announce(&mut self) {
        self.told.tell(self.carrier(), self.cx.as_ref());
    }

    fn is_open(&self) -> bool {
        self.link && self.sockets.is_some()
    }

    /// Nobody is at the peer's address.
    fn missing(&mut self, error: &io::Error, now: Nanos) {
        self.outgoing.clear();
        self.stuck = None;
        if self.peer.missing(now)
            && let Some(sockets) = &mut self.sockets
            && let Err(e) = sockets.release()
        {
            self.log(format!("can't listen to a new peer: {}", plain(&e)));
        }
        self.trouble(error);
        self.announce();
    }

    /// Tell an error that says more than "nobody is there", once.
    fn trouble(&mut self, error: &io::Error) {
        let code = error.raw_os_error();
        let plainly = matches!(code, Some(libc::ECONNREFUSED | libc::ENOENT | libc::EHOSTUNREACH));
        if !plainly && self.trouble_told != code {
            self.trouble_told = code;
            self.log(format!("can't send to its peer now: {}; trying again", plain(error)));
        }
    }

    /// Ask whether somebody is at an address at which nobody was.
    fn ask(&mut self, now: Nanos) {
        let Some(sockets) = &self.sockets else { return };
        let mut frame = [0; 60];
        frame[..14].copy_from_slice(Self::QUESTION);
        let asked = if self.link {
            sockets.sender().send(&frame)
        } else {
            Err(io::Error::from_raw_os_error(libc::EHOSTUNREACH))
        };
        if let Err(error) = asked {
            self.missing(&error, now);
        }
    }

    /// Send what waits.
    fn drain(&mut self, now: Nanos) {
        self.stuck = None;
        if let Some(wire) = wire(self.sockets.as_ref(), &self.peer, self.group) {
            let outcome = self.outgoing.drain(wire);
            self.sent(outcome, now);
        }
    }

    fn sent(&mut self, outcome: Outcome, now: Nanos) {
        if outcome.moved {
            self.wait = Self::FIRST_WAIT;
            self.trouble_told = None;
        }
        if let Some(error) = outcome.trouble {
            self.trouble(&error);
        }
        match outcome.end {
            End::Done => {}
            End::Full => {
                self.stuck = Some(now + self.wait);
                self.wait = (self.wait * 2).min(Self::LONGEST_WAIT);
            }
            End::Missing(error) => self.missing(&error, now),
        }
    }

    fn heard(&mut self) {
        self.peer.heard();
        if !self.told.is_up() {
            self.trouble_told = None;
            self.announce();
        }
    }

    /// The first sender is the peer from now on.
    fn adopt(&mut self) {
        let (Some(sockets), Some(address)) = (&mut self.sockets, self.peer.address()) else { return };
        if let Err(e) = sockets.aim(address) {
            self.log(format!("can't aim at the first sender: {}", plain(&e)));
        }
        self.watch_sink();
    }

    fn watch_sink(&self) {
        if let (Some(Sockets { sort: Sort::Udp { sink: Some(sink), .. }, .. }), Some(cx)) =
            (&self.sockets, &self.cx)
        {
            // Not watched it just is not counted; it is closed when the peer changes or the door does.
            let _ = cx.poller.add(sink, cx.port, Self::SINK, Interest::READ);
        }
    }

    /// A datagram from somebody else: counted, and told once.
    fn stranger(&mut self, from: &[u8], n: u64) {
        self.strangers += n;
        if !self.stranger_told {
            self.stranger_told = true;
            let peer = match self.peer.address() {
                Some(address) => format!("only {} may send", names::shown(names::raw(address))),
                None => "it can't be answered".into(),
            };
            self.log(format!("dropped a datagram from {}: {peer}", names::shown(from)));
        }
    }

    /// A datagram from a user who is nobody's guest here: counted, and told once.
    fn foreigner(&mut self, user: Option<u32>) {
        self.strangers += 1;
        if !self.stranger_told {
            self.stranger_told = true;
            let who = user.map_or_else(|| "nobody the kernel knows".into(), |uid| format!("user {uid}"));
            self.log(format!("dropped a datagram from {who}: an abstract name is for our own user and root"));
        }
    }

    /// Whether a datagram is a frame of the peer's.
    fn accept(&mut self, &Datagram { bytes, from, user, cut }: &Datagram<'_, '_>) -> bool {
        if self.sockets.as_ref().is_some_and(|sockets| sockets.vouched)
            && !user.is_some_and(calls::is_trusted)
        {
            self.foreigner(user);
            return false;
        }
        if let Some(Sockets { sort: Sort::Group { own, .. }, .. }) = &self.sockets {
            if names::raw(own) == from {
                return false;
            }
        } else {
            match self.peer.judge(from) {
                Sender::Peer => {}
                Sender::Newcomer => self.adopt(),
                Sender::Stranger => {
                    self.stranger(from, 1);
                    return false;
                }
            }
            self.heard();
        }
        if bytes == Self::GREETING {
            return false;
        }
        if cut || bytes.is_empty() || bytes.len() > FRAME_MAX {
            self.malformed += 1;
            return false;
        }
        true
    }
}

/// Where what is sent goes; None: the door is closed.
fn wire<'a>(sockets: Option<&'a Sockets>, peer: &'a Peer, group: bool) -> Option<Wire<'a>> {
    let sockets = sockets?;
    let to = match sockets.sort {
        Sort::Unix => peer.address(),
        _ => None,
    };
    Some(Wire { socket: sockets.sender(), to, lossy: group })
}

impl Nic for DgramNic {
    fn kind(&self) -> &'static str {
        "dgram"
    }

    fn caps(&self) -> Caps {
        Caps::plain(self.max_frame)
    }

    fn carrier(&self) -> bool {
        self.is_open() && (self.group || self.peer.up())
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        // Nothing on this wire could show it to the guest.
        self.link = up;
        self.announce();
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        if let Some(sockets) = &self.sockets {
            cx.poller.add(&sockets.socket, cx.port, Self::SOCKET, Interest::READ)?;
        }
        self.cx = Some(cx);
        self.watch_sink();
        if let Err(e) = self.peer.begin(now) {
            self.trouble(&e);
        }
        self.announce();
        Ok(())
    }

    fn detach(&mut self) {
        if let (Some(cx), Some(sockets)) = (&self.cx, &self.sockets) {
            cx.poller.remove(&sockets.socket);
            if let Sort::Udp { sink: Some(sink), .. } = &sockets.sort {
                cx.poller.remove(sink);
            }
        }
        self.sockets = None;
        self.outgoing.clear();
        self.stuck = None;
        self.announce();
        self.cx = None;
    }

    fn ready(&mut self, sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        if sub == Self::SINK
            && let Some(Sockets { sort: Sort::Udp { sink: Some(sink), .. }, .. }) = &self.sockets
            && let Ok((n, from)) = many::discard(sink)
        {
            self.stranger(&from, n as u64);
        }
        true
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let Some(sockets) = &self.sockets else { return Rx::Idle };
        let mut inbox = Inbox::new();
        let room = burst.room();
        match inbox.receive(&sockets.socket, arena, room, sockets.vouched) {
            Ok(n) => {
                for datagram in inbox.datagrams(arena) {
                    if self.accept(&datagram) {
                        burst.push(Frame::flat(datagram.bytes, Offload::NONE));
                    }
                }
                if n == room { Rx::More } else { Rx::Idle }
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENOBUFS) => Rx::Idle,
                // The answer to a datagram that was sent before. Behind it there may be more.
                _ => {
                    self.missing(&e, now);
                    Rx::More
                }
            },
        }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut done = 0;
        if self.carrier()
            && self.stuck.is_none()
            && let Some(wire) = wire(self.sockets.as_ref(), &self.peer, self.group)
        {
            let (taken, outcome) = self.outgoing.send(wire, frames, report);
            done = taken;
            self.sent(outcome, now);
        }
        if !self.carrier() {
            report.drop_rest(done, frames.len(), DropReason::TxNoCarrier);
            return;
        }
        self.outgoing.keep(frames, done, report);
    }

    fn flush(&mut self, now: Nanos) -> bool {
        if self.stuck.is_none() {
            self.drain(now);
        }
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        match (self.stuck, self.peer.due()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn tick(&mut self, now: Nanos) -> bool {
        if self.stuck.is_some_and(|at| at <= now) {
            self.drain(now);
        }
        if self.peer.due().is_some_and(|at| at <= now) {
            match self.peer.look(now) {
                Ok(true) => self.ask(now),
                Ok(false) => {}
                Err(e) => self.trouble(&e),
            }
            self.announce();
        }
        false
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        if self.malformed > 0 {
            return Some((DropReason::DoorMalformed, std::mem::take(&mut self.malformed)));
        }
        (self.strangers > 0).then(|| (DropReason::DoorStranger, std::mem::take(&mut self.strangers)))
    }
}
