"""Lookaside stores: signatures of images in registries, as files beside the registry (containers-registries.d(5)).

``<store>/<repository>@sha256=<hex>/signature-N``, counted from 1 to the first that is not there. Which store it is says
:mod:`ocikit.image.registries_d`.

* :mod:`.stores`: the URL of a store, taken apart
* :mod:`.files`: a store that is a directory, read and written
* :mod:`.fetching`: a store behind HTTP, read
* :mod:`.signatures`: the signatures of an image, wherever its store is
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.image.lookaside.signatures import delete_signatures, read_signatures, write_signatures

__all__ = ["delete_signatures", "read_signatures", "write_signatures"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.signatures"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
