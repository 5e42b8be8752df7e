"""Keys in all their forms, the words that skopeo takes for them, and that no secret is ever shown."""

from __future__ import annotations

import base64
import json
import os
import traceback
from typing import TYPE_CHECKING

import pytest
from builders import Store
from copies import ANY, manifest_of
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from recipients import certificate, encrypting, key, private_pem, public_pem, recipient

from ocikit.errors import EncryptionError, NotSupportedError
from ocikit.image import copy
from ocikit.image.encryption import DecryptConfig, EncryptConfig, LayerOptions, unwrap_options, wrap_options

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = LayerOptions(symmetric_key=b"K" * 32, nonce=b"N" * 16, hmac=b"H" * 32)
PASSPHRASE = b"correct horse: battery=staple"


def number(value: int, size: int | None = None) -> str:
    """Return a number as JSON keys have it."""
    data = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(name: str, *, private: bool, factors: bool = True, **more: str) -> bytes:
    """Return a key as JSON (RFC 7517)."""
    ours = key(name)
    if isinstance(ours, rsa.RSAPrivateKey):
        numbers = ours.private_numbers()
        members = {"kty": "RSA", "n": number(numbers.public_numbers.n), "e": "AQAB"}
        secret = {"d": number(numbers.d)} | ({"p": number(numbers.p), "q": number(numbers.q)} if factors else {})
    else:
        size, point = (ours.curve.key_size + 7) // 8, ours.public_key().public_numbers()
        members = {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)}
        secret = {"d": number(ours.private_numbers().private_value, size)}
    return json.dumps(members | (secret if private else {}) | more).encode()


def forms(name: str) -> dict[str, bytes]:
    """Return a private key in all of its forms."""
    ours = key(name)
    made = {
        f"{encoding}, {form}": ours.private_bytes(encoding, form, NoEncryption())
        for encoding in (Encoding.PEM, Encoding.DER)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    }
    return made | {"JSON": jwk(name, private=True)}


@pytest.mark.parametrize("name", ["rsa", "P-256", "P-384", "P-521"])
def test_forms_of_keys(name: str) -> None:
    """A private key in any form decrypts what was encrypted for its public key in any form."""
    public = key(name).public_key()
    publics = [
        public_pem(name),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        jwk(name, private=False),
    ]
    configs = [DecryptConfig.from_private_key(data) for data in forms(name).values()]
    for data in publics:
        annotations = wrap_options(EncryptConfig.from_public_key(data), OPTIONS)
        assert all(unwrap_options(config, annotations) == OPTIONS for config in configs)


def test_json_keys_say_how() -> None:
    """``alg`` and ``kid`` of a JSON key are followed; an ``alg`` that wraps no keys is refused."""
    config = EncryptConfig.from_public_key(jwk("P-256", private=False, alg="ECDH-ES+A128KW", kid="mine"))
    annotations = wrap_options(config, OPTIONS)
    assert unwrap_options(DecryptConfig.from_private_key(private_pem("P-256")), annotations) == OPTIONS
    packet = json.loads(base64.b64decode(annotations["org.opencontainers.image.enc.keys.jwe"]))
    header = json.loads(base64.urlsafe_b64decode(packet["protected"] + "=="))
    assert (header["alg"], header["kid"], header["enc"]) == ("ECDH-ES+A128KW", "mine", "A256GCM")
    for name, algorithm in (("rsa", "ECDH-ES+A128KW"), ("P-256", "RSA-OAEP"), ("rsa", "RSA1_5"), ("rsa", "dir")):
        with pytest.raises(EncryptionError, match=rf"alg: expected .*{algorithm.replace('+', '.')}'"):
            EncryptConfig.from_public_key(jwk(name, private=False, alg=algorithm))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_passphrases(tmp_path: Path, form: PrivateFormat) -> None:
    """Encrypted keys are read with their passphrase, however it is given; a wrong or missing one is told."""
    data = key("rsa").private_bytes(Encoding.PEM, form, BestAvailableEncryption(PASSPHRASE))
    file, words, end = tmp_path / "k.pem", tmp_path / "words", tmp_path / "end"
    file.write_bytes(data)
    words.write_bytes(PASSPHRASE)
    end.write_bytes(PASSPHRASE + b"\n")
    annotations = wrap_options(EncryptConfig.from_public_key(public_pem("rsa")), OPTIONS)
    reading, writing = os.pipe()
    try:
        os.write(writing, PASSPHRASE)
        os.close(writing)
        given = [PASSPHRASE.decode(), f"pass={PASSPHRASE.decode()}", f"file={words}", f"file={end}", f"fd={reading}"]
        configs = [DecryptConfig.from_keys(f"{file}:{one}") for one in given]
    finally:
        os.close(reading)
    configs += [
        DecryptConfig.from_private_key(data, passphrase=PASSPHRASE),
        DecryptConfig.from_keys(f"jwe:{file}:file={words}"),
    ]
    assert all(unwrap_options(config, annotations) == OPTIONS for config in configs)
    with pytest.raises(EncryptionError, match="its passphrase is needed"):
        DecryptConfig.from_keys(str(file))
    for wrong in ("hidden", "pass=hidden", ""):
        with pytest.raises(EncryptionError, match="another passphrase") as caught:
            DecryptConfig.from_keys(f"{file}:{wrong}")
        assert "hidden" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(EncryptionError, match="number of a file descriptor"):
        DecryptConfig.from_keys(f"{file}:fd=x")
    with pytest.raises(OSError, match="Bad file"):
        DecryptConfig.from_keys(f"{file}:fd=99999")


