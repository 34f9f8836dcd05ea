"""``meshapi batch``: run the requests of a file, and fetch what came of them."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack, contextmanager
from typing import (
    TYPE_CHECKING,
    Dict,
    Generator,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    TextIO,
    Union,
)

import click

from meshapi_core import MeshAPIError

from .chat import text_of_answer
from .errors import one_line
from .files import opened
from .gateway import base_url_option, drive, find_gateway, json_option, transport_option
from .output import document, is_terminal, json_text, load_screen, on_one_line, say, write_json

if TYPE_CHECKING:
    from meshapi_core import BatchObject, BatchRequestItem, BatchResult, CreateBatchParams, FileObject

    from .._faces._async.client import AsyncMeshAPI
    from .._faces._sync.client import MeshAPI

__all__ = ["batch"]

_CHAT = "/v1/chat/completions"
_POLL_SECONDS = 5.0
# A local gateway is through with a batch in a second.
_LOCAL_POLL_SECONDS = 0.1
_MOST_LISTED_FAILURES = 20


def _check_seconds(ctx: click.Context, param: click.Parameter, seconds: Optional[float]) -> Optional[float]:
    """Refuse a time that cannot be waited for, before a batch is started that nobody would then wait for."""
    # Written so that NaN fails too.
    if seconds is not None and not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{seconds} is not a number of seconds above 0.", ctx, param)
    return seconds


@click.command()
@click.argument("file", required=False)
@click.option("--output", metavar="FILE", help="Write the results to FILE, as lines of JSON.")
@click.option("--resume", metavar="BATCH_ID", help="Wait for a batch that was started before, and fetch its results.")
@click.option(
    "--endpoint", help=f"What the requests are for, where they do not say it.  [default: their url, or {_CHAT}]"
)
@click.option("--window", default="24h", show_default=True, help="Within which time the batch is to be completed.")
@click.option(
    "--poll-interval",
    type=float,
    callback=_check_seconds,
    help=f"Seconds from one look at the batch to the next.  [default: {_POLL_SECONDS:g}]",
)
@click.option(
    "--timeout",
    type=float,
    callback=_check_seconds,
    help="Seconds to wait for the batch in all.  [default: no limit]",
)
@transport_option
@json_option
@base_url_option
@click.pass_context
def batch(
    ctx: click.Context,
    file: Optional[str],
    output: Optional[str],
    resume: Optional[str],
    endpoint: Optional[str],
    window: str,
    poll_interval: Optional[float],
    timeout: Optional[float],
    transport: str,
    as_json: bool,
    base_url: Optional[str],
) -> None:
    """Run the requests of FILE as a batch, wait for it, and fetch the results.

    FILE holds a request on each line, as JSON: {"custom_id": "a", "body": {...}}; "-" stands for the standard input.
    Each line is checked before anything is sent.

    Ctrl-C leaves the batch running; --resume fetches its results later.  The results are written to --output, else
    printed: with --json as lines of JSON.  With both, the batch itself is printed as JSON.

    It is an error if the batch is not completed, or if any of its requests failed.
    """
    if (file is None) == (resume is None):
        raise click.UsageError("Give either FILE, or --resume BATCH_ID.")
    _check_output(output, file)
    source = None if file is None else _read_source(file, endpoint, window)
    screen = load_screen() if is_terminal(sys.stderr) else None
    with ExitStack() as own:
        gateway = own.enter_context(find_gateway(base_url, "it echoes the prompts"))
        progress: _Progress = _ProgressLines() if screen is None else screen.ProgressBar()
        own.callback(progress.stop)
        job = _Job(
            source if source is not None else str(resume),
            progress,
            _Report(source, _Results(output, as_json, own)),
            poll_interval or (_LOCAL_POLL_SECONDS if gateway.is_local else _POLL_SECONDS),
            timeout,
        )
        is_own_address = ctx.get_parameter_source("base_url") is click.core.ParameterSource.COMMANDLINE
        with _telling_how_to_resume(job, output, base_url if is_own_address else None, gateway.is_local):
            drive(transport, gateway.options, lambda client: _run(client, job), lambda client: _run_async(client, job))
    assert job.batch is not None
    if as_json and output is not None:
        write_json(document(job.batch))
    job.report.conclude(job.batch, output)


class _Source(NamedTuple):
    """The requests to run, and where each stands."""

    requests: List[BatchRequestItem]
    line_of: Dict[str, int]
    endpoint: str
    window: str


class _Job:
    """A batch from its upload to its results; what is known of it survives an interruption.

    Args:
        source: what to run, or the id of a batch that was started before.
        progress: shows how far it is.
        report: takes the results.
        poll_interval: seconds from one look at it to the next.
        timeout: seconds to wait for it, in all.
    """

    def __init__(
        self,
        source: Union[_Source, str],
        progress: _Progress,
        report: _Report,
        poll_interval: float,
        timeout: Optional[float],
    ) -> None:
        self.source = source
        self.report = report
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.seen_id: Optional[str] = None
        self.batch: Optional[BatchObject] = None
        self.progress = progress

    def params(self, file: FileObject) -> CreateBatchParams:
        """What to create, once the requests are uploaded."""
        from meshapi_core import CreateBatchParams

        assert isinstance(self.source, _Source)
        if not file.id:
            raise ValueError("the gateway gave the file no id")
        return CreateBatchParams(
            input_file_id=file.id, endpoint=self.source.endpoint, completion_window=self.source.window
        )

    def started(self, batch: BatchObject) -> str:
        """Take note that the batch is there, and return its id."""
        if not batch.id:
            raise ValueError("the gateway gave the batch no id")
        self.seen(batch)
        return batch.id

    def seen(self, batch: BatchObject) -> None:
        """Show how far the batch is."""
        self.seen_id = batch.id
        total = _count(batch, "total")
        if total is None and isinstance(self.source, _Source):
            total = len(self.source.requests)
        done = (_count(batch, "completed") or 0) + (_count(batch, "failed") or 0)
        self.progress.show(f"{batch.id}: {batch.status}", done, total)

    def ended(self, batch: BatchObject) -> None:
        """Take note that the batch is through."""
        self.batch = batch
        # The results may be printed on the same terminal.
        self.progress.stop()
        self.report.start()


def _run(client: MeshAPI, job: _Job) -> None:
    with client:
        if isinstance(job.source, str):
            batch_id = job.source
        else:
            file = client.batches.upload(job.source.requests)
            batch_id = job.started(client.batches.create(job.params(file)))
        batch = client.batches.wait(
            batch_id, poll_interval=job.poll_interval, on_progress=job.seen, timeout=job.timeout
        )
        job.ended(batch)
        with client.batches.results(batch) as results:
            for result in results:
                job.report.take(result)


async def _run_async(client: AsyncMeshAPI, job: _Job) -> None:
    async with client:
        if isinstance(job.source, str):
            batch_id = job.source
        else:
            file = await client.batches.upload(job.source.requests)
            batch_id = job.started(await client.batches.create(job.params(file)))
        batch = await client.batches.wait(
            batch_id, poll_interval=job.poll_interval, on_progress=job.seen, timeout=job.timeout
        )
        job.ended(batch)
        async with client.batches.results(batch) as results:
            async for result in results:
                job.report.take(result)


def _count(batch: BatchObject, name: str) -> Optional[int]:
    value = (batch.request_counts or {}).get(name)
    return value if isinstance(value, int) else None


def _read_source(file: str, endpoint: Optional[str], window: str) -> _Source:
    """The requests of `file`, each checked.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no request; the message names it, counted from 1.
    """
    from meshapi_core.resources.batches import read_requests

    numbers: List[int] = []

    def numbered(lines: Iterable[Union[str, bytes]]) -> Iterator[Union[str, bytes]]:
        for number, line in enumerate(lines, 1):
            text = line if isinstance(line, str) else line.decode("utf-8-sig", "replace")
            # Only these hold a request.
            if text.strip("\ufeff").strip():
                numbers.append(number)
            yield line

    try:
        with opened(file) as lines:
            requests = read_requests(numbered(lines))
        endpoint = endpoint or next((each.url for each in requests if _names_url(each) and each.url), _CHAT)
        for position, (number, each) in enumerate(zip(numbers, requests)):
            if not _names_url(each):
                requests[position] = each.model_copy(update={"url": endpoint})
            elif each.url != endpoint:
                raise ValueError(f"line {number}: the url is {each.url!r}, but the batch is for {endpoint!r}")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return _Source(requests, {each.custom_id: number for number, each in zip(numbers, requests)}, endpoint, window)


def _names_url(request: BatchRequestItem) -> bool:
    return "url" in request.model_fields_set and request.url is not None


def _check_output(output: Optional[str], file: Optional[str]) -> None:
    """Find out that the results cannot be written before they are paid for."""
    if output is None:
        return
    folder = os.path.dirname(os.path.abspath(output))
    if os.path.isdir(output) or not os.path.isdir(folder):
        raise click.UsageError(f"--output {output}: {'is a folder' if os.path.isdir(output) else 'no such folder'}.")
    if not os.access(output if os.path.exists(output) else folder, os.W_OK):
        raise click.UsageError(f"--output {output}: may not be written.")
    if file is not None and os.path.exists(file) and os.path.exists(output) and os.path.samefile(file, output):
        raise click.UsageError("--output is the file of the requests.")


@contextmanager
def _telling_how_to_resume(
    job: _Job, output: Optional[str], base_url: Optional[str], is_local: bool
) -> Generator[None, None, None]:
    """Whatever interrupts the job, people learn that the batch is there, and how to get at its results."""
    try:
        yield
    except KeyboardInterrupt:
        job.progress.stop()
        if job.seen_id is not None:
            say(_how_to_resume(job, output, base_url, is_local))
        raise
    except BrokenPipeError:
        raise
    except (MeshAPIError, OSError, ValueError) as error:
        if job.seen_id is None:
            raise
        raise one_line(error, _how_to_resume(job, output, base_url, is_local)) from None


def _how_to_resume(job: _Job, output: Optional[str], base_url: Optional[str], is_local: bool) -> str:
    if is_local:
        return f"batch {job.seen_id} has ended with the local gateway"
    command = ["meshapi", "batch", "--resume", str(job.seen_id)]
    command += ["--output", output] if output is not None else []
    command += ["--base-url", base_url] if base_url is not None else []
    what = "goes on" if job.batch is None else "is through"
    return f"batch {job.seen_id} {what}; to fetch its results: {' '.join(map(shlex.quote, command))}"


class _Progress(Protocol):
    """Shows how far a batch is."""

    def show(self, status: str, done: int, total: Optional[int]) -> None: ...

    def stop(self) -> None: ...


class _ProgressLines:
    """How far a batch is, as a line for each change: for logs, which also keep the batch's id that way."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, status: str, done: int, total: Optional[int]) -> None:
        line = f"{status}, {done} of {'?' if total is None else total} done"
        if line != self._last:
            self._last = line
            say(line)

    def stop(self) -> None:
        pass


