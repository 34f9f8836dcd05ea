"""Chat completions: the messages, the tools, the params and the answers, whole and in chunks."""

from typing import Any, Dict, Generic, List, Literal, Optional, TypeVar, Union, cast

from pydantic import Field
from typing_extensions import Annotated

from ..errors import StructuredOutputError
from ._base import Answer, Finite, Listed, Number, Params, Reply, Shared

__all__ = [
    "AudioOutputOptions",
    "ChatCompletionChoice",
    "ChatCompletionChunk",
    "ChatCompletionChunkChoice",
    "ChatCompletionChunkDelta",
    "ChatCompletionMessage",
    "ChatCompletionParams",
    "ChatCompletionResponse",
    "ChatMessage",
    "ChatRole",
    "ContentPart",
    "ContentPartAudio",
    "ContentPartImage",
    "ContentPartText",
    "ContentPartVideo",
    "ImageDetail",
    "ImageOptions",
    "InputAudio",
    "ParsedChatCompletion",
    "TokenUsage",
    "Tool",
    "ToolCall",
    "ToolCallChunk",
    "ToolCallFunction",
    "ToolCallFunctionChunk",
    "ToolChoice",
    "ToolChoiceFunction",
    "ToolChoiceObject",
    "ToolFunction",
    "UsageInfo",
    "VideoUrl",
]


T = TypeVar("T")


class ImageDetail(Shared):
    """Where an image is: an ``https:`` or ``data:`` URL, and how closely the model should look."""

    url: str
    detail: Optional[Literal["auto", "low", "high"]] = None


class ContentPartText(Shared):
    """A text in a message of several parts."""

    type: Literal["text"]
    text: str


class ContentPartImage(Shared):
    """An image in a message of several parts."""

    type: Literal["image_url"]
    image_url: ImageDetail


class InputAudio(Shared):
    """A sound: base64 `data`, or where to find it, with its `format`."""

    data: Optional[str] = None
    uri: Optional[str] = None
    url: Optional[str] = None
    format: Literal["wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16", "pcm24"]


class ContentPartAudio(Shared):
    """A sound in a message of several parts."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class VideoUrl(Shared):
    """Where a video is."""

    url: str


class ContentPartVideo(Shared):
    """A video in a message of several parts; `fps` frames of each second are looked at."""

    type: Literal["video_url"]
    video_url: VideoUrl
    fps: Optional[str] = None


ContentPart = Union[ContentPartText, ContentPartImage, ContentPartAudio, ContentPartVideo]
"""One part of a message's content."""


class ToolCallFunction(Shared):
    """Which function the model wants called, with its arguments as JSON text (which the model may get wrong)."""

    name: Optional[str] = None
    arguments: Optional[str] = None


class ToolCall(Shared):
    """A call that the model wants made; answer it with a ``ChatMessage(role="tool", tool_call_id=...)``."""

    id: Optional[str] = None
    # The literal is what there is today; an answer with another must still be readable.
    type: Union[Literal["function"], str, None] = "function"
    function: Optional[ToolCallFunction] = None
    thought_signature: Optional[str] = None


ChatRole = Literal["system", "user", "assistant", "tool"]
"""Whose a message is."""


class ChatMessage(Params):
    """One message of a conversation."""

    role: ChatRole
    content: Union[str, List[Annotated[ContentPart, Field(discriminator="type")]], None] = None
    name: Optional[str] = None
    tool_call_id: Optional[str] = None
    tool_calls: Optional[List[ToolCall]] = None
    reasoning_details: Optional[Finite[List[Dict[str, Any]]]] = None


class ToolFunction(Params):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: Optional[str] = None
    parameters: Optional[Finite[Dict[str, Any]]] = None


class Tool(Params):
    """A tool offered to the model."""

    type: Literal["function"]
    function: ToolFunction


class ToolChoiceFunction(Params):
    """The name of the function that the model must call."""

    name: str


class ToolChoiceObject(Params):
    """The tool that the model must call."""

    type: Literal["function"]
    function: ToolChoiceFunction


ToolChoice = Union[Literal["auto", "none", "required"], ToolChoiceObject]
"""Whether the model calls tools, and which it must call."""


class AudioOutputOptions(Params):
    """How spoken answers should sound; with ``modalities=["text", "audio"]``."""

    voice: Optional[str] = "alloy"
    format: Optional[Literal["wav", "mp3", "flac", "opus", "pcm16"]] = "wav"


class ImageOptions(Params):
    """How drawn answers should look; with ``modality="image"``."""

    n: Annotated[Optional[int], Field(ge=1, le=10)] = 1
    size: Optional[str] = "1024x1024"
    quality: Optional[str] = "high"
    response_format: Optional[Literal["url", "b64_json"]] = "url"


