"""All images of a layout brought to another: once, whole, in order, resumed, and never partly in silence."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_MANIFEST, Store, check_layout, digest_of, manifest_at, names_in, skopeo_digest

from ocikit.errors import (
    AmbiguousImageError,
    DigestMismatchError,
    ImageNotFoundError,
    InvalidReferenceError,
    LayoutError,
    OCIKitError,
    PolicyRequirementError,
)
from ocikit.image import (
    BlobInfo,
    FoundImage,
    Policy,
    SyncedImage,
    SyncOutcome,
    SyncReport,
    copy,
    parse_image_name,
    referrers,
    sync,
)

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ALL = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)
NAMES = ("app/web:1", "app/web:2", "library/base", "tool:latest")


def run(*command: object) -> None:
    """Run a program; it succeeds."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def layout(path: Path, names: tuple[str, ...] = NAMES, *, new: str = "") -> dict[str, Any]:
    """Make a layout with images of these names, which share a layer; return their descriptors."""
    store = Store()
    images = {
        name: store.image({"shared": b"s" * 3000}, {"own": f"{name}{new}".encode()}, platform=False) for name in names
    }
    store.layout(path, images)
    return images


def outcomes(report: SyncReport) -> list[str]:
    """Return what became of each image, in order."""
    return [str(one.outcome) for one in report.images]


def digests(path: Path) -> dict[str, str]:
    """Return the digests of the named images in a layout, all of them whole."""
    check_layout(path)
    return {name: manifest_at(path, name) for name in names_in(path) if name}


def damage(path: Path, descriptor: dict[str, Any]) -> None:
    """Turn one bit in the last layer of an image."""
    manifest = json.loads((path / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())
    blob = path / "blobs" / manifest["layers"][-1]["digest"].replace(":", "/")
    data = blob.read_bytes()
    blob.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_as_a_loop_of_skopeo_copies(tmp_path: Path) -> None:
    """A layout that skopeo and umoci made becomes what a loop of skopeo copies makes of it, and skopeo reads it."""
    first = tmp_path / "first"
    layout(tmp_path / "made")
    run("umoci", "init", "--layout", first)
    run("umoci", "new", "--image", f"{first}:empty")
    for name in NAMES[:3]:
        run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{tmp_path}/made:{name}", f"oci:{first}:{name}")
    run("umoci", "tag", "--image", f"{first}:{NAMES[0]}", "again")
    report = sync(ANY, source=f"oci:{first}", dest=f"oci:{tmp_path}/ours")
    assert outcomes(report) == ["copied"] * 5
    for name in names_in(first):
        run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{first}:{name}", f"oci:{tmp_path}/peer:{name}")
    assert digests(tmp_path / "ours") == digests(tmp_path / "peer")
    assert names_in(tmp_path / "ours") == names_in(first)
    for one in report.images:
        assert skopeo_digest(str(one.destination)) == str(one.digest)


def test_again_does_nothing(tmp_path: Path) -> None:
    """What is there is left as it is, to the file; what is new, or has another digest, is copied."""
    layout(tmp_path / "in")
    first = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out")
    assert first.bytes_copied > first.bytes_reused > 0
    index = (tmp_path / "out" / "index.json").stat()
    again = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out")
    assert outcomes(again) == ["unchanged"] * 4
    assert [one.digest for one in again.images] == [one.digest for one in first.images]
    assert again.bytes_copied == 0
    assert (tmp_path / "out" / "index.json").stat() == index
    newer = layout(tmp_path / "newer", (*NAMES[1:], "new"), new="!")
    report = sync(ANY, source=[tmp_path / "newer", f"oci:{tmp_path}/in:{NAMES[0]}"], dest=tmp_path / "out")
    assert outcomes(report) == ["copied"] * 4 + ["unchanged"]
    assert digests(tmp_path / "out") == {
        NAMES[0]: manifest_at(tmp_path / "in", NAMES[0]),
        **{name: one["digest"] for name, one in newer.items()},
    }


@pytest.mark.parametrize("into", ["one", "oci", "oci-archive", "dir"])
def test_a_rehearsal(into: Any, tmp_path: Path) -> None:
    """A run that does nothing writes nothing, and foretells the one that does: outcomes, destinations, bytes."""
    layout(tmp_path / "in")
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "to" / "out", "into": into}
    for expected in ("copied", "unchanged"):
        before = sorted(tmp_path.rglob("*"))
        foretold = sync(ANY, **arguments, dry_run=True)
        assert sorted(tmp_path.rglob("*")) == before
        done = sync(ANY, **arguments)
        for report in (foretold, done):
            assert outcomes(report) == [expected] * 4
        for one, other in zip(foretold.images, done.images, strict=True):
            assert (one.source, one.destination) == (other.source, other.destination)
            assert (one.bytes_copied, one.bytes_reused) == (other.bytes_copied, other.bytes_reused)
            assert one.plan is not None
            assert one.plan.destination == one.destination
            assert other.result is not None
    assert foretold.dry_run
    assert "nothing was done" in str(foretold)


