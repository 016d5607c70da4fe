//! What happens to a frame on its way in (802.1Q 8.6): one burst from one port, frame by frame.
//!
//! The order of the checks is part of what users see, because the first that fails names the drop:
//! port down, runt, malformed tag, giant, source address, link-local destination, VLAN, then learning
//! (sticky stations, the port's limit), and last the destination.
//!
//! Most frames are like the one before from the same port: same addresses, same tags. What was
//! decided then is kept (`Last`) and is still right while the FDB and the configuration have the same
//! version; so a flow costs two comparisons a frame, and no lookup.

use crate::config::{PortConfig, PortMode};
use crate::decision::{Decision, Flood, Out, View};
use crate::egress::longest;
use crate::fdb::{Fdb, Home, Kind, key};
use crate::members::Vlans;
use crate::parse::{self, BROADCAST, Header, Tags, is_group, is_link_local};
use crate::switch::Port;
use crate::{DropReason, Nanos, PortId, Switch, VlanId};

/// The last decision at a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    dst: u64,
    src: u64,
    tags: Tags,
    version: u64,
    decision: Decision,
}

impl Default for Last {
    fn default() -> Self {
        let decision = Decision::dropped(DropReason::Runt);
        // No frame has a destination of 64 bits.
        Last { dst: u64::MAX, src: 0, tags: Tags::NONE, version: 0, decision }
    }
}

impl Switch {
    /// Decide about a burst of frames that came in by `ingress`, in order, and learn from them.
    ///
    /// Takes at most `out.len()` frames and writes one decision for each; returns how many. Counts
    /// received, forwarded and dropped frames at the ingress port. A frame for a port that does not
    /// exist is `port-down`, and counted nowhere.
    #[inline]
    pub fn classify<'a>(
        &mut self,
        now: Nanos,
        ingress: PortId,
        burst: impl IntoIterator<Item = View<'a>>,
        out: &mut [Decision],
    ) -> usize {
        self.fdb.advance(now);
        let Switch { ports, vlans, fdb } = self;
        // In this order, a frame there is no room for stays in the iterator.
        let frames = out.iter_mut().zip(burst);
        let port = ports.get_mut(usize::from(ingress)).and_then(Option::take);
        let Some(mut port) = port else {
            return frames.map(|(out, _)| *out = Decision::dropped(DropReason::PortDown)).count();
        };

        let mut counted = 0;
        let mut bytes = 0;
        let mut forwarded = 0;
        let mut drops = [0u32; DropReason::COUNT];
        let mut last = port.last;
        for (out, view) in frames {
            counted += 1;
            bytes += u64::from(view.len);
            *out = match admit(&port.config, &view) {
                Err(reason) => Decision::dropped(reason),
                Ok(header) => {
                    let same = header.dst == last.dst && header.src == last.src && header.tags == last.tags;
                    if !same || last.version != fdb.version() {
                        let mut desk = Desk { ports, vlans, fdb, id: ingress, config: &port.config };
                        let decision = desk.decide(&header);
                        let Header { dst, src, tags } = header;
                        last = Last { dst, src, tags, version: fdb.version(), decision };
                    }
                    last.decision
                }
            };
            match out.out {
                Out::Drop(reason) => drops[reason as usize] += 1,
                _ => forwarded += 1,
            }
        }
        port.last = last;

        let counters = &port.counters;
        counters.rx_frames.add(counted);
        counters.rx_bytes.add(bytes);
        counters.forwarded.add(forwarded);
        if forwarded < counted {
            for (counter, &n) in counters.drops.iter().zip(&drops) {
                if n > 0 {
                    counter.add(u64::from(n));
                }
            }
        }
        ports[usize::from(ingress)] = Some(port);
        counted as usize
    }
}

/// What can be said about a frame without knowing any other.
#[inline]
fn admit(config: &PortConfig, view: &View<'_>) -> Result<Header, DropReason> {
    if !config.up {
        return Err(DropReason::PortDown);
    }
    let header = parse::parse(view)?;
    if view.len > longest(config.mtu, header.tags.count()) && !view.gso {
        return Err(DropReason::Giant);
    }
    Ok(header)
}

