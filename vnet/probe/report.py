"""What came out of a test: lines for a person, one JSON document, JUnit XML for other programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as Tree

from vnet.probe.result import Finding, Part, Result

MOST = 5
"""Findings of one pair that a person is told."""
WORDS = {
    "expect": "expectations, proved from the file",
    "frames": "frames, honest and hostile, from every port",
    "talk": "conversations, by echo, TCP and UDP",
    "scenario": "steps of the scenario",
}


def lines(result: Result) -> Iterator[str]:
    """The end of the story."""
    for part in result.parts:
        if not part.probes and not part.findings:
            continue
        wrong = len(part.findings)
        verdict = "all as proved" if not wrong else f"{wrong} not as they have to be"
        if part.name in ("expect", "scenario"):
            verdict = "all hold" if not wrong else f"{wrong} {'does' if wrong == 1 else 'do'} not hold"
        yield f"{part.probes:>7} {WORDS[part.name]}: {verdict} ({part.seconds:.2f} s)"
        for note in part.notes:
            yield f"        {note}"
    yield from told(result)


def told(result: Result) -> Iterator[str]:
    """Every pair with findings, and the first of them."""
    by_pair: dict[tuple[str, str, str], list[Finding]] = {}
    for part in result.parts:
        for finding in part.findings:
            by_pair.setdefault((part.name, finding.source, finding.target), []).append(finding)
    for (part_name, _, _), findings in by_pair.items():
        for finding in findings[:MOST]:
            yield f"FAILED: {part_name}: {finding}"
        if len(findings) > MOST:
            yield f"        ... and {len(findings) - MOST} more of these two"


def document(result: Result) -> dict[str, Any]:
    """The result for machines."""
    return {
        "name": result.name,
        "ok": not result.findings,
        "time": "virtual" if result.virtual else "real",
        "seconds": round(result.seconds, 3),
        "parts": [
            {
                "part": part.name,
                "probes": part.probes,
                "seconds": round(part.seconds, 3),
                "notes": part.notes,
                "findings": [
                    {"from": finding.source, "to": finding.target, "text": finding.text}
                    for finding in part.findings
                ],
                **(
                    {
                        "steps": [
                            {
                                "step": step.number,
                                "name": step.title,
                                "ok": step.failure is None and not step.skipped,
                                "skipped": step.skipped,
                                "seconds": round(step.seconds, 6),
                                "text": step.failure or step.text,
                            }
                            for step in part.steps
                        ]
                    }
                    if part.name == "scenario"
                    else {}
                ),
            }
            for part in result.parts
        ],
    }


def junit(result: Result) -> bytes:
    """JUnit XML: a suite for each part, a case for each pair and each step."""
    root = Tree.Element("testsuites", name=f"vnet test {result.name}")
    for part in result.parts:
        cases = list(_cases(part))
        failed = sum(bool(failure) for _, failure, _, _ in cases)
        suite = Tree.SubElement(
            root,
            "testsuite",
            name=part.name,
            tests=str(len(cases)),
            failures=str(failed),
            skipped=str(sum(skipped for _, _, skipped, _ in cases)),
            time=f"{part.seconds:.3f}",
        )
        for name, failure, skipped, seconds in cases:
            case = Tree.SubElement(suite, "testcase", name=name, classname=f"{result.name}.{part.name}")
            case.set("time", f"{seconds:.6f}")
            if skipped:
                Tree.SubElement(case, "skipped")
            elif failure:
                element = Tree.SubElement(case, "failure", message=_sound(failure.split("\n")[0]))
                element.text = _sound(failure)
    Tree.indent(root)
    return bytes(Tree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _cases(part: Part) -> Iterator[tuple[str, str, bool, float]]:
    """(name, what failed or "", skipped, seconds)."""
    if part.steps:
        for step in part.steps:
            yield f"{step.number} {step.title}", step.failure or "", step.skipped, step.seconds
        return
    pairs = dict.fromkeys(part.pairs) | {(f.source, f.target): None for f in part.findings}
    for source, target in pairs:
        texts = [f.text for f in part.findings if (f.source, f.target) == (source, target)]
        yield f"{source} -> {target or 'everybody'}", "\n".join(texts), False, 0.0


def _sound(text: str) -> str:
    """Without characters that XML 1.0 (2.2) has no place for; a command's output may have some."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]", "?", text)