def test_what_was_lost_is_copied_again(tmp_path: Path) -> None:
    """A manifest that is there is not believed in when a blob or an instance of it is missing."""
    store = Store()
    two = [store.image({"n": b"%d" % number}, architecture=name) for number, name in enumerate(("amd64", "arm64"))]
    store.layout(tmp_path / "in", {"both": store.index(*two), "one": store.image({"o": b"o"}, platform=False)})
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out", "options": ALL}
    sync(ANY, **arguments)
    assert outcomes(sync(ANY, **arguments)) == ["unchanged"] * 2
    layer = json.loads(store.blobs[two[1]["digest"]])["layers"][0]["digest"]
    for lost in (layer, two[1]["digest"]):
        (tmp_path / "out" / "blobs" / lost.replace(":", "/")).unlink()
        assert outcomes(sync(ANY, **arguments, dry_run=True)) == ["copied", "unchanged"]
        assert outcomes(sync(ANY, **arguments)) == ["copied", "unchanged"]
        check_layout(tmp_path / "out")
    assert outcomes(sync(ANY, **arguments)) == ["unchanged"] * 2


def test_new_signatures_are_news(tmp_path: Path) -> None:
    """An image that was signed since the last time is copied, though its manifest is the same."""
    store = Store()
    top = store.image({"a": b"a"}, platform=False)
    source = store.directory(tmp_path / "in" / "app", top)
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out", "into": "dir"}
    sync(ANY, **arguments)
    (source / "signature-1").write_bytes(b"\x89signature")
    sync(ANY, **arguments)
    assert (tmp_path / "out" / "app" / "signature-1").read_bytes() == b"\x89signature"
    (source / "signature-1").unlink()
    sync(ANY, **arguments)
    assert not (tmp_path / "out" / "app" / "signature-1").exists()


@pytest.mark.parametrize("into", ["one", "oci", "oci-archive", "dir"])
def test_new_referrers_are_news(into: Any, tmp_path: Path) -> None:
    """Asked for, what refers to an image is brought along, also when the image is there; names of lists of it stay."""
    store = Store()
    top = store.image({"a": b"a"}, platform=False)
    store.layout(tmp_path / "in", {"app:1": top})
    options = copy.CopyOptions(referrers=True)
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out", "into": into, "options": options}
    assert outcomes(sync(ANY, **arguments)) == ["copied"]
    assert outcomes(sync(ANY, **arguments)) == ["unchanged"]
    with parse_image_name(f"oci:{tmp_path}/in:app:1").new_image_destination() as writing:
        writing.put_blob(io.BytesIO(b"{}"), BlobInfo())
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [], "subject": top}
        writing.put_referrer(json.dumps(document).encode())
        writing.commit()
    assert outcomes(sync(ANY, **arguments, dry_run=True)) == ["copied"]
    report = sync(ANY, **arguments)
    assert outcomes(report) == ["copied"]
    (one,) = report.images
    assert one.destination is not None
    assert len(referrers(one.destination)) == 1
    for last in (sync(ANY, **arguments, dry_run=True), sync(ANY, **arguments, delete_extra=True)):
        assert outcomes(last) == ["unchanged"]
    assert len(referrers(one.destination)) == 1


def test_lists_of_referrers_are_no_extras(tmp_path: Path) -> None:
    """What other tools call after the digest that it is about is not deleted for its name."""
    images = layout(tmp_path / "in")
    fallback = images[NAMES[0]]["digest"].replace(":", "-")
    layout(tmp_path / "out", ("gone", fallback))
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", delete_extra=True)
    assert [str(one.destination) for one in report.deleted] == [f"oci:{tmp_path}/out:gone"]
    assert fallback in names_in(tmp_path / "out")


