"""What a test found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from vnet.scenario import Told


@attrs.frozen
class Finding:
    """One thing that is not as it has to be."""

    source: str
    target: str
    text: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}: {self.text}" if self.source else self.text


@attrs.define
class Part:
    """One part of a test: frames, talk, expectations, the scenario."""

    name: str
    probes: int = 0
    findings: list[Finding] = attrs.field(factory=list)
    pairs: dict[tuple[str, str], int] = attrs.field(factory=dict)
    """Probes of each pair; ("web", "") are those of web to everybody."""
    seconds: float = 0.0
    notes: list[str] = attrs.field(factory=list)
    """What was left out, and why."""
    steps: list[Told] = attrs.field(factory=list)
    """Of the scenario."""

    def note(self, source: str, target: str) -> None:
        """One more probe of a pair."""
        self.pairs[source, target] = self.pairs.get((source, target), 0) + 1


@attrs.define
class Result:
    """A whole test."""

    name: str
    virtual: bool
    parts: list[Part] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for part in self.parts for finding in part.findings]
