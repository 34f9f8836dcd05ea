"""What one gateway knows and remembers. The user's threads and the server's meet here, so every access is locked."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starlette.datastructures import Headers, QueryParams

from ._faults import NO_FAULT, Fault

if TYPE_CHECKING:
    from ._batches import Batch
    from ._files import StoredFile
    from ._responses import StoredResponse
    from ._templates import Template

DEFAULT_TOKEN = "rsk_01K0MESHAP1TESTGATEWAY0000"  # noqa: S105 - it opens nothing but a local gateway
REFUSED_TOKENS = {
    "spend_limit_exceeded": "rsk_01K0MESHAP1TESTGATEWAY0402",
    "forbidden": "rsk_01K0MESHAP1TESTGATEWAY0403",
}
DEFAULT_BATCH_SECONDS = 0.3
_REMEMBERED_REQUESTS = 1000
_RATE_WINDOW = 60.0

_T = TypeVar("_T")


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


class Store(Generic[_T]):
    """What clients have created, each under its id, in the order of creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: dict[str, _T] = {}

    def put(self, item_id: str, item: _T) -> None:
        with self._lock:
            self._items[item_id] = item

    def get(self, item_id: str) -> _T | None:
        with self._lock:
            return self._items.get(item_id)

    def remove(self, item_id: str) -> _T | None:
        with self._lock:
            return self._items.pop(item_id, None)

    def all(self) -> list[tuple[str, _T]]:
        with self._lock:
            return list(self._items.items())

    def clear(self) -> None:
        with self._lock:
            self._items.clear()


class GatewayState:
    """The keys, the queue of faults, the requests received, the rate limit and the stores of one gateway."""

    def __init__(self, token: str, rate_limit: int | None, batch_seconds: float | None) -> None:
        self.token = token
        self.batch_seconds = batch_seconds
        self.responses: Store[StoredResponse] = Store()
        self.files: Store[StoredFile] = Store()
        self.batches: Store[Batch] = Store()
        self.templates: Store[Template] = Store()
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
        for store in (self.responses, self.files, self.batches, self.templates):
            store.clear()

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
