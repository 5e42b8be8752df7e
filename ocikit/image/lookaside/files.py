"""A lookaside store that is a directory: read and written by descriptor, without following links below the store.

Each file appears whole or not at all. At every moment a signature that was there and is to stay is there: who is killed
while writing leaves some of the new ones out, and none of the old ones.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, TEMPORARY_PREFIX, Descriptor, atomic_write, fsync_directory
from ocikit.errors import LayoutError, LimitExceededError
from ocikit.image.layout.blobs import open_regular, read_document
from ocikit.image.layout.locks import hold
from ocikit.image.layout.temporary import remove_stale
from ocikit.image.lookaside.stores import signature_name
from ocikit.image.stored_signature import MAX_SIGNATURES, MAX_SIGNATURES_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["delete_files", "read_files", "write_files"]

_OURS: Final = re.compile(r"signature-([1-9][0-9]{0,8})")
_TRIES: Final = 100
_FOREIGN: Final = frozenset({errno.ELOOP, errno.ENOTDIR})


def read_files(store: bytes, parts: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the signatures in a directory, in order; none when there is no directory.

    Args:
        store: The store.
        parts: The names that lead from there to the directory of a manifest.

    Raises:
        LayoutError: Something is there that is no directory or file.
        LimitExceededError: There are more than 128, or more than 32 MiB of them.
        OSError: It cannot be read.
    """
    with contextlib.suppress(FileNotFoundError), _Way(store, parts) as way:
        return _signatures(way.fd, way.where)
    return ()


def write_files(store: bytes, parts: tuple[str, ...], signatures: tuple[bytes, ...]) -> None:
    """Have a directory hold these signatures and no others; those that are there already stay first.

    Args:
        store: The store; it is made when it is not there.
        parts: The names that lead from there to the directory of a manifest; made likewise.
        signatures: The signatures, each once.

    Raises:
        LayoutError: As for :func:`read_files`.
        LimitExceededError: Likewise.
        OSError: It cannot be written.
    """
    for _ in range(_TRIES):
        os.makedirs(store, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), _Way(store, parts, make=True) as way, way.alone():
            _drop_behind_a_gap(way.fd)
            _replace(way.fd, _signatures(way.fd, way.where), signatures)
            return
        # Somebody removed the directory in the moment after it was made.
    raise FileNotFoundError(errno.ENOENT, "others remove the directory all the time", "/".join(parts))


def delete_files(store: bytes, parts: tuple[str, ...]) -> bool:
    """Remove the signatures in a directory, and the directory when nothing else is in it; say whether there were any.

    Args:
        store: The store.
        parts: The names that lead from there to the directory of a manifest.

    Raises:
        LayoutError: As for :func:`read_files`.
        OSError: It cannot be written.
    """
    with contextlib.suppress(FileNotFoundError), _Way(store, parts) as way, way.alone():
        numbers = sorted(_numbers(way.fd))
        # From the last one on: who reads meanwhile sees fewer, and none that was behind a gap.
        for number in reversed(numbers):
            os.unlink(signature_name(number), dir_fd=way.fd)
        fsync_directory(way.fd)
        with contextlib.suppress(OSError):
            os.rmdir(parts[-1], dir_fd=way.parent)
        return bool(numbers)
    return False


class _Way:
    """The directories from a store down, opened one after the other: below the store no link is followed.

    Args:
        store: The store.
        parts: The names of the directories.
        make: Make those that are not there.
    """

    def __init__(self, store: bytes, parts: tuple[str, ...], *, make: bool = False) -> None:
        self.where = os.fsdecode(store)
        with contextlib.ExitStack() as stack:
            self.parent = self.fd = stack.enter_context(Descriptor(os.open(store, DIRECTORY & ~os.O_NOFOLLOW))).fd
            for name in parts:
                self.where = f"{self.where}/{name}"
                self.parent, self.fd = self.fd, stack.enter_context(self._step(name, make=make)).fd
            self._stack = stack.pop_all()
        self._name = parts[-1]

    def _step(self, name: str, *, make: bool) -> Descriptor:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=self.fd)
                    fsync_directory(self.fd)
            return Descriptor(os.open(name, DIRECTORY, dir_fd=self.fd))
        except OSError as error:
            if error.errno in _FOREIGN:
                raise LayoutError(f"{self.where}: expected a directory, found a link or a file") from error
            if error.errno == errno.ENOENT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.where) from None
            raise

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other writers out, and remove what one that was killed has left."""
        with hold(self._name, exclusive=True, where=self.where, dir_fd=self.parent, required=False):
            now = os.stat(self._name, dir_fd=self.parent, follow_symlinks=False)
            ours = os.fstat(self.fd)
            if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.where)
            remove_stale(self.fd, prefix=TEMPORARY_PREFIX)
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _signatures(directory_fd: int, where: str) -> tuple[bytes, ...]:
    found: list[bytes] = []
    size = 0
    while True:
        name = signature_name(len(found) + 1)
        try:
            file, _ = open_regular(directory_fd, name, f"{where}/{name}")
        except FileNotFoundError:
            return tuple(found)
        with file:
            if len(found) == MAX_SIGNATURES:
                raise LimitExceededError(f"signatures in {where}", MAX_SIGNATURES)
            found.append(read_document(file, f"{where}/{name}"))
        size += len(found[-1])
        if size > MAX_SIGNATURES_BYTES:
            raise LimitExceededError(f"bytes of the signatures in {where}", MAX_SIGNATURES_BYTES)


def _numbers(directory_fd: int) -> set[int]:
    return {int(match[1]) for name in os.listdir(directory_fd) if (match := _OURS.fullmatch(name))}


def _drop_behind_a_gap(directory_fd: int) -> None:
    """Remove what nobody has read, before a file in front of it would make it readable."""
    numbers = _numbers(directory_fd)
    count = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
    for number in numbers:
        if number > count:
            os.unlink(signature_name(number), dir_fd=directory_fd)


def _replace(directory_fd: int, there: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> None:
    kept: set[bytes] = set()
    holes = []
    for position, blob in enumerate(there):
        if blob in wanted and blob not in kept:
            kept.add(blob)
        else:
            holes.append(position)
    count = len(there)
    for blob in (one for one in wanted if one not in kept):
        position = holes.pop(0) if holes else count
        atomic_write(directory_fd, signature_name(position + 1), blob)
        count = max(count, position + 1)
    # What is left of the old ones goes: the last one takes the place of the first that nobody wants.
    while holes:
        count -= 1
        if holes[-1] == count:
            holes.pop()
        else:
            atomic_write(directory_fd, signature_name(holes.pop(0) + 1), there[count])
        os.unlink(signature_name(count + 1), dir_fd=directory_fd)
    fsync_directory(directory_fd)
