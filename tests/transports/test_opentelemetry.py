"""Calls as OpenTelemetry shows them: spans and metrics of the SDK, over real sockets and by hand."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
import weakref

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from meshapi_core import (
    ChatCompletionParams,
    CompareParams,
    EmbeddingsParams,
    Failure,
    ImageGenerationParams,
    MeshAPIConfig,
    MeshAPICore,
    ResponseParseError,
    ResponsesParams,
    RetryPolicy,
    StreamStarted,
)
from meshapi_transports.opentelemetry import OpenTelemetryObserver
from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    chat_answer,
    chat_events,
    http_chunk,
    replies,
    stream_head,
)

from .conftest import only
from .faces import TOKEN, failure, read, read_to_failure

ON_SOME = only(lambda face: face.name in ("httpx", "httpx-asyncio", "trio", "requests"))
ON_COROUTINES = only(lambda face: face.name in ("httpx-asyncio", "trio"))
AT_ONCE = RetryPolicy(backoff_base=0.0)
PROMPT = "a secret recipe"
PARAMS = ChatCompletionParams(
    model="openai/gpt-4o-mini",
    messages=[{"role": "user", "content": PROMPT}],
    temperature=0.5,
    max_tokens=20,
    top_p=1,
    seed=7,
    stop=["END"],
)
JSON = {"content-type": "application/json", "x-request-id": "req-1"}
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
FIRST, *REST = map(http_chunk, chat_events("Hello", " there"))


class Telemetry:
    """What was told to OpenTelemetry."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("test")

    def observer(self, **options):
        return OpenTelemetryObserver(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    @property
    def spans(self):
        return self._exporter.get_finished_spans()

    @property
    def span(self):
        (span,) = self.spans
        return span

    @property
    def attributes(self):
        """Those of the only span, but for how long it took."""
        attributes = dict(self.span.attributes)
        seconds = attributes.pop("gen_ai.response.time_to_first_chunk", None)
        assert seconds is None or isinstance(seconds, float)
        return attributes

    def points(self, name):
        """The points of a metric."""
        data = self._reader.get_metrics_data()
        metrics = (
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def texts(self):
        """All that a backend could show."""
        for span in self.spans:
            yield span.to_json()
        data = self._reader.get_metrics_data()
        yield data.to_json() if data else ""


@pytest.fixture
def telemetry():
    return Telemetry()


@pytest.fixture
def gateway(no_socket_is_left):
    with LocalGateway(token=TOKEN) as gateway:
        yield gateway


def client_of(face, gateway, *observers, **options):
    return face.client(gateway.base_url, observers=observers, **options)


# Over real sockets


@ON_SOME
@pytest.mark.anyio
async def test_success(face, gateway, telemetry):
    """One call is one span, with all that the conventions ask for, and our own attributes beside it."""
    gateway.inject(Fault(headers={"X-Mesh-Routing-Attempts": "2", "X-Mesh-Routing-Fallback": "true"}))
    async with client_of(face, gateway, telemetry.observer()) as client:
        answer = await client.chat.completions.create(PARAMS, request_id="req-1")
    host, port = gateway.base_url.rpartition("/")[2].split(":")
    assert telemetry.span.name == "chat openai/gpt-4o-mini"
    assert telemetry.span.kind is SpanKind.CLIENT
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert telemetry.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "meshapi",
        "gen_ai.request.model": "openai/gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": answer.id,
        "gen_ai.response.model": answer.model,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
        "http.response.status_code": 200,
        "meshapi.request_id": "req-1",
        "meshapi.routing.attempts": 2,
        "meshapi.routing.fallback": True,
        "meshapi.routing.served_provider": answer.response_headers["X-Mesh-Served-Provider"],
        "server.address": host,
        "server.port": int(port),
    }


@ON_SOME
@pytest.mark.anyio
async def test_retry(face, gateway, telemetry):
    """A retry is an event of the one span, with its delay and its reason; what the first answer said is forgotten."""
    gateway.inject(Fault(status=503, headers={"X-Mesh-Routing-Attempts": "9"}))
    async with client_of(face, gateway, telemetry.observer(), retry=AT_ONCE) as client:
        await client.chat.completions.create(PARAMS)
    (event,) = telemetry.span.events
    assert event.name == "meshapi.retry"
    assert dict(event.attributes) == {
        "meshapi.retry.delay": 0.0,
        "error.type": "upstream_error",
        "http.response.status_code": 503,
        "meshapi.request_id": "req_00000001",
    }
    attributes = telemetry.attributes
    assert attributes["http.request.resend_count"] == 1
    assert attributes["http.response.status_code"] == 200
    assert attributes.get("meshapi.routing.attempts") != 9
    assert "error.type" not in attributes


@ON_SOME
@pytest.mark.anyio
async def test_failure(face, gateway, telemetry):
    """A failure has its type and its code; the message, which may quote what was said, is not told."""
    gateway.inject(Fault(status=422, body=json.dumps({"error": {"message": f"not {PROMPT}"}}).encode()))
    async with client_of(face, gateway, telemetry.observer()) as client:
        await failure(client.chat.completions.create(PARAMS))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description == "422 validation_error"
    assert telemetry.attributes["error.type"] == "validation_error"
    assert telemetry.attributes["http.response.status_code"] == 422
    assert "gen_ai.response.id" not in telemetry.attributes
    assert not any(PROMPT in text for text in telemetry.texts())


@ON_SOME
@pytest.mark.anyio
async def test_no_connection(face, telemetry):
    """Where nothing was answered, the error says so, and there is no status."""
    async with face.client("http://127.0.0.1:1", observers=[telemetry.observer()], max_retries=0) as client:
        await failure(client.chat.completions.create(PARAMS))
    assert telemetry.span.status.description == "connection_error"
    assert telemetry.attributes["error.type"] == "connection_error"
    assert "http.response.status_code" not in telemetry.attributes


class FirstEvent(threading.Event):
    """Is set when the first event of a stream has come."""

    def __call__(self, event):
        if isinstance(event, StreamStarted):
            self.set()

    def then(self, go_on):
        """A reply whose first event comes alone."""

        def reply(connection, request):
            connection.send(stream_head("X-Request-Id: req-1") + FIRST)
            connection.wait(self)
            go_on(connection)

        return RawServer(replies(reply))


@ON_SOME
@pytest.mark.anyio
async def test_a_stream_to_its_end(face, gateway, telemetry):
    """A stream's usage and model are those of all its events, once it is through."""
    async with client_of(face, gateway, telemetry.observer()) as client:
        answer = await client.chat.completions.stream(PARAMS).collect()
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.response.model"] == answer.model


@ON_SOME
@pytest.mark.anyio
async def test_the_time_to_the_first_event(face, telemetry):
    """It is measured for a stream, as an attribute and as a metric."""
    first = FirstEvent()
    with first.then(lambda connection: connection.send(*REST, LAST_CHUNK)) as server:
        async with face.client(server, observers=[telemetry.observer(), first]) as client:
            assert await read(client.chat.completions.stream(PARAMS)) == "Hello there"
    seconds = telemetry.span.attributes["gen_ai.response.time_to_first_chunk"]
    (point,) = telemetry.points("gen_ai.client.operation.time_to_first_chunk")
    assert (point.count, point.sum) == (1, seconds)
    assert point.attributes["gen_ai.response.model"] == "a/model"


@ON_SOME
@pytest.mark.anyio
async def test_a_stream_left_early(face, telemetry):
    """It is no error: its span says that it was left, once, and what it does not know it does not say."""
    first = FirstEvent()
    with first.then(lambda connection: connection.wait_closed()) as server:
        async with face.client(server, observers=[telemetry.observer(), first]) as client:
            async with client.chat.completions.stream(PARAMS) as chunks:
                await chunks.__anext__()
            await chunks.aclose()
    assert telemetry.attributes["meshapi.abandoned"] is True
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert telemetry.attributes["meshapi.request_id"] == "req-1"
    assert "gen_ai.usage.output_tokens" not in telemetry.attributes
    (point,) = telemetry.points("gen_ai.client.operation.duration")
    assert point.attributes["meshapi.abandoned"] is True


@ON_SOME
@pytest.mark.anyio
async def test_a_broken_stream(face, telemetry):
    """A stream that breaks off tells what had come of it."""
    first = FirstEvent()
    with first.then(lambda connection: connection.close()) as server:
        async with face.client(server, observers=[telemetry.observer(), first]) as client:
            await read_to_failure(client.chat.completions.stream(PARAMS))
    assert telemetry.attributes["error.type"] == "stream_interrupted"
    assert telemetry.attributes["gen_ai.response.id"] == "chatcmpl-1"
    assert telemetry.span.status.status_code is StatusCode.ERROR


@ON_COROUTINES
@pytest.mark.anyio
async def test_a_cancelled_call(face, telemetry):
    """A call that is cancelled while it waits has its span, too."""
    arrived = threading.Event()

    def reply(connection, request):
        arrived.set()
        connection.wait_closed()

    with RawServer(replies(reply)) as server:
        async with face.client(server, observers=[telemetry.observer()]) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.chat.completions.create, PARAMS)
            assert await anyio.to_thread.run_sync(arrived.wait, 5.0)
            tasks.cancel_scope.cancel()
    assert telemetry.attributes["meshapi.abandoned"] is True


