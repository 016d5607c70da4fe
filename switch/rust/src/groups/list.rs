//! Connections, for people: `vnet flows` and its like read them page by page.

use super::denied::{address, protocol};
use super::table::{Conn, State, coarse};
use super::{Tracker, packet};
use crate::{Nanos, PortId, VlanId};
use std::net::IpAddr;

/// One connection, for people.
#[derive(Clone, Debug)]
pub struct Connection {
    pub vlan: VlanId,
    pub protocol: String,
    /// Who began it, address and port; of ICMP the port is the identifier.
    pub source: (IpAddr, u16),
    pub target: (IpAddr, u16),
    pub state: &'static str,
    /// Since its first packet, since its last, and until it will be forgotten.
    pub age: Nanos,
    pub idle: Nanos,
    pub expires: Nanos,
    /// The port that it counts for.
    pub owner: PortId,
}

impl Tracker {
    /// A page of connections, and the cursor of the next.
    pub(crate) fn page(
        &self,
        now: Nanos,
        cursor: usize,
        limit: usize,
        page: &mut Vec<Connection>,
    ) -> Option<usize> {
        let time = coarse(now);
        let (conns, next) = self.table.page(cursor, limit);
        page.extend(conns.filter(|conn| !conn.is_old(time)).map(|conn| describe(conn, time)));
        next
    }
}

/// A connection for people.
fn describe(conn: &Conn, now: u32) -> Connection {
    let (v6, proto, vlan, both) = packet::ends(&conn.key);
    let nanos = |coarse: u32| Nanos::from(coarse) << 20;
    let end = |end: usize| (address(v6, both[end & 1].0), both[end & 1].1);
    let origin = usize::from(conn.origin);
    let idle = now.wrapping_sub(conn.heard);
    let (mut source, mut target) = (end(origin), end(origin ^ 1));
    if conn.state == State::Query {
        // One port is the question's type, and who asked; the other is its identifier.
        (source.1, target.1) = (target.1, target.1);
    }
    Connection {
        vlan,
        protocol: protocol(proto),
        source,
        target,
        state: conn.state.name(),
        age: nanos(now.wrapping_sub(conn.born)),
        idle: nanos(idle),
        expires: nanos(conn.state.lifetime().saturating_sub(idle)),
        owner: conn.owner(),
    }
}
