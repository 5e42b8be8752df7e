"""What is fuzzed of sigstore signatures: blobs, what they say, and files with keys.

Keys are the same in every process, and sign the same in every process, so that a seed makes the same case again.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import mutations
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ocikit.errors import InvalidSignatureError, LimitExceededError, SigningError
from ocikit.image.signature.payload import Payload, PayloadType, read_payload
from ocikit.image.signature.sigstore import PrivateKey, PublicKey
from ocikit.image.signature.sigstore.annotations import BUNDLE, CERTIFICATE, CHAIN, SIGNATURE
from ocikit.image.signature.sigstore.attachment import is_attachment, verify_attachment
from ocikit.image.signature.sigstore.secretbox import seal
from ocikit.image.signature.sigstore.trust import Trust
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature, SimpleSignature, parse_signature
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TRUST = Trust(keys=(KEY.public_key,))
SAID = Payload(digest=Digest.from_bytes(b""), docker_reference="example.com/a:1", creator="x", timestamp=1)
KEYS = (
    *("critical", "optional", "type", "image", "identity", "docker-manifest-digest", "docker-reference", "creator"),
    *("timestamp", "mimeType", "payload", "annotations", SIGNATURE, CERTIFICATE, CHAIN, BUNDLE),
)
SIGNED_BY = PayloadType.SIGSTORE

SALT, NONCE, PASSPHRASE = b"s" * 32, b"n" * 24, b"passphrase"
DERIVED = Scrypt(salt=SALT, length=32, n=32768, r=8, p=1).derive(PASSPHRASE)
PKCS8 = derive_private_key(2**200 + 1, SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
KEY_KEYS = ("kdf", "name", "params", "N", "r", "p", "salt", "cipher", "nonce", "ciphertext")
LABELS = (
    *("ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"),
    *("ENCRYPTED PRIVATE KEY", "PUBLIC KEY", "", "x" * 5000),
)


def signatures(random: Random, scratch: Path) -> None:
    """A blob is refused, or is read as what is written as a blob that is read as the same; it proves what it should."""
    del scratch
    payload = SAID.to_json(SIGNED_BY)
    annotations = {SIGNATURE: base64.b64encode(KEY.sign(payload)).decode()}
    document = {"mimeType": SIGSTORE_PAYLOAD, "payload": base64.b64encode(payload).decode(), "annotations": annotations}
    blob = b"\0sigstore-json\n" + mutations.written(random, mutations.tree(random, document, KEYS))
    blob = mutations.damaged(random, blob) if random.random() < 0.2 else blob
    try:
        found = parse_signature(blob)
    except (InvalidSignatureError, LimitExceededError):
        return
    assert parse_signature(found.to_blob()) == found
    if isinstance(found, SimpleSignature) or not is_attachment(found):
        return
    try:
        _, said = verify_attachment(found, TRUST)
    except InvalidSignatureError:
        return
    assert found.payload == payload
    assert said == SAID


def payloads(random: Random, scratch: Path) -> None:
    """What is signed, whatever it is, is refused or means the same when it is written again."""
    del scratch
    document = json.loads(SAID.to_json(SIGNED_BY))
    data = mutations.written(random, mutations.tree(random, document, KEYS))
    signature = SigstoreSignature(
        media_type=SIGSTORE_PAYLOAD,
        payload=data,
        annotations={SIGNATURE: base64.b64encode(KEY.sign(data)).decode()},
    )
    try:
        signatory, said = verify_attachment(signature, TRUST)
    except InvalidSignatureError:
        return
    assert signatory.key == KEY.public_key
    assert read_payload(said.to_json(SIGNED_BY), SIGNED_BY) == said


def key_files(random: Random, scratch: Path) -> None:
    """A file with a key is refused as one, or holds a key that signs; nothing in it makes reading it cost more."""
    del scratch
    der = mutations.damaged(random, PKCS8) if random.random() < 0.5 else PKCS8
    # To derive a key takes most of the time, so most envelopes are wrong before that.
    document = _envelope(der)
    if random.random() < 0.9:
        document = mutations.tree(random, document, KEY_KEYS)
    is_plain = random.random() < 0.5
    content = der if is_plain else mutations.written(random, document)
    label = random.choice(LABELS[2:3] if is_plain else LABELS[:2]) if random.random() < 0.9 else random.choice(LABELS)
    text = f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n".encode()
    text = mutations.damaged(random, text) if random.random() < 0.2 else text
    try:
        key = PrivateKey.read(text, None if is_plain else random.choice([b"", PASSPHRASE]), what="key")
    except SigningError:
        pass
    else:
        key.public_key.verify(key.sign(b"image"), b"image")
        assert PublicKey.read(key.public_key.pem, what="key") == key.public_key
    try:
        PublicKey.read(text, what="key")
    except InvalidSignatureError:
        return


def _envelope(der: bytes) -> Any:
    written = {name: base64.b64encode(one).decode() for name, one in (("salt", SALT), ("nonce", NONCE))}
    return {
        "kdf": {"name": "scrypt", "params": {"N": 32768, "r": 8, "p": 1}, "salt": written["salt"]},
        "cipher": {"name": "nacl/secretbox", "nonce": written["nonce"]},
        "ciphertext": base64.b64encode(seal(DERIVED, NONCE, der)).decode(),
    }


#: The targets by name.
TARGETS: dict[str, Callable[[Random, Path], None]] = {
    "signatures": signatures,
    "payloads": payloads,
    "key-files": key_files,
}
