"""The example for Tornado: what it prints, and what becomes of its calls when the network fails."""

from __future__ import annotations

import asyncio
import time

import pytest

from meshapi_core import APIConnectionError, APITimeoutError, RetryPolicy, StreamInterruptedError, Timeout
from meshapi_transports.testing import Fault
from meshapi_transports.testing.raw import RawServer, answer_head, chat_answer, refusing_url, replies

from .harness import PARAMS, SCRIPTS, check_iterating, check_waiting, core_for, load_example, run_example, text_of

pytest.importorskip("tornado")
from tornado.ioloop import IOLoop

example = load_example("tornado_client")


def run(coroutine_function):
    """What a coroutine gives or raises in a loop of its own."""
    loop = IOLoop(make_current=False)
    try:
        return loop.run_sync(coroutine_function)
    finally:
        loop.close()


def value_of(call):
    """What a call gives in the end."""

    async def drive():
        return await example.perform(call)

    return run(drive)


def perform(core):
    """The text of a whole answer."""
    return value_of(core.chat.completions.create(PARAMS)).choices[0].message.content


def gather(call, items):
    """Drive a call to its end, and put what it brings into `items`."""

    async def collect():
        async for item in example.stream(call):
            items.append(item)

    run(collect)


def read(core, chunks):
    """Read a stream to its end, into `chunks`."""
    gather(core.chat.completions.stream(PARAMS), chunks)


def test_calls_of_several_requests(gateway):
    """Each request is sent when the call asks for it, with a wait before it or without."""
    check_waiting(gateway, value_of)
    check_iterating(gateway, gather)


def test_the_program(gateway):
    """It makes its call again when it is told to, reads one stream, and leaves the other where that is silent."""
    gateway.inject(Fault(status=503, retry_after=0.01))
    gateway.inject(Fault(), times=2)
    gateway.inject(Fault(stall_after=500))
    ran = run_example("tornado_client", gateway)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "call: You said: one two three",
        "stream:You|said:|one|two|three",
        "cancelled after: You",
    ]
    assert len(gateway.requests) == 4


def test_leaving_a_stream_closes_its_connection(gateway):
    """The server sees the connection end while the loop goes on."""
    with RawServer(SCRIPTS["silent_in_the_middle"]) as server:
        core = core_for(server.url)

        async def leave():
            chunks = example.stream(core.chat.completions.stream(PARAMS))
            first = await chunks.__anext__()
            await chunks.aclose()
            assert await IOLoop.current().run_in_executor(None, server.wait_until, lambda server: server.open == 0)
            return first

        assert text_of([run(leave)]) == "one"


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
    with pytest.raises(Exception, match="503"):
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


def test_cancelling_a_call():
    """Cancelling the task closes the connection, and is no error of the call."""
    with RawServer(lambda connection: (connection.receive_request(), connection.wait_closed())) as server:
        call = core_for(server.url).chat.completions.create(PARAMS)

        async def cancel():
            answering = asyncio.ensure_future(example.perform(call))
            await IOLoop.current().run_in_executor(None, server.wait_until, lambda server: server.requests)
            answering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await answering
            assert await IOLoop.current().run_in_executor(None, server.wait_until, lambda server: server.open == 0)

        run(cancel)
    assert len(server.requests) == 1
