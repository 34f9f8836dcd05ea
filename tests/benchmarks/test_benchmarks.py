"""The benchmark runs: each of our clients, and each library alone, does once all that is measured of it."""

from __future__ import annotations

import gc
import json
import os
import threading

import pytest

from . import contenders, cost, hot_paths, inprocess, instructions, machine, reporting, rows, server, worker
from .driver import Failed, Figure, Process, alone, figure

OURS_AND_RAW = [*contenders.OURS, *contenders.RAW]
COROUTINES = [each for each in OURS_AND_RAW if not each.is_blocking]

# Streams of libraries alone that are left are closed when their loop gets to it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No proxies or keys of the machine that the tests run on."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("MESHAPI_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def running():
    with server.running() as running:
        yield running


def work(contender, url, *commands):
    """What comes of each of the commands, in one client of the contender's."""

    async def done():
        worker_ = worker.Work(contender, url)
        await worker_.client.start()
        try:
            return [await getattr(worker_, name)(**arguments) for name, arguments in commands]
        finally:
            await worker_.client.close()

    return contenders.run_in(contender.loop, done)


@pytest.mark.parametrize("contender", OURS_AND_RAW, ids=lambda each: each.name)
def test_each_does_what_is_measured(running, contender):
    """One request, two streams, a first chunk, the models, many messages: each costs something."""
    once = {"seconds": 0.0}
    costs = work(
        contender,
        running.url,
        ("request", once),
        ("request", {**once, "many": True}),
        ("chunk", {**once, "model": "events"}),
        ("chunk", {**once, "model": "big"}),
        ("first", once),
        ("models", once),
    )
    assert all(each > 0 for each in costs)


@pytest.mark.parametrize("contender", COROUTINES, ids=lambda each: each.name)
def test_many_at_once(running, contender):
    """Requests at once, over as many connections."""
    costs = work(contender, running.url, ("at_once", {"seconds": 0.0, "tasks": 8, "each": 2}))
    assert costs[0] > 0


@pytest.mark.parametrize("contender", contenders.OURS, ids=lambda each: each.name)
def test_connections(running, contender):
    """Streams over one connection, streams that are left, requests that are cancelled, streams that are held."""
    gc.collect()
    others = machine.open_sockets()
    before = running.accepted()
    work(contender, running.url, ("read", {"streams": 3}))
    assert running.accepted() - before == 1
    commands = [("left", {"streams": 3})]
    if not contender.is_blocking:
        commands.append(("cancelled", {"requests": 3}))
    assert work(contender, running.url, *commands) == [others] * len(commands)


def test_memory(running):
    """Streams that are held take some."""
    with alone("ours-aiohttp-asyncio", running.url) as process:
        each, streams = process.tell("memory", seconds=1.0, streams=50)
    assert streams == 50
    assert each > 0


@pytest.mark.parametrize("decoder", [inprocess.Plain, inprocess.Core])
def test_in_process(decoder):
    """Every piece gives the same chunks, a huge event is one, and there are all the vectors."""
    stream = server.events(100)
    for pieces in (stream, server.cut(b"".join(stream), 1400), server.cut(b"".join(stream), 65536)):
        assert decoder().chunks(pieces) == 100
    assert decoder().chunks(server.cut(inprocess.huge(1), 16384)) == 1
    vectors = decoder().embeddings(server.embeddings("float"), "float")
    assert len(getattr(vectors, "data", vectors)) == 256


def test_base64_gives_the_same_vectors():
    """The two encodings stand for the same numbers."""
    numbers, decoded = (inprocess.Core().embeddings(server.embeddings(each), each) for each in ("float", "base64"))
    assert list(decoded[0]) == pytest.approx(numbers[0], abs=1e-8)
    assert list(decoded[255]) == pytest.approx(numbers[255], abs=1e-8)


def test_who_fails_says_why(running):
    """A contender that cannot do what it is told says so, and a worker that ends is noticed."""
    process = Process("ours-stdlib-blocking", running.url)
    try:
        with pytest.raises(Failed, match="no_such_thing"):
            process.tell("no_such_thing")
        with pytest.raises(Failed, match="not within"):
            process.tell("request", 0.01, seconds=5.0)
    finally:
        process.close()


def test_a_row(running):
    """Lines come out of a row; without peers there are none of theirs."""
    lines = list(rows.measured(rows.Bench(running, [], rounds=0), ["in-process"]))
    assert {line.row for line in lines} == {"in-process"}
    assert all(set(line.figures) <= {"raw", "ours"} for line in lines)


