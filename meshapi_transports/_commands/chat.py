"""``meshapi chat``: ask one model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable, List, Optional, Union

import click

from .gateway import base_url_option, drive, find_gateway, json_option, timeout_option, transport_option
from .output import document, line_of_text, write_json

if TYPE_CHECKING:
    from meshapi_core import ChatCompletionChunk, ChatCompletionParams, ChatCompletionResponse, ChatMessage

    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

    Show = Callable[[Union[ChatCompletionResponse, ChatCompletionChunk]], None]

__all__ = ["chat", "conversation", "text_of_answer"]


@click.command()
@click.argument("prompt")
@transport_option
@click.option("--stream", is_flag=True, help="Print the answer piece by piece, as the model writes it.")
@click.option("--model", help="Which model to ask.  [default: the gateway's choice]")
@click.option("--system", help="What to tell the model before the prompt.")
@json_option
@base_url_option
@timeout_option
def chat(
    prompt: str,
    transport: str,
    stream: bool,
    model: Optional[str],
    system: Optional[str],
    as_json: bool,
    base_url: Optional[str],
    timeout: float,
) -> None:
    """Ask a chat model, and print its answer.

    PROMPT is what to ask; "-" reads it from the standard input.

    With --json, the answer is one JSON document, or with --stream one for each piece, on a line of its own.
    """
    from meshapi_core import ChatCompletionParams

    params = ChatCompletionParams(messages=conversation(prompt, system), model=model)
    with find_gateway(base_url) as gateway, line_of_text() as write:
        show: Show = _show_json if as_json else lambda answer: write(text_of_answer(answer))
        gateway.options["timeout"] = timeout
        drive(
            transport,
            gateway.options,
            lambda client: _chat(client, params, stream, show),
            lambda client: _chat_async(client, params, stream, show),
        )


def _chat(client: MeshAPI, params: ChatCompletionParams, stream: bool, show: Show) -> None:
    with client:
        if not stream:
            show(client.chat.completions.create(params))
            return
        with client.chat.completions.stream(params) as chunks:
            for chunk in chunks:
                show(chunk)


async def _chat_async(client: AsyncMeshAPI, params: ChatCompletionParams, stream: bool, show: Show) -> None:
    async with client:
        if not stream:
            show(await client.chat.completions.create(params))
            return
        async with client.chat.completions.stream(params) as chunks:
            async for chunk in chunks:
                show(chunk)


def conversation(prompt: str, system: Optional[str]) -> List[ChatMessage]:
    """The messages to send; ``"-"`` stands for what is on the standard input."""
    from meshapi_core import ChatMessage

    messages = [ChatMessage(role="user", content=sys.stdin.read() if prompt == "-" else prompt)]
    if system is not None:
        messages.insert(0, ChatMessage(role="system", content=system))
    return messages


def text_of_answer(answer: Union[ChatCompletionResponse, ChatCompletionChunk]) -> str:
    """The text of a whole answer, or of a piece of one."""
    from meshapi_core import ChatCompletionResponse, ContentPartText

    if not isinstance(answer, ChatCompletionResponse):
        return "".join(choice.delta.content or "" for choice in answer.choices if choice.delta is not None)
    message = answer.choices[0].message if answer.choices else None
    content = None if message is None else message.content
    if isinstance(content, list):
        return "".join(part.text for part in content if isinstance(part, ContentPartText))
    return content or ""


def _show_json(answer: Union[ChatCompletionResponse, ChatCompletionChunk]) -> None:
    write_json(document(answer))
