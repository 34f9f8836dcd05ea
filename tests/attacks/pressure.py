"""What the attacks on cancellation, reuse and load share.

Here are a server whose every answer tells whose it is, the system's own count of connections, what a client's pool
holds, and loops that can be stopped at each of their steps.  As a program, this module is the server, in a process of
its own::

    python tests/attacks/pressure.py
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import Any, Awaitable, Callable, Iterator, NamedTuple, Optional, Set, Tuple

import anyio
import anyio.lowlevel

from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawConnection,
    RawRequest,
    RawServer,
    answer,
    chat_chunk,
    chat_completion,
    http_chunk,
    sse_event,
    stream_head,
)

PIECES = 4
PAUSE = 0.0005


# The server


class Echo:
    """A script for a `RawServer`: each answer is made of the request's ``X-Number``, so that no two are the same.

    With ``X-Slow`` an answer comes in many packets; with ``X-Fails: n`` the first n answers are 503; with ``X-Holds``
    a stream is silent after its first event.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    def __call__(self, connection: RawConnection) -> None:
        while True:
            request = connection.receive_request()
            # They are many, and some are large.
            connection._ledger.requests.clear()
            self.reply(connection, request)

    def reply(self, connection: RawConnection, request: RawRequest) -> None:
        number = request.header("x-number") or "?"
        with self._lock:
            seen = self._seen[number]
            self._seen[number] += 1
        if seen < int(request.header("x-fails") or 0):
            pieces = [answer(b'{"error": {"code": "upstream_error"}}', 503)]
        elif request.target.startswith("/v1/chat"):
            pieces = _chat(number, request.json()["stream"])
        elif request.target.startswith("/v1/files"):
            pieces = _lines(number)
        elif request.target.partition("?")[0] == "/v1/batches":
            pieces = _page(number, 1 if "after=" in request.target else 0)
        else:
            pieces = _poll(number, seen)
        if request.header("x-slow") is None:
            connection.send(b"".join(pieces))
            return
        connection.send(pieces[0][:20])
        for index, piece in enumerate((pieces[0][20:], *pieces[1:])):
            time.sleep(PAUSE)
            connection.send(piece)
            if index == 1 and request.header("x-holds"):
                connection.wait_closed()


def texts_of(number: Any) -> list[str]:
    """The pieces of the answer that belongs to `number`."""
    return [f"{number}.{index} " for index in range(PIECES)]


def text_of(number: Any) -> str:
    """The answer that belongs to `number`."""
    return "".join(texts_of(number))


def _chat(number: str, is_stream: bool) -> list[bytes]:
    if not is_stream:
        head, body = re.split(rb"(?<=\r\n\r\n)", _json(chat_completion(text_of(number))))
        return [head, body[:30], body[30:]]
    events = [*(chat_chunk(text) for text in texts_of(number)), chat_chunk(finish_reason="stop"), "[DONE]"]
    return [stream_head(f"X-Request-Id: {number}"), *(http_chunk(sse_event(each)) for each in events), LAST_CHUNK]


def _lines(number: str) -> list[bytes]:
    lines = [json.dumps({"custom_id": f"{number}.{index}"}).encode() + b"\n" for index in range(PIECES)]
    return [stream_head(), *map(http_chunk, lines), LAST_CHUNK]


def _page(number: str, page: int) -> list[bytes]:
    ids = [f"{number}.{index}" for index in range(PIECES)][page * 2 : page * 2 + 2]
    data = [{"id": each, "status": "completed"} for each in ids]
    return [_json({"data": data, "last_id": ids[-1], "has_more": page == 0})]


def _poll(number: str, seen: int) -> list[bytes]:
    return [_json({"id": number, "status": "in_progress" if seen < 2 else "completed"})]


def _json(value: Any) -> bytes:
    return answer(json.dumps(value).encode())


