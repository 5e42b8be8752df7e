"""Copies that find the image itself, a file to link, or a URL in place of a blob; and those that are only planned."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from builders import (
    OCI_CONFIG,
    OCI_MANIFEST,
    Store,
    check_layout,
    config_of,
    digest_of,
    manifest_at,
    tar_of,
)
from copies import ALL, ANY, LAYER, ZSTD, manifest_of, several, two_layers

from ocikit.errors import (
    BlobNotFoundError,
    DigestChangeError,
    DigestMismatchError,
)
from ocikit.image import SystemContext, copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def multi(tmp_path: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return a layout with an index of several platforms named x, and its parts by name."""
    return several(tmp_path / "in")


# What is there already, what is linked, what is planned


def test_the_same_image_is_there(tmp_path: Path) -> None:
    """With the option nothing is written when all is there; what is missing, or asked for besides, is done."""
    source = two_layers(tmp_path / "in")
    out = f"oci:{tmp_path}/out:x"
    copy.image(ANY, dest=out, src=f"oci:{source}:x")
    index = tmp_path / "out" / "index.json"
    before = index.stat().st_ino
    options = copy.CopyOptions(optimize_destination_image_already_exists=True)
    assert len(copy.image(ANY, dest=out, src=f"oci:{source}:x", options=options).reused) == 3
    assert index.stat().st_ino == before
    layer = tmp_path / "out" / "blobs" / manifest_of(source)["layers"][0]["digest"].replace(":", "/")
    layer.unlink()
    assert len(copy.image(ANY, dest=out, src=f"oci:{source}:x", options=options).copied) == 1
    assert layer.exists()
    new = copy.image(ANY, dest=f"oci:{tmp_path}/new:x", src=f"oci:{source}:x", options=options)
    assert len(new.copied) == 3
    checks = copy.CopyOptions(optimize_destination_image_already_exists=True, verify_diff_ids=True)
    assert len(copy.image(ANY, dest=out, src=f"oci:{source}:x", options=checks).copied) == 2
    zstd = copy.CopyOptions(optimize_destination_image_already_exists=True, destination_ctx=ZSTD)
    assert len(copy.image(ANY, dest=out, src=f"oci:{source}:x", options=zstd).converted) == 2


