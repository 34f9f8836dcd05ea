"""The README and the documentation: every example runs and prints what the page says, and the tables are true."""

import asyncio
import contextlib
import functools
import http.server
import importlib.metadata
import inspect
import json
import os
import pathlib
import re
import runpy
import threading

import aiohttp
import pytest
import trio

from meshapi_core import RetryPolicy, Timeout, errors
from meshapi_transports import _driver, _httpx_family
from meshapi_transports import aiohttp as over_aiohttp
from meshapi_transports import httpx as over_httpx
from meshapi_transports import httpx2 as over_httpx2
from meshapi_transports import requests as over_requests
from meshapi_transports import stdlib as over_stdlib
from meshapi_transports import trio as over_trio
from meshapi_transports._content_coding import ACCEPT_ENCODING
from meshapi_transports.testing import LocalGateway

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A block of code, and the block of text that follows it, if any: what the code prints.
EXAMPLE = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
PROSE = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def examples():
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in EXAMPLE.finditer(text):
            line = text.count("\n", 0, found.start("code"))
            yield pytest.param(page, line, found["code"], found["printed"], id=f"{page.name}:{line}")


def run(page, line, code):
    # With the lines before it, so that a traceback points into the page.
    exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def environment(monkeypatch, gateway):
    """What a reader has set who follows the page."""
    for name in os.environ:
        if name.startswith("MESHAPI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MESHAPI_BASE_URL", gateway.base_url)
    monkeypatch.setenv("MESHAPI_API_KEY", gateway.token)


@pytest.mark.parametrize(("page", "line", "code", "printed"), list(examples()))
def test_an_example(capsys, page, line, code, printed):
    """The code runs as it stands, and prints what stands below it."""
    run(page, line, code)
    out, err = capsys.readouterr()
    if "conformance" in code and out != printed:
        # Rules are about time, and the machine may have had none; it is asked once more.
        run(page, line, code)
        out, err = capsys.readouterr()
    assert err == ""
    if printed is not None:
        assert out == printed


def test_the_example_of_moving_runs_over_the_official_sdk(capsys):
    """With the import that it had before, the example does the same over the official SDK."""
    text = README.read_text("utf-8")
    before = re.search(r"^    (from meshapi import .*)$", text, re.MULTILINE)[1]
    after = before.replace("from meshapi import", "from meshapi_transports.httpx import")
    (found,) = (
        found for found in EXAMPLE.finditer(text) if f"\n{after}\n" in found["code"] and "token=os." in found["code"]
    )
    run(README, 0, found["code"].replace(after, before))
    assert capsys.readouterr().out == found["printed"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """A link within the project names a file that is there, and a heading that the file has."""
    for path, heading in LINK.findall(PROSE.sub("", page.read_text("utf-8"))):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings]


def test_the_diagram_is_drawn_from_the_table():
    """The machine in the guide is the one that runs."""
    drawn = runpy.run_path(str(ROOT / "docs" / "draw_machine.py"))["diagram"]()
    page = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    assert page.split("```mermaid\n")[1].split("```")[0] == drawn


def rows(page, title):
    """The cells of the table whose first heading is `title`."""
    table = page.read_text("utf-8").split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table.split("\n")[2:]]


def names_in(cells):
    return re.findall(r"`(\w+)`", cells)


def test_the_table_of_errors_is_complete():
    """Every error that a caller can see has its row, in the order of the tree, and no row is without an error."""
    listed = [names_in(row[0])[0] for row in rows(README, "class")]
    assert sorted(listed) == sorted(set(errors.__all__) - {"LocalProtocolError"})
    for name, row in zip(listed, rows(README, "class")):
        status = re.match(r"(\d)(\d\d|xx)", row[1])
        if status:
            code = int(status[0].replace("xx", "00"))
            assert errors._class_of_status(code) is getattr(errors, name)


def test_the_table_of_extras_is_complete():
    """Each extra of the package has its row."""
    listed = [names_in(row[0])[0] for row in rows(README, "extra")]
    assert sorted(listed) == sorted(importlib.metadata.metadata("meshapi-transports").get_all("Provides-Extra"))


def test_the_table_of_limits_tells_the_defaults():
    """The seconds are those of a Timeout that nobody has changed."""
    listed = {names_in(row[0])[0]: row[1] for row in rows(README, "limit")}
    assert listed == {name: "none" if value is None else f"{value:g}" for name, value in vars(Timeout()).items()}


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Answers in the place of the gateway that it was asked to reach."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"choices": [{"message": {"content": f"by way of a proxy to {self.path}"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def proxy():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


