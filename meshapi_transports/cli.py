"""The door to the command line: ``meshapi chat "Write a haiku" --transport trio --stream``."""

from __future__ import annotations

import sys
from io import TextIOWrapper

__all__ = ["main"]


def main() -> None:
    """Run ``meshapi`` with the arguments of this process, and end the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A model writes what it likes; a terminal that cannot show all of it is no reason to stop.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from ._commands import meshapi
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("Error: the command line needs its library: pip install 'meshapi-transports[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    meshapi(prog_name="meshapi")
