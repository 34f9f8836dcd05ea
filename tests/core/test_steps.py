"""Calls that take several requests: every state and input, and every kind of generator that says what comes next."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshapi_core import (
    NEED_DATA,
    NEED_RESPONSE,
    TRANSITIONS,
    APIConnectionError,
    APITimeoutError,
    ChatCompletionParams,
    Done,
    Failure,
    Input,
    ItemsCall,
    LocalProtocolError,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    NotFoundError,
    ResponseParseError,
    RetryPolicy,
    SendRequest,
    State,
    Timeout,
    Wait,
)
from meshapi_core.resources._base import read_body
from meshapi_core.steps import CallOfSteps, ItemsOfSteps

CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC", retry=RetryPolicy(1)))
TIMEOUT = Timeout.of(5)
JSON = {"content-type": "application/json", "x-request-id": "req-1"}
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
CHUNK = b'data: {"id": "c", "choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n'
INPUTS = {
    Input.REQUEST_SENT: lambda call: call.request_sent(),
    Input.RESPONSE: lambda call: call.receive_response(200, JSON),
    Input.DATA: lambda call: call.receive_data(b'{"id": "x"}'),
    Input.EOF: lambda call: call.receive_eof(),
    Input.FAILURE: lambda call: call.receive_failure(Failure.CONNECTION_LOST),
    Input.WAIT_ELAPSED: lambda call: call.wait_elapsed(),
}


def ask(model="m", **options):
    return CORE.models.get(model, **options)


def lines(**options):
    return CORE.files._get_lines(
        "/v1/files/f/content", lambda head, line: read_body(dict, head, line.encode()), options
    )


def events(**options):
    return CORE.chat.completions.stream(ChatCompletionParams(messages=[]), **options)


def call_of(steps):
    return CallOfSteps(steps, TIMEOUT)


def items_of(steps):
    return ItemsOfSteps(steps, TIMEOUT)


def answered(call, body=b'{"id": "x"}', status=200, headers=JSON):
    call.receive_response(status, headers)
    call.receive_data(body)
    call.receive_eof()
    return call


def failed(call):
    """The error of a call that has failed, which it raises again and again."""
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    with pytest.raises(MeshAPIError) as again:
        call.next_action()
    assert again.value is caught.value is call.error
    assert call.state is State.FAILED
    assert call.is_over
    return caught.value


def url(call):
    action = call.next_action()
    assert isinstance(action, SendRequest)
    return action.request.url


# --- the table ---------------------------------------------------------------------------------------------------


def whole():
    """A call, a pause, another call; what they result in together."""

    def steps():
        first = yield ask("a")
        yield Wait(7)
        second = yield ask("b")
        return first.id + second.id

    return call_of(steps())


def row():
    """Items at once, those of a file, a pause, those of a stream, and one more."""

    def steps():
        yield [0]
        yield lines()
        yield Wait(7)
        yield events(max_retries=1)
        yield [9]

    return items_of(steps())


def past_first(call):
    answered(call)


def past_wait(call):
    answered(call)
    call.wait_elapsed()


# How to get there, in which state that is, and where each legal input leads.
POINTS = {
    "first": (lambda c: None, State.SEND_REQUEST, {
        Input.REQUEST_SENT: State.RECEIVE_RESPONSE, Input.RESPONSE: State.RECEIVE_BODY, Input.FAILURE: State.WAIT}),
    "first, sent": (lambda c: c.request_sent(), State.RECEIVE_RESPONSE, {
        Input.RESPONSE: State.RECEIVE_BODY, Input.FAILURE: State.WAIT}),
    "first, answered": (lambda c: c.receive_response(200, JSON), State.RECEIVE_BODY, {
        Input.DATA: State.RECEIVE_BODY, Input.EOF: {whole: State.FAILED, row: State.WAIT}, Input.FAILURE: State.WAIT}),
    "first, tried again": (lambda c: c.receive_failure(Failure.CONNECT), State.WAIT, {
        Input.DATA: State.WAIT, Input.EOF: State.WAIT, Input.FAILURE: State.FAILED,
        Input.WAIT_ELAPSED: State.SEND_REQUEST}),
    "between": (past_first, State.WAIT, {
        Input.DATA: State.WAIT, Input.EOF: State.WAIT, Input.FAILURE: State.FAILED,
        Input.WAIT_ELAPSED: State.SEND_REQUEST}),
    "second": (past_wait, State.SEND_REQUEST, {
        Input.REQUEST_SENT: State.RECEIVE_RESPONSE, Input.RESPONSE: State.RECEIVE_BODY,
        Input.FAILURE: {whole: State.WAIT, row: State.FAILED}}),
    "done": (lambda c: (past_wait(c), answered(c, *([CHUNK, 200, SSE] if isinstance(c, ItemsCall) else []))),
             State.DONE, {Input.DATA: State.DONE, Input.EOF: State.DONE, Input.FAILURE: State.DONE}),
    "failed": (lambda c: answered(c, status=404), State.FAILED, {
        Input.DATA: State.FAILED, Input.EOF: State.FAILED, Input.FAILURE: State.FAILED}),
}  # fmt: skip


def at(make, point):
    call = make()
    POINTS[point][0](call)
    assert call.state is POINTS[point][1]
    return call


def snapshot(call):
    """All that a call is made of, the one that is under way and the place in the generator included."""
    about = {name: list(value) if isinstance(value, list) else value for name, value in vars(call).items()}
    frame = call._steps.gi_frame
    return about, vars(call._call).copy() if call._call else None, frame and frame.f_lasti


@pytest.mark.parametrize("move", INPUTS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("make", [whole, row])
def test_every_input_at_every_point_does_what_the_table_says(make, point, move):
    """A legal input leads on, from one step to the next where that is due; any other changes nothing."""
    call = at(make, point)
    _, state, expected = POINTS[point]
    assert set(expected) == set(TRANSITIONS[state]) & set(INPUTS)
    before = snapshot(call)
    if move in expected:
        INPUTS[move](call)
        after = expected[move]
        assert call.state is (after[make] if isinstance(after, dict) else after)
        if state in (State.DONE, State.FAILED):
            assert snapshot(call) == before
    else:
        with pytest.raises(LocalProtocolError) as caught:
            INPUTS[move](call)
        legal = [other.value for other in INPUTS if other in expected]
        assert str(caught.value) == (
            f"{move.value} is not legal in state {state.name}; expected {' or '.join(legal) or 'nothing more'}"
        )
        assert snapshot(call) == before


@pytest.mark.parametrize("move", [Input.DATA, Input.EOF])
@pytest.mark.parametrize("point", ["first, tried again", "between", "done", "failed"])
@pytest.mark.parametrize("make", [whole, row])
def test_late_data_means_nothing(make, point, move):
    """A parser may have more of the answer at hand while the call waits, and at its end."""
    call = at(make, point)
    before = snapshot(call)
    INPUTS[move](call)
    assert snapshot(call) == before


KINDS = {
    State.SEND_REQUEST: SendRequest,
    State.RECEIVE_RESPONSE: type(NEED_RESPONSE),
    State.WAIT: Wait,
    State.DONE: Done,
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("make", [whole, row])
def test_asking_twice_changes_nothing(make, point):
    """next_action gives the same again, and leaves the call as it is."""
    call = at(make, point)
    if point == "failed":
        before = snapshot(call)
        failed(call)
    else:
        first = call.next_action()
        before = snapshot(call)
        assert call.next_action() is first
        assert isinstance(first, KINDS.get(call.state, type(NEED_DATA)))
    assert snapshot(call) == before


def test_a_call_of_steps_from_its_first_request_to_its_result():
    """The whole rhythm, once, with what can be read on the way."""
    call = whole()
    assert call.timeout == TIMEOUT
    assert repr(call) == "<Call SEND_REQUEST, <Call GET https://host/v1/models/a SEND_REQUEST>>"
    assert (call.response, call.request_id, call.error, call.is_over) == (None, "", None, False)
    with pytest.raises(LocalProtocolError, match="no result in state SEND_REQUEST; drive it until Done"):
        _ = call.result
    assert url(call) == "https://host/v1/models/a"
    call.request_sent()
    assert call.next_action() is NEED_RESPONSE
    call.receive_response(100, {})
    assert (call.state, call.response) == (State.RECEIVE_RESPONSE, None)
    call.receive_response(200, JSON)
    assert (call.response.status, call.request_id) == (200, "req-1")
    assert call.next_action() is NEED_DATA
    call.receive_data(b'{"id": "x')
    call.receive_data(b'"}')
    call.receive_eof()
    assert call.next_action() == Wait(7)
    assert repr(call) == "<Call WAIT, <Call GET https://host/v1/models/a DONE>>"
    with pytest.raises(LocalProtocolError, match="no result in state WAIT"):
        _ = call.result
    call.wait_elapsed()
    assert url(call) == "https://host/v1/models/b"
    assert (call.response.status, call.request_id) == (200, "req-1")
    answered(call, b'{"id": "y"}', headers={"x-request-id": "req-2"})
    assert call.next_action() == Done()
    assert (call.result, call.request_id, call.error, call.is_over) == ("xy", "req-2", None, True)
    assert list(call.events()) == []
    assert repr(call) == "<Call DONE, <Call GET https://host/v1/models/b DONE>>"


def test_a_row_of_items_from_its_first_to_its_last():
    """Items come when they come, in whatever step, and are handed out once."""
    call = row()
    assert repr(call) == "<ItemsCall SEND_REQUEST, <ItemsCall GET https://host/v1/files/f/content SEND_REQUEST>>"
    assert list(call.events()) == [0]
    assert list(call.events()) == []
    call.receive_response(200, {})
    call.receive_data(b'{"a": 1}\n{"a":')
    taken = list(call.events())
    assert taken == [{"a": 1}]
    call.receive_data(b" 2}")
    assert list(call.events()) == []
    call.receive_eof()
    assert (call.next_action(), list(call.events())) == (Wait(7), [{"a": 2}])
    call.wait_elapsed()
    call.receive_response(200, SSE)
    call.receive_data(CHUNK + b"data: [DONE]\n\n")
    assert call.next_action() == Done()
    chunk, last = list(call.events())
    assert (chunk.id, last) == ("c", 9)
    assert taken == [{"a": 1}]
    assert list(call.events()) == []


# --- generators of each kind -------------------------------------------------------------------------------------


def test_a_generator_may_end_at_once():
    """The value is then there without any request."""

    def steps(value):
        return value
        yield

    call = call_of(steps("value"))
    assert (call.state, call.next_action(), call.result) == (State.DONE, Done(), "value")
    assert (call.response, call.request_id, call.error) == (None, "", None)
    assert repr(call) == "<Call DONE, None>"
    row = items_of(steps(None))
    assert (row.next_action(), list(row.events())) == (Done(), [])


def test_a_generator_may_end_after_items():
    """Without any request, and with an iterable of any kind, the empty ones included."""

    def steps():
        yield (1, 2)
        yield []
        yield [3]

    call = items_of(steps())
    assert (call.next_action(), list(call.events())) == (Done(), [1, 2, 3])


def test_a_generator_may_begin_with_a_wait():
    """There is then no answer, and no call, to tell of."""

    def steps():
        yield Wait(3)
        return (yield ask())

    call = call_of(steps())
    assert (call.next_action(), call.response, repr(call)) == (Wait(3), None, "<Call WAIT, None>")
    call.wait_elapsed()
    assert answered(call).result.id == "x"
    call = call_of(steps())
    call.receive_failure(Failure.CONNECTION_LOST)
    error = failed(call)
    assert (type(error), error.message, error.status) == (
        APIConnectionError,
        "the connection was lost while waiting",
        0,
    )


@pytest.mark.parametrize("is_first", [True, False])
def test_a_generator_may_fail_by_itself(is_first):
    """At once or later; the error tells nothing of the inside, and is raised when the next action is asked for."""

    def steps():
        if not is_first:
            yield ask()
        yield [1]
        try:
            raise KeyError("inside")
        except KeyError:
            raise ResponseParseError("no", error_code="parse_error") from OSError("why")

    call = items_of(steps())
    if not is_first:
        answered(call)
    assert list(call.events()) == [1]
    error = failed(call)
    assert (error.message, error.__context__, str(error.__cause__)) == ("no", None, "why")


@pytest.mark.parametrize("point", ["first", "answer", "error", "wait"])
def test_what_is_not_ours_passes_through_and_ends_the_call(point):
    """Such as what a callback raises: at once where it happens, and whenever the call is asked again."""
    mistake = KeyError("mine")

    def steps():
        if point == "first":
            raise mistake
        try:
            yield ask() if point != "wait" else Wait(1)
        except MeshAPIError:
            raise mistake from None
        raise mistake

    if point == "first":
        with pytest.raises(KeyError):
            call_of(steps())
        return
    call = call_of(steps())
    with pytest.raises(KeyError) as caught:
        call.wait_elapsed() if point == "wait" else answered(call, status=404 if point == "error" else 200)
    assert caught.value is mistake
    assert (call.state, call.is_over, call.error) == (State.FAILED, True, None)
    for ask_again in (call.next_action, lambda: call.result):
        with pytest.raises(KeyError) as again:
            ask_again()
        assert again.value is mistake
    call.receive_data(b"late")
    call.receive_failure(Failure.CONNECTION_LOST)
    assert call.state is State.FAILED


def test_what_is_no_step_is_a_mistake_that_is_seen():
    """A generator that yields something else is broken, and its call with it."""

    def steps():
        yield 5

    with pytest.raises(TypeError):
        call_of(steps())


def test_a_generator_may_go_on_after_a_failure():
    """It is thrown what the call failed with, and says what is next: another call, a pause, or the value."""
    seen = []

    def steps():
        for model in "abc":
            try:
                yield ask(model)
            except MeshAPIError as error:
                seen.append(error)
                yield Wait(2)
        return "all the same"

    call = call_of(steps())
    for model in "abc":
        assert url(call).endswith(model)
        answered(call, status=404)
        assert (call.next_action(), call.error) == (Wait(2), None)
        call.wait_elapsed()
    assert (call.next_action(), call.result) == (Done(), "all the same")
    assert [type(error) for error in seen] == [NotFoundError] * 3


def test_a_generator_that_lets_a_failure_pass_fails_with_it():
    """With the very error, its cause still chained, and nothing of the generator's frames."""
    cause = OSError("reset")

    def steps():
        try:
            yield ask(max_retries=0)
        except KeyError:
            yield []

    call = call_of(steps())
    call.receive_failure(Failure.CONNECT, cause)
    error = failed(call)
    assert (type(error), error.__cause__, error.__context__) == (APIConnectionError, cause, None)
    assert error is call._call.error
    with pytest.raises(APIConnectionError) as caught:
        _ = call.result
    assert caught.value is error
    assert "steps" not in [entry.name for entry in caught.traceback]


