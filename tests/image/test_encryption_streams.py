"""The bytes of encrypted layers: the cipher of ocicrypt, in any pieces, in memory that does not grow with the layer."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from builders import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, config_of, digest_of, tar_of
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from recipients import private_pem, public_pem

from ocikit.errors import EncryptionError
from ocikit.image.encryption import DecryptedStream, EncryptedStream, LayerOptions
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image import ByteStream

KEY, NONCE = bytes(range(32)), bytes([*[255] * 15, 254])


def read_all(stream: ByteStream, sizes: list[int]) -> bytes:
    """Read a stream to its end, in pieces of these sizes, over and over."""
    made, number = b"", 0
    while data := stream.read(sizes[number % len(sizes)]):
        made += data
        number += 1
    return made


def test_the_cipher_is_that_of_nist() -> None:
    """NIST SP 800-38A, F.5.5: counter mode with a key of 256 bits, the counter a whole block."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    encrypted = bytes.fromhex("601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5")
    options = LayerOptions(
        symmetric_key=key,
        nonce=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
        hmac=hmac.new(key, encrypted, "sha256").digest(),
    )
    with DecryptedStream(io.BytesIO(encrypted), options) as stream:
        assert read_all(stream, [7]).hex() == "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"


@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_there_and_back(data: bytes, sizes: list[int]) -> None:
    """Read in any pieces it is AES in counter mode, also over the end of the counter, and the HMAC is over that."""
    with EncryptedStream(io.BytesIO(data)) as stream:
        encrypted = read_all(stream, sizes)
        options = stream.options()
    cipher = Cipher(algorithms.AES(options.symmetric_key), modes.CTR(options.nonce)).encryptor()
    assert encrypted == cipher.update(data)
    assert options.hmac == hmac.new(options.symmetric_key, encrypted, "sha256").digest()
    assert options.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert LayerOptions.read(options.private(), options.public(), what="layer") == options
    assert read_all(DecryptedStream(io.BytesIO(encrypted), options), sizes) == data
    around = Cipher(algorithms.AES(KEY), modes.CTR(NONCE)).encryptor().update(data)
    mac = hmac.new(KEY, around, "sha256").digest()
    overflowing = LayerOptions(symmetric_key=KEY, nonce=NONCE, hmac=mac)
    assert read_all(DecryptedStream(io.BytesIO(around), overflowing), sizes) == data


@given(data=st.binary(min_size=1, max_size=100), at=st.integers(0, 99), how=st.sampled_from(["flip", "cut", "more"]))
def test_no_end_of_what_was_changed(data: bytes, at: int, how: str) -> None:
    """Who reads to the end of something else than what was encrypted gets an error and no end."""
    stream = EncryptedStream(io.BytesIO(data))
    encrypted = bytearray(read_all(stream, [100]))
    match how:
        case "flip":
            encrypted[at % len(encrypted)] ^= 1
        case "cut":
            del encrypted[at % len(encrypted)]
        case _:
            encrypted.insert(at, 0)
    with pytest.raises(EncryptionError, match="expected the HMAC-SHA-256"):
        DecryptedStream(io.BytesIO(bytes(encrypted)), stream.options()).verify()


def test_options_are_those_of_ocicrypt() -> None:
    """The halves have the members that ocicrypt writes, in its order, and are known only at the end."""
    stream = EncryptedStream(io.BytesIO(b"layer"), Digest.from_bytes(b"layer"))
    assert stream.read(0) == b""
    with pytest.raises(EncryptionError, match="read to its end"):
        stream.options()
    assert len(stream.read(100)) == 5
    with pytest.raises(EncryptionError, match="read to its end"):
        stream.options()
    assert stream.read(100) == b""
    options = stream.options()
    assert [*json.loads(options.private())] == ["symkey", "digest", "cipheroptions"]
    assert [*json.loads(options.public())] == ["cipher", "hmac", "cipheroptions"]
    assert json.loads(options.private())["digest"] == digest_of(b"layer")
    other = EncryptedStream(io.BytesIO(b"layer"))
    read_all(other, [100])
    assert other.options().symmetric_key != options.symmetric_key
    assert other.options().nonce != options.nonce


def test_nonces_of_others() -> None:
    """A nonce in the public half alone is read, and null for options that are none."""
    options = LayerOptions(symmetric_key=KEY, nonce=NONCE, hmac=KEY)
    secret, known = json.loads(options.private()), json.loads(options.public())
    known["cipheroptions"], secret["cipheroptions"] = secret["cipheroptions"], None
    del secret["digest"]
    assert LayerOptions.read(json.dumps(secret).encode(), json.dumps(known).encode(), what="layer") == options
    known["cipheroptions"] = None
    with pytest.raises(EncryptionError, match="expected one nonce in the options, found 0"):
        LayerOptions.read(json.dumps(secret).encode(), json.dumps(known).encode(), what="layer")


# Memory

MEGABYTE: Final = 1 << 20
MEASURED: Final = """
import sys
from ocikit.image import Policy, copy
from ocikit.image.encryption import DecryptConfig, EncryptConfig
place, way = sys.argv[1:]
if way == "encrypt":
    config = EncryptConfig.from_recipients(f"jwe:{place}/key.pub")
    options = copy.CopyOptions(oci_encrypt_config=config, oci_encrypt_layers=())
    names = {"src": f"oci:{place}/in:x", "dest": f"oci:{place}/sealed:x"}
else:
    options = copy.CopyOptions(oci_decrypt_config=DecryptConfig.from_keys(f"{place}/key.pem"))
    names = {"src": f"oci:{place}/sealed:x", "dest": f"oci:{place}/out:x"}
result = copy.image(Policy.insecure_accept_anything(), options=options, **names)
assert len(result.converted) == 1, result
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory(tmp_path: Path) -> None:
    """A layer of twice the size takes no more memory, encrypted or decrypted and held against its diffID."""
    peaks: dict[str, list[float]] = {"encrypt": [], "decrypt": []}
    for megabytes in (48, 96):
        place = tmp_path / str(megabytes)
        place.mkdir()
        noise = random.Random(megabytes)  # noqa: S311 - only has to be the same every time
        plain = tar_of({"a": noise.randbytes(megabytes * MEGABYTE)})
        store = Store()
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": store.json(OCI_CONFIG, config_of(digest_of(plain))),
            "layers": [store.blob(OCI_LAYER, gzip.compress(plain, compresslevel=0, mtime=0))],
        }
        store.layout(place / "in", {"x": store.json(OCI_MANIFEST, document)})
        (place / "key.pub").write_bytes(public_pem("rsa"))
        (place / "key.pem").write_bytes(private_pem("rsa"))
        for way, found in peaks.items():
            command = [sys.executable, "-c", MEASURED, str(place), way]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found.append(int(done.stdout) / 1024)
    for small, large in peaks.values():
        assert large - small < 10, peaks
