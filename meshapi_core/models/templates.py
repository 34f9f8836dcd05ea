"""Prompt templates: texts with ``{{slot}}``s, kept by the gateway and filled in when a request names them."""

from typing import Any, Dict, List, Optional, Union

from ._base import Answer, Finite, Params

__all__ = [
    "CreateTemplateParams",
    "TemplateMessage",
    "TemplateSummary",
    "UpdateTemplateParams",
]


class TemplateMessage(Params):
    """One message of a template; its `content` may have ``{{slot}}``s."""

    role: str
    content: str


class CreateTemplateParams(Params):
    """A template to be kept; only `name` is required.

    Its text is a `system` prompt, `messages`, or both.  `variables` are the names of its ``{{slot}}``s, `params` the
    chat params to be used with it, as they would stand in a request.
    """

    name: str
    description: Optional[str] = None
    system: Optional[str] = None
    messages: Union[Finite[List[Dict[str, Any]]], List[TemplateMessage], None] = None
    model: Optional[str] = None
    params: Optional[Finite[Dict[str, Any]]] = None
    variables: Optional[List[str]] = None
    team_id: Optional[str] = None


class UpdateTemplateParams(Params):
    """What to change of a template; what is not given stays as it is."""

    name: Optional[str] = None
    description: Optional[str] = None
    system: Optional[str] = None
    messages: Union[Finite[List[Dict[str, Any]]], List[TemplateMessage], None] = None
    model: Optional[str] = None
    params: Optional[Finite[Dict[str, Any]]] = None
    variables: Optional[List[str]] = None


class TemplateSummary(Answer):
    """A template as the gateway keeps it; use it by its `name` or `id` as the ``template`` of a request.

    `is_global` ones are everybody's.  Times are ISO 8601 texts.
    """

    id: Optional[str] = None
    name: Optional[str] = None
    owner: Optional[str] = None
    is_global: Optional[bool] = None
    description: Optional[str] = None
    system: Optional[str] = None
    messages: Optional[List[Dict[str, Any]]] = None
    model: Optional[str] = None
    params: Optional[Dict[str, Any]] = None
    variables: Optional[List[str]] = None
    created_at: Optional[str] = None
    updated_at: Optional[str] = None
