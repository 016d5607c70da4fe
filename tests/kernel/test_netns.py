"""Namespace guests: made, entered, and gone without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from nics import inside
from nics.errors import NicError, VnetError
from nics.netlink import Netlink
from nics.netns import Namespace, command, remove_leftover
from tests.kernel.lab import PREFIX
from tests.kernel.nobody import REPOSITORY, as_nobody
from tests.needs import needs_root, needs_tool, needs_userns

PINS = Path("/run/netns")
HERE = os.readlink("/proc/self/ns/net") + "\n"  # noqa: PTH115 - it names no file


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Processes begin as from a shell, though these tests may run under nohup, which they would inherit."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel does in its own time; the test's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await trio.sleep(0.01)


def pinned() -> set[str]:
    """The namespaces of these tests that have a path."""
    return {path.name for path in PINS.glob(f"{PREFIX}-*")}


def script(text: str) -> str:
    head = "import os, subprocess, sys, trio\nfrom nics.netlink import Netlink\nfrom nics.netns import *\n"
    return head + textwrap.dedent(text)


async def run_script(*argv: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return await trio.run_process(
        argv, capture_stdout=True, capture_stderr=True, check=False, cwd=REPOSITORY, env=environment
    )


@needs_root
async def test_a_namespace_is_made_entered_and_removed() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-a", netlink, host="a")
        assert guest.path == PINS / f"{PREFIX}-a"
        assert inside.identity(guest.path) == inside.identity(guest.fd)
        assert (await guest.run("uname", "-n")).strip() == "a"
        assert os.uname().nodename != "a"
        # A namespace of its own, its loopback up, and /sys shows its interfaces, not the host's.
        assert await guest.run("readlink", "/proc/self/ns/net") != HERE
        assert (await guest.run("ls", "/sys/class/net")).split() == ["lo"]
        assert int((await guest.run("cat", "/sys/class/net/lo/flags")).strip(), 16) & 1
        await guest.aclose()
        await guest.aclose()
        assert not guest.path.exists()


@needs_root
@needs_tool("ip")
async def test_ip_netns_knows_it() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-b", netlink)
        listed = await trio.run_process(["ip", "netns", "list"], capture_stdout=True)
        assert f"{PREFIX}-b".encode() in listed.stdout
        done = await trio.run_process(
            ["ip", "netns", "exec", f"{PREFIX}-b", "readlink", "/proc/self/ns/net"], capture_stdout=True
        )
        assert done.stdout.decode() == await guest.run("readlink", "/proc/self/ns/net")
        await guest.aclose()


@needs_root
async def test_many_namespaces_come_and_go() -> None:
    async with Netlink() as netlink:
        guests = [await Namespace.create(f"{PREFIX}-{i}", netlink) for i in range(50)]
        assert len({inside.identity(guest.fd) for guest in guests}) == 50
        for guest in guests[:25]:
            await guest.aclose()
        assert pinned() == {guest.name for guest in guests[25:]}
        for guest in guests[25:]:
            await guest.aclose()
    assert not pinned()


@needs_root
async def test_the_end_of_netlink_removes_what_is_left() -> None:
    async with Netlink() as netlink:
        guests = [await Namespace.create(f"{PREFIX}-{i}", netlink) for i in range(3)]
        process = await guests[0].open_process("sleep", "1000")
        await until(lambda: _lives_in(process.pid, guests[0]))
    assert not pinned()
    assert await process.wait() == -signal.SIGHUP
    for guest in guests:
        await guest.aclose()


def _lives_in(pid: int, guest: Namespace) -> bool:
    return inside.identity(f"/proc/{pid}/ns/net") == inside.identity(guest.fd)


@needs_root
async def test_processes_inside_end_with_it_even_stubborn_ones() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-c", netlink)
        shell = "trap '' HUP TERM; echo ready; while :; do sleep 1000; done"
        stubborn = await guest.open_process("sh", "-c", shell, stdout=subprocess.PIPE)
        assert stubborn.stdout is not None
        assert await stubborn.stdout.receive_some() == b"ready\n"
        await guest.aclose()
        assert await stubborn.wait() == -signal.SIGKILL
        await stubborn.stdout.aclose()


@needs_root
@needs_tool("unshare")
async def test_who_made_a_namespace_of_its_own_inside_ends_with_it_and_nobody_else() -> None:
    async with Netlink() as netlink:
        guest, other = [await Namespace.create(f"{PREFIX}-{name}", netlink) for name in ("l", "m")]
        own = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"]
        processes = [
            await guest.open_process(*own, stdout=subprocess.PIPE),
            await other.open_process(*own, stdout=subprocess.PIPE),
            await trio.lowlevel.open_process(own, stdout=subprocess.PIPE),
        ]
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.receive_some() == b"ready\n"
            assert not _lives_in(process.pid, guest)
            assert not _lives_in(process.pid, other)
        inner, others, bystander = processes
        await guest.aclose()
        assert await inner.wait() == -signal.SIGHUP
        # Whoever was to end has been waited for.
        assert others.poll() is bystander.poll() is None
        await other.aclose()
        assert await others.wait() == -signal.SIGHUP
        assert bystander.poll() is None
        bystander.kill()
        await bystander.wait()
        for process in processes:
            assert process.stdout is not None
            await process.stdout.aclose()


@needs_root
async def test_a_name_that_is_taken_is_told_with_its_remedy() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-d", netlink)
        with pytest.raises(NicError, match=PREFIX + r"-d can't be made: File exists: .*ip netns delete"):
            await Namespace.create(f"{PREFIX}-d", netlink)
        async with Netlink() as other:
            with pytest.raises(NicError, match="File exists"):
                await Namespace.create(f"{PREFIX}-d", other)
        assert guest.path is not None
        assert guest.path.exists()
        await guest.aclose()


@needs_root
async def test_commands_that_fail_say_why() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-e", netlink)
        with pytest.raises(VnetError, match=rf"cat /nowhere failed in {PREFIX}-e \(1\): .*No such file"):
            await guest.run("cat", "/nowhere")
        assert await guest.run("cat", "/nowhere", check=False) == ""
        with pytest.raises(VnetError, match=r"\(127\): vnet: no-such-command: No such file"):
            await guest.run("no-such-command")
        with pytest.raises(VnetError, match=r"\(126\): vnet: /: Permission denied"):
            await guest.run("/")
        entry = guest.entry()
        await guest.aclose()
        late = await trio.run_process(command(entry, "true"), capture_stderr=True, check=False)
        assert late.returncode == 125
        assert b"can't be entered" in late.stderr


@needs_root
async def test_sockets_belong_to_the_namespace_they_are_opened_for() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-f", netlink)
        with await guest.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            with socket.socket() as ours, pytest.raises(ConnectionRefusedError):
                ours.connect(("127.0.0.1", port))
            with await guest.socket(socket.AF_INET, socket.SOCK_STREAM) as theirs:
                theirs.connect(("127.0.0.1", port))
        with pytest.raises(OSError, match="Protocol not supported"):
            await guest.socket(socket.AF_INET, socket.SOCK_STREAM, 250)
        await guest.aclose()


@needs_root
async def test_netlink_works_in_ours_and_in_theirs_and_errors_come_back() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-g", netlink)

        def names(iproute: object) -> list[str]:
            return [link.get("ifname") for link in iproute.get_links()]  # type: ignore[attr-defined]

        assert await netlink.run(names, guest.fd) == ["lo"]
        assert set(await netlink.run(names)) == {name for _, name in socket.if_nameindex()}
        with pytest.raises(ZeroDivisionError):
            await netlink.run(lambda _: 1 // 0, guest.fd)
        await guest.aclose()


FABRIC = script("""
    async def main():
        async with Netlink() as netlink:
            guests = [await Namespace.create(f"{sys.argv[1]}-{i}", netlink) for i in range(3)]
            await guests[0].open_process("sleep", "1000")
            print(netlink._holder._process.pid, flush=True)
            await trio.sleep_forever()
    trio.run(main)
