"""Golden files: what is expected is in git, and `VNET_GOLDEN=1 pytest` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check(name: str, text: str) -> None:
    """`text` must be what the golden file says."""
    check_file(FOLDER / name, text)


def check_file(file: Path, text: str) -> None:
    """`text` must be what is in `file`."""
    if os.environ.get("VNET_GOLDEN") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"{file} differs; if the new text is better: VNET_GOLDEN=1 pytest"
