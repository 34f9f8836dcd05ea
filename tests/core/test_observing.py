"""What an observer is told: which events, in which order, and what they hold."""

import dataclasses
import json
import pprint
import typing

import pytest

from meshapi_core import (
    APIConnectionError,
    CallAbandoned,
    CallEvent,
    CallFailed,
    CallSucceeded,
    ChatCompletionParams,
    Failure,
    Headers,
    MeshAPIConfig,
    MeshAPICore,
    ModelSearchParams,
    RateLimitError,
    RequestStarted,
    ResponseHead,
    ResponseParseError,
    ResponseStarted,
    RetryPolicy,
    RetryScheduled,
    StreamInterruptedError,
    StreamStarted,
)

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
PARAMS = ChatCompletionParams(model="a/model", messages=[{"role": "user", "content": "a secret recipe"}])
JSON = {"content-type": "application/json", "x-request-id": "req-1"}
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
WHOLE = b'{"id": "c", "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}'
CHUNK = b'data: {"id": "c", "choices": [{"delta": {"content": "x"}}]}\n\n'
LAST = b'data: {"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Recorder:
    """An observer that remembers, as long as it is asked to."""

    def __init__(self):
        self.events = []
        self.is_wanted = True

    def __bool__(self):
        return self.is_wanted

    def __call__(self, event):
        self.events.append(event)

    @property
    def kinds(self):
        return [type(event) for event in self.events]


@pytest.fixture
def told():
    return Recorder()


@pytest.fixture
def core(told):
    return MeshAPICore(MeshAPIConfig("https://host", token=TOKEN, retry=RetryPolicy(max_retries=1)), observer=told)


def create(core, **options):
    return core.chat.completions.create(PARAMS, **options)


def stream(core, **options):
    return core.chat.completions.stream(PARAMS, **options)


def answered(call, body, status=200, headers=JSON):
    """Drive a call through one request and its whole answer."""
    call.next_action()
    call.receive_response(status, headers)
    call.receive_data(body)
    if not call.is_over:
        call.receive_eof()


def streaming(call, *pieces):
    """Drive a call to the middle of a stream, and take its events."""
    call.next_action()
    call.receive_response(200, SSE)
    for piece in pieces:
        call.receive_data(piece)
        list(call.events())


# What a single request tells


def test_success(core, told):
    """The request, the head of the answer, the end; all of the same call, and each once it is true."""
    seen = []
    core._observer = lambda event: (told(event), seen.append((event.call.state.name, event.call.response is not None)))
    call = create(core)
    answered(call, WHOLE)
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded]
    assert {id(event.call) for event in told.events} == {id(call)}
    request, response, _ = told.events
    assert (request.method, request.url, request.attempt) == ("POST", "https://host/v1/chat/completions", 0)
    assert response.response == call.response
    assert seen == [("SEND_REQUEST", False), ("RECEIVE_BODY", True), ("DONE", True)]


def test_the_result_is_there_when_the_end_is_told(core):
    """An observer can read what a call gave at CallSucceeded, and what it failed with at CallFailed."""
    results, errors = [], []

    def observer(event):
        if isinstance(event, CallSucceeded):
            results.append(event.call.result.id)
        elif isinstance(event, CallFailed):
            errors.append(event.call.error)

    core._observer = observer
    answered(create(core), WHOLE)
    whole = stream(core)
    streaming(whole, CHUNK, LAST, DONE)
    failed = create(core)
    answered(failed, b"", 404)
    assert results == ["c", "c"]
    assert errors == [failed.error]


def test_asking_twice_tells_once(core, told):
    """A request is told when it is asked for the first time; making a call tells nothing."""
    call = create(core)
    assert told.events == []
    call.next_action()
    call.next_action()
    call.request_sent()
    call.next_action()
    assert told.kinds == [RequestStarted]


def test_interim_answers_are_not_told(core, told):
    """A status 1xx is no head of the answer."""
    call = create(core)
    call.next_action()
    call.receive_response(103, {"link": "x"})
    assert told.kinds == [RequestStarted]
    call.receive_response(200, JSON)
    assert told.kinds == [RequestStarted, ResponseStarted]


def test_error_status(core, told):
    """A failure for good comes after the head that brought it, with the error that the caller sees."""
    call = create(core)
    answered(call, b"{}", 404)
    assert told.kinds == [RequestStarted, ResponseStarted, CallFailed]
    assert told.events[-1].error is call.error
    assert told.events[1].response.status == 404


