"""The doors: what importing costs, what every adapter offers, and what it says when its library is missing."""

from __future__ import annotations

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import meshapi_core
import meshapi_transports

ADAPTERS = ("httpx", "httpx2", "aiohttp", "requests", "trio")
LIBRARIES = {
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "anyio",
    "aiohttp",
    "opentelemetry",
    "yarl",
    "requests",
    "urllib3",
    "trio",
    "h11",
    "starlette",
    "uvicorn",
}
FOLDER = pathlib.Path(meshapi_transports.__file__).parent


def run(program):
    """Run a program in a fresh interpreter; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(module):
    return set(run(f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})").split())


@pytest.mark.parametrize(
    "module", ["meshapi_core", "meshapi_transports", "meshapi_transports.stdlib", "meshapi_transports.testing.raw"]
)
def test_importing_loads_no_library(module):
    """Until an adapter is asked for, no HTTP library is loaded."""
    loaded = loaded_by(module)
    wanted = {"starlette", "uvicorn", "h11"} if module.startswith("meshapi_transports.testing") else set()
    assert loaded & LIBRARIES <= wanted | {"anyio"} if wanted else not loaded & LIBRARIES


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_importing_an_adapter_loads_no_other(adapter):
    """An adapter loads its own library and none of the others'."""
    loaded = loaded_by(f"meshapi_transports.{adapter}")
    assert adapter in loaded
    assert not loaded & (set(ADAPTERS) - {adapter})


@pytest.mark.parametrize("adapter", [*ADAPTERS, "stdlib"])
def test_public_types(adapter):
    """An adapter offers every public object of the core, the same one."""
    module = importlib.import_module(f"meshapi_transports.{adapter}")
    for name in meshapi_core.__all__:
        assert getattr(module, name) is getattr(meshapi_core, name)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_an_adapter_does_not_have(adapter):
    """Other names are an AttributeError that names the module."""
    module = importlib.import_module(f"meshapi_transports.{adapter}")
    with pytest.raises(AttributeError, match=rf"meshapi_transports\.{adapter}.*no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize(
    ("adapter", "clients"),
    [
        ("httpx", ("MeshAPI", "AsyncMeshAPI")),
        ("aiohttp", ("AsyncMeshAPI",)),
        ("requests", ("MeshAPI",)),
        ("trio", ("AsyncMeshAPI", "ConnectionPool")),
    ],
)
def test_clients(adapter, clients):
    """Each adapter has the clients that its library can be, each with its stream."""
    module = importlib.import_module(f"meshapi_transports.{adapter}")
    for name in clients:
        assert getattr(module, name).__doc__
    assert hasattr(module, "MeshAPI") == ("MeshAPI" in clients) == hasattr(module, "Stream")
    assert hasattr(module, "AsyncMeshAPI") == ("AsyncMeshAPI" in clients) == hasattr(module, "AsyncStream")


@pytest.mark.parametrize(("adapter", "library"), [(name, name) for name in ADAPTERS] + [("trio", "h11")])
def test_missing_library(adapter, library):
    """Where its library is not installed, an adapter says what to install."""
    said = run(
        f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
try:
    import meshapi_transports.{adapter}
except ImportError as error:
    print(error)
"""
    )
    assert f"pip install 'meshapi-transports[{adapter}]'" in said


@pytest.mark.parametrize("adapter", [path.stem for path in sorted(FOLDER.glob("[a-z]*.py"))])
def test_adapters_do_not_import_each_other(adapter):
    """An adapter is built on the common rooms alone."""
    tree = ast.parse((FOLDER / f"{adapter}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            room = (node.module or "").partition(".")[0]
            assert room not in ADAPTERS, f"line {node.lineno} imports {room}"
            assert node.level == 1


@pytest.mark.parametrize("room", [path.name for path in sorted(FOLDER.glob("_[a-z]*.py"))])
def test_rooms_do_not_import_adapters(room):
    """No common room knows an adapter, or loads a library at its top level, except those that are made of one."""
    tree = ast.parse((FOLDER / room).read_text("utf-8"))
    made_of = {"_trio_pool.py": {"trio", "h11"}, "_trio_stream.py": {"trio"}, "_httpx_family.py": {"anyio"}}
    allowed = made_of.get(room, set())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            assert (node.module or "").partition(".")[0] not in ADAPTERS
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & (LIBRARIES - allowed)
