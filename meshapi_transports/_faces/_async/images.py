"""``client.images``: /v1/images, drawn whole or step by step, and edited.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/images.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._async import AsyncStream, AsyncTransport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.images import ImageEditParams, ImageGenerationChunk, ImageGenerationParams, ImageGenerationResponse
    from meshapi_core.resources import images as core
    from meshapi_core.retry import RetryPolicy


class Images:
    """Draws and edits images."""

    def __init__(self, core: core.Images, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    async def generate(
        self,
        params: ImageGenerationParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ImageGenerationResponse:
        """Draw one or more images, and get them when they are finished.

        Sends POST /v1/images/generations, without the field ``stream`` whatever the params say (gateway API reference,
        "Images").  Retried as the `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: what to draw, and how; unknown fields are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The answer; each item of ``data`` has a ``url``, or bytes to be had by ``image_bytes()``, as
            `response_format` asked.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return await perform(
            self._transport,
            self._core.generate(
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
        params: ImageGenerationParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncStream[ImageGenerationChunk, ImageGenerationResponse]:
        """Draw an image, and see it before it is finished.

        Sends POST /v1/images/generations, always with ``"stream": true`` (gateway API reference, "Images").  Nothing is
        sent before the first chunk is asked for.  Not retried by default; `max_retries` is consent to try again as long
        as no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: what to draw, and how; `partial_images` says how many unfinished ones to send, 0 to 3.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The stream of chunks; one whose ``status`` is ``"completed"`` holds a finished image.  Its ``collect()``
            gives the finished images alone.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `generate`, or it broke off (`StreamInterruptedError`); what
                had come is in the error's `partial`.
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

    async def edit(
        self,
        params: ImageEditParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ImageGenerationResponse:
        """Change an image: edit, inpaint, outpaint, mix, reframe, upscale, or remove its background.

        Sends POST /v1/images/edits as JSON, images as URLs or ``data:`` URLs (gateway API reference, "Images").
        Retried as the `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: which image, the `operation`, and how; unknown fields are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The answer, as of `generate`.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `generate`.
        """
        return await perform(
            self._transport,
            self._core.edit(
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
