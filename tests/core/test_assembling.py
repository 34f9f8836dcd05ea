"""What the events of each kind of stream amount to: the whole, its text, where it may end, and what is none of it."""

import json
import sys
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from meshapi_core import (
    APIStatusError,
    ChatCompletionParams,
    ChatCompletionResponse,
    CompareParams,
    CompareResponse,
    CompareStreamEvent,
    Done,
    Failure,
    ImageGenerationChunk,
    ImageGenerationParams,
    ImageGenerationResponse,
    LocalProtocolError,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ResponseParseError,
    ResponsesParams,
    ResponsesResponse,
    State,
    StreamInterruptedError,
)

CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"))
SSE = {"content-type": "text/event-stream", "x-request-id": "req-1"}
DONE = b"data: [DONE]\n\n"


def chat():
    return CORE.chat.completions.stream(ChatCompletionParams(messages=[]))


def responses():
    return CORE.responses.stream(ResponsesParams(input="x"))


def images():
    return CORE.images.stream(ImageGenerationParams(prompt="x"))


def compare():
    return CORE.compare.stream(CompareParams(models=["a", "b"], messages=[]))


def parsed():
    return CORE.chat.completions.parse_stream(ChatCompletionParams(messages=[]), int)


KINDS = {"chat": chat, "responses": responses, "images": images, "compare": compare, "parsed": parsed}
EACH = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def event(name=None, **fields):
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(fields).encode() + b"\n\n"


def receiving(call, *pieces):
    call.receive_response(200, SSE)
    for piece in pieces:
        call.receive_data(piece)
    return call


def whole(make, *pieces):
    """What a stream of these events results in, the same with and without a proper end."""
    call = receiving(make(), *pieces, DONE)
    assert call.next_action() == Done()
    assert call.result.request_id == "req-1"
    broken = receiving(make(), *pieces)
    broken.receive_failure(Failure.CONNECTION_LOST)
    assert failed(broken).partial == call.result
    assert failed(broken).partial.request_id == "req-1"
    return call.result


def failed(call):
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    assert call.state is State.FAILED
    assert caught.value.__context__ is None
    return caught.value


def texts(make, *pieces):
    call = receiving(make(), *pieces)
    return [call.text_of(item) for item in call.events()]


# --- every kind of stream ----------------------------------------------------------------------------------------

# For each kind: its events up to where it may end, what comes at the end, and a word on what was made of it.
WHOLES = {
    "chat": (
        [event(choices=[{"delta": {"content": "é"}}])],
        event(choices=[{"delta": {}, "finish_reason": "stop"}]),
        lambda whole: whole.choices[0].message.content == "é",
    ),
    "parsed": (
        [event(choices=[{"delta": {"content": "7"}}])],
        event(choices=[{"delta": {}, "finish_reason": "stop"}]),
        lambda whole: whole.parsed == 7,
    ),
    "responses": (
        [event(type="response.created", response={"id": "r"}), event(type="response.output_text.delta", delta="é")],
        event(type="response.completed", response={"status": "completed"}),
        lambda whole: (whole.id, whole.status, whole.output_text) == ("r", "completed", "é"),
    ),
    "images": (
        [event(data=[{"b64_json": "AA=="}], status="partial")],
        event(data=[{"b64_json": "BB=="}], status="completed"),
        lambda whole: [item.b64_json for item in whole.data] == ["BB=="],
    ),
    "compare": (
        [event("model_chunk", model="a", delta="é")],
        event("done", total_latency_ms=5),
        lambda whole: (whole.results[0].content, whole.total_latency_ms) == ("é", 5),
    ),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("done", [True, False])
def test_a_stream_may_end_after_its_last_event(name, done):
    """With [DONE] or without; what comes between the two is still heard."""
    events, last, is_right = WHOLES[name]
    call = receiving(KINDS[name](), *events, last, *([DONE] if done else []))
    if not done:
        call.receive_eof()
    assert call.next_action() == Done()
    assert len(list(call.events())) == len(events) + 1
    assert is_right(call.result)
    assert call.result == call.result
    assert call.result.request_id == "req-1"


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_that_ends_before_is_interrupted(name):
    """After every event that had come, and with what they amount to."""
    events, last, _ = WHOLES[name]
    for pieces in ([], events, [*events, last[:-1]]):
        call = receiving(KINDS[name](), *pieces)
        call.receive_eof()
        error = failed(call)
        assert type(error) is StreamInterruptedError
        assert (error.message, error.request_id) == ("the stream ended before its last event", "req-1")
        assert len(list(call.events())) == len(pieces and events)
        assert (error.partial is None) == (not pieces)
        with pytest.raises(StreamInterruptedError) as caught:
            _ = call.result
        assert caught.value is error


@pytest.mark.parametrize("name", KINDS)
def test_done_ends_a_stream_wherever_it_is(name):
    """The server's word counts, also after nothing at all."""
    for pieces in ([], WHOLES[name][0]):
        call = receiving(KINDS[name](), *pieces, DONE)
        assert call.next_action() == Done()
        assert type(call.result) is type(receiving(KINDS[name](), DONE).result)


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_comes_out_the_same_byte_by_byte(name):
    """Wherever the network cuts it, a character in two included."""
    events, last, is_right = WHOLES[name]
    body = b"".join([*events, b": comment\r\n\r\n", last, DONE]).replace(b"\\u00e9", "é".encode())
    call = receiving(KINDS[name](), *(body[i : i + 1] for i in range(len(body))))
    assert call.next_action() == Done()
    assert is_right(call.result)
    assert list(call.events()) == list(receiving(KINDS[name](), body).events())


ANSWERS = {
    "chat": ({"choices": [{"message": {"content": "é"}}]}, ChatCompletionResponse),
    "parsed": ({"choices": [{"message": {"content": "7"}}]}, ChatCompletionResponse),
    "responses": ({"output": [{"type": "message"}], "error": None}, ResponsesResponse),
    "images": ({"data": [{"url": "u"}]}, ImageGenerationResponse),
    "compare": ({"results": [{"model": "a", "error": "e"}]}, CompareResponse),
}


@pytest.mark.parametrize("name", KINDS)
def test_one_whole_answer_instead_of_a_stream_is_told_clearly(name):
    """It is a parse error that has the answer, as the type that the method without a stream gives."""
    fields, answer_type = ANSWERS[name]
    call = KINDS[name]()
    call.receive_response(200, {"content-type": "application/json", "x-request-id": "req-1"})
    call.receive_data(json.dumps(fields).encode())
    call.receive_eof()
    error = failed(call)
    assert type(error) is ResponseParseError
    assert "one whole answer" in error.message
    assert isinstance(error.partial, answer_type)
    assert error.partial.model_dump(exclude_unset=True) == fields
    assert (error.partial.request_id, list(call.events())) == ("req-1", [])


@EACH
def test_the_result_is_there_when_the_stream_is_through(make):
    """Not before."""
    call = make()
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match=f"no result in state {call.state.name}; drive it until Done"):
            _ = call.result
        receiving(call) if call.state is State.SEND_REQUEST else None


