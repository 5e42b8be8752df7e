"""The signatures that a layout keeps, found from its index.json; what they prove is somebody else's question.

They are there in the ways in which cosign, and registries, keep them:

* a manifest that is named after what it signs, ``sha256-<hex>.sig``;
* one without a name that cosign has marked by ``kind``: which image it signs only its payloads say;
* artifacts with a subject: sigstore bundles, and OpenPGP messages. Where cosign has saved an image, nothing lists its
  bundles, and small blobs are looked through for them.

A layout may hold very many manifests. Only those are read that say by their entry what they are, and a few of which
nothing says what they are.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from ocikit.errors import (
    BlobNotFoundError,
    ImageError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image.attachment_manifest import (
    attached_signatures,
    attachment_layers,
    layer_identity,
    signed_digest,
)
from ocikit.image.bundle_manifest import PREDICATE_TYPE_KEY, bundle_of
from ocikit.image.layout.documents import read_verified
from ocikit.image.layout.index import is_signature_type
from ocikit.image.layout.signature_entries import LARGEST_UNKNOWN, Artifacts, SignatureEntries
from ocikit.image.manifest import parse_manifest
from ocikit.image.simple_manifest import SIMPLE_SIGNING, messages_of
from ocikit.image.stored_signature import MAX_SIGNATURE_BYTES, MAX_SIGNATURES, MAX_SIGNATURES_BYTES
from ocikit.image.subject import SubjectTable
from ocikit.spec import Descriptor, Index, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.layout.documents import BlobReader
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.stored_signature import StoredSignature
    from ocikit.image.types import ByteStream
    from ocikit.spec import Digest

__all__ = ["Claims", "Held", "SignatureFinder", "is_signature"]

#: How many blobs are looked at that nothing lists.
_MOST_UNLISTED: Final = 1000
#: How many entries that cosign has marked are looked at.
_MOST_MARKED: Final = 1000

#: What a bundle is about that signs an image, rather than states something else of it (cosign, BUNDLE_SPEC.md).
_SIGNS: Final = "https://sigstore.dev/cosign/sign/v1"


@frozen(kw_only=True)
class Held:
    """What a layout keeps of the signatures of one manifest.

    Attributes:
        layers: The layers of the manifest that is named after it: one for each signature.
        marked: Those of manifests that cosign has marked, told apart.
        artifacts: The digests of bundles and messages.
        count: How many of those are signatures: a bundle may state something else.
    """

    layers: tuple[Descriptor, ...] = ()
    marked: frozenset[tuple[object, ...]] = frozenset()
    artifacts: frozenset[Digest] = frozenset()
    count: int = 0


class Blobs(Protocol):
    """An open layout, in a directory or in an archive."""

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob and return it with its size; not verified."""

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob, listed or not, with its size in bytes."""


class SignatureFinder:
    """Finds the signatures of manifests in an open layout, in a directory or in an archive.

    Args:
        blobs: The layout; stays open while this is used.
        index: Its index.json, as it is now.
        where: The layout, for messages.
        most_unlisted: How many blobs are looked at that nothing lists; None for all.
    """

    def __init__(
        self, blobs: Blobs, index: LayoutIndex, where: str, *, most_unlisted: int | None = _MOST_UNLISTED
    ) -> None:
        self._blobs = blobs
        self._most_unlisted = most_unlisted
        self._where = where
        self._entries = SignatureEntries(index)
        self._claims = Claims(blobs, where)
        self._others: SubjectTable | None = None
        self._unlisted: SubjectTable | None = None
        self._marked: dict[Digest, list[Descriptor]] | None = None

    def of(self, subject: Digest) -> tuple[bytes, ...]:
        """Return the signatures of a manifest, each as places store it and each once; **not verified**.

        Those whose blobs are not there are left out.

        Args:
            subject: The digest of the manifest.

        Raises:
            VerificationError: A manifest, or what it refers to, is not what it is listed as.
            ManifestError: A manifest that should hold signatures is malformed.
            LimitExceededError: There are more than 128, or more than 32 MiB of them.
        """
        found: dict[bytes, None] = {}
        size = 0
        for one in self._each(subject):
            blob = one.to_blob()
            size += len(blob) if blob not in found else 0
            found[blob] = None
            if len(found) > MAX_SIGNATURES:
                raise LimitExceededError(f"{self._where}: signatures of {subject}", MAX_SIGNATURES)
            if size > MAX_SIGNATURES_BYTES:
                raise LimitExceededError(f"{self._where}: bytes of the signatures of {subject}", MAX_SIGNATURES_BYTES)
        return tuple(found)

    def held(self, subject: Digest) -> Held:
        """Return what is there of the signatures of a manifest, for whoever adds more.

        Args:
            subject: The digest of the manifest.

        Raises:
            VerificationError: As :meth:`of`.
            ManifestError: Likewise.
            LimitExceededError: Likewise.
        """
        artifacts: dict[Digest, bool] = {}
        for _, manifest in self._about(subject):
            artifacts |= dict.fromkeys((layer.digest for layer in manifest.layers), _signs(manifest))
        return Held(
            layers=tuple(self._named_layers(subject)),
            marked=frozenset(map(layer_identity, self._marked_layers().get(subject, ()))),
            artifacts=frozenset(artifacts),
            count=sum(artifacts.values()),
        )

    def unlisted(self, subject: Digest | None = None) -> tuple[Descriptor, ...]:
        """Return the bundles about what cosign has saved, be they signatures or not, that index.json need not list.

        Args:
            subject: The digest of the manifest that they are about; None for every one that cosign has saved.
        """
        saved = self._entries.saved()
        subjects = saved if subject is None else saved & {subject}
        found = (entry for one in subjects for entry in self._small_artifacts().of(one))
        return tuple(entry for entry in found if is_signature_type(entry.artifact_type))

    def _each(self, subject: Digest) -> Iterator[StoredSignature]:
        layers = (*self._named_layers(subject), *self._marked_layers().get(subject, ()))
        # Layers that are the same are one signature, and read once, however often they are named.
        for layer in {layer_identity(layer): layer for layer in layers}.values():
            with contextlib.suppress(BlobNotFoundError):
                yield from attached_signatures((layer,), self._read)
        for data, manifest in self._about(subject):
            with contextlib.suppress(BlobNotFoundError):
                if manifest.artifact_type == SIMPLE_SIGNING:
                    yield from messages_of(data, self._read)
                elif _signs(manifest):
                    yield bundle_of(data, self._read)

    # ------------------------------------------------------------------------------------------ attached as by cosign

    def _named_layers(self, subject: Digest) -> Iterator[Descriptor]:
        for entry in self._entries.named(subject):
            yield from self._layers(entry)

    def _layers(self, entry: Descriptor) -> tuple[Descriptor, ...]:
        with contextlib.suppress(BlobNotFoundError, NotSupportedError):
            data = self._read(entry)
            try:
                return attachment_layers(data)
            except ManifestError as error:
                raise ManifestError(f"{self._where}: signatures, manifest {entry.digest}: {error}") from error
        return ()

    def _marked_layers(self) -> dict[Digest, list[Descriptor]]:
        """Return the layers of manifests without a name, by what their payloads say that they sign."""
        if self._marked is None:
            self._marked = {}
            entries = [*self._entries.marked()]
            if len(entries) > _MOST_MARKED:
                raise LimitExceededError(
                    f"{self._where}: manifests of signatures without a name", _MOST_MARKED, len(entries)
                )
            claims: dict[Digest, Digest | None] = {}  # a payload may be that of every layer, and is read once
            for layer in (layer for entry in entries for layer in self._layers(entry)):
                if layer.digest not in claims:
                    claims[layer.digest] = self._claimed(layer)
                subject = claims[layer.digest]
                if subject is not None:
                    self._marked.setdefault(subject, []).append(layer)
        return self._marked

    def _claimed(self, layer: Descriptor) -> Digest | None:
        with contextlib.suppress(BlobNotFoundError):
            return self._claims.of_layer(layer)
        return None

    # ---------------------------------------------------------------------------------------- artifacts with a subject

    def _about(self, subject: Digest) -> Iterator[tuple[bytes, Manifest]]:
        found = {entry.digest: entry for table in self._tables(subject) for entry in table.of(subject)}
        for entry in found.values():
            if is_signature_type(entry.artifact_type):
                with contextlib.suppress(BlobNotFoundError):
                    data = self._read(entry)
                    manifest = parse_manifest(data, entry.media_type)
                    if isinstance(manifest, Manifest):
                        yield data, manifest

    def _tables(self, subject: Digest) -> Iterator[SubjectTable]:
        yield self._table(self._entries.hinted(subject))
        yield self._table(self._listed(subject))
        if self._others is None:
            self._others = self._table(self._entries.others())
        yield self._others
        if subject in self._entries.saved():
            yield self._small_artifacts()

    def _small_artifacts(self) -> SubjectTable:
        if self._unlisted is None:
            self._unlisted = self._table(self._small_blobs())
        return self._unlisted

    def _table(self, artifacts: Artifacts) -> SubjectTable:
        table = SubjectTable(self._where)
        for entry in artifacts.typed.values():
            with contextlib.suppress(BlobNotFoundError, NotSupportedError):
                table.add(self._read(entry), entry.media_type, entry.digest)
        for entry in artifacts.unknown.values():
            # Whatever is wrong with one, nothing says that it ever was a signature.
            with contextlib.suppress(ImageError, LimitExceededError, NotSupportedError):
                table.add(self._read(entry), entry.media_type, entry.digest)
        return table

    def _listed(self, subject: Digest) -> Artifacts:
        found = Artifacts()
        for entry in self._entries.lists(subject):
            with contextlib.suppress(BlobNotFoundError, NotSupportedError, ManifestError):
                parsed = parse_manifest(self._read(entry), entry.media_type)
                for one in parsed.manifests if isinstance(parsed, Index) else ():
                    found.add(one)
        return found

    def _small_blobs(self) -> Artifacts:
        """Return small blobs that may be manifests: `cosign save` writes bundles, and an index.json without them."""
        found = Artifacts()
        sizes = ((digest, size) for digest, size in self._blobs.blob_sizes() if 0 < size <= LARGEST_UNKNOWN)
        for digest, size in itertools.islice(sizes, self._most_unlisted):
            blob = Descriptor(media_type=mediatypes.IMAGE_MANIFEST, digest=digest, size=size)
            with contextlib.suppress(ImageError, LimitExceededError, NotSupportedError):
                if b'"subject"' in self._read(blob):
                    found.unknown[digest] = blob
        return found

    def _read(self, descriptor: Descriptor) -> bytes:
        return read_verified(self._blobs, descriptor, f"{self._where}: signatures, {descriptor.digest}")


def is_signature(artifact: Manifest | Descriptor) -> bool:
    """Say whether an artifact signs what it is about, rather than stating something else of it.

    Args:
        artifact: A manifest, or what is said of one with the annotations that are in it.
    """
    return is_signature_type(artifact.artifact_type) and _signs(artifact)


def _signs(artifact: Manifest | Descriptor) -> bool:
    return artifact.annotations.get(PREDICATE_TYPE_KEY, _SIGNS) == _SIGNS


class Claims:
    """What payloads say that they sign; **not verified**, only to look it up.

    Each is read once, however many layers of however many manifests lead to it.

    Args:
        blobs: The layout.
        where: The layout, for messages.
    """

    def __init__(self, blobs: BlobReader, where: str) -> None:
        self._blobs = blobs
        self._where = where
        self._found: dict[tuple[Digest, int], Digest | None] = {}

    def of_layer(self, layer: Descriptor) -> Digest | None:
        """Return what the payload in a layer claims to sign; None when it claims nothing.

        Raises:
            OCIKitError: It cannot be read, or is not what it is listed as.
        """
        if layer.size > MAX_SIGNATURE_BYTES:
            return None
        key = layer.digest, layer.size
        if key not in self._found:
            self._found[key] = signed_digest(self._read(layer))
        return self._found[key]

    def of_manifest(self, entry: Descriptor) -> set[Digest]:
        """Return what the signatures in a manifest claim to sign; what claims nothing is left out.

        Raises:
            OCIKitError: It cannot be read, or is not what it is listed as.
        """
        claimed = map(self.of_layer, attachment_layers(self._read(entry)))
        return {subject for subject in claimed if subject is not None}

    def _read(self, descriptor: Descriptor) -> bytes:
        return read_verified(self._blobs, descriptor, f"{self._where}: signatures, {descriptor.digest}")
