"""The fixture of the local gateway, in a test session of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PLUGIN = 'pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]'


@pytest.fixture
def session(pytester):
    """A directory with a test session that uses the plugin."""
    pytester.makeconftest(PLUGIN)
    # What lies above it is none of its business.
    pytester.makeini("[pytest]")
    return pytester


def run(session):
    # Not in this process, which has loaded the plugin already.
    return session.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")


def test_clients_find_the_gateway_by_the_environment(session, monkeypatch):
    """Code under test that makes its own client reaches it, whatever was set before, and the test sees its requests."""
    monkeypatch.setenv("MESHAPI_TOKEN", "rsk_of_the_developer")
    monkeypatch.setenv("MESHAPI_BASE_URL", "http://127.0.0.1:9")
    session.makepyfile(
        """
        import os

        from meshapi_transports.httpx import ChatCompletionParams, ChatMessage, MeshAPI


        def test_the_reply_is_an_echo(local_gateway):
            params = ChatCompletionParams(messages=[ChatMessage(role="user", content="hello")])
            with MeshAPI() as client:
                reply = client.chat.completions.create(params)
            assert reply.choices[0].message.content == "You said: hello"
            (request,) = local_gateway.requests
            assert request.headers["authorization"] == f"Bearer {local_gateway.token}"
            assert os.environ["MESHAPI_API_KEY"] == local_gateway.token
            assert "MESHAPI_TOKEN" not in os.environ
        """
    )
    run(session).assert_outcomes(passed=1)


def test_each_test_has_a_gateway_of_its_own(session):
    """Nothing of one test is seen in the next, the gateway is stopped after it, and the environment is as it was."""
    session.makepyfile(
        """
        import os
        import urllib.error
        import urllib.request

        import pytest

        from meshapi_transports.testing import Fault

        used = []


        @pytest.mark.parametrize("number", [1, 2])
        def test_a_gateway(local_gateway, number):
            assert local_gateway.requests == []
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(local_gateway.base_url, timeout=10)
            local_gateway.inject(Fault(status=503))
            used.append(local_gateway)


        def test_afterwards():
            first, second = used
            assert first is not second
            assert "MESHAPI_BASE_URL" not in os.environ
            for gateway in used:
                with pytest.raises(urllib.error.URLError):
                    urllib.request.urlopen(gateway.base_url, timeout=10)
        """
    )
    run(session).assert_outcomes(passed=3)


def test_the_plugin_can_be_given_on_the_command_line(session):
    """Without a conftest, and the fixture is listed with what it is."""
    session.path.joinpath("conftest.py").unlink()
    result = session.runpytest_subprocess("-p", "meshapi_transports.testing.pytest_plugin", "--fixtures")
    result.stdout.fnmatch_lines(["local_gateway*", "*A local gateway for one test*"])
