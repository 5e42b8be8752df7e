"""A source seen through verification: the bytes of a manifest, proven to be the ones that were asked for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from ocikit.errors import (
    BlobNotFoundError,
    LimitExceededError,
    ManifestError,
    OCIKitError,
    SizeMismatchError,
)
from ocikit.image.conversion.digests import SCHEMA1, manifest_digest, verify_manifest
from ocikit.image.legacy import as_schema2
from ocikit.image.manifest import check_size, normalise_media_type, parse_manifest
from ocikit.image.platform import choose_instance, is_for_machines, platform_name
from ocikit.spec import Descriptor, DockerManifestList, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.manifest import AnyIndex, AnyManifest, ImageManifest
    from ocikit.image.types import ImageReference, ImageSource, SystemContext
    from ocikit.spec import Digest

__all__ = ["MAX_DEPTH", "UnparsedImage", "find_manifest", "walk_manifests"]

#: How many indexes may be nested in each other.
MAX_DEPTH: Final = 8
#: How many manifests one image may consist of.
MAX_INSTANCES: Final = 1000
# How many entries of an index are looked for, to say which are there.
_ASKED_FOR: Final = 20


class UnparsedImage:
    """An image of which nothing was parsed yet: what a policy looks at, and what parsing starts from.

    The manifest is read once and has the digest it was asked for by, be that in the reference or in the index
    that lists it. Not for several threads at once.

    Args:
        source: Where the image is.
        entry: What an index says of the image; None for the image (or index) that the source stands for.
    """

    def __init__(self, source: ImageSource, entry: Descriptor | None = None) -> None:
        self._source = source
        self._entry = entry
        self._manifest: tuple[bytes, str] | None = None

    @property
    def reference(self) -> ImageReference:
        """What the image was asked for by; an instance of an index goes by the name of the index."""
        return self._source.reference

    @property
    def instance(self) -> Digest | None:
        """The digest by which an index lists the image; None for the image of the source itself."""
        return self._entry.digest if self._entry is not None else None

    @property
    def description(self) -> str:
        """The image, for messages."""
        return f"{self.reference}, instance {self.instance}" if self._entry is not None else str(self.reference)

    def manifest(self) -> tuple[bytes, str]:
        """Return the bytes of the manifest, verified, and its media type.

        Raises:
            DigestMismatchError: The bytes are not the ones that were asked for.
            SizeMismatchError: Their number is not the one that the index states.
            BlobNotFoundError: The source has no such manifest.
            ManifestError: What kind of document it is cannot be told.
            LimitExceededError: It is larger than 4 MiB.
        """
        if self._manifest is None:
            self._manifest = self._read()
        return self._manifest

    def digest(self) -> Digest:
        """Return the digest that the image goes by: the one it was asked for by, or that of its manifest.

        Raises:
            Exception: As :meth:`manifest`.
        """
        data, media_type = self.manifest()
        return self._claimed() or manifest_digest(data, media_type)

    def check_digest(self, digest: Digest) -> None:
        """Return when the manifest has a digest, be it the one it was asked for by or one of another algorithm.

        Args:
            digest: The digest.

        Raises:
            DigestMismatchError: It has another one.
            Exception: As :meth:`manifest`.
        """
        data, media_type = self.manifest()
        verify_manifest(digest, data, media_type, what=f"manifest of {self.description}")

    def signatures(self) -> tuple[bytes, ...]:
        """Return the signatures of the manifest as they are stored; not verified."""
        return self._source.get_signatures(self.instance)

    def is_index(self) -> bool:
        """Say whether this is a list of manifests rather than an image.

        Raises:
            Exception: As :meth:`manifest`.
        """
        return self.manifest()[1] in mediatypes.INDEXES

    def index(self) -> AnyIndex:
        """Parse the list of manifests that this is.

        Raises:
            ManifestError: It is none, or malformed.
            Exception: As :meth:`manifest`.
        """
        index = self._parsed()
        if isinstance(index, Index | DockerManifestList):
            return index
        raise ManifestError(f"{self.description}: expected a list of manifests, found the manifest of an image")

    def image_manifest(self) -> ImageManifest:
        """Parse the manifest of the one image that this is.

        Docker's schema 1 is seen as schema 2, for which all layers are read (:mod:`ocikit.image.legacy`).

        Raises:
            ManifestError: It is a list of manifests, or malformed.
            Exception: As :meth:`manifest`.
        """
        data, media_type = self.manifest()
        if media_type in SCHEMA1:
            return as_schema2(self._source, data, self.description)[1]
        manifest = self._parsed()
        if isinstance(manifest, Index | DockerManifestList):
            raise ManifestError(f"{self.description}: expected the manifest of an image, found a list of manifests")
        return manifest

    def for_platform(self, sys: SystemContext | None = None, *, prefer_gzip: bool = False) -> UnparsedImage:
        """Return the image, or of an index (of indexes) the image for a platform.

        Args:
            sys: Chooses the platform, see :func:`~ocikit.image.platform.choose_instance`.
            prefer_gzip: Likewise.

        Raises:
            ImageNotFoundError: There is none for the platform.
            AmbiguousImageError: Nothing says which it would be.
            BlobNotFoundError: There is none for the platform here, though the index has one; with what there is.
            LimitExceededError: More than :data:`MAX_DEPTH` indexes are nested in each other.
            Exception: As :meth:`manifest`.
        """
        image = self
        for _ in range(MAX_DEPTH + 1):
            if not image.is_index():
                return image
            entry = choose_instance(image.index(), sys, what=image.description, prefer_gzip=prefer_gzip)
            chosen = UnparsedImage(self._source, entry)
            try:
                chosen.manifest()
            except BlobNotFoundError as error:
                raise BlobNotFoundError(f"{error}; {image._what_is_there()}") from error
            image = chosen
        raise LimitExceededError(f"{self.description}: indexes nested in each other", MAX_DEPTH)

    def _what_is_there(self) -> str:
        """Say which images of an index are there: `docker save`, ctr and others leave out what they do not have."""
        there = []
        for entry in self.index().manifests[:_ASKED_FOR]:
            if entry.platform is not None and is_for_machines(entry.platform):
                with contextlib.suppress(OCIKitError, OSError):
                    UnparsedImage(self._source, entry).manifest()
                    there.append(platform_name(entry.platform))
        known = ", ".join(there)
        return (
            f"of the images that the index lists there is {known}; choose another with SystemContext(os_choice=…, "
            "architecture_choice=…, variant_choice=…)"
            if known
            else "nothing that the index lists is there"
        )

    def _parsed(self) -> AnyManifest:
        try:
            return parse_manifest(*self.manifest())
        except ManifestError as error:
            raise ManifestError(f"manifest of {self.description}: {error}") from error

    def _claimed(self) -> Digest | None:
        if self._entry is not None:
            return self._entry.digest
        named = self.reference.docker_reference
        return named.digest if named is not None else None

    def _read(self) -> tuple[bytes, str]:
        what = f"manifest of {self.description}"
        entry = self._entry
        embedded = entry.embedded_content() if entry is not None else None
        if entry is not None and embedded is not None:
            check_size(embedded, what)
            return embedded, normalise_media_type(entry.media_type, embedded)
        data, served = self._source.get_manifest(self.instance)
        check_size(data, what)
        if entry is not None and len(data) != entry.size:
            raise SizeMismatchError(what, entry.size, len(data))
        media_type = normalise_media_type(served, data)
        claimed = self._claimed()
        if claimed is not None:
            verify_manifest(claimed, data, media_type, what=what)
        if entry is not None and media_type != entry.media_type:
            raise ManifestError(f"{what}: the index says it is {entry.media_type!r}, it was served as {media_type!r}")
        return data, media_type

    def instances(self) -> Iterator[UnparsedImage]:
        """Yield what the index that this is lists, each once, in its order; nothing of it was looked at.

        Raises:
            ManifestError: It is no index, or malformed.
            Exception: As :meth:`manifest`.
        """
        entries = {entry.digest: entry for entry in reversed(self.index().manifests)}
        for entry in reversed(entries.values()):
            yield UnparsedImage(self._source, entry)


def walk_manifests(image: UnparsedImage, *, most: int = MAX_INSTANCES) -> Iterator[UnparsedImage]:
    """Yield every manifest below one, as far as it is there: what an index lists before the index, the image last.

    Args:
        image: Where to begin; it has to be there.
        most: How many manifests there may be in all.

    Raises:
        LimitExceededError: There are more, or more than :data:`MAX_DEPTH` indexes are nested in each other.
        Exception: As :meth:`UnparsedImage.manifest`.
    """
    image.manifest()
    seen: set[Digest] = set()

    def walk(one: UnparsedImage, depth: int) -> Iterator[UnparsedImage]:
        if depth > MAX_DEPTH:
            raise LimitExceededError(f"{image.description}: indexes nested in each other", MAX_DEPTH)
        if one.is_index():
            for instance in one.instances():
                with contextlib.suppress(BlobNotFoundError):
                    instance.manifest()
                    if instance.digest() not in seen:
                        yield from walk(instance, depth + 1)
        seen.add(one.digest())
        if len(seen) > most:
            raise LimitExceededError(f"{image.description}: manifests in it", most)
        yield one

    return walk(image, 0)


def find_manifest(source: ImageSource, digest: Digest | None) -> UnparsedImage:
    """Return the manifest of a digest, or what the reference of a source leads to.

    Args:
        source: The source, open.
        digest: The digest of a manifest in the same place; None for what the reference leads to.

    Raises:
        BlobNotFoundError: There is no manifest of that digest.
        DigestMismatchError: It is not the one that was asked for.
        OCIKitError: As the source gives it.
    """
    top = UnparsedImage(source)
    if digest is None or digest == top.digest():
        return top
    data, served = source.get_manifest(digest)
    what = f"manifest of {source.reference}, {digest}"
    check_size(data, what)
    media_type = normalise_media_type(served, data)
    verify_manifest(digest, data, media_type, what=what)
    # The bytes go with the descriptor, so that what was verified is what is used; the digest of schema 1 is of a part.
    embedded = data if media_type not in SCHEMA1 else None
    return UnparsedImage(source, Descriptor(media_type=media_type, digest=digest, size=len(data), data=embedded))
