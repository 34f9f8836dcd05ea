"""The machine under the benchmarks: its cores, its limits, its name; and what is installed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import socket
import stat
import sys
from typing import Dict, List

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = [sys.executable, str(HERE)]

PACKAGES = [
    "meshapi-transports",
    "pydantic",
    "pydantic_core",
    "httpx",
    "httpx2",
    "aiohttp",
    "requests",
    "trio",
    "h11",
    "httpx-sse",
    "meshapi",
    "openai",
]


def cores() -> List[int]:
    """The cores that this process may run on; none where that cannot be told."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(core: int) -> None:
    """Stay on one core: the server and the driver on the first (0), what is measured on the last (-1)."""
    if cores():
        os.sched_setaffinity(0, {ALL_CORES[core]})


ALL_CORES = [int(core) for core in os.environ.get("BENCHMARK_CORES", "").split(",") if core] or cores()


def surroundings() -> Dict[str, str]:
    """The environment of a process that is measured: no proxies, no keys, and the cores that there are."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("MESHAPI_")
    }
    return {**kept, "BENCHMARK_CORES": ",".join(map(str, ALL_CORES))}


def allow_many_files() -> None:
    """Raise the limit of open files as far as it goes: a thousand streams are a thousand sockets."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def resident_bytes() -> int:
    """The memory that this process has in RAM; 0 where there is no /proc."""
    with contextlib.suppress(OSError):
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def open_sockets() -> int:
    """How many sockets of this process are connected to another."""
    count = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as copy:
                    count += copy.family != socket.AF_UNIX and bool(copy.getpeername())
    return count


def processor() -> str:
    """What the processor calls itself."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def description() -> Dict[str, str]:
    """The machine in a few words."""
    return {
        "processor": f"{processor()}, {len(ALL_CORES) or os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> Dict[str, str]:
    """The versions of what is measured, as far as it is installed."""
    found: Dict[str, str] = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
