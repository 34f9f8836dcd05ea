"""What the attacks share with the tests of the transports: a clean environment, and the faces.

The helpers of those tests are imported alike: ``from ..transports.faces import create``.
"""

from __future__ import annotations

from ..transports.conftest import (
    anyio_backend,
    clean_environment,
    face,
    no_certificates,
    no_socket_is_left,
)

__all__ = ["anyio_backend", "clean_environment", "face", "no_certificates", "no_socket_is_left"]
