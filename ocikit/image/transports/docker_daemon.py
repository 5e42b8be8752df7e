"""Transport ``docker-daemon``: an image that a Docker API serves, ``docker-daemon:name:tag`` or an image id.

The service gives an image as an archive of ``docker save`` and takes one for ``docker load``; podman's service does
both. A name without a tag is refused, as it would mean something else when the image is read than when it is
written; ``algorithm:hex`` is the id of an image, to read only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidDigestError, InvalidReferenceError, NotSupportedError
from ocikit.image.archive.docker_reader import DockerArchive
from ocikit.image.archive.docker_writer import DockerArchiveWriter
from ocikit.image.archive.regions import Region
from ocikit.image.archive.target import SpooledTarget
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries_d.scopes import docker_scopes
from ocikit.image.transports._archive_file import temporary_directory
from ocikit.image.transports._docker_api import DockerAPI
from ocikit.image.transports._docker_image import DockerDestination, DockerSource, additional_tags
from ocikit.image.types import ImageReference, ImageTransport
from ocikit.spec import Digest

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.types import SystemContext

__all__ = ["TRANSPORT", "DaemonReference"]

_CANONICAL: Final = "sha256"


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "docker-daemon"

    def parse_reference(self, reference: str) -> DaemonReference:
        identifier = _identifier(reference)
        if identifier is not None:
            return DaemonReference(identifier=identifier)
        named = parse_normalized_named(reference)
        if named.name == f"docker.io/library/{_CANONICAL}":
            raise InvalidReferenceError(f"{reference!r}: the repository {_CANONICAL} is reserved for ids of images")
        if named.is_name_only:
            raise InvalidReferenceError(
                f"{reference!r}: expected a tag, such as {reference}:latest, or the id of an image"
            )
        if named.tag is not None and named.digest is not None:
            raise InvalidReferenceError(f"{reference!r}: expected a tag or a digest, found both; drop one of them")
        return DaemonReference(named=named)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        # Other names are not looked at: a policy that another program takes is not refused for a scope that never fits.
        if _identifier(scope) is not None:
            raise ValueError(f"{scope!r} can never match: the scope of ids of images is '', the default")


def _identifier(reference: str) -> Digest | None:
    try:
        digest = Digest(reference)
    except InvalidDigestError:
        return None
    # app:1 is in the grammar of digests, too, with algorithms that nobody has registered.
    if digest.algorithm == _CANONICAL:
        return digest
    if digest.algorithm == "sha512":
        raise InvalidReferenceError(f"{reference!r}: ids of images are of {_CANONICAL}")
    return None


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class DaemonReference(ImageReference):
    """An image that a Docker API serves; where, the circumstances say.

    Attributes:
        named: Its name with a tag, or with a digest to read; None for an id.
        identifier: Its id, which is the digest of its configuration; None for a name.
    """

    named: Named | None = None
    identifier: Digest | None = None

    @property
    def transport(self) -> ImageTransport:
        """``docker-daemon``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """``name:tag``, or the id."""
        return str(self.named if self.named is not None else self.identifier)

    @property
    def docker_reference(self) -> Named | None:
        """The name that was asked for.

        What a digest in it names is the manifest in a registry, and the service gives no manifests.
        """
        return self.named if self.named is not None and self.named.digest is None else None

    @property
    def policy_configuration_identity(self) -> str:
        """The name with its tag or digest, as in a registry (containers-policy.json(5)); of an id ``""``.

        So a policy can trust names and refuse whatever is asked for by an id.
        """
        return docker_scopes(self.named)[0] if self.named is not None else ""

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """The repository, what that is in, the registry and its domains; of an id none."""
        return docker_scopes(self.named)[1:] if self.named is not None else ()

    def new_image_source(self, sys: SystemContext | None = None) -> DockerSource:
        """See :class:`ImageReference`. The image is read to its end first."""
        api = DockerAPI(sys)
        with api.get_image(self.string_within_transport) as stream:
            archive = DockerArchive(stream, where=f"{self} at {api.host}", temporary_directory=temporary_directory(sys))
        return DockerSource(self, archive, None, None)

    def new_image_destination(self, sys: SystemContext | None = None) -> DockerDestination:
        """See :class:`ImageReference`. Nothing is sent before commit.

        Raises:
            InvalidReferenceError: An id is not something that an image can be given.
        """
        if self.named is None or self.named.tag is None:
            raise InvalidReferenceError(f"{self}: an image is given a name with a tag")
        aside = temporary_directory(sys)
        writer = DockerArchiveWriter(
            _DaemonTarget(DockerAPI(sys), aside),
            where=str(self),
            mtime=sys.destination_timestamp if sys is not None else 0,
            temporary_directory=aside,
        )
        return DockerDestination(self, writer, (self.named, *additional_tags(sys)), alone=True)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are deleted by the service that has them")


class _DaemonTarget(SpooledTarget):
    def __init__(self, api: DockerAPI, temporary_directory: str | None) -> None:
        super().__init__(None, temporary_directory)
        self._api = api

    def finish(self, size: int) -> None:
        with Region(self.file, 0, size).open(f"the archive for {self._api.host}") as archive:
            self._api.load_image(archive, size)
