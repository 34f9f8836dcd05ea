"""The local gateway's embeddings, seen from outside: plain HTTP, the official SDK and openai."""

from __future__ import annotations

import asyncio
import base64
import math
import struct

import httpx
import meshapi
import openai
import pytest

from .test_gateway import authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

EMBEDDINGS = "/v1/embeddings"
MODEL = "openai/text-embedding-3-small"


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def embed(client, given, **params):
    return client.post(EMBEDDINGS, json={"input": given, **params})


def vectors_of(answer):
    items = answer.json()["data"]
    assert [item["index"] for item in items] == list(range(len(items)))
    return [item["embedding"] for item in items]


def test_the_same_input_has_the_same_vector(client):
    """It is of length 1 and not that of another input or model, and it comes with the usage."""
    answer = embed(client, ["hello big world", "other", "hello big world"], model=MODEL)
    first, other, again = vectors_of(answer)
    assert first == again
    assert first != other
    assert len(first) == 8
    assert math.hypot(*first) == pytest.approx(1)
    assert answer.json()["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (answer.json()["object"], answer.json()["model"]) == ("list", MODEL)
    assert answer.headers["x-mesh-served-provider"] == "openai"
    assert vectors_of(embed(client, "hello big world", model="google/multimodal-embedding")) != [first]
    assert vectors_of(embed(client, "hello big world")) == [first]


@pytest.mark.parametrize("dimensions", [1, 3, 1536])
def test_a_vector_has_the_dimensions_asked_for(client, dimensions):
    """And stays of length 1."""
    (vector,) = vectors_of(embed(client, "x", dimensions=dimensions))
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1)


def test_base64_holds_the_same_vector(client):
    """As little-endian floats of four bytes."""
    (vector,) = vectors_of(embed(client, "x", encoding_format="float"))
    (encoded,) = vectors_of(embed(client, "x", encoding_format="base64"))
    assert struct.unpack("<8f", base64.b64decode(encoded)) == pytest.approx(vector)


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [
        ("one two", 1, 2),
        (["one two"], 1, 2),
        ([7], 1, 1),
        (["one", "two three"], 2, 3),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
        (
            [
                {"type": "text", "text": "one two"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
            ],
            3,
            4,
        ),
    ],
)
def test_every_form_of_input_is_taken(client, given, count, tokens):
    """Text, texts, tokens, lists of tokens, and text and media by their type."""
    answer = embed(client, given)
    assert len({tuple(vector) for vector in vectors_of(answer)}) == count
    assert answer.json()["usage"]["total_tokens"] == tokens


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"input": None}, ["body", "input"], "union_type"),
        ({"input": ""}, ["body", "input"], "string_too_short"),
        ({"input": []}, ["body", "input"], "too_short"),
        ({"input": ["a", ""]}, ["body", "input", 1], "string_too_short"),
        ({"input": ["a", 1]}, ["body", "input"], "union_type"),
        ({"input": [[]]}, ["body", "input", 0], "too_short"),
        ({"input": [{"type": "text"}]}, ["body", "input", 0, "text"], "missing"),
        ({"dimensions": 0}, ["body", "dimensions"], "greater_than_equal"),
        ({"encoding_format": "hex"}, ["body", "encoding_format"], "literal_error"),
    ],
)
def test_a_bad_body_is_a_validation_error(client, params, loc, kind):
    """Each mistake is reported with the place where it is."""
    answer = client.post(EMBEDDINGS, json={"input": "x", **params})
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def test_a_model_must_embed(client):
    """An unknown one is a 404, and one that chats a 422."""
    assert error_of(embed(client, "x", model="openai/gpt-9"))["code"] == "model_not_found"
    assert error_of(embed(client, "x", model="openai/gpt-4o"))["code"] == "unprocessable_entity"


def test_the_official_sdk_embeds(local_gateway):
    """Its types take vectors as numbers and in base64, over both its clients."""
    arguments = {"base_url": local_gateway.base_url, "token": local_gateway.token}
    with meshapi.MeshAPI(**arguments) as sdk:
        numbers = sdk.embeddings.create(meshapi.EmbeddingsParams(input=["a", "b"], model=MODEL))

    async def embed_async():
        async with meshapi.AsyncMeshAPI(**arguments) as sdk:
            return await sdk.embeddings.create(meshapi.EmbeddingsParams(input="a", encoding_format="base64"))

    encoded = asyncio.run(embed_async())
    assert len(numbers.data[1].embedding) == 8
    assert numbers.usage.total_tokens == 2
    decoded = struct.unpack("<8f", base64.b64decode(encoded.data[0].embedding))
    assert decoded == pytest.approx(numbers.data[0].embedding)


def test_openai_embeds(local_gateway):
    """It asks for base64 by itself, and shows the numbers, over both its clients."""
    arguments = {"base_url": local_gateway.base_url + "/v1", "api_key": local_gateway.token}
    with openai.OpenAI(**arguments) as client:
        decoded = client.embeddings.create(model=MODEL, input="a")
        numbers = client.embeddings.create(model=MODEL, input="a", encoding_format="float", dimensions=8)

    async def embed_async():
        async with openai.AsyncOpenAI(**arguments) as client:
            return await client.embeddings.create(model=MODEL, input="a")

    assert local_gateway.requests[0].json()["encoding_format"] == "base64"
    assert decoded.data[0].embedding == pytest.approx(numbers.data[0].embedding)
    assert asyncio.run(embed_async()).data[0].embedding == decoded.data[0].embedding
