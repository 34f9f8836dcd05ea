"""Answers that are cut at every byte, in every way: all that had come is delivered, then one error, the right one."""

from __future__ import annotations

import itertools
import json
import sys
import threading

import anyio.lowlevel
import pytest

from meshapi_core import (
    APIConnectionError,
    ChatCompletionResponse,
    MeshAPIError,
    ResponseParseError,
    StreamInterruptedError,
)
from meshapi_transports.testing.raw import LAST_CHUNK, RawServer, answer, answer_head, http_chunk, stream_head

from ..transports.conftest import only
from ..transports.faces import ask, create, stream, until
from .recorded import NAME, VARIANTS, chunked, is_finished, parsed, put_together, told

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

NAMED = f"X-Request-Id: {NAME}"
# Elsewhere, a reset may take with it what has arrived and was not read yet.
KEEPS_WHAT_CAME = sys.platform == "linux"


# What is sent: for each cut the bytes, how much of the body is among them, and how it goes on.


def cut_off(wire, came, end):
    """What goes over the wire breaks off, anywhere after the head."""
    for point, size in enumerate(came[:-1]):
        if size is not None:
            yield wire[:point], size, end


def without_end(head, body, end):
    """What there is of the body is chunked in order, and then nothing comes."""
    for size in range(len(body) + 1):
        yield head + (http_chunk(body[:size]) if size else b""), size, end


def too_short(content_type, body):
    """More is promised than comes."""
    head = answer_head(200, f"Content-Type: {content_type}", f"Content-Length: {len(body) + 1}", NAMED)
    for size in range(len(body) + 1):
        yield head + body[:size], size, "close"


def ended(head, body):
    """HTTP ends in order, wherever the body is."""
    for sent, size, end in without_end(head, body, "receive_request"):
        yield sent + LAST_CHUNK, size, end


def until_close(content_type, body):
    """The end of the connection is the end of the body."""
    head = answer_head(200, f"Content-Type: {content_type}", "Connection: close", NAMED)
    for size in range(len(body) + 1):
        yield head + body[:size], size, "close"


WAYS = ["fin", "rst", "without end", "too short", "ended", "until close"]
# HTTP itself tells of no cut there; it is for the events, or the JSON, to show it.
IN_ORDER = ("ended", "until close")


def cuts_of(way, content_type, body, wire, came):
    """Each cut of an answer, in one of the `WAYS`."""
    head = stream_head(NAMED, content_type=content_type)
    if way in ("fin", "rst"):
        return cut_off(wire, came, {"fin": "close", "rst": "reset"}[way])
    if way == "too short":
        return too_short(content_type, body)
    if way == "without end":
        return without_end(head, body, "close")
    return ended(head, body) if way == "ended" else until_close(content_type, body)


class Cutting:
    """A server that answers each request with what it is told, whether it is said to keep the connection or not."""

    def __init__(self):
        self.next = (b"", "close")
        self.is_through = threading.Event()
        self.server = RawServer(self._script)

    def _script(self, connection):
        connection.receive_request()
        while True:
            sent, end = self.next
            connection.send(sent)
            getattr(connection, end)()
            self.is_through.set()
            if end != "receive_request":
                break


async def all_of(events):
    """What comes of a stream, and the error that it ends with; ``None`` if it ends in order."""
    came = []
    try:
        async for chunk in events:
            came.append(chunk.model_dump(mode="json", exclude_unset=True))
    except MeshAPIError as error:
        return came, error
    return came, None


# Streams


def kinds_of_end(way, size, events, is_done):
    """How a stream may end whose beginning is `size` bytes long and holds `events`; ``None`` is in order."""
    if is_done or (way in IN_ORDER and is_finished(events)):
        return None
    return StreamInterruptedError, 200, NAME


# Of what ends in order there is less to ask.
ALL = [*itertools.product(WAYS[:4], VARIANTS), ("ended", "CRLF"), ("until close", "CR")]


