"""The bytes of a copy: each blob once, several at a time where both sides allow it, and every event told.

The destination verifies what it stores (:mod:`ocikit.image.types`), so that nothing is hashed twice; a layer that is
recompressed on the way is verified before. What is here counts, tells and stops.
"""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import SizeMismatchError, UploadLostError, VerificationError
from ocikit.image.checked import CheckedStream
from ocikit.image.compression import DETECTION_BYTES, detect
from ocikit.image.copy.foreign import open_foreign
from ocikit.image.copy.progress import ArtifactDone, ArtifactRead, ArtifactSkipped, NewArtifact
from ocikit.image.copy.recompression import DiffIDCheck, Known, Made, Recompressed
from ocikit.image.copy.results import BlobOutcome
from ocikit.image.copy.telling import Telling
from ocikit.image.copy.transfers import StoredBlob
from ocikit.image.types import BlobInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from ocikit.image.compression import Compression
    from ocikit.image.copy.decisions import LayerDecision
    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.progress import ProgressEvent
    from ocikit.image.copy.transfers import Key, Transfer
    from ocikit.image.types import ByteStream, ImageDestination, ImageSource, PartialBlob

    _Tell = Callable[[ProgressEvent], object]

__all__ = ["compression_of", "copy_blobs", "without_copying"]

_log = logging.getLogger(__name__)

_known: Final = Known()
# How often a blob that waits for its turn looks whether it is still wanted.
_TURN_SECONDS: Final = 0.1


def copy_blobs(
    wanted: tuple[Transfer, ...], source: ImageSource, destination: ImageDestination, options: CopyOptions
) -> Mapping[Key, StoredBlob]:
    """Copy every blob that the destination lacks, each once.

    Args:
        wanted: The blobs, in the order of the manifests.
        source: Where they are.
        destination: Where they go; verifies them.
        options: Who is told, how often, and how many are copied at a time.

    Returns:
        What became of each.

    Raises:
        VerificationError: A blob is not what its manifest, or its configuration, says it is.
        BlobNotFoundError: A blob is not there.
        BaseException: Whatever the progress callable raised.
    """
    return _Blobs(source, destination, options).copy(wanted)


def compression_of(source: ImageSource, layer: LayerDecision) -> Compression | None:
    """Say how a layer is compressed that was not copied, by its first bytes at the source."""
    with contextlib.ExitStack() as stack:
        stream, _ = source.get_blob(layer.source.info)
        stack.enter_context(stream)
        start = b""
        while len(start) < DETECTION_BYTES and (data := stream.read(DETECTION_BYTES - len(start))):
            start += data
    return detect(start)


def without_copying(transfer: Transfer, destination: ImageDestination, *, must_read: bool = False) -> StoredBlob | None:
    """Say what becomes of a blob that is not copied; None when it is to be copied.

    Args:
        transfer: The blob.
        destination: Where it goes.
        must_read: Whether it has to be read to be verified, wherever it is already.

    Raises:
        SizeMismatchError: It is at the destination, with another size than the manifest says.
    """
    info = transfer.info
    if transfer.stays_away:
        return StoredBlob(digest=transfer.digest, size=info.size, outcome=BlobOutcome.SKIPPED)
    if must_read and transfer.diff_id is not None:
        return None
    if transfer.cipher is not None:
        return None
    if transfer.work is not None:
        return _made_before(transfer, destination)
    there = destination.try_reusing_blob(info)
    if there is None:
        return None
    if there.size not in {-1, info.size} and info.size >= 0:
        raise SizeMismatchError(f"blob {transfer.digest}", info.size, there.size)
    return StoredBlob(
        digest=transfer.digest, size=there.size if info.size < 0 else info.size, outcome=BlobOutcome.REUSED
    )


def _made_before(transfer: Transfer, destination: ImageDestination) -> StoredBlob | None:
    work = transfer.work
    known = _known.get(transfer.key)
    # What a configuration claims to be in a layer is believed when it was found to be in it.
    if work is None or known is None or transfer.diff_id not in {None, known.diff_id}:
        return None
    if destination.try_reusing_blob(BlobInfo(digest=known.digest, size=known.size)) is None:
        return None
    return StoredBlob(
        digest=known.digest, size=known.size, outcome=BlobOutcome.REUSED, was_read=True, compression=work.compression
    )


