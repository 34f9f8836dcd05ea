"""The pure tree: every method of the client, each making a call that does no I/O."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Callable

from .config import MeshAPIConfig

# Resources are imported when they are first used: their models cost more than the rest of the core.
if TYPE_CHECKING:
    from .resources.chat import Chat

__all__ = ["MeshAPICore"]


def _no_jitter() -> float:
    return 1.0


class MeshAPICore:
    """Makes the calls to the gateway, for you to drive over whatever moves bytes.

    ``core.chat.completions.create(params)`` gives a `Call`, ``.stream(params)`` a `StreamCall`; making one sends
    nothing.  A core holds no connection and no mutable state: one serves any number of calls, threads and loops.

    Args:
        config: where the gateway is, the token, and how patient to be.
        jitter: gives the factor for each wait between retries, such as ``lambda: random.uniform(0.8, 1.2)``; without
            it, waits are exact.
    """

    def __init__(self, config: MeshAPIConfig, *, jitter: Callable[[], float] = _no_jitter) -> None:
        self.config = config
        self._jitter = jitter

    def __repr__(self) -> str:
        return f"MeshAPICore({self.config!r})"

    @cached_property
    def chat(self) -> Chat:
        """Conversations with a model: ``chat.completions``."""
        from .resources.chat import Chat

        return Chat(self.config, self._jitter)
