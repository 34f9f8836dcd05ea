"""How an answer, an error frame or a failure of the transport becomes an error."""

import copy
import json
import pickle
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meshapi_core
from meshapi_core import (
    ChatCompletionParams,
    ChatCompletionResponse,
    Failure,
    Headers,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    NotFoundError,
    ResponseHead,
)
from meshapi_core.errors import error_from_answer, error_from_failure, error_from_frame, redact

DATE = "Fri, 20 Nov 2026 09:00:00 GMT"


def answer(status, body, headers=()):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_answer(ResponseHead(status, Headers(headers)), raw)


def frame(fields, headers=()):
    return error_from_frame(fields, json.dumps(fields), ResponseHead(200, Headers(headers)))


@pytest.mark.parametrize(
    ("status", "class_name", "code"),
    [
        (301, "RedirectError", "redirect"),
        (308, "RedirectError", "redirect"),
        (400, "BadRequestError", "invalid_request"),
        (401, "AuthenticationError", "unauthorized"),
        (402, "PaymentRequiredError", "spend_limit_exceeded"),
        (403, "PermissionDeniedError", "forbidden"),
        (404, "NotFoundError", "not_found"),
        (405, "APIStatusError", "invalid_request"),
        (409, "ConflictError", "conflict"),
        (422, "UnprocessableEntityError", "validation_error"),
        (429, "RateLimitError", "rate_limit_exceeded"),
        (500, "InternalServerError", "internal_error"),
        (502, "InternalServerError", "upstream_error"),
        (503, "InternalServerError", "upstream_error"),
        (504, "InternalServerError", "gateway_timeout"),
        (529, "InternalServerError", "internal_error"),
    ],
)
@pytest.mark.parametrize("body", [{"detail": "no"}, {"error": {"message": "no"}}, {"error": {"code": None}}, []])
def test_each_status_has_its_class_and_its_code(status, class_name, code, body):
    """Where the body has no code of its own, the status gives it."""
    error = answer(status, body)
    assert type(error).__name__ == class_name
    assert (error.status, error.error_code) == (status, code)


def test_the_whole_envelope_is_read():
    """Every field of the documented envelope has its attribute."""
    error = answer(
        429,
        {
            "error": {
                "code": "rate_limit_exceeded",
                "message": "slow down",
                "details": [{"loc": ["body"], "msg": "m", "type": "t"}],
                "provider_error": {"code": 7},
                "retry_after_seconds": 12,
                "param": None,
                "type": "x",
            },
            "request_id": "req-body",
        },
        {"X-Request-Id": "req-header", "Retry-After": "99"},
    )
    assert type(error) is meshapi_core.RateLimitError
    assert vars(error) == {
        "message": "slow down",
        "status": 429,
        "error_code": "rate_limit_exceeded",
        "request_id": "req-body",
        "details": [{"loc": ["body"], "msg": "m", "type": "t"}],
        "provider_error": {"code": 7},
        "retry_after_seconds": 12,
        "partial": None,
    }
    assert str(error) == "[429 rate_limit_exceeded] slow down (request id req-body)"
    assert repr(error) == (
        "RateLimitError('slow down', status=429, error_code='rate_limit_exceeded', request_id='req-body')"
    )


@pytest.mark.parametrize("request_id", [None, "", 7, {}, ["x"]])
def test_the_request_id_of_the_header_stands_in(request_id):
    """Where the body has none, an empty one, or something else in its place."""
    for body in ({"error": {"message": "m"}, "request_id": request_id}, {"detail": "m", "request_id": request_id}):
        assert answer(400, body, {"x-request-id": "req-header"}).request_id == "req-header"
    assert answer(400, b"text", {"x-request-id": "req-header"}).request_id == "req-header"


def test_the_request_id_of_a_body_without_the_envelope_counts():
    """Some servers say no more than a detail and the id."""
    assert answer(400, {"detail": "m", "request_id": "req-body"}, {"x-request-id": "h"}).request_id == "req-body"


