"""Params are checked strictly; answers are taken as they come, whole, copied and pickled."""

import copy
import json
import pickle

import pytest
from pydantic import ValidationError

import meshapi_core
from meshapi_core import (
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    MeshAPIConfig,
    MeshAPICore,
    ResponseParseError,
    Tool,
    ToolCall,
    ToolFunction,
)
from meshapi_core.models import _base, chat
from meshapi_core.resources._base import read_json

CORE = MeshAPICore(MeshAPIConfig(token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"))
PARAMS = ChatCompletionParams(messages=[])
HEAD = {"x-request-id": "req-1", "X-Mesh-Served-Provider": "acme"}

USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "total_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "classifier_prompt_tokens": 1,
    "classifier_completion_tokens": 1,
    "classifier_tokens": 2,
}
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp",
    "usage": USAGE,
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": {"content": []},
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
                ],
                "audio": {"id": "a", "data": "AA"},
                "tool_calls": [
                    {
                        "id": "t",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "thought_signature": "s",
                    }
                ],
            },
        }
    ],
}
CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp",
    "usage": USAGE,
    "cost": "0.1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "delta": {
                "role": "assistant",
                "content": "hi",
                "audio": {"id": "a"},
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "t",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "thought_signature": "s",
                    }
                ],
            },
        }
    ],
}
SAMPLES = {"answer": ANSWER, "chunk": CHUNK}


def received(sample, document):
    """`document` as the answer, or as the one event of a stream."""
    text = json.dumps(document).encode()
    if sample == "answer":
        call = CORE.chat.completions.create(PARAMS)
        call.receive_response(200, HEAD)
        call.receive_data(text)
        call.receive_eof()
        return call.result
    call = CORE.chat.completions.stream(PARAMS)
    call.receive_response(200, HEAD)
    call.receive_data(b"data: " + text + b"\n\n")
    call.next_action()
    return call.events()[0]


