"""One request and its answer beside the chat: answers that are a row of lines, and how large anything may be."""

import json
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshapi_core import (
    NEED_DATA,
    NEED_RESPONSE,
    TRANSITIONS,
    ChatCompletionParams,
    Done,
    Failure,
    Input,
    ItemsCall,
    LocalProtocolError,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ResponseParseError,
    RetryPolicy,
    SendRequest,
    SSEDecoder,
    State,
    StreamCall,
    Wait,
)
from meshapi_core.resources._base import read_body

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
HEADERS = {"x-request-id": "req-1"}
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
PARAMS = ChatCompletionParams(messages=[])


def core(**config):
    return MeshAPICore(MeshAPIConfig("https://host", token=TOKEN, **config))


def lines(core=core(), **options):
    def read_line(head, line):
        return read_body(dict, head, line.encode())

    return core.files._get_lines("/v1/files/f/content", read_line, options)


def failed(call):
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    with pytest.raises(MeshAPIError) as again:
        call.next_action()
    assert again.value is caught.value is call.error
    assert call.state is State.FAILED
    return caught.value


def receiving(call, *pieces, status=200, headers=HEADERS):
    call.receive_response(status, headers)
    for piece in pieces:
        call.receive_data(piece)
    return call


# --- lines: the table --------------------------------------------------------------------------------------------

INPUTS = {
    Input.REQUEST_SENT: lambda call: call.request_sent(),
    Input.RESPONSE: lambda call: call.receive_response(200, HEADERS),
    Input.DATA: lambda call: call.receive_data(b"{}\n"),
    Input.EOF: lambda call: call.receive_eof(),
    Input.FAILURE: lambda call: call.receive_failure(Failure.CONNECTION_LOST),
    Input.WAIT_ELAPSED: lambda call: call.wait_elapsed(),
}
# How to get to each state, and where each legal input leads from there.
STATES = {
    State.SEND_REQUEST: (lambda c: None, {Input.FAILURE: State.WAIT}),
    State.RECEIVE_RESPONSE: (lambda c: c.request_sent(), {Input.FAILURE: State.WAIT}),
    State.RECEIVE_BODY: (receiving, {Input.EOF: State.DONE, Input.FAILURE: State.WAIT}),
    State.WAIT: (lambda c: c.receive_failure(Failure.CONNECT), {}),
    State.DONE: (lambda c: receiving(c).receive_eof(), {}),
    State.FAILED: (lambda c: c.receive_failure(Failure.DEADLINE), {}),
}
KINDS = {
    State.SEND_REQUEST: SendRequest,
    State.RECEIVE_RESPONSE: type(NEED_RESPONSE),
    State.RECEIVE_BODY: type(NEED_DATA),
    State.WAIT: Wait,
    State.DONE: Done,
}


def at(state):
    call = lines(max_retries=1)
    STATES[state][0](call)
    assert call.state is state
    return call


def snapshot(call):
    return {name: list(value) if isinstance(value, list) else value for name, value in vars(call).items()}


