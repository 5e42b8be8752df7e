"""An archive of ``docker save``, open for reading: its images, and the parts of each under their digests.

Such an archive holds no manifests. One is made for each image of what is there: its layers are the plain tar files,
whose digests the configuration states; what is compressed inside is put aside in plain form. Nothing is verified
here: digests are those of the configuration, and only that of the configuration is computed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import AmbiguousImageError, BlobNotFoundError, ImageNotFoundError, LayoutError, LimitExceededError
from ocikit.image.archive.docker import (
    MANIFEST_FILE,
    MANIFEST_LIMIT,
    REPOSITORIES_FILE,
    diff_ids,
    docker_manifest,
    parse_manifest,
)
from ocikit.image.archive.members import Members
from ocikit.image.layout.blobs import read_document
from ocikit.spec import IMAGE_LAYOUT_FILE, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.archive.docker import SavedImage
    from ocikit.image.archive.regions import Pieces, Region
    from ocikit.image.reference import Named
    from ocikit.image.types import ByteStream

__all__ = ["DockerArchive", "LoadedImage"]

_SHOWN: Final = 10
_SHOWN_TEXT: Final = 300


@frozen(kw_only=True)
class LoadedImage:
    """An image in an archive of ``docker save``.

    Attributes:
        manifest: The manifest that was made for it.
        config: Its configuration.
        config_digest: The digest of that.
        layers: Where each layer is, plain, by the digest that the configuration states.
    """

    manifest: bytes = field(repr=False)
    config: bytes = field(repr=False)
    config_digest: Digest
    layers: Mapping[Digest, Pieces] = field(repr=False)


class DockerArchive:
    """An open archive of ``docker save``; its blobs may be read by several threads.

    Args:
        origin: The file, or an open file object, as for :class:`~ocikit.image.archive.members.Members`; or what was
            found in it, owned from now on.
        where: The file, for messages.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.

    Raises:
        LayoutError: It is no tar file, or none of ``docker save``, or older than that of Docker 1.10, or malformed.
        CompressionError: Its compressed data is damaged.
        LimitExceededError: It is larger than it may be.
        OSError: It cannot be opened.
    """

    def __init__(
        self, origin: str | ByteStream | Members, *, where: str, temporary_directory: str | None = None
    ) -> None:
        self._where = where
        self._members = (
            origin
            if isinstance(origin, Members)
            else Members(origin, where=where, temporary_directory=temporary_directory)
        )
        self._plain: dict[Region, Pieces] = {}
        try:
            #: The images, in the order of the list.
            self.images: tuple[SavedImage, ...] = parse_manifest(self._manifest(), f"{where}: {MANIFEST_FILE}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; streams that are open stay readable."""
        self._members.close()

    def find(self, named: Named | None, position: int | None) -> int:
        """Return the position of an image.

        Args:
            named: Its name with a tag; None for the only image there is.
            position: Its position, in place of a name.

        Raises:
            ImageNotFoundError: There is none.
            AmbiguousImageError: There are several.
        """
        count = len(self.images)
        if position is not None:
            if position >= count:
                raise ImageNotFoundError(f"{self._where}: no image @{position}, there are {count} (counted from 0)")
            return position
        if named is not None:
            return self._find_name(named)
        if not count:
            raise ImageNotFoundError(f"{self._where}: there are no images in it")
        if count > 1:
            raise AmbiguousImageError(
                f"{self._where}: there are {count} images in it, choose one by its name or as @0 to @{count - 1}; "
                f"there are {self._known()}"
            )
        return 0

    def load(self, position: int) -> LoadedImage:
        """Return the parts of an image.

        Args:
            position: Its position in the list.

        Raises:
            LayoutError: A part is missing or malformed, or there are more or fewer layers than the configuration has.
            CompressionError: A layer is compressed, and damaged.
            LimitExceededError: The configuration is larger than 4 MiB, or a layer that is compressed larger than it
                may be.
        """
        image = self.images[position]
        config = self._read(image.config)
        stated = diff_ids(config, f"{self._where}: {image.config}")
        if len(stated) != len(image.layers):
            raise LayoutError(
                f"{self._where}: image {position} has {len(image.layers)} layers in {MANIFEST_FILE} and {len(stated)} "
                f"in {image.config}"
            )
        layers: dict[Digest, Pieces] = {}
        for digest, name in zip(stated, image.layers, strict=True):
            # A layer that is there twice has the same content, or the copy of it fails in verification.
            if digest not in layers:
                layers[digest] = self._layer(name)
        return LoadedImage(
            manifest=docker_manifest(config, ((digest, layers[digest].size) for digest in stated)),
            config=config,
            config_digest=Digest.from_bytes(config),
            layers=layers,
        )

    def open_blob(self, image: LoadedImage, digest: Digest) -> tuple[ByteStream, int]:
        """Open the configuration or a layer and return it with its size; not verified.

        Raises:
            BlobNotFoundError: The image has no such part.
        """
        if digest == image.config_digest:
            return io.BytesIO(image.config), len(image.config)
        pieces = image.layers.get(digest)
        if pieces is None:
            raise BlobNotFoundError(f"{self._where}: the image has no layer with the digest {digest}")
        return pieces.open(f"{self._where}: layer {digest}"), pieces.size

    def _find_name(self, named: Named) -> int:
        found = [number for number, image in enumerate(self.images) if image.is_named(named)]
        if not found:
            raise ImageNotFoundError(f"{self._where}: no image is named {str(named)!r}; there are {self._known()}")
        if len({self.images[number] for number in found}) > 1:
            choices = " or ".join(f"@{number}" for number in found)
            raise AmbiguousImageError(f"{self._where}: {len(found)} images are named {named}; choose {choices}")
        return found[0]

    def _known(self) -> str:
        shown = [f"@{number} ({_names(image)})" for number, image in enumerate(self.images[:_SHOWN])]
        more = f" and {len(self.images) - _SHOWN} more" if len(self.images) > _SHOWN else ""
        return (", ".join(shown) or "none") + more

    def _layer(self, name: str) -> Pieces:
        region = self._region(name)
        if region not in self._plain:
            self._plain[region] = self._members.decompressed(self._member(name))
        return self._plain[region]

    def _region(self, name: str) -> Region:
        return self._members.find(self._member(name))

    def _member(self, name: str) -> str:
        # Docker on Windows lists its members with the separator of Windows, and writes them with that of tar.
        for spelled in (name, name.replace("\\", "/")):
            if spelled in self._members:
                return spelled
        raise LayoutError(f"{self._where}: {MANIFEST_FILE} names {name}, which is not in the archive")

    def _read(self, name: str) -> bytes:
        what = f"{self._where}: {name}"
        with self._region(name).open(what) as stream:
            return read_document(stream, what)

    def _manifest(self) -> bytes:
        if self._members.is_empty:
            raise LayoutError(
                f"{self._where}: there is nothing in it, it is empty or was read to its end before: this is not an "
                "archive of `docker save`"
            )
        if MANIFEST_FILE not in self._members:
            raise LayoutError(f"{self._where}: there is no {MANIFEST_FILE} in it: {self._what_else()}")
        region = self._members.find(MANIFEST_FILE)
        if region.size > MANIFEST_LIMIT:
            raise LimitExceededError(f"bytes of {self._where}: {MANIFEST_FILE}", MANIFEST_LIMIT, region.size)
        return self._read(MANIFEST_FILE)

    def _what_else(self) -> str:
        if REPOSITORIES_FILE in self._members:
            return (
                f"with its {REPOSITORIES_FILE} this is an archive from before Docker 1.10, which is not read; load it "
                "into a newer Docker or podman and save it anew"
            )
        if IMAGE_LAYOUT_FILE in self._members:
            return f"it is an archive of an OCI layout, name it as oci-archive:{self._where}"
        return "this is not an archive of `docker save`"


def _names(image: SavedImage) -> str:
    names = ", ".join(image.repo_tags[:_SHOWN]) or "no name"
    return names if len(names) <= _SHOWN_TEXT else f"{names[:_SHOWN_TEXT]}…"
