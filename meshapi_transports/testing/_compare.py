"""``POST /v1/chat/compare``: one conversation, answered by several models."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import EventStream, GatewayError, JSONAnswer
from ._chat import MESSAGE, Completion, complete
from ._delivery import ServerEvent
from ._models import find_model
from ._replies import Params, split_words
from ._requests import gateway_state, read_params, validated
from ._state import GatewayState
from ._templates import applied_template

_COMPARISON_MODEL = "openai/gpt-4o-mini"
# Nothing takes time here, and a client should see a number.
_LATENCY_MS = 5
_MOST_MODELS = 10
_TEMPERATURE = checks.number(at_least=0, at_most=2)
_MAX_TOKENS = checks.integer(at_least=1)
COMPARE_PARAMS = checks.record(
    required={
        "models": checks.array(checks.text, at_least=1, at_most=_MOST_MODELS),
        "messages": checks.array(MESSAGE),
    },
    optional={
        "model_overrides": checks.array(
            checks.record(
                required={"model": checks.text},
                optional={"temperature": _TEMPERATURE, "max_tokens": _MAX_TOKENS, "system_prompt": checks.text},
            )
        ),
        "comparison_model": checks.text,
        "comparison_instructions": checks.text,
        "temperature": _TEMPERATURE,
        "max_tokens": _MAX_TOKENS,
        "stream": checks.boolean,
        "cache": checks.boolean,
        "template": checks.text,
        "variables": checks.mapping(checks.text),
        "skip_comparison": checks.boolean,
    },
)


@dataclass(frozen=True)
class _Result:
    """What came of one model."""

    model_id: str
    request_id: str
    outcome: Completion | GatewayError

    @property
    def completion(self) -> Completion | None:
        return self.outcome if isinstance(self.outcome, Completion) else None

    @property
    def error(self) -> GatewayError | None:
        return self.outcome if isinstance(self.outcome, GatewayError) else None

    @property
    def words(self) -> Sequence[str]:
        return self.completion.reply.words if self.completion else ()

    @property
    def content(self) -> str | None:
        return self.completion.reply.text if self.completion else None

    @property
    def finish_reason(self) -> str | None:
        return self.completion.reply.finish_reason if self.completion else None

    @property
    def usage(self) -> dict[str, int] | None:
        return self.completion.usage() if self.completion else None

    def failure(self) -> dict[str, Any]:
        return {
            "error": self.error.message if self.error else None,
            "error_code": self.error.code if self.error else None,
        }

    def whole(self) -> dict[str, Any]:
        return {
            "model": self.model_id,
            "response_body": self.completion.whole() if self.completion else None,
            "content": self.content,
            "latency_ms": _LATENCY_MS,
            **self.failure(),
            "usage": self.usage,
            "request_id": self.request_id,
        }


@dataclass(frozen=True)
class _Verdict:
    """What the comparison model says."""

    model_id: str
    fallback_used: bool
    words: Sequence[str]
    usage: dict[str, int]


@dataclass(frozen=True)
class _Comparison:
    """The results in their two forms on the wire: whole, and as the events of a stream."""

    comparison_id: str
    created: int
    skipped: bool
    results: Sequence[_Result]
    verdict: _Verdict | None

    def whole(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "comparison_id": self.comparison_id,
            "object": "compare.completion",
            "created": self.created,
            "models": self._model_ids(),
            "results": [result.whole() for result in self.results],
            "comparison": "".join(verdict.words) if verdict else None,
            **self._about_verdict(),
            "comparison_usage": verdict.usage if verdict else None,
            **self._ending(),
        }

    def events(self) -> Iterator[ServerEvent]:
        head = {"comparison_id": self.comparison_id, **self._about_verdict()}
        yield ServerEvent({**head, "models": self._model_ids(), "skip_comparison": self.skipped}, name="meta")
        yield from self._each_for_itself() if self.skipped else self._with_verdict()
        yield ServerEvent({**head, **self._ending()}, closing=True, name="done")

    def _model_ids(self) -> list[str]:
        return [result.model_id for result in self.results]

    def _about_verdict(self) -> dict[str, Any]:
        return {
            "comparison_model": self.verdict.model_id if self.verdict else None,
            "comparison_fallback_used": bool(self.verdict and self.verdict.fallback_used),
        }

    def _ending(self) -> dict[str, Any]:
        return {
            "total_latency_ms": _LATENCY_MS * (2 if self.verdict else 1),
            "partial": any(result.error for result in self.results),
            "skip_comparison": self.skipped,
        }

    def _each_for_itself(self) -> Iterator[ServerEvent]:
        """The models' words as they come, one model's between the others'."""
        streams = deque((result, iter(result.words)) for result in self.results)
        while streams:
            result, words = streams.popleft()
            word = next(words, None)
            if word is None:
                yield self._stream_ending(result)
                continue
            chunk = {"model": result.model_id, "delta": word, "finish_reason": None}
            yield ServerEvent(chunk, name="model_chunk")
            streams.append((result, words))

    def _stream_ending(self, result: _Result) -> ServerEvent:
        ending = {"model": result.model_id, "finish_reason": result.finish_reason, "usage": result.usage}
        return ServerEvent({**ending, **result.failure()}, name="model_stream_done")

    def _with_verdict(self) -> Iterator[ServerEvent]:
        """Each model's answer in one piece, then the verdict word by word."""
        for result in self.results:
            chunk = {
                "model": result.model_id,
                "delta": result.content,
                "latency_ms": _LATENCY_MS,
                "usage": result.usage,
                **result.failure(),
            }
            yield ServerEvent(chunk, name="model_chunk")
        yield ServerEvent({"results": [result.whole() for result in self.results]}, name="model_done")
        if self.verdict is not None:
            for word in self.verdict.words:
                yield ServerEvent({"delta": word, "finish_reason": None}, name="comparison_chunk")
            yield ServerEvent({"delta": "", "finish_reason": "stop"}, name="comparison_chunk")