@pytest.mark.parametrize("several", [1, 3])
def test_errors(several: int, tmp_path: Path) -> None:
    """An image that fails harms no other: its error is raised, or stands in the report beside what went well."""
    images = layout(tmp_path / "in")
    damage(tmp_path / "in", images[NAMES[1]])
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out", "max_images": several}
    with pytest.raises(DigestMismatchError) as caught:
        sync(ANY, **arguments)
    assert any(f"while synchronising oci:{tmp_path}/in:{NAMES[1]}" in note for note in caught.value.__notes__)
    report = sync(ANY, **arguments, on_error="continue")
    assert [one.outcome is SyncOutcome.FAILED for one in report.images] == [False, True, False, False]
    (failed,) = report.failed
    assert isinstance(failed.error, DigestMismatchError)
    assert not report.ok
    assert "DigestMismatchError" in str(report)
    assert digests(tmp_path / "out") == {name: images[name]["digest"] for name in NAMES if name != NAMES[1]}


def test_the_policy_is_asked_for_each(tmp_path: Path) -> None:
    """What the policy does not allow fails and is not there."""
    layout(tmp_path / "in")
    scopes = {"oci": {str(tmp_path / "in"): [{"type": "reject"}]}}
    policy = Policy.from_bytes(
        json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": scopes}).encode()
    )
    report = sync(policy, source=tmp_path / "in", dest=tmp_path / "out", on_error="continue")
    assert {type(one.error) for one in report.failed} == {PolicyRequirementError}
    assert len(report.failed) == 4
    assert names_in(tmp_path / "out") == []


def test_several_at_once(tmp_path: Path) -> None:
    """Several images at a time give the same report in the same order, and share one bound on blobs."""

    class Counting(threading.Semaphore):
        most = now = 0

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - its own
            taken = super().acquire(blocking, timeout)
            self.now += taken
            self.most = max(self.most, self.now)
            return taken

        def release(self, n: int = 1) -> None:
            self.now -= n
            super().release(n)

    layout(tmp_path / "in", tuple(f"app:{number}" for number in range(12)))
    bound = Counting(1)
    options = copy.CopyOptions(concurrent_blob_copies_semaphore=bound)
    told: list[SyncedImage] = []
    report = sync(
        ANY, source=tmp_path / "in", dest=tmp_path / "out", max_images=4, options=options, progress=told.append
    )
    assert [str(one.source) for one in report.images] == [f"oci:{tmp_path}/in:app:{number}" for number in range(12)]
    assert outcomes(report) == ["copied"] * 12
    assert told == list(report.images)
    assert bound.most == 1
    assert digests(tmp_path / "out") == digests(tmp_path / "in")


@pytest.mark.parametrize("several", [1, 3])
def test_whoever_is_told_may_end_it(several: int, tmp_path: Path) -> None:
    """What a callable raises ends everything, though errors of images would be collected, and arrives unchanged."""
    layout(tmp_path / "in")
    mine = LayoutError("mine")

    def refuse(_: object) -> None:
        raise mine

    arguments: dict[str, Any] = {"source": tmp_path / "in", "max_images": several, "on_error": "continue"}
    with pytest.raises(LayoutError) as caught:
        sync(ANY, **arguments, dest=tmp_path / "a", options=copy.CopyOptions(progress=refuse))
    assert caught.value is mine
    assert names_in(tmp_path / "a") == []
    with pytest.raises(LayoutError) as caught:
        sync(ANY, **arguments, dest=tmp_path / "b", progress=refuse)
    assert caught.value is mine
    check_layout(tmp_path / "b")


def test_collisions_are_refused(tmp_path: Path) -> None:
    """Two images that would replace each other are an error before the first is copied; one named twice is not."""
    for name in ("a", "b"):
        layout(tmp_path / name, ("latest",), new=name)
    source = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(AmbiguousImageError, match=r"a:latest and .*b:latest would both become .*scoped=True"):
        sync(ANY, source=source, dest=tmp_path / "out", on_error="continue")
    with pytest.raises(AmbiguousImageError, match="would both become"):
        sync(ANY, source={f"oci:{tmp_path}/a": ["x/y", "x-y"]}, dest=tmp_path / "out", into="oci")
    assert not (tmp_path / "out").exists()
    report = sync(ANY, source=[*source, tmp_path / "a"], dest=tmp_path / "out", scoped=True)
    assert [str(one.destination) for one in report.images] == [f"oci:{tmp_path}/out:{name}/latest" for name in "ab"]


