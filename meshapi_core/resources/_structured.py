"""Answers of a wanted shape: what a model is told of it, and how its answer is read."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Generic, List, Mapping, NoReturn, Optional, Sequence, Type, TypeVar, Union, cast

from pydantic import TypeAdapter, ValidationError

from .._json import as_object
from ..errors import StructuredOutputError
from ..models.chat import ChatCompletionChoice, ChatCompletionMessage, ChatCompletionResponse, ContentPartText
from ._base import first_problem

__all__ = ["Wanted"]

T = TypeVar("T")

# Models wrap JSON as they do all code, even when told not to.
_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\r?\n(.*?)```\s*", re.DOTALL | re.IGNORECASE)

# What a schema is wrapped in where it is no object's: only objects are allowed at the top.
_WRAPPER = "value"


class Wanted(Generic[T]):
    """The shape that an answer should have.

    Args:
        response_type: a type that pydantic can read (a model, a dataclass, a TypedDict, ...), or a JSON schema, by
            which the provider alone sees to the shape.
    """

    def __init__(self, response_type: Union[Type[T], Mapping[str, Any]]) -> None:
        self._adapter: Optional[TypeAdapter[T]] = None
        schema: Dict[str, Any]
        if isinstance(response_type, Mapping):
            schema = {**response_type}
            name = str(schema.get("title") or "answer")
        else:
            self._adapter = TypeAdapter(response_type)
            schema = _with_definite_root(self._adapter.json_schema())
            name = getattr(response_type, "__name__", "answer")
        self._is_wrapped = self._adapter is not None and schema.get("type") != "object"
        if self._is_wrapped:
            definitions = schema.pop("$defs", None)
            schema = {"type": "object", "properties": {_WRAPPER: schema}, "required": [_WRAPPER]}
            if definitions is not None:
                schema["$defs"] = definitions
        strict = None if self._adapter is None else _strict(schema)
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
        self.response_format: Dict[str, Any] = {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": strict or schema, "strict": strict is not None},
        }

    def read(self, completion: ChatCompletionResponse) -> T:
        """The value that the first of a completion's answers holds.

        Raises:
            StructuredOutputError: it holds none of the wanted shape.
        """
        choice = completion.choices[0] if completion.choices else ChatCompletionChoice()
        text = _text_of(choice.message)
        if not text.strip():
            _fail(completion, f"the model wrote nothing: {_reason(choice)}", text)
        if choice.finish_reason == "length":
            _fail(completion, "the model's answer was cut off before its end; allow it more with max_tokens", text)
        try:
            return self._read(text)
        except (ValueError, RecursionError) as error:
            fenced = _FENCED.fullmatch(text)
            if fenced is not None:
                try:
                    return self._read(fenced[1])
                except (ValueError, RecursionError):
                    # The first error speaks of the text as it is.
                    pass
            details = _details(error)
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        _fail(
            completion, f"the model's answer could not be read as {self.name} ({problem}): {text[:500]}", text, details
        )

    def _read(self, text: str) -> T:
        if self._adapter is None:
            return cast("T", json.loads(text))
        if not self._is_wrapped:
            return self._adapter.validate_json(text)
        # A model that was not held to the schema may leave the wrapper out.
        value = json.loads(text)
        fields = as_object(value)
        inner = fields[_WRAPPER] if fields is not None and _WRAPPER in fields else value
        return self._adapter.validate_json(json.dumps(inner))


def _details(error: Exception) -> List[Any]:
    if not isinstance(error, ValidationError):
        return [{"loc": [], "msg": f"not JSON: {error}", "type": "json_invalid"}]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]} for each in found]


def _fail(completion: ChatCompletionResponse, message: str, text: str, details: Optional[List[Any]] = None) -> NoReturn:
    raise StructuredOutputError(
        message,
        status=200,
        error_code="parse_error",
        request_id=completion.request_id,
        details=details,
        partial=completion,
        text=text,
        is_correctable=bool(details),
    ) from None


def _reason(choice: ChatCompletionChoice) -> str:
    refusal = getattr(choice.message, "refusal", None)
    if refusal:
        return f"it refused, {refusal}"
    if choice.message is not None and choice.message.tool_calls:
        return "it wants tools called; see the completion's tool_calls"
    return f"finish_reason is {choice.finish_reason!r}"


def _text_of(message: Optional[ChatCompletionMessage]) -> str:
    content = None if message is None else message.content
    if isinstance(content, list):
        return "".join(part.text for part in content if isinstance(part, ContentPartText))
    return content or ""


def _with_definite_root(schema: Dict[str, Any]) -> Dict[str, Any]:
    """`schema` with what its root refers to in the root's place: a type that holds itself is only referred to."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return {**definitions[name], "$defs": definitions} if name in definitions else schema


def _strict(schema: Any) -> Any:
    """`schema` as providers want it who hold a model to it, or None where it cannot be said that way.

    All objects closed and all fields required, no defaults, ``anyOf`` for ``oneOf`` (OpenAI API, "Structured outputs").
    """
    if isinstance(schema, list):
        items = [_strict(item) for item in cast("Sequence[Any]", schema)]
        return None if None in items else items
    fields = as_object(schema)
    if fields is None:
        return schema
    if not fields.keys() & {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}:
        # What may be anything is nothing that a model could be held to.
        return None
    if "$ref" in fields and "$defs" not in fields:
        # Nothing may stand beside it.
        return {"$ref": fields["$ref"]}
    strict: Dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("default", "discriminator"):
            continue
        if name in ("properties", "$defs"):
            members = {member: _strict(inner) for member, inner in value.items()}
            if None in members.values():
                return None
            strict[name] = members
        elif name in ("items", "anyOf", "oneOf", "allOf", "prefixItems"):
            inner = _strict(value)
            if inner is None:
                return None
            strict["anyOf" if name == "oneOf" else name] = inner
        else:
            strict[name] = value
    if fields.get("type") == "object":
        # One that may hold anything cannot be closed.
        if "properties" not in fields or fields.get("additionalProperties"):
            return None
        strict["additionalProperties"] = False
        strict["required"] = list(fields["properties"])
    return strict
