"""Batches from their upload to their results: what is checked before, how one is waited for, how lines are read."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BatchObject,
    BatchRequestItem,
    BatchResult,
    Done,
    Failure,
    InternalServerError,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    NotFoundError,
    RateLimitError,
    ResponseParseError,
    RetryPolicy,
    SendRequest,
    State,
    StreamInterruptedError,
    Timeout,
    Wait,
)

JSON = {"content-type": "application/json", "x-request-id": "req-1"}
# Without retries of single requests, so that what is seen is the polls.
CONFIG = MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC", retry=RetryPolicy(0))
BATCHES = MeshAPICore(CONFIG).batches
ENDS = ["completed", "failed", "expired", "cancelled"]


def answered(call, body=b"{}", status=200, headers=JSON):
    call.receive_response(status, headers)
    call.receive_data(body if isinstance(body, bytes) else json.dumps(body).encode())
    if call.state is State.RECEIVE_BODY:
        call.receive_eof()
    return call


def failed(call):
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    assert call.state is State.FAILED
    return caught.value


def path(call):
    action = call.next_action()
    assert isinstance(action, SendRequest)
    assert action.request.method == "GET"
    return action.request.url[len("https://host") :]


def found(status, **fields):
    return {"id": "b", "status": status, **fields}


# --- waiting -----------------------------------------------------------------------------------------------------


def polled(call, *answers):
    """The pauses after each of these answers, the last of which may end the call."""
    pauses = []
    for answer in answers:
        assert path(call) == "/v1/batches/b"
        if isinstance(answer, Failure):
            call.receive_failure(answer)
        else:
            answered(call, *(answer if isinstance(answer, tuple) else (answer,)))
        if call.state is State.WAIT:
            pauses.append(call.next_action().seconds)
            call.wait_elapsed()
    return pauses


@pytest.mark.parametrize("end", ENDS)
def test_a_batch_is_polled_until_it_is_through(end):
    """However it ends; the pauses are those that were asked for; progress is told each time."""
    seen = []
    call = BATCHES.wait("b", poll_interval=2.5, on_progress=lambda batch: seen.append(batch.status))
    begun = ["validating", "in_progress", None, "finalizing", "cancelling", "novel"]
    assert polled(call, *(found(status) for status in begun)) == [2.5] * len(begun)
    assert seen == begun
    assert polled(call, found(end, output_file_id="f")) == []
    assert call.next_action() == Done()
    assert (call.result.status, call.result.output_file_id, call.result.request_id) == (end, "f", "req-1")
    assert seen == [*begun, end]


def test_the_usual_pause_is_five_seconds():
    """From one answer to the next poll."""
    assert polled(BATCHES.wait("b"), found("in_progress")) == [5.0]
    assert polled(BATCHES.wait("b", poll_interval=1), found("in_progress")) == [1]


@pytest.mark.parametrize("interval", [0, -1, -0.5, math.nan, True, False, "5", None, [1]])
def test_an_interval_that_cannot_be_meant_is_refused(interval):
    """At the call, before anything is sent."""
    with pytest.raises(ValueError, match="poll_interval must be a number of seconds above 0, not"):
        BATCHES.wait("b", poll_interval=interval)


def test_an_endless_interval_is_refused():
    """The call would never go on; a Timeout refuses the like."""
    with pytest.raises(ValueError, match="poll_interval"):
        BATCHES.wait("b", poll_interval=math.inf)


PASSING = {
    "429": (b"{}", 429),
    "500": (b"{}", 500),
    "502": (b"<html>", 502),
    "503": (b"{}", 503),
    "504": (b"{}", 504),
    "529": (b"{}", 529),
    "html": (b"<html>",),
    "nothing": (b"",),
    "wrong shape": (b"[]",),
    **{failure.value: failure for failure in Failure if failure is not Failure.DEADLINE},
}


@pytest.mark.parametrize("hiccup", PASSING.values(), ids=PASSING)
def test_a_poll_that_fails_for_a_while_is_not_the_end(hiccup):
    """The next one is made as if nothing had happened; nine in a row may fail, time after time."""
    seen = []
    call = BATCHES.wait("b", poll_interval=2, on_progress=lambda batch: seen.append(batch.status))
    for _ in range(3):
        assert polled(call, *[hiccup] * 9, found("in_progress")) == [2] * 10
    assert polled(call, hiccup, found("completed")) == [2]
    assert call.result.status == "completed"
    assert seen == ["in_progress"] * 3 + ["completed"]


@pytest.mark.parametrize(
    ("name", "error_type"),
    [
        ("503", InternalServerError),
        ("429", RateLimitError),
        ("html", ResponseParseError),
        ("timeout", APITimeoutError),
        ("connection lost", APIConnectionError),
    ],
)
def test_ten_polls_in_a_row_that_fail_are_the_end(name, error_type):
    """With the error of the last, which has the batch as it was last seen."""
    call = BATCHES.wait("b", poll_interval=2)
    assert polled(call, found("in_progress", n=1), found("in_progress", n=2), *[PASSING[name]] * 10) == [2] * 11
    error = failed(call)
    assert type(error) is error_type
    assert error.partial.n == 2


def test_no_batch_was_seen_if_all_polls_failed():
    """There is then no partial."""
    call = BATCHES.wait("b", poll_interval=2)
    polled(call, *[Failure.CONNECT] * 10)
    assert failed(call).partial is None


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 302])
def test_what_will_not_pass_ends_it_at_once(status):
    """A wrong key, a wrong id; the batch as it was last seen is told."""
    call = BATCHES.wait("b", poll_interval=2)
    assert polled(call, found("in_progress"), (b"{}", status)) == [2]
    error = failed(call)
    assert (error.status, error.partial.status) == (status, "in_progress")
    assert type(error) is {401: AuthenticationError, 404: NotFoundError}.get(status, type(error))


@pytest.mark.parametrize(
    ("retry_after", "pause"), [("0", 2), ("1", 2), ("2", 2), ("60", 60), ("3600", 3600), ("soon", 2)]
)
def test_retry_after_is_obeyed_where_it_asks_for_longer(retry_after, pause):
    """The pause is never shorter than what the gateway asks for, and never shorter than what the caller does."""
    call = BATCHES.wait("b", poll_interval=2)
    for status in (429, 503):
        assert polled(call, (b"{}", status, {"Retry-After": retry_after})) == [pause]
    # What another poll asked for does not matter any more.
    assert polled(call, (b"{}", 503), found("in_progress")) == [2, 2]


def test_single_requests_are_tried_again_before_a_poll_has_failed():
    """As for any GET; the waits between the tries are those of the policy."""
    call = MeshAPICore(MeshAPIConfig("https://host", token="t")).batches.wait("b", poll_interval=9, max_retries=2)
    busy = (b"{}", 503)
    assert polled(call, busy, busy, busy, busy, found("in_progress"), Failure.CONNECTION_LOST) == [
        0.5,
        1.0,
        9,
        0.5,
        9,
        0.5,
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Timeout(60, 60, None)),
        ({"timeout": None}, Timeout(60, 60, None)),
        ({"timeout": 3600}, Timeout(60, 60, 3600)),
        ({"timeout": 0.5}, Timeout(60, 60, 0.5)),
        ({"timeout": Timeout(1, 2, 3)}, Timeout(1, 2, 3)),
        ({"timeout": Timeout(1, 2)}, Timeout(1, 2, None)),
    ],
)
def test_a_number_is_the_time_for_the_whole(given, expected):
    """Not for the single poll, whose limits stay the client's."""
    assert BATCHES.wait("b", **given).timeout == expected


