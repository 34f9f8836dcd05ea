"""The command line: in this process for what it says, as a process of its own for how it ends."""

import contextlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from typing import NamedTuple

import pytest

from meshapi_core import __version__
from meshapi_transports.cli import main
from meshapi_transports.testing import Fault, LocalGateway

TRANSPORTS = ["httpx", "httpx2", "aiohttp", "requests", "trio", "stdlib"]
over_each_transport = pytest.mark.parametrize("transport", TRANSPORTS)

SCRIPT = [shutil.which("meshapi", path=sysconfig.get_path("scripts")) or "meshapi"]
# Isolated, so that the directory it is started in is not searched for modules.
INTERPRETER = [sys.executable, "-I", "-c"]
# A test run in the background passes on that Ctrl-C is to be ignored.
MAIN_WITH_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from meshapi_transports.cli import main
main()
"""
MAIN_WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from meshapi_transports.cli import main
main()
"""
PATIENCE = 60


class Outcome(NamedTuple):
    """How a run of the program ended, and what it said."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def running_gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway, monkeypatch):
    """A gateway, whose address and key are in the environment."""
    running_gateway.reset()
    monkeypatch.setenv("MESHAPI_BASE_URL", running_gateway.base_url)
    monkeypatch.setenv("MESHAPI_API_KEY", running_gateway.token)
    return running_gateway


@pytest.fixture
def no_key(gateway, monkeypatch):
    """An environment that says nothing of a gateway."""
    monkeypatch.delenv("MESHAPI_BASE_URL")
    monkeypatch.delenv("MESHAPI_API_KEY")


@pytest.fixture
def meshapi(gateway, monkeypatch, capsys):
    """Runs the program in this process."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["meshapi", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ending:
            main()
        return decent(Outcome(ending.value.code or 0, *capsys.readouterr()), gateway)

    return run


def run_process(command, *arguments, gateway, **environment):
    process = subprocess.run(
        [*command, *arguments], env={**os.environ, **environment}, capture_output=True, timeout=PATIENCE
    )
    return decent(Outcome(process.returncode, process.stdout.decode(), process.stderr.decode()), gateway)


def decent(outcome, gateway):
    """`outcome`, which must neither show a traceback nor tell the key."""
    assert "Traceback" not in outcome.err
    assert gateway.token not in outcome.out + outcome.err
    return outcome


def assert_one_line(outcome, *parts):
    """The program failed, and said so in one line that holds all of `parts`."""
    assert outcome.status == 1
    assert outcome.err.startswith("Error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    for part in parts:
        assert part in outcome.err


@over_each_transport
@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["whole", "stream"])
def test_a_chat_over_each_transport(gateway, transport, how):
    """The installed program prints the answer and nothing else, whole and streamed."""
    outcome = run_process(SCRIPT, "chat", "Write a haiku", "--transport", transport, *how, gateway=gateway)
    assert outcome == (0, "You said: Write a haiku\n", "")
    assert gateway.requests[-1].json()["stream"] is bool(how)


@over_each_transport
@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["whole", "stream"])
def test_what_is_asked(meshapi, gateway, transport, how):
    """The prompt from the standard input, the system's message and the model reach the gateway as they are."""
    options = ["--system", "Be brief.", "--model", "openai/gpt-4o-mini", "--transport", transport]
    outcome = meshapi("chat", "-", *options, *how, stdin="Zwei\nZeilen, größer als eine\n")
    assert outcome == (0, "You said: Zwei\nZeilen, größer als eine\n", "")
    body = gateway.requests[-1].json()
    assert body["model"] == "openai/gpt-4o-mini"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Zwei\nZeilen, größer als eine\n"},
    ]


@over_each_transport
def test_an_answer_for_programs(meshapi, transport):
    """--json prints the answer as one JSON document, or with --stream each piece as one on a line of its own."""
    status, out, err = meshapi("chat", "grün", "--json", "--transport", transport)
    assert (status, err, out.count("\n")) == (0, "", 1)
    answer = json.loads(out)
    assert answer["choices"][0]["message"]["content"] == "You said: grün"
    assert answer["usage"]["total_tokens"] == 4
    status, out, err = meshapi("chat", "grün", "--json", "--stream", "--transport", transport)
    assert (status, err) == (0, "")
    chunks = [json.loads(line) for line in out.splitlines()]
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(deltas) == "You said: grün"