class _StoppedError(Exception):
    """Another blob failed, so this one is not wanted any more; never leaves this module."""


class _Blobs:
    def __init__(self, source: ImageSource, destination: ImageDestination, options: CopyOptions) -> None:
        self._source = source
        self._destination = destination
        self._progress = options.progress
        self._interval = options.progress_interval
        self._links = options.link_blobs
        self._verifies = options.verify_diff_ids
        self._semaphore = options.concurrent_blob_copies_semaphore
        safe = source.has_thread_safe_get_blob and destination.has_thread_safe_put_blob
        self._workers = options.max_parallel if safe else 1

    def copy(self, wanted: tuple[Transfer, ...]) -> Mapping[Key, StoredBlob]:
        stored: dict[Key, StoredBlob] = {}
        missing: list[Transfer] = []
        with Telling(self._progress, wanted) as tell:
            for transfer, there in zip(wanted, self._there(wanted), strict=True):
                if there is None:
                    missing.append(transfer)
                else:
                    stored[transfer.key] = there
                    tell(ArtifactSkipped(artifact=transfer.info, number=tell.numbers[transfer.key]))
            # A layer that is recompressed is read by a thread of its own, and events are told in this one.
            is_alone = self._workers == 1 or len(missing) <= 1
            if is_alone and not any(transfer.work for transfer in missing):
                for transfer in missing:
                    number = tell.numbers[transfer.key]
                    stored[transfer.key] = self._copy_one(transfer, number, tell, threading.Event())
            else:
                stored |= self._copy_at_once(missing, tell)
        return stored

    def _there(self, wanted: tuple[Transfer, ...]) -> list[StoredBlob | None]:
        """Say of each blob what becomes of it without copying. Several are asked for at a time: it may be far."""
        look = partial(without_copying, destination=self._destination, must_read=self._verifies)
        if self._workers == 1 or len(wanted) <= 1:
            return [look(transfer) for transfer in wanted]
        with ThreadPoolExecutor(min(self._workers, len(wanted)), "ocikit-look") as pool:
            futures = [pool.submit(look, transfer) for transfer in wanted]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._interrupt()
                raise

    def _copy_at_once(self, missing: list[Transfer], tell: Telling) -> Mapping[Key, StoredBlob]:
        """Copy in several threads; events are told in this one, where raising and Ctrl-C end the copy."""
        happened: queue.SimpleQueue[ProgressEvent | Future[StoredBlob]] = queue.SimpleQueue()
        stop = threading.Event()
        with ThreadPoolExecutor(min(self._workers, len(missing)), "ocikit-copy") as pool:
            futures: list[Future[StoredBlob]] = []
            try:
                for transfer in missing:
                    number = tell.numbers[transfer.key]
                    futures.append(pool.submit(self._copy_one, transfer, number, happened.put, stop))
                    futures[-1].add_done_callback(happened.put)
                pending = len(futures)
                while pending:
                    event = happened.get()
                    if isinstance(event, Future):
                        event.result()
                        pending -= 1
                    else:
                        tell(event)
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                self._interrupt()
                raise
        return {transfer.key: future.result() for transfer, future in zip(missing, futures, strict=True)}

    def _interrupt(self) -> None:
        """End what threads wait for: a registry may be silent for a minute, and nobody wants to hear it any more."""
        self._source.interrupt()
        self._destination.interrupt()

    def _copy_one(self, transfer: Transfer, number: int, tell: _Tell, stop: threading.Event) -> StoredBlob:
        with self._turn(stop):
            begun = self._begin(transfer, stop)
            if isinstance(begun, BlobInfo):
                tell(ArtifactSkipped(artifact=transfer.info, number=number))
                return StoredBlob(digest=transfer.digest, size=begun.size, outcome=BlobOutcome.REUSED)
            if begun is not None:
                with begun:
                    return self._complete(transfer, number, begun, tell, stop)
            tell(NewArtifact(artifact=transfer.info, number=number))
            linked = self._link(transfer) if self._links else None
            if linked is not None:
                size = linked.size
                tell(ArtifactDone(artifact=transfer.info, number=number, offset=size, offset_update=size))
                return linked
            meter = _Meter(transfer.info, tell, stop, number=number, interval=self._interval)
            while True:
                try:
                    stored = self._read_and_store(transfer, meter)
                except UploadLostError as error:
                    _log.warning("%s; it is read once more", str(error))
                else:
                    break
            done = evolve(transfer.info, digest=stored.digest, size=stored.size)
            offset, update = meter.told + meter.untold, meter.untold
            tell(ArtifactDone(artifact=done, number=number, offset=offset, offset_update=update))
            return stored

    def _read_and_store(self, transfer: Transfer, meter: _Meter) -> StoredBlob:
        with contextlib.ExitStack() as stack:
            stream, size = self._open(transfer)
            stack.enter_context(stream)
            _check_size(transfer, size)
            return self._store(transfer, _Observed(stream, meter), stack)

    @contextlib.contextmanager
    def _turn(self, stop: threading.Event) -> Iterator[None]:
        """Wait until it is this blob's turn, or until it is not wanted any more."""
        semaphore = self._semaphore
        while semaphore is not None and not semaphore.acquire(timeout=_TURN_SECONDS):
            if stop.is_set():
                raise _StoppedError
        try:
            if stop.is_set():
                raise _StoppedError
            yield
        finally:
            if semaphore is not None:
                semaphore.release()

    def _begin(self, transfer: Transfer, stop: threading.Event) -> PartialBlob | BlobInfo | None:
        """Begin a blob that is stored as it is, where what came of it can be gone on with."""
        is_read = transfer.work is not None or transfer.cipher is not None or transfer.diff_id is not None
        if not self._source.resumes_blobs or is_read or transfer.content is not None or transfer.is_downloaded:
            return None

        def go_on() -> None:
            if stop.is_set():
                raise _StoppedError

        return self._destination.begin_blob(transfer.info, go_on)

    def _complete(
        self, transfer: Transfer, number: int, begun: PartialBlob, tell: _Tell, stop: threading.Event
    ) -> StoredBlob:
        """Copy what is missing of a blob; all of it, once, when what was there turns out to be something else."""
        info = transfer.info
        while True:
            began = begun.offset
            tell(NewArtifact(artifact=info, number=number, offset=began))
            try:
                with self._open_from(transfer, began) as stream:
                    meter = _Meter(info, tell, stop, number=number, interval=self._interval, begins=began)
                    observed = _Observed(stream, meter, offset=began, start=begun.start)
                    put = begun.complete(observed)
            except VerificationError as error:
                if not began or begun.offset:
                    raise
                _log.warning("%s; %d bytes were there from an earlier copy, all of it is read anew", error, began)
                continue
            offset, update = meter.told + meter.untold, meter.untold
            tell(ArtifactDone(artifact=info, number=number, offset=offset, offset_update=update))
            return StoredBlob(
                digest=transfer.digest,
                size=put.size,
                outcome=BlobOutcome.COPIED,
                was_read=True,
                compression=detect(observed.start),
            )

    def _open_from(self, transfer: Transfer, offset: int) -> ByteStream:
        if 0 < offset == transfer.info.size:
            return io.BytesIO()  # only its name is missing
        stream, size = self._source.get_blob_from(transfer.info, offset) if offset else self._open(transfer)
        try:
            _check_size(transfer, size)
        except SizeMismatchError:
            stream.close()
            raise
        return stream

    def _store(self, transfer: Transfer, observed: _Observed, stack: contextlib.ExitStack) -> StoredBlob:
        if transfer.cipher is not None:
            # Loaded when first needed: few images are encrypted.
            from ocikit.image.copy.enciphering import put_enciphered  # noqa: PLC0415

            return put_enciphered(transfer, transfer.cipher, observed, self._destination)
        if transfer.work is not None:
            return self._recompress(transfer, transfer.work.compression, observed, stack)
        stream: ByteStream = observed
        if transfer.diff_id is not None:
            stream = stack.enter_context(DiffIDCheck(stream, transfer))
        put = self._destination.put_blob(stream, transfer.info, is_config=transfer.is_config)
        return StoredBlob(
            digest=transfer.digest,
            size=put.size,
            outcome=BlobOutcome.COPIED,
            was_read=True,
            compression=detect(observed.start),
        )

    def _recompress(
        self, transfer: Transfer, compression: Compression | None, observed: _Observed, stack: contextlib.ExitStack
    ) -> StoredBlob:
        checked = CheckedStream(observed, transfer.digest, transfer.info.size, f"layer {transfer.digest}")
        stream = stack.enter_context(Recompressed(checked, transfer))
        put = self._destination.put_blob(
            stream,
            BlobInfo(digest=transfer.diff_id if compression is None else None, media_type=transfer.info.media_type),
        )
        if put.digest is None:
            raise TypeError(f"{self._destination.reference}: put_blob has not said which digest it stored")
        _known.put(transfer.key, Made(digest=put.digest, size=put.size, diff_id=transfer.diff_id))
        return StoredBlob(
            digest=put.digest,
            size=put.size,
            outcome=BlobOutcome.CONVERTED,
            was_read=True,
            compression=compression,
        )

    def _link(self, transfer: Transfer) -> StoredBlob | None:
        is_read = transfer.work is not None or transfer.cipher is not None or transfer.diff_id is not None
        if is_read or transfer.content is not None:
            return None
        file = self._source.local_blob(transfer.info)
        if file is None:
            return None
        with file:
            linked = self._destination.put_local_blob(file, transfer.info)
        if linked is None:
            return None
        return StoredBlob(digest=transfer.digest, size=linked.size, outcome=BlobOutcome.LINKED)

    def _open(self, transfer: Transfer) -> tuple[ByteStream, int]:
        if transfer.content is not None:
            return io.BytesIO(transfer.content), len(transfer.content)
        if transfer.is_downloaded:
            return open_foreign(transfer.info)
        return self._source.get_blob(transfer.info)


