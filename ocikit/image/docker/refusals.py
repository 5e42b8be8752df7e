"""What a registry says when it refuses, as errors: status, code, what to do (distribution-spec, Error Codes). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display.text import blanked
from ocikit.errors import ParseError, RegistryAccessError, RegistryError
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_BYTES", "error_of", "first_fault"]

#: How much of the body of a refusal is read, in bytes.
MOST_BYTES: Final = 1024 * 1024
_LONGEST: Final = 300

_REMEDIES: Final[Mapping[int, str]] = {
    401: "log in with ocikit.image.docker.login, or give credentials by SystemContext(docker_auth_config=…)",
    403: "the credentials are not allowed to do this, others may be; some registries say so of what is not there",
    404: "look at the name, the tag and the digest",
    405: "the registry does not offer this",
    413: "the registry takes nothing of this size",
    429: "the registry limits how much is asked of it; wait, or log in",
}
_REMEDIES_OF_CODES: Final[Mapping[str, str]] = {
    "MANIFEST_BLOB_UNKNOWN": "the registry has removed a blob meanwhile; copy the image again",
}


def first_fault(body: bytes) -> tuple[str, str, str]:
    """Return code, message and detail of the first error in the body of a refusal; empty where it is no such document.

    Args:
        body: The body; error pages of proxies are none.
    """
    try:
        document = loads(body, max_bytes=MOST_BYTES)
    except (ParseError, ValueError):
        return "", "", ""
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", "", ""
    return _shown(first.get("code")), _shown(first.get("message")), _shown(first.get("detail"))


def error_of(what: str, status: int, body: bytes, retry_after: float | None = None) -> RegistryError:
    """Return the error for a refusal.

    Args:
        what: What was asked for, and where.
        status: The status of HTTP.
        body: The body.
        retry_after: For how many seconds the registry wants to be left alone, when it says so.
    """
    code, message, detail = first_fault(body)
    kind = RegistryAccessError if status in {401, 403} else RegistryError
    remedy = _REMEDIES_OF_CODES.get(code) or _REMEDIES.get(status)
    if retry_after:
        remedy = f"it wants to be left alone for {retry_after:,.0f} s" + (f"; {remedy}" if remedy else "")
    said = message or "and says no more"
    return kind(what, said, status=status, code=code, detail=detail, remedy=remedy, retry_after=retry_after)


def _shown(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    text = blanked(text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
