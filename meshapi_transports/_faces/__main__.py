"""Writes the faces: ``python -m meshapi_transports._faces``, or with ``--check`` tells whether they are current."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Dict, List, Optional

from ._generator import faces


def main(argv: Optional[List[str]] = None) -> int:
    """Write or check the files; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m meshapi_transports._faces", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not what it would be")
    arguments = parser.parse_args(argv)
    here = pathlib.Path(__file__).parent
    wanted = {here / path: text for path, text in faces().items()}
    written = [path for folder in ("_sync", "_async") for path in (here / folder).glob("*.py")]
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    stale += [path for path in written if path not in wanted]
    if arguments.check:
        for path in stale:
            print(f"{path} is not current; run python -m meshapi_transports._faces", file=sys.stderr)
        return 1 if stale else 0
    _write(wanted, written)
    return 0


def _write(wanted: Dict[pathlib.Path, str], written: List[pathlib.Path]) -> None:
    for path in written:
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
