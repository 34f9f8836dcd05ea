"""What the gateway answers to a conversation: the same reply to the same request, always."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._answers import GatewayError
from ._checks import is_object, problem
from ._delivery import encode_json
from ._schema import Schema, SchemaError, example_object

Params = Mapping[str, Any]
Message = Mapping[str, Any]

_PART_MENTIONS = {"image_url": "[image]", "input_audio": "[audio]", "video_url": "[video]"}
_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; ``arguments`` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """A reply: words (each with the blanks before it) or a tool call, and why it ended."""

    words: tuple[str, ...]
    finish_reason: str
    tool_call: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)


def compose_reply(params: Params) -> Reply:
    """Return the reply to the parameters of a chat completion.

    Raises:
        GatewayError: 422, a schema among the parameters is of no use, or ``tool_choice`` names an unknown tool.
    """
    tool = _chosen_tool(params)
    if tool is not None:
        schema: Schema = tool["function"].get("parameters") or {}
        location = ("body", "tools", params["tools"].index(tool), "function", "parameters")
        call = ToolCall(tool["function"]["name"], encode_json(_example(schema, location)))
        return Reply((), "tool_calls", call)
    return _limited(_json_text(params) or _echo(params["messages"]), params)


def count_tokens(params: Params, reply: Reply) -> dict[str, int]:
    """Return the usage of a call: a word is a token."""
    prompt = sum(len(_content_text(message).split()) for message in params["messages"])
    completion = len(_words(reply.tool_call.arguments)) if reply.tool_call else len(reply.words)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chosen_tool(params: Params) -> dict[str, Any] | None:
    tools: list[dict[str, Any]] = params.get("tools") or []
    choice = params.get("tool_choice")
    if is_object(choice):
        named = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == named]
        if not tools:
            details = [problem(("body", "tool_choice", "function", "name"), f"{named!r} is not offered", "value_error")]
            raise GatewayError(422, f"tool_choice names {named!r}, which is not among the tools", details=details)
    if not tools or choice == "none" or _tool_results(params["messages"]):
        return None
    return tools[0]


def _tool_results(messages: list[Message]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, _content_text(message))
    return results


def _echo(messages: list[Message]) -> str:
    results = _tool_results(messages)
    if results:
        return "The tool answered: " + "; ".join(results)
    said = next((_content_text(message) for message in reversed(messages) if message["role"] == "user"), "")
    return f"You said: {said}" if said else "You said nothing."


def _json_text(params: Params) -> str | None:
    response_format: Mapping[str, Any] = params.get("response_format", {})
    kind = response_format.get("type")
    if kind == "json_object":
        return encode_json({"reply": _echo(params["messages"])})
    if kind == "json_schema":
        wrapper = response_format.get("json_schema")
        schema = wrapper.get("schema") if is_object(wrapper) else None
        return encode_json(_example(schema, ("body", "response_format", "json_schema", "schema")))
    return None


def _example(schema: Any, location: tuple[Any, ...]) -> Any:
    try:
        if not is_object(schema):
            raise SchemaError("a JSON schema is required here")
        return example_object(schema)
    except SchemaError as error:
        details = [problem(location, str(error), "value_error")]
        raise GatewayError(422, f"{'.'.join(map(str, location))}: {error}", details=details) from error


def _content_text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] if part["type"] == "text" else _PART_MENTIONS[part["type"]] for part in content)


def _limited(text: str, params: Params) -> Reply:
    for stop in _stops(params):
        text = text.partition(stop)[0]
    words = _words(text)
    limit = params.get("max_tokens", len(words))
    if limit < len(words):
        return Reply(words[: max(limit, 0)], "length")
    return Reply(words, "stop")


def _stops(params: Params) -> list[str]:
    stop = params.get("stop", [])
    # An empty stop would stand before the first word.
    return [each for each in ([stop] if isinstance(stop, str) else stop) if each]


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text))
