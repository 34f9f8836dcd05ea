"""The two versions that the client names on the wire: its own, and the response shapes that it asks for."""

__version__ = "0.1.0"
MESH_API_VERSION = "2026-08"
