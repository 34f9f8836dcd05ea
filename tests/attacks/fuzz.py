"""A fuzzer for what reads the gateway's bytes, to be run by hand; it needs atheris, and is no part of any session.

    python3.11 -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris pydantic
    PYTHONPATH=. /tmp/fuzz/bin/python tests/attacks/fuzz.py -max_total_time=1200 -max_len=4096 -timeout=10 /tmp/corpus

The first byte of an input chooses what it is fed to, the second how it is cut into pieces.  Whatever is fed, the answer
is a value or a `MeshAPIError`: anything else ends the run, and leaves the input in a file that can be given instead of
the corpus to see it again.
"""

from __future__ import annotations

import json
import pathlib
import pickle
import sys
from contextlib import suppress
from typing import List

import atheris

with atheris.instrument_imports(include=["meshapi_core"]):
    import meshapi_core
    import meshapi_core.resources.batches
    import meshapi_core.resources.chat
    import meshapi_core.resources.compare
    import meshapi_core.resources.embeddings
    import meshapi_core.resources.images
    import meshapi_core.resources.models
    import meshapi_core.resources.responses
    import meshapi_core.resources.templates
    from meshapi_core import sse
    from meshapi_core.actions import Headers, ResponseHead
    from meshapi_core.errors import error_from_answer
    from meshapi_core.resources._structured import Wanted

TOKEN = "rsk_01FUZZFUZZFUZZ"
CORE = meshapi_core.MeshAPICore(
    meshapi_core.MeshAPIConfig("https://host", token=TOKEN, max_event_size=1 << 16, max_answer_size=1 << 20)
)
UNLIMITED = meshapi_core.MeshAPICore(meshapi_core.MeshAPIConfig("https://host", token=TOKEN))
SAY = [{"role": "user", "content": "hi"}]
CHAT = meshapi_core.ChatCompletionParams(messages=SAY)
RESPONSES = meshapi_core.ResponsesParams(input="hi")
COMPARE = meshapi_core.CompareParams(models=["a", "b"], messages=SAY)
IMAGES = meshapi_core.ImageGenerationParams(prompt="hi")
SHAPE = {"type": "object", "properties": {"a": {"type": "integer"}}}
BATCH = meshapi_core.BatchObject(id="b", status="completed", output_file_id="f")

STREAMS = [
    lambda: CORE.chat.completions.stream(CHAT),
    lambda: CORE.chat.completions.parse_stream(CHAT, SHAPE),
    lambda: CORE.responses.stream(RESPONSES),
    lambda: CORE.images.stream(IMAGES),
    lambda: CORE.compare.stream(COMPARE),
    lambda: CORE.batches.results(BATCH),
    # Without a limit for events, streams are read by another path.
    lambda: UNLIMITED.chat.completions.stream(CHAT),
]
WHOLES = [
    lambda: CORE.chat.completions.create(CHAT, max_retries=0),
    lambda: CORE.chat.completions.parse(CHAT, int),
    lambda: CORE.responses.create(RESPONSES, max_retries=0),
    lambda: CORE.responses.list(max_retries=0),
    lambda: CORE.images.generate(IMAGES, max_retries=0),
    lambda: CORE.compare.create(COMPARE, max_retries=0),
    lambda: CORE.embeddings.create(meshapi_core.EmbeddingsParams(input="hi"), max_retries=0),
    lambda: CORE.models.list(max_retries=0),
    lambda: CORE.models.search(max_retries=0),
    lambda: CORE.batches.list(max_retries=0),
    lambda: CORE.batches.get("b", max_retries=0),
    lambda: CORE.templates.list(max_retries=0),
]


def pieces_of(data: bytes, cut: int) -> List[bytes]:
    """`data` in pieces whose sizes `cut` says; all of it at once for 0."""
    if cut == 0:
        return [data]
    pieces: List[bytes] = []
    at = 0
    while at < len(data):
        size = 1 + (cut * (len(pieces) + 7)) % 61
        pieces.append(data[at : at + size])
        at += size
    return pieces


