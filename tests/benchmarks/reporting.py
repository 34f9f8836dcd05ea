"""The results: kept as JSON, printed, and shown in docs/performance.md as a table and a picture."""

from __future__ import annotations

import importlib
import json
import math
import pathlib
import sys
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from . import machine
from .driver import Figure
from .rows import ROWS, Line

ROOT = machine.HERE.parents[1]
RECORDED = machine.HERE / "results.json"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"

HEADINGS = ["what", "on", "raw", "ours", "compared", "target", "met", "official SDK", "openai"]
NOTHING = "-"


class Results(NamedTuple):
    """What was measured, where, when, how often and of which versions."""

    machine: Dict[str, str]
    versions: Dict[str, str]
    rounds: int
    date: str
    lines: List[Line]


def results_of(lines: Iterable[Line], rounds: int) -> Results:
    """Results of this machine, of today."""
    return Results(machine.description(), machine.versions(), rounds, time.strftime("%Y-%m-%d"), list(lines))


def as_json(results: Results) -> str:
    """The results as JSON, a line of the table in each line, with as many digits as could mean something."""

    def short(value: Optional[float]) -> Optional[float]:
        return None if value is None else float(f"{value:.4g}")

    lines: List[str] = []
    for line in results.lines:
        figures = {
            maker: {name: short(value) for name, value in figure._asdict().items()}
            for maker, figure in line.figures.items()
        }
        values = {**line._asdict(), "judged": short(line.judged), "figures": figures}
        lines.append(json.dumps(values, ensure_ascii=False))
    head = json.dumps({**results._asdict(), "lines": []}, indent=1)
    return head.replace('"lines": []', '"lines": [\n  ' + ",\n  ".join(lines) + "\n ]") + "\n"


def from_json(text: str) -> Results:
    """The results that `as_json` has written."""
    values: Dict[str, Any] = json.loads(text)
    lines: List[Line] = []
    for line in values.pop("lines"):
        figures = {maker: Figure(**figure) for maker, figure in line.pop("figures").items()}
        lines.append(Line(figures=figures, **line))
    return Results(lines=lines, **values)


def merged(recorded: Results, new: Results) -> Results:
    """The new results, and the recorded ones of other rows, if those were measured alike."""
    if recorded._replace(date="", lines=[]) != new._replace(date="", lines=[]):
        return new
    rows = {line.row for line in new.lines}
    kept = [line for line in recorded.lines if line.row not in rows]
    return new._replace(lines=sorted([*kept, *new.lines], key=lambda line: ROWS.index(line.row)))


# In words


def number(value: Optional[float], unit: str = "") -> str:
    """Three digits, or as many as stand before the point."""
    if value is None:
        return NOTHING
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{0 if float(value).is_integer() and not unit else min(digits, 2)}f}"
    return f"{text} {unit}".strip()


def compared(line: Line) -> str:
    """What is held against the target, and how far the rounds lie apart."""
    own = line.figures["ours"]
    if line.judged is None:
        return NOTHING
    if line.judged != own.ratio:
        return number(line.judged, line.unit)
    spread = f" ({own.least:.2f} to {own.most:.2f})" if own.least != own.most else ""
    return f"{own.ratio:.2f}{spread}"


def cells(line: Line) -> List[str]:
    """A line of the table, as HEADINGS says."""
    met = {None: NOTHING, True: "yes", False: "no"}[line.is_met]

    def peer(maker: str) -> str:
        if maker not in line.figures:
            return NOTHING
        figure = line.figures[maker]
        return number(figure.value, line.unit) if figure.ratio is None else f"{figure.ratio:.2f}"

    raw = line.figures.get("raw")
    target = NOTHING if line.target is None else f"{line.target:g}"
    values = [number(raw.value, line.unit) if raw else NOTHING, number(line.figures["ours"].value, line.unit)]
    return [line.what, line.on, *values, compared(line), target, met, peer("official"), peer("openai")]


def surroundings(results: Results) -> str:
    """The machine, the rounds and the versions in a sentence."""
    where = ", ".join([*results.machine.values(), f"{results.rounds} rounds"])
    return f"{results.date}, {where}; " + ", ".join(f"{name} {version}" for name, version in results.versions.items())


def summary(results: Results) -> str:
    """How many targets are met."""
    judged = [line.is_met for line in results.lines if line.is_met is not None]
    return f"{sum(judged)} of {len(judged)} targets are met."


