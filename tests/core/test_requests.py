"""What is sent: method, URL, headers and body, from params and options; and what is refused before it is."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest

import meshapi_core
from meshapi_core import (
    AudioOutputOptions,
    ChatCompletionParams,
    ChatMessage,
    ContentPartText,
    ImageOptions,
    MeshAPIConfig,
    MeshAPICore,
    RetryPolicy,
    Timeout,
)
from meshapi_core.models._base import Params, Shared
from meshapi_core.resources._base import _json_body

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
PARAMS = ChatCompletionParams(model="m", messages=[{"role": "user", "content": "hé"}])
METHODS = pytest.mark.parametrize("method", ["create", "stream"])


def core(*args, **kwargs):
    return MeshAPICore(MeshAPIConfig(*args, token=TOKEN, **kwargs))


def made(method, params=PARAMS, core=core(), **options):
    return getattr(core.chat.completions, method)(params, **options)


def request(*args, **kwargs):
    return made(*args, **kwargs).next_action().request


def body(*args, **kwargs):
    return json.loads(request(*args, **kwargs).content)


@METHODS
@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.meshapi.ai", "https://api.meshapi.ai/v1/chat/completions"),
        ("http://localhost:8000/", "http://localhost:8000/v1/chat/completions"),
        ("https://host/prefix/", "https://host/prefix/v1/chat/completions"),
    ],
)
def test_where_it_goes(method, base_url, url):
    """POST to the path of the method, below the base path."""
    sent = request(method, core=core(base_url))
    assert (sent.method, sent.url) == ("POST", url)


@pytest.mark.parametrize(("method", "accept"), [("create", "application/json"), ("stream", "text/event-stream")])
def test_the_headers(method, accept):
    """All that the gateway asks for, and nothing else."""
    assert dict(request(method).headers) == {
        "Authorization": f"Bearer {TOKEN}",
        "Accept": accept,
        "Content-Type": "application/json",
        "X-MeshAPI-SDK": f"python/{meshapi_core.__version__}",
        "X-Mesh-Version": "2026-08",
    }


@METHODS
def test_the_version_of_the_answers_can_be_chosen(method):
    """Another label, or none at all."""
    assert dict(request(method, core=core(api_version="2030-01")).headers)["X-Mesh-Version"] == "2030-01"
    assert "X-Mesh-Version" not in dict(request(method, core=core(api_version=None)).headers)


@METHODS
def test_headers_of_the_client_and_of_the_call(method):
    """The call's win over the client's, and both over ours, in whatever case; each name is sent once."""
    client = core(default_headers={"x-mesh-version": "mine", "X-A": "client", "X-B": "client"})
    sent = request(method, core=client, extra_headers={"x-a": "call", "ACCEPT": "text/x"}).headers
    assert dict(sent)["x-mesh-version"] == "mine"
    lower = {name.lower(): value for name, value in sent}
    assert len(lower) == len(sent)
    assert (lower["x-a"], lower["x-b"], lower["accept"]) == ("call", "client", "text/x")
    assert lower["authorization"] == f"Bearer {TOKEN}"


@METHODS
def test_a_caller_may_name_the_request(method):
    """As X-Request-Id, from the option or from a header of the caller's own."""
    for name in ("a", "A-z.0_9:", "x" * 64):
        assert dict(request(method, request_id=name).headers)["X-Request-Id"] == name
    assert "X-Request-Id" not in dict(request(method, request_id=None).headers)
    assert dict(request(method, request_id="a", extra_headers={"x-request-id": "b"}).headers)["x-request-id"] == "b"


@METHODS
@pytest.mark.parametrize("given", [True, False, None])
def test_stream_is_what_the_method_says(method, given):
    """Whatever the params say, and always there."""
    params = ChatCompletionParams(messages=[], stream=given)
    assert body(method, params) == {"messages": [], "stream": method == "stream"}
    assert body(method, params, extra_body={"x": 1}) == {"messages": [], "stream": method == "stream", "x": 1}


@METHODS
@pytest.mark.parametrize("extra_body", [None, {"new": {"a": None}}])
def test_what_is_absent_is_left_out_and_what_is_said_stays(method, extra_body):
    """None of a field is absent; None inside what the caller wrote is null; names and values go out unchanged."""
    schema = {"type": "object", "properties": {"x": {"default": None, "type": ["null", "é"]}}}
    params = ChatCompletionParams(
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {"role": "assistant", "reasoning_details": [{"signature": None}]},
        ],
        model=None,
        temperature=0,
        stop=["\u2028", "\x00", "😀"],
        tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "x", "strict": None},
        variables={"slot": ""},
    )
    assert body(method, params, extra_body=extra_body) == {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {"role": "assistant", "reasoning_details": [{"signature": None}]},
        ],
        "temperature": 0,
        "stop": ["\u2028", "\x00", "😀"],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "x", "strict": None},
        "variables": {"slot": ""},
        "stream": method == "stream",
        **(extra_body or {}),
    }


