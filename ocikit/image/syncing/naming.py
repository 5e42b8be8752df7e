"""Which images are wanted, and what each is to be called: decided before anything is copied. Pure."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from ocikit.errors import AmbiguousImageError, InvalidReferenceError
from ocikit.image.syncing.sources import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from ocikit.image.found import FoundImage
    from ocikit.image.syncing.sources import Found, Offer
    from ocikit.image.types import ImageReference

    #: Which images: by patterns as of a shell on their names, or by a callable.
    Selector: TypeAlias = str | Iterable[str] | Callable[[FoundImage], bool]

__all__ = ["Choice", "Naming", "Unwanted", "Wanted", "without_collisions"]


@frozen(kw_only=True)
class Wanted:
    """An image that is to be copied.

    Attributes:
        source: Where it is.
        destination: Where it goes.
    """

    source: ImageReference
    destination: ImageReference


@frozen(kw_only=True)
class Unwanted:
    """An image that is not to be copied.

    Attributes:
        source: Where it is.
        names: What it would have been called.
        reason: Why it is not wanted.
    """

    source: ImageReference
    names: tuple[str, ...]
    reason: str


#: What becomes of what a source has.
Choice: TypeAlias = Wanted | Unwanted | Unreadable


class Naming:
    """What the caller says about names.

    Args:
        include: Which images to take; None for all.
        exclude: Which of those to leave; None for none.
        prefix: What comes before each name.
        rename: Makes a name of an image, or None to leave it.

    Raises:
        TypeError: A pattern is no text.
    """

    def __init__(
        self,
        include: Selector | None,
        exclude: Selector | None,
        prefix: str,
        rename: Callable[[FoundImage], str | None] | None,
    ) -> None:
        self._is_included = _selects(include) if include is not None else None
        self._is_excluded = _selects(exclude) if exclude is not None else None
        self._prefix = prefix
        self._rename = rename

    def choices(self, found: Iterable[Found], reference: Callable[[str], ImageReference]) -> Iterator[Choice]:
        """Yield what becomes of each image; one with several names is there several times.

        Args:
            found: What the source has.
            reference: Makes the reference at the destination of a name.

        Raises:
            Exception: Whatever a callable of the caller raised.
        """
        for one in found:
            if isinstance(one, Unreadable):
                yield one
                continue
            names = self._names(one)
            reason = self._reason(one.image) or (None if names else "rename gives it no name")
            if reason is not None:
                names = names or (f"{self._prefix}{one.image.name}",)
                yield Unwanted(source=one.image.reference, names=names, reason=reason)
                continue
            for name in names:
                yield _possible(one.image.reference, name, reference)

    def _reason(self, image: FoundImage) -> str | None:
        if self._is_included is not None and not self._is_included(image):
            return "not included"
        if self._is_excluded is not None and self._is_excluded(image):
            return "excluded"
        return None

    def _names(self, offer: Offer) -> tuple[str, ...]:
        if offer.names is not None:
            return offer.names
        name = self._rename(offer.image) if self._rename is not None else offer.image.name
        return () if name is None else (f"{self._prefix}{name}",)


def _possible(source: ImageReference, name: str, reference: Callable[[str], ImageReference]) -> Wanted | Unreadable:
    try:
        return Wanted(source=source, destination=reference(name))
    except InvalidReferenceError as error:
        return Unreadable(place=source, error=error)


def _selects(selector: Selector) -> Callable[[FoundImage], bool]:
    if callable(selector):
        return selector
    patterns = (selector,) if isinstance(selector, str) else tuple(selector)
    compiled = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]
    return lambda image: any(pattern.match(image.name or "") for pattern in compiled)


def without_collisions(choices: Iterable[Choice], place: Callable[[ImageReference], Hashable]) -> tuple[Choice, ...]:
    """Return the choices, those that are there twice once.

    Args:
        choices: The choices.
        place: Says what a destination replaces: two with the same would replace each other.

    Raises:
        AmbiguousImageError: Two different images would replace each other.
    """
    taken: dict[Hashable, Wanted] = {}
    kept: list[Choice] = []
    for one in choices:
        if isinstance(one, Wanted):
            first = taken.setdefault(place(one.destination), one)
            if first.source != one.source or first.destination != one.destination:
                raise AmbiguousImageError(
                    f"{first.source} and {one.source} would both become {one.destination}, and nothing was copied; "
                    "tell them apart: scoped=True, rename=…, or a mapping of sources to names"
                )
            if first is not one:
                continue
        kept.append(one)
    return tuple(kept)
