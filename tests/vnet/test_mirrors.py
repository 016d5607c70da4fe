"""Mirrors: who gets copies of what, and that nobody else notices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether

import vnet
from nics.pipe import PipeEnd
from tests.needs import needs_tool
from vnet.check import Proof
from vnet.check.watched import watchers
from vnet.errors import BadInput
from vnet.topology import Topology
from vnet.topology.plan import plan

BROADCAST = "ff:ff:ff:ff:ff:ff"


def lab(*, ids: dict[str, Any] | None = None, **mirror: Any) -> Topology:
    """Two tenants and somebody who watches `watch`."""
    topology = Topology("lab", seed=1)
    for name, vlan in (("red", 10), ("blue", 20)):
        topology.network(name, vlan=vlan)
    for number, name in enumerate(("r1", "r2", "b1", "b2")):
        network = "red" if name[0] == "r" else "blue"
        keys = {"network": network, "nic": vnet.Pipe(), "guard": "off", "mac": mac(number)}
        topology.guest(name, kind="external", **keys)
    topology.guest("ids", kind="external", nics=[{"mirrors": ["watch"], "nic": vnet.Pipe(), **(ids or {})}])
    return topology.mirror("watch", **{"to": "ids", **mirror})


def mac(number: int) -> str:
    """Of the guest with this number."""
    return f"02:00:00:00:00:{number:02x}"


def frame(source: int, target: int | None, mark: int) -> bytes:
    """From one guest to another or everybody."""
    to = BROADCAST if target is None else mac(target)
    return bytes(Ether(dst=to, src=mac(source), type=0x88B5) / mark.to_bytes(4, "big")).ljust(60, b"\0")


def end(fabric: vnet.Fabric, name: str) -> PipeEnd:
    """The far side of a guest's pipe, or of an uplink's."""
    far = fabric.port(name).opened.far
    assert isinstance(far, PipeEnd)
    return far


async def heard(fabric: vnet.Fabric, name: str) -> list[bytes]:
    """All frames that wait at a pipe."""
    await trio.sleep(0.001)
    found = []
    while True:
        with trio.move_on_after(0.001) as scope:
            found.append(bytes(await end(fabric, name).receive()))
        if scope.cancelled_caught:
            return found


@pytest.mark.usefixtures("autojump_clock")
async def test_copies_go_to_who_grants_it_and_originals_to_where_they_went_before() -> None:
    async with vnet.Fabric(lab(networks=["red"])) as fabric:
        await end(fabric, "r1").send(frame(0, None, 1))
        await end(fabric, "r2").send(frame(1, 0, 2))
        await end(fabric, "b1").send(frame(2, None, 3))
        assert await heard(fabric, "ids") == [frame(0, None, 1), frame(1, 0, 2)]
        assert await heard(fabric, "r1") == [frame(1, 0, 2)]
        assert await heard(fabric, "r2") == [frame(0, None, 1)]
        (told,) = fabric.status()["mirrors"]
        assert told == {
            "mirror": "watch",
            "to": "ids.0",
            "erspan": None,
            "frames": 2,
            "bytes": 120,
            "lost": 0,
        }
        # In no network, it is heard by nobody.
        await end(fabric, "ids").send(frame(9, None, 4))
        assert not await heard(fabric, "r1")
        assert fabric.port("ids").counters()["drops"] == {"untagged-not-allowed": 1}


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(("direction", "marks"), [("in", [1]), ("out", [2]), ("both", [1, 2])])
async def test_directions(direction: str, marks: list[int]) -> None:
    async with vnet.Fabric(lab(ports=["r1"], direction=direction)) as fabric:
        await end(fabric, "r1").send(frame(0, None, 1))
        await heard(fabric, "r1")
        await end(fabric, "r2").send(frame(1, 0, 2))
        copies = await heard(fabric, "ids")
        assert [int.from_bytes(copy[14:18], "big") for copy in copies] == marks


@pytest.mark.usefixtures("autojump_clock")
async def test_what_is_dropped_is_copied_where_it_came_in() -> None:
    topology = lab(ports=["r1"]).guest("r1", kind="external", network="red", nic=vnet.Pipe(), mac=mac(0))
    async with vnet.Fabric(topology) as fabric:
        await end(fabric, "r1").send(frame(7, None, 1))
        assert len(await heard(fabric, "ids")) == 1
        assert fabric.port("r1").counters()["drops"] == {"guard-mac": 1}
        steps, reached = fabric.explain("r1", frame(7, None, 1))
        assert not reached
        assert [step.text for step in steps if step.check == "mirror"] == ["mirror watch copies it"]


@pytest.mark.usefixtures("autojump_clock")
async def test_a_copy_is_cut_tagged_and_limited() -> None:
    async with vnet.Fabric(lab(ports=["r1"], snap=64, tagged=True, packets="10 /s")) as fabric:
        for mark in range(20):
            await end(fabric, "r1").send(frame(0, None, mark).ljust(400, b"x"))
        copies = await heard(fabric, "ids")
        assert len(copies[0]) == 64
        assert Ether(copies[0])[Dot1Q].vlan == 10
        drops = fabric.port("ids").counters()["drops"]
        assert len(copies) + drops["mirror-limit"] == 20
        assert len(copies) < 5
        (told,) = fabric.status()["mirrors"]
        assert told["lost"] == drops["mirror-limit"]


@pytest.mark.usefixtures("autojump_clock")
async def test_a_full_mirror_loses_copies_and_nothing_else() -> None:
    async with vnet.Fabric(lab(ports=["r1"])) as fabric:
        for number in range(4):
            await end(fabric, f"{'rrbb'[number]}{number % 2 + 1}").send(frame(number, None, 0))
        for name in ("r1", "r2", "ids"):
            await heard(fabric, name)
        before = fabric.port("ids").counters()["tx_frames"]
        sent = 0
        for _ in range(60):
            for _ in range(64):
                sent += 1
                await end(fabric, "r1").send(frame(0, 1, sent))
            assert len(await heard(fabric, "r2")) == 64
        counted = fabric.port("ids").counters()
        assert counted["drops"] == {"mirror-full": sent + before - counted["tx_frames"]}
        assert counted["tx_frames"] < sent / 2
        assert not fabric.port("r2").counters()["drops"]


@pytest.mark.usefixtures("autojump_clock")
async def test_what_a_stack_left_to_others_is_done_in_the_copies() -> None:
    """Segments and their checksums."""
    topology = lab(networks=["green"]).network("green", vlan=30, subnets="10.0.0.0/24")
    for name in ("a", "b"):
        topology.guest(name, network="green")
    async with vnet.Fabric(topology) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        copies: list[bytes] = []

        async def watch() -> None:
            async for copy in end(fabric, "ids"):
                copies.append(bytes(copy))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            listener = await b.listen_tcp(9)
            async with await a.open_tcp_stream(b, 9) as stream:
                peer = await listener.accept()
                await stream.send_all(bytes(200_000))
                await stream.send_eof()
                got = 0
                while data := await peer.receive_some():
                    got += len(data)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert got == 200_000
        sizes = [len(Ether(copy)[TCP].payload) for copy in copies if TCP in Ether(copy)]
        assert sum(sizes) >= 200_000
        assert max(map(len, copies)) <= 1514
        for copy in copies:
            packet = Ether(copy)
            if TCP in packet:
                said = packet[TCP].chksum
                del packet[TCP].chksum
                assert Ether(bytes(packet))[TCP].chksum == said


@pytest.mark.usefixtures("autojump_clock")
async def test_one_copy_of_each_frame_however_many_switches_it_passes() -> None:
    topology = lab(networks=["red"]).switch("s1").switch("s2").link("s1", "s2")
    topology.guest("r2", kind="external", network="red", nic=vnet.Pipe(), guard="off", switch="s2")
    topology.guest("link", kind="external", nics=[{"mirrors": ["trunk"], "nic": vnet.Pipe()}])
    topology.mirror("trunk", ports=["s1-s2.a"], direction="out", to="link")
    async with vnet.Fabric(topology) as fabric:
        await end(fabric, "r1").send(frame(0, None, 1))
        assert len(await heard(fabric, "r2")) == 1
        assert len(await heard(fabric, "ids")) == 1
        (copy,) = await heard(fabric, "link")
        assert Ether(copy)[Dot1Q].vlan == 10


@pytest.mark.usefixtures("autojump_clock")
async def test_apply_changes_it_and_a_vlan_that_passes_on_is_never_seen() -> None:
    async with vnet.Fabric(lab(networks=["red"])) as fabric:
        swapped = lab(networks=["red"]).network("red", vlan=20).network("blue", vlan=10)
        done = await fabric.apply(swapped)
        assert (done[0], done[-1]) == ("remove mirror watch", "add mirror watch to ids.0")
        await end(fabric, "b1").send(frame(2, None, 1))
        await end(fabric, "r1").send(frame(0, None, 2))
        assert await heard(fabric, "ids") == [frame(0, None, 2)]
        plain = lab(networks=["red"])
        del plain.mirrors["watch"], plain.guests["ids"]
        await fabric.apply(plain)
        assert fabric.status()["mirrors"] == []
        await end(fabric, "r1").send(frame(0, None, 3))
        await fabric.apply(lab(ports=["b1"]))
        await end(fabric, "r1").send(frame(0, None, 4))
        await end(fabric, "b1").send(frame(2, None, 5))
        assert await heard(fabric, "ids") == [frame(2, None, 5)]


def test_a_plan_leads_there_and_back() -> None:
    before, after = lab(networks=["red"]).resolve(), lab(ports=["b1"], snap=100).resolve()
    model = before
    actions = plan(before, after)
    for action in actions:
        model = action.on(model)
    assert model == after
    for action in reversed(actions):
        model = action.inverse().on(model)
    assert model == before


TEXT = """
name: lab
networks: {red: {subnets: [10.0.0.0/24]}, blue: {}}
guests:
  web: {nics: [{network: red}]}
  db: {nics: [{network: blue}]}
  ids: {nics: [GRANT]}
