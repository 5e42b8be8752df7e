"""What a blob, or a file in a layer, is: named by libmagic from its first bytes, when somebody asks.

For people who look, never for what decides: copying and unpacking go by exact magic bytes
(:mod:`ocikit.image.compression`). libmagic is loaded with the first question. Only the beginning of anything is looked
at, and it is **not verified**: this says what the bytes are, not whether they are the right ones.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ocikit._fs import Descriptor
from ocikit.errors import BlobNotFoundError, CompressionError, MissingDependencyError
from ocikit.image.compression import Compression, DecompressedStream, detect
from ocikit.image.layer_search import find_in_layer
from ocikit.image.tar import TarType
from ocikit.image.transports import as_reference
from ocikit.image.types import BlobInfo, ImageReference
from ocikit.image.unparsed import UnparsedImage
from ocikit.spec import Digest

if TYPE_CHECKING:
    from typing import Protocol

    from ocikit.image.layer_search import Found
    from ocikit.image.types import ImageSource, SystemContext

    class _Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...


__all__ = ["IDENTIFIED_BYTES", "Identification", "identify"]

#: How many bytes are looked at, at most.
IDENTIFIED_BYTES: Final = 64 << 10

# What file(1) calls what has no bytes of its own.
_INODES: Final = {
    TarType.DIRECTORY: ("inode/directory", "directory"),
    TarType.SYMLINK: ("inode/symlink", "symbolic link"),
    TarType.FIFO: ("inode/fifo", "fifo"),
    TarType.CHARACTER_DEVICE: ("inode/chardevice", "character device"),
    TarType.BLOCK_DEVICE: ("inode/blockdevice", "block device"),
}
_UNKNOWN: Final = "application/octet-stream"


@frozen(kw_only=True)
class Identification:
    """What some bytes are.

    Attributes:
        mime_type: The MIME type, as libmagic names it (``application/x-executable``).
        description: The same in words; may have words of the content in it.
        compression: How the bytes are compressed, by their exact magic bytes; None when they are not.
        content: What is inside, when they are compressed and the beginning can be decompressed.
    """

    mime_type: str
    description: str
    compression: Compression | None = None
    content: Identification | None = None

    def __str__(self) -> str:
        from ocikit._display.text import printable  # noqa: PLC0415 - for those who show it

        inside = f", inside: {self.content}" if self.content is not None else ""
        return f"{printable(self.mime_type)}: {printable(self.description)}{inside}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "mimeType": self.mime_type,
            "description": self.description,
            "compression": self.compression.value.lower() if self.compression is not None else None,
            "content": self.content.to_dict() if self.content is not None else None,
        }


def identify(
    thing: bytes | bytearray | memoryview | str | os.PathLike[str] | ImageReference | _Readable,
    *,
    digest: str | None = None,
    member: str | bytes | None = None,
    sys: SystemContext | None = None,
) -> Identification:
    """Say what something is, by its first 64 KiB.

    * bytes: these;
    * a path: the file, which must be a regular one;
    * an open stream: what it reads next;
    * an image, with ``digest``: that blob of it;
    * an image, with ``member``: the file of that path in the image, or, with ``digest`` too, in that layer. Of
      several layers that have it the uppermost counts, and what a layer removed is not there.

    Args:
        thing: What to look at; an image is a reference or an image name.
        digest: A blob of the image.
        member: A path in its layers. Symbolic links are not followed.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        MissingDependencyError: libmagic, or its binding for Python, is not installed.
        BlobNotFoundError: There is no such blob, or no such file in the image.
        LayoutError: A layer is no tar file.
        LimitExceededError: A layer is a bomb.
        TypeError: An image was given and nothing in it, or something in what is no image.
        OSError: The file cannot be read.
        OCIKitError: As the transport gives it.
    """
    if digest is not None or member is not None:
        if not isinstance(thing, str | ImageReference):
            raise TypeError(f"expected an image, whose digest= or member= is looked at, found {type(thing).__name__}")
        with as_reference(thing).new_image_source(sys) as source:
            return _in_image(source, Digest(digest) if digest is not None else None, member, sys)
    if isinstance(thing, bytes | bytearray | memoryview):
        return _named(bytes(memoryview(thing).cast("B")[:IDENTIFIED_BYTES]))
    if isinstance(thing, ImageReference):
        raise TypeError(f"{thing}: say which of its blobs (digest=…) or files (member=…) is to be identified")
    if isinstance(thing, str | os.PathLike):
        return _named(_head_of_file(os.fspath(thing)))
    return _named(_head(thing))


def _head(stream: _Readable) -> bytes:
    head = b""
    while len(head) < IDENTIFIED_BYTES and (data := stream.read(IDENTIFIED_BYTES - len(head))):
        head += data
    return head


def _head_of_file(path: str) -> bytes:
    # O_NONBLOCK: opening a named pipe would wait for somebody to write to it.
    with Descriptor(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        mode = os.fstat(file.fd).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(number, "expected a regular file, found something else", path)
        return _head(io.FileIO(file.fd, closefd=False))


# -------------------------------------------------------------------------------------------------------- in an image


def _in_image(
    source: ImageSource, digest: Digest | None, member: str | bytes | None, sys: SystemContext | None
) -> Identification:
    if member is None:
        stream, _ = source.get_blob(BlobInfo(digest=digest))
        with stream:
            return _named(_head(stream))
    path = os.fsencode(member)
    if digest is not None:
        layers = [BlobInfo(digest=digest)]
    else:
        manifest = UnparsedImage(source).for_platform(sys).image_manifest()
        layers = [BlobInfo.from_descriptor(layer) for layer in manifest.layers]
    for _ in range(_LINKS):
        found = _search(source, layers, path)
        if found is None or found.type is not TarType.HARD_LINK:
            break
        path = found.target
    if found is None or found.type is TarType.HARD_LINK:
        raise BlobNotFoundError(f"{source.reference}: there is no file {path!r} in {len(layers)} layers")
    if found.type in _INODES:
        mime_type, description = _INODES[found.type]
        return Identification(mime_type=mime_type, description=description)
    return _named(found.head)


# A hard link leads to a file of the same image, and it may be made to lead to itself.
_LINKS: Final = 16


def _search(source: ImageSource, layers: list[BlobInfo], path: bytes) -> Found | None:
    for info in reversed(layers):
        stream, _ = source.get_blob(info)
        with stream:
            found, hides = find_in_layer(stream, path, IDENTIFIED_BYTES, what=f"layer {info.digest}")
        if found is not None or hides:
            return found
    return None


# ----------------------------------------------------------------------------------------------------------- libmagic


@functools.cache
def _libmagic() -> tuple[Any, Any, type[Exception]]:
    """Return what names MIME types, what describes, and what they raise."""
    try:
        import magic  # noqa: PLC0415 - for those who ask
    except ImportError as error:
        # Its message tells whether it is itself missing or the library that it looks for.
        raise MissingDependencyError(
            f"identifying content needs libmagic (Debian: libmagic1) and the package python-magic: {error}"
        ) from error
    return magic.Magic(mime=True), magic.Magic(), magic.MagicException


def _named(head: bytes, *, inside: bool = True) -> Identification:
    """Name what some bytes begin, and what is inside when they are compressed; not what is inside that again."""
    types, descriptions, failed = _libmagic()
    try:
        mime_type, description = types.from_buffer(head), descriptions.from_buffer(head)
    except failed as error:
        mime_type, description = _UNKNOWN, f"libmagic cannot tell: {error}"
    compression = detect(head)
    content = _decompressed(head) if compression is not None and inside else b""
    return Identification(
        mime_type=str(mime_type),
        description=str(description),
        compression=compression,
        content=_named(content, inside=False) if content else None,
    )


def _decompressed(head: bytes) -> bytes:
    """Return the beginning of what is inside; what comes out before the end of the beginning is enough."""
    content = b""
    with contextlib.suppress(CompressionError), DecompressedStream(io.BytesIO(head)) as stream:
        while len(content) < IDENTIFIED_BYTES and (data := stream.read(IDENTIFIED_BYTES - len(content))):
            content += data
    return content
