"""What is on disk, as data: two trees are equal when their snapshots are."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Node(NamedTuple):
    """Everything about a file that an image can say."""

    type: str
    mode: str
    owner: tuple[int, int]
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    content: object
    links: tuple[bytes, ...]


def snapshot(root: Path) -> dict[bytes, Node]:
    """Return every file below and including ``root`` by its path."""
    top = os.fsencode(root)
    paths = [b"."]
    for directory, names, files in os.walk(top):
        paths += [os.path.relpath(os.path.join(directory, name), top) for name in names + files]
    status = {path: os.lstat(os.path.join(top, path)) for path in paths}
    names_of: dict[tuple[int, int], list[bytes]] = {}
    for path, info in status.items():
        names_of.setdefault((info.st_dev, info.st_ino), []).append(path)
    return {
        path: _node(os.path.join(top, path), info, names_of[info.st_dev, info.st_ino]) for path, info in status.items()
    }


def _node(path: bytes, info: os.stat_result, names: list[bytes]) -> Node:
    content: object = None
    if stat.S_ISREG(info.st_mode):
        content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        content = (os.major(info.st_rdev), os.minor(info.st_rdev))
    xattrs = os.listxattr(path, follow_symlinks=False)
    return Node(
        type=stat.filemode(info.st_mode)[0],
        mode=oct(stat.S_IMODE(info.st_mode)),
        owner=(info.st_uid, info.st_gid),
        mtime_ns=info.st_mtime_ns,
        xattrs=tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in xattrs)),
        content=content,
        links=tuple(sorted(names)) if not stat.S_ISDIR(info.st_mode) else (),
    )


def differences(left: dict[bytes, Node], right: dict[bytes, Node]) -> list[str]:
    """Return one line for each file that is not the same in both, for people to read."""
    lines = []
    for path in sorted(left.keys() | right.keys()):
        first, second = left.get(path), right.get(path)
        if first is None or second is None:
            lines.append(f"{path!r}: only on the {'right' if first is None else 'left'}")
        elif first != second:
            parts = [f"{k}: {a!r} / {b!r}" for k, a, b in zip(Node._fields, first, second, strict=True) if a != b]
            lines.append(f"{path!r}: {', '.join(parts)}")
    return lines
