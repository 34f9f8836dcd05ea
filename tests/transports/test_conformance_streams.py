"""Streams that put themselves together, and the text alone, on every face over real sockets."""

from __future__ import annotations

import json
import threading

import pytest

from meshapi_core import (
    APITimeoutError,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    CompareParams,
    CompareResponse,
    ImageGenerationParams,
    ImageGenerationResponse,
    InternalServerError,
    LocalProtocolError,
    ResponsesFunctionTool,
    ResponsesParams,
    ResponsesResponse,
    StreamInterruptedError,
    Tool,
    ToolFunction,
)
from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    chat_answer,
    chat_chunk,
    chat_stream,
    http_chunk,
    replies,
    sse_event,
    stream_head,
)

from .faces import PARAMS, ask, failure, in_short_time, read, read_to_failure, stream
from .test_conformance_connections import CANCELS, async_faces, endless, skip_foreign, until_open

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

SAID = "You said: Say hello"
ASKED = [ChatMessage(role="user", content="Say hello")]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city", "days"],
}
TOOL = ToolFunction(name="forecast", parameters=SCHEMA)


@pytest.fixture
def gateway():
    with LocalGateway() as gateway:
        yield gateway


def over(face, gateway, **options):
    """A client of the local gateway."""
    return face.client(gateway.base_url, token=gateway.token, **options)


# The whole


def without_names(value):
    """`value` without ids, times and milliseconds, which are another's with each request."""
    if isinstance(value, dict):
        return {
            name: without_names(each) for name, each in value.items() if not name.endswith(("id", "created", "_at"))
        }
    return [without_names(each) for each in value] if isinstance(value, list) else value


WHOLES = {
    "chat": ("chat.completions", PARAMS),
    "chat with tools": (
        "chat.completions",
        ChatCompletionParams(messages=ASKED, tools=[Tool(type="function", function=TOOL)]),
    ),
    "responses": ("responses", ResponsesParams(input="Say hello")),
    "responses with tools": (
        "responses",
        ResponsesParams(input="Say hello", tools=[ResponsesFunctionTool(name="forecast", parameters=SCHEMA)]),
    ),
    "responses cut short": ("responses", ResponsesParams(input="Say hello", max_output_tokens=1)),
    "compare": ("compare", CompareParams(models=["openai/gpt-4o-mini", "local/echo"], messages=ASKED)),
}


# Not every stream tells all that is in the whole answer.
LEAST = {
    ChatCompletionResponse: {"object", "model", "choices", "usage"},
    ResponsesResponse: {"object", "model", "status", "output", "usage"},
    CompareResponse: {"object", "models", "results", "comparison", "comparison_model", "total_latency_ms", "partial"},
}


@pytest.mark.parametrize("what", WHOLES)
async def test_collected_stream_is_the_whole_answer(face, gateway, what):
    """What a stream collects is what the method without streaming gives, field by field."""
    path, params = WHOLES[what]
    async with over(face, gateway) as client:
        resource = client
        for name in path.split("."):
            resource = getattr(resource, name)
        whole = await resource.create(params)
        collected = await resource.stream(params).collect()
        assert type(collected) is type(whole)
        told = without_names(collected.model_dump(exclude_none=True))
        wanted = without_names(whole.model_dump(exclude_none=True))
        assert told.keys() >= LEAST[type(whole)]
        assert told == {name: wanted[name] for name in told}
        assert collected.request_id
        assert collected.response_headers["content-type"].startswith("text/event-stream")


async def test_collected_tool_calls(face, gateway):
    """The fragments of a tool call are put together to its arguments, which can be sent back as they are."""
    _, params = WHOLES["chat with tools"]
    async with over(face, gateway) as client:
        chunks = stream_of(client, params)
        message = (await chunks.collect()).choices[0].message
        (call,) = message.tool_calls
        assert (message.content, call.function.name) == (None, "forecast")
        assert set(json.loads(call.function.arguments)) == {"city", "days"}
        told = [*ASKED, message.as_message(), ChatMessage(role="tool", tool_call_id=call.id, content="rain")]
        assert "rain" in await ask_about(client, params.model_copy(update={"messages": told}))


def stream_of(client, params):
    return client.chat.completions.stream(params)


async def ask_about(client, params):
    return (await stream_of(client, params).collect()).choices[0].message.content


