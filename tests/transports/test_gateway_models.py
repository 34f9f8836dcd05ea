"""The search through the local gateway's models, seen from outside: plain HTTP and the official SDK."""

from __future__ import annotations

import asyncio

import httpx
import meshapi
import openai
import pytest

from .test_gateway import authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

SEARCH = "/v1/models/search"


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def ids_of(answer):
    return [model["id"] for model in answer.json()["items"]]


def test_a_search_for_nothing_finds_everything(client):
    """The page says how many there are, and which brands there are to choose from."""
    everything = [model["id"] for model in client.get("/v1/models").json()]
    answer = client.get(SEARCH)
    assert ids_of(answer) == everything
    assert len(everything) == 12
    page = answer.json()
    assert (page["total"], page["limit"], page["offset"]) == (12, 20, 0)
    assert page["brands"] == ["anthropic", "google", "local", "meta", "mistral", "openai"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("q=CLAUDE", ["anthropic/claude-sonnet-4.5", "anthropic/claude-haiku-4.5"]),
        ("q=mini+gpt", ["openai/gpt-4o-mini"]),
        ("q=Gemini+Flash", ["google/gemini-2.5-flash"]),
        ("q=nonsense", []),
        ("free=true", ["meta/llama-3.3-70b-instruct:free", "local/echo"]),
        ("free=false&brand=mistral&brand=local", ["mistral/mistral-small-3.2"]),
        ("discounted=true", ["openai/gpt-5-nano", "anthropic/claude-haiku-4.5"]),
        ("discounted=false&brand=anthropic", ["anthropic/claude-sonnet-4.5"]),
        ("output_modality=image", ["openai/gpt-image-1"]),
        (
            "output_modality=image&output_modality=embedding&input_modality=image",
            ["google/multimodal-embedding", "openai/gpt-image-1"],
        ),
    ],
)
def test_a_search_leaves_out_what_does_not_match(client, query, ids):
    """Every word must be found, a filter may be given several times, and all of them combine."""
    answer = client.get(f"{SEARCH}?{query}")
    assert ids_of(answer) == ids
    assert answer.json()["total"] == len(ids)


def test_a_search_sorts(client):
    """By each of the keys, both ways; a model without the key is the smallest."""
    for key in ("brand", "name", "id"):
        values = [model[key] for model in client.get(SEARCH, params={"sort": key}).json()["items"]]
        assert values == sorted(values)
    params = {"sort": "context_length", "order": "desc"}
    sizes = [model.get("context_length", 0) for model in client.get(SEARCH, params=params).json()["items"]]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (1_048_576, 0)


def test_a_search_is_answered_page_by_page(client):
    """A limit and an offset cut a page out, and the total stays."""
    everything = ids_of(client.get(SEARCH))
    pages = [client.get(SEARCH, params={"limit": 5, "offset": offset}) for offset in (0, 5, 10, 15)]
    assert [len(ids_of(page)) for page in pages] == [5, 5, 2, 0]
    assert [each for page in pages for each in ids_of(page)] == everything
    assert {page.json()["total"] for page in pages} == {12}
    assert (pages[1].json()["limit"], pages[1].json()["offset"]) == (5, 5)


@pytest.mark.parametrize(
    "query",
    [
        "free=yes",
        "discounted=1",
        "sort=price",
        "order=up",
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=" + "9" * 5000,
        "offset=-1",
    ],
)
def test_a_search_that_cannot_be_is_refused(client, query):
    """The error points at the parameter."""
    answer = client.get(f"{SEARCH}?{query}")
    assert answer.status_code == 422
    assert error_of(answer)["details"][0]["loc"] == ["query", query.split("=")[0]]


def test_the_official_sdk_searches(local_gateway):
    """Lists and booleans arrive as it sends them, over both its clients; ids with signs in them are found."""
    arguments = {"base_url": local_gateway.base_url, "token": local_gateway.token}
    params = meshapi.ModelSearchParams(free=False, brand=["openai", "google"], sort="name", order="desc", limit=2)
    with meshapi.MeshAPI(**arguments) as sdk:
        page = sdk.models.search(params)
        free = sdk.models.get("meta/llama-3.3-70b-instruct:free")

    async def search_async():
        async with meshapi.AsyncMeshAPI(**arguments) as sdk:
            return await sdk.models.search(params), await sdk.models.free()

    async_page, async_free = asyncio.run(search_async())
    assert [model.name for model in page.items] == ["Text Embedding 3 Small", "Multimodal Embedding"]
    assert page.total == 7
    assert async_page == page
    assert free.id in [model.id for model in async_free]


def test_openai_finds_one_model_and_cannot_list_them(local_gateway):
    """It wants the list within an object, and the gateway's list is an array."""
    with openai.OpenAI(base_url=local_gateway.base_url + "/v1", api_key=local_gateway.token) as client:
        assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
        with pytest.raises(AttributeError):
            client.models.list()
