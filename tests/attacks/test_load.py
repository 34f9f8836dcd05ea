"""Many at once, and many one after the other: all of them end, nothing is mixed up, and nothing piles up."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from meshapi_core import ChatCompletionParams
from meshapi_transports.testing import LocalGateway

from ..transports.conftest import only
from ..transports.faces import create, failure, read, stream
from ..transports.faces import text_of as said_in
from .pressure import (
    allow_descriptors,
    connections_to,
    echo_process,
    gateway_process,
    held_by,
    resident_bytes,
    settle,
    text_of,
)

pytestmark = pytest.mark.usefixtures("patient_drain")

# The one that a local gateway lets in unless it is told another.
KEY = LocalGateway().token
AT_ONCE = 1000
THREADS, STREAMS_A_THREAD = 64, 10
# Of which two faces make ten thousand.
ONE_AFTER_THE_OTHER = {"httpx-asyncio": 10_000, "stdlib": 10_000}
FEWER = 2_000

# An order of magnitude more than was ever measured.
MOST_BYTES_A_STREAM = 1 << 20
MOST_BYTES_MORE = 8 << 20
MOST_OBJECTS_MORE = 500


@pytest.fixture(scope="module")
def gateway():
    """The URL of a local gateway in another process."""
    with gateway_process() as url:
        yield url


@pytest.fixture(scope="module")
def echo():
    """The URL of an echo in another process."""
    with echo_process() as url:
        yield url


def question(number):
    """A question that is told from every other by its answer."""
    words = " ".join(f"{number}.{index}" for index in range(20))
    return ChatCompletionParams(messages=[{"role": "user", "content": words}])


async def is_answered(events, number, begun):
    """Read the answer to `question(number)`, and wait after its first words until all others have begun."""
    said = []
    async for chunk in events:
        said.append(said_in([chunk]))
        if len(said) == 2:
            await begun()
    assert question(number).messages[0].content in "".join(said)


@pytest.mark.anyio
@only(lambda face: not face.is_blocking)
async def test_thousand_streams_at_once(face, gateway, no_certificates):
    """A thousand streams that are all open at the same time each tell their own story to its end."""
    if not allow_descriptors(AT_ONCE + 200):
        pytest.skip("this process may not open so many files")
    all_have_begun, done, number_begun, memory = anyio.Event(), [], 0, 0

    async def begun():
        nonlocal number_begun, memory
        number_begun += 1
        if number_begun == AT_ONCE:
            memory = resident_bytes()
            assert len(connections_to(gateway)) in (AT_ONCE, 0)
            all_have_begun.set()
        await all_have_begun.wait()

    async def tell(number):
        async with client.chat.completions.stream(question(number)) as events:
            await is_answered(events, number, begun)
        done.append(number)

    async def nothing():
        pass

    async with face.client(gateway, token=KEY, timeout=120.0, max_retries=0) as client:
        async with client.chat.completions.stream(question("first")) as events:
            await is_answered(events, "first", nothing)
        gc.collect()
        before = resident_bytes()
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(tell, number)
        assert sorted(done) == list(range(AT_ONCE))
        await settle(lambda: held_by(client).busy == 0)
        assert held_by(client).busy == 0
        a_stream = (memory - before) / AT_ONCE
        print(f"{face}: {a_stream / 1024:.1f} KiB a stream; {held_by(client).idle} connections are kept")
        assert a_stream < MOST_BYTES_A_STREAM
    await settle(lambda: not connections_to(gateway))
    assert connections_to(gateway) == set()


@only(lambda face: face.is_blocking)
def test_sixty_four_threads_with_streams(face, gateway, no_certificates):
    """Sixty-four threads, each in the middle of a stream at the same time, ten times over, get their own answers."""
    begun, memory = threading.Barrier(THREADS), []
    before = resident_bytes()

    def tell(client, thread):
        for turn in range(STREAMS_A_THREAD):
            number, said = f"{thread} {turn}", []
            with client.chat.completions.stream(question(number)) as events:
                for chunk in events:
                    said.append(said_in([chunk]))
                    if len(said) == 2 and begun.wait(120.0) == 0:
                        memory.append(resident_bytes())
                        assert len(connections_to(gateway)) in (THREADS, 0)
            assert question(number).messages[0].content in "".join(said)

    face_client = face.client(gateway, token=KEY, timeout=120.0, max_retries=0)
    client = face_client._blocking
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(tell, client, thread) for thread in range(THREADS)]:
            done.result()
    assert len(memory) == STREAMS_A_THREAD
    print(f"{face}: {(memory[0] - before) / THREADS / 1024:.1f} KiB a thread with its stream")
    assert len(connections_to(gateway)) == held_by(face_client).idle <= THREADS
    client.close()
    assert connections_to(gateway) == set()


@pytest.mark.anyio
async def test_one_after_the_other(face, echo, no_certificates):
    """After thousands of calls, streams and errors there is one connection, and no more memory taken than before."""
    calls = ONE_AFTER_THE_OTHER.get(face.name, FEWER)

    async def call(number):
        options = {"extra_headers": {"X-Number": f"{face} {number}"}}
        if number % 3 == 0:
            assert (await create(client, **options)).choices[0].message.content == text_of(f"{face} {number}")
        elif number % 3 == 1:
            assert await read(stream(client, **options)) == text_of(f"{face} {number}")
        else:
            options["extra_headers"]["X-Fails"] = "1"
            assert (await failure(create(client, **options))).status == 503

    async with face.client(echo, timeout=30.0, max_retries=0) as client:
        for number in range(calls // 10):
            await call(number)
        objects, memory = census()
        for number in range(calls // 10, calls):
            await call(number)
            if number % 500 == 0:
                assert len(connections_to(echo)) in (0, 1)
        more_objects, more_memory = (after - before for after, before in zip(census(), (objects, memory)))
        print(f"{face}: {more_objects} objects and {more_memory} bytes more after {calls} calls")
        assert held_by(client) == (0, 1)
        assert more_objects < MOST_OBJECTS_MORE
        assert more_memory < MOST_BYTES_MORE
    await settle(lambda: not connections_to(echo))
    assert connections_to(echo) == set()


def census():
    """How many objects there are that hold others, and how much memory this process has."""
    gc.collect()
    return len(gc.get_objects()), resident_bytes()
