"""Transport ``tarball``: an image made of tar files, one for each layer; ``tarball:path[:path…]``, ``-`` for stdin.

The lowest layer comes first. Files are served as they are where the image specification has a type for that (plain,
gzip, zstd), bzip2 and xz decompressed. The manifest is one of the image specification. Its configuration is made up:
for the platform of this machine, or the one that is asked for, created at ``destination_timestamp``, so that equal
files give equal images. What else it is to say is given to :meth:`TarballReference.with_config`. Such images are only
read.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import stat
import sys as _sys
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ocikit._fs import Descriptor as OpenFile
from ocikit.errors import (
    BlobNotFoundError,
    InvalidReferenceError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image.archive.members import EXPANSION, EXPANSION_BYTES
from ocikit.image.archive.regions import Pieces, Region, Spool
from ocikit.image.compression import Compression, DecompressedStream
from ocikit.image.platform import wanted_platforms
from ocikit.image.tar import TarReader
from ocikit.image.transports._paths import resolve
from ocikit.image.types import BlobInfo, ImageReference, ImageSource, ImageTransport
from ocikit.spec import Descriptor, Digest, History, Image, ImageConfig, Manifest, RootFS, Timestamp, mediatypes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from ocikit.image.types import ByteStream, ImageDestination, SystemContext

__all__ = ["TRANSPORT", "TarballReference"]

_STDIN: Final = "-"
_MOST_LAYERS: Final = 512
_CHUNK: Final = 1 << 20
_BARE: Final = Image(architecture="", os="", rootfs=RootFS())
# Enough for the first header of a tar file, the largest extended one before it included.
_START: Final = 2 << 20
_MEDIA_TYPES: Final = {
    None: mediatypes.IMAGE_LAYER,
    Compression.GZIP: mediatypes.IMAGE_LAYER_GZIP,
    Compression.ZSTD: mediatypes.IMAGE_LAYER_ZSTD,
}


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "tarball"

    def parse_reference(self, reference: str) -> TarballReference:
        paths = tuple(reference.split(":"))
        if paths.count(_STDIN) > 1:
            raise InvalidReferenceError(f"{reference!r}: standard input (-) can be read once, and is named again")
        if len(paths) > _MOST_LAYERS:
            raise LimitExceededError("files of a tarball: reference", _MOST_LAYERS, len(paths))
        resolved = tuple(path if path == _STDIN else resolve(path, reference) for path in paths)
        return TarballReference(paths=paths, resolved=resolved)

    def validate_policy_configuration_scope(self, scope: str) -> None:
        raise ValueError(f"{scope!r} can never match: images made of tar files have no scope but the empty one")


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class TarballReference(ImageReference):
    """An image made of tar files.

    Attributes:
        paths: The files as they were written, the lowest layer first; ``-`` is standard input.
        resolved: The files, absolute and without symbolic links: what is opened.
        config: What the configuration is made from; None for nothing but the platform.
        annotations: The annotations of the manifest.
    """

    paths: tuple[str, ...] = field(eq=False)
    resolved: tuple[str, ...]
    config: Image | None = None
    annotations: Mapping[str, str] = field(factory=dict, hash=False)

    def with_config(
        self, config: Image | ImageConfig | None = None, *, annotations: Mapping[str, str] | None = None
    ) -> Self:
        """Return the same image with another configuration and other annotations, which no text of a reference has.

        Args:
            config: How to run the image, or a whole configuration. Its layers (``rootfs``) are filled in, and the time
                of creation and the history where it has none; with an :class:`~ocikit.spec.ImageConfig`, the platform
                too. None for one that says nothing else.
            annotations: The annotations of the manifest; None for none.

        Raises:
            ManifestError: The history speaks of another number of layers.
        """
        if isinstance(config, Image):
            layers = sum(not step.empty_layer for step in config.history)
            if config.history and layers != len(self.paths):
                raise ManifestError(f"{self}: {len(self.paths)} layers, and a history of {layers}")
        # Without a platform: that of this machine, or what is asked for when the image is read.
        whole = config if not isinstance(config, ImageConfig) else evolve(_BARE, config=config)
        return evolve(self, config=whole, annotations=dict(annotations or {}))

    @property
    def transport(self) -> ImageTransport:
        """``tarball``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """The files; configuration and annotations have no text."""
        return ":".join(self.paths)

    @property
    def policy_configuration_identity(self) -> str:
        """None: such images have no scope of their own."""
        return ""

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """None."""
        return ()

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        """See :class:`ImageReference`. The files are read once, to know their digests.

        Raises:
            CompressionError: A file is damaged.
        """
        return _Source(self, sys)

    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are made of tar files, and not written to them; unpack one instead")

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: there is no image beside the tar files; remove the files")


