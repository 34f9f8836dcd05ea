"""``client.templates``: /v1/templates, prompts that the gateway keeps and fills in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call import Call
from ..config import RequestOptions
from ..models.lists import AnswerList
from ..models.templates import CreateTemplateParams, TemplateSummary, UpdateTemplateParams
from ._base import Resource, check_params, path_segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Templates"]


class Templates(Resource):
    """Prompts with ``{{slots}}`` that the gateway keeps, to be used by ``template=`` and ``variables=`` of a call."""

    def create(self, params: CreateTemplateParams, **options: Unpack[RequestOptions]) -> Call[TemplateSummary]:
        """Keep a new template.

        Sends POST /v1/templates (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

        Args:
            params: its name, its messages, and the defaults of the calls that use it.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The template; use it by its ``id`` or name: ``ChatCompletionParams(template=..., variables={...}, ...)``.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the name is taken (`ConflictError`), the gateway refused (`APIStatusError`), was not reached
                (`APIConnectionError`), or answered with something else (`ResponseParseError`).
        """
        check_params(params, CreateTemplateParams, "create")
        return self._post("/v1/templates", params, TemplateSummary, options)

    def list(self, **options: Unpack[RequestOptions]) -> Call[AnswerList[TemplateSummary]]:
        """List the templates that there are.

        Sends GET /v1/templates (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

        Args:
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The templates, as a list that knows its ``request_id``.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return self._get_list("/v1/templates", TemplateSummary, options)

    def get(self, template_id: str, **options: Unpack[RequestOptions]) -> Call[TemplateSummary]:
        """Get a template.

        Sends GET /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).

        Args:
            template_id: the template's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The template.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such template (`NotFoundError`), or it could not be had, as for `list`.
        """
        return self._get(_path(template_id), TemplateSummary, options)

    def update(
        self, template_id: str, params: UpdateTemplateParams, **options: Unpack[RequestOptions]
    ) -> Call[TemplateSummary]:
        """Change a template; what the params leave out stays as it is.

        Sends PATCH /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a JWT).
        To empty a field, send null: ``extra_body={"description": None}``.

        Args:
            template_id: the template's ``id``.
            params: what to change.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The template as it is now.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such template (`NotFoundError`), or as for `create`.
        """
        check_params(params, UpdateTemplateParams, "update")
        return self._post(_path(template_id), params, TemplateSummary, options, method="PATCH")

    def delete(self, template_id: str, **options: Unpack[RequestOptions]) -> Call[None]:
        """Delete a template.

        Sends DELETE /v1/templates/{id} (gateway API reference, "Prompt templates").  With a control-plane token (a
        JWT).  Not retried by default; `max_retries` is consent.

        Args:
            template_id: the template's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            Nothing.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such template (`NotFoundError`), or the gateway was not reached
                (`APIConnectionError`).
        """
        return self._delete(_path(template_id), options)


def _path(template_id: str) -> str:
    return f"/v1/templates/{path_segment(template_id, 'template_id')}"
