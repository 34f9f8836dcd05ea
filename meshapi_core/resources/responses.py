"""``client.responses``: /v1/responses, whole, streamed, listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

from pydantic import ValidationError

from .._json import as_object
from ..actions import ResponseHead
from ..call import Call, ItemsCall, StreamCall
from ..config import RequestOptions
from ..exchange import Assembled
from ..models.responses import (
    ResponsesListItem,
    ResponsesListResponse,
    ResponsesParams,
    ResponsesResponse,
    ResponsesStreamEvent,
)
from ..steps import ItemsOfSteps
from ._base import Resource, check_params, pages_after, path_segment, read_frame, read_json, refuse, refuse_to_stream
from ._pieces import add_text, joined

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Responses"]

_FINAL = frozenset({"response.completed", "response.failed", "response.incomplete"})


class Responses(Resource):
    """Asks a model by the Responses API, and remembers what came of it."""

    def create(self, params: ResponsesParams, **options: Unpack[RequestOptions]) -> Call[ResponsesResponse]:
        """Ask for a response, and get it as a whole.

        Sends POST /v1/responses, always with ``"stream": false`` (gateway API reference, "Responses").  Retried as the
        `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: the input, the model, and how to answer; unknown fields are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The response; ``output_text`` is what the model wrote, ``output`` all that it did.  With
            ``background=True`` its `status` says how far it is: ask again with `get`.

        Raises:
            ValueError: the params ask for a stream, or an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, ResponsesParams, "create")
        refuse_to_stream(params.stream)
        return self._post("/v1/responses", params, ResponsesResponse, options, stream=False)

    def stream(
        self, params: ResponsesParams, **options: Unpack[RequestOptions]
    ) -> StreamCall[ResponsesStreamEvent, ResponsesResponse]:
        """Ask for a response, and get it event by event as the model writes it.

        Sends POST /v1/responses, always with ``"stream": true`` (gateway API reference, "Responses").  Nothing is sent
        before the first event is asked for.  Not retried by default; `max_retries` is consent to try again as long as
        no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: the input, the model, and how to answer; unknown fields are refused when it is made.
            timeout: seconds to wait for the connection and for the next *event*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The stream of events, told apart by their ``type``; its ``text`` is what the model writes alone, its
            ``collect()`` the whole response.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `create`, or it broke off (`StreamInterruptedError`); what
                had come is in the error's `partial`.
        """
        check_params(params, ResponsesParams, "stream")
        return self._stream(
            "/v1/responses",
            params,
            read_event,
            assemble_events,
            options,
            answer=ResponsesResponse,
            text_of=text_of_event,
        )

    def list(
        self, *, after: Optional[str] = None, limit: Optional[int] = None, **options: Unpack[RequestOptions]
    ) -> Call[ResponsesListResponse]:
        """List the responses that the gateway remembers, one page of them, newest first.

        Sends GET /v1/responses (gateway API reference, "Responses").  To go through all pages, use `iterate`.

        Args:
            after: the id of the last response of the page before (its ``last_id``); the first page if None.
            limit: how many to a page, at most; as the gateway likes if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The page; ``data`` is its items, ``has_more`` tells whether there is another.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        return self._get("/v1/responses", ResponsesListResponse, options, {"after": after, "limit": limit})

    def iterate(
        self, *, page_size: Optional[int] = None, **options: Unpack[RequestOptions]
    ) -> ItemsCall[ResponsesListItem]:
        """Go through all responses that the gateway remembers, newest first, page after page.

        Sends GET /v1/responses once for each page, when its first item is asked for; each is retried by itself.

        Args:
            page_size: how many to ask for at a time; as the gateway likes if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The responses, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all items that had come.
        """
        return ItemsOfSteps(
            pages_after(lambda after: self.list(after=after, limit=page_size, **options)),
            self._timeout(options),
            self._redact,
        )

    def get(self, response_id: str, **options: Unpack[RequestOptions]) -> Call[ResponsesResponse]:
        """Get a response that was made before, such as one in the background.

        Sends GET /v1/responses/{id} (gateway API reference, "Responses").

        Args:
            response_id: the response's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The response; its `status` says whether it is finished.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such response (`NotFoundError`), or it could not be had, as for `create`.
        """
        return self._get(f"/v1/responses/{path_segment(response_id, 'response_id')}", ResponsesResponse, options)


def read_event(head: ResponseHead, event: str, data: bytes) -> ResponsesStreamEvent:
    """The event that a Server-Sent Event holds."""
    try:
        found = read_json(ResponsesStreamEvent, data)
    except ValidationError as error:
        read_frame(head, event, data)
        refuse(head, data, ResponsesStreamEvent, error)
    if event == "error" or found.type == "error" or getattr(found, "error", None):
        read_frame(head, "error" if found.type == "error" else event, data)
    if found.type is None and event != "message":
        # Some servers say it once.
        found.type = event
    return found


def text_of_event(event: ResponsesStreamEvent) -> str:
    """The text that an event adds to what the model writes."""
    return event.delta if event.type == "response.output_text.delta" and isinstance(event.delta, str) else ""


def assemble_events(events: Sequence[ResponsesStreamEvent]) -> Assembled:
    """Put the events of a stream together to the response that they amount to, as far as they go.

    The stream could properly end here if its last word has come: completed, failed or incomplete.
    """
    response: Dict[str, Any] = {}
    output = _Output()
    is_complete = False
    for event in events:
        if event.response is not None:
            response.update((name, value) for name, value in event.response.items() if value is not None)
        if event.usage is not None:
            response["usage"] = event.usage.model_dump(exclude_unset=True)
        is_complete = is_complete or event.type in _FINAL
        output.add(event)
    if not response.get("output"):
        response["output"] = output.items()
    return Assembled(response, is_complete)


class _Output:
    """The output items of a streamed response, as far as they have come."""

    def __init__(self) -> None:
        # By the index that the server gave each, else by its id.
        self._items: Dict[Any, Dict[str, Any]] = {}
        # The content of the items that texts are added to, and in it the first part of each type.
        self._parts: Dict[Any, List[Dict[str, Any]]] = {}
        self._first_parts: Dict[Tuple[Any, str], Dict[str, Any]] = {}

    def items(self) -> List[Dict[str, Any]]:
        """The items, in the order of their indexes where they have any."""
        order = sorted(self._items, key=lambda key: key if isinstance(key, int) else len(self._items))
        return [joined(self._items[key]) for key in order]

    def add(self, event: ResponsesStreamEvent) -> None:
        """Let `event` do to the items what it says."""
        whole = as_object(getattr(event, "item", None))
        if whole is not None:
            # Once when it begins, with next to nothing in it, and once more when it is done.
            key = self._key(event, whole.get("id"))
            self._items[key] = {**whole}
            self._parts.pop(key, None)
            self._first_parts.clear()
            return
        key = self._key(event, getattr(event, "item_id", None))
        delta = event.delta
        if not isinstance(delta, str):
            return
        if event.type == "response.output_text.delta":
            self._add_text(key, getattr(event, "content_index", None), "output_text", "text", delta)
        elif event.type == "response.refusal.delta":
            self._add_text(key, getattr(event, "content_index", None), "refusal", "refusal", delta)
        elif event.type == "response.function_call_arguments.delta":
            item = self._items.setdefault(key, {"type": "function_call"})
            add_text(item, "arguments", delta)

    def _key(self, event: ResponsesStreamEvent, item_id: Any) -> Any:
        index = getattr(event, "output_index", None)
        if isinstance(index, int):
            return index
        return item_id if isinstance(item_id, str) else 0

    def _add_text(self, key: Any, content_index: Any, part_type: str, field: str, delta: str) -> None:
        parts = self._parts_of(key)
        if isinstance(content_index, int) and 0 <= content_index < len(parts):
            part = parts[content_index]
        elif (key, part_type) in self._first_parts:
            part = self._first_parts[key, part_type]
        else:
            part = self._first_parts[key, part_type] = _part_of_type(part_type, parts)
        add_text(part, field, delta)

    def _parts_of(self, key: Any) -> List[Dict[str, Any]]:
        if key not in self._parts:
            item = self._items.setdefault(key, {"type": "message", "role": "assistant"})
            content = item.get("content")
            given = cast("Sequence[Any]", content) if isinstance(content, list) else ()
            # Copies: what the event holds is its own.
            item["content"] = self._parts[key] = [{**part} for part in map(as_object, given) if part is not None]
        return self._parts[key]


def _part_of_type(part_type: str, parts: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The first of `parts` that is of this type; a new one, if there is none."""
    for part in parts:
        if part.get("type") == part_type:
            return part
    parts.append({"type": part_type})
    return parts[-1]
