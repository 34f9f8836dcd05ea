"""What the type checkers make of the clients for blocking code; checked, never run."""

import httpx
import requests
from typing_extensions import assert_type

from meshapi_core import ChatCompletionChunk, ChatCompletionParams, ChatCompletionResponse, RetryPolicy, Timeout
from meshapi_transports.httpx import ChatMessage, RateLimitError, Stream
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
