"""Every kind of damage to a layout is found and named, and what can be repaired without loss is."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from builders import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Store,
    check_layout,
    digest_of,
    names_in,
)
from damages import DAMAGES, KIND, NAME, blob, config_of, embedded_only, entries, flip, layer_of, remade
from moving import move

from ocikit.errors import LayoutBusyError, LayoutError
from ocikit.image import SystemContext, layout, parse_image_name
from ocikit.image.layout import Problem, ProblemKind, Severity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store() -> Store:
    """Return a store for blobs."""
    return Store()


@pytest.fixture
def image(store: Store) -> dict[str, Any]:
    """Return an image with a layer."""
    return store.image({"a": b"a" * 100}, platform=False)


@pytest.fixture
def path(tmp_path: Path, store: Store, image: dict[str, Any]) -> Path:
    """Return a sound layout with that image, called x."""
    return store.layout(tmp_path / "l", {"x": image})


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named(path: Path, store: Store, image: dict[str, Any], name: str) -> None:
    """Every damage is found, for what it is and for nothing else; looking at it changes nothing."""
    damage, expected = DAMAGES[name]
    damage(path, store, image)
    before = {file: file.lstat().st_mtime_ns for file in path.rglob("*")}
    report = layout.fsck(path)
    assert {one.kind for one in report.problems} == expected, str(report)
    assert {file: file.lstat().st_mtime_ns for file in path.rglob("*")} == before
    errors = [one for one in report if one.severity is Severity.ERROR]
    assert report.ok == (not errors)
    for one in report:
        assert one.message
        assert one.remedy
        assert (one.repair, one.resolved) == ("", False)
        assert one.path.startswith(str(path))
    json.dumps(report.to_dict())
    assert str(path) in str(report)
    assert report._repr_html_()


def test_every_kind_is_in_the_table() -> None:
    """No kind of problem is without a test; the two that need whole layers have their own."""
    tested = set().union(*(kinds for _, kinds in DAMAGES.values()))
    assert set(ProblemKind) - tested == {KIND.UNREADABLE, KIND.WRONG_DIFF_ID, KIND.DAMAGED_LAYER}
    for kind in ProblemKind:
        assert Problem.of(kind, "", "").remedy


def test_a_sound_layout(tmp_path: Path, store: Store) -> None:
    """Everything that a layout may hold is sound, and was hashed."""
    one, two = store.image({"1": b""}), store.image({"2": b""}, architecture="arm64")
    index = store.index(store.index(one, two), store.image({"3": b""}))
    artifact = store.image(extra={"subject": one, "config": store.blob("application/x", b"{}")})
    wide = store.json(
        OCI_MANIFEST, {"schemaVersion": 2, "config": store.blob("x", b"", algorithm="sha512"), "layers": []}
    )
    docker = store.image(docker=True)
    names = {"index": index, "artifact": artifact, "wide": wide, "docker": docker}
    path = store.layout(tmp_path / "l", names)
    layout.gc(path)
    report = layout.fsck(path, diff_ids=True)
    assert (report.ok, len(report), report.images) == (True, 0, 4), str(report)
    files = [file for file in (path / "blobs").rglob("*") if file.is_file()]
    assert (report.blobs, report.size) == (len(files), sum(file.stat().st_size for file in files))
    assert "sound" in str(report)


def test_who_needs_it(tmp_path: Path, store: Store) -> None:
    """A damaged blob names every image that leads to it, through indexes too, and no other."""
    shared = {"shared": b"s" * 50}
    one, two = store.image(shared, {"1": b""}), store.image(shared, {"2": b""}, architecture="arm64")
    names = {"one": one, "index": store.index(store.index(two)), "": store.index(one), "other": store.image({"o": b""})}
    path = store.layout(tmp_path / "l", names)
    flip(path, layer_of(store, one)["digest"])
    (problem,) = layout.fsck(path)
    assert (problem.kind, problem.images) == (KIND.WRONG_DIGEST, ("one", "index", "@2"))
    assert problem.digest == layer_of(store, one)["digest"]
    assert problem.path == str(blob(path, str(problem.digest)))


def test_layers_are_held_against_diff_ids(path: Path, store: Store) -> None:
    """Only when asked: a config that lies about a layer, a layer that is no gzip inside, one that is a bomb."""
    good = store.image({"good": b""})
    lying = json.loads(store.blobs[config_of(store, good)["digest"]])
    lying["rootfs"]["diff_ids"] = [digest_of(b"another")]
    wrong = remade(store, good, config=store.json(OCI_CONFIG, lying))
    broken = remade(store, good, layers=[store.blob(OCI_LAYER, gzip.compress(b"x" * 5000)[:-9])])
    bomb = remade(store, good, layers=[store.blob(OCI_LAYER, gzip.compress(bytes(1 << 20), 9) * 300)])
    path = store.layout(path, {"good": good, "wrong": wrong, "broken": broken, "bomb": bomb})
    assert layout.fsck(path).ok
    report = layout.fsck(path, diff_ids=True)
    found = sorted((one.kind, one.images) for one in report if one.severity is Severity.ERROR)
    assert [kind for kind, _ in found] == [KIND.DAMAGED_LAYER, KIND.DAMAGED_LAYER, KIND.WRONG_DIFF_ID]
    assert found[-1][1] == ("good", "wrong")
    assert {name for _, names in found[:2] for name in names} == {"broken", "bomb"}


def test_repair_puts_damaged_blobs_aside(tmp_path: Path, path: Path, store: Store, image: dict[str, Any]) -> None:
    """They are moved, not lost; the next copy brings the right ones, and all is well."""
    source = store.layout(tmp_path / "source", {"x": image})
    digests = [layer_of(store, image)["digest"], config_of(store, image)["digest"]]
    for digest in digests:
        flip(path, digest)
    damaged = {digest: blob(path, digest).read_bytes() for digest in digests}
    report = layout.fsck(path, repair=True)
    assert not report.ok
    assert {one.kind for one in report} == {KIND.WRONG_DIGEST}
    assert all(str(path / ".ocikit-damaged") in one.repair and "x" in one.repair for one in report)
    aside = {file.name.replace("-", ":"): file.read_bytes() for file in (path / ".ocikit-damaged").iterdir()}
    assert aside == damaged
    assert {one.kind for one in layout.fsck(path)} == {KIND.MISSING_BLOB}
    move(f"oci:{source}:x", f"oci:{path}:x")
    report = layout.fsck(path, diff_ids=True)
    assert (report.ok, len(report)) == (True, 0), str(report)
    check_layout(path)


def test_repair_corrects_what_no_digest_depends_on(path: Path, store: Store, image: dict[str, Any]) -> None:
    """Sizes and types in index.json, a lost oci-layout, files that a crash left; the rest of index.json stays."""
    other = store.image({"o": b""})
    path = store.layout(path, {"x": image | {"size": 1, "vendor": 1}, "other": other | {"mediaType": OCI_INDEX}})
    (path / "oci-layout").unlink()
    (path / ".ocikit-tmp-new-1").write_bytes(b"1")
    with pytest.raises(LayoutError):
        layout.gc(path)
    (path / ".ocikit-tmp-new-1").unlink()
    report = layout.fsck(path, repair=True)
    assert report.ok, str(report)
    assert {one.kind for one in report} == {KIND.NO_LAYOUT, KIND.WRONG_SIZE, KIND.WRONG_MEDIA_TYPE}
    assert all(one.repair and one.resolved for one in report)
    assert len(layout.fsck(path)) == 0
    first, second = json.loads((path / "index.json").read_bytes())["manifests"]
    assert first == image | {"vendor": 1, "annotations": {NAME: "x"}}
    assert second == other | {"annotations": {NAME: "other"}}
    (path / ".ocikit-tmp-new-1").write_bytes(b"1")
    report = layout.fsck(path, repair=True)
    assert [(one.kind, one.resolved) for one in report] == [(KIND.STALE_TEMPORARY, True)]
    assert not (path / ".ocikit-tmp-new-1").exists()


def test_the_type_of_an_embedded_manifest_is_corrected(path: Path, store: Store, image: dict[str, Any]) -> None:
    """A manifest that is in its descriptor alone is read from there to repair what is said of it."""
    embedded_only(path, store, image)
    entries(path, change=lambda listed: listed[0].update(mediaType=OCI_INDEX))
    (problem,) = layout.fsck(path, repair=True).of_kind(KIND.WRONG_MEDIA_TYPE)
    assert problem.resolved
    assert not layout.fsck(path).of_kind(KIND.WRONG_MEDIA_TYPE)


def test_entries_are_dropped_only_when_asked(path: Path, store: Store, image: dict[str, Any]) -> None:
    """Entries that lead nowhere stay with repair alone; those that lead somewhere always do."""
    lost, damaged = store.image({"lost": b""}), store.image({"damaged": b""})
    store.layout(path, {"x": image, "lost": lost, "damaged": damaged})
    blob(path, lost["digest"]).unlink()
    flip(path, damaged["digest"])
    blob(path, layer_of(store, image)["digest"]).unlink()
    entries(path, {"mediaType": OCI_MANIFEST}, {"size": 1})
    before = (path / "index.json").read_bytes()
    with pytest.raises(ValueError, match="repair=True"):
        layout.fsck(path, drop_entries=True)
    assert not layout.fsck(path, repair=True).ok
    assert (path / "index.json").read_bytes() == before
    report = layout.fsck(path, repair=True, drop_entries=True)
    assert names_in(path) == ["x"]
    left = [one for one in report if one.severity is Severity.ERROR and not one.resolved]
    assert [(one.kind, one.images) for one in left] == [(KIND.MISSING_BLOB, ("x",))]
    assert len([one for one in report if "removed from index.json" in one.repair]) == 4
    again = layout.fsck(path)
    assert {one.kind for one in again if one.severity is Severity.ERROR} == {KIND.MISSING_BLOB}


def test_links_are_not_taken_for_missing(tmp_path: Path, path: Path, image: dict[str, Any]) -> None:
    """A manifest that is a link is a problem of its own: others follow it, and its entry is never dropped."""
    file = blob(path, image["digest"])
    file.rename(tmp_path / "target")
    file.symlink_to(tmp_path / "target")
    report = layout.fsck(path, repair=True, drop_entries=True)
    assert [(one.kind, one.images, one.repair) for one in report] == [(KIND.IRREGULAR_BLOB, ("x",), "")]
    assert str(file) in report.problems[0].message
    assert not report.ok
    assert names_in(path) == ["x"]
    assert file.is_symlink()


@pytest.mark.parametrize("broken", [0, 10_000])
def test_a_shared_directory_that_was_not_named(
    tmp_path: Path, path: Path, store: Store, image: dict[str, Any], broken: int
) -> None:
    """Where nothing that is listed is there, no entry is dropped, and the way out is named: in a long list, too."""
    store.layout(path, {"x": image, "y": store.image({"y": b""})})
    (path / "blobs").rename(tmp_path / "shared")
    (path / "blobs").mkdir()
    entries(path, change=lambda listed: listed.__setitem__(slice(0, 0), [{}] * broken))
    before = (path / "index.json").read_bytes()
    report = layout.fsck(path, repair=True, drop_entries=True)
    assert (path / "index.json").read_bytes() == before
    assert not report.ok
    if not broken:
        (problem,) = report.of_kind(KIND.BLOBS_ELSEWHERE)
        assert "oci_shared_blob_dir_path" in problem.remedy
        assert layout.fsck(path, SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared"))).ok


@pytest.mark.parametrize("lost", [True, False])
def test_when_every_manifest_is_missing(path: Path, store: Store, image: dict[str, Any], *, lost: bool) -> None:
    """Other blobs do not show that it is the right directory; one manifest does."""
    other = store.image({"y": b""})
    store.layout(path, {"x": image, "y": other})
    blob(path, image["digest"]).unlink()
    if lost:
        blob(path, other["digest"]).unlink()
    report = layout.fsck(path, repair=True, drop_entries=True)
    assert names_in(path) == (["x", "y"] if lost else ["y"])
    assert bool(report.of_kind(KIND.BLOBS_ELSEWHERE)) == lost


@pytest.mark.parametrize("link", [True, False])
def test_a_place_for_damaged_blobs_that_is_none(
    tmp_path: Path, path: Path, store: Store, image: dict[str, Any], *, link: bool
) -> None:
    """A link or a file in place of the directory for damaged blobs is refused before anything is repaired."""
    store.layout(path, {"x": image, "y": store.image({"y": b""}) | {"size": 1}})
    (tmp_path / "elsewhere").mkdir()
    aside = path / ".ocikit-damaged"
    if link:
        aside.symlink_to(tmp_path / "elsewhere")
    else:
        aside.touch()
    flip(path, image["digest"])
    before = (path / "index.json").read_bytes()
    with pytest.raises(LayoutError, match=r"ocikit-damaged.*move it away"):
        layout.fsck(path, repair=True)
    assert (path / "index.json").read_bytes() == before
    assert blob(path, image["digest"]).exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_blob_that_is_damaged_again(path: Path, store: Store, image: dict[str, Any]) -> None:
    """No damaged blob takes the place of an earlier one of the same digest; the report says where each is."""
    layer = layer_of(store, image)["digest"]
    told = []
    for content in (b"first", b"second", b"third"):
        blob(path, layer).write_bytes(content)
        (problem,) = layout.fsck(path, repair=True).of_kind(KIND.WRONG_DIGEST)
        told.append(problem.repair.removeprefix("it was moved to ").partition(";")[0])
    aside = path / ".ocikit-damaged"
    assert {file.read_bytes() for file in aside.iterdir()} == {b"first", b"second", b"third"}
    name = str(aside / layer.replace(":", "-"))
    assert told == [name, f"{name}.2", f"{name}.3"]


def test_shared_blobs(tmp_path: Path, store: Store, image: dict[str, Any]) -> None:
    """What the layout refers to is checked where it is; what else is there is others', and nothing is moved."""
    path = store.layout(tmp_path / "l", {"x": image})
    (path / "blobs").rename(tmp_path / "shared")
    sys = SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared"))
    others = tmp_path / "shared" / "sha256" / ("0" * 64)
    others.write_bytes(b"of another layout, and damaged")
    (tmp_path / "shared" / "stray").write_bytes(b"")
    report = layout.fsck(path, sys, diff_ids=True)
    assert (report.ok, len(report), report.blobs) == (True, 0, 3), str(report)
    layer = tmp_path / "shared" / "sha256" / layer_of(store, image)["digest"].removeprefix("sha256:")
    layer.write_bytes(b"damaged")
    report = layout.fsck(path, sys, repair=True)
    assert [(one.kind, one.repair, one.path) for one in report] == [(KIND.WRONG_DIGEST, "", str(layer))]
    assert layer.read_bytes() == b"damaged"
    layer.unlink()
    assert [one.kind for one in layout.fsck(path, sys)] == [KIND.MISSING_BLOB]
    assert [one.kind for one in layout.fsck(path)] == [KIND.NO_LAYOUT]


