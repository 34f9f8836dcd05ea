"""What the comparison with the official SDK is made of: the calls, the params to make them with, the differences.

The params are generated from the types of the official SDK, so that no field can be forgotten: each field has its
samples, and the n-th case of a call gives every field its n-th sample.  Where the two sides differ on purpose, a
`Difference` says how and why; whatever else differs makes a test fail.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import json
import math
import re
import uuid
from typing import Any, Callable, Dict, List, Literal, Mapping, Optional, Tuple, Union
from urllib.parse import parse_qsl, unquote

import meshapi
import meshapi._types
from pydantic import BaseModel
from typing_extensions import Annotated, get_args, get_origin

import meshapi_core
from meshapi_core.models._base import Params, Shared

INSTALLED = importlib.metadata.version("meshapi")

CURRENT = "0.1.11"
"""The official SDK that the calls are compared with, but for those that it no longer has."""

WITH_FILES = "0.1.3"
"""The last official SDK that has files, and batches of a file."""


# Samples


TEXTS = [
    "text",
    "",
    "Grüße, 世界 🌍",
    'a "quote", a \\, a /, a tab\t, a line\r\n, a null \0, \x7f, \u0085 and \u2028, {{slot}}, a=1&b=2+3 %41 <i>',
]
INTS = [1, 0, -1, 2**53 + 1, -(2**63), 10**24]
# An int where a float is due, and floats whose shortest spelling is not the same in every language.
FLOATS = [0.5, 1, 1e-7, 0.1, 1.0, -0.0, 1e22, 5e-324, 1.7976931348623157e308, 2.5]
OBJECTS = [
    {"key": "value"},
    {},
    {
        "null": None,
        "Schlüssel 世界": [*INTS, *FLOATS, *TEXTS, True, False, None, [], {}],
        "": {"deep": {"deeper": [[None], {"deepest": None}]}},
        "stream": "not that one",
    },
]
MAPPINGS = [{"name": "Ada"}, {}, {"Grüße 🌍": "", "": 'a "quote"\n'}]
ANYTHING = ["text", 1, 1e-7, True, OBJECTS[2], []]

PLAIN_ID = "plain-id_1.~"
IDS = [
    PLAIN_ID,
    "provider/model-1:free",
    "a//b",
    "/",
    "a/",
    "a?b=c",
    "a#b",
    "50%",
    "a%2Fb",
    "..",
    ".",
    "...",
    "../models",
    "a b+c",
    "Grüße 世界 🌍",
    "!$&'()*,;=:@[]\\\"<>^`{|}",
    "\t",
    "a\r\nX-Forged: b",
    "\0",
    "\x7f",
    "",
]


def is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def leaves(annotation: Any) -> List[Any]:
    """The types that a type is put together from."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return leaves(arguments[0])
    return [leaf for one in arguments for leaf in leaves(one)] if arguments else [annotation]


def limit(metadata: Any, name: str) -> Any:
    """What a field's metadata say of a limit called `name`, which is None if nothing."""
    # What Field() says comes in one piece, inside a type.
    pieces = [piece for each in metadata for piece in getattr(each, "metadata", (each,))]
    return next((getattr(piece, name) for piece in pieces if getattr(piece, name, None) is not None), None)


def fits(value: Any, metadata: Any) -> bool:
    """Whether a value keeps what a field's metadata say."""
    lowest, above, highest, below = (limit(metadata, name) for name in ("ge", "gt", "le", "lt"))
    shortest, longest = limit(metadata, "min_length"), limit(metadata, "max_length")
    return (
        (lowest is None or value >= lowest)
        and (above is None or value > above)
        and (highest is None or value <= highest)
        and (below is None or value < below)
        and (shortest is None or len(value) >= shortest)
        and (longest is None or len(value) <= longest)
    )