@METHODS
def test_documented_defaults_are_sent(method):
    """Those that the field tables mark with a value."""
    params = ChatCompletionParams(messages=[], image=ImageOptions(), audio=AudioOutputOptions())
    sent = body(method, params)
    assert sent["image"] == {"n": 1, "size": "1024x1024", "quality": "high", "response_format": "url"}
    assert sent["audio"] == {"voice": "alloy", "format": "wav"}


@METHODS
def test_the_body_is_utf_8(method):
    """Text is not escaped, with and without extra fields, and the bytes are there at once."""
    assert "hé".encode() in request(method).content
    assert "hé".encode() in request(method, extra_body={"x": 1}).content


@METHODS
def test_params_without_any_field_are_a_whole_body(method):
    """Made past the checks; what is sent is still JSON."""
    assert body(method, ChatCompletionParams.model_construct()) == {"stream": method == "stream"}


@METHODS
def test_extra_body_adds_and_replaces(method):
    """It has the last word, null included, on everything but stream."""
    sent = body(method, extra_body={"model": None, "top_k": 5, "messages": "mine"})
    assert sent == {"model": None, "top_k": 5, "messages": "mine", "stream": method == "stream"}
    assert body(method, extra_body={}) == body(method)


@METHODS
@pytest.mark.parametrize(
    ("query", "encoded"),
    [
        ({"a": 1, "b": "x y&=é/"}, "?a=1&b=x+y%26%3D%C3%A9%2F"),
        ({"a": [1, "2"], "b": (True, False)}, "?a=1&a=2&b=true&b=false"),
        ({"a": None, "b": [None, 1]}, "?b=1"),
        ({"a": None}, ""),
        ({"a": []}, ""),
        ({}, ""),
        (None, ""),
        ({"a": "\r\n\0#?"}, "?a=%0D%0A%00%23%3F"),
    ],
)
def test_extra_query_is_encoded(method, query, encoded):
    """A list repeats its key, booleans are lower case, None is absent, nothing gets out of the query."""
    assert request(method, extra_query=query).url == "https://api.meshapi.ai/v1/chat/completions" + encoded


@METHODS
def test_how_long_to_wait(method):
    """The call's timeout, else the client's."""
    client = core(timeout=7)
    assert made(method, core=client).timeout == made(method, core=client, timeout=None).timeout == Timeout.of(7)
    assert made(method, core=client, timeout=3).timeout == Timeout.of(3)
    endless = Timeout(None, None, None)
    assert made(method, core=client, timeout=endless).timeout == endless


@METHODS
def test_options_that_are_none_are_as_if_absent(method):
    """So that a wrapper can hand its own optional arguments on."""
    nothing = dict.fromkeys(meshapi_core.RequestOptions.__annotations__)
    assert request(method, **nothing) == request(method)


