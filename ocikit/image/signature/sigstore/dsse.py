"""Envelopes with a signed payload (DSSE 1.0): what exactly is signed. Only data."""

from __future__ import annotations

from attrs import field, frozen

__all__ = ["Envelope", "pre_authentication_encoding"]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a signature of an envelope is over (DSSE protocol, "PAE").

    Args:
        payload_type: The type of the payload.
        payload: The payload.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@frozen(kw_only=True)
class Envelope:
    """A payload with one signature.

    Attributes:
        payload_type: The type of the payload; signed as well.
        payload: The payload.
        signature: The signature; of ECDSA, DER.
    """

    payload_type: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return pre_authentication_encoding(self.payload_type, self.payload)
