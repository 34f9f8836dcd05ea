"""What every resource is made of: params and options become a request, bytes become typed answers and events."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    cast,
)

from pydantic import BaseModel, ValidationError

from .._json import json_object, without_lone_surrogates
from .._version import __version__
from ..actions import Request, ResponseHead
from ..call import Assembled, Call, StreamCall
from ..config import MeshAPIConfig, RequestOptions, Timeout, check_headers
from ..errors import ResponseParseError, error_from_frame
from ..models._base import Answer, Params
from ..retry import RetryPolicy
from ..sse import ServerSentEvent

if TYPE_CHECKING:
    from ..models._base import Reply

__all__ = ["Resource"]

AnswerT = TypeVar("AnswerT", bound=Answer)
ModelT = TypeVar("ModelT", bound=BaseModel)
ReplyT = TypeVar("ReplyT", bound="Reply")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_OPTION_NAMES = frozenset(RequestOptions.__annotations__)


class Resource:
    """A group of methods that share a path; makes their calls.

    Args:
        config: where to send requests, and how patient to be.
        jitter: gives the factor for each wait between retries.
    """

    def __init__(self, config: MeshAPIConfig, jitter: Callable[[], float]) -> None:
        self._config = config
        self._jitter = jitter
        fields = {
            "Authorization": f"Bearer {config.token}",
            "X-MeshAPI-SDK": f"python/{__version__}",
            **({} if config.api_version is None else {"X-Mesh-Version": config.api_version}),
        }
        self._headers = _merged(tuple(fields.items()), config.default_headers)
        self._headers_of_json = _merged(
            (("Accept", "application/json"), ("Content-Type", "application/json")), self._headers
        )
        self._headers_of_stream = _merged(
            (("Accept", "text/event-stream"), ("Content-Type", "application/json")), self._headers
        )

    def _post(self, path: str, params: Params, answer: Type[AnswerT], options: RequestOptions) -> Call[AnswerT]:
        """A POST of `params` that is answered with an `answer`."""
        own_headers = _own_headers(options)
        url = self._url(path, options)
        content = _json_body(params, stream=False, extra=options.get("extra_body"))
        return Call(
            Request("POST", url, _merged(self._headers_of_json, own_headers), content),
            read_answer=_answer_reader(answer),
            policy=self._policy("POST", options),
            timeout=self._timeout(options),
            jitter=self._jitter,
            secret=self._config.token,
        )

    def _stream(
        self,
        path: str,
        params: Params,
        read_event: Callable[[ResponseHead, ServerSentEvent], Optional[ReplyT]],
        assemble: Callable[[Sequence[ReplyT]], Assembled],
        answer: Type[Answer],
        options: RequestOptions,
    ) -> StreamCall[ReplyT]:
        """A POST of `params` that is answered with a stream of events, which together amount to an `answer`."""
        own_headers = _own_headers(options)
        url = self._url(path, options)
        content = _json_body(params, stream=True, extra=options.get("extra_body"))
        return StreamCall(
            Request("POST", url, _merged(self._headers_of_stream, own_headers), content),
            read_event=read_event,
            assemble=assemble,
            read_whole=_answer_reader(answer),
            policy=self._policy("POST", options),
            timeout=self._timeout(options),
            jitter=self._jitter,
            secret=self._config.token,
        )

    def _url(self, path: str, options: RequestOptions) -> str:
        extra_query = options.get("extra_query")
        query = _query(extra_query) if extra_query else ""
        return f"{self._config.base_url}{path}?{query}" if query else self._config.base_url + path

    def _timeout(self, options: RequestOptions) -> Timeout:
        timeout = options.get("timeout")
        return self._config.timeout if timeout is None else Timeout.of(timeout)

    def _policy(self, method: str, options: RequestOptions) -> RetryPolicy:
        policy = options.get("retry") or self._config.retry
        if not isinstance(policy, RetryPolicy):
            raise ValueError(f"retry must be a RetryPolicy, not {policy!r}")
        max_retries = options.get("max_retries")
        if max_retries is None:
            return policy
        # Whoever asks for it with the call has considered what it calls.
        methods = policy.retry_on_method | {method}
        return replace(policy, max_retries=max_retries, retry_on_method=methods, retry_streams=True)


def _merged(fields: Sequence[Tuple[str, str]], others: Sequence[Tuple[str, str]]) -> Tuple[Tuple[str, str], ...]:
    """`fields` and `others`; where both have a name, in whatever case, the others' value stands."""
    if not others:
        return tuple(fields)
    replaced = {name.lower() for name, _ in others}
    return (*(field for field in fields if field[0].lower() not in replaced), *others)


