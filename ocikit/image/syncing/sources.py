"""Which images there are in whatever a caller names as a source: a place, a directory of places, a list, a mapping."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import evolve, field, frozen

from ocikit.errors import AmbiguousImageError, InvalidReferenceError, LayoutError, LimitExceededError, OCIKitError
from ocikit.image import transports
from ocikit.image.found import FoundImage, PlaceTransport
from ocikit.image.recognition import images_in, images_listed, is_damaged, is_doubtful, is_unfinished, plain_name
from ocikit.image.transports._paths import PathReference
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.image.types import ImageReference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.context import SystemContext

__all__ = [
    "MAX_IMAGES",
    "Found",
    "Listing",
    "Offer",
    "Place",
    "Source",
    "Unreadable",
    "find_images",
    "is_image_name",
    "path_of",
]

#: What may name a place: an image name, a path, a reference.
Place: TypeAlias = str | os.PathLike[str] | ImageReference
#: What may be a source: a place; several; images with the names that they get.
Source: TypeAlias = Place | Iterable[Place] | Mapping[Any, str | Iterable[str] | None]

#: How many images, and things that are none, one call goes through.
MAX_IMAGES: Final = 100_000

# A path that begins like this is written with a directory before it, or as a Path.
_IMAGE_NAME: Final = re.compile(r"[a-z][a-z0-9-]*:")


@frozen(kw_only=True)
class Offer:
    """An image that a source has.

    Attributes:
        image: The image; it has a name.
        names: What it is to be called, when the caller said so.
    """

    image: FoundImage
    names: tuple[str, ...] | None = None


@frozen(kw_only=True)
class Unreadable:
    """A place that could not be read, or an image that can have no place.

    Attributes:
        place: The place, or the image.
        error: Why.
    """

    place: ImageReference | Path | str
    error: Exception


#: What going through a source brings up.
Found: TypeAlias = Offer | Unreadable


@frozen(kw_only=True)
class Listing:
    """What a source has.

    Attributes:
        found: The images, and the places that could not be read, in order.
        ignored: What was in a directory and is no image.
        doubtful: What of that may be an image that is on its way, or was one before it was damaged.
    """

    found: tuple[Found, ...] = ()
    ignored: tuple[Path, ...] = field(default=())
    doubtful: tuple[Path, ...] = ()


def find_images(source: Source, sys: SystemContext | None, *, avoided: str | None, scoped: bool) -> Listing:
    """List every image that a source names, in order.

    Args:
        source: The source.
        sys: The circumstances.
        avoided: A directory that images go to; in a directory of places it is no source, nor is what it is in.
        scoped: Whether the name of the place stands before the name of each image.

    Raises:
        InvalidReferenceError: An image name is malformed.
        LayoutError: A directory of places is where the images go.
        AmbiguousImageError: A mapping gives one name to a place with several images.
        LimitExceededError: There are more than :data:`MAX_IMAGES`.
        TypeError: The source is none of what it can be.
    """
    finder = _Finder(sys, avoided, scoped=scoped)
    found = []
    for number, one in enumerate(finder.source(source), 1):
        if number + len(finder.ignored) > MAX_IMAGES:
            raise LimitExceededError("images in the source, and files that are none", MAX_IMAGES)
        found.append(one)
    return Listing(found=tuple(found), ignored=tuple(finder.ignored), doubtful=tuple(finder.doubtful))


def is_image_name(place: Place) -> bool:
    """Say whether a text is an image name, rather than a path."""
    return isinstance(place, str) and _IMAGE_NAME.match(place) is not None


class _Finder:
    def __init__(self, sys: SystemContext | None, avoided: str | None, *, scoped: bool) -> None:
        self._sys = sys
        self._avoided = Path(avoided) if avoided is not None else None
        self._scoped = scoped
        self.ignored: list[Path] = []
        self.doubtful: list[Path] = []

    def source(self, source: Source) -> Iterator[Found]:
        if isinstance(source, Mapping):
            for key, names in source.items():
                yield from self._pair(key, names)
        elif isinstance(source, str | os.PathLike | ImageReference):
            yield from self._place(source)
        elif isinstance(source, Iterable):
            for place in source:
                yield from self._place(place)
        else:
            raise TypeError(f"source: expected a place, several, or a mapping, found {type(source).__name__}")

    def _pair(self, place: Place, names: str | Iterable[str] | None) -> Iterator[Found]:
        found = [*self._place(place)]
        if names is None:
            yield from found
            return
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if len(found) != 1 or not wanted:
            raise AmbiguousImageError(
                f"{place}: expected one image, and names for it; found {len(found)} images and {len(wanted)} names"
            )
        yield evolve(found[0], names=wanted) if isinstance(found[0], Offer) else found[0]

    def _place(self, place: Place) -> Iterator[Found]:
        if isinstance(place, ImageReference):
            yield from self._reference(place)
        elif not isinstance(place, str | os.PathLike):
            raise TypeError(f"{place!r}: expected an image name, a path or a reference, found {type(place).__name__}")
        elif is_image_name(place):
            yield from self._named(os.fspath(place))
        else:
            yield from self._path(Path(place))

    def _named(self, name: str) -> Iterator[Found]:
        kind, _, rest = name.partition(":")
        transport = transports.get(kind)
        if not isinstance(transport, PlaceTransport):
            yield from self._reference(transport.parse_reference(rest))
            return
        try:
            found = tuple(transport.list_images(rest, self._sys))
        except (OCIKitError, OSError) as error:
            if isinstance(error, InvalidReferenceError):
                raise
            yield Unreadable(place=name, error=error)
        else:
            yield from self._offers(found)

    def _reference(self, reference: ImageReference) -> Iterator[Found]:
        try:
            found = tuple(_images_of(reference, self._sys))
        except (OCIKitError, OSError) as error:
            yield Unreadable(place=reference, error=error)
        else:
            yield from self._offers(found)

    def _path(self, path: Path) -> Iterator[Found]:
        """Go through a place, or through a directory of places."""
        try:
            found = images_in(path, self._sys)
            names = sorted(os.listdir(path)) if not found else []
        except NotADirectoryError:
            yield Unreadable(place=path, error=_nothing(path))
        except (OCIKitError, OSError) as error:
            yield Unreadable(place=path, error=error)
        else:
            yield from self._offers(found)
            if names and self._avoided == Path(os.path.realpath(path)):
                raise LayoutError(f"{path}: the source is the destination itself; choose another directory")
            if not found and is_damaged(path):
                self.doubtful.append(path)
            for name in names:
                yield from self._child(path / name)

    def _child(self, path: Path) -> Iterator[Found]:
        found: tuple[FoundImage, ...] = ()
        is_avoided = self._is_avoided(path)
        if not is_unfinished(path.name) and not is_avoided:
            try:
                found = images_in(path, self._sys)
            except (OCIKitError, OSError) as error:
                yield Unreadable(place=path, error=error)
                return
        if not found:
            self.ignored.append(path)
            if not is_avoided and is_doubtful(path):
                self.doubtful.append(path)
        yield from self._offers(found)

    def _is_avoided(self, path: Path) -> bool:
        """Say whether images go there: what arrives is no source."""
        if self._avoided is None or not path.is_dir():
            return False
        return Path(os.path.realpath(path)) in {self._avoided, *self._avoided.parents}

    def _offers(self, found: tuple[FoundImage, ...]) -> Iterator[Found]:
        for image in found:
            try:
                yield Offer(image=evolve(image, name=self._name(image)))
            except (InvalidReferenceError, LayoutError) as error:
                yield Unreadable(place=image.reference, error=error)

    def _name(self, image: FoundImage) -> str:
        if image.name is None:
            return _label(image.reference)
        return f"{_label(image.reference)}/{image.name}" if self._scoped else image.name


def _nothing(path: Path) -> Exception:
    if not os.path.lexists(path):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return LayoutError(
        f"{path}: expected a layout, an archive, a dir image or a directory of those, found none of them"
    )


def _images_of(reference: ImageReference, sys: SystemContext | None) -> Iterator[FoundImage]:
    """Yield the images of the place that a reference names, or the one image that it names."""
    transport: object = reference.transport
    if isinstance(reference, LayoutReference) and reference.name is None and reference.position is None:
        yield from images_listed(Path(reference.path), sys, is_layout=True)
    elif isinstance(reference, ArchiveReference) and reference.name is None:
        yield from images_listed(Path(reference.path), sys, is_layout=False)
    elif isinstance(transport, PlaceTransport):
        yield from transport.list_images(reference.string_within_transport, sys)
    else:
        yield FoundImage(reference=reference, name=_own_name(reference))


def _own_name(reference: ImageReference) -> str | None:
    if isinstance(reference, LayoutReference | ArchiveReference):
        return reference.name
    return str(reference.docker_reference) if reference.docker_reference is not None else None


def path_of(reference: ImageReference) -> str | None:
    """Return the file or directory that an image is in; None when it is in none."""
    return reference.resolved if isinstance(reference, PathReference) else None


def _label(reference: ImageReference) -> str:
    """Return a name for an image after the place that it is in."""
    path, named = path_of(reference), reference.docker_reference
    if path is not None:
        return plain_name(Path(path))
    if named is not None:
        return named.path
    raise InvalidReferenceError(
        f"{reference}: the image has no name; give it one: source={{{str(reference)!r}: 'name'}}"
    )
