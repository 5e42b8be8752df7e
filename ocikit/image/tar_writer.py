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


def tar_header(name: str, size: int | None, *, mode: int, mtime: int = 0, target: str | None = None) -> bytes:
    """Return the header of a file, a directory or a symbolic link that belongs to root.

    Args:
        name: Its name.
        size: Its size in bytes; None for a directory and a link.
        mode: Its permissions.
        mtime: The time of its last modification, in seconds since the epoch.
        target: What a symbolic link leads to; None for files and directories.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    link = (target or "").encode("utf-8", "surrogateescape")
    kind = b"2" if target is not None else b"0" if size is not None else b"5"
    size = size or 0
    records = b""
    if len(link) > _NAME_BYTES:
        records += _record(b"linkpath", link)
    if len(encoded) > _NAME_BYTES:
        records += _record(b"path", encoded)
    if size > _LARGEST_SIZE:
        records += _record(b"size", b"%d" % size)
    extended = b""
    if records:
        extended = _block(b"pax", len(records), b"x", 0o644, mtime) + records + padding(len(records))
    stated = size if size <= _LARGEST_SIZE else 0
    return extended + _block(encoded[:_NAME_BYTES], stated, kind, mode, mtime, link=link[:_NAME_BYTES])


def _record(key: bytes, value: bytes) -> bytes:
    body = b" %b=%b\n" % (key, value)
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d%b" % (length, body)


def _block(name: bytes, size: int, kind: bytes, mode: int, mtime: int, *, link: bytes = b"") -> bytes:
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME_BYTES, b"\0"), mode, 0, 0, size, mtime)
    tail = kind + link.ljust(_NAME_BYTES, b"\0") + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (0, 0)
    total = sum(head) + sum(tail) + 8 * 0x20
    return (head + b"%06o\0 " % total + tail).ljust(BLOCK, b"\0")
