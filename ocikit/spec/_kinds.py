"""Kinds of JSON values: how each is checked and converted, in both directions.

Writing checks as strictly as reading, so what ocikit writes always has the types of
specs-go, whatever a caller put into a field.
"""

from __future__ import annotations

import binascii
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidDigestError, ParseError
from ocikit.spec._json import MAX_DEPTH, Fault, describe
from ocikit.spec.digest import Digest
from ocikit.spec.timestamp import Timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BASE64",
    "BOOLEAN",
    "DIGEST",
    "INT32",
    "INT64",
    "MISSING",
    "OBJECT",
    "STRING",
    "TIMESTAMP",
    "UINT16",
    "UINT32",
    "UINT64",
    "Coded",
    "Kind",
    "array",
    "kind_of",
    "late",
    "mapping",
    "plain",
    "plain_object",
]

#: Stands where there is no value, since None is one.
MISSING: Final = object()


class Kind(NamedTuple):
    """One kind of value; both functions raise Fault when it is not one."""

    #: From plain data to the value of the field.
    decode: Callable[[object], Any]
    #: From the value of the field to plain data, with the same checks.
    encode: Callable[[object], Any]
    #: What ``null`` means where the key is required: Go writes an empty list or map so.
    null: object = MISSING


class Coded(Protocol):
    """A class that is a kind of value itself."""

    @classmethod
    def _decode(cls, value: object) -> Any: ...  # noqa: ANN401 - an instance of the class

    @classmethod
    def _encode(cls, value: object) -> dict[str, Any]: ...


def kind_of(kind: Kind | type[Coded]) -> Kind:
    """The kind itself, or the kind that a class is."""
    return kind if isinstance(kind, Kind) else Kind(kind._decode, kind._encode)  # noqa: SLF001 - their only caller


def late(name: str) -> Kind:
    """A class of :mod:`ocikit.spec` that is loaded with the first value of it, because most documents have none."""

    def found() -> type[Coded]:
        cls: type[Coded] = getattr(import_module("ocikit.spec"), name)
        return cls

    return Kind(lambda value: found()._decode(value), lambda value: found()._encode(value))  # noqa: SLF001 - as above


def array(item: Kind | type[Coded]) -> Kind:
    """An array, which becomes a tuple."""
    decode, encode, _ = kind_of(item)
    return Kind(lambda value: tuple(_each(value, decode)), lambda value: _each(value, encode), ())


def mapping(item: Kind | type[Coded]) -> Kind:
    """An object whose keys are data, which becomes a dict in the order of the document."""
    decode, encode, _ = kind_of(item)
    return Kind(lambda value: _each_value(value, decode), lambda value: _each_value(value, encode), {})


def plain(value: object, room: int = MAX_DEPTH) -> object:
    """Copy JSON data of any shape, so that neither side sees later changes of the other.

    Raises:
        Fault: It is no JSON data, or nested deeper than ``room`` levels.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if float("-inf") < value < float("inf"):
            return value
        raise Fault(f"expected a finite number, found {value}")
    if not isinstance(value, (dict, list, tuple)):
        raise Fault(f"expected JSON data, found {describe(value)}")
    if room == 0:
        raise Fault(f"is nested deeper than {MAX_DEPTH} levels")
    each: Callable[[object, Callable[[object], Any]], object] = _each_value if isinstance(value, dict) else _each
    return each(value, lambda item: plain(item, room - 1))


def plain_object(value: object) -> dict[str, Any]:
    """Copy a JSON object of any content.

    Raises:
        Fault: It is no JSON object, or nested too deep.
    """
    return _each_value(value, plain)


def _each(value: object, one: Callable[[object], Any]) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise Fault(f"expected an array, found {describe(value)}")
    result = []
    for index, item in enumerate(value):
        try:
            result.append(one(item))
        except Fault as fault:
            fault.at(index)
            raise
    return result


def _each_value(value: object, one: Callable[[object], Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"expected an object, found {describe(value)}")
    result = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise Fault(f"expected strings as keys, found {describe(name)}")
        try:
            result[name] = one(item)
        except Fault as fault:
            fault.at(name)
            raise
    return result


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise Fault(f"expected a string, found {describe(value)}")


def _text(value: object) -> str:
    text = _string(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Fault("holds a lone surrogate (undecodable bytes?), which JSON cannot carry") from None
    return text


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Fault(f"expected true or false, found {describe(value)}")


def _integer(low: int, high: int) -> Kind:
    def check(value: object) -> int:
        if type(value) is int and low <= value <= high:  # the type itself is compared because bool is an int
            return value
        raise Fault(f"expected an integer from {low} to {high}, found {describe(value)}")

    return Kind(check, check)


def _digest(value: object) -> Digest:
    try:
        return value if isinstance(value, Digest) else Digest(_string(value))
    except InvalidDigestError as error:
        raise Fault(str(error)) from error


def _timestamp(value: object) -> Timestamp:
    try:
        return value if isinstance(value, Timestamp) else Timestamp(_string(value))
    except ParseError as error:
        raise Fault(error.reason) from error


def _from_base64(value: object) -> bytes:
    try:
        return binascii.a2b_base64(_string(value), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise Fault(f"expected base64 (RFC 4648, section 4): {error}") from error


def _to_base64(value: object) -> str:
    if not isinstance(value, bytes):
        raise Fault(f"expected bytes, found {describe(value)}")
    return binascii.b2a_base64(value, newline=False).decode()


STRING: Final = Kind(_string, _text)
BOOLEAN: Final = Kind(_boolean, _boolean)
INT32: Final = _integer(-(2**31), 2**31 - 1)
#: Also Go's ``int`` on the platforms that run containers.
INT64: Final = _integer(-(2**63), 2**63 - 1)
UINT16: Final = _integer(0, 2**16 - 1)
#: Also Go's ``os.FileMode``.
UINT32: Final = _integer(0, 2**32 - 1)
#: Also Go's ``uint``.
UINT64: Final = _integer(0, 2**64 - 1)
DIGEST: Final = Kind(_digest, _digest)
TIMESTAMP: Final = Kind(_timestamp, _timestamp)
BASE64: Final = Kind(_from_base64, _to_base64)
#: Any JSON object, kept as it is.
OBJECT: Final = Kind(plain_object, plain_object)
