"""``client.chat``: POST /v1/chat/completions, whole and streamed."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    cast,
)

from pydantic import ValidationError
from typing_extensions import TypeVar

from ..actions import ResponseHead
from ..call import Call, StreamCall
from ..config import RequestOptions
from ..errors import MeshAPIError, StructuredOutputError
from ..exchange import Assembled
from ..models.chat import (
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    ParsedChatCompletion,
    ToolCallChunk,
)
from ..steps import CallOfSteps, Steps
from ._base import Resource, check_params, read_frame, read_json, refuse
from ._pieces import add_text, joined

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._structured import Wanted

__all__ = ["Chat", "Completions"]

T = TypeVar("T", default=Any)

_PATH = "/v1/chat/completions"


class Chat(Resource):
    """Conversations with a model; see `completions`."""

    @cached_property
    def completions(self) -> Completions:
        """Asks a chat model for its next message."""
        return Completions(self._config, self._jitter, self._observer)


class Completions(Resource):
    """Asks a chat model for its next message."""

    def create(self, params: ChatCompletionParams, **options: Unpack[RequestOptions]) -> Call[ChatCompletionResponse]:
        """Ask for the model's next message, and get it as a whole.

        Sends POST /v1/chat/completions, always with ``"stream": false`` (gateway API reference, "Chat completions").
        Retried as the `RetryPolicy` says.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The completion; ``choices[0].message`` is the model's message, ``request_id`` names the request.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, ChatCompletionParams, "create")
        return self._post(_PATH, params, ChatCompletionResponse, options, stream=False)

    def stream(
        self, params: ChatCompletionParams, **options: Unpack[RequestOptions]
    ) -> StreamCall[ChatCompletionChunk, ChatCompletionResponse]:
        """Ask for the model's next message, and get it piece by piece as the model writes it.

        Sends POST /v1/chat/completions, always with ``"stream": true`` (gateway API reference, "Chat completions").
        Nothing is sent before the first chunk is asked for.  Not retried by default; `max_retries` is consent to try
        again as long as no byte of the stream has come.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The chunks; ``chunk.choices[0].delta.content`` is the next piece of text.  The last chunk may have no
            choices but the usage.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `create`, and `StreamInterruptedError` for a stream that broke off, after every chunk
                that had arrived has been delivered; ``error.partial`` is the completion as far as it came.
        """
        check_params(params, ChatCompletionParams, "stream")
        return self._stream(
            _PATH,
            params,
            read_chunk,
            assemble_chunks,
            options,
            answer=ChatCompletionResponse,
            text_of=text_of_chunk,
            plain=ChatCompletionChunk,
        )

    def parse(
        self,
        params: ChatCompletionParams,
        response_type: Union[Type[T], Mapping[str, Any]],
        **options: Unpack[RequestOptions],
    ) -> Call[ParsedChatCompletion[T]]:
        """Ask for an answer of a certain shape, and get it as a value.

        Sends POST /v1/chat/completions with a ``response_format`` made of the shape's JSON schema (gateway API
        reference, "Chat completions").  The model is held to the schema where the provider can do so; what it answers
        is checked here in any case, but for a JSON schema.

        Args:
            params: the conversation, the model, and how to answer, without a `response_format`.
            response_type: the shape: a pydantic model, a dataclass, a TypedDict or any other type that pydantic knows,
                or a JSON schema as a mapping.
            max_retries: how often a wrong answer is sent back to the model, with what is wrong about it; not at all if
                None.  How often a *request* is tried again is the client's to say, or that of `retry`.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The completion, with the value in ``parsed``: for a JSON schema whatever the JSON stands for.

        Raises:
            ValueError: the params have a `response_format`, or an option cannot be used; nothing was sent.
            StructuredOutputError: the answer has not that shape; what the model wrote is in its `text`.
            MeshAPIError: as for `create`.
        """
        wanted, params = self._wanted(params, response_type, "parse")
        corrections = options.pop("max_retries", None) or 0
        if isinstance(corrections, bool) or not isinstance(corrections, int) or corrections < 0:
            raise ValueError(f"max_retries must be a whole number, 0 or more, not {corrections!r}")
        return CallOfSteps(
            self._ask_until_right(params, wanted, corrections, options), self._timeout(options), self._redact
        )

    def parse_stream(
        self,
        params: ChatCompletionParams,
        response_type: Union[Type[T], Mapping[str, Any]],
        **options: Unpack[RequestOptions],
    ) -> StreamCall[ChatCompletionChunk, ParsedChatCompletion[T]]:
        """Ask for an answer of a certain shape, see it being written, and get it as a value in the end.

        Sends POST /v1/chat/completions with ``"stream": true`` and a ``response_format``, as `parse` does.

        Args:
            params: the conversation, the model, and how to answer, without a `response_format`.
            response_type: the shape, as for `parse`.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The stream of chunks.  Its ``collect()`` gives the completion, whose ``parsed`` is the value, or raises
            `StructuredOutputError` if it has another shape.

        Raises:
            ValueError: the params have a `response_format`, or an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `stream`.
        """
        wanted, params = self._wanted(params, response_type, "parse_stream")

        def finish(completion: ParsedChatCompletion[T]) -> None:
            with_outcome(completion, wanted, self._redact)

        return self._stream(
            _PATH,
            params,
            read_chunk,
            assemble_chunks,
            options,
            answer=cast("Type[ParsedChatCompletion[T]]", ParsedChatCompletion),
            text_of=text_of_chunk,
            plain=ChatCompletionChunk,
            finish=finish,
        )

    def _wanted(
        self, params: ChatCompletionParams, response_type: Union[Type[T], Mapping[str, Any]], method: str
    ) -> Tuple[Wanted[T], ChatCompletionParams]:
        from ._structured import Wanted

        check_params(params, ChatCompletionParams, method)
        if params.response_format is not None:
            raise ValueError(f"{method}() makes the response_format itself, but the params have one; use create()")
        wanted = Wanted(response_type)
        return wanted, params.model_copy(update={"response_format": wanted.response_format})

    def _ask_until_right(
        self, params: ChatCompletionParams, wanted: Wanted[T], corrections: int, options: RequestOptions
    ) -> Steps[ParsedChatCompletion[T]]:
        while True:
            completion: ParsedChatCompletion[T] = yield self._post(
                _PATH, params, ParsedChatCompletion, options, stream=False
            )
            error = with_outcome(completion, wanted, self._redact).problem
            if error is None or _wants_tools(completion):
                return completion
            if corrections == 0 or not error.is_correctable:
                raise error
            corrections -= 1
            messages = [
                *params.messages,
                ChatMessage(role="assistant", content=error.text),
                ChatMessage(role="user", content=error.correction()),
            ]
            params = params.model_copy(update={"messages": messages})


