"""What nothing refers to is removed, and nothing else: not under a copy, not by a doubt, not by kill -9."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from builders import OCI_INDEX, OCI_MANIFEST, Store, check_layout, digest_of, names_in
from moving import move

from ocikit.errors import InvalidReferenceError, LayoutBusyError, LayoutError, LimitExceededError
from ocikit.image import SystemContext, delete, layout, parse_image_name
from ocikit.image.layout import reachability
from ocikit.spec import Digest

GC = "import sys; from ocikit.image import layout; layout.gc(sys.argv[1])"


def blobs(path: Path) -> set[str]:
    """Return the names of everything in ``blobs``."""
    return {f"{file.parent.name}:{file.name}" for file in (path / "blobs").glob("*/*")}


def garbage(store: Store, count: int = 3) -> set[str]:
    """Add blobs that nothing refers to; return their digests."""
    return {store.blob("x", b"garbage %d" % number)["digest"] for number in range(count)}


def everything(store: Store) -> dict[str, dict[str, object]]:
    """Add images of all kinds; return what index.json is to list."""
    one, two = store.image({"1": b""}), store.image({"2": b""}, architecture="arm64")
    inner = store.index(one, two)
    artifact = store.image({"sbom": b""}, extra={"subject": store.image({"s": b""}), "artifactType": "x"})
    other = store.json("application/vnd.example+json", {"see": store.blob("x", b"seen")["digest"]})
    wide = store.image({"w": b""})
    wide_config = store.blob("application/x", b"sha512", algorithm="sha512")
    return {
        "index": store.index(inner, store.image({"3": b""})),
        "plain": store.image({"p": b""}, {"q": b""}),
        "artifact": artifact,
        "other": other,
        "wide": store.json(OCI_MANIFEST, json.loads(store.blobs[wide["digest"]]) | {"config": wide_config}),
    }


def test_what_is_needed_stays(tmp_path: Path) -> None:
    """Indexes in indexes, configs, layers, subjects, unknown documents and other algorithms keep what they refer to."""
    store = Store()
    names = everything(store)
    wide = json.loads(store.blobs[str(names["wide"]["digest"])])["config"]["digest"]
    needed = set(store.blobs) - {digest for digest in store.blobs if store.blobs[digest] == b""}
    unused = garbage(store)
    path = store.layout(tmp_path / "l", names)
    replaced = json.loads(store.blobs[str(names["wide"]["digest"])])
    assert replaced["config"]["digest"] == wide
    report = layout.gc(path)
    gone = {one.digest for one in report.removed}
    # The manifest that "wide" was made from, and its config, nothing refers to either.
    assert unused <= gone
    assert blobs(path) == set(store.blobs) - gone
    assert wide in blobs(path)
    assert len(gone - unused) == 2
    assert gone - unused <= needed
    seen = check_layout(path)
    assert seen <= blobs(path)
    assert report.bytes_freed == sum(len(store.blobs[one]) for one in gone)
    assert (report.kept, report.kept_bytes) == (len(blobs(path)), sum(len(store.blobs[one]) for one in blobs(path)))
    again = layout.gc(path)
    assert (again.removed, again.bytes_freed, again.kept) == ((), 0, report.kept)


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It says what would go, and leaves blobs, temporary files and times as they are."""
    store = Store()
    unused = garbage(store)
    path = store.layout(tmp_path / "l", {"x": store.image()})
    (path / ".ocikit-tmp-new-dead").write_bytes(b"12345")
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    report = layout.gc(f"oci:{path}", dry_run=True)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    assert {one.digest for one in report.removed} == unused
    assert report.temporaries == (".ocikit-tmp-new-dead",)
    done = layout.gc(path)
    assert (done.removed, done.temporaries, done.bytes_freed) == (
        report.removed,
        report.temporaries,
        report.bytes_freed,
    )
    assert (report.dry_run, done.dry_run) == (True, False)
    assert not (path / ".ocikit-tmp-new-dead").exists()


