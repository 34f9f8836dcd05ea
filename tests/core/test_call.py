"""The machine: every state, every input, every way for an answer and for a stream to end."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshapi_core import (
    NEED_DATA,
    NEED_RESPONSE,
    TRANSITIONS,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Call,
    ChatCompletionParams,
    Done,
    Failure,
    Input,
    InternalServerError,
    LocalProtocolError,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    RateLimitError,
    ResponseParseError,
    RetryPolicy,
    SendRequest,
    State,
    StreamCall,
    StreamInterruptedError,
    Timeout,
    Wait,
)

CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"))
PARAMS = ChatCompletionParams(messages=[{"role": "user", "content": "hi"}])
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
JSON = {"content-type": "application/json", "x-request-id": "req-1"}
WHOLE = b'{"id": "c", "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}'
INPUTS = {
    Input.REQUEST_SENT: lambda call: call.request_sent(),
    Input.RESPONSE: lambda call: call.receive_response(200, SSE),
    Input.DATA: lambda call: call.receive_data(b"data: {}\n\n" if isinstance(call, StreamCall) else b"{}"),
    Input.EOF: lambda call: call.receive_eof(),
    Input.FAILURE: lambda call: call.receive_failure(Failure.CONNECTION_LOST),
    Input.WAIT_ELAPSED: lambda call: call.wait_elapsed(),
}


def create(**options):
    return CORE.chat.completions.create(PARAMS, **options)


def stream(**options):
    return CORE.chat.completions.stream(PARAMS, **options)


def event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def chunk(content=None, *, index=0, finish_reason=None, **delta):
    if content is not None:
        delta["content"] = content
    return event(id="c", model="m", choices=[{"index": index, "delta": delta, "finish_reason": finish_reason}])


def texts(chunks):
    return [choice.delta.content for chunk in chunks for choice in chunk.choices]


def failed(call):
    """The error of a call that has failed, which it raises again and again."""
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    with pytest.raises(MeshAPIError) as again:
        call.next_action()
    assert again.value is caught.value
    assert call.state is State.FAILED
    return caught.value


def receiving(call, *pieces, status=200, headers=SSE):
    call.receive_response(status, headers)
    for piece in pieces:
        call.receive_data(piece)
    return call


# --- the table ---------------------------------------------------------------------------------------------------


def in_state(make, state):
    """A call that has come to `state` in the shortest way."""
    call = make(max_retries=1)
    if state is State.RECEIVE_RESPONSE:
        call.request_sent()
    elif state is State.RECEIVE_BODY:
        call.receive_response(200, JSON)
    elif state is State.RECEIVE_EVENTS:
        call.receive_response(200, SSE)
    elif state is State.WAIT:
        call.receive_failure(Failure.CONNECT)
    elif state is State.DONE:
        body = b"data: [DONE]\n\n" if make is stream else b"{}"
        receiving(call, body)
        if make is create:
            call.receive_eof()
    elif state is State.FAILED:
        call.receive_failure(Failure.DEADLINE)
    assert call.state is state
    return call


CASES = [
    (make, state)
    for make in (create, stream)
    for state in State
    if state is not State.DECIDE and not (make is create and state is State.RECEIVE_EVENTS)
]


KINDS = {
    State.SEND_REQUEST: SendRequest,
    State.RECEIVE_RESPONSE: type(NEED_RESPONSE),
    State.WAIT: Wait,
    State.DONE: Done,
}


def snapshot(call):
    return {name: list(value) if isinstance(value, list) else value for name, value in vars(call).items()}


@pytest.mark.parametrize("move", INPUTS)
@pytest.mark.parametrize(("make", "state"), CASES)
def test_every_input_in_every_state_does_what_the_table_says(make, state, move):
    """A legal input leads to its next state, or through DECIDE to a conclusion; any other changes nothing."""
    call = in_state(make, state)
    before = snapshot(call)
    legal = TRANSITIONS[state]
    if move in legal:
        INPUTS[move](call)
        reachable = {legal[move]}
        if legal[move] is State.DECIDE:
            reachable = set(TRANSITIONS[State.DECIDE].values())
        elif move is Input.RESPONSE and make is stream:
            reachable = {State.RECEIVE_EVENTS}
        assert call.state in reachable
    else:
        with pytest.raises(LocalProtocolError) as caught:
            INPUTS[move](call)
        expected = [other.value for other in INPUTS if other in legal]
        assert str(caught.value) == (
            f"{move.value} is not legal in state {state.name}; expected {' or '.join(expected) or 'nothing more'}"
        )
        assert snapshot(call) == before


@pytest.mark.parametrize(("make", "state"), CASES)
def test_asking_twice_changes_nothing(make, state):
    """next_action gives the same again, and leaves the call as it is."""
    call = in_state(make, state)
    if state is State.FAILED:
        before = snapshot(call)
        failed(call)
    else:
        first = call.next_action()
        before = snapshot(call)
        assert call.next_action() is first
        assert isinstance(first, KINDS.get(state, type(NEED_DATA)))
    assert snapshot(call) == before


def test_the_table_covers_every_state_and_hides_decide():
    """Each state has its row, each input is used, and DECIDE is left only by conclusions."""
    assert set(TRANSITIONS) == set(State)
    assert {move for row in TRANSITIONS.values() for move in row} == set(Input)
    assert not set(TRANSITIONS[State.DECIDE]) & set(INPUTS)
    for end in (State.DONE, State.FAILED):
        assert set(TRANSITIONS[end].values()) == {end}


def traced(call):
    """`call`, keeping in `moves` each (state, next state) that it goes through."""
    moves = []

    class Traced(type(call)):
        def __setattr__(self, name, value):
            if name == "_state":
                moves.append((self._state, value))
            super().__setattr__(name, value)

    call.__class__ = Traced
    return call, moves


def after_the_end(call):
    """What a parser may still have at hand, and what may still happen to the connection."""
    return call.receive_data(b"more"), call.receive_eof(), call.receive_failure(Failure.CONNECTION_LOST)


def test_every_move_of_the_table_is_made_and_no_other():
    """A handful of calls go through all of it, the conclusions that are hidden inside a report included."""
    scripts = [
        (create, lambda c: receiving(c, WHOLE).receive_eof()),
        (create, lambda c: receiving(c, b"x" * (2 << 20), status=400)),
        (create, lambda c: receiving(c).receive_failure(Failure.TIMEOUT)),
        (create, lambda c: (c.request_sent(), c.receive_failure(Failure.TIMEOUT), *after_the_end(c))),
        (create, lambda c: (c.request_sent(), receiving(c, WHOLE).receive_eof(), *after_the_end(c))),
        (create, lambda c: (c.receive_failure(Failure.CONNECT), c.wait_elapsed(), c.receive_failure(Failure.CONNECT))),
        (create, lambda c: (c.receive_failure(Failure.CONNECT), *after_the_end(c))),
        (stream, lambda c: receiving(c, chunk("a"), b"data: [DONE]\n\n")),
        (stream, lambda c: receiving(c, chunk("a")).receive_eof()),
        (stream, lambda c: receiving(c, WHOLE).receive_eof()),
        (stream, lambda c: receiving(c, chunk("a")).receive_failure(Failure.TIMEOUT)),
    ]
    made = set()
    for make, script in scripts:
        call, moves = traced(make(max_retries=1))
        script(call)
        made.update(moves)
    assert made == {(state, after) for state, row in TRANSITIONS.items() for after in row.values()}


# --- sending, retrying, failing ----------------------------------------------------------------------------------


def test_a_call_from_its_request_to_its_result():
    """The whole rhythm, once, with what can be read on the way."""
    call = create(timeout=5)
    assert call.timeout == Timeout.of(5)
    assert (call.response, call.request_id) == (None, "")
    assert repr(call) == "<Call POST https://host/v1/chat/completions SEND_REQUEST>"
    with pytest.raises(LocalProtocolError, match="no result in state SEND_REQUEST"):
        _ = call.result
    request = call.next_action().request
    assert request.url == "https://host/v1/chat/completions"
    call.receive_response(100, {})
    call.receive_response(103, {"x-request-id": "early"})
    assert (call.state, call.response) == (State.RECEIVE_RESPONSE, None)
    assert call.next_action() is NEED_RESPONSE
    assert (call.is_over, call.error, list(call.events())) == (False, None, [])
    call.receive_response(200, JSON)
    assert (call.response.status, call.request_id) == (200, "req-1")
    assert call.next_action() is NEED_DATA
    for piece in (WHOLE[:9], b"", WHOLE[9:]):
        call.receive_data(piece)
    with pytest.raises(LocalProtocolError, match="no result in state RECEIVE_BODY"):
        _ = call.result
    call.receive_eof()
    assert call.next_action() == Done()
    assert call.result.choices[0].message.content == "hi"
    assert call.result.request_id == "req-1"


def test_the_result_of_a_failed_call_is_its_error():
    """It is the same error that next_action raises."""
    call = create(max_retries=0)
    call.receive_failure(Failure.CONNECT)
    with pytest.raises(APIConnectionError) as caught:
        _ = call.result
    assert caught.value is failed(call)


def test_raising_an_error_again_does_not_grow_its_traceback():
    """Each time it starts anew from where it is raised."""
    call = create(max_retries=0)
    call.receive_failure(Failure.CONNECT)

    def depth(error):
        count, traceback = 0, error.__traceback__
        while traceback is not None:
            count, traceback = count + 1, traceback.tb_next
        return count

    assert depth(failed(call)) == depth(failed(call))


def drive(call, *steps):
    """Each step answers one SendRequest: a Failure, or (status, headers, body); the waits that came between."""
    waits = []
    for step in steps:
        assert isinstance(call.next_action(), SendRequest)
        if isinstance(step, Failure):
            call.receive_failure(step)
        else:
            status, headers, body = step
            receiving(call, body, status=status, headers=headers)
            if call.state in (State.RECEIVE_BODY, State.RECEIVE_EVENTS):
                call.receive_eof()
        if call.state is State.WAIT:
            waits.append(call.next_action().seconds)
            call.wait_elapsed()
    return waits


BUSY = (503, JSON, b'{"error": {"message": "busy"}}')


def test_a_call_is_tried_again_until_it_succeeds():
    """With the same request each time; nothing of the failed tries is left."""
    call = create()
    request = call.next_action().request
    waits = drive(call, BUSY, Failure.CONNECT, Failure.CONNECT_TIMEOUT)
    assert waits == [0.5, 1.0, 2.0]
    assert call.next_action().request is request
    assert (call.response, call.request_id) == (None, "")
    drive(call, (200, JSON, WHOLE))
    assert call.result.id == "c"


def test_tries_are_counted():
    """Three retries by default: the fourth failure is the call's."""
    call = create()
    assert drive(call, BUSY, BUSY, BUSY, BUSY) == [0.5, 1.0, 2.0]
    error = failed(call)
    assert type(error) is InternalServerError
    assert (error.status, error.message, error.request_id) == (503, "busy", "req-1")


