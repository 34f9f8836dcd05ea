"""From bytes to typed objects, without sockets: the least that does it, our core driven by hand, and the others.

The others get the bytes from a transport of their own library that has them ready.
"""

from __future__ import annotations

import base64
import importlib
import os
from typing import Any, Callable, Dict, Iterator, List

from . import server
from .contenders import TOKEN, USUAL, body, chunks_of
from .cost import cost_of

JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
INPUT = ["measure twice"] * 256


def huge(megabytes: int) -> bytes:
    """A stream of one event of that size, an image in base64."""
    image = base64.b64encode(os.urandom(megabytes * 750_000)).decode()
    return b"data: %b\n\ndata: [DONE]\n\n" % server.chunk(image)


class Decoder:
    """Something that makes objects of bytes."""

    def chunks(self, pieces: List[bytes]) -> int:
        """Make chunks of a stream; how many there were."""
        raise NotImplementedError

    def embeddings(self, data: bytes, encoding: str) -> Any:
        """Make vectors of numbers of an answer."""
        raise NotImplementedError


class Plain(Decoder):
    """Split on blank lines, and let pydantic validate."""

    def __init__(self) -> None:
        from .plain import Embeddings

        self.validate = Embeddings.__pydantic_validator__.validate_json

    def chunks(self, pieces: List[bytes]) -> int:
        count = 0
        for _ in chunks_of(pieces):
            count += 1
        return count

    def embeddings(self, data: bytes, encoding: str) -> Any:
        return self.validate(data)


class Core(Decoder):
    """Our core, driven by hand."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("meshapi_core")
        self.core = self.module.MeshAPICore(self.module.MeshAPIConfig("http://127.0.0.1:1", token=TOKEN))

    def chunks(self, pieces: List[bytes]) -> int:
        call = self.core.chat.completions.stream(self.module.ChatCompletionParams(messages=USUAL))
        call.next_action()
        call.receive_response(200, STREAM)
        count = 0
        for piece in pieces:
            call.receive_data(piece)
            for _ in call.events():
                count += 1
        return count

    def embeddings(self, data: bytes, encoding: str) -> Any:
        call = self.core.embeddings.create(self.module.EmbeddingsParams(input=INPUT, encoding_format=encoding))
        call.next_action()
        call.receive_response(200, JSON)
        call.receive_data(data)
        call.receive_eof()
        # Of the two ways, the one whose user asked for base64 to be fast.
        return [item.to_array() if encoding == "base64" else item.floats() for item in call.result.data]


def client_of(library: Any, headers: Dict[str, str], answer: Callable[[], Iterator[bytes]]) -> Any:
    """A client of httpx, or httpx2, that is answered without a socket."""

    class Ready(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            return answer()

    def handle(request: Any) -> Any:
        return library.Response(200, headers=headers, stream=Ready())

    return library.Client(transport=library.MockTransport(handle), base_url="http://127.0.0.1:1")


class Peer(Decoder):
    """A client that takes a client of httpx or httpx2."""

    def __init__(self) -> None:
        self.ready: List[bytes] = []

    def http_client(self, library: str, headers: Dict[str, str]) -> Any:
        return client_of(importlib.import_module(library), headers, lambda: iter(self.ready))


class Official(Peer):
    """The official SDK, which leaves base64 as it is."""

    def client(self, headers: Dict[str, str]) -> Any:
        self.module: Any = importlib.import_module("meshapi")
        http_client = self.http_client("httpx", headers)
        return self.module.MeshAPI(base_url="http://127.0.0.1:1", token=TOKEN, httpx_client=http_client)

    def chunks(self, pieces: List[bytes]) -> int:
        self.ready = pieces
        client = self.client(STREAM)
        return sum(1 for _ in client.chat.completions.stream(self.module.ChatCompletionParams(messages=USUAL)))

    def embeddings(self, data: bytes, encoding: str) -> Any:
        self.ready = [data]
        client = self.client(JSON)
        return client.embeddings.create(self.module.EmbeddingsParams(input=INPUT, encoding_format=encoding))


class OpenAI(Peer):
    """openai-python, which decodes base64 if it was not asked for, with numpy where there is one."""

    def client(self, headers: Dict[str, str]) -> Any:
        http_client = self.http_client("httpx2", headers)
        module: Any = importlib.import_module("openai")
        return module.OpenAI(base_url="http://127.0.0.1:1", api_key=TOKEN, http_client=http_client)

    def chunks(self, pieces: List[bytes]) -> int:
        self.ready = pieces
        return sum(1 for _ in self.client(STREAM).chat.completions.create(**body("answer", USUAL, stream=True)))

    def embeddings(self, data: bytes, encoding: str) -> Any:
        self.ready = [data]
        asked = {"encoding_format": "float"} if encoding == "float" else {}
        return self.client(JSON).embeddings.create(model="answer", input=INPUT, **asked)


class HTTPXSSE(Decoder):
    """httpx-sse, which makes events, and no objects of them."""

    def chunks(self, pieces: List[bytes]) -> int:
        httpx, httpx_sse = importlib.import_module("httpx"), importlib.import_module("httpx_sse")
        client = client_of(httpx, STREAM, lambda: iter(pieces))
        with httpx_sse.connect_sse(client, "GET", "/") as source:
            return sum(1 for _ in source.iter_sse())


DECODERS: Dict[str, Callable[[], Decoder]] = {
    "raw-inprocess": Plain,
    "ours-inprocess": Core,
    "official-inprocess": Official,
    "openai-inprocess": OpenAI,
    "httpx-sse-inprocess": HTTPXSSE,
}


class Work:
    """What a contender in process can be told to do."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.inputs: Dict[str, Any] = {}

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """An input that is made once."""
        if name not in self.inputs:
            self.inputs[name] = make()
        return self.inputs[name]

    async def chunk(self, seconds: float, size: int) -> float:
        """One chunk of many, in pieces of that size; in those of the events if it is 0."""
        stream = self.kept("events", lambda: server.events(server.CHUNKS))
        pieces = self.kept(f"pieces {size}", lambda: server.cut(b"".join(stream), size) if size else stream)

        async def once() -> int:
            return self.decoder.chunks(pieces)

        return await cost_of(once, seconds)

    async def huge(self, seconds: float, megabytes: int, size: int) -> float:
        """One event of so many megabytes, in pieces of that size."""
        data = self.kept(f"huge {megabytes}", lambda: huge(megabytes))
        pieces = server.cut(data, size)

        async def once() -> int:
            self.decoder.chunks(pieces)
            return 1

        return await cost_of(once, seconds)

    async def embeddings(self, seconds: float, encoding: str) -> float:
        """One answer with 256 vectors."""
        data = self.kept(encoding, lambda: server.embeddings(encoding))

        async def once() -> int:
            self.decoder.embeddings(data, encoding)
            return 1

        return await cost_of(once, seconds)