def test_the_clients_own_limit_stands_where_none_is_given():
    """A number replaces its total alone."""
    batches = MeshAPICore(MeshAPIConfig(token="t", timeout=Timeout(1, 2, 99))).batches
    assert batches.wait("b").timeout == Timeout(1, 2, 99)
    assert batches.wait("b", timeout=7).timeout == Timeout(1, 2, 7)


@pytest.mark.parametrize("timeout", [0, -1, "5", True, math.nan, math.inf])
def test_a_timeout_that_cannot_be_meant_is_refused(timeout):
    """At the call."""
    with pytest.raises(ValueError, match="timeout"):
        BATCHES.wait("b", timeout=timeout)


@pytest.mark.parametrize("where", ["poll", "pause", "pause after a failure", "retry"])
def test_when_the_time_is_over_the_batch_as_it_was_last_seen_is_told(where):
    """Be it in the middle of a poll or of a pause: it is final, and not one of the failures that may pass."""
    call = BATCHES.wait("b", max_retries=1)
    answered(call, found("in_progress"))
    if where != "pause":
        call.wait_elapsed()
    if where == "pause after a failure":
        for _ in range(2):
            answered(call, b"[]")
            assert call.next_action() == Wait(5)
            call.wait_elapsed()
        answered(call, b"[]")
    if where == "retry":
        answered(call, b"{}", 503)
        assert call.next_action() == Wait(0.5)
    call.receive_failure(Failure.DEADLINE)
    error = failed(call)
    if where == "retry":
        assert error.status == 503
    else:
        assert type(error) is APITimeoutError
        assert error.message.startswith("the time for the whole call was used up while waiting")
    assert error.partial.status == "in_progress"


