"""TAPs: how they are set up and refused, and what passes between namespaces on them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from nics.errors import BadInput, NicError
from nics.netlink import Netlink
from nics.netns import Namespace
from nics.tap import Tap
from tests.kernel import datagrams
from tests.kernel.lab import PREFIX, Guest, Lab, closed, lab
from tests.kernel.nobody import REPOSITORY, as_nobody
from tests.needs import needs_tool, needs_tun, needs_userns
from vnet._native import PortConfig

pytestmark = [needs_tun, needs_tool("ip")]


async def output(*argv: str) -> str:
    return (await trio.run_process(argv, capture_stdout=True)).stdout.decode()


async def interface(guest: Guest, name: str = "eth0") -> dict[str, Any]:
    (shown,) = json.loads(await guest.run("ip", "-json", "-details", "address", "show", "dev", name))
    return dict(shown)


def asleep() -> bool:
    """Whether the engine's thread waits, as the kernel has it: never while epoll always has something."""
    for task in Path("/proc/self/task").iterdir():
        # Other threads may end while we look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text() == "vnet-engine\n":
                return (task / "stat").read_text().rpartition(") ")[2].startswith("S")
    raise AssertionError("no thread is an engine's")


# -- how it is set up ----------------------------------------------------------------------------


async def test_a_guest_gets_its_interface_as_the_topology_says() -> None:
    async with lab() as here:
        guest = await here.guest(mtu=4000, gateways=("10.9.0.254", "fd00:9::fe"))
        assert guest.opened.carries == "eth0"
        shown = await interface(guest)
        assert (shown["address"], shown["mtu"], shown["ifalias"]) == (guest.mac, 4000, "vnet g1.0")
        assert (shown["txqlen"], shown["qdisc"]) == (4096, "noqueue")
        assert {"UP", "LOWER_UP"} <= set(shown["flags"])
        given = {(a["local"], a["prefixlen"], a["scope"]) for a in shown["addr_info"]}
        assert {("10.9.0.1", 24, "global"), ("fd00:9::1", 64, "global")} <= given
        assert not any(a.get("tentative") for a in shown["addr_info"] if a["scope"] == "global")
        for family, gateway in (("-4", "10.9.0.254"), ("-6", "fd00:9::fe")):
            (route,) = json.loads(await guest.run("ip", "-json", family, "route", "show", "default"))
            assert (route["gateway"], route["dev"]) == (gateway, "eth0")
        here.engine.remove_port(here.guests.pop().port)
        await closed(guest.opened)
        assert "eth0" not in await guest.run("ip", "link")
        await guest.namespace.aclose()


async def test_in_our_own_namespace_it_is_called_like_its_port_and_takes_no_default_route() -> None:
    async with lab() as here:
        name = f"vt{os.getpid()}.0"
        routes = await output("ip", "route", "show", "default")
        place = here.place(1, port=name, addresses=("192.0.2.1/30",), gateways=("192.0.2.2",))
        opened = await Tap().open(place)
        assert opened.carries == name
        (shown,) = json.loads(await output("ip", "-json", "address", "show", name))
        # It was given no IPv6 address, and takes none by itself.
        assert [a["local"] for a in shown["addr_info"]] == ["192.0.2.1"]
        assert await output("ip", "route", "show", "default") == routes
        again = await Tap().open(attrs.evolve(place, addresses=()))
        assert again.carries.startswith("vtap")
        long = await Tap().open(attrs.evolve(place, port="a-guest-with-a-long-name.0", addresses=()))
        assert long.carries.startswith("vtap")
        for one in (opened, again, long):
            await closed(one)


async def test_a_named_namespace_is_where_it_goes() -> None:
    async with lab() as here:
        other = await Namespace.create(f"{PREFIX}-other", here.netlink)
        assert other.path is not None
        for where in (other.name, str(other.path)):
            opened = await Tap(name="lab0", netns=where).open(here.place(1))
            assert "lab0" in await other.run("ip", "link")
            await closed(opened)
        await other.aclose()
        with pytest.raises(NicError, match=r"namespace /run/netns/nope: No such file .*`ip netns add nope`"):
            await Tap(netns="nope").open(here.place(1))