def in_pairs(*texts):
    """A server that answers only when both of two requests are there."""
    both = threading.Barrier(2)

    def reply(connection, request):
        both.wait(5.0)
        connection.send(chat_answer(request.json()["messages"][0]["content"].upper()))

    return RawServer(replies(reply))


def asking(word):
    return ChatCompletionParams(model=word, messages=[{"role": "user", "content": word}])


def assert_apart(telemetry, roots):
    """Each of two calls has its span below that of whoever made it, and nobody's current span was changed."""
    calls = {span.attributes["gen_ai.request.model"]: span for span in telemetry.spans if span.kind is SpanKind.CLIENT}
    assert set(calls) == set(roots) == {"one", "two"}
    for word, call in calls.items():
        assert call.parent.span_id == roots[word].get_span_context().span_id
        assert call.context.trace_id == roots[word].get_span_context().trace_id


@ON_COROUTINES
@pytest.mark.anyio
async def test_tasks_keep_their_spans_apart(face, telemetry):
    """Calls that are under way at once in one loop."""
    roots = {}

    async def ask(client, word):
        with telemetry.tracer.start_as_current_span(word) as roots[word]:
            await client.chat.completions.create(asking(word))
            assert trace.get_current_span() is roots[word]

    with in_pairs() as server:
        async with face.client(server, observers=[telemetry.observer()]) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, client, "one")
            tasks.start_soon(ask, client, "two")
    assert_apart(telemetry, roots)


