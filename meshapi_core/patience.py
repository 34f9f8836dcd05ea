"""The limits of a `Timeout`, counted: whoever drives a call tells the time, and hears how much of it is left."""

from __future__ import annotations

import math
from typing import Optional

from .actions import Failure
from .config import Timeout

__all__ = ["Patience"]


class Patience:
    """How much longer the caller of a call waits.  It has no clock: each method is told the time.

    Call `start_connecting` before a request is sent, `start_waiting` once the connection stands and then whenever what
    was waited for has come: bytes of the answer, or of a stream an event.  Set one timer to `expires_at`, or give each
    wait `seconds_left`; when they are over, report `failure`.

    Args:
        timeout: the limits: ``call.timeout``.
        now: the time in seconds, by any clock that never goes back, and the same one ever after.
    """

    def __init__(self, timeout: Timeout, now: float) -> None:
        # Without limit is infinite.
        self._connect, self._idle, self._total = map(_or_ever, (timeout.connect, timeout.idle, timeout.total))
        self._began = self._since = now
        self._limit = math.inf
        self._failure = Failure.TIMEOUT

    def start_connecting(self, now: float) -> None:
        """From `now` on, a connection is waited for."""
        self._limit, self._since, self._failure = self._connect, now, Failure.CONNECT_TIMEOUT

    def start_waiting(self, now: float) -> None:
        """From `now` on, the next bytes are waited for, or a stream's next event."""
        self._limit, self._since, self._failure = self._idle, now, Failure.TIMEOUT

    @property
    def expires_at(self) -> float:
        """When what is waited for must have come, on the clock of `now`; ``math.inf`` without limit."""
        return min(self._since + self._limit, self._began + self._total)

    def seconds_left(self, now: float) -> Optional[float]:
        """How much longer to wait for it, in seconds, 0 if no longer; ``None`` without limit."""
        left, total = self._limit - (now - self._since), self._total - (now - self._began)
        return _limit_of(left if left < total else total)

    def total_left(self, now: float) -> Optional[float]:
        """How much time the whole call has left, in seconds, 0 if none; ``None`` without limit."""
        return _limit_of(self._total - (now - self._began))

    def allows(self, seconds: float, now: float) -> bool:
        """Whether the call would have time to go on after a `Wait` of `seconds`; if not, report `Failure.DEADLINE`."""
        return seconds < self._total - (now - self._began)

    @property
    def failure(self) -> Failure:
        """What to report when the time is over: the limit that ends first, be it the call's own or that of the wait."""
        is_the_whole = self._total < math.inf and self._began + self._total <= self._since + self._limit
        return Failure.DEADLINE if is_the_whole else self._failure


def _limit_of(left: float) -> Optional[float]:
    if left == math.inf:
        return None
    return left if left > 0 else 0.0


def _or_ever(seconds: Optional[float]) -> float:
    return math.inf if seconds is None else seconds
