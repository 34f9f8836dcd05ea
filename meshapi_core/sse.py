"""Server-Sent Events, as the WHATWG standard parses them (HTML, section 9.2.6), from bytes as they come.

The standard is written for a stream of characters.  This decoder works on bytes, which gives the same events: CR and
LF cannot occur inside a UTF-8 sequence, so lines can be cut before they are decoded, and a character that was split
between two pieces is whole again by the time its line is.  Only CR, LF and CRLF end a line; U+2028, U+0085, VT and FF
are data.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

__all__ = ["SSEDecoder", "ServerSentEvent"]

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_BLANK = b"\n\n"
_BETWEEN = _BLANK + _DATA
_LINE_ENDS = (b"\n", b"\r")
# As numbers, since to look for bytes in bytes takes six times as long.
_LF, _CR = b"\n\r"
# Longer than any time that can be meant, and shorter than what int() refuses to convert.
_MAX_RETRY_DIGITS = 18


RawEvent = Union[bytes, Tuple[str, bytes, str]]
"""What a `ServerSentEvent` holds, undecoded; of one that has neither type nor id, as most, the data alone."""


class ServerSentEvent(NamedTuple):
    r"""One event of a stream.

    Attributes:
        event: its type; ``"message"`` where the stream named none.
        data: its data lines, joined with ``"\n"``.
        id: the last event id that the stream had set when this event was complete; ``""`` if none.
    """

    event: str
    data: str
    id: str


class SSEDecoder:
    """Turns the bytes of an event stream into `ServerSentEvent` objects.

    Feed it with `receive_data`, in pieces of any size; the division into pieces never changes what comes out.  It
    raises on no input: bytes that are not UTF-8 become U+FFFD, and an unfinished last block is never an event.

    Args:
        max_event_size: how many bytes the lines of one event may have together; without limit if ``None``.

    Attributes:
        retry: the reconnection time in milliseconds that the stream asked for last, or ``None``.
        last_event_id: the last event id of the blocks completed so far; ``""`` if none.
        is_overfull: whether an event was larger than it may be; nothing comes out from then on.
    """

    def __init__(self, max_event_size: Optional[int] = None) -> None:
        self.retry: Optional[int] = None
        self.last_event_id = ""
        self.is_overfull = False
        self._max_size = max_event_size
        self._size = 0
        self._start: Optional[bytes] = b""
        self._after_cr = False
        # Whether the next bytes may be read at a stroke.
        self._is_plain = max_event_size is None
        # The line under way is kept in pieces: joining it anew with each one would make long lines quadratic.
        self._line: List[bytes] = []
        self._event = ""
        self._data: List[bytes] = []
        self._id = ""

    def receive_data(self, data: bytes) -> List[ServerSentEvent]:
        """Take the next bytes of the stream.

        Args:
            data: any number of bytes, cut anywhere.

        Returns:
            The events that these bytes completed, in order; often none.
        """
        events = [("message", raw, "") if isinstance(raw, bytes) else raw for raw in self.receive_raw(bytes(data))]
        return [ServerSentEvent(event, data.decode("utf-8", "replace"), id) for event, data, id in events]

    def receive_raw(self, data: bytes) -> Sequence[RawEvent]:
        """Take the next bytes of the stream, as `receive_data` does, but leave the data of the events undecoded."""
        # Most streams are nothing but events of one line, and to decide about that line by line costs more than all
        # the rest: the bytes are cut as if that were so, and then it is seen whether it is.
        if self._is_plain and _CR not in data:
            if not self._line and data[:6] == _DATA and data[-2:] == _BLANK and _LF not in (event := data[6:-2]):
                self._start = None
                return [event]
            if (end := data.rfind(_BLANK)) >= 0:
                whole = b"".join([*self._line, data]) if self._line else data
                if whole[:6] == _DATA:
                    end += len(whole) - len(data)
                    rest = whole[end + 2 :]
                    events = whole[6:end].split(_BETWEEN)
                    # To look for a byte in all of them is faster than to count it.
                    if _LF not in b"".join(events) and _LF not in rest:
                        self._line = [rest] if rest else []
                        self._start = None
                        return events
        raw_events = self._receive_any(data)
        # Whether there is nothing to be remembered but the beginning of a line.
        self._is_plain = self._max_size is None and not (
            self._data or self._event or self._id or self.last_event_id or self._after_cr or self._start
        )
        return raw_events

    def _receive_any(self, data: bytes) -> List[RawEvent]:
        if self.is_overfull:
            return []
        if self._start is not None:
            data = self._skip_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        unfinished = b"" if data.endswith(_LINE_ENDS) else lines.pop()
        if self._line and lines:
            self._line.append(lines[0])
            lines[0] = b"".join(self._line)
            self._line.clear()
        if unfinished:
            self._line.append(unfinished)
        if self._max_size is not None:
            lines = self._within(self._max_size, lines)
        return self._receive_lines(lines)

    def _within(self, limit: int, lines: List[bytes]) -> List[bytes]:
        """The beginning of `lines` up to the one that makes an event too large, if there is one."""
        for at, line in enumerate(lines):
            if self._size + len(line) > limit:
                self.is_overfull = True
                return lines[:at]
            # A blank line begins another event; a comment is part of none.
            if not line.startswith(b":"):
                self._size = self._size + len(line) if line else 0
        self.is_overfull = self._size + sum(map(len, self._line)) > limit
        return lines

    def _skip_bom(self, data: bytes) -> bytes:
        start = (self._start or b"") + data
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start[len(_BOM) :] if start.startswith(_BOM) else start

    def _receive_lines(self, lines: List[bytes]) -> List[RawEvent]:
        events: List[RawEvent] = []
        for line in lines:
            if not line:
                self.last_event_id = self._id
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    is_named = self._event or self._id
                    events.append((self._event or "message", data, self._id) if is_named else data)
                    self._data.clear()
                self._event = ""
            elif line.startswith(b"data: "):
                self._data.append(line[6:])
            else:
                self._receive_field(line)
        return events

    def _receive_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry = int(value)