def test_raising_an_error_again_does_not_grow_its_traceback():
    """Each time it starts anew from where it is raised."""

    def steps():
        yield ask()

    call = answered(call_of(steps()), status=404)
    lengths = set()
    for _ in range(3):
        with pytest.raises(MeshAPIError) as caught:
            call.next_action()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_events_come_before_the_error():
    """What had come of a file before the connection broke is handed out, while next_action already raises."""

    def steps():
        yield [0]
        yield lines()

    call = items_of(steps())
    call.receive_response(200, {})
    call.receive_data(b'{"a": 1}\n{"a": 2}\n{"a"')
    call.receive_failure(Failure.CONNECTION_LOST)
    error = failed(call)
    assert (error.error_code, list(call.events()), list(call.events())) == (
        "stream_interrupted",
        [0, {"a": 1}, {"a": 2}],
        [],
    )
    assert failed(call) is error


def test_what_one_step_results_in_is_told_to_the_next():
    """The value of a call; nothing for a row of items, whose items were handed out."""
    told = []

    def steps():
        told.append((yield ask()))
        told.append((yield lines()))
        told.append((yield Wait(1)))
        told.append((yield ["item"]))

    call = items_of(steps())
    answered(call)
    answered(call, b"{}")
    call.wait_elapsed()
    assert (told[0].id, told[1:]) == ("x", [None, None, None])
    assert call.next_action() == Done()


