"""The commands beside ``chat``: what each prints for people, for pipes and for programs, and how each fails."""

import contextlib
import io
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from meshapi_transports.testing import Fault, LocalGateway

from . import test_cli as chat_tests

gateway = chat_tests.gateway
meshapi = chat_tests.meshapi
no_key = chat_tests.no_key
over_each_transport = chat_tests.over_each_transport
run_process = chat_tests.run_process
assert_one_line = chat_tests.assert_one_line
event = chat_tests.event

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither signals nor pseudoterminals")

# What a server could say to people who do not expect it: codes for the terminal, and markup of the library that draws.
NASTY = "\x1b[31m[red]x[/red]\x9b2J\x07"
HARMLESS = "\ufffd[31m[red]x[/red]\ufffd2J\ufffd"
UNSPOILT = Fault()
CONTROL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def running_gateway():
    """A gateway whose batches are through when they are first looked at."""
    with LocalGateway(batch_seconds=0) as gateway:
        yield gateway


@pytest.fixture
def still_gateway(gateway, monkeypatch):
    """A gateway whose batches stay as they are until they are told otherwise, in place of the usual one."""
    with LocalGateway(batch_seconds=None) as still:
        monkeypatch.setenv("MESHAPI_BASE_URL", still.base_url)
        yield still


class Terminal(io.StringIO):
    """A terminal that remembers what was printed on it, and can show it without its control codes."""

    def isatty(self):
        return True

    @property
    def text(self):
        return CONTROL_CODES.sub("", self.getvalue())


@pytest.fixture
def terminal(gateway, monkeypatch):
    """Runs the program in this process with a terminal as its standard output, or as what `streams` says."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, streams=("stdout",)):
        shown = Terminal()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["meshapi", *arguments])
            for stream in streams:
                patched.setattr(sys, stream, shown)
            with pytest.raises(SystemExit) as ending:
                chat_tests.main()
        return ending.value.code or 0, shown

    return run


@pytest.fixture
def batch_file(tmp_path):
    """Writes a file of requests: each an identifier and a prompt, or a line as it is."""

    def write(*requests):
        path = tmp_path / "requests.jsonl"
        path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in requests))
        return str(path)

    return write


def ask(custom_id, prompt="hi", **more):
    return {"custom_id": custom_id, "body": {"messages": [{"role": "user", "content": prompt}]}, **more}


def refused(custom_id):
    """A request that only the gateway finds fault with."""
    return {"custom_id": custom_id, "body": {"messages": [{"role": "nobody", "content": "hi"}]}}


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def answered_with(value):
    return Fault(body=json.dumps(value).encode())


# Any command, whole.


@pytest.mark.parametrize(
    "arguments",
    [["models"], ["compare", "openai/gpt-4o", "local/echo", "hi"], ["embed", "hi"], ["batch", "FILE"]],
    ids=lambda arguments: arguments[0],
)
def test_the_installed_program(gateway, batch_file, arguments):
    """Each command prints JSON with --json, and nothing else on the standard output."""
    arguments = [batch_file(ask("a")) if each == "FILE" else each for each in arguments]
    outcome = run_process(chat_tests.SCRIPT, *arguments, "--json", "--transport", "stdlib", gateway=gateway)
    assert outcome.status == 0
    assert all(map(json.loads, outcome.out.splitlines()))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["models"], "its models are examples"),
        (["compare", "openai/gpt-4o", "local/echo", "hi"], "it echoes the prompt"),
        (["embed", "hi"], "its vectors mean nothing"),
        (["batch", "FILE"], "it echoes the prompts"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_no_key(meshapi, no_key, batch_file, arguments, hint):
    """Without a key each command is answered by a local gateway, and the first line of stderr says so."""
    arguments = [batch_file(ask("a")) if each == "FILE" else each for each in arguments]
    outcome = meshapi(*arguments)
    assert outcome.status == 0
    assert outcome.out
    assert outcome.err.splitlines()[0] == f"No key is set (MESHAPI_API_KEY), so a local gateway answers: {hint}."


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize(
    "arguments",
    [["models"], ["models", "--search", "x"], ["compare", "a", "b", "hi"], ["embed", "hi"], ["batch", "FILE"]],
    ids=" ".join,
)
def test_a_gateway_that_refuses(meshapi, gateway, batch_file, arguments, status):
    """A refusal is one line, and nothing is printed."""
    # So long a wait that it is not tried again.
    gateway.inject(Fault(status=status, retry_after=60))
    arguments = [batch_file(ask("a")) if each == "FILE" else each for each in arguments]
    outcome = meshapi(*arguments)
    assert_one_line(outcome, f"[{status} ")
    assert outcome.out == ""


def test_an_error_that_would_command_the_terminal(meshapi, gateway):
    """An error's message comes without the control codes that the server put into it."""
    gateway.inject(answered_with({"error": {"code": "x", "message": NASTY}}))
    gateway.inject(Fault(status=400, body=json.dumps({"error": {"code": "bad", "message": NASTY}}).encode()))
    meshapi("models")
    assert_one_line(meshapi("models"), HARMLESS)


