"""The catalogue of models, and ``GET /v1/models``."""

from __future__ import annotations

from typing import Any, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import GatewayError, JSONAnswer
from ._requests import validated

Model = dict[str, Any]

DEFAULT_MODEL = "local/echo"


def _text_model(
    model_id: str, name: str, context_length: int, prompt_usd_per_1m: str, completion_usd_per_1m: str
) -> Model:
    return {
        **_model(model_id, name, "text", ["text", "image"], ["text"]),
        "context_length": context_length,
        "is_free": prompt_usd_per_1m == completion_usd_per_1m == "0",
        "pricing": {"prompt_usd_per_1m": prompt_usd_per_1m, "completion_usd_per_1m": completion_usd_per_1m},
        "supports_completions_api": True,
        "supports_tools": True,
        "supports_structured_output": True,
        "supports_system_prompt": True,
    }


def _model(model_id: str, name: str, model_type: str, reads: list[str], writes: list[str]) -> Model:
    provider = model_id.partition("/")[0]
    return {
        "id": model_id,
        "name": name,
        "is_free": False,
        "model_type": model_type,
        "input_modalities": reads,
        "output_modalities": writes,
        "brand": provider,
        "provider": provider,
        "supports_completions_api": False,
        "supports_embeddings": model_type == "embedding",
    }


_CATALOGUE: dict[str, Model] = {
    model["id"]: model
    for model in (
        _text_model("openai/gpt-4o-mini", "GPT-4o mini", 128_000, "0.15", "0.60"),
        _text_model("anthropic/claude-sonnet-4.5", "Claude Sonnet 4.5", 200_000, "3", "15"),
        _text_model("google/gemini-2.5-flash", "Gemini 2.5 Flash", 1_048_576, "0.30", "2.50"),
        _text_model("local/echo", "Echo", 32_768, "0", "0"),
        _model("openai/text-embedding-3-small", "Text Embedding 3 Small", "embedding", ["text"], ["embedding"]),
        _model("openai/gpt-image-1", "GPT Image 1", "image", ["text", "image"], ["image"]),
    )
}
_LIST_PARAMS = checks.record(
    optional={
        "free": checks.one_of("true", "false"),
        "type": checks.one_of("text", "embedding", "image", "audio", "video"),
        "provider": checks.text,
    }
)


def find_model(model_id: str) -> Model | None:
    return _CATALOGUE.get(model_id)


def unknown_model(model_id: str) -> GatewayError:
    return GatewayError(404, f"there is no model {model_id!r}", code="model_not_found")


async def list_models(request: Request) -> Response:
    params = validated(dict(request.query_params), _LIST_PARAMS, "query")
    wanted = {
        field: value
        for field, value in (
            ("is_free", params["free"] == "true" if "free" in params else None),
            ("model_type", params.get("type")),
            ("provider", params.get("provider")),
        )
        if value is not None
    }
    return _models_where(lambda model: all(model[field] == value for field, value in wanted.items()))


async def list_free_models(request: Request) -> Response:
    return _models_where(lambda model: model["is_free"])


async def list_paid_models(request: Request) -> Response:
    return _models_where(lambda model: not model["is_free"])


def _models_where(wanted: Callable[[Model], bool]) -> Response:
    return JSONAnswer([model for model in _CATALOGUE.values() if wanted(model)])


async def get_model(request: Request) -> Response:
    model_id = request.path_params["model_id"]
    model = find_model(model_id)
    if model is None:
        raise unknown_model(model_id)
    return JSONAnswer(model)


routes = [
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models/free", list_free_models, methods=["GET"]),
    Route("/v1/models/paid", list_paid_models, methods=["GET"]),
    Route("/v1/models/{model_id:path}", get_model, methods=["GET"]),
]
