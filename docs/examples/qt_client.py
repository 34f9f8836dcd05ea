"""MeshAPI in a Qt event loop: QNetworkAccessManager speaks HTTP, signals tell what happened, and the core decides.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Callable, Optional

from PySide6.QtCore import QByteArray, QCoreApplication, QObject, Qt, QTimer, QUrl, Signal
from PySide6.QtNetwork import QNetworkAccessManager, QNetworkReply, QNetworkRequest

from meshapi_core import (
    AnyCall,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    Failure,
    MeshAPIConfig,
    MeshAPICore,
    Patience,
    Request,
    SendRequest,
    State,
    Wait,
)

Attribute = QNetworkRequest.Attribute
NetworkError = QNetworkReply.NetworkError

FAILURES = {
    NetworkError.ConnectionRefusedError: Failure.CONNECT,
    NetworkError.HostNotFoundError: Failure.CONNECT,
    NetworkError.SslHandshakeFailedError: Failure.CONNECT,
    NetworkError.ProxyConnectionRefusedError: Failure.CONNECT,
    NetworkError.ProxyNotFoundError: Failure.CONNECT,
    NetworkError.ProxyTimeoutError: Failure.CONNECT_TIMEOUT,
    # Of connecting only: Qt has no limit of its own for reading.
    NetworkError.TimeoutError: Failure.CONNECT_TIMEOUT,
}
"""What each error of the network is called in the core; one that is not here is `Failure.CONNECTION_LOST`."""


class CallRunner(QObject):
    """Drives one call.  A stream's events come by `event_came`; once there is a result or an error, `ended` comes.

    It belongs to `manager`, whose child it is: ``deleteLater()`` when it is no longer needed.
    """

    event_came = Signal(object)
    ended = Signal()

    def __init__(self, manager: QNetworkAccessManager, call: AnyCall) -> None:
        super().__init__(manager)
        self._manager = manager
        self._call = call
        self._reply: Optional[QNetworkReply] = None
        self._limit_timer = self._timer(self._give_up)
        self._retry_timer = self._timer(self._try_again)

    def start(self) -> None:
        """Begin; returns at once."""
        self._patience = Patience(self._call.timeout, time.monotonic())
        self._step()

    def cancel(self) -> None:
        """Stop, and close the connection; no signal comes after this.  Cancelling twice does nothing."""
        self.blockSignals(True)
        self._end()

    # The loop: each step returns at once, and what comes of it takes the next

    def _step(self) -> None:
        for event in self._call.events():
            self.event_came.emit(event)
            self._start_waiting()
        # Signals are blocked if whoever took an event has cancelled.
        if self._call.is_over or self.signalsBlocked():
            self._end()
        elif isinstance(action := self._call.next_action(), SendRequest):
            self._send(action.request)
            self._call.request_sent()
        elif isinstance(action, Wait):
            self._pause(action.seconds)

    # What Qt tells

    def _on_head(self) -> None:
        if self._reply is not None and self._call.state is State.RECEIVE_RESPONSE:
            status = self._reply.attribute(Attribute.HttpStatusCodeAttribute)
            fields = [(bytes(name.data()), bytes(value.data())) for name, value in self._reply.rawHeaderPairs()]
            self._call.receive_response(status, fields)
            self._start_waiting()

    def _on_data(self) -> None:
        if self._reply is not None:
            # Of a stream it is the next event that is waited for, and not the next bytes.
            if self._call.state is not State.RECEIVE_EVENTS:
                self._start_waiting()
            self._call.receive_data(bytes(self._reply.readAll().data()))
            self._step()

    def _on_end(self) -> None:
        if self._reply is not None:
            failure = failure_of(self._reply)
            if failure is None:
                self._call.receive_eof()
            else:
                self._call.receive_failure(failure, ConnectionError(self._reply.errorString()))
            self._step()

    def _give_up(self) -> None:
        self._close_reply()
        self._call.receive_failure(self._patience.failure)
        self._step()

    def _try_again(self) -> None:
        self._call.wait_elapsed()
        self._step()

    # What Qt is told

    def _send(self, request: Request) -> None:
        message = QNetworkRequest(QUrl.fromEncoded(QByteArray(request.url.encode())))
        for name, value in request.headers:
            message.setRawHeader(QByteArray(name.encode()), QByteArray(value.encode()))
        message.setAttribute(Attribute.RedirectPolicyAttribute, QNetworkRequest.RedirectPolicy.ManualRedirectPolicy)
        for attribute in (Attribute.CookieLoadControlAttribute, Attribute.CookieSaveControlAttribute):
            message.setAttribute(attribute, QNetworkRequest.LoadControl.Manual)
        content = QByteArray(request.content or b"")
        reply = self._manager.sendCustomRequest(message, QByteArray(request.method.encode()), content)
        self._reply = reply
        reply.requestSent.connect(self._start_waiting)
        reply.metaDataChanged.connect(self._on_head)
        reply.readyRead.connect(self._on_data)
        reply.finished.connect(self._on_end)
        self._patience.start_connecting(time.monotonic())
        self._set_limit()

    def _start_waiting(self) -> None:
        self._patience.start_waiting(time.monotonic())
        self._set_limit()

    def _set_limit(self) -> None:
        left = self._patience.seconds_left(time.monotonic())
        if left is None:
            self._limit_timer.stop()
        else:
            start(self._limit_timer, left)

    def _pause(self, seconds: float) -> None:
        self._close_reply()
        if self._patience.allows(seconds, time.monotonic()):
            start(self._retry_timer, seconds)
        else:
            self._call.receive_failure(Failure.DEADLINE)
            self._step()

    def _end(self) -> None:
        self._retry_timer.stop()
        self._close_reply()
        self.ended.emit()

    def _close_reply(self) -> None:
        self._limit_timer.stop()
        # Forgotten first: aborting it makes it emit "finished" at once.
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.abort()
            reply.deleteLater()

    def _timer(self, on_timeout: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        # A coarse one may fire before its time, and that time would then not be over.
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(on_timeout)
        return timer


def start(timer: QTimer, seconds: float) -> None:
    """Let `timer` fire in so many seconds, instead of when it was going to."""
    timer.start(math.ceil(seconds * 1000))


def failure_of(reply: QNetworkReply) -> Optional[Failure]:
    """Why `reply` ended before its proper end; ``None`` if it did not."""
    error = reply.error()
    # From 200 on they stand for statuses, of answers that came whole.
    if error.value == 0 or (error.value >= 200 and reply.attribute(Attribute.HttpStatusCodeAttribute) is not None):
        return None
    return FAILURES.get(error, Failure.CONNECTION_LOST)


# The program


class Program(QObject):
    """Makes a call, reads a stream to its end, and leaves another half-way."""

    def __init__(self, core: MeshAPICore) -> None:
        super().__init__()
        self._completions = core.chat.completions
        self._manager = QNetworkAccessManager(self)
        self._params = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])

    def start(self) -> None:
        """Make a call; what it brings leads on."""
        call = self._completions.create(self._params)
        self._run(call, lambda: self._show_answer(call.result))

    def _show_answer(self, answer: ChatCompletionResponse) -> None:
        print("call:", *(choice.message.content for choice in answer.choices if choice.message))
        print("stream:", end="")
        reading = self._run(self._completions.stream(self._params), self._show_end)
        reading.event_came.connect(lambda chunk: print(text_of(chunk).replace(" ", "|"), end="", flush=True))

    def _show_end(self) -> None:
        print()
        self._reading = self._run(self._completions.stream(self._params), QCoreApplication.quit)
        self._reading.event_came.connect(self._leave)

    def _leave(self, chunk: ChatCompletionChunk) -> None:
        if text_of(chunk):
            self._reading.cancel()
            self._reading.deleteLater()
            print("cancelled after:", text_of(chunk))
            QCoreApplication.quit()

    def _run(self, call: AnyCall, then: Callable[[], None]) -> CallRunner:
        def end() -> None:
            runner.deleteLater()
            if call.error is None:
                then()
            else:
                print(f"failed: {call.error}", file=sys.stderr)
                QCoreApplication.exit(1)

        runner = CallRunner(self._manager, call)
        runner.ended.connect(end)
        # Once the loop is reached, so that whoever asked for it can connect to the events.
        QTimer.singleShot(0, runner.start)
        return runner


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


def main() -> int:
    application = QCoreApplication(sys.argv)
    program = Program(MeshAPICore(MeshAPIConfig.from_environment(os.environ)))
    QTimer.singleShot(0, program.start)
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
