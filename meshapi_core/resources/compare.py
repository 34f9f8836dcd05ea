"""``client.compare``: POST /v1/chat/compare, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, Sequence

from pydantic import ValidationError

from .._json import json_object, without_lone_surrogates
from ..actions import ResponseHead
from ..call import Call, StreamCall
from ..config import RequestOptions
from ..errors import APIStatusError
from ..exchange import Assembled
from ..models.compare import CompareParams, CompareResponse, CompareStreamEvent
from ._base import Resource, check_params, read_frame, refuse, refuse_to_stream, text_of
from ._pieces import add_text, joined

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Compare"]

_FIELDS_OF_ALL = (
    "comparison_id",
    "created",
    "models",
    "results",
    "comparison",
    "comparison_model",
    "comparison_usage",
    "comparison_fallback_used",
    "total_latency_ms",
    "partial",
    "skip_comparison",
)
_FIELDS_OF_ONE = ("latency_ms", "error", "error_code", "usage", "finish_reason", "request_id", "response_body")


class Compare(Resource):
    """Asks several models the same, and has their answers compared."""

    def create(self, params: CompareParams, **options: Unpack[RequestOptions]) -> Call[CompareResponse]:
        """Ask several models, and get all their answers at once.

        Sends POST /v1/chat/compare, always with ``"stream": false`` (gateway API reference, "Compare").  Retried as the
        `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: the models and the conversation; unknown fields are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The answers, one of ``results`` for each model, in which a model that failed has its `error`; and their
            ``comparison``.

        Raises:
            ValueError: the params ask for a stream, or an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, CompareParams, "create")
        refuse_to_stream(params.stream)
        return self._post("/v1/chat/compare", params, CompareResponse, options, stream=False)

    def stream(
        self, params: CompareParams, **options: Unpack[RequestOptions]
    ) -> StreamCall[CompareStreamEvent, CompareResponse]:
        """Ask several models, and get their answers piece by piece as they write, each at its own pace.

        Sends POST /v1/chat/compare, always with ``"stream": true`` (gateway API reference, "Compare").  Nothing is sent
        before the first event is asked for.  Not retried by default; `max_retries` is consent to try again as long as
        no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: the models and the conversation; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *event*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The stream of events: ``event`` is the name of each, ``model`` says whose `delta` it brings, ``data`` is
            all that it holds.  Its ``collect()`` gives the whole comparison.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `create`, or it broke off (`StreamInterruptedError`); what
                had come is in the error's `partial`.
        """
        check_params(params, CompareParams, "stream")
        return self._stream("/v1/chat/compare", params, read_event, assemble_events, options, answer=CompareResponse)


def read_event(head: ResponseHead, event: str, data: bytes) -> CompareStreamEvent:
    """The event that a Server-Sent Event holds, with its name and its JSON object beside the usual fields."""
    mended = without_lone_surrogates(text_of(data))
    frame = _read_frame(head, event, data if mended is None else mended.encode("utf-8"))
    name = frame.get("event") if event == "message" else event
    try:
        return CompareStreamEvent.model_validate({**frame, "event": name, "data": frame})
    except ValidationError as error:
        refuse(head, data, CompareStreamEvent, error)


def _read_frame(head: ResponseHead, event: str, data: bytes) -> Dict[str, Any]:
    """The event's JSON object; one that tells of a single model's error is none of the stream's."""
    try:
        return read_frame(head, event, data)
    except APIStatusError:
        frame = json_object(text_of(data))
        if event == "error" or frame is None or "model" not in frame:
            raise
        return frame


def assemble_events(events: Sequence[CompareStreamEvent]) -> Assembled:
    """Put the events of a stream together to the comparison that they amount to, as far as they go.

    The stream could properly end here if the event has come that tells of all models together.
    """
    comparison: Dict[str, Any] = {"object": "compare.completion"}
    results: Dict[str, Dict[str, Any]] = {}
    verdict: Dict[str, Any] = {}
    for event in events:
        if event.model is None or (event.event or "").startswith("comparison"):
            if event.delta:
                add_text(verdict, "comparison", event.delta)
            _add(comparison, event, _FIELDS_OF_ALL)
        else:
            result = results.setdefault(event.model, {"model": event.model})
            if event.delta:
                add_text(result, "content", event.delta)
            _add(result, event, _FIELDS_OF_ONE)
            if not isinstance(result.get("error"), (str, type(None))):
                # Whatever the provider said; in a whole answer it is a text.
                result["error"] = json.dumps(result["error"], ensure_ascii=False)
    comparison = {**verdict, **comparison}
    comparison.setdefault("results", list(results.values()))
    is_complete = comparison.get("total_latency_ms") is not None or any(event.event == "done" for event in events)
    return Assembled(joined(comparison), is_complete)


def _add(so_far: Dict[str, Any], event: CompareStreamEvent, names: Sequence[str]) -> None:
    fields = event.data or {}
    so_far.update((name, fields[name]) for name in names if fields.get(name) is not None)
