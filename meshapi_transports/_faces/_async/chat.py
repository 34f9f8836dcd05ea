"""``client.chat``: POST /v1/chat/completions, whole and streamed.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/chat.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from functools import cached_property
from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._async import AsyncStream, AsyncTransport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.chat import ChatCompletionChunk, ChatCompletionParams, ChatCompletionResponse
    from meshapi_core.resources import chat as core
    from meshapi_core.retry import RetryPolicy


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
    ) -> AsyncStream[ChatCompletionChunk]:
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
