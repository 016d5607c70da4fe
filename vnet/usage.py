"""What guests sent and received, inside the fabric and over uplinks: the figures that are billed.

The engine counts (`rust/src/engine/usage.rs` says what); here is what outlives a port. Figures belong to
a NIC by its name, `GUEST.INDEX`, and only grow: a NIC that is plugged in anew, a guest that is removed and
comes back, and a fabric that is started again go on with theirs. They are noted in the state folder every
`EVERY` seconds if they changed, and at the end; a fabric that is killed loses what it carried since the
last note.

Of NICs that are gone, the last `GONE_MAX` are kept, with when they were there last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from vnet import state
from vnet.errors import BadInput, VnetError

if TYPE_CHECKING:
    from vnet._native import Engine
    from vnet.port import Port

log = logging.getLogger("vnet")

FILE = "usage.json"
EVERY = 10.0
"""Seconds between two notes: what a crash costs at most."""
VERSION = 1
GONE_MAX = 16_384
"""NICs that are not there any more, and whose figures are kept."""

DIRECTIONS = ("egress", "ingress")
"""The guest's: what it sent, what it received."""
SCOPES = ("fabric", "uplink")
Counted = tuple[tuple[int, int], ...]
"""(frames, bytes) for each direction and scope, in this order."""
NOTHING: Counted = ((0, 0),) * 4
_YEAR_10000 = 253_402_300_800


def add(one: Iterable[Iterable[int]], other: Iterable[Iterable[int]]) -> Counted:
    """Both together."""
    return tuple(
        (frames + more_frames, size + more_size)
        for (frames, size), (more_frames, more_size) in zip(one, other, strict=True)
    )


def named(counted: Counted) -> dict[str, dict[str, dict[str, int]]]:
    """`frames` and `bytes` by direction and scope."""
    figures = ({"frames": frames, "bytes": size} for frames, size in counted)
    return {direction: {scope: next(figures) for scope in SCOPES} for direction in DIRECTIONS}


@attrs.define
class Account:
    """One NIC's figures, without what its port counts now."""

    guest: str
    since: float
    """Seconds since 1970 when it was first there."""
    gone: float | None = None
    """When it was there last; None: it is there."""
    before: Counted = NOTHING

    def entry(self, nic: str, counted: Counted) -> dict[str, Any]:
        """One entry of `vnet usage --json`."""
        return {
            "nic": nic,
            "guest": self.guest,
            "since": written(self.since),
            "gone": None if self.gone is None else written(self.gone),
            **named(counted),
        }

    def note(self, counted: Counted) -> dict[str, Any]:
        """What is noted of it."""
        return {"guest": self.guest, "since": self.since, "gone": self.gone, "counted": counted}


class Accounts:
    """The accounts of one fabric's NICs, by their names. Times are seconds since 1970."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._accounts: dict[str, Account] = {}
        self._gone: dict[str, dict[str, Any]] = {}
        """What is noted of NICs that are gone, in the order in which they went. It stays as it is while they
        are, and they may be many: it is made when they go.
        """

    def open(self, port: Port) -> None:
        """A guest's port is there: it goes on with what its NIC had."""
        known = self._accounts.get(port.name)
        if known is None:
            self._accounts[port.name] = Account(port.guest, time.time())
        else:
            known.guest, known.gone = port.guest, None
            self._gone.pop(port.name, None)

    def close(self, port: Port, counted: Counted) -> None:
        """It is gone, and has counted so much."""
        account = self._accounts[port.name]
        account.before = add(account.before, counted)
        account.gone = time.time()
        self._gone[port.name] = account.note(account.before)
        self._bound()

    def now(self, ports: Mapping[str, Port], *, gone: bool = False) -> dict[str, tuple[Account, Counted]]:
        """What each NIC of `ports` has come to, all of one moment, sorted by name; with `gone`, those that
        are not there any more, too.
        """
        names = sorted(name for name, account in self._accounts.items() if gone or account.gone is None)
        there = [name for name in names if name in ports]
        counts = self._engine.usage([ports[name].number for name in there])
        live = dict(zip(there, counts, strict=True))
        return {
            name: (account := self._accounts[name], add(account.before, live.get(name, NOTHING)))
            for name in names
        }

    def of(self, port: Port, counted: Iterable[Iterable[int]]) -> dict[str, dict[str, dict[str, int]]]:
        """The figures of a NIC that is there, and whose port has counted so much."""
        return named(add(self._accounts[port.name].before, counted))

    # -- what outlives the fabric ----------------------------------------------------------------

    def document(self, ports: Mapping[str, Port]) -> dict[str, Any]:
        """Everything, to be noted."""
        there = {name: account.note(counted) for name, (account, counted) in self.now(ports).items()}
        return {"version": VERSION, "noted": time.time(), "nics": self._gone | there}

    def remember(self, path: Path) -> int:
        """Go on with what was noted by a fabric before this one; of how many NICs that is. Raises VnetError
        when that can't be read.
        """
        noted = read(path)
        for name, before in noted.items():
            account = self._accounts.get(name)
            if account is None:
                self._accounts[name] = before
            else:
                account.before = add(account.before, before.before)
                account.since = min(account.since, before.since)
        gone = ((account.gone, name) for name, account in self._accounts.items() if account.gone is not None)
        self._gone = {
            name: (account := self._accounts[name]).note(account.before) for _, name in sorted(gone)
        }
        self._bound()
        return len(noted)

    def _bound(self) -> None:
        while len(self._gone) > GONE_MAX:
            name = next(iter(self._gone))
            log.warning("usage of %s is forgotten: more than %d NICs are gone", name, GONE_MAX)
            del self._gone[name], self._accounts[name]


