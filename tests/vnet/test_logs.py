"""The log of a fabric in the background."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, os, sys
from pathlib import Path
from vnet import logs
logging.basicConfig(level=logging.INFO)
path = Path(sys.argv[1])
logs.write_to(path, "%(message)s")
for handler in logging.getLogger().handlers:
    handler.maxBytes = 500
for number in range(100):
    logging.info("line %d", number)
    if number % 10 == 0:
        os.write(2, b"from elsewhere\\n")
"""


def run(path: Path) -> None:
    with path.open("ab") as output:
        subprocess.run([sys.executable, "-c", PROGRAM, path], stdout=output, stderr=output, check=True)


def test_a_log_that_is_full_makes_room_for_a_new_one(tmp_path: Path) -> None:
    run(path := tmp_path / "log")
    before, now = (tmp_path / "log.old").read_text(), path.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.old"]
    assert max(len(before), len(now)) <= 500 + 2 * len("from elsewhere\n")
    lines = (before + now).splitlines()
    assert lines[-1] == "line 99"
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(100)]
    assert "from elsewhere" in now.splitlines()


def test_a_log_that_can_not_make_room_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log.old" / "in the way").mkdir(parents=True)
    run(path := tmp_path / "log")
    said = path.read_text().splitlines()
    assert [line for line in said if line.startswith("line")] == [f"line {n}" for n in range(100)]
    assert len(said) == 110