def test_max_retries_of_a_single_call_wins():
    """Also over the policy of the same call."""
    assert drive(create(max_retries=1), BUSY, BUSY) == [0.5]
    assert drive(create(max_retries=0), BUSY) == []
    policy = RetryPolicy(max_retries=5, backoff_base=2)
    assert drive(create(retry=policy), BUSY, BUSY) == [2.0, 4.0]
    assert drive(create(retry=policy, max_retries=1), BUSY, BUSY) == [2.0]


def test_jitter_comes_from_the_callers_callable():
    """It is asked for once a wait."""
    factors = iter([0.8, 1.2])
    core = MeshAPICore(CORE.config, jitter=lambda: next(factors))
    call = core.chat.completions.create(PARAMS)
    assert drive(call, BUSY, BUSY) == [0.4, 1.2]


def test_retry_after_is_obeyed_up_to_the_cap():
    """Within it the call waits as long as it says; above it the call fails and tells."""
    assert drive(create(), (429, {"Retry-After": "7"}, b"")) == [7]
    assert drive(create(), (503, JSON, b'{"error": {"message": "m", "retry_after_seconds": 9}}')) == [9]
    call = create()
    assert drive(call, (429, {"Retry-After": "31"}, b"")) == []
    error = failed(call)
    assert type(error) is RateLimitError
    assert error.retry_after_seconds == 31


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_other_statuses_are_not_tried_again(status):
    """They would fail again in the same way."""
    call = create()
    assert drive(call, (status, JSON, b"{}")) == []
    assert failed(call).status == status


