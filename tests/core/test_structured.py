"""Answers of a wanted shape: what a model is told of it, how its answer is read, and how it is asked again."""

import copy
import dataclasses
import enum
import json
import pickle
import re
from typing import Any, Dict, Generic, List, Literal, Optional, Tuple, TypeVar, Union

import pytest
from pydantic import BaseModel, Field, RootModel, WithJsonSchema, field_validator
from typing_extensions import Annotated, TypedDict

from meshapi_core import (
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    Done,
    Failure,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ParsedChatCompletion,
    ResponseParseError,
    RetryPolicy,
    SendRequest,
    State,
    StreamInterruptedError,
    StructuredOutputError,
    Wait,
)

COMPLETIONS = MeshAPICore(MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC")).chat.completions
PARAMS = ChatCompletionParams(model="m", messages=[{"role": "user", "content": "hi"}])
HEADERS = {"content-type": "application/json", "x-request-id": "req-1"}
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
T = TypeVar("T")


class Point(BaseModel):
    """Where."""

    x: int
    y: int = 0


class Kind(enum.Enum):
    """Of which kind."""

    A = "a"
    B = "b"


class Line(BaseModel):
    start: Annotated[Point, Field(description="from where")]
    end: Optional[Point] = None
    kind: Kind = Kind.A
    tags: List[str] = []
    default: int = 1
    discriminator: Annotated[str, Field(min_length=1, description="which")] = "d"


class Tree(BaseModel):
    name: str
    children: "List[Tree]" = []


class Cat(BaseModel):
    type: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    type: Literal["dog"]
    good: bool


Pet = Annotated[Union[Cat, Dog], Field(discriminator="type")]


class Owner(BaseModel):
    pet: Pet


class Box(BaseModel, Generic[T]):
    inner: T


@dataclasses.dataclass
class Data:
    a: int


class Typed(TypedDict):
    a: int


def sent(call):
    action = call.next_action()
    assert isinstance(action, SendRequest)
    return json.loads(action.request.content)


def format_of(wanted):
    """What is said of the shape, the same by both methods: its name, its schema, and whether it is strict."""
    said = [sent(method(PARAMS, wanted))["response_format"] for method in (COMPLETIONS.parse, COMPLETIONS.parse_stream)]
    assert said[0] == said[1]
    assert said[0]["type"] == "json_schema"
    assert set(said[0]["json_schema"]) == {"name", "schema", "strict"}
    return said[0]["json_schema"]


def schema_of(wanted):
    said = format_of(wanted)
    assert said["strict"] is True
    assert_strict(said["schema"])
    return said["schema"]


def assert_strict(schema):
    """As the providers have it who hold a model to a schema (OpenAI API, "Structured outputs")."""
    if isinstance(schema, list):
        for item in schema:
            assert_strict(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
        if "$ref" in schema and "$defs" not in schema:
            assert set(schema) == {"$ref"}
        assert not {"default", "discriminator", "oneOf"} & set(schema)
        for name, value in schema.items():
            for inner in value.values() if name in ("properties", "$defs") else [value]:
                assert_strict(inner)


# --- what the model is told --------------------------------------------------------------------------------------


def test_the_request_is_that_of_create_with_the_format():
    """All else that the params say goes out as it is; the params themselves stay as they are."""
    params = PARAMS.model_copy(update={"temperature": 0.5, "stream": True})
    before = params.model_dump()
    for method, stream in ((COMPLETIONS.parse, False), (COMPLETIONS.parse_stream, True)):
        body = sent(method(params, Point, extra_body={"x": 1}))
        assert body.pop("response_format")["json_schema"]["name"] == "Point"
        assert body == {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5,
            "stream": stream,
            "x": 1,
        }
    assert params.model_dump() == before


def test_all_objects_are_closed_and_all_fields_required():
    """Defaults are left out; a field may well be called so."""
    schema = schema_of(Line)
    assert schema["type"] == "object"
    assert list(schema["properties"]) == ["start", "end", "kind", "tags", "default", "discriminator"]
    assert schema["properties"]["start"] == {"$ref": "#/$defs/Point"}
    assert schema["properties"]["end"]["anyOf"] == [{"$ref": "#/$defs/Point"}, {"type": "null"}]
    assert schema["properties"]["kind"] == {"$ref": "#/$defs/Kind"}
    assert schema["properties"]["tags"]["items"] == {"type": "string"}
    assert schema["properties"]["discriminator"] == {
        "type": "string", "minLength": 1, "description": "which", "title": "Discriminator"}  # fmt: skip
    assert schema["$defs"]["Point"]["required"] == ["x", "y"]
    assert schema["$defs"]["Point"]["description"] == "Where."
    assert schema["$defs"]["Kind"]["enum"] == ["a", "b"]


def test_a_type_that_holds_itself_has_an_object_at_its_root():
    """And not a reference, which is not allowed there."""
    schema = schema_of(Tree)
    assert (schema["type"], schema["title"]) == ("object", "Tree")
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["required"] == ["name", "children"]


def test_one_of_several_is_any_of_them():
    """Providers know no oneOf, and no discriminator."""
    schema = schema_of(Owner)
    assert schema["properties"]["pet"]["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert schema["$defs"]["Cat"]["properties"]["type"]["const"] == "cat"


@pytest.mark.parametrize(
    ("wanted", "inner"),
    [
        (int, {"type": "integer"}),
        (List[int], {"type": "array", "items": {"type": "integer"}}),
        (Union[Cat, Dog], {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
        (Pet, {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
        (Optional[Point], {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}),
        (List[Tree], {"type": "array", "items": {"$ref": "#/$defs/Tree"}}),
        (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}),
        (RootModel[List[int]], {"type": "array", "items": {"type": "integer"}, "title": "RootModel[List[int]]"}),
        (Tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}],
                           "minItems": 2, "maxItems": 2}),
    ],
)  # fmt: skip
def test_what_is_no_object_is_wrapped_in_one(wanted, inner):
    """Only an object may be at the root; its definitions stay there."""
    schema = schema_of(wanted)
    assert set(schema) - {"$defs"} == {"type", "properties", "required", "additionalProperties"}
    assert schema["properties"] == {"value": inner}
    assert ("$defs" in schema) == ("$defs" in json.dumps(inner))


@pytest.mark.parametrize("wanted", [Data, Typed, Point, Box[int]])
def test_any_type_that_is_an_object_is_told_as_it_is(wanted):
    """A dataclass, a TypedDict, a model, one of a kind."""
    assert "value" not in schema_of(wanted)["properties"]


class WithDict(BaseModel):
    a: Dict[str, int]


class WithDictInside(BaseModel):
    a: List[WithDict]


class WithExtra(BaseModel, extra="allow"):
    a: int


class WithOpenSchema(BaseModel):
    a: Annotated[Any, WithJsonSchema({"type": "object"})]


class WithObject(BaseModel):
    a: Optional[Dict[str, Any]] = None


@pytest.mark.parametrize(
    "wanted",
    [
        WithDict, WithDictInside, WithExtra, WithObject, WithOpenSchema, Dict[str, int], List[Dict[str, str]],
        Union[int, Dict[str, int]], Tuple[Dict[str, int], int], Optional[WithDict],
    ],
)  # fmt: skip
def test_what_cannot_be_closed_is_told_as_it_is(wanted):
    """An object that may hold anything is asked for without strictness; the schema is then pydantic's own."""
    said = format_of(wanted)
    assert said["strict"] is False
    assert "additionalProperties" in json.dumps(said["schema"]) or wanted is WithOpenSchema
    assert said["schema"]["type"] == "object"


class WithAny(BaseModel):
    a: Any
    b: List[Any] = []


@pytest.mark.parametrize("wanted", [WithAny, List[Any], Any])
def test_what_may_be_anything_is_not_strict(wanted):
    """A schema without a type is refused by those who hold a model to it."""
    assert format_of(wanted)["strict"] is False


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Point, "Point"),
        (Box[int], "Box_int_"),
        (Box[List[int]], "Box_List_int__"),
        (int, "int"),
        ({"type": "object"}, "answer"),
        ({"title": "a b.c/é-_9", "type": "object"}, "a_b_c__-_9"),
        ({"title": "x" * 70, "type": "object"}, "x" * 64),
        ({"title": 7}, "7"),
    ],
)
def test_names_are_such_as_providers_take(wanted, name):
    """Letters, digits, _ and -, 64 at most."""
    assert format_of(wanted)["name"] == name
    # What a type of typing's is called differs from one Python to the next.
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", format_of(Pet)["name"])


