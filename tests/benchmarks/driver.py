"""The processes of the contenders, told in turns what to do."""

from __future__ import annotations

import contextlib
import json
import select
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, Generator, Iterable, List, NamedTuple, Optional

from . import machine

PATIENCE = 60.0

Samples = Dict[str, List[float]]


class Failed(Exception):
    """A contender could not do what it was told."""


class Process:
    """The process of one contender."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        # Some libraries have much to say when they are ended in the middle; it is shown if one ends unasked.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [*machine.PROGRAM, "--as", name, "--url", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=machine.surroundings(),
        )

    def tell(self, do: str, patience: float = PATIENCE, **arguments: Any) -> Any:
        """Have something done, and return what comes of it.

        Raises:
            Failed: it failed, or takes too long.
        """
        incoming, outgoing = self._process.stdout, self._process.stdin
        assert incoming is not None
        assert outgoing is not None
        try:
            outgoing.write(json.dumps({"do": do, **arguments}) + "\n")
            outgoing.flush()
            if not select.select([incoming], [], [], patience)[0]:
                self._process.kill()
                raise Failed(f"{self.name}, {do}: not within {patience:g} s")
            line = incoming.readline()
        except OSError:
            line = ""
        told = json.loads(line) if line else {"failed": f"ended\n{self._last_words()}"}
        if "failed" in told:
            raise Failed(f"{self.name}, {do}: {told['failed']}")
        return told["done"]

    def _last_words(self) -> str:
        self._said.seek(0)
        return "".join(self._said.readlines()[-3:])

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=2)
        self._process.kill()
        self._process.wait()
        self._said.close()


class Company:
    """The processes that are measured together."""

    def __init__(self, names: Iterable[str], url: str) -> None:
        self._processes = [Process(name, url) for name in names]

    def __enter__(self) -> Company:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.close()

    def in_turns(self, rounds: int, do: str, names: Optional[Iterable[str]] = None, **arguments: Any) -> Samples:
        """Have all of them do something in each round, A B C, C B A, ...; who fails has no samples.

        What is done before the first round, to warm up, counts only if there are no rounds.
        """
        wanted = None if names is None else set(names)
        samples: Samples = {each.name: [] for each in self._processes if wanted is None or each.name in wanted}
        for turn in range(rounds + 1):
            for process in self._processes[:: -1 if turn % 2 else 1]:
                if process.name in samples:
                    try:
                        samples[process.name].append(process.tell(do, **arguments))
                    except Failed as failure:
                        print(failure, file=sys.stderr)
                        del samples[process.name]
        return {name: costs[1:] or costs for name, costs in samples.items()}


@contextlib.contextmanager
def alone(name: str, url: str) -> Generator[Process, None, None]:
    """A process that starts from nothing, for one measurement."""
    process = Process(name, url)
    try:
        yield process
    finally:
        process.close()


class Figure(NamedTuple):
    """What was measured of one contender: the median, and its ratio to the reference: median, least and most."""

    value: float
    ratio: Optional[float] = None
    least: Optional[float] = None
    most: Optional[float] = None


def figure(costs: List[float], reference: Optional[List[float]] = None, scale: float = 1.0) -> Figure:
    """The median of `costs`, times `scale`; and of its ratio to the reference, taken in each round."""
    value = statistics.median(costs) * scale
    if not reference:
        return Figure(value)
    ratios = [cost / other for cost, other in zip(costs, reference)]
    return Figure(value, statistics.median(ratios), min(ratios), max(ratios))
