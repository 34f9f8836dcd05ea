"""The clients that are measured: ours, the library alone, the official SDK and openai-python, behind one interface.

What is heavy is imported when a contender is made, so that its process holds nothing of the others.
"""

from __future__ import annotations

import http.client
import importlib
import json
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterable, Iterator, List, NamedTuple, Type
from urllib.parse import urlsplit

PATH = "/v1/chat/completions"
TOKEN = "rsk_01BENCHMARK"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json", "Content-Type": "application/json"}
TIMEOUT = 60.0
# The limits of our own pools: any number of connections, of which so many are kept while idle, and so long.
IDLE_CONNECTIONS = 100
IDLE_SECONDS = 15.0

Messages = List[Dict[str, str]]

USUAL: Messages = [
    {"role": "system", "content": "Answer in one short sentence, and do not repeat the question."},
    {"role": "user", "content": "Why is it worth more to measure a program than to have an opinion about it?"},
]
# A conversation so far.  Whoever has one keeps it in the form in which his client wants it, from one turn to the next.
MANY: Messages = [
    {"role": ("user", "assistant")[at % 2], "content": f"{at}. " + "What is not measured is only believed. " * 12}
    for at in range(200)
]


class Contender(NamedTuple):
    """Who is measured: which client (`maker`), over which library, and in which loop."""

    maker: str
    library: str
    loop: str

    @property
    def name(self) -> str:
        return f"{self.maker}-{self.library}-{self.loop}"

    @property
    def face(self) -> str:
        return self.library if (self.library, self.loop) in SINGLE else f"{self.library}, {self.loop}"

    @property
    def is_blocking(self) -> bool:
        return self.loop == "blocking"


# Libraries with one loop need not name it.
SINGLE = [("aiohttp", "asyncio"), ("requests", "blocking"), ("trio", "trio"), ("stdlib", "blocking")]
FAMILY = [(library, loop) for library in ("httpx", "httpx2") for loop in ("blocking", "asyncio", "trio")]

OURS = [Contender("ours", library, loop) for library, loop in [*FAMILY, *SINGLE]]
RAW = [ours._replace(maker="raw") for ours in OURS]
PEERS = [
    Contender(maker, library, loop)
    for maker, library in (("official", "httpx"), ("openai", "httpx2"))
    for loop in ("blocking", "asyncio", "trio")
]
ALL = {each.name: each for each in [*OURS, *RAW, *PEERS]}


def body(model: str, messages: Messages, *, stream: bool = False) -> Dict[str, Any]:
    """What a raw library sends as JSON."""
    content: Dict[str, Any] = {"model": model, "messages": messages}
    return {**content, "stream": True} if stream else content


def chunk_validator() -> Callable[[bytes], Any]:
    """The least that makes a typed chunk of an event's data."""
    from .plain import Chunk

    return Chunk.__pydantic_validator__.validate_json


def chunks_of(pieces: Iterable[bytes]) -> Iterator[Any]:
    """The typed chunks of a stream: split on blank lines, and validated."""
    validate, rest = chunk_validator(), b""
    for piece in pieces:
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]":
                yield validate(event[6:])


class Client:
    """A client at work; one that blocks has coroutines that never wait."""

    async def start(self) -> None:
        """Whatever can only be made inside the loop."""

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        """Ask for a completion, and read it."""
        raise NotImplementedError

    async def read(self, model: str) -> int:
        """Read a stream to its end; how many chunks it had."""
        raise NotImplementedError

    async def first(self, model: str) -> Any:
        """Open a stream and wait for its first chunk; the stream, with all that keeps it open."""
        raise NotImplementedError

    async def rest(self, stream: Any) -> None:
        """Read what `first` has left."""
        raise NotImplementedError

    async def models(self) -> int:
        """List the models; how many there are."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the client."""


class BlockingClient(Client):
    """A client whose streams are iterators."""

    def stream(self, model: str) -> Any:
        raise NotImplementedError

    async def read(self, model: str) -> int:
        count = 0
        for _ in self.stream(model):
            count += 1
        return count

    async def first(self, model: str) -> Any:
        stream = self.stream(model)
        iterator = iter(stream)
        next(iterator)
        return stream, iterator

    async def rest(self, stream: Any) -> None:
        for _ in stream[1]:
            pass


