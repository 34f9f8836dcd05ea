"""The rows of the benchmark: what is measured, on whom, and what it must reach."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from typing import Collection, Dict, Generator, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Union

from . import machine
from .contenders import OURS, PEERS, RAW, Contender
from .driver import Company, Failed, Figure, Samples, alone, figure
from .server import Server

MAKERS = ("raw", "ours", "official", "openai")

ROUNDS = 5

MICRO, MILLI = 1e6, 1e3
KIB = 1 / 1024

# What ours may cost, where the raw library costs 1; without a target where there is none.
REQUEST = {"httpx": 0.95, "httpx2": 0.95, "requests": 0.65, "aiohttp": 1.05, "trio": 1.10}
CHUNK = {"httpx": 1.05, "httpx2": 1.10, "requests": 1.10, "aiohttp": 1.10, "trio": 1.10}
AT_ONCE = 1.05
AT_ONCE_OVER_ONE = 1.2
FIRST_CHUNK = 1.05
MODELS = 1.00
MANY_MESSAGES = 0.75
IN_PROCESS = {65536: 1.10, 1400: 1.10, 0: 1.35}
HUGE = 1.5
EMBEDDINGS = {"float": 1.00, "base64": 0.45}
IMPORT = 1.25
BARE_IMPORT = 0.5
CLIENT_MS = 1.0
STREAM_KIB = 2.0

Target = Union[None, float, Mapping[str, float]]


class Line(NamedTuple):
    """A line of the table: one measurement of ours and of whoever it is compared with.

    Attributes:
        row: the kind of measurement, as it is selected by.
        what: what was measured.
        on: the transport.
        unit: that of the values.
        figures: by maker: ``raw``, ``ours``, ``official``, ``openai``.
        judged: what is compared with the target; ``None`` if it could not be measured.
        target: the most that it may be.
    """

    row: str
    what: str
    on: str
    unit: str
    figures: Dict[str, Figure]
    judged: Optional[float] = None
    target: Optional[float] = None

    @property
    def is_met(self) -> Optional[bool]:
        """Whether the target is met, where there is one; as many digits count as are shown."""
        if self.judged is None or self.target is None:
            return None
        return round(self.judged, 2) <= self.target


class Bench:
    """A run of the benchmark.

    Args:
        server: who answers.
        makers: whom to measure beside ours and the raw libraries.
        rounds: how often each is measured in turns; if 0, all that counts is that everything runs.
    """

    def __init__(self, server: Server, makers: Iterable[str], rounds: int = ROUNDS) -> None:
        self.server = server
        self.makers = frozenset(["ours", "raw", *makers])
        self.rounds = rounds
        # For what takes long.
        self.some_rounds, self.few_rounds = rounds * 3 // 5, rounds // 5
        self.seconds, self.streams = (0.05, 1000) if rounds else (0.0, 100)

    @property
    def everybody(self) -> List[Contender]:
        """Who is measured over sockets; those that are compared stand side by side."""
        known = [*RAW, *OURS, *PEERS]
        return [
            each
            for ours in OURS
            for each in known
            if (each.library, each.loop) == (ours.library, ours.loop) and each.maker in self.makers
        ]

    def company(self, contenders: Iterable[Contender]) -> Company:
        return Company([each.name for each in contenders], self.server.url)

    def lines(self, row: str, what: str, samples: Samples, unit: str, scale: float, target: Target) -> Iterator[Line]:
        """A line for each transport of which there are samples; `target` is for all, or by library."""
        for ours in OURS:
            mine = {maker: costs for maker in MAKERS if (costs := samples.get(ours._replace(maker=maker).name))}
            if "ours" not in mine:
                continue
            figures = {maker: figure(costs, mine.get("raw"), scale) for maker, costs in mine.items()}
            limit = target.get(ours.library) if isinstance(target, Mapping) else target
            yield Line(row, what, ours.face, unit, figures, figures["ours"].ratio, limit)


# Over sockets


def requests(bench: Bench, company: Company) -> Iterator[Line]:
    """One request after the other, over one connection."""
    samples = company.in_turns(bench.rounds, "request", seconds=bench.seconds)
    yield from bench.lines("request", "one request", samples, "µs", MICRO, REQUEST)


def chunks(bench: Bench, company: Company) -> Iterator[Line]:
    """A stream of 2,000 chunks; the raw library's are split on blank lines and validated."""
    for framing, what in (("events", "an HTTP chunk an event"), ("big", "HTTP chunks of 16 KiB")):
        samples = company.in_turns(bench.rounds, "chunk", seconds=bench.seconds, model=framing)
        yield from bench.lines("chunk", f"stream chunk, {what}", samples, "µs", MICRO, CHUNK)


