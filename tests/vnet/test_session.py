"""The session in the documentation is still what happens, up to numbers."""

import re
from pathlib import Path

import pytest

from tools import session

PAGE = Path(__file__).parents[2] / "docs/where-did-my-packet-go.md"


def shape(text: str) -> list[str]:
    """Its lines, with every number and time the same, but those of `vnet drops`: what in-process hosts say of
    themselves while the fabric comes up is dropped or not, as it happens.
    """
    kept, skipping = [], False
    for line in text.splitlines():
        skipping = line == "$ vnet drops" or (skipping and line[:1] not in ("$", "`"))
        if not skipping:
            kept.append(re.sub(r"\d+(\.\d+)?( ?(us|ms|s))?\b", "N", line))
    return kept


@pytest.mark.deadline(240)
def test_the_page_is_what_happens() -> None:
    page = "".join(session.play())
    assert shape(page) == shape(PAGE.read_text())
    # Each command leads to the cause.
    for told in ("group-ingress", "lab.yaml:9:", "guard-ip4", "no VLAN in common"):
        assert told in page
