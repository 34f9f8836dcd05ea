"""The token is in no text that may end up in a log: no repr, no message, no pickled error, no traceback with locals."""

import json
import pickle
import pprint
import sys
import traceback

import pytest

from meshapi_core import (
    BatchObject,
    ChatCompletionParams,
    CompareParams,
    Failure,
    ImageGenerationParams,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ResponsesParams,
    State,
    Wait,
)
from meshapi_core.exchange import Terms

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
CORE = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN, default_headers={"X-A": "b"}))
PARAMS = ChatCompletionParams(messages=[{"role": "user", "content": "hi"}])
METHODS = pytest.mark.parametrize("method", ["create", "stream"])


def make(method, **options):
    return getattr(CORE.chat.completions, method)(PARAMS, **options)


def texts_of(value):
    """The ways in which a value gets into a log."""
    yield from (repr(value), str(value), f"{value}", pprint.pformat(value))


def texts_of_error(error):
    """An error's own, what travels between processes, and the traceback that an error tracker takes."""
    yield from texts_of(error)
    yield repr(vars(error))
    yield repr(error.args)
    yield from traceback.format_exception(type(error), error, error.__traceback__)
    report = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
    yield from report.format()
    # What is hidden by "from None" is not seen in the report, but an error tracker may follow it.
    for other in (error.__context__, error.__cause__):
        if other is not None:
            yield from texts_of_error(other)


def assert_secret(texts):
    for text in texts:
        assert TOKEN not in text
        assert TOKEN[:12] not in text


@METHODS
def test_no_object_on_the_way_shows_the_token(method):
    """The config, the core and its resources, the call in its states, the action, the request."""
    call = make(method, extra_headers={"X-C": "d"})
    action = call.next_action()
    values = [CORE.config, CORE, CORE.chat, CORE.chat.completions, call, action, action.request]
    for value in values:
        assert_secret(texts_of(value))
    call.receive_failure(Failure.CONNECT)
    assert_secret(texts_of(call))
    if method == "create":
        call.receive_failure(Failure.DEADLINE)
    assert_secret(texts_of_error(raised_by(call)))
    assert TOKEN in dict(action.request.headers)["Authorization"]


# Every place in which a server could quote the token, and some in which it should not be able to.
ENVELOPES = {
    "message": {"error": {"message": f"bad key {TOKEN}!"}},
    "code": {"error": {"message": "m", "code": TOKEN}},
    "details": {"error": {"message": "m", "details": [{"loc": ["header", TOKEN], TOKEN: 1, "msg": f"x{TOKEN}"}]}},
    "details, no list": {"error": {"message": "m", "details": {"a": TOKEN}}},
    "provider_error": {"error": {"message": "m", "provider_error": {"a": [{"b": TOKEN}]}}},
    "provider_error, text": {"error": {"message": "m", "provider_error": TOKEN}},
    "request_id": {"error": {"message": "m"}, "request_id": TOKEN},
    "retry_after_seconds": {"error": {"message": "m", "retry_after_seconds": TOKEN}},
    "unknown field": {"error": {"message": None, "seen": TOKEN}},
    "text": {"error": TOKEN},
    "beside": {"error": True, "message": TOKEN},
    "detail": {"detail": f"not {TOKEN}"},
    "cut": {"x": "x" * 480 + TOKEN},
    "key": {"error": {"message": 5, TOKEN: 1}},
}
BODIES = {
    **{name: json.dumps(envelope) for name, envelope in ENVELOPES.items()},
    "plain text": f"bad key: {TOKEN}",
    "html": f"<html>{TOKEN}</html>",
    "html, cut": f"<html>{'x' * 475}{TOKEN}</html>",
    "event stream": f'data: {{"error": {{"message": "{TOKEN}"}}}}\n\n',
    "escaped": json.dumps({"error": {"message": TOKEN}}).replace("rsk", "\\u0072sk"),
}


def error_of(call, status, body, headers=()):
    call.receive_response(status, [("content-type", "text/event-stream"), *headers])
    call.receive_data(body.encode())
    if call.state.name.startswith("RECEIVE"):
        call.receive_eof()
    return raised_by(call)


