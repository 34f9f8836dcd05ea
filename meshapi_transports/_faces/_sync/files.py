"""``client.files``: /v1/files, the inputs and outputs of batches.  The face for blocking code."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/files.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._sync import Transport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.files import FileContent, FileObject, UploadBatchFileParams
    from meshapi_core.resources import files as core
    from meshapi_core.retry import RetryPolicy


class Files:
    """Keeps the inputs and outputs of batches."""

    def __init__(self, core: core.Files, transport: Transport) -> None:
        self._core = core
        self._transport = transport

    def upload(
        self,
        params: UploadBatchFileParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> FileObject:
        """Upload the requests of a batch as a file.

        Sends POST /v1/files, as JSON (gateway API reference, "Files").  From a JSONL file, or from requests that are
        still to be checked, use `Batches.upload`.

        Args:
            params: the requests; unknown fields, and a ``custom_id`` that is given twice, are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The file; its ``id`` is the ``input_file_id`` of `Batches.create`.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return perform(
            self._transport,
            self._core.upload(
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

    def get(
        self,
        file_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> FileObject:
        """Get what the gateway knows of a file: name, size, purpose, status.

        Sends GET /v1/files/{id} (gateway API reference, "Files").

        Args:
            file_id: the file's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The file; ``bytes`` is its size, `content` gets what is in it.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or it could not be had, as for `upload`.
        """
        return perform(
            self._transport,
            self._core.get(
                file_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def delete(
        self,
        file_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> None:
        """Delete a file.

        Sends DELETE /v1/files/{id} (gateway API reference, "Files").  Not retried by default; `max_retries` is consent.

        Args:
            file_id: the file's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            Nothing.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or the gateway was not reached
                (`APIConnectionError`).
        """
        return perform(
            self._transport,
            self._core.delete(
                file_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def content(
        self,
        file_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> FileContent:
        """Get what is in a file, the whole of it in memory.

        Sends GET /v1/files/{id}/content (gateway API reference, "Files").  For the results of a batch, use
        `Batches.results`: they come typed, and line by line.

        Args:
            file_id: the file's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The bytes (JSONL: a JSON object on each line), which know their ``request_id``.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or it could not be had, as for `upload`.
        """
        return perform(
            self._transport,
            self._core.content(
                file_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
