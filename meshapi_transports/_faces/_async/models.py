"""``client.models``: GET /v1/models, listed, searched, and one by one.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/models.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Literal, Mapping, Optional, TYPE_CHECKING, Union
from ..._async import AsyncItems, AsyncTransport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.lists import AnswerList
    from meshapi_core.models.models import ModelInfo, ModelSearchParams, ModelsPage
    from meshapi_core.resources import models as core
    from meshapi_core.retry import RetryPolicy


class Models:
    """Tells which models there are, what they can do, and what they cost."""

    def __init__(self, core: core.Models, transport: AsyncTransport) -> None:
        self._core = core
        self._transport = transport

    async def list(
        self,
        *,
        free: Optional[bool] = None,
        type: Optional[Literal["text", "embedding", "image", "audio", "video"]] = None,
        provider: Optional[str] = None,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AnswerList[ModelInfo]:
        """List all models, or those that are wanted.

        Sends GET /v1/models (gateway API reference, "Models").

        Args:
            free: those that cost nothing, or those that do; either if None.
            type: what they make; anything if None.
            provider: who runs them, such as ``"openai"``; whoever if None.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The models, as a list that knows its ``request_id``.

        Raises:
            ValueError: an option or a filter cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return await perform(
            self._transport,
            self._core.list(
                free=free,
                type=type,
                provider=provider,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def free(
        self,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AnswerList[ModelInfo]:
        """List the models that cost nothing.

        Sends GET /v1/models/free (gateway API reference, "Models").

        Args:
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The models, as `list` gives them.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        return await perform(
            self._transport,
            self._core.free(
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def paid(
        self,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AnswerList[ModelInfo]:
        """List the models that have a price.

        Sends GET /v1/models/paid (gateway API reference, "Models").

        Args:
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The models, as `list` gives them.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        return await perform(
            self._transport,
            self._core.paid(
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    async def search(
        self,
        params: Optional[ModelSearchParams] = None,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ModelsPage:
        """Search the models by words, modalities, brand and price, and get one page of what is found.

        Sends GET /v1/models/search (gateway API reference, "Models").  To go through all pages, use `iterate`.

        Args:
            params: what to search for, how to sort, and which page (`limit`, `offset`); everything if None.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The page; ``items`` is the models on it, ``total`` how many there are on all pages.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        return await perform(
            self._transport,
            self._core.search(
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

    def iterate(
        self,
        params: Optional[ModelSearchParams] = None,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AsyncItems[ModelInfo]:
        """Go through all models that a search finds, page after page.

        Sends GET /v1/models/search once for each page, when its first model is asked for; each is retried by itself.

        Args:
            params: what to search for, and how to sort; `limit` is how many to ask for at a time, `offset` how many to
                leave out at the start.  Everything if None.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The models, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all models that had come.
        """
        return AsyncItems(
            self._transport,
            self._core.iterate(
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
        model_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> ModelInfo:
        """Get what there is to know of a model.

        Sends GET /v1/models/{id} (gateway API reference, "Models").

        Args:
            model_id: the model's ``id``, such as ``"openai/gpt-4o-mini"``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The model; ``pricing`` is what it costs.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such model (`NotFoundError`), or it could not be had, as for `list`.
        """
        return await perform(
            self._transport,
            self._core.get(
                model_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