@EACH
def test_what_was_taken_before_is_part_of_the_whole(make):
    """The events handed out on the way are the caller's: what he does to them changes nothing."""
    events, last, is_right = next(WHOLES[name] for name, other in KINDS.items() if other is make)
    call = make()
    receiving(call)
    for piece in [*events, last, DONE]:
        call.receive_data(piece)
        for item in call.events():
            for name in list(item.model_fields_set):
                setattr(item, name, None)
    assert is_right(call.result)
    call.result.x = 1
    assert is_right(call.result)


@EACH
@pytest.mark.parametrize(
    ("frame", "status", "code", "message", "request_id"),
    [
        (event(error={"code": "conflict", "message": "m"}, request_id="f"), 409, "conflict", "m", "f"),
        (event(error="m"), 502, "upstream_error", "m", "req-1"),
        (event("error", message="m"), 502, "upstream_error", "m", "req-1"),
        (event("error", message="m", code="not_found"), 404, "not_found", "m", "req-1"),
        (event("error", error={"message": "m", "code": 429}), 429, "rate_limit_exceeded", "m", "req-1"),
    ],
)
def test_an_error_frame_raises_what_an_answer_would(make, frame, status, code, message, request_id):
    """After the events before it, with what they amount to; what follows is not read."""
    events, last, _ = next(WHOLES[name] for name, other in KINDS.items() if other is make)
    call = receiving(make(), *events, frame + last + DONE)
    error = failed(call)
    assert isinstance(error, APIStatusError)
    assert (error.status, error.error_code, error.message, error.request_id) == (status, code, message, request_id)
    assert len(list(call.events())) == len(events)
    assert error.partial is not None


LATE = event(
    id="x" * 300, created=1, error={"code": "conflict", "message": "m"}
)  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        chat,
        responses,
        compare,
        images,
    ],
)
def test_an_error_is_one_wherever_it_stands_in_its_frame(make):
    """Behind however much else."""
    assert failed(receiving(make(), LATE)).status == 409


@EACH
@pytest.mark.parametrize("data", [b"junk", b"", b"[1]", b"null", b'"text"', b'{"a": ', b"[" * 5000, b"\xff"])
def test_data_that_is_no_event_is_a_parse_error(make, data):
    """It is never dropped silently."""
    call = receiving(make(), b"data: " + data + b"\n\n" + DONE)
    error = failed(call)
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert list(call.events()) == []


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (chat, {"choices": "x"}),
        (responses, {"response": "x"}),
        (responses, {"usage": [1]}),
        (responses, {"type": ["a"]}),
        (images, {"data": {"a": 1}}),
        (images, {"status": {}}),
        (compare, {"model": ["a"]}),
        (compare, {"delta": {"a": 1}}),
        (compare, {"models": "a"}),
        (compare, {"event": []}),
    ],
)
def test_an_event_of_another_shape_is_a_parse_error(make, fields):
    """It names the type, tells what is wrong, and quotes the event."""
    error = failed(receiving(make(), event(**fields)))
    assert type(error) is ResponseParseError
    assert next(iter(fields)) in error.message
    assert json.dumps(fields) in error.message
    assert "could not be read as " in error.message


