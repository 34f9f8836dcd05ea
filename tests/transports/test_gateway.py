"""The local gateway, seen from outside: raw sockets, ordinary HTTP clients, the official SDK and openai."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import gzip
import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib

import httpx
import meshapi
import openai
import pytest
import requests

from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing import _chat as chat_resource

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello big world"}]}
REPLY = "You said: hello big world"
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "days": {"type": "integer", "minimum": 3},
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "exact": {"type": "boolean"},
                "place": {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
            },
            "required": ["city"],
        },
    },
}
WEATHER_ARGUMENTS = {
    "city": "example city",
    "days": 3,
    "unit": "celsius",
    "exact": True,
    "place": {"tags": ["example tags"]},
}


@pytest.fixture(scope="module")
def running_gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway):
    running_gateway.reset()
    return running_gateway


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.base_url, headers=authorization(gateway), timeout=10) as client:
        yield client


def authorization(gateway, token=None):
    return {"Authorization": f"Bearer {token or gateway.token}"}


def ask(client, **params):
    return client.post(CHAT, json={**HELLO, **params})


def error_of(answer):
    return answer.json()["error"]


def data_lines(body):
    return [line[len("data: ") :] for line in body.split("\n") if line.startswith("data: ")]


def chunks_of(answer):
    return [json.loads(data) for data in data_lines(answer.text) if data != "[DONE]"]


def streamed_text(chunks):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@contextlib.contextmanager
def raw_connection(base_url):
    address = httpx.URL(base_url)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        yield connection


def send_raw(connection, gateway, params):
    body = json.dumps(params).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.token}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def read_to_end(connection):
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_until(connection, marker):
    received = b""
    while marker not in received:
        received += connection.recv(1)
    return received


def assert_silent(connection):
    connection.settimeout(0.1)
    with pytest.raises(socket.timeout):
        connection.recv(1)


def http_chunks(received):
    """Take the chunked body of a raw answer apart."""
    rest = received.split(b"\r\n\r\n", 1)[1]
    chunks = []
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        length = int(size, 16)
        if length == 0:
            break
        chunks.append(rest[:length])
        rest = rest[length + 2 :]
    return chunks


# Replies


def test_a_completion_echoes_the_last_user_message(client):
    """The reply quotes what the user said last and counts words as tokens."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "and second"},
    ]
    answer = ask(client, messages=messages, model="openai/gpt-4o-mini").json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "openai/gpt-4o-mini"
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "You said: and second"}, "finish_reason": "stop"}
    ]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}


def test_content_parts_are_joined_and_media_are_mentioned(client):
    """Text parts are quoted, and an image, audio or video part is named by its kind."""
    content = [
        {"type": "text", "text": "look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": ""},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AA=="}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    ]
    answer = ask(client, messages=[{"role": "user", "content": content}]).json()
    assert answer["choices"][0]["message"]["content"] == "You said: look: [image]  [audio] [video]"


def test_a_conversation_without_a_user_is_answered_too(client):
    """Nothing said is not an error."""
    answer = ask(client, messages=[]).json()
    assert answer["choices"][0]["message"]["content"] == "You said nothing."


def test_half_a_surrogate_pair_comes_back_as_a_question_mark(client):
    """JSON can say what UTF-8 cannot; the answer stays readable."""
    body = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'
    answer = client.post(CHAT, content=body).json()
    assert answer["choices"][0]["message"]["content"] == "You said: ?"


def test_a_stream_carries_the_same_reply_word_by_word(client):
    """Role, words, finish_reason, usage, [DONE]: the whole reply in the order of a real stream."""
    answer = ask(client, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert data_lines(answer.text)[-1] == "[DONE]"
    chunks = chunks_of(answer)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in deltas[1:-1]] == ["You", " said:", " hello", " big", " world"]
    assert deltas[-1] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 6 + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == ask(client).json()["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [(None, True), ({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False)],
)
def test_stream_options_decide_about_the_usage(client, options, wanted):
    """The usage comes by itself, unless the client speaks of stream_options and does not ask for it."""
    chunks = chunks_of(ask(client, stream=True, stream_options=options))
    assert ("usage" in chunks[-1]) is wanted


@pytest.mark.parametrize(("limit", "text"), [(3, "You said: hello"), (0, ""), (-1, "")])
def test_max_tokens_truncates(client, limit, text):
    """A reply that is longer than max_tokens ends early and says so."""
    choice = ask(client, max_tokens=limit).json()["choices"][0]
    assert choice["message"]["content"] == text
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("stop", "text"), [(" big", "You said: hello"), (["world", "said"], "You "), (["", "none of it"], REPLY)]
)
def test_stop_sequences_end_the_reply(client, stop, text):
    """The reply ends before the first stop sequence in it."""
    choice = ask(client, stop=stop).json()["choices"][0]
    assert choice["message"]["content"] == text
    assert choice["finish_reason"] == "stop"


# Tools and schemas


def test_a_tool_is_called_with_arguments_made_from_its_schema(client):
    """Every type of the schema gets a value, the required properties first."""
    choice = ask(client, tools=[WEATHER_TOOL]).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    arguments = json.loads(call["function"]["arguments"])
    assert list(arguments.items()) == list(WEATHER_ARGUMENTS.items())


