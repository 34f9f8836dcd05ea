"""``client.batches``: /v1/batches, many requests that are run later, from their upload to their results."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Union, cast

from pydantic import ValidationError

from .._json import refuse_constant
from ..actions import ResponseHead, Wait
from ..call import Call, ItemsCall
from ..config import RequestOptions, Timeout
from ..errors import (
    APIConnectionError,
    InternalServerError,
    MeshAPIError,
    RateLimitError,
    ResponseParseError,
)
from ..models._base import Params
from ..models.batches import (
    BatchLines,
    BatchListResponse,
    BatchObject,
    BatchRequestItem,
    BatchResult,
    CreateBatchParams,
)
from ..models.files import FileObject, UploadBatchFileParams
from ..steps import CallOfSteps, ItemsOfSteps, Steps
from ._base import Resource, check_params, first_problem, pages_after, path_segment, read_json, refuse
from .files import content_path

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Batches"]

# What may pass by itself, so that the next poll may find the gateway in better health.
_PASSING = (APIConnectionError, InternalServerError, RateLimitError, ResponseParseError)
_MOST_FAILED_POLLS = 10


class Batches(Resource):
    """Runs many requests at a lower price, later."""

    def create(self, params: CreateBatchParams, **options: Unpack[RequestOptions]) -> Call[BatchObject]:
        """Start a batch.

        Sends POST /v1/batches (gateway API reference, "Batches").  Retried as the `RetryPolicy` says.  With a
        data-plane key (``rsk_...``).

        Args:
            params: the requests, or ``input_file_id`` (see `upload`) with ``endpoint`` and ``completion_window``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The batch; ``client.batches.wait(batch.id)`` waits until it is through, `results` reads what came of it.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, CreateBatchParams, "create")
        return self._post("/v1/batches", params, BatchObject, options)

    def get(self, batch_id: str, **options: Unpack[RequestOptions]) -> Call[BatchObject]:
        """Get a batch, and so how far it is.

        Sends GET /v1/batches/{id} (gateway API reference, "Batches").

        Args:
            batch_id: the batch's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The batch; ``status`` and ``request_counts`` say how far it is.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such batch (`NotFoundError`), or it could not be had, as for `create`.
        """
        return self._get(_path(batch_id), BatchObject, options)

    def list(
        self, *, after: Optional[str] = None, limit: Optional[int] = None, **options: Unpack[RequestOptions]
    ) -> Call[BatchListResponse]:
        """List the batches, one page of them, newest first.

        Sends GET /v1/batches (gateway API reference, "Batches").  To go through all pages, use `iterate`.

        Args:
            after: the id of the last batch of the page before (its ``last_id``); the first page if None.
            limit: how many to a page, at most; as the gateway likes if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The page; ``data`` is its batches, ``has_more`` tells whether there is another.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return self._get("/v1/batches", BatchListResponse, options, {"after": after, "limit": limit})

    def iterate(self, *, page_size: Optional[int] = None, **options: Unpack[RequestOptions]) -> ItemsCall[BatchObject]:
        """Go through all batches, newest first, page after page.

        Sends GET /v1/batches once for each page, when its first batch is asked for; each is retried by itself.

        Args:
            page_size: how many to ask for at a time; as the gateway likes if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The batches, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all batches that had come.
        """
        return ItemsOfSteps(
            pages_after(lambda after: self.list(after=after, limit=page_size, **options)),
            self._timeout(options),
            self._redact,
        )

    def cancel(self, batch_id: str, **options: Unpack[RequestOptions]) -> Call[BatchObject]:
        """Stop a batch; what it has answered by then stays.

        Sends POST /v1/batches/{id}/cancel (gateway API reference, "Batches").

        Args:
            batch_id: the batch's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The batch, which may still be ``"cancelling"``; `wait` waits until it is cancelled.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: it is through already (`ConflictError`), there is no such batch (`NotFoundError`), or as for
                `create`.
        """
        return self._post(f"{_path(batch_id)}/cancel", Params(), BatchObject, options)

    def upload(self, requests: BatchLines, **options: Unpack[RequestOptions]) -> Call[FileObject]:
        """Check the requests of a batch one by one, and upload them as its input file.

        Sends POST /v1/files (gateway API reference, "Files"), with all requests in one body.

        Args:
            requests: an iterable of `BatchRequestItem`, of mappings of their fields, or of lines of JSON, of which the
                empty ones are passed over.  A client's method also takes the path of a JSONL file.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The file, for ``CreateBatchParams(input_file_id=file.id, endpoint=..., completion_window="24h")``.

        Raises:
            ValueError: a request is not as it should be, or its ``custom_id`` is another's; the message names its
                line, counted from 1.  Nothing was sent.
            MeshAPIError: as for `create`.
        """
        return self._post("/v1/files", UploadBatchFileParams(requests=read_requests(requests)), FileObject, options)

    def wait(
        self,
        batch_id: str,
        *,
        poll_interval: float = 5.0,
        on_progress: Optional[Callable[[BatchObject], None]] = None,
        **options: Unpack[RequestOptions],
    ) -> Call[BatchObject]:
        """Wait until a batch is through: completed, failed, expired or cancelled.

        Sends GET /v1/batches/{id} again and again.  A poll that fails for a reason that may pass (no connection, a
        timeout, 429, 5xx, an answer that cannot be read) is not the end: the next one is made as if nothing had
        happened, unless ten in a row have failed.

        Args:
            batch_id: the batch's ``id``.
            poll_interval: seconds from one answer to the next poll.
            on_progress: called with the batch as each poll finds it, the last time when it is through.
            timeout: seconds to wait for the batch, in all; or a `Timeout`, of which `total` is that.  Without end if
                None, unless the client's own `total` ends it.  A poll that would come too late is not waited for.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The batch; its ``status`` says how it ended.  Next: `results`.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: the batch was not through in time (`APITimeoutError`), or could not be had, as for `get`; the
                batch as it was last seen is in the error's `partial`.
        """
        is_number = isinstance(poll_interval, (int, float)) and not isinstance(poll_interval, bool)
        if not is_number or not 0 < poll_interval < math.inf:
            raise ValueError(f"poll_interval must be a number of seconds above 0, not {poll_interval!r}")
        timeout = self._config.timeout
        given = options.pop("timeout", None)
        if isinstance(given, Timeout):
            timeout = given
        elif given is not None:
            timeout = replace(timeout, total=given)
        return CallOfSteps(self._polls(batch_id, poll_interval, on_progress, options), timeout, self._redact)

    def results(
        self,
        batch: Union[BatchObject, str],
        *,
        requests: Optional[Mapping[str, BatchRequestItem]] = None,
        **options: Unpack[RequestOptions],
    ) -> ItemsCall[BatchResult]:
        """Read what came of the requests of a batch, one by one, those that failed after the others.

        Sends GET /v1/files/{id}/content for the output file, then for the error file (gateway API reference,
        "Batches"), and before that GET /v1/batches/{id} if only the id is given.  No more than a line is held in
        memory, however long the files are.

        Args:
            batch: the batch, or its ``id``.
            requests: the requests by their ``custom_id``: any mapping, such as a dict or a shelf; each result then has
                its own in `request`.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The results, in any order: ``custom_id`` says whose each is, ``is_success`` how it ended, ``completion()``
            is the answer to a chat.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: the batch is still under way (``error_code`` is ``"batch_not_finished"``),
                the connection was lost (`StreamInterruptedError`), a line could not be read (`ResponseParseError`), or
                as for `get`; after all results that had come.
        """
        if not isinstance(batch, (BatchObject, str)):
            raise TypeError(f"results() takes a batch or its id, not {type(batch).__name__}")
        return ItemsOfSteps(self._read_results(batch, requests or {}, options), self._timeout(options), self._redact)

    def _polls(
        self,
        batch_id: str,
        poll_interval: float,
        on_progress: Optional[Callable[[BatchObject], None]],
        options: RequestOptions,
    ) -> Steps[BatchObject]:
        seen: Optional[BatchObject] = None
        failed_polls = 0
        while True:
            pause = poll_interval
            try:
                batch: BatchObject = yield self.get(batch_id, **options)
            except MeshAPIError as error:
                failed_polls += 1
                error.partial = seen
                if not isinstance(error, _PASSING) or failed_polls == _MOST_FAILED_POLLS:
                    raise
                pause = max(pause, error.retry_after_seconds or 0.0)
            else:
                failed_polls, seen = 0, batch
                if on_progress is not None:
                    on_progress(batch)
                if batch.is_ended:
                    return batch
            try:
                yield Wait(pause)
            except MeshAPIError as error:
                error.partial = seen
                raise

    def _read_results(
        self, batch: Union[BatchObject, str], requests: Mapping[str, BatchRequestItem], options: RequestOptions
    ) -> Steps[None]:
        def read_line(head: ResponseHead, line: str) -> BatchResult:
            result = _read_result(head, line)
            result._take_request(requests.get(result.custom_id or ""))  # pyright: ignore[reportPrivateUsage]
            return result

        found: BatchObject = (yield self.get(batch, **options)) if isinstance(batch, str) else batch
        files = [file for file in (found.output_file_id, found.error_file_id) if file]
        at_hand = [*(found.results or ()), *(found.errors_detail or ())]
        if not files and not at_hand and not found.is_ended:
            raise MeshAPIError(
                f"the batch {found.id} is still {found.status}: its results come when it is through; "
                "wait for it with batches.wait(id)",
                error_code="batch_not_finished",
                request_id=found.request_id,
                partial=found,
            )
        for file in files:
            yield self._get_lines(content_path(file), read_line, options)
        if not files:
            head = ResponseHead(200, found.response_headers)
            yield [read_line(head, json.dumps(fields)) for fields in at_hand]


def _path(batch_id: str) -> str:
    return f"/v1/batches/{path_segment(batch_id, 'batch_id')}"


def _read_result(head: ResponseHead, line: str) -> BatchResult:
    try:
        result = read_json(BatchResult, line)
    except ValidationError as error:
        refuse(head, line, BatchResult, error)
    result._take_head(head)  # pyright: ignore[reportPrivateUsage]
    return result


def read_requests(lines: Any) -> List[BatchRequestItem]:
    """The requests that `lines` hold, each known to be one.

    Raises:
        ValueError: one is none, or has the ``custom_id`` of another; the message names its line, counted from 1.
    """
    if isinstance(lines, (str, bytes, Mapping)):
        kind = type(cast("object", lines)).__name__
        raise TypeError(
            f"requests must be an iterable of requests or lines, not one {kind}; "
            "for a file, pass the file opened, or to a client's method its path"
        )
    requests: List[BatchRequestItem] = []
    line_of: Dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        request = _read_request(line, number)
        if request is None:
            continue
        if request.custom_id in line_of:
            raise ValueError(
                f"line {number}: custom_id {request.custom_id!r} is that of line {line_of[request.custom_id]} already"
            )
        line_of[request.custom_id] = number
        requests.append(request)
    if not requests:
        raise ValueError("there are no requests to upload")
    return requests


def _read_request(line: Any, number: int) -> Optional[BatchRequestItem]:
    if isinstance(line, BatchRequestItem):
        return line
    fields: Any = line
    try:
        if isinstance(line, (str, bytes)):
            text = line.decode("utf-8-sig") if isinstance(line, bytes) else line.lstrip("\ufeff")
            if not text.strip():
                return None
            fields = json.loads(text, parse_constant=refuse_constant)
        if not isinstance(fields, Mapping):
            raise ValueError(f"a request is a JSON object, not {type(fields).__name__}")
        return BatchRequestItem(**cast("Mapping[str, Any]", fields))
    except ValidationError as error:
        raise ValueError(f"line {number}: {first_problem(error)}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from None
