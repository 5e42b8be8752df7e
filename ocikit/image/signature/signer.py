"""Who signs images: what every kind of signer offers to whoever writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.stored_signature import StoredSignature
    from ocikit.spec import Digest

__all__ = ["Signer"]


class Signer(Protocol):
    """What makes signatures with one key; may be used many times, and by several threads.

    One that has a method ``prepare()`` is asked by it before a copy begins, and raises ``SigningError`` when it knows
    already that it cannot sign.
    """

    @property
    def description(self) -> str:
        """The key, for messages and logs: never a secret."""

    def sign(self, digest: Digest, docker_reference: Named) -> StoredSignature:
        """Sign a manifest.

        Args:
            digest: The digest of the manifest.
            docker_reference: What the image is called, with a tag or a digest.

        Raises:
            SigningError: The signature cannot be made.
        """