@pytest.mark.parametrize("failure", [Failure.DEADLINE, Failure.CONNECTION_LOST])
def test_who_does_not_want_to_wait_gets_the_error_that_was_about_to_be_retried(failure):
    """A failure that is reported while the machine waits ends the call, with the reason for the retry."""
    call = drive_to_wait = create()
    drive_to_wait.receive_response(503, JSON)
    drive_to_wait.receive_data(b'{"error": {"message": "busy"}}')
    drive_to_wait.receive_eof()
    assert isinstance(call.next_action(), Wait)
    call.receive_failure(failure)
    error = failed(call)
    assert (error.status, error.message) == (503, "busy")


def test_the_time_for_the_whole_call_is_never_extended():
    """DEADLINE fails at once, wherever the call stands."""
    for call in (create(), receiving(create()), receiving(stream(max_retries=3))):
        call.receive_failure(Failure.DEADLINE)
        assert type(failed(call)) is APITimeoutError


def test_the_transports_exception_is_chained():
    """The caller sees both, and nothing of the machine's inside."""
    cause = OSError("reset")
    call = create(max_retries=0)
    call.receive_failure(Failure.CONNECT, cause)
    error = failed(call)
    assert error.__cause__ is cause
    assert error.__context__ is None


def test_an_answer_that_breaks_off_is_not_sent_again():
    """The gateway may have carried it out, so a POST is retried only by consent."""
    call = receiving(create(), WHOLE[:20])
    call.receive_failure(Failure.CONNECTION_LOST)
    error = failed(call)
    assert (error.error_code, error.status, error.request_id) == ("connection_error", 200, "req-1")
    assert error.message == "the connection was lost while receiving the answer"
    call = receiving(create(retry=RetryPolicy(retry_on_network_error=True)), WHOLE[:20])
    call.receive_failure(Failure.CONNECTION_LOST)
    assert isinstance(call.next_action(), Wait)
    call.wait_elapsed()
    drive(call, (200, JSON, WHOLE))
    assert call.result.id == "c"


@pytest.mark.parametrize("failure", [Failure.CONNECTION_LOST, Failure.TIMEOUT])
def test_an_error_that_breaks_off_is_still_that_error(failure):
    """Its status says what happened."""
    call = receiving(create(), b"no su", status=404, headers={})
    call.receive_failure(failure)
    error = failed(call)
    assert (error.status, error.message) == (404, "no su")


@pytest.mark.parametrize("make", [create, stream])
@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) + 1])
def test_an_error_without_end_is_not_read_to_its_end(make, size):
    """After one MiB the call has failed, in whatever pieces it came, and wants no more."""
    call = receiving(make(), status=400, headers={})
    received = 0
    while call.state is State.RECEIVE_BODY:
        call.receive_data(b"x" * size if size > 1 else b"x" * 65536)
        received += size if size > 1 else 65536
    assert (1 << 20) < received <= (2 << 20)
    assert failed(call).message == "x" * 500


@pytest.mark.parametrize("make", [create, stream])
def test_an_error_is_cut_at_the_same_place_in_whatever_pieces_it_comes(make):
    """What one large piece brings beyond the limit does not count either."""
    body = json.dumps({"error": {"message": "m", "padding": "x" * (1 << 20)}}).encode()
    errors = []
    for size in (len(body), 65536):
        call = receiving(make(), status=400, headers={})
        for start in range(0, len(body), size):
            call.receive_data(body[start : start + size])
        errors.append(failed(call))
    assert str(errors[0]) == str(errors[1])
    assert errors[0].message == body[:500].decode()