def test_a_streamed_tool_call_comes_in_fragments(client):
    """The id and the name come first and once, then the arguments bit by bit."""
    chunks = chunks_of(ask(client, stream=True, tools=[WEATHER_TOOL]))
    calls = [
        call for chunk in chunks if chunk["choices"] for call in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert calls[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert calls[0]["id"].startswith("call_")
    assert all(call.keys() == {"index", "function"} for call in calls[1:])
    assert len(calls) == 4
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == WEATHER_ARGUMENTS
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_choice_decides_which_tool_is_called(client):
    """The named tool is called, "none" calls no tool, and a name that is not offered is refused."""
    other = {"type": "function", "function": {"name": "other"}}
    named = ask(client, tools=[WEATHER_TOOL, other], tool_choice={"type": "function", "function": {"name": "other"}})
    assert named.json()["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "other", "arguments": "{}"}
    none = ask(client, tools=[WEATHER_TOOL], tool_choice="none")
    assert none.json()["choices"][0]["message"]["content"] == REPLY
    unknown = ask(client, tools=[WEATHER_TOOL], tool_choice={"type": "function", "function": {"name": "other"}})
    assert unknown.status_code == 422
    assert error_of(unknown)["details"][0]["loc"] == ["body", "tool_choice", "function", "name"]


def test_after_a_tool_result_the_reply_quotes_it(client):
    """The results of all the tools called last are in the text."""
    messages = [
        *HELLO["messages"],
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "2", "content": "windy"},
    ]
    choice = ask(client, messages=messages, tools=[WEATHER_TOOL]).json()["choices"][0]
    assert choice["message"]["content"] == "The tool answered: sunny; windy"
    assert choice["finish_reason"] == "stop"


def test_json_object_replies_are_json(client):
    """response_format json_object wraps the echo in an object."""
    answer = ask(client, response_format={"type": "json_object"}).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"reply": REPLY}


LIST = {
    "type": ["object", "null"],
    "properties": {"next": {"$ref": "#/$defs/list"}},
    "required": ["next"],
}
NODE = {
    "type": "object",
    "properties": {
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["next"],
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        ({"type": "string", "format": "date"}, "2026-08-01"),
        ({"type": "string", "minLength": 15, "maxLength": 16}, "example valuexx"),
        ({"type": "string", "maxLength": 3}, "exa"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.25, "maximum": 0.75}, 0.5),
        ({"type": "number"}, 1.5),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"const": 7}, 7),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, "example value"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
        ({"type": "object", "properties": {"any": True}}, {"any": "example any"}),
        (
            {
                "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"const": 2}}}],
                "$defs": {"a": {"properties": {"x": {"const": 1}}}},
            },
            {"x": 1, "y": 2},
        ),
        ({"allOf": [{"type": "integer"}]}, 1),
        ({"type": "object", "required": ["unheard_of"]}, {"unheard_of": "example unheard_of"}),
        ({"$ref": "#/$defs/list", "$defs": {"list": LIST}}, {"next": None}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"enum": ["chosen", "other"]}}}, "chosen"),
        (
            {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
            {"next": {"next": None}, "children": [{"next": None}]},
        ),
    ],
)
def test_json_schema_replies_match_the_schema(client, schema, value):
    """response_format json_schema is answered with a value of that schema."""
    response_format = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    answer = ask(client, response_format=response_format).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"enum": []},
        {"enum": "abc"},
        {"anyOf": []},
        {"properties": []},
        {"required": [1]},
        {"allOf": [1]},
        {"$ref": "#/$defs/none"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        None,
    ],
)
def test_a_useless_schema_is_refused(client, schema):
    """A schema that is malformed or has no value is a validation error that points at it."""
    response_format = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    answer = ask(client, response_format=response_format)
    assert answer.status_code == 422
    assert error_of(answer)["details"][0]["loc"] == ["body", "response_format", "json_schema", "schema"]


def test_a_schema_nested_too_deeply_is_refused(client):
    """Depth that Python cannot follow is the client's error and not the gateway's."""
    schema = {"type": "string"}
    for _ in range(450):
        schema = {"type": "array", "items": schema}
    tool = {"type": "function", "function": {"name": "deep", "parameters": schema}}
    assert ask(client, tools=[tool]).status_code == 422


# Models


def test_models_are_a_plain_array(client):
    """The list has no wrapper, and each item has what ModelInfo needs."""
    models = client.get("/v1/models").json()
    assert {"openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash", "local/echo"} <= {
        model["id"] for model in models
    }
    assert all({"id", "name", "is_free"} <= model.keys() for model in models)


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/v1/models?free=true", ["meta/llama-3.3-70b-instruct:free", "local/echo"]),
        ("/v1/models/free", ["meta/llama-3.3-70b-instruct:free", "local/echo"]),
        ("/v1/models?type=embedding", ["openai/text-embedding-3-small", "google/multimodal-embedding"]),
        ("/v1/models?provider=google&free=false&type=text", ["google/gemini-2.5-flash"]),
        ("/v1/models?type=video", []),
    ],
)
def test_models_are_filtered(client, path, ids):
    """Each filter leaves out what it should, and they combine."""
    assert [model["id"] for model in client.get(path).json()] == ids


def test_paid_models_are_those_that_are_not_free(client):
    """/paid and /free share the catalogue between them."""
    everything = client.get("/v1/models").json()
    assert client.get("/v1/models/paid").json() == [model for model in everything if not model["is_free"]]


def test_one_model_is_found_by_an_id_with_a_slash(client):
    """The id is the rest of the path, and one that does not exist is a 404 of its own code."""
    assert client.get("/v1/models/openai/gpt-4o-mini").json()["name"] == "GPT-4o mini"
    missing = client.get("/v1/models/openai/gpt-9")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "model_not_found")


def test_a_filter_that_does_not_exist_is_refused(client):
    """The filter free must be true or false."""
    answer = client.get("/v1/models?free=maybe")
    assert (answer.status_code, error_of(answer)["details"][0]["loc"]) == (422, ["query", "free"])


def test_the_first_model_that_exists_serves(client):
    """Further models are fallbacks, and the routing headers tell which one it was."""
    answer = ask(client, model="openai/gpt-9", models=["anthropic/claude-sonnet-4.5", "local/echo"])
    assert answer.json()["model"] == "anthropic/claude-sonnet-4.5"
    assert answer.headers["x-mesh-routing-attempts"] == "2"
    assert answer.headers["x-mesh-routing-fallback"] == "true"
    assert answer.headers["x-mesh-served-provider"] == "anthropic"


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"model": "openai/gpt-9"}, 404, "model_not_found"),
        ({"models": ["a/b", "c/d"]}, 404, "model_not_found"),
        ({"model": "openai/text-embedding-3-small"}, 422, "unprocessable_entity"),
        ({"modality": "image"}, 422, "unprocessable_entity"),
        ({"modalities": ["text", "audio"]}, 422, "unprocessable_entity"),
        ({"async_mode": True}, 422, "unprocessable_entity"),
    ],
)
def test_what_cannot_be_done_is_refused(client, params, status, code):
    """An unknown model, and what is not emulated, is an error that says so."""
    answer = ask(client, **params)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


