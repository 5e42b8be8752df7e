"""The table of transports: which kinds of place there are for images, and how a name leads to one.

An image name is ``transport:reference``; what the reference looks like is for the transport to say.
A transport is imported when it is first asked for. Further ones can be registered.
"""

from __future__ import annotations

import re
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidReferenceError, TransportError
from ocikit.image.types import ImageReference

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.image.types import ImageTransport, SystemContext

__all__ = [
    "archive_reference",
    "delete",
    "get",
    "image_name",
    "list_names",
    "parse_image_name",
    "register",
    "unregister",
]

# Each transport and the module of this room whose TRANSPORT it is.
_HOMES: Final = {
    "containers-storage": "containers_storage",
    "dir": "directory",
    "docker": "docker",
    "docker-archive": "docker_archive",
    "docker-daemon": "docker_daemon",
    "oci": "oci",
    "oci-archive": "oci_archive",
    "tarball": "tarball",
}
# Transports that other tools have: a reason is a better answer than "unknown".
_ELSEWHERE: Final = {
    "atomic": "it is deprecated everywhere",
    "ostree": "it is gone everywhere",
    "sif": "copy the image to an oci: layout first",
}
_NAME: Final = re.compile(r"[a-z0-9]+(?:[-+.][a-z0-9]+)*")
_METHODS: Final = ("parse_reference", "validate_policy_configuration_scope")

# Those that were registered. The table is replaced and never changed, so that whoever reads it needs no lock.
_registered: dict[str, ImageTransport] = {}
_writing = threading.Lock()


def register(transport: ImageTransport, *, replace: bool = False) -> None:
    """Add a transport to those that image names, policies and copies know.

    Args:
        transport: An :class:`~ocikit.image.ImageTransport`, or any object with its interface. The references, sources
            and destinations that it leads to are of the classes of :mod:`ocikit.image.types`.
        replace: Take the place of a transport that has this name already. One of ocikit's own is back after
            :func:`unregister`.

    Raises:
        TransportError: The object has not the interface of a transport, or the name is taken.
    """
    global _registered  # noqa: PLW0603 (see there)
    name = _checked(transport)
    with _writing:
        if not replace and (name in _registered or name in _HOMES):
            whose = "registered already" if name in _registered else "one of ocikit's own"
            raise TransportError(f"the transport {name!r} is {whose}; take another name, or pass replace=True")
        _registered = _registered | {name: transport}


def unregister(name: str) -> None:
    """Take away a transport that was registered; references that it has parsed stay as they are.

    Args:
        name: Its name.

    Raises:
        TransportError: None of this name was registered. Those that ocikit brings along stay.
    """
    global _registered  # noqa: PLW0603 (see there)
    with _writing:
        if name not in _registered:
            there = ", ".join(sorted(_registered)) or "none"
            raise TransportError(f"no transport {name!r} was registered; registered are: {there}")
        _registered = {other: transport for other, transport in _registered.items() if other != name}


def _checked(transport: ImageTransport) -> str:
    """Return the name of what is to be registered, once it is known to be a transport."""
    kind = type(transport).__name__
    name = getattr(transport, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TransportError(
            f"{kind}.name: expected the name of a transport, runs of a-z 0-9 with one of - + . between, found {name!r}"
        )
    for method in _METHODS:
        if isinstance(transport, type) or not callable(getattr(transport, method, None)):
            raise TransportError(
                f"{kind}: expected an object with the interface of ImageTransport, which has no method {method}"
            )
    return name


def list_names() -> tuple[str, ...]:
    """Return the names of all transports, sorted."""
    return tuple(sorted({*_HOMES, *_registered}))


def get(name: str) -> ImageTransport:
    """Return the transport that has a name.

    Raises:
        InvalidReferenceError: There is none.
    """
    registered = _registered.get(name)
    if registered is not None:
        return registered
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
        TransportError: A transport that was registered gives something else than a reference.
    """
    transport, colon, reference = name.partition(":")
    if not colon:
        raise InvalidReferenceError(f"{name!r}: expected transport:reference, with one of {_known()}")
    parsed = get(transport).parse_reference(reference)
    if not isinstance(parsed, ImageReference):
        raise TransportError(
            f"{name!r}: the transport {transport} made a {type(parsed).__name__} of this, expected an ImageReference"
        )
    return parsed


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


def archive_reference(transport: str, file: object, name: str | None = None) -> ImageReference:
    """Return a reference to an image in an open file object, to be read or to be written.

    A source reads it, in place when it stands at the start of a regular file, else to its end; it needs no more
    than ``read``. A destination writes it at commit, and needs no more than ``write``. It is never closed. Of a
    policy only the default of the transport applies to it.

    Args:
        transport: ``oci-archive`` or ``docker-archive``.
        file: The file object, for bytes.
        name: The name of the image; None for the only one, or for none.

    Raises:
        InvalidReferenceError: The transport has no archives, or the name is outside its grammar.
    """
    found = get(transport)
    # The class cannot be imported here before a transport is: what is in a table is loaded when it is asked for.
    make: Callable[[object, str | None], ImageReference] | None = getattr(found, "file_reference", None)
    if make is None:
        raise InvalidReferenceError(f"{transport}: images of this transport are not kept in single files")
    return make(file, name)


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