@METHODS
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"request_id": ""}, ValueError, "request_id must be 1 to 64 characters"),
        ({"request_id": "x" * 65}, ValueError, "request_id must be"),
        ({"request_id": "a b"}, ValueError, "request_id must be"),
        ({"request_id": "a\n"}, ValueError, "request_id must be"),
        ({"request_id": "é"}, ValueError, "request_id must be"),
        ({"request_id": 7}, ValueError, "request_id must be"),
        (
            {"extra_headers": {"a": "b\r\nc: d"}},
            ValueError,
            "extra_headers: the value of a must be ASCII text without CR",
        ),
        ({"extra_headers": {"a": "b\n"}}, ValueError, "extra_headers: the value of a"),
        ({"extra_headers": {"a": "b\0"}}, ValueError, "extra_headers: the value of a"),
        ({"extra_headers": {"a\r\nb": "c"}}, ValueError, "extra_headers: .* is not a header name"),
        ({"extra_headers": {"Authorization": "x"}}, ValueError, "Authorization is set by the client itself"),
        ({"extra_headers": [("a", "b")]}, ValueError, "extra_headers must be a mapping of text to text, not list"),
        ({"extra_query": "a=b"}, ValueError, "extra_query must be a mapping, not str"),
        ({"extra_query": {"a": "\ud800"}}, ValueError, "surrogates not allowed"),
        ({"extra_body": [1]}, ValueError, "extra_body must be a mapping, not list"),
        ({"extra_body": {"stream": True}}, ValueError, 'extra_body must not hold "stream"'),
        ({"extra_body": {"a": float("nan")}}, ValueError, "not JSON compliant"),
        ({"extra_body": {"a": object()}}, TypeError, "not JSON serializable"),
        ({"extra_body": {"a": "\ud800"}}, ValueError, "surrogates not allowed"),
        ({"timeout": 0}, ValueError, "timeout must be a number of seconds above 0"),
        ({"timeout": "5"}, ValueError, "timeout must be a number of seconds above 0"),
        ({"max_retries": -1}, ValueError, "max_retries must be a whole number"),
        ({"max_retries": 1.5}, ValueError, "max_retries must be a whole number"),
        ({"retry": 3}, ValueError, "retry must be a RetryPolicy, not 3"),
        ({"retries": 3}, TypeError, "unknown option 'retries'; the options are extra_body, extra_headers"),
        ({"temperature": 1}, TypeError, "unknown option 'temperature'"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_call(method, options, error, message):
    """Also for streams: when the call is made, and not when its first item is asked for."""
    with pytest.raises(error, match=message):
        made(method, **options)


@METHODS
@pytest.mark.parametrize("fields", [{"user": "\ud800"}, {"response_format": {"a": object()}}])
def test_params_that_are_no_json_are_refused_at_the_call(method, fields):
    """Half a character, or an object of the caller's own."""
    with pytest.raises(ValueError, match="serializ"):
        made(method, ChatCompletionParams(messages=[], **fields))


@METHODS
@pytest.mark.parametrize("extra_body", [None, {"x": 1}])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_cannot_say_are_refused_at_the_call(method, extra_body, number):
    """They do not become null on the way, wherever they stand; texts may well speak of them."""
    said = ChatMessage(role="user", content="NaN")
    part = ContentPartText.model_validate({"type": "text", "text": "hi", "x": number})
    for params in (
        ChatCompletionParams(messages=[said], response_format={"a": [{"b": number}]}),
        ChatCompletionParams(messages=[said, ChatMessage(role="user", content=[part])]),
        ChatCompletionParams(messages=[ChatMessage(role="user", content="a", reasoning_details=[{"b": number}]), said]),
        ChatCompletionParams(messages=[said]).model_copy(update={"temperature": number}),
    ):
        with pytest.raises(ValueError, match=r"JSON has no -?(NaN|Infinity)|not JSON compliant"):
            made(method, params, extra_body=extra_body)
    said = ChatCompletionParams(messages=[said], user='NaN -Infinity "NaN": NaN', response_format={"NaN": "Infinity"})
    sent = body(method, said, extra_body=extra_body)
    assert (sent["user"], sent["response_format"]) == (said.user, said.response_format)


# But for those of a few words: of what is put there when pydantic does not look, it does not even warn.
WRITTEN = [
    (cls, name)
    for room, names in meshapi_core._ROOMS.items()
    if room.startswith("models.")
    for cls in (getattr(meshapi_core, name) for name in names)
    if isinstance(cls, type) and issubclass(cls, Params)
    for name, annotation in {**cls.__annotations__, **({"unknown": Any} if issubclass(cls, Shared) else {})}.items()
    if "Literal" not in str(annotation) and name != "stream"
]


@pytest.mark.filterwarnings("error:Pydantic serializer warnings")
@pytest.mark.parametrize(("cls", "name"), WRITTEN)
def test_no_field_lets_such_a_number_through(cls, name):
    """It is refused, or it is where pydantic would have refused it, and now warns."""
    for value in (math.nan, [math.inf], {"a": math.nan}, [{"a": (0.5, {"b": -math.inf})}], {0: {math.nan}}):
        with pytest.raises((ValueError, UserWarning), match=r"JSON has no -?(NaN|Infinity)|Unexpected"):
            _json_body(cls.model_construct(**{name: value}), stream=None, extra=None)


def test_what_takes_more_than_a_look_is_sent():
    """Numbers of a class of their own, or what can be read but once."""
    said = {"a": Decimal("0.5"), "b": (number for number in [1, 2.5]), "c": Number(0.25), "d": {1.5}}
    assert body("create", ChatCompletionParams(messages=[], response_format=said))["response_format"] == {
        "a": "0.5",
        "b": [1, 2.5],
        "c": 0.25,
        "d": [1.5],
    }


class Number(float):
    """A number of the caller's own kind."""


@METHODS
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"messages": []}, r"takes ChatCompletionParams, not dict; make them with ChatCompletionParams\(\*\*params\)"),
        (None, "takes ChatCompletionParams, not NoneType$"),
        ("hi", "takes ChatCompletionParams, not str$"),
        (ImageOptions(), "takes ChatCompletionParams, not ImageOptions$"),
    ],
)
def test_params_of_another_type_are_refused(method, params, message):
    """With a hint for those who pass a dict."""
    with pytest.raises(TypeError, match=rf"^{method}\(\) {message}"):
        made(method, params)


def test_one_core_serves_any_number_of_calls():
    """Its resources are made once, and calls do not touch one another."""
    one = core(retry=RetryPolicy(max_retries=1))
    assert one.chat is one.chat
    assert one.chat.completions is one.chat.completions
    first, second = (one.chat.completions.create(PARAMS) for _ in range(2))
    first.receive_response(200, {})
    assert second.state is meshapi_core.State.SEND_REQUEST
    assert repr(one) == f"MeshAPICore({one.config!r})"