class _Hashed:
    """A stream, hashed and counted while it is read."""

    def __init__(self, stream: ByteStream, what: str) -> None:
        self._stream = stream
        self._what = what
        self.hasher: Final = Digest.from_bytes(b"").hasher()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.hasher.update(data)
        self.size += len(data)
        if self.size > EXPANSION_BYTES:
            raise LimitExceededError(f"{self._what}: bytes of a layer", EXPANSION_BYTES)
        return data

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@frozen(kw_only=True)
class _Layer:
    """One file as a layer."""

    region: Region | Pieces
    what: str
    descriptor: Descriptor
    diff_id: Digest
    is_decompressed: bool

    def open(self) -> ByteStream:
        stream = self.region.open(self.what)
        return DecompressedStream(stream, limits=EXPANSION, what=self.what) if self.is_decompressed else stream


def _measure(region: Region | Pieces, what: str) -> _Layer:
    """Read a file to know what it is as a layer."""
    with (
        _Hashed(region.open(what), what) as stored,
        DecompressedStream(stored, limits=EXPANSION, what=what) as stream,
        _Hashed(stream, what) as plain,
    ):
        start = b""
        while len(start) < _START and (data := plain.read(_CHUNK)):
            start += data
        _check_tar(start, what)
        while plain.read(_CHUNK):
            pass
        compression, diff_id = stream.compression, Digest.from_hasher(plain.hasher)
    is_decompressed = compression not in _MEDIA_TYPES
    served = plain if is_decompressed else stored
    descriptor = Descriptor(
        media_type=_MEDIA_TYPES[None if is_decompressed else compression],
        digest=Digest.from_hasher(served.hasher),
        size=served.size,
    )
    return _Layer(region=region, what=what, descriptor=descriptor, diff_id=diff_id, is_decompressed=is_decompressed)


def _check_tar(start: bytes, what: str) -> None:
    if not start:
        raise LayoutError(f"{what}: expected a tar file, found nothing in it")
    try:
        next(TarReader(io.BytesIO(start)), None)
    except LayoutError as error:
        raise LayoutError(
            f"{what}: expected a tar file, plain or compressed by gzip, zstd, bzip2 or xz: {error}"
        ) from error


class _Source(ImageSource):
    def __init__(self, reference: TarballReference, sys: SystemContext | None) -> None:
        self._reference = reference
        with contextlib.ExitStack() as stack:
            regions = [self._region(path, stack, sys) for path in reference.resolved]
            layers = [_measure(*region) for region in regions]
            self._layers = {layer.descriptor.digest: layer for layer in layers}
            self._config = _config(reference, tuple(layer.diff_id for layer in layers), sys).to_json()
            self._config_digest = Digest.from_bytes(self._config)
            self._manifest = Manifest(
                config=Descriptor.from_content(mediatypes.IMAGE_CONFIG, self._config),
                layers=tuple(layer.descriptor for layer in layers),
                annotations=reference.annotations,
            ).to_json()
            self._stack = stack.pop_all()

    @property
    def reference(self) -> ImageReference:
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        if instance is not None:
            raise BlobNotFoundError(f"{self._reference}: there is one manifest, and no index that lists {instance}")
        return self._manifest, mediatypes.IMAGE_MANIFEST

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        if info.digest == self._config_digest:
            return io.BytesIO(self._config), len(self._config)
        layer = self._layers.get(info.digest) if info.digest is not None else None
        if layer is None:
            raise BlobNotFoundError(f"{self._reference}: there is neither a configuration nor a file {info.digest}")
        return layer.open(), layer.descriptor.size

    def close(self) -> None:
        self._stack.close()

    def _region(self, path: str, stack: contextlib.ExitStack, sys: SystemContext | None) -> tuple[Region | Pieces, str]:
        if path == _STDIN:
            return self._spooled(stack, sys), "standard input"
        file = stack.enter_context(OpenFile(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)))
        status = os.fstat(file.fd)
        if not stat.S_ISREG(status.st_mode):
            raise LayoutError(f"{path}: expected a tar file, found something else; standard input is named -")
        return Region(file, 0, status.st_size), path

    def _spooled(self, stack: contextlib.ExitStack, sys: SystemContext | None) -> Pieces:
        stdin = getattr(_sys.stdin, "buffer", None)
        if stdin is None:
            raise LayoutError(f"{self._reference}: there is no standard input that gives bytes")
        spool = Spool(sys.big_files_temporary_dir if sys is not None else None)
        stack.callback(spool.close)
        _, pieces = spool.put(_Hashed(stdin, "standard input"), BlobInfo(), "standard input")
        return pieces


def _created(seconds: int) -> Timestamp:
    try:
        return Timestamp.from_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC))
    except (OverflowError, OSError, ValueError) as error:
        raise ManifestError(f"destination_timestamp: {seconds} is in no year that a configuration can name") from error


def _config(reference: TarballReference, diff_ids: tuple[Digest, ...], sys: SystemContext | None) -> Image:
    platform = wanted_platforms(sys)[0]
    created = _created(sys.destination_timestamp if sys is not None else 0)
    given = reference.config or _BARE
    if not (given.architecture or given.os):
        given = evolve(given, architecture=platform.architecture, os=platform.os, variant=platform.variant)
    history = tuple(History(created=created, comment=f"a tar file, diffID {diff_id}") for diff_id in diff_ids)
    return evolve(
        given,
        created=given.created or created,
        rootfs=RootFS(diff_ids=diff_ids),
        history=given.history or history,
    )