# --- streams: how they end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [b"[DONE]", b" [DONE]", b"[DONE] ", b"  [DONE]\t " + b" " * 40])
def test_done_ends_a_stream_and_what_follows_is_ignored(done):
    """With any spaces around it; what comes after it is not read, in the same piece or later."""
    call = receiving(stream(), chunk("a") + b"data:" + done + b"\n\n" + chunk("b") + b"data: junk\n\n")
    assert call.next_action() == Done()
    assert texts(list(call.events())) == ["a"]
    assert list(call.events()) == []
    after_the_end(call)
    assert (call.next_action(), list(call.events())) == (Done(), [])


def test_done_alone_is_a_stream_without_events():
    """Nothing said is not nothing ended."""
    call = receiving(stream(), b": hello\n\ndata: [DONE]\n\n")
    assert (call.next_action(), list(call.events())) == (Done(), [])


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("a", finish_reason="stop")],
        [chunk("a"), chunk(finish_reason="novel reason")],
        [chunk("a"), chunk("b", index=1), chunk(index=1, finish_reason="stop"), chunk(finish_reason="length")],
        [chunk("a", finish_reason="stop"), event(usage={"total_tokens": 3}, choices=[])],
        [chunk("a", finish_reason="stop"), event(usage={"total_tokens": 3})],
        [event(choices=[{"delta": {"content": "a"}}]), event(choices=[{"finish_reason": "stop"}])],
        [event(choices=[{"index": None, "finish_reason": "stop", "delta": None}])],
    ],
)
def test_a_stream_may_end_once_each_choice_has(chunks):
    """EOF after a finish_reason for each choice that was begun is a proper end, without any [DONE]."""
    call = receiving(stream(), *chunks)
    call.receive_eof()
    assert call.next_action() == Done()
    assert len(list(call.events())) == len(chunks)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b": comment\n\n"],
        [chunk("a")],
        [chunk("a", finish_reason="stop"), chunk("b", index=1)],
        [event(choices=[])],
        [chunk("a"), chunk(finish_reason="stop")[:-1]],
        [chunk("a"), b"data: [DONE]\n"],
        [chunk("a"), chunk(finish_reason="")],
    ],
)
def test_a_stream_that_ends_before_is_interrupted(chunks):
    """An unfinished last block is no event; what had come whole is delivered."""
    call = receiving(stream(), *chunks)
    call.receive_eof()
    error = failed(call)
    assert type(error) is StreamInterruptedError
    assert (error.error_code, error.status, error.request_id) == ("stream_interrupted", 200, "req-1")
    assert error.message == "the stream ended before its last event"
    delivered = list(call.events())
    assert (error.partial is None) == (not delivered)
    assert failed(call) is error


@pytest.mark.parametrize(
    ("failure", "error_type", "code"),
    [
        (Failure.CONNECTION_LOST, StreamInterruptedError, "stream_interrupted"),
        (Failure.TIMEOUT, APITimeoutError, "timeout"),
        (Failure.DEADLINE, APITimeoutError, "timeout"),
    ],
)
def test_a_stream_that_breaks_off_tells_what_it_had_brought(failure, error_type, code):
    """First the events, then exactly one error, with the completion as far as it came."""
    cause = OSError("reset")
    call = receiving(stream(), chunk("Hel", role="assistant"), chunk("lo") + chunk("!")[:-1])
    call.receive_failure(failure, cause)
    assert texts(list(call.events())) == ["Hel", "lo"]
    error = failed(call)
    assert type(error) is error_type
    assert (error.error_code, error.status, error.request_id) == (code, 200, "req-1")
    assert error.__cause__ is cause
    assert error.partial.id == "c"
    assert error.partial.choices[0].message.content == "Hello"
    assert error.partial.choices[0].finish_reason is None


def test_a_stream_that_never_began_is_a_connection_error():
    """Without an answer there is no stream to be interrupted."""
    call = stream()
    call.receive_failure(Failure.CONNECTION_LOST)
    error = failed(call)
    assert type(error) is APIConnectionError
    assert error.message == "the connection was lost while waiting for the answer"
    assert error.partial is None
    call = receiving(stream(), b"no such", status=404)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert failed(call).status == 404


@pytest.mark.parametrize(
    ("frame", "status", "code", "message", "request_id"),
    [
        (event(error={"code": "conflict", "message": "m"}, request_id="f"), 409, "conflict", "m", "f"),
        (event(error={"message": "m"}), 502, "upstream_error", "m", "req-1"),
        (event(error="m"), 502, "upstream_error", "m", "req-1"),
        (event(error={"message": "m"}, choices=[]), 502, "upstream_error", "m", "req-1"),
        (b"event: error\n" + event(message="m"), 502, "upstream_error", "m", "req-1"),
        (b"event: error\n" + event(message="m", code="not_found"), 404, "not_found", "m", "req-1"),
        (b"event: error\n" + event(error={"message": "m"}), 502, "upstream_error", "m", "req-1"),
    ],
)  # fmt: skip
def test_an_error_frame_raises_what_an_answer_would(frame, status, code, message, request_id):
    """After the events before it, once, with the partial; what follows it is not read."""
    call = receiving(stream(max_retries=3), chunk("a") + frame + chunk("b") + b"data: [DONE]\n\n")
    assert texts(list(call.events())) == ["a"]
    error = failed(call)
    assert isinstance(error, APIStatusError)
    assert (error.status, error.error_code, error.message, error.request_id) == (status, code, message, request_id)
    assert error.partial.choices[0].message.content == "a"
    assert list(call.events()) == []


