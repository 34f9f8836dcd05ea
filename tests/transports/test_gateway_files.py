"""The local gateway's files, seen from outside: plain HTTP and openai."""

from __future__ import annotations

import asyncio
import json

import httpx
import openai
import pytest

from meshapi_transports.testing import Fault

from .test_gateway import authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

FILES = "/v1/files"
CHAT = "/v1/chat/completions"


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def line(custom_id, **fields):
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"messages": []}, **fields}


def json_lines(*lines):
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in lines)


def upload(client, *requests, **params):
    return client.post(FILES, json={"purpose": "batch", "requests": list(requests), **params})


def test_a_file_holds_the_requests_uploaded(client):
    """One JSON object a line, with what the client may leave out."""
    short = {"custom_id": "é", "body": {"messages": []}}
    uploaded = upload(client, short, line("2", url="/v1/embeddings")).json()
    content = client.get(f"{FILES}/{uploaded['id']}/content")
    assert content.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(each) for each in content.content.splitlines()] == [line("é"), line("2", url="/v1/embeddings")]
    assert uploaded["bytes"] == len(content.content)
    assert (uploaded["object"], uploaded["purpose"], uploaded["status"]) == ("file", "batch", "processed")
    assert uploaded["filename"] == f"{uploaded['id']}.jsonl"
    assert client.get(f"{FILES}/{uploaded['id']}").json() == uploaded


def test_a_file_is_deleted(client):
    """The answer has no body, and then nothing of it is found."""
    file_id = upload(client, line("1")).json()["id"]
    gone = client.delete(f"{FILES}/{file_id}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        missing = client.request(method, f"{FILES}/{file_id}{path}")
        assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


def test_faults_reach_an_answer_without_a_body(local_gateway, client):
    """With a body of the fault's it is a 200; without one there is nothing to compress, split or cut."""
    for fault in (Fault(encoding="gzip"), Fault(split=1), Fault(cut_after=1), Fault(delay=0.001)):
        file_id = upload(client, line("1")).json()["id"]
        local_gateway.inject(fault)
        gone = client.delete(f"{FILES}/{file_id}")
        assert (gone.status_code, gone.content) == (204, b"")
    file_id = upload(client, line("1")).json()["id"]
    local_gateway.inject(Fault(body=b'{"deleted": true}', content_type="application/json"))
    gone = client.delete(f"{FILES}/{file_id}")
    assert (gone.status_code, gone.json()) == (200, {"deleted": True})


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"purpose": "assistants"}, ["body", "purpose"], "literal_error"),
        ({"requests": []}, ["body", "requests"], "too_short"),
        ({"requests": [{"custom_id": "1"}]}, ["body", "requests", 0, "body"], "missing"),
        ({"requests": [line("")]}, ["body", "requests", 0, "custom_id"], "string_too_short"),
        ({"requests": [line("1", method="GET")]}, ["body", "requests", 0, "method"], "literal_error"),
        ({"requests": [line("1", url="/v1/models")]}, ["body", "requests", 0, "url"], "literal_error"),
        ({"requests": [line("1"), line("2"), line("1")]}, ["body", "requests", 2, "custom_id"], "value_error"),
    ],
)
def test_a_bad_upload_is_a_validation_error(client, params, loc, kind):
    """Each mistake is reported with the place where it is, a repeated custom_id among them."""
    answer = upload(client, line("1"), **params)
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def test_files_to_search_in_are_not_emulated(client):
    """Their upload begins at the same path, and the error says that it is not this one."""
    answer = client.post(FILES, json={"file_name": "handbook.pdf", "mime_type": "application/pdf"})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "unprocessable_entity")


def test_a_form_can_bring_the_lines(client):
    """As OpenAI's clients upload them; blank lines are passed over, and the bytes stay UTF-8."""
    content = json_lines(line("é")) + b"\r\n" + json_lines(line("2"))
    answer = client.post(FILES, data={"purpose": "batch"}, files={"file": ("mine.jsonl", content)})
    assert answer.json()["filename"] == "mine.jsonl"
    stored = client.get(f"{FILES}/{answer.json()['id']}/content").content
    assert stored.splitlines() == [
        json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode() for each in (line("é"), line("2"))
    ]


@pytest.mark.parametrize(
    ("data", "files", "loc"),
    [
        ({"purpose": "batch"}, {"file": ("a.jsonl", b'{"custom_id": 1}\n{')}, ["body", "file", 1]),
        ({"purpose": "batch"}, {"file": ("a.jsonl", b"")}, ["body", "requests"]),
        ({"purpose": "fine-tune"}, {"file": ("a.jsonl", json_lines(line("1")))}, ["body", "purpose"]),
        ({"purpose": "batch"}, {"other": ("a.jsonl", b"{}")}, ["body", "requests"]),
    ],
)
def test_a_bad_form_is_a_validation_error(client, data, files, loc):
    """A line that is not JSON, no lines, another purpose, no file."""
    answer = client.post(FILES, data=data, files=files)
    assert answer.status_code == 422
    assert [detail["loc"] for detail in error_of(answer)["details"]] == [loc]


def test_a_form_without_parts_is_a_validation_error(client):
    """A body that has nothing to do with its Content-Type holds no requests."""
    answer = client.post(FILES, content=b"nothing", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert [detail["loc"] for detail in error_of(answer)["details"]] == [["body", "requests"]]


def test_openai_keeps_files(local_gateway):
    """It uploads, finds, reads and deletes one, over both its clients."""
    arguments = {"base_url": local_gateway.base_url + "/v1", "api_key": local_gateway.token, "max_retries": 0}
    content = json_lines(line("é"))
    with openai.OpenAI(**arguments) as client:
        uploaded = client.files.create(file=("mine.jsonl", content), purpose="batch")
        assert client.files.retrieve(uploaded.id) == uploaded
        assert json.loads(client.files.content(uploaded.id).text) == line("é")
        client.files.delete(uploaded.id)
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(uploaded.id)

    async def keep_async():
        async with openai.AsyncOpenAI(**arguments) as client:
            uploaded = await client.files.create(file=content, purpose="batch")
            return uploaded, await client.files.content(uploaded.id)

    async_uploaded, async_content = asyncio.run(keep_async())
    assert async_uploaded.bytes == len(async_content.content)
