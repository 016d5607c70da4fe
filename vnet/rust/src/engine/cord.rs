//! Cords: what the cable of a guest's NIC does to frames.

use super::{Engine, EngineError};
use nics::Context;
use nics::link::{CordControl, Step, cord};
use switch::{Nanos, PortId};

impl Engine {
    /// Whether the cable of a port's NIC is whole, or cut by its schedule.
    pub fn cord_up(&self, port: PortId) -> bool {
        self.cords.get(&port).is_none_or(CordControl::mended)
    }

    /// What the cable of a port's NIC is like from now on, and from times to come on. `now` is the driver's
    /// time. A port that never had an impaired cable has none, and pays nothing.
    pub fn set_cord(
        &mut self,
        port: PortId,
        seed: [u64; 2],
        first: Step,
        then: Vec<Step>,
        now: Nanos,
    ) -> Result<(), EngineError> {
        let now = now.max(self.now);
        let up = self.port_config(port)?.up;
        if !self.cords.contains_key(&port) {
            let cx = Context {
                port,
                poller: self.poller.clone(),
                waker: self.waker.clone(),
                events: self.events.clone(),
            };
            let slot = self.slot(port)?;
            let counters = slot.counters.clone().ok_or(EngineError::NoSuchPort)?;
            let nic = slot.nic.take().ok_or(EngineError::NoSuchPort)?;
            let (nic, control) = cord(nic, cx, counters, up, seed);
            slot.nic = Some(Box::new(nic));
            self.cords.insert(port, control);
        }
        if let Some(control) = self.cords.get(&port) {
            control.set(first, then, now);
        }
        self.timers.schedule(port, &mut self.slots[usize::from(port)]);
        self.ready.insert(port);
        self.waker.wake();
        Ok(())
    }
}
