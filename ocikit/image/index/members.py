"""What an index is made of: images from anywhere, verified and allowed by the policy before anything is written."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from ocikit.errors import BlobNotFoundError, LimitExceededError, ManifestError
from ocikit.image.config import read_config
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage, find_manifest
from ocikit.spec import Descriptor, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.types import ImageReference, ImageSource, SystemContext
    from ocikit.spec import Digest, Platform

__all__ = ["Gathered", "Gathering", "Member", "MemberSelection"]

#: The size of all manifests that are gathered for one index, in bytes.
_MAX_MANIFEST_BYTES = 32 << 20


class MemberSelection(enum.Enum):
    """What is taken of a member that is an index itself; an image that is none is taken whatever is selected."""

    #: Each manifest that it lists, as it lists it: the new index is flat, as most tools want it.
    EACH = "each"
    #: The image for the running platform, or for the one that ``source_ctx`` chooses.
    SYSTEM = "system"
    #: The index itself, nested in the new one.
    NESTED = "nested"


@frozen(kw_only=True)
class Member:
    """An image that is to be listed in an index.

    Attributes:
        image: The image, a reference or an image name; it is copied to where the index is.
        digest: The digest of another manifest in the same place, to take in place of what the name leads to.
        selection: What is taken of an index.
        platform: The platform to list it for; None for the one that its configuration states.
        annotations: Annotations of its entry.
    """

    image: str | ImageReference
    digest: Digest | None = None
    selection: MemberSelection = MemberSelection.EACH
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Gathered:
    """A manifest and where it is.

    Attributes:
        image: The manifest, read and verified.
        source: Where its blobs are.
    """

    image: UnparsedImage
    source: ImageSource


class Gathering:
    """The manifests below an index that is being made, and where their blobs are.

    Args:
        context: The policy; held against every image by itself, before it is parsed, as a copy does.
        sys: Of an index, chooses the platform.
    """

    def __init__(self, context: PolicyContext, sys: SystemContext | None) -> None:
        self._context = context
        self._sys = sys
        self._bytes = 0
        #: Every manifest, by the digest that it is listed by.
        self.manifests: dict[Digest, Gathered] = {}
        #: Where each blob is.
        self.blobs: dict[Digest, ImageSource] = {}

    def take(self, member: Member, source: ImageSource) -> Iterator[Descriptor]:
        """Yield the entries for a member, all that they need being there.

        Args:
            member: What is asked for.
            source: Where it is, open.

        Raises:
            PolicyRequirementError: The policy does not allow it.
            ManifestError: It is malformed, or a platform is given for several images.
            OCIKitError: As the source and verification give it.
        """
        image = find_manifest(source, member.digest)
        if member.selection is MemberSelection.SYSTEM:
            image = image.for_platform(self._sys)
        if member.selection is MemberSelection.EACH and image.is_index():
            entries = image.index().manifests
            if member.platform is not None:
                raise ManifestError(
                    f"{image.description}: an index of {len(entries)} manifests, and one platform for all of them; "
                    "name one by its digest, or leave the platform out"
                )
            found = [(entry, UnparsedImage(source, entry)) for entry in entries]
        else:
            found = [(_described(image), image)]
        for entry, one in found:
            self._add(source, one, entry.digest, depth=1)
            platform = member.platform or entry.platform or _platform(source, one)
            yield evolve(entry, platform=platform, annotations={**entry.annotations, **member.annotations})

    def keep(self, entry: Descriptor, source: ImageSource) -> bool:
        """Take what an index lists already; return False when it is not there, as it need not be.

        Args:
            entry: The entry.
            source: Where the index is, open.

        Raises:
            OCIKitError: As :meth:`take`.
        """
        image = UnparsedImage(source, entry)
        try:
            image.manifest()
        except BlobNotFoundError:
            return False
        self._add(source, image, entry.digest, depth=1)
        return True

    def _add(self, source: ImageSource, image: UnparsedImage, digest: Digest, *, depth: int) -> None:
        if digest in self.manifests:
            return
        self._bytes += len(image.manifest()[0])
        if self._bytes > _MAX_MANIFEST_BYTES:
            raise LimitExceededError(f"{image.description}: bytes of all manifests of an index", _MAX_MANIFEST_BYTES)
        if image.is_index():
            self._add_index(source, image, depth=depth)
        else:
            self._context.is_running_image_allowed(image)
            manifest = image.image_manifest()
            kept = source.layer_infos_for_copy(image.instance) or ()
            digests = [blob.digest for blob in (manifest.config, *manifest.layers)]
            for blob in (*digests, *(info.digest for info in kept if info.digest is not None)):
                self.blobs.setdefault(blob, source)
        self.manifests[digest] = Gathered(image=image, source=source)

    def _add_index(self, source: ImageSource, image: UnparsedImage, *, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise LimitExceededError(f"{image.description}: indexes nested in each other", MAX_DEPTH)
        entries = image.index().manifests
        if not entries:
            self._context.is_running_image_allowed(image)
        for entry in entries:
            self._add(source, UnparsedImage(source, entry), entry.digest, depth=depth + 1)


def _described(image: UnparsedImage) -> Descriptor:
    data, media_type = image.manifest()
    plain = Descriptor(media_type=media_type, digest=image.digest(), size=len(data))
    if image.is_index():
        return plain
    manifest = image.image_manifest()
    return evolve(plain, artifact_type=manifest.artifact_type) if isinstance(manifest, Manifest) else plain


def _platform(source: ImageSource, image: UnparsedImage) -> Platform | None:
    """Return the platform that the configuration of an image states; None for what is no image."""
    if image.is_index():
        return None
    config = read_config(source, image.image_manifest().config, image.description)
    return config.platform if config is not None and config.os and config.architecture else None