def test_retries_within_a_step_are_not_the_generator_s():
    """The call itself waits and tries again; the generator hears of the outcome alone."""

    def steps():
        return (yield ask(max_retries=2))

    call = call_of(steps())
    for seconds in (0.5, 1.0):
        answered(call, b"busy", 503)
        assert (call.next_action(), call.error) == (Wait(seconds), None)
        call.wait_elapsed()
        assert (call.response.status, call.state) == (503, State.SEND_REQUEST)
    assert answered(call).result.id == "x"


# --- no more time ------------------------------------------------------------------------------------------------


def stubborn():
    """Steps that never give up by themselves, and the errors that they were thrown."""
    seen = []

    def steps():
        while True:
            try:
                yield ask()
                yield Wait(7)
            except MeshAPIError as error:
                seen.append(error)
                yield [len(seen)]

    return items_of(steps()), seen


@pytest.mark.parametrize("begin", [
    lambda c: None, lambda c: c.request_sent(), lambda c: c.receive_response(200, JSON),
    lambda c: c.receive_failure(Failure.CONNECT), answered,
], ids=["to send", "sent", "answered", "to be tried again", "between"])  # fmt: skip
def test_the_time_for_the_whole_call_is_never_extended(begin):
    """DEADLINE is final wherever the call stands, though the generator would go on; it hears of it, and is closed."""
    call, seen = stubborn()
    begin(call)
    call.receive_failure(Failure.DEADLINE)
    error = failed(call)
    assert seen == [error]
    assert list(call.events()) == [1]
    assert call._steps.gi_frame is None
    call.receive_failure(Failure.DEADLINE)
    assert failed(call) is error


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failure_while_the_call_waits_is_final(failure):
    """Whoever drives it will not wait: neither for another try nor for another step."""
    call, _ = stubborn()
    answered(call, b'{"error": {"message": "busy"}}', 503)
    assert isinstance(call.next_action(), Wait)
    call.receive_failure(failure)
    assert (failed(call).status, failed(call).message) == (503, "busy")
    call, _ = stubborn()
    answered(call)
    assert call.next_action() == Wait(7)
    cause = OSError("why")
    call.receive_failure(failure, cause)
    error = failed(call)
    assert isinstance(error, APIConnectionError)
    assert error.__cause__ is cause


