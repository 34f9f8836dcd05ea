"""The local gateway's Responses API, seen from outside: plain HTTP, the official SDK and openai."""

from __future__ import annotations

import asyncio
import json

import httpx
import meshapi
import openai
import pydantic
import pytest

from meshapi_transports.testing import Fault

from .test_gateway import WEATHER_ARGUMENTS, WEATHER_TOOL, authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

RESPONSES = "/v1/responses"
MODEL = "openai/gpt-4o-mini"
REPLY = "You said: hello big world"
TOOL = {"type": "function", **WEATHER_TOOL["function"]}
OTHER_TOOL = {"type": "function", "name": "other"}


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def ask(client, **params):
    return client.post(RESPONSES, json={"input": "hello big world", **params})


def text_of(response):
    ((item,), (part,)) = response["output"], response["output"][0]["content"]
    assert (item["type"], item["role"], part["type"]) == ("message", "assistant", "output_text")
    return part["text"]


def events_of(answer):
    """The name and the data of each event of a stream."""
    events = []
    for block in answer.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        assert name.startswith("event: ")
        events.append((name[len("event: ") :], json.loads(data[len("data: ") :])))
    return events


def test_a_response_echoes_its_input(client):
    """The whole has OpenAI's shape: a message with a text part, the usage, the status."""
    response = ask(client, model=MODEL, instructions="be brief", metadata={"a": "b"}, temperature=0.5).json()
    assert text_of(response) == REPLY
    assert response["id"].startswith("resp_")
    assert (response["object"], response["status"], response["model"]) == ("response", "completed", MODEL)
    assert (response["instructions"], response["metadata"], response["temperature"]) == ("be brief", {"a": "b"}, 0.5)
    assert response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 10,
    }


def test_the_routing_headers_tell_the_provider(client):
    """As for chats, whole and streamed."""
    for stream in (False, True):
        assert ask(client, model=MODEL, stream=stream).headers["x-mesh-served-provider"] == "openai"


def test_input_items_are_messages_and_more(client):
    """Messages of every role and kind of part are read, and items that a chat does not have are passed over."""
    parts = [
        {"type": "input_text", "text": "look:"},
        {"type": "input_image", "image_url": "data:,"},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": ""}},
        {"type": "input_video", "video_url": "data:,"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "text", "text": "and say"},
    ]
    items = [
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Yes?"}]},
        {"type": "message", "role": "user", "content": parts},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]
    response = ask(client, input=items).json()
    assert text_of(response) == "You said: look: [image] [audio] [video] [file] and say"
    assert response["usage"]["input_tokens"] == 10


def test_a_stream_carries_the_same_response(client):
    """The events have their names, count up, build the text, and end with the whole response and no [DONE]."""
    answer = ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer)
    assert [name for name, _ in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["type"] for _, data in events] == [name for name, _ in events]
    assert [data["sequence_number"] for _, data in events] == list(range(13))
    assert "".join(data.get("delta", "") for _, data in events) == REPLY
    assert events[9][1]["text"] == events[10][1]["part"]["text"] == REPLY
    assert (events[0][1]["response"]["status"], events[0][1]["response"]["output"]) == ("in_progress", [])
    assert events[2][1]["item"]["content"] == []
    whole = events[-1][1]["response"]
    assert text_of(whole) == REPLY
    assert events[11][1]["item"] == whole["output"][0]
    assert client.get(f"{RESPONSES}/{whole['id']}").json() == whole


def test_a_limit_leaves_a_response_incomplete(client):
    """The status says so, whole and streamed, and why."""
    response = ask(client, max_output_tokens=3).json()
    assert (text_of(response), response["status"]) == ("You said: hello", "incomplete")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert events_of(ask(client, max_output_tokens=3, stream=True))[-1][0] == "response.incomplete"