@pytest.mark.parametrize("error", [None, "", {}, False, []])
def test_an_error_field_that_is_empty_is_no_error(error):
    """Some servers have it in every chunk."""
    call = receiving(stream(), event(error=error, choices=[{"delta": {"content": "a"}}]))
    assert texts(list(call.events())) == ["a"]


def test_words_of_the_wire_inside_the_text_mean_nothing():
    """A model may well talk about errors and responses."""
    said = '{"error": "x"} "response.completed" [DONE]'
    call = receiving(stream(), chunk(said), event(choices=[{"delta": {"content": "x"}}], note="response.odd"))
    assert texts(list(call.events())) == [said, "x"]


@pytest.mark.parametrize(
    "extra",
    [
        event(type="response.created", response={"error": None}),
        b"event: response.created\n" + event(response={}),
        b"event: response.created\n" + event(type="response.created"),
        b"event: response.created\n" + event(type=None),
        b"event: response.created\n" + event(type="other"),
    ],
)
def test_events_of_the_other_protocol_are_skipped(extra):
    """response.* in a chat stream is no chunk, and not looked at as one."""
    call = receiving(stream(), extra, chunk("a"), extra)
    assert texts(list(call.events())) == ["a"]
    assert call.state is State.RECEIVE_EVENTS


def test_events_of_other_names_are_chunks_all_the_same():
    """The name is the server's whim."""
    call = receiving(stream(), b"event: chunk\n" + chunk("a"))
    assert texts(list(call.events())) == ["a"]


@pytest.mark.parametrize(
    "data",
    [b"junk", b"", b"[1]", b"null", b'"text"', b'{"a": ', b'{"choices": "x"}', b'{"choices": ["x"]}', b"[" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("name", [b"", b"event: other\n"])
def test_data_that_is_no_chunk_is_a_parse_error(data, name):
    """It is never dropped silently; the events before it come first."""
    call = receiving(stream(), chunk("a"), name + b"data: " + data + b"\n\n", status=201)
    assert texts(list(call.events())) == ["a"]
    error = failed(call)
    assert type(error) is ResponseParseError
    assert (error.error_code, error.status, error.request_id) == ("parse_error", 201, "req-1")
    assert error.partial.choices[0].message.content == "a"


# --- streams: other answers --------------------------------------------------------------------------------------

TYPES = [{"content-type": t} for t in ("application/json", "text/event-stream", "text/plain; charset=x")] + [{}]


@pytest.mark.parametrize("headers", TYPES)
@pytest.mark.parametrize("lead", [b"", b"\n ", b"\xef\xbb\xbf"])
def test_one_whole_completion_instead_of_a_stream_is_told_clearly(headers, lead):
    """It is a parse error that has the completion, whatever the Content-Type says."""
    call = receiving(stream(), lead + WHOLE[:30], WHOLE[30:], headers=headers)
    call.receive_eof()
    error = failed(call)
    assert type(error) is ResponseParseError
    assert "one whole answer" in str(error)
    assert "create()" in str(error)
    assert error.partial.choices[0].message.content == "hi"
    assert list(call.events()) == []


@pytest.mark.parametrize("headers", TYPES)
def test_a_json_error_with_a_status_of_success_is_that_error(headers):
    """As if it had come as an event."""
    call = receiving(stream(), b'{"error": {"code": "not_found", "message": "m"}}', headers=headers)
    call.receive_eof()
    assert (failed(call).status, failed(call).message) == (404, "m")


@pytest.mark.parametrize("headers", [*TYPES, {"content-type": "text/html"}])
@pytest.mark.parametrize("body", [b"<html>sorry</html>", b"[1, 2]", b'{"choices": "x"}', b'{"cut": '])
def test_something_else_instead_of_a_stream_is_a_parse_error_that_quotes_it(headers, body):
    """A proxy's page, for one."""
    call = receiving(stream(), body, headers=headers)
    call.receive_eof()
    error = failed(call)
    assert type(error) is ResponseParseError
    assert body.decode() in error.message
    assert error.partial is None


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=latin-1", "TEXT/Event-Stream", "text/plain",
                                          "application/octet-stream", ""])  # fmt: skip
def test_a_stream_is_one_under_each_type_that_real_servers_give_it(content_type):
    """UTF-8 whatever the charset says."""
    call = receiving(stream(), chunk("é"), headers={"content-type": content_type})
    assert texts(list(call.events())) == ["é"]


def test_an_answer_without_anything_in_it_is_an_interrupted_stream():
    """Also where it was said to be JSON."""
    for headers in (SSE, JSON):
        call = receiving(stream(), headers=headers)
        call.receive_eof()
        assert type(failed(call)) is StreamInterruptedError


@pytest.mark.parametrize("status", [400, 503])
def test_an_answer_without_success_to_a_stream_is_its_error(status):
    """Whatever its Content-Type says."""
    for headers in TYPES:
        call = receiving(stream(), b'data: {"error": {"message": "m"}}\n\n', status=status, headers=headers)
        call.receive_eof()
        assert (failed(call).status, failed(call).message) == (status, "m")


