"""A sans-IO client for the MeshAPI gateway: it builds requests, decides retries, parses streams and maps errors, and
does no I/O at all.

`MeshAPICore` makes calls; a `Call` or `StreamCall` says what to send, read and wait for, and you do it, over whatever
moves bytes where you are.  `meshapi_transports` does it over httpx, aiohttp, requests and trio.

Names are loaded when they are first used: what is not needed, pydantic included, is not imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

from ._version import MESH_API_VERSION as MESH_API_VERSION
from ._version import __version__ as __version__

_ROOMS = {
    "actions": (
        "NEED_DATA",
        "NEED_RESPONSE",
        "Action",
        "Done",
        "Failure",
        "Headers",
        "HeadersLike",
        "NeedData",
        "NeedResponse",
        "Request",
        "ResponseHead",
        "SendRequest",
        "Wait",
    ),
    "call": (
        "TRANSITIONS",
        "AnyCall",
        "Call",
        "Input",
        "ItemsCall",
        "State",
        "StreamCall",
    ),
    "client": ("MeshAPICore",),
    "config": (
        "DEFAULT_BASE_URL",
        "MeshAPIConfig",
        "RequestOptions",
        "Timeout",
    ),
    "errors": (
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "InternalServerError",
        "LocalProtocolError",
        "MeshAPIError",
        "NotFoundError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "RateLimitError",
        "RedirectError",
        "ResponseParseError",
        "StreamInterruptedError",
        "StructuredOutputError",
        "UnprocessableEntityError",
    ),
    "models.batches": (
        "BatchLines",
        "BatchListResponse",
        "BatchObject",
        "BatchRequestItem",
        "BatchResult",
        "BatchResultError",
        "BatchResultResponse",
        "CreateBatchParams",
    ),
    "models.chat": (
        "AudioOutputOptions",
        "ChatCompletionChoice",
        "ChatCompletionChunk",
        "ChatCompletionChunkChoice",
        "ChatCompletionChunkDelta",
        "ChatCompletionMessage",
        "ChatCompletionParams",
        "ChatCompletionResponse",
        "ChatMessage",
        "ChatRole",
        "ContentPart",
        "ContentPartAudio",
        "ContentPartImage",
        "ContentPartText",
        "ContentPartVideo",
        "ImageDetail",
        "ImageOptions",
        "InputAudio",
        "ParsedChatCompletion",
        "TokenUsage",
        "Tool",
        "ToolCall",
        "ToolCallChunk",
        "ToolCallFunction",
        "ToolCallFunctionChunk",
        "ToolChoice",
        "ToolChoiceFunction",
        "ToolChoiceObject",
        "ToolFunction",
        "UsageInfo",
        "VideoUrl",
    ),
    "models.compare": (
        "CompareParams",
        "CompareResponse",
        "CompareStreamEvent",
        "ModelCompareResult",
        "ModelOverride",
    ),
    "models.embeddings": (
        "EmbeddingItem",
        "EmbeddingsParams",
        "EmbeddingsResponse",
        "EmbeddingsUsage",
        "ImageEmbeddingUrl",
        "MultimodalEmbeddingInput",
        "ProviderPreferences",
        "VideoEmbeddingUrl",
    ),
    "models.errors": (
        "ApiErrorBody",
        "ApiErrorEnvelope",
    ),
    "models.files": (
        "FileContent",
        "FileObject",
        "UploadBatchFileParams",
    ),
    "models.images": (
        "ImageEditParams",
        "ImageGenerationChunk",
        "ImageGenerationParams",
        "ImageGenerationResponse",
        "ImageItem",
        "ImageRef",
        "ImageUsage",
    ),
    "models.lists": ("AnswerList",),
    "models.models": (
        "ListModelsParams",
        "ModelInfo",
        "ModelPricing",
        "ModelSearchParams",
        "ModelsPage",
    ),
    "models.responses": (
        "BuiltinTool",
        "ResponsesFunctionTool",
        "ResponsesListItem",
        "ResponsesListResponse",
        "ResponsesParams",
        "ResponsesResponse",
        "ResponsesStreamEvent",
        "ResponsesUsage",
    ),
    "models.templates": (
        "CreateTemplateParams",
        "TemplateMessage",
        "TemplateSummary",
        "UpdateTemplateParams",
    ),
    "observing": (
        "CallAbandoned",
        "CallEvent",
        "CallFailed",
        "CallSucceeded",
        "Observer",
        "RequestStarted",
        "ResponseStarted",
        "RetryScheduled",
        "StreamStarted",
    ),
    "patience": ("Patience",),
    "retry": (
        "Outcome",
        "RetryPolicy",
    ),
    "sse": (
        "SSEDecoder",
        "ServerSentEvent",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

if TYPE_CHECKING:
    from .actions import *
    from .call import *
    from .client import *
    from .config import *
    from .errors import *
    from .models.batches import *
    from .models.chat import *
    from .models.compare import *
    from .models.embeddings import *
    from .models.errors import *
    from .models.files import *
    from .models.images import *
    from .models.lists import *
    from .models.models import *
    from .models.responses import *
    from .models.templates import *
    from .observing import *
    from .patience import *
    from .retry import *
    from .sse import *
else:
    # Hidden from the checkers, which read the stars: they cannot see through a list that is put together, and
    # such a function would make an Any of every misspelt name.
    __all__ = ["MESH_API_VERSION", "__version__", *_ROOM_OF]

    def __getattr__(name: str) -> Any:
        room = _ROOM_OF.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{room}"), name)
        # Found here from now on, without a detour through this function.
        globals()[name] = value
        return value


def __dir__() -> List[str]:
    return sorted({*globals(), *_ROOM_OF})
