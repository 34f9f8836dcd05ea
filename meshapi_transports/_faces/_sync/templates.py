"""``client.templates``: /v1/templates, prompts that the gateway keeps and fills in.  The face for blocking code."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/resources/templates.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from typing import Any, Mapping, Optional, TYPE_CHECKING, Union
from ..._sync import Transport, perform

if TYPE_CHECKING:
    from meshapi_core.config import Timeout
    from meshapi_core.models.lists import AnswerList
    from meshapi_core.models.templates import CreateTemplateParams, TemplateSummary, UpdateTemplateParams
    from meshapi_core.resources import templates as core
    from meshapi_core.retry import RetryPolicy


class Templates:
    """Prompts with ``{{slots}}`` that the gateway keeps, to be used by ``template=`` and ``variables=`` of a call."""

    def __init__(self, core: core.Templates, transport: Transport) -> None:
        self._core = core
        self._transport = transport

    def create(
        self,
        params: CreateTemplateParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> TemplateSummary:
        """Keep a new template.

        Sends POST /v1/templates (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

        Args:
            params: its name, its messages, and the defaults of the calls that use it.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The template; use it by its ``id`` or name: ``ChatCompletionParams(template=..., variables={...}, ...)``.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the name is taken (`ConflictError`), the gateway refused (`APIStatusError`), was not reached
                (`APIConnectionError`), or answered with something else (`ResponseParseError`).
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

    def list(
        self,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> AnswerList[TemplateSummary]:
        """List the templates that there are.

        Sends GET /v1/templates (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

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
            The templates, as a list that knows its ``request_id``.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return perform(
            self._transport,
            self._core.list(
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
        template_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> TemplateSummary:
        """Get a template.

        Sends GET /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

        Args:
            template_id: the template's ``id``.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The template.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such template (`NotFoundError`), or it could not be had, as for `list`.
        """
        return perform(
            self._transport,
            self._core.get(
                template_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )

    def update(
        self,
        template_id: str,
        params: UpdateTemplateParams,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> TemplateSummary:
        """Change a template; what the params leave out stays as it is.

        Sends PATCH /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).
        To empty a field, send null: ``extra_body={"description": None}``.

        Args:
            template_id: the template's ``id``.
            params: what to change.
            timeout: seconds, or a `Timeout`; ``Timeout(None, None, None)`` waits without limit.
            max_retries: how many times this call may be retried, also where it would not be by default (streams, DELETE).
            retry: a whole `RetryPolicy` for this call; `max_retries`, where given too, has the last word on the count.
            extra_headers: header fields to add, or to replace the client's by.
            extra_query: query parameters to add to the URL; a list repeats its key.
            extra_body: fields to add to the JSON body, or to replace the params' by: the way to send what the types do
                not know yet.
            request_id: a name for the request, sent as ``X-Request-Id``: 1 to 64 characters of ``A-Z a-z 0-9 . _ : -``.

        Returns:
            The template as it is now.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such template (`NotFoundError`), or as for `create`.
        """
        return perform(
            self._transport,
            self._core.update(
                template_id,
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

    def delete(
        self,
        template_id: str,
        *,
        timeout: Union[float, Timeout, None] = None,
        max_retries: Optional[int] = None,
        retry: Optional[RetryPolicy] = None,
        extra_headers: Optional[Mapping[str, str]] = None,
        extra_query: Optional[Mapping[str, Any]] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        request_id: Optional[str] = None,
    ) -> None:
        """Delete a template.

        Sends DELETE /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a
        JWT).  Not retried by default; `max_retries` is consent.

        Args:
            template_id: the template's ``id``.
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
            MeshAPIError: there is no such template (`NotFoundError`), or the gateway was not reached
                (`APIConnectionError`).
        """
        return perform(
            self._transport,
            self._core.delete(
                template_id,
                timeout=timeout,
                max_retries=max_retries,
                retry=retry,
                extra_headers=extra_headers,
                extra_query=extra_query,
                extra_body=extra_body,
                request_id=request_id,
            ),
        )