async def test_collected_comparison_without_a_verdict(face, gateway):
    """Words that come from several models in turn are put together model by model, and so are their errors."""
    params = CompareParams(models=["local/echo", "no/such", "openai/gpt-4o"], messages=ASKED, skip_comparison=True)
    async with over(face, gateway) as client:
        comparison = await client.compare.stream(params).collect()
    assert comparison.models == params.models
    found = {result.model: (result.content, result.error_code) for result in comparison.results}
    assert found == {"local/echo": (SAID, None), "no/such": (None, "model_not_found"), "openai/gpt-4o": (SAID, None)}
    assert (comparison.comparison, comparison.partial, comparison.skip_comparison) == (None, True, True)


async def test_collected_images(face, gateway):
    """Of an image that is drawn step by step, the finished one alone is collected."""
    params = ImageGenerationParams(prompt="a mesh", partial_images=3, response_format="b64_json")
    async with over(face, gateway) as client:
        answer = await client.images.stream(params).collect()
        drawn = await client.images.generate(params)
    assert type(answer) is ImageGenerationResponse
    assert [item.b64_json for item in answer.data] == [item.b64_json for item in drawn.data]


async def test_collecting_after_half_was_read(face, gateway):
    """What was taken before belongs to the whole; the stream is over then, and can be collected again."""
    async with over(face, gateway) as client, stream(client) as chunks:
        for _ in range(3):
            await chunks.__anext__()
        completion = await chunks.collect()
        assert completion.choices[0].message.content == SAID
        assert completion.usage.total_tokens == 6
        assert [chunk async for chunk in chunks] == []
        assert (await chunks.collect()) == completion
        assert len(gateway.requests) == 1


async def test_collecting_after_everything_was_read(face, gateway):
    """A stream that was read to its end, and left, can still be collected."""
    async with over(face, gateway) as client:
        async with stream(client) as chunks:
            assert await read(chunks) == SAID
        assert (await chunks.collect()).choices[0].message.content == SAID
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_collecting_a_closed_stream(face, begun):
    """A stream that was closed before its end has no whole, and says whose mistake that is; it sends nothing."""
    with RawServer(replies(endless)) as server:
        async with face.client(server) as client:
            chunks = stream(client)
            if begun:
                await chunks.__anext__()
            await chunks.aclose()
            for _ in range(2):
                with pytest.raises(LocalProtocolError):
                    await chunks.collect()
            assert len(server.requests) == begun


async def test_collecting_what_was_closed_before_it_was_read(face):
    """It is the caller who has not come to the end, even if all of the stream had arrived when it was closed."""
    with RawServer(replies(chat_stream("Hel", "lo"))) as server:
        async with face.client(server) as client:
            chunks = stream(client)
            await chunks.__anext__()
            await chunks.aclose()
            with pytest.raises(LocalProtocolError):
                await chunks.collect()


