"""The local gateway's batches, seen from outside: plain HTTP, the official SDK and openai."""

from __future__ import annotations

import asyncio
import json

import httpx
import meshapi
import openai
import pytest

from meshapi_transports.testing import LocalGateway

from .test_gateway import authorization, error_of

BATCHES = "/v1/batches"
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
GOOD = {"messages": [{"role": "user", "content": "hello"}]}
BAD = {"messages": "hello"}
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def gateway():
    with LocalGateway(batch_seconds=None) as gateway:
        yield gateway


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.base_url, headers=authorization(gateway), timeout=10, verify=False) as client:
        yield client


@pytest.fixture
def clock(monkeypatch):
    """A clock for batches that the test sets."""
    times = [0.0]
    monkeypatch.setattr("meshapi_transports.testing._batches._now", lambda: times[0])
    return times


def requests_of(*bodies, url=CHAT):
    return [{"custom_id": f"id-{index}", "url": url, "body": body} for index, body in enumerate(bodies)]


def create(client, *bodies, url=CHAT, **params):
    answer = client.post(BATCHES, json={"requests": requests_of(*bodies, url=url), **params})
    assert answer.status_code == 200
    return answer.json()


def look(client, batch):
    return client.get(f"{BATCHES}/{batch['id']}").json()


def lines_of(client, file_id):
    return [json.loads(line) for line in client.get(f"/v1/files/{file_id}/content").text.splitlines()]


def test_a_batch_goes_from_status_to_status(gateway, client):
    """With each nudge to the next; half of the requests are done in progress, and all of them from then on."""
    batch = create(client, GOOD, BAD, GOOD, GOOD, metadata={"job": "mine"})
    assert batch["id"].startswith("batch_")
    assert (batch["object"], batch["endpoint"], batch["metadata"]) == ("batch", CHAT, {"job": "mine"})
    assert (batch["input_file_id"], batch["completion_window"]) == (None, "24h")
    seen = []
    for _ in range(5):
        found = look(client, batch)
        seen.append((found["status"], found["request_counts"]))
        gateway.advance_batches()
    completed = {"total": 4, "completed": 3, "failed": 1}
    assert seen == [
        ("validating", {"total": 4, "completed": 0, "failed": 0}),
        ("in_progress", {"total": 4, "completed": 1, "failed": 1}),
        ("finalizing", completed),
        ("completed", completed),
        ("completed", completed),
    ]
    times = [found[name] for name in ("created_at", "in_progress_at", "finalizing_at", "completed_at")]
    assert times == sorted(times)


def test_results_come_with_the_end(gateway, client):
    """A batch of inline requests carries every result, and its files hold the good and the bad ones."""
    batch = create(client, GOOD, BAD)
    for _ in range(2):
        gateway.advance_batches()
        unfinished = look(client, batch)
        names = ("results", "errors_detail", "output_file_id", "error_file_id")
        assert [unfinished[name] for name in names] == [None] * 4
        assert unfinished["usage_synced"] is False
    gateway.advance_batches()
    completed = look(client, batch)
    good, bad = completed["results"]
    assert completed["usage_synced"] is True
    assert lines_of(client, completed["output_file_id"]) == [good]
    assert lines_of(client, completed["error_file_id"]) == [bad]
    assert client.get(f"/v1/files/{completed['output_file_id']}").json()["purpose"] == "batch_output"
    assert good.keys() == {"id", "custom_id", "response", "error"}
    assert (good["custom_id"], good["error"], good["response"]["status_code"]) == ("id-0", None, 200)
    assert good["response"]["body"]["choices"][0]["message"]["content"] == "You said: hello"
    assert good["response"]["request_id"] != bad["response"]["request_id"]
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("id-1", 422)
    assert bad["response"]["body"]["error"]["details"][0]["loc"] == ["body", "messages"]
    assert bad["response"]["body"]["request_id"] == bad["response"]["request_id"]
    assert bad["error"] == {"code": "validation_error", "message": "body.messages should be a list"}
    assert completed["errors_detail"] == [{"custom_id": "id-1", **bad["error"]}]


