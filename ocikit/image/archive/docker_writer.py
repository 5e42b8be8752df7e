"""An archive as ``docker save`` makes it, while it is written: images that share layers, and the list of them.

Layers are plain tar files, named after their digests. The list of images is ``manifest.json``; ``repositories`` and a
directory for each layer are there for Docker before 1.10.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import LayoutError, ManifestError, NotSupportedError
from ocikit.image.archive.docker import (
    MANIFEST_FILE,
    REPOSITORIES_FILE,
    SavedImage,
    diff_ids,
    legacy_layers,
    manifest_document,
    repositories_document,
)
from ocikit.image.archive.writer import ArchiveWriter
from ocikit.image.compression import DETECTION_BYTES, detect
from ocikit.image.layout.blobs import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from ocikit.image.archive.target import Target
    from ocikit.image.reference import Named
    from ocikit.image.types import BlobInfo, ByteStream
    from ocikit.spec import Digest, DockerManifest

__all__ = ["DockerArchiveWriter"]

_MODE: Final = 0o444
_VERSION: Final = b"1.0"


def _layer_member(digest: Digest) -> str:
    return f"{digest.hex}.tar"


def _config_member(digest: Digest) -> str:
    return f"{digest.hex}.json"


class DockerArchiveWriter:
    """An archive that is being written; blobs may be put by several threads.

    Args:
        target: Where it goes; owned from now on.
        where: It, for messages.
        mtime: The time that files in the archive have, in seconds since the epoch.
        temporary_directory: As for :class:`~ocikit.image.archive.regions.Spool`.
    """

    def __init__(self, target: Target, *, where: str, mtime: int = 0, temporary_directory: str | None = None) -> None:
        self._writer = ArchiveWriter(target, mtime=mtime, mode=_MODE, temporary_directory=temporary_directory)
        self._where = where
        self._images: dict[str, SavedImage] = {}  # by the member with the configuration
        self._tops: dict[Named, str] = {}
        self._taken: dict[Named, str] = {}
        self._layers: dict[str, tuple[str, bytes]] = {}  # the layer and the document of each legacy id
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up what was not committed; closing twice is nothing."""
        self._writer.close()

    def announce(self, info: BlobInfo) -> None:
        """Keep a place for a layer that will be put later: the order of places is the order of these calls."""
        if info.digest is not None:
            self._writer.announce(_layer_member(info.digest), info.size)

    def size(self, digest: Digest) -> int | None:
        """Return the size of a layer or configuration that is there; None when it is not."""
        size = self._writer.size(_layer_member(digest))
        return size if size is not None else self._writer.size(_config_member(digest))

    def put(self, stream: ByteStream, info: BlobInfo, what: str, *, is_config: bool) -> tuple[Digest, int]:
        """Write a plain layer or a configuration, verified.

        Args:
            stream: The content.
            info: What is known of it.
            what: What it is, for messages.
            is_config: Whether it is a configuration.

        Returns:
            The digest of the content, and its size.

        Raises:
            NotSupportedError: The layer is compressed.
            VerificationError: The content is not what ``info`` says.
            OSError: It cannot be written.
        """
        if is_config:
            return self._writer.put(stream, info, _config_member, what)
        return self._writer.put(_Plain(stream, what), info, _layer_member, what)

    def add_image(self, manifest: DockerManifest, tags: Iterable[Named]) -> None:
        """Add an image whose layers and configuration were put.

        Args:
            manifest: Its manifest.
            tags: Its names, each with a tag.

        Raises:
            LayoutError: Something was not put, or another image has the name.
            ManifestError: The layers are not the ones that the configuration states.
        """
        config = self._config(manifest)
        layers = [layer.digest for layer in manifest.layers]
        if list(diff_ids(config, f"config for {self._where}")) != layers:
            raise ManifestError(
                f"{self._where}: the layers of the manifest are not the plain ones that the configuration states"
            )
        for layer in manifest.layers:
            if self._writer.size(_layer_member(layer.digest)) != layer.size:
                raise LayoutError(f"{self._where}: the layer {layer.digest} was not put, or is of another size")
        with self._lock:
            member = _config_member(manifest.config.digest)
            image = SavedImage(config=member, repo_tags=(), layers=tuple(map(_layer_member, layers)))
            self._add(self._images.get(member, image), list(tags), list(legacy_layers(config, layers, self._where)))

    def commit(self) -> None:
        """Finish the archive and have it appear.

        Raises:
            LayoutError: There is no image in it.
            OSError: It cannot be written; what was there before is still there.
        """
        if not self._images:
            raise LayoutError(f"{self._where}: nothing to commit: no image was added")
        for identifier, (layer, document) in self._layers.items():
            self._writer.add_symlink(f"{identifier}/layer.tar", f"../{layer}")
            self._writer.add(f"{identifier}/VERSION", _VERSION, mode=_MODE, last=True)
            self._writer.add(f"{identifier}/json", document, mode=_MODE, last=True)
        self._writer.add(MANIFEST_FILE, manifest_document(self._images.values()), mode=_MODE, last=True)
        self._writer.add(REPOSITORIES_FILE, repositories_document(self._tops.items()), mode=_MODE, last=True)
        self._writer.commit()

    def _config(self, manifest: DockerManifest) -> bytes:
        member = _config_member(manifest.config.digest)
        if self._writer.size(member) is None:
            raise LayoutError(f"{self._where}: the configuration {manifest.config.digest} was not put")
        with self._writer.open(member) as stream:
            return read_document(stream, f"config for {self._where}")

    def _add(self, image: SavedImage, tags: list[Named], legacy: list[tuple[str, bytes]]) -> None:
        for tag in tags:
            if self._taken.setdefault(tag, image.config) != image.config:
                raise LayoutError(f"{self._where}: another image in the archive is named {tag}")
        new = [str(tag) for tag in dict.fromkeys(tags) if str(tag) not in image.repo_tags]
        self._images[image.config] = evolve(image, repo_tags=(*image.repo_tags, *new))
        for layer, (identifier, document) in zip(image.layers, legacy, strict=True):
            self._layers.setdefault(identifier, (layer, document))
        if legacy:
            self._tops |= dict.fromkeys(tags, legacy[-1][0])


class _Plain:
    """A stream that is refused when it is compressed: who reads such archives takes layers as they are."""

    def __init__(self, stream: ByteStream, what: str) -> None:
        self._stream = stream
        self._what = what
        self._started = False

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if self._started:
            return data
        self._started = True
        while data and len(data) < DETECTION_BYTES and (more := self._stream.read(DETECTION_BYTES - len(data))):
            data += more
        compression = detect(data[:DETECTION_BYTES])
        if compression is not None:
            raise NotSupportedError(
                f"{self._what}: layers in an archive of `docker save` are plain, and this one is compressed by "
                f"{compression.value.lower()}; have it decompressed on the way"
            )
        return data

    def close(self) -> None:
        """Leave the stream open: whoever opened it closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