def test_streams_are_tried_again_only_by_consent():
    """With max_retries=, also after an error answer that had a body; never after a stream's first byte."""
    assert drive(stream(), BUSY) == []
    call = stream(max_retries=2)
    assert drive(call, BUSY, Failure.CONNECT) == [0.5, 1.0]
    receiving(call, chunk("a"), b"data: [DONE]\n\n")
    assert call.next_action() == Done()
    assert texts(list(call.events())) == ["a"]
    call = receiving(stream(retry=RetryPolicy(retry_on_network_error=True, retry_streams=True)))
    call.receive_failure(Failure.CONNECTION_LOST)
    assert isinstance(call.next_action(), Wait)
    call = receiving(stream(retry=RetryPolicy(retry_on_network_error=True, retry_streams=True)), b":")
    call.receive_failure(Failure.CONNECTION_LOST)
    assert type(failed(call)) is StreamInterruptedError


def test_a_stream_of_which_nothing_has_come_is_tried_again_whatever_came_before():
    """The body of an error that was tried again counts for nothing."""
    call = stream(retry=RetryPolicy(retry_on_network_error=True, retry_streams=True))
    receiving(call, b"busy", status=503)
    call.receive_eof()
    call.wait_elapsed()
    receiving(call)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert isinstance(call.next_action(), Wait)


def test_what_has_begun_does_not_begin_again_whatever_a_policy_of_the_caller_says():
    """Else its events would come twice."""

    class Always(RetryPolicy):
        def delay(self, attempt, outcome, jitter):
            return 0.0

    call = receiving(stream(retry=Always()), chunk("a"))
    call.receive_failure(Failure.CONNECTION_LOST)
    assert type(failed(call)) is StreamInterruptedError


def test_a_stream_that_has_begun_lets_go_of_what_was_sent():
    """It is never sent again, and a conversation can be large; what it is called stays known."""
    call = stream()
    content = call.next_action().request.content
    receiving(call)
    held = sys.getrefcount(content)
    call.receive_data(chunk("a"))
    assert sys.getrefcount(content) == held - 1
    assert texts(call.events()) == ["a"]
    assert "POST https://host/v1/chat/completions" in repr(call)


# --- streams: what they amount to --------------------------------------------------------------------------------


def partial(*chunks):
    call = receiving(stream(), *chunks)
    call.receive_failure(Failure.CONNECTION_LOST)
    return failed(call).partial


def calls(*fragments):
    """What the fragments of tool calls, each in a chunk of its own, amount to: (id, name, arguments) each."""
    message = partial(*(chunk(tool_calls=[fragment]) for fragment in fragments)).choices[0].message
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]


def part(index=None, call_id=None, name=None, arguments=None):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {**fields, "type": "function", "function": function}


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        ([part(0, "a", "f", ""), part(0, None, None, '{"x"'), part(0, None, None, ":1}")], [("a", "f", '{"x":1}')]),
        ([part(0, "a", "f", "1"), part(1, "b", "g", "2"), part(0, arguments="3"), part(1, arguments="4")],
         [("a", "f", "13"), ("b", "g", "24")]),
        ([part(3, "a", "f", "1"), part(7, "b", "g", "2"), part(3, arguments="3")], [("a", "f", "13"), ("b", "g", "2")]),
        ([part(None, "a", "f", "1"), part(None, None, None, "2"), part(None, "b", "g", "3"), part(None, arguments="4")],
         [("a", "f", "12"), ("b", "g", "34")]),
        ([part(0, "a", "f", "1"), part(0, "b", "g", "2"), part(0, arguments="3")], [("a", "f", "1"), ("b", "g", "23")]),
        ([part(0, "a", "f", "1"), part(0, "a", "f", "2")], [("a", "f", "12")]),
        ([part(0, "a", "f", "1"), part(None, None, None, "2")], [("a", "f", "12")]),
        ([part(None, "a", "f", "1"), part(0, None, None, "2")], [("a", "f", "12")]),
        ([part(0, "a", "f", "1"), part(0, "", "", "2")], [("a", "f", "12")]),
        ([part(0, None, "f", "1"), part(0, "a", None, "2")], [("a", "f", "12")]),
        ([{"index": 0, "id": "a", "function": None}, {"index": 0, "function": {"name": "f", "arguments": None}}],
         [("a", "f", None)]),
    ],
    ids=["one", "two in turns", "sparse indexes", "no indexes", "the same index for all", "id each time", "index once",
         "index later", "empty id",
         "late id", "nothing"],
)  # fmt: skip
def test_tool_calls_are_put_together_from_their_fragments(fragments, expected):
    """By index where it tells, by id where it does not."""
    assert calls(*fragments) == expected


def test_the_partial_is_all_that_came():
    """Texts joined, words that are told whole kept whole, dicts and lists merged, the rest the last that was said."""
    whole = partial(
        chunk("a", role="assistant", reasoning_content="x", audio={"id": "1", "data": "AA"}, seen=[1], n=1),
        event(id="d", created=5, choices=[{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]),
        chunk("b", role="assistant", reasoning_content="y", audio={"id": "1", "data": "BB"}, seen=[2], n=2),
        event(choices=[{"index": 0, "delta": None}], usage={"total_tokens": 3}, system_fingerprint="fp", cost=0.5),
    )
    assert whole.model_dump(exclude_none=True) == {
        "id": "c",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "system_fingerprint": "fp",
        "cost": "0.5",
        "usage": {"total_tokens": 3},
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "reasoning_content": "xy",
                    "audio": {"id": "1", "data": "AABB"},
                    "seen": [1, 2],
                    "n": 2,
                },
            },
            {"index": 1, "message": {"role": "assistant", "content": "other"}, "finish_reason": "stop"},
        ],
    }


