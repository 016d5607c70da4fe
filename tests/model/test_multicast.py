"""The native switch and the reference agree about who wants which multicast group."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.multicast import SECOND, ReferenceGroups
from vnet._native import PortConfig, Snooping, Switch

pytestmark = pytest.mark.deadline(240)

PORTS = 4
KINDS = {"is-include": 1, "is-exclude": 2, "to-include": 3, "to-exclude": 4, "allow": 5, "block": 6}
GROUPS = ["239.1.1.1", "239.129.1.1", "225.0.0.1", "224.0.0.9"]
SOURCES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

records = st.tuples(
    st.integers(0, PORTS - 1),
    st.sampled_from(list(KINDS)),
    st.sampled_from(GROUPS),
    st.lists(st.sampled_from(SOURCES), max_size=3, unique=True),
)
waits = st.sampled_from([0, 1, SECOND // 2, SECOND, 2 * SECOND, 30 * SECOND, 260 * SECOND])
steps = st.lists(st.one_of(records, records, records, waits), max_size=60)


def checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


def frame(port: int, group: str, protocol: int, body: bytes, source: str = "10.0.0.9") -> bytes:
    """From a host at a port to a group."""
    to = ipaddress.IPv4Address(group).packed
    ip = bytes([0x45, 0, 0, 20 + len(body), 0, 0, 0, 0, 1, protocol, 0, 0])
    ip += ipaddress.IPv4Address(source).packed + to
    ip = ip[:10] + checksum(ip) + ip[12:]
    mac = bytes([1, 0, 0x5E, to[1] & 0x7F, *to[2:]])
    return mac + bytes([2, 0, 0, 0, 0, port]) + b"\x08\x00" + ip + body


def report(port: int, kind: str, group: str, sources: list[str]) -> bytes:
    body = bytes([0x22, 0, 0, 0, 0, 0, 0, 1, KINDS[kind], 0, 0, len(sources)])
    body += ipaddress.IPv4Address(group).packed
    body += b"".join(ipaddress.IPv4Address(source).packed for source in sources)
    return frame(port, "224.0.0.22", 2, body[:2] + checksum(body) + body[4:])


@settings(max_examples=150)
@given(steps=steps, port_groups=st.sampled_from([1, 2, 100]))
def test_both_agree(steps: list[tuple[int, str, str, list[str]] | int], port_groups: int) -> None:
    native, reference, now = Switch(), ReferenceGroups(port_groups), 5 * SECOND
    for port in range(PORTS):
        native.add_port(port, PortConfig(vlan=1))
    setup = Snooping(
        "02:00:00:00:00:99", ip4="10.0.0.100", ip6="fe80::99", unknown="routers", port_groups=port_groups
    )
    native.set_multicast(1, setup)
    native.tick(0)
    for step in steps:
        if isinstance(step, int):
            # Every timer on the way comes when it is due.
            while (due := native.deadline()) is not None and due <= now + step:
                native.tick(due)
            now += step
        else:
            reference.report(now, *step)
            native.forward(now, step[0], [report(*step)])
            native.tick(now)
        reference.wait(now)
        assert {(port, group) for _, group, port, *_ in native.multicast_members()} == set(reference.members)
        for group in GROUPS[:-1]:
            for ingress, source in itertools.product(range(PORTS), ["10.0.0.9", *SOURCES]):
                [verdict] = native.forward(now, ingress, [frame(ingress, group, 17, bytes(8), source)])
                got = {port for port, _ in verdict.copies}
                assert got == reference.ports(now, group, source) - {ingress}
                assert (verdict.reason == "no-listener") == (not got)
        [everybody] = native.forward(now, 0, [frame(0, GROUPS[-1], 17, bytes(8))])
        assert [port for port, _ in everybody.copies] == [1, 2, 3]