def test_a_name_is_never_empty():
    """Providers refuse that."""
    assert format_of({"title": "", "type": "object"})["name"]


def test_a_schema_of_the_callers_own_may_be_strict():
    """Where it says of a part no more than that there is none."""

    class Pair(BaseModel):
        a: Annotated[Any, WithJsonSchema({"type": "array", "prefixItems": [{"type": "integer"}], "items": False})]

    assert schema_of(Pair)["properties"]["a"] == {
        "type": "array",
        "prefixItems": [{"type": "integer"}],
        "items": False,
        "title": "A",
    }


def test_a_json_schema_is_told_as_it_is():
    """A copy of it, neither strict nor wrapped."""
    schema = {"title": "t", "type": "array", "items": {"type": "object", "properties": {}, "default": 1}}
    before = copy.deepcopy(schema)
    assert format_of(schema) == {"name": "t", "schema": before, "strict": False}
    assert schema == before


# --- how its answer is read --------------------------------------------------------------------------------------


def completion(content, **fields):
    """The fields of a completion whose first answer has this content."""
    message = {"role": "assistant", "content": content, **fields.pop("message", {})}
    return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop", **fields}]}


def answered(call, body, status=200):
    call.receive_response(status, HEADERS)
    call.receive_data(json.dumps(body).encode())
    call.receive_eof()
    return call


