"""Every method of the clients, on every face over real sockets: a method without a scenario here fails the suite."""

from __future__ import annotations

import dataclasses
import inspect
import json
from functools import cached_property
from operator import attrgetter
from typing import Any, Callable, Dict, List, Optional

import pytest
from pydantic import BaseModel

from meshapi_core import (
    AnswerList,
    BatchListResponse,
    BatchObject,
    BatchResult,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatMessage,
    CompareParams,
    CompareResponse,
    CompareStreamEvent,
    CreateBatchParams,
    CreateTemplateParams,
    EmbeddingsParams,
    EmbeddingsResponse,
    FileContent,
    FileObject,
    ImageEditParams,
    ImageGenerationChunk,
    ImageGenerationParams,
    ImageGenerationResponse,
    ModelInfo,
    ModelSearchParams,
    ModelsPage,
    NotFoundError,
    ParsedChatCompletion,
    ResponsesListItem,
    ResponsesListResponse,
    ResponsesParams,
    ResponsesResponse,
    ResponsesStreamEvent,
    TemplateSummary,
    UpdateTemplateParams,
    UploadBatchFileParams,
)
from meshapi_transports.testing import Fault, LocalGateway

from .conftest import BOTH_COLOURS
from .faces import PARAMS, RecordingPolicy, failure, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

# What a client has beside the gateway's methods; other modules test it.
OF_THE_CLIENT_ITSELF = {"close", "aclose"}

SAID = "You said: Say hello"
REQUEST = {"custom_id": "one", "body": {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "1"}]}}
BATCH = CreateBatchParams(requests=[REQUEST, {**REQUEST, "custom_id": "two"}])
RESPONSES = ResponsesParams(input="Say hello")
COMPARE = CompareParams(
    models=["openai/gpt-4o-mini", "local/echo"], messages=[ChatMessage(role="user", content="Say hello")]
)
IMAGES = ImageGenerationParams(prompt="a mesh", response_format="b64_json")
PNG = b"\x89PNG\r\n\x1a\n"


class Weather(BaseModel):
    """What an answer can be parsed as."""

    city: str
    degrees: int


@pytest.fixture
def gateway():
    with LocalGateway(batch_seconds=None) as gateway:
        yield gateway


# Scenarios


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a method needs first, a call of it, and what must hold of what it gives.

    Attributes:
        play: a coroutine function that is called with a `Trial`, and calls it instead of the method.
        shape: ``"call"``, ``"items"`` or ``"stream"``.
        kind: the type of the value, or of what a stream's events make up.
        item: the type of the items, or of a stream's events.
        has_body: whether fields can be added to the request's body.
    """

    play: Callable[[Any], Any]
    shape: str
    kind: Optional[type]
    item: Optional[type] = None
    has_body: bool = False


METHODS: Dict[str, Scenario] = {}
"""A scenario for each public method, by the method's dotted name."""


def gives(name: str, kind: Optional[type], item: Optional[type] = None, *, has_body: bool = False) -> Any:
    """Decorate the scenario of a method that gives a value at once."""
    return _scenario(name, "call", kind, item, has_body)


def gives_items(name: str, item: type) -> Any:
    """Decorate the scenario of a method that gives items."""
    return _scenario(name, "items", None, item, False)


def gives_stream(name: str, item: type, kind: type) -> Any:
    """Decorate the scenario of a method that gives a stream."""
    return _scenario(name, "stream", kind, item, True)


def _scenario(name: str, *about: Any) -> Any:
    def decorate(play: Callable[[Any], Any]) -> Callable[[Any], Any]:
        METHODS[name] = Scenario(play, *about)
        return play

    return decorate


@gives("chat.completions.create", ChatCompletionResponse, has_body=True)
async def chat_is_answered(trial):
    completion = await trial(PARAMS)
    assert completion.choices[0].message.content == SAID
    assert completion.usage.total_tokens == 6


@gives_stream("chat.completions.stream", ChatCompletionChunk, ChatCompletionResponse)
async def chat_is_streamed(trial):
    chunks, completion = await trial(PARAMS)
    assert text_of(chunks) == completion.choices[0].message.content == SAID
    assert completion.usage.total_tokens == 6