CLIENTS = [
    over_httpx.MeshAPI,
    over_httpx.AsyncMeshAPI,
    over_httpx2.MeshAPI,
    over_httpx2.AsyncMeshAPI,
    over_requests.MeshAPI,
    over_aiohttp.AsyncMeshAPI,
    over_trio.AsyncMeshAPI,
    over_stdlib.MeshAPI,
]
PARAMS = over_httpx.ChatCompletionParams(messages=[over_httpx.ChatMessage(role="user", content="hi")])


def ask(client_class, **injected):
    """What a client is answered that is made here; `injected` are the makers of the objects to inject."""
    if client_class.__name__ == "MeshAPI":
        with client_class() as client:
            return client.chat.completions.create(PARAMS).choices[0].message.content

    async def ask_async():
        async with contextlib.AsyncExitStack() as own:
            objects = {name: make() for name, make in injected.items()}
            for made in objects.values():
                own.push_async_callback(made.aclose if hasattr(made, "aclose") else made.close)
            client = await own.enter_async_context(client_class(**objects))
            return (await client.chat.completions.create(PARAMS)).choices[0].message.content

    return trio.run(ask_async) if client_class is over_trio.AsyncMeshAPI else asyncio.run(ask_async())


@pytest.mark.parametrize("client_class", CLIENTS, ids=lambda cls: cls.__module__)
def test_the_table_of_proxies(monkeypatch, gateway, proxy, client_class):
    """A proxy in the environment is used, or is not, as the client's row says."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    name = f"`{client_class.__module__}.{client_class.__name__}`"
    ((_, injected, says),) = (row for row in rows(README, "client") if row[0] == name)
    assert injected.strip("`=") in inspect.signature(client_class).parameters
    is_used = {"are used": True, "are not used": False}[re.match(r"[a-z ]+", says)[0].strip()]
    usual = "You said: hi"
    assert ask(client_class) == (f"by way of a proxy to {gateway.base_url}/v1/chat/completions" if is_used else usual)


# From how the adapter sets our Authorization in the place of that of .netrc.
@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning")
def test_the_ways_to_a_proxy_for_the_other_two(monkeypatch, proxy):
    """A session of aiohttp can be told to trust the environment, and a pool of trio takes a proxy."""
    pool = functools.partial(over_trio.ConnectionPool, proxy=proxy)
    assert ask(over_trio.AsyncMeshAPI, pool=pool).startswith("by way of a proxy")
    monkeypatch.setenv("http_proxy", proxy)
    session = functools.partial(aiohttp.ClientSession, trust_env=True)
    assert ask(over_aiohttp.AsyncMeshAPI, session=session).startswith("by way of a proxy")


def test_the_numbers_in_the_pages_are_those_in_the_code():
    """The defaults that the pages tell are the ones that the code has."""
    transports = " ".join((ROOT / "docs" / "transports.md").read_text("utf-8").split())
    assert f"`Accept-Encoding: {ACCEPT_ENCODING}`" in transports
    for transport, kept in (
        ("httpx, httpx2", f"{_driver.IDLE_CONNECTIONS}, in pools of {_httpx_family._POOL_SIZE}"),
        ("trio", f"{over_trio._IDLE_CONNECTIONS:,}"),
        ("stdlib", f"{_driver.IDLE_CONNECTIONS}"),
    ):
        assert f"| {transport} | {kept} | {_driver.IDLE_SECONDS:g} s |" in transports
    assert f"| aiohttp | any number | {_driver.IDLE_SECONDS:g} s |" in transports
    assert f"| requests | {_driver.IDLE_CONNECTIONS} for each host |" in transports
    assert f"at most {_driver.DRAIN_SECONDS:g} s and {_driver.DRAIN_BYTES // 1024} KiB" in transports

    about_errors = " ".join((ROOT / "docs" / "errors.md").read_text("utf-8").split())
    policy = RetryPolicy()
    assert f"is tried again {policy.max_retries} times" in about_errors
    assert re.findall(r"\d{3}", about_errors.split("after a status", 1)[1].split(",\n", 1)[0])[:4] == sorted(
        map(str, policy.retry_on_status)
    )
    assert f"The first wait is {policy.backoff_base:g} s" in about_errors
    assert f"up to {policy.backoff_max:g} s" in about_errors
