"""Where signatures of images in registries are kept: the directory ``registries.d`` (containers-registries.d(5)).

* :mod:`.scopes`: what an image can be configured by, from the image itself to everything in a domain
* :mod:`.configuration`: what the files say, as data, and which of it holds for an image
* :mod:`.reading`: the files, found and read

The stores that this leads to are :mod:`ocikit.image.lookaside`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.registries_d.configuration import RegistriesConfiguration, RegistryNamespace
    from ocikit.image.registries_d.reading import (
        load_registries_configuration,
        signature_storage_base_url,
        use_sigstore_attachments,
    )

__all__ = [
    "RegistriesConfiguration",
    "RegistryNamespace",
    "load_registries_configuration",
    "signature_storage_base_url",
    "use_sigstore_attachments",
]

# Each public name and the module of this room that holds it.
_HOMES = {
    "RegistriesConfiguration": "configuration",
    "RegistryNamespace": "configuration",
    "load_registries_configuration": "reading",
    "signature_storage_base_url": "reading",
    "use_sigstore_attachments": "reading",
}

__getattr__, __dir__ = face(__name__, _HOMES)
