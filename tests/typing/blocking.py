"""What the type checkers make of the clients for blocking code; checked, never run."""

import dataclasses
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import httpx
import requests
from pydantic import BaseModel
from typing_extensions import TypedDict, assert_type

from meshapi_core import (
    AnswerList,
    BatchListResponse,
    BatchObject,
    BatchRequestItem,
    BatchResult,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    CompareParams,
    CompareResponse,
    CompareStreamEvent,
    EmbeddingsParams,
    FileContent,
    FileObject,
    Headers,
    ImageGenerationChunk,
    ImageGenerationParams,
    ImageGenerationResponse,
    ModelInfo,
    ModelSearchParams,
    ModelsPage,
    ParsedChatCompletion,
    ResponseHead,
    ResponsesListItem,
    ResponsesParams,
    ResponsesResponse,
    ResponsesStreamEvent,
    RetryPolicy,
    StructuredOutputError,
    TemplateSummary,
    Timeout,
)
from meshapi_transports.httpx import ChatMessage, Items, RateLimitError, Stream
from meshapi_transports.httpx import MeshAPI as OverHttpx
from meshapi_transports.requests import MeshAPI as OverRequests
from meshapi_transports.requests import Stream as RequestsStream

params = ChatCompletionParams(messages=[ChatMessage(role="user", content="hi")])

with OverHttpx(base_url="http://localhost", token="rsk_...", timeout=5.0, max_retries=2) as over_httpx:
    assert_type(over_httpx, OverHttpx)
    assert_type(over_httpx.chat.completions.create(params), ChatCompletionResponse)
    assert_type(over_httpx.chat.completions.stream(params), Stream[ChatCompletionChunk, ChatCompletionResponse])
    with over_httpx.chat.completions.stream(params, timeout=Timeout(idle=1.0)) as chunks:
        assert_type(chunks, Stream[ChatCompletionChunk, ChatCompletionResponse])
        assert_type(chunks.request_id, str)
        for chunk in chunks:
            assert_type(chunk, ChatCompletionChunk)

over_requests = OverRequests(session=requests.Session(), retry=RetryPolicy(max_retries=1), api_version=None)
assert_type(over_requests.chat.completions.create(params), ChatCompletionResponse)
assert_type(over_requests.chat.completions.stream(params), RequestsStream[ChatCompletionChunk, ChatCompletionResponse])

OverHttpx(httpx_client=httpx.Client(), default_headers={"X-Team": "search"})


def public_types_are_reexported(error: RateLimitError) -> None:
    """A type that comes by way of an adapter's module is the core's own, not Any."""
    assert_type(error.status, int)


class Weather(BaseModel):
    """A shape as a pydantic model."""

    degrees: int


@dataclasses.dataclass
class Wind:
    """A shape as a dataclass."""

    knots: int


class Rain(TypedDict):
    """A shape as a TypedDict."""

    millimetres: int


def streams(client: OverHttpx) -> None:
    """A stream is of its events, its text of texts, and what it collects is what the whole call gives."""
    with client.chat.completions.stream(params) as chunks:
        assert_type(chunks.text, Iterator[str])
        assert_type(list(chunks.text), List[str])
        assert_type(chunks.collect(), ChatCompletionResponse)
        assert_type(chunks.response, Optional[ResponseHead])
    responses = client.responses.stream(ResponsesParams(input="hi"))
    assert_type(responses, Stream[ResponsesStreamEvent, ResponsesResponse])
    assert_type(responses.collect().output_text, str)
    images = client.images.stream(ImageGenerationParams(prompt="a mesh"))
    assert_type(images, Stream[ImageGenerationChunk, ImageGenerationResponse])
    assert_type(images.collect(), ImageGenerationResponse)
    comparison = client.compare.stream(CompareParams(models=["a"], messages=params.messages))
    assert_type(next(comparison), CompareStreamEvent)
    assert_type(comparison.collect(), CompareResponse)


def items(client: OverHttpx, requests_of: Dict[str, BatchRequestItem]) -> None:
    """Items are of what is listed; leaving them early is a ``with`` statement."""
    assert_type(client.models.iterate(ModelSearchParams(q="gpt")), Items[ModelInfo])
    assert_type(list(client.responses.iterate(page_size=2)), List[ResponsesListItem])
    with client.batches.iterate() as batches:
        assert_type(batches, Items[BatchObject])
        assert_type(next(batches).status, Optional[str])
        assert_type(batches.request_id, str)
    for result in client.batches.results("batch_1", requests=requests_of):
        assert_type(result, BatchResult)
        assert_type(result.request, Optional[BatchRequestItem])
        assert_type(result.completion(), ChatCompletionResponse)
        assert_type(result.parse_body(ImageGenerationResponse), ImageGenerationResponse)


def lists(client: OverHttpx) -> None:
    """A list of answers is a list, and knows its request."""
    models = client.models.list(free=True, type="text")
    assert_type(models, AnswerList[ModelInfo])
    assert_type(models[0], ModelInfo)
    assert_type(models.request_id, str)
    assert_type(models.response_headers, Headers)
    assert_type(client.templates.list(), AnswerList[TemplateSummary])
    assert_type(client.models.search(), ModelsPage)
    assert_type(client.batches.list(limit=1).data, List[BatchObject])
    assert_type(client.batches.list(), BatchListResponse)


def parsed(client: OverHttpx, schema: Dict[str, Any]) -> None:
    """The value is of the shape that was asked for."""
    completion = client.chat.completions.parse(params, Weather, max_retries=1)
    assert_type(completion, ParsedChatCompletion[Weather])
    assert_type(completion.parsed, Weather)
    assert_type(completion.parsed.degrees, int)
    assert_type(completion.problem, Optional[StructuredOutputError])
    assert_type(client.chat.completions.parse(params, Wind).parsed, Wind)
    assert_type(client.chat.completions.parse(params, Rain).parsed, Rain)
    assert_type(client.chat.completions.parse(params, List[Weather]).parsed, List[Weather])
    by_schema: ParsedChatCompletion[Any] = client.chat.completions.parse(params, schema)
    assert_type(by_schema.parsed, Any)
    stream = client.chat.completions.parse_stream(params, Weather)
    assert_type(stream, Stream[ChatCompletionChunk, ParsedChatCompletion[Weather]])
    assert_type(next(stream), ChatCompletionChunk)
    assert_type(stream.collect().parsed, Weather)


def batches_from_end_to_end(client: OverHttpx, request: BatchRequestItem) -> None:
    """Requests are taken as they come; waiting gives the batch."""
    assert_type(client.batches.upload([request]), FileObject)
    client.batches.upload(Path("requests.jsonl"))
    client.batches.upload("requests.jsonl")
    client.batches.upload({"custom_id": str(number), "body": {"model": "a"}} for number in range(3))
    client.batches.upload([request, {"custom_id": "a", "body": {}}, "{}", b"{}"])
    with open("requests.jsonl", "rb") as file:
        client.batches.upload(file)
    batch = client.batches.wait("batch_1", poll_interval=1, on_progress=lambda seen: print(seen.status), timeout=60.0)
    assert_type(batch, BatchObject)
    assert_type(batch.request_id, str)
    content = client.files.content("file_1")
    assert_type(content, FileContent)
    assert_type(content.splitlines(), List[bytes])
    assert_type(content.request_id, str)
    vectors = client.embeddings.create(EmbeddingsParams(input="hi")).vectors()
    assert_type(vectors, List[List[float]])


def nothing_comes_of_a_deletion(client: OverHttpx) -> None:
    """What gives nothing is not to be used."""
    client.files.delete("file_1")
    client.templates.delete("template_1", max_retries=1)
