"""What is in a tar file, by name: gone through once, whatever it comes from.

* A plain file is gone through header by header; members are then read in place, in any order.
* A compressed file, or a stream, is read once to its end. What is wanted of it goes into one anonymous temporary
  file, which has no name that a crash could leave behind.

Links lead from member to member and never out of the archive; they are followed when somebody asks for the name.
Everything here is hostile until proven otherwise: members, the bytes of their names, and what comes out of a
compressed file are counted.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit._tuples import NamedTuple
from ocikit.errors import BlobNotFoundError, LayoutError, LimitExceededError
from ocikit.image.archive.patience import PatientReader
from ocikit.image.archive.regions import Pieces, Region, Spool
from ocikit.image.compression import DETECTION_BYTES, DecompressedStream, ExpansionLimits, detect
from ocikit.image.tar import TarLimits, TarReader, TarType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from ocikit.image.tar import TarMember
    from ocikit.image.types import ByteStream

__all__ = ["EXPANSION", "Members", "plain"]

#: How much may come out of a compressed archive. What is in it is mostly compressed already.
EXPANSION_BYTES: Final = 256 << 30
EXPANSION: Final = ExpansionLimits(total_bytes=EXPANSION_BYTES)

# Names and places of all members are kept in memory; no image has nearly so many blobs.
_MEMBERS: Final = TarLimits(members=100_000)
_NAME_BYTES: Final = 16 << 20
_MOST_LINKS: Final = 16
# The classes whose read gives out what is in the file, and nothing else.
_PLAIN_FILES: Final = frozenset({io.FileIO, io.BufferedReader, io.BufferedRandom})
_FOR_ANYTHING: Final = "is this a tar file, plain or compressed by gzip, zstd, bzip2 or xz?"


class _Link(NamedTuple):
    """A link to another member: its name in plain form, or None when it leads out of the archive."""

    target: str | None
    text: str


class _Other(NamedTuple):
    """A member whose content nobody can have, and why."""

    reason: str


def plain(name: bytes) -> str | None:
    """Return a name in its one form, without ``./`` and doubled slashes; None for the root and names with ``..``."""
    parts = [part for part in os.fsdecode(name).split("/") if part not in {"", "."}]
    return "/".join(parts) if parts and ".." not in parts else None


class Members:
    """The regular files of a tar file; they may be read by several threads.

    Args:
        origin: The path of the file, or an open file object: one that is at the start of a regular file is read in
            place, any other is read to its end, and waited for if it is non-blocking. It is not closed. Of a class
            derived from those of ``io`` the methods are used, and never the file behind it.
        where: The file, for messages.
        wanted: Says of a name whether anybody will ask for it; what nobody will is not put aside.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.

    Raises:
        LayoutError: It is no tar file.
        CompressionError: Its compressed data is damaged.
        LimitExceededError: More comes out of it than :data:`EXPANSION` allows, holes of sparse members included, or
            it has too many members, or too long names.
        OSError: It cannot be opened.
    """

    def __init__(
        self,
        origin: str | ByteStream,
        *,
        where: str,
        wanted: Callable[[str], bool] = lambda _: True,
        temporary_directory: str | None = None,
    ) -> None:
        self._where = where
        self._wanted = wanted
        self._temporary_directory = temporary_directory
        self._members: dict[str, Region | _Link | _Other] = {}
        self._spool: Spool | None = None
        self._spooled = 0
        self._name_bytes = 0
        self._is_empty = False
        self._stack = contextlib.ExitStack()
        try:
            self._open(origin)
        except BaseException:
            self._stack.close()
            raise

    @property
    def where(self) -> str:
        """The file, for messages."""
        return self._where

    @property
    def is_empty(self) -> bool:
        """Whether there was not a byte in it, which is no tar file but the end of a stream."""
        return self._is_empty

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def names(self) -> Iterable[str]:
        """Return the names of all members that were wanted, in plain form."""
        return self._members.keys()

    def find(self, name: str) -> Region:
        """Return where the content of a member is.

        Args:
            name: Its name in plain form; links are followed.

        Raises:
            BlobNotFoundError: There is no such member.
            LayoutError: It is no regular file, or a link that leads to none in the archive.
        """
        found, passed = self._members.get(name), [name]
        while isinstance(found, _Link):
            if found.target is None:
                raise LayoutError(
                    f"{self._where}: {passed[-1]}: a link to {found.text!r}, which leads out of the archive"
                )
            if found.target in passed or len(passed) > _MOST_LINKS:
                chain = " -> ".join([*passed, found.target])
                raise LayoutError(f"{self._where}: {name}: links that lead nowhere: {chain}")
            passed.append(found.target)
            found = self._members.get(found.target)
        if found is None and len(passed) > 1:
            raise LayoutError(f"{self._where}: {name}: a link to {passed[-1]!r}, which is not in the archive")
        if found is None:
            raise BlobNotFoundError(f"{self._where}: {name} is not in the archive")
        if isinstance(found, _Other):
            raise LayoutError(f"{self._where}: {passed[-1]}: {found.reason}")
        return found

    def decompressed(self, name: str) -> Pieces:
        """Return where the plain content of a member is; one that is compressed is put aside in plain form first.

        Raises:
            CompressionError: It is damaged.
            LimitExceededError: Too much comes out of it.
            Exception: As :meth:`find`.
        """
        region, what = self.find(name), f"{self._where}: {name}"
        with region.open(what) as stream:
            if detect(stream.read(DETECTION_BYTES)) is None:
                return Pieces((region,))
            stream.seek(0)
            left = ExpansionLimits(total_bytes=EXPANSION_BYTES - self._spooled)
            pieces = self._aside().pour(DecompressedStream(stream, limits=left, what=what))
        self._spooled += pieces.size
        return pieces

    def close(self) -> None:
        """Close the file; streams that are open stay readable."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, origin: str | ByteStream) -> None:
        if isinstance(origin, str):
            fd = os.open(origin, os.O_RDONLY | os.O_CLOEXEC)
        else:
            place = _place_of(origin)
            if place is None:
                self._pass_through(origin)
                return
            fd = place
        file = self._stack.enter_context(Descriptor(fd))
        status = os.fstat(file.fd)
        if stat.S_ISDIR(status.st_mode):
            raise LayoutError(
                f"{self._where}: expected a tar file, found a directory; a layout is named as oci:{self._where}"
            )
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            self._pass_through(io.FileIO(file.fd, closefd=False))
            return
        whole = Region(file, 0, status.st_size)
        with whole.open(self._where) as stream:
            if detect(stream.read(DETECTION_BYTES)) is not None:
                stream.seek(0)
                self._pass_through(stream)
            else:
                stream.seek(0)
                self._go_through(TarReader(stream, limits=_MEMBERS, seekable_size=status.st_size), whole)

    def _pass_through(self, stream: ByteStream) -> None:
        patient = PatientReader(stream)
        plain_stream = DecompressedStream(patient, limits=EXPANSION, what=self._where)
        reader = TarReader(plain_stream, limits=_MEMBERS)
        self._go_through(reader, None)
        reader.drain()
        self._is_empty = patient.is_empty

    def _go_through(self, reader: TarReader, whole: Region | None) -> None:
        try:
            for member in reader:
                name = plain(member.name)
                if name is None or member.type is TarType.DIRECTORY or not self._wanted(name):
                    continue
                self._count(member)
                # Of members with the same name the last counts, as for everybody who unpacks a tar file.
                self._members[name] = self._entry(reader, member, name, whole)
        except LayoutError as error:
            hint = "" if self._members else f" ({_FOR_ANYTHING})"
            raise LayoutError(f"{self._where}: {error}{hint}") from error
        except LimitExceededError as error:
            if self._where in error.what:
                raise
            raise error.within(self._where) from error

    def _count(self, member: TarMember) -> None:
        self._name_bytes += len(member.name) + len(member.linkname)
        if self._name_bytes > _NAME_BYTES:
            raise LimitExceededError(f"{self._where}: bytes of the names of all members", _NAME_BYTES)

    def _entry(self, reader: TarReader, member: TarMember, name: str, whole: Region | None) -> Region | _Link | _Other:
        text = os.fsdecode(member.linkname)
        if member.type is TarType.HARD_LINK:
            target = plain(member.linkname)
            before = self._members.get(target) if target is not None else None
            return before or _Other(f"a hard link to {text!r}, which does not come before it in the archive")
        if member.type is TarType.SYMLINK:
            return _Link(_within(name, text), text)
        if member.type is not TarType.REGULAR:
            return _Other(f"expected a regular file, found a {member.type.value}")
        if whole is not None and member.sparse is None:
            return Region(whole.file, member.offset, member.size)
        return self._put_aside(reader, member)

    def _put_aside(self, reader: TarReader, member: TarMember) -> Region:
        # A sparse member may claim to be of any size, and so may thousands of them.
        self._spooled += member.size
        if self._spooled > EXPANSION_BYTES:
            raise LimitExceededError(f"{self._where}: bytes of the members of the archive", EXPANSION_BYTES)
        spool = self._aside()
        start = spool.reserve(member.size)
        for offset, data in reader.data():
            spool.write(data, start + offset)
        return spool.region(start, member.size)

    def _aside(self) -> Spool:
        if self._spool is None:
            self._spool = Spool(self._temporary_directory)
            self._stack.callback(self._spool.close)
        return self._spool


def _within(name: str, target: str) -> str | None:
    """Return what a symbolic link leads to, in plain form; None when that is outside."""
    if target.startswith("/"):
        return None
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts) or None


def _place_of(stream: ByteStream) -> int | None:
    """Return a descriptor of our own of a file object that stands at the start of a regular file; else None."""
    # Others have a descriptor, too, and give out something else than what is in that file: so may classes derived
    # from these, whose read is what counts then.
    if type(stream) not in _PLAIN_FILES:
        return None
    raw = getattr(stream, "raw", stream)
    if type(raw) is not io.FileIO:
        return None
    try:
        if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode) or stream.tell() != 0:  # type: ignore[attr-defined]
            return None
        return os.dup(raw.fileno())
    except (OSError, ValueError):
        return None
