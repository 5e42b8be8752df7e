"""Credentials for registries: found, stored and removed where podman, skopeo and Docker have theirs. No network.

* :mod:`~ocikit.image.credentials.lookup` and :mod:`~ocikit.image.credentials.storing`: the functions.
* :mod:`~ocikit.image.credentials.places`: which files; :mod:`~ocikit.image.credentials.document`: one of them;
  :mod:`~ocikit.image.credentials.keys`: what is kept under which name.
* :mod:`~ocikit.image.credentials.programs`: programs that keep credentials.

Secrets are in no repr, no error, no log, and in no arguments of a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.credentials.lookup import FoundCredentials, get_all_credentials, get_credentials
    from ocikit.image.credentials.storing import remove_credentials, set_credentials

__all__ = [
    "FoundCredentials",
    "get_all_credentials",
    "get_credentials",
    "remove_credentials",
    "set_credentials",
]

# Each public name and the module of this room that holds it.
_HOMES = {
    "FoundCredentials": "lookup",
    "get_all_credentials": "lookup",
    "get_credentials": "lookup",
    "remove_credentials": "storing",
    "set_credentials": "storing",
}

__getattr__, __dir__ = face(__name__, _HOMES)
