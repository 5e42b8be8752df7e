"""Blobs that may take more than one process to arrive: each in a file that whoever wants it next goes on with.

The file is beside ``blobs``, where other temporary files are, named by the digest of the blob and by where it is
written: the running kernel. Its lock says who writes it, so that one downloads and the others wait. Locks hold within a
kernel whatever the file system; between hosts that share one they may not, and so hosts never write the same file:
what another has, or this one had before it was started anew, is copied.

What is there may come from anybody. Only a file that is ours alone is written, and nothing of it is believed before
the whole has its digest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
import time
from functools import cache
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor, located, no_fork
from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidDigestError, NotSupportedError, VerificationError
from ocikit.image.blob import PartialBlob
from ocikit.image.layout.appending import Appender
from ocikit.image.layout.blobs import Begun, blob_name, receive
from ocikit.image.layout.temporary import PARTIAL_PREFIX, find_stale, has_name, remove_stale
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.layout.blobs import BlobDirectory
    from ocikit.image.layout.temporary import StaleFile
    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["PartialFile", "PartialName", "begin_blob", "find_partial", "is_wanted", "remove_partial"]

_PIECE: Final = 1 << 20
# What is less is not worth a request of its own, nor a file that somebody wonders about.
_WORTH: Final = 256 << 10
_START: Final = 64
# How long one who waits sees nothing come before it helps itself.
_PATIENCE_SECONDS: Final = 60.0
_SHORTEST_WAIT: Final = 0.005
_LONGEST_WAIT: Final = 0.1
# How long a part stays that nobody goes on with.
_KEPT_SECONDS: Final = 3 * 86400.0
# When another host, whose lock may not be seen, has certainly ceased to write a file.
_CEASED_SECONDS: Final = 3600.0
_REPLACED_AT_MOST: Final = 8

_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NAME: Final = re.compile(re.escape(PARTIAL_PREFIX) + r"([0-9a-z]{1,16})-([a-z0-9]+)-([0-9a-f]+)")


@cache
def _kernel() -> str:
    """Return what tells this kernel from all others: within it locks hold, containers or not."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().replace("-", "").strip()[:16]
    except (OSError, ValueError):
        return Digest.from_bytes(os.uname().nodename.encode()).hex[:16]


class PartialName(NamedTuple):
    """The name of the file of a partial blob."""

    #: Where it is written.
    kernel: str
    #: The blob.
    digest: Digest

    def __str__(self) -> str:
        return f"{PARTIAL_PREFIX}{self.kernel}-{self.digest.algorithm}-{self.digest.hex}"

    @classmethod
    def parse(cls, name: str) -> PartialName | None:
        """Return what a name says; None when it is that of something else."""
        found = _NAME.fullmatch(name)
        with contextlib.suppress(InvalidDigestError):
            return cls(found[1], Digest(f"{found[2]}:{found[3]}")) if found is not None else None
        return None


def begin_blob(blobs: BlobDirectory, info: BlobInfo, go_on: Callable[[], object]) -> PartialFile | BlobInfo | None:
    """Begin a blob, or go on with it; see :meth:`~ocikit.image.types.ImageDestination.begin_blob`.

    Args:
        blobs: Where it is to be.
        info: The blob.
        go_on: Called while this waits or reads.

    Raises:
        OSError: The part that is there cannot be read.
    """
    if info.digest is None or info.size < 0 or not _is_computable(info.digest):
        return None
    name, waiting = str(PartialName(_kernel(), info.digest)), _Waiting(go_on)
    for _ in range(_REPLACED_AT_MOST):
        file = _locked(blobs, info, name, waiting)
        if not isinstance(file, Descriptor):
            return file
        partial = PartialFile(file, name, blobs, info, info.digest)
        if _is_there(blobs, info):
            partial.discard()
            return info
        if partial.is_ours_alone():
            try:
                partial.read(go_on)
            except BaseException:
                partial.close()
                raise
            return partial
        partial.discard()
    return None


def _is_computable(digest: Digest) -> bool:
    try:
        digest.hasher()
    except NotSupportedError:
        return False
    return True


def _is_there(blobs: BlobDirectory, info: BlobInfo) -> bool:
    return info.digest is not None and blobs.size(info.digest) == info.size


def _locked(blobs: BlobDirectory, info: BlobInfo, name: str, waiting: _Waiting) -> Descriptor | BlobInfo | None:
    """Return the file of a blob, locked; the blob when it comes to be there; None when there can be no such file."""
    while True:
        file = _opened(blobs.temporary_fd, name)
        if file is None:
            return None
        is_kept = False
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if has_name(file.fd, name, blobs.temporary_fd):
                is_kept = True
                return file
        except BlockingIOError:
            if _is_there(blobs, info):
                return info
            if not waiting.wait(os.fstat(file.fd)):
                return None
        except OSError:
            # Without locks nobody knows who writes.
            if not os.fstat(file.fd).st_size:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=blobs.temporary_fd)
            return None
        finally:
            if not is_kept:
                file.close()