@pytest.mark.parametrize(
    ("code", "error_code"),
    [("odd", "odd"), ("", "invalid_request"), (None, "invalid_request"), (400, "invalid_request"), (1001, "1001"),
     (True, "invalid_request"), (1.5, "invalid_request"), ({}, "invalid_request"), ("400", "400")],
)  # fmt: skip
def test_a_code_can_be_anything(code, error_code):
    """Text stays; the status as a number is no news; another number is told as text; the rest is the status's."""
    assert answer(400, {"error": {"code": code, "message": "m"}}).error_code == error_code


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "text"}, "text"),
        ({"error": "text", "message": "other"}, "text"),
        ({"error": True, "message": "beside"}, "beside"),
        ({"error": {"code": "x"}, "message": "beside"}, "beside"),
        ({"error": {"message": {"no": "text"}}}, '{"error": {"message": {"no": "text"}}}'),
        ({"error": ["odd"]}, '{"error": ["odd"]}'),
        ({"detail": "d"}, '{"detail": "d"}'),
        ({"error": None, "x": 1}, '{"error": null, "x": 1}'),
        (b"plain text", "plain text"),
        (b"<html>" + b"x" * 600, "<html>" + "x" * 494),
        (b"caf\xe9", "caf\ufffd"),
        (b"", "HTTP status 400, without a body"),
        (b"\xef\xbb\xbf" + b'{"error": {"message": "after a BOM"}}', "after a BOM"),
        (b'data: {"error": {"message": "streamed"}}\n\n', "streamed"),
        (b'data: {"error": {"message": "cut off"}}', "cut off"),
        (b": hello\n\ndata: junk\n\ndata: {\"error\": \"second\"}\n\n", "second"),
    ],
)  # fmt: skip
def test_the_message_is_found_wherever_it_is(body, message):
    """In the envelope in all its shapes, else the first 500 characters of whatever came."""
    assert answer(400, body).message == message


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b"<html>", "parse_error"),
        (502, b"", "parse_error"),
        (500, b"[]", "internal_error"),
        (500, b'{"detail": 1}', "internal_error"),
        (400, b"<html>", "invalid_request"),
        (404, b"not here", "not_found"),
        (503, b'data: {"error": {"code": "busy"}}\n\n', "busy"),
        (500, b"[" * 100_000, "parse_error"),
    ],
)
def test_parse_error_is_only_for_a_5xx_that_is_not_json(status, body, code):
    """Any other answer gets its code from the envelope or from the status."""
    assert answer(status, body).error_code == code


@pytest.mark.parametrize(
    ("details", "kept"), [(None, []), ([], []), ({"a": 1}, [{"a": 1}]), ("text", ["text"]), ([1], [1])]
)
def test_details_are_always_a_list(details, kept):
    """Whatever the server sends in their place."""
    assert answer(422, {"error": {"message": "m", "details": details}}).details == kept


@pytest.mark.parametrize(
    ("in_body", "headers", "seconds"),
    [
        (5, {}, 5),
        ("5", {"Retry-After": "9"}, 5),
        (1.5, {}, 1.5),
        (0, {"Retry-After": "9"}, 0),
        (None, {"Retry-After": "9"}, 9),
        (None, {"Retry-After": " 0.5 "}, 0.5),
        (-1, {"Retry-After": "9"}, 9),
        (True, {"Retry-After": "9"}, 9),
        ("soon", {"Retry-After": "9"}, 9),
        ([5], {"Retry-After": "9"}, 9),
        (10**400, {}, None),
        ("nan", {}, None),
        ("inf", {}, None),
        (None, {"Retry-After": "-1", "Date": DATE}, None),
        (None, {"Retry-After": "soon", "Date": DATE}, None),
        (None, {"Retry-After": "5, 10"}, None),
        (None, {"Retry-After": ""}, None),
        (None, {"Retry-After": "Fri, 20 Nov 2026 09:02:00 GMT", "Date": DATE}, 120),
        (None, {"Retry-After": "Friday, 20-Nov-26 09:02:00 GMT", "Date": DATE}, 120),
        (None, {"Retry-After": "Fri, 20 Nov 2026 08:00:00 GMT", "Date": DATE}, 0),
        (None, {"Retry-After": "Fri, 20 Nov 2026 09:02:00 GMT"}, None),
        (None, {"Retry-After": "Fri, 20 Nov 2026 09:02:00 GMT", "Date": "today"}, None),
        (None, {"Retry-After": "Fri, 20 Nov 2026 09:02:00 -0000", "Date": DATE}, None),
        (None, {}, None),
    ],
)  # fmt: skip
def test_how_long_to_wait_is_read_from_the_body_and_then_the_header(in_body, headers, seconds):
    """Seconds or an HTTP date, which is measured against the answer's own Date; nonsense is no wait at all."""
    error = answer(429, {"error": {"message": "m", "retry_after_seconds": in_body}}, headers)
    assert error.retry_after_seconds == seconds
    if in_body is None:
        assert answer(503, b"text", headers).retry_after_seconds == seconds