@gives("chat.completions.parse", ParsedChatCompletion, has_body=True)
async def chat_is_parsed(trial):
    completion = await trial(PARAMS, Weather)
    assert type(completion.parsed) is Weather
    assert json.loads(completion.choices[0].message.content) == completion.parsed.model_dump()


@gives_stream("chat.completions.parse_stream", ChatCompletionChunk, ParsedChatCompletion)
async def chat_is_streamed_and_parsed(trial):
    chunks, completion = await trial(PARAMS, Weather)
    assert type(completion.parsed) is Weather
    assert json.loads(text_of(chunks)) == completion.parsed.model_dump()


@gives("responses.create", ResponsesResponse, has_body=True)
async def response_is_given(trial):
    response = await trial(RESPONSES)
    assert (response.status, response.output_text) == ("completed", SAID)


@gives_stream("responses.stream", ResponsesStreamEvent, ResponsesResponse)
async def response_is_streamed(trial):
    events, response = await trial(RESPONSES)
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert (response.status, response.output_text) == ("completed", SAID)


@gives("responses.list", ResponsesListResponse, ResponsesListItem)
async def responses_are_listed(trial):
    older, newer = [await trial.client.responses.create(RESPONSES) for _ in range(2)]
    page = await trial(limit=1)
    assert [item.id for item in page.data] == [newer.id]
    assert (page.has_more, page.last_id) == (True, newer.id)
    page = await trial(after=page.last_id, limit=1)
    assert ([item.id for item in page.data], page.has_more) == ([older.id], False)


@gives_items("responses.iterate", ResponsesListItem)
async def responses_are_iterated(trial):
    made = [await trial.client.responses.create(RESPONSES) for _ in range(3)]
    assert [item.id for item in await trial(page_size=2)] == [response.id for response in reversed(made)]


@gives("responses.get", ResponsesResponse)
async def response_is_found_again(trial):
    made = await trial.client.responses.create(RESPONSES)
    found = await trial(made.id)
    assert (found.id, found.output_text) == (made.id, SAID)


@gives("embeddings.create", EmbeddingsResponse, has_body=True)
async def texts_are_embedded(trial):
    answer = await trial(EmbeddingsParams(input=["one", "two"], encoding_format="base64", dimensions=4))
    assert [len(vector) for vector in answer.vectors()] == [4, 4]


@gives("images.generate", ImageGenerationResponse, has_body=True)
async def image_is_drawn(trial):
    answer = await trial(IMAGES)
    assert [item.image_bytes()[:8] for item in answer.data] == [PNG]


@gives_stream("images.stream", ImageGenerationChunk, ImageGenerationResponse)
async def image_is_drawn_step_by_step(trial):
    chunks, answer = await trial(IMAGES.model_copy(update={"partial_images": 2}))
    assert [chunk.status for chunk in chunks] == ["processing", "partial", "partial", "completed"]
    assert answer.data == chunks[-1].data


@gives("images.edit", ImageGenerationResponse, has_body=True)
async def image_is_edited(trial):
    params = ImageEditParams(
        model="openai/gpt-image-1", image="data:image/png;base64,", prompt="bluer", response_format="b64_json"
    )
    answer = await trial(params)
    assert [item.image_bytes()[:8] for item in answer.data] == [PNG]


@gives("compare.create", CompareResponse, has_body=True)
async def models_are_compared(trial):
    comparison = await trial(COMPARE)
    assert {result.model: result.content for result in comparison.results} == dict.fromkeys(COMPARE.models, SAID)
    assert comparison.comparison == "2 models answered, and their answers are the same."


@gives_stream("compare.stream", CompareStreamEvent, CompareResponse)
async def comparison_is_streamed(trial):
    events, comparison = await trial(COMPARE)
    assert (events[0].event, events[-1].event) == ("meta", "done")
    assert {result.model: result.content for result in comparison.results} == dict.fromkeys(COMPARE.models, SAID)
    assert comparison.comparison == "2 models answered, and their answers are the same."


@gives("files.upload", FileObject, has_body=True)
async def file_is_uploaded(trial):
    file = await trial(UploadBatchFileParams(requests=BATCH.requests))
    assert (file.purpose, file.bytes) == ("batch", len(await trial.client.files.content(file.id)))


