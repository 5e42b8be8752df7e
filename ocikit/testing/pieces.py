"""Bodies of answers in pieces: bytes in memory and parts of files, cut and damaged without being copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator

__all__ = ["FilePiece", "Piece", "close_all", "corrupt", "size", "split", "steps"]


class FilePiece(NamedTuple):
    """A part of an open file."""

    file: io.FileIO
    start: int
    length: int

    def read(self) -> bytes:
        """Read it whole; for pieces that were cut to a bearable size."""
        import os  # noqa: PLC0415 - for connections that cannot send files only

        return os.pread(self.file.fileno(), self.length, self.start)


Piece: TypeAlias = "bytes | memoryview | FilePiece"


def size(body: Iterable[Piece]) -> int:
    """Return the bytes of a body."""
    return sum(_size(piece) for piece in body)


def split(body: Iterable[Piece], at: int) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return what is before a position and what is after it."""
    before: list[Piece] = []
    after: list[Piece] = []
    for piece in body:
        length = _size(piece)
        if at >= length:
            before.append(piece)
        elif at <= 0:
            after.append(piece)
        else:
            before.append(_part(piece, 0, at))
            after.append(_part(piece, at, length))
        at -= length
    return tuple(before), tuple(after)


def corrupt(body: Iterable[Piece], at: int) -> tuple[Piece, ...]:
    """Return a body with all bits of one byte turned; a negative position counts from the end."""
    whole = tuple(body)
    if not (length := size(whole)):
        return whole
    position = min(max(at + length if at < 0 else at, 0), length - 1)
    before, rest = split(whole, position)
    one, after = split(rest, 1)
    return (
        *before,
        *(
            bytes([piece.read()[0] ^ 0xFF]) if isinstance(piece, FilePiece) else bytes([piece[0] ^ 0xFF])
            for piece in one
            if _size(piece)
        ),
        *after,
    )


def steps(body: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Yield a body in pieces of at most so many bytes."""
    for piece in body:
        whole = _size(piece)
        for start in range(0, whole, length):
            yield piece if whole <= length else _part(piece, start, min(start + length, whole))


def close_all(body: Iterable[Piece]) -> None:
    """Close the files of a body."""
    for piece in body:
        if isinstance(piece, FilePiece):
            piece.file.close()


def _size(piece: Piece) -> int:
    return piece.length if isinstance(piece, FilePiece) else len(piece)


def _part(piece: Piece, start: int, end: int) -> Piece:
    if isinstance(piece, FilePiece):
        return FilePiece(piece.file, piece.start + start, end - start)
    return memoryview(piece)[start:end]