""")


async def _start_fabric() -> tuple[trio.Process, int]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    fabric = await trio.lowlevel.open_process(
        [sys.executable, "-c", FABRIC, PREFIX], stdout=subprocess.PIPE, env=environment
    )
    assert fabric.stdout is not None
    holder = int(await fabric.stdout.receive_some())
    await fabric.stdout.aclose()
    assert len(pinned()) == 3
    return fabric, holder


@needs_root
async def test_a_fabric_that_is_killed_leaves_nothing() -> None:
    fabric, holder = await _start_fabric()
    handle = os.pidfd_open(holder)
    fabric.kill()
    await fabric.wait()
    await trio.lowlevel.wait_readable(handle)  # the holder has ended
    os.close(handle)
    assert not pinned()


@needs_root
async def test_what_is_left_when_the_holder_is_killed_too_can_be_removed() -> None:
    fabric, holder = await _start_fabric()
    handle = os.pidfd_open(holder)
    os.kill(holder, signal.SIGKILL)
    fabric.kill()
    await fabric.wait()
    await trio.lowlevel.wait_readable(handle)
    os.close(handle)
    assert len(pinned()) == 3
    assert all(remove_leftover(f"{PREFIX}-{i}") for i in range(3))
    assert not remove_leftover(f"{PREFIX}-0")
    assert not pinned()


@needs_root
async def test_a_path_that_was_never_mounted_is_a_leftover_too() -> None:
    path = PINS / f"{PREFIX}-h"
    async with Netlink() as netlink:
        await (await Namespace.create(f"{PREFIX}-i", netlink)).aclose()  # the folder is there now
        path.touch()
        assert remove_leftover(path.name)
        assert not path.exists()


@needs_root
async def test_a_holder_that_dies_is_told_and_its_namespaces_still_go() -> None:
    async with Netlink() as netlink:
        guest = await Namespace.create(f"{PREFIX}-j", netlink)
        assert netlink._holder is not None
        netlink._holder._process.kill()
        with pytest.raises(NicError, match=r"holds the network namespaces ended \(exit code -9\): restart"):
            await Namespace.create(f"{PREFIX}-k", netlink)
        await guest.aclose()
    assert not pinned()


USER = script("""
    async def main():
        async with Netlink() as netlink:
            guests = [await Namespace.create(f"vnet-user-{i}", netlink, host=f"g{i}") for i in range(10)]
            guest = guests[3]
            assert guest.path is None and guest.name not in os.listdir("/run/netns")
            assert (await guest.run("uname", "-n")).strip() == "g3"
            assert (await guest.run("id", "-u")).strip() == "0"     # root in there, nobody out here
            assert os.getuid() != 0
            await guest.run("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
            names = await netlink.run(lambda i: [l.get("ifname") for l in i.get_links()], guest.fd)
            assert sorted(names) == ["lo", "one", "two"], names
            up = lambda i: i.link("set", index=i.link_lookup(ifname="one")[0], state="up")
            await netlink.run(up, guest.fd)
            own = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"]
            inner = await guest.open_process(*own, stdout=subprocess.PIPE)
            assert await inner.stdout.receive_some() == b"ready\\n"
            process = await guest.open_process("sleep", "1000")
            while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                await trio.sleep(0.01)
            await guest.aclose()
            print("ended by", await process.wait(), await inner.wait())
            for other in guests:
                await other.aclose()
        print("holder", netlink._holder)
    trio.run(main)
""")


@needs_userns
@needs_tool("ip")
async def test_an_ordinary_user_has_namespaces_too(tmp_path: Path) -> None:
    done = await run_script(*as_nobody(tmp_path, sys.executable, "-c", USER))
    assert (done.stdout.decode(), done.stderr.decode()) == ("ended by -1 -1\nholder None\n", "")


@needs_root
async def test_without_the_right_to_make_namespaces_the_remedy_is_told() -> None:
    text = script("""
        async def main():
            async with Netlink() as netlink:
                try:
                    await Namespace.create("vnet-never", netlink)
                except Exception as error:
                    print(type(error).__name__, error)
        trio.run(main)
    """)
    # uid 0 without any capability: it may neither make namespaces nor map itself into a new one.
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", text]
    done = await run_script(*powerless)
    assert done.stderr == b""
    words = done.stdout.decode()
    assert words.startswith(
        "NicError no network namespace can be made here: Operation not permitted: run as root"
    )
