"""The client over httpx: `MeshAPI`, and `AsyncMeshAPI` under asyncio and trio.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._async import AsyncItems as AsyncItems
from ._async import AsyncStream as AsyncStream
from ._core import ClientOptions as ClientOptions
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._public import missing, public_type
from ._sync import Items as Items
from ._sync import Stream as Stream

try:
    import httpx

    from ._httpx_family import AsyncTransport, SyncTransport, timeout_of
except ImportError as error:
    raise missing("httpx") from error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *


class MeshAPI(_MeshAPI):
    """A client for blocking code, over httpx.

    Args:
        httpx_client: an ``httpx.Client`` to send with, for proxies, CAs, limits and the like; it is used as it is,
            and stays open when this client is closed.  A timeout that was set on it stands unless `timeout` is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``client.chat.completions.create(params)``.  Close the client, or use it in a ``with`` statement.
    """

    def __init__(self, *, httpx_client: Optional[httpx.Client] = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(SyncTransport(httpx, httpx_client), options, timeout_of(httpx, httpx_client))


class AsyncMeshAPI(_AsyncMeshAPI):
    """A client for coroutines, over httpx, under asyncio and trio.

    Args:
        async_httpx_client: an ``httpx.AsyncClient`` to send with, for proxies, CAs, limits and the like; it is used
            as it is, and stays open when this client is closed.  A timeout that was set on it stands unless `timeout`
            is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``await client.chat.completions.create(params)``.  Close the client with ``await client.aclose()``, or use it
    in an ``async with`` statement.  Its connections belong to the loop in which it was first used, so it can be used in
    no other: each loop needs a client of its own.
    """

    def __init__(
        self, *, async_httpx_client: Optional[httpx.AsyncClient] = None, **options: Unpack[ClientOptions]
    ) -> None:
        super().__init__(AsyncTransport(httpx, async_httpx_client), options, timeout_of(httpx, async_httpx_client))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
