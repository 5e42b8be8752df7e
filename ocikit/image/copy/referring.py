"""What refers to an image, copied with it: signatures, bills of materials, attestations, and what refers to them.

A referrer holds for the digest of its subject. So nothing of one is ever changed, and an image that gets another digest
cannot keep those that it had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import DigestChangeError, LimitExceededError, NotSupportedError
from ocikit.image.copy.reading import SourceIndex
from ocikit.image.copy.transfers import Transfer
from ocikit.image.layout.signatures import is_signature
from ocikit.image.subject import MAX_REFERRER_BYTES, MAX_REFERRERS, walk_referrers
from ocikit.image.types import BlobInfo
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.copy.decisions import Decision
    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.reading import SourceManifest
    from ocikit.image.types import ImageDestination, ImageSource
    from ocikit.spec import Descriptor, Digest

__all__ = ["CopiedReferrer", "find_referrers", "put_referrers"]


@frozen(kw_only=True)
class CopiedReferrer:
    """A manifest that refers to what is copied, or that such a manifest lists.

    Attributes:
        digest: Its digest.
        data: Its bytes.
        transfers: The blobs that it needs.
        is_listed: Whether an index among the referrers lists it; then it is no referrer by itself.
    """

    digest: Digest
    data: bytes
    transfers: tuple[Transfer, ...] = ()
    is_listed: bool = False


def find_referrers(
    decisions: tuple[Decision, ...], source: ImageSource, destination: ImageDestination, options: CopyOptions
) -> tuple[CopiedReferrer, ...]:
    """Return what refers to the images that are copied, as far as it was asked for; what an index lists before it.

    Args:
        decisions: What becomes of the images.
        source: Where they are.
        destination: Where they go.
        options: What was asked for.

    Raises:
        DigestChangeError: An image that has referrers would get another digest.
        NotSupportedError: The destination stores none, and there are some.
        OCIKitError: As the source gives it, or a referrer is malformed.
    """
    if not options.referrers:
        return ()
    collector = _Collector(source, options)
    found: dict[Digest, CopiedReferrer] = {}
    for decision in decisions:
        manifest = decision.manifest
        ours = tuple(collector.of(manifest.digest, without_signatures=_without_signatures(manifest, options)))
        if ours and decision.changes and decision.variant is None:
            raise DigestChangeError(
                manifest.description,
                decision.changes,
                (f"{len(ours)} manifests refer to it by this digest, and referrers were asked for",),
            )
        found |= {one.digest: one for one in ours}
    if found and not destination.supports_referrers:
        raise NotSupportedError(
            f"{destination.reference}: stores no manifests that refer to an image, and there are {len(found)}; copy "
            "without referrers, or to a place that stores them"
        )
    return tuple(found.values())


def _without_signatures(manifest: SourceManifest, options: CopyOptions) -> bool:
    """Say whether signatures of a manifest stay behind in whatever form; types that are named are wanted."""
    removed = options.remove_signatures or (options.remove_list_signatures and isinstance(manifest, SourceIndex))
    return removed and options.referrers is True


class _Collector:
    """Reads referrers, and what indexes among them list, each once."""

    def __init__(self, source: ImageSource, options: CopyOptions) -> None:
        self._source = source
        self._wanted = options.referrers
        self._seen: set[Digest] = set()
        self._bytes = 0

    def of(self, subject: Digest, *, without_signatures: bool) -> Iterator[CopiedReferrer]:
        """Yield what refers to a manifest, as far as it is wanted and was not yielded before."""
        kept = {subject}
        for one in walk_referrers(self._source, subject):
            # What refers to a referrer goes with it, of whatever type it is.
            wanted = self._wanted
            is_wanted = isinstance(wanted, bool) or one.depth > 1 or one.descriptor.artifact_type in wanted
            is_left = without_signatures and one.depth == 1 and is_signature(one.descriptor)
            if is_wanted and not is_left and one.subject in kept:
                kept.add(one.descriptor.digest)
                yield from self._whole(one.image, one.descriptor.digest, is_listed=False, depth=1)

    def _whole(self, image: UnparsedImage, digest: Digest, *, is_listed: bool, depth: int) -> Iterator[CopiedReferrer]:
        """Yield a manifest, and before it everything that it lists."""
        if digest in self._seen:
            return
        self._seen.add(digest)
        data, _ = image.manifest()
        self._bytes += len(data)
        if len(self._seen) > MAX_REFERRERS:
            raise LimitExceededError(f"{image.reference}: referrers, and what indexes among them list", MAX_REFERRERS)
        if self._bytes > MAX_REFERRER_BYTES:
            raise LimitExceededError(f"{image.reference}: bytes of referrers", MAX_REFERRER_BYTES)
        transfers: tuple[Transfer, ...] = ()
        if image.is_index():
            if depth > MAX_DEPTH:
                raise LimitExceededError(f"{image.description}: indexes nested in each other", MAX_DEPTH)
            for entry in image.index().manifests:
                listed = UnparsedImage(self._source, entry)
                yield from self._whole(listed, entry.digest, is_listed=True, depth=depth + 1)
        else:
            manifest = image.image_manifest()
            transfers = (_transfer(manifest.config, is_config=True), *map(_transfer, manifest.layers))
        yield CopiedReferrer(digest=digest, data=data, transfers=transfers, is_listed=is_listed)


def _transfer(descriptor: Descriptor, *, is_config: bool = False) -> Transfer:
    return Transfer(
        digest=descriptor.digest,
        info=BlobInfo.from_descriptor(descriptor),
        is_config=is_config,
        content=descriptor.embedded_content(),
    )


def put_referrers(referrers: tuple[CopiedReferrer, ...], destination: ImageDestination) -> None:
    """Store manifests that refer to what is copied; they are found when the destination has committed."""
    for one in referrers:
        if one.is_listed:
            destination.put_manifest(one.data, one.digest)
        else:
            destination.put_referrer(one.data)
