"""Small images made by hand, byte by byte, so that a test can also make them wrong.

A :class:`Store` collects blobs; its methods make layers, manifests and indexes of them and write everything as
a layout, an archive or a ``dir`` directory, without any code of ocikit. Descriptors are plain dictionaries.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Descriptor = dict[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a tar with these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def config_of(*diff_ids: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with these layers, and whatever else is to be in it."""
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, **more}


class Store:
    """Blobs by digest, and the ways to make more of them."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def blob(self, media_type: str, data: bytes, *, algorithm: str = "sha256", **members: Any) -> Descriptor:
        """Add a blob and return its descriptor, with further members."""
        digest = digest_of(data, algorithm)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **members}

    def json(self, media_type: str, document: Any, **members: Any) -> Descriptor:
        """Add a JSON blob and return its descriptor."""
        return self.blob(media_type, json.dumps(document).encode(), **members)

    def layer(self, files: dict[str, bytes], media_type: str = OCI_LAYER) -> tuple[Descriptor, str]:
        """Add a gzip-compressed layer; return its descriptor and its diffID."""
        tar = tar_of(files)
        return self.blob(media_type, gzip.compress(tar, mtime=0)), digest_of(tar)

    def image(
        self,
        *layers: dict[str, bytes],
        architecture: str = "amd64",
        os: str = "linux",
        variant: str = "",
        docker: bool = False,
        extra: dict[str, Any] | None = None,
        platform: bool = True,
    ) -> Descriptor:
        """Add an image with these layers; return the descriptor of its manifest."""
        made = [self.layer(files, DOCKER_LAYER if docker else OCI_LAYER) for files in layers or ({"a": b"a"},)]
        about = {"architecture": architecture, "os": os} | ({"variant": variant} if variant else {})
        config = about | {
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
        }
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.json(DOCKER_CONFIG if docker else OCI_CONFIG, config),
            "layers": [layer for layer, _ in made],
        }
        members = {"platform": about} if platform else {}
        return self.json(media_type, document | (extra or {}), **members)

    def index(self, *entries: Descriptor, docker: bool = False, **members: Any) -> Descriptor:
        """Add an index of these entries; return its descriptor."""
        media_type = DOCKER_LIST if docker else OCI_INDEX
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}
        return self.json(media_type, document, **members)

    def layout(self, path: Path, names: dict[str, Descriptor]) -> Path:
        """Write everything as an OCI layout, with these images in its index; return the path."""
        (path / "blobs").mkdir(parents=True, exist_ok=True)
        for digest, data in self.blobs.items():
            algorithm, _, encoded = digest.partition(":")
            file = path / "blobs" / algorithm / encoded
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        entries = [
            descriptor | ({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})
            for name, descriptor in names.items()
        ]
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        return path

    def archive(self, path: Path, names: dict[str, Descriptor], *, compress: str = "") -> Path:
        """Write everything as an OCI archive, compressed by ``gzip`` or ``zstd`` on request; return the path."""
        with tempfile.TemporaryDirectory() as scratch:
            return pack(self.layout(Path(scratch), names), path, compress=compress)

    def directory(self, path: Path, top: Descriptor) -> Path:
        """Write everything as a ``dir`` directory with this image; return the path."""
        path.mkdir(parents=True)
        (path / "version").write_text("Directory Transport Version: 1.1\n")
        for digest, data in self.blobs.items():
            encoded = digest.partition(":")[2]
            is_manifest = data[:1] == b"{" and b'"schemaVersion"' in data
            (path / (f"{encoded}.manifest.json" if is_manifest else encoded)).write_bytes(data)
        (path / "manifest.json").write_bytes(self.blobs[top["digest"]])
        return path


def pack(layout: Path, path: Path, *, compress: str = "") -> Path:
    """Pack a directory with GNU tar and compress it by the program of that name; return the path."""
    command = ["tar", "--sort=name", "-C", str(layout), "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    if compress:
        data = subprocess.run([compress, "-c"], input=data, check=True, capture_output=True).stdout
    path.write_bytes(data)
    return path


def manifest_at(path: Path, name: str | None = None) -> str:
    """Return the digest under which a layout lists an image; the only one when no name is given."""
    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    found = [
        entry["digest"]
        for entry in entries
        if name is None or entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name
    ]
    assert len(found) == 1, f"{path}: {len(found)} images named {name}"
    return str(found[0])


def names_in(path: Path) -> list[str]:
    """Return the names of the images in a layout, none when there is no layout yet."""
    if not (path / "index.json").exists():
        return []
    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    return [entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for entry in entries]


def check_layout(path: Path) -> set[str]:
    """Walk a layout from its index; everything that is referred to is there, whole. Return the digests seen."""
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    seen: set[str] = set()
    todo = list(json.loads((path / "index.json").read_bytes())["manifests"])
    while todo:
        descriptor = todo.pop()
        algorithm, _, encoded = descriptor["digest"].partition(":")
        data = (path / "blobs" / algorithm / encoded).read_bytes()
        assert len(data) == descriptor["size"], descriptor
        assert digest_of(data, algorithm) == descriptor["digest"], descriptor
        seen.add(descriptor["digest"])
        if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
            document = json.loads(data)
            todo += document.get("manifests", [])
            todo += [document["config"], *document["layers"]] if "layers" in document else []
    return seen


def skopeo_digest(name: str) -> str:
    """Return the manifest digest of an image as skopeo computes it."""
    command = ["skopeo", "inspect", "--raw", name]
    return digest_of(subprocess.run(command, check=True, capture_output=True).stdout)
