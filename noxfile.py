"""All that is checked of this project: ``nox`` runs everything, ``nox -s tests`` a part, ``nox -l`` lists the parts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
# A virtualenv that is made anew cannot hide a dependency that is missing; at a desk, minutes matter more.
nox.options.reuse_venv = "no" if "CI" in os.environ else "yes"
nox.options.sessions = ["tests", "conformance", "official", "attacks", "examples", "lint", "types", "faces", "docs"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def is_present(version: str) -> bool:
    """Whether there is a Python of this version: a command of that name may be a stand-in that leads nowhere."""
    command = shutil.which(f"python{version}")
    return command is not None and subprocess.run([command, "-c", ""], capture_output=True).returncode == 0  # noqa: S603


# Asked for by name, a Python that is missing is an error under CI; one that is not here is not asked for.
PYTHONS = [
    version for version in nox.project.python_versions(PYPROJECT) if version == RUNNING or is_present(version)
] or [RUNNING]


# What is left to sessions of its own: it needs other libraries, or takes long.
EVERYDAY = [
    "--ignore=tests/attacks",
    "--ignore=tests/test_guarantees.py",
    "--ignore=tests/examples",
    "--ignore=tests/transports/test_conformance_tool.py",
    "--ignore=tests/transports/test_official_sdk.py",
]


def install(session: nox.Session, *groups: str) -> None:
    """Install the project as its users get it, and what the named dependency groups hold."""
    session.install(".[all]", *nox.project.dependency_groups(PYPROJECT, *groups))


def run_pytest(session: nox.Session, *arguments: str, under: tuple[str, ...] = ()) -> None:
    """Run pytest; under CI, what has failed is tried once more, after the report on it.

    Tests over real sockets can fail where the machine does something else for a while.  At a desk, a test that fails
    now and then is to be looked at.
    """
    # As a script: ``python -m`` would put the checkout before the package that was installed.
    pytest = [*under, f"{session.bin}/pytest", *arguments]
    try:
        session.run(*pytest)
    except CommandFailed:
        if "CI" not in os.environ:
            raise
        session.run(*pytest, "--last-failed", "--last-failed-no-failures=none")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on each Python that is here; the newest also tells what they have covered."""
    install(session, "test")
    # Several at once: most of a test's time is spent waiting for a server that is told to be slow.
    everyday = ["-n4", *EVERYDAY, *session.posargs]
    if session.python != PYTHONS[-1] or session.posargs:
        run_pytest(session, *everyday)
        return
    session.run("coverage", "erase")
    run_pytest(session, *everyday, under=("coverage", "run"))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=[PYTHONS[0], PYTHONS[-1]] if PYTHONS[1:] else PYTHONS)
def examples(session: nox.Session) -> None:
    """Run the examples of embedding, in the loops of other libraries, on the oldest and the newest Python."""
    install(session, "test", "examples")
    run_pytest(session, "tests/examples", *session.posargs)


@nox.session(python=PYTHONS[-1])
def conformance(session: nox.Session) -> None:
    """Run the public conformance tool on every client, and on adapters that each break one of its rules."""
    install(session, "test")
    run_pytest(session, "tests/transports/test_conformance_tool.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def official(session: nox.Session) -> None:
    """Compare what is sent with what the official SDK sends, and for files with the last one that had them."""
    install(session, "test")
    run_pytest(session, "-n4", "tests/transports/test_official_sdk.py", *session.posargs)
    # It takes the other's place: there is one package of a name in an environment.
    session.install("meshapi==0.1.3")
    run_pytest(session, "-n4", "tests/transports/test_official_sdk.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def attacks(session: nox.Session) -> None:
    """Cut, split, stall, cancel, overload and deceive every client, as docs/guarantees.md says."""
    install(session, "test")
    run_pytest(session, "-n4", "tests/attacks", "tests/test_guarantees.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for what ruff finds fault with, its own formatting included."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy and pyright, both strict."""
    install(session, "test", "types", "examples")
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session
def faces(session: nox.Session) -> None:
    """Check that the clients' generated methods are what the core defines."""
    session.install(".")
    session.run("python", "-m", "meshapi_transports._faces", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of the README and the documentation."""
    install(session, "test")
    run_pytest(session, "tests/test_docs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what the clients cost, as docs/performance.md says: ``--help`` lists what can be chosen."""
    install(session, "bench")
    # As a script, for the same reason as pytest.
    session.run("python", "tests/benchmarks", *session.posargs)


@nox.session
def instructions(session: nox.Session) -> None:
    """Count the instructions of the two hot paths: more than 5 % more than recorded is a failure."""
    if shutil.which("valgrind") is None:
        session.skip("valgrind is missing: apt-get install valgrind")
    session.install(".")
    session.run("python", "tests/benchmarks/instructions.py", *session.posargs)
