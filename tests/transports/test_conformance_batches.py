"""A batch from its upload to its results: checked, waited for, read line by line, on every face over real sockets."""

from __future__ import annotations

import json
import threading
import tracemalloc

import pytest

from meshapi_core import (
    APITimeoutError,
    AuthenticationError,
    BatchObject,
    BatchRequestItem,
    ConflictError,
    CreateBatchParams,
    MeshAPIError,
    NotFoundError,
    RateLimitError,
    ResponseParseError,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    chat_answer,
    http_chunk,
    replies,
    stream_head,
)

from .conftest import BOTH_COLOURS
from .faces import RecordingPolicy, ask, failure, in_short_time, read_to_failure
from .test_conformance_connections import CANCELS, async_faces, skip_foreign, until_open

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

ONCE = RetryPolicy(max_retries=0)
# A test that goes wrong does not wait forever.
SOON = {"poll_interval": 0.001, "retry": ONCE, "timeout": 30.0}


def asking(custom_id, text="Say hello"):
    """A request of a batch."""
    return {"custom_id": custom_id, "body": {"messages": [{"role": "user", "content": text}]}}


@pytest.fixture
def gateway():
    with LocalGateway(batch_seconds=None) as gateway:
        yield gateway


def over(face, gateway, **options):
    """A client of the local gateway."""
    return face.client(gateway.base_url, token=gateway.token, **options)


async def begin(client, *requests):
    """Start a batch."""
    return await client.batches.create(CreateBatchParams(requests=list(requests or [asking("a"), asking("b")])))


# Waiting


class Progress:
    """An `on_progress` that remembers the states that it was told of, and then does `then`."""

    def __init__(self, then):
        self.seen = []
        self._then = then

    def __call__(self, batch):
        assert type(batch) is BatchObject
        assert batch.request_id
        self.seen.append(batch.status)
        self._then()


async def test_wait_tells_every_state(face, gateway):
    """`on_progress` is told what each poll finds, in order, the end too; what comes back is the batch at its end."""
    progress = Progress(gateway.advance_batches)
    async with over(face, gateway) as client:
        batch = await begin(client)
        ended = await client.batches.wait(batch.id, on_progress=progress, **SOON)
    assert progress.seen == ["validating", "in_progress", "finalizing", "completed"]
    assert (ended.id, ended.status, ended.request_counts["completed"]) == (batch.id, "completed", 2)
    polls = [request for request in gateway.requests if request.method == "GET"]
    assert [request.path for request in polls] == [f"/v1/batches/{batch.id}"] * 4


@pytest.mark.parametrize("ending", ["completed", "failed", "expired", "cancelled"])
async def test_every_ending_ends_the_wait(face, gateway, ending):
    """However a batch ends, the wait is over: it is not for the wait to say whether that is good."""
    progress = Progress(lambda: gateway.advance_batches(ending))
    async with over(face, gateway) as client:
        batch = await client.batches.wait((await begin(client)).id, on_progress=progress, **SOON)
    assert batch.status == ending
    assert progress.seen == ["validating", ending]


async def test_wait_for_a_cancelled_batch(face, gateway):
    """A batch that was told to stop is waited for like any other, and cannot be told again once it is through."""
    progress = Progress(gateway.advance_batches)
    async with over(face, gateway) as client:
        batch = await begin(client)
        await client.batches.cancel(batch.id)
        batch = await client.batches.wait(batch.id, on_progress=progress, **SOON)
        assert type(await failure(client.batches.cancel(batch.id))) is ConflictError
    assert progress.seen == ["cancelling", "cancelled"]


