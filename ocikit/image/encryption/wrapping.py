"""The annotations of an encrypted layer: its key, wrapped for each kind of recipient, and what is public about it.

A layer may have several wrapped keys of a kind, with commas between them: one for each time that recipients were added.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from ocikit.errors import EncryptionError
from ocikit.image.conversion.layers import ABOUT_ENCRYPTION
from ocikit.image.encryption import jwe, pkcs7
from ocikit.image.encryption.options import LayerOptions, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ocikit.image.encryption.config import DecryptConfig, EncryptConfig

__all__ = ["PUBLIC_OPTIONS", "WRAPPED_KEYS", "unwrap_options", "with_recipients", "wrap_options"]

_KEYS: Final = f"{ABOUT_ENCRYPTION}keys."
#: The annotation with what is public.
PUBLIC_OPTIONS: Final = f"{ABOUT_ENCRYPTION}pubopts"
#: The annotations with wrapped keys, by the scheme that ``EncryptConfig.from_recipients`` names.
WRAPPED_KEYS: Final = {"jwe": f"{_KEYS}jwe", "pkcs7": f"{_KEYS}pkcs7"}
_MOST_PACKETS: Final = 256

_UNWRAP: Final[dict[str, Callable[[DecryptConfig, bytes], bytes]]] = {
    "jwe": lambda config, packet: jwe.unwrap_key(packet, config.private_keys),
    "pkcs7": lambda config, packet: pkcs7.unwrap_key(packet, config.private_keys, config.certificates),
}


def wrap_options(
    config: EncryptConfig, options: LayerOptions, annotations: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the annotations of a layer, for those who can decrypt it.

    Args:
        config: The recipients.
        options: What decrypts the layer.
        annotations: The annotations that the layer has; wrapped keys in them stay, and with them who they are for.

    Raises:
        EncryptionError: The key of a recipient is too small, or there are too many.
    """
    private = options.private()
    packets = {
        "jwe": jwe.wrap_keys(config.jwe, private) if config.jwe else None,
        "pkcs7": pkcs7.wrap_keys(config.pkcs7, private) if config.pkcs7 else None,
    }
    made = dict(annotations or {})
    for scheme, packet in packets.items():
        if packet is not None:
            key, new = WRAPPED_KEYS[scheme], base64.b64encode(packet).decode()
            made[key] = f"{made[key]},{new}" if made.get(key) else new
            if made[key].count(",") >= _MOST_PACKETS:
                raise EncryptionError(f"{key}: more than {_MOST_PACKETS} wrapped keys in one annotation")
    return made | {PUBLIC_OPTIONS: base64.b64encode(options.public()).decode()}


def with_recipients(config: EncryptConfig, annotations: Mapping[str, str], *, what: str = "layer") -> dict[str, str]:
    """Add recipients to those of an encrypted layer, which itself stays as it is.

    Args:
        config: The recipients, and in ``decrypt_config`` what unwraps the key of the layer.
        annotations: The annotations of the layer.
        what: The layer, for messages.

    Raises:
        EncryptionError: The key cannot be unwrapped, or not be wrapped.
    """
    if config.decrypt_config is None:
        raise EncryptionError(f"{what}: who adds recipients has to decrypt it: decrypt_config is missing")
    return wrap_options(config, unwrap_options(config.decrypt_config, annotations, what=what), annotations)


def unwrap_options(config: DecryptConfig, annotations: Mapping[str, str], *, what: str = "layer") -> LayerOptions:
    """Return what decrypts a layer.

    Args:
        config: The keys.
        annotations: The annotations of the layer.
        what: The layer, for messages.

    Raises:
        EncryptionError: No key fits, or the annotations are malformed; the message says what every key was tried on.
    """
    public = annotations.get(PUBLIC_OPTIONS, "")
    if not public:
        raise EncryptionError(f"{what}: it is encrypted, and the annotation {PUBLIC_OPTIONS} is missing")
    known = decoded(public, what=f"{what}: {PUBLIC_OPTIONS}")
    failures = []
    for scheme, packet in _packets(annotations, what):
        try:
            private = _UNWRAP[scheme](config, packet)
        except EncryptionError as error:
            failures.append(str(error))
        else:
            return LayerOptions.read(private, known, what=what)
    raise EncryptionError(f"{what}: none of the keys decrypts it: {'; '.join(failures[:10])}")


def _packets(annotations: Mapping[str, str], what: str) -> Iterator[tuple[str, bytes]]:
    """Yield each wrapped key with its scheme.

    Raises:
        EncryptionError: There is none, or only some of kinds that are not read here.
    """
    listed = [(scheme, key) for scheme, key in WRAPPED_KEYS.items() if annotations.get(key)]
    if not listed:
        others = sorted(key.removeprefix(_KEYS)[:80] for key in annotations if key.startswith(_KEYS))
        found = f"found {', '.join(others[:5])}" if others else "found none"
        raise EncryptionError(f"{what}: expected a key wrapped by {' or '.join(WRAPPED_KEYS)}, {found}")
    for scheme, key in listed:
        texts = annotations[key].split(",", _MOST_PACKETS)
        if len(texts) > _MOST_PACKETS:
            raise EncryptionError(f"{what}: {key}: more than {_MOST_PACKETS} wrapped keys")
        for text in texts:
            yield scheme, decoded(text, what=f"{what}: {key}")
