"""Encrypted layers, as ocicrypt has them: for whom, by what, and the bytes.

Each layer is encrypted by a key of its own, and that key is wrapped for every recipient: in a JWE for public keys, in
PKCS #7 for certificates. All of that is in the annotations of the layer.

* :class:`EncryptConfig`, :class:`DecryptConfig`: what a copy is told
  (:attr:`ocikit.image.copy.CopyOptions.oci_encrypt_config`)
* :class:`EncryptedStream`, :class:`DecryptedStream`: the bytes of one layer
* :func:`wrap_options`, :func:`unwrap_options`, :func:`with_recipients`: its annotations
"""

from __future__ import annotations

from ocikit.image.encryption.cipher import DecryptedStream, EncryptedStream
from ocikit.image.encryption.config import DecryptConfig, EncryptConfig
from ocikit.image.encryption.options import LayerOptions
from ocikit.image.encryption.wrapping import unwrap_options, with_recipients, wrap_options

__all__ = [
    "DecryptConfig",
    "DecryptedStream",
    "EncryptConfig",
    "EncryptedStream",
    "LayerOptions",
    "unwrap_options",
    "with_recipients",
    "wrap_options",
]
