"""What a client is told: frozen, and checked when it is made."""

import copy
import dataclasses
import math
import pickle

import pytest

from meshapi_core import DEFAULT_BASE_URL, MESH_API_VERSION, MeshAPIConfig, RetryPolicy, Timeout

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"


def test_the_defaults():
    """A token alone is enough."""
    config = MeshAPIConfig(token=TOKEN)
    assert config.base_url == DEFAULT_BASE_URL == "https://api.meshapi.ai"
    assert config.timeout == Timeout(connect=60.0, idle=60.0, total=None)
    assert config.retry == RetryPolicy(max_retries=3)
    assert config.api_version == MESH_API_VERSION == "2026-08"
    assert config.default_headers == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://host", "https://host"),
        ("https://host/", "https://host"),
        ("http://localhost:8000//", "http://localhost:8000"),
        ("https://host/prefix/", "https://host/prefix"),
        ("HTTPS://Host/Prefix", "HTTPS://Host/Prefix"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_url_keeps_its_path_and_drops_trailing_slashes(given, kept):
    """What is kept can be continued with /v1/..."""
    assert MeshAPIConfig(given, token=TOKEN).base_url == kept


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        (None, "base_url must be text, not NoneType"),
        (b"https://host", "base_url must be text, not bytes"),
        ("", "must start with https:// or http://"),
        ("host", "must start with https:// or http://"),
        ("localhost:8000", "must start with https:// or http://"),
        ("ftp://host", "must start with https:// or http://"),
        ("https://", "and a host"),
        ("https:///path", "and a host"),
        ("https://host:port", "is not a URL"),
        ("https://host:99999", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://host/?a=b", "must not have a query or a fragment"),
        ("https://host?", "must not have a query or a fragment"),
        ("https://host#", "must not have a query or a fragment"),
        ("https://host/#part", "must not have a query or a fragment"),
        ("https://ho st", "has a space"),
        ("https://host\r\nX: y", "a control character"),
        ("https://host\n", "a control character"),
        ("https://host\\path", "has a space"),
        ("https://höst", "not ASCII"),
    ],
)
def test_a_base_url_that_cannot_be_used_is_refused(base_url, message):
    """With a message that says why."""
    with pytest.raises(ValueError, match=message):
        MeshAPIConfig(base_url, token=TOKEN)


@pytest.mark.parametrize("base_url", ["https://user:word@host", "https://user@host", "https://@host"])
def test_a_password_in_the_url_is_refused_and_not_repeated(base_url):
    """The token is the only credential, and passwords belong in no message."""
    with pytest.raises(ValueError, match="user name or a password") as caught:
        MeshAPIConfig(base_url, token=TOKEN)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "the token is empty"),
        (None, "token must be text, not NoneType"),
        (b"rsk_1", "token must be text, not bytes"),
        ("rsk_quoted \n", "is it copied whole"),
        ("rsk_quoted\r\nX-Evil: 1", "is it copied whole"),
        ("rsk_quoted\0", "is it copied whole"),
        ("rsk_quotéd", "is it copied whole"),
    ],
)
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(token, message):
    """Also where it would smuggle a header in."""
    with pytest.raises(ValueError, match=message) as caught:
        MeshAPIConfig(token=token)
    assert "rsk_" not in str(caught.value)


@pytest.mark.parametrize("label", ["", "2026 08", "2026-08\r\n", "é", 2026])
def test_an_api_version_must_be_a_label(label):
    """The gateway refuses an empty one, and a header could not hold the others."""
    with pytest.raises(ValueError, match="api_version must be a label"):
        MeshAPIConfig(token=TOKEN, api_version=label)


def test_no_api_version_is_allowed():
    """None sends no label."""
    assert MeshAPIConfig(token=TOKEN, api_version=None).api_version is None


@pytest.mark.parametrize(
    ("timeout", "settled"),
    [
        (5, Timeout(connect=5, idle=5, total=None)),
        (0.5, Timeout(connect=0.5, idle=0.5)),
        (None, Timeout(connect=None, idle=None, total=None)),
        (Timeout(total=10), Timeout(connect=60.0, idle=60.0, total=10)),
    ],
)
def test_a_timeout_is_one_number_or_all_three(timeout, settled):
    """One number is for connecting and for each wait; None is no limit."""
    assert MeshAPIConfig(token=TOKEN, timeout=timeout).timeout == settled
    assert Timeout.of(timeout) == settled


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, True, "5", [5]])
def test_a_timeout_that_is_none_is_refused(seconds):
    """Also in each part of a Timeout; endless is written None."""
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0, or None"):
        MeshAPIConfig(token=TOKEN, timeout=seconds)
    for part in ("connect", "idle", "total"):
        with pytest.raises(ValueError, match=rf"timeout \({part}\) must be"):
            Timeout(**{part: seconds})


