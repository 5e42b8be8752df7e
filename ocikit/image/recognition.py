"""What a file or directory is, seen by its content: an archive, a layout, a ``dir`` image, or nothing of ours."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import AmbiguousImageError, CompressionError, ImageNotFoundError, LayoutError
from ocikit.image.compression import DecompressedStream
from ocikit.image.found import FoundImage
from ocikit.image.layout.index import FULL_NAME, attached_to
from ocikit.image.layout.names import is_name
from ocikit.image.listing import list_images
from ocikit.image.tar import TarReader
from ocikit.image.transports.directory import DirectoryReference
from ocikit.image.transports.docker_archive import DockerArchiveReference
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.spec import IMAGE_BLOBS_DIR, IMAGE_INDEX_FILE, IMAGE_LAYOUT_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.context import SystemContext
    from ocikit.image.listing import ListedImage
    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["images_in", "images_listed", "is_damaged", "is_doubtful", "is_unfinished", "plain_name", "tidied"]

_UNFINISHED: Final = re.compile(r"\..*|.*~|#.*#|.*\.(?:tmp|temp|part|partial|crdownload|swp|lock)", re.IGNORECASE)
_ARCHIVE: Final = re.compile(
    r"(?P<stem>.+?)(?:\.oci|\.oci-archive|\.tar|\.gz|\.tgz|\.zst|\.zstd|\.tzst|\.bz2|\.xz)+", re.IGNORECASE
)
# What file systems, desktops and version control keep beside the files of users.
_NO_PLACES: Final = frozenset({"lost+found", ".DS_Store", ".directory", ".git", ".gitignore", ".gitkeep", ".snapshot"})
_PARTS: Final = (IMAGE_LAYOUT_FILE, IMAGE_INDEX_FILE, IMAGE_BLOBS_DIR, "manifest.json")
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_BEGINNING: Final = 512
_DIR_VERSION: Final = b"Directory Transport Version: "
_BETWEEN_RUNS: Final = re.compile(r"[^A-Za-z0-9]+")
_SEPARATORS: Final = frozenset({"-", ".", "_", "+", "--"})


def is_unfinished(name: str) -> bool:
    """Say whether a file is hidden, or is called as files are that somebody still writes or has put aside."""
    return _UNFINISHED.fullmatch(name) is not None


def is_doubtful(path: Path) -> bool:
    """Say whether what is no image may be one that somebody still writes, by its name, or one that was damaged.

    Args:
        path: What :func:`images_in` finds nothing in.
    """
    return path.name not in _NO_PLACES and (is_unfinished(path.name) or is_damaged(path))


def is_damaged(path: Path) -> bool:
    """Say whether what is no image looks like what is left of one, or like the beginning of one.

    That is a directory that is empty (a copy that has just begun, a file system
    that is not mounted) or has some of what makes a layout or a ``dir`` image; a file that is empty or not text, as
    the beginning of an archive is; and a link that leads nowhere. What cannot be read is in doubt as well.

    Args:
        path: What :func:`images_in` finds nothing in.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            names = os.listdir(path)
            return not names or any(name in _PARTS for name in names)
        if not stat.S_ISREG(mode):
            return False
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return True
    return not beginning or _BINARY.search(beginning) is not None


def plain_name(path: Path) -> str:
    """Return a name for an image after the archive or directory it is in.

    What says that it is an archive (``.tar.gz``) is left out, and what the grammar of names in a layout does not
    allow is replaced.

    Raises:
        LayoutError: Nothing is left.
    """
    match = _ARCHIVE.fullmatch(path.name) if not path.is_dir() else None
    name = tidied(match["stem"] if match else path.name)
    if not name:
        raise LayoutError(f"{path}: no name for an image can be made of this; rename it")
    return name


def tidied(text: str) -> str:
    """Return text with everything replaced that the grammar of names in a layout does not allow, and colons too.

    What is returned is one component of a path, and never hidden; it may be empty.
    """
    return _BETWEEN_RUNS.sub(lambda gap: gap[0] if gap[0] in _SEPARATORS else "-", text).strip("-._+")


