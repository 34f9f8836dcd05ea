"""``meshapi embed``: texts as vectors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import click

from .files import lines_of_text
from .gateway import base_url_option, drive, find_gateway, json_option, timeout_option, transport_option
from .output import document, is_terminal, load_screen, on_one_line, write_json

if TYPE_CHECKING:
    from meshapi_core import EmbeddingsParams, EmbeddingsResponse

    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

__all__ = ["embed"]

_SHOWN_NUMBERS = 4


@click.command()
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--file", "files", metavar="FILE", multiple=True, help="Read texts from FILE, one on each line.")
@click.option("--model", help="Which model makes the vectors.  [default: the gateway's choice]")
@click.option("--dimensions", type=click.IntRange(min=1), help="How many numbers to a vector.")
@transport_option
@json_option
@base_url_option
@timeout_option
def embed(
    texts: Sequence[str],
    files: Sequence[str],
    model: Optional[str],
    dimensions: Optional[int],
    transport: str,
    as_json: bool,
    base_url: Optional[str],
    timeout: float,
) -> None:
    """Turn each TEXT into a vector.

    "-" stands for the lines of the standard input, each a text, and so it does as --file.

    A terminal shows a table with the first numbers of each vector; elsewhere each is a line of its numbers, with blanks
    between them.
    """
    from meshapi_core import EmbeddingsParams

    inputs: List[str] = []
    for text in texts:
        inputs += lines_of_text("-") if text == "-" else [text]
    for file in files:
        inputs += lines_of_text(file)
    if not inputs:
        raise click.UsageError("There is no text: give TEXT, or --file FILE.")
    params = EmbeddingsParams(input=inputs, model=model, dimensions=dimensions)
    screen = None if as_json or not is_terminal(sys.stdout) else load_screen()
    answers: List[EmbeddingsResponse] = []
    with find_gateway(base_url, "its vectors mean nothing") as gateway:
        gateway.options["timeout"] = timeout
        drive(
            transport,
            gateway.options,
            lambda client: _embed(client, params, answers),
            lambda client: _embed_async(client, params, answers),
        )
    (answer,) = answers
    vectors = answer.vectors()
    if len(vectors) != len(inputs):
        raise ValueError(f"the gateway answered {len(inputs)} texts with {len(vectors)} vectors")
    if as_json:
        write_json(_with_numbers(answer))
    elif screen is not None:
        screen.print_table(("text", "numbers", "vector"), [_row(*pair) for pair in zip(inputs, vectors)])
    else:
        for vector in vectors:
            click.echo(" ".join(map(repr, vector)))


def _embed(client: MeshAPI, params: EmbeddingsParams, answers: List[EmbeddingsResponse]) -> None:
    with client:
        answers.append(client.embeddings.create(params))


async def _embed_async(client: AsyncMeshAPI, params: EmbeddingsParams, answers: List[EmbeddingsResponse]) -> None:
    async with client:
        answers.append(await client.embeddings.create(params))


def _with_numbers(answer: EmbeddingsResponse) -> Dict[str, Any]:
    """The answer as it came, but its vectors as numbers, also from a server that sends base64 to everyone."""
    value: Dict[str, Any] = document(answer)
    for item, shown in zip(answer.data, value["data"]):
        shown["embedding"] = item.floats()
    return value


def _row(text: str, vector: Sequence[float]) -> Tuple[str, str, str]:
    numbers = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    more = ", ..." if len(vector) > _SHOWN_NUMBERS else ""
    return on_one_line(text), str(len(vector)), f"[{numbers}{more}]"
