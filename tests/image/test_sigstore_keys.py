"""Private keys and their files: made, written, read, refused."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError, SigningError
from ocikit.image.signature.sigstore import secretbox
from ocikit.image.signature.sigstore.key_files import MAX_KEY_FILE_BYTES
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.private_keys import PrivateKey, generate_key_pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "correct horse"  # noqa: S105 - of keys that are made here
KINDS: list[tuple[Any, int | None]] = [
    *(("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048), ("ed25519", None)),
]
COSIGN, SIGSTORE = "ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"


def pem_of(label: str, content: bytes) -> bytes:
    """Return a PEM block, by other code than that of ocikit."""
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(content), label.encode())


def content_of(pem: bytes) -> bytes:
    """Return what is in the only PEM block of a file."""
    return base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    """Return a key as most are."""
    return PrivateKey.generate()


@pytest.fixture(scope="module")
def file(key: PrivateKey) -> bytes:
    """Return the file of that key."""
    return key.to_encrypted_pem(SECRET)


def plain(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, encryption: Any = None) -> bytes:
    """Return a key of ``cryptography`` as PEM."""
    data: bytes = key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())
    return data


# ----------------------------------------------------------------------------------------------------------- secretbox

# The example of "Cryptography in NaCl" (D. J. Bernstein, 2009), §§8-10.
NACL_KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NACL_NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
NACL_TEXT = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
NACL_SEALED = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)


def test_secretbox_is_that_of_nacl() -> None:
    """The published example, both ways."""
    assert secretbox.seal(NACL_KEY, NACL_NONCE, NACL_TEXT) == NACL_SEALED
    assert secretbox.unseal(NACL_KEY, NACL_NONCE, NACL_SEALED) == NACL_TEXT


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24), st.binary(max_size=200), st.data())
def test_secretbox_opens_nothing_that_was_changed(key: bytes, nonce: bytes, text: bytes, data: st.DataObject) -> None:
    """What was sealed comes out again; with one bit of anything changed, nothing does."""
    sealed = secretbox.seal(key, nonce, text)
    assert secretbox.unseal(key, nonce, sealed) == text
    parts = [bytearray(key), bytearray(nonce), bytearray(sealed)]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidSignature):
        secretbox.unseal(*map(bytes, parts))


# ------------------------------------------------------------------------------------------------------------ all kinds


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_every_kind_is_written_read_and_signs(kind: Any, size: int | None) -> None:
    """A key that is read from its file is the key that was made: what it signs, the public half verifies."""
    pair = generate_key_pair(SECRET, kind, size=size)
    key = PrivateKey.read(pair.private_pem, SECRET.encode(), what="key")
    assert key.public_key == PublicKey.read(pair.public_pem, what="public key")
    signature = key.sign(b"image")
    key.public_key.verify(signature, b"image")
    with pytest.raises(InvalidSignatureError, match="was not made by the key SHA256:"):
        key.public_key.verify(signature, b"other")


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_openssl_verifies_every_kind(kind: Any, size: int | None, tmp_path: Path) -> None:
    """What is signed here, openssl verifies with the public key file, and refuses for other content."""
    key = PrivateKey.generate(kind, size=size)
    for name, data in (
        ("pub", key.public_key.pem),
        ("data", b"image"),
        ("other", b"images"),
        ("sig", key.sign(b"image")),
    ):
        (tmp_path / name).write_bytes(data)
    for name, verified in ("data", True), ("other", False):
        command = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", name]
        if kind == "ed25519":
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub", "-rawin", "-in", name]
            command += ["-sigfile", "sig"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is verified, done.stderr


OPENSSL = [
    ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ["-algorithm", "ED25519"],
]


@pytest.mark.parametrize("options", OPENSSL, ids=lambda options: options[-1])
def test_keys_of_openssl(options: list[str], tmp_path: Path) -> None:
    """Keys that openssl made are read as PKCS #8, and put into files that are encrypted."""
    subprocess.run(["openssl", "genpkey", *options, "-out", "key"], cwd=tmp_path, check=True, capture_output=True)
    public = subprocess.run(["openssl", "pkey", "-in", "key", "-pubout"], cwd=tmp_path, check=True, capture_output=True)
    key = PrivateKey.read_file(tmp_path / "key", None)
    assert key.public_key == PublicKey.read(public.stdout, what="key of openssl")
    again = PrivateKey.read(key.to_encrypted_pem(b""), "", what="again")
    assert again.public_key == key.public_key


