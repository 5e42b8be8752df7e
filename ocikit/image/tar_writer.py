"""Write the headers of tar files: ustar, with a pax header in front where a name or a size needs one.

Equal arguments give equal bytes: nothing of the machine or of the moment gets in.
"""

from __future__ import annotations

from ocikit.image._tar_format import BLOCK

__all__ = ["TAR_END", "padding", "tar_header"]

#: What a tar file ends with.
TAR_END = bytes(2 * BLOCK)

_NAME_BYTES = 100
_LARGEST_SIZE = 8**11 - 1


def padding(size: int) -> bytes:
    """Return what follows ``size`` bytes of data to fill the last block."""
    return bytes(-size % BLOCK)


def tar_header(name: str, size: int | None, *, mode: int, mtime: int = 0) -> bytes:
    """Return the header of a file, or of a directory, that belongs to root.

    Args:
        name: Its name.
        size: Its size in bytes; None for a directory.
        mode: Its permissions.
        mtime: The time of its last modification, in seconds since the epoch.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    kind = b"0" if size is not None else b"5"
    size = size or 0
    records = b""
    if len(encoded) > _NAME_BYTES:
        records += _record(b"path", encoded)
    if size > _LARGEST_SIZE:
        records += _record(b"size", b"%d" % size)
    extended = b""
    if records:
        extended = _block(b"pax", len(records), b"x", 0o644, mtime) + records + padding(len(records))
    return extended + _block(encoded[:_NAME_BYTES], size if size <= _LARGEST_SIZE else 0, kind, mode, mtime)


def _record(key: bytes, value: bytes) -> bytes:
    body = b" %b=%b\n" % (key, value)
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d%b" % (length, body)


def _block(name: bytes, size: int, kind: bytes, mode: int, mtime: int) -> bytes:
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME_BYTES, b"\0"), mode, 0, 0, size, mtime)
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (0, 0)
    total = sum(head) + sum(tail) + 8 * 0x20
    return (head + b"%06o\0 " % total + tail).ljust(BLOCK, b"\0")
