"""Who is asked about an image: the endpoints that registries.conf leads to, each with its own circumstances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve

from ocikit.errors import (
    BlobNotFoundError,
    CredentialsError,
    DigestMismatchError,
    ImageNotFoundError,
    InvalidConfigurationError,
    LimitExceededError,
    NotSupportedError,
    RegistryError,
)
from ocikit.image.context import SystemContext
from ocikit.image.docker.client import RegistryClient
from ocikit.image.docker.endpoint import Endpoint
from ocikit.image.registries import pull_sources, push_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocikit.image.reference import Named

__all__ = ["FAILURES", "by_anybody", "client_to_write", "clients_to_read"]

T = TypeVar("T")

#: What sends one on to the next place: whatever is wrong with this one, here or there.
FAILURES: Final = (
    RegistryError,
    ImageNotFoundError,
    BlobNotFoundError,
    DigestMismatchError,
    LimitExceededError,
    NotSupportedError,
    CredentialsError,
    InvalidConfigurationError,
)

# How often somebody is asked after whom there are others.
_TRIES_BEFORE_OTHERS: Final = 2


def clients_to_read(named: Named, sys: SystemContext | None = None) -> tuple[RegistryClient, ...]:
    """Return who has an image, in the order in which they are asked: mirrors, then the registry itself.

    Args:
        named: The image.
        sys: The circumstances.

    Raises:
        BlockedRegistryError: registries.conf blocks the registry.
        InvalidConfigurationError: A file of the configuration is malformed.
        OSError: One cannot be read.
    """
    sources = pull_sources(named, sys)
    clients = []
    for number, source in enumerate(sources):
        context = source.context_for(named, sys)
        if number < len(sources) - 1:
            context = context or SystemContext()
            tries = min(context.docker_retry.attempts, _TRIES_BEFORE_OTHERS)
            context = evolve(context, docker_retry=evolve(context.docker_retry, attempts=tries))
        endpoint = Endpoint(
            reference=source.reference, insecure=source.insecure, sys=context, is_mirror=source.is_mirror
        )
        clients.append(RegistryClient(endpoint))
    return tuple(clients)


def client_to_write(named: Named, sys: SystemContext | None = None, actions: str = "pull,push") -> RegistryClient:
    """Return who an image is written to: the registry itself, never a mirror.

    Args:
        named: The image.
        sys: The circumstances.
        actions: What is to be allowed.

    Raises:
        BlockedRegistryError: registries.conf blocks the registry.
        InvalidConfigurationError: A file of the configuration is malformed.
        OSError: One cannot be read.
    """
    place = push_endpoint(named, sys)
    return RegistryClient(Endpoint(reference=place.reference, insecure=place.insecure, sys=sys), actions)


def by_anybody(
    clients: Sequence[RegistryClient], ask: Callable[[RegistryClient], T]
) -> tuple[T, Sequence[RegistryClient]]:
    """Ask one place after the other, until one answers.

    Args:
        clients: The places, at least one: :func:`clients_to_read`.
        ask: Asks one of them.

    Returns:
        The answer, and who is left to be asked: the one that answered, and those after it.

    Raises:
        ImageNotFoundError: Nobody has it.
        RegistryError: Those who could have it refuse, or cannot be reached.
        DigestMismatchError: What they have is something else.
        OCIKitError: What else is wrong with the last one, or what is configured for it.
    """
    failures: list[Exception] = []
    for number, client in enumerate(clients):
        try:
            return ask(client), clients[number:]
        except FAILURES as error:
            failures.append(error)
    last = failures[-1]  # what the registry itself says counts; what mirrors said stands beside it
    for failure in failures[:-1]:
        last.add_note(f"before: {failure}")
    raise last