uplinks: {wan: {nic: {kind: pipe}, tagged: [red], mirrors: [far]}}
mirrors:
  watch: MIRROR
"""


@pytest.mark.parametrize(
    ("mirror", "grant", "told"),
    [
        (
            "{networks: [red], to: ids}",
            "{network: blue}",
            "lab.yaml:9:32: mirrors.watch.to: ids.0, which does not grant it, expected "
            "guests.ids.nics[0].mirrors: [watch]",
        ),
        (
            "{networks: [red], to: ids}",
            "{mirrors: [wacth]}",
            'lab.yaml:6:27: guests.ids.nics[0].mirrors[0]: no mirror "wacth", expected watch (did you mean',
        ),
        ("{networks: [red], to: web}", "{mirrors: [watch]}", "mirror watch goes to web.0, expected it at"),
        ("{to: ids}", "{mirrors: [watch]}", "mirrors.watch: a mirror of nothing, expected ports, switches"),
        ("{ports: [ids], to: ids}", "{mirrors: [watch]}", "ids.0 receives mirror watch, and copies are not"),
        ("{ports: [wep], to: ids}", "{mirrors: [watch]}", 'no port "wep"'),
        ("{networks: [rad], to: ids}", "{mirrors: [watch]}", 'no network "rad"'),
        ("{switches: [s9], to: ids}", "{mirrors: [watch]}", 'no switch "s9"'),
        ("{networks: [red]}", "{mirrors: [watch]}", "a mirror that goes nowhere, expected to or erspan"),
        ("{networks: [red], to: nobody}", "{network: red}", 'no guest or NIC "nobody"'),
        (
            "{networks: [red], to: ids}",
            "{mirrors: [watch]}, {mirrors: [watch]}",
            "ids has 2 NICs, expected one that has mirrors: [watch]",
        ),
        (
            "{networks: [red], erspan: {uplink: wan, session: 1, source: 192.0.2.1, target: fd00::1, "
            'next_hop: "02:00:00:00:00:09"}}',
            "{network: red}",
            "wan, which does not grant it, expected uplinks.wan.mirrors: [watch]",
        ),
    ],
)
def test_a_typo_shows_nothing_to_anybody(mirror: str, grant: str, told: str) -> None:
    text = TEXT.replace("MIRROR", mirror).replace("GRANT", grant).replace(", mirrors: [far]", "")
    with pytest.raises(BadInput) as error:
        Topology.from_text(text.lstrip(), "lab.yaml")
    assert told in str(error.value)


def test_the_proof_tells_who_watches_whom() -> None:
    text = TEXT.replace("MIRROR", "{networks: [red], to: ids}").replace("GRANT", "{mirrors: [watch]}")
    topology = Topology.from_text(text.replace(", mirrors: [far]", ""))
    proof = Proof(topology)
    (watching,) = watchers(proof.ground)
    assert watching.text == "ids.0 sees what web.0, wan send and receive in red (mirror watch)"
    assert all(not pair.ethernet for pair in proof.pairs() if "ids" in (pair.source, pair.target))
    assert Topology.from_dict(topology.to_dict()) == topology


# -- nobody else notices -----------------------------------------------------------------------------

NAMES = ("r1", "r2", "b1", "b2")
mirrors = st.fixed_dictionaries(
    {},
    optional={
        "ports": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        "networks": st.lists(st.sampled_from(["red", "blue"]), min_size=1, unique=True),
        "direction": st.sampled_from(["both", "in", "out"]),
        "snap": st.integers(18, 80),
        "tagged": st.booleans(),
    },
).filter(lambda keys: "ports" in keys or "networks" in keys)
sent = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 4)), min_size=1, max_size=30)


async def outcome(topology: Topology, frames: list[tuple[int, int | None]]) -> dict[str, Any]:
    """What everybody heard, and what was counted and learned."""
    async with vnet.Fabric(topology) as fabric:
        for mark, (source, target) in enumerate(frames):
            await end(fabric, NAMES[source]).send(frame(source, target, mark))
            await trio.sleep(0.001)
        names = [*NAMES, *(["ids"] if "ids" in fabric.guests else [])]
        found: dict[str, Any] = {name: await heard(fabric, name) for name in names}
        for name in NAMES:
            found[f"{name} counted"] = fabric.port(name).counters()
        return found | {"fdb": [(entry["mac"], entry["port"], entry["vlan"]) for entry in fabric.fdb()]}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=mirrors, frames=sent)
async def test_originals_are_as_without_and_copies_as_the_words_say(
    autojump_clock: trio.testing.MockClock, keys: dict[str, Any], frames: list[tuple[int, int | None]]
) -> None:
    plain = lab(ports=["r1"])
    del plain.mirrors["watch"], plain.guests["ids"]
    without, watched = await outcome(plain, frames), await outcome(lab(**keys), frames)
    copies = watched.pop("ids")
    assert watched == without
    network = {name: "red" if name[0] == "r" else "blue" for name in NAMES}
    where, way = keys.get("ports", NAMES), keys.get("direction", "both")
    wanted = set()
    for mark, (source, _) in enumerate(frames):
        ways = [source] if way != "out" else []
        seen = any(NAMES[at] in where for at in ways) or (
            way != "in"
            and any(int.from_bytes(got[14:18], "big") == mark for name in where for got in without[name])
        )
        if seen and network[NAMES[source]] in keys.get("networks", ["red", "blue"]):
            wanted.add(mark)
    at = 18 if keys.get("tagged") else 14
    assert all(len(copy) <= keys.get("snap", 64) for copy in copies)
    if keys.get("snap", 64) >= at + 4:
        marks = [int.from_bytes(copy[at : at + 4], "big") for copy in copies]
        assert len(marks) == len(set(marks)), "a frame was copied twice"
        assert set(marks) == wanted
    assert len(copies) == len(wanted)


# -- ERSPAN ------------------------------------------------------------------------------------------


def remote(**mirror: Any) -> Topology:
    """A tenant whose frames go to a collector beyond an uplink."""
    topology = lab(ports=["r1"], to="ids")
    session = {
        "uplink": "wan",
        "session": 7,
        "source": "192.0.2.1",
        "target": "192.0.2.9",
        "next_hop": "02:00:00:00:00:99",
    }
    topology.uplink(
        "wan", nic=vnet.Pipe(), native="blue", tagged=["red"], mirrors=["far"], vlans={"red": 110}
    )
    keys = {"ports": ["r1"], **mirror, "erspan": {**session, **mirror.get("erspan", {})}}
    return topology.mirror("far", **keys)


@needs_tool("tshark")
@pytest.mark.usefixtures("autojump_clock")
async def test_erspan_is_what_tshark_takes_it_for(tmp_path: Path) -> None:
    file = tmp_path / "wan.pcapng"
    async with vnet.Fabric(remote(snap=100, tagged=True)) as fabric:
        await heard(fabric, "wan")
        async with fabric.capture(file, "wan", direction="out"):
            for mark in range(3):
                packet = Ether(src=mac(0), dst=mac(9)) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80)
                await end(fabric, "r1").send(bytes(packet / (b"x" * 60 * mark)))
            await trio.sleep(0.01)
        assert not fabric.port("wan").counters()["drops"]
    fields = ("erspan.version", "erspan.vlan", "erspan.spanid", "erspan.truncated", "erspan.encap")
    shown = (
        *fields,
        "gre.sequence_number",
        "gre.proto",
        "ip.dst",
        "tcp.dstport",
        "frame.len",
        "ip.checksum.status",
    )
    command = [
        str(shutil.which("tshark")),
        "-r",
        str(file),
        "-o",
        "ip.check_checksum:TRUE",
        "-Y",
        "erspan",
        "-T",
        "fields",
    ]
    asked = [*command, *(word for field in shown for word in ("-e", field))]
    told = (await trio.run_process(asked, capture_stdout=True)).stdout.decode().splitlines()
    assert len(told) == 3
    for number, line in enumerate(told):
        version, vlan, session, cut, encap, sequence, proto, to, port, length, good = line.split("\t")
        assert (version, vlan, session) == ("1", "10", "7")
        assert (proto, to, port) == ("0x88be", "192.0.2.9,10.0.0.2", "80")
        # What r1 is announced by came before.
        assert (int(sequence), encap) == (2 + number, "3")
        # The outer one is good; of a cut frame the inner one is still there.
        assert good.split(",")[0] == "1"
        whole = 58 + 60 * number
        assert int(length) == 50 + min(whole, 100)
        assert cut in ("1", "True") if whole > 100 else cut in ("0", "False")


@pytest.mark.usefixtures("autojump_clock")
async def test_erspan_in_a_tagged_network_and_what_is_too_long_is_cut() -> None:
    async with vnet.Fabric(
        remote(erspan={"network": "red", "source": "fd00::1", "target": "fd00::9"})
    ) as fabric:
        await heard(fabric, "wan")
        await end(fabric, "r1").send(frame(0, 9, 1).ljust(1514, b"y"))
        packets = [Ether(copy) for copy in await heard(fabric, "wan")]
        # The first ones tell of r1 itself, which the uplink is told of as well.
        copy = max((packet for packet in packets if packet.dst == "02:00:00:00:00:99"), key=len)
        assert copy[Dot1Q].vlan == 110
        assert copy[Dot1Q].type == 0x86DD
        assert len(copy) == 14 + 4 + 1500
        assert bytes(copy)[68] & 4, "it says that it was cut"
        assert bytes(copy)[74:] == frame(0, 9, 1).ljust(1514, b"y")[: len(copy) - 74]
