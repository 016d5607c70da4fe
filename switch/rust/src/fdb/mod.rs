//! The forwarding database: which port a station was last heard at, VLAN by VLAN (802.1Q 8.8).
//!
//! Filtering databases are independent (IVL): the same address in two VLANs is two entries.

mod ages;
mod shrink;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_bound;
#[cfg(test)]
mod tests_full;

use crate::{Nanos, PortId, SwitchConfig, SwitchError, VlanId};
use ages::Ages;
pub(crate) use table::secret;
use table::{Slot, Table};

/// A MAC address as it stands on the wire.
pub type Mac = [u8; 6];

/// How an entry came to be, and what may happen to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Heard: ages out, and moves with its station.
    #[default]
    Learned,
    /// Set by the operator: stays. Its station may send from elsewhere, and is not learned there.
    Static,
    /// Set by the operator: stays, and frames from its station at any other port are dropped.
    Sticky,
}

impl Kind {
    /// As users see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Learned => "learned",
            Kind::Static => "static",
            Kind::Sticky => "sticky",
        }
    }
}

/// One entry, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub vlan: VlanId,
    pub mac: Mac,
    pub port: PortId,
    pub kind: Kind,
    /// Since it was last heard, to a 256th of the ageing time; 0 unless learned.
    pub age: Nanos,
}

/// How many entries a port or a VLAN has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbCount {
    pub learned: u32,
    /// Static and sticky ones.
    pub fixed: u32,
}

impl FdbCount {
    fn of(&mut self, kind: Kind) -> &mut u32 {
        if kind == Kind::Learned { &mut self.learned } else { &mut self.fixed }
    }

    fn total(self) -> usize {
        self.learned as usize + self.fixed as usize
    }
}

/// Which entries to forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// Only this port's.
    pub port: Option<PortId>,
    /// Only this VLAN's.
    pub vlan: Option<VlanId>,
    /// Static and sticky entries, too.
    pub fixed: bool,
}

/// What the FDB knows about a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    slot: usize,
    pub(crate) port: PortId,
    pub(crate) kind: Kind,
    stamp: u32,
}

/// Entries that one call forgets at most, so that it takes microseconds.
const EXPIRE_AT_ONCE: usize = 256;
/// Entries that are looked at at once for one that gives way.
const LOOKED_AT: usize = 64;

#[derive(Debug)]
pub(crate) struct Fdb {
    table: Table,
    ages: Ages,
    seed: [u64; 2],
    limit: u32,
    vlan_limit: u32,
    count: FdbCount,
    by_port: Vec<FdbCount>,
    by_vlan: Box<[FdbCount]>,
    /// Coarse time is `now >> shift`: about 256 steps in an ageing time. A station is written to
    /// at most once a step however much it sends.
    shift: u32,
    /// Steps that a learned entry lives; `None`: for ever.
    lifetime: Option<u32>,
    time: u64,
    /// The last one that was looked at for one that gives way, and did not: the search goes on behind it.
    looked_at: Option<u64>,
    /// Goes up whenever an entry comes, goes or changes, and whenever coarse time goes on: what was
    /// looked up under the same number is still true.
    version: u64,
}

#[inline]
pub(crate) fn key(vlan: VlanId, mac: u64) -> u64 {
    u64::from(vlan) << 48 | mac
}

