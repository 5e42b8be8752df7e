"""The annotations of a sigstore signature: what proves it (SIGNATURE_SPEC of cosign, "properties")."""

from __future__ import annotations

from typing import Final

__all__ = ["BUNDLE", "CERTIFICATE", "CHAIN", "SIGNATURE"]

#: The signature over the payload, base64 (RFC 4648 §4).
SIGNATURE: Final = "dev.cosignproject.cosign/signature"
#: The certificate of the key that signed, PEM.
CERTIFICATE: Final = "dev.sigstore.cosign/certificate"
#: The certificates between that one and a root, PEM.
CHAIN: Final = "dev.sigstore.cosign/chain"
#: What a transparency log promised, JSON.
BUNDLE: Final = "dev.sigstore.cosign/bundle"
