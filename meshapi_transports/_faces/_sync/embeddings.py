"""``client.embeddings``: POST /v1/embeddings.  The face for blocking code."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/embeddings.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._sync import Transport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.embeddings import EmbeddingsParams, EmbeddingsResponse
    from meshapi_core.resources import embeddings as core
    from meshapi_core.retry import RetryPolicy


class Embeddings:
    """Turns texts, images and videos into vectors."""

    def __init__(self, core: core.Embeddings, transport: Transport) -> None:
        self._core = core
        self._transport = transport

    def create(
        self,
        params: EmbeddingsParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> EmbeddingsResponse:
        """Turn each input into a vector.

        Sends POST /v1/embeddings (gateway API reference, "Embeddings").  Retried as the `RetryPolicy` says.  With a
        data-plane key (``rsk_...``).

        Args:
            params: the inputs and the model; ``encoding_format="base64"`` makes the answer a quarter of the size, and
                ``vectors()`` of the answer reads either.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The answer; ``vectors()`` gives a list of floats for each input, in the order of the inputs.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
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