def test_a_retry_that_is_no_policy_is_refused():
    """A bare number of retries is max_retries= of the policy, or of a client."""
    with pytest.raises(ValueError, match="retry must be a RetryPolicy, not 3"):
        MeshAPIConfig(token=TOKEN, retry=3)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"": "x"}, "'' is not a header name"),
        ({"a b": "x"}, "is not a header name"),
        ({"a:": "x"}, "is not a header name"),
        ({"a\r\n": "x"}, "is not a header name"),
        ({"é": "x"}, "is not a header name"),
        ({1: "x"}, "is not a header name"),
        ({"Authorization": "x"}, "Authorization is set by the client itself"),
        ({"content-LENGTH": "0"}, "content-LENGTH is set by the client itself"),
        ({"Host": "x"}, "is set by the client itself"),
        ({"Transfer-Encoding": "chunked"}, "is set by the client itself"),
        ({"Connection": "close"}, "is set by the client itself"),
        ({"Content-Type": "x"}, "is set by the client itself"),
        ({"a": "hidden\r\nb: c"}, "the value of a must be ASCII text without CR"),
        ({"a": "hidden\n"}, "the value of a must be ASCII text"),
        ({"a": "hidden\0"}, "the value of a must be ASCII text"),
        ({"a": "hidden\x7f"}, "the value of a must be ASCII text"),
        ({"a": "hidden\xe9"}, "the value of a must be ASCII text"),
        ({"a": "hidden\u20ac"}, "the value of a must be ASCII text"),
        ({"a": " hidden"}, "without spaces around it"),
        ({"a": "hidden\t"}, "without spaces around it"),
        ({"a": b"hidden"}, "the value of a must be ASCII text"),
        ({"a": None}, "the value of a must be ASCII text"),
    ],
)
def test_headers_that_could_not_be_sent_are_refused(headers, message):
    """CR, LF and NUL above all; the value, which may be a secret, is not repeated."""
    with pytest.raises(ValueError, match=message) as caught:
        MeshAPIConfig(token=TOKEN, default_headers=headers)
    assert "hidden" not in str(caught.value)
    assert "default_headers" in str(caught.value)


def test_headers_may_hold_all_that_every_library_sends():
    """Tabs inside, odd names, and nothing at all."""
    headers = {"X-Odd": "a\tb c", "X-Empty": "", "x!#$%&'*+-.^_`|~9": "1"}
    assert MeshAPIConfig(token=TOKEN, default_headers=headers).default_headers == tuple(headers.items())


def test_the_repr_shows_no_secret():
    """Neither the token nor the values of headers."""
    config = MeshAPIConfig(token=TOKEN, default_headers={"CF-Access-Client-Secret": "hidden"})
    assert TOKEN not in repr(config)
    assert "hidden" not in repr(config)
    assert DEFAULT_BASE_URL in repr(config)


def test_a_config_is_a_value():
    """Frozen, equal and hashable by its values; it can be copied, pickled and replaced in part."""
    config = MeshAPIConfig("https://host", token=TOKEN, timeout=5, default_headers={"A": "b"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.token = "other"
    assert {config} == {copy.deepcopy(config), pickle.loads(pickle.dumps(config))}
    other = dataclasses.replace(config, timeout=None)
    assert other.timeout == Timeout(None, None, None)
    assert other.default_headers == (("A", "b"),)
    assert dataclasses.replace(other, timeout=5) == config


@pytest.mark.parametrize(
    ("environ", "token", "base_url"),
    [
        ({"MESHAPI_API_KEY": "key"}, "key", DEFAULT_BASE_URL),
        ({"MESHAPI_TOKEN": "token"}, "token", DEFAULT_BASE_URL),
        ({"MESHAPI_API_KEY": "key", "MESHAPI_TOKEN": "token"}, "key", DEFAULT_BASE_URL),
        ({"MESHAPI_API_KEY": "", "MESHAPI_TOKEN": "token"}, "token", DEFAULT_BASE_URL),
        ({"MESHAPI_API_KEY": "key", "MESHAPI_BASE_URL": "http://host/"}, "key", "http://host"),
        ({"MESHAPI_API_KEY": "key", "MESHAPI_BASE_URL": ""}, "key", DEFAULT_BASE_URL),
    ],
)
def test_what_is_not_given_comes_from_the_environment(environ, token, base_url):
    """The key before the token; empty counts as not set."""
    config = MeshAPIConfig.from_environment(environ)
    assert (config.token, config.base_url) == (token, base_url)


def test_what_is_given_wins_over_the_environment():
    """Each argument is handed on."""
    environ = {"MESHAPI_API_KEY": "key", "MESHAPI_BASE_URL": "http://host"}
    arguments = {"timeout": 1, "retry": RetryPolicy(9), "api_version": None, "default_headers": {"A": "b"}}
    config = MeshAPIConfig.from_environment(environ, base_url="http://other", token=TOKEN, **arguments)
    assert config == MeshAPIConfig("http://other", token=TOKEN, **arguments)


@pytest.mark.parametrize("environ", [{}, {"MESHAPI_API_KEY": ""}])
def test_no_token_at_all_says_what_to_do(environ):
    """The message names the argument and the variable."""
    with pytest.raises(ValueError, match="pass token=, or set MESHAPI_API_KEY"):
        MeshAPIConfig.from_environment(environ)


def test_an_empty_token_is_not_replaced_from_the_environment():
    """An argument that came out empty is a mistake to be told of."""
    with pytest.raises(ValueError, match="the token is empty"):
        MeshAPIConfig.from_environment({"MESHAPI_API_KEY": "key"}, token="")
