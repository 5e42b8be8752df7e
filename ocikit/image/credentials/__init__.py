"""Credentials for registries: found, stored and removed where podman, skopeo and Docker have theirs. No network.

* :mod:`~ocikit.image.credentials.lookup` and :mod:`~ocikit.image.credentials.storing`: the functions.
* :mod:`~ocikit.image.credentials.places`: which files; :mod:`~ocikit.image.credentials.document`: one of them;
  :mod:`~ocikit.image.credentials.keys`: what is kept under which name.
* :mod:`~ocikit.image.credentials.programs`: programs that keep credentials.

Secrets are in no repr, no error, no log, and in no arguments of a program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.image.context import DockerAuthConfig
    from ocikit.image.credentials.lookup import FoundCredentials, get_all_credentials, get_credentials
    from ocikit.image.credentials.storing import remove_credentials, set_credentials

__all__ = [
    "DockerAuthConfig",
    "FoundCredentials",
    "get_all_credentials",
    "get_credentials",
    "remove_credentials",
    "set_credentials",
]

# Each public name and the module that holds it.
_HOMES = {
    "DockerAuthConfig": "ocikit.image.context",
    "FoundCredentials": f"{__name__}.lookup",
    "get_all_credentials": f"{__name__}.lookup",
    "get_credentials": f"{__name__}.lookup",
    "remove_credentials": f"{__name__}.storing",
    "set_credentials": f"{__name__}.storing",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