@pytest.mark.parametrize("command", ["models", "embed"])
def test_rich_is_missed_where_it_is_needed(meshapi, terminal, monkeypatch, capsys, command):
    """Without rich, a pipe is served all the same, and a terminal is told what to install."""
    monkeypatch.delitem(sys.modules, "meshapi_transports._commands.screen", raising=False)
    monkeypatch.delattr("meshapi_transports._commands.screen", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "rich", None)
    arguments = [command, "hi"] if command == "embed" else [command]
    assert meshapi(*arguments).status == 0
    status, shown = terminal(*arguments)
    assert (status, shown.getvalue()) == (1, "")
    assert "pip install 'meshapi-transports[cli]'" in capsys.readouterr().err


PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
SHELL_EXAMPLES = re.findall(r"```sh\nmeshapi ([^|<\n]+)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "printed"), SHELL_EXAMPLES, ids=[each[0].split()[0] for each in SHELL_EXAMPLES])
def test_the_examples_of_the_page(terminal, capsys, monkeypatch, no_key, tmp_path, command, printed):
    """On a terminal and without a key, each command prints what the page says."""
    requests = re.search(r"```text\n(\{.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "requests.jsonl").write_text(requests)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "96")
    shown = terminal(*shlex.split(command))[1].text
    if command.startswith("batch"):
        # How often the batch is seen on its way is up to the machine.
        shown, printed = (text.split("completed, ")[1] for text in (capsys.readouterr().err, printed))
    # Of what is drawn again and again, the end.
    assert shown.endswith(printed)


# models


@over_each_transport
def test_models_over_each_transport(meshapi, transport):
    """A pipe gets a line for each model, with tabs between its fields, listed and searched."""
    lines = (
        "meta/llama-3.3-70b-instruct:free\ttext\t131072\t0\t0\tLlama 3.3 70B Instruct\n",
        "local/echo\ttext\t32768\t0\t0\tEcho\n",
    )
    assert meshapi("models", "--free", "--transport", transport) == (0, "".join(lines), "")
    assert meshapi("models", "--search", "llama", "--transport", transport) == (0, lines[0], "")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--type", "image"], ["openai/gpt-image-1"]),
        (["--provider", "google"], ["google/gemini-2.5-flash", "google/multimodal-embedding"]),
        (["--provider", "google", "--type", "text"], ["google/gemini-2.5-flash"]),
        (["--free", "--provider", "local"], ["local/echo"]),
        (["--search", "3 small"], ["mistral/mistral-small-3.2", "openai/text-embedding-3-small"]),
        (["--search", "small", "--type", "embedding"], ["openai/text-embedding-3-small"]),
        (["--search", "small", "--provider", "mistral"], ["mistral/mistral-small-3.2"]),
        (["--search", "e", "--free", "--provider", "local"], ["local/echo"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("-") else None,
)
def test_which_models(meshapi, arguments, found):
    """All that is asked for holds at once, and --json tells of each model all that the gateway does."""
    status, out, err = meshapi("models", *arguments, "--json")
    assert (status, err) == (0, "")
    models = json.loads(out)
    assert [model["id"] for model in models] == found
    assert all("input_modalities" in model for model in models)


def test_no_model_is_like_that(meshapi):
    """That there is none is no error: people are told, programs get an empty list."""
    assert meshapi("models", "--search", "abacus") == (0, "", "No model is like that.\n")
    assert meshapi("models", "--search", "abacus", "--json") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            {"id": "a", "pricing": {"prompt_usd_per_1k": "0.00015", "completion_usd_per_1k": "0.02"}},
            "a\t\t\t0.15\t20\t",
        ),
        ({"id": "a", "pricing": {"prompt_usd_per_1k": "a lot"}, "context_window": 5}, "a\t\t5\t\t\t"),
        ({"name": "two\twords\n"}, "\t\t\t\t\ttwo words"),
        ({}, "\t\t\t\t\t"),
    ],
)
def test_a_model_of_which_little_is_known(meshapi, gateway, model, line):
    """What a gateway leaves out stays empty, a price for a thousand tokens is one for a million, a line is a line."""
    gateway.inject(answered_with([model]))
    assert meshapi("models") == (0, f"{line}\n", "")


