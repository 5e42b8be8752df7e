"""Whether a place holds an image and nothing else, and whether it is still as it was: asked before it is removed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from ocikit import _fs
from ocikit.spec import IMAGE_BLOBS_DIR, IMAGE_INDEX_FILE, IMAGE_LAYOUT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["foreign_in", "state_of"]

#: The file that a writer replaces last, by the form of the place; the place is a file itself when there is none.
_LAST_WRITTEN: Final = {"oci": IMAGE_INDEX_FILE, "dir": "manifest.json"}
_LAYOUT_FILES: Final = re.compile("|".join(map(re.escape, (IMAGE_LAYOUT_FILE, IMAGE_INDEX_FILE))))
_ALGORITHM: Final = re.compile(r"[a-z0-9+._-]+")
_ENCODED: Final = re.compile(r"[a-zA-Z0-9=_-]{32,}")
_BLOB_NAME: Final = rf"(?:[a-z0-9+._]+-)?{_ENCODED.pattern}"
_DIR_FILES: Final = re.compile(
    rf"version|(?:{_BLOB_NAME}\.)?manifest\.json|(?:{_BLOB_NAME}\.)?signature-[0-9]+|{_BLOB_NAME}"
)


def state_of(path: str, form: str) -> tuple[int, ...] | None:
    """Return what is another as soon as somebody has written an image to a place; None when the place is gone.

    Args:
        path: The place.
        form: Its form: ``"oci"``, ``"oci-archive"`` or ``"dir"``.

    Raises:
        OSError: It cannot be looked at.
    """
    last = _LAST_WRITTEN.get(form)
    try:
        status = os.lstat(f"{path}/{last}" if last is not None else path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def foreign_in(path: str, form: str) -> str | None:
    """Return something in a place that is no part of an image in that form; None when there is nothing else.

    Args:
        path: The place.
        form: Its form.

    Raises:
        OSError: It cannot be read.
    """
    if form == "oci":
        return next(_foreign_in_layout(path), None)
    return next(_foreign_files(path, _DIR_FILES), None) if form == "dir" else None


def _foreign_in_layout(path: str) -> Iterator[str]:
    yield from _foreign_files(path, _LAYOUT_FILES, directory=IMAGE_BLOBS_DIR)
    blobs = f"{path}/{IMAGE_BLOBS_DIR}"
    for entry in sorted(os.listdir(blobs)) if os.path.lexists(blobs) else ():
        inner = f"{blobs}/{entry}"
        if entry.startswith(_fs.TEMPORARY_PREFIX):
            continue
        if _ALGORITHM.fullmatch(entry) is None or os.path.islink(inner) or not os.path.isdir(inner):
            yield inner
        else:
            yield from _foreign_files(inner, _ENCODED)


def _foreign_files(path: str, ours: re.Pattern[str], directory: str | None = None) -> Iterator[str]:
    """Yield what is neither a file of ours, nor that directory, nor on its way to be one of ours."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name == directory and entry.is_dir(follow_symlinks=False):
                continue
            called_ours = entry.name.startswith(_fs.TEMPORARY_PREFIX) or ours.fullmatch(entry.name) is not None
            if not called_ours or not entry.is_file(follow_symlinks=False):
                yield entry.path