def test_who_does_not_want_to_wait_before_the_first_answer_has_nothing_to_show():
    """The error has no partial."""
    call = BATCHES.wait("b")
    call.receive_failure(Failure.DEADLINE)
    assert failed(call).partial is None


def test_what_on_progress_raises_ends_the_wait():
    """It passes through as it is."""

    def stop(batch):
        raise KeyboardInterrupt

    call = BATCHES.wait("b", on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        answered(call, found("in_progress"))
    assert call.is_over


def test_the_options_go_with_every_poll():
    """Headers and the like, but not the time for the whole."""
    call = BATCHES.wait("b", timeout=7, extra_headers={"X-A": "b"}, extra_query={"q": 1})
    for _ in range(2):
        request = call.next_action().request
        assert (dict(request.headers)["X-A"], request.url) == ("b", "https://host/v1/batches/b?q=1")
        answered(call, found("in_progress"))
        call.wait_elapsed()


# --- results -----------------------------------------------------------------------------------------------------


def line(name, **fields):
    return json.dumps({"id": f"r-{name}", "custom_id": name, **fields}, ensure_ascii=False).encode()


def batch(**fields):
    return BatchObject.model_validate(found("completed", **fields))


def reading(*pieces, **options):
    """The results of a batch with one output file, of which these pieces have come."""
    call = BATCHES.results(batch(output_file_id="f"), **options)
    call.receive_response(200, JSON)
    for piece in pieces:
        call.receive_data(piece)
    return call


def ids(results):
    return [result.custom_id for result in results]


def test_results_by_the_id_of_the_batch():
    """First the batch is got, then its output file, then its error file; each result knows its request."""
    call = BATCHES.results("b")
    assert path(call) == "/v1/batches/b"
    answered(call, found("completed", output_file_id="out/1", error_file_id="err"))
    assert (path(call), list(call.events())) == ("/v1/files/out%2F1/content", [])
    answered(call, line("a") + b"\n" + line("b") + b"\n", headers={"x-request-id": "req-2"})
    first = list(call.events())
    assert (ids(first), [result.request_id for result in first]) == (["a", "b"], ["req-2", "req-2"])
    assert {type(result) for result in first} == {BatchResult}
    assert path(call) == "/v1/files/err/content"
    answered(call, line("c", error={"message": "no"}))
    assert call.next_action() == Done()
    (last,) = list(call.events())
    assert (last.custom_id, last.is_success, last.error.message) == ("c", False, "no")


def test_results_of_a_batch_that_was_got_before():
    """It is not got again, and its files are asked for as such."""
    call = BATCHES.results(batch(output_file_id="f"), extra_headers={"X-A": "b"})
    assert path(call) == "/v1/files/f/content"
    assert dict(call.next_action().request.headers)["Accept"] == "*/*"
    assert dict(call.next_action().request.headers)["X-A"] == "b"
    assert answered(call, line("a")).next_action() == Done()


@pytest.mark.parametrize("status", ["in_progress", "failed", None, "completed"])
def test_a_file_is_read_whatever_the_status(status):
    """Where there is one there is something to read, if only the errors."""
    for name in ("output_file_id", "error_file_id"):
        call = BATCHES.results(BatchObject.model_validate({"status": status, name: "f"}))
        assert path(call) == "/v1/files/f/content"
        assert ids(answered(call, line("a")).events()) == ["a"]
        assert call.next_action() == Done()


def test_results_within_the_batch():
    """Without any file, those that stand in the batch itself: the successes, then the errors; no request is sent."""
    requests = {"a": BatchRequestItem(custom_id="a", body={}), "x": BatchRequestItem(custom_id="x", body={})}
    inline = batch(results=[{"custom_id": "a"}], errors_detail=[{"custom_id": "b", "error": {"code": "c"}}])
    call = BATCHES.results(inline, requests=requests)
    assert call.next_action() == Done()
    first, second = list(call.events())
    assert (first.custom_id, first.request) == ("a", requests["a"])
    assert (second.custom_id, second.request, second.is_success) == ("b", None, False)
    call = BATCHES.results("b")
    answered(call, found("in_progress", results=[{"custom_id": "half \ud800"}]))
    assert call.next_action() == Done()
    (only,) = list(call.events())
    assert (only.custom_id, only.request_id) == ("half \ufffd", "req-1")


def test_what_stands_in_the_batch_does_not_matter_where_there_is_a_file():
    """It would come twice."""
    call = BATCHES.results(batch(results=[{"custom_id": "a"}], output_file_id="f"))
    assert ids(answered(call, line("b")).events()) == ["b"]
    assert call.next_action() == Done()


def test_a_result_within_the_batch_that_is_none_is_a_parse_error():
    """As a line would be."""
    error = failed(BATCHES.results(batch(results=[{"custom_id": "a"}, {"response": "x"}])))
    assert type(error) is ResponseParseError
    assert "could not be read as BatchResult (response: " in error.message
    assert '{"response": "x"}' in error.message


@pytest.mark.parametrize("end", ENDS)
def test_a_batch_that_ended_without_results_has_none(end):
    """Neither files nor anything in itself."""
    call = BATCHES.results("b")
    answered(call, found(end, output_file_id="", results=[]))
    assert (call.next_action(), list(call.events())) == (Done(), [])


@pytest.mark.parametrize("status", ["in_progress", None, "finalizing"])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_batch_under_way_has_no_results_yet(status, by_id):
    """The error says what to do, and has the batch."""
    if by_id:
        call = answered(BATCHES.results("b"), found(status))
    else:
        call = BATCHES.results(BatchObject.model_validate(found(status)))
    error = failed(call)
    assert type(error) is MeshAPIError
    assert (error.error_code, error.status, error.request_id) == ("batch_not_finished", 0, "req-1" if by_id else "")
    assert error.message == (
        f"the batch b is still {status}: its results come when it is through; wait for it with batches.wait(id)"
    )
    assert (error.partial.id, error.partial.status) == ("b", status)
    assert list(call.events()) == []


def test_each_result_has_its_request():
    """Where it is known: any mapping will do, and one that is asked for a name that is none of a request's."""
    requests = {name: BatchRequestItem(custom_id=name, body={"n": name}) for name in "ab"}
    call = reading(line("b") + b"\n" + line("x") + b"\n" + b'{"custom_id": null}\n' + line("a"), requests=requests)
    call.receive_eof()
    assert [result.request for result in call.events()] == [requests["b"], None, None, requests["a"]]


# Whole lines of a file, each as what it may be read as.
FILE = line("a") + b"\n" + line("é\u2028\x85😀") + b"\n" + line("c", response={"body": "x" * 300})
NAMES = ["a", "é\u2028\x85😀", "c"]
FORMS = {
    "plain": FILE,
    "ended": FILE + b"\n",
    "CRLF": FILE.replace(b"\n", b"\r\n") + b"\r\n",
    "blank lines": b"\n\n" + FILE.replace(b"\n", b"\n \t\r\n\n") + b"\n\n  ",
    "BOM": b"\xef\xbb\xbf" + FILE,
    "BOM on a line of its own": b"\xef\xbb\xbf\r\n" + FILE,
    "a BOM in each": FILE.replace(b"\n", b"\n\xef\xbb\xbf"),
    "spaces around": b"  " + FILE.replace(b"\n", b"\t\n  ") + b"  ",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_lines_come_out_the_same_byte_by_byte(body):
    """Wherever they are cut, a character in two included; with any line ends, blank lines, a byte order mark."""
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        call = reading(*pieces)
        call.receive_eof()
        assert call.next_action() == Done()
        assert ids(list(call.events())) == NAMES


@pytest.mark.parametrize("cut", range(0, len(FILE) + 1, 7))
def test_lines_come_out_the_same_whichever_way_they_are_split(cut):
    """In two pieces, the line that is not yet whole is held back."""
    call = reading(FILE[:cut])
    before = ids(list(call.events()))
    assert before == NAMES[: FILE[:cut].count(b"\n")]
    call.receive_data(FILE[cut:])
    call.receive_eof()
    assert before + ids(list(call.events())) == NAMES


@settings(deadline=None, database=None, max_examples=50)
@given(
    st.lists(st.text(max_size=4).filter(lambda name: name.isprintable()), max_size=4),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.booleans(),
    st.lists(st.integers(min_value=0), max_size=5),
)
def test_any_lines_in_any_pieces(names, end, is_ended, cuts):
    """Whatever the names, the line ends and the pieces."""
    body = end.join(line(name) for name in names) + (end if is_ended else b"")
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    call = reading(*(body[a:b] for a, b in zip(edges, edges[1:])))
    call.receive_eof()
    assert ids(list(call.events())) == names


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_lines_has_no_results(body):
    """And is none the worse for it."""
    call = reading(body) if body else reading()
    call.receive_eof()
    assert (call.next_action(), list(call.events())) == (Done(), [])


def test_bytes_that_are_not_utf_8_do_not_cost_the_line():
    """Each becomes the character that stands for the unreadable; half a surrogate pair, too."""
    call = reading(b'{"custom_id": "a\xff\xe2\x82"}\n{"custom_id": "\\ud83d"}')
    call.receive_eof()
    assert ids(list(call.events())) == ["a\ufffd\ufffd", "\ufffd"]


@pytest.mark.parametrize("bad", [b"junk", b"[1]", b'{"custom_id": ', b'{"response": 5}', b"null", b"[" * 3000, b"\0"])
@pytest.mark.parametrize("is_ended", [True, False])
def test_a_line_that_cannot_be_read_ends_it_after_the_good_ones(bad, is_ended):
    """It is quoted; what follows is not read, and nothing is tried again."""
    body = line("a") + b"\n\n" + line("b") + b"\n" + bad
    call = reading(body[:30], body[30:] + (b"\n" + line("c") + b"\n" if is_ended else b""), max_retries=3)
    if not is_ended:
        call.receive_eof()
    assert ids(list(call.events())) == ["a", "b"]
    error = failed(call)
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert "could not be read as BatchResult" in error.message
    assert bad.decode().strip()[:500] in error.message
    call.receive_data(line("d") + b"\n")
    call.receive_eof()
    assert list(call.events()) == []


@pytest.mark.parametrize("max_retries", [0, 3])
def test_a_lost_connection_comes_after_the_whole_lines(max_retries):
    """What had come in part is no line, even if it looks like one; a file that has begun is not asked for again."""
    cause = OSError("reset")
    call = reading(line("a") + b"\n" + line("b"), max_retries=max_retries)
    call.receive_failure(Failure.CONNECTION_LOST, cause)
    assert ids(list(call.events())) == ["a"]
    error = failed(call)
    assert type(error) is StreamInterruptedError
    assert (error.error_code, error.status, error.request_id) == ("stream_interrupted", 200, "req-1")
    assert error.message == "the connection was lost before the file's end"
    assert error.__cause__ is cause


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.DEADLINE])
def test_a_file_that_stops_coming_is_a_timeout(failure):
    """After the lines that had come, and not tried again."""
    call = reading(line("a") + b"\n", max_retries=3)
    call.receive_failure(failure)
    assert (ids(list(call.events())), type(failed(call))) == (["a"], APITimeoutError)


