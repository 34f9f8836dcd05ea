"""What a batch is made of, and what became of each of its requests."""

import copy
import json
import pickle

import pytest
from pydantic import ValidationError

from meshapi_core import (
    BatchRequestItem,
    BatchResult,
    ChatCompletionResponse,
    CreateBatchParams,
    EmbeddingsResponse,
    Headers,
    ResponseHead,
    TokenUsage,
    UploadBatchFileParams,
)
from meshapi_core.resources._base import read_json

REQUEST = {"custom_id": "a", "body": {"model": "m"}}
FILE = {"input_file_id": "f", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.mark.parametrize(
    "fields",
    [
        {"requests": [REQUEST]},
        {"requests": [REQUEST], "completion_window": "24h", "metadata": {"a": "b"}},
        {"requests": [REQUEST], "endpoint": "/v1/chat/completions"},
        FILE,
        {**FILE, "metadata": {"a": "b"}},
        {**FILE, "requests": None},
    ],
)
def test_a_batch_has_one_source(fields):
    """The requests themselves, or a file with what goes with it."""
    params = CreateBatchParams(**fields)
    given = {name: value for name, value in fields.items() if value is not None and name != "requests"}
    assert params.model_dump(exclude_none=True, exclude={"requests"}) == given
    assert params.model_copy() == pickle.loads(pickle.dumps(params)) == CreateBatchParams.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"requests": None},
        {"metadata": {"a": "b"}},
        {"endpoint": "/v1/chat/completions", "completion_window": "24h"},
        {"requests": [REQUEST], "input_file_id": "f"},
        {"requests": [REQUEST], **FILE},
        *({**FILE, name: None} for name in FILE),
        *({**FILE, name: ""} for name in FILE),
    ],
)
@pytest.mark.parametrize("make", [lambda fields: CreateBatchParams(**fields), CreateBatchParams.model_validate])
def test_a_batch_without_a_source_says_what_to_give(make, fields):
    """Or with two, or with half of one."""
    with pytest.raises(
        ValidationError, match="give either requests, or input_file_id with endpoint and completion_window"
    ):
        make(fields)


@pytest.mark.parametrize("cls", [CreateBatchParams, UploadBatchFileParams])
def test_each_request_needs_an_id_of_its_own(cls):
    """Results come in any order and are told apart by it; the message names the one that is there twice."""
    ids = ["a", "twin", "b", "twin"]
    with pytest.raises(ValidationError, match="custom_id 'twin' is given twice"):
        cls(requests=[{**REQUEST, "custom_id": name} for name in ids])
    assert len(cls(requests=[{**REQUEST, "custom_id": name} for name in ids[:3]]).requests) == 3


# --- results -----------------------------------------------------------------------------------------------------

COMPLETION = {"id": "c", "choices": [{"message": {"content": "hi"}}]}


def result(**fields):
    return read_json(BatchResult, json.dumps({"custom_id": "a", **fields}))


def answered(body, status=200, **fields):
    return result(response={"status_code": status, "request_id": "req-of-the-line", "body": body}, **fields)


def test_a_success_is_read_as_what_was_asked_for():
    """A completion, or another answer, or any model."""
    found = answered(COMPLETION)
    assert found.is_success
    assert isinstance(found.completion(), ChatCompletionResponse)
    assert found.completion().choices[0].message.content == "hi"
    vectors = answered({"data": [{"embedding": [1.0]}]}).parse_body(EmbeddingsResponse)
    assert vectors.vectors() == [[1.0]]
    assert answered({"total_tokens": 7}).parse_body(TokenUsage).total_tokens == 7


def test_the_answer_knows_its_own_request():
    """Not the one that fetched the file in which it stood."""
    found = answered(COMPLETION)
    found._take_head(ResponseHead(200, Headers({"x-request-id": "req-of-the-file"})))
    assert found.request_id == "req-of-the-file"
    assert found.completion().request_id == "req-of-the-line"
    assert result(response={"status_code": 200, "body": COMPLETION}).completion().request_id == ""


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_status_of_2xx_is_a_success(status):
    """Without an error beside it."""
    assert answered(COMPLETION, status).is_success
    assert answered(COMPLETION, status, error=None).is_success


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (answered({"error": {"message": "too hot"}}, 400), "status 400, .*too hot"),
        (answered(None, 500), "status 500, None"),
        (answered("x" * 10_000, 300), "status 300, x{500}$"),
        (answered(COMPLETION, 199), "status 199"),
        (answered(COMPLETION, None), "status None"),
        (result(error={"code": "expired", "message": "it took too long"}), "it took too long"),
        (result(error={"code": "expired"}), "expired"),
        (result(error={"message": "", "code": 7}), "7"),
        (result(error={"brand_new": 1}), "there is no response"),
        (answered(COMPLETION, error={"message": "refused"}), "refused"),
        (answered("body", 500, error={}), "status 500, body"),
        (result(), "there is no response"),
        (result(response=None, error=None), "there is no response"),
        (result(response={}), "status None, None"),
    ],
)
def test_a_failure_tells_why(found, told):
    """When it is read as if it were none; and which request it was."""
    assert not found.is_success
    with pytest.raises(ValueError, match=f"the request 'a' failed: {told}"):
        found.completion()
    with pytest.raises(ValueError, match=told):
        found.parse_body(TokenUsage)


@pytest.mark.parametrize("body", [None, "text", [], 7, {"choices": "text"}])
def test_another_shape_is_an_error(body):
    """Which names the request, and what was expected."""
    with pytest.raises(ValueError, match="the answer to 'a' is no ChatCompletionResponse"):
        answered(body).completion()


DUPLICATES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "deep model_copy": lambda model: model.model_copy(deep=True),
    **{f"pickle {p}": lambda model, p=p: pickle.loads(pickle.dumps(model, p)) for p in range(2, 6)},
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_a_result_keeps_its_request_when_copied_and_pickled(duplicate):
    """As it keeps the head; and one that knows no request still knows none."""
    request = BatchRequestItem(**REQUEST)
    found = answered(COMPLETION)
    found._take_head(ResponseHead(200, Headers({"x-request-id": "req-1"})))
    assert found.request is None
    assert duplicate(found).request is None
    found._take_request(request)
    assert found.request is request
    twin = duplicate(found)
    assert twin == found
    assert twin.request == request
    assert found.request is request
    assert twin.request_id == "req-1"
    assert twin.completion().id == "c"


def test_the_request_is_no_part_of_the_result():
    """It is neither dumped nor compared; a field of the same name is a field."""
    found, other = answered(COMPLETION, request="odd"), answered(COMPLETION, request="odd")
    found._take_request(BatchRequestItem(**REQUEST))
    assert found == other
    assert found.model_dump() == other.model_dump()
    assert found.model_dump()["request"] == "odd"
    assert "request" not in answered(COMPLETION).model_dump()