def places(value, path=()):
    """The path of each field in a document, the fields inside fields and lists included."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from places(inner, (*path, position))


def parent_in(document, path):
    for step in path[:-1]:
        document = document[step]
    return document


FIELDS = [pytest.param(sample, path, id=f"{sample}:{'.'.join(map(str, path))}")
          for sample, document in SAMPLES.items() for path in places(document)]  # fmt: skip


def with_change(sample, path, change):
    document = copy.deepcopy(SAMPLES[sample])
    change(parent_in(document, path), path[-1])
    return document


@pytest.mark.parametrize(("sample", "path"), FIELDS)
def test_no_field_is_missed(sample, path):
    """An answer without it is read, and shows None, or an empty list, in its place."""
    received(sample, with_change(sample, path, lambda parent, name: parent.pop(name)))


@pytest.mark.parametrize(("sample", "path"), FIELDS)
def test_any_field_may_be_null(sample, path):
    """Null is as good as absent."""
    received(sample, with_change(sample, path, lambda parent, name: parent.update({name: None})))


@pytest.mark.parametrize(("sample", "path"), FIELDS)
def test_any_text_may_have_a_new_value(sample, path):
    """No list of known values is closed: reasons, roles, types."""
    document = with_change(sample, path, lambda parent, name: None)
    if isinstance(parent_in(document, path)[path[-1]], str):
        parent_in(document, path)[path[-1]] = "unheard of"
        found = received(sample, document).model_dump()
        assert parent_in(found, path)[path[-1]] == "unheard of"


@pytest.mark.parametrize(("sample", "path"), FIELDS)
def test_any_text_may_come_as_a_number(sample, path):
    """Ids and prices do."""
    document = with_change(sample, path, lambda parent, name: None)
    parent = parent_in(document, path)
    if isinstance(parent[path[-1]], str) and "audio" not in path and "logprobs" not in path:
        parent[path[-1]] = 7
        # Parts of a message's content are told apart by their types; what fits none stays as it came.
        assert parent_in(received(sample, document).model_dump(), path)[path[-1]] in ("7", 7)


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_comes_is_what_is_dumped(sample):
    """Nothing is added to it but the absent fields, and nothing is lost; the HTTP head is no part of it."""
    found = received(sample, SAMPLES[sample])
    assert found.model_dump(exclude_unset=True) == SAMPLES[sample]
    assert json.loads(found.model_dump_json(exclude_unset=True)) == SAMPLES[sample]
    assert not {"request_id", "response_headers", "_head"} & set(found.model_dump())


OBJECTS = [
    pytest.param(*param.values, id=param.id)
    for param in FIELDS
    if isinstance(parent_in(SAMPLES[param.values[0]], param.values[1])[param.values[1][-1]], dict)
]


@pytest.mark.parametrize(("sample", "path"), [*OBJECTS, ("answer", ()), ("chunk", ())])
def test_unknown_fields_are_kept(sample, path):
    """At every level, readable as attributes of the models, and in the dump."""
    document = copy.deepcopy(SAMPLES[sample])
    at = document
    for step in path:
        at = at[step]
    at["brand_new"] = {"a": [1, None]}
    found = received(sample, document)
    assert found.model_dump(exclude_unset=True) == document
    model = found
    for step in path:
        model = model[step] if isinstance(model, (list, dict)) else getattr(model, step)
    assert (model["brand_new"] if isinstance(model, dict) else model.brand_new) == {"a": [1, None]}


@pytest.mark.parametrize(("sample", "path"), OBJECTS)
def test_a_wrong_shape_is_a_parse_error(sample, path):
    """Text where an object should be; the message says where."""
    if "logprobs" in path or "content" in path:
        return
    document = with_change(sample, path, lambda parent, name: parent.update({name: "text"}))
    with pytest.raises(ResponseParseError) as caught:
        received(sample, document)
    assert ".".join(map(str, path)) in caught.value.message
    assert (caught.value.error_code, caught.value.status, caught.value.request_id) == ("parse_error", 200, "req-1")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"<html>", b"{", b"[" * 10_000, b"\xff"])
def test_an_answer_that_is_none_is_a_parse_error(body):
    """With what came instead in the message."""
    call = CORE.chat.completions.create(PARAMS)
    call.receive_response(200, HEAD)
    call.receive_data(body)
    call.receive_eof()
    with pytest.raises(ResponseParseError, match="could not be read as ChatCompletionResponse") as caught:
        call.next_action()
    assert caught.value.message.endswith(body[:500].decode("utf-8", "replace") or "it is empty")


def test_bytes_that_are_not_utf_8_do_not_cost_the_answer():
    """They become U+FFFD."""
    call = CORE.chat.completions.create(PARAMS)
    call.receive_response(200, HEAD)
    call.receive_data(b'\xef\xbb\xbf{"model": "m\xff"}')
    call.receive_eof()
    assert call.result.model == "m\ufffd"


@pytest.mark.parametrize("model", [ChatCompletionResponse, ChatCompletionChunk])
def test_absent_lists_are_empty(model):
    """So that a loop over the choices needs no question first; and each model has a list of its own."""
    for text in ("{}", '{"choices": null}'):
        first, second = model.model_validate_json(text), model.model_validate_json(text)
        assert first.choices == []
        assert first.choices is not second.choices


def test_parts_of_an_unknown_kind_stay_as_they_came():
    """Among those that are known."""
    parts = [{"type": "text", "text": "a"}, {"type": "hologram", "x": 1}, {"type": "text", "text": None}, {}]
    message = received("answer", {"choices": [{"message": {"content": parts}}]}).choices[0].message
    assert message.content[0].text == "a"
    assert message.content[1:] == parts[1:]


DUPLICATES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "deep model_copy": lambda model: model.model_copy(deep=True),
    **{f"pickle {p}": lambda model, p=p: pickle.loads(pickle.dumps(model, p)) for p in range(2, 6)},
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_answers_keep_their_head_when_copied_and_pickled(duplicate):
    """The request id is what one quotes to the support, from whatever process."""
    found = received("answer", {**ANSWER, "odd": 1})
    twin = duplicate(found)
    assert twin == found
    assert twin.odd == 1
    assert twin.request_id == "req-1"
    assert twin.response_headers["x-mesh-served-provider"] == "acme"
    by_hand = duplicate(ChatCompletionResponse.model_validate(ANSWER))
    assert (by_hand.request_id, dict(by_hand.response_headers)) == ("", {})


def test_the_head_is_no_part_of_the_value():
    """Two answers that say the same are equal, whichever requests they answer; a field of the same name is a field."""
    found = received("answer", {"id": "c", "request_id": "body", "_head": 1})
    assert found.request_id == "req-1"
    assert found.model_dump(exclude_unset=True) == {"id": "c", "request_id": "body", "_head": 1}
    assert found == ChatCompletionResponse.model_validate({"id": "c", "request_id": "body", "_head": 1})


# --- params ------------------------------------------------------------------------------------------------------

MESSAGE = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("modle", {"modle": "m"}),
        ("messages.0.contents", {"messages": [{**MESSAGE, "contents": "x"}]}),
        ("messages.0.content.0.texts", {"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a", "texts": 1}]}]}),
        ("image_url.urls", {"messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "urls": 1}}]}]}),
        ("messages.0.tool_calls.0.ids", {"messages": [{"role": "assistant", "tool_calls": [{"ids": "x"}]}]}),
        ("function.argument", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"argument": "x"}}]}]}),
        ("tools.0.function.params", {"tools": [{"type": "function", "function": {"name": "f", "params": {}}}]}),
        ("function.names", {"tool_choice": {"type": "function", "function": {"name": "f", "names": 1}}}),
        ("image.sizes", {"image": {"sizes": "1"}}),
        ("audio.voices", {"audio": {"voices": "a"}}),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_named(where, fields):
    """An unknown field at any depth is an error that says where."""
    with pytest.raises(ValidationError) as caught:
        ChatCompletionParams(**{"messages": [], **fields})
    (error,) = [error for error in caught.value.errors() if error["type"] == "extra_forbidden"]
    assert where.split(".")[-1] == error["loc"][-1]
    steps = [str(step) for step in error["loc"]]
    assert all(step in steps for step in where.split("."))


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": None},
        {"messages": "hi"},
        {"messages": [{"role": "robot"}]},
        {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "no type"}]}]},
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"timeout": 0},
        {"max_tokens": 1.5},
        {"tool_choice": "maybe"},
        {"reasoning_effort": "utmost"},
        {"image": {"n": 0}},
        {"image": {"n": 11}},
        {"modalities": ["smell"]},
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(fields):
    """When the params are made."""
    with pytest.raises(ValidationError):
        ChatCompletionParams(**{"messages": [], **fields})


@pytest.mark.parametrize("cls", [getattr(meshapi_core, n) for n in chat.__all__ if isinstance(getattr(chat, n), type)])
def test_each_model_is_of_one_kind_and_tells_its_meaning(cls):
    """What the caller writes forbids unknown fields, what the gateway writes keeps them; each has a docstring."""
    if not issubclass(cls, (_base.Params, _base.Reply)):
        return
    is_strict = issubclass(cls, _base.Params) and not issubclass(cls, _base.Shared)
    assert cls.model_config["extra"] == ("forbid" if is_strict else "allow")
    assert cls.__doc__


def test_params_are_made_of_models_or_of_dicts():
    """Whichever is at hand; both are the same."""
    made = ChatCompletionParams(
        messages=[ChatMessage(**MESSAGE)], tools=[Tool(type="function", function=ToolFunction(name="f"))]
    )
    assert made == ChatCompletionParams(messages=[MESSAGE], tools=[{"type": "function", "function": {"name": "f"}}])


def test_tool_calls_of_an_answer_can_be_sent_back():
    """As they came, with the fields that are unknown here: providers ask for their signatures back."""
    call = {
        "id": "t",
        "type": "novel",
        "function": {"name": "f", "arguments": "{}", "odd": 1},
        "extra_content": {"a": None},
    }
    answer = received("answer", {"choices": [{"message": {"tool_calls": [call, {"id": 7}]}}]})
    params = ChatCompletionParams(
        messages=[ChatMessage(role="assistant", tool_calls=answer.choices[0].message.tool_calls)]
    )
    sent = json.loads(CORE.chat.completions.create(params).next_action().request.content)
    assert sent["messages"][0]["tool_calls"] == [call, {"id": "7", "type": "function"}]


def test_parts_of_an_answer_can_be_sent_back():
    """An image that was drawn, say."""
    part = {"type": "image_url", "image_url": {"url": "u", "odd": 1}, "index": 0}
    answer = received("answer", {"choices": [{"message": {"content": [part]}}]})
    params = ChatCompletionParams(messages=[ChatMessage(role="user", content=answer.choices[0].message.content)])
    sent = json.loads(CORE.chat.completions.create(params).next_action().request.content)
    assert sent["messages"][0]["content"] == [part]


def test_a_message_can_be_sent_back_as_it_is():
    """What everyone does who answers a tool call: text, calls and reasoning go out, what cannot be sent does not."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "odd": 1}
    details = [{"type": "thought", "signature": "s"}]
    message = {
        "role": "model",
        "content": "hm",
        "tool_calls": [call],
        "reasoning_details": details,
        "audio": {"id": "a"},
    }
    answer = received("answer", {"choices": [{"message": message}]})
    params = ChatCompletionParams(messages=[answer.choices[0].message.as_message()])
    sent = json.loads(CORE.chat.completions.create(params).next_action().request.content)
    expected = {"role": "assistant", "content": "hm", "tool_calls": [call], "reasoning_details": details}
    assert sent["messages"] == [expected]


