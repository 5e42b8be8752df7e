"""What a configuration of registries is made of, and what comes out of it for one image. Only data."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named

__all__ = ["Endpoint", "PullFromMirror", "PullSource", "PushEndpoint", "Registry"]


class PullFromMirror(enum.Enum):
    """Which images a mirror is asked for."""

    #: Those that are named by a tag, and those by a digest.
    ALL = "all"
    #: Those by a digest: a tag may be another image there.
    DIGEST_ONLY = "digest-only"
    #: Those by a tag.
    TAG_ONLY = "tag-only"


@frozen(kw_only=True)
class Endpoint:
    """A place that mirrors a registry, or a part of one.

    Attributes:
        location: ``host[:port]`` and what comes in place of the prefix.
        insecure: Whether its certificate is taken unseen, and HTTP will do.
        pull_from_mirror: Which images it is asked for.
    """

    location: str
    insecure: bool = False
    pull_from_mirror: PullFromMirror = PullFromMirror.ALL


@frozen(kw_only=True)
class Registry:
    """An entry of registries.conf.

    Attributes:
        prefix: Which images it is about: ``host[:port][/path…]``, or ``*.domain``.
        location: Where they are, in place of the prefix; empty, behind ``*.domain``, where it is the name that says it.
        insecure: Whether the certificate of that place is taken unseen, and HTTP will do.
        blocked: Whether nothing is pulled and pushed there.
        mirror_by_digest_only: Whether the mirrors are asked only for images that are named by a digest.
        mirrors: Who is asked first, in this order.
        source: The file with the entry.
    """

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirrors: tuple[Endpoint, ...] = ()
    source: str | None = None

    def mirrors_for(self, named: Named) -> tuple[Endpoint, ...]:
        """Return the mirrors that are asked for an image, in their order.

        Args:
            named: The image.
        """
        unfit = PullFromMirror.DIGEST_ONLY if named.digest is None else PullFromMirror.TAG_ONLY
        if self.mirror_by_digest_only and named.digest is None:
            return ()
        return tuple(mirror for mirror in self.mirrors if mirror.pull_from_mirror is not unfit)


@frozen(kw_only=True)
class PullSource:
    """One of the places that an image may be pulled from.

    Attributes:
        reference: The image, by the name that it has there.
        location: The location that gave the name; None where no entry fits.
        insecure: Whether the certificate of the place is taken unseen, and HTTP will do.
        is_mirror: Whether it is a mirror.
    """

    reference: Named
    location: str | None = None
    insecure: bool = False
    is_mirror: bool = False

    def context_for(self, named: Named, sys: SystemContext | None) -> SystemContext | None:
        """Return the context for talking to this place: credentials that somebody gave go to no other host.

        Args:
            named: The image, as it was asked for.
            sys: The context of the pull.
        """
        if sys is None or self.reference.domain == named.domain:
            return sys
        return evolve(sys, docker_auth_config=None, docker_bearer_registry_token=None)


@frozen(kw_only=True)
class PushEndpoint:
    """The place that an image is pushed to: never a mirror, and by no other name.

    Attributes:
        reference: The image.
        insecure: Whether the certificate of the place is taken unseen, and HTTP will do.
    """

    reference: Named
    insecure: bool = False
