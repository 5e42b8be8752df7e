"""Deleting images from layouts: what nobody else needs goes, everything else stays."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_INDEX, OCI_MANIFEST, Store, check_layout, digest_of

from ocikit.errors import AmbiguousImageError, ImageNotFoundError, LayoutBusyError, LayoutError
from ocikit.image import SystemContext, delete, parse_image_name

if TYPE_CHECKING:
    from pathlib import Path


def blobs(layout: Path) -> set[str]:
    """Return the digests of all blobs of a layout."""
    return {f"{path.parent.name}:{path.name}" for path in (layout / "blobs").glob("*/*")}


def index(layout: Path) -> list[dict[str, Any]]:
    """Return the entries of a layout."""
    entries: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return entries


def test_shared_blobs_stay(tmp_path: Path) -> None:
    """What another image needs stays, in whatever order the images go; then nothing is left."""
    store = Store()
    common = {"common": b"c"}
    first, second = store.image(common, {"first": b"1"}), store.image(common, {"second": b"2"})
    layout = store.layout(tmp_path / "l", {"first": first, "second": second})
    before = blobs(layout)
    delete(f"oci:{layout}:first")
    assert check_layout(layout) == blobs(layout) < before
    assert store.layer(common)[0]["digest"] in blobs(layout)
    delete(f"oci:{layout}:second")
    assert (index(layout), blobs(layout)) == ([], set())
    check_layout(layout)


def test_the_same_image_under_another_name(tmp_path: Path) -> None:
    """An image that has two names, or a copy without one, loses only the name."""
    store = Store()
    image = store.image()
    layout = store.layout(tmp_path / "l", {"a": image, "b": image, "": image})
    before = blobs(layout)
    delete(f"oci:{layout}:a")
    assert blobs(layout) == before
    delete(f"oci:{layout}:b")
    assert blobs(layout) == before
    delete(f"oci:{layout}")
    assert blobs(layout) == set()


def test_indexes(tmp_path: Path) -> None:
    """An index goes with its instances, nested ones too; instances that are listed otherwise stay."""
    store = Store()
    amd, arm, alone = (
        store.image({"amd": b""}),
        store.image({"arm": b""}, architecture="arm64"),
        store.image({"x": b""}),
    )
    inner = store.index(amd, arm)
    outer = store.index(inner, alone)
    layout = store.layout(tmp_path / "l", {"outer": outer, "arm": arm, "other": store.index(alone)})
    delete(f"oci:{layout}:outer")
    left = check_layout(layout)
    assert left == blobs(layout)
    assert {arm["digest"], alone["digest"]} <= left
    assert not {amd["digest"], inner["digest"], outer["digest"]} & left


def test_references_written_in_other_ways(tmp_path: Path) -> None:
    """JSON has several ways to write a text: what another image needs stays however it says so."""
    store = Store()
    shared = {"shared": b"s"}
    digest = store.layer(shared)[0]["digest"]
    gone, plain = store.image(shared, {"gone": b"g"}), store.image(shared, {"kept": b"k"})
    text = store.blobs[plain["digest"]].decode().replace(digest, "".join(f"\\u{ord(one):04x}" for one in digest))
    escaped = store.blob(OCI_MANIFEST, text.encode())
    layout = store.layout(tmp_path / "l", {"gone": gone, "kept": escaped})
    delete(f"oci:{layout}:gone")
    assert digest in blobs(layout)
    assert check_layout(layout) <= blobs(layout)

    embedded = store.index({**plain, "data": base64.b64encode(store.blobs[plain["digest"]]).decode()})
    text = store.blobs[embedded["digest"]].decode()
    text = text.replace('"data"', '"\\u0064ata"').replace("/", "\\/")
    slashed = store.blob(OCI_INDEX, text.encode())
    layout = store.layout(tmp_path / "m", {"gone": gone, "kept": slashed})
    (layout / "blobs" / plain["digest"].replace(":", "/")).unlink()
    delete(f"oci:{layout}:gone")
    assert digest in blobs(layout)


def test_positions_and_ambiguity(tmp_path: Path) -> None:
    """An image is deleted by its position; what fits several images, or none, deletes nothing."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    layout = store.layout(tmp_path / "l", {"same": one, "": two})
    text = (
        (layout / "index.json").read_text().replace('"manifests": [', '"manifests": [' + json.dumps(index(layout)[0]))
    )
    (layout / "index.json").write_text(text.replace("}{", "},{").replace(one["digest"], two["digest"], 1))
    before = (layout / "index.json").read_bytes()
    for name, error in (("same", AmbiguousImageError), ("none", ImageNotFoundError), ("@7", ImageNotFoundError)):
        with pytest.raises(error):
            delete(f"oci:{layout}:{name}")
    with pytest.raises(AmbiguousImageError):
        delete(f"oci:{layout}")
    assert (layout / "index.json").read_bytes() == before
    delete(f"oci:{layout}:@0")
    assert len(index(layout)) == 2
    assert two["digest"] in blobs(layout)


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Blobs that the image does not consist of stay, and so do other files and fields of index.json."""
    store = Store()
    image = store.image()
    store.blob("x", b"of nobody")
    layout = store.layout(tmp_path / "l", {"x": image})
    document = json.loads((layout / "index.json").read_bytes()) | {"vendor": {"kept": True}}
    (layout / "index.json").write_text(json.dumps(document))
    (layout / "blobs" / "sha256" / "README").write_bytes(b"")
    delete(f"oci:{layout}:x")
    assert json.loads((layout / "index.json").read_bytes()) == document | {"manifests": []}
    assert blobs(layout) == {digest_of(b"of nobody"), "sha256:README"}


def test_doubts_keep_blobs(tmp_path: Path) -> None:
    """What anything that is left might refer to stays: unknown documents, subjects, embedded and damaged manifests."""
    store = Store()
    kept = [store.image({str(number): b""}) for number in range(5)]
    unknown = store.json("application/vnd.example.future+json", {"things": [{"where": {"id": kept[0]["digest"]}}]})
    artifact = store.image({"artifact": b""}, extra={"subject": kept[1]})
    embedded = store.blobs[kept[2]["digest"]]
    inline = {
        "mediaType": OCI_INDEX,
        "digest": digest_of(b"no"),
        "size": 2,
        "data": base64.b64encode(embedded).decode(),
    }
    damaged = store.index(kept[3])
    ambiguous = store.blob(OCI_INDEX, b'{"manifests":[],"manifests":["%b"]}' % kept[4]["digest"].encode())
    everything = store.index(*kept)
    names = {"e": everything, "u": unknown, "a": artifact, "i": inline, "d": damaged, "2": ambiguous}
    layout = store.layout(tmp_path / "l", names)
    path = layout / "blobs" / "sha256" / damaged["digest"].removeprefix("sha256:")
    path.write_bytes(path.read_bytes() + b" ")
    before = blobs(layout)
    delete(f"oci:{layout}:e")
    manifest = {kept[2]["digest"]}  # itself inside index.json, so that only what it refers to is needed
    assert before - blobs(layout) == {everything["digest"]} | manifest


@pytest.mark.parametrize("as_index", [False, True])
def test_what_a_link_refers_to_stays(tmp_path: Path, *, as_index: bool) -> None:
    """Where another image's manifest or index is a link, which others follow, the entry goes and every blob stays."""
    store = Store()
    shared = {"shared": b"s"}
    gone, kept = store.image(shared, {"gone": b"g"}), store.image(shared, {"kept": b"k"})
    kept = store.index(kept) if as_index else kept
    about = store.image({"about": b""}, extra={"subject": gone})
    layout = store.layout(tmp_path / "l", {"gone": gone, "kept": kept, "": about})
    file = layout / "blobs" / kept["digest"].replace(":", "/")
    file.rename(tmp_path / "target")
    file.symlink_to(tmp_path / "target")
    before = blobs(layout)
    delete(f"oci:{layout}:gone")
    assert [entry["digest"] for entry in index(layout)] == [kept["digest"], about["digest"]]
    assert blobs(layout) == before
    delete(f"oci:{layout}:kept")
    assert (tmp_path / "target").exists()
    assert not file.is_symlink()


