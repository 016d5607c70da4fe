"""The pytest plugin: a network for a test.

    @pytest.mark.topology("lab.yaml")
    async def test_web(fabric):
        await assert_reachable(fabric, "shell", "web")

It comes with the package and needs no configuration. A test that asks for `fabric` is run by trio here, in
virtual time wherever its guests allow that, and so are async fixtures that it asks for; pytest-trio may be
there or not. Of a test that fails, the frames, the events and a picture are kept, and their paths printed.

Only pytest is imported until a test asks for a fabric.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import attrs
import pytest

if TYPE_CHECKING:
    import trio

    from vnet.fabric import Fabric
    from vnet.testing.artefacts import Artefacts
    from vnet.topology import Topology

MARK = (
    "topology(what=None, *, virtual=None, capture=True, limit=None, seed=None, **parameters): what the"
    " fixture `fabric` runs: a file (beside the test), `topology:NAME`, a dict, a vnet.Topology or a function"
    " that makes one of the parameters; without any it is `topology.with_args(make)`, as pytest takes a"
    " function that is alone for what is marked. virtual: False for real time, True to insist on virtual"
    " time. capture: False keeps no frames. limit: seconds of the network's time that the test may take; its"
    " fixtures have as long before it and after it, and a minute in real time at least."
)
VIRTUAL_LIMIT, REAL_LIMIT = 24 * 3600.0, 60.0
OUTCOMES = (pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception)
"""What a test says of itself; not an Exception."""
SNAPLEN = 2048
"""Bytes kept of each frame: all of it, but of super-frames."""

_FUNCTION = pytest.StashKey[Callable[..., Awaitable[None]]]()
_WANTED = pytest.StashKey["Wanted"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--vnet-artefacts DIR."""
    group = parser.getgroup("vnet")
    group.addoption(
        "--vnet-artefacts",
        metavar="DIR",
        help="where frames, events and pictures of failed tests are kept; without: pytest's temporary folder",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark."""
    config.addinivalue_line("markers", MARK)


# -- what is made when the test runs -------------------------------------------------------------


class Later:
    """The value of a fixture that has to be made inside trio."""

    def open(self, make: Callable[[Any], Awaitable[Any]]) -> Any:
        """An async context manager that gives the value. `make` makes those that it needs."""
        raise NotImplementedError

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"{name}: this is made when the test runs; who needs it is an async test or an async fixture"
                " that takes it as an argument"
            )


@attrs.define(eq=False)
class Wanted(Later):
    """The fabric that a test asks for."""

    topology: Topology
    virtual: bool
    capture: bool
    limit: float
    artefacts: Artefacts
    runtime: Path
    last: Topology | None = None
    """What ran when the test ended."""

    def open(self, make: Callable[[Any], Awaitable[Any]]) -> Any:
        """The running fabric."""
        return self._live()

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[Fabric]:
        from vnet.fabric import Fabric

        async with Fabric(self.topology, runtime=self.runtime) as fabric:
            with self.artefacts.events():
                capture = fabric.capture(self.artefacts.capture, snaplen=SNAPLEN) if self.capture else None
                async with capture or nullcontext():
                    try:
                        yield fabric
                    finally:
                        self.last = fabric.topology.copy()


@attrs.define(eq=False)
class AsyncFixture(Later):
    """An async fixture of the user's."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    def open(self, make: Callable[[Any], Awaitable[Any]]) -> Any:
        """What it returns or yields."""
        return self._value(make)

    @asynccontextmanager
    async def _value(self, make: Callable[[Any], Awaitable[Any]]) -> AsyncIterator[Any]:
        arguments = {name: await make(value) for name, value in self.arguments.items()}
        if not inspect.isasyncgenfunction(self.function):
            yield await self.function(**arguments)
            return
        async with asynccontextmanager(self.function)(**arguments) as value:
            yield value


# -- fixtures ------------------------------------------------------------------------------------


@pytest.fixture
def fabric(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wanted]:
    """A running `vnet.Fabric` of the mark `topology`, and an empty one without: see `--markers`."""
    from vnet.errors import VnetError
    from vnet.testing.artefacts import Artefacts
    from vnet.virtual import own_clocks

    if not inspect.iscoroutinefunction(_original(request.node)):
        pytest.fail("a test with the fixture `fabric` is an `async def`", pytrace=False)
    mark = request.node.get_closest_marker("topology")
    keys = dict(mark.kwargs) if mark else {}
    virtual, capture = keys.pop("virtual", None), keys.pop("capture", True)
    limit, seed = keys.pop("limit", None), keys.pop("seed", None)
    mistake = ""
    try:
        _check(virtual, capture, limit, seed)
        topology = _topology(mark.args if mark else (), keys, request.path.parent)
    except VnetError as error:
        # Failed behind the handler: pytest would show both.
        mistake = str(error)
    if mistake:
        pytest.fail(mistake, pytrace=False)
    if seed is not None:
        topology.seed = seed
    wrong = own_clocks(topology)
    if virtual and wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
    virtual = not wrong if virtual is None else bool(virtual)
    if not virtual:
        # Namespaces have names that all of the machine sees; another worker has the same topology.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        topology.name = f"{topology.name[: 31 - len(worker)]}-{worker}" if worker else topology.name
    # A short path, as sockets lie there.
    runtime = Path(tempfile.mkdtemp(prefix="vnet-"))
    wanted = Wanted(
        topology,
        virtual,
        capture,
        limit if limit is not None else VIRTUAL_LIMIT if virtual else REAL_LIMIT,
        Artefacts(_folder(request, tmp_path_factory)),
        runtime / "run",
    )
    request.node.stash[_WANTED] = wanted
    yield wanted
    shutil.rmtree(runtime, ignore_errors=True)
    wanted.artefacts.remove()


def _check(virtual: object, capture: object, limit: object, seed: object) -> None:
    """What the mark says beside its topology. Raises BadInput."""
    from vnet.errors import BadInput

    if not isinstance(virtual, bool | None):
        raise BadInput(f"topology: virtual: found {virtual!r}, expected True or False")
    if not isinstance(capture, bool):
        raise BadInput(f"topology: capture: found {capture!r}, expected True or False")
    if limit is not None and not (_is_number(limit, float) and limit > 0):
        raise BadInput(f"topology: limit: found {limit!r}, expected seconds above 0")
    if seed is not None and not (_is_number(seed) and 0 <= seed < 1 << 64):
        raise BadInput(f"topology: seed: found {seed!r}, expected a number from 0 to 18446744073709551615")


def _is_number(value: object, *more: type) -> TypeGuard[float]:
    return isinstance(value, (int, *more)) and not isinstance(value, bool)


def _topology(given: tuple[Any, ...], parameters: dict[str, Any], folder: Path) -> Topology:
    """What the mark says. Raises BadInput."""
    from vnet.errors import BadInput
    from vnet.topology import Topology

    if len(given) > 1:
        raise BadInput(f"topology: found {len(given)} of them, expected one; what it is made of has names")
    what = given[0] if given else None
    if isinstance(what, str) and what.startswith("topology:") and parameters:
        import topologies

        return topologies.build(what.removeprefix("topology:"), **parameters)
    if callable(what) and not isinstance(what, Topology):
        _bind(what, parameters)
        made = what(**parameters)
        if not isinstance(made, Topology):
            raise BadInput(f"topology: {what!r} gave {made!r}, expected a vnet.Topology")
        return made
    if parameters:
        known = "expected virtual, capture, limit or seed"
        raise BadInput(f"topology: {', '.join(parameters)}: only builders take parameters, {known}")
    if what is None:
        return Topology("test")
    if isinstance(what, Topology):
        return what.copy()
    if isinstance(what, Mapping):
        return Topology.from_dict(what)
    if not isinstance(what, str | os.PathLike):
        raise BadInput(f"topology: found {what!r}, expected a file, a dict, a vnet.Topology or a function")
    name = os.fspath(what)
    return Topology.from_file(name if name.startswith("topology:") else folder / name)


def _bind(make: Callable[..., Any], parameters: dict[str, Any]) -> None:
    """Whether it takes these parameters; a TypeError from within is its own. Raises BadInput."""
    from vnet.errors import BadInput

    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        return  # not everything has one
    try:
        signature.bind(**parameters)
    except TypeError as error:
        raise BadInput(f"topology: {getattr(make, '__name__', repr(make))}: {error}") from None


def _folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this test alone, also beside other workers."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.nodeid).strip("-")[-120:]
    given = request.config.getoption("--vnet-artefacts")
    if given is None:
        return tmp_path_factory.mktemp("vnet")
    folder = Path(given) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder.absolute()


# -- running -------------------------------------------------------------------------------------


def _asks_for_ours(item: pytest.Item) -> bool:
    """Whether its `fabric` is the one here and not a fixture of the test's own."""
    found = getattr(item, "_fixtureinfo", None)
    fixtures: Sequence[Any] = found.name2fixturedefs.get("fabric", ()) if found else ()
    return bool(fixtures) and fixtures[-1].func.__module__ == __name__


def _original(item: pytest.Item) -> Any:
    return item.stash.get(_FUNCTION, getattr(item, "obj", None))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the test's function, before another plugin puts one that runs trio in its place."""
    if _asks_for_ours(item):
        item.stash[_FUNCTION] = getattr(item, "obj")  # noqa: B009


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: Any) -> Any:
    """An async fixture of a test of ours is made when the test runs."""
    function = fixturedef.func
    theirs = fixturedef.argname == "nursery" and function.__module__.startswith("pytest_trio")
    if not theirs and not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        return None
    item = request.node
    if not isinstance(item, pytest.Item) or not _asks_for_ours(item):
        return None
    if theirs:
        # pytest-trio's own runner, which would make it, is not at work.
        value: Later = _Nursery()
        fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value
    if inspect.ismethod(function) and isinstance(request.instance, type(function.__self__)):
        # Of a class of tests, which pytest read from an instance of its own.
        function = function.__func__.__get__(request.instance)
    value = AsyncFixture(function, {name: request.getfixturevalue(name) for name in fixturedef.argnames})
    fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test of ours."""
    wanted = pyfuncitem.stash.get(_WANTED, None)
    if wanted is None:
        return None
    function = pyfuncitem.stash[_FUNCTION]
    names = pyfuncitem._fixtureinfo.argnames
    _run(function, dict(pyfuncitem.funcargs), names, wanted)
    return True


def _run(
    function: Callable[..., Awaitable[None]], values: dict[str, Any], names: tuple[str, ...], wanted: Wanted
) -> None:
    import trio
    from trio.testing import MockClock

    clock: trio.abc.Clock | None = next((v for v in values.values() if isinstance(v, trio.abc.Clock)), None)
    if clock is None and wanted.virtual:
        clock = MockClock(autojump_threshold=0)

    # A test that may not take long may have fixtures that do.
    patience = max(wanted.limit, VIRTUAL_LIMIT if wanted.virtual else REAL_LIMIT)

    async def main() -> None:
        failure: BaseException | None = None
        slow = ""
        # Around all of them, as the scopes and nurseries that they open end after the test.
        with _beside(lambda: failure), trio.move_on_after(patience) as fixtures:
            async with AsyncExitStack() as stack:
                made: dict[int, Any] = {}

                async def make(value: Any) -> Any:
                    if not isinstance(value, Later):
                        return value
                    if id(value) not in made:
                        made[id(value)] = await stack.enter_async_context(value.open(make))
                    return made[id(value)]

                ready: dict[str, Any] = {}
                for name, value in values.items():
                    slow = f"the fixture {name} was not made within {patience:g} s"
                    ready[name] = await make(value)
                fixtures.deadline = math.inf
                try:
                    with trio.fail_after(wanted.limit):
                        await function(**{name: ready[name] for name in names})
                except (Exception, *OUTCOMES) as error:
                    # Fixtures end as they do anywhere else: without knowing of it.
                    failure = error
                finally:
                    slow = f"the fixtures did not end within {patience:g} s"
                    fixtures.deadline = trio.current_time() + patience
        if failure is not None:
            raise failure
        if fixtures.cancelled_caught:
            raise trio.TooSlowError(slow)

    trio.run(main, clock=clock)


@contextmanager
def _beside(failure: Callable[[], BaseException | None]) -> Iterator[None]:
    """What fixtures end with does not hide why the test failed."""
    try:
        yield
    except (Exception, *OUTCOMES) as error:
        if (first := failure()) is None:
            raise
        raise BaseExceptionGroup("the test, and then its fixtures", [first, error]) from None


class _Nursery(Later):
    def open(self, make: Callable[[Any], Awaitable[Any]]) -> Any:
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[trio.Nursery]:
        import trio

        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Say where what is kept of a failed test is."""
    report = yield
    wanted = item.stash.get(_WANTED, None)
    if report.when == "call" and report.failed and wanted is not None:
        wanted.artefacts.draw(wanted.last or wanted.topology)
        paths = "\n".join(str(path) for path in wanted.artefacts.keep())
        report.sections.append(("kept of this test by vnet", paths))
    return report