class ChatCompletionParams(Params):
    """What to ask of a chat model; only `messages` is required.

    `stream` is set by the method that is called, whatever stands here.  `timeout` is the gateway's own, in seconds;
    the client's is the option of the same name on the method.
    """

    messages: List[ChatMessage]
    model: Optional[str] = None
    models: Optional[List[str]] = None
    stream: Optional[bool] = None
    template: Optional[str] = None
    variables: Optional[Dict[str, str]] = None
    session_id: Optional[str] = None
    temperature: Optional[Number] = None
    max_tokens: Optional[int] = None
    top_p: Optional[Number] = None
    frequency_penalty: Optional[Number] = None
    presence_penalty: Optional[Number] = None
    stop: Union[str, List[str], None] = None
    seed: Optional[int] = None
    tools: Optional[List[Tool]] = None
    tool_choice: Optional[ToolChoice] = None
    response_format: Optional[Finite[Dict[str, Any]]] = None
    user: Optional[str] = None
    modality: Optional[Literal["text", "image"]] = None
    image: Optional[ImageOptions] = None
    async_mode: Optional[bool] = None
    modalities: Optional[List[Literal["text", "audio"]]] = None
    audio: Optional[AudioOutputOptions] = None
    timeout: Annotated[Optional[Number], Field(gt=0)] = None
    cache: Optional[bool] = None
    transforms: Optional[List[str]] = None
    reasoning_effort: Optional[Literal["high", "medium", "low", "none"]] = None


class TokenUsage(Reply):
    """Tokens that were used."""

    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    total_tokens: Optional[int] = None


class UsageInfo(TokenUsage):
    """Tokens that a chat used, with the details that some providers give, and those of the gateway's own classifier."""

    prompt_tokens_details: Optional[Dict[str, Any]] = None
    completion_tokens_details: Optional[Dict[str, Any]] = None
    classifier_prompt_tokens: Optional[int] = None
    classifier_completion_tokens: Optional[int] = None
    classifier_tokens: Optional[int] = None


class ChatCompletionMessage(Reply):
    """The model's message.  Parts of a kind unknown here stay as the dict that came."""

    role: Optional[str] = None
    content: Union[str, List[Union[ContentPart, Dict[str, Any]]], None] = None
    tool_calls: Optional[List[ToolCall]] = None
    audio: Optional[Dict[str, Any]] = None

    def as_message(self) -> ChatMessage:
        """The same message, to be sent back as part of the conversation.

        Append it to the messages, and then a ``ChatMessage(role="tool", tool_call_id=...)`` for each tool call.

        Returns:
            The content, the tool calls (with what fields they have) and the reasoning details; nothing else of it can
            be sent.

        Raises:
            ValueError: there is content of a kind that cannot be sent.
        """
        return ChatMessage(
            role="assistant",
            content=cast("Union[str, List[ContentPart], None]", self.content),
            tool_calls=self.tool_calls,
            reasoning_details=getattr(self, "reasoning_details", None),
        )


class ChatCompletionChoice(Reply):
    """One of the answers that were asked for, usually the only one."""

    index: Optional[int] = None
    message: Optional[ChatCompletionMessage] = None
    finish_reason: Optional[str] = None
    logprobs: Any = None


class ChatCompletionResponse(Answer):
    """A whole chat completion.  Fields that a server left out are ``None``; fields unknown here are kept."""

    id: Optional[str] = None
    object: Optional[str] = None
    created: Union[int, float, None] = None
    model: Optional[str] = None
    choices: Listed[ChatCompletionChoice] = []
    usage: Optional[UsageInfo] = None
    system_fingerprint: Optional[str] = None


class ParsedChatCompletion(ChatCompletionResponse, Generic[T]):
    """A chat completion whose first answer has the shape that was asked for: `parsed` is its value."""

    __slots__ = ("_outcome",)
    _BESIDE = ("_head", "_outcome")

    @property
    def parsed(self) -> T:
        """The value that the model's answer stands for.

        Raises:
            StructuredOutputError: it stands for none: the answer has another shape, is not complete, or there is none,
                as when the model wants tools called.
        """
        if self.problem is not None:
            raise self.problem.with_traceback(None)
        return cast("T", getattr(self, "_outcome", None))

    @property
    def problem(self) -> Optional[StructuredOutputError]:
        """What is wrong with the model's answer; ``None`` if nothing is."""
        outcome: Any = getattr(self, "_outcome", None)
        return outcome if isinstance(outcome, StructuredOutputError) else None

    def _take_outcome(self, outcome: Union[T, StructuredOutputError]) -> None:
        """Remember the value, or why there is none."""
        object.__setattr__(self, "_outcome", outcome)


class ToolCallFunctionChunk(Reply):
    """A piece of a function call: the name comes once, the arguments in fragments to be joined."""

    name: Optional[str] = None
    arguments: Optional[str] = None


class ToolCallChunk(Reply):
    """A piece of a tool call; `index` says of which, where the server tells."""

    index: Optional[int] = None
    id: Optional[str] = None
    type: Union[Literal["function"], str, None] = None
    function: Optional[ToolCallFunctionChunk] = None
    thought_signature: Optional[str] = None


class ChatCompletionChunkDelta(Reply):
    """What a chunk adds to the message."""

    role: Optional[str] = None
    content: Optional[str] = None
    tool_calls: Optional[List[ToolCallChunk]] = None
    audio: Optional[Dict[str, Any]] = None


class ChatCompletionChunkChoice(Reply):
    """What a chunk adds to one of the answers; `finish_reason` is set on its last."""

    index: Optional[int] = None
    delta: Optional[ChatCompletionChunkDelta] = None
    finish_reason: Optional[str] = None
    logprobs: Any = None


class ChatCompletionChunk(Reply):
    """One piece of a streamed chat completion; the last may carry `usage` and no choices."""

    id: Optional[str] = None
    object: Optional[str] = None
    created: Union[int, float, None] = None
    model: Optional[str] = None
    choices: Listed[ChatCompletionChunkChoice] = []
    usage: Optional[UsageInfo] = None
    system_fingerprint: Optional[str] = None
    cost: Optional[str] = None
