"""Docker's image manifest version 2, schema 2, and its manifest list.

They have the shape of the OCI manifest and index, which grew out of them, without
annotations, subject and artifact type. Docker's image configuration is read by
:class:`ocikit.spec.image.Image`.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from ocikit.spec import mediatypes
from ocikit.spec._document import key
from ocikit.spec._kinds import INT64, STRING, array
from ocikit.spec.descriptor import Descriptor
from ocikit.spec.image import ManifestDocument

__all__ = ["DockerManifest", "DockerManifestList"]


@frozen(kw_only=True, repr=False, eq=False)
class DockerManifest(ManifestDocument):
    """An image for one platform."""

    MEDIA_TYPE: ClassVar[str] = mediatypes.DOCKER_MANIFEST
    _foreign: ClassVar[frozenset[str]] = frozenset({"manifests", "fslayers", "history"})

    #: MUST be 2.
    schema_version: int = field(default=2, metadata=key("schemaVersion", INT64, absent=0, always=True))
    #: Type of this document; REQUIRED.
    media_type: str = field(
        default=mediatypes.DOCKER_MANIFEST, metadata=key("mediaType", STRING, absent="", always=True)
    )
    #: The configuration; REQUIRED.
    config: Descriptor = field(metadata=key("config", Descriptor))
    #: The layers, the lowest first; foreign ones carry URLs.
    layers: tuple[Descriptor, ...] = field(metadata=key("layers", array(Descriptor)))


@frozen(kw_only=True, repr=False, eq=False)
class DockerManifestList(ManifestDocument):
    """A list of manifests of one image for several platforms."""

    MEDIA_TYPE: ClassVar[str] = mediatypes.DOCKER_MANIFEST_LIST
    _foreign: ClassVar[frozenset[str]] = frozenset({"config", "layers", "fslayers", "history"})

    #: MUST be 2.
    schema_version: int = field(default=2, metadata=key("schemaVersion", INT64, absent=0, always=True))
    #: Type of this document; REQUIRED.
    media_type: str = field(
        default=mediatypes.DOCKER_MANIFEST_LIST, metadata=key("mediaType", STRING, absent="", always=True)
    )
    #: The manifests, each with its platform.
    manifests: tuple[Descriptor, ...] = field(metadata=key("manifests", array(Descriptor)))
