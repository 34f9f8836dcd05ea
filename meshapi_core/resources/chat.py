"""``client.chat``: POST /v1/chat/completions, whole and streamed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from pydantic import ValidationError

from ..actions import ResponseHead
from ..call import Assembled, Call, StreamCall
from ..config import RequestOptions
from ..models.chat import (
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionParams,
    ChatCompletionResponse,
    ToolCallChunk,
)
from ..sse import ServerSentEvent
from ._base import Resource, check_params, read_frame, read_json, refuse

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Chat", "Completions"]


class Chat(Resource):
    """Conversations with a model; see `completions`."""

    @cached_property
    def completions(self) -> Completions:
        """Asks a chat model for its next message."""
        return Completions(self._config, self._jitter)


class Completions(Resource):
    """Asks a chat model for its next message."""

    def create(self, params: ChatCompletionParams, **options: Unpack[RequestOptions]) -> Call[ChatCompletionResponse]:
        """Ask for the model's next message, and get it as a whole.

        Sends POST /v1/chat/completions, always with ``"stream": false`` (gateway API reference, "Chat completions").
        Retried as the `RetryPolicy` says.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next bytes, or a `Timeout`; the client's if None.
            max_retries: how often to try again; the client's if None.
            retry: what is tried again and when; the client's if None.
            extra_headers: header fields to add or to replace, without CR, LF and NUL.
            extra_query: query parameters to add to the URL.
            extra_body: fields to add to the JSON body, for what the params do not know yet.
            request_id: a name for the request, 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The completion; ``choices[0].message`` is the model's message, ``request_id`` names the request.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, ChatCompletionParams, "create")
        return self._post("/v1/chat/completions", params, ChatCompletionResponse, options)

    def stream(
        self, params: ChatCompletionParams, **options: Unpack[RequestOptions]
    ) -> StreamCall[ChatCompletionChunk]:
        """Ask for the model's next message, and get it piece by piece as the model writes it.

        Sends POST /v1/chat/completions, always with ``"stream": true`` (gateway API reference, "Chat completions").
        Nothing is sent before the first chunk is asked for.  Not retried by default; `max_retries` is consent to try
        again as long as no byte of the stream has come.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: what is tried again and when; the client's if None.
            extra_headers: header fields to add or to replace, without CR, LF and NUL.
            extra_query: query parameters to add to the URL.
            extra_body: fields to add to the JSON body, for what the params do not know yet.
            request_id: a name for the request, 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

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
            "/v1/chat/completions", params, read_chunk, assemble_chunks, ChatCompletionResponse, options
        )


def read_chunk(head: ResponseHead, event: ServerSentEvent) -> Optional[ChatCompletionChunk]:
    """The chunk that an event holds; None for the ``response.*`` events that some servers mix in."""
    data = event.data
    # These hold for all but every chunk, and cost nothing beside parsing it.
    if event.event != "message" or '"error"' in data or '"response.' in data:
        frame = read_frame(head, event)
        if str(frame.get("type", event.event)).startswith("response."):
            return None
    try:
        return read_json(ChatCompletionChunk, data)
    except ValidationError as error:
        read_frame(head, event)
        refuse(head, data, ChatCompletionChunk, error)


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
    is_complete = bool(choices) and all(choice.finish_reason for choice in choices.values())
    return Assembled(ChatCompletionResponse.model_validate(completion), is_complete)


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
        for call in reversed(self._tool_calls):
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
        return {"index": self._index, "message": message, "finish_reason": self.finish_reason}


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
    for name, value in fields.items():
        before: Any = so_far.get(name)
        if _are_both(dict, before, value):
            _add_fields(before, value)
        elif name not in _WHOLE_FIELDS and (_are_both(str, before, value) or _are_both(list, before, value)):
            so_far[name] = before + value
        elif value != "" or before is None:
            so_far[name] = value


def _are_both(kind: type, one: Any, other: Any) -> bool:
    return isinstance(one, kind) and isinstance(other, kind)
