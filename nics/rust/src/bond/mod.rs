//! A bond: several doors that are one to the switch (802.1AX-2014; Linux calls its kinds `802.3ad`,
//! `active-backup` and `balance-xor`).
//!
//! The switch has one port, whatever its cables do: what it learned there stays when one of them goes. Each
//! frame goes by one cable, frames of one flow by the same (`spread.rs`). What comes in by a cable that is not
//! in use is dropped: where one of two active ends thinks otherwise, it would come twice, or in a circle.
//!
//! Its doors are attached to numbers of their own (`context::member`), so that epoll and what they say of
//! their carrier tell them apart. LACP itself (`switch::lacp`) knows nothing of frames; here its PDUs are
//! picked out of what comes in, and what it has to say goes out at the next tick, which is due at once.
//!
//! Everything that depends on carrier and agreements is worked out in `settle`, when something may have
//! changed; for each burst only two masks are looked at.

mod send;
mod setup;
mod spread;
#[cfg(test)]
mod tests;

pub use setup::{MemberView, Mode, Setup, View};

use crate::context::{self, Context, EventKind};
use crate::frame::{Arena, BURST, Burst, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::origin::Origin;
use crate::poller::Readiness;
use arrayvec::ArrayVec;
use send::count;
use spread::Spread;
use std::io;
use switch::lacp::{self, Aggregator, Churn, Selected, flow, pdu};
use switch::{DropReason, Nanos, TagEdit};

/// Cables of one bond at most.
pub const MEMBERS: usize = lacp::PORTS;

struct Member {
    nic: Box<dyn Nic>,
    /// As the operator set it.
    up: bool,
    /// Carrier, and up, when it was looked at last.
    usable: bool,
    /// What was said of it last: it carries.
    told: bool,
    /// An end of it did not come to agree for a minute, which was said.
    churned: bool,
    rx: (u64, u64),
    tx: (u64, u64),
}

/// Several doors as one.
pub struct BondNic {
    setup: Setup,
    members: Vec<Member>,
    lacp: Option<Aggregator>,
    spread: Spread,
    /// By bit: cables that may have something for us.
    pending: u8,
    /// Where to look next.
    turn: usize,
    /// Which cable lent the last burst.
    lent: Option<usize>,
    /// Sent to since the last flush.
    touched: u8,
    collecting: u8,
    distributing: u8,
    partner: Option<pdu::System>,
    carrier: bool,
    up: bool,
    /// Something is to be settled at once.
    due: bool,
    changes: u64,
    idle: u64,
    report: TxReport,
    /// Who sent what is left of the latest burst.
    origins: ArrayVec<Origin, BURST>,
    cx: Option<Context>,
}

fn bits(mask: u8) -> impl Iterator<Item = usize> {
    (0..MEMBERS).filter(move |member| mask >> member & 1 == 1)
}

impl BondNic {
    /// A bond of these doors, which are not attached yet, in the order of `setup.members`. What is wrong with
    /// the setup, otherwise.
    pub fn new(nics: Vec<Box<dyn Nic>>, setup: Setup) -> Result<Self, String> {
        setup.check()?;
        if nics.len() != setup.members.len() {
            return Err(format!("{} doors for {} cables", nics.len(), setup.members.len()));
        }
        let lacp = match &setup.mode {
            Mode::Lacp { setup, priorities } => Some(Aggregator::new(*setup, priorities)),
            Mode::ActiveBackup { .. } | Mode::Static => None,
        };
        let member =
            |nic| Member { nic, up: true, usable: false, told: true, churned: false, rx: (0, 0), tx: (0, 0) };
        Ok(BondNic {
            setup,
            members: nics.into_iter().map(member).collect(),
            lacp,
            spread: Spread::new(),
            pending: 0,
            turn: 0,
            lent: None,
            touched: 0,
            collecting: 0,
            distributing: 0,
            partner: None,
            carrier: false,
            up: true,
            due: true,
            changes: 0,
            idle: 0,
            report: TxReport::default(),
            origins: ArrayVec::new(),
            cx: None,
        })
    }

    fn all(&self) -> u8 {
        u8::MAX >> (MEMBERS - self.members.len())
    }

    // -- who is in use -----------------------------------------------------------------------------

    /// Work out which cables are in use, and say what has to be said. Whether anything was sent.
    fn settle(&mut self, now: Nanos) -> bool {
        self.due = false;
        for (i, member) in self.members.iter_mut().enumerate() {
            let usable = member.up && self.up && member.nic.carrier();
            if usable != member.usable {
                member.usable = usable;
                if let Some(lacp) = &mut self.lacp {
                    lacp.set_enabled(i, usable, now);
                }
            }
        }
        let sent = self.speak(now);
        self.choose(now);
        self.tell_churn();
        sent
    }

    /// What LACP has to say.
    fn speak(&mut self, now: Nanos) -> bool {
        let Some(mut lacp) = self.lacp.take() else { return false };
        if lacp.deadline().is_some_and(|at| at <= now) {
            lacp.tick(now);
        }
        let mut sent = 0;
        while let Some(output) = lacp.poll() {
            let (at, bytes) =
                output.frame(|port| self.setup.members.get(port).map_or([0; 6], |member| member.1));
            let Some(member) = self.members.get_mut(at).filter(|member| member.usable) else { continue };
            let frame = Frame::flat(&bytes, Offload::NONE);
            self.report.clear();
            self.report.origins.set(Origin::NOBODY);
            member.nic.tx_burst(now, &[TxFrame { frame: &frame, edit: TagEdit::NONE }], &mut self.report);
            if self.report.drops().is_empty() {
                member.tx.0 += 1;
                member.tx.1 += bytes.len() as u64;
            }
            sent |= 1 << at;
        }
        self.lacp = Some(lacp);
        let mut any = false;
        for at in bits(sent) {
            any |= self.members[at].nic.flush(now);
        }
        any
    }

    fn choose(&mut self, now: Nanos) {
        let mask = |of: &dyn Fn(usize, &Member) -> bool| {
            let members = self.members.iter().enumerate();
            members.fold(0, |mask, (i, member)| mask | u8::from(of(i, member)) << i)
        };
        let usable = mask(&|_, member| member.usable);
        let (collecting, distributing, partner) = match (&self.lacp, &self.setup.mode) {
            (Some(lacp), _) => (
                mask(&|i, member| member.usable && lacp.collects(i)),
                mask(&|i, member| member.usable && lacp.distributes(i)),
                lacp.partner(),
            ),
            (None, Mode::ActiveBackup { primary }) => {
                let one = |member: usize| Some(1 << member).filter(|bit| usable & bit != 0);
                let preferred = primary.and_then(one);
                let stays = Some(self.distributing & usable).filter(|bit| *bit != 0);
                let active = preferred.or(stays).unwrap_or(usable & usable.wrapping_neg());
                (active, active, None)
            }
            (None, _) => (usable, usable, None),
        };
        let before = self.distributing;
        if (collecting, distributing, partner) == (self.collecting, before, self.partner) {
            return;
        }
        let met = partner.is_some() && self.partner.is_some() && partner != self.partner;
        (self.collecting, self.distributing) = (collecting, distributing);
        self.partner = partner.or(self.partner);
        self.spread.set(distributing, now);
        self.changes += u64::from(distributing != before);
        let carrier = distributing.count_ones() as usize >= self.setup.least.max(1);
        let was = std::mem::replace(&mut self.carrier, carrier);
        self.tell(before, was);
        if let Some(cx) = &self.cx {
            if was != carrier {
                cx.event(EventKind::Carrier(carrier));
            } else if carrier && (met || distributing & before == 0) {
                // Whoever is there now has never heard of those behind us.
                cx.event(EventKind::Moved);
            }
        }
    }

    /// A cable whose ends don't agree for a minute: something is set up wrongly, or deaf.
    fn tell_churn(&mut self) {
        let (Some(lacp), Some(cx)) = (&self.lacp, &self.cx) else { return };
        for ((member, view), (name, _)) in self.members.iter_mut().zip(lacp.views()).zip(&self.setup.members)
        {
            let churned = view.churn.contains(&Churn::Churned);
            if churned && !member.churned && view.selected != Selected::Standby {
                let who = if view.churn[1] == Churn::Churned { "its partner" } else { "this end" };
                cx.log(format!("{name}: {who} has not agreed for 60 s (LACP churn)"));
            }
            member.churned = churned;
        }
    }

    /// What an administrator should know: who works, who does not and why.
    fn tell(&mut self, before: u8, carrier: bool) {
        let Some(cx) = &self.cx else { return };
        let name = |at: usize| self.setup.members.get(at).map_or("?", |member| member.0.as_str());
        for (at, member) in self.members.iter_mut().enumerate() {
            let works = self.distributing >> at & 1 == 1;
            if works == member.told || works == (before >> at & 1 == 1) {
                continue;
            }
            member.told = works;
            let instead = matches!(self.setup.mode, Mode::ActiveBackup { .. }) && self.distributing != 0;
            if works {
                cx.log(format!("{} is in use again", name(at)));
            } else {
                let why = if !member.up || !self.up {
                    "set down"
                } else if !member.usable {
                    "no carrier"
                } else if self.lacp.is_some() {
                    "its partner does not agree"
                } else {
                    "another is preferred"
                };
                let instead = match bits(self.distributing).next() {
                    Some(other) if instead => format!("; {} is used instead", name(other)),
                    _ => String::new(),
                };
                cx.log(format!("{} is not in use any more: {why}{instead}", name(at)));
            }
        }
        if carrier && !self.carrier {
            let (left, least) = (self.distributing.count_ones(), self.setup.least);
            cx.log(format!("down: {left} cables in use, at least {least} must be"));
        }
    }
}

impl Nic for BondNic {
    fn kind(&self) -> &'static str {
        "bond"
    }

    /// What every cable takes: a flow may go by any.
    fn caps(&self) -> Caps {
        let mut members = self.members.iter().map(|member| member.nic.caps());
        let Some(first) = members.next() else { return Caps::plain(0) };
        members.fold(first, |one, other| Caps {
            csum: one.csum && other.csum,
            tso4: one.tso4 && other.tso4,
            tso6: one.tso6 && other.tso6,
            ecn: one.ecn && other.ecn,
            uso: one.uso && other.uso,
            max_frame: one.max_frame.min(other.max_frame),
        })
    }

    fn carrier(&self) -> bool {
        self.carrier
    }

    fn set_link(&mut self, up: bool, now: Nanos) {
        self.up = up;
        for member in &mut self.members {
            member.nic.set_link(up && member.up, now);
        }
        self.settle(now);
    }

    fn set_member(&mut self, member: usize, up: bool, now: Nanos) {
        if let Some(member) = self.members.get_mut(member) {
            member.up = up;
            member.nic.set_link(up && self.up, now);
        }
        self.settle(now);
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        for at in 0..self.members.len() {
            let cx = Context { port: context::member(cx.port, at), ..cx.clone() };
            if let Err(e) = self.members[at].nic.attach(cx, now) {
                self.members.iter_mut().take(at).for_each(|member| member.nic.detach());
                return Err(e);
            }
        }
        self.cx = Some(cx);
        self.pending = self.all();
        self.settle(now);
        Ok(())
    }

    fn detach(&mut self) {
        self.cx = None;
        self.members.iter_mut().for_each(|member| member.nic.detach());
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        let (sub, at) = context::split(sub);
        let Some(at) = at else { return false };
        let Some(member) = self.members.get_mut(at) else { return false };
        let ready = member.nic.ready(sub, readiness, now);
        self.pending |= u8::from(ready) << at;
        self.due |= (member.nic.carrier() && member.up && self.up) != member.usable;
        ready
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        for (at, member) in self.members.iter().enumerate() {
            self.pending |= u8::from(member.nic.waits()) << at;
        }
        if self.pending == 0 {
            // Somebody may have something, and did not say who.
            self.pending = self.all();
        }
        let next = bits(self.pending).find(|at| *at >= self.turn);
        let Some(at) = next.or_else(|| bits(self.pending).next()) else { return Rx::Idle };
        self.turn = at + 1;
        self.lent = Some(at);
        let mut takes = self.collecting >> at & 1 == 1;
        let BondNic { members, lacp, pending, due, idle, origins, .. } = self;
        let Some(Member { nic, rx, usable, .. }) = members.get_mut(at) else { return Rx::Idle };
        let before = burst.len();
        if nic.rx_burst(now, arena, burst) == Rx::Idle {
            *pending &= !(1 << at);
        }
        rx.0 += (burst.len() - before) as u64;
        let (all, told) = (burst.len(), burst.origins);
        let mut i = 0;
        origins.clear();
        burst.retain(|frame| {
            rx.1 += frame.len() as u64;
            let origin = told.and_then(|told| told.get(i)).copied().unwrap_or_default();
            i += 1;
            if let Some(lacp) = lacp
                && pdu::is_slow(frame.head())
            {
                lacp.input(at, frame.head(), now);
                // Right behind this PDU may be what its sender was waiting to send.
                takes |= *usable && lacp.collects(at);
                *due = true;
                return false;
            }
            *idle += u64::from(!takes);
            if takes {
                // No more than a burst has: there is room.
                let _ = origins.try_push(origin);
            }
            takes
        });
        if burst.len() < all {
            burst.alike = burst.alike.map(|alike| alike.of_some());
            burst.origins = told.map(|_| &**origins);
        }
        if *pending != 0 { Rx::More } else { Rx::Idle }
    }

    fn rx_done(&mut self) {
        if let Some(member) = self.lent.take().and_then(|at| self.members.get_mut(at)) {
            member.nic.rx_done();
        }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        if !self.distributing.is_power_of_two() {
            self.distribute(now, frames, report);
            return;
        }
        let at = self.distributing.trailing_zeros() as usize;
        let Some(Member { nic, tx, .. }) = self.members.get_mut(at) else { return };
        let refused = report.drops().len();
        nic.tx_burst(now, frames, report);
        count(tx, frames, &report.drops()[refused..]);
        self.touched |= 1 << at;
    }

    fn flush(&mut self, now: Nanos) -> bool {
        let mut any = false;
        for at in bits(std::mem::take(&mut self.touched)) {
            if self.members[at].nic.flush(now) {
                self.pending |= 1 << at;
                any = true;
            }
        }
        any
    }

    fn deadline(&self) -> Option<Nanos> {
        let members = self.members.iter().filter_map(|member| member.nic.deadline());
        let lacp = self.lacp.as_ref().and_then(Aggregator::deadline);
        members.chain(lacp).chain(self.due.then_some(0)).min()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        let mut any = false;
        for (at, Member { nic, .. }) in self.members.iter_mut().enumerate() {
            if nic.deadline().is_some_and(|due| due <= now) && nic.tick(now) {
                self.pending |= 1 << at;
                any = true;
            }
        }
        self.settle(now) || any
    }

    fn look(&mut self, now: Nanos) -> bool {
        self.settle(now)
    }

    fn polled(&self) -> bool {
        self.members.iter().any(|member| member.nic.polled())
    }

    fn arm(&mut self) -> bool {
        let mut armed = true;
        for (at, Member { nic, .. }) in self.members.iter_mut().enumerate() {
            if nic.polled() && !nic.arm() {
                self.pending |= 1 << at;
                armed = false;
            }
        }
        armed
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        if self.idle > 0 {
            return Some((DropReason::DoorUnused, std::mem::take(&mut self.idle)));
        }
        self.members.iter_mut().find_map(|member| member.nic.take_drops())
    }

    fn bond(&self) -> Option<View> {
        let mut lacp = self.lacp.as_ref().map(|lacp| lacp.views());
        let members =
            self.members.iter().zip(&self.setup.members).enumerate().map(|(at, (member, (name, _)))| {
                MemberView {
                    name: name.clone(),
                    carrier: member.nic.carrier(),
                    up: member.up,
                    collecting: self.collecting >> at & 1 == 1,
                    distributing: self.distributing >> at & 1 == 1,
                    rx: member.rx,
                    tx: member.tx,
                    lacp: lacp.as_mut().and_then(Iterator::next),
                }
            });
        Some(View {
            mode: self.setup.mode.name(),
            least: self.setup.least,
            partner: self.lacp.as_ref().and_then(Aggregator::partner),
            changes: self.changes,
            members: members.collect(),
        })
    }

    fn way_of(&self, head: &[u8]) -> Option<(usize, String)> {
        let at = usize::from(self.spread.look(flow(head, self.setup.hashed)));
        let (name, _) = self.setup.members.get(at)?;
        (self.distributing != 0).then(|| (at, name.clone()))
    }
}
