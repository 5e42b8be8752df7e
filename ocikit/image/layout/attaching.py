"""Signatures added to a layout: which manifests hold them, and how index.json lists those. What is there stays.

Nothing is added twice, so that a copy that is made again changes nothing. What cosign and containers/image make goes
where cosign finds it; the entry of the image gets the mark by which cosign knows it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.attachment_manifest import (
    IMAGE,
    IMAGE_INDEX,
    SIGNATURES,
    attachment_tag,
    layer_identity,
    make_attachment,
    signed_layer,
)
from ocikit.image.bundle_manifest import bundle_manifest
from ocikit.image.layout.index import SUBJECT_HINT
from ocikit.image.simple_manifest import SIMPLE_SIGNING, simple_manifest
from ocikit.image.stored_signature import (
    BUNDLE,
    MAX_SIGNATURES,
    SigstoreSignature,
    SimpleSignature,
    parse_signature,
)
from ocikit.spec import Descriptor, Digest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.layout.signatures import Held
    from ocikit.image.stored_signature import StoredSignature

    #: Stores a blob.
    Put = Callable[[bytes], object]

__all__ = ["NewSignatures", "attach_signatures", "parse_signatures"]

_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)


@frozen(kw_only=True)
class NewSignatures:
    """Signatures that a manifest in a layout gets.

    Attributes:
        subject: The manifest; None for what is there: the image of the name, or the instance.
        instance: The digest of that manifest, when it is none that index.json lists.
        required: What the image of the name must be by then, whatever the algorithm of this digest; None for whatever
            it is.
        signatures: The signatures.
        artifacts: The digests of bundles and messages that are put beside them, and not to be added again.
    """

    subject: Descriptor | None
    instance: Digest | None = None
    required: Digest | None = None
    signatures: tuple[StoredSignature, ...]
    artifacts: frozenset[Digest] = frozenset()


def parse_signatures(blobs: Iterable[bytes], what: str) -> tuple[StoredSignature, ...]:
    """Take signatures apart that are to be kept in a layout.

    Args:
        blobs: The signatures as places keep them.
        what: What they are for, for messages.

    Raises:
        InvalidSignatureError: One has no form that is known, or cannot be kept as a layer.
        LimitExceededError: There are more than 128, or one is larger than 4 MiB.
    """
    found: list[StoredSignature] = []
    for number, blob in enumerate(blobs, 1):
        if number > MAX_SIGNATURES:
            raise LimitExceededError(f"signatures of {what}", MAX_SIGNATURES)
        try:
            signature = parse_signature(blob)
        except InvalidSignatureError as error:
            raise InvalidSignatureError(f"signature {number} of {what}: {error}") from error
        if isinstance(signature, SigstoreSignature) and not _MEDIA_TYPE.fullmatch(signature.media_type):
            raise InvalidSignatureError(
                f"signature {number} of {what}: its type {signature.media_type[:80]!r} is none (RFC 6838)"
            )
        found.append(signature)
    return tuple(found)


def attach_signatures(index: LayoutIndex, subject: Descriptor, new: NewSignatures, held: Held, put: Put) -> None:
    """Add signatures of a manifest to a layout: their blobs first, then the entries in its index.json.

    Args:
        index: The index.json; changed.
        subject: The manifest that they are for.
        new: The signatures.
        held: Those that are there.
        put: Stores a blob by its digest.

    Raises:
        LimitExceededError: There would be more than 128.
        OSError: A blob cannot be stored.
    """
    there = {*map(layer_identity, held.layers), *held.marked}
    attached = [one for one in new.signatures if isinstance(one, SigstoreSignature) and one.media_type != BUNDLE]
    attached = [one for one in attached if layer_identity(signed_layer(one)) not in there]
    alone = {digest: one for one in new.signatures if (digest := _artifact(one)) not in {None, *held.artifacts}}
    # Those that are put as referrers count, too: they are among the signatures of the source.
    count = len(there) + held.count + len(attached) + len(alone)
    if count > MAX_SIGNATURES and (attached or alone):
        raise LimitExceededError(f"signatures of {subject.digest}", MAX_SIGNATURES, count)
    wanted = [one for digest, one in alone.items() if digest not in new.artifacts]
    bundles = [one for one in wanted if isinstance(one, SigstoreSignature)]
    messages = [one for one in wanted if isinstance(one, SimpleSignature)]
    if attached:
        _attach(index, subject, attached, held, put)
    for bundle in bundles:
        manifest, blobs = bundle_manifest(bundle, subject)
        _refer(index, subject, manifest, blobs, artifact_type=BUNDLE, put=put)
    if messages:
        manifest, blobs = simple_manifest(messages, subject)
        _refer(index, subject, manifest, blobs, artifact_type=SIMPLE_SIGNING, put=put)


def _artifact(signature: StoredSignature) -> Digest | None:
    """Return the digest of what becomes a referrer; None for what is attached."""
    if isinstance(signature, SimpleSignature):
        return Digest.from_bytes(signature.message)
    return Digest.from_bytes(signature.payload) if signature.media_type == BUNDLE else None


def _attach(index: LayoutIndex, subject: Descriptor, attached: list[SigstoreSignature], held: Held, put: Put) -> None:
    made = make_attachment(attached, held.layers)
    for data in (*made.blobs, made.manifest):
        put(data)
    descriptor = Descriptor.from_content(mediatypes.IMAGE_MANIFEST, made.manifest)
    index.put_attachment(descriptor, attachment_tag(subject.digest), SIGNATURES)
    index.mark(subject.digest, IMAGE_INDEX if subject.media_type in mediatypes.INDEXES else IMAGE)


def _refer(
    index: LayoutIndex, subject: Descriptor, manifest: bytes, blobs: Iterable[bytes], *, artifact_type: str, put: Put
) -> None:
    for data in (*blobs, manifest):
        put(data)
    plain = Descriptor.from_content(mediatypes.IMAGE_MANIFEST, manifest)
    hint = {SUBJECT_HINT: str(subject.digest)}
    index.put_referrer(evolve(plain, artifact_type=artifact_type, annotations=hint))