def test_cost_is_for_one():
    """Time that is waited costs nothing, and what is done is counted."""
    calls = []

    async def wait():
        calls.append(threading.Event().wait(0.01))
        return 10

    assert contenders.finish(cost.cost_of(wait, 0.0)) < 0.001
    assert len(calls) == 1


def test_ratios_are_taken_in_each_round():
    """A round in which the machine was slow for both counts like the others."""
    assert figure([2.0, 20.0, 2.2], [1.0, 10.0, 1.0]) == Figure(2.2, 2.0, 2.0, 2.2)
    assert figure([1.0, 3.0], scale=10) == Figure(20.0)


def line(judged, target, row="request"):
    return rows.Line(row, "one request", "httpx", "µs", {"ours": Figure(1.0, judged, 0.9, 1.1)}, judged, target)


@pytest.mark.parametrize(("judged", "target", "is_met"), [(0.954, 0.95, True), (0.96, 0.95, False), (None, 1.0, None)])
def test_targets(judged, target, is_met):
    """What is shown decides; where there is nothing to judge there is no verdict."""
    assert line(judged, target).is_met is is_met


def test_results_are_kept():
    """JSON brings back what was written, and a part that was measured again replaces only itself."""
    old = reporting.results_of([line(1.0, 1.0), line(1.0, 1.0, row="chunk")], 5)
    assert reporting.from_json(reporting.as_json(old)) == old
    new = reporting.results_of([line(2.0, 1.0, row="chunk")], 5)
    assert reporting.merged(old, new).lines == [old.lines[0], new.lines[0]]
    assert reporting.merged(old._replace(versions={}), new) == new
    assert reporting.merged(old._replace(rounds=15), new) == new


def test_the_page_shows_what_is_recorded():
    """Between its marks the page has the table of the recorded results, as this prints it."""
    recorded = reporting.from_json(reporting.RECORDED.read_text("utf-8"))
    shown = reporting.PAGE.read_text("utf-8").partition(reporting.BEGIN)[2].partition(reporting.END)[0]
    assert shown == reporting.markdown(recorded)
    assert [each.row for each in recorded.lines] == sorted((each.row for each in recorded.lines), key=rows.ROWS.index)


def test_instructions_are_told_from_what_callgrind_writes():
    """What does not grow with the count goes out."""
    parts = [999, 100 + 500 * 3, 100 + 1000 * 3, 7, 50 + 500 * 2, 50 + 1000 * 2, 5]
    assert instructions.counts_of([f"desc: x\nsummary: {each}\n" for each in parts]) == {"request": 3, "chunk": 2}


def test_instructions_are_recorded_for_both_paths():
    """Each recorded set of versions has a figure for each hot path."""
    for counts in json.loads(instructions.RECORDED.read_text("utf-8")).values():
        assert set(counts) == set(hot_paths.HOT_PATHS)


@pytest.mark.parametrize("path", hot_paths.HOT_PATHS.values())
def test_hot_paths_run(path):
    """They do what is counted, without callgrind."""
    path(2)


def test_the_machine_is_named():
    """Whoever reads the figures must know where they are from."""
    assert machine.description()["processor"]
    assert machine.versions()["meshapi-transports"]


# What the rows of the README's table are called, and where their figures stand.
IN_README = {
    "over httpx": ("httpx, blocking", "ours"),
    "the official SDK, over httpx": ("httpx, blocking", "official"),
    "over httpx2": ("httpx2, blocking", "ours"),
    "`openai`, over httpx2": ("httpx2, blocking", "openai"),
    "over aiohttp": ("aiohttp", "ours"),
    "over requests": ("requests", "ours"),
    "over trio, and h11 alone": ("trio", "ours"),
}


def test_the_readme_tells_what_was_recorded():
    """Its figures are those of the last run, as exact as it writes them."""
    text = (reporting.ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## What it costs\n")[1].split("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.split("\n") if line.startswith("| ")][1:]
    assert [name for name, *_ in table] == list(IN_README)
    recorded = {
        (line["what"], line["on"]): line["figures"]
        for line in json.loads(reporting.RECORDED.read_text(encoding="utf-8"))["lines"]
    }
    for name, *figures in table:
        on, who = IN_README[name]
        for what, told in zip(("one request", "stream chunk, an HTTP chunk an event"), figures):
            ratio = recorded[what, on][who]["ratio"]
            assert f"{ratio:.{len(told.partition('.')[2])}f}" == told, (name, what)
    large = sorted(
        recorded["stream chunk, HTTP chunks of 16 KiB", on]["ours"]["ratio"]
        for on, who in IN_README.values()
        if who == "ours"
    )
    assert f"{large[0]:.2f} to {large[-1]:.2f} times as much" in section