def _check_size(transfer: Transfer, size: int) -> None:
    if transfer.info.size >= 0 and size not in {-1, transfer.info.size}:
        raise SizeMismatchError(f"blob {transfer.digest}", transfer.info.size, size)


class _Meter:
    """What is told of one blob: how far it has come, which never goes back, also when it is read once more."""

    def __init__(
        self, info: BlobInfo, tell: _Tell, stop: threading.Event, *, number: int, interval: float, begins: int = 0
    ) -> None:
        self.info = info
        self._number = number
        self._tell = tell
        self._stop = stop
        self._interval = interval
        self._told_at = time.monotonic()
        self._furthest = self.told = begins

    @property
    def untold(self) -> int:
        return self._furthest - self.told

    def check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def reached(self, offset: int) -> None:
        self._furthest = max(self._furthest, offset)
        now = time.monotonic()
        if self.untold and now - self._told_at >= self._interval:
            self._tell(
                ArtifactRead(artifact=self.info, number=self._number, offset=self._furthest, offset_update=self.untold)
            )
            self._told_at, self.told = now, self._furthest


class _Observed:
    """A stream that tells how much of it was read, and ends when it has more than was announced."""

    def __init__(self, stream: ByteStream, meter: _Meter, *, offset: int = 0, start: bytes = b"") -> None:
        self._stream = stream
        self._meter = meter
        self._offset = offset
        #: The first bytes, by which compression is recognised.
        self.start = start

    def read(self, size: int = -1, /) -> bytes:
        self._meter.check()
        chunk = self._stream.read(size)
        if len(self.start) < DETECTION_BYTES:
            self.start += chunk[: DETECTION_BYTES - len(self.start)]
        self._offset += len(chunk)
        info = self._meter.info
        if self._offset > info.size >= 0:
            raise SizeMismatchError(f"blob {info.digest}", info.size, self._offset)
        self._meter.reached(self._offset)
        return chunk

    def close(self) -> None:
        """Leave the stream open: whoever opened it closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
