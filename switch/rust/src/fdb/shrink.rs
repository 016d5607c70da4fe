//! A limit was lowered: entries beyond it are forgotten, longest heard first.

use super::Fdb;
use super::table::Slot;
use crate::PortId;

impl Fdb {
    /// Forget learned entries beyond the limits.
    pub(super) fn shrink(&mut self) {
        while self.count.total() > self.limit as usize
            && let Some(oldest) = self.ages.oldest()
        {
            self.remove(oldest);
        }
        if self.by_vlan.iter().all(|count| count.learned <= self.vlan_limit) {
            return;
        }
        let limit = self.vlan_limit;
        let mut beyond: Vec<u32> =
            self.by_vlan.iter().map(|count| count.learned.saturating_sub(limit)).collect();
        self.forget_oldest(|slot| {
            let beyond = &mut beyond[(slot.key >> 48) as usize & 0xfff];
            let goes = *beyond > 0;
            *beyond -= u32::from(goes);
            goes
        });
    }

    /// Forget what a port learned beyond its limit.
    pub(crate) fn shrink_port(&mut self, port: PortId, limit: u32) {
        let mut beyond = self.count_port(port).learned.saturating_sub(limit);
        if beyond == 0 {
            return;
        }
        self.forget_oldest(|slot| {
            let goes = beyond > 0 && slot.port == port;
            beyond -= u32::from(goes);
            goes
        });
    }

    /// Forget the learned entries that `goes` is true of; it is asked about each, from the longest heard on.
    fn forget_oldest(&mut self, mut goes: impl FnMut(&Slot) -> bool) {
        // By key: a slot that is given up may be filled with another entry.
        let mut beyond = Vec::new();
        let mut next = self.ages.oldest();
        while let Some(slot) = next {
            let entry = self.table.slot(slot);
            if goes(entry) {
                beyond.push(entry.key);
            }
            next = self.ages.newer(slot);
        }
        for key in beyond {
            if let Some((slot, _)) = self.table.find(key) {
                self.remove(slot);
            }
        }
    }
}