@only(lambda face: face.name in ("httpx", "requests"))
@pytest.mark.anyio
async def test_threads_keep_their_spans_apart(face, telemetry):
    """Calls that are under way at once in two threads."""
    roots = {}
    make = getattr(face.module, face.library.client_class)

    def ask(client, word):
        with telemetry.tracer.start_as_current_span(word) as roots[word]:
            client.chat.completions.create(asking(word))

    with in_pairs() as server, make(token=TOKEN, base_url=server.url, observers=[telemetry.observer()]) as client:
        threads = [threading.Thread(target=ask, args=(client, word)) for word in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert_apart(telemetry, roots)


@ON_SOME
@pytest.mark.anyio
async def test_metrics(face, gateway, telemetry):
    """Durations and tokens are counted by operation and model, failures by their type."""
    async with client_of(face, gateway, telemetry.observer(), max_retries=0) as client:
        answer = await client.chat.completions.create(PARAMS)
        gateway.inject(Fault(status=503))
        await failure(client.chat.completions.create(PARAMS))
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "meshapi",
        "gen_ai.request.model": "openai/gpt-4o-mini",
        "server.address": "127.0.0.1",
        "server.port": int(gateway.base_url.rpartition(":")[2]),
    }
    served = {**common, "gen_ai.response.model": answer.model}
    durations = telemetry.points("gen_ai.client.operation.duration")
    assert [dict(point.attributes) for point in durations] == [served, {**common, "error.type": "upstream_error"}]
    assert [point.count for point in durations] == [1, 1]
    assert all(point.sum > 0 for point in durations)
    assert [point.exemplars[0].span_id for point in durations] == [span.context.span_id for span in telemetry.spans]
    assert (durations[0].explicit_bounds[0], durations[0].explicit_bounds[-1]) == (0.01, 81.92)
    tokens = telemetry.points("gen_ai.client.token.usage")
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in tokens} == {
        "input": answer.usage.prompt_tokens,
        "output": answer.usage.completion_tokens,
    }
    assert {**tokens[0].attributes} == {**served, "gen_ai.token.type": "input"}
    assert (tokens[0].explicit_bounds[1], tokens[0].explicit_bounds[-1]) == (4, 67108864)
    assert telemetry.points("gen_ai.client.operation.time_to_first_chunk") == []


