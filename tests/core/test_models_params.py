"""What callers fill in: what is sent of it, what is refused, and where the limits are."""

import pytest
from pydantic import ValidationError

import meshapi_core
from meshapi_core import (
    BatchRequestItem,
    BuiltinTool,
    CompareParams,
    CreateBatchParams,
    CreateTemplateParams,
    EmbeddingsParams,
    ImageEditParams,
    ImageEmbeddingUrl,
    ImageGenerationParams,
    ImageRef,
    ListModelsParams,
    ModelOverride,
    ModelSearchParams,
    MultimodalEmbeddingInput,
    ProviderPreferences,
    ResponsesFunctionTool,
    ResponsesParams,
    TemplateMessage,
    UpdateTemplateParams,
    UploadBatchFileParams,
    VideoEmbeddingUrl,
)
from meshapi_core.models import _base

MESSAGE = {"role": "user", "content": "hi"}
REQUEST = {"custom_id": "a", "body": {"model": "m"}}
SENT_REQUEST = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}

# The least that each can be made of, and what that adds to what is sent.
LEAST = {
    BuiltinTool: ({"type": "file_search"}, {}),
    ResponsesFunctionTool: ({"name": "f"}, {"type": "function"}),
    ResponsesParams: ({"input": "hi"}, {"stream": False}),
    ProviderPreferences: ({}, {}),
    ImageEmbeddingUrl: ({"url": "u"}, {}),
    VideoEmbeddingUrl: ({"url": "u"}, {}),
    MultimodalEmbeddingInput: ({"type": "text"}, {}),
    EmbeddingsParams: ({"input": "hi"}, {}),
    ImageGenerationParams: ({"prompt": "a cat"}, {}),
    ImageRef: ({"url": "u"}, {}),
    ImageEditParams: ({"model": "m", "image": "u"}, {"prompt": "", "operation": "edit"}),
    ModelOverride: ({"model": "m"}, {}),
    CompareParams: ({"models": ["m"], "messages": [MESSAGE]}, {"stream": False, "skip_comparison": False}),
    BatchRequestItem: (REQUEST, SENT_REQUEST),
    UploadBatchFileParams: ({"requests": [REQUEST]}, {"purpose": "batch", "requests": [SENT_REQUEST]}),
    CreateBatchParams: ({"requests": [REQUEST]}, {"requests": [SENT_REQUEST]}),
    ListModelsParams: ({}, {}),
    ModelSearchParams: ({}, {}),
    TemplateMessage: (MESSAGE, {}),
    CreateTemplateParams: ({"name": "n"}, {}),
    UpdateTemplateParams: ({}, {}),
}


def test_no_params_are_left_out():
    """Every type that callers fill in is looked at here, or with chat in `test_models`."""
    rooms = {room: names for room, names in meshapi_core._ROOMS.items() if room.startswith("models.")}
    rooms.pop("models.chat")
    types = {getattr(meshapi_core, name) for names in rooms.values() for name in names}
    params = {cls for cls in types if isinstance(cls, type) and issubclass(cls, _base.Params)}
    assert params == set(LEAST)


def refusal(cls, fields):
    """The places that are named when `fields` are refused."""
    with pytest.raises(ValidationError) as caught:
        cls(**fields)
    return {".".join(map(str, error["loc"])): error for error in caught.value.errors()}


@pytest.mark.parametrize("cls", LEAST)
def test_only_what_is_given_and_the_defaults_are_sent(cls):
    """Everything else is the gateway's to decide."""
    least, added = LEAST[cls]
    assert cls(**least).model_dump(exclude_none=True) == {**least, **added}
    assert cls.model_validate(least) == cls(**least)


@pytest.mark.parametrize("cls", LEAST)
def test_what_is_required_cannot_be_left_out(cls):
    """Or be None."""
    least, _ = LEAST[cls]
    for name in least if cls is not CreateBatchParams else ():
        assert set(refusal(cls, {key: value for key, value in least.items() if key != name})) == {name}
        assert all(place.startswith(name) for place in refusal(cls, {**least, name: None}))


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls in LEAST for name in cls.model_fields])
def test_none_is_as_good_as_absent(cls, name):
    """For all that is not required, whatever its limits."""
    least, added = LEAST[cls]
    if name not in least:
        sent = cls(**least, **{name: None}).model_dump(exclude_none=True)
        assert sent == {key: value for key, value in {**least, **added}.items() if key != name}


