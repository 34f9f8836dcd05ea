"""Clients that are used again: on one connection, in many threads, in other loops, after a fork, after their end."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import anyio
import pytest

from meshapi_core import BatchObject, MeshAPIError, RetryPolicy, Timeout
from meshapi_transports.testing.raw import RawServer, answer, chat_answer

from ..transports.conftest import only
from ..transports.faces import PARAMS, create, failure, read, stream
from ..transports.faces import text_of as text_in
from .pressure import PIECES, Echo, SocketSteps, connections_to, held_by, run, settle, text_of

counting = pytest.mark.usefixtures("patient_drain")

CALLS = 50


def mine(number, **fields):
    """The options of a call whose answer is that of `number`."""
    return {"extra_headers": {"X-Number": str(number), **fields}}


async def ask(client, number, **fields):
    """The answer that `number` has got."""
    return (await create(client, **mine(number, **fields))).choices[0].message.content


# One connection


async def by_create(client, number):
    assert await ask(client, number) == text_of(number)


async def by_stream(client, number):
    assert await read(stream(client, **mine(number, **{"X-Slow": "1"}))) == text_of(number)


async def by_entered_stream(client, number):
    async with stream(client, **mine(number)) as events:
        assert await read(events) == text_of(number)


async def by_collect(client, number):
    assert (await stream(client, **mine(number)).collect()).choices[0].message.content == text_of(number)


async def by_text(client, number):
    assert "".join([text async for text in stream(client, **mine(number)).text]) == text_of(number)


async def by_iterate(client, number):
    ids = [batch.id async for batch in client.batches.iterate(**mine(number))]
    assert ids == [f"{number}.{index}" for index in range(PIECES)]


async def by_results(client, number):
    batch = BatchObject(id="batch-1", status="completed", output_file_id="file-1")
    ids = [result.custom_id async for result in client.batches.results(batch, **mine(number))]
    assert ids == [f"{number}.{index}" for index in range(PIECES)]


async def by_wait(client, number):
    assert (await client.batches.wait(str(number), poll_interval=0.0001, **mine(number))).is_ended


async def by_retry(client, number):
    assert await ask(client, number, **{"X-Fails": "2"}) == text_of(number)


async def by_error(client, number):
    assert (await failure(create(client, **mine(number, **{"X-Fails": "1"}), max_retries=0))).status == 503


async def by_stream_that_is_an_error(client, number):
    error = await failure(read(stream(client, **mine(number, **{"X-Fails": "1"}))))
    assert error.status == 503


WAYS = [
    by_create,
    by_stream,
    by_entered_stream,
    by_collect,
    by_text,
    by_iterate,
    by_results,
    by_wait,
    by_retry,
    by_error,
    by_stream_that_is_an_error,
]


@counting
@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_fifty_calls_on_one_connection(face, way):
    """After a call that came to its end, whichever it was, fifty more of all kinds use the same connection."""
    with RawServer(Echo()) as server:
        async with face.client(server, retry=RetryPolicy(backoff_base=0.0)) as client:
            await way(client, "first")
            for number in range(CALLS):
                await way(client, f"same {number}")
                await WAYS[number % len(WAYS)](client, f"other {number}")
            assert server.accepted == 1
            assert held_by(client) == (0, 1)
            assert len(connections_to(server.url)) == 1
    assert connections_to(server.url) == set()


@pytest.mark.anyio
async def test_errors_of_all_kinds_on_one_connection(face):
    """Whatever an error's status, and whether its body was ever of use, the next call finds the connection in order."""
    statuses = [300, 302, 304, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 501, 502, 503, 504, 599]
    # Each of them once for each of the two ways of asking.
    order = [*statuses, *reversed(statuses)]

    def script(connection):
        for status in order:
            number = connection.receive_request().header("x-number")
            connection.send(answer(b"" if status == 304 else b'{"error": {"message": "%b"}}' % number.encode(), status))
        connection.receive_request()
        connection.send(chat_answer("Hi"))
        connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server, max_retries=0) as client:
            for number, status in enumerate(order):
                options = mine(f"number {number}")
                error = await failure(read(stream(client, **options)) if number % 2 else create(client, **options))
                assert error.status == status
                assert status == 304 or f"number {number}" in error.message
            assert (await create(client)).choices[0].message.content == "Hi"
            assert server.accepted == 1


# Many threads


