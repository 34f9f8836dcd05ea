"""The example for Twisted: what it prints, and what becomes of its calls when the network fails."""

from __future__ import annotations

import threading
import time

import pytest

from meshapi_core import APIConnectionError, APITimeoutError, RetryPolicy, StreamInterruptedError, Timeout
from meshapi_transports.testing import Fault
from meshapi_transports.testing.raw import RawServer, answer_head, chat_answer, refusing_url, replies

from .harness import PARAMS, SCRIPTS, check_iterating, check_waiting, core_for, load_example, run_example, text_of

pytest.importorskip("twisted")
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError  # noqa: A004
from twisted.internet.threads import blockingCallFromThread, deferToThread

example = load_example("twisted_client")


@pytest.fixture(scope="module", autouse=True)
def reactor():
    """Twisted's reactor, which runs once in a process, in a thread of its own."""
    from twisted.internet import reactor

    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, name="reactor")
    thread.start()
    yield reactor
    reactor.callFromThread(reactor.stop)
    thread.join()


def run(reactor, coroutine_function):
    """What a coroutine gives or raises in the reactor."""
    return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(coroutine_function()))


def value_of(reactor, call):
    """What a call gives in the end."""

    async def drive():
        return await example.perform(reactor, call)

    return run(reactor, drive)


def perform(reactor, core):
    """The text of a whole answer."""
    return value_of(reactor, core.chat.completions.create(PARAMS)).choices[0].message.content


def gather(reactor, call, items):
    """Drive a call to its end, and put what it brings into `items`."""

    async def collect():
        async for item in example.stream(reactor, call):
            items.append(item)

    run(reactor, collect)


def read(reactor, core, chunks):
    """Read a stream to its end, into `chunks`."""
    gather(reactor, core.chat.completions.stream(PARAMS), chunks)


def test_calls_of_several_requests(gateway, reactor):
    """Each request is sent when the call asks for it, with a wait before it or without."""
    check_waiting(gateway, lambda call: value_of(reactor, call))
    check_iterating(gateway, lambda call, items: gather(reactor, call, items))


def test_the_program(gateway):
    """It makes its call again when it is told to, reads one stream, and leaves the other where that is silent."""
    gateway.inject(Fault(status=503, retry_after=0.01))
    gateway.inject(Fault(), times=2)
    gateway.inject(Fault(stall_after=500))
    ran = run_example("twisted_client", gateway)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "call: You said: one two three",
        "stream:You|said:|one|two|three",
        "cancelled after: You",
    ]
    assert len(gateway.requests) == 4


def test_leaving_a_stream_closes_its_connection(gateway, reactor):
    """The server sees the connection end while the loop goes on."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server:
        core = core_for(server.url)

        async def leave():
            chunks = example.stream(reactor, core.chat.completions.stream(PARAMS))
            first = await chunks.__anext__()
            await chunks.aclose()
            assert await deferToThread(server.wait_until, lambda server: server.open == 0)
            return first

        assert text_of([run(reactor, leave)]) == "one"


def test_no_connection(reactor):
    """A refused connection is tried again as often as the policy allows, and then is an APIConnectionError."""
    with refusing_url() as url, pytest.raises(APIConnectionError, match="no connection could be made") as caught:
        perform(reactor, core_for(url, retry=RetryPolicy(max_retries=1, backoff_base=0.001)))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_stream_that_is_cut(reactor):
    """What had come is delivered, and the end that is none is a StreamInterruptedError."""
    chunks = []
    with RawServer(SCRIPTS["cut_in_the_middle"]) as server, pytest.raises(StreamInterruptedError) as caught:
        read(reactor, core_for(server.url), chunks)
    assert text_of(chunks) == "one two"
    assert caught.value.partial.choices[0].message.content == "one two"


@pytest.mark.parametrize("script", ["silent_in_the_middle", "alive_in_the_middle"])
def test_a_stream_that_stalls(script, reactor):
    """The wait for the next event ends in time, whether or not the server keeps the connection alive."""
    chunks = []
    with RawServer(SCRIPTS[script]) as server, pytest.raises(APITimeoutError, match="nothing came in time"):
        read(reactor, core_for(server.url, timeout=0.5), chunks)
    assert text_of(chunks) == "one two"


def test_an_answer_that_comes_slowly(reactor):
    """The wait for a call's bytes begins anew with each piece of them."""
    head, blank_line, body = chat_answer().partition(b"\r\n\r\n")

    def send_slowly(connection):
        connection.receive_request()
        connection.send(head + blank_line)
        for start in range(0, len(body), 40):
            time.sleep(0.1)
            connection.send(body[start : start + 40])

    with RawServer(send_slowly) as server:
        assert perform(reactor, core_for(server.url, timeout=Timeout(connect=0.1, idle=0.3))) == "Hello there"


def test_the_whole_time(reactor):
    """The time for the whole call ends it, however patient it is between events."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server, pytest.raises(APITimeoutError, match="whole call"):
        read(reactor, core_for(server.url, timeout=Timeout(total=0.1)), [])


def test_no_time_for_another_try(gateway, reactor):
    """A wait that is longer than what is left of the time is not begun."""
    gateway.inject(Fault(status=503, retry_after=30))
    with pytest.raises(Exception, match="503"):
        perform(reactor, core_for(gateway.base_url, timeout=Timeout(total=20), retry=RetryPolicy()))
    assert len(gateway.requests) == 1


def test_a_body_that_is_cut(reactor):
    """A body that ends before its Content-Length is a lost connection, and never an answer."""
    whole = chat_answer()
    script = replies(lambda connection, request: (connection.send(whole[:-1]), connection.close()))
    with RawServer(script) as server, pytest.raises(APIConnectionError, match="connection was lost"):
        perform(reactor, core_for(server.url))


def test_a_body_that_ends_with_its_connection(reactor):
    """A body without a length is as long as its connection stands."""
    body = chat_answer().partition(b"\r\n\r\n")[2]
    head = answer_head(200, "Content-Type: application/json")
    script = replies(lambda connection, request: (connection.send(head + body), connection.close()))
    with RawServer(script) as server:
        assert perform(reactor, core_for(server.url)) == "Hello there"


def test_cancelling_a_call(reactor):
    """Cancelling the Deferred closes the connection, and is no error of the call."""
    with RawServer(lambda connection: (connection.receive_request(), connection.wait_closed())) as server:
        call = core_for(server.url).chat.completions.create(PARAMS)

        async def cancel():
            answering = Deferred.fromCoroutine(example.perform(reactor, call))
            await deferToThread(server.wait_until, lambda server: server.requests)
            answering.cancel()
            with pytest.raises(CancelledError):
                await answering
            assert await deferToThread(server.wait_until, lambda server: server.open == 0)

        run(reactor, cancel)
    assert len(server.requests) == 1
