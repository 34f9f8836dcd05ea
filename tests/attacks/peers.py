"""The attacks, or a bounded choice of them, on three clients side by side; prints a table in Markdown.

    python tests/attacks/peers.py

The clients are ours over httpx, the official SDK and openai-python, each in its blocking form, used as its own
documentation says, and with its retries off unless they are what is measured.  All of them talk to the same
`RawServer` over real sockets, and each row is measured by one function for all.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import email.utils
import importlib
import importlib.metadata
import json
import os
import platform
import random
import sys
import threading
import time
import traceback
import urllib.parse
from typing import Any, Callable, ContextManager, Dict, Generator, Iterator, List, NamedTuple, Optional, Tuple

from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    answer_head,
    chat_answer,
    chat_chunk,
    chat_events,
    chat_stream,
    http_chunk,
    refusing_url,
    replies,
    sse_event,
    stream_head,
)

TOKEN = "rsk_01PEERSPEERSPEERS"
PROMPT = "a question for the gateway alone"
SAY = [{"role": "user", "content": PROMPT}]
TIMEOUT = 5.0
IDLE = 0.5
COMMENTS_SECONDS = 3.0
BIG = 4 << 20
PIECE = 1 << 10

Cell = str
Row = Tuple[str, str, Cell]


# The peers


class Ours:
    """The client over httpx."""

    package = "meshapi-transports"

    def __init__(self) -> None:
        self.module = importlib.import_module("meshapi_transports.httpx")
        self.own = self.module.MeshAPIError
        self.params = self.module.ChatCompletionParams(model="a/model", messages=SAY)

    def client(self, url: str, timeout: float = TIMEOUT, retries: int = 0) -> Any:
        return self.module.MeshAPI(base_url=url, token=TOKEN, timeout=timeout, max_retries=retries)

    def create(self, client: Any) -> Any:
        return client.chat.completions.create(self.params)

    def stream(self, client: Any) -> ContextManager[Iterator[Any]]:
        return client.chat.completions.stream(self.params)

    def get(self, client: Any, name: str) -> Any:
        return client.responses.get(name)

    def code_of(self, error: Any) -> Any:
        return error.error_code


class Official(Ours):
    """The official SDK: the same calls, but that a stream is a generator."""

    package = "meshapi"

    def __init__(self) -> None:
        self.module = importlib.import_module("meshapi")
        self.own = self.module.MeshAPIError
        self.params = self.module.ChatCompletionParams(model="a/model", messages=SAY)

    def stream(self, client: Any) -> ContextManager[Iterator[Any]]:
        return contextlib.closing(client.chat.completions.stream(self.params))


class OpenAI:
    """openai-python, which has a resource of responses too."""

    package = "openai"

    def __init__(self) -> None:
        self.module = importlib.import_module("openai")
        self.own = self.module.OpenAIError

    def client(self, url: str, timeout: float = TIMEOUT, retries: int = 0) -> Any:
        return self.module.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, timeout=timeout, max_retries=retries)

    def create(self, client: Any) -> Any:
        return client.chat.completions.create(model="a/model", messages=SAY)

    def stream(self, client: Any) -> ContextManager[Iterator[Any]]:
        return client.chat.completions.create(model="a/model", messages=SAY, stream=True)

    def get(self, client: Any, name: str) -> Any:
        return client.responses.retrieve(name)

    def code_of(self, error: Any) -> Any:
        return getattr(error, "code", None)


Peer = Any


# One call, and what came of it


class Outcome(NamedTuple):
    """What a call came to: its value, or the events of its stream, and the error that it ended with."""

    value: Any
    events: List[Any]
    error: Optional[Exception]
    seconds: float

    def is_foreign(self, peer: Peer) -> bool:
        """Whether the error is none of the peer's own."""
        return self.error is not None and not isinstance(self.error, peer.own)

    def described(self, peer: Peer) -> Cell:
        """The error in a few words."""
        if self.error is None:
            return f"no error, {len(self.events)} events" if self.value is None else "no error"
        if not self.is_foreign(peer):
            return f"`{type(self.error).__name__}`"
        kind = type(self.error)
        return f"`{kind.__module__.partition('.')[0]}.{kind.__name__}`"


