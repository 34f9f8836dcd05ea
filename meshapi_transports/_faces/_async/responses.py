"""``client.responses``: /v1/responses, whole, streamed, listed.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/responses.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._async import AsyncItems, AsyncStream, AsyncTransport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.responses import ResponsesListItem, ResponsesListResponse, ResponsesParams, ResponsesResponse, ResponsesStreamEvent
    from meshapi_core.resources import responses as core
    from meshapi_core.retry import RetryPolicy


class Responses:
    """Asks a model by the Responses API, and remembers what came of it."""

    def __init__(self, core: core.Responses, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    async def create(
        self,
        params: ResponsesParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ResponsesResponse:
        """Ask for a response, and get it as a whole.

        Sends POST /v1/responses, always with ``"stream": false`` (gateway API reference, "Responses").  Retried as the
        `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: the input, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The response; ``output_text`` is what the model wrote, ``output`` all that it did.  With
            ``background=True`` its `status` says how far it is: ask again with `get`.

        Raises:
            ValueError: the params ask for a stream, or an option cannot be used; nothing was sent.
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
        params: ResponsesParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncStream[ResponsesStreamEvent, ResponsesResponse]:
        """Ask for a response, and get it event by event as the model writes it.

        Sends POST /v1/responses, always with ``"stream": true`` (gateway API reference, "Responses").  Nothing is sent
        before the first event is asked for.  Not retried by default; `max_retries` is consent to try again as long as
        no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: the input, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *event*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The stream of events, told apart by their ``type``; its ``text`` is what the model writes alone, its
            ``collect()`` the whole response.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `create`, or it broke off (`StreamInterruptedError`); what
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

    async def list(
        self,
        *,
        after: Optional[str] = None,
        limit: Optional[int] = None,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ResponsesListResponse:
        """List the responses that the gateway remembers, one page of them, newest first.

        Sends GET /v1/responses (gateway API reference, "Responses").  To go through all pages, use `iterate`.

        Args:
            after: the id of the last response of the page before (its ``last_id``); the first page if None.
            limit: how many to a page, at most; as the gateway likes if None.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The page; ``data`` is its items, ``has_more`` tells whether there is another.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return await perform(
            self._transport,
            self._core.list(
                after=after,
                limit=limit,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def iterate(
        self,
        *,
        page_size: Optional[int] = None,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncItems[ResponsesListItem]:
        """Go through all responses that the gateway remembers, newest first, page after page.

        Sends GET /v1/responses once for each page, when its first item is asked for; each is retried by itself.

        Args:
            page_size: how many to ask for at a time; as the gateway likes if None.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The responses, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all items that had come.
        """
        return AsyncItems(
            self._transport,
            self._core.iterate(
                page_size=page_size,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def get(
        self,
        response_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ResponsesResponse:
        """Get a response that was made before, such as one in the background.

        Sends GET /v1/responses/{id} (gateway API reference, "Responses").

        Args:
            response_id: the response's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The response; its `status` says whether it is finished.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such response (`NotFoundError`), or it could not be had, as for `create`.
        """
        return await perform(
            self._transport,
            self._core.get(
                response_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