def raised_by(call):
    # In a frame of its own: the caller's would show what the server said.
    try:
        call.next_action()
    except MeshAPIError as error:
        return error
    raise AssertionError("the call did not fail")


@METHODS
@pytest.mark.parametrize("status", [302, 401, 500])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_server_that_quotes_the_token_in_an_error_is_not_repeated(method, status, body):
    """Wherever in its answer it does."""
    error = error_of(make(method, max_retries=0), status, body)
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


@METHODS
@pytest.mark.parametrize("name", ["x-request-id", "location", "retry-after", "www-authenticate"])
def test_a_server_that_quotes_the_token_in_a_header_is_not_repeated(method, name):
    """Such as in the Location of a redirect."""
    error = error_of(make(method, max_retries=0), 302, "", [(name, f"https://elsewhere?key={TOKEN}")])
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("prefix", ["", "event: error\n"])
@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_a_server_that_quotes_the_token_in_an_error_frame_is_not_repeated(prefix, envelope):
    """In the middle of a stream as little as in an answer."""
    if not prefix and not envelope.get("error"):
        envelope = {"error": envelope}
    error = error_of(make("stream"), 200, f"{prefix}data: {json.dumps(envelope)}\n\n")
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("create", f"<html>{TOKEN}"),
        ("create", json.dumps({"choices": TOKEN})),
        ("create", json.dumps({"choices": {TOKEN: 1}})),
        ("stream", f"data: {TOKEN}\n\n"),
        ("stream", f"data: {'x' * 485}{TOKEN}\n\n"),
        ("stream", f"data: {json.dumps({'choices': TOKEN})}\n\n"),
        ("stream", f"<html>{TOKEN}"),
        ("stream", json.dumps({"choices": TOKEN})),
        ("stream", f"[{TOKEN}"),
    ],
)
def test_an_answer_that_cannot_be_read_is_quoted_without_the_token(method, body):
    """Nor do the frames of the error hold the answer, nor the parser's own error behind it."""
    error = error_of(make(method), 200, body)
    assert error.error_code == "parse_error"
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


@METHODS
@pytest.mark.parametrize(
    "options",
    [
        {"request_id": "a b"},
        {"extra_headers": {"a": "\n"}},
        {"extra_headers": 5},
        {"extra_query": {"a": "\ud800"}},
        {"extra_body": {"a": object()}},
        {"extra_body": {"stream": 1}},
        {"max_retries": -1},
        {"timeout": -1},
        {"retry": 1},
        {"unknown": 1},
    ],
)
def test_a_call_that_is_refused_does_not_show_the_token_in_its_traceback(method, options):
    """The frames between the caller and the error hold no headers."""
    try:
        make(method, **options)
    except (TypeError, ValueError) as error:
        assert_secret(texts_of_error(error))
    else:
        raise AssertionError("not refused")


def test_the_check_itself_sees_a_token():
    """It would find one in a frame's locals."""
    try:
        leak = {"Authorization": f"Bearer {TOKEN}"}
        sys.intern(leak["missing"])
    except KeyError as error:
        with pytest.raises(AssertionError):
            assert_secret(texts_of_error(error))


def test_a_stand_in_for_a_key_garbles_no_message():
    """Who tries things with a token such as "t" reads whole words."""
    call = MeshAPICore(MeshAPIConfig(token="t")).chat.completions.create(ChatCompletionParams(messages=[]))
    call.receive_response(401, {})
    call.receive_data(b"this is not it")
    call.receive_eof()
    with pytest.raises(MeshAPIError, match="this is not it"):
        call.next_action()


# --- calls of several requests, and all other resources ----------------------------------------------------------

OF_STEPS = {
    "pages of batches": lambda **options: CORE.batches.iterate(**options),
    "pages of responses": lambda **options: CORE.responses.iterate(**options),
    "pages of models": lambda **options: CORE.models.iterate(**options),
    "wait": lambda **options: CORE.batches.wait("b", **options),
    "results": lambda **options: CORE.batches.results("b", **options),
    "results of a file": lambda **options: CORE.batches.results(BatchObject(output_file_id="f"), **options),
    "parse": lambda **options: CORE.chat.completions.parse(PARAMS, int, **options),
}
EACH_OF_STEPS = pytest.mark.parametrize("name", OF_STEPS)


