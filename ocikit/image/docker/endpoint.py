"""Where a repository is served, and how one talks to it: only data, put together from what is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named

__all__ = ["DOCKER_HUB", "Endpoint", "api_host"]

#: The name that images of Docker Hub have, and the host that serves them.
DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_HOST: Final = "registry-1.docker.io"


def api_host(domain: str) -> str:
    """Return the host that serves a registry.

    Args:
        domain: The registry as it stands in the names of images.
    """
    return _DOCKER_HUB_HOST if domain == DOCKER_HUB else domain


@frozen(kw_only=True)
class Endpoint:
    """A place that serves an image.

    Attributes:
        reference: The image, by the name that it has there.
        insecure: Whether the certificate is taken unseen, and plain HTTP will do.
        sys: The circumstances of talking to it, with the credentials that are for it and no others.
        is_mirror: Whether it is a mirror.
    """

    reference: Named
    insecure: bool = False
    sys: SystemContext | None = None
    is_mirror: bool = False

    @property
    def host(self) -> str:
        """``host[:port]``, as it is connected to."""
        return api_host(self.reference.domain)

    def __str__(self) -> str:
        return f"{self.reference.domain}/{self.reference.path}"
