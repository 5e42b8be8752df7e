"""Images brought from one place to another, each by itself: what is there stays, what fails harms no other."""

from __future__ import annotations

import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from attrs import evolve, frozen

from ocikit.errors import ImageNotFoundError, InvalidReferenceError, LimitExceededError, OCIKitError
from ocikit.image.copy import BlobOutcome, CopyOptions, CopyResult, image, plan
from ocikit.image.policy import policy_context
from ocikit.image.syncing.destinations import Extra, destination_of
from ocikit.image.syncing.lending import Archives
from ocikit.image.syncing.naming import Naming, Unwanted, Wanted, without_collisions
from ocikit.image.syncing.places import check_places
from ocikit.image.syncing.presence import presence
from ocikit.image.syncing.results import SyncedImage, SyncOutcome, SyncReport
from ocikit.image.syncing.sources import MAX_IMAGES, Unreadable, find_images, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable
    from pathlib import Path

    from ocikit.image.copy import CopyPlan, ProgressEvent
    from ocikit.image.found import FoundImage
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.syncing.destinations import Destination
    from ocikit.image.syncing.naming import Choice, Selector
    from ocikit.image.syncing.presence import Presence
    from ocikit.image.syncing.sources import Place, Source
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

    Tell = Callable[[SyncedImage], object]

