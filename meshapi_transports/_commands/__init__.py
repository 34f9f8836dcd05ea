"""What ``meshapi`` can do, each command in its own module.

Neither pydantic nor rich is imported before a command needs it, so that ``meshapi --help`` answers at once.
"""

from __future__ import annotations

import warnings
from typing import Any, Optional, TextIO, Type, Union

import click

from meshapi_core import MeshAPIError, __version__

from . import batch, chat, compare, embed, models
from .errors import one_line
from .output import say

__all__ = ["meshapi"]

# What a shell reports of a program that Ctrl-C has ended: 128, and the number of the signal.
_INTERRUPTED = 130


class _Commands(click.Group):
    """Commands whose errors are a line for people, and never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            # Whoever read the output has seen enough; click ends without a word.
            raise
        except (MeshAPIError, ImportError, OSError, ValueError) as error:
            raise one_line(error) from None


def _show_warning(
    message: Union[Warning, str],
    category: Type[Warning],
    filename: str,
    lineno: int,
    file: Optional[TextIO] = None,
    line: Optional[str] = None,
) -> None:
    # Which line of the program warns is nothing to people at a shell.
    say(f"Warning: {message}")


@click.group(cls=_Commands)
@click.version_option(__version__)
def meshapi() -> None:
    """Talk to the MeshAPI gateway.

    The key is read from MESHAPI_API_KEY.  Without one, a local gateway answers, so that things can be tried.
    """


for _command in (chat.chat, models.models, compare.compare, embed.embed, batch.batch):
    meshapi.add_command(_command)
