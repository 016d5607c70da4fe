"""The conformance kit of NICs: what every kind must do, checked from both of its sides."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable

import trio

from nics.door import Opened
from vnet._native import Door, PortConfig
from vnet.errors import single
from vnet.testing.bench import BROADCAST, EGRESS_REASONS, PEER, A, B, Bench, Maker, bench, frame, mac, within

SIZES = (
    14,
    15,
    59,
    60,
    61,
    64,
    127,
    128,
    129,
    133,
    1513,
    1514,
    1515,
    1518,
    4096,
    9018,
    16_384,
    32_768,
    65_507,
)
"""Lengths around everything that matters: the shortest, padding, the private head, Ethernet's, jumbo,
powers of two, UDP's longest."""
WINDOW = 32
"""Frames that are under way at once where none may be lost."""


async def check_nic(maker: Maker, *, drivers: Iterable[str] = ("trio", "thread")) -> None:
    """Attach the NIC that `maker` makes to a real engine, next to pipes, and check that

    * frames of all sizes pass both ways byte for byte, and in order;
    * unicast, broadcast and flooding reach whom they should, and never their sender;
    * tags are put on and taken off;
    * giants and runts are dropped by reason and harm nothing;
    * a peer that does not read costs its own frames only, each counted with a reason;
    * carrier goes and comes with the peer, and the operator's link stops traffic;
    * received = forwarded + dropped, at all times;
    * a detached NIC leaves no descriptor and no file, and can be had again.

    Raises AssertionError that says what went wrong. Takes a few seconds of real time.
    """
    for driver in drivers:
        for check in _CHECKS:
            try:
                await check(maker, driver)
            except BaseExceptionGroup as group:
                raise single(group) from group
            except AssertionError as error:
                error.add_note(f"in {check.__name__.strip('_')}, driver {driver}")
                raise