def parsed(wanted, content, **fields):
    call = answered(COMPLETIONS.parse(PARAMS, wanted), completion(content, **fields))
    assert call.next_action() == Done()
    assert type(call.result) is ParsedChatCompletion
    assert call.result.problem is None
    return call.result.parsed


def problem(wanted, content, **fields):
    call = answered(COMPLETIONS.parse(PARAMS, wanted), completion(content, **fields))
    with pytest.raises(StructuredOutputError) as caught:
        call.next_action()
    assert call.state is State.FAILED
    error = caught.value
    assert isinstance(error, ResponseParseError)
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert (error.__context__, error.__cause__) == (None, None)
    assert type(error.partial) is ParsedChatCompletion
    assert error.partial.problem is error
    assert error.partial.id == "c"
    return error


POINT = '{"x": 1, "y": 2}'


@pytest.mark.parametrize(
    ("wanted", "content", "value"),
    [
        (Point, POINT, Point(x=1, y=2)),
        (Point, f" \n{POINT}\n", Point(x=1, y=2)),
        (Point, '{"x": 1}', Point(x=1)),
        (Data, '{"a": 1}', Data(1)),
        (Typed, '{"a": 1}', {"a": 1}),
        (Line, '{"start": {"x": 1}, "kind": "b"}', Line(start=Point(x=1), kind=Kind.B)),
        (Tree, '{"name": "a", "children": [{"name": "b"}]}', Tree(name="a", children=[Tree(name="b")])),
        (Owner, '{"pet": {"type": "dog", "good": true}}', Owner(pet=Dog(type="dog", good=True))),
        (Dict[str, int], '{"a": 1}', {"a": 1}),
        (Dict[str, int], '{"value": 1}', {"value": 1}),
        (int, '{"value": 7}', 7),
        (int, "7", 7),
        (List[int], '{"value": [1, 2]}', [1, 2]),
        (List[int], "[1, 2]", [1, 2]),
        (Pet, '{"value": {"type": "cat"}}', Cat(type="cat")),
        (Pet, '{"type": "cat"}', Cat(type="cat")),
        (Optional[Point], '{"value": null}', None),
        (Optional[Point], "null", None),
        (str, '{"value": "é\\u2028"}', "é\u2028"),
        (Kind, '{"value": "a"}', Kind.A),
        ({"type": "object"}, POINT, {"x": 1, "y": 2}),
        ({"type": "object"}, "[1]", [1]),
        ({}, "null", None),
    ],
)
def test_what_the_model_writes_is_read_as_what_was_wanted(wanted, content, value):
    """With and without the wrapper; a schema alone gives whatever the JSON stands for."""
    found = parsed(wanted, content)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "fenced",
    [
        "```json\n{}\n```",
        "```\n{}\n```",
        "```JSON\n{}```",
        "\n ```json  \n{}\n``` \n",
        "```json\n\n{}\n\n```",
        "```json\r\n{}\r\n```",
    ],
)
@pytest.mark.parametrize(
    ("wanted", "value"), [(Point, Point(x=1, y=2)), ({}, {"x": 1, "y": 2}), (Dict[str, int], {"x": 1, "y": 2})]
)
def test_json_in_a_fence_is_read(fenced, wanted, value):
    """Models wrap it as they do all code, even when told not to."""
    assert parsed(wanted, fenced.replace("{}", POINT)) == value


