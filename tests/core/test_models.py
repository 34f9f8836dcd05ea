"""Params are checked strictly; answers are taken as they come, whole, copied and pickled."""

import copy
import importlib
import json
import pickle

import pytest
from pydantic import ValidationError

import meshapi_core
from meshapi_core import (
    BatchListResponse,
    BatchObject,
    BatchResult,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    CompareResponse,
    CompareStreamEvent,
    EmbeddingsResponse,
    FileObject,
    Headers,
    ImageGenerationChunk,
    ImageGenerationResponse,
    MeshAPIConfig,
    MeshAPICore,
    ModelInfo,
    ModelPricing,
    ModelsPage,
    ResponseHead,
    ResponseParseError,
    ResponsesListItem,
    ResponsesListResponse,
    ResponsesResponse,
    ResponsesStreamEvent,
    TemplateSummary,
    Tool,
    ToolCall,
    ToolFunction,
)
from meshapi_core.models import _base
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
TOKENS = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
LISTED_RESPONSE = {
    "id": "r",
    "object": "response",
    "model": "m",
    "provider": "p",
    "status": "completed",
    "created_at": 1,
    "completed_at": 2,
    "usage_synced": True,
}
RESPONSES_USAGE = {
    **TOKENS,
    "input_tokens": 1,
    "output_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "classifier_tokens": 2,
}
BATCH = {
    "id": "b",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "f",
    "output_file_id": "o",
    "error_file_id": "e",
    "status": "completed",
    "model": "m",
    "provider": "p",
    "created_at": 1,
    "completed_at": 2,
    "usage_synced": True,
    "results": [{"custom_id": "a"}],
    "errors_detail": [{"code": "c"}],
    "request_counts": {"total": 1},
    "metadata": {"a": "b"},
}
MODEL = {
    **{name: True for name in ModelInfo.model_fields if name.startswith(("supports_", "is_"))},
    "id": "acme/m",
    "name": "M",
    "pricing": dict.fromkeys(ModelPricing.model_fields, "0.1"),
    "description": "d",
    "model_type": "text",
    "input_modalities": ["text"],
    "output_modalities": ["text"],
    "brand": "acme",
    "provider": "p",
    "context_length": 1000,
    "context_window": 1000,
    "standard_context_threshold": 1,
    "realtime_session_max_tokens": 1,
    "realtime_max_concurrent_per_owner": 1,
    "composite_models": ["a"],
}
# What these are read as, and one with every field.
MODELS = {
    "response": (
        ResponsesResponse,
        {
            "id": "r",
            "object": "response",
            "model": "m",
            "status": "completed",
            "usage": RESPONSES_USAGE,
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
        },
    ),
    "response event": (
        ResponsesStreamEvent,
        {"type": "response.completed", "delta": "a", "response": {"id": "r"}, "usage": RESPONSES_USAGE},
    ),
    "listed response": (ResponsesListItem, LISTED_RESPONSE),
    "responses": (
        ResponsesListResponse,
        {"object": "list", "data": [LISTED_RESPONSE], "has_more": True, "first_id": "r", "last_id": "r"},
    ),
    "embeddings": (
        EmbeddingsResponse,
        {
            "object": "list",
            "model": "m",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
                {"object": "embedding", "index": 1, "embedding": "AAAAPwAAgL8="},
            ],
            "usage": {"prompt_tokens": 1, "total_tokens": 1, "byok_used": False, "fallback_triggered": False},
        },
    ),
    "images": (
        ImageGenerationResponse,
        {
            "created": 1,
            "data": [{"url": "u", "b64_json": "AAAA", "revised_prompt": "p"}],
            "background": "opaque",
            "output_format": "png",
            "quality": "high",
            "size": "1024x1024",
            "usage": {**TOKENS, "input_tokens_details": {"a": 1}, "output_tokens_details": {"a": 1}},
        },
    ),
    "image chunk": (
        ImageGenerationChunk,
        {
            "id": "i",
            "object": "image.chunk",
            "created": 1,
            "data": [{"url": "u", "b64_json": "AAAA", "revised_prompt": "p"}],
            "status": "completed",
            "model": "m",
        },
    ),
    "comparison": (
        CompareResponse,
        {
            "comparison_id": "c",
            "object": "comparison",
            "created": 1,
            "models": ["m"],
            "results": [
                {
                    "model": "m",
                    "response_body": {"id": "r"},
                    "content": "hi",
                    "latency_ms": 1,
                    "error": "e",
                    "error_code": "c",
                    "usage": TOKENS,
                    "request_id": "req-of-this-model",
                }
            ],
            "comparison": "good",
            "comparison_model": "m",
            "comparison_usage": TOKENS,
            "comparison_fallback_used": True,
            "total_latency_ms": 1,
            "partial": True,
            "skip_comparison": True,
        },
    ),
    "compare event": (
        CompareStreamEvent,
        {
            "event": "model.delta",
            "data": {"delta": "a"},
            "delta": "a",
            "model": "m",
            "comparison_id": "c",
            "comparison_model": "m",
            "models": ["m"],
            "latency_ms": 1,
            "total_latency_ms": 1,
            "finish_reason": "stop",
            "error": "e",
            "error_code": "c",
            "usage": TOKENS,
            "skip_comparison": False,
            "partial": False,
            "comparison_fallback_used": False,
        },
    ),
    "file": (
        FileObject,
        {
            "id": "f",
            "object": "file",
            "bytes": 1,
            "created_at": 1,
            "filename": "a.jsonl",
            "purpose": "batch",
            "status": "processed",
            "status_details": "fine",
        },
    ),
    "batch": (BatchObject, BATCH),
    "batches": (
        BatchListResponse,
        {"object": "list", "data": [BATCH], "has_more": True, "first_id": "b", "last_id": "b"},
    ),
    "batch result": (
        BatchResult,
        {
            "id": "l",
            "custom_id": "a",
            "response": {"status_code": 200, "request_id": "r", "body": "text"},
            "error": {"code": "c", "message": "m"},
        },
    ),
    "model": (ModelInfo, MODEL),
    "models": (ModelsPage, {"items": [MODEL], "total": 1, "limit": 1, "offset": 0, "brands": ["acme"]}),
    "template": (
        TemplateSummary,
        {
            "id": "t",
            "name": "n",
            "owner": "o",
            "is_global": True,
            "description": "d",
            "system": "{{slot}}",
            "messages": [{"role": "user"}],
            "model": "m",
            "params": {"temperature": 1},
            "variables": ["slot"],
            "created_at": "2026-08-01T00:00:00Z",
            "updated_at": "2026-08-01T00:00:00Z",
        },
    ),
}
SAMPLES = {"answer": ANSWER, "chunk": CHUNK, **{name: document for name, (_, document) in MODELS.items()}}
ANSWERS = [name for name, (model, _) in MODELS.items() if issubclass(model, _base.Answer)] + ["answer"]


