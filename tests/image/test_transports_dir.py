"""Images in directories: the files skopeo knows, old images replaced without a moment in which none is there."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from builders import Store, digest_of, skopeo_digest
from moving import get, move, put

from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    LayoutBusyError,
    LayoutError,
    LimitExceededError,
)
from ocikit.image import BlobInfo, parse_image_name
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path


def names(path: Path) -> set[str]:
    """Return the names of the files in a directory."""
    return {found.name for found in path.iterdir()}


def hexes(store: Store) -> set[str]:
    """Return the digests of all blobs, without their algorithm."""
    return {digest.partition(":")[2] for digest in store.blobs}


def fill(path: Path, store: Store, top: dict[str, str]) -> None:
    """Write an image into a directory, with a signature."""
    with parse_image_name(f"dir:{path}").new_image_destination() as destination:
        for digest, data in store.blobs.items():
            if digest != top["digest"]:
                put(destination, data, digest=Digest(digest), size=len(data))
        destination.put_manifest(store.blobs[top["digest"]])
        destination.put_signatures((b"signature of " + top["digest"].encode(),))
        destination.commit()


def test_what_skopeo_wrote_and_what_it_reads(tmp_path: Path) -> None:
    """An index with its instances, in the files of skopeo: ours and theirs hold the same."""
    store = Store()
    top = store.index(store.image({"a": b""}), store.image({"b": b""}, architecture="arm64"))
    store.layout(tmp_path / "l", {"x": top})
    subprocess.run(
        ["skopeo", "copy", "-q", "--all", f"oci:{tmp_path}/l:x", f"dir:{tmp_path}/theirs"], check=True, timeout=60
    )
    assert (
        move(f"dir:{tmp_path}/theirs", f"dir:{tmp_path}/ours") == top["digest"] == skopeo_digest(f"dir:{tmp_path}/ours")
    )
    assert names(tmp_path / "ours") == names(tmp_path / "theirs")
    for name in names(tmp_path / "ours"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    subprocess.run(
        ["skopeo", "copy", "-q", "--all", f"dir:{tmp_path}/ours", f"oci:{tmp_path}/back:x"], check=True, timeout=60
    )
    assert skopeo_digest(f"oci:{tmp_path}/back:x") == top["digest"]


def test_other_algorithms(tmp_path: Path) -> None:
    """Digests that are not sha256 carry the name of their algorithm, and the version says so."""
    with parse_image_name(f"dir:{tmp_path}/d").new_image_destination() as destination:
        digest = Digest(digest_of(b"content", "sha512"))
        put(destination, b"content", digest=digest)
        instance = Digest(digest_of(b"{}", "sha512"))
        destination.put_manifest(b"{}", instance)
        destination.put_manifest(b"{}")
        destination.commit()
    expected = {"version", "manifest.json", f"sha512-{digest.hex}", f"sha512-{instance.hex}.manifest.json"}
    assert names(tmp_path / "d") == expected
    assert (tmp_path / "d" / "version").read_text() == "Directory Transport Version: 1.2\n"
    with parse_image_name(f"dir:{tmp_path}/d").new_image_source() as source:
        assert get(source, digest) == b"content"
        assert source.get_manifest(instance) == (b"{}", "")


def test_signatures(tmp_path: Path) -> None:
    """Signatures of the image and of its instances come back as they were put, in their order."""
    instance = Digest(digest_of(b"{}"))
    with parse_image_name(f"dir:{tmp_path}/d").new_image_destination() as destination:
        assert destination.supports_signatures
        destination.put_manifest(b"{}", instance)
        destination.put_manifest(b"{}")
        destination.put_signatures((b"\x89one", b"\0two"))
        destination.put_signatures((b"three",), instance)
        with pytest.raises(LimitExceededError):
            destination.put_signatures((b"",) * 129)
        destination.commit()
    assert {name for name in names(tmp_path / "d") if "signature" in name} == {
        "signature-1",
        "signature-2",
        f"{instance.hex}.signature-1",
    }
    with parse_image_name(f"dir:{tmp_path}/d").new_image_source() as source:
        assert source.get_signatures() == (b"\x89one", b"\0two")
        assert source.get_signatures(instance) == (b"three",)
        for number in range(3, 130):
            (tmp_path / "d" / f"signature-{number}").write_bytes(b"")
        with pytest.raises(LimitExceededError, match="signatures"):
            source.get_signatures()


def test_an_image_takes_the_place_of_another(tmp_path: Path) -> None:
    """All files of the old image go when the new one is there; other files stay."""
    old, new = Store(), Store()
    fill(tmp_path / "d", old, old.image({"old": b""}, {"old2": b""}))
    (tmp_path / "d" / "notes.txt").write_bytes(b"mine")
    (tmp_path / "d" / "directory").mkdir()
    top = new.image({"new": b""})
    fill(tmp_path / "d", new, top)
    blobs = hexes(new) - {top["digest"].partition(":")[2]}
    assert names(tmp_path / "d") == blobs | {"version", "manifest.json", "signature-1", "notes.txt", "directory"}
    with parse_image_name(f"dir:{tmp_path}/d").new_image_source() as source:
        assert source.get_signatures() == (b"signature of " + top["digest"].encode(),)


def test_until_commit_the_old_image_is_there(tmp_path: Path) -> None:
    """Nothing of the old image changes before commit, and a copy that is given up leaves no trace."""
    store, other = Store(), Store()
    top = store.image({"a": b""})
    fill(tmp_path / "d", store, top)
    before = {name: (tmp_path / "d" / name).read_bytes() for name in names(tmp_path / "d")}
    with parse_image_name(f"dir:{tmp_path}/d").new_image_destination() as destination:
        for data in (*store.blobs.values(), b"new"):
            put(destination, data)
        destination.put_manifest(other.blobs[other.image()["digest"]])
        with pytest.raises(DigestMismatchError):
            put(destination, b"x", digest=Digest(digest_of(b"y")))
        with pytest.raises(DigestMismatchError):
            destination.put_manifest(b"x", Digest(digest_of(b"y")))
        assert (tmp_path / "d" / "manifest.json").read_bytes() == before["manifest.json"]
    with (
        pytest.raises(LayoutError, match="no manifest"),
        parse_image_name(f"dir:{tmp_path}/d").new_image_destination() as d,
    ):
        d.commit()
    assert {name: (tmp_path / "d" / name).read_bytes() for name in names(tmp_path / "d")} == before
    with parse_image_name(f"dir:{tmp_path}/new").new_image_destination() as destination:
        put(destination, b"x")
    assert not (tmp_path / "new").exists()


def test_blobs_are_reused(tmp_path: Path) -> None:
    """A blob that the old image has already is kept, when it has the right size."""
    store = Store()
    fill(tmp_path / "d", store, store.image())
    kept, short = (Digest(store.blob("x", data)["digest"]) for data in (b"kept", b"short"))
    (tmp_path / "d" / kept.hex).write_bytes(b"kept")
    (tmp_path / "d" / short.hex).write_bytes(b"shor")
    with parse_image_name(f"dir:{tmp_path}/d").new_image_destination() as destination:
        assert destination.try_reusing_blob(BlobInfo(digest=kept)) == BlobInfo(digest=kept, size=4)
        assert destination.try_reusing_blob(BlobInfo(digest=short, size=5)) is None
        assert destination.try_reusing_blob(BlobInfo(digest=Digest(digest_of(b"none")))) is None
        assert destination.try_reusing_blob(BlobInfo()) is None
        destination.put_manifest(b"{}")
        destination.commit()
    assert names(tmp_path / "d") == {"version", "manifest.json", kept.hex}


def test_directories_of_others_are_not_touched(tmp_path: Path) -> None:
    """A directory that is neither empty nor holds an image is refused, and so is an unknown version."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(LayoutError, match="not empty and holds no image"):
        parse_image_name(f"dir:{tmp_path}").new_image_destination()
    assert names(tmp_path) == {"file"}
    (tmp_path / "version").write_bytes(b"Directory Transport Version: 9.0\n")
    for open_ in (
        parse_image_name(f"dir:{tmp_path}").new_image_source,
        parse_image_name(f"dir:{tmp_path}").new_image_destination,
    ):
        with pytest.raises(LayoutError, match=r"found b'Directory Transport Version: 9\.0"):
            open_()
        with pytest.raises(LayoutError, match="expected a directory"):
            getattr(parse_image_name(f"dir:{tmp_path}/file"), open_.__name__)()