async def test_a_tap_that_was_there_is_used_as_it_is_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest()
        await b.run("ip", "tuntap", "add", "mine", "mode", "tap", "multi_queue")
        await b.run("ip", "link", "set", "mine", "address", "02:00:00:00:00:99")
        place = here.place(2, netns=b.namespace.fd, mtu=1400)
        for _ in range(2):
            caplog.clear()
            opened = await Tap(name="mine").open(place)
            said = "\n".join(record.getMessage() for record in caplog.records)
            assert "keeps its MAC address 02:00:00:00:00:99; the topology has 02:00:00:00:00:02" in said
            assert "keeps its MTU 1500; the topology has 1400: run `ip link set mine mtu 1400`" in said
            assert "g2.0: the TAP mine is down: run `ip link set mine up`" in said
            opened.door.close()
        shown = await interface(b, "mine")
        assert (shown["address"], shown["mtu"], shown.get("ifalias")) == ("02:00:00:00:00:99", 1500, None)
        # Once it is as the topology says, nothing is said.
        for change in (["address", place.mac], ["mtu", "1400"], ["up"]):
            await b.run("ip", "link", "set", "mine", *change)
        caplog.clear()
        opened = await Tap(name="mine").open(place)
        assert caplog.records == []
        here.engine.remove_port(here.engine.add_port(opened.door, here.switch, PortConfig(vlan=10)))
        assert "mine" in await b.run("ip", "link")
        await reaches(a, b.ip)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "x" * 16, "a:b", "tap%d", "ä", "a\n"])
def test_names_that_the_kernel_would_refuse_are_refused_first(name: str) -> None:
    with pytest.raises(BadInput, match="no interface name"):
        Tap(name=name)


@pytest.mark.parametrize("queues", [0, -1, 65])
def test_queues_are_bounded(queues: int) -> None:
    with pytest.raises(BadInput, match="1 to 64 queues"):
        Tap(queues=queues)


# -- what is refused, with the remedy ------------------------------------------------------------


async def refused(here: Lab, guest: Guest, nic: Tap, match: str, **changes: object) -> None:
    """Opening fails in these words, and leaves no interface behind."""
    before = await guest.run("ip", "-o", "link")
    with pytest.raises(NicError, match=match):
        await nic.open(here.place(9, netns=guest.namespace.fd, **changes))
    assert await guest.run("ip", "-o", "link") == before


async def test_what_can_not_be_opened_is_told_with_its_remedy_and_undone() -> None:
    async with lab() as here:
        guest = await here.guest()
        await refused(
            here, guest, Tap(name="eth0"), "the TAP eth0 is in use by another process: give another"
        )
        await refused(here, guest, Tap(name="lo"), "there is an interface lo, but it is no TAP")
        await guest.run("ip", "tuntap", "add", "tun1", "mode", "tun")
        await refused(here, guest, Tap(name="tun1"), "there is an interface tun1, but it is no TAP")
        await guest.run("ip", "tuntap", "add", "tap1", "mode", "tap")
        await refused(here, guest, Tap(name="tap1", queues=2), "the number of queues that it was made for")
        await refused(here, guest, Tap(device="/dev/net/nope"), r"/dev/net/nope: No such file .*modprobe tun")
        await refused(
            here, guest, Tap(), "default route by 10.8.0.1 .*a gateway lies", gateways=("10.8.0.1",)
        )
        await refused(here, guest, Tap(), "IPv6 needs an MTU of at least 1280", mtu=1200)
        await refused(here, guest, Tap(), "MTU 70000 can't be set: Invalid argument", mtu=70000)
        await refused(here, guest, Tap(), "MAC address 01:00.* can't be set", mac="01:00:00:00:00:01")


NOBODY = """
import trio, sys
from nics.door import Place
from nics.netlink import Netlink
from nics.netns import Namespace
from nics.tap import Tap
from pathlib import Path

async def main():
    async with Netlink() as netlink:
        place = Place(port="x.0", runtime=Path("/"), netlink=netlink, mac="02:00:00:00:00:05", mtu=1400,
                      addresses=("10.9.0.5/24",), gateways=("10.9.0.1",))
        for name in sys.argv[1:]:
            try:
                opened = await Tap(name=name).open(place)
                print("opened", opened.carries)
                opened.door.close()
            except Exception as error:
                print(type(error).__name__, error)
        if len(sys.argv) == 1:
            import attrs
            guest = await Namespace.create("vnet-test-user", netlink)
            opened = await Tap(queues=2).open(attrs.evolve(place, netns=guest.fd))
            print(await guest.run("ip", "-br", "address", "show", "eth0"), end="")
            print(await guest.run("ip", "route"), end="")
            opened.door.close()
            await guest.aclose()

trio.run(main)
"""


