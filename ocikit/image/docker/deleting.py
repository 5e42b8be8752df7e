"""Images of a registry, deleted (distribution-spec 1.1, Deleting)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.image.docker.manifests import delete_manifest, resolve
from ocikit.image.docker.places import client_to_write

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.types import SystemContext

__all__ = ["delete_image"]


def delete_image(named: Named, sys: SystemContext | None = None) -> None:
    """Delete the manifest that a name leads to; all its tags go with it.

    Args:
        named: The image.
        sys: The circumstances.

    Raises:
        ImageNotFoundError: There is none.
        RegistryError: The registry refuses, does not delete anything, or cannot be reached.
    """
    client = client_to_write(named, sys, "*")
    digest = named.digest or resolve(client, named.tag or "latest")[0]
    delete_manifest(client, digest)
