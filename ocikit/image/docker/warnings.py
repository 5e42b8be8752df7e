"""What registries would like people to know: the header ``Warning``, told once (distribution-spec 1.1, "Warnings")."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from ocikit._display.text import blanked

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["report", "warnings_in"]

_log = logging.getLogger(__name__)

# RFC 7234 §5.5, as the specification narrows it: the code, no agent, a quoted text.
_WARNING: Final = re.compile(r'299 (?:-|[^\s"]{1,200}) "((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_LONGEST: Final = 4096
_MOST_REMEMBERED: Final = 1000

_told: dict[tuple[str, str], None] = {}


def warnings_in(headers: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of warnings, each once, as they can be shown.

    Args:
        headers: The headers ``Warning``; what is not of the form that the specification gives is left out.
    """
    found = (_WARNING.fullmatch(header.strip()) for header in headers if len(header) <= _LONGEST)
    texts = (_ESCAPED.sub(r"\1", one[1]) for one in found if one is not None)
    return tuple(dict.fromkeys(map(blanked, texts)))


def report(host: str, headers: Iterable[str]) -> None:
    """Log warnings that were not logged before in this process. Nothing else is done because of them.

    Args:
        host: The registry.
        headers: As for :func:`warnings_in`.
    """
    for text in warnings_in(headers):
        if (host, text) in _told:
            continue
        if len(_told) >= _MOST_REMEMBERED:
            _told.clear()
        _told[host, text] = None
        _log.warning("%s warns: %s", host, text)