def test_others_go_on_meanwhile(path: Path) -> None:
    """A check runs beside an open image; a repair waits for it, and refuses to wait for its own thread."""
    with parse_image_name(f"oci:{path}:x").new_image_source():
        assert layout.fsck(path).ok
        with pytest.raises(LayoutBusyError):
            layout.fsck(path, repair=True)
        repairing = threading.Thread(target=layout.fsck, args=(path,), kwargs={"repair": True})
        repairing.start()
        repairing.join(0.1)
        assert repairing.is_alive()
    repairing.join()


def test_many_problems_are_bounded(path: Path) -> None:
    """An index.json full of nonsense is a list of bounded length, and what is left out is counted."""
    text = ",".join(["{}"] * 30_000)
    (path / "index.json").write_text(f'{{"schemaVersion":2,"manifests":[{text}]}}')
    report = layout.fsck(path)
    assert len(report) == 10_000
    assert report.omitted >= 20_000
    assert not report.ok
    assert len(str(report)) < 500_000


def test_hostile_text_is_harmless(tmp_path: Path, store: Store) -> None:
    """Names and media types of an image are escaped and cut where they are shown."""
    evil = "\x1b]0;x\x07<script>\u202e" + "x" * 10_000
    path = store.layout(tmp_path / "l", {evil: store.image() | {"size": 3}})
    report = layout.fsck(path)
    shown, page = str(report), report._repr_html_()
    assert not set(shown + page) & {"\x1b", "\x07", "\u202e"}
    assert "<script" not in page
    assert len(shown) < 5000