def test_generated_kinds_are_a_choice_of_few() -> None:
    """A misspelt kind and a size that is not made are refused with those that are."""
    with pytest.raises(SigningError, match=r"kind 'dsa'; expected one of ecdsa, rsa, ed25519"):
        PrivateKey.generate("dsa")  # type: ignore[arg-type]
    with pytest.raises(SigningError, match=r"kind rsa is made with 1024 bits; expected one of 2048, 3072, 4096"):
        PrivateKey.generate("rsa", size=1024)
    with pytest.raises(SigningError, match=r"ecdsa is made with 255 bits"):
        PrivateKey.generate("ecdsa", size=255)


# --------------------------------------------------------------------------------------------------------------- files


def test_file_is_the_one_of_cosign(file: bytes) -> None:
    """Label, envelope and cost are those that cosign and containers/image write."""
    lines = file.decode().splitlines()
    assert lines[0] == f"-----BEGIN {COSIGN}-----"
    assert lines[-1] == f"-----END {COSIGN}-----"
    assert {len(line) for line in lines[1:-2]} == {64}
    envelope = json.loads(content_of(file))
    assert envelope["kdf"]["name"] == "scrypt"
    assert envelope["kdf"]["params"] == {"N": 65536, "r": 8, "p": 1}
    assert len(base64.b64decode(envelope["kdf"]["salt"])) == 32
    assert envelope["cipher"]["name"] == "nacl/secretbox"
    assert len(base64.b64decode(envelope["cipher"]["nonce"])) == 24


def test_no_two_files_are_alike(key: PrivateKey, file: bytes) -> None:
    """Salt, nonce and what is encrypted are new each time: a nonce is never used twice with a key."""
    one, other = json.loads(content_of(file)), json.loads(content_of(key.to_encrypted_pem(SECRET)))
    assert one["kdf"]["salt"] != other["kdf"]["salt"]
    assert one["cipher"]["nonce"] != other["cipher"]["nonce"]
    assert one["ciphertext"] != other["ciphertext"]


def older(file: bytes, label: str, content: bytes) -> bytes:
    """Return a file as it was made before 2023, with some content, by what ``hashlib`` has of scrypt."""
    import hashlib  # noqa: PLC0415 - here alone

    envelope = json.loads(content_of(file))
    envelope["kdf"]["params"]["N"] = 32768
    salt, nonce = (base64.b64decode(one) for one in (envelope["kdf"]["salt"], envelope["cipher"]["nonce"]))
    made = hashlib.scrypt(SECRET.encode(), salt=salt, n=32768, r=8, p=1, dklen=32, maxmem=1 << 26)
    envelope["ciphertext"] = base64.b64encode(secretbox.seal(made, nonce, content)).decode()
    return pem_of(label, json.dumps(envelope, indent=1).encode())


@pytest.mark.parametrize("label", [COSIGN, SIGSTORE])
def test_older_files_and_both_labels(key: PrivateKey, file: bytes, label: str) -> None:
    """Files at half the cost are read, under either label, with text around, as mail and editors leave them."""
    der = key._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    made = b"\xef\xbb\xbfthe key\r\n" + older(file, label, der).replace(b"\n", b"\r\n") + b"the end"
    assert PrivateKey.read(made, SECRET, what="key").public_key == key.public_key


