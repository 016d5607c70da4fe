"""What was measured: kept in a file that further rounds are added to, and told as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.cases import Course


def machine() -> str:
    """One line about where this runs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


class Results:
    """Every run of every case of every switch, by case and switch."""

    def __init__(
        self, course: Course, runs: dict[str, dict[str, list[dict[str, Any]]]] | None = None
    ) -> None:
        self.course = course
        self.runs = runs or {}

    @classmethod
    def load(cls, course: Course, path: Path | None) -> Results:
        """Those of a file; none if it is not there."""
        if path is None or not path.exists():
            return cls(course)
        return cls(course, json.loads(path.read_text())["runs"])

    def save(self, path: Path) -> None:
        """To a file: `machine`, `runs` by case and switch, `ratios` of vnet to each, as they are told."""
        ratios: Any = {name: part.ratios() for name, part in self.parts().items()}
        if self.course.apart is None:
            ratios = self.ratios()
        document = {"machine": machine(), "runs": self.runs, "ratios": ratios}
        path.write_text(json.dumps(document, indent=1) + "\n")

    def add(self, switch: str, case: str, result: dict[str, Any]) -> None:
        """Note a run."""
        self.runs.setdefault(case, {}).setdefault(switch, []).append(result)

    def parts(self) -> dict[str, Results]:
        """What is told apart, in the order in which it was measured."""
        if self.course.apart is None:
            return {"": self}
        found: dict[str, Results] = {}
        for case, switches in self.runs.items():
            for switch, runs in switches.items():
                for run in runs:
                    part = found.setdefault(str(run.get(self.course.apart, "")), Results(self.course))
                    part.add(switch, case, run)
        return found

    def values(self, switch: str, case: str) -> list[float]:
        """The figures of a case's runs."""
        figure = self.course.cases[case].figure
        runs = self.runs.get(case, {}).get(switch, [])
        return [float(run[figure]) for run in runs if figure in run]

    def median(self, switch: str, case: str) -> float | None:
        """Of a case's runs; None without any."""
        values = self.values(switch, case)
        return statistics.median(values) if values else None

    def better(self, case: str, peer: str, other: str | None = None) -> float | None:
        """How many times better vnet is in `case` than `peer` in it, or in `other`.

        Round by round, and of that the median: what slows the machine down for a while slows both.
        """
        figure, runs = self.course.cases[case].figure, self.runs.get(case, {}).get("vnet", [])
        against = self.runs.get(other or case, {}).get(peer, [])
        ratios = [
            float(ours[figure]) / float(theirs[figure])
            for ours, theirs in zip(runs, against, strict=False)
            if figure in ours and theirs.get(figure)
        ]
        if not ratios or not statistics.median(ratios):
            return None
        ratio = statistics.median(ratios)
        return ratio if self.course.cases[case].more_is_better else 1 / ratio

    def ratios(self) -> dict[str, dict[str, float]]:
        """By case and peer."""
        found = {
            case: {peer: self.better(case, peer) for peer in switches if peer != "vnet"}
            for case, switches in self.runs.items()
        }
        return {
            case: {peer: round(ratio, 3) for peer, ratio in peers.items() if ratio is not None}
            for case, peers in found.items()
        }

    def switches(self) -> list[str]:
        """All there are, vnet first."""
        names = {name: None for switches in self.runs.values() for name in switches}
        return sorted(names, key=lambda name: name != "vnet")

    def _rows(self, cell: Callable[[str, str], str]) -> list[list[str]]:
        """A row for each case that was measured: its name and unit, and a cell a switch."""
        return [
            [f"{name}, {case.unit}", *(cell(name, switch) for switch in self.switches())]
            for name, case in self.course.cases.items()
            if name in self.runs
        ]

    def table(self) -> str:
        """Medians, and behind them how many times better vnet is; 80 columns for five switches."""
        rows = [["median", *self.switches()], *self._rows(self._cell)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in pairs)
            for pairs in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
        ]
        count = max((len(runs) for case in self.runs.values() for runs in case.values()), default=0)
        lines.append(f"{count} rounds; x: how many times better vnet is; ~: runs differ by more than 10 %")
        return "\n".join(line.rstrip() for line in lines)

    def markdown(self) -> str:
        """The same as a table for the README."""
        titles = [self.course.titles.get(name, name) for name in self.switches()]
        rows = [["", *titles], ["---"] * (len(titles) + 1), *self._rows(self._bold)]
        return "\n".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in row)}|" for row in rows)

    def _cell(self, name: str, switch: str) -> str:
        values = self.values(switch, name)
        if not values:
            return "-"
        spread = "~" if max(values) - min(values) > 0.1 * statistics.median(values) else ""
        return f"{spread}{self._figure(values)}{self._times(name, switch, ' {:.2f}x')}"

    def _bold(self, name: str, switch: str) -> str:
        values = self.values(switch, name)
        return f"{self._figure(values)}{self._times(name, switch, ', **{:.2f}x**')}" if values else ""

    def _times(self, name: str, switch: str, how: str) -> str:
        ratio = self.better(name, switch) if switch != "vnet" else None
        return "" if ratio is None else how.format(ratio)

    @staticmethod
    def _figure(values: list[float]) -> str:
        """Their median, with three digits."""
        middle = statistics.median(values)
        return f"{middle:.3g}" if middle < 100 else f"{middle:.0f}"

    def bars(self) -> tuple[list[str], bool]:
        """A line for each bar that was measured, and whether all hold."""
        lines, well = [], True
        for bar in self.course.bars:
            ratio = self.better(bar.case, bar.peer, bar.other)
            if ratio is None:
                continue
            holds = ratio >= bar.least
            well &= holds
            word = "holds" if holds else "MISSED"
            lines.append(f"{word:6}  {bar.case}: {ratio:.2f}x {bar.against}, at least {bar.least:.2f}x")
        for case, most in self.course.limits.items():
            middle = self.median("vnet", case)
            if middle is None:
                continue
            holds = middle <= most
            well &= holds
            word = "holds" if holds else "MISSED"
            lines.append(f"{word:6}  {case}: {middle:.3g} {self.course.cases[case].unit}, at most {most:g}")
        return lines, well