def test_names(tmp_path: Path) -> None:
    """Images are taken, left and renamed by their names; what is left out is in the report, with the reason."""
    layout(tmp_path / "in")

    def second(found: FoundImage) -> str | None:
        return found.name.replace("/", "-") if found.name is not None and "tool" not in found.name else None

    report = sync(
        ANY,
        source=tmp_path / "in",
        dest=tmp_path / "out",
        exclude=lambda found: found.name == "app/web:1",
        rename=second,
        prefix="mirror/",
    )
    assert names_in(tmp_path / "out") == ["mirror/app-web:2", "mirror/library-base"]
    assert [(str(one.outcome), one.reason) for one in report.images] == [
        ("skipped", "excluded"),
        ("copied", ""),
        ("copied", ""),
        ("skipped", "rename gives it no name"),
    ]
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "some", include=("app/*", "tool:?*"), exclude="*:1")
    assert names_in(tmp_path / "some") == ["app/web:2", "tool:latest"]
    assert [one.reason for one in report.skipped] == ["excluded", "not included"]
    mapping = {f"oci:{tmp_path}/in:app/web:1": ["1", "stable"], f"oci:{tmp_path}/in:tool:latest": None}
    report = sync(ANY, source=mapping, dest=tmp_path / "named", prefix="p/")
    assert names_in(tmp_path / "named") == ["1", "stable", "p/tool:latest"]
    with pytest.raises(AmbiguousImageError, match="found 4 images and 1 names"):
        sync(ANY, source={str(tmp_path / "in"): "x"}, dest=tmp_path / "no")


