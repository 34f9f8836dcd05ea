"""The conformance tool: our own adapters keep every rule, and an adapter that breaks one is told which."""

from __future__ import annotations

import functools
import gc
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshapi_core import Failure
from meshapi_transports import aiohttp as over_aiohttp
from meshapi_transports import httpx as over_httpx
from meshapi_transports import httpx2 as over_httpx2
from meshapi_transports import protocol
from meshapi_transports import requests as over_requests
from meshapi_transports import stdlib as over_stdlib
from meshapi_transports import trio as over_trio
from meshapi_transports.testing import LocalGateway
from meshapi_transports.testing.conformance import MATTERS, RULES, BrokenRule, Subject, check_all

from . import broken_adapters
from .broken_adapters import BROKEN, Blocking
from .conftest import CERTIFICATES

BY_NAME = {rule.name: rule for rule in RULES}

ONE_LIMIT_FOR_EACH_BYTE = {
    "total_limits_a_dripping_head": "there is no limit for a head but one for each of its bytes",
}
URLLIB3 = {
    **ONE_LIMIT_FOR_EACH_BYTE,
    "upload_that_nobody_takes_times_out": "the limit for connecting is the one for sending, too",
}
# More than a rule that is kept ever takes, on a machine that has a lot else to do.
subject = functools.partial(Subject, patience=10.0)
SUBJECTS = {
    "httpx": subject(over_httpx.MeshAPI),
    "httpx-asyncio": subject(over_httpx.AsyncMeshAPI),
    "httpx-trio": subject(over_httpx.AsyncMeshAPI, "trio"),
    "httpx2": subject(over_httpx2.MeshAPI),
    "httpx2-asyncio": subject(over_httpx2.AsyncMeshAPI),
    "httpx2-trio": subject(over_httpx2.AsyncMeshAPI, "trio"),
    "aiohttp": subject(over_aiohttp.AsyncMeshAPI),
    "requests": subject(over_requests.MeshAPI, without=URLLIB3),
    "stdlib": subject(over_stdlib.MeshAPI),
    "trio": subject(over_trio.AsyncMeshAPI, "trio"),
    "urllib3": subject(broken_adapters.good.MeshAPI, without=ONE_LIMIT_FOR_EACH_BYTE),
}

# Nearly all of the time is spent waiting, so the checks are made side by side; more of them would be late.
WORKERS = 4
PROCESSES = 2