@pytest.mark.parametrize(
    "make",
    [
        chat,
        parsed,
        responses,
        images,
        compare,
    ],
)
def test_half_a_surrogate_pair_costs_one_character(make):
    """Servers that cut text between the halves send it."""
    fields = rb'{"model": "a", "type": "x", "id": "a\ud800", "status": "\udfff", "x": "\ud83d"}'
    (item,) = receiving(make(), b"data: " + fields + b"\n\n").events()
    assert "\ufffd" in item.model_dump_json()


# --- chat: tool calls --------------------------------------------------------------------------------------------


def fragment(arguments=None, **fields):
    function = {name: fields.pop(name) for name in ("name",) if name in fields}
    return {**fields, "function": {**function, **({} if arguments is None else {"arguments": arguments})}}


def tool_calls(*chunks):
    """What these tool calls amount to, of which each chunk brings some: (id, name, arguments) each."""
    pieces = [event(choices=[{"delta": {"tool_calls": list(fragments)}}]) for fragments in chunks]
    message = whole(chat, *pieces).choices[0].message
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]


# How each of several calls may be named in a fragment, the first and the later ones; the index need not begin at 0.
NAMINGS = {
    "index and id": (lambda n: {"index": n, "id": f"c{n}"}, lambda n: {"index": n}),
    "sparse index": (lambda n: {"index": 7 * n + 3, "id": f"c{n}"}, lambda n: {"index": 7 * n + 3}),
    "index alone": (lambda n: {"index": n}, lambda n: {"index": n}),
    "id each time": (lambda n: {"id": f"c{n}"}, lambda n: {"id": f"c{n}"}),
    "both each time": (lambda n: {"index": n, "id": f"c{n}"}, lambda n: {"index": n, "id": f"c{n}"}),
    "one index for all": (lambda n: {"index": 0, "id": f"c{n}"}, lambda n: {"index": 0, "id": f"c{n}"}),
    "empty ids later": (lambda n: {"index": n, "id": f"c{n}"}, lambda n: {"index": n, "id": ""}),
}
IN_TURN = {
    "id at first": (lambda n: {"id": f"c{n}"}, lambda n: {}),
    "index at first": (lambda n: {"index": n, "id": f"c{n}"}, lambda n: {}),
    "index later": (lambda n: {"id": f"c{n}"}, lambda n: {"index": 5}),
    "id and one index": (lambda n: {"index": 0, "id": f"c{n}"}, lambda n: {"index": 0}),
    **NAMINGS,
}
ARGUMENTS = st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=1, max_size=3)


@settings(deadline=None, database=None, max_examples=60)
@given(ARGUMENTS, st.sampled_from(sorted(IN_TURN)), st.booleans(), st.data())
def test_any_split_of_arguments_amounts_to_the_same(arguments, naming, is_mixed, data):
    """However they are cut, spread over chunks, named, and, where that can be told, mixed with one another."""
    first, later = IN_TURN[naming]
    rows = []
    for number, pieces in enumerate(arguments):
        begin = fragment(None, name=f"f{number}", type="function", **first(number))
        rows.append([begin, *(fragment(piece, **later(number)) for piece in pieces)])
    if is_mixed and naming in NAMINGS:
        # Each call begins in its turn; after that, whichever comes.
        order = [row[0] for row in rows]
        rest = [(number, piece) for number, row in enumerate(rows) for piece in row[1:]]
        mixed = data.draw(st.permutations(rest)) if rest else []
        for number, _ in mixed:
            order.append(rows[number][1])
            rows[number].pop(1)
    else:
        order = [piece for row in rows for piece in row]
    chunks = []
    while order:
        size = data.draw(st.integers(1, len(order)))
        chunks.append(order[:size])
        order = order[size:]
    found = tool_calls(*chunks)
    assert [name for _, name, _ in found] == [f"f{number}" for number in range(len(arguments))]
    assert [text or "" for *_, text in found] == ["".join(pieces) for pieces in arguments]
    if naming != "index alone":
        assert [call_id for call_id, *_ in found] == [f"c{number}" for number in range(len(arguments))]


def test_what_a_tool_call_has_beside_is_kept():
    """Type and signature; what is told whole is told once."""
    message = (
        whole(
            chat,
            event(
                choices=[
                    {"delta": {"tool_calls": [fragment(name="f", id="a", type="function", thought_signature="s")]}}
                ]
            ),
            event(choices=[{"delta": {"tool_calls": [fragment("{}", name="f", id="a", type="function", x={"y": 1})]}}]),
        )
        .choices[0]
        .message
    )
    (call,) = message.tool_calls
    assert call.model_dump(exclude_unset=True) == {
        "id": "a",
        "type": "function",
        "thought_signature": "s",
        "x": {"y": 1},
        "function": {"name": "f", "arguments": "{}"},
    }
    assert message.content is None


