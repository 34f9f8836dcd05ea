"""The process of one contender: it does what it is told, a line of JSON at a time, and tells what that cost."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import sys
import time
import traceback
from typing import Any, Awaitable, Callable, Dict, List

from . import inprocess, machine
from .contenders import ALL, MANY, USUAL, Client, Contender, client_for, run_in
from .cost import cost_of

WARM_UP = 20


class Work:
    """What a contender over a socket can be told to do."""

    def __init__(self, contender: Contender, url: str) -> None:
        self.loop = contender.loop
        self.client: Client = client_for(contender, url)

    async def all_at_once(self, operation: Callable[[], Awaitable[Any]], count: int) -> None:
        """Run `operation` in so many tasks."""
        if self.loop == "trio":
            async with importlib.import_module("trio").open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(operation)
        else:
            await importlib.import_module("asyncio").gather(*(operation() for _ in range(count)))

    async def at_most(self, seconds: float, operation: Callable[[], Awaitable[Any]]) -> None:
        """Run `operation` for that time, and give it up then."""
        if self.loop == "trio":
            with importlib.import_module("trio").move_on_after(seconds):
                await operation()
        else:
            asyncio = importlib.import_module("asyncio")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(operation(), seconds)

    async def wait(self, seconds: float) -> None:
        """Let the loop run, and the system close what it has been told to close."""
        if self.loop == "blocking":
            time.sleep(seconds)  # noqa: ASYNC251 - nothing else runs here
        else:
            await importlib.import_module(self.loop).sleep(seconds)

    async def request(self, seconds: float, many: bool = False) -> float:
        messages = MANY if many else USUAL

        async def once() -> int:
            await self.client.request(messages)
            return 1

        return await cost_of(once, seconds)

    async def at_once(self, seconds: float, tasks: int, each: int) -> float:
        async def some() -> None:
            for _ in range(each):
                await self.client.request(USUAL)

        async def once() -> int:
            await self.all_at_once(some, tasks)
            return tasks * each

        return await cost_of(once, seconds)

    async def chunk(self, seconds: float, model: str) -> float:
        async def once() -> int:
            return await self.client.read(model)

        return await cost_of(once, seconds)

    async def models(self, seconds: float) -> float:
        async def once() -> int:
            await self.client.models()
            return 1

        return await cost_of(once, seconds)

    async def first(self, seconds: float) -> float:
        """Time to the first chunk, by the clock: that of the fastest tenth, as others use the machine too."""
        gc.collect()
        waits: List[float] = []
        while sum(waits) < seconds or len(waits) < WARM_UP:
            start = time.perf_counter()
            stream = await self.client.first("short")
            waits.append(time.perf_counter() - start)
            await self.client.rest(stream)
        return sorted(waits)[len(waits) // 10]

    async def memory(self, seconds: float, streams: int) -> List[float]:
        """What an idle stream takes, in bytes, and how many were opened in that time."""
        for _ in range(WARM_UP):
            await self.client.request(USUAL)
            await self.client.read("short")
        held: List[Any] = []

        async def hold() -> None:
            held.append(await self.client.first("open"))

        gc.collect()
        before = machine.resident_bytes()
        start = time.process_time()
        opened = -1
        # Until all are open, or no more can be: some clients have a limit of connections, and wait.
        while opened < len(held) < streams and time.process_time() - start < seconds:
            opened = len(held)
            await self.at_most(5.0, lambda: self.all_at_once(hold, 50))
        gc.collect()
        return [(machine.resident_bytes() - before) / len(held), len(held)]

    async def read(self, streams: int) -> int:
        """Read streams to their end, one after the other."""
        for _ in range(streams):
            await self.client.read("short")
        return streams

    async def left(self, streams: int) -> int:
        """Sockets that are open after so many streams were left at their first chunk."""
        for _ in range(streams):
            await self.client.first("open")
        await self.wait(0.1)
        return machine.open_sockets()

    async def cancelled(self, requests: int) -> int:
        """Sockets that are open after so many requests, sent at once, were cancelled while they waited."""

        async def ask() -> None:
            await self.client.request(USUAL, "never")

        if self.loop == "trio":
            trio = importlib.import_module("trio")
            async with trio.open_nursery() as nursery:
                for _ in range(requests):
                    nursery.start_soon(ask)
                await self.settled(requests)
                nursery.cancel_scope.cancel()
        else:
            asyncio = importlib.import_module("asyncio")
            tasks = [asyncio.ensure_future(ask()) for _ in range(requests)]
            await self.settled(requests)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self.wait(0.1)
        return machine.open_sockets()

    async def settled(self, requests: int) -> None:
        """Wait until each request has its connection, and has been sent."""
        deadline = time.monotonic() + 5
        while machine.open_sockets() < requests and time.monotonic() < deadline:
            await self.wait(0.02)
        await self.wait(0.2)


async def answer_all(work: Any) -> None:
    """Do what the lines of standard input say, until there are no more."""
    for line in sys.stdin:
        command: Dict[str, Any] = json.loads(line)
        try:
            told = {"done": await getattr(work, command.pop("do"))(**command)}
        except Exception as error:
            told = {"failed": "".join(traceback.format_exception_only(type(error), error))[:200].strip()}
        print(json.dumps(told), flush=True)


async def over_sockets(contender: Contender, url: str) -> None:
    work = Work(contender, url)
    await work.client.start()
    try:
        await answer_all(work)
    finally:
        await work.client.close()


def main(name: str, url: str) -> None:
    """What the contender's process does."""
    machine.pin(-1)
    machine.allow_many_files()
    if name in ALL:
        contender = ALL[name]
        run_in(contender.loop, lambda: over_sockets(contender, url))
    else:
        run_in("blocking", lambda: answer_all(inprocess.Work(inprocess.DECODERS[name]())))