def test_a_damaged_image_can_be_deleted(tmp_path: Path) -> None:
    """An image whose manifest is not what it should be goes, alone: what it says it consists of may be a lie."""
    store = Store()
    victim = store.blob("x", b"of nobody, yet")
    good = store.image()
    layout = store.layout(tmp_path / "l", {"x": good})
    path = layout / "blobs" / "sha256" / good["digest"].removeprefix("sha256:")
    path.write_bytes(json.dumps({"schemaVersion": 2, "config": victim, "layers": []}).encode())
    before = blobs(layout)
    delete(f"oci:{layout}:x")
    assert index(layout) == []
    assert before - blobs(layout) == {good["digest"]}


def test_digests_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """An entry whose digest is a path is refused, and nothing is removed."""
    (tmp_path / "precious").write_bytes(b"")
    store = Store()
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    for digest in ("sha256:../../../precious", "..:../precious", "sha256:/etc/passwd"):
        entry = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 0}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        with pytest.raises(LayoutError, match="digest"):
            delete(f"oci:{layout}")
    assert (tmp_path / "precious").exists()


def test_large_hostile_documents_cost_little(tmp_path: Path) -> None:
    """Text without structure is gone through once, and documents over 4 MiB not at all."""
    store = Store()
    layout = store.layout(
        tmp_path / "l",
        {
            "x": store.image(),
            "a": store.blob(OCI_MANIFEST, b'{"' + b"a" * 4_000_000),
            "b": store.blob(OCI_MANIFEST, b"{" + b'"data" ' * 500_000),
            "c": store.blob(OCI_MANIFEST, b"{" + b" " * (5 << 20)),
        },
    )
    delete(f"oci:{layout}:x")
    assert len(blobs(layout)) == 3


