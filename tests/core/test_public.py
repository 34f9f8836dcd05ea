"""The one public door: every name is there, and is loaded only when it is asked for."""

import importlib
import subprocess
import sys
import textwrap

import pytest

import meshapi_core


@pytest.mark.parametrize("room", meshapi_core._ROOMS)
def test_each_room_offers_what_the_door_says(room):
    """The names listed at the door are those of the room's own __all__."""
    module = importlib.import_module(f"meshapi_core.{room}")
    assert sorted(meshapi_core._ROOMS[room]) == sorted(module.__all__)


def test_every_name_leads_to_its_object():
    """Each name is there, is the room's own object, and is found again without a detour."""
    for room, names in meshapi_core._ROOMS.items():
        for name in names:
            value = getattr(meshapi_core, name)
            assert value is getattr(importlib.import_module(f"meshapi_core.{room}"), name)
            assert vars(meshapi_core)[name] is value


def test_the_names_are_told():
    """dir() and __all__ know them, without any twice."""
    assert set(meshapi_core.__all__) <= set(dir(meshapi_core))
    assert len(set(meshapi_core.__all__)) == len(meshapi_core.__all__)
    assert {"MeshAPICore", "ChatCompletionParams", "NEED_DATA", "__version__"} <= set(meshapi_core.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    """With the message that Python itself would give."""
    with pytest.raises(AttributeError, match="module 'meshapi_core' has no attribute 'Typo'"):
        _ = meshapi_core.Typo
    assert not hasattr(meshapi_core, "Typo")


def test_a_star_import_brings_everything():
    """All of __all__, each under its name."""
    names = {}
    exec("from meshapi_core import *", names)
    assert set(meshapi_core.__all__) <= set(names)


def loaded_by(code):
    """The names of the modules that `code` makes a fresh interpreter load."""
    # Whatever measures or starts the interpreter may have loaded much before.
    script = f"import sys; before = set(sys.modules)\n{textwrap.dedent(code)}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


_NETWORK = {"httpx", "aiohttp", "requests", "urllib3", "trio", "anyio", "h11", "asyncio", "ssl", "http.client"}
_HEAVY = {*_NETWORK, "pydantic", "pydantic_core", "socket", "http", "email"}


@pytest.mark.does_io
def test_importing_the_package_loads_next_to_nothing():
    """Neither pydantic nor any HTTP library, nor the standard library's network."""
    loaded = loaded_by("import meshapi_core")
    assert not loaded & (_HEAVY | {"json", "dataclasses"})
    assert {name for name in loaded if name.startswith("meshapi_core.")} == {"meshapi_core._version"}


@pytest.mark.does_io
def test_the_machine_needs_no_pydantic():
    """What drives calls, and what decodes streams, can be had without the models."""
    loaded = loaded_by("""
        import meshapi_core
        meshapi_core.SSEDecoder, meshapi_core.Call, meshapi_core.MeshAPIError, meshapi_core.RetryPolicy
        meshapi_core.MeshAPICore(meshapi_core.MeshAPIConfig(token="t"))
    """)
    assert not loaded & _HEAVY


@pytest.mark.does_io
def test_a_whole_call_loads_no_network():
    """Not even the modules: from the params to the result."""
    loaded = loaded_by("""
        import meshapi_core as m
        core = m.MeshAPICore(m.MeshAPIConfig(token="t"))
        call = core.chat.completions.create(m.ChatCompletionParams(messages=[]))
        call.receive_response(200, {})
        call.receive_data(b"{}")
        call.receive_eof()
        call.result
    """)
    assert not loaded & _NETWORK
