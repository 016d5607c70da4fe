//! A frame that somebody upstairs puts in at a port, as if its guest had sent it.
//!
//! It takes the same way as any other: the same checks, counters, captures and drop reasons. It is not
//! billed (`usage.rs`).

use super::{Engine, EngineError};
use nics::{Burst, Frame, Offload};
use switch::{Decision, Nanos, PortId};

impl Engine {
    /// Put `frame` in at `port`, between two turns. What the switch decided about it; whether an egress
    /// took its copy is counted there.
    pub fn inject(&mut self, now: Nanos, port: PortId, frame: &[u8]) -> Result<Decision, EngineError> {
        let now = now.max(self.now);
        let number = self.slot(port)?.switch;
        let mut burst = Burst::new();
        burst.push(Frame::flat(frame, Offload::NONE));
        // The guest did not send it, and is not billed for it.
        burst.origins = Some(&[]);
        // Away, as while it is being received from: nothing goes back to where it came from.
        let nic = self.slot(port)?.nic.take();
        let Engine { slots, switches, delivery, touched, .. } = self;
        let decision = switches.get_mut(usize::from(number)).map(|switch| {
            delivery.deliver(now, port, switch, slots, touched, &burst);
            delivery.decided()
        });
        self.slot(port)?.nic = nic;
        let Engine { slots, delivery, touched, .. } = self;
        delivery.reply(now, port, slots, touched);
        // The rest (links, notifications, captures) is a turn's work.
        self.waker.wake();
        self.flush(now);
        decision.ok_or(EngineError::NoSuchSwitch)
    }
}
