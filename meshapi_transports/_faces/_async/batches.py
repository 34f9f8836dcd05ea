"""``client.batches``: /v1/batches, many requests that are run later, from their upload to their results.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/batches.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, TYPE_CHECKING, Union
from ..._async import AsyncItems, AsyncTransport, perform
from ..._files import lines_of

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.batches import BatchListResponse, BatchObject, BatchRequestItem, BatchResult, CreateBatchParams
    from meshapi_core.models.files import FileObject
    from meshapi_core.resources import batches as core
    from meshapi_core.retry import RetryPolicy
    from ..._files import BatchSource


class Batches:
    """Runs many requests at a lower price, later."""

    def __init__(self, core: core.Batches, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    async def create(
        self,
        params: CreateBatchParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> BatchObject:
        """Start a batch.

        Sends POST /v1/batches (gateway API reference, "Batches").  Retried as the `RetryPolicy` says.  With a
        data-plane key (``rsk_...``).

        Args:
            params: the requests, or ``input_file_id`` (see `upload`) with ``endpoint`` and ``completion_window``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The batch; ``client.batches.wait(batch.id)`` waits until it is through, `results` reads what came of it.

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

    async def get(
        self,
        batch_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> BatchObject:
        """Get a batch, and so how far it is.

        Sends GET /v1/batches/{id} (gateway API reference, "Batches").

        Args:
            batch_id: the batch's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The batch; ``status`` and ``request_counts`` say how far it is.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such batch (`NotFoundError`), or it could not be had, as for `create`.
        """
        return await perform(
            self._transport,
            self._core.get(
                batch_id,
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
    ) -> BatchListResponse:
        """List the batches, one page of them, newest first.

        Sends GET /v1/batches (gateway API reference, "Batches").  To go through all pages, use `iterate`.

        Args:
            after: the id of the last batch of the page before (its ``last_id``); the first page if None.
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
            The page; ``data`` is its batches, ``has_more`` tells whether there is another.

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
    ) -> AsyncItems[BatchObject]:
        """Go through all batches, newest first, page after page.

        Sends GET /v1/batches once for each page, when its first batch is asked for; each is retried by itself.

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
            The batches, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all batches that had come.
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

    async def cancel(
        self,
        batch_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> BatchObject:
        """Stop a batch; what it has answered by then stays.

        Sends POST /v1/batches/{id}/cancel (gateway API reference, "Batches").

        Args:
            batch_id: the batch's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The batch, which may still be ``"cancelling"``; `wait` waits until it is cancelled.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: it is through already (`ConflictError`), there is no such batch (`NotFoundError`), or as for
                `create`.
        """
        return await perform(
            self._transport,
            self._core.cancel(
                batch_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def upload(
        self,
        requests: BatchSource,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> FileObject:
        """Check the requests of a batch one by one, and upload them as its input file.

        Sends POST /v1/files (gateway API reference, "Files"), with all requests in one body.

        Args:
            requests: an iterable of `BatchRequestItem`, of mappings of their fields, or of lines of JSON, of which the
                empty ones are passed over.  A client's method also takes the path of a JSONL file.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The file, for ``CreateBatchParams(input_file_id=file.id, endpoint=..., completion_window="24h")``.

        Raises:
            ValueError: a request is not as it should be, or its ``custom_id`` is another's; the message names its
                line, counted from 1.  Nothing was sent.
            MeshAPIError: as for `create`.
        """
        return await perform(
            self._transport,
            self._core.upload(
                lines_of(requests),
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def wait(
        self,
        batch_id: str,
        *,
        poll_interval: float = 5.0,
        on_progress: Optional[Callable[[BatchObject], None]] = None,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> BatchObject:
        """Wait until a batch is through: completed, failed, expired or cancelled.

        Sends GET /v1/batches/{id} again and again.  A poll that fails for a reason that may pass (no connection, a
        timeout, 429, 5xx, an answer that cannot be read) is not the end: the next one is made as if nothing had
        happened, unless ten in a row have failed.

        Args:
            batch_id: the batch's ``id``.
            poll_interval: seconds from one answer to the next poll.
            on_progress: called with the batch as each poll finds it, the last time when it is through.
            timeout: seconds to wait for the batch, in all; or a `Timeout`, of which `total` is that.  Without end if
                None, unless the client's own `total` ends it.  A poll that would come too late is not waited for.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The batch; its ``status`` says how it ended.  Next: `results`.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: the batch was not through in time (`APITimeoutError`), or could not be had, as for `get`; the
                batch as it was last seen is in the error's `partial`.
        """
        return await perform(
            self._transport,
            self._core.wait(
                batch_id,
                poll_interval=poll_interval,
                on_progress=on_progress,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def results(
        self,
        batch: Union[BatchObject, str],
        *,
        requests: Optional[Mapping[str, BatchRequestItem]] = None,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncItems[BatchResult]:
        """Read what came of the requests of a batch, one by one, those that failed after the others.

        Sends GET /v1/files/{id}/content for the output file, then for the error file (gateway API reference,
        "Batches"), and before that GET /v1/batches/{id} if only the id is given.  No more than a line is held in
        memory, however long the files are.

        Args:
            batch: the batch, or its ``id``.
            requests: the requests by their ``custom_id``: any mapping, such as a dict or a shelf; each result then has
                its own in `request`.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The results, in any order: ``custom_id`` says whose each is, ``is_success`` how it ended, ``completion()``
            is the answer to a chat.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: the batch is still under way (``error_code`` is ``"batch_not_finished"``),
                the connection was lost (`StreamInterruptedError`), a line could not be read (`ResponseParseError`), or
                as for `get`; after all results that had come.
        """
        return AsyncItems(
            self._transport,
            self._core.results(
                batch,
                requests=requests,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
