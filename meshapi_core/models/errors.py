"""The gateway's error envelope as types, for whoever reads one by hand; the client's own errors are exceptions."""

from typing import Any, Dict, List, Optional, Union

from ._base import Reply

__all__ = ["ApiErrorBody", "ApiErrorEnvelope"]


class ApiErrorBody(Reply):
    """What went wrong: a `code` to decide by, a `message` for people, and what is wrong with which field."""

    code: Optional[str] = None
    message: Optional[str] = None
    details: Optional[List[Any]] = None
    provider_error: Optional[Dict[str, Any]] = None
    retry_after_seconds: Union[int, float, None] = None


class ApiErrorEnvelope(Reply):
    """The body of an answer without success, such as one line's in the results of a batch."""

    error: Optional[ApiErrorBody] = None
    request_id: Optional[str] = None