# What the gateway refuses


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"messages": None}, ["body", "messages"], "list_type"),
        ({"messages": [1]}, ["body", "messages", 0], "dict_type"),
        ({"messages": [{"content": "x"}]}, ["body", "messages", 0, "role"], "missing"),
        ({"messages": [{"role": "robot"}]}, ["body", "messages", 0, "role"], "literal_error"),
        ({"messages": [{"role": "user", "content": 1}]}, ["body", "messages", 0, "content"], "union_type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            ["body", "messages", 0, "content", 0, "text"],
            "missing",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            ["body", "messages", 0, "content", 0, "type"],
            "literal_error",
        ),
        ({"model": 1}, ["body", "model"], "string_type"),
        ({"models": "openai/gpt-4o-mini"}, ["body", "models"], "list_type"),
        ({"stream": "yes"}, ["body", "stream"], "bool_type"),
        ({"temperature": "hot"}, ["body", "temperature"], "float_type"),
        ({"max_tokens": 1.5}, ["body", "max_tokens"], "int_type"),
        ({"seed": True}, ["body", "seed"], "int_type"),
        ({"timeout": 0}, ["body", "timeout"], "greater_than"),
        ({"image": {"n": 0}}, ["body", "image", "n"], "greater_than_equal"),
        ({"image": {"n": 11}}, ["body", "image", "n"], "less_than_equal"),
        ({"stop": 1}, ["body", "stop"], "union_type"),
        ({"variables": {"a": 1}}, ["body", "variables", "a"], "string_type"),
        ({"tools": [{"type": "function"}]}, ["body", "tools", 0, "function"], "missing"),
        ({"tool_choice": "always"}, ["body", "tool_choice"], "literal_error"),
        ({"response_format": "json"}, ["body", "response_format"], "dict_type"),
    ],
)
def test_a_bad_body_is_a_validation_error(client, params, loc, kind):
    """Each kind of mistake is reported with the place where it is."""
    answer = ask(client, **params)
    assert answer.status_code == 422
    error = error_of(answer)
    assert error["code"] == "validation_error"
    assert [(detail["loc"], detail["type"]) for detail in error["details"]] == [(loc, kind)]
    assert error["details"][0]["msg"] in error["message"]


def test_every_problem_is_reported_at_once(client):
    """A body with three mistakes has three details."""
    answer = ask(client, temperature="hot", seed="x", cache=1)
    assert len(error_of(answer)["details"]) == 3


def test_unknown_and_null_fields_are_let_pass(client):
    """Other clients send fields that the tables do not know, and null for what they leave out."""
    assert ask(client, n=1, logprobs=None, top_p=None, max_tokens=None).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"seed": NaN}', b'{"seed": 1e999}', b"[" * 100_000])
def test_a_body_that_is_not_json_is_an_invalid_request(client, body):
    """Malformed JSON is told apart from JSON with mistakes in it."""
    answer = client.post(CHAT, content=body)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_request")


def test_a_body_that_is_not_an_object_is_a_validation_error(client):
    """A JSON array is JSON, yet no parameters."""
    answer = client.post(CHAT, json=[])
    assert (answer.status_code, error_of(answer)["details"][0]["loc"]) == (422, ["body"])


def test_keys_that_are_refused(gateway):
    """No key, another scheme, a wrong key and the two special keys have the status and code of wire form."""

    def refusal(headers):
        answer = requests.get(gateway.base_url + "/v1/models", headers=headers, timeout=10)
        return answer.status_code, error_of(answer)["code"]

    assert refusal({}) == (401, "unauthorized")
    assert refusal({"Authorization": f"Basic {gateway.token}"}) == (401, "unauthorized")
    assert refusal(authorization(gateway, "rsk_wrong")) == (401, "unauthorized")
    refused = {code: refusal(authorization(gateway, token)) for code, token in gateway.tokens.items()}
    assert refused == {
        "spend_limit_exceeded": (402, "spend_limit_exceeded"),
        "forbidden": (403, "forbidden"),
    }


