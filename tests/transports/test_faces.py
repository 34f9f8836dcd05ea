"""The two faces: written by the tool, current, and saying the same as the core."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import shutil

import pytest

import meshapi_core.resources
from meshapi_core import RequestOptions
from meshapi_transports import _async, _faces, _sync
from meshapi_transports._faces import __main__ as tool
from meshapi_transports._faces import _generator

FOLDER = pathlib.Path(_faces.__file__).parent
RESOURCES = sorted(path.stem for path in pathlib.Path(meshapi_core.resources.__path__[0]).glob("[a-z]*.py"))
COLOURS = ("_sync", "_async")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the faces, that the tool takes for its own."""
    for colour in COLOURS:
        shutil.copytree(FOLDER / colour, tmp_path / colour, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(tool, "__file__", str(tmp_path / "__main__.py"))
    return tmp_path


def test_faces_are_current(capsys):
    """The files that are checked in are what the tool would write, to the byte."""
    assert tool.main(["--check"]) == 0, capsys.readouterr().err


def test_check_compares_whole_files():
    """The same, without trusting the tool's own comparison."""
    wanted = _generator.faces()
    written = {
        path.relative_to(FOLDER).as_posix(): path.read_text("utf-8")
        for colour in COLOURS
        for path in (FOLDER / colour).glob("*.py")
    }
    assert written == wanted


OPTIONS_LINE = "    **options: what this call may say otherwise than its client: `RequestOptions`.\n"


def edited(copy):
    path = copy / "_async" / "chat.py"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    return path


def missing(copy):
    path = copy / "_sync" / "chat.py"
    path.unlink()
    return path


def left_over(copy):
    path = copy / "_sync" / "no_longer_there.py"
    path.write_text("", "utf-8")
    return path


@pytest.mark.parametrize("spoil", [edited, missing, left_over])
def test_stale_file(copy, capsys, spoil):
    """A file that was edited, is missing or is left over is named; writing puts it right."""
    path = spoil(copy)
    assert tool.main(["--check"]) == 1
    assert str(path) in capsys.readouterr().err
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    assert (copy / "_sync" / "chat.py").read_text("utf-8") == (FOLDER / "_sync" / "chat.py").read_text("utf-8")


def classes_of(resource):
    core = importlib.import_module(f"meshapi_core.resources.{resource}")
    for name, cls in vars(core).items():
        if inspect.isclass(cls) and cls.__module__ == core.__name__ and not name.startswith("_"):
            yield name, cls


def pairs(colour):
    """Each public method of the core, with that of the face."""
    for resource in RESOURCES:
        face = importlib.import_module(f"meshapi_transports._faces.{colour}.{resource}")
        for name, cls in classes_of(resource):
            assert inspect.getdoc(getattr(face, name)) == inspect.getdoc(cls)
            for method_name, method in vars(cls).items():
                if not method_name.startswith("_"):
                    yield method, vars(getattr(face, name))[method_name]


@pytest.mark.parametrize("colour", COLOURS)
def test_faces_say_what_the_core_says(colour):
    """Arguments, annotations and docstrings of a face are those of the core, the options spelled out in both."""
    compared = 0
    for core, face in pairs(colour):
        if not callable(core):
            assert inspect.getdoc(face) == inspect.getdoc(core)
            continue
        before, line, after = inspect.getdoc(core).partition(OPTIONS_LINE)
        told = inspect.getdoc(face)
        assert line
        assert told.startswith(before)
        assert told.endswith(after)
        assert all(told.count(f"\n    {name}: ") == 1 for name in RequestOptions.__annotations__)
        wanted = inspect.signature(core).parameters
        found = inspect.signature(face).parameters
        takes_options = "options" in wanted
        own = [parameter for name, parameter in wanted.items() if name != "options"]
        assert [str(parameter) for parameter in found.values()][: len(own)] == [
            # A file, which the core could not open, is welcome here.
            str(parameter).replace("'BatchLines'", "'BatchSource'")
            for parameter in own
        ]
        rest = list(found)[len(own) :]
        assert rest == (list(RequestOptions.__annotations__) if takes_options else [])
        assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in rest)
        assert all(found[name].default is None for name in rest)
        compared += 1
    assert compared >= 30


@pytest.mark.parametrize("colour", COLOURS)
def test_what_comes_back(colour):
    """A call's value comes back as it is, items and a stream as the face's; only the first is awaited."""
    driver, prefix = (_sync, "") if colour == "_sync" else (_async, "Async")
    for core, face in pairs(colour):
        if callable(core):
            shape, _, value = core.__annotations__["return"][:-1].partition("[")
            if shape == "Call":
                assert face.__annotations__["return"] == value
                assert inspect.iscoroutinefunction(face) == (colour == "_async")
            else:
                name = prefix + shape.replace("Call", "")
                assert hasattr(driver, name)
                assert face.__annotations__["return"] == f"{name}[{value}]"
                assert not inspect.iscoroutinefunction(face)


@pytest.mark.parametrize("colour", COLOURS)
def test_clients_have_every_resource(colour):
    """What the core's client offers, the faces' clients do too."""
    client = importlib.import_module(f"meshapi_transports._faces.{colour}.client")
    name = "MeshAPI" if colour == "_sync" else "AsyncMeshAPI"
    core = [name for name in vars(meshapi_core.MeshAPICore) if not name.startswith("_")]
    assert core == [name for name in vars(getattr(client, name)) if not name.startswith("_")]