def images_in(path: Path, sys: SystemContext | None = None) -> tuple[FoundImage, ...]:
    """List the images in an archive, layout or ``dir`` directory; nothing when ``path`` is none of these.

    A file that is called like an archive counts as one.

    Args:
        path: Where to look.
        sys: The circumstances.

    Raises:
        LayoutError: It is one and is damaged, or is called like one and is none.
        ImageNotFoundError: It is one, and there is nothing in it.
        AmbiguousImageError: There are images in it that nothing tells apart.
        OCIKitError: It is damaged in another way.
        OSError: It cannot be read.
    """
    called_like_one = _ARCHIVE.fullmatch(path.name) is not None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        # A link that leads nowhere says by its name whether somebody meant it to be an image.
        if called_like_one:
            raise
        return ()
    if stat.S_ISDIR(mode):
        if _is_dir_image(path):
            return (
                FoundImage(reference=DirectoryReference(path=str(path), resolved=os.path.realpath(path)), name=None),
            )
        is_image = (path / IMAGE_LAYOUT_FILE).exists()
    else:
        is_image = stat.S_ISREG(mode) and (called_like_one or _is_tar(path))
    return images_listed(path, sys, is_layout=stat.S_ISDIR(mode)) if is_image else ()


def images_listed(path: Path, sys: SystemContext | None = None, *, is_layout: bool) -> tuple[FoundImage, ...]:
    """List the images in what is known to be a layout or an archive.

    Args:
        path: The directory or the file.
        sys: The circumstances.
        is_layout: Whether it is a layout in a directory, rather than an archive.

    Raises:
        OCIKitError: As for :func:`images_in`.
        OSError: Likewise.
    """
    listed = list_images(path, sys)
    if not listed:
        raise ImageNotFoundError(f"{path}: there are no images in it")
    # What is only there for what it says about an image is not one more image.
    images = [image for image in listed if not _is_attached(image)] or listed
    # A name of a registry may be outside the grammar of names in a layout; it is one more without.
    images = [image if _keeps_name(image) else evolve(image, name=None) for image in images]
    nameless = sum(image.name is None for image in images)
    # The same image may be listed twice under one name, by tools that only ever add.
    found: dict[tuple[str | None, Digest], FoundImage] = {}
    for image in images:
        name = _name_in_full(image)
        if name is None and nameless > 1:
            name = f"{plain_name(path)}-{image.position}"
        reference = _in_layout(path, image) if is_layout else _in_archive(path, image, len(images))
        found.setdefault((name, image.descriptor.digest), FoundImage(reference=reference, name=name))
    return tuple(found.values())


def _name_in_full(image: ListedImage) -> str | None:
    """Return the name of an image; where that is only the tag of what containerd called it, all of that.

    Docker from 25 on, BuildKit and ctr write both. By its tag no image is told from those in the next archive.
    """
    full = image.descriptor.annotations.get(FULL_NAME, "")
    return full if image.name and full.endswith(f":{image.name}") and is_name(full) else image.name


def _is_attached(image: ListedImage) -> bool:
    if image.name is None:
        return bool(image.descriptor.artifact_type)
    return attached_to(image.name) is not None


def _keeps_name(image: ListedImage) -> bool:
    return not isinstance(image.reference, DockerArchiveReference) or (image.name is not None and is_name(image.name))


# References are made directly: text would have to be parsed, and a colon in the name of a file would mislead that.


def _in_layout(path: Path, image: ListedImage) -> ImageReference:
    resolved = os.path.realpath(path)
    if image.name is not None:
        return LayoutReference(path=str(path), resolved=resolved, name=image.name)
    return LayoutReference(path=str(path), resolved=resolved, position=image.position)


def _in_archive(path: Path, image: ListedImage, count: int) -> ImageReference:
    if isinstance(image.reference, DockerArchiveReference):
        return image.reference
    if image.name is None and count > 1:
        raise AmbiguousImageError(
            f"{path}: of {count} images in the archive some have no name, which is all they go by"
        )
    return ArchiveReference(path=str(path), resolved=os.path.realpath(path), name=image.name)


def _is_dir_image(path: Path) -> bool:
    try:
        with (path / "version").open("rb") as file:
            return file.read(len(_DIR_VERSION)) == _DIR_VERSION
    except (FileNotFoundError, IsADirectoryError):
        return False


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file, DecompressedStream(file, what=str(path)) as stream:
        try:
            return next(TarReader(stream), None) is not None
        except (LayoutError, CompressionError):
            return False
