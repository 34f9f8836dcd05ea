"""Checks for JSON values, built as tables of small functions: a check yields one problem for each thing that is wrong.

A problem has the shape that the gateway puts into ``details`` of a ``validation_error``: ``loc``, ``msg`` and ``type``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Union

from typing_extensions import TypeGuard

Location = tuple[Union[str, int], ...]
Problem = dict[str, Any]
Check = Callable[[Any, Location], Iterator[Problem]]

# No more of them than every Python turns into an integer.
_DIGITS = re.compile(r"[0-9]{1,18}")


def problem(loc: Location, msg: str, kind: str) -> Problem:
    return {"loc": list(loc), "msg": msg, "type": kind}


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    # JSON has no tuples; a fault's sizes may be one.
    return isinstance(value, (list, tuple))


def anything(value: Any, loc: Location) -> Iterator[Problem]:
    yield from ()


def text(value: Any, loc: Location) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield problem(loc, "should be a string", "string_type")


def text_up_to(length: int) -> Check:
    def check(value: Any, loc: Location) -> Iterator[Problem]:
        yield from text(value, loc)
        if isinstance(value, str) and len(value) > length:
            yield problem(loc, f"should have at most {length} characters", "string_too_long")

    return check


def nonempty_text(value: Any, loc: Location) -> Iterator[Problem]:
    yield from text(value, loc)
    if value == "":
        yield problem(loc, "should have at least 1 character", "string_too_short")


def header_text(value: Any, loc: Location) -> Iterator[Problem]:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        yield problem(loc, "should be a string of printable ASCII characters", "string_type")


def boolean(value: Any, loc: Location) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield problem(loc, "should be true or false", "bool_type")


def raw_bytes(value: Any, loc: Location) -> Iterator[Problem]:
    if not isinstance(value, bytes):
        yield problem(loc, "should be bytes", "bytes_type")


def integer(at_least: int | None = None, at_most: int | None = None) -> Check:
    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield problem(loc, "should be an integer", "int_type")
        else:
            yield from _range_problems(value, loc, at_least, at_most)

    return check


def number(at_least: float | None = None, at_most: float | None = None, above: float | None = None) -> Check:
    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield problem(loc, "should be a number", "float_type")
        elif above is not None and not value > above:
            yield problem(loc, f"should be greater than {above}", "greater_than")
        else:
            yield from _range_problems(value, loc, at_least, at_most)

    return check


def digits(at_least: int, at_most: int | None = None) -> Check:
    """A whole number as a query spells it."""

    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            yield problem(loc, "should be a whole number", "int_parsing")
        else:
            yield from _range_problems(int(value), loc, at_least, at_most)

    return check


def _range_problems(value: float, loc: Location, at_least: float | None, at_most: float | None) -> Iterator[Problem]:
    if at_least is not None and value < at_least:
        yield problem(loc, f"should be at least {at_least}", "greater_than_equal")
    if at_most is not None and value > at_most:
        yield problem(loc, f"should be at most {at_most}", "less_than_equal")


def one_of(*allowed: str) -> Check:
    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if value not in allowed:
            yield problem(loc, "should be one of " + ", ".join(map(repr, allowed)), "literal_error")

    return check


def array(item: Check, at_least: int = 0, at_most: int | None = None) -> Check:
    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if not is_list(value):
            yield problem(loc, "should be a list", "list_type")
            return
        if len(value) < at_least:
            yield problem(loc, f"should have at least {at_least} items", "too_short")
        if at_most is not None and len(value) > at_most:
            yield problem(loc, f"should have at most {at_most} items", "too_long")
        for index, element in enumerate(value):
            yield from item(element, (*loc, index))

    return check


def mapping(values: Check = anything) -> Check:
    """Any object whose values all pass."""

    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if not is_object(value):
            yield problem(loc, "should be an object", "dict_type")
            return
        for key, element in value.items():
            yield from values(element, (*loc, key))

    return check


def record(required: Mapping[str, Check] | None = None, optional: Mapping[str, Check] | None = None) -> Check:
    """An object with named fields: an optional one may be absent or null, and one that no table names is let pass."""

    def check(value: Any, loc: Location) -> Iterator[Problem]:
        if not is_object(value):
            yield problem(loc, "should be an object", "dict_type")
            return
        for name, field in (required or {}).items():
            if name in value:
                yield from field(value[name], (*loc, name))
            else:
                yield problem((*loc, name), "is required", "missing")
        for name, field in (optional or {}).items():
            if value.get(name) is not None:
                yield from field(value[name], (*loc, name))

    return check


def tagged(tag: str, variants: Mapping[str, Check]) -> Check:
    """An object whose field ``tag`` says which of the variants it is."""
    which = record(required={tag: one_of(*variants)})

    def check(value: Any, loc: Location) -> Iterator[Problem]:
        problems = list(which(value, loc))
        yield from problems or variants[value[tag]](value, loc)

    return check


def by_type(variants: Mapping[type[Any], Check], expected: str) -> Check:
    """A value of one of several JSON types, each with a check of its own; ``expected`` completes "should be ..."."""

    def check(value: Any, loc: Location) -> Iterator[Problem]:
        for kind, variant in variants.items():
            if isinstance(value, kind) and not isinstance(value, bool):
                yield from variant(value, loc)
                return
        yield problem(loc, f"should be {expected}", "union_type")

    return check