/// The VLAN a frame belongs to at a port (802.1Q 6.9.1, 8.6.2), and whether its tag is consumed.
#[inline]
fn vlan(config: &PortConfig, tags: Tags) -> Result<VlanId, DropReason> {
    match &config.mode {
        PortMode::Access(vlan) => {
            // Behind a priority tag there must not be a VLAN tag either: without the first, it
            // would say where the frame belongs.
            if tags.tagged() && (tags.vid() != 0 || tags.double()) {
                return Err(DropReason::TagNotAllowed);
            }
            Ok(*vlan)
        }
        PortMode::Trunk { tagged, native } => match (tags.tagged(), tags.vid()) {
            (false, _) | (true, 0) => native.map(|native| native.vlan).ok_or(DropReason::UntaggedNotAllowed),
            (true, vid) if tagged.contains(vid) || native.is_some_and(|native| native.vlan == vid) => Ok(vid),
            (true, _) => Err(DropReason::VlanNotMember),
        },
    }
}

/// All that a decision is made from.
struct Desk<'a> {
    /// The others: the ingress port is not among them.
    ports: &'a [Option<Box<Port>>],
    vlans: &'a Vlans,
    fdb: &'a mut Fdb,
    id: PortId,
    config: &'a PortConfig,
}

impl Desk<'_> {
    fn decide(&mut self, header: &Header) -> Decision {
        let tags = header.tags;
        let mut decision = Decision {
            out: Out::Drop(DropReason::Runt),
            vlan: 0,
            strip: if tags.tagged() { 4 } else { 0 },
            pcp: tags.pcp(),
            tags: tags.count(),
            vid: tags.vid() != 0,
            double: tags.double(),
        };
        decision.out = match self.enter(header) {
            Err(reason) => Out::Drop(reason),
            Ok(vlan) => {
                decision.vlan = vlan;
                match self.hear(vlan, header.src).and_then(|()| self.route(vlan, header.dst)) {
                    Err(reason) => Out::Drop(reason),
                    Ok(out) => out,
                }
            }
        };
        decision
    }

    /// Addresses and VLAN.
    #[inline]
    fn enter(&self, header: &Header) -> Result<VlanId, DropReason> {
        if is_group(header.src) {
            return Err(DropReason::SourceMulticast);
        }
        if header.src == 0 {
            return Err(DropReason::SourceZero);
        }
        if is_link_local(header.dst) && !self.config.transparent {
            return Err(DropReason::LinkLocal);
        }
        vlan(self.config, header.tags)
    }

    /// The learning process (802.1Q 8.7).
    #[inline]
    fn hear(&mut self, vlan: VlanId, src: u64) -> Result<(), DropReason> {
        let key = key(vlan, src);
        match self.fdb.find(key) {
            Some(home) if home.port == self.id => {
                if self.config.learning {
                    self.fdb.refresh(&home);
                }
                Ok(())
            }
            Some(home) => self.hear_elsewhere(&home),
            None if !self.config.learning => Ok(()),
            None if !self.fdb.has_room(self.id, self.config.mac_limit) => self.over_limit(),
            None => {
                self.fdb.learn(key, self.id);
                Ok(())
            }
        }
    }

    /// A station that lives at another port sends from this one.
    #[cold]
    fn hear_elsewhere(&mut self, home: &Home) -> Result<(), DropReason> {
        let stays = match home.kind {
            Kind::Sticky => true,
            Kind::Static => false,
            Kind::Learned => {
                let port = self.ports.get(usize::from(home.port)).and_then(Option::as_deref);
                port.is_some_and(|port| port.config.sticky)
            }
        };
        if stays {
            return Err(DropReason::StationSticky);
        }
        if home.kind == Kind::Learned && self.config.learning {
            if !self.fdb.has_room(self.id, self.config.mac_limit) {
                return self.over_limit();
            }
            self.fdb.relocate(home, self.id);
        }
        Ok(())
    }

    #[cold]
    fn over_limit(&self) -> Result<(), DropReason> {
        if self.config.mac_limit_drops { Err(DropReason::MacLimit) } else { Ok(()) }
    }

    /// The forwarding process (802.1Q 8.6.3, 8.8).
    #[inline]
    fn route(&self, vlan: VlanId, dst: u64) -> Result<Out, DropReason> {
        let flood = if is_group(dst) {
            match dst {
                BROADCAST => Flood::Broadcast,
                _ if is_link_local(dst) => Flood::LinkLocal,
                _ => Flood::Multicast,
            }
        } else {
            match self.fdb.find(key(vlan, dst)) {
                Some(home) if home.port == self.id => return Err(DropReason::SamePort),
                Some(home) => return Ok(Out::Port(home.port)),
                None => Flood::Unknown,
            }
        };
        if self.vlans.anybody(vlan, flood, self.config) {
            Ok(Out::Flood(flood))
        } else {
            Err(DropReason::NoMember)
        }
    }
}
