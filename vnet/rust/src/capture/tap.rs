//! The engine's end of one capture: select, filter, encode, count.

use super::writer::{Handle, Sink};
use super::{PortInfo, Sighting, Spec, budget};
use nics::bpf::Verdict;
use nics::context::PORTS_MAX;
use nics::frame::FRAME_MAX;
use nics::offload::{Completer, Offload};
use nics::pcapng::{self, Direction};
use nics::{Caps, HEAD, TxFrame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use switch::{Nanos, PortId, VlanId, VlanSet};

/// The writer is woken so long after the first of what it is to write: to wake a thread costs as much as some ten
/// frames.
const GATHER: Nanos = 500_000;

/// See the top of this file.
#[derive(Debug)]
pub struct Tap {
    /// But for its ports.
    spec: Spec,
    /// The ports whose frames are wanted, a bit each.
    selected: Box<[u64]>,
    sink: Sink,
    handle: Arc<Handle>,
    /// By port number; grows as ports are seen.
    ports: Vec<Option<Account>>,
    /// Of ports that are gone.
    gone: Vec<Account>,
    interfaces: u32,
    start: Nanos,
    kept: u64,
    /// When the writer was last woken.
    woken: Nanos,
    /// The block that is being made, or its options, and the frame that a filter wants to see whole.
    block: Vec<u8>,
    whole: Vec<u8>,
    /// Made when the first frame needs it.
    completer: Option<Box<Completer>>,
}

/// A set of ports, a bit each.
fn bits(ports: &[PortId]) -> Box<[u64]> {
    let mut bits = vec![0; PORTS_MAX / 64].into_boxed_slice();
    for port in ports {
        if let Some(word) = bits.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }
    bits
}

/// What became of one port's frames.
#[derive(Debug, Default)]
struct Account {
    /// Index of its interface block; None until that is in the file.
    interface: Option<u32>,
    received: u64,
    accepted: u64,
    lost: u64,
    written: u64,
    /// Lost since the last frame that was written.
    gap: u64,
}

impl Tap {
    /// Open the capture: from now on `fd` belongs to it.
    pub fn start(now: Nanos, mut spec: Spec, fd: OwnedFd) -> io::Result<(Tap, Arc<Handle>)> {
        let (mut sink, handle) = Sink::open(fd, spec.room, spec.inline)?;
        let mut block = Vec::with_capacity(FRAME_MAX + 512);
        let section =
            pcapng::Section { hardware: &spec.hardware, os: &spec.os, application: &spec.application };
        pcapng::section(&mut block, &section);
        sink.push(&block, &handle);
        let tap = Tap {
            selected: bits(&std::mem::take(&mut spec.ports)),
            spec,
            sink,
            handle: handle.clone(),
            ports: Vec::new(),
            gone: Vec::new(),
            interfaces: 0,
            start: now,
            kept: 0,
            woken: 0,
            block,
            whole: Vec::new(),
            completer: None,
        };
        Ok((tap, handle))
    }

    /// From now on these ports, and these VLANs at any port. One of every port stays one.
    pub fn select(&mut self, ports: &[PortId], vlans: VlanSet) {
        self.selected = bits(ports);
        self.spec.vlans = vlans;
    }

    /// Add the ports that this capture wants to hear from to a set of bits.
    pub fn mark_wanted(&self, wanted: &mut [u64]) {
        if self.spec.all || self.spec.vlans.iter().next().is_some() {
            wanted.fill(!0);
        }
        for (word, selected) in wanted.iter_mut().zip(&self.selected) {
            *word |= selected;
        }
    }

    /// Whether it keeps within the engine's budget for captures. In virtual time there is none: nothing is lost.
    pub fn is_bounded(&self) -> bool {
        !self.spec.inline && !self.spec.complete
    }

    /// Whether it has no eyes for frames that are not dropped.
    pub fn is_of_drops(&self) -> bool {
        self.spec.drops_only
    }

    fn selects_port(&self, port: PortId) -> bool {
        let word = self.selected.get(usize::from(port / 64)).copied().unwrap_or(0);
        self.spec.all || word >> (port % 64) & 1 == 1
    }

    fn selects(&self, port: PortId, vlan: VlanId, direction: Direction) -> bool {
        (self.selects_port(port) || self.spec.vlans.contains(vlan))
            && self.spec.direction.is_none_or(|wanted| wanted == direction)
    }

    /// Give a port its interface block before its first frame, if it is sure to be captured. When
    /// there is no room now, its first frame brings it along.
    pub fn introduce(&mut self, port: PortId, ports: &BTreeMap<PortId, PortInfo>) {
        if self.selects_port(port) {
            self.interface(port, ports);
        }
    }

    /// The port is gone, and whoever has its number next was not asked for.
    pub fn forget(&mut self, port: PortId) {
        self.retire(port);
        if let Some(word) = self.selected.get_mut(usize::from(port / 64)) {
            *word &= !(1 << (port % 64));
        }
    }

    /// What the port's number stood for in the file it stands for no more.
    pub fn retire(&mut self, port: PortId) {
        if let Some(account) = self.ports.get_mut(usize::from(port)).and_then(Option::take) {
            self.gone.push(account);
        }
    }

    /// See to it that the port has an account and, if there is room, an interface block in the file.
    fn interface(&mut self, port: PortId, ports: &BTreeMap<PortId, PortInfo>) {
        let index = usize::from(port);
        if self.ports.len() <= index {
            self.ports.resize_with(index + 1, || None);
        }
        let account = self.ports[index].get_or_insert_default();
        if account.interface.is_none() {
            let unknown = PortInfo::unknown(port);
            let info = ports.get(&port).unwrap_or(&unknown);
            self.block.clear();
            pcapng::interface(&mut self.block, &info.interface(self.spec.snaplen, &self.spec.filter));
            if self.sink.push(&self.block, &self.handle) {
                account.interface = Some(self.interfaces);
                self.interfaces += 1;
            }
        }
    }

    /// `n` frames passed a port and are not looked at; `dropped` of them were dropped.
    pub fn pass_over(
        &mut self,
        port: PortId,
        vlan: VlanId,
        direction: Direction,
        n: u64,
        dropped: u64,
        ports: &BTreeMap<PortId, PortInfo>,
    ) {
        let n = if self.spec.drops_only { dropped } else { n };
        if n == 0 || !self.selects(port, vlan, direction) || self.is_done() {
            return;
        }
        self.interface(port, ports);
        if let Some(account) = self.ports.get_mut(usize::from(port)).and_then(Option::as_mut) {
            account.received += n;
            account.lost += n;
            account.gap += n;
            self.handle.received.add(n);
            self.handle.lost.add(n);
        }
    }

    /// A frame passed a port: write it if it is wanted. What that cost, see [`budget`].
    pub fn offer(
        &mut self,
        sighting: &Sighting,
        direction: Direction,
        frame: &TxFrame<'_>,
        ports: &BTreeMap<PortId, PortInfo>,
    ) -> u64 {
        let wanted = sighting.dropped.is_some() || !self.spec.drops_only;
        if !wanted || !self.selects(sighting.port, sighting.vlan, direction) || self.is_done() {
            return budget::LOOK;
        }
        let filter = if self.spec.program.is_some() { budget::FILTER } else { 0 };
        let mut cost = budget::LOOK;
        if self.spec.segment && frame.offload().gso_type != Offload::GSO_NONE {
            let mut completer = std::mem::take(&mut self.completer);
            let caps = Caps::plain(u32::MAX);
            let done = completer.get_or_insert_default().complete(frame, &caps, &mut |segments| {
                for segment in segments {
                    cost += filter + self.keep(sighting, direction, segment, ports);
                }
            });
            self.completer = completer;
            if done.is_ok() {
                return cost;
            }
            // What can't be cut is shown as it is; where it had to be cut, it is dropped for that.
        }
        cost + filter + self.keep(sighting, direction, frame, ports)
    }

    /// One frame, or one segment of it. What it cost to write it.
    fn keep(
        &mut self,
        sighting: &Sighting,
        direction: Direction,
        frame: &TxFrame<'_>,
        ports: &BTreeMap<PortId, PortInfo>,
    ) -> u64 {
        if self.is_done() {
            return 0;
        }
        let keep = self.filter(frame);
        self.interface(sighting.port, ports);
        let Some(account) = self.ports.get_mut(usize::from(sighting.port)).and_then(Option::as_mut) else {
            return 0;
        };
        account.received += 1;
        self.handle.received.add(1);
        let Some(keep) = keep else { return 0 };
        account.accepted += 1;
        self.handle.accepted.add(1);
        // Of a part nobody can tell whether the checksum is right; of all of it, everybody will.
        let partial = keep == frame.len() && frame.offload().flags & Offload::NEEDS_CSUM != 0;
        let completed = if partial { self.completer.get_or_insert_default().whole(frame) } else { None };
        let written = account.interface.is_some_and(|interface| {
            let packet = pcapng::Packet {
                interface,
                time: self.spec.epoch.wrapping_add(sighting.now),
                len: frame.len() as u32,
                direction,
                id: sighting.packet,
                lost: account.gap,
                dropped: sighting.dropped,
                comment: "",
            };
            let mut scratch = [0; HEAD + 4];
            pcapng::packet_options(
                &mut self.block,
                &packet,
                frame.head(&mut scratch).get(..keep.min(6)).unwrap_or_default(),
            );
            let len = pcapng::packet_len(keep, &self.block);
            self.sink.push_with(len, &self.handle, |block| {
                pcapng::packet_block(block, &packet, keep, &self.block, |dst| match completed {
                    Some(bytes) => dst.copy_from_slice(&bytes[..dst.len()]),
                    None if self.whole.is_empty() => {
                        frame.copy_beginning(dst);
                    }
                    None => dst.copy_from_slice(&self.whole[..dst.len()]),
                });
            })
        });
        if written {
            account.gap = 0;
            account.written += 1;
            self.kept += 1;
            self.handle.written.add(1);
        } else {
            account.gap += 1;
            account.lost += 1;
            self.handle.lost.add(1);
        }
        budget::WRITE + keep as u64 / budget::BYTES
    }

    /// How many bytes of the frame to keep, if it passes the filter. The filter sees the private
    /// head first; when that is not enough, a copy of the whole frame, which is left in `whole`.
    fn filter(&mut self, frame: &TxFrame<'_>) -> Option<usize> {
        self.whole.clear();
        let len = frame.len();
        let mut keep = len.min(self.spec.snaplen as usize);
        if let Some(program) = &self.spec.program {
            let mut scratch = [0; HEAD + 4];
            let mut verdict = program.run(frame.head(&mut scratch), len as u32);
            if verdict == Verdict::More {
                self.whole.resize(len, 0);
                frame.copy_beginning(&mut self.whole);
                verdict = program.run(&self.whole, len as u32);
            }
            match verdict {
                Verdict::Keep(most) => keep = keep.min(most as usize),
                Verdict::Reject | Verdict::More => return None,
            }
        }
        Some(keep)
    }

    /// Whether nothing more will be written: the limit is reached, or writing failed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.spec.limit.is_some_and(|limit| self.kept >= limit) || self.handle.has_ended()
    }

    /// The turn is over; `rests`: the next one may be far.
    pub fn flush(&mut self, now: Nanos, rests: bool) {
        if rests || self.spec.inline || now.saturating_sub(self.woken) >= GATHER {
            self.woken = now;
            self.sink.flush(&self.handle);
        }
    }

    /// End the capture with what became of each interface's frames.
    pub fn close(&mut self, now: Nanos) {
        let mut trailer = Vec::new();
        let mut accounts: Vec<&Account> = self.ports.iter().flatten().chain(&self.gone).collect();
        accounts.sort_by_key(|account| account.interface);
        for account in accounts {
            if let Some(interface) = account.interface {
                let statistics = pcapng::Statistics {
                    interface,
                    start: self.spec.epoch.wrapping_add(self.start),
                    end: self.spec.epoch.wrapping_add(now),
                    received: account.received,
                    accepted: account.accepted,
                    lost: account.lost,
                    written: account.written,
                };
                pcapng::statistics(&mut trailer, &statistics);
            }
        }
        self.sink.close(trailer, &self.handle);
    }
}
