"""Which manifests of a layout are about which others: found by reading all of them, once, within limits.

A layout has no list of referrers. Those who write some add them to index.json without a name, or list them in an
index that is named after the digest of what they are about (``sha256-<hex>``, the fallback of the distribution
specification). Both are found, and so is what is nested in other indexes: what counts is the ``subject`` of a
manifest, and never where it is listed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Protocol

from ocikit.errors import BlobNotFoundError, LayoutError, NotSupportedError
from ocikit.image.layout.blobs import read_document
from ocikit.image.manifest import LIMIT
from ocikit.image.subject import SubjectTable
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.types import ByteStream
    from ocikit.spec import Descriptor, Digest

__all__ = ["find_referrers"]


class _Blobs(Protocol):
    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]: ...


def find_referrers(blobs: _Blobs, index: LayoutIndex, where: str) -> SubjectTable:
    """Read every manifest that a layout lists, and return which of them are about which others.

    Manifests that are listed and not there are left out, as are those larger than 4 MiB.

    Args:
        blobs: The layout, open.
        index: Its index.json.
        where: The layout, for messages.

    Raises:
        VerificationError: A manifest is not what it is listed as.
        LimitExceededError: There are more than 50,000 manifests, or more than 256 MiB of them.
    """
    table = SubjectTable(where)
    pending = deque(_entries(index))
    seen = set()
    while pending:
        entry = pending.popleft()
        if entry.digest in seen or entry.media_type not in mediatypes.MANIFESTS or entry.size > LIMIT:
            continue
        seen.add(entry.digest)
        # What is not there, or has a digest that nobody can compute, is nothing that could be used.
        with contextlib.suppress(BlobNotFoundError, NotSupportedError):
            data = _read(blobs, entry, f"{where}: manifest {entry.digest}")
            pending.extend(table.add(data, entry.media_type, entry.digest))
    return table


def _entries(index: LayoutIndex) -> Iterator[Descriptor]:
    for position in range(len(index)):
        with contextlib.suppress(LayoutError):
            yield index.descriptor(position)


def _read(blobs: _Blobs, entry: Descriptor, what: str) -> bytes:
    embedded = entry.embedded_content()
    if embedded is not None:
        return embedded
    stream, _ = blobs.open_blob(entry.digest)
    with stream:
        data = read_document(stream, what)
    entry.verify(data, what=what)
    return data
