"""Every method of every resource: the request that it makes, with each of its options, and how the answer is read."""

import inspect
import json

import pytest
from pydantic import ValidationError

import meshapi_core
from meshapi_core import (
    BatchListResponse,
    BatchObject,
    BatchRequestItem,
    ChatCompletionParams,
    ChatCompletionResponse,
    CompareParams,
    CompareResponse,
    CreateBatchParams,
    CreateTemplateParams,
    Done,
    EmbeddingsParams,
    EmbeddingsResponse,
    Failure,
    FileObject,
    ImageEditParams,
    ImageGenerationParams,
    ImageGenerationResponse,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ModelInfo,
    ModelSearchParams,
    ModelsPage,
    NotFoundError,
    RequestOptions,
    ResponseParseError,
    ResponsesListResponse,
    ResponsesParams,
    ResponsesResponse,
    RetryPolicy,
    SendRequest,
    State,
    TemplateSummary,
    Timeout,
    UpdateTemplateParams,
    UploadBatchFileParams,
    Wait,
)

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
CORE = MeshAPICore(MeshAPIConfig("https://host/base", token=TOKEN))
JSON = {"content-type": "application/json", "X-Request-Id": "req-1"}

CHAT = ChatCompletionParams(model="m", messages=[{"role": "user", "content": "hé"}])
RESPONSES = ResponsesParams(model="m", input="hé")
COMPARE = CompareParams(models=["a", "b"], messages=[{"role": "user", "content": "hé"}])
EMBEDDINGS = EmbeddingsParams(model="m", input=["hé"])
IMAGE = ImageGenerationParams(prompt="hé")
EDIT = ImageEditParams(model="m", image="https://x/y.png")
REQUEST = {"custom_id": "a", "body": {"model": "m"}}
REQUEST_SENT = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
UPLOAD = UploadBatchFileParams(requests=[REQUEST])
BATCH = CreateBatchParams(input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h")
TEMPLATE = CreateTemplateParams(name="t", messages=[{"role": "user", "content": "{{x}}"}])
MESSAGES = [{"role": "user", "content": "hé"}]

# Each method: how it is called, what is sent, and what the answer is read as; None for what has no body.
METHODS = {
    "chat.completions.create": (
        (CHAT,), "POST /v1/chat/completions",
        {"model": "m", "messages": MESSAGES, "stream": False}, ChatCompletionResponse),
    "chat.completions.stream": (
        (CHAT,), "POST /v1/chat/completions", {"model": "m", "messages": MESSAGES, "stream": True}, "stream"),
    "chat.completions.parse": (
        (CHAT, {"title": "t", "type": "object"}), "POST /v1/chat/completions",
        {"model": "m", "messages": MESSAGES, "stream": False, "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "t", "schema": {"title": "t", "type": "object"}, "strict": False}}},
        meshapi_core.ParsedChatCompletion),
    "chat.completions.parse_stream": (
        (CHAT, {"title": "t", "type": "object"}), "POST /v1/chat/completions",
        {"model": "m", "messages": MESSAGES, "stream": True, "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "t", "schema": {"title": "t", "type": "object"}, "strict": False}}},
        "stream"),
    "responses.create": (
        (RESPONSES,), "POST /v1/responses", {"model": "m", "input": "hé", "stream": False}, ResponsesResponse),
    "responses.stream": ((RESPONSES,), "POST /v1/responses", {"model": "m", "input": "hé", "stream": True}, "stream"),
    "responses.list": ((), "GET /v1/responses", None, ResponsesListResponse),
    "responses.iterate": ((), "GET /v1/responses", None, "items"),
    "responses.get": (("r",), "GET /v1/responses/r", None, ResponsesResponse),
    "embeddings.create": ((EMBEDDINGS,), "POST /v1/embeddings", {"model": "m", "input": ["hé"]}, EmbeddingsResponse),
    "images.generate": ((IMAGE,), "POST /v1/images/generations", {"prompt": "hé"}, ImageGenerationResponse),
    "images.stream": ((IMAGE,), "POST /v1/images/generations", {"prompt": "hé", "stream": True}, "stream"),
    "images.edit": (
        (EDIT,), "POST /v1/images/edits",
        {"model": "m", "image": "https://x/y.png", "prompt": "", "operation": "edit"}, ImageGenerationResponse),
    "compare.create": (
        (COMPARE,), "POST /v1/chat/compare",
        {"models": ["a", "b"], "messages": MESSAGES, "stream": False, "skip_comparison": False}, CompareResponse),
    "compare.stream": (
        (COMPARE,), "POST /v1/chat/compare",
        {"models": ["a", "b"], "messages": MESSAGES, "stream": True, "skip_comparison": False}, "stream"),
    "files.upload": ((UPLOAD,), "POST /v1/files", {"purpose": "batch", "requests": [REQUEST_SENT]}, FileObject),
    "files.get": (("f",), "GET /v1/files/f", None, FileObject),
    "files.delete": (("f",), "DELETE /v1/files/f", None, None),
    "files.content": (("f",), "GET /v1/files/f/content", None, bytes),
    "batches.create": (
        (BATCH,), "POST /v1/batches",
        {"input_file_id": "f", "endpoint": "/v1/chat/completions", "completion_window": "24h"}, BatchObject),
    "batches.get": (("b",), "GET /v1/batches/b", None, BatchObject),
    "batches.list": ((), "GET /v1/batches", None, BatchListResponse),
    "batches.iterate": ((), "GET /v1/batches", None, "items"),
    "batches.cancel": (("b",), "POST /v1/batches/b/cancel", {}, BatchObject),
    "batches.upload": (([REQUEST],), "POST /v1/files", {"purpose": "batch", "requests": [REQUEST_SENT]}, FileObject),
    "batches.wait": (("b",), "GET /v1/batches/b", None, BatchObject),
    "batches.results": (("b",), "GET /v1/batches/b", None, "items"),
    "models.list": ((), "GET /v1/models", None, [ModelInfo]),
    "models.free": ((), "GET /v1/models/free", None, [ModelInfo]),
    "models.paid": ((), "GET /v1/models/paid", None, [ModelInfo]),
    "models.search": ((), "GET /v1/models/search", None, ModelsPage),
    "models.iterate": ((), "GET /v1/models/search?offset=0", None, "items"),
    "models.get": (("a/b",), "GET /v1/models/a/b", None, ModelInfo),
    "templates.create": (
        (TEMPLATE,), "POST /v1/templates",
        {"name": "t", "messages": [{"role": "user", "content": "{{x}}"}]}, TemplateSummary),
    "templates.list": ((), "GET /v1/templates", None, [TemplateSummary]),
    "templates.get": (("t",), "GET /v1/templates/t", None, TemplateSummary),
    "templates.update": (
        ("t", UpdateTemplateParams(name="n")), "PATCH /v1/templates/t", {"name": "n"}, TemplateSummary),
    "templates.delete": (("t",), "DELETE /v1/templates/t", None, None),
}  # fmt: skip
ALL = pytest.mark.parametrize("name", METHODS)
WITH_BODY = [name for name, (_, _, body, _) in METHODS.items() if body is not None]
WITHOUT_BODY = [name for name in METHODS if name not in WITH_BODY]
WHOLE = [name for name, (_, _, _, answer) in METHODS.items() if isinstance(answer, type)]


def method_of(name, core=CORE):
    found = core
    for part in name.split("."):
        found = getattr(found, part)
    return found


def make(name, core=CORE, **options):
    return method_of(name, core)(*METHODS[name][0], **options)


def sent(call):
    action = call.next_action()
    assert isinstance(action, SendRequest)
    return action.request


def target(call):
    """What the request is for, without what comes before each."""
    return sent(call).url[len("https://host/base") :]


def answered(call, body=b"{}", status=200, headers=JSON):
    call.receive_response(status, headers)
    if body:
        call.receive_data(body)
    call.receive_eof()
    return call


def failed(call):
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    return caught.value


def test_no_method_is_left_out():
    """What the tree of the core offers is what is tested here."""
    resources = {
        "chat.completions": CORE.chat.completions,
        **{
            name: getattr(CORE, name)
            for name in dir(MeshAPICore)
            if not name.startswith("_") and name not in ("chat", "config")
        },
    }
    offered = {
        f"{path}.{name}"
        for path, resource in resources.items()
        for name, _ in inspect.getmembers(type(resource), inspect.isfunction)
        if not name.startswith("_")
    }
    assert offered == set(METHODS)


# --- what is sent ------------------------------------------------------------------------------------------------


@ALL
def test_what_is_sent(name):
    """Method, URL, body, and the headers that belong to them; nothing else."""
    _, request_line, body, answer = METHODS[name]
    request = sent(make(name))
    method, path = request_line.split(" ")
    assert (request.method, request.url) == (method, f"https://host/base{path}")
    assert (request.content and json.loads(request.content)) == body
    accept = {"stream": "text/event-stream", "<class 'bytes'>": "*/*"}.get(str(answer))
    assert dict(request.headers) == {
        "Authorization": f"Bearer {TOKEN}",
        "Accept": accept or "application/json",
        "X-MeshAPI-SDK": f"python/{meshapi_core.__version__}",
        "X-Mesh-Version": "2026-08",
        **({} if body is None else {"Content-Type": "application/json"}),
    }
    assert len({header.lower() for header, _ in request.headers}) == len(request.headers)
    if body:
        assert b"\\u" not in request.content


@ALL
def test_the_clients_own_settings_reach_every_method(name):
    """Version, headers, timeout."""
    core = MeshAPICore(
        MeshAPIConfig("http://x", token="t", api_version=None, timeout=7, default_headers={"X-A": "b", "accept": "c"})
    )
    call = make(name, core)
    headers = dict(sent(call).headers)
    assert (headers["X-A"], headers["accept"], headers["Authorization"]) == ("b", "c", "Bearer t")
    assert "X-Mesh-Version" not in headers
    assert "Accept" not in headers
    assert sent(call).url.startswith("http://x/v1/")
    assert call.timeout == Timeout.of(7)


@ALL
def test_the_options_of_the_call_reach_every_method(name):
    """extra_headers, request_id, extra_query, timeout."""
    call = make(
        name,
        extra_headers={"X-A": "b"},
        request_id="mine",
        extra_query={"q": [1, True, None], "free": False},
        timeout=Timeout(1, 2, 3),
    )
    headers = dict(sent(call).headers)
    assert (headers["X-A"], headers["X-Request-Id"]) == ("b", "mine")
    separator = "&" if "?" in METHODS[name][1] else "?"
    assert target(call) == f"{METHODS[name][1].partition(' ')[2]}{separator}q=1&q=true&free=false"
    assert call.timeout == Timeout(1, 2, 3)


@ALL
def test_options_that_are_none_are_as_if_absent(name):
    """So that a wrapper can hand its own optional arguments on."""
    nothing = dict.fromkeys(RequestOptions.__annotations__)
    assert sent(make(name, **nothing)) == sent(make(name))


@ALL
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"unknown": 1}, TypeError, "unknown option 'unknown'"),
        ({"request_id": "a b"}, ValueError, "request_id must be"),
        ({"extra_headers": {"Authorization": "x"}}, ValueError, "is set by the client itself"),
        ({"extra_query": [("a", "b")]}, ValueError, "extra_query must be a mapping, not list"),
        ({"timeout": 0}, ValueError, "timeout( .total.)? must be a number of seconds above 0"),
        ({"max_retries": -1}, ValueError, "max_retries must be a whole number"),
        ({"max_retries": True}, ValueError, "max_retries must be a whole number"),
        ({"retry": {}}, None, None),
        ({"retry": {"a": 1}}, ValueError, "retry must be a RetryPolicy"),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_the_call(name, options, error, message):
    """Before anything is sent, also where the call has several steps."""
    if error is None:
        sent(make(name, **options))
        return
    with pytest.raises(error, match=message):
        make(name, **options)


@pytest.mark.parametrize("name", WITH_BODY)
def test_extra_body_adds_and_replaces(name):
    """Null included; what says whether it is a stream stays the method's."""
    body = METHODS[name][2]
    request = sent(make(name, extra_body={"model": None, "new": {"é": [1]}}))
    assert json.loads(request.content) == {**body, "model": None, "new": {"é": [1]}}
    assert "é".encode() in request.content
    with pytest.raises(ValueError, match='extra_body must not hold "stream": the method that is called says it'):
        make(name, extra_body={"stream": True})
    with pytest.raises(ValueError, match="extra_body must be a mapping, not list"):
        make(name, extra_body=[1])


@pytest.mark.parametrize("name", WITHOUT_BODY)
@pytest.mark.parametrize("extra_body", [{}, {"a": 1}])
def test_extra_body_without_a_body_is_refused(name, extra_body):
    """Rather than sending one that the gateway does not expect."""
    with pytest.raises(ValueError, match="extra_body has nothing to be added to: this request has no body"):
        make(name, extra_body=extra_body)


@pytest.mark.parametrize(
    "name", [name for name, (args, *_) in METHODS.items() if args and hasattr(args[-1], "model_dump")]
)
@pytest.mark.parametrize("params", [None, {"messages": []}, "x", BatchRequestItem(**REQUEST)])
def test_params_of_another_type_are_refused(name, params):
    """With a hint for those who pass a dict."""
    args, method = METHODS[name][0], method_of(name)
    hint = r"make them with \w+\(\*\*params\)" if isinstance(params, dict) else ""
    with pytest.raises(
        TypeError, match=rf"^{name.rpartition('.')[2]}\(\) takes \w+Params, not {type(params).__name__}.*{hint}"
    ):
        method(*args[:-1], params)


@pytest.mark.parametrize("name", ["parse", "parse_stream"])
@pytest.mark.parametrize("params", [None, {"messages": []}])
def test_params_of_another_type_are_refused_where_the_shape_comes_after_them(name, params):
    """By the name of the method that was called."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes ChatCompletionParams, not {type(params).__name__}"):
        getattr(CORE.chat.completions, name)(params, dict)


@pytest.mark.parametrize("name", ["search", "iterate"])
def test_a_search_takes_params_or_nothing(name):
    """A dict is refused here, too."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes ModelSearchParams, not dict; make them with"):
        getattr(CORE.models, name)({"q": "x"})


