"""A NIC on a real engine, with pipes beside it: what `check_nic` works on."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nics.door import Nic, Opened, Place
from nics.netlink import Netlink
from vnet import drive
from vnet._native import Door, Engine, PipeHandle, PortConfig, drop_reasons, pipe_door
from vnet.testing.peer import Peer

PATIENCE = 20.0
"""Seconds that anything may take before the check fails."""
QUEUE = 1024
"""Frames that a pipe holds each way."""
ETHERTYPE = b"\x88\xb5"
"""IEEE 802: local experimental; what the frames of the check have, and nobody else's."""
DOOR_REASONS = {"door-malformed", "door-overrun", "door-stranger", "door-unused"}
EGRESS_REASONS = {"tx-full", "tx-no-carrier", "tx-too-big", "tx-error", "tx-offload"}


@contextmanager
def within(what: str) -> Iterator[None]:
    """Fail with `what` when the block takes too long."""
    try:
        with trio.fail_after(PATIENCE):
            yield
    except trio.TooSlowError:
        raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}") from None


def mac(number: int) -> bytes:
    """The address of a station."""
    return b"\x02\x00\x00\x00\x00" + bytes([number])


BROADCAST = b"\xff" * 6
PEER, A, B = mac(1), mac(2), mac(3)
"""The stations: the NIC's peer, and those at the two pipes."""


