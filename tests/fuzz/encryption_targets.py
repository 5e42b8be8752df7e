"""Fuzzing of encrypted layers: their keys, and what these are wrapped in."""

from __future__ import annotations

import base64
import functools
import json
from typing import TYPE_CHECKING

import mutations
import recipients
from refusing import refused

from ocikit.image.encryption import DecryptConfig, EncryptConfig, LayerOptions, unwrap_options, wrap_options

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


@functools.cache
def _wrapped() -> tuple[DecryptConfig, LayerOptions, dict[str, str], tuple[bytes, ...]]:
    """Return keys, what is wrapped for them in all ways, and the forms of keys."""
    own = [DecryptConfig.from_private_key(recipients.private_pem(name)) for name in ("rsa", "P-256")]
    to = [EncryptConfig.from_public_key(recipients.public_pem(name)) for name in ("rsa", "P-256")]
    to.append(EncryptConfig.from_certificate(recipients.certificate("rsa")))
    options = LayerOptions(symmetric_key=b"k" * 32, nonce=b"n" * 16, hmac=b"h" * 32)
    annotations = wrap_options(to[0].combined(*to[1:]), options)
    annotations = wrap_options(to[1], options, annotations)  # one more, for one recipient
    jwk = {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB", "d": "AQAB", "n": "AQAB", "e": "AQAB"}
    keys = [
        recipients.private_pem("rsa"),
        recipients.public_pem("P-256"),
        recipients.certificate("rsa"),
        json.dumps(jwk).encode(),
    ]
    return own[0].combined(own[1]), options, annotations, tuple(keys)


def encryption(random: Random, scratch: Path) -> None:
    """What unwraps the key of a layer gives that key or is refused; keys are read or refused."""
    config, options, annotations, keys = _wrapped()
    changed = dict(annotations)
    for name in random.sample([*changed], random.choice([1, 1, 2, 3])):
        packets = [_packet(random, packet) for packet in changed[name].split(",")]
        changed[name] = ",".join(packets) if random.random() < 0.95 else mutations.text(random, [*packets, ",", "="])
    found: list[LayerOptions] = []
    if not refused(lambda: found.append(unwrap_options(config, changed))):
        assert (found[0].symmetric_key, found[0].nonce) == (options.symmetric_key, options.nonce)
    file = scratch / "key"
    file.write_bytes(mutations.damaged(random, random.choice(keys)))
    refused(lambda: DecryptConfig.from_keys(str(file)))
    refused(lambda: EncryptConfig.from_recipients(f"{random.choice(['jwe', 'pkcs7'])}:{file}"))


def _packet(random: Random, packet: str) -> str:
    """Change what is wrapped: a JWE as a tree, with its protected header, other things as bytes."""
    data = base64.b64decode(packet)
    if not data.startswith(b"{"):
        return base64.b64encode(mutations.damaged(random, data)).decode()
    document = json.loads(data)
    if "protected" in document and random.random() < 0.5:
        header = json.loads(base64.urlsafe_b64decode(document["protected"] + "=="))
        header = mutations.written(random, mutations.tree(random, header, JWE_KEYS))
        document["protected"] = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    else:
        document = mutations.tree(random, document, JWE_KEYS)
    return base64.b64encode(mutations.written(random, document)).decode()


JWE_KEYS = (
    *("protected", "unprotected", "header", "recipients", "encrypted_key", "iv", "ciphertext", "tag", "aad", "alg"),
    *("enc", "epk", "kty", "crv", "x", "y", "apu", "apv", "crit", "zip", "cipher", "hmac", "cipheroptions", "nonce"),
)


#: The targets by name.
TARGETS = {"encryption": encryption}
