"""Stores of containers/storage for tests: filled by the peers, with layers in which everything occurs.

The peers run in a mount namespace of their own: the overlay driver mounts its directory over itself and leaves it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

from builders import DOCKER_LAYER, OCI_LAYER, Store, digest_of

if TYPE_CHECKING:
    from pathlib import Path

#: The names of the layers that :func:`rich_layers` makes, the lowest first.
RICH = ("everything", "whiteouts", "odd", "empty", "large")


def run(*command: str, text: bytes = b"") -> bytes:
    """Run a peer and return what it printed."""
    done = subprocess.run(["unshare", "--mount", *command], input=text, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode(errors="replace"))
    return done.stdout


def specifier(root: Path, driver: str) -> str:
    """Return the store below a directory as a reference names it."""
    return f"[{driver}@{root}/{driver}+{root}/run-{driver}]"


def fill(root: Path, driver: str, source: str, name: str) -> str:
    """Copy an image into the store of a driver below a directory, by skopeo; return the name it has there."""
    there = f"{specifier(root, driver)}{name}"
    run("skopeo", "copy", "--insecure-policy", "-q", source, f"containers-storage:{there}")
    return there


class Tar:
    """A tar file that is being written."""

    def __init__(self, format: int = tarfile.PAX_FORMAT) -> None:  # noqa: A002 - it is called so
        self._stream = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._stream, mode="w", format=format, errors="surrogateescape")  # noqa: SIM115

    def add(self, name: str, content: bytes = b"", type_: bytes = tarfile.REGTYPE, **more: Any) -> Tar:
        """Add a member."""
        member = tarfile.TarInfo(name)
        member.type, member.size, member.mtime = type_, len(content), 1_600_000_000
        for key, value in more.items():
            setattr(member, key, value)
        self._tar.addfile(member, io.BytesIO(content))
        return self

    def done(self) -> bytes:
        """Return the file."""
        self._tar.close()
        return self._stream.getvalue()


def rich_layers() -> dict[str, bytes]:
    """Return plain layers by name: everything that a tar file of a layer may hold, and what only some tools write."""
    everything = (
        Tar()
        .add("dir", type_=tarfile.DIRTYPE, mode=0o1777)
        .add("dir/file", b"content", uid=1000, gid=70_000_000)
        .add("dir/hard", type_=tarfile.LNKTYPE, linkname="dir/file")
        .add("dir/soft", type_=tarfile.SYMTYPE, linkname="../../../etc/passwd")
        .add("dir/empty")
        .add("dir/suid", b"x", mode=0o6755)
        .add("n" * 90 + "/" + "m" * 120 + "/" + "long" * 50, b"long")
        .add("ünïcode/файл", "ж".encode())
        .add("xattr", b"labelled", pax_headers={"SCHILY.xattr.user.test": "välue", "comment": "kept"})
        .add("null", type_=tarfile.CHRTYPE, devmajor=1, devminor=3)
        .add("pipe", type_=tarfile.FIFOTYPE)
        .add("usr/lib", type_=tarfile.DIRTYPE)
        .add("lib", type_=tarfile.SYMTYPE, linkname="usr/lib")
        .add("lib/behind", b"a link within the layer leads here")
        .add("abs", type_=tarfile.SYMTYPE, linkname="/usr/lib")
        .add("abs/absolute", b"one from the root as well")
    )
    whiteouts = (
        Tar().add("dir/.wh.file").add("usr", type_=tarfile.DIRTYPE).add("usr/.wh..wh..opq").add("usr/new", b"n" * 600)
    )
    odd = Tar(tarfile.GNU_FORMAT).add("./dotted", b"d").add("/absolute", b"a").add(f"{'g' * 200}/{'g' * 150}", b"gnu")
    odd.add(os.fsdecode(b"latin-\xe9\xff"), b"raw")
    trailing = odd.done() + b"\0" * 5000
    return dict(
        zip(
            RICH,
            (
                everything.done(),
                whiteouts.done(),
                trailing,
                b"\0" * 1024,
                Tar().add("big", bytes(range(256)) * 12_000).done(),
            ),
            strict=True,
        )
    )


def image_of(store: Store, layers: dict[str, bytes], *, docker: bool = False, compress: bool = True) -> dict[str, Any]:
    """Add an image with these plain layers to a store of blobs; return the descriptor of its manifest."""
    media_type = (DOCKER_LAYER if docker else OCI_LAYER) if compress else OCI_LAYER.removesuffix("+gzip")
    made = [store.blob(media_type, gzip.compress(data, mtime=0) if compress else data) for data in layers.values()]
    top = store.image(docker=docker)
    manifest = json.loads(store.blobs[top["digest"]])
    config = json.loads(store.blobs[manifest["config"]["digest"]])
    config["rootfs"]["diff_ids"] = [digest_of(data) for data in layers.values()]
    manifest["config"] = store.json(manifest["config"]["mediaType"], config)
    manifest["layers"] = made
    return store.json(top["mediaType"], manifest, platform=top["platform"])
