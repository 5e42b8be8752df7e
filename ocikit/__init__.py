"""Containers as a Python library: OCI images and OCI containers, in process.

The rooms, each loaded when it is first used:

* :mod:`ocikit.spec`: the runtime and image specifications as typed classes.
* :mod:`ocikit.image`: read, verify, copy and unpack images under a policy.
* :mod:`ocikit.bundle`: an image becomes a root file system and a config.json.
* :mod:`ocikit.runtime`: create, start, watch, signal and destroy containers.
* :mod:`ocikit.testing`: a registry for tests, with faults on demand.
* :mod:`ocikit.errors`: every error, in one tree.
"""

from __future__ import annotations

from importlib import import_module

# As type checkers know it. To load typing takes longer than all that is here.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import ModuleType

    from ocikit import bundle, errors, image, runtime, spec, testing

__all__ = ["__version__", "bundle", "errors", "image", "runtime", "spec", "testing"]

__version__ = "0.1.0"

_ROOMS = frozenset(__all__) - {"__version__"}


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"ocikit.{name}")
    raise AttributeError(f"module 'ocikit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
