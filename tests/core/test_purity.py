"""The core's promise, kept by its imports: nothing in it could do I/O, look at a clock or draw lots."""

import ast
import pathlib
import socket
import time

import pytest

import meshapi_core

HOME = pathlib.Path(meshapi_core.__file__).parent

# Of the standard library, by file.  Nothing in these moves a byte, sleeps, or asks what time it is.
STDLIB = {
    "__init__.py": {"__future__", "importlib", "typing"},
    "_json.py": {"__future__", "json", "typing", "re"},
    "_version.py": set(),
    "actions.py": {"__future__", "dataclasses", "enum", "typing", "urllib.parse"},
    "call.py": {"__future__", "abc", "enum", "typing"},
    "exchange.py": {"__future__", "abc", "collections", "contextlib", "itertools", "typing"},
    "steps.py": {"__future__", "collections", "typing"},
    "client.py": {"__future__", "functools", "typing"},
    "config.py": {"__future__", "dataclasses", "re", "typing", "urllib.parse"},
    "errors.py": {"__future__", "email.utils", "math", "re", "typing"},
    "observing.py": {"__future__", "dataclasses", "typing"},
    "patience.py": {"__future__", "math", "typing"},
    "retry.py": {"__future__", "dataclasses", "typing"},
    "sse.py": {"__future__", "typing"},
    "models/__init__.py": set(),
    "models/*": {"array", "base64", "math", "sys", "typing"},
    "resources/__init__.py": set(),
    "resources/*": {"__future__", "dataclasses", "functools", "itertools", "json", "math", "re", "typing"}
    | {"urllib.parse"},
}
THIRD_PARTY = {
    "call.py": {"typing_extensions"},
    "models/*": {"pydantic", "pydantic_core", "typing_extensions"},
    "resources/*": {"pydantic", "typing_extensions"},
}

# Which rooms of the core a file may import: down the house, never up.
_MACHINE = {
    "_json",
    "_version",
    "actions",
    "call",
    "config",
    "errors",
    "exchange",
    "observing",
    "retry",
    "sse",
    "steps",
}
_PUBLIC = (_MACHINE - {"_json", "exchange", "steps"}) | {"client", "models.*", "patience"}
ROOMS = {
    "__init__.py": _PUBLIC,
    "_json.py": set(),
    "_version.py": set(),
    "actions.py": set(),
    "call.py": {"actions", "config", "errors"},
    "exchange.py": {"_json", "actions", "call", "config", "errors", "observing", "retry", "sse"},
    "steps.py": {"actions", "call", "config", "errors"},
    "client.py": {"config", "observing", "resources.*"},
    "config.py": {"_version", "retry"},
    "errors.py": {"_json", "actions", "sse"},
    "observing.py": {"_json", "actions", "call", "errors"},
    "patience.py": {"actions", "config"},
    "retry.py": {"actions"},
    "sse.py": set(),
    "models/__init__.py": set(),
    "models/*": {"actions", "errors", "models.*"},
    "resources/__init__.py": set(),
    "resources/*": {*_MACHINE, "models.*", "resources.*"},
}

# Names that reach what is not imported by name.
BACK_DOORS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}


def rule(table, file):
    return table.get(file, table.get(f"{file.partition('/')[0]}/*", set()))


def imports_of(source, file):
    """What a file imports: (absolute modules, rooms of the core), wherever in it the import stands."""
    package = file.split("/")[:-1]
    absolute, rooms = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            absolute.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                absolute.add(node.module)
                continue
            base = package[: len(package) - node.level + 1]
            if node.module:
                rooms.add(".".join([*base, node.module]))
            else:
                rooms.update(".".join([*base, alias.name]) for alias in node.names)
    return absolute, rooms


def violations(source, file):
    """Why `source` may not be the core's `file`; nothing if it may."""
    absolute, rooms = imports_of(source, file)
    allowed_rooms = rule(ROOMS, file)
    # Only what is read: a field may be called "input".
    names = {
        node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    wrong_rooms = {
        room for room in rooms if room not in allowed_rooms and f"{room.partition('.')[0]}.*" not in allowed_rooms
    }
    return (absolute - rule(STDLIB, file) - rule(THIRD_PARTY, file)) | wrong_rooms | (names & BACK_DOORS)


FILES = sorted(path.relative_to(HOME).as_posix() for path in HOME.rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_each_file_imports_only_what_it_may(file):
    """By its source, so that an import inside a function is seen too."""
    assert violations((HOME / file).read_text(encoding="utf-8"), file) == set()


def test_no_rule_is_left_over():
    """Each rule has its file, and allows nothing that is not needed any more."""
    for table in (STDLIB, ROOMS, THIRD_PARTY):
        for pattern, allowed in table.items():
            files = [
                file for file in FILES if file == pattern or (pattern.endswith("/*") and rule(table, file) is allowed)
            ]
            assert files, pattern
            used = set()
            for file in files:
                absolute, rooms = imports_of((HOME / file).read_text(encoding="utf-8"), file)
                used |= absolute | rooms | {f"{room.partition('.')[0]}.*" for room in rooms if "." in room}
            if pattern != "resources/*" or table is not ROOMS:
                assert allowed <= used, pattern


PROMISE_BREAKERS = [
    "import socket",
    "import time",
    "import random",
    "import os",
    "import asyncio",
    "import threading",
    "import datetime",
    "from datetime import datetime",
    "import urllib.request",
    "import http.client",
    "import subprocess",
    "import uuid",
    "import secrets",
    "import httpx",
    "def later():\n    import select",
    "from {home} import client",
    "from {home}client import MeshAPICore",
    "open('x')",
    "print('x')",
    "__import__('socket')",
    "eval('1')",
]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (file, line)
        for file in FILES
        for line in PROMISE_BREAKERS
        if "{home}" not in line or "client" not in rule(ROOMS, file)
    ],
)
def test_what_breaks_the_promise_would_be_seen(file, line):
    """In each file of the core, at the top or inside a function."""
    line = line.format(home="." * (file.count("/") + 1))
    source = (HOME / file).read_text(encoding="utf-8")
    assert violations(f"{source}\n{line}\n", file)


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda path: socket.socket(),
        lambda path: socket.getaddrinfo("localhost", 80),
        lambda path: path.write_text("x"),
        lambda path: path.read_text(),
        lambda path: (path.parent / "none").open(),
        lambda path: time.sleep(0),
        lambda path: __import__("os").system("true"),
        lambda path: __import__("subprocess").run(["true"]),
    ],
    ids=["socket", "getaddrinfo", "write", "read", "open", "sleep", "system", "subprocess"],
)
@pytest.mark.does_io
def test_the_audit_hook_bites(forbidden, watch, tmp_path):
    """While it is armed, the forbidden fails; else the promise would be kept by nobody."""
    (tmp_path / "file").write_text("x")
    with watch.armed() as seen, pytest.raises(AssertionError):
        forbidden(tmp_path / "file")
    assert seen
