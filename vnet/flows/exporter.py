"""What the engine counted, sent to a collector over UDP while a fabric runs.

Flows are taken from the engine a part of its table at a time, so that none of it holds up frames, and
nothing here is in a frame's way. Over UDP nobody says what arrived: templates are said again every so often
(RFC 7011, 8.4), and what the socket does not take is lost and counted.
"""

from __future__ import annotations

import logging
import socket
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from nics.endpoint import Endpoint
from vnet._native import flow_counts, set_flows, take_flows
from vnet.capture.running import epoch_of, now_of
from vnet.errors import VnetError
from vnet.flows import message
from vnet.topology.model import Flows

if TYPE_CHECKING:
    from vnet.fabric import Fabric

log = logging.getLogger("vnet")

MOST = 2048
"""Flows that are taken at once."""
PAUSE = 0.125
"""Seconds from one part of the table to the next."""
CALM = 60 * 10**9
"""Nanoseconds in which all went well before the next trouble is another one, and told."""
SENT = 8
"""Messages that went well meanwhile, at least: when there is little to tell, calm says nothing."""
AGAIN = 10**9
"""Nanoseconds between two looks at where messages leave from, while some can't be sent."""


@attrs.define
class Told:
    """What was exported since the collector is what it is."""

    records: int = 0
    messages: int = 0
    bytes: int = 0
    lost: int = 0
    """Messages that the system did not take: nobody listens there, or no route leads there."""


class Exporter:
    """A fabric's export of flows; there is none until `set` says where to."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._wanted: Flows | None = None
        self._socket: socket.socket | None = None
        self._domains: dict[int, message.Domain] = {}
        self._said: dict[int, int] = {}
        """By domain: when its templates were said last, in the engine's time."""
        self.told = Told()
        self._trouble: int | None = None
        """When a message could not be sent last."""
        self._well = 0
        """Messages that could be since then."""
        self._looked = 0
        """When we looked last where messages leave from, in the engine's time."""
        self._amiss = False
        """A message could not be sent since then."""
        self._begun = trio.Event()
        """Something is exported. Until then a fabric where nothing happens sleeps."""

    def set(self, wanted: Flows | None) -> None:
        """Export so from now on, None: not at all. What was counted before is told at once. Raises VnetError
        when there can't be such a socket; nothing has changed then.
        """
        opened = _open(wanted) if wanted is not None else None
        if wanted is None:
            left = set_flows(self._fabric.engine, 0)
        else:
            left = set_flows(
                self._fabric.engine, wanted.sample, active=wanted.active, idle=wanted.idle, limit=wanted.flows
            )
        self._export(left)
        if self._socket is not None:
            self._socket.close()
        self._socket, self._wanted = opened, wanted
        if wanted is not None:
            self._begun.set()
        elif self._begun.is_set():
            self._begun = trio.Event()
        # Another collector, or the same with other sampling, is told all anew.
        self._said, self._trouble = {}, None
        self._looked, self._amiss = now_of(self._fabric.clock), False

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            await self._begun.wait()
            await trio.sleep(PAUSE)
            if self._wanted is not None:
                self.step()

    def step(self) -> None:
        """Take a part of what there is, and tell it."""
        flows, _ = take_flows(self._fabric.engine, now_of(self._fabric.clock), MOST)
        self._export(flows)

    def close(self) -> None:
        """Tell what is left."""
        if self._wanted is not None:
            self.set(None)

    def status(self) -> dict[str, Any]:
        """For people and metrics; empty: nothing is exported."""
        if self._wanted is None:
            return {}
        counts = flow_counts(self._fabric.engine)
        return {"collector": self._wanted.collector, "sample": self._wanted.sample, **counts} | {
            "exported": self.told.records,
            "messages": self.told.messages,
            "bytes": self.told.bytes,
            "unsent": self.told.lost,
        }

    def _export(self, flows: Iterable[message.Flow]) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        clock = self._fabric.clock
        now, epoch = now_of(clock), epoch_of(clock)
        if now - self._looked >= (AGAIN if self._amiss else wanted.templates):
            self._looked, self._amiss = now, False
            self._look(wanted)
        by_domain: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for flow in flows:
            by_domain[flow[0][0]].append(message.record(flow, epoch))
        for number in set(self._fabric.wiring.switches.values()) | by_domain.keys():
            said = self._said.get(number)
            due = said is None or now - said >= wanted.templates
            if not due and number not in by_domain:
                continue
            domain = self._domains.setdefault(number, message.Domain(number + 1))
            first, records = [], sorted(by_domain.get(number, ()), key=lambda record: record[0])
            if due:
                self._said[number] = now
                first = message.templates()
                records = [message.sampling(number + 1, wanted.sample), *self._names(number), *records]
            for datagram in domain.messages((epoch + now) // 1_000_000_000, records, first):
                self._send(datagram)
            self.told.records += len(by_domain.get(number, ()))

    def _look(self, wanted: Flows) -> None:
        """Send from the address that the host has for it by now: a socket keeps the one that it got, even
        when the host's is another one. Whoever sends from elsewhere is somebody new to the collector.
        """
        assert self._socket is not None
        try:
            fresh = _open(wanted)
        except (OSError, VnetError):
            return  # no route leads there, say, which is told when messages fail
        if fresh.getsockname()[0] == self._socket.getsockname()[0]:
            fresh.close()
            return
        self._socket.close()
        self._socket, self._said = fresh, {}

    def _names(self, switch: int) -> list[tuple[int, bytes]]:
        return [message.named(port, name) for port, name in self._fabric.wiring.of_switch(switch)]

    def _send(self, datagram: bytes) -> None:
        self.told.messages += 1
        self.told.bytes += len(datagram)
        try:
            self._try(datagram)
        except ConnectionRefusedError as error:
            # The answer to an earlier one, which nobody listened to. This one was not tried yet.
            self._failed(error)
            try:
                self._try(datagram)
            except OSError as other:
                self._failed(other)
        except OSError as error:
            self._failed(error)

    def _try(self, datagram: bytes) -> None:
        assert self._socket is not None
        self._socket.send(datagram)
        self._well += 1

    def _failed(self, error: OSError) -> None:
        self.told.lost += 1
        self._amiss = True
        now = now_of(self._fabric.clock)
        before, well = self._trouble, self._well
        self._trouble, self._well = now, 0
        if before is None or (now - before >= CALM and well >= SENT):
            where = self._wanted.collector if self._wanted else ""
            log.warning("flows: the collector %s does not take them: %s", where, error.strerror)


def _open(wanted: Flows) -> socket.socket:
    """A socket to the collector, which never blocks."""
    endpoint = Endpoint.parse(wanted.collector)
    family = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6, "unix": socket.AF_UNIX}[endpoint.family]
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.connect((str(endpoint.ip), endpoint.port))
    except OSError as error:
        opened.close()
        raise VnetError(f"flows.collector: {wanted.collector}: {error.strerror}") from None
    return opened