def test_the_text_of_a_chunk_is_that_of_the_first_answer():
    """Others, tool calls, and chunks without any, add nothing."""
    assert texts(
        chat,
        event(choices=[{"index": 0, "delta": {"content": "a"}}]),
        event(choices=[{"index": 1, "delta": {"content": "b"}}]),
        event(choices=[{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "c"}}]),
        event(choices=[{"delta": {"content": "d"}}]),
        event(choices=[{"index": 0, "delta": None}]),
        event(choices=[{"index": 0, "delta": {"content": None}}]),
        event(choices=[]),
        event(usage={"total_tokens": 1}),
    ) == ["a", "", "c", "d", "", "", "", ""]


# --- responses ---------------------------------------------------------------------------------------------------


def delta(text, kind="output_text", **fields):
    return event(type=f"response.{kind}.delta", delta=text, **fields)


def item(index, kind="added", **fields):
    place = {} if index is None else {"output_index": index}
    return event(type=f"response.output_item.{kind}", item=fields, **place)


def test_a_response_is_what_its_last_event_says():
    """Its output counts, and what the deltas amount to does not matter."""
    found = whole(
        responses,
        event(type="response.created", response={"id": "r", "status": "in_progress", "output": [], "x": 1}),
        delta("abc"),
        event(
            type="response.completed",
            response={
                "id": None,
                "status": "completed",
                "output": [{"type": "reasoning"}],
                "usage": {"total_tokens": 3},
            },
        ),
    )
    assert type(found) is ResponsesResponse
    assert found.model_dump(exclude_unset=True) == {
        "id": "r",
        "status": "completed",
        "x": 1,
        "output": [{"type": "reasoning"}],
        "usage": {"total_tokens": 3},
    }


@pytest.mark.parametrize("last", [{}, {"output": []}, {"output": None}])
def test_where_the_last_event_has_no_output_it_is_put_together(last):
    """Of the deltas, the text among them."""
    found = whole(
        responses,
        event(type="response.created", response={"id": "r"}),
        delta("Hé", output_index=0, content_index=0),
        delta("llo", output_index=0, content_index=0),
        event(type="response.completed", response={"status": "completed", **last}),
    )
    assert found.output == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Héllo"}]}
    ]
    assert (found.output_text, found.status) == ("Héllo", "completed")


def test_deltas_need_no_indexes():
    """They are then all of the first item, and of its one text."""
    found = whole(responses, delta("a"), delta("b"), delta("c", output_index=None, content_index="x"))
    assert found.output_text == "abc"
    assert len(found.output) == 1


def test_several_items_are_told_apart_by_their_index():
    """In the order of the indexes, with gaps and in whatever order they come."""
    found = whole(
        responses,
        delta("b", output_index=4),
        item(0, type="reasoning", summary=[]),
        delta("c", output_index=4),
        item(2, type="function_call", name="f", call_id="k", arguments=""),
        delta('{"x"', "function_call_arguments", output_index=2),
        delta(":1}", "function_call_arguments", output_index=2),
        delta("[]", "function_call_arguments", output_index=3),
    )
    assert found.output == [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "f", "call_id": "k", "arguments": '{"x":1}'},
        {"type": "function_call", "arguments": "[]"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "bc"}]},
    ]


def test_an_item_that_is_done_is_what_it_says_then():
    """It comes twice: when it begins, with next to nothing in it, and when it is done."""
    found = whole(
        responses,
        item(0, type="message", id="m", content=[]),
        delta("ab", output_index=0),
        item(0, "done", type="message", id="m", content=[{"type": "output_text", "text": "abc", "annotations": []}]),
    )
    assert found.output == [
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "abc", "annotations": []}]}
    ]


def test_the_parts_of_a_message_are_told_apart():
    """By their index; a refusal is a part of its own; a text that was begun elsewhere is gone on with."""
    found = whole(
        responses,
        item(0, type="message", id="m", content=[{"type": "output_text", "text": "a"}, {"type": "output_text"}]),
        delta("b", output_index=0, content_index=0),
        delta("c", output_index=0, content_index=1),
        delta("no", "refusal", output_index=0, content_index=2),
        delta("!", "refusal", output_index=0),
        delta("d", output_index=0),
        delta("e", output_index=0, content_index=-1),
    )
    assert found.output[0]["content"] == [
        {"type": "output_text", "text": "abde"},
        {"type": "output_text", "text": "c"},
        {"type": "refusal", "refusal": "no!"},
    ]
    refused = whole(responses, delta("No", "refusal"), delta(".", "refusal"))
    assert refused.output == [
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    ]
    assert refused.output_text == ""


def test_items_without_an_index_are_told_apart_by_their_id():
    """Each is still there in the end."""
    found = whole(
        responses,
        item(None, type="message", id="1"),
        delta("a", item_id="1"),
        item(None, "done", type="message", id="1", content=[{"type": "output_text", "text": "a"}]),
        item(None, type="function_call", id="2", name="f"),
        delta("{}", "function_call_arguments", item_id="2"),
    )
    assert [each["id"] for each in found.output] == ["1", "2"]


