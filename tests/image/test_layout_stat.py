"""What an image in a layout is made of: as umoci says it, and for images that umoci does not read."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, Store, digest_of

from ocikit.errors import BlobNotFoundError, ImageNotFoundError, LimitExceededError, ManifestError, VerificationError
from ocikit.image import SystemContext, layout

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "evil\x1b]0;title\x07<script>alert(1)</script>\u202e" + "x" * 5000


def with_config(store: Store, history: Any, *layers: dict[str, bytes], **config: Any) -> dict[str, Any]:
    """Add an image with a history; return the descriptor of its manifest."""
    made = [store.layer(files) for files in layers]
    document = {"architecture": "arm64", "os": "linux", "variant": "v8", "history": history}
    document["rootfs"] = {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]}
    members = {"config": store.json(OCI_CONFIG, document | config), "layers": [one for one, _ in made]}
    return store.image(extra=members)


def test_the_same_as_umoci(tmp_path: Path) -> None:
    """Line by line: layer, diffID, time, command, and whether there is a layer at all."""
    path = tmp_path / "l"
    (tmp_path / "file").write_bytes(b"content")
    for command in (
        ["init", "--layout", str(path)],
        ["new", "--image", f"{path}:x"],
        ["insert", "--image", f"{path}:x", str(tmp_path / "file"), "/file"],
        ["config", "--image", f"{path}:x", "--config.env", "A=b"],
        ["insert", "--image", f"{path}:x", "--history.comment", "why", str(tmp_path / "file"), "/other"],
    ):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    told = subprocess.run(["umoci", "stat", "--image", f"{path}:x", "--json"], check=True, capture_output=True)
    theirs = json.loads(told.stdout)["history"]
    found = layout.stat(path, "x")
    ours = json.loads(json.dumps(found.to_dict()))["history"]
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert {key: value for key, value in one.items() if value} == {
            key: value for key, value in other.items() if value
        }
    everything = sum(file.stat().st_size for file in (path / "blobs").rglob("*") if file.is_file())
    assert found.size == everything - layout.gc(path, dry_run=True).bytes_freed
    assert [line.size for line in found] == [line["layer"]["size"] if line["layer"] else 0 for line in theirs]


def test_an_index(tmp_path: Path) -> None:
    """Of an index within another, the image for the platform."""
    store = Store()
    amd, arm = store.image({"amd": b""}), store.image({"arm": b""}, architecture="arm64", variant="v8")
    top = store.index(store.index(amd, platform={"os": "linux", "architecture": "amd64"}), arm)
    path = store.layout(tmp_path / "l", {"x": top})
    found = layout.stat(f"oci:{path}", sys=SystemContext(architecture_choice="arm64", os_choice="linux"))
    assert (found.digest, found.manifest_digest) == (top["digest"], arm["digest"])
    assert found.platform is not None
    assert found.platform.variant == "v8"
    assert "linux/arm64/v8" in str(found)
    with pytest.raises(ImageNotFoundError, match="riscv64"):
        layout.stat(path, "x", SystemContext(architecture_choice="riscv64"))
    with pytest.raises(ImageNotFoundError):
        layout.stat(path, "y")
    for _ in range(9):
        top = store.index(top | {"platform": {"os": "linux", "architecture": "amd64"}})
    with pytest.raises(LimitExceededError, match="nested"):
        layout.stat(store.layout(tmp_path / "m", {"x": top}), sys=SystemContext(architecture_choice="amd64"))


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], [("", True), ("", True)]),
        ([{"created_by": "one"}], [("one", True), ("", True)]),
        (
            [{"created_by": "0", "empty_layer": True}, {"created_by": "1"}, {"created_by": "2"}, {"created_by": "3"}],
            [("0", False), ("1", True), ("2", True), ("3", False)],
        ),
    ],
    ids=["none", "too short", "too long"],
)
def test_histories_that_do_not_fit(tmp_path: Path, history: Any, expected: list[tuple[str, bool]]) -> None:
    """Every layer and every line of the history is there, however many there are of each."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": with_config(store, history, {"a": b""}, {"b": b""})})
    found = layout.stat(path)
    assert [(line.created_by, line.layer is not None) for line in found] == expected
    assert [line.diff_id is not None for line in found] == [has for _, has in expected]
    assert len(str(found).splitlines()) == 2 + len(expected)


def test_an_artifact(tmp_path: Path) -> None:
    """What is no image has layers and no history."""
    store = Store()
    empty = store.blob("application/vnd.oci.empty.v1+json", b"{}")
    top = store.image(extra={"config": empty, "artifactType": "application/x"})
    found = layout.stat(store.layout(tmp_path / "l", {"x": top}))
    assert (found.platform, len(found), found.history[0].diff_id) == (None, 1, None)


def test_hostile_text_is_harmless(tmp_path: Path) -> None:
    """Control characters, markup and endless lines are escaped and cut where they are shown."""
    store = Store()
    image = with_config(store, [{"created_by": HOSTILE, "author": HOSTILE}], {"a": b""}, os=HOSTILE)
    found = layout.stat(store.layout(tmp_path / "l", {"x": image}))
    for shown in (str(found), found._repr_html_()):
        assert not set(shown) & {"\x1b", "\x07", "\u202e"}
        assert len(shown) < 6000
    assert "<script" not in found._repr_html_()
    assert found.history[0].created_by == HOSTILE


def test_documents_are_verified(tmp_path: Path) -> None:
    """What is missing, another, or malformed is an error and never shown."""
    store = Store()
    good = store.image()
    config = json.loads(store.blobs[good["digest"]])["config"]
    rows = [
        (config | {"size": config["size"] + 1}, VerificationError),
        (config | {"digest": digest_of(b"none")}, BlobNotFoundError),
        (store.blob(OCI_CONFIG, b"[]"), ManifestError),
        (config | {"size": 5 << 20}, LimitExceededError),
    ]
    names = {str(number): store.image(extra={"config": row[0]}) for number, row in enumerate(rows)}
    names["manifest"] = good | {"size": good["size"] + 1}
    path = store.layout(tmp_path / "l", names)
    for number, (_, error) in enumerate(rows):
        with pytest.raises(error):
            layout.stat(path, str(number))
    with pytest.raises(VerificationError):
        layout.stat(path, "manifest")