class _Waiting:
    """Waits for somebody else for as long as something comes."""

    def __init__(self, go_on: Callable[[], object]) -> None:
        self._go_on = go_on
        self._seen: tuple[int, int] | None = None
        self._until = 0.0
        self._seconds = _SHORTEST_WAIT

    def wait(self, status: os.stat_result) -> bool:
        """Wait a moment; say whether it is worth waiting any longer.

        Args:
            status: The state of the file that is written.
        """
        now, seen = time.monotonic(), (status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            self._seen, self._until = seen, now + _PATIENCE_SECONDS
        if now >= self._until:
            return False
        self._go_on()
        time.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, _LONGEST_WAIT)
        return True


def _opened(directory_fd: int, name: str) -> Descriptor | None:
    """Open or make a file that may be written; None when there is something else that does not go away."""
    for _ in range(2):
        try:
            with no_fork:
                file = Descriptor(os.open(name, _OPEN, 0o644, dir_fd=directory_fd))
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                return None  # a file of somebody else, or whatever it is that the other way of writing has to say
        else:
            status = os.fstat(file.fd)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                return file
            file.close()
            if stat.S_ISREG(status.st_mode):
                return None  # somebody else may be at it, and may write what they like into it
        # A link, a pipe: nobody misses it.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
    return None


class PartialFile(PartialBlob):
    """A blob that a part of is in a file; see :class:`~ocikit.image.blob.PartialBlob`.

    Args:
        file: The file, locked; owned from now on.
        name: Its name.
        blobs: Where the blob is to be.
        info: The blob; its size is given.
        digest: Its digest.
    """

    def __init__(self, file: Descriptor, name: str, blobs: BlobDirectory, info: BlobInfo, digest: Digest) -> None:
        self._file = file
        self._name: str | None = name
        self._blobs = blobs
        self._info = info
        self._digest = digest
        self._hasher = digest.hasher()
        self._size = 0
        self._start = b""
        self._is_worthless = False
        self._process = os.getpid()

    @property
    def offset(self) -> int:
        """See :class:`~ocikit.image.blob.PartialBlob`."""
        return self._size

    @property
    def start(self) -> bytes:
        """See :class:`~ocikit.image.blob.PartialBlob`."""
        return self._start

    def is_ours_alone(self) -> bool:
        """Say whether nobody else can write the file, and it is not also a file somewhere else."""
        status = os.fstat(self._file.fd)
        # One that was made just now has what a directory may give it (an access list).
        return status.st_nlink == 1 and (not status.st_size or not status.st_mode & 0o022)

    def read(self, go_on: Callable[[], object]) -> None:
        """Hash what is there, or what there is in another file for the same blob.

        Args:
            go_on: Called between pieces.

        Raises:
            OSError: It cannot be read.
        """
        there = os.fstat(self._file.fd).st_size
        if there > self._info.size:
            self._empty()
        elif there:
            # Whoever waits sees by its time that something is done about the file.
            self._take(self._file.fd, go_on, lambda _: os.utime(self._file.fd))
        elif self._info.size >= _WORTH:
            self._adopt(go_on)

    def _take(self, fd: int, go_on: Callable[[], object], write: Callable[[bytes], object]) -> None:
        while data := os.pread(fd, _PIECE, self._size):
            go_on()
            write(data)
            self._counted(data)
            self._hasher.update(data)

    def _adopt(self, go_on: Callable[[], object]) -> None:
        """Copy what another host has of the blob, or this one had before it was started anew."""
        directory_fd, best, most = self._blobs.temporary_fd, None, _WORTH
        for name in os.listdir(directory_fd):
            found = PartialName.parse(name)
            if found is not None and found.digest == self._digest and name != self._name:
                with contextlib.suppress(OSError):
                    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
                    if most <= status.st_size <= self._info.size and stat.S_ISREG(status.st_mode):
                        best, most = name, status.st_size
        if best is None:
            return
        try:
            with Descriptor(os.open(best, _READ, dir_fd=directory_fd)) as other:
                if os.fstat(other.fd).st_uid == os.geteuid():
                    with Appender(self._file.fd, expected=self._info.size) as appender, self._writing():
                        self._take(other.fd, go_on, appender.write)
                        appender.flush()
        except OSError:
            self._empty()  # it was not to be
        if self._size > self._info.size:
            self._empty()

    def complete(self, stream: ByteStream) -> BlobInfo:
        """See :class:`~ocikit.image.blob.PartialBlob`."""
        what, begun = blob_name(self._info, self._blobs.where), Begun(self._hasher, self._size)
        try:
            # Of what came, everything is in the file in the end, whatever happens: whoever goes on is glad of it.
            with Appender(self._file.fd, self._size, self._info.size) as appender:
                receive(stream, self._info, lambda data: self._append(appender, data), what, begun)
                with self._writing():
                    appender.flush()
        except VerificationError:
            self._empty()
            raise
        except BaseException:
            self.close()  # whoever goes on has to read what there is
            raise
        with self._writing():
            os.fsync(self._file.fd)
        self._store()
        return self._info

    def _store(self) -> None:
        name, directory_fd = self._name or "", self._blobs.temporary_fd
        if has_name(self._file.fd, name, directory_fd):
            self._blobs.name(
                lambda blob, blobs_fd: os.rename(name, blob, src_dir_fd=directory_fd, dst_dir_fd=blobs_fd),
                self._digest,
            )
        else:
            # Somebody tidied up who saw no lock, on another host, or put something else there. What was verified is in
            # the file all the same.
            os.lseek(self._file.fd, 0, os.SEEK_SET)
            with io.FileIO(self._file.fd, closefd=False) as file:
                self._blobs.put(file, self._info)
        self._name = None
        self.close()

    def _append(self, appender: Appender, data: bytes) -> None:
        with self._writing():
            appender.write(data)
        self._counted(data)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A disk that is full is not kept full.
            self._is_worthless = error.errno in _FULL
            raise located(error, self._blobs.temporary_fd, self._name or "") from error

    def _counted(self, data: bytes) -> None:
        if len(self._start) < _START:
            self._start += data[: _START - len(self._start)]
        self._size += len(data)

    def _empty(self) -> None:
        os.ftruncate(self._file.fd, 0)
        self._size, self._start, self._hasher = 0, b"", self._digest.hasher()

    def discard(self) -> None:
        """Close the file and remove it, whatever is in it."""
        self._is_worthless = True
        self.close()

    def close(self) -> None:
        """See :class:`~ocikit.image.blob.PartialBlob`."""
        if os.getpid() != self._process:
            return  # a forked child: the file is its parent's
        name, self._name = self._name, None
        if name is not None:
            with contextlib.suppress(OSError):
                is_left = not self._is_worthless and os.fstat(self._file.fd).st_size >= _WORTH
                if not is_left and has_name(self._file.fd, name, self._blobs.temporary_fd):
                    os.unlink(name, dir_fd=self._blobs.temporary_fd)
        if self._file.fd >= 0:
            with no_fork:
                # Said, and not left to closing: a child that is being made may have a copy of the descriptor.
                with contextlib.suppress(OSError):
                    fcntl.flock(self._file.fd, fcntl.LOCK_UN)
                self._file.close()

    # Ctrl-C may come after this was made and before the with block was entered.
    __del__ = close


