"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Make signals work in tests, and in the commands that they start, as they do at a terminal.

    Processes that a shell starts in the background ignore SIGINT, and those under nohup ignore SIGHUP; the command
    leaves ignored signals ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
