//! From a burst and the switch's decisions to the egress NICs.
//!
//! Reading order: here a burst is decided and shown to whoever wants to see it; `sort.rs` finds out which of its
//! frames go where, `egress.rs` gives them to a NIC; `shaped.rs` does so where a guest receives no more than so much.
//! `whole.rs` has the switch look at all of a message where it must,
//! `watch.rs` tells captures and the recorder what became of them, `own.rs` sends what the switch itself has to say.

mod egress;
mod own;
mod shaped;
mod sort;
mod watch;
mod whole;

use super::bridges::Bpdus;
use super::lost::Lost;
use super::ports::{PortSet, Slot};
use super::usage::{Book, Ledger};
use crate::capture::CaptureSet;
use crate::flows::Flows;
use crate::mirror::{MirrorSet, Passing};
use crate::recorder::Recorder;
use arrayvec::ArrayVec;
use nics::offload::Completer;
use nics::{BURST, Burst, Frame, TxFrame, TxReport};
use sort::Work;
use switch::{Answer, Decision, DropReason, Nanos, Out, PortId, Switch, TagEdit};
use watch::capture_rx;
use whole::Wholes;

pub struct Delivery {
    /// Who wants to see the frames.
    pub captures: CaptureSet,
    /// Who gets copies of them.
    pub mirrors: MirrorSet,
    /// The last frames that ports lost.
    pub lost: Lost,
    /// Who keeps the latest of them.
    pub recorder: Recorder,
    /// Who counts a sample of them.
    pub flows: Flows,
    /// For whom they count.
    pub ledger: Ledger,
    /// Number of the next frame.
    packet: u64,
    decisions: [Decision; BURST],
    completer: Completer,
    report: TxReport,
    wholes: Wholes,
    /// What came in for the switches themselves.
    pub bpdus: Bpdus,
    /// What the switch answers to the latest burst, by the port that it came in by.
    pub answers: ArrayVec<Answer, BURST>,
    /// Frames of the latest burst that were flooded.
    pub floods: u32,
    /// A server gave a guest an address, which other switches are to hear of.
    pub given: bool,
}

impl Delivery {
    pub fn new() -> Self {
        Delivery {
            captures: CaptureSet::default(),
            mirrors: MirrorSet::default(),
            lost: Lost::default(),
            recorder: Recorder::new(),
            flows: Flows::default(),
            ledger: Ledger::default(),
            packet: 0,
            decisions: [Decision::dropped(DropReason::Runt); BURST],
            completer: Completer::new(),
            report: TxReport::default(),
            wholes: Wholes::default(),
            bpdus: Bpdus::default(),
            answers: ArrayVec::new(),
            floods: 0,
            given: false,
        }
    }

    /// What was decided about the latest burst's first frame.
    pub fn decided(&self) -> Decision {
        self.decisions[0]
    }

    pub fn deliver(
        &mut self,
        now: Nanos,
        ingress: PortId,
        switch: &mut Switch,
        slots: &mut [Slot],
        touched: &mut PortSet,
        burst: &Burst<'_>,
    ) {
        let Delivery {
            captures,
            mirrors,
            lost,
            recorder,
            flows,
            ledger,
            packet,
            decisions,
            completer,
            report,
            wholes,
            bpdus,
            answers,
            floods,
            given,
        } = self;
        let count = switch.classify_alike(
            now,
            ingress,
            burst.iter().map(Frame::view),
            burst.alike.as_ref(),
            decisions,
        );
        let (weighs, listens) = (switch.has_to_weigh(), switch.listens());
        let weighed;
        let burst = if weighs {
            weighed = wholes.weigh(switch, burst, &mut decisions[..count]);
            &weighed
        } else {
            burst
        };
        if listens {
            listen(switch, now, ingress, burst, &mut decisions[..count]);
        }
        let decisions = &decisions[..count];
        let linked = slots.get(usize::from(ingress)).is_some_and(|slot| slot.peer.is_some());
        if linked {
            *floods = decisions.iter().filter(|d| matches!(d.out, Out::Flood(_))).count() as u32;
        }
        report.ingress = ingress;
        if switch.snoops() {
            snoop(switch, now, ingress, burst, decisions);
            *given |= switch.has_given();
        }
        let Some((first, rest)) = decisions.split_first() else { return };
        // As far as they are as they were made.
        let made = !(weighs || listens);
        let same = if made { switch.decided_alike() } else { rest.iter().all(|decision| decision == first) };
        let number = *packet;
        *packet = number.wrapping_add(count as u64);
        if flows.on() {
            let at = slots.get(usize::from(ingress)).map_or(0, |slot| slot.switch);
            flows.see(now, at, ingress, burst, decisions);
        }
        if captures.any() {
            captures.settle();
            if captures.wants(ingress) {
                capture_rx(captures, now, ingress, number, burst, decisions, same);
            }
        }
        let mirrored = mirrors.any();
        if mirrors.wants_in(ingress) {
            mirrors.came_in(ingress, decisions);
        }
        let mut work = Work {
            now,
            switch,
            slots,
            touched,
            burst,
            bare: burst.bare,
            decisions,
            completer,
            report,
            captures,
            mirrors,
            lost,
            linked,
            recorder,
            book: Book::new(ledger, ingress, burst.origins),
            packet: number,
            bpdus,
            answers,
        };
        if same {
            work.uniform(ingress, first);
        } else {
            work.mixed(ingress);
        }
        // Only now: who receives these frames need not wait for it.
        recorder.rx(now, ingress, number, burst, decisions, same);
        if mirrored {
            let passing = Passing { now, ingress, burst, decisions };
            mirrors.copy(&passing, slots, touched, completer, report, (captures, packet));
        }
    }

    /// What cuts super-frames.
    pub fn completer(&mut self) -> &mut Completer {
        &mut self.completer
    }
}

/// Have the switch learn from what hosts and routers say about multicast groups.
fn listen(switch: &mut Switch, now: Nanos, ingress: PortId, burst: &[Frame<'_>], decisions: &mut [Decision]) {
    for (frame, decision) in burst.iter().zip(decisions) {
        if switch.is_heard(decision, frame.head()) {
            let mut copy = [0; switch::multicast::LONGEST];
            let len = (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut copy).unwrap_or(0);
            switch.listen(now, ingress, frame.sender, decision, &copy[..len]);
        }
    }
}

/// Have the switch learn addresses from what DHCP servers and clients say.
fn snoop(switch: &mut Switch, now: Nanos, ingress: PortId, burst: &[Frame<'_>], decisions: &[Decision]) {
    for (frame, decision) in burst.iter().zip(decisions) {
        if switch::snoop::is_dhcp(frame.head()) && !matches!(decision.out, Out::Drop(_)) {
            let mut copy = [0; switch::snoop::LONGEST];
            if let Some(len) = (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut copy) {
                switch.snoop(now, ingress, decision, &copy[..len]);
            }
        }
    }
}