@gives("files.get", FileObject)
async def file_is_found(trial):
    file = await trial.client.batches.upload(BATCH.requests)
    assert (await trial(file.id)).model_dump() == file.model_dump()


@gives("files.delete", None)
async def file_is_deleted(trial):
    file = await trial.client.batches.upload(BATCH.requests)
    await trial(file.id)
    assert type(await failure(trial.client.files.get(file.id))) is NotFoundError


@gives("files.content", FileContent)
async def file_is_read(trial):
    file = await trial.client.batches.upload([REQUEST])
    content = await trial(file.id)
    assert content.endswith(b"}\n")
    assert json.loads(content)["custom_id"] == "one"


@gives("batches.create", BatchObject, has_body=True)
async def batch_is_begun(trial):
    batch = await trial(BATCH)
    assert (batch.status, batch.request_counts["total"]) == ("validating", 2)


@gives("batches.get", BatchObject)
async def batch_is_found(trial):
    batch = await trial.client.batches.create(BATCH)
    trial.gateway.advance_batches()
    found = await trial(batch.id)
    assert (found.id, found.status) == (batch.id, "in_progress")


@gives("batches.list", BatchListResponse, BatchObject)
async def batches_are_listed(trial):
    older, newer = [await trial.client.batches.create(BATCH) for _ in range(2)]
    page = await trial(limit=1)
    assert ([batch.id for batch in page.data], page.has_more) == ([newer.id], True)
    page = await trial(after=page.last_id, limit=1)
    assert ([batch.id for batch in page.data], page.has_more) == ([older.id], False)


@gives_items("batches.iterate", BatchObject)
async def batches_are_iterated(trial):
    made = [await trial.client.batches.create(BATCH) for _ in range(3)]
    assert [batch.id for batch in await trial(page_size=2)] == [batch.id for batch in reversed(made)]


@gives("batches.cancel", BatchObject, has_body=True)
async def batch_is_cancelled(trial):
    batch = await trial.client.batches.create(BATCH)
    found = await trial(batch.id)
    assert (found.id, found.status) == (batch.id, "cancelling")


@gives("batches.upload", FileObject, has_body=True)
async def requests_are_uploaded(trial):
    file = await trial([BATCH.requests[0], {**REQUEST, "custom_id": "two"}, json.dumps({**REQUEST, "custom_id": "3"})])
    lines = (await trial.client.files.content(file.id)).splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["one", "two", "3"]


@gives("batches.wait", BatchObject)
async def batch_is_waited_for(trial):
    batch = await trial.client.batches.create(BATCH)
    seen = []

    def advance(found):
        seen.append(found.status)
        trial.gateway.advance_batches()

    found = await trial(batch.id, poll_interval=0.001, on_progress=advance)
    assert (found.id, found.status) == (batch.id, "completed")
    assert seen == ["validating", "in_progress", "finalizing", "completed"]


@gives_items("batches.results", BatchResult)
async def results_are_read(trial):
    batch = await trial.client.batches.create(BATCH)
    trial.gateway.advance_batches("completed")
    results = await trial(batch.id, requests={request.custom_id: request for request in BATCH.requests})
    assert [result.custom_id for result in results] == ["one", "two"]
    assert [result.request for result in results] == BATCH.requests
    assert [result.completion().choices[0].message.content for result in results] == ["You said: 1"] * 2


@gives("models.list", AnswerList, ModelInfo)
async def models_are_listed(trial):
    models = await trial(free=True, type="text", provider="local")
    assert [model.id for model in models] == ["local/echo"]


@gives("models.free", AnswerList, ModelInfo)
async def free_models_are_listed(trial):
    models = await trial()
    assert models
    assert all(model.is_free for model in models)


@gives("models.paid", AnswerList, ModelInfo)
async def paid_models_are_listed(trial):
    models = await trial()
    assert models
    assert not any(model.is_free for model in models)


