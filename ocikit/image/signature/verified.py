"""Who signed what: a signature that was verified, and what it says. Only data, and nothing unverified in it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import datetime as dt

    from ocikit.spec import Digest

__all__ = ["SignatureKind", "VerifiedSignature"]


class SignatureKind(enum.Enum):
    """The kind of a signature."""

    #: An OpenPGP message.
    SIMPLE = "simple signing"
    #: A payload and a signature of it (cosign, containers/image).
    SIGSTORE = "sigstore"
    #: A sigstore bundle, which carries its proof in itself.
    BUNDLE = "sigstore bundle"


@frozen(kw_only=True)
class VerifiedSignature:
    """A signature that a requirement of a policy accepts.

    Attributes:
        kind: Its kind.
        digest: The digest of the manifest that it signs.
        docker_reference: What the signer calls the image; None where the kind of signature has no place for it.
        signer: Who made it, for people: user ids, a mail address, a host, or the fingerprint of a key.
        key: The fingerprint of the key: of OpenPGP, that of the primary key; else SHA-256 of the public key, in
            hexadecimal.
        issuer: The identity provider that vouched for the signer, where there is one.
        creator: The program that made it, as it says itself.
        created: When it was made, as the signer says.
        logged: When a transparency log took it in, where the policy asks for that.
        log_index: The number of the entry in that log.
    """

    kind: SignatureKind
    digest: Digest
    docker_reference: str | None
    signer: str
    key: str
    issuer: str | None = None
    creator: str | None = None
    created: dt.datetime | None = None
    logged: dt.datetime | None = None
    log_index: int | None = None

    def __str__(self) -> str:
        called = f" as {self.docker_reference}" if self.docker_reference is not None else ""
        vouched = f", vouched for by {self.issuer}" if self.issuer is not None else ""
        return f"{self.digest}{called}, signed by {self.signer}{vouched} ({self.kind.value}, key {self.key})"