def called(act: Callable[[], Any]) -> Outcome:
    """What `act` returns or raises."""
    start = time.monotonic()
    value, error = None, None
    try:
        value = act()
    except Exception as raised:
        error = raised
    return Outcome(value, [], error, time.monotonic() - start)


def streamed(peer: Peer, client: Any) -> Outcome:
    """What comes of a stream."""
    events: List[Any] = []

    def read() -> None:
        with peer.stream(client) as chunks:
            for chunk in chunks:
                events.append(chunk)

    return called(read)._replace(events=events)


def told(chunk: Any) -> Any:
    """What an event says, whichever client's type it has."""
    choices = []
    for choice in chunk.choices:
        calls = [(call.index, call.id, call.function.name, call.function.arguments) for call in calls_of(choice)]
        choices.append((choice.index, choice.delta.content, calls, choice.finish_reason))
    return choices, chunk.usage and chunk.usage.total_tokens


def calls_of(choice: Any) -> Any:
    return choice.delta.tool_calls or []


def out_of(count: int, total: int) -> Cell:
    return f"{count:,} of {total:,}"


class Telling:
    """A server that answers each request with the pieces that it is told, and then goes on as it is told."""

    def __init__(self) -> None:
        self.pieces: List[bytes] = []
        self.end = "receive_request"
        self.server = RawServer(self._script)

    def _script(self, connection: Any) -> None:
        connection.receive_request()
        while True:
            end = self.end
            connection.send(*self.pieces)
            getattr(connection, end)()
            if end != "receive_request":
                break


@contextlib.contextmanager
def serving(peer: Peer, script: Any, **options: Any) -> Iterator[Tuple[RawServer, Any]]:
    """A server and a client of it; either a script, or a reply for every request."""
    with RawServer(script if callable(script) else replies(script)) as server:
        client = peer.client(server.url, **options)
        try:
            yield server, client
        finally:
            client.close()


# The stream that is cut and split: whole, each of the clients reads it


def tool_call(**function: Any) -> Dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}]}


def chunk_of(delta: Dict[str, Any], finish_reason: Optional[str] = None, **fields: Any) -> Dict[str, Any]:
    chunk = {**chat_chunk(finish_reason=finish_reason), **fields}
    chunk["choices"][0]["delta"] = delta
    return chunk


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CHUNKS = [
    chunk_of({"role": "assistant", "content": "Grüße "}),
    chunk_of({"content": "€ 🌍"}),
    chunk_of(tool_call(name="f", arguments='{"ö":')),
    chunk_of(tool_call(arguments='"🌍"}')),
    chunk_of({}, "tool_calls", usage=USAGE),
]
ALL = [
    ([(0, "Grüße ", [], None)], None),
    ([(0, "€ 🌍", [], None)], None),
    ([(0, None, [(0, "call-1", "f", '{"ö":')], None)], None),
    ([(0, None, [(0, "call-1", None, '"🌍"}')], None)], None),
    ([(0, None, [], "tool_calls")], 3),
]
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n"}


def blocks_of(line_end: bytes) -> List[bytes]:
    return [sse_event(each, line_end) for each in [*CHUNKS, "[DONE]"]]


def undisturbed(peer: Peer) -> Iterator[Row]:
    """The stream as it is: what each client makes of it is what the attacks are measured against."""
    for name, line_end in LINE_ENDS.items():
        stream = stream_head() + b"".join(map(http_chunk, blocks_of(line_end))) + LAST_CHUNK
        with serving(peer, stream) as (_, client):
            came = [told(event) for event in streamed(peer, client).events]
        yield f"a whole stream, {name}", "events delivered", out_of(sum(map(ALL.__contains__, came)), len(ALL))


