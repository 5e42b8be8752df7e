"""What transparency logs say of a bundle: which entries prove that the signature was logged, and when."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.checkpoint import log_id_of, verify_checkpoint
from ocikit.image.signature.sigstore.inclusion import verify_inclusion
from ocikit.image.signature.sigstore.log_bodies import verify_body
from ocikit.image.signature.sigstore.rekor import verify_promise

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from ocikit.image.signature.sigstore.bundle_document import Bundle, InclusionProof, LoggedEntry
    from ocikit.image.signature.sigstore.checkpoint import Checkpoint
    from ocikit.image.signature.sigstore.keys import PublicKey
    from ocikit.image.signature.sigstore.log_bodies import Signed
    from ocikit.image.signature.sigstore.trust import LogEntry

__all__ = ["VerifiedEntry", "verify_entries"]


@frozen(kw_only=True)
class VerifiedEntry:
    """An entry that a trusted log has.

    Attributes:
        log_id: What the log is identified by, hexadecimal.
        log_index: The number of the entry.
        promised: What the log promised, with the time; None when the log only proved that it has the entry. Then
            nothing says when.
    """

    log_id: str
    log_index: int
    promised: LogEntry | None

    @property
    def time(self) -> dt.datetime | None:
        """When the log took the entry in, when it vouches for a time."""
        return self.promised.integrated_time if self.promised is not None else None


def verify_entries(bundle: Bundle, signed: Signed, log_keys: Sequence[PublicKey]) -> tuple[VerifiedEntry, ...]:
    """Verify what trusted logs say; what other logs say is not looked at.

    Args:
        bundle: The bundle.
        signed: What was verified of it, and every entry must be about.
        log_keys: The public keys of the logs that are trusted.

    Returns:
        The entries, at least one.

    Raises:
        InvalidSignatureError: There is none, or one is not proven, is about something else, or is there twice.
    """
    found: dict[tuple[bytes, int], VerifiedEntry] = {}
    for number, entry in enumerate(bundle.entries):
        key = _key_of(entry, log_keys)
        if key is None:
            continue
        name = (entry.log_id, entry.log_index)
        if name in found:
            raise InvalidSignatureError(f"entry {number} of the transparency log: is there twice")
        try:
            found[name] = _verified(entry, bundle.version, key)
            verify_body(entry, signed)
        except InvalidSignatureError as error:
            raise InvalidSignatureError(f"entry {number} of the transparency log: {error}") from error
    if not found:
        trusted = ", ".join(map(str, log_keys[:5]))
        logs = ", ".join(entry.log_id.hex()[:64] for entry in bundle.entries) or "none"
        raise InvalidSignatureError(
            f"the bundle has no entry of a transparency log that is trusted: expected one by {trusted}, found {logs}"
        )
    return tuple(found.values())


def _key_of(entry: LoggedEntry, log_keys: Sequence[PublicKey]) -> PublicKey | None:
    return next((key for key in log_keys if entry.log_id in _ids_of(key, entry.proof)), None)


def _ids_of(key: PublicKey, proof: InclusionProof | None) -> Iterator[bytes]:
    yield bytes.fromhex(key.fingerprint)
    if proof is not None and proof.checkpoint is not None:
        # A log that signs by Ed25519 is identified by its name as well, and only the checkpoint has that.
        yield log_id_of(key, proof.checkpoint.partition("\n")[0])


def _verified(entry: LoggedEntry, version: tuple[int, int], key: PublicKey) -> VerifiedEntry:
    # sigstore_bundle.proto: 0.1 has the promise, and from 0.2 on the proof is what counts.
    if version >= (0, 2) and (entry.proof is None or entry.proof.checkpoint is None):
        what = "proof of inclusion" if entry.proof is None else "checkpoint with its proof of inclusion"
        raise InvalidSignatureError(f"has no {what}, which a bundle from version 0.2 on must have")
    if entry.promise is None and version < (0, 2):
        raise InvalidSignatureError("has no promise of the log, which a bundle of version 0.1 must have")
    if entry.proof is not None:
        _verify_proof(entry.proof, entry.body, key)
    promised = None
    if entry.promise is not None:
        promised = verify_promise(
            entry.promise,
            (key,),
            body=base64.b64encode(entry.body).decode(),
            integrated_time=entry.integrated_time,
            log_index=entry.log_index,
            log_id=entry.log_id.hex(),
        )
    return VerifiedEntry(log_id=entry.log_id.hex(), log_index=entry.log_index, promised=promised)


def _verify_proof(proof: InclusionProof, body: bytes, key: PublicKey) -> None:
    if proof.checkpoint is not None:
        _verify_root(proof, verify_checkpoint(proof.checkpoint, key))
    # Without a checkpoint this proves nothing; the promise does, and a proof that is wrong is not one of this entry.
    verify_inclusion(body, index=proof.log_index, tree_size=proof.tree_size, hashes=proof.hashes, root=proof.root)


def _verify_root(proof: InclusionProof, checkpoint: Checkpoint) -> None:
    if checkpoint.tree_size != proof.tree_size:
        raise InvalidSignatureError(
            f"the checkpoint is of a log of {checkpoint.tree_size} entries, the proof of one of {proof.tree_size}"
        )
    if checkpoint.root != proof.root:
        raise InvalidSignatureError(
            f"the checkpoint is of a log with the root {checkpoint.root.hex()}, the proof of one with "
            f"{proof.root.hex()[:80]}"
        )
