"""What commands draw on a terminal: tables, replies side by side, and a bar of progress.

Only this module imports rich.  All that is shown is plain text to it, never markup, and without control codes.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Generator, Iterable, List, Optional, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .output import on_one_line, printable

if TYPE_CHECKING:
    from .compare import Replies, Reply

__all__ = ["ProgressBar", "print_table", "side_by_side"]

_FRAMES_PER_SECOND = 12
# A column that is narrower breaks most lines in the middle of a thought.
_NARROWEST_COLUMN = 28
_LEAST_LINES = 3
# The borders of a panel: above and below, and at the sides with the blanks inside them.
_BORDER_LINES = 2
_BORDER_COLUMNS = 4


def _console(*, stderr: bool = False) -> Console:
    file = sys.stderr if stderr else sys.stdout
    return Console(file=file, markup=False, emoji=False, highlight=False)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], right_aligned: Sequence[str] = ()) -> None:
    """Print a table.

    Args:
        titles: what stands above the columns.
        rows: the cells, as many to a row as there are titles.
        right_aligned: the titles above numbers.
    """
    table = Table()
    for position, title in enumerate(titles):
        table.add_column(
            Text(title),
            justify="right" if title in right_aligned else "left",
            style="cyan" if position == 0 else "",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _console().print(table)


@contextmanager
def side_by_side(replies: Replies) -> Generator[Callable[[], None], None, None]:
    """Shows replies side by side while they grow, and below them how they compare; in the end all of it stays."""
    page = _Page(replies)
    # Nothing else is printed meanwhile, so that nothing has to be redirected.
    live = Live(
        page,
        console=_console(),
        refresh_per_second=_FRAMES_PER_SECOND,
        vertical_overflow="crop",
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        try:
            # It is drawn again by itself, as often as people can see.
            yield lambda: None
        finally:
            page.is_final = True


class _Page:
    """Replies as panels, as large as the screen has room for; whole, however long, once `is_final`."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.is_final = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A copy: the thread that draws is not the one that reads the stream.
        replies = list(self._replies.of_models.items())
        columns = max(1, min(len(replies), options.max_width // _NARROWEST_COLUMN))
        rows = -(-len(replies) // columns)
        comparison = self._replies.comparison
        verdict = (
            None
            if not comparison
            else self._panel(
                console,
                f"comparison by {self._replies.comparison_model or 'the gateway'}",
                Text(printable(comparison)),
                width=options.max_width,
                lines=max(console.height // 3 - _BORDER_LINES, _LEAST_LINES),
                is_complete=self._replies.is_compared,
            )
        )
        left = console.height - 1 - (console.height // 3 if comparison else 0)
        grid = Table.grid(expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        panels = [
            self._panel(
                console,
                model,
                _content(reply),
                width=options.max_width // columns,
                lines=max(left // rows - _BORDER_LINES, _LEAST_LINES),
                is_complete=reply.is_complete,
                is_failed=reply.error is not None,
                subtitle=_subtitle(reply),
            )
            for model, reply in replies
        ]
        for start in range(0, len(panels), columns):
            grid.add_row(*panels[start : start + columns])
        yield grid
        if verdict is not None:
            yield verdict

    def _panel(
        self,
        console: Console,
        title: str,
        content: Text,
        *,
        width: int,
        lines: int,
        is_complete: bool,
        is_failed: bool = False,
        subtitle: Optional[str] = None,
    ) -> Panel:
        if not self.is_final:
            content = _last_lines(console, content, width - _BORDER_COLUMNS, lines)
        return Panel(
            content,
            title=Text(on_one_line(title)),
            subtitle=subtitle and Text(subtitle),
            border_style="red" if is_failed else "green" if is_complete else "yellow",
        )


def _content(reply: Reply) -> Text:
    content = Text(printable(reply.text))
    if reply.error is not None:
        content.append(f"{chr(10) if reply.text else ''}failed: {on_one_line(reply.error)}", style="red")
    return content


def _subtitle(reply: Reply) -> Optional[str]:
    parts: List[str] = []
    if reply.latency_ms is not None:
        parts.append(f"{reply.latency_ms:,.0f} ms")
    if reply.tokens is not None:
        parts.append(f"{reply.tokens:,} tokens")
    return ", ".join(parts) or None


def _last_lines(console: Console, content: Text, width: int, count: int) -> Text:
    """The end of `content`, which is what people watch while it grows."""
    lines = content.wrap(console, max(width, 1))
    return content if len(lines) <= count else Text("\n").join(lines[-count:])


class ProgressBar:
    """How far a batch is, as a bar on the standard error, which is no part of the output."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=_console(stderr=True),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID = self._progress.add_task("uploading", total=None)
        self._progress.start()

    def show(self, status: str, done: int, total: Optional[int]) -> None:
        """Show that the batch is in a status, and how many of its requests are done."""
        self._progress.update(self._task, description=on_one_line(status), completed=done, total=total)

    def stop(self) -> None:
        """Leave the bar as it is, for what is printed next.  Stopping twice does nothing."""
        self._progress.stop()