@pytest.mark.parametrize(
    ("resource", "params"),
    [
        (CORE.responses, lambda stream: ResponsesParams(input="x", stream=stream)),
        (CORE.compare, lambda stream: CompareParams(models=[], messages=[], stream=stream)),
    ],
)
def test_create_refuses_params_that_ask_for_a_stream(resource, params):
    """It names the method that gives one; False and None are no such wish."""
    with pytest.raises(ValueError, match=r"^create\(\) gives the answer as a whole, .* stream=True; use stream\(\)$"):
        resource.create(params(True))
    for stream in (False, None):
        assert json.loads(sent(resource.create(params(stream))).content)["stream"] is False
    for stream in (True, False, None):
        assert json.loads(sent(resource.stream(params(stream))).content)["stream"] is True


@pytest.mark.parametrize("stream", [True, False, None])
def test_images_are_generated_without_a_word_on_streams(stream):
    """Whatever the params say, and with extra fields, too."""
    params = ImageGenerationParams(prompt="x", stream=stream)
    assert json.loads(sent(CORE.images.generate(params)).content) == {"prompt": "x"}
    assert json.loads(sent(CORE.images.generate(params, extra_body={"a": 1})).content) == {"prompt": "x", "a": 1}
    assert json.loads(sent(CORE.images.stream(params)).content) == {"prompt": "x", "stream": True}


