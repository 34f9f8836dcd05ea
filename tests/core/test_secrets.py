"""The token is in no text that may end up in a log: no repr, no message, no pickled error, no traceback with locals."""

import json
import pickle
import pprint
import sys
import traceback

import pytest

from meshapi_core import (
    ChatCompletionParams,
    Failure,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
)

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
