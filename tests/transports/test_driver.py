"""The drivers and what they share, without sockets: scripted transports, a clock that is set by hand."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import threading
import zlib

import pytest
import trio

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    BatchObject,
    ChatCompletionParams,
    Failure,
    InternalServerError,
    LocalProtocolError,
    MeshAPIConfig,
    MeshAPICore,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports import _async, _sync
from meshapi_transports._content_coding import ContentCodingError, ContentDecoder
from meshapi_transports._driver import DRAIN_BYTES, at_most
from meshapi_transports._finalizer import Finalizer
from meshapi_transports.testing.raw import chat_chunk, sse_event

PARAMS = ChatCompletionParams(messages=[{"role": "user", "content": "Say hello"}])
EVENT = sse_event(chat_chunk("Hi"))
DONE = sse_event("[DONE]")
JSON = b'{"choices": []}'


class Lost(Exception):
    """The connection was lost."""


class NotEvenMade(Lost):
    """There never was one."""


class Special(Lost):
    """A kind of loss that no table knows."""


class ScriptedAnswer:
    """An answer of scripted reads: bytes, an exception, or a function to be called first."""

    def __init__(self, transport, status, reads):
        self.status = status
        self.headers = {}
        self.transport = transport
        self.reads = list(reads)
        self.timeouts = []
        self.closed = 0
        self.aborted = 0

    def read(self, timeout):
        self.timeouts.append(timeout)
        self.transport.now += self.transport.seconds_a_read
        step = self.reads.pop(0) if self.reads else b""
        if isinstance(step, BaseException):
            raise step
        return step

    def close(self):
        self.closed += 1

    def abort(self):
        self.aborted += 1


class ScriptedTransport:
    """A transport of scripted answers, each (status, reads) or an exception."""

    failures = {Lost: Failure.CONNECTION_LOST, NotEvenMade: Failure.CONNECT}

    def __init__(self, *answers, seconds_a_read=0.0):
        self.script = list(answers)
        self.seconds_a_read = seconds_a_read
        self.now = 1000.0
        self.answers = []
        self.sent = []
        self.slept = []
        self.closed = 0

    def current_time(self):
        return self.now

    def send(self, request, timeout):
        self.sent.append(timeout)
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        answer = self.answer_class(self, *step)
        self.answers.append(answer)
        return answer

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def close(self):
        self.closed += 1

    answer_class = ScriptedAnswer


class AsyncScriptedAnswer(ScriptedAnswer):
    async def read(self, timeout):
        return ScriptedAnswer.read(self, timeout)

    async def aclose(self):
        self.close()


class AsyncScriptedTransport(ScriptedTransport):
    answer_class = AsyncScriptedAnswer

    async def send(self, request, timeout):
        return ScriptedTransport.send(self, request, timeout)

    async def sleep(self, seconds):
        ScriptedTransport.sleep(self, seconds)

    async def aclose(self):
        self.close()


def finish(coroutine):
    """Run a coroutine that waits for nothing real."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


class Blocking:
    """The blocking driver."""

    transport = ScriptedTransport
    perform = staticmethod(_sync.perform)
    items = _sync.Items
    stream = _sync.Stream
    client = _sync.BaseMeshAPI
    next = staticmethod(next)
    end = StopIteration

    @staticmethod
    def collect(stream):
        return stream.collect()

    @staticmethod
    def enter(thing):
        return thing.__enter__()

    @staticmethod
    def leave(thing):
        thing.__exit__(None, None, None)

    @staticmethod
    def close(thing):
        thing.close()


class Async:
    """The driver of coroutines."""

    transport = AsyncScriptedTransport
    items = _async.AsyncItems
    stream = _async.AsyncStream
    client = _async.BaseAsyncMeshAPI
    end = StopAsyncIteration

    @staticmethod
    def perform(transport, call):
        return finish(_async.perform(transport, call))

    @staticmethod
    def next(stream):
        return finish(stream.__anext__())

    @staticmethod
    def collect(stream):
        return finish(stream.collect())

    @staticmethod
    def enter(thing):
        return finish(thing.__aenter__())

    @staticmethod
    def leave(thing):
        finish(thing.__aexit__(None, None, None))

    @staticmethod
    def close(thing):
        finish(thing.aclose())


@pytest.fixture(params=[Blocking, Async])
def driver(request):
    return request.param


def core(**settings):
    return MeshAPICore(MeshAPIConfig(token="rsk_test", **settings)).chat.completions