def first_chunks(bench: Bench, company: Company) -> Iterator[Line]:
    """The time to the first chunk of a stream."""
    samples = company.in_turns(bench.rounds, "first", seconds=bench.seconds)
    yield from bench.lines("first", "time to the first chunk", samples, "µs", MICRO, FIRST_CHUNK)


def large(bench: Bench, company: Company) -> Iterator[Line]:
    """Answers and requests that are large."""
    samples = company.in_turns(bench.rounds, "models", seconds=bench.seconds)
    yield from bench.lines("large", "300 models listed", samples, "µs", MICRO, MODELS)
    samples = company.in_turns(bench.rounds, "request", seconds=bench.seconds, many=True)
    yield from bench.lines("large", "request of 200 messages", samples, "µs", MICRO, MANY_MESSAGES)


def at_once(bench: Bench) -> Iterator[Line]:
    """64 and 512 requests at once, over as many connections."""
    for library in ("httpx", "httpx2"):
        # One request a task, and few rounds: with many connections each takes long.
        with bench.company(group := coroutines(bench, library)) as company:
            everybody = [each.name for each in group]
            samples = company.in_turns(bench.some_rounds, "at_once", seconds=bench.seconds, tasks=64, each=1)
            yield from bench.lines("at-once", "64 requests at once, each", samples, "µs", MICRO, AT_ONCE)
            # Seconds for each: the pool of httpx does not care which loop it is in.
            names = [each.name for each in group if each.loop == "asyncio"] if library == "httpx" else everybody
            samples = company.in_turns(bench.few_rounds, "at_once", names, seconds=0.0, tasks=512, each=1)
            yield from bench.lines("at-once", "512 requests at once, each", samples, "µs", MICRO, AT_ONCE)
    for library in ("aiohttp", "trio"):
        with bench.company(coroutines(bench, library)) as company:
            one = company.in_turns(bench.rounds, "request", seconds=bench.seconds)
            samples = company.in_turns(bench.rounds, "at_once", seconds=bench.seconds, tasks=64, each=4)
            yield from bench.lines("at-once", "64 requests at once, each", samples, "µs", MICRO, AT_ONCE)
            samples = company.in_turns(bench.rounds, "at_once", seconds=bench.seconds, tasks=512, each=4)
            yield from bench.lines("at-once", "512 requests at once, each", samples, "µs", MICRO, AT_ONCE)
            for line in bench.lines("at-once", "512 at once, over one at a time", samples, "µs", MICRO, None):
                (name,) = (ours.name for ours in OURS if ours.face == line.on)
                own = figure(samples[name], one[name], MICRO)
                yield line._replace(figures={"ours": own}, judged=own.ratio, target=AT_ONCE_OVER_ONE)


def coroutines(bench: Bench, library: str) -> List[Contender]:
    return [each for each in bench.everybody if each.library == library and not each.is_blocking]


def memory(bench: Bench) -> Iterator[Line]:
    """What 1,000 idle streams take in memory."""
    samples: Samples = {}
    for contender in bench.everybody:
        if not contender.is_blocking:
            with alone(contender.name, bench.server.url) as process, reported():
                each, _ = process.tell("memory", seconds=4.0, streams=bench.streams)
                samples[contender.name] = [each]
    for line in bench.lines("memory", "idle stream", samples, "KiB", KIB, None):
        figures = {maker: Figure(each.value) for maker, each in line.figures.items()}
        more = figures["ours"].value - figures["raw"].value if "raw" in figures else None
        yield line._replace(figures=figures, judged=more, target=STREAM_KIB)


def connections(bench: Bench) -> Iterator[Line]:
    """The connections that are made, and those that stay."""
    whole: Samples = {}
    left: Samples = {}
    cancelled: Samples = {}
    for contender in bench.everybody:
        if contender.maker == "raw":
            continue
        with alone(contender.name, bench.server.url) as process, reported():
            process.tell("read", streams=0)
            before = bench.server.accepted()
            process.tell("read", streams=100)
            whole[contender.name] = [bench.server.accepted() - before]
            left[contender.name] = [process.tell("left", streams=200)]
            if not contender.is_blocking:
                cancelled[contender.name] = [process.tell("cancelled", 15.0, requests=200)]
    for what, on, samples, target in (
        ("connections for 100 streams", "all ten", whole, 1),
        ("sockets after 200 streams left", "all ten", left, 0),
        ("sockets after 200 cancelled", "the six async ones", cancelled, 0),
    ):
        lines = list(bench.lines("connections", what, samples, "", 1.0, None))
        # The worst of each maker's clients speaks for all of them.
        figures = {
            maker: Figure(max(line.figures[maker].value for line in lines if maker in line.figures))
            for maker in MAKERS
            if any(maker in line.figures for line in lines)
        }
        if "ours" in figures:
            yield Line("connections", what, on, "", figures, figures["ours"].value, target)


