"""What goes over the wire is what the official SDK sends for the same params, but for a table of differences."""

from __future__ import annotations

import inspect
import json
import operator
import pathlib
import re

import httpx
import meshapi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshapi_core
from meshapi_core.resources._base import Resource
from meshapi_transports import httpx as over_httpx
from meshapi_transports.testing.raw import RawRequest, RawServer, answer, answer_head

from .faces import TOKEN
from .official_cases import (
    CALLS,
    CURRENT,
    DIFFERENCES,
    FIELDS_APART,
    INSTALLED,
    PARAMS_OF_BOTH,
    PLAIN_ID,
    SAFE_PATH,
    Case,
    acceptable_samples,
    cases,
    is_model,
    leaves,
    parts_of,
    probes,
    required,
)

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "official-sdk.md"

BASE_URL = "http://127.0.0.1:1"

COMPARED = [call for call in CALLS if call.needs == INSTALLED]

# Methods of ours that send what others of them do.
OURS_ALONE = {
    "batches.iterate",
    "batches.results",
    "batches.upload",
    "batches.wait",
    "chat.completions.parse",
    "chat.completions.parse_stream",
    "models.iterate",
    "responses.iterate",
}

# Public names that belong to what is not here.
OF_OTHER_RESOURCES = re.compile(
    r"(Async)?(Audio(?!Output)|AutoRouter|BulkEmbed|CreateVideo|InitUpload|ListVideo|ListVoices|Moderation|Pronunciation|"
    r"Rag|Realtime|Router|Search|Speech|Transcription|Video(?!Embedding|Url)|Voice|Web)"
)

each_call = pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            call,
            id=repr(call),
            marks=pytest.mark.skipif(
                call.needs != INSTALLED, reason=f"is compared with meshapi {call.needs}, and this is {INSTALLED}"
            ),
        )
        for call in CALLS
    ],
)


class Recorder:
    """Remembers the requests that reach its server, which answers them as the method called would like."""

    def __init__(self):
        self._answer = b""
        self._server = RawServer(self._script)

    def _script(self, connection):
        while True:
            connection.receive_request()
            connection.send(self._answer)

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *exc_info):
        self._server.stop()

    @property
    def url(self):
        return self._server.url

    def begin(self, call):
        """Get ready for `call`; what it returns gives the requests that have come since."""
        if call.is_stream:
            self._answer = answer(b"data: [DONE]\n\n", content_type="text/event-stream")
        elif call.method.endswith(".delete"):
            self._answer = answer_head(204)
        else:
            body = call.answer if isinstance(call.answer, bytes) else json.dumps(call.answer).encode()
            self._answer = answer(body)
        begun = len(self._server.requests)
        return lambda: self._server.requests[begun:]


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def official(recorder):
    """What the official SDK sends: the parts of the request of each case; None for one that it refuses."""
    with meshapi.MeshAPI(base_url=recorder.url, token=TOKEN) as client:
        return {
            (repr(call), case.label): official_parts(client, recorder, case)
            for call in COMPARED
            for case in cases(call)
        }


def official_parts(client, recorder, case):
    requests = recorder.begin(case.call)
    try:
        positional, keywords = case.arguments(meshapi)
        answered = operator.attrgetter(case.call.method)(client)(*positional, **keywords)
        if case.call.is_stream:
            assert list(answered) == []
    except Exception:
        if requests():
            # It did not understand the answer: that is no refusal.
            raise
        return None
    (request,) = requests()
    return parts_of(request)


async def our_request(client, recorder, case):
    """The request of `case`; None if it is refused as it should be, and nothing is sent."""
    requests = recorder.begin(case.call)
    try:
        positional, keywords = case.arguments(meshapi_core)
        method = operator.attrgetter(case.call.method)(client)
        if case.call.is_stream:
            async with method(*positional, **keywords) as events:
                assert [event async for event in events] == []
        else:
            await method(*positional, **keywords)
    except ValueError:
        assert not requests()
        return None
    (request,) = requests()
    return request


def expected_parts(official, case):
    """What should be sent: what the official SDK sends, and the differences."""
    parts = official[repr(case.call), case.label]
    like = official.get((repr(case.call), case.like))
    for difference in DIFFERENCES:
        if parts is None and not difference.is_whole:
            continue
        if difference.is_case(case):
            changed = difference.change(case, parts, like)
            assert changed != parts, f"there is no such difference any more: {difference.what}"
            parts = changed
    return parts