NESTED = [
    (ResponsesParams, {"tools": [{"name": "f", "modle": 1}]}),
    (ResponsesParams, {"tools": [{"type": "file_search", "modle": 1}]}),
    (EmbeddingsParams, {"input": [{"type": "text", "modle": 1}]}),
    (EmbeddingsParams, {"input": [{"type": "image_url", "image_url": {"url": "u", "modle": 1}}]}),
    (EmbeddingsParams, {"input": [{"type": "video_url", "video_url": {"url": "u", "modle": 1}}]}),
    (EmbeddingsParams, {"provider": {"modle": 1}}),
    (MultimodalEmbeddingInput, {"image_url": {"url": "u", "modle": 1}}),
    (ImageEditParams, {"image": {"url": "u", "modle": 1}}),
    (ImageEditParams, {"mask": {"url": "u", "modle": 1}}),
    (ImageEditParams, {"reference_images": [{"url": "u", "modle": 1}]}),
    (CompareParams, {"messages": [{**MESSAGE, "modle": 1}]}),
    (CompareParams, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "modle": 1}]}]}),
    (CompareParams, {"model_overrides": [{"model": "m", "modle": 1}]}),
    (UploadBatchFileParams, {"requests": [{**REQUEST, "modle": 1}]}),
    (CreateBatchParams, {"requests": [{**REQUEST, "modle": 1}]}),
]


@pytest.mark.parametrize(("cls", "fields"), [*((cls, {"modle": 1}) for cls in LEAST), *NESTED])
def test_a_slip_of_the_pen_is_named(cls, fields):
    """An unknown field, at any depth."""
    errors = refusal(cls, {**LEAST[cls][0], **fields})
    assert any(error["type"] == "extra_forbidden" and error["loc"][-1] == "modle" for error in errors.values())
    assert all(place.startswith(next(iter(fields))) for place in errors)


TEXT = "x" * 256
RANGES = [
    (ResponsesParams, "max_output_tokens", [1], [0]),
    (ResponsesParams, "temperature", [0, 2.0], [-0.1, 2.1, float("nan"), float("inf")]),
    (ResponsesParams, "top_p", [0, 1.0], [-0.1, 1.1]),
    (ResponsesParams, "user", ["", TEXT], [TEXT + "x"]),
    (ResponsesParams, "timeout", [0.001], [0, -1]),
    (ResponsesParams, "max_tool_calls", [1, 10], [0, 11, 1.5]),
    (EmbeddingsParams, "dimensions", [1], [0]),
    (EmbeddingsParams, "user", ["", TEXT], [TEXT + "x"]),
    (ImageGenerationParams, "output_compression", [0, 100], [-1, 101]),
    (ImageGenerationParams, "partial_images", [0, 3], [-1, 4]),
    (ImageGenerationParams, "seed", [-1, 2147483647], [-2, 2147483648]),
    (ImageGenerationParams, "guidance_scale", [1, 10.0], [0.9, 10.1]),
    (ModelOverride, "temperature", [0, 2.0], [-0.1, 2.1]),
    (ModelOverride, "max_tokens", [1], [0]),
    (CompareParams, "temperature", [0, 2.0], [-0.1, 2.1]),
    (CompareParams, "max_tokens", [1], [0]),
    (BuiltinTool, "type", ["image_generation", "web_search_preview", "web_search_preview_2025_03_11", "file_search",
                           "computer_use_preview", "code_interpreter"], ["function", "web_search", ""]),
    (ResponsesFunctionTool, "type", ["function"], ["file_search"]),
    (ProviderPreferences, "data_collection", ["allow", "deny"], ["maybe", True]),
    (MultimodalEmbeddingInput, "type", ["text", "image_url", "video_url"], ["audio_url"]),
    (EmbeddingsParams, "encoding_format", ["float", "base64"], ["int8"]),
    (ImageGenerationParams, "response_format", ["url", "b64_json"], ["bytes"]),
    (ImageGenerationParams, "output_format", ["png", "jpeg", "webp"], ["jpg"]),
    (ImageGenerationParams, "background", ["transparent", "opaque", "auto"], ["white"]),
    (ImageGenerationParams, "moderation", ["low", "auto"], ["high"]),
    (ImageGenerationParams, "sequential_image_generation", ["auto", "disabled"], ["on"]),
    (ImageEditParams, "operation", ["edit", "inpaint", "outpaint", "mix", "reframe", "upscale", "remove_background"],
     ["draw"]),
    (ImageEditParams, "response_format", ["url", "b64_json"], ["bytes"]),
    (ListModelsParams, "type", ["text", "embedding", "image", "audio", "video"], ["smell"]),
    (ModelSearchParams, "sort", ["brand", "name", "id", "context_length"], ["price"]),
    (ModelSearchParams, "order", ["asc", "desc"], ["up"]),
    (UploadBatchFileParams, "requests", [[REQUEST]], [[]]),
    (CreateBatchParams, "requests", [[REQUEST]], [[]]),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name", "accepted", "refused"), RANGES)
def test_the_limits_are_the_gateway_s(cls, name, accepted, refused):
    """The last value within is taken, the first beyond it is refused."""
    least, _ = LEAST[cls]
    for value in accepted:
        cls(**{**least, name: value})
    for value in refused:
        assert set(refusal(cls, {**least, name: value})) == {name}


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls in LEAST for name in cls.model_fields])
def test_every_field_has_a_type(cls, name):
    """Something that could not be sent is refused when the params are made, and not when it is sent."""
    assert all(place.startswith(name) for place in refusal(cls, {**LEAST[cls][0], name: object()}))


