"""What the doors' tests share."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest

from nics.door import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """Where a door that needs nothing of the kernel's interfaces can be opened.

    Its runtime folder has a short path, as socket files need it.
    """
    with TemporaryDirectory(prefix="vnet-") as folder:
        yield Place(port="vm.0", runtime=Path(folder), netlink=cast("Any", None), mac="02:00:00:00:00:01")
