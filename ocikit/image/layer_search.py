"""One file in a layer: found while the layer streams by, with the first bytes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import LayerError
from ocikit.image.compression import DecompressedStream
from ocikit.image.layer import Action, clean, place
from ocikit.image.limits import DEFAULT_LIMITS
from ocikit.image.tar import TarReader, TarType

if TYPE_CHECKING:
    from ocikit.image.types import ByteStream

__all__ = ["Found", "find_in_layer"]


class Found(NamedTuple):
    """A file in a layer."""

    #: What it is.
    type: TarType
    #: Its first bytes, of a regular file.
    head: bytes
    #: Where a link leads.
    target: bytes


def find_in_layer(stream: ByteStream, path: bytes, size: int, *, what: str) -> tuple[Found | None, bool]:
    """Look for a file in a layer.

    Args:
        stream: The layer as it is stored, compressed or not.
        path: The path of the file, in terms of the root of the image.
        size: How many of its first bytes are wanted.
        what: The layer, for messages.

    Returns:
        The file, of several of that path the last; None when it is not there. And whether the layer hides
        what lower layers have at that path.

    Raises:
        LayoutError: The layer is no tar file.
        CompressionError: Its compressed data is damaged.
        LimitExceededError: More comes out of it, or it has more members, than the limits allow.
    """
    wanted = clean(path)
    found: Found | None = None
    hides = False
    reader = TarReader(DecompressedStream(stream, limits=DEFAULT_LIMITS.expansion, what=what))
    for member in reader:
        try:
            put = place(member.name)
        except LayerError:
            continue  # it can be nowhere, so it is not what is looked for
        at = clean(put.directory)
        if put.action is Action.CREATE:
            here = [*at, *([put.name] if put.name else [])]
            if here == wanted:
                found = Found(member.type, _head(reader, size, member.type), member.linkname)
            elif member.type is not TarType.DIRECTORY and here == wanted[: len(here)]:
                hides = True  # what is above it in the path is no directory any more
        elif put.action is Action.WHITEOUT:
            removed = [*at, put.name]
            hides = hides or removed == wanted[: len(removed)]
        elif put.action is Action.OPAQUE:
            hides = hides or (len(at) < len(wanted) and at == wanted[: len(at)])
    return found, hides


def _head(reader: TarReader, size: int, kind: TarType) -> bytes:
    head = bytearray()
    if kind is TarType.REGULAR:
        for offset, data in reader.data():
            if offset >= size:
                break
            head[len(head) :] = bytes(offset - len(head)) + data[: size - offset]
    return bytes(head[:size])
