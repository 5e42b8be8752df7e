"""What is kept beside an image in a registry: signatures, and manifests that refer to it.

Signatures are files in a store beside it (*lookaside*), or manifests in the repository where registries.d says
``use-sigstore-attachments``: one under a tag of its own, as cosign 2 has it, and bundles that refer to the image.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import ImageNotFoundError, LimitExceededError, NotSupportedError, OCIKitError
from ocikit.image import lookaside, registries_d
from ocikit.image.attachment_manifest import (
    attached_signatures,
    attachment_layers,
    attachment_tag,
    layer_identity,
    make_attachment,
    signed_layer,
)
from ocikit.image.bundle_manifest import PREDICATE_TYPE_KEY, bundle_manifest, bundle_of, may_attach_bundle
from ocikit.image.docker.blobs import blob_size, open_blob
from ocikit.image.docker.kept_lists import change_list
from ocikit.image.docker.lists import fallback_tag, index_kept_by_clients, list_referrers
from ocikit.image.docker.manifests import get_manifest, put_manifest
from ocikit.image.docker.uploads import upload_blob
from ocikit.image.layout.blobs import read_document
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.stored_signature import (
    BUNDLE,
    MAX_SIGNATURES,
    MAX_SIGNATURES_BYTES,
    SigstoreSignature,
    SimpleSignature,
    parse_signature,
)
from ocikit.image.subject import MAX_REFERRERS, require_referrer
from ocikit.image.types import BlobInfo
from ocikit.spec import Digest, Index, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocikit.image.docker.client import RegistryClient
    from ocikit.image.reference import Named
    from ocikit.image.types import SystemContext
    from ocikit.spec import Descriptor

# What a bundle is about that signs an image, rather than states something else of it (cosign, BUNDLE_SPEC.md).
_SIGNS: Final = "https://sigstore.dev/cosign/sign/v1"

__all__ = ["put_referrer", "read_signatures", "write_signatures"]


def read_signatures(
    client: RegistryClient, named: Named, digest: Digest, sys: SystemContext | None
) -> tuple[bytes, ...]:
    """Return the signatures of a manifest, from all places where they are kept; not verified.

    Args:
        client: Where the image is.
        named: What it is called, which says where its signatures are.
        digest: The digest of the manifest.
        sys: The circumstances.

    Raises:
        RegistryError: The registry refuses, or cannot be reached.
        OCIKitError: As :func:`ocikit.image.lookaside.read_signatures`, or something is not what it is claimed to be.
    """
    found = list(lookaside.read_signatures(named, digest, sys))
    if registries_d.use_sigstore_attachments(named, sys):
        found += _attached(client, digest)
        found += _bundles(client, digest)
    return tuple(dict.fromkeys(found))


def write_signatures(
    client: RegistryClient, named: Named, subject: Descriptor, blobs: Iterable[bytes], sys: SystemContext | None
) -> None:
    """Add signatures of a manifest to those that are there.

    Args:
        client: Where the image goes.
        named: What it is called, which says where its signatures are kept.
        subject: The manifest.
        blobs: The signatures.
        sys: The circumstances.

    Raises:
        NotSupportedError: There are signatures of sigstore, and registries.d does not say that they may be attached.
        RegistryError: The registry refuses, or cannot be reached.
        OCIKitError: As :func:`ocikit.image.lookaside.write_signatures`.
    """
    parsed = [parse_signature(blob) for blob in blobs]
    simple = [one.to_blob() for one in parsed if isinstance(one, SimpleSignature)]
    attached = [one for one in parsed if isinstance(one, SigstoreSignature) and one.media_type != BUNDLE]
    bundles = [one for one in parsed if isinstance(one, SigstoreSignature) and one.media_type == BUNDLE]
    if (attached or bundles) and not registries_d.use_sigstore_attachments(named, sys):
        raise NotSupportedError(
            f"{named}: signatures of sigstore are attached to images of {named.name} only where registries.d says "
            "use-sigstore-attachments: true"
        )
    if simple:
        there = lookaside.read_signatures(named, subject.digest, sys)
        lookaside.write_signatures(named, subject.digest, tuple(dict.fromkeys((*there, *simple))), sys)
    if attached:
        _attach(client, subject.digest, attached)
    for bundle in bundles:
        manifest, contents = bundle_manifest(bundle, subject)
        _put_blobs(client, contents)
        put_referrer(client, manifest)


def put_referrer(client: RegistryClient, manifest: bytes) -> None:
    """Store a manifest that refers to another one; where the registry keeps no list of those, keep the list.

    Args:
        client: The repository.
        manifest: The bytes.

    Raises:
        ManifestError: It refers to nothing, or is malformed.
        RegistryError: The registry refuses, or cannot be reached.
    """
    subject, described = require_referrer(manifest, f"manifest for {client.endpoint}")
    answer = put_manifest(client, str(described.digest), manifest, described.media_type)
    if not answer.headers.get("OCI-Subject"):
        _list_it(client, subject, described)


def _list_it(client: RegistryClient, subject: Digest, described: Descriptor) -> None:
    """Add a referrer to the list in a tag (distribution-spec 1.1, "Unavailable Referrers API")."""
    tag = fallback_tag(subject)

    def is_there() -> bool:
        return any(one.digest == described.digest for one in list_referrers(client, subject))

    def add() -> None:
        kept = index_kept_by_clients(client, subject) or Index(media_type=mediatypes.IMAGE_INDEX, manifests=())
        index = evolve(kept, manifests=(*kept.manifests, described))
        put_manifest(client, tag, index.to_json(), mediatypes.IMAGE_INDEX)

    change_list(f"{tag} of {client.endpoint}", is_there, add)


def _attached(client: RegistryClient, digest: Digest) -> Iterator[bytes]:
    try:
        served = get_manifest(client, attachment_tag(digest))
    except ImageNotFoundError:
        return
    layers = attachment_layers(served.data)
    for signature in attached_signatures(layers, lambda layer: _blob(client, layer)):
        yield signature.to_blob()


def _bundles(client: RegistryClient, digest: Digest) -> Iterator[bytes]:
    """Yield the bundles that sign a manifest; what else is said of it, such as how it was built, is no signature."""
    listed = (entry for entry in list_referrers(client, digest) if may_attach_bundle(entry.artifact_type or ""))
    entries = {entry.digest: entry for entry in listed}
    if len(entries) > MAX_REFERRERS:
        raise LimitExceededError(f"referrers of {digest} that may be signatures", MAX_REFERRERS, len(entries))
    count = size = 0
    for entry in entries.values():
        try:
            data = get_manifest(client, str(entry.digest)).data
        except ImageNotFoundError:
            continue  # deleted, while the list is one that clients keep
        entry.verify(data, what=f"manifest {entry.digest} of {client.endpoint}")
        bundle = _signing_bundle(client, data)
        count += bundle is not None
        size += len(data) + (len(bundle) if bundle is not None else 0)
        if count > MAX_SIGNATURES or size > MAX_SIGNATURES_BYTES:
            raise LimitExceededError(
                f"signatures of {digest}, at most {MAX_SIGNATURES} and their bytes", MAX_SIGNATURES_BYTES
            )
        if bundle is not None:
            yield bundle


def _signing_bundle(client: RegistryClient, manifest: bytes) -> bytes | None:
    try:
        parsed = parse_manifest(manifest, guess_media_type(manifest))
        if not isinstance(parsed, Manifest) or parsed.annotations.get(PREDICATE_TYPE_KEY, _SIGNS) != _SIGNS:
            return None
        return bundle_of(manifest, lambda layer: _blob(client, layer)).to_blob()
    except OCIKitError:
        return None  # something else that refers to the image


def _attach(client: RegistryClient, digest: Digest, signatures: Sequence[SigstoreSignature]) -> None:
    tag = attachment_tag(digest)
    wanted = {layer_identity(signed_layer(signature)) for signature in signatures}

    def existing() -> tuple[Descriptor, ...]:
        try:
            return attachment_layers(get_manifest(client, tag).data)
        except ImageNotFoundError:
            return ()

    def is_there() -> bool:
        return wanted <= {layer_identity(layer) for layer in existing()}

    def add() -> None:
        made = make_attachment(signatures, existing())
        _put_blobs(client, made.blobs)
        put_manifest(client, tag, made.manifest, mediatypes.IMAGE_MANIFEST)

    change_list(f"{tag} of {client.endpoint}", is_there, add)


def _blob(client: RegistryClient, layer: Descriptor) -> bytes:
    stream, _ = open_blob(client, layer.digest, layer.size)
    with stream:
        return read_document(stream, f"blob {layer.digest} of {client.endpoint}")  # a stream gives what has arrived


def _put_blobs(client: RegistryClient, contents: Iterable[bytes]) -> None:
    for content in contents:
        digest = Digest.from_bytes(content)
        if blob_size(client, digest) is None:
            upload_blob(client, io.BytesIO(content), BlobInfo(digest=digest, size=len(content)))
