"""The two hot paths, driven by hand, for callgrind: it writes what it has counted at each call of getppid().

Run by instructions.py as a script, without the rest of this package: nothing else is in the process.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Callable, Dict

from meshapi_core import ChatCompletionParams, ChatMessage, MeshAPIConfig, MeshAPICore

ANSWER = (
    b'{"id":"chatcmpl-0123456789","object":"chat.completion","created":1760000000,"model":"openai/gpt-4o-mini",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Measure twice, cut once.","refusal":null},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":48,"completion_tokens":40,"total_tokens":88}}'
)
EVENT = (
    b'data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"openai/gpt-4o-mini","choices":[{"index":0,"delta":{"content":" twice"},"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)
ANSWER_HEAD = [("content-type", "application/json"), ("content-length", str(len(ANSWER))), ("date", "today")]
STREAM_HEAD = [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")]

core = MeshAPICore(MeshAPIConfig("https://api.example", token="rsk_01BENCHMARK"))


def params() -> ChatCompletionParams:
    """What a program asks."""
    messages = [
        ChatMessage(role="system", content="Answer in one short sentence."),
        ChatMessage(role="user", content="Why is it worth more to measure than to have an opinion?"),
    ]
    return ChatCompletionParams(model="openai/gpt-4o-mini", messages=messages)


def request(count: int) -> None:
    """So many requests: from the params to the result."""
    for _ in range(count):
        call = core.chat.completions.create(params())
        call.next_action()
        call.request_sent()
        call.receive_response(200, ANSWER_HEAD)
        call.receive_data(ANSWER)
        call.receive_eof()
        assert call.result.choices[0].finish_reason == "stop"


def chunk(count: int) -> None:
    """A stream of so many chunks, an event a piece."""
    call = core.chat.completions.stream(params())
    call.next_action()
    call.request_sent()
    call.receive_response(200, STREAM_HEAD)
    for _ in range(count):
        call.receive_data(EVENT)
        for event in call.events():
            assert event.choices


HOT_PATHS: Dict[str, Callable[[int], None]] = {"request": request, "chunk": chunk}


def main(count: int) -> None:
    """Warm up, and then do each once with `count` and once with twice that."""
    gc.freeze()
    gc.disable()
    for run in HOT_PATHS.values():
        run(count)
    for run in HOT_PATHS.values():
        os.getppid()
        run(count)
        os.getppid()
        run(2 * count)
        os.getppid()


if __name__ == "__main__":
    main(int(sys.argv[1]))