def received(sample, document):
    """`document` as the answer, or as the one event of a stream."""
    text = json.dumps(document)
    if sample in MODELS:
        found = read_json(MODELS[sample][0], text)
        if isinstance(found, _base.Answer):
            found._take_head(ResponseHead(200, Headers(HEAD)))
        return found
    if sample == "answer":
        call = CORE.chat.completions.create(PARAMS)
        call.receive_response(200, HEAD)
        call.receive_data(text.encode())
        call.receive_eof()
        return call.result
    call = CORE.chat.completions.stream(PARAMS)
    call.receive_response(200, HEAD)
    call.receive_data(b"data: " + text.encode() + b"\n\n")
    call.next_action()
    return next(call.events())


def places(value, path=()):
    """The path of each thing in a document: fields and items of lists, at any depth."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, step))


def at(value, path):
    """What is at a path, in a document or in what was made of it."""
    for step in path:
        value = value[step] if isinstance(value, (dict, list)) else getattr(value, step)
    return value


ALL_PLACES = [(sample, path) for sample, document in SAMPLES.items() for path in places(document)]


def each_place(are_chosen):
    """Runs a test for all places of all samples that are chosen."""
    return pytest.mark.parametrize(("sample", "path"), [
        pytest.param(sample, path, id=f"{sample}:{'.'.join(map(str, path))}")
        for sample, path in [*ALL_PLACES, *((sample, ()) for sample in SAMPLES)]
        if are_chosen(path, at(SAMPLES[sample], path))
    ])  # fmt: skip


def is_field(path, value):
    return bool(path) and isinstance(path[-1], str)


def with_change(sample, path, change):
    document = copy.deepcopy(SAMPLES[sample])
    change(at(document, path[:-1]), path[-1])
    return document


def with_value(sample, path, value):
    return with_change(sample, path, lambda parent, step: parent.__setitem__(step, value))


def models_in(value):
    if isinstance(value, _base.Reply):
        yield value
    if isinstance(value, (list, _base.Reply)):
        for inner in value if isinstance(value, list) else dict(value).values():
            yield from models_in(inner)


@pytest.mark.parametrize("sample", MODELS)
def test_the_samples_show_every_field(sample):
    """So that what follows is said of all of them."""
    found = list(models_in(received(sample, SAMPLES[sample])))
    assert found
    for model in found:
        assert model.model_fields_set == set(type(model).model_fields)


@each_place(is_field)
def test_no_field_is_missed(sample, path):
    """An answer without it is read, and shows None, an empty list, or what is usual in its place."""
    found = received(sample, with_change(sample, path, lambda parent, name: parent.pop(name)))
    parent = at(found, path[:-1])
    if isinstance(parent, _base.Reply):
        assert getattr(parent, path[-1]) in (None, [], False, "image.chunk")


@each_place(is_field)
def test_any_field_may_be_null(sample, path):
    """Null is as good as absent."""
    assert at(received(sample, with_value(sample, path, None)), path) in (None, [])


@each_place(lambda path, value: isinstance(value, str))
def test_any_text_may_have_a_new_value(sample, path):
    """No list of known values is closed: reasons, roles, types."""
    found = received(sample, with_value(sample, path, "unheard of")).model_dump()
    assert at(found, path) == "unheard of"


@each_place(lambda path, value: isinstance(value, str))
def test_any_text_may_come_as_a_number(sample, path):
    """Ids and prices do."""
    found = received(sample, with_value(sample, path, 7)).model_dump()
    # Parts of a message's content are told apart by their types; what fits none stays as it came.
    assert at(found, path) in ("7", 7)


@each_place(lambda path, value: path and path[-1] in {"created", "created_at", "completed_at"} and value == 1)
def test_a_time_may_have_fractions(sample, path):
    """Some servers' clocks do."""
    assert at(received(sample, with_value(sample, path, 1.5)), path) == 1.5


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_comes_is_what_is_dumped(sample):
    """Nothing is added to it but the absent fields, and nothing is lost; the HTTP head is no part of it."""
    found = received(sample, SAMPLES[sample])
    assert found.model_dump(exclude_unset=True) == SAMPLES[sample]
    assert json.loads(found.model_dump_json(exclude_unset=True)) == SAMPLES[sample]
    assert not {"request_id", "response_headers", "_head", "request", "_request"} & set(found.model_dump())


