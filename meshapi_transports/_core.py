"""What every client makes of its arguments: the core that it drives."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Iterable, Mapping, Optional, TypedDict, Union
from urllib.parse import urlsplit

from meshapi_core import MESH_API_VERSION, MeshAPIConfig, MeshAPICore, Observer, RetryPolicy, Timeout

from ._observing import Announcer

__all__ = ["ClientOptions", "make_core"]


class ClientOptions(TypedDict, total=False):
    """The arguments that every client takes, on every transport.

    Keys:
        base_url: the gateway's address; by default ``MESHAPI_BASE_URL``, else the public gateway.
        token: the key; by default ``MESHAPI_API_KEY``, else ``MESHAPI_TOKEN``.
        timeout: seconds to wait for the connection and for the next bytes (of a stream: the next event), 60 by
            default; or a `Timeout`; ``None`` waits without limit.
        max_retries: how often a request may be sent again, 3 by default.
        retry: what is sent again and when; `max_retries`, where given too, has the last word on the count.
        api_version: pins the shapes of the answers; ``None`` leaves the choice to the gateway.
        default_headers: header fields to send with every request.
        max_answer_size: how many bytes an answer may have, 256 MiB by default; ``None`` is without limit.
        max_event_size: how many bytes one event of a stream may have; without limit by default.
        observers: callables that are told what each call does, a `CallEvent` at a time: to count, to trace, to show
            progress.  ``logging.getLogger("meshapi")`` is told the same in words, at the levels DEBUG and INFO.
    """

    base_url: Optional[str]
    token: Optional[str]
    timeout: Union[float, Timeout, None]
    max_retries: Optional[int]
    retry: Optional[RetryPolicy]
    api_version: Optional[str]
    default_headers: Optional[Mapping[str, str]]
    max_answer_size: Optional[int]
    max_event_size: Optional[int]
    observers: Optional[Iterable[Observer]]


_OPTION_NAMES = frozenset(ClientOptions.__annotations__)


def make_core(options: ClientOptions, injected_timeout: Optional[Timeout]) -> MeshAPICore:
    """The core for a client's arguments, what is missing taken from the environment.

    Args:
        options: what the caller gave.
        injected_timeout: the limits that he set on the library's object that he gave; they stand unless `options`
            has others.

    Raises:
        TypeError: there is no such argument.
        ValueError: there is no token, or an argument cannot be used.
    """
    unknown = options.keys() - _OPTION_NAMES
    if unknown:
        raise TypeError(
            f"unknown argument {min(unknown)!r}; beside the library's own object, a client takes "
            f"{', '.join(sorted(_OPTION_NAMES))}"
        )
    policy = options.get("retry") or RetryPolicy()
    max_retries = options.get("max_retries")
    if max_retries is not None:
        policy = replace(policy, max_retries=max_retries)
    config = MeshAPIConfig.from_environment(
        os.environ,
        base_url=options.get("base_url"),
        token=options.get("token"),
        timeout=options.get("timeout", injected_timeout or Timeout()),
        retry=policy,
        api_version=options.get("api_version", MESH_API_VERSION),
        default_headers=options.get("default_headers"),
        max_answer_size=options.get("max_answer_size", MeshAPIConfig.max_answer_size),
        max_event_size=options.get("max_event_size"),
    )
    if _is_overheard(config.base_url):
        # The client that is being made is what its user wrote: past this function and the two that make a client.
        warnings.warn(f"the key travels in clear to {config.base_url}: use https://", stacklevel=4)
    observer = Announcer(options.get("observers") or (), config.token)
    return MeshAPICore(config, jitter=_jitter, observer=observer)


def _is_overheard(base_url: str) -> bool:
    """Whether what is sent to `base_url` leaves this machine without being encrypted."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    # Imported here, as below: what few programs need is not for each to load.
    import ipaddress

    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _jitter() -> float:
    import random

    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing
