"""The manifest that attaches OpenPGP messages to an image, made and read: a form of ours, as nobody else has one.

An artifact of the image specification (manifest.md) of the type ``application/vnd.ocikit.simple-signing.v1``: the image
is its ``subject``, each layer is one message as lookaside stores keep it. Nothing is verified here but that a layer is
the blob that the manifest names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import LimitExceededError, ManifestError
from ocikit.image.manifest import check_size, guess_media_type, parse_manifest
from ocikit.image.stored_signature import (
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    MAX_SIGNATURES_BYTES,
    SimpleSignature,
)
from ocikit.spec import DESCRIPTOR_EMPTY_JSON, Descriptor, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["SIMPLE_SIGNING", "message_layers", "messages_of", "simple_manifest"]

#: The type of the artifact, and of its layers.
SIMPLE_SIGNING: Final = "application/vnd.ocikit.simple-signing.v1"

# ``{}``, but not embedded: who looks for a blob finds one.
_NO_CONFIG: Final = evolve(DESCRIPTOR_EMPTY_JSON, data=None)


def simple_manifest(signatures: Iterable[SimpleSignature], subject: Descriptor) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the manifest that attaches OpenPGP messages, and the blobs that it refers to; the same for the same ones.

    Args:
        signatures: The messages.
        subject: The manifest of the image.

    Raises:
        LimitExceededError: There are more than 128, or one is larger than 4 MiB.
    """
    messages = tuple(one.message for one in signatures)
    if len(messages) > MAX_SIGNATURES:
        raise LimitExceededError("signatures of one manifest", MAX_SIGNATURES, len(messages))
    for message in messages:
        if len(message) > MAX_SIGNATURE_BYTES:
            raise LimitExceededError("bytes of a signature", MAX_SIGNATURE_BYTES, len(message))
    data = Manifest(
        artifact_type=SIMPLE_SIGNING,
        config=_NO_CONFIG,
        layers=tuple(Descriptor.from_content(SIMPLE_SIGNING, message) for message in messages),
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
    ).to_json()
    return data, (b"{}", *messages)


def message_layers(manifest: bytes) -> tuple[Descriptor, ...]:
    """Return the layers that are OpenPGP messages.

    Args:
        manifest: The bytes of the manifest, verified by whoever calls this.

    Raises:
        ManifestError: It is no manifest that attaches messages.
        LimitExceededError: There are more than 128, or it is larger than 4 MiB.
    """
    check_size(manifest, "the manifest of signatures:")
    parsed = parse_manifest(manifest, guess_media_type(manifest))
    if not isinstance(parsed, Manifest) or parsed.artifact_type != SIMPLE_SIGNING:
        raise ManifestError(f"expected an artifact of the type {SIMPLE_SIGNING}, found something else")
    if len(parsed.layers) > MAX_SIGNATURES:
        raise LimitExceededError("signatures of one manifest", MAX_SIGNATURES, len(parsed.layers))
    return tuple(layer for layer in parsed.layers if layer.media_type == SIMPLE_SIGNING)


def messages_of(manifest: bytes, read_blob: Callable[[Descriptor], bytes]) -> tuple[SimpleSignature, ...]:
    """Return the OpenPGP messages that a manifest attaches.

    Args:
        manifest: The bytes of the manifest, verified by whoever calls this.
        read_blob: Reads the blob of a descriptor; is asked for 4 MiB at most. What it returns is verified here.

    Raises:
        ManifestError: It is no manifest that attaches messages.
        LimitExceededError: There are more than 128, one is larger than 4 MiB, or all of them than 32 MiB.
        VerificationError: A blob is not the one that the manifest names.
    """
    found = []
    layers = message_layers(manifest)
    size = sum(layer.size for layer in layers)  # as it is read: one blob may be named by every layer
    if size > MAX_SIGNATURES_BYTES:
        raise LimitExceededError("bytes of the signatures of one manifest", MAX_SIGNATURES_BYTES, size)
    for layer in layers:
        if layer.size > MAX_SIGNATURE_BYTES:
            raise LimitExceededError("bytes of a signature", MAX_SIGNATURE_BYTES, layer.size)
        message = read_blob(layer)
        layer.verify(message, what="the signature")
        found.append(SimpleSignature(message=message))
    return tuple(found)