def test_an_image_is_changed_in_its_place(multi: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    """A copy onto the same name does what is asked for, and nothing when nothing is."""
    layout, parts = multi
    name = f"oci:{layout}:x"
    assert (
        copy.image(ANY, dest=name, src=name, options=copy.CopyOptions(image_list_selection=ALL)).digest
        == (parts["index"]["digest"])
    )
    options = copy.CopyOptions(
        image_list_selection=ALL, ensure_compression_variants_exist=(copy.CompressionVariant(compression="zstd"),)
    )
    result = copy.image(ANY, dest=name, src=name, options=options)
    assert len(json.loads(result.manifest)["manifests"]) == 9
    assert manifest_at(layout, "x") == result.digest
    sys = SystemContext(compression_format="zstd")
    zstd = copy.CopyOptions(image_list_selection=ALL, source_ctx=sys, destination_ctx=sys)
    changed = copy.image(ANY, dest=name, src=name, options=zstd)
    assert changed.digest != result.digest
    check_layout(layout)


def test_linked_blobs(tmp_path: Path) -> None:
    """On request blobs get second names, verified; damage is found, also in what was verified once."""
    source = two_layers(tmp_path / "in")
    options = copy.CopyOptions(link_blobs=True)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    assert len(result.linked) == 3
    digest = manifest_of(source)["layers"][0]["digest"]
    ours, theirs = (path / "blobs" / digest.replace(":", "/") for path in (tmp_path / "out", source))
    assert ours.samefile(theirs)
    assert result.digest in check_layout(tmp_path / "out")
    second = copy.image(ANY, dest=f"oci:{tmp_path}/more:x", src=f"oci:{source}:x", options=options)
    assert len(second.linked) == 3
    archive = copy.image(ANY, dest=f"oci-archive:{tmp_path}/x.tar:x", src=f"oci:{source}:x", options=options)
    assert len(archive.copied) == 3
    # Touched in place, with its times put back: the time of change tells.
    status = theirs.stat()
    data = theirs.read_bytes()
    theirs.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(theirs, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DigestMismatchError, match=digest):
        copy.image(ANY, dest=f"oci:{tmp_path}/bad:x", src=f"oci:{source}:x", options=options)


def test_a_plan(multi: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    """A plan says what a copy then does, and leaves nothing behind; what a copy refuses, a plan refuses."""
    layout, parts = multi
    arguments: dict[str, Any] = {"dest": f"oci:{tmp_path}/out:x", "src": f"oci:{layout}:x"}
    everything = copy.CopyOptions(image_list_selection=ALL)
    planned = copy.plan(ANY, **arguments, options=everything)
    assert not (tmp_path / "out").exists()
    assert planned.preserves_digests
    assert {blob.outcome for blob in planned.blobs} == {copy.BlobOutcome.COPIED}
    result = copy.image(ANY, **arguments, options=everything)
    assert [blob.source_digest for blob in planned.blobs] == [blob.digest for blob in result.blobs]
    assert planned.bytes_to_copy == sum(blob.size for blob in result.copied)
    again = copy.plan(ANY, **arguments, options=everything)
    assert again.bytes_to_copy == 0
    assert again.bytes_reused == planned.bytes_to_copy
    zstd = copy.CopyOptions(image_list_selection=ALL, destination_ctx=ZSTD)
    changed = copy.plan(ANY, **arguments, options=zstd)
    assert not changed.preserves_digests
    assert changed.manifests[-1].source_digest == parts["index"]["digest"]
    assert "layer 0 (gzip) is compressed by zstd" in str(changed)
    assert sum(blob.outcome is copy.BlobOutcome.CONVERTED for blob in changed.blobs) == 5
    frozen = copy.CopyOptions(image_list_selection=ALL, destination_ctx=ZSTD, preserve_digests=True)
    with pytest.raises(DigestChangeError):
        copy.plan(ANY, **arguments, options=frozen)


# Foreign layers


class Server(http.server.ThreadingHTTPServer):
    """A web server on loopback that has some content, and remembers what it was asked."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.asked: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer with the content of that path."""
        self.server.asked.append((self.path, dict(self.headers)))
        data = self.server.content.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[tuple[Server, Path, dict[str, Any]]]:
    """Return a server that has a layer, a layout with an image that refers to it, and the descriptor."""
    store = Store()
    tar = tar_of({"far": b"far" * 1000})
    data = gzip.compress(tar)
    with Server({"/layer": data}) as server:
        base = f"http://127.0.0.1:{server.server_port}"
        layer = {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": digest_of(data),
            "size": len(data),
            "urls": ["ftp://127.0.0.1/no", f"{base}/missing", f"{base}/layer"],
        }
        config = store.json(OCI_CONFIG, config_of(digest_of(tar)))
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        yield server, store.layout(tmp_path / "in", {"x": store.json(OCI_MANIFEST, document)}), layer


def test_foreign_layers_are_downloaded(foreign: tuple[Server, Path, dict[str, Any]], tmp_path: Path) -> None:
    """On request a layer comes from the first URL that has it, without credentials, and becomes an ordinary one."""
    server, layout, layer = foreign
    options = copy.CopyOptions(download_foreign_layers=True)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    (now,) = manifest_of(tmp_path / "out")["layers"]
    assert now == {"mediaType": f"{LAYER}+gzip", "digest": layer["digest"], "size": layer["size"]}
    assert result.digest in check_layout(tmp_path / "out")
    assert [path for path, _ in server.asked] == ["/missing", "/layer"]
    assert not any("authorization" in map(str.lower, headers) for _, headers in server.asked)
    frozen = copy.CopyOptions(download_foreign_layers=True, preserve_digests=True)
    with pytest.raises(DigestChangeError, match="layer 0 is fetched from its URLs and loses them"):
        copy.image(ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{layout}:x", options=frozen)


def test_foreign_layers_are_verified(foreign: tuple[Server, Path, dict[str, Any]], tmp_path: Path) -> None:
    """What a server sends in place of the layer is refused; that it sends nothing, for each URL, is told."""
    server, layout, layer = foreign
    options = copy.CopyOptions(download_foreign_layers=True)
    server.content["/layer"] = bytes(layer["size"])
    with pytest.raises(DigestMismatchError, match=layer["digest"]):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    del server.content["/layer"]
    with pytest.raises(BlobNotFoundError, match=r"ftp://.*only http.*missing: HTTP status 404.*layer: HTTP status 404"):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)


def test_a_shared_semaphore(tmp_path: Path) -> None:
    """A semaphore that is taken keeps a copy waiting, and one that is given back is whole again."""
    source = two_layers(tmp_path / "in")
    semaphore = threading.Semaphore(1)
    options = copy.CopyOptions(concurrent_blob_copies_semaphore=semaphore)
    semaphore.acquire()
    done = threading.Event()

    def run() -> None:
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert not done.wait(0.2)
    semaphore.release()
    thread.join(30)
    assert done.is_set()
    assert semaphore.acquire(blocking=False)