async def create_comparison(request: Request) -> Response:
    gateway = gateway_state(request)
    params = await read_params(request, COMPARE_PARAMS)
    defaults, messages = applied_template(gateway, params)
    whole_params = {**defaults, **params, "messages": [*messages, *params["messages"]]}
    params = validated(whole_params, COMPARE_PARAMS, "body")
    comparison = _compared(gateway, params, request.state.request_id)
    if params.get("stream"):
        return EventStream(comparison.events(), done=False)
    return JSONAnswer(comparison.whole())


def _compared(gateway: GatewayState, params: Params, request_id: str) -> _Comparison:
    # Each model once, in the order of the request.
    model_ids = list(dict.fromkeys(params["models"]))
    results = [_result(gateway, params, model_id, f"{request_id}::{model_id}") for model_id in model_ids]
    if all(result.error for result in results):
        details = [{"model": result.model_id, **result.failure()} for result in results]
        raise GatewayError(502, "all models returned errors", code="all_models_failed", details=details)
    skipped = params.get("skip_comparison", False)
    verdict = None if skipped else _verdict(params, [result for result in results if result.completion])
    return _Comparison(gateway.next_id("cmp_"), int(time.time()), skipped, results, verdict)


def _result(gateway: GatewayState, params: Params, model_id: str, request_id: str) -> _Result:
    overrides = [each for each in params.get("model_overrides", []) if each["model"] == model_id]
    override: Mapping[str, Any] = overrides[0] if overrides else {}
    system_prompt = override.get("system_prompt")
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    body: dict[str, Any] = {"model": model_id, "messages": [*system, *params["messages"]]}
    for field in ("temperature", "max_tokens"):
        body[field] = params.get(field) if override.get(field) is None else override[field]
    try:
        return _Result(model_id, request_id, complete(gateway, body))
    except GatewayError as error:
        return _Result(model_id, request_id, error)


def _verdict(params: Params, answered: Sequence[_Result]) -> _Verdict | None:
    if len(answered) < 2:
        return None
    contents = [result.content or "" for result in answered]
    alike = "the same" if len(set(contents)) == 1 else "not the same"
    words = split_words(f"{len(answered)} models answered, and their answers are {alike}.")
    asked = params.get("comparison_model", _COMPARISON_MODEL)
    model = find_model(asked)
    is_able = model is not None and model["supports_completions_api"]
    prompt = sum(len(text.split()) for text in (params.get("comparison_instructions", ""), *contents))
    usage = {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
    return _Verdict(asked if is_able else _COMPARISON_MODEL, not is_able, words, usage)


routes = [Route("/v1/chat/compare", create_comparison, methods=["POST"])]