def cuts(peer: Peer) -> Iterator[Row]:
    """A stream that ends at every byte: by the end of its connection, and by an end of HTTP that is in order."""
    hung = 0
    for name, line_end in LINE_ENDS.items():
        blocks = blocks_of(line_end)
        wire, ends = stream_head(), []
        for block in blocks:
            wire += http_chunk(block)
            ends.append(len(wire) - 2)
        cut_off = [(wire[:point], sum(end <= point for end in ends[:-1])) for point in range(ends[-1])]
        hung += yield from cut_at(peer, f"a stream cut at each byte, {name}", "close", cut_off)

    body, in_order = b"".join(blocks_of(b"\n")), []
    ends = [sum(map(len, blocks_of(b"\n")[: count + 1])) for count in range(len(ALL))]
    for point in range(1, ends[-1]):
        whole = sum(end <= point for end in ends)
        in_order.append((stream_head() + http_chunk(body[:point]) + LAST_CHUNK, whole))
    attack = "a stream that ends at each byte, LF, the HTTP framing in order"
    hung += yield from cut_at(peer, attack, "receive_request", in_order)
    yield "any of these", "hangs until its timeout", str(hung)


def cut_at(peer: Peer, attack: str, end: str, points: List[Tuple[bytes, int]]) -> Generator[Row, None, int]:
    """Rows on answers that stop somewhere; with each comes how many events are whole in it.  Returns how many hang."""
    lost = short = foreign = hung = unfinished = 0
    telling = Telling()
    telling.end = end
    with telling.server as server, contextlib.closing(peer.client(server.url)) as client:
        for sent, whole in points:
            telling.pieces = [sent]
            outcome = streamed(peer, client)
            came = [told(event) for event in outcome.events]
            lost += len(came) < whole or came != ALL[: len(came)]
            unfinished += whole < len(ALL)
            short += whole < len(ALL) and outcome.error is None
            foreign += outcome.is_foreign(peer)
            hung += outcome.seconds >= TIMEOUT
    yield attack, "events that had arrived whole not delivered", out_of(lost, len(points))
    yield attack, "taken for a whole stream", out_of(short, unfinished)
    yield attack, "an exception that is not the client's own", out_of(foreign, len(points))
    return hung


def splits(peer: Peer) -> Iterator[Row]:
    """A stream in two pieces, divided at every byte."""
    for name, line_end in LINE_ENDS.items():
        body = b"".join(blocks_of(line_end))
        differ = 0
        telling = Telling()
        with telling.server as server, contextlib.closing(peer.client(server.url)) as client:
            for point in range(1, len(body)):
                telling.pieces = [stream_head(), http_chunk(body[:point]), http_chunk(body[point:]) + LAST_CHUNK]
                outcome = streamed(peer, client)
                differ += outcome.error is not None or [told(event) for event in outcome.events] != ALL
        yield f"a stream split in two at each byte, {name}", "other events, or an error", out_of(differ, len(body) - 1)


# What a stream may bring


def only_comments(peer: Peer) -> Iterator[Row]:
    """Comments keep coming, and no event."""

    def script(connection: Any) -> None:
        connection.receive_request()
        connection.send(stream_head())
        end = time.monotonic() + COMMENTS_SECONDS
        while time.monotonic() < end:
            connection.send(http_chunk(b": still there\n\n"))
            threading.Event().wait(0.05)

    with serving(peer, script, timeout=IDLE) as (_, client):
        seconds = streamed(peer, client).seconds
    cell = "yes" if seconds < COMMENTS_SECONDS - 1 else f"not in {COMMENTS_SECONDS:g} s"
    yield f"a stream of nothing but comments, timeout {IDLE:g} s", "times out", cell


