"""How the tests run: async tests under trio, a deadline for each, nothing left behind, needs checked.

* `async def test_*` is run by trio. With the fixture `mock_clock` or `autojump_clock` it runs in
  virtual time, as with pytest-trio; Hypothesis' `@given` works on it too.
* Every test has a deadline of 60 s of real time, or `@pytest.mark.deadline(seconds)`.
* After a test that passed, descriptors and processes must be as before, and with VNET_NO_SKIP=1, for
  a machine to itself, interfaces and namespaces too;
  `@pytest.mark.leaves("what and why")` for the rare test that can't.
* What a fabric tells its log that it has given up, for a mistake of ours, fails the test, but for
  `@pytest.mark.gives_up`.
* Hypothesis takes the time that it takes, and tries the same examples every time where nothing may be
  skipped: what is judged there is a change, not luck. Everywhere else it looks for new ones.
* `tests/needs.py` has the marks for root, tools and QEMU.
"""

from __future__ import annotations

import faulthandler
import functools
import inspect
import logging
import math
import os
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings

from tests import leaks, needs
from vnet.errors import single

DEADLINE = 60.0
ALONE = needs.NO_SKIP and "PYTEST_XDIST_WORKER" not in os.environ
"""Nothing else makes interfaces and namespaces on this machine meanwhile, as far as we know."""
HARD_STOP = 60.0
TEMPORARY = 24
"""The longest path of a folder that tests may have theirs in: those of sockets have 108 bytes at most."""

settings.register_profile(
    "vnet", deadline=None, derandomize=needs.NO_SKIP, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vnet")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if len(tempfile.gettempdir()) > TEMPORARY:
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"
    config.addinivalue_line("markers", "needs(what, check): see tests/needs.py")
    config.addinivalue_line("markers", "deadline(seconds): real time that the test may take; 60 without")
    config.addinivalue_line("markers", "leaves(why): do not look for what the test left behind")
    config.addinivalue_line("markers", "gives_up: a mistake is made, which the log tells")


@pytest.fixture(autouse=True, scope="session")
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds, or leaves, what fabrics keep over a restart."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    """Virtual time that stands still until the test moves it."""
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Virtual time that jumps to the next deadline whenever every task waits."""
    return trio.testing.MockClock(autojump_threshold=0)


# -- async tests ---------------------------------------------------------------------------------


def _under_trio(
    function: Callable[..., Any], seconds: float, clock: trio.abc.Clock | None
) -> Callable[..., None]:
    """A plain function that runs the async `function` under trio, by `clock`."""

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        async def main() -> None:
            # In virtual time the deadline would come at once; the real-time one of every test stays.
            with trio.fail_after(math.inf if clock is not None else seconds):
                await function(**arguments)

        try:
            trio.run(main, clock=clock)
        except BaseExceptionGroup as group:
            # pytest knows its own outcomes (skip, fail) only bare.
            leaf = single(group)
            if isinstance(leaf, pytest.skip.Exception | pytest.fail.Exception):
                raise leaf from None
            raise

    return run


def _clock(item: pytest.Function) -> trio.abc.Clock | None:
    """That of its fixtures, by argument or by `usefixtures`."""
    return next((value for value in item.funcargs.values() if isinstance(value, trio.abc.Clock)), None)


def _deadline(item: pytest.Item) -> float:
    mark = item.get_closest_marker("deadline")
    return DEADLINE if mark is None else float(mark.args[0])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    function = pyfuncitem.obj
    if (given := getattr(function, "hypothesis", None)) is not None:
        if inspect.iscoroutinefunction(given.inner_test):
            given.inner_test = _under_trio(given.inner_test, _deadline(pyfuncitem), _clock(pyfuncitem))
    elif inspect.iscoroutinefunction(function):
        pyfuncitem.obj = _under_trio(function, _deadline(pyfuncitem), _clock(pyfuncitem))
    return (yield)


# -- deadlines and leaks -------------------------------------------------------------------------


class _Late(BaseException):
    """The test used up its real time."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    seconds = _deadline(item)
    # Three ways to end it, each for when the one before can't: trio's own deadline; a signal, when
    # a test blocks in Python (an async test gets a few seconds to end by itself first); the whole
    # run, with all stacks shown, when native code blocks with the interpreter lock held.
    grace = min(5.0, seconds) if inspect.iscoroutinefunction(getattr(item, "obj", None)) else 0.0

    def ring(_signal: int, _frame: object) -> None:
        raise _Late(f"the test took more than {seconds:g} s")

    before = leaks.Snapshot.take(uuid.uuid4().hex)
    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds + grace)
    faulthandler.dump_traceback_later(seconds + HARD_STOP, exit=True, file=sys.__stderr__)
    try:
        result = yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        faulthandler.cancel_dump_traceback_later()
    if item.get_closest_marker("leaves") is None and (found := before.leaks(alone=ALONE)):
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)
    return result


@pytest.fixture(autouse=True)
def books(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a fabric ends, its counters add up: see tests/books.py."""
    # Imported late: tests of other rooms do without.
    if (fabric := sys.modules.get("vnet.fabric")) is None:
        return
    from tests import books

    take_down = fabric.apply.take_down

    async def checked(ended: Any) -> None:
        try:
            books.check(ended)
        finally:
            await take_down(ended)

    monkeypatch.setattr(fabric.apply, "take_down", checked)


class _GivenUp(logging.Handler):
    """What a fabric went on without, as text: records would keep their frames, and the fabric there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "was given up" in str(record.msg):
            error = record.exc_info[1] if record.exc_info else None
            lines = traceback.format_exception(error) if error is not None else []
            self.told.append(f"{record.getMessage()}\n{''.join(lines)}")


@pytest.fixture(autouse=True)
def _nothing_is_given_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """A mistake of ours with one event ends no fabric; it ends the test."""
    log, heard = logging.getLogger("vnet"), _GivenUp()
    log.addHandler(heard)
    yield
    log.removeHandler(heard)
    if heard.told and request.node.get_closest_marker("gives_up") is None:
        pytest.fail("\n".join(heard.told), pytrace=False)


# -- needs ---------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if (reason := needs.unmet(item)) is not None:
        pytest.skip(reason)


def _no_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if needs.NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"VNET_NO_SKIP is set, and this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    _no_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    _no_skip(report)
    return report
