"""Files of private keys: PEM around a JSON envelope (securesystemslib's) around an encrypted key (PKCS #8).

The envelope names what the key was encrypted by: scrypt (RFC 7914) makes a key of a passphrase, secretbox encrypts by
that. It also says what this costs, so only the costs that are in use are paid: no file can ask for more.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import InvalidSignatureError, LimitExceededError, NotSupportedError, ParseError, SigningError
from ocikit.image.given import check_passphrase_kind, in_words
from ocikit.image.signature.sigstore.pem import read_blocks, write_block
from ocikit.image.signature.sigstore.secretbox import KEY_BYTES, NONCE_BYTES, TAG_BYTES, seal, unseal
from ocikit.spec._json import describe, dumps, loads

if TYPE_CHECKING:
    from ocikit.image.signature.sigstore.pem import Block

__all__ = ["MAX_KEY_FILE_BYTES", "PLAIN", "SEALED", "decrypt_pkcs8", "encrypt_pkcs8", "passphrase_bytes", "read_pem"]

#: The size of a file with a private key, in bytes.
MAX_KEY_FILE_BYTES: Final = 64 * 1024
#: The labels of encrypted keys: cosign's, which every version of every program reads, and the newer one.
SEALED: Final = ("ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY")
#: The label of a key that is not encrypted (RFC 7468 §10).
PLAIN: Final = "PRIVATE KEY"

# The cost of scrypt (N): what programs wrote until 2023, and what they write since. 128 * r * N bytes: 32 or 64 MiB.
_COSTS: Final = (32768, 65536)
_COST: Final = _COSTS[-1]
_BLOCK_SIZE, _PARALLEL = 8, 1
_SALT_BYTES: Final = 32
# Other files with private keys, which are known for what they are.
_PRIVATE, _PARAMETERS = "PRIVATE KEY", "EC PARAMETERS"
_HYPHENS, _PEM = b"-----", "PEM of"
_OTHERS: Final = ("ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "DSA PRIVATE KEY", _PARAMETERS)


def passphrase_bytes(passphrase: bytes | str) -> bytes:
    """Return a passphrase as it is used: text is UTF-8.

    Raises:
        SigningError: It is text that has no UTF-8.
        TypeError: It is neither text nor bytes.
    """
    check_passphrase_kind(passphrase)
    if isinstance(passphrase, bytes):
        return passphrase
    try:
        return passphrase.encode()
    except UnicodeEncodeError:
        # The cause would have the passphrase in it.
        raise SigningError("the passphrase has a lone surrogate in it, which UTF-8 cannot carry; give bytes") from None


def read_pem(data: bytes, *, what: str) -> Block:
    """Take apart a file with one PEM block of a private key (RFC 7468); text before and after it means nothing.

    Args:
        data: The file.
        what: What it is, for messages.

    Raises:
        SigningError: There is no block, or more than one, or it is damaged, or of a kind that is not read.
    """
    if len(data) <= MAX_KEY_FILE_BYTES:
        _check_kind(data, what)
    labels = (*SEALED, PLAIN, *_OTHERS)
    try:
        block, *more = read_blocks(
            data, what=what, labels=labels, most=2, most_bytes=MAX_KEY_FILE_BYTES, explained=True
        )
    except (InvalidSignatureError, LimitExceededError) as error:
        raise SigningError(str(error)) from error
    if more:
        raise SigningError(f"{what}: expected one PEM block, found more")
    if block.label in _OTHERS:
        known = ", ".join((*SEALED, PLAIN))
        raise SigningError(
            f"{what}: expected PEM of one of {known}, found a {block.label}; openssl pkcs8 -topk8 -nocrypt makes the "
            "last of it"
        )
    return block


def _check_kind(data: bytes, what: str) -> None:
    found = in_words(data)
    is_cut_off = _HYPHENS in data and not found.startswith(_PEM)
    if not is_cut_off and _PRIVATE not in found and _PARAMETERS not in found:
        raise SigningError(f"{what}: expected a private key, PEM, found {found}")


def encrypt_pkcs8(pkcs8: bytes, passphrase: bytes) -> bytes:
    """Make a file of a key.

    Args:
        pkcs8: The key, PKCS #8, DER.
        passphrase: What it is encrypted by.
    """
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(NONCE_BYTES)
    key = _derived(passphrase, salt, _COST)
    envelope = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": _COST, "r": _BLOCK_SIZE, "p": _PARALLEL},
            "salt": base64.b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(seal(key, nonce, pkcs8)).decode(),
    }
    return write_block(SEALED[0], dumps(envelope))


def decrypt_pkcs8(envelope: bytes, passphrase: bytes, *, what: str) -> bytes:
    """Decrypt the envelope of a file.

    Args:
        envelope: The JSON document.
        passphrase: What it was encrypted by.
        what: What it is, for messages.

    Returns:
        The key, PKCS #8, DER.

    Raises:
        SigningError: The passphrase is another, or the envelope is damaged or made by other means.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - loaded when first needed

    cost, salt, nonce, sealed = _read_envelope(envelope, what)
    try:
        return unseal(_derived(passphrase, salt, cost), nonce, sealed)
    except InvalidSignature as error:
        raise SigningError(f"{what}: not decrypted: the passphrase is wrong, or the file is damaged") from error


