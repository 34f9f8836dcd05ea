"""All that a transport over another HTTP library is made of, for whoever writes one.

A transport is two small classes.  One sends a request and returns the answer once its head has come; the other reads
that answer's body.  Their protocols are `Transport` and `Answer`, or `AsyncTransport` and `AsyncAnswer` for coroutines.
The clients' methods are `MeshAPI` and `AsyncMeshAPI` here; derive from one of them and hand it a transport::

    class MeshAPI(protocol.MeshAPI):
        def __init__(self, *, session: Optional[Session] = None, **options: Unpack[protocol.ClientOptions]) -> None:
            super().__init__(MyTransport(session), options)

The rest is of help on the way: `headers_of` a request, `ContentDecoder` for the codings of its answer, `at_most` of two
limits, `Finalizer` for `AsyncAnswer.abort`.  `Request`, `Timeout` and `Failure` are `meshapi_core`'s.

Next: ``docs/write-a-transport.md``, and `meshapi_transports.testing.conformance`, which tells what is still wrong.
Nothing here loads an HTTP library.
"""

from __future__ import annotations

from ._async import AsyncAnswer, AsyncItems, AsyncStream, AsyncTransport
from ._content_coding import ACCEPT_ENCODING, ContentCodingError, ContentDecoder
from ._core import ClientOptions
from ._driver import FailureTable, at_most, headers_of
from ._faces._async.client import AsyncMeshAPI
from ._faces._sync.client import MeshAPI
from ._finalizer import Finalizer
from ._sync import Answer, Items, Stream, Transport

__all__ = [
    "ACCEPT_ENCODING",
    "Answer",
    "AsyncAnswer",
    "AsyncItems",
    "AsyncMeshAPI",
    "AsyncStream",
    "AsyncTransport",
    "ClientOptions",
    "ContentCodingError",
    "ContentDecoder",
    "FailureTable",
    "Finalizer",
    "Items",
    "MeshAPI",
    "Stream",
    "Transport",
    "at_most",
    "headers_of",
]