def test_layouts_of_others(tmp_path: Path) -> None:
    """What umoci and skopeo write is sound to the last diffID."""
    (tmp_path / "file").write_bytes(b"content")
    path, copy = tmp_path / "umoci", tmp_path / "skopeo"
    for command in (
        ["umoci", "init", "--layout", str(path)],
        ["umoci", "new", "--image", f"{path}:x"],
        ["umoci", "insert", "--image", f"{path}:x", str(tmp_path / "file"), "/file"],
        ["umoci", "gc", "--layout", str(path)],
        ["skopeo", "copy", f"oci:{path}:x", f"oci:{copy}:y"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    for one in (path, copy):
        report = layout.fsck(one, diff_ids=True)
        assert (report.ok, len(report)) == (True, 0), str(report)


def test_what_is_no_layout(tmp_path: Path) -> None:
    """A path that leads to nothing, or to a file, is an error of whoever gave it."""
    with pytest.raises(FileNotFoundError):
        layout.fsck(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LayoutError, match="expected a layout directory"):
        layout.fsck(tmp_path / "file")
    report = layout.fsck(tmp_path, repair=True)
    assert [(one.kind, one.repair) for one in report] == [(KIND.NO_LAYOUT, "")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file"]


def test_killed_while_it_repairs(tmp_path: Path, store: Store, image: dict[str, Any]) -> None:
    """Wherever a repair is killed, no blob is lost and index.json is the old or the new one; the next one ends it."""
    trace, calls = tmp_path / "trace", "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat"
    program = "import sys; from ocikit.image import layout; layout.fsck(sys.argv[1], repair=True, threads=1)"
    layer = layer_of(store, image)["digest"]

    def run(path: Path, *options: str) -> int:
        store.layout(path, {"x": image | {"size": 1}})
        flip(path, layer)
        (path / ".ocikit-tmp-new-1").write_bytes(b"1")
        command = ["strace", "-f", *options, "-o", str(trace), sys.executable, "-Bc", program, str(path)]
        return subprocess.run(command, check=False, timeout=60).returncode

    assert run(tmp_path / "whole", "-e", f"trace={calls}") == 0
    made = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert made.total() >= 4
    for call, count in made.items():
        for number in range(1, count + 1):
            path = tmp_path / f"{call}-{number}"
            assert run(path, "-e", f"inject={call}:signal=KILL:when={number}") in {-9, 137}
            assert json.loads((path / "index.json").read_bytes())["manifests"][0]["size"] in {1, image["size"]}
            aside = path / ".ocikit-damaged" / layer.replace(":", "-")
            assert blob(path, layer).exists() != aside.exists()
            layout.fsck(path, repair=True)
            assert {one.kind for one in layout.fsck(path)} == {KIND.MISSING_BLOB}
            assert aside.exists()
