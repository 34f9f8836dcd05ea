"""``meshapi compare``: ask several models the same."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, Generator, List, Optional, Sequence, cast

import click

from .chat import conversation
from .gateway import base_url_option, drive, find_gateway, json_option, timeout_option, transport_option
from .output import Write, is_terminal, line_of_text, load_screen, on_one_line, write_json

if TYPE_CHECKING:
    from meshapi_core import CompareParams, CompareStreamEvent

    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

    Show = Callable[[CompareStreamEvent], None]

__all__ = ["Replies", "Reply", "compare"]


@click.command()
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True)
@click.argument("prompt")
@click.option("--system", help="What to tell the models before the prompt.")
@click.option("--comparison-model", help="Which model compares the replies.  [default: the gateway's choice]")
@click.option("--no-comparison", is_flag=True, help="Only ask; each reply then comes piece by piece.")
@transport_option
@json_option
@base_url_option
@timeout_option
def compare(
    models: Sequence[str],
    prompt: str,
    system: Optional[str],
    comparison_model: Optional[str],
    no_comparison: bool,
    transport: str,
    as_json: bool,
    base_url: Optional[str],
    timeout: float,
) -> None:
    """Ask several models the same, and print their replies and how they compare.

    PROMPT is what to ask; "-" reads it from the standard input.

    A terminal shows the replies side by side, as they come. Elsewhere each is printed once it is complete; with --json,
    each event of the stream is a JSON document on a line of its own.  It is an error if a model fails.
    """
    from meshapi_core import CompareParams

    if len(models) < 2:
        raise click.UsageError("Name at least two models, and after them the prompt.")
    params = CompareParams(
        models=list(models),
        messages=conversation(prompt, system),
        comparison_model=comparison_model,
        skip_comparison=no_comparison or None,
    )
    replies = Replies(models)
    view: Callable[[Replies], ContextManager[Callable[[], None]]] = _in_sections
    if as_json:
        view = _in_silence
    elif is_terminal(sys.stdout):
        view = load_screen().side_by_side
    with find_gateway(base_url) as gateway, view(replies) as refresh:

        def show(event: CompareStreamEvent) -> None:
            if as_json:
                write_json({"event": event.event, **(event.data or {})})
            replies.take(event)
            refresh()

        gateway.options["timeout"] = timeout
        drive(
            transport,
            gateway.options,
            lambda client: _compare(client, params, show),
            lambda client: _compare_async(client, params, show),
        )
    failed = [f"{model}: {reply.error}" for model, reply in replies.of_models.items() if reply.error is not None]
    if failed:
        message = f"{len(failed)} of {len(replies.of_models)} models failed: {'; '.join(failed)}"
        raise click.ClickException(on_one_line(message))


def _compare(client: MeshAPI, params: CompareParams, show: Show) -> None:
    with client, client.compare.stream(params) as events:
        for event in events:
            show(event)


async def _compare_async(client: AsyncMeshAPI, params: CompareParams, show: Show) -> None:
    async with client, client.compare.stream(params) as events:
        async for event in events:
            show(event)


class Reply:
    """What one model has answered so far."""

    def __init__(self) -> None:
        self.text = ""
        self.error: Optional[str] = None
        self.is_complete = False
        self.latency_ms: Optional[float] = None
        self.tokens: Optional[int] = None

    def take(self, fields: Dict[str, Any]) -> None:
        """Add what an event tells of this model."""
        if fields.get("error") is not None:
            self.error = str(fields["error"])
        self.latency_ms = _number(fields.get("latency_ms"), self.latency_ms)
        self.tokens = _number(_as_fields(fields.get("usage")).get("completion_tokens"), self.tokens)


class Replies:
    """What all models have answered so far, and how their replies compare.

    Args:
        models: which models are asked.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self.of_models: Dict[str, Reply] = {model: Reply() for model in models}
        self.comparison = ""
        self.comparison_model: Optional[str] = None
        self.is_compared = False

    def take(self, event: CompareStreamEvent) -> None:
        """Add what an event brings."""
        name = event.event or ""
        fields = event.data or {}
        if event.model is not None and not name.startswith("comparison"):
            reply = self.of_models.setdefault(event.model, Reply())
            reply.text += event.delta or ""
            reply.take(fields)
            reply.is_complete = reply.is_complete or name == "model_stream_done"
            return
        self.comparison_model = event.comparison_model or self.comparison_model
        self.comparison += event.delta or ""
        # After these, no model writes any more.
        if name == "model_done" or self.comparison or event.total_latency_ms is not None:
            self._take_results(fields.get("results"))
            for reply in self.of_models.values():
                reply.is_complete = True
        self.is_compared = self.is_compared or event.total_latency_ms is not None

    def _take_results(self, results: Any) -> None:
        for result in cast("List[object]", results) if isinstance(results, list) else ():
            fields = _as_fields(result)
            model = fields.get("model")
            if isinstance(model, str):
                reply = self.of_models.setdefault(model, Reply())
                reply.text = reply.text or str(fields.get("content") or "")
                reply.take(fields)


def _as_fields(value: object) -> Dict[str, Any]:
    return cast("Dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: Any, otherwise: Any) -> Any:
    return value if isinstance(value, (int, float)) else otherwise


@contextmanager
def _in_silence(replies: Replies) -> Generator[Callable[[], None], None, None]:
    yield lambda: None


@contextmanager
def _in_sections(replies: Replies) -> Generator[Callable[[], None], None, None]:
    """Prints each reply under its model's name once it is complete, and the comparison as it comes."""
    printed: Dict[str, Reply] = {}
    compared = 0

    def print_complete(write: Write, complete: Callable[[Reply], bool]) -> None:
        for model, reply in replies.of_models.items():
            if model not in printed and complete(reply):
                write(f"{_heading(model, is_first=not printed)}{_body(reply)}")
                printed[model] = reply

    with line_of_text() as write:

        def refresh() -> None:
            nonlocal compared
            print_complete(write, lambda reply: reply.is_complete)
            if replies.comparison and not compared:
                write(_heading(f"comparison by {replies.comparison_model or 'the gateway'}", is_first=not printed))
            write(replies.comparison[compared:])
            compared = len(replies.comparison)

        try:
            yield refresh
        finally:
            # A stream that broke off leaves replies that are incomplete, and yet all that there will be.
            print_complete(write, lambda reply: bool(reply.text))


def _heading(title: str, *, is_first: bool) -> str:
    return f"{'' if is_first else chr(10)}== {on_one_line(title)} ==\n"


def _body(reply: Reply) -> str:
    parts = [part for part in (reply.text, reply.error and f"failed: {on_one_line(reply.error)}") if part]
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)
