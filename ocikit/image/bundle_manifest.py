"""The manifest that attaches a sigstore bundle to an image, written and read (cosign, BUNDLE_SPEC.md).

An artifact of the image specification, manifest.md: the image is its ``subject``, the bundle its one layer. Nothing is
verified here but that the bundle is the blob that the manifest names; what it proves is in the bundle.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from ocikit.errors import InvalidSignatureError, LimitExceededError, ManifestError, ParseError
from ocikit.image.manifest import check_size, guess_media_type, parse_manifest
from ocikit.image.stored_signature import BUNDLE, MAX_SIGNATURE_BYTES, SigstoreSignature
from ocikit.spec import DESCRIPTOR_EMPTY_JSON, Descriptor, Manifest, mediatypes
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CONTENT_KEY",
    "PREDICATE_TYPE_KEY",
    "bundle_manifest",
    "bundle_of",
    "is_bundle_type",
    "may_attach_bundle",
]

#: The annotation that says what a bundle holds: ``dsse-envelope`` or ``message-signature``.
CONTENT_KEY: Final = "dev.sigstore.bundle.content"
#: The annotation that says what the statement in a bundle is about; what is signed is in the bundle.
PREDICATE_TYPE_KEY: Final = "dev.sigstore.bundle.predicateType"

# ``{}``, but not embedded: cosign and registries of old expect the blob.
_NO_CONFIG: Final = evolve(DESCRIPTOR_EMPTY_JSON, data=None)
_EMPTY: Final = b"{}"

# The types before 0.3 and the first form of 0.3, which had a parameter.
_OLDER: Final = "application/vnd.dev.sigstore.bundle+json"
# What an annotation is for: registries refuse long ones, and nobody lists by them.
_LONGEST_TYPE: Final = 1024


def is_bundle_type(media_type: str) -> bool:
    """Say whether a media type, or the type of an artifact, is that of a sigstore bundle of any version.

    Args:
        media_type: The type, with or without parameters.
    """
    name = media_type.partition(";")[0].strip().lower()
    return name in {BUNDLE, _OLDER}


def may_attach_bundle(artifact_type: str) -> bool:
    """Say whether an entry in a list of referrers may lead to a bundle; its manifest tells.

    Where a registry keeps no such lists, cosign writes them, and states the type of the empty configuration in place of
    that of the artifact, and no annotations.

    Args:
        artifact_type: The type that the entry states; empty when it states none.
    """
    return artifact_type in {"", mediatypes.EMPTY_JSON} or is_bundle_type(artifact_type)


def bundle_manifest(signature: SigstoreSignature, subject: Descriptor) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the manifest that attaches a bundle to an image, and the blobs that it refers to.

    The same bundle and image give the same manifest: unlike cosign's it states no time, so that putting a bundle where
    it already is changes nothing.

    Args:
        signature: The bundle; of the media type :data:`~ocikit.image.stored_signature.BUNDLE`.
        subject: The manifest of the image.

    Returns:
        The manifest, of the image specification, and the blobs: its configuration ``{}``, and the bundle. Blobs go
        first, by their SHA-256.

    Raises:
        InvalidSignatureError: It is no bundle.
        LimitExceededError: It is larger than 4 MiB.
    """
    if signature.media_type != BUNDLE:
        raise InvalidSignatureError(
            f"a signature of the type {signature.media_type!r} is attached in another way; expected {BUNDLE}"
        )
    if len(signature.payload) > MAX_SIGNATURE_BYTES:
        raise LimitExceededError("bytes of a sigstore bundle", MAX_SIGNATURE_BYTES, len(signature.payload))
    data = Manifest(
        artifact_type=BUNDLE,
        config=_NO_CONFIG,
        layers=(Descriptor.from_content(BUNDLE, signature.payload),),
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
        annotations=_annotations(signature.payload),
    ).to_json()
    return data, (_EMPTY, signature.payload)


def bundle_of(manifest: bytes, read_blob: Callable[[Descriptor], bytes]) -> SigstoreSignature:
    """Return the bundle that a manifest attaches.

    Args:
        manifest: The bytes of the manifest, verified by whoever calls this.
        read_blob: Reads the blob of a descriptor; is asked for 4 MiB at most. What it returns is verified here.

    Raises:
        ManifestError: It is no manifest that attaches a bundle.
        LimitExceededError: It, or the bundle, is larger than 4 MiB.
        VerificationError: The blob is not the one that the manifest names.
    """
    layer = _layer_of(manifest)
    if layer.size > MAX_SIGNATURE_BYTES:
        raise LimitExceededError("bytes of a sigstore bundle", MAX_SIGNATURE_BYTES, layer.size)
    payload = read_blob(layer)
    layer.verify(payload, what="the sigstore bundle")
    return SigstoreSignature(media_type=BUNDLE, payload=payload)


def _layer_of(data: bytes) -> Descriptor:
    check_size(data, "the manifest of a sigstore bundle:")
    manifest = parse_manifest(data, guess_media_type(data))
    if not isinstance(manifest, Manifest):
        raise ManifestError(f"a sigstore bundle is attached by an image manifest, found {type(manifest).__name__}")
    stated = manifest.artifact_type or manifest.config.media_type
    if not is_bundle_type(stated):
        raise ManifestError(f"the artifact is of the type {stated!r}: expected a sigstore bundle, {BUNDLE}")
    if len(manifest.layers) != 1:
        raise ManifestError(f"an artifact with a sigstore bundle has one layer, found {len(manifest.layers)}")
    if not is_bundle_type(manifest.layers[0].media_type):
        raise ManifestError(
            f"the layer of the artifact is of the type {manifest.layers[0].media_type!r}: expected {BUNDLE}"
        )
    return manifest.layers[0]


def _annotations(payload: bytes) -> Mapping[str, str]:
    """Return what a manifest says of a bundle; one that makes no sense is carried as it is, and proves nothing."""
    bundle = _object(payload)
    if "messageSignature" in bundle:
        return {CONTENT_KEY: "message-signature"}
    envelope = bundle.get("dsseEnvelope")
    if not isinstance(envelope, dict):
        return {}
    predicate_type = _object(_decoded(envelope.get("payload"))).get("predicateType")
    if not isinstance(predicate_type, str) or not 0 < len(predicate_type) <= _LONGEST_TYPE:
        return {CONTENT_KEY: "dsse-envelope"}
    return {CONTENT_KEY: "dsse-envelope", PREDICATE_TYPE_KEY: predicate_type}


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = loads(data)
    except (ParseError, LimitExceededError):
        return {}
    return document if isinstance(document, dict) else {}


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""
