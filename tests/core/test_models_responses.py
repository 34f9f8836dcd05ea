"""The text of a response, whatever its output is made of."""

import json

import pytest

from meshapi_core import ResponsesResponse, ResponsesStreamEvent
from meshapi_core.resources._base import read_json


def text_of(output):
    return read_json(ResponsesResponse, json.dumps({"output": output})).output_text


def message(*content):
    return {"type": "message", "role": "assistant", "content": list(content)}


def part(text, kind="output_text"):
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ([message(part("hi"))], "hi"),
        ([message(part("a"), part("b")), message(part("c"))], "abc"),
        ([{"type": "reasoning", "content": [part("hm")]}, message(part("a"))], "a"),
        ([message(part("no", "refusal"), part("a"), {"type": "output_text"}, part(None), part(7))], "a"),
        ([message(part("a"), "b", None, 7, [part("c")])], "a"),
        (["a", None, 7, [message(part("b"))], {}, message(part("c"))], "c"),
        ([{"type": "message"}, {"type": "message", "content": None}, {"type": "message", "content": "a"}], ""),
        ([{"type": "message", "content": {"type": "output_text", "text": "a"}}], ""),
        ([{"type": "message", "content": 7}], ""),
        ([{"type": ["message"], "content": [part("a")]}], ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_text_is_all_that_messages_say(output, text):
    """Joined, without what is no text of a message; no shape is an error."""
    assert text_of(output) == text


def test_the_text_is_not_part_of_the_answer():
    """It is not dumped; what a server sends under that name is kept, and not shown in its place."""
    output = [message(part("hi"))]
    assert "output_text" not in read_json(ResponsesResponse, json.dumps({"output": output})).model_dump()
    found = read_json(ResponsesResponse, json.dumps({"output": output, "output_text": "other"}))
    assert found.output_text == "hi"
    assert found.model_dump()["output_text"] == "other"


@pytest.mark.parametrize("delta", ["a", {"text": "a"}, None, 7])
def test_a_delta_may_be_of_any_kind(delta):
    """Text in most events, and absent in many."""
    assert read_json(ResponsesStreamEvent, json.dumps({"type": "response.x.delta", "delta": delta})).delta == delta
    assert read_json(ResponsesStreamEvent, '{"type": "response.created"}').delta is None
