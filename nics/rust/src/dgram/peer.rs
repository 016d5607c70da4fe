//! Who the guest of a `dgram` door is, and whether it is there.
//!
//! A datagram carries its sender's address, and only the peer's are frames. With `remote` the peer
//! is known; without, it is whoever sends first, until nobody is there any more.
//!
//! Datagram sockets have no connection to lose. What there is: a send that fails because nobody is
//! at the address, which is a carrier that goes down. It comes back with the first datagram from the
//! peer, or when a further try succeeds: a unix address can be tried without sending (`connect` of a
//! socket of its own); a UDP address only by sending. It is sent a frame of the door's own that nobody takes for
//! anything, at most every five seconds, and somebody is there when that was not refused for a second: so a peer that
//! only listens is found again. No guest's frame is lost to it, no carrier flaps, and who sends nothing without a carrier,
//! as bonds and spanning trees do at both ends, gets it back.

use crate::backoff::Backoff;
use crate::socket::claim;
use crate::socket::names::{address_of, path, raw};
use socket2::{SockAddr, Type};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use switch::Nanos;

/// What the sender of a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Peer,
    /// The first one, who is the peer from now on.
    Newcomer,
    Stranger,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Peer {
    /// Where it is; `None`: nobody has sent yet.
    address: Option<SockAddr>,
    /// It was given, not learned.
    fixed: bool,
    up: bool,
    /// A UDP address was sent to. If nothing is refused until `due`, somebody is there.
    asked: bool,
    backoff: Backoff,
    /// When to try again.
    due: Option<Nanos>,
    /// Another name under which the peer's socket file was found, and one under which it was not:
    /// the same question need not be asked for every datagram.
    alias: Vec<u8>,
    unlike: Vec<u8>,
}

impl Peer {
    /// How long a refusal is waited for.
    pub const PATIENCE: Nanos = 1_000_000_000;

    #[must_use]
    pub fn new(address: Option<SockAddr>) -> Self {
        Peer {
            fixed: address.is_some(),
            address,
            up: false,
            asked: false,
            backoff: Backoff::new(),
            due: None,
            alias: Vec::new(),
            unlike: Vec::new(),
        }
    }

    #[must_use]
    pub fn address(&self) -> Option<&SockAddr> {
        self.address.as_ref()
    }

    #[must_use]
    pub fn up(&self) -> bool {
        self.up
    }

    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// Look for it at the beginning. A UDP address is thought to be somebody's until it refuses something.
    pub fn begin(&mut self, now: Nanos) -> io::Result<()> {
        self.asked = true;
        self.look(now).map(drop)
    }

    /// Look for it when `due`. Whether it is to be asked, or an error that says more than "nobody is there".
    pub fn look(&mut self, now: Nanos) -> io::Result<bool> {
        self.due = None;
        let asked = std::mem::take(&mut self.asked);
        let Some(address) = &self.address else { return Ok(false) };
        if !address.is_unix() {
            self.up = asked;
            self.asked = !asked;
            self.due = self.asked.then_some(now + Self::PATIENCE);
            return Ok(self.asked);
        }
        let found = claim::alive(address, Type::DGRAM);
        self.up = matches!(found, Ok(Some(true)));
        if !self.up {
            self.due = Some(now + self.backoff.step());
        }
        found.map(|_| false)
    }

    /// Who sent a datagram.
    #[inline]
    pub fn judge(&mut self, from: &[u8]) -> Sender {
        match &self.address {
            Some(address) if raw(address) == from => Sender::Peer,
            Some(_) => self.judge_name(from),
            None => match address_of(from) {
                Some(address) => {
                    self.address = Some(address);
                    Sender::Newcomer
                }
                None => Sender::Stranger,
            },
        }
    }

    /// A socket file can have several names: `/var/run/x` and `/run/x`. It is the same one if it is
    /// the same file. Relative names mean something else to us than to the sender.
    #[cold]
    fn judge_name(&mut self, from: &[u8]) -> Sender {
        if !self.alias.is_empty() && self.alias == from {
            return Sender::Peer;
        }
        if self.unlike == from {
            return Sender::Stranger;
        }
        let (Some(ours), Some(theirs)) = (self.address.as_ref().and_then(|a| path(raw(a))), path(from))
        else {
            return Sender::Stranger;
        };
        let id = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        if theirs.is_absolute() && id(ours).is_some_and(|ours| id(theirs) == Some(ours)) {
            self.alias = from.to_vec();
            return Sender::Peer;
        }
        self.unlike = from.to_vec();
        Sender::Stranger
    }

    /// It sent something: it is there.
    #[inline]
    pub fn heard(&mut self) {
        if !self.up || self.due.is_some() {
            self.up = true;
            self.asked = false;
            self.due = None;
        }
        self.backoff.reset();
    }

    /// Nobody is there. Returns whether the peer was a learned one, which is forgotten.
    pub fn missing(&mut self, now: Nanos) -> bool {
        (self.up, self.asked) = (false, false);
        self.alias.clear();
        self.unlike.clear();
        if self.fixed {
            self.due = Some(now + self.backoff.step());
            return false;
        }
        self.due = None;
        self.address.take().is_some()
    }
}