def test_a_file_that_is_written_is_not_stale(tmp_path: Path) -> None:
    """A temporary file whose lock somebody holds stays, in a dry run and otherwise."""
    path = Store().layout(tmp_path / "l", {})
    writing = path / ".ocikit-tmp-new-alive"
    with writing.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert layout.gc(path, dry_run=True).temporaries == layout.gc(path).temporaries == ()
        assert writing.exists()
    assert layout.gc(path).temporaries == (writing.name,)


def test_doubts_keep_blobs(tmp_path: Path) -> None:
    """Damaged, ambiguous and embedded documents keep whatever they mention; what is no blob is left alone."""
    store = Store()
    kept = [store.image({str(number): b""}) for number in range(3)]
    damaged = store.index(kept[0])
    ambiguous = store.blob(OCI_INDEX, b'{"manifests":[],"manifests":["%b"]}' % kept[1]["digest"].encode())
    data = base64.b64encode(store.blobs[kept[2]["digest"]]).decode()
    inline = {"mediaType": OCI_INDEX, "digest": digest_of(b"no"), "size": 2, "data": data}
    path = store.layout(tmp_path / "l", {"d": damaged, "a": ambiguous, "i": inline})
    file = path / "blobs" / "sha256" / damaged["digest"].removeprefix("sha256:")
    file.write_bytes(file.read_bytes() + b" ")
    (path / "blobs" / "sha256" / "README").write_bytes(b"")
    (path / "blobs" / "sha256" / ("a" * 64)).symlink_to("/etc/passwd")
    (path / "blobs" / "sha256" / ("b" * 64)).mkdir()
    (path / "blobs" / "stray").write_bytes(b"")
    assert [one.digest for one in layout.gc(path).removed] == [kept[2]["digest"]]
    assert (path / "blobs" / "stray").exists()
    assert {"sha256:README", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"} <= blobs(path)


@pytest.mark.parametrize("which", ["manifest", "index", "mentioned"])
def test_what_a_link_refers_to_is_not_known(tmp_path: Path, which: str) -> None:
    """Where others follow a link to a manifest or an index, no blob is removed, and the file is named."""
    store = Store()
    image = store.image({"a": b""})
    index = store.index(image)
    other = store.json("application/x+json", {"see": image["digest"]})
    unused = garbage(store)
    path = store.layout(tmp_path / "l", {"x": {"manifest": image, "index": index, "mentioned": other}[which]})
    file = path / "blobs" / (index if which == "index" else image)["digest"].replace(":", "/")
    file.rename(tmp_path / "target")
    file.symlink_to(tmp_path / "target")
    before = blobs(path)
    for dry_run in (True, False):
        with pytest.raises(LayoutError, match=f"{file.name}.*cp -RL"):
            layout.gc(path, dry_run=dry_run)
    assert blobs(path) == before
    (problem,) = [one for one in layout.fsck(path) if one.kind is not layout.ProblemKind.STRAY_FILE]
    assert problem.kind is layout.ProblemKind.IRREGULAR_BLOB
    plain = tmp_path / "plain"
    shutil.copytree(path, plain)
    assert {one.digest for one in layout.gc(plain).removed} >= unused
    assert image["digest"] in blobs(plain)


def test_documents_within_documents_cost_what_they_hold(tmp_path: Path) -> None:
    """Each is looked at once, however it is written: a blob of some kilobytes holds nobody up."""
    store = Store()
    seen = store.blob("x", b"seen")["digest"]
    document = b'{"x":"\\\\","see":"%b"}' % seen.encode()
    for _ in range(18):
        document = b'{"x":"\\\\","data":"%b"}' % base64.b64encode(document)
    assert len(document) < 64 << 10
    unused = garbage(store)
    path = store.layout(tmp_path / "l", {"x": store.image(), "deep": store.blob("application/x+json", document)})
    started = time.monotonic()
    assert {one.digest for one in layout.gc(path).removed} == unused
    assert layout.fsck(path).ok
    delete(f"oci:{path}:x")
    assert time.monotonic() - started < 5
    assert seen in blobs(path)


def test_too_much_embedded_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more is embedded than is looked at, nothing is known of it, and no blob is removed."""
    store = Store()
    inner = base64.b64encode(b"{" + b" " * 5000)
    large = store.blob("application/x+json", b'{"data":"%b"}' % inner)
    path = store.layout(tmp_path / "l", {"x": store.image(), "large": large})
    assert layout.gc(path).removed == ()
    monkeypatch.setattr(reachability, "_MOST_DECODED", 5000)
    before = blobs(path)
    with pytest.raises(LimitExceededError, match=large["digest"].removeprefix("sha256:")):
        layout.gc(path)
    assert [one.kind for one in layout.fsck(path)] == [layout.ProblemKind.TOO_LARGE]
    delete(f"oci:{path}:x")
    assert names_in(path) == ["large"]
    assert blobs(path) == before


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schemaVersion":2,"manifests":[1]}', b"{" * 200])
def test_without_an_index_nothing_is_removed(tmp_path: Path, content: bytes) -> None:
    """A damaged index.json says of no blob that it is not needed."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.image()})
    (path / "index.json").write_bytes(content)
    with pytest.raises((LayoutError, ValueError)):
        layout.gc(path)
    assert blobs(path) == set(store.blobs)


def test_shared_directories_are_never_touched(tmp_path: Path) -> None:
    """With the blobs elsewhere nothing is removed, be it needed or not."""
    store = Store()
    garbage(store)
    path = store.layout(tmp_path / "l", {"x": store.image()})
    (path / "blobs").rename(tmp_path / "shared")
    sys = SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared"))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").rglob("*")}
    report = layout.gc(path, sys)
    assert (report.removed, report.shared_blobs, report.bytes_freed) == ((), True, 0)
    assert "shared" in str(report)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").rglob("*")} == before


