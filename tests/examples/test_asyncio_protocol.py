"""docs/examples/asyncio_protocol.py."""

from __future__ import annotations

import asyncio

import pytest

from .behaviour import Behaviour
from .harness import PARAMS, core_for


class TestAsyncioProtocol(Behaviour):
    name = "asyncio_protocol"

    @pytest.fixture(autouse=True)
    def own_loop(self):
        """A loop that tells of everything that goes wrong in it."""
        self.loop = asyncio.new_event_loop()
        problems = []
        self.loop.set_exception_handler(lambda loop, context: problems.append(context))
        yield
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        assert problems == []

    def perform(self, example, call):
        self._run(example, call)
        return call.result

    def read(self, example, call, chunks):
        self._run(example, call, chunks.append)

    def read_one_and_cancel(self, example, call):
        chunks = []

        def cancel(chunk):
            chunks.append(chunk)
            exchange.cancel()
            self.loop.call_soon(self.loop.stop)

        exchange = example.Exchange(self.loop, call, self._raise_unexpected, cancel)
        exchange.start()
        self.loop.run_forever()
        (first,) = chunks
        return first

    def test_cancelled_before_it_begins(self, example):
        """Nothing is begun, and nothing is told."""
        call = core_for("http://127.0.0.1:9").chat.completions.create(PARAMS)
        exchange = example.Exchange(self.loop, call, self._raise_unexpected)
        exchange.cancel()
        exchange.start()
        assert asyncio.all_tasks(self.loop) == set()

    def test_cancelled_while_connecting(self, example):
        """A connection that is not there yet is not made, and nothing is told."""
        call = core_for("http://127.0.0.1:9").chat.completions.create(PARAMS)
        exchange = example.Exchange(self.loop, call, self._raise_unexpected)
        exchange.start()
        exchange.cancel()
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _run(self, example, call, on_event=lambda event: None):
        ends = []

        def stop(error):
            ends.append(error)
            self.loop.call_soon(self.loop.stop)

        example.Exchange(self.loop, call, stop, on_event).start()
        self.loop.run_forever()
        (error,) = ends
        if error is not None:
            raise error

    def _raise_unexpected(self, error):
        raise AssertionError(f"ended with {error!r}, where it should have been cancelled")