def test_a_wait_that_is_too_long_is_told_as_such():
    """Of the whole call's time, which no answer took: it names no request."""
    call, _ = stubborn()
    answered(call)
    call.receive_failure(Failure.DEADLINE)
    error = failed(call)
    assert type(error) is APITimeoutError
    assert error.message == "the time for the whole call was used up while waiting"
    assert (error.status, error.request_id) == (0, "")
    assert call.request_id == "req-1"


def test_another_failure_is_not_final_while_a_request_is_under_way():
    """The generator may go on after it."""
    call, seen = stubborn()
    for _ in range(2):
        call.receive_failure(Failure.CONNECTION_LOST)
        call.wait_elapsed() if call.state is State.WAIT else None
    assert (len(seen), call.state, call.error) == (1, State.SEND_REQUEST, None)
    assert list(call.events()) == [1]


def test_a_generator_may_still_end_well_when_there_is_no_more_time():
    """What it has by then is a value, and costs no more time."""

    def steps():
        try:
            yield ask()
        except MeshAPIError as error:
            return error.error_code

    call = call_of(steps())
    call.receive_failure(Failure.DEADLINE)
    assert (call.next_action(), call.result) == (Done(), "timeout")


def test_the_error_that_is_final_may_be_another_than_the_one_thrown():
    """The generator has the last word on what its call fails with."""

    def steps():
        try:
            yield Wait(1)
        except APITimeoutError as error:
            raise ResponseParseError("mine", error_code="parse_error") from error

    call = call_of(steps())
    call.receive_failure(Failure.DEADLINE)
    assert failed(call).message == "mine"
    assert type(failed(call).__cause__) is APITimeoutError


