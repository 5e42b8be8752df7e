"""A tar file on its way: each blob is written once, into its place; blobs arrive in any order, from any thread.

A blob whose name and size are known has its place kept when it is announced, so that the order in the archive does
not depend on which thread is faster: equal images copied the same way make equal archives. What is small, or of a
size that nobody knows yet, is put aside and comes behind those, by name; documents come last.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from ocikit._fs import FlushBehind
from ocikit._tuples import NamedTuple
from ocikit.errors import BlobNotFoundError, LayoutError
from ocikit.image.archive.regions import Pieces, Region, Spool, receive_at, write_all
from ocikit.image.tar_writer import TAR_END, padding, tar_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.archive.target import Target
    from ocikit.image.types import BlobInfo, ByteStream
    from ocikit.spec import Digest

__all__ = ["ArchiveWriter"]

# Up to which size a blob is put aside. Manifests and configurations are below it, layers mostly above.
_SMALL: Final = 1 << 16
_CHUNK: Final = 1 << 20


class _Place:
    """A part of the archive that is kept for one member."""

    __slots__ = ("filled", "header", "size", "start", "taken")

    def __init__(self, start: int, header: bytes, size: int) -> None:
        self.start = start
        self.header = header
        self.size = size
        self.taken = False
        self.filled = False

    @property
    def total(self) -> int:
        return len(self.header) + self.size + len(padding(self.size))


class _Aside(NamedTuple):
    """A member that gets its place at the end."""

    mode: int
    pieces: Pieces


class ArchiveWriter:
    """A tar file that is being written.

    Args:
        target: Where it goes; owned from now on.
        mtime: The time that its members have, in seconds since the epoch.
        mode: The permissions that blobs have.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.
    """

    def __init__(
        self, target: Target, *, mtime: int = 0, mode: int = 0o644, temporary_directory: str | None = None
    ) -> None:
        self._target = target
        self._mtime = mtime
        self._mode = mode
        self._temporary_directory = temporary_directory
        self._places: dict[str, _Place] = {}  # in the order of the archive
        self._aside: dict[str, _Aside] = {}
        self._last: list[bytes] = []
        self._spool: Spool | None = None
        self._end = 0
        self._closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up what was not committed; closing twice is nothing."""
        with self._lock:
            self._closed = True
        self._target.close()
        if self._spool is not None:
            self._spool.close()

    def announce(self, name: str, size: int) -> None:
        """Keep a place for a blob that will be put later; not for what is small or of unknown size.

        Args:
            name: Its name in the archive.
            size: Its size in bytes; -1 when it is not known.
        """
        self._check_open()
        if size > _SMALL:
            with self._lock:
                self._keep(name, size)

    def size(self, name: str) -> int | None:
        """Return the size of a blob that was put; None when there is none of this name."""
        with self._lock:
            place, aside = self._places.get(name), self._aside.get(name)
        if place is not None and place.filled:
            return place.size
        return aside.pieces.size if aside is not None else None

    def open(self, name: str) -> ByteStream:
        """Open a blob that was put.

        Raises:
            BlobNotFoundError: There is none of this name.
        """
        with self._lock:
            place, aside = self._places.get(name), self._aside.get(name)
        if place is not None and place.filled:
            return Region(self._target.file, place.start + len(place.header), place.size).open(name)
        if aside is None:
            raise BlobNotFoundError(f"{name} was not put into the archive")
        return aside.pieces.open(name)

    def put(self, stream: ByteStream, info: BlobInfo, naming: Callable[[Digest], str], what: str) -> tuple[Digest, int]:
        """Write a blob, verified.

        Args:
            stream: The content.
            info: What is known of it.
            naming: Gives the name in the archive for a digest.
            what: What it is, for messages.

        Returns:
            The digest of the content, and its size.

        Raises:
            VerificationError: The content is not what ``info`` says.
            LayoutError: The archive was committed or closed.
            OSError: It cannot be written.
        """
        self._check_open()
        if info.digest is not None and info.size > _SMALL:
            name = naming(info.digest)
            place = self._take(name, info.size)
            if place is not None:
                return self._fill(place, stream, info, what), info.size
        digest, pieces = self._put_aside().put(stream, info, what)
        name = naming(digest)
        with self._lock:
            place = self._places.get(name)
            if place is None or not place.filled:
                self._aside[name] = _Aside(self._mode, pieces)
        return digest, pieces.size

    def add(self, name: str, data: bytes, *, mode: int = 0o644, last: bool = False) -> None:
        """Write a document.

        Args:
            name: Its name in the archive.
            data: Its content.
            mode: Its permissions.
            last: Whether it comes behind everything else, in the order of these calls.
        """
        self._add(name, tar_header(name, len(data), mode=mode, mtime=self._mtime), data, last=last)

    def add_directory(self, name: str) -> None:
        """Write a directory; one that is there already is nothing."""
        header = tar_header(f"{name}/", None, mode=0o755, mtime=self._mtime)
        self._add(f"{name}/", header, b"", last=False)

    def add_symlink(self, name: str, target: str) -> None:
        """Write a symbolic link behind everything else.

        Args:
            name: Its name in the archive.
            target: What it leads to, as it stands in the link.
        """
        self._add(name, tar_header(name, None, mode=0o777, mtime=self._mtime, target=target), b"", last=True)

    def commit(self) -> None:
        """Finish the archive and have it appear; nothing can be put afterwards.

        Raises:
            LayoutError: It was committed or closed.
            OSError: It cannot be written; what was there before is still there.
        """
        self._check_open()
        self._closed = True
        self._close_ranks()
        for name, (mode, pieces) in sorted(self._aside.items()):
            if name not in self._places:
                self._append(tar_header(name, pieces.size, mode=mode, mtime=self._mtime))
                with pieces.open(name) as stream:
                    self._copy(stream)
                self._append(padding(pieces.size))
        for block in self._last:
            self._append(block)
        self._append(TAR_END)
        self._target.finish(self._end)

    def _add(self, name: str, header: bytes, data: bytes, *, last: bool) -> None:
        self._check_open()
        whole = header + data + padding(len(data))
        with self._lock:
            if last:
                self._last.append(whole)
                return
            if name in self._places:
                return
            place = self._places[name] = _Place(self._end, header, len(data))
            self._end += place.total
            place.taken = place.filled = True
        self._write(whole, place.start)

    def _check_open(self) -> None:
        # Also after the commit: what has its name by then is whole, and stays as it is.
        if self._closed:
            raise LayoutError("the archive was committed or closed, and nothing is written into it any more")

    def _keep(self, name: str, size: int) -> _Place:
        place = self._places.get(name)
        if place is None:
            header = tar_header(name, size, mode=self._mode, mtime=self._mtime)
            place = self._places[name] = _Place(self._end, header, size)
            self._end += place.total
        return place

    def _take(self, name: str, size: int) -> _Place | None:
        """Return the place of a blob, for one writer; None when somebody else has it, or it is of another size."""
        with self._lock:
            place = self._keep(name, size)
            if place.taken or place.size != size:
                return None
            place.taken = True
        return place

    def _fill(self, place: _Place, stream: ByteStream, info: BlobInfo, what: str) -> Digest:
        try:
            start = place.start + len(place.header)
            digest = receive_at(
                self._target.file, start, stream, info, what, where=self._target.where, flush=self._target.is_final
            )
            self._write(place.header, place.start)
        except BaseException:
            place.taken = False
            raise
        place.filled = True
        return digest

    def _put_aside(self) -> Spool:
        with self._lock:
            self._check_open()
            if self._spool is None:
                self._spool = Spool(self._temporary_directory)
        return self._spool

    # The end

    def _close_ranks(self) -> None:
        """Move members down over places that were kept for what never came."""
        everyone = self._places
        self._places = {name: place for name, place in everyone.items() if place.filled}
        self._end = 0
        for place in self._places.values():
            if place.start != self._end:
                size = len(place.header) + place.size
                region = Region(self._target.file, place.start, size)
                place.start = self._end
                with region.open("the archive that is being written") as stream:
                    self._copy(stream)
                self._append(padding(place.size))
            else:
                self._end += place.total
        os.ftruncate(self._target.fd, self._end)

    def _copy(self, stream: ByteStream) -> None:
        behind = FlushBehind(self._target.fd, self._end)
        while data := stream.read(_CHUNK):
            self._append(data)
            if self._target.is_final:
                behind.reached(self._end)

    def _append(self, data: bytes) -> None:
        self._write(data, self._end)
        self._end += len(data)

    def _write(self, data: bytes, position: int) -> None:
        write_all(self._target.fd, data, position, self._target.where)
