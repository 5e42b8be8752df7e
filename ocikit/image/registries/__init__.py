"""Registries as they are configured: whom to ask, by what name, and whose certificates to take. No network.

* :mod:`~ocikit.image.registries.configuration`: all files together, and the answers; of them
  :mod:`~ocikit.image.registries.places` (which, in what order), :mod:`~ocikit.image.registries.reading` (as bytes),
  :mod:`~ocikit.image.registries.table` and :mod:`~ocikit.image.registries.document` (one of them),
  :mod:`~ocikit.image.registries.entries` and :mod:`~ocikit.image.registries.matching` (what fits).
* :mod:`~ocikit.image.registries.short_names`: names without a registry, on :mod:`~ocikit.image.registries.naming` and
  :mod:`~ocikit.image.registries.aliases`.
* :mod:`~ocikit.image.registries.certificates`: of registries and of ourselves.

Credentials are a room of their own: :mod:`ocikit.image.credentials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.registries.aliases import record_alias, recorded_aliases, remove_alias
    from ocikit.image.registries.asking import find_registry, pull_sources, push_endpoint
    from ocikit.image.registries.certificates import ClientCertificate, TLSMaterial, find_certificates, ssl_context
    from ocikit.image.registries.configuration import RegistriesConfiguration
    from ocikit.image.registries.entries import Endpoint, PullFromMirror, PullSource, PushEndpoint, Registry
    from ocikit.image.registries.naming import is_short_name
    from ocikit.image.registries.short_names import Rationale, ResolvedName, resolve_short_name

__all__ = [
    "ClientCertificate",
    "Endpoint",
    "PullFromMirror",
    "PullSource",
    "PushEndpoint",
    "Rationale",
    "RegistriesConfiguration",
    "Registry",
    "ResolvedName",
    "TLSMaterial",
    "find_certificates",
    "find_registry",
    "is_short_name",
    "pull_sources",
    "push_endpoint",
    "record_alias",
    "recorded_aliases",
    "remove_alias",
    "resolve_short_name",
    "ssl_context",
]

# Each public name and the module of this room that holds it.
_HOMES = {
    "ClientCertificate": "certificates",
    "Endpoint": "entries",
    "PullFromMirror": "entries",
    "PullSource": "entries",
    "PushEndpoint": "entries",
    "Rationale": "short_names",
    "RegistriesConfiguration": "configuration",
    "Registry": "entries",
    "ResolvedName": "short_names",
    "TLSMaterial": "certificates",
    "find_certificates": "certificates",
    "find_registry": "asking",
    "is_short_name": "naming",
    "pull_sources": "asking",
    "push_endpoint": "asking",
    "record_alias": "aliases",
    "recorded_aliases": "aliases",
    "remove_alias": "aliases",
    "resolve_short_name": "short_names",
    "ssl_context": "certificates",
}

__getattr__, __dir__ = face(__name__, _HOMES)
