"""A fixture for pytest: ``pytest_plugins = ["meshapi_transports.testing.pytest_plugin"]`` in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import LocalGateway


@pytest.fixture
def local_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalGateway]:
    """A local gateway for one test, which clients find by the environment.

    ``MESHAPI_BASE_URL`` and ``MESHAPI_API_KEY`` are those of the gateway, and ``MESHAPI_TOKEN`` is unset.
    """
    with LocalGateway() as gateway:
        monkeypatch.setenv("MESHAPI_BASE_URL", gateway.base_url)
        monkeypatch.setenv("MESHAPI_API_KEY", gateway.token)
        monkeypatch.delenv("MESHAPI_TOKEN", raising=False)
        yield gateway