def test_young_blobs_may_stay(tmp_path: Path) -> None:
    """For programs that lock nothing, blobs of the last minutes can be left to them."""
    store = Store()
    unused = sorted(garbage(store))
    path = store.layout(tmp_path / "l", {"x": store.image()})
    old = path / "blobs" / "sha256" / unused[0].removeprefix("sha256:")
    os.utime(old, (time.time() - 500, time.time() - 500))
    report = layout.gc(path, min_age=300)
    assert [one.digest for one in report.removed] == unused[:1]
    assert report.young == tuple(unused[1:])
    assert set(unused[1:]) <= blobs(path)


def test_an_open_image_is_not_pulled_away(tmp_path: Path) -> None:
    """Collection waits until sources and destinations are closed, and refuses to wait for its own thread."""
    store = Store()
    unused = garbage(store)
    path = store.layout(tmp_path / "l", {"x": store.image()})
    collecting = threading.Thread(target=layout.gc, args=(path,))
    with parse_image_name(f"oci:{path}:new").new_image_destination():
        with pytest.raises(LayoutBusyError):
            layout.gc(path)
        collecting.start()
        collecting.join(0.1)
        assert collecting.is_alive()
        assert unused <= blobs(path)
    collecting.join()
    assert unused.isdisjoint(blobs(path))


def test_copies_meanwhile_lose_nothing(tmp_path: Path) -> None:
    """Processes that copy while another one collects, over and over: every image is there whole in the end."""
    source = tmp_path / "source"
    store = Store()
    images = {str(number): store.image({"shared": b"s"}, {"own": b"%d" % number}) for number in range(6)}
    store.layout(source, images)
    path = tmp_path / "l"
    move(f"oci:{source}:0", f"oci:{path}:first")
    copy = """
import sys; sys.path.insert(0, sys.argv[1])
from moving import move
for number in sys.argv[4:]:
    for _ in range(4):
        move(f"oci:{sys.argv[2]}:{number}", f"oci:{sys.argv[3]}:{number}")
"""
    here = str(Path(__file__).parent)
    arguments = [sys.executable, "-c", copy, here, str(source), str(path)]
    copying = [subprocess.Popen([*arguments, *numbers]) for numbers in (("1", "2", "3"), ("4", "5", "1"))]
    while any(process.poll() is None for process in copying):
        layout.gc(path)
        check_layout(path)
    assert [process.wait() for process in copying] == [0, 0]
    assert sorted(names_in(path)) == ["1", "2", "3", "4", "5", "first"]
    layout.gc(path)
    assert check_layout(path) == blobs(path)


