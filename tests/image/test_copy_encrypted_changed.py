"""Encrypted images in which something was changed: each change is found, for its own reason, and nothing is visible."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, manifest_at, names_in, pack
from copies import ANY, ZSTD, blob, manifest_of
from recipients import ENC, certificate, decrypting, encrypting, private_pem, public_pem

from ocikit.errors import DigestMismatchError, EncryptionError, SizeMismatchError
from ocikit.image import copy
from ocikit.image.encryption import DecryptConfig, EncryptConfig, LayerOptions, unwrap_options, wrap_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[dict[str, Any], Path], None]

JWE, PUBLIC = f"{ENC}keys.jwe", f"{ENC}pubopts"
RSA = DecryptConfig.from_private_key(private_pem("rsa"))
EC = DecryptConfig.from_private_key(private_pem("P-256"))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a layout with an image of one encrypted layer, for a key for RSA."""
    place = tmp_path_factory.mktemp("sealed")
    store = Store()
    layout = store.layout(place / "in", {"x": store.image({"a": b"a" * 5000}, platform=False)})
    config = EncryptConfig.from_public_key(public_pem("rsa")).combined(
        EncryptConfig.from_certificate(certificate("rsa"))
    )
    options = copy.CopyOptions(oci_encrypt_config=config, oci_encrypt_layers=())
    copy.image(ANY, dest=f"oci:{place}/out:x", src=f"oci:{layout}:x", options=options)
    return place / "out"


def _changed_blob(data: bytes) -> Change:
    def change(layer: dict[str, Any], layout: Path) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        (layout / "blobs" / digest.replace(":", "/")).write_bytes(data)
        layer |= {"digest": digest, "size": len(data)}

    return change


def _flipped(layer: dict[str, Any], layout: Path) -> None:
    data = bytearray(blob(layout, layer["digest"]))
    data[len(data) // 2] ^= 1
    _changed_blob(bytes(data))(layer, layout)


def _truncated(layer: dict[str, Any], layout: Path) -> None:
    _changed_blob(blob(layout, layer["digest"])[:-3])(layer, layout)


def _emptied(layer: dict[str, Any], layout: Path) -> None:
    _changed_blob(b"")(layer, layout)


def _damaged_on_disk(layer: dict[str, Any], layout: Path) -> None:
    file = layout / "blobs" / layer["digest"].replace(":", "/")
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)


def _cut_on_disk(layer: dict[str, Any], layout: Path) -> None:
    file = layout / "blobs" / layer["digest"].replace(":", "/")
    file.write_bytes(file.read_bytes()[:-1])


def _annotated(**changes: Any) -> Change:
    """Return what sets annotations, or leaves them out: ``jwe`` and ``pkcs7`` for wrapped keys, ``pubopts``."""

    def change(layer: dict[str, Any], layout: Path) -> None:
        del layout
        for name, value in changes.items():
            key = PUBLIC if name == "pubopts" else f"{ENC}keys.{name}"
            layer["annotations"].pop(key, None)
            if value is not None:
                layer["annotations"][key] = value

    return change


def _public(**changes: Any) -> Change:
    def change(layer: dict[str, Any], layout: Path) -> None:
        del layout
        document = json.loads(base64.b64decode(layer["annotations"][PUBLIC])) | changes
        layer["annotations"][PUBLIC] = base64.b64encode(json.dumps(document).encode()).decode()

    return change


def _jwe(**changes: str) -> Change:
    def change(layer: dict[str, Any], layout: Path) -> None:
        document = json.loads(base64.b64decode(layer["annotations"][JWE])) | changes
        text = base64.b64encode(json.dumps(document).encode()).decode()
        _annotated(jwe=text, pkcs7=None)(layer, layout)

    return change


def _another_layer(layer: dict[str, Any], layout: Path) -> None:
    """Encrypt something else for the same key: everybody knows it."""
    store = Store()
    other = store.layout(layout.parent / "other", {"x": store.image({"evil": b"evil"}, platform=False)})
    copy.image(ANY, dest=f"oci:{layout}:other", src=f"oci:{other}:x", options=encrypting())
    layer |= manifest_of(layout, "other")["layers"][0]


def _two_nonces(layer: dict[str, Any], layout: Path) -> None:
    _public(cipheroptions={"nonce": base64.b64encode(bytes(16)).decode()})(layer, layout)


def _garbled_nonce(layer: dict[str, Any], layout: Path) -> None:
    """Wrap another nonce with the right key and HMAC: what is decrypted is noise, and nothing but its use shows it."""
    options = unwrap_options(RSA, layer["annotations"])
    other = LayerOptions(symmetric_key=options.symmetric_key, nonce=bytes(16), hmac=options.hmac)
    config = EncryptConfig.from_public_key(public_pem("rsa"))
    kept = {key: value for key, value in layer["annotations"].items() if not key.startswith(ENC)}
    layer["annotations"] = wrap_options(config, other, kept)
    del layout


