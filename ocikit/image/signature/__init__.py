"""Policies: who must have vouched for an image before it is used (containers-policy.json(5)).

* :mod:`.requirements`, :mod:`.identity`: the kinds of requirement, as data
* :mod:`.schema`, :mod:`.document`: how they are written, read and written
* :mod:`.rules`: which requirements hold for which image
* :mod:`.evaluate`, :mod:`.context`: whether an image meets them
* :mod:`.simple_signing`: simple signatures, made by :mod:`.gnupg` and verified by :mod:`.openpgp`

The room knows the interfaces of transports and none of the transports; what checks their scopes is handed in.
:class:`ocikit.image.Policy` is the face that knows where policies are kept.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.identity import (
        ExactReference,
        ExactRepository,
        MatchExact,
        MatchRepoDigestOrExact,
        MatchRepository,
        RemapIdentity,
        SignedIdentity,
    )
    from ocikit.image.signature.openpgp.keyring import Keyring
    from ocikit.image.signature.openpgp.message import SignedMessage, verify_message
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
    from ocikit.image.signature.simple_signing import SimpleSigner, verify_simple

__all__ = [
    "ExactReference",
    "ExactRepository",
    "Fulcio",
    "InsecureAcceptAnything",
    "Keyring",
    "Match",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "Pki",
    "PolicyContext",
    "PolicyRules",
    "Reject",
    "RemapIdentity",
    "Requirement",
    "SignedBaseLayer",
    "SignedBy",
    "SignedIdentity",
    "SignedMessage",
    "SigstoreSigned",
    "SimpleSigner",
    "verify_message",
    "verify_simple",
]

_MODULES = {
    "context": ("PolicyContext",),
    "identity": (
        "ExactReference",
        "ExactRepository",
        "MatchExact",
        "MatchRepoDigestOrExact",
        "MatchRepository",
        "RemapIdentity",
        "SignedIdentity",
    ),
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
    "openpgp.keyring": ("Keyring",),
    "openpgp.message": ("SignedMessage", "verify_message"),
    "rules": ("Match", "PolicyRules"),
    "simple_signing": ("SimpleSigner", "verify_simple"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
