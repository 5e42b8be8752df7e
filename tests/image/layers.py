"""Layers made by hand, entry by entry, and the two ways to unpack them: ours and umoci's."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
from typing import TYPE_CHECKING

from builders import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, digest_of

from ocikit.image.apply import Applier
from ocikit.image.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from builders import Descriptor

BLOCK = 512
END = bytes(2 * BLOCK)


def padded(data: bytes) -> bytes:
    """Pad data to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def entry(
    name: bytes,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    mtime: int = 1_000_000_000,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    size: int | None = None,
    pax: dict[bytes, bytes] | None = None,
) -> bytes:
    """Make one entry: its header, pax records before it when there are any or a name is long, and its data."""
    records = dict(pax or {})
    if len(name) > 100:
        records[b"path"], name = name, name[:100]
    if len(link) > 100:
        records[b"linkpath"], link = link, link[:100]
    length = len(data) if size is None else size
    block = bytearray(BLOCK)
    block[: len(name)] = name
    fields = {100: mode, 108: owner[0], 116: owner[1], 329: device[0], 337: device[1]}
    for offset, value in fields.items():
        block[offset : offset + 8] = b"%07o\0" % value
    block[124:136] = b"%011o\0" % length
    block[136:148] = b"%011o\0" % mtime
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return (_pax_header(records) if records else b"") + bytes(block) + padded(data)


def _pax_header(records: dict[bytes, bytes]) -> bytes:
    text = b""
    for key, value in records.items():
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        text += str(length).encode() + body
    return entry(b"pax", text, kind=b"x")


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    """Make a regular file."""
    return entry(name, data, **fields)  # type: ignore[arg-type]


def directory(name: bytes, **fields: object) -> bytes:
    """Make a directory."""
    return entry(name, kind=b"5", **{"mode": 0o755, **fields})  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes, **fields: object) -> bytes:
    """Make a symbolic link."""
    return entry(name, kind=b"2", link=target, **{"mode": 0o777, **fields})  # type: ignore[arg-type]


def hard_link(name: bytes, target: bytes, **fields: object) -> bytes:
    """Make a hard link."""
    return entry(name, kind=b"1", link=target, **fields)  # type: ignore[arg-type]


def character(name: bytes, major: int, minor: int, **fields: object) -> bytes:
    """Make a character device."""
    return entry(name, kind=b"3", device=(major, minor), **fields)  # type: ignore[arg-type]


def layer(*entries: bytes) -> bytes:
    """Make a layer of entries."""
    return b"".join(entries) + END


def store_image(store: Store, *layers: bytes) -> Descriptor:
    """Add an image of plain layers, compressed with gzip; return the descriptor of its manifest."""
    blobs = [store.blob(OCI_LAYER, gzip.compress(data, compresslevel=1, mtime=0)) for data in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(data) for data in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.json(OCI_CONFIG, config),
        "layers": blobs,
    }
    return store.json(OCI_MANIFEST, manifest)


def unpack_here(root: Path, *layers: bytes, limits: Limits | None = None, rootless: bool = False) -> Applier:
    """Apply layers to a new directory, without an image around them."""
    root.mkdir(mode=0o700)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Applier(fd, limits=limits or Limits(), rootless=rootless) as applier:
            for number, data in enumerate(layers):
                applier.apply(io.BytesIO(data), what=f"layer {number}")
            applier.finish()
            return applier
    finally:
        os.close(fd)


def unpack_by_umoci(work: Path, *layers: bytes) -> Path:
    """Unpack the same layers with umoci; return the root file system.

    Raises:
        subprocess.CalledProcessError: umoci refuses them.
    """
    store = Store()
    layout = store.layout(work / "layout", {"image": store_image(store, *layers)})
    return umoci_unpack(layout, "image", work / "umoci")


def umoci_unpack(layout: Path, name: str, root: Path) -> Path:
    """Unpack an image of a layout with umoci; return the root file system."""
    command = ["umoci", "raw", "unpack", "--image", f"{layout}:{name}", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    return root
