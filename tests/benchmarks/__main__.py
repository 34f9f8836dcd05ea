"""``python tests/benchmarks --help``: started as a script, so that it measures the package that is installed."""

from __future__ import annotations

import pathlib
import sys

# This directory is a package to import from, not a place where top-level modules are.
sys.path[0:1] = []
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
