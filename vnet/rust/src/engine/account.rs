//! What guests may have on their accounts at switches that they are not at (`switch/rust/src/account.rs`).

use super::Engine;
use switch::PortId;

impl Engine {
    /// All switches are told of a port that came, is set up anew, or is about to go (`gone`).
    pub(super) fn tell_allowance(&mut self, port: PortId, gone: bool) {
        let allowance = self.allowance(port);
        for switch in &mut self.switches {
            if gone {
                switch.close_account(port);
            } else {
                switch.set_allowance(port, allowance);
            }
        }
    }

    /// A new switch is told of all ports.
    pub(super) fn tell_allowances(&mut self, number: u16) {
        for port in 0..self.slots.len() as PortId {
            let allowance = self.allowance(port);
            if let Some(switch) = self.switches.get_mut(usize::from(number)) {
                switch.set_allowance(port, allowance);
            }
        }
    }

    fn allowance(&self, port: PortId) -> Option<u32> {
        let slot = self.slots.get(usize::from(port)).filter(|slot| slot.counters.is_some())?;
        self.switches.get(usize::from(slot.switch))?.allowance(port)
    }
}
