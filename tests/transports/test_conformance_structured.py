"""Answers of a wanted shape: parsed, sent back to be corrected, streamed, on every face over real sockets."""

from __future__ import annotations

import dataclasses
import json
from typing import List

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from meshapi_core import (
    APITimeoutError,
    ChatCompletionParams,
    ChatMessage,
    ParsedChatCompletion,
    ResponseParseError,
    RetryPolicy,
    StreamInterruptedError,
    StructuredOutputError,
    Timeout,
    Tool,
    ToolFunction,
)
from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing.raw import (
    RawServer,
    answer,
    chat_answer,
    chat_chunk,
    chat_completion,
    chat_stream,
    http_chunk,
    replies,
    sse_event,
    stream_head,
)

from .conftest import BOTH_COLOURS
from .faces import PARAMS, RecordingPolicy, ask, failure, in_short_time, read, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]


class Model(BaseModel):
    """A shape as a pydantic model."""

    city: str
    degrees: int


@dataclasses.dataclass
class Dataclass:
    """The same as a dataclass."""

    city: str
    degrees: int


class Typed(TypedDict):
    """The same as a TypedDict."""

    city: str
    degrees: int


SCHEMA = {
    "title": "Weather",
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
}
FIELDS = {"city": "Oslo", "degrees": 3}
GOOD = json.dumps(FIELDS)
WRONG = json.dumps({"city": "Oslo", "degrees": "cold"})


def parse(client, shape=Model, params=PARAMS, **options):
    """``chat.completions.parse``."""
    return client.chat.completions.parse(params, shape, **options)


def parse_stream(client, shape=Model, params=PARAMS, **options):
    """``chat.completions.parse_stream``."""
    return client.chat.completions.parse_stream(params, shape, **options)


# Shapes


SHAPES = {
    "model": (Model, GOOD, Model(**FIELDS)),
    "dataclass": (Dataclass, GOOD, Dataclass(**FIELDS)),
    "TypedDict": (Typed, GOOD, FIELDS),
    "schema": (SCHEMA, GOOD, FIELDS),
    "list": (List[Model], json.dumps({"value": [FIELDS]}), [Model(**FIELDS)]),
    "number": (int, '{"value": 3}', 3),
    "null": (type(None), '{"value": null}', None),
    "fenced": (Model, f"```json\n{GOOD}\n```", Model(**FIELDS)),
}


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_shapes(face, shape, way):
    """The model is asked for the shape's schema, and what it answers comes as a value of that shape."""
    wanted, text, value = SHAPES[shape]
    with RawServer(replies(chat_answer(text) if way == "whole" else chat_stream(text[:7], text[7:]))) as server:
        async with face.client(server) as client:
            if way == "whole":
                completion = await parse(client, wanted)
            else:
                completion = await parse_stream(client, wanted).collect()
            body = server.requests[0].json()
    assert type(completion) is ParsedChatCompletion
    assert (completion.parsed, completion.problem) == (value, None)
    assert type(completion.parsed) is type(value)
    assert completion.choices[0].message.content == text
    assert body["stream"] == (way == "streamed")
    assert body["response_format"]["type"] == "json_schema"
    about = body["response_format"]["json_schema"]
    assert about["schema"]["type"] == "object"
    assert about["strict"] == (wanted is not SCHEMA)
    if shape in ("list", "number", "null"):
        assert about["schema"]["required"] == ["value"]
    else:
        assert set(about["schema"]["properties"]) == {"city", "degrees"}


async def test_shape_that_the_gateway_makes_up(face):
    """The schema is one that a gateway understands: nested models, lists, optional fields and all."""

    class Day(BaseModel):
        name: str
        rain: bool

    class Week(BaseModel):
        days: List[Day]
        best: Day
        note: str = "none"

    with LocalGateway() as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            completion = await parse(client, Week)
            streamed = await parse_stream(client, Week).collect()
    assert type(completion.parsed) is type(streamed.parsed) is Week
    assert completion.parsed == streamed.parsed


# Corrections


def messages_of(request):
    return [(message["role"], message["content"]) for message in request.json()["messages"]]


