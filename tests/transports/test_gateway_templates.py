"""The local gateway's templates, seen from outside: plain HTTP and the official SDK."""

from __future__ import annotations

import asyncio

import httpx
import meshapi
import pytest

from .test_gateway import authorization, error_of

pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]

TEMPLATES = "/v1/templates"
GREETING = {
    "name": "greeting",
    "system": "You work for {{company}}.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "I am {{ name }} of {{company}}"}]},
        {"role": "assistant", "content": "Welcome, {{name}}!", "weight": 1},
        {"role": "user", "content": "Greet {{name}}"},
    ],
    "model": "openai/gpt-4o",
    "params": {"max_tokens": 3},
}
VARIABLES = {"company": "Acme Corp", "name": "Ann"}


@pytest.fixture
def client(local_gateway):
    with httpx.Client(
        base_url=local_gateway.base_url, headers=authorization(local_gateway), timeout=10, verify=False
    ) as client:
        yield client


def create(client, **fields):
    answer = client.post(TEMPLATES, json={**GREETING, **fields})
    assert answer.status_code == 201
    return answer.json()


def chat(client, messages=(), **params):
    return client.post("/v1/chat/completions", json={"messages": list(messages), "variables": VARIABLES, **params})


def reply_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


def test_a_template_is_created_and_found(client):
    """By its id, and in the list; what was not given is null."""
    template = create(client, team_id="t", variables=["company"])
    assert template.pop("id").startswith("tmpl_")
    assert template.pop("created_at") == template.pop("updated_at")
    assert template == {
        **GREETING,
        "description": None,
        "variables": ["company"],
        "owner": "local",
        "is_global": False,
    }
    other = create(client, name="other")
    assert client.get(f"{TEMPLATES}/{other['id']}").json() == other
    assert [each["name"] for each in client.get(TEMPLATES).json()] == ["greeting", "other"]


def test_a_template_is_changed_in_part(client):
    """Only what is given changes, and it keeps its place in the list."""
    template = create(client)
    create(client, name="other")
    changed = client.patch(f"{TEMPLATES}/{template['id']}", json={"name": "greeting", "description": "new"}).json()
    assert {**changed, "updated_at": None} == {**template, "description": "new", "updated_at": None}
    renamed = client.patch(f"{TEMPLATES}/{template['id']}", json={"name": "hello", "system": None}).json()
    assert (renamed["name"], renamed["description"], renamed["system"]) == ("hello", "new", GREETING["system"])
    assert [each["name"] for each in client.get(TEMPLATES).json()] == ["hello", "other"]


def test_a_template_is_deleted(client):
    """The answer has no body, and then the template is gone from everywhere."""
    template = create(client)
    gone = client.delete(f"{TEMPLATES}/{template['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-length" not in gone.headers
    assert client.get(TEMPLATES).json() == []
    for method in ("GET", "PATCH", "DELETE"):
        missing = client.request(method, f"{TEMPLATES}/{template['id']}", json={})
        assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


def test_a_name_is_taken_once(client):
    """Neither a new template nor a renamed one may have another's."""
    create(client)
    other = create(client, name="other")
    twice = client.post(TEMPLATES, json=GREETING)
    renamed = client.patch(f"{TEMPLATES}/{other['id']}", json={"name": "greeting"})
    for refused in (twice, renamed):
        assert (refused.status_code, error_of(refused)["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"name": None}, ["body", "name"], "string_type"),
        ({"name": ""}, ["body", "name"], "string_too_short"),
        ({"messages": ["x"]}, ["body", "messages", 0], "dict_type"),
        ({"params": []}, ["body", "params"], "dict_type"),
        ({"variables": [1]}, ["body", "variables", 0], "string_type"),
    ],
)
def test_a_bad_template_is_a_validation_error(client, fields, loc, kind):
    """Each mistake is reported with the place where it is."""
    answer = client.post(TEMPLATES, json={**GREETING, **fields})
    assert answer.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in error_of(answer)["details"]] == [(loc, kind)]


def test_a_chat_begins_with_the_template(client):
    """Every slot is filled, model and parameters are as the template says, and the messages come first."""
    create(client, name="other")
    template = create(client)
    for name_or_id in ("greeting", template["id"]):
        answer = chat(client, template=name_or_id)
        assert reply_of(answer) == "You said: Greet"
        assert answer.json()["model"] == "openai/gpt-4o"
        # You work for Acme Corp. I am Ann of Acme Corp Welcome, Ann! Greet Ann
        assert answer.json()["usage"]["prompt_tokens"] == 5 + 6 + 2 + 2


