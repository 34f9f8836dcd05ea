"""``POST /v1/images/generations`` and ``/edits``: squares of one colour, always the same for the same prompt."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import Answer, EventStream, GatewayError, JSONAnswer, invalid_field
from ._checks import Location, Problem
from ._delivery import ServerEvent, encode_json, encode_text
from ._models import routed
from ._replies import Params
from ._requests import gateway_state, read_params

_DEFAULT_MODEL = "openai/gpt-image-1"
_SIDE = 8
_TOKENS_PER_IMAGE = 64
_COLOUR = re.compile(r"[0-9a-f]{6}")
_EDITABLE_IMAGE = checks.by_type(
    {str: checks.text, dict: checks.record(required={"url": checks.text})}, "a string or an object with a url"
)


def _factor(value: Any, loc: Location) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield from checks.number()(value, loc)


_SHARED = {
    "n": checks.integer(at_least=1, at_most=10),
    "size": checks.text,
    "response_format": checks.one_of("url", "b64_json"),
    "aspect_ratio": checks.text,
    "resolution": checks.text,
}
IMAGE_GENERATION_PARAMS = checks.record(
    required={"prompt": checks.nonempty_text},
    optional={
        **_SHARED,
        "model": checks.text,
        "quality": checks.text,
        "output_format": checks.one_of("png", "jpeg", "webp"),
        "stream": checks.boolean,
        "output_compression": checks.integer(at_least=0, at_most=100),
        "background": checks.one_of("transparent", "opaque", "auto"),
        "moderation": checks.one_of("low", "auto"),
        "partial_images": checks.integer(at_least=0, at_most=3),
        "image": checks.by_type({str: checks.text, list: checks.array(checks.text)}, "a string or a list of strings"),
        "seed": checks.integer(at_least=-1, at_most=2_147_483_647),
        "sequential_image_generation": checks.one_of("auto", "disabled"),
        "sequential_image_generation_options": checks.mapping(),
        "guidance_scale": checks.number(at_least=1, at_most=10),
        "watermark": checks.boolean,
        "optimize_prompt_options": checks.mapping(),
    },
)
IMAGE_EDIT_PARAMS = checks.record(
    required={"model": checks.text, "image": _EDITABLE_IMAGE},
    optional={
        **_SHARED,
        "prompt": checks.text,
        "operation": checks.one_of("edit", "inpaint", "outpaint", "mix", "reframe", "upscale", "remove_background"),
        "mask": _EDITABLE_IMAGE,
        "reference_images": checks.array(_EDITABLE_IMAGE),
        "background": checks.text,
        "upscale_factor": checks.text,
        "quality_tier": checks.text,
        "expand_factor": _factor,
        "mask_feather": checks.integer(),
    },
)


async def generate_images(request: Request) -> Response:
    params = await read_params(request, IMAGE_GENERATION_PARAMS)
    model, routing_headers = routed(
        [params.get("model", _DEFAULT_MODEL)], "supports_image_generation", "image generation"
    )
    if params.get("stream"):
        head = {
            "id": gateway_state(request).next_id("img_"),
            "object": "image.chunk",
            "created": int(time.time()),
            "model": model["id"],
        }
        return EventStream(_chunks(request, params, head), routing_headers)
    return JSONAnswer(_answer(request, params, params), headers=routing_headers)


async def edit_image(request: Request) -> Response:
    params = await read_params(request, IMAGE_EDIT_PARAMS)
    _, routing_headers = routed([params["model"]], "supports_image_edit", "image edits")
    for field in ("image", "mask"):
        _refuse_remote(params.get(field, ""), ("body", field))
    for index, image in enumerate(params.get("reference_images", [])):
        _refuse_remote(image, ("body", "reference_images", index))
    if params.get("operation") == "inpaint" and "mask" not in params:
        raise invalid_field(("body", "mask"), "is required to inpaint")
    given = {name: field for name, field in params.items() if name not in ("n", "response_format")}
    return JSONAnswer(_answer(request, params, given), headers=routing_headers)


def _refuse_remote(image: Any, location: Location) -> None:
    url = image if isinstance(image, str) else image["url"]
    if url.lower().startswith(("http:", "https:")):
        raise invalid_field(location, "should be base64 or a data: URL")


def _answer(request: Request, params: Params, given: Params) -> dict[str, Any]:
    return {
        "created": int(time.time()),
        "data": _items(request, params, given),
        "background": params.get("background", "opaque"),
        "output_format": "png",
        "quality": params.get("quality", "auto"),
        "size": params.get("size", "auto"),
        "usage": _usage(params),
    }


def _usage(params: Params) -> dict[str, Any]:
    read = len(params.get("prompt", "").split())
    written = params.get("n", 1) * _TOKENS_PER_IMAGE
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "input_tokens": read,
        "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        "output_tokens": written,
    }


def _chunks(request: Request, params: Params, head: Params) -> Iterator[ServerEvent]:
    yield ServerEvent({**head, "status": "processing", "data": []})
    for index in range(params.get("partial_images", 0)):
        image = _item(request, params, {**params, "partial": index}, 0)
        yield ServerEvent({**head, "status": "partial", "partial_image_index": index, "data": [image]})
    completed = {**head, "status": "completed", "data": _items(request, params, params), "usage": _usage(params)}
    yield ServerEvent(completed, closing=True)


def _items(request: Request, params: Params, given: Params) -> list[dict[str, Any]]:
    return [_item(request, params, given, index) for index in range(params.get("n", 1))]


def _item(request: Request, params: Params, given: Params, index: int) -> dict[str, Any]:
    drawn_from = [given.get("prompt"), given.get("seed"), given.get("image"), given.get("partial"), index]
    colour = hashlib.sha256(encode_text(encode_json(drawn_from))).hexdigest()[:6]
    if params.get("response_format") == "b64_json":
        return {"b64_json": base64.b64encode(_png(colour)).decode("ascii")}
    return {"url": str(request.url_for("show_image", colour=colour))}


async def show_image(request: Request) -> Response:
    colour = request.path_params["colour"]
    if not _COLOUR.fullmatch(colour):
        raise GatewayError(404, f"there is no image {colour!r}")
    return Answer(_png(colour), media_type="image/png")


def _png(colour: str) -> bytes:
    """Return a PNG file of one colour, given in hexadecimal digits."""
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    row = b"\0" + bytes.fromhex(colour) * _SIDE
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * _SIDE)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


routes = [
    Route("/v1/images/generations", generate_images, methods=["POST"]),
    Route("/v1/images/edits", edit_image, methods=["POST"]),
    # Outside /v1/, where no key is asked for: a browser or a plain download can follow the url of an answer.
    Route("/images/{colour}.png", show_image, methods=["GET"], name="show_image"),
]