def written(seconds: float) -> str:
    """A time as RFC 3339 has it, in UTC: `2026-11-25T20:04:36.120Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document(
    name: str, nics: Mapping[str, tuple[Account, Counted]], only: Iterable[str] = ()
) -> dict[str, Any]:
    """The document of `vnet usage --json`, perhaps of these guests or NICs only. Raises BadInput for a name
    that is neither.
    """
    from vnet.guests import suggestion

    wanted = set(only)
    known = {*nics, *(account.guest for account, _ in nics.values())}
    for word in sorted(wanted - known):
        hint = suggestion(word, sorted(known))
        raise BadInput(f"there is no guest or NIC {word!r}{hint}; those that are gone are in `--all`")
    return {
        "name": name,
        "at": written(time.time()),
        "nics": [
            account.entry(nic, counted)
            for nic, (account, counted) in nics.items()
            if not wanted or not wanted.isdisjoint((nic, account.guest))
        ],
    }


def load(path: Path) -> dict[str, Account]:
    """What was noted, sorted by name; all of it is of NICs that are gone. The file stays as it is. Raises
    Unusable, and VnetError when it can't be read now.
    """
    found = state.load(path)
    if found is None:
        return {}
    try:
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']!r}, expected {VERSION}")
        noted = _time(found["noted"])
        return {str(name): _account(noted, entry) for name, entry in sorted(found["nics"].items())}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise state.Unusable(f"{type(error).__name__}: {error}") from None


def read(path: Path) -> dict[str, Account]:
    """The same, for a fabric that goes on with it: what can't be believed is told, and kept aside.

    Raises VnetError when it can't be read now. Then nothing is known to be wrong with it: a fabric that came
    up without it would count from nothing, and write that over it.
    """
    try:
        return load(path)
    except state.Unusable as error:
        state.aside(path, str(error))
        return {}
    except VnetError as error:
        raise VnetError(
            f"{error}: what guests are billed for goes on from it; to count from nothing, move it away"
        ) from None


def _time(seconds: Any) -> float:
    """Seconds since 1970, of which `written` can make a date."""
    if not 0 <= (time := float(seconds)) < _YEAR_10000:
        raise ValueError(f"time {seconds!r}")
    return time


def _account(noted: float, entry: Any) -> Account:
    counted = tuple((int(frames), int(size)) for frames, size in entry["counted"])
    if len(counted) != len(NOTHING) or any(number < 0 for pair in counted for number in pair):
        raise ValueError(f"counted {entry['counted']!r}")
    gone = noted if entry["gone"] is None else _time(entry["gone"])
    return Account(str(entry["guest"]), _time(entry["since"]), gone, counted)


def note(path: Path, document: dict[str, Any]) -> bool:
    """Write it down, if there is anything to say; what goes wrong is told. Whether nothing did."""
    return state.note(path, document, bool(document["nics"]), "usage")


async def keep(accounts: Accounts, ports: Mapping[str, Port], path: Path) -> None:
    """Note what changes, until cancelled. The last note is the caller's, when the ports are gone."""
    noted = None
    while True:
        found = accounts.document(ports)
        if found["nics"] != noted and await trio.to_thread.run_sync(note, path, found):
            noted = found["nics"]
        await trio.sleep(EVERY)
