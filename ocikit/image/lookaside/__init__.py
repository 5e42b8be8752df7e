"""Lookaside stores: signatures of images in registries, as files beside the registry (containers-registries.d(5)).

``<store>/<repository>@sha256=<hex>/signature-N``, counted from 1 to the first that is not there. Which store it is says
:mod:`ocikit.image.registries_d`.

* :mod:`.stores`: the URL of a store, taken apart
* :mod:`.files`: a store that is a directory, read and written
* :mod:`.fetching`: a store behind HTTP, read
* :mod:`.signatures`: the signatures of an image, wherever its store is
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.lookaside.signatures import delete_signatures, read_signatures, write_signatures

__all__ = ["delete_signatures", "read_signatures", "write_signatures"]

# Each public name and the module of this room that holds it.
_HOMES = dict.fromkeys(__all__, "signatures")

__getattr__, __dir__ = face(__name__, _HOMES)