def test_json_that_speaks_of_fences_is_read_as_it_is():
    """What stands in a text is not taken for one."""
    assert parsed(Dict[str, str], json.dumps({"a": "```json\n{}\n```"})) == {"a": "```json\n{}\n```"}


def test_content_in_parts_is_read_as_one_text():
    """Those that are text; others are passed over."""
    parts = [{"type": "text", "text": '{"x":'}, {"type": "other"}, {"type": "text", "text": " 1}"}]
    assert parsed(Point, parts) == Point(x=1)


@pytest.mark.parametrize("reason", [None, "stop", "content_filter", "tool_calls", "novel"])
def test_the_finish_reason_does_not_matter_where_the_answer_is_whole(reason):
    """But for one that says that it is not."""
    assert parsed(Point, POINT, finish_reason=reason) == Point(x=1, y=2)


@pytest.mark.parametrize("content", [POINT, '{"x": 1, "y"', "{"])
def test_an_answer_that_was_cut_off_is_none(content):
    """Even if it looks whole; to ask again would end in the same way."""
    error = problem(Point, content, finish_reason="length")
    assert error.message == "the model's answer was cut off before its end; allow it more with max_tokens"
    assert (error.text, error.details, error.is_correctable) == (content, [], False)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"message": {"refusal": "I will not"}}, "it refused, I will not"),
        ({}, "finish_reason is 'stop'"),
        ({"finish_reason": "length"}, "finish_reason is 'length'"),
        ({"finish_reason": "content_filter"}, "finish_reason is 'content_filter'"),
        ({"message": None}, "finish_reason is 'stop'"),
    ],
)
@pytest.mark.parametrize("content", [None, "", " \n", []])
def test_a_model_that_wrote_nothing_is_told_with_its_reason(fields, reason, content):
    """There is nothing to be corrected."""
    body = completion(content, **{**fields, "message": fields.get("message") or {}})
    if fields.get("message", {}) is None:
        body["choices"][0]["message"] = None
    call = answered(COMPLETIONS.parse(PARAMS, Point, max_retries=3), body)
    with pytest.raises(StructuredOutputError) as caught:
        call.next_action()
    assert caught.value.message == f"the model wrote nothing: {reason}"
    assert (caught.value.details, caught.value.is_correctable) == ([], False)
    assert not caught.value.text.strip()


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": None}])
def test_an_answer_without_choices_is_no_answer(body):
    """It is told as such, and not an IndexError."""
    call = answered(COMPLETIONS.parse(PARAMS, Point), body)
    with pytest.raises(StructuredOutputError, match="the model wrote nothing: finish_reason is None"):
        call.next_action()


