//! A switch as one frame finds it: for questions of the kind "what if".
//!
//! A twin decides by the code of its original and with what that knows, and what it learns by it is
//! forgotten with it. It begins with hardly anything. What a frame will ask for is brought from the original
//! just before: its two stations, its connection, and the ports that it may leave by. How many others there
//! are is known as well, because limits go by that; so a twin costs the same beside ten stations and beside
//! a million.
//!
//! Whoever lets `classify/`, `egress.rs` or `groups/` look at something else of a switch has to bring it
//! here. That nothing is missing is what `vnet`'s property test of `explain` is about.

use crate::account::account;
use crate::classify::vlan;
use crate::fdb::key;
use crate::multicast::{LONGEST, Snooper};
use crate::parse::{self, First, Header, is_group};
use crate::switch::Port;
use crate::{Decision, DropReason, Nanos, Out, PortId, Switch, SwitchConfig, TagEdit, View, VlanId};
use std::sync::Arc;

/// See the top of this file.
#[derive(Debug)]
pub struct Twin(Switch);

impl Switch {
    /// A twin of this switch; each call is given the original again, which nothing else may have changed
    /// meanwhile.
    #[must_use]
    pub fn twin(&self) -> Twin {
        let mut twin = Switch::new(SwitchConfig { fdb_limit: 1, ..SwitchConfig::default() });
        twin.ports.resize_with(self.ports.len(), || None);
        twin.fdb = self.fdb.sketch();
        *twin.tracker.get_mut() = self.tracker.borrow().sketch();
        twin.learners = self.learners;
        twin.multicast = self.multicast.clone();
        twin.gateways = self.gateways.clone();
        Twin(twin)
    }
}

impl Twin {
    /// What [`Switch::classify`] would decide about a frame, all of whose bytes are `frame`. The original
    /// forgets stations whose time has come, as it would do anyway.
    pub fn classify(
        &mut self,
        original: &mut Switch,
        now: Nanos,
        ingress: PortId,
        view: View<'_>,
        frame: &[u8],
    ) -> Decision {
        original.fdb.advance(now);
        self.bring_port(original, ingress);
        if let Ok(header) = First::of(&view).map_or_else(|| parse::parse_short(&view), First::parse)
            && let Some(vlan) = original.port(ingress).and_then(|config| vlan(config, header.tags).ok())
        {
            self.bring(original, now, (ingress, vlan), &header, &view);
        }
        let mut decision = [Decision::default()];
        self.0.classify(now, ingress, [view], &mut decision);
        let [mut decision] = decision;
        if self.0.has_to_weigh() && self.0.is_weighed(&decision, view.head) {
            self.0.weigh(&mut decision, Some(frame).filter(|frame| frame.len() <= crate::snoop::LONGEST));
        }
        if matches!(decision.out, Out::Report(_)) {
            let whole = if frame.len() <= LONGEST { frame } else { &[] };
            self.0.listen(now, ingress, view.sender, &mut decision, whole);
        }
        decision
    }

    /// The ports that it would leave by, if [`egress`](Self::egress) lets it.
    #[must_use]
    pub fn ports(&self, decision: &Decision) -> Vec<PortId> {
        if let Out::Port(egress) = decision.out {
            return vec![egress];
        }
        let members = self.0.spread(decision).iter().copied();
        members.filter(|&at| at != decision.ingress && self.0.floods_to(at, decision)).collect()
    }

    /// As [`Switch::egress`].
    pub fn egress(
        &mut self,
        original: &Switch,
        egress: PortId,
        decision: &Decision,
        view: &View<'_>,
    ) -> Result<TagEdit, DropReason> {
        self.bring_port(original, egress);
        self.0.tracker.get_mut().bring_payer(&original.tracker.borrow(), egress);
        self.0.egress(egress, decision, view)
    }

    fn bring_port(&mut self, original: &Switch, id: PortId) {
        let (Some(place), Some(Some(port))) =
            (self.0.ports.get_mut(usize::from(id)), original.ports.get(usize::from(id)))
        else {
            return;
        };
        place.get_or_insert_with(|| Box::new(port.twin()));
    }

    /// All that a frame asks for on its way in.
    fn bring(
        &mut self,
        original: &Switch,
        now: Nanos,
        (ingress, vlan): (PortId, VlanId),
        header: &Header,
        view: &View<'_>,
    ) {
        let mut near = vec![];
        for mac in [header.src, header.dst] {
            self.0.fdb.bring(&original.fdb, key(vlan, mac));
            near.extend(self.0.fdb.find(key(vlan, mac)).map(|home| home.port));
        }
        for &(mac, port) in original.own.range((header.src, 0)..=(header.src, PortId::MAX)) {
            self.0.own.insert((mac, port));
            near.push(port);
        }
        for (&of, &by) in original.beyond.range((header.src, vlan, 0)..=(header.src, vlan, PortId::MAX)) {
            self.0.beyond.insert(of, by);
            near.push(by);
        }
        self.0.vlans.bring(&original.vlans, vlan);
        // Whether an uplink answers depends on who has an address by DHCP.
        let proxy = original.port(ingress).is_some_and(|config| config.proxy.is_some());
        if proxy || is_group(header.dst) || self.0.fdb.find(key(vlan, header.dst)).is_none() {
            near.extend(original.vlans.ports(vlan));
        }
        near.iter().for_each(|&port| self.bring_port(original, port));
        let tracker = original.tracker.borrow();
        let mine = self.0.tracker.get_mut();
        // A member of the VLAN that would pay for its copy is asked for where that leaves.
        let to = self.0.fdb.find(key(vlan, header.dst)).map(|home| home.port);
        let account = original.port(ingress).map_or(ingress, |config| account(config, ingress, view.sender));
        for payer in [Some(account), to].into_iter().flatten() {
            mine.bring_payer(&tracker, payer);
        }
        self.0.allowances.bring(&original.allowances, account);
        mine.bring_frame(&tracker, now, (account, vlan, header.tags.count()), view);
    }
}

impl Port {
    fn twin(&self) -> Port {
        Port {
            config: self.config.clone(),
            counters: Arc::default(),
            last: self.last,
            memory: self.memory.clone(),
            stamp: self.stamp,
            storm: self.storm.clone(),
            state: self.state,
            control: self.control,
            looped: self.looped,
            moves: 0,
            reports: self.reports,
            bpdus: self.bpdus.clone(),
        }
    }
}

/// What is known of groups, to change it: there is a twin's copy then, if there is a twin.
#[inline]
pub(crate) fn own(snooper: &mut Option<Arc<Snooper>>) -> Option<&mut Snooper> {
    snooper.as_mut().map(Arc::make_mut)
}
