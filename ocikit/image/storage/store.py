"""One open store: its images and layers as they were when it was opened, and the streams of their content.

As long as it is open nobody can remove a layer from it: the shared lock on its layers is held, and podman waits.
Nothing is ever written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, Descriptor, open_in_root
from ocikit.errors import BlobNotFoundError, LayoutError, LimitExceededError, NotSupportedError
from ocikit.image.compression import DecompressedStream
from ocikit.image.layout.blobs import open_regular, read_document
from ocikit.image.storage.conf import DRIVERS
from ocikit.image.storage.locks import shared_lock
from ocikit.image.storage.records import MOST_BYTES, big_data_file, parse_images, parse_layers
from ocikit.image.storage.tar_split import TarSplitStream

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from typing import Self

    from ocikit.image.storage.conf import StoreLocation
    from ocikit.image.storage.records import ImageRecord, LayerRecord
    from ocikit.image.types import ByteStream

__all__ = ["MOST_LAYERS", "Store"]

#: How many layers an image may have: more than any tool makes.
MOST_LAYERS: Final = 512

_FOREIGN: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EXDEV})


class _Root:
    """One root of a store, with the records of its images and layers."""

    def __init__(self, path: str, driver: str, stack: contextlib.ExitStack) -> None:
        self.path = path
        self._driver = driver
        self._root = stack.enter_context(Descriptor(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        self._layers = stack.enter_context(self._directory(f"{driver}-layers"))
        self._images = stack.enter_context(self._directory(f"{driver}-images"))
        # In the order of those who write, so that nobody waits for each other.
        lock = shared_lock(self._layers.fd, "layers.lock", f"{path}/{driver}-layers/layers.lock")
        if lock is not None:
            stack.enter_context(lock)
        lock = shared_lock(self._images.fd, "images.lock", f"{path}/{driver}-images/images.lock")
        with lock or contextlib.nullcontext():
            data, where = self._records(self._layers, "layers")
            self.layers = {layer.id: layer for layer in parse_layers(data, where)}
            data, where = self._records(self._images, "images")
            self.images = parse_images(data, where)

    def big_data(self, image: ImageRecord, key: str) -> tuple[io.FileIO, int]:
        """Open the data that is kept for an image."""
        name = big_data_file(key)
        where = f"{self.path}/{self._driver}-images/{image.id}/{name}"
        try:
            with Descriptor(os.open(image.id, DIRECTORY, dir_fd=self._images.fd)) as directory:
                return open_regular(directory.fd, name, where)
        except FileNotFoundError:
            raise BlobNotFoundError(f"{where}: images.json says that {key} is there, it is not") from None
        except OSError as error:
            if error.errno in _FOREIGN:
                raise LayoutError(
                    f"{where}: expected a directory and a file, found a link or something else"
                ) from error
            raise

    def diff(self, layer: LayerRecord) -> TarSplitStream:
        """Open the tar stream of a layer."""
        what = f"{self.path}: layer {layer.id}"
        name = f"{layer.id}.tar-split.gz"
        where = f"{self.path}/{self._driver}-layers/{name}"
        try:
            split, _ = open_regular(self._layers.fd, name, where)
        except FileNotFoundError:
            raise BlobNotFoundError(
                f"{where}: it is not there, and without it the layer cannot be put together as it was; commit or pull "
                "the image anew"
            ) from None
        with contextlib.ExitStack() as stack:
            stack.enter_context(split)
            lines = DecompressedStream(split, what=f"{what}: its tar-split")
            files = self._files(layer, what)
            stack.pop_all()
        return TarSplitStream(lines, files, what)

    def has_tar_split(self, layer: LayerRecord) -> bool:
        """Say whether the tar stream of a layer can be put together."""
        with contextlib.suppress(OSError):
            return bool(os.stat(f"{layer.id}.tar-split.gz", dir_fd=self._layers.fd, follow_symlinks=False).st_size)
        return False

    def _files(self, layer: LayerRecord, what: str) -> Descriptor:
        place = DRIVERS[self._driver].format(layer.id)
        try:
            return Descriptor(open_in_root(self._root.fd, place, DIRECTORY))
        except OSError as error:
            if error.errno in _FOREIGN | {errno.ENOENT}:
                raise LayoutError(
                    f"{what}: expected a directory with its files, {self.path}/{place}: {error.strerror}; the store is "
                    "damaged"
                ) from error
            raise

    def _directory(self, name: str) -> Descriptor:
        try:
            return Descriptor(os.open(name, DIRECTORY, dir_fd=self._root.fd))
        except FileNotFoundError:
            others = [driver for driver in DRIVERS if os.path.isdir(f"{self.path}/{driver}-images")]
            hint = f"; there is one of the driver {others[0]}" if others else ""
            raise LayoutError(
                f"{self.path}: there is no {name} in it, so it is no store of the driver {self._driver}{hint}"
            ) from None
        except OSError as error:
            if error.errno in _FOREIGN:
                raise LayoutError(f"{self.path}/{name}: expected a directory, found a link or a file") from error
            raise

    def _records(self, directory: Descriptor, name: str) -> tuple[bytes, str]:
        where = f"{self.path}/{self._driver}-{name}/{name}.json"
        try:
            file, size = open_regular(directory.fd, f"{name}.json", where)
        except FileNotFoundError:
            return b"[]", where
        with file:
            if size > MOST_BYTES:
                raise LimitExceededError(f"{where}: bytes", MOST_BYTES, size)
            return file.readall()[: MOST_BYTES + 1], where


class Store:
    """An open store, with the further ones that it reads from.

    Several threads may read from it at the same time.

    Args:
        location: Where it is.

    Raises:
        LayoutError: It is no store, or its records are malformed.
        LimitExceededError: Its records are too large.
        NotSupportedError: Its driver keeps layers in a form that is not read.
        TimeoutError: Somebody writes it and does not end.
        OSError: It cannot be opened.
    """

    def __init__(self, location: StoreLocation) -> None:
        if location.driver not in DRIVERS:
            raise NotSupportedError(
                f"{location.specifier}: stores of the driver {location.driver!r} are not read, only those of "
                f"{' and '.join(DRIVERS)}; copy the image with a tool that knows it"
            )
        self._location = location
        with contextlib.ExitStack() as stack:
            self._roots = [_Root(location.graph_root, location.driver, stack)]
            for path in location.additional_roots:
                # One that is not there (a share that is not mounted) holds nothing.
                with contextlib.suppress(FileNotFoundError):
                    self._roots.append(_Root(path, location.driver, stack))
            self._stack = stack.pop_all()
        self._layers = {id_: layer for root in reversed(self._roots) for id_, layer in root.layers.items()}

    def close(self) -> None:
        """Give up the locks and close everything; closing twice is nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def images(self) -> tuple[ImageRecord, ...]:
        """All images, those of the store itself before those of further ones."""
        return tuple(image for root in self._roots for image in root.images)

    def chain(self, image: ImageRecord) -> tuple[LayerRecord, ...]:
        """Return the layers of an image, the lowest first.

        Raises:
            BlobNotFoundError: One is missing.
            LayoutError: A layer is above itself.
            LimitExceededError: There are more than :data:`MOST_LAYERS`.
        """
        found: dict[str, LayerRecord] = {}
        wanted = image.layer
        while wanted:
            if wanted in found:
                raise LayoutError(f"{self._location.graph_root}: layer {wanted} is its own parent in layers.json")
            if len(found) == MOST_LAYERS:
                raise LimitExceededError(f"{self._location.graph_root}: layers of image {image.id}", MOST_LAYERS)
            layer = self._layers.get(wanted)
            if layer is None:
                raise BlobNotFoundError(
                    f"{self._location.graph_root}: image {image.id} needs layer {wanted}, which is not in layers.json"
                )
            found[wanted] = layer
            wanted = layer.parent
        return tuple(reversed(found.values()))

    def open_data(self, image: ImageRecord, key: str) -> tuple[io.FileIO, int]:
        """Open the data that is kept for an image and return it with its size; not verified.

        Args:
            image: The image.
            key: What the data is kept by, such as ``manifest``, or a digest.

        Raises:
            BlobNotFoundError: There is none.
            LayoutError: Something is there that is no data.
            OSError: It cannot be read.
        """
        root = next((root for root in self._roots if any(one is image for one in root.images)), self._roots[0])
        return root.big_data(image, key)

    def read_data(self, image: ImageRecord, key: str) -> bytes:
        """Read the data that is kept for an image.

        Raises:
            LimitExceededError: It is larger than 4 MiB.
            Exception: As :meth:`open_data`.
        """
        file, _ = self.open_data(image, key)
        with file:
            return read_document(file, f"{self._location.graph_root}: {key} of image {image.id}")

    def open_layer(self, digest: str) -> tuple[ByteStream, int] | None:
        """Open the tar stream of a layer and return it with its size; not verified.

        Args:
            digest: The digest of the stream.

        Returns:
            None when no layer has it.

        Raises:
            BlobNotFoundError: What is needed to put it together is not there.
            LayoutError: The layer is damaged.
            OSError: It cannot be read.
        """
        found = list(self._with_digest(digest))
        if not found:
            return None
        root, layer = next((one for one in found if one[0].has_tar_split(one[1])), found[0])
        return root.diff(layer), layer.diff_size

    def _with_digest(self, digest: str) -> Iterator[tuple[_Root, LayerRecord]]:
        for root in self._roots:
            for layer in root.layers.values():
                if layer.diff_digest == digest:
                    yield root, layer
