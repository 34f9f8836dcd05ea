"""``client.files``: /v1/files, the inputs and outputs of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call import Call
from ..config import RequestOptions
from ..models.files import FileContent, FileObject, UploadBatchFileParams
from ._base import Resource, check_params, path_segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Files"]


class Files(Resource):
    """Keeps the inputs and outputs of batches."""

    def upload(self, params: UploadBatchFileParams, **options: Unpack[RequestOptions]) -> Call[FileObject]:
        """Upload the requests of a batch as a file.

        Sends POST /v1/files, as JSON (gateway API reference, "Files").  From a JSONL file, or from requests that are
        still to be checked, use `Batches.upload`.

        Args:
            params: the requests; unknown fields, and a ``custom_id`` that is given twice, are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The file; its ``id`` is the ``input_file_id`` of `Batches.create`.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, UploadBatchFileParams, "upload")
        return self._post("/v1/files", params, FileObject, options)

    def get(self, file_id: str, **options: Unpack[RequestOptions]) -> Call[FileObject]:
        """Get what the gateway knows of a file: name, size, purpose, status.

        Sends GET /v1/files/{id} (gateway API reference, "Files").

        Args:
            file_id: the file's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The file; ``bytes`` is its size, `content` gets what is in it.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or it could not be had, as for `upload`.
        """
        return self._get(_path(file_id), FileObject, options)

    def delete(self, file_id: str, **options: Unpack[RequestOptions]) -> Call[None]:
        """Delete a file.

        Sends DELETE /v1/files/{id} (gateway API reference, "Files").  Not retried by default; `max_retries` is consent.

        Args:
            file_id: the file's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            Nothing.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or the gateway was not reached
                (`APIConnectionError`).
        """
        return self._delete(_path(file_id), options)

    def content(self, file_id: str, **options: Unpack[RequestOptions]) -> Call[FileContent]:
        """Get what is in a file, the whole of it in memory.

        Sends GET /v1/files/{id}/content (gateway API reference, "Files").  For the results of a batch, use
        `Batches.results`: they come typed, and line by line.

        Args:
            file_id: the file's ``id``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The bytes (JSONL: a JSON object on each line), which know their ``request_id``.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such file (`NotFoundError`), or it could not be had, as for `upload`.
        """
        return self._get_content(content_path(file_id), options)


def _path(file_id: str) -> str:
    return f"/v1/files/{path_segment(file_id, 'file_id')}"


def content_path(file_id: str) -> str:
    """Where the content of a file is."""
    return f"{_path(file_id)}/content"
