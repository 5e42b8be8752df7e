"""Signatures, and policies: who must have vouched for an image before it is used (containers-policy.json(5)).

* :mod:`.requirements`, :mod:`.identity`: the kinds of requirement, as data
* :mod:`.schema`, :mod:`.document`: how they are written, read and written
* :mod:`.rules`: which requirements hold for which image
* :mod:`.explanation`, :mod:`.wording`: what they ask, in words
* :mod:`.evaluate`, :mod:`.context`: whether an image meets them, and who signed it; each kind of requirement has what
  judges one signature in a module of its name, :mod:`.trusted` reads its keys, :mod:`.matching` compares names
* :mod:`.payload`, :mod:`.signer`, :mod:`.signing`, :mod:`.simple_signing`: what is signed, and who signs
* :mod:`.openpgp`: OpenPGP, for verification
* :mod:`.sigstore`: keys, signing with them, and what proves a signature of sigstore

The room knows the interfaces of transports and none of the transports; what checks their scopes is handed in.
:class:`ocikit.image.Policy` is the face that knows where policies are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.signature import sigstore
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.explanation import ExplainedRequirement, PolicyExplanation
    from ocikit.image.signature.identity import (
        ExactReference,
        ExactRepository,
        MatchDigest,
        MatchExact,
        MatchRepoDigestOrExact,
        MatchRepository,
        RemapIdentity,
        SignedIdentity,
    )
    from ocikit.image.signature.openpgp.keyring import Keyring
    from ocikit.image.signature.requirements import (
        Fulcio,
        InsecureAcceptAnything,
        Pki,
        Reject,
        Requirement,
        SignedBaseLayer,
        SignedBy,
        SigstoreSigned,
    )
    from ocikit.image.signature.rules import Match, PolicyRules
    from ocikit.image.signature.signer import Signer
    from ocikit.image.signature.sigstore.bundle_signing import SigstoreBundleSigner
    from ocikit.image.signature.sigstore.keys import PublicKey
    from ocikit.image.signature.sigstore.private_keys import KeyPair, PrivateKey, SigningKey, generate_key_pair
    from ocikit.image.signature.sigstore.signing import SigstoreSigner
    from ocikit.image.signature.simple_signing import SimpleSigner, verify_simple
    from ocikit.image.signature.verified import SignatureKind, VerifiedSignature

__all__ = [
    "ExactReference",
    "ExactRepository",
    "ExplainedRequirement",
    "Fulcio",
    "InsecureAcceptAnything",
    "KeyPair",
    "Keyring",
    "Match",
    "MatchDigest",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "Pki",
    "PolicyContext",
    "PolicyExplanation",
    "PolicyRules",
    "PrivateKey",
    "PublicKey",
    "Reject",
    "RemapIdentity",
    "Requirement",
    "SignatureKind",
    "SignedBaseLayer",
    "SignedBy",
    "SignedIdentity",
    "Signer",
    "SigningKey",
    "SigstoreBundleSigner",
    "SigstoreSigned",
    "SigstoreSigner",
    "SimpleSigner",
    "VerifiedSignature",
    "generate_key_pair",
    "sigstore",
    "verify_simple",
]

_MODULES = {
    "context": ("PolicyContext",),
    "explanation": (
        "ExplainedRequirement",
        "PolicyExplanation",
    ),
    "identity": (
        "ExactReference",
        "ExactRepository",
        "MatchDigest",
        "MatchExact",
        "MatchRepoDigestOrExact",
        "MatchRepository",
        "RemapIdentity",
        "SignedIdentity",
    ),
    "openpgp.keyring": ("Keyring",),
    "requirements": (
        "Fulcio",
        "InsecureAcceptAnything",
        "Pki",
        "Reject",
        "Requirement",
        "SignedBaseLayer",
        "SignedBy",
        "SigstoreSigned",
    ),
    "rules": (
        "Match",
        "PolicyRules",
    ),
    "signer": ("Signer",),
    "sigstore": ("sigstore",),
    "sigstore.bundle_signing": ("SigstoreBundleSigner",),
    "sigstore.keys": ("PublicKey",),
    "sigstore.private_keys": (
        "KeyPair",
        "PrivateKey",
        "SigningKey",
        "generate_key_pair",
    ),
    "sigstore.signing": ("SigstoreSigner",),
    "simple_signing": ("SimpleSigner", "verify_simple"),
    "verified": (
        "SignatureKind",
        "VerifiedSignature",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__getattr__, __dir__ = face(__name__, _HOMES)