__all__ = ["sync"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

_MOVED: Final = frozenset({BlobOutcome.COPIED, BlobOutcome.CONVERTED})
_THERE: Final = frozenset({BlobOutcome.REUSED, BlobOutcome.SKIPPED})
_NAMES_SHOWN: Final = 10
# How long images that are being copied get to notice that they are not wanted any more, in seconds.
_PATIENCE: Final = 5.0


def sync(
    policy: PolicyRules | PolicyContext | None,
    *,
    source: Source,
    dest: Place,
    into: Literal["one", "oci", "oci-archive", "dir"] = "one",
    options: CopyOptions | None = None,
    include: Selector | None = None,
    exclude: Selector | None = None,
    prefix: str = "",
    scoped: bool = False,
    rename: Callable[[FoundImage], str | None] | None = None,
    on_error: Literal["stop", "continue"] = "stop",
    delete_extra: bool = False,
    dry_run: bool = False,
    max_images: int = 1,
    progress: Tell | None = None,
) -> SyncReport:
    """Bring all images of a place to another; what is there already stays as it is.

    Each image is copied by itself, verified and whole or not at all, as by :func:`ocikit.image.copy.image`. A call that
    was ended or killed is taken up by the next one: images that are at the destination with all their blobs are not
    copied again, and of others only what is missing.

    Which images there are, what they will be called, and that no two would replace each other, is found out before
    the first of them is copied.

    Args:
        policy: Which images may be copied; None for the policy of the system (:meth:`Policy.default`).
        source: A layout, an archive or a ``dir`` image, by its path or as an image name (``"oci:/srv/images"``, or
            ``"oci:/srv/images:app"`` for one image of it); the path of a directory of those; an iterable of such
            places; or a mapping of images to the name, or the names, that they get (None for their own).
        dest: Where to: a layout, by its path or as ``"oci:PATH"``, or the path of a directory, see ``into``.
        into: ``"one"``: ``dest`` is one layout for all images, under their names. ``"oci"``, ``"oci-archive"`` or
            ``"dir"``: ``dest`` is a directory with a place of that kind for each image, called after it.
        options: How to copy; None for the defaults. Of an index the image for this platform is copied, unless the
            options select more.
        include: The images to take: a pattern as of a shell for their names at the source, several, or a callable.
        exclude: The images among those to leave, likewise.
        prefix: What comes before the name of each image, unless a mapping gives the name.
        scoped: Put the name of the archive or layout, and a slash, before the name of each image in it.
        rename: Makes the name at the destination, before the prefix; None for an image that is to be left.
        on_error: ``"stop"``: the first error ends it and is raised; what was copied before, which a note on the error
            names, stays. ``"continue"``: errors are in the report.
        delete_extra: When everything else went well, delete the named images at the destination that the source does
            not have, and what lost its name to an image that replaced it. What the caller left out stays, and what is
            called without ``prefix``; all of it stays while anything at the source looks unfinished or damaged.
        dry_run: Do nothing, and report what would be done.
        max_images: How many images are copied at the same time; their blobs are bounded together by
            ``options.concurrent_blob_copies_semaphore``, else by a semaphore of ``options.max_parallel``.
        progress: Called with each entry of the report as it comes to be, in the thread of the caller and in the order
            of the report. What it raises ends everything and reaches the caller unchanged. Events about blobs go
            to ``options.progress``: with more than one image at a time from several threads, one event at a time.

    Returns:
        One entry for each image, and for each place that could not be read.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        InvalidReferenceError: A place is no image name. With ``on_error="stop"``: a name is not possible at the
            destination; nothing was copied.
        AmbiguousImageError: Two images would replace each other; nothing was copied.
        LayoutError: A place is source and destination, or images at the destination would have no names.
        ImageNotFoundError: With ``delete_extra`` nothing at the source is wanted: all at the destination would go.
        NotSupportedError: Places such as ``dest`` hold one image each.
        LimitExceededError: There are too many images.
        ValueError: An argument is none of its choices, or extras of the source itself are to be deleted.
        Exception: With ``on_error="stop"`` whatever is wrong with an image.
        BaseException: Whatever a callable of the caller raised.
    """
    if on_error not in {"stop", "continue"}:
        raise ValueError(f"on_error: expected 'stop' or 'continue', found {on_error!r}")
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, not {max_images}")
    options = options or CopyOptions()
    target = destination_of(dest, into)
    with policy_context(policy, options.source_ctx) as context:
        listing = find_images(source, options.source_ctx, avoided=target.path, scoped=scoped)
        naming = Naming(include, exclude, prefix, rename)
        choices = without_collisions(naming.choices(listing.found, target.reference), target.identity)
        if len(choices) > MAX_IMAGES:
            raise LimitExceededError("images and names for them", MAX_IMAGES, len(choices))
        check_places(choices, target)
        if delete_extra:
            _check_deletion(choices, target)
        if on_error == "stop":
            _check_readable(choices)
        job = _Sync(context, target, options, stops=on_error == "stop", dry_run=dry_run, max_images=max_images)
        done = _Entries(progress)
        job.copy(choices, done)
        if delete_extra:
            job.delete(choices, done, prefix=prefix, doubtful=listing.doubtful)
    return SyncReport(images=tuple(done.entries), ignored=listing.ignored, dry_run=dry_run)


def _check_deletion(choices: tuple[Choice, ...], target: Destination) -> None:
    if all(isinstance(one, Unwanted) for one in choices):
        raise ImageNotFoundError(
            f"the source has no images{' that are wanted' if choices else ''}: "
            "with delete_extra all images at the destination would go"
        )
    for reference in (one.source for one in choices if not isinstance(one, Unreadable)):
        path = path_of(reference)
        if path is not None and target.path is not None and f"{path}/".startswith(f"{target.path}/"):
            raise ValueError(f"delete_extra: {reference} is at the destination itself, where it would be deleted")


def _check_readable(choices: Iterable[Choice]) -> None:
    for one in choices:
        if isinstance(one, Unreadable):
            one.error.add_note(f"while looking for images in {one.place}; nothing was copied")
            raise one.error


class _Entries:
    """The report as it comes to be."""

    def __init__(self, tell: Tell | None) -> None:
        self.entries: list[SyncedImage] = []
        self._tell = tell
        self._same: dict[object, object] = {}

    def add(self, one: SyncedImage) -> None:
        if one.result is not None:
            # One image under ten thousand names is kept once.
            same = evolve(one.result, manifest=self._once(one.result.manifest), blobs=self._once(one.result.blobs))
            one = evolve(one, result=same)
        self.entries.append(one)
        if self._tell is not None:
            self._tell(one)

    def _once(self, value: T) -> T:
        return cast("T", self._same.setdefault(value, value))


class _StoppedError(Exception):
    """Something else failed, so that this image is not wanted any more; never leaves this module."""


@frozen(kw_only=True)
class _Done:
    """An entry, and what lost its name to it."""

    entry: SyncedImage
    replaced: tuple[ImageReference, Digest] | None = None


class _Sync:
    def __init__(
        self,
        context: PolicyContext,
        target: Destination,
        options: CopyOptions,
        *,
        stops: bool,
        dry_run: bool,
        max_images: int,
    ) -> None:
        self._context = context
        self._target = target
        self._tell = options.progress
        self._telling = threading.Lock()
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._at_work = 0
        self._stops = stops
        self._dry_run = dry_run
        self._max_images = max_images
        self._ended_by: BaseException | None = None
        self._replaced: list[tuple[ImageReference, Digest]] = []
        self._archives = Archives((), options.source_ctx)
        self._planned: set[tuple[str | None, Digest]] = set()
        blobs = options.concurrent_blob_copies_semaphore
        if blobs is None and max_images > 1:
            blobs = threading.Semaphore(options.max_parallel)
        self._options = evolve(options, progress=self._event, concurrent_blob_copies_semaphore=blobs)

    # Copying

    def copy(self, choices: tuple[Choice, ...], done: _Entries) -> None:
        """Copy what is wanted, and add an entry for everything."""
        if not self._dry_run and any(isinstance(one, Wanted) for one in choices):
            self._target.prepare()
        sources = [one.source for one in choices if isinstance(one, Wanted)]
        self._archives = Archives(sources, self._options.source_ctx)
        with contextlib.closing(self._archives), contextlib.closing(self._all(choices)) as results:
            for one in results:
                done.add(one.entry)
                if one.entry.error is not None and self._stops:
                    raise _noted(one.entry.error, one.entry, done.entries)
                if one.replaced is not None:
                    self._replaced.append(one.replaced)

    def _all(self, choices: tuple[Choice, ...]) -> Generator[_Done]:
        if self._max_images == 1:
            yield from map(self._one, choices)
            return
        pool = ThreadPoolExecutor(self._max_images, thread_name_prefix="ocikit-sync")
        try:
            for future in [pool.submit(self._counted, one) for one in choices]:
                yield future.result()
        finally:
            # Whoever leaves early, be it while images are still handed out, wants nothing more of the others. Those
            # that are at work notice it, but for one whose source says nothing: nobody waits for that for ever.
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            with self._idle:
                self._idle.wait_for(lambda: not self._at_work, _PATIENCE)

    def _counted(self, choice: Choice) -> _Done:
        # An interrupt may lose the future of an image that a thread has taken: the count does not.
        with self._idle:
            self._at_work += 1
        try:
            return self._one(choice)
        finally:
            with self._idle:
                self._at_work -= 1
                self._idle.notify_all()

    def _one(self, choice: Choice) -> _Done:
        if isinstance(choice, Unreadable):
            return _Done(entry=_failed(choice.place, None, choice.error))
        if isinstance(choice, Unwanted):
            destination = _reference(self._target, choice.names[0])
            entry = _skipped(choice.source, destination, choice.reason)
            return _Done(entry=entry)
        if self._stop.is_set():
            return _Done(entry=_skipped(choice.source, choice.destination, "something else failed before"))
        try:
            with self._archives.source(choice.source) as source:
                return self._planned_copy(choice, source) if self._dry_run else self._copied(choice, source)
        except _StoppedError:
            return _Done(entry=_skipped(choice.source, choice.destination, "something else failed meanwhile"))
        except (OCIKitError, OSError) as error:
            if error is self._ended_by:
                raise
            if self._stops:
                self._stop.set()
            return _Done(entry=_failed(choice.source, choice.destination, error))

    def _copied(self, wanted: Wanted, source: ImageReference) -> _Done:
        before = self._before(wanted)
        is_believed = before is not None and before.is_whole
        if is_believed and before is not None and self._options.referrers:
            # What refers to an image is no part of it, and may be new where the image is not.
            planned = plan(self._context, dest=wanted.destination, src=source, options=self._options)
            is_believed = before.referrers.issuperset(planned.referrers)
        if self._stop.is_set():
            raise _StoppedError  # to look took its time
        options = evolve(self._options, optimize_destination_image_already_exists=is_believed)
        result = image(self._context, dest=wanted.destination, src=source, options=options)
        outcome = SyncOutcome.UNCHANGED if _was_there(result, before) else SyncOutcome.COPIED
        _log.info("%s is %s as %s (%s)", wanted.source, outcome, wanted.destination, result.digest)
        entry = SyncedImage(
            source=wanted.source,
            destination=wanted.destination,
            outcome=outcome,
            digest=result.digest,
            bytes_copied=sum(blob.size for blob in result.blobs if blob.outcome in _MOVED),
            bytes_reused=sum(blob.size for blob in result.reused),
            result=result,
        )
        is_replaced = before is not None and before.digest != result.digest
        return _Done(entry=entry, replaced=(wanted.destination, before.digest) if before and is_replaced else None)

    def _before(self, wanted: Wanted) -> Presence | None:
        options = self._options
        return presence(wanted.destination, options.destination_ctx, with_referrers=bool(options.referrers))

    def _planned_copy(self, wanted: Wanted, source: ImageReference) -> _Done:
        before, options = self._before(wanted), self._options
        with self._target.rehearsal(wanted.destination) as destination:
            planned = plan(self._context, dest=destination, src=source, options=options)
        planned = evolve(planned, source=wanted.source, destination=wanted.destination)
        is_there = before is not None and before.is_whole and not options.signs and _would_stay(planned, before)
        moved, reused = (0, planned.bytes_to_copy + planned.bytes_reused) if is_there else self._bytes(planned)
        entry = SyncedImage(
            source=wanted.source,
            destination=wanted.destination,
            outcome=SyncOutcome.UNCHANGED if is_there else SyncOutcome.COPIED,
            digest=before.digest if is_there and before is not None else None,
            bytes_copied=moved,
            bytes_reused=reused,
            plan=planned,
        )
        return _Done(entry=entry)

    def _bytes(self, planned: CopyPlan) -> tuple[int, int]:
        """Return what would be copied and reused; what an image before brings to the same layout is there by then."""
        moved, reused = planned.bytes_to_copy, planned.bytes_reused
        layout = path_of(planned.destination)
        if planned.destination.transport.name != "oci":
            return moved, reused
        with self._telling:
            for blob in planned.blobs:
                if blob.outcome in _MOVED and (layout, blob.source_digest) in self._planned:
                    moved, reused = moved - max(blob.size, 0), reused + max(blob.size, 0)
                self._planned.add((layout, blob.source_digest))
        return moved, reused

    def _event(self, event: ProgressEvent) -> None:
        if self._stop.is_set():
            raise _StoppedError
        if self._tell is None:
            return
        with self._telling:
            try:
                self._tell(event)
            except BaseException as error:
                self._ended_by = error
                self._stop.set()
                raise

    # Deleting

    def delete(self, choices: tuple[Choice, ...], done: _Entries, *, prefix: str, doubtful: tuple[Path, ...]) -> None:
        """Delete what is there too much, if nothing failed or is in doubt; else say that it stays."""
        kept = {one for choice in choices for one in _kept(choice, self._target)}
        obstacle = None
        if any(one.outcome is SyncOutcome.FAILED for one in done.entries):
            obstacle = "not deleted, as something else failed"
        elif doubtful:
            obstacle = f"not deleted: {doubtful[0]} looks unfinished or damaged, and may be where it came from"
        for extra in self._extras(kept, done, prefix):
            if obstacle is not None:
                done.add(_skipped(None, extra.reference, obstacle))
            else:
                self._delete(done, extra)
        for reference, digest in self._replaced if obstacle is None else ():
            self._forget(done, reference, digest)

    def _extras(self, kept: Collection[ImageReference], done: _Entries, prefix: str) -> tuple[Extra, ...]:
        try:
            return tuple(self._target.extras(kept, self._options.destination_ctx, prefix))
        except (OCIKitError, OSError) as error:
            self._fail(done, None, error)
            return ()

    def _fail(self, done: _Entries, reference: ImageReference | None, error: Exception) -> None:
        done.add(_failed(None, reference, error))
        if self._stops:
            raise _noted(error, done.entries[-1], done.entries)

    def _delete(self, done: _Entries, extra: Extra) -> None:
        target, sys = self._target, self._options.destination_ctx
        try:
            reason = target.obstacle(extra) if self._dry_run else target.remove(extra, sys)
        except (OCIKitError, OSError) as error:
            self._fail(done, extra.reference, error)
            return
        if reason is not None:
            done.add(_skipped(None, extra.reference, reason))
            return
        _log.info("%s is deleted: the source has no such image", extra.reference)
        done.add(_deleted(extra.reference, "the source has no such image"))

    def _forget(self, done: _Entries, reference: ImageReference, digest: Digest) -> None:
        try:
            was_there = self._target.forget(reference, digest, self._options.destination_ctx)
        except (OCIKitError, OSError) as error:
            self._fail(done, reference, error)
            return
        if was_there:
            done.add(_deleted(reference, f"{digest}, which was replaced"))


def _was_there(result: CopyResult, before: Presence | None) -> bool:
    """Say whether all of an image was there before, under its name, with its signatures."""
    if before is None or result.digest != before.digest or not before.manifests.issuperset(result.instances):
        return False
    if not before.signatures.issuperset(result.signatures):
        return False
    return before.referrers.issuperset(result.referrers) and all(blob.outcome in _THERE for blob in result.blobs)


def _would_stay(planned: CopyPlan, before: Presence) -> bool:
    top = planned.manifests[-1].source_digest
    manifests = {one.source_digest for one in planned.manifests}
    is_same = planned.preserves_digests and top == before.digest and before.manifests >= manifests
    is_signed = before.signatures.issuperset(planned.signatures)
    return is_same and is_signed and before.referrers.issuperset(planned.referrers)


def _kept(choice: Choice, target: Destination) -> Generator[ImageReference]:
    """Yield what stays at the destination for the sake of something at the source, be it copied or left out."""
    if isinstance(choice, Wanted):
        yield choice.destination
    elif isinstance(choice, Unwanted):
        yield from (one for name in choice.names if (one := _reference(target, name)) is not None)


def _reference(target: Destination, name: str) -> ImageReference | None:
    with contextlib.suppress(InvalidReferenceError):
        return target.reference(name)
    return None


def _failed(
    source: ImageReference | Path | str | None, destination: ImageReference | None, error: Exception
) -> SyncedImage:
    _log.warning("%s is not synchronised: %s", source if source is not None else destination, error)
    return SyncedImage(source=source, destination=destination, outcome=SyncOutcome.FAILED, error=error)


def _skipped(source: ImageReference | None, destination: ImageReference | None, reason: str) -> SyncedImage:
    return SyncedImage(source=source, destination=destination, outcome=SyncOutcome.SKIPPED, reason=reason)


def _deleted(destination: ImageReference, reason: str) -> SyncedImage:
    return SyncedImage(source=None, destination=destination, outcome=SyncOutcome.DELETED, reason=reason)


def _noted(error: Exception, entry: SyncedImage, done: Iterable[SyncedImage]) -> Exception:
    """Say in a note on an error what was done until then."""
    there = [str(one.destination) for one in done if one.outcome in {SyncOutcome.COPIED, SyncOutcome.UNCHANGED}]
    more = f" and {len(there) - _NAMES_SHOWN} more" if len(there) > _NAMES_SHOWN else ""
    names = ", ".join(there[:_NAMES_SHOWN]) or "nothing"
    error.add_note(
        f"while synchronising {entry.source or entry.destination or 'the destination'}; there until then: {names}{more}"
    )
    return error
