"""policy.json read and written (containers-policy.json(5)).

Reading is strict on purpose: a policy with a misspelt key protects nothing while its author believes it
does. Unknown and duplicate keys, wrong types and empty lists anywhere reject the whole document, with
the JSON path of the fault.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from attrs import frozen

from ocikit.errors import InvalidPolicyError, LimitExceededError, ParseError
from ocikit.image.given import is_content
from ocikit.image.signature.schema import IDENTITIES, KEYS, NESTED, REQUIREMENTS
from ocikit.spec._json import describe, dumps, json_path, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.image.signature.requirements import Requirement
    from ocikit.image.signature.schema import Key, Kind

__all__ = ["Document", "ScopeValidator", "read_document", "write_document"]


class ScopeValidator(Protocol):
    """What knows the scopes of a transport; raises ``ValueError`` for one outside its grammar."""

    def __call__(self, scope: str, /) -> None:
        """Check a scope that is not empty."""


@frozen(kw_only=True)
class Document:
    """The content of a policy.json.

    Attributes:
        default: The requirements where no scope fits.
        transports: The requirements by transport and scope.
    """

    default: tuple[Requirement, ...]
    transports: dict[str, dict[str, tuple[Requirement, ...]]]


def read_document(data: bytes | str, scope_validators: Mapping[str, ScopeValidator]) -> Document:
    """Read a policy.

    Args:
        data: The document; bytes are UTF-8.
        scope_validators: By the name of a transport, what checks its scopes. Scopes of other transports are
            kept as they are: a policy may be shared with programs that know more transports.

    Raises:
        InvalidPolicyError: The document is malformed.
        TypeError: It is no document at all.
    """
    if not isinstance(data, bytes | str):
        raise TypeError(f"policy.json: expected a document, text or bytes, found {type(data).__name__}")
    members = _members(_load(data), "$", {"default", "transports"})
    if "default" not in members:
        raise InvalidPolicyError("$.default", "missing; a policy says what holds where no scope fits")
    default = _requirements(members["default"], "$.default")
    transports = {}
    for name, scopes in _members(members.get("transports", {}), "$.transports").items():
        path = _join("$.transports", name)
        transports[name] = _scopes(scopes, path, scope_validators.get(name))
    return Document(default=default, transports=transports)


def write_document(document: Document) -> bytes:
    """Write a policy as UTF-8 JSON; reading it gives the same policy."""
    transports = {
        name: {scope: [_write(one) for one in requirements] for scope, requirements in scopes.items()}
        for name, scopes in document.transports.items()
    }
    tree: dict[str, Any] = {"default": [_write(one) for one in document.default]}
    if transports:
        tree["transports"] = transports
    return dumps(tree, indent=4) + b"\n"


def _load(data: bytes | str) -> object:
    try:
        return loads(data)
    except ParseError as error:
        raise InvalidPolicyError(error.path, error.reason) from error
    except LimitExceededError as error:
        raise InvalidPolicyError("$", f"{error.what}: limit {error.limit:,}") from error


def _found(value: object) -> str:
    return f"found {describe(value)}"


def _join(path: str, key: str) -> str:
    return json_path([key], path)


def _members(value: object, path: str, known: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidPolicyError(path, f"expected an object, {_found(value)}")
    for key in value:
        if known is not None and key not in known:
            raise InvalidPolicyError(_join(path, key), f"unknown key; expected {', '.join(sorted(known)) or 'none'}")
    return value


def _scopes(value: object, path: str, validate: ScopeValidator | None) -> dict[str, tuple[Requirement, ...]]:
    scopes = {}
    for scope, requirements in _members(value, path).items():
        where = _join(path, scope)
        if scope and validate is not None:
            try:
                validate(scope)
            except ValueError as error:
                raise InvalidPolicyError(where, f"not a scope of this transport: {error}") from error
        scopes[scope] = _requirements(requirements, where)
    return scopes


def _requirements(value: object, path: str) -> tuple[Requirement, ...]:
    members = _list(value, path, "a list of requirements")
    return tuple(
        cast("Requirement", _typed(member, f"{path}[{index}]", REQUIREMENTS)) for index, member in enumerate(members)
    )


def _list(value: object, path: str, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidPolicyError(path, f"expected {what}, {_found(value)}")
    if not value:
        raise InvalidPolicyError(path, "must not be empty")
    return value


def _typed(value: object, path: str, classes: Mapping[str, type[Any]]) -> object:
    members = _members(value, path)
    if "type" not in members:
        raise InvalidPolicyError(f"{path}.type", f"missing; expected one of {', '.join(classes)}")
    name = _string(members["type"], f"{path}.type")
    if name not in classes:
        raise InvalidPolicyError(f"{path}.type", f"expected one of {', '.join(classes)}, found {name!r}")
    return _object(value, path, classes[name], {"type"})


def _object(value: object, path: str, cls: type[Any], more: set[str]) -> object:
    keys = KEYS[cls]
    members = _members(value, path, more | {key.json for key in keys})
    arguments = {}
    for key in keys:
        where = f"{path}.{key.json}"
        if key.json in members:
            arguments[key.name] = _READERS[key.kind](members[key.json], where)
        elif key.required:
            raise InvalidPolicyError(where, "missing")
    try:
        return cls(**arguments)
    except InvalidPolicyError as error:
        raise InvalidPolicyError(path + error.path.removeprefix("$"), error.reason) from error


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidPolicyError(path, f"expected a string, {_found(value)}")
    return value


def _bytes(value: object, path: str) -> bytes:
    try:
        # Line breaks are common in pasted base64 and ignored by every implementation.
        return base64.b64decode(_string(value, path).replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, InvalidPolicyError):
            raise
        what = "not base64, but PEM: base64 of all of it is expected" if is_content(str(value)) else "not base64"
        raise InvalidPolicyError(path, f"{what}: {error}") from error


def _strings(value: object, path: str) -> tuple[str, ...]:
    return tuple(_string(one, f"{path}[{n}]") for n, one in enumerate(_list(value, path, "a list of strings")))


def _byte_lists(value: object, path: str) -> tuple[bytes, ...]:
    return tuple(_bytes(one, f"{path}[{n}]") for n, one in enumerate(_list(value, path, "a list of strings")))


_READERS: Final[dict[Kind, Callable[[object, str], Any]]] = {
    "string": _string,
    "bytes": _bytes,
    "strings": _strings,
    "byte lists": _byte_lists,
    "identity": lambda value, path: _typed(value, path, IDENTITIES),
    "fulcio": lambda value, path: _object(value, path, NESTED["fulcio"], set()),
    "pki": lambda value, path: _object(value, path, NESTED["pki"], set()),
}

_TYPE_OF: Final = {cls: name for name, cls in (REQUIREMENTS | IDENTITIES).items()}


def _write(value: object) -> dict[str, Any]:
    cls = type(value)
    written: dict[str, Any] = {"type": _TYPE_OF[cls]} if cls in _TYPE_OF else {}
    for key in KEYS[cls]:
        member = getattr(value, key.name)
        if member is not None:
            written[key.json] = _write_member(key, member)
    return written


def _write_member(key: Key, member: Any) -> object:  # noqa: ANN401 - the kind of the key says what it is
    if key.kind in {"identity", "fulcio", "pki"}:
        return _write(member)
    if key.kind == "bytes":
        return base64.b64encode(member).decode()
    if key.kind == "byte lists":
        return [base64.b64encode(one).decode() for one in member]
    return list(member) if key.kind == "strings" else member