def check_error(error: meshapi_core.MeshAPIError) -> None:
    """Whatever an error can be asked for."""
    for text in (str(error), repr(error), repr(error.details), repr(error.provider_error)):
        assert TOKEN not in text
    assert type(pickle.loads(pickle.dumps(error))) is type(error)
    assert error.retry_after_seconds is None or error.retry_after_seconds >= 0


def fuzz_decoder(data: bytes, cut: int) -> None:
    """Cut anywhere, the same events."""
    whole, cut_up = sse.SSEDecoder(), sse.SSEDecoder()
    expected = whole.receive_data(data)
    assert [event for piece in pieces_of(data, cut) for event in cut_up.receive_data(piece)] == expected
    assert (cut_up.retry, cut_up.last_event_id) == (whole.retry, whole.last_event_id)


def fuzz_stream(data: bytes, cut: int, kind: int) -> None:
    """Cut anywhere, the same events, and the same end."""
    outcomes = []
    for pieces in (pieces_of(data, 0), pieces_of(data, cut)):
        call = STREAMS[kind]()
        events: List[object] = []
        outcome: object = None
        try:
            call.next_action()
            call.receive_response(200, {"content-type": "text/event-stream"})
            for piece in pieces:
                if call.is_over:
                    break
                call.receive_data(piece)
                events += call.events()
            if not call.is_over:
                call.receive_eof()
                events += call.events()
            call.next_action()
            if isinstance(call, meshapi_core.StreamCall):
                outcome = call.result.model_dump(mode="python")
                for event in events:
                    with suppress(TypeError):
                        call.text_of(event)
        except meshapi_core.MeshAPIError as error:
            check_error(error)
            # A message may quote what had come by then.
            outcome = (type(error), error.status, error.error_code)
        outcomes.append((repr(events), repr(outcome)))
    assert outcomes[0] == outcomes[1], outcomes


def fuzz_whole(data: bytes, cut: int, kind: int) -> None:
    """A value, or a MeshAPIError."""
    call = WHOLES[kind]()
    try:
        call.next_action()
        call.receive_response(200, {})
        for piece in pieces_of(data, cut):
            if not call.is_over:
                call.receive_data(piece)
        if not call.is_over:
            call.receive_eof()
        call.next_action()
        result = call.result
        repr(result)
        for thing in result if isinstance(result, list) else [result]:
            thing.model_dump()
            with suppress(ValueError):
                thing.model_dump_json()
    except meshapi_core.MeshAPIError as error:
        check_error(error)


def fuzz_error(data: bytes, cut: int) -> None:
    """Any head, any body."""
    head, _, body = data.partition(b"\n\n")
    fields = [(line.partition(b":")[0], line.partition(b":")[2]) for line in head.split(b"\n")]
    status = (200, 302, 400, 401, 404, 418, 422, 429, 500, 503, 599, 999)[cut % 12]
    check_error(error_from_answer(ResponseHead(status, Headers(fields)), body))


def fuzz_retry_after(data: bytes, cut: int) -> None:
    """Any date."""
    value, _, now = data.decode("latin-1").partition("\n")
    head = ResponseHead(429, Headers({"retry-after": value, "date": now}))
    check_error(error_from_answer(head, b""))


def fuzz_headers(data: bytes, cut: int) -> None:
    """A mapping that is the same when it has been looked up and when it has been pickled."""
    fields = [(line.partition(b":")[0], line.partition(b":")[2]) for line in data.split(b"\n")]
    headers = Headers(fields)
    for name, value in fields:
        assert value.decode("latin-1") in headers[name.decode("latin-1")]
    assert len(headers) == len(list(headers)) <= len(fields)
    assert dict(pickle.loads(pickle.dumps(headers))) == dict(headers)
    repr(headers)


