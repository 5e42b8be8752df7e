"""Mistakes with keys for layers: each is named for what it is, and no message has a secret in it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from recipients import certificate, private_pem, public_pem

from ocikit.errors import EncryptionError
from ocikit.image.copy import CopyOptions
from ocikit.image.encryption import DecryptConfig, EncryptConfig

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = b"some words"


def text(of: bytes) -> str:
    """Return PEM as text."""
    return of.decode()


#: What is given, the error, and what it says.
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a key for the name of its file": (
        lambda: DecryptConfig.from_keys(text(private_pem("P-256"))),
        EncryptionError,
        r"expected the name of a file, found the content of one \(PEM\)",
    ),
    "the same, as a path": (
        lambda: DecryptConfig.from_keys(Path(text(private_pem("P-256")))),
        EncryptionError,
        r"expected the name of a file, found the content of one \(PEM\)",
    ),
    "a key for a recipient": (
        lambda: EncryptConfig.from_recipients(text(private_pem("P-256"))),
        EncryptionError,
        "expected jwe:FILE with a public key, or pkcs7:FILE with a certificate, found PEM and no colon",
    ),
    "a key for the name of a recipient's file": (
        lambda: EncryptConfig.from_recipients("jwe:" + text(private_pem("P-256"))),
        EncryptionError,
        "found the content of one",
    ),
    "bytes for a name": (
        lambda: DecryptConfig.from_keys(private_pem("P-256")),  # type: ignore[arg-type]
        TypeError,
        "expected the name of a file, found bytes",
    ),
    "text for bytes": (
        lambda: DecryptConfig.from_private_key(text(private_pem("P-256"))),  # type: ignore[arg-type]
        TypeError,
        "private key: expected its bytes, found str; from_keys reads files",
    ),
    "a name for a public key": (
        lambda: EncryptConfig.from_public_key("alice.pub"),  # type: ignore[arg-type]
        TypeError,
        "public key: expected its bytes, found str; from_recipients reads files",
    ),
    "a list of recipients": (
        lambda: EncryptConfig.from_recipients(["jwe:alice.pub"]),  # type: ignore[arg-type]
        TypeError,
        "a recipient is text, jwe:FILE with a public key, or pkcs7:FILE with a certificate; found list",
    ),
    "a number for a passphrase": (
        lambda: DecryptConfig.from_private_key(private_pem("P-256"), passphrase=7),  # type: ignore[arg-type]
        TypeError,
        "a passphrase is text or bytes; found int",
    ),
    "a certificate for a key": (
        lambda: EncryptConfig.from_public_key(certificate("RSA")),
        EncryptionError,
        "expected a public key, PEM, DER or JSON, found PEM of CERTIFICATE$",
    ),
    "a private key for a public one": (
        lambda: EncryptConfig.from_public_key(private_pem("P-256")),
        EncryptionError,
        "expected a public key, PEM, DER or JSON, found PEM of PRIVATE KEY$",
    ),
    "what encrypts for what decrypts": (
        lambda: CopyOptions(oci_decrypt_config=EncryptConfig.from_public_key(public_pem("P-256"))),  # type: ignore[arg-type]
        TypeError,
        "oci_decrypt_config: expected DecryptConfig, found EncryptConfig",
    ),
    "what decrypts for what encrypts": (
        lambda: CopyOptions(oci_encrypt_config=DecryptConfig(), oci_encrypt_layers=()),  # type: ignore[arg-type]
        TypeError,
        "oci_encrypt_config: expected EncryptConfig, found DecryptConfig",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    """A mistake is an error that says what was expected and found; nothing of the key is in it, whatever it was for."""
    call, kind, said = MISTAKES[name]
    with pytest.raises(kind, match=said) as caught:
        call()
    shown = "".join(traceback.format_exception_only(caught.value)) + str(caught.value.__cause__)
    body = text(private_pem("P-256")).splitlines()[1]
    assert body not in shown


def test_a_passphrase_may_be_text() -> None:
    """As for keys that sign: text is UTF-8."""
    sealed = private_pem("P-256", WORDS)
    for passphrase in (WORDS, WORDS.decode()):
        assert DecryptConfig.from_private_key(sealed, passphrase=passphrase).private_keys


def test_a_path_is_a_name_and_no_passphrase(tmp_path: Path) -> None:
    """What is a path has no passphrase behind a colon; both kinds of recipient say where they came from."""
    place = tmp_path / "a:b.pem"
    place.write_bytes(private_pem("P-256"))
    assert DecryptConfig.from_keys(place).private_keys[0].name == str(place)
    (tmp_path / "alice.pub").write_bytes(public_pem("P-256"))
    assert "alice.pub" in repr(EncryptConfig.from_recipients(f"jwe:{tmp_path}/alice.pub"))
