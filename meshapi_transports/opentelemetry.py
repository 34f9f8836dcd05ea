"""Calls as OpenTelemetry spans and metrics: `OpenTelemetryObserver`, for ``observers=[...]`` of any client.

Names are those of OpenTelemetry's semantic conventions for generative AI, as of version 1.41; what these have no name
for is called ``meshapi.*``.
"""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import suppress
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from meshapi_core import (
    AnyCall,
    CallEvent,
    CallFailed,
    CallSucceeded,
    MeshAPIError,
    RequestStarted,
    ResponseStarted,
    RetryScheduled,
    StreamStarted,
    __version__,
)

from ._public import missing

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise missing("opentelemetry") from error

__all__ = ["OpenTelemetryObserver"]

_LOGGER = logging.getLogger("meshapi")
_SCOPE = "meshapi_transports"
_SCHEMA = "https://opentelemetry.io/schemas/1.41.0"

# What a POST to these asks for.  Requests to anything else ask no model, and are told as plain HTTP.
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/chat/compare": "compare",
    "/v1/embeddings": "embeddings",
    "/v1/images/generations": "generate_content",
    "/v1/images/edits": "generate_content",
}

_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4**power for power in range(14)]

_Attribute = Union[str, bool, int, float, List[str]]
_Attributes = Dict[str, _Attribute]

# Of the attributes, those that a metric is broken down by.
_DIMENSIONS = frozenset(
    {
        "error.type",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "meshapi.abandoned",
        "server.address",
        "server.port",
    }
)

_NUMBERS = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
_INTEGERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
_TEXTS = {"model": "gen_ai.request.model", "session_id": "gen_ai.conversation.id"}
_LISTS = {
    "models": "meshapi.request.models",
    "stop": "gen_ai.request.stop_sequences",
    "encoding_format": "gen_ai.request.encoding_formats",
}
_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}


class OpenTelemetryObserver:
    """Makes a span of each request to the gateway, its retries included, and measures how long it took.

    One observer serves any number of clients, threads and loops.  A span's parent is the span that is current when the
    request is first sent.  It never raises: what goes wrong in it is logged.

    Args:
        tracer_provider: whose spans; OpenTelemetry's global provider if None.
        meter_provider: whose metrics; OpenTelemetry's global provider if None.
        capture_content: whether spans hold what was said: prompts, answers, tools, and the messages of errors, which
            may quote these.
    """

    def __init__(
        self,
        *,
        tracer_provider: Optional[trace.TracerProvider] = None,
        meter_provider: Optional[metrics.MeterProvider] = None,
        capture_content: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, _SCHEMA)
        self._instruments = _Instruments(metrics.get_meter(_SCOPE, __version__, meter_provider, _SCHEMA))
        self._captures_content = capture_content
        # Who makes a call and forgets it tells nobody: what is known of it goes with it.
        self._spans: WeakKeyDictionary[AnyCall, _CallSpan] = WeakKeyDictionary()

    def __call__(self, event: CallEvent) -> None:
        """Take note of `event`."""
        try:
            self._take(event)
        except Exception:
            _LOGGER.exception("a call could not be told to OpenTelemetry; the call goes on")

    def _take(self, event: CallEvent) -> None:
        span = self._spans.get(event.call)
        if isinstance(event, RequestStarted):
            if span is None:
                self._spans[event.call] = _CallSpan(self._tracer, self._instruments, event, self._captures_content)
            else:
                span.is_resent(event.attempt)
        elif span is None:
            # The call began before anybody wanted to know.
            pass
        elif isinstance(event, ResponseStarted):
            span.is_answered(event)
        elif isinstance(event, StreamStarted):
            span.has_first_event()
        elif isinstance(event, RetryScheduled):
            span.is_retried(event)
        else:
            del self._spans[event.call]
            if isinstance(event, CallSucceeded):
                span.succeed(event.call)
            elif isinstance(event, CallFailed):
                span.fail(event.error)
            else:
                span.end({"meshapi.abandoned": True})


