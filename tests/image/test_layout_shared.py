"""Layouts that keep their blobs in one directory: everything finds them there, and nothing is ever removed from it."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import Store, names_in

from ocikit.image import Policy, SystemContext, copy, delete, identify, inspect, layout, list_images

if TYPE_CHECKING:
    from pathlib import Path


def blobs_in(directory: Path) -> SystemContext:
    """Return the circumstances: blobs there, and the platform that both layouts have."""
    return SystemContext(oci_shared_blob_dir_path=str(directory), os_choice="linux", architecture_choice="amd64")


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Return what is in a directory, with sizes and times."""
    return {str(file): (file.lstat().st_size, file.lstat().st_mtime_ns) for file in directory.rglob("*")}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory with the blobs of two layouts, ``one`` and ``two``, that skopeo wrote."""
    store = Store()
    one = store.image({"bin/run": b"#!/bin/sh\n"}, {"b": b"b"})
    two = store.image({"bin/run": b"#!/bin/sh\n"}, {"c": b"c"}, architecture="arm64")
    source = store.layout(tmp_path / "source", {"one": one, "two": store.index(one, two)})
    directory = tmp_path / "shared"
    for name in ("one", "two"):
        command = ["skopeo", "copy", "-q", "--all", "--dest-shared-blob-dir", str(directory)]
        subprocess.run([*command, f"oci:{source}:{name}", f"oci:{tmp_path / name}:x"], check=True)
    assert not [file for name in ("one", "two") for file in (tmp_path / name).glob("blobs/*/*")]
    return directory


def test_everything_finds_them(tmp_path: Path, shared: Path) -> None:
    """Listing, looking, checking, copying: all of it where skopeo put the blobs, which stay as they are."""
    sys = blobs_in(shared)
    before = contents(shared)
    path = tmp_path / "two"
    (listed,) = list_images(path, sys, nested=True)
    assert len(listed.children) == 2
    found = inspect(f"oci:{path}:x", sys)
    assert len(found.layers) == 2
    assert [line.digest for line in layout.stat(path, "x", sys)] == [layer.digest for layer in found.layers]
    assert identify(f"oci:{path}:x", member="bin/run", sys=sys).mime_type == "text/x-shellscript"
    report = layout.fsck(path, sys, diff_ids=True)
    assert (report.ok, len(report), report.blobs) == (True, 0, 8), str(report)
    layout.tag(path, "x", "y", sys)
    options = copy.CopyOptions(source_ctx=sys, image_list_selection=copy.ImageListSelection.ALL)
    policy = Policy.insecure_accept_anything()
    result = copy.image(policy, dest=f"oci:{tmp_path}/own:x", src=f"oci:{path}:y", options=options)
    assert result.digest == found.digest
    assert layout.fsck(tmp_path / "own", diff_ids=True).ok
    assert contents(shared) == before


def test_nothing_goes_from_there(tmp_path: Path, shared: Path) -> None:
    """Deleted images, collections and repairs leave every shared blob to the other layouts."""
    sys = blobs_in(shared)
    before = contents(shared)
    delete(f"oci:{tmp_path}/two:x", sys)
    assert names_in(tmp_path / "two") == []
    assert layout.gc(tmp_path / "two", sys).removed == ()
    assert layout.gc(tmp_path / "one", sys).removed == ()
    assert layout.fsck(tmp_path / "one", sys, repair=True, drop_entries=True).ok
    assert contents(shared) == before
    subprocess.run(
        ["skopeo", "inspect", "--raw", "--shared-blob-dir", str(shared), f"oci:{tmp_path}/one:x"],
        check=True,
        capture_output=True,
    )


def test_what_is_copied_there(tmp_path: Path, shared: Path) -> None:
    """A copy into a third layout reuses what is there, adds what is not, and puts nothing beside it."""
    sys = blobs_in(shared)
    store = Store()
    new = store.image({"bin/run": b"#!/bin/sh\n"}, {"new": b"new"})
    source = store.layout(tmp_path / "new", {"x": new})
    before = set(contents(shared))
    options = copy.CopyOptions(destination_ctx=sys)
    result = copy.image(
        Policy.insecure_accept_anything(), dest=f"oci:{tmp_path}/three:x", src=f"oci:{source}:x", options=options
    )
    assert (len(result.reused), len(result.copied)) == (1, 2)
    assert len(set(contents(shared)) - before) == 3
    assert not [file for file in (tmp_path / "three").rglob("*") if file.is_file() and "blobs" in file.parts]
    assert layout.fsck(tmp_path / "three", sys, diff_ids=True).ok
    command = ["skopeo", "copy", "-q", "--src-shared-blob-dir", str(shared), f"oci:{tmp_path}/three:x"]
    subprocess.run([*command, f"dir:{tmp_path}/dir"], check=True)
    assert json.loads((tmp_path / "dir" / "manifest.json").read_bytes()) == json.loads(store.blobs[new["digest"]])


def test_blobs_that_are_only_there(tmp_path: Path, shared: Path) -> None:
    """A layout with blobs of its own, too, is read from the shared directory when that is named, and only then."""
    sys = blobs_in(shared)
    path = tmp_path / "one"
    shutil.copytree(shared, path / "blobs", dirs_exist_ok=True)
    own = layout.fsck(path)
    assert own.ok
    unreferenced = own.of_kind(layout.ProblemKind.UNREFERENCED_BLOB)
    assert len(unreferenced) == len(own) > 0
    before = contents(shared)
    assert {one.digest for one in layout.gc(path).removed} == {one.digest for one in unreferenced}
    assert contents(shared) == before
    digest = inspect(f"oci:{path}:x").manifest.layers[0].digest
    file = path / "blobs" / "sha256" / digest.hex
    file.write_bytes(b"damaged")
    assert not layout.fsck(path).ok
    assert layout.fsck(path, sys).ok
