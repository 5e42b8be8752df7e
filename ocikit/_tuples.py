"""Named tuples that cost little to define: what :class:`typing.NamedTuple` makes, without a look at the types.

That one compiles the annotation of each field to see whether it could be a type. There are some hundred such classes
here, a command of the command line defines dozens of them before it begins, and type checkers look at them anyway.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    #: What a class body has that the class has already.
    _OWN = frozenset("__module__ __qualname__ __annotations__ __classcell__".split())

    class _Maker(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            """Make a class that derives from tuple alone. Its module has to keep annotations as text.

            Raises:
                TypeError: A field without a default follows one with a default, or there is another base.
            """
            if len(bases) != 1:
                raise TypeError(f"{name}: a named tuple has no other base, found {bases}")
            types = body.get("__annotations__", {})
            defaults = {field: body[field] for field in types if field in body}
            if [*types][len(types) - len(defaults) :] != [*defaults]:
                raise TypeError(f"{name}: fields without a default come first, found {', '.join(types)}")
            made = namedtuple(name, types, defaults=defaults.values(), module=body["__module__"])  # noqa: PYI024 - see above
            made.__qualname__ = body["__qualname__"]
            made.__annotations__ = made.__new__.__annotations__ = types
            for attribute, value in body.items():
                if attribute not in types and attribute not in _OWN:
                    setattr(made, attribute, value)
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