# --- paths and queries -------------------------------------------------------------------------------------------

WITH_ID = {
    "responses.get": ("/v1/responses/", "", "response_id"),
    "files.get": ("/v1/files/", "", "file_id"),
    "files.delete": ("/v1/files/", "", "file_id"),
    "files.content": ("/v1/files/", "/content", "file_id"),
    "batches.get": ("/v1/batches/", "", "batch_id"),
    "batches.cancel": ("/v1/batches/", "/cancel", "batch_id"),
    "batches.wait": ("/v1/batches/", "", "batch_id"),
    "batches.results": ("/v1/batches/", "", "batch_id"),
    "templates.get": ("/v1/templates/", "", "template_id"),
    "templates.delete": ("/v1/templates/", "", "template_id"),
    "templates.update": ("/v1/templates/", "", "template_id"),
}
IDS = {
    "a-b_c.d~e": "a-b_c.d~e",
    "a/b": "a%2Fb",
    "../../models": "..%2F..%2Fmodels",
    ".": "%2E",
    "..": "%2E%2E",
    "...": "%2E%2E%2E",
    ".a.": ".a.",
    "a?b=c&d#e": "a%3Fb%3Dc%26d%23e",
    "100%": "100%25",
    "%2e%2e": "%252e%252e",
    "a b+c;d:e@f": "a%20b%2Bc%3Bd%3Ae%40f",
    "\\": "%5C",
    "\0\r\n\t\x7f": "%00%0D%0A%09%7F",
    "é😀": "%C3%A9%F0%9F%98%80",
    "\u2028": "%E2%80%A8",
}