def test_models_on_a_terminal(terminal):
    """A terminal shows a table."""
    status, shown = terminal("models", "--search", "gpt-4o")
    assert status == 0
    assert re.search(r"│ openai/gpt-4o-mini +│ text +│ 128,000 │ +0\.15 │ +0\.60 │ GPT-4o mini +│", shown.text)


def test_models_with_names_that_would_command_the_terminal(meshapi, terminal, gateway):
    """A name's control codes and markup do nothing on a terminal and in a pipe; a program gets it as it is."""
    gateway.inject(answered_with([{"id": NASTY, "name": ":smile:"}]), times=3)
    assert meshapi("models").out == f"{HARMLESS}\t\t\t\t\t:smile:\n"
    shown = terminal("models")[1]
    assert HARMLESS in shown.text
    assert ":smile:" in shown.text
    assert not {"\x9b", "\x07"} & {*shown.getvalue()}
    assert "\x1b[31m" not in shown.getvalue()
    assert json.loads(meshapi("models", "--json").out)[0]["id"] == NASTY


# compare


BOTH = ["openai/gpt-4o", "local/echo"]
COMPARED = """\
== openai/gpt-4o ==
You said: Write a haiku

== local/echo ==
You said: Write a haiku

== comparison by openai/gpt-4o-mini ==
2 models answered, and their answers are the same.
"""


@over_each_transport
def test_compare_over_each_transport(meshapi, transport):
    """A pipe gets each reply under its model's name, and the comparison below them."""
    assert meshapi("compare", *BOTH, "Write a haiku", "--transport", transport) == (0, COMPARED, "")


@over_each_transport
def test_compare_for_programs(meshapi, transport):
    """Each event is a JSON document on a line of its own."""
    status, out, err = meshapi("compare", *BOTH, "hi you", "--no-comparison", "--json", "--transport", transport)
    assert (status, err) == (0, "")
    events = json_lines(out)
    assert [events[0]["event"], events[-1]["event"]] == ["meta", "done"]
    for model in BOTH:
        assert "".join(each.get("delta") or "" for each in events if each.get("model") == model) == "You said: hi you"


def test_what_is_compared(meshapi, gateway):
    """The prompt, the system's message and the model that compares reach the gateway as they are."""
    assert meshapi(
        "compare", *BOTH, "-", "--system", "Be brief.", "--comparison-model", "openai/gpt-5-nano", stdin="What?\n"
    ).out.startswith("== openai/gpt-4o ==\nYou said: What?\n\n== local/echo ==\n")
    body = gateway.requests[-1].json()
    assert body["models"] == BOTH
    assert body["comparison_model"] == "openai/gpt-5-nano"
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "What?\n"]


@pytest.mark.parametrize("how", [[], ["--no-comparison"], ["--json"]], ids=lambda how: "".join(how) or "compared")
def test_a_model_that_there_is_not(meshapi, how):
    """The others' replies are printed, and one line of stderr says whose is not there, and why."""
    outcome = meshapi("compare", *BOTH, "openai/gpt-0", "hi", *how)
    assert_one_line(outcome, "1 of 3 models failed: openai/gpt-0: there is no model 'openai/gpt-0'")
    assert outcome.out.count("You said") >= 2 or "--json" in how
    assert ("== openai/gpt-0 ==\nfailed: there is no model" in outcome.out) == ("--json" not in how)


def test_no_model_answers(meshapi):
    """If all of them fail, it is the gateway's error."""
    outcome = meshapi("compare", "a/b", "c/d", "hi")
    assert_one_line(outcome, "all_models_failed")
    assert outcome.out == ""


def test_one_model_is_no_comparison(meshapi, gateway):
    """Who names one model has most likely forgotten the prompt."""
    outcome = meshapi("compare", *BOTH)
    assert outcome.status == 2
    assert "at least two models" in outcome.err
    assert gateway.requests == []


@over_each_transport
def test_a_comparison_that_breaks_off(meshapi, gateway, transport):
    """What had come is printed, as it is, before the line that says what happened."""
    gateway.inject(Fault(error_frame={"code": "overloaded", "message": "too much"}, error_after=4))
    status, out, err = meshapi("compare", *BOTH, "hi", "--no-comparison", "--transport", transport)
    assert (status, out) == (1, "== openai/gpt-4o ==\nYou said:\n\n== local/echo ==\nYou\n")
    assert err.startswith("Error: [")
    assert "too much" in err
    assert err.count("\n") == 1


def test_a_comparison_whose_connection_is_cut(meshapi, gateway):
    """The comparison is printed as far as it had come."""
    gateway.inject(Fault(finish=False))
    status, out, err = meshapi("compare", *BOTH, "Write a haiku")
    assert (status, out) == (1, COMPARED)
    assert "stream_interrupted" in err


