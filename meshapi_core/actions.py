"""What the machine asks of its embedder, and the words in which the embedder reports back.

Everything here is an immutable value.  A call (see `meshapi_core.Call`) hands out *actions*; whoever drives it does
what they say and reports a response head, data, the end of data, or a `Failure`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional, Protocol, Tuple, Union

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = [
    "NEED_DATA",
    "NEED_RESPONSE",
    "Action",
    "Done",
    "Failure",
    "Headers",
    "HeadersLike",
    "NeedData",
    "NeedResponse",
    "Request",
    "ResponseHead",
    "SendRequest",
    "Wait",
]


class SupportsItems(Protocol):
    """Header fields like those of http.client: no mapping, but something that can list its pairs."""

    def items(self) -> Iterable[Tuple[str, str]]:
        """The (name, value) pairs."""
        ...


HeadersLike = Union[Mapping[str, str], SupportsItems, Iterable[Tuple[Union[str, bytes], Union[str, bytes]]]]
"""Header fields as HTTP libraries give them: a mapping of text, or (name, value) pairs of text or bytes."""


def _text(value: Union[str, bytes]) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class Headers(Mapping[str, str]):
    """Header fields, looked up without regard to case; fields that share a name are joined with ``", "``.

    Args:
        fields: a mapping, or (name, value) pairs; bytes are read as latin-1 (RFC 9110, section 5.5).
    """

    __slots__ = ("_by_name", "_fields")

    def __init__(self, fields: HeadersLike = ()) -> None:
        given: Any = fields
        # What can be gone through but once is kept.
        self._fields: Any = given if hasattr(given, "items") or isinstance(given, (list, tuple)) else list(given)
        self._by_name: Optional[Dict[str, str]] = None

    def _pairs(self) -> Iterable[Tuple[Union[str, bytes], Union[str, bytes]]]:
        pairs: Iterable[Any] = self._fields.items() if hasattr(self._fields, "items") else self._fields
        return pairs

    def _index(self) -> Dict[str, str]:
        if self._by_name is None:
            by_name: Dict[str, str] = {}
            for raw_name, raw_value in self._pairs():
                name, value = _text(raw_name).lower(), _text(raw_value)
                by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
            self._by_name = by_name
            self._fields = ()
        return self._by_name

    def __getitem__(self, name: str) -> str:
        if self._by_name is not None:
            return self._by_name[name.lower()]
        # Most answers are asked for one field, or none: an index would take more time than that, and room for ever.
        wanted = name.lower()
        encoded = wanted.encode("latin-1", "replace")
        values = [
            _text(value)
            for other, value in self._pairs()
            if other.lower() == (wanted if isinstance(other, str) else encoded)
        ]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index())

    def __len__(self) -> int:
        return len(self._index())

    def __repr__(self) -> str:
        return f"Headers({self._index()!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        # What was given may be an HTTP library's own object, which need not be fit for pickling.
        return Headers, (self._index(),)


@dataclass(frozen=True)
class ResponseHead:
    """The head of an answer: its status code and its header fields.

    Attributes:
        status: the HTTP status code.
        headers: the header fields, looked up without regard to case.
    """

    status: int
    headers: Headers

    @property
    def request_id(self) -> str:
        """The gateway's name for the request (``x-request-id``), or ``""`` where it gave none."""
        return self.headers.get("x-request-id", "")


@dataclass(frozen=True, repr=False)
class Request:
    """One HTTP request, ready to be sent as it is.

    Attributes:
        method: the HTTP method, upper case.
        url: the absolute URL, percent-encoded.
        headers: (name, value) pairs of ASCII text, the ``Authorization`` among them.  ``Host`` and
            ``Content-Length`` are for the HTTP library to add.
        content: the body; ``None`` where there is none.
    """

    method: str
    url: str
    headers: Tuple[Tuple[str, str], ...]
    content: Optional[bytes] = None

    @property
    def scheme(self) -> str:
        """``"https"`` or ``"http"``."""
        return self._parts.scheme

    @property
    def host(self) -> str:
        """Where to connect to: a name, or an address without brackets."""
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        """Where to connect to: the URL's port, or the one that its scheme stands for."""
        return self._parts.port or {"https": 443, "http": 80}[self.scheme]

    @property
    def target(self) -> str:
        """The request target of HTTP/1.1 in origin-form: path and query (RFC 9112, section 3.2.1)."""
        return self._parts._replace(scheme="", netloc="", path=self._parts.path or "/").geturl()

    def http1_headers(self) -> List[Tuple[bytes, bytes]]:
        """The header fields as HTTP/1.1 sends them, ``Host`` and ``Content-Length`` included; for h11 and the like."""
        fields = [("Host", self._parts.netloc), *self.headers]
        if self.content is not None:
            fields.append(("Content-Length", str(len(self.content))))
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in fields]

    @property
    def _parts(self) -> SplitResult:
        from urllib.parse import urlsplit

        return urlsplit(self.url)

    def __repr__(self) -> str:
        # Header values hold the token, and the body holds what the user said: neither belongs in a log.
        size = "no body" if self.content is None else f"{len(self.content)} bytes"
        return f"<Request {self.method} {self.url}, {size}>"


@dataclass(frozen=True)
class SendRequest:
    """Send `request`; then call ``receive_response(status, headers)``, or ``receive_failure`` if that did not work.

    Where sending and receiving are two steps, call ``request_sent()`` between them: from then on the call asks for the
    response, and no longer for the request to be sent.
    """

    request: Request


class NeedResponse(enum.Enum):
    """The type of `NEED_RESPONSE`; an enumeration with one member, so that type checkers narrow ``action is ...``."""

    NEED_RESPONSE = "NEED_RESPONSE"

    def __repr__(self) -> str:
        return self.value


NEED_RESPONSE = NeedResponse.NEED_RESPONSE
"""Wait for the head of the answer; then call ``receive_response(status, headers)``."""


class NeedData(enum.Enum):
    """The type of `NEED_DATA`; an enumeration with one member, so that type checkers narrow ``action is NEED_DATA``."""

    NEED_DATA = "NEED_DATA"

    def __repr__(self) -> str:
        return self.value


NEED_DATA = NeedData.NEED_DATA
"""Read more of the answer; then call ``receive_data(data)``, or ``receive_eof()`` at its end."""


@dataclass(frozen=True)
class Wait:
    """Close the answer, let `seconds` pass, then call ``wait_elapsed()``.

    Who does not want to wait that long calls ``receive_failure(Failure.DEADLINE)`` instead: the call then fails with
    the error that it was about to retry.
    """

    seconds: float


@dataclass(frozen=True)
class Done:
    """Nothing is left to do: ``call.result`` holds the value.

    More of the answer may be on its way, if only the end of its framing.  To report it is allowed and changes nothing.
    """


Action = Union[SendRequest, NeedResponse, NeedData, Wait, Done]
"""What `Call.next_action` returns."""


class Failure(enum.Enum):
    """What went wrong with the transport, in the words that the core decides by."""

    CONNECT = "connect"
    """No connection could be made, so nothing of the request was sent."""

    CONNECT_TIMEOUT = "connect timeout"
    """No connection stood in time, so nothing of the request was sent."""

    TIMEOUT = "timeout"
    """The next bytes (of a stream: the next event) did not come in time."""

    CONNECTION_LOST = "connection lost"
    """The connection broke, or what came over it was not HTTP, after the request was sent in part or whole."""

    DEADLINE = "deadline"
    """The time for the whole call is used up: never retried."""