@pytest.mark.parametrize(
    "other",
    [
        event(type="response.in_progress"),
        event(type="response.content_part.added", part={"type": "output_text"}),
        event(type="response.reasoning_summary_text.delta", delta="thought"),
        event(type="response.output_text.delta", delta=None),
        event(type="response.output_text.delta", delta={"a": 1}),
        event(type="response.output_item.added", item="x"),
        event(type="novel"),
        event(),
        event(delta="untyped"),
    ],
)
def test_events_that_add_nothing_change_nothing(other):
    """They are delivered all the same."""
    assert whole(responses, other, delta("a"), other).output_text == "a"
    assert len(list(receiving(responses(), other).events())) == 1
    assert texts(responses, other) == [""]


def test_the_usage_of_an_event_is_that_of_the_response():
    """Where the gateway tells it beside."""
    found = whole(responses, delta("a"), event(type="x", usage={"total_tokens": 3, "y": 1}))
    assert found.usage.model_dump(exclude_unset=True) == {"total_tokens": 3, "y": 1}


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete"])
@pytest.mark.parametrize("response", [None, {"status": "x", "error": {"message": "m"}}])
def test_a_response_that_failed_is_a_response(status, response):
    """It is not the stream that failed; the response tells why."""
    call = receiving(responses(), event(type=f"response.{status}", response=response))
    call.receive_eof()
    assert call.next_action() == Done()
    if response:
        assert (call.result.status, call.result.error) == ("x", {"message": "m"})
    assert len(list(call.events())) == 1


def test_more_may_come_after_the_last_word():
    """Such as the usage, or an event that nobody knows."""
    last = event(type="response.completed", response={"id": "r"})
    call = receiving(responses(), last, event(type="x", usage={"total_tokens": 3}))
    call.receive_eof()
    assert (call.result.id, call.result.usage.total_tokens) == ("r", 3)


@pytest.mark.parametrize(
    "last", ["response.cancelled", "response.output_text.done", "completed", "response.completed2"]
)
def test_nothing_else_ends_a_response(last):
    """Only the last words do."""
    call = receiving(responses(), event(type=last, response={}))
    call.receive_eof()
    assert type(failed(call)) is StreamInterruptedError


def test_the_type_may_be_the_events_name():
    """Some servers say it once; where both are there, the type counts."""
    call = receiving(responses(), event("response.output_text.delta", delta="a"), event("x", type="y"), event(z=1))
    assert [item.type for item in call.events()] == ["response.output_text.delta", "y", None]
    assert whole(responses, event("response.output_text.delta", delta="a")).output_text == "a"
    call = receiving(responses(), event("response.completed", response={"id": "r"}))
    call.receive_eof()
    assert call.result.id == "r"


def test_the_text_of_a_response_is_what_the_model_writes():
    """No refusal, no arguments, nothing that is no text."""
    assert texts(
        responses,
        delta("a"),
        delta("b", "refusal"),
        delta("c", "function_call_arguments"),
        delta({"d": 1}),
        delta(None),
        event(type="response.output_text.done", text="a"),
    ) == ["a", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("frame", "status", "message"),
    [
        (event(type="error", message="m", code="conflict"), 409, "m"),
        (event(type="error", message="m", param=None), 502, "m"),
        (event(type="error", error={"message": "m", "code": "not_found"}), 404, "m"),
        (event("error", type="error", message="m"), 502, "m"),
    ],
)
def test_an_error_may_be_an_event_of_that_type(frame, status, message):
    """As the Responses API has it."""
    error = failed(receiving(responses(), delta("a"), frame))
    assert (error.status, error.message, error.request_id) == (status, message, "req-1")
    assert error.partial.output_text == "a"


def test_words_of_the_wire_inside_the_text_mean_nothing():
    """A model may well talk about errors; a response may have a field for one that is empty, or its own."""
    call = receiving(
        responses(),
        delta('{"type": "error"} "error"'),
        event(type="response.created", response={"error": None}),
        event(type="response.failed", response={"error": {"message": "m"}}, error=None),
    )
    assert len(list(call.events())) == 3


WRONG_CONTENT = ["abc", 5, {"a": 1}, [1], [None], ["a"], [["a"]], [{}], [{"type": ["x"], "text": 5}]]


@pytest.mark.parametrize("content", WRONG_CONTENT)
@pytest.mark.parametrize("kind", ["output_text", "refusal"])
def test_content_of_any_shape_does_no_harm(content, kind):
    """An item's content is the server's; what is no list of parts must not become a TypeError."""
    found = whole(
        responses, item(0, type="message", content=content), delta("a", kind), delta("b", kind, content_index=0)
    )
    assert isinstance(found, ResponsesResponse)


