"""The bench, once with each switch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.switch.bench import Bench


@pytest.fixture(params=["native", "reference"])
def new_bench(request: pytest.FixtureRequest) -> Callable[..., Bench]:
    """Makes benches, for tests that set limits."""
    return functools.partial(Bench, request.param)


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    """A switch without ports."""
    return new_bench()
