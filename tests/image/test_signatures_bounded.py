"""What many signatures may cost whoever reads them: bytes that are held at once, and how often a blob is read."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from builders import Store
from kept_signatures import attachment, cosigned, marked, payload_of, relist, signatures

from ocikit.errors import LimitExceededError
from ocikit.image.attachment_manifest import attached_signatures
from ocikit.image.layout.store import Layout
from ocikit.image.simple_manifest import messages_of
from ocikit.image.stored_signature import parse_signature
from ocikit.spec import Descriptor, Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.types import ByteStream

MEBIBYTE = 1 << 20
SIMPLE = "application/vnd.ocikit.simple-signing.v1"


def test_a_directory_with_large_signatures(tmp_path: Path) -> None:
    """128 of 4 MiB would be half a gigabyte before the first is verified."""
    store = Store()
    path = store.directory(tmp_path / "d", store.image())
    for number in range(1, 10):
        (path / f"signature-{number}").write_bytes(b"\xa3" + bytes(4 * MEBIBYTE - 1))
    with pytest.raises(LimitExceededError, match=r"bytes of the signatures in .*limit 33,554,432"):
        signatures(f"dir:{path}")
    (path / "signature-9").unlink()
    assert len(signatures(f"dir:{path}")) == 8


def test_one_blob_in_many_layers() -> None:
    """A manifest may name a large blob 128 times, each time with other annotations: it would be read each time."""
    content = b"\xa3" + bytes(MEBIBYTE)
    layer = {"mediaType": SIMPLE, "digest": str(Digest.from_bytes(content)), "size": len(content)}
    manifest = {
        "schemaVersion": 2,
        "artifactType": SIMPLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": layer["digest"], "size": 2},
        "layers": [layer] * 33,
    }
    with pytest.raises(LimitExceededError, match="limit 33,554,432"):
        messages_of(json.dumps(manifest).encode(), lambda _: pytest.fail("read"))
    entry = Descriptor(media_type=SIMPLE, digest=Digest.from_bytes(content), size=len(content))
    with pytest.raises(LimitExceededError, match="limit 33,554,432"):
        attached_signatures([entry] * 33, lambda _: pytest.fail("read"))


def test_what_is_listed_many_times_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few megabytes, listed a thousand times with 128 layers each, took hours to look through."""
    store = Store()
    image, other = store.image({"a": b""}), store.image({"b": b""})
    notes = [(payload_of(other["digest"]), {"n": str(number)}) for number in range(50)]
    notes += [(payload_of(image["digest"]), {"dev.cosignproject.cosign/signature": "b25l"})] * 50
    saved = marked(attachment(store, *notes), "sigs")
    at = store.layout(tmp_path / "l", {"v1": image})
    image |= {"annotations": {"org.opencontainers.image.ref.name": "v1"}}
    relist(at, image, *({**saved, "annotations": saved["annotations"] | {"n": str(n)}} for n in range(50)))
    read: Counter[Digest] = Counter()
    whole = Layout.open_blob

    def counted(self: Layout, digest: Digest) -> tuple[ByteStream, int]:
        read[digest] += 1
        return whole(self, digest)

    monkeypatch.setattr(Layout, "open_blob", counted)
    assert signatures(f"oci:{at}:v1") == (cosigned(image["digest"]),)
    assert max(read.values()) <= 2


def test_lines_in_base64() -> None:
    """Lines of base64 are joined, as in every implementation; what else is in it is refused."""
    text = base64.encodebytes(b"p" * 100).decode()
    blob = b"\0sigstore-json\n" + json.dumps({"mimeType": "x", "payload": text}).encode()
    assert parse_signature(blob).to_blob() == parse_signature(blob.replace(b"\\n", b"")).to_blob()
