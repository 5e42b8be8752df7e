"""A layout by whatever names it: a path, or ``oci:path``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidReferenceError
from ocikit.image.layout.store import Layout

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext
    from ocikit.image.layout.store import Access

__all__ = ["layout_path", "open_layout", "shared_blobs"]

_PREFIX: Final = "oci:"


def layout_path(layout: str | os.PathLike[str]) -> str:
    """Return the directory of a layout, absolute and without symbolic links.

    Args:
        layout: Its path; or text such as ``oci:/srv/layout``.

    Raises:
        InvalidReferenceError: An image in a layout is named, where a layout is asked for.
    """
    path = os.fspath(layout)
    if isinstance(layout, str) and path.startswith(_PREFIX):
        path, _, name = path.removeprefix(_PREFIX).partition(":")
        if name:
            raise InvalidReferenceError(
                f"{layout!r}: expected a layout, found an image in one; name it as {_PREFIX}{path}"
            )
    if not path or "\0" in path:
        raise InvalidReferenceError(f"{layout!r}: expected the path of a layout, found {path!r}")
    try:
        return os.path.realpath(path)
    except UnicodeEncodeError:
        raise InvalidReferenceError(f"{layout!r}: a path cannot have these characters") from None


def shared_blobs(sys: SystemContext | None) -> str | None:
    """Return the directory that blobs are kept in, in place of the layout's own; None for its own."""
    return sys.oci_shared_blob_dir_path if sys is not None else None


def open_layout(layout: str | os.PathLike[str], access: Access, sys: SystemContext | None) -> Layout:
    """Open a layout.

    Args:
        layout: As for :func:`layout_path`.
        access: What for.
        sys: The circumstances: where its blobs are.

    Raises:
        LayoutError: The directory is no layout, or not one of a known version.
        LayoutBusyError: This thread has it open in a way that excludes this one.
        InvalidReferenceError: As :func:`layout_path`.
        OSError: It cannot be opened.
    """
    return Layout(layout_path(layout), access, shared_blobs=shared_blobs(sys))
