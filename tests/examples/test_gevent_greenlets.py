"""docs/examples/gevent_greenlets.py."""

from __future__ import annotations

import pytest

from meshapi_transports.testing.raw import RawServer

from .behaviour import Behaviour
from .harness import PARAMS, core_for, silent_in_the_middle

gevent = pytest.importorskip("gevent", reason="gevent does not install everywhere", exc_type=ImportError)
gevent_event = pytest.importorskip("gevent.event")


class TestGeventGreenlets(Behaviour):
    name = "gevent_greenlets"

    def perform(self, example, call):
        return example.perform(call)

    def read(self, example, call, chunks):
        for chunk in example.stream(call):
            chunks.append(chunk)

    def read_one_and_cancel(self, example, call):
        """By killing the greenlet that waits for the second event."""
        chunks = []
        came = gevent_event.Event()

        def read():
            for chunk in example.stream(call):
                chunks.append(chunk)
                came.set()

        reader = gevent.spawn(read)
        came.wait()
        reader.kill()
        return chunks[0]

    def test_a_timeout_of_the_caller_passes_through(self, example):
        """A limit of gevent's that the caller sets is not taken for a failure of the connection."""
        with RawServer(silent_in_the_middle) as server:
            call = core_for(server.url).chat.completions.create(PARAMS)
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
                example.perform(call)
            assert server.wait_until(lambda server: server.open == 0)
