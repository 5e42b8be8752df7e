"""Hypothesis strategies for every class of ocikit.spec, made from the same tables that read and write them."""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from ocikit import spec
from ocikit.spec import _kinds as kinds
from ocikit.spec._document import Document, table_of

#: Every class of a specification.
CLASSES: list[type[Document]] = sorted(
    (
        value
        for name in spec.__all__
        if isinstance(value := getattr(spec, name), type) and issubclass(value, Document) and value is not Document
    ),
    key=lambda cls: cls.__name__,
)

_NAMES = {name: getattr(spec, name) for name in spec.__all__} | {"Mapping": Mapping, "Any": Any}
_RANGES = {
    id(kinds.INT32): (-(2**31), 2**31 - 1),
    id(kinds.INT64): (-(2**63), 2**63 - 1),
    id(kinds.UINT16): (0, 2**16 - 1),
    id(kinds.UINT32): (0, 2**32 - 1),
    id(kinds.UINT64): (0, 2**64 - 1),
}

#: Text that JSON can carry.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

#: Names that no class knows, in no case.
unknown_names = text.map(lambda name: f"x-{name}")

#: JSON data of any shape.
json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)

json_objects = st.dictionaries(text, json_data, max_size=3)

digests = st.binary(max_size=4).flatmap(
    lambda data: st.sampled_from(["sha256", "sha512"]).map(lambda algorithm: spec.Digest.from_bytes(data, algorithm))
)

timestamps = st.datetimes(timezones=st.just(dt.UTC)).map(spec.Timestamp.from_datetime)


def _values(annotation: Any, numbers: tuple[int, int]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {types.UnionType, typing.Union}:
        return st.one_of(*(_values(argument, numbers) for argument in arguments))
    if origin is tuple:
        return st.lists(_values(arguments[0], numbers), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(text, _values(arguments[1], numbers), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return documents(annotation)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        str: text,
        bool: st.booleans(),
        int: st.integers(*numbers),
        bytes: st.binary(max_size=8),
        spec.Digest: digests,
        spec.Timestamp: timestamps,
        Any: json_data,
    }
    return simple[annotation]


def documents(cls: type[Document]) -> st.SearchStrategy[Document]:
    """Well-typed documents of a class, unknown fields included; not necessarily valid ones."""
    annotations = typing.get_type_hints(cls, None, _NAMES)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    optional = []
    for entry in table_of(cls).entries:
        # additionalGids is the only list of numbers, and its numbers are uint32 like most others.
        numbers = _RANGES.get(id(entry.kind), (0, 2**32 - 1))
        fields[entry.attribute] = _values(annotations[entry.attribute], numbers)
        if entry.default is not kinds.MISSING:
            optional.append(entry.attribute)
    fields["extra"] = st.dictionaries(unknown_names, json_data, max_size=2)
    required = {name: strategy for name, strategy in fields.items() if name not in {*optional, "extra"}}
    rest = {name: fields[name] for name in (*optional, "extra")}
    return st.fixed_dictionaries(required, optional=rest).map(lambda arguments: cls(**_readable(cls, arguments)))


def _readable(cls: type[Document], arguments: dict[str, Any]) -> dict[str, Any]:
    """Leave out what reading refuses: the media types of another kind of manifest."""
    if "media_type" in arguments and cls.__name__ != "Descriptor":
        arguments["media_type"] = f"text/{arguments['media_type']}"
    return arguments


def attribute_names(cls: type[Document]) -> list[str]:
    """The attributes of a class that stand for JSON keys."""
    return [attribute.name for attribute in attrs.fields(cls) if attribute.name != "extra"]
