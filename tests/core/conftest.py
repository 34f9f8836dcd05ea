"""While a test of the core runs, the core's promise is kept: whatever does I/O or sleeps makes the test fail."""

import contextlib
import os
import sys
import time

import pytest

_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "time.sleep",
    "urllib.",
    "http.",
    "ftplib.",
    "smtplib.",
    "sqlite3.",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class ForbiddenIO(AssertionError):
    """The core did what it promises never to do."""


class _Watch:
    # An audit hook cannot be taken away again, so there is one for the whole run, which looks only while it is armed.

    def __init__(self):
        self.is_armed = False
        self.seen = []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.is_armed and _is_forbidden(event, args):
            # Kept as well as raised: a broad except in the code under test must not hide it.
            self.seen.append((event, args))
            raise ForbiddenIO(f"{event}{args!r}")

    @contextlib.contextmanager
    def armed(self):
        self.is_armed, self.seen = True, []
        sleep, time.sleep = time.sleep, self._sleep
        try:
            yield self.seen
        finally:
            time.sleep = sleep
            self.is_armed = False

    def _sleep(self, seconds):
        # Python audits this itself since 3.13.
        self("time.sleep", (seconds,))


def _is_forbidden(event, args):
    # hypothesis keeps what it learns in a directory of its own, and imports their byte code in theirs.
    if ".hypothesis" in repr(args) or "__pycache__" in repr(args):
        return False
    return event.startswith(_FORBIDDEN) or (event == "open" and _is_forbidden_open(*args))


def _is_forbidden_open(path, mode, flags):
    if isinstance(path, int):
        # The descriptor was seen when it was opened.
        return False
    path = os.fsdecode(path)
    # Imports read modules, and tracebacks read sources.
    if path.endswith((".py", ".pyc", ".so", ".pyd")) or path in sys.path or path.startswith("<"):
        return False
    is_writing = bool(mode and set(mode) & set("wax+")) or bool(flags & _WRITING)
    # The data of installed packages (entry points, tables of characters) is read by the tools, not by the core.
    return is_writing or not path.startswith((sys.prefix, sys.base_prefix))


_WATCH = _Watch()


def pytest_configure(config):
    config.addinivalue_line("markers", "does_io: the test itself starts a process or opens files")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    if not item.path.is_relative_to(os.path.dirname(__file__)) or item.get_closest_marker("does_io"):
        yield
        return
    with _WATCH.armed() as seen:
        outcome = yield
    if seen and outcome.excinfo is None:
        outcome.force_exception(ForbiddenIO(f"swallowed on the way: {seen!r}"))


@pytest.fixture
def watch():
    """The audit hook itself, for the test that it bites."""
    return _WATCH
