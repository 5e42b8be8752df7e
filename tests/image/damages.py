"""Layouts made wrong, in every way that a check tells apart: each damage with the kinds of problems that it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from builders import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Store, digest_of

from ocikit.image.layout import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIND = ProblemKind
NAME = "org.opencontainers.image.ref.name"


def blob(path: Path, digest: str) -> Path:
    """Return the file of a blob."""
    algorithm, _, encoded = digest.partition(":")
    return path / "blobs" / algorithm / encoded


def entries(path: Path, *more: Any, change: Callable[[list[Any]], None] | None = None) -> None:
    """Change the entries of an index.json, and add some."""
    document = json.loads((path / "index.json").read_bytes())
    if change is not None:
        change(document["manifests"])
    document["manifests"] += more
    (path / "index.json").write_text(json.dumps(document))


def layer_of(store: Store, image: dict[str, Any]) -> dict[str, Any]:
    """Return the descriptor of the first layer of an image."""
    found: dict[str, Any] = json.loads(store.blobs[image["digest"]])["layers"][0]
    return found


def config_of(store: Store, image: dict[str, Any]) -> dict[str, Any]:
    """Return the descriptor of the configuration of an image."""
    found: dict[str, Any] = json.loads(store.blobs[image["digest"]])["config"]
    return found


def flip(path: Path, digest: str) -> None:
    """Change one bit of a blob."""
    data = bytearray(blob(path, digest).read_bytes())
    data[len(data) // 2] ^= 1
    blob(path, digest).write_bytes(data)


def listed(path: Path, store: Store, made: dict[str, Any], **members: Any) -> None:
    """List a further image, whose blobs are in the store, as ``new``."""
    for digest, data in store.blobs.items():
        blob(path, digest).parent.mkdir(exist_ok=True)
        blob(path, digest).write_bytes(data)
    entries(path, made | {"annotations": {NAME: "new"}} | members)


def remade(store: Store, image: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Make an image again with other members in its manifest."""
    document = json.loads(store.blobs[image["digest"]]) | members
    return store.json(OCI_MANIFEST, document)


def lies_in_config(path: Path, store: Store, image: dict[str, Any], **members: Any) -> None:
    """List an image whose configuration says something else."""
    config = json.loads(store.blobs[config_of(store, image)["digest"]]) | members
    listed(path, store, remade(store, image, config=store.json(OCI_CONFIG, config)))


