//! `vnet._native`: the one face of all Rust here to Python. One file a class or door.

mod bond;
mod capture;
mod confine;
mod dgram;
mod door;
mod engine;
mod error;
mod flows;
mod groups;
mod handover;
mod impair;
mod load;
mod mirror;
mod multicast;
mod offload;
mod packet;
mod pcap;
mod pipe;
mod port;
mod recorder;
mod stack;
mod stp;
mod stream;
mod switch;
mod tap;
mod told;
mod vde;
mod vhost_user;

#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::bond::{BondSetup, bond_door, bond_view, set_member};
    #[pymodule_export]
    use super::capture::{BpfProgram, CaptureHandle, describe_port, split_capture, start_capture};
    #[pymodule_export]
    use super::confine::{confine_process, confinement_offered, refused_calls};
    #[pymodule_export]
    use super::dgram::dgram_door;
    #[pymodule_export]
    use super::door::Door;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::flows::{flow_counts, set_flows, take_flows};
    #[pymodule_export]
    use super::groups::Groups;
    #[pymodule_export]
    use super::handover::hand_over;
    #[pymodule_export]
    use super::impair::{Impair, cord_up, set_cord};
    #[pymodule_export]
    use super::load::{LoadFar, LoadTcp, load_bulk, load_echo, load_flood};
    #[pymodule_export]
    use super::mirror::{Mirror, mirror_counts, set_mirrors};
    #[pymodule_export]
    use super::multicast::{Snooping, multicast_members, multicast_sides, set_multicast};
    #[pymodule_export]
    use super::offload::complete_offload;
    #[pymodule_export]
    use super::packet::{Stations, packet_door, xdp_door};
    #[pymodule_export]
    use super::pcap::{PcapFiles, pcap_door};
    #[pymodule_export]
    use super::pipe::{PipeHandle, pipe_door};
    #[pymodule_export]
    use super::port::{Guard, Limits, PortConfig, Proxy};
    #[pymodule_export]
    use super::recorder::{set_recorder, write_past};
    #[pymodule_export]
    use super::stack::{StackHandle, stack_door};
    #[pymodule_export]
    use super::stp::{bridge_view, join_bridge, leave_bridge, set_bridge};
    #[pymodule_export]
    use super::stream::stream_door;
    #[pymodule_export]
    use super::switch::{Switch, Verdict};
    #[pymodule_export]
    use super::tap::tap_door;
    #[pymodule_export]
    use super::vde::vde_door;
    #[pymodule_export]
    use super::vhost_user::vhost_user_door;

    /// Version of the native part; always that of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Where each drop reason is counted: (name, `door`, `ingress` or `egress`).
    #[pyfunction]
    fn drop_sides() -> Vec<(&'static str, &'static str)> {
        let side = |reason: &switch::DropReason| match reason.side() {
            switch::reason::Side::Door => "door",
            switch::reason::Side::Ingress => "ingress",
            switch::reason::Side::Egress => "egress",
        };
        switch::DropReason::ALL.iter().map(|reason| (reason.name(), side(reason))).collect()
    }

    /// Have the calling thread run soon once it is woken, and for a short while; its share of the CPU stays
    /// what it was. Where the kernel does not know that, nothing changes.
    #[pyfunction]
    fn run_soon() {
        let _ = nics::clock::run_soon();
    }

    /// Every drop reason: (name, what it means).
    #[pyfunction]
    fn drop_reasons() -> Vec<(&'static str, &'static str)> {
        switch::DropReason::ALL.iter().map(|r| (r.name(), r.explanation())).collect()
    }
}
