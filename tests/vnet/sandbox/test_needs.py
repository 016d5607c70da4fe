"""What doors need of the system, and what is said when that was given up."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import attrs
import pytest

from nics import kinds
from vnet.errors import BadInput
from vnet.sandbox.confinement import Confinement
from vnet.sandbox.needs import KINDS, TUN, Needs, needs, of_kind
from vnet.topology import Resolved, Topology

RUN = Path("/run/vnet/lab")


def resolved(**nics: dict[str, Any]) -> Resolved:
    guests = {
        name: {
            "kind": nic.pop("guest", "external"),
            "nics": [{"network": "red", **({"nic": nic} if nic else {})}],
        }
        for name, nic in nics.items()
    }
    return Topology.from_dict({"name": "lab", "networks": {"red": {}}, "guests": guests}).resolve()


def of(**nic: Any) -> Needs:
    (port,) = resolved(a=nic).ports.values()
    return needs(port, RUN)


def test_every_kind_that_is_named_here_exists() -> None:
    assert KINDS.keys() <= kinds.KINDS.keys()


@pytest.mark.parametrize(
    "nic", [{"guest": "stack"}, {"kind": "pipe"}, {"kind": "stream", "socket": "/x/y", "role": "client"}]
)
def test_of_what_needs_nothing(nic: dict[str, Any]) -> None:
    assert of(**nic) == Needs()


def test_of_sockets() -> None:
    assert of(kind="stream", socket="vm.sock").rules == {(RUN, "sockets")}
    assert of(kind="vhost-user", socket="/srv/vm/a.sock").rules == {(Path("/srv/vm"), "sockets")}
    assert of(kind="stream", socket="127.0.0.1:5000") == Needs(bind=frozenset({5000}))
    assert of(kind="stream", socket="10.0.0.1:5000", role="client") == Needs(connect=frozenset({5000}))
    assert of(kind="stream", socket="@name") == Needs()
    assert of(kind="stream", socket="@name", role="client").abstract_sockets
    assert of(kind="dgram", local="a.sock").abstract_sockets
    assert of(kind="dgram", local="127.0.0.1:1", remote="127.0.0.1:2") == Needs()


def test_of_plugs() -> None:
    ours = of(kind="vde", directory="vm.vde")
    assert ours.rules == {(RUN / "vm.vde", "sockets"), (RUN, "prune")}
    assert ours.abstract_sockets
    theirs = of(kind="vde", directory="/run/vde.ctl", role="client")
    assert theirs.rules == {(Path("/run/vde.ctl"), "sockets")}
    # To remove empty folders beside it lets nobody make sockets there.
    beside = of(kind="stream", socket="/srv/vm.sock")
    assert beside.beyond(of(kind="vde", directory="/srv/vm.vde")) == ["/srv"]
    assert of(kind="vde", directory="/srv/vm.vde").beyond(beside) == ["abstract sockets of others"]


def test_of_the_kernel() -> None:
    tap = of(kind="tap")
    assert tap.capabilities == {"net_admin"}
    assert (TUN, "device") in tap.rules
    assert not tap.holder
    assert of(guest="netns").holder
    assert of(kind="tap", netns="theirs").holder
    assert socket.AF_PACKET in of_kind("packet").families
    assert of_kind("xdp").beyond(of_kind("packet")) == [
        "CAP_BPF",
        "CAP_NET_ADMIN",
        "sockets of AF_XDP",
        "the system call bpf",
    ]


def confinement(kept: Needs, gave_up: frozenset[str] = frozenset({"net_admin", "net_raw"})) -> Confinement:
    return Confinement("default", kept, gave_up - kept.capabilities, 7, True, True, RUN, -1, -1)


def test_what_was_given_up_is_refused_with_all_of_it() -> None:
    kept = Needs(rules=frozenset({(RUN, "own")}))
    before = resolved(a={"guest": "stack"})
    after = resolved(
        a={"guest": "stack"}, b={"guest": "netns"}, c={"kind": "stream", "socket": "/srv/c.sock"}
    )
    with pytest.raises(BadInput) as raised:
        confinement(kept).admits(before, after)
    first, second = str(raised.value).splitlines()
    assert first.startswith(
        "guests.b.nics[0]: netns needs CAP_NET_ADMIN, sockets of AF_NETLINK, /dev/net/tun, the helper for"
        " namespaces, netlink, which this fabric's sandbox gave up"
    )
    assert "`engine: {keep: [netns]}`" in first
    assert second == (
        "guests.c.nics[0]: stream needs /srv, which this fabric's sandbox gave up: bring it down, and up"
        " again with that in the file, or with --sandbox off"
    )
    assert raised.value.paths == [("guests", "b", "nics", 0), ("guests", "c", "nics", 0)]


def test_what_runs_or_is_kept_is_not() -> None:
    before = resolved(a={"guest": "netns"})
    confinement(Needs()).admits(before, before)
    after = resolved(a={"guest": "netns"}, b={"kind": "tap"}, c={"kind": "stream", "socket": "vm.sock"})
    confinement(of_kind("netns") | Needs(rules=frozenset({(RUN, "own")}))).admits(before, after)


def test_who_had_no_capability_may_try_without() -> None:
    kept = attrs.evolve(of_kind("tap"), capabilities=frozenset())
    wanted = resolved(a={"kind": "tap"})
    confinement(kept, frozenset()).admits(None, wanted)
    with pytest.raises(BadInput, match="CAP_NET_ADMIN"):
        confinement(kept).admits(None, wanted)
