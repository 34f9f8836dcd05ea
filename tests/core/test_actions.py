"""The values that pass between the machine and its embedder."""

import copy
import dataclasses
import email.message
import pickle

import pytest

from meshapi_core import NEED_DATA, Done, Headers, NeedData, Request, ResponseHead, SendRequest, Wait

REQUEST = Request("POST", "https://host/v1", (("Authorization", "Bearer secret"),), b"said in confidence")


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Type": "a", "X-Twice": "1, 2"},
        [("Content-Type", "a"), ("x-twice", "1"), ("X-Twice", "2")],
        [(b"content-type", b"a"), (b"X-Twice", b"1"), (b"x-twice", b"2")],
        iter([("CONTENT-TYPE", b"a"), (b"X-Twice", "1"), ("X-Twice", "2")]),
        Headers({"Content-Type": "a", "X-Twice": "1, 2"}),
    ],
    ids=["mapping", "pairs of text", "pairs of bytes", "iterator", "Headers"],
)
def test_headers_take_what_http_libraries_give(fields):
    """Mappings and pairs, text and bytes, once or as an iterator, all give the same, again and again."""
    headers = Headers(fields)
    for _ in range(2):
        assert headers["content-TYPE"] == "a"
        assert headers.get("x-twice") == "1, 2"
        assert dict(headers) == {"content-type": "a", "x-twice": "1, 2"}
        assert len(headers) == 2
    assert "absent" not in headers
    assert headers == Headers({"content-type": "a", "x-twice": "1, 2"})


def test_headers_read_bytes_as_latin_1():
    """Every byte has a character, so that no header can make an answer unreadable."""
    assert Headers([(b"x", b"\xe9\xff")])["X"] == "\xe9\xff"


def test_headers_without_fields_are_empty():
    """No fields are a mapping without items."""
    assert dict(Headers()) == {}
    assert repr(Headers([("A", "b")])) == "Headers({'a': 'b'})"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_headers_can_be_copied_and_pickled_whatever_they_were_made_of(duplicate):
    """What the embedder's library gave need not be fit for it: here it is an iterator."""
    head = ResponseHead(200, Headers((name, value) for name, value in [("X-Request-Id", "req-1")]))
    assert duplicate(head) == head
    assert duplicate(head).request_id == "req-1"


def test_the_head_names_the_request():
    """The id comes from x-request-id, and is empty text without one."""
    assert ResponseHead(200, Headers({"X-Request-Id": "req-1"})).request_id == "req-1"
    assert ResponseHead(200, Headers()).request_id == ""


def test_the_repr_of_a_request_keeps_its_secrets():
    """Headers and body are in no log; what is sent where is."""
    assert repr(SendRequest(REQUEST)) == "SendRequest(request=<Request POST https://host/v1, 18 bytes>)"
    assert repr(dataclasses.replace(REQUEST, content=None)) == "<Request POST https://host/v1, no body>"


@pytest.mark.parametrize("value", [REQUEST, SendRequest(REQUEST), Wait(1.0), Done(), ResponseHead(200, Headers())])
def test_the_values_are_immutable(value):
    """An embedder cannot change what the machine said, nor the machine what it was told."""
    for name in [*(field.name for field in dataclasses.fields(value)), "new"]:
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(value, name, None)


def test_need_data_is_one_value():
    """It is told apart by identity, also after it has travelled."""
    assert pickle.loads(pickle.dumps(NEED_DATA)) is NEED_DATA
    assert list(NeedData) == [NEED_DATA]
    assert repr(NEED_DATA) == "NEED_DATA"


@pytest.mark.parametrize(
    ("url", "where", "target"),
    [
        ("https://host/v1/x", ("https", "host", 443), "/v1/x"),
        ("http://host", ("http", "host", 80), "/"),
        ("http://[::1]:81/a%2Fb?q=1&q=2", ("http", "::1", 81), "/a%2Fb?q=1&q=2"),
    ],
)
def test_a_request_tells_where_it_goes(url, where, target):
    """What a driver needs that speaks HTTP/1.1 itself."""
    request = Request("POST", url, ())
    assert (request.scheme, request.host, request.port) == where
    assert request.target == target


def test_a_request_has_the_fields_of_http_1():
    """As bytes, with Host and the length."""
    request = Request("POST", "http://[::1]:81/x", (("X-Name", "1"),), b"1234")
    assert request.http1_headers() == [(b"Host", b"[::1]:81"), (b"X-Name", b"1"), (b"Content-Length", b"4")]
    assert Request("GET", "http://host/x", ()).http1_headers() == [(b"Host", b"host")]


def test_headers_of_the_standard_library():
    """An email.message.Message, as http.client gives it, has pairs but is no mapping."""
    message = email.message.Message()
    message["X-Request-Id"] = "req-1"
    message["Via"] = "a"
    message["Via"] = "b"
    assert dict(Headers(message)) == {"x-request-id": "req-1", "via": "a, b"}
