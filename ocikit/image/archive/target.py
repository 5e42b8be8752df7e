"""Where an archive goes: a file that appears whole, a pipe or device, or an open file object.

A plain archive for a file is assembled beside its place and renamed when it is whole and on disk. Any other is
assembled in an anonymous file, and written, compressed on request, when it is whole.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, Descriptor, fsync_directory
from ocikit.errors import LayoutError
from ocikit.image.archive.patience import flush, write
from ocikit.image.archive.regions import Region, Spool
from ocikit.image.compression import CompressedStream
from ocikit.image.layout.temporary import TemporaryFile, remove_stale

if TYPE_CHECKING:
    from ocikit.image.archive.patience import WritableStream
    from ocikit.image.archive.regions import OpenFile
    from ocikit.image.compression import Compression
    from ocikit.image.types import ByteStream

__all__ = ["SpooledTarget", "StreamTarget", "Target", "file_target"]

_CHUNK: Final = 1 << 20
_PASSED_THROUGH: Final = (stat.S_ISFIFO, stat.S_ISCHR)


class Target(ABC):
    """The place of one archive."""

    @property
    @abstractmethod
    def file(self) -> OpenFile:
        """The file that the archive is assembled in, open for reading and writing."""

    @property
    def fd(self) -> int:
        """The descriptor of that file; -1 when it is closed."""
        return self.file.fileno()

    @property
    @abstractmethod
    def where(self) -> str:
        """That file, for messages about a full disk."""

    @property
    def is_final(self) -> bool:
        """Whether that file is what appears in the end, and has to be on disk then."""
        return False

    @abstractmethod
    def finish(self, size: int) -> None:
        """Have the archive appear at its place; durable when this returns, where that means anything.

        Args:
            size: The bytes of what was assembled.

        Raises:
            OSError: It cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Remove what is left; closing twice is nothing."""


def file_target(
    path: str, *, compression: Compression | None, temporary_directory: str | None, replace: bool
) -> Target:
    """Return the target for a path.

    Args:
        path: A file that is there or not, a named pipe or a device.
        compression: How the archive is compressed as a whole; None for not at all.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.
        replace: Whether a file that is there and not empty is replaced.

    Raises:
        LayoutError: Something is there that is not replaced.
        OSError: Nothing can be written there.
    """
    _check_place(path, replace=replace)
    if _is_passed_through(path):
        return _PipeTarget(path, compression, temporary_directory)
    if compression is None:
        return _FileTarget(path, replace=replace)
    return _CompressedTarget(path, compression, temporary_directory, replace=replace)


def _check_place(path: str, *, replace: bool) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if _is_passed_through(path):
        return
    if not stat.S_ISREG(status.st_mode):
        raise LayoutError(f"{path}: something is there that is no file, and is not replaced")
    if status.st_size and not replace:
        raise LayoutError(
            f"{path}: there is a file, and it is not empty: images are not added to an archive of `docker save`; "
            "remove it or name another"
        )


def _is_passed_through(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    return any(is_such(mode) for is_such in _PASSED_THROUGH)


class _Beside:
    """A file with a temporary name in the directory of its place."""

    def __init__(self, path: str, *, replace: bool) -> None:
        self._path = path
        self._replace = replace
        self._parent = Descriptor(os.open(Path(path).parent, DIRECTORY))
        try:
            remove_stale(self._parent.fd)
            self.file = TemporaryFile(self._parent.fd)
        except BaseException:
            self._parent.close()
            raise

    def rename(self) -> None:
        # It was so when the destination was opened, which may be long ago.
        _check_place(self._path, replace=self._replace)
        self.file.rename(Path(self._path).name, self._parent.fd)
        fsync_directory(self._parent.fd)

    def close(self) -> None:
        self.file.close()
        self._parent.close()


class _FileTarget(Target):
    def __init__(self, path: str, *, replace: bool) -> None:
        self._beside = _Beside(path, replace=replace)
        self._where = path

    @property
    def file(self) -> OpenFile:
        return self._beside.file

    @property
    def where(self) -> str:
        return self._where

    @property
    def is_final(self) -> bool:
        return True

    def finish(self, size: int) -> None:
        del size
        self._beside.rename()

    def close(self) -> None:
        self._beside.close()


class SpooledTarget(Target):
    """A target that is written when all of the archive is there.

    Args:
        compression: How the archive is compressed as a whole; None for not at all.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.
    """

    def __init__(self, compression: Compression | None, temporary_directory: str | None) -> None:
        self._compression = compression
        self._spool = Spool(temporary_directory)

    @property
    def file(self) -> OpenFile:
        """See :class:`Target`."""
        return self._spool

    @property
    def where(self) -> str:
        """See :class:`Target`."""
        return self._spool.where

    def close(self) -> None:
        """See :class:`Target`."""
        self._spool.close()

    def _whole(self, size: int) -> ByteStream:
        stream: ByteStream = Region(self.file, 0, size).open("the archive that is being written")
        return CompressedStream(stream, self._compression) if self._compression is not None else stream


class _CompressedTarget(SpooledTarget):
    def __init__(self, path: str, compression: Compression, temporary_directory: str | None, *, replace: bool) -> None:
        super().__init__(compression, temporary_directory)
        self._path = path
        self._replace = replace

    def finish(self, size: int) -> None:
        beside = _Beside(self._path, replace=self._replace)
        try:
            with self._whole(size) as stream:
                while data := stream.read(_CHUNK):
                    beside.file.write(data)
            beside.rename()
        finally:
            beside.close()


class _PipeTarget(SpooledTarget):
    def __init__(self, path: str, compression: Compression | None, temporary_directory: str | None) -> None:
        super().__init__(compression, temporary_directory)
        self._path = path

    def finish(self, size: int) -> None:
        with Path(self._path).open("wb", buffering=0) as file, self._whole(size) as stream:
            _pass_on(stream, file)


class StreamTarget(SpooledTarget):
    """An open file object; it is written to at the end, and not closed.

    Args:
        stream: The file object.
        compression: As for :func:`file_target`.
        temporary_directory: As there.

    Raises:
        LayoutError: It is a terminal.
    """

    def __init__(
        self, stream: WritableStream, *, compression: Compression | None, temporary_directory: str | None
    ) -> None:
        if getattr(stream, "isatty", bool)():
            raise LayoutError("the archive would be written to a terminal; send it to a file or a pipe")
        super().__init__(compression, temporary_directory)
        self._stream = stream

    def finish(self, size: int) -> None:
        """See :class:`Target`."""
        with self._whole(size) as stream:
            _pass_on(stream, self._stream)


def _pass_on(stream: ByteStream, to: WritableStream) -> None:
    while data := stream.read(_CHUNK):
        write(to, data)
    flush(to)