@counting
@only(lambda face: face.is_blocking)
def test_thirty_two_threads(face):
    """Thirty-two threads that share a client from its first call on get their own answers, on a connection each."""
    threads, calls = 32, 20
    said, start = {}, threading.Barrier(threads)

    with RawServer(Echo()) as server:
        client = face.client(server, timeout=30.0)

        def call(thread):
            start.wait()
            for number in range(thread * calls, (thread + 1) * calls):
                said[number] = anyio.run(ask if number % 2 else collect, client, number)

        async def collect(client, number):
            return await read(stream(client, **mine(number, **{"X-Slow": "1"})))

        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(call, thread) for thread in range(threads)]:
                done.result()
        assert said == {number: text_of(number) for number in range(threads * calls)}
        assert server.accepted <= threads
        assert len(connections_to(server.url)) == held_by(client).idle <= threads
        client._blocking.close()
        assert connections_to(server.url) == set()


@counting
@only(lambda face: face.is_blocking)
def test_streams_that_go_from_thread_to_thread(face):
    """A stream may be made in one thread, read in others, one after the other, and closed in yet another."""
    with RawServer(Echo()) as server:
        client = face.client(server, timeout=30.0)._blocking
        streams = [client.chat.completions.stream(PARAMS, **mine(number, **{"X-Slow": "1"})) for number in range(8)]
        texts = [each.text for each in streams]
        said = [[] for _ in streams]

        def read_on(number):
            said[number].extend(text for text in [next(texts[number], None)] if text)

        for _ in range(PIECES + 1):
            in_threads(read_on, range(8))
        assert ["".join(pieces) for pieces in said] == [text_of(number) for number in range(8)]
        # Its end, for those of which a chunk without text was the last that was asked for.
        in_threads(lambda number: list(streams[number]), range(8))
        in_threads(lambda number: streams[number].close(), range(8))
        assert len(connections_to(server.url)) == held_by(client).idle == server.accepted
        client.close()
        assert connections_to(server.url) == set()


