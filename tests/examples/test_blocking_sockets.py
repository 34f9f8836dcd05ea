"""docs/examples/blocking_sockets.py."""

from __future__ import annotations

from contextlib import closing

from .behaviour import Behaviour


class TestBlockingSockets(Behaviour):
    name = "blocking_sockets"

    def perform(self, example, call):
        return example.perform(call)

    def read(self, example, call, chunks):
        for chunk in example.stream(call):
            chunks.append(chunk)

    def read_one_and_cancel(self, example, call):
        with closing(example.stream(call)) as chunks:
            return next(chunks)
