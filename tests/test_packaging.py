"""The source distribution holds the whole house: it can be built, tested and packaged from."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.needs import needs, needs_tool

ROOT = Path(__file__).parent.parent
OURS_ALONE = {".ci/run", ".gitignore"}

needs_clone = needs(
    "a git clone", lambda: None if (ROOT / ".git").exists() else "this is an unpacked package"
)


@needs_tool("git")
@needs_clone
def test_source_distribution_has_every_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "maturin", "sdist", "--out", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = tmp_path.glob("vnet_fabric-*.tar.gz")
    with tarfile.open(made) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = set(listed.stdout.split("\0")) - {""} - OURS_ALONE
    # What was removed and is not committed yet is no loss.
    tracked = {name for name in tracked if (ROOT / name).exists()}
    assert tracked - packed == set()
    assert packed - tracked == {"PKG-INFO"}
