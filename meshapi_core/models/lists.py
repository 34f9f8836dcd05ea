"""Answers that are lists."""

from typing import List, TypeVar

from ..actions import ResponseHead
from ._base import Answer, Headed

__all__ = ["AnswerList"]

A = TypeVar("A", bound=Answer)


class AnswerList(List[A], Headed):
    """An answer that is a list; it knows its request's id and headers, as each of its items does."""

    def _take_head(self, head: ResponseHead) -> None:
        super()._take_head(head)
        for item in self:
            item._take_head(head)
