"""Content that is verified while it arrives, and the directory that it is kept in by digest.

A file appears under its digest when it is whole, has that digest and is on disk; nothing is ever written in
place. What is in the directory may come from anybody: links are not followed, only regular files are opened.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit._fs import DIRECTORY, Descriptor, fsync_directory
from ocikit._tuples import NamedTuple
from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    InvalidDigestError,
    LayoutError,
    LimitExceededError,
    SizeMismatchError,
)
from ocikit.image.layout.linking import give_name, verify_file
from ocikit.image.layout.temporary import TemporaryFile
from ocikit.image.manifest import LIMIT
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from hashlib import _Hash
    from typing import BinaryIO, Self

    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["Begun", "BlobDirectory", "StoredFile", "blob_name", "open_regular", "read_document", "receive"]

# Large enough that hashing and writing let other threads run for a while.
_CHUNK: Final = 1 << 20
# What is hashed by the thread that writes it: less than it takes to start another.
_ALONE: Final = 8 << 20
# How many pieces the hash may be behind: on a busy machine the two threads seldom run at the same time.
_BEHIND: Final = 8
_ALGORITHM: Final = "sha256"
# What open(2) says when a name cannot be there, or is something that is not opened here.
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENAMETOOLONG})
_FOREIGN: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})


def receive(
    stream: ByteStream, info: BlobInfo, write: Callable[[bytes], object], what: str, begun: Begun | None = None
) -> tuple[Digest, int]:
    """Read a stream to its end and pass it on, verifying what is known of it.

    Args:
        stream: The content.
        info: What is known; a digest and a size that are given must be those of the content.
        write: Takes each piece; what it was given is void when this raises.
        what: What the content is, for messages.
        begun: What came before the stream.

    Returns:
        The digest and the size of the content.

    Raises:
        DigestMismatchError: The content has another digest.
        SizeMismatchError: The content has another size; found out as soon as there is too much.
        NotSupportedError: The digest's algorithm cannot be computed here.
    """
    hasher, size = begun or (_hasher(info), 0)
    with _Hashing(hasher.update) as hashing:
        while data := stream.read(_CHUNK):
            size += len(data)
            if 0 <= info.size < size:
                raise SizeMismatchError(what, info.size, size)
            hashing.update(data)
            write(data)
    if 0 <= info.size != size:
        raise SizeMismatchError(what, info.size, size)
    digest = Digest.from_hasher(hasher)
    if info.digest is not None and digest != info.digest:
        raise DigestMismatchError(what, info.digest, digest)
    return digest, size


def _hasher(info: BlobInfo) -> _Hash:
    return info.digest.hasher() if info.digest is not None else Digest.from_bytes(b"", _ALGORITHM).hasher()


# The hashes that are being computed. Adding and discarding take no lock, which a forked child could find held for ever.
_active: Final[set[int]] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_active.clear)


class _Hashing:
    """A hash that is computed while what it is of is written, once that is more than a little.

    Another thread does that as long as there are processors for it: where as many blobs arrive at a time as there are
    processors, each is hashed by the thread that writes it.
    """

    _processors: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def __init__(self, update: Callable[[bytes], object]) -> None:
        self._update = update
        self._left = _ALONE
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[object]] = deque()

    @property
    def _is_crowded(self) -> bool:
        return len(_active) >= self._processors

    def update(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left > 0 or self._is_crowded:
            while self._pending:
                self._pending.popleft().result()
            self._update(data)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "ocikit-hash")
        if len(self._pending) == _BEHIND:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._update, data))

    def __enter__(self) -> Self:
        _active.add(id(self))
        return self

    def __exit__(self, *_: object) -> None:
        _active.discard(id(self))
        if self._pool is not None:
            self._pool.shutdown()


def blob_name(info: BlobInfo, place: str) -> str:
    """Name a blob that is on its way to a place, for messages."""
    return f"blob {info.digest} for {place}" if info.digest is not None else f"a blob for {place}"


def open_regular(directory_fd: int, name: str, where: str, *, linked: bool = False) -> tuple[io.FileIO, int]:
    """Open a regular file for reading, and nothing else.

    Args:
        directory_fd: The directory it is in.
        name: Its name, without a slash.
        where: The file, for messages.
        linked: Whether a link may lead to it, from wherever.

    Returns:
        The file and its size in bytes.

    Raises:
        FileNotFoundError: There is none.
        LayoutError: Something else has this name.
        OSError: As the system calls give it.
    """
    try:
        # Opening a device does something by itself; only a link can lead from a directory of ours to one.
        if linked and not stat.S_ISREG(os.stat(name, dir_fd=directory_fd).st_mode):
            raise LayoutError(f"{where}: expected a regular file, or a link to one, found something else")
        # O_NONBLOCK: opening a named pipe would wait for somebody to write to it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if linked else os.O_NOFOLLOW)
        fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in _ABSENT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from None
        if error.errno in _FOREIGN:
            raise LayoutError(f"{where}: expected a regular file, found a link or something else") from error
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise LayoutError(f"{where}: expected a regular file, found something else")
    return io.FileIO(fd), status.st_size


def read_document(stream: ByteStream, what: str) -> bytes:
    """Read all of a stream that holds a document of at most 4 MiB.

    Raises:
        LimitExceededError: There is more.
    """
    data = b""
    while piece := stream.read(LIMIT + 1 - len(data)):
        data += piece
        if len(data) > LIMIT:
            raise LimitExceededError(f"bytes of {what}", LIMIT)
    return data


class Begun(NamedTuple):
    """The beginning of some content, read before the rest of it came."""

    #: What has hashed it, and goes on.
    hasher: _Hash
    #: Its size in bytes.
    size: int


class StoredFile(NamedTuple):
    """Something in a ``blobs`` directory."""

    #: Its path below that directory.
    path: str
    #: The digest that its name stands for; None when it is no blob, but something that does not belong there.
    digest: Digest | None
    #: Its size in bytes.
    size: int
    #: When it was written, in seconds since the epoch.
    modified: float


class BlobDirectory:
    """The ``blobs`` directory of a layout: a directory for each algorithm, in it a file for each digest.

    Its methods may be called from several threads.

    Args:
        directory: The directory; owned from now on.
        temporary_fd: Where files are written before they are whole; on the same file system. Not in the directory
            itself, where other tools expect nothing but algorithms.
        where: The directory, for messages.
    """

    def __init__(self, directory: Descriptor, temporary_fd: int, where: str) -> None:
        self._directory = directory
        self._temporary_fd = temporary_fd
        self._where = where
        self._written: set[str] = set()  # algorithms that have blobs not yet known to be durable by name
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The directory, for messages."""
        return self._where

    @property
    def temporary_fd(self) -> int:
        """A descriptor of the directory that files are in before they are whole."""
        return self._temporary_fd

    def close(self) -> None:
        """Close the directory; closing twice is nothing."""
        self._directory.close()

    def open(self, digest: Digest) -> tuple[io.FileIO, int]:
        """Open a blob and return it with its size; its content is not verified.

        Raises:
            BlobNotFoundError: It is not there.
            LayoutError: Something is there that is no blob.
        """
        where = f"{self._where}/{digest.algorithm}/{digest.hex}"
        try:
            with self._algorithm(digest.algorithm) as directory:
                return open_regular(directory.fd, digest.hex, where)
        except FileNotFoundError:
            raise BlobNotFoundError(f"{where}: a manifest refers to this blob, it is not there") from None

    def files(self) -> Iterator[StoredFile]:
        """Yield everything in the directory, blobs and what does not belong there, in the order of names.

        Raises:
            OSError: A directory cannot be read.
        """
        for algorithm in sorted(os.listdir(self._directory.fd)):
            try:
                opened = self._algorithm(algorithm)
            except (LayoutError, FileNotFoundError):
                yield from self._stored("", algorithm, self._directory.fd)
                continue
            with opened as directory:
                for name in sorted(os.listdir(directory.fd)):
                    yield from self._stored(algorithm, name, directory.fd)

    def _stored(self, algorithm: str, name: str, directory_fd: int) -> Iterator[StoredFile]:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            digest = None
            if algorithm and stat.S_ISREG(status.st_mode):
                with contextlib.suppress(InvalidDigestError):
                    digest = Digest(f"{algorithm}:{name}")
            path = f"{algorithm}/{name}" if algorithm else name
            yield StoredFile(path, digest, status.st_size, status.st_mtime)

    def size(self, digest: Digest) -> int | None:
        """Return the size of a blob; None when it is not there."""
        with contextlib.suppress(BlobNotFoundError, LayoutError):
            file, size = self.open(digest)
            file.close()
            return size
        return None

    def put(self, stream: ByteStream, info: BlobInfo) -> BlobInfo:
        """Store a blob, verified and whole or not at all; in place of what has its name.

        Args:
            stream: The content.
            info: What is known of it.

        Returns:
            ``info`` with digest and size filled in.

        Raises:
            VerificationError: The content is not what ``info`` says.
            OSError: As the system calls give it.
        """
        what = blob_name(info, self._where)
        with TemporaryFile(self._temporary_fd) as file:
            digest, size = receive(stream, info, file.write, what)
            self.name(file.rename, digest)
        return evolve(info, digest=digest, size=size)

    def name(self, rename: Callable[[str, int], object], digest: Digest) -> None:
        """Let a file that was verified have the name of its digest.

        Args:
            rename: Gives it a name in an open directory, in place of what has it.
            digest: The digest.

        Raises:
            OSError: As the system calls give it.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(digest.algorithm, 0o755, dir_fd=self._directory.fd)
        with self._algorithm(digest.algorithm) as directory:
            rename(digest.hex, directory.fd)
        with self._lock:
            self._written.add(digest.algorithm)

    def link(self, file: BinaryIO, info: BlobInfo) -> BlobInfo | None:
        """Store a blob by giving its file a second name here, verified.

        Args:
            file: The file; not closed.
            info: What is known of it; its digest is given.

        Returns:
            ``info`` with the size filled in; None when the file cannot have a second name here.

        Raises:
            VerificationError: The file is not what ``info`` says.
            OSError: As the system calls give it.
        """
        if info.digest is None:
            return None
        fd = file.fileno()
        verify_file(fd, info, blob_name(info, self._where))
        os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.mkdir(info.digest.algorithm, 0o755, dir_fd=self._directory.fd)
        try:
            with self._algorithm(info.digest.algorithm) as directory:
                if not give_name(fd, info.digest.hex, directory.fd):
                    return None
        except FileExistsError:
            # What is there may be damaged; only a copy takes its place in one step.
            return None
        with self._lock:
            self._written.add(info.digest.algorithm)
        return evolve(info, size=os.fstat(fd).st_size)

    def remove(self, digest: Digest) -> None:
        """Remove a blob; one that is not there is removed already."""
        with contextlib.suppress(FileNotFoundError), self._algorithm(digest.algorithm) as directory:
            os.unlink(digest.hex, dir_fd=directory.fd)

    def put_aside(self, digest: Digest, directory_fd: int, name: str) -> None:
        """Move a blob away, to a directory on the same file system; the name must be free there.

        Raises:
            OSError: As the system calls give it.
        """
        with self._algorithm(digest.algorithm) as directory:
            os.rename(digest.hex, name, src_dir_fd=directory.fd, dst_dir_fd=directory_fd)

    def sync(self) -> None:
        """Make the names of the blobs that were stored durable."""
        with self._lock:
            written, self._written = self._written, set()
        for algorithm in written:
            with self._algorithm(algorithm) as directory:
                fsync_directory(directory.fd)
        if written:
            fsync_directory(self._directory.fd)

    def _algorithm(self, name: str) -> Descriptor:
        try:
            return Descriptor(os.open(name, DIRECTORY, dir_fd=self._directory.fd))
        except OSError as error:
            if error.errno in _FOREIGN:
                raise LayoutError(f"{self._where}/{name}: expected a directory, found a link or a file") from error
            if error.errno in _ABSENT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._where}/{name}") from None
            raise