class _Results:
    """Where the results go: into a file, or to the standard output as JSON or as text.

    Args:
        output: the file's path, if any.
        as_json: whether a program reads what is printed.
        own: closes the file in the end.
    """

    def __init__(self, output: Optional[str], as_json: bool, own: ExitStack) -> None:
        self._output = output
        self._as_json = as_json
        self._own = own
        self._file: Optional[TextIO] = None

    def start(self) -> None:
        """Open the file: not before there are results, which replace what it holds.

        Raises:
            OSError: it cannot be written.
        """
        if self._output is not None:
            file = open(self._output, "w", encoding="utf-8")  # noqa: SIM115 - the stack closes it
            self._file = self._own.enter_context(file)

    def write(self, result: BatchResult) -> None:
        """Write one result."""
        if self._file is not None:
            self._file.write(f"{json_text(document(result))}\n")
        elif self._as_json:
            write_json(document(result))
        else:
            cells = (result.custom_id or "", "ok" if result.is_success else "failed", _told(result))
            click.echo("\t".join(map(on_one_line, cells)))


def _told(result: BatchResult) -> str:
    """The text of the answer to a request, or why there is none."""
    if not result.is_success:
        return _failure(result)
    try:
        text = text_of_answer(result.completion())
    except ValueError:
        text = ""
    # Something else than a chat, or one without text.
    return text or json_text(document(result)["response"].get("body"))