def test_a_file_is_asked_for_again_before_its_first_byte():
    """As any GET: after a status that says so, or a connection that was lost; then it is as if nothing had been."""
    core = MeshAPICore(MeshAPIConfig("https://host", token="t"))
    call = core.batches.results(batch(output_file_id="f"))
    answered(call, b'{"error": "busy"}\nmore', 503)
    assert (call.next_action(), list(call.events())) == (Wait(0.5), [])
    call.wait_elapsed()
    call.receive_response(200, JSON)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert call.next_action() == Wait(1.0)
    call.wait_elapsed()
    assert path(call) == "/v1/files/f/content"
    assert ids(answered(call, line("a")).events()) == ["a"]
    assert call.next_action() == Done()


def test_no_bytes_are_not_the_first_byte():
    """An empty piece means nothing."""
    call = reading(b"", max_retries=1)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert call.next_action() == Wait(0.5)


def test_a_file_that_is_not_there_is_its_error():
    """The body tells why, and is not read as lines."""
    call = answered(BATCHES.results(batch(output_file_id="f")), b'{"error": {"message": "gone"}}', 404)
    error = failed(call)
    assert (type(error), error.message, list(call.events())) == (NotFoundError, "gone", [])


def test_an_error_of_the_second_file_comes_after_the_results_of_the_first():
    """What had been read was read."""
    call = BATCHES.results(batch(output_file_id="out", error_file_id="err"))
    answered(call, line("a"))
    answered(call, b"{}", 500)
    assert (ids(list(call.events())), failed(call).status) == (["a"], 500)


