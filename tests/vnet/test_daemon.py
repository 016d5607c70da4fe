"""What a fabric's process listens to."""

import signal

from vnet import daemon


def test_a_closed_terminal_brings_it_down_unless_nohup_was_there_first():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in daemon.stopping()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert daemon.stopping() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
