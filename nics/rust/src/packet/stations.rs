//! Who lives in the fabric, as far as an interface must know: what its filter lets in and what the
//! hardware is asked to receive. Shared with the people upstairs, who know when guests come and go.

use super::filter::{self, Mac, STATIONS_MAX};
use super::ring::set;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

/// More addresses than this are not entered one by one: the interface receives everything.
const ADDRESSES_MAX: usize = 128;

const PROMISC: u16 = 1;
const ALLMULTI: u16 = 2;
const UNICAST: u16 = 3;

/// What is to be received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Frames for any station: somebody's addresses are not known beforehand.
    All,
    /// Groups, and frames for these stations; nothing at all without any.
    Only(Vec<Mac>),
}

/// Another way in beside the sockets, which takes some of what is wanted before they see it.
pub trait Takes: Send + std::fmt::Debug {
    /// Take as much of this as it likes, and nothing that is for `host`, the interface itself.
    fn take(&mut self, wanted: &Wanted, host: &Mac) -> io::Result<()>;
}

#[derive(Debug)]
struct Inner {
    sockets: Vec<OwnedFd>,
    beside: Option<Box<dyn Takes>>,
    wanted: Wanted,
    /// Where the sockets are bound to, and its address.
    place: Option<(i32, Mac)>,
    /// Memberships that the kernel was asked for.
    joined: BTreeSet<(u16, Mac)>,
}

/// See the top of this file.
#[derive(Debug)]
pub struct Stations(Mutex<Inner>);

impl Stations {
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Self {
        let joined = BTreeSet::new();
        Stations(Mutex::new(Inner { sockets, beside: None, wanted: Wanted::All, place: None, joined }))
    }

    /// From now on receive this.
    pub fn want(&self, wanted: Wanted) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.wanted = wanted;
        inner.apply()
    }

    /// The sockets are bound elsewhere, or nowhere: what they had joined there is over.
    pub(super) fn moved(&self, place: Option<(i32, Mac)>) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.place.map(|(index, _)| index) != place.map(|(index, _)| index) {
            inner.joined.clear();
        }
        inner.place = place;
        inner.apply()
    }

    /// Others receive from now on; where they are bound to is told next.
    pub(super) fn replace(&self, sockets: Vec<OwnedFd>) {
        let mut inner = self.0.lock();
        inner.sockets = sockets;
        inner.place = None;
        inner.joined.clear();
    }

    /// From now on this takes what it can, or nothing does beside the sockets.
    pub fn beside(&self, other: Option<Box<dyn Takes>>) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.beside = other;
        inner.apply()
    }

    /// The port is gone: hold no socket.
    pub(super) fn close(&self) {
        let mut inner = self.0.lock();
        inner.sockets.clear();
        (inner.beside, inner.place) = (None, None);
    }
}

impl Inner {
    fn apply(&mut self) -> io::Result<()> {
        let Some((index, host)) = self.place else { return Ok(()) };
        let none = Mac::default();
        let (program, joined) = match &self.wanted {
            Wanted::Only(macs) if macs.is_empty() => (filter::nothing(), BTreeSet::new()),
            Wanted::Only(macs) if macs.len() <= STATIONS_MAX => {
                let mut joined = BTreeSet::from([(ALLMULTI, none)]);
                if macs.len() <= ADDRESSES_MAX {
                    joined.extend(macs.iter().map(|mac| (UNICAST, *mac)));
                } else {
                    joined.insert((PROMISC, none));
                }
                (filter::only(macs), joined)
            }
            _ => (filter::all_but(&host), BTreeSet::from([(PROMISC, none), (ALLMULTI, none)])),
        };
        for socket in &self.sockets {
            filter::attach(socket, &program)?;
        }
        // Memberships belong to the interface: one socket asks for all. New ones first, so that
        // nothing is missed in between.
        let Some(socket) = self.sockets.first() else { return Ok(()) };
        for member in joined.difference(&self.joined) {
            set(socket, libc::PACKET_ADD_MEMBERSHIP, request(index, *member))?;
        }
        for member in self.joined.difference(&joined) {
            // It may be gone with the interface.
            let _ = set(socket, libc::PACKET_DROP_MEMBERSHIP, request(index, *member));
        }
        self.joined = joined;
        self.beside.as_mut().map_or(Ok(()), |other| other.take(&self.wanted, &host))
    }
}

fn request(index: i32, (kind, mac): (u16, Mac)) -> libc::packet_mreq {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    libc::packet_mreq { mr_ifindex: index, mr_type: kind, mr_alen: 6, mr_address: address }
}
