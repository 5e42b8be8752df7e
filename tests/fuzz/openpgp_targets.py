"""Fuzzing of OpenPGP: keyrings and messages, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mutations
import openpgp_cases
import openpgp_maker
from refusing import refused

from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.openpgp.message import verify_message

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from ocikit.image.signature.openpgp.message import SignedMessage

# Keys of these kinds, or their signatures, are others in every process, and a seed has to make the same case again.
UNLIKE = (openpgp_cases.RSA.body, openpgp_cases.P256.body)
OPENPGP = [
    (case.keyring, case.message)
    for case in openpgp_cases.accepted()
    if not any(body in case.keyring for body in UNLIKE)
]


def openpgp(random: Random, scratch: Path) -> None:
    """A message is refused, or has the content that was signed, whatever was done to it and to the keyring."""
    del scratch
    keyring, message = random.choice(OPENPGP)
    match random.randrange(4):
        case 0:
            keyring = mutations.damaged(random, keyring)
        case 1:
            message = mutations.damaged(random, message)
        case 2:
            keyring = mutations.damaged(random, keyring)
            message = mutations.damaged(random, message)
        case _:
            keyring = openpgp_maker.armored(keyring)
            keyring = mutations.damaged(random, keyring)
    found = []
    if refused(lambda: found.append(Keyring.read(keyring, what="keys"))):
        return
    made: list[SignedMessage] = []
    if not refused(lambda: made.append(verify_message(message, found[0], now=openpgp_maker.NOW))):
        assert made[0].content in {openpgp_maker.CONTENT, openpgp_maker.CONTENT * 90, b""}
        assert made[0].fingerprint in {one.fingerprint for one in found[0].certificates}


#: The targets by name.
TARGETS = {"openpgp": openpgp}
