"""Where images go: one layout for all, a place for each in a directory, or a place of a transport that holds several.

What is there too much is found here, and goes here: only images by names that were looked up under the lock that
keeps everybody else out, and only places that were seen to hold images and nothing else that is wanted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit import _fs
from ocikit.errors import (
    ImageNotFoundError,
    InvalidReferenceError,
    LayoutError,
    NotSupportedError,
    OCIKitError,
)
from ocikit.image import transports
from ocikit.image.found import PlaceTransport
from ocikit.image.layout.index import attached_to
from ocikit.image.layout.locks import hold
from ocikit.image.layout.names import is_name
from ocikit.image.layout.removal import delete_image
from ocikit.image.layout.store import Access, Layout
from ocikit.image.listing import list_images
from ocikit.image.recognition import images_in, is_unfinished, tidied
from ocikit.image.syncing.belonging import foreign_in, state_of
from ocikit.image.syncing.sources import is_image_name, path_of
from ocikit.image.transports.directory import DirectoryReference
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.image.types import ImageReference
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator
    from contextlib import AbstractContextManager

    from ocikit.image.context import SystemContext
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.syncing.sources import Place
    from ocikit.spec import Digest

__all__ = ["FORMS", "Destination", "Extra", "destination_of"]

_LONGEST_FILE_NAME: Final = 200
_GONE: Final = f"{_fs.TEMPORARY_PREFIX}gone-"
_GONE_MEANWHILE: Final = "not deleted: it is gone meanwhile"
_CHANGED: Final = "not deleted: somebody put another image there meanwhile"


@frozen(kw_only=True)
class Extra:
    """An image at the destination that the source does not have.

    Attributes:
        reference: The image.
        is_whole_place: Whether the place holds nothing else that is wanted, and goes with it.
        digests: What its name stood for when it was found, where names can get another image.
        state: What the whole place was like then.
    """

    reference: ImageReference
    is_whole_place: bool = False
    digests: frozenset[Digest] = frozenset()
    state: tuple[int, ...] | None = None


class Destination(ABC):
    """A place for several images.

    Attributes:
        path: The directory that they are in; None when it is not in the file system.
    """

    path: str | None = None

    @abstractmethod
    def reference(self, name: str) -> ImageReference:
        """Return the reference for an image of a name.

        Raises:
            InvalidReferenceError: There can be no image of this name.
        """

    def identity(self, reference: ImageReference) -> Hashable:
        """Return what an image at this reference replaces: two with the same would replace each other."""
        return reference

    @abstractmethod
    def prepare(self) -> None:
        """Make the directories that are missing.

        Raises:
            OSError: They cannot be made.
        """

    def rehearsal(self, reference: ImageReference) -> AbstractContextManager[ImageReference]:
        """Return a reference that a copy to another one can be planned with, when nothing is to be made."""
        return contextlib.nullcontext(reference)

    @abstractmethod
    def extras(self, wanted: Collection[ImageReference], sys: SystemContext | None, prefix: str) -> Iterator[Extra]:
        """Yield the images that are there and not among those.

        Args:
            wanted: The images that stay.
            sys: The circumstances.
            prefix: What the names of all begin with that are any business of ours.

        Raises:
            OCIKitError: The place cannot be read.
            OSError: Likewise.
        """

    @abstractmethod
    def remove(self, extra: Extra, sys: SystemContext | None) -> str | None:
        """Remove an image, unless it is no longer what was found; return why it was not removed.

        Raises:
            OCIKitError: It cannot be removed.
            OSError: Likewise.
        """

    def obstacle(self, extra: Extra) -> str | None:
        """Return why an image must not be removed; None when nothing is known against it.

        Raises:
            OSError: Nobody can tell.
        """
        del extra
        return None

    def forget(self, reference: ImageReference, digest: Digest, sys: SystemContext | None) -> bool:
        """Remove an image that lost its name to another one and stayed; say whether there was one.

        Args:
            reference: The name that it lost.
            digest: Its digest.
            sys: The circumstances.

        Raises:
            OCIKitError: It cannot be removed.
            OSError: Likewise.
        """
        del reference, digest, sys
        return False


def _named(layout: str, name: str) -> LayoutReference:
    if not is_name(name):
        raise InvalidReferenceError(
            f"{name!r} is no name of an image in a layout ({layout}): expected letters and digits in runs, separated "
            "by one of - . _ : @ + or by --, in components separated by /; rename=… gives another"
        )
    return LayoutReference(path=layout, resolved=layout, name=name)


def _resolved(place: str | os.PathLike[str]) -> str:
    path = os.path.realpath(place)
    if ":" in path:
        raise LayoutError(f"{path}: images in a place with a colon in its path have no names; choose another place")
    return path


def _remove_from_layout(path: str, sys: SystemContext | None, is_meant: Callable[[LayoutIndex, int], bool]) -> bool:
    """Remove every image that is meant, with everybody else kept out; say whether there was one."""
    shared = sys.oci_shared_blob_dir_path if sys is not None else None
    removed = False
    with Layout(path, Access.REMOVE, shared_blobs=shared) as layout:
        while (position := _first(layout.index(), is_meant)) is not None:
            delete_image(layout, None, position)
            removed = True
    return removed


def _first(index: LayoutIndex, is_meant: Callable[[LayoutIndex, int], bool]) -> int | None:
    for position in range(len(index)):
        if index.descriptor(position).media_type in mediatypes.MANIFESTS and is_meant(index, position):
            return position
    return None


class _Layouts(Destination):
    """What layouts have in common, be it one or many."""

    def forget(self, reference: ImageReference, digest: Digest, sys: SystemContext | None) -> bool:
        path = path_of(reference)
        if path is None or not isinstance(reference, LayoutReference):
            return False
        try:
            return _remove_from_layout(
                path, sys, lambda index, at: index.name(at) is None and index.descriptor(at).digest == digest
            )
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return False  # somebody removed all of the layout meanwhile


class _OneLayout(_Layouts):
    """A layout that all images go into, under their names."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self._layout = self.path = _resolved(place)

    def reference(self, name: str) -> ImageReference:
        return _named(self._layout, name)

    def prepare(self) -> None:
        Path(self._layout).parent.mkdir(parents=True, exist_ok=True)

    def extras(self, wanted: Collection[ImageReference], sys: SystemContext | None, prefix: str) -> Iterator[Extra]:
        if not os.path.lexists(self._layout) or not os.listdir(self._layout):
            return
        yield from _extra_names(self._layout, wanted, sys, prefix)

    def remove(self, extra: Extra, sys: SystemContext | None) -> str | None:
        return _remove_name(self._layout, extra, sys)


