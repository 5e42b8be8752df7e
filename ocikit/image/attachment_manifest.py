"""The manifest that attaches cosign's signatures to an image, made and read: what ``sha256-<hex>.sig`` leads to.

It looks like the manifest of an image: each layer is what one signature signs, with the signature, and whatever else
proves it, as annotations of the layer (cosign, SIGNATURE_SPEC.md). In a layout cosign marks its entry by an annotation
``kind``. Nothing is verified here but that a layer is the blob that the manifest names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidDigestError, LimitExceededError, ManifestError, ParseError
from ocikit.image.manifest import check_size, guess_media_type, parse_manifest
from ocikit.image.stored_signature import (
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    MAX_SIGNATURES_BYTES,
    SigstoreSignature,
)
from ocikit.spec import Descriptor, Digest, DockerManifest, Manifest, mediatypes
from ocikit.spec._json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.manifest import ImageManifest

__all__ = [
    "ATTESTATIONS",
    "IMAGE",
    "IMAGE_INDEX",
    "KIND",
    "SIGNATURES",
    "Attachment",
    "attached_signatures",
    "attachment_layers",
    "attachment_of",
    "attachment_subject",
    "attachment_tag",
    "layer_identity",
    "make_attachment",
    "signed_digest",
    "signed_layer",
]

#: The annotation by which cosign tells the entries of a layout apart.
KIND: Final = "kind"
#: That of signatures,
SIGNATURES: Final = "dev.cosignproject.cosign/sigs"
#: of attestations,
ATTESTATIONS: Final = "dev.cosignproject.cosign/atts"
#: of the image that they are about,
IMAGE: Final = "dev.cosignproject.cosign/image"
#: and of the index that they are about.
IMAGE_INDEX: Final = "dev.cosignproject.cosign/imageIndex"

# What cosign attaches in this way: signatures, attestations, bills of materials.
_TAG: Final = re.compile(r"(sha256|sha512)-([0-9a-f]+)\.(sig|att|sbom)")
_SUFFIX: Final = "sig"
# A time that is none: an attachment is the same whenever it is made.
_NEVER: Final = "0001-01-01T00:00:00Z"


def attachment_tag(digest: Digest) -> str:
    """Return the tag, or the name in a layout, of the signatures of a manifest.

    Args:
        digest: The digest of the manifest.
    """
    return f"{digest.algorithm}-{digest.hex}.{_SUFFIX}"


def attachment_subject(tag: str) -> Digest | None:
    """Return the digest of the manifest that a tag says something about; None when it is no such tag.

    Args:
        tag: The tag, or the name in a layout: ``sha256-<hex>.sig``, and likewise ``.att`` (attestations) and ``.sbom``.
    """
    found = _TAG.fullmatch(tag)
    try:
        return Digest(f"{found[1]}:{found[2]}") if found is not None else None
    except InvalidDigestError:
        return None


def attachment_of(tag: str) -> Digest | None:
    """Return the digest of the manifest whose signatures a tag leads to; None when it leads to something else.

    Args:
        tag: The tag, or the name in a layout.
    """
    return attachment_subject(tag) if tag.endswith(f".{_SUFFIX}") else None


@frozen(kw_only=True)
class Attachment:
    """The manifest of attached signatures, and what it refers to.

    Attributes:
        manifest: Its bytes, of the image specification.
        blobs: What is not known to be there: the configuration, and what the signatures that were added sign.
    """

    manifest: bytes
    blobs: tuple[bytes, ...]


def signed_layer(signature: SigstoreSignature) -> Descriptor:
    """Return the layer that a signature becomes.

    Args:
        signature: The signature.
    """
    plain = Descriptor.from_content(signature.media_type, signature.payload)
    return evolve(plain, annotations=dict(signature.annotations))


def make_attachment(signatures: Iterable[SigstoreSignature], existing: Iterable[Descriptor] = ()) -> Attachment:
    """Return the manifest that attaches signatures; the same for the same signatures.

    Args:
        signatures: The signatures.
        existing: The layers of the manifests that were there: they stay, and what is among them is not added again.

    Raises:
        LimitExceededError: There would be more than 128 signatures, or more than 4 MiB of manifest.
    """
    layers: dict[tuple[object, ...], Descriptor] = {}
    for layer in existing:
        layers.setdefault(layer_identity(layer), layer)
    payloads: dict[Digest, bytes] = {}
    for signature in signatures:
        layer = signed_layer(signature)
        if layers.setdefault(layer_identity(layer), layer) is layer:
            payloads[layer.digest] = signature.payload
    if len(layers) > MAX_SIGNATURES:
        raise LimitExceededError("signatures that are attached to one manifest", MAX_SIGNATURES, len(layers))
    config = _config([layer.digest for layer in layers.values()])
    manifest = Manifest(
        config=Descriptor.from_content(mediatypes.IMAGE_CONFIG, config), layers=tuple(layers.values())
    ).to_json()
    check_size(manifest, "the manifest of attached signatures:")
    return Attachment(manifest=manifest, blobs=(config, *payloads.values()))


def layer_identity(layer: Descriptor) -> tuple[object, ...]:
    """Return what tells one attached signature from another.

    Args:
        layer: The layer that it is.
    """
    return layer.media_type, layer.digest, tuple(sorted(layer.annotations.items()))


def _config(diff_ids: list[Digest]) -> bytes:
    # Registries ask for one; cosign writes it as for an image, with a line of the history for each layer.
    document = {
        "architecture": "",
        "config": {},
        "created": _NEVER,
        "history": [{"created": _NEVER} for _ in diff_ids],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in diff_ids]},
    }
    return dumps(document)


def attachment_layers(manifest: bytes) -> tuple[Descriptor, ...]:
    """Return the layers of a manifest that attaches signatures.

    Args:
        manifest: Its bytes, verified by whoever calls this.

    Raises:
        ManifestError: It is malformed, or an index.
        LimitExceededError: It has more than 128 layers, or is larger than 4 MiB.
    """
    parsed = parse_manifest(manifest, guess_media_type(manifest))
    if not isinstance(parsed, Manifest | DockerManifest):
        raise ManifestError("signatures are attached by the manifest of an image, found a list of manifests")
    return _bounded(parsed)


def _bounded(manifest: ImageManifest) -> tuple[Descriptor, ...]:
    if len(manifest.layers) > MAX_SIGNATURES:
        raise LimitExceededError("signatures that are attached to one manifest", MAX_SIGNATURES, len(manifest.layers))
    return manifest.layers


def attached_signatures(
    layers: Iterable[Descriptor], read_blob: Callable[[Descriptor], bytes]
) -> tuple[SigstoreSignature, ...]:
    """Return the signatures that a manifest attaches.

    Args:
        layers: The layers of the manifest: :func:`attachment_layers`.
        read_blob: Reads the blob of a descriptor; is asked for 4 MiB at most. What it returns is verified here.

    Raises:
        LimitExceededError: A layer is larger than 4 MiB, or all of them than 32 MiB.
        VerificationError: A blob is not the one that the manifest names.
    """
    layers = tuple(layers)
    # One blob may be named by every layer: what is read has to be counted, not what is stored.
    size = sum(layer.size for layer in layers)
    if size > MAX_SIGNATURES_BYTES:
        raise LimitExceededError(
            "bytes of the signatures that are attached to one manifest", MAX_SIGNATURES_BYTES, size
        )
    return tuple(
        SigstoreSignature(
            media_type=layer.media_type, payload=_read(layer, read_blob), annotations=dict(layer.annotations)
        )
        for layer in layers
    )


def _read(layer: Descriptor, read_blob: Callable[[Descriptor], bytes]) -> bytes:
    embedded = layer.embedded_content()
    if embedded is not None:
        return embedded
    if layer.size > MAX_SIGNATURE_BYTES:
        raise LimitExceededError("bytes of what an attached signature signs", MAX_SIGNATURE_BYTES, layer.size)
    data = read_blob(layer)
    layer.verify(data, what="what an attached signature signs")
    return data


def signed_digest(payload: bytes) -> Digest | None:
    """Return the digest of the manifest that a payload claims to be about; **not verified**, only to look it up.

    Args:
        payload: What a signature signs (containers-signature(5)).

    Returns:
        The digest; None when it names none.
    """
    try:
        value: object = loads(payload)
        for key in ("critical", "image", "docker-manifest-digest"):
            value = value.get(key) if isinstance(value, dict) else None
        return Digest(value) if isinstance(value, str) else None
    except (ParseError, LimitExceededError, InvalidDigestError):
        return None
