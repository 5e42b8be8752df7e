"""Signatures that tests make up: nothing in them proves anything, and every byte of them must be kept."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from builders import Store

from ocikit.image import parse_image_name
from ocikit.image.attachment_manifest import KIND
from ocikit.image.stored_signature import BUNDLE, SIGSTORE_PAYLOAD, SigstoreSignature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from builders import Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
SIMPLE = "application/vnd.ocikit.simple-signing.v1"


def payload_of(digest: str, name: str = "example.com/app:1") -> bytes:
    """Return what a sigstore signature of a manifest signs."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": critical, "optional": None}).encode()


def cosigned(digest: str, mark: str = "one", name: str = "example.com/app:1") -> bytes:
    """Return a signature of a manifest as containers/image stores what cosign makes."""
    made = base64.b64encode(mark.encode()).decode()
    return SigstoreSignature(
        media_type=SIGSTORE_PAYLOAD,
        payload=payload_of(digest, name),
        annotations={"dev.cosignproject.cosign/signature": made},
    ).to_blob()


def bundled(digest: str, mark: str = "one", predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
    """Return a bundle about a manifest."""
    statement = {"predicateType": predicate, "subject": [{"digest": {"sha256": digest.partition(":")[2]}}]}
    envelope = {"payload": base64.b64encode(json.dumps(statement).encode()).decode(), "mark": mark}
    payload = json.dumps({"mediaType": BUNDLE, "dsseEnvelope": envelope}).encode()
    return SigstoreSignature(media_type=BUNDLE, payload=payload).to_blob()


def openpgp(mark: str = "one") -> bytes:
    """Return what begins like an OpenPGP message."""
    return b"\xa3" + mark.encode()


def one_of_each(digest: str, mark: str = "one") -> tuple[bytes, ...]:
    """Return a signature of each kind."""
    return cosigned(digest, mark), bundled(digest, mark), openpgp(mark)


def signatures(name: str, instance: str | None = None) -> tuple[bytes, ...]:
    """Return the signatures of an image."""
    with parse_image_name(name).new_image_source() as source:
        return source.get_signatures(Digest(instance) if instance else None)


def sign(name: str, *blobs: bytes, instance: str | None = None) -> None:
    """Add signatures to an image that is there."""
    with parse_image_name(name).new_image_destination() as writing:
        writing.put_signatures(blobs, Digest(instance) if instance else None)
        writing.commit()


def entries(layout: Path) -> list[dict[str, Any]]:
    """Return the entries of a layout."""
    found: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return found


def attachment(store: Store, *blobs: tuple[bytes, dict[str, str]], **members: Any) -> Descriptor:
    """Make the manifest of payloads with their annotations, as cosign writes it."""
    layers = [store.blob(SIGSTORE_PAYLOAD, payload, annotations=notes) for payload, notes in blobs]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = {"architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "rootfs": rootfs, "config": {}}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": store.json("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
    }
    return store.json(media_type, document, **members)


def marked(entry: Descriptor, kind: str) -> Descriptor:
    """Return an entry with the mark of cosign."""
    return entry | {"annotations": {**entry.get("annotations", {}), KIND: f"dev.cosignproject.cosign/{kind}"}}


def relist(layout: Path, *listed: Descriptor) -> None:
    """Write index.json anew."""
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(listed)}))


def an_image(path: Path, *names: str, content: bytes = b"a") -> tuple[str, str]:
    """Write a layout with an image; return its name and the digest."""
    store = Store()
    image = store.image({"a": content})
    at = store.layout(path, dict.fromkeys(names or ("v1",), image))
    return f"oci:{at}:{(names or ('v1',))[0]}", image["digest"]


def document_at(place: Path, digest: str) -> dict[str, Any]:
    """Return a document of a layout."""
    document: dict[str, Any] = json.loads((place / "blobs" / digest.replace(":", "/")).read_bytes())
    return document
