"""The pure tree: every method of the client, each making a call that does no I/O.  The face for coroutines."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/client.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from ..._async import BaseAsyncMeshAPI

if TYPE_CHECKING:
    from .batches import Batches
    from .chat import Chat
    from .compare import Compare
    from .embeddings import Embeddings
    from .files import Files
    from .images import Images
    from .models import Models
    from .responses import Responses
    from .templates import Templates


class AsyncMeshAPI(BaseAsyncMeshAPI):
    """The client for coroutines."""

    @cached_property
    def chat(self) -> Chat:
        """Conversations with a model: ``chat.completions``."""
        from .chat import Chat

        return Chat(self._core.chat, self._transport)

    @cached_property
    def responses(self) -> Responses:
        """The Responses API: a model's answers, which the gateway can remember."""
        from .responses import Responses

        return Responses(self._core.responses, self._transport)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Texts, images and videos as vectors."""
        from .embeddings import Embeddings

        return Embeddings(self._core.embeddings, self._transport)

    @cached_property
    def images(self) -> Images:
        """Images, drawn and edited."""
        from .images import Images

        return Images(self._core.images, self._transport)

    @cached_property
    def compare(self) -> Compare:
        """The same question to several models."""
        from .compare import Compare

        return Compare(self._core.compare, self._transport)

    @cached_property
    def files(self) -> Files:
        """The inputs and outputs of batches."""
        from .files import Files

        return Files(self._core.files, self._transport)

    @cached_property
    def batches(self) -> Batches:
        """Many requests that are run later, at a lower price."""
        from .batches import Batches

        return Batches(self._core.batches, self._transport)

    @cached_property
    def models(self) -> Models:
        """Which models there are, what they can do and cost."""
        from .models import Models

        return Models(self._core.models, self._transport)

    @cached_property
    def templates(self) -> Templates:
        """Prompts that the gateway keeps and fills in."""
        from .templates import Templates

        return Templates(self._core.templates, self._transport)
