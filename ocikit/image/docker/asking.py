"""What registries are asked beside images: digests, tags, repositories, and whether credentials are good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import InvalidReferenceError
from ocikit.image.context import DockerAuthConfig, SystemContext
from ocikit.image.credentials import remove_credentials, set_credentials
from ocikit.image.credentials.keys import checked
from ocikit.image.docker.client import RegistryClient
from ocikit.image.docker.endpoint import Endpoint
from ocikit.image.docker.lists import list_repositories as _repositories
from ocikit.image.docker.lists import list_tags as _tags
from ocikit.image.docker.manifests import resolve
from ocikit.image.docker.places import by_anybody, clients_to_read
from ocikit.image.platform import context_for
from ocikit.image.reference import Named, parse_normalized_named
from ocikit.image.registries import RegistriesConfiguration
from ocikit.image.types import ImageReference
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from ocikit.spec import Digest, Platform

__all__ = ["list_repositories", "list_tags", "login", "logout", "resolve_digest", "verify_login"]

_TRANSPORT: Final = "docker"
_PREFIX: Final = f"{_TRANSPORT}://"

_NO_CREDENTIALS: Final = "auth: expected DockerAuthConfig(username=…, password=…), found {}"


def resolve_digest(
    image: str | Named | ImageReference, sys: SystemContext | None = None, *, platform: Platform | str | None = None
) -> Digest:
    """Return the digest that an image has in its registry now, without pulling it.

    Args:
        image: The image: ``host/repository:tag``, with ``docker://`` before it or without, or a reference; a tag that
            is left out is ``latest``. Of a tag and a digest the digest decides.
        sys: The circumstances. The platform that they choose does not matter.
        platform: The platform, as ``linux/arm64/v8``, whose manifest in an index is wanted; its digest is returned once
            index and manifest are verified. None for the digest of what the name stands for, be it an index or not. An
            image that is in no index is what it is, whatever its platform.

    Raises:
        InvalidReferenceError: That is no name.
        ImageNotFoundError: There is no such image, or none for the platform.
        AmbiguousImageError: Nothing in the index says which one is for the platform.
        VerificationError: What the index lists, or the registry serves, is something else.
        RegistryError: The registry refuses, or cannot be reached.
        ValueError: The platform is none.
    """
    named = _named(image)
    if named.is_name_only:
        if isinstance(image, ImageReference):
            raise InvalidReferenceError(f"{image}: only written to; what is read has a tag or a digest")
        named = evolve(named, tag="latest")
    if platform is not None:
        return _digest_for(named, context_for(platform, sys))
    reference = str(named.digest or named.tag)
    (digest, _), _ = by_anybody(clients_to_read(named, sys), lambda client: resolve(client, reference))
    return digest


def _digest_for(named: Named, sys: SystemContext) -> Digest:
    from ocikit.image.transports import parse_image_name  # noqa: PLC0415 - transports stand on this room

    with parse_image_name(f"{_PREFIX}{named}").new_image_source(sys) as source:
        return UnparsedImage(source).for_platform(sys).digest()


def list_tags(repository: str | Named | ImageReference, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Return the tags of a repository, as the registry itself has them.

    Args:
        repository: ``host/repository``, with ``docker://`` before it or without; or a reference to an image, for the
            tags of its repository.
        sys: The circumstances.

    Raises:
        InvalidReferenceError: That is no repository.
        ImageNotFoundError: There is no such repository.
        RegistryError: The registry refuses, or cannot be reached.
    """
    named = _named(repository)
    if isinstance(repository, ImageReference):
        named = Named(domain=named.domain, path=named.path)  # a reference always has a tag, where nobody gave one, too
    if not named.is_name_only:
        raise InvalidReferenceError(f"{named}: expected a repository, found one with a tag or a digest")
    return _tags(clients_to_read(named, sys)[-1])