@pytest.mark.parametrize("version", ["", "1999-01"])
def test_an_unknown_api_version_is_refused(client, version):
    """An empty or unknown label is a 400 of its own code, and the current one is let pass."""
    answer = client.get("/v1/models", headers={"X-Mesh-Version": version})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_api_version")
    assert client.get("/v1/models", headers={"X-Mesh-Version": "2026-08"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/unheard/of", 404, "not_found"),
        ("POST", CHAT + "/", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_paths_and_methods_that_do_not_exist(client, method, path, status, code):
    """They are refused in the envelope, with the request's id in it."""
    answer = client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_bug_is_an_internal_error(client, monkeypatch):
    """Even what nobody foresaw is answered in the envelope."""
    monkeypatch.setattr(chat_resource, "compose_reply", lambda params: 1 / 0)
    answer = ask(client)
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in error_of(answer)["message"]
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_every_answer_has_a_request_id(client):
    """The gateway names each request anew, and a success also tells how it was routed."""
    answers = [ask(client), ask(client, stream=True), client.get("/v1/models"), client.get("/")]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 4
    assert all(answer.headers["x-mesh-routing-attempts"] == "1" for answer in answers[:3])
    assert all(answer.headers["x-mesh-routing-fallback"] == "false" for answer in answers[:3])
    assert [answer.headers.get("x-mesh-served-provider") for answer in answers] == ["local", "local", "local", None]


def test_a_request_may_name_itself(client):
    """A well-formed X-Request-Id comes back, and any other is refused."""
    own_id = "my.request:1_a-b"
    assert ask(client, stream=True).request.headers.get("x-request-id") is None
    assert client.get("/v1/models", headers={"X-Request-Id": own_id}).headers["x-request-id"] == own_id
    missing = client.get("/v1/nothing", headers={"X-Request-Id": own_id})
    assert missing.json()["request_id"] == own_id
    for bad_id in ("", "a b", "x" * 65):
        answer = client.get("/v1/models", headers={"X-Request-Id": bad_id})
        assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_request")
        assert answer.headers["x-request-id"] != bad_id


def test_the_rate_limit_is_per_minute_and_says_when_to_come_back():
    """One request too many is a 429 with the time to wait in the header and in the body; reset() forgets it."""
    with LocalGateway(rate_limit=2) as gateway:
        url, headers = gateway.base_url + "/v1/models", authorization(gateway)
        statuses = [requests.get(url, headers=headers, timeout=10).status_code for _ in range(2)]
        refused = requests.get(url, headers=headers, timeout=10)
        assert statuses == [200, 200]
        assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert error_of(refused)["retry_after_seconds"] == int(refused.headers["Retry-After"])
        gateway.reset()
        assert requests.get(url, headers=headers, timeout=10).status_code == 200


def test_the_rate_limit_forgets_what_is_older_than_a_minute(monkeypatch):
    """Requests spread out over time are all served."""
    monkeypatch.setattr("meshapi_transports.testing._state._RATE_WINDOW", 0.0)
    with LocalGateway(rate_limit=1) as gateway:
        url, headers = gateway.base_url + "/v1/models", authorization(gateway)
        assert [requests.get(url, headers=headers, timeout=10).status_code for _ in range(3)] == [200, 200, 200]


# Faults: instead of the answer


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (401, "unauthorized"),
        (402, "spend_limit_exceeded"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "conflict"),
        (418, "invalid_request"),
        (422, "validation_error"),
        (429, "rate_limit_exceeded"),
        (500, "internal_error"),
        (502, "upstream_error"),
        (503, "upstream_error"),
        (504, "gateway_timeout"),
    ],
)
def test_a_fault_answers_a_status(gateway, client, status, code):
    """The error comes in its envelope, once, and the next request is served."""
    gateway.inject(Fault(status=status))
    answer = ask(client)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ask(client).status_code == 200


def test_a_fault_redirects(gateway, client):
    """A redirect has no body, and its Location is a header of the user's choice."""
    gateway.inject(Fault(status=307, headers={"Location": "/elsewhere"}))
    answer = ask(client)
    assert (answer.status_code, answer.headers["location"], answer.content) == (307, "/elsewhere", b"")


@pytest.mark.parametrize(
    ("retry_after", "header", "in_body"),
    [(3, "3", 3), (0.25, "0.25", None), ("Fri, 20 Nov 2026 09:00:00 GMT", "Fri, 20 Nov 2026 09:00:00 GMT", None)],
)
def test_a_fault_asks_to_retry_later(gateway, client, retry_after, header, in_body):
    """Retry-After holds seconds or the given text, beside the Date that a date is measured against."""
    gateway.inject(Fault(status=503, retry_after=retry_after))
    answer = ask(client)
    assert answer.headers["retry-after"] == header
    assert "date" in answer.headers
    assert error_of(answer).get("retry_after_seconds") == in_body


def test_a_fault_replaces_the_body(gateway, client):
    """A proxy's page can stand where JSON should."""
    gateway.inject(Fault(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"))
    answer = ask(client)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert answer.content == b"<html>Bad gateway</html>"


def test_a_fault_replaces_the_body_of_a_stream(gateway, client):
    """The head stays a stream's, and the bytes are the user's."""
    gateway.inject(Fault(body=b"data: not json\n\n"))
    answer = ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b"data: not json\n\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("encoding", "decompress"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_fault_compresses_the_body(gateway, client, encoding, decompress, stream):
    """The body arrives compressed, with the header that says so."""
    gateway.inject(Fault(encoding=encoding))
    with client.stream("POST", CHAT, json={**HELLO, "stream": stream}) as answer:
        assert answer.headers["content-encoding"] == encoding
        body = decompress(b"".join(answer.iter_raw()))
    assert (b"[DONE]" if stream else b"You said: hello big world") in body


def test_a_compressed_stream_is_flushed_with_each_event(gateway):
    """What one HTTP chunk holds can be read before the next comes."""
    gateway.inject(Fault(encoding="deflate"))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, {**HELLO, "stream": True})
        received = read_until(connection, b"\r\n0\r\n\r\n")
    decompressor = zlib.decompressobj()
    events = [decompressor.decompress(chunk) for chunk in http_chunks(received)]
    assert len(events) == 10
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events[:9])


# Faults: how the bytes travel


def test_a_fault_closes_the_connection_before_any_answer(gateway):
    """The client sees the end of the connection where the status line should be."""
    gateway.inject(Fault(cut_before_head=True))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, HELLO)
        assert read_to_end(connection) == b""


def test_a_fault_cuts_a_body_of_known_length(gateway, client):
    """Fewer bytes come than Content-Length promised."""
    gateway.inject(Fault(cut_after=20))
    with client.stream("POST", CHAT, json=HELLO) as answer:
        received = []
        with pytest.raises(httpx.RemoteProtocolError, match="received 20 bytes"):
            received.extend(answer.iter_raw())
    assert int(answer.headers["content-length"]) > 20
    assert received == [b'{"id":"chatcmpl-0000'[:20]]


def test_a_fault_cuts_a_stream(gateway):
    """A chunked body ends without its last chunk, by an orderly close."""
    gateway.inject(Fault(cut_after=300))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, {**HELLO, "stream": True})
        received = read_to_end(connection)
    assert sum(map(len, http_chunks(received))) == 300
    assert not received.endswith(b"0\r\n\r\n")


def test_a_fault_resets_the_connection(gateway):
    """The cut can be an RST instead."""
    gateway.inject(Fault(cut_after=0, reset=True))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, {**HELLO, "stream": True})
        with pytest.raises(ConnectionResetError):
            read_to_end(connection)


def test_a_body_shorter_than_the_cut_arrives_whole(gateway, client):
    """A cut behind the end changes nothing."""
    gateway.inject(Fault(cut_after=1_000_000))
    assert ask(client).status_code == 200


def test_a_fault_stalls_before_the_head(gateway):
    """Not even the status line comes."""
    gateway.inject(Fault(stall_before_head=True))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, HELLO)
        assert_silent(connection)


