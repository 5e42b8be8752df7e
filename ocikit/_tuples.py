"""Named tuples that cost little to define: what :class:`typing.NamedTuple` makes, without compiling anything.

That one compiles the annotation of each field, to see whether it could be a type, and a method for each class. There
are some hundred such classes here, and a command of the command line defines dozens of them before it begins. Type
checkers see the class of the standard library.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple

__all__ = ["NamedTuple"]


class _Record(tuple[Any, ...]):
    """What all named tuples have in common; :func:`collections.namedtuple` describes it."""

    __slots__ = ()

    _fields: tuple[str, ...] = ()

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:
        made = tuple.__new__(cls, iterable)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self, /, **changes: Any) -> Self:  # noqa: ANN401 - whatever the fields are
        made = self._make(map(changes.pop, self._fields, self))
        if changes:
            raise ValueError(f"Got unexpected field names: {[*changes]!r}")
        return made

    __replace__ = _replace

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({', '.join(shown)})"


@cache
def _constructor(count: int) -> FunctionType:
    """Return what makes a tuple of so many fields: it is the same for all classes, but for their names."""
    make: Any = namedtuple  # noqa: PYI024 - Any, because type checkers take it for a class of ours
    constructor: FunctionType = make("_Fields", [f"f{number}" for number in range(count)]).__new__
    return constructor


class _Maker(type):
    """Makes the classes; neither this one nor ``NamedTuple`` is left in them."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:  # noqa: ANN401 - a class of its own
        """Make a class, whose module has to keep annotations as text.

        Raises:
            TypeError: A field without a default follows one with a default, or there is another base.
        """
        if len(bases) != 1:
            raise TypeError(f"{name}: a named tuple has no other base, found {bases}")
        types: dict[str, str] = body["__annotations__"]
        defaults = {field: body[field] for field in types if field in body}
        fields = tuple(types)
        if fields[len(fields) - len(defaults) :] != tuple(defaults):
            raise TypeError(f"{name}: fields without a default come first, found {', '.join(fields)}")
        new = _constructor(len(fields))
        code = new.__code__.replace(co_varnames=("_cls", *fields), co_name="__new__")
        new = FunctionType(code, new.__globals__, "__new__", tuple(defaults.values()))
        new.__qualname__, new.__module__, new.__annotations__ = f"{name}.__new__", body["__module__"], types
        getters = {field: property(itemgetter(number)) for number, field in enumerate(fields)}
        common = {"__slots__": (), "__new__": new, "__match_args__": fields}
        own = {"_fields": fields, "_field_defaults": defaults}
        return type(name, (_Record,), {**body, **getters, **common, **own})


if not TYPE_CHECKING:
    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