def test_a_batch_without_mistakes_has_no_error_file(gateway, client):
    """And one of nothing but mistakes has no output file."""
    good, bad = create(client, GOOD), create(client, BAD)
    gateway.advance_batches("completed")
    good, bad = look(client, good), look(client, bad)
    assert (good["error_file_id"], good["errors_detail"]) == (None, None)
    assert (bad["output_file_id"], bad["request_counts"]["failed"]) == (None, 1)


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (CHAT, {"model": "openai/gpt-4o", **GOOD}),
        (CHAT, {"stream": True, **GOOD}),
        (RESPONSES, {"input": "hello"}),
        (EMBEDDINGS, {"input": ["hello", "you"]}),
    ],
)
def test_a_line_is_what_the_endpoint_would_answer(gateway, client, url, body):
    """Save the id and the time, and that nothing is streamed."""
    batch = create(client, body, url=url)
    gateway.advance_batches("completed")
    (result,) = look(client, batch)["results"]
    directly = client.post(url, json={**body, "stream": False}).json()
    changing = dict.fromkeys(("id", "created", "created_at", "completed_at", "output"))
    assert {**result["response"]["body"], **changing} == {**directly, **changing}
    assert look(client, batch)["endpoint"] == url


def test_the_model_is_told(client):
    """It is that of all the requests, whether it exists or not."""
    assert create(client, {"model": "local/echo", **GOOD})["model"] == "local/echo"
    unknown = create(client, {"model": "a/b", **GOOD})
    assert (unknown["model"], unknown["provider"]) == ("a/b", "a")
    assert (create(client, GOOD)["model"], create(client, {"model": []})["model"]) == (None, None)


def test_requests_can_come_in_a_file(gateway, client):
    """Then the results are in files alone, and the batch names the file it came from."""
    file_id = client.post("/v1/files", json={"requests": requests_of(GOOD, BAD)}).json()["id"]
    params = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    batch = client.post(BATCHES, json=params).json()
    assert (batch["input_file_id"], batch["completion_window"]) == (file_id, "24h")
    assert client.delete(f"/v1/files/{file_id}").status_code == 204
    gateway.advance_batches("completed")
    completed = look(client, batch)
    assert completed["results"] is None
    assert [line["custom_id"] for line in lines_of(client, completed["output_file_id"])] == ["id-0"]
    assert [error["custom_id"] for error in completed["errors_detail"]] == ["id-1"]


@pytest.mark.parametrize("ending", ENDED)
@pytest.mark.parametrize("nudges", [0, 1, 2])
def test_a_batch_can_be_ended_at_once(gateway, client, ending, nudges):
    """In any way and from any status; what was done by then is there."""
    batch = create(client, GOOD, GOOD)
    for _ in range(nudges):
        gateway.advance_batches()
    gateway.advance_batches(ending)
    found = look(client, batch)
    done = 2 if ending == "completed" else nudges
    assert (found["status"], len(found["results"]), found["request_counts"]["completed"]) == (ending, done, done)
    assert bool(found["output_file_id"]) is bool(done)
    assert f"{ending}_at" in found
    reasons = [error["code"] for error in found["errors_detail"] or []]
    assert reasons == ([f"batch_{ending}"] if ending in ("failed", "expired") else [])
    gateway.advance_batches("completed")
    assert look(client, batch) == found


def test_a_batch_cannot_end_in_another_way(gateway):
    """A mistake in a test is told where it is written."""
    with pytest.raises(ValueError, match="'validating'"):
        gateway.advance_batches("validating")


def test_a_batch_can_be_cancelled(gateway, client):
    """First it is being cancelled, which can be asked for twice, and then it is, with what was done."""
    batch = create(client, GOOD, GOOD)
    gateway.advance_batches()
    for _ in range(2):
        cancelling = client.post(f"{BATCHES}/{batch['id']}/cancel", json={}).json()
        assert (cancelling["status"], cancelling["results"]) == ("cancelling", None)
    gateway.advance_batches()
    cancelled = look(client, batch)
    assert (cancelled["status"], len(cancelled["results"])) == ("cancelled", 1)
    late = client.post(f"{BATCHES}/{batch['id']}/cancel", json={})
    assert (late.status_code, error_of(late)["code"]) == (409, "conflict")


def test_batches_are_listed_page_by_page(gateway, client):
    """The newest comes first, after goes on, and has_more says when to stop."""
    ids = [create(client, GOOD)["id"] for _ in range(3)][::-1]
    first = client.get(BATCHES, params={"limit": 2}).json()
    assert [batch["id"] for batch in first["data"]] == ids[:2]
    assert (first["object"], first["has_more"], first["last_id"]) == ("list", True, ids[1])
    rest = client.get(BATCHES, params={"after": first["last_id"]}).json()
    assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == ([ids[2]], False)
    assert client.get(BATCHES, params={"limit": 0}).status_code == 422
    gateway.reset()
    assert client.get(BATCHES).json()["data"] == []