class AwaitingClient(Client):
    """A client whose streams are asynchronous iterators."""

    async def stream(self, model: str) -> Any:
        raise NotImplementedError

    async def read(self, model: str) -> int:
        count = 0
        async for _ in await self.stream(model):
            count += 1
        return count

    async def first(self, model: str) -> Any:
        stream = await self.stream(model)
        iterator = aiter_of(stream)
        await iterator.__anext__()
        return stream, iterator

    async def rest(self, stream: Any) -> None:
        async for _ in stream[1]:
            pass


def aiter_of(stream: Any) -> Any:
    """The iterator of an asynchronous iterable: Python 3.9 has no `aiter`."""
    return stream.__aiter__()


# Ours and the official SDK, which are called alike


class Asking:
    """What makes the params of a module's client."""

    def __init__(self, module: str) -> None:
        self.module = importlib.import_module(module)
        self.long = [self.module.ChatMessage(**message) for message in MANY]

    def params(self, model: str, messages: Messages) -> Any:
        return self.module.ChatCompletionParams(model=model, messages=self.long if messages is MANY else messages)


class MeshAPIClient(Asking, BlockingClient):
    """A `MeshAPI` of the module's."""

    def __init__(self, url: str, module: str) -> None:
        super().__init__(module)
        self.client = self.module.MeshAPI(base_url=url, token=TOKEN)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return self.client.chat.completions.create(self.params(model, messages))

    def stream(self, model: str) -> Any:
        return self.client.chat.completions.stream(self.params(model, USUAL))

    async def models(self) -> int:
        return len(self.client.models.list())

    async def close(self) -> None:
        self.client.close()


class AsyncMeshAPIClient(Asking, AwaitingClient):
    """An `AsyncMeshAPI` of the module's."""

    def __init__(self, url: str, module: str) -> None:
        super().__init__(module)
        self.url = url

    async def start(self) -> None:
        self.client = self.module.AsyncMeshAPI(base_url=self.url, token=TOKEN)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return await self.client.chat.completions.create(self.params(model, messages))

    async def stream(self, model: str) -> Any:
        return self.client.chat.completions.stream(self.params(model, USUAL))

    async def models(self) -> int:
        return len(await self.client.models.list())

    async def close(self) -> None:
        await self.client.aclose()


# openai-python


class OpenAIClient(BlockingClient):
    """An `OpenAI`."""

    def __init__(self, url: str) -> None:
        self.client: Any = importlib.import_module("openai").OpenAI(base_url=f"{url}/openai/v1", api_key=TOKEN)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return self.client.chat.completions.create(**body(model, messages))

    def stream(self, model: str) -> Any:
        return self.client.chat.completions.create(**body(model, USUAL, stream=True))

    async def models(self) -> int:
        return len(list(self.client.models.list()))

    async def close(self) -> None:
        self.client.close()


class AsyncOpenAIClient(AwaitingClient):
    """An `AsyncOpenAI`."""

    def __init__(self, url: str) -> None:
        self.module = importlib.import_module("openai")
        self.url = f"{url}/openai/v1"

    async def start(self) -> None:
        self.client: Any = self.module.AsyncOpenAI(base_url=self.url, api_key=TOKEN)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return await self.client.chat.completions.create(**body(model, messages))

    async def stream(self, model: str) -> Any:
        return await self.client.chat.completions.create(**body(model, USUAL, stream=True))

    async def models(self) -> int:
        return len([model async for model in self.client.models.list()])

    async def close(self) -> None:
        await self.client.close()


# The libraries alone


class RawBlocking(BlockingClient):
    """A library that blocks: `pieces` is the body of a stream as it comes."""

    def pieces(self, model: str) -> Iterator[bytes]:
        raise NotImplementedError

    def stream(self, model: str) -> Any:
        return self.pieces(model)

    async def read(self, model: str) -> int:
        count = 0
        for _ in chunks_of(self.pieces(model)):
            count += 1
        return count