def test_a_function_is_called(client):
    """The call has its arguments as JSON text, and the id that its result will name."""
    (item,) = ask(client, tools=[{"type": "web_search_preview"}, TOOL]).json()["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "get_weather", "completed")
    assert item["call_id"].startswith("call_")
    assert json.loads(item["arguments"]) == WEATHER_ARGUMENTS


def test_a_streamed_function_call_comes_in_fragments(client):
    """The item comes first without arguments, then these bit by bit, then all once more."""
    events = events_of(ask(client, tools=[TOOL], stream=True))
    names = [name for name, _ in events]
    assert names[2:] == [
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * 3,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[2][1]["item"]["arguments"] == ""
    arguments = "".join(data["delta"] for name, data in events if name.endswith("delta"))
    assert json.loads(arguments) == WEATHER_ARGUMENTS
    assert events[6][1]["arguments"] == events[7][1]["item"]["arguments"] == arguments


def test_tool_choice_decides_which_function_is_called(client):
    """A named one, none, one that is not there, and a choice that names no function."""
    tools = [TOOL, OTHER_TOOL]
    named = ask(client, tools=tools, tool_choice={"type": "function", "name": "other"}).json()
    assert (named["output"][0]["name"], named["output"][0]["arguments"]) == ("other", "{}")
    assert text_of(ask(client, tools=tools, tool_choice="none").json()) == REPLY
    built_in = ask(client, tools=tools, tool_choice={"type": "web_search_preview"}).json()
    assert built_in["output"][0]["name"] == "get_weather"
    unknown = ask(client, tools=[TOOL], tool_choice={"type": "function", "name": "other"})
    assert error_of(unknown)["details"][0]["loc"] == ["body", "tool_choice", "name"]


def test_a_function_result_is_quoted(client):
    """With the result of its call the model answers in words, be the result a text or parts."""
    first = ask(client, tools=[TOOL]).json()
    results = [
        {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "sunny"},
        {"type": "function_call_output", "call_id": "x", "output": [{"type": "input_text", "text": "windy"}]},
    ]
    response = ask(client, input=results, previous_response_id=first["id"], tools=[TOOL]).json()
    assert text_of(response) == "The tool answered: sunny; windy"
    assert response["previous_response_id"] == first["id"]


def test_a_previous_response_is_part_of_the_conversation(client):
    """What was said before is read again; instructions are not."""
    first = ask(client, instructions="count me once").json()
    second = ask(client, input="and you", previous_response_id=first["id"]).json()
    assert text_of(second) == "You said: and you"
    assert second["usage"]["input_tokens"] == 3 + 5 + 2
    missing = ask(client, previous_response_id="resp_0")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


JSON_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("params", "value"),
    [
        ({"text": {"format": {"type": "json_schema", "name": "it", "schema": JSON_SCHEMA}}}, {"a": 1}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": JSON_SCHEMA}}}, {"a": 1}),
        ({"text": {"format": {"type": "json_object"}}}, {"reply": REPLY}),
        ({"response_format": {"type": "json_object"}}, {"reply": REPLY}),
    ],
)
def test_json_is_answered_where_it_is_asked_for(client, params, value):
    """The format stands in text, as with OpenAI, or in response_format, as for chats."""
    assert json.loads(text_of(ask(client, **params).json())) == value


def test_a_useless_schema_is_refused(client):
    """The error points at it."""
    answer = ask(client, text={"format": {"type": "json_schema", "name": "it", "schema": {"type": "text"}}})
    assert error_of(answer)["details"][0]["loc"] == ["body", "text", "format", "schema"]


def test_responses_are_listed_page_by_page(client):
    """The newest comes first, after goes on, and has_more says when to stop."""
    ids = [ask(client).json()["id"] for _ in range(3)][::-1]
    first = client.get(RESPONSES, params={"limit": 2}).json()
    assert [item["id"] for item in first["data"]] == ids[:2]
    assert (first["object"], first["has_more"], first["first_id"], first["last_id"]) == ("list", True, ids[0], ids[1])
    assert first["data"][0].keys() == {
        *("id", "object", "model", "provider", "status", "created_at", "completed_at", "usage_synced")
    }
    rest = client.get(RESPONSES, params={"limit": 2, "after": first["last_id"]}).json()
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (ids[2:], False)
    nothing = client.get(RESPONSES, params={"after": ids[2]}).json()
    assert (nothing["data"], nothing["has_more"], nothing["first_id"]) == ([], False, None)


@pytest.mark.parametrize(
    ("query", "status", "loc"),
    [
        ({"limit": "0"}, 422, ["query", "limit"]),
        ({"limit": "101"}, 422, ["query", "limit"]),
        ({"limit": "many"}, 422, ["query", "limit"]),
        ({"after": "resp_0"}, 404, None),
    ],
)
def test_a_page_that_cannot_be_is_refused(client, query, status, loc):
    """The limit is 1 to 100, and a page comes after something that is there."""
    answer = client.get(RESPONSES, params=query)
    assert answer.status_code == status
    assert [detail["loc"] for detail in error_of(answer).get("details", [])] == ([loc] if loc else [])


def test_a_response_can_be_asked_for_later(client):
    """It is as it was, unless it was not to be stored; and one that never was is not found."""
    response = ask(client).json()
    assert client.get(f"{RESPONSES}/{response['id']}").json() == response
    unstored = ask(client, store=False).json()
    missing = client.get(f"{RESPONSES}/{unstored['id']}")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


def test_a_response_in_the_background_is_there_later(client):
    """At first it is queued and empty; who asks for it again gets it whole."""
    queued = ask(client, background=True).json()
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    assert text_of(client.get(f"{RESPONSES}/{queued['id']}").json()) == REPLY


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"input": None}, ["body", "input"], "union_type"),
        ({"input": [1]}, ["body", "input", 0], "dict_type"),
        ({"input": [{}]}, ["body", "input", 0, "type"], "missing"),
        ({"input": [{"role": "robot", "content": "x"}]}, ["body", "input", 0, "role"], "literal_error"),
        ({"input": [{"role": "user"}]}, ["body", "input", 0, "content"], "missing"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            ["body", "input", 0, "content", 0, "text"],
            "missing",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, ["body", "input", 0, "output"], "missing"),
        ({"max_output_tokens": 0}, ["body", "max_output_tokens"], "greater_than_equal"),
        ({"temperature": 2.5}, ["body", "temperature"], "less_than_equal"),
        ({"top_p": -1}, ["body", "top_p"], "greater_than_equal"),
        ({"user": "x" * 257}, ["body", "user"], "string_too_long"),
        ({"user": 1}, ["body", "user"], "string_type"),
        ({"max_tool_calls": 11}, ["body", "max_tool_calls"], "less_than_equal"),
        ({"tools": [{"type": "function"}]}, ["body", "tools", 0, "name"], "missing"),
        ({"tools": [{"type": "hammer"}]}, ["body", "tools", 0, "type"], "literal_error"),
        ({"text": {"format": "json"}}, ["body", "text", "format"], "dict_type"),
    ],
)
def test_a_bad_body_is_a_validation_error(client, params, loc, kind):
    """Each mistake is reported with the place where it is."""
    answer = ask(client, **params)
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def test_a_model_must_do_responses(client):
    """An unknown one is a 404, and one for something else a 422."""
    assert error_of(ask(client, model="openai/gpt-9"))["code"] == "model_not_found"
    assert error_of(ask(client, model="openai/gpt-image-1"))["code"] == "unprocessable_entity"


