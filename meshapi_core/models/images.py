"""Images: what to draw or to edit, and the images, whole and in chunks."""

import base64
from typing import Any, Dict, List, Literal, Optional, Union

from pydantic import Field
from typing_extensions import Annotated

from ._base import Answer, Finite, Listed, Number, Params, Reply
from .chat import TokenUsage

__all__ = [
    "ImageEditParams",
    "ImageGenerationChunk",
    "ImageGenerationParams",
    "ImageGenerationResponse",
    "ImageItem",
    "ImageRef",
    "ImageUsage",
]


class ImageGenerationParams(Params):
    """What to draw; only `prompt` is required.

    `image` is one or several images to start from, as URLs.  `output_compression` is in percent.  `partial_images` is
    how many unfinished ones a stream shows on the way.  `stream` is set by the method that is called, whatever stands
    here.
    """

    prompt: str
    model: Optional[str] = None
    n: Optional[int] = None
    size: Optional[str] = None
    quality: Optional[str] = None
    response_format: Optional[Literal["url", "b64_json"]] = None
    output_format: Optional[Literal["png", "jpeg", "webp"]] = None
    stream: Optional[bool] = None
    aspect_ratio: Optional[str] = None
    resolution: Optional[str] = None
    output_compression: Annotated[Optional[int], Field(ge=0, le=100)] = None
    background: Optional[Literal["transparent", "opaque", "auto"]] = None
    moderation: Optional[Literal["low", "auto"]] = None
    partial_images: Annotated[Optional[int], Field(ge=0, le=3)] = None
    image: Union[str, List[str], None] = None
    seed: Annotated[Optional[int], Field(ge=-1, le=2147483647)] = None
    sequential_image_generation: Optional[Literal["auto", "disabled"]] = None
    sequential_image_generation_options: Optional[Finite[Dict[str, Any]]] = None
    guidance_scale: Annotated[Optional[Number], Field(ge=1, le=10)] = None
    watermark: Optional[bool] = None
    optimize_prompt_options: Optional[Finite[Dict[str, Any]]] = None


class ImageRef(Params):
    """Where an image to be edited is: an ``https:`` or ``data:`` URL."""

    url: str


class ImageEditParams(Params):
    """What to make of an image; `model` and `image` are required, and for most operations a `prompt`.

    `mask` marks what may change (with ``operation="inpaint"``), `mask_feather` softens its edge.  `upscale_factor` and
    `expand_factor` say how much larger the image becomes (with ``"upscale"`` and ``"outpaint"``).
    """

    model: str
    image: Union[str, ImageRef]
    prompt: Optional[str] = ""
    operation: Optional[Literal["edit", "inpaint", "outpaint", "mix", "reframe", "upscale", "remove_background"]] = (
        "edit"
    )
    mask: Union[str, ImageRef, None] = None
    reference_images: Optional[List[Union[str, ImageRef]]] = None
    n: Optional[int] = None
    size: Optional[str] = None
    response_format: Optional[Literal["url", "b64_json"]] = None
    background: Optional[str] = None
    upscale_factor: Optional[str] = None
    quality_tier: Optional[str] = None
    aspect_ratio: Optional[str] = None
    resolution: Optional[str] = None
    expand_factor: Union[str, Number, None] = None
    mask_feather: Optional[int] = None


class ImageItem(Reply):
    """One image: where it is (`url`), or its bytes in base64 (`b64_json`), as ``response_format`` asked for.

    `revised_prompt` is what the model made of the prompt before it drew.
    """

    url: Optional[str] = None
    b64_json: Optional[str] = None
    revised_prompt: Optional[str] = None

    def image_bytes(self) -> bytes:
        """The image itself, decoded from `b64_json` (or from a ``data:`` URL): write it to a file as it is.

        Raises:
            ValueError: there is only a `url`, which is yours to fetch, or nothing, or no base64.
        """
        text = self.b64_json or self.url
        if not text:
            raise ValueError("this item has no image")
        # Some servers write a whole data: URL, into either field.
        if text.startswith("data:"):
            text = text.partition(",")[2]
        elif not self.b64_json:
            raise ValueError('this image came as a url: fetch that yourself, or ask for response_format="b64_json"')
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ValueError(f"the image is not base64: {error}") from None


class ImageUsage(TokenUsage):
    """Tokens that images used, with the details that some providers give."""

    input_tokens_details: Optional[Dict[str, Any]] = None
    output_tokens_details: Optional[Dict[str, Any]] = None


class ImageGenerationResponse(Answer):
    """The images that were drawn or edited, and how; `created` is a Unix time, in seconds."""

    created: Union[int, float, None] = None
    data: Listed[ImageItem] = []
    background: Optional[str] = None
    output_format: Optional[str] = None
    quality: Optional[str] = None
    size: Optional[str] = None
    usage: Optional[ImageUsage] = None


class ImageGenerationChunk(Reply):
    """One piece of streamed images: how far they are (`status`), and those that are there, finished or not."""

    id: Optional[str] = None
    object: Optional[str] = "image.chunk"
    created: Union[int, float, None] = None
    data: Listed[ImageItem] = []
    status: Optional[str] = None
    model: Optional[str] = None
