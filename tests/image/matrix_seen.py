"""What an image is, read by hand from a ``dir`` directory and verified, and what two of them differ in."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from builders import DOCKER_MANIFEST, OCI_MANIFEST, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What OCI's configuration has a name for; the rest is Docker's alone.
_TOP: Final = ("architecture", "os", "created", "history", "rootfs")
_INNER: Final = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")
_PROGRAMS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}


class Seen(NamedTuple):
    """An image.

    Attributes:
        manifest: The bytes of its manifest.
        config: The bytes of its configuration.
        layers: The digests of its layers.
        labels: What the manifest calls the layers.
        diff_ids: What the layers are when they are plain.
    """

    manifest: bytes
    config: bytes
    layers: tuple[str, ...]
    labels: tuple[str, ...]
    diff_ids: tuple[str, ...]

    @property
    def type(self) -> str:
        """The type of the manifest."""
        document = json.loads(self.manifest)
        is_docker = document.get("mediaType") == DOCKER_MANIFEST
        return DOCKER_MANIFEST if is_docker else OCI_MANIFEST


def read_dir(path: Path, known: dict[str, str]) -> Seen:
    """Read the image in a directory, and verify it.

    Args:
        path: The directory.
        known: The diffIDs of layers that were decompressed before, by digest; more are added.
    """
    manifest = (path / "manifest.json").read_bytes()
    document = json.loads(manifest)
    config = _blob(path, document["config"])
    layers = [(one, _blob(path, one)) for one in document["layers"]]
    for one, data in layers:
        if one["digest"] not in known:
            known[one["digest"]] = digest_of(_plain(data))
    digests = tuple(one["digest"] for one, _ in layers)
    seen = Seen(
        manifest=manifest,
        config=config,
        layers=digests,
        labels=tuple(one["mediaType"] for one, _ in layers),
        diff_ids=tuple(known[one] for one in digests),
    )
    assert list(seen.diff_ids) == json.loads(config)["rootfs"]["diff_ids"], path
    return seen


def _blob(path: Path, descriptor: dict[str, Any]) -> bytes:
    data: bytes = (path / descriptor["digest"].partition(":")[2]).read_bytes()
    assert (digest_of(data), len(data)) == (descriptor["digest"], descriptor["size"]), path
    return data


def _plain(data: bytes) -> bytes:
    program = _PROGRAMS.get(data[:2])
    if program is None:
        return data
    return subprocess.run([program, "-dc"], input=data, check=True, capture_output=True).stdout


def says(config: bytes) -> dict[str, Any]:
    """Return what a configuration says in words that Docker and OCI share; what is empty says nothing."""
    document = json.loads(config)
    inner = document.get("config") or {}
    said = {name: document.get(name) for name in _TOP} | {name: inner.get(name) for name in _INNER}
    return {name: value for name, value in said.items() if value}


def differences(one: Seen, other: Seen) -> set[str]:
    """Name what two images differ in; of manifests that say the same, whether they are the same bytes."""
    return set(_differences(one, other)) or ({"bytes"} if one.manifest != other.manifest else set())


def _differences(one: Seen, other: Seen) -> Iterator[str]:
    if one.type != other.type:
        yield "type"
    if one.config != other.config:
        yield "config"
    if one.layers != other.layers:
        yield "layers"
    elif one.labels != other.labels:
        yield "labels"