@pytest.mark.parametrize(
    "value",
    [
        "hi",
        "",
        ["a", "b"],
        [1, 2, 3],
        [[1, 2], [3]],
        [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
        [{"type": "video_url", "video_url": {"url": "u"}}],
    ],
)
def test_all_kinds_of_input_are_embedded_as_they_are(value):
    """One text or many, tokens of one text or of many, and other media."""
    assert EmbeddingsParams(input=value).model_dump(exclude_none=True) == {"input": value}


@pytest.mark.parametrize("value", [None, 7, {}, [None], ["a", 1], [1.5], [{"text": "no type"}]])
def test_nothing_else_can_be_embedded(value):
    """Mixed lists neither."""
    assert all(place.startswith("input") for place in refusal(EmbeddingsParams, {"input": value}))


def test_tools_of_responses_are_told_apart():
    """Functions, with or without their type, and what the provider runs."""
    tools = [{"name": "f"}, {"type": "function", "name": "g", "strict": True}, {"type": "code_interpreter"}]
    params = ResponsesParams(input=[MESSAGE], tools=tools)
    assert [type(tool) for tool in params.tools] == [ResponsesFunctionTool, ResponsesFunctionTool, BuiltinTool]
    sent = params.model_dump(exclude_none=True)["tools"]
    assert sent == [{"type": "function", "name": "f"}, *tools[1:]]


def test_images_are_urls_or_references():
    """Each is sent as it was given."""
    params = ImageEditParams(model="m", image=ImageRef(url="a"), mask="b", reference_images=["c", {"url": "d"}])
    assert params.reference_images == ["c", ImageRef(url="d")]
    sent = params.model_dump(exclude_none=True)
    assert (sent["image"], sent["mask"], sent["reference_images"]) == ({"url": "a"}, "b", ["c", {"url": "d"}])


@pytest.mark.parametrize("cls", [CreateTemplateParams, UpdateTemplateParams])
def test_messages_of_a_template_are_dicts_or_models(cls):
    """Dicts are sent as they are, so that a message may have any field."""
    odd = {"role": "user", "content": [{"type": "text", "text": "{{slot}}"}], "odd": None}
    assert cls(name="n", messages=[odd]).model_dump(exclude_none=True)["messages"] == [odd]
    made = cls(name="n", messages=[TemplateMessage(role="system", content="{{slot}}"), MESSAGE])
    assert made.model_dump(exclude_none=True)["messages"] == [{"role": "system", "content": "{{slot}}"}, MESSAGE]
