"""``meshapi models``: which models there are, and what they cost."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, List, Literal, NamedTuple, Optional, Sequence

import click

from .gateway import base_url_option, drive, find_gateway, json_option, timeout_option, transport_option
from .output import document, is_terminal, load_screen, on_one_line, say, write_json

if TYPE_CHECKING:
    from meshapi_core import ModelInfo, ModelSearchParams

    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

    Kind = Literal["text", "embedding", "image", "audio", "video"]

__all__ = ["models"]

_COLUMNS = ("model", "type", "context", "$ in / 1M", "$ out / 1M", "name")


class _Wanted(NamedTuple):
    """Which models to list."""

    is_free: bool
    kind: Optional[Kind]
    provider: Optional[str]
    words: Optional[str]


@click.command()
@click.option("--free", "is_free", is_flag=True, help="Only models that cost nothing.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["text", "embedding", "image", "audio", "video"]),
    help="Only models that make this.",
)
@click.option("--provider", help='Only models of this provider, such as "openai".')
@click.option("--search", "words", metavar="WORDS", help="Only models that have these words in their names.")
@transport_option
@json_option
@base_url_option
@timeout_option
def models(
    is_free: bool,
    kind: Optional[Kind],
    provider: Optional[str],
    words: Optional[str],
    transport: str,
    as_json: bool,
    base_url: Optional[str],
    timeout: float,
) -> None:
    """List the models: a table on a terminal, else a line for each with tabs between its fields.

    The prices are in US dollars for a million tokens.
    """
    wanted = _Wanted(is_free, kind, provider, words)
    screen = None if as_json or not is_terminal(sys.stdout) else load_screen()
    found: List[ModelInfo] = []
    with find_gateway(base_url, "its models are examples") as gateway:
        gateway.options["timeout"] = timeout
        drive(
            transport,
            gateway.options,
            lambda client: _find(client, wanted, found),
            lambda client: _find_async(client, wanted, found),
        )
    if as_json:
        write_json([document(model) for model in found])
    elif not found:
        say("No model is like that.")
    elif screen is not None:
        screen.print_table(_COLUMNS, [_row(model, "{:,}") for model in found], right_aligned=_COLUMNS[2:5])
    else:
        for model in found:
            click.echo("\t".join(_row(model, "{}")))


def _find(client: MeshAPI, wanted: _Wanted, found: List[ModelInfo]) -> None:
    with client:
        if wanted.words is None:
            found += client.models.list(free=wanted.is_free or None, type=wanted.kind, provider=wanted.provider)
            return
        with client.models.iterate(_search(wanted)) as models:
            found += (model for model in models if _is_wanted(model, wanted))


async def _find_async(client: AsyncMeshAPI, wanted: _Wanted, found: List[ModelInfo]) -> None:
    async with client:
        if wanted.words is None:
            found += await client.models.list(free=wanted.is_free or None, type=wanted.kind, provider=wanted.provider)
            return
        async with client.models.iterate(_search(wanted)) as models:
            found += [model async for model in models if _is_wanted(model, wanted)]


def _search(wanted: _Wanted) -> ModelSearchParams:
    from meshapi_core import ModelSearchParams

    # Large pages: all of them are wanted.
    return ModelSearchParams(q=wanted.words, free=wanted.is_free or None, limit=100)


def _is_wanted(model: ModelInfo, wanted: _Wanted) -> bool:
    """What a search cannot ask for: it knows brands and modalities, but neither providers nor types."""
    return wanted.kind in (None, model.model_type) and wanted.provider in (None, model.provider)


def _row(model: ModelInfo, number: str) -> Sequence[str]:
    context = model.context_length or model.context_window
    pricing = model.pricing
    prices = (
        ("", "")
        if pricing is None
        else (
            _price(pricing.prompt_usd_per_1m, pricing.prompt_usd_per_1k),
            _price(pricing.completion_usd_per_1m, pricing.completion_usd_per_1k),
        )
    )
    cells = (model.id or "", model.model_type or "", number.format(context) if context else "", *prices)
    return [on_one_line(cell) for cell in (*cells, model.name or "")]


def _price(per_million: Optional[str], per_thousand: Optional[str]) -> str:
    if per_million is not None or per_thousand is None:
        return per_million or ""
    try:
        return f"{(Decimal(per_thousand) * 1000).normalize():f}"
    except InvalidOperation:
        return ""
