"""The bytes of a copy: each blob once, several at a time where both sides allow it, and every event told.

The destination verifies what it stores (:mod:`ocikit.image.types`), so that nothing is hashed twice. What is
here counts, tells and stops.
"""

from __future__ import annotations

import io
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.errors import SizeMismatchError
from ocikit.image.conversion.layers import is_nondistributable
from ocikit.image.copy.options import BlobOutcome, CopiedBlob
from ocikit.image.copy.progress import ArtifactDone, ArtifactRead, ArtifactSkipped, NewArtifact
from ocikit.image.types import BlobInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.plan import PlannedBlob
    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.types import ByteStream, ImageDestination, ImageSource
    from ocikit.spec import Descriptor, Digest

    _Tell = Callable[[ProgressEvent], object]

__all__ = ["copy_blobs", "unchanged"]


def copy_blobs(
    blobs: Iterable[PlannedBlob], source: ImageSource, destination: ImageDestination, options: CopyOptions
) -> tuple[CopiedBlob, ...]:
    """Copy every blob that the destination lacks, each once.

    Args:
        blobs: The blobs, in the order of the manifests.
        source: Where they are.
        destination: Where they go; verifies them.
        options: Who is told, how often, and how many are copied at a time.

    Returns:
        Every blob once, in the order of the manifests.

    Raises:
        VerificationError: A blob is not what its manifest says it is.
        BlobNotFoundError: A blob is not there.
        BaseException: Whatever the progress callable raised.
    """
    return _Blobs(source, destination, options).copy(_unique(blobs))


def unchanged(blobs: Iterable[PlannedBlob]) -> tuple[CopiedBlob, ...]:
    """Return what a copy says of blobs when the image is at the destination already."""
    return tuple(_outcome(blob, BlobOutcome.REUSED) for blob in _unique(blobs))


def _outcome(blob: PlannedBlob, outcome: BlobOutcome) -> CopiedBlob:
    descriptor = blob.descriptor
    return CopiedBlob(digest=descriptor.digest, size=descriptor.size, media_type=descriptor.media_type, outcome=outcome)


def _unique(blobs: Iterable[PlannedBlob]) -> list[PlannedBlob]:
    unique: dict[Digest, PlannedBlob] = {}
    for blob in blobs:
        descriptor = blob.descriptor
        first = unique.setdefault(descriptor.digest, blob).descriptor
        if first.size != descriptor.size:
            raise SizeMismatchError(f"two descriptors of {descriptor.digest}", first.size, descriptor.size)
        if first.data is None and descriptor.data is not None:
            unique[descriptor.digest] = blob
    return list(unique.values())


def _nobody(_: ProgressEvent) -> None:
    pass


class _StoppedError(Exception):
    """Another blob failed, so this one is not wanted any more; never leaves this module."""


class _Blobs:
    def __init__(self, source: ImageSource, destination: ImageDestination, options: CopyOptions) -> None:
        self._source = source
        self._destination = destination
        self._tell: _Tell = options.progress or _nobody
        self._interval = options.progress_interval
        safe = source.has_thread_safe_get_blob and destination.has_thread_safe_put_blob
        self._workers = options.max_parallel if safe else 1

    def copy(self, blobs: list[PlannedBlob]) -> tuple[CopiedBlob, ...]:
        outcomes = {blob.descriptor.digest: self._without_copying(blob) for blob in blobs}
        missing = [blob for blob in blobs if outcomes[blob.descriptor.digest] is BlobOutcome.COPIED]
        if self._workers == 1 or len(missing) <= 1:
            for blob in missing:
                self._copy_one(blob, self._tell, threading.Event())
        else:
            self._copy_at_once(missing)
        return tuple(_outcome(blob, outcomes[blob.descriptor.digest]) for blob in blobs)

    def _without_copying(self, blob: PlannedBlob) -> BlobOutcome:
        """Say what becomes of a blob; COPIED when it is to be copied."""
        descriptor, info = blob.descriptor, BlobInfo.from_descriptor(blob.descriptor)
        outcome = BlobOutcome.COPIED
        if (
            descriptor.urls
            and is_nondistributable(descriptor.media_type)
            and self._destination.accepts_foreign_layer_urls
        ):
            outcome = BlobOutcome.SKIPPED
        else:
            there = self._destination.try_reusing_blob(info)
            if there is not None:
                if there.size not in {-1, descriptor.size}:
                    raise SizeMismatchError(f"blob {descriptor.digest}", descriptor.size, there.size)
                outcome = BlobOutcome.REUSED
        if outcome is not BlobOutcome.COPIED:
            self._tell(ArtifactSkipped(artifact=info))
        return outcome

    def _copy_at_once(self, blobs: list[PlannedBlob]) -> None:
        """Copy in several threads; events are told in this one, where raising and Ctrl-C end the copy."""
        happened: queue.SimpleQueue[ProgressEvent | Future[None]] = queue.SimpleQueue()
        stop = threading.Event()
        with ThreadPoolExecutor(min(self._workers, len(blobs)), "ocikit-copy") as pool:
            futures: list[Future[None]] = []
            try:
                for blob in blobs:
                    futures.append(pool.submit(self._copy_one, blob, happened.put, stop))
                    futures[-1].add_done_callback(happened.put)
                pending = len(futures)
                while pending:
                    event = happened.get()
                    if isinstance(event, Future):
                        event.result()
                        pending -= 1
                    else:
                        self._tell(event)
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise

    def _copy_one(self, blob: PlannedBlob, tell: _Tell, stop: threading.Event) -> None:
        descriptor, info = blob.descriptor, BlobInfo.from_descriptor(blob.descriptor)
        tell(NewArtifact(artifact=info))
        stream, size = self._open(descriptor, info)
        with stream:
            if size not in {-1, descriptor.size}:
                raise SizeMismatchError(f"blob {descriptor.digest}", descriptor.size, size)
            observed = _Observed(stream, info, tell, stop, self._interval)
            stored = self._destination.put_blob(observed, info, is_config=blob.is_config)
        done = evolve(info, digest=stored.digest, size=stored.size)
        tell(ArtifactDone(artifact=done, offset=observed.offset, offset_update=observed.untold))

    def _open(self, descriptor: Descriptor, info: BlobInfo) -> tuple[ByteStream, int]:
        embedded = descriptor.embedded_content()
        if embedded is not None:
            return io.BytesIO(embedded), len(embedded)
        return self._source.get_blob(info)


class _Observed:
    """A stream that tells how much of it was read, and ends when it has more than was announced."""

    def __init__(self, stream: ByteStream, info: BlobInfo, tell: _Tell, stop: threading.Event, interval: float) -> None:
        self._stream = stream
        self._info = info
        self._tell = tell
        self._stop = stop
        self._interval = interval
        self._told_at = time.monotonic()
        self.offset = 0
        self.untold = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._stop.is_set():
            raise _StoppedError
        chunk = self._stream.read(size)
        self.offset += len(chunk)
        self.untold += len(chunk)
        if self.offset > self._info.size:
            raise SizeMismatchError(f"blob {self._info.digest}", self._info.size, self.offset)
        now = time.monotonic()
        if chunk and now - self._told_at >= self._interval:
            self._tell(ArtifactRead(artifact=self._info, offset=self.offset, offset_update=self.untold))
            self._told_at, self.untold = now, 0
        return chunk

    def close(self) -> None:
        """Leave the stream open: whoever opened it closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
