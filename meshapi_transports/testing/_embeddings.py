"""``POST /v1/embeddings``: made-up vectors, always the same for the same input."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import JSONAnswer
from ._checks import Location, Problem, is_object
from ._delivery import encode_json, encode_text
from ._models import routed
from ._requests import read_json, validated
from ._state import GatewayState

_DEFAULT_MODEL = "openai/text-embedding-3-small"
_DEFAULT_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096
_URL = checks.record(required={"url": checks.text})
_TOKENS = checks.array(checks.integer(), at_least=1)
_INPUT_ITEM = checks.by_type(
    {
        str: checks.nonempty_text,
        int: checks.integer(),
        list: _TOKENS,
        dict: checks.tagged(
            "type",
            {
                "text": checks.record(required={"text": checks.text}),
                "image_url": checks.record(required={"image_url": _URL}),
                "video_url": checks.record(required={"video_url": _URL}),
            },
        ),
    },
    "a string, a list of tokens or an object",
)


def _inputs(value: Any, loc: Location) -> Iterator[Problem]:
    yield from checks.array(_INPUT_ITEM, at_least=1)(value, loc)
    kinds: set[type[Any]] = set(map(type, value))
    if len(kinds) > 1:
        yield checks.problem(loc, "should be a list of one kind of input", "union_type")


EMBEDDINGS_PARAMS = checks.record(
    required={
        "input": checks.by_type({str: checks.nonempty_text, list: _inputs}, "a string or a list of inputs"),
    },
    optional={
        "model": checks.text,
        "dimensions": checks.integer(at_least=1, at_most=_MOST_DIMENSIONS),
        "encoding_format": checks.one_of("float", "base64"),
        "input_type": checks.text,
        "provider": checks.by_type({str: checks.text, dict: checks.mapping()}, "a string or an object"),
        "user": checks.text_up_to(256),
        "instructions": checks.text,
        "sparse_embedding": checks.mapping(),
    },
)


def embed(gateway: GatewayState, body: Any) -> dict[str, Any]:
    """Answer the body of an embeddings call.

    Raises:
        GatewayError: it is refused.
    """
    return _embed(body)[0]


def _embed(body: Any) -> tuple[dict[str, Any], dict[str, str]]:
    params = validated(body, EMBEDDINGS_PARAMS, "body")
    model, routing_headers = routed([params.get("model", _DEFAULT_MODEL)], "supports_embeddings", "embeddings")
    inputs = _separate_inputs(params["input"])
    dimensions = params.get("dimensions", _DEFAULT_DIMENSIONS)
    in_base64 = params.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _in_base64(vector) if in_base64 else vector}
        for index, vector in enumerate(_vector(model["id"], each, dimensions) for each in inputs)
    ]
    tokens = sum(map(_count_tokens, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model["id"], "usage": usage}, routing_headers


def _separate_inputs(given: Any) -> Sequence[Any]:
    # A list of integers is one input, by its tokens.
    if isinstance(given, str) or isinstance(given[0], int):
        return [given]
    inputs: Sequence[Any] = given
    return inputs


def _vector(model_id: str, given: Any, dimensions: int) -> list[float]:
    """Return a vector of length 1 that looks like any other."""
    digest = hashlib.shake_256(encode_text(encode_json([model_id, given]))).digest(4 * dimensions)
    numbers = struct.unpack(f"<{dimensions}i", digest)
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def _in_base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _count_tokens(given: Any) -> int:
    if is_object(given):
        return len(str(given.get("text", "[media]")).split())
    return len(given.split()) if isinstance(given, str) else len(given)


async def create_embeddings(request: Request) -> Response:
    answer, routing_headers = _embed(await read_json(request))
    return JSONAnswer(answer, headers=routing_headers)


routes = [Route("/v1/embeddings", create_embeddings, methods=["POST"])]
