"""Which ports and VLANs a capture's words mean: port names, guests, networks, switches, or `all`.

Numbers are given to others, so words are kept. What a word means is decided once; which ports and VLANs that
has is looked up again whenever they may have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from nics.keys import did_you_mean
from vnet.errors import BadInput

ALL = "all"

Names = Mapping[str, Mapping[str, Collection[int]]]
"""By what it is (`port`, `guest`, `network`, `switch`) and its name: numbers of its ports, or of VLANs."""


@attrs.frozen
class Selection:
    """What to capture."""

    ports: tuple[int, ...] | None
    """Numbers of ports, sorted; None for all, those to come included."""
    vlans: tuple[int, ...] = ()
    """Frames of these VLANs at any port, too, sorted."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is captured."""
        return self.ports == () and not self.vlans


@attrs.frozen
class Asked:
    """What was asked for."""

    things: frozenset[tuple[str, str]] | None
    """Each: what it is, and its name. None: every port."""

    def selection(self, names: Names) -> Selection:
        """What that comes to now; what is not there has nothing."""
        if self.things is None:
            return Selection(None)
        ports: set[int] = set()
        vlans: set[int] = set()
        for what, name in self.things:
            (vlans if what == "network" else ports).update(names[what].get(name, ()))
        return Selection(tuple(sorted(ports)), tuple(sorted(vlans)))

    def __str__(self) -> str:
        return " or ".join(f"{what} {name}" for what, name in sorted(self.things or ()))


def read(words: Iterable[str], names: Names) -> Asked:
    """What `words` mean, given what there is.

    A port's name means that port, a guest's or a link's all its ports, a network's its frames at whatever
    port, a switch's its ports; no word at all means `all`. Where a name is more than one of these,
    `guest:red`, `network:red`, `port:red` and `switch:red` say which. Raises BadInput for a name that is
    nothing, or more than one thing.
    """
    things: set[tuple[str, str]] = set()
    everything = True
    for word in words:
        which, colon, rest = word.partition(":")
        name = rest if colon else word
        kinds = [which] if colon else [*names]
        meant = [what for what in kinds if name in names.get(what, ())]
        if word == ALL and not meant:
            return Asked(None)
        everything = False
        if word == ALL:
            one = meant[0]
            raise BadInput(f"all is every port and a {one}: say {one}:all, or no name for every port")
        if len(meant) > 1:
            found = " and ".join(f"a {what}" for what in meant)
            raise BadInput(f"{word} is {found}: say {' or '.join(f'{what}:{word}' for what in meant)}")
        if not meant:
            known = sorted({ALL, *(name for kind in names.values() for name in kind)})
            hint = did_you_mean(word, known)
            told = f"; {hint}" if hint else ""
            raise BadInput(f"there is no port, guest, network or switch {word!r} to capture{told}")
        things.add((meant[0], name))
    return Asked(None if everything else frozenset(things))