@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["whole", "stream"])
def test_an_answer_that_would_command_the_terminal(meshapi, how):
    """Control codes are replaced, and what means nothing in them is left out; tabs and line breaks stay."""
    answer = meshapi("chat", "\x1b]0;title\x07 \x9b2J\x7f\tone\r\ntwo\b", *how).out
    assert answer == "You said: \ufffd]0;title\ufffd \ufffd2J\ufffd\tone\ntwo\ufffd\n"
    json_text = meshapi("chat", "\x1b]0;title\x07", *how, "--json").out
    assert "\x1b" not in json_text
    assert "\\u001b" in json_text


def test_help_is_quick(gateway):
    """What takes long to import is not imported before a command needs it."""
    program = """
import sys
from meshapi_transports.cli import main
try:
    main()
finally:
    print([name for name in ("pydantic", "rich", "httpx", "starlette", "asyncio") if name in sys.modules])
"""
    outcome = run_process([*INTERPRETER, program], "--help", gateway=gateway)
    assert outcome.status == 0
    assert outcome.out.endswith("\n[]\n")


def test_httpx_is_the_default(meshapi, gateway):
    """Without --transport nothing is guessed: it is httpx, and the gateway is left to choose the model."""
    assert meshapi("chat", "hi").status == 0
    assert "model" not in gateway.requests[-1].json()
    assert "[default:\n                                  httpx]" in meshapi("chat", "--help").out


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}, {"type": "new"}], "a\n"),
        ("a line of its own\n", "a line of its own\n"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_text_of_an_answer(meshapi, gateway, content, printed):
    """The text parts are printed, with one line break at the end; an answer without text prints nothing."""
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})
    gateway.inject(Fault(body=body.encode()))
    assert meshapi("chat", "hi") == (0, printed, "")


@pytest.mark.parametrize("body", [b"{}", b'{"choices": [{"index": 0}]}'])
def test_an_answer_without_a_message(meshapi, gateway, body):
    """What servers leave out is no error."""
    gateway.inject(Fault(body=body))
    assert meshapi("chat", "hi") == (0, "", "")


def test_chunks_without_text(meshapi, gateway):
    """Chunks without choices, without a delta or without content print nothing."""
    chunks = [{"choices": []}, {"choices": [{"index": 0}]}, {"choices": [{"delta": {}}]}]
    chunks.append({"choices": [{"delta": {"content": "hi"}}]})
    gateway.inject(Fault(body=b"".join(map(event, chunks)) + b"data: [DONE]\n\n"))
    assert meshapi("chat", "hi", "--stream") == (0, "hi\n", "")


@over_each_transport
def test_no_key(meshapi, no_key, transport):
    """Without a key a local gateway answers, and one line of stderr says so."""
    status, out, err = meshapi("chat", "hi", "--stream", "--transport", transport)
    assert (status, out) == (0, "You said: hi\n")
    assert err == "No key is set (MESHAPI_API_KEY), so a local gateway answers: it echoes the prompt.\n"


def test_an_empty_key_is_no_key(meshapi, no_key, monkeypatch):
    """A variable that is set to nothing counts as not set."""
    monkeypatch.setenv("MESHAPI_API_KEY", "")
    monkeypatch.setenv("MESHAPI_TOKEN", "")
    assert "local gateway" in meshapi("chat", "hi").err


def test_no_key_for_a_gateway_that_was_named(meshapi, gateway, monkeypatch):
    """Who names a gateway means it: without a key for it, nothing else answers in its place."""
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert_one_line(meshapi("chat", "hi"), "MESHAPI_API_KEY")
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert_one_line(meshapi("chat", "hi", "--base-url", gateway.base_url), "MESHAPI_API_KEY")