@pytest.mark.anyio
@each_call
async def test_the_requests_are_those_of_the_official_sdk(face, recorder, official, call):
    """Each case of each call sends, on each face, what the official SDK sends, but for the differences."""
    wrong = {}
    async with face.client(recorder.url, max_retries=0) as client:
        for case in cases(call):
            expected = expected_parts(official, case)
            request = await our_request(client, recorder, case)
            sent = None if request is None else parts_of(request)
            if sent != expected:
                wrong[case.label] = differing(expected, sent)
            elif request is not None and not SAFE_PATH.fullmatch(request.target.partition("?")[0]):
                wrong[case.label] = f"the path is not encoded: {request.target}"
    assert wrong == {}


def differing(expected, sent):
    if expected is None or sent is None:
        return {"expected": expected, "sent": sent}
    names = sorted(name for name in {*expected, *sent} if expected.get(name) != sent.get(name))
    return {name: {"expected": expected.get(name), "sent": sent.get(name)} for name in names}


WITH_PARAMS = [call for call in COMPARED if call.params is not None]


@pytest.fixture(scope="module")
def overheard():
    """A client of the official SDK that sends nothing, and the requests that it would have sent."""
    requests = []

    def refuse(request):
        headers = [(name.decode(), value.decode()) for name, value in request.headers.raw]
        requests.append(RawRequest(request.method, request.url.raw_path.decode(), headers, request.content))
        return httpx.Response(400, json={})

    with httpx.Client(base_url=BASE_URL, transport=httpx.MockTransport(refuse)) as own:
        yield meshapi.MeshAPI(base_url=BASE_URL, token=TOKEN, httpx_client=own), requests


@pytest.mark.parametrize("call", WITH_PARAMS, ids=repr)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_choice_of_fields_is_sent_as_by_the_official_sdk(overheard, call, data):
    """Whichever of its fields are given, params become the request that the official SDK makes of them."""
    theirs = getattr(meshapi, call.params)
    fields = {name: st.sampled_from(values) for name, values in acceptable_samples(call).items()}
    needed = {name: fields.pop(name) for name in required(theirs)}
    chosen = data.draw(st.fixed_dictionaries(needed, optional=fields))
    case = Case(call, "chosen", PLAIN_ID if call.takes_id else None, chosen)

    client, requests = overheard
    requests.clear()
    positional, _ = case.arguments(meshapi)
    with pytest.raises(meshapi.MeshAPIError):
        list(operator.attrgetter(call.method)(client)(*positional))
    (request,) = requests
    expected = expected_parts({(repr(call), case.label): parts_of(request)}, case)

    core = meshapi_core.MeshAPICore(meshapi_core.MeshAPIConfig(base_url=BASE_URL, token=TOKEN))
    positional, _ = case.arguments(meshapi_core)
    request = operator.attrgetter(call.method)(core)(*positional).next_action().request
    sent = parts_of(RawRequest(request.method, request.target, request.headers, request.content or b""))
    assert sent == expected


@pytest.mark.anyio
@pytest.mark.parametrize("suffix", ["", "/", "//", "/some/prefix", "/some/prefix/"])
async def test_the_base_url_is_that_of_the_official_sdk(face, recorder, suffix):
    """With and without a path of its own, a base URL leads where the official SDK goes, with the same credentials."""
    (call,) = (call for call in CALLS if call.method == "models.free")
    token = "eyJhbGciOi.eyJzdWIi-_~+/.c2ln=="
    requests = recorder.begin(call)
    with meshapi.MeshAPI(base_url=recorder.url + suffix, token=token) as client:
        client.models.free()
    async with face.client(recorder.url + suffix, token=token) as client:
        await client.models.free()
    theirs, ours = requests()
    assert ours.target == theirs.target
    assert ours.header("authorization") == theirs.header("authorization") == f"Bearer {token}"


@pytest.mark.parametrize("model", PARAMS_OF_BOTH)
def test_params_have_the_fields_of_the_official_sdk(model):
    """No type of params lacks a field, or has one more, or calls one otherwise."""
    ours, theirs = getattr(meshapi_core, model), getattr(meshapi._types, model)
    assert set(ours.model_fields) ^ set(theirs.model_fields) == FIELDS_APART.get(model, set())


@pytest.mark.parametrize("model", PARAMS_OF_BOTH)
def test_params_accept_what_the_official_sdk_accepts(model):
    """Each field accepts the values that it accepts there, and no others, but for the differences."""
    wrong = {}
    for probe in probes(model):
        expected = theirs = probe.is_accepted(probe.theirs)
        for difference in DIFFERENCES:
            if difference.is_probe(probe):
                assert difference.accepts != expected, f"there is no such difference any more: {difference.what}"
                expected = difference.accepts
        if probe.is_accepted(probe.ours) != expected:
            wrong[f"{probe.field}={probe.value!r}"] = f"there {theirs}, here {not expected}"
    assert wrong == {}