def list_repositories(registry: str | ImageReference, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Return the repositories of a registry that lets itself be looked through; Docker Hub does not.

    Args:
        registry: ``host[:port]``, with ``docker://`` before it or without; or a reference to an image in it.
        sys: The circumstances.

    Raises:
        BlockedRegistryError: registries.conf blocks it; nothing is sent.
        InvalidReferenceError: That is no registry.
        RegistryError: The registry refuses, or cannot be reached.
    """
    return _repositories(RegistryClient(_registry(_key(registry), sys), "", more=("registry:catalog:*",)))


def verify_login(
    registry: str | ImageReference, auth: DockerAuthConfig | None = None, sys: SystemContext | None = None
) -> None:
    """Return when a registry takes credentials; it is asked, and nothing is stored.

    Args:
        registry: ``host[:port]``, or a repository of it, with ``docker://`` before it or without; or a reference to an
            image, for its repository.
        auth: The credentials; None for those that are stored.
        sys: The circumstances.

    Raises:
        BlockedRegistryError: registries.conf blocks it; nothing is sent.
        InvalidReferenceError: That is no registry.
        RegistryAccessError: The credentials are wrong.
        RegistryError: The registry cannot be reached.
        TypeError: The credentials are no :class:`DockerAuthConfig`.
    """
    key = _key(registry)
    _check_kinds(auth, sys)
    context = sys if auth is None else evolve(sys or SystemContext(), docker_auth_config=auth)
    RegistryClient(_registry(key, context), "").request("GET", "", what=f"login to {key}")


def login(registry: str | ImageReference, auth: DockerAuthConfig, sys: SystemContext | None = None) -> str:
    """Store credentials for a registry, once it has taken them.

    Args:
        registry: ``host[:port]``, or a repository or namespace of it for which they are, with ``docker://`` before it
            or without; or a reference to an image, for its repository.
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
        TypeError: They are no :class:`DockerAuthConfig`.
    """
    key = _key(registry)
    if auth is None:  # what is stored already would be asked about
        raise TypeError(_NO_CREDENTIALS.format("None"))
    verify_login(key, auth, sys)
    return set_credentials(key, auth, sys)


def logout(registry: str | ImageReference, sys: SystemContext | None = None) -> tuple[str, ...]:
    """Remove the credentials for a registry.

    Args:
        registry: What they were stored for, in any of the forms that :func:`login` takes.
        sys: The circumstances: which files are looked at.

    Returns:
        The files and helpers that had some.

    Raises:
        InvalidReferenceError: That is no registry.
        CredentialsError: They cannot be removed.
    """
    return remove_credentials(_key(registry), sys)


def _named(image: str | Named | ImageReference) -> Named:
    """Return the name of an image, in whatever form it was given; of a tag and a digest what decides."""
    if isinstance(image, ImageReference):
        named = image.docker_reference
        if image.transport.name != _TRANSPORT or named is None:
            raise InvalidReferenceError(f"{image}: expected an image in a registry, docker://host/repository:tag")
        return named
    if isinstance(image, Named):
        return image.asked_for
    if not isinstance(image, str):
        raise TypeError(f"expected an image name such as 'docker://host/app:1' or a reference, found {_kind(image)}")
    return parse_normalized_named(image.removeprefix(_PREFIX)).asked_for


def _key(registry: str | ImageReference) -> str:
    """Return what credentials for a registry, or for a repository of it, are kept under."""
    if isinstance(registry, ImageReference):
        return _named(registry).name
    if not isinstance(registry, str):
        raise TypeError(f"expected a registry, host[:port], or a reference, found {_kind(registry)}")
    return checked(registry.removeprefix(_PREFIX))


def _check_kinds(auth: object, sys: object) -> None:
    """Return when credentials and circumstances are such: a user and a password are easily given in their places."""
    if auth is not None and not isinstance(auth, DockerAuthConfig):
        raise TypeError(_NO_CREDENTIALS.format(_kind(auth)))
    if sys is not None and not isinstance(sys, SystemContext):
        raise TypeError(f"sys: expected a SystemContext, found {_kind(sys)}")


def _kind(value: object) -> str:
    # Its value may be a password.
    return type(value).__name__


def _registry(text: str, sys: SystemContext | None) -> Endpoint:
    """Return the endpoint of a registry: its certificates and credentials do not depend on a repository."""
    host, slash, path = text.partition("/")
    named = Named(domain=host, path=path if slash else "")
    entry = RegistriesConfiguration.load(sys).find_unblocked(text)
    return Endpoint(reference=named, insecure=entry is not None and entry.insecure, sys=sys)