@pytest.mark.parametrize("content", [None, "", "I will look"])
def test_a_model_that_wants_tools_called_is_not_wrong(content):
    """The completion is the result; there is only no value in it yet."""
    tools = {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}
    call = answered(COMPLETIONS.parse(PARAMS, Point, max_retries=3), completion(content, message=tools))
    assert call.next_action() == Done()
    found = call.result
    assert found.choices[0].message.tool_calls[0].id == "t"
    with pytest.raises(StructuredOutputError) as caught:
        _ = found.parsed
    assert caught.value is found.problem
    if not content:
        assert caught.value.message == (
            "the model wrote nothing: it wants tools called; see the completion's tool_calls"
        )
    # Raised again, its traceback does not grow.
    with pytest.raises(StructuredOutputError) as again:
        _ = found.parsed
    assert len(again.traceback) == len(caught.traceback)


@pytest.mark.parametrize(
    ("wanted", "content", "details"),
    [
        (Point, '{"x": "a", "y": null}', [(["x"], "int_parsing"), (["y"], "int_type")]),
        (Point, "{}", [(["x"], "missing")]),
        (Point, "[]", [([], "model_type")]),
        (Point, "so: {}", [([], "json_invalid")]),
        (Point, '{"x": 1', [([], "json_invalid")]),
        (Point, "```json\n{}\n``` as you see", [([], "json_invalid")]),
        (Point, "```json\n{\n```", [([], "json_invalid")]),
        (List[int], '{"value": [1, "a"]}', [([1], "int_parsing")]),
        (List[int], "so", [([], "json_invalid")]),
        (List[Point], '{"value": [{"x": 1}, {}]}', [([1, "x"], "missing")]),
        ({"type": "object"}, "so", [([], "json_invalid")]),
        ({}, "[" * 100_000, [([], "json_invalid")]),
        (List[int], "[" * 100_000, [([], "json_invalid")]),
        (Point, "[" * 100_000, [([], "json_invalid")]),
        (str, '{"value": "\\ud800"}', None),
    ],
)
def test_an_answer_of_another_shape_tells_what_is_wrong_with_it(wanted, content, details):
    """With which field, and why; the text itself is there, too."""
    error = problem(wanted, content)
    assert error.text == content
    assert error.is_correctable
    assert "the model's answer could not be read as " in error.message
    assert content[:500] in error.message
    assert len(error.message) < 800
    for detail in error.details:
        assert set(detail) == {"loc", "msg", "type"}
    if details is not None:
        assert [(detail["loc"], detail["type"]) for detail in error.details] == details


def test_what_a_validator_of_the_callers_says_is_told():
    """As pydantic tells it."""

    class Even(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, n):
            if n % 2:
                raise ValueError("must be even")
            return n

    assert parsed(Even, '{"n": 2}').n == 2
    error = problem(Even, '{"n": 3}')
    assert error.details == [{"loc": ["n"], "msg": "Value error, must be even", "type": "value_error"}]
    assert "(n: Value error, must be even)" in error.message


def test_only_the_first_answer_counts():
    """Where several were asked for."""
    body = completion(POINT)
    body["choices"].append({"index": 1, "message": {"content": "junk"}})
    assert answered(COMPLETIONS.parse(PARAMS, Point), body).result.parsed == Point(x=1, y=2)


# --- asking again ------------------------------------------------------------------------------------------------


def test_a_wrong_answer_is_sent_back_with_what_is_wrong():
    """As often as is allowed; each time the whole conversation so far."""
    call = COMPLETIONS.parse(PARAMS, Line, max_retries=2)
    first = sent(call)
    answered(call, completion('{"start": {"x": "a"}, "tags": 1}'))
    second = sent(call)
    assert {**second, "messages": None} == {**first, "messages": None}
    assert second["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": '{"start": {"x": "a"}, "tags": 1}'},
        {
            "role": "user",
            "content": "That answer does not have the shape that was asked for:\n"
            "- start.x: Input should be a valid integer, unable to parse string as an integer\n"
            "- tags: Input should be a valid array\n"
            "Answer once more: with JSON that fits the schema, and with nothing beside it.",
        },
    ]
    answered(call, completion("so"))
    third = sent(call)
    assert third["messages"][:3] == second["messages"]
    assert third["messages"][3] == {"role": "assistant", "content": "so"}
    assert "\n- Invalid JSON: " in third["messages"][4]["content"]
    assert len(third["messages"]) == 5
    answered(call, completion('{"start": {"x": 1}}'))
    assert call.next_action() == Done()
    assert call.result.parsed.start.x == 1
    assert PARAMS.messages == [ChatMessage(role="user", content="hi")]


