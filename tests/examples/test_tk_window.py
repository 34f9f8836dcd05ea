"""The example for Tk: its thread without a display, and its window on one that nobody sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    MeshAPIConfig,
    MeshAPICore,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports.testing import Fault
from meshapi_transports.testing.raw import RawServer, answer_head, chat_answer, refusing_url, replies

from .harness import EXAMPLES, PARAMS, SCRIPTS, check_iterating, check_waiting, core_for, load_example, text_of

pytest.importorskip("tkinter")

example = load_example("tk_window")


def perform(core):
    """The text of a whole answer."""
    call = core.chat.completions.create(PARAMS)
    return example.perform(call, example.Exchange(call.timeout)).choices[0].message.content


def read(core, chunks):
    """Read a stream to its end, into `chunks`."""
    call = core.chat.completions.stream(PARAMS)
    for chunk in example.stream(call, example.Exchange(call.timeout)):
        chunks.append(chunk)


def told_by(asking):
    """What a thread puts into its inbox, until it ends."""
    told = [asking.inbox.get()]
    while not isinstance(told[-1], example.Ended):
        told.append(asking.inbox.get())
    asking.join()
    return told


def test_calls_of_several_requests(gateway):
    """Each request is sent when the call asks for it, with a wait before it or without."""
    check_waiting(gateway, lambda call: example.perform(call, example.Exchange(call.timeout)))
    check_iterating(gateway, lambda call, items: items.extend(example.stream(call, example.Exchange(call.timeout))))


# The thread


def test_a_call_that_is_retried(gateway):
    """The thread tells the whole answer, after it made its call again as it was told to."""
    gateway.inject(Fault(status=503, retry_after=0.01))
    core = MeshAPICore(MeshAPIConfig(gateway.base_url, token=gateway.token))
    asking = example.Asking(core.chat.completions.create(PARAMS), example.read_whole)
    asking.start()
    assert told_by(asking) == ["You said: one two three", example.Ended("done")]
    assert len(gateway.requests) == 2


def test_a_stream(gateway):
    """The thread tells each piece by itself."""
    core = MeshAPICore(MeshAPIConfig(gateway.base_url, token=gateway.token))
    asking = example.Asking(core.chat.completions.stream(PARAMS), example.read_pieces)
    asking.start()
    assert list(filter(None, told_by(asking))) == ["You", " said:", " one", " two", " three", example.Ended("done")]


@pytest.mark.parametrize(("method", "read_text"), [("create", example.read_whole), ("stream", example.read_pieces)])
def test_cancelling(method, read_text):
    """A thread that waits for an answer ends at once, and its connection with it."""
    with RawServer(lambda connection: (connection.receive_request(), connection.wait_closed())) as server:
        asking = example.Asking(getattr(core_for(server.url).chat.completions, method)(PARAMS), read_text)
        asking.start()
        assert server.wait_until(lambda server: server.requests)
        asking.cancel()
        assert told_by(asking) == [example.Ended("cancelled")]
        assert server.wait_until(lambda server: server.open == 0)
    assert len(server.requests) == 1


def test_cancelling_a_stream_half_way():
    """A thread that waits for the next event ends at once, and its connection with it."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server:
        asking = example.Asking(core_for(server.url).chat.completions.stream(PARAMS), example.read_pieces)
        asking.start()
        assert [asking.inbox.get() for _ in range(2)] == ["one", " two"]
        asking.cancel()
        assert told_by(asking) == [example.Ended("cancelled")]
        assert server.wait_until(lambda server: server.open == 0)


def test_cancelling_a_wait(gateway):
    """A thread that waits to try again ends at once."""
    gateway.inject(Fault(status=503, retry_after=30))
    call = core_for(gateway.base_url, retry=RetryPolicy()).chat.completions.create(PARAMS)
    exchange = example.Exchange(call.timeout)
    while not isinstance(action := call.next_action(), example.Wait):
        example.step(call, action, exchange)
    exchange.cancel()
    with pytest.raises(example.Cancelled):
        example.step(call, action, exchange)


