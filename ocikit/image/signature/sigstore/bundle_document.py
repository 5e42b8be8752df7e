"""Sigstore bundles as data: what is signed, and what comes along to prove it (sigstore_bundle.proto, 0.1 to 0.3).

Read strictly: a member that one reader sees and another does not is how a document is made to prove two things. Nothing
is verified here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import LimitExceededError
from ocikit.image.signature.sigstore.dsse import Envelope
from ocikit.image.signature.sigstore.inclusion import MAX_PROOF_HASHES
from ocikit.image.signature.sigstore.members import Members, decode_base64
from ocikit.image.stored_signature import BUNDLE, MAX_SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bundle", "InclusionProof", "LoggedEntry", "MessageSignature", "read_bundle"]

#: The versions of the format, by what the document calls itself. The form of 0.3 with a parameter came first.
_VERSIONS: Final[Mapping[str, tuple[int, int]]] = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": (0, 1),
    "application/vnd.dev.sigstore.bundle+json;version=0.2": (0, 2),
    "application/vnd.dev.sigstore.bundle+json;version=0.3": (0, 3),
    BUNDLE: (0, 3),
}

#: The algorithms of hashes, by their names in messages, and their names everywhere else.
_ALGORITHMS: Final[Mapping[str, str]] = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}

_MOST_ENTRIES: Final = 32
_MOST_CERTIFICATES: Final = 16
_MOST_TIMESTAMPS: Final = 32
_CONTENTS: Final = ("dsseEnvelope", "messageSignature")
_MATERIALS: Final = ("publicKey", "certificate", "x509CertificateChain")


@frozen(kw_only=True)
class MessageSignature:
    """A signature over bytes that are not in the bundle.

    Attributes:
        algorithm: The algorithm of the digest, such as ``sha256``; None when none is stated.
        digest: The digest of the bytes, as the bundle has it.
        signature: The signature; of ECDSA, DER.
    """

    algorithm: str | None
    digest: bytes
    signature: bytes = field(repr=False)


@frozen(kw_only=True)
class InclusionProof:
    """That an entry is in a log.

    Attributes:
        log_index: The number of the entry in its tree; a log may have several.
        tree_size: How many entries the tree had.
        root: The root of the tree.
        hashes: The way there, from the entry up.
        checkpoint: What the log signed; None without one, as early bundles of version 0.1 have it.
    """

    log_index: int
    tree_size: int
    root: bytes
    hashes: tuple[bytes, ...] = field(repr=False)
    checkpoint: str | None = field(repr=False)


@frozen(kw_only=True)
class LoggedEntry:
    """An entry of a transparency log.

    Attributes:
        log_index: Its number in the log.
        log_id: What the log is identified by.
        kind: The kind of its body, such as ``dsse``.
        version: The version of that kind.
        integrated_time: When the log took it in, in seconds since the epoch; 0 when that is not stated. The promise
            covers it, the proof does not.
        promise: The signature of the log over body, number and time (SET); None without one.
        proof: That it is in the log; None without one.
        body: What is in the log, byte for byte.
    """

    log_index: int
    log_id: bytes
    kind: str
    version: str
    integrated_time: int
    promise: bytes | None = field(repr=False)
    proof: InclusionProof | None
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class Bundle:
    """What a bundle holds.

    Attributes:
        version: The version of the format.
        content: What is signed.
        certificates: The certificate of the signer, and those above it, DER; none for a key.
        entries: What transparency logs say.
        timestamps: Answers of timestamp authorities about the signature (RFC 3161), DER.
    """

    version: tuple[int, int]
    content: Envelope | MessageSignature
    certificates: tuple[bytes, ...] = field(repr=False)
    entries: tuple[LoggedEntry, ...]
    timestamps: tuple[bytes, ...] = field(repr=False)


def read_bundle(data: bytes) -> Bundle:
    """Read a bundle; nothing is verified.

    Args:
        data: The document.

    Raises:
        InvalidSignatureError: It is malformed, or of a version that is not known.
        LimitExceededError: It is larger than 4 MiB.
    """
    if len(data) > MAX_SIGNATURE_BYTES:
        raise LimitExceededError("bytes of a sigstore bundle", MAX_SIGNATURE_BYTES, len(data))
    bundle = Members.read(data, "the sigstore bundle").only("mediaType", "verificationMaterial", *_CONTENTS)
    version = _VERSIONS[bundle.exactly("mediaType", *_VERSIONS)]
    if bundle.has("dsseEnvelope") == bundle.has("messageSignature"):
        raise bundle.fault("dsseEnvelope", "expected exactly one of dsseEnvelope and messageSignature")
    material = bundle.object("verificationMaterial").only(*_MATERIALS, "tlogEntries", "timestampVerificationData")
    return Bundle(
        version=version,
        content=_envelope(bundle) if bundle.has("dsseEnvelope") else _message(bundle),
        certificates=_certificates(material),
        entries=tuple(_entry(one) for one in material.objects("tlogEntries", _MOST_ENTRIES)),
        timestamps=_timestamps(material),
    )


def _envelope(bundle: Members) -> Envelope:
    envelope = bundle.object("dsseEnvelope").only("payload", "payloadType", "signatures")
    signatures = envelope.objects("signatures", 1)
    if not signatures:
        raise envelope.fault("signatures", "expected exactly one, found none")
    return Envelope(
        payload_type=envelope.text("payloadType"),
        payload=envelope.base64("payload"),
        signature=signatures[0].only("sig", "keyid").base64("sig"),
    )


def _message(bundle: Members) -> MessageSignature:
    message = bundle.object("messageSignature").only("messageDigest", "signature")
    algorithm, digest = None, b""
    if message.has("messageDigest"):
        stated = message.object("messageDigest").only("algorithm", "digest")
        algorithm, digest = _ALGORITHMS[stated.exactly("algorithm", *_ALGORITHMS)], stated.base64("digest")
    return MessageSignature(algorithm=algorithm, digest=digest, signature=message.base64("signature"))


def _certificates(material: Members) -> tuple[bytes, ...]:
    given = [key for key in _MATERIALS if material.has(key)]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise material.fault("certificate", f"expected exactly one of {', '.join(_MATERIALS)}, found {found}")
    if given == ["publicKey"]:
        # A hint where to look for the key; which keys are trusted, and so tried, is in the policy.
        material.object("publicKey").only("hint")
        return ()
    if given == ["certificate"]:
        return (material.object("certificate").only("rawBytes").base64("rawBytes"),)
    chain = material.object("x509CertificateChain").only("certificates")
    certificates = chain.objects("certificates", _MOST_CERTIFICATES)
    if not certificates:
        raise chain.fault("certificates", "expected at least one, found none")
    return tuple(one.only("rawBytes").base64("rawBytes") for one in certificates)


def _entry(entry: Members) -> LoggedEntry:
    entry.only(
        *("logIndex", "logId", "kindVersion", "integratedTime"),
        *("inclusionPromise", "inclusionProof", "canonicalizedBody"),
    )
    kind = entry.object("kindVersion").only("kind", "version")
    promise = entry.object("inclusionPromise").only("signedEntryTimestamp") if entry.has("inclusionPromise") else None
    return LoggedEntry(
        log_index=entry.whole("logIndex"),
        log_id=entry.object("logId").only("keyId").base64("keyId"),
        kind=kind.text("kind"),
        version=kind.text("version"),
        integrated_time=entry.whole("integratedTime"),
        promise=promise.base64("signedEntryTimestamp") if promise is not None else None,
        proof=_proof(entry.object("inclusionProof")) if entry.has("inclusionProof") else None,
        body=entry.base64("canonicalizedBody"),
    )


def _proof(proof: Members) -> InclusionProof:
    proof.only("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
    hashes = []
    for number, text in enumerate(proof.items("hashes", MAX_PROOF_HASHES)):
        data = decode_base64(text) if isinstance(text, str) else None
        if data is None:
            raise proof.fault("hashes", f"item {number} is not base64")
        hashes.append(data)
    return InclusionProof(
        log_index=proof.whole("logIndex"),
        tree_size=proof.whole("treeSize"),
        root=proof.base64("rootHash"),
        hashes=tuple(hashes),
        checkpoint=_checkpoint(proof) if proof.has("checkpoint") else None,
    )


def _checkpoint(proof: Members) -> str:
    return proof.object("checkpoint").only("envelope").text("envelope")


def _timestamps(material: Members) -> tuple[bytes, ...]:
    if not material.has("timestampVerificationData"):
        return ()
    data = material.object("timestampVerificationData").only("rfc3161Timestamps")
    found = data.objects("rfc3161Timestamps", _MOST_TIMESTAMPS)
    return tuple(one.only("signedTimestamp").base64("signedTimestamp") for one in found)