def in_threads(function, arguments):
    """Call `function` with each of the `arguments`, in a thread of its own."""
    threads = [threading.Thread(target=function, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Other loops


async_faces = only(lambda face: not face.is_blocking)


@async_faces
def test_client_made_outside_the_loop(face):
    """A client may be made before any loop runs; it works in the one that runs then, and closes there."""
    with RawServer(Echo()) as server:
        client = face.client(server)

        async def main(steps):
            assert await ask(client, "inside") == text_of("inside")
            assert held_by(client) == (0, 1)
            await client.aclose()

        run(face.backend, main)
        assert connections_to(server.url) == set()


@async_faces
def test_stream_made_outside_the_loop(face):
    """A stream, which sends nothing before it is read, may be made before any loop runs, like its client."""
    with RawServer(Echo()) as server:
        client = face.client(server)
        events = stream(client, **mine("made outside"))

        async def main(steps):
            assert await read(events) == text_of("made outside")
            await client.aclose()

        run(face.backend, main)
        assert connections_to(server.url) == set()


# Who does not close a client in its loop is told so by asyncio.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@async_faces
def test_client_in_one_loop_after_the_other(face):
    """A client that was used in a loop that has ended works in the next one, or says clearly why it does not."""
    outcomes = []
    with RawServer(Echo()) as server:
        client = face.client(server)

        async def call():
            for number in range(3):
                number = f"{len(outcomes)} {number}"
                assert await ask(client, number) == text_of(number)

        for _ in range(4):
            outcomes.append(outcome_of(face, call))
        assert outcomes in (["works"] * 4, ["works", *["says why"] * 3])
        assert outcome_of(face, client.aclose) == "works"
        client = None
        gc.collect()
        assert connections_to(server.url) == set()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@async_faces
def test_client_in_two_loops_at_once(face):
    """A client that is in use in one thread's loop works in another's at the same time, or says why it does not."""
    outcomes = []
    with RawServer(Echo()) as server:
        client = face.client(server)

        async def call_here():
            async with stream(client, **mine("here", **{"X-Slow": "1"})) as events:
                assert await ask(client, "idle") == text_of("idle")
                thread = threading.Thread(target=lambda: outcomes.append(outcome_of(face, call_there)))
                thread.start()
                assert await read(events) == text_of("here")
                for number in range(20):
                    assert await ask(client, f"here {number}") == text_of(f"here {number}")
                thread.join()
            await client.aclose()

        async def call_there():
            for number in range(20):
                assert await ask(client, f"there {number}") == text_of(f"there {number}")

        assert outcome_of(face, call_here) == "works"
        assert outcomes in (["works"], ["says why"])


def outcome_of(face, main):
    """Run `main` in a loop of its own; whether it works, says why it does not, or what else comes of it."""

    async def alone():
        await main()

    try:
        anyio.run(alone, backend=face.backend)
    except RuntimeError as error:
        return "says why" if "another event loop" in str(error) else f"{error!r}"
    return "works"


# After a fork

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
blocking_faces = only(lambda face: face.is_blocking)

BEGINNING = """
    import importlib, os, signal, sys, threading, time
    from meshapi_core import ChatCompletionParams, MeshAPIError
    from meshapi_transports.testing.raw import RawServer, chat_answer, chat_stream, replies

    release = threading.Event()

    def reply(connection, request):
        number = request.header("x-number")
        if number == "child, held":
            connection.wait(release)
        if request.json()["stream"]:
            pieces = chat_stream(*number).split(b"data:")
            connection.send(b"data:".join(pieces[:3]))
            connection.wait(release)
            connection.send(b"data:" + b"data:".join(pieces[3:]))
        else:
            if number == "parent":
                release.set()
            connection.send(chat_answer(number))

    params = ChatCompletionParams(messages=[{"role": "user", "content": "x"}])

    def options(number):
        return {"extra_headers": {"X-Number": number}, "timeout": 10.0, "max_retries": 0}

    def ask(number):
        return client.chat.completions.create(params, **options(number)).choices[0].message.content

    def child():
        # What a child finds out: its own answers, or that it may not ask.
        try:
            for number in range(20):
                assert ask(f"child {number}") == f"child {number}"
        except RuntimeError as error:
            assert "fork" in str(error)

    with RawServer(replies(reply)) as server:
        client = importlib.import_module("MODULE").MeshAPI(base_url=server.url, token="rsk_x")
        assert ask("first") == "first"
"""


def forked(face, program):
    """What `program` prints, which goes on where `BEGINNING` ends, in a process of its own."""
    source = textwrap.dedent(BEGINNING).replace("MODULE", face.library.module)
    source += textwrap.indent(textwrap.dedent(program), "    ")
    # Python itself warns of forking where there are threads, such as the server's.
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@forking
@blocking_faces
@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "client.close(); sys.exit(0)"])
def test_forked_child(face, end):
    """After a fork the child has its own answers or is told why not; its end does not harm the parent's connection."""
    program = f"""
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            child()
            # The server's threads are the parent's.
            server.__exit__ = lambda *args: None
            {end.replace("sys.exit", "leave")}
        assert os.waitpid(pid, 0)[1] == 0
        for number in range(20):
            assert ask(f"parent {{number}}") == f"parent {{number}}"
        print(server.accepted)
        client.close()
    """
    leave = "\ndef leave(status):\n    global client\n    client = None\n    sys.stdout.flush()\n    os._exit(status)\n"
    # The parent's own, and the child's if it does not take that.
    assert forked(face, leave + textwrap.dedent(program)) in (["1"], ["2"])


@forking
@blocking_faces
def test_forked_child_that_drops_a_stream(face):
    """A stream that is open while its process forks can be dropped by the child, and read on by the parent."""
    program = """
        events = client.chat.completions.stream(params, **options("abcdef"))
        said = [next(events.text)]
        pid = os.fork()
        if pid == 0:
            del events
            client.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        release.set()
        print("".join([*said, *events.text]))
        print(ask("after"))
        client.close()
    """
    assert forked(face, program) == ["abcdef", "after"]


@forking
@blocking_faces
def test_forked_child_that_is_killed(face):
    """A child that is killed while it waits for its answer does not leave that answer to its parent."""
    program = """
        pid = os.fork()
        if pid == 0:
            try:
                ask("child, held")
            except RuntimeError as error:
                assert "fork" in str(error)
            os._exit(0)
        is_over = False
        while len(server.requests) < 2 and not is_over:
            is_over = os.waitpid(pid, os.WNOHANG)[0] == pid
            time.sleep(0.001)
        if not is_over:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        # If the parent's question waits behind the child's, the server does not see it.
        late = threading.Timer(3.0, release.set)
        late.start()
        print(ask("parent"))
        late.cancel()
        client.close()
    """
    assert forked(face, program) == ["parent"]