def test_the_other_name_of_the_key(meshapi, gateway, monkeypatch):
    """MESHAPI_TOKEN is as good as MESHAPI_API_KEY, and --base-url as MESHAPI_BASE_URL."""
    monkeypatch.delenv("MESHAPI_API_KEY")
    monkeypatch.setenv("MESHAPI_TOKEN", gateway.token)
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert meshapi("chat", "hi", "--base-url", gateway.base_url) == (0, "You said: hi\n", "")


@over_each_transport
def test_a_wrong_key(meshapi, gateway, monkeypatch, transport):
    """A key that is refused is an error that says where the key is read from."""
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_of_somebody_else")
    outcome = meshapi("chat", "hi", "--transport", transport)
    assert_one_line(outcome, "401 unauthorized", "check the key in MESHAPI_API_KEY")
    assert "somebody" not in outcome.err


@pytest.mark.filterwarnings("default:the key travels in clear:UserWarning")
def test_a_warning(meshapi):
    """What the client warns of is a line for people, without the place in the program."""
    warning, error = meshapi("chat", "hi", "--stream", "--base-url", "http://gateway.invalid").err.splitlines()
    assert warning == "Warning: the key travels in clear to http://gateway.invalid: use https://"
    assert error.startswith("Error: ")


@over_each_transport
def test_no_gateway_there(meshapi, transport):
    """A connection that is refused is an error that says what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = meshapi("chat", "hi", "--stream", "--base-url", f"http://127.0.0.1:{port}", "--transport", transport)
    assert_one_line(outcome, "connection_error", "check the network, and --base-url")


@over_each_transport
@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["whole", "stream"])
def test_a_gateway_that_is_silent(meshapi, gateway, transport, how):
    """--timeout bounds the wait, and the error names it."""
    gateway.inject(Fault(stall_before_head=True))
    outcome = meshapi("chat", "hi", "--timeout", "0.1", "--transport", transport, *how)
    assert_one_line(outcome, "timeout", "--timeout sets how many seconds to wait")


@over_each_transport
def test_a_stream_that_breaks(meshapi, gateway, transport):
    """What had come is printed and its line ended, before the line that says what happened."""
    gateway.inject(Fault(finish=False))
    status, out, err = meshapi("chat", "hi", "--stream", "--transport", transport)
    assert (status, out) == (1, "You said: hi\n")
    assert err.startswith("Error: [200 stream_interrupted]")
    assert err.count("\n") == 1


def test_an_error_of_many_lines(meshapi, gateway):
    """Whatever a proxy answers in the gateway's place, the error is one line."""
    gateway.inject(Fault(status=502, content_type="text/html", body=b"<html>\n<h1>Bad\n\n  Gateway</h1>\n</html>\n"))
    assert_one_line(meshapi("chat", "hi", "--stream"), "502", "<html> <h1>Bad Gateway</h1> </html>")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--timeout", "0"], "timeout must be a number of seconds above 0"),
        (["--base-url", "localhost:8000"], "base_url must start with https:// or http://"),
    ],
)
def test_values_that_cannot_be_used(meshapi, arguments, part):
    """A value that no client takes is one line too."""
    assert_one_line(meshapi("chat", "hi", *arguments), part)


def test_a_prompt_that_is_no_text(meshapi):
    """Bytes that are no text, which the shell lets through, are refused in one line."""
    assert_one_line(meshapi("chat", "\udcff"))


def test_words_that_are_not_understood(meshapi):
    """A transport that there is not ends like every mistake in a command line, with the usage and status 2."""
    outcome = meshapi("chat", "hi", "--transport", "carrier-pigeon")
    assert outcome.status == 2
    assert ", ".join(map(repr, TRANSPORTS)) in outcome.err


def test_the_version(meshapi):
    """--version tells the version of the project."""
    assert meshapi("--version") == (0, f"meshapi, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("library", "extra"),
    [
        ("httpx", "httpx"),
        ("httpx2", "httpx2"),
        ("aiohttp", "aiohttp"),
        ("requests", "requests"),
        ("trio", "trio"),
        ("click", "cli"),
    ],
)
def test_a_missing_library(gateway, library, extra):
    """One line says what to install."""
    # Only the one that is asked for is missed.
    transport = library if library != "click" else "httpx"
    arguments = [library, "chat", "hi", "--transport", transport]
    outcome = run_process([*INTERPRETER, MAIN_WITHOUT], *arguments, gateway=gateway)
    assert_one_line(outcome, f"pip install 'meshapi-transports[{extra}]'")


