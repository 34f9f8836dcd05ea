"""``client.embeddings``: POST /v1/embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call import Call
from ..config import RequestOptions
from ..models.embeddings import EmbeddingsParams, EmbeddingsResponse
from ._base import Resource, check_params

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Embeddings"]


class Embeddings(Resource):
    """Turns texts, images and videos into vectors."""

    def create(self, params: EmbeddingsParams, **options: Unpack[RequestOptions]) -> Call[EmbeddingsResponse]:
        """Turn each input into a vector.

        Sends POST /v1/embeddings (gateway API reference, "Embeddings").  Retried as the `RetryPolicy` says.  With a
        data-plane key (``rsk_...``).

        Args:
            params: the inputs and the model; ``encoding_format="base64"`` makes the answer a quarter of the size, and
                ``vectors()`` of the answer reads either.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The answer; ``vectors()`` gives a list of floats for each input, in the order of the inputs.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        check_params(params, EmbeddingsParams, "create")
        return self._post("/v1/embeddings", params, EmbeddingsResponse, options)