def test_a_batch_that_does_not_exist_is_not_found(client):
    """Neither looked at nor cancelled."""
    for missing in (client.get(f"{BATCHES}/batch_0"), client.post(f"{BATCHES}/batch_0/cancel", json={})):
        assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


def test_only_so_many_batches_run_at_once(gateway, client):
    """The eleventh has to wait until one has ended."""
    for _ in range(10):
        create(client, GOOD)
    refused = client.post(BATCHES, json={"requests": requests_of(GOOD)})
    assert (refused.status_code, error_of(refused)["code"]) == (429, "batch_limit_exceeded")
    gateway.advance_batches("expired")
    create(client, GOOD)


@pytest.mark.parametrize(
    ("params", "status", "code", "locs"),
    [
        (
            {},
            422,
            "validation_error",
            [["body", "input_file_id"], ["body", "endpoint"], ["body", "completion_window"]],
        ),
        ({"requests": []}, 422, "validation_error", [["body", "requests"]]),
        ({"requests": [{"body": GOOD}]}, 422, "validation_error", [["body", "requests", 0, "custom_id"]]),
        (
            {"requests": [*requests_of(GOOD), *requests_of(GOOD)]},
            422,
            "validation_error",
            [["body", "requests", 1, "custom_id"]],
        ),
        (
            {"requests": requests_of(GOOD), "input_file_id": "file-0"},
            422,
            "validation_error",
            [["body", "input_file_id"]],
        ),
        (
            {"requests": requests_of(GOOD), "endpoint": EMBEDDINGS},
            422,
            "validation_error",
            [["body", "requests", 0, "url"]],
        ),
        ({"requests": requests_of(GOOD), "endpoint": "/v1/models"}, 422, "validation_error", [["body", "endpoint"]]),
        (
            {"input_file_id": "file-0", "endpoint": CHAT, "completion_window": "24h"},
            404,
            "not_found",
            [],
        ),
        ({"requests": requests_of({"model": "a/b"}, {"model": "c/d"})}, 400, "mixed_models", []),
    ],
)
def test_a_bad_batch_is_refused(client, params, status, code, locs):
    """Nothing to do, requests twice over, of several endpoints or models, and a file that is not there."""
    answer = client.post(BATCHES, json=params)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert [detail["loc"] for detail in error_of(answer).get("details", [])] == locs
    assert client.get(BATCHES).json()["data"] == []


def test_an_output_file_is_no_input(gateway, client):
    """It holds answers and no requests."""
    batch = create(client, GOOD)
    gateway.advance_batches("completed")
    params = {"input_file_id": look(client, batch)["output_file_id"], "endpoint": CHAT, "completion_window": "24h"}
    refused = client.post(BATCHES, json=params)
    assert error_of(refused)["details"][0]["loc"] == ["body", "input_file_id"]


# As time passes


@pytest.fixture
def timed_client():
    with (
        LocalGateway(batch_seconds=3.0) as gateway,
        httpx.Client(base_url=gateway.base_url, headers=authorization(gateway), timeout=10, verify=False) as client,
    ):
        client.gateway = gateway
        yield client


def test_a_batch_takes_its_time(clock, timed_client):
    """A third of it for each status; whoever looks late sees the end, with all that came before."""
    batch, late = create(timed_client, GOOD), create(timed_client, GOOD)
    seen = []
    for now in (0.0, 0.9, 1.0, 1.9, 2.0, 2.9, 3.0, 9.0):
        clock[0] = now
        seen.append(look(timed_client, batch)["status"])
    assert seen == [*["validating"] * 2, *["in_progress"] * 2, *["finalizing"] * 2, *["completed"] * 2]
    listed = timed_client.get(BATCHES).json()["data"]
    assert [each["status"] for each in listed] == ["completed", "completed"]
    assert look(timed_client, late)["request_counts"]["completed"] == 1


def test_a_nudge_gains_time(clock, timed_client):
    """What remains of a batch takes as long as it would have from there."""
    batch = create(timed_client, GOOD)
    timed_client.gateway.advance_batches()
    clock[0] = 1.5
    assert look(timed_client, batch)["status"] == "finalizing"


def test_time_runs_out_for_those_who_cancel(clock, timed_client):
    """A batch that has ended in the meantime cannot be cancelled; another is, a third of the time later."""
    batch, other = create(timed_client, GOOD), create(timed_client, GOOD)
    clock[0] = 2.5
    assert timed_client.post(f"{BATCHES}/{batch['id']}/cancel", json={}).json()["status"] == "cancelling"
    clock[0] = 3.0
    assert timed_client.post(f"{BATCHES}/{other['id']}/cancel", json={}).status_code == 409
    assert look(timed_client, batch)["status"] == "cancelling"
    clock[0] = 3.5
    assert look(timed_client, batch)["status"] == "cancelled"


