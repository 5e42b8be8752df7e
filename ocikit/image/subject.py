"""What manifests say about each other: one that names another as its ``subject`` is a referrer of that one.

Signatures, bills of materials and attestations are kept beside an image in this way (image specification 1.1,
manifest.md). What a place says of its referrers is the list semantics of the distribution specification: the type of
the artifact, or of its configuration when it states none, and the annotations of the manifest.

Below every transport: they describe referrers by :func:`describe_referrer` and find them by a :class:`SubjectTable`;
whoever copies or lists asks any source through :func:`walk_referrers`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import LimitExceededError, ManifestError, NotSupportedError
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.unparsed import MAX_DEPTH, UnparsedImage
from ocikit.spec import Descriptor, DockerManifestList, Index, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.manifest import AnyManifest
    from ocikit.image.types import ImageSource
    from ocikit.spec import Digest

__all__ = [
    "MAX_REFERRERS",
    "MAX_REFERRER_BYTES",
    "Referrer",
    "SubjectTable",
    "describe_referrer",
    "require_referrer",
    "walk_referrers",
]

#: How many referrers of one manifest, and of these in turn, are followed.
MAX_REFERRERS: Final = 1000
#: The size of all their manifests together, in bytes.
MAX_REFERRER_BYTES: Final = 32 << 20

# What is looked through for subjects in one place: entries of indexes, manifests, and their bytes.
_MAX_ENTRIES: Final = 100_000
_MAX_DOCUMENTS: Final = 50_000
_MAX_DOCUMENT_BYTES: Final = 256 << 20


@frozen(kw_only=True)
class Referrer:
    """A manifest that says something about another one; verified against the digest it is listed by.

    Attributes:
        image: The manifest, read and verified; what a policy is held against. It may be an index.
        descriptor: What it is, as the distribution specification lists it, made from the verified bytes.
        subject: The digest of the manifest that it is about.
        depth: 1 for a referrer of what was asked for, 2 for a referrer of that one, and so on.
    """

    image: UnparsedImage
    descriptor: Descriptor
    subject: Digest
    depth: int


def describe_referrer(data: bytes, media_type: str) -> tuple[Digest, Descriptor] | None:
    """Return what a manifest is about, and what a list of referrers says of it.

    Args:
        data: The exact bytes of a manifest.
        media_type: Its type.

    Returns:
        The digest of its subject, and a descriptor with its artifact type (of an image manifest without one the type
        of its configuration) and its annotations; None when it has no subject.

    Raises:
        ManifestError: It is malformed.
        NotSupportedError: It is of Docker's schema 1.
    """
    return _described(data, media_type, _parsed(data, media_type))


def require_referrer(data: bytes, what: str) -> tuple[Digest, Descriptor]:
    """Return what :func:`describe_referrer` says of a manifest that must have a subject.

    Args:
        data: The exact bytes of the manifest.
        what: What it is, for messages.

    Raises:
        ManifestError: It has no subject, or is malformed.
        LimitExceededError: It is larger than 4 MiB.
    """
    found = describe_referrer(data, guess_media_type(data))
    if found is None:
        raise ManifestError(f"{what}: expected a manifest with a subject, found one that refers to no other")
    return found


def _parsed(data: bytes, media_type: str) -> AnyManifest | None:
    # A document without the word cannot have the key, unless it spells it in escapes.
    lists = b"manifests" in data
    return parse_manifest(data, media_type) if lists or b"subject" in data or b"\\" in data else None


def _described(data: bytes, media_type: str, manifest: AnyManifest | None) -> tuple[Digest, Descriptor] | None:
    if not isinstance(manifest, Manifest | Index) or manifest.subject is None:
        return None
    artifact_type = manifest.artifact_type
    if not artifact_type and isinstance(manifest, Manifest):
        artifact_type = manifest.config.media_type
    plain = Descriptor.from_content(media_type, data)
    return manifest.subject.digest, evolve(plain, artifact_type=artifact_type, annotations=manifest.annotations)


class SubjectTable:
    """The referrers among the manifests of one place, by what they are about.

    Args:
        where: The place, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._entries = self._documents = self._bytes = 0
        self._found: dict[Digest, dict[Digest, Descriptor]] = {}

    def add(self, data: bytes, media_type: str, digest: Digest) -> tuple[Descriptor, ...]:
        """Look at a manifest; one that is malformed is nobody's referrer.

        Args:
            data: Its bytes, verified by whoever calls this.
            media_type: Its type.
            digest: The digest that it is listed by.

        Returns:
            The entries of an index, which may be referrers in turn.

        Raises:
            LimitExceededError: More was looked at than one place may hold.
        """
        self._count(len(data))
        try:
            manifest = _parsed(data, media_type)
            found = _described(data, media_type, manifest)
        except (ManifestError, LimitExceededError, NotSupportedError):
            return ()
        if found is not None:
            subject, descriptor = found
            self._found.setdefault(subject, {}).setdefault(digest, evolve(descriptor, digest=digest))
        entries = manifest.manifests if isinstance(manifest, Index | DockerManifestList) else ()
        self._entries += len(entries)
        if self._entries > _MAX_ENTRIES:
            raise LimitExceededError(f"{self._where}: entries of indexes looked through for referrers", _MAX_ENTRIES)
        return entries

    def of(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return the referrers of a manifest, in the order in which they were found."""
        return tuple(self._found.get(subject, {}).values())

    def _count(self, size: int) -> None:
        self._documents += 1
        self._bytes += size
        if self._documents > _MAX_DOCUMENTS:
            raise LimitExceededError(f"{self._where}: manifests looked through for referrers", _MAX_DOCUMENTS)
        if self._bytes > _MAX_DOCUMENT_BYTES:
            raise LimitExceededError(f"{self._where}: bytes looked through for referrers", _MAX_DOCUMENT_BYTES)


def walk_referrers(
    source: ImageSource, subject: Digest, *, max_depth: int = MAX_DEPTH, max_count: int = MAX_REFERRERS
) -> Iterator[Referrer]:
    """Yield the referrers of a manifest, then those of these, and so on: each once, what it is about always before it.

    Each is read and verified when it is yielded. What an index among them lists is not yielded by itself.

    Args:
        source: The place; it stays open while this is used.
        subject: The digest of the manifest to begin with; it need not be there.
        max_depth: How long a chain of referrers may be; 1 does not look for referrers of referrers.
        max_count: How many there may be.

    Raises:
        VerificationError: One is not what the place lists.
        ManifestError: One is malformed, or is not about what the place lists it for.
        BlobNotFoundError: One that the place lists is not there.
        LimitExceededError: There are more than ``max_count``, or more than 32 MiB of them, or a chain goes on behind
            ``max_depth`` (unless that is 1).
    """
    pending = deque([(subject, 1)])
    seen = {subject}
    count = size = 0
    while pending:
        about, depth = pending.popleft()
        for entry in source.get_referrers(about):
            if entry.digest in seen:
                continue
            seen.add(entry.digest)
            if depth > max_depth:
                raise LimitExceededError(f"{source.reference}: referrers of referrers of {subject}", max_depth)
            count += 1
            size += entry.size
            if count > max_count:
                raise LimitExceededError(f"{source.reference}: referrers of {subject}", max_count)
            if size > MAX_REFERRER_BYTES:
                raise LimitExceededError(f"{source.reference}: bytes of referrers of {subject}", MAX_REFERRER_BYTES)
            yield _verified(source, entry, about, depth)
            if max_depth > 1:
                pending.append((entry.digest, depth + 1))


def _verified(source: ImageSource, entry: Descriptor, subject: Digest, depth: int) -> Referrer:
    image = UnparsedImage(source, entry)
    data, media_type = image.manifest()
    try:
        found = describe_referrer(data, media_type)
    except ManifestError as error:
        raise ManifestError(f"{image.description}: {error}") from error
    if found is None or found[0] != subject:
        what = f"one about {found[0]}" if found is not None else "one without a subject"
        raise ManifestError(f"{image.description}: listed as a manifest about {subject}, found {what}")
    return Referrer(image=image, descriptor=evolve(found[1], digest=entry.digest), subject=subject, depth=depth)
