"""Signatures in layouts that are not what they should be: refused with the reason, and in the way of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, OCI_MANIFEST, Store, digest_of
from kept_signatures import (
    an_image,
    attachment,
    cosigned,
    document_at,
    entries,
    marked,
    one_of_each,
    openpgp,
    payload_of,
    relist,
    sign,
    signatures,
)

from ocikit.errors import (
    DigestMismatchError,
    InvalidSignatureError,
    LimitExceededError,
    ManifestError,
    OCIKitError,
)
from ocikit.image import Policy, copy, delete
from ocikit.image.layout.store import Layout
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.spec import Digest

ANY = Policy.insecure_accept_anything()


def signed_layer(tmp_path: Path, **changes: Any) -> str:
    """Return an image whose attachment is not as it should be."""
    store = Store()
    image = store.image()
    layer = store.blob(SIGSTORE_PAYLOAD, payload_of(image["digest"]), annotations={"a": "b"}) | changes
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.blob(OCI_CONFIG, b"{}"),
        "layers": [layer],
    }
    tag = f"{image['digest'].replace(':', '-')}.sig"
    return f"oci:{store.layout(tmp_path / 'l', {'v1': image, tag: store.json(OCI_MANIFEST, document)})}:v1"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 5 << 20}, LimitExceededError, "bytes of what an attached signature signs"),
        ({"size": 7}, OCIKitError, "expected 7 bytes, found"),
        ({"annotations": {"a": 1}}, ManifestError, "annotations"),
        ({"digest": "sha256:short"}, ManifestError, "digest"),
        ({"data": "e30="}, OCIKitError, "embedded"),
    ],
)
def test_damaged_attachments(tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    """What is not what it is listed as is an error that says so; the image can be copied without."""
    name = signed_layer(tmp_path, **changes)
    with pytest.raises(error, match=message):
        signatures(name)
    copy.image(ANY, dest=f"dir:{tmp_path}/d", src=name, options=copy.CopyOptions(remove_signatures=True))


def test_a_payload_that_was_changed(tmp_path: Path) -> None:
    """Every blob is held against its digest."""
    name, digest = an_image(tmp_path / "l")
    for blob in one_of_each(digest):
        sign(name, blob)
        entry = entries(tmp_path / "l")[-1]
        layer = document_at(tmp_path / "l", entry["digest"])["layers"][0]
        file = tmp_path / "l" / "blobs" / layer["digest"].replace(":", "/")
        good = file.read_bytes()
        file.write_bytes(good[:-1] + b"!")
        with pytest.raises(DigestMismatchError):
            signatures(name)
        file.unlink()
        assert blob not in signatures(name)
        file.write_bytes(good)
        assert blob in signatures(name)


@pytest.mark.parametrize(
    ("blobs", "error", "message"),
    [
        ((b"\x01plain",), InvalidSignatureError, "signature 1 of oci"),
        ((openpgp(), b""), InvalidSignatureError, "signature 2 of oci.*empty"),
        ((SigstoreSignature(media_type="no type", payload=b"").to_blob(),), InvalidSignatureError, "'no type' is none"),
        (tuple(openpgp(str(number)) for number in range(129)), LimitExceededError, "limit 128"),
        ((b"\xa3" + bytes(4 << 20),), LimitExceededError, "bytes of a signature"),
    ],
)
def test_what_is_no_signature(tmp_path: Path, blobs: tuple[bytes, ...], error: type[Exception], message: str) -> None:
    """What could not be told from what it is not is refused before anything is written."""
    name, digest = an_image(tmp_path / "l")
    with pytest.raises(error, match=message):
        sign(name, *blobs)
    assert [one["digest"] for one in entries(tmp_path / "l")] == [digest]


def test_too_many(tmp_path: Path) -> None:
    """128 are kept, the next one is refused and harms nothing; a layout with more of them is not believed."""
    name, digest = an_image(tmp_path / "l")
    sign(name, *(openpgp(str(number)) for number in range(100)))
    sign(name, *(cosigned(digest, str(number)) for number in range(28)))
    for blob in one_of_each(digest, "more"):
        with pytest.raises(LimitExceededError, match="limit 128, found 129"):
            sign(name, blob)
    assert len(signatures(name)) == 128
    store = Store()
    image = store.image()
    notes = [(payload_of(image["digest"]), {"n": str(number)}) for number in range(129)]
    tag = f"{image['digest'].replace(':', '-')}.sig"
    at = store.layout(tmp_path / "m", {"v1": image, tag: attachment(store, *notes)})
    with pytest.raises(LimitExceededError, match="limit 128, found 129"):
        signatures(f"oci:{at}:v1")


def test_what_is_not_about_it(tmp_path: Path) -> None:
    """An index of that name, names that are none, damaged manifests of others: nothing of it is in the way."""
    store = Store()
    image = store.image()
    tag = f"{image['digest'].replace(':', '-')}.sig"
    broken = store.json(OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": 7})
    names = {"v1": image, tag: store.index(image), "sha256-ff.sig": image, "": broken, "sha512-00.sig": broken}
    at = store.layout(tmp_path / "l", names)
    assert signatures(f"oci:{at}:v1") == ()
    (at / "blobs" / broken["digest"].replace(":", "/")).write_bytes(b"{}")
    assert signatures(f"oci:{at}:v1") == ()
    sign(f"oci:{at}:v1", openpgp())
    assert signatures(f"oci:{at}:v1") == (openpgp(),)


def test_a_payload_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests without a name that all lead to one payload do not have it read again and again."""
    store = Store()
    image = store.image()
    payload = payload_of(digest_of(b"something else"))
    several = [
        attachment(store, *((payload, {"number": f"{number} {layer}"}) for layer in range(20))) for number in range(5)
    ]
    at = store.layout(tmp_path / "l", {"v1": image})
    relist(at, *entries(at), *(marked(one, "sigs") for one in several))
    opened: list[str] = []
    really = Layout.open_blob

    def counted(layout: Layout, digest: Digest) -> Any:
        opened.append(digest)
        return really(layout, digest)

    monkeypatch.setattr(Layout, "open_blob", counted)
    assert signatures(f"oci:{at}:v1") == ()
    assert opened.count(digest_of(payload)) == 1
    opened.clear()
    delete(f"oci:{at}:v1")
    # Once to look what it is about, and perhaps once to see whether something else needs it.
    assert opened.count(digest_of(payload)) <= 5
