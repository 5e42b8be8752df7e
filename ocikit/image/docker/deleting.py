"""Images of a registry, deleted (distribution-spec 1.1, Deleting): a tag, or a manifest with all its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import ImageNotFoundError, NotSupportedError, RegistryError
from ocikit.image.docker.kept_lists import change_list
from ocikit.image.docker.lists import fallback_tag, index_kept_by_clients, list_kept_by_clients, list_tags
from ocikit.image.docker.manifests import delete_manifest, get_manifest, put_manifest, resolve
from ocikit.image.docker.places import client_to_write
from ocikit.image.subject import describe_referrer
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from ocikit.image.docker.client import RegistryClient
    from ocikit.image.reference import Named
    from ocikit.image.types import SystemContext
    from ocikit.spec import Digest

__all__ = ["delete_image"]

# How registries say that they delete manifests, and no tags: each in its way.
_NO_TAGS: Final = frozenset({400, 404, 405, 501})
_NAMED_IN_ERRORS: Final = 5


def delete_image(named: Named, sys: SystemContext | None = None) -> None:
    """Delete a tag; or a manifest, when the name has a digest: all its tags go with it.

    A registry that deletes no tags is asked to delete the manifest, unless it has other tags, too.

    Args:
        named: The image.
        sys: The circumstances.

    Raises:
        ImageNotFoundError: There is none.
        NotSupportedError: The registry deletes no tags, and the manifest has others.
        RegistryError: The registry refuses, does not delete anything, or cannot be reached.
    """
    client = client_to_write(named, sys, "*")
    if named.digest is not None:
        _delete_manifest(client, named.digest)
        return
    tag = named.tag or "latest"
    digest, _ = resolve(client, tag)
    try:
        delete_manifest(client, tag)
    except (RegistryError, ImageNotFoundError) as error:
        if isinstance(error, RegistryError) and error.status not in _NO_TAGS:
            raise
        _check_alone(client, tag, digest)
        _delete_manifest(client, digest)


def _check_alone(client: RegistryClient, tag: str, digest: Digest) -> None:
    """Refuse to delete a manifest for a tag when others lead to it."""
    others = []
    for other in list_tags(client):
        try:
            if other != tag and resolve(client, other)[0] == digest:
                others.append(other)
        except ImageNotFoundError:
            continue  # it was deleted meanwhile
    if others:
        more = f" and {len(others) - _NAMED_IN_ERRORS} more" if len(others) > _NAMED_IN_ERRORS else ""
        raise NotSupportedError(
            f"{client.endpoint}: the registry deletes manifests and no tags; with {tag} would go "
            f"{', '.join(others[:_NAMED_IN_ERRORS])}{more}, which lead to the same manifest. To delete all of them, "
            f"delete {client.endpoint.reference.name}@{digest}"
        )


def _delete_manifest(client: RegistryClient, digest: Digest) -> None:
    """Delete a manifest; where clients keep the list of what refers to its subject, it leaves the list."""
    served = get_manifest(client, str(digest))
    delete_manifest(client, str(digest))
    described = describe_referrer(served.data, served.media_type)
    if described is not None:
        _leave_list(client, described[0], digest)


def _leave_list(client: RegistryClient, subject: Digest, digest: Digest) -> None:
    tag = fallback_tag(subject)

    def is_gone() -> bool:
        return all(one.digest != digest for one in list_kept_by_clients(client, subject))

    def leave() -> None:
        kept = index_kept_by_clients(client, subject)
        if kept is not None:
            others = tuple(one for one in kept.manifests if one.digest != digest)
            put_manifest(client, tag, evolve(kept, manifests=others).to_json(), mediatypes.IMAGE_INDEX)

    change_list(f"{tag} of {client.endpoint}", is_gone, leave)