@each_place(lambda path, value: isinstance(value, dict))
def test_unknown_fields_are_kept(sample, path):
    """At every level, readable as attributes of the models, and in the dump."""
    document = copy.deepcopy(SAMPLES[sample])
    at(document, path)["brand_new"] = {"a": [1, None]}
    found = received(sample, document)
    assert found.model_dump(exclude_unset=True) == document
    assert at(found, (*path, "brand_new")) == {"a": [1, None]}


def has_a_shape(path, value):
    anything_goes = {"logprobs", "content", "embedding"} & set(path) or (path[:1] == ("output",) and path[1:])
    return path and isinstance(value, (dict, list)) and not anything_goes


@each_place(has_a_shape)
def test_a_wrong_shape_is_an_error(sample, path):
    """Text where an object or a list should be: an error for our callers, and the message says where."""
    where = ".".join(map(str, path))
    expected = ValidationError if sample in MODELS else ResponseParseError
    with pytest.raises(expected) as caught:
        received(sample, with_value(sample, path, "text"))
    if expected is ValidationError:
        places = {".".join(str(step) for step in error["loc"] if step != "") for error in caught.value.errors()}
        assert any(place.startswith(where) for place in places)
    else:
        assert where in caught.value.message
        assert (caught.value.error_code, caught.value.status, caught.value.request_id) == ("parse_error", 200, "req-1")


