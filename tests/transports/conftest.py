"""What the tests of the transports share: a clean environment, and the faces."""

from __future__ import annotations

import gc
import os
import time

import pytest

from .faces import FACES

CERTIFICATES = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No proxies, keys or password files of the machine that the tests run on."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("MESHAPI_") or name in CERTIFICATES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def no_certificates(clean_environment, monkeypatch, tmp_path):
    """No certificates of authorities, which some libraries take longer to read than a whole test without TLS takes."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def no_socket_is_left():
    """Every socket that a test opens is closed when it ends."""
    before = open_sockets()
    # What is there already is not the test's: the collection below need not look at it.
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()
    deadline = time.monotonic() + 2.0
    # A server that outlives the test closes its ends in its own time.
    while open_sockets() - before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert open_sockets() - before == set()


def open_sockets():
    """The sockets of this process, where the system tells."""
    sockets = set()
    if os.path.isdir("/proc/self/fd"):
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                continue
            if target.startswith("socket:"):
                sockets.add(target)
    return sockets


@pytest.fixture(params=FACES, ids=repr)
def face(request, no_socket_is_left):
    """Each face in turn."""
    return request.param


@pytest.fixture
def anyio_backend(face):
    """The loop that the face runs in."""
    return face.backend


def only(condition):
    """Run a test on the faces that `condition` holds for."""
    return pytest.mark.parametrize("face", [face for face in FACES if condition(face)], ids=repr, indirect=True)


# For what happens before a face's library is asked for anything.
BOTH_COLOURS = only(lambda face: face.name in ("stdlib", "trio"))
