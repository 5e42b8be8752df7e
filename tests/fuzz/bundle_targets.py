"""Fuzzing of sigstore bundles: damaged after they were signed, or signed and logged as nobody signs and logs."""

from __future__ import annotations

import copy
import functools
import json
from typing import TYPE_CHECKING, Any

import attrs
import mutations
from authorities import NOW, Authority, Log
from bundle_logs import (
    DIGEST,
    Signer,
    checkpoint_text,
    dsse,
    dsse_v2,
    hashedrekord,
    hashedrekord_v2,
    intoto,
    make_bundle,
    note,
    statement,
)
from timestamp_makers import Stamp, timestamp_authority

from ocikit.errors import InvalidSignatureError, LimitExceededError, OCIKitError
from ocikit.image.bundle_manifest import bundle_manifest, bundle_of
from ocikit.image.signature.sigstore.bundle import verify_bundle
from ocikit.image.signature.sigstore.timestamps import verify_timestamps
from ocikit.image.signature.sigstore.trust import FulcioTrust, Trust
from ocikit.image.stored_signature import BUNDLE, SigstoreSignature
from ocikit.spec import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from ocikit.image.signature.sigstore.statement import BundleClaim

NAME, EMAIL, PROVIDER = "example.com/a:1", "who@example.com", "https://idp.example.com"
KINDS = (dsse, hashedrekord, intoto, hashedrekord_v2, dsse_v2)
KEYS = (
    *("mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature", "payload", "payloadType", "signatures"),
    *("sig", "keyid", "publicKey", "certificate", "x509CertificateChain", "rawBytes", "tlogEntries", "logIndex"),
    *("logId", "keyId", "kindVersion", "inclusionPromise", "inclusionProof", "hashes", "checkpoint", "envelope"),
    *("canonicalizedBody", "_type", "subject", "name", "digest", "sha256", "predicateType", "spec", "kind", "content"),
)


@attrs.frozen
class Parties:
    """Who signs and logs, and who is trusted."""

    log: Log
    signers: tuple[Signer, Signer]
    trusts: tuple[Trust, Trust]


@functools.cache
def parties() -> Parties:
    """Make them, once."""
    root, log, key = Authority.root(), Log(), Signer.new()
    between = root.below()
    certified = Signer.certified(between.issue(emails=[EMAIL], identity_provider=PROVIDER), between)
    fulcio = FulcioTrust(roots=(root.certificate,), oidc_issuer=PROVIDER, subject_email=EMAIL)
    logs = (log.public_key,)
    trusts = (Trust(keys=(key.public_key,), log_keys=logs), Trust(fulcio=fulcio, log_keys=logs))
    return Parties(log, (key, certified), trusts)


@functools.cache
def good(kind: int, signer: int) -> Any:
    """Return a good bundle, which is not to be changed."""
    made = parties()
    return make_bundle(statement(name=NAME), made.signers[signer], logs=[made.log], kind=KINDS[kind])


def verified(data: bytes, trust: Trust) -> BundleClaim | None:
    """Verify a bundle; None when it is refused as bad input may be."""
    try:
        return verify_bundle(data, trust)[1]
    except (InvalidSignatureError, LimitExceededError):
        return None


def damaged_bundles(random: Random, scratch: Path) -> None:
    """However a bundle is damaged, it is refused, or says what was signed."""
    del scratch
    signer = random.randrange(2)
    bundle = good(random.randrange(len(KINDS)), signer)
    trust = parties().trusts[signer]
    assert verified(json.dumps(bundle).encode(), trust) is not None
    claim = verified(mutations.written(random, mutations.tree(random, bundle, KEYS)), trust)
    assert claim is None or claim.docker_references_of(DIGEST) == (NAME,)


def odd_bundles(random: Random, scratch: Path) -> None:
    """Whatever a trusted signer signs, and a trusted log takes in or signs, is read or refused."""
    del scratch
    made, signer = parties(), random.randrange(2)
    log = Log(made.log.key)
    payload = statement(name=NAME)
    if random.random() < 0.4:
        payload = mutations.written(random, mutations.tree(random, json.loads(payload), KEYS)) or b"{}"

    def change(body: dict[str, Any]) -> None:
        if random.random() < 0.5:
            changed = mutations.tree(random, body, KEYS)
            body["spec"] = changed.get("spec", 1) if isinstance(changed, dict) else changed

    try:
        bundle = make_bundle(payload, made.signers[signer], logs=[log], kind=random.choice(KINDS), change=change)
    except UnicodeEncodeError:
        return  # half a character, which no log could have taken in
    if random.random() < 0.4:
        text = mutations.text(random, ("\n", "\n\n", "1", "0", "log.example.com", "AAAA", "=", checkpoint_text(log)))
        envelope = {"envelope": note(log.key, text.encode(errors="replace").decode())}
        bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"] = envelope
    verified(json.dumps(bundle).encode(), made.trusts[signer])


def attached_bundles(random: Random, scratch: Path) -> None:
    """A manifest attaches a bundle that is the blob it names, or is refused."""
    del scratch
    payload = mutations.written(random, mutations.tree(random, copy.deepcopy(good(0, 0)), KEYS))
    subject = Descriptor.from_content("application/vnd.oci.image.manifest.v1+json", b"x")
    manifest, _ = bundle_manifest(SigstoreSignature(media_type=BUNDLE, payload=payload), subject)
    changed = mutations.written(random, mutations.tree(random, json.loads(manifest), ("artifactType", *KEYS)))
    try:
        assert bundle_of(changed, lambda _: payload).payload == payload
    except OCIKitError:
        return


@functools.cache
def stamp() -> tuple[Any, bytes]:
    """Return an authority that signs timestamps, and a good one."""
    by = timestamp_authority()
    return by.certificate, Stamp(by=by, signature=b"signature").to_der()


def timestamps(random: Random, scratch: Path) -> None:
    """However a timestamp is damaged, it is refused, vouches for nothing, or says what was signed."""
    del scratch
    certificate, good_one = stamp()
    try:
        found = verify_timestamps([good_one, mutations.damaged(random, good_one)], b"signature", (certificate,))
    except InvalidSignatureError:
        return
    assert found in {(NOW,), (NOW, NOW)}


#: Every target by name.
TARGETS: dict[str, Callable[[Random, Path], None]] = {
    "bundles": damaged_bundles,
    "odd-bundles": odd_bundles,
    "attached-bundles": attached_bundles,
    "timestamps": timestamps,
}