def stream_of(*events):
    return Fault(body=b"".join(map(event, events)))


def test_replies_that_only_come_at_the_end(meshapi, gateway):
    """A stream of another shape, without deltas, has its replies printed all the same."""
    results = [
        {"model": "local/echo", "content": "one", "usage": {"completion_tokens": 7}},
        {"model": "another", "error": "no"},
    ]
    gateway.inject(stream_of({"event": "done", "results": results, "total_latency_ms": 3}))
    outcome = meshapi("compare", *BOTH, "hi")
    assert outcome.out == "== openai/gpt-4o ==\n\n== local/echo ==\none\n\n== another ==\nfailed: no\n"
    assert_one_line(outcome, "1 of 3 models failed: another: no")


def test_compare_on_a_terminal(terminal, capsys):
    """A terminal shows the replies side by side, what failed among them, and below them the comparison."""
    status, shown = terminal("compare", *BOTH, "openai/gpt-0", "hi there")
    assert status == 1
    last = shown.text[shown.text.rindex("─ openai/gpt-4o ─") :]
    assert re.search(r"─ local/echo ─.*─ openai/gpt-0 ─", last.splitlines()[0])
    assert re.search(r"│ You said: hi there +││ You said: hi there +││ failed: there is no model +│", last)
    assert "5 ms, 4 tokens" in last
    assert re.search(
        r"comparison by openai/gpt-4o-mini .*\n│ 2 models answered, and their answers are the same\.", last
    )
    assert shown.getvalue().endswith("\x1b[?25h")
    assert capsys.readouterr().err.startswith("Error: 1 of 3 models failed")


def test_many_models_on_a_narrow_terminal(terminal, monkeypatch):
    """Where the screen is too narrow for all, the replies stand in several rows."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = terminal("compare", *BOTH, "openai/gpt-4o-mini", "hi")[1]
    last = shown.text[shown.text.rindex("─ openai/gpt-4o ─") :].splitlines()
    assert "local/echo" in last[0]
    assert "openai/gpt-4o-mini" not in last[0]
    assert any("─ openai/gpt-4o-mini ─" in line for line in last[1:])


def test_replies_that_are_longer_than_the_screen(terminal):
    """While a reply grows its end is shown; in the end it is there from its first line to its last."""
    words = [f"word-{number}" for number in range(60)]
    shown = terminal("compare", *BOTH, "\n".join(words), "--no-comparison")[1]
    last = shown.text[shown.text.rindex("─ openai/gpt-4o ─") :]
    assert all(f"{word} " in last for word in words)


def test_the_end_of_a_reply_that_grows(terminal):
    """Of a reply that is longer than the screen, the screen shows the newest lines."""
    from rich.console import Console

    from meshapi_transports._commands.compare import Replies
    from meshapi_transports._commands.screen import _Page

    replies = Replies(["a"])
    replies.of_models["a"].text = "\n".join(f"word-{number}." for number in range(60))
    replies.comparison = "\n".join(f"verdict-{number}." for number in range(60))
    console = Console(file=Terminal(), width=60, height=20)
    console.print(_Page(replies))
    text = console.file.text
    assert "word-59." in text
    assert "verdict-59." in text
    assert "word-0." not in text
    assert text.count("\n") <= 20


def test_replies_that_would_command_the_terminal(meshapi, terminal, gateway):
    """A reply's control codes and markup do nothing on a terminal and in a pipe, nor do those of a model's name."""
    chunks = [{"event": "model_chunk", "model": model, "delta": NASTY} for model in ("local/echo", NASTY)]
    verdict = {"event": "comparison_chunk", "delta": NASTY}
    gateway.inject(stream_of(*chunks, verdict, {"event": "done", "total_latency_ms": 1}), times=2)
    outcome = meshapi("compare", *BOTH, "hi")
    assert (outcome.status, outcome.out.count(HARMLESS)) == (0, 4)
    assert "\x1b" not in outcome.out
    shown = terminal("compare", *BOTH, "hi")[1]
    assert shown.text[shown.text.rindex("─ openai/gpt-4o ─") :].count(HARMLESS) == 4
    assert "\x1b[31m" not in shown.getvalue()
    assert not {"\x9b", "\x07"} & {*shown.getvalue()}


@not_on_windows
def test_compare_on_a_real_terminal(gateway):
    """The installed program finds out by itself that people are looking, and leaves the cursor visible."""
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "24"}
    command = [*chat_tests.SCRIPT, "compare", *BOTH, "hi"]
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        # At its end, some systems report an error and some nothing at all.
        with contextlib.suppress(OSError):
            while piece := os.read(controller, 65536):
                shown += piece
        os.close(controller)
    assert process.returncode == 0
    assert "─ openai/gpt-4o ─" in CONTROL_CODES.sub("", shown.decode())
    assert shown.rstrip().endswith(b"\x1b[?25h")


# embed


@over_each_transport
def test_embed_over_each_transport(meshapi, transport):
    """A pipe gets a line of numbers for each text, and a program the gateway's answer as a whole."""
    status, out, err = meshapi("embed", "red", "green", "--transport", transport)
    assert (status, err) == (0, "")
    vectors = [[float(number) for number in line.split(" ")] for line in out.splitlines()]
    answer = json.loads(meshapi("embed", "red", "green", "--json", "--transport", transport).out)
    assert [item["embedding"] for item in answer["data"]] == vectors
    assert answer["usage"]["total_tokens"] == 2


