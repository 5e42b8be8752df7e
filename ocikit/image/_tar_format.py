"""The tar format as pure functions: header blocks, numbers, extended records, sparse maps; no stream, no state.

Formats: v7, POSIX ustar and pax, GNU (long names, base-256 numbers, sparse files of every generation), and the
extended attributes of star and of libarchive. Every function raises :class:`TarFault` on what is malformed; the
reader turns that into an error that says where.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "BLOCK",
    "Header",
    "TarFault",
    "attributes",
    "decimal",
    "gnu_long_name",
    "gnu_sparse_extension",
    "gnu_sparse_header",
    "parse_header",
    "pax_records",
    "pax_time",
    "sparse_pairs",
    "validate_sparse",
]

#: Everything in a tar file is padded to blocks of this size, in bytes.
BLOCK = 512

_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12s")
_CHECKSUM = slice(148, 156)
_POSIX_MAGIC = b"ustar\x0000"
_GNU_SPARSE_ENTRY = struct.Struct("12s12s")
_GNU_SPARSE_IN_HEADER = 4
_GNU_SPARSE_IN_EXTENSION = 21
_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,15})(?:\.([0-9]*))?")
# Fields of a pax header that name a file; a zero byte in them would end the name early somewhere else.
_NAMES = frozenset({b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"})
_STAR_ATTRIBUTE = b"SCHILY.xattr."
_LIBARCHIVE_ATTRIBUTE = b"LIBARCHIVE.xattr."


class TarFault(ValueError):  # noqa: N818 (never leaves the reader, which raises the error of its caller)
    """Something is malformed; the message says what was expected and what was found."""


class Header(NamedTuple):
    """One header block, as it stands; extended headers are not applied yet."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    type: bytes
    linkname: bytes
    major: int
    minor: int


def parse_header(block: bytes) -> Header:
    """Parse one block of :data:`BLOCK` bytes and check its sum.

    Raises:
        TarFault: The sum is wrong or a field is no number.
    """
    (name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, major, minor, prefix, tail) = _FIELDS.unpack(
        block
    )
    _verify_checksum(block, _number(checksum, "checksum"))
    name = name.partition(b"\0")[0]
    posix = magic == _POSIX_MAGIC
    if posix:
        # star keeps times behind a shorter prefix and says so in the last bytes of the block.
        prefix = (prefix[:131] if tail.endswith(b"tar\0") else prefix).partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    device = kind in b"34"
    return Header(
        name=name,
        mode=_number(mode, "mode") & 0o7777,
        uid=_number(uid, "uid"),
        gid=_number(gid, "gid"),
        size=_number(size, "size"),
        mtime=_number(mtime, "mtime", negative=True),
        type=kind,
        linkname=link.partition(b"\0")[0],
        major=_number(major, "device number") if device else 0,
        minor=_number(minor, "device number") if device else 0,
    )


def _verify_checksum(block: bytes, stated: int) -> None:
    # The field itself counts as eight spaces.
    own = block[_CHECKSUM]
    total = sum(block) - sum(own) + 8 * 0x20
    if total == stated:
        return
    # Some old writers added up signed characters.
    negative = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in own)
    if total - 256 * negative != stated:
        raise TarFault(f"expected a header with the checksum {total}, found {stated}")


def _number(text: bytes, what: str, *, negative: bool = False) -> int:
    if text[0] & 0x80:
        # base-256: the rest is a big-endian number in two's complement, its sign in the next bit.
        value = int.from_bytes(text, "big") & ~(1 << (8 * len(text) - 1))
        if text[0] & 0x40:
            value -= 1 << (8 * len(text) - 1)
        if value < 0 and not negative:
            raise TarFault(f"the {what} is negative: {value}")
        return value
    digits = text.partition(b"\0")[0].strip(b" ") or text.strip(b" \0")
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise TarFault(f"expected an octal {what}, found {text!r}")
    return int(digits, 8)


