"""Content codings undone as the bytes come (RFC 9110, section 8.4.1), the same for every transport."""

from __future__ import annotations

import zlib
from typing import List, Optional

__all__ = ["ACCEPT_ENCODING", "ContentCodingError", "ContentDecoder"]

ACCEPT_ENCODING = "gzip, deflate"
"""What `ContentDecoder` can undo, for the request's ``Accept-Encoding``."""

# One coding makes a thousand bytes of one at most, one within another a million.  What makes so many of the few that
# are read at once is a trap.
_MAX_PIECE = 1 << 27

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class ContentCodingError(Exception):
    """The body is not in the coding that its head names, or breaks off in it."""


class ContentDecoder:
    """Undoes the codings of one body.

    Args:
        content_encoding: the value of the ``Content-Encoding`` field; ``""`` if there is none.
    """

    def __init__(self, content_encoding: str) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        # The last coding named was applied last.
        self._codings = [_Coding(name) for name in reversed(names) if name not in ("", "identity")]

    def decode(self, data: bytes) -> bytes:
        """The bytes that `data` stands for, as far as they can be told; often ``b""`` for a small piece.

        Raises:
            ContentCodingError: `data` is not what the coding makes, or the coding was not asked for.
        """
        for coding in self._codings:
            data = coding.decode(data)
        return data

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            ContentCodingError: the coding says that more is to come.
        """
        for coding in self._codings:
            coding.finish()


class _Coding:
    """One coding being undone; which form of it, the first byte may have to tell."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._format: Optional[int] = None
        self._inflate = zlib.decompressobj()

    def decode(self, data: bytes) -> bytes:
        pieces: List[bytes] = []
        left = _MAX_PIECE
        try:
            while data:
                if self._format is None:
                    self._format = self._format_of(data[0])
                    self._inflate = zlib.decompressobj(self._format)
                pieces.append(self._inflate.decompress(data, left))
                left -= len(pieces[-1])
                if left <= 0:
                    raise ContentCodingError("the body becomes too large when its coding is undone")
                data = self._inflate.unused_data
                if self._inflate.eof and self._format != _GZIP:
                    break
                if data:
                    # gzip files may be concatenated (RFC 1952, section 2.2).
                    self._inflate = zlib.decompressobj(_GZIP)
        except zlib.error as error:
            raise ContentCodingError(f"the body is not {self._name}, as its head says: {error}") from None
        return b"".join(pieces)

    def finish(self) -> None:
        if self._format is not None and not self._inflate.eof:
            raise ContentCodingError(f"the body breaks off in the middle of its {self._name} coding")

    def _format_of(self, first: int) -> int:
        if self._name in ("gzip", "x-gzip"):
            return _GZIP
        if self._name == "deflate":
            # Specified with a zlib header, which has 8 in its low bits, but often sent without.
            return _ZLIB if first & 0x0F == 8 else _RAW
        raise ContentCodingError(f"the body is in the coding {self._name!r}, which was not asked for")