@contextmanager
def echo_process() -> Iterator[str]:
    """The URL of a server with `Echo`, in a process of its own, so that it does not share the interpreter's lock."""
    with _process([sys.executable, __file__]) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def gateway_process() -> Iterator[str]:
    """The URL of a local gateway in a process of its own."""
    with _process([sys.executable, "-u", "-m", "meshapi_transports.testing"]) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found.group()


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with process:
            try:
                yield process
            finally:
                process.terminate()
    finally:
        assert process.returncode is not None


def _serve() -> None:
    with RawServer(Echo()) as server:
        # The server's own waits for more than a thousand connections at once.
        server._listener.listen(4096)
        print(server.url, flush=True)
        sys.stdin.read()


# The system's numbers


def connections_to(url: str) -> Set[str]:
    """The sockets of this process that are connected to the port of `url`; none where the system does not tell."""
    port = int(url.rpartition(":")[2])
    return {name for name, descriptor in _own_sockets() if _port_at_the_other_end(descriptor) == port}


def _own_sockets() -> Iterator[Tuple[str, int]]:
    if not os.path.isdir("/proc/self/fd"):
        return
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:"):
            yield target, descriptor


def _port_at_the_other_end(descriptor: int) -> Optional[int]:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as ours:
            address = ours.getpeername()
    except OSError:
        # Not connected, or closed meanwhile.
        return None
    return address[1] if isinstance(address, tuple) and len(address) > 1 else None


def resident_bytes() -> int:
    """How much memory this process has; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def allow_descriptors(number: int) -> bool:
    """Have this process open `number` files at once; False if it may not."""
    try:
        import resource
    except ImportError:
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return True
    if hard != resource.RLIM_INFINITY and hard < number:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    return True


# What a pool holds


class Held(NamedTuple):
    """How many connections, and how many other things, a client's pool thinks that it has."""

    busy: int
    idle: int


def held_by(client: Any) -> Held:
    """What is in the pool of `client`, whatever its library."""
    transport = getattr(client, "_blocking", client)._transport._transport
    name = type(transport).__module__.rpartition(".")[2]
    return _HELD[name](transport)


def _httpx_holds(transport: Any) -> Held:
    own = [pool for pools in transport._own_by_process.values() for pool in pools._pools]
    clients = [pool.client for pool in own] if transport._is_own else [transport._injected]
    held = [_httpcore_holds(client._transport._pool) for client in clients]
    # A place in a pool that is not given back is a leak, too.
    return Held(
        sum(each.busy for each in held) + sum(len(pool._places) for pool in own), sum(each.idle for each in held)
    )


def _httpcore_holds(pool: Any) -> Held:
    idle = sum(connection.is_idle() for connection in pool._connections)
    # A request that is neither waiting nor under way, yet not forgotten, is a leak just as well.
    return Held(max(len(pool._connections) - idle, len(pool._requests)), idle)


def _aiohttp_holds(transport: Any) -> Held:
    sessions = transport._own.values() if transport._injected is None else [transport._injected]
    connectors = [session.connector for session in sessions]
    busy = sum(len(connector._acquired) + sum(map(len, connector._waiters.values())) for connector in connectors)
    return Held(busy, sum(len(kept) for connector in connectors for kept in connector._conns.values()))


def _trio_holds(transport: Any) -> Held:
    pool = transport._pool
    idle = len(pool._idle)
    assert idle == sum(map(len, pool._idle_by_origin.values()))
    return Held(max(pool._slots_taken - idle, len(pool._connections) - idle) + len(pool._waiters), idle)


def _requests_holds(transport: Any) -> Held:
    # What urllib3 calls the pool of its pool is gone once that is closed.
    kept = [route.pool.pool.connections for route in transport._routes.values() if route.pool.pool is not None]
    # A connection that the server has closed stays there, for its object to be used again.
    return Held(0, sum(each.sock is not None for connections in kept for each in connections))


def _stdlib_holds(transport: Any) -> Held:
    return Held(0, len(transport._idle))


_HELD = {
    "_httpx_family": _httpx_holds,
    "aiohttp": _aiohttp_holds,
    "trio": _trio_holds,
    "requests": _requests_holds,
    "stdlib": _stdlib_holds,
}