class _Instruments:
    """What is measured."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long an operation took, its retries included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.time_to_first_event = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "How long it took until the first event of a stream had come, retries included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "How many tokens an operation used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )


class _CallSpan:
    """The span of one call, and what it will say in the end; does not hold the call, by which it is kept."""

    def __init__(
        self, tracer: trace.Tracer, instruments: _Instruments, event: RequestStarted, captures_content: bool
    ) -> None:
        self._started = time.perf_counter()
        self._instruments = instruments
        self._captures_content = captures_content
        self._time_to_first_event: Optional[float] = None
        self._about_response: _Attributes = {}
        parts = urlsplit(event.url)
        attributes: _Attributes = {
            "server.address": parts.hostname or "",
            "server.port": parts.port or {"https": 443}.get(parts.scheme, 80),
        }
        self._operation = _operation_of(event)
        params: Dict[str, Any] = {}
        if self._operation is None:
            path = re.search(r"/v1/[a-z]+", parts.path)
            name = f"{event.method} {path[0]}" if path else event.method
            attributes.update({"http.request.method": event.method, "url.full": event.url})
        else:
            params = event.params
            attributes["gen_ai.operation.name"] = self._operation
            attributes["gen_ai.provider.name"] = "meshapi"
            attributes.update(_about_request(params, self._operation))
            name = " ".join([self._operation, str(attributes.get("gen_ai.request.model", ""))]).strip()
        self._dimensions = _dimensions(attributes)
        self._span = tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        if captures_content and self._span.is_recording():
            with suppress(Exception):
                self._span.set_attributes(_content_of_request(params))

    def is_resent(self, attempt: int) -> None:
        """The request is sent once more."""
        self._span.set_attribute("http.request.resend_count", attempt)
        # It was another answer's.
        self._about_response.clear()

    def is_answered(self, event: ResponseStarted) -> None:
        """The head of an answer has come."""
        about: Dict[str, Optional[_Attribute]] = {
            "http.response.status_code": event.response.status,
            "meshapi.request_id": event.response.request_id or None,
            "meshapi.routing.attempts": event.routing_attempts,
            "meshapi.routing.fallback": event.is_fallback or None,
            "meshapi.routing.served_provider": event.served_provider,
        }
        self._about_response = {name: value for name, value in about.items() if value is not None}

    def has_first_event(self) -> None:
        """The first event of a stream has come."""
        self._time_to_first_event = time.perf_counter() - self._started

    def is_retried(self, event: RetryScheduled) -> None:
        """The request has failed, and will be sent once more."""
        attributes: _Attributes = {"meshapi.retry.delay": event.delay, **_about_error(event.error)}
        if event.error.status:
            attributes["http.response.status_code"] = event.error.status
        self._span.add_event("meshapi.retry", attributes)

    def succeed(self, call: AnyCall) -> None:
        """End, with what came of the call."""
        answer: Any = None
        if self._operation is not None:
            # A stream's is put together of all its events once more, and they may not make up an answer.
            with suppress(MeshAPIError):
                answer = getattr(call, "result", None)
        self.end({}, answer)

    def fail(self, error: MeshAPIError) -> None:
        """End, with what went wrong, and what had come before it did."""
        code = f"{error.status} {error.error_code}" if error.status else error.error_code
        # The message of an error may quote the answer, and an answer may quote the prompt.
        self._span.set_status(trace.StatusCode.ERROR, str(error) if self._captures_content else code)
        self.end(_about_error(error), error.partial if self._operation is not None else None)

    def end(self, attributes: _Attributes, answer: Any = None) -> None:
        """End the span, whatever happens, and measure."""
        try:
            attributes = {**self._about_response, **attributes}
            usage = _Usage(answer)
            if answer is not None:
                attributes.update(_about_answer(answer))
                attributes.update(usage.attributes())
            if self._time_to_first_event is not None:
                attributes["gen_ai.response.time_to_first_chunk"] = self._time_to_first_event
            self._span.set_attributes(attributes)
            if self._captures_content and answer is not None and self._span.is_recording():
                self._span.set_attributes(_content_of_answer(answer))
            if self._operation is not None:
                self._measure({**self._dimensions, **_dimensions(attributes)}, usage)
        finally:
            self._span.end()

    def _measure(self, dimensions: _Attributes, usage: _Usage) -> None:
        # With the span at hand, a backend can lead from a number to an example of it.
        context = trace.set_span_in_context(self._span)
        self._instruments.duration.record(time.perf_counter() - self._started, dimensions, context)
        if self._time_to_first_event is not None:
            self._instruments.time_to_first_event.record(self._time_to_first_event, dimensions, context)
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None:
                self._instruments.tokens.record(count, {**dimensions, "gen_ai.token.type": kind}, context)


def _operation_of(event: RequestStarted) -> Optional[str]:
    if event.method != "POST":
        return None
    return next((name for path, name in _OPERATIONS.items() if event.url.endswith(path)), None)


def _dimensions(attributes: _Attributes) -> _Attributes:
    return {name: value for name, value in attributes.items() if name in _DIMENSIONS}


# What requests, answers and errors are told by.  All of it may be anything: callers can send fields of their own, and
# gateways can answer what they like.


def _about_request(params: Dict[str, Any], operation: str) -> _Attributes:
    attributes: _Attributes = {}
    for field in _NUMBERS:
        value = params.get(field)
        if isinstance(value, (int, float)):
            attributes[f"gen_ai.request.{field}"] = float(value)
    for field, name in _INTEGERS.items():
        value = params.get(field)
        if isinstance(value, int):
            attributes[name] = value
    for field, name in _TEXTS.items():
        value = params.get(field)
        if isinstance(value, str):
            attributes[name] = value
    for field, name in _LISTS.items():
        value = params.get(field)
        texts = [text for text in _list(value) or [value] if isinstance(text, str)]
        if texts:
            attributes[name] = texts
    if params.get("stream") is True:
        attributes["gen_ai.request.stream"] = True
    count = params.get("n")
    if isinstance(count, int) and count != 1:
        attributes["gen_ai.request.choice.count"] = count
    output_type = _output_type(params, operation)
    if output_type is not None:
        attributes["gen_ai.output.type"] = output_type
    return attributes


def _output_type(params: Dict[str, Any], operation: str) -> Optional[str]:
    if operation == "generate_content" or params.get("modality") == "image":
        return "image"
    if "audio" in _list(params.get("modalities")):
        return "speech"
    wanted = _dict(params.get("response_format")) or _dict(_dict(params.get("text")).get("format"))
    return _OUTPUT_TYPES.get(str(wanted.get("type")))


def _about_error(error: MeshAPIError) -> _Attributes:
    attributes: _Attributes = {"error.type": error.error_code or type(error).__name__}
    if error.request_id:
        attributes["meshapi.request_id"] = error.request_id
    return attributes


def _about_answer(answer: Any) -> _Attributes:
    attributes: _Attributes = {}
    identifier = getattr(answer, "id", None) or getattr(answer, "comparison_id", None)
    if isinstance(identifier, str):
        attributes["gen_ai.response.id"] = identifier
    model = getattr(answer, "model", None)
    if isinstance(model, str):
        attributes["gen_ai.response.model"] = model
    reasons = [reason for reason in _finish_reasons(answer) if isinstance(reason, str)]
    if reasons:
        attributes["gen_ai.response.finish_reasons"] = reasons
    return attributes


def _finish_reasons(answer: Any) -> List[Any]:
    choices = _list(getattr(answer, "choices", None))
    if choices:
        return [getattr(choice, "finish_reason", None) for choice in choices]
    status = getattr(answer, "status", None)
    if status == "completed":
        return ["stop"]
    if status == "incomplete":
        reason = _dict(getattr(answer, "incomplete_details", None)).get("reason")
        return ["length" if reason == "max_output_tokens" else reason]
    # Any other but this may still go on.
    return [status] if status == "failed" else []


class _Usage:
    """The tokens that an answer says were used; those of a comparison are those of all its models."""

    def __init__(self, answer: Any) -> None:
        parts = [answer, *_list(getattr(answer, "results", None))]
        usages = [getattr(part, name, None) for part in parts for name in ("usage", "comparison_usage")]
        self._usages = [usage for usage in usages if usage is not None]
        self.input_tokens = self._total("prompt_tokens", "input_tokens")
        self.output_tokens = self._total("completion_tokens", "output_tokens")

    def attributes(self) -> _Attributes:
        counts = {
            "gen_ai.usage.input_tokens": self.input_tokens,
            "gen_ai.usage.output_tokens": self.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": self._detail("cached_tokens", "prompt", "input"),
            "gen_ai.usage.reasoning.output_tokens": self._detail("reasoning_tokens", "completion", "output"),
        }
        return {name: count for name, count in counts.items() if count is not None}

    def _total(self, *names: str) -> Optional[int]:
        # The same count may stand under both of its names.
        counts = [_first_int([getattr(usage, name, None) for name in names]) for usage in self._usages]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def _detail(self, field: str, *kinds: str) -> Optional[int]:
        details = [getattr(usage, f"{kind}_tokens_details", None) for usage in self._usages for kind in kinds]
        return _first_int([_dict(each).get(field) for each in details])


def _first_int(values: List[Any]) -> Optional[int]:
    return next((value for value in values if isinstance(value, int)), None)


# What was said, only where it is asked for: as JSON, since attributes hold no objects.


def _content_of_request(params: Dict[str, Any]) -> _Attributes:
    attributes: _Attributes = {}
    said = params.get("messages", params.get("input", params.get("prompt")))
    # A prompt alone is what the user says.
    messages = [_message(item) for item in ([{"content": said}] if isinstance(said, str) else _list(said))]
    if messages:
        attributes["gen_ai.input.messages"] = _json(messages)
    if isinstance(params.get("instructions"), str):
        attributes["gen_ai.system_instructions"] = _json([{"type": "text", "content": params["instructions"]}])
    if params.get("tools"):
        attributes["gen_ai.tool.definitions"] = _json(params["tools"])
    return attributes


def _content_of_answer(answer: Any) -> _Attributes:
    messages = list(_output_messages(answer))
    return {"gen_ai.output.messages": _json(messages)} if messages else {}


def _output_messages(answer: Any) -> Iterator[Dict[str, Any]]:
    """One message for each answer that there is to choose from."""
    for choice in _list(getattr(answer, "choices", None)):
        if choice.message is not None:
            message = choice.message.model_dump(exclude_none=True)
            yield {**_message(message, "assistant"), "finish_reason": choice.finish_reason or ""}
    parts = [part for item in _list(getattr(answer, "output", None)) for part in _message(item)["parts"]]
    if parts:
        reasons = _finish_reasons(answer)
        yield {"role": "assistant", "parts": parts, "finish_reason": reasons[0] if reasons else ""}
    for result in _list(getattr(answer, "results", None)):
        if result.content is not None:
            yield {
                "role": "assistant",
                "parts": [{"type": "text", "content": result.content}],
                "finish_reason": "error" if result.error else "stop",
            }
    for item in _list(getattr(answer, "data", None)):
        # The bytes of images are too many for an attribute.
        url = getattr(item, "url", None)
        if isinstance(url, str) and not url.startswith("data:"):
            part = {"type": "uri", "modality": "image", "uri": url}
            yield {"role": "assistant", "parts": [part], "finish_reason": "stop"}


def _message(value: Any, role: str = "user") -> Dict[str, Any]:
    """A message of a chat, or an item of a response, in the conventions' terms."""
    item = _dict(value)
    kind = item.get("type")
    if kind == "function_call":
        return {"role": "assistant", "parts": [_tool_call(item.get("call_id"), item)]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [_tool_response(item.get("call_id"), item.get("output"))]}
    role = str(item.get("role", role))
    if role == "tool":
        return {"role": role, "parts": [_tool_response(item.get("tool_call_id"), item.get("content"))]}
    content = item.get("content")
    parts = [_part(each) for each in ([content] if isinstance(content, str) else _list(content))]
    for call in _list(item.get("tool_calls")):
        parts.append(_tool_call(_dict(call).get("id"), _dict(_dict(call).get("function"))))
    if not parts and kind not in (None, "message"):
        parts = [_part(item)]
    return {"role": role, "parts": parts}


def _part(value: Any) -> Dict[str, Any]:
    if isinstance(value, str):
        return {"type": "text", "content": value}
    part = _dict(value)
    if part.get("type") in ("text", "input_text", "output_text"):
        return {"type": "text", "content": part.get("text")}
    # Any other part stays what it is, under its own type.
    return {"type": "unknown", **part}


def _tool_call(identifier: Any, function: Dict[str, Any]) -> Dict[str, Any]:
    arguments = function.get("arguments")
    with suppress(ValueError, TypeError):
        # Text, which the model may have got wrong.
        arguments = json.loads(cast("str", arguments))
    return {"type": "tool_call", "id": identifier, "name": function.get("name"), "arguments": arguments}


def _tool_response(identifier: Any, response: Any) -> Dict[str, Any]:
    return {"type": "tool_call_response", "id": identifier, "response": response}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _dict(value: Any) -> Dict[str, Any]:
    return cast("Dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()