def test_a_failure_is_told():
    """What goes wrong is the last thing that the thread tells."""
    with refusing_url() as url:
        asking = example.Asking(core_for(url).chat.completions.create(PARAMS), example.read_whole)
        asking.start()
        assert told_by(asking) == [
            example.Ended("[connection_error] no connection could be made; nothing was sent"),
        ]


# The loop


def test_no_connection():
    """A refused connection is tried again as often as the policy allows, and then is an APIConnectionError."""
    with refusing_url() as url, pytest.raises(APIConnectionError, match="no connection could be made") as caught:
        perform(core_for(url, retry=RetryPolicy(max_retries=1, backoff_base=0.001)))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_stream_that_is_cut():
    """What had come is delivered, and the end that is none is a StreamInterruptedError."""
    chunks = []
    with RawServer(SCRIPTS["cut_in_the_middle"]) as server, pytest.raises(StreamInterruptedError) as caught:
        read(core_for(server.url), chunks)
    assert text_of(chunks) == "one two"
    assert caught.value.partial.choices[0].message.content == "one two"


@pytest.mark.parametrize("script", ["silent_in_the_middle", "alive_in_the_middle"])
def test_a_stream_that_stalls(script):
    """The wait for the next event ends in time, whether or not the server keeps the connection alive."""
    chunks = []
    with RawServer(SCRIPTS[script]) as server, pytest.raises(APITimeoutError, match="nothing came in time"):
        read(core_for(server.url, timeout=0.5), chunks)
    assert text_of(chunks) == "one two"


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


# The window

DRIVEN = """
import sys, tkinter
import tk_window

class Pressed(tk_window.Window):
    def __init__(self, root, core):
        super().__init__(root, core)
        self.left = [self.call_button, self.stream_button, self.stream_button]
        self.status.trace_add("write", self.on_status)
        root.after(0, self.press)

    def press(self):
        self.left.pop(0).invoke()
        if not self.left:
            self.leave_half_way()

    def leave_half_way(self):
        if "said:" in self.answer.get("1.0", "end"):
            self.cancel_button.invoke()
        else:
            self._root.after(1, self.leave_half_way)

    def on_status(self, *_):
        if self.status.get() != "asking":
            buttons = [button["state"] for button in (self.call_button, self.stream_button, self.cancel_button)]
            print(self.answer.get("1.0", "end").strip(), "|", self.status.get(), "|", *buttons)
            self._root.after(0, self.press if self.left else self._root.destroy)

tk_window.Window = Pressed
tk_window.main()
"""


@pytest.fixture(scope="module")
def display():
    """A display: the one that is there, or a virtual one."""
    if sys.platform != "linux" or "DISPLAY" in os.environ:
        yield os.environ.get("DISPLAY", "")
        return
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        # Where all must run, nothing may be left out.
        assert "CI" not in os.environ, "there is no display, and no Xvfb to make one"
        pytest.skip("there is no display, and no Xvfb to make one")
    reading, writing = os.pipe()
    # It takes a number that is free, and writes it once it is ready.
    command = [xvfb, "-displayfd", str(writing), "-nolisten", "tcp", "-screen", "0", "640x480x24"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as number:
                yield f":{number.readline().strip()}"
        finally:
            server.terminate()


def test_the_window(gateway, display):
    """Its buttons bring a whole answer, a stream, and a stream that is stopped half-way."""
    gateway.inject(Fault(status=503, retry_after=0.01))
    gateway.inject(Fault(), times=2)
    gateway.inject(Fault(stall_after=700))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVEN],
        env={
            **os.environ,
            "DISPLAY": display,
            "PYTHONPATH": str(EXAMPLES),
            "MESHAPI_BASE_URL": gateway.base_url,
            "MESHAPI_API_KEY": gateway.token,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "You said: one two three | done | normal normal disabled",
        "You said: one two three | done | normal normal disabled",
        "You said: | cancelled | normal normal disabled",
    ]
    assert len(gateway.requests) == 4
