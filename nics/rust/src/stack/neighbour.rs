//! Who has which MAC address: the state behind ARP (RFC 826) and neighbour discovery (RFC 4861, 7).
//!
//! Every address is asked for on its own, so that one that does not answer delays no other, and
//! what is to be sent there waits, a little of it. An address that answers is known for as long as
//! it is heard of; then it is asked again while its old MAC address stays in use. So it is, earlier,
//! when it has been spoken to for a while and says nothing, or when somebody else speaks for it: a
//! machine that came back with another network card is found again after seconds.

use super::packet::Mac;
use crate::offload::Offload;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use switch::Nanos;

/// Neighbours remembered; one more pushes out the one that was unused for longest.
const KNOWN_MAX: usize = 2048;
/// Neighbours being asked for at once; packets to further ones are lost.
const ASKED_MAX: usize = 512;
/// Packets that wait for one neighbour; further ones are lost.
const PARKED_MAX: usize = 256;
/// Bytes that wait for all neighbours (Linux: 208 KiB for each).
const PARKED_BYTES: usize = 1 << 20;
/// RFC 4861, 10: REACHABLE_TIME, DELAY_FIRST_PROBE_TIME, RETRANS_TIMER, MAX_MULTICAST_SOLICIT and
/// MAX_UNICAST_SOLICIT.
const REACHABLE: Nanos = 30_000_000_000;
const PATIENCE: Nanos = 5_000_000_000;
const RETRANSMIT: Nanos = 1_000_000_000;
const TRIES: u8 = 3;

#[derive(Debug)]
struct Known {
    mac: Mac,
    /// Heard of last.
    heard: Nanos,
    /// Somebody said, or it looks, as if it were elsewhere.
    stale: bool,
    /// Since when it is spoken to without being heard.
    spoken: Option<Nanos>,
    used: Nanos,
    /// Times it was asked since, and when it is asked again.
    asked: u8,
    again: Nanos,
}

impl Known {
    fn new(mac: Mac, now: Nanos) -> Self {
        Known { mac, heard: now, stale: false, spoken: None, used: now, asked: 0, again: 0 }
    }
}

#[derive(Debug)]
struct Asked {
    tries: u8,
    again: Nanos,
    parked: Vec<(Box<[u8]>, Offload)>,
}

/// An IP packet that waited, with its offload state.
pub type Parked = (Box<[u8]>, Offload);

/// How to reach a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There.
    To(Mac),
    /// There, but ask whether it still is.
    AskAlso(Mac),
    /// Not known yet: ask and park the packet ...
    Ask,
    /// ... which was asked already.
    Wait,
    /// Too many are being asked for.
    Full,
}

/// What is to be done as time passes.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Ask: everybody, or only who had the address last.
    Ask(IpAddr, Option<Mac>),
    /// Nobody answered. The packets that waited are lost.
    Failed(IpAddr, Vec<Parked>),
}

#[derive(Debug, Default)]
pub struct Neighbours {
    known: BTreeMap<IpAddr, Known>,
    /// Those of them that are being asked again.
    doubted: BTreeSet<IpAddr>,
    asked: BTreeMap<IpAddr, Asked>,
    parked: usize,
}

impl Neighbours {
    /// How to reach `address` now.
    pub fn way(&mut self, address: IpAddr, now: Nanos) -> Way {
        if let Some(known) = self.known.get_mut(&address) {
            known.used = now;
            let spoken = *known.spoken.get_or_insert(now);
            let fresh = !known.stale && now < known.heard + REACHABLE && now < spoken + PATIENCE;
            if fresh || known.asked > 0 {
                return Way::To(known.mac);
            }
            (known.asked, known.again) = (1, now + RETRANSMIT);
            self.doubted.insert(address);
            return Way::AskAlso(known.mac);
        }
        if self.asked.contains_key(&address) {
            return Way::Wait;
        }
        if self.asked.len() >= ASKED_MAX {
            return Way::Full;
        }
        self.asked.insert(address, Asked { tries: 1, again: now + RETRANSMIT, parked: Vec::new() });
        Way::Ask
    }

    /// Have a packet wait for `address`, which is being asked for.
    pub fn park(&mut self, address: IpAddr, packet: &[u8], offload: Offload) {
        if let Some(asked) = self.asked.get_mut(&address)
            && asked.parked.len() < PARKED_MAX
            && self.parked + packet.len() <= PARKED_BYTES
        {
            self.parked += packet.len();
            asked.parked.push((packet.into(), offload));
        }
    }