@pytest.mark.parametrize(("given", "encoded"), IDS.items())
@pytest.mark.parametrize("name", WITH_ID)
def test_an_id_is_one_segment_of_the_path_whatever_is_in_it(name, given, encoded):
    """It leads nowhere else, and ends neither the path nor the request line."""
    before, after, _ = WITH_ID[name]
    args = METHODS[name][0][1:]
    assert target(method_of(name)(given, *args)) == before + encoded + after


@pytest.mark.parametrize("given", ["", None, 7, b"a", ["a"], "\ud800", "a\udfff"])
@pytest.mark.parametrize("name", [*WITH_ID, "models.get"])
def test_what_is_no_id_is_refused_at_the_call(name, given):
    """An empty one would be another endpoint; half a character has no encoding."""
    args = METHODS[name][0][1:]
    what = WITH_ID[name][2] if name in WITH_ID else "model_id"
    text = (
        f"{what} has half a character"
        if given and isinstance(given, str)
        else f"{what} must be a text that is not empty"
    )
    error = ValueError
    if name == "batches.results" and not isinstance(given, str):
        error, text = TypeError, rf"^results\(\) takes a batch or its id, not {type(given).__name__}$"
    with pytest.raises(error, match=text):
        method_of(name)(given, *args)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("a/b/c", "a/b/c"),
        ("m", "m"),
        ("../files", "%2E%2E/files"),
        ("a/../../files", "a/%2E%2E/%2E%2E/files"),
        ("a/./b", "a/%2E/b"),
        ("..", "%2E%2E"),
        ("a//b", "a//b"),
        ("/a", "/a"),
        ("a/", "a/"),
        ("a?b/c#d", "a%3Fb/c%23d"),
        ("a%2F..", "a%252F.."),
        ("a\r\nb/\0", "a%0D%0Ab/%00"),
        ("a:free", "a%3Afree"),
        ("é/b", "%C3%A9/b"),
    ],
)
def test_a_model_id_keeps_its_slashes_and_cannot_climb(given, path):
    """All else in it is encoded like any id."""
    assert target(CORE.models.get(given)) == f"/v1/models/{path}"


