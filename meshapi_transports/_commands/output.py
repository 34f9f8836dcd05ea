"""How commands print: text for people, without the control codes that a server could hide in it, and JSON."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, TextIO

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Write",
    "document",
    "is_terminal",
    "json_text",
    "line_of_text",
    "load_screen",
    "on_one_line",
    "printable",
    "say",
    "write_json",
]

Write = Callable[[str], None]

# A model or a server writes what it likes, and a terminal obeys control characters: they could move the cursor, forge
# other output or set the window's title.  A carriage return at the end of a line means nothing; alone, it overwrites.
_CONTROL_CHARACTERS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_CONTROL_CHARACTERS[ord("\r")] = ""


def printable(text: str) -> str:
    """`text` with a replacement character for each control character, but for line breaks and tabs."""
    return text.translate(_CONTROL_CHARACTERS)


def on_one_line(text: str) -> str:
    """`text`, printable, its line breaks and runs of blanks each made one blank."""
    return printable(" ".join(text.split()))


def is_terminal(stream: Optional[TextIO]) -> bool:
    """Whether people look at `stream`; a process without a desktop console has none."""
    return stream is not None and stream.isatty()


def load_screen() -> Any:
    """The module of all that is drawn on a terminal.

    Raises:
        ClickException: its library is not installed.
    """
    try:
        from . import screen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        message = "the command line needs its library: pip install 'meshapi-transports[cli]'"
        raise click.ClickException(message) from None
    return screen


def say(message: str) -> None:
    """Tell people something beside the output, as one line on the standard error."""
    click.echo(on_one_line(message), err=True)


def document(answer: BaseModel) -> Any:
    """The JSON value that the gateway sent, as Python's own types."""
    # By way of text, in which pydantic writes what JSON has no number for (NaN) as null.
    return json.loads(answer.model_dump_json(exclude_unset=True))


def json_text(value: Any) -> str:
    """`value` as JSON on one line, in ASCII: it survives any terminal and any encoding of the standard output."""
    return json.dumps(value)


def write_json(value: Any) -> None:
    """Print `value` as a line of JSON."""
    click.echo(json_text(value))


@contextmanager
def line_of_text() -> Generator[Write, None, None]:
    """Prints text at once, piece by piece, and ends its last line, however the text itself ends."""
    last = "\n"

    def write(piece: str) -> None:
        nonlocal last
        piece = printable(piece)
        if piece:
            last = piece
            click.echo(piece, nl=False)

    try:
        yield write
    finally:
        if not last.endswith("\n"):
            click.echo()
