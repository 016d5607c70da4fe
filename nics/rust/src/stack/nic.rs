//! The engine's side of a guest.

use super::StackConfig;
use super::end::Shared;
use super::inbox::Inbox;
use super::multicast::filter_bit;
use super::outbox::Outbox;
use super::packet::Mac;
use crate::context::{Context, EventKind};
use crate::frame::{Arena, Burst, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::poller::Readiness;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use switch::{DropReason, Nanos};

/// A guest's NIC.
pub struct StackNic {
    shared: Arc<Shared>,
    cx: Option<Context>,
    inbox: Inbox,
    mac: Mac,
    v4: Vec<[u8; 4]>,
    max_frame: u32,
    link: bool,
    deadline: Option<Nanos>,
}

impl StackNic {
    pub(super) fn new(shared: Arc<Shared>, config: &StackConfig) -> Self {
        let v4 = config.addresses.iter().filter_map(|net| match net.address {
            IpAddr::V4(v4) => Some(v4.octets()),
            IpAddr::V6(_) => None,
        });
        StackNic {
            shared,
            cx: None,
            inbox: Inbox::new(config.inbox),
            mac: config.mac,
            v4: v4.collect(),
            max_frame: config.mtu + 14,
            link: true,
            deadline: None,
        }
    }

    /// Whether a broadcast frame is anything but a question to somebody else: in a network of a
    /// thousand guests nearly all broadcasts are.
    fn asked(&self, head: &[u8]) -> bool {
        let Some((arp, ip)) = head.get(12..).and_then(|rest| rest.split_first_chunk::<2>()) else {
            return false;
        };
        let (sender, target) = (ip.get(14..18), ip.get(24..28));
        *arp != [0x08, 0x06]
            || sender == target
            || self.v4.iter().any(|own| Some(&own[..]) == target || Some(&own[..]) == sender)
    }

    /// Whether the guest has any use for a frame: what an Ethernet adapter decides by its filter.
    fn wanted(&self, frame: &TxFrame<'_>) -> bool {
        let Some(dst) = frame.frame.head().first_chunk::<6>() else { return false };
        if dst[0] & 1 == 0 && *dst == self.mac || self.shared.promiscuous.load(Ordering::Relaxed) {
            return true;
        }
        if dst[0] & 1 == 0 {
            return false;
        }
        if *dst == [0xff; 6] {
            return self.asked(frame.frame.head());
        }
        self.shared.filter.load(Ordering::Relaxed) & filter_bit(*dst) != 0
    }
}

impl Nic for StackNic {
    fn kind(&self) -> &'static str {
        "stack"
    }

    fn caps(&self) -> Caps {
        Caps { csum: true, tso4: true, tso6: true, ecn: true, uso: true, max_frame: self.max_frame }
    }

    fn carrier(&self) -> bool {
        self.link
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        if self.link != up {
            self.link = up;
            self.shared.guest.lock().set_link(up);
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Carrier(up));
                cx.kick();
            }
        }
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.shared.attach(cx.clone(), now);
        cx.kick();
        self.cx = Some(cx);
        Ok(())
    }

    fn detach(&mut self) {
        self.cx = None;
        self.shared.detach();
    }

    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        true
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut out = Outbox::new(arena.bytes(), burst.room());
        let more = {
            // Somebody at the far end holds it, for no longer than a copy takes.
            let Some(mut guest) = self.shared.guest.try_lock() else { return Rx::More };
            self.inbox.tick(now);
            let turn = AssertUnwindSafe(|| guest.run(now, &mut self.inbox, &mut out));
            // No input is known that makes a guest panic, but all input is hostile, and the engine
            // is everybody's: the worst that one guest's connection can cost is that connection.
            // What was half done then lies in that connection (dropped) or in the burst's draft.
            let more = catch_unwind(turn).unwrap_or_else(|_| {
                guest.recover();
                true
            });
            self.deadline = guest.deadline().into_iter().chain(self.inbox.deadline()).min();
            self.shared.publish(&mut guest);
            more
        };
        out.lend(burst);
        if more { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        for (i, frame) in frames.iter().enumerate() {
            if self.wanted(frame) && !self.inbox.push(frame) {
                report.drop(i, DropReason::TxFull);
            }
        }
    }

    fn flush(&mut self, _now: Nanos) -> bool {
        !self.inbox.is_empty()
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    fn tick(&mut self, _now: Nanos) -> bool {
        // The guest says anew what it waits for when it had its turn.
        self.deadline = None;
        true
    }
}
