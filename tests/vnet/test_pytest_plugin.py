"""The pytest plugin, as somebody has it who installed vnet: runs of pytest in a folder of theirs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.deadline(150)

ROOT = Path(__file__).parents[2]

LAB = """
name: lab
networks: {lan: {subnets: [10.0.0.0/24]}, other: {subnets: [10.0.0.0/24]}}
guests:
  a: {nics: [{network: lan}]}
  b: {nics: [{network: lan}]}
  alone: {nics: [{network: other}]}
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run `source` as a test file beside `lab.yaml`, with no configuration."""
    pytester.makefile(".yaml", lab=LAB)
    pytester.makepyfile(source)
    patch = pytest.MonkeyPatch()
    # The entry point is that of the installed package; it is found wherever pytest runs.
    for name in [name for name in os.environ if name.startswith(("PYTEST_XDIST", "VNET_NO_SKIP"))]:
        patch.delenv(name)
    with patch.context():
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)
    patch.undo()
    return result


def test_a_test_has_a_network(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, time, trio, vnet
        from vnet.testing import *

        @pytest.mark.topology("lab.yaml")
        async def test_file(fabric):
            begun = time.monotonic()
            await assert_reachable(fabric, "a", "b", protocol="tcp", port=80)
            await assert_isolated(fabric, ["a", "b"], "alone")
            await trio.sleep(3600)
            assert time.monotonic() - begun < 30

        @pytest.mark.topology({"name": "d", "networks": {"n": {"subnets": ["10.0.0.0/24"]}},
                               "guests": {"x": {"nics": [{"network": "n"}]}}}, seed=5)
        async def test_dict(fabric):
            assert list(fabric.guests) == ["x"] and fabric.topology.seed == 5

        @pytest.mark.topology("topology:single?hosts=3")
        async def test_ready(fabric):
            assert len(fabric.guests) == 3

        def make(count):
            topology = vnet.Topology("made").network("n", subnets=["10.0.0.0/24"])
            for number in range(count):
                topology.guest(f"g{number}", network="n")
            return topology

        @pytest.mark.topology(make, count=4)
        async def test_function(fabric):
            assert len(fabric.guests) == 4

        def make_one():
            return make(1)

        @pytest.mark.topology.with_args(make_one)
        async def test_function_alone(fabric):
            assert len(fabric.guests) == 1

        @pytest.mark.topology(make(2))
        class TestObject:
            async def test_one(self, fabric):
                await fabric.detach("g0")

            async def test_is_another(self, fabric):
                assert len(fabric.guests) == 2

        async def test_empty(fabric):
            await fabric.apply(fabric.topology.copy().network("n", subnets=["10.0.0.0/24"])
                               .guest("g0", network="n").guest("g1", network="n"))
            await fabric.guests["g0"].ping(fabric.guests["g1"])

        @pytest.mark.topology("topology:ring", switches=3, hosts=1)
        async def test_path(fabric):
            await eventually(lambda: fabric.guests["h1"].ping(fabric.guests["h2"]), timeout=30)
            found = await path(fabric, "h1", "h2")
            assert len(found) in (2, 3)
            await assert_path(fabric, "h1", "h2", found)
            with pytest.raises(AssertionError, match="h1 to h2: by .*, expected nowhere"):
                await assert_path(fabric, "h1", "h2", ["nowhere"], within=0)

        @pytest.mark.topology("lab.yaml", virtual=False)
        async def test_real_time(fabric):
            assert fabric.driver == "thread"
            assert await fabric.guests["a"].ping(fabric.guests["b"]) > 0
        """,
    )
    result.assert_outcomes(passed=10)