def _failure(result: BatchResult) -> str:
    status = result.response.status_code if result.response is not None else None
    code = result.error.code if result.error is not None else None
    told = result.error.message if result.error is not None else None
    # In place of a result there may be an error that is about the whole batch, or that stands on its own.
    beside = result.model_extra or {}
    code = code or beside.get("code")
    told = told or beside.get("message")
    where = " ".join(str(part) for part in (status, code) if part)
    return f"{f'[{where}] ' if where else ''}{told or 'no answer'}"


class _Report:
    """What came of the requests, counted; those that failed are remembered.

    Args:
        source: the requests, if they are known.
        results: where each goes.
    """

    def __init__(self, source: Optional[_Source], results: _Results) -> None:
        self._line_of = {} if source is None else source.line_of
        self._unanswered = dict(self._line_of)
        self._results = results
        self._successes = 0
        self._failures = 0
        self._listed: List[str] = []
        self._reasons: List[str] = []

    def start(self) -> None:
        """Get ready for the results."""
        self._results.start()

    def take(self, result: BatchResult) -> None:
        """Add one result."""
        if result.custom_id is None:
            # An error of the batch as a whole.
            self._reasons.append(_failure(result))
            return
        self._results.write(result)
        self._unanswered.pop(result.custom_id, None)
        if result.is_success:
            self._successes += 1
            return
        self._failures += 1
        if len(self._listed) < _MOST_LISTED_FAILURES:
            self._listed.append(f"{self._where(result.custom_id)}: {_failure(result)}")

    def conclude(self, batch: BatchObject, output: Optional[str]) -> None:
        """Say what came of it all.

        Raises:
            ClickException: not every request was answered.
        """
        for line in self._listed:
            say(f"failed: {line}")
        if self._failures > len(self._listed):
            say(f"... and {self._failures - len(self._listed)} more failed")
        unanswered = self._unanswered_requests(batch)
        total = self._successes + self._failures + unanswered
        where = "" if output is None else f"; the results are in {output}"
        if batch.status != "completed":
            reasons = "".join(f"; {reason}" for reason in self._reasons)
            message = f"batch {batch.id} is {batch.status}, with {self._successes} of {total} requests answered"
            raise click.ClickException(on_one_line(message + reasons + where))
        if self._failures or unanswered:
            missing = f", {unanswered} of them without a result" if unanswered else ""
            message = f"{self._failures + unanswered} of {total} requests failed{missing}{where}"
            raise click.ClickException(on_one_line(message))
        say(f"{total} of {total} requests answered{where}")

    def _where(self, custom_id: str) -> str:
        number = self._line_of.get(custom_id)
        return repr(custom_id) if number is None else f"line {number}, {custom_id!r}"

    def _unanswered_requests(self, batch: BatchObject) -> int:
        if self._line_of:
            return len(self._unanswered)
        return max((_count(batch, "total") or 0) - self._successes - self._failures, 0)