def test_what_is_embedded(meshapi, gateway, tmp_path):
    """The texts of the command line, of files and of the standard input are sent in this order, with the options."""
    (tmp_path / "a.txt").write_bytes("\ufeffgrün\r\n\n  blue \n".encode())
    file = str(tmp_path / "a.txt")
    arguments = ["red", "-", "--file", file, "--model", "google/multimodal-embedding", "--dimensions", "3"]
    outcome = meshapi("embed", *arguments, stdin="one\n\ntwo")
    assert outcome.status == 0
    assert [len(line.split()) for line in outcome.out.splitlines()] == [3] * 5
    body = gateway.requests[-1].json()
    assert body == {
        "model": "google/multimodal-embedding",
        "input": ["red", "one", "two", "grün", "  blue "],
        "dimensions": 3,
    }
    assert meshapi("embed", "--file", "-", stdin="three").status == 0
    assert gateway.requests[-1].json()["input"] == ["three"]


def test_vectors_that_come_in_base64_and_out_of_order(meshapi, gateway):
    """People and programs get numbers, whatever the server likes better."""
    data = [{"index": 1, "embedding": "AACAPw=="}, {"index": 0, "embedding": [0.5]}]
    gateway.inject(answered_with({"data": data}), times=2)
    assert meshapi("embed", "a", "b").out == "0.5\n1.0\n"
    value = json.loads(meshapi("embed", "a", "b", "--json").out)
    assert value == {"data": [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.5]}]}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a", "--model", "openai/gpt-0"], "there is no model 'openai/gpt-0'"),
        (["a", "--model", "openai/gpt-4o"], "does not do embeddings"),
        ([""], "should have at least 1 character"),
        (["--file", "MISSING"], "No such file or directory"),
        (["--file", "BINARY"], "binary: line 2: not a text in UTF-8"),
    ],
)
def test_texts_that_cannot_be_embedded(meshapi, tmp_path, arguments, part):
    """What is wrong is said in one line."""
    (tmp_path / "binary").write_bytes(b"a\n\xff\n")
    paths = {"MISSING": str(tmp_path / "missing"), "BINARY": str(tmp_path / "binary")}
    assert_one_line(meshapi("embed", *(paths.get(each, each) for each in arguments)), part)


def test_an_answer_with_too_few_vectors(meshapi, gateway):
    """Vectors that cannot be told which text they belong to are not printed."""
    gateway.inject(answered_with({"data": [{"embedding": [1.0]}]}))
    outcome = meshapi("embed", "a", "b")
    assert_one_line(outcome, "answered 2 texts with 1 vectors")
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("arguments", "part"), [([], "There is no text"), (["a", "--dimensions", "0"], "--dimensions")]
)
def test_embed_without_what_it_needs(meshapi, gateway, arguments, part):
    """A mistake in the command line has the usual status, and nothing is sent."""
    outcome = meshapi("embed", *arguments)
    assert outcome.status == 2
    assert part in outcome.err
    assert gateway.requests == []


def test_embed_on_a_terminal(terminal):
    """A terminal shows the beginning of each vector beside its text."""
    status, shown = terminal("embed", "[bold]red", "green", "--dimensions", "5")
    assert status == 0
    assert re.search(r"│ \[bold\]red │ 5 +│ \[-?0\.\d{4}(, -?0\.\d{4}){3}, \.\.\.\] +│", shown.text)


# batch


