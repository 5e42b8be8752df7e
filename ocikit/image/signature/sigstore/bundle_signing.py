"""Signing with a key by way of a bundle, as cosign 3 does it."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Self

from ocikit.image.signature.sigstore.dsse import pre_authentication_encoding
from ocikit.image.signature.sigstore.private_keys import PrivateKey, check_signing_key
from ocikit.image.signature.sigstore.statement import IN_TOTO, write_statement
from ocikit.image.stored_signature import BUNDLE, SigstoreSignature
from ocikit.spec._json import dumps

if TYPE_CHECKING:
    import os

    from ocikit.image.reference import Named
    from ocikit.image.signature.sigstore.private_keys import SigningKey
    from ocikit.spec import Digest

__all__ = ["SigstoreBundleSigner"]


class SigstoreBundleSigner:
    """Signs manifests with a key, by bundles (a :class:`~ocikit.image.signature.signer.Signer`).

    A bundle says of a manifest that it is signed, as cosign's does, and beside that what the manifest is called: cosign
    leaves the name of the subject out. No log and no authority is asked.

    Args:
        key: The private key, or what signs with one that is elsewhere.
    """

    def __init__(self, key: SigningKey) -> None:
        check_signing_key(key)
        self._key = key

    @classmethod
    def from_private_key_file(cls, path: str | os.PathLike[str], passphrase: bytes | str | None) -> Self:
        """Make a signer of a file with a private key.

        Args:
            path: The file: :meth:`~ocikit.image.signature.sigstore.private_keys.PrivateKey.read`.
            passphrase: What it is encrypted by; None for a key that is not encrypted.

        Raises:
            SigningError: The file cannot be read, or the passphrase is another.
        """
        return cls(PrivateKey.read_file(path, passphrase))

    @property
    def description(self) -> str:
        """The key, for messages and logs."""
        return f"sigstore key {self._key.public_key}"

    def sign(self, digest: Digest, docker_reference: Named) -> SigstoreSignature:
        """Sign a manifest.

        Args:
            digest: The digest of the manifest.
            docker_reference: What the image is called, with a tag or a digest.

        Raises:
            SigningError: The signature cannot be made.
        """
        payload = write_statement(digest, str(docker_reference))
        signature = self._key.sign(pre_authentication_encoding(IN_TOTO, payload))
        # cosign's hint is the hash of the key, so that whoever has several finds it.
        hint = hashlib.sha256(self._key.public_key.der).digest()
        bundle = {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": _base64(hint)}},
            "dsseEnvelope": {
                "payload": _base64(payload),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": _base64(signature)}],
            },
        }
        return SigstoreSignature(media_type=BUNDLE, payload=dumps(bundle))

    def __repr__(self) -> str:
        return f"SigstoreBundleSigner({self._key.public_key})"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
