"""``/v1/responses``, in the shapes of OpenAI's Responses API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import EventStream, GatewayError, JSONAnswer
from ._chat import MESSAGE, schema_of_format
from ._checks import Location, Problem, is_object
from ._delivery import ServerEvent
from ._models import DEFAULT_MODEL, routed
from ._replies import (
    GivenSchema,
    Message,
    OfferedTool,
    Params,
    Prompt,
    Reply,
    compose_reply,
    count_tokens,
    only_tool_named,
)
from ._requests import gateway_state, page_of, read_json, validated
from ._state import GatewayState
from ._templates import applied_template

_PART_TYPES = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "input_image": "image_url",
    "input_audio": "input_audio",
    "input_video": "video_url",
    "input_file": "file",
}
_INPUT_PART = checks.tagged(
    "type",
    {
        name: checks.record(required={"text": checks.text}) if kind == "text" else checks.mapping()
        for name, kind in _PART_TYPES.items()
    },
)
_INPUT_MESSAGE = checks.record(
    required={
        "role": checks.one_of("system", "developer", "user", "assistant"),
        "content": checks.by_type(
            {str: checks.text, list: checks.array(_INPUT_PART)}, "a string or a list of content parts"
        ),
    }
)
_FUNCTION_CALL_OUTPUT = checks.record(
    required={
        "call_id": checks.text,
        "output": checks.by_type(
            {str: checks.text, list: checks.array(_INPUT_PART)}, "a string or a list of content parts"
        ),
    }
)
_OTHER_ITEM = checks.record(required={"type": checks.text})
_FUNCTION_TOOL = checks.record(
    required={"name": checks.text},
    optional={"description": checks.text, "parameters": checks.mapping(), "strict": checks.boolean},
)
_TOOL = checks.tagged(
    "type",
    {
        "function": _FUNCTION_TOOL,
        **{
            builtin: checks.mapping()
            for builtin in (
                "image_generation",
                "web_search_preview",
                "web_search_preview_2025_03_11",
                "file_search",
                "computer_use_preview",
                "code_interpreter",
            )
        },
    },
)

_TEMPLATE_MESSAGES = checks.record(required={"messages": checks.array(MESSAGE)})


def _input_item(value: Any, loc: Location) -> Iterator[Problem]:
    if is_object(value) and "role" in value:
        return _INPUT_MESSAGE(value, loc)
    if is_object(value) and value.get("type") == "function_call_output":
        return _FUNCTION_CALL_OUTPUT(value, loc)
    return _OTHER_ITEM(value, loc)


RESPONSES_PARAMS = checks.record(
    required={
        "input": checks.by_type(
            {str: checks.text, list: checks.array(_input_item)}, "a string or a list of input items"
        )
    },
    optional={
        "model": checks.text,
        "background": checks.boolean,
        "text": checks.record(optional={"format": checks.mapping()}),
        "template": checks.text,
        "variables": checks.mapping(checks.text),
        "session_id": checks.text,
        "stream": checks.boolean,
        "max_output_tokens": checks.integer(at_least=1),
        "temperature": checks.number(at_least=0, at_most=2),
        "top_p": checks.number(at_least=0, at_most=1),
        "seed": checks.integer(),
        "reasoning": checks.mapping(),
        "tools": checks.array(_TOOL),
        "tool_choice": checks.by_type({str: checks.text, dict: checks.mapping()}, "a string or an object"),
        "response_format": checks.mapping(),
        "user": checks.text_up_to(256),
        "timeout": checks.number(above=0),
        "previous_response_id": checks.text,
        "instructions": checks.text,
        "thinking": checks.mapping(),
        "caching": checks.mapping(),
        "store": checks.boolean,
        "include": checks.array(checks.anything),
        "expire_at": checks.integer(),
        "max_tool_calls": checks.integer(at_least=1, at_most=10),
        "context_management": checks.mapping(),
        "plugins": checks.array(checks.anything),
    },
)


@dataclass(frozen=True)
class StoredResponse:
    """A response to be asked for later, and the conversation that led to it, its reply included."""

    whole: Mapping[str, Any]
    provider: str
    conversation: Sequence[Message]


@dataclass(frozen=True)
class ModelResponse:
    """A reply in its two forms on the wire: whole, and as the events of a stream."""

    head: Mapping[str, Any]
    params: Params
    prompt: Prompt
    reply: Reply
    routing_headers: Mapping[str, str]

    def whole(self) -> dict[str, Any]:
        if self.reply.finish_reason == "length":
            ending = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        else:
            ending = {"status": "completed", "completed_at": self.head["created_at"]}
        return {**self._unfinished("completed"), **ending, "output": [self._item()], "usage": self._usage()}

    def queued(self) -> dict[str, Any]:
        return self._unfinished("queued")

    def events(self) -> Iterator[ServerEvent]:
        whole = self.whole()
        # Between its first events and its last a response only ever says that it is under way.
        under_way = {"response": self._unfinished("in_progress")}
        steps = [("response.created", under_way), ("response.in_progress", under_way), *self._item_events()]
        for number, (name, fields) in enumerate(steps):
            yield ServerEvent({"type": name, "sequence_number": number, **fields}, name=name)
        name = f"response.{whole['status']}"
        data = {"type": name, "sequence_number": len(steps), "response": whole}
        yield ServerEvent(data, closing=True, name=name)

    def _unfinished(self, status: str) -> dict[str, Any]:
        given = self.params
        return {
            **self.head,
            "object": "response",
            "status": status,
            "background": given.get("background", False),
            "error": None,
            "incomplete_details": None,
            "instructions": given.get("instructions"),
            "max_output_tokens": given.get("max_output_tokens"),
            "metadata": given.get("metadata", {}),
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": given.get("previous_response_id"),
            "temperature": given.get("temperature"),
            "text": given.get("text", {"format": {"type": "text"}}),
            "tool_choice": given.get("tool_choice", "auto"),
            "tools": given.get("tools", []),
            "top_p": given.get("top_p"),
            "usage": None,
        }

    def _usage(self) -> dict[str, Any]:
        tokens = count_tokens(self.prompt, self.reply)
        return {
            "input_tokens": tokens["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens["total_tokens"],
        }

    def _item(self) -> dict[str, Any]:
        call = self.reply.tool_call
        if call is None:
            status = "incomplete" if self.reply.finish_reason == "length" else "completed"
            return {**self._message(status), "content": [_text_part(self.reply.text)]}
        return {**self._function_call("completed"), "arguments": call.arguments}

    def _message(self, status: str) -> dict[str, Any]:
        return {"type": "message", "id": self._own_id("msg_"), "status": status, "role": "assistant", "content": []}

    def _function_call(self, status: str) -> dict[str, Any]:
        assert self.reply.tool_call is not None
        return {
            "type": "function_call",
            "id": self._own_id("fc_"),
            "call_id": self._own_id("call_"),
            "name": self.reply.tool_call.name,
            "arguments": "",
            "status": status,
        }

    def _own_id(self, prefix: str) -> str:
        return str(self.head["id"]).replace("resp_", prefix)

    def _item_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        place = {"output_index": 0, "item_id": self._item()["id"]}
        if self.reply.tool_call is None:
            yield "response.output_item.added", {"output_index": 0, "item": self._message("in_progress")}
            yield from self._text_events({**place, "content_index": 0})
        else:
            call = self.reply.tool_call
            yield "response.output_item.added", {"output_index": 0, "item": self._function_call("in_progress")}
            for fragment in call.fragments:
                yield "response.function_call_arguments.delta", {**place, "delta": fragment}
            done = {**place, "name": call.name, "arguments": call.arguments}
            yield "response.function_call_arguments.done", done
        yield "response.output_item.done", {"output_index": 0, "item": self._item()}

    def _text_events(self, place: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "response.content_part.added", {**place, "part": _text_part("")}
        for word in self.reply.words:
            yield "response.output_text.delta", {**place, "delta": word, "logprobs": []}
        yield "response.output_text.done", {**place, "text": self.reply.text, "logprobs": []}
        yield "response.content_part.done", {**place, "part": _text_part(self.reply.text)}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def respond(gateway: GatewayState, body: Any) -> ModelResponse:
    """Answer the body of a response, and store it unless it says not to.

    Raises:
        GatewayError: it is refused.
    """
    params = validated(body, RESPONSES_PARAMS, "body")
    defaults, messages = applied_template(gateway, params)
    params = validated({**defaults, **params}, RESPONSES_PARAMS, "body")
    validated({"messages": messages}, _TEMPLATE_MESSAGES, "body")
    model, routing_headers = routed([params.get("model", DEFAULT_MODEL)], "supports_responses_api", "the Responses API")
    conversation = [*messages, *_previous_conversation(gateway, params), *_messages(params["input"])]
    prompt = _prompt(params, conversation)
    reply = compose_reply(prompt)
    head: dict[str, Any] = {"id": gateway.next_id("resp_"), "created_at": int(time.time()), "model": model["id"]}
    response = ModelResponse(head, params, prompt, reply, routing_headers)
    if params.get("store", True):
        said = [*conversation, {"role": "assistant", "content": reply.text}]
        gateway.responses.put(head["id"], StoredResponse(response.whole(), model["provider"], said))
    return response


def _previous_conversation(gateway: GatewayState, params: Params) -> Sequence[Message]:
    if "previous_response_id" not in params:
        return []
    return _find(gateway, params["previous_response_id"]).conversation


def _messages(given: Any) -> Iterator[Message]:
    """Yield the input as messages of a chat; items that a chat does not have are left out."""
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    for item in given:
        if "role" in item:
            yield {"role": item["role"], "content": _content(item["content"])}
        elif item["type"] == "function_call_output":
            yield {"role": "tool", "content": _content(item["output"])}


def _content(given: Any) -> Any:
    if isinstance(given, str):
        return given
    return [{**part, "type": _PART_TYPES[part["type"]]} for part in given]


def _prompt(params: Params, conversation: Sequence[Message]) -> Prompt:
    instructions = [{"role": "system", "content": params["instructions"]}] if "instructions" in params else []
    text_format: Mapping[str, Any] = params.get("text", {}).get("format") or {}
    response_format: Mapping[str, Any] = params.get("response_format", {})
    schema = schema_of_format(response_format)
    if text_format.get("type") == "json_schema":
        schema = GivenSchema(text_format.get("schema"), ("body", "text", "format", "schema"))
    return Prompt(
        messages=[*instructions, *conversation],
        tools=_tools(params),
        wants_json="json_object" in (text_format.get("type"), response_format.get("type")),
        schema=schema,
        limit=params.get("max_output_tokens"),
    )


def _tools(params: Params) -> list[OfferedTool]:
    tools = [
        OfferedTool(tool["name"], GivenSchema(tool.get("parameters") or {}, ("body", "tools", index, "parameters")))
        for index, tool in enumerate(params.get("tools", []))
        if tool["type"] == "function"
    ]
    choice = params.get("tool_choice")
    if is_object(choice) and choice.get("type") == "function":
        return only_tool_named(choice.get("name", ""), tools, ("body", "tool_choice", "name"))
    return [] if choice == "none" else tools


async def create_response(request: Request) -> Response:
    response = respond(gateway_state(request), await read_json(request))
    if response.params.get("stream"):
        # As with OpenAI the last event is the end; there is no [DONE].
        return EventStream(response.events(), response.routing_headers, done=False)
    in_background = response.params.get("background", False)
    return JSONAnswer(response.queued() if in_background else response.whole(), headers=response.routing_headers)


async def list_responses(request: Request) -> Response:
    items = [_list_item(stored) for _, stored in gateway_state(request).responses.all()]
    return JSONAnswer(page_of(request, items))


def _list_item(stored: StoredResponse) -> dict[str, Any]:
    shown = ("id", "object", "model", "status", "created_at", "completed_at")
    item = {field: stored.whole.get(field) for field in shown}
    return {**item, "provider": stored.provider, "usage_synced": True}


async def get_response(request: Request) -> Response:
    return JSONAnswer(_find(gateway_state(request), request.path_params["response_id"]).whole)


def _find(gateway: GatewayState, response_id: str) -> StoredResponse:
    stored = gateway.responses.get(response_id)
    if stored is None:
        raise GatewayError(404, f"there is no response {response_id!r}")
    return stored


routes = [
    Route("/v1/responses", create_response, methods=["POST"]),
    Route("/v1/responses", list_responses, methods=["GET"]),
    Route("/v1/responses/{response_id}", get_response, methods=["GET"]),
]
