"""``client.chat``: POST /v1/chat/completions, whole and streamed.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/chat.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from functools import cached_property
from typing import Any, Mapping, Optional, TYPE_CHECKING, Type, Union
from typing_extensions import TypeVar
from ..._async import AsyncStream, AsyncTransport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.chat import ChatCompletionChunk, ChatCompletionParams, ChatCompletionResponse, ParsedChatCompletion
    from meshapi_core.resources import chat as core
    from meshapi_core.retry import RetryPolicy

T = TypeVar("T", default=Any)


class Chat:
    """Conversations with a model; see `completions`."""

    def __init__(self, core: core.Chat, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    @cached_property
    def completions(self) -> Completions:
        """Asks a chat model for its next message."""
        return Completions(self._core.completions, self._transport)


class Completions:
    """Asks a chat model for its next message."""

    def __init__(self, core: core.Completions, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    async def create(
        self,
        params: ChatCompletionParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ChatCompletionResponse:
        """Ask for the model's next message, and get it as a whole.

        Sends POST /v1/chat/completions, always with ``"stream": false`` (gateway API reference, "Chat completions").
        Retried as the `RetryPolicy` says.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The completion; ``choices[0].message`` is the model's message, ``request_id`` names the request.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return await perform(
            self._transport,
            self._core.create(
                params,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def stream(
        self,
        params: ChatCompletionParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncStream[ChatCompletionChunk, ChatCompletionResponse]:
        """Ask for the model's next message, and get it piece by piece as the model writes it.

        Sends POST /v1/chat/completions, always with ``"stream": true`` (gateway API reference, "Chat completions").
        Nothing is sent before the first chunk is asked for.  Not retried by default; `max_retries` is consent to try
        again as long as no byte of the stream has come.

        Args:
            params: the conversation, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The chunks; ``chunk.choices[0].delta.content`` is the next piece of text.  The last chunk may have no
            choices but the usage.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `create`, and `StreamInterruptedError` for a stream that broke off, after every chunk
                that had arrived has been delivered; ``error.partial`` is the completion as far as it came.
        """
        return AsyncStream(
            self._transport,
            self._core.stream(
                params,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def parse(
        self,
        params: ChatCompletionParams,
        response_type: Union[Type[T], Mapping[str, Any]],
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ParsedChatCompletion[T]:
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
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The completion, with the value in ``parsed``: for a JSON schema whatever the JSON stands for.

        Raises:
            ValueError: the params have a `response_format`, or an option cannot be used; nothing was sent.
            StructuredOutputError: the answer has not that shape; what the model wrote is in its `text`.
            MeshAPIError: as for `create`.
        """
        return await perform(
            self._transport,
            self._core.parse(
                params,
                response_type,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def parse_stream(
        self,
        params: ChatCompletionParams,
        response_type: Union[Type[T], Mapping[str, Any]],
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncStream[ChatCompletionChunk, ParsedChatCompletion[T]]:
        """Ask for an answer of a certain shape, see it being written, and get it as a value in the end.

        Sends POST /v1/chat/completions with ``"stream": true`` and a ``response_format``, as `parse` does.

        Args:
            params: the conversation, the model, and how to answer, without a `response_format`.
            response_type: the shape, as for `parse`.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The stream of chunks.  Its ``collect()`` gives the completion, whose ``parsed`` is the value, or raises
            `StructuredOutputError` if it has another shape.

        Raises:
            ValueError: the params have a `response_format`, or an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `stream`.
        """
        return AsyncStream(
            self._transport,
            self._core.parse_stream(
                params,
                response_type,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
