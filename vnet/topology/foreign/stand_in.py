"""Stand-ins for Mininet's modules, while a file that imports them is run where Mininet is not installed.

`mininet.topo` has what topologies are made of. Of the other modules any name can be imported and nothing
can be done with it: a file that starts a network when it is imported is told so.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Topo:
    """Takes down what is added, with the methods that Mininet's own has."""

    def __init__(self, *args: Any, **params: Any) -> None:
        self.hopts = params.pop("hopts", {})
        self.sopts = params.pop("sopts", {})
        self.lopts = params.pop("lopts", {})
        self._nodes: dict[str, dict[str, Any]] = {}
        self._links: list[tuple[str, str, dict[str, Any]]] = []
        self.build(*args, **params)

    def build(self, *args: Any, **params: Any) -> None:
        """What subclasses override."""

    def addNode(self, name: str, **opts: Any) -> str:  # noqa: N802 - Mininet's names, here and below
        """Any node."""
        self._nodes[name] = opts
        return name

    def addHost(self, name: str, **opts: Any) -> str:  # noqa: N802
        """A host."""
        return self.addNode(name, **(opts or self.hopts))

    def addSwitch(self, name: str, **opts: Any) -> str:  # noqa: N802
        """A switch."""
        return self.addNode(name, isSwitch=True, **(opts or self.sopts))

    def addLink(  # noqa: N802
        self, node1: str, node2: str, port1: Any = None, port2: Any = None, key: Any = None, **opts: Any
    ) -> int:
        """A link; both ends must be there."""
        for node in (node1, node2):
            if node not in self._nodes:
                raise ValueError(f"link {node1} {node2}: there is no {node}")
        ends = {"node1": node1, "node2": node2, "port1": port1, "port2": port2}
        self._links.append((node1, node2, {**(opts or self.lopts), **ends}))
        return len(self._links)

    def isSwitch(self, name: str) -> bool:  # noqa: N802
        """Whether a node is a switch."""
        return bool(self._nodes[name].get("isSwitch", False))

    def nodes(self, sort: bool = True) -> list[str]:
        """All names."""
        return sorted(self._nodes, key=_natural) if sort else list(self._nodes)

    def hosts(self, sort: bool = True) -> list[str]:
        """The hosts' names."""
        return [name for name in self.nodes(sort) if not self.isSwitch(name)]

    def switches(self, sort: bool = True) -> list[str]:
        """The switches' names."""
        return [name for name in self.nodes(sort) if self.isSwitch(name)]

    def nodeInfo(self, name: str) -> dict[str, Any]:  # noqa: N802
        """What was said of a node."""
        return self._nodes[name]

    def links(self, sort: bool = False, withKeys: bool = False, withInfo: bool = False) -> list[Any]:  # noqa: N803
        """The links."""
        return [link if withInfo else link[:2] for link in self._links]


class SingleSwitchTopo(Topo):
    """`mininet.topo.SingleSwitchTopo`: k hosts at a switch."""

    def build(self, k: int = 2, **_: Any) -> None:  # noqa: D102
        switch = self.addSwitch("s1")
        for number in range(1, k + 1):
            self.addLink(self.addHost(f"h{number}"), switch)


class LinearTopo(Topo):
    """`mininet.topo.LinearTopo`: k switches in a row with n hosts each."""

    def build(self, k: int = 2, n: int = 1, **_: Any) -> None:  # noqa: D102
        last = None
        for number in range(1, k + 1):
            switch = self.addSwitch(f"s{number}")
            for host in range(1, n + 1):
                self.addLink(self.addHost(f"h{number}" if n == 1 else f"h{host}s{number}"), switch)
            if last is not None:
                self.addLink(switch, last)
            last = switch


class TreeTopo(Topo):
    """`mininet.topolib.TreeTopo`: a tree of switches, hosts at the lowest."""

    def build(self, depth: int = 1, fanout: int = 2, **_: Any) -> None:  # noqa: D102
        self._made = {"h": 0, "s": 0}
        self._grow(depth, fanout)

    def _grow(self, depth: int, fanout: int) -> str:
        kind = "s" if depth > 0 else "h"
        self._made[kind] += 1
        node = (self.addSwitch if depth > 0 else self.addHost)(f"{kind}{self._made[kind]}")
        for _ in range(fanout if depth > 0 else 0):
            self.addLink(node, self._grow(depth - 1, fanout))
        return node


class _Absent:
    """Stands for anything else that can be imported from Mininet: a name, and nothing behind it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("Mininet is not installed here; only what is described by a Topo can be read")


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Absent,), {})


NAMES = ("", "cli", "link", "log", "net", "node", "nodelib", "clean", "util", "topo", "topolib")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _nothing(*_: Any, **__: Any) -> None:
    """Logging may be set up; it says nothing."""


@contextmanager
def installed() -> Iterator[None]:
    """While the block runs, Mininet's modules can be imported: its own where they are there."""
    if "mininet" in sys.modules or importlib.util.find_spec("mininet") is not None:
        yield
        return
    made: dict[str, ModuleType] = {}
    for name in NAMES:
        full = f"mininet.{name}" if name else "mininet"
        made[full] = _Module(full)
        made[full].__path__ = []
    for kind in (Topo, SingleSwitchTopo, LinearTopo):
        setattr(made["mininet.topo"], kind.__name__, kind)
    setattr(made["mininet.topolib"], "TreeTopo", TreeTopo)  # noqa: B010
    for word in ("setLogLevel", "info", "error", "debug", "output", "warn"):
        setattr(made["mininet.log"], word, _nothing)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)