def _extra_names(
    path: str, wanted: Collection[ImageReference], sys: SystemContext | None, prefix: str
) -> Iterator[Extra]:
    """Yield the names in a layout that are not wanted. Images without one may be signatures of others, and stay.

    So do lists of referrers, which are called after what they refer to and go with it.
    """
    names: dict[str, set[Digest]] = {}
    for image in list_images(Path(path), sys):
        if image.name is not None and image.name.startswith(prefix) and attached_to(image.name) is None:
            names.setdefault(image.name, set()).add(image.descriptor.digest)
    for name, digests in names.items():
        reference = LayoutReference(path=path, resolved=path, name=name)
        if reference not in wanted:
            yield Extra(reference=reference, digests=frozenset(digests))


def _remove_name(path: str, extra: Extra, sys: SystemContext | None) -> str | None:
    """Remove the images that a name stood for. One that got the name since is somebody's, and new."""
    name = extra.reference.name if isinstance(extra.reference, LayoutReference) else None
    found: set[Digest] = set()

    def is_meant(index: LayoutIndex, at: int) -> bool:
        if name is None or index.name(at) != name:
            return False
        found.add(index.descriptor(at).digest)
        return index.descriptor(at).digest in extra.digests

    try:
        if _remove_from_layout(path, sys, is_meant):
            return None
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
    return _CHANGED if found else _GONE_MEANWHILE


def _as_layout(path: str, name: str) -> ImageReference:
    return _named(path, name)


def _as_archive(path: str, name: str) -> ImageReference:
    return ArchiveReference(path=f"{path}.tar", resolved=f"{path}.tar", name=_named(path, name).name)


def _as_directory(path: str, name: str) -> ImageReference:
    del name
    return DirectoryReference(path=path, resolved=path)


