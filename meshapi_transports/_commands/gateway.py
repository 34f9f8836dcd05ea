"""How commands reach a gateway: the options that they share, and a client over the transport that was chosen.

A command says what it asks of a client once for blocking code and once for coroutines; `drive` picks the one that the
chosen transport needs, and nothing else here knows of transports.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Generator, NamedTuple, Optional

import click

from .._core import ClientOptions
from .output import say

if TYPE_CHECKING:
    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

__all__ = ["Gateway", "base_url_option", "drive", "find_gateway", "json_option", "timeout_option", "transport_option"]

transport_option = click.option(
    "--transport",
    type=click.Choice(["httpx", "httpx2", "aiohttp", "requests", "trio", "stdlib"]),
    default="httpx",
    show_default=True,
    help="The HTTP library to send with.",
)
base_url_option = click.option("--base-url", envvar="MESHAPI_BASE_URL", show_envvar=True, help="Where the gateway is.")
timeout_option = click.option(
    "--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for each next piece."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Gateway(NamedTuple):
    """Where to send: the arguments of a client, and whether the gateway ends with this process."""

    options: ClientOptions
    is_local: bool


@contextmanager
def find_gateway(
    base_url: Optional[str], hint: str = "it echoes the prompt", batch_seconds: float = 1.0
) -> Generator[Gateway, None, None]:
    """Where to send and with which key; for who has none, to a gateway that runs as long as this context.

    Args:
        base_url: the address that was asked for.
        hint: what to expect of a local gateway.
        batch_seconds: how long a batch takes there: long enough to be watched.
    """
    if base_url is not None or os.environ.get("MESHAPI_API_KEY") or os.environ.get("MESHAPI_TOKEN"):
        yield Gateway({"base_url": base_url}, is_local=False)
        return
    try:
        from ..testing import LocalGateway
    except ImportError:
        raise click.ClickException(
            "no key is set: set MESHAPI_API_KEY, or try things without one after "
            "pip install 'meshapi-transports[testing]'"
        ) from None
    with LocalGateway(batch_seconds=batch_seconds) as gateway:
        say(f"No key is set (MESHAPI_API_KEY), so a local gateway answers: {hint}.")
        yield Gateway({"base_url": gateway.base_url, "token": gateway.token}, is_local=True)


def drive(
    transport: str,
    options: ClientOptions,
    talk: Callable[[MeshAPI], None],
    talk_async: Callable[[AsyncMeshAPI], Coroutine[Any, Any, None]],
) -> None:
    """Call `talk` or `talk_async`, whichever is the colour of `transport`, with a client that it closes."""
    if transport == "httpx":
        from .. import httpx

        talk(httpx.MeshAPI(**options))
    elif transport == "httpx2":
        from .. import httpx2

        talk(httpx2.MeshAPI(**options))
    elif transport == "requests":
        from .. import requests

        talk(requests.MeshAPI(**options))
    elif transport == "stdlib":
        from .. import stdlib

        talk(stdlib.MeshAPI(**options))
    elif transport == "aiohttp":
        import asyncio

        from .. import aiohttp

        asyncio.run(talk_async(aiohttp.AsyncMeshAPI(**options)))
    else:
        from .. import trio as over_trio

        client = over_trio.AsyncMeshAPI(**options)
        # Not before the adapter, which says what to install where there is no trio.
        import trio

        trio.run(talk_async, client)
