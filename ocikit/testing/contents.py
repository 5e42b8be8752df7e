"""What a registry holds: repositories with blobs, manifests and tags; uploads on their way. Knows nothing of HTTP."""

from __future__ import annotations

import contextlib
import secrets
import threading
import uuid
from typing import TYPE_CHECKING

from ocikit.errors import DigestMismatchError, LimitExceededError
from ocikit.spec import Digest
from ocikit.testing.blob_store import BlobStore, FileContent, Sink, StoredContent

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from hashlib import _Hash

    from ocikit.testing.documents import Manifest
    from ocikit.testing.options import RegistryLimits

__all__ = ["Contents", "Repository", "Upload"]

_STEP = 1 << 20


class Repository:
    """One repository; read and changed only while its contents are locked."""

    __slots__ = ("blobs", "manifests", "tags")

    def __init__(self) -> None:
        self.blobs: set[str] = set()
        self.manifests: dict[str, Manifest] = {}
        self.tags: dict[str, str] = {}


class Upload:
    """A blob on its way into a repository. It is :meth:`held` by the request that adds to it."""

    def __init__(self, repository: str, sink: Sink, algorithm: str) -> None:
        self.id = str(uuid.uuid4())
        #: What clients have to send back, as with registries that keep the state of an upload in its URL.
        self.state = secrets.token_urlsafe(24)
        self.repository = repository
        #: Whether the last chunk was shorter than the registry asks for: then nothing may follow it.
        self.is_last_chunk_in = False
        self._sink = sink
        self._hasher: _Hash = Digest.from_bytes(b"", algorithm).hasher()
        self._algorithm = algorithm
        self._ended = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other requests from adding to it, while this one does."""
        with self._lock:
            try:
                yield
            finally:
                if self._ended:  # by somebody who could not wait
                    self._sink.discard()

    @property
    def size(self) -> int:
        """The bytes that have come in."""
        return self._sink.size

    @property
    def ended(self) -> bool:
        """Whether it was finished or forgotten, perhaps while somebody waited for it."""
        return self._ended

    def write(self, data: memoryview) -> None:
        """Add bytes."""
        self._sink.write(data)
        self._hasher.update(data)

    @contextlib.contextmanager
    def whole_or_nothing(self) -> Iterator[None]:
        """Forget what is written within, when that breaks off."""
        size, hasher = self._sink.size, self._hasher.copy()
        try:
            yield
        except BaseException:
            self._hasher = hasher
            if not self._ended:
                self._sink.cut(size)
            raise

    def finish(self, digest: Digest) -> StoredContent:
        """Return what came in.

        Raises:
            DigestMismatchError: It has another digest.
            NotSupportedError: The digest is of an algorithm that is not known here.
        """
        if digest.algorithm != self._algorithm:
            hasher = digest.hasher()
            content = self._sink.finish()
            self._ended = True
            _feed(hasher, content)
            actual = Digest.from_hasher(hasher)
            if actual != digest:
                content.discard()
                raise DigestMismatchError("uploaded blob", digest, actual)
            return content
        actual = Digest.from_hasher(self._hasher)
        if actual != digest:
            raise DigestMismatchError("uploaded blob", digest, actual)
        self._ended = True
        return self._sink.finish()

    def discard(self) -> None:
        """Forget what came in, now or as soon as the request that holds it lets go."""
        self._ended = True
        if self._lock.acquire(blocking=False):
            try:
                self._sink.discard()
            finally:
                self._lock.release()


def _feed(hasher: _Hash, content: StoredContent) -> None:
    from ocikit.testing.pieces import FilePiece, close_all, steps  # noqa: PLC0415 - few need it

    pieces = content.pieces(0, content.size)
    try:
        for piece in steps(pieces, _STEP):
            hasher.update(piece.read() if isinstance(piece, FilePiece) else piece)
    finally:
        close_all(pieces)


class Contents:
    """Everything that a registry holds. ``lock`` is held for every look and every change."""

    def __init__(self, directory: str | os.PathLike[str] | None, limits: RegistryLimits) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, Upload] = {}
        self._limits = limits
        self._store = BlobStore(directory, limits.stored_bytes)
        self._blobs: dict[str, StoredContent] = {}

    def repository(self, name: str) -> Repository:
        """Return a repository, made when it is not there."""
        with self.lock:
            if name not in self.repositories and len(self.repositories) >= self._limits.repositories:
                raise LimitExceededError("repositories", self._limits.repositories)
            return self.repositories.setdefault(name, Repository())

    def blob(self, repository: str, digest: str) -> StoredContent | None:
        """Return a blob of a repository."""
        with self.lock:
            found = self.repositories.get(repository)
            return self._blobs[digest] if found and digest in found.blobs else None

    def add_blob(self, repository: str, digest: str, content: StoredContent) -> None:
        """Put a blob into a repository; one that is there already stays."""
        with self.lock:
            self.repository(repository).blobs.add(digest)
            if self._blobs.setdefault(digest, content) is not content:
                content.discard()

    def add_bytes(self, repository: str, digest: str, data: memoryview) -> None:
        """Put a blob into a repository, from memory."""
        sink = self._store.sink()
        sink.write(data)
        self.add_blob(repository, digest, sink.finish())

    def add_file(self, repository: str, digest: Digest | None, path: str, *, verify: bool) -> Digest:
        """Put a blob into a repository that is read from a file of somebody else whenever it is asked for."""
        content = FileContent(path, None)
        if digest is None or verify:
            hasher = digest.hasher() if digest else Digest.from_bytes(b"").hasher()
            _feed(hasher, content)
            actual = Digest.from_hasher(hasher)
            if digest is not None and actual != digest:
                raise DigestMismatchError(path, digest, actual)
            digest = actual
        self.add_blob(repository, digest, content)
        return digest

    def mount_blob(self, repository: str, digest: str, source: str | None) -> bool:
        """Put a blob of another repository (None: any) into a repository; tell whether there is one."""
        with self.lock:
            sources = [source] if source else [*self.repositories]
            if not any(self.blob(name, digest) for name in sources):
                return False
            self.repository(repository).blobs.add(digest)
            return True

    def remove_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from a repository; tell whether it was there."""
        with self.lock:
            found = self.repositories.get(repository)
            if not found or digest not in found.blobs:
                return False
            found.blobs.remove(digest)
            if not any(digest in other.blobs for other in self.repositories.values()):
                self._blobs.pop(digest).discard()
            return True

    def start_upload(self, repository: str, algorithm: str = "sha256") -> Upload:
        """Begin an upload.

        Raises:
            LimitExceededError: There are too many.
            NotSupportedError: Digests of this algorithm are not known here.
        """
        with self.lock:
            if len(self.uploads) >= self._limits.uploads:
                raise LimitExceededError("uploads at once", self._limits.uploads)
            self.repository(repository)
            upload = Upload(repository, self._store.sink(), algorithm)
            self.uploads[upload.id] = upload
            return upload

    def finish_upload(self, upload: Upload, digest: Digest) -> None:
        """Make a blob of an upload, which is held; it is gone whatever becomes of it.

        Raises:
            DigestMismatchError: What came in has another digest.
            NotSupportedError: Digests of this algorithm are not known here.
        """
        try:
            content = upload.finish(digest)
        except Exception:
            self.drop_upload(upload)
            raise
        with self.lock:
            self.uploads.pop(upload.id, None)
            self.add_blob(upload.repository, digest, content)

    def drop_upload(self, upload: Upload) -> None:
        """Forget an upload."""
        with self.lock:
            self.uploads.pop(upload.id, None)
        upload.discard()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return a manifest by its tag or its digest."""
        with self.lock:
            found = self.repositories.get(repository)
            return found.manifests.get(found.tags.get(reference, reference)) if found else None

    def add_manifest(self, repository: str, manifest: Manifest, tags: tuple[str, ...] = ()) -> None:
        """Put a manifest into a repository, and let tags point to it."""
        with self.lock:
            found = self.repository(repository)
            if len(found.manifests) >= self._limits.manifests or len(found.tags) + len(tags) > self._limits.manifests:
                raise LimitExceededError("manifests and tags of a repository", self._limits.manifests)
            found.manifests[manifest.digest] = manifest
            found.tags.update(dict.fromkeys(tags, manifest.digest))

    def remove_manifest(self, repository: str, reference: str) -> bool:
        """Remove a tag, or a manifest with its tags; tell whether it was there."""
        with self.lock:
            found = self.repositories.get(repository)
            if not found:
                return False
            if reference in found.tags:
                del found.tags[reference]
                return True
            found.tags = {tag: digest for tag, digest in found.tags.items() if digest != reference}
            return found.manifests.pop(reference, None) is not None

    def close(self) -> None:
        """Let go of everything."""
        with self.lock:
            uploads = [*self.uploads.values()]
            self.uploads.clear()
            self._blobs.clear()
            self.repositories.clear()
        for upload in uploads:
            upload.discard()
        self._store.close()