ERROR = {"error": {"code": "upstream_error", "message": "the model is gone"}, "request_id": "req-frame"}


def frames(peer: Peer) -> Iterator[Row]:
    """Events that are no chunks, and answers that are no streams."""
    for attack, data in (
        ("an error in the middle of a stream", ERROR),
        ("an event that is not JSON", '{"choices": [{"index"'),
        ("an event that is not an object", "[1, 2]"),
    ):
        events = [sse_event(CHUNKS[0]), sse_event(data), *map(sse_event, CHUNKS[1:]), sse_event("[DONE]")]
        with serving(peer, stream_head() + b"".join(map(http_chunk, events)) + LAST_CHUNK) as (_, client):
            outcome = streamed(peer, client)
        yield attack, "ends with", outcome.described(peer)
        if data is ERROR:
            code, name = peer.code_of(outcome.error), getattr(outcome.error, "request_id", None)
            said = [what for what, is_there in (("code", code), ("request id", name)) if is_there]
            yield attack, "what the error knows of it", ", ".join(said) or "neither code nor request id"
    error = answer(json.dumps(ERROR).encode())
    with serving(peer, error) as (_, client):
        yield (
            '`{"error": ...}` with status 200',
            "a call ends with",
            called(lambda: peer.create(client)).described(peer),
        )
        yield '`{"error": ...}` with status 200', "a stream ends with", streamed(peer, client).described(peer)
    with serving(peer, chat_answer()) as (_, client):
        yield "one whole completion instead of a stream", "ends with", streamed(peer, client).described(peer)


def failures(peer: Peer) -> Iterator[Row]:
    """No answer at all, or a part of one."""
    with refusing_url() as url, contextlib.closing(peer.client(url)) as client:
        yield "connection refused", "ends with", called(lambda: peer.create(client)).described(peer)

    def reset(connection: Any, _: Any) -> None:
        connection.reset()

    with serving(peer, replies(reset)) as (_, client):
        yield "connection reset before the answer", "ends with", called(lambda: peer.create(client)).described(peer)

    def silent(connection: Any, _: Any) -> None:
        connection.wait_closed()

    with serving(peer, replies(silent), timeout=0.3) as (_, client):
        yield "no answer, timeout 0.3 s", "ends with", called(lambda: peer.create(client)).described(peer)

    whole = chat_answer("Grüße 🌍")
    head, body = whole[: whole.index(b"\r\n\r\n") + 4], whole[whole.index(b"\r\n\r\n") + 4 :]
    ended = answer_head(200, "Content-Type: application/json", "Transfer-Encoding: chunked")
    for attack, end, answers in (
        ("a JSON answer cut at each byte", "close", [head + body[:point] for point in range(len(body))]),
        (
            "a JSON answer that ends at each byte, the HTTP framing in order",
            "receive_request",
            [ended + http_chunk(body[:point]) + LAST_CHUNK for point in range(1, len(body))],
        ),
    ):
        short = foreign = 0
        telling = Telling()
        telling.end = end
        with telling.server as server, contextlib.closing(peer.client(server.url)) as client:
            for sent in answers:
                telling.pieces = [sent]
                outcome = called(lambda: peer.create(client))
                short += outcome.error is None
                foreign += outcome.is_foreign(peer)
        yield attack, "taken for an answer", out_of(short, len(answers))
        yield attack, "an exception that is not the client's own", out_of(foreign, len(answers))


# Time


class Naps:
    """``time.sleep``, that can be told to write down until when it was to last instead."""

    def __init__(self) -> None:
        self._sleep = time.sleep
        self.is_writing = False
        self.until = 0.0

    def __call__(self, seconds: float) -> None:
        if self.is_writing:
            self.until = max(self.until, time.time()) + seconds
        else:
            self._sleep(seconds)


NAPS = Naps()
ASKED = [2, 3, 5, 10, 20, 29, 30, 31, 45, 60, 90, 120, 121, 300, 3600]