# Loops that can be stopped anywhere


class Steps:
    """Counts the steps of a loop, and does something at one of them.

    Attributes:
        is_due: whether it is still to be done.
    """

    def __init__(self) -> None:
        self._left = 0
        self._act: Optional[Callable[[], object]] = None
        self.complaints: list[Any] = []

    def arm(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` at the step `number`, counted from 1."""
        self._left, self._act = number, act

    def disarm(self) -> bool:
        """Do it no more; returns whether it was done."""
        was_done = self._act is None
        self._act = None
        return was_done

    def step(self) -> None:
        """The loop has made a step."""
        if self._act is not None:
            self._left -= 1
            if self._left == 0:
                act, self._act = self._act, None
                act()


def run(backend: str, main: Callable[[Steps], Awaitable[Any]]) -> Any:
    """Run `main` in a loop of its own, whose steps it can count; nothing may be left of it in the end.

    A step of asyncio is a look at what has become ready, and a round of what was.  For trio, it is whatever makes a
    task ready, each turn of a task, and each look at what the system has to say.
    """
    steps = Steps()
    if backend == "trio":
        import trio

        class Instrument(trio.abc.Instrument):
            def task_scheduled(self, task: Any) -> None:
                steps.step()

            def after_task_step(self, task: Any) -> None:
                steps.step()

            def after_io_wait(self, timeout: float) -> None:
                steps.step()

        async def run_alone() -> Any:
            value = await main(steps)
            root = trio.lowlevel.current_root_task()
            # Beside this task and its own, trio has one for system tasks and one that hears of other threads.
            await settle(lambda: len(_trio_tasks(root)) <= 4)
            assert len(_trio_tasks(root)) <= 4, _trio_tasks(root)
            return value

        return anyio.run(run_alone, backend="trio", backend_options={"instruments": [Instrument()]})

    class Loop(asyncio.SelectorEventLoop):
        def _run_once(self) -> None:
            super()._run_once()  # type: ignore[misc]
            steps.step()

        def _process_events(self, event_list: Any) -> None:
            super()._process_events(event_list)  # type: ignore[misc]
            steps.step()

    async def run_alone() -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: steps.complaints.append(context))
        try:
            value = await main(steps)
        except BaseException:
            # What a fault has left open is not for the next test to stumble over.
            for transport in list(loop._transports.values()):
                transport.abort()
            await anyio.lowlevel.checkpoint()
            raise
        await settle(lambda: len(asyncio.all_tasks()) == 1)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()
        gc.collect()
        return value

    value = anyio.run(run_alone, backend="asyncio", backend_options={"loop_factory": Loop})
    assert steps.complaints == []
    return value


def _trio_tasks(task: Any) -> list[Any]:
    found = [task]
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            found.extend(_trio_tasks(child))
    return found


async def settle(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the loop turn until `condition` is true, which the caller asserts next: a connection closes a turn later."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await anyio.lowlevel.checkpoint()


class Interrupt(BaseException):
    """What comes from outside, like Ctrl-C."""


class SocketSteps:
    """Does something at one of this thread's operations on sockets: before it, or once it was done."""

    NAMES = ("send", "sendall", "recv", "recv_into")

    def __init__(self, monkeypatch: Any, *more_names: str) -> None:
        self._steps = Steps()
        self._thread = threading.get_ident()
        for name in (*self.NAMES, *more_names):
            monkeypatch.setattr(socket.socket, name, self._stepping(getattr(socket.socket, name)))

    def arm(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` at the step `number`: before an operation if it is odd, after it if it is even."""
        self._steps.arm(number, act)

    def disarm(self) -> bool:
        """Do it no more; returns whether it was done."""
        return self._steps.disarm()

    def _stepping(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any) -> Any:
            if threading.get_ident() != self._thread:
                return operation(*args)
            self._steps.step()
            result = operation(*args)
            self._steps.step()
            return result

        return stepping


def interrupt() -> None:
    """Raise `Interrupt`."""
    raise Interrupt


if __name__ == "__main__":
    _serve()
