"""`python -m vnet`, and the command `vnet`."""

import sys

INTERRUPTED = 130
"""128 and SIGINT, as shells have it."""


def main() -> int:
    """Run one command; its exit code. What it needs is imported here, for that takes long enough for
    somebody to have second thoughts.
    """
    try:
        from vnet.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