def changed(file: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the file with its envelope changed."""
    envelope = json.loads(content_of(file))
    change(envelope)
    return pem_of(COSIGN, json.dumps(envelope).encode())


def set_to(*steps: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return a change: the member at the end of some steps becomes another; without a value it goes."""

    def change(envelope: dict[str, Any]) -> None:
        for step in steps[:-1]:
            envelope = envelope[step]
        envelope[steps[-1]] = value

    return change


def b64(data: bytes) -> str:
    """Return base64 as text."""
    return base64.b64encode(data).decode()


ENVELOPES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (set_to("kdf", "name", value="argon2"), r"\$\.kdf\.name: expected scrypt, found 'argon2'"),
    (set_to("kdf", "name", value=None), r"\$\.kdf\.name: expected scrypt, found null"),
    (set_to("kdf", value=[]), r"\$\.kdf: expected an object, found an array"),
    (lambda envelope: envelope.pop("kdf"), r"\$\.kdf: expected an object, found null"),
    (set_to("kdf", "params", value={}), r"\$\.kdf\.params\.N: expected 32768 or 65536, found null"),
    (set_to("kdf", "params", "N", value=2**30), r"params\.N: expected 32768 or 65536, found 1073741824"),
    (set_to("kdf", "params", "N", value=16384), r"params\.N: expected 32768 or 65536, found 16384"),
    (set_to("kdf", "params", "N", value=65536.0), r"params\.N: .* found a number with a fraction"),
    (set_to("kdf", "params", "N", value=10**300), r"params\.N: .* found an integer of more than 128 bits"),
    (set_to("kdf", "params", "N", value="65536"), r"params\.N: expected 32768 or 65536, found '65536'"),
    (set_to("kdf", "params", "r", value=2**20), r"params\.r: expected 8, found 1048576"),
    (set_to("kdf", "params", "p", value=2**20), r"params\.p: expected 1, found 1048576"),
    (set_to("kdf", "params", "p", value=True), r"params\.p: expected 1, found true"),
    (set_to("kdf", "salt", value="?"), r"\$\.kdf\.salt: not base64"),
    (set_to("kdf", "salt", value=7), r"\$\.kdf\.salt: expected a string, found 7"),
    (set_to("cipher", "name", value="aes"), r"\$\.cipher\.name: expected nacl/secretbox, found 'aes'"),
    (set_to("cipher", "nonce", value=b64(b"x" * 12)), r"\$\.cipher\.nonce: expected 24 bytes, found 12"),
    (set_to("cipher", "nonce", value=None), r"\$\.cipher\.nonce: expected a string, found null"),
    (set_to("ciphertext", value=b64(b"x" * 15)), r"\$\.ciphertext: truncated: 15 bytes"),
    (set_to("ciphertext", value=b64(b"x" * 500)), r"not decrypted: the passphrase is wrong, or the file is damaged"),
    (set_to("kdf", "salt", value=b64(b"x" * 32)), r"not decrypted: the passphrase is wrong, or the file is damaged"),
    (set_to("kdf", "params", "N", value=32768), r"not decrypted: the passphrase is wrong, or the file is damaged"),
]


@pytest.mark.parametrize(("change", "match"), ENVELOPES, ids=[match for _, match in ENVELOPES])
def test_envelopes_that_are_refused(file: bytes, change: Callable[[dict[str, Any]], object], match: str) -> None:
    """An envelope by other means, at another cost, or damaged: the error names the member."""
    with pytest.raises(SigningError, match=f"^build key: .*{match}"):
        PrivateKey.read(changed(file, change), SECRET, what="build key")


def file_with(content: bytes) -> Callable[[bytes], bytes]:
    """Return what makes a file of some content that was encrypted as it should be."""
    return lambda file: older(file, SIGSTORE, content)