def test_choices_without_an_index_are_told_apart_by_their_place():
    """The first of each chunk is the first choice, and so on."""
    choices = [{"delta": {"content": "a"}}, {"delta": {"content": "b"}, "finish_reason": "stop"}]
    whole = partial(event(choices=choices), event(choices=choices[:1]))
    assert [(choice.index, choice.message.content) for choice in whole.choices] == [(0, "aa"), (1, "b")]


def test_events_hands_out_a_list_and_empties_it():
    """The list is the caller's: what he does to it is not seen inside."""
    call = receiving(stream(), chunk("a"))
    first = list(call.events())
    assert texts(first) == ["a"]
    call.receive_data(chunk("b"))
    assert texts(first) == ["a"]
    assert texts(list(call.events())) == ["b"]
    nothing = list(call.events())
    nothing.append("junk")
    call.receive_data(b"data: [DONE]\n\n")
    assert nothing == ["junk"]
    assert list(call.events()) == []
    assert call.next_action() == Done()


# --- recorded answers, in any pieces -----------------------------------------------------------------------------

TALK = chunk("Hé", role="assistant") + chunk("llo") + chunk(finish_reason="stop")
RECORDED = {
    "whole": (create, 200, JSON, WHOLE),
    "whole with a BOM": (create, 200, JSON, b"\xef\xbb\xbf" + WHOLE),
    "not UTF-8": (create, 200, JSON, WHOLE.replace(b"hi", b"h\xff\xe2\x82i")),
    "wrong shape": (create, 200, JSON, b'{"choices": {}}'),
    "empty": (create, 204, {}, b""),
    "error": (create, 422, JSON, b'{"error": {"message": "m", "details": [1]}, "request_id": "r"}'),
    "html error": (create, 500, {"content-type": "text/html"}, b"<html>sorry</html>"),
    "streamed error": (create, 503, SSE, b'data: {"error": {"message": "m"}}\n\n'),
    "done": (stream, 200, SSE, TALK + b"data: [DONE]\n\n" + chunk("ignored")),
    "CRLF": (stream, 200, SSE, (b": hi\n\n" + TALK + b"data: [DONE]\n\n").replace(b"\n", b"\r\n")),
    "CR": (stream, 200, SSE, (TALK + b"data: [DONE]\n\n").replace(b"\n", b"\r")),
    "BOM": (stream, 200, {}, b"\xef\xbb\xbf" + TALK + b"data: [DONE]\n\n"),
    "no done": (stream, 200, SSE, TALK),
    "cut": (stream, 200, SSE, TALK[:-20]),
    "error frame": (stream, 200, SSE, chunk("a") + event(error={"message": "m"}) + TALK),
    "junk": (stream, 200, SSE, chunk("a") + b"data: junk\n\n" + TALK),
    "skipped": (stream, 200, SSE, event(type="response.created") + TALK),
    "tools": (stream, 200, SSE, b"".join(chunk(tool_calls=[part(0, "a", "f", text)]) for text in "{}1")),
    "whole for a stream": (stream, 200, JSON, WHOLE),
    "whole under the wrong type": (stream, 200, SSE, WHOLE),
    "whole after white space": (stream, 200, SSE, b"\r\n \t\n" + WHOLE),
    "whole after a BOM": (stream, 200, SSE, b"\xef\xbb\xbf " + WHOLE),
    "error for a stream": (stream, 200, SSE, b' {"error": {"code": 429, "message": "m"}}'),
    "html for a stream": (stream, 200, {}, b"\n<html>\n\ndata: {}\n\n</html>"),
    "list for a stream": (stream, 200, SSE, b"[1, 2]\n\n"),
    "stream of an odd start": (stream, 200, SSE, b" \n\n x\n" + TALK),
    "refused stream": (stream, 503, JSON, b'{"error": {"message": "m"}}'),
    "nothing for a stream": (stream, 200, SSE, b""),
}


def outcome(name, pieces):
    make, status, headers, _ = RECORDED[name]
    call = receiving(make(max_retries=0), status=status, headers=headers)
    events = []
    for piece in pieces:
        if call.state not in (State.RECEIVE_BODY, State.RECEIVE_EVENTS):
            break
        call.receive_data(piece)
        if isinstance(call, StreamCall):
            events += list(call.events())
    if call.state in (State.RECEIVE_BODY, State.RECEIVE_EVENTS):
        call.receive_eof()
    dumps = [item.model_dump_json() for item in events]
    if call.state is State.DONE:
        return dumps, call.result.model_dump_json() if isinstance(call, Call) else None
    error = failed(call)
    return dumps, type(error), {**vars(error), "partial": error.partial and error.partial.model_dump_json()}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers_come_out_the_same_byte_by_byte(name):
    """The division into pieces is the network's, and means nothing."""
    body = RECORDED[name][3]
    assert outcome(name, [body[i : i + 1] for i in range(len(body))]) == outcome(name, [body])


@settings(deadline=None, database=None, max_examples=200)
@given(st.sampled_from(sorted(RECORDED)), st.lists(st.integers(min_value=0), max_size=8))
def test_recorded_answers_come_out_the_same_in_any_pieces(name, cuts):
    """The same, for splits anywhere."""
    body = RECORDED[name][3]
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    assert outcome(name, [body[a:b] for a, b in zip(edges, edges[1:])]) == outcome(name, [body])