    /// `address` said that it has `mac`. `asked_us`: it wants to talk to us, so it is worth
    /// remembering; otherwise only what is known or asked for changes. Returns what waited for it.
    pub fn learn(&mut self, address: IpAddr, mac: Mac, asked_us: bool, now: Nanos) -> Vec<Parked> {
        if let Some(known) = self.known.get_mut(&address) {
            *known = Known { used: known.used, ..Known::new(mac, now) };
            self.doubted.remove(&address);
            return Vec::new();
        }
        let parked = self.asked.remove(&address).map(|asked| asked.parked);
        if parked.is_some() || asked_us {
            if self.known.len() >= KNOWN_MAX
                && let Some((&oldest, _)) = self.known.iter().min_by_key(|(_, known)| known.used)
            {
                self.known.remove(&oldest);
                self.doubted.remove(&oldest);
            }
            self.known.insert(address, Known::new(mac, now));
        }
        let parked = parked.unwrap_or_default();
        self.parked -= parked.iter().map(|(packet, _)| packet.len()).sum::<usize>();
        parked
    }

    /// The MAC address known for `address`.
    pub fn mac(&self, address: IpAddr) -> Option<Mac> {
        self.known.get(&address).map(|known| known.mac)
    }

    /// All that are known, in the order of their addresses.
    pub fn all(&self) -> Vec<(IpAddr, Mac)> {
        self.known.iter().map(|(&address, known)| (address, known.mac)).collect()
    }

    /// A packet that `address` sent, or passed on, came from `mac`: if that is who we know, it is still
    /// there, and if not, it may be elsewhere.
    pub fn heard(&mut self, address: IpAddr, mac: Mac, now: Nanos) {
        let Some(known) = self.known.get_mut(&address) else { return };
        if known.mac != mac {
            return self.doubt(address, now);
        }
        (known.heard, known.stale, known.spoken) = (now, false, None);
        if known.asked > 0 {
            known.asked = 0;
            self.doubted.remove(&address);
        }
    }

    /// Somebody else speaks for `address`, who may or may not be right: what is known stays in use, and is
    /// asked for when it is used next (STALE), but not more often than any question is repeated.
    pub fn doubt(&mut self, address: IpAddr, now: Nanos) {
        if let Some(known) = self.known.get_mut(&address)
            && now >= known.heard + RETRANSMIT
        {
            known.stale = true;
        }
    }

    /// Forget everything but what is being asked for: the link was down, others may be there now.
    pub fn flush(&mut self) {
        self.known.clear();
        self.doubted.clear();
    }

    pub fn deadline(&self) -> Option<Nanos> {
        let doubted = self.doubted.iter().filter_map(|address| self.known.get(address).map(|k| k.again));
        self.asked.values().map(|asked| asked.again).chain(doubted).min()
    }

    /// What is due at `now`.
    pub fn tick(&mut self, now: Nanos) -> Vec<Due> {
        let mut due = Vec::new();
        let mut failed = Vec::new();
        for (&address, asked) in &mut self.asked {
            if asked.again > now {
                continue;
            }
            if asked.tries >= TRIES {
                failed.push(address);
            } else {
                asked.tries += 1;
                asked.again = now + RETRANSMIT;
                due.push(Due::Ask(address, None));
            }
        }
        for address in failed {
            let parked = self.asked.remove(&address).map(|asked| asked.parked).unwrap_or_default();
            self.parked -= parked.iter().map(|(packet, _)| packet.len()).sum::<usize>();
            due.push(Due::Failed(address, parked));
        }
        let known = &mut self.known;
        self.doubted.retain(|address| {
            let Some(entry) = known.get_mut(address) else { return false };
            if entry.again > now {
                return true;
            }
            if entry.asked >= TRIES {
                known.remove(address);
                return false;
            }
            entry.asked += 1;
            entry.again = now + RETRANSMIT;
            due.push(Due::Ask(*address, Some(entry.mac)));
            true
        });
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn an_answer_sets_free_what_waited() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.way(ip(1), 0), Way::Ask);
        neighbours.park(ip(1), b"one", Offload::NONE);
        assert_eq!(neighbours.way(ip(1), 1), Way::Wait);
        neighbours.park(ip(1), b"two", Offload::NONE);
        // Another address is asked for at once.
        assert_eq!(neighbours.way(ip(2), 1), Way::Ask);
        let parked = neighbours.learn(ip(1), [2; 6], false, 5);
        assert_eq!(parked.iter().map(|(packet, _)| &packet[..]).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(neighbours.way(ip(1), 6), Way::To([2; 6]));
        assert_eq!(neighbours.parked, 0);
    }

