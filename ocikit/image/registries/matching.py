"""Which entry of registries.conf a name fits, and what it is called at another place. Pure.

A prefix fits where a name goes on with ``/``, ``:`` or ``@`` after it, or ends. So ``example.com`` fits
``example.com:5000``, too: containers/image does it, and configurations rely on it. ``*.example.com`` fits every host
below ``example.com``, with any port. Hosts have no case.
"""

from __future__ import annotations

from typing import Final

from ocikit.errors import InvalidConfigurationError, InvalidReferenceError
from ocikit.image.reference import Named, parse_normalized_named

__all__ = ["WILDCARD", "matched_length", "rewritten"]

#: What a prefix begins with that stands for all hosts below a domain.
WILDCARD: Final = "*."

_BOUNDARIES: Final = frozenset("/:@")


def matched_length(name: str, prefix: str) -> int | None:
    """Return how much of a name a prefix stands for, in characters; None where it does not fit.

    Args:
        name: A registry, a repository or an image, which begins with the host.
        prefix: The ``prefix`` of an entry.
    """
    name, prefix = _with_lower_host(name), _with_lower_host(prefix)
    if not prefix.startswith(WILDCARD):
        return len(prefix) if name.startswith(prefix) and _ends(name, len(prefix)) else None
    host = name.partition("/")[0].partition("@")[0].partition(":")[0]
    return len(host) if host.endswith(prefix[1:]) and len(host) >= len(prefix) else None


def _with_lower_host(name: str) -> str:
    host, slash, path = name.partition("/")
    return f"{host.lower()}{slash}{path}"


def _ends(name: str, length: int) -> bool:
    return length == len(name) or name[length] in _BOUNDARIES


def rewritten(named: Named, prefix: str, location: str, source: str | None) -> Named:
    """Return what an image is called at a location.

    Args:
        named: The image; the prefix fits it.
        prefix: The ``prefix`` of the entry.
        location: The ``location`` of the entry, or of a mirror; empty (behind a wildcard) where the name stays.
        source: The file that says so, for messages.

    Raises:
        InvalidConfigurationError: What comes out is no name of an image in full.
    """
    if not location:
        return named
    text = str(named)
    result = location + text[matched_length(text, prefix) or 0 :]
    problem = "it is short for another one"
    try:
        found = parse_normalized_named(result)
    except InvalidReferenceError as error:
        problem = str(error)
    else:
        # Docker Hub's abbreviations are for people: a location says what it means.
        if str(found) == result:
            return found
    reason = f"expected that {text} becomes the name of an image in full, found {result!r}: {problem}"
    raise InvalidConfigurationError("$.registry", f"location {location!r} for {prefix!r}: {reason}", source)
