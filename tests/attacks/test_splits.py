"""However the same bytes are divided, the same comes of them: in the core, and on every face."""

from __future__ import annotations

import gzip
import json
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshapi_core import MeshAPIConfig, MeshAPICore
from meshapi_transports.testing.raw import LAST_CHUNK, RawServer, answer, http_chunk, stream_head

from ..transports.faces import PARAMS, TOKEN, create, stream
from .recorded import VARIANTS, chunked, parsed, put_together, told

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates", "patient_drain")]

BODIES = {name: b"".join(blocks) for name, blocks in VARIANTS.items()}
EVENTS = parsed(BODIES["LF"])[0]
# For one piece to be read before the next arrives; where that fails, the test asks for less than it could.
BREATH = 0.0003


def cut(data, points):
    """`data` in pieces that end at `points`."""
    bounds = [0, *sorted(points), len(data)]
    return [data[start:end] for start, end in zip(bounds, bounds[1:])]


class Dividing:
    """A server that answers each request with the pieces that it is told, one after the other."""

    def __init__(self, pieces=()):
        self.next = pieces
        self.server = RawServer(self._script)

    def _script(self, connection):
        pause = threading.Event()
        while True:
            connection.receive_request()
            first, *others = self.next
            connection.send(first)
            for piece in others:
                pause.wait(BREATH)
                connection.send(piece)


async def all_of(events):
    """What comes of a stream that ends in order."""
    return [chunk.model_dump(mode="json", exclude_unset=True) async for chunk in events]


# Two pieces


def in_segments(wire):
    """An answer, divided anywhere: within its head, its framing, its body."""
    for point in range(1, len(wire)):
        yield cut(wire, [point])


def in_chunks(body):
    """A body in two HTTP chunks, divided anywhere."""
    for point in range(1, len(body)):
        first, second = map(http_chunk, cut(body, [point]))
        yield [stream_head() + first, second + LAST_CHUNK]


PACKED = gzip.compress(BODIES["LF"][:300]) + gzip.compress(BODIES["LF"][300:])
DIVISIONS = {
    "segments": in_segments(chunked(VARIANTS["CRLF"])[0]),
    "sized": in_segments(answer(BODIES["CR"], content_type="text/event-stream")),
    "packed": in_segments(stream_head("Content-Encoding: gzip") + http_chunk(PACKED) + LAST_CHUNK),
    **{f"chunks of {name}": in_chunks(body) for name, body in BODIES.items()},
}
DIVISIONS = {name: list(division) for name, division in DIVISIONS.items()}


@pytest.mark.parametrize("how", DIVISIONS)
async def test_stream_in_two_pieces(face, how):
    """Wherever a stream is divided, its events are the same, and its connection serves the next one."""
    dividing = Dividing()
    with dividing.server as server:
        async with face.client(server) as client:
            for dividing.next in DIVISIONS[how]:
                first, second = dividing.next
                assert await all_of(stream(client)) == EVENTS, (first[-40:], second[:40])
            assert server.accepted == 1


COMPLETION = {"choices": [{"index": 0, "message": {"content": "Grüße 🌍"}, "finish_reason": "stop"}]}


async def test_answer_in_two_pieces(face):
    """Wherever an answer is divided, it is the same answer."""
    dividing = Dividing()
    with dividing.server as server:
        async with face.client(server) as client:
            for dividing.next in in_segments(answer(json.dumps(COMPLETION, ensure_ascii=False).encode())):
                first, second = dividing.next
                completion = await create(client)
                assert completion.model_dump(mode="json", exclude_unset=True) == COMPLETION, (first[-40:], second[:40])
            assert server.accepted == 1


# Any pieces


def divisions(data):
    """The pieces of `data`, divided anywhere, and into as many pieces as there are bytes."""
    one_by_one = st.just(range(1, len(data)))
    points = st.lists(st.integers(0, len(data)), max_size=30) | one_by_one
    return points.map(lambda points: cut(data, points))


async def test_stream_in_any_pieces(face):
    """However often a stream is divided, its events are the same, and so is the whole that is made of them."""
    wire, chance = chunked(VARIANTS["CRLF"])[0], random.Random(face.name)
    sets_of_points = [range(1, len(wire))]
    sets_of_points += [chance.sample(range(1, len(wire)), chance.randint(2, 40)) for _ in range(25)]
    dividing = Dividing()
    with dividing.server as server:
        async with face.client(server) as client:
            for points in sets_of_points:
                dividing.next = cut(wire, points)
                chunks = stream(client)
                assert await all_of(chunks) == EVENTS, sorted(points)
                assert told(await chunks.collect()) == put_together(EVENTS), sorted(points)
            assert server.accepted == 1


CORE = MeshAPICore(MeshAPIConfig("http://gateway", token=TOKEN))


def fed(pieces):
    """What the core's machine makes of a stream that comes in `pieces`: as the events come, and as a whole."""
    call = CORE.chat.completions.stream(PARAMS)
    call.next_action()
    call.receive_response(200, [("Content-Type", "text/event-stream")])
    events = []
    for piece in pieces:
        call.receive_data(piece)
        events += call.events()
    return [event.model_dump(mode="json", exclude_unset=True) for event in events], told(call.result)


@pytest.mark.parametrize("variant", VARIANTS)
def test_core_in_two_pieces(variant):
    """Wherever a stream is divided, the core makes the same of it."""
    for point in range(len(BODIES[variant]) + 1):
        assert fed(cut(BODIES[variant], [point])) == (EVENTS, put_together(EVENTS)), point


@settings(
    derandomize=True, max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(data=st.data(), variant=st.sampled_from(list(VARIANTS)))
def test_core_in_any_pieces(data, variant):
    """However often a stream is divided, the core makes the same of it."""
    pieces = data.draw(divisions(BODIES[variant]))
    assert fed(pieces) == (EVENTS, put_together(EVENTS))
