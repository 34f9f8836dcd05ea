"""What the attacks share with the tests of the transports: a clean environment, and the faces.

The helpers of those tests are imported alike: ``from ..transports.faces import create``.
"""

from __future__ import annotations

import pytest

from ..transports.conftest import (
    anyio_backend,
    clean_environment,
    face,
    no_certificates,
    no_socket_is_left,
)

__all__ = ["anyio_backend", "clean_environment", "face", "no_certificates", "no_socket_is_left", "patient_drain"]


@pytest.fixture
def patient_drain(monkeypatch):
    """The end of a stream's framing is waited for as long as it takes, for tests that count connections.

    Where the machine is busy, half a second may be too short for a server of this very process.
    """
    for module in ("_sync", "_async"):
        monkeypatch.setattr(f"meshapi_transports.{module}.DRAIN_SECONDS", 30.0)
