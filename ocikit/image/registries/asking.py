"""The questions about one image, answered by what is configured now; what a call says itself wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.image.registries.configuration import RegistriesConfiguration

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named
    from ocikit.image.registries.entries import PullSource, PushEndpoint, Registry

__all__ = ["find_registry", "pull_sources", "push_endpoint"]


def find_registry(name: Named | str, sys: SystemContext | None = None) -> Registry | None:
    """Return the entry of registries.conf for a name; None where none fits.

    Args:
        name: An image, a repository or a registry, in full.
        sys: The paths of configuration.

    Raises:
        InvalidConfigurationError: A file is malformed.
        LimitExceededError: A file is too large.
        OSError: A file cannot be read.
    """
    return RegistriesConfiguration.load(sys).find_registry(name)


def pull_sources(named: Named, sys: SystemContext | None = None) -> tuple[PullSource, ...]:
    """Return where an image may be pulled from, in the order of asking.

    Args:
        named: The image.
        sys: The paths of configuration; ``docker_insecure_skip_tls_verify``, where it is set, holds for every place.

    Raises:
        BlockedRegistryError: The registry is blocked.
        InvalidConfigurationError: A file is malformed, or makes a name that is none.
        LimitExceededError: A file is too large.
        OSError: A file cannot be read.
    """
    sources = RegistriesConfiguration.load(sys).pull_sources(named)
    given = sys.docker_insecure_skip_tls_verify if sys is not None else None
    return sources if given is None else tuple(evolve(one, insecure=given) for one in sources)


def push_endpoint(named: Named, sys: SystemContext | None = None) -> PushEndpoint:
    """Return where an image is pushed to.

    Args:
        named: The image.
        sys: As for :func:`pull_sources`.

    Raises:
        BlockedRegistryError: The registry is blocked.
        InvalidConfigurationError: A file is malformed.
        LimitExceededError: A file is too large.
        OSError: A file cannot be read.
    """
    endpoint = RegistriesConfiguration.load(sys).push_endpoint(named)
    given = sys.docker_insecure_skip_tls_verify if sys is not None else None
    return endpoint if given is None else evolve(endpoint, insecure=given)