@contextlib.contextmanager
def reported() -> Generator[None, None, None]:
    """What fails is told, and has no figure."""
    try:
        yield
    except Failed as failure:
        print(failure, file=sys.stderr)


# In process


def in_process(bench: Bench) -> Iterator[Line]:
    """Bytes to typed chunks and vectors, without sockets."""
    with Company(names_in_process(bench), bench.server.url) as company:
        for size, limit in IN_PROCESS.items():
            samples = company.in_turns(bench.rounds, "chunk", seconds=bench.seconds, size=size)
            what = f"chunk, in pieces of {size:,} bytes" if size else "chunk, an event a piece"
            yield from line_in_process("in-process", what, samples, "µs", MICRO, limit)
        numbers = company.in_turns(bench.rounds, "embeddings", seconds=bench.seconds, encoding="float")
        yield from line_in_process(
            "in-process", "256 embeddings, as numbers", numbers, "ms", MILLI, EMBEDDINGS["float"]
        )
        # The official SDK leaves base64 to its caller.
        able = ["ours-inprocess", "openai-inprocess"]
        samples = company.in_turns(bench.rounds, "embeddings", able, seconds=bench.seconds, encoding="base64")
        # Against the numbers as well: which of the two to ask for is the choice that a program has.
        samples["raw-inprocess"] = numbers.get("raw-inprocess", [])
        yield from line_in_process("in-process", "256 embeddings, base64", samples, "ms", MILLI, EMBEDDINGS["base64"])


def huge(bench: Bench) -> Iterator[Line]:
    """One huge event, against the decoder of httpx-sse, which makes no object of it."""
    able = [name for name in names_in_process(bench) if name != "raw-inprocess"]
    if "official" in bench.makers:
        able.append("httpx-sse-inprocess")
    with Company(able, bench.server.url) as company:
        for size in (1024, 16384):
            left = list(able)
            for megabytes in (1, 2, 4, 8):
                samples = company.in_turns(bench.few_rounds, "huge", left, seconds=0.0, megabytes=megabytes, size=size)
                # A decoder that is quadratic is not asked again once it takes half a second.
                left = [name for name, costs in samples.items() if costs[0] < 0.5]
                if "httpx-sse-inprocess" in samples:
                    samples["raw-inprocess"] = samples.pop("httpx-sse-inprocess")
                what = f"event of {megabytes} MB, in pieces of {size // 1024} KiB"
                yield from line_in_process("huge", what, samples, "ms", MILLI, HUGE if megabytes == 8 else None)


def names_in_process(bench: Bench) -> List[str]:
    return [f"{maker}-inprocess" for maker in MAKERS if maker in bench.makers]


def line_in_process(
    row: str, what: str, samples: Samples, unit: str, scale: float, target: Optional[float]
) -> Iterator[Line]:
    """A line of those who work without sockets, if ours is among them."""
    raw = samples.get("raw-inprocess")
    figures = {maker: figure(costs, raw, scale) for maker in MAKERS if (costs := samples.get(f"{maker}-inprocess"))}
    if "ours" in figures:
        yield Line(row, what, "in process", unit, figures, figures["ours"].ratio, target)


# Starting


# What is imported, and the client of each library alone, for an https address.
ALONE = {
    "httpx": ("import httpx", "httpx.Client()"),
    "httpx2": ("import httpx2", "httpx2.Client()"),
    "aiohttp": ("import aiohttp", None),
    "requests": ("import requests", "requests.Session()"),
    "trio": ("import trio, h11", None),
    "stdlib": ("import http.client, ssl", None),
}
PYDANTIC = "from pydantic import BaseModel"
SMALL_MODEL = f"{PYDANTIC}\nclass Small(BaseModel):\n    a: int\n    b: str = ''"
PARAMS = "ChatCompletionParams(model='m', messages=[ChatMessage(role='user', content='hello')])"
CLIENT = "{0}.{1}(base_url='https://127.0.0.1:1', token='rsk_01BENCHMARK')"
NEXT = 5


def steps(statement: str, client: Optional[str] = None) -> List[str]:
    """What is measured of a library: its import, the first client, and some more clients."""
    return [statement, *([client, f"for _ in range({NEXT}): {client}"] if client else [])]


