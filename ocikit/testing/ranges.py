"""Parts of blobs: what a Range asks for, and how one or several parts are answered (RFC 9110, section 14). Pure."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.testing.pieces import Piece

__all__ = ["Span", "multipart", "parse_content_range", "parse_range"]

#: More is asked for by nobody who means well; then everything is sent, as the standard allows.
_MAX_SPANS: Final = 100
_SPAN: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?", re.ASCII)


class Span(NamedTuple):
    """Bytes from ``start`` up to, without, ``end``."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        """The value of Content-Range for it."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_range(text: str, size: int) -> list[Span] | None:
    """Read a Range.

    Returns:
        The parts that can be had, none when no part can; None when the header is to be ignored.
    """
    unit, _, wanted = text.partition("=")
    words = [one.strip() for one in wanted.split(",")]
    found = [_SPAN.fullmatch(word) for word in words]
    if unit.strip() != "bytes" or len(words) > _MAX_SPANS or not all(one and one[0] != "-" for one in found):
        return None
    spans = []
    for match in found:
        if match is None:
            return None
        first, last = match.groups()
        span = _resolved(first, last, size)
        if span.start < span.end:
            spans.append(span)
    return spans


def _resolved(first: str, last: str, size: int) -> Span:
    if not first:
        return Span(max(size - int(last), 0), size)
    return Span(int(first), min(int(last) + 1, size) if last else size)


def parse_content_range(text: str) -> Span | None:
    """Read the Content-Range of a chunk: ``first-last`` (distribution-spec), or as in RFC 9110; None: neither."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    return Span(int(match[1]), int(match[2]) + 1) if match and int(match[1]) <= int(match[2]) else None


def multipart(
    spans: list[Span], size: int, pieces: Callable[[int, int], tuple[Piece, ...]]
) -> tuple[str, tuple[Piece, ...]]:
    """Return the type and the body of an answer with several parts (RFC 9110, section 14.6).

    Args:
        spans: The parts.
        size: The size of the whole.
        pieces: Returns the bytes from one position to another.
    """
    boundary = secrets.token_hex(16)
    body: list[Piece] = []
    for span in spans:
        lines = f"Content-Type: application/octet-stream\r\nContent-Range: {span.content_range(size)}\r\n\r\n"
        body += [f"--{boundary}\r\n{lines}".encode(), *pieces(span.start, span.end), b"\r\n"]
    body.append(f"--{boundary}--\r\n".encode())
    return f"multipart/byteranges; boundary={boundary}", tuple(body)
