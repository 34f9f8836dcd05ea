"""The kinds of model: what a caller writes is checked strictly, what the gateway answers is taken as it comes.

`Params` refuse a field that they do not know, so that a slip of the pen is an error and not a silence.  `Reply` keeps
every field that it does not know and misses none: answers come from hundreds of models behind many servers.  `Shared`
is for the few types that appear on both sides, so that what was received can be sent back as it is.
"""

from math import isfinite
from typing import Any, ClassVar, Dict, List, Optional, Tuple, TypeVar, cast

from pydantic import BaseModel, ConfigDict, FailFast, GetCoreSchemaHandler, PlainSerializer, SerializationInfo
from pydantic_core import core_schema
from typing_extensions import Annotated, Self

from ..actions import Headers, ResponseHead

__all__ = ["Answer", "Doubts", "Finite", "Headed", "ListAnswer", "Listed", "Number", "Params", "Reply", "Shared"]

T = TypeVar("T")

_WITHOUT_FRACTIONS = frozenset({str, int, bool, type(None)})


class Doubts(List[Any]):
    """The context in which params are written: of the values met, those that JSON may have no word for."""


def _is_finite(value: Any) -> bool:
    """Whether all numbers in `value` are finite; ``False`` also where it takes more than a look to tell."""
    kind = type(cast("object", value))
    if kind in _WITHOUT_FRACTIONS:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        return all(map(_is_finite, value.values()))
    return kind in (list, tuple) and all(map(_is_finite, value))


def _doubt(value: T, info: SerializationInfo) -> T:
    if isinstance(info.context, Doubts) and not _is_finite(value):
        info.context.append(value)
    return value


# JSON has no NaN and no infinity (RFC 8259, section 6).  To look at what could be one takes a fraction of the time that
# it takes to look for one in all that was written.
Number = Annotated[float, PlainSerializer(_doubt, return_type=float, when_used="json-unless-none")]
"""A number that a caller writes; if it is not finite, there is doubt."""

Finite = Annotated[T, PlainSerializer(_doubt, when_used="json-unless-none")]
"""Whatever a caller writes where pydantic lets it be anything; if not all numbers in it are finite, there is doubt."""


class Params(BaseModel):
    """What a caller fills in; an unknown field is an error that names it."""

    model_config = ConfigDict(
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
        # Not as null, which is another value: whoever makes JSON of it then finds what JSON cannot say, and refuses it.
        ser_json_inf_nan="constants",
        protected_namespaces=(),
    )

    def __init__(self, /, **data: Any) -> None:
        # Strict all the way down: without this, a `Shared` inside would keep the unknown fields of a caller's dict.
        self.__pydantic_validator__.validate_python(data, self_instance=self, extra="forbid")

    # What BaseModel's own __init__ says of itself; else pydantic would call this one for each nested model, in Python.
    __init__.__dict__["__pydantic_base_init__"] = True


class Shared(Params):
    """What callers and the gateway both write: strict when made in a program, lenient as part of an answer."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    __pydantic_extra__: Dict[str, Finite[Any]]  # pyright: ignore[reportIncompatibleVariableOverride]


class Reply(BaseModel):
    """What the gateway writes; unknown fields are kept, and readable as attributes."""

    model_config = ConfigDict(extra="allow", defer_build=True, coerce_numbers_to_str=True, protected_namespaces=())


class Headed:
    """Something that an HTTP answer brought, and that knows the head which it came with."""

    __slots__ = ()

    @property
    def response_headers(self) -> Headers:
        """The header fields of the HTTP answer, such as ``X-Mesh-Served-Provider``; empty for one made by hand."""
        head: Optional[ResponseHead] = getattr(self, "_head", None)
        return Headers() if head is None else head.headers

    @property
    def request_id(self) -> str:
        """The gateway's name for the request, to be quoted to its support; ``""`` if it gave none."""
        return self.response_headers.get("x-request-id", "")

    def _take_head(self, head: ResponseHead) -> None:
        """Remember the head that this came with."""
        object.__setattr__(self, "_head", head)


class Answer(Headed, Reply):
    """The top of an answer, or an item of a list of answers; the HTTP head that it came with is none of its fields."""

    # A slot, and not a private attribute of pydantic's: those cost time for each model made.
    __slots__ = ("_head",)

    # What copies and pickles keep beside the fields: pydantic knows nothing of slots.
    _BESIDE: ClassVar[Tuple[str, ...]] = ("_head",)

    def __copy__(self) -> Self:
        return super().__copy__()._put_beside(self._beside())

    def __deepcopy__(self, memo: Optional[Dict[int, Any]] = None) -> Self:
        # As they are: a head does not change, and what else there is may not let itself be copied.
        return super().__deepcopy__(memo)._put_beside(self._beside())

    def __getstate__(self) -> Dict[Any, Any]:
        return {**super().__getstate__(), "_beside": self._beside()}

    def __setstate__(self, state: Dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._put_beside(state["_beside"])

    def _beside(self) -> Dict[str, Any]:
        return {name: getattr(self, name, None) for name in self._BESIDE}

    def _put_beside(self, values: Dict[str, Any]) -> Self:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self


class ListAnswer(Answer):
    """An answer that lists others; each of those knows the head, too."""

    _LIST: ClassVar[str] = "data"

    def _take_head(self, head: ResponseHead) -> None:
        super()._take_head(head)
        for item in getattr(self, self._LIST):
            item._take_head(head)


class _NullAsEmpty:
    """Reads ``null`` where a list is due as the empty list, inside pydantic's core: no Python runs for it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        # A schema that null never fits, with a default on error: the core's only way to turn one value into another.
        empty = core_schema.with_default_schema(
            core_schema.literal_schema(["never"]), default_factory=list, on_error="default"
        )
        return core_schema.union_schema(
            # No name, so that in the place of an error the list is not told twice.
            [(handler(source), ""), core_schema.chain_schema([core_schema.none_schema(), empty])],
            mode="left_to_right",
        )


# Only the first wrong item is ever told of; to make an error of each costs hundreds of times what they take.
Listed = Annotated[List[T], FailFast(), _NullAsEmpty()]
"""A list in an answer; ``null`` counts as the empty one."""
