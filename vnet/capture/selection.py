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
    port, a switch's the ports that it has now; no word at all means `all`. A name that is more than one of
    these means the first of them. Raises BadInput for a name that is nothing.
    """
    numbers: set[int] = set()
    vlans: set[int] = set()
    everything = True
    for word in words:
        if word == ALL:
            return Selection(None)
        everything = False
        owned = [port.number for port in ports.values() if port.guest == word]
        if word in ports:
            numbers.add(ports[word].number)
        elif owned:
            numbers.update(owned)
        elif word in networks:
            vlans.add(networks[word])
        elif word in switches:
            numbers.update(switches[word])
        else:
            known = sorted({ALL, *ports, *networks, *switches, *(port.guest for port in ports.values())})
            hint = did_you_mean(word, known)
            told = f"; {hint}" if hint else ""
            raise BadInput(f"there is no port, guest, network or switch {word!r} to capture{told}")
    return Selection(None if everything else tuple(sorted(numbers)), tuple(sorted(vlans)))
