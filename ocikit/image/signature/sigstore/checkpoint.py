"""Checkpoints: how large a log was and what root it had, signed by the log (C2SP tlog-checkpoint and signed-note)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.inclusion import HASH_BYTES
from ocikit.image.signature.sigstore.members import decode_base64

if TYPE_CHECKING:
    from ocikit.image.signature.sigstore.keys import PublicKey

__all__ = ["Checkpoint", "log_id_of", "verify_checkpoint"]

_MOST_BYTES: Final = 64 * 1024
# A log signs once, and a handful of witnesses beside it.
_MOST_SIGNATURES: Final = 64
_ID_BYTES: Final = 4
_LEAST_LINES: Final = 3
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE: Final = re.compile("\N{EM DASH} ([^ \n+]+) ([A-Za-z0-9+/]+={0,2})")
# signed-note, "signature types": the only one for which the name is part of what identifies a key.
_ED25519: Final = b"\n\x01"


@frozen(kw_only=True)
class Checkpoint:
    """What a checkpoint says, verified.

    Attributes:
        origin: The name of the log.
        tree_size: How many entries it had.
        root: Its root.
    """

    origin: str
    tree_size: int
    root: bytes


@frozen(kw_only=True)
class _NoteSignature:
    name: str
    key_id: bytes
    signature: bytes


def log_id_of(key: PublicKey, name: str) -> bytes:
    """Return what a log with a key is identified by; the first four bytes of it stand in a checkpoint.

    Of ECDSA and RSA it is the SHA-256 of the key (RFC 6962 §3.2), of Ed25519 that of name, type and key (signed-note).

    Args:
        key: The public key of the log.
        name: The name that it signs checkpoints by.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    if isinstance(key.key, Ed25519PublicKey):
        return hashlib.sha256(name.encode() + _ED25519 + key.key.public_bytes_raw()).digest()
    return hashlib.sha256(key.der).digest()


def verify_checkpoint(note: str, key: PublicKey) -> Checkpoint:
    """Return what a checkpoint says when the log has signed it.

    Args:
        note: The checkpoint with its signatures.
        key: The public key of the log.

    Raises:
        InvalidSignatureError: It is malformed, or not signed by the log.
    """
    text, signatures = _taken_apart(note)
    checkpoint = _read(text)
    # Rekor adds the number of its tree to the origin, and signs without it.
    names = {checkpoint.origin, checkpoint.origin.partition(" - ")[0]}
    reason = f"none of its {len(signatures)} signatures is by the log {checkpoint.origin[:100]!r} with the key {key}"
    for one in signatures:
        if one.name not in names or one.key_id != log_id_of(key, one.name)[:_ID_BYTES]:
            continue
        try:
            key.verify(one.signature, text.encode())
        except InvalidSignatureError as error:
            reason = f"its signature {error}"
        else:
            return checkpoint
    raise InvalidSignatureError(f"the checkpoint is not signed by the log: {reason}")


def _taken_apart(note: str) -> tuple[str, list[_NoteSignature]]:
    if len(note) > _MOST_BYTES:
        raise InvalidSignatureError(f"the checkpoint has {len(note):,} characters, at most {_MOST_BYTES:,} are read")
    try:
        note.encode()
    except UnicodeEncodeError as error:
        raise InvalidSignatureError("the checkpoint is malformed: it has characters without UTF-8") from error
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise InvalidSignatureError(
            "the checkpoint has no signatures: expected an empty line and lines with signatures"
        )
    lines = tail[:-1].split("\n")
    if len(lines) > _MOST_SIGNATURES:
        raise InvalidSignatureError(
            f"the checkpoint has {len(lines):,} signatures, at most {_MOST_SIGNATURES} are read"
        )
    return head + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> _NoteSignature:
    match = _SIGNATURE.fullmatch(line)
    data = decode_base64(match[2]) if match is not None else None
    if match is None or data is None or len(data) <= _ID_BYTES:
        raise InvalidSignatureError(
            f"the checkpoint has a malformed signature: expected a dash, a name and base64, found {line[:80]!r}"
        )
    return _NoteSignature(name=match[1], key_id=data[:_ID_BYTES], signature=data[_ID_BYTES:])


def _read(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < _LEAST_LINES or "" in lines:
        raise InvalidSignatureError(
            "the checkpoint is malformed: expected lines with the origin, the size and the root"
        )
    if not _SIZE.fullmatch(lines[1]):
        raise InvalidSignatureError(
            f"the checkpoint is malformed: expected the size of the log, found {lines[1][:80]!r}"
        )
    root = decode_base64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise InvalidSignatureError(
            f"the checkpoint is malformed: expected the root of the log, {HASH_BYTES} bytes in base64, "
            f"found {lines[2][:80]!r}"
        )
    return Checkpoint(origin=lines[0], tree_size=int(lines[1]), root=root)
