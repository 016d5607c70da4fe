"""Which ports and VLANs a capture's words mean: port names, guests, networks, switches, or `all`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import attrs

from nics.keys import did_you_mean
from vnet.errors import BadInput

ALL = "all"


class PortLike(Protocol):
    """What is asked of a port."""

    number: int
    guest: str


@attrs.frozen
class Selection:
    """What to capture."""

    ports: tuple[int, ...] | None
    """Numbers of ports, sorted; None for all, those to come included."""
    vlans: tuple[int, ...] = ()
    """Frames of these VLANs at any port, too, sorted."""


def select(
    words: Iterable[str],
    *,
    ports: Mapping[str, PortLike],
    networks: Mapping[str, int],
    switches: Mapping[str, Collection[int]],
) -> Selection:
    """What `words` mean, given the ports by name, and by name the networks' VLANs and the switches' ports.

    A port's name means that port, a guest's or a link's all its ports, a network's its frames at whatever
    port, a switch's the ports that it has now; no word at all means `all`. Where a name is more than one of
    these, `guest:red`, `network:red`, `port:red` and `switch:red` say which. Raises BadInput for a name that
    is nothing, or more than one thing.
    """
    numbers: set[int] = set()
    vlans: set[int] = set()
    everything = True
    for word in words:
        which, colon, name = word.partition(":")
        meant = _meanings(name if colon else word, ports, networks, switches)
        if colon:
            meant = {what: found for what, found in meant.items() if what == which}
        if word == ALL and not meant:
            return Selection(None)
        everything = False
        if word == ALL:
            one = next(iter(meant))
            raise BadInput(f"all is every port and a {one}: say {one}:all, or no name for every port")
        if len(meant) > 1:
            found = " and ".join(f"a {what}" for what in meant)
            raise BadInput(f"{word} is {found}: say {' or '.join(f'{what}:{word}' for what in meant)}")
        if not meant:
            known = sorted({ALL, *ports, *networks, *switches, *(port.guest for port in ports.values())})
            hint = did_you_mean(word, known)
            told = f"; {hint}" if hint else ""
            raise BadInput(f"there is no port, guest, network or switch {word!r} to capture{told}")
        for what, found_ in meant.items():
            (vlans if what == "network" else numbers).update(found_)
    return Selection(None if everything else tuple(sorted(numbers)), tuple(sorted(vlans)))


def _meanings(
    name: str,
    ports: Mapping[str, PortLike],
    networks: Mapping[str, int],
    switches: Mapping[str, Collection[int]],
) -> dict[str, Collection[int]]:
    """What is called so -> numbers of ports, or of a VLAN."""
    meant: dict[str, Collection[int]] = {}
    if name in ports:
        meant["port"] = [ports[name].number]
    if owned := [port.number for port in ports.values() if name and port.guest == name]:
        meant["guest"] = owned
    if name in networks:
        meant["network"] = [networks[name]]
    if name in switches:
        meant["switch"] = switches[name]
    return meant