async def test_collecting_gives_the_connection_back(face):
    """A stream that was collected leaves its connection to the next call."""
    with RawServer(replies(chat_stream("Hi"), chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            assert (await stream(client).collect()).choices[0].message.content == "Hi"
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 1


# The text alone


@pytest.mark.parametrize(
    "make",
    [lambda client: stream(client), lambda client: client.responses.stream(ResponsesParams(input="Say hello"))],
    ids=["chat", "responses"],
)
async def test_text(face, gateway, make):
    """The text comes piece by piece, without empty ones; afterwards the whole can be collected."""
    async with over(face, gateway) as client, make(client) as events:
        pieces = [piece async for piece in events.text]
        assert "".join(pieces) == SAID
        assert len(pieces) == 4
        assert all(type(piece) is str and piece for piece in pieces)
        assert type(await events.collect()) in (ChatCompletionResponse, ResponsesResponse)
        assert len(gateway.requests) == 1


async def test_text_goes_on_where_the_events_stopped(face):
    """Events and text are one stream: what was taken as the one does not come as the other."""
    with RawServer(replies(chat_stream("a", "b", "c", "d"))) as server:
        async with face.client(server) as client, stream(client) as chunks:
            await chunks.__anext__()
            async for piece in chunks.text:
                assert piece == "b"
                break
            assert (await chunks.__anext__()).choices[0].delta.content == "c"
            assert [piece async for piece in chunks.text] == ["d"]


async def test_text_of_a_stream_without_any(face, gateway):
    """Events that have no text say so at the first of them; left then, the stream leaves nothing open."""
    async with over(face, gateway) as client:
        for events in (
            client.images.stream(ImageGenerationParams(prompt="a mesh")),
            client.compare.stream(CompareParams(models=["local/echo"], messages=ASKED)),
        ):
            async with events:
                text = events.text
                with pytest.raises(TypeError, match="has no text"):
                    await text.__anext__()
        assert len(gateway.requests) == 2


async def test_text_before_an_error(face):
    """The text that had come is delivered before the error that ended the stream."""
    with RawServer(replies(broken(sse_event(chat_chunk("Hel")), sse_event(chat_chunk("lo"))))) as server:
        async with face.client(server) as client, stream(client) as chunks:
            pieces = []

            async def read_on():
                async for piece in chunks.text:
                    pieces.append(piece)

            error = await failure(read_on())
            assert "".join(pieces) == "Hello"
            assert type(error) is StreamInterruptedError
            assert error.partial.choices[0].message.content == "Hello"


# Streams that fail


def broken(*events, by="reset"):
    """A stream of `events` that then breaks."""

    def reply(connection, request):
        connection.send(stream_head("X-Request-Id: broken"), *map(http_chunk, events))
        if by == "stall":
            connection.wait_closed()
        elif by == "end":
            connection.send(LAST_CHUNK)
        else:
            getattr(connection, by)()

    return reply


FRAME = sse_event({"error": {"code": "upstream_error", "message": "no more"}})
EVENTS = [sse_event(chat_chunk("Hel")), sse_event(chat_chunk("lo"))]
BREAKS = {
    "closed": (broken(*EVENTS, by="close"), StreamInterruptedError),
    "ended": (broken(*EVENTS, by="end"), StreamInterruptedError),
    "stalled": (broken(*EVENTS, by="stall"), APITimeoutError),
    "told": (broken(*EVENTS, FRAME, by="stall"), InternalServerError),
}


@pytest.mark.parametrize("how", BREAKS)
@in_short_time
async def test_collecting_a_stream_that_breaks(face, how, seconds):
    """However a stream ends before its time, what had come is on the error, which is raised each time."""
    reply, kind = BREAKS[how]
    with RawServer(replies(reply)) as server:
        async with face.client(server, timeout=seconds if how == "stalled" else 5.0) as client:
            chunks = stream(client)
            error = await failure(chunks.collect())
            assert type(error) is kind
            assert type(error.partial) is ChatCompletionResponse
            assert error.partial.choices[0].message.content == "Hello"
            assert error.partial.choices[0].finish_reason is None
            assert error.request_id == error.partial.request_id == chunks.request_id == "broken"
            assert await failure(chunks.collect()) is error
            assert await read_to_failure(chunks) is error
            # What ended in order can bring another answer.
            await until_open(server, 1 if how == "ended" else 0)
            assert len(server.requests) == 1


async def test_collecting_what_was_refused(face, gateway):
    """A stream that the gateway refused has nothing to be collected: the error is that of any call."""
    gateway.inject(Fault(status=503))
    async with over(face, gateway) as client:
        error = await failure(stream(client).collect())
        assert (type(error), error.partial) == (InternalServerError, None)
        assert len(gateway.requests) == 1


def responses(client):
    return client.responses.stream(ResponsesParams(input="Say hello"))


def responses_with_tools(client):
    return client.responses.stream(WHOLES["responses with tools"][1])


def is_a_call(item):
    return (item["type"], item["name"], set(json.loads(item["arguments"]))) == (
        "function_call",
        "forecast",
        {"city", "days"},
    )


def compare(client):
    return client.compare.stream(CompareParams(models=["openai/gpt-4o-mini", "local/echo"], messages=ASKED))


def images(client):
    return client.images.stream(ImageGenerationParams(prompt="a mesh", partial_images=1))


@pytest.mark.parametrize(
    ("make", "of"),
    [
        (responses, lambda partial: partial.output_text == SAID),
        (responses_with_tools, lambda partial: is_a_call(*partial.output)),
        (compare, lambda partial: [result.content for result in partial.results] == [SAID, SAID]),
        (images, lambda partial: partial.data[0].url),
    ],
    ids=["responses", "responses with tools", "compare", "images"],
)
async def test_partial_of_other_streams(face, gateway, make, of):
    """Other streams, too, leave on the error what they amount to as far as they came."""
    gateway.inject(Fault(finish=False))
    async with over(face, gateway) as client:
        error = await failure(make(client).collect())
    assert type(error) is StreamInterruptedError
    assert of(error.partial)
    assert error.partial.request_id == error.request_id


@async_faces
@CANCELS
async def test_cancelled_while_collecting(face, cancel):
    """A task that is cancelled while it collects ends there; nothing stays open, and the client works on."""
    skip_foreign(face, cancel)
    reached = threading.Event()

    def stall(connection, request):
        connection.send(stream_head(), http_chunk(EVENTS[0]))
        reached.set()
        connection.wait_closed()

    with RawServer(replies(stall, chat_answer("Hi"))) as server:
        async with face.client(server) as client:

            async def call():
                await stream(client).collect()
                pytest.fail("it went on")

            await cancel(call, reached)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2