@over_each_transport
def test_batch_over_each_transport(meshapi, gateway, batch_file, tmp_path, transport):
    """The results are written as lines of JSON, and stderr tells how far the batch was, and what came of it."""
    output = tmp_path / "out.jsonl"
    file = batch_file(ask("a", "one"), "", ask("b", "two"))
    outcome = meshapi("batch", file, "--output", str(output), "--window", "48h", "--transport", transport)
    assert (outcome.status, outcome.out) == (0, "")
    results = json_lines(output.read_text())
    contents = {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in results}
    assert contents == {"a": "You said: one", "b": "You said: two"}
    first, *_, last = outcome.err.splitlines()
    assert re.fullmatch(r"batch_\d+: validating, 0 of 2 done|batch_\d+: completed, 2 of 2 done", first)
    assert last == f"2 of 2 requests answered; the results are in {output}"
    created = next(each.json() for each in gateway.requests if each.path == "/v1/batches")
    assert (created["endpoint"], created["completion_window"]) == ("/v1/chat/completions", "48h")


@over_each_transport
def test_requests_that_fail(meshapi, batch_file, transport):
    """A request that failed is named with its line, and makes the whole command fail."""
    outcome = meshapi("batch", batch_file(ask("a"), "", refused("b")), "--transport", transport)
    assert outcome.status == 1
    assert outcome.out.splitlines()[0] == "a\tok\tYou said: hi"
    assert outcome.out.splitlines()[1].startswith("b\tfailed\t[422 validation_error] body.messages.0.role should be")
    *_, listed, last = outcome.err.splitlines()
    assert listed.startswith("failed: line 3, 'b': [422 validation_error] body.messages.0.role should be")
    assert last == "Error: 1 of 2 requests failed"


def test_more_requests_fail_than_people_read(meshapi, batch_file):
    """Of many requests that failed the first are named, and all are counted."""
    outcome = meshapi("batch", batch_file(*(refused(f"id-{number}") for number in range(25))))
    assert outcome.err.count("failed: line") == 20
    assert outcome.err.endswith("... and 5 more failed\nError: 25 of 25 requests failed\n")


def test_batch_for_programs(meshapi, batch_file, tmp_path):
    """Without a file the results are printed as lines of JSON; with one, the batch itself is."""
    file = batch_file(ask("a"), refused("b"))
    status, out, _ = meshapi("batch", file, "--json")
    assert status == 1
    assert {each["custom_id"]: each["response"]["status_code"] for each in json_lines(out)} == {"a": 200, "b": 422}
    status, out, _ = meshapi("batch", file, "--json", "--output", str(tmp_path / "out.jsonl"))
    assert status == 1
    assert json.loads(out)["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert json_lines((tmp_path / "out.jsonl").read_text())[0]["custom_id"] == "a"


def test_batch_from_the_standard_input(meshapi, gateway):
    """Requests can be piped in."""
    outcome = meshapi("batch", "-", stdin=f"\n{json.dumps(ask('a'))}\n")
    assert (outcome.status, outcome.out) == (0, "a\tok\tYou said: hi\n")


@pytest.mark.parametrize(
    ("arguments", "named", "endpoint"),
    [
        ([], "/v1/embeddings", "/v1/embeddings"),
        (["--endpoint", "/v1/embeddings"], None, "/v1/embeddings"),
        (["--endpoint", "/v1/embeddings"], "/v1/embeddings", "/v1/embeddings"),
    ],
)
def test_the_endpoint_of_a_batch(meshapi, gateway, batch_file, arguments, named, endpoint):
    """The endpoint is that of the requests, and that of the command line for requests that name none."""
    request = {"custom_id": "a", "body": {"input": "hi"}, **({} if named is None else {"url": named})}
    outcome = meshapi("batch", batch_file(request), *arguments)
    assert outcome.status == 0
    custom_id, state, body = outcome.out.split("\t")
    assert (custom_id, state) == ("a", "ok")
    assert len(json.loads(body)["data"]) == 1
    assert next(each.json() for each in gateway.requests if each.path == "/v1/batches")["endpoint"] == endpoint


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ([ask("a"), "", "{not json"], "requests.jsonl: line 3: "),
        ([ask("a"), {"custom_id": "b"}], "requests.jsonl: line 2: body: Field required"),
        ([ask("a"), ask("b"), ask("a")], "requests.jsonl: line 3: custom_id 'a' is that of line 1 already"),
        (
            ["\ufeff", ask("a", url="/v1/chat/completions"), ask("b", url="/v1/responses")],
            "line 3: the url is '/v1/resp",
        ),
        (["\ufeff"], "requests.jsonl: there are no requests"),
        (["[]"], "line 1: a request is a JSON object, not list"),
    ],
)
def test_lines_that_are_no_requests(meshapi, gateway, batch_file, lines, part):
    """A line that cannot be used is named, and nothing is sent."""
    assert_one_line(meshapi("batch", batch_file(*lines)), part)
    assert gateway.requests == []


