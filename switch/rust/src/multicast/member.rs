//! What one port wants of one group: the machine of RFC 3376, 6.2 to 6.4, and RFC 3810, 7.2 to 7.4.

use crate::{Nanos, PortId};
use std::net::IpAddr;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub port: PortId,
    /// On whose account it is: the port's, or that of a guest behind a link (`account.rs`).
    pub account: PortId,
    /// Somebody there wants all but some sources, until then; 0: nobody does.
    pub exclude: Nanos,
    /// Sources that somebody wants, and until when. With `exclude`, 0: those that nobody wants.
    pub sources: Vec<(IpAddr, Nanos)>,
    /// An IGMPv1 host, which never says that it leaves, is there until then.
    pub first: Nanos,
    /// A host of an old version, which wants all sources, is there until then (7.3.2).
    pub old: Nanos,
    /// Questions still to ask, and when the next one.
    pub questions: u8,
    pub ask: Nanos,
    /// When its timer is set for.
    pub timer: Nanos,
}

impl Member {
    pub fn new(port: PortId, account: PortId) -> Member {
        Member {
            port,
            account,
            exclude: 0,
            sources: vec![],
            first: 0,
            old: 0,
            questions: 0,
            ask: 0,
            timer: 0,
        }
    }

    /// When it ends, if nothing more is heard.
    pub fn until(&self) -> Nanos {
        self.sources.iter().map(|source| source.1).fold(self.exclude, Nanos::max)
    }

    pub fn next(&self) -> Nanos {
        let ask = if self.questions > 0 { self.ask } else { Nanos::MAX };
        let excluded = if self.exclude > 0 { self.exclude } else { Nanos::MAX };
        let timed = self.sources.iter().map(|source| source.1).filter(|&until| until > 0);
        timed.fold(ask.min(excluded), Nanos::min)
    }

    /// A question about the group alone: nothing that was heard of it holds longer than until `at`.
    pub fn lower(&mut self, at: Nanos) {
        if self.exclude > 0 {
            self.exclude = self.exclude.min(at);
        } else {
            self.sources.iter_mut().for_each(|source| source.1 = source.1.min(at));
        }
    }

    /// Timers that are over: of a source that somebody wanted (6.3), and of the mode (6.5).
    pub fn age(&mut self, now: Nanos) {
        if self.exclude <= now {
            self.exclude = 0;
            self.sources.retain(|source| source.1 > now);
        }
        self.sources.iter_mut().filter(|source| source.1 <= now).for_each(|source| source.1 = 0);
    }

    /// What frames go by: whether sources that are not named are wanted, and which of the named ones are.
    pub fn filter(&self) -> (bool, Vec<(IpAddr, bool)>) {
        (self.exclude > 0, self.sources.iter().map(|source| (source.0, source.1 > 0)).collect())
    }

    /// A record's sources are wanted until then. `room`: for so many more.
    pub fn include(&mut self, sources: &[IpAddr], until: Nanos, mut room: usize) {
        for &source in sources {
            if let Some(known) = self.sources.iter_mut().find(|known| known.0 == source) {
                known.1 = until;
            } else if room > 0 {
                room -= 1;
                self.sources.push((source, until));
            } else if self.exclude == 0 {
                self.exclude = until;
                self.sources.clear();
                return;
            }
        }
    }

    /// All sources are wanted until then, but a record's that nobody else wants; those that nobody has named
    /// yet, and all others want, as long as `unnamed` says.
    pub fn exclude(&mut self, sources: &[IpAddr], until: Nanos, unnamed: Nanos, room: usize) {
        let before = std::mem::take(&mut self.sources);
        let had = |source: &IpAddr| before.iter().find(|known| known.0 == *source);
        let others = if self.exclude > 0 { unnamed } else { 0 };
        let mut room = room + before.len();
        for source in sources {
            if room > 0 && !self.sources.iter().any(|known| known.0 == *source) {
                room -= 1;
                self.sources.push((*source, had(source).map_or(others, |known| known.1)));
            }
        }
        self.exclude = until;
    }
}