def test_killed_at_every_step(tmp_path: Path) -> None:
    """Wherever it is killed, the images are whole, and the next collection finishes the work."""
    store = Store()
    image = store.image()
    garbage(store)
    trace, calls = tmp_path / "trace", "unlink,unlinkat"

    def run(path: Path, *options: str) -> int:
        (path / ".ocikit-tmp-new-dead").write_bytes(b"")
        command = ["strace", "-f", *options, "-o", str(trace), sys.executable, "-Bc", GC, str(path)]
        return subprocess.run(command, check=False, timeout=60).returncode

    whole = store.layout(tmp_path / "whole", {"x": image})
    assert run(whole, "-e", f"trace={calls}") == 0
    steps = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)
    assert len(steps) >= 4
    for number in range(1, len(steps) + 1):
        path = store.layout(tmp_path / str(number), {"x": image})
        assert run(path, "-e", f"inject={calls}:signal=KILL:when={number}") in {-9, 137}
        check_layout(path)
        left = 3 - max(0, number - 2)
        assert len(blobs(path) - check_layout(path)) == left
        layout.gc(path)
        assert check_layout(path) == blobs(path)
        assert not (path / ".ocikit-tmp-new-dead").exists()
        shutil.rmtree(path)


def test_the_same_as_umoci(tmp_path: Path) -> None:
    """What umoci collects is what is collected here."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (tmp_path / "file").write_bytes(b"content")
    for command in (
        ["init", "--layout", str(theirs)],
        ["new", "--image", f"{theirs}:one"],
        ["insert", "--image", f"{theirs}:one", str(tmp_path / "file"), "/file"],
        ["tag", "--image", f"{theirs}:one", "two"],
        ["insert", "--image", f"{theirs}:two", str(tmp_path / "file"), "/other"],
        ["rm", "--image", f"{theirs}:one"],
    ):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    shutil.copytree(theirs, ours)
    subprocess.run(["umoci", "gc", "--layout", str(theirs)], check=True, capture_output=True)
    report = layout.gc(ours)
    assert blobs(ours) == blobs(theirs)
    assert report.removed


def test_what_is_named(tmp_path: Path) -> None:
    """A path, an object that is one, and a name of the layout; an image in it is no layout."""
    path = Store().layout(tmp_path / "l", {})
    for name in (str(path), path, f"oci:{path}"):
        assert layout.gc(name).path == str(path)
    with pytest.raises(InvalidReferenceError, match="expected a layout"):
        layout.gc(f"oci:{path}:x")
    with pytest.raises(InvalidReferenceError):
        layout.gc("")
    with pytest.raises(LayoutError, match="not an OCI layout"):
        layout.gc(tmp_path)
    with pytest.raises(FileNotFoundError):
        layout.gc(tmp_path / "none")


def test_the_report_shows_itself(tmp_path: Path) -> None:
    """As text, as HTML and as JSON."""
    store = Store()
    unused = garbage(store, 2)
    path = store.layout(tmp_path / "<l>", {"x": store.image()})
    (path / ".ocikit-tmp-new-\x1b[31m").write_bytes(b"")
    report = layout.gc(path)
    shown = str(report)
    assert "2 blobs removed" in shown
    assert all(digest in shown for digest in unused)
    assert "\x1b" not in shown
    page = report._repr_html_()
    assert "&lt;l&gt;" in page
    assert "<l>" not in page
    document = json.loads(json.dumps(report.to_dict()))
    assert {one["digest"] for one in document["removed"]} == unused
    assert all(isinstance(one.digest, Digest) for one in report.removed)