def steps_of_meshapi(module: str) -> List[str]:
    """The same of a client of the gateway; to the import belong the first params."""
    kind = "AsyncMeshAPI" if module.endswith(("aiohttp", "trio")) else "MeshAPI"
    statement = f"import {module} as library\nfrom {module} import ChatCompletionParams, ChatMessage\n{PARAMS}"
    return steps(statement, None if module == "meshapi_core" else CLIENT.format("library", kind))


def cpu_seconds(program: List[str]) -> List[float]:
    """What each of the steps of a fresh Python costs."""
    lines = ["from time import process_time as now", "costs, start = [], now()"]
    for step in program:
        lines += [step, "end = now(); costs.append(end - start); start = now()"]
    with tempfile.TemporaryDirectory() as empty:
        printed = subprocess.run(
            [sys.executable, "-I", "-c", "\n".join([*lines, "print(*costs)"])],
            cwd=empty,
            env=machine.surroundings(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    return [float(cost) for cost in printed.split()]


def starting(bench: Bench) -> Iterator[Line]:
    """What an import costs, up to the first params, and making a client for an https address."""
    programs = {"small model": [SMALL_MODEL], "pydantic": [PYDANTIC], "bare": ["import meshapi_core"]}
    programs["ours core"] = steps_of_meshapi("meshapi_core")
    for library, alone_ in ALONE.items():
        programs[f"raw {library}"] = steps(*alone_)
        programs[f"ours {library}"] = steps_of_meshapi(f"meshapi_transports.{library}")
    if "official" in bench.makers:
        programs["official httpx"] = steps_of_meshapi("meshapi")
    if "openai" in bench.makers:
        programs["openai httpx2"] = steps("import openai", "openai.OpenAI(api_key='k').chat.completions")
    costs: Dict[str, List[List[float]]] = {name: [] for name in programs}
    # Children run where their parent does; the server is on the first core.
    machine.pin(-1)
    try:
        for turn in range(bench.some_rounds + 1):
            for name, program in list(programs.items())[:: -1 if turn % 2 else 1]:
                costs[name].append(cpu_seconds(program))
    finally:
        machine.pin(0)
    # By program and step; the first turn has warmed up.
    cost = {name: [list(step) for step in zip(*(turns[1:] or turns))] for name, turns in costs.items()}
    yield from import_lines(cost)
    yield from client_lines(cost)


def import_lines(cost: Dict[str, List[List[float]]]) -> Iterator[Line]:
    """What imports cost, over pydantic and one small model."""
    (small,), (pydantic,), (bare,) = cost["small model"], cost["pydantic"], cost["bare"]

    def line(what: str, on: str, ours: Samples, reference: List[float], target: float) -> Line:
        figures = {maker: figure(mine, reference, MILLI) for maker, mine in {"raw": reference, **ours}.items()}
        return Line("start", what, on, "ms", figures, figures["ours"].ratio, target)

    yield line("bare import, over pydantic", "core", {"ours": bare}, pydantic, BARE_IMPORT)
    yield line("import and first params", "core", {"ours": cost["ours core"][0]}, small, IMPORT)
    for library in ALONE:
        less = {
            maker: [all_of_it - alone_ for all_of_it, alone_ in zip(mine[0], cost[f"raw {library}"][0])]
            for maker in MAKERS[1:]
            if (mine := cost.get(f"{maker} {library}"))
        }
        yield line("the same, less what the library costs", library, less, small, IMPORT)


def client_lines(cost: Dict[str, List[List[float]]]) -> Iterator[Line]:
    """What clients cost, in milliseconds."""
    for step, what, scale in ((1, "first client", MILLI), (2, "next client", MILLI / NEXT)):
        for library in ALONE:
            figures = {
                maker: figure(mine[step], scale=scale)
                for maker in MAKERS
                if len(mine := cost.get(f"{maker} {library}", [])) > step
            }
            yield Line("start", what, library, "ms", figures, figures["ours"].value, CLIENT_MS)


# On one connection, in processes that are started once for all of these rows.
SEQUENTIAL = {"request": requests, "chunk": chunks, "first": first_chunks, "large": large}
# In processes of their own.
SEPARATE = {
    "at-once": at_once,
    "in-process": in_process,
    "huge": huge,
    "start": starting,
    "memory": memory,
    "connections": connections,
}
ROWS = [*SEQUENTIAL, *SEPARATE]


def measured(bench: Bench, rows: Collection[str]) -> Iterator[Line]:
    """The lines of the rows of these names, as they are measured."""
    if any(name in rows for name in SEQUENTIAL):
        with bench.company(bench.everybody) as company:
            for name, measure in SEQUENTIAL.items():
                if name in rows:
                    yield from measure(bench, company)
    for name, measure_apart in SEPARATE.items():
        if name in rows:
            yield from measure_apart(bench)