def show(results: Results) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS, caption=surroundings(results))
    for before, line in zip([None, *results.lines], results.lines):
        if before is not None and before.what != line.what:
            table.add_section()
        style = {None: "", True: "green", False: "red"}[line.is_met]
        table.add_row(*cells(line), style=style)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(summary(results))


TITLES = {
    "request": "One request",
    "chunk": "One stream chunk",
    "first": "The first chunk",
    "large": "Large answers, large requests",
    "at-once": "Many at once",
    "in-process": "Without sockets",
    "huge": "One huge event",
    "start": "Starting",
    "memory": "Memory",
    "connections": "Connections",
}


def markdown(results: Results) -> str:
    """The tables of the page, and what they were made with."""
    parts = [f"{surroundings(results)}. {summary(results)}"]
    head = [HEADINGS, ["---"] * len(HEADINGS)]
    for row, title in TITLES.items():
        lines = [line for line in results.lines if line.row == row]
        if lines:
            table = [f"| {' | '.join(each)} |" for each in [*head, *map(cells, lines)]]
            parts += [f"### {title}", "\n".join(table)]
    return "\n" + "\n\n".join(parts) + "\n\n"


def record(results: Results) -> None:
    """Write the results, the table and the picture to where they are kept."""
    if RECORDED.exists():
        results = merged(from_json(RECORDED.read_text("utf-8")), results)
    RECORDED.write_text(as_json(results), "utf-8")
    results = from_json(RECORDED.read_text("utf-8"))
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + markdown(results) + END + rest.partition(END)[2], "utf-8")
    draw(results, PICTURE)


# The picture

PANELS = {"one request": "One request", "stream chunk, an HTTP chunk an event": "One stream chunk"}
BARS = {
    "ours": ("meshapi-transports", "#1f6f8b"),
    "official": ("official SDK", "#e0a458"),
    "openai": ("openai", "#9a9a9a"),
}
WIDEST = 4.0


def draw(results: Results, path: pathlib.Path) -> None:
    """Draw CPU time over the raw library's, by transport."""
    # Typed in part, which would be told at every call.
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    pyplot.switch_backend("svg")
    style = {"svg.hashsalt": "performance", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with pyplot.rc_context(style):
        sheet, panels = pyplot.subplots(1, len(PANELS), figsize=(10, 6.4), sharey=True, squeeze=False)
        for axes, (what, title) in zip(panels[0], PANELS.items()):
            lines = [line for line in results.lines if line.what == what]
            fill(axes, title, lines)
        shapes = [pyplot.Rectangle((0, 0), 1, 1, color=color) for _, color in BARS.values()]
        names = [name for name, _ in BARS.values()]
        sheet.legend(shapes, names, loc="upper center", ncols=len(BARS), frameon=False)
        sheet.text(0.5, 0.01, caption(results), ha="center", linespacing=1.5)
        sheet.tight_layout(rect=(0, 0.09, 1, 0.95))
        sheet.savefig(path, metadata={"Date": None})
        pyplot.close(sheet)


def caption(results: Results) -> str:
    """What the picture shows, and where it is from."""
    shown = ("pydantic", "httpx", "httpx2", "aiohttp", "requests", "trio", "meshapi", "openai")
    versions = ", ".join(f"{name} {results.versions[name]}" for name in shown if name in results.versions)
    where = f"{results.date}, {', '.join(results.machine.values())}"
    return f"CPU time over that of the raw library, which is the line at 1\n{where}\n{versions}"


def fill(axes: Any, title: str, lines: List[Line]) -> None:
    """One panel: a group of bars for each transport."""
    height = 0.4
    axes.axvline(1.0, color="black", linewidth=1)
    for at, line in enumerate(lines):
        makers = [maker for maker in BARS if maker in line.figures]
        for turn, maker in enumerate(makers):
            ratio = line.figures[maker].ratio or 0.0
            y = at + (turn - (len(makers) - 1) / 2) * height
            axes.barh(y, min(ratio, WIDEST), height * 0.92, color=BARS[maker][1])
            if ratio <= WIDEST:
                # On white, where the line is behind it.
                white = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
                axes.text(ratio + 0.05, y, f"{ratio:.2f}", va="center", size=7.5, bbox=white)
            else:
                axes.text(WIDEST - 0.05, y, f"{ratio:.1f} →", va="center", ha="right", size=7.5)
    axes.set_title(title)
    axes.set_xlim(0, WIDEST)
    axes.set_yticks(range(len(lines)), [line.on for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