    #[test]
    fn silence_fails_after_three_tries() {
        let mut neighbours = Neighbours::default();
        neighbours.way(ip(1), 0);
        neighbours.park(ip(1), b"lost", Offload::NONE);
        assert_eq!(neighbours.deadline(), Some(SECOND));
        assert_eq!(neighbours.tick(SECOND - 1), []);
        assert_eq!(neighbours.tick(SECOND), [Due::Ask(ip(1), None)]);
        assert_eq!(neighbours.tick(2 * SECOND), [Due::Ask(ip(1), None)]);
        let failed = Due::Failed(ip(1), vec![(b"lost"[..].into(), Offload::NONE)]);
        assert_eq!(neighbours.tick(3 * SECOND), [failed]);
        assert_eq!((neighbours.deadline(), neighbours.parked), (None, 0));
        assert_eq!(neighbours.way(ip(1), 3 * SECOND), Way::Ask);
    }

    #[test]
    fn who_was_not_heard_of_is_asked_while_still_in_use() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(ip(1), [2; 6], true, 0);
        assert_eq!(neighbours.way(ip(1), REACHABLE - 1), Way::To([2; 6]));
        assert_eq!(neighbours.deadline(), None);
        assert_eq!(neighbours.way(ip(1), REACHABLE), Way::AskAlso([2; 6]));
        assert_eq!(neighbours.deadline(), Some(REACHABLE + SECOND));
        assert_eq!(neighbours.way(ip(1), REACHABLE), Way::To([2; 6]));
        assert_eq!(neighbours.tick(REACHABLE + SECOND), [Due::Ask(ip(1), Some([2; 6]))]);
        // Heard of again, by a packet from it.
        neighbours.heard(ip(1), [3; 6], REACHABLE + SECOND);
        assert!(neighbours.deadline().is_some());
        neighbours.heard(ip(1), [2; 6], REACHABLE + SECOND);
        assert_eq!(neighbours.deadline(), None);
        // Never heard of again.
        let mut now = 3 * REACHABLE;
        assert_eq!(neighbours.way(ip(1), now), Way::AskAlso([2; 6]));
        for _ in 0..3 {
            now += SECOND;
            neighbours.tick(now);
        }
        assert_eq!(neighbours.way(ip(1), now), Way::Ask);
    }

    #[test]
    fn who_is_spoken_to_and_says_nothing_is_asked_early() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(ip(1), [2; 6], true, 0);
        assert_eq!(neighbours.way(ip(1), SECOND), Way::To([2; 6]));
        assert_eq!(neighbours.way(ip(1), SECOND + PATIENCE - 1), Way::To([2; 6]));
        neighbours.heard(ip(1), [2; 6], SECOND + PATIENCE - 1);
        // Its silence counts from when it was spoken to again.
        assert_eq!(neighbours.way(ip(1), 3 * PATIENCE), Way::To([2; 6]));
        assert_eq!(neighbours.way(ip(1), 4 * PATIENCE - 1), Way::To([2; 6]));
        assert_eq!(neighbours.way(ip(1), 4 * PATIENCE), Way::AskAlso([2; 6]));
    }

    #[test]
    fn who_speaks_for_another_makes_us_ask_and_no_more() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(ip(1), [2; 6], true, 0);
        neighbours.heard(ip(1), [3; 6], SECOND - 1);
        assert_eq!(neighbours.way(ip(1), SECOND - 1), Way::To([2; 6]), "it was heard itself just now");
        neighbours.heard(ip(1), [3; 6], SECOND);
        assert_eq!(neighbours.way(ip(1), SECOND), Way::AskAlso([2; 6]));
        neighbours.learn(ip(1), [2; 6], false, SECOND);
        assert_eq!(neighbours.way(ip(1), SECOND), Way::To([2; 6]));
    }

    #[test]
    fn strangers_fill_no_memory() {
        let mut neighbours = Neighbours::default();
        assert!(neighbours.learn(ip(1), [2; 6], false, 0).is_empty());
        assert_eq!(neighbours.mac(ip(1)), None);
        for n in 0..10_000 {
            neighbours.learn(ip(n), [2; 6], true, u64::from(n));
            neighbours.way(ip(20_000 + n), 0);
            neighbours.park(ip(20_000 + n), &[0; 9000], Offload::NONE);
            for _ in 0..2 {
                neighbours.park(ip(20_000), &[0; 9], Offload::NONE);
            }
        }
        assert_eq!((neighbours.known.len(), neighbours.asked.len()), (KNOWN_MAX, ASKED_MAX));
        assert!(neighbours.parked <= PARKED_BYTES);
        assert_eq!(neighbours.asked[&ip(20_000)].parked.len(), PARKED_MAX);
        assert_eq!(neighbours.mac(ip(9_999)), Some([2; 6]));
    }
}