@pytest.mark.parametrize("size", [0, 10])
def test_a_fault_stalls_within_the_body(gateway, size):
    """The head and so many bytes come, and nothing after them."""
    gateway.inject(Fault(stall_after=size))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, HELLO)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        assert b"".join(connection.recv(1) for _ in range(size)) == b'{"id":"chat'[:size]
        assert_silent(connection)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("split", "sizes"), [(7, [7, 7, 7, 7]), ([1, 20, 3], [1, 20, 3])])
def test_a_fault_splits_the_body(gateway, client, split, sizes, stream):
    """The pieces have the sizes asked for, each in an HTTP chunk of its own, and nothing is lost."""
    gateway.inject(Fault(split=split))
    with raw_connection(gateway.base_url) as connection:
        send_raw(connection, gateway, {**HELLO, "stream": stream})
        received = read_until(connection, b"\r\n0\r\n\r\n")
    pieces = http_chunks(received)
    assert [len(piece) for piece in pieces[: len(sizes)]] == sizes
    whole = b"".join(pieces).decode()
    assert streamed_text(json.loads(data) for data in data_lines(whole)[:-1]) == REPLY if stream else REPLY in whole


def test_a_fault_delays_each_piece(gateway, client):
    """A slow stream is whole in the end."""
    gateway.inject(Fault(delay=0.005))
    assert streamed_text(chunks_of(ask(client, stream=True))) == REPLY


def test_a_slow_stream_ends_when_its_client_leaves(gateway, client):
    """Nobody waits for a client that has gone: the gateway can stop at once, and serves others meanwhile."""
    gateway.inject(Fault(delay=3600))
    with client.stream("POST", CHAT, json={**HELLO, "stream": True}) as answer:
        assert answer.status_code == 200
    assert ask(client).status_code == 200


# Faults: streams


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_fault_changes_the_line_ending(gateway, client, ending):
    """Every line of the stream ends alike."""
    gateway.inject(Fault(line_ending=ending))
    body = ask(client, stream=True).content.decode()
    assert body.endswith(f"data: [DONE]{ending}{ending}")
    assert body.count(ending * 2) == 9
    assert set(body) & {"\r", "\n"} == set(ending)


def test_a_fault_leaves_out_the_space(gateway, client):
    """data: may be followed by its value at once."""
    gateway.inject(Fault(space=False))
    lines = [line for line in ask(client, stream=True).text.split("\n") if line]
    assert lines[-1] == "data:[DONE]"
    assert all(line.startswith("data:{") for line in lines[:-1])


def test_a_fault_begins_with_a_byte_order_mark(gateway, client):
    """One mark, at the very start."""
    gateway.inject(Fault(bom=True))
    body = ask(client, stream=True).content
    assert body.startswith(b"\xef\xbb\xbfdata: ")
    assert body.count(b"\xef\xbb\xbf") == 1


def test_a_fault_spreads_events_over_lines(gateway, client):
    """An event has several data lines, which make one JSON value together."""
    gateway.inject(Fault(multiline=True))
    blocks = ask(client, stream=True).text.split("\n\n")
    lines = data_lines(blocks[1])
    assert len(lines) > 5
    assert json.loads("\n".join(lines))["choices"][0]["delta"] == {"content": "You"}


def test_a_fault_puts_comments_between_events(gateway, client):
    """Keep-alive comments come between two events, never before the first or after the last."""
    gateway.inject(Fault(comments=2))
    blocks = ask(client, stream=True).text.split("\n\n")[:-1]
    assert [block for block in blocks if block.startswith(":")] == [": keep-alive"] * 16
    assert blocks[0].startswith("data: {")
    assert blocks[1] == blocks[2] == ": keep-alive"
    assert blocks[-1] == "data: [DONE]"


def test_a_fault_leaves_out_done(gateway, client):
    """The stream ends after its last chunk."""
    gateway.inject(Fault(done=False))
    answer = ask(client, stream=True)
    assert "[DONE]" not in answer.text
    assert "usage" in chunks_of(answer)[-1]


def test_a_fault_leaves_a_stream_unfinished(gateway, client):
    """The body ends properly, the conversation does not."""
    gateway.inject(Fault(finish=False))
    answer = ask(client, stream=True)
    assert "[DONE]" not in answer.text
    chunks = chunks_of(answer)
    assert streamed_text(chunks) == REPLY
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}


@pytest.mark.parametrize("error", ["overloaded", {"code": "upstream_error", "message": "overloaded"}])
def test_a_fault_sends_an_error_frame(gateway, client, error):
    """After so many events the error comes, and it is the last."""
    gateway.inject(Fault(error_frame=error, error_after=2))
    events = [json.loads(data) for data in data_lines(ask(client, stream=True).text)]
    assert len(events) == 3
    assert events[-1] == {"error": error}


# Faults: how they are given


def test_faults_combine(gateway, client):
    """An error can be cut, and a stream can be split, compressed, slow and framed oddly at once."""
    gateway.inject(Fault(status=503, retry_after=1, cut_after=5))
    with pytest.raises(httpx.RemoteProtocolError, match="received 5 bytes"):
        ask(client)
    gateway.inject(
        Fault(split=5, encoding="gzip", delay=0.0001, line_ending="\r\n", multiline=True, bom=True, comments=1)
    )
    with httpx.stream(
        "POST", gateway.base_url + CHAT, json={**HELLO, "stream": True}, headers=authorization(gateway)
    ) as answer:
        pieces = list(answer.iter_bytes())
    body = b"".join(pieces).decode("utf-8-sig")
    assert all(line.startswith(("data: ", ": keep-alive")) for line in body.split("\r\n") if line)
    assert '"content": " hello"' in body


