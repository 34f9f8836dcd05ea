"""What ``meshapi`` can do.

A command says what it asks of a client once for blocking code and once for coroutines; `_drive` picks the one that the
chosen transport needs, and nothing else here knows of transports.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Generator, Optional

import click

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ChatCompletionParams,
    ChatMessage,
    ContentPartText,
    MeshAPIError,
    __version__,
)

from ._core import ClientOptions

if TYPE_CHECKING:
    from meshapi_core import ChatCompletionChunk, ChatCompletionResponse

    from ._faces._async.client import AsyncMeshAPI
    from ._faces._sync.client import MeshAPI

__all__ = ["meshapi"]

# What a shell reports of a program that Ctrl-C has ended: 128, and the number of the signal.
_INTERRUPTED = 130

Write = Callable[[str], None]


class _Commands(click.Group):
    """Commands whose errors are a line for people, and never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except MeshAPIError as error:
            raise _one_line(f"{error}{_advice(error)}") from None
        except BrokenPipeError:
            # Whoever read the output has seen enough; click ends without a word.
            raise
        except (ImportError, OSError, ValueError) as error:
            raise _one_line(str(error)) from None


def _one_line(message: str) -> click.ClickException:
    return click.ClickException(" ".join(message.split()))


def _advice(error: MeshAPIError) -> str:
    if isinstance(error, AuthenticationError):
        return "; check the key in MESHAPI_API_KEY"
    if isinstance(error, APITimeoutError):
        return "; --timeout sets how many seconds to wait"
    if isinstance(error, APIConnectionError):
        return "; check the network, and --base-url if you gave one"
    return ""


@click.group(cls=_Commands)
@click.version_option(__version__)
def meshapi() -> None:
    """Talk to the MeshAPI gateway.

    The key is read from MESHAPI_API_KEY.  Without one, a local gateway answers, so that things can be tried.
    """


@meshapi.command()
@click.argument("prompt")
@click.option(
    "--transport",
    type=click.Choice(["httpx", "httpx2", "aiohttp", "requests", "trio", "stdlib"]),
    default="httpx",
    show_default=True,
    help="The HTTP library to send with.",
)
@click.option("--stream", is_flag=True, help="Print the answer piece by piece, as the model writes it.")
@click.option("--model", help="Which model to ask.  [default: the gateway's choice]")
@click.option("--system", help="What to tell the model before the prompt.")
@click.option("--base-url", envvar="MESHAPI_BASE_URL", show_envvar=True, help="Where the gateway is.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for each next piece.")
def chat(
    prompt: str,
    transport: str,
    stream: bool,
    model: Optional[str],
    system: Optional[str],
    base_url: Optional[str],
    timeout: float,
) -> None:
    """Ask a chat model, and print its answer.

    PROMPT is what to ask; "-" reads it from the standard input.
    """
    if prompt == "-":
        prompt = sys.stdin.read()
    messages = [ChatMessage(role="user", content=prompt)]
    if system is not None:
        messages.insert(0, ChatMessage(role="system", content=system))
    params = ChatCompletionParams(messages=messages, model=model)
    with _gateway(base_url) as options, _line_of_text() as write:
        options["timeout"] = timeout
        _drive(
            transport,
            options,
            lambda client: _chat(client, params, stream, write),
            lambda client: _chat_async(client, params, stream, write),
        )


def _chat(client: MeshAPI, params: ChatCompletionParams, stream: bool, write: Write) -> None:
    with client:
        if not stream:
            write(_text_of_completion(client.chat.completions.create(params)))
            return
        with client.chat.completions.stream(params) as chunks:
            for chunk in chunks:
                write(_text_of_chunk(chunk))


async def _chat_async(client: AsyncMeshAPI, params: ChatCompletionParams, stream: bool, write: Write) -> None:
    async with client:
        if not stream:
            write(_text_of_completion(await client.chat.completions.create(params)))
            return
        async with client.chat.completions.stream(params) as chunks:
            async for chunk in chunks:
                write(_text_of_chunk(chunk))


def _text_of_completion(completion: ChatCompletionResponse) -> str:
    message = completion.choices[0].message if completion.choices else None
    content = None if message is None else message.content
    if isinstance(content, list):
        return "".join(part.text for part in content if isinstance(part, ContentPartText))
    return content or ""


def _text_of_chunk(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta is not None)


def _drive(
    transport: str,
    options: ClientOptions,
    talk: Callable[[MeshAPI], None],
    talk_async: Callable[[AsyncMeshAPI], Coroutine[Any, Any, None]],
) -> None:
    """Call `talk` or `talk_async`, whichever is the colour of `transport`, with a client that it closes."""
    if transport == "httpx":
        from . import httpx

        talk(httpx.MeshAPI(**options))
    elif transport == "httpx2":
        from . import httpx2

        talk(httpx2.MeshAPI(**options))
    elif transport == "requests":
        from . import requests

        talk(requests.MeshAPI(**options))
    elif transport == "stdlib":
        from . import stdlib

        talk(stdlib.MeshAPI(**options))
    elif transport == "aiohttp":
        import asyncio

        from . import aiohttp

        asyncio.run(talk_async(aiohttp.AsyncMeshAPI(**options)))
    else:
        from . import trio as over_trio

        client = over_trio.AsyncMeshAPI(**options)
        # Not before the adapter, which says what to install where there is no trio.
        import trio

        trio.run(talk_async, client)


@contextmanager
def _gateway(base_url: Optional[str]) -> Generator[ClientOptions, None, None]:
    """Where to send and with which key; for who has none, to a gateway that runs as long as this context."""
    if base_url is not None or os.environ.get("MESHAPI_API_KEY") or os.environ.get("MESHAPI_TOKEN"):
        yield {"base_url": base_url}
        return
    try:
        from .testing import LocalGateway
    except ImportError:
        raise click.ClickException(
            "no key is set: set MESHAPI_API_KEY, or try things without one after "
            "pip install 'meshapi-transports[testing]'"
        ) from None
    with LocalGateway() as gateway:
        click.echo("No key is set (MESHAPI_API_KEY), so a local gateway answers: it echoes the prompt.", err=True)
        yield {"base_url": gateway.base_url, "token": gateway.token}


@contextmanager
def _line_of_text() -> Generator[Write, None, None]:
    """Prints text at once, piece by piece, and ends its last line, however the text itself ends."""
    last = "\n"

    def write(piece: str) -> None:
        nonlocal last
        if piece:
            last = piece
            click.echo(piece, nl=False)

    try:
        yield write
    finally:
        if not last.endswith("\n"):
            click.echo()