@pytest.mark.parametrize("move", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_every_input_in_every_state_does_what_the_table_says(state, move):
    """A legal input leads on; any other changes nothing."""
    call = at(state)
    before = snapshot(call)
    legal = TRANSITIONS[state]
    if move in legal:
        INPUTS[move](call)
        assert call.state is STATES[state][1].get(move, legal[move])
    else:
        with pytest.raises(LocalProtocolError, match=f"is not legal in state {state.name}; expected"):
            INPUTS[move](call)
        assert snapshot(call) == before


@pytest.mark.parametrize("state", STATES)
def test_asking_twice_changes_nothing(state):
    """next_action gives the same again, and leaves the call as it is."""
    call = at(state)
    if state is State.FAILED:
        failed(call)
        return
    first = call.next_action()
    before = snapshot(call)
    assert call.next_action() is first
    assert isinstance(first, KINDS[state])
    assert snapshot(call) == before


def test_lines_are_items_as_they_come():
    """The whole rhythm, once, with what can be read on the way."""
    call = lines(timeout=5)
    assert isinstance(call, ItemsCall)
    assert not isinstance(call, StreamCall)
    assert repr(call) == "<ItemsCall GET https://host/v1/files/f/content SEND_REQUEST>"
    assert (list(call.events()), call.request_id, call.timeout.idle) == ([], "", 5)
    receiving(call, b'{"a": 1}\n{"b"', headers={**HEADERS, "content-type": "text/event-stream"})
    assert (call.state, call.request_id) == (State.RECEIVE_BODY, "req-1")
    first = list(call.events())
    assert first == [{"a": 1}]
    first.append("mine")
    call.receive_data(b": 2}\n{}\n")
    call.receive_data(b"")
    assert list(call.events()) == [{"b": 2}, {}]
    call.receive_eof()
    assert (call.next_action(), list(call.events())) == (Done(), [])
    call.receive_data(b'{"late": 1}\n')
    call.receive_failure(Failure.CONNECTION_LOST)
    assert (call.next_action(), list(call.events()), call.error) == (Done(), [], None)


def test_nothing_of_a_try_that_failed_is_left():
    """Its body was an error's, and its head is gone."""
    call = receiving(lines(max_retries=2), b'{"error": {"message": "busy"}}\n{"x": 1}\n', status=503)
    call.receive_eof()
    assert call.next_action() == Wait(0.5)
    call.receive_data(b'{"late": 1}\n')
    call.wait_elapsed()
    assert (call.response, list(call.events())) == (None, [])
    receiving(call, b'{"a": 1}').receive_eof()
    assert (call.next_action(), list(call.events())) == (Done(), [{"a": 1}])


@pytest.mark.parametrize("failure", list(Failure))
def test_who_does_not_want_to_wait_gets_the_error_that_was_about_to_be_retried(failure):
    """As with any call."""
    call = receiving(lines(max_retries=1), b"{}", status=503)
    call.receive_eof()
    call.receive_failure(failure)
    assert failed(call).status == 503


# --- how large anything may be -----------------------------------------------------------------------------------

BODY = json.dumps({"id": "x", "choices": [], "pad": "é" * 100}).encode()


def too_large(call, what, limit, size):
    error = failed(call)
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert error.message == f"{what} is larger than the {size} bytes that {limit} allows"
    # A parser may have more of it at hand; it is not kept.
    for _ in range(3):
        call.receive_data(b"x" * 1000)
    assert sum(map(len, call._body)) == 0
    return error


MAKERS = {
    "create": lambda core: core.chat.completions.create(PARAMS),
    "get": lambda core: core.models.get("m"),
    "list": lambda core: core.models.list(max_retries=1),
    "stream": lambda core: core.chat.completions.stream(PARAMS),
}


@pytest.mark.parametrize("step", [1, 7, len(BODY)])
@pytest.mark.parametrize("name", MAKERS)
def test_an_answer_may_be_so_large_and_no_larger(name, step):
    """In whatever pieces it comes; one that a stream is answered with, too."""
    for limit in (len(BODY), None, len(BODY) - 1):
        call = MAKERS[name](core(max_answer_size=limit))
        call.receive_response(200, {**HEADERS, "content-type": "application/json"})
        for start in range(0, len(BODY), step):
            call.receive_data(BODY[start : start + step])
        if limit == len(BODY) - 1:
            too_large(call, "the answer", "max_answer_size", limit)
        else:
            assert call.state is State.RECEIVE_BODY


def test_an_answer_has_a_limit_by_default():
    """Larger than any that is meant."""
    assert MeshAPIConfig(token="t").max_answer_size == 1 << 28
    call = receiving(core().models.list())
    piece = b"x" * (1 << 24)
    for _ in range(16):
        call.receive_data(piece)
    assert call.state is State.RECEIVE_BODY
    call.receive_data(b"x")
    too_large(call, "the answer", "max_answer_size", 1 << 28)


@pytest.mark.parametrize("name", ["max_answer_size", "max_event_size"])
@pytest.mark.parametrize("size", [0, -1, True, 1.5, "1"])
def test_a_limit_that_cannot_be_meant_is_refused(name, size):
    """When the config is made."""
    with pytest.raises(ValueError, match=f"^{name} must be a number of bytes above 0, or None for no limit, not"):
        MeshAPIConfig(token="t", **{name: size})
    assert getattr(MeshAPIConfig(token="t", **{name: 1}), name) == 1


def test_the_content_of_a_file_has_no_limit():
    """It is what the caller asked for, however large."""
    call = receiving(core(max_answer_size=10).files.content("f", max_retries=1), b"x" * 11)
    call.receive_eof()
    assert call.result == b"x" * 11
    assert core(max_answer_size=10).files.content("f").next_action().request.url == "https://host/v1/files/f/content"


def test_an_error_has_a_limit_of_its_own():
    """Its message is worth more than that it is too large."""
    call = receiving(core(max_answer_size=10).models.list(), b'{"error": {"message": "no such thing"}}', status=404)
    call.receive_eof()
    assert failed(call).message == "no such thing"


LINE = b'{"a": "xxxx"}'


@pytest.mark.parametrize("step", [1, 5])
def test_a_line_may_be_so_long_and_no_longer(step):
    """Each for itself: there may be any number of them."""
    limited = core(max_answer_size=len(LINE))
    call = receiving(lines(limited))
    body = (LINE + b"\n") * 5
    for start in range(0, len(body), step):
        call.receive_data(body[start : start + step])
    assert list(call.events()) == [{"a": "xxxx"}] * 5
    body = LINE + b"\n" + b"x" * (len(LINE) + step)
    for start in range(0, len(body), step):
        call.receive_data(body[start : start + step])
    assert list(call.events()) == [{"a": "xxxx"}]
    too_large(call, "a line", "max_answer_size", len(LINE))


def test_lines_without_a_limit():
    """None is none."""
    call = receiving(lines(core(max_answer_size=None)), b'{"a": "', b"x" * 1000, b'"}\n')
    assert list(call.events()) == [{"a": "x" * 1000}]


def chunk(text):
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_an_event_has_no_limit_by_default():
    """A model may write as much as it likes."""
    assert MeshAPIConfig(token="t").max_event_size is None
    call = receiving(core().chat.completions.stream(PARAMS), b"data: " + b"x" * 1000, headers=SSE)
    assert call.state is State.RECEIVE_EVENTS


@pytest.mark.parametrize("step", [1, 7, 40])
def test_an_event_may_be_so_large_and_no_larger(step):
    """Each for itself; comments do not count; what came before it is handed out, and is in the partial."""
    limit = len(chunk("a" * 20))
    call = receiving(core(max_event_size=limit).chat.completions.stream(PARAMS), headers=SSE)
    body = b"".join(chunk("a" * 20) + b": comment\n\n" for _ in range(10))
    for start in range(0, len(body), step):
        call.receive_data(body[start : start + step])
    assert call.state is State.RECEIVE_EVENTS
    call.receive_data(b": comment\n" * 20 + chunk("a" * 20))
    assert len(list(call.events())) == 11
    body = chunk("b" * 100)
    for start in range(0, len(body), step):
        call.receive_data(body[start : start + step])
    error = too_large(call, "an event", "max_event_size", limit)
    assert list(call.events()) == []
    assert error.partial.choices[0].message.content == "a" * 220


def test_an_event_that_comes_as_a_whole_may_be_no_larger():
    """In one piece as in many: it is not handed out."""
    call = receiving(
        core(max_event_size=80).chat.completions.stream(PARAMS), chunk("a") + chunk("b" * 100), headers=SSE
    )
    assert [call.text_of(each) for each in call.events()] == ["a"]
    assert too_large(call, "an event", "max_event_size", 80).partial.choices[0].message.content == "a"


@settings(deadline=None, database=None, max_examples=50)
@given(
    st.lists(st.integers(0, 60), max_size=5),
    st.lists(st.integers(min_value=0), max_size=6),
    st.sampled_from([40, 70, 90, None]),
)
def test_limits_mean_the_same_in_any_pieces(sizes, cuts, limit):
    """The division into pieces is the network's, and decides neither what is delivered nor what is too large."""
    body = b"".join(chunk("x" * size) for size in sizes) + b"data: [DONE]\n\n"

    def outcome(edges):
        call = receiving(core(max_event_size=limit).chat.completions.stream(PARAMS), headers=SSE)
        for begin, end in zip(edges, edges[1:]):
            call.receive_data(body[begin:end])
        return [call.text_of(each) for each in call.events()], call.state, str(call.error)

    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    assert outcome(edges) == outcome([0, len(body)]) == outcome(list(range(len(body) + 1)))


@settings(deadline=None, database=None, max_examples=50)
@given(st.lists(st.integers(0, 30), max_size=5), st.lists(st.integers(min_value=0), max_size=6), st.booleans())
def test_limits_of_lines_mean_the_same_in_any_pieces(sizes, cuts, is_ended):
    """As those of events."""
    body = b"\n".join(json.dumps({"a": "x" * size}).encode() for size in sizes) + (b"\n" if is_ended else b"")

    def outcome(edges):
        call = receiving(lines(core(max_answer_size=25)))
        for begin, end in zip(edges, edges[1:]):
            call.receive_data(body[begin:end])
        if call.state is State.RECEIVE_BODY:
            call.receive_eof()
        return list(call.events()), call.state, str(call.error)

    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    assert outcome(edges) == outcome([0, len(body)]) == outcome(list(range(len(body) + 1)))


def test_what_is_too_large_is_not_tried_again():
    """It would be as large the next time."""
    policy = RetryPolicy(max_retries=3, retry_on_network_error=True, retry_streams=True)
    assert type(failed(receiving(core(max_answer_size=1, retry=policy).models.list(), b"xx"))) is ResponseParseError
    call = core(max_event_size=1, retry=policy).chat.completions.stream(PARAMS)
    assert type(failed(receiving(call, b"data: xxx", headers=SSE))) is ResponseParseError


# --- streams: read as their events are taken ---------------------------------------------------------------------


def streaming(*texts, end=b""):
    """A stream that has brought `texts`, and `end`."""
    call = core().chat.completions.stream(PARAMS)
    call.next_action()
    return receiving(call, b"".join(map(chunk, texts)) + end, headers=SSE)


def texts_of(call):
    return [call.text_of(event) for event in call.events()]


def test_events_that_are_not_taken_come_the_next_time():
    """An iterator that is left early has taken no more than it gave, whichever of them goes on."""
    call = streaming("a", "b", "c", "d")
    first = call.events()
    assert call.text_of(next(first)) == "a"
    assert call.text_of(next(call.events())) == "b"
    call.receive_data(chunk("e"))
    assert texts_of(call) == ["c", "d", "e"]
    assert list(first) == []


def test_an_older_iterator_takes_nothing_of_what_is_newer():
    """It ends with what had come when it was made, and the rest is still there."""
    call = streaming("a", "b")
    first = call.events()
    assert call.text_of(next(first)) == "a"
    call.receive_data(chunk("c"))
    assert [call.text_of(event) for event in first] == ["b"]
    assert texts_of(call) == ["c"]


MOVES = st.one_of(
    st.tuples(st.just("receive"), st.integers(1, 3)),
    st.tuples(st.just("ask"), st.just(0)),
    st.tuples(st.just("begin"), st.just(0)),
    # Which of the iterators, and how many events of it.
    st.tuples(st.integers(0, 3), st.integers(1, 4)),
)


@settings(deadline=None, database=None, max_examples=200)
@given(st.lists(MOVES, max_size=30), st.booleans())
def test_events_come_once_and_in_order_whoever_takes_them(moves, ends):
    """However many iterators there are, and whatever is asked in between."""
    call = streaming("0")
    sent, taken, iterators = 1, [], [call.events()]
    for move, count in moves:
        if move == "receive":
            call.receive_data(b"".join(chunk(str(sent + n)) for n in range(count)))
            sent += count
        elif move == "ask":
            assert call.state is State.RECEIVE_EVENTS
        elif move == "begin":
            iterators.append(call.events())
        else:
            taken += map(call.text_of, islice(iterators[move % len(iterators)], count))
    if ends:
        call.receive_data(b"data: [DONE]\n\n")
        assert call.state is State.DONE
    taken += texts_of(call)
    assert taken == [str(n) for n in range(sent)]
    assert [text for iterator in iterators for text in iterator] == texts_of(call) == []


def test_what_is_not_taken_is_read_before_anything_is_decided():
    """The end of a stream counts as soon as the next action is asked for; the events before it can still be had."""
    call = streaming("a", "b", end=b"data: [DONE]\n\n")
    assert isinstance(call.next_action(), Done)
    assert texts_of(call) == ["a", "b"]
    assert call.state is State.DONE


@pytest.mark.parametrize("before", [[], ["x"]])
@pytest.mark.parametrize("ask", [lambda call: call.state, lambda call: call.next_action()])
def test_who_asks_while_events_are_taken_loses_none(ask, before):
    """The answer depends on what has come, all of which is read for it; the iterator goes on with that."""
    call = streaming(*before)
    assert texts_of(call) == before
    call.receive_data(b"".join(map(chunk, "abc")) + b"data: [DONE]\n\n")
    taken = []
    for event in call.events():
        ask(call)
        taken.append(call.text_of(event))
    assert taken == ["a", "b", "c"]
    assert call.state is State.DONE


@pytest.mark.parametrize("ask", [lambda call: call.state, lambda call: call.error, lambda call: call.is_over])
def test_an_error_behind_untaken_events_is_known_to_whoever_asks(ask):
    """No question is answered from before the events that have come."""
    call = streaming("a", end=b'data: {"error": {"message": "no"}}\n\n')
    assert ask(call) in (State.FAILED, call.error, True)
    assert texts_of(call) == ["a"]
    assert failed(call).message == "no"


def test_a_stream_that_fails_still_has_what_came_before():
    """What has come is read before a failure is."""
    call = streaming("a", "b")
    call.receive_failure(Failure.CONNECTION_LOST)
    assert texts_of(call) == ["a", "b"]
    assert failed(call).error_code == "stream_interrupted"


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_byte_arrays_will_do(kind):
    """h11 hands out bytearrays."""
    call = core().chat.completions.stream(PARAMS)
    call.next_action()
    receiving(call, kind(chunk("a") + chunk("b")), kind(b"data: [DONE]\n\n"), headers=SSE)
    assert texts_of(call) == ["a", "b"]
    assert call.result.choices[0].message.content == "ab"
    assert [event.data for event in SSEDecoder().receive_data(kind(b"data: a\n\n"))] == ["a"]
    whole = core().chat.completions.create(PARAMS)
    whole.next_action()
    receiving(whole, kind(b'{"id": "1"}')).receive_eof()
    assert whole.result.id == "1"
    of_lines = lines()
    of_lines.next_action()
    assert list(receiving(of_lines, kind(b"{}\n{}")).events()) == [{}]


@pytest.mark.parametrize("first", [b" ", b"\n", b"\xef", b":"])
def test_no_stream_is_tried_again_that_has_begun(first):
    """Not even if all that has come of it is white space, or a part of a character: it would be part of the next."""
    call = core().chat.completions.stream(PARAMS, max_retries=3)
    call.next_action()
    receiving(call, first, headers=SSE)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert failed(call).error_code == "stream_interrupted"
