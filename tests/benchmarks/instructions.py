"""Count the instructions of one request and of one stream chunk, and compare them with the recorded figures.

``nox -s instructions`` fails if there are more than 5 % more; ``nox -s instructions -- --record`` records them.  The
count does not depend on what else the machine does, so a slow-down is seen without a clock.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List

HERE = pathlib.Path(__file__).resolve().parent
RECORDED = HERE / "instructions.json"
COUNT = 500
TOLERANCE = 0.05

Counts = Dict[str, int]


def key() -> str:
    """What the counts depend on, beside our own code."""
    core = importlib.metadata.version("pydantic_core")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, pydantic_core {core}, {platform.machine()}"


def counts_of(written: List[str]) -> Counts:
    """What one request and one chunk take, from what callgrind has written between the marks.

    There is a part before the first mark, and for each hot path one of N, one of 2 N, and one up to the next mark.
    What does not grow with N, the marks included, is in both parts, and goes out with their difference.
    """
    totals = [
        int(match[1]) for text in written if (match := re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE))
    ]
    counts: Counts = {}
    for at, name in enumerate(("request", "chunk")):
        once, twice = totals[3 * at + 1 : 3 * at + 3]
        counts[name] = round((twice - once) / COUNT)
    return counts


def count() -> Counts:
    """Run the hot paths under callgrind."""
    with tempfile.TemporaryDirectory() as directory:
        # What would make the counts differ from run to run; malloc's own, unlike pymalloc's, do.
        environment = {"PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc", "PATH": os.defpath}
        valgrind = [
            "valgrind",
            "--tool=callgrind",
            "--dump-before=getppid",
            f"--callgrind-out-file={directory}/counted",
        ]
        command = [*valgrind, sys.executable, "-s", str(HERE / "hot_paths.py"), str(COUNT)]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"valgrind has failed:\n{done.stderr}")
        files = sorted(pathlib.Path(directory).glob("counted.*"), key=lambda path: int(path.suffix[1:]))
        return counts_of([path.read_text() for path in files])


def main(arguments: List[str]) -> int:
    """Count, and compare or record."""
    options = argparse.ArgumentParser(prog="nox -s instructions --", description=__doc__)
    options.add_argument("--record", action="store_true", help="record the counts")
    asked = options.parse_args(arguments)
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing: apt-get install valgrind")
    counts = count()
    recorded: Dict[str, Counts] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    before = recorded.get(key(), {})
    print(key())
    slower: List[str] = []
    for name, now in counts.items():
        then = before.get(name)
        print(f"{name}: {now:,} instructions", f"({now / then - 1:+.1%} of {then:,})" if then else "")
        if then and now > then * (1 + TOLERANCE):
            slower.append(name)
    if asked.record:
        RECORDED.write_text(json.dumps({**recorded, key(): counts}, indent=2, sort_keys=True) + "\n")
        print("recorded")
    elif not before:
        print("Nothing is recorded for these versions: nox -s instructions -- --record")
    elif slower:
        print(f"More than {TOLERANCE:.0%} slower: {', '.join(slower)}")
        return 1
    elif any(now < before[name] * (1 - TOLERANCE) for name, now in counts.items()):
        print("Recorded, that would be seen if it were lost again: nox -s instructions -- --record")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