fn number(mac: Mac) -> u64 {
    mac.iter().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

/// How coarse time is with this ageing time (`shift`), and how many of its steps an entry lives.
fn steps(ageing: Nanos) -> (u32, Option<u32>) {
    // A step is no shorter than a millisecond, so that stamps of 32 bits last for weeks of silence.
    let shift = match ageing {
        0 => 30,
        ageing => (ageing / 256).checked_ilog2().unwrap_or(0).max(20),
    };
    let steps = ageing.div_ceil(1 << shift);
    (shift, (steps > 0).then_some(steps as u32))
}

impl Fdb {
    pub(crate) fn new(config: &SwitchConfig) -> Self {
        let mut ages = Ages::new();
        let (shift, lifetime) = steps(config.ageing);
        Fdb {
            table: Table::new(config.fdb_limit, config.hash_seed, &mut ages),
            ages,
            seed: config.hash_seed,
            limit: config.fdb_limit,
            vlan_limit: config.vlan_limit,
            count: FdbCount::default(),
            by_port: Vec::new(),
            by_vlan: vec![FdbCount::default(); 4096].into_boxed_slice(),
            shift,
            lifetime,
            time: 0,
            looked_at: None,
            version: 1,
        }
    }

    /// Have other limits and another ageing time from `now` on; the hash stays as it is. Entries keep
    /// their age. What has no room any more is forgotten, longest heard first; static and sticky entries
    /// never are, so a limit below their number is refused, and nothing has changed.
    pub(crate) fn configure(&mut self, now: Nanos, config: &SwitchConfig) -> Result<(), SwitchError> {
        if self.count.fixed > config.fdb_limit {
            return Err(SwitchError::FdbFull);
        }
        self.advance(now);
        let (shift, lifetime) = steps(config.ageing);
        if shift != self.shift {
            let time = (self.time << self.shift).max(now) >> shift;
            let mut next = self.ages.oldest();
            while let Some(slot) = next {
                let age = u64::from(self.age(self.table.slot(slot).stamp)) << self.shift >> shift;
                self.table.slot_mut(slot).stamp = (time as u32).wrapping_sub(age as u32);
                next = self.ages.newer(slot);
            }
            (self.time, self.shift) = (time, shift);
        }
        (self.lifetime, self.limit, self.vlan_limit) = (lifetime, config.fdb_limit, config.vlan_limit);
        self.table.set_limit(config.fdb_limit);
        self.shrink();
        self.version += 1;
        self.expire();
        Ok(())
    }

    /// A database without stations that knows how many there are here: see `twin.rs`. Nothing expires there.
    pub(crate) fn sketch(&self) -> Fdb {
        let mut ages = Ages::new();
        Fdb {
            table: Table::new(self.limit, self.seed, &mut ages),
            ages,
            by_port: self.by_port.clone(),
            by_vlan: self.by_vlan.clone(),
            lifetime: None,
            ..*self
        }
    }

    /// One station as it is known there, if it is, unless it was brought before.
    pub(crate) fn bring(&mut self, from: &Fdb, key: u64) {
        let Some((there, &entry)) = from.table.find(key) else { return };
        if self.table.find(key).is_some() {
            return;
        }
        if let Some(slot) = self.table.insert(entry, &mut self.ages) {
            if entry.kind == Kind::Learned {
                self.ages.push(slot);
            }
            self.table.bind(slot, from.table.bound(there));
        }
    }

    /// What was looked up under this number is true as long as it stays.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Something else that decisions rest on has changed.
    pub(crate) fn outdate(&mut self) {
        self.version += 1;
    }

    /// Time has come to `now`; forget what is due, at most `EXPIRE_AT_ONCE` entries.
    #[inline]
    pub(crate) fn advance(&mut self, now: Nanos) {
        let time = now >> self.shift;
        if time > self.time {
            self.time = time;
            self.version += 1;
            self.expire();
        }
    }

    /// Forget what is due, at most `EXPIRE_AT_ONCE` entries.
    #[cold]
    fn expire(&mut self) {
        for _ in 0..EXPIRE_AT_ONCE {
            match self.next_due() {
                Some((slot, 0)) => self.remove(slot),
                _ => return,
            }
        }
    }

    /// The entry that expires next, and in how many steps.
    fn next_due(&self) -> Option<(usize, u32)> {
        let slot = self.ages.oldest()?;
        Some((slot, self.lifetime?.saturating_sub(self.age(self.table.slot(slot).stamp))))
    }

    /// When an entry expires next.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        let (_, steps) = self.next_due()?;
        self.time.checked_add(u64::from(steps))?.checked_mul(1 << self.shift)
    }

    /// `tick`: like `advance`, and goes on with what was left over.
    pub(crate) fn tick(&mut self, now: Nanos) {
        self.advance(now);
        self.expire();
    }

    /// Steps since `stamp`.
    fn age(&self, stamp: u32) -> u32 {
        (self.time as u32).wrapping_sub(stamp)
    }

    /// Where a station lives.
    #[inline(always)]
    pub(crate) fn find(&self, key: u64) -> Option<Home> {
        let (slot, &Slot { port, kind, stamp, .. }) = self.table.find(key)?;
        Some(Home { slot, port, kind, stamp })
    }

    /// The IPv4 address that the guard of a station's port last admitted it with; 0 for none.
    #[inline]
    pub(crate) fn bound(&self, home: &Home) -> u32 {
        self.table.bound(home.slot)
    }

    /// Whether `refresh` has nothing to do.
    #[inline]
    pub(crate) fn fresh(&self, home: &Home) -> bool {
        home.stamp == self.time as u32 || home.kind != Kind::Learned
    }

    /// The guard of `port` admitted its station with this IPv4 address, and would again.
    #[inline]
    pub(crate) fn bind(&mut self, key: u64, port: PortId, ip: u32) {
        if let Some((slot, found)) = self.table.find(key)
            && found.port == port
        {
            self.table.bind(slot, ip);
        }
    }

    /// `port` gets another guard. Its learned entries are forgotten by `flush`; what stays is asked
    /// about anew.
    pub(crate) fn unbind(&mut self, port: PortId) {
        if self.count_port(port).fixed > 0 {
            self.table.unbind(port);
        }
    }

    /// A station was heard where it lives.
    #[inline]
    pub(crate) fn refresh(&mut self, home: &Home) {
        if home.stamp != self.time as u32 && home.kind == Kind::Learned {
            self.table.slot_mut(home.slot).stamp = self.time as u32;
            self.ages.unlink(home.slot);
            self.ages.push(home.slot);
        }
    }

    /// Whether `port` may hold one more learned address.
    pub(crate) fn has_room(&self, port: PortId, port_limit: u32) -> bool {
        self.by_port.get(usize::from(port)).map_or(0, |count| count.learned) < port_limit
    }

    /// Learn a station that has no entry. Nothing happens when the VLAN or the table is full.
    pub(crate) fn learn(&mut self, key: u64, port: PortId) {
        let vlan = &self.by_vlan[(key >> 48) as usize & 0xfff];
        if vlan.learned >= self.vlan_limit || self.count.total() >= self.limit as usize {
            return;
        }
        self.insert(Slot { key, stamp: self.time as u32, port, kind: Kind::Learned });
    }

    /// Learn a guest's own station, which has no entry: whoever fills the table, frames for a guest must not go
    /// everywhere. There are as many as the topology says, so they have room beside a VLAN's limit; in a full table
    /// one gives way that was heard long ago and is no guest's.
    pub(crate) fn learn_own(&mut self, key: u64, port: PortId, gives_way: impl Fn(u64, PortId) -> bool) {
        if self.count.total() >= self.limit as usize {
            let Some(stranger) = self.stranger(gives_way) else { return };
            self.remove(stranger);
        }
        self.insert(Slot { key, stamp: self.time as u32, port, kind: Kind::Learned });
    }

    /// The entry that was heard longest ago of those that give way. However many do not, a frame pays for a few: the
    /// next one's search goes on behind them, and at the end from the oldest again.
    fn stranger(&mut self, gives_way: impl Fn(u64, PortId) -> bool) -> Option<usize> {
        let last = self.looked_at.take().and_then(|key| self.table.find(key));
        let last = last.filter(|(_, entry)| entry.kind == Kind::Learned);
        let mut next = last.and_then(|(slot, _)| self.ages.newer(slot)).or(self.ages.oldest());
        for _ in 0..LOOKED_AT {
            let slot = next?;
            let entry = self.table.slot(slot);
            if gives_way(entry.key, entry.port) {
                return Some(slot);
            }
            self.looked_at = Some(entry.key);
            next = self.ages.newer(slot);
        }
        None
    }

    /// A learned station has moved to `port`. Its age starts again.
    pub(crate) fn relocate(&mut self, home: &Home, port: PortId) {
        self.counts(home.port).learned -= 1;
        self.counts(port).learned += 1;
        let slot = self.table.slot_mut(home.slot);
        slot.port = port;
        slot.stamp = self.time as u32;
        self.table.bind(home.slot, 0);
        self.ages.unlink(home.slot);
        self.ages.push(home.slot);
        self.version += 1;
    }

    fn counts(&mut self, port: PortId) -> &mut FdbCount {
        let at = usize::from(port);
        if at >= self.by_port.len() {
            self.by_port.resize(at + 1, FdbCount::default());
        }
        &mut self.by_port[at]
    }

    fn insert(&mut self, entry: Slot) -> bool {
        let Some(slot) = self.table.insert(entry, &mut self.ages) else { return false };
        if entry.kind == Kind::Learned {
            self.ages.push(slot);
        }
        *self.count.of(entry.kind) += 1;
        *self.counts(entry.port).of(entry.kind) += 1;
        *self.by_vlan[(entry.key >> 48) as usize & 0xfff].of(entry.kind) += 1;
        self.version += 1;
        true
    }

    fn remove(&mut self, slot: usize) {
        let Slot { key, port, kind, .. } = *self.table.slot(slot);
        *self.count.of(kind) -= 1;
        *self.counts(port).of(kind) -= 1;
        *self.by_vlan[(key >> 48) as usize & 0xfff].of(kind) -= 1;
        self.table.remove(slot, &mut self.ages);
        self.version += 1;
    }

    /// Set a static or sticky entry, in place of any other. In a full table it takes the place of
    /// the learned entry that was heard longest ago: the operator's word weighs more.
    pub(crate) fn set(
        &mut self,
        vlan: VlanId,
        mac: Mac,
        port: PortId,
        kind: Kind,
    ) -> Result<(), SwitchError> {
        let key = key(vlan, number(mac));
        if let Some((slot, _)) = self.table.find(key) {
            self.remove(slot);
        } else if self.count.total() >= self.limit as usize {
            let oldest = self.ages.oldest().ok_or(SwitchError::FdbFull)?;
            self.remove(oldest);
        }
        let set = self.insert(Slot { key, stamp: 0, port, kind });
        if set { Ok(()) } else { Err(SwitchError::FdbFull) }
    }

    /// Forget one entry, of any kind.
    pub(crate) fn forget(&mut self, vlan: VlanId, mac: Mac) -> Result<(), SwitchError> {
        let (slot, _) = self.table.find(key(vlan, number(mac))).ok_or(SwitchError::NoSuchEntry)?;
        self.remove(slot);
        Ok(())
    }

    /// Forget many entries; returns how many.
    pub(crate) fn flush(&mut self, which: Flush, and: impl Fn(VlanId) -> bool) -> usize {
        let fits = |count: FdbCount| if which.fixed { count.total() } else { count.learned as usize };
        // However large the table is, a port or VLAN without entries costs nothing, and the scan
        // ends at the last one.
        let mut most = fits(self.count);
        if let Some(port) = which.port {
            most = most.min(self.by_port.get(usize::from(port)).map_or(0, |&count| fits(count)));
        }
        if let Some(vlan) = which.vlan {
            most = most.min(self.by_vlan.get(usize::from(vlan)).map_or(0, |&count| fits(count)));
        }
        let Fdb { table, ages, count, by_port, by_vlan, .. } = self;
        let mut flushed = 0;
        table.retain_not(
            most,
            ages,
            |slot| {
                let vlan = (slot.key >> 48) as VlanId;
                (which.fixed || slot.kind == Kind::Learned)
                    && which.port.is_none_or(|port| port == slot.port)
                    && which.vlan.is_none_or(|wanted| wanted == vlan)
                    && and(vlan)
            },
            |slot| {
                flushed += 1;
                *count.of(slot.kind) -= 1;
                *by_port[usize::from(slot.port)].of(slot.kind) -= 1;
                *by_vlan[(slot.key >> 48) as usize & 0xfff].of(slot.kind) -= 1;
            },
        );
        if self.count.total() == 0 {
            self.ages = Ages::new();
            self.table = Table::new(self.limit, self.seed, &mut self.ages);
        }
        self.version += 1;
        flushed
    }

    fn entry(&self, slot: usize) -> FdbEntry {
        let Slot { key, stamp, port, kind } = *self.table.slot(slot);
        let [_, _, mac @ ..] = key.to_be_bytes();
        let age = if kind == Kind::Learned { u64::from(self.age(stamp)) << self.shift } else { 0 };
        FdbEntry { vlan: (key >> 48) as VlanId, mac, port, kind, age }
    }

    pub(crate) fn get(&self, vlan: VlanId, mac: Mac) -> Option<FdbEntry> {
        self.table.find(key(vlan, number(mac))).map(|(slot, _)| self.entry(slot))
    }

    /// A page of entries: see `Switch::fdb_page`.
    pub(crate) fn page(&self, cursor: usize, limit: usize, page: &mut Vec<FdbEntry>) -> Option<usize> {
        for number in cursor..self.table.segments() {
            if page.len() >= limit.max(1) {
                return Some(number);
            }
            page.extend(self.table.used(number).map(|slot| self.entry(slot)));
        }
        None
    }

    pub(crate) fn count(&self) -> FdbCount {
        self.count
    }

    pub(crate) fn count_port(&self, port: PortId) -> FdbCount {
        self.by_port.get(usize::from(port)).copied().unwrap_or_default()
    }

    pub(crate) fn count_vlan(&self, vlan: VlanId) -> FdbCount {
        self.by_vlan.get(usize::from(vlan)).copied().unwrap_or_default()
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
            + self.ages.memory()
            + (self.by_port.capacity() + self.by_vlan.len()) * size_of::<FdbCount>()
    }
}