HMAC = base64.b64encode(bytes(32)).decode()
CHANGES: dict[str, tuple[Change, type[Exception], str]] = {
    "damaged on disk": (_damaged_on_disk, DigestMismatchError, r"layer sha256:.*expected digest"),
    "cut on disk": (_cut_on_disk, SizeMismatchError, "bytes"),
    "bit flipped": (_flipped, EncryptionError, "expected the HMAC-SHA-256"),
    "truncated": (_truncated, EncryptionError, "expected the HMAC-SHA-256"),
    "emptied": (_emptied, EncryptionError, "expected the HMAC-SHA-256"),
    "another HMAC": (_public(hmac=HMAC), EncryptionError, "expected the HMAC-SHA-256 0000"),
    "no HMAC": (_public(hmac=""), EncryptionError, "hmac: expected 32 bytes, found 0"),
    "HMAC is null": (_public(hmac=None), EncryptionError, "hmac: expected base64.*found null"),
    "half an HMAC": (_public(hmac=HMAC[:20]), EncryptionError, "hmac: expected 32 bytes, found 15"),
    "another cipher": (_public(cipher="ROT13"), EncryptionError, "expected the cipher AES_256_CTR.*'ROT13'"),
    "no cipher": (_public(cipher=None), EncryptionError, "expected the cipher AES_256_CTR.*null"),
    "two nonces": (_two_nonces, EncryptionError, "expected one nonce in the options, found 2"),
    "options are a list": (_public(cipheroptions=[]), EncryptionError, "cipheroptions: expected an object"),
    "no public options": (_annotated(pubopts=None), EncryptionError, "the annotation .*pubopts is missing"),
    "public options are text": (_annotated(pubopts="%%"), EncryptionError, "pubopts: expected base64"),
    "public options are no JSON": (_annotated(pubopts="YQ=="), EncryptionError, "the public options: .*not JSON"),
    "no wrapped key": (_annotated(jwe=None, pkcs7=None), EncryptionError, "wrapped by jwe or pkcs7, found none"),
    "only pgp": (_annotated(jwe=None, pkcs7=None, pgp="YQ=="), EncryptionError, "jwe or pkcs7, found pgp"),
    "wrapped key is text": (_annotated(jwe="%", pkcs7=None), EncryptionError, "keys.jwe: expected base64"),
    "wrapped key is nothing": (_annotated(jwe="YQ==", pkcs7=None), EncryptionError, "expected an object, or five"),
    "PKCS #7 is nothing": (_annotated(jwe=None, pkcs7="YQ=="), EncryptionError, "PKCS #7: "),
    "many wrapped keys": (_annotated(jwe="YQ==," * 300 + "YQ=="), EncryptionError, "more than 256 wrapped keys"),
    "tag of the JWE": (_jwe(tag="AAAAAAAAAAAAAAAAAAAAAA"), EncryptionError, "the tag does not fit"),
    "short tag of the JWE": (_jwe(tag="AAAA"), EncryptionError, "tag: expected 16 bytes, found 3"),
    "key in the JWE": (_jwe(encrypted_key="AAAA"), EncryptionError, "is for another key"),
    "another layer": (_another_layer, DigestMismatchError, "diffID of layer"),
    "another nonce": (_garbled_nonce, DigestMismatchError, "diffID of layer"),
}


def edited(layout: Path, into: Path, change: Change) -> Path:
    """Copy a layout, and change the one layer of its image."""
    shutil.copytree(layout, into)
    digest = manifest_at(into, "x")
    manifest = json.loads(blob(into, digest))
    change(manifest["layers"][0], into)
    data = json.dumps(manifest).encode()
    new = hashlib.sha256(data).hexdigest()
    (into / "blobs/sha256" / new).write_bytes(data)
    index = json.loads((into / "index.json").read_bytes())
    for entry in index["manifests"]:
        if entry["digest"] == digest:
            entry |= {"digest": f"sha256:{new}", "size": len(data)}
    (into / "index.json").write_text(json.dumps(index))
    return into


@pytest.mark.parametrize("compression", ["kept", "zstd"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed(sealed: Path, tmp_path: Path, name: str, compression: str) -> None:
    """Every change is found for its own reason, recompressed on the way or not, and nothing becomes visible."""
    change, kind, reason = CHANGES[name]
    layout = edited(sealed, tmp_path / "in", change)
    options = decrypting(destination_ctx=ZSTD if compression == "zstd" else None)
    with pytest.raises(kind, match=reason):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert names_in(tmp_path / "out") == []
    assert threading.active_count() == 1


def test_what_was_changed_is_no_archive(sealed: Path, tmp_path: Path) -> None:
    """An archive that would hold such a layer is not there, not even in part, and an old one stays."""
    layout = edited(sealed, tmp_path / "in", _flipped)
    archive = pack(layout, tmp_path / "old.tar")
    before = archive.read_bytes()
    for name in ("old.tar", "new.tar"):
        with pytest.raises(EncryptionError, match="HMAC"):
            copy.image(ANY, dest=f"oci-archive:{tmp_path}/{name}:x", src=f"oci:{layout}:x", options=decrypting())
    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "old.tar"]


def test_keys_that_do_not_fit(sealed: Path, tmp_path: Path) -> None:
    """Every key is named with what is wrong about it, before anything is written; a plan says the same."""
    both = DecryptConfig.from_private_key(private_pem("rsa/2"))
    other = both.combined(DecryptConfig.from_certificate(certificate("rsa/2")))
    rows = {
        r"JWE: RSA-OAEP: is for another key.*PKCS #7: is for another key": both,
        r"none of the 1 recipients has the certificate of private key": other,
        r"JWE: RSA-OAEP is for a key of another kind.*no private key for RSA": EC,
        r"JWE: no private key is given": DecryptConfig(),
    }
    for reason, config in rows.items():
        for call in (copy.plan, copy.image):
            with pytest.raises(EncryptionError, match=rf"layer 0: none of the keys decrypts it: .*{reason}"):
                call(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{sealed}:x", options=decrypting(config))
    assert names_in(tmp_path / "out") == []
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{sealed}:x", options=decrypting(other.combined(RSA)))