# --- anything at all ---------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "a", "stop"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "index", "id", "content", "tool_calls", "function", "arguments", "name", "usage",
             "type", "finish_reason", "error", "message", "system_fingerprint", "thought_signature", "model", "cost",
             "audio"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none() | st.text(max_size=3),
        "reasoning": VALUES,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {},
                optional={"index": st.none() | st.integers(0, 2), "id": st.sampled_from(["", "a", "b"]),
                          "thought_signature": VALUES, "function": st.none() | st.fixed_dictionaries(
                              {}, optional={"name": st.just("f"), "arguments": st.text(max_size=2)})},
            ),
            max_size=2,
        ),
    },
)  # fmt: skip
CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({}, optional={"index": st.integers(0, 2), "delta": DELTAS}), max_size=2
        )
    },
    optional={"system_fingerprint": VALUES, "cost": VALUES, "id": VALUES},
)


@settings(deadline=None, database=None, max_examples=300)
@given(st.lists(VALUES | CHUNKS, max_size=4), st.booleans())
def test_whatever_a_stream_says_only_mesh_api_errors_come_of_it(values, is_lost):
    """Each event is either delivered or the error; putting them together never fails."""
    call = receiving(stream())
    for value in values:
        if call.state is State.RECEIVE_EVENTS:
            call.receive_data(b"data: " + json.dumps(value).encode() + b"\n\n")
    if call.state is State.RECEIVE_EVENTS:
        call.receive_failure(Failure.CONNECTION_LOST) if is_lost else call.receive_eof()
    delivered = list(call.events())
    if call.state is State.FAILED:
        assert (failed(call).partial is not None) == bool(delivered)
    else:
        assert call.next_action() == Done()


class AnyCall(RuleBasedStateMachine):
    """Random legal reports, and illegal ones between them; after each the call is in order."""

    @initialize(is_stream=st.booleans(), max_retries=st.integers(0, 2), is_bold=st.booleans())
    def begin(self, is_stream, max_retries, is_bold):
        policy = RetryPolicy(retry_on_network_error=is_bold)
        self.call, self.moves = traced((stream if is_stream else create)(retry=policy, max_retries=max_retries))
        self.max_retries = max_retries
        self.sent = 1
        self.error = None
        self.has_bytes = False

    def is_in(self, *states):
        return self.call.state in states

    @precondition(lambda self: self.is_in(State.SEND_REQUEST))
    @rule()
    def send(self):
        self.call.request_sent()

    @precondition(lambda self: self.is_in(State.SEND_REQUEST, State.RECEIVE_RESPONSE))
    @rule(status=st.sampled_from([100, 200, 204, 302, 404, 429, 503]), headers=st.sampled_from([SSE, JSON, {}]))
    def respond(self, status, headers):
        self.call.receive_response(status, headers)

    @precondition(lambda self: self.is_in(State.RECEIVE_BODY, State.RECEIVE_EVENTS))
    @rule(data=st.sampled_from([b"", b"\n", b" ", WHOLE, WHOLE[:9], WHOLE[9:], chunk("a"), TALK[:9], TALK[9:],
                                chunk(finish_reason="stop"), b"data: [DONE]\n\n", event(error="m"), b"data: junk\n\n"])
          | st.binary(max_size=4))  # fmt: skip
    def receive(self, data):
        is_success = self.call.response.status < 300
        self.call.receive_data(data)
        self.has_bytes = self.has_bytes or (bool(data) and is_success)

    @precondition(lambda self: self.is_in(State.RECEIVE_BODY, State.RECEIVE_EVENTS))
    @rule()
    def end(self):
        self.call.receive_eof()

    @precondition(lambda self: not self.is_in(State.DONE, State.FAILED))
    @rule(failure=st.sampled_from(list(Failure)))
    def fail(self, failure):
        was_waiting = self.is_in(State.WAIT)
        self.call.receive_failure(failure)
        if was_waiting or failure is Failure.DEADLINE:
            assert self.is_in(State.FAILED)

    @precondition(lambda self: self.is_in(State.WAIT))
    @rule()
    def wait(self):
        self.call.wait_elapsed()
        self.sent += 1
        assert self.call.response is None

    @rule(move=st.sampled_from(sorted(INPUTS, key=lambda move: move.name)))
    def err(self, move):
        if move not in TRANSITIONS[self.call.state]:
            before = snapshot(self.call)
            with pytest.raises(LocalProtocolError):
                INPUTS[move](self.call)
            assert snapshot(self.call) == before

    @precondition(lambda self: isinstance(self.call, StreamCall))
    @rule()
    def take_events(self):
        assert all(hasattr(item, "choices") for item in self.call.events())
        assert list(self.call.events()) == []

    @invariant()
    def the_action_belongs_to_the_state(self):
        state = self.call.state
        if state is State.FAILED:
            error = failed(self.call)
            assert self.error in (None, error)
            self.error = error
        else:
            assert self.error is None
            action = self.call.next_action()
            assert action is self.call.next_action()
            assert isinstance(action, KINDS.get(state, type(NEED_DATA)))
        assert self.call.is_over == (state in (State.DONE, State.FAILED))
        assert self.call.error is self.error
        if isinstance(self.call, StreamCall) and self.has_bytes:
            assert state not in (State.WAIT, State.SEND_REQUEST)
        if isinstance(self.call, Call) and state is State.DONE:
            assert self.call.result is not None

    @invariant()
    def the_moves_are_those_of_the_table(self):
        assert all(after in TRANSITIONS[state].values() for state, after in self.moves)
        assert self.sent <= 1 + self.max_retries


TestAnyCall = AnyCall.TestCase
TestAnyCall.settings = settings(deadline=None, database=None, max_examples=100, stateful_step_count=15)