@ON_SOME
@pytest.mark.anyio
async def test_what_asks_no_model(face, gateway, telemetry):
    """Other requests are spans of plain HTTP, one for each request, and count for no metric."""
    async with client_of(face, gateway, telemetry.observer()) as client:
        await client.models.get("openai/gpt-4o-mini")
        await failure(client.batches.get("no-such"))
    found, missed = telemetry.spans
    assert (found.name, missed.name) == ("GET /v1/models", "GET /v1/batches")
    assert found.kind is SpanKind.CLIENT
    assert found.attributes["http.request.method"] == "GET"
    assert found.attributes["url.full"] == f"{gateway.base_url}/v1/models/openai/gpt-4o-mini"
    assert found.attributes["http.response.status_code"] == 200
    assert missed.attributes["error.type"] == "not_found"
    assert not any(name.startswith("gen_ai.") for span in telemetry.spans for name in span.attributes)
    assert telemetry.points("gen_ai.client.operation.duration") == []


@ON_SOME
@pytest.mark.anyio
@pytest.mark.parametrize("captures", [False, True])
async def test_content_is_told_only_where_it_is_asked_for(face, gateway, telemetry, captures):
    """Prompts and answers are in a span only with capture_content; the token never is."""
    async with client_of(face, gateway, telemetry.observer(capture_content=captures), max_retries=0) as client:
        await client.chat.completions.create(PARAMS)
        await client.chat.completions.stream(PARAMS).collect()
        gateway.inject(Fault(status=401, body=json.dumps({"error": {"message": f"{PROMPT} {TOKEN}"}}).encode()))
        await failure(client.chat.completions.create(PARAMS))
    told = "".join(telemetry.texts())
    assert TOKEN not in told
    assert "Bearer" not in told
    assert (PROMPT in told) is captures
    if captures:
        whole, streamed, failed = telemetry.spans
        for span in (whole, streamed):
            assert json.loads(span.attributes["gen_ai.input.messages"]) == [
                {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
            ]
            (message,) = json.loads(span.attributes["gen_ai.output.messages"])
            assert message["parts"] == [{"type": "text", "content": f"You said: {PROMPT}"}]
            assert (message["role"], message["finish_reason"]) == ("assistant", "stop")
        assert f"{PROMPT} [redacted]" in failed.status.description


# By hand


def core_of(telemetry, **options):
    config = MeshAPIConfig("https://host", token=TOKEN)
    return MeshAPICore(config, observer=telemetry.observer(**options))


def answered(call, answer, status=200, headers=JSON):
    call.next_action()
    call.receive_response(status, headers)
    call.receive_data(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    if not call.is_over:
        call.receive_eof()


def told_of(telemetry, method, params, answer, headers=JSON, **options):
    """What the span tells of a call that is answered so, but for what is the same for all calls."""
    captures = options.pop("capture_content", False)
    answered(method(core_of(telemetry, capture_content=captures))(params, **options), answer, headers=headers)
    usual = {"gen_ai.provider.name", "http.response.status_code", "meshapi.request_id", "server.address", "server.port"}
    return {name: value for name, value in telemetry.attributes.items() if name not in usual}


def test_responses(telemetry):
    """Responses are chats that count their tokens under other names."""
    params = ResponsesParams(
        model="m", input=PROMPT, max_output_tokens=9, session_id="s", text={"format": {"type": "json_schema"}}
    )
    usage = {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}}
    answer = {"id": "r", "model": "n", "status": "completed", "output": [], "usage": usage}
    assert told_of(telemetry, lambda core: core.responses.create, params, answer) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.conversation.id": "s",
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "r",
        "gen_ai.response.model": "n",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
    }


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"status": "queued"}, None),
        ({"status": "failed"}, ("failed",)),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, ("length",)),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ("content_filter",)),
        ({"status": "incomplete"}, None),
    ],
)
def test_why_a_response_ended(telemetry, fields, reasons):
    """A response's status says why it ended, if it has."""
    told = told_of(telemetry, lambda core: core.responses.create, ResponsesParams(input="x"), {"id": "r", **fields})
    assert told.get("gen_ai.response.finish_reasons") == reasons


def test_embeddings(telemetry):
    """Embeddings use no tokens for their output."""
    params = EmbeddingsParams(model="m", input="x", dimensions=8, encoding_format="float")
    answer = {"model": "m", "data": [], "usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}}
    assert told_of(telemetry, lambda core: core.embeddings.create, params, answer) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "m",
        "gen_ai.embeddings.dimension.count": 8,
        "gen_ai.request.encoding_formats": ("float",),
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 1,
    }
    assert telemetry.span.name == "embeddings m"
    (point,) = telemetry.points("gen_ai.client.token.usage")
    assert (point.attributes["gen_ai.token.type"], point.sum) == ("input", 5)


