"""Every blob read again: against its digest, and layers against the diffID that a configuration states.

Memory does not grow with the blobs: each is read in pieces, as many at a time as there are threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import CompressionError, ImageError, LimitExceededError
from ocikit.image.compression import DecompressedStream
from ocikit.image.layout.parallel import in_parallel
from ocikit.image.limits import DEFAULT_LIMITS
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.layout.store import Layout

__all__ = ["Fault", "LayerClaim", "find_damaged", "find_wrong_layers"]

_CHUNK: Final = 1 << 20


class Fault(NamedTuple):
    """A blob that is not what it should be."""

    #: The blob.
    digest: Digest
    #: What its bytes are in truth; None when they could not be read to the end.
    actual: Digest | None
    #: How many bytes it has, as far as it was read.
    size: int
    #: Why it could not be read; empty when it could.
    reason: str


class LayerClaim(NamedTuple):
    """What a configuration says of a layer."""

    #: The layer as it is stored.
    digest: Digest
    #: What its bytes are said to be, decompressed.
    diff_id: Digest


def find_damaged(
    layout: Layout, digests: Iterable[Digest], threads: int | None
) -> tuple[dict[Digest, Fault], int, int]:
    """Hash blobs.

    Args:
        layout: Where they are.
        digests: Which; all of algorithms that can be computed. One that is not there is left out.
        threads: How many at a time; None for as many as there are processors.

    Returns:
        The blobs that do not have their digest; how many were read, and their bytes.
    """

    def work(digest: Digest, go_on: Callable[[], None]) -> Fault | None:
        return _hash(layout, digest, go_on)

    # What is returned for a blob that is whole has its digest and no reason: it is here for its size.
    found = in_parallel(digests, work, threads)
    faults = {one.digest: one for one in found if one.reason or one.actual != one.digest}
    return faults, len(found), sum(one.size for one in found)


def _hash(layout: Layout, digest: Digest, go_on: Callable[[], None]) -> Fault | None:
    size, hasher = 0, digest.hasher()
    try:
        if layout.blobs.size(digest) is None:
            return None
        stream, _ = layout.open_blob(digest)
        with stream:
            while data := stream.read(_CHUNK):
                go_on()
                size += len(data)
                hasher.update(data)
    except (OSError, ImageError) as error:
        return Fault(digest, None, size, str(error))
    return Fault(digest, Digest.from_hasher(hasher), size, "")


def find_wrong_layers(
    layout: Layout, claims: Iterable[LayerClaim], threads: int | None
) -> list[tuple[LayerClaim, Fault]]:
    """Decompress layers, and return those that are not what is claimed.

    Args:
        layout: Where they are.
        claims: Which, and what is said of them; all of algorithms that can be computed.
        threads: As for :func:`find_damaged`.
    """

    def work(claim: LayerClaim, go_on: Callable[[], None]) -> tuple[LayerClaim, Fault] | None:
        fault = _decompress(layout, claim, go_on)
        return (claim, fault) if fault.actual != claim.diff_id else None

    return in_parallel(claims, work, threads)


def _decompress(layout: Layout, claim: LayerClaim, go_on: Callable[[], None]) -> Fault:
    size, hasher = 0, claim.diff_id.hasher()
    try:
        stream, _ = layout.open_blob(claim.digest)
        what = f"layer {claim.digest}"
        with stream, DecompressedStream(stream, limits=DEFAULT_LIMITS.expansion, what=what) as plain:
            while data := plain.read(_CHUNK):
                go_on()
                size += len(data)
                hasher.update(data)
    except (OSError, CompressionError, ImageError, LimitExceededError) as error:
        return Fault(claim.digest, None, size, str(error))
    return Fault(claim.digest, Digest.from_hasher(hasher), size, "")
