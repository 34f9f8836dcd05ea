"""The caller's patience, measured: what both drivers need to know of time."""

from __future__ import annotations

from typing import Callable, Optional

from meshapi_core import Failure, Timeout

__all__ = ["Budget", "at_most"]

# Less than this is nothing: a clock's last digit, or the slack of a timer that fired.
_NOTHING = 0.001


class Budget:
    """How much of a call's time is left, at each moment.

    Args:
        timeout: the call's limits.
        current_time: the transport's clock, in seconds from anywhere.
    """

    def __init__(self, timeout: Timeout, current_time: Callable[[], float]) -> None:
        self._timeout = timeout
        self._current_time = current_time
        self._deadline = None if timeout.total is None else current_time() + timeout.total
        self._waiting_since: Optional[float] = None

    def for_sending(self) -> Timeout:
        """The limits for sending a request and receiving the head of its answer."""
        self._waiting_since = None
        left = self._left()
        if left is None:
            return self._timeout
        return Timeout(connect=self._timeout.connect, idle=self._timeout.idle, total=max(left, _NOTHING))

    def for_reading(self) -> Optional[float]:
        """Seconds to wait for the next bytes, 0 if there is no time left; ``None`` without limit."""
        idle = self._timeout.idle
        if idle is not None:
            now = self._current_time()
            if self._waiting_since is None:
                self._waiting_since = now
            else:
                idle = max(self._waiting_since + idle - now, 0.0)
        return at_most(idle, self._left())

    def received(self) -> None:
        """What was waited for has come: the next wait begins when it is next asked for."""
        self._waiting_since = None

    def allows(self, seconds: float) -> bool:
        """Whether a wait of `seconds` would leave time to go on."""
        left = self._left()
        return left is None or seconds < left

    def failure(self, failure: Failure) -> Failure:
        """`failure`, as the core should hear of it: once the call's own time is used up, nothing else matters."""
        return failure if self.allows(_NOTHING) else Failure.DEADLINE

    def _left(self) -> Optional[float]:
        return None if self._deadline is None else max(self._deadline - self._current_time(), 0.0)


def at_most(seconds: Optional[float], limit: Optional[float]) -> Optional[float]:
    """The shorter of two times, of which ``None`` is without end."""
    if seconds is None or limit is None:
        return limit if seconds is None else seconds
    return min(seconds, limit)
