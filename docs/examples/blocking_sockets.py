"""The core over blocking sockets: nothing but the standard library, and h11 for the grammar of HTTP.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import closing, contextmanager
from typing import Generator, Optional, TypeVar

import h11

from meshapi_core import (
    Action,
    AnyCall,
    Call,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatMessage,
    Done,
    Failure,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    Patience,
    Request,
    SendRequest,
    Timeout,
    Wait,
)

T = TypeVar("T")
E = TypeVar("E")


# The loop


def perform(call: Call[T]) -> T:
    """Drive `call` to its end, and return its value."""
    with closing(Connection(call.timeout)) as connection:
        while not isinstance(action := call.next_action(), Done):
            take_step(call, action, connection)
            connection.start_waiting()
    return call.result


def stream(call: ItemsCall[E]) -> Generator[E, None, None]:
    """Drive `call` as far as its events are asked for; closing the generator closes the connection."""
    with closing(Connection(call.timeout)) as connection:
        while not isinstance(action := call.next_action(), Done):
            take_step(call, action, connection)
            if events := list(call.events()):
                yield from events
                connection.start_waiting()


def take_step(call: AnyCall, action: Action, connection: Connection) -> None:
    """Do what `call` asks for, and report what came of it."""
    with connection.reporting_failures(call):
        if isinstance(action, SendRequest):
            report(call, connection.send(action.request))
        elif isinstance(action, Wait):
            connection.sleep(action.seconds)
            call.wait_elapsed()
        else:
            report(call, connection.next_event())


# HTTP, and time


def report(call: AnyCall, event: h11.Event) -> None:
    """Tell `call` in its own words what h11 has found in the answer."""
    if isinstance(event, (h11.InformationalResponse, h11.Response)):
        call.receive_response(event.status_code, event.headers)
    elif isinstance(event, h11.Data):
        call.receive_data(event.data)
    elif isinstance(event, h11.EndOfMessage):
        call.receive_eof()


class NoTimeLeft(Exception):
    """The call has no time for another try."""


class Connection:
    """One connection at a time, for one request each, and the time that they may take together."""

    def __init__(self, timeout: Timeout) -> None:
        self._patience = Patience(timeout, time.monotonic())
        self._socket: Optional[socket.socket] = None
        self._http = h11.Connection(h11.CLIENT)

    def start_waiting(self) -> None:
        """Begin the wait for whatever comes next."""
        self._patience.start_waiting(time.monotonic())

    def send(self, request: Request) -> h11.Event:
        """Send `request` over a new connection, and wait for the first event of the answer."""
        self.close()
        self._patience.start_connecting(time.monotonic())
        self._socket = _connect(request, self._seconds_left())
        self.start_waiting()
        self._http = h11.Connection(h11.CLIENT)
        self._socket.settimeout(self._seconds_left())
        self._socket.sendall(_bytes_of(request, self._http))
        event = self.next_event()
        self.start_waiting()
        return event

    def next_event(self) -> h11.Event:
        """Wait for the next event of the answer."""
        assert self._socket is not None  # set by send
        while True:
            # Asked also when bytes are there already: comments that keep a stream alive do not stretch the wait.
            seconds_left = self._seconds_left()
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            self._socket.settimeout(seconds_left)
            self._http.receive_data(self._socket.recv(65536))

    def sleep(self, seconds: float) -> None:
        """Close the connection and let `seconds` pass, or raise at once if the call has not that much time left."""
        self.close()
        if not self._patience.allows(seconds, time.monotonic()):
            raise NoTimeLeft
        time.sleep(seconds)

    @contextmanager
    def reporting_failures(self, call: AnyCall) -> Generator[None, None, None]:
        """Tell `call` in its own words what goes wrong within."""
        try:
            yield
        except NoTimeLeft:
            call.receive_failure(Failure.DEADLINE)
        except socket.timeout as error:
            call.receive_failure(self._patience.failure, error)
        except (OSError, h11.RemoteProtocolError) as error:
            call.receive_failure(Failure.CONNECT if self._socket is None else Failure.CONNECTION_LOST, error)

    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _seconds_left(self) -> Optional[float]:
        seconds = self._patience.seconds_left(time.monotonic())
        # A socket would take 0 for "do not block".
        if seconds == 0:
            raise socket.timeout("timed out")
        return seconds


def _connect(request: Request, timeout: Optional[float]) -> socket.socket:
    connected = socket.create_connection((request.host, request.port), timeout)
    if request.scheme != "https":
        return connected
    return ssl.create_default_context().wrap_socket(connected, server_hostname=request.host)


def _bytes_of(request: Request, http: h11.Connection) -> bytes:
    headers = [*request.http1_headers(), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    head = h11.Request(method=request.method, target=request.target, headers=headers)
    body = h11.Data(data=request.content or b"")
    return b"".join(http.send(event) or b"" for event in (head, body, h11.EndOfMessage()))


# The program


def main() -> None:
    core = MeshAPICore(MeshAPIConfig.from_environment(os.environ))
    params = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])

    answer = perform(core.chat.completions.create(params))
    print("call:", *(choice.message.content for choice in answer.choices if choice.message))

    print("stream:", end="")
    for chunk in stream(core.chat.completions.stream(params)):
        print(text_of(chunk).replace(" ", "|"), end="", flush=True)
    print()

    with closing(stream(core.chat.completions.stream(params))) as chunks:
        text = next(filter(None, map(text_of, chunks)))
    print("cancelled after:", text)


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


if __name__ == "__main__":
    main()
