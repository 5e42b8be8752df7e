"""That an entry is in a log of which the root is known: proofs of inclusion (RFC 9162 §2.1.3, RFC 6962 §2.1.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ocikit.errors import InvalidSignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HASH_BYTES", "MAX_PROOF_HASHES", "root_of", "verify_inclusion"]

#: The size of a hash, in bytes: logs of sigstore hash by SHA-256.
HASH_BYTES: Final = 32
#: How many hashes a proof can have: a tree has fewer than 2^63 leaves.
MAX_PROOF_HASHES: Final = 63


def root_of(leaf: bytes, *, index: int, tree_size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree that a proof leads to from a leaf (RFC 9162 §2.1.3.2).

    Args:
        leaf: The content of the leaf; not its hash.
        index: The number of the leaf.
        tree_size: How many leaves the tree has.
        hashes: The proof, from the leaf up.

    Raises:
        InvalidSignatureError: There is no such leaf, or the proof is longer or shorter than the way to the root.
    """
    if not 0 <= index < tree_size:
        raise InvalidSignatureError(f"there is no entry {index} in a log of {tree_size}")
    node, last = index, tree_size - 1
    # §2.1.1: a leaf and an inner node never hash the same bytes.
    root = hashlib.sha256(b"\0" + leaf).digest()
    for one in hashes:
        if last == 0:
            raise InvalidSignatureError(f"the proof has {len(hashes)} hashes, more than the way to the root")
        if len(one) != HASH_BYTES:
            raise InvalidSignatureError(f"a hash of the proof has {len(one)} bytes, expected {HASH_BYTES}")
        if node & 1 or node == last:
            root = hashlib.sha256(b"\1" + one + root).digest()
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\1" + root + one).digest()
        node, last = node >> 1, last >> 1
    if last != 0:
        raise InvalidSignatureError(f"the proof has {len(hashes)} hashes, fewer than the way to the root")
    return root


def verify_inclusion(leaf: bytes, *, index: int, tree_size: int, hashes: Sequence[bytes], root: bytes) -> None:
    """Return when a tree has a leaf.

    Args:
        leaf: The content of the leaf.
        index: The number of the leaf.
        tree_size: How many leaves the tree has.
        hashes: The proof.
        root: The root of the tree.

    Raises:
        InvalidSignatureError: The proof does not lead there.
    """
    found = root_of(leaf, index=index, tree_size=tree_size, hashes=hashes)
    if found != root:
        raise InvalidSignatureError(
            f"the proof leads to a log with the root {found.hex()}, expected the root {root.hex()[:80]}"
        )