def test_images(telemetry):
    """Images are generated content; a model that nobody chose is not told."""
    params = ImageGenerationParams(prompt=PROMPT, n=2)
    answer = {"data": [{"url": "https://elsewhere/1"}, {"b64_json": "aGk="}]}
    told = told_of(telemetry, lambda core: core.images.generate, params, answer, capture_content=True)
    (message,) = json.loads(told.pop("gen_ai.output.messages"))
    assert message["parts"] == [{"type": "uri", "modality": "image", "uri": "https://elsewhere/1"}]
    assert PROMPT in told.pop("gen_ai.input.messages")
    assert told == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "image",
    }
    assert telemetry.span.name == "generate_content"


def test_compare(telemetry):
    """A comparison uses the tokens of all its models, and of the one that compares."""
    params = CompareParams(models=["a", "b"], messages=[{"role": "user", "content": "x"}])
    usage = {"prompt_tokens": 1, "completion_tokens": 10}
    results = [
        {"model": "a", "content": "A", "usage": usage},
        {"model": "b", "content": "B", "usage": usage, "error": "late"},
        {"model": "c", "error": "no"},
    ]
    answer = {"comparison_id": "c", "results": results, "comparison_usage": usage}
    told = told_of(telemetry, lambda core: core.compare.create, params, answer, capture_content=True)
    messages = json.loads(told.pop("gen_ai.output.messages"))
    assert [(each["parts"][0]["content"], each["finish_reason"]) for each in messages] == [
        ("A", "stop"),
        ("B", "error"),
    ]
    told.pop("gen_ai.input.messages")
    assert told == {
        "gen_ai.operation.name": "compare",
        "meshapi.request.models": ("a", "b"),
        "gen_ai.response.id": "c",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 30,
    }


@pytest.mark.parametrize(
    ("fields", "output_type"),
    [
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": {"type": "text"}}, "text"),
        ({"response_format": {"type": "other"}}, None),
        ({"modality": "image"}, "image"),
        ({"modalities": ["text", "audio"]}, "speech"),
        ({}, None),
    ],
)
def test_output_type(telemetry, fields, output_type):
    """What kind of output was asked for is told where it was."""
    params = ChatCompletionParams(messages=[], **fields)
    told = told_of(telemetry, lambda core: core.chat.completions.create, params, {"choices": []})
    assert told.get("gen_ai.output.type") == output_type


def test_fields_of_the_callers_own(telemetry, caplog):
    """What a caller adds of his own may be of any type; what does not fit is left out, without a word."""
    extra = {
        "temperature": "hot",
        "seed": "x",
        "model": 7,
        "stop": [1, None],
        "n": 3,
        "modalities": "audio",
        "tools": 1,
    }
    told = told_of(
        telemetry,
        lambda core: core.chat.completions.create,
        ChatCompletionParams(messages=[]),
        {"id": "c", "choices": [{"finish_reason": None}], "usage": {"prompt_tokens_details": None}},
        extra_body={**extra, "max_completion_tokens": 5},
        capture_content=True,
    )
    assert told.pop("gen_ai.tool.definitions") == "1"
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.choice.count": 3,
        "gen_ai.response.id": "c",
    }
    assert caplog.records == []


