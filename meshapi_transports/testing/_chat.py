"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import EventStream, JSONAnswer, not_emulated
from ._checks import is_object
from ._delivery import ServerEvent
from ._models import DEFAULT_MODEL, routed
from ._replies import (
    GivenSchema,
    OfferedTool,
    Params,
    Prompt,
    Reply,
    compose_reply,
    count_tokens,
    only_tool_named,
)
from ._requests import gateway_state, read_json, validated
from ._state import GatewayState
from ._templates import applied_template

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


@dataclass(frozen=True)
class Completion:
    """A reply in its two forms on the wire: whole, and as the events of a stream."""

    head: Mapping[str, Any]
    params: Params
    prompt: Prompt
    reply: Reply
    routing_headers: Mapping[str, str]

    def usage(self) -> dict[str, int]:
        return count_tokens(self.prompt, self.reply)

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.reply.text}
        if self.reply.tool_call is not None:
            call = self.reply.tool_call
            function = {"name": call.name, "arguments": call.arguments}
            message["content"] = None
            message["tool_calls"] = [{"id": self._tool_call_id(), "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": self.reply.finish_reason}
        return {**self.head, "object": "chat.completion", "choices": [choice], "usage": self.usage()}

    def events(self) -> Iterator[ServerEvent]:
        for delta in self._deltas():
            yield ServerEvent(self._chunk([_chunk_choice(delta)]))
        yield ServerEvent(self._chunk([_chunk_choice({}, self.reply.finish_reason)]), closing=True)
        if self._wants_usage():
            yield ServerEvent({**self._chunk([]), "usage": self.usage()}, closing=True)

    def _chunk(self, choices: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk", "choices": choices}

    def _deltas(self) -> Iterator[dict[str, Any]]:
        call = self.reply.tool_call
        if call is None:
            yield {"role": "assistant", "content": ""}
            yield from ({"content": word} for word in self.reply.words)
            return
        yield {"role": "assistant", "content": None}
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": self._tool_call_id(), "type": "function", "function": function}]}
        for fragment in call.fragments:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]}

    def _tool_call_id(self) -> str:
        return str(self.head["id"]).replace("chatcmpl-", "call_")

    def _wants_usage(self) -> bool:
        # The gateway tells the usage by itself; stream_options is OpenAI's way of asking, which can also mean no.
        options: dict[str, Any] | None = self.params.get("stream_options")
        return options is None or bool(options.get("include_usage"))


def complete(gateway: GatewayState, body: Any) -> Completion:
    """Answer the body of a chat completion.

    Raises:
        GatewayError: it is refused.
    """
    params = validated(body, CHAT_COMPLETION_PARAMS, "body")
    defaults, messages = applied_template(gateway, params)
    whole_params = {**defaults, **params, "messages": [*messages, *params["messages"]]}
    params = validated(whole_params, CHAT_COMPLETION_PARAMS, "body")
    _refuse_what_is_not_emulated(params)
    asked: list[str] = [*([params["model"]] if "model" in params else []), *params.get("models", [])]
    model, routing_headers = routed(asked or [DEFAULT_MODEL], "supports_completions_api", "chat completions")
    prompt = _prompt(params)
    head = {"id": gateway.next_id("chatcmpl-"), "created": int(time.time()), "model": model["id"]}
    return Completion(head, params, prompt, compose_reply(prompt), routing_headers)


def _refuse_what_is_not_emulated(params: Params) -> None:
    for name, asked in (
        ("modality 'image'", params.get("modality") == "image"),
        ("the modality 'audio'", "audio" in params.get("modalities", [])),
        ("async_mode", params.get("async_mode", False)),
    ):
        if asked:
            raise not_emulated(name)


def _prompt(params: Params) -> Prompt:
    response_format: Mapping[str, Any] = params.get("response_format", {})
    stop: str | list[str] = params.get("stop", [])
    return Prompt(
        messages=params["messages"],
        tools=_tools(params),
        wants_json=response_format.get("type") == "json_object",
        schema=schema_of_format(response_format),
        stops=[stop] if isinstance(stop, str) else stop,
        limit=params.get("max_tokens"),
    )


def schema_of_format(response_format: Mapping[str, Any]) -> GivenSchema | None:
    if response_format.get("type") != "json_schema":
        return None
    wrapper = response_format.get("json_schema")
    schema = wrapper.get("schema") if is_object(wrapper) else None
    return GivenSchema(schema, ("body", "response_format", "json_schema", "schema"))


def _tools(params: Params) -> list[OfferedTool]:
    tools = [
        OfferedTool(
            tool["function"]["name"],
            GivenSchema(tool["function"].get("parameters") or {}, ("body", "tools", index, "function", "parameters")),
        )
        for index, tool in enumerate(params.get("tools", []))
    ]
    choice = params.get("tool_choice")
    if is_object(choice):
        return only_tool_named(choice["function"]["name"], tools, ("body", "tool_choice", "function", "name"))
    return [] if choice == "none" else tools


def _chunk_choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


async def create_completion(request: Request) -> Response:
    completion = complete(gateway_state(request), await read_json(request))
    if completion.params.get("stream"):
        return EventStream(completion.events(), completion.routing_headers)
    return JSONAnswer(completion.whole(), headers=completion.routing_headers)


routes = [Route("/v1/chat/completions", create_completion, methods=["POST"])]
