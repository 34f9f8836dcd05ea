"""The page of guarantees: what it names is there, what is there it names, and its numbers are those of the tests."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

from .attacks import (
    recorded,
    test_cancellation,
    test_cuts,
    test_hostile,
    test_pauses,
    test_proxies,
    test_secrets,
    test_splits,
    test_tls,
)

ROOT = pathlib.Path(__file__).resolve().parents[1]
ATTACKS = ROOT / "tests" / "attacks"
PAGE = ROOT / "docs" / "guarantees.md"
TEXT = PAGE.read_text("utf-8")

# A test, or a program, that the page names.
NAMED = re.compile(r"\[(?P<file>\w+\.py)(?:::(?P<function>\w+))?\]\((?P<path>[^)]*)\)")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def named_in(text):
    """The files and tests that `text` names: (path, name of the function or None)."""
    return {((PAGE.parent / found["path"]).resolve(), found["function"]) for found in NAMED.finditer(text)}


def section(title):
    """What stands under the heading `title`."""
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


def cases_of(path):
    """The tests of a file by their names."""
    return {node.name: node for node in tree_of(path).body if isinstance(node, FUNCTIONS) and "test" in node.name}


def names_in(node):
    """The names, attributes and parameters that occur in `node`."""
    for each in ast.walk(node):
        if isinstance(each, (ast.Name, ast.Attribute, ast.arg)):
            yield each.arg if isinstance(each, ast.arg) else each.id if isinstance(each, ast.Name) else each.attr


def limited(path):
    """The tests of the file that are marked as failing, and those of which that may be so.

    The mark is in the test, or in a decorator that the file has a name for.  A function that makes the parameters of a
    test, itself or by way of others, may mark some.
    """
    nodes = tree_of(path).body
    marks, makers = {"xfail"}, {"xfail"}
    for node in nodes:
        if isinstance(node, ast.Assign) and makers & set(names_in(node.value)):
            named = {target.id for target in node.targets if isinstance(target, ast.Name)}
            makers |= named
            marks |= named if marks & set(names_in(node.value)) else set()
        elif isinstance(node, FUNCTIONS) and "test" not in node.name and makers & set(names_in(node)):
            makers.add(node.name)
    names = {name: set(names_in(node)) for name, node in cases_of(path).items()}
    certain = {name for name in names if marks & names[name]}
    return certain, certain | {name for name in names if makers & names[name]}


def helpers():
    """The files that the others import from."""
    for path in ATTACKS.glob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                yield from [node.module] if node.module else [alias.name for alias in node.names]


@pytest.mark.parametrize(
    ("path", "function"), sorted(named_in(TEXT), key=str), ids=lambda each: getattr(each, "name", each)
)
def test_what_the_page_names_is_there(path, function):
    """The file is, and so is the test in it."""
    assert path.is_file()
    assert ROOT / "tests" in path.parents
    if function is not None:
        assert function in cases_of(path)


def test_the_page_names_every_attack():
    """Each file of attacks is named, by a test in it or as a program; those that only help are not asked for."""
    of_others = {"conftest", *helpers()}
    files = {path for path in ATTACKS.glob("*.py") if path.stem not in of_others}
    assert files <= {path for path, _ in named_in(TEXT)}


def test_a_link_is_called_as_what_it_leads_to():
    """The name of a file in a link's text is that of the file."""
    for found in NAMED.finditer(TEXT):
        assert found["file"] == pathlib.PurePosixPath(found["path"]).name


def test_the_limits_of_the_page_are_those_of_the_tests():
    """What the attacks let fail is told under the known limits, with the test, and nothing else is."""
    told = named_in(section("Known limits"))
    assert told
    for path in ATTACKS.glob("test_*.py"):
        certain, possible = limited(path)
        here = {name for each, name in told if each == path}
        assert certain <= here <= possible, path.name


def test_a_result_says_whether_there_are_limits():
    """A promise holds; it says so if there are limits to what its tests show."""
    told = named_in(section("Known limits"))
    rows = [
        row.strip("| ").split(" | ") for row in TEXT.split("\n## Known limits\n")[0].split("\n") if NAMED.search(row)
    ]
    assert rows
    for *_, result, tests in rows:
        limits = told & named_in(tests)
        assert result == ("holds, but for [known limits](#known-limits)" if limits else "holds"), tests


def cuts():
    """How many cuts there are, of a stream, an answer and the heads of both."""
    of_streams = [
        test_cuts.cuts_of(way, "text/event-stream", b"".join(blocks), *recorded.chunked(blocks))
        for way, variant in test_cuts.ALL
        for blocks in [recorded.VARIANTS[variant]]
    ]
    of_answers = [
        test_cuts.cuts_of(way, "application/json", test_cuts.JSON, test_cuts.SIZED, test_cuts.SIZES)
        for way in test_cuts.WAYS
    ]
    head = test_cuts.SIZES.index(0) + recorded.chunked(recorded.VARIANTS["LF"])[1].index(0)
    return sum(len(list(each)) for each in of_streams), sum(len(list(each)) for each in of_answers), head * 2


def test_the_numbers_of_the_page_are_those_of_the_tests():
    """Where a number of cases can be counted, it is what the page says."""
    of_streams, of_answers, of_heads = cuts()
    hostile = (test_hostile.FRAMINGS, test_hostile.CHUNKS, test_hostile.STATUS_LINES, test_hostile.HEADER_FIELDS)
    wrong_http = sum(map(len, hostile))
    for phrase in (
        f"each byte of a stream, {of_streams:,} cuts",
        f"each byte, {of_answers:,} cuts",
        f"each byte of two heads, {of_heads:,} cuts",
        f"each byte, {sum(map(len, test_splits.DIVISIONS.values())):,} divisions",
        f"{len(test_secrets.TROUBLE)} kinds of trouble",
        f"{len(test_secrets.IDS)} ids in {len(test_secrets.METHODS)} methods",
        f"{len(test_secrets.BREAKING)} values",
        f"{len(test_pauses.DRIPS)} kinds of drip",
        f"{len(test_pauses.LEFTOVERS)} kinds of leftovers",
        f"{len(test_pauses.EVERYTHING)} ways to take for ever",
        f"{len(test_proxies.ANSWERS)} answers of a proxy",
        f"{len(test_tls.BAD)} kinds of bad certificates",
        f"{len(test_tls.STREAMS)} streams, {len(test_tls.ANSWERS)} answers",
        f"{wrong_http} kinds of wrong HTTP",
        f"{len(test_hostile.BODIES)} bodies",
        f"{len(test_hostile.ENDLESS)} things without end",
        f"{len(test_hostile.COSTLY)} costly answers",
        f"each step of the loop, in {len(test_cancellation.ACTS)} kinds of calls",
    ):
        assert f"| {phrase}" in TEXT, phrase