# --- anything at all ---------------------------------------------------------------------------------------------

STEPS = {
    "wait": lambda: Wait(7),
    "call": lambda: ask(max_retries=0),
    "bold call": lambda: ask(max_retries=2),
    "lines": lambda: lines(max_retries=1),
    "stream": lambda: events(max_retries=1),
}
PROGRAMS = st.lists(st.sampled_from([*STEPS, "items", "no items"]), max_size=5)


class AnySteps(RuleBasedStateMachine):
    """Random programs under random reports, legal and illegal; after each the call is in order."""

    @initialize(program=PROGRAMS, is_row=st.booleans(), survives=st.booleans(), fails=st.booleans())
    def begin(self, program, is_row, survives, fails):
        self.survives, self.is_row = survives, is_row
        self.due, self.taken, self.error, self.thrown = [], [], None, []
        self.is_final = False
        self.call = (items_of if is_row else call_of)(self.steps(program, fails))

    def steps(self, program, fails):
        for number, what in enumerate(program):
            try:
                if what in ("items", "no items"):
                    items = [number] if what == "items" else []
                    self.due += items
                    yield items
                else:
                    yield STEPS[what]()
            except MeshAPIError as error:
                self.thrown.append(error)
                if not self.survives:
                    raise
        if fails:
            raise ResponseParseError("in the end", error_code="parse_error")
        return "the end"

    def is_in(self, *states):
        return self.call.state in states

    @precondition(lambda self: self.is_in(State.SEND_REQUEST))
    @rule()
    def send(self):
        self.call.request_sent()

    @precondition(lambda self: self.is_in(State.SEND_REQUEST, State.RECEIVE_RESPONSE))
    @rule(status=st.sampled_from([100, 200, 200, 404, 503]), headers=st.sampled_from([SSE, JSON]))
    def respond(self, status, headers):
        self.call.receive_response(status, headers)

    @precondition(lambda self: self.is_in(State.RECEIVE_BODY, State.RECEIVE_EVENTS))
    @rule(data=st.sampled_from([b"", b'{"a": 1}', b'{"a": 1}\n', b"\n", b"{", CHUNK, b"data: [DONE]\n\n", b"junk\n"]))
    def receive(self, data):
        self.call.receive_data(data)

    @precondition(lambda self: self.is_in(State.RECEIVE_BODY, State.RECEIVE_EVENTS))
    @rule()
    def end(self):
        self.call.receive_eof()

    @precondition(lambda self: not self.call.is_over)
    @rule(failure=st.sampled_from(list(Failure)))
    def fail(self, failure):
        is_last = failure is Failure.DEADLINE or self.is_in(State.WAIT)
        self.call.receive_failure(failure)
        if is_last:
            assert self.call.is_over

    @precondition(lambda self: self.is_in(State.WAIT))
    @rule()
    def wait(self):
        self.call.wait_elapsed()

    @rule(move=st.sampled_from(sorted(INPUTS, key=lambda move: move.name)))
    def err(self, move):
        if move not in TRANSITIONS[self.call.state]:
            before = snapshot(self.call)
            with pytest.raises(LocalProtocolError):
                INPUTS[move](self.call)
            assert snapshot(self.call) == before

    @precondition(lambda self: self.is_row)
    @rule()
    def take_items(self):
        self.taken += [item for item in self.call.events() if isinstance(item, int)]
        assert list(self.call.events()) == []
        assert self.taken == self.due

    @invariant()
    def the_action_belongs_to_the_state(self):
        state = self.call.state
        repr(self.call)
        assert self.call.is_over == (state in (State.DONE, State.FAILED))
        if state is State.FAILED:
            error = failed(self.call)
            assert self.error in (None, error)
            assert error.message == "in the end" or error in self.thrown
            self.error = error
            return
        assert self.error is self.call.error is None
        action = self.call.next_action()
        assert action is self.call.next_action()
        assert isinstance(action, KINDS.get(state, type(NEED_DATA)))
        if not self.is_row:
            assert list(self.call.events()) == []
            if state is State.DONE:
                assert self.call.result == "the end"
            else:
                with pytest.raises(LocalProtocolError):
                    _ = self.call.result


TestAnySteps = AnySteps.TestCase
TestAnySteps.settings = settings(deadline=None, database=None, max_examples=100, stateful_step_count=15)