def test_an_answer_that_cannot_be_read(core, told):
    """So does an answer of success that is none."""
    answered(create(core), b"what?")
    assert told.kinds == [RequestStarted, ResponseStarted, CallFailed]
    assert isinstance(told.events[-1].error, ResponseParseError)


def test_retry(core, told):
    """A retry tells how long it waits and why; the next request says which attempt it is."""
    call = create(core)
    answered(call, b"{}", 429, {**JSON, "retry-after": "7"})
    assert told.kinds == [RequestStarted, ResponseStarted, RetryScheduled]
    retry = told.events[-1]
    assert retry.delay == 7.0 == call.next_action().seconds
    assert isinstance(retry.error, RateLimitError)
    assert retry.error.request_id == "req-1"
    call.wait_elapsed()
    assert len(told.events) == 3
    answered(call, WHOLE)
    assert told.kinds[3:] == [RequestStarted, ResponseStarted, CallSucceeded]
    assert [event.attempt for event in told.events if isinstance(event, RequestStarted)] == [0, 1]
    assert told.events[3].params == told.events[0].params


def test_a_failure_and_its_retry(core, told):
    """A transport's failure is told as the retry that it leads to, and, after the last one, as the call's."""
    call = create(core)
    cause = OSError("no route")
    call.next_action()
    call.receive_failure(Failure.CONNECT)
    call.wait_elapsed()
    call.next_action()
    call.receive_failure(Failure.CONNECT, cause)
    assert told.kinds == [RequestStarted, RetryScheduled, RequestStarted, CallFailed]
    assert isinstance(told.events[1].error, APIConnectionError)
    assert told.events[-1].error is call.error
    assert call.error.__cause__ is cause


def test_a_failure_that_is_not_retried(core, told):
    """A POST that was lost on its way fails at once."""
    call = create(core)
    call.next_action()
    call.receive_failure(Failure.CONNECTION_LOST)
    assert told.kinds == [RequestStarted, CallFailed]


def test_giving_up_during_a_wait(core, told):
    """Who does not wait makes the call fail with what it was about to retry."""
    call = create(core)
    answered(call, b"{}", 503)
    call.receive_failure(Failure.DEADLINE)
    assert told.kinds == [RequestStarted, ResponseStarted, RetryScheduled, CallFailed]
    assert told.events[-1].error is told.events[-2].error


# What a stream tells


def test_stream(core, told):
    """The first event is told once, however many follow, and the end when [DONE] has come."""
    call = stream(core)
    streaming(call, b": a comment\n\n", CHUNK[:9])
    assert told.kinds == [RequestStarted, ResponseStarted]
    call.receive_data(CHUNK[9:])
    assert told.kinds == [RequestStarted, ResponseStarted]
    list(call.events())
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted]
    call.receive_data(CHUNK + LAST)
    call.receive_data(DONE)
    call.receive_data(CHUNK)
    call.receive_eof()
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallSucceeded]
    assert told.events[0].params["stream"] is True


@pytest.mark.parametrize("end", [DONE, b"data: what?\n\n"], ids=["done", "nonsense"])
def test_a_stream_that_comes_all_at_once(core, told, end):
    """The first event is told also where the end comes with it, in the same piece."""
    streaming(stream(core), CHUNK + LAST + end)
    assert told.kinds[:3] == [RequestStarted, ResponseStarted, StreamStarted]
    assert len(told.kinds) == 4


def test_a_stream_without_events(core, told):
    """A stream that brings nothing but [DONE] has no first event."""
    streaming(stream(core), DONE)
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded]


def test_a_stream_that_ends_with_its_body(core, told):
    """The end of the body will do where all has come."""
    call = stream(core)
    streaming(call, CHUNK, LAST)
    call.receive_eof()
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallSucceeded]


@pytest.mark.parametrize(
    "break_off",
    [lambda call: call.receive_eof(), lambda call: call.receive_failure(Failure.CONNECTION_LOST)],
    ids=["end", "failure"],
)
def test_a_stream_that_breaks_off(core, told, break_off):
    """An interruption is told with what had come."""
    call = stream(core)
    streaming(call, CHUNK)
    break_off(call)
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallFailed]
    error = told.events[-1].error
    assert isinstance(error, StreamInterruptedError)
    assert error.partial.choices[0].message.content == "x"


def test_an_error_in_a_stream(core, told):
    """An error frame ends the call like an interruption."""
    streaming(stream(core), CHUNK, b'data: {"error": {"code": "upstream_error", "message": "m"}}\n\n')
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallFailed]
    assert told.events[-1].error.error_code == "upstream_error"