class RawAwaiting(AwaitingClient):
    """A library of coroutines."""

    def pieces(self, model: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def stream(self, model: str) -> Any:
        return self.pieces(model)

    async def chunks(self, model: str) -> AsyncIterator[Any]:
        validate, rest = chunk_validator(), b""
        async for piece in self.pieces(model):
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    yield validate(event[6:])

    async def read(self, model: str) -> int:
        count = 0
        async for _ in self.chunks(model):
            count += 1
        return count


class RawHTTPX(RawBlocking):
    """``httpx.Client``, or that of httpx2."""

    def __init__(self, url: str, library: str) -> None:
        self.client: Any = importlib.import_module(library).Client(base_url=url, headers=HEADERS, timeout=TIMEOUT)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return json.loads(self.client.post(PATH, json=body(model, messages)).content)

    def pieces(self, model: str) -> Iterator[bytes]:
        with self.client.stream("POST", PATH, json=body(model, USUAL, stream=True)) as response:
            yield from response.iter_bytes()

    async def models(self) -> int:
        return len(json.loads(self.client.get("/v1/models").content))

    async def close(self) -> None:
        self.client.close()


class RawAsyncHTTPX(RawAwaiting):
    """``httpx.AsyncClient``, or that of httpx2; its pool has the limits of ours."""

    def __init__(self, url: str, library: str) -> None:
        self.module: Any = importlib.import_module(library)
        self.url = url

    async def start(self) -> None:
        limits = self.module.Limits(max_keepalive_connections=IDLE_CONNECTIONS, keepalive_expiry=IDLE_SECONDS)
        self.client = self.module.AsyncClient(base_url=self.url, headers=HEADERS, timeout=TIMEOUT, limits=limits)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return json.loads((await self.client.post(PATH, json=body(model, messages))).content)

    async def pieces(self, model: str) -> AsyncIterator[bytes]:
        async with self.client.stream("POST", PATH, json=body(model, USUAL, stream=True)) as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def models(self) -> int:
        return len(json.loads((await self.client.get("/v1/models")).content))

    async def close(self) -> None:
        await self.client.aclose()


class RawAiohttp(RawAwaiting):
    """``aiohttp.ClientSession``, without a limit of connections."""

    def __init__(self, url: str) -> None:
        self.module: Any = importlib.import_module("aiohttp")
        self.url = url

    async def start(self) -> None:
        connector = self.module.TCPConnector(limit=0)
        self.session = self.module.ClientSession(self.url, connector=connector, headers=HEADERS)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        async with self.session.post(PATH, json=body(model, messages)) as response:
            return json.loads(await response.read())

    async def pieces(self, model: str) -> AsyncIterator[bytes]:
        async with self.session.post(PATH, json=body(model, USUAL, stream=True)) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def models(self) -> int:
        async with self.session.get("/v1/models") as response:
            return len(json.loads(await response.read()))

    async def close(self) -> None:
        await self.session.close()


class RawRequests(RawBlocking):
    """``requests.Session``."""

    def __init__(self, url: str) -> None:
        self.session: Any = importlib.import_module("requests").Session()
        self.session.headers.update(HEADERS)
        self.url = url

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        return json.loads(self.session.post(self.url + PATH, json=body(model, messages), timeout=TIMEOUT).content)

    def pieces(self, model: str) -> Iterator[bytes]:
        content = body(model, USUAL, stream=True)
        with self.session.post(self.url + PATH, json=content, timeout=TIMEOUT, stream=True) as response:
            # What is there already: `iter_content` would go from HTTP chunk to HTTP chunk, at a higher price.
            while piece := response.raw.read1(65536):
                yield piece

    async def models(self) -> int:
        return len(json.loads(self.session.get(self.url + "/v1/models", timeout=TIMEOUT).content))

    async def close(self) -> None:
        self.session.close()


class RawStdlib(RawBlocking):
    """``http.client``, on one connection."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        self.connection.request("POST", PATH, json.dumps(body(model, messages)).encode(), HEADERS)
        return json.loads(self.connection.getresponse().read())

    def pieces(self, model: str) -> Iterator[bytes]:
        self.connection.request("POST", PATH, json.dumps(body(model, USUAL, stream=True)).encode(), HEADERS)
        with self.connection.getresponse() as response:
            try:
                while piece := response.read1(65536):
                    yield piece
            finally:
                if not response.isclosed():
                    self.connection.close()

    async def models(self) -> int:
        self.connection.request("GET", "/v1/models", headers=HEADERS)
        return len(json.loads(self.connection.getresponse().read()))

    async def close(self) -> None:
        self.connection.close()


class RawTrio(RawAwaiting):
    """Streams of trio with h11, and a list of idle connections; nothing is waited for without end."""

    def __init__(self, url: str) -> None:
        self.trio: Any = importlib.import_module("trio")
        self.h11: Any = importlib.import_module("h11")
        self.netloc = urlsplit(url).netloc
        self.idle: List[Any] = []

    async def send(self, method: str, path: str, content: bytes) -> Any:
        if self.idle:
            stream, connection = self.idle.pop()
        else:
            host, _, port = self.netloc.partition(":")
            stream = await self.trio.open_tcp_stream(host, int(port))
            connection = self.h11.Connection(self.h11.CLIENT)
        fields = [("Host", self.netloc), *HEADERS.items(), ("Content-Length", str(len(content)))]
        data = connection.send(self.h11.Request(method=method, target=path, headers=fields))
        data += connection.send(self.h11.Data(content)) + connection.send(self.h11.EndOfMessage())
        with self.trio.fail_after(TIMEOUT):
            await stream.send_all(data)
        return stream, connection

    async def bodies(self, method: str, path: str, content: bytes = b"") -> AsyncIterator[bytes]:
        stream, connection = await self.send(method, path, content)
        is_whole = False
        try:
            while not is_whole:
                event = connection.next_event()
                if event is self.h11.NEED_DATA:
                    with self.trio.fail_after(TIMEOUT):
                        data = await stream.receive_some(65536)
                    connection.receive_data(data)
                elif type(event) is self.h11.Data:
                    yield event.data
                elif type(event) is self.h11.EndOfMessage:
                    connection.start_next_cycle()
                    is_whole = True
        finally:
            if is_whole and len(self.idle) < IDLE_CONNECTIONS:
                self.idle.append((stream, connection))
            else:
                stream.socket.close()

    async def request(self, messages: Messages, model: str = "answer") -> Any:
        content = json.dumps(body(model, messages)).encode()
        return json.loads(b"".join([piece async for piece in self.bodies("POST", PATH, content)]))

    def pieces(self, model: str) -> AsyncIterator[bytes]:
        return self.bodies("POST", PATH, json.dumps(body(model, USUAL, stream=True)).encode())

    async def models(self) -> int:
        return len(json.loads(b"".join([piece async for piece in self.bodies("GET", "/v1/models")])))

    async def close(self) -> None:
        for stream, _ in self.idle:
            await stream.aclose()


def client_for(contender: Contender, url: str) -> Client:
    """The client of a contender."""
    maker, library, _ = contender
    if maker == "ours" or maker == "official":
        module = f"meshapi_transports.{library}" if maker == "ours" else "meshapi"
        return (MeshAPIClient if contender.is_blocking else AsyncMeshAPIClient)(url, module)
    if maker == "openai":
        return (OpenAIClient if contender.is_blocking else AsyncOpenAIClient)(url)
    if library in ("httpx", "httpx2"):
        return (RawHTTPX if contender.is_blocking else RawAsyncHTTPX)(url, library)
    others: Dict[str, Type[Any]] = {
        "aiohttp": RawAiohttp,
        "requests": RawRequests,
        "stdlib": RawStdlib,
        "trio": RawTrio,
    }
    client: Client = others[library](url)
    return client


# Loops


def finish(work: Awaitable[Any]) -> Any:
    """Run a coroutine that never waits."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a client that blocks has waited")


def run_in(loop: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in the loop of that name."""
    if loop == "blocking":
        return finish(work())
    if loop == "trio":
        return importlib.import_module("trio").run(work)
    return importlib.import_module("asyncio").run(work())
