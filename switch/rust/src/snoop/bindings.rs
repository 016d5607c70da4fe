//! The addresses that one port has by DHCP.

use crate::{Handover, Nanos, VlanId};
use std::net::IpAddr;

/// Addresses of one family that a port holds.
pub(super) const MOST: usize = 8;

/// A learned address or prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    pub vlan: VlanId,
    pub ip: IpAddr,
    /// 32 or 128 for an address, less for a delegated prefix.
    pub prefix: u8,
    /// When the lease ends; `Nanos::MAX` for never.
    pub until: Nanos,
    /// Which of the guest's DHCPv6 clients has it: a number for its DUID (RFC 8415, 11). 0 where there is
    /// none: in DHCPv4 the hardware address is the client, and of leases from before a restart nobody knows.
    /// Which of a client's IAs an address is in makes no difference: it is as valid in each.
    pub client: u32,
}

impl Binding {
    pub(super) fn is_for(&self, vlan: VlanId, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u8| {
            let off = u32::from(width - self.prefix.min(width));
            a.checked_shr(off).unwrap_or(0) == b.checked_shr(off).unwrap_or(0)
        };
        self.vlan == vlan
            && match (self.ip, ip) {
                (IpAddr::V4(own), IpAddr::V4(ip)) => same(own.to_bits().into(), ip.to_bits().into(), 32),
                (IpAddr::V6(own), IpAddr::V6(ip)) => same(own.to_bits(), ip.to_bits(), 128),
                _ => false,
            }
    }

    /// Whether both are about one address or prefix.
    pub(super) fn is_same(&self, other: &Binding) -> bool {
        (self.vlan, self.ip, self.prefix) == (other.vlan, other.ip, other.prefix)
    }
}

/// What one port has learned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings(Vec<Binding>);

impl Bindings {
    /// Whether `ip` is the guest's in `vlan`.
    pub(crate) fn has(&self, vlan: VlanId, ip: IpAddr) -> bool {
        self.0.iter().any(|binding| binding.is_for(vlan, ip))
    }

    /// Whether all of a prefix is.
    pub(crate) fn has_all(&self, vlan: VlanId, ip: IpAddr, prefix: u8) -> bool {
        self.0.iter().any(|binding| binding.prefix <= prefix && binding.is_for(vlan, ip))
    }

    pub(crate) fn all(&self) -> &[Binding] {
        &self.0
    }

    /// Add one, or tell when it ends from now on. Where there is no room, the one of another client that
    /// ends first makes some, as a guest that was installed anew is another client; else one of its own.
    /// Whether one was forgotten for it.
    pub(super) fn bind(&mut self, new: Binding) -> bool {
        if let Some(known) = self.0.iter_mut().find(|known| known.is_same(&new)) {
            *known = new;
            return false;
        }
        let of_family = |binding: &Binding| binding.ip.is_ipv4() == new.ip.is_ipv4();
        let full = self.0.iter().filter(|binding| of_family(binding)).count() >= MOST;
        if full {
            let oldest = self.0.iter().enumerate().filter(|(_, binding)| of_family(binding));
            let first = oldest.min_by_key(|(_, binding)| (binding.client == new.client, binding.until));
            if let Some(at) = first.map(|(at, _)| at) {
                self.0.remove(at);
            }
        }
        self.0.push(new);
        full
    }

    /// Keep those for which `stays` says so; whether any went.
    pub(crate) fn keep(&mut self, stays: impl FnMut(&Binding) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(stays);
        self.0.len() < before
    }

    /// VLANs pass: those of a network that has another one are in that, those of one that has none are forgotten.
    /// Whether any is another.
    pub(crate) fn hand_over(&mut self, handover: &Handover) -> bool {
        let mut changed = false;
        self.0.retain_mut(|binding| {
            let Some(becomes) = handover.get(&binding.vlan) else { return true };
            changed = true;
            binding.vlan = becomes.unwrap_or(binding.vlan);
            becomes.is_some()
        });
        changed
    }

    pub(super) fn next(&self) -> Option<Nanos> {
        self.0.iter().map(|binding| binding.until).min().filter(|until| *until != Nanos::MAX)
    }
}
