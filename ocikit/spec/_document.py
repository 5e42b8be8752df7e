"""The base of every class of a specification: fields with explicit JSON keys, read and written by table.

A class states, field by field, the JSON key, the kind of value and what absence means::

    destination: str = field(metadata=key("destination", STRING, absent=""))
    options: tuple[str, ...] = field(default=(), metadata=key("options", array(STRING)))

The table of a class is compiled from that on its first use. What is written follows the
``json`` tags of specs-go: a field is left out when absence would be read as its value,
unless the tag has no ``omitempty`` (``always=True``, and every field without a default).
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import attrs
from attrs import field, frozen

from ocikit._tuples import NamedTuple
from ocikit.errors import ParseError, ValidationError
from ocikit.spec._json import MAX_BYTES, MAX_DEPTH, Fault, describe, dumps, loads
from ocikit.spec._kinds import MISSING, Kind, kind_of, plain, plain_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.spec._kinds import Coded
    from ocikit.spec.violation import Violation

__all__ = ["Document", "fault_of", "key", "table_of"]


class _Key(NamedTuple):
    name: str
    kind: Kind | type[Coded]
    absent: object
    always: bool


def key(name: str, kind: Kind | type[Coded], *, absent: object = MISSING, always: bool = False) -> dict[str, _Key]:
    """The metadata of a field.

    Args:
        name: The JSON key.
        kind: The kind of its value.
        absent: What a document without the key means, when that is not the default of the
            field. Without it and without a default the key is required.
        always: Write the key even when absence would mean the same.
    """
    return {"json": _Key(name, kind, absent, always)}


class Entry(NamedTuple):
    """One field of a class, as reading and writing need it."""

    attribute: str
    name: str
    kind: Kind
    #: What a document without the key means; MISSING when it must have the key.
    absent: object
    always: bool
    #: The default of the field; MISSING when it has none.
    default: object


class Table(NamedTuple):
    """The fields of a class."""

    entries: tuple[Entry, ...]
    by_name: dict[str, Entry]
    #: Key by casefolded key, to recognise keys that other parsers would take for ours.
    folded: dict[str, str]
    #: Attribute values for a document without the key, where that is not the default.
    absent: dict[str, Any]
    required: tuple[Entry, ...]
    #: What makes two objects equal, and what of it is hashed: maps are not.
    compared: Callable[[object], object]
    hashed: Callable[[object], object]


_tables: Final[dict[type, Table]] = {}


def table_of(cls: type[Document]) -> Table:
    """The compiled table of a class; compiled once, on first use."""
    table = _tables.get(cls)
    if table is None:
        attributes = attrs.fields(cls)
        entries = tuple(_entry(attribute) for attribute in attributes if "json" in attribute.metadata)
        table = _tables[cls] = Table(
            entries,
            {entry.name: entry for entry in entries},
            {entry.name.casefold(): entry.name for entry in entries},
            {entry.attribute: entry.absent for entry in entries if entry.absent is not entry.default},
            tuple(entry for entry in entries if entry.absent is MISSING),
            attrgetter(*(attribute.name for attribute in attributes)),
            attrgetter("__class__", *(attribute.name for attribute in attributes if attribute.hash is not False)),
        )
    return table


def _entry(attribute: attrs.Attribute[Any]) -> Entry:
    stated: _Key = attribute.metadata["json"]
    default: Any = attribute.default
    if default is attrs.NOTHING:
        default = MISSING
    elif hasattr(default, "factory"):
        default = default.factory()
    absent = default if stated.absent is MISSING else stated.absent
    always = stated.always or default is MISSING
    return Entry(attribute.name, stated.name, kind_of(stated.kind), absent, always, default)


def _unknown(table: Table, name: object, item: object) -> object:
    if not isinstance(name, str):
        raise Fault(f"expected strings as keys, found {describe(name)}")
    known = table.folded.get(name.casefold())
    if known is not None:
        # Go ignores case here: such a document means one thing to runc and another to everybody else.
        raise Fault(f"differs only in case from the key {known!r}; parsers disagree about such documents", name)
    try:
        return plain(item)
    except Fault as fault:
        fault.at(name)
        raise


def _in_any_case(table: Table, name: object, document: dict[Any, Any]) -> Entry | None:
    if not isinstance(name, str):
        return None
    folded = name.casefold()
    known = table.folded.get(folded)
    if known is None:
        return None
    if sum(isinstance(other, str) and other.casefold() == folded for other in document) > 1:
        raise Fault(f"is there beside another spelling of {known!r}; parsers disagree about such documents", name)
    return table.by_name[known]


def fault_of(document: Document) -> Fault | None:
    """The first value of the wrong type in a document, which only one that was built in Python can have."""
    try:
        document._encode(document)  # noqa: SLF001 - this module's own
    except Fault as fault:
        return fault
    return None


def _only_unknown(document: Document, _: object, extra: Mapping[str, Any]) -> None:
    """Refuse extra fields that the class itself has: readers would take one of the two values or the other."""
    if extra:
        table = table_of(type(document))
        known = {name: table.folded.get(name.casefold()) for name in extra if isinstance(name, str)}
        wrong = [
            f"$.{name}: belongs to {table.by_name[own].attribute}, not to extra" for name, own in known.items() if own
        ]
        if wrong:
            raise ValidationError(tuple(wrong))


@frozen(kw_only=True, repr=False, eq=False)
class Document:
    """Base of the classes of the specifications: frozen, keyword-only, comparable, and JSON on demand.

    Change a field with :func:`attrs.evolve`. Attribute names are the JSON keys in snake_case
    (``noNewPrivileges`` is ``no_new_privileges``); sequences are tuples and maps are dicts
    that must not be changed.
    """

    #: Fields of the document that the specification does not define; written back as they were read.
    extra: Mapping[str, Any] = field(factory=dict, hash=False, validator=_only_unknown)

    #: Casefolded keys of other kinds of documents: with one of them, a document is ambiguous.
    _foreign: ClassVar[frozenset[str]] = frozenset()
    #: Whether keys are read in any case, as every program in Go reads them: where nobody else reads the document. One
    #: that is there in two spellings is refused all the same.
    _any_case: ClassVar[bool] = False

    @classmethod
    def from_json(
        cls,
        data: bytes | str,
        *,
        max_bytes: int = MAX_BYTES,
        max_depth: int = MAX_DEPTH,
        allow_duplicate_keys: bool = False,
    ) -> Self:
        """Read a document.

        Args:
            data: JSON text; bytes are UTF-8 without a byte order mark.
            max_bytes: The size up to which it is read, in bytes.
            max_depth: How many arrays and objects may be nested in each other.
            allow_duplicate_keys: Let the last of several equal keys win, instead of refusing them.

        Returns:
            The document. Its types are right; whether it follows the rules is for :meth:`validate`.

        Raises:
            ParseError: Not JSON, a value of the wrong type, or a required key missing; with its path.
            LimitExceededError: The text is too large or too deep.
        """
        return cls.from_dict(
            loads(data, max_bytes=max_bytes, max_depth=max_depth, allow_duplicate_keys=allow_duplicate_keys)
        )

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read a document that is parsed already.

        Args:
            data: Plain data as :func:`json.loads` returns it; it is copied.

        Raises:
            ParseError: A value has the wrong type, or a required key is missing; with its path.
        """
        try:
            return cls._decode(data)
        except Fault as fault:
            raise ParseError(fault.path, fault.reason) from fault.__cause__

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data, in the order of the specification, unknown fields last.

        Raises:
            ValidationError: A field holds a value of the wrong type or out of range; with its path.
        """
        try:
            return self._encode(self)
        except Fault as fault:
            raise ValidationError((f"{fault.path}: {fault.reason}",)) from fault.__cause__

    def to_json(self, *, indent: int | str | None = None) -> bytes:
        """Write the document as JSON.

        Args:
            indent: Spaces (a number) or text per level; None for the compact form.

        Returns:
            UTF-8 without a trailing newline. A document that came from elsewhere may well have
            been other bytes: digests are taken over those, never over these.

        Raises:
            ValidationError: A field holds a value of the wrong type or out of range; with its path.
        """
        return dumps(self.to_dict(), indent=indent)

    def validate(self) -> tuple[Violation, ...]:
        """Every MUST of the specification that the document violates, each with its path.

        Returns:
            Nothing when all is well. A value of the wrong type, which only a document built in
            Python can have, is the only violation reported until it is mended.
        """
        from ocikit.spec.validate import violations  # noqa: PLC0415 - the rules import the classes

        return violations(self)

    def check(self) -> Self:
        """Raise when :meth:`validate` finds something; return the document itself otherwise.

        Raises:
            ValidationError: With every violation.
        """
        found = self.validate()
        if found:
            raise ValidationError(tuple(map(str, found)))
        return self

    @classmethod
    def _screen(cls, data: dict[Any, Any]) -> None:
        """Refuse an object that must not be read as this class at all; called before its fields are read."""
        if cls._foreign:
            for name, item in data.items():
                if item is not None and isinstance(name, str) and name.casefold() in cls._foreign:
                    raise Fault(f"does not belong in a {cls.__name__}; with it the document is ambiguous", name)

    @classmethod
    def _decode(cls, value: object) -> Self:
        if not isinstance(value, dict):
            raise Fault(f"expected an object, found {describe(value)}")
        cls._screen(value)
        table = table_of(cls)
        by_name = table.by_name
        arguments = dict(table.absent)
        extra: dict[str, Any] = {}
        for name, item in value.items():
            entry = by_name.get(name)
            if entry is None and cls._any_case:
                entry = _in_any_case(table, name, value)
            if entry is None:
                extra[name] = _unknown(table, name, item)
            elif item is not None:
                try:
                    arguments[entry.attribute] = entry.kind.decode(item)
                except Fault as fault:
                    fault.at(name)
                    raise
            elif entry.absent is MISSING and entry.kind.null is not MISSING:
                arguments[entry.attribute] = entry.kind.null
        for entry in table.required:
            if entry.attribute not in arguments:
                raise Fault("is REQUIRED and missing", entry.name)
        return cls(**arguments, extra=extra)

    @classmethod
    def _encode(cls, value: object) -> dict[str, Any]:
        if not isinstance(value, cls):
            raise Fault(f"expected {cls.__name__}, found {describe(value)}")
        result: dict[str, Any] = {}
        for entry in table_of(type(value)).entries:
            item = getattr(value, entry.attribute)
            if entry.always or (item is not entry.absent and item != entry.absent):
                try:
                    result[entry.name] = entry.kind.encode(item)
                except Fault as fault:
                    fault.at(entry.name)
                    raise
        if value.extra:
            result.update(plain_object(value.extra))
        return result

    # By the table, as everything else: methods that attrs makes are compiled for each class when it is defined.
    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        compared = table_of(type(self)).compared
        return compared(self) == compared(other)

    def __hash__(self) -> int:
        return hash(table_of(type(self)).hashed(self))

    def __repr__(self) -> str:
        shown = [
            f"{entry.attribute}={getattr(self, entry.attribute)!r}"
            for entry in table_of(type(self)).entries
            if getattr(self, entry.attribute) != entry.default
        ]
        if self.extra:
            shown.append(f"extra={self.extra!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