def test_a_redirect_names_the_location():
    """It is not followed, so the message says where it would have led."""
    error = answer(302, b"<html>", {"Location": "https://elsewhere"})
    assert "302 to https://elsewhere" in error.message
    assert "check base_url" in error.message
    assert "to nowhere" in answer(302, b"").message


@pytest.mark.parametrize(
    ("fields", "class_name", "status", "code", "message"),
    [
        ({"error": {"code": "rate_limit_exceeded", "message": "m"}}, "RateLimitError", 429, "rate_limit_exceeded", "m"),
        ({"error": {"code": 429, "message": "m"}}, "RateLimitError", 429, "rate_limit_exceeded", "m"),
        ({"error": {"code": 503, "message": "m"}}, "InternalServerError", 503, "upstream_error", "m"),
        ({"error": {"code": "novel", "message": "m"}}, "APIStatusError", 200, "novel", "m"),
        ({"error": {"code": 1001, "message": "m"}}, "APIStatusError", 200, "1001", "m"),
        ({"error": {"message": "m"}}, "InternalServerError", 502, "upstream_error", "m"),
        ({"error": {"code": None, "message": "m"}}, "InternalServerError", 502, "upstream_error", "m"),
        ({"error": {"code": 1.5, "message": "m"}}, "InternalServerError", 502, "upstream_error", "m"),
        ({"error": {"code": True, "message": "m"}}, "InternalServerError", 502, "upstream_error", "m"),
        ({"error": "m"}, "InternalServerError", 502, "upstream_error", "m"),
        ({"error": "m", "code": "not_found"}, "NotFoundError", 404, "not_found", "m"),
        ({"error": "m", "code": 429}, "RateLimitError", 429, "rate_limit_exceeded", "m"),
        ({"message": "m"}, "InternalServerError", 502, "upstream_error", "m"),
        ({"message": "m", "code": "unauthorized"}, "AuthenticationError", 401, "unauthorized", "m"),
        ({"error": None, "message": "m"}, "InternalServerError", 502, "upstream_error", "m"),
        ({}, "InternalServerError", 502, "upstream_error", "{}"),
    ],
)
def test_an_error_frame_is_the_error_that_an_answer_would_be(fields, class_name, status, code, message):
    """An object, a string, or everything at the top level; without a code it is upstream_error."""
    error = frame(fields)
    assert (type(error).__name__, error.status, error.error_code, error.message) == (class_name, status, code, message)


def test_an_error_frame_has_all_that_an_envelope_has():
    """Its own request id before the stream's, details, the wait."""
    fields = {"code": "conflict", "message": "m", "details": [1], "provider_error": "p", "retry_after_seconds": 3}
    head = {"x-request-id": "req-header"}
    for error in (
        frame({"error": fields, "request_id": "req-frame"}, head),
        frame({**fields, "request_id": "req-frame"}, head),
    ):
        assert (error.request_id, error.details, error.provider_error, error.retry_after_seconds) == (
            "req-frame", [1], "p", 3,
        )  # fmt: skip
    assert frame({"error": fields}, head).request_id == "req-header"


@pytest.mark.parametrize(
    ("failure", "class_name", "code", "message"),
    [
        (Failure.CONNECT, "APIConnectionError", "connection_error", "no connection could be made; nothing was sent"),
        (Failure.CONNECT_TIMEOUT, "APITimeoutError", "timeout", "no connection was made in time; nothing was sent"),
        (Failure.TIMEOUT, "APITimeoutError", "timeout", "nothing came in time while napping"),
        (Failure.CONNECTION_LOST, "APIConnectionError", "connection_error", "the connection was lost while napping"),
        (Failure.DEADLINE, "APITimeoutError", "timeout", "the time for the whole call was used up while napping"),
    ],
)
def test_each_failure_has_its_error(failure, class_name, code, message):
    """With status 0, and the answer's status and id once its head had come."""
    error = error_from_failure(failure, None, "napping")
    assert (type(error).__name__, error.error_code, error.message) == (class_name, code, message)
    assert (error.status, error.request_id, str(error)) == (0, "", f"[{code}] {message}")
    if failure not in (Failure.CONNECT, Failure.CONNECT_TIMEOUT):
        head = ResponseHead(200, Headers({"x-request-id": "req-1"}))
        error = error_from_failure(failure, head, "napping")
        assert (error.status, error.request_id) == (200, "req-1")