def test_no_more_than_a_line_is_held():
    """However long the file is."""
    call = reading()
    held = []
    for number in range(100):
        call.receive_data(line(str(number)) + b"\n" + b'{"custom_id"')
        held.append(sum(map(len, call._call._pieces)) + sum(map(len, call._call._body)))
        call.receive_data(b': "x"}\n')
        assert len(list(call.events())) == 2
    assert max(held) == min(held) == len(b'{"custom_id"')


# --- uploading ---------------------------------------------------------------------------------------------------

BODY = {"model": "m", "messages": []}
ITEM = BatchRequestItem(custom_id="a", body=BODY)


def uploaded(requests):
    request = BATCHES.upload(requests).next_action().request
    assert (request.method, request.url) == ("POST", "https://host/v1/files")
    body = json.loads(request.content)
    assert body["purpose"] == "batch"
    return body["requests"]


SENT = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
TEXT = json.dumps({"custom_id": "a", "body": BODY})
FORMS_OF_A_REQUEST = {
    "item": ITEM,
    "mapping": {"custom_id": "a", "body": BODY},
    "text": TEXT,
    "line": TEXT + "\n",
    "CRLF": f"  {TEXT} \r\n",
    "BOM": "\ufeff" + TEXT,
    "bytes": TEXT.encode(),
    "bytes with a BOM": b"\xef\xbb\xbf" + TEXT.encode() + b"\r\n",
}


