"""What a destination has already, as far as it can be seen without reading blobs: manifests, and sizes of blobs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import BlobNotFoundError, LimitExceededError, OCIKitError
from ocikit.image.copy.reading import MAX_MANIFEST_BYTES
from ocikit.image.stored_signature import signature_digest
from ocikit.image.subject import walk_referrers
from ocikit.image.types import BlobInfo
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocikit.image.context import SystemContext
    from ocikit.image.types import ImageReference, ImageSource
    from ocikit.spec import Descriptor, Digest

__all__ = ["Presence", "presence"]


@frozen(kw_only=True)
class Presence:
    """An image that is there.

    Attributes:
        digest: The digest of its manifest or index.
        manifests: The digests of the manifests that are there, this one included. Of an index that is sparse some are
            not.
        is_whole: Whether every blob of these manifests is there, with the size that it should have.
        referrers: The digests of what refers to the image, or to what refers to it, as far as somebody asked.
        signatures: The digests of its signatures, and of those of what it lists, as far as they can be read.
    """

    digest: Digest
    manifests: frozenset[Digest]
    is_whole: bool
    referrers: frozenset[Digest] = frozenset()
    signatures: frozenset[Digest] = frozenset()


def presence(
    reference: ImageReference, sys: SystemContext | None = None, *, with_referrers: bool = False
) -> Presence | None:
    """Look at an image that may be there; None when it is not, or is of no use.

    Args:
        reference: The image.
        sys: The circumstances.
        with_referrers: Whether to look at what refers to the image, too.
    """
    try:
        with reference.new_image_source(sys) as source:
            return _Look(source).at(UnparsedImage(source), with_referrers=with_referrers)
    except (OCIKitError, OSError):
        # Whatever is wrong with it, it is to be written anew; that fails if it cannot be.
        return None


class _Look:
    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._manifests: set[Digest] = set()
        self._blobs: set[Digest] = set()
        self._bytes = 0

    def at(self, image: UnparsedImage, *, with_referrers: bool) -> Presence:
        is_whole = self._manifest(image, depth=0)
        manifests = frozenset(self._manifests)
        referrers: set[Digest] = set()
        for subject in manifests if with_referrers else ():
            for one in walk_referrers(self._source, subject):
                referrers.add(one.descriptor.digest)
                is_whole = self._manifest(one.image, depth=0) and is_whole
        return Presence(
            digest=image.digest(),
            manifests=manifests,
            is_whole=is_whole,
            referrers=frozenset(referrers),
            signatures=frozenset(self._signatures(image.digest(), manifests)),
        )

    def _signatures(self, top: Digest, manifests: Iterable[Digest]) -> Iterator[Digest]:
        for digest in manifests:
            # What is damaged is not there; whoever adds others to it says so.
            with contextlib.suppress(OCIKitError, OSError):
                yield from map(signature_digest, self._source.get_signatures(digest if digest != top else None))

    def _manifest(self, image: UnparsedImage, *, depth: int) -> bool:
        self._bytes += len(image.manifest()[0])
        if self._bytes > MAX_MANIFEST_BYTES or depth > MAX_DEPTH:
            raise LimitExceededError(f"manifests of {image.reference}", MAX_MANIFEST_BYTES)
        self._manifests.add(image.digest())
        if not image.is_index():
            manifest = image.image_manifest()
            return all(map(self._has, (manifest.config, *manifest.layers)))
        return all(self._entry(entry, depth=depth + 1) for entry in image.index().manifests)

    def _entry(self, entry: Descriptor, *, depth: int) -> bool:
        if entry.digest in self._manifests:
            return True
        image = UnparsedImage(self._source, entry)
        try:
            image.manifest()
        except BlobNotFoundError:
            return True
        return self._manifest(image, depth=depth)

    def _has(self, blob: Descriptor) -> bool:
        if blob.digest in self._blobs or blob.urls:
            return True
        try:
            stream, size = self._source.get_blob(BlobInfo.from_descriptor(blob))
        except BlobNotFoundError:
            return False
        stream.close()
        self._blobs.add(blob.digest)
        return size in {-1, blob.size}
