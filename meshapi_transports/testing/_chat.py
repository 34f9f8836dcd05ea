"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import EventStream, GatewayError, JSONAnswer
from ._delivery import ServerEvent
from ._models import DEFAULT_MODEL, Model, find_model, unknown_model
from ._replies import Params, Reply, compose_reply, count_tokens
from ._requests import gateway_state, read_params

CONTENT_PART = checks.tagged(
    "type",
    {
        "text": checks.record(required={"text": checks.text}),
        "image_url": checks.record(
            required={
                "image_url": checks.record(
                    required={"url": checks.text}, optional={"detail": checks.one_of("auto", "low", "high")}
                )
            }
        ),
        "input_audio": checks.record(
            required={
                "input_audio": checks.record(
                    required={
                        "format": checks.one_of("wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16", "pcm24")
                    },
                    optional={"data": checks.text, "uri": checks.text, "url": checks.text},
                )
            }
        ),
        "video_url": checks.record(
            required={"video_url": checks.record(required={"url": checks.text})}, optional={"fps": checks.text}
        ),
    },
)
TOOL_CALL = checks.record(
    required={
        "id": checks.text,
        "type": checks.one_of("function"),
        "function": checks.record(required={"name": checks.text, "arguments": checks.text}),
    },
    optional={"thought_signature": checks.text},
)
MESSAGE = checks.record(
    required={"role": checks.one_of("system", "user", "assistant", "tool")},
    optional={
        "content": checks.by_type(
            {str: checks.text, list: checks.array(CONTENT_PART)}, "a string or a list of content parts"
        ),
        "name": checks.text,
        "tool_call_id": checks.text,
        "tool_calls": checks.array(TOOL_CALL),
        "reasoning_details": checks.array(checks.mapping()),
    },
)
TOOL = checks.record(
    required={
        "type": checks.one_of("function"),
        "function": checks.record(
            required={"name": checks.text}, optional={"description": checks.text, "parameters": checks.mapping()}
        ),
    }
)
TOOL_CHOICE = checks.by_type(
    {
        str: checks.one_of("auto", "none", "required"),
        dict: checks.record(
            required={
                "type": checks.one_of("function"),
                "function": checks.record(required={"name": checks.text}),
            }
        ),
    },
    "a string or an object",
)
IMAGE_OPTIONS = checks.record(
    optional={
        "n": checks.integer(at_least=1, at_most=10),
        "size": checks.text,
        "quality": checks.text,
        "response_format": checks.one_of("url", "b64_json"),
    }
)
AUDIO_OPTIONS = checks.record(
    optional={"voice": checks.text, "format": checks.one_of("wav", "mp3", "flac", "opus", "pcm16")}
)
CHAT_COMPLETION_PARAMS = checks.record(
    required={"messages": checks.array(MESSAGE)},
    optional={
        "model": checks.text,
        "models": checks.array(checks.text),
        "stream": checks.boolean,
        "stream_options": checks.record(optional={"include_usage": checks.boolean}),
        "template": checks.text,
        "variables": checks.mapping(checks.text),
        "session_id": checks.text,
        "temperature": checks.number(),
        "max_tokens": checks.integer(),
        "top_p": checks.number(),
        "frequency_penalty": checks.number(),
        "presence_penalty": checks.number(),
        "stop": checks.by_type({str: checks.text, list: checks.array(checks.text)}, "a string or a list of strings"),
        "seed": checks.integer(),
        "tools": checks.array(TOOL),
        "tool_choice": TOOL_CHOICE,
        "response_format": checks.mapping(),
        "user": checks.text,
        "modality": checks.one_of("text", "image"),
        "image": IMAGE_OPTIONS,
        "async_mode": checks.boolean,
        "modalities": checks.array(checks.one_of("text", "audio")),
        "audio": AUDIO_OPTIONS,
        "timeout": checks.number(above=0),
        "cache": checks.boolean,
        "transforms": checks.array(checks.text),
        "reasoning_effort": checks.one_of("high", "medium", "low", "none"),
    },
)