EVERYWHERE = [
    ("POST", CHAT),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses"),
    ("GET", "/v1/responses/resp_0"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/chat/compare"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-0"),
    ("DELETE", "/v1/files/file-0"),
    ("GET", "/v1/files/file-0/content"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/batch_0"),
    ("POST", "/v1/batches/batch_0/cancel"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/free"),
    ("GET", "/v1/models/paid"),
    ("GET", "/v1/models/search"),
    ("GET", "/v1/models/a/b"),
    ("POST", "/v1/templates"),
    ("GET", "/v1/templates"),
    ("GET", "/v1/templates/tmpl_0"),
    ("PATCH", "/v1/templates/tmpl_0"),
    ("DELETE", "/v1/templates/tmpl_0"),
]


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
def test_every_endpoint_suffers_faults_and_asks_for_a_key(gateway, client, method, path):
    """A fault comes first, then the key, and only then the request is looked at."""
    gateway.inject(Fault(status=503, retry_after=1, headers={"X-Spoilt": "yes"}))
    spoilt = client.request(method, path)
    assert (spoilt.status_code, spoilt.headers["x-spoilt"], error_of(spoilt)["retry_after_seconds"]) == (503, "yes", 1)
    gateway.inject(Fault(cut_before_head=True))
    with pytest.raises(httpx.RemoteProtocolError):
        client.request(method, path)
    refused = client.request(method, path, headers=authorization(gateway, "rsk_wrong"))
    assert refused.status_code == 401
    expected = {"GET": {200, 404}, "DELETE": {404}, "POST": {400, 404}, "PATCH": {404}}
    assert client.request(method, path).status_code in expected[method]


def test_faults_wait_in_line(gateway, client):
    """They are used up in their order, times each, and only by requests to the API."""
    gateway.inject(Fault(status=503), times=2)
    gateway.inject(Fault(status=429))
    assert client.get("/").status_code == 404
    assert [client.get("/v1/models").status_code for _ in range(4)] == [503, 503, 429, 200]


def test_reset_forgets_everything(gateway, client):
    """After reset() the gateway is as new, and gives no id for the second time."""
    item = {"custom_id": "1", "body": HELLO}
    created = [
        ("/v1/responses", client.post("/v1/responses", json={"input": "x"}).json()["id"]),
        ("/v1/files", client.post("/v1/files", json={"requests": [item]}).json()["id"]),
        ("/v1/batches", client.post("/v1/batches", json={"requests": [item]}).json()["id"]),
        ("/v1/templates", client.post("/v1/templates", json={"name": "x"}).json()["id"]),
    ]
    assert {client.get(f"{path}/{item_id}").status_code for path, item_id in created} == {200}
    gateway.inject(Fault(status=503))
    gateway.reset()
    assert gateway.requests == []
    assert client.get("/v1/models").status_code == 200
    assert {client.get(f"{path}/{item_id}").status_code for path, item_id in created} == {404}
    assert client.post("/v1/templates", json={"name": "x"}).json()["id"] not in dict(created).values()


def test_a_fault_can_come_in_a_header(gateway, client):
    """A gateway in another process is told by the request itself, and the queue stays as it is."""
    gateway.inject(Fault(status=429))
    header = json.dumps({"status": 503, "retry_after": 7, "body": "<p>", "split": [1, 2], "delay": None})
    answer = client.get("/v1/models", headers={"X-Local-Gateway-Fault": header})
    assert (answer.status_code, answer.headers["retry-after"], answer.text) == (503, "7", "<p>")
    assert client.get("/v1/models").status_code == 429


@pytest.mark.parametrize("header", ["{", "[]", '{"stutus": 503}', '{"status": "503"}', '{"split": [0]}', "[" * 20_000])
def test_a_fault_header_that_makes_no_sense_is_refused(client, header):
    """A mistake in a test is told, not ignored."""
    answer = client.get("/v1/models", headers={"X-Local-Gateway-Fault": header})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_request")
    assert "x-local-gateway-fault" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": 200}, "status should be at least 300"),
        ({"line_ending": "\n\r"}, "line_ending should be one of"),
        ({"delay": -1}, "delay should be at least 0"),
        ({"split": (3, 0)}, "split should be at least 1"),
        ({"body": "text"}, "body should be bytes"),
        ({"retry_after": "tomorrow\n"}, "retry_after should be a string of printable ASCII"),
        ({"headers": {"Location": "/é"}}, "headers should be a string of printable ASCII"),
        ({"error_frame": 1}, "error_frame should be a string or an object"),
        ({"reset": True}, "reset needs cut_after or cut_before_head"),
    ],
)
def test_a_fault_checks_its_fields(fields, message):
    """A value that cannot be is refused where it is written."""
    with pytest.raises(ValueError, match=message):
        Fault(**fields)