def nested(store: Store, image: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return an image within so many indexes."""
    for _ in range(depth):
        image = store.index(image)
    return image


def pipe_for_layout_file(path: Path, _store: Store, _image: dict[str, Any]) -> None:
    """Put a named pipe where ``oci-layout`` was."""
    (path / "oci-layout").unlink()
    os.mkfifo(path / "oci-layout")


def embedded_only(path: Path, store: Store, image: dict[str, Any]) -> None:
    """Move a manifest into its descriptor."""
    blob(path, image["digest"]).unlink()
    data = base64.b64encode(store.blobs[image["digest"]]).decode()
    entries(path, change=lambda listed: listed[0].update(data=data))


def link_for_layer(path: Path, store: Store, image: dict[str, Any]) -> None:
    """Put a symbolic link where a layer was."""
    file = blob(path, layer_of(store, image)["digest"])
    file.unlink()
    file.symlink_to("/etc/passwd")


def strays(path: Path, _store: Store, _image: dict[str, Any]) -> None:
    """Put things that are no blobs among the blobs."""
    (path / "blobs" / "x").write_bytes(b"")
    (path / "blobs" / "sha256" / "y").mkdir()


# Each damage with the kinds of problems that it is.
DAMAGES: dict[str, tuple[Callable[[Path, Store, dict[str, Any]], object], set[ProblemKind]]] = {
    "nothing": (lambda _p, _s, _i: None, set()),
    "no oci-layout": (lambda p, _s, _i: (p / "oci-layout").unlink(), {KIND.NO_LAYOUT}),
    "oci-layout no JSON": (lambda p, _s, _i: (p / "oci-layout").write_text("x"), {KIND.NO_LAYOUT}),
    "oci-layout too deep": (lambda p, _s, _i: (p / "oci-layout").write_text("[" * 500), {KIND.NO_LAYOUT}),
    "oci-layout a pipe": (
        pipe_for_layout_file,
        {KIND.NO_LAYOUT},
    ),
    "another version": (
        lambda p, _s, _i: (p / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}'),
        {KIND.UNKNOWN_VERSION},
    ),
    "no blobs": (lambda p, _s, _i: shutil.rmtree(p / "blobs"), {KIND.NO_LAYOUT}),
    "no index": (lambda p, _s, _i: (p / "index.json").unlink(), {KIND.BROKEN_INDEX}),
    "index no JSON": (lambda p, _s, _i: (p / "index.json").write_text("{"), {KIND.BROKEN_INDEX}),
    "index too large": (
        lambda p, _s, _i: (p / "index.json").write_text(" " * (5 << 20)),
        {KIND.BROKEN_INDEX},
    ),
    "index of numbers": (lambda p, _s, _i: entries(p, 1), {KIND.BROKEN_INDEX}),
    "entry without digest": (
        lambda p, _s, _i: entries(p, {"mediaType": OCI_MANIFEST, "size": 1}),
        {KIND.BROKEN_ENTRY},
    ),
    "entry with a path": (
        lambda p, _s, i: entries(p, i | {"digest": "sha256:../../x"}),
        {KIND.BROKEN_ENTRY},
    ),
    "entry of negative size": (lambda p, _s, i: entries(p, i | {"size": -1}), {KIND.BROKEN_ENTRY}),
    "entry of wrong size": (
        lambda p, _s, _i: entries(p, change=lambda e: e[0].update(size=7)),
        {KIND.WRONG_SIZE},
    ),
    "entry of wrong type": (
        lambda p, _s, _i: entries(p, change=lambda e: e[0].update(mediaType=OCI_INDEX)),
        {KIND.WRONG_MEDIA_TYPE},
    ),
    "entry for another machine": (
        lambda p, _s, _i: entries(p, change=lambda e: e[0].update(platform={"os": "linux", "architecture": "s390x"})),
        {KIND.WRONG_PLATFORM},
    ),
    "name twice": (
        lambda p, _s, _i: entries(p, change=lambda e: e.append(e[0] | {"x": 1})),
        {KIND.DUPLICATE_NAME},
    ),
    "odd name": (
        lambda p, _s, i: entries(p, i | {"annotations": {NAME: "a b"}}),
        {KIND.ODD_NAME},
    ),
    "manifest missing": (
        lambda p, _s, i: blob(p, i["digest"]).unlink(),
        {KIND.MISSING_BLOB, KIND.BLOBS_ELSEWHERE, KIND.UNREFERENCED_BLOB},
    ),
    "manifest flipped": (lambda p, _s, i: flip(p, i["digest"]), {KIND.WRONG_DIGEST, KIND.UNREFERENCED_BLOB}),
    "manifest embedded only": (
        embedded_only,
        {KIND.MISSING_BLOB},
    ),
    "other content embedded": (
        lambda p, _s, _i: entries(p, change=lambda e: e[0].update(data="YQ==")),
        {KIND.WRONG_DATA},
    ),
    "config missing": (lambda p, s, i: blob(p, config_of(s, i)["digest"]).unlink(), {KIND.MISSING_BLOB}),
    "layer missing": (lambda p, s, i: blob(p, layer_of(s, i)["digest"]).unlink(), {KIND.MISSING_BLOB}),
    "layer truncated": (
        lambda p, s, i: os.truncate(blob(p, layer_of(s, i)["digest"]), 20),
        {KIND.WRONG_DIGEST},
    ),
    "layer a link": (
        link_for_layer,
        {KIND.IRREGULAR_BLOB},
    ),
    "layer of wrong size": (
        lambda p, s, i: listed(p, s, remade(s, i, layers=[layer_of(s, i) | {"size": 1}])),
        {KIND.WRONG_SIZE},
    ),
    "layer of wrong type": (
        lambda p, s, i: listed(
            p, s, remade(s, i, layers=[layer_of(s, i) | {"mediaType": OCI_LAYER.replace("gzip", "zstd")}])
        ),
        {KIND.WRONG_COMPRESSION},
    ),
    "layer elsewhere": (
        lambda p, s, i: listed(
            p,
            s,
            remade(s, i, layers=[layer_of(s, i) | {"digest": digest_of(b"far"), "urls": ["https://a.example/x"]}]),
        ),
        set(),
    ),
    "unknown algorithm": (
        lambda p, s, i: listed(p, s, remade(s, i, layers=[layer_of(s, i) | {"digest": "blake3:" + "a" * 64}])),
        {KIND.UNKNOWN_ALGORITHM},
    ),
    "no layers": (lambda p, s, i: listed(p, s, remade(s, i, layers=[])), {KIND.LAYER_COUNT}),
    "history too long": (
        lambda p, s, i: lies_in_config(p, s, i, history=[{"created_by": "a"}] * 3),
        {KIND.HISTORY_COUNT},
    ),
    "config malformed": (lambda p, s, i: lies_in_config(p, s, i, rootfs=1), {KIND.BROKEN_CONFIG}),
    "config of other layers": (
        lambda p, s, i: lies_in_config(p, s, i, rootfs={"type": "x", "diff_ids": []}),
        {KIND.BROKEN_CONFIG},
    ),
    "config no JSON": (
        lambda p, s, i: listed(p, s, remade(s, i, config=s.blob(OCI_CONFIG, b"[1"))),
        {KIND.NOT_JSON},
    ),
    "config too large": (
        lambda p, s, i: listed(p, s, remade(s, i, config=s.blob(OCI_CONFIG, b" " * (5 << 20)))),
        {KIND.TOO_LARGE},
    ),
    "manifest no JSON": (
        lambda p, s, _i: listed(p, s, s.blob(OCI_MANIFEST, b"\xff\xfe")),
        {KIND.NOT_JSON},
    ),
    "manifest ambiguous": (
        lambda p, s, i: listed(p, s, remade(s, i, manifests=[i])),
        {KIND.BROKEN_MANIFEST},
    ),
    "manifest without a type, with both": (
        lambda p, s, i: listed(
            p, s, s.json(OCI_MANIFEST, {"schemaVersion": 2, "manifests": [], "layers": [], "config": i})
        ),
        {KIND.BROKEN_MANIFEST},
    ),
    "manifest of schema 1": (
        lambda p, s, _i: listed(
            p, s, s.json("application/vnd.docker.distribution.manifest.v1+json", {"schemaVersion": 1, "name": "x"})
        ),
        {KIND.UNSUPPORTED_MANIFEST},
    ),
    "indexes too deep": (lambda p, s, i: listed(p, s, nested(s, i, 10)), {KIND.TOO_LARGE}),
    "subject missing": (
        lambda p, s, i: listed(
            p, s, remade(s, i, subject={"mediaType": OCI_MANIFEST, "digest": digest_of(b"none"), "size": 4})
        ),
        {KIND.MISSING_SUBJECT},
    ),
    "not referred to": (
        lambda p, _s, _i: blob(p, digest_of(b"lost")).write_bytes(b"lost"),
        {KIND.UNREFERENCED_BLOB},
    ),
    "stray blobs": (
        strays,
        {KIND.STRAY_FILE},
    ),
    "left by skopeo": (
        lambda p, _s, _i: (p / "oci-put-blob123").write_bytes(b""),
        {KIND.STRAY_FILE},
    ),
    "left by a crash": (
        lambda p, _s, _i: (p / ".ocikit-tmp-new-1").write_bytes(b""),
        {KIND.STALE_TEMPORARY},
    ),
    "a part of a blob": (
        lambda p, _s, _i: (p / f".ocikit-tmp-part-0-sha256-{64 * 'a'}").write_bytes(b"a"),
        {KIND.PARTIAL_BLOB},
    ),
}