def with_outcome(
    completion: ParsedChatCompletion[T], wanted: Wanted[T], clean: Callable[[MeshAPIError], None]
) -> ParsedChatCompletion[T]:
    """`completion`, which from now on knows the value that was wanted of it, or why there is none."""
    outcome: Union[T, StructuredOutputError]
    try:
        outcome = wanted.read(completion)
    except StructuredOutputError as error:
        clean(error)
        outcome = error
    completion._take_outcome(outcome)  # pyright: ignore[reportPrivateUsage]
    return completion


def _wants_tools(completion: ChatCompletionResponse) -> bool:
    """Whether the model is not done, but wants tools called first."""
    message = completion.choices[0].message if completion.choices else None
    return bool(message and message.tool_calls)


def read_chunk(head: ResponseHead, event: str, data: bytes) -> Optional[ChatCompletionChunk]:
    """The chunk that an event holds; None for the ``response.*`` events that some servers mix in."""
    frame = read_frame(head, event, data)
    if str(frame.get("type", event)).startswith("response."):
        return None
    try:
        return read_json(ChatCompletionChunk, data)
    except ValidationError as error:
        refuse(head, data, ChatCompletionChunk, error)


def text_of_chunk(chunk: ChatCompletionChunk) -> str:
    """The text that a chunk adds to the first of the answers."""
    for choice in chunk.choices:
        if not choice.index and choice.delta is not None:
            return choice.delta.content or ""
    return ""


