"""Measure what the clients cost, beside the libraries that they are over and beside other clients."""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from typing import List, Sequence

from . import machine, reporting, rows, server, worker


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    options = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    options.add_argument("--only", action="append", choices=rows.ROWS, help="a row to measure; may be given again")
    options.add_argument("--no-peers", action="store_true", help="leave out the official SDK and openai-python")
    options.add_argument(
        "--quick", action="store_true", help="do everything once: it shows that all runs, not how fast"
    )
    options.add_argument(
        "--rounds", type=int, default=rows.ROUNDS, metavar="N", help="how often to measure each in turns (%(default)s)"
    )
    options.add_argument("--record", action="store_true", help="write the table and the picture of docs/performance.md")
    options.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there")
    options.add_argument("--as", dest="role", help=argparse.SUPPRESS)
    options.add_argument("--url", help=argparse.SUPPRESS)
    return options


def measure(asked: argparse.Namespace) -> None:
    """Measure what was asked for, and show it."""
    machine.pin(0)
    start = time.monotonic()
    lines: List[rows.Line] = []
    with server.running() as running:
        makers = [] if asked.no_peers else ["official", "openai"]
        bench = rows.Bench(running, makers, rounds=0 if asked.quick else asked.rounds)
        for line in rows.measured(bench, asked.only or rows.ROWS):
            if not lines or lines[-1].what != line.what:
                print(f"{time.monotonic() - start:4.0f} s: {line.what}", file=sys.stderr)
            lines.append(line)
    results = reporting.results_of(lines, bench.rounds)
    reporting.show(results)
    if asked.json:
        asked.json.write_text(reporting.as_json(results), "utf-8")
    if asked.record:
        reporting.record(results)


def main(arguments: Sequence[str]) -> int:
    """Measure, or be one of the processes that are measured."""
    asked = parser().parse_args(arguments)
    if asked.role == "server":
        server.main()
    elif asked.role:
        worker.main(asked.role, asked.url)
    else:
        measure(asked)
    return 0