def test_the_documentation_tells_of_every_fault():
    """The table has a row for each field, in the order of the class."""
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "local-gateway.md"
    table = page.read_text("utf-8").split("| field | what goes wrong |", 1)[1].split("\n\n", 1)[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == [field.name for field in dataclasses.fields(Fault)]


# What the gateway remembers


def test_requests_are_remembered(gateway, client):
    """Method, path, query, headers and body can be asserted on, the newest last."""
    client.get("/v1/models", params={"provider": "openai"})
    ask(client, user="me")
    listing, chat = gateway.requests
    assert (listing.method, listing.path, listing.query["provider"]) == ("GET", "/v1/models", "openai")
    assert (chat.method, chat.path) == ("POST", CHAT)
    assert chat.headers["CONTENT-TYPE"] == chat.headers["content-type"] == "application/json"
    assert chat.json() == {**HELLO, "user": "me"} == json.loads(chat.body)


def test_the_credentials_are_not_shown(gateway, client):
    """The key can be asserted on, but neither repr prints it."""
    client.get("/v1/models")
    (request,) = gateway.requests
    assert request.headers["authorization"].endswith(gateway.token)
    assert gateway.token not in repr(request)
    assert gateway.token not in repr(request.headers)
    assert "user-agent" in repr(request)


# Life and death


def test_an_address_is_known_only_after_the_start():
    """base_url cannot lie about a port that is not bound yet."""
    gateway = LocalGateway()
    with pytest.raises(RuntimeError, match="before start"):
        _ = gateway.base_url
    gateway.stop()


def test_a_gateway_can_be_stopped_and_started_again():
    """It listens on the port given, refuses to start twice, and closes its port when stopped."""
    with LocalGateway(token="rsk_mine") as gateway:
        assert gateway.token == "rsk_mine"
        with pytest.raises(RuntimeError, match="already"):
            gateway.start()
        port = httpx.URL(gateway.base_url).port
    with pytest.raises(requests.ConnectionError):
        requests.get(gateway.base_url, timeout=10)
    again = LocalGateway(port=port)
    for _ in range(2):
        again.start()
        assert again.base_url == f"http://127.0.0.1:{port}"
        assert requests.get(again.base_url + "/v1/models", headers=authorization(again), timeout=10).status_code == 200
        again.stop()


def test_a_port_that_is_taken_is_an_error(gateway):
    """The error is the operating system's own."""
    with pytest.raises(OSError, match=r"[Aa]ddress"):
        LocalGateway(port=httpx.URL(gateway.base_url).port).start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the traceback is shown on purpose
def test_a_server_that_cannot_start_is_an_error(monkeypatch):
    """start() does not wait for ever, and the gateway is left stopped."""

    async def fail(self, sockets=None):
        raise OSError("no luck")

    monkeypatch.setattr("uvicorn.Server.startup", fail)
    gateway = LocalGateway()
    with pytest.raises(RuntimeError, match="did not start"):
        gateway.start()
    gateway.stop()


def test_a_gateway_listens_on_ipv6_too():
    """The address is written in brackets."""
    with LocalGateway(host="::1") as gateway:
        assert gateway.base_url.startswith("http://[::1]:")
        assert requests.get(gateway.base_url, timeout=10).status_code == 404


def test_stopping_waits_for_no_client_and_leaves_nothing(recwarn, capfd):
    """Idle, stalled, slow and unread connections are closed with the gateway: no thread, no warning, no output."""
    threads_before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(LocalGateway())
        faults = [
            Fault(),
            Fault(stall_after=5),
            Fault(stall_before_head=True),
            Fault(delay=3600),
            Fault(body=b"x" * 50_000_000, split=1_000_000),
        ]
        connections = []
        for fault in faults:
            gateway.inject(fault)
            connection = stack.enter_context(raw_connection(gateway.base_url))
            send_raw(connection, gateway, {**HELLO, "stream": True})
            if not fault.stall_before_head:
                read_until(connection, b"\r\n\r\n")
            connections.append(connection)
        half_a_request = stack.enter_context(raw_connection(gateway.base_url))
        half_a_request.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        garbage = stack.enter_context(raw_connection(gateway.base_url))
        garbage.sendall(b"garbage\r\n\r\n")
        assert b"400" in read_to_end(garbage)
        gateway.stop()
        for connection in connections:
            with contextlib.suppress(ConnectionResetError):
                read_to_end(connection)
    gc.collect()
    assert set(threading.enumerate()) <= threads_before
    assert list(recwarn) == []
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_in_the_middle_of_its_request_is_forgotten(gateway, client):
    """Half a request is no request."""
    with raw_connection(gateway.base_url) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.get("/v1/models")
    assert [request.path for request in gateway.requests] == ["/v1/models"]


def test_two_gateways_do_not_share_anything(gateway, client):
    """Faults and requests belong to one gateway."""
    with LocalGateway() as other:
        other.inject(Fault(status=503))
        assert client.get("/v1/models").status_code == 200
        assert other.requests == []
        assert other.base_url != gateway.base_url


# In a terminal


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to another process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number):
    """It prints the address and the key to export, and ends on Ctrl-C and SIGTERM without a log line of uvicorn's."""
    command = [sys.executable, "-W", "error", "-m", "meshapi_transports.testing"]
    command += ["--token", "rsk_mine", "--batch-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        exports = dict(
            line.strip()[len("export ") :].split("=", 1)
            for line in iter(process.stdout.readline, "Stop it with Ctrl-C.\n")
            if "export" in line
        )
        headers = {"Authorization": f"Bearer {exports['MESHAPI_API_KEY']}"}
        fault = {"X-Local-Gateway-Fault": '{"status": 503}'}
        answer = requests.get(exports["MESHAPI_BASE_URL"] + "/v1/models", headers={**headers, **fault}, timeout=10)
        batches = exports["MESHAPI_BASE_URL"] + "/v1/batches"
        params = {"requests": [{"custom_id": "1", "body": HELLO}]}
        requests.post(batches, json=params, headers=headers, timeout=10)
        (batch,) = requests.get(batches, headers=headers, timeout=10).json()["data"]
        with raw_connection(exports["MESHAPI_BASE_URL"]) as connection:
            connection.sendall(b"garbage\r\n\r\n")
            assert b"400" in read_to_end(connection)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert exports["MESHAPI_API_KEY"] == "rsk_mine"
    assert answer.status_code == 503
    assert batch["status"] == "completed"
    assert (process.returncode, errors) == (0, "")