@pytest.mark.parametrize("resource", [CORE.responses, CORE.batches])
@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, ""),
        ({"after": None, "limit": None}, ""),
        ({"after": "a/&b c", "limit": 5}, "?after=a%2F%26b+c&limit=5"),
        ({"limit": 0}, "?limit=0"),
        ({"limit": 5, "extra_query": {"limit": 6, "order": "asc"}}, "?limit=6&order=asc"),
        ({"after": "x", "extra_query": {"after": None}}, ""),
        ({"after": "x", "extra_query": {}}, "?after=x"),
    ],
)
def test_a_page_is_asked_for(resource, options, query):
    """What is absent is left out; extra_query adds to the method's own, and has the last word."""
    assert target(resource.list(**options)).partition("?")[1:] == (query[:1], query[1:])


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({"free": True}, "?free=true"),
        ({"free": False}, "?free=false"),
        ({"type": "image", "provider": "a b"}, "?type=image&provider=a+b"),
        ({"free": None, "type": None, "provider": None}, ""),
    ],
)
def test_models_are_filtered(options, query):
    """Booleans in lower case."""
    assert target(CORE.models.list(**options)) == f"/v1/models{query}"


def test_a_filter_that_there_is_not_is_refused():
    """The message names what there is."""
    with pytest.raises(ValidationError, match="'text', 'embedding', 'image', 'audio' or 'video'"):
        CORE.models.list(type="smell")