@pytest.mark.parametrize("model", [model for model, _ in MODELS.values()])
@pytest.mark.parametrize("text", ["", "null", "[]", '"text"', "7", "<html>"])
def test_only_an_object_is_an_answer(model, text):
    """Whatever fields it has."""
    with pytest.raises(ValidationError):
        read_json(model, text)
    assert isinstance(read_json(model, "{}"), model)


@pytest.mark.parametrize("sample", MODELS)
def test_an_answer_can_be_made_of_what_was_decoded_elsewhere(sample):
    """Of a dict as of JSON."""
    model, document = MODELS[sample]
    assert model.model_validate(document) == read_json(model, json.dumps(document))
    nulls = dict.fromkeys(document)
    assert model.model_validate(nulls) == read_json(model, json.dumps(nulls))


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


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ChatCompletionResponse, "choices"),
        (ChatCompletionChunk, "choices"),
        (ResponsesResponse, "output"),
        (ResponsesListResponse, "data"),
        (EmbeddingsResponse, "data"),
        (ImageGenerationResponse, "data"),
        (ImageGenerationChunk, "data"),
        (CompareResponse, "models"),
        (CompareResponse, "results"),
        (BatchListResponse, "data"),
        (ModelsPage, "items"),
    ],
)
def test_absent_lists_are_empty(model, name):
    """So that a loop over them needs no question first; and each answer has a list of its own."""
    for text in ("{}", json.dumps({name: None})):
        first, second = read_json(model, text), read_json(model, text)
        assert getattr(first, name) == []
        assert getattr(first, name) is not getattr(second, name)


@pytest.mark.parametrize(
    ("model", "usual"),
    [
        (ResponsesListResponse, {"has_more": False}),
        (ImageGenerationChunk, {"object": "image.chunk"}),
        (CompareResponse, {"comparison_fallback_used": False, "partial": False, "skip_comparison": False}),
        (ModelInfo, {"is_composite": False}),
    ],
)
def test_what_is_usual_is_assumed(model, usual):
    """Where the gateway's reference says what an absent field means; everywhere else it means None."""
    found = {name: value for name, value in read_json(model, "{}").model_dump().items() if value not in (None, [])}
    assert found == usual


@pytest.mark.parametrize("details", [{"code": "bad_line", "line": 3}, ["a"], "a", 7])
def test_details_of_a_file_may_be_of_any_kind(details):
    """Text, or what a program could use."""
    assert received("file", {"status_details": details}).status_details == details


@pytest.mark.parametrize("error", [{"code": "c", "message": "m"}, "a"])
def test_the_error_of_a_compared_model_may_be_of_any_kind(error):
    """In an event, an object or a text."""
    assert received("compare event", {"error": error}).error == error


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