#: Each form that a place for one image can have, and what makes the reference of one.
FORMS: Final[dict[str, Callable[[str, str], ImageReference]]] = {
    "oci": _as_layout,
    "oci-archive": _as_archive,
    "dir": _as_directory,
}


class _Each(_Layouts):
    """A directory with a place of its own for each image, called after it."""

    def __init__(self, place: str | os.PathLike[str], form: str) -> None:
        self._directory = self.path = _resolved(place)
        self._form = form

    def reference(self, name: str) -> ImageReference:
        file = tidied(name)
        if not file or len(file) > _LONGEST_FILE_NAME or is_unfinished(file):
            raise InvalidReferenceError(
                f"{name!r}: no file in {self._directory} can be called after this image: expected letters and digits, "
                f"up to {_LONGEST_FILE_NAME} characters, and no ending such as .tmp; rename=… gives another name"
            )
        return FORMS[self._form](f"{self._directory}/{file}", name)

    def identity(self, reference: ImageReference) -> Hashable:
        return path_of(reference)

    def prepare(self) -> None:
        Path(self._directory).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def rehearsal(self, reference: ImageReference) -> Iterator[ImageReference]:
        path = path_of(reference)
        if self._form == "oci" or path is None or os.path.lexists(path):
            yield reference
            return
        # Another place that is not there either: to open this one would make something.
        with tempfile.TemporaryDirectory(prefix="ocikit-") as empty:
            yield FORMS[self._form](f"{empty}/{Path(path).name}", "rehearsed")

    def extras(self, wanted: Collection[ImageReference], sys: SystemContext | None, prefix: str) -> Iterator[Extra]:
        places = {path_of(reference) for reference in wanted}
        names = sorted(os.listdir(self._directory)) if os.path.lexists(self._directory) else []
        # What a file of an image with this prefix begins with: the letter keeps what is at the end of the prefix.
        beginning = tidied(f"{prefix}x")[:-1]
        for path in (f"{self._directory}/{name}" for name in names if not is_unfinished(name)):
            if not Path(path).name.startswith(beginning):
                continue
            if path in places:
                if self._form == "oci" and os.path.lexists(path):
                    yield from _extra_names(path, wanted, sys, prefix)
            elif (extra := self._extra_in(path, sys, prefix)) is not None:
                yield extra

    def _extra_in(self, path: str, sys: SystemContext | None, prefix: str) -> Extra | None:
        """Return an image in a place of our form; None for everything else, which is not ours to remove."""
        if Path(path).is_symlink():
            return None
        try:
            # Before the images are listed: what comes after that counts as a change.
            state = state_of(path, self._form)
            found = images_in(Path(path), sys)
        except (OCIKitError, OSError):
            return None
        if self._form != "dir" and not all((image.name or "").startswith(prefix) for image in found):
            return None
        same = [image.reference for image in found if image.reference.transport.name == self._form]
        return Extra(reference=same[0], is_whole_place=True, state=state) if same and state is not None else None

    def obstacle(self, extra: Extra) -> str | None:
        path = path_of(extra.reference)
        if path is None or not extra.is_whole_place:
            return None
        state = state_of(path, self._form)
        if state is None:
            return _CHANGED if os.path.lexists(path) else _GONE_MEANWHILE
        if state != extra.state:
            return _CHANGED
        foreign = foreign_in(path, self._form)
        return f"not deleted: {foreign} is no part of an image" if foreign is not None else None

    def remove(self, extra: Extra, sys: SystemContext | None) -> str | None:
        path = path_of(extra.reference)
        if path is None:
            return None
        if not extra.is_whole_place:
            return _remove_name(path, extra, sys)
        try:
            # One at a time: another call would take what is put aside here for what a killed one left.
            with (
                hold(self._directory, exclusive=True, where=self._directory, required=False),
                _fs.Descriptor(os.open(self._directory, _fs.DIRECTORY)) as parent,
            ):
                return self._remove_place(path, extra, sys, parent.fd)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return _GONE_MEANWHILE

    def _remove_place(self, path: str, extra: Extra, sys: SystemContext | None, parent: int) -> str | None:
        for name in os.listdir(parent):
            if name.startswith(_GONE):
                # What somebody left who was killed just here.
                with contextlib.suppress(OSError):
                    _fs.remove_tree(name, dir_fd=parent)
        name, gone = Path(path).name, _GONE + secrets.token_hex(8)
        # An image is there or it is not: half of one is nowhere to be seen.
        with self._alone(path, sys):
            if (reason := self.obstacle(extra)) is not None:
                return reason
            os.rename(name, gone, src_dir_fd=parent, dst_dir_fd=parent)
        aside = f"{self._directory}/{gone}"
        if self._form == "oci-archive" and state_of(aside, self._form) != extra.state:
            # Archives have no lock: this one came between the look and the rename. It goes back, unless there is
            # a newer one by now.
            with contextlib.suppress(FileExistsError):
                os.link(gone, name, src_dir_fd=parent, dst_dir_fd=parent)
            _fs.remove_tree(gone, dir_fd=parent)
            return _CHANGED
        _fs.fsync_directory(parent)
        with contextlib.suppress(FileNotFoundError):
            _fs.remove_tree(gone, dir_fd=parent)
        return None

    def _alone(self, path: str, sys: SystemContext | None) -> AbstractContextManager[object]:
        """Wait until nobody else has the place open."""
        if self._form == "oci":
            shared = sys.oci_shared_blob_dir_path if sys is not None else None
            return Layout(path, Access.REMOVE, shared_blobs=shared)
        return hold(path, exclusive=True, where=path) if self._form == "dir" else contextlib.nullcontext()


