"""``/v1/files``: what batches read and write."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import Answer, GatewayError, JSONAnswer, invalid_field, not_emulated
from ._checks import Location, Problem, is_object
from ._delivery import encode_json, encode_text
from ._requests import gateway_state, parse_json, read_json, validated
from ._state import GatewayState

BATCH_ENDPOINTS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
BATCH_REQUEST = checks.record(
    required={"custom_id": checks.nonempty_text, "body": checks.mapping()},
    optional={"method": checks.one_of("POST"), "url": checks.one_of(*BATCH_ENDPOINTS)},
)


def batch_requests(value: Any, loc: Location) -> Iterator[Problem]:
    """Check the requests of a batch: each is right by itself, and no two have the same custom_id."""
    problems = list(checks.array(BATCH_REQUEST, at_least=1)(value, loc))
    yield from problems or _repeated_ids(value, loc)


def _repeated_ids(requests: Sequence[Mapping[str, Any]], loc: Location) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, each in enumerate(requests):
        if each["custom_id"] in seen:
            message = f"{each['custom_id']!r} stands here for the second time"
            yield checks.problem((*loc, index, "custom_id"), message, "value_error")
        seen.add(each["custom_id"])


UPLOAD_PARAMS = checks.record(
    required={"requests": batch_requests}, optional={"purpose": checks.one_of("batch"), "filename": checks.text}
)


@dataclass(frozen=True)
class StoredFile:
    """A file: what a client is told of it, what it holds, and the requests in it if it is the input of a batch."""

    about: Mapping[str, Any]
    content: bytes
    requests: Sequence[Mapping[str, Any]] = ()


def store_file(
    gateway: GatewayState,
    lines: Sequence[Mapping[str, Any]],
    purpose: str,
    filename: str | None = None,
    requests: Sequence[Mapping[str, Any]] = (),
) -> StoredFile:
    """Store the lines as a file of JSON lines, and return it."""
    file_id = gateway.next_id("file-")
    content = b"".join(encode_text(encode_json(line)) + b"\n" for line in lines)
    about = {
        "id": file_id,
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "filename": filename or f"{file_id}.jsonl",
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    stored = StoredFile(about, content, requests)
    gateway.files.put(file_id, stored)
    return stored


def complete_requests(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests with what they may leave out."""
    return [
        {
            "custom_id": each["custom_id"],
            "method": "POST",
            "url": each.get("url") or BATCH_ENDPOINTS[0],
            "body": each["body"],
        }
        for each in requests
    ]


async def upload_file(request: Request) -> Response:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        upload = _from_form(request.headers["content-type"], await request.body())
    else:
        upload = await read_json(request)
        if is_object(upload) and "file_name" in upload:
            raise not_emulated("the upload of files to search in")
    params = validated(upload, UPLOAD_PARAMS, "body")
    requests = complete_requests(params["requests"])
    stored = store_file(gateway_state(request), requests, "batch", params.get("filename"), requests)
    return JSONAnswer(stored.about)


def _from_form(content_type: str, body: bytes) -> dict[str, Any]:
    """Read a form with the fields ``file``, of JSON lines, and ``purpose``, as OpenAI's clients send it."""
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    upload: dict[str, Any] = {}
    for part in email.message_from_bytes(head + body, policy=email.policy.HTTP).walk():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        if name == "purpose":
            upload["purpose"] = payload.decode("utf-8", errors="replace").strip()
        elif name == "file":
            upload["filename"] = part.get_filename()
            upload["requests"] = list(_parsed_lines(payload))
    return upload


def _parsed_lines(content: bytes) -> Iterator[Any]:
    for number, line in enumerate(content.splitlines()):
        if line.strip():
            try:
                yield parse_json(line)
            except (ValueError, RecursionError) as error:
                raise invalid_field(("body", "file", number), f"the line is not valid JSON: {error}") from error


async def get_file(request: Request) -> Response:
    return JSONAnswer(_requested(request).about)


async def delete_file(request: Request) -> Response:
    file_id = _requested(request).about["id"]
    gateway_state(request).files.remove(file_id)
    return Answer(status_code=204)


async def get_content(request: Request) -> Response:
    return Answer(_requested(request).content, media_type="application/x-ndjson")


def _requested(request: Request) -> StoredFile:
    return find_file(gateway_state(request), request.path_params["file_id"])


def find_file(gateway: GatewayState, file_id: str) -> StoredFile:
    """Return a file.

    Raises:
        GatewayError: 404, there is none of that id.
    """
    stored = gateway.files.get(file_id)
    if stored is None:
        raise GatewayError(404, f"there is no file {file_id!r}")
    return stored


routes = [
    Route("/v1/files", upload_file, methods=["POST"]),
    Route("/v1/files/{file_id}", get_file, methods=["GET"]),
    Route("/v1/files/{file_id}", delete_file, methods=["DELETE"]),
    Route("/v1/files/{file_id}/content", get_content, methods=["GET"]),
]