async def nobody(folder: Path, guest: Namespace | None, *argv: str) -> str:
    line = as_nobody(folder, "env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", NOBODY, *argv)
    if guest is not None:
        return await guest.run(*line)
    done = await trio.run_process(line, capture_stdout=True, cwd="/")
    return done.stdout.decode()


async def test_an_ordinary_user_needs_a_tap_made_for_him(tmp_path: Path) -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-n", netlink)
        made = ["ip", "tuntap", "add", "mine", "mode", "tap", "user", "nobody"]
        await guest.run(*made)
        await guest.run("ip", "tuntap", "add", "theirs", "mode", "tap", "user", "daemon")
        said = (await nobody(tmp_path, guest, "mine", "theirs", "fresh")).splitlines()
        assert said[0] == "opened mine"
        for line, name in zip(said[1:], ("theirs", "fresh"), strict=True):
            assert f"x.0: TAP {name}: Operation not permitted" in line
            assert f"run as root, or once as root: `ip tuntap add {name} mode tap user " in line
        # It is used as it is, and stays.
        assert "mine" in await guest.run("ip", "link")
        assert "10.9.0.5" not in await guest.run("ip", "address")
        await guest.aclose()


@needs_userns
async def test_an_ordinary_user_has_taps_in_his_own_namespaces(tmp_path: Path) -> None:
    said = (await nobody(tmp_path, None)).splitlines()
    assert said[0].split()[:1] == ["eth0"]
    assert "10.9.0.5/24" in said[0]
    assert said[1].startswith("default via 10.9.0.1 dev eth0 ")


# -- what passes ---------------------------------------------------------------------------------


async def reaches(guest: Guest, *argv: str) -> None:
    """Wait until an echo is answered."""
    await guest.run("ping", "-c", "1", "-w", "30", "-i", "0.2", *argv)


async def reaches_not(guest: Guest, *argv: str) -> None:
    told = await guest.run("ping", "-c", "2", "-i", "0.2", "-W", "1", *argv, check=False)
    assert "100% packet loss" in told


async def test_guests_of_one_vlan_reach_each_other_and_no_others() -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest()
        other = await here.guest(vlan=20)
        await reaches(a, b.ip)
        await reaches(a, b.ip6)
        await reaches_not(a, other.ip)
        await reaches_not(other, b.ip6)
        assert here.engine.counters(other.port)["tx_frames"] == 0


@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 65521])
async def test_frames_of_the_mtu_pass_whole(mtu: int) -> None:
    async with lab() as here:
        a, b = await here.guest(mtu=mtu), await here.guest(mtu=mtu)
        await reaches(a, "-M", "do", "-s", str(min(mtu, 65535) - 28), b.ip)


