"""A Python prompt whose code runs under trio, with `await` at the top level.

The prompt is the main thread's, so that Ctrl-C is where Python has it; trio, and with it the fabric, lives in
another thread. What is typed runs there, as a task that Ctrl-C cancels.
"""

from __future__ import annotations

import ast
import code
import contextlib
import inspect
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from vnet.errors import BadInput, VnetError

HISTORY_LENGTH = 1000


class House:
    """Where code runs: tasks of a nursery in trio's thread."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine there, called from the main thread. Raises what it raised; KeyboardInterrupt when
        Ctrl-C came meanwhile, once the coroutine has ended.
        """
        done, scope, outcome = threading.Event(), trio.CancelScope(), _Outcome()

        async def task() -> None:
            try:
                with scope:
                    try:
                        outcome.value = await function()
                    except (Exception, SystemExit) as error:
                        outcome.error = error
            finally:
                done.set()

        before = signal.getsignal(signal.SIGINT)
        try:
            # Who was started in the background may have it ignored, and then it stays so. Not by
            # KeyboardInterrupt: between two lines here, it would leave the task running behind the prompt.
            if before is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, lambda *_: self._token.run_sync_soon(scope.cancel))
            self._token.run_sync_soon(self._nursery.start_soon, task)
            done.wait()
        finally:
            signal.signal(signal.SIGINT, before)
        if outcome.error is not None:
            raise outcome.error
        if scope.cancelled_caught:
            raise KeyboardInterrupt
        return outcome.value


class _Outcome:
    value: Any = None
    error: BaseException | None = None


async def evaluate(compiled: types.CodeType, names: dict[str, Any]) -> None:
    """Run code that may await."""
    result = types.FunctionType(compiled, names)()
    if inspect.iscoroutine(result):
        await result


class Console(code.InteractiveConsole):
    """The prompt itself."""

    def __init__(self, house: House, names: dict[str, Any]) -> None:
        super().__init__(names)
        self._house = house
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def runcode(self, compiled: types.CodeType) -> None:
        """Run what was typed; errors of vnet in one line, others with their trace."""
        try:
            self._house.run(lambda: evaluate(compiled, self.locals))
        except SystemExit:
            raise
        except VnetError as error:
            self.write(f"{type(error).__name__}: {error}\n")
        except KeyboardInterrupt:
            self.write("\nKeyboardInterrupt\n")
        except Exception:
            self.showtraceback()


def script(house: House, names: dict[str, Any], text: str, name: str) -> int:
    """Run a whole text; the exit code."""
    try:
        compiled = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        house.run(lambda: evaluate(compiled, names))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except SyntaxError:
        traceback.print_exc(limit=0)
        return 2
    except (BadInput, VnetError):
        raise
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def interact(house: House, names: dict[str, Any], banner: str) -> int:
    """The prompt, with completion and a history, until end of file or `exit()`."""
    import readline
    import rlcompleter

    # Whoever started us in the background may have had Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    history = _history()
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
    # There may be none yet.
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        Console(house, names).interact(banner, exitmsg="")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        _save(history)
    return 0


def _history() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "vnet" / "shell_history"


def _save(history: Path) -> None:
    import readline

    readline.set_history_length(HISTORY_LENGTH)
    try:
        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Frames and addresses of others may be in it.
        os.close(os.open(history, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        readline.write_history_file(history)
    except OSError as error:
        print(f"the history can't be kept: {error}", file=sys.stderr)