def answered(call, body, status=200, **headers):
    call.receive_response(status, headers)
    call.receive_data(body if isinstance(body, bytes) else json.dumps(body).encode())
    if call.state is State.RECEIVE_BODY:
        call.receive_eof()
    return call


@EACH_OF_STEPS
def test_no_call_of_several_requests_shows_the_token(name):
    """In its states, with what it is made of; and nor does the error that ends it."""
    call = OF_STEPS[name](extra_headers={"X-C": "d"})
    for value in (call, call.next_action(), call.next_action().request, call._call, call._steps):
        assert_secret(texts_of(value))
    assert_secret(texts_of(vars(call)))
    call.receive_failure(Failure.CONNECT)
    assert_secret(texts_of(call))
    call.receive_failure(Failure.DEADLINE)
    assert_secret(texts_of(call))
    error = raised_by(call)
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


def test_the_terms_of_a_call_do_not_show_the_token():
    """Their repr is the plainest there is, and they have no dict to look into."""
    terms = make("create")._terms
    assert isinstance(terms, Terms)
    assert terms.secret == TOKEN
    assert_secret(texts_of(terms))
    assert_secret(texts_of(make("create", timeout=1)._terms))
    assert not hasattr(terms, "__dict__")


@EACH_OF_STEPS
@pytest.mark.parametrize("status", [302, 401, 500])
@pytest.mark.parametrize("body", [json.dumps(ENVELOPES["message"]), f"<html>{TOKEN}", json.dumps(ENVELOPES["details"])])
def test_a_server_that_quotes_the_token_in_a_step_is_not_repeated(name, status, body):
    """Whichever of the requests it is."""
    call = OF_STEPS[name]()
    for _ in range(10):
        if call.state is State.WAIT:
            call.wait_elapsed()
        if not call.is_over:
            answered(call, body.encode(), status, location=f"https://elsewhere?key={TOKEN}")
    error = raised_by(call)
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


# Errors that are made of answers of success, by whoever understands them.
CONCLUSIONS = {
    "a page after nowhere": ("pages of batches", {"has_more": True}),
    "a page after nowhere, of responses": ("pages of responses", {"has_more": True}),
    "models in a circle": ("pages of models", {"items": [{"id": "a"}]}, {"items": [{"id": "a"}]}),
    "a page that is none": ("pages of batches", {"data": TOKEN}),
    "a model that is none": ("pages of models", {"items": [{"id": {TOKEN: 1}}]}),
    "not finished": ("results", {"id": TOKEN, "status": f"at {TOKEN}"}),
    "a result that is none": ("results", {"results": [{"custom_id": {TOKEN: 1}}]}),
    "a line that is none": ("results of a file", f'{{"custom_id": ["{TOKEN}"]}}\n'.encode()),
    "a last line that is none": ("results of a file", f"junk {TOKEN}".encode()),
    "a value that is none": ("parse", {"choices": [{"message": {"content": f"it is {TOKEN}"}}]}),
    "a value that is cut": ("parse", {"choices": [{"message": {"content": "x" * 485 + TOKEN}}]}),
    "a refusal": ("parse", {"choices": [{"message": {"refusal": f"no, {TOKEN}"}}]}),
    "a reason": ("parse", {"choices": [{"message": {}, "finish_reason": TOKEN}]}),
}


@pytest.mark.parametrize("request_id", ["req-1", TOKEN])
@pytest.mark.parametrize("conclusion", CONCLUSIONS.values(), ids=CONCLUSIONS)
def test_what_a_step_concludes_from_an_answer_is_told_without_the_token(conclusion, request_id):
    """Though the answer quotes it: in the message, the details, the names; what the answer holds is in `partial`."""
    name, *bodies = conclusion
    call = OF_STEPS[name]()
    for body in bodies:
        answered(call, body, **{"x-request-id": request_id})
    if isinstance(call, ItemsCall):
        list(call.events())
    error = raised_by(call)
    error.partial = None
    assert_secret(texts_of(error))
    # The whole text of a model is the caller's own, as the partial is.
    assert_secret(texts_of({name: value for name, value in vars(error).items() if name != "text"}))
    assert_secret(traceback.format_exception(type(error), error, error.__traceback__))