async def test_wrong_answer_is_sent_back(face):
    """A wrong answer goes back to the model with what is wrong about it, as often as was asked for."""
    script = replies(chat_answer(WRONG), chat_answer("Sorry?"), chat_answer(GOOD, "X-Request-Id: third"))
    with RawServer(script) as server:
        async with face.client(server) as client:
            completion = await parse(client, max_retries=2)
            assert completion.parsed == Model(**FIELDS)
            assert completion.request_id == "third"
            assert server.accepted == 1
            first, second, third = server.requests
    asked = [("user", "Say hello")]
    assert messages_of(first) == asked
    assert messages_of(second)[:2] == [*asked, ("assistant", WRONG)]
    role, told = messages_of(second)[2]
    assert role == "user"
    assert "degrees" in told
    assert messages_of(third)[:4] == [*messages_of(second), ("assistant", "Sorry?")]
    assert "JSON" in messages_of(third)[4][1]
    assert len({json.dumps(each.json()["response_format"]) for each in server.requests}) == 1


@pytest.mark.parametrize("options", [{}, {"max_retries": 0}, {"max_retries": 1}], ids=str)
async def test_answer_that_stays_wrong(face, options):
    """Once it has been sent back as often as was asked for, by default never, a wrong answer is an error that tells."""
    asked = 1 + options.get("max_retries", 0)
    with RawServer(replies(*[chat_answer(WRONG, "X-Request-Id: wrong")] * asked, chat_answer(GOOD))) as server:
        async with face.client(server) as client:
            error = await failure(parse(client, **options))
            assert len(server.requests) == asked
            assert await ask(client, "create") == GOOD
    assert type(error) is StructuredOutputError
    assert isinstance(error, ResponseParseError)
    assert (error.text, error.is_correctable, error.error_code) == (WRONG, True, "parse_error")
    assert (error.status, error.request_id) == (200, "wrong")
    assert [detail["loc"] for detail in error.details] == [["degrees"]]
    assert error.partial.choices[0].message.content == WRONG
    assert "degrees" in error.message
    assert "degrees" in error.correction()


def finished(text, finish_reason, **message):
    """An answer that ended for `finish_reason`."""
    completion = chat_completion(text)
    completion["choices"][0]["finish_reason"] = finish_reason
    completion["choices"][0]["message"].update(message)
    return answer(json.dumps(completion).encode())


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (finished(GOOD[:9], "length"), "max_tokens"),
        (finished("", "stop"), "nothing"),
        (finished(None, "content_filter"), "content_filter"),
        (finished(None, "stop", refusal="I would rather not"), "rather not"),
        (answer(b'{"choices": []}'), "nothing"),
    ],
    ids=["cut off", "empty", "filtered", "refused", "no choice"],
)
async def test_answer_that_cannot_be_corrected(face, reply, word):
    """What no correction would help is not sent back."""
    with RawServer(replies(reply)) as server:
        async with face.client(server) as client:
            error = await failure(parse(client, max_retries=3))
            assert len(server.requests) == 1
    assert (type(error), error.is_correctable) == (StructuredOutputError, False)
    assert word in error.message


async def test_requests_are_retried_beside_corrections(face):
    """A request that fails is tried again as the policy says; that is no correction, and counts for none."""
    policy = RecordingPolicy(max_retries=1)
    busy = answer(b"{}", 503)
    with RawServer(replies(busy, chat_answer(WRONG), busy, chat_answer(GOOD))) as server:
        async with face.client(server) as client:
            completion = await parse(client, max_retries=1, retry=policy)
            assert completion.parsed == Model(**FIELDS)
            assert [len(messages_of(request)) for request in server.requests] == [1, 1, 3, 3]
    assert [outcome.status for outcome in policy.outcomes] == [503, 503]


@in_short_time
async def test_time_for_corrections(face, seconds):
    """The total time is that of all corrections together."""

    def stall(connection, request):
        connection.wait_closed()

    with RawServer(replies(chat_answer(WRONG), stall)) as server:
        async with face.client(server) as client:
            error = await failure(parse(client, max_retries=5, timeout=Timeout(total=seconds)))
            assert type(error) is APITimeoutError
            assert len(server.requests) == 2


# Tools


TOOLS = ChatCompletionParams(
    messages=[ChatMessage(role="user", content="Say hello")],
    tools=[Tool(type="function", function=ToolFunction(name="look", parameters={"type": "object", "properties": {}}))],
)


