"""`python -m vnet`, and the command `vnet`."""

import os
import sys

INTERRUPTED = 130
"""128 and SIGINT, as shells have it."""


def main() -> int:
    """Run one command; its exit code. What it needs is imported here, for that takes long enough for
    somebody to have second thoughts.
    """
    _standard()
    try:
        from vnet.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


def _standard() -> None:
    """Have descriptors 0 to 2, where they were closed (`vnet up -d <&-`): a lock or a socket of ours would
    become one of them, and be given to programs that we start as what they read or write.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and all below this one are in use.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    sys.exit(main())