def _same(got: object, want: object, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: {_shown(got)} instead of {_shown(want)}")


def _shown(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    return f"{len(value)} bytes {value[:22].hex()}{'...' if len(value) > 22 else ''}"


def _number(data: bytes) -> int:
    """Of a frame without a tag."""
    return int.from_bytes(data[14:18])


async def _introduce(made: Bench) -> None:
    """Have the switch know everybody, so that nothing is flooded."""
    with within("a broadcast from the peer"):
        await made.peer.send(frame(BROADCAST, PEER, 0))
        for pipe in (made.a, made.b):
            _same(await pipe.receive(), frame(BROADCAST, PEER, 0), "a broadcast from the peer")
    for pipe, source in ((made.a, A), (made.b, B)):
        await pipe.send(frame(PEER, source, 0))
        with within("a frame to the peer"):
            _same(await made.receive(), frame(PEER, source, 0), "a frame to the peer")


async def _sizes(maker: Maker, driver: str) -> None:
    async with bench(maker, driver) as made:
        await _introduce(made)
        lengths = [n for n in SIZES if made.peer.min_frame <= n <= made.peer.max_frame]
        for number, size in enumerate([*lengths, min(made.peer.max_frame, 65_535)]):
            there, back = frame(A, PEER, number, size), frame(PEER, A, number, size)
            with within(f"a frame of {size} bytes from the peer"):
                await made.peer.send(there)
                _same(await made.a.receive(), there, f"{size} bytes from the peer")
            with within(f"a frame of {size} bytes to the peer"):
                await made.a.send(back)
                _same(await made.receive(), back, f"{size} bytes to the peer")


async def _order(maker: Maker, driver: str) -> None:
    async with bench(maker, driver) as made:
        await _introduce(made)
        count, credit = 500, {"in": trio.Semaphore(WINDOW), "out": trio.Semaphore(WINDOW)}

        async def send(send: Callable[[bytes], Awaitable[None]], to: bytes, source: bytes, way: str) -> None:
            for number in range(count):
                await credit[way].acquire()
                await send(frame(to, source, number, 60 + number * 7 % 1400))

        async def receive(
            receive: Callable[[], Awaitable[bytes]], to: bytes, source: bytes, way: str
        ) -> None:
            for number in range(count):
                got = await receive()
                want = frame(to, source, number, 60 + number * 7 % 1400)
                _same(_number(got), number, f"the order of frames {way}")
                _same(got, want, f"frame {number} {way}")
                credit[way].release()

        with within(f"{count} frames both ways"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, made.peer.send, A, PEER, "in")
                nursery.start_soon(receive, made.a.receive, A, PEER, "in")
                nursery.start_soon(send, made.a.send, PEER, A, "out")
                nursery.start_soon(receive, made.receive, PEER, A, "out")


async def _whom_it_reaches(maker: Maker, driver: str) -> None:
    async with bench(maker, driver) as made:
        await _introduce(made)
        with within("unicast, multicast and broadcast from the peer"):
            # Whom a frame must not reach would find it before the last one, which reaches everybody.
            for number, to in enumerate((A, B, b"\x01\x00\x5e\x00\x00\x01", A, mac(99), BROADCAST), 1):
                await made.peer.send(frame(to, PEER, number))
            order = sorted if made.peer.groups_apart else list
            at_a = order([_number(await made.a.receive()) for _ in range(5)])
            at_b = order([_number(await made.b.receive()) for _ in range(4)])
            _same(at_a, [1, 3, 4, 5, 6], "what pipe a heard")
            _same(at_b, [2, 3, 5, 6], "what pipe b heard")
        with within("unicast and broadcast to the peer"):
            for number, to in enumerate((PEER, B, BROADCAST, mac(99), PEER), 11):
                await made.a.send(frame(to, A, number))
            # 11, 13, 14 and 15, and nothing that it sent itself.
            _same([_number(await made.receive()) for _ in range(4)], [11, 13, 14, 15], "what the peer heard")
        # A frame to itself stays where it came from.
        await made.peer.send(frame(PEER, PEER, 21))
        await made.peer.send(frame(A, PEER, 22))
        with within("a frame behind one to itself"):
            _same(_number(await made.a.receive()), 22, "what pipe a heard")
        _same(made.drops().get("same-port"), 1, "frames dropped as same-port")


async def _tags(maker: Maker, driver: str) -> None:
    trunk = PortConfig(tagged=[10, 20], native=30)
    async with bench(maker, driver, nic=trunk, beside=PortConfig(vlan=10)) as made:
        with within("tagged frames"):
            for size in (64, 128, 132, 133, 1000, 1518):
                await made.peer.send(frame(BROADCAST, PEER, size, size, vlan=10))
                untagged = frame(BROADCAST, PEER, size, size, vlan=10)
                untagged = untagged[:12] + untagged[16:]
                _same(await made.a.receive(), untagged, "a tagged frame on an access port")
                _same(await made.b.receive(), untagged, "a tagged frame on an access port")
                await made.a.send(untagged[:6] + A + untagged[12:])
                tagged = untagged[:6] + A + b"\x81\x00\x00\x0a" + untagged[12:]
                _same(await made.receive(), tagged, "an untagged frame on the trunk")
                _same(await made.b.receive(), untagged[:6] + A + untagged[12:], "an untagged frame")
        native = made.pipe(PortConfig(vlan=30))
        with within("frames of the native VLAN"):
            await made.peer.send(frame(BROADCAST, PEER, 1))
            _same(await native.receive(), frame(BROADCAST, PEER, 1), "a native frame from the peer")
            await native.send(frame(PEER, B, 2))
            _same(await made.receive(), frame(PEER, B, 2), "a native frame to the peer")
        before = made.drops().get("vlan-not-member", 0)
        with within("a frame behind one of a foreign VLAN"):
            await made.peer.send(frame(BROADCAST, PEER, 3, vlan=40))
            await made.peer.send(frame(BROADCAST, PEER, 4, vlan=10))
            _same(_number(await made.a.receive()), 4, "what pipe a heard")
        _same(made.drops().get("vlan-not-member"), before + 1, "frames dropped as vlan-not-member")
    # And on an access port beside a trunk, where tags change at the trunk's side only.
    trunk = PortConfig(tagged=[10], mtu=65_521)
    async with bench(maker, driver, nic=PortConfig(vlan=10), beside=trunk) as made:
        with within("untagged frames beside a trunk"):
            await made.peer.send(frame(BROADCAST, PEER, 1, 600))
            tagged = await made.a.receive()
            _same(tagged, frame(BROADCAST, PEER, 1, 604, vlan=10), "an untagged frame beside a trunk")
            await made.a.send(frame(PEER, A, 2, 604, vlan=10))
            _same(await made.receive(), frame(PEER, A, 2, 600), "a frame from a trunk")


async def _giants_and_runts(maker: Maker, driver: str) -> None:
    # The NIC's port has a small MTU, whatever the kind could carry.
    async with bench(maker, driver, nic=PortConfig(vlan=1, mtu=1000)) as made:
        await _introduce(made)
        too_long = [n for n in (1015, 1514, 9000, 65_000) if n <= made.peer.max_frame]
        with within("a good frame behind giants"):
            for size in too_long:
                await made.peer.send(frame(A, PEER, 1, size))
            await made.peer.send(frame(A, PEER, 2, 1014))
            _same(_number(await made.a.receive()), 2, "the frame behind giants")
            for size in (1015, 1514, 9000, 65_000):
                await made.a.send(frame(PEER, A, 3, size))
            await made.a.send(frame(PEER, A, 4, 1014))
            _same(_number(await made.receive()), 4, "the frame behind giants")
        await made.until("giants are counted", lambda: made.drops().get("giant", 0) == len(too_long))
        await made.until(
            "frames too long to send are counted", lambda: made.drops().get("tx-too-big", 0) == 4
        )
        sent = 0
        for size in range(made.peer.min_sent, 14):
            try:
                await made.peer.send(frame(A, PEER, 5, size))
                sent += 1
            except OSError:
                pass
        with within("a good frame behind runts"):
            await made.peer.send(frame(A, PEER, 6))
            _same(_number(await made.a.receive()), 6, "the frame behind runts")
        await made.until(
            f"{sent} runts are counted",
            lambda: made.drops().get("runt", 0) + made.drops().get("door-malformed", 0) == sent,
        )


async def _peer_that_does_not_read(maker: Maker, driver: str) -> None:
    async with bench(maker, driver) as made:
        await _introduce(made)
        await made.passed()
        before, rounds, size = made.counters(), 100, min(made.peer.max_frame, 9014)
        with within("frames to others while a peer does not read"):
            for number in range(rounds):
                for i in range(WINDOW):
                    await made.a.send(frame(PEER, A, number * WINDOW + i, size))
                await made.a.send(frame(B, A, number))
                _same(_number(await made.b.receive()), number, "what others heard meanwhile")
        await made.passed()
        after = made.counters()
        sent = after["tx_frames"] - before["tx_frames"]
        drops = {r: n - before["drops"].get(r, 0) for r, n in after["drops"].items()}
        lost = sum(n for reason, n in drops.items() if reason in EGRESS_REASONS)
        _same(sent + lost, rounds * WINDOW, f"{sent} frames were sent and {drops} dropped, together")
        if made.peer.stalls and drops.get("tx-full", 0) == 0:
            raise AssertionError(f"nothing was full: {drops}")
        # Then it reads again: what was sent is there, in order, and there is room for more.
        last, got = -1, 0
        with within(f"{sent} frames that waited for the peer"):
            while got < sent if made.peer.reliable else got == 0:
                number = _number(await made.receive())
                if number <= last:
                    raise AssertionError(f"frame {number} came behind frame {last}")
                last, got = number, got + 1
        with within("a new frame after the peer began to read again"):
            await made.a.send(frame(PEER, A, rounds * WINDOW))
            while _number(await made.receive()) != rounds * WINDOW:
                pass


async def _comes_and_goes(maker: Maker, driver: str) -> None:
    async with bench(maker, driver) as made:
        await _introduce(made)
        for number in range(1, 4 if made.peer.carrier else 1):
            with within("the peer's going"):
                await made.peer.disconnect()
            if made.peer.notices_by_sending:
                await made.a.send(frame(PEER, A, number))
            await made.until_carrier(False)
            lost = made.drops().get("tx-no-carrier", 0)
            await made.a.send(frame(PEER, A, number))
            await made.passed()
            _same(made.drops().get("tx-no-carrier", 0), lost + 1, "frames dropped as tx-no-carrier")
            with within("the peer's coming again"):
                await made.peer.connect()
            await made.until_carrier(True)
            await _introduce(made)
        # The operator's link: nothing passes, then everything does again.
        made.engine.set_link(made.port, False)
        await made.a.send(frame(PEER, A, 31))
        await made.passed()
        if made.peer.sends_without_link:
            with within("the loss of a frame that is sent while the link is down"):
                await _send_in_vain(made)
        made.engine.set_link(made.port, True)
        if made.peer.hung_up_by_link:
            with within("the peer's coming again after the link was down"):
                await made.peer.disconnect()
                await made.peer.connect()
        await made.until_carrier(True)
        with within("frames after the link came up again"):
            heard = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_heard, made, frame(A, PEER, 33), heard)
                _same(_number(await made.a.receive()), 33, "the first frame from the peer")
                heard.set()
            await made.a.send(frame(PEER, A, 34))
            _same(_number(await made.receive()), 34, "the first frame to the peer")


async def _send_in_vain(made: Bench) -> None:
    """Have the peer send frames until one is known to have been dropped because the link is down, and so were
    those before it. It is not enough that one was counted, nor is each remembered: a kernel at the other end
    has something of its own to say now and then.
    """
    for number in itertools.count(0x3200):
        sent = frame(A, PEER, number)
        await made.peer.send(sent)
        with trio.move_on_after(0.1):
            while not _is_lost(made, sent):  # noqa: ASYNC110 - what is lost has no event
                await trio.sleep(0.001)
            return


def _is_lost(made: Bench, data: bytes) -> bool:
    """Whether this is the last frame that was dropped because the link is down."""
    return any((why, head) == ("port-down", data) for why, *_, head in made.engine.lost(made.port))


async def _until_heard(made: Bench, data: bytes, heard: trio.Event) -> None:
    """Have the peer send a frame; again, if it may get lost, since a kernel begins to send a moment after it
    has a carrier.
    """
    await made.peer.send(data)
    while not (made.peer.reliable or heard.is_set()):
        with trio.move_on_after(0.1):
            await heard.wait()
            return
        await made.peer.send(data)


async def _detach(maker: Maker, driver: str) -> None:
    # In the middle of traffic; `bench` looks for what is left.
    async with bench(maker, driver) as made:
        await _introduce(made)
        for number in range(WINDOW):
            await made.a.send(frame(PEER, A, number, 1000))
            await made.peer.send(frame(A, PEER, number, 1000))
        await made.detach()
        await made.passed()
        # What is described can be had again, at the same place.
        if not isinstance(made.nic, Opened | Door):
            await made.peer.disconnect()
            await made.attach(PortConfig(vlan=1))
            await made.peer.connect()
            await made.until_carrier(True)
            with within("frames after the NIC was attached again"):
                while made.a.take() is not None or made.b.take() is not None:
                    pass
                await _introduce(made)


_CHECKS = (
    _sizes,
    _order,
    _whom_it_reaches,
    _tags,
    _giants_and_runts,
    _peer_that_does_not_read,
    _comes_and_goes,
    _detach,
)