@pytest.mark.parametrize("output", ["x", {"a": 1}, 5])
def test_an_output_of_another_shape_is_a_parse_error(output):
    """But only when the whole is asked for: the stream itself was as it should be, and its events were delivered."""
    last = event(type="response.completed", response={"output": output})
    call = receiving(responses(), last, DONE)
    assert call.next_action() == Done()
    assert len(list(call.events())) == 1
    with pytest.raises(ResponseParseError, match="could not be read as ResponsesResponse") as caught:
        _ = call.result
    assert (caught.value.status, caught.value.error_code, caught.value.request_id) == (200, "parse_error", "req-1")
    assert caught.value.__cause__ is None
    assert repr(output) in caught.value.message
    call = receiving(responses(), last)
    call.receive_eof()
    assert call.next_action() == Done()
    with pytest.raises(ResponseParseError):
        _ = call.result
    call = receiving(responses(), last)
    call.receive_failure(Failure.CONNECTION_LOST)
    assert (type(failed(call)), failed(call).partial) == (StreamInterruptedError, None)


# --- images ------------------------------------------------------------------------------------------------------


def image(text, status=None, **fields):
    return event(data=[{"b64_json": text}], status=status, **fields)


def pictures(found):
    assert type(found) is ImageGenerationResponse
    return [each.b64_json or each.url for each in found.data]


def test_the_finished_images_are_the_whole():
    """Those on the way are not; several may be finished one by one, or together."""
    found = whole(
        images,
        image("p1", "partial", created=1),
        image("p2", "image_generation.partial_image"),
        image("a", "image_generation.completed"),
        image("p3", None),
        event(data=[{"b64_json": "b", "revised_prompt": "r"}, {"url": "c"}], status="completed", created=7),
    )
    assert pictures(found) == ["a", "b", "c"]
    assert (found.data[1].revised_prompt, found.created) == ("r", 7)


def test_before_an_image_is_finished_the_last_one_shows_what_there_is():
    """So that a stream that broke off is not all in vain."""
    assert pictures(whole(images, image("p1", "partial"), image("p2", "partial"))) == ["p2"]
    assert pictures(whole(images, image("p1"), event(data=None, status="working"))) == []
    assert pictures(receiving(images(), DONE).result) == []


@pytest.mark.parametrize("status", [None, "", "partial", "in_progress"])
def test_an_image_that_is_not_finished_does_not_end_a_stream(status):
    """Nor does one that says nothing of it."""
    call = receiving(images(), image("a", status))
    call.receive_eof()
    error = failed(call)
    assert type(error) is StreamInterruptedError
    assert pictures(error.partial) == ["a"]


def test_the_events_of_images_have_no_text():
    """To ask for it is a mistake that is told."""
    call = receiving(images(), image("a", "completed"))
    (chunk,) = call.events()
    assert type(chunk) is ImageGenerationChunk
    with pytest.raises(TypeError, match="ImageGenerationChunk has no text"):
        call.text_of(chunk)


def test_what_the_last_chunk_tells_of_the_images_is_part_of_the_whole():
    """Its usage, size and the like, which an answer that is not streamed has, too."""
    found = whole(
        images,
        image("a", "completed", created=7, usage={"total_tokens": 3}, size="1x1", quality="high", output_format="png"),
    )
    assert (found.usage.total_tokens, found.size, found.quality, found.output_format) == (3, "1x1", "high", "png")


def test_the_time_of_the_images_may_come_once():
    """In any of the chunks."""
    assert whole(images, image("a", "completed", created=7), event(data=[])).created == 7


@pytest.mark.parametrize("error", [None, "", {}])
def test_an_error_field_that_is_empty_is_no_error(error):
    """Some servers have it in every chunk."""
    found = whole(images, image("a", "completed", error=error, id="i", object="image.chunk", model="m"))
    assert pictures(found) == ["a"]
    assert set(found.model_dump(exclude_unset=True)) == {"data", "model"}


# --- compare -----------------------------------------------------------------------------------------------------


def test_a_comparison_from_its_first_event_to_its_last():
    """Each model's text, what is told of each in the end, the verdict, and what is told of all."""
    call = receiving(
        compare(),
        event("meta", comparison_id="k", models=["a", "b"], comparison_model="j", created=3),
        event("model_chunk", model="a", delta="Hé"),
        event("model_chunk", model="b", delta="Yo"),
        event("model_chunk", model="a", delta="llo"),
        event("model_stream_done", model="a", finish_reason="stop"),
        event("model_done", model="a", latency_ms=5, usage={"total_tokens": 1}, request_id="req-a", x=1),
        event("model_done", model="b", latency_ms=6, error="too hot", error_code="upstream_error", finish_reason=None),
        event("comparison_chunk", model="j", delta="A is"),
        event("comparison_chunk", model="j", delta=" better"),
        event("done", total_latency_ms=9, partial=True, comparison_usage={"total_tokens": 2}),
    )
    call.receive_eof()
    events = list(call.events())
    assert [each.event for each in events[:2]] == ["meta", "model_chunk"]
    assert type(events[1]) is CompareStreamEvent
    assert (events[1].model, events[1].delta, events[1].data) == ("a", "Hé", {"model": "a", "delta": "Hé"})
    assert events[5].x == 1
    found = call.result
    assert type(found) is CompareResponse
    assert found.model_dump(exclude_unset=True) == {
        "object": "compare.completion",
        "comparison_id": "k",
        "created": 3,
        "models": ["a", "b"],
        "comparison_model": "j",
        "comparison": "A is better",
        "comparison_usage": {"total_tokens": 2},
        "total_latency_ms": 9,
        "partial": True,
        "results": [
            {"model": "a", "content": "Héllo", "finish_reason": "stop", "latency_ms": 5,
             "usage": {"total_tokens": 1}, "request_id": "req-a"},
            {"model": "b", "content": "Yo", "latency_ms": 6, "error": "too hot", "error_code": "upstream_error"},
        ],
    }  # fmt: skip
    assert found.request_id == "req-1"