def test_a_stream_that_is_refused(core, told):
    """A status that is no success begins no stream; with consent it is retried."""
    call = stream(core, max_retries=1)
    answered(call, b"{}", 503)
    call.wait_elapsed()
    streaming(call, CHUNK, LAST, DONE)
    assert told.kinds == [
        RequestStarted,
        ResponseStarted,
        RetryScheduled,
        RequestStarted,
        ResponseStarted,
        StreamStarted,
        CallSucceeded,
    ]


def test_a_whole_answer_in_the_place_of_a_stream(core, told):
    """A document has no first event."""
    call = stream(core)
    answered(call, WHOLE, headers=SSE)
    assert told.kinds == [RequestStarted, ResponseStarted, CallFailed]


# Abandoning


def to_waiting(call):
    answered(call, b"{}", 503)


STATES = {
    "asked for": lambda call: call.next_action(),
    "sent": lambda call: (call.next_action(), call.request_sent()),
    "answered": lambda call: (call.next_action(), call.receive_response(200, JSON)),
    "waiting": to_waiting,
}


@pytest.mark.parametrize("reach", STATES.values(), ids=STATES)
def test_abandoning(core, told, reach):
    """A call that is left is told to be so, once, whatever it was waiting for."""
    call = create(core)
    reach(call)
    before = len(told.events)
    call.abandon()
    call.abandon()
    assert told.kinds[before:] == [CallAbandoned]
    assert told.events[-1].call is call


def test_abandoning_a_stream(core, told):
    """So is a stream that is left in the middle."""
    call = stream(core)
    streaming(call, CHUNK)
    call.abandon()
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallAbandoned]


@pytest.mark.parametrize(("body", "status"), [(WHOLE, 200), (b"{}", 404)], ids=["success", "failure"])
def test_abandoning_after_the_end(core, told, body, status):
    """What is over cannot be left."""
    call = create(core)
    answered(call, body, status)
    call.abandon()
    assert CallAbandoned not in told.kinds


# Who is told


def test_a_false_observer_is_told_nothing(core, told):
    """An observer that is false is left alone, on every path."""
    told.is_wanted = False
    call = create(core)
    answered(call, b"{}", 503)
    call.wait_elapsed()
    answered(call, WHOLE)
    answered(create(core), b"{}", 404)
    streaming(stream(core), CHUNK, LAST, DONE)
    create(core).abandon()
    assert told.events == []


def test_an_observer_may_change_its_mind(core, told):
    """Whether it is true is asked each time."""
    told.is_wanted = False
    call = create(core)
    call.next_action()
    told.is_wanted = True
    call.receive_response(200, JSON)
    assert told.kinds == [ResponseStarted]


def test_without_an_observer():
    """Nobody need listen."""
    core = MeshAPICore(MeshAPIConfig("https://host", token=TOKEN))
    call = create(core)
    call.abandon()
    answered(call, WHOLE)
    assert call.result.id == "c"


# What the events hold


def test_params(core, told):
    """The params are the body's fields, each time anew, so that nobody's changes reach another."""
    create(core, extra_body={"extra": [1]}).next_action()
    (request,) = told.events
    assert request.params == {
        "model": "a/model",
        "messages": [{"role": "user", "content": "a secret recipe"}],
        "extra": [1],
        "stream": False,
    }
    request.params["extra"].append(2)
    assert request.params["extra"] == [1]


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff"])
def test_params_of_no_object(content):
    """A body that is no JSON object, or none at all, has no params."""
    assert RequestStarted(None, "POST", "https://host", 0, content).params == {}


def test_the_url_has_no_query(core, told):
    """What stands in a query is told to nobody."""
    core.models.search(ModelSearchParams(q="private"), extra_query={"key": "value"}).next_action()
    (request,) = told.events
    assert request.url == "https://host/v1/models/search"
    assert (request.method, request.content) == ("GET", None)


def head(**fields):
    return ResponseStarted(
        None, ResponseHead(200, Headers({f"X-Mesh-{name}": value for name, value in fields.items()}))
    )


@pytest.mark.parametrize(
    ("text", "attempts"), [("3", 3), ("0", 0), ("", None), ("-1", None), ("two", None), ("٣", None)]
)
def test_routing_attempts(text, attempts):
    """The count of attempts is a number, or nothing."""
    assert head(**{"Routing-Attempts": text}).routing_attempts == attempts


@pytest.mark.parametrize(("text", "is_fallback"), [("true", True), (" True ", True), ("false", False), ("", False)])
def test_fallback(text, is_fallback):
    """A fallback is one if the gateway says so."""
    assert head(**{"Routing-Fallback": text}).is_fallback is is_fallback