@gives("models.search", ModelsPage, ModelInfo)
async def models_are_searched(trial):
    params = ModelSearchParams(brand=["OpenAI", "openai"], free=False, sort="id", limit=2, offset=1)
    page = await trial(params)
    assert [model.is_free for model in page.items] == [False, False]
    assert (page.limit, page.offset) == (2, 1)
    assert page.total > 2


@gives_items("models.iterate", ModelInfo)
async def models_are_iterated(trial):
    everything = await trial.client.models.list()
    models = await trial(ModelSearchParams(limit=3))
    assert [model.id for model in models] == [model.id for model in everything]


@gives("models.get", ModelInfo)
async def model_is_found(trial):
    model = await trial("openai/gpt-4o-mini")
    assert model.id == "openai/gpt-4o-mini"
    assert model.pricing.prompt_usd_per_1m


async def make_template(trial, name="greeting"):
    return await trial.client.templates.create(CreateTemplateParams(name=name, system="Greet {{who}}."))


@gives("templates.create", TemplateSummary, has_body=True)
async def template_is_kept(trial):
    template = await trial(CreateTemplateParams(name="greeting", system="Greet {{who}}."))
    assert (template.name, template.system) == ("greeting", "Greet {{who}}.")


@gives("templates.list", AnswerList, TemplateSummary)
async def templates_are_listed(trial):
    made = [await make_template(trial, name) for name in ("one", "two")]
    assert [template.id for template in await trial()] == [template.id for template in made]


@gives("templates.get", TemplateSummary)
async def template_is_found(trial):
    made = await make_template(trial)
    assert (await trial(made.id)).model_dump() == made.model_dump()


@gives("templates.update", TemplateSummary, has_body=True)
async def template_is_changed(trial):
    made = await make_template(trial)
    changed = await trial(made.id, UpdateTemplateParams(description="for all"))
    assert (changed.id, changed.description, changed.system) == (made.id, "for all", made.system)


@gives("templates.delete", None)
async def template_is_deleted(trial):
    made = await make_template(trial)
    await trial(made.id)
    assert type(await failure(trial.client.templates.get(made.id))) is NotFoundError


# How they are played


FIELDS = {"X-Mesh-Served-Provider": "someone"}
ALL_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})


class Trial:
    """Stands for the method in its scenario: adds the test's options, and checks what holds of any method.

    Attributes:
        client: for what must be there first.
        gateway: the gateway.
        sent: the requests of the method itself.
    """

    def __init__(
        self, name: str, client: Any, gateway: LocalGateway, told: str, *faults: Fault, **options: Any
    ) -> None:
        self.client = client
        self.gateway = gateway
        self.sent: List[Any] = []
        self._scenario = METHODS[name]
        self._method = attrgetter(name)(client)
        self._told = told
        self._faults = list(faults)
        self._options = options

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = len(self.gateway.requests)
        while self._faults:
            self.gateway.inject(self._faults.pop(0))
        outcome = await getattr(self, f"_{self._scenario.shape}")(*args, **kwargs, **self._options)
        self.sent += self.gateway.requests[before:]
        return outcome

    async def _call(self, *args: Any, **kwargs: Any) -> Any:
        value = await self._method(*args, **kwargs)
        if self._scenario.kind is None:
            assert value is None
            return None
        self._check(value, self._scenario.kind)
        if self._scenario.item is not None:
            items = value if isinstance(value, list) else value.items if isinstance(value, ModelsPage) else value.data
            assert items
            for item in items:
                self._check(item, self._scenario.item)
        return value

    async def _items(self, *args: Any, **kwargs: Any) -> Any:
        row = self._method(*args, **kwargs)
        assert (row.response, row.request_id) == (None, "")
        items = []
        async for item in row:
            items.append(item)
            assert len(items) < 1000, "it goes round in circles"
        assert row.response.status == 200
        assert row.request_id == self._told
        for item in items:
            self._check(item, self._scenario.item)
        return items

    async def _stream(self, *args: Any, **kwargs: Any) -> Any:
        async with self._method(*args, **kwargs) as stream:
            assert stream.response.status == 200
            assert stream.response.headers["X-Mesh-Served-Provider"]
            assert stream.request_id == self._told
            events = [event async for event in stream]
            whole = await stream.collect()
        assert stream.request_id == self._told
        assert {type(event) for event in events} == {self._scenario.item}
        self._check(whole, self._scenario.kind)
        return events, whole

    def _check(self, value: Any, kind: Any) -> None:
        assert type(value) is kind
        assert value.request_id == self._told
        assert value.response_headers["X-Mesh-Served-Provider"]
        if isinstance(value, BaseModel):
            dumped = value.model_dump()
            assert set(dumped) == set(json.loads(value.model_dump_json()))
            assert not {"request_id", "response_headers", "head", "_head"} & set(dumped)


