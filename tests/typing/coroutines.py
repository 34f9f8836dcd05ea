"""What the type checkers make of the clients for coroutines; checked, never run."""

import aiohttp
import httpx
from typing_extensions import assert_type

from meshapi_core import ChatCompletionChunk, ChatCompletionParams, ChatCompletionResponse
from meshapi_transports.aiohttp import AsyncMeshAPI as OverAiohttp
from meshapi_transports.aiohttp import ChatMessage, MeshAPIError
from meshapi_transports.httpx import AsyncMeshAPI as OverHttpx
from meshapi_transports.trio import AsyncMeshAPI as OverTrio
from meshapi_transports.trio import AsyncStream, ConnectionPool

params = ChatCompletionParams(messages=[ChatMessage(role="user", content="hi")])


async def over_each_library(session: aiohttp.ClientSession) -> None:
    """The same types come back, whatever carries the bytes."""
    async with OverAiohttp(session=session, token="rsk_...") as over_aiohttp:
        assert_type(over_aiohttp, OverAiohttp)
        assert_type(await over_aiohttp.chat.completions.create(params), ChatCompletionResponse)
        assert_type(over_aiohttp.chat.completions.stream(params), AsyncStream[ChatCompletionChunk, ChatCompletionResponse])
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