def test_what_the_call_says_goes_before_the_template(client):
    """Its own messages are the last, its slots stay, and its model and parameters win."""
    create(client)
    messages = [{"role": "user", "content": "and {{name}}"}]
    answer = chat(client, messages, template="greeting", model="local/echo", max_tokens=10)
    assert reply_of(answer) == "You said: and {{name}}"
    assert answer.json()["model"] == "local/echo"


def test_a_variable_that_is_missing_is_named(client):
    """Each of them once; a variable too many does no harm, and neither do variables without a template."""
    create(client)
    missing = chat(client, template="greeting", variables={"nam": "Ann"})
    assert missing.status_code == 422
    assert error_of(missing)["message"] == "the template 'greeting' needs the variables 'company', 'name'"
    assert [(detail["loc"], detail["type"]) for detail in error_of(missing)["details"]] == [
        (["body", "variables", "company"], "missing"),
        (["body", "variables", "name"], "missing"),
    ]
    assert chat(client, template="greeting", variables={**VARIABLES, "more": ""}).status_code == 200
    assert chat(client).status_code == 200
    assert chat(client, template="greeting", variables=None).status_code == 422


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/responses", {"input": []}),
        ("/v1/chat/compare", {"messages": [], "models": ["local/echo"]}),
    ],
)
def test_a_template_must_exist(client, path, params):
    """Wherever one can be named."""
    missing = client.post(path, json={**params, "template": "greeting"})
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")


def test_a_template_can_make_a_call_invalid(client):
    """Its messages and parameters are checked like the call's own."""
    create(client, params={"max_tokens": "three"}, messages=[{"content": "no role"}])
    answer = chat(client, template="greeting")
    assert [detail["loc"] for detail in error_of(answer)["details"]] == [
        ["body", "messages", 1, "role"],
        ["body", "max_tokens"],
    ]
    response = client.post("/v1/responses", json={"input": "x", "template": "greeting", "variables": VARIABLES})
    assert [detail["loc"] for detail in error_of(response)["details"]] == [["body", "messages", 1, "role"]]


def test_a_template_may_be_empty(client):
    """Then it changes nothing."""
    assert client.post(TEMPLATES, json={"name": "empty"}).status_code == 201
    answer = chat(client, [{"role": "user", "content": "x"}], template="empty")
    assert (reply_of(answer), answer.json()["model"]) == ("You said: x", "local/echo")


def test_responses_and_comparisons_take_templates_too(client):
    """The filled messages are read before the input, and before the messages of a comparison."""
    create(client)
    call = {"template": "greeting", "variables": VARIABLES}
    response = client.post("/v1/responses", json={"input": [], **call}).json()
    assert response["output"][0]["content"][0]["text"] == "You said: Greet Ann"
    assert (response["model"], response["usage"]["input_tokens"]) == ("openai/gpt-4o", 15)
    comparison = client.post("/v1/chat/compare", json={"messages": [], "models": ["local/echo"], **call}).json()
    assert comparison["results"][0]["content"] == "You said: Greet"
    assert comparison["results"][0]["usage"]["prompt_tokens"] == 15


def test_the_official_sdk_keeps_templates(local_gateway):
    """All five methods, and a chat with the template."""
    with meshapi.MeshAPI(base_url=local_gateway.base_url, token=local_gateway.token, max_retries=0) as sdk:
        template = sdk.templates.create(meshapi.CreateTemplateParams(**GREETING))
        changed = sdk.templates.update(template.id, meshapi.UpdateTemplateParams(params={}))
        listed = sdk.templates.list()
        found = sdk.templates.get(template.id)
        params = meshapi.ChatCompletionParams(messages=[], template="greeting", variables=VARIABLES)
        completion = sdk.chat.completions.create(params)
        chunks = list(sdk.chat.completions.stream(params))
        with pytest.raises(meshapi.MeshAPIError) as taken:
            sdk.templates.create(meshapi.CreateTemplateParams(name="greeting"))
        assert sdk.templates.delete(template.id) is None
        assert sdk.templates.list() == []
    assert changed.params == {}
    assert listed == [found] == [changed]
    assert completion.choices[0].message.content == "You said: Greet Ann"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: Greet Ann"
    assert (taken.value.status, taken.value.error_code) == (409, "conflict")


def test_the_official_async_sdk_keeps_templates(local_gateway):
    """The same over its async client."""

    async def talk():
        async with meshapi.AsyncMeshAPI(base_url=local_gateway.base_url, token=local_gateway.token) as sdk:
            template = await sdk.templates.create(meshapi.CreateTemplateParams(**GREETING))
            await sdk.templates.update(template.id, meshapi.UpdateTemplateParams(name="hello"))
            found = await sdk.templates.get(template.id)
            await sdk.templates.delete(template.id)
            return found, await sdk.templates.list()

    found, left = asyncio.run(talk())
    assert (found.name, left) == ("hello", [])