@pytest.mark.parametrize("way", ["whole", "streamed"])
async def test_tools_are_called_instead(face, way):
    """A model that wants tools called first is no error; there is no value yet, and whoever asks for it is told why."""
    with LocalGateway() as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            if way == "whole":
                completion = await parse(client, params=TOOLS, max_retries=2)
            else:
                completion = await parse_stream(client, params=TOOLS).collect()
            assert len(gateway.requests) == 1
            message = completion.choices[0].message
            assert message.tool_calls[0].function.name == "look"
            with pytest.raises(StructuredOutputError, match="tools"):
                completion.parsed  # noqa: B018 - it raises
            assert completion.problem.is_correctable is False
            result = ChatMessage(role="tool", tool_call_id=message.tool_calls[0].id, content="seen")
            told = TOOLS.model_copy(update={"messages": [*TOOLS.messages, message.as_message(), result]})
            assert type((await parse(client, params=told)).parsed) is Model


# Streams


async def test_parsed_stream(face):
    """The chunks and the text come as they do; the value comes in the end."""
    with RawServer(replies(chat_stream(GOOD[:5], GOOD[5:], fields=["X-Request-Id: streamed"]))) as server:
        async with face.client(server) as client:
            async with parse_stream(client) as chunks:
                first = text_of([await chunks.__anext__()])
                rest = [piece async for piece in chunks.text]
                completion = await chunks.collect()
            assert [first, *rest] == [GOOD[:5], GOOD[5:]]
            assert completion.parsed == Model(**FIELDS)
            assert completion.request_id == "streamed"
            assert await read(parse_stream(client)) == GOOD


async def test_parsed_stream_of_another_shape(face):
    """A stream of another shape is read to its end like any; the completion then tells that it has no such value."""
    with RawServer(replies(chat_stream(WRONG))) as server:
        async with face.client(server) as client:
            completion = await parse_stream(client).collect()
            assert len(server.requests) == 1
    assert completion.choices[0].message.content == WRONG
    assert completion.problem.text == WRONG
    for _ in range(2):
        with pytest.raises(StructuredOutputError, match="degrees") as caught:
            completion.parsed  # noqa: B018 - it raises
        assert caught.value is completion.problem


async def test_parsed_stream_that_breaks(face):
    """A stream that breaks leaves what had come, which has no value."""

    def cut(connection, request):
        connection.send(stream_head(), http_chunk(sse_event(chat_chunk(GOOD[:9]))))
        connection.close()

    with RawServer(replies(cut)) as server:
        async with face.client(server) as client:
            error = await failure(parse_stream(client).collect())
    assert type(error) is StreamInterruptedError
    assert type(error.partial) is ParsedChatCompletion
    assert error.partial.problem.text == GOOD[:9]


async def test_parsed_stream_is_tried_again(face):
    """`max_retries` of a stream is consent to try the request again, as for any stream."""
    with RawServer(replies(answer(b"{}", 503), chat_stream(GOOD))) as server:
        async with face.client(server, retry=RetryPolicy(backoff_base=0.0)) as client:
            assert (await parse_stream(client, max_retries=1).collect()).parsed == Model(**FIELDS)
            assert len(server.requests) == 2


# What cannot be asked


@BOTH_COLOURS
@pytest.mark.parametrize("way", [parse, parse_stream])
async def test_params_that_have_a_format_already(face, way):
    """Two formats are one too many; that is said at the call, and nothing is sent."""
    params = PARAMS.model_copy(update={"response_format": {"type": "json_object"}})
    with LocalGateway() as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            with pytest.raises(ValueError, match="response_format"):
                await way(client, params=params)
        assert gateway.requests == []


@BOTH_COLOURS
@pytest.mark.parametrize("number", [-1, True, 1.0, "1"])
async def test_number_of_corrections_that_is_none(face, number):
    """So is a number of corrections that is no number."""
    with LocalGateway() as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            with pytest.raises(ValueError, match="max_retries"):
                await parse(client, max_retries=number)
        assert gateway.requests == []


async def test_refused_call(face):
    """An error of the gateway comes as for any call, and is not sent back to the model."""
    with LocalGateway() as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            gateway.inject(Fault(status=422))
            error = await failure(parse(client, max_retries=3))
        assert (type(error).__name__, len(gateway.requests)) == ("UnprocessableEntityError", 1)
