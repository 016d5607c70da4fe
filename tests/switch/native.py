"""The native switch, set up with the descriptions that people write."""

from __future__ import annotations

import attrs

from switch import Access, Port
from vnet import _native


def text(mac: bytes) -> str:
    """A MAC address as the native switch writes it."""
    return mac.hex(":")


def native_config(port: Port) -> _native.PortConfig:
    """The native part's word for a port."""
    rest = {field.name: getattr(port, field.name) for field in attrs.fields(Port) if field.name != "mode"}
    private = rest.pop("private")
    if private is not None:
        rest |= {"private": sorted(private.vlans), "community": private.community}
    storm = rest.pop("storm")
    if storm is not None:
        rest["limits"] = _native.Limits(storm=storm.rates)
    mode = port.mode
    if isinstance(mode, Access):
        return _native.PortConfig(vlan=mode.vlan, **rest)
    return _native.PortConfig(
        tagged=sorted(mode.tagged), native=mode.native, native_tagged=mode.native_tagged, **rest
    )


class Native:
    """`_native.Switch`, with ports described by `switch.Port`."""

    def __init__(self, **config) -> None:
        self.switch = _native.Switch(**config)

    def __getattr__(self, name: str):
        return getattr(self.switch, name)

    def add_port(self, number: int, port: Port) -> None:
        """Add a port."""
        self.switch.add_port(number, native_config(port))

    def set_port(self, number: int, port: Port) -> None:
        """Set a port up anew."""
        self.switch.set_port(number, native_config(port))

    def entries(self, *, fixed: bool = False) -> set[tuple[int, str, int, str, int]]:
        """The whole forwarding database, or what is static and sticky in it."""
        entries = set()
        cursor: int | None = 0
        while cursor is not None:
            page, cursor = self.switch.fdb_page(cursor, 100)
            entries |= {entry for entry in page if not fixed or entry[3] != "learned"}
        return entries
