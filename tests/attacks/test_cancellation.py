"""Calls and streams that are cancelled at every point, in every way: nothing is left open, and nobody else suffers."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import random
import ssl
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
import trustme

from meshapi_core import BatchObject, RetryPolicy, Timeout
from meshapi_transports.testing.raw import RawServer

from ..transports.conftest import only
from ..transports.faces import FACES, PARAMS, create, read, stream
from ..transports.faces import text_of as said_in
from .pressure import Echo, Interrupt, SocketSteps, connections_to, held_by, interrupt, run, settle, text_of, texts_of

pytestmark = pytest.mark.usefixtures("patient_drain")

blocking_faces = only(lambda face: face.is_blocking)

BATCH = BatchObject(id="batch-1", status="completed")
PATIENT = Timeout(connect=20.0, idle=20.0)
QUICK_RETRY = RetryPolicy(backoff_base=0.0005)


def mine(number, **fields):
    """The options of a call whose answer is that of `number`, and comes piece by piece."""
    return {"extra_headers": {"X-Number": str(number), "X-Slow": "1", **fields}}


# What is cancelled: each gives what belongs to its number


async def creating(client, number, **options):
    return (await create(client, **mine(number), **options)).choices[0].message.content


async def creating_in_time(client, number):
    return await creating(client, number, timeout=Timeout(connect=20.0, idle=20.0, total=20.0))


async def creating_in_the_end(client, number):
    return (await create(client, **mine(number, **{"X-Fails": "2"}))).choices[0].message.content


async def creating_from_much(client, number):
    params = PARAMS.model_copy(update={"user": "x" * 300_000})
    return (await client.chat.completions.create(params, **mine(number))).choices[0].message.content


async def reading(client, number, **options):
    async with stream(client, **mine(number), **options) as events:
        return await read(events)


async def reading_in_time(client, number):
    return await reading(client, number, timeout=Timeout(connect=20.0, idle=20.0, total=20.0))


async def reading_without_a_block(client, number):
    return await read(stream(client, **mine(number)))


async def collecting(client, number):
    return (await stream(client, **mine(number)).collect()).choices[0].message.content


async def reading_text(client, number):
    return "".join([text async for text in stream(client, **mine(number)).text])


async def leaving_early(client, number):
    async with stream(client, **mine(number, **{"X-Holds": "1"})) as events:
        async for chunk in events:
            assert said_in([chunk]) == texts_of(number)[0]
            break
    return text_of(number)


async def iterating(client, number):
    return " ".join([batch.id async for batch in client.batches.iterate(**mine(number))]) + " "


async def reading_results(client, number):
    batch = BATCH.model_copy(update={"output_file_id": f"file-{number}"})
    return " ".join([result.custom_id async for result in client.batches.results(batch, **mine(number))]) + " "


async def waiting(client, number):
    batch = await client.batches.wait(str(number), poll_interval=0.0005, **mine(number))
    assert batch.id == str(number)
    return text_of(number)


ACTS = [
    creating,
    creating_in_time,
    creating_in_the_end,
    creating_from_much,
    reading,
    reading_in_time,
    reading_without_a_block,
    collecting,
    reading_text,
    leaving_early,
    iterating,
    reading_results,
    waiting,
]


# How it is cancelled: each gives what the call said, or None once it is cancelled


async def by_scope(steps, number, call):
    """As trio and anyio do: again and again, until the scope is left."""
    with anyio.CancelScope() as scope:
        steps.arm(number, scope.cancel)
        return await call
    return None


async def by_task(steps, number, call):
    """As asyncio does: once."""
    told = []
    task = asyncio.ensure_future(call)
    steps.arm(number, lambda: told.append(task.cancel()))
    await asyncio.wait([task])
    if task.cancelled():
        return None
    # Who was told that the task will be cancelled must not be disappointed.
    assert told in ([], [False])
    return task.result()


async def is_in_order(client, url, number):
    """Assert that nothing is open that should not be, and that the client works and gets its own answer."""
    await at_rest(client, url, 1)
    answer = await create(client, extra_headers={"X-Number": str(number)})
    assert answer.choices[0].message.content == text_of(number)
    assert held_by(client) == (0, 1)


async def at_rest(client, url, connections):
    """Assert that nothing is under way, and that no more than some idle `connections` are open."""
    await settle(lambda: held_by(client).busy == 0 and len(connections_to(url)) == held_by(client).idle)
    held = held_by(client)
    assert held.busy == 0
    assert len(connections_to(url)) == held.idle <= connections


async def is_gone(url):
    """Assert that nothing is open any more."""
    await settle(lambda: not connections_to(url))
    assert connections_to(url) == set()


# Python 3.9 does not get the libraries of today, such as an anyio that closes what it has just connected when it is
# cancelled.
HAS_OLD_LIBRARIES = "connected_stream is not None" not in inspect.getsource(anyio.connect_tcp)
LOST = "this anyio loses the connection that it has just made if it is cancelled then, and the loop keeps it open"


def known(face):
    """The marks of a test of `face`, which may fail with old libraries."""
    may_fail = HAS_OLD_LIBRARIES and face.name in ("httpx-asyncio", "httpx2-asyncio")
    return [pytest.mark.xfail(reason=LOST, strict=False)] if may_fail else []


# Each face that can be cancelled, with each way of cancelling it.
every_way = pytest.mark.parametrize(
    ("face", "how"),
    [
        pytest.param(face, how, marks=known(face), id=f"{face}-{how.__name__}")
        for face in FACES
        for how in (by_scope, by_task)
        if not face.is_blocking and (how is by_scope or face.backend == "asyncio")
    ],
    indirect=["face"],
)


@every_way
@pytest.mark.parametrize("start", ["warm", "cold"])
def test_cancelled_at_every_step(face, how, start, no_certificates):
    """At whichever step a call is cancelled, its connection is closed, and other calls get their own answers."""

    async def main(steps):
        rounds = 0
        for act in ACTS:
            for step in itertools.count(1):
                rounds += 1
                if start == "cold" or step == 1:
                    client = face.client(server, timeout=PATIENT, retry=QUICK_RETRY)
                try:
                    number = f"{act.__name__} {step}"
                    said = await how(steps, step, act(client, number))
                    was_cancelled = steps.disarm()
                    assert said == text_of(number) or (was_cancelled and said is None)
                    await is_in_order(client, server.url, f"next to {number}")
                except BaseException:
                    await client.aclose()
                    raise
                if start == "cold" or not was_cancelled:
                    await client.aclose()
                    await is_gone(server.url)
                if not was_cancelled:
                    break
        print(f"{rounds} rounds")

    with RawServer(Echo()) as server:
        run(face.backend, main)


@every_way
def test_handshake_cancelled_at_every_step(face, how, certificates):
    """At whichever step of connecting over TLS, and of what follows, a call is cancelled, nothing is left open."""
    server_context, ca = certificates

    async def main(steps):
        for step in itertools.count(1):
            async with face.own(ca=ca) as own, face.injected(own, server, timeout=PATIENT) as client:
                said = await how(steps, step, reading(client, step))
                was_cancelled = steps.disarm()
                assert said == text_of(step) or (was_cancelled and said is None)
                await at_rest(client, server.url, 1)
                assert await reading(client, f"next to {step}") == text_of(f"next to {step}")
                assert len(connections_to(server.url)) == 1
            await is_gone(server.url)
            if not was_cancelled:
                break
        print(f"{step} rounds")

    with RawServer(Echo(), ssl_context=server_context) as server:
        run(face.backend, main)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's context, and the file of the authority that vouches for it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = tmp_path_factory.mktemp("certificates") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return context, str(path)


@every_way
def test_closing_a_client_cancelled_at_every_step(face, how, no_certificates):
    """At whichever step the closing of a client is cancelled, closing it again closes what is still open."""

    async def main(steps):
        for step in itertools.count(1):
            client = face.client(server, timeout=PATIENT)
            events = [stream(client, **mine(f"{step} {index}")) for index in range(4)]
            for each in events:
                await each.__anext__()
            for each in events[:2]:
                await read(each)
            assert len(connections_to(server.url)) > 1
            await how(steps, step, client.aclose())
            was_cancelled = steps.disarm()
            await client.aclose()
            for each in events:
                await each.aclose()
            await is_gone(server.url)
            if not was_cancelled:
                break

    with RawServer(Echo()) as server:
        run(face.backend, main)


# Left, two hundred times


async def by_break(client, number):
    async with stream(client, **mine(number)) as events:
        async for _ in events:
            break


async def by_dropping(client, number):
    async for _ in stream(client, **mine(number)):
        break


async def by_dropping_in_a_circle(client, number):
    circle = [stream(client, **mine(number))]
    circle.append(circle)
    await circle[0].__anext__()
    del circle
    # Whoever collects it may be somewhere else.
    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join()


async def by_error(client, number):
    async def stumble():
        async with stream(client, **mine(number)) as events:
            async for _ in events:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()


async def by_interrupt(client, number):
    async def stumble():
        async with stream(client, **mine(number)) as events:
            async for _ in events:
                raise Interrupt

    with pytest.raises(Interrupt):
        await stumble()


async def by_closing_cancelled(client, number):
    events = stream(client, **mine(number))
    await events.__anext__()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await events.aclose()


async def by_deadline(client, number):
    with anyio.move_on_after(number % 97 * 0.0001):
        assert await reading(client, number) == text_of(number)


async def by_sibling(client, number):
    async def stumble():
        for _ in range(number % 23):
            await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def call():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(creating, client, number)
            tasks.start_soon(reading, client, number)
            tasks.start_soon(stumble)

    with pytest.raises(Exception) as caught:
        await call()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def by_wait_for(client, number):
    with suppress(asyncio.TimeoutError):
        assert await asyncio.wait_for(reading(client, number), number % 97 * 0.0001) == text_of(number)


async def by_gather(client, number):
    async def stumble():
        for _ in range(number % 23):
            await asyncio.sleep(0)
        raise ZeroDivisionError

    tasks = [asyncio.ensure_future(each) for each in (creating(client, number), reading(client, number), stumble())]
    with pytest.raises(ZeroDivisionError):
        await asyncio.gather(*tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


WAYS_OUT = [
    by_break,
    by_dropping,
    by_dropping_in_a_circle,
    by_error,
    by_interrupt,
    by_closing_cancelled,
    by_deadline,
    by_sibling,
]


def rounds_of(ways_out, faces):
    """Each of `faces` with each of `ways_out`."""
    return pytest.mark.parametrize(
        ("face", "leave"),
        [
            pytest.param(face, leave, marks=known(face), id=f"{face}-{leave.__name__}")
            for face in faces
            for leave in ways_out
        ],
        indirect=["face"],
    )


@rounds_of(WAYS_OUT, [face for face in FACES if not face.is_blocking])
def test_two_hundred_streams_left(face, leave):
    """After two hundred streams that were left in the middle there is one connection, and nothing else."""
    leave_two_hundred(face, leave)


@rounds_of([by_wait_for, by_gather], [face for face in FACES if not face.is_blocking and face.backend == "asyncio"])
def test_two_hundred_tasks_cancelled(face, leave):
    """After two hundred tasks that asyncio cancelled it is the same."""
    leave_two_hundred(face, leave)


def leave_two_hundred(face, leave):
    async def main(steps):
        async with face.client(server, timeout=PATIENT) as client:
            for number in range(200):
                await leave(client, number)
                # Two of by_sibling's may have come to their ends.
                await at_rest(client, server.url, 2)
                assert await creating(client, f"next to {number}") == text_of(f"next to {number}")
        await is_gone(server.url)

    with RawServer(Echo()) as server:
        run(face.backend, main)


@pytest.mark.parametrize(
    "face",
    [pytest.param(face, marks=known(face)) for face in FACES if not face.is_blocking],
    ids=repr,
    indirect=True,
)
def test_crowd_of_which_half_is_cancelled(face):
    """Of thirty calls at once, half are cancelled at any time; the others get their own answers, again and again."""
    chance = random.Random(1)

    async def main(steps):
        async with face.client(server, timeout=PATIENT) as client:
            said = {}

            async def ask(number, patience):
                with anyio.move_on_after(patience):
                    act = (creating, reading, collecting, iterating)[number % 4]
                    said[number] = await act(client, number)

            for turn in range(10):
                async with anyio.create_task_group() as tasks:
                    for index in range(30):
                        patience = chance.uniform(0.0, 0.1) if index % 2 else 20.0
                        tasks.start_soon(ask, turn * 30 + index, patience)
                assert said == {number: text_of(number) for number in said}
                assert len(said) >= 15 * (turn + 1)
                await at_rest(client, server.url, 30)
        await is_gone(server.url)

    with RawServer(Echo()) as server:
        run(face.backend, main)


# Blocking code


def run_blocking(client, act, number):
    """The value of a coroutine over a blocking client, which waits for nothing."""
    try:
        act(client, number).send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


BLOCKING_ACTS = [act for act in ACTS if act is not creating_from_much]


@blocking_faces
@pytest.mark.parametrize("start", ["warm", "cold"])
def test_interrupted_at_every_socket_operation(face, start, monkeypatch, no_certificates):
    """Before or after whichever operation on its socket a blocking call gets Ctrl-C, it leaves nothing open."""
    steps = SocketSteps(monkeypatch)

    def is_in_order(client, number):
        gc.collect()
        assert len(connections_to(server.url)) == held_by(client).idle <= 1
        assert held_by(client).busy == 0
        assert run_blocking(client, creating, f"next to {number}") == text_of(f"next to {number}")

    def close(client):
        client._blocking.close()
        assert connections_to(server.url) == set()

    with RawServer(Echo()) as server:
        rounds = 0
        for act in BLOCKING_ACTS:
            for step in itertools.count(1):
                rounds += 1
                if start == "cold" or step == 1:
                    client = face.client(server, timeout=PATIENT, retry=QUICK_RETRY)
                number, said = f"{act.__name__} {step}", None
                steps.arm(step, interrupt)
                with suppress(Interrupt):
                    said = run_blocking(client, act, number)
                was_interrupted = steps.disarm()
                assert (said == text_of(number)) is not was_interrupted
                is_in_order(client, number)
                if start == "cold" or not was_interrupted:
                    close(client)
                if not was_interrupted:
                    break
        print(f"{rounds} rounds")


@rounds_of([by_break, by_dropping, by_error, by_interrupt], [face for face in FACES if face.is_blocking])
def test_two_hundred_blocking_streams_left(face, leave):
    """After two hundred streams that blocking code left in the middle there is one connection."""
    with RawServer(Echo()) as server:
        client = face.client(server, timeout=PATIENT)
        for number in range(200):
            run_blocking(client, leave, number)
            assert len(connections_to(server.url)) == 0
            assert held_by(client) == (0, 0)
            assert run_blocking(client, creating, f"next to {number}") == text_of(f"next to {number}")
            assert held_by(client) == (0, 1)
        client._blocking.close()
        assert connections_to(server.url) == set()


AT_WORK = {
    "httpx": "httpcore:ConnectionPool._assign_requests_to_connections",
    "httpx2": "httpcore2:ConnectionPool._assign_requests_to_connections",
    "requests": "meshapi_transports.requests:_IdleConnections.get",
    "stdlib": "meshapi_transports.stdlib:_Connection.serves",
}


@blocking_faces
def test_stream_collected_while_the_pool_is_at_work(face):
    """A dropped stream in a circle may be collected at any time, also while its own thread holds the pool's lock."""
    program = f"""
        import faulthandler, gc, importlib, sys
        from meshapi_core import ChatCompletionParams
        from meshapi_transports.testing.raw import RawServer, chat_answer, chat_stream

        def script(connection):
            while True:
                is_stream = connection.receive_request().json()["stream"]
                connection.send(chat_stream("a", "b") if is_stream else chat_answer("c"))

        def collecting_once(function):
            def collect_and_work(*args, **options):
                if circles:
                    circles.clear()
                    gc.collect()
                return function(*args, **options)
            return collect_and_work

        params, circles = ChatCompletionParams(messages=[{{"role": "user", "content": "x"}}]), []
        gc.disable()
        with RawServer(script) as server:
            client = importlib.import_module("{face.library.module}").MeshAPI(base_url=server.url, token="rsk_x")
            client.chat.completions.create(params)
            idle = client.chat.completions.stream(params)
            circle = [client.chat.completions.stream(params)]
            next(circle[0])
            list(idle)
            circle.append(circle)
            module, _, name = "{AT_WORK[face.name]}".partition(":")
            owner, name = getattr(importlib.import_module(module), name.split(".")[0]), name.split(".")[1]
            setattr(owner, name, collecting_once(getattr(owner, name)))
            circles.append(circle)
            del circle
            faulthandler.dump_traceback_later(10.0, exit=True)
            print(client.chat.completions.create(params).choices[0].message.content)
            assert not circles, "the pool was not at work"
            client.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "c\n"), done.stderr
