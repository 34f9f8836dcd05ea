"""Errors as people read them: one line, which says what to do about it where that is known."""

from __future__ import annotations

import click

from meshapi_core import APIConnectionError, APITimeoutError, AuthenticationError

from .output import on_one_line

__all__ = ["one_line"]


def one_line(error: Exception, more: str = "") -> click.ClickException:
    """`error` as one line without control codes, whatever a server had put into it.

    Args:
        error: what went wrong.
        more: what else to say.
    """
    advice = [text for text in (_advice(error), more) if text]
    return click.ClickException(on_one_line("; ".join([str(error), *advice])))


def _advice(error: Exception) -> str:
    if isinstance(error, AuthenticationError):
        return "check the key in MESHAPI_API_KEY"
    if isinstance(error, APITimeoutError):
        return "--timeout sets how many seconds to wait"
    if isinstance(error, APIConnectionError):
        return "check the network, and --base-url if you gave one"
    return ""