def gnu_long_name(data: bytes) -> bytes:
    """Return the name that the data of a GNU ``L`` or ``K`` member holds."""
    return data.partition(b"\0")[0]


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Parse the ``length keyword=value`` records of a pax header, in order.

    Raises:
        TarFault: A record is malformed.
    """
    records = []
    position = 0
    while position < len(data):
        blank = data.find(b" ", position, position + 21)
        digits = data[position:blank] if blank >= 0 else b""
        if not _DECIMAL.fullmatch(digits):
            raise TarFault(f"expected the length of a pax record, found {data[position : position + 20]!r}")
        end = position + int(digits)
        if end > len(data) or end <= blank + 1 or data[end - 1] != 0x0A:
            raise TarFault(f"a pax record of {int(digits)} bytes does not end with a newline there")
        keyword, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals or not keyword or b"\0" in keyword:
            raise TarFault(f"expected keyword=value in a pax record, found {data[blank + 1 : end - 1][:40]!r}")
        if keyword in _NAMES and b"\0" in value:
            raise TarFault(f"the pax record {keyword.decode()} has a zero byte in it")
        records.append((keyword, value))
        position = end
    return records


def decimal(text: bytes, what: str) -> int:
    """Parse a decimal number of a pax record.

    Raises:
        TarFault: The text is not 1 to 20 digits.
    """
    if not _DECIMAL.fullmatch(text):
        raise TarFault(f"expected a decimal {what}, found {text[:40]!r}")
    return int(text)


def pax_time(text: bytes) -> int:
    """Parse a time of a pax record, ``[-]seconds[.fraction]``, into nanoseconds; more digits than nine are cut.

    Raises:
        TarFault: The text is no such time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise TarFault(f"expected a time in seconds, found {text[:40]!r}")
    sign, seconds, fraction = match.groups()
    value = int(seconds) * 1_000_000_000 + int((fraction or b"").ljust(9, b"0")[:9])
    return -value if sign else value


def attributes(records: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Return the extended attributes among pax records; names of other encodings keep their bytes (surrogateescape).

    star's form wins over libarchive's when a writer gives both, which bsdtar does: its bytes are the value itself.

    Raises:
        TarFault: A value is not the base64 it must be.
    """
    found: dict[str, bytes] = {}
    for keyword, value in records.items():
        if keyword.startswith(_LIBARCHIVE_ATTRIBUTE):
            name = unquote_to_bytes(keyword[len(_LIBARCHIVE_ATTRIBUTE) :])
            found.setdefault(_attribute_name(name), _base64(value))
        elif keyword.startswith(_STAR_ATTRIBUTE):
            found[_attribute_name(keyword[len(_STAR_ATTRIBUTE) :])] = value
    return found


def _attribute_name(name: bytes) -> str:
    if not name or b"\0" in name:
        raise TarFault(f"{name!r} is no name for an extended attribute")
    return name.decode("utf-8", "surrogateescape")


def _base64(value: bytes) -> bytes:
    try:
        # libarchive leaves the padding away.
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise TarFault(f"an extended attribute is not base64: {error}") from None


def gnu_sparse_header(block: bytes) -> tuple[list[tuple[int, int]], int, bool]:
    """Return the sparse map in the header of a GNU ``S`` member, the size of the file, and whether more blocks follow.

    Raises:
        TarFault: A number is malformed.
    """
    return _gnu_sparse(block, 386, _GNU_SPARSE_IN_HEADER), _number(block[483:495], "file size"), block[482] != 0


def gnu_sparse_extension(block: bytes) -> tuple[list[tuple[int, int]], bool]:
    """Return the part of a sparse map in one of the blocks that follow the header, and whether more follow.

    Raises:
        TarFault: A number is malformed.
    """
    return _gnu_sparse(block, 0, _GNU_SPARSE_IN_EXTENSION), block[504] != 0


def _gnu_sparse(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    segments = []
    for index in range(count):
        offset, length = _GNU_SPARSE_ENTRY.unpack_from(block, start + index * _GNU_SPARSE_ENTRY.size)
        if offset[0] == 0:
            break
        segments.append((_number(offset, "sparse offset"), _number(length, "sparse length")))
    return segments


def sparse_pairs(numbers: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pair up the decimal numbers of a pax sparse map.

    Raises:
        TarFault: There is an odd number of them, or one is no number.
    """
    if len(numbers) % 2:
        raise TarFault(f"a sparse map has {len(numbers)} numbers, expected pairs of offset and length")
    values = [decimal(number, "number in a sparse map") for number in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def validate_sparse(segments: Iterable[tuple[int, int]], size: int, stored: int) -> tuple[tuple[int, int], ...]:
    """Return the segments of a sparse map that hold data, once they are known to make sense.

    Args:
        segments: Offset and length of each.
        size: The size of the file.
        stored: The number of bytes that the archive holds for it.

    Raises:
        TarFault: They overlap, are out of order, leave the file, or do not add up to what is stored.
    """
    end = total = 0
    kept = []
    for offset, length in segments:
        if offset < end or offset + length > size:
            raise TarFault(f"the sparse segment {offset}+{length} overlaps another or leaves the file of {size} bytes")
        end = offset + length
        total += length
        if length:
            kept.append((offset, length))
    if total != stored:
        raise TarFault(f"the sparse map describes {total} bytes, the archive holds {stored}")
    return tuple(kept)
