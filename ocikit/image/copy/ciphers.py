"""What is done to the encryption of layers: which are decrypted, which encrypted, and which get more recipients.

Keys are unwrapped here, before the first blob is read: an image for which no key fits is refused before anything is
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from ocikit.errors import EncryptionError, NotSupportedError
from ocikit.image.conversion.layers import is_encrypted, is_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.reading import SourceImage, SourceLayer
    from ocikit.image.encryption import EncryptConfig, LayerOptions

__all__ = ["Cipher", "CipherWork", "cipher_changes", "ciphers"]


@frozen(kw_only=True)
class CipherWork:
    """What is done to the bytes of a layer; decryption comes first.

    Attributes:
        decrypt: What decrypts them; None when they are not encrypted.
        encrypt: For whom they are encrypted; None for nobody.
    """

    decrypt: LayerOptions | None = field(default=None, repr=False)
    encrypt: EncryptConfig | None = None


@frozen(kw_only=True)
class Cipher:
    """What becomes of the encryption of a layer.

    Attributes:
        work: What is done to its bytes; None for nothing.
        annotations: Its annotations, when recipients are added and its bytes stay.
        added: How many recipients are added.
    """

    work: CipherWork | None = None
    annotations: Mapping[str, str] | None = None
    added: int = 0

    @property
    def decrypts(self) -> bool:
        """Whether the layer is decrypted on the way, whatever is done to it then."""
        return self.work is not None and self.work.decrypt is not None

    def is_encrypted(self, media_type: str) -> bool:
        """Say whether a layer is encrypted in the end.

        Args:
            media_type: The type that it has at the source.
        """
        if self.work is not None and self.work.encrypt is not None:
            return True
        return is_encrypted(media_type) and not self.decrypts


_NOTHING = Cipher()


def ciphers(manifest: SourceImage, options: CopyOptions) -> tuple[Cipher, ...]:
    """Decide what becomes of the encryption of every layer of an image.

    Args:
        manifest: The image.
        options: What was asked for.

    Raises:
        EncryptionError: No key decrypts a layer, or there is no layer with a number that was asked for.
        NotSupportedError: What was to be encrypted is no layer of a file system.
    """
    chosen = _chosen(manifest, options)
    return tuple(
        _cipher(manifest, number, layer, options, is_chosen=number in chosen)
        for number, layer in enumerate(manifest.layers)
    )


def _chosen(manifest: SourceImage, options: CopyOptions) -> frozenset[int]:
    """Return the numbers of the layers that are to be encrypted; negative ones are counted from the last."""
    wanted, count = options.oci_encrypt_layers, len(manifest.layers)
    if wanted is None:
        return frozenset()
    for number in wanted:
        if not -count <= number < count:
            raise EncryptionError(
                f"{manifest.description}: oci_encrypt_layers: there is no layer {number}; the image has {count} layers"
            )
    return frozenset(number % count for number in wanted) if wanted else frozenset(range(count))


def _cipher(manifest: SourceImage, number: int, layer: SourceLayer, options: CopyOptions, *, is_chosen: bool) -> Cipher:
    what, media_type = f"{manifest.description}: layer {number}", layer.media_type
    encrypt = options.oci_encrypt_config if is_chosen else None
    if encrypt is not None and not is_layer(media_type):
        raise NotSupportedError(
            f"{what}: is of the type {media_type!r}; only layers of file systems are encrypted: choose others by "
            "oci_encrypt_layers"
        )
    if not is_encrypted(media_type):
        return Cipher(work=CipherWork(encrypt=encrypt)) if encrypt is not None else _NOTHING
    annotations = layer.descriptor.annotations
    if options.oci_decrypt_config is not None:
        from ocikit.image.encryption import unwrap_options  # noqa: PLC0415 - loaded when first needed

        opened = unwrap_options(options.oci_decrypt_config, annotations, what=what)
        return Cipher(work=CipherWork(decrypt=opened, encrypt=encrypt))
    if encrypt is None or encrypt.decrypt_config is None:
        return _NOTHING
    from ocikit.image.encryption import with_recipients  # noqa: PLC0415 - loaded when first needed

    return Cipher(annotations=with_recipients(encrypt, annotations, what=what), added=encrypt.count)


def cipher_changes(cipher: Cipher, number: int) -> tuple[str, ...]:
    """Say in words what becomes of the encryption of a layer.

    Args:
        cipher: What becomes of it.
        number: The number of the layer.
    """
    changes = []
    if cipher.decrypts:
        changes.append(f"layer {number} is decrypted")
    if cipher.work is not None and cipher.work.encrypt is not None:
        changes.append(f"layer {number} is encrypted for {_recipients(cipher.work.encrypt.count)}")
    if cipher.annotations is not None:
        changes.append(f"layer {number} can be decrypted by {_recipients(cipher.added)} more")
    return tuple(changes)


def _recipients(count: int) -> str:
    return f"{count} recipient{'s' if count != 1 else ''}"