async def test_wait_over_one_connection(face):
    """All polls of a wait share a connection, and leave it to the next call."""
    states = [answer(json.dumps({"id": "b", "status": status}).encode()) for status in ("new", "new", "completed")]
    with RawServer(replies(*states, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            assert (await client.batches.wait("b", **SOON)).status == "completed"
            assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (1, 4)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=500),
        Fault(status=429),
        Fault(cut_before_head=True),
        Fault(cut_after=5),
        Fault(cut_after=5, reset=True),
        Fault(body=b"<html>"),
    ],
    ids=["503", "500", "429", "cut", "cut later", "reset", "nonsense"],
)
async def test_polls_that_fail_for_a_while(face, gateway, fault):
    """What may pass by itself does not end the wait: nine polls in a row may fail, again and again."""
    async with over(face, gateway) as client:
        batch = await begin(client)

        def then():
            gateway.inject(fault, 9)
            gateway.advance_batches()

        progress = Progress(then)
        ended = await client.batches.wait(batch.id, on_progress=progress, **SOON)
        gateway.inject(Fault())
    assert ended.status == "completed"
    assert progress.seen == ["validating", "in_progress", "finalizing", "completed"]
    assert len(gateway.requests) == 1 + 4 + 3 * 9


async def test_polls_that_fail_for_long(face, gateway):
    """The tenth failure in a row ends the wait; the batch as it was last seen is on the error."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        progress = Progress(lambda: gateway.inject(Fault(status=429), 20))
        error = await failure(client.batches.wait(batch.id, on_progress=progress, **SOON))
    assert type(error) is RateLimitError
    assert (type(error.partial), error.partial.id, error.partial.status) == (BatchObject, batch.id, "validating")
    assert len(gateway.requests) == 1 + 1 + 10


async def test_polls_are_retried_by_themselves(face, gateway):
    """Within a poll, the policy of the call decides as for any GET."""
    policy = RecordingPolicy(max_retries=2)
    async with over(face, gateway) as client:
        batch = await begin(client)
        gateway.advance_batches("completed")
        gateway.inject(Fault(status=503), 2)
        await client.batches.wait(batch.id, retry=policy)
    assert [outcome.status for outcome in policy.outcomes] == [503, 503]


@in_short_time
async def test_wait_where_nothing_comes(face, seconds):
    """A poll that brings nothing in its idle time is a failed one; the next is made."""

    def stall(connection, request):
        connection.wait_closed()

    with RawServer(replies(stall, answer(b'{"id": "b", "status": "completed"}'))) as server:
        async with face.client(server) as client:
            batch = await client.batches.wait("b", **{**SOON, "timeout": Timeout(idle=seconds)})
            assert batch.status == "completed"
            assert (server.accepted, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("limit", [float, lambda seconds: Timeout(total=seconds)], ids=["number", "total"])
@in_short_time
async def test_time_for_a_wait(face, gateway, limit, seconds):
    """A batch that is not through in time is an error, with the batch as it was last seen."""
    async with over(face, gateway) as client:
        batch = await begin(client)

        def until_it_is_odd(found):
            if len(gateway.requests) > 900:
                gateway.advance_batches("completed")

        error = await failure(
            client.batches.wait(batch.id, timeout=limit(seconds), poll_interval=0.01, on_progress=until_it_is_odd)
        )
        assert type(error) is APITimeoutError
        assert (error.partial.id, error.partial.status) == (batch.id, "validating")
        assert len(gateway.requests) >= 2
        assert (await client.batches.get(batch.id)).id == batch.id


@in_short_time
async def test_time_for_a_wait_in_the_middle_of_a_poll(face, seconds):
    """The time can also be over while a poll is under way; nothing is left open."""

    def stall(connection, request):
        connection.wait_closed()

    states = [answer(json.dumps({"id": "b", "status": status}).encode()) for status in ("in_progress", "completed")]
    with RawServer(replies(states[0], stall, states[1])) as server:
        async with face.client(server) as client:
            error = await failure(client.batches.wait("b", **{**SOON, "timeout": seconds}))
            assert type(error) is APITimeoutError
            assert error.partial.status == "in_progress"
            await until_open(server, 0)
            assert len(server.requests) == 2


async def test_poll_that_would_come_too_late(face, gateway):
    """A pause that would outlast the time is not begun."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        error = await failure(client.batches.wait(batch.id, timeout=5.0, poll_interval=20.0))
        assert type(error) is APITimeoutError
        assert error.partial.id == batch.id
        assert len(gateway.requests) == 2


