"""``client.models``: GET /v1/models, listed, searched, and one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Optional, Set

from ..call import Call, ItemsCall
from ..config import RequestOptions
from ..models.lists import AnswerList
from ..models.models import ListModelsParams, ModelInfo, ModelSearchParams, ModelsPage
from ..steps import ItemsOfSteps, Steps
from ._base import Resource, check_params, path_segment, refuse_page

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Models"]


class Models(Resource):
    """Tells which models there are, what they can do, and what they cost."""

    def list(
        self,
        *,
        free: Optional[bool] = None,
        type: Optional[Literal["text", "embedding", "image", "audio", "video"]] = None,
        provider: Optional[str] = None,
        **options: Unpack[RequestOptions],
    ) -> Call[AnswerList[ModelInfo]]:
        """List all models, or those that are wanted.

        Sends GET /v1/models (gateway API reference, "Models").

        Args:
            free: those that cost nothing, or those that do; either if None.
            type: what they make; anything if None.
            provider: who runs them, such as ``"openai"``; whoever if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The models, as a list that knows its ``request_id``.

        Raises:
            ValueError: an option or a filter cannot be used; nothing was sent.
            MeshAPIError: the gateway refused (`APIStatusError`), was not reached (`APIConnectionError`), or answered
                with something else (`ResponseParseError`).
        """
        params = ListModelsParams(free=free, type=type, provider=provider)
        return self._get_list("/v1/models", ModelInfo, options, params.model_dump(exclude_none=True))

    def free(self, **options: Unpack[RequestOptions]) -> Call[AnswerList[ModelInfo]]:
        """List the models that cost nothing.

        Sends GET /v1/models/free (gateway API reference, "Models").

        Args:
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The models, as `list` gives them.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        return self._get_list("/v1/models/free", ModelInfo, options)

    def paid(self, **options: Unpack[RequestOptions]) -> Call[AnswerList[ModelInfo]]:
        """List the models that have a price.

        Sends GET /v1/models/paid (gateway API reference, "Models").

        Args:
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The models, as `list` gives them.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        return self._get_list("/v1/models/paid", ModelInfo, options)

    def search(self, params: Optional[ModelSearchParams] = None, **options: Unpack[RequestOptions]) -> Call[ModelsPage]:
        """Search the models by words, modalities, brand and price, and get one page of what is found.

        Sends GET /v1/models/search (gateway API reference, "Models").  To go through all pages, use `iterate`.

        Args:
            params: what to search for, how to sort, and which page (`limit`, `offset`); everything if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The page; ``items`` is the models on it, ``total`` how many there are on all pages.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: as for `list`.
        """
        params = ModelSearchParams() if params is None else params
        check_params(params, ModelSearchParams, "search")
        return self._get("/v1/models/search", ModelsPage, options, params.model_dump(exclude_none=True))

    def iterate(
        self, params: Optional[ModelSearchParams] = None, **options: Unpack[RequestOptions]
    ) -> ItemsCall[ModelInfo]:
        """Go through all models that a search finds, page after page.

        Sends GET /v1/models/search once for each page, when its first model is asked for; each is retried by itself.

        Args:
            params: what to search for, and how to sort; `limit` is how many to ask for at a time, `offset` how many to
                leave out at the start.  Everything if None.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The models, one by one.

        Raises:
            ValueError: an option cannot be used; nothing was sent.
            MeshAPIError: while iterating: as for `list`, after all models that had come.
        """
        params = ModelSearchParams() if params is None else params
        check_params(params, ModelSearchParams, "iterate")
        return ItemsOfSteps(self._pages(params, options), self._timeout(options), self._redact)

    def get(self, model_id: str, **options: Unpack[RequestOptions]) -> Call[ModelInfo]:
        """Get what there is to know of a model.

        Sends GET /v1/models/{id} (gateway API reference, "Models").

        Args:
            model_id: the model's ``id``, such as ``"openai/gpt-4o-mini"``.
            **options: what this call may say otherwise than its client: `RequestOptions`.

        Returns:
            The model; ``pricing`` is what it costs.

        Raises:
            ValueError: the id is empty, or an option cannot be used; nothing was sent.
            MeshAPIError: there is no such model (`NotFoundError`), or it could not be had, as for `list`.
        """
        path_segment(model_id, "model_id")
        # The slash between provider and model stays as it is.
        segments = [path_segment(segment, "model_id") if segment else "" for segment in model_id.split("/")]
        return self._get(f"/v1/models/{'/'.join(segments)}", ModelInfo, options)

    def _pages(self, params: ModelSearchParams, options: RequestOptions) -> Steps[None]:
        offset = params.offset or 0
        seen: Set[str] = set()
        while True:
            page: ModelsPage = yield self.search(params.model_copy(update={"offset": offset}), **options)
            first = page.items[0].id if page.items else None
            if first is not None:
                if first in seen:
                    refuse_page(page.request_id, "the next is one that has come already")
                seen.add(first)
            yield page.items
            offset += len(page.items)
            # Without a total, only an empty page is the last.
            if not page.items or (page.total is not None and offset >= page.total):
                return