def error_classes():
    public = (getattr(meshapi_core, name) for name in meshapi_core.__all__)
    return [item for item in public if isinstance(item, type) and issubclass(item, MeshAPIError)]


@pytest.mark.parametrize("cls", error_classes())
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, *(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(2, 6))]
)
def test_errors_survive_copying_and_pickling(cls, duplicate):
    """Processes and queues hand them on whole, notes included."""
    partial = ChatCompletionResponse.model_validate({"id": "x", "odd": 1})
    error = cls(
        "m", status=418, error_code="c", request_id="r", details=[1], provider_error={"a": 1},
        retry_after_seconds=2.5, partial=partial,
    )  # fmt: skip
    error.note = "kept"
    twin = duplicate(error)
    assert type(twin) is cls
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)


def test_each_error_has_a_list_of_details_of_its_own():
    """A default that is shared would be everybody's to change."""
    assert MeshAPIError("m", error_code="c").details is not MeshAPIError("m", error_code="c").details


SECRET = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"


def test_redaction_reaches_every_text():
    """Keys and values, at every depth, in every attribute that a server fills."""
    error = MeshAPIError(
        f"a {SECRET} b {SECRET}", error_code=f"c{SECRET}", request_id=SECRET, details=[{"loc": [SECRET], SECRET: 1}],
        provider_error={"a": [None, True, 1.5, {"b": f"<{SECRET}>"}]},
    )  # fmt: skip
    redact(error, SECRET)
    assert SECRET not in repr(vars(error)) + repr(error.args)
    assert error.message == "a [redacted] b [redacted]"
    assert error.args == (error.message,)
    assert error.details == [{"loc": ["[redacted]"], "[redacted]": 1}]
    assert error.provider_error == {"a": [None, True, 1.5, {"b": "<[redacted]>"}]}


@pytest.mark.parametrize("length", range(8, len(SECRET)))
def test_a_secret_cut_off_at_the_end_is_redacted_too(length):
    """A message quotes no more than 500 characters, which may end in the middle of a secret."""
    error = answer(400, ("x" * (500 - length) + SECRET).encode())
    redact(error, SECRET)
    assert error.message == "x" * (500 - length) + "[redacted]"


def test_what_is_nested_too_deeply_is_not_shown():
    """It can be parsed and not searched; no RecursionError may come of it."""
    nested = []
    for _ in range(sys.getrecursionlimit() * 2):
        nested = [nested]
    error = MeshAPIError("m", error_code="c", details=[1], provider_error=nested)
    redact(error, SECRET)
    assert (error.details, error.provider_error) == ([], "[nested too deeply]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "message", "details", "request_id", "retry_after_seconds", "provider_error"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, database=None, max_examples=300)
@given(st.integers(300, 599), JSON)
def test_any_json_becomes_an_error_of_the_right_types(status, body):
    """Whatever a server puts where: an error comes of it, and never an exception of another kind."""
    errors = [answer(status, body)]
    if isinstance(body, dict):
        errors.append(frame(body))
    for error in errors:
        redact(error, SECRET)
        assert isinstance(error.message, str)
        assert isinstance(error.error_code, str)
        assert error.error_code
        assert isinstance(error.request_id, str)
        assert isinstance(error.details, list)
        assert error.retry_after_seconds is None or error.retry_after_seconds >= 0
        assert str(error)


@settings(deadline=None, database=None)
@given(st.integers(300, 599), st.binary(max_size=100))
def test_any_bytes_become_an_error(status, body):
    """Not only JSON comes over the wire."""
    assert str(answer(status, body))


def test_an_error_with_a_status_of_success_is_an_error():
    """Where nothing else is in the answer; an answer that has an error among its fields is an answer."""
    core = MeshAPICore(MeshAPIConfig(token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"))
    call = core.chat.completions.create(ChatCompletionParams(messages=[]))
    call.receive_response(200, {"x-request-id": "req-1"})
    call.receive_data(b'{"error": {"code": "not_found", "message": "gone"}}')
    call.receive_eof()
    assert type(call.error) is NotFoundError
    assert (call.error.message, call.error.request_id) == ("gone", "req-1")
    call = core.chat.completions.create(ChatCompletionParams(messages=[]))
    call.receive_response(200, {})
    call.receive_data(b'{"id": "c", "error": {"message": "partly"}}')
    call.receive_eof()
    assert call.result.error == {"message": "partly"}
