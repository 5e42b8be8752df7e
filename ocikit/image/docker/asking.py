"""What registries are asked beside images: digests, tags, repositories, and whether credentials are good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.errors import InvalidReferenceError
from ocikit.image.context import DockerAuthConfig, SystemContext
from ocikit.image.credentials import remove_credentials, set_credentials
from ocikit.image.docker.client import RegistryClient
from ocikit.image.docker.endpoint import Endpoint
from ocikit.image.docker.lists import list_repositories as _repositories
from ocikit.image.docker.lists import list_tags as _tags
from ocikit.image.docker.manifests import resolve
from ocikit.image.docker.places import by_anybody, clients_to_read
from ocikit.image.reference import Named, parse_normalized_named
from ocikit.image.registries import find_registry
from ocikit.image.registries.configuration import blocked_error

if TYPE_CHECKING:
    from ocikit.spec import Digest

__all__ = ["list_repositories", "list_tags", "login", "logout", "resolve_digest", "verify_login"]

_PREFIX = "docker://"


def resolve_digest(image: str | Named, sys: SystemContext | None = None) -> Digest:
    """Return the digest that an image has in its registry now, without pulling it.

    Args:
        image: The image: ``host/repository:tag``, with ``docker://`` before it or without; a tag that is left out is
            ``latest``.
        sys: The circumstances.

    Raises:
        InvalidReferenceError: That is no name.
        ImageNotFoundError: There is no such image.
        RegistryError: The registry refuses, or cannot be reached.
    """
    named = _named(image)
    reference = str(named.digest or named.tag or "latest")
    (digest, _), _ = by_anybody(clients_to_read(named, sys), lambda client: resolve(client, reference))
    return digest


def list_tags(repository: str | Named, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Return the tags of a repository, as the registry itself has them.

    Args:
        repository: ``host/repository``, with ``docker://`` before it or without.
        sys: The circumstances.

    Raises:
        InvalidReferenceError: That is no repository.
        ImageNotFoundError: There is no such repository.
        RegistryError: The registry refuses, or cannot be reached.
    """
    named = _named(repository)
    if not named.is_name_only:
        raise InvalidReferenceError(f"{named}: expected a repository, found one with a tag or a digest")
    return _tags(clients_to_read(named, sys)[-1])


def list_repositories(registry: str, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Return the repositories of a registry that lets itself be looked through; Docker Hub does not.

    Args:
        registry: ``host[:port]``.
        sys: The circumstances.

    Raises:
        BlockedRegistryError: registries.conf blocks it; nothing is sent.
        InvalidReferenceError: That is no registry.
        RegistryError: The registry refuses, or cannot be reached.
    """
    return _repositories(RegistryClient(_registry(registry, sys), "", more=("registry:catalog:*",)))


def verify_login(registry: str, auth: DockerAuthConfig | None = None, sys: SystemContext | None = None) -> None:
    """Return when a registry takes credentials; it is asked, and nothing is stored.

    Args:
        registry: ``host[:port]``, or a repository of it.
        auth: The credentials; None for those that are stored.
        sys: The circumstances.

    Raises:
        BlockedRegistryError: registries.conf blocks it; nothing is sent.
        InvalidReferenceError: That is no registry.
        RegistryAccessError: The credentials are wrong.
        RegistryError: The registry cannot be reached.
    """
    context = sys if auth is None else evolve(sys or SystemContext(), docker_auth_config=auth)
    RegistryClient(_registry(registry, context), "").request("GET", "", what=f"login to {registry}")


def login(registry: str, auth: DockerAuthConfig, sys: SystemContext | None = None) -> str:
    """Store credentials for a registry, once it has taken them.

    Args:
        registry: ``host[:port]``, or a repository or namespace of it for which they are.
        auth: The credentials.
        sys: The circumstances: which file they go to.

    Returns:
        The file, or the helper, that has them now.

    Raises:
        BlockedRegistryError: registries.conf blocks it; nothing is sent.
        InvalidReferenceError: That is no registry.
        RegistryAccessError: The credentials are wrong; nothing is stored.
        RegistryError: The registry cannot be reached; nothing is stored.
        CredentialsError: They cannot be stored.
    """
    verify_login(registry, auth, sys)
    return set_credentials(registry, auth, sys)


def logout(registry: str, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Remove the credentials for a registry.

    Args:
        registry: What they were stored for.
        sys: The circumstances: which files are looked at.

    Returns:
        The files and helpers that had some.

    Raises:
        InvalidReferenceError: That is no registry.
        CredentialsError: They cannot be removed.
    """
    return remove_credentials(registry, sys)


def _named(text: str | Named) -> Named:
    return text if isinstance(text, Named) else parse_normalized_named(text.removeprefix(_PREFIX))


def _registry(text: str, sys: SystemContext | None) -> Endpoint:
    """Return the endpoint of a registry: its certificates and credentials do not depend on a repository."""
    host, slash, path = text.partition("/")
    named = Named(domain=host, path=path if slash else "")
    entry = find_registry(text, sys)
    if entry is not None and entry.blocked:
        raise blocked_error(text, entry)
    return Endpoint(reference=named, insecure=entry is not None and entry.insecure, sys=sys)
