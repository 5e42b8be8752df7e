"""The table of transports: which kinds of place there are for images, and how a name leads to one.

An image name is ``transport:reference``; what the reference looks like is for the transport to say.
A transport is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidReferenceError
from ocikit.image.types import ImageReference

if TYPE_CHECKING:
    from ocikit.image.types import ImageTransport, SystemContext

__all__ = ["delete", "get", "image_name", "list_names", "parse_image_name"]

# Each transport and the module of this room whose TRANSPORT it is.
_HOMES: Final = {
    "dir": "directory",
    "oci": "oci",
    "oci-archive": "oci_archive",
}
# Transports that other tools have: a reason is a better answer than "unknown".
_ELSEWHERE: Final = {
    "atomic": "it is deprecated everywhere",
    "containers-storage": "copy the image to an oci: layout with the tool that owns the storage",
    "docker": "registries are not reached yet; copy the image to an oci: layout or oci-archive: file first",
    "docker-archive": "copy the image to an oci: layout or oci-archive: file first",
    "docker-daemon": "there is no daemon behind this; save the image and copy it to an oci: layout first",
    "ostree": "it is gone everywhere",
    "sif": "copy the image to an oci: layout first",
    "tarball": "make an oci: layout of it first",
}


def list_names() -> tuple[str, ...]:
    """Return the names of all transports, sorted."""
    return tuple(sorted(_HOMES))


def get(name: str) -> ImageTransport:
    """Return the transport that has a name.

    Raises:
        InvalidReferenceError: There is none.
    """
    home = _HOMES.get(name)
    if home is None:
        reason = _ELSEWHERE.get(name)
        hint = f"{name}: is not supported here: {reason}" if reason else f"the transport {name!r} is unknown"
        raise InvalidReferenceError(f"{hint}; known are {_known()}")
    transport: ImageTransport = import_module(f"{__name__}.{home}").TRANSPORT
    return transport


def _known() -> str:
    return ", ".join(f"{name}:" for name in list_names())


def parse_image_name(name: str) -> ImageReference:
    """Parse an image name: ``oci:/srv/layout:1.2``, ``oci-archive:pipeline.tar.gz``, ``dir:/srv/image``.

    Args:
        name: The name; the transport ends at the first colon.

    Raises:
        InvalidReferenceError: There is no transport of this name, or the rest is not in its grammar.
    """
    transport, colon, reference = name.partition(":")
    if not colon:
        raise InvalidReferenceError(f"{name!r}: expected transport:reference, with one of {_known()}")
    return get(transport).parse_reference(reference)


def as_reference(image: str | ImageReference) -> ImageReference:
    """Return the reference for whatever a call takes as an image: a reference, or an image name.

    Raises:
        InvalidReferenceError: It is not an image name.
        TypeError: It is neither.
    """
    if isinstance(image, str):
        return parse_image_name(image)
    if not isinstance(image, ImageReference):
        raise TypeError(
            f"{image!r}: expected an image name such as 'oci:/srv/layout:1.2' or a reference, "
            f"found {type(image).__name__}"
        )
    return image


def image_name(reference: ImageReference) -> str:
    """Return the name that :func:`parse_image_name` makes an equal reference from."""
    return f"{reference.transport.name}:{reference.string_within_transport}"


def delete(image: str | ImageReference, sys: SystemContext | None = None) -> None:
    """Delete an image, and the blobs that nothing else beside it refers to.

    Args:
        image: A reference, or an image name such as ``oci:/srv/layout:1.2``.
        sys: The circumstances.

    Raises:
        ImageNotFoundError: There is no such image.
        AmbiguousImageError: The reference fits more than one image.
        LayoutBusyError: This thread has the layout open.
        NotSupportedError: Images of the transport are not deleted one by one.
        OSError: The place cannot be written.
    """
    as_reference(image).delete_image(sys)