# The end of a client


@pytest.mark.anyio
async def test_client_closed_while_streams_are_open(face):
    """Streams whose client is closed give what is theirs or an error; none hangs, or looks whole if it is not."""
    with RawServer(Echo()) as server:
        client = face.client(server)
        streams = [stream(client, **mine(number, **{"X-Slow": "1"})) for number in range(12)]
        said = [[] for _ in streams]
        for number, events in enumerate(streams):
            if number % 4 == 1:
                await events.__aenter__()
            for _ in range(number if number % 4 > 1 else 0):
                async for chunk in events:
                    said[number].append(text_in([chunk]))
                    break
        await client.aclose()
        for number, events in enumerate(streams):
            try:
                said[number].append(await read(events))
            except (MeshAPIError, RuntimeError):
                assert text_of(number).startswith("".join(said[number]))
            else:
                assert "".join(said[number]) == text_of(number)
            await events.aclose()
        await settle(lambda: not connections_to(server.url), 1.0)
        left = len(connections_to(server.url))
        if face.is_blocking:
            client._blocking.close()
        assert left == 0


@counting
@pytest.mark.anyio
@pytest.mark.parametrize("way", [way for way in WAYS if way not in (by_error, by_stream_that_is_an_error)])
async def test_every_way_to_use_a_closed_client(face, way):
    """Whatever is asked of a closed client, it says that it is closed, every time; nothing is sent."""
    with RawServer(Echo()) as server:
        client = face.client(server)
        await way(client, "before")
        for _ in range(3):
            await client.aclose()
            with pytest.raises(RuntimeError, match="the client is closed"):
                await way(client, "after")
            async with client:
                pass
        assert server.accepted == 1
        await settle(lambda: not connections_to(server.url))
        assert connections_to(server.url) == set()


@pytest.mark.parametrize("way", [by_create, by_stream])
def test_client_closed_at_every_step_of_a_call(face, way, monkeypatch, no_certificates):
    """At whichever step of a call its client is closed, the call has its answer or an error, and nothing stays open."""

    async def main(steps):
        for step in itertools.count(1):
            # aiohttp forgets the bodies that are being read when it is closed: who reads one waits for it in vain.
            client = face.client(server, timeout=Timeout(connect=5.0, idle=0.5))
            try:
                await closed_at(steps, step, client)
            finally:
                was_closed = steps.disarm()
                await client.aclose()
            await settle(lambda: not connections_to(server.url), 1.0)
            left = len(connections_to(server.url))
            client = None
            assert left == 0
            if not was_closed:
                break

    async def closed_at(steps, step, client):
        if face.is_blocking:
            closer = threading.Thread(target=client._blocking.close)

            def close_elsewhere():
                closer.start()
                # Unless it has to wait for what this thread is about to do.
                closer.join(0.01)

            steps.arm(step, close_elsewhere)
            await call(client, step)
            if closer.ident is not None:
                closer.join()
            return
        due = anyio.Event()

        async def close():
            await due.wait()
            await client.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close)
            steps.arm(step, due.set)
            await call(client, step)
            due.set()

    async def call(client, step):
        # Where it would wait for ever, so that the test does not.
        with anyio.fail_after(10.0), suppress(MeshAPIError, RuntimeError):
            await way(client, step)

    with RawServer(Echo()) as server:
        if face.is_blocking:
            steps = SocketSteps(monkeypatch, "connect")
            anyio.run(main, steps)
        else:
            run(face.backend, main)


@pytest.mark.anyio
async def test_client_closed_by_many_at_once(face):
    """A client that ten close at once, while calls are under way, is closed, and each call has an end."""
    ends = []
    with RawServer(Echo()) as server:
        client = face.client(server)

        async def call(number):
            try:
                assert await ask(client, number, **{"X-Slow": "1"}) == text_of(number)
            except (MeshAPIError, RuntimeError) as error:
                ends.append(error)
            else:
                ends.append(None)

        async def close():
            await client.aclose()

        if face.is_blocking:
            in_threads(lambda task: anyio.run(*task), [(close,) if n % 3 == 2 else (call, n) for n in range(30)])
        else:
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(call, number)
                await settle(lambda: server.accepted > 10)
                for _ in range(10):
                    tasks.start_soon(close)
        assert len(ends) == 20
        await client.aclose()
        gc.collect()
        await settle(lambda: not connections_to(server.url))
        assert connections_to(server.url) == set()