def test_a_search_is_a_query():
    """A list repeats its key, booleans are in lower case, what is absent is left out."""
    params = ModelSearchParams(
        q="x y", free=False, discounted=True, input_modality=["text", "image"], output_modality=[], brand=["a&b"],
        sort="name", order="desc", limit=3, offset=0,
    )  # fmt: skip
    assert target(CORE.models.search(params)) == (
        "/v1/models/search?q=x+y&free=false&discounted=true&input_modality=text&input_modality=image"
        "&brand=a%26b&sort=name&order=desc&limit=3&offset=0"
    )
    assert target(CORE.models.search(ModelSearchParams())) == "/v1/models/search"


def test_a_field_of_a_template_can_be_emptied():
    """By null in extra_body; what the params leave out is not sent at all."""
    call = CORE.templates.update("t", UpdateTemplateParams(), extra_body={"description": None})
    assert json.loads(sent(call).content) == {"description": None}
    assert sent(CORE.templates.update("t", UpdateTemplateParams())).content == b"{}"


# --- what comes back ---------------------------------------------------------------------------------------------

THROUGH = b'{"id": "x", "status": "completed", "new": {"a": 1}}'


@pytest.mark.parametrize("name", [name for name in WHOLE if METHODS[name][3] is not bytes])
def test_an_answer_is_read_as_its_type(name):
    """It knows its request's id, which is none of its fields, and keeps what is not known."""
    body = b'{"choices": [{"message": {"content": "{}"}}], "new": {"a": 1}}' if name.endswith("parse") else THROUGH
    call = answered(make(name), body)
    assert call.next_action() == Done()
    assert type(call.result) is METHODS[name][3]
    assert (call.result.request_id, call.request_id) == ("req-1", "req-1")
    assert call.result.new == {"a": 1}
    assert "request_id" not in call.result.model_dump()
    assert call.result.response_headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"<html>", b"{", b"\xff"])
@pytest.mark.parametrize("name", [name for name in WHOLE if METHODS[name][3] is not bytes and name != "batches.wait"])
def test_an_answer_of_another_shape_is_a_parse_error(name, body):
    """It names the type and quotes the answer."""
    error = failed(answered(make(name), body))
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert f"could not be read as {METHODS[name][3].__name__} (" in error.message
    assert body.decode("utf-8", "replace") in error.message
    assert error.__context__ is None


LISTS = [name for name, (*_, answer) in METHODS.items() if isinstance(answer, list)]


@pytest.mark.parametrize("name", LISTS)
def test_an_array_is_read_as_a_list_whose_items_know_the_request(name):
    """It is a list; one without items is one, too."""
    found = answered(make(name), b'\xef\xbb\xbf[{"id": "a", "new": 1}, {"id": null}]').result
    assert [item.id for item in found] == ["a", None]
    assert {type(item) for item in found} == {METHODS[name][3][0]}
    assert {item.request_id for item in found} == {found.request_id} == {"req-1"}
    assert found[0].new == 1
    nothing = answered(make(name), b"[]").result
    assert (nothing, nothing.request_id) == ([], "req-1")


@pytest.mark.parametrize("body", [b"null", b"{}", b'{"data": []}', b"[null]", b"[1]", b'["a"]', b"[[]]", b"", b"[{}"])
@pytest.mark.parametrize("name", LISTS)
def test_what_is_no_array_is_a_parse_error(name, body):
    """A silent empty list would be a lie."""
    error = failed(answered(make(name), body))
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert METHODS[name][3][0].__name__ in error.message


@pytest.mark.parametrize(
    ("status", "body"),
    [(204, b""), (200, b""), (200, b'{"deleted": true}'), (200, b"gone"), (202, b"\xff"), (200, b"null")],
)
@pytest.mark.parametrize("name", ["files.delete", "templates.delete"])
def test_what_is_deleted_is_gone_whatever_the_answer_says(name, status, body):
    """With and without a body."""
    call = answered(make(name), body, status)
    assert (call.next_action(), call.result, call.request_id) == (Done(), None, "req-1")