def samples(annotation: Any, metadata: Any = ()) -> List[Any]:
    """Values that fit `annotation`, as they stand in JSON; the first is an ordinary one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    found: List[Any]
    if origin is Annotated:
        return samples(arguments[0], (*metadata, *arguments[1:]))
    if origin is Union:
        return without_doubles(
            [value for one in arguments if one is not type(None) for value in samples(one, metadata)]
        )
    if origin is Literal:
        found = list(arguments)
    elif origin is list:
        items = samples(arguments[0])
        found = [items, [], items[:1]]
    elif origin is dict:
        found = OBJECTS if arguments[1] is Any else MAPPINGS
    elif annotation is Any:
        found = ANYTHING
    elif is_model(annotation):
        found = variants(annotation)
    elif annotation in (int, float):
        edges = [edge for edge in (limit(metadata, "ge"), limit(metadata, "le")) if edge is not None]
        found = [*(INTS if annotation is int else FLOATS), *edges]
    else:
        found = {str: TEXTS, bool: [True, False]}[annotation]
    return without_doubles([value for value in found if fits(value, metadata)])


def without_doubles(values: List[Any]) -> List[Any]:
    return list({canonical(value): value for value in values}.values())


def canonical(value: Any) -> str:
    """JSON that tells 1, 1.0 and true apart, and not the order of an object's fields."""
    return json.dumps(value, sort_keys=True)


def samples_of_fields(model: Any) -> Dict[str, List[Any]]:
    return {name: samples(field.annotation, field.metadata) for name, field in model.model_fields.items()}


def required(model: Any) -> Dict[str, Any]:
    """An ordinary value for each field that must be given."""
    fields = {
        name: samples(field.annotation, field.metadata)[0]
        for name, field in model.model_fields.items()
        if field.is_required()
    }
    if model.__name__ in ("CreateBatchParams", "UploadBatchFileParams") and "requests" in fields:
        fields["requests"] = with_ids_of_their_own(fields["requests"])
    return fields


def with_ids_of_their_own(requests: List[Any]) -> List[Any]:
    return [{**request, "custom_id": f"{request['custom_id']}{n}"} for n, request in enumerate(requests)]


def combined(fields: Mapping[str, List[Any]]) -> List[Dict[str, Any]]:
    """As many objects as it takes for each field to have each of its samples."""
    count = max((len(values) for values in fields.values()), default=1)
    return [{name: values[n % len(values)] for name, values in fields.items()} for n in range(count)]


@functools.cache
def _variants(model: Any) -> List[Dict[str, Any]]:
    return without_doubles([required(model), *combined(samples_of_fields(model))])


def variants(model: Any) -> List[Dict[str, Any]]:
    """A `model` with what must be given alone, and those with every field, until each sample was used."""
    everything = _variants(model)
    return [*everything[1:], everything[0]]


# Calls


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A method that both sides have.

    Attributes:
        method: where it is, from the client on.
        answer: what the server says to it: JSON, or the bytes of a file.
        params: the type of its params.
        keywords: the arguments that it takes by name, with their samples.
        takes_id: whether its first argument is an id.
        needs: the version of the official SDK that it is compared with.
        note: what tells it from another comparison of the same method.
    """

    method: str
    answer: Any = None
    params: Optional[str] = None
    keywords: Optional[Mapping[str, List[Any]]] = None
    takes_id: bool = False
    needs: str = CURRENT
    note: str = ""

    def __repr__(self) -> str:
        return self.method + self.note

    @property
    def is_stream(self) -> bool:
        return self.method.endswith(".stream")


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One call with its arguments.

    Attributes:
        label: a name for it among the cases of its call.
        id: the id, for a call that takes one.
        fields: what the params are made of, or the arguments by name; None for a call without either.
        like: the label of a case whose request tells, in part, what this one's should be.
    """

    call: Call
    label: str
    id: Optional[str] = None
    fields: Optional[Mapping[str, Any]] = None
    like: Optional[str] = None

    def arguments(self, types: Any) -> Tuple[List[Any], Dict[str, Any]]:
        """The arguments of the call, with params from the module `types`."""
        positional: List[Any] = [self.id] if self.call.takes_id else []
        if self.call.params is None:
            return positional, dict(self.fields or {})
        if self.fields is not None:
            positional.append(getattr(types, self.call.params)(**self.fields))
        return positional, {}


MODEL = {"id": "m", "name": "M", "is_free": True}
TEMPLATE = {"id": "t", "name": "T", "is_global": False, "created_at": "", "updated_at": ""}
IMAGES = {"created": 0, "data": []}
PAGE = {"object": "list", "data": [], "has_more": False}
KINDS = ["text", "embedding", "image", "audio", "video"]

