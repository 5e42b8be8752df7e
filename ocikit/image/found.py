"""An image that was found in a place, and what a transport needs so that places of its kind can be gone through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.image.context import SystemContext
    from ocikit.image.types import ImageReference

__all__ = ["FoundImage", "PlaceTransport"]


@frozen(kw_only=True)
class FoundImage:
    """An image in a place that may hold several.

    Attributes:
        reference: What it is opened by.
        name: What it is called there; None when it has no name.
    """

    reference: ImageReference
    name: str | None


@runtime_checkable
class PlaceTransport(Protocol):
    """What an :class:`~ocikit.image.types.ImageTransport` has besides when its places hold several images.

    A transport that has both methods is gone through, and filled, by :func:`ocikit.image.sync`; one that has not names
    one image at a time.
    """

    def list_images(self, place: str, sys: SystemContext | None = None) -> Iterable[FoundImage]:
        """List the images in a place, in an order that stays the same.

        Args:
            place: What follows ``name:`` in the name of the place; when it names one image, that one is all there is.
            sys: The circumstances.

        Raises:
            InvalidReferenceError: The text is not in the grammar of the transport.
            OCIKitError: The place cannot be read.
            OSError: Likewise.
        """

    def image_in(self, place: str, name: str) -> ImageReference:
        """Return the reference for an image of a name in a place.

        Args:
            place: As for :meth:`list_images`, without an image.
            name: The name, as :class:`FoundImage` has it.

        Raises:
            InvalidReferenceError: There can be no image of this name.
        """
