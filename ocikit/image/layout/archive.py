"""A layout in a tar file: read where it lies, or in one pass when it is compressed; written in one go.

* A plain file is gone through once, header by header; blobs are then read in place, in any order.
* A compressed file, or a pipe, is read once to its end. What belongs to the layout goes into one anonymous
  temporary file, which has no name that a crash could leave behind.
* An archive is written beside its final place and renamed when it is whole and on disk.

Nothing is unpacked: names in the archive are only ever compared.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, Descriptor, fsync_directory
from ocikit._tuples import NamedTuple
from ocikit.errors import BlobNotFoundError, InvalidDigestError, LayoutError, LimitExceededError
from ocikit.image.compression import DecompressedStream, ExpansionLimits
from ocikit.image.layout.blobs import read_document, receive
from ocikit.image.layout.index import LayoutIndex
from ocikit.image.layout.store import check_version
from ocikit.image.layout.temporary import TemporaryFile, remove_stale
from ocikit.image.tar import TarLimits, TarReader, TarType
from ocikit.image.tar_writer import TAR_END, padding, tar_header
from ocikit.spec import IMAGE_BLOBS_DIR, IMAGE_INDEX_FILE, IMAGE_LAYOUT_FILE, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from ocikit.image.tar import TarMember
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["EXPANSION", "ArchiveReader", "Region", "Spool", "write_archive"]

#: How much may come out of a compressed archive. What is in it is mostly compressed already.
EXPANSION_BYTES: Final = 256 << 30
EXPANSION: Final = ExpansionLimits(total_bytes=EXPANSION_BYTES)

# Names and places of all members are kept in memory; no image has nearly so many blobs.
_MEMBERS: Final = TarLimits(members=100_000)
_CHUNK: Final = 1 << 20
_DOCKER_FILE: Final = b"manifest.json"
_DOCKER_HINT: Final = (
    "; it looks like one of `docker save`, which is not read: convert it with "
    "`skopeo copy docker-archive:FILE oci-archive:OTHER`"
)
_DIRECTORY: Final = "/var/tmp"  # noqa: S108 (for large files, as containers/image has it)


class Region(NamedTuple):
    """A part of an open file."""

    fd: int
    offset: int
    size: int

    def open(self, what: str) -> ByteStream:
        """Return a stream of the part; it has a descriptor of its own."""
        return _RegionStream(self, what)


class _RegionStream:
    def __init__(self, region: Region, what: str) -> None:
        self._file = Descriptor(os.dup(region.fd))
        self._position = region.offset
        self._end = region.offset + region.size
        self._what = what

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        wanted = min(size, self._end - self._position)
        if not wanted:
            return b""
        data = os.pread(self._file.fd, wanted, self._position)
        if not data:
            raise LayoutError(f"{self._what}: the file became shorter while it was read")
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Spool:
    """One anonymous temporary file for many pieces of content; several threads may put some at the same time.

    Args:
        directory: Where the file is made; None for ``$TMPDIR``, else ``/var/tmp``.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: str | None) -> None:
        self._where = directory or os.environ.get("TMPDIR") or _DIRECTORY
        # The descriptor is ours: closed in forked children, as every one that is open for long.
        with tempfile.TemporaryFile(dir=self._where, buffering=0) as file:
            self._file = Descriptor(os.dup(file.fileno()))
        self._end = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file, which removes it; streams that are open stay readable."""
        self._file.close()

    def put(self, stream: ByteStream, info: BlobInfo, what: str) -> tuple[Digest, Region]:
        """Store content, verified.

        Args:
            stream: The content.
            info: What is known of it.
            what: What it is, for messages.

        Returns:
            The digest of the content, and where it is.

        Raises:
            VerificationError: The content is not what ``info`` says.
            OSError: It cannot be written.
        """
        if info.size >= 0:
            return self._put_at(self.reserve(info.size), stream, info, what)
        with self._lock:
            # It goes to the end, and nobody can go on before its own end is known.
            digest, region = self._put_at(self._end, stream, info, what)
            self._end += region.size
            return digest, region

    def _put_at(self, start: int, stream: ByteStream, info: BlobInfo, what: str) -> tuple[Digest, Region]:
        position = start

        def write(data: bytes) -> None:
            nonlocal position
            position += self.write(data, position)

        digest, size = receive(stream, info, write, what)
        return digest, Region(self._file.fd, start, size)

    def reserve(self, size: int) -> int:
        """Set a region aside and return where it begins."""
        with self._lock:
            start = self._end
            self._end += size
        return start

    def region(self, start: int, size: int) -> Region:
        """Return a region that was written piece by piece; what was not written in it is zeros."""
        if os.fstat(self._file.fd).st_size < start + size:
            os.ftruncate(self._file.fd, start + size)
        return Region(self._file.fd, start, size)

    def write(self, data: bytes, position: int) -> int:
        """Write all of ``data`` at a position; return how much that was."""
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(self._file.fd, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            hint = "; SystemContext(big_files_temporary_dir=…) names another place" if error.errno in _FULL else ""
            raise OSError(error.errno, f"{error.strerror} (temporary file{hint})", self._where) from error
        return len(data)


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ArchiveReader:
    """An open archive of a layout; its blobs may be read by several threads.

    Args:
        path: The file: a tar file, plain or compressed, recognised by its content.
        temporary_directory: As for :class:`Spool`.

    Raises:
        LayoutError: It is no tar file, or no layout is in it, or not one of a known version.
        CompressionError: Its compressed data is damaged.
        LimitExceededError: More comes out of it than :data:`EXPANSION` allows, holes of sparse members included.
        OSError: It cannot be opened.
    """

    def __init__(self, path: str, temporary_directory: str | None = None) -> None:
        self._path = path
        self._temporary_directory = temporary_directory
        self._members: dict[str, Region] = {}
        self._spool: Spool | None = None
        self._spooled = 0
        self._docker = False
        with contextlib.ExitStack() as stack:
            self._file = Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            stack.callback(self._file.close)
            stack.callback(self._close_spool)
            self._scan()
            check_version(self._document(IMAGE_LAYOUT_FILE), f"{path}: {IMAGE_LAYOUT_FILE}")
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the file; streams that are open stay readable."""
        self._stack.close()

    def index(self) -> LayoutIndex:
        """Return the index.json of the archive.

        Raises:
            LayoutError: It is missing or no index.
            LimitExceededError: It is larger than 4 MiB.
        """
        return LayoutIndex.from_bytes(self._document(IMAGE_INDEX_FILE), f"{self._path}: {IMAGE_INDEX_FILE}")

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob and return it with its size; its content is not verified.

        Raises:
            BlobNotFoundError: It is not there.
        """
        name = _blob_name(digest)
        region = self._members.get(name)
        if region is None:
            raise BlobNotFoundError(f"{self._path}: a manifest refers to {name}, it is not in the archive")
        return region.open(f"{self._path}: {name}"), region.size

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _document(self, name: str) -> bytes:
        region = self._members.get(name)
        if region is None:
            hint = _DOCKER_HINT if self._docker else ""
            raise LayoutError(f"{self._path}: there is no {name} in it: this is not an archive of an OCI layout{hint}")
        with region.open(f"{self._path}: {name}") as stream:
            return read_document(stream, f"{self._path}: {name}")

    def _scan(self) -> None:
        status = os.fstat(self._file.fd)
        if stat.S_ISDIR(status.st_mode):
            raise LayoutError(f"{self._path}: expected a tar file, found a directory; name it as oci:{self._path}")
        file = io.FileIO(self._file.fd, closefd=False)
        stream = DecompressedStream(file, limits=EXPANSION, what=self._path)
        if stream.compression is None and stat.S_ISREG(status.st_mode):
            file.seek(0)
            self._index(TarReader(file, limits=_MEMBERS, seekable_size=status.st_size), in_place=True)
        else:
            self._index(TarReader(stream, limits=_MEMBERS), in_place=False)

    def _index(self, reader: TarReader, *, in_place: bool) -> None:
        try:
            for member in reader:
                self._docker = self._docker or member.name == _DOCKER_FILE
                name = _layout_name(member.name)
                if name is None or member.type is TarType.DIRECTORY:
                    continue
                # Of members with the same name the last counts, as for everybody who unpacks a tar file.
                self._members[name] = self._region(reader, member, name, in_place=in_place)
            if not in_place:
                reader.drain()
        except LayoutError as error:
            hint = "" if self._members else " (is this a tar file, plain or compressed by gzip, zstd, bzip2 or xz?)"
            raise LayoutError(f"{self._path}: {error}{hint}") from error

    def _region(self, reader: TarReader, member: TarMember, name: str, *, in_place: bool) -> Region:
        if member.type is TarType.HARD_LINK:
            target = self._members.get(_layout_name(member.linkname) or "")
            if target is None:
                raise LayoutError(f"{name}: a hard link to {member.linkname!r}, which does not come before it")
            return target
        if member.type is not TarType.REGULAR:
            raise LayoutError(f"{name}: expected a regular file, found a {member.type.value}")
        if in_place and member.sparse is None:
            return Region(self._file.fd, member.offset, member.size)
        if self._spool is None:
            self._spool = Spool(self._temporary_directory)
        # A sparse member may claim to be of any size, and so may thousands of them.
        self._spooled += member.size
        if self._spooled > EXPANSION_BYTES:
            raise LimitExceededError(f"{self._path}: bytes of the members of the archive", EXPANSION_BYTES)
        start = self._spool.reserve(member.size)
        for offset, data in reader.data():
            self._spool.write(data, start + offset)
        return self._spool.region(start, member.size)


def _layout_name(name: bytes) -> str | None:
    """Return the name of a member that belongs to a layout, in its one form; None for other members."""
    parts = [part for part in os.fsdecode(name).split("/") if part not in {"", "."}]
    if parts in ([IMAGE_LAYOUT_FILE], [IMAGE_INDEX_FILE]):
        return parts[0]
    if len(parts) == 3 and parts[0] == IMAGE_BLOBS_DIR:
        with contextlib.suppress(InvalidDigestError):
            return _blob_name(Digest(f"{parts[1]}:{parts[2]}"))
    return None


def _blob_name(digest: Digest) -> str:
    return f"{IMAGE_BLOBS_DIR}/{digest.algorithm}/{digest.hex}"


def write_archive(path: str, documents: Mapping[str, bytes], blobs: Mapping[Digest, Region], *, mtime: int = 0) -> None:
    """Write the archive of a layout: whole and on disk when this returns, and not there at all before.

    The same content gives the same bytes: ``oci-layout``, ``index.json``, then the blobs in the order of their
    names, all with the same time, owned by root.

    Args:
        path: The file, replaced when it is there.
        documents: The content of the two files.
        blobs: Where the blobs are.
        mtime: The time that files in the archive have, in seconds since the epoch.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    place = Path(path)
    named = {_blob_name(digest): region for digest, region in blobs.items()}
    with Descriptor(os.open(place.parent, DIRECTORY)) as parent:
        remove_stale(parent.fd)
        with TemporaryFile(parent.fd) as file:
            for name in (IMAGE_LAYOUT_FILE, IMAGE_INDEX_FILE):
                data = documents[name]
                file.write(tar_header(name, len(data), mode=0o644, mtime=mtime) + data + padding(len(data)))
            for name in sorted({IMAGE_BLOBS_DIR, *(blob.rpartition("/")[0] for blob in named)}):
                file.write(tar_header(f"{name}/", None, mode=0o755, mtime=mtime))
            for name, region in sorted(named.items()):
                file.write(tar_header(name, region.size, mode=0o644, mtime=mtime))
                with region.open(name) as stream:
                    while data := stream.read(_CHUNK):
                        file.write(data)
                file.write(padding(region.size))
            file.write(TAR_END)
            file.rename(place.name, parent.fd)
        fsync_directory(parent.fd)