def test_the_last_wrong_answer_is_the_error():
    """Once there are no more corrections."""
    call = COMPLETIONS.parse(PARAMS, Point, max_retries=1)
    answered(call, completion("one"))
    answered(call, completion("two"))
    with pytest.raises(StructuredOutputError) as caught:
        call.next_action()
    assert caught.value.text == "two"
    assert caught.value.partial.choices[0].message.content == "two"


@pytest.mark.parametrize("max_retries", [None, 0])
def test_nothing_is_corrected_unless_asked_for(max_retries):
    """A correction costs tokens."""
    call = answered(COMPLETIONS.parse(PARAMS, Point, max_retries=max_retries), completion("so"))
    assert call.state is State.FAILED


def test_what_is_correctable_may_become_what_is_not():
    """A cut after a slip ends it."""
    call = COMPLETIONS.parse(PARAMS, Point, max_retries=5)
    answered(call, completion("so"))
    answered(call, completion("{", finish_reason="length"))
    with pytest.raises(StructuredOutputError, match="cut off"):
        call.next_action()


@pytest.mark.parametrize("max_retries", [-1, 1.5, True, "2", [1]])
def test_corrections_that_cannot_be_counted_are_refused(max_retries):
    """At the call."""
    with pytest.raises(ValueError, match="max_retries must be a whole number, 0 or more, not"):
        COMPLETIONS.parse(PARAMS, Point, max_retries=max_retries)


def test_corrections_are_not_retries():
    """How often a single request is tried again is the policy's to say, for each of them anew."""
    call = COMPLETIONS.parse(PARAMS, Point, max_retries=1, retry=RetryPolicy(max_retries=1))
    for _ in range(2):
        answered(call, {}, status=503)
        assert call.next_action() == Wait(0.5)
        call.wait_elapsed()
        answered(call, completion("so"))
    assert call.state is State.FAILED
    call = COMPLETIONS.parse(PARAMS, Point, max_retries=5, retry=RetryPolicy(max_retries=0))
    answered(call, {}, status=503)
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    assert caught.value.status == 503


@pytest.mark.parametrize("name", ["parse", "parse_stream"])
@pytest.mark.parametrize("response_format", [{"type": "json_object"}, {}])
def test_params_that_have_a_format_are_refused(name, response_format):
    """One of the two would have to give way."""
    params = ChatCompletionParams(messages=[], response_format=response_format)
    with pytest.raises(ValueError, match=rf"^{name}\(\) makes the response_format itself, but .* use create\(\)$"):
        getattr(COMPLETIONS, name)(params, Point)


# --- streams -----------------------------------------------------------------------------------------------------


def event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def streamed(wanted, *texts, finish_reason="stop", done=b"data: [DONE]\n\n"):
    call = COMPLETIONS.parse_stream(PARAMS, wanted)
    call.receive_response(200, SSE)
    for text in texts:
        call.receive_data(event(id="c", choices=[{"delta": {"content": text}}]))
    call.receive_data(event(choices=[{"delta": {}, "finish_reason": finish_reason}]) + done)
    return call


def test_a_stream_is_seen_being_written_and_read_in_the_end():
    """Its chunks are those of any stream, its result has the value."""
    call = streamed(Point, '{"x"', ": 1}")
    chunks = list(call.events())
    assert {type(chunk) for chunk in chunks} == {ChatCompletionChunk}
    assert [call.text_of(chunk) for chunk in chunks] == ['{"x"', ": 1}", ""]
    assert call.next_action() == Done()
    assert type(call.result) is ParsedChatCompletion
    assert (call.result.parsed, call.result.request_id, call.result.problem) == (Point(x=1), "req-1", None)


