"""What guests make the engine tell: a mistake of ours with it is logged, and everybody else runs on."""

import pytest
import trio

import vnet
from tests.vnet.test_flaps import lab
from vnet import events


@pytest.fixture
def logged(monkeypatch):
    """What was told of exceptions. Records of them would keep their frames, and the fabric there."""
    lines = []
    monkeypatch.setattr(events.log, "exception", lambda text, *values: lines.append(text % values))
    return lines


@pytest.mark.usefixtures("autojump_clock")
async def test_an_event_that_fails_ends_nothing_else(monkeypatch, logged):
    def fails(_fabric, _port):
        raise AssertionError("a mistake of ours")

    async with vnet.Fabric(lab()) as fabric:
        with monkeypatch.context() as broken:
            broken.setattr(events.carriers, "tell", fails)
            fabric.ports["g.0"].opened.far.handle.close()
            await trio.sleep(1)
            events.lost(fabric, 1)
        fabric.ports["wan"].opened.far.handle.close()
        await trio.sleep(1)
        assert not fabric.ports["wan"].carrier, "and the next one is heard of"
    assert "'carrier'" in logged[0]
    assert [line.partition(":")[0] for line in logged[1:]] == ["g.0", "wan"], "each was to look"


@pytest.mark.usefixtures("autojump_clock")
async def test_what_an_event_asks_for_and_fails_ends_nothing_else(logged):
    async def fails():
        raise AssertionError("a mistake of ours")

    async with vnet.Fabric(lab()) as fabric:
        fabric.soon(fails)
        await trio.sleep(1)
        assert fabric.ports["g.0"].carrier
    assert len(logged) == 1


@pytest.mark.gives_up
def test_that_fails_a_test_which_does_not_expect_it(pytester):
    pytester.makeconftest("from tests.conftest import _nothing_is_given_up")
    pytester.makepyfile(
        """
        import pytest
        from vnet import events

        def test_mistaken():
            events.one(None, None)

        @pytest.mark.gives_up
        def test_expected():
            events.one(None, None)

        def test_right():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["the event None was given up", "*TypeError: *"])
