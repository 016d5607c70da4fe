"""`vnet ping` that is interrupted says what came until then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from vnet.cli import main, words


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What comes before Ctrl-C."""
    said: list[dict[str, Any]] = []

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def stream(self, _name: str, **_given: Any) -> Iterator[dict[str, Any]]:
            yield from said
            raise KeyboardInterrupt

    monkeypatch.setattr(words, "client", lambda _name: Client())
    return said


def test_ctrl_c_tells_what_came(replies: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    replies += [
        {"seq": 1, "address": "10.0.0.2", "rtt": 0.001},
        {"seq": 2, "address": "10.0.0.2", "error": "10.0.0.2 no answer within 2 s"},
    ]
    assert main(["ping", "web", "db"]) == 0
    said = capsys.readouterr().out
    assert "2 sent, 1 received, 50 % lost; min/avg/max/mdev 1.000/1.000/1.000/0.000 ms" in said
    assert main(["ping", "web", "db", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["sent"], document["received"], document["avg"]) == (2, 1, 0.001)
    assert document["replies"] == replies


def test_ctrl_c_before_any_answer_is_a_failure(
    replies: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ping", "web", "db"]) == 1
    assert "0 sent, 0 received" in capsys.readouterr().out
    replies += [{"seq": 1, "address": "10.0.0.2", "error": "10.0.0.2 no answer within 2 s"}]
    assert main(["ping", "web", "db", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["received"] == 0