@pytest.mark.parametrize("sample", ANSWERS)
@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_answers_keep_their_head_when_copied_and_pickled(duplicate, sample):
    """The request id is what one quotes to the support, from whatever process."""
    found = received(sample, {**SAMPLES[sample], "odd": 1})
    twin = duplicate(found)
    assert twin == found
    assert twin.odd == 1
    assert twin.request_id == "req-1"
    assert twin.response_headers["x-mesh-served-provider"] == "acme"
    by_hand = duplicate(type(found).model_validate(SAMPLES[sample]))
    assert (by_hand.request_id, dict(by_hand.response_headers)) == ("", {})


@pytest.mark.parametrize(("sample", "name"), [("responses", "data"), ("batches", "data"), ("models", "items")])
@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_each_item_of_a_list_knows_the_head(duplicate, sample, name):
    """It can be passed on alone, copied or not."""
    (item,) = getattr(duplicate(received(sample, SAMPLES[sample])), name)
    assert item.request_id == "req-1"
    assert received(sample, {name: None}).request_id == "req-1"


def test_a_compared_model_has_a_request_id_of_its_own():
    """It is a field of the answer, and not the head's."""
    found = received("comparison", SAMPLES["comparison"])
    assert (found.request_id, found.results[0].request_id) == ("req-1", "req-of-this-model")


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


KINDS = [
    value
    for room, names in meshapi_core._ROOMS.items()
    if room.startswith("models.")
    for value in (getattr(meshapi_core, name) for name in names)
    if isinstance(value, type) and issubclass(value, (_base.Params, _base.Reply))
]


@pytest.mark.parametrize("cls", KINDS)
def test_each_model_is_of_one_kind_and_tells_its_meaning(cls):
    """What the caller writes forbids unknown fields, what the gateway writes keeps them; each has a docstring."""
    is_strict = issubclass(cls, _base.Params) and not issubclass(cls, _base.Shared)
    assert issubclass(cls, _base.Params) != issubclass(cls, _base.Reply)
    assert cls.model_config["extra"] == ("forbid" if is_strict else "allow")
    assert "__doc__" in vars(cls)
    assert cls.__doc__


# Under these names the official SDK's users know them.
NAMES = """
    ApiErrorBody ApiErrorEnvelope BatchListResponse BatchObject BatchRequestItem BuiltinTool CompareParams
    CompareResponse CompareStreamEvent CreateBatchParams CreateTemplateParams EmbeddingItem EmbeddingsParams
    EmbeddingsResponse EmbeddingsUsage FileObject ImageEditParams ImageEmbeddingUrl ImageGenerationChunk
    ImageGenerationParams ImageGenerationResponse ImageItem ImageRef ImageUsage ListModelsParams ModelCompareResult
    ModelInfo ModelOverride ModelPricing ModelSearchParams ModelsPage MultimodalEmbeddingInput ProviderPreferences
    ResponsesFunctionTool ResponsesListItem ResponsesListResponse ResponsesParams ResponsesResponse
    ResponsesStreamEvent ResponsesUsage TemplateMessage TemplateSummary UpdateTemplateParams UploadBatchFileParams
    VideoEmbeddingUrl

    AudioOutputOptions ChatCompletionChoice ChatCompletionChunk ChatCompletionChunkChoice ChatCompletionChunkDelta
    ChatCompletionMessage ChatCompletionParams ChatCompletionResponse ChatMessage ContentPartAudio ContentPartImage
    ContentPartText ContentPartVideo ImageDetail ImageOptions InputAudio TokenUsage Tool ToolCall ToolCallChunk
    ToolCallFunction ToolCallFunctionChunk ToolChoiceFunction ToolChoiceObject ToolFunction UsageInfo VideoUrl
"""


@pytest.mark.does_io
@pytest.mark.parametrize("name", NAMES.split())
def test_each_type_is_at_both_doors(name):
    """Of the core, and of a transport, where a program that moves here finds what it had."""
    assert getattr(meshapi_core, name) in KINDS
    assert getattr(importlib.import_module("meshapi_transports.httpx"), name) is getattr(meshapi_core, name)


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