class Checks:
    """The checks that the chosen tests ask for, begun all at once."""

    def __init__(self, chosen):
        self.pool = ThreadPoolExecutor(WORKERS)
        broken = [params["broken"].__name__ for params in chosen if "broken" in params]
        self.processes = [self.started(names) for names in (broken[n::PROCESSES] for n in range(PROCESSES)) if names]
        self.futures = {
            (params["name"], params["rule"].name): self.pool.submit(params["rule"].check, SUBJECTS[params["name"]])
            for params in chosen
            if "rule" in params
        }

    @staticmethod
    def started(names):
        path = os.pathsep.join([str(pathlib.Path(protocol.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", broken_adapters.__file__, *names],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
        )

    @functools.cached_property
    def found(self):
        """What the broken adapters were told, by the name of the adapter and of the rule."""
        return {name: rules for process in self.processes for name, rules in self.told_by(process).items()}

    def found_again(self, name):
        """What a broken adapter is told when it is checked once more, with none beside it."""
        return self.told_by(self.started([name]))[name]

    @staticmethod
    def told_by(process):
        printed, _ = process.communicate(timeout=120.0)
        assert process.returncode == 0
        return json.loads(printed)

    def close(self):
        for process in self.processes:
            process.kill()
            process.communicate()
        self.pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module", autouse=True)
def clean_environment():
    """The environment does not change from test to test, since the checks go on beside them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name.startswith("MESHAPI_") or name in CERTIFICATES:
                monkeypatch.delenv(name)
        yield


@pytest.fixture(scope="module")
def checks(request):
    chosen = [item.callspec.params for item in request.session.items if item.path == request.path and has_check(item)]
    # What was imported is for good, and the collections in the rules need not look at it again.
    gc.collect()
    gc.freeze()
    checks = Checks(chosen)
    yield checks
    checks.close()
    gc.unfreeze()


def has_check(item):
    return "checks" in getattr(item, "fixturenames", ())


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_our_adapters_keep_every_rule(checks, name, rule):
    """Each of our own clients, and that of the example, keeps each rule."""
    try:
        checks.futures[name, rule.name].result()
    except AssertionError:
        # Rules are about time, and the machine may have had none; it is asked once more.
        rule.check(SUBJECTS[name])


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_adapter_is_told_which_rule_it_breaks(checks, broken):
    """An adapter that is wrong in one thing breaks the rule for it, and none that has nothing to do with it."""
    expected = {broken.breaks, *broken.and_so}
    found = checks.found[broken.__name__]
    if broken.breaks not in found or not found.keys() <= expected:
        # Rules are about time, and the machine may have had none; it is asked once more.
        found = checks.found_again(broken.__name__)
    assert broken.breaks in found
    assert found.keys() <= expected, "\n".join(found.values())


def test_every_rule_catches_something():
    """There is a broken adapter for each rule, so none is there in vain."""
    assert {broken.breaks for broken in BROKEN} == BY_NAME.keys()
    assert {name for broken in BROKEN for name in broken.and_so} <= BY_NAME.keys()


# What is said


def test_a_broken_rule_tells_what_to_do():
    """The message has the rule's name and text, what was expected, what happened, and the remedy."""
    rule = BY_NAME["redirects_are_not_followed"]
    with pytest.raises(BrokenRule) as caught:
        rule.check(Subject(broken_adapters.FollowsRedirects.make, "blocking"))
    error = caught.value
    assert isinstance(error, AssertionError)
    assert error.rule is rule
    assert str(error).splitlines() == [
        f"redirects_are_not_followed: {rule.text}",
        f"  expected: {error.expected}",
        f"  happened: {error.happened}",
        f"  what to do: {rule.remedy}",
    ]
    assert "MeshAPIError" in error.expected


def test_rules_are_told_in_words():
    """Every rule has a name of its own, one sentence, and something to do about it."""
    assert len(BY_NAME) == len(RULES)
    for rule in RULES:
        assert str(rule) == rule.name
        assert rule.text.endswith(".")
        assert rule.text.count(". ") == 0
        assert rule.remedy.endswith(".")
        assert rule.matter in MATTERS
        assert "_function" not in repr(rule)


def test_a_foreign_exception_is_named():
    """What the library raises, and nobody maps, is in the message and chained."""
    with pytest.raises(BrokenRule, match=r"Unicode\w*Error\(.* came through") as caught:
        BY_NAME["unknown_host_is_no_connection"].check(Subject(broken_adapters.LeaksHostNames.make, "blocking"))
    assert isinstance(caught.value.__cause__, UnicodeError)


def test_what_the_server_says_is_told():
    """A request that the server cannot make sense of is explained by the server."""
    with pytest.raises(BrokenRule, match="the server says: the request's body is chunked"):
        BY_NAME["large_body_arrives_whole"].check(Subject(broken_adapters.ChunksLargeBodies.make, "blocking"))


# What is skipped


@pytest.mark.parametrize("name", ["plain_server_is_no_connection", "https"])
def test_what_a_library_lacks_is_skipped(name):
    """A rule, or a whole matter, that the library cannot keep is skipped with the reason."""
    subject = Subject(Blocking.make, "blocking", without={name: "it speaks no TLS"})
    with pytest.raises(unittest.SkipTest, match="it speaks no TLS"):
        BY_NAME["plain_server_is_no_connection"].check(subject)


def test_rules_for_coroutines_are_skipped_for_blocking_code():
    """Nobody cancels a blocking call."""
    with pytest.raises(unittest.SkipTest, match="coroutines"):
        BY_NAME["cancelled_in_the_body"].check(Subject(Blocking.make, "blocking"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"backend": "gevent"}, "gevent"),
        ({"without": {"tls": "it speaks no TLS"}}, "tls"),
        ({"without": {"https": ""}}, "reason"),
    ],
)
def test_wrong_subjects(options, word):
    """A subject that says nonsense is not made."""
    with pytest.raises(ValueError, match=word):
        Subject(Blocking.make, **options)


# How it is run


def make_blocking(**options):
    return Blocking.make(**options)


def make_async(**options):
    return over_aiohttp.AsyncMeshAPI(**options)


@pytest.mark.parametrize(
    ("make", "has_cancelling"),
    [
        (over_requests.MeshAPI, False),
        (make_blocking, False),
        (over_aiohttp.AsyncMeshAPI, True),
        (functools.partial(over_aiohttp.AsyncMeshAPI, max_retries=0), True),
        (make_async, True),
    ],
)
def test_the_backend_is_seen(make, has_cancelling):
    """Whether a client is for coroutines is seen from its class, or from one that is made."""
    rule = BY_NAME["cancelled_between_events"]
    if has_cancelling:
        rule.check(Subject(make))
    else:
        with pytest.raises(unittest.SkipTest):
            rule.check(Subject(make))


def test_a_client_of_something_else():
    """What is no client at all is said so."""
    with pytest.raises(TypeError, match="protocol"):
        RULES[0].check(Subject(dict))


def test_check_all():
    """Without pytest, there is one list of what is broken; what is skipped is not in it."""
    kept = {"interim_answer_is_none", "closing_closes_everything"}
    without = {rule.name: "takes too long here" for rule in RULES if rule.name not in kept}
    (error,) = check_all(Subject(broken_adapters.ClosesOnce.make, without=without))
    assert error.rule.name == "closing_closes_everything"
    assert "closed already" in error.happened


class Hangs(Blocking):
    """A transport that waits for something that never comes."""

    released = threading.Event()

    def send(self, request, timeout):
        self.released.wait(60.0)
        raise OSError("released")


class HangsInLoop(broken_adapters.Trio):
    """A transport that ignores its limits, and lets itself be cancelled."""

    async def send(self, request, timeout):
        return await super().send(request, type(timeout)(None, None, None))


class BlocksLoop(HangsInLoop):
    """A transport that blocks its loop."""

    async def send(self, request, timeout):
        Hangs.released.wait(60.0)
        raise OSError("released")


@pytest.mark.parametrize("broken", [Hangs, HangsInLoop, BlocksLoop])
def test_a_client_that_hangs_does_not_hang_the_run(broken):
    """The rule that a client hangs in is broken after a while, and the run goes on."""
    Hangs.released.clear()
    began = time.monotonic()
    with pytest.raises(BrokenRule, match="still at it"):
        BY_NAME["idle_limits_the_wait_for_the_head"].check(Subject(broken.make, broken.backend, patience=0.2))
    Hangs.released.set()
    assert time.monotonic() - began < 10.0


def test_the_environment_is_left_as_it_was(monkeypatch):
    """A rule sees no proxies, and this process has them again afterwards."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    before = dict(os.environ)
    BY_NAME["interim_answer_is_none"].check(Subject(over_requests.MeshAPI))
    assert dict(os.environ) == before


# The example


def test_the_example_is_a_program(monkeypatch, capsys):
    """It asks, and streams, as its page says."""
    with LocalGateway() as gateway:
        monkeypatch.setenv("MESHAPI_BASE_URL", gateway.base_url)
        monkeypatch.setenv("MESHAPI_API_KEY", gateway.token)
        broken_adapters.good.main()
    assert capsys.readouterr().out == "You said: Who are you?\n" * 2


# The public door


def test_the_protocol_loads_no_library():
    """Whoever writes a transport over another library needs none of those that we know."""
    libraries = ("httpx", "httpx2", "aiohttp", "requests", "urllib3", "trio", "anyio", "h11", "starlette")
    program = f"import sys, meshapi_transports.protocol; print([n for n in {libraries} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_the_protocol_is_complete():
    """All that is exported is there, and our own adapters are built of the same."""
    assert all(hasattr(protocol, name) for name in protocol.__all__)
    assert issubclass(over_requests.MeshAPI, protocol.MeshAPI)
    assert issubclass(over_trio.AsyncMeshAPI, protocol.AsyncMeshAPI)
    assert set(Blocking.failures.values()) <= set(Failure)
