"""The rules that every transport keeps, each of which can be checked on yours.

With pytest, three lines do, and each rule is a test of its own::

    from meshapi_transports.testing.conformance import RULES, Subject

    @pytest.mark.parametrize("rule", RULES, ids=str)
    def test_rule(rule):
        rule.check(Subject(my_transport.MeshAPI))

Without pytest::

    for broken in check_all(Subject(my_transport.MeshAPI)):
        print(broken)

The client talks to servers on 127.0.0.1, whose every byte is the rule's, and nothing is faked in between.  While a rule
is being checked, the environment of this process has no proxies, and a password file that knows every host.

A client for trio needs its loop named: ``Subject(AsyncMeshAPI, backend="trio")``.  What a library cannot do is said
with the reason: ``Subject(MeshAPI, without={"https": "the library speaks no TLS"})``.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence

from .._async import BaseAsyncMeshAPI
from .._sync import BaseMeshAPI
from ._bench import TOKEN, Bench, Client, Unmet, clean_environment
from ._rules import WRITTEN, Written

__all__ = ["MATTERS", "RULES", "BrokenRule", "Rule", "Subject", "check_all"]

_BACKENDS = ("blocking", "asyncio", "trio")


class BrokenRule(AssertionError):
    """A client does not keep a rule.

    Attributes:
        rule: the rule.
        expected: what should have happened.
        happened: what did.
    """

    def __init__(self, rule: Rule, expected: str, happened: str) -> None:
        super().__init__(rule, expected, happened)
        self.rule = rule
        self.expected = expected
        self.happened = happened

    def __str__(self) -> str:
        return (
            f"{self.rule.name}: {self.rule.text}\n"
            f"  expected: {self.expected}\n"
            f"  happened: {self.happened}\n"
            f"  what to do: {self.rule.remedy}"
        )


def _nothing() -> Dict[str, str]:
    return {}


@dataclass(frozen=True)
class Subject:
    """A client whose transport is to be checked.

    Attributes:
        make: makes the client: its class, or a function that takes `base_url`, `token`, `timeout`, `retry`,
            `max_retries`.  For clients of coroutines it is called in the running loop.
        backend: ``"blocking"``, or the loop that coroutines are run in: ``"asyncio"`` or ``"trio"``.  ``None`` looks at
            the client: coroutines are run in asyncio.
        without: what the library cannot do, by the name of a rule or of its `Rule.matter`, with the reason.  These
            rules are skipped.
        patience: seconds to wait for what should come at once; more for a slow machine.

    Raises:
        ValueError: there is no such backend, rule or matter, or a reason is missing.
    """

    make: Callable[..., Any]
    backend: Optional[str] = None
    without: Mapping[str, str] = field(default_factory=_nothing)
    patience: float = 3.0

    def __post_init__(self) -> None:
        if self.backend is not None and self.backend not in _BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, or None, not {self.backend!r}")
        unknown = self.without.keys() - MATTERS - {rule.name for rule in RULES}
        if unknown:
            raise ValueError(f"without: there is no rule or matter {min(unknown)!r}; matters are {sorted(MATTERS)}")
        if not all(self.without.values()):
            raise ValueError("without: say the reason, for whoever reads it later")


@dataclass(frozen=True)
class Rule:
    """One thing that every transport does, or never does.

    Attributes:
        name: its name.
        matter: what it is about; several rules share one.
        text: the rule in one sentence.
        remedy: what to do about a client that does not keep it.
        needs_coroutines: whether it says nothing to blocking code.
    """

    name: str
    matter: str
    text: str
    remedy: str
    needs_coroutines: bool
    _written: Written = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def check(self, subject: Subject) -> None:
        """Check that `subject` keeps this rule; it takes a moment, and a few seconds where the client hangs.

        Raises:
            BrokenRule: it does not.
            unittest.SkipTest: the rule is none for this subject, or cannot be checked on this system.  unittest and
                pytest report that as a skipped test.
        """
        reason = subject.without.get(self.name) or subject.without.get(self.matter)
        if reason:
            raise unittest.SkipTest(reason)
        with clean_environment():
            backend = subject.backend or _backend_of(subject.make)
            if self.needs_coroutines and backend == "blocking":
                raise unittest.SkipTest("a rule for coroutines")
            bench = Bench(subject.make, backend, subject.patience)
            try:
                bench.run(self._written.function)
            except unittest.SkipTest:
                raise
            except Unmet as unmet:
                expected, happened, cause = unmet.expected, unmet.happened, unmet.__cause__
            except BaseException as error:
                expected, happened, cause = "no exception but those of meshapi_core", f"{error!r} came through", error
            else:
                return
        if bench.complaints:
            happened += f"; the server says: {bench.complaints}"
        raise BrokenRule(self, expected, happened) from cause


def check_all(subject: Subject) -> List[BrokenRule]:
    """Check every rule that `subject` is not without.

    Returns:
        The rules that it does not keep; each tells what to do.
    """
    broken: List[BrokenRule] = []
    for rule in RULES:
        try:
            rule.check(subject)
        except unittest.SkipTest:
            pass
        except BrokenRule as error:
            broken.append(error)
    return broken


def _backend_of(make: Callable[..., Any]) -> str:
    made: Any = make
    while isinstance(made, functools.partial):
        made = made.func
    if inspect.isclass(made):
        return _backend_of_class(made)
    found: List[str] = []

    async def look() -> None:
        client = Client(make(base_url="http://127.0.0.1", token=TOKEN))
        found.append(_backend_of_class(type(client.face)))
        await client.close()

    import anyio

    # In a loop, since some libraries want one around them.
    anyio.run(look)
    return found[0]


def _backend_of_class(client_class: Any) -> str:
    if issubclass(client_class, BaseMeshAPI):
        return "blocking"
    if issubclass(client_class, BaseAsyncMeshAPI):
        return "asyncio"
    raise TypeError(f"{client_class.__qualname__} must derive from a client of meshapi_transports.protocol")


def _rule_of(written: Written) -> Rule:
    text, _, remedy = inspect.cleandoc(written.function.__doc__ or "").partition("\n\n")
    text, remedy = (" ".join(paragraph.split()) for paragraph in (text, remedy))
    return Rule(written.function.__name__, written.matter, text, remedy, written.needs_coroutines, written)


RULES: Sequence[Rule] = tuple(map(_rule_of, WRITTEN))
"""Every rule, in the order of the table in ``docs/write-a-transport.md``."""

MATTERS: FrozenSet[str] = frozenset(rule.matter for rule in RULES)
"""What the rules are about: each is a name for `Subject.without`."""