def test_the_example_of_the_readme_works(pytester: pytest.Pytester) -> None:
    (example,) = re.findall(
        r"^```python\n(import pytest\n.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    run(pytester, example).assert_outcomes(passed=1)


def test_fixtures_may_be_async_and_need_no_other_plugin(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, trio
        done = []

        @pytest.fixture
        async def server(fabric):
            async with trio.open_nursery() as nursery, fabric.guests["b"].as_network():
                async def handler(stream):
                    await stream.send_all(b"hello")
                await nursery.start(trio.serve_tcp, handler, 80)
                yield "b"
                done.append("server")
                nursery.cancel_scope.cancel()

        @pytest.fixture
        async def answer(server, fabric):
            async with fabric.guests["a"].as_network(), await trio.open_tcp_stream(server, 80) as stream:
                return await stream.receive_some()

        pytestmark = pytest.mark.topology("lab.yaml")

        async def test_it(answer, server, fabric):
            assert (answer, server) == (b"hello", "b")

        async def test_fixtures_end_when_a_test_fails(server):
            1 / 0

        class TestMethods:
            @pytest.fixture
            async def one(self, fabric):
                self.set = fabric
                yield 1

            async def test_same_instance(self, one, fabric):
                assert self.set is fabric

        def test_after():
            assert done == ["server", "server"]
        """,
        "-p",
        "no:trio",
    )
    # The second does not ask for `fabric` itself, but for what needs it.
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_what_fixtures_end_with_does_not_hide_why_a_test_failed(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, trio
        pytestmark = pytest.mark.topology("lab.yaml", capture=False)

        @pytest.fixture
        async def server(fabric):
            async with trio.open_nursery() as nursery:
                yield nursery
                raise RuntimeError("the fixture complains")

        async def test_fails(server):
            raise AssertionError("the real reason")

        async def test_says_so(server):
            pytest.fail("what it says")

        async def test_passes(server):
            pass
        """,
    )
    result.assert_outcomes(failed=3)
    told = result.stdout.str()
    assert told.index("AssertionError: the real reason") < told.index("RuntimeError: the fixture complains")
    assert "Failed: what it says" in told
    assert len(re.findall("RuntimeError: the fixture complains", told)) >= 3


def test_beside_pytest_trio(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntrio_mode = true")
    result = run(
        pytester,
        """
        import pytest, time, trio

        @pytest.mark.topology("lab.yaml")
        async def test_ours(fabric, nursery):
            nursery.start_soon(trio.sleep_forever)
            await fabric.guests["a"].ping(fabric.guests["b"])
            await trio.sleep(1000)

        async def test_theirs(autojump_clock):
            await trio.sleep(1000)
        """,
    )
    result.assert_outcomes(passed=2)


def test_what_failed_is_kept_and_told(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import logging, pytest, threading
        pytestmark = pytest.mark.topology("lab.yaml")

        async def test_fails(fabric):
            await fabric.guests["a"].ping(fabric.guests["b"])
            await fabric.set_link("a.0", up=False)
            await fabric.guests["b"].ping(fabric.guests["a"], timeout=9)

        async def test_passes(fabric):
            pass

        async def test_a_thread_may_say_something(fabric):
            # One that is not of trio's run knows no time of it.
            thread = threading.Thread(target=lambda: said.append(log("from a thread")))
            thread.start()
            thread.join()
            assert said == [None]

        def log(line):
            logging.getLogger("vnet.test").warning(line)

        said = []
        """,
        "--vnet-artefacts=kept",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*errors.Unreachable: *no answer in 9 s", "*kept of this test by vnet*", "*frames.pcapng"]
    )
    paths = [Path(found) for found in re.findall(r"^/\S+$", result.stdout.str(), re.MULTILINE)]
    kept = {path.name: path for path in paths}
    assert sorted(kept) == ["events.txt", "frames.pcapng", "topology.svg", "topology.yaml"]
    assert kept["frames.pcapng"].stat().st_size > 500
    assert "a.0" in kept["events.txt"].read_text()
    assert kept["topology.svg"].read_text().startswith("<svg")
    assert "alone" in kept["topology.yaml"].read_text()
    # Of those that passed nothing is left.
    assert [path.name for path in (pytester.path / "kept").iterdir()] == [kept["events.txt"].parent.name]


def test_side_by_side(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, vnet

        @pytest.mark.topology("lab.yaml")
        @pytest.mark.parametrize("number", range(6))
        async def test_virtual(fabric, number):
            await fabric.guests["a"].ping(fabric.guests["b"])
            assert number != 3

        @pytest.mark.topology("lab.yaml", virtual=False)
        @pytest.mark.parametrize("number", range(6))
        async def test_real(fabric, number):
            # A socket in the runtime folder, which the other workers have, too.
            await fabric.attach("vm", network="lan", nic=vnet.Stream(socket="vm.sock"))
            await fabric.guests["a"].ping(fabric.guests["b"])
            assert number != 3
        """,
        "-n",
        "2",
        "--vnet-artefacts=kept",
    )
    result.assert_outcomes(passed=10, failed=2)
    assert len(list((pytester.path / "kept").iterdir())) == 2
    assert result.stdout.str().count("frames.pcapng") == 2


VM = {"kind": "netns", "nics": [{"network": "n"}]}
NETNS = str({"name": "x", "networks": {"n": {}}, "guests": {"v": VM}})
WRONG = {
    '"no.yaml"': "*no.yaml: No such file or directory*",
    '{"name": "x", "guets": {}}': "*guets: *did you mean guests?*",
    '"lab.yaml", seeds=2': "*topology: seeds: only builders take parameters*",
    "7": "*topology: found 7, expected a file, a dict, a vnet.Topology or a function*",
    "lambda: 3": "*gave 3, expected a vnet.Topology*",
    "make, count=1, bogus=1": "*topology: make: got an unexpected keyword argument 'bogus'*",
    "make, limit=9": "*topology: make: missing a required argument: 'count'*",
    '"lab.yaml", "lab.yaml"': "*topology: found 2 of them, expected one*",
    '"lab.yaml", limit="5"': "*topology: limit: found '5', expected seconds above 0*",
    '"lab.yaml", limit=0': "*topology: limit: found 0, expected seconds above 0*",
    '"lab.yaml", seed="abc"': "*topology: seed: found 'abc', expected a number from 0 to*",
    '"lab.yaml", seed=-1': "*topology: seed: found -1, expected a number from 0 to*",
    '"lab.yaml", virtual="no"': "*topology: virtual: found 'no', expected True or False*",
    '"lab.yaml", capture="off"': "*topology: capture: found 'off', expected True or False*",
    f"{NETNS}, virtual=True": "*guests.v.kind: netns guests have a clock of their own; in virtual time use*",
}


def test_what_is_wrong_is_one_line(pytester: pytest.Pytester) -> None:
    tests = [
        f"""
@pytest.mark.topology({mark})
async def test_{number}(fabric):
    raise AssertionError("ran")
"""
        for number, mark in enumerate(WRONG)
    ]
    make = "def make(count): pass\n"
    result = run(pytester, "\n".join(["import pytest", make, *tests]), "--tb=short", "-rN")
    result.assert_outcomes(errors=len(WRONG))
    result.stdout.fnmatch_lines(list(WRONG.values()))
    assert "ran" not in result.stdout.str()


def test_a_plain_function_has_no_fabric_and_a_hang_ends(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, trio

        def test_plain(fabric):
            pass

        @pytest.mark.topology("lab.yaml", limit=100, capture=False)
        async def test_hangs(fabric):
            await trio.sleep_forever()
        """,
        "--tb=short",
    )
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(["*a test with the fixture `fabric` is an `async def`*", "*TooSlowError*"])
    assert "frames.pcapng" not in result.stdout.str()


def test_what_is_made_later_says_so(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest
        pytestmark = pytest.mark.topology("lab.yaml", capture=False)

        @pytest.fixture
        def plain(fabric):
            return fabric.guests["a"]

        @pytest.fixture
        async def late(fabric):
            return fabric.guests["a"]

        async def test_of_a_plain_fixture(plain):
            raise AssertionError("ran")

        async def test_by_its_name(fabric, request):
            request.getfixturevalue("late").name
        """,
    )
    result.assert_outcomes(errors=1, failed=1)
    for name in ("guests", "name"):
        result.stdout.fnmatch_lines(
            [f"*AttributeError: {name}: this is made when the test runs; who needs it*"]
        )


def test_fixtures_that_hang_end_too(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest, trio
        pytestmark = pytest.mark.topology("lab.yaml", capture=False, limit=5)
        done = []

        @pytest.fixture
        async def early(fabric):
            await trio.sleep_forever()

        @pytest.fixture
        async def late(fabric):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                yield nursery
                done.append("late")

        @pytest.fixture
        async def slow(fabric):
            # The test's limit is not theirs.
            await trio.sleep(600)
            async with trio.open_nursery() as nursery:
                yield nursery
                await trio.sleep(600)
                done.append("slow")

        async def test_early(early):
            raise AssertionError("ran")

        async def test_late(late):
            pass

        async def test_late_and_wrong(late):
            1 / 0

        async def test_slow(slow):
            await trio.sleep(1)

        def test_after():
            assert done == ["late", "late", "slow"]
        """,
        "--tb=short",
    )
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "E *TooSlowError: the fixture early was not made within 86400 s",
            "E *TooSlowError: the fixtures did not end within 86400 s",
            "E *ZeroDivisionError: division by zero",
        ]
    )
    assert "ran" not in result.stdout.str()
