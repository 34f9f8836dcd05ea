"""What the tests of the examples share: running one as its readers do, and importing one to look at its parts."""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import time
from types import ModuleType
from typing import Any, Callable

from meshapi_core import (
    BatchObject,
    BatchRequestItem,
    Call,
    ChatCompletionParams,
    ChatMessage,
    CreateBatchParams,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    ModelInfo,
    ModelSearchParams,
    RetryPolicy,
)
from meshapi_transports.stdlib import MeshAPI
from meshapi_transports.testing import LocalGateway
from meshapi_transports.testing.raw import RawConnection, Script, chat_answer, chat_events, http_chunk, stream_head

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples"
PARAMS = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])
# Longer than any example runs, shorter than anyone waits for a test.
_RUN_SECONDS = 60.0


def run_example(name: str, gateway: LocalGateway, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the example `name` to its end as a program of its own, with `env` added to its environment.

    What it does not close is told on its stderr.
    """
    environ = {
        **{key: value for key, value in os.environ.items() if not is_of_the_desk(key)},
        "MESHAPI_BASE_URL": gateway.base_url,
        "MESHAPI_API_KEY": gateway.token,
        "PYTHONIOENCODING": "utf-8",
        **env,
    }
    command = [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / f"{name}.py")]
    return subprocess.run(
        command, env=environ, capture_output=True, encoding="utf-8", timeout=_RUN_SECONDS, check=False
    )


@functools.cache
def load_example(name: str) -> ModuleType:
    """The example `name` as a module; its program does not run."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def is_of_the_desk(variable: str) -> bool:
    """Whether an environment variable belongs to whoever runs the tests, and must not reach an example."""
    return variable.startswith("MESHAPI_") or variable.lower().endswith("_proxy")


def core_for(base_url: str, **options: Any) -> MeshAPICore:
    """A core for calls to `base_url` that are not retried, unless `options` of its config say otherwise."""
    return MeshAPICore(MeshAPIConfig(base_url, **{"token": "rsk_test", "retry": RetryPolicy(max_retries=0), **options}))


def text_of(chunks: list[Any]) -> str:
    """What the chunks of a chat say together."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def slowly(seconds: float) -> Script:
    """A script for a RawServer: an answer to a call, whose head and body come in pieces `seconds` apart."""

    def script(connection: RawConnection) -> None:
        connection.receive_request()
        head, end_of_head, body = chat_answer("at last").partition(b"\r\n\r\n")
        for piece in (head + end_of_head, body[:10], body[10:20], body[20:]):
            time.sleep(seconds)
            connection.send(piece)

    return script


def started_batch(gateway: LocalGateway) -> str:
    """The id of a batch that has just begun."""
    params = CreateBatchParams(requests=[BatchRequestItem(custom_id="a", body=PARAMS.model_dump(exclude_none=True))])
    with MeshAPI(base_url=gateway.base_url, token=gateway.token) as client:
        return client.batches.create(params).id or ""


def check_waiting(gateway: LocalGateway, perform: Callable[[Call[BatchObject]], BatchObject]) -> None:
    """Have a batch waited for by a call of several requests, and see whether `perform` drove it to its end."""
    seen: list[Any] = []

    def look_and_nudge(batch: BatchObject) -> None:
        seen.append(batch.status)
        gateway.advance_batches()

    core = core_for(gateway.base_url, token=gateway.token)
    batch = perform(core.batches.wait(started_batch(gateway), poll_interval=0.01, on_progress=look_and_nudge))
    assert batch.status == seen[-1] == "completed"
    assert len(seen) > 1


def check_iterating(gateway: LocalGateway, read: Callable[[ItemsCall[ModelInfo], list[ModelInfo]], None]) -> None:
    """Have items read that take several requests, and see whether `read` got them all."""
    models: list[ModelInfo] = []
    core = core_for(gateway.base_url, token=gateway.token)
    read(core.models.iterate(ModelSearchParams(limit=5)), models)
    assert len({model.id for model in models}) == len(models) > 10
    assert len(gateway.requests) > 2


# Scripts for a RawServer: answers to a stream that go wrong after two of its events, "one" and " two"


def _send_two_events(connection: RawConnection) -> None:
    connection.receive_request()
    connection.send(stream_head(), *map(http_chunk, chat_events("one", " two")[:2]))


def cut_in_the_middle(connection: RawConnection) -> None:
    """Close the connection."""
    _send_two_events(connection)


def silent_in_the_middle(connection: RawConnection) -> None:
    """Say nothing more, until the client leaves."""
    _send_two_events(connection)
    connection.wait_closed()


def alive_in_the_middle(connection: RawConnection) -> None:
    """Send nothing more but keep-alive comments, until the client leaves."""
    _send_two_events(connection)
    while True:
        connection.send(http_chunk(b": keep-alive\n\n"))


SCRIPTS: dict[str, Script] = {
    script.__name__: script for script in (cut_in_the_middle, silent_in_the_middle, alive_in_the_middle)
}
