"""The pure tree: every method of the client, each making a call that does no I/O."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Callable, Optional

from .config import MeshAPIConfig

# Resources are imported when they are first used: their models cost more than the rest of the core.
if TYPE_CHECKING:
    from .observing import Observer
    from .resources.batches import Batches
    from .resources.chat import Chat
    from .resources.compare import Compare
    from .resources.embeddings import Embeddings
    from .resources.files import Files
    from .resources.images import Images
    from .resources.models import Models
    from .resources.responses import Responses
    from .resources.templates import Templates

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
        observer: is told what the calls do, event by event; see `CallEvent`.  It must not raise.
    """

    def __init__(
        self,
        config: MeshAPIConfig,
        *,
        jitter: Callable[[], float] = _no_jitter,
        observer: Optional[Observer] = None,
    ) -> None:
        self.config = config
        self._jitter = jitter
        self._observer = observer

    def __repr__(self) -> str:
        return f"MeshAPICore({self.config!r})"

    @cached_property
    def chat(self) -> Chat:
        """Conversations with a model: ``chat.completions``."""
        from .resources.chat import Chat

        return Chat(self.config, self._jitter, self._observer)

    @cached_property
    def responses(self) -> Responses:
        """The Responses API: a model's answers, which the gateway can remember."""
        from .resources.responses import Responses

        return Responses(self.config, self._jitter, self._observer)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Texts, images and videos as vectors."""
        from .resources.embeddings import Embeddings

        return Embeddings(self.config, self._jitter, self._observer)

    @cached_property
    def images(self) -> Images:
        """Images, drawn and edited."""
        from .resources.images import Images

        return Images(self.config, self._jitter, self._observer)

    @cached_property
    def compare(self) -> Compare:
        """The same question to several models."""
        from .resources.compare import Compare

        return Compare(self.config, self._jitter, self._observer)

    @cached_property
    def files(self) -> Files:
        """The inputs and outputs of batches."""
        from .resources.files import Files

        return Files(self.config, self._jitter, self._observer)

    @cached_property
    def batches(self) -> Batches:
        """Many requests that are run later, at a lower price."""
        from .resources.batches import Batches

        return Batches(self.config, self._jitter, self._observer)

    @cached_property
    def models(self) -> Models:
        """Which models there are, what they can do and cost."""
        from .resources.models import Models

        return Models(self.config, self._jitter, self._observer)

    @cached_property
    def templates(self) -> Templates:
        """Prompts that the gateway keeps and fills in."""
        from .resources.templates import Templates

        return Templates(self.config, self._jitter, self._observer)