def test_the_limit_counts_those_that_run_now(clock, timed_client):
    """Batches that have ended unseen are none of the ten."""
    for _ in range(10):
        create(timed_client, GOOD)
    clock[0] = 3.0
    create(timed_client, GOOD)


def test_a_batch_may_take_no_time():
    """It is created unfinished and found complete; less than no time is a mistake."""
    with (
        LocalGateway(batch_seconds=0) as gateway,
        httpx.Client(base_url=gateway.base_url, headers=authorization(gateway), timeout=10, verify=False) as client,
    ):
        batch = create(client, GOOD)
        assert (batch["status"], look(client, batch)["status"]) == ("validating", "completed")
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="batch_seconds must be at least 0"):
            LocalGateway(batch_seconds=seconds)


# The official SDK and openai


def sdk_params():
    items = [meshapi.BatchRequestItem(custom_id="1", body=GOOD), meshapi.BatchRequestItem(custom_id="2", body=BAD)]
    return meshapi.CreateBatchParams(requests=items, metadata={"job": "mine"})


def test_the_official_sdk_runs_batches(gateway):
    """It creates, finds, lists and cancels them."""
    with meshapi.MeshAPI(base_url=gateway.base_url, token=gateway.token, max_retries=0) as sdk:
        batch = sdk.batches.create(sdk_params())
        other = sdk.batches.create(sdk_params())
        assert sdk.batches.cancel(other.id).status == "cancelling"
        gateway.advance_batches()
        gateway.advance_batches("completed")
        completed = sdk.batches.get(batch.id)
        page = sdk.batches.list(limit=1)
        rest = sdk.batches.list(after=page.last_id)
        with pytest.raises(meshapi.MeshAPIError) as late:
            sdk.batches.cancel(batch.id)
    assert (batch.status, completed.status) == ("validating", "completed")
    assert [result["response"]["status_code"] for result in completed.results] == [200, 422]
    assert completed.errors_detail[0]["custom_id"] == "2"
    assert completed.metadata == {"job": "mine"}
    assert ([found.id for found in page.data], page.has_more) == ([other.id], True)
    assert [found.id for found in rest.data] == [batch.id]
    assert late.value.error_code == "conflict"


def test_the_official_async_sdk_runs_batches(gateway):
    """The same over its async client."""

    async def talk():
        async with meshapi.AsyncMeshAPI(base_url=gateway.base_url, token=gateway.token) as sdk:
            batch = await sdk.batches.create(sdk_params())
            cancelled = await sdk.batches.cancel(batch.id)
            return cancelled, await sdk.batches.get(batch.id), await sdk.batches.list()

    cancelled, found, page = asyncio.run(talk())
    assert cancelled == found
    assert page.data == [found]


def test_openai_runs_batches(gateway):
    """From the upload of a file to the reading of the output, over both its clients."""
    arguments = {"base_url": gateway.base_url + "/v1", "api_key": gateway.token, "max_retries": 0}
    content = b"".join(json.dumps({**line, "method": "POST"}).encode() + b"\n" for line in requests_of(GOOD, BAD))
    with openai.OpenAI(**arguments) as client:
        uploaded = client.files.create(file=("mine.jsonl", content), purpose="batch")
        params = {"input_file_id": uploaded.id, "endpoint": CHAT, "completion_window": "24h"}
        batch = client.batches.create(**params)
        other = client.batches.create(**params)
        assert client.batches.cancel(other.id).status == "cancelling"
        gateway.advance_batches("completed")
        completed = client.batches.retrieve(batch.id)
        output = json.loads(client.files.content(completed.output_file_id).text)
        errors = json.loads(client.files.content(completed.error_file_id).text)
        # One a page: it asks for the following pages by itself.
        listed = [each.id for each in client.batches.list(limit=1)]

    async def look_async():
        async with openai.AsyncOpenAI(**arguments) as client:
            return await client.batches.retrieve(batch.id)

    assert batch.status == "validating"
    assert (completed.request_counts.completed, completed.request_counts.failed) == (1, 1)
    assert output["response"]["body"]["choices"][0]["message"]["content"] == "You said: hello"
    assert errors["error"]["code"] == "validation_error"
    assert listed == [other.id, batch.id]
    assert asyncio.run(look_async()) == completed
