"""The TLS context that clients share which were given none of their own."""

from __future__ import annotations

import os
import ssl
import threading
from functools import cache, lru_cache
from typing import Any, Callable, Iterable, Optional, Tuple

__all__ = ["late_context", "shared_context"]

_lock = threading.Lock()


def shared_context(make: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> ssl.SSLContext:
    """The context of this process for HTTP/1.1 over TLS; made when it is first asked for, which takes 20 to 70 ms.

    It belongs to everyone: who changes it changes the connections of others.

    Args:
        make: makes the context the way that the users of a library expect; each such function has its own.
    """
    # Both variables are read by every `make`, so a change of them has to be seen.
    authorities = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    with _lock:
        return _context(make, authorities)


@lru_cache(maxsize=8)
def _context(make: Callable[[], ssl.SSLContext], authorities: Tuple[Optional[str], Optional[str]]) -> ssl.SSLContext:
    context = make()
    context.set_alpn_protocols(["http/1.1"])
    return context


class _LateContext(ssl.SSLContext):
    make: Callable[[], ssl.SSLContext]

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Leave the shared context as it was made."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return shared_context(self.make).wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return shared_context(self.make).wrap_bio(*args, **options)


@cache
def late_context(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """What stands for `shared_context` where a library wants a context long before it connects.

    By itself it trusts no one.
    """
    context = _LateContext(ssl.PROTOCOL_TLS_CLIENT)
    context.make = make
    return context
