"""What the type checkers make of `meshapi_core`, driven by hand; checked, never run."""

from typing import Callable, Iterator, List, Optional

from pydantic import BaseModel
from typing_extensions import assert_type

from meshapi_core import (
    NEED_DATA,
    NEED_RESPONSE,
    AnswerList,
    BatchObject,
    BatchRequestItem,
    BatchResult,
    Call,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionParams,
    ChatCompletionResponse,
    ChatMessage,
    Done,
    Failure,
    FileObject,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ModelInfo,
    ParsedChatCompletion,
    Request,
    ResponseHead,
    ResponsesListItem,
    RetryPolicy,
    SendRequest,
    SSEDecoder,
    State,
    StreamCall,
    Timeout,
    UsageInfo,
    Wait,
)

core = MeshAPICore(MeshAPIConfig(token="rsk_..."), jitter=lambda: 1.0)
assert_type(core.config, MeshAPIConfig)
assert_type(core.config.timeout, Timeout)
assert_type(core.config.retry, RetryPolicy)
params = ChatCompletionParams(model="openai/gpt-4o-mini", messages=[ChatMessage(role="user", content="hi")])

call = core.chat.completions.create(params, timeout=Timeout(total=5.0), max_retries=0, request_id="mine")
assert_type(call, Call[ChatCompletionResponse])
assert_type(call.result, ChatCompletionResponse)
assert_type(call.result.choices[0].message, Optional[ChatCompletionMessage])
assert_type(call.result.usage, Optional[UsageInfo])
assert_type(call.result.request_id, str)
assert_type(call.state, State)
assert_type(call.response, Optional[ResponseHead])

stream = core.chat.completions.stream(params, extra_body={"new": True})
assert_type(stream, StreamCall[ChatCompletionChunk, ChatCompletionResponse])
assert_type(stream.result, ChatCompletionResponse)
assert_type(stream.events(), Iterator[ChatCompletionChunk])
assert_type(stream.text_of(next(stream.events())), str)


class Weather(BaseModel):
    """A shape to be asked for."""

    degrees: int


assert_type(core.batches.iterate(), ItemsCall[BatchObject])
assert_type(core.responses.iterate().events(), Iterator[ResponsesListItem])
assert_type(core.batches.results("batch_1").events(), Iterator[BatchResult])
assert_type(core.models.list(), Call[AnswerList[ModelInfo]])
assert_type(core.files.delete("file_1"), Call[None])
assert_type(core.batches.wait("batch_1", poll_interval=1, on_progress=print), Call[BatchObject])
assert_type(core.batches.upload([BatchRequestItem(custom_id="a", body={}), {"custom_id": "b"}, "{}"]), Call[FileObject])
assert_type(core.chat.completions.parse(params, Weather), Call[ParsedChatCompletion[Weather]])
assert_type(core.chat.completions.parse(params, Weather).result.parsed, Weather)
parsed_stream = core.chat.completions.parse_stream(params, List[Weather])
assert_type(parsed_stream, StreamCall[ChatCompletionChunk, ParsedChatCompletion[List[Weather]]])
assert_type(parsed_stream.result.parsed, List[Weather])


def every_action_is_told_apart(send: Callable[[Request], None], sleep: Callable[[float], None]) -> None:
    """The five kinds of action narrow, the sentinels among them, until nothing is left."""
    action = call.next_action()
    if isinstance(action, SendRequest):
        send(action.request)
        call.request_sent()
    elif action is NEED_RESPONSE:
        call.receive_response(200, {"content-type": "application/json"})
        call.receive_response(200, [(b"content-type", b"application/json")])
    elif action is NEED_DATA:
        call.receive_data(b"")
        call.receive_eof()
    elif isinstance(action, Wait):
        sleep(action.seconds)
        call.wait_elapsed()
    else:
        assert_type(action, Done)
    call.receive_failure(Failure.CONNECT, OSError())


def errors_tell_what_they_know(error: MeshAPIError) -> None:
    """The attributes of an error have types of their own."""
    assert_type(error.status, int)
    assert_type(error.error_code, str)
    assert_type(error.retry_after_seconds, Optional[float])


assert_type([event.data for event in SSEDecoder().receive_data(b"data: 1\n\n")], List[str])