def methods_of(client, is_resource, prefix=""):
    """The public methods of a client's resources, by where they are."""
    found = {}
    for name in dir(client):
        if name.startswith("_"):
            continue
        value = getattr(client, name)
        if is_resource(value):
            found.update(methods_of(value, is_resource, f"{prefix}{name}."))
        elif prefix and inspect.ismethod(value):
            found[prefix + name] = value
    return found


@pytest.fixture(scope="module")
def our_methods():
    core = meshapi_core.MeshAPICore(meshapi_core.MeshAPIConfig(token=TOKEN))
    return methods_of(core, lambda value: isinstance(value, Resource))


@pytest.fixture(scope="module")
def their_methods():
    with meshapi.MeshAPI(base_url=BASE_URL, token=TOKEN) as client:
        return methods_of(client, lambda value: type(value).__name__.endswith("Resource"))


def test_no_method_is_forgotten(our_methods, their_methods):
    """Each method of ours is compared, unless the official SDK has none like it; and of its resources we miss none."""
    assert set(our_methods) == {call.method for call in CALLS} | OURS_ALONE
    assert {call.method for call in COMPARED} <= set(their_methods)
    assert not OURS_ALONE & set(their_methods)
    resources = {name.partition(".")[0] for name in our_methods}
    assert {name for name in their_methods if name.partition(".")[0] in resources} <= set(our_methods)


@each_call
def test_no_argument_is_forgotten(our_methods, their_methods, call):
    """What a method takes in the official SDK it takes here, by the same name, and the cases of the call give it."""
    theirs = list(inspect.signature(their_methods[call.method]).parameters)
    ours = list(inspect.signature(our_methods[call.method]).parameters)
    given = len(theirs) if call.keywords is None else len(call.keywords)
    assert theirs == ours[:-1]
    assert given == len(theirs) == call.takes_id + (call.params is not None) + len(call.keywords or ())
    assert set(call.keywords or theirs) == set(theirs)


@pytest.mark.parametrize("call", WITH_PARAMS, ids=repr)
def test_no_type_of_params_is_forgotten(call):
    """The params of a call, and the types within them, are all compared field by field."""

    def types_within(model):
        return {model.__name__}.union(
            *(
                types_within(leaf)
                for field in model.model_fields.values()
                for leaf in leaves(field.annotation)
                if is_model(leaf)
            )
        )

    assert types_within(getattr(meshapi, call.params)) <= set(PARAMS_OF_BOTH)


def test_each_difference_is_met():
    """Each row of the table has a case or a value that shows it, with one of the official SDK's versions."""
    all_cases = [case for call in CALLS if call.needs == INSTALLED or call.params is None for case in cases(call)]
    all_probes = [probe for model in PARAMS_OF_BOTH for probe in probes(model)]
    for difference in DIFFERENCES:
        is_met = any(map(difference.is_case, all_cases)) or any(map(difference.is_probe, all_probes))
        assert is_met or INSTALLED != CURRENT, difference.what


def table(page, title):
    """The rows of the first table below a heading of the page."""
    rows = re.findall(r"^\| (.*) \|$", page.split(f"## {title}\n")[1], re.MULTILINE)
    return [tuple(row.split(" | ")) for row in rows[1:]]


def test_the_page_has_the_table_of_differences():
    """The table of the page is the one that the tests go by, row for row."""
    assert table(PAGE.read_text("utf-8"), "What is sent otherwise") == [
        (difference.what, difference.official, difference.here, difference.why) for difference in DIFFERENCES
    ]


@pytest.mark.skipif(INSTALLED != CURRENT, reason=f"the page is about meshapi {CURRENT}, and this is {INSTALLED}")
def test_the_page_says_what_is_not_here(our_methods, their_methods):
    """The resources of the official SDK that are missing are those that the page tells."""
    told = re.search(r"((?:`\w+`,\s)*`\w+`\sand\s`\w+`) are not here", PAGE.read_text("utf-8"))[1]
    missing = {name.partition(".")[0] for name in their_methods} - {name.partition(".")[0] for name in our_methods}
    assert re.findall(r"\w+(?=`)", told) == sorted(missing)


@pytest.mark.parametrize(
    "name",
    [name for name in meshapi.__all__ if not OF_OTHER_RESOURCES.match(name)],
)
def test_a_name_can_be_imported_from_here(name):
    """What a program imports from the official SDK it finds in the client's module, too."""
    assert hasattr(over_httpx, name)