def _read_envelope(envelope: bytes, what: str) -> tuple[int, bytes, bytes, bytes]:
    """Return the cost and the salt of scrypt, the nonce, and what is encrypted."""
    try:
        document = loads(envelope)
    except (ParseError, LimitExceededError) as error:
        raise SigningError(f"{what}: what is in the PEM block is no JSON document: {error}") from error
    members = _object(document, what, "$")
    kdf, cipher = _object(members.get("kdf"), what, "$.kdf"), _object(members.get("cipher"), what, "$.cipher")
    _expect(kdf.get("name"), ("scrypt",), what, "$.kdf.name")
    _expect(cipher.get("name"), ("nacl/secretbox",), what, "$.cipher.name")
    parameters = _object(kdf.get("params"), what, "$.kdf.params")
    cost: int = _expect(parameters.get("N"), _COSTS, what, "$.kdf.params.N")
    _expect(parameters.get("r"), (_BLOCK_SIZE,), what, "$.kdf.params.r")
    _expect(parameters.get("p"), (_PARALLEL,), what, "$.kdf.params.p")
    salt = _bytes(kdf.get("salt"), what, "$.kdf.salt")
    nonce = _bytes(cipher.get("nonce"), what, "$.cipher.nonce")
    if len(nonce) != NONCE_BYTES:
        raise SigningError(f"{what}: $.cipher.nonce: expected {NONCE_BYTES} bytes, found {len(nonce)}")
    sealed = _bytes(members.get("ciphertext"), what, "$.ciphertext")
    if len(sealed) < TAG_BYTES:
        raise SigningError(f"{what}: $.ciphertext: truncated: {len(sealed)} bytes, the tag alone has {TAG_BYTES}")
    return cost, salt, nonce, sealed


def _derived(passphrase: bytes, salt: bytes, cost: int) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - loaded when first needed
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415

    try:
        return Scrypt(salt=salt, length=KEY_BYTES, n=cost, r=_BLOCK_SIZE, p=_PARALLEL).derive(passphrase)
    except UnsupportedAlgorithm as error:
        raise NotSupportedError("files of private keys need scrypt, which the cryptography here has not") from error


def _object(value: object, what: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SigningError(f"{what}: {path}: expected an object, found {describe(value)}")
    return value


def _expect(value: object, wanted: tuple[Any, ...], what: str, path: str) -> Any:  # noqa: ANN401 - one of what is wanted
    # True and 1.0 are equal to 1, and no number of this format.
    if type(value) is not type(wanted[0]) or value not in wanted:
        found = repr(value[:60]) if isinstance(value, str) else describe(value)
        raise SigningError(f"{what}: {path}: expected {' or '.join(map(str, wanted))}, found {found}")
    return value


def _bytes(value: object, what: str, path: str) -> bytes:
    if not isinstance(value, str):
        raise SigningError(f"{what}: {path}: expected a string, found {describe(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SigningError(f"{what}: {path}: not base64: {error}") from error
