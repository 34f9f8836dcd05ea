"""docs/examples/selectors_loop.py."""

from __future__ import annotations

from .behaviour import Behaviour
from .harness import PARAMS, core_for


class TestSelectorsLoop(Behaviour):
    name = "selectors_loop"
    speaks_tls = False

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

        exchange = example.Exchange(call, self._raise_unexpected, cancel)
        example.run([exchange])
        (first,) = chunks
        return first

    def test_a_callback_may_cancel_another_exchange(self, example, gateway):
        """Whatever the loop has in hand for the other one is dropped."""
        core = core_for(gateway.base_url, token=gateway.token)
        exchanges = []

        def cancel_the_others(chunk):
            for exchange in exchanges:
                exchange.cancel()

        exchanges += [
            example.Exchange(core.chat.completions.stream(PARAMS), self._raise_unexpected, cancel_the_others)
            for _ in range(5)
        ]
        example.run(exchanges)
        assert all(exchange.is_over for exchange in exchanges)

    def test_cancelled_before_it_begins(self, example, gateway):
        """Nothing is sent, and nothing is told."""
        call = core_for(gateway.base_url, token=gateway.token).chat.completions.create(PARAMS)
        exchange = example.Exchange(call, self._raise_unexpected)
        exchange.cancel()
        example.run([exchange])
        assert gateway.requests == []

    def _run(self, example, call, on_event=lambda event: None):
        ends = []
        example.run([example.Exchange(call, ends.append, on_event)])
        (error,) = ends
        if error is not None:
            raise error

    def _raise_unexpected(self, error):
        raise AssertionError(f"ended with {error!r}, where it should have been cancelled")
