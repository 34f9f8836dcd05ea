"""A fast HTTP server with answers that are ready made, in a process and on a core of its own.

What it answers is named by the model that is asked for:

    answer   a chat completion
    events   a stream of 2,000 chunks, each in an HTTP chunk of its own
    big      the same events in HTTP chunks of 16 KiB, cut anywhere
    short    a stream of 20 chunks
    open     the first chunk of a stream, and then nothing
    never    nothing at all

Below ``/openai`` a list of models has the shape that OpenAI gives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from typing import Any, Dict, Generator, List, Optional

from . import machine

CHUNKS = 2000
BIG = 16384

SENTENCE = "Measure twice, cut once: what is not measured is only believed, and what is believed is seldom fast. "


def packed(value: Any) -> bytes:
    """A value as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def completion() -> bytes:
    """A chat completion as gateways send it, of about 700 bytes."""
    message: Dict[str, Any] = {"role": "assistant", "content": SENTENCE * 2, "refusal": None, "annotations": []}
    usage = {"prompt_tokens": 48, "completion_tokens": 40, "total_tokens": 88}
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    return packed(
        {
            "id": "chatcmpl-0123456789abcdefghijklmnopq",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "openai/gpt-4o-mini",
            "system_fingerprint": "fp_0123456789",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {**usage, **details},
        }
    )


def chunk(content: str, finish_reason: Optional[str] = None) -> bytes:
    """One chunk of a streamed completion, of about 220 bytes if `content` is a word."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish_reason}
    return packed(
        {
            "id": "chatcmpl-0123456789abcdefghijklmnopq",
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": "openai/gpt-4o-mini",
            "choices": [choice],
        }
    )


def events(count: int) -> List[bytes]:
    """A stream of so many chunks, an event an item, and its end."""
    words = SENTENCE.split()
    chunks = [chunk(" " + words[at % len(words)]) for at in range(count - 1)] + [chunk("", "stop")]
    return [b"data: %b\n\n" % each for each in [*chunks, b"[DONE]"]]


def embeddings(encoding: str) -> bytes:
    """256 vectors of 1,536 numbers, as numbers or as base64."""
    import base64
    import random
    import struct

    chance = random.Random(1536)
    all_numbers = struct.pack("<1791f", *(chance.gauss(0, 0.03) for _ in range(1791)))
    data: List[Dict[str, Any]] = []
    for index in range(256):
        vector = all_numbers[4 * index :][: 4 * 1536]
        embedding = base64.b64encode(vector).decode()
        numbers = [round(number, 9) for number in struct.unpack("<1536f", vector)]
        data.append({"object": "embedding", "index": index, "embedding": numbers if encoding == "float" else embedding})
    usage = {"prompt_tokens": 512, "total_tokens": 512}
    return packed({"object": "list", "data": data, "model": "openai/text-embedding-3-small", "usage": usage})


def models() -> List[Dict[str, Any]]:
    """300 models."""
    pricing = {"prompt_usd_per_1k": "0.00015", "completion_usd_per_1k": "0.0006", "pricing_unit": "token"}
    return [
        {
            "id": f"maker-{number % 20}/model-{number}",
            "name": f"Model {number}",
            "object": "model",
            "created": 1750000000 + number,
            "owned_by": f"maker-{number % 20}",
            "context_length": 128000,
            "is_free": number % 4 == 0,
            "description": SENTENCE,
            "pricing": pricing,
            "supports_thinking": False,
            "supports_completions_api": True,
            "supports_responses_api": True,
            "supports_tools": True,
            "model_type": "text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "provider": f"maker-{number % 20}",
        }
        for number in range(300)
    ]


def head(kind: bytes, framing: bytes) -> bytes:
    """The head of an answer, with the fields that gateways send."""
    return (
        b"HTTP/1.1 200 OK\r\ndate: Thu, 20 Nov 2025 12:00:00 GMT\r\nserver: benchmark\r\ncontent-type: %b\r\n%b\r\n"
        b"x-request-id: req_0123456789abcdef\r\nx-ratelimit-limit-requests: 10000\r\ncache-control: no-store\r\n"
        b"x-ratelimit-remaining-requests: 9999\r\nstrict-transport-security: max-age=31536000\r\nvary: origin\r\n\r\n"
    ) % (kind, framing)


def whole(body: bytes) -> bytes:
    """An answer of JSON."""
    return head(b"application/json", b"content-length: %d" % len(body)) + body


def framed(pieces: List[bytes]) -> bytes:
    """A stream, an HTTP chunk a piece."""
    return STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def cut(data: bytes, size: int) -> List[bytes]:
    """`data` in pieces of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


STREAM_HEAD = head(b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked")
OF_MODEL = {
    b"answer": whole(completion()),
    b"events": framed(events(CHUNKS)),
    b"big": framed(cut(b"".join(events(CHUNKS)), BIG)),
    b"short": framed(events(20)),
    b"open": STREAM_HEAD + b"%x\r\n%b\r\n" % (len(events(2)[0]), events(2)[0]),
    b"never": b"",
}
LISTED = whole(packed(models()))
LISTED_BY_OPENAI = whole(packed({"object": "list", "data": models()}))

MODEL = re.compile(rb'"model": ?"(\w+)"')
LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection: it cuts requests out of what comes, and writes what is ready."""

    accepted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""
        Connection.accepted += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n") + 4) >= 4:
            length = LENGTH.search(self.received, 0, end)
            if length:
                end += int(length[1])
            if len(self.received) < end:
                return
            self.answer(self.received[:end])
            self.received = self.received[end:]

    def answer(self, request: bytes) -> None:
        if request.startswith(b"POST "):
            model = MODEL.search(request)
            assert model is not None, request[:200]
            self.transport.write(OF_MODEL[model[1]])
        elif request.startswith(b"GET /accepted "):
            # The connection that asks is none of those that are asked about.
            Connection.accepted -= 1
            self.transport.write(whole(b"%d" % Connection.accepted))
        else:
            self.transport.write(LISTED_BY_OPENAI if request.startswith(b"GET /openai/") else LISTED)


async def serve() -> None:
    """Serve until standard input ends, as it does with whoever has started this; the address is printed first."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()


def main() -> None:
    """What the server's process does."""
    machine.pin(0)
    machine.allow_many_files()
    asyncio.run(serve())


class Server:
    """The server, seen from the process that has started it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def accepted(self) -> int:
        """How many connections it has accepted."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/accepted") as response:
            return int(response.read())


@contextlib.contextmanager
def running() -> Generator[Server, None, None]:
    """A server, until the block is left."""
    command = [*machine.PROGRAM, "--as", "server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=machine.surroundings()) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("the server has not started")
            yield Server(url)
        finally:
            process.terminate()