CALLS = [
    Call(
        "chat.completions.create",
        {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": []},
        "ChatCompletionParams",
    ),
    Call("chat.completions.stream", params="ChatCompletionParams"),
    Call("responses.create", {"id": "r"}, "ResponsesParams"),
    Call("responses.stream", params="ResponsesParams"),
    Call("responses.list", PAGE, keywords={"after": TEXTS, "limit": INTS}),
    Call("responses.get", {"id": "r"}, takes_id=True),
    Call("embeddings.create", {"object": "list", "data": [], "model": "m"}, "EmbeddingsParams"),
    Call("images.generate", IMAGES, "ImageGenerationParams"),
    Call("images.stream", params="ImageGenerationParams"),
    Call("images.edit", IMAGES, "ImageEditParams"),
    Call(
        "compare.create",
        {"comparison_id": "c", "object": "o", "created": 0, "models": [], "results": [], "total_latency_ms": 0},
        "CompareParams",
    ),
    Call("compare.stream", params="CompareParams"),
    Call("batches.create", {"id": "b"}, "CreateBatchParams"),
    Call("batches.create", {"id": "b"}, "CreateBatchParams", needs=WITH_FILES, note=" of a file"),
    Call("batches.get", {"id": "b"}, takes_id=True),
    Call("batches.list", PAGE, keywords={"after": TEXTS, "limit": INTS}),
    Call("batches.cancel", {"id": "b"}, takes_id=True),
    Call("files.upload", {"id": "f"}, "UploadBatchFileParams", needs=WITH_FILES),
    Call("files.get", {"id": "f"}, takes_id=True, needs=WITH_FILES),
    Call("files.delete", {}, takes_id=True, needs=WITH_FILES),
    Call("files.content", b'{"custom_id": "1"}\n', takes_id=True, needs=WITH_FILES),
    Call("models.list", [MODEL], keywords={"free": [True, False], "type": KINDS, "provider": TEXTS}),
    Call("models.free", [MODEL]),
    Call("models.paid", [MODEL]),
    Call("models.search", {"total": 0, "limit": 0, "offset": 0}, "ModelSearchParams"),
    Call("models.get", MODEL, takes_id=True),
    Call("templates.create", TEMPLATE, "CreateTemplateParams"),
    Call("templates.list", [TEMPLATE]),
    Call("templates.get", TEMPLATE, takes_id=True),
    Call("templates.update", TEMPLATE, "UpdateTemplateParams", takes_id=True),
    Call("templates.delete", takes_id=True),
]

MESSAGE = {"role": "user", "content": "Hi"}
PYTHON_VALUES = {
    "when": datetime.datetime(2026, 8, 1, 12, 30, tzinfo=datetime.timezone.utc),
    "who": uuid.UUID(int=1),
}
PYTHON_VALUES_AS_JSON = {"when": "2026-08-01T12:30:00Z", "who": "00000000-0000-0000-0000-000000000001"}

SPECIAL: Dict[str, Dict[str, Mapping[str, Any]]] = {
    "chat.completions.create": {
        "an unknown field in a message": {"messages": [{**MESSAGE, "no_such_field": 1}]},
        "an unknown field in a part of a message": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "no_such_field": 1}]}]
        },
        **{
            f"{value} within": {"messages": [MESSAGE], "response_format": {"deep": [value]}}
            for value in (math.nan, math.inf, -math.inf)
        },
        "values of JSON": {"messages": [MESSAGE], "response_format": PYTHON_VALUES_AS_JSON},
        "values of Python": {"messages": [MESSAGE], "response_format": PYTHON_VALUES},
    },
    "responses.create": {
        "a tool with its options": {"input": "Hi", "tools": [{"type": "file_search", "vector_store_ids": ["v"]}]},
        "a stream": {"input": "Hi", "stream": True},
    },
    "compare.create": {"a stream": {"models": ["a"], "messages": [MESSAGE], "stream": True}},
    "models.list": {"an unknown type": {"type": "no such type"}},
}


@functools.cache
def cases(call: Call) -> List[Case]:
    """The cases of a call; those of one that needs another version of the official SDK cannot always be told."""
    fields: List[Optional[Mapping[str, Any]]] = [None]
    if call.params is not None:
        fields = [*combined(acceptable_samples(call)), required(getattr(meshapi, call.params))]
        if call.method == "models.search":
            fields.append(None)
    elif call.keywords is not None:
        fields = [*combined(call.keywords), *({name: values[0]} for name, values in call.keywords.items()), {}]
    found = [Case(call, f"params {n}", PLAIN_ID if call.takes_id else None, each) for n, each in enumerate(fields)]
    if call.takes_id:
        plain = found[0].label
        found += [Case(call, f"id {id!r}", id, fields[0], like=plain) for id in IDS if id != PLAIN_ID]
    for label, each in SPECIAL.get(repr(call), {}).items():
        like = "values of JSON" if label == "values of Python" else None
        found.append(Case(call, label, fields=each, like=like))
    return found


