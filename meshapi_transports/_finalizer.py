"""Closing from where nothing can be awaited."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any, Awaitable, Callable, Set

__all__ = ["Finalizer"]

# A loop holds its tasks weakly.
_tasks: Set[asyncio.Task[None]] = set()


class Finalizer:
    """Runs a coroutine function in the loop in which this was made, from anywhere, without waiting for it.

    For objects that are dropped unclosed: their ``__del__`` may run in any thread, and after the loop has ended, when
    there is nothing left to close.
    """

    def __init__(self) -> None:
        self._schedule = _scheduler()

    def run(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have `close` run soon, if the loop still does."""
        # asyncio and trio each raise a RuntimeError once the loop is over.
        with suppress(RuntimeError):
            self._schedule(close)


def _scheduler() -> Callable[[Callable[[], Awaitable[None]]], None]:
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        # Outside of trio there is no token.
        with suppress(RuntimeError):
            token = trio.lowlevel.current_trio_token()
            return lambda close: token.run_sync_soon(trio.lowlevel.spawn_system_task, close)
    loop = asyncio.get_running_loop()

    def schedule(close: Callable[[], Awaitable[None]]) -> None:
        loop.call_soon_threadsafe(_start_task, close)

    return schedule


def _start_task(close: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await close()

    task = asyncio.get_running_loop().create_task(run())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
