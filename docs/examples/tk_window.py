"""MeshAPI in a Tk window: a thread drives the call over http.client, a queue brings the tokens to Tk's main loop.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import http.client
import os
import queue
import socket
import threading
import time
import tkinter
from contextlib import closing, contextmanager, suppress
from tkinter import scrolledtext
from typing import Callable, Generator, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union

from meshapi_core import (
    Action,
    AnyCall,
    Call,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    Done,
    Failure,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    Patience,
    Request,
    SendRequest,
    StreamCall,
    Timeout,
    Wait,
)

T = TypeVar("T")
E = TypeVar("E")
C = TypeVar("C", bound=AnyCall)


# The loop, in a thread of its own


def perform(call: Call[T], exchange: Exchange) -> T:
    """Drive `call` to its end, and return its value."""
    with closing(exchange):
        while not isinstance(action := call.next_action(), Done):
            step(call, action, exchange)
            exchange.start_waiting()
    return call.result


def stream(call: ItemsCall[E], exchange: Exchange) -> Generator[E, None, None]:
    """Drive `call` as far as its events are asked for; closing the generator closes the connection."""
    with closing(exchange):
        while not isinstance(action := call.next_action(), Done):
            step(call, action, exchange)
            for event in call.events():
                yield event
                exchange.start_waiting()


def step(call: AnyCall, action: Action, exchange: Exchange) -> None:
    """Do what `call` asks for, and report what came of it."""
    with exchange.reporting_failures(call):
        if isinstance(action, SendRequest):
            call.receive_response(*exchange.send(action.request))
        elif isinstance(action, Wait):
            exchange.wait(action.seconds)
            call.wait_elapsed()
        else:
            report(call, exchange.read())


# HTTP, and time


def report(call: AnyCall, data: bytes) -> None:
    """Tell `call` what was read of its answer."""
    if data:
        call.receive_data(data)
    else:
        call.receive_eof()


class Cancelled(Exception):
    """Another thread has cancelled the exchange."""


class Exchange:
    """The requests of one call and their answers, each on a connection of its own, in the time that the call has.

    One thread uses it; `cancel` is for any other.
    """

    def __init__(self, timeout: Timeout) -> None:
        self._patience = Patience(timeout, time.monotonic())
        self._is_cancelled = threading.Event()
        self._socket: Optional[socket.socket] = None
        self._response: Optional[http.client.HTTPResponse] = None

    def cancel(self) -> None:
        """Close the connection, and wake the thread that waits for it or for the next try: it gets `Cancelled`."""
        self._is_cancelled.set()
        connected = self._socket
        if connected is not None:
            # Closing it would wake nobody.
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def start_waiting(self) -> None:
        """Begin the wait for whatever comes next."""
        self._patience.start_waiting(time.monotonic())

    def send(self, request: Request) -> Tuple[int, List[Tuple[str, str]]]:
        """Send `request` over a new connection; the status and the header fields of its answer."""
        self.close()
        is_secure = request.scheme == "https"
        connection_class = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        self._patience.start_connecting(time.monotonic())
        connection = connection_class(request.host, request.port, timeout=self._seconds_left())
        connection.connect()
        self._socket = connection.sock
        self.start_waiting()
        self._socket.settimeout(self._seconds_left())
        connection.request(request.method, request.target, request.content, dict(request.headers))
        self._response = connection.getresponse()
        self.start_waiting()
        return self._response.status, self._response.getheaders()

    def read(self) -> bytes:
        """The next bytes of the answer's body, or ``b""`` at its end."""
        assert self._socket is not None  # both set by send
        assert self._response is not None
        self._socket.settimeout(self._seconds_left())
        data = self._response.read1(65536)
        if not data and (self._response.length or self._is_cancelled.is_set()):
            # http.client takes a body that is cut for one that ends.
            raise http.client.IncompleteRead(data, self._response.length)
        return data

    def wait(self, seconds: float) -> None:
        """Close the answer and let `seconds` pass, or raise at once if the call has not that much time left."""
        self.close()
        if not self._patience.allows(seconds, time.monotonic()):
            raise socket.timeout
        if self._is_cancelled.wait(seconds):
            raise Cancelled

    @contextmanager
    def reporting_failures(self, call: AnyCall) -> Iterator[None]:
        """Tell `call` in its own words what goes wrong within; after `cancel`, raise `Cancelled` instead."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            if self._is_cancelled.is_set():
                raise Cancelled from error
            if isinstance(error, socket.timeout):
                failure = self._patience.failure
            else:
                failure = Failure.CONNECT if self._socket is None else Failure.CONNECTION_LOST
            call.receive_failure(failure, error)

    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        if self._response is not None:
            self._response.close()
        if self._socket is not None:
            self._socket.close()
        self._response = self._socket = None

    def _seconds_left(self) -> Optional[float]:
        if self._is_cancelled.is_set():
            raise Cancelled
        left = self._patience.seconds_left(time.monotonic())
        # A socket would take 0 for "do not block".
        if left == 0:
            raise socket.timeout
        return left


# The thread, and what it tells the window


class Ended(NamedTuple):
    """The last thing that an `Asking` tells.

    Attributes:
        how: for people.
    """

    how: str


class Asking(threading.Thread):
    """Drives a call, and puts what the model says into `inbox` as it comes, and at last an `Ended`.

    Args:
        call: to be driven.
        read_text: what gets the text of such a call.
    """

    def __init__(self, call: C, read_text: Callable[[C, Exchange], Iterator[str]]) -> None:
        # A window that is closed waits for nobody.
        super().__init__(daemon=True)
        self.inbox: queue.SimpleQueue[Union[str, Ended]] = queue.SimpleQueue()
        self._exchange = Exchange(call.timeout)
        self._text = read_text(call, self._exchange)

    def cancel(self) -> None:
        """Let the thread end at once; may be called from any other."""
        self._exchange.cancel()

    def run(self) -> None:
        try:
            for piece in self._text:
                self.inbox.put(piece)
        except Cancelled:
            self.inbox.put(Ended("cancelled"))
        except MeshAPIError as error:
            self.inbox.put(Ended(str(error)))
        else:
            self.inbox.put(Ended("done"))


def read_whole(call: Call[ChatCompletionResponse], exchange: Exchange) -> Iterator[str]:
    """The text of a whole answer, in one piece."""
    answer = perform(call, exchange)
    yield "".join(str(choice.message.content) for choice in answer.choices if choice.message)


def read_pieces(call: StreamCall[ChatCompletionChunk], exchange: Exchange) -> Iterator[str]:
    """The text of a stream, as it comes."""
    for chunk in stream(call, exchange):
        yield "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


# The window


class Window:
    """A question, its answer, and buttons to get it whole, to get it as it comes, and to stop that."""

    POLL_MILLISECONDS = 30

    def __init__(self, root: tkinter.Tk, core: MeshAPICore) -> None:
        self._root = root
        self._core = core
        self._asking: Optional[Asking] = None
        self.question = tkinter.Entry(root)
        self.question.insert(0, "one two three")
        self.answer = scrolledtext.ScrolledText(root, height=8, width=60)
        self.status = tkinter.StringVar(root, "ready")
        self.call_button = tkinter.Button(root, text="Call", command=self._make_call)
        self.stream_button = tkinter.Button(root, text="Stream", command=self._make_stream)
        self.cancel_button = tkinter.Button(root, text="Cancel", command=self._cancel, state="disabled")
        self.question.pack(fill="x")
        self.answer.pack(fill="both", expand=True)
        for button in (self.call_button, self.stream_button, self.cancel_button):
            button.pack(side="left")
        tkinter.Label(root, textvariable=self.status).pack(side="left")

    def _make_call(self) -> None:
        self._ask(self._core.chat.completions.create(self._params()), read_whole)

    def _make_stream(self) -> None:
        self._ask(self._core.chat.completions.stream(self._params()), read_pieces)

    def _params(self) -> ChatCompletionParams:
        return ChatCompletionParams(messages=[ChatMessage(role="user", content=self.question.get())])

    def _ask(self, call: C, read_text: Callable[[C, Exchange], Iterator[str]]) -> None:
        self.answer.delete("1.0", "end")
        self._enable(is_asking=True)
        self.status.set("asking")
        self._asking = Asking(call, read_text)
        self._asking.start()
        self._poll()

    def _cancel(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _poll(self) -> None:
        """Show what has come: only the thread of the main loop may touch widgets."""
        assert self._asking is not None  # polling begins with it
        with suppress(queue.Empty):
            while True:
                came = self._asking.inbox.get_nowait()
                if isinstance(came, Ended):
                    self._enable(is_asking=False)
                    self.status.set(came.how)
                    return
                self.answer.insert("end", came)
                self.answer.see("end")
        self._root.after(self.POLL_MILLISECONDS, self._poll)

    def _enable(self, *, is_asking: bool) -> None:
        self.cancel_button["state"] = "normal" if is_asking else "disabled"
        self.call_button["state"] = self.stream_button["state"] = "disabled" if is_asking else "normal"


def main() -> None:
    root = tkinter.Tk()
    root.title("MeshAPI")
    Window(root, MeshAPICore(MeshAPIConfig.from_environment(os.environ)))
    root.mainloop()


if __name__ == "__main__":
    main()
