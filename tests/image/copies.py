"""What tests of copies have in common: small images, and a look at what was written."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from builders import Store, manifest_at

from ocikit.image import Policy, SystemContext, copy
from ocikit.image.compression import DecompressedStream

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ALL = copy.ImageListSelection.ALL
SPECIFIC = copy.ImageListSelection.SPECIFIC
STRIP = copy.SparseManifestListAction.STRIP_SPARSE
LAYER = "application/vnd.oci.image.layer.v1.tar"
ZSTD = SystemContext(compression_format="zstd")


def blob(layout: Path, digest: str) -> bytes:
    """Return a blob of a layout."""
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def manifest_of(layout: Path, name: str | None = None) -> dict[str, Any]:
    """Return the manifest of an image in a layout."""
    found: dict[str, Any] = json.loads(blob(layout, manifest_at(layout, name)))
    return found


def plain(data: bytes) -> bytes:
    """Return what a blob is without its compression."""
    return DecompressedStream(io.BytesIO(data)).read()


def two_layers(path: Path, *, docker: bool = False) -> Path:
    """Make a layout with an image of two gzip layers named x."""
    store = Store()
    return store.layout(path, {"x": store.image({"a": b"a" * 5000}, {"b": b"b"}, platform=False, docker=docker)})


def several(path: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Make a layout with an index of several platforms named x; return it, and its parts by name."""
    store = Store()
    parts = {
        "amd64": store.image({"x": b"amd64"}),
        "arm64": store.image({"x": b"arm64"}, architecture="arm64", variant="v8"),
        "armv6": store.image({"x": b"armv6"}, architecture="arm", variant="v6"),
        "armv7": store.image({"x": b"armv7"}, architecture="arm", variant="v7"),
        "attestation": store.image({"x": b"att"}, architecture="unknown", os="unknown"),
    }
    parts["index"] = store.index(*parts.values(), annotations={"kept": "yes"})
    return store.layout(path, {"x": parts["index"]}), parts
