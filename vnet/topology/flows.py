"""The export of flows: what is sampled, and who is told."""

# ruff: noqa: D102 - what `expected`, `read` and `schema` do is said once, at Type

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nics.endpoint import Endpoint
from nics.keys import Count, Key, Type, Wrong
from nics.quantity import TIME
from vnet.topology.model import Flows
from vnet.topology.shape import Table


@attrs.frozen
class Collector(Type):
    """An address and a UDP port."""

    @property
    def expected(self) -> str:
        return "an address and UDP port such as 127.0.0.1:4739 or [::1]:4739"

    def read(self, value: object) -> str:
        try:
            endpoint = Endpoint.parse(value) if isinstance(value, str) else None
        except ValueError:
            endpoint = None
        if endpoint is None or endpoint.ip is None or not endpoint.port or endpoint.ip.is_unspecified:
            raise Wrong(self.expected)
        return endpoint.text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+$"}


FLOWS = Table(
    "an export of flows",
    (
        Key(
            "collector",
            Collector(),
            "Who is told, by IPFIX over UDP, from the host that the fabric runs on.",
            example="127.0.0.1:4739",
            required=True,
        ),
        Key(
            "sample",
            Count(1, 1 << 20, "a number of frames"),
            "Of so many frames that a switch takes in, dropped or not, one is looked at and counted. 1: all.",
            example=1000,
            default=100,
        ),
        Key(
            "active",
            attrs.evolve(TIME, lowest=10**9),
            "A flow that goes on is told after so long, and counted anew.",
            example="5 min",
            default=60 * 10**9,
        ),
        Key(
            "idle",
            attrs.evolve(TIME, lowest=10**9),
            "A flow is told when it was silent for so long.",
            example="30 s",
            default=15 * 10**9,
        ),
        Key(
            "flows",
            Count(16, 1 << 20, "a number of flows"),
            "How many are counted at a time, some 200 bytes each; when there are more, the port with most of"
            " them gives up its oldest.",
            example=1 << 20,
            default=1 << 16,
        ),
        Key(
            "templates",
            attrs.evolve(TIME, lowest=10**9),
            "How often the collector is told again what records look like, which switch samples how, and what"
            " ports are called.",
            example="10 min",
            default=60 * 10**9,
        ),
    ),
)


def build(values: Mapping[str, Any] | None) -> Flows | None:
    """The values that were read; None: nothing is exported."""
    # "" stands for what could not be read.
    return None if values is None else Flows(**{"collector": "", **values})
