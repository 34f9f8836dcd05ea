"""What one gateway knows and remembers. The user's threads and the server's meet here, so every access is locked."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

from starlette.datastructures import Headers, QueryParams

from ._faults import NO_FAULT, Fault

DEFAULT_TOKEN = "rsk_01K0MESHAP1TESTGATEWAY0000"  # noqa: S105 - it opens nothing but a local gateway
REFUSED_TOKENS = {
    "spend_limit_exceeded": "rsk_01K0MESHAP1TESTGATEWAY0402",
    "forbidden": "rsk_01K0MESHAP1TESTGATEWAY0403",
}
_REMEMBERED_REQUESTS = 1000
_RATE_WINDOW = 60.0


class ReceivedHeaders(Headers):
    """The headers of a request, looked up without regard to case. Their repr does not show the credentials."""

    def __repr__(self) -> str:
        shown = [(name, "***" if name == "authorization" else value) for name, value in self.items()]
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived at the gateway.

    ``path`` is decoded, ``query`` and ``headers`` are mappings (``getlist(name)`` gives every value of a name) and
    ``body`` is what the client sent, in bytes.
    """

    method: str
    path: str
    query: QueryParams
    headers: ReceivedHeaders
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            ValueError: the body is not JSON.
        """
        return json.loads(self.body)


class GatewayState:
    """The keys, the queue of faults, the requests received and the rate limit of one gateway."""

    def __init__(self, token: str, rate_limit: int | None) -> None:
        self.token = token
        self._rate_limit = rate_limit
        self._lock = threading.Lock()
        self._ids = count(1)
        self._faults: deque[Fault] = deque()
        self._requests: deque[ReceivedRequest] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._arrivals: dict[str, deque[float]] = {}

    def reset(self) -> None:
        with self._lock:
            self._faults.clear()
            self._requests.clear()
            self._arrivals.clear()

    def next_id(self, prefix: str) -> str:
        """Return an id that this gateway has not given yet."""
        with self._lock:
            return f"{prefix}{next(self._ids):08d}"

    def inject(self, fault: Fault, times: int) -> None:
        with self._lock:
            self._faults.extend(repeat(fault, times))

    def next_fault(self) -> Fault:
        with self._lock:
            return self._faults.popleft() if self._faults else NO_FAULT

    def remember(self, request: ReceivedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def requests(self) -> list[ReceivedRequest]:
        with self._lock:
            return list(self._requests)

    def seconds_to_wait(self, token: str) -> int | None:
        """Count a request of this key; if it is one too many, return the whole seconds until the next may come."""
        if self._rate_limit is None:
            return None
        now = time.monotonic()
        with self._lock:
            arrivals = self._arrivals.setdefault(token, deque())
            while arrivals and now - arrivals[0] >= _RATE_WINDOW:
                arrivals.popleft()
            if len(arrivals) >= self._rate_limit:
                return math.ceil(_RATE_WINDOW - (now - arrivals[0]))
            arrivals.append(now)
            return None
