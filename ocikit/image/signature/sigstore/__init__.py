"""sigstore signatures: by keys, and by certificates that a transparency log or an authority of one's own vouches for.

Everything here is offline: what proves a signature comes with it, and what it is held against is in the policy.

* :mod:`.keys`, :mod:`.private_keys`, :mod:`.key_files`, :mod:`.secretbox`: keys, and the files they are kept in
* :mod:`.signing`, :mod:`.annotations`: signatures made
* :mod:`.attachment`: a signature verified, whole
* :mod:`.rekor`, :mod:`.fulcio`, :mod:`.pki`: what a log promised, and certificates
* :mod:`.trust`: what signatures are held against, as data
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.signature.sigstore.attachment import is_attachment, verify_attachment
    from ocikit.image.signature.sigstore.keys import PublicKey
    from ocikit.image.signature.sigstore.private_keys import KeyPair, PrivateKey, generate_key_pair
    from ocikit.image.signature.sigstore.signing import SigstoreSigner
    from ocikit.image.signature.sigstore.trust import FulcioTrust, LogEntry, PkiTrust, Signatory, Trust

__all__ = [
    "FulcioTrust",
    "KeyPair",
    "LogEntry",
    "PkiTrust",
    "PrivateKey",
    "PublicKey",
    "Signatory",
    "SigstoreSigner",
    "Trust",
    "generate_key_pair",
    "is_attachment",
    "verify_attachment",
]

_MODULES = {
    "attachment": ("is_attachment", "verify_attachment"),
    "keys": ("PublicKey",),
    "private_keys": ("KeyPair", "PrivateKey", "generate_key_pair"),
    "signing": ("SigstoreSigner",),
    "trust": ("FulcioTrust", "LogEntry", "PkiTrust", "Signatory", "Trust"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__getattr__, __dir__ = face(__name__, _HOMES)
