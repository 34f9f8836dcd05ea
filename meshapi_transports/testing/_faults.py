"""What can be made to go wrong with one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _checks as checks

_FIELDS: dict[str, checks.Check] = {
    "status": checks.integer(at_least=300, at_most=599),
    "retry_after": checks.by_type(
        {str: checks.header_text, int: checks.integer(at_least=0), float: checks.number(at_least=0)},
        "a number or a string",
    ),
    "headers": checks.mapping(checks.header_text),
    "content_type": checks.header_text,
    "body": checks.raw_bytes,
    "encoding": checks.one_of("gzip", "deflate"),
    "cut_before_head": checks.boolean,
    "cut_after": checks.integer(at_least=0),
    "reset": checks.boolean,
    "stall_before_head": checks.boolean,
    "stall_after": checks.integer(at_least=0),
    "split": checks.by_type(
        {
            int: checks.integer(at_least=1),
            list: checks.array(checks.integer(at_least=1)),
            tuple: checks.array(checks.integer(at_least=1)),
        },
        "an integer or a list of integers",
    ),
    "delay": checks.number(at_least=0),
    "line_ending": checks.one_of("\n", "\r\n", "\r"),
    "space": checks.boolean,
    "bom": checks.boolean,
    "multiline": checks.boolean,
    "comments": checks.integer(at_least=0),
    "done": checks.boolean,
    "finish": checks.boolean,
    "error_frame": checks.by_type({str: checks.text, dict: checks.mapping()}, "a string or an object"),
    "error_after": checks.integer(at_least=0),
}
_CHECK = checks.record(optional=_FIELDS)


@dataclass(frozen=True)
class Fault:
    r"""One way, or several ways at once, in which the local gateway is to spoil an answer.

    Every field is optional and they combine: ``Fault(split=1, line_ending="\r\n", delay=0.01)`` is a slow stream, one
    byte to an HTTP chunk, with CRLF. Hand it to `inject`; for a gateway in another process send the
    fields as a JSON object in the request header ``X-Local-Gateway-Fault`` (``body`` is a string there).

    Args:
        status: 300 to 599, answered instead of calling the endpoint; an error status brings its error envelope.
        retry_after: the ``Retry-After`` header. A number means seconds, and a whole number also stands in the
            envelope as ``retry_after_seconds``; a string is sent as it is, for instance an HTTP date.
        headers: further headers, which replace those of the same name, for instance ``{"Location": "/elsewhere"}``.
        content_type: the ``Content-Type``, whatever the body is.
        body: sent in place of the body, for instance a proxy's HTML page.
        encoding: ``"gzip"`` or ``"deflate"``: the body is compressed, whatever the client accepts; each chunk of a
            stream is flushed.
        cut_before_head: close the connection without any answer.
        cut_after: close the connection after so many bytes of the body, without ending the body. Bytes are counted as
            they are sent, after compression.
        reset: make the cut a TCP reset (RST) rather than an orderly close (FIN).
        stall_before_head: send nothing at all until the client leaves or the gateway stops.
        stall_after: fall silent in the same way after so many bytes of the body; 0 sends the head only.
        split: the sizes in bytes of the pieces that the body is written in, each an HTTP chunk of its own: one size
            for all of them, or a sequence of sizes, after which the rest follows as it comes.
        delay: seconds to wait before each piece of the body.
        line_ending: of a stream: ``"\n"``, ``"\r\n"`` or ``"\r"``. This field and the following are for streams only.
        space: ``False`` writes ``data:`` without the space after it.
        bom: begin with a byte order mark.
        multiline: spread each event's JSON over several ``data:`` lines.
        comments: the number of keep-alive comments between two events, each a piece of its own (see ``delay``).
        done: ``False`` leaves out ``[DONE]``; ``True`` sends it also where it is not usual (responses, compare).
        finish: ``False`` ends the stream in the middle: nothing from the ``finish_reason`` (chat) or the final event
            (the others) on, and no ``[DONE]``.
        error_frame: sent as ``data: {"error": ...}``; the stream ends there.
        error_after: the number of events before the ``error_frame``.

    Raises:
        ValueError: a field has a value that it cannot have.
    """

    status: int | None = None
    retry_after: float | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str | None = None
    body: bytes | None = None
    encoding: str | None = None

    cut_before_head: bool = False
    cut_after: int | None = None
    reset: bool = False
    stall_before_head: bool = False
    stall_after: int | None = None
    split: int | Sequence[int] | None = None
    delay: float = 0.0

    line_ending: str = "\n"
    space: bool = True
    bom: bool = False
    multiline: bool = False
    comments: int = 0
    done: bool | None = None
    finish: bool = True
    error_frame: Mapping[str, Any] | str | None = None
    error_after: int = 1

    def __post_init__(self) -> None:
        problems = [f"{found['loc'][0]} {found['msg']}" for found in _CHECK(vars(self), ())]
        if self.reset and self.cut_after is None and not self.cut_before_head:
            problems.append("reset needs cut_after or cut_before_head")
        if problems:
            raise ValueError("; ".join(problems))


def fault_from_json(source: str) -> Fault:
    """Read what the header ``X-Local-Gateway-Fault`` holds.

    Raises:
        ValueError: it is not a JSON object of a fault's fields.
    """
    fields = json.loads(source)
    if not checks.is_object(fields):
        raise ValueError("not a JSON object")
    unknown = sorted(set(fields) - set(_FIELDS))
    if unknown:
        raise ValueError("unknown field " + ", ".join(map(repr, unknown)))
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(given.get("body"), str):
        given["body"] = given["body"].encode("utf-8")
    return Fault(**given)


NO_FAULT = Fault()
