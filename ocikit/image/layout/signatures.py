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
from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

from ocikit.errors import (
    BlobNotFoundError,
    ImageError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image.attachment_manifest import (
    IMAGE,
    IMAGE_INDEX,
    KIND,
    SIGNATURES,
    attached_signatures,
    attachment_layers,
    attachment_of,
    layer_identity,
    signed_digest,
)
from ocikit.image.bundle_manifest import PREDICATE_TYPE_KEY, bundle_of
from ocikit.image.layout.documents import read_verified
from ocikit.image.layout.index import fallback_subject, is_signature_type
from ocikit.image.manifest import parse_manifest
from ocikit.image.simple_manifest import SIMPLE_SIGNING, messages_of
from ocikit.image.stored_signature import MAX_SIGNATURE_BYTES, MAX_SIGNATURES
from ocikit.image.subject import SubjectTable
from ocikit.spec import Descriptor, Index, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocikit.image.layout.documents import BlobReader
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.stored_signature import StoredSignature
    from ocikit.image.types import ByteStream
    from ocikit.spec import Digest

__all__ = ["Held", "SignatureFinder", "claimed_subjects"]

#: The bytes of all signatures of one manifest together.
_MOST_BYTES: Final = 32 << 20
#: How many entries are looked at that say nothing of what they are, and how large such a manifest may be.
_MOST_UNKNOWN: Final = 100
_LARGEST_UNKNOWN: Final = 64 << 10
#: How many blobs are looked at that nothing lists.
_MOST_UNLISTED: Final = 1000
#: How many entries that cosign has marked are looked at.
_MOST_MARKED: Final = 1000

#: What a bundle is about that signs an image, rather than states something else of it (cosign, BUNDLE_SPEC.md).
_SIGNS: Final = "https://sigstore.dev/cosign/sign/v1"
_SAVED: Final = frozenset({IMAGE, IMAGE_INDEX})
_ALONE: Final = frozenset({mediatypes.IMAGE_MANIFEST, mediatypes.DOCKER_MANIFEST})


@frozen(kw_only=True)
class Held:
    """What a layout keeps of the signatures of one manifest.

    Attributes:
        layers: The layers of the manifest that is named after it: one for each signature.
        marked: Those of manifests that cosign has marked, told apart.
        artifacts: The digests of bundles and messages.
    """

    layers: tuple[Descriptor, ...] = ()
    marked: frozenset[tuple[object, ...]] = frozenset()
    artifacts: frozenset[Digest] = frozenset()


@frozen(kw_only=True)
class _Entries:
    """The entries of an index.json that may lead to signatures, by how they do."""

    named: dict[Digest, list[Descriptor]] = field(factory=dict)
    listed: dict[Digest, list[Descriptor]] = field(factory=dict)
    marked: list[Descriptor] = field(factory=list)
    typed: list[Descriptor] = field(factory=list)
    unknown: list[Descriptor] = field(factory=list)
    saved: set[Digest] = field(factory=set)

    @classmethod
    def of(cls, index: LayoutIndex) -> _Entries:
        found = cls()
        for position in range(len(index)):
            with contextlib.suppress(LayoutError):
                found.sort(index, position)
        return found

    def sort(self, index: LayoutIndex, position: int) -> None:
        entry, name = index.descriptor(position), index.name(position)
        subject = attachment_of(name) if name is not None else None
        listed = fallback_subject(name) if name is not None else None
        if subject is not None and entry.media_type in _ALONE:
            self.named.setdefault(subject, []).append(entry)
        elif listed is not None and entry.media_type == mediatypes.IMAGE_INDEX:
            self.listed.setdefault(listed, []).append(entry)
        elif name is None and entry.annotations.get(KIND) == SIGNATURES and entry.media_type in _ALONE:
            self.marked.append(entry)
        else:
            if name is None and entry.annotations.get(KIND) in _SAVED:
                self.saved.add(entry.digest)
            self.add(entry, is_named=name is not None)

    def add(self, entry: Descriptor, *, is_named: bool = False) -> None:
        """Sort in an entry that is an artifact, or may be one."""
        if entry.media_type != mediatypes.IMAGE_MANIFEST:
            return
        if is_signature_type(entry.artifact_type):
            self.typed.append(entry)
        elif not entry.artifact_type and not is_named and entry.size <= _LARGEST_UNKNOWN:
            self.unknown.append(entry)


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
    """

    def __init__(self, blobs: Blobs, index: LayoutIndex, where: str) -> None:
        self._blobs = blobs
        self._where = where
        self._entries = _Entries.of(index)
        self._table: SubjectTable | None = None
        self._marked: dict[Digest, list[Descriptor]] | None = None
        self._has_unlisted = False

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
            if size > _MOST_BYTES:
                raise LimitExceededError(f"{self._where}: bytes of the signatures of {subject}", _MOST_BYTES)
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
        artifacts = {layer.digest for _, manifest in self._about(subject) for layer in manifest.layers}
        return Held(
            layers=tuple(self._named_layers(subject)),
            marked=frozenset(map(layer_identity, self._marked_layers().get(subject, ()))),
            artifacts=frozenset(artifacts),
        )

    def _each(self, subject: Digest) -> Iterator[StoredSignature]:
        for layer in (*self._named_layers(subject), *self._marked_layers().get(subject, ())):
            with contextlib.suppress(BlobNotFoundError):
                yield from attached_signatures((layer,), self._read)
        for data, manifest in self._about(subject):
            with contextlib.suppress(BlobNotFoundError):
                if manifest.artifact_type == SIMPLE_SIGNING:
                    yield from messages_of(data, self._read)
                elif manifest.annotations.get(PREDICATE_TYPE_KEY, _SIGNS) == _SIGNS:
                    yield bundle_of(data, self._read)

    # ------------------------------------------------------------------------------------------ attached as by cosign

    def _named_layers(self, subject: Digest) -> Iterator[Descriptor]:
        for entry in self._entries.named.get(subject, ()):
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
            entries = self._entries.marked
            if len(entries) > _MOST_MARKED:
                raise LimitExceededError(
                    f"{self._where}: manifests of signatures without a name", _MOST_MARKED, len(entries)
                )
            for layer in (layer for entry in entries for layer in self._layers(entry)):
                subject = self._claimed(layer)
                if subject is not None:
                    self._marked.setdefault(subject, []).append(layer)
        return self._marked

    def _claimed(self, layer: Descriptor) -> Digest | None:
        with contextlib.suppress(BlobNotFoundError):
            return signed_digest(self._read(layer)) if layer.size <= MAX_SIGNATURE_BYTES else None
        return None

    # ---------------------------------------------------------------------------------------- artifacts with a subject

    def _about(self, subject: Digest) -> Iterator[tuple[bytes, Manifest]]:
        table = self._subjects()
        if subject in self._entries.saved and not self._has_unlisted:
            self._has_unlisted = True
            self._add_unlisted(table)
        for entry in table.of(subject):
            if is_signature_type(entry.artifact_type):
                with contextlib.suppress(BlobNotFoundError):
                    data = self._read(entry)
                    manifest = parse_manifest(data, entry.media_type)
                    if isinstance(manifest, Manifest):
                        yield data, manifest

    def _subjects(self) -> SubjectTable:
        if self._table is None:
            self._table = SubjectTable(self._where)
            typed, unknown = self._candidates()
            for entry in typed:
                with contextlib.suppress(BlobNotFoundError, NotSupportedError):
                    self._table.add(self._read(entry), entry.media_type, entry.digest)
            for entry in unknown:
                # Whatever is wrong with one, nothing says that it ever was a signature.
                with contextlib.suppress(ImageError, LimitExceededError, NotSupportedError):
                    self._table.add(self._read(entry), entry.media_type, entry.digest)
        return self._table

    def _add_unlisted(self, table: SubjectTable) -> None:
        """Look at small blobs: `cosign save` writes bundles, and then an index.json without them."""
        looked = 0
        for digest, size in self._blobs.blob_sizes():
            if 0 < size <= _LARGEST_UNKNOWN and looked < _MOST_UNLISTED:
                looked += 1
                blob = Descriptor(media_type=mediatypes.IMAGE_MANIFEST, digest=digest, size=size)
                with contextlib.suppress(ImageError, LimitExceededError, NotSupportedError):
                    data = self._read(blob)
                    if b'"subject"' in data:
                        table.add(data, mediatypes.IMAGE_MANIFEST, digest)

    def _candidates(self) -> tuple[Iterable[Descriptor], Iterable[Descriptor]]:
        lists = [entry for entries in self._entries.listed.values() for entry in entries]
        found = _Entries(typed=[*self._entries.typed], unknown=[*self._entries.unknown])
        for entry in lists:
            with contextlib.suppress(BlobNotFoundError, NotSupportedError, ManifestError):
                parsed = parse_manifest(self._read(entry), entry.media_type)
                for one in parsed.manifests if isinstance(parsed, Index) else ():
                    found.add(one)
        typed = {one.digest: one for one in found.typed}
        unknown = {one.digest: one for one in found.unknown if one.digest not in typed}
        return typed.values(), [*unknown.values()][:_MOST_UNKNOWN]

    def _read(self, descriptor: Descriptor) -> bytes:
        return read_verified(self._blobs, descriptor, f"{self._where}: signatures, {descriptor.digest}")


def claimed_subjects(blobs: BlobReader, entry: Descriptor, where: str) -> set[Digest]:
    """Return what the signatures in a manifest claim to sign; what claims nothing is left out.

    Args:
        blobs: The layout.
        entry: The manifest.
        where: The layout, for messages.

    Raises:
        OCIKitError: It cannot be read, or is not what it is listed as.
    """

    def read(descriptor: Descriptor) -> bytes:
        return read_verified(blobs, descriptor, f"{where}: signatures, {descriptor.digest}")

    payloads = (read(layer) for layer in attachment_layers(read(entry)) if layer.size <= MAX_SIGNATURE_BYTES)
    return {subject for payload in payloads if (subject := signed_digest(payload)) is not None}
