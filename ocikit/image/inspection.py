"""Look at images without using them: what a layout or an archive holds, what an image says of itself.

Everything that is shown was verified against the digest it is listed by. Whether the image is to be trusted is
another question, which a policy answers when the image is used: what it says of itself proves nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.image.archive.docker import MANIFEST_FILE, parse_tag
from ocikit.image.archive.docker_reader import DockerArchive
from ocikit.image.archive.members import Members
from ocikit.image.config import read_config
from ocikit.image.layout.archive import ArchiveReader
from ocikit.image.layout.store import Access, Layout
from ocikit.image.transports import as_reference
from ocikit.image.transports._layout_image import is_name
from ocikit.image.transports.containers_storage import TRANSPORT as STORAGE
from ocikit.image.transports.containers_storage import list_store
from ocikit.image.transports.docker_archive import TRANSPORT as DOCKER_ARCHIVE
from ocikit.image.transports.docker_archive import DockerArchiveReference
from ocikit.image.transports.oci import TRANSPORT as OCI
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import TRANSPORT as OCI_ARCHIVE
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.image.unparsed import UnparsedImage
from ocikit.spec import IMAGE_LAYOUT_FILE, Descriptor, Digest, Image, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.manifest import AnyIndex, ImageManifest
    from ocikit.image.types import ImageReference, ImageTransport, SystemContext
    from ocikit.spec import Timestamp

__all__ = ["ImageInspection", "ListedImage", "inspect", "list_images"]

_STORE: Final = f"{STORAGE.name}:"


@frozen(kw_only=True)
class ListedImage:
    """An image, or an index of images, in a layout, in an archive of ``docker save`` or in a store.

    Attributes:
        reference: What to ask for it by; None for an image in an archive with several that has no name of its own.
        name: Its name there, as it is written; None when it has none.
        position: Where it stands in index.json or in Docker's manifest.json, or among the images of a store, counted
            from 0.
        descriptor: What index.json says of its manifest: type, digest, size, platform, annotations; of a store, the
            first three. In an archive of ``docker save``, of which images have no manifests, the same of the one that
            is made for it.
    """

    reference: ImageReference | None
    name: str | None
    position: int
    descriptor: Descriptor


@frozen(kw_only=True)
class ImageInspection:
    """What an image says of itself.

    Attributes:
        reference: What was asked for.
        digest: The digest of the manifest or index that the reference names.
        media_type: Its media type.
        raw_manifest: Its exact bytes.
        index: The index, when that is what the reference names.
        manifest: The manifest of the image; of an index the one for the platform.
        manifest_digest: The digest of that manifest.
        config: The configuration; None for an artifact that is no image.
    """

    reference: ImageReference
    digest: Digest
    media_type: str
    raw_manifest: bytes = field(repr=False)
    index: AnyIndex | None
    manifest: ImageManifest
    manifest_digest: Digest
    config: Image | None

    @property
    def created(self) -> Timestamp | None:
        """When the image was made."""
        return self.config.created if self.config is not None else None

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.config.config.labels if self.config is not None else {}

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """Its layers, the lowest first."""
        return self.manifest.layers


def inspect(image: str | ImageReference, sys: SystemContext | None = None) -> ImageInspection:
    """Say what an image says of itself.

    Args:
        image: A reference, or an image name such as ``oci:/srv/layout:1.2``.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        ImageNotFoundError: There is no such image, or none for the platform.
        AmbiguousImageError: The reference fits more than one image.
        VerificationError: A manifest or the configuration is not what it is listed as.
        ManifestError: One of them is malformed.
        LimitExceededError: One of them is larger than 4 MiB.
        OCIKitError: As the transport gives it.
    """
    reference = as_reference(image)
    with reference.new_image_source(sys) as source:
        top = UnparsedImage(source)
        data, media_type = top.manifest()
        chosen = top.for_platform(sys)
        manifest = chosen.image_manifest()
        return ImageInspection(
            reference=reference,
            digest=top.digest(),
            media_type=media_type,
            raw_manifest=data,
            index=top.index() if top.is_index() else None,
            manifest=manifest,
            manifest_digest=chosen.digest(),
            config=read_config(source, manifest.config, chosen.description),
        )


def list_images(layout: str | os.PathLike[str], sys: SystemContext | None = None) -> tuple[ListedImage, ...]:
    """List the images in a layout, in the order of its index.json, in an archive of ``docker save``, or in a store.

    An image with several names in such an archive is listed once for each. Newer Dockers write archives that are those
    of layouts, too: without a transport they are listed as layouts when that tells the images apart.

    Args:
        layout: The directory or the archive; or a name of it, ``oci:path``, ``oci-archive:file`` or
            ``docker-archive:file``. Or a store, ``containers-storage:`` for that of this machine or user,
            ``containers-storage:[driver@graphroot]`` for another; in one, an image with several names is there several
            times.
        sys: The circumstances.

    Raises:
        LayoutError: It is no layout, no archive of ``docker save``, or no store.
        OSError: It cannot be opened.
    """
    if isinstance(layout, str) and layout.startswith(_STORE):
        return tuple(_in_store(layout.removeprefix(_STORE), sys))
    transport, path = _split(layout) if isinstance(layout, str) else (None, os.fspath(layout))
    resolved = os.path.realpath(path)
    if Path(path).is_dir():
        shared = sys.oci_shared_blob_dir_path if sys is not None else None
        with Layout(resolved, Access.READ, shared_blobs=shared) as opened:
            return tuple(_listed(opened.index(), path, OCI))
    aside = sys.big_files_temporary_dir if sys is not None else None
    with Members(resolved, where=resolved, temporary_directory=aside) as members:
        if transport is not DOCKER_ARCHIVE and (transport is OCI_ARCHIVE or MANIFEST_FILE not in members):
            return tuple(_listed(ArchiveReader(members, where=resolved).index(), path, OCI_ARCHIVE))
        if transport is None and IMAGE_LAYOUT_FILE in members:
            index = ArchiveReader(members, where=resolved).index()
            if _are_told_apart(index):
                return tuple(_listed(index, path, OCI_ARCHIVE))
        return tuple(_saved(DockerArchive(members, where=resolved), path))


def _in_store(text: str, sys: SystemContext | None) -> Iterator[ListedImage]:
    for position, name, reference, descriptor in list_store(text, sys):
        yield ListedImage(reference=reference, name=name, position=position, descriptor=descriptor)


def _split(name: str) -> tuple[ImageTransport | None, str]:
    for transport in (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE):
        if name.startswith(f"{transport.name}:"):
            return transport, name.partition(":")[2]
    return None, name


def _are_told_apart(index: LayoutIndex) -> bool:
    names = [index.name(position) for position in range(len(index))]
    return len(names) == 1 or (None not in names and len(set(names)) == len(names))


def _saved(archive: DockerArchive, path: str) -> Iterator[ListedImage]:
    resolved = os.path.realpath(path)
    counts = Counter(filter(None, (parse_tag(tag) for image in archive.images for tag in image.repo_tags)))
    for position, image in enumerate(archive.images):
        manifest = archive.load(position).manifest
        descriptor = Descriptor(
            media_type=mediatypes.DOCKER_MANIFEST, digest=Digest.from_bytes(manifest), size=len(manifest)
        )
        for tag in image.repo_tags or (None,):
            named = parse_tag(tag) if tag is not None else None
            alone = named is not None and counts[named] == 1
            yield ListedImage(
                reference=DockerArchiveReference(
                    path=path,
                    resolved=resolved,
                    named=named if alone else None,
                    position=None if alone else position,
                ),
                name=tag,
                position=position,
                descriptor=descriptor,
            )


def _listed(index: LayoutIndex, path: str, transport: ImageTransport) -> Iterator[ListedImage]:
    only = index.only()
    for position in range(len(index)):
        descriptor = index.descriptor(position)
        if descriptor.media_type in mediatypes.MANIFESTS:
            yield ListedImage(
                reference=_reference(index, position, path, transport, only),
                name=index.name(position),
                position=position,
                descriptor=descriptor,
            )


def _reference(
    index: LayoutIndex, position: int, path: str, transport: ImageTransport, only: int | None
) -> ImageReference | None:
    """Return a reference that leads to this image and to no other; None when an archive has no such.

    It is made, not parsed: a colon in the path would be read as the beginning of the name.
    """
    name = index.name(position)
    if name is not None and (index.names().count(name) > 1 or not is_name(name)):
        name = None
    resolved = os.path.realpath(path)
    if transport is OCI:
        return LayoutReference(path=path, resolved=resolved, name=name, position=position if name is None else None)
    if name is not None or position == only:
        return ArchiveReference(path=path, resolved=resolved, name=name)
    return None
