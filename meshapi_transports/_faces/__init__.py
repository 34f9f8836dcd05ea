"""The faces of the client: `MeshAPI` for blocking code, `AsyncMeshAPI` for coroutines.

`_sync` and `_async` are written by ``python -m meshapi_transports._faces`` from the definitions in ``meshapi_core``:
the same methods with the same arguments and docstrings, each a line that drives the core's call.  Edit the core, then
run the tool; a test sees to it that the two agree.
"""