async def create_completion(request: Request) -> Response:
    params = await read_params(request, CHAT_COMPLETION_PARAMS)
    _refuse_what_is_not_emulated(params)
    model, headers = _routed(params)
    reply = compose_reply(params)
    completion = _Completion(gateway_state(request).next_id("chatcmpl-"), int(time.time()), model["id"], params, reply)
    if params.get("stream"):
        return EventStream(completion.events(), headers)
    return JSONAnswer(completion.whole(), headers=headers)


def _refuse_what_is_not_emulated(params: Params) -> None:
    if "template" in params:
        raise GatewayError(404, f"there is no template {params['template']!r}")
    for name, asked in (
        ("modality 'image'", params.get("modality") == "image"),
        ("the modality 'audio'", "audio" in params.get("modalities", [])),
        ("async_mode", params.get("async_mode", False)),
    ):
        if asked:
            message = f"{name} is not emulated by the local gateway"
            raise GatewayError(422, message, code="unprocessable_entity")


def _routed(params: Params) -> tuple[Model, dict[str, str]]:
    """Return the first of the models asked for that exists, and the headers that tell of the way there."""
    asked: list[str] = [*([params["model"]] if "model" in params else []), *params.get("models", [])]
    for attempt, model_id in enumerate(asked or [DEFAULT_MODEL], start=1):
        model = find_model(model_id)
        if model is not None and model["supports_completions_api"]:
            return model, {
                "x-mesh-routing-attempts": str(attempt),
                "x-mesh-routing-fallback": str(attempt > 1).lower(),
                "x-mesh-served-provider": model["provider"],
            }
    if find_model(asked[0]) is None:
        raise unknown_model(asked[0])
    raise GatewayError(422, f"{asked[0]!r} does not do chat completions", code="unprocessable_entity")


class _Completion:
    """A reply in its two forms on the wire: whole, and as the events of a stream."""

    def __init__(self, completion_id: str, created: int, model_id: str, params: Params, reply: Reply) -> None:
        self._head = {"id": completion_id, "created": created, "model": model_id}
        self._params = params
        self._reply = reply

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._reply.text}
        if self._reply.tool_call is not None:
            call = self._reply.tool_call
            function = {"name": call.name, "arguments": call.arguments}
            message["content"] = None
            message["tool_calls"] = [{"id": self._tool_call_id(), "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": self._reply.finish_reason}
        usage = count_tokens(self._params, self._reply)
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def events(self) -> Iterator[ServerEvent]:
        for delta in self._deltas():
            yield ServerEvent(self._chunk([_chunk_choice(delta)]))
        yield ServerEvent(self._chunk([_chunk_choice({}, self._reply.finish_reason)]), closing=True)
        if self._wants_usage():
            usage = count_tokens(self._params, self._reply)
            yield ServerEvent({**self._chunk([]), "usage": usage}, closing=True)

    def _chunk(self, choices: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}

    def _deltas(self) -> Iterator[dict[str, Any]]:
        call = self._reply.tool_call
        if call is None:
            yield {"role": "assistant", "content": ""}
            yield from ({"content": word} for word in self._reply.words)
            return
        yield {"role": "assistant", "content": None}
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": self._tool_call_id(), "type": "function", "function": function}]}
        for fragment in _thirds(call.arguments):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]}

    def _tool_call_id(self) -> str:
        return str(self._head["id"]).replace("chatcmpl-", "call_")

    def _wants_usage(self) -> bool:
        # The gateway tells the usage by itself; stream_options is OpenAI's way of asking, which can also mean no.
        options: dict[str, Any] | None = self._params.get("stream_options")
        return options is None or bool(options.get("include_usage"))


def _chunk_choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _thirds(text: str) -> Iterator[str]:
    size = -(-len(text) // 3)
    return (text[start : start + size] for start in range(0, len(text), size))


routes = [Route("/v1/chat/completions", create_completion, methods=["POST"])]