@functools.cache
def acceptable_samples(call: Call) -> Dict[str, List[Any]]:
    """The samples of each field of a call's params that both sides take; the rest is a matter of `probes`."""
    ours, theirs = getattr(meshapi_core, call.params), getattr(meshapi, call.params)
    fields = samples_of_fields(theirs)
    if "requests" in fields:
        fields["requests"] = [with_ids_of_their_own(requests) for requests in fields["requests"]]
    if call.method in ("responses.create", "compare.create"):
        # With True it would be refused, on both sides: one of the special cases.
        fields["stream"] = [False]
    usual = required(theirs)
    return {
        # Where none is left, all of them, so that the call fails and its test says where.
        name: [value for value in values if accepts(ours, {**usual, name: value})] or values
        for name, values in fields.items()
    }


def accepts(model: Any, fields: Mapping[str, Any]) -> bool:
    try:
        model(**fields)
    except ValueError:
        return False
    return True


# Requests

# What an HTTP library says for itself.
LIBRARY_HEADERS = {"accept-encoding", "connection", "content-length", "host", "user-agent"}

# Nothing that has a meaning of its own in a URL, and no segment that is a step.
SAFE_PATH = re.compile(r"(/(?!\.{1,2}(/|$))([A-Za-z0-9._~-]|%[0-9A-F]{2})*)+")

Parts = Dict[str, Any]


def parts_of(request: Any) -> Parts:
    """What a request says, whatever library it was sent with: what is equal means the same to the gateway."""
    path, _, query = request.target.partition("?")
    headers = [(name.lower(), value) for name, value in request.headers if name.lower() not in LIBRARY_HEADERS]
    assert len(dict(headers)) == len(headers), "a header field came twice"
    return {
        "method": request.method,
        "path": [unquote(segment, errors="strict") for segment in path.split("/")],
        "query": sorted(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))),
        "body": canonical(json.loads(request.body)) if request.body else None,
        # All but the SDK's version.
        **{name: value.partition("/")[0] if name == "x-meshapi-sdk" else value for name, value in headers},
    }


# Differences

MISSING = "(missing)"
UNKNOWN_FIELD = "no_such_field"
# Values of every type, also where another is due.
PROBES = [None, 5, 1.5, True, "5", "", [], {}, math.nan, math.inf]


@dataclasses.dataclass(frozen=True)
class Probe:
    """A field with a value, which a type of params accepts or does not."""

    model: str
    field: str
    value: Any

    @property
    def ours(self) -> Any:
        return getattr(meshapi_core, self.model)

    @property
    def theirs(self) -> Any:
        return getattr(meshapi._types, self.model)

    @property
    def our_field(self) -> Any:
        return self.ours.model_fields.get(self.field)

    @property
    def their_field(self) -> Any:
        return self.theirs.model_fields.get(self.field)

    def is_accepted(self, model: Any) -> bool:
        fields = {**required(self.theirs), self.field: self.value}
        if self.value == MISSING:
            del fields[self.field]
        return accepts(model, fields)


PARAMS_OF_BOTH = [
    name
    for name in meshapi_core.__all__
    if isinstance(getattr(meshapi_core, name), type)
    and issubclass(getattr(meshapi_core, name), Params)
    and hasattr(meshapi._types, name)
    # The types of the older one lack fields that the newer one has; what is compared with it are files.
    and (INSTALLED == CURRENT or name in ("BatchRequestItem", "CreateBatchParams", "UploadBatchFileParams"))
]


def probes(model: str) -> List[Probe]:
    theirs = getattr(meshapi._types, model)
    found = [Probe(model, UNKNOWN_FIELD, 1)]
    for name, field in theirs.model_fields.items():
        values = [*samples(field.annotation, field.metadata), *PROBES, *([MISSING] if field.is_required() else [])]
        found += [Probe(model, name, value) for value in without_doubles(values)]
    return found


@dataclasses.dataclass(frozen=True)
class Difference:
    """One way in which we differ from the official SDK, on purpose.

    Attributes:
        what: what it is about.
        official: what the official SDK does.
        here: what is done here.
        why: the reason.
        is_case: whether it shows in the request of a case.
        change: what should be sent, made of what the official SDK sends (None if it refuses), and of what it sends
            for the case which this one is like; None if it should be refused.
        is_whole: whether there is something to be changed also where the official SDK sends nothing.
        is_probe: whether it shows in what a type of params accepts.
        accepts: what is accepted here.
    """

    what: str
    official: str
    here: str
    why: str
    is_case: Callable[[Case], bool] = lambda case: False
    change: Callable[[Case, Optional[Parts], Optional[Parts]], Optional[Parts]] = lambda case, sent, like: sent
    is_whole: bool = False
    is_probe: Callable[[Probe], bool] = lambda probe: False
    accepts: bool = False