async def test_wait_that_is_hopeless(face, gateway):
    """What does not pass by itself ends the wait at once: no such batch, or a key that is not let in."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        assert type(await failure(client.batches.wait("batch_none", **SOON))) is NotFoundError
        assert len(gateway.requests) == 2
        async with face.client(gateway.base_url, token="rsk_wrong_wrong_wrong") as stranger:
            error = await failure(stranger.batches.wait(batch.id, **SOON))
        assert (type(error), error.partial) == (AuthenticationError, None)
        assert len(gateway.requests) == 3


async def test_batch_that_goes_away(face, gateway):
    """A batch that is gone when it is polled again ends the wait, and was last seen as the error tells."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        error = await failure(client.batches.wait(batch.id, on_progress=Progress(gateway.reset), **SOON))
        assert (type(error), error.partial.id) == (NotFoundError, batch.id)
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("mistake", [ZeroDivisionError("mine"), MeshAPIError("mine", error_code="mine")])
async def test_on_progress_that_fails(face, mistake):
    """What `on_progress` raises comes out as it is; the connection is in good order, and the client works on."""

    def stumble(batch):
        raise mistake

    script = replies(answer(b'{"id": "b", "status": "in_progress"}'), chat_answer("Hi"))
    with RawServer(script) as server:
        async with face.client(server) as client:
            with pytest.raises(type(mistake)) as caught:
                await client.batches.wait("b", on_progress=stumble, **SOON)
            assert caught.value is mistake
            assert (mistake.__cause__, mistake.__context__) == (None, None)
            assert await ask(client, "create") == "Hi"
            assert len(server.requests) == 2


async def test_where_on_progress_failed(face, gateway):
    """The traceback of what `on_progress` raises leads to where it was raised."""
    mistake = ZeroDivisionError("mine")

    def stumble(batch):
        raise mistake

    async with over(face, gateway) as client:
        batch = await begin(client)
        with pytest.raises(type(mistake)) as caught:
            await client.batches.wait(batch.id, on_progress=stumble, **SOON)
    assert caught.traceback[-1].name == "stumble"


@async_faces
@CANCELS
@pytest.mark.parametrize("where", ["poll", "pause"])
async def test_cancelled_while_waiting(face, cancel, where):
    """A task that is cancelled in a poll, or in the pause before the next, ends there, and nothing more is sent."""
    skip_foreign(face, cancel)
    reached = threading.Event()

    def stall(connection, request):
        reached.set()
        connection.wait_closed()

    running = answer(b'{"id": "b", "status": "in_progress"}')
    first = stall if where == "poll" else running
    with RawServer(replies(first, chat_answer("Hi"))) as server:
        async with face.client(server) as client:

            async def call():
                await client.batches.wait("b", poll_interval=3600.0, on_progress=lambda batch: reached.set())
                pytest.fail("it went on")

            await cancel(call, reached)
            if where == "poll":
                await until_open(server, 0)
            assert len(server.requests) == 1
            assert await ask(client, "create") == "Hi"


@BOTH_COLOURS
@pytest.mark.parametrize("seconds", [0, -1.0, True, "1", None, float("nan")])
async def test_pause_that_is_none(face, gateway, seconds):
    """A pause that is no time is refused before anything is sent."""
    async with over(face, gateway) as client:
        with pytest.raises(ValueError, match="poll_interval"):
            await client.batches.wait("b", poll_interval=seconds)
    assert gateway.requests == []


# Uploading


REQUESTS = [
    BatchRequestItem(**asking("a")),
    asking("b"),
    json.dumps(asking("c")),
    json.dumps(asking("d")).encode() + b"\r\n",
    "",
    b" \n",
    "\ufeff" + json.dumps(asking("Grüße 🌍")) + "\n",
]
CUSTOM_IDS = ["a", "b", "c", "d", "Grüße 🌍"]