def test_words_of_skopeo(tmp_path: Path) -> None:
    """What skopeo takes for keys is taken; what it knows besides is refused by name."""
    who = recipient(tmp_path, "pkcs7")
    one = tmp_path / "both.pem"
    one.write_bytes(private_pem("rsa") + certificate("rsa"))
    der = tmp_path / "cert.der"
    der.write_bytes(base64.b64decode(b"".join(certificate("rsa").splitlines()[1:-1])))
    annotations = wrap_options(EncryptConfig.from_recipients(who.public), OPTIONS)
    ways: list[tuple[str, ...]] = [who.private, (str(one),), (who.private[0], str(der)), (f"pkcs7:{one}",)]
    for keys in ways:
        config = DecryptConfig.from_keys(*keys)
        assert len(config.private_keys) == len(config.certificates) == 1
        assert unwrap_options(config, annotations) == OPTIONS
    assert EncryptConfig.from_recipients(f"pkcs7:{der}", who.public).count == 2
    for scheme in ("pgp", "pkcs11", "provider"):
        with pytest.raises(NotSupportedError, match=rf"^{scheme}: .*jwe:FILE"):
            EncryptConfig.from_recipients(f"{scheme}:somebody")
        with pytest.raises(NotSupportedError, match=rf"^{scheme}: "):
            DecryptConfig.from_keys(f"{scheme}:somebody")


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    """Each says what was expected and what is there, and which file it is."""
    files = {
        "public": public_pem("rsa"),
        "private": private_pem("rsa"),
        "text": b"text",
        "empty": b"",
        "large": b"x" * 70_000,
        "pgp": b"-----BEGIN " + b"PGP PRIVATE KEY BLOCK-----\n\nlQ\n",
        "token": b"pkcs11:\n  uri: pkcs11:token=x;object=y?pin-value=1\n",
        "ec.crt": certificate("P-256"),
        "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "curve": ec.generate_private_key(ec.SECP256K1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "json": jwk("P-256", private=False),
        "off.json": jwk("P-256", private=True, x=number(1, 32)),
        "bare.json": jwk("rsa", private=True, factors=False),
        "zero.json": jwk("rsa", private=True, p="AQ"),
        "huge.json": b'{"kty":"RSA","e":"AQAB","d":"AQ","n":"' + b"_" * 4000 + b'"}',
        "array.json": b' {"kty": [1], "d": 1}',
        "broken.pem": private_pem("rsa")[:300] + b"\n-----END PRIVATE KEY-----\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    reasons = {
        "public": "found a public key",
        "text": "expected a private key, PEM, DER or JSON",
        "empty": "expected a private key",
        "large": "at most 65,536 bytes",
        "ec.crt": "keys for RSA",
        "ed25519": "expected a key for RSA or an elliptic curve",
        "curve": "a key on the curve secp256k1; expected P-256, P-384, P-521",
        "json": "found a public one",
        "off.json": "is no point of the curve",
        "bare.json": "p: expected base64url, found null",
        "zero.json": "do not belong together",
        "huge.json": "more than 16,384 bits",
        "array.json": "expected a key of the type EC or RSA",
        "broken.pem": "expected a private key",
    }
    for name, reason in reasons.items():
        with pytest.raises(EncryptionError, match=rf"{name}: .*{reason}|{name}.*{reason}"):
            DecryptConfig.from_keys(str(tmp_path / name))
    for name in ("pgp", "token"):
        with pytest.raises(NotSupportedError, match=r"pgp|pkcs11"):
            DecryptConfig.from_keys(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        DecryptConfig.from_keys(str(tmp_path / "none"))


def test_files_that_are_no_recipients(tmp_path: Path) -> None:
    """What cannot be encrypted for is refused, and so is encrypting for nobody."""
    files = {
        "public": public_pem("rsa"),
        "private": private_pem("rsa"),
        "text": b"text",
        "ec.crt": certificate("P-256"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for word, reason in {
        f"jwe:{tmp_path}/private": "expected a public key",
        f"jwe:{tmp_path}/text": "expected a public key",
        f"pkcs7:{tmp_path}/public": "expected a certificate",
        f"pkcs7:{tmp_path}/ec.crt": "PKCS #7 takes keys for RSA",
        f"{tmp_path}/private:pass=hidden": "before the colon",
        "rsa": "expected jwe:FILE",
    }.items():
        with pytest.raises(EncryptionError, match=reason) as caught:
            EncryptConfig.from_recipients(word)
        assert "hidden" not in str(caught.value)
    for call in (EncryptConfig.from_recipients, EncryptConfig):
        with pytest.raises(EncryptionError, match="at least one recipient"):
            call()


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither configs, options nor layers show keys, passphrases or what was wrapped."""
    config = DecryptConfig.from_private_key(private_pem("rsa"))
    to = EncryptConfig.from_public_key(public_pem("rsa"))
    options = copy.CopyOptions(oci_encrypt_config=to, oci_encrypt_layers=(), oci_decrypt_config=config)
    store = Store()
    layout = store.layout(tmp_path / "in", {"x": store.image({"a": b"a"}, platform=False)})
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=encrypting())
    opened = unwrap_options(config, manifest_of(tmp_path / "out")["layers"][0]["annotations"])
    planned = copy.plan(ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{tmp_path}/out:x", options=options)
    shown = "".join(map(repr, (config, to, options, opened, planned, OPTIONS)))
    numbers = load_pem_private_key(private_pem("rsa"), None)
    assert isinstance(numbers, rsa.RSAPrivateKey)
    secrets = [opened.symmetric_key, opened.nonce, OPTIONS.symmetric_key, OPTIONS.nonce]
    for secret in secrets:
        for form in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert form not in shown
    assert str(numbers.private_numbers().d) not in shown
    assert "private key" in repr(config)
