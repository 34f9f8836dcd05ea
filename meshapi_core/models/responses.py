"""Responses: the params, the built-in tools, the answers, and the events of a streamed one."""

from typing import Any, Dict, Iterator, List, Literal, Optional, Union, cast

from pydantic import Field
from typing_extensions import Annotated

from ._base import Answer, Finite, ListAnswer, Listed, Number, Params, Reply

__all__ = [
    "BuiltinTool",
    "ResponsesFunctionTool",
    "ResponsesListItem",
    "ResponsesListResponse",
    "ResponsesParams",
    "ResponsesResponse",
    "ResponsesStreamEvent",
    "ResponsesUsage",
]


class BuiltinTool(Params):
    """A tool that the provider runs itself."""

    type: Literal[
        "image_generation",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "file_search",
        "computer_use_preview",
        "code_interpreter",
    ]


class ResponsesFunctionTool(Params):
    """A function that the model may call; `parameters` is the JSON schema of its arguments.

    With `strict` the provider holds the model to that schema.
    """

    type: Optional[Literal["function"]] = "function"
    name: str
    description: Optional[str] = None
    parameters: Optional[Finite[Dict[str, Any]]] = None
    strict: Optional[bool] = None


class ResponsesParams(Params):
    """What to ask of a model; only `input` is required: a text, or a list of input items.

    `previous_response_id` continues a conversation that the provider keeps.  `stream` is set by the method that is
    called, whatever stands here.  `timeout` is the gateway's own, in seconds; the client's is the option of the same
    name on the method.  `expire_at` is a Unix time, in seconds.
    """

    model: Optional[str] = None
    input: Union[str, Finite[List[Any]]]
    background: Optional[bool] = None
    text: Optional[Finite[Dict[str, Any]]] = None
    template: Optional[str] = None
    variables: Optional[Dict[str, str]] = None
    session_id: Optional[str] = None
    stream: Optional[bool] = False
    max_output_tokens: Annotated[Optional[int], Field(ge=1)] = None
    temperature: Annotated[Optional[Number], Field(ge=0.0, le=2.0)] = None
    top_p: Annotated[Optional[Number], Field(ge=0.0, le=1.0)] = None
    seed: Optional[int] = None
    reasoning: Optional[Finite[Dict[str, Any]]] = None
    tools: Optional[List[Union[ResponsesFunctionTool, BuiltinTool]]] = None
    tool_choice: Union[str, Finite[Dict[str, Any]], None] = None
    response_format: Optional[Finite[Dict[str, Any]]] = None
    user: Annotated[Optional[str], Field(max_length=256)] = None
    timeout: Annotated[Optional[Number], Field(gt=0)] = None
    previous_response_id: Optional[str] = None
    instructions: Optional[str] = None
    thinking: Optional[Finite[Dict[str, Any]]] = None
    caching: Optional[Finite[Dict[str, Any]]] = None
    store: Optional[bool] = None
    include: Optional[Finite[List[Any]]] = None
    expire_at: Optional[int] = None
    max_tool_calls: Annotated[Optional[int], Field(ge=1, le=10)] = None
    context_management: Optional[Finite[Dict[str, Any]]] = None
    plugins: Optional[Finite[List[Any]]] = None


class ResponsesUsage(Reply):
    """Tokens that a response used: as input and output, or under the names of chat, as the provider counts."""

    input_tokens: Optional[int] = None
    output_tokens: Optional[int] = None
    total_tokens: Optional[int] = None
    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    prompt_tokens_details: Optional[Dict[str, Any]] = None
    completion_tokens_details: Optional[Dict[str, Any]] = None
    classifier_tokens: Optional[int] = None


class ResponsesResponse(Answer):
    """A whole response; `output_text` is what the model wrote, `output` all that it did, item by item.

    `status` is ``"completed"``, or tells why there is no more: ``"in_progress"``, ``"failed"``, ``"incomplete"``.
    """

    id: Optional[str] = None
    object: Optional[str] = None
    model: Optional[str] = None
    output: Listed[Any] = []
    usage: Optional[ResponsesUsage] = None
    status: Optional[str] = None

    @property
    def output_text(self) -> str:
        """All that the model wrote, as one text; ``""`` if it wrote nothing."""
        texts = (
            part.get("text")
            for item in _objects_of_type("message", self.output)
            for part in _objects_of_type("output_text", item.get("content"))
        )
        return "".join(text for text in texts if isinstance(text, str))


def _objects_of_type(type: str, values: object) -> Iterator[Dict[str, Any]]:
    """The objects whose ``type`` is `type`, among `values`, which may be anything."""
    for value in cast("List[object]", values) if isinstance(values, list) else ():
        fields = cast("Dict[str, Any]", value) if isinstance(value, dict) else {}
        if fields.get("type") == type:
            yield fields


class ResponsesStreamEvent(Reply):
    """One event of a streamed response; `type` tells which, such as ``"response.output_text.delta"``.

    `delta` is what such an event adds.  `response` is the whole as far as it has come, on the events that begin and
    end a stream.  What else belongs to an event is kept, and readable under its own name.
    """

    type: Optional[str] = None
    delta: Any = None
    response: Optional[Dict[str, Any]] = None
    usage: Optional[ResponsesUsage] = None


class ResponsesListItem(Answer):
    """What the gateway remembers of a response; get the whole by its `id`.  Times are Unix times, in seconds."""

    id: Optional[str] = None
    object: Optional[str] = None
    model: Optional[str] = None
    provider: Optional[str] = None
    status: Optional[str] = None
    created_at: Union[int, float, None] = None
    completed_at: Union[int, float, None] = None
    usage_synced: Optional[bool] = None


class ResponsesListResponse(ListAnswer):
    """A page of responses; where `has_more` is true, the next page is the one after `last_id`."""

    object: Optional[str] = None
    data: Listed[ResponsesListItem] = []
    has_more: Optional[bool] = False
    first_id: Optional[str] = None
    last_id: Optional[str] = None
