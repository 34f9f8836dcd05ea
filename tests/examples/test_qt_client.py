"""The example for Qt: what it prints, and what becomes of its calls when the network fails."""

from __future__ import annotations

import time

import pytest

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    MeshAPIConfig,
    MeshAPICore,
    NotFoundError,
    RedirectError,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports.testing import Fault
from meshapi_transports.testing.raw import RawServer, answer, answer_head, chat_answer, refusing_url, replies

from .harness import PARAMS, SCRIPTS, check_iterating, check_waiting, core_for, load_example, run_example, text_of

pytest.importorskip("PySide6.QtNetwork")
from PySide6.QtCore import QCoreApplication, QEventLoop, QThread, QTimer
from PySide6.QtNetwork import QNetworkAccessManager

example = load_example("qt_client")


@pytest.fixture(scope="module", autouse=True)
def application():
    """Qt's application, of which there is one in a process."""
    return QCoreApplication.instance() or QCoreApplication([])


def run(call, on_event=None):
    """Drive `call` to its end in a loop of its own; its error is raised."""
    manager, loop = QNetworkAccessManager(), QEventLoop()
    runner = example.CallRunner(manager, call)
    runner.ended.connect(loop.quit)
    if on_event is not None:
        runner.event_came.connect(on_event)
    QTimer.singleShot(0, runner.start)
    loop.exec()
    if call.error is not None:
        raise call.error


def perform(core):
    """The text of a whole answer."""
    call = core.chat.completions.create(PARAMS)
    run(call)
    return call.result.choices[0].message.content


def read(core, chunks):
    """Read a stream to its end, into `chunks`."""
    run(core.chat.completions.stream(PARAMS), chunks.append)


def test_calls_of_several_requests(gateway):
    """Each request is sent when the call asks for it, with a wait before it or without."""

    def value_of(call):
        run(call)
        return call.result

    check_waiting(gateway, value_of)
    check_iterating(gateway, lambda call, items: run(call, items.append))


def test_the_program(gateway):
    """It makes its call again when it is told to, reads one stream, and leaves the other where that is silent."""
    gateway.inject(Fault(status=503, retry_after=0.01))
    gateway.inject(Fault(), times=2)
    gateway.inject(Fault(stall_after=500))
    ran = run_example("qt_client", gateway)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "call: You said: one two three",
        "stream:You|said:|one|two|three",
        "cancelled after: You",
    ]
    assert len(gateway.requests) == 4


def test_leaving_a_stream_closes_its_connection():
    """The server sees the connection end while the loop goes on, and no signal comes any more."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server:
        manager, loop, came = QNetworkAccessManager(), QEventLoop(), []
        runner = example.CallRunner(manager, core_for(server.url).chat.completions.stream(PARAMS))

        def leave(chunk):
            came.append(chunk)
            if text_of(came):
                runner.cancel()
                runner.cancel()
                waiting.start()

        waiting = Waiting(server)
        waiting.finished.connect(loop.quit)
        runner.event_came.connect(leave)
        runner.ended.connect(lambda: came.append(None))
        QTimer.singleShot(0, runner.start)
        loop.exec()
        waiting.wait()
        assert waiting.is_closed
        assert not any(timer.isActive() for timer in runner.findChildren(QTimer))
    assert text_of(came) == "one"


class Waiting(QThread):
    """Waits for a server to have no connection, beside the loop."""

    def __init__(self, server):
        super().__init__()
        self._server = server
        self.is_closed = False

    def run(self):
        self.is_closed = self._server.wait_until(lambda server: server.open == 0)


def test_no_connection():
    """A refused connection is tried again as often as the policy allows, and then is an APIConnectionError."""
    with refusing_url() as url, pytest.raises(APIConnectionError, match="no connection could be made") as caught:
        perform(core_for(url, retry=RetryPolicy(max_retries=1, backoff_base=0.001)))
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_stream_that_is_cut():
    """What had come is delivered, and the end that is none is a StreamInterruptedError."""
    chunks = []
    with RawServer(SCRIPTS["cut_in_the_middle"]) as server, pytest.raises(StreamInterruptedError) as caught:
        read(core_for(server.url), chunks)
    assert text_of(chunks) == "one two"
    assert caught.value.partial.choices[0].message.content == "one two"


def test_a_stream_that_stalls():
    """The wait for the next event ends in time, after what had come is delivered."""
    chunks = []
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server, pytest.raises(APITimeoutError, match="nothing came"):
        read(core_for(server.url, timeout=0.5), chunks)
    assert text_of(chunks) == "one two"


def test_comments_are_no_events(gateway):
    """A timer is not started anew by what is no event, however steadily it comes."""
    gateway.inject(Fault(comments=200, delay=0.01))
    core = MeshAPICore(MeshAPIConfig(gateway.base_url, token=gateway.token, timeout=0.3))
    with pytest.raises(APITimeoutError, match="nothing came in time"):
        read(core, [])


def test_an_answer_that_comes_slowly():
    """The wait for a call's bytes begins anew with each piece of them."""
    head, blank_line, body = chat_answer().partition(b"\r\n\r\n")

    def send_slowly(connection):
        connection.receive_request()
        connection.send(head + blank_line)
        for start in range(0, len(body), 40):
            time.sleep(0.1)
            connection.send(body[start : start + 40])

    with RawServer(send_slowly) as server:
        assert perform(core_for(server.url, timeout=0.3)) == "Hello there"


def test_the_whole_time():
    """The time for the whole call ends it, however patient it is between events."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server, pytest.raises(APITimeoutError, match="whole call"):
        read(core_for(server.url, timeout=Timeout(total=0.1)), [])


def test_no_time_for_another_try(gateway):
    """A wait that is longer than what is left of the time is not begun."""
    gateway.inject(Fault(status=503, retry_after=30))
    with pytest.raises(InternalServerError):
        perform(core_for(gateway.base_url, timeout=Timeout(total=20), retry=RetryPolicy()))
    assert len(gateway.requests) == 1


def test_a_redirect(gateway):
    """A redirect is not followed, but is an error that names its address."""
    gateway.inject(Fault(status=307, headers={"Location": "/elsewhere"}))
    with pytest.raises(RedirectError, match="/elsewhere"):
        perform(core_for(gateway.base_url))
    assert len(gateway.requests) == 1


def test_an_error_with_its_body():
    """Qt takes a status for an error, and the body tells it."""
    script = replies(answer(b'{"error": {"code": "model_not_found", "message": "which model?"}}', 404))
    with RawServer(script) as server, pytest.raises(NotFoundError, match="which model"):
        perform(core_for(server.url))


def test_a_body_that_is_cut():
    """A body that ends before its Content-Length is a lost connection, and never an answer."""
    whole = chat_answer()
    script = replies(lambda connection, request: (connection.send(whole[:-1]), connection.close()))
    with RawServer(script) as server, pytest.raises(APIConnectionError, match="connection was lost"):
        perform(core_for(server.url))


def test_a_body_that_ends_with_its_connection():
    """A body without a length is as long as its connection stands."""
    body = chat_answer().partition(b"\r\n\r\n")[2]
    head = answer_head(200, "Content-Type: application/json")
    script = replies(lambda connection, request: (connection.send(head + body), connection.close()))
    with RawServer(script) as server:
        assert perform(core_for(server.url)) == "Hello there"
