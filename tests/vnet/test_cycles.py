"""A full collection leaves a fabric that is up alone, and still finds what was removed from it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from vnet.cycles import Cycles


class Guest:
    """Something in a cycle of references."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_up_is_looked_at_no_more_and_what_went_is_found_once_in_a_while() -> None:
    cycles = Cycles()
    guest, early = Guest(), Guest()
    seen, garbage = weakref.ref(guest), weakref.ref(early)
    del early
    cycles.settle()
    assert garbage() is None
    assert gc.get_freeze_count() > 0
    del guest
    gc.collect()
    assert seen() is not None, "all was looked at"
    for _ in range(99):
        cycles.changed()
    assert seen() is not None
    cycles.changed()
    assert seen() is None
