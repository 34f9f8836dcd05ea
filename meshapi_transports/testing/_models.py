"""The catalogue of models, and ``GET /v1/models``."""

from __future__ import annotations

from collections.abc import Sequence
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
    model_id: str,
    name: str,
    context_length: int,
    prompt_usd_per_1m: str,
    completion_usd_per_1m: str,
    discount_pct: str | None = None,
) -> Model:
    pricing = {"prompt_usd_per_1m": prompt_usd_per_1m, "completion_usd_per_1m": completion_usd_per_1m}
    return {
        **_model(model_id, name, "text", ["text", "image"], ["text"]),
        "context_length": context_length,
        "is_free": prompt_usd_per_1m == completion_usd_per_1m == "0",
        "pricing": pricing if discount_pct is None else {**pricing, "discount_pct": discount_pct},
        "supports_completions_api": True,
        "supports_responses_api": True,
        "supports_tools": True,
        "supports_structured_output": True,
        "supports_system_prompt": True,
        "supports_batching": True,
        "supports_background_response": True,
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
        "supports_responses_api": False,
        "supports_embeddings": model_type == "embedding",
        "supports_image_generation": model_type == "image",
        "supports_image_edit": model_type == "image",
    }


_CATALOGUE: dict[str, Model] = {
    model["id"]: model
    for model in (
        _text_model("openai/gpt-4o-mini", "GPT-4o mini", 128_000, "0.15", "0.60"),
        _text_model("openai/gpt-4o", "GPT-4o", 128_000, "2.50", "10"),
        _text_model("openai/gpt-5-nano", "GPT-5 nano", 400_000, "0.05", "0.40", discount_pct="20"),
        _text_model("anthropic/claude-sonnet-4.5", "Claude Sonnet 4.5", 200_000, "3", "15"),
        _text_model("anthropic/claude-haiku-4.5", "Claude Haiku 4.5", 200_000, "1", "5", discount_pct="10"),
        _text_model("google/gemini-2.5-flash", "Gemini 2.5 Flash", 1_048_576, "0.30", "2.50"),
        _text_model("meta/llama-3.3-70b-instruct:free", "Llama 3.3 70B Instruct", 131_072, "0", "0"),
        _text_model("mistral/mistral-small-3.2", "Mistral Small 3.2", 128_000, "0.10", "0.30"),
        _text_model("local/echo", "Echo", 32_768, "0", "0"),
        _model("openai/text-embedding-3-small", "Text Embedding 3 Small", "embedding", ["text"], ["embedding"]),
        _model("google/multimodal-embedding", "Multimodal Embedding", "embedding", ["text", "image"], ["embedding"]),
        _model("openai/gpt-image-1", "GPT Image 1", "image", ["text", "image"], ["image"]),
    )
}
_SORT_KEYS = ("brand", "name", "id", "context_length")
_DEFAULT_LIMIT = 20
_BOOLEAN = checks.one_of("true", "false")
_LIST_PARAMS = checks.record(
    optional={
        "free": _BOOLEAN,
        "type": checks.one_of("text", "embedding", "image", "audio", "video"),
        "provider": checks.text,
    }
)
_SEARCH_PARAMS = checks.record(
    optional={
        "q": checks.text,
        "free": _BOOLEAN,
        "discounted": _BOOLEAN,
        "sort": checks.one_of(*_SORT_KEYS),
        "order": checks.one_of("asc", "desc"),
        "limit": checks.digits(at_least=1, at_most=100),
        "offset": checks.digits(at_least=0),
    }
)


def find_model(model_id: str) -> Model | None:
    return _CATALOGUE.get(model_id)


def routed(asked: Sequence[str], ability: str, purpose: str) -> tuple[Model, dict[str, str]]:
    """Return the first of the models asked for that can serve, and the headers that tell of the way there.

    Args:
        asked: the ids of the models, of which there is at least one.
        ability: the field of a model that says whether it can.
        purpose: the same in words.

    Raises:
        GatewayError: none of them can; the error is about the first.
    """
    for attempt, model_id in enumerate(asked, start=1):
        model = find_model(model_id)
        if model is not None and model[ability]:
            return model, {
                "x-mesh-routing-attempts": str(attempt),
                "x-mesh-routing-fallback": str(attempt > 1).lower(),
                "x-mesh-served-provider": model["provider"],
            }
    if find_model(asked[0]) is None:
        raise _unknown_model(asked[0])
    raise GatewayError(422, f"{asked[0]!r} does not do {purpose}", code="unprocessable_entity")


def _unknown_model(model_id: str) -> GatewayError:
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


async def search_models(request: Request) -> Response:
    params = validated(dict(request.query_params), _SEARCH_PARAMS, "query")
    found = [model for model in _CATALOGUE.values() if _matches(model, params, request)]
    if "sort" in params:
        # What lacks the key comes first, as the smallest.
        found.sort(key=lambda model: (params["sort"] in model, model.get(params["sort"])))
    if params.get("order") == "desc":
        found.reverse()
    limit, offset = int(params.get("limit", _DEFAULT_LIMIT)), int(params.get("offset", 0))
    return JSONAnswer(
        {
            "items": found[offset : offset + limit],
            "total": len(found),
            "limit": limit,
            "offset": offset,
            "brands": sorted({model["brand"] for model in _CATALOGUE.values()}),
        }
    )


def _matches(model: Model, params: dict[str, Any], request: Request) -> bool:
    text = f"{model['id']} {model['name']} {model['brand']}".lower()
    discounted = "discount_pct" in model.get("pricing", {})
    repeated = request.query_params.getlist
    return (
        all(word in text for word in params.get("q", "").lower().split())
        and params.get("free") in (None, str(model["is_free"]).lower())
        and params.get("discounted") in (None, str(discounted).lower())
        and _meet(repeated("input_modality"), model["input_modalities"])
        and _meet(repeated("output_modality"), model["output_modalities"])
        and _meet(repeated("brand"), [model["brand"]])
    )


def _meet(wanted: Sequence[str], present: Sequence[str]) -> bool:
    return not wanted or not set(wanted).isdisjoint(present)


async def get_model(request: Request) -> Response:
    model_id = request.path_params["model_id"]
    model = find_model(model_id)
    if model is None:
        raise _unknown_model(model_id)
    return JSONAnswer(model)


routes = [
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models/free", list_free_models, methods=["GET"]),
    Route("/v1/models/paid", list_paid_models, methods=["GET"]),
    Route("/v1/models/search", search_models, methods=["GET"]),
    Route("/v1/models/{model_id:path}", get_model, methods=["GET"]),
]
