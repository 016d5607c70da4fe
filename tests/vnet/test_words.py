"""How the command line shows tables."""

import pytest

from vnet.cli import words


def test_a_mac_address_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    words.table(["mac"], [["02:61:e7:ab:4f:fd"], ["02:00:a:b:[bold]"]])
    assert capsys.readouterr().out.split() == ["mac", "02:61:e7:ab:4f:fd", "02:00:a:b:[bold]"]
