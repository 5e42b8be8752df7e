"""Transport ``docker``: an image in a registry, ``docker://host/repository[:tag|@digest]``.

Names are short for Docker Hub as everywhere; what has neither tag nor digest is ``latest``. Where an image really is,
mirrors and all, is configured by registries.conf. ``…@@unknown-digest@@`` is a place to write to: a manifest without
a tag, found by the digest that it turns out to have. ``…:tag@digest`` is only read: the image of that digest, and the
tag is a note, for policies and signatures, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import InvalidReferenceError
from ocikit.image.docker.deleting import delete_image
from ocikit.image.docker.destination import DockerDestination
from ocikit.image.docker.source import DockerSource
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries_d.scopes import docker_scopes
from ocikit.image.types import ImageReference, ImageTransport

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.types import SystemContext

__all__ = ["TRANSPORT", "DockerReference"]

_SLASHES: Final = "//"
_UNKNOWN: Final = "@@unknown-digest@@"


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "docker"

    def parse_reference(self, reference: str) -> DockerReference:
        if not reference.startswith(_SLASHES):
            raise InvalidReferenceError(f"{reference!r}: expected // and the name of an image, as in //host/app:1")
        text = reference.removeprefix(_SLASHES)
        is_unknown = text.endswith(_UNKNOWN)
        named = parse_normalized_named(text.removesuffix(_UNKNOWN))
        if is_unknown and not named.is_name_only:
            raise InvalidReferenceError(f"{reference!r}: with {_UNKNOWN} there is neither a tag nor a digest")
        if named.is_name_only and not is_unknown:
            named = evolve(named, tag="latest")
        return DockerReference(named=named.asked_for, noted_tag=named.tag if named.digest is not None else None)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        # Scopes are compared as text, with names whose hosts are in lower case (decision 16): one that never matches
        # protects nothing. What else never matches is no mistake that other programs would not make as well.
        host = scope.partition("/")[0]
        if host != host.lower():
            raise InvalidReferenceError(f"{scope!r}: hosts are compared in lower case; write {host.lower()!r}")


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class DockerReference(ImageReference):
    """An image in a registry.

    Attributes:
        named: Its name, with a tag or a digest; with neither, a place for a manifest without a tag.
        noted_tag: The tag that stands beside the digest, and decides nothing: what it leads to is not asked, and to
            policies and signatures the image is what it is by its digest.
    """

    named: Named
    noted_tag: str | None = None

    @property
    def transport(self) -> ImageTransport:
        """``docker``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """``//host/repository:tag``, in full."""
        shown = evolve(self.named, tag=self.noted_tag) if self.noted_tag is not None else self.named
        return f"{_SLASHES}{shown}{_UNKNOWN if self.named.is_name_only else ''}"

    @property
    def docker_reference(self) -> Named:
        """The name."""
        return self.named

    @property
    def policy_configuration_identity(self) -> str:
        """The name with its tag or digest."""
        return docker_scopes(self.named)[0]

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """The repository, what it is in, the registry, and the domains that that is in."""
        return docker_scopes(self.named)[0 if self.named.is_name_only else 1 :]

    def new_image_source(self, sys: SystemContext | None = None) -> DockerSource:
        """See :class:`ImageReference`. The manifest is read at once, from the first place that has it."""
        if self.named.is_name_only:
            raise InvalidReferenceError(f"{self}: only written to; what is read has a tag or a digest")
        return DockerSource(self, self.named, sys)

    def new_image_destination(self, sys: SystemContext | None = None) -> DockerDestination:
        """See :class:`ImageReference`.

        Raises:
            InvalidReferenceError: There are a tag and a digest: both would have to be written.
        """
        self._check_one_name("write")
        return DockerDestination(self, self.named, sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """Delete a tag; with a digest the manifest, and every tag that leads to it. The rest is the registry's to find.

        Raises:
            InvalidReferenceError: There are a tag and a digest, which may be of two images.
        """
        self._check_one_name("delete")
        delete_image(self.named, sys)

    def _check_one_name(self, purpose: str) -> None:
        if self.noted_tag is not None:
            raise InvalidReferenceError(
                f"{self}: to {purpose}, expected a tag or a digest, found both; drop one of them: "
                f"{evolve(self, named=evolve(self.named, tag=self.noted_tag, digest=None), noted_tag=None)} or "
                f"{evolve(self, noted_tag=None)}"
            )