def test_a_file_that_there_is_not(meshapi, gateway, tmp_path):
    """A file that cannot be read is named, and nothing is sent."""
    assert_one_line(meshapi("batch", str(tmp_path / "missing.jsonl")), "No such file", "missing.jsonl")
    assert gateway.requests == []


def test_an_output_that_cannot_be_written(meshapi, gateway, batch_file, tmp_path):
    """That the results have nowhere to go is found out before anything is sent."""
    file = batch_file(ask("a"))
    for output, part in [
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "out.jsonl", "no such folder"),
        (file, "the file of the requests"),
    ]:
        outcome = meshapi("batch", file, "--output", str(output))
        assert outcome.status == 2
        assert part in outcome.err
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Give either FILE, or --resume BATCH_ID."),
        (["FILE", "--resume", "batch_1"], "Give either FILE, or --resume BATCH_ID."),
        (["FILE", "--poll-interval", "0"], "0.0 is not a number of seconds above 0"),
        (["FILE", "--poll-interval", "inf"], "inf is not a number of seconds above 0"),
        (["FILE", "--timeout", "nan"], "nan is not a number of seconds above 0"),
    ],
)
def test_batch_options_that_cannot_be_used(meshapi, gateway, batch_file, arguments, part):
    """A batch is not started that nobody would wait for."""
    outcome = meshapi("batch", *(batch_file(ask("a")) if each == "FILE" else each for each in arguments))
    assert outcome.status == 2
    assert part in outcome.err
    assert gateway.requests == []


def test_a_batch_that_does_not_complete(meshapi, gateway, batch_file):
    """How the batch ended is an error, after the results that there are."""
    results = [{"custom_id": "a", "response": {"status_code": 200, "body": {}}}]
    ended = {
        "id": "batch_1",
        "status": "expired",
        "results": results,
        "errors_detail": [{"code": "x", "message": NASTY}],
    }
    for fault in (UNSPOILT, UNSPOILT, answered_with(ended)):
        gateway.inject(fault)
    status, out, err = meshapi("batch", batch_file(ask("a"), ask("b")))
    assert (status, out) == (1, "a\tok\t{}\n")
    last = err.splitlines()[-1]
    assert last == f"Error: batch batch_1 is expired, with 1 of 2 requests answered; [x] {HARMLESS}"


def test_requests_without_a_result(meshapi, gateway, batch_file):
    """A request that a completed batch says nothing of has failed too."""
    gateway.inject(UNSPOILT, times=2)
    gateway.inject(answered_with({"id": "batch_1", "status": "completed"}))
    outcome = meshapi("batch", batch_file(ask("a")))
    assert outcome.err.endswith("Error: 1 of 1 requests failed, 1 of them without a result\n")


@pytest.mark.parametrize("answers", [[{}], [UNSPOILT, {}]], ids=["file", "batch"])
def test_a_gateway_that_gives_no_id(meshapi, gateway, batch_file, answers):
    """Without an id there is nothing to wait for."""
    for answer in answers:
        gateway.inject(answer if isinstance(answer, Fault) else answered_with(answer))
    assert_one_line(meshapi("batch", batch_file(ask("a"))), "no id")


def test_results_that_would_command_the_terminal(meshapi, gateway, batch_file):
    """A result's control codes do nothing, and do not break its line."""
    choices = [{"message": {"role": "assistant", "content": f"{NASTY}\n\tmore"}}]
    result = {"custom_id": NASTY, "response": {"status_code": 200, "body": {"choices": choices}}}
    gateway.inject(UNSPOILT, times=2)
    gateway.inject(answered_with({"id": NASTY, "status": "completed", "results": [result]}))
    outcome = meshapi("batch", batch_file(ask("a")))
    assert outcome.out == f"{HARMLESS}\tok\t{HARMLESS} more\n"
    assert "\x1b" not in outcome.err


def test_a_poll_that_fails(meshapi, gateway, batch_file):
    """A gateway that is unwell for a moment does not end the wait."""
    gateway.inject(UNSPOILT, times=2)
    gateway.inject(Fault(status=500))
    assert meshapi("batch", batch_file(ask("a")), "--poll-interval", "0.001").status == 0


def test_resume(meshapi, batch_file, tmp_path):
    """The results of a batch that was started before can be fetched by its id."""
    batch_id = re.match(r"(batch_\d+): ", meshapi("batch", batch_file(ask("a"), refused("b"))).err)[1]
    output = tmp_path / "out.jsonl"
    outcome = meshapi("batch", "--resume", batch_id, "--output", str(output))
    assert outcome.status == 1
    assert [each["custom_id"] for each in json_lines(output.read_text())] == ["a", "b"]
    *_, listed, last = outcome.err.splitlines()
    assert listed.startswith("failed: 'b': [422 validation_error]")
    assert last == f"Error: 1 of 2 requests failed; the results are in {output}"


