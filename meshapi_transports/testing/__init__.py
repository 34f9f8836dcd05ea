"""Tools for testing programs that talk to MeshAPI: a gateway of your own, on a port of this machine.

``LocalGateway`` answers like the real one, without a key and without a model, and fails when a ``Fault`` tells it to.
``python -m meshapi_transports.testing`` runs it in a terminal; ``meshapi_transports.testing.pytest_plugin`` brings a
fixture of it.
"""

from __future__ import annotations

from ._faults import Fault

try:
    from ._state import ReceivedRequest
    from .gateway import LocalGateway
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in {"starlette", "uvicorn", "h11"}:
        raise
    raise ImportError(
        f"The local gateway needs {error.name}, which is not installed: pip install 'meshapi-transports[testing]'"
    ) from error

__all__ = ["Fault", "LocalGateway", "ReceivedRequest"]
