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
    Hashable,
    Iterator,
    List,
    Mapping,
    NoReturn,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
)
from urllib.parse import quote, urlencode

from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError
from typing_extensions import Annotated, get_origin

from .._json import json_object, refuse_constant, without_lone_surrogates
from .._version import __version__
from ..actions import Request, ResponseHead
from ..call import Call, ItemsCall, StreamCall
from ..config import MeshAPIConfig, RequestOptions, Timeout, check_headers
from ..errors import MeshAPIError, ResponseParseError, error_from_frame, redact
from ..exchange import Assembled, EndOfReading, EventsReader, EventStream, LineStream, Terms, WholeAnswer
from ..models._base import Answer, Doubts, Params
from ..models.files import FileContent
from ..models.lists import AnswerList
from ..observing import Observer
from ..retry import RetryPolicy
from ..sse import RawEvent
from ..steps import Steps

if TYPE_CHECKING:
    from ..models._base import Reply

__all__ = ["Resource"]

AnswerT = TypeVar("AnswerT", bound=Answer)
T = TypeVar("T")
ReplyT = TypeVar("ReplyT", bound="Reply")

_ACCEPTED = ("application/json", "text/event-stream", "*/*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_OPTION_NAMES = frozenset(RequestOptions.__annotations__)


class Resource:
    """A group of methods that share a path; makes their calls.

    Args:
        config: where to send requests, and how patient to be.
        jitter: gives the factor for each wait between retries.
        observer: is told what the calls do.
    """

    def __init__(self, config: MeshAPIConfig, jitter: Callable[[], float], observer: Optional[Observer] = None) -> None:
        self._config = config
        self._jitter = jitter
        self._observer = observer
        fields = {
            "Authorization": f"Bearer {config.token}",
            "X-MeshAPI-SDK": f"python/{__version__}",
            **({} if config.api_version is None else {"X-Mesh-Version": config.api_version}),
        }
        self._usual_terms = self._terms_of(config.retry, config.timeout)
        own = _merged(tuple(fields.items()), config.default_headers)
        self._headers = {accept: _merged((("Accept", accept),), own) for accept in _ACCEPTED}
        self._headers_with_body = {
            accept: _merged((("Accept", accept), ("Content-Type", "application/json")), own) for accept in _ACCEPTED
        }

    def _get(
        self,
        path: str,
        answer: Type[AnswerT],
        options: RequestOptions,
        query: Optional[Mapping[str, Any]] = None,
    ) -> Call[AnswerT]:
        """A GET that is answered with an `answer`."""
        return self._ask("GET", path, _answer_reader(answer), options, query=query)

    def _get_list(
        self, path: str, item: Type[AnswerT], options: RequestOptions, query: Optional[Mapping[str, Any]] = None
    ) -> Call[AnswerList[AnswerT]]:
        """A GET that is answered with a JSON array of `item`."""
        return self._ask("GET", path, _list_reader(item), options, query=query)

    def _get_content(self, path: str, options: RequestOptions) -> Call[FileContent]:
        """A GET that is answered with the content of a file."""
        return WholeAnswer(
            self._request("GET", path, options, accept="*/*"),
            self._terms("GET", options),
            read_answer=_read_content,
            # It is as long as whoever made it wanted it to be.
            is_bounded=False,
        )

    def _get_lines(
        self, path: str, read_line: Callable[[ResponseHead, str], ReplyT], options: RequestOptions
    ) -> ItemsCall[ReplyT]:
        """A GET that is answered with a file, each of whose lines is an item."""
        return LineStream(
            self._request("GET", path, options, accept="*/*"), self._terms("GET", options), read_line=read_line
        )

    def _delete(self, path: str, options: RequestOptions) -> Call[None]:
        """A DELETE whose answer, if it has a body at all, says nothing."""
        return self._ask("DELETE", path, _read_nothing, options)

    def _post(
        self,
        path: str,
        params: Params,
        answer: Type[AnswerT],
        options: RequestOptions,
        *,
        stream: Optional[bool] = None,
        method: str = "POST",
    ) -> Call[AnswerT]:
        """A POST, or what `method` says, of `params` that is answered with an `answer`."""
        return self._ask(method, path, _answer_reader(answer), options, params=params, stream=stream)

    def _ask(
        self,
        method: str,
        path: str,
        read_answer: Callable[[ResponseHead, bytes], T],
        options: RequestOptions,
        *,
        query: Optional[Mapping[str, Any]] = None,
        params: Optional[Params] = None,
        stream: Optional[bool] = None,
        accept: str = "application/json",
    ) -> Call[T]:
        """A request whose answer is read as a whole."""
        return WholeAnswer(
            self._request(method, path, options, query=query, params=params, stream=stream, accept=accept),
            self._terms(method, options),
            read_answer=read_answer,
        )

    def _stream(
        self,
        path: str,
        params: Params,
        read_event: Callable[[ResponseHead, str, bytes], Optional[ReplyT]],
        assemble: Callable[[Sequence[ReplyT]], Assembled],
        options: RequestOptions,
        *,
        answer: Type[AnswerT],
        text_of: Optional[Callable[[ReplyT], str]] = None,
        finish: Optional[Callable[[AnswerT], None]] = None,
        plain: Optional[Type[ReplyT]] = None,
    ) -> StreamCall[ReplyT, AnswerT]:
        """A POST of `params` that is answered with a stream of events, which together amount to an `answer`.

        Args:
            path: where to send it.
            params: what to send.
            read_event: given the head, and the type and the data of a Server-Sent Event, the event that it holds, if
                any.
            assemble: puts events together.
            options: what this call may say otherwise than its client.
            answer: what events amount to, and what the same request without a stream would be answered with.
            text_of: the text of an event, where events have any.
            finish: is given what was put together, once it knows its head.
            plain: what most of the events are; only what is not goes through `read_event`.
        """

        def read_assembled(head: ResponseHead, fields: Dict[str, Any]) -> AnswerT:
            try:
                assembled = answer.model_validate(fields)
            except ValidationError as error:
                refuse(head, repr(fields), answer, error)
            assembled._take_head(head)  # pyright: ignore[reportPrivateUsage]
            if finish is not None:
                finish(assembled)
            return assembled

        return EventStream(
            self._request("POST", path, options, params=params, stream=True, accept="text/event-stream"),
            self._terms("POST", options),
            read_events=_events_reader(read_event, plain),
            assemble=assemble,
            read_assembled=read_assembled,
            text_of=text_of,
            read_whole=_answer_reader(answer),
        )

    def _request(
        self,
        method: str,
        path: str,
        options: RequestOptions,
        *,
        query: Optional[Mapping[str, Any]] = None,
        params: Optional[Params] = None,
        stream: Optional[bool] = None,
        accept: str = "application/json",
    ) -> Request:
        own_headers = _own_headers(options)
        url = self._url(path, query, options)
        extra_body = options.get("extra_body")
        if params is not None:
            content = _json_body(params, stream=stream, extra=extra_body)
            # What holds the token gets no name here: an error's frames would show it.
            return Request(method, url, _merged(self._headers_with_body[accept], own_headers), content)
        if extra_body is not None:
            raise ValueError("extra_body has nothing to be added to: this request has no body")
        return Request(method, url, _merged(self._headers[accept], own_headers))

    def _url(self, path: str, query: Optional[Mapping[str, Any]], options: RequestOptions) -> str:
        extra_query = options.get("extra_query")
        if extra_query:
            query = {**(query or {}), **_checked_mapping(extra_query, "extra_query")}
        text = _query(query) if query else ""
        return f"{self._config.base_url}{path}?{text}" if text else self._config.base_url + path

    def _terms(self, method: str, options: RequestOptions) -> Terms:
        policy, timeout = self._policy(method, options), self._timeout(options)
        if policy is self._config.retry and timeout is self._config.timeout:
            return self._usual_terms
        return self._terms_of(policy, timeout)

    def _terms_of(self, policy: RetryPolicy, timeout: Timeout) -> Terms:
        config = self._config
        return Terms(
            policy,
            timeout,
            self._jitter,
            config.token,
            self._observer,
            config.max_answer_size,
            config.max_event_size,
        )

    def _redact(self, error: MeshAPIError) -> None:
        """Take the token out of an error that was concluded here, and not by the machine."""
        redact(error, self._config.token)

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
    if not options:
        return ()
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


def _json_body(params: Params, *, stream: Optional[bool], extra: Optional[Mapping[str, Any]]) -> bytes:
    """`params` as JSON, in one pass; ``stream`` is what the method says, whatever stands in the params."""
    # To exclude a field costs half as much as the rest, and most params leave this one out themselves.
    exclude = None if getattr(params, "stream", None) is None else {"stream"}
    doubts = Doubts()
    body = params.__pydantic_serializer__.to_json(params, exclude_none=True, exclude=exclude, context=doubts)
    if doubts:
        json.loads(body, parse_constant=refuse_constant)
    if not extra:
        if stream is None:
            return body
        if len(body) > len(b"{}"):
            return b"".join((b'{"stream":true,' if stream else b'{"stream":false,', memoryview(body)[1:]))
    extra = _checked_mapping(extra or {}, "extra_body")
    if "stream" in extra:
        raise ValueError('extra_body must not hold "stream": the method that is called says it')
    fields: Dict[str, Any] = json.loads(body)
    fields.update(extra, **({} if stream is None else {"stream": stream}))
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _query(parameters: Mapping[str, Any]) -> str:
    pairs: List[Tuple[str, str]] = []
    for name, value in parameters.items():
        for item in cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else (value,):
            if item is not None:
                pairs.append((name, str(item).lower() if isinstance(item, bool) else str(item)))
    return urlencode(pairs)


def path_segment(value: object, what: str) -> str:
    """`value` as one segment of a path, percent-encoded whole, so that it can lead nowhere else (RFC 3986, 3.3).

    Raises:
        ValueError: it is no text, or empty; `what` says in the message what it should have been.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a text that is not empty, not {value!r}")
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{what} has half a character: {value!r}") from None
    # To a URL, . and .. mean this folder and the one above it.
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


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


def refuse_to_stream(stream: Optional[bool]) -> None:
    """Refuse params that ask for a stream, where the answer would come as a whole."""
    if stream:
        raise ValueError("create() gives the answer as a whole, but the params have stream=True; use stream()")


class Page(Protocol):
    """A page of a list that goes on after its last item."""

    data: List[Any]
    has_more: Optional[bool]
    last_id: Optional[str]

    @property
    def request_id(self) -> str:
        """The gateway's name for the request."""
        ...


def pages_after(get_page: Callable[[Optional[str]], Call[Any]]) -> Steps[None]:
    """The items of all pages, each page got when the one before is used up.

    Args:
        get_page: makes the call for the page after the item with the given id; for the first page after ``None``.
    """
    after: Optional[str] = None
    seen: Set[str] = set()
    while True:
        page: Page = yield get_page(after)
        yield page.data
        if not page.has_more:
            return
        after = page.last_id or (page.data[-1].id if page.data else None)
        if after is None:
            refuse_page(page.request_id, "not after which item")
        if after in seen:
            refuse_page(page.request_id, "the next would be one that has come already")
        seen.add(after)


def refuse_page(request_id: str, problem: str) -> NoReturn:
    """Raise the error for a page after which there are said to be more, where there can be none."""
    raise ResponseParseError(
        f"the gateway says that there are more pages, but {problem}",
        status=200,
        error_code="parse_error",
        request_id=request_id,
    )


@cache
def validator(model: Any) -> Callable[[Union[str, bytes]], Any]:
    """Reads JSON as a `model`; built when first asked for, since building a model takes a millisecond."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        model.model_rebuild()
        return model.__pydantic_validator__.validate_json
    if get_origin(model) is list:
        # Only the first wrong item is ever told of.
        model = cast("Any", Annotated[model, FailFast()])
    return TypeAdapter(cast("Type[Any]", model)).validator.validate_json


def read_json(model: Type[T], data: Union[str, bytes]) -> T:
    """`data` as a `model`; a byte that is not UTF-8, or half a character, does not cost the whole.

    Raises:
        ValidationError: it is none.
    """
    validate: Callable[[Union[str, bytes]], T] = validator(cast("Hashable", model))
    try:
        return validate(data)
    except ValidationError:
        text = text_of(data)
        mended = without_lone_surrogates(text) or text
        if mended == data:
            raise
        return validate(mended)


def text_of(data: Union[str, bytes]) -> str:
    """`data` as text, free of the byte order mark that it may begin with."""
    # And not as "utf-8-sig", whose decoder is written in Python: a byte order mark is rare.
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return text.lstrip("\ufeff")


# A plain event with one of these may be something else.
_ODD_FIELDS = frozenset({"error", "type"})


@cache
def _events_reader(
    read_event: Callable[[ResponseHead, str, bytes], Optional[ReplyT]], plain: Optional[Type[ReplyT]]
) -> EventsReader[ReplyT]:
    # Any, since a cast for each event would cost more than all that is done here.
    read_plain: Any = _is_none if plain is None else validator(cast("Hashable", plain))

    def read_events(head: ResponseHead, unread: Iterator[RawEvent], end: EndOfReading) -> Iterator[ReplyT]:
        for raw in unread:
            try:
                event = read_plain(raw)
            except ValidationError:
                event = None
            if event is None or (event.__pydantic_extra__ and not _ODD_FIELDS.isdisjoint(event.__pydantic_extra__)):
                type, data = ("message", raw) if isinstance(raw, bytes) else raw[:2]
                is_done, problem = data.strip() == b"[DONE]", None
                try:
                    event = None if is_done else read_event(head, type, data)
                except MeshAPIError as error:
                    problem = error
                if is_done or problem:
                    # Of what comes after that, nothing matters.
                    for _ in unread:
                        pass
                    yield from end(unread, is_done, problem)
                    return
                if event is None:
                    continue
            yield event
        late = end(unread, False)
        if late:
            yield from late

    return read_events


def _is_none(raw: RawEvent) -> None:
    """Say of any event that it is not plain."""


@cache
def _answer_reader(model: Type[AnswerT]) -> Callable[[ResponseHead, bytes], AnswerT]:
    def read(head: ResponseHead, body: bytes) -> AnswerT:
        answer = read_body(model, head, body)
        extra = answer.model_extra
        if extra and extra.get("error") and answer.model_fields_set.isdisjoint(model.model_fields):
            # A gateway's gateway may give an error the status 200.
            raise error_from_frame(extra, text_of(body), head)
        answer._take_head(head)  # pyright: ignore[reportPrivateUsage]
        return answer

    return read


@cache
def _list_reader(item: Type[AnswerT]) -> Callable[[ResponseHead, bytes], AnswerList[AnswerT]]:
    # To mypy, a variable is no type.
    model = List[item]  # type: ignore[valid-type]

    def read(head: ResponseHead, body: bytes) -> AnswerList[AnswerT]:
        answer = AnswerList(read_body(model, head, body))
        answer._take_head(head)  # pyright: ignore[reportPrivateUsage]
        return answer

    return read


def read_body(model: Type[T], head: ResponseHead, body: bytes) -> T:
    """The body of an answer as a `model`.

    Raises:
        ResponseParseError: it is none.
    """
    try:
        return read_json(model, body)
    except ValidationError as error:
        refuse(head, body, model, error)


def _read_content(head: ResponseHead, body: bytes) -> FileContent:
    content = FileContent(body)
    content._take_head(head)  # pyright: ignore[reportPrivateUsage]
    return content


def _read_nothing(head: ResponseHead, body: bytes) -> None:
    pass


def refuse(head: ResponseHead, data: Union[str, bytes], model: Any, error: ValidationError) -> NoReturn:
    """Raise the error for an answer or an event that is no `model`."""
    problem, text = first_problem(error), text_of(data)
    raise ResponseParseError(
        f"the gateway's answer could not be read as {_name_of(model)} ({problem}): {text[:500] or 'it is empty'}",
        status=head.status,
        error_code="parse_error",
        request_id=head.request_id,
    ) from None


def first_problem(error: ValidationError) -> str:
    """Where something is not as it should be, and what it should be."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"] if step != "")
    return f"{where}: {first['msg']}" if where else first["msg"]


def _name_of(model: Any) -> str:
    return model.__name__ if isinstance(model, type) else str(model).replace("typing.", "")


def read_frame(head: ResponseHead, event: str, data: bytes) -> Dict[str, Any]:
    """The JSON object of an event, for those that are not what a stream is usually made of.

    Raises:
        MeshAPIError: the event reports an error, or its data is not a JSON object.
    """
    text = text_of(data)
    frame = json_object(text)
    if frame is None:
        raise ResponseParseError(
            f"an event's data is not a JSON object: {text[:500]}",
            status=head.status,
            error_code="parse_error",
            request_id=head.request_id,
        )
    if event == "error" or frame.get("error"):
        raise error_from_frame(frame, text, head)
    return frame