def test_resume_a_batch_that_there_is_not(meshapi):
    """Of a batch that there is not, nobody is told how to fetch it."""
    outcome = meshapi("batch", "--resume", "batch_0")
    assert_one_line(outcome, "there is no batch 'batch_0'")
    assert "--resume" not in outcome.err


@over_each_transport
def test_a_batch_that_takes_too_long(still_gateway, meshapi, batch_file, transport):
    """--timeout bounds the wait, and the error says how to fetch the results later."""
    limits = ["--timeout", "0.02", "--poll-interval", "0.01"]
    status, out, err = meshapi("batch", batch_file(ask("a")), *limits, "--transport", transport)
    assert (status, out) == (1, "")
    assert re.search(
        r"^Error: \[(200 )?timeout\] .*; --timeout sets how many seconds to wait; batch (batch_\d+) goes on; "
        r"to fetch its results: meshapi batch --resume \2$",
        err.splitlines()[-1],
    )


def test_results_that_break_off(meshapi, gateway, batch_file, tmp_path):
    """If the results cannot be fetched to their end, the error says how to fetch them again."""
    gateway.inject(UNSPOILT, times=3)
    gateway.inject(Fault(cut_after=10))
    output = str(tmp_path / "the results.jsonl")
    address = ["--base-url", gateway.base_url]
    outcome = meshapi("batch", batch_file(ask("a")), "--output", output, *address)
    assert outcome.status == 1
    assert re.search(
        rf"; batch (batch_\d+) is through; to fetch its results: meshapi batch --resume \1 --output '{output}' "
        rf"--base-url {gateway.base_url}$",
        outcome.err.splitlines()[-1],
    )


@not_on_windows
@pytest.mark.parametrize("transport", ["httpx", "aiohttp", "trio"])
def test_ctrl_c_while_a_batch_is_waited_for(still_gateway, meshapi, batch_file, transport):
    """Ctrl-C says which batch goes on, and how to fetch its results, which then works."""
    command = [*chat_tests.INTERPRETER, chat_tests.MAIN_WITH_CTRL_C, "batch", batch_file(ask("a"))]
    with subprocess.Popen(
        [*command, "--transport", transport], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        alarm = threading.Timer(chat_tests.PATIENCE, process.kill)
        alarm.start()
        try:
            batch_id = re.match(r"(batch_\d+): validating, 0 of 1 done$", process.stderr.readline())[1]
            process.send_signal(signal.SIGINT)
            hint = f"batch {batch_id} goes on; to fetch its results: meshapi batch --resume {batch_id}\n"
            assert process.stderr.read() == hint
            assert process.stdout.read() == ""
            assert process.wait() == 130
        finally:
            alarm.cancel()
            process.kill()
    still_gateway.advance_batches("completed")
    resume = hint.split("meshapi ")[1].split()
    assert meshapi(*resume, "--transport", transport).out == "a\tok\tYou said: hi\n"


def test_ctrl_c_with_a_local_gateway(meshapi, no_key, batch_file, monkeypatch):
    """A batch of a local gateway ends with it, and nobody is told to fetch it."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("meshapi_transports._commands.batch._Job.ended", interrupt)
    status, out, err = meshapi("batch", batch_file(ask("a")))
    assert (status, out) == (130, "")
    assert re.fullmatch(r"batch batch_\d+ has ended with the local gateway", err.splitlines()[-1])


def test_ctrl_c_before_there_is_a_batch(meshapi, batch_file, monkeypatch):
    """Without a batch there is nothing to say."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("meshapi_transports._commands.batch._Job.params", interrupt)
    assert meshapi("batch", batch_file(ask("a"))) == (130, "", "")


def test_a_bar_of_progress(terminal, batch_file):
    """A terminal shows how far the batch is, and has its cursor back before the results are printed."""
    status, shown = terminal("batch", batch_file(ask("a"), ask("b")), streams=("stdout", "stderr"))
    assert status == 0
    assert re.search(r"batch_\d+: completed ━+ 2/2 ", shown.text)
    assert shown.getvalue().partition("\x1b[?25h")[2].splitlines() == [
        "a\tok\tYou said: hi",
        "b\tok\tYou said: hi",
        "2 of 2 requests answered",
    ]


@not_on_windows
def test_a_reader_that_has_seen_enough_of_a_batch(gateway, batch_file):
    """When the other end of the pipe is closed, as by head, the command ends without a word."""
    file = batch_file(ask("a"))
    with subprocess.Popen(
        [*chat_tests.SCRIPT, "batch", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert "Error" not in process.stderr.read()
        assert process.wait(chat_tests.PATIENCE) == 1