def frame(to: bytes, source: bytes, number: int, size: int = 60, vlan: int | None = None) -> bytes:
    """A frame of `size` bytes (with its tag) that tells its own number, if it is long enough."""
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2)
    head = to + source + tag + ETHERTYPE + number.to_bytes(4)
    filling = bytes((i * 31 + number) & 0xFF for i in range(256))
    return (head + filling * (size // 256 + 1))[:size]


def ours(data: bytes) -> bool:
    """Whether a frame belongs to the check."""
    return data[12:14] == ETHERTYPE or (data[12:14] == b"\x81\x00" and data[16:18] == ETHERTYPE)


class Beside:
    """A pipe on the same switch."""

    def __init__(self, handle: PipeHandle) -> None:
        self._handle = handle
        self._news = trio.Event()

    def event(self) -> None:
        """The engine has news."""
        self._news.set()
        self._news = trio.Event()

    async def send(self, data: bytes) -> None:
        """Send a frame into the switch."""
        while True:
            news = self._news
            try:
                self._handle.send(data)
            except BlockingIOError:
                await news.wait()
            else:
                await trio.lowlevel.checkpoint()
                return

    async def receive(self) -> bytes:
        """The next frame of the check's from the switch."""
        while True:
            news = self._news
            if (data := self.take()) is not None:
                await trio.lowlevel.checkpoint()
                return data
            await news.wait()

    def take(self) -> bytes | None:
        """The next frame that is there already, if any."""
        try:
            while not ours(data := self._handle.receive()):
                pass
        except BlockingIOError:
            return None
        return data


@attrs.define
class Bench:
    """The NIC under test at `port`, the peer behind it, and the pipes `a` and `b`."""

    engine: Engine
    switch: int
    place: Place
    nic: Nic | Opened | Door
    peer: Peer
    port: int = -1
    a: Beside = attrs.field(init=False)
    b: Beside = attrs.field(init=False)
    ports: list[int] = attrs.field(factory=list)
    log: list[str] = attrs.field(factory=list)
    carrier: list[bool] = attrs.field(factory=list)
    """Every carrier change of the NIC that was announced."""
    _beside: dict[int, Beside] = attrs.field(factory=dict)
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _opened: Opened | None = None
    _marks: int = 0

    async def attach(self, config: PortConfig) -> None:
        """Open the NIC and give it a port."""
        nic = self.nic if isinstance(self.nic, Opened | Door) else await self.nic.open(self.place)
        self._opened = nic if isinstance(nic, Opened) else Opened(nic)
        self.carrier.clear()
        self.port = self.engine.add_port(self._opened.door, self.switch, config)
        self.ports.append(self.port)

    async def detach(self) -> None:
        """Take the NIC off its port."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        self.ports.remove(self.port)
        self.engine.remove_port(self.port)
        if opened.far is not None:
            opened.far.event(0, 0)
        if opened.close is not None:
            await opened.close()

    def pipe(self, config: PortConfig) -> Beside:
        """Another pipe on the switch."""
        door, handle = pipe_door(QUEUE, 65_557)
        number = self.engine.add_port(door, self.switch, config)
        self.ports.append(number)
        self._beside[number] = beside = Beside(handle)
        return beside

    def event(self, event: drive.Event) -> None:
        """Something happened in the engine."""
        port, kind, a, b, text = event
        if kind in ("pipe", "socket") and port == self.port:
            if self._opened is not None and self._opened.far is not None:
                self._opened.far.event(a, b)
        elif kind == "pipe" and port in self._beside:
            self._beside[port].event()
        elif kind == "log":
            self.log.append(text)
        elif kind == "carrier" and port == self.port:
            self.carrier.append(bool(a))
            self._changed.set()
            self._changed = trio.Event()

    async def until_carrier(self, up: bool) -> None:
        """Wait until the NIC has (or has no) carrier, and has announced it."""
        with within(f"carrier {'up' if up else 'down'} (announced so far: {self.carrier}, log: {self.log})"):
            while self.engine.carrier(self.port) != up or (self.carrier and self.carrier[-1] != up):
                await self._changed.wait()

    async def receive(self) -> bytes:
        """The next frame of the check's that the peer receives."""
        while not ours(data := await self.peer.receive()):
            pass
        return data

    def counters(self, port: int | None = None) -> dict[str, Any]:
        """Counters of the NIC's port, or another's."""
        return self.engine.counters(self.port if port is None else port)

    def drops(self) -> dict[str, int]:
        """What was dropped at the NIC's port, by reason."""
        drops: dict[str, int] = self.counters()["drops"]
        return drops

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, which counters tell and no event does."""
        with trio.move_on_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - counters have no event
                await trio.sleep(0.001)
            return
        counted = {port: self.counters(port) for port in self.ports}
        raise AssertionError(f"waited {PATIENCE:g} s in vain until {what}: {counted}, log: {self.log}")

    async def passed(self) -> None:
        """Wait until all that pipe `a` has sent was forwarded or dropped. `b` must be known."""
        self._marks += 1
        mark = frame(B, A, 0xFFFF_0000 + self._marks, 64)
        with within("a frame between others"):
            await self.a.send(mark)
            while await self.b.receive() != mark:
                pass

    async def add_up(self) -> None:
        """Every frame received is forwarded or dropped for one reason, at every port."""
        known = {name for name, _ in drop_reasons()}

        def adds_up() -> bool:
            for port in self.ports:
                counted = self.counters(port)
                drops = counted["drops"]
                assert set(drops) <= known, f"unknown reasons {set(drops) - known}"
                ingress = sum(n for r, n in drops.items() if r not in DOOR_REASONS | EGRESS_REASONS)
                if counted["rx_frames"] != counted["forwarded"] + ingress:
                    return False
            return True

        await self.until("received = forwarded + dropped at every port", adds_up)


Maker = Callable[[Place], AbstractAsyncContextManager[tuple[Nic | Opened | Door, Peer]]]
"""Makes a NIC and what plays its guest. Called once for each check, with a place of its own: an empty
runtime folder, which must be empty again in the end, and a netlink thread."""


@asynccontextmanager
async def bench(
    maker: Maker, driver: str, nic: PortConfig | None = None, beside: PortConfig | None = None
) -> AsyncIterator[Bench]:
    """Everything for one check; afterwards, nothing of it may be left."""
    before = _descriptors()
    async with AsyncExitStack() as stack:
        # A socket's path must be short, which a test's own folder often is not.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vnet-")))
        netlink = await stack.enter_async_context(Netlink())
        place = Place(
            port="nic.0", runtime=folder / "run", netlink=netlink, mac="02:00:00:00:00:01", mtu=1500
        )
        place.runtime.mkdir()
        description, peer = await stack.enter_async_context(maker(place))
        engine = Engine()
        made = Bench(engine, engine.add_switch(), place, description, peer)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        if driver == "thread":
            engine.start("adaptive")
            stack.callback(engine.stop)
        else:
            nursery.start_soon(drive.drive, engine)
        nursery.start_soon(drive.dispatch, engine, made.event, _lost)
        mtu = min(peer.max_frame - 14, 65_521)
        await made.attach(nic or PortConfig(vlan=1, mtu=mtu))
        made.a, made.b = (made.pipe(beside or PortConfig(vlan=1, mtu=65_521)) for _ in range(2))
        with within("the peer's coming"):
            await peer.connect()
        await made.until_carrier(True)
        yield made
        await made.add_up()
        await made.detach()
        left = [path.name for path in place.runtime.iterdir()]
        await stack.aclose()
    # The check itself still holds the bench.
    del made.engine, made.nic, made._opened, engine, description, peer, nursery
    gc.collect()
    after = _descriptors()
    assert set(after) <= set(before), (
        f"descriptors left open: {[after[fd] for fd in after.keys() - before.keys()]}"
    )
    assert not left, f"left behind in the runtime folder: {left}"


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # the folder's own
            continue
    return found


def _lost(count: int) -> None:
    raise AssertionError(f"{count} events were lost")