def retry_after(peer: Peer) -> Iterator[Row]:
    """A server that asks to come back later; nobody waits here, but it is written down how long they would."""
    seconds = sum(comes_early(peer, str(seconds), time.time() + seconds) for seconds in ASKED)
    yield "`Retry-After`, 2 to 3600 s", "tried again earlier than asked", out_of(seconds, len(ASKED))
    dates = 0
    for seconds in ASKED:
        # A date has no fractions.
        moment = int(time.time()) + seconds
        dates += comes_early(peer, email.utils.formatdate(moment, usegmt=True), moment)
    yield "`Retry-After` as a date, as far away", "tried again earlier than asked", out_of(dates, len(ASKED))


def comes_early(peer: Peer, asked: str, moment: float) -> bool:
    """Whether a client tries again before the `moment` that it was asked to wait for."""
    date = email.utils.formatdate(usegmt=True)
    refusal = answer(b'{"error": {"code": "rate_limit_exceeded"}}', 429, f"Retry-After: {asked}", f"Date: {date}")
    with serving(peer, replies(refusal, chat_answer()), retries=1) as (server, client):
        # For the jitter to be the same in each run.
        random.seed(asked)
        NAPS.is_writing, NAPS.until = True, 0.0
        try:
            called(lambda: peer.create(client))
            return len(server.requests) > 1 and NAPS.until < moment
        finally:
            NAPS.is_writing = False


# Secrets


def redirects(peer: Peer) -> Iterator[Row]:
    """A redirect to another host."""
    attack = "a redirect (307) to another host"
    with RawServer(replies(chat_answer("from elsewhere"))) as other:
        there = f"http://localhost:{other.port}/elsewhere"
        with serving(peer, answer(b"", 307, f"Location: {there}")) as (_, client):
            outcome = called(lambda: peer.create(client))
        keys = [request.header("authorization") for request in other.requests]
        bodies = [PROMPT.encode() in request.body for request in other.requests]
    yield attack, "the key goes there", "yes" if any(keys) else "no"
    yield attack, "the prompt goes there", "yes" if any(bodies) else "no"
    yield attack, "ends with", outcome.described(peer)


def secrets(peer: Peer) -> Iterator[Row]:
    """The key where clients and errors are written down."""
    quoting = json.dumps({"error": {"code": "unauthorized", "message": f"there is no key {TOKEN}"}}).encode()
    cut = stream_head() + http_chunk(sse_event(CHUNKS[0]))

    def reset(connection: Any, _: Any) -> None:
        connection.reset()

    def cut_short(connection: Any, _: Any) -> None:
        connection.send(cut)
        connection.close()

    refused = answer(b'{"error": {"code": "unauthorized", "message": "no"}}', 401)
    not_json = answer(b"so it goes")
    outcomes = []
    with serving(peer, refused) as (_, client):
        yield "the key in `repr(client)`", "is there", "yes" if TOKEN in repr(client) else "no"
        outcomes.append(called(lambda: peer.create(client)))
    for reply in (replies(reset), replies(not_json)):
        with serving(peer, reply) as (_, client):
            outcomes.append(called(lambda: peer.create(client)))
    with serving(peer, replies(cut_short)) as (_, client):
        outcomes.append(streamed(peer, client))
    with refusing_url() as url, contextlib.closing(peer.client(url)) as client:
        outcomes.append(called(lambda: peer.create(client)))
    written = [_with_locals(outcome.error) for outcome in outcomes if outcome.error is not None]
    yield (
        "the key in tracebacks that show local variables (401, reset, not JSON, cut stream, refused)",
        "is there",
        out_of(sum(TOKEN in text for text in written), len(outcomes)),
    )
    with serving(peer, answer(quoting, 401)) as (_, client):
        error = called(lambda: peer.create(client)).error
    yield "a 401 that quotes the key", "it is in `str(error)`", "yes" if TOKEN in str(error) else "no"


