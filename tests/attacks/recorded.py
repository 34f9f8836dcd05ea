"""A chat stream as it was recorded, and what a parser that knows nothing of ours makes of its beginnings."""

from __future__ import annotations

import json
import re

from meshapi_transports.testing.raw import LAST_CHUNK, http_chunk, stream_head

NAME = "req-cut"
BOM = b"\xef\xbb\xbf"

# Characters of one to four bytes, a tool call in fragments, an event of several data lines, a comment, fields without
# data, two choices that end one after the other, and usage in the end.
BLOCKS = [
    ': "dräng"',
    'data: {"choices":[{"index":0,"delta":{"content":"Grüß"}},{"index":1,"delta":{"content":"€"}}]}',
    'id: 7\nevent: message\ndata:{"choices":[{"index":0,"delta":{"content":"e 🌍"}}]}',
    "retry: 9",
    'data: {"choices":[{"index":0,"delta":{"tool_calls":'
    '[{"index":0,"id":"t","function":{"name":"f","arguments":"{\\"ö\\""}}]}}]}',
    'data: {"choices":[{"index":0,"delta":{"tool_calls":[\ndata: {"index":0,"function":{"arguments":":1}"}}]}}]}',
    'data: {"choices":[{"index":1,"finish_reason":"stop"}]}',
    'data: {"choices":[{"index":0,"finish_reason":"tool_calls"}]}',
    'data: {"choices":[],"usage":{"total_tokens":3}}',
    "data: [DONE]",
]


def recorded(line_end, start=b""):
    """The stream with `line_end` after each line, block by block."""
    blocks = [f"{block}\n\n".encode().replace(b"\n", line_end) for block in BLOCKS]
    return [start + blocks[0], *blocks[1:]]


VARIANTS = {"LF": recorded(b"\n"), "CRLF": recorded(b"\r\n"), "CR": recorded(b"\r", BOM)}


def parsed(data):
    """The JSON objects of the events that `data` holds whole, and whether ``[DONE]`` came after them."""
    *lines, _ = re.split(b"\r\n|\r|\n", data[len(BOM) :] if data.startswith(BOM) else data)
    events, under_way = [], []
    for line in lines:
        if line.startswith(b"data:"):
            under_way.append(line[5:].decode())
        elif not line and under_way:
            text = "\n".join(under_way)
            if text.strip() == "[DONE]":
                return events, True
            events.append(json.loads(text))
            under_way = []
    return events, False


def put_together(events):
    """What `events` amount to: of each choice its text, its tool calls and why it ended; and the tokens used."""
    texts, calls, reasons, tokens = {}, {}, {}, None
    for event in events:
        tokens = event["usage"]["total_tokens"] if "usage" in event else tokens
        for choice in event["choices"]:
            index, delta = choice["index"], choice.get("delta", {})
            texts[index] = texts.get(index, "") + delta.get("content", "")
            reasons[index] = choice.get("finish_reason", reasons.get(index))
            for call in delta.get("tool_calls", []):
                name, arguments = calls.get((index, call["index"]), ("", ""))
                function = call["function"]
                calls[index, call["index"]] = (name + function.get("name", ""), arguments + function["arguments"])
    return texts, calls, reasons, tokens


def told(completion):
    """A `ChatCompletionResponse` as `put_together` tells it."""
    texts, calls, reasons = {}, {}, {}
    for choice in completion.choices:
        texts[choice.index] = choice.message.content or ""
        reasons[choice.index] = choice.finish_reason
        for number, call in enumerate(choice.message.tool_calls or []):
            calls[choice.index, number] = (call.function.name or "", call.function.arguments)
    return texts, calls, reasons, None if completion.usage is None else completion.usage.total_tokens


def is_finished(events):
    """Whether each choice that was begun has told why it ended."""
    reasons = put_together(events)[2]
    return bool(reasons) and None not in reasons.values()


def chunked(blocks):
    """The stream in an HTTP chunk for each block; and how much of the stream has come with each byte of it.

    The second is a list, whose element at `n` belongs to the first `n` bytes; ``None`` within the head.
    """
    head = stream_head(f"X-Request-Id: {NAME}")
    wire, came, size = head, [None] * len(head) + [0], 0
    for block in blocks:
        chunk = http_chunk(block)
        before = chunk.index(b"\n") + 1
        wire += chunk
        came += [size] * before + list(range(size + 1, size + len(block) + 1))
        size += len(block)
        came += [size] * 2
    return wire + LAST_CHUNK, came + [size] * len(LAST_CHUNK)
