"""Files: the requests of a batch, uploaded to be run later, and what the gateway knows of a file."""

from typing import Any, Optional, Union

from ._base import Answer, Headed, Params
from .batches import BatchRequests

__all__ = ["FileContent", "FileObject", "UploadBatchFileParams"]


class UploadBatchFileParams(Params):
    """The requests that a batch is to run; only `requests` is required, each with a `custom_id` of its own."""

    purpose: Optional[str] = "batch"
    requests: BatchRequests


class FileObject(Answer):
    """What the gateway knows of a file; `bytes` is its size, `created_at` a Unix time in seconds."""

    id: Optional[str] = None
    object: Optional[str] = None
    bytes: Optional[int] = None
    created_at: Union[int, float, None] = None
    filename: Optional[str] = None
    purpose: Optional[str] = None
    status: Optional[str] = None
    status_details: Any = None


class FileContent(bytes, Headed):
    """An answer that is the content of a file: bytes, and the request's id and headers beside them."""
