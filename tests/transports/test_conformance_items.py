"""Items that come page by page or line by line: when what is sent, and what becomes of connections, on every face."""

from __future__ import annotations

import gc
import json
import threading

import anyio
import pytest

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    BatchObject,
    CreateBatchParams,
    InternalServerError,
    ModelSearchParams,
    NotFoundError,
    ResponseParseError,
    ResponsesParams,
    RetryPolicy,
    Timeout,
)
from meshapi_transports.testing import LocalGateway
from meshapi_transports.testing.raw import RawServer, answer, chat_answer, http_chunk, replies, stream_head

from .faces import RecordingPolicy, ask, in_short_time, read_to_failure
from .test_conformance_connections import CANCELS, async_faces, skip_foreign, until_open

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

ONCE = RetryPolicy(max_retries=0)
BATCH = BatchObject(id="batch_1", status="completed", output_file_id="file-1", error_file_id="file-2")


def page(*ids, more=False, number=1):
    """A page of batches."""
    data = [{"id": each} for each in ids]
    about = {"object": "list", "data": data, "has_more": more, "last_id": ids[-1] if ids else None}
    return answer(json.dumps(about).encode(), 200, f"X-Request-Id: page-{number}")


PAGES = [page("c", "b", more=True), page("a", number=2)]


def line(custom_id):
    """A line of a batch's output file."""
    return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": {}}}).encode() + b"\n"


def file(*custom_ids):
    """The answer that is a file of a line for each of `custom_ids`."""
    return answer(b"".join(map(line, custom_ids)), content_type="application/x-ndjson")


def queries(server):
    """The query of each request that came."""
    return [request.target.partition("?")[2] for request in server.requests]


# When what is sent


async def responses(client):
    for _ in range(3):
        await client.responses.create(ResponsesParams(input="Say hello"))
    return client.responses.iterate(page_size=2)


async def batches(client):
    body = {"messages": [{"role": "user", "content": "Say hello"}]}
    for _ in range(3):
        await client.batches.create(CreateBatchParams(requests=[{"custom_id": "a", "body": body}]))
    return client.batches.iterate(page_size=2)


async def models(client):
    wanted = ModelSearchParams(q="gpt", limit=2)
    assert (await client.models.search(wanted)).total > 2
    return client.models.iterate(wanted)


@pytest.mark.parametrize("make", [responses, batches, models])
async def test_pages_are_asked_for_when_their_items_are(face, make):
    """Neither making nor entering sends anything; a page is sent for with its first item, and no page for the end."""
    with LocalGateway(batch_seconds=None) as gateway:
        async with face.client(gateway.base_url, token=gateway.token) as client:
            items = await make(client)
            before = len(gateway.requests)

            def sent():
                return [dict(request.query) for request in gateway.requests[before:]]

            async with items:
                assert sent() == []
                first = await items.__anext__()
                second = await items.__anext__()
                assert [int(query["limit"]) for query in sent()] == [2]
                await items.__anext__()
                assert len(sent()) == 2
                rest = [item async for item in items]
                assert len(sent()) == (3 + len(rest) + 1) // 2
            if make is models:
                assert [query.get("offset", "0") for query in sent()[:2]] == ["0", "2"]
            else:
                assert [query.get("after") for query in sent()] == [None, second.id]
            assert first.id != second.id


async def test_files_of_results_are_asked_for_when_their_items_are(face):
    """The batch, its output file and its error file are each sent for when the result is asked for that needs them."""
    batch = answer(BATCH.model_dump_json().encode())
    with RawServer(replies(batch, file("a", "b"), file("c"))) as server:
        async with face.client(server) as client:
            results = client.batches.results("batch_1")
            assert server.requests == []
            assert (await results.__anext__()).custom_id == "a"
            assert [request.target for request in server.requests] == [
                "/v1/batches/batch_1",
                "/v1/files/file-1/content",
            ]
            assert [result.custom_id async for result in results] == ["b", "c"]
            assert server.requests[2].target == "/v1/files/file-2/content"
            assert (server.accepted, len(server.requests)) == (1, 3)