@pytest.mark.parametrize(
    ("texts", "reason", "message"),
    [
        (["so"], "stop", "could not be read as Point"),
        (['{"x": 1}'], "length", "was cut off"),
        ([], "stop", "wrote nothing"),
    ],
)
def test_a_stream_of_another_shape_is_told_when_the_value_is_asked_for(texts, reason, message):
    """The completion is there all the same."""
    call = streamed(Point, *texts, finish_reason=reason)
    assert call.next_action() == Done()
    found = call.result
    assert found.choices[0].finish_reason == reason
    with pytest.raises(StructuredOutputError, match=message) as caught:
        _ = found.parsed
    assert caught.value.text == "".join(texts)
    assert caught.value.partial is found


def test_a_stream_of_another_shape_names_its_request():
    """As the same error of parse() does."""
    assert streamed(Point, "so").result.problem.request_id == "req-1"


def test_a_stream_may_end_without_done():
    """After its finish_reason, as any; what it reads does not depend on that."""
    call = streamed(Point, POINT, done=b"")
    call.receive_eof()
    assert call.result.parsed == Point(x=1, y=2)
    call = streamed(Point, "so", done=b"")
    call.receive_eof()
    assert isinstance(call.result.problem, StructuredOutputError)


def test_a_stream_that_breaks_off_has_its_partial():
    """With what came, and why that is no value."""
    call = COMPLETIONS.parse_stream(PARAMS, Point)
    call.receive_response(200, SSE)
    call.receive_data(event(choices=[{"delta": {"content": '{"x": '}}]))
    call.receive_failure(Failure.CONNECTION_LOST)
    with pytest.raises(StreamInterruptedError) as caught:
        call.next_action()
    assert caught.value.partial.choices[0].message.content == '{"x": '
    assert isinstance(caught.value.partial.problem, StructuredOutputError)


def test_max_retries_of_a_stream_are_tries_of_the_request():
    """There is no correcting what was seen already."""
    call = COMPLETIONS.parse_stream(PARAMS, Point, max_retries=1)
    call.receive_failure(Failure.CONNECT)
    assert call.next_action() == Wait(0.5)


# --- copies ------------------------------------------------------------------------------------------------------

DUPLICATES = pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, *(lambda value, p=p: pickle.loads(pickle.dumps(value, p)) for p in range(2, 6))],
    ids=["copy", "deepcopy", *(f"pickle {p}" for p in range(2, 6))],
)


@DUPLICATES
def test_a_completion_keeps_its_value_when_copied_and_pickled(duplicate):
    """And its request's id."""
    found = duplicate(answered(COMPLETIONS.parse(PARAMS, Point), completion(POINT)).result)
    assert type(found) is ParsedChatCompletion
    assert (found.parsed, found.problem, found.request_id) == (Point(x=1, y=2), None, "req-1")
    assert found.choices[0].message.content == POINT


@DUPLICATES
def test_a_completion_without_a_value_keeps_its_problem_when_copied_and_pickled(duplicate):
    """Which in turn knows a completion: to follow one to the other does not go round for ever."""
    found = duplicate(streamed(Point, "so").result)
    with pytest.raises(StructuredOutputError, match="could not be read as Point"):
        _ = found.parsed
    assert found.problem.partial.choices[0].message.content == "so"
    assert found.problem.partial.problem.text == "so"


@DUPLICATES
def test_an_error_keeps_all_that_it_tells_when_copied_and_pickled(duplicate):
    """What can be told of it again is the same."""
    error = problem(Point, '{"x": "a"}')
    other = duplicate(error)
    assert type(other) is StructuredOutputError
    assert (str(other), other.text, other.is_correctable) == (str(error), error.text, True)
    assert (other.details, other.request_id) == (error.details, "req-1")
    assert other.correction() == error.correction()
    assert other.partial.choices[0].message.content == '{"x": "a"}'
    assert other.partial.problem.text == error.text


def test_the_value_is_no_part_of_the_answer():
    """It is not dumped, and one that was made by hand has none."""
    found = answered(COMPLETIONS.parse(PARAMS, Point), completion(POINT)).result
    assert found.model_dump(exclude_unset=True) == completion(POINT)
    made = ParsedChatCompletion.model_validate(completion(POINT))
    assert (made.parsed, made.problem) == (None, None)
    assert isinstance(made, ChatCompletionResponse)