def test_faults_bend_the_stream(local_gateway, client):
    """[DONE] can be had, the final event left out, and the names keep to the framing that is asked for."""
    local_gateway.inject(Fault(done=True))
    assert ask(client, stream=True).text.endswith("\n\ndata: [DONE]\n\n")
    local_gateway.inject(Fault(finish=False))
    assert events_of(ask(client, stream=True))[-1][0] == "response.output_item.done"
    local_gateway.inject(Fault(space=False, line_ending="\r"))
    assert ask(client, stream=True).text.startswith('event:response.created\rdata:{"type":"response.created",')


# The official SDK


def sdk_params(**params):
    return meshapi.ResponsesParams(input="hello big world", **params)


def test_the_official_sdk_speaks_responses(local_gateway):
    """Whole, streamed, listed and asked for again."""
    with meshapi.MeshAPI(base_url=local_gateway.base_url, token=local_gateway.token, max_retries=0) as sdk:
        response = sdk.responses.create(sdk_params())
        events = list(sdk.responses.stream(sdk_params()))
        page = sdk.responses.list(limit=1)
        rest = sdk.responses.list(after=page.last_id)
        again = sdk.responses.get(response.id)
    assert response.output[0]["content"][0]["text"] == REPLY
    assert response.usage.total_tokens == 8
    assert events[-1].type == "response.completed"
    assert page.has_more
    assert [item.id for item in rest.data] == [response.id] == [again.id]


def test_the_official_async_sdk_speaks_responses(local_gateway):
    """The same over its async client."""

    async def talk():
        async with meshapi.AsyncMeshAPI(base_url=local_gateway.base_url, token=local_gateway.token) as sdk:
            response = await sdk.responses.create(sdk_params())
            events = [event async for event in sdk.responses.stream(sdk_params())]
            page = await sdk.responses.list()
            return response, events, page, await sdk.responses.get(response.id)

    response, events, page, again = asyncio.run(talk())
    assert again.output == response.output
    assert events[0].type == "response.created"
    assert len(page.data) == 2


# openai


class Answer(pydantic.BaseModel):
    """What openai is to parse."""

    a: int


def test_openai_speaks_responses(local_gateway):
    """Its types take the answer and every event, and its stream puts text, calls and parsed JSON together."""
    params = {"model": MODEL, "input": "hello big world"}
    with openai.OpenAI(base_url=local_gateway.base_url + "/v1", api_key=local_gateway.token, max_retries=0) as client:
        whole = client.responses.create(**params)
        events = list(client.responses.create(**params, stream=True))
        with client.responses.stream(**params, tools=[TOOL]) as stream:
            called = stream.get_final_response()
        parsed = client.responses.parse(**params, text_format=Answer)
        again = client.responses.retrieve(whole.id)
    assert (whole.output_text, whole.usage.total_tokens) == (REPLY, 8)
    assert events[-1].response.output_text == REPLY
    assert all(type(event).__name__.startswith("Response") for event in events)
    assert json.loads(called.output[0].arguments) == WEATHER_ARGUMENTS
    assert parsed.output_parsed == Answer(a=1)
    assert again.output_text == REPLY


def test_async_openai_speaks_responses(local_gateway):
    """The same over its async client."""

    async def talk():
        base_url = local_gateway.base_url + "/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key=local_gateway.token) as client:
            stream = await client.responses.create(model=MODEL, input="hello", stream=True)
            return [event async for event in stream]

    assert asyncio.run(talk())[-1].response.output_text == "You said: hello"
