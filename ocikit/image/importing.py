"""A directory full of images, brought into layouts: what an application does with the images it was given.

Each image is copied by itself, under a policy, as by :func:`ocikit.image.copy.image`; one that fails harms none of
the others.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import evolve, frozen

from ocikit import _fs
from ocikit.errors import AmbiguousImageError, LayoutError, OCIKitError
from ocikit.image.copy import CopyOptions, CopyResult, ProgressEvent, image
from ocikit.image.policy import policy_context
from ocikit.image.recognition import images_in, is_unfinished, plain_name
from ocikit.image.transports.oci import TRANSPORT as OCI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.found import FoundImage
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["ImportReport", "ImportedImage", "import_directory"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class ImportedImage:
    """What became of one image.

    Attributes:
        source: The archive or directory that it is in.
        reference: Where it is now; None when it was not imported.
        result: What was copied; None when it was not imported.
        error: Why it was not imported, or why its source could not be removed; None when all went well.
    """

    source: Path
    reference: ImageReference | None = None
    result: CopyResult | None = None
    error: Exception | None = None

    @property
    def digest(self) -> Digest | None:
        """The digest of its manifest; None when it was not imported."""
        return self.result.digest if self.result is not None else None


@frozen(kw_only=True)
class ImportReport:
    """What became of the images in a directory.

    Attributes:
        images: The images, in the order of the names of their sources. A source that could not be read is there
            once, with the error.
        ignored: What is in the directory and was not taken for an image: hidden and unfinished files, and files that
            are no archives.
    """

    images: tuple[ImportedImage, ...] = ()
    ignored: tuple[Path, ...] = ()

    @property
    def imported(self) -> tuple[ImportedImage, ...]:
        """The images that are there now."""
        return tuple(one for one in self.images if one.result is not None)

    @property
    def failed(self) -> tuple[ImportedImage, ...]:
        """The images and sources with an error."""
        return tuple(one for one in self.images if one.error is not None)


def import_directory(
    directory: str | os.PathLike[str],
    *,
    policy: PolicyRules | PolicyContext | None = None,
    dest: str | os.PathLike[str],
    into: Literal["each", "one"] = "each",
    on_error: Literal["stop", "continue"] = "stop",
    remove_source: bool = False,
    options: CopyOptions | None = None,
) -> ImportReport:
    """Copy every image in a directory into layouts.

    Taken are OCI archives and files of ``docker save`` (plain or compressed), OCI layouts and ``dir`` directories,
    recognised by their content, in the order of their names. Hidden and unfinished ones (``.x``, ``x~``, ``x.tmp``,
    ``x.part`` …) are left alone, as are files that are no archives; one that is called like an archive and is none is
    an error.

    An image keeps the name that it has in its archive or layout (``org.opencontainers.image.ref.name``). One without
    gets the name of its source, less ``.tar`` and the like.

    Args:
        directory: Where the images are; not looked into deeper.
        policy: Which images may be imported; None for the policy of the system.
        dest: The directory for the layouts; made when it is missing.
        into: ``"each"``: every source gets a layout of its own below ``dest``, under the name of the source.
            ``"one"``: ``dest`` is one layout for all.
        on_error: ``"stop"``: the first error ends the import and is raised; what was imported before, which a note on
            the error names, stays. ``"continue"``: errors are in the report.
        remove_source: Remove an archive or directory as soon as every image in it is imported.
        options: How to copy; None for the defaults. An index is imported as the image for this platform, unless the
            options select more.

    Returns:
        Each image with where it is now, or why it is not.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        OSError: The directory cannot be read, or ``dest`` not be made.
        ValueError: ``into`` or ``on_error`` is none of its choices.
        Exception: With ``on_error="stop"`` whatever is wrong with an image.
        BaseException: Whatever ``options.progress`` raised; it ends the import.
    """
    for name, value, known in (("into", into, ("each", "one")), ("on_error", on_error, ("stop", "continue"))):
        if value not in known:
            raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, found {value!r}")
    options = options or CopyOptions()
    there = Path(os.path.realpath(dest))
    with policy_context(policy, options.source_ctx) as context:
        names = sorted(os.listdir(directory))
        (there if into == "each" else there.parent).mkdir(parents=True, exist_ok=True)
        job = _Import(context, there, into, options, remove_source=remove_source)
        images: list[ImportedImage] = []
        ignored: list[Path] = []
        for path in (Path(directory, name) for name in names):
            before = len(images)
            for one in job.source(path):
                images.append(one)
                if one.error is not None and on_error == "stop":
                    done = ", ".join(str(each.reference) for each in images if each.result is not None)
                    one.error.add_note(f"while importing {path}; imported until then: {done or 'nothing'}")
                    raise one.error
            if len(images) == before:
                ignored.append(path)
    return ImportReport(images=tuple(images), ignored=tuple(ignored))


class _Import:
    def __init__(
        self,
        context: PolicyContext,
        dest: Path,
        into: Literal["each", "one"],
        options: CopyOptions,
        *,
        remove_source: bool,
    ) -> None:
        self._context = context
        self._dest = dest
        self._into = into
        self._options = evolve(options, progress=self._observed(options.progress))
        self._remove_source = remove_source
        # Where images went, and what they came from: two of the same name would replace each other.
        self._taken: dict[ImageReference, FoundImage] = {}
        self._ended_by: BaseException | None = None

    def source(self, path: Path) -> Iterator[ImportedImage]:
        """Import what is in an archive or a directory; nothing at all when it is neither."""
        if is_unfinished(path.name) or self._is_ours(path):
            return
        try:
            found = images_in(path)
        except (OCIKitError, OSError) as error:
            yield _failure(path, error)
            return
        well = True
        for number, wanted in enumerate(found, 1):
            one = self._image(path, wanted)
            well = well and one.error is None
            if well and number == len(found) and self._remove_source:
                one = _without_source(one)
            yield one

    def _is_ours(self, path: Path) -> bool:
        """Say whether images go there: a layout is not imported into itself, and never removed as its own source."""
        if not path.is_dir():
            return False
        resolved = Path(os.path.realpath(path))
        own = self._into == "each" and resolved == self._dest / path.name
        return own or resolved in {self._dest, *self._dest.parents}

    def _image(self, path: Path, found: FoundImage) -> ImportedImage:
        try:
            dest = self._place(path, found)
            first = self._taken.setdefault(dest, found)
            if first is not found:
                raise AmbiguousImageError(f"{found.reference}: would replace {dest}, which came from {first.reference}")
            result = image(self._context, dest=dest, src=found.reference, options=self._options)
        except (OCIKitError, OSError) as error:
            if error is self._ended_by:
                raise
            return _failure(path, error)
        _log.info("%s imported as %s (%s)", found.reference, dest, result.digest)
        return ImportedImage(source=path, reference=dest, result=result)

    def _place(self, path: Path, found: FoundImage) -> ImageReference:
        own = plain_name(path)
        layout = self._dest / own if self._into == "each" else self._dest
        if ":" in str(layout):
            raise LayoutError(f"{layout}: a layout with a colon in its path has no image name; choose another place")
        return OCI.parse_reference(f"{layout}:{found.name if found.name is not None else own}")

    def _observed(self, progress: Callable[[ProgressEvent], object] | None) -> Callable[[ProgressEvent], object] | None:
        """Remember what the callable raises: that ends the import, whatever it is."""
        if progress is None:
            return None

        def tell(event: ProgressEvent) -> None:
            try:
                progress(event)
            except BaseException as error:
                self._ended_by = error
                raise

        return tell


def _without_source(one: ImportedImage) -> ImportedImage:
    try:
        with _fs.Descriptor(os.open(one.source.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as parent:
            _fs.remove_tree(one.source.name, dir_fd=parent.fd)
    except OSError as error:
        _log.warning("%s was imported as %s and cannot be removed: %s", one.source, one.reference, error)
        return evolve(one, error=error)
    return one


def _failure(path: Path, error: Exception) -> ImportedImage:
    _log.warning("%s was not imported: %s", path, error)
    return ImportedImage(source=path, error=error)
