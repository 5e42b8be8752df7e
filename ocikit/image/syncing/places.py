"""That no place is source and destination at once, by whatever names: asked before anything is copied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocikit.errors import LayoutError
from ocikit.image.syncing.naming import Wanted
from ocikit.image.syncing.sources import Unreadable, path_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from ocikit.image.syncing.destinations import Destination
    from ocikit.image.syncing.naming import Choice

__all__ = ["check_places"]


def check_places(choices: Iterable[Choice], target: Destination) -> None:
    """Refuse images that come from where they go: a copy of some instances of an index would take the others' place.

    Args:
        choices: What becomes of each image.
        target: Where they go.

    Raises:
        LayoutError: One comes from the destination itself.
    """
    known: dict[str, Hashable] = {}
    whole = _identity(target.path, known)
    for one in choices:
        if isinstance(one, Unreadable):
            continue
        places: list[object] = [one.destination, whole] if isinstance(one, Wanted) else [whole]
        if isinstance(one, Wanted):
            places.append(_identity(path_of(one.destination), known))
        place = _identity(path_of(one.source), known)
        if one.source in places or (place is not None and place in places):
            raise LayoutError(
                f"{one.source} is at the destination itself; choose another place, and nothing was copied"
            )


def _identity(path: str | None, known: dict[str, Hashable]) -> Hashable:
    """Return the same for the same place, also when it is mounted twice; None for what is none, or not there."""
    if path is None:
        return None
    if path not in known:
        try:
            status = os.stat(path)
        except OSError:
            known[path] = None
        else:
            known[path] = (status.st_dev, status.st_ino)
    return known[path]
