"""What the gateway answers to a conversation: the same reply to the same request, always."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._answers import invalid_field
from ._checks import Location, is_object
from ._delivery import encode_json
from ._schema import SchemaError, example_object

Params = Mapping[str, Any]
Message = Mapping[str, Any]

_PART_MENTIONS = {"image_url": "[image]", "input_audio": "[audio]", "video_url": "[video]", "file": "[file]"}
_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True)
class GivenSchema:
    """A JSON schema, and where in the request it stands."""

    schema: Any
    location: Location

    def example(self) -> Any:
        """Return a value of the schema.

        Raises:
            GatewayError: 422, the schema is of no use.
        """
        try:
            if not is_object(self.schema):
                raise SchemaError("a JSON schema is required here")
            return example_object(self.schema)
        except SchemaError as error:
            raise invalid_field(self.location, str(error)) from error


@dataclass(frozen=True)
class OfferedTool:
    """A function that the model may call."""

    name: str
    parameters: GivenSchema


@dataclass(frozen=True)
class Prompt:
    """What a model is given to reply to, whichever endpoint it came by.

    ``messages`` are in the form of chat completions. ``wants_json`` asks for JSON, ``schema`` for JSON of that schema;
    ``limit`` is the largest number of tokens.
    """

    messages: Sequence[Message]
    tools: Sequence[OfferedTool] = ()
    wants_json: bool = False
    schema: GivenSchema | None = None
    stops: Sequence[str] = ()
    limit: int | None = None


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; ``arguments`` is JSON text."""

    name: str
    arguments: str

    @property
    def fragments(self) -> Iterator[str]:
        """The arguments in three pieces, as a stream brings them."""
        size = -(-len(self.arguments) // 3)
        return (self.arguments[start : start + size] for start in range(0, len(self.arguments), size))


@dataclass(frozen=True)
class Reply:
    """A reply: words (each with the blanks before it) or a tool call, and why it ended."""

    words: tuple[str, ...]
    finish_reason: str
    tool_call: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)


def compose_reply(prompt: Prompt) -> Reply:
    """Return the reply to a prompt.

    Raises:
        GatewayError: 422, a schema of the prompt is of no use.
    """
    if prompt.tools and not _tool_results(prompt.messages):
        tool = prompt.tools[0]
        return Reply((), "tool_calls", ToolCall(tool.name, encode_json(tool.parameters.example())))
    return _limited(_json_text(prompt) or _echo(prompt.messages), prompt)


def count_tokens(prompt: Prompt, reply: Reply) -> dict[str, int]:
    """Return the usage of a call: a word is a token."""
    asked = sum(len(content_text(message).split()) for message in prompt.messages)
    replied = len(split_words(reply.tool_call.arguments)) if reply.tool_call else len(reply.words)
    return {"prompt_tokens": asked, "completion_tokens": replied, "total_tokens": asked + replied}


def only_tool_named(named: str, tools: Sequence[OfferedTool], location: Location) -> list[OfferedTool]:
    """Return the one tool that the request insists on, at ``location``.

    Raises:
        GatewayError: 422, it is not among the tools.
    """
    chosen = [tool for tool in tools if tool.name == named]
    if not chosen:
        raise invalid_field(location, f"{named!r} is not among the tools")
    return chosen


def _tool_results(messages: Sequence[Message]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, content_text(message))
    return results


def _echo(messages: Sequence[Message]) -> str:
    results = _tool_results(messages)
    if results:
        return "The tool answered: " + "; ".join(results)
    said = next((content_text(message) for message in reversed(messages) if message["role"] == "user"), "")
    return f"You said: {said}" if said else "You said nothing."


def _json_text(prompt: Prompt) -> str | None:
    if prompt.schema is not None:
        return encode_json(prompt.schema.example())
    if prompt.wants_json:
        return encode_json({"reply": _echo(prompt.messages)})
    return None


def content_text(message: Message) -> str:
    """Return the text of a message; media in it are mentioned by their kind."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] if part["type"] == "text" else _PART_MENTIONS[part["type"]] for part in content)


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, each with the blanks before it."""
    return tuple(_WORD.findall(text))


def _limited(text: str, prompt: Prompt) -> Reply:
    for stop in prompt.stops:
        # An empty stop would stand before the first word.
        if stop:
            text = text.partition(stop)[0]
    words = split_words(text)
    if prompt.limit is not None and prompt.limit < len(words):
        return Reply(words[: max(prompt.limit, 0)], "length")
    return Reply(words, "stop")
