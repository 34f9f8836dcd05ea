"""Files of this machine, which the core cannot open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterator, Union

if TYPE_CHECKING:
    from meshapi_core import BatchLines

    BatchSource = Union[BatchLines, str, os.PathLike[str]]
    """The requests of a batch: one by one, or the path of a JSONL file that has one on each line."""

__all__ = ["BatchSource", "lines_of"]


def lines_of(source: BatchSource) -> BatchLines:
    """What `source` holds, line by line if it is a path.

    Raises:
        OSError: while the lines are read: the file could not be.
    """
    return _lines(source) if isinstance(source, (str, os.PathLike)) else source


def _lines(path: Union[str, os.PathLike[str]]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from file
