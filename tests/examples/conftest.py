"""What the tests of the examples share: a gateway, and an environment that is nobody's."""

from __future__ import annotations

import os

import pytest

from meshapi_transports.testing import LocalGateway

from .harness import is_of_the_desk

# Before it is imported: its tests are no less worth a message for being inherited.
pytest.register_assert_rewrite(f"{__name__.rpartition('.')[0]}.behaviour")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No address, key or proxy of the machine that the tests run on."""
    for name in list(os.environ):
        if is_of_the_desk(name):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def running_gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway):
    """A local gateway that has seen no request yet."""
    running_gateway.reset()
    return running_gateway