@pytest.mark.parametrize(("way", "variant"), ALL)
async def test_stream_cut_at_every_byte(face, way, variant):
    """What had arrived whole is delivered; then the stream is interrupted, unless it had come to its end."""
    blocks = VARIANTS[variant]
    body = b"".join(blocks)
    cutting = Cutting()
    with cutting.server as server:
        async with face.client(server) as client:
            for sent, size, end in cuts_of(way, "text/event-stream", body, *chunked(blocks)):
                cutting.next = sent, end
                events, is_done = parsed(body[:size])
                chunks = stream(client)
                came, error = await all_of(chunks)
                where = f"cut after {len(sent)} bytes, {sent[-40:]!r}: {error!r}"
                if end == "reset" and not KEEPS_WHAT_CAME and len(came) < len(events):
                    assert events[: len(came)] == came, where
                    assert isinstance(error, APIConnectionError), where
                    continue
                assert came == events, where
                assert await all_of(chunks) == ([], error), where
                wanted = kinds_of_end(way, size, events, is_done)
                assert (error and (type(error), error.status, error.request_id)) == wanted, where
                if error is not None:
                    partial = error.partial and told(error.partial)
                    assert partial == (put_together(events) if events else None), where


@only(lambda face: not face.is_blocking)
@pytest.mark.parametrize("way", ["fin", "rst"])
async def test_stream_cut_while_the_caller_was_busy(face, way):
    """What had arrived before the connection broke is delivered, even if nobody asks for it until later."""
    blocks = VARIANTS["LF"]
    body = b"".join(blocks)
    cutting = Cutting()
    with cutting.server as server:
        async with face.client(server) as client:
            for sent, size, end in cuts_of(way, "text/event-stream", body, *chunked(blocks)):
                cutting.next = sent, end
                cutting.is_through.clear()
                events, is_done = parsed(body[:size])
                async with stream(client) as chunks:
                    await until(cutting.is_through)
                    # Some turns of the loop, for what it has heard to sink in.
                    for _ in range(5):
                        await anyio.lowlevel.checkpoint()
                    came, error = await all_of(chunks)
                where = f"cut after {len(sent)} bytes, {sent[-40:]!r}: {error!r}"
                assert came == events[: len(came)], where
                assert len(came) == len(events) or (way == "rst" and not KEEPS_WHAT_CAME), where
                assert (error and type(error)) == (None if is_done else StreamInterruptedError), where


# Whole answers

COMPLETION = {
    "id": "c",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Grüße 🌍"}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 3},
}
JSON = json.dumps(COMPLETION, ensure_ascii=False).encode()
SIZED = answer(JSON, 200, NAMED)
SIZES = [None] * (len(SIZED) - len(JSON)) + list(range(len(JSON) + 1))


@pytest.mark.parametrize("way", WAYS)
async def test_answer_cut_at_every_byte(face, way):
    """A part of an answer is never taken for the whole: the connection was lost, or what came is no JSON."""
    cutting = Cutting()
    with cutting.server as server:
        async with face.client(server) as client:
            for sent, size, end in cuts_of(way, "application/json", JSON, SIZED, SIZES):
                cutting.next = sent, end
                completion, error = await outcome_of(create(client))
                where = f"cut after {len(sent)} bytes, {sent[-40:]!r}: {error!r}"
                if end == "reset" and not KEEPS_WHAT_CAME:
                    assert type(error) is APIConnectionError, where
                elif way not in IN_ORDER:
                    assert (type(error), error.status, error.request_id) == (APIConnectionError, 200, NAME), where
                elif size < len(JSON):
                    assert (type(error), error.status, error.request_id) == (ResponseParseError, 200, NAME), where
                else:
                    assert type(completion) is ChatCompletionResponse, where
                    assert told(completion)[0] == {0: "Grüße 🌍"}


async def outcome_of(call):
    """What a call returns, and the error that it ends with; one of them is ``None``."""
    try:
        return await call, None
    except MeshAPIError as error:
        return None, error


# Heads


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("way", ["create", "stream"])
async def test_head_cut_at_every_byte(face, way, end):
    """Without a whole head there is no answer: the connection was lost, whatever the head had said so far."""
    wire, came = (SIZED, SIZES) if way == "create" else chunked(VARIANTS["LF"])
    cutting = Cutting()
    with cutting.server as server:
        async with face.client(server) as client:
            for point in range(came.index(0)):
                cutting.next = wire[:point], end
                _, error = await outcome_of(ask(client, way))
                where = f"cut after {point} bytes, {wire[:point][-40:]!r}: {error!r}"
                assert (type(error), error.status, error.partial) == (APIConnectionError, 0, None), where
                assert error.__cause__ is not None, where
    assert server.accepted == came.index(0)
