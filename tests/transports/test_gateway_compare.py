"""The local gateway's comparisons, seen from outside: plain HTTP and the official SDK."""

from __future__ import annotations

import asyncio
import json

import httpx
import meshapi
import pytest

from meshapi_transports.testing import Fault

from .test_gateway import authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

COMPARE = "/v1/chat/compare"
MODELS = ["openai/gpt-4o", "local/echo"]
HELLO = [{"role": "user", "content": "hello big world"}]
REPLY = "You said: hello big world"


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def compare(client, **params):
    return client.post(COMPARE, json={"models": MODELS, "messages": HELLO, **params})


def events_of(answer):
    """The name and the data of each event of a stream."""
    blocks = [block.split("\n") for block in answer.text.split("\n\n")[:-1]]
    return [(name[len("event: ") :], json.loads(data[len("data: ") :])) for name, data in blocks]


def text_of(events, model):
    return "".join(data["delta"] for name, data in events if name == "model_chunk" and data["model"] == model)


def test_every_model_answers_and_the_answers_are_compared(client):
    """Each result holds the whole completion, and the verdict stands beside them."""
    answer = compare(client).json()
    assert answer["comparison_id"].startswith("cmp_")
    assert (answer["object"], answer["models"]) == ("compare.completion", MODELS)
    assert [result["model"] for result in answer["results"]] == MODELS
    for result in answer["results"]:
        assert result["content"] == REPLY
        assert result["response_body"]["choices"][0]["message"]["content"] == REPLY
        assert result["response_body"]["model"] == result["model"]
        assert result["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        assert (result["error"], result["error_code"], result["latency_ms"]) == (None, None, 5)
    assert answer["comparison"] == "2 models answered, and their answers are the same."
    assert answer["comparison_model"] == "openai/gpt-4o-mini"
    assert answer["comparison_usage"] == {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
    assert (answer["partial"], answer["skip_comparison"], answer["comparison_fallback_used"]) == (False, False, False)
    assert answer["total_latency_ms"] == 10


def test_each_result_names_its_own_request(client):
    """The id is that of the whole request and the model."""
    answer = client.post(COMPARE, json={"models": MODELS, "messages": HELLO}, headers={"X-Request-Id": "mine"}).json()
    assert [result["request_id"] for result in answer["results"]] == ["mine::openai/gpt-4o", "mine::local/echo"]


def test_the_comparison_can_be_left_out(client):
    """Nobody is named who made it, and no tokens are counted."""
    answer = compare(client, skip_comparison=True).json()
    assert answer["skip_comparison"] is True
    assert (answer["comparison"], answer["comparison_model"], answer["comparison_usage"]) == (None, None, None)
    assert answer["total_latency_ms"] == 5


def test_a_model_is_asked_once_and_one_alone_is_not_compared(client):
    """Models that are named twice count once."""
    answer = compare(client, models=["local/echo", "local/echo"]).json()
    assert (answer["models"], len(answer["results"]), answer["comparison"]) == (["local/echo"], 1, None)


def test_the_parameters_are_for_all_and_the_overrides_for_one(client):
    """A limit cuts the answers short, each its own way, and a system prompt is read by one model."""
    overrides = [{"model": "local/echo", "max_tokens": 3, "temperature": 0, "system_prompt": "be very brief"}]
    answer = compare(client, max_tokens=4, model_overrides=overrides, comparison_instructions="count words").json()
    first, second = answer["results"]
    assert (first["content"], first["usage"]["prompt_tokens"]) == ("You said: hello big", 3)
    assert (second["content"], second["usage"]["prompt_tokens"]) == ("You said: hello", 6)
    assert answer["comparison"] == "2 models answered, and their answers are not the same."
    assert answer["comparison_usage"]["prompt_tokens"] == 2 + 4 + 3


def test_another_model_can_compare(client):
    """One that does not exist, or does not chat, is replaced, and the answer tells."""
    answer = compare(client, comparison_model="local/echo").json()
    assert (answer["comparison_model"], answer["comparison_fallback_used"]) == ("local/echo", False)
    for unable in ("openai/gpt-9", "openai/gpt-image-1"):
        answer = compare(client, comparison_model=unable).json()
        assert (answer["comparison_model"], answer["comparison_fallback_used"]) == ("openai/gpt-4o-mini", True)


def test_a_model_that_fails_leaves_the_others(client):
    """Its result holds the error, and the comparison is of the rest, if that is more than one."""
    answer = compare(client, models=["openai/gpt-9", *MODELS]).json()
    failed = answer["results"][0]
    assert (failed["error"], failed["error_code"]) == ("there is no model 'openai/gpt-9'", "model_not_found")
    assert (failed["content"], failed["response_body"], failed["usage"]) == (None, None, None)
    assert answer["partial"] is True
    assert answer["comparison"].startswith("2 models answered")
    assert compare(client, models=["openai/gpt-9", "local/echo"]).json()["comparison"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_only_if_all_models_fail_the_whole_does(client, stream):
    """The error tells of each, also before a stream begins."""
    answer = compare(client, models=["a/b", "openai/gpt-image-1"], stream=stream)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "all_models_failed")
    assert [(detail["model"], detail["error_code"]) for detail in error_of(answer)["details"]] == [
        ("a/b", "model_not_found"),
        ("openai/gpt-image-1", "unprocessable_entity"),
    ]


def test_a_stream_with_comparison_brings_whole_answers_then_the_verdict(client):
    """One chunk a model, all results together, the verdict word by word, and the end without [DONE]."""
    events = events_of(compare(client, stream=True))
    assert [name for name, _ in events] == [
        "meta",
        "model_chunk",
        "model_chunk",
        "model_done",
        *["comparison_chunk"] * 10,
        "done",
    ]
    meta, ending = events[0][1], events[-1][1]
    assert (meta["models"], meta["comparison_model"], meta["skip_comparison"]) == (MODELS, "openai/gpt-4o-mini", False)
    assert meta["comparison_id"] == ending["comparison_id"]
    assert [text_of(events, model) for model in MODELS] == [REPLY, REPLY]
    assert (events[1][1]["usage"]["total_tokens"], events[1][1]["latency_ms"]) == (8, 5)
    assert [result["content"] for result in events[3][1]["results"]] == [REPLY, REPLY]
    verdict = [data for name, data in events if name == "comparison_chunk"]
    assert "".join(data["delta"] for data in verdict) == "2 models answered, and their answers are the same."
    assert [data["finish_reason"] for data in verdict] == [None] * 9 + ["stop"]
    assert (ending["partial"], ending["total_latency_ms"], ending["comparison_fallback_used"]) == (False, 10, False)


def test_a_stream_without_comparison_brings_the_words_of_all_as_they_come(client):
    """The models take turns, and each ends by itself, the shorter one first."""
    overrides = [{"model": "openai/gpt-4o", "max_tokens": 2}]
    events = events_of(compare(client, stream=True, skip_comparison=True, model_overrides=overrides))
    steps = [(name, data.get("model"), data.get("delta")) for name, data in events]
    first, second = MODELS
    assert steps == [
        ("meta", None, None),
        ("model_chunk", first, "You"),
        ("model_chunk", second, "You"),
        ("model_chunk", first, " said:"),
        ("model_chunk", second, " said:"),
        ("model_stream_done", first, None),
        ("model_chunk", second, " hello"),
        ("model_chunk", second, " big"),
        ("model_chunk", second, " world"),
        ("model_stream_done", second, None),
        ("done", None, None),
    ]
    assert {data["finish_reason"] for name, data in events if name == "model_chunk"} == {None}
    assert events[5][1]["finish_reason"] == "length"
    assert events[5][1]["usage"]["completion_tokens"] == 2
    assert events[9][1]["finish_reason"] == "stop"
    assert (events[0][1]["comparison_model"], events[-1][1]["skip_comparison"]) == (None, True)


@pytest.mark.parametrize(("skip", "event"), [(False, "model_chunk"), (True, "model_stream_done")])
def test_a_stream_tells_of_a_model_that_failed(client, skip, event):
    """The others go on, and without a second answer there is no verdict."""
    events = events_of(compare(client, models=["a/b", "local/echo"], stream=True, skip_comparison=skip))
    (failed,) = [data for name, data in events if name == event and data["model"] == "a/b"]
    assert (failed["error_code"], failed["error"]) == ("model_not_found", "there is no model 'a/b'")
    assert text_of(events[2:], "local/echo") == REPLY
    assert "comparison_chunk" not in [name for name, _ in events]
    assert events[-1][1]["partial"] is True


def test_faults_bend_the_stream(local_gateway, client):
    """[DONE] can be had, and the final event left out."""
    local_gateway.inject(Fault(done=True))
    assert compare(client, stream=True).text.endswith("\n\ndata: [DONE]\n\n")
    local_gateway.inject(Fault(finish=False))
    assert events_of(compare(client, stream=True))[-1][0] == "comparison_chunk"


@pytest.mark.parametrize(
    ("params", "loc", "kind"),
    [
        ({"models": []}, ["body", "models"], "too_short"),
        ({"models": ["local/echo"] * 11}, ["body", "models"], "too_long"),
        ({"models": [1]}, ["body", "models", 0], "string_type"),
        ({"messages": [{"role": "robot"}]}, ["body", "messages", 0, "role"], "literal_error"),
        ({"model_overrides": [{}]}, ["body", "model_overrides", 0, "model"], "missing"),
        (
            {"model_overrides": [{"model": "local/echo", "max_tokens": 0}]},
            ["body", "model_overrides", 0, "max_tokens"],
            "greater_than_equal",
        ),
        ({"temperature": 3}, ["body", "temperature"], "less_than_equal"),
        ({"skip_comparison": 1}, ["body", "skip_comparison"], "bool_type"),
    ],
)
def test_a_bad_body_is_a_validation_error(client, params, loc, kind):
    """Each mistake is reported with the place where it is."""
    answer = compare(client, **params)
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def sdk_params(**params):
    messages = [meshapi.ChatMessage(role="user", content="hello big world")]
    return meshapi.CompareParams(models=MODELS, messages=messages, **params)


def sdk_text(events, model):
    return "".join(event.delta for event in events if event.event == "model_chunk" and event.model == model)


def test_the_official_sdk_compares(local_gateway):
    """Whole and in both kinds of stream."""
    with meshapi.MeshAPI(base_url=local_gateway.base_url, token=local_gateway.token, max_retries=0) as sdk:
        answer = sdk.compare.create(sdk_params())
        compared = list(sdk.compare.stream(sdk_params()))
        separate = list(sdk.compare.stream(sdk_params(skip_comparison=True)))
    assert [result.content for result in answer.results] == [REPLY, REPLY]
    assert answer.comparison_usage.total_tokens == 19
    for events in (compared, separate):
        assert [sdk_text(events, model) for model in MODELS] == [REPLY, REPLY]
        assert (events[0].event, events[-1].event) == ("meta", "done")


def test_the_official_async_sdk_compares(local_gateway):
    """The same over its async client."""

    async def talk():
        async with meshapi.AsyncMeshAPI(base_url=local_gateway.base_url, token=local_gateway.token) as sdk:
            answer = await sdk.compare.create(sdk_params())
            return answer, [event async for event in sdk.compare.stream(sdk_params(skip_comparison=True))]

    answer, events = asyncio.run(talk())
    assert sdk_text(events, "local/echo") == answer.results[1].content == REPLY


def test_the_official_sdk_takes_the_failure_of_one_model_for_that_of_the_stream(local_gateway):
    """It raises at the first event with an error in it, though the stream would go on."""
    params = meshapi.CompareParams(models=["a/b", *MODELS], messages=sdk_params().messages)
    with meshapi.MeshAPI(base_url=local_gateway.base_url, token=local_gateway.token, max_retries=0) as sdk:
        assert sdk.compare.create(params).partial
        with pytest.raises(meshapi.MeshAPIError, match="there is no model 'a/b'"):
            list(sdk.compare.stream(params))