def failure_of(driver, transport, call):
    with pytest.raises((APIConnectionError, InternalServerError)) as caught:
        driver.perform(transport, call)
    return caught.value


# Calls


def test_perform(driver):
    """A call is sent, read to its end and closed."""
    transport = driver.transport((200, [JSON]))
    assert driver.perform(transport, core().create(PARAMS)).choices == []
    assert transport.sent == [Timeout()]
    assert transport.answers[0].closed == 1


def test_nearest_failure(driver):
    """An exception that is not in the table counts as its nearest base that is."""
    error = failure_of(driver, driver.transport(Special()), core().create(PARAMS))
    assert "the connection was lost" in error.message
    assert type(error.__cause__) is Special
    error = failure_of(driver, driver.transport(NotEvenMade()), core().create(PARAMS, max_retries=0))
    assert "nothing was sent" in error.message


@pytest.mark.parametrize("mistake", [ZeroDivisionError(), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["send", "read"])
def test_other_exceptions_pass_through(driver, where, mistake):
    """What is not in the table is none of our business; the answer is closed all the same."""
    transport = driver.transport(mistake if where == "send" else (200, [mistake]))
    with pytest.raises(type(mistake)):
        driver.perform(transport, core().create(PARAMS))
    assert all(answer.closed == 1 for answer in transport.answers)


def test_retry(driver):
    """Before a wait the answer is closed; afterwards the request is sent again."""
    transport = driver.transport((503, []), NotEvenMade(), (200, [JSON]))
    driver.perform(transport, core().create(PARAMS))
    assert transport.slept == [0.5, 1.0]
    assert [answer.closed for answer in transport.answers] == [1, 1]


def test_wait_beyond_the_total_time(driver):
    """A wait that would outlast the call is not begun; its error is the one that was to be retried."""
    transport = driver.transport((503, []))
    error = failure_of(driver, transport, core(timeout=Timeout(total=0.5)).create(PARAMS))
    assert (type(error), error.status) == (InternalServerError, 503)
    assert transport.slept == []


def test_total_time_goes_down(driver):
    """Each step is given what is left of the total time; less than nothing is never asked for."""
    transport = driver.transport((503, []), (200, [b" ", b" ", JSON]), seconds_a_read=1.0)
    settings = {"timeout": Timeout(connect=7.0, idle=8.0, total=4.0), "retry": RetryPolicy(backoff_base=1.0)}
    error = failure_of(driver, transport, core(**settings).create(PARAMS))
    assert transport.sent == [
        Timeout(connect=7.0, idle=8.0, total=4.0),
        Timeout(connect=7.0, idle=8.0, total=2.0),
    ]
    assert transport.answers[1].timeouts == [2.0, 1.0]
    assert type(error) is APITimeoutError
    assert "whole call" in error.message


def test_failure_after_the_total_time(driver):
    """Whatever fails once the total time is over, the reason is that it is over."""
    transport = driver.transport((200, [Lost()]), seconds_a_read=5.0)
    error = failure_of(driver, transport, core(timeout=Timeout(total=5.0)).create(PARAMS))
    assert type(error) is APITimeoutError


def test_idle_time_of_a_call(driver):
    """Each read of a whole answer has the idle time to itself."""
    transport = driver.transport((200, [b" ", b" ", JSON]), seconds_a_read=3.0)
    driver.perform(transport, core(timeout=4.0).create(PARAMS))
    assert transport.answers[0].timeouts == [4.0] * 4


def test_without_limits(driver):
    """Without limits there are none."""
    transport = driver.transport((200, [JSON]), seconds_a_read=1e6)
    driver.perform(transport, core(timeout=None).create(PARAMS))
    assert transport.sent == [Timeout(None, None, None)]
    assert transport.answers[0].timeouts == [None] * 2


def test_interim_answer_that_is_taken_for_the_answer(driver):
    """A library that hands out a 1xx hands out nothing else: the call fails, and nothing is sent again."""
    transport = driver.transport((103, []))
    error = failure_of(driver, transport, core().create(PARAMS))
    assert (type(error), error.status) == (APIConnectionError, 0)
    assert len(transport.sent) == 1


# Streams


def test_idle_time_of_a_stream(driver):
    """The idle time of a stream is counted between events, from when the next is asked for."""
    comment = b": nothing\n\n"
    transport = driver.transport((200, [comment, EVENT, comment, comment, comment, EVENT]), seconds_a_read=1.5)
    stream = driver.stream(transport, core(timeout=4.0).stream(PARAMS))
    driver.next(stream)
    transport.now += 100.0
    with pytest.raises(APITimeoutError):
        driver.next(stream)
    assert transport.answers[0].timeouts == [4.0, 2.5, 4.0, 2.5, 1.0]
    assert transport.answers[0].closed == 1


def test_stream_is_drained(driver):
    """After the last event the rest of the framing is read, and the answer closed."""
    transport = driver.transport((200, [EVENT, DONE, b"ignored", b""]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    with pytest.raises(driver.end):
        driver.next(stream)
    (answer,) = transport.answers
    assert answer.reads == []
    assert answer.closed == 1


@pytest.mark.parametrize(
    ("rest", "seconds_a_read", "unread"),
    [
        ([Lost()], 0.0, 0),
        ([b"x" * DRAIN_BYTES, b"more"], 0.0, 1),
        ([b"x", b"more", b"more"], 0.3, 1),
    ],
    ids=["broken", "too much", "too slow"],
)
def test_draining_has_limits(driver, rest, seconds_a_read, unread):
    """What comes after the last event is read for a short time and up to a size only, and may break."""
    transport = driver.transport((200, [DONE, *rest]), seconds_a_read=seconds_a_read)
    stream = driver.stream(transport, core().stream(PARAMS))
    with pytest.raises(driver.end):
        driver.next(stream)
    assert len(transport.answers[0].reads) == unread
    assert transport.answers[0].closed == 1


def test_stream_ends_with_its_body(driver):
    """A stream that ends with its body has nothing to be drained."""
    finish_reason = sse_event(chat_chunk(finish_reason="stop"))
    transport = driver.transport((200, [finish_reason]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    with pytest.raises(driver.end):
        driver.next(stream)
    assert transport.answers[0].closed == 1


def test_events_before_an_error(driver):
    """Events that came along with what broke the stream are handed out first; then it raises, ever again."""
    transport = driver.transport((200, [EVENT + EVENT, Lost()]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    driver.next(stream)
    for _ in range(2):
        with pytest.raises(StreamInterruptedError):
            driver.next(stream)
    assert transport.answers[0].closed == 1


def test_events_and_an_error_in_one_piece(driver):
    """The same if an error frame comes in the same piece as the events before it."""
    transport = driver.transport((200, [EVENT + sse_event({"error": {"code": "upstream_error", "message": "no"}})]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    with pytest.raises(InternalServerError):
        driver.next(stream)
    with pytest.raises(InternalServerError):
        driver.next(stream)


def test_entering_and_leaving(driver):
    """Entering a stream reads no further than the head; leaving it closes it; both can be done again."""
    transport = driver.transport((200, [EVENT]))
    stream = driver.stream(transport, core().stream(PARAMS))
    assert driver.enter(stream) is stream
    assert driver.enter(stream) is stream
    assert transport.answers[0].timeouts == []
    driver.leave(stream)
    driver.close(stream)
    assert transport.answers[0].closed == 1
    with pytest.raises(driver.end):
        driver.next(stream)
    assert "Stream" in repr(stream)


def test_entering_after_a_retry(driver):
    """Entering a stream that may be tried again waits for the answer that is one."""
    transport = driver.transport((503, []), (200, [EVENT]))
    stream = driver.stream(transport, core().stream(PARAMS, max_retries=1))
    driver.enter(stream)
    assert stream.response.status == 200
    assert transport.slept == [0.5]
    driver.close(stream)


def test_closing_throws_away_what_was_not_taken(driver):
    """Events that had arrived are gone once the stream is closed."""
    transport = driver.transport((200, [EVENT + EVENT]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    driver.close(stream)
    with pytest.raises(driver.end):
        driver.next(stream)


def test_dropped_stream(driver):
    """A stream that is dropped in the middle lets go of its connection; one that has ended, or not begun, does not."""
    transport = driver.transport((200, [EVENT]))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    unasked = driver.stream(transport, core().stream(PARAMS))
    del stream, unasked
    gc.collect()
    (answer,) = transport.answers
    assert answer.closed + answer.aborted == 1


def test_stream_that_could_not_be_made(driver):
    """A stream whose making failed is dropped without a noise."""
    with pytest.raises(AttributeError):
        driver.stream(None, None)
    gc.collect()


@pytest.mark.parametrize("reads", [[EVENT, EVENT, DONE], [EVENT + EVENT + DONE]], ids=["pieces", "one piece"])
def test_collecting(driver, reads):
    """Collecting takes all that is left, and makes one of it and of what was taken before, as often as it is asked."""
    transport = driver.transport((200, reads))
    stream = driver.stream(transport, core().stream(PARAMS))
    driver.next(stream)
    for _ in range(2):
        assert driver.collect(stream).choices[0].message.content == "HiHi"
    assert transport.answers[0].closed == 1


def test_collecting_what_was_closed(driver):
    """What was closed before its end cannot be collected."""
    stream = driver.stream(driver.transport((200, [EVENT])), core().stream(PARAMS))
    driver.next(stream)
    driver.close(stream)
    with pytest.raises(LocalProtocolError):
        driver.collect(stream)


def test_collecting_what_broke(driver):
    """What broke raises when it is collected, each time, with what had come."""
    stream = driver.stream(driver.transport((200, [EVENT, Lost()])), core().stream(PARAMS))
    for _ in range(2):
        with pytest.raises(StreamInterruptedError) as caught:
            driver.collect(stream)
        assert caught.value.partial.choices[0].message.content == "Hi"


def test_text(driver):
    """The text passes over what has none, and is at its end where the stream is."""
    transport = driver.transport((200, [sse_event(chat_chunk("")), EVENT, sse_event(chat_chunk(None)), DONE]))
    text = driver.stream(transport, core().stream(PARAMS)).text
    assert driver.next(text) == "Hi"
    with pytest.raises(driver.end):
        driver.next(text)


# Items


def batches(**settings):
    return MeshAPICore(MeshAPIConfig(token="rsk_test", **settings)).batches


def page(*ids, more=False):
    return json.dumps({"data": [{"id": each} for each in ids], "has_more": more}).encode()


def test_items(driver):
    """An answer is closed before the next request is sent, and nothing is sent before its first item is asked for."""
    transport = driver.transport((200, [page("a", "b", more=True)]), (200, [page("c")]))
    items = driver.items(transport, batches().iterate())
    assert driver.enter(items) is items
    assert transport.sent == []
    assert [driver.next(items).id for _ in range(2)] == ["a", "b"]
    assert len(transport.sent) == 1
    assert driver.next(items).id == "c"
    assert transport.answers[0].closed == 1
    for _ in range(2):
        with pytest.raises(driver.end):
            driver.next(items)
    assert [answer.closed for answer in transport.answers] == [1, 1]
    driver.leave(items)
    assert [answer.closed for answer in transport.answers] == [1, 1]


@pytest.mark.parametrize("leave", ["close", "leave"])
def test_items_left_early(driver, leave):
    """Who stops early has the answer closed; what had come with the item is gone, and nothing more is sent."""
    transport = driver.transport((200, [page("a", "b", more=True)]))
    items = driver.items(transport, batches().iterate())
    driver.next(items)
    getattr(driver, leave)(items)
    assert transport.answers[0].closed == 1
    with pytest.raises(driver.end):
        driver.next(items)
    assert len(transport.sent) == 1


def test_items_before_an_error(driver):
    """Items that came before an error are handed out first; then it raises, ever again."""
    transport = driver.transport((200, [page("a", more=True)]), (500, []))
    items = driver.items(transport, batches().iterate())
    driver.next(items)
    for _ in range(2):
        with pytest.raises(InternalServerError):
            driver.next(items)
    assert [answer.closed for answer in transport.answers] == [1, 1]


def test_idle_time_of_items(driver):
    """Each wait for bytes has the idle time to itself, and the caller's time is not the server's."""
    lines = [b'{"custom_id": "a"}', b"\n", b'{"custom_id": "b"}\n', b""]
    transport = driver.transport((200, lines), seconds_a_read=3.0)
    batch = BatchObject(status="completed", output_file_id="file-1")
    items = driver.items(transport, batches(timeout=4.0).results(batch))
    assert driver.next(items).custom_id == "a"
    transport.now += 100.0
    assert driver.next(items).custom_id == "b"
    with pytest.raises(driver.end):
        driver.next(items)
    assert transport.answers[0].timeouts[:3] == [4.0] * 3


def test_total_time_of_items(driver):
    """The total time is that of all requests together, with the time that the caller takes between them."""
    transport = driver.transport((200, [page("a", more=True)]), (200, [page("b")]), seconds_a_read=1.0)
    items = driver.items(transport, batches(timeout=Timeout(total=10.0)).iterate())
    driver.next(items)
    transport.now += 4.0
    driver.next(items)
    assert [limits.total for limits in transport.sent] == [10.0, 4.0]


def test_total_time_of_items_that_is_over(driver):
    """Once the total time is used up, the next page is not waited for."""
    transport = driver.transport((200, [page("a", more=True)]), Lost(), seconds_a_read=1.0)
    items = driver.items(transport, batches(timeout=Timeout(total=10.0)).iterate())
    driver.next(items)
    transport.now += 40.0
    with pytest.raises(APITimeoutError, match="whole call"):
        driver.next(items)


def test_dropped_items(driver):
    """Items that are dropped in the middle let go of their connection; those not begun have none."""
    transport = driver.transport((200, [b'{"custom_id": "a"}\n', b"", b""]))
    batch = BatchObject(status="completed", output_file_id="file-1")
    items = driver.items(transport, batches().results(batch))
    driver.next(items)
    unasked = driver.items(transport, batches().results(batch))
    del items, unasked
    gc.collect()
    (answer,) = transport.answers
    assert answer.closed + answer.aborted == 1


# Calls of several requests


def status(of):
    return (200, [json.dumps({"id": "b", "status": of}).encode()])


def test_polls(driver):
    """Between two polls the answer is closed and the interval waited for, neither more nor less."""
    transport = driver.transport(status("new"), (503, []), status("new"), status("completed"))
    call = batches(timeout=4.0).wait("b", poll_interval=7.0, max_retries=0)
    assert driver.perform(transport, call).status == "completed"
    assert transport.slept == [7.0] * 3
    assert [answer.closed for answer in transport.answers] == [1] * 4
    assert {(limits.idle, limits.total) for limits in transport.sent} == {(4.0, None)}


def test_total_time_of_polls(driver):
    """The total time is that of all polls; a pause that would outlast it is not begun."""
    transport = driver.transport(*[status("new")] * 9, seconds_a_read=1.0)
    call = batches().wait("b", poll_interval=3.0, timeout=12.0)
    with pytest.raises(APITimeoutError) as caught:
        driver.perform(transport, call)
    assert caught.value.partial.status == "new"
    # Two reads a poll: the body, and its end.
    assert [limits.total for limits in transport.sent] == [12.0, 7.0, 2.0]
    assert transport.slept == [3.0, 3.0]


def test_progress_that_goes_wrong(driver):
    """What is raised while a call goes from one request to the next comes out as it is; the answer is closed."""

    def stumble(batch):
        raise mistake

    mistake = ZeroDivisionError()
    transport = driver.transport(status("new"))
    with pytest.raises(ZeroDivisionError) as caught:
        driver.perform(transport, batches().wait("b", on_progress=stumble))
    assert caught.value is mistake
    assert transport.answers[0].closed == 1


# Clients


def test_client(driver):
    """A client closes its transport, each time that it is asked to, and then sends nothing more."""
    transport = driver.transport((200, [JSON]))
    client = driver.client(transport, {"token": "rsk_test", "max_retries": 1, "retry": None})
    assert driver.enter(client) is client
    assert client._core.config.retry == RetryPolicy(max_retries=1)
    assert "api.meshapi.ai" in repr(client)
    driver.leave(client)
    driver.close(client)
    assert transport.closed == 2
    with pytest.raises(RuntimeError, match="the client is closed"):
        driver.perform(client._transport, core().create(PARAMS))
    assert transport.sent == []


def test_jitter_of_a_client(driver):
    """A client's waits are spread by a fifth, either way."""
    transport = driver.transport(*[(503, [])] * 4)
    client = driver.client(transport, {"token": "rsk_test", "retry": RetryPolicy(backoff_base=1.0, backoff_max=1.0)})
    failure_of(driver, client._transport, client._core.chat.completions.create(PARAMS))
    assert len(transport.slept) == 3
    assert all(0.8 <= seconds <= 1.2 for seconds in transport.slept)


def test_chain_of_causes_with_a_circle(driver):
    """Exceptions that are each other's causes are looked at once."""
    one, other = Lost(), Lost()
    one.__cause__, other.__cause__ = other, one
    assert failure_of(driver, driver.transport(one), core().create(PARAMS)).__cause__ is one


def test_frames_of_a_failure_are_cleared(driver):
    """The local variables of the library's frames, the token among them, are forgotten."""
    transport = driver.transport()

    def send(request, timeout):
        secret = dict(request.headers)["Authorization"]
        raise Lost(len(secret))

    async def send_async(request, timeout):
        return send(request, timeout)

    transport.send = send if driver is Blocking else send_async
    traceback = failure_of(driver, transport, core().create(PARAMS)).__cause__.__traceback__
    found = []
    while traceback is not None:
        found.append((traceback.tb_frame.f_code.co_name, "secret" in traceback.tb_frame.f_locals))
        traceback = traceback.tb_next
    assert found[-1] == ("send", False)


@pytest.mark.parametrize(
    ("seconds", "limit", "least"), [(1, 2, 1), (2, 1, 1), (None, 1, 1), (1, None, 1), (None, None, None)]
)
def test_at_most(seconds, limit, least):
    """None is without end."""
    assert at_most(seconds, limit) == least


# Content codings

TEXT = b"data: " + "Grüße 🌍".encode() * 100 + b"\n\n"


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def decoded(content_encoding, data, size):
    decoder = ContentDecoder(content_encoding)
    pieces = [decoder.decode(data[start : start + size]) for start in range(0, len(data), size)]
    decoder.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize(
    ("content_encoding", "data"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("X-GZIP", gzip.compress(TEXT, mtime=0)),
        ("gzip", gzip.compress(TEXT[:50], mtime=0) + gzip.compress(TEXT[50:], mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate", zlib.compress(TEXT) + b"left over"),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0)),
        ("gzip , identity", gzip.compress(TEXT, mtime=0)),
    ],
)
def test_content_codings(content_encoding, data, size):
    """Codings are undone, in whatever pieces they come."""
    assert decoded(content_encoding, data, size) == TEXT


@pytest.mark.parametrize("content_encoding", ["gzip", "deflate", "br"])
def test_coding_of_nothing(content_encoding):
    """An empty body is empty in any coding, also in one that is not known."""
    assert decoded(content_encoding, b"", 1) == b""


@pytest.mark.parametrize(
    ("content_encoding", "data", "words"),
    [
        ("gzip", TEXT, "is not gzip"),
        ("deflate", b"\x08\xff\xff", "is not deflate"),
        ("br", b"\x0b\x02\x80", "not asked for"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-1], "breaks off"),
        ("deflate", zlib.compress(TEXT)[:-1], "breaks off"),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"left over", "is not gzip"),
    ],
)
def test_wrong_codings(content_encoding, data, words):
    """A body that is not what its head says is an error that tells why."""
    with pytest.raises(ContentCodingError, match=words):
        decoded(content_encoding, data, 100_000)


def test_flushed_coding_is_decoded_at_once():
    """What a compressor has flushed can be read before its end."""
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    decoder = ContentDecoder("gzip")
    for _ in range(3):
        assert decoder.decode(compressor.compress(TEXT) + compressor.flush(zlib.Z_SYNC_FLUSH)) == TEXT


# Finalisers


def test_finalizer_in_asyncio():
    """A coroutine function is run in the loop that the finaliser was made in, from any thread."""

    async def main():
        ran = asyncio.get_running_loop().create_future()

        async def close():
            ran.set_result(threading.current_thread())

        thread = threading.Thread(target=Finalizer().run, args=(close,))
        thread.start()
        assert await asyncio.wait_for(ran, 5.0) is threading.current_thread()
        thread.join()

    asyncio.run(main())


def test_finalizer_in_trio():
    """The same under trio."""

    async def main():
        ran = trio.Event()

        async def close():
            ran.set()

        thread = threading.Thread(target=Finalizer().run, args=(close,))
        thread.start()
        with trio.fail_after(5.0):
            await ran.wait()
        thread.join()

    trio.run(main)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_finalizer_after_its_loop(run):
    """When the loop is over there is nothing to close, and nothing happens."""

    async def make():
        return Finalizer()

    async def close():
        raise AssertionError("it ran")

    (run(make()) if run is asyncio.run else run(make)).run(close)


def test_finalizer_without_trio(monkeypatch):
    """Where trio was never imported, it is not missed."""
    monkeypatch.delitem(__import__("sys").modules, "trio")

    async def main():
        ran = asyncio.Event()

        async def close():
            ran.set()

        Finalizer().run(close)
        await asyncio.wait_for(ran.wait(), 5.0)

    asyncio.run(main())
