"""Batches: many requests that are run later, and what became of each."""

from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Type, TypeVar, Union

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from typing_extensions import Annotated, Self

from ..actions import Headers, ResponseHead
from ._base import Answer, Finite, ListAnswer, Listed, Params, Reply
from .chat import ChatCompletionResponse

__all__ = [
    "BatchLines",
    "BatchListResponse",
    "BatchObject",
    "BatchRequestItem",
    "BatchResult",
    "BatchResultError",
    "BatchResultResponse",
    "CreateBatchParams",
]

ModelT = TypeVar("ModelT", bound=BaseModel)


class BatchRequestItem(Params):
    """One request of a batch: its JSON `body`, and a `custom_id` by which its result is found again."""

    custom_id: str
    method: Optional[str] = "POST"
    url: Optional[str] = "/v1/chat/completions"
    body: Finite[Dict[str, Any]]


BatchLines = Iterable[Union[BatchRequestItem, Mapping[str, Any], str, bytes]]
"""The requests of a batch one by one: as they are, as mappings of their fields, or as the lines of a JSONL file."""


def _with_ids_of_their_own(requests: List[BatchRequestItem]) -> List[BatchRequestItem]:
    seen: Set[str] = set()
    for request in requests:
        if request.custom_id in seen:
            raise ValueError(f"custom_id {request.custom_id!r} is given twice; results are found by it")
        seen.add(request.custom_id)
    return requests


BatchRequests = Annotated[List[BatchRequestItem], Field(min_length=1), AfterValidator(_with_ids_of_their_own)]
"""The requests of a batch: at least one, and no two with the same `custom_id`."""


class CreateBatchParams(Params):
    """What to run: the `requests` themselves, or those of an uploaded file.

    A file is given as `input_file_id`, with the `endpoint` that its requests are for, such as
    ``"/v1/chat/completions"``, and the `completion_window`, such as ``"24h"``.
    """

    requests: Optional[BatchRequests] = None
    input_file_id: Optional[str] = None
    endpoint: Optional[str] = None
    completion_window: Optional[str] = None
    metadata: Optional[Finite[Dict[str, Any]]] = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        has_file = bool(self.input_file_id and self.endpoint and self.completion_window)
        if has_file if self.requests is None else self.input_file_id is None:
            return self
        raise ValueError("give either requests, or input_file_id with endpoint and completion_window")


class BatchObject(Answer):
    """A batch, and how far it is (`status`); once it is completed, `output_file_id` names the file of its results.

    `created_at` and `completed_at` are Unix times, in seconds.
    """

    id: Optional[str] = None
    object: Optional[str] = None
    endpoint: Optional[str] = None
    input_file_id: Optional[str] = None
    output_file_id: Optional[str] = None
    status: Optional[str] = None
    model: Optional[str] = None
    provider: Optional[str] = None
    created_at: Union[int, float, None] = None
    completed_at: Union[int, float, None] = None
    usage_synced: Optional[bool] = None
    results: Optional[List[Dict[str, Any]]] = None
    errors_detail: Optional[List[Dict[str, Any]]] = None
    error_file_id: Optional[str] = None
    request_counts: Optional[Dict[str, Any]] = None
    metadata: Optional[Dict[str, Any]] = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come of it: it is completed, failed, expired or cancelled."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class BatchListResponse(ListAnswer):
    """A page of batches; where `has_more` is true, the next page is the one after `last_id`."""

    object: Optional[str] = None
    data: Listed[BatchObject] = []
    has_more: Optional[bool] = None
    first_id: Optional[str] = None
    last_id: Optional[str] = None


class BatchResultResponse(Reply):
    """What one request of a batch was answered with: the HTTP status code, and the JSON body."""

    status_code: Optional[int] = None
    request_id: Optional[str] = None
    body: Any = None


class BatchResultError(Reply):
    """Why one request of a batch got no answer."""

    code: Optional[str] = None
    message: Optional[str] = None


class BatchResult(Answer):
    """What became of one request of a batch: a line of its output or error file.

    Results come in any order: `custom_id` tells which request this one belongs to.
    """

    # A slot for the same reason as the head's: it is not what the gateway wrote.
    __slots__ = ("_request",)
    _BESIDE = ("_head", "_request")

    id: Optional[str] = None
    custom_id: Optional[str] = None
    response: Optional[BatchResultResponse] = None
    error: Optional[BatchResultError] = None

    @property
    def request(self) -> Optional[BatchRequestItem]:
        """The request that this is the result of, where it is known."""
        return getattr(self, "_request", None)

    @property
    def is_success(self) -> bool:
        """Whether the request was answered, with a status code of 2xx."""
        status = self.response.status_code if self.response else None
        return self.error is None and status is not None and 200 <= status < 300

    @property
    def failure(self) -> Optional[str]:
        """Why the request failed, in words; ``None`` if it did not."""
        if self.is_success:
            return None
        told = self.error and (self.error.message or self.error.code)
        if told or self.response is None:
            return told or "there is no response"
        return f"status {self.response.status_code}, {str(self.response.body)[:500]}"

    def completion(self) -> ChatCompletionResponse:
        """The answer to a chat request.

        Raises:
            ValueError: the request failed, and the message tells why; or its answer is no chat completion.
        """
        return self.parse_body(ChatCompletionResponse)

    def parse_body(self, model: Type[ModelT]) -> ModelT:
        """The answer as a `model`, such as `EmbeddingsResponse`.

        Raises:
            ValueError: the request failed, and the message tells why; or its answer is no such `model`.
        """
        response = self.response
        if response is None or not self.is_success:
            raise ValueError(f"the request {self.custom_id!r} failed: {self.failure}")
        try:
            answer = model.model_validate(response.body)
        except ValidationError as error:
            raise ValueError(f"the answer to {self.custom_id!r} is no {model.__name__}: {error}") from error
        if isinstance(answer, Answer) and response.request_id:
            # Its own, and not that of the file that this line stands in.
            answer._take_head(ResponseHead(response.status_code or 0, Headers({"x-request-id": response.request_id})))
        return answer

    def _take_request(self, request: Optional[BatchRequestItem]) -> None:
        """Remember the request that this is the result of."""
        object.__setattr__(self, "_request", request)
