"""How a body gets to the client: it is an iterator of byte strings all the way.

An endpoint's events are framed as Server-Sent Events, what comes of it is compressed and cut to size, and the
connection writes it out, one HTTP chunk a piece. A fault can bend each of these stages.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

from starlette.types import Message, Receive, Send

from ._faults import Fault

# Windows declares the two fields of its linger structure as short.
_LINGER_FOR_NO_TIME = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_SSE_BYTE_ORDER_MARK = "\ufeff".encode()


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream: its JSON ``data``, whether it belongs to the stream's ending, and its name, if any."""

    data: Any
    closing: bool = False
    name: str | None = None


def encode_json(value: Any, indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)


def encode_text(source: str) -> bytes:
    # JSON can escape half of a surrogate pair, and such a half cannot be written in UTF-8.
    return source.encode("utf-8", errors="replace")


def framed(events: Iterable[ServerEvent], fault: Fault, done: bool) -> Iterator[bytes]:
    """Yield the bytes of a whole event stream, one block a piece; ``done`` tells whether ``[DONE]`` is usual there."""
    blocks: Iterator[bytes] = (_block(event, fault) for event in _surviving(events, fault))
    if (done if fault.done is None else fault.done) and fault.finish and fault.error_frame is None:
        blocks = chain(blocks, [_lines(["data:" + " " * fault.space + "[DONE]"], fault)])
    for index, block in enumerate(_with_comments(blocks, fault)):
        yield _SSE_BYTE_ORDER_MARK + block if fault.bom and index == 0 else block


def _surviving(events: Iterable[ServerEvent], fault: Fault) -> Iterable[ServerEvent]:
    if not fault.finish:
        events = (event for event in events if not event.closing)
    if fault.error_frame is not None:
        events = chain(islice(events, fault.error_after), [ServerEvent({"error": fault.error_frame})])
    return events


def _block(event: ServerEvent, fault: Fault) -> bytes:
    space = " " if fault.space else ""
    data = encode_json(event.data, indent=2 if fault.multiline else None)
    name = [] if event.name is None else [f"event:{space}{event.name}"]
    return _lines([*name, *(f"data:{space}{line}" for line in data.split("\n"))], fault)


def _with_comments(blocks: Iterable[bytes], fault: Fault) -> Iterator[bytes]:
    comment = _lines([": keep-alive"], fault)
    for index, block in enumerate(blocks):
        if index:
            yield from repeat(comment, fault.comments)
        yield block


def _lines(lines: Sequence[str], fault: Fault) -> bytes:
    return encode_text("".join(line + fault.line_ending for line in [*lines, ""]))


def compressed(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the pieces in ``gzip`` or ``deflate``, each flushed so that it can be read at once."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS)
    for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()


def resized(pieces: Iterable[bytes], split: int | Sequence[int]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of the given sizes; when the sizes run out, the rest as it comes."""
    sizes = repeat(split) if isinstance(split, int) else iter(split)
    size = next(sizes, None)
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while size is not None and len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
            size = next(sizes, None)
        if size is None and waiting:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


class Connection:
    """The way to one client: what ASGI offers, and the transport below it, which can be cut."""

    def __init__(self, transport: asyncio.Transport, receive: Receive, send: Send) -> None:
        self._transport = transport
        self._receive = receive
        self._send = send

    async def deliver(self, head: Message, pieces: Iterable[bytes], fault: Fault) -> None:
        """Send the head and the pieces, as far as the fault lets them through."""
        if fault.stall_before_head:
            return await self._until_gone()
        if fault.cut_before_head:
            return await self._cut(fault.reset)
        await self._send(head)
        limit = min((bound for bound in (fault.cut_after, fault.stall_after) if bound is not None), default=None)
        sent = 0
        for piece in pieces:
            if fault.delay and await self._gone_within(fault.delay):
                return None
            if limit is not None and sent + len(piece) >= limit:
                await self._write(piece[: limit - sent])
                return await (self._cut(fault.reset) if limit == fault.cut_after else self._until_gone())
            await self._write(piece)
            sent += len(piece)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _cut(self, reset: bool) -> None:
        if reset:
            # A socket that lingers for no time answers its close with RST.
            connected = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)
        self._transport.close()
        # To return before the connection is gone would be an unfinished answer, which uvicorn logs as an error.
        await self._until_gone()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _gone_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._until_gone(), timeout=seconds)
        except asyncio.TimeoutError:
            return False
        return True
