"""When to try again, and after how long: a pure function of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, FrozenSet, Optional

from .actions import Failure

__all__ = ["Outcome", "RetryPolicy"]


@dataclass(frozen=True)
class Outcome:
    """How a try ended that did not succeed.

    Attributes:
        method: the request's HTTP method.
        status: the status of the answer; ``None`` if none came.
        failure: what the transport reported; ``None`` if the answer came whole.
        retry_after: the wait in seconds that the gateway asked for; ``None`` if it did not.
        stream: whether the call is a stream.
        started: whether any byte of a stream's body had come.
    """

    method: str
    status: Optional[int] = None
    failure: Optional[Failure] = None
    retry_after: Optional[float] = None
    stream: bool = False
    started: bool = False


@dataclass(frozen=True)
class RetryPolicy:
    """What is tried again, how often, and how long to wait before it.

    The n-th wait is ``min(backoff_base * 2**n, backoff_max)`` seconds times a jitter, and never shorter than what
    the gateway's ``Retry-After`` says; if that asks for more than `backoff_max`, the call fails at once instead, with
    ``retry_after_seconds`` on the error (gateway API reference, "Retries").

    Attributes:
        max_retries: how many times a request is sent again, at most.
        retry_on_status: the HTTP statuses that are retried.
        retry_on_method: the HTTP methods that are retried.  A ``max_retries=`` given with a single call is consent
            to retry that call, whatever its method.
        backoff_base: the first wait, in seconds.
        backoff_max: the longest wait, in seconds.
        respect_retry_after: whether ``Retry-After`` is obeyed.
        retry_on_network_error: whether a request other than GET is sent again after the connection was lost, or
            timed out, with the request on its way: the gateway may have carried it out.  GET always is; and so is any
            request whose connection could not be made.
        retry_streams: whether streams are retried as long as no byte of them has come.  A ``max_retries=`` given
            with a single call turns this on for that call.
    """

    max_retries: int = 3
    retry_on_status: FrozenSet[int] = frozenset({429, 502, 503, 504})
    retry_on_method: FrozenSet[str] = frozenset({"GET", "POST", "PATCH"})
    backoff_base: float = 0.5
    backoff_max: float = 30.0
    respect_retry_after: bool = True
    retry_on_network_error: bool = False
    retry_streams: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int) or self.max_retries < 0:
            raise ValueError(f"max_retries must be a whole number, 0 or more, not {self.max_retries!r}")
        for name in ("backoff_base", "backoff_max"):
            seconds = getattr(self, name)
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} must be a number of seconds, 0 or more, not {seconds!r}")
        for name in ("retry_on_status", "retry_on_method"):
            if isinstance(getattr(self, name), (str, bytes)):
                raise ValueError(f"{name} must be a set, not the text {getattr(self, name)!r}")
        # Any iterable is welcome; what is kept must be immutable, or the policy would not be.
        object.__setattr__(self, "retry_on_status", frozenset(self.retry_on_status))
        object.__setattr__(self, "retry_on_method", frozenset(method.upper() for method in self.retry_on_method))

    def delay(self, attempt: int, outcome: Outcome, jitter: Callable[[], float]) -> Optional[float]:
        """Decide whether to try again.

        Args:
            attempt: how many retries went before; 0 after the first try.
            outcome: how the try ended.
            jitter: gives the factor for the wait, around 1.0; called only if there is a wait.

        Returns:
            The wait in seconds before the next try, or ``None`` for no further try.
        """
        if attempt >= self.max_retries or not self._may_retry(outcome):
            return None
        # An exponent without a bound would overflow long before it mattered.
        backoff = min(self.backoff_base * 2.0 ** min(attempt, 64), self.backoff_max)
        asked_for = outcome.retry_after if self.respect_retry_after else None
        if asked_for is None:
            return backoff * jitter()
        if asked_for > self.backoff_max:
            return None
        factor = jitter()
        return max(backoff * factor, asked_for * max(1.0, factor))

    def _may_retry(self, outcome: Outcome) -> bool:
        if outcome.method not in self.retry_on_method:
            return False
        if outcome.stream and (outcome.started or not self.retry_streams):
            return False
        if outcome.status is not None and not 200 <= outcome.status < 300:
            return outcome.status in self.retry_on_status and outcome.failure is not Failure.DEADLINE
        if outcome.failure in (Failure.CONNECT, Failure.CONNECT_TIMEOUT):
            return True
        if outcome.failure in (Failure.TIMEOUT, Failure.CONNECTION_LOST):
            return outcome.method == "GET" or self.retry_on_network_error
        return False
