"""`docs/audit.md` names tests: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def last_cells() -> list[str]:
    """What the last column of each table says."""
    rows = [line for line in (ROOT / "docs/audit.md").read_text().splitlines() if line.startswith("| ")]
    return [row.rstrip("| ").rpartition("| ")[2] for row in rows]


def test_named_tests_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for cell in last_cells():
        assert "same name" not in cell, f"{cell}: nobody would see that it is another's"
        for name in re.findall(r"\btest_\w+(?!\w|\.py|\w*\.\.\.|\{)", cell):
            assert f"def {name}" in sources or f"/{name}.py" in str(list((ROOT / "tests").rglob("*.py"))), (
                name
            )
        for path in re.findall(r"`((?:tests|switch)/[\w/.]+)", cell):
            assert (ROOT / path).exists(), path


def test_they_are_in_the_file_that_is_named() -> None:
    text = (ROOT / "docs/audit.md").read_text()
    files = dict(re.findall(r"`(\w+)`\s+is\s+`(tests/[\w/.]+)`", text))
    assert "hearing" in files
    sources = {word: (ROOT / path).read_text() for word, path in files.items()}
    found = 0
    # Up to the end of the cell, the parenthesis or the paragraph.
    for part in re.split(r"[|);]|\n\n", text):
        for word, names in re.findall(rf"\b({'|'.join(files)})\s((?:`test_\w+`(?:,\s|\sand\s)?)+)", part):
            for name in re.findall(r"test_\w+", names):
                assert f"def {name}(" in sources[word], f"{name} is not in {files[word]}"
                found += 1
    assert found > 10


def test_named_cases_exist() -> None:
    from tests.switch.test_guard_cases import ACCEPTED, REFUSED
    from tests.switch.test_guard_evasions import EVASIONS

    names = [*ACCEPTED, *REFUSED, *EVASIONS]
    for cell in last_cells():
        for name in re.findall(r'"([^"]+)"', cell):
            said = name.strip(". ").replace(", ...", "")
            assert any(said in known for known in names), name
