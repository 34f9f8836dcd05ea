"""What a client is told once, and what a single call may say otherwise: frozen values, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional, Tuple, TypedDict, Union

from ._version import MESH_API_VERSION
from .retry import RetryPolicy

__all__ = ["DEFAULT_BASE_URL", "MeshAPIConfig", "RequestOptions", "Timeout"]

DEFAULT_BASE_URL = "https://api.meshapi.ai"

# Larger than any answer that is meant, smaller than what a machine has.
_MAX_ANSWER_SIZE = 1 << 28

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"(?![\t ])[\t\x20-\x7e]*(?<![\t ])")
_TOKEN = re.compile(r"[\x21-\x7e]+")
# The first is the client's to say; the others frame the message, and a wrong one desynchronises the connection.
_RESERVED_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)


def check_headers(headers: Mapping[str, str], where: str) -> Tuple[Tuple[str, str], ...]:
    """The fields of `headers` as pairs, once each is known to be a legal header (RFC 9110, section 5)."""
    if not isinstance(headers, Mapping):
        raise ValueError(f"{where} must be a mapping of text to text, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{where}: {name!r} is not a header name")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"{where}: {name} is set by the client itself")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            # The value may be a secret: it is not repeated here.
            raise ValueError(
                f"{where}: the value of {name} must be ASCII text without CR, LF, NUL or other control characters, "
                "and without spaces around it"
            )
    return tuple(headers.items())


@dataclass(frozen=True)
class Timeout:
    """How long to wait, in seconds; ``None`` is without limit.

    Attributes:
        connect: until the connection stands.
        idle: the longest wait for the next bytes of the answer; in a stream for the next *event*, so that keep-alive
            comments do not hold a dead stream open.
        total: for the whole call, the waits between retries included.
    """

    connect: Optional[float] = 60.0
    idle: Optional[float] = 60.0
    total: Optional[float] = None

    def __post_init__(self) -> None:
        for name in ("connect", "idle", "total"):
            _check_seconds(getattr(self, name), f"timeout ({name})")

    @classmethod
    def of(cls, timeout: Union[float, Timeout, None]) -> Timeout:
        """`timeout` as a `Timeout`: a number sets `connect` and `idle`, ``None`` waits without limit."""
        if isinstance(timeout, Timeout):
            return timeout
        _check_seconds(timeout, "timeout")
        return cls(connect=timeout, idle=timeout)


def _check_seconds(seconds: Any, what: str) -> None:
    if seconds is None:
        return
    # Written so that NaN fails too.
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise ValueError(f"{what} must be a number of seconds above 0, or None for no limit, not {seconds!r}")


class RequestOptions(TypedDict, total=False):
    """What a single call may say otherwise than its client; a key that is absent or ``None`` leaves it as it is.

    Keys:
        timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
        max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
        retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
        extra_headers: header fields to add, or to replace the client's by.
        extra_query: query parameters to add to the URL; a list repeats its key.
        extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
            not know yet.
        request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.
    """

    timeout: Union[float, Timeout, None]
    max_retries: Optional[int]
    retry: Optional[RetryPolicy]
    extra_headers: Optional[Mapping[str, str]]
    extra_query: Optional[Mapping[str, Any]]
    extra_body: Optional[Mapping[str, Any]]
    request_id: Optional[str]


@dataclass(frozen=True)
class MeshAPIConfig:
    """Where the gateway is, who is asking, and how patient to be.

    Args:
        base_url: the gateway's address with its scheme; a path is kept, a trailing slash is dropped.
        token: the ``rsk_...`` key of the data plane, or a JWT for the control plane.  It is in no repr.
        timeout: seconds, or a `Timeout`; ``None`` waits without limit.
        retry: what is retried, and how.
        api_version: pins the shapes of the answers (``X-Mesh-Version``); ``None`` sends no such header.
        default_headers: header fields to send with every request, as a mapping or as pairs.  Their values are in no
            repr.
        max_answer_size: how many bytes an answer may have that is read as a whole, once decompressed, and a line of one
            that is read line by line; more is a `ResponseParseError`.  ``None`` is without limit, and so is the content
            of a file.
        max_event_size: how many bytes one event of a stream may have; as many as the model likes if ``None``.

    Raises:
        ValueError: one of them cannot be used; the message says which, why, and what to do.
    """

    base_url: str
    token: str = field(repr=False)
    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen
    api_version: Optional[str] = MESH_API_VERSION
    default_headers: Tuple[Tuple[str, str], ...] = field(default=(), repr=False)
    max_answer_size: Optional[int] = _MAX_ANSWER_SIZE
    max_event_size: Optional[int] = None

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        token: str,
        timeout: Union[float, Timeout, None] = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        api_version: Optional[str] = MESH_API_VERSION,
        default_headers: Union[Mapping[str, str], Iterable[Tuple[str, str]], None] = None,
        max_answer_size: Optional[int] = _MAX_ANSWER_SIZE,
        max_event_size: Optional[int] = None,
    ) -> None:
        _check_token(token)
        if api_version is not None and not (isinstance(api_version, str) and _TOKEN.fullmatch(api_version)):
            raise ValueError(f"api_version must be a label such as {MESH_API_VERSION!r}, or None, not {api_version!r}")
        if not isinstance(retry, RetryPolicy):
            raise ValueError(f"retry must be a RetryPolicy, not {retry!r}")
        settle = object.__setattr__
        settle(self, "base_url", _checked_base_url(base_url))
        settle(self, "token", token)
        settle(self, "timeout", Timeout.of(timeout))
        settle(self, "retry", retry)
        settle(self, "api_version", api_version)
        settle(self, "default_headers", check_headers(dict(default_headers or ()), "default_headers"))
        settle(self, "max_answer_size", _checked_size(max_answer_size, "max_answer_size"))
        settle(self, "max_event_size", _checked_size(max_event_size, "max_event_size"))

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        *,
        base_url: Optional[str] = None,
        token: Optional[str] = None,
        timeout: Union[float, Timeout, None] = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        api_version: Optional[str] = MESH_API_VERSION,
        default_headers: Optional[Mapping[str, str]] = None,
        max_answer_size: Optional[int] = _MAX_ANSWER_SIZE,
        max_event_size: Optional[int] = None,
    ) -> MeshAPIConfig:
        """A config whose address and token, where not given, come from environment variables.

        Args:
            environ: the variables; usually ``os.environ``.  ``MESHAPI_BASE_URL`` is the address, ``MESHAPI_API_KEY``
                or else ``MESHAPI_TOKEN`` the token; one that is empty counts as not set.
            base_url: as for the class itself, and so are the following.
            token: the key, or a JWT.
            timeout: seconds, or a `Timeout`.
            retry: what is retried, and how.
            api_version: the label for ``X-Mesh-Version``, or ``None``.
            default_headers: header fields to send with every request.
            max_answer_size: bytes of an answer, or ``None``.
            max_event_size: bytes of an event, or ``None``.

        Raises:
            ValueError: there is no token, or one of the values cannot be used.
        """
        if token is None:
            token = environ.get("MESHAPI_API_KEY") or environ.get("MESHAPI_TOKEN")
        if token is None:
            raise ValueError("no token: pass token=, or set MESHAPI_API_KEY in the environment")
        if base_url is None:
            base_url = environ.get("MESHAPI_BASE_URL") or DEFAULT_BASE_URL
        return cls(
            base_url,
            token=token,
            timeout=timeout,
            retry=retry,
            api_version=api_version,
            default_headers=default_headers,
            max_answer_size=max_answer_size,
            max_event_size=max_event_size,
        )


def _checked_size(size: Any, what: str) -> Optional[int]:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"{what} must be a number of bytes above 0, or None for no limit, not {size!r}")
    return size


def _check_token(token: Any) -> None:
    # The messages never repeat the token.
    if not isinstance(token, str):
        raise ValueError(f"token must be text, not {type(token).__name__}")
    if not token:
        raise ValueError("the token is empty: pass token=, or set MESHAPI_API_KEY in the environment")
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "the token has a space, a line break or another character that no key has; is it copied whole?"
        )


def _checked_base_url(base_url: Any) -> str:
    from urllib.parse import urlsplit

    if not isinstance(base_url, str):
        raise ValueError(f"base_url must be text, not {type(base_url).__name__}")
    if re.search(r"[^!-~]|\\", base_url):
        raise ValueError(f"base_url has a space, a control character or one that is not ASCII: {base_url!r}")
    try:
        parts = urlsplit(base_url)
        parts.port  # noqa: B018 - a port that is no number is only found when it is asked for
    except ValueError as error:
        raise ValueError(f"base_url is not a URL ({error}): {base_url!r}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url must not hold a user name or a password: the token is the only credential")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"base_url must start with https:// or http:// and a host, such as {DEFAULT_BASE_URL}: {base_url!r}"
        )
    # An empty query or fragment counts too, and is not seen in the parts.
    if "?" in base_url or "#" in base_url:
        raise ValueError(f"base_url must not have a query or a fragment: {base_url!r}; use extra_query= with the call")
    return base_url.rstrip("/")