def test_what_the_last_event_says_counts():
    """Its results and its comparison take the place of what was put together."""
    found = whole(
        compare,
        event("model_chunk", model="a", delta="x"),
        event("comparison_chunk", delta="y"),
        event("done", results=[{"model": "a", "content": "whole"}], comparison="verdict", total_latency_ms=1),
    )
    assert [(each.model, each.content) for each in found.results] == [("a", "whole")]
    assert found.comparison == "verdict"


def test_models_are_in_the_order_in_which_they_began():
    """One of which nothing was heard is not there."""
    found = whole(compare, event(model="b", delta="x"), event(model="a"), event(model="b", delta=None))
    assert [(each.model, each.content) for each in found.results] == [("b", "x"), ("a", None)]
    assert found.comparison is None
    assert whole(compare, event("meta")).results == []


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": "model_chunk"}, "model_chunk"),
        ({"event": "model_chunk"}, "model_chunk"),
        ({"name": "a", "event": "b"}, "a"),
        ({}, None),
        ({"name": "message", "event": "b"}, "b"),
    ],
)
def test_the_name_of_an_event_is_found_wherever_it_is(fields, name):
    """In the event stream's own field, or in the JSON; its data is the JSON object as it came."""
    rest = {key: value for key, value in fields.items() if key != "name"}
    (found,) = receiving(compare(), event(fields.get("name"), model="a", data={"b": 1}, **rest)).events()
    assert (found.event, found.model) == (name, "a")
    assert found.data == {"model": "a", "data": {"b": 1}, **rest}


@pytest.mark.parametrize("name", [None, "model_done", "model_error"])
def test_the_error_of_one_model_is_none_of_the_stream_s(name):
    """The others go on; it is in that model's result."""
    found = whole(
        compare,
        event(name, model="a", error="too hot", error_code="c"),
        event("model_chunk", model="b", delta="fine"),
        event("done", total_latency_ms=1),
    )
    assert [(each.model, each.content, each.error) for each in found.results] == [
        ("a", None, "too hot"),
        ("b", "fine", None),
    ]


@pytest.mark.parametrize(
    "error",
    [
        {"code": "upstream_error", "message": "too hot"},
        ["too hot"],
        7,
    ],
)
def test_the_error_of_one_model_may_be_of_any_kind(error):
    """An event may well hold an object; that must not cost the whole."""
    found = whole(compare, event("model_done", model="a", error=error), event("done", total_latency_ms=1))
    assert found.results[0].error


def test_an_event_named_error_is_the_stream_s():
    """Even if it names a model."""
    error = failed(receiving(compare(), event("error", model="a", message="m")))
    assert (error.status, error.message) == (502, "m")
    assert failed(receiving(compare(), event(error={"message": "m", "code": "conflict"}))).status == 409


@pytest.mark.parametrize(
    "last", [event("model_done", model="a"), event("comparison_done"), event("x", total_latency_ms=None)]
)
def test_a_comparison_ends_with_what_tells_of_all(last):
    """By its name, or by its total; nothing else shows that it was the last."""
    call = receiving(compare(), event(model="a", total_latency_ms=3), last)
    call.receive_eof()
    assert type(failed(call)) is StreamInterruptedError
    for last_of_all in (event("x", total_latency_ms=0), event("done"), event(event="done")):
        call = receiving(compare(), event(model="a", delta="x"), last_of_all)
        call.receive_eof()
        assert call.next_action() == Done()


def test_the_events_of_a_comparison_have_no_text():
    """It would be the texts of several, mixed."""
    call = receiving(compare(), event(model="a", delta="x"))
    with pytest.raises(TypeError, match="CompareStreamEvent has no text"):
        call.text_of(next(call.events()))


# --- anything at all ---------------------------------------------------------------------------------------------

NAMES = {
    "chat": ["choices", "delta", "index", "content", "tool_calls", "function", "arguments", "usage", "finish_reason"],
    "responses": ["response", "delta", "output_index", "content_index", "item", "content", "output", "usage", "text",
                  "arguments", "refusal"],
    "images": ["data", "status", "created", "b64_json", "usage", "url"],
    "compare": ["model", "models", "delta", "data", "results", "comparison", "error", "usage", "total_latency_ms",
                "latency_ms", "request_id", "created", "comparison_usage", "partial"],
}  # fmt: skip
NAMES["parsed"] = NAMES["chat"]
TYPES = ["response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
         "response.completed", "response.output_item.added", "error", "completed", "message"]  # fmt: skip
