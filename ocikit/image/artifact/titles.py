"""Names of the files of an artifact: what may be one, and which of them fit in one directory. Nothing is opened here.

A title comes from whoever made the artifact, and becomes a path below a directory of whoever pulls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import LimitExceededError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["split_title", "split_titles"]

_NAME_BYTES: Final = 255
_DEPTH: Final = 32


def split_title(title: str, what: str) -> tuple[str, ...]:
    """Return the directories and the file that a title names, relative to where the artifact is pulled to.

    Args:
        title: The title, with ``/`` between directories.
        what: Whose it is, for messages.

    Raises:
        ManifestError: It is empty, absolute, leads upwards, or has characters that are none of a name.
        LimitExceededError: A name in it is longer than 255 bytes, or there are more than 32 directories.
    """
    parts = tuple(title.split("/"))
    if any(part in {"", ".", ".."} for part in parts):
        raise ManifestError(
            f"{what}: the title {title!r} is no relative path of a file: it must not begin or end with a slash, "
            "and have no empty, '.' or '..' component"
        )
    if not title.isprintable():
        raise ManifestError(f"{what}: the title {title!r} has characters that cannot be printed")
    if len(parts) - 1 > _DEPTH:
        raise LimitExceededError(f"{what}: directories in the title {title[:80]!r}", _DEPTH, len(parts) - 1)
    longest = max(len(part.encode(errors="surrogatepass")) for part in parts)
    if longest > _NAME_BYTES:
        raise LimitExceededError(f"{what}: bytes of a name in the title {title[:80]!r}", _NAME_BYTES, longest)
    return parts


def split_titles(titles: Iterable[str], what: str) -> dict[str, tuple[str, ...]]:
    """Return :func:`split_title` of each, when all of them fit in one directory.

    Args:
        titles: The titles.
        what: Whose they are, for messages.

    Raises:
        ManifestError: One of them is no path, or two are the same, or one is a directory in another.
        LimitExceededError: As :func:`split_title`.
    """
    paths: dict[str, tuple[str, ...]] = {}
    for title in titles:
        if title in paths:
            raise ManifestError(f"{what}: two files have the title {title!r}")
        paths[title] = split_title(title, what)
    directories = {parts[:length] for parts in paths.values() for length in range(1, len(parts))}
    for title, parts in paths.items():
        if parts in directories:
            raise ManifestError(f"{what}: {title!r} is a file, and a directory in the title of another one")
    return paths
