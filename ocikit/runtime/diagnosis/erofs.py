"""The smallest image of an EROFS file system: one empty directory. Pure.

The layout is that of the kernel's ``erofs_fs.h``: a superblock at 1024, compact inodes in slots of 32 bytes from
the beginning of the metadata on, and directories with their entries behind the inode.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["empty"]

_BLOCK_BITS: Final = 12
_BLOCK: Final = 1 << _BLOCK_BITS
_MAGIC: Final = 0xE0F5_E1E2
_SUPERBLOCK: Final = 1024
_SLOT: Final = 32

#: Where the root's inode is: after the superblock, in slots of 32 bytes.
_ROOT: Final = (_SUPERBLOCK + 128) // _SLOT
_INLINE: Final = 2  # EROFS_INODE_FLAT_INLINE, in the bits of the format from the second one on
_DIRECTORY: Final = 2  # EROFS_FT_DIR


def empty() -> bytes:
    """Return the image, of one block."""
    # magic, checksum, feature_compat, blkszbits, sb_extslots, root_nid, inos, build_time, build_time_nsec, blocks,
    # meta_blkaddr, xattr_blkaddr; the rest (uuid, volume name, features) is zero.
    superblock = struct.pack("<IIIBBHQQIIII", _MAGIC, 0, 0, _BLOCK_BITS, 0, _ROOT, 1, 0, 0, 1, 0, 0)
    # nid, nameoff, file_type, reserved for each entry; then the names.
    names = (b".", b"..")
    offset = 12 * len(names)
    entries, text = b"", b""
    for name in names:
        entries += struct.pack("<QHBB", _ROOT, offset + len(text), _DIRECTORY, 0)
        text += name
    data = entries + text
    # format, xattr_icount, mode, nlink, size, reserved, raw block, ino, uid, gid, reserved.
    inode = struct.pack("<HHHHIIIIHHI", _INLINE << 1, 0, 0o40755, 2, len(data), 0, 0, 1, 0, 0, 0)
    image = bytearray(_BLOCK)
    image[_SUPERBLOCK : _SUPERBLOCK + len(superblock)] = superblock
    at = _ROOT * _SLOT
    image[at : at + len(inode) + len(data)] = inode + data
    return bytes(image)
