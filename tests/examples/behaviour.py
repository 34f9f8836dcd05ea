"""What every example has to do, whatever its loop."""

from __future__ import annotations

import ssl
from types import ModuleType
from typing import Any

import pytest
import trustme

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    MeshAPIError,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports.testing import Fault
from meshapi_transports.testing.raw import RawServer, chat_answer, refusing_url, replies

from .harness import (
    PARAMS,
    alive_in_the_middle,
    check_iterating,
    check_waiting,
    core_for,
    cut_in_the_middle,
    load_example,
    run_example,
    silent_in_the_middle,
    slowly,
    text_of,
)

REPLY = "You said: one two three"
# Such as a test can wait for, and such as nothing that comes at once takes.
SHORT = 0.3


class Behaviour:
    """The tests of an example; a subclass says how the example is used."""

    name: str
    speaks_tls = True

    def perform(self, example: ModuleType, call: Any) -> Any:
        """Drive a call to its end; the value, or the error raised."""
        raise NotImplementedError

    def read(self, example: ModuleType, call: Any, chunks: list[Any]) -> None:
        """Drive a stream to its end, adding its events to `chunks`; an error is raised."""
        raise NotImplementedError

    def read_one_and_cancel(self, example: ModuleType, call: Any) -> Any:
        """Drive a stream until its first event, cancel it, and return the event."""
        raise NotImplementedError

    @pytest.fixture
    def example(self):
        return load_example(self.name)

    def read_until_it_fails(self, example, script, timeout):
        """What a stream had brought, and what it failed with."""
        chunks = []
        with RawServer(script) as server:
            call = core_for(server.url, timeout=timeout).chat.completions.stream(PARAMS)
            with pytest.raises(MeshAPIError) as caught:
                self.read(example, call, chunks)
            assert server.accepted == 1
            # Also the connection of a call that has failed is closed by the loop, and not left to the collector.
            assert server.wait_until(lambda server: server.open == 0)
        return text_of(chunks), caught.value

    def test_the_program(self, gateway):
        """It prints an answer that it was given at the second try, a whole stream, and the beginning of another."""
        gateway.inject(Fault(status=503, retry_after=0.01))
        done = run_example(self.name, gateway)
        assert (done.returncode, done.stderr) == (0, "")
        said = dict(line.split(":", 1) for line in done.stdout.splitlines())
        assert set(said) == {"call", "stream", "cancelled after"}
        assert REPLY in said["call"]
        assert said["stream"].replace("|", " ").split() == REPLY.split()
        assert said["cancelled after"] == " You"
        assert len(gateway.requests) == 4

    def test_a_call_is_retried_once(self, example, gateway):
        """After a 503 the loop waits and sends the request again, and only that."""
        gateway.inject(Fault(status=503, retry_after=0.01))
        core = core_for(gateway.base_url, token=gateway.token, retry=RetryPolicy(backoff_base=0.0))
        answer = self.perform(example, core.chat.completions.create(PARAMS))
        assert answer.choices[0].message.content == REPLY
        assert len(gateway.requests) == 2

    def test_a_connection_that_breaks_before_the_answer_is_retried(self, example, gateway):
        """A reset is a lost connection, and a policy may allow another try after it."""
        gateway.inject(Fault(cut_before_head=True, reset=True))
        policy = RetryPolicy(backoff_base=0.0, retry_on_network_error=True)
        core = core_for(gateway.base_url, token=gateway.token, retry=policy)
        assert self.perform(example, core.chat.completions.create(PARAMS)).choices[0].message.content == REPLY
        assert len(gateway.requests) == 2

    def test_a_stream_is_read_to_its_end(self, example, gateway):
        """Every event is handed out, however its bytes are cut."""
        gateway.inject(Fault(split=7, line_ending="\r\n", comments=1))
        chunks: list[Any] = []
        core = core_for(gateway.base_url, token=gateway.token)
        self.read(example, core.chat.completions.stream(PARAMS), chunks)
        assert text_of(chunks) == REPLY

    def test_a_cancelled_stream_closes_its_connection(self, example):
        """The server sees the end of the connection while the program goes on."""
        with RawServer(silent_in_the_middle) as server:
            first = self.read_one_and_cancel(example, core_for(server.url).chat.completions.stream(PARAMS))
            assert text_of([first]) == "one"
            assert server.wait_until(lambda server: server.open == 0)
            assert server.accepted == 1

    def test_a_refused_connection(self, example):
        """It is told that nothing was sent, and why."""
        with refusing_url() as url, pytest.raises(APIConnectionError, match="nothing was sent") as caught:
            self.perform(example, core_for(url).chat.completions.create(PARAMS))
        assert isinstance(caught.value.__cause__, OSError)

    def test_a_refused_connection_is_tried_again(self, example):
        """A retry whose wait is nothing at all is a retry all the same."""
        policy = RetryPolicy(max_retries=2, backoff_base=0.0)
        with refusing_url() as url, pytest.raises(APIConnectionError, match="nothing was sent"):
            self.perform(example, core_for(url, retry=policy).chat.completions.create(PARAMS))

    def test_a_stream_that_is_cut(self, example):
        """What had come is handed out, then the error that holds it too is raised."""
        text, error = self.read_until_it_fails(example, cut_in_the_middle, None)
        assert text == "one two"
        assert isinstance(error, StreamInterruptedError)
        assert error.partial.choices[0].message.content == "one two"

    def test_a_stream_that_stalls(self, example):
        """After the idle time it is given up."""
        text, error = self.read_until_it_fails(example, silent_in_the_middle, Timeout(idle=SHORT))
        assert text == "one two"
        assert isinstance(error, APITimeoutError)
        assert "nothing came in time" in error.message

    def test_an_answer_that_comes_slowly(self, example):
        """Each piece of it is waited for anew."""
        with RawServer(slowly(SHORT / 2)) as server:
            core = core_for(server.url, timeout=Timeout(idle=SHORT))
            answer = self.perform(example, core.chat.completions.create(PARAMS))
        assert answer.choices[0].message.content == "at last"

    def test_comments_do_not_keep_a_stream_alive(self, example):
        """The idle time is counted from event to event."""
        text, error = self.read_until_it_fails(example, alive_in_the_middle, Timeout(idle=SHORT))
        assert text == "one two"
        assert isinstance(error, APITimeoutError)
        assert "nothing came in time" in error.message

    @pytest.mark.parametrize("script", [silent_in_the_middle, alive_in_the_middle])
    def test_the_time_for_a_whole_call(self, example, script):
        """It ends a stream, whatever comes."""
        text, error = self.read_until_it_fails(example, script, Timeout(idle=None, total=SHORT))
        assert text == "one two"
        assert isinstance(error, APITimeoutError)
        assert "the whole call" in error.message

    def test_no_time_is_left_for_another_try(self, example, gateway):
        """The call fails with the answer that it would have retried."""
        gateway.inject(Fault(status=503, retry_after=20))
        core = core_for(
            gateway.base_url, token=gateway.token, timeout=Timeout(total=SHORT), retry=RetryPolicy(max_retries=1)
        )
        with pytest.raises(InternalServerError):
            self.perform(example, core.chat.completions.create(PARAMS))
        assert len(gateway.requests) == 1

    def test_a_call_of_several_requests(self, example, gateway):
        """Each is sent when the call asks for it, after the wait that it asks for."""
        check_waiting(gateway, lambda call: self.perform(example, call))

    def test_items_of_several_requests(self, example, gateway):
        """The next request follows at once, once the answer before it has been read."""
        check_iterating(gateway, lambda call, models: self.read(example, call, models))

    def test_tls(self, example, monkeypatch, tmp_path):
        """A connection to an https address is secured, or not made at all."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with RawServer(replies(chat_answer("secretly")), ssl_context=context) as server:
            core = core_for(server.url)
            if not self.speaks_tls:
                with pytest.raises(ValueError, match="TLS"):
                    self.perform(example, core.chat.completions.create(PARAMS))
                return
            with pytest.raises(APIConnectionError, match="nothing was sent"):
                self.perform(example, core.chat.completions.create(PARAMS))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            answer = self.perform(example, core.chat.completions.create(PARAMS))
        assert answer.choices[0].message.content == "secretly"
