"""What the local gateway takes and refuses, field by field, measured by the official SDK's own types."""

from __future__ import annotations

import typing

import annotated_types
import httpx
import meshapi
import pydantic
import pytest

from .test_gateway import authorization

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

IMAGE = "data:image/png;base64,AA=="
BODIES = {
    ("/v1/chat/completions", meshapi.ChatCompletionParams): {"messages": []},
    ("/v1/responses", meshapi.ResponsesParams): {"input": "x"},
    ("/v1/embeddings", meshapi.EmbeddingsParams): {"input": "x"},
    ("/v1/images/generations", meshapi.ImageGenerationParams): {"prompt": "x"},
    ("/v1/images/edits", meshapi.ImageEditParams): {"model": "openai/gpt-image-1", "image": IMAGE},
    ("/v1/chat/compare", meshapi.CompareParams): {"models": ["local/echo"], "messages": []},
    ("/v1/batches", meshapi.CreateBatchParams): {"requests": [{"custom_id": "1", "body": {}}]},
    ("/v1/templates", meshapi.CreateTemplateParams): {"name": "x"},
}
# Of these at least one is of the wrong type for any field.
VALUES = ["nonsense", -7, -7.5, True, [0], {"nonsense": 0}, [{"nonsense": 0}]]


def fields():
    for (path, params), body in BODIES.items():
        for name, field in params.model_fields.items():
            yield pytest.param(path, body, name, field, id=f"{params.__name__}-{name}")


def fits(field, value):
    """Whether a caller of the SDK may pass the value, not counting conversions."""
    annotation = typing.Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        pydantic.TypeAdapter(annotation).validate_python(value, strict=True)
    except pydantic.ValidationError:
        return False
    return True


def literals(annotation):
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Union:
        return [value for part in typing.get_args(annotation) for value in literals(part)]
    return []


def edges(field):
    """The outermost numbers that a field takes, and those just outside."""
    inside, outside = [], []
    for metadata in field.metadata:
        if isinstance(metadata, annotated_types.Ge):
            inside.append(metadata.ge)
            outside.append(metadata.ge - 1)
        elif isinstance(metadata, annotated_types.Le):
            inside.append(metadata.le)
            outside.append(metadata.le + 1)
        elif isinstance(metadata, annotated_types.Gt):
            inside.append(metadata.gt + 1)
            outside.append(metadata.gt)
        elif isinstance(metadata, annotated_types.MaxLen):
            inside.append("x" * metadata.max_length)
            outside.append("x" * (metadata.max_length + 1))
    return inside, outside


@pytest.mark.parametrize(("path", "body", "name", "field"), list(fields()))
def test_each_field_is_checked_as_the_official_sdk_has_it(local_gateway, path, body, name, field):
    """What the SDK takes is taken, and what it refuses is refused, at the place where it stands."""
    inside, outside = edges(field)
    outside += [value for value in VALUES if not fits(field, value)]
    if field.annotation is not typing.Any:
        assert outside

    def problems_with(client, value):
        answer = client.post(path, json={**body, name: value})
        assert answer.status_code < 500
        details = answer.json().get("error", {}).get("details", []) if answer.status_code == 422 else []
        return [detail for detail in details if detail["loc"][:2] == ["body", name]]

    headers = authorization(local_gateway)
    with httpx.Client(base_url=local_gateway.base_url, headers=headers, timeout=10, verify=False) as client:
        for value in [*inside, *literals(field.annotation)]:
            assert problems_with(client, value) == []
            local_gateway.reset()
        for value in outside:
            assert problems_with(client, value), value
            local_gateway.reset()