def _own_headers(options: RequestOptions) -> Tuple[Tuple[str, str], ...]:
    """The header fields that a single call adds, once its options are known to be usable.

    Checked here, where the client's own headers are not: an error's frames must not hold the token.
    """
    if not options.keys() <= _OPTION_NAMES:
        unknown = min(options.keys() - _OPTION_NAMES)
        raise TypeError(f"unknown option {unknown!r}; the options are {', '.join(sorted(_OPTION_NAMES))}")
    extra_headers = options.get("extra_headers")
    extra = check_headers(extra_headers, "extra_headers") if extra_headers else ()
    request_id = options.get("request_id")
    if request_id is None:
        return extra
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        raise ValueError(f"request_id must be 1 to 64 characters of A-Z a-z 0-9 . _ : -, not {request_id!r}")
    return _merged((("X-Request-Id", request_id),), extra)


def _json_body(params: Params, *, stream: bool, extra: Optional[Mapping[str, Any]]) -> bytes:
    """`params` as JSON, in one pass; ``stream`` is what the method says, whatever stands in the params."""
    # To exclude a field costs half as much as the rest, and most params leave this one out themselves.
    exclude = None if getattr(params, "stream", None) is None else {"stream"}
    body = params.__pydantic_serializer__.to_json(params, exclude_none=True, exclude=exclude)
    if not extra and len(body) > len(b"{}"):
        return (b'{"stream":true,' if stream else b'{"stream":false,') + body[1:]
    extra = _checked_mapping(extra or {}, "extra_body")
    if "stream" in extra:
        raise ValueError('extra_body must not hold "stream": create() and stream() each set it')
    fields: Dict[str, Any] = json.loads(body)
    fields.update(extra, stream=stream)
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _query(parameters: Mapping[str, Any]) -> str:
    from urllib.parse import urlencode

    pairs: List[Tuple[str, str]] = []
    for name, value in _checked_mapping(parameters, "extra_query").items():
        for item in cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value,):
            if item is not None:
                pairs.append((name, str(item).lower() if isinstance(item, bool) else str(item)))
    return urlencode(pairs)


def _checked_mapping(value: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, not {type(value).__name__}")
    return value


def check_params(params: object, expected: Type[Params], method: str) -> None:
    """Refuse anything but an `expected`, before it becomes an AttributeError far from where it was passed."""
    if not isinstance(params, expected):
        given = type(params)
        hint = f"; make them with {expected.__name__}(**params)" if issubclass(given, dict) else ""
        raise TypeError(f"{method}() takes {expected.__name__}, not {given.__name__}{hint}")


@cache
def _validator(model: Type[ModelT]) -> Callable[[str], ModelT]:
    """Reads JSON text as a `model`; built when first asked for, since building a model takes a millisecond."""
    model.model_rebuild()
    validate: Callable[[str], ModelT] = model.__pydantic_validator__.validate_json
    return validate


def read_json(model: Type[ModelT], text: str) -> ModelT:
    """`text` as a `model`.

    Raises:
        ValidationError: it is none.
    """
    validate: Callable[[str], ModelT] = _validator(model)
    try:
        return validate(text)
    except ValidationError:
        mended = without_lone_surrogates(text)
        if mended is None:
            raise
        return validate(mended)


@cache
def _answer_reader(model: Type[AnswerT]) -> Callable[[ResponseHead, bytes], AnswerT]:
    def read(head: ResponseHead, body: bytes) -> AnswerT:
        # Decoded here, and not by pydantic: a byte that is not UTF-8 must not cost the whole answer.
        # And not as "utf-8-sig", whose decoder is written in Python: a byte order mark is rare.
        text = body.decode("utf-8", "replace").lstrip("\ufeff")
        try:
            answer = read_json(model, text)
        except ValidationError as error:
            refuse(head, text, model, error)
        object.__setattr__(answer, "_head", head)
        return answer

    return read


def refuse(head: ResponseHead, text: str, model: Type[BaseModel], error: ValidationError) -> NoReturn:
    """Raise the error for an answer or an event that is no `model`."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"] if step != "")
    problem = f"{where}: {first['msg']}" if where else first["msg"]
    raise ResponseParseError(
        f"the gateway's answer could not be read as {model.__name__} ({problem}): {text[:500] or 'it is empty'}",
        status=head.status,
        error_code="parse_error",
        request_id=head.request_id,
    ) from None


def read_frame(head: ResponseHead, event: ServerSentEvent) -> Dict[str, Any]:
    """The JSON object of an event, for those that are not what a stream is usually made of.

    Raises:
        MeshAPIError: the event reports an error, or its data is not a JSON object.
    """
    frame = json_object(event.data)
    if frame is None:
        raise ResponseParseError(
            f"an event's data is not a JSON object: {event.data[:500]}",
            status=head.status,
            error_code="parse_error",
            request_id=head.request_id,
        )
    if event.event == "error" or frame.get("error"):
        raise error_from_frame(frame, event.data, head)
    return frame