def fuzz_structured(data: bytes, cut: int) -> None:
    """The text of a model, read as what was asked for."""
    text = data.decode("utf-8", "replace")
    shape = (int, List[int], SHAPE, meshapi_core.ChatMessage)[cut % 4]
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    completion = meshapi_core.ChatCompletionResponse.model_validate({"choices": [choice]})
    try:
        Wanted(shape).read(completion)
    except meshapi_core.StructuredOutputError as error:
        check_error(error)
        if error.is_correctable:
            error.correction()


def run_one(data: bytes) -> None:
    """Feed one input."""
    if len(data) < 2:
        return
    target, cut, data = data[0], data[1], data[2:]
    others = [fuzz_decoder, fuzz_error, fuzz_retry_after, fuzz_headers, fuzz_structured]
    target %= len(STREAMS) + len(WHOLES) + len(others)
    if target < len(STREAMS):
        fuzz_stream(data, cut, target)
    elif target < len(STREAMS) + len(WHOLES):
        fuzz_whole(data, cut, target - len(STREAMS))
    else:
        others[target - len(STREAMS) - len(WHOLES)](data, cut)


CHUNK = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"x"}]}}]}\n\n'
SEEDS = [
    CHUNK + b'data: {"choices":[{"finish_reason":"stop"}],"usage":{"total_tokens":1}}\n\ndata: [DONE]\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a","output_index":0}\n\n'
    b'data: {"type":"response.completed","response":{"id":"r","output":[]}}\n\n',
    b'data: {"type":"response.output_item.added","item":{"id":"i","content":[{"type":"output_text"}]}}\n\n',
    b'data: {"status":"image.completed","data":[{"b64_json":"aGk="}]}\n\n',
    b'event: model.delta\ndata: {"model":"a","delta":"x","error":{"message":"m"}}\n\n'
    b'event: done\ndata: {"results":[]}\n\n',
    b'event: error\ndata: {"error":{"code":"rate_limit_exceeded","message":"m","details":[{"loc":[]}]}}\n\n',
    b'{"id":"1","custom_id":"a","response":{"status_code":200,"body":{}},"error":null}\n{"error":{"code":"x"}}\n',
    b'{"id":"1","choices":[{"index":0,"message":{"content":"1","tool_calls":[]},"finish_reason":"stop"}]}',
    b'{"object":"list","data":[{"id":"1","embedding":[0.1,1e400]}],"has_more":true,"items":[{"id":"\\ud800"}]}',
    b'[{"id":"1","pricing":{"prompt_usd_per_1m":"1"}}]',
    b"retry-after: 1\nx-request-id: r\n\n" + b'{"error":{"message":"m","retry_after_seconds":1e9},"request_id":"q"}',
    b"Wed, 21 Oct 2015 07:28:00 GMT\nWed, 21 Oct 2015 07:28:00 GMT",
    b'```json\n{"a": 1}\n```',
    b"\xef\xbb\xbfid: 1\nretry: 10\n: c\r\ndata\rdata:a\r\n\r\n\n",
]


def main() -> None:
    """Seed the corpus, if one is named, and run."""
    folders = [pathlib.Path(each) for each in sys.argv[1:] if not each.startswith("-")]
    if folders and folders[0].is_dir() and not any(folders[0].iterdir()):
        count = len(STREAMS) + len(WHOLES) + 5
        for number, seed in enumerate(SEEDS):
            for target in range(count):
                (folders[0] / f"seed-{number}-{target}").write_bytes(bytes([target, number]) + seed)
    atheris.Setup(sys.argv, run_one)
    atheris.Fuzz()


# For a dictionary: ``-dict=`` takes a file, and these are its words.
WORDS = ["data: ", "event: ", "[DONE]", "\\ud800", "NaN", "choices", "delta", "error", "response.", "null", "[[[["]


if __name__ == "__main__":
    if sys.argv[1:] == ["--words"]:
        print("\n".join(json.dumps(word) for word in WORDS))
    else:
        main()