def jsonl(*requests):
    """What a JSONL file of `requests` holds."""
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in requests)


def as_iterable(tmp_path):
    return iter(REQUESTS)


def as_list(tmp_path):
    return REQUESTS


def as_path(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(jsonl(asking(each)) for each in CUSTOM_IDS))
    return path


def as_name(tmp_path):
    return str(as_path(tmp_path))


@pytest.mark.parametrize("source", [as_iterable, as_list, as_path, as_name])
async def test_upload(face, gateway, tmp_path, source):
    """Requests are taken as they come: items, mappings, lines of text or bytes, a file by its path."""
    async with over(face, gateway) as client:
        file = await client.batches.upload(source(tmp_path))
        params = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await client.batches.create(CreateBatchParams(**params))
    assert batch.request_counts["total"] == len(CUSTOM_IDS)
    sent = gateway.requests[0].json()
    assert sent["purpose"] == "batch"
    assert [each["custom_id"] for each in sent["requests"]] == CUSTOM_IDS
    assert {each["url"] for each in sent["requests"]} == {"/v1/chat/completions"}


async def test_open_file_is_uploaded(face, gateway, tmp_path):
    """A file that is open already is an iterable of lines like any other."""
    async with over(face, gateway) as client:
        with as_path(tmp_path).open("rb") as file:
            await client.batches.upload(file)
    assert [each["custom_id"] for each in gateway.requests[0].json()["requests"]] == CUSTOM_IDS


WRONG = {
    "no JSON": (b"{", "line 3: "),
    "no object": (b"[]", "line 3: a request is a JSON object"),
    "no body": (b'{"custom_id": "x"}', "line 3: body"),
    "a slip": (jsonl({**asking("x"), "metod": "POST"}).strip(), "line 3: metod"),
    "twice": (jsonl(asking("a")).strip(), "line 3: custom_id 'a' is that of line 1"),
}


@BOTH_COLOURS
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("in_a_file", [False, True])
async def test_wrong_request(face, gateway, tmp_path, wrong, in_a_file):
    """A request that is wrong is told of with its line, before anything is sent; a file is closed again."""
    text, message = WRONG[wrong]
    lines = [jsonl(asking("a")), b"\n", text, jsonl(asking("b"))]
    source = tmp_path / "requests.jsonl"
    source.write_bytes(b"".join([*lines[:2], text, b"\n", lines[3]]))
    async with over(face, gateway) as client:
        with pytest.raises(ValueError, match=message):
            await client.batches.upload(source if in_a_file else lines)
    assert gateway.requests == []


@BOTH_COLOURS
@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ([], ValueError, "there are no requests"),
        ([b"\n"], ValueError, "there are no requests"),
        (b"{}", TypeError, "not one bytes"),
        (asking("a"), TypeError, "not one dict"),
        (None, TypeError, "iterable"),
        ("/there/is/no/such/file.jsonl", FileNotFoundError, "file.jsonl"),
        (json.dumps(asking("a")), FileNotFoundError, "custom_id"),
    ],
    ids=["nothing", "empty", "bytes", "one", "None", "no file", "text"],
)
async def test_what_cannot_be_uploaded(face, gateway, source, kind, words):
    """What holds no requests is refused before anything is sent."""
    async with over(face, gateway) as client:
        with pytest.raises(kind, match=words):
            await client.batches.upload(source)
    assert gateway.requests == []


# Results


