"""What an image in a registry can be configured by, from the image itself to everything in a domain. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.reference import Named

__all__ = ["docker_scopes"]


def docker_scopes(named: Named) -> tuple[str, ...]:
    """Return the scopes that hold for an image, the most specific one first (containers-policy.json(5), ``docker:``).

    The image by its tag or digest, its repository, what that is in, the registry; then ``*.domain`` for each domain
    that the registry is in. A registry with a port is another one than without.

    Args:
        named: The image; a name without tag and digest has no scope of its own.
    """
    return tuple(dict.fromkeys(_each(named)))


def _each(named: Named) -> Iterator[str]:
    if named.digest is not None:
        yield f"{named.name}@{named.digest}"
    if named.tag is not None:
        yield f"{named.name}:{named.tag}"
    scope = named.name
    while scope != named.domain:
        yield scope
        scope = scope.rpartition("/")[0]
    yield named.domain
    # An address in brackets is in no domain.
    host = "" if named.domain.startswith("[") else named.domain.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
