"""Policies: who must have vouched for an image before it is used (containers-policy.json(5)).

* :mod:`.requirements`, :mod:`.identity`: the kinds of requirement, as data
* :mod:`.schema`, :mod:`.document`: how they are written, read and written
* :mod:`.rules`: which requirements hold for which image
* :mod:`.evaluate`, :mod:`.context`: whether an image meets them
* :mod:`.sigstore`: keys, signing with them, and what proves a signature of sigstore

The room knows the interfaces of transports and none of the transports; what checks their scopes is handed in.
:class:`ocikit.image.Policy` is the face that knows where policies are kept.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.image.signature import sigstore
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

__all__ = [
    "ExactReference",
    "ExactRepository",
    "Fulcio",
    "InsecureAcceptAnything",
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
    "SigstoreSigned",
    "sigstore",
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
    "rules": ("Match", "PolicyRules"),
    "sigstore": ("sigstore",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{home}")
    value = module if name == home else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