def test_shared_directories_are_never_touched(tmp_path: Path) -> None:
    """With its blobs elsewhere a layout loses the entry and nothing else."""
    store = Store()
    layout = store.layout(tmp_path / "l", {"x": store.image()})
    (layout / "blobs").rename(tmp_path / "shared")
    (layout / "blobs").mkdir()
    before = {path.name for path in (tmp_path / "shared").glob("*/*")}
    delete(f"oci:{layout}:x", SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared")))
    assert index(layout) == []
    assert {path.name for path in (tmp_path / "shared").glob("*/*")} == before


def test_an_open_image_is_not_pulled_away(tmp_path: Path) -> None:
    """Deleting waits until sources and destinations are closed, and refuses to wait for its own thread."""
    store = Store()
    layout = store.layout(tmp_path / "l", {"x": store.image(), "y": store.image({"y": b""})})
    for name in ("x", "y"):
        deleting = threading.Thread(target=delete, args=(f"oci:{layout}:{name}",))
        reference = parse_image_name(f"oci:{layout}:{name}")
        with reference.new_image_source() if name == "x" else reference.new_image_destination():
            with pytest.raises(LayoutBusyError):
                delete(reference)
            deleting.start()
            deleting.join(0.1)
            assert deleting.is_alive()
            check_layout(layout)
        deleting.join()
    assert (index(layout), blobs(layout)) == ([], set())


def test_layouts_of_umoci(tmp_path: Path) -> None:
    """What umoci builds is deleted to the last blob, and umoci goes on with what is left."""
    layout = tmp_path / "l"
    (tmp_path / "file").write_bytes(b"content")
    for command in (
        ["init", "--layout", str(layout)],
        ["new", "--image", f"{layout}:one"],
        ["insert", "--image", f"{layout}:one", str(tmp_path / "file"), "/file"],
        ["tag", "--image", f"{layout}:one", "two"],
        ["insert", "--image", f"{layout}:two", str(tmp_path / "file"), "/other"],
        ["gc", "--layout", str(layout)],
    ):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    delete(f"oci:{layout}:one")
    assert check_layout(layout) == blobs(layout)
    subprocess.run(["umoci", "unpack", "--rootless", "--image", f"{layout}:two", str(tmp_path / "b")], check=True)
    assert (tmp_path / "b" / "rootfs" / "other").read_bytes() == b"content"
    delete(f"oci:{layout}:two")
    assert blobs(layout) == set()
