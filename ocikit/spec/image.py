"""Documents of the image specification 1.1: manifest, index, configuration and layout header.

A manifest or index is refused outright, when it is read, if it could be taken for another
kind of document as well: with keys of another kind, or a ``mediaType`` of another kind
(CVE-2021-41190: one digest, two meanings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import field, frozen

from ocikit.spec import mediatypes
from ocikit.spec._document import Document, key
from ocikit.spec._json import Fault
from ocikit.spec._kinds import BOOLEAN, DIGEST, INT64, OBJECT, STRING, TIMESTAMP, Kind, array, mapping, plain_object
from ocikit.spec.descriptor import Descriptor, Platform
from ocikit.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec.timestamp import Timestamp

__all__ = [
    "IMAGE_BLOBS_DIR",
    "IMAGE_INDEX_FILE",
    "IMAGE_LAYOUT_FILE",
    "IMAGE_LAYOUT_VERSION",
    "History",
    "Image",
    "ImageConfig",
    "ImageLayout",
    "Index",
    "Manifest",
    "RootFS",
]

#: Name of the file that marks a directory as an image layout.
IMAGE_LAYOUT_FILE: Final = "oci-layout"
#: The version of the image layout that this specification defines.
IMAGE_LAYOUT_VERSION: Final = "1.0.0"
#: Name of the file in a layout where every reference starts.
IMAGE_INDEX_FILE: Final = "index.json"
#: Name of the directory in a layout that holds the blobs.
IMAGE_BLOBS_DIR: Final = "blobs"

# Nothing is in it that would matter, and ``null`` is less than nothing: engines take both.
_EMPTY: Final = Kind(lambda value: plain_object({} if value is None else value), OBJECT.encode)


@frozen(kw_only=True, repr=False, eq=False)
class ManifestDocument(Document):
    """Base of manifests and indexes: refuses documents that are also, or rather, something else."""

    #: The media type that the class reads.
    MEDIA_TYPE: ClassVar[str]

    @classmethod
    def _screen(cls, data: dict[Any, Any]) -> None:
        super()._screen(data)
        stated = data.get("mediaType")
        if isinstance(stated, str) and stated != cls.MEDIA_TYPE and stated in mediatypes.MANIFESTS:
            raise Fault(f"expected {cls.MEDIA_TYPE}, found {stated}, which is another kind of document", "mediaType")


@frozen(kw_only=True, repr=False, eq=False)
class Manifest(ManifestDocument):
    """An image, or another artifact, for one platform: a configuration and layers (manifest.md)."""

    MEDIA_TYPE: ClassVar[str] = mediatypes.IMAGE_MANIFEST
    _foreign: ClassVar[frozenset[str]] = frozenset({"manifests", "fslayers", "history"})

    #: MUST be 2.
    schema_version: int = field(default=2, metadata=key("schemaVersion", INT64, absent=0, always=True))
    #: Type of this document; empty in documents that leave it out, which they should not.
    media_type: str = field(default=mediatypes.IMAGE_MANIFEST, metadata=key("mediaType", STRING, absent=""))
    #: Type of the artifact, when this is not the manifest of a container image.
    artifact_type: str = field(default="", metadata=key("artifactType", STRING))
    #: The configuration; REQUIRED.
    config: Descriptor = field(metadata=key("config", Descriptor))
    #: The layers, the lowest first.
    layers: tuple[Descriptor, ...] = field(metadata=key("layers", array(Descriptor)))
    #: Another manifest that this one says something about.
    subject: Descriptor | None = field(default=None, metadata=key("subject", Descriptor))
    #: Arbitrary metadata.
    annotations: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("annotations", mapping(STRING)))


@frozen(kw_only=True, repr=False, eq=False)
class Index(ManifestDocument):
    """A list of manifests, usually of one image for several platforms (image-index.md)."""

    MEDIA_TYPE: ClassVar[str] = mediatypes.IMAGE_INDEX
    _foreign: ClassVar[frozenset[str]] = frozenset({"config", "layers", "fslayers", "history"})

    #: MUST be 2.
    schema_version: int = field(default=2, metadata=key("schemaVersion", INT64, absent=0, always=True))
    #: Type of this document; empty in documents that leave it out, which they should not.
    media_type: str = field(default=mediatypes.IMAGE_INDEX, metadata=key("mediaType", STRING, absent=""))
    #: Type of the artifact, when this is not the index of a container image.
    artifact_type: str = field(default="", metadata=key("artifactType", STRING))
    #: The manifests, the preferred one first; may be empty.
    manifests: tuple[Descriptor, ...] = field(metadata=key("manifests", array(Descriptor)))
    #: A manifest that this index says something about.
    subject: Descriptor | None = field(default=None, metadata=key("subject", Descriptor))
    #: Arbitrary metadata.
    annotations: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("annotations", mapping(STRING)))


@frozen(kw_only=True, repr=False, eq=False)
class ImageConfig(Document):
    """How to run a container of the image, unless the caller says otherwise (config.md).

    Docker's further fields (``Healthcheck``, ``OnBuild``, ``Shell`` …) are in ``extra``.
    """

    _any_case: ClassVar[bool] = True

    #: Whom to run as: ``user``, ``uid``, ``user:group``, ``uid:gid``, ``uid:group`` or ``user:gid``.
    user: str = field(default="", metadata=key("User", STRING))
    #: Ports to expose, such as ``8080/tcp``; the keys matter, the values are empty objects.
    exposed_ports: Mapping[str, Mapping[str, Any]] = field(
        factory=dict, hash=False, metadata=key("ExposedPorts", mapping(_EMPTY))
    )
    #: Environment, as ``NAME=value``.
    env: tuple[str, ...] = field(default=(), metadata=key("Env", array(STRING)))
    #: The command, or its first words.
    entrypoint: tuple[str, ...] = field(default=(), metadata=key("Entrypoint", array(STRING)))
    #: The command when there is no entrypoint, its default arguments otherwise.
    cmd: tuple[str, ...] = field(default=(), metadata=key("Cmd", array(STRING)))
    #: Directories that hold data of one container; the keys matter, the values are empty objects.
    volumes: Mapping[str, Mapping[str, Any]] = field(factory=dict, hash=False, metadata=key("Volumes", mapping(_EMPTY)))
    #: Working directory of the process.
    working_dir: str = field(default="", metadata=key("WorkingDir", STRING))
    #: Arbitrary metadata of the container.
    labels: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("Labels", mapping(STRING)))
    #: Signal that asks the container to end, such as ``SIGTERM`` or ``SIGRTMIN+3``.
    stop_signal: str = field(default="", metadata=key("StopSignal", STRING))
    #: Windows: the only element of the command is escaped already; deprecated.
    args_escaped: bool = field(default=False, metadata=key("ArgsEscaped", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class RootFS(Document):
    """Which layers, uncompressed, make up the root file system (config.md)."""

    _any_case: ClassVar[bool] = True

    #: MUST be ``layers``.
    type: str = field(default="layers", metadata=key("type", STRING, absent="", always=True))
    #: Digests of the uncompressed layers, the lowest first.
    diff_ids: tuple[Digest, ...] = field(default=(), metadata=key("diff_ids", array(DIGEST), always=True))

    def chain_ids(self) -> tuple[Digest, ...]:
        """The ChainID of each layer: a name for the result of applying it and all below it.

        Raises:
            NotSupportedError: The diffIDs use an algorithm other than sha256 or sha512.
        """
        chain: list[Digest] = []
        for diff_id in self.diff_ids:
            if chain:
                below = chain[-1]
                chain.append(Digest.from_bytes(f"{below} {diff_id}".encode(), below.algorithm))
            else:
                chain.append(diff_id)
        return tuple(chain)


@frozen(kw_only=True, repr=False, eq=False)
class History(Document):
    """How one layer, or a change without a layer, came about (config.md)."""

    _any_case: ClassVar[bool] = True

    #: When.
    created: Timestamp | None = field(default=None, metadata=key("created", TIMESTAMP))
    #: By which command.
    created_by: str = field(default="", metadata=key("created_by", STRING))
    #: By whom.
    author: str = field(default="", metadata=key("author", STRING))
    #: What the author had to say.
    comment: str = field(default="", metadata=key("comment", STRING))
    #: True when there is no layer for this entry.
    empty_layer: bool = field(default=False, metadata=key("empty_layer", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class Image(Document):
    """The configuration of an image (config.md); Docker's fields that OCI lacks are in ``extra``."""

    _any_case: ClassVar[bool] = True

    #: When the image was created.
    created: Timestamp | None = field(default=None, metadata=key("created", TIMESTAMP))
    #: Who created the image and is responsible for it.
    author: str = field(default="", metadata=key("author", STRING))
    #: CPU architecture by its Go name, such as ``amd64``; REQUIRED.
    architecture: str = field(metadata=key("architecture", STRING, absent=""))
    #: Operating system by its Go name, such as ``linux``; REQUIRED.
    os: str = field(metadata=key("os", STRING, absent=""))
    #: Version of the operating system, such as ``10.0.14393.1066`` on Windows.
    os_version: str = field(default="", metadata=key("os.version", STRING))
    #: Features that the operating system must have, such as ``win32k``.
    os_features: tuple[str, ...] = field(default=(), metadata=key("os.features", array(STRING)))
    #: Variant of the architecture, such as ``v7`` for ``arm``.
    variant: str = field(default="", metadata=key("variant", STRING))
    #: How to run a container of the image.
    config: ImageConfig = field(factory=ImageConfig, metadata=key("config", ImageConfig))
    #: The layers, uncompressed; REQUIRED.
    rootfs: RootFS = field(metadata=key("rootfs", RootFS, absent=RootFS(type="")))
    #: How each layer came about, the lowest first.
    history: tuple[History, ...] = field(default=(), metadata=key("history", array(History)))

    @property
    def platform(self) -> Platform:
        """What the image needs to run, as descriptors say it."""
        return Platform(
            architecture=self.architecture,
            os=self.os,
            os_version=self.os_version,
            os_features=self.os_features,
            variant=self.variant,
        )


@frozen(kw_only=True, repr=False, eq=False)
class ImageLayout(Document):
    """The ``oci-layout`` file, which marks a directory as an image layout (image-layout.md)."""

    #: Version of the layout; REQUIRED.
    image_layout_version: str = field(
        default=IMAGE_LAYOUT_VERSION, metadata=key("imageLayoutVersion", STRING, absent="", always=True)
    )