@EACH_OF_STEPS
@pytest.mark.parametrize(
    "options", [{"request_id": "a b"}, {"extra_query": {"a": "\ud800"}}, {"extra_headers": 5}, {"x": 1}]
)
def test_steps_that_are_refused_do_not_show_the_token_in_their_traceback(name, options):
    """Their first request is made at once, and its frames hold no headers."""
    try:
        OF_STEPS[name](**options)
    except (TypeError, ValueError) as error:
        assert_secret(texts_of_error(error))
    else:
        raise AssertionError("not refused")


def test_a_foreign_error_in_a_step_does_not_show_the_token():
    """Such as what a callback raises, with all frames between it and the caller."""

    def stop(batch):
        raise KeyError("mine")

    call = CORE.batches.wait("b", on_progress=stop)
    try:
        answered(call, {"id": "b"})
    except KeyError as error:
        assert_secret(texts_of_error(error))
    else:
        raise AssertionError("not raised")


STREAMS = {
    "responses": lambda: CORE.responses.stream(ResponsesParams(input="x")),
    "images": lambda: CORE.images.stream(ImageGenerationParams(prompt="x")),
    "compare": lambda: CORE.compare.stream(CompareParams(models=[], messages=[])),
    "parse": lambda: CORE.chat.completions.parse_stream(PARAMS, int),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(
    "data", [TOKEN, f'["{TOKEN}"]', f'{{"error": "{TOKEN}"}}', f'{{"error": {{"message": "m", "code": "{TOKEN}"}}}}']
)
def test_a_stream_that_quotes_the_token_is_not_repeated(name, data):
    """Each kind of stream reads its events by itself."""
    error = error_of(STREAMS[name](), 200, f"data: {data}\n\n", [("x-request-id", TOKEN)])
    assert_secret(texts_of_error(error))
    assert TOKEN.encode() not in pickle.dumps(error)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("responses", {"response": {"output": TOKEN}}),
        ("responses", {"response": {"usage": {TOKEN: TOKEN, "total_tokens": TOKEN}}}),
        ("compare", {"results": {TOKEN: 1}}),
        ("compare", {"model": "a", "usage": {"total_tokens": TOKEN}}),
        ("images", {"usage": {"total_tokens": TOKEN}, "status": "completed"}),
    ],
)
def test_events_that_make_up_no_whole_are_told_without_the_token(name, fields):
    """When the result is asked for, under a request id that quotes it."""
    call = STREAMS[name]()
    call.receive_response(200, {"content-type": "text/event-stream", "x-request-id": TOKEN})
    call.receive_data(b"data: " + json.dumps(fields).encode() + b"\n\ndata: [DONE]\n\n")
    try:
        _ = call.result
    except MeshAPIError as error:
        assert_secret(texts_of(error))
        assert_secret(texts_of(vars(error)))
    else:
        raise AssertionError("put together")


TOOLS = {"tool_calls": [{"id": "t", "function": {"name": "f"}}]}


def completion_of(body):
    return answered(CORE.chat.completions.parse(PARAMS, int), body).result


def stream_of(body):
    call = STREAMS["parse"]()
    call.receive_response(200, {"content-type": "text/event-stream", "x-request-id": TOKEN})
    (choice,) = body["choices"]
    call.receive_data(b"data: " + json.dumps({"choices": [{"delta": choice["message"]}]}).encode() + b"\n\n")
    call.receive_data(b"data: [DONE]\n\n")
    return call.result


@pytest.mark.parametrize("make", [completion_of, stream_of])
def test_why_there_is_no_value_is_told_without_the_token(make):
    """Also where the completion is the result, and the reason is only raised when the value is asked for."""
    error = make({"choices": [{"message": {"content": f"it is {TOKEN}", **TOOLS}}]}).problem
    error.partial = None
    assert error.text == f"it is {TOKEN}"
    assert_secret(texts_of(error))
    assert_secret(texts_of({name: value for name, value in vars(error).items() if name != "text"}))


def test_a_pause_does_not_show_the_token():
    """Nor what it is that is waited for."""
    call = answered(CORE.batches.wait("b"), {"id": "b", "status": "in_progress"})
    assert call.next_action() == Wait(5.0)
    assert_secret([*texts_of(call), *texts_of(call.next_action())])