async def test_pages_share_a_connection(face):
    """The next page comes over the connection that brought the one before, and so does the call after them."""
    with RawServer(replies(*PAGES, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            assert [batch.id async for batch in client.batches.iterate()] == ["c", "b", "a"]
            assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (1, 3)


async def test_calls_between_items(face):
    """While the caller goes through a page, its connection is free for other calls, those inside the loop for one."""
    with RawServer(replies(PAGES[0], chat_answer("Hi"), chat_answer("Hi"), PAGES[1], chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            async for _ in client.batches.iterate():
                assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (1, 5)


async def test_items_know_their_page(face):
    """An item is named after the request that brought it; the row itself after the last one."""
    with RawServer(replies(*PAGES)) as server:
        async with face.client(server) as client:
            items = client.batches.iterate()
            assert (items.response, items.request_id) == (None, "")
            named = []
            async for batch in items:
                named.append((batch.id, batch.request_id, items.request_id))
    assert named == [("c", "page-1", "page-1"), ("b", "page-1", "page-1"), ("a", "page-2", "page-2")]


async def test_empty_pages(face):
    """Where there is nothing to list, there are no items, and nothing more is sent for."""
    nothing = answer(b'{"items": [], "total": 0}')
    with RawServer(replies(page(), nothing)) as server:
        async with face.client(server) as client:
            assert [batch async for batch in client.batches.iterate()] == []
            assert [model async for model in client.models.iterate()] == []
            assert len(server.requests) == 2


async def test_finished_items_stay_finished(face):
    """A row that was read to its end has no more items, and sends nothing more, however often it is asked."""
    with RawServer(replies(*PAGES)) as server:
        async with face.client(server) as client:
            items = client.batches.iterate()
            assert len([batch async for batch in items]) == 3
            assert [batch async for batch in items] == []
            await items.aclose()
            assert [batch async for batch in items] == []
            assert len(server.requests) == 2


# What goes wrong


def cut(connection, request):
    """Half a page."""
    connection.send(PAGES[1][:-5])
    connection.close()


def refused(status, code):
    return answer(json.dumps({"error": {"code": code}, "request_id": "bad"}).encode(), status)


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (refused(404, "not_found"), NotFoundError),
        (refused(500, "internal_error"), InternalServerError),
        (cut, APIConnectionError),
        (answer(b"[]"), ResponseParseError),
    ],
    ids=["404", "500", "cut", "nonsense"],
)
async def test_items_before_an_error(face, second, kind):
    """The items that had come are delivered; then it raises, each time that it is asked, and sends nothing more."""
    with RawServer(replies(PAGES[0], second)) as server:
        async with face.client(server) as client:
            items, came = client.batches.iterate(retry=ONCE), []
            error = await read_to_failure(items, came)
            assert [batch.id for batch in came] == ["c", "b"]
            assert type(error) is kind
            assert await read_to_failure(items) is error
            assert len(server.requests) == 2
            assert queries(server) == ["", "after=b"]


async def test_one_page_is_tried_again(face):
    """Each page is retried by itself: the items come once each, and the page that failed is asked for again."""
    policy = RecordingPolicy(max_retries=2)
    busy = answer(b"{}", 503)
    script = replies(busy, PAGES[0], busy, busy, PAGES[1])
    with RawServer(script) as server:
        async with face.client(server) as client:
            assert [batch.id async for batch in client.batches.iterate(retry=policy)] == ["c", "b", "a"]
            assert queries(server) == ["", "", "after=b", "after=b", "after=b"]
            assert server.accepted == 1
    assert [outcome.status for outcome in policy.outcomes] == [503] * 3


def stall(connection, request):
    """Nothing."""
    connection.wait_closed()


def stall_in_a_file(connection, request):
    """One line, and then nothing."""
    connection.send(stream_head(content_type="application/x-ndjson"), http_chunk(line("a")))
    connection.wait_closed()


@pytest.mark.parametrize("limit", ["total", "idle"])
@in_short_time
async def test_time_for_items(face, limit, seconds):
    """The items that came in time are delivered before the error that tells what time was used up."""
    with RawServer(replies(PAGES[0], stall)) as server:
        async with face.client(server) as client:
            items, came = client.batches.iterate(timeout=Timeout(**{limit: seconds}), retry=ONCE), []
            error = await read_to_failure(items, came)
            assert type(error) is APITimeoutError
            assert ("whole call" in error.message) == (limit == "total")
            assert len(came) == 2
            await until_open(server, 0)


# Left early


async def by_break_and_close(items):
    async for _ in items:
        break
    await items.aclose()
    await items.aclose()
    assert [item async for item in items] == []


async def by_with_block(items):
    async with items:
        async for _ in items:
            break
    assert [item async for item in items] == []


async def by_exception(items):
    async def stumble():
        async with items:
            async for _ in items:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()


LEAVE = pytest.mark.parametrize("leave", [by_break_and_close, by_with_block, by_exception])


@LEAVE
async def test_pages_left_early(face, leave):
    """Whoever stops in the middle of a page has its connection back in order, and the other pages never asked for."""
    with RawServer(replies(PAGES[0], chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            await leave(client.batches.iterate())
            assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (1, 2)


@LEAVE
async def test_file_left_early(face, leave):
    """Whoever stops in the middle of a file has its connection closed at once, and the client goes on working."""
    with RawServer(replies(stall_in_a_file, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            await leave(client.batches.results(BATCH))
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("first", [PAGES[0], stall_in_a_file], ids=["pages", "file"])
async def test_items_that_are_dropped(face, first):
    """Whoever breaks out of a loop and drops the row leaves nothing open, and the client goes on working."""
    with RawServer(replies(first, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            items = client.batches.results(BATCH) if first is stall_in_a_file else client.batches.iterate()
            async for _ in items:
                break
            del items
            gc.collect()
            if first is stall_in_a_file:
                await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert len(server.requests) == 2


async def test_items_that_were_never_begun(face):
    """A row that is closed, left or dropped before anything was asked of it sends nothing."""
    with RawServer(replies(*PAGES)) as server:
        async with face.client(server) as client:
            items = client.batches.iterate()
            await items.aclose()
            assert [batch async for batch in items] == []
            async with client.batches.results("batch_1"):
                pass
            client.models.iterate()
            gc.collect()
        assert server.accepted == 0


# Cancelled


@async_faces
@CANCELS
@pytest.mark.parametrize("where", ["page", "file"])
async def test_cancelled_between_items(face, cancel, where):
    """A task that is cancelled while it waits for the next item ends there; nothing stays open, the client works on."""
    skip_foreign(face, cancel)
    reached = threading.Event()

    def script_of(reply):
        def told(connection, request):
            reached.set()
            reply(connection, request)

        return told

    script = [PAGES[0], script_of(stall)] if where == "page" else [file("a"), script_of(stall_in_a_file)]
    with RawServer(replies(*script, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            came = []

            async def call():
                items = client.batches.iterate() if where == "page" else client.batches.results(BATCH)
                async for item in items:
                    came.append(item)
                pytest.fail("it went on")

            await cancel(call, reached)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2
        assert len(came) <= 2


@async_faces
@CANCELS
async def test_cancelled_inside_items(face, cancel):
    """A caller who is cancelled inside the ``async with`` of a row leaves it like any other way."""
    skip_foreign(face, cancel)
    reached = threading.Event()
    with RawServer(replies(stall_in_a_file, chat_answer("Hi"))) as server:
        async with face.client(server) as client:

            async def call():
                async with client.batches.results(BATCH) as results:
                    async for _ in results:
                        reached.set()
                        await anyio.sleep_forever()

            await cancel(call, reached)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
