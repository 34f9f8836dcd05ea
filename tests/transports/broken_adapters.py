"""Adapters that are each wrong in exactly one thing, and the rules that tell so.

Each is a good adapter with something overridden.  `breaks` names the rule that must catch it; `and_so` are the others
that may not be kept either once that thing is wrong.

Run as a program, this checks the adapters that it is given the names of, and prints as JSON which rules each breaks:
what they leave open, and warn of, is then gone with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import importlib.util
import json
import netrc
import pathlib
import select
import ssl
import sys
import time
import urllib.parse
import warnings
from concurrent.futures import ThreadPoolExecutor

import trio
import urllib3

from meshapi_core import Failure
from meshapi_transports import protocol
from meshapi_transports import trio as trio_adapter
from meshapi_transports.protocol import at_most
from meshapi_transports.testing.conformance import Subject, check_all

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples"


def example(name):
    """The module of an example, which is no part of any package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


good = example("urllib3_transport")

BROKEN = []

# What trickles in may pause on a busy machine; an adapter that waits too long for the next drop still does.
LENIENCE = 10


class Broken:
    """What every broken transport has."""

    backend = "blocking"
    breaks = ""
    and_so = ()

    def __init_subclass__(cls):
        if cls.breaks:
            BROKEN.append(cls)

    @classmethod
    def make(cls, **options):
        """A client over this transport."""
        client_class = protocol.MeshAPI if cls.backend == "blocking" else protocol.AsyncMeshAPI
        return client_class(cls(), options)


class Blocking(Broken, good._Transport):
    """A good transport for blocking code, with an answer that can be made worse."""

    answer = None

    def __init__(self, pool_manager=None):
        super().__init__(pool_manager)

    def send(self, request, timeout):
        answer = super().send(request, timeout)
        return answer if self.answer is None else self.answer(self, answer)


