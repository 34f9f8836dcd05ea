"""The pure tree: every method of the client, each making a call that does no I/O.  The face for blocking code."""

# Written by `python -m meshapi_transports._faces` from meshapi_core/client.py.  Do not edit: change the source, run the tool.

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from ..._sync import BaseMeshAPI

if TYPE_CHECKING:
    from .chat import Chat


class MeshAPI(BaseMeshAPI):
    """The client for blocking code."""

    @cached_property
    def chat(self) -> Chat:
        """Conversations with a model: ``chat.completions``."""
        from .chat import Chat

        return Chat(self._core.chat, self._transport)
