"""What a layout, an archive or a store holds: the images in it, and in the indexes that are in there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit.errors import BlobNotFoundError, LayoutError, LimitExceededError, OCIKitError
from ocikit.image.archive.docker import MANIFEST_FILE, parse_manifest, parse_tag
from ocikit.image.archive.docker_reader import DockerArchive
from ocikit.image.archive.members import Members
from ocikit.image.layout.archive import ArchiveReader, blob_member
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.documents import read_manifest
from ocikit.image.layout.names import is_name
from ocikit.image.layout.store import Access, Layout
from ocikit.image.transports.containers_storage import TRANSPORT as STORAGE
from ocikit.image.transports.containers_storage import list_store
from ocikit.image.transports.docker_archive import TRANSPORT as DOCKER_ARCHIVE
from ocikit.image.transports.docker_archive import DockerArchiveReference
from ocikit.image.transports.oci import TRANSPORT as OCI
from ocikit.image.transports.oci import LayoutReference
from ocikit.image.transports.oci_archive import TRANSPORT as OCI_ARCHIVE
from ocikit.image.transports.oci_archive import ArchiveReference
from ocikit.image.unparsed import MAX_DEPTH
from ocikit.spec import (
    IMAGE_LAYOUT_FILE,
    Descriptor,
    Digest,
    DockerManifest,
    DockerManifestList,
    Index,
    Manifest,
    mediatypes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.layout.documents import BlobReader
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.types import ImageReference, ImageTransport, SystemContext

__all__ = ["ListedImage", "ListedImages", "list_images"]

_STORE: Final = f"{STORAGE.name}:"
#: Entries of indexes within a layout that are listed, in all.
_MOST_CHILDREN: Final = 100_000


@frozen(kw_only=True)
class ListedImage:
    """An image, or an index of images, in a layout, in an archive of ``docker save`` or in a store.

    Attributes:
        reference: What to ask for it by; None for an image in an archive with several that has no name of its own, and
            for what is listed in an index.
        name: Its name there, as it is written; None when it has none. In a layout in which that is none or that of
            several, the name that containerd gave it, when it did.
        position: Where it stands in index.json, in the index that lists it, in Docker's manifest.json, or among the
            images of a store, counted from 0.
        descriptor: What is said there of its manifest: type, digest, size, platform, annotations; of a store, the
            first three. In an archive of ``docker save``, of which images have no manifests, the same of the one that
            is made for it.
        children: What an index lists; empty unless nested ones were asked for.
    """

    reference: ImageReference | None
    name: str | None
    position: int
    descriptor: Descriptor
    children: tuple[ListedImage, ...] = ()


class ListedImages(tuple[ListedImage, ...]):
    """The images in a layout: a tuple that is a table as text, and in a notebook."""

    __slots__ = ()

    def __str__(self) -> str:
        from ocikit.image.display.inspection import listing_text  # noqa: PLC0415 - for those who show it

        return listing_text(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from ocikit.image.display.inspection import listing_html  # noqa: PLC0415 - for notebooks

        return listing_html(self)


def list_images(
    layout: str | os.PathLike[str], sys: SystemContext | None = None, *, nested: bool = False
) -> ListedImages:
    """List the images in a layout, in the order of its index.json, in an archive of ``docker save``, or in a store.

    Signatures of images in a layout are no images, and not listed; what else refers to images is.
    An image with several names in such an archive is listed once for each. Newer Dockers write archives that are those
    of layouts, too: without a transport they are listed as layouts when that tells the images apart.

    Args:
        layout: The directory or the archive; or a name of it, ``oci:path``, ``oci-archive:file`` or
            ``docker-archive:file``. Or a store, ``containers-storage:`` for that of this machine or user,
            ``containers-storage:[driver@graphroot]`` for another; in one, an image with several names is there several
            times.
        sys: The circumstances.
        nested: List what is in indexes of a layout, too, and in indexes within them; each is verified. An index that
            is not there, as a copy of some images of another one leaves it, has no children.

    Raises:
        LayoutError: It is no layout, no archive of ``docker save``, or no store.
        VerificationError: An index within is not what it is listed as.
        ManifestError: An index within is malformed.
        LimitExceededError: Indexes are nested too deeply, or list more than 100,000 images in all.
        OSError: It cannot be opened.
    """
    if isinstance(layout, str) and layout.startswith(_STORE):
        return ListedImages(_in_store(layout.removeprefix(_STORE), sys))
    transport, path = _split(layout) if isinstance(layout, str) else (None, os.fspath(layout))
    resolved = os.path.realpath(path)
    if Path(path).is_dir():
        shared = sys.oci_shared_blob_dir_path if sys is not None else None
        with Layout(resolved, Access.READ, shared_blobs=shared) as opened:
            found = ListedImages(_listed(opened.index(), path, OCI))
            return _with_children(found, opened, path) if nested else found
    aside = sys.big_files_temporary_dir if sys is not None else None
    with Members(resolved, where=resolved, temporary_directory=aside) as members:
        if _is_docker(members, resolved, transport):
            try:
                return ListedImages(_saved(DockerArchive(members, where=resolved), path))
            except LayoutError:
                if transport is not None or IMAGE_LAYOUT_FILE not in members:
                    raise
        archive = ArchiveReader(members, where=resolved)
        found = ListedImages(_listed(archive.index(), path, OCI_ARCHIVE))
        return _with_children(found, archive, path) if nested else found


def _is_docker(members: Members, where: str, transport: ImageTransport | None) -> bool:
    """Say whether an archive is listed as one of ``docker save``; newer Dockers write archives that are both."""
    if transport is not None:
        return transport is DOCKER_ARCHIVE
    if MANIFEST_FILE not in members:
        return False
    return IMAGE_LAYOUT_FILE not in members or not _says_as_much(ArchiveReader(members, where=where), members, where)


def _says_as_much(archive: ArchiveReader, members: Members, where: str) -> bool:
    """Say whether the index of an archive has every image that Docker's list in it has, told apart and with its layers.

    Docker leaves images without a name out of its index when there is one with a name, and on Windows it lists layers
    there by digests under which they are not in the archive.
    """
    images = list(_listed(archive.index(), where, OCI_ARCHIVE))
    different = {image.descriptor.digest for image in images}
    if len(different) < max(_saved_images(members, where), 1) or any(image.reference is None for image in images):
        return False
    return all(_is_whole(archive, members, image.descriptor, where) for image in images)


def _saved_images(members: Members, where: str) -> int:
    what = f"{where}: {MANIFEST_FILE}"
    try:
        with members.find(MANIFEST_FILE).open(what) as stream:
            return len(parse_manifest(read_document(stream, what), what))
    except (LayoutError, LimitExceededError):
        return 0  # whatever it is, it is no list of Docker's


def _is_whole(archive: ArchiveReader, members: Members, descriptor: Descriptor, where: str) -> bool:
    if descriptor.media_type in mediatypes.INDEXES or blob_member(descriptor.digest) not in members:
        return True
    try:
        manifest = read_manifest(archive, descriptor, f"manifest {descriptor.digest} in {where}")
    except OCIKitError:
        return False
    layers = manifest.layers if isinstance(manifest, Manifest | DockerManifest) else ()
    return all(blob_member(layer.digest) in members for layer in layers)


def _in_store(text: str, sys: SystemContext | None) -> Iterator[ListedImage]:
    for position, name, reference, descriptor in list_store(text, sys):
        yield ListedImage(reference=reference, name=name, position=position, descriptor=descriptor)


def _with_children(images: ListedImages, reader: BlobReader, path: str) -> ListedImages:
    known: dict[Digest, tuple[ListedImage, ...]] = {}
    count: dict[Digest, int] = {}
    left = _MOST_CHILDREN

    def children(descriptor: Descriptor, depth: int) -> tuple[ListedImage, ...]:
        nonlocal left
        digest, before = descriptor.digest, left
        if descriptor.media_type not in mediatypes.INDEXES:
            return ()
        if depth > MAX_DEPTH:
            raise LimitExceededError(f"{path}: indexes nested in each other", MAX_DEPTH)
        if digest not in known:
            entries = _entries(reader, descriptor, path)
            left -= len(entries)
            known[digest] = tuple(
                ListedImage(
                    reference=None, name=None, position=number, descriptor=entry, children=children(entry, depth + 1)
                )
                for number, entry in enumerate(entries if left >= 0 else ())
            )
            count[digest] = before - left
        else:
            # One that is listed again counts again: whoever goes through all of it goes through it again.
            left -= count[digest]
        if left < 0:
            raise LimitExceededError(f"{path}: images that indexes list", _MOST_CHILDREN)
        return known[digest]

    return ListedImages(evolve(one, children=children(one.descriptor, 1)) for one in images)


def _entries(reader: BlobReader, descriptor: Descriptor, path: str) -> tuple[Descriptor, ...]:
    try:
        index = read_manifest(reader, descriptor, f"index {descriptor.digest} in {path}")
    except BlobNotFoundError:
        return ()
    return index.manifests if isinstance(index, Index | DockerManifestList) else ()


def _split(name: str) -> tuple[ImageTransport | None, str]:
    for transport in (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE):
        if name.startswith(f"{transport.name}:"):
            return transport, name.partition(":")[2]
    return None, name


def _saved(archive: DockerArchive, path: str) -> Iterator[ListedImage]:
    resolved = os.path.realpath(path)
    counts = Counter(filter(None, (parse_tag(tag) for image in archive.images for tag in image.repo_tags)))
    for position, image in enumerate(archive.images):
        descriptor = Descriptor.from_content(mediatypes.DOCKER_MANIFEST, archive.load(position).manifest)
        for tag in image.repo_tags or (None,):
            named = parse_tag(tag) if tag is not None else None
            alone = named is not None and counts[named] == 1
            reference = DockerArchiveReference(
                path=path, resolved=resolved, named=named if alone else None, position=None if alone else position
            )
            yield ListedImage(reference=reference, name=tag, position=position, descriptor=descriptor)


def _listed(index: LayoutIndex, path: str, transport: ImageTransport) -> Iterator[ListedImage]:
    only, names = index.only(), _names(index)
    signatures = {position for position in range(len(index)) if index.is_signature(position)}
    for position in range(len(index)):
        descriptor = index.descriptor(position)
        # Signatures are no images; where there is nothing else, somebody has put them there as such.
        is_left = position in signatures and len(signatures) < len(index)
        if descriptor.media_type in mediatypes.MANIFESTS and not is_left:
            name = names.get(position)
            yield ListedImage(
                reference=_reference(position, path, transport, name, alone=position == only),
                name=name if name is not None else index.name(position),
                position=position,
                descriptor=descriptor,
            )


def _names(index: LayoutIndex) -> dict[int, str]:
    """Return for each image the name that leads to it alone: its own, else the one that containerd gave it."""
    own, full = index.names(), [index.full_name(position) for position in range(len(index))]
    count, full_count = Counter(own), Counter(full)
    found = {}
    for position, long in enumerate(full):
        name = index.name(position)
        if name is not None and count[name] == 1 and is_name(name):
            found[position] = name
        elif long is not None and full_count[long] == 1 and long not in count and is_name(long):
            found[position] = long
    return found


def _reference(
    position: int, path: str, transport: ImageTransport, name: str | None, *, alone: bool
) -> ImageReference | None:
    """Return a reference that leads to this image and to no other; None when an archive has no such.

    It is made, not parsed: a colon in the path would be read as the beginning of the name.
    """
    resolved = os.path.realpath(path)
    if transport is OCI:
        return LayoutReference(path=path, resolved=resolved, name=name, position=position if name is None else None)
    if name is not None or alone:
        return ArchiveReference(path=path, resolved=resolved, name=name)
    return None
