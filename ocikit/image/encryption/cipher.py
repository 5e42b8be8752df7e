"""AES-256 in counter mode with an HMAC-SHA-256 over what comes out (encrypt, then MAC), while bytes pass.

Key and HMAC key are the same, as ocicrypt has it. The counter is the whole block of 16 bytes, big-endian
(NIST SP 800-38A §6.5).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import EncryptionError
from ocikit.image.encryption.options import KEY_BYTES, NONCE_BYTES, LayerOptions

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import ByteStream
    from ocikit.spec import Digest

__all__ = ["DecryptedStream", "EncryptedStream"]

_PIECE: Final = 1 << 20


def _counter_mode(key: bytes, nonce: bytes) -> Any:  # noqa: ANN401 - of cryptography, which is imported late
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    # In counter mode encryption and decryption are the same.
    return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor()


class EncryptedStream:
    """The bytes of a layer, encrypted by a key that is made for it.

    Args:
        stream: The layer; closed with this one.
        digest: The digest of the layer when it is known; else it is computed.
    """

    def __init__(self, stream: ByteStream, digest: Digest | None = None) -> None:
        self._stream = stream
        self._digest = digest
        self._hasher = hashlib.sha256() if digest is None else None
        self._key = secrets.token_bytes(KEY_BYTES)
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._cipher = _counter_mode(self._key, self._nonce)
        self._mac = hmac.new(self._key, digestmod="sha256")
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` encrypted bytes; ``b""`` only at the end.

        Raises:
            BaseException: Whatever the stream raised.
        """
        data = self._stream.read(size)
        if self._hasher is not None:
            self._hasher.update(data)
        encrypted: bytes = self._cipher.update(data)
        self._mac.update(encrypted)
        self._ended = not data and size != 0
        return encrypted

    def options(self) -> LayerOptions:
        """Return what decrypts the layer; known when it was read to its end.

        Raises:
            EncryptionError: It was not.
        """
        if not self._ended:
            raise EncryptionError("what encrypts a layer is known when the layer was read to its end")
        digest = f"sha256:{self._hasher.hexdigest()}" if self._hasher is not None else str(self._digest)
        return LayerOptions(
            symmetric_key=self._key,
            nonce=self._nonce,
            hmac=self._mac.digest(),
            digest=digest,
        )

    def close(self) -> None:
        """Close the layer; closing twice is nothing."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DecryptedStream:
    """The bytes of an encrypted layer; who reads it to its end has what was encrypted, or an error.

    What is read before the end is not vouched for.

    Args:
        stream: The encrypted bytes; closed with this one.
        options: What decrypts them.
        what: The layer, for messages.
    """

    def __init__(self, stream: ByteStream, options: LayerOptions, what: str = "layer") -> None:
        self._stream = stream
        self._what = what
        self._expected = options.hmac
        self._cipher = _counter_mode(options.symmetric_key, options.nonce)
        self._mac = hmac.new(options.symmetric_key, digestmod="sha256")

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end, when the HMAC is right.

        Raises:
            EncryptionError: The encrypted bytes have ended, and have another HMAC than was said.
            BaseException: Whatever the stream raised.
        """
        data = self._stream.read(size)
        self._mac.update(data)
        if not data and size and not hmac.compare_digest(self._mac.digest(), self._expected):
            raise EncryptionError(
                f"{self._what}: expected the HMAC-SHA-256 {self._expected.hex()} over the encrypted bytes, found "
                f"{self._mac.hexdigest()}: the layer or its annotations were changed"
            )
        decrypted: bytes = self._cipher.update(data)
        return decrypted

    def verify(self) -> None:
        """Read what is left, and compare.

        Raises:
            EncryptionError: As :meth:`read`.
        """
        while self.read(_PIECE):
            pass

    def close(self) -> None:
        """Close the encrypted bytes; closing twice is nothing."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
