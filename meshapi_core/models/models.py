"""Models: which there are, what they can do, and what they cost."""

from typing import ClassVar, List, Literal, Optional

from ._base import Answer, ListAnswer, Listed, Params, Reply

__all__ = [
    "ListModelsParams",
    "ModelInfo",
    "ModelPricing",
    "ModelSearchParams",
    "ModelsPage",
]


class ModelPricing(Reply):
    """What a model costs, in US dollars as decimal texts: per 1k or 1M (million) tokens, per image, or per unit.

    What does not apply is absent.  `pricing_unit` says what a unit is, `discount_pct` is in percent.
    """

    prompt_usd_per_1k: Optional[str] = None
    completion_usd_per_1k: Optional[str] = None
    pricing_unit: Optional[str] = None
    input_usd_per_unit: Optional[str] = None
    output_usd_per_unit: Optional[str] = None
    prompt_usd_per_1m: Optional[str] = None
    completion_usd_per_1m: Optional[str] = None
    image_output_usd_per_image: Optional[str] = None
    request_usd: Optional[str] = None
    long_context_input_usd_per_1m: Optional[str] = None
    long_context_output_usd_per_1m: Optional[str] = None
    cache_read_input_usd_per_1m: Optional[str] = None
    cache_write_input_usd_per_1m: Optional[str] = None
    cache_read_audio_input_usd_per_1m: Optional[str] = None
    long_context_cache_read_input_usd_per_1m: Optional[str] = None
    long_context_cache_write_input_usd_per_1m: Optional[str] = None
    batch_input_usd_per_1m: Optional[str] = None
    batch_output_usd_per_1m: Optional[str] = None
    training_usd_per_1m: Optional[str] = None
    fine_tuned_input_usd_per_1m: Optional[str] = None
    fine_tuned_output_usd_per_1m: Optional[str] = None
    audio_input_usd_per_1m: Optional[str] = None
    audio_output_usd_per_1m: Optional[str] = None
    transcription_usd_per_1m: Optional[str] = None
    cached_audio_input_usd_per_1m: Optional[str] = None
    cached_text_input_usd_per_1m: Optional[str] = None
    cache_hit_usd_per_1m: Optional[str] = None
    output_with_audio_usd_per_1m: Optional[str] = None
    output_with_video_usd_per_1m: Optional[str] = None
    image_input_usd_per_image: Optional[str] = None
    image_output_size: Optional[str] = None
    effective_date: Optional[str] = None
    deprecated_date: Optional[str] = None
    notes: Optional[str] = None
    source_url: Optional[str] = None
    discount_pct: Optional[str] = None
    image_usd_per_image: Optional[str] = None
    prompt_usd_per_1k_discounted: Optional[str] = None
    completion_usd_per_1k_discounted: Optional[str] = None


class ModelInfo(Answer):
    """A model: its `id` is what a request names, `context_length` the tokens that it can take in.

    ``supports_...`` tells what it can do, where that is known.
    """

    id: Optional[str] = None
    name: Optional[str] = None
    context_length: Optional[int] = None
    is_free: Optional[bool] = None
    pricing: Optional[ModelPricing] = None
    description: Optional[str] = None
    supports_thinking: Optional[bool] = None
    supports_completions_api: Optional[bool] = None
    supports_responses_api: Optional[bool] = None
    model_type: Optional[str] = None
    input_modalities: Optional[List[str]] = None
    output_modalities: Optional[List[str]] = None
    brand: Optional[str] = None
    provider: Optional[str] = None
    supports_realtime: Optional[bool] = None
    supports_embeddings: Optional[bool] = None
    supports_tools: Optional[bool] = None
    supports_structured_output: Optional[bool] = None
    supports_system_prompt: Optional[bool] = None
    supports_batching: Optional[bool] = None
    supports_background_response: Optional[bool] = None
    supports_video_generation: Optional[bool] = None
    supports_image_edit: Optional[bool] = None
    supports_image_inpaint: Optional[bool] = None
    supports_image_outpaint: Optional[bool] = None
    supports_image_mix: Optional[bool] = None
    supports_image_reframe: Optional[bool] = None
    supports_image_upscale: Optional[bool] = None
    supports_image_remove_background: Optional[bool] = None
    supports_image_reference: Optional[bool] = None
    context_window: Optional[int] = None
    standard_context_threshold: Optional[int] = None
    realtime_session_max_tokens: Optional[int] = None
    realtime_max_concurrent_per_owner: Optional[int] = None
    is_composite: Optional[bool] = False
    composite_models: Optional[List[str]] = None


class ListModelsParams(Params):
    """Which models to list; all of them if nothing is given."""

    free: Optional[bool] = None
    type: Optional[Literal["text", "embedding", "image", "audio", "video"]] = None
    provider: Optional[str] = None


class ModelSearchParams(Params):
    """Which models to search for: `q` is looked for in their names; a list means any of these.

    `limit` is how many to get at most, after leaving out the first `offset`.
    """

    q: Optional[str] = None
    free: Optional[bool] = None
    discounted: Optional[bool] = None
    input_modality: Optional[List[str]] = None
    output_modality: Optional[List[str]] = None
    brand: Optional[List[str]] = None
    sort: Optional[Literal["brand", "name", "id", "context_length"]] = None
    order: Optional[Literal["asc", "desc"]] = None
    limit: Optional[int] = None
    offset: Optional[int] = None


class ModelsPage(ListAnswer):
    """A page of the models that were found, of `total` in all; `brands` are those that they belong to."""

    _LIST: ClassVar[str] = "items"

    items: Listed[ModelInfo] = []
    total: Optional[int] = None
    limit: Optional[int] = None
    offset: Optional[int] = None
    brands: Optional[List[str]] = None
