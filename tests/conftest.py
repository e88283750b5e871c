"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Signals do in tests, and in the commands that they start, what they do at a terminal.

    A shell has what it runs in the background ignore SIGINT, and nohup SIGHUP; the command leaves ignored
    signals ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