def test_content_of_an_unknown_kind_cannot_be_sent_back():
    """Better an error than a message with a part missing."""
    answer = received("answer", {"choices": [{"message": {"content": [{"type": "hologram"}]}}]})
    with pytest.raises(ValueError, match="hologram"):
        answer.choices[0].message.as_message()


def test_half_a_surrogate_pair_costs_one_character():
    """Servers that cut text between the halves write escapes that are no characters."""
    text = r"a \\ud83d \ud83d \ud83d\ude00 z"
    whole = read_json(ChatCompletionResponse, '{"choices": [{"message": {"content": "TEXT"}}]}'.replace("TEXT", text))
    chunk = read_json(ChatCompletionChunk, '{"choices": [{"delta": {"content": "TEXT"}}]}'.replace("TEXT", text))
    assert whole.choices[0].message.content == chunk.choices[0].delta.content == "a \\ud83d \ufffd \U0001f600 z"


def test_a_tool_call_made_in_a_program_is_checked():
    """Strict where a person writes it, although it is lenient in an answer."""
    with pytest.raises(ValidationError, match="idd"):
        ToolCall(idd="x")


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_params_can_be_copied_and_pickled(duplicate):
    """A copy sends what the original sends."""
    params = ChatCompletionParams(messages=[MESSAGE], model="m", response_format={"a": None})
    twin = duplicate(params)
    assert twin == params
    first, second = (CORE.chat.completions.create(p).next_action().request for p in (params, twin))
    assert first == second