def test_what_is_missing(tmp_path: Path) -> None:
    """A missing directory, manifest or blob is an error that names it; a missing version is not one."""
    with pytest.raises(FileNotFoundError):
        parse_image_name(f"dir:{tmp_path}/missing").new_image_source()
    (tmp_path / "d").mkdir()
    with parse_image_name(f"dir:{tmp_path}/d").new_image_source() as source:
        with pytest.raises(BlobNotFoundError, match=r"manifest\.json"):
            source.get_manifest()
        with pytest.raises(BlobNotFoundError, match=digest_of(b"x").partition(":")[2]):
            get(source, digest_of(b"x"))
        with pytest.raises(LayoutError, match="none was given"):
            source.get_blob(BlobInfo())


def test_links_do_not_lead_anywhere(tmp_path: Path) -> None:
    """A link in the place of a blob is refused, and one of a manifest or a signature that leads to something else."""
    (tmp_path / "secret").write_bytes(b"{}")
    (tmp_path / "d").mkdir()
    for name in ("manifest.json", digest_of(b"{}").partition(":")[2], "signature-1"):
        (tmp_path / "d" / name).symlink_to(tmp_path / "secret")
    with parse_image_name(f"dir:{tmp_path}/d").new_image_source() as source:
        for read in (source.get_manifest, source.get_signatures, lambda: get(source, digest_of(b"{}"))):
            with pytest.raises(LayoutError, match=r"expected a regular file|does not lead to what should be there"):
                read()


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who writes waits for those who read, and a thread never for itself."""
    store = Store()
    top = store.image()
    fill(tmp_path / "d", store, top)
    reference = parse_image_name(f"dir:{tmp_path}/d")
    new = Store()
    writing = threading.Thread(target=fill, args=(tmp_path / "d", new, new.image({"new": b""})))
    with reference.new_image_source() as source:
        with pytest.raises(LayoutBusyError):
            reference.new_image_destination()
        writing.start()
        writing.join(0.1)
        assert source.get_manifest()[0] == store.blobs[top["digest"]]
    writing.join()
    with reference.new_image_destination(), pytest.raises(LayoutBusyError):
        reference.new_image_source()
    assert json.loads((tmp_path / "d" / "manifest.json").read_bytes())["layers"] != []
    assert skopeo_digest(f"dir:{tmp_path}/d") != top["digest"]


def test_leftovers_of_a_crash_go(tmp_path: Path) -> None:
    """Temporary files of a writer that was killed go with the next one; a directory that it began is finished."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".ocikit-tmp-new-00").write_bytes(b"half")
    store = Store()
    top = store.image()
    fill(tmp_path / "d", store, top)
    assert not [name for name in names(tmp_path / "d") if "tmp" in name]
    assert skopeo_digest(f"dir:{tmp_path}/d") == top["digest"]