def of_key(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """Return a key of ``cryptography`` as DER."""
    data: bytes = key.private_bytes(Encoding.DER, form, NoEncryption())
    return data


P256 = ec.generate_private_key(ec.SECP256R1())

FILES: list[tuple[str, Callable[[bytes], bytes], str | None, str]] = [
    ("empty", lambda _: b"", SECRET, r"expected a private key, PEM, found nothing"),
    ("no pem", content_of, SECRET, r"expected a private key, PEM, found no PEM"),
    ("two blocks", lambda file: file + file, SECRET, r"expected one PEM block, found more"),
    (
        "truncated",
        lambda file: file[:-40],
        SECRET,
        r"a PEM block is malformed",
    ),
    ("first line", lambda file: file[:40], SECRET, r"a PEM block is malformed"),
    ("other end", lambda file: file.replace(b"END ENC", b"END DEC"), SECRET, r"a PEM block is malformed"),
    ("a line lost", lambda file: file.replace(file.splitlines()[2][1:], b""), SECRET, r"a PEM block is no base64"),
    ("no base64", lambda file: file.replace(b"\n", b"\n!", 2), SECRET, r"a PEM block is malformed"),
    ("no json", lambda _: pem_of(COSIGN, b"{"), SECRET, r"what is in the PEM block is no JSON document"),
    ("an array", lambda _: pem_of(COSIGN, b"[]"), SECRET, r"\$: expected an object, found an array"),
    ("twice", lambda _: pem_of(COSIGN, b'{"kdf":1,"kdf":1}'), SECRET, r"no JSON document: .*kdf"),
    ("nested", lambda _: pem_of(COSIGN, b"[" * 20000), SECRET, r"no JSON document: .*depth"),
    ("too large", lambda file: file + b" " * MAX_KEY_FILE_BYTES, SECRET, r"limit 65,536, found 66,"),
    (
        "public key",
        lambda _: pem_of("PUBLIC KEY", b"x"),
        SECRET,
        r"expected a private key, PEM, found PEM of PUBLIC KEY",
    ),
    ("wrong passphrase", bytes, "battery staple", r"not decrypted: the passphrase is wrong, or the file is damaged"),
    ("empty passphrase", bytes, "", r"not decrypted: the passphrase is wrong, or the file is damaged"),
    ("no passphrase", bytes, None, r"the key is encrypted, and there is no passphrase"),
    ("not encrypted", lambda _: plain(P256), SECRET, r"there is a passphrase, and the key is not encrypted"),
    (
        "encrypted by itself",
        lambda _: plain(P256, encryption=BestAvailableEncryption(b"p")),
        "p",
        r"found a ENCRYPTED PRIVATE KEY; openssl pkcs8 -topk8 -nocrypt makes",
    ),
    (
        "sec 1",
        lambda _: plain(P256, PrivateFormat.TraditionalOpenSSL),
        None,
        r"found a EC PRIVATE KEY; openssl pkcs8 -topk8 -nocrypt makes",
    ),
    (
        "sec 1 inside",
        file_with(of_key(P256, PrivateFormat.TraditionalOpenSSL)),
        SECRET,
        r"expected a private key, PKCS #8$",
    ),
    ("nothing inside", file_with(b""), SECRET, r"expected a private key, PKCS #8$"),
    ("damaged inside", file_with(of_key(P256)[:-30]), SECRET, r"expected a private key for ECDSA, RSA or Ed25519: "),
    (
        "other curve",
        file_with(of_key(ec.generate_private_key(ec.SECP256K1()))),
        SECRET,
        r"ECDSA over secp256k1; expected P-256",
    ),
    (
        "small curve",
        file_with(of_key(ec.generate_private_key(ec.SECP224R1()))),
        SECRET,
        r"ECDSA over secp224r1; expected P-256",
    ),
    (
        "small",
        file_with(of_key(rsa.generate_private_key(65537, 1024))),  # noqa: S505 - that is the point
        SECRET,
        r"RSA of 1,024 bits; expected 2,048 to 8,192",
    ),
    (
        "dsa",
        file_with(of_key(dsa.generate_private_key(1024))),  # noqa: S505 - quickly made
        SECRET,
        r"kind DSAPrivateKey; expected ECDSA, RSA or Ed25519",
    ),
    (
        "ed448",
        file_with(of_key(ed448.Ed448PrivateKey.generate())),
        SECRET,
        r"kind Ed448PrivateKey; expected ECDSA, RSA",
    ),
]


@pytest.mark.parametrize(("damage", "passphrase", "match"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_files_that_are_refused(
    file: bytes, damage: Callable[[bytes], bytes], passphrase: str | None, match: str
) -> None:
    """Whatever is wrong with a file or with what it holds is an error that says what."""
    with pytest.raises(SigningError, match=f"build key: .*{match}"):
        PrivateKey.read(damage(file), passphrase, what="build key")


def test_large_keys_are_refused_before_they_are_checked() -> None:
    """The size of a key for RSA is looked at before its numbers are: those of this one are nonsense."""
    small = rsa.generate_private_key(65537, 2048).private_numbers()
    huge = (1 << 16383) | 1
    numbers = [0, huge, 65537, small.d, small.p, small.q, small.dmp1, small.dmq1, small.iqmp]
    inner = der(0x30, b"".join(der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers))
    algorithm = der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    pem = pem_of("PRIVATE KEY", der(0x30, der(0x02, b"\0") + algorithm + der(0x04, inner)))
    with pytest.raises(SigningError, match=r"RSA of 16,384 bits; expected 2,048 to 8,192"):
        PrivateKey.read(pem, None, what="key")


def der(tag: int, content: bytes) -> bytes:
    """Return a value as DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def test_passphrases_without_utf8(key: PrivateKey) -> None:
    """A passphrase that cannot be encoded is refused, and the error does not have it."""
    with pytest.raises(SigningError, match="lone surrogate") as caught:
        key.to_encrypted_pem("secret\ud800word")
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, and a name that is none, are errors of signing that name it."""
    with pytest.raises(SigningError, match=r"private key .*/none: cannot be read: No such file"):
        PrivateKey.read_file(tmp_path / "none", SECRET)
    with pytest.raises(SigningError, match=r"private key .*: cannot be read: Is a directory"):
        PrivateKey.read_file(tmp_path, SECRET)
    with pytest.raises(SigningError, match="expected the name of a file, found a zero byte in it"):
        PrivateKey.read_file("a\0b", SECRET)
    with pytest.raises(SigningError, match="limit 65,536, found 65,537"):
        PrivateKey.read_file("/dev/zero", SECRET)


def test_nothing_shows_a_secret(key: PrivateKey, file: bytes) -> None:
    """What is shown of keys and pairs is public, in errors too; a key does not leave the process unencrypted."""
    number = key._key.private_numbers().private_value
    pair = generate_key_pair(SECRET)
    shown = [repr(key), str(key), repr(pair), str(pair)]
    for damaged in file, file[:-40], file.replace(b"\n", b"\n!", 2):
        with pytest.raises(SigningError) as caught:
            PrivateKey.read(damaged, "battery staple", what="key")
        shown += [str(caught.value), repr(caught.value.__cause__)]
    for text in shown:
        assert "battery" not in text
        assert str(number) not in text
        assert f"{number:x}" not in text
        assert pair.private_pem[40:80].decode() not in text
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(key)
    assert repr(key) == f"PrivateKey(public_key=SHA256:{key.public_key.fingerprint})"


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_refused(data: st.DataObject) -> None:
    """Bytes changed anywhere in a plain key: it is read, or refused with the error of signing."""
    made = bytearray(plain(P256))
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SigningError):
        PrivateKey.read(bytes(made), None, what="key").sign(b"image")


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_content_is_refused(content: bytes) -> None:
    """What is no key at all is an error of signing, under every label."""
    for label, passphrase in ("PRIVATE KEY", None), (COSIGN, "p"), (SIGSTORE, "p"):
        with pytest.raises(SigningError):
            PrivateKey.read(pem_of(label, content), passphrase, what="key")


def test_files_of_others_are_read_through_a_pipe(file: bytes, key: PrivateKey) -> None:
    """A file need not be one on a disk: what a secret store writes to a pipe is read as well."""
    reading, writing = os.pipe()
    try:
        os.write(writing, file)
        os.close(writing)
        assert PrivateKey.read_file(f"/dev/fd/{reading}", SECRET).public_key == key.public_key
    finally:
        os.close(reading)