@pytest.mark.parametrize("form", FORMS_OF_A_REQUEST.values(), ids=FORMS_OF_A_REQUEST)
def test_a_request_may_come_in_any_form(form):
    """As it is, as a mapping, as a line of text or of bytes; in a list or in any other iterable."""
    for requests in ([form], (form,), iter([form]), (each for each in [form])):
        assert uploaded(requests) == [SENT]


@pytest.mark.parametrize("blank", ["", "\n", " \t\r\n", b"", b"\n", b" \r\n", "\ufeff\n", b"\xef\xbb\xbf\n"])
def test_empty_lines_are_passed_over(blank):
    """Before, between and after; they are counted all the same."""
    other = {"custom_id": "b", "body": {}}
    sent = uploaded([blank, ITEM, blank, other, blank])
    assert [request["custom_id"] for request in sent] == ["a", "b"]
    with pytest.raises(ValueError, match=r"^line 4: "):
        BATCHES.upload([blank, ITEM, blank, "junk"])


def test_what_a_request_says_goes_out_unchanged():
    """Its own method and URL, and a body of any kind."""
    body = {"a": None, "é": [1.5, {"b": "\u2028"}]}
    request = {"custom_id": "😀", "method": "PUT", "url": "/v1/embeddings", "body": body}
    for form in (request, json.dumps(request), json.dumps(request, ensure_ascii=False).encode()):
        assert uploaded([form]) == [request]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("junk", "Expecting value: line 1 column 1"),
        ('{"custom_id": "z", "body": ', "Expecting value: line 1 column 28"),
        (b'{"custom_id": "\xff", "body": {}}', "'utf-8' codec can't decode byte 0xff"),
        ("[" * 100_000, ""),
        ("[]", "a request is a JSON object, not list"),
        ("null", "a request is a JSON object, not NoneType"),
        (b'"text"', "a request is a JSON object, not str"),
        (None, "a request is a JSON object, not NoneType"),
        (7, "a request is a JSON object, not int"),
        (["a"], "a request is a JSON object, not list"),
        ({}, "custom_id: Field required"),
        ('{"custom_id": "z"}', "body: Field required"),
        ('{"custom_id": null, "body": {}}', "custom_id: Input should be a valid string"),
        ('{"custom_id": "z", "body": []}', "body: Input should be a valid dictionary"),
        ('{"custom_id": "z", "body": {}, "boddy": 1}', "boddy: Extra inputs are not permitted"),
        ({"custom_id": 7, "body": {}}, "custom_id: Input should be a valid string"),
        ({7: 1}, "keywords must be strings"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_by_its_line(bad, problem):
    """Counted from 1; nothing is sent."""
    for number in (1, 3):
        good = [{"custom_id": str(n), "body": {}} for n in range(1, number)]
        with pytest.raises(ValueError) as caught:
            BATCHES.upload([*good, bad])
        assert str(caught.value).startswith(f"line {number}: ")
        assert problem in str(caught.value)


@pytest.mark.parametrize("first", FORMS_OF_A_REQUEST.values(), ids=FORMS_OF_A_REQUEST)
def test_an_id_that_is_given_twice_is_told_with_both_lines(first):
    """Results are found by it."""
    with pytest.raises(ValueError, match=r"^line 4: custom_id 'a' is that of line 2 already$"):
        BATCHES.upload([{"custom_id": "b", "body": {}}, first, "", ITEM])


@pytest.mark.parametrize("nothing", [[], (), iter([]), ["", "\n"], [b" "]])
def test_without_requests_there_is_nothing_to_upload(nothing):
    """An empty file is a mistake of the caller's."""
    with pytest.raises(ValueError, match=r"^there are no requests to upload$"):
        BATCHES.upload(nothing)


@pytest.mark.parametrize(("whole", "kind"), [(TEXT, "str"), (TEXT.encode(), "bytes"), ({"custom_id": "a"}, "dict")])
def test_one_text_or_mapping_is_not_many(whole, kind):
    """It would be read character by character, or key by key."""
    with pytest.raises(
        TypeError, match=f"requests must be an iterable of requests or lines, not one {kind}; for a file"
    ):
        BATCHES.upload(whole)


def test_what_an_iterable_raises_passes_through():
    """It is none of ours."""

    def broken():
        yield ITEM
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        BATCHES.upload(broken())
    with pytest.raises(TypeError, match="not iterable"):
        BATCHES.upload(5)


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"custom_id": "a", "body": {"x": math.nan}}, "NaN"),
        ('{"custom_id": "a", "body": {"x": NaN}}', "^line 2: JSON has no NaN"),
        (b'{"custom_id": "a", "body": {"x": -Infinity}}', "^line 2: JSON has no -Infinity"),
    ],
)
def test_what_json_cannot_say_is_refused(form, problem):
    """It does not become something else on the way."""
    with pytest.raises(ValueError, match=problem):
        BATCHES.upload(["", form])