async def test_results_of_a_batch(face, gateway):
    """Each result has its request; those that failed come after the others, and tell why."""
    requests = {each: BatchRequestItem(**asking(each)) for each in ("a", "b")}
    requests["bad"] = BatchRequestItem(custom_id="bad", body={"messages": "none"})
    async with over(face, gateway) as client:
        batch = await begin(client, requests["bad"], requests["a"], requests["b"])
        gateway.advance_batches("completed")
        batch = await client.batches.get(batch.id)
        before = len(gateway.requests)
        results = [result async for result in client.batches.results(batch, requests=requests)]
    assert [result.custom_id for result in results] == ["a", "b", "bad"]
    assert [result.is_success for result in results] == [True, True, False]
    assert all(result.request is requests[result.custom_id] for result in results)
    assert results[0].completion().choices[0].message.content == "You said: Say hello"
    assert results[0].completion().request_id == results[0].response.request_id != results[0].request_id
    with pytest.raises(ValueError, match="'bad' failed"):
        results[2].completion()
    # The batch was there already.
    paths = [f"/v1/files/{file_id}/content" for file_id in (batch.output_file_id, batch.error_file_id)]
    assert [request.path for request in gateway.requests[before:]] == paths


async def test_results_without_requests(face, gateway):
    """Where the requests are not given, or are others, a result has none."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        gateway.advance_batches("completed")
        assert [result.request async for result in client.batches.results(batch.id)] == [None, None]
        others = {"b": BatchRequestItem(**asking("b"))}
        found = [result.request async for result in client.batches.results(batch.id, requests=others)]
    assert found == [None, others["b"]]


async def test_results_of_a_batch_under_way(face, gateway):
    """A batch that is still under way has no results; the error says so, and has the batch."""
    async with over(face, gateway) as client:
        batch = await begin(client)
        results = client.batches.results(batch.id)
        error = await read_to_failure(results)
        assert (error.error_code, error.partial.id) == ("batch_not_finished", batch.id)
        assert await read_to_failure(results) is error
        assert len(gateway.requests) == 2
        assert type(await read_to_failure(client.batches.results("batch_none"))) is NotFoundError


BATCH = BatchObject(id="batch_1", status="completed", output_file_id="file-1")
JSONL = "application/x-ndjson"


def line(custom_id, **more):
    """A line of an output file."""
    return json.dumps({"custom_id": custom_id, **more}, ensure_ascii=False).encode() + b"\n"


NAMES = ["a", "Grüße", "世界 🌍", "line\u2028separator\x85"]
FILE = b"\xef\xbb\xbf" + b"\r\n".join(map(line, NAMES)).strip()


async def test_results_that_are_there_already(face):
    """What came with the batch itself is given without a request."""
    lines = [{"custom_id": name, "response": {"status_code": 200, "body": {}}} for name in NAMES]
    batch = BatchObject(id="batch_1", status="completed", results=lines)
    with RawServer(replies()) as server:
        async with face.client(server) as client:
            assert [result.custom_id async for result in client.batches.results(batch)] == NAMES
        assert server.accepted == 0


@pytest.mark.parametrize("size", [1, 7, 10000])
async def test_lines_in_any_pieces(face, size):
    """However a file is cut into pieces, its lines are the same, the last one's end missing or not."""
    pieces = [http_chunk(FILE[start : start + size]) for start in range(0, len(FILE), size)]
    with RawServer(replies(stream_head(content_type=JSONL) + b"".join(pieces) + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            assert [result.custom_id async for result in client.batches.results(BATCH)] == NAMES


async def test_lines_are_delivered_before_the_next_is_sent(face):
    """A result is in the caller's hands while the server still waits to be told to send the next one."""
    told = [threading.Event() for _ in range(3)]

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(content_type=JSONL))
        for number, event in enumerate(told):
            connection.wait(event)
            connection.send(http_chunk(line(str(number))))
        connection.send(LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server) as client, client.batches.results(BATCH) as results:
            for number, event in enumerate(told):
                event.set()
                assert (await results.__anext__()).custom_id == str(number)
            assert [result async for result in results] == []


LONG = line("long", response={"status_code": 200, "body": {"text": "x" * 60_000}})


@pytest.fixture
def traced():
    """What Python allocates is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def test_long_file_in_little_memory(face, traced):
    """A file of 20 MB is read in the memory that a few of its lines take, one that never ends too."""
    seen = 0

    def endless_file(connection):
        connection.receive_request()
        connection.send(stream_head(content_type=JSONL))
        while True:
            connection.send(http_chunk(LONG))

    with RawServer(endless_file) as server:
        async with face.client(server) as client:
            async with client.batches.results(BATCH) as results:
                async for _ in results:
                    seen += 1
                    if seen == 20:
                        tracemalloc.reset_peak()
                        before, _ = tracemalloc.get_traced_memory()
                    if seen == 350:
                        break
            _, peak = tracemalloc.get_traced_memory()
            await until_open(server, 0)
    assert peak - before < 4_000_000


@pytest.mark.parametrize("by", ["close", "reset"])
async def test_file_that_is_cut(face, by):
    """The whole lines that had come are delivered, the half one is not; then it raises, each time."""

    def cut(connection, request):
        connection.send(stream_head("X-Request-Id: cut", content_type=JSONL), http_chunk(line("a") + line("b")))
        connection.send(http_chunk(line("c")[:-5]))
        if by == "reset":
            connection.wait(came)
        getattr(connection, by)()

    came = threading.Event()
    with RawServer(replies(cut)) as server:
        async with face.client(server) as client:
            results = client.batches.results(BATCH)
            names = [(await results.__anext__()).custom_id for _ in range(2)]
            came.set()
            error = await read_to_failure(results)
            assert names == ["a", "b"]
            assert (type(error), error.error_code, error.request_id) == (
                StreamInterruptedError,
                "stream_interrupted",
                "cut",
            )
            assert await read_to_failure(results) is error
            await until_open(server, 0)
            assert len(server.requests) == 1


@pytest.mark.parametrize("wrong", [b"{\n", b"[]\n", b'{"custom_id": []}\n', b"<html>\n"])
async def test_line_that_is_wrong(face, wrong):
    """A line that is no result is an error that quotes it, after the lines before it."""
    body = line("a") + wrong + line("b")
    with RawServer(replies(answer(body, 200, "X-Request-Id: bad", content_type=JSONL), chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            came = []
            error = await read_to_failure(client.batches.results(BATCH), came)
            assert [result.custom_id for result in came] == ["a"]
            assert (type(error), error.request_id) == (ResponseParseError, "bad")
            assert wrong.decode().strip() in error.message
            assert await ask(client, "create") == "Hi"
            assert len(server.requests) == 2


async def test_file_that_is_tried_again(face):
    """As long as nothing of a file has come, its request is tried again like any other; afterwards it is not."""
    policy = RecordingPolicy(max_retries=3)

    def cut(connection, request):
        connection.send(stream_head(content_type=JSONL))
        connection.close()

    script = replies(answer(b"{}", 503), cut, answer(line("a"), content_type=JSONL))
    with RawServer(script) as server:
        async with face.client(server) as client:
            names = [result.custom_id async for result in client.batches.results(BATCH, retry=policy)]
            assert names == ["a"]
            assert len(server.requests) == 3


async def test_file_that_is_not_there(face, gateway):
    """A file that was deleted is an error; the results of the file before it had come by then."""
    async with over(face, gateway) as client:
        batch = await begin(client, asking("a"), {"custom_id": "bad", "body": {"messages": "none"}})
        gateway.advance_batches("completed")
        batch = await client.batches.get(batch.id)
        await client.files.delete(batch.error_file_id)
        came = []
        error = await read_to_failure(client.batches.results(batch), came)
    assert type(error) is NotFoundError
    assert [result.custom_id for result in came] == ["a"]


async def test_results_without_files(face):
    """Results that stand in the batch itself are read from there."""
    batch = {"id": "b", "status": "completed", "results": [{"custom_id": "a"}], "errors_detail": [{"custom_id": "c"}]}
    reply = answer(json.dumps(batch).encode(), 200, "X-Request-Id: inline")
    with RawServer(replies(reply)) as server:
        async with face.client(server) as client:
            results = [result async for result in client.batches.results("b")]
            assert [(result.custom_id, result.request_id) for result in results] == [("a", "inline"), ("c", "inline")]
            assert len(server.requests) == 1
