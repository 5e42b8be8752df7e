"""Signing images with a key, as cosign and containers/image do.

What is signed names the manifest by its digest and the image by its reference; the signature and, for a key that has
one, its certificate go along as annotations.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Self

import ocikit
from ocikit.errors import InvalidSignatureError, SigningError
from ocikit.image.given import pem_bytes
from ocikit.image.signature.payload import Payload, PayloadType
from ocikit.image.signature.sigstore.annotations import CERTIFICATE, CHAIN, SIGNATURE
from ocikit.image.signature.sigstore.certificates import read_certificate, read_chain
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.private_keys import PrivateKey, check_signing_key
from ocikit.image.stored_signature import SIGSTORE_PAYLOAD, SigstoreSignature

if TYPE_CHECKING:
    import os

    from ocikit.image.reference import Named
    from ocikit.image.signature.sigstore.private_keys import SigningKey
    from ocikit.spec import Digest

__all__ = ["SigstoreSigner"]


class SigstoreSigner:
    """What makes sigstore signatures with one key (:class:`~ocikit.image.signature.signer.Signer`).

    Args:
        key: The private key, or what signs with one that is elsewhere.
        certificate_pem: Its certificate, PEM, for verifiers that trust an authority (``pki`` in a policy); None for
            those that know the key.
        chain_pem: The certificates between that one and a root, and the root, PEM. Others take the last one for the
            root, and do not look at it.

    Raises:
        SigningError: The certificate is malformed or that of another key, or the chain is malformed or has none.
    """

    def __init__(
        self, key: SigningKey, *, certificate_pem: bytes | str | None = None, chain_pem: bytes | str | None = None
    ) -> None:
        check_signing_key(key)
        if certificate_pem is None and chain_pem is not None:
            raise SigningError("there is a chain of certificates, and no certificate that it is the chain of")
        self._key = key
        self._proofs: dict[str, str] = {}
        if certificate_pem is not None:
            _check_certificates(certificate_pem, chain_pem, key.public_key)
            self._proofs[CERTIFICATE] = _text(certificate_pem)
        if chain_pem:
            self._proofs[CHAIN] = _text(chain_pem)

    @classmethod
    def from_private_key_file(
        cls,
        path: str | os.PathLike[str],
        passphrase: bytes | str | None,
        *,
        certificate_pem: bytes | str | None = None,
        chain_pem: bytes | str | None = None,
    ) -> Self:
        """Make a signer of a file with a private key.

        Args:
            path: The file: :meth:`~ocikit.image.signature.sigstore.private_keys.PrivateKey.read`.
            passphrase: What it is encrypted by; None for a key that is not encrypted.
            certificate_pem: As for the class.
            chain_pem: Likewise.

        Raises:
            SigningError: The file cannot be read, the passphrase is another, or as for the class.
        """
        key = PrivateKey.read_file(path, passphrase)
        return cls(key, certificate_pem=certificate_pem, chain_pem=chain_pem)

    @property
    def public_key(self) -> PublicKey:
        """The key by which the signatures are verified."""
        return self._key.public_key

    @property
    def description(self) -> str:
        """The key, for messages and logs."""
        return f"sigstore key {self.public_key}"

    def sign(self, digest: Digest, docker_reference: Named) -> SigstoreSignature:
        """Sign a manifest.

        Args:
            digest: The digest of the manifest.
            docker_reference: What the image is called, with a tag or a digest.

        Raises:
            SigningError: The name has neither.
        """
        if docker_reference.is_name_only:
            raise SigningError(
                f"{docker_reference}: not signed, since it has neither a tag nor a digest: it would be a signature for "
                "every version"
            )
        payload = Payload(
            digest=digest,
            docker_reference=str(docker_reference),
            creator=f"ocikit {ocikit.__version__}",
            timestamp=int(time.time()),
        ).to_json(PayloadType.SIGSTORE)
        signature = base64.b64encode(self._key.sign(payload)).decode()
        return SigstoreSignature(
            media_type=SIGSTORE_PAYLOAD, payload=payload, annotations={SIGNATURE: signature, **self._proofs}
        )

    def __repr__(self) -> str:
        return f"SigstoreSigner({self.description})"


def _text(pem: bytes | str) -> str:
    # Annotations are text. What was read as PEM is ASCII.
    return pem if isinstance(pem, str) else pem.decode("ascii")


def _check_certificates(pem: bytes | str, chain_pem: bytes | str | None, key: PublicKey) -> None:
    """Refuse what no verifier would accept: a certificate that is malformed, or not that of the key."""
    for one, what in ((pem, "certificate_pem"), (chain_pem or b"", "chain_pem")):
        pem_bytes(one, what, "read the file first")
    try:
        certificate = read_certificate(pem, what="the certificate of the key")
        read_chain(chain_pem, what="the chain of the certificate")
        found = PublicKey(certificate.public_key())
    except InvalidSignatureError as error:
        raise SigningError(str(error)) from error
    if found != key:
        raise SigningError(f"the certificate is one of the key {found}, and the key to sign with is {key}")
