"""``client.compare``: POST /v1/chat/compare, whole and streamed.  The face for blocking code."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/compare.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._sync import Stream, Transport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.compare import CompareParams, CompareResponse, CompareStreamEvent
    from meshapi_core.resources import compare as core
    from meshapi_core.retry import RetryPolicy


class Compare:
    """Asks several models the same, and has their answers compared."""

    def __init__(self, core: core.Compare, transport: Transport) -> None:
        self._core = core
        self._transport = transport

    def create(
        self,
        params: CompareParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> CompareResponse:
        """Ask several models, and get all their answers at once.

        Sends POST /v1/chat/compare, always with ``"stream": false`` (gateway API reference, "Compare").  Retried as the
        `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: the models and the conversation; unknown fields are refused when it is made.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The answers, one of ``results`` for each model, in which a model that failed has its `error`; and their
            ``comparison``.

        Raises:
            ValueError: the params ask for a stream, or an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return perform(
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
        params: CompareParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> Stream[CompareStreamEvent, CompareResponse]:
        """Ask several models, and get their answers piece by piece as they write, each at its own pace.

        Sends POST /v1/chat/compare, always with ``"stream": true`` (gateway API reference, "Compare").  Nothing is sent
        before the first event is asked for.  Not retried by default; `max_retries` is consent to try again as long as
        no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: the models and the conversation; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *event*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The stream of events: ``event`` is the name of each, ``model`` says whose `delta` it brings, ``data`` is
            all that it holds.  Its ``collect()`` gives the whole comparison.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `create`, or it broke off (`StreamInterruptedError`); what
                had come is in the error's `partial`.
        """
        return Stream(
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
