"""What the type checkers must refuse: a line names the error that is due, and one that is not found is an error too."""

# What follows from an error that is due is not told again.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from pathlib import Path

import meshapi_core
import meshapi_transports.httpx
from meshapi_core import ChatCompletionParams, ChatMessage, MeshAPIConfig, MeshAPICore
from meshapi_transports.aiohttp import AsyncMeshAPI as OverAiohttp
from meshapi_transports.httpx import MeshAPI as OverHttpx
from meshapi_transports.trio import AsyncMeshAPI as OverTrio

params = ChatCompletionParams(messages=[ChatMessage(role="user", content="hi")])

print(meshapi_core.Misspelt)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
print(meshapi_transports.httpx.Misspelt)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

ChatMessage(role="robot", content="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ChatCompletionParams(messages=[], modell="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
MeshAPIConfig()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

core = MeshAPICore(MeshAPIConfig(token="rsk_..."))
core.chat.completions.create({"messages": []})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
core.chat.completions.create(params, time_out=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
print(core.chat.completions.stream(params).results)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

OverHttpx(base_urll="http://localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
OverHttpx(timeout="long")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
OverHttpx(session=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
OverAiohttp(httpx_client=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
OverTrio(base_urll="http://localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

client = OverHttpx()
client.chat.completions.create(params, max_retries="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.chat.completions.create(params, stream=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.chat.completions.create(params, 5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
print(client.chat.completion)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

client.chat.completions.parse(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.chat.completions.parse(params, "Weather")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.models.list(type="smell")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.batches.list(page_size=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.batches.wait("batch_1", on_progress=lambda: None)  # type: ignore[misc,arg-type]  # pyright: ignore[reportArgumentType]
client.batches.upload(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.batches.results("batch_1").collect()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
core.batches.upload(Path("requests.jsonl"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
print(client.models.list().has_more)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
print(client.files.delete("file_1").id)  # type: ignore[attr-defined,func-returns-value]  # pyright: ignore[reportAttributeAccessIssue]


async def forgets_to_await(client: OverAiohttp) -> None:
    """An answer that was not awaited is no answer."""
    answer = client.chat.completions.create(params)
    print(answer.request_id)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def loops_without_async(client: OverAiohttp) -> None:
    """An asynchronous stream is not for a plain loop."""
    for chunk in client.chat.completions.stream(params):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        print(chunk)


async def enters_without_async(client: OverTrio) -> None:
    """Nor is an asynchronous client for a plain ``with``."""
    with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def awaits_items(client: OverTrio) -> None:
    """Items are iterated, and not awaited."""
    await client.batches.iterate()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


async def forgets_to_await_what_is_collected(client: OverTrio) -> None:
    """What a stream collects is awaited."""
    print(client.chat.completions.stream(params).collect().id)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
