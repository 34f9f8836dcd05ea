"""``/v1/batches``: many requests at once, whose answers are there after a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import GatewayError, JSONAnswer, invalid_field
from ._chat import complete
from ._embeddings import embed
from ._files import BATCH_ENDPOINTS, batch_requests, complete_requests, find_file, store_file
from ._requests import gateway_state, page_of, read_params
from ._responses import respond
from ._state import GatewayState

ENDINGS = ("completed", "failed", "expired", "cancelled")

_NEXT_STATUS = {
    "validating": "in_progress",
    "in_progress": "finalizing",
    "finalizing": "completed",
    "cancelling": "cancelled",
}
# The steps of a batch that nobody stops.
_STEPS = 3
_MOST_UNFINISHED = 10
_REASONS = {
    "failed": "the batch failed as a whole",
    "expired": "the batch did not finish within its completion window",
}
_HANDLERS: dict[str, Callable[[GatewayState, Any], dict[str, Any]]] = {
    "/v1/chat/completions": lambda gateway, body: complete(gateway, body).whole(),
    "/v1/responses": lambda gateway, body: respond(gateway, body).whole(),
    "/v1/embeddings": embed,
}
CREATE_BATCH_PARAMS = checks.record(
    optional={
        "requests": batch_requests,
        "input_file_id": checks.text,
        "endpoint": checks.one_of(*BATCH_ENDPOINTS),
        "completion_window": checks.text,
        "metadata": checks.mapping(),
    }
)


class Batch:
    """One batch. Its answers are there from the start; as time passes, or when it is advanced, it lets more be seen.

    Args:
        gateway: where its files go.
        about: its fields that do not change.
        lines: what each of its requests was answered, in the form of an output file.
        is_inline: whether the requests came with the batch and not in a file.
    """

    def __init__(
        self, gateway: GatewayState, about: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], is_inline: bool
    ) -> None:
        self._gateway = gateway
        self._about = about
        self._lines = lines
        self._is_inline = is_inline
        self._status = "validating"
        self._since = _now()
        self._done = 0
        self._times: dict[str, int] = {}
        self._files: dict[str, str] = {}
        # The server looks at a batch while the user's thread advances it.
        self._lock = threading.RLock()

    def catch_up(self) -> None:
        """Move on as far as the time that has passed says."""
        seconds = self._gateway.batch_seconds
        if seconds is None:
            return
        with self._lock:
            while self._status in _NEXT_STATUS and _now() - self._since >= seconds / _STEPS:
                self._move(_NEXT_STATUS[self._status], self._since + seconds / _STEPS)

    def is_unfinished(self) -> bool:
        with self._lock:
            self.catch_up()
            return self._status in _NEXT_STATUS

    def advance(self, ending: str | None) -> None:
        """Move on to the next status, or at once to the given one; one that has ended stays as it is."""
        with self._lock:
            if self.is_unfinished():
                self._move(ending or _NEXT_STATUS[self._status], _now())

    def cancel(self) -> None:
        """Begin to cancel.

        Raises:
            GatewayError: 409, it has ended.
        """
        with self._lock:
            if not self.is_unfinished():
                raise GatewayError(409, f"the batch is {self._status} and cannot be cancelled")
            if self._status != "cancelling":
                self._move("cancelling", _now())

    def describe(self) -> dict[str, Any]:
        """Return what a client is told of it."""
        with self._lock:
            done = self._lines[: self._done]
            failed = [line for line in done if line["error"]]
            counts = {"total": len(self._lines), "completed": len(done) - len(failed), "failed": len(failed)}
            ended = self._status in ENDINGS
            return {
                **self._about,
                "status": self._status,
                "request_counts": counts,
                "output_file_id": self._files.get("output"),
                "error_file_id": self._files.get("error"),
                "results": done if self._is_inline and ended else None,
                "errors_detail": (self._errors(failed) or None) if ended else None,
                "usage_synced": ended,
                **self._times,
            }

    def _errors(self, failed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        errors = [{"custom_id": line["custom_id"], **line["error"]} for line in failed]
        if self._status in _REASONS:
            errors.append({"code": f"batch_{self._status}", "message": _REASONS[self._status]})
        return errors

    def _move(self, status: str, since: float) -> None:
        self._status = status
        self._since = since
        self._times[f"{status}_at"] = int(time.time())
        if status == "in_progress":
            self._done = len(self._lines) // 2
        elif status in ("finalizing", "completed"):
            self._done = len(self._lines)
        if status in ENDINGS:
            self._write_files()

    def _write_files(self) -> None:
        done = self._lines[: self._done]
        for name, lines in (
            ("output", [line for line in done if not line["error"]]),
            ("error", [line for line in done if line["error"]]),
        ):
            if lines:
                self._files[name] = store_file(self._gateway, lines, "batch_output").about["id"]


def _now() -> float:
    return time.monotonic()


def advance_batches(gateway: GatewayState, ending: str | None) -> None:
    """Move every unfinished batch one status on, or at once to the given one."""
    for _, batch in gateway.batches.all():
        batch.advance(ending)


async def create_batch(request: Request) -> Response:
    gateway = gateway_state(request)
    params = await read_params(request, CREATE_BATCH_PARAMS)
    is_inline = "requests" in params
    requests = complete_requests(params["requests"]) if is_inline else _requests_of_file(gateway, params)
    endpoint = _one_endpoint(params, requests)
    model = _one_model(requests)
    if sum(batch.is_unfinished() for _, batch in gateway.batches.all()) >= _MOST_UNFINISHED:
        message = f"there are {_MOST_UNFINISHED} unfinished batches already"
        raise GatewayError(429, message, code="batch_limit_exceeded")
    about: dict[str, Any] = {
        "id": gateway.next_id("batch_"),
        "object": "batch",
        "endpoint": endpoint,
        "input_file_id": params.get("input_file_id"),
        "completion_window": params.get("completion_window", "24h"),
        "model": model,
        "provider": None if model is None else model.partition("/")[0],
        "created_at": int(time.time()),
        "metadata": params.get("metadata"),
    }
    batch = Batch(gateway, about, [_answered(gateway, each) for each in requests], is_inline)
    gateway.batches.put(about["id"], batch)
    return JSONAnswer(batch.describe())


def _requests_of_file(gateway: GatewayState, params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    missing = [name for name in ("input_file_id", "endpoint", "completion_window") if name not in params]
    if missing:
        details = [checks.problem(("body", name), "is required without requests", "missing") for name in missing]
        raise GatewayError(422, "either requests or a file of them is required", details=details)
    requests = find_file(gateway, params["input_file_id"]).requests
    if not requests:
        raise invalid_field(("body", "input_file_id"), "is not a file of requests")
    return requests


def _one_endpoint(params: Mapping[str, Any], requests: Sequence[Mapping[str, Any]]) -> str:
    if "requests" in params and "input_file_id" in params:
        raise invalid_field(("body", "input_file_id"), "should not stand beside requests")
    endpoint = str(params.get("endpoint", requests[0]["url"]))
    for index, each in enumerate(requests):
        if each["url"] != endpoint:
            raise invalid_field(("body", "requests", index, "url"), f"should be {endpoint!r}, as of the whole batch")
    return endpoint


def _one_model(requests: Sequence[Mapping[str, Any]]) -> str | None:
    models: list[Any] = []
    for each in requests:
        if each["body"].get("model") not in models:
            models.append(each["body"].get("model"))
    if len(models) > 1:
        names = ", ".join(map(repr, models))
        raise GatewayError(400, f"a batch has one model, and these are {names}", code="mixed_models")
    return models[0] if isinstance(models[0], str) else None


def _answered(gateway: GatewayState, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line that answers a request in an output file."""
    request_id = gateway.next_id("req_")
    status, error = 200, None
    try:
        body = _HANDLERS[given["url"]](gateway, given["body"])
    except GatewayError as refusal:
        status, body = refusal.status, refusal.envelope(request_id)
        error = {"code": refusal.code, "message": refusal.message}
    return {
        "id": gateway.next_id("batch_req_"),
        "custom_id": given["custom_id"],
        "response": {"status_code": status, "request_id": request_id, "body": body},
        "error": error,
    }


async def list_batches(request: Request) -> Response:
    batches = [batch for _, batch in gateway_state(request).batches.all()]
    for batch in batches:
        batch.catch_up()
    return JSONAnswer(page_of(request, [batch.describe() for batch in batches]))


async def get_batch(request: Request) -> Response:
    batch = _requested(request)
    batch.catch_up()
    return JSONAnswer(batch.describe())


async def cancel_batch(request: Request) -> Response:
    batch = _requested(request)
    batch.cancel()
    return JSONAnswer(batch.describe())


def _requested(request: Request) -> Batch:
    batch_id = request.path_params["batch_id"]
    batch = gateway_state(request).batches.get(batch_id)
    if batch is None:
        raise GatewayError(404, f"there is no batch {batch_id!r}")
    return batch


routes = [
    Route("/v1/batches", create_batch, methods=["POST"]),
    Route("/v1/batches", list_batches, methods=["GET"]),
    Route("/v1/batches/{batch_id}", get_batch, methods=["GET"]),
    Route("/v1/batches/{batch_id}/cancel", cancel_batch, methods=["POST"]),
]