def test_content_of_tools(telemetry):
    """Tool calls and their results have the conventions' shape; arguments are JSON as far as they are."""
    call = {"id": "t", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    params = ChatCompletionParams(
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "1?"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": "2"},
        ],
        tools=[{"type": "function", "function": {"name": "add"}}],
    )
    wrong = {**call, "function": {"name": "add", "arguments": "{"}}
    answer = {"choices": [{"message": {"role": "assistant", "tool_calls": [wrong]}, "finish_reason": "tool_calls"}, {}]}
    told = told_of(telemetry, lambda core: core.chat.completions.create, params, answer, capture_content=True)
    assert json.loads(told["gen_ai.input.messages"]) == [
        {
            "role": "user",
            "parts": [{"type": "text", "content": "1?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "add", "arguments": {"a": 1}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t", "response": "2"}]},
    ]
    assert json.loads(told["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "t", "name": "add", "arguments": "{"}],
            "finish_reason": "tool_calls",
        }
    ]
    assert json.loads(told["gen_ai.tool.definitions"])[0]["function"]["name"] == "add"


def test_content_of_responses(telemetry):
    """The items of a response are told as the parts of one message."""
    params = ResponsesParams(
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "1?"}]},
            {"type": "function_call", "call_id": "t", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "t", "output": "2"},
            {"type": "item_reference", "id": "i"},
            "loose",
        ],
        instructions="Be brief",
    )
    output = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "2"}]},
    ]
    told = told_of(telemetry, lambda core: core.responses.create, params, {"output": output}, capture_content=True)
    assert json.loads(told["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief"}]
    assert json.loads(told["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "1?"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "add", "arguments": {}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t", "response": "2"}]},
        {"role": "user", "parts": [{"type": "item_reference", "id": "i"}]},
        {"role": "user", "parts": []},
    ]
    assert json.loads(told["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "summary": []}, {"type": "text", "content": "2"}],
            "finish_reason": "",
        }
    ]


@pytest.mark.parametrize(
    ("base_url", "address", "port"),
    [("https://host/prefix", "host", 443), ("http://host", "host", 80), ("http://[::1]:8080", "::1", 8080)],
)
def test_server(telemetry, base_url, address, port):
    """The server is that of the URL, and its port the scheme's where the URL has none."""
    core = MeshAPICore(MeshAPIConfig(base_url, token=TOKEN), observer=telemetry.observer())
    answered(core.chat.completions.create(PARAMS), {"choices": []})
    assert (telemetry.attributes["server.address"], telemetry.attributes["server.port"]) == (address, port)
    assert telemetry.span.name == "chat openai/gpt-4o-mini"


def test_a_path_of_somebody_else(telemetry):
    """A request whose path is not the gateway's is told by its method."""
    observer = telemetry.observer()

    def moved(event):
        if hasattr(event, "url"):
            object.__setattr__(event, "url", "https://host/elsewhere")
        observer(event)

    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN), observer=moved)
    answered(core.models.get("m"), {"id": "m"})
    assert telemetry.span.name == "GET"


@pytest.mark.parametrize("status", [200, 404])
def test_a_span_ends_once(telemetry, status):
    """What is over is neither told nor measured a second time."""
    call = core_of(telemetry).chat.completions.create(PARAMS)
    answered(call, {"choices": []}, status)
    call.abandon()
    call.receive_eof()
    assert len(telemetry.spans) == 1
    (point,) = telemetry.points("gen_ai.client.operation.duration")
    assert point.count == 1


def test_giving_up_during_a_wait(telemetry):
    """The span of a call whose retry was not waited for has both the retry and the failure."""
    call = core_of(telemetry).chat.completions.create(PARAMS)
    answered(call, {"error": {"message": "busy"}}, 503)
    assert telemetry.spans == ()
    call.receive_failure(Failure.DEADLINE)
    assert [event.name for event in telemetry.span.events] == ["meshapi.retry"]
    assert telemetry.attributes["error.type"] == "upstream_error"


def test_a_retry_without_an_answer(telemetry):
    """The reason for a retry need not be a status."""
    call = core_of(telemetry).chat.completions.create(PARAMS)
    call.next_action()
    call.receive_failure(Failure.CONNECT)
    call.abandon()
    (event,) = telemetry.span.events
    assert dict(event.attributes) == {"meshapi.retry.delay": 0.5, "error.type": "connection_error"}


def test_a_retry_that_is_not_answered(telemetry):
    """What an answer said that was not the last word is not told as the call's."""
    call = core_of(telemetry).chat.completions.create(PARAMS)
    answered(call, b"{}", 503, {**JSON, "x-mesh-routing-attempts": "3"})
    call.wait_elapsed()
    call.next_action()
    call.receive_failure(Failure.CONNECTION_LOST)
    assert telemetry.attributes["error.type"] == "connection_error"
    assert not {"http.response.status_code", "meshapi.request_id", "meshapi.routing.attempts"} & set(
        telemetry.attributes
    )


def test_a_stream_whose_events_make_up_nothing(telemetry):
    """A stream that is done and yet no answer has its span, without what it does not know."""
    call = core_of(telemetry).responses.stream(ResponsesParams(input="x"))
    last = {"type": "response.completed", "response": {"id": "r", "output": "nothing"}}
    answered(call, b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(last).encode(), headers=SSE)
    with pytest.raises(ResponseParseError):
        _ = call.result
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.id" not in telemetry.attributes


