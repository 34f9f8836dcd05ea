"""The local gateway's images, seen from outside: plain HTTP, the official SDK and openai."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib

import httpx
import meshapi
import openai
import pytest

from meshapi_transports.testing import Fault

from .test_gateway import authorization, chunks_of, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
MODEL = "openai/gpt-image-1"
DATA_URL = "data:image/png;base64,AA=="


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def generate(client, prompt="a fox", **params):
    return client.post(GENERATIONS, json={"prompt": prompt, **params})


def edit(client, **params):
    return client.post(EDITS, json={"model": MODEL, "image": DATA_URL, "prompt": "more snow", **params})


def pixels_of(png):
    """The size and the pixels of an image; every checksum in it is looked at."""
    signature, rest = png[:8], png[8:]
    assert signature == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        body, (checksum,) = rest[4 : 8 + length], struct.unpack(">I", rest[8 + length : 12 + length])
        assert zlib.crc32(body) == checksum
        chunks[body[:4]] = body[4:]
        rest = rest[12 + length :]
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = zlib.decompress(chunks[b"IDAT"])
    assert len(rows) == height * (1 + 3 * width)
    return width, height, rows[1:4]


def test_an_image_is_at_its_url(client):
    """It is a PNG, for which no key is asked, and the same for the same prompt."""
    answer = generate(client, model=MODEL, size="1024x1024", quality="high")
    (item,) = answer.json()["data"]
    shown = httpx.get(item["url"], verify=False)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert pixels_of(shown.content)[:2] == (8, 8)
    assert generate(client).json()["data"] == [item]
    assert generate(client, "a hare").json()["data"] != [item]
    assert answer.headers["x-mesh-served-provider"] == "openai"
    assert (answer.json()["size"], answer.json()["quality"]) == ("1024x1024", "high")
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (2, 64, 66)


def test_base64_holds_the_same_image(client):
    """The colour is that of the file at the url."""
    (item,) = generate(client, response_format="b64_json").json()["data"]
    (there,) = generate(client).json()["data"]
    assert pixels_of(base64.b64decode(item["b64_json"])) == pixels_of(httpx.get(there["url"], verify=False).content)


def test_several_images_differ(client):
    """There are n of them, each of a colour of its own."""
    answer = generate(client, n=3).json()
    assert len({item["url"] for item in answer["data"]}) == 3
    assert answer["usage"]["completion_tokens"] == 192


@pytest.mark.parametrize("name", ["nothing", "12345", "GGGGGG"])
def test_other_images_are_not_found(client, name):
    """Only names that the gateway gives lead to one."""
    assert client.get(f"/images/{name}.png").status_code == 404


def test_a_stream_ends_with_the_image(client):
    """First it is being made, then come the partial images, and the last is what generate answers."""
    answer = generate(client, stream=True, partial_images=2, n=2)
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = chunks_of(answer)
    assert [chunk["status"] for chunk in chunks] == ["processing", "partial", "partial", "completed"]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("image.chunk", MODEL)}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [len(chunk["data"]) for chunk in chunks] == [0, 1, 1, 2]
    assert chunks[1]["data"] != chunks[2]["data"]
    assert chunks[-1]["data"] == generate(client, n=2).json()["data"]
    assert "usage" in chunks[-1]


def test_an_unfinished_stream_has_no_image(local_gateway, client):
    """The fault leaves the completed chunk out."""
    local_gateway.inject(Fault(finish=False))
    assert [chunk["status"] for chunk in chunks_of(generate(client, stream=True))] == ["processing"]


def test_an_edit_answers_like_a_generation(client):
    """The image given makes a difference."""
    answer = edit(client, n=2, response_format="b64_json").json()
    other = edit(client, n=2, response_format="b64_json", image={"url": "data:image/png;base64,BB=="}).json()
    assert len(answer["data"]) == len(other["data"]) == 2
    assert answer["data"][0] != other["data"][0]


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"prompt": None}, ["body", "prompt"], "string_type"),
        ({"prompt": ""}, ["body", "prompt"], "string_too_short"),
        ({"n": 11}, ["body", "n"], "less_than_equal"),
        ({"response_format": "gif"}, ["body", "response_format"], "literal_error"),
        ({"partial_images": 4}, ["body", "partial_images"], "less_than_equal"),
        ({"output_compression": 101}, ["body", "output_compression"], "less_than_equal"),
        ({"seed": -2}, ["body", "seed"], "greater_than_equal"),
        ({"guidance_scale": 0.5}, ["body", "guidance_scale"], "greater_than_equal"),
        ({"image": 1}, ["body", "image"], "union_type"),
    ],
)
def test_a_bad_generation_is_a_validation_error(client, params, loc, kind):
    """Each mistake is reported with the place where it is."""
    answer = client.post(GENERATIONS, json={"prompt": "a fox", **params})
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"model": None}, ["body", "model"], "string_type"),
        ({"image": 1}, ["body", "image"], "union_type"),
        ({"image": "https://example.com/a.png"}, ["body", "image"], "value_error"),
        ({"mask": {"url": "HTTP://example.com/a.png"}}, ["body", "mask"], "value_error"),
        ({"reference_images": [DATA_URL, "http://x"]}, ["body", "reference_images", 1], "value_error"),
        ({"operation": "erase"}, ["body", "operation"], "literal_error"),
        ({"operation": "inpaint"}, ["body", "mask"], "value_error"),
        ({"expand_factor": True}, ["body", "expand_factor"], "float_type"),
    ],
)
def test_a_bad_edit_is_a_validation_error(client, params, loc, kind):
    """So is an image from elsewhere, and inpainting without a mask."""
    answer = edit(client, **params)
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def test_an_edit_takes_all_it_can(client):
    """A mask, references, and a factor as a number or a text."""
    params = {"operation": "inpaint", "mask": DATA_URL, "reference_images": [{"url": DATA_URL}]}
    assert edit(client, **params, expand_factor=1.5).status_code == 200
    assert edit(client, **params, expand_factor="1.5").status_code == 200


def test_a_model_must_draw(client):
    """An unknown one is a 404, and one that chats a 422."""
    assert error_of(generate(client, model="openai/gpt-9"))["code"] == "model_not_found"
    assert error_of(generate(client, model="openai/gpt-4o"))["code"] == "unprocessable_entity"
    assert error_of(edit(client, model="openai/gpt-4o"))["code"] == "unprocessable_entity"


def test_the_official_sdk_draws(local_gateway):
    """Generation, stream and edit validate as its types, over both its clients."""
    arguments = {"base_url": local_gateway.base_url, "token": local_gateway.token}
    generation = meshapi.ImageGenerationParams(prompt="a fox", model=MODEL)
    editing = meshapi.ImageEditParams(model=MODEL, image=DATA_URL, response_format="b64_json")
    with meshapi.MeshAPI(**arguments) as sdk:
        generated = sdk.images.generate(generation)
        chunks = list(sdk.images.stream(generation))
        edited = sdk.images.edit(editing)

    async def draw_async():
        async with meshapi.AsyncMeshAPI(**arguments) as sdk:
            streamed = [chunk async for chunk in sdk.images.stream(generation)]
            return await sdk.images.generate(generation), streamed, await sdk.images.edit(editing)

    async_generated, async_chunks, async_edited = asyncio.run(draw_async())
    assert chunks[-1].data[0].url == generated.data[0].url == async_generated.data[0].url
    assert [chunk.status for chunk in async_chunks] == ["processing", "completed"]
    assert edited.data[0].b64_json == async_edited.data[0].b64_json
    assert generated.usage.total_tokens == 66


def test_openai_draws(local_gateway):
    """Its types take the answer; the chunks of a stream are not those of OpenAI, and come through as they are."""
    arguments = {"base_url": local_gateway.base_url + "/v1", "api_key": local_gateway.token}
    with openai.OpenAI(**arguments) as client:
        answer = client.images.generate(prompt="a fox", model=MODEL, response_format="b64_json")
        chunks = list(client.images.generate(prompt="a fox", model=MODEL, stream=True))
    assert pixels_of(base64.b64decode(answer.data[0].b64_json))[:2] == (8, 8)
    assert answer.usage.total_tokens == 66
    assert [chunk.status for chunk in chunks] == ["processing", "completed"]
