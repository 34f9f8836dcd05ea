"""Embeddings: what to turn into vectors, and the vectors."""

import base64
import sys
from array import array
from typing import Any, Dict, List, Literal, Optional, Union

from pydantic import Field
from typing_extensions import Annotated

from ._base import Answer, Finite, Listed, Params, Reply

__all__ = [
    "EmbeddingItem",
    "EmbeddingsParams",
    "EmbeddingsResponse",
    "EmbeddingsUsage",
    "ImageEmbeddingUrl",
    "MultimodalEmbeddingInput",
    "ProviderPreferences",
    "VideoEmbeddingUrl",
]


class ProviderPreferences(Params):
    """Which providers may serve a request: in which `order`, and on what terms."""

    order: Optional[List[str]] = None
    allow_fallbacks: Optional[bool] = None
    require_parameters: Optional[bool] = None
    data_collection: Optional[Literal["allow", "deny"]] = None


class ImageEmbeddingUrl(Params):
    """Where an image to be embedded is: an ``https:`` or ``data:`` URL."""

    url: str


class VideoEmbeddingUrl(Params):
    """Where a video to be embedded is."""

    url: str


class MultimodalEmbeddingInput(Params):
    """A text, an image or a video to be embedded; fill in the field that `type` names."""

    type: Literal["text", "image_url", "video_url"]
    text: Optional[str] = None
    image_url: Optional[ImageEmbeddingUrl] = None
    video_url: Optional[VideoEmbeddingUrl] = None


class EmbeddingsParams(Params):
    """What to turn into vectors; only `input` is required: one text or many, tokens, or images and videos.

    With ``encoding_format="base64"`` the answer is a quarter of the size and read faster; its `vectors` are
    the same numbers either way.  `dimensions` shortens the vectors, where the model can.
    """

    model: Optional[str] = None
    input: Union[str, List[str], List[int], List[List[int]], List[MultimodalEmbeddingInput]]
    dimensions: Annotated[Optional[int], Field(ge=1)] = None
    encoding_format: Optional[Literal["float", "base64"]] = None
    input_type: Optional[str] = None
    provider: Union[str, ProviderPreferences, None] = None
    user: Annotated[Optional[str], Field(max_length=256)] = None
    instructions: Optional[str] = None
    sparse_embedding: Optional[Finite[Dict[str, Any]]] = None


class EmbeddingItem(Reply):
    """The vector of one input; `index` is that input's position.

    `embedding` is as it came: numbers, or base64 if that was asked for; `floats` gives numbers from either, `to_array`
    the same as a compact array.
    """

    object: Optional[str] = None
    index: Optional[int] = None
    # Numbers first: with pydantic's smart choice between the two, each item would be tried as both.
    embedding: Optional[Annotated[Union[List[float], str], Field(union_mode="left_to_right")]] = None

    def floats(self) -> List[float]:
        """The vector as numbers, decoded if it came as base64 (of little-endian 32-bit floats).

        Raises:
            ValueError: there is no vector, or a text that does not stand for one.
        """
        return self.embedding if isinstance(self.embedding, list) else self.to_array().tolist()

    def to_array(self) -> "array[float]":
        """The vector as an array of 32-bit floats: an eighth of the size of a list, and made in a third of the time.

        NumPy takes it as it is: ``numpy.asarray(item.to_array())`` copies nothing.

        Raises:
            ValueError: there is no vector, or a text that does not stand for one.
        """
        if self.embedding is None:
            raise ValueError("this item has no embedding")
        if not isinstance(self.embedding, str):
            return array("f", self.embedding)
        try:
            packed = base64.b64decode(self.embedding, validate=True)
        except ValueError as error:
            raise ValueError(f"the embedding is neither a list of numbers nor base64: {error}") from None
        vector: array[float] = array("f")
        if len(packed) % vector.itemsize:
            raise ValueError(f"the embedding holds no 32-bit floats: {len(packed)} bytes are not a multiple of 4")
        vector.frombytes(packed)
        if sys.byteorder == "big":
            vector.byteswap()
        return vector


class EmbeddingsUsage(Reply):
    """Tokens that were embedded, whether your own key paid for them, and whether another provider had to step in."""

    prompt_tokens: Optional[int] = None
    total_tokens: Optional[int] = None
    byok_used: Optional[bool] = None
    fallback_triggered: Optional[bool] = None


class EmbeddingsResponse(Answer):
    """The vectors of all inputs; `vectors` gives them as numbers, in the order of the inputs."""

    object: Optional[str] = None
    data: Listed[EmbeddingItem] = []
    model: Optional[str] = None
    usage: Optional[EmbeddingsUsage] = None

    def vectors(self) -> List[List[float]]:
        """The vectors as numbers, in the order of the inputs, whichever encoding they came in.

        Raises:
            ValueError: an item holds no vector.
        """
        positions = [position if item.index is None else item.index for position, item in enumerate(self.data)]
        in_order = sorted(zip(positions, self.data), key=lambda pair: pair[0])
        return [item.floats() for _, item in in_order]