def test_looking_at_a_response_asks_no_model(telemetry):
    """Only what is posted to a model's endpoint is told as its operation."""
    answered(core_of(telemetry).responses.list(), {"data": []})
    assert telemetry.span.name == "GET /v1/responses"


def test_a_forgotten_call_is_let_go(telemetry):
    """An observer keeps nothing of a call that nobody else knows any more."""
    core = core_of(telemetry)
    call = core.chat.completions.create(PARAMS)
    call.next_action()
    call.receive_response(200, JSON)
    gone = weakref.ref(call)
    del call
    gc.collect()
    assert gone() is None
    assert len(core._observer._spans) == 0


def test_a_call_that_is_over_is_let_go(telemetry):
    """So it does of one that has come to its end and is still known."""
    core = core_of(telemetry)
    call = core.chat.completions.create(PARAMS)
    answered(call, {"choices": []})
    assert len(core._observer._spans) == 0


def test_a_call_that_began_unobserved(telemetry):
    """What an observer has not seen begin, it does not tell."""

    class Late:
        is_there = False
        observer = telemetry.observer()

        def __bool__(self):
            return self.is_there

        def __call__(self, event):
            self.observer(event)

    late = Late()
    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN), observer=late)
    call = core.chat.completions.create(PARAMS)
    call.next_action()
    late.is_there = True
    answered(call, {"choices": []})
    assert telemetry.spans == ()


def test_the_current_span_is_the_parent(telemetry):
    """It is the one at the first request that counts, whatever is current later; and it stays current."""
    call = core_of(telemetry).chat.completions.create(PARAMS)
    with telemetry.tracer.start_as_current_span("root") as root:
        call.next_action()
        assert trace.get_current_span() is root
    with telemetry.tracer.start_as_current_span("other"):
        answered(call, {"choices": []})
    spans = {span.name: span for span in telemetry.spans}
    assert spans["chat openai/gpt-4o-mini"].parent.span_id == root.get_span_context().span_id


def test_the_scope_names_its_version_of_the_conventions(telemetry):
    """A backend can tell by what conventions the attributes are named."""
    answered(core_of(telemetry).chat.completions.create(PARAMS), {"choices": []})
    scope = telemetry.span.instrumentation_scope
    assert scope.name == "meshapi_transports"
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.41.0"


def test_global_providers():
    """Without providers, the observer tells OpenTelemetry's own, which do nothing until a program sets others."""
    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN), observer=OpenTelemetryObserver(capture_content=True))
    call = core.chat.completions.create(PARAMS)
    answered(call, {"id": "c", "choices": []})
    assert call.result.id == "c"


class Broken:
    """A span that fails at everything but its end."""

    def __init__(self, span):
        self.span = span

    def __getattr__(self, name):
        if name in ("end", "get_span_context"):
            return getattr(self.span, name)
        raise ZeroDivisionError(name)


def test_nothing_is_raised(telemetry, monkeypatch, caplog):
    """Whatever fails in the telemetry is logged; the call goes on, and the span ends all the same."""
    observer = telemetry.observer()
    start = observer._tracer.start_span
    monkeypatch.setattr(observer._tracer, "start_span", lambda *args, **kwargs: Broken(start(*args, **kwargs)))
    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN), observer=observer)
    call = core.chat.completions.create(PARAMS)
    answered(call, b"{}", 503)
    call.wait_elapsed()
    answered(call, {"choices": []})
    assert call.result.choices == []
    assert len(telemetry.spans) == 1
    assert {record.levelno for record in caplog.records if record.name == "meshapi"} == {logging.ERROR}


def test_a_tracer_that_starts_nothing(telemetry, monkeypatch, caplog):
    """So is a span that cannot even be started."""
    observer = telemetry.observer()
    monkeypatch.setattr(observer._tracer, "start_span", lambda *args, **kwargs: 1 / 0)
    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN), observer=observer)
    answered(core.chat.completions.create(PARAMS), {"choices": []})
    (record,) = caplog.records
    assert record.getMessage() == "a call could not be told to OpenTelemetry; the call goes on"


def test_missing_library():
    """Where OpenTelemetry is not installed, the module says what to install."""
    program = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
try:
    import meshapi_transports.opentelemetry
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'meshapi-transports[opentelemetry]'" in done.stdout