def test_a_broken_installation(monkeypatch):
    """That some other module is missing is not taken for click that is not installed."""
    monkeypatch.setitem(sys.modules, "meshapi_transports._commands", None)
    with pytest.raises(ModuleNotFoundError, match="_commands"):
        main()


def test_no_key_and_no_local_gateway(gateway, no_key):
    """Where there is neither a key nor a local gateway, one line names both ways out."""
    outcome = run_process([*INTERPRETER, MAIN_WITHOUT], "starlette", "chat", "hi", gateway=gateway)
    assert_one_line(outcome, "set MESHAPI_API_KEY", "pip install 'meshapi-transports[testing]'")


def test_a_terminal_that_cannot_show_the_answer(gateway):
    """What a terminal's encoding has no sign for is replaced."""
    outcome = run_process(SCRIPT, "chat", "a \u2192 b", gateway=gateway, PYTHONIOENCODING="latin-1")
    assert outcome == (0, "You said: a ? b\n", "")


def test_no_terminal_at_all(meshapi, gateway, monkeypatch):
    """A process that has no standard output, as under a Windows desktop, has its answer all the same."""
    monkeypatch.setattr(sys, "stdout", None)
    assert meshapi("chat", "hi").status == 0
    assert len(gateway.requests) == 1


class PatientGateway(http.server.ThreadingHTTPServer):
    """Streams "Hello", and then " world" once it is told to go on."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _PatientHandler)
        self.go_on = threading.Event()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _PatientHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(event({"choices": [{"index": 0, "delta": {"content": "Hello"}}]}))
        self.server.go_on.wait(PATIENCE)
        # The client may have left.
        with contextlib.suppress(OSError):
            self.wfile.write(event({"choices": [{"index": 0, "delta": {"content": " world"}}]}) + b"data: [DONE]\n\n")

    def log_message(self, *arguments):
        pass


def event(data):
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@pytest.fixture
def patient_gateway(gateway, monkeypatch):
    """A gateway that waits to be told, in place of the usual one."""
    with PatientGateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MESHAPI_BASE_URL", server.base_url)
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def streaming(transport):
    """A process that streams a chat, and has printed the first piece of it."""
    arguments = ["chat", "hi", "--stream", "--transport", transport]
    with subprocess.Popen(
        [*INTERPRETER, MAIN_WITH_CTRL_C, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        # Reading from a pipe has no limit of its own.
        alarm = threading.Timer(PATIENCE, process.kill)
        alarm.start()
        try:
            assert process.stdout.read(5) == b"Hello"
            yield process
        finally:
            alarm.cancel()
            process.kill()


@over_each_transport
def test_tokens_come_as_they_are_sent(patient_gateway, transport):
    """The first token is there while the gateway still waits to send the second."""
    with streaming(transport) as process:
        patient_gateway.go_on.set()
        assert process.stdout.read() == b" world\n"
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
@over_each_transport
def test_ctrl_c(patient_gateway, transport):
    """Ctrl-C leaves what had come, ends its line, and says nothing; the status is the shell's own for it."""
    with streaming(transport) as process:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE / 6)
        except subprocess.TimeoutExpired:
            # Python sees a signal that came in the instant before a blocking call only after that: one presses again.
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"\n"
        assert process.stderr.read() == b""
        assert process.wait() == 130


def test_ctrl_c_while_the_program_is_loaded(meshapi, monkeypatch):
    """Ctrl-C is as quiet before there is anything to interrupt."""

    class Interrupted:
        def find_spec(self, name, path=None, target=None):
            if name == "meshapi_transports._commands":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "meshapi_transports._commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert meshapi("chat", "hi") == (130, "", "")


@over_each_transport
def test_a_reader_that_has_seen_enough(patient_gateway, transport):
    """When the other end of the pipe is closed, as by head, the program ends without a word."""
    with streaming(transport) as process:
        process.stdout.close()
        patient_gateway.go_on.set()
        assert process.stderr.read() == b""
        assert process.wait() == 1
