"""Compare: the same question to several models, and what each makes of it."""

from typing import Any, Dict, List, Optional, Union

from pydantic import Field
from typing_extensions import Annotated

from ._base import Answer, Listed, Number, Params, Reply
from .chat import ChatMessage, TokenUsage

__all__ = [
    "CompareParams",
    "CompareResponse",
    "CompareStreamEvent",
    "ModelCompareResult",
    "ModelOverride",
]


class ModelOverride(Params):
    """What one of the compared models is asked differently from the others."""

    model: str
    temperature: Annotated[Optional[Number], Field(ge=0.0, le=2.0)] = None
    max_tokens: Annotated[Optional[int], Field(ge=1)] = None
    system_prompt: Optional[str] = None


class CompareParams(Params):
    """What to ask of which models; `models` and `messages` are required.

    `comparison_model` then judges the answers, as `comparison_instructions` say, unless `skip_comparison` is set.
    `stream` is set by the method that is called, whatever stands here.
    """

    models: List[str]
    messages: List[ChatMessage]
    model_overrides: Optional[List[ModelOverride]] = None
    comparison_model: Optional[str] = None
    comparison_instructions: Optional[str] = None
    temperature: Annotated[Optional[Number], Field(ge=0.0, le=2.0)] = None
    max_tokens: Annotated[Optional[int], Field(ge=1)] = None
    stream: Optional[bool] = False
    cache: Optional[bool] = None
    template: Optional[str] = None
    variables: Optional[Dict[str, str]] = None
    skip_comparison: Optional[bool] = False


class ModelCompareResult(Reply):
    """What one of the models answered, or why it did not (`error`), after how many milliseconds.

    `request_id` names the gateway's request to that model; the whole comparison has its own.
    """

    model: Optional[str] = None
    response_body: Optional[Dict[str, Any]] = None
    content: Optional[str] = None
    latency_ms: Union[int, float, None] = None
    error: Optional[str] = None
    error_code: Optional[str] = None
    usage: Optional[TokenUsage] = None
    request_id: Optional[str] = None


class CompareResponse(Answer):
    """The answers of all models, and their comparison; `partial` if some model failed.

    `created` is a Unix time, in seconds; `total_latency_ms` is in milliseconds.
    """

    comparison_id: Optional[str] = None
    object: Optional[str] = None
    created: Union[int, float, None] = None
    models: Listed[str] = []
    results: Listed[ModelCompareResult] = []
    comparison: Optional[str] = None
    comparison_model: Optional[str] = None
    comparison_usage: Optional[TokenUsage] = None
    comparison_fallback_used: Optional[bool] = False
    total_latency_ms: Union[int, float, None] = None
    partial: Optional[bool] = False
    skip_comparison: Optional[bool] = False


class CompareStreamEvent(Reply):
    """One event of a streamed comparison: its name (`event`), its whole JSON object (`data`), and the usual fields.

    `delta` is the next piece of the text of `model`, or of the comparison.
    """

    event: Optional[str] = None
    data: Optional[Dict[str, Any]] = None
    delta: Optional[str] = None
    model: Optional[str] = None
    comparison_id: Optional[str] = None
    comparison_model: Optional[str] = None
    models: Optional[List[str]] = None
    latency_ms: Union[int, float, None] = None
    total_latency_ms: Union[int, float, None] = None
    finish_reason: Optional[str] = None
    error: Any = None
    error_code: Optional[str] = None
    usage: Optional[Dict[str, Any]] = None
    skip_comparison: Optional[bool] = None
    partial: Optional[bool] = None
    comparison_fallback_used: Optional[bool] = None