LEAVES = [None, True, False, -1, 0, 1, 1e300, "", "a", "7", "stop", "\ud800", "completed"]
# How often a value is what it may be at best, and how often anything at all.
LISTS = {"choices", "tool_calls", "data", "output", "results", "models"}
OBJECTS = {"delta", "function", "response", "item", "usage"}


def anything(rng, names, depth=0):
    shape = rng.randrange(6 if depth < 4 else 3)
    if shape < 3:
        return rng.choice(LEAVES)
    if shape == 3:
        return [anything(rng, names, depth + 1) for _ in range(rng.randrange(3))]
    return fields(rng, names, depth + 1)


def fields(rng, names, depth=0):
    found = {}
    for name in rng.sample(names, rng.randrange(min(5, len(names)))):
        if rng.random() < 0.3:
            found[name] = anything(rng, names, depth + 1)
        elif name in LISTS:
            found[name] = [fields(rng, names, depth + 1) for _ in range(rng.randrange(3))] if depth < 4 else []
        elif name in OBJECTS and depth < 4:
            found[name] = "x" if name == "delta" and rng.random() < 0.5 else fields(rng, names, depth + 1)
        else:
            found[name] = rng.choice(LEAVES)
    return found


def frame(rng, kind):
    found = fields(rng, NAMES[kind])
    if kind == "responses" and rng.random() < 0.5:
        found.update(delta="x", item={"content": anything(rng, NAMES[kind], 2)} if rng.random() < 0.5 else None)
    if rng.random() < 0.7:
        found["type"] = rng.choice(TYPES)
    if rng.random() < 0.05:
        found["error"] = anything(rng, ["message", "code", "details"])
    return rng.choice([None, None, None, "done", "comparison_chunk", *TYPES]), found


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, database=None, max_examples=200)
@given(seed=st.integers(0, 1 << 32), size=st.integers(1, 5), end=st.sampled_from(["done", "eof", "lost"]))
def test_whatever_a_stream_says_only_mesh_api_errors_come_of_it(kind, seed, size, end):
    """Each event is delivered or the error; to put them together gives a value or a MeshAPIError."""
    rng = Random(seed)
    call = receiving(KINDS[kind]())
    for _ in range(size):
        name, found = frame(rng, kind)
        note(f"{name} {found}")
        if call.state is State.RECEIVE_EVENTS:
            call.receive_data(event(name)[: -len(b"data: {}\n\n")] + event(**found))
    if call.state is State.RECEIVE_EVENTS:
        if end == "done":
            call.receive_data(DONE)
        else:
            call.receive_eof() if end == "eof" else call.receive_failure(Failure.CONNECTION_LOST)
    delivered = list(call.events())
    for each in delivered if kind in ("chat", "parsed", "responses") else ():
        assert isinstance(call.text_of(each), str)
    if call.state is State.FAILED:
        value = failed(call).partial
        assert delivered or value is None
    else:
        assert call.next_action() == Done()
        value = None
        with suppress(ResponseParseError):
            value = call.result
    if value is not None:
        assert value.request_id == "req-1"
        value.model_dump()


# --- in time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (chat, lambda at: {"choices": [{"index": 0, "delta": {"content": "x"}}]}),
        (chat, lambda at: {"choices": [{"index": 0, "delta": {"tool_calls": [tool_call(0, "a", "x")]}}]}),
        (chat, lambda at: {"choices": [{"index": 0, "delta": {"tool_calls": [tool_call(at, f"a{at}", "x")]}}]}),
        (responses, lambda at: {"type": "response.output_text.delta", "delta": "x", "content_index": at}),
        (responses, lambda at: {"type": "response.function_call_arguments.delta", "delta": "x"}),
        (compare, lambda at: {"event": "delta", "model": "a", "delta": "x"}),
    ],
    ids=["text", "arguments", "tool calls", "response", "call of a response", "comparison"],
)
def test_each_fragment_is_looked_at_a_few_times(make, fields):
    """However many came before it; or long answers would take quadratic time to be put together."""
    steps = 0

    def count(frame, event, argument):
        nonlocal steps
        steps += 1
        return count

    def steps_for(fragments):
        nonlocal steps
        call = receiving(make(), b"".join(event(**fields(at)) for at in range(fragments)) + b"data: [DONE]\n\n")
        list(call.events())
        steps, before = 0, sys.gettrace()
        sys.settrace(count)
        try:
            assert call.result
        finally:
            sys.settrace(before)
        return steps

    # The first time, models are built.
    steps_for(1)
    assert steps_for(400) < 3 * steps_for(200)


def tool_call(index, name, arguments):
    return {"index": index, "id": name, "function": {"arguments": arguments}}