ENCODED = ("batches.get", "batches.cancel", "models.get")


def leads_elsewhere(case: Case) -> bool:
    """Whether the id of a case means something else where it is not encoded."""
    return bool(case.id) and bool(has_dots(case) or re.search(r"[/?#\x00-\x1f\x7f]|%[0-9A-F]{2}", case.id))


def has_dots(case: Case) -> bool:
    """Whether the id of a case is a step within the path, or has one."""
    segments = (case.id or "").split("/") if case.call.method == "models.get" else [case.id]
    return any(segment in (".", "..") for segment in segments)


def with_its_id(case: Case, sent: Optional[Parts], like: Optional[Parts]) -> Optional[Parts]:
    """What is sent for the id of `case`, like that for an ordinary one."""
    assert like is not None
    at = like["path"].index(PLAIN_ID)
    segments = case.id.split("/") if case.call.method == "models.get" else [case.id]
    return {**like, "path": [*like["path"][:at], *segments, *like["path"][at + 1 :]]}


def without(name: str) -> Callable[[Case, Optional[Parts], Optional[Parts]], Optional[Parts]]:
    return lambda case, sent, like: {key: value for key, value in sent.items() if key != name}


def having(name: str, value: str) -> Callable[[Case, Optional[Parts], Optional[Parts]], Optional[Parts]]:
    return lambda case, sent, like: {**sent, name: value}


def refused(case: Case, sent: Optional[Parts], like: Optional[Parts]) -> Optional[Parts]:
    return None


def without_stream(case: Case, sent: Optional[Parts], like: Optional[Parts]) -> Optional[Parts]:
    body = json.loads(sent["body"])
    del body["stream"]
    return {**sent, "body": canonical(body)}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_of_a_tool_call(probe: Probe) -> bool:
    if probe.model not in ("ToolCall", "ToolCallFunction") or not probe.their_field:
        return False
    if probe.field == "type" and isinstance(probe.value, str) and probe.value != "function":
        return True
    absent = probe.value is None or probe.value == MISSING
    return probe.their_field.is_required() and (absent or (probe.field == "function" and probe.value == {}))


def is_of_a_batch_of_nothing(probe: Probe) -> bool:
    if probe.model not in ("CreateBatchParams", "UploadBatchFileParams"):
        return False
    if probe.field == "requests" and isinstance(probe.value, list):
        ids = [request["custom_id"] for request in probe.value]
        return not ids or len(ids) > len(set(ids))
    return probe.field in ("input_file_id", "endpoint", "completion_window") and probe.value == "" and is_of_a_file()


def is_of_a_file() -> bool:
    """Whether a batch of the installed official SDK is made of a file."""
    return "input_file_id" in meshapi._types.CreateBatchParams.model_fields