@pytest.mark.parametrize("name", ["../x", "a b", "a//b", "", "-", "a:"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    """A name that no image in a layout can have is refused before anything is copied, or fails this image alone."""
    layout(tmp_path / "in")
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out"}

    def odd(found: FoundImage) -> str | None:
        return name if found.name == "library/base" else found.name

    with pytest.raises(InvalidReferenceError, match="rename="):
        sync(ANY, **arguments, rename=odd)
    assert not (tmp_path / "out").exists()
    assert outcomes(sync(ANY, **arguments, rename=odd, on_error="continue")) == ["copied", "copied", "failed", "copied"]


# What is there too much


def test_extras_are_deleted(tmp_path: Path) -> None:
    """What the source lacks goes when asked for, and what lost its name; what was left out or is nameless stays."""
    layout(tmp_path / "old", ("gone:1", *NAMES, "nameless"))
    index = json.loads((tmp_path / "old" / "index.json").read_bytes())
    del index["manifests"][-1]["annotations"]
    (tmp_path / "old" / "index.json").write_text(json.dumps(index))
    new = layout(tmp_path / "in", new="!")
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "old", "exclude": "tool:*"}
    assert not sync(ANY, **arguments, dry_run=True).deleted
    foretold = sync(ANY, **arguments, delete_extra=True, dry_run=True)
    assert [str(one.destination) for one in foretold.deleted] == [f"oci:{tmp_path}/old:gone:1"]
    assert "gone:1" in names_in(tmp_path / "old")
    report = sync(ANY, **arguments, delete_extra=True)
    assert outcomes(report) == ["copied"] * 3 + ["skipped"] + ["deleted"] * 4
    assert report.deleted[0].reason == "the source has no such image"
    assert all("which was replaced" in one.reason for one in report.deleted[1:])
    assert sorted(names_in(tmp_path / "old")) == ["", *sorted(NAMES)]
    found = digests(tmp_path / "old")
    assert {name: found[name] for name in NAMES[:3]} == {name: new[name]["digest"] for name in NAMES[:3]}
    assert found["tool:latest"] != new["tool:latest"]["digest"]


@pytest.mark.parametrize("into", ["oci", "oci-archive", "dir"])
def test_extra_places_are_deleted(into: Any, tmp_path: Path) -> None:
    """In a directory with a place for each image, places that hold only what the source lacks go, and nothing else."""
    layout(tmp_path / "old", ("gone:1", *NAMES))
    layout(tmp_path / "in")
    out = tmp_path / "out"
    sync(ANY, source=tmp_path / "old", dest=out, into=into)
    gone = next(path for path in out.iterdir() if path.name.startswith("gone-1"))
    (out / "notes.txt").write_text("mine")
    (out / "directory").mkdir()
    (out / "link").symlink_to(gone.name)
    (out / ".ocikit-tmp-gone-0").mkdir()
    before = {path.name for path in out.iterdir()}
    report = sync(ANY, source=tmp_path / "in", dest=out, into=into, delete_extra=True)
    assert outcomes(report) == ["unchanged"] * 4 + ["deleted"]
    assert {path.name for path in out.iterdir()} == before - {gone.name, ".ocikit-tmp-gone-0"}


def test_extras_stay_when_something_failed(tmp_path: Path) -> None:
    """Nothing is deleted unless everything else went well, and the report says what stays."""
    images = layout(tmp_path / "in")
    layout(tmp_path / "out", ("extra",))
    damage(tmp_path / "in", images[NAMES[0]])
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", delete_extra=True, on_error="continue")
    assert outcomes(report) == ["failed", "copied", "copied", "copied", "skipped"]
    assert report.skipped[0].reason == "not deleted, as something else failed"
    assert "extra" in names_in(tmp_path / "out")


def test_what_must_not_be_deleted(tmp_path: Path) -> None:
    """A source without images, and one that is the destination, would empty it: that is refused."""
    layout(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageNotFoundError, match="all images at the destination would go"):
        sync(ANY, source=tmp_path / "empty", dest=tmp_path / "out", delete_extra=True)
    for delete_extra in (True, False):
        with pytest.raises(LayoutError, match="at the destination itself"):
            sync(ANY, source=tmp_path / "out", dest=tmp_path / "out", prefix="p/", delete_extra=delete_extra)
    assert sorted(names_in(tmp_path / "out")) == sorted(NAMES)


@pytest.mark.parametrize("name", ["out", "alias", "through/out"])
@pytest.mark.parametrize("into", ["one", "oci"])
def test_a_place_into_itself(into: Any, name: str, tmp_path: Path) -> None:
    """By none of its names is a place its own destination: an index would lose the images for other platforms."""
    store = Store()
    two = [store.image({"n": b"%d" % number}, architecture=name) for number, name in enumerate(("amd64", "arm64"))]
    store.layout(tmp_path / "out", {"out": store.index(*two)})
    (tmp_path / "alias").symlink_to("out")
    (tmp_path / "through").symlink_to(".")
    before = (tmp_path / "out" / "index.json").read_bytes()
    dest, source = (tmp_path / "out", f"oci:{tmp_path}/{name}") if into == "one" else (tmp_path, tmp_path / name)
    with pytest.raises(LayoutError, match="at the destination itself"):
        sync(ANY, source=source, dest=dest, into=into)
    with pytest.raises(LayoutError, match="at the destination itself"):
        sync(ANY, source=f"oci:{tmp_path}/{name}:out", dest=dest, into=into, on_error="continue")
    assert (tmp_path / "out" / "index.json").read_bytes() == before


# What is told


def test_the_report_shows_itself(tmp_path: Path) -> None:
    """As text, as HTML and as JSON: everything is there, and nothing that a terminal or a browser would obey."""
    layout(tmp_path / "in\x1b[31m<b>")
    report = sync(ANY, source=tmp_path / "in\x1b[31m<b>", dest=tmp_path / "out", exclude="tool*")
    shown, html = str(report), report._repr_html_()
    assert "\x1b" not in shown + html
    assert "<b>" not in html
    for text in (shown, html):
        assert "3 copied, 1 skipped" in text
        assert all(name in text for name in NAMES)
        assert "excluded" in text
    told = json.loads(json.dumps(report.to_dict()))
    assert [one["outcome"] for one in told["images"]] == outcomes(report)
    assert told["images"][0]["digest"] == str(report.images[0].digest)
    assert told["bytesCopied"] == report.bytes_copied
    assert str(SyncReport()).startswith("no images")
    assert "no images" in SyncReport()._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"into": "all"}, ValueError),
        ({"on_error": "ignore"}, ValueError),
        ({"max_images": 0}, ValueError),
        ({"source": 7}, TypeError),
        ({"source": [7]}, TypeError),
        ({"source": "nothing:here"}, InvalidReferenceError),
        ({"dest": "nothing:here"}, InvalidReferenceError),
        ({"dest": "oci:{}/out:name"}, InvalidReferenceError),
        ({"dest": "oci-archive:{}/out.tar"}, OCIKitError),
        ({"dest": "oci:{}/out", "into": "dir"}, ValueError),
        ({"dest": "{}/a:b"}, LayoutError),
        ({"source": "{}/missing"}, FileNotFoundError),
        ({"source": "oci:{}/in:missing"}, ImageNotFoundError),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], error: type[Exception], tmp_path: Path) -> None:
    """Arguments that make no sense are refused, with nothing written."""
    layout(tmp_path / "in")
    given = {"source": str(tmp_path / "in"), "dest": str(tmp_path / "out"), **arguments}
    given = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in given.items()}
    with pytest.raises(error):
        sync(ANY, **given)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