@asynccontextmanager
async def running(guest: Guest, *argv: str) -> AsyncIterator[trio.abc.ReceiveStream]:
    """A command in a guest, for as long as the block; its output."""
    process = await guest.namespace.open_process(*argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout:
        try:
            yield process.stdout
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def iperf3(server: Guest, client: Guest, *argv: str) -> dict[str, Any]:
    """A run of iperf3; what it summed up."""
    async with running(server, "iperf3", "-s", "-1", "--forceflush") as output:
        heard = b""
        while b"Server listening" not in heard:
            heard += await output.receive_some()
        return dict(json.loads(await client.run("iperf3", "-J", *argv))["end"])


@needs_tool("iperf3")
@pytest.mark.parametrize("offload", [(True, True), (False, False), (True, False), (False, True)])
async def test_tcp_survives_any_pair_of_offloads(offload: tuple[bool, bool]) -> None:
    async with lab() as here:
        a, b = [await here.guest(Tap(offload=on)) for on in offload]
        for address in (b.ip, b.ip6):
            for direction in ([], ["-R"]):
                done = await iperf3(b, a, "-c", address, "-n", "50M", *direction)
                assert done["sum_received"]["bytes"] > 40_000_000
        if offload == (True, True):
            counted = here.engine.counters(b.port)
            assert counted["rx_bytes"] / counted["rx_frames"] > 2000, "no super-frames were seen"
        assert not here.drops(a).keys() - {"same-port", "no-member"}
        assert not here.drops(b).keys() - {"same-port", "no-member"}


@needs_tool("iperf3")
@pytest.mark.parametrize("queues", [1, 4])
async def test_udp_arrives_in_order(queues: int) -> None:
    async with lab() as here:
        a, b = [await here.guest(Tap(queues=queues)) for _ in range(2)]
        for address in (b.ip, b.ip6):
            before = datagrams.unread(await b.run("cat", *datagrams.TABLES))
            done = await iperf3(b, a, "-c", address, "-u", "-b", "50M", "-l", "1400", "-P", "2", "-n", "10M")
            unread = datagrams.unread(await b.run("cat", *datagrams.TABLES)) - before
            assert done["sum"]["packets"] > 7000
            assert done["sum"]["lost_packets"] - unread < done["sum"]["packets"] / 20
            assert all(not stream["udp"].get("out_of_order") for stream in done["streams"])


@pytest.mark.parametrize("offload", [True, False])
async def test_datagrams_written_together_arrive_one_by_one(offload: bool) -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest(Tap(offload=offload))
        await reaches(a, b.ip)
        await reaches(a, b.ip6)
        for family, ip in ((socket.AF_INET, b.ip), (socket.AF_INET6, b.ip6)):
            with (
                await a.namespace.socket(family, socket.SOCK_DGRAM) as sender,
                await b.namespace.socket(family, socket.SOCK_DGRAM) as receiver,
            ):
                receiver.bind((ip, 9))
                sender.connect((ip, 9))
                sent = [number.to_bytes(2) * (9 if number % 40 else 7) for number in range(200)]
                taken = int(await b.run("cat", "/sys/class/net/eth0/statistics/rx_packets"))
                here.engine.stop()  # so that all of them wait when it looks
                for datagram in sent:
                    sender.send(datagram)
                here.engine.start("adaptive")
                heard = trio.socket.from_stdlib_socket(receiver)
                with trio.fail_after(30):
                    assert [await heard.recv(100) for _ in sent] == sent
                taken = int(await b.run("cat", "/sys/class/net/eth0/statistics/rx_packets")) - taken
                assert taken < 20 if offload else taken >= len(sent)


# -- how it ends and pauses ----------------------------------------------------------------------


async def test_the_link_that_the_operator_sets_is_seen_inside() -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest()
        await reaches(a, b.ip)
        here.engine.set_link(b.port, False)
        await here.event(b, "carrier", 0)
        while "NO-CARRIER" not in (await interface(b))["flags"]:  # noqa: ASYNC110
            await trio.sleep(0.01)  # some kernels tell it a moment later; the test's deadline bounds it
        await reaches_not(a, b.ip)
        here.engine.set_link(b.port, True)
        await here.event(b, "carrier", 1)
        await reaches(a, b.ip)


async def test_an_interface_set_down_inside_loses_its_carrier_until_it_is_up() -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest()
        await reaches(a, b.ip)
        await b.run("ip", "link", "set", "eth0", "down")
        await reaches_not(a, b.ip)
        await here.event(b, "carrier", 0)
        assert not here.engine.carrier(b.port)
        assert here.drops(b)["tx-no-carrier"] > 0
        await b.run("ip", "link", "set", "eth0", "up")
        await here.event(b, "carrier", 1)
        await reaches(a, b.ip)


async def test_an_interface_deleted_inside_is_told_and_harms_nobody() -> None:
    async with lab("sleep") as here:
        a, b, c = [await here.guest() for _ in range(3)]
        await reaches(a, b.ip)
        await b.run("ip", "link", "delete", "eth0")
        assert "eth0: the interface was deleted" in await here.event(b, "log")
        assert not here.engine.carrier(b.port)
        await reaches(a, c.ip)
        # The engine sleeps: a deleted TAP, which epoll reports for ever, does not keep it awake.
        looks = 0
        with trio.fail_after(30):
            while looks < 20:
                await trio.sleep(0.001)
                looks = looks + 1 if asleep() else 0


async def test_a_guest_that_floods_harms_nobody_else() -> None:
    async with lab() as here:
        a, b = await here.guest(), await here.guest()
        flooder = await here.guest(vlan=20)
        await here.guest(vlan=20)
        async with running(flooder, "ping", "-q", "-f", "-l", "5000", "-b", "10.9.0.255"):
            while here.engine.counters(flooder.port)["rx_frames"] < 1000:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await reaches(a, b.ip)
