"""Images in Docker's schema 1, as skopeo writes them: read by everything here, written by nothing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, Store, check_layout, digest_of, skopeo_digest

from ocikit.errors import DigestChangeError, DigestMismatchError, ManifestError
from ocikit.image import Policy, copy, inspect, unpack

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ENV = ["A=b"]


@pytest.fixture
def schema1(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a ``dir`` with an image of two layers in signed schema 1, made by skopeo, and its configuration."""
    store = Store()
    store.image({"a": b"a" * 5000}, {"b": b"b"})
    config = next(json.loads(data) for data in store.blobs.values() if b'"diff_ids"' in data)
    config["config"] = {"Env": ENV, "Cmd": ["/bin/sh"]}
    config["created"] = "2020-01-02T03:04:05Z"
    config["history"] = [
        {"created": "2020-01-01T00:00:00Z", "created_by": "first"},
        {"created": "2020-01-01T00:00:01Z", "created_by": "empty", "empty_layer": True},
        {"created": "2020-01-02T03:04:05Z", "created_by": "second"},
    ]
    manifest = next(json.loads(data) for data in store.blobs.values() if b'"layers": [' in data and b"config" in data)
    manifest["config"] = store.json(manifest["config"]["mediaType"], config)
    image = store.json(OCI_MANIFEST, manifest)
    layout = store.layout(tmp_path / "layout", {"x": image})
    directory = tmp_path / "schema1"
    command = ["skopeo", "--insecure-policy", "copy", "--format", "v2s1", f"oci:{layout}:x", f"dir:{directory}"]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads((directory / "manifest.json").read_bytes())["schemaVersion"] == 1
    return directory, config


@pytest.mark.parametrize(("dest", "media_type"), [("dir", DOCKER_MANIFEST), ("oci", OCI_MANIFEST)])
def test_schema1_is_converted(schema1: tuple[Path, dict[str, Any]], tmp_path: Path, dest: str, media_type: str) -> None:
    """It becomes what the destination takes, with the layers as they are; skopeo makes the same configuration of it."""
    directory, config = schema1
    result = copy.image(ANY, dest=f"{dest}:{tmp_path}/out", src=f"dir:{directory}")
    assert result.media_type == media_type
    manifest = json.loads(result.manifest)
    legacy = json.loads((directory / "manifest.json").read_bytes())
    stated = [layer["blobSum"] for layer in reversed(legacy["fsLayers"])]
    layers = [layer["digest"] for layer in manifest["layers"]]
    assert [digest for digest in stated if digest in layers] == layers
    assert len(layers) == 2
    assert skopeo_digest(f"{dest}:{tmp_path}/out") == result.digest
    seen = inspect(f"{dest}:{tmp_path}/out")
    assert seen.config is not None
    assert seen.config.rootfs.diff_ids == tuple(config["rootfs"]["diff_ids"])
    assert seen.config.config.env == tuple(ENV)
    assert [(one.created_by, one.empty_layer) for one in seen.config.history] == [
        ("first", False),
        ("empty", True),
        ("", False),  # of the last step, skopeo keeps no command in schema 1
    ]
    if dest == "oci":
        check_layout(tmp_path / "out")
    theirs = tmp_path / "theirs"
    command = ["skopeo", "--insecure-policy", "copy", "--format", "v2s2", f"dir:{directory}", f"dir:{theirs}"]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads((theirs / "manifest.json").read_bytes())["config"]["digest"] == manifest["config"]["digest"]


def test_schema1_is_read_by_everything(schema1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """It is inspected and unpacked like any image; its digest is that of what was signed."""
    directory, config = schema1
    seen = inspect(f"dir:{directory}")
    assert seen.digest == skopeo_digest(f"dir:{directory}") or seen.digest != digest_of(seen.raw_manifest)
    assert seen.config is not None
    assert seen.config.architecture == config["architecture"]
    unpack(f"dir:{directory}", tmp_path / "root" / "fs", policy=ANY)
    assert (tmp_path / "root" / "fs" / "a").read_bytes() == b"a" * 5000


def test_schema1_is_not_kept(schema1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Asked to keep digests, a copy says why it cannot."""
    directory, _ = schema1
    with pytest.raises(DigestChangeError, match="is read and not written"):
        copy.image(
            ANY,
            dest=f"dir:{tmp_path}/out",
            src=f"dir:{directory}",
            options=copy.CopyOptions(preserve_digests=True),
        )


def test_schema1_is_verified(schema1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Another layer than the one that was signed for is found, and so is what was added around the signed part."""
    directory, _ = schema1
    file = directory / "manifest.json"
    document = json.loads(file.read_bytes())
    layer = directory / document["fsLayers"][0]["blobSum"].partition(":")[2]
    data = layer.read_bytes()
    layer.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DigestMismatchError, match=layer.name):
        copy.image(ANY, dest=f"oci:{tmp_path}/out", src=f"dir:{directory}")
    layer.write_bytes(data)
    document["more"] = "than was signed"
    file.write_text(json.dumps(document))
    with pytest.raises(ManifestError):
        copy.image(ANY, dest=f"oci:{tmp_path}/out", src=f"dir:{directory}")