class _Foreign(Destination):
    """A place of a transport that says itself which images are in it."""

    def __init__(self, transport: PlaceTransport, place: str) -> None:
        self._transport = transport
        self._place = place

    def reference(self, name: str) -> ImageReference:
        return self._transport.image_in(self._place, name)

    def prepare(self) -> None:
        pass

    def extras(self, wanted: Collection[ImageReference], sys: SystemContext | None, prefix: str) -> Iterator[Extra]:
        for image in self._transport.list_images(self._place, sys):
            if image.reference not in wanted and (image.name or "").startswith(prefix):
                yield Extra(reference=image.reference)

    def remove(self, extra: Extra, sys: SystemContext | None) -> str | None:
        try:
            extra.reference.delete_image(sys)
        except (ImageNotFoundError, FileNotFoundError):
            return _GONE_MEANWHILE
        return None


def destination_of(dest: Place, into: str) -> Destination:
    """Return the place that a caller names.

    Args:
        dest: The place.
        into: ``"one"``, or one of :data:`FORMS`.

    Raises:
        ValueError: ``into`` is none of its choices, or does not fit the place.
        InvalidReferenceError: The place is no image name, or names an image.
        NotSupportedError: Places of this transport hold one image each.
        LayoutError: Images there would have no names.
    """
    if into not in {"one", *FORMS}:
        raise ValueError(f"into: expected 'one' or {' or '.join(map(repr, FORMS))}, found {into!r}")
    if not isinstance(dest, ImageReference) and not is_image_name(dest):
        return _OneLayout(dest) if into == "one" else _Each(dest, into)
    if into != "one":
        raise ValueError(f"{dest}: with into={into!r} images go into a directory, which is named by its path alone")
    if isinstance(dest, ImageReference):
        return _place(dest)
    kind, _, rest = os.fspath(dest).partition(":")
    transport = transports.get(kind)
    if isinstance(transport, PlaceTransport):
        return _Foreign(transport, rest)
    if kind == "oci" and ":" not in rest:
        # Made, not parsed: the directory above it may be missing, and is made.
        return _OneLayout(rest)
    return _place(transport.parse_reference(rest))


def _place(reference: ImageReference) -> Destination:
    if isinstance(reference, LayoutReference):
        if reference.name is None and reference.position is None:
            return _OneLayout(reference.path)
        raise InvalidReferenceError(
            f"{reference}: expected a layout, found an image in one; images keep their names, or get them by rename=…"
        )
    transport: object = reference.transport
    if isinstance(transport, PlaceTransport):
        return _Foreign(transport, reference.string_within_transport)
    raise NotSupportedError(
        f"{reference}: such a place holds one image; name a layout (oci:PATH), or a directory with "
        f"into={' or '.join(map(repr, FORMS))}"
    )
