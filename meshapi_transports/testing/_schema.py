"""An example value for a JSON schema, always the same for the same schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable

from ._checks import is_object

Schema = Mapping[str, Any]

_FORMATS = {
    "date": "2026-08-01",
    "date-time": "2026-08-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_NUMBER = (int, float)
# Every integer up to here is a float too, which is as far as bounds need to go when a schema sets none.
_FAR = 2.0**53


class SchemaError(ValueError):
    """The schema is not one that a value can be made for."""


def example_object(schema: Schema) -> Any:
    """Return a value that matches the schema, an object unless the schema says otherwise.

    Required properties come first, then the optional ones; ``pattern`` is not looked at.

    Raises:
        SchemaError: the schema is malformed, refers to what is not there, or has no finite value.
    """
    names_a_type = any(keyword in schema for keyword in ("type", "$ref", "const", "enum", "anyOf", "oneOf", "allOf"))
    try:
        return _ExampleBuilder(schema).build(schema if names_a_type else {"type": "object", **schema}, "value")
    except RecursionError as error:
        raise SchemaError("the schema is nested too deeply") from error


class _ExampleBuilder:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._open_references: list[str] = []

    def build(self, schema: Any, name: str) -> Any:
        if not is_object(schema):
            # The schemas true and false.
            return f"example {name}"
        if "$ref" in schema:
            return self._referred(_part(schema, "$ref", str, ""), name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return _first(_part(schema, "enum", list, []), "enum")
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self.build(self._alternative(_part(schema, union, list, []), union), name)
        if "allOf" in schema:
            return self.build(self._merged(schema), name)
        return self._of_type(schema, name)

    @property
    def _recursing(self) -> bool:
        return len(set(self._open_references)) < len(self._open_references)

    def _referred(self, reference: str, name: str) -> Any:
        # The first time round a recursive schema everything is filled in; from the second on, only what must be.
        if self._open_references.count(reference) > 2:
            raise SchemaError(f"{reference} contains itself without an end")
        self._open_references.append(reference)
        value = self.build(self._resolved(reference), name)
        self._open_references.pop()
        return value

    def _resolved(self, reference: str) -> Any:
        target: Any = self._root
        for step in reference.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if not is_object(target) or step not in target:
                raise SchemaError(f"{reference} refers to nothing")
            target = target[step]
        return target

    def _alternative(self, schemas: list[Any], keyword: str) -> Any:
        null = {"type": "null"}
        if self._recursing and null in schemas:
            return null
        return _first([schema for schema in schemas if schema != null] or schemas, keyword)

    def _merged(self, schema: Schema) -> Schema:
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in _part(schema, "allOf", list, []):
            if is_object(part) and "$ref" in part:
                part = self._resolved(_part(part, "$ref", str, ""))
            if not is_object(part):
                raise SchemaError("allOf holds something that is not a schema")
            properties = {**_part(merged, "properties", dict, {}), **_part(part, "properties", dict, {})}
            required = [*_part(merged, "required", list, []), *_part(part, "required", list, [])]
            merged = {**part, **merged}
            if properties:
                merged.update(properties=properties, required=required)
        return merged

    def _of_type(self, schema: Schema, name: str) -> Any:
        makers: dict[str, Callable[[Schema, str], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _integer,
            "number": _number,
            "boolean": lambda schema, name: True,
            "null": lambda schema, name: None,
        }
        kind = self._type_name(schema)
        if kind not in makers:
            raise SchemaError(f"{kind!r} is not a type of JSON schema")
        return makers[kind](schema, name)

    def _type_name(self, schema: Schema) -> str:
        implied = "object" if "properties" in schema else "array" if "items" in schema else "string"
        kind = _part(schema, "type", (str, list), implied)
        if isinstance(kind, str):
            return kind
        if self._recursing and "null" in kind:
            return "null"
        return str(_first([each for each in kind if each != "null"] or kind, "type"))

    def _object(self, schema: Schema, name: str) -> dict[str, Any]:
        properties = _part(schema, "properties", dict, {})
        required = _part(schema, "required", list, [])
        if not all(isinstance(key, str) for key in required):
            raise SchemaError("required names something that is not a string")
        optional = [] if self._recursing else [key for key in properties if key not in required]
        return {key: self.build(properties.get(key, {}), key) for key in [*required, *optional]}

    def _array(self, schema: Schema, name: str) -> list[Any]:
        fixed = [self.build(item, name) for item in _part(schema, "prefixItems", list, [])]
        count = max(_part(schema, "minItems", int, 0), 0 if self._recursing or fixed else 1)
        count = min(count, _part(schema, "maxItems", int, count))
        return fixed + [self.build(schema.get("items", {}), name) for _ in range(count - len(fixed))]


def _string(schema: Schema, name: str) -> str:
    value = _FORMATS.get(_part(schema, "format", str, ""), f"example {name}")
    value = value.ljust(_part(schema, "minLength", int, 0), "x")
    return value[: _part(schema, "maxLength", int, len(value))]


def _integer(schema: Schema, name: str) -> int:
    lower, upper = _bounds(schema)
    lowest = math.floor(lower) + 1 if lower == schema.get("exclusiveMinimum") else math.ceil(lower)
    highest = math.ceil(upper) - 1 if upper == schema.get("exclusiveMaximum") else math.floor(upper)
    value = min(max(lowest, 1), highest)
    step = _part(schema, "multipleOf", _NUMBER, 1)
    return int(math.ceil(value / step) * step) if step else value


def _number(schema: Schema, name: str) -> float:
    lower, upper = _bounds(schema)
    return min(max(1.5, lower + 0.5), upper - 0.5) if upper - lower >= 1 else (lower + upper) / 2


def _bounds(schema: Schema) -> tuple[float, float]:
    lower = max(_part(schema, keyword, _NUMBER, -_FAR) for keyword in ("minimum", "exclusiveMinimum"))
    upper = min(_part(schema, keyword, _NUMBER, _FAR) for keyword in ("maximum", "exclusiveMaximum"))
    return lower, upper


def _part(schema: Schema, keyword: str, kind: type[Any] | tuple[type[Any], ...], default: Any) -> Any:
    value = schema.get(keyword, default)
    if not isinstance(value, kind):
        raise SchemaError(f"{keyword} has a value of the wrong type")
    return value


def _first(values: list[Any], keyword: str) -> Any:
    if not values:
        raise SchemaError(f"{keyword} is empty")
    return values[0]