def _with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


# What an answer may lack

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "a/model",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Hello",
                "tool_calls": [
                    {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
        }
    ],
    "usage": USAGE,
}


def places_in(value: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """The path of each field in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        if isinstance(value, dict):
            yield (*path, key)
        yield from places_in(each, (*path, key))


def altered(value: Any) -> Iterator[Any]:
    """`value` without each of its fields, and with null in each."""
    for *path, key in places_in(value):
        for is_null in (False, True):
            other = copy.deepcopy(value)
            parent = other
            for step in path:
                parent = parent[step]
            if is_null:
                parent[key] = None
            else:
                del parent[key]
            yield other


WRONG = [
    [],
    "text",
    7,
    {**COMPLETION, "choices": "text"},
    {**COMPLETION, "choices": ["text"]},
    {**COMPLETION, "choices": [{"index": 0, "message": "text"}]},
    {**COMPLETION, "choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": "text"}}]},
    {**COMPLETION, "choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": ["text"]}}]},
]


def fields(peer: Peer) -> Iterator[Row]:
    """Answers that lack a field, or in which one is null; answers of another shape."""
    bodies = list(altered(COMPLETION))
    refused = 0
    telling = Telling()
    with telling.server as server, contextlib.closing(peer.client(server.url)) as client:
        for body in bodies:
            telling.pieces = [answer(json.dumps(body).encode())]
            refused += called(lambda: peer.create(client)).error is not None
        yield "each field of an answer missing, and null", "refused", out_of(refused, len(bodies))

        bodies = [each for chunk in CHUNKS for each in altered(chunk)]
        refused = 0
        for body in bodies:
            events = [sse_event(body), *chat_events()]
            telling.pieces = [stream_head() + b"".join(map(http_chunk, events)) + LAST_CHUNK]
            refused += streamed(peer, client).error is not None
        yield "each field of an event missing, and null", "refused", out_of(refused, len(bodies))

        accepted = foreign = 0
        for body in WRONG:
            telling.pieces = [answer(json.dumps(body).encode())]
            outcome = called(lambda: peer.create(client))
            accepted += outcome.error is None
            foreign += outcome.is_foreign(peer)
        attack = "a string, a list or a number where an object or a list belongs"
        yield attack, "taken for an answer", out_of(accepted, len(WRONG))
        yield attack, "an exception that is not the client's own", out_of(foreign, len(WRONG))


# Load

# The first peer's, which the others are compared with.
FIRST_CPU: List[float] = []


def big_event(peer: Peer) -> Iterator[Row]:
    """One event in many pieces."""
    event = sse_event(chat_chunk("x" * BIG))
    pieces = [http_chunk(event[start : start + PIECE]) for start in range(0, len(event), PIECE)]

    def reply(connection: Any, _: Any) -> None:
        connection.send(stream_head(), *pieces, *map(http_chunk, chat_events()), LAST_CHUNK)

    with serving(peer, replies(reply)) as (_, client):
        start = time.thread_time()
        outcome = streamed(peer, client)
        seconds = time.thread_time() - start
    FIRST_CPU.append(seconds)
    ratio = seconds / FIRST_CPU[0]
    cell = f"{ratio:.{0 if ratio >= 10 else 1}f} ({seconds:.2f} s)"
    if not outcome.events or len(outcome.events[0].choices[0].delta.content or "") != BIG:
        cell = outcome.described(peer)
    yield f"an event of {BIG >> 20} MiB in pieces of {PIECE >> 10} KiB", "CPU time, the first client's being 1", cell


# Addresses

NAMES = ["../files/x", "..", ".", "a/b", "a?b=c", "a#b", "%2e%2e", "a%2Fb", "a\nb", "a b", "ä"]


def addresses(peer: Peer) -> Iterator[Row]:
    """Ids with characters in them that mean something in an address."""
    elsewhere = 0
    with serving(peer, answer(b'{"id": "resp-1"}')) as (server, client):
        for name in NAMES:
            before = len(server.requests)
            called(lambda name=name: peer.get(client, name))
            for request in server.requests[before:]:
                prefix, _, last = request.target.rpartition("/")
                elsewhere += prefix != "/v1/responses" or last in (".", "..") or urllib.parse.unquote(last) != name
        before = len(server.requests)
        called(lambda: peer.get(client, NAMES[0]))
        arrived = [f"`{request.method} {request.target}`" for request in server.requests[before:]]
    yield "ids such as `../files/x`, `a?b`, `a#b`", "lead to another address", out_of(elsewhere, len(NAMES))
    yield f"the id `{NAMES[0]}` of a response", "what arrives", ", ".join(arrived) or "nothing: it is refused"


# Connections

STREAMS = 20


def connections(peer: Peer) -> Iterator[Row]:
    """Streams that are left early, or read to their end."""

    def endless(connection: Any) -> None:
        connection.receive_request()
        connection.send(stream_head(), http_chunk(sse_event(CHUNKS[0])))
        connection.wait_closed()

    with serving(peer, endless) as (server, client):
        with peer.stream(client) as chunks:
            for _ in chunks:
                break
        is_closed = server.wait_until(lambda server: server.open == 0, 2.0)
    yield "a stream left early, and closed", "the connection is closed", "yes" if is_closed else "not in 2 s"

    whole = chat_stream("Hello")

    def delayed(connection: Any, _: Any) -> None:
        connection.send(whole[: -len(LAST_CHUNK)])
        threading.Event().wait(0.005)
        connection.send(LAST_CHUNK)

    attack = f"{STREAMS} streams, one after the other, each read to its end"
    for when, reply in (("at once", whole), ("5 ms later", delayed)):
        with serving(peer, replies(reply)) as (server, client):
            for _ in range(STREAMS):
                streamed(peer, client)
            yield f"{attack}; the end of HTTP comes {when}", "connections made", str(server.accepted)


# The table

ATTACKS: List[Callable[[Peer], Iterator[Row]]] = [
    undisturbed,
    cuts,
    splits,
    only_comments,
    frames,
    failures,
    retry_after,
    redirects,
    secrets,
    fields,
    big_event,
    addresses,
    connections,
]


def main() -> None:
    """Run the attacks and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "attacks", nargs="*", metavar="attack", help=f"some of: {', '.join(each.__name__ for each in ATTACKS)}"
    )
    parser.add_argument("--seconds", action="store_true", help="tell on stderr how long each attack took")
    arguments = parser.parse_args()
    unknown = set(arguments.attacks) - {each.__name__ for each in ATTACKS}
    if unknown:
        parser.error(f"there is no attack {', '.join(sorted(unknown))}")

    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("MESHAPI_", "OPENAI_")):
            del os.environ[name]
    # Before a client's module is there that keeps the function.
    time.sleep = NAPS
    peers = [Ours(), Official(), OpenAI()]

    rows: Dict[Tuple[str, str], List[Cell]] = {}
    for attack in ATTACKS:
        if arguments.attacks and attack.__name__ not in arguments.attacks:
            continue
        for peer in peers:
            start = time.monotonic()
            for what, counted, cell in attack(peer):
                rows.setdefault((what, counted), []).append(cell)
            if arguments.seconds:
                print(f"{attack.__name__}, {peer.package}: {time.monotonic() - start:.1f} s", file=sys.stderr)

    others = ", ".join(map(versioned, ["httpx", "httpx2", "pydantic"]))
    print(f"Python {platform.python_version()}, {platform.system()}; {others}.\n")
    print_row("attack", "what is counted", *(versioned(peer.package) for peer in peers))
    print_row(*["---"] * (2 + len(peers)))
    for key, cells in rows.items():
        print_row(*key, *cells)


def versioned(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