def assemble_chunks(chunks: Sequence[ChatCompletionChunk]) -> Assembled:
    """Put the chunks of a stream together to the completion that they amount to, as far as they go.

    The stream could properly end here if each choice that was begun has its ``finish_reason``.
    """
    completion: Dict[str, Any] = {"object": "chat.completion"}
    choices: Dict[int, _Choice] = {}
    for chunk in chunks:
        for name in ("id", "created", "model", "system_fingerprint", "usage", "cost"):
            value = getattr(chunk, name, None)
            if value is not None:
                completion[name] = value
        for position, piece in enumerate(chunk.choices):
            index = position if piece.index is None else piece.index
            choices.setdefault(index, _Choice(index)).add(piece)
    completion["choices"] = [choices[index].as_dict() for index in sorted(choices)]
    return Assembled(completion, bool(choices) and all(choice.finish_reason for choice in choices.values()))


class _Choice:
    """One choice of a streamed completion, as far as it has come."""

    def __init__(self, index: int) -> None:
        self.finish_reason: Optional[str] = None
        self._index = index
        self._message: Dict[str, Any] = {}
        self._tool_calls: List[_ToolCall] = []

    def add(self, piece: ChatCompletionChunkChoice) -> None:
        self.finish_reason = piece.finish_reason or self.finish_reason
        if piece.delta is None:
            return
        for fragment in piece.delta.tool_calls or ():
            self._tool_call_of(fragment).add(fragment)
        _add_fields(self._message, piece.delta.model_dump(exclude={"tool_calls"}, exclude_none=True))

    def _tool_call_of(self, fragment: ToolCallChunk) -> _ToolCall:
        # Servers leave the index out, or give each call the same; a new id then tells that a new call begins.
        for call in islice(reversed(self._tool_calls), _MOST_UNDER_WAY):
            same_index = fragment.index is None or call.index is None or call.index == fragment.index
            if same_index and (not fragment.id or not call.id or call.id == fragment.id):
                return call
        call = _ToolCall(fragment.index)
        self._tool_calls.append(call)
        return call

    def as_dict(self) -> Dict[str, Any]:
        message = {"role": "assistant", "content": None, **self._message}
        if self._tool_calls:
            message["tool_calls"] = [call.as_dict() for call in self._tool_calls]
        return {"index": self._index, "message": joined(message), "finish_reason": self.finish_reason}


# How many tool calls may be written at the same time; none before them is looked for.
_MOST_UNDER_WAY = 128


class _ToolCall:
    """One tool call of a streamed completion, as far as it has come."""

    def __init__(self, index: Optional[int]) -> None:
        self.index = index
        self.id: Optional[str] = None
        self._fields: Dict[str, Any] = {}
        self._function: Dict[str, Any] = {}

    def add(self, fragment: ToolCallChunk) -> None:
        self.id = fragment.id or self.id
        _add_fields(self._fields, fragment.model_dump(exclude={"index", "id", "function"}, exclude_none=True))
        if fragment.function is not None:
            _add_fields(self._function, fragment.function.model_dump(exclude_none=True))

    def as_dict(self) -> Dict[str, Any]:
        return {**self._fields, "id": self.id, "function": self._function}


# What is told again in each fragment; every other text is told in pieces.
_WHOLE_FIELDS = frozenset({"id", "index", "name", "role", "type", "expires_at", "format"})


def _add_fields(so_far: Dict[str, Any], fields: Dict[str, Any]) -> None:
    """Add `fields`, which nobody else holds, to those that came before."""
    for name, value in fields.items():
        before: Any = so_far.get(name)
        if isinstance(value, str) and name not in _WHOLE_FIELDS:
            add_text(so_far, name, value)
        elif isinstance(value, dict) and isinstance(before, dict):
            _add_fields(cast("Dict[str, Any]", before), cast("Dict[str, Any]", value))
        elif isinstance(value, list) and type(before) is list:
            so_far[name] += value
        elif value != "" or before is None:
            so_far[name] = value
