"""Names in a layout: given and taken away, with no blob touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import InvalidReferenceError
from ocikit.image.layout.names import NAME_GRAMMAR, is_name
from ocikit.image.layout.opening import open_layout
from ocikit.image.layout.saved import list_bundles
from ocikit.image.layout.store import Access

if TYPE_CHECKING:
    import os

    from ocikit.image.context import SystemContext
    from ocikit.spec import Digest

__all__ = ["tag", "untag"]


def tag(layout: str | os.PathLike[str], existing: str, new: str, sys: SystemContext | None = None) -> Digest:
    """Give an image in a layout another name beside the one it has.

    An older image of that name stays and loses it. The entry for the new name has everything that the entry for the
    existing one has; all other entries stay as they are.

    Args:
        layout: The directory, or a name of it (``oci:/srv/layout``).
        existing: Which image: its name, its position as ``@0``, or the digest of its manifest.
        new: The name it gets.
        sys: The circumstances: where the blobs are.

    Returns:
        The digest of the manifest.

    Raises:
        InvalidReferenceError: ``new`` is no name of an image.
        ImageNotFoundError: There is no such image.
        AmbiguousImageError: Several images have the existing name.
        LayoutError: The directory is no layout, or index.json is damaged.
        OSError: It cannot be written; it is as it was.
    """
    if not is_name(new):
        raise InvalidReferenceError(f"{new!r} is no name of an image: expected {NAME_GRAMMAR}")
    with open_layout(layout, Access.READ, sys) as opened, opened.changing_index() as index:
        position = index.lookup(existing)
        list_bundles(opened, index, index.descriptor(position).digest)
        index.tag(position, new)
        return index.descriptor(position).digest


def untag(layout: str | os.PathLike[str], name: str, sys: SystemContext | None = None) -> Digest:
    """Take a name away from an image in a layout; the image stays.

    An entry that without it says nothing that another one does not say goes, too. To get rid of the image,
    delete it (:func:`ocikit.image.delete`).

    Args:
        layout: The directory, or a name of it (``oci:/srv/layout``).
        name: The name.
        sys: The circumstances: where the blobs are.

    Returns:
        The digest of the manifest that had the name.

    Raises:
        ImageNotFoundError: No image has the name.
        AmbiguousImageError: Several images have it.
        LayoutError: The directory is no layout, or index.json is damaged.
        OSError: It cannot be written; it is as it was.
    """
    with open_layout(layout, Access.READ, sys) as opened, opened.changing_index() as index:
        position = index.find(name, None)
        digest = index.descriptor(position).digest
        index.untag(position)
        return digest