def is_wanted(blobs: BlobDirectory, name: str, status: os.stat_result) -> bool:
    """Say whether the file of a partial blob may still be of use to somebody.

    Args:
        blobs: Where the blobs are.
        name: The name of the file.
        status: Its state.
    """
    found = PartialName.parse(name)
    age = abs(time.time() - status.st_mtime)  # of one that is from the future nobody knows anything either
    if found is None or age > _KEPT_SECONDS:
        return False
    return blobs.size(found.digest) is None or (found.kernel != _kernel() and age < _CEASED_SECONDS)


def remove_partial(blobs: BlobDirectory, *, min_age: float | None = None) -> tuple[StaleFile, ...]:
    """Remove partial blobs that nobody is at: those that are not wanted, or all of an age.

    Args:
        blobs: Where the blobs are.
        min_age: How old, in seconds since something came; None for those that are not wanted any more.

    Returns:
        What was removed.
    """
    return remove_stale(blobs.temporary_fd, prefix=PARTIAL_PREFIX, spared=_spared(blobs, min_age))


def find_partial(blobs: BlobDirectory, *, min_age: float | None = None) -> tuple[StaleFile, ...]:
    """Return what :func:`remove_partial` would remove, and leave it there."""
    return find_stale(blobs.temporary_fd, prefix=PARTIAL_PREFIX, spared=_spared(blobs, min_age))


def _spared(blobs: BlobDirectory, min_age: float | None) -> Callable[[str, os.stat_result], bool]:
    if min_age is None:
        return lambda name, status: is_wanted(blobs, name, status)
    now = time.time()
    return lambda _, status: now - status.st_mtime < min_age
