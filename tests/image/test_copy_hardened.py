"""What an adversary broke in the copy engine: claims that were believed, options passed over, work without end."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Store, config_of, digest_of, tar_of
from test_referrers import attach, refer

from ocikit.errors import DigestMismatchError, LimitExceededError, ManifestError, NotSupportedError
from ocikit.image import Policy, SystemContext, copy
from ocikit.image.compression import DecompressedStream
from ocikit.spec import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from builders import Descriptor

ANY = Policy.insecure_accept_anything()
ALL = copy.ImageListSelection.ALL
LAYER = "application/vnd.oci.image.layer.v1.tar"
ZSTD_MARK = "io.github.containers.compression.zstd"
ZSTD = SystemContext(compression_format="zstd")
PLAIN = SystemContext(dir_force_decompress=True)


def image_of(store: Store, data: bytes, diff_id: str, media_type: str = f"{LAYER}+gzip", **members: Any) -> Descriptor:
    """Add an image of one layer, whose configuration claims that diffID."""
    layer = store.blob(media_type, data)
    config = store.json(OCI_CONFIG, config_of(diff_id))
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    return store.json(OCI_MANIFEST, document, **members)


@pytest.mark.parametrize("wanted", [ZSTD, PLAIN], ids=["zstd", "plain"])
def test_a_lie_stays_a_lie(tmp_path: Path, wanted: SystemContext) -> None:
    """A wrong diffID is found also when the same layer was recompressed before, and when the blob it names is there."""
    tar, other = tar_of({"a": b"of this test"}), tar_of({"b": b"other"})
    store = Store()
    honest = image_of(store, gzip.compress(tar), digest_of(tar))
    liar = image_of(store, gzip.compress(tar), digest_of(other))
    claimed = image_of(store, other, digest_of(other), LAYER)
    layout = store.layout(tmp_path / "in", {"honest": honest, "liar": liar, "claimed": claimed})
    options = copy.CopyOptions(destination_ctx=wanted)
    copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"oci:{layout}:claimed")
    copy.image(ANY, dest=f"dir:{tmp_path}/honest", src=f"oci:{layout}:honest", options=options)
    for place in ("out", "honest"):
        with pytest.raises(DigestMismatchError):
            copy.image(ANY, dest=f"dir:{tmp_path}/{place}", src=f"oci:{layout}:liar", options=options)


def entries_of(result: copy.CopyResult) -> list[dict[str, Any]]:
    """Return what an index that was written lists."""
    found: list[dict[str, Any]] = json.loads(result.manifest)["manifests"]
    return found


def marks_of(result: copy.CopyResult) -> list[bool]:
    """Say of each entry whether it is marked as an image in zstd."""
    return [entry.get("annotations", {}).get(ZSTD_MARK) == "true" for entry in entries_of(result)]


def test_marks_follow_the_layers(tmp_path: Path) -> None:
    """Entries of an index say zstd exactly when their images are in it, after every recompression."""
    store = Store()
    layout = store.layout(tmp_path / "in", {"x": store.index(store.image(), store.image(architecture="arm64"))})
    to_zstd = copy.CopyOptions(image_list_selection=ALL, destination_ctx=ZSTD)
    first = copy.image(ANY, dest=f"oci:{tmp_path}/zstd:x", src=f"oci:{layout}:x", options=to_zstd)
    assert marks_of(first) == [True, True]
    to_gzip = copy.CopyOptions(image_list_selection=ALL, destination_ctx=SystemContext(compression_format="gzip"))
    second = copy.image(ANY, dest=f"oci:{tmp_path}/gzip:x", src=f"oci:{tmp_path}/zstd:x", options=to_gzip)
    assert marks_of(second) == [False, False]


def test_variants_of_what_is_there(tmp_path: Path) -> None:
    """Variants are made by what layers are, each for its own platform; none of what has no layers or is there."""
    store = Store()
    arm = store.image({"a": b"arm"}, architecture="arm", variant="v7")
    again = {**arm, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}}
    empty = store.image(architecture="s390x", extra={"layers": []})
    layout = store.layout(tmp_path / "in", {"x": store.index(arm, again, empty)})
    options = copy.CopyOptions(
        image_list_selection=ALL, ensure_compression_variants_exist=(copy.CompressionVariant(compression="zstd"),)
    )
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    added = entries_of(result)[3:]
    assert [entry["platform"]["variant"] for entry in added] == ["v7", "v6"]
    unmarked = copy.CopyOptions(image_list_selection=ALL, destination_ctx=ZSTD, ensure_compression_variants_exist=())
    copy.image(ANY, dest=f"oci:{tmp_path}/zstd:x", src=f"oci:{layout}:x", options=unmarked)
    same = copy.image(ANY, dest=f"oci:{tmp_path}/same:x", src=f"oci:{tmp_path}/zstd:x", options=options)
    assert len(entries_of(same)) == 3
    docker = Store()
    listed = docker.directory(tmp_path / "docker", docker.index(docker.image(docker=True), docker=True))
    converted = copy.image(ANY, dest=f"oci:{tmp_path}/docker-out:x", src=f"dir:{listed}", options=options)
    assert converted.media_type == OCI_INDEX
    assert marks_of(converted) == [False, True]


@pytest.mark.parametrize("way", ["copied", "reused", "linked"])
def test_one_image_has_one_digest(tmp_path: Path, way: str) -> None:
    """What a converted manifest says of a layer does not depend on how the layer came to the destination."""
    store = Store()
    tar = tar_of({"a": b"plain, and called gzip"})
    layer = store.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", tar)
    config = store.json("application/vnd.docker.container.image.v1+json", config_of(digest_of(tar)))
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    layout = store.layout(tmp_path / "in", {"x": store.json(DOCKER_MANIFEST, document)})
    if way == "reused":
        copy.image(ANY, dest=f"oci:{tmp_path}/out:before", src=f"oci:{layout}:x")
    options = copy.CopyOptions(link_blobs=way == "linked")
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert {blob.outcome.value for blob in result.blobs} == {way}
    assert [layer["mediaType"] for layer in json.loads(result.manifest)["layers"]] == [LAYER]


def test_an_entry_that_is_listed_twice(tmp_path: Path) -> None:
    """The second entry of a manifest is held against the first one, embedded content included."""
    for wrong, error in (({"size": 5}, ManifestError), ({"data": "e30="}, Exception)):
        store = Store()
        image = store.image()
        layout = store.layout(tmp_path / str(error), {"x": store.index(image, {**image, **wrong})})
        with pytest.raises(error, match=image["digest"]):
            copy.image(
                ANY,
                dest=f"oci:{tmp_path}/out:x",
                src=f"oci:{layout}:x",
                options=copy.CopyOptions(image_list_selection=ALL),
            )


def test_referrers_that_list_each_other(tmp_path: Path) -> None:
    """Indexes of indexes among referrers are read once each, however often they are listed."""
    store = Store()
    top = store.image(platform=False)
    layout = store.layout(tmp_path / "in", {"x": top})
    level = [refer(store, top, content=b"%d" % number) for number in range(6)]
    for depth in range(6):
        level = [store.index(*level, annotations={"n": f"{depth}.{number}"}) for number in range(6)]
    subject = {key: top[key] for key in ("mediaType", "digest", "size")}
    about = store.json(
        OCI_INDEX,
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "a/b", "manifests": level, "subject": subject},
    )
    store.layout(layout, {"x": top, "": about})
    planned = copy.plan(
        ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=copy.CopyOptions(referrers=True)
    )
    assert about["digest"] in planned.referrers
    attach(store, f"oci:{layout}:x", refer(store, top))


def test_what_is_told_is_told_in_one_thread(tmp_path: Path) -> None:
    """Events of a layer that is recompressed come in the thread that copies, alone as well as beside others."""
    store = Store()
    layout = store.layout(tmp_path / "in", {"x": store.image({"a": bytes(3_000_000)}, platform=False)})
    threads = set()
    options = copy.CopyOptions(
        destination_ctx=ZSTD,
        progress=lambda _: threads.add(threading.current_thread()),
        progress_interval=0,
        max_parallel=1,
    )
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    assert threads == {threading.current_thread()}


def test_what_cannot_be_done_is_known_before(tmp_path: Path) -> None:
    """Levels, diffIDs of unknown algorithms and encrypted layers end a copy before it begins; no thread is left."""
    store = Store()
    tar = tar_of({"a": b"a"})
    images = {
        "good": image_of(store, gzip.compress(tar), digest_of(tar)),
        "blake": image_of(store, gzip.compress(tar), f"blake3:{'a' * 64}"),
        "secret": image_of(store, b"secret", digest_of(tar), f"{LAYER}+gzip+encrypted"),
    }
    layout = store.layout(tmp_path / "in", images)
    checks = copy.CopyOptions(verify_diff_ids=True)
    level = SystemContext(compression_format="gzip", compression_level=99)
    alone = copy.CopyOptions(destination_ctx=ZSTD, max_parallel=1)
    wrong: tuple[tuple[str, copy.CopyOptions, type[Exception], str], ...] = (
        ("good", copy.CopyOptions(destination_ctx=level), ValueError, "gzip has no compression level 99"),
        ("blake", alone, NotSupportedError, "blake3"),
        ("blake", checks, NotSupportedError, "blake3"),
        ("secret", checks, NotSupportedError, "encrypted.*decrypt it"),
    )
    for name, options, error, message in wrong:
        with pytest.raises(error, match=message):
            copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:{name}", options=options)
    assert not (tmp_path / "out").exists()
    assert threading.active_count() == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"referrers": "application/spdx+json"}, TypeError),
        ({"instances": digest_of(b""), "image_list_selection": copy.ImageListSelection.SPECIFIC}, TypeError),
        ({"instance_platforms": ("linux/arm64",), "image_list_selection": copy.ImageListSelection.SPECIFIC}, TypeError),
        ({"instance_platforms": Platform(os="a", architecture="b")}, TypeError),
        ({"preserve_digests": "no"}, TypeError),
        ({"max_parallel": "6"}, ValueError),
        ({"progress": 5}, TypeError),
        ({"concurrent_blob_copies_semaphore": 5}, TypeError),
        ({"ensure_compression_variants_exist": ("zstd",), "image_list_selection": ALL}, TypeError),
    ],
)
def test_options_of_the_wrong_kind(options: dict[str, Any], error: type[Exception]) -> None:
    """What would be taken for something else is refused when it is given."""
    with pytest.raises(error, match="CopyOptions"):
        copy.CopyOptions(**options)
    with pytest.raises(ValueError, match="'gzip' or 'zstd'"):
        copy.CompressionVariant(compression="foo")


def test_members_without_end() -> None:
    """A stream of nothing but empty members costs a bounded amount of work."""
    empty = gzip.compress(b"", mtime=0)
    with pytest.raises(LimitExceededError, match="members of fewer than"):
        DecompressedStream(io.BytesIO(empty * 200_000)).read()


# A program that copies from a source that never ends, says so, and is interrupted.
ENDLESS = """
    import sys, threading
    from ocikit.image import Policy, copy
    semaphore = threading.Semaphore(1)
    if sys.argv[3] == "semaphore":
        semaphore.acquire()
    options = copy.CopyOptions(
        download_foreign_layers=True, concurrent_blob_copies_semaphore=semaphore, progress=lambda _: None
    )
    print("ready", flush=True)
    copy.image(Policy.insecure_accept_anything(), dest=sys.argv[1], src=sys.argv[2], options=options)
"""


class _Dripping(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Send a byte now and then, for as long as somebody listens."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            for _ in range(600):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("waits_for", ["server", "semaphore"])
def test_ctrl_c_ends_a_copy(tmp_path: Path, waits_for: str) -> None:
    """Neither a server that drips nor a semaphore that somebody else holds keeps a copy from being interrupted."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dripping)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        store = Store()
        layers = [
            {
                "mediaType": f"{LAYER.replace('layer.v1', 'layer.nondistributable.v1')}+gzip",
                "digest": digest_of(b"%d" % number),
                "size": 1_000_000,
                "urls": [f"http://127.0.0.1:{server.server_port}/{number}"],
            }
            for number in range(2)
        ]
        layout = store.layout(tmp_path / "in", {"x": store.image(extra={"layers": layers}, platform=False)})
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(ENDLESS),
            f"oci:{tmp_path}/out:x",
            f"oci:{layout}:x",
            waits_for,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
        assert b"KeyboardInterrupt" in err, err
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