@pytest.fixture(params=sorted(METHODS))
def name(request):
    """Each method in turn, by its dotted name."""
    return request.param


async def play(face, gateway, name, told, *faults, **options):
    """Play the scenario of the method `name`; returns the requests that the method itself sent."""
    async with face.client(gateway.base_url, token=gateway.token) as client:
        trial = Trial(name, client, gateway, told, *faults, **options)
        await METHODS[name].play(trial)
    assert trial.sent
    return trial.sent


async def test_method(face, gateway, name):
    """A method gives what it promises, and all that it gives knows the answer's head, which is none of its fields."""
    named = Fault(headers={"X-Request-Id": "told-by-the-header", "X-Mesh-Served-Provider": "someone"})
    await play(face, gateway, name, "told-by-the-header", *[named] * 20)


async def test_options_of_a_method(face, gateway, name):
    """Whatever a method sends carries the id, the header fields, the query and the body's fields of the call."""
    options = {
        "request_id": "mine-1",
        "extra_headers": {"X-Own": "a", "x-meshapi-sdk": "b"},
        "extra_query": {"own": ["1", "ä"], "flag": True},
        **({"extra_body": {"own": {"a": [1, None]}}} if METHODS[name].has_body else {}),
    }
    for request in await play(face, gateway, name, "mine-1", **options):
        assert request.headers["x-request-id"] == "mine-1"
        assert request.headers.getlist("x-own") == ["a"]
        assert request.headers.getlist("x-meshapi-sdk") == ["b"]
        assert request.query.getlist("own") == ["1", "ä"]
        assert request.query.getlist("flag") == ["true"]
        if METHODS[name].has_body:
            assert request.json()["own"] == {"a": [1, None]}
        else:
            assert request.body == b""


async def test_retry_of_a_method(face, gateway, name):
    """The policy that a call is given is the one that is asked whether to try again."""
    policy = RecordingPolicy(retry_on_method=ALL_METHODS, retry_streams=True)
    sent = await play(face, gateway, name, "mine-1", Fault(status=503), retry=policy, request_id="mine-1")
    assert [outcome.status for outcome in policy.outcomes] == [503]
    first, second = sent[:2]
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)


@BOTH_COLOURS
@pytest.mark.parametrize("name", sorted(name for name, scenario in METHODS.items() if not scenario.has_body))
async def test_extra_body_without_a_body(face, gateway, name):
    """Fields for the body of a request that has none are refused at the call, before anything is sent."""
    async with face.client(gateway.base_url, token=gateway.token) as client:
        trial = Trial(name, client, gateway, "", extra_body={"own": 1})
        with pytest.raises(ValueError, match="extra_body"):
            await METHODS[name].play(trial)
        assert [request for request in gateway.requests if request.query.get("own")] == []


def methods_of(thing, prefix=""):
    """The dotted names of all public methods below `thing`."""
    for name in dir(type(thing)):
        attribute = inspect.getattr_static(type(thing), name)
        if name.startswith("_"):
            continue
        if isinstance(attribute, cached_property):
            yield from methods_of(getattr(thing, name), f"{prefix}{name}.")
        else:
            assert callable(attribute), f"{prefix}{name} is neither a resource nor a method"
            yield prefix + name


async def test_every_method_has_a_scenario(face):
    """Every public method of a client is called by a scenario here, and each scenario is of a method that there is."""
    async with face.client() as client:
        found = set(methods_of(client._blocking if face.is_blocking else client))
    assert found - set(METHODS) == OF_THE_CLIENT_ITSELF & found, "a method without a conformance test"
    assert set(METHODS) - found == set(), "a conformance test without a method"