def test_the_command_says_why_it_cannot_listen(gateway):
    """A taken port is one line on stderr and the exit status 1."""
    command = [sys.executable, "-m", "meshapi_transports.testing", "--port", str(httpx.URL(gateway.base_url).port)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert process.returncode == 1
    assert process.stderr.startswith("cannot listen on 127.0.0.1:")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_extra_says_how_to_install_it(missing):
    """The ImportError names the extra."""
    program = f"import sys; sys.modules[{missing!r}] = None; import meshapi_transports.testing"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert f"ImportError: The local gateway needs {missing}" in process.stderr
    assert "pip install 'meshapi-transports[testing]'" in process.stderr


# The official SDK


@pytest.fixture
def sdk(gateway):
    client = meshapi.MeshAPI(base_url=gateway.base_url, token=gateway.token, max_retries=0)
    yield client
    client.close()


def sdk_params(**params):
    messages = [meshapi.ChatMessage(role="user", content="hello big world")]
    return meshapi.ChatCompletionParams(messages=messages, model="openai/gpt-4o-mini", **params)


def streamed_sdk_text(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.delta)


def test_the_official_sdk_completes_and_streams(sdk):
    """Its models take the answers, whole and streamed."""
    completion = sdk.chat.completions.create(sdk_params())
    chunks = list(sdk.chat.completions.stream(sdk_params()))
    assert completion.choices[0].message.content == REPLY
    assert completion.usage.total_tokens == 8
    assert streamed_sdk_text(chunks) == REPLY
    assert chunks[-1].usage.total_tokens == 8


def test_the_official_sdk_calls_tools(sdk):
    """A tool call arrives whole in one answer and in fragments in the other."""
    params = sdk_params(tools=[WEATHER_TOOL])
    message = sdk.chat.completions.create(params).choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == WEATHER_ARGUMENTS
    chunks = list(sdk.chat.completions.stream(params))
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert json.loads("".join(call.function.arguments for call in calls)) == WEATHER_ARGUMENTS


def test_the_official_sdk_lists_models(sdk):
    """Lists, filters and a single model validate as its ModelInfo."""
    assert len(sdk.models.list()) == len(sdk.models.free()) + len(sdk.models.paid())
    assert [model.id for model in sdk.models.list(free=True, type="text", provider="local")] == ["local/echo"]
    assert sdk.models.get("anthropic/claude-sonnet-4.5").context_length == 200_000


def test_the_official_sdk_maps_errors(gateway, sdk):
    """Code, details, request id and retry time all arrive in its error."""
    with pytest.raises(meshapi.MeshAPIError) as missing:
        sdk.chat.completions.create(
            meshapi.ChatCompletionParams(messages=[meshapi.ChatMessage(role="user", content="x")], model="a/b")
        )
    assert (missing.value.status, missing.value.error_code) == (404, "model_not_found")
    assert missing.value.request_id.startswith("req_")
    gateway.inject(Fault(status=429, retry_after=2))
    with pytest.raises(meshapi.MeshAPIError) as limited:
        list(sdk.chat.completions.stream(sdk_params()))
    assert (limited.value.error_code, limited.value.retry_after_seconds) == ("rate_limit_exceeded", 2)
    gateway.inject(Fault(cut_after=400))
    with pytest.raises(meshapi.MeshAPIError) as interrupted:
        list(sdk.chat.completions.stream(sdk_params()))
    assert interrupted.value.error_code == "stream_interrupted"
    gateway.inject(Fault(error_frame={"code": "upstream_error", "message": "gone"}))
    with pytest.raises(meshapi.MeshAPIError, match="gone"):
        list(sdk.chat.completions.stream(sdk_params()))


def test_the_official_sdk_retries(gateway):
    """It comes back after a 503, and is served."""
    gateway.inject(Fault(status=503, retry_after="0"))
    client = meshapi.MeshAPI(base_url=gateway.base_url, token=gateway.token)
    assert client.chat.completions.create(sdk_params()).choices[0].message.content == REPLY
    client.close()
    assert len(gateway.requests) == 2


def test_the_official_async_sdk_completes_and_streams(gateway):
    """The same over its async client."""

    async def talk():
        client = meshapi.AsyncMeshAPI(base_url=gateway.base_url, token=gateway.token)
        completion = await client.chat.completions.create(sdk_params())
        chunks = [chunk async for chunk in client.chat.completions.stream(sdk_params())]
        tool_chunks = [chunk async for chunk in client.chat.completions.stream(sdk_params(tools=[WEATHER_TOOL]))]
        models = await client.models.list()
        await client.aclose()
        return completion, chunks, tool_chunks, models

    completion, chunks, tool_chunks, models = asyncio.run(talk())
    assert completion.choices[0].message.content == streamed_sdk_text(chunks) == REPLY
    assert tool_chunks[1].choices[0].delta.tool_calls[0].function.name == "get_weather"
    assert "local/echo" in {model.id for model in models}


# openai


@pytest.fixture
def openai_client(gateway):
    with openai.OpenAI(base_url=gateway.base_url + "/v1", api_key=gateway.token, max_retries=0) as client:
        yield client


def openai_params(**params):
    return {**HELLO, "model": "openai/gpt-4o-mini", **params}


def streamed_openai_text(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_openai_completes_and_streams(openai_client):
    """openai-python works unmodified, with and without include_usage."""
    completion = openai_client.chat.completions.create(**openai_params())
    assert completion.choices[0].message.content == REPLY
    assert completion.usage.total_tokens == 8
    chunks = list(openai_client.chat.completions.create(**openai_params(stream=True)))
    assert streamed_openai_text(chunks) == REPLY
    options = {"include_usage": True}
    with_usage = list(openai_client.chat.completions.create(**openai_params(stream=True, stream_options=options)))
    assert with_usage[-1].usage.total_tokens == 8


def test_openai_calls_tools(openai_client):
    """Its accumulating stream puts the fragments of a tool call together."""
    params = openai_params(tools=[WEATHER_TOOL])
    completion = openai_client.chat.completions.create(**params)
    assert completion.choices[0].finish_reason == "tool_calls"
    with openai_client.chat.completions.stream(**params) as stream:
        streamed = stream.get_final_completion()
    for message in (completion.choices[0].message, streamed.choices[0].message):
        assert message.tool_calls[0].function.name == "get_weather"
        assert json.loads(message.tool_calls[0].function.arguments) == WEATHER_ARGUMENTS


def test_async_openai_completes_and_streams(gateway):
    """The same over its async client."""

    async def talk():
        async with openai.AsyncOpenAI(base_url=gateway.base_url + "/v1", api_key=gateway.token) as client:
            completion = await client.chat.completions.create(**openai_params())
            stream = await client.chat.completions.create(**openai_params(stream=True))
            return completion, [chunk async for chunk in stream]

    completion, chunks = asyncio.run(talk())
    assert completion.choices[0].message.content == streamed_openai_text(chunks) == REPLY


def test_openai_maps_errors(gateway, openai_client):
    """A wrong key, a rate limit, a bad body and an error within a stream are its own exceptions."""
    stranger = openai_client.with_options(api_key="rsk_wrong")
    with pytest.raises(openai.AuthenticationError) as refused:
        stranger.chat.completions.create(**openai_params())
    assert refused.value.code == "unauthorized"
    assert refused.value.request_id.startswith("req_")
    gateway.inject(Fault(status=429, retry_after=1))
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(**openai_params())
    with pytest.raises(openai.UnprocessableEntityError):
        openai_client.chat.completions.create(**openai_params(temperature="hot"))
    gateway.inject(Fault(error_frame={"code": "upstream_error", "message": "gone"}))
    with pytest.raises(openai.APIError, match="gone"):
        list(openai_client.chat.completions.create(**openai_params(stream=True)))