def test_routing_that_is_not_told():
    """Without the gateway's header fields, nothing is known."""
    event = head()
    assert (event.served_provider, event.routing_attempts, event.is_fallback) == (None, None, False)
    assert head(**{"Served-Provider": "openai"}).served_provider == "openai"


@pytest.mark.parametrize("kind", typing.get_args(CallEvent))
def test_events_do_not_change(kind):
    """One observer cannot change what the next is told."""
    event = kind(*[None for _ in dataclasses.fields(kind)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.call = "another"


def texts_of(value):
    """All that can be read in an event, short of driving its call."""
    yield from (repr(value), str(value), f"{value}", pprint.pformat(value))
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts_of(getattr(value, field.name))
    elif isinstance(value, Exception):
        yield from texts_of({**vars(value), "args": value.args})
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")


def test_no_event_tells_the_token(core, told):
    """The token is in no event, also when a server quotes it; what was said is not in its repr."""
    call = create(core)
    answered(call, json.dumps({"error": {"message": f"bad key {TOKEN}"}}).encode(), 503)
    call.wait_elapsed()
    answered(call, WHOLE)
    answered(create(core), json.dumps({"error": {"message": TOKEN, "code": TOKEN}}).encode(), 401)
    streaming(stream(core), CHUNK, LAST, DONE)
    left = stream(core)
    left.next_action()
    left.abandon()
    assert {RetryScheduled, CallFailed, CallSucceeded, StreamStarted, CallAbandoned} < set(told.kinds)
    for event in told.events:
        assert "a secret recipe" not in repr(event)
        for text in texts_of(event):
            assert TOKEN not in text


# Calls of several requests


def page(*names, total):
    items = [{"id": name} for name in names]
    return json.dumps({"items": items, "total": total, "limit": 1, "offset": 0}).encode()


def test_a_call_of_several_requests_tells_of_each(core, told):
    """Each request of a batch that is waited for is a call of its own, with its own beginning and end."""
    call = core.batches.wait("b-1")
    answered(call, b'{"id": "b-1", "status": "in_progress"}')
    call.wait_elapsed()
    answered(call, b'{"id": "b-1", "status": "completed"}')
    assert call.result.status == "completed"
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded] * 2
    calls = [event.call for event in told.events]
    assert calls[0] is calls[2] is not calls[3] is calls[5]
    assert call not in calls


def test_a_step_that_is_retried_and_one_that_fails(core, told):
    """A failure within a call that goes on all the same is told as that step's."""
    call = core.batches.wait("b-1")
    answered(call, b"{}", 503)
    call.wait_elapsed()
    answered(call, b"{}", 503)
    call.wait_elapsed()
    answered(call, b'{"id": "b-1", "status": "failed"}')
    assert call.result.status == "failed"
    assert told.kinds == [
        *(RequestStarted, ResponseStarted, RetryScheduled),
        *(RequestStarted, ResponseStarted, CallFailed),
        *(RequestStarted, ResponseStarted, CallSucceeded),
    ]


def test_pages(core, told):
    """So is each page of what is iterated."""
    call = core.models.iterate()
    answered(call, page("a", total=2))
    answered(call, page("b", total=2))
    assert [model.id for model in call.events()] == ["a", "b"]
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded] * 2
    assert {event.url for event in told.events if isinstance(event, RequestStarted)} == {
        "https://host/v1/models/search"
    }


def test_lines(core, told):
    """A file that is read line by line is no stream of events."""
    call = core.batches.results("b-1")
    answered(call, b'{"id": "b-1", "status": "completed", "output_file_id": "f"}')
    answered(call, b'{"custom_id": "a"}\n', headers={"content-type": "application/jsonl"})
    assert [result.custom_id for result in call.events()] == ["a"]
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded] * 2


def test_abandoning_a_step(core, told):
    """Who leaves a call of several requests leaves the one that is under way; between two, there is none."""
    call = core.batches.wait("b-1")
    call.next_action()
    call.abandon()
    assert told.kinds == [RequestStarted, CallAbandoned]

    between = core.batches.wait("b-2")
    answered(between, b'{"id": "b-2", "status": "in_progress"}')
    before = len(told.events)
    between.abandon()
    assert len(told.events) == before

    over = core.batches.wait("b-3")
    answered(over, b'{"id": "b-3", "status": "completed"}')
    over.abandon()
    assert told.kinds[before:] == [RequestStarted, ResponseStarted, CallSucceeded]
