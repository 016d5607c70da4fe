"""The test plugin itself: a deadline that never strikes or a leak that is not seen is worse than none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import needs_root

pytestmark = pytest.mark.deadline(150)

ROOT = Path(__file__).parent.parent


def outcomes(pytester: pytest.Pytester, source: str, **environment: str) -> tuple[dict[str, int], str]:
    """Run `source` as a test file of its own under our plugin."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.delenv("VNET_NO_SKIP", raising=False)
    patch.delenv("PYTEST_XDIST_WORKER", raising=False)
    for name, value in environment.items():
        patch.setenv(name, value)
    pytester.makepyfile(source)
    with patch.context():
        result = pytester.runpytest_subprocess(
            "-p", "tests.conftest", "--import-mode=importlib", "-rs", timeout=120
        )
    patch.undo()
    return result.parseoutcomes(), result.stdout.str() + result.stderr.str()


def test_async_test_runs_and_fails_by_its_own_assertion(pytester: pytest.Pytester) -> None:
    found, text = outcomes(
        pytester,
        """
        import trio
        async def test_good():
            await trio.sleep(0)
        async def test_bad():
            await trio.sleep(0)
            assert 1 == 2
        """,
    )
    assert found == {"passed": 1, "failed": 1}
    assert "assert 1 == 2" in text


def test_virtual_time_costs_no_real_time(pytester: pytest.Pytester) -> None:
    found, _ = outcomes(
        pytester,
        """
        import trio
        async def test_it(autojump_clock):
            start = trio.current_time()
            await trio.sleep(100_000)
            assert trio.current_time() - start >= 100_000
        """,
    )
    assert found == {"passed": 1}


def test_hypothesis_runs_async_tests(pytester: pytest.Pytester) -> None:
    found, text = outcomes(
        pytester,
        """
        import trio
        from hypothesis import given, strategies as st
        @given(st.integers(0, 3))
        async def test_it(number):
            await trio.sleep(0)
            assert number < 3
        """,
    )
    assert found == {"failed": 1}
    assert "number=3" in text


@pytest.mark.parametrize("body", ["await trio.sleep_forever()", "time.sleep(20)"])
def test_deadline_ends_a_test_that_hangs(pytester: pytest.Pytester, body: str) -> None:
    found, text = outcomes(
        pytester,
        f"""
        import time, pytest, trio
        @pytest.mark.deadline(0.2)
        async def test_hangs():
            {body}
        def test_next():
            pass
        """,
    )
    assert found == {"failed": 1, "passed": 1}
    assert "TooSlowError" in text or "more than 0.2 s" in text


def test_leaks_are_seen(pytester: pytest.Pytester) -> None:
    found, text = outcomes(
        pytester,
        """
        import os, subprocess
        from tests import leaks
        leaks.EXIT_TIME = 1.0
        kept = []
        def test_descriptor():
            kept.append(os.memfd_create("forgotten"))
        def test_daemon():
            subprocess.run("sleep 30 <&- >&- 2>&- &", shell=True, check=True)
        def test_clean():
            subprocess.run("true", check=True)
            os.close(os.memfd_create("closed"))
        """,
    )
    assert found == {"failed": 2, "passed": 1}
    assert "forgotten" in text
    assert "sleep 30" in text


def test_needs_skip_with_the_reason_and_fail_where_nothing_may_skip(pytester: pytest.Pytester) -> None:
    source = """
        import pytest
        from tests.needs import needs_tool
        @needs_tool("no-such-tool")
        def test_needs():
            raise AssertionError("ran")
        def test_skips():
            pytest.skip("just so")
        """
    found, text = outcomes(pytester, source)
    assert found == {"skipped": 2}
    assert "no command no-such-tool" in text
    found, text = outcomes(pytester, source, VNET_NO_SKIP="1")
    assert found == {"failed": 1, "errors": 1}
    assert "just so" in text


@needs_root
def test_namespace_left_behind_is_seen(pytester: pytest.Pytester) -> None:
    found, text = outcomes(
        pytester,
        """
        import subprocess
        def test_netns():
            subprocess.run(["ip", "netns", "add", "vnet-leak-test"], check=True)
        def teardown_module():
            subprocess.run(["ip", "netns", "del", "vnet-leak-test"], check=True)
        """,
        VNET_NO_SKIP="1",
    )
    assert found == {"failed": 1}
    assert "network namespace vnet-leak-test" in text
