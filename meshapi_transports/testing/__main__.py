"""Run the local gateway in a terminal: ``python -m meshapi_transports.testing --port 8080``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from . import LocalGateway
from ._state import DEFAULT_BATCH_SECONDS

# Windows delivers Ctrl-C only between two waits.
_WAIT_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway until Ctrl-C or SIGTERM, and return the exit status."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    gateway = LocalGateway(options.host, options.port, options.token, batch_seconds=options.batch_seconds)
    try:
        gateway.start()
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    print(_greeting(gateway), flush=True)
    while not stop.wait(_WAIT_SECONDS):
        pass
    gateway.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m meshapi_transports.testing",
        description="Run a local emulation of the MeshAPI gateway, to try things without a key.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--token", help="the key that is let in (default: the same one always)")
    parser.add_argument(
        "--batch-seconds",
        type=float,
        default=DEFAULT_BATCH_SECONDS,
        help="how long a batch takes (default: %(default)s seconds)",
    )
    return parser


def _greeting(gateway: LocalGateway) -> str:
    refused = "\n".join(f"  {token}  {code}" for code, token in gateway.tokens.items())
    return f"""\
The local gateway is at {gateway.base_url} and lets in the key {gateway.token}

  export MESHAPI_BASE_URL={gateway.base_url}
  export MESHAPI_API_KEY={gateway.token}

Keys that are refused:
{refused}

Stop it with Ctrl-C."""


if __name__ == "__main__":
    sys.exit(main())
