"""What a registry asks for before it answers: ``WWW-Authenticate`` (RFC 9110 §11), and what of it matters. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Challenge", "parse_challenges"]

_MOST_BYTES: Final = 16 * 1024
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)(?!\s*=)")
_PARAMETER: Final = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}[^\s,]*))')
_ESCAPED: Final = re.compile(r"\\(.)")


@frozen(kw_only=True)
class Challenge:
    """One way to show who one is.

    Attributes:
        scheme: ``basic`` or ``bearer``, or another one, in small letters.
        parameters: What comes with it, by names in small letters: ``realm``, ``service``, ``scope``, ``error``.
    """

    scheme: str
    parameters: Mapping[str, str] = field(factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the challenges of an answer; what is malformed ends the header that it is in.

    Args:
        headers: The values of all ``WWW-Authenticate`` headers.
    """
    return tuple(challenge for header in headers for challenge in _challenges(header[:_MOST_BYTES]))


def _challenges(header: str) -> Iterable[Challenge]:
    position = 0
    while (scheme := _SCHEME.match(header, position)) is not None:
        position = scheme.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, position)) is not None:
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain)
            position = parameter.end()
        yield Challenge(scheme=scheme[1].lower(), parameters=parameters)