# First what is no request at all, or another one; then what a request has more or less than theirs.
DIFFERENCES = [
    Difference(
        "an id with `/`, `?`, `#`, `%41` or control characters in it, or one that is `.` or `..`, of a response, a "
        "template or a file",
        "sent as it stands: to another address, or not at all",
        "percent-encoded whole",
        "an id leads to what it names, and nowhere else",
        is_case=lambda case: case.call.method not in ENCODED and leads_elsewhere(case),
        change=with_its_id,
        is_whole=True,
    ),
    Difference(
        "`.` or `..` as the id of a batch, or in that of a model",
        "leads to another address",
        "percent-encoded",
        "an id leads to what it names, and nowhere else",
        is_case=lambda case: case.call.method in ENCODED and has_dots(case),
        change=with_its_id,
        is_whole=True,
    ),
    Difference(
        "an empty id",
        "sent: to the address of the list",
        "`ValueError`",
        "it is a mistake in the program, and `delete` should not find out what it does",
        is_case=lambda case: case.id == "",
        change=refused,
        is_whole=True,
    ),
    Difference(
        "`models.list(type=...)` with a type that there is not",
        "sent",
        "`ValueError`",
        "what a caller passes is checked, as in params",
        is_case=lambda case: case.label == "an unknown type",
        change=refused,
        is_whole=True,
    ),
    Difference(
        "an unknown field in a message, a tool, or another part of params",
        "dropped without a word",
        "`ValueError`, which names it",
        "a slip of the pen should not change the question; `extra_body=` sends what the types do not know",
        is_case=lambda case: case.label.startswith("an unknown field"),
        change=refused,
        is_whole=True,
        is_probe=lambda probe: (
            probe.field == UNKNOWN_FIELD and probe.theirs.model_config.get("extra", "ignore") == "ignore"
        ),
    ),
    Difference(
        "an unknown field in a `BuiltinTool`",
        "sent",
        "`ValueError`, which names it",
        'as in all other params; `extra_body={"tools": [...]}` sends tools with fields of their own',
        is_case=lambda case: case.label == "a tool with its options",
        change=refused,
        is_whole=True,
        is_probe=lambda probe: probe.field == UNKNOWN_FIELD and probe.theirs.model_config.get("extra") == "allow",
    ),
    Difference(
        "`stream` in the params of `images.generate`",
        "sent",
        "left out",
        "the method says whether the answer is streamed, as it does for chat",
        is_case=lambda case: case.call.method == "images.generate" and "stream" in case.fields,
        change=without_stream,
    ),
    Difference(
        "a `datetime`, a `UUID` and the like within free-form objects",
        "`TypeError`",
        "sent as text, the way pydantic writes them",
        "it is what they become in a model's JSON",
        is_case=lambda case: case.label == "values of Python",
        change=lambda case, sent, like: like,
        is_whole=True,
    ),
    Difference(
        "`None` for a field of params that has a default",
        "refused in some types",
        "left out of the request",
        "`None` means the same in every field: not given",
        is_probe=lambda probe: (
            probe.value is None
            and bool(probe.their_field)
            and not probe.their_field.is_required()
            and probe.their_field.default is not None
        ),
        accepts=True,
    ),
    Difference(
        "a tool call without `id`, `name` or `arguments`, or of another `type`",
        "refused",
        "accepted",
        "some models write such calls, and they are sent back with their results",
        is_probe=is_of_a_tool_call,
        accepts=True,
    ),
    Difference(
        "a number for a text, in a part of a message or a tool call",
        "refused",
        "becomes the text",
        "the same types read answers, and some servers write numbers there",
        is_probe=lambda probe: (
            issubclass(probe.ours, Shared)
            and bool(probe.our_field)
            and str in leaves(probe.our_field.annotation)
            and is_number(probe.value)
        ),
        accepts=True,
    ),
    Difference(
        "`nan` and `inf` where a number is due",
        "accepted; fail when they are sent",
        "`ValueError`",
        "JSON has no word for them",
        is_probe=lambda probe: (
            isinstance(probe.value, float)
            and not math.isfinite(probe.value)
            and float in leaves(probe.their_field.annotation)
            and fits(probe.value, probe.their_field.metadata)
        ),
    ),
    Difference(
        "a batch of no requests, of two with one `custom_id`, or of a file without a name",
        "sent",
        "`ValueError`",
        "results are found by their `custom_id`",
        is_probe=is_of_a_batch_of_nothing,
    ),
    Difference(
        "`Content-Type` without a body",
        "`application/json`",
        "not sent",
        "there is nothing that it could tell of",
        is_case=lambda case: (
            (case.call.params is None and case.call.method != "batches.cancel") or case.call.method == "models.search"
        ),
        change=without("content-type"),
    ),
    Difference(
        "`Accept` for a stream",
        "`application/json`",
        "`text/event-stream`",
        "it is what should come",
        is_case=lambda case: case.call.is_stream,
        change=having("accept", "text/event-stream"),
    ),
    Difference(
        "`Accept` for the content of a file",
        "`application/json`",
        "`*/*`",
        "it is lines of JSON, or whatever was uploaded",
        is_case=lambda case: case.call.method == "files.content",
        change=having("accept", "*/*"),
    ),
    Difference(
        "`X-Mesh-Version`",
        "not sent",
        "`2026-08`",
        "it pins the shapes of the answers; `api_version=None` leaves it out",
        is_case=lambda case: True,
        change=having("x-mesh-version", "2026-08"),
    ),
]

FIELDS_APART = {
    "CreateBatchParams": {"input_file_id", "endpoint"} if INSTALLED == CURRENT else {"requests"},
}
"""Fields that only we have: a batch is made of requests or of a file here, there of one or the other by version."""
