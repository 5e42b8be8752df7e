"""Proofs that an entry is in a log, over trees of every shape."""

from __future__ import annotations

import pytest
from authorities import Log, new_key
from bundle_logs import checkpoint_text, note
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.checkpoint import log_id_of, verify_checkpoint
from ocikit.image.signature.sigstore.inclusion import HASH_BYTES, root_of, verify_inclusion

MOST = 40


def filled(size: int) -> tuple[Log, list[bytes]]:
    """Make a log with so many entries."""
    log, bodies = Log(), [b"entry %d" % number for number in range(size)]
    for body in bodies:
        log.add(body)
    return log, bodies


def test_every_entry_of_every_tree_is_proven() -> None:
    """Proofs of all entries of all trees up to a size lead to the root, and those of no other entry do."""
    for size in range(1, MOST):
        log, bodies = filled(size)
        root = log.root_hash()
        for index, body in enumerate(bodies):
            hashes = log.inclusion(index)
            verify_inclusion(body, index=index, tree_size=size, hashes=hashes, root=root)
            with pytest.raises(InvalidSignatureError, match="expected the root"):
                verify_inclusion(body + b".", index=index, tree_size=size, hashes=hashes, root=root)


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(1, 40), index=st.integers(0, 40), other_size=st.integers(0, 80), other_index=st.integers(-2, 80)
)
def test_a_proof_proves_one_place(size: int, index: int, other_size: int, other_index: int) -> None:
    """A proof is good for the entry, the place and the size it was made for; a larger tree needs another one."""
    log, bodies = filled(size)
    index %= size
    hashes = log.inclusion(index)
    try:
        found = root_of(bodies[index], index=other_index, tree_size=other_size, hashes=hashes)
    except InvalidSignatureError:
        assert (other_size, other_index) != (size, index)
    else:
        # The way to the root can be the same from one place in trees of different sizes, as RFC 9162 has it; then
        # the size is what the checkpoint is there for. It is never the same from another place of the same tree.
        assert found != log.root_hash() or other_index == index or other_size != size


@given(
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=8),
    index=st.integers(-1, 2**63),
    size=st.integers(-1, 2**63),
)
def test_any_numbers_are_refused_or_lead_somewhere(hashes: list[bytes], index: int, size: int) -> None:
    """Whatever stands in a proof, it takes as many steps as it has hashes."""
    try:
        found = root_of(b"x", index=index, tree_size=size, hashes=hashes)
    except InvalidSignatureError as error:
        found = b""
        reason = str(error)
    assert len(found) == HASH_BYTES or "hashes" in reason or "there is no entry" in reason


def test_an_inner_node_is_no_entry() -> None:
    """A leaf that holds two hashes is not taken for the node above them (second preimages, RFC 9162 §2.1.1)."""
    log, _ = filled(4)
    inner = log.leaves[0] + log.leaves[1]
    with pytest.raises(InvalidSignatureError, match="expected the root"):
        verify_inclusion(inner, index=0, tree_size=2, hashes=log.inclusion(0)[1:], root=log.root_hash())


@given(st.text(max_size=200))
def test_any_text_is_no_checkpoint(text: str) -> None:
    """No text is a checkpoint that nobody has signed, whatever characters it has."""
    key = Log(KEY).public_key
    for note_text in (text, f"{text}\n\n\u2014 a AAAAAAAA\n", f"a\n1\n{text}\n\n\u2014 a AAAAAAAA\n"):
        with pytest.raises(InvalidSignatureError, match="checkpoint"):
            verify_checkpoint(note_text, key)


def test_half_a_character_is_refused() -> None:
    """Text that has no UTF-8 cannot have been signed."""
    with pytest.raises(InvalidSignatureError, match="characters without UTF-8"):
        verify_checkpoint("\ud800\n1\n\n\u2014 a AAAAAAAA\n", Log(KEY).public_key)


def test_a_checkpoint_says_what_was_signed() -> None:
    """Origin, size and root come from the lines that the log signed."""
    log, _ = filled(3)
    found = verify_checkpoint(note(log.key, checkpoint_text(log)), log.public_key)
    assert (found.origin, found.tree_size, found.root) == (log.origin, 3, log.root_hash())
    assert log_id_of(log.public_key, "any") == bytes.fromhex(log.log_id)


KEY = new_key()
