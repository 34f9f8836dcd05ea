"""``client.images``: /v1/images, drawn whole or step by step, and edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Sequence

from pydantic import ValidationError

from ..actions import ResponseHead
from ..call import Call, StreamCall
from ..config import RequestOptions
from ..exchange import Assembled
from ..models.images import ImageEditParams, ImageGenerationChunk, ImageGenerationParams, ImageGenerationResponse
from ._base import Resource, check_params, read_frame, read_json, refuse

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Images"]

# What is no part of the whole: each chunk has its own, or a whole has none.
_FIELDS_OF_A_CHUNK = {"id", "object", "data", "status", "error"}


class Images(Resource):
    """Draws and edits images."""

    def generate(
        self, params: ImageGenerationParams, **options: Unpack[RequestOptions]
    ) -> Call[ImageGenerationResponse]:
        """Draw one or more images, and get them when they are finished.

        Sends POST /v1/images/generations, without the field ``stream`` whatever the params say (gateway API reference,
        "Images").  Retried as the `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: what to draw, and how; unknown fields are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The answer; each item of ``data`` has a ``url``, or bytes to be had by ``image_bytes()``, as
            `response_format` asked.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, ImageGenerationParams, "generate")
        return self._post("/v1/images/generations", params, ImageGenerationResponse, options)

    def stream(
        self, params: ImageGenerationParams, **options: Unpack[RequestOptions]
    ) -> StreamCall[ImageGenerationChunk, ImageGenerationResponse]:
        """Draw an image, and see it before it is finished.

        Sends POST /v1/images/generations, always with ``"stream": true`` (gateway API reference, "Images").  Nothing is
        sent before the first chunk is asked for.  Not retried by default; `max_retries` is consent to try again as long
        as no byte of the stream has come.  With a data-plane key (``rsk_...``).

        Args:
            params: what to draw, and how; `partial_images` says how many unfinished ones to send, 0 to 3.
            timeout: seconds to wait for the connection and for the next *chunk*, or a `Timeout`; the client's if None.
            max_retries: how often to try again before the first byte has come; not at all if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The stream of chunks; one whose ``status`` is ``"completed"`` holds a finished image.  Its ``collect()``
            gives the finished images alone.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while the stream is read: as for `generate`, or it broke off (`StreamInterruptedError`); what
                had come is in the error's `partial`.
        """
        check_params(params, ImageGenerationParams, "stream")
        return self._stream(
            "/v1/images/generations", params, read_chunk, assemble_chunks, options, answer=ImageGenerationResponse
        )

    def edit(self, params: ImageEditParams, **options: Unpack[RequestOptions]) -> Call[ImageGenerationResponse]:
        """Change an image: edit, inpaint, outpaint, mix, reframe, upscale, or remove its background.

        Sends POST /v1/images/edits as JSON, images as URLs or ``data:`` URLs (gateway API reference, "Images").
        Retried as the `RetryPolicy` says.  With a data-plane key (``rsk_...``).

        Args:
            params: which image, the `operation`, and how; unknown fields are refused when it is made.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The answer, as of `generate`.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `generate`.
        """
        check_params(params, ImageEditParams, "edit")
        return self._post("/v1/images/edits", params, ImageGenerationResponse, options)


def read_chunk(head: ResponseHead, event: str, data: bytes) -> ImageGenerationChunk:
    """The chunk that an event holds."""
    try:
        chunk = read_json(ImageGenerationChunk, data)
    except ValidationError as error:
        read_frame(head, event, data)
        refuse(head, data, ImageGenerationChunk, error)
    if event == "error" or getattr(chunk, "error", None):
        read_frame(head, event, data)
    return chunk


def assemble_chunks(chunks: Sequence[ImageGenerationChunk]) -> Assembled:
    """The finished images of a stream; before there is one, what its last chunk shows.

    The stream could properly end here if one is finished.
    """
    finished = [chunk for chunk in chunks if chunk.status is not None and "completed" in chunk.status]
    response: Dict[str, Any] = {}
    for chunk in chunks:
        response.update(chunk.model_dump(exclude=_FIELDS_OF_A_CHUNK, exclude_none=True))
    response["data"] = [item.model_dump() for chunk in finished or chunks[-1:] for item in chunk.data]
    return Assembled(response, bool(finished))