class Answer:
    """A good answer behind one that can be made worse."""

    def __init__(self, transport, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.transport = transport
        self.good = answer

    def read(self, timeout):
        return self.good.read(timeout)

    def close(self):
        self.good.close()


def with_field(request, name, value):
    """`request` with a header field set."""
    fields = tuple(field for field in request.headers if field[0].lower() != name.lower())
    return dataclasses.replace(request, headers=(*fields, (name, value)))


def has_field(request, name):
    return any(field[0].lower() == name.lower() for field in request.headers)


# Redirects, credentials, cookies, retries


class FollowsRedirects(Blocking):
    breaks = "redirects_are_not_followed"
    and_so = ("token_stays_with_its_host", "connection_is_used_again")

    def send(self, request, timeout):
        answer = super().send(request, timeout)
        while 300 <= answer.status < 400:
            answer.close()
            target = urllib.parse.urljoin(request.url, answer.headers.get("Location", ""))
            answer = super().send(dataclasses.replace(request, url=target), timeout)
        return answer


class FollowsRedirectsAway(Blocking):
    breaks = "token_stays_with_its_host"

    def send(self, request, timeout):
        answer = super().send(request, timeout)
        location = answer.headers.get("Location", "/")
        if answer.status == 307 and not location.startswith("/"):
            answer.close()
            answer = super().send(dataclasses.replace(request, url=location), timeout)
        return answer


def netrc_authorization():
    login, _, password = netrc.netrc().authenticators("127.0.0.1")
    return urllib3.make_headers(basic_auth=f"{login}:{password}")["authorization"]


class PrefersNetrc(Blocking):
    breaks = "own_authorization_wins"
    and_so = ("request_is_sent_as_it_is",)

    def send(self, request, timeout):
        if has_field(request, "Authorization"):
            request = with_field(request, "Authorization", netrc_authorization())
        return super().send(request, timeout)


class FillsInFromNetrc(Blocking):
    breaks = "no_authorization_is_added"
    and_so = ("large_body_arrives_whole",)

    def send(self, request, timeout):
        if not has_field(request, "Authorization"):
            request = with_field(request, "Authorization", netrc_authorization())
        return super().send(request, timeout)


class KeepsCookies(Blocking):
    breaks = "cookies_are_not_kept"
    cookie = None

    def send(self, request, timeout):
        if self.cookie:
            request = with_field(request, "Cookie", self.cookie)
        answer = super().send(request, timeout)
        self.cookie = answer.headers.get("Set-Cookie", "").partition(";")[0] or self.cookie
        return answer


class RetriesGet(Blocking):
    breaks = "library_does_not_retry"

    def send(self, request, timeout):
        try:
            return super().send(request, timeout)
        except urllib3.exceptions.ProtocolError:
            if request.method != "GET":
                raise
            return super().send(request, timeout)


class RetriesPost(Blocking):
    breaks = "lost_request_is_not_sent_again"
    and_so = ("library_does_not_retry",)

    def send(self, request, timeout):
        try:
            return super().send(request, timeout)
        except urllib3.exceptions.ProtocolError:
            return super().send(request, timeout)


class RetriesStatus(Blocking):
    breaks = "library_does_not_retry"

    def send(self, request, timeout):
        answer = super().send(request, timeout)
        if answer.status == 503 and "Retry-After" in answer.headers:
            answer.close()
            answer = super().send(request, timeout)
        return answer


# The request


class AddsField(Blocking):
    breaks = "request_is_sent_as_it_is"
    and_so = ("large_body_arrives_whole",)

    def send(self, request, timeout):
        return super().send(with_field(request, "X-Library", "1.0"), timeout)


class ChangesField(Blocking):
    breaks = "request_is_sent_as_it_is"

    def send(self, request, timeout):
        values = dict(request.headers)
        if "X-Request-Id" in values:
            request = with_field(request, "X-Request-Id", values["X-Request-Id"].split(",")[0])
        return super().send(request, timeout)


class ChangesBody(Blocking):
    breaks = "request_is_sent_as_it_is"

    def send(self, request, timeout):
        if request.content and len(request.content) < 1000:
            content = request.content.decode("utf-8", "replace").encode("utf-8")
            request = dataclasses.replace(request, content=content)
        return super().send(request, timeout)


class ChangesMethod(Blocking):
    breaks = "request_is_sent_as_it_is"

    def send(self, request, timeout):
        method = "POST" if request.method == "PATCH" else request.method
        return super().send(dataclasses.replace(request, method=method), timeout)


class RewritesPath(Blocking):
    breaks = "path_is_sent_as_it_is"

    def send(self, request, timeout):
        parts = urllib.parse.urlsplit(request.url)
        path = urllib.parse.quote(urllib.parse.unquote(parts.path))
        return super().send(dataclasses.replace(request, url=parts._replace(path=path).geturl()), timeout)


class ChunksLargeBodies(Blocking):
    breaks = "large_body_arrives_whole"

    def send(self, request, timeout):
        if request.content and len(request.content) > 1_000_000:
            request = dataclasses.replace(request, content=iter([request.content]))
        return super().send(request, timeout)


# Answers and streams


class RaisesForStatus(Blocking):
    breaks = "status_is_no_exception"
    and_so = (
        "compression_is_undone",
        "connection_is_used_again",
        "retry_waits_as_it_was_asked_to",
    )

    def send(self, request, timeout):
        answer = super().send(request, timeout)
        if answer.status >= 400:
            answer.close()
            raise urllib3.exceptions.HTTPError(answer.status)
        return answer


class ReadsBodyFirst(Blocking):
    breaks = "head_comes_first"
    and_so = (
        "events_come_as_they_arrive",
        "compressed_events_come_as_they_arrive",
        "idle_limits_the_wait_for_the_body",
        "comments_do_not_count",
        "slow_stream_is_not_idle",
        "total_limits_a_dripping_body",
        "stream_left_early_is_closed",
        "dropped_stream_is_closed",
        "streams_do_not_block_calls",
        "cut_stream_delivers_what_had_come",
        "truncated_compression_is_a_failure",
    )

    class answer(Answer):  # noqa: N801 - an attribute of the transport
        def __init__(self, transport, answer):
            super().__init__(transport, answer)
            self.left = []
            while not self.left or self.left[-1]:
                self.left.append(answer.read(2.0))

        def read(self, timeout):
            return self.left.pop(0) if self.left else b""


class FillsItsBuffer(Blocking):
    breaks = "events_come_as_they_arrive"
    and_so = (
        "compressed_events_come_as_they_arrive",
        "idle_limits_the_wait_for_the_body",
        "comments_do_not_count",
        "slow_stream_is_not_idle",
        "total_limits_a_dripping_body",
        "stream_left_early_is_closed",
        "dropped_stream_is_closed",
        "streams_do_not_block_calls",
        "cut_stream_delivers_what_had_come",
    )

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            data = b""
            while len(data) < 65536:
                more = self.good.read(timeout)
                data += more
                if not more:
                    break
            return data


class TakesInterimAnswers(Blocking):
    breaks = "interim_answer_is_none"

    class Connection(good._Connection):
        class response_class(http.client.HTTPResponse):  # noqa: N801
            def _read_status(self):
                version, status, reason = super()._read_status()
                return version, 199 if status == 100 else status, reason

    def __init__(self):
        super().__init__()
        pool_class = type("Pool", (good._Pool,), {"ConnectionCls": self.Connection})
        self._pool_manager.pool_classes_by_scheme = {"http": pool_class, "https": good._SecurePool}


class StopsAfterAWhile(Blocking):
    breaks = "large_answer_comes_whole"

    class answer(Answer):  # noqa: N801
        come = 0

        def read(self, timeout):
            data = b"" if self.come > 1_000_000 else self.good.read(timeout)
            self.come += len(data)
            return data


# Compression


class AsksForNoCompression(Blocking):
    breaks = "compression_is_asked_for"
    and_so = ("request_is_sent_as_it_is", "large_body_arrives_whole")

    def send(self, request, timeout):
        return super().send(with_field(request, "Accept-Encoding", "identity"), timeout)


class LeavesCompression(Blocking):
    breaks = "compression_is_undone"
    and_so = ("compressed_events_come_as_they_arrive", "truncated_compression_is_a_failure")

    class answer(Answer):  # noqa: N801
        def __init__(self, transport, answer):
            super().__init__(transport, answer)
            answer._decoder = protocol.ContentDecoder("")


class KnowsGzipOnly(Blocking):
    breaks = "compression_is_undone"
    and_so = ("compressed_events_come_as_they_arrive",)

    class answer(LeavesCompression.answer):  # noqa: N801
        def __init__(self, transport, answer):
            if answer.headers.get("Content-Encoding") == "deflate":
                super().__init__(transport, answer)
            else:
                Answer.__init__(self, transport, answer)


class DecodesAtTheEnd(Blocking):
    breaks = "compressed_events_come_as_they_arrive"

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            if "Content-Encoding" not in self.headers:
                return self.good.read(timeout)
            pieces = []
            while not pieces or pieces[-1]:
                pieces.append(self.good.read(timeout))
            return b"".join(pieces)


class ForgivesTruncatedCompression(Blocking):
    breaks = "truncated_compression_is_a_failure"

    class answer(Answer):  # noqa: N801
        def __init__(self, transport, answer):
            super().__init__(transport, answer)
            answer._decoder.finish = lambda: None


# Time


class IgnoresConnect(Blocking):
    breaks = "connect_limits_the_connection"
    and_so = ("connect_limits_the_handshake",)

    def send(self, request, timeout):
        return super().send(request, dataclasses.replace(timeout, connect=None))


class IgnoresIdleBeforeTheHead(Blocking):
    breaks = "idle_limits_the_wait_for_the_head"
    and_so = ("upload_that_nobody_takes_times_out", "failed_call_is_closed")

    def send(self, request, timeout):
        return super().send(request, dataclasses.replace(timeout, idle=None))


class EndsWaitsEarly(Blocking):
    breaks = "idle_limits_the_wait_for_the_head"
    and_so = ("idle_limits_the_wait_for_the_body",)

    def send(self, request, timeout):
        return super().send(request, dataclasses.replace(timeout, idle=timeout.idle and timeout.idle / 10))


class IgnoresTimeoutOfRead(Blocking):
    breaks = "idle_limits_the_wait_for_the_body"
    and_so = ("failed_call_is_closed",)

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            return self.good.read(None)


class KeepsTimeoutOfTheFirstRead(Blocking):
    breaks = "comments_do_not_count"
    and_so = ("total_limits_a_dripping_body",)

    class answer(Answer):  # noqa: N801
        timeout = None

        def read(self, timeout):
            self.timeout = limit = self.timeout or timeout
            # The driver looks at the clock between two reads; a library may do so only when nothing comes.
            while True:
                data = self.good.read(limit)
                if data not in (b": alive\n\n", b" "):
                    return data
                limit = self.timeout * LENIENCE


class TakesIdleForTheWhole(Blocking):
    breaks = "slow_stream_is_not_idle"

    def send(self, request, timeout):
        answer = TakesIdleForTheWhole.Hurried(self, super().send(request, timeout))
        answer.ends_at = time.monotonic() + (timeout.idle or 60.0)
        return answer

    class Hurried(Answer):
        def read(self, timeout):
            return self.good.read(at_most(timeout, max(self.ends_at - time.monotonic(), 0.001)))


class TakesUploadForLost(Blocking):
    breaks = "upload_that_nobody_takes_times_out"
    failures = {**good._FAILURES, good.WriteTimeout: Failure.CONNECTION_LOST}


class IgnoresTotalWhileConnecting(Blocking):
    breaks = "total_limits_the_connection"

    def send(self, request, timeout):
        idle = at_most(timeout.idle, timeout.total)
        return super().send(request, dataclasses.replace(timeout, idle=idle, total=None))


class IgnoresTotalBeforeTheHead(Blocking):
    breaks = "total_limits_a_silent_call"

    def send(self, request, timeout):
        connect = at_most(timeout.connect, timeout.total)
        return super().send(request, dataclasses.replace(timeout, connect=connect, total=None))


class ReadsUntilThereIsText(Blocking):
    breaks = "total_limits_a_dripping_body"

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            limit = timeout
            while True:
                data = self.good.read(limit)
                if not data or data.strip():
                    return data
                limit = timeout * LENIENCE


# Sleeping


class SleepsTooShort(Blocking):
    breaks = "retry_waits_as_it_was_asked_to"
    and_so = ("sleep_lasts",)

    @staticmethod
    def sleep(seconds):
        time.sleep(seconds / 3)


class CountsMinutes(Blocking):
    breaks = "sleep_lasts"
    and_so = (
        "comments_do_not_count",
        "total_limits_a_dripping_body",
        "total_limits_a_silent_call",
        "total_limits_the_connection",
    )

    @staticmethod
    def current_time():
        return time.monotonic() / 60


# Connections


class ClosesItsPool(Blocking):
    breaks = "connection_is_used_again"
    and_so = ("connection_of_a_stream_is_used_again", "retry_waits_as_it_was_asked_to")

    class answer(Answer):  # noqa: N801
        def close(self):
            self.good.close()
            self.transport._pool_manager.clear()


class ClosesStreams(Blocking):
    breaks = "connection_of_a_stream_is_used_again"

    class answer(Answer):  # noqa: N801
        is_over = False

        def read(self, timeout):
            # An SSE parser of its own thinks that it knows the end of the body.
            data = b"" if self.is_over else self.good.read(timeout)
            self.is_over = b"[DONE]" in data
            return data


class LeavesOpen(Blocking):
    breaks = "stream_left_early_is_closed"
    and_so = ("dropped_stream_is_closed", "closing_closes_everything")

    class answer(Answer):  # noqa: N801
        def __init__(self, transport, answer):
            super().__init__(transport, answer)
            # A set of its own somewhere keeps it alive.
            transport.kept.append(self)

        def close(self):
            pass

    def __init__(self):
        super().__init__()
        self.kept = []

    def close(self):
        for answer in self.kept:
            answer.good.close()
        super().close()


class ReadsTheRest(Blocking):
    breaks = "stream_left_early_is_closed"
    and_so = ("dropped_stream_is_closed", "streams_do_not_block_calls", "comments_do_not_count")

    class answer(Answer):  # noqa: N801
        def close(self):
            with contextlib.suppress(Exception):
                while self.good.read(None):
                    pass


class TrustsIdleConnections(Blocking):
    breaks = "closed_connection_is_replaced"

    class Connection(good._Connection):
        is_connected = True

    def __init__(self):
        super().__init__()
        pool_class = type("Pool", (good._Pool,), {"ConnectionCls": self.Connection})
        self._pool_manager.pool_classes_by_scheme = {"http": pool_class, "https": good._SecurePool}


class CountsStreams(Blocking):
    breaks = "streams_do_not_block_calls"

    def __init__(self):
        super().__init__()
        self._pool_manager.connection_pool_kw.update(maxsize=50, block=True)


class DoesNotClose(Blocking):
    breaks = "closing_closes_everything"

    def close(self):
        pass


class ClosesOnce(Blocking):
    breaks = "closing_closes_everything"
    is_closed = False

    def close(self):
        if self.is_closed:
            raise RuntimeError("closed already")
        self.is_closed = True
        super().close()


# The end of a body


class TakesCutForEnd(Blocking):
    breaks = "cut_answer_is_a_failure"
    and_so = ("cut_stream_delivers_what_had_come",)

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            try:
                return self.good.read(timeout)
            except urllib3.exceptions.ProtocolError:
                return b""


class LosesWhatHadCome(Blocking):
    breaks = "cut_stream_delivers_what_had_come"

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            data = self.good.read(timeout)
            waiting = self.good._socket
            if data and waiting is not None and waiting.fileno() != -1 and select.select([waiting], [], [], 0.02)[0]:
                data += self.good.read(timeout)
            return data


class WantsALength(Blocking):
    breaks = "connection_may_end_a_body"
    and_so = ("large_answer_comes_whole",)

    class answer(Answer):  # noqa: N801
        def read(self, timeout):
            data = self.good.read(timeout)
            if not data and not {"Content-Length", "Transfer-Encoding"} & set(self.headers):
                raise urllib3.exceptions.ProtocolError("closed")
            return data


# Failures


class TellsRefusedAsLost(Blocking):
    breaks = "refused_connection_is_tried_again"
    failures = {**good._FAILURES, urllib3.exceptions.NewConnectionError: Failure.CONNECTION_LOST}


class LeaksRefusals(Blocking):
    breaks = "refused_connection_is_tried_again"
    and_so = ("connect_limits_the_connection", "total_limits_the_connection")

    failures = {
        cls: failure
        for cls, failure in good._FAILURES.items()
        if not issubclass(urllib3.exceptions.NewConnectionError, cls)
    }
    failures[urllib3.exceptions.ProtocolError] = Failure.CONNECTION_LOST


class LeaksHostNames(Blocking):
    breaks = "unknown_host_is_no_connection"

    def send(self, request, timeout):
        request.host.encode("idna")
        return super().send(request, timeout)


class TellsLostAsRefused(Blocking):
    breaks = "lost_request_is_not_sent_again"
    and_so = ("cut_answer_is_a_failure", "cut_stream_delivers_what_had_come")
    failures = {**good._FAILURES, urllib3.exceptions.ProtocolError: Failure.CONNECT}


class LeaksNonsense(Blocking):
    breaks = "nonsense_is_a_failure"

    def send(self, request, timeout):
        try:
            return super().send(request, timeout)
        except urllib3.exceptions.ProtocolError as error:
            if type(error.args[-1]) is http.client.BadStatusLine:
                raise ValueError("this is no HTTP") from error
            raise


# TLS


class TrustsEverybody(Blocking):
    breaks = "unknown_certificate_is_refused"

    def __init__(self):
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._pool_manager.connection_pool_kw.update(ssl_context=context, cert_reqs="CERT_NONE")


class TellsHandshakeAsLost(Blocking):
    breaks = "plain_server_is_no_connection"
    and_so = ("unknown_certificate_is_refused",)
    failures = {**good._FAILURES, urllib3.exceptions.SSLError: Failure.CONNECTION_LOST}


class TellsHandshakeAsRead(Blocking):
    breaks = "connect_limits_the_handshake"
    failures = {**good._FAILURES, good.ConnectTimeout: Failure.TIMEOUT}


# Coroutines


class Trio(Broken, trio_adapter._Transport):
    """A good transport for trio, with an answer that can be made worse."""

    backend = "trio"
    answer = None

    def __init__(self):
        super().__init__(None)

    async def send(self, request, timeout):
        answer = await super().send(request, timeout)
        return answer if self.answer is None else self.answer(self, answer)


class TrioAnswer:
    """A good answer behind one that can be made worse."""

    def __init__(self, transport, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.transport = transport
        self.good = answer

    async def read(self, timeout):
        return await self.good.read(timeout)

    async def aclose(self):
        await self.good.aclose()

    def abort(self):
        self.good.abort()


class IgnoresTotalOfADrippingHead(Trio):
    breaks = "total_limits_a_dripping_head"
    and_so = ("total_limits_a_silent_call",)

    async def send(self, request, timeout):
        connect = at_most(timeout.connect, timeout.total)
        idle = at_most(timeout.idle, timeout.total and timeout.total * LENIENCE)
        return await super().send(request, dataclasses.replace(timeout, connect=connect, idle=idle, total=None))


class BlocksInSleep(Trio):
    breaks = "loop_goes_on_meanwhile"
    and_so = ("cancelled_in_its_sleep",)

    async def sleep(self, seconds):
        time.sleep(min(seconds, 0.5))  # noqa: ASYNC251 - that is what is broken


class BlocksInDisguise(Broken):
    """A transport for blocking code that calls itself one for coroutines."""

    backend = "asyncio"
    breaks = "loop_goes_on_meanwhile"
    and_so = (
        "cancelled_before_the_head",
        "cancelled_in_the_body",
        "cancelled_in_the_handshake",
        "total_limits_a_dripping_head",
    )
    failures = good._FAILURES
    current_time = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)

    def __init__(self):
        self.blocking = good._Transport(None)

    async def send(self, request, timeout):
        return self.Answer(self.blocking.send(request, timeout))

    async def aclose(self):
        self.blocking.close()

    class Answer:
        def __init__(self, answer):
            self.status, self.headers = answer.status, answer.headers
            self.blocking = answer

        async def read(self, timeout):
            return self.blocking.read(timeout)

        async def aclose(self):
            self.blocking.close()

        def abort(self):
            self.blocking.close()


class SleepsThroughCancellation(Trio):
    breaks = "cancelled_in_its_sleep"

    async def sleep(self, seconds):
        with trio.CancelScope(shield=True):
            await trio.sleep(min(seconds, 5.0))


class SwallowsCancellationOfSend(Trio):
    breaks = "cancelled_before_the_head"
    and_so = ("cancelled_in_the_handshake",)

    async def send(self, request, timeout):
        try:
            return await super().send(request, timeout)
        except trio.Cancelled:
            raise trio_adapter.ConnectionLost("it did not come") from None


class SwallowsCancellationOfRead(Trio):
    breaks = "cancelled_in_the_body"

    class answer(TrioAnswer):  # noqa: N801
        async def read(self, timeout):
            try:
                return await super().read(timeout)
            except trio.Cancelled:
                return b""


class GoesOnBehindTheBack(Trio):
    breaks = "cancelled_before_the_head"
    and_so = ("cancelled_in_the_handshake",)

    async def send(self, request, timeout):
        done = trio.Event()
        outcome = []

        async def send():
            try:
                outcome.append(await super(GoesOnBehindTheBack, self).send(request, self.limits(timeout)))
            except Exception as error:
                outcome.append(error)
            done.set()

        trio.lowlevel.spawn_system_task(send)
        await done.wait()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def limits(self, timeout):
        return timeout


class AbandonsWhatIsLate(GoesOnBehindTheBack):
    breaks = "failed_call_is_closed"
    and_so = ("cancelled_before_the_head", "cancelled_in_the_handshake")

    async def send(self, request, timeout):
        with trio.fail_after(at_most(at_most(timeout.idle, timeout.total), 100.0)):
            return await super().send(request, timeout)

    def limits(self, timeout):
        return dataclasses.replace(timeout, idle=None, total=None)


class ClosesWithACheckpoint(Trio):
    breaks = "cancelled_between_events"

    class answer(TrioAnswer):  # noqa: N801
        async def aclose(self):
            self.transport.kept.append(self.good)
            await trio.lowlevel.checkpoint()
            await super().aclose()

    def __init__(self):
        super().__init__()
        self.kept = []


class AbortsNothing(Trio):
    breaks = "dropped_stream_is_closed"

    class answer(TrioAnswer):  # noqa: N801
        def abort(self):
            self.transport.kept.append(self.good)

    def __init__(self):
        super().__init__()
        self.kept = []


class LeavesHandshakes(GoesOnBehindTheBack):
    breaks = "cancelled_in_the_handshake"
    and_so = ()

    async def send(self, request, timeout):
        send = super().send if request.scheme == "https" else super(GoesOnBehindTheBack, self).send
        return await send(request, timeout)


# The program

# These take the most time, and no adapter here breaks them by the way.
LARGE = ("streams_do_not_block_calls", "upload_that_nobody_takes_times_out", "large_answer_comes_whole")
WORKERS = 10


def check(broken):
    """The rules that `broken` breaks, and what is said of each."""
    without = {name: "takes long" for name in LARGE if name not in (broken.breaks, *broken.and_so)}
    if issubclass(broken, Blocking) and broken.breaks != "total_limits_a_dripping_head":
        without["total_limits_a_dripping_head"] = "urllib3 has no limit for a whole head"
    subject = Subject(broken.make, broken.backend, without=without, patience=1.5)
    return {error.rule.name: str(error) for error in check_all(subject)}


def main(names):
    """Check the adapters with these names, side by side, since most of the time is spent waiting."""
    warnings.simplefilter("ignore")
    chosen = [broken for broken in BROKEN if broken.__name__ in names]
    with ThreadPoolExecutor(WORKERS) as pool:
        json.dump(dict(zip((broken.__name__ for broken in chosen), pool.map(check, chosen))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
