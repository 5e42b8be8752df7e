"""Archives as ``docker save`` makes them, member by member, so that a test can also make them wrong."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from builders import digest_of, tar_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Member = tuple[str, bytes | tuple[bytes, str]]
SYMLINK, HARD_LINK = tarfile.SYMTYPE, tarfile.LNKTYPE


def pack(members: Sequence[Member]) -> bytes:
    """Return a tar of files, and of links given as type and target."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                made.addfile(member)
            else:
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def write(path: Path, members: Sequence[Member]) -> Path:
    """Write such a tar as a file; return its path."""
    path.write_bytes(pack(members))
    return path


def layer(text: str, size: int = 0) -> bytes:
    """Return a plain layer with one file in it."""
    return tar_of({text: text.encode() + bytes(size)})


def config(*layers: bytes, **more: Any) -> bytes:
    """Return a configuration for these plain layers, without the name it has in an archive."""
    rootfs = {"type": "layers", "diff_ids": [digest_of(one) for one in layers]}
    return json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs} | more
    ).encode()


def listed(config_member: str, layers: Sequence[str], *tags: str) -> dict[str, Any]:
    """Return an entry of manifest.json."""
    return {"Config": config_member, "RepoTags": list(tags) or None, "Layers": list(layers)}


def manifest(*entries: dict[str, Any]) -> Member:
    """Return manifest.json."""
    return "manifest.json", json.dumps(list(entries)).encode()


def simple(path: Path, *tags: str, layers: Sequence[bytes] = (layer("a"), layer("b")), **more: Any) -> Path:
    """Write an archive with one image."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    about = config(*layers, **more)
    members: list[Member] = [("c.json", about), *zip(names, layers, strict=True)]
    return write(path, [*members, manifest(listed("c.json", names, *tags))])
