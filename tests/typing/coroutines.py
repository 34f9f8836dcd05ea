"""What the type checkers make of the clients for coroutines; checked, never run."""

from pathlib import Path
from typing import AsyncIterator, List, Optional

import aiohttp
import httpx
from pydantic import BaseModel
from typing_extensions import assert_type

from meshapi_core import (
    AnswerList,
    BatchObject,
    BatchRequestItem,
    BatchResult,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    CompareParams,
    CompareResponse,
    FileContent,
    FileObject,
    ImageGenerationParams,
    ImageGenerationResponse,
    ModelInfo,
    ParsedChatCompletion,
    ResponsesListItem,
    ResponsesParams,
    ResponsesResponse,
    ResponsesStreamEvent,
)
from meshapi_transports.aiohttp import AsyncMeshAPI as OverAiohttp
from meshapi_transports.aiohttp import ChatMessage, MeshAPIError
from meshapi_transports.httpx import AsyncMeshAPI as OverHttpx
from meshapi_transports.trio import AsyncItems, AsyncStream, ConnectionPool
from meshapi_transports.trio import AsyncMeshAPI as OverTrio

params = ChatCompletionParams(messages=[ChatMessage(role="user", content="hi")])


async def over_each_library(session: aiohttp.ClientSession) -> None:
    """The same types come back, whatever carries the bytes."""
    async with OverAiohttp(session=session, token="rsk_...") as over_aiohttp:
        assert_type(over_aiohttp, OverAiohttp)
        assert_type(await over_aiohttp.chat.completions.create(params), ChatCompletionResponse)
        assert_type(
            over_aiohttp.chat.completions.stream(params), AsyncStream[ChatCompletionChunk, ChatCompletionResponse]
        )
    over_httpx = OverHttpx(async_httpx_client=httpx.AsyncClient(), timeout=None)
    assert_type(await over_httpx.chat.completions.create(params, request_id="mine"), ChatCompletionResponse)
    over_trio = OverTrio(pool=ConnectionPool(max_connections=5))
    async with over_trio.chat.completions.stream(params) as chunks:
        assert_type(chunks, AsyncStream[ChatCompletionChunk, ChatCompletionResponse])
        async for chunk in chunks:
            assert_type(chunk, ChatCompletionChunk)


def public_types_are_reexported(error: MeshAPIError) -> None:
    """A type that comes by way of an adapter's module is the core's own, not Any."""
    assert_type(error.request_id, str)


class Weather(BaseModel):
    """A shape as a pydantic model."""

    degrees: int


async def streams(client: OverTrio) -> None:
    """A stream is of its events, its text of texts, and what it collects is awaited."""
    async with client.chat.completions.stream(params) as chunks:
        assert_type(chunks.text, AsyncIterator[str])
        async for piece in chunks.text:
            assert_type(piece, str)
        assert_type(await chunks.collect(), ChatCompletionResponse)
    responses = client.responses.stream(ResponsesParams(input="hi"))
    assert_type(responses, AsyncStream[ResponsesStreamEvent, ResponsesResponse])
    assert_type((await responses.collect()).output_text, str)
    assert_type(await client.images.stream(ImageGenerationParams(prompt="a")).collect(), ImageGenerationResponse)
    comparison = client.compare.stream(CompareParams(models=["a"], messages=params.messages))
    assert_type(await comparison.collect(), CompareResponse)


async def items(client: OverTrio) -> None:
    """Items are not awaited themselves; leaving them early is an ``async with`` statement."""
    async with client.batches.iterate(page_size=2) as batches:
        assert_type(batches, AsyncItems[BatchObject])
        async for batch in batches:
            assert_type(batch, BatchObject)
    assert_type([each async for each in client.models.iterate()], List[ModelInfo])
    assert_type(await client.responses.iterate().__anext__(), ResponsesListItem)
    async for result in client.batches.results(batch=BatchObject(), requests={}):
        assert_type(result, BatchResult)
        assert_type(result.request, Optional[BatchRequestItem])


async def whole_answers(client: OverTrio) -> None:
    """Whatever comes at once is awaited."""
    assert_type(await client.models.free(), AnswerList[ModelInfo])
    assert_type(await client.batches.upload(Path("requests.jsonl")), FileObject)
    assert_type(await client.files.content("file_1"), FileContent)
    assert_type(await client.batches.wait("batch_1", poll_interval=0.5), BatchObject)
    completion = await client.chat.completions.parse(params, Weather)
    assert_type(completion, ParsedChatCompletion[Weather])
    assert_type(completion.parsed, Weather)
    stream = client.chat.completions.parse_stream(params, List[Weather])
    assert_type(stream, AsyncStream[ChatCompletionChunk, ParsedChatCompletion[List[Weather]]])
    assert_type((await stream.collect()).parsed, List[Weather])
    await client.templates.delete("template_1")
