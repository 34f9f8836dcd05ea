"""Files that commands read, of which ``-`` is the standard input."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Generator, Iterable, List, Union

__all__ = ["lines_of_text", "opened"]


@contextmanager
def opened(path: str) -> Generator[Iterable[Union[str, bytes]], None, None]:
    """The lines of the file at `path`, in bytes; those of the standard input as it gives them.

    Raises:
        OSError: the file cannot be read.
    """
    if path == "-":
        yield sys.stdin
        return
    with open(path, "rb") as file:
        yield file


def lines_of_text(path: str) -> List[str]:
    """The lines of a file of text in UTF-8 that are not empty, without their ends.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no text; the message names it, counted from 1.
    """
    texts: List[str] = []
    with opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line if isinstance(line, str) else line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"{path}: line {number}: not a text in UTF-8") from None
            text = text.rstrip("\r\n")
            if text.strip():
                texts.append(text)
    return texts