@pytest.mark.parametrize(
    "body", [b"", b'{"a": 1}\n', b"\x1f\x8b\x08\x00\xff", b"\xef\xbb\xbf{}\r\n", bytes(range(256))]
)
def test_the_content_of_a_file_is_its_bytes(body):
    """Untouched, in whatever pieces and under whatever type they come."""
    call = CORE.files.content("f")
    call.receive_response(200, {"content-type": "application/json", "x-request-id": "req-1"})
    for i in range(len(body)):
        call.receive_data(body[i : i + 1])
    call.receive_eof()
    assert isinstance(call.result, bytes)
    assert call.result == body
    assert (call.result.request_id, call.result.response_headers["content-type"]) == ("req-1", "application/json")


@ALL
def test_an_answer_without_success_is_its_error(name):
    """Whatever the method."""
    call = make(name)
    call.receive_response(404, JSON)
    call.receive_data(b'{"error": {"code": "not_found", "message": "no such thing"}}')
    call.receive_eof()
    error = failed(call)
    assert type(error) is NotFoundError
    assert (error.message, error.request_id) == ("no such thing", "req-1")


@pytest.mark.parametrize("name", ["responses.list", "batches.list", "models.search"])
def test_each_item_of_a_page_knows_the_request(name):
    """As the page itself does."""
    page = answered(make(name), b'{"data": [{"id": "a"}], "items": [{"id": "a"}], "has_more": false}').result
    items = page.items if name == "models.search" else page.data
    assert [(item.id, item.request_id) for item in items] == [("a", "req-1")]


# --- what is tried again -----------------------------------------------------------------------------------------


def wait_after(call, status=503):
    """The wait that the call asks for after this status; None if it fails."""
    answered(call, b"{}", status)
    if call.state is State.FAILED:
        return None
    action = call.next_action()
    assert isinstance(action, Wait)
    return action.seconds


@ALL
def test_what_is_tried_again_by_default(name):
    """GET, POST and PATCH; neither DELETE nor streams."""
    is_retried = METHODS[name][3] not in ("stream", None)
    assert wait_after(make(name)) == (0.5 if is_retried else None)


@pytest.mark.parametrize("name", [name for name in METHODS if not name.endswith("parse")])
def test_max_retries_is_consent(name):
    """For a DELETE and for a stream, too; 0 is the opposite."""
    call = make(name, max_retries=1)
    assert wait_after(call) == 0.5
    call.wait_elapsed()
    if name != "batches.wait":
        # There, what follows the last try is the pause before the next poll.
        assert wait_after(call) is None
        assert wait_after(make(name, max_retries=0)) is None


@pytest.mark.parametrize("name", ["files.delete", "templates.delete"])
def test_a_delete_is_tried_again_where_the_policy_says_so(name):
    """The client's or the call's."""
    policy = RetryPolicy(retry_on_method={"DELETE"}, backoff_base=2)
    assert wait_after(make(name, retry=policy)) == 2
    assert wait_after(make(name, MeshAPICore(MeshAPIConfig(token="t", retry=policy)))) == 2


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name][3] not in ("stream", None)])
def test_a_lost_connection_is_tried_again_only_where_that_does_no_harm(name):
    """A GET; anything where nothing was sent; else only if the policy says so."""
    call = make(name)
    call.request_sent()
    call.receive_failure(Failure.CONNECTION_LOST)
    assert (call.state is State.WAIT) == METHODS[name][1].startswith("GET")
    call = make(name)
    call.receive_failure(Failure.CONNECT)
    assert call.state is State.WAIT
    call = make(name, retry=RetryPolicy(retry_on_network_error=True))
    call.request_sent()
    call.receive_failure(Failure.CONNECTION_LOST)
    assert call.state is State.WAIT


def test_the_jitter_of_the_core_reaches_every_resource():
    """It is asked for once a wait."""
    core = MeshAPICore(CORE.config, jitter=lambda: 1.2)
    for name in METHODS:
        if METHODS[name][3] not in ("stream", None):
            assert wait_after(make(name, core)) == 0.6


def test_resources_are_made_once():
    """A core gives the same each time."""
    for name in METHODS:
        resource = name.rpartition(".")[0]
        assert method_of(resource) is method_of(resource)
