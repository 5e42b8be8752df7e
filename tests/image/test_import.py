"""A directory full of images becomes layouts, whatever the files are called and whatever lies between them."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, check_layout, manifest_at, names_in, pack, tar_of

from ocikit.errors import (
    AmbiguousImageError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutError,
    OCIKitError,
    PolicyNotFoundError,
    PolicyRequirementError,
)
from ocikit.image import Policy, PolicyContext, SystemContext, copy, import_directory

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()


def image(content: bytes = b"x") -> tuple[Store, dict[str, Any]]:
    """Return a store with an image of one file, and its descriptor."""
    store = Store()
    return store, store.image({"file": content}, platform=False)


@pytest.fixture
def inbox(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a directory with an image in every form, and the digest of each by the name of its source."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    digests = {}
    for name, compress in (("plain.tar", ""), ("zipped.tar.gz", "gzip"), ("oddly called", "zstd"), ("a:b.oci", "")):
        store, top = image(name.encode())
        scratch = tmp_path / f"scratch-{name.replace(':', '')}"
        pack(store.layout(scratch, {"latest": top}), directory / name, compress=compress)
        digests[name] = top["digest"]
    store, top = image(b"layout")
    store.layout(directory / "layout", {"latest": top})
    digests["layout"] = top["digest"]
    store, top = image(b"dir")
    store.directory(directory / "files", top)
    digests["files"] = top["digest"]
    return directory, digests


NOISE = ("README.txt", "notes.json", ".hidden.tar", "half.tar.part", "backup.tar~", "x.tmp", "empty")


def add_noise(directory: Path) -> None:
    """Put things into the directory that are no images, or not yet."""
    store, top = image(b"hidden")
    archive = store.archive(directory.parent / "hidden.tar", {"latest": top})
    for name in (".hidden.tar", "half.tar.part", "backup.tar~", "x.tmp"):
        shutil.copy(archive, directory / name)
    (directory / "README.txt").write_text("not an image " * 100)
    (directory / "notes.json").write_text("{}")
    (directory / "empty").write_bytes(b"")
    (directory / "directory").mkdir()
    (directory / "directory" / "file").write_text("x")
    os.mkfifo(directory / "fifo")


def test_each_into_a_layout_of_its_own(inbox: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Everything that is an image is imported, in order; everything else is left alone and named."""
    directory, digests = inbox
    add_noise(directory)
    report = import_directory(directory, policy=ANY, dest=tmp_path / "images")
    assert {one.source.name: one.digest for one in report.images} == digests
    assert [one.source.name for one in report.images] == sorted(digests)
    assert not report.failed
    assert report.imported == report.images
    assert sorted(path.name for path in report.ignored) == sorted((*NOISE, "directory", "fifo"))
    expected = {
        "plain.tar": "plain:latest",
        "zipped.tar.gz": "zipped:latest",
        "oddly called": "oddly-called:latest",
        "a:b.oci": "a-b:latest",
        "layout": "layout:latest",
        "files": "files:files",
    }
    for one in report.images:
        assert str(one.reference) == f"oci:{tmp_path}/images/{expected[one.source.name]}"
        layout, _, name = expected[one.source.name].partition(":")
        assert manifest_at(tmp_path / "images" / layout, name) == one.digest
        check_layout(tmp_path / "images" / layout)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(
        name.partition(":")[0] for name in expected.values()
    )


def test_all_into_one(tmp_path: Path) -> None:
    """One layout takes them all, under their own names."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    for number in range(3):
        store, top = image(b"%d" % number)
        store.archive(directory / f"{number}.tar", {f"app{number}:1": top})
    report = import_directory(directory, policy=ANY, dest=tmp_path / "one", into="one")
    assert [str(one.reference) for one in report.images] == [f"oci:{tmp_path}/one:app{n}:1" for n in range(3)]
    assert sorted(names_in(tmp_path / "one")) == ["app0:1", "app1:1", "app2:1"]
    check_layout(tmp_path / "one")


def test_again_changes_nothing(inbox: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """A second import finds everything there; one in place of the first replaces it."""
    directory, _ = inbox
    first = import_directory(directory, policy=ANY, dest=tmp_path / "images")
    second = import_directory(directory, policy=ANY, dest=tmp_path / "images")
    assert [one.digest for one in second.images] == [one.digest for one in first.images]
    for one in second.images:
        assert one.result is not None
        assert not one.result.copied
    store, top = image(b"newer")
    store.archive(directory / "plain.tar", {"latest": top})
    import_directory(directory, policy=ANY, dest=tmp_path / "images")
    assert manifest_at(tmp_path / "images" / "plain", "latest") == top["digest"]


def test_several_images_in_one_source(tmp_path: Path) -> None:
    """Every image of an archive or layout is imported; those without a name are told apart by their position."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    store = Store()
    images = [store.image({"n": b"%d" % number}, platform=False) for number in range(3)]
    store.archive(directory / "pack.tar", {"a:1": images[0], "b:1": images[1]})
    store.layout(directory / "layout", {"a": images[0]})
    index = json.loads((directory / "layout" / "index.json").read_bytes())
    index["manifests"] += [index["manifests"][0], *images[1:]]
    (directory / "layout" / "index.json").write_text(json.dumps(index))
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out")
    assert [(one.source.name, str(one.reference).rpartition("/")[2], one.digest) for one in report.images] == [
        ("layout", "layout:a", images[0]["digest"]),
        ("layout", "layout:layout-2", images[1]["digest"]),
        ("layout", "layout:layout-3", images[2]["digest"]),
        ("pack.tar", "pack:a:1", images[0]["digest"]),
        ("pack.tar", "pack:b:1", images[1]["digest"]),
    ]


def test_an_image_without_a_name(tmp_path: Path) -> None:
    """The only image in an archive needs no name there; here it is called like the file."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    store, top = image()
    store.archive(directory / "My App (1).oci.tar", {"": top})
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out")
    assert str(report.images[0].reference) == f"oci:{tmp_path}/out/My-App-1:My-App-1"


def broken(directory: Path) -> dict[str, type[OCIKitError]]:
    """Put broken sources into a directory; return the error of each, in order."""
    store, top = image(b"broken" * 1000)
    good = store.archive(directory.parent / "good.tar", {"latest": top})
    (directory / "b-truncated.tar").write_bytes(good.read_bytes()[:2048])
    (directory / "c-no-tar.tar.gz").write_bytes(b"this is not an archive")
    (directory / "d-other.tar").write_bytes(tar_of({"etc/passwd": b"x"}))
    Store().layout(directory / "e-empty", {})
    store.layout(directory / "f-flipped", {"latest": top})
    layer = json.loads(store.blobs[top["digest"]])["layers"][0]["digest"]
    blob = directory / "f-flipped" / "blobs" / layer.replace(":", "/")
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
    (directory / "g-gone.tar").symlink_to("nowhere")
    return {
        "b-truncated.tar": LayoutError,
        "c-no-tar.tar.gz": LayoutError,
        "d-other.tar": LayoutError,
        "e-empty": ImageNotFoundError,
        "f-flipped": DigestMismatchError,
    }


def surround(directory: Path) -> None:
    """Put a good source before and one after all others."""
    directory.mkdir()
    for name in ("a-first.tar", "z-last.tar"):
        store, top = image(name.encode())
        store.archive(directory / name, {"latest": top})


def test_errors_can_be_collected(tmp_path: Path) -> None:
    """Asked to continue, an import does all it can and says what is wrong with the rest."""
    directory = tmp_path / "inbox"
    surround(directory)
    errors = broken(directory)
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out", on_error="continue", remove_source=True)
    assert [one.source.name for one in report.imported] == ["a-first.tar", "z-last.tar"]
    found = {one.source.name: type(one.error) for one in report.failed}
    assert issubclass(found.pop("g-gone.tar"), FileNotFoundError)
    assert found == errors
    assert all(one.reference is None and one.digest is None for one in report.failed)
    assert sorted(os.listdir(directory)) == [*errors, "g-gone.tar"]


@pytest.mark.parametrize("name", ["b-truncated.tar", "c-no-tar.tar.gz", "d-other.tar", "e-empty", "f-flipped"])
def test_the_first_error_stops(tmp_path: Path, name: str) -> None:
    """By default the first error ends the import; what was imported before stays, and the error names it."""
    directory, everything = tmp_path / "inbox", tmp_path / "everything"
    surround(directory)
    everything.mkdir()
    errors = broken(everything)
    (everything / name).rename(directory / name)
    with pytest.raises(errors[name]) as caught:
        import_directory(directory, policy=ANY, dest=tmp_path / "out")
    note = f"while importing {directory / name}; imported until then: oci:{tmp_path}/out/a-first:latest"
    assert caught.value.__notes__ == [note]
    assert manifest_at(tmp_path / "out" / "a-first", "latest")
    assert not (tmp_path / "out" / "z-last").exists()


def test_two_of_one_name(tmp_path: Path) -> None:
    """Sources that would replace each other are an error, not a matter of order."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    for name in ("app.oci", "app.tar"):
        store, top = image(name.encode())
        store.archive(directory / name, {"latest": top})
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out", on_error="continue")
    assert [type(one.error) for one in report.images] == [type(None), AmbiguousImageError]
    assert manifest_at(tmp_path / "out" / "app", "latest") == report.images[0].digest


def test_sources_go_only_when_all_is_there(inbox: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """With remove_source archives and directories go once imported, links but not what they lead to."""
    directory, digests = inbox
    add_noise(directory)
    store, top = image(b"elsewhere")
    elsewhere = store.archive(tmp_path / "elsewhere.tar", {"latest": top})
    (directory / "link.tar").symlink_to(elsewhere)
    store = Store()
    some = [store.image({"n": b"%d" % number}, platform=False) for number in range(2)]
    store.blobs.pop(some[1]["digest"])
    store.archive(directory / "partly.tar", {"a": some[0], "b": some[1]})
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out", on_error="continue", remove_source=True)
    assert len(report.imported) == len(digests) + 2
    assert [one.source.name for one in report.failed] == ["partly.tar"]
    assert sorted(os.listdir(directory)) == sorted((*NOISE, "directory", "fifo", "partly.tar"))
    assert elsewhere.exists()


def test_a_destination_is_never_its_own_source(inbox: tuple[Path, dict[str, str]]) -> None:
    """Imported in place, again and again and with removal, every image is there afterwards."""
    directory, digests = inbox
    for _ in range(3):
        import_directory(directory, policy=ANY, dest=directory, remove_source=True)
    left = sorted(os.listdir(directory))
    assert left == ["a-b", "files", "layout", "oddly-called", "plain", "zipped"]
    images = {manifest_at(directory / name) for name in left if name != "files"}
    assert images == set(digests.values()) - {digests["files"]}
    import_directory(directory, policy=ANY, dest=directory / "one", into="one", on_error="continue", remove_source=True)
    import_directory(directory, policy=ANY, dest=directory / "one", into="one", on_error="continue", remove_source=True)
    assert (directory / "one" / "index.json").exists()


def test_the_policy_decides(
    inbox: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is imported that is not allowed, each source is asked about, and without a policy nothing happens."""
    directory, _ = inbox
    allowed = json.dumps(
        {
            "default": [{"type": "reject"}],
            "transports": {
                "oci-archive": {str((directory / "plain.tar").resolve()): [{"type": "insecureAcceptAnything"}]}
            },
        }
    )
    with PolicyContext(Policy.from_bytes(allowed)) as context:
        report = import_directory(directory, policy=context, dest=tmp_path / "out", on_error="continue")
        assert context.policy
    assert [one.source.name for one in report.imported] == ["plain.tar"]
    assert {type(one.error) for one in report.failed} == {PolicyRequirementError}
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    nowhere = copy.CopyOptions(source_ctx=SystemContext(root_for_implicit_absolute_paths=str(tmp_path / "nowhere")))
    with pytest.raises(PolicyNotFoundError):
        import_directory(directory, policy=None, dest=tmp_path / "none", options=nowhere)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), TimeoutError("enough"), RuntimeError("enough")])
def test_raising_from_progress_ends_the_import(
    inbox: tuple[Path, dict[str, str]], tmp_path: Path, raised: BaseException
) -> None:
    """Whatever the callable raises ends everything, also when errors are collected."""

    def tell(_: object) -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        import_directory(
            inbox[0], policy=ANY, dest=tmp_path / "out", on_error="continue", options=copy.CopyOptions(progress=tell)
        )
    assert caught.value is raised
    assert not any(names_in(path) for path in (tmp_path / "out").iterdir())


def test_an_index_as_a_whole(tmp_path: Path) -> None:
    """The options say how much of an index is imported."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    store = Store()
    top = store.index(store.image({"x": b"1"}), store.image({"x": b"2"}, architecture="arm64"))
    store.archive(directory / "multi.tar", {"latest": top})
    everything = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)
    report = import_directory(directory, policy=ANY, dest=tmp_path / "out", options=everything)
    assert report.images[0].digest == top["digest"]
    assert len(check_layout(tmp_path / "out" / "multi")) == 7


def test_an_empty_and_a_missing_directory(tmp_path: Path) -> None:
    """Nothing to import is an empty report; no directory is an error."""
    (tmp_path / "inbox").mkdir()
    report = import_directory(tmp_path / "inbox", policy=ANY, dest=tmp_path / "out")
    assert (report.images, report.ignored) == ((), ())
    with pytest.raises(FileNotFoundError):
        import_directory(tmp_path / "nowhere", policy=ANY, dest=tmp_path / "out")


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """One that is called like an archive is an error, any other is none of our business."""
    (tmp_path / "inbox").mkdir()
    for name in ("lock", "gone.tar.gz"):
        (tmp_path / "inbox" / name).symlink_to("nowhere")
    report = import_directory(tmp_path / "inbox", policy=ANY, dest=tmp_path / "out", on_error="continue")
    assert [path.name for path in report.ignored] == ["lock"]
    assert [(one.source.name, type(one.error)) for one in report.failed] == [("gone.tar.gz", FileNotFoundError)]


def test_choices_that_there_are_not(tmp_path: Path) -> None:
    """A misspelled choice is an error and not another choice."""
    for choices in ({"into": "all"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=r"expected '.*' or '.*', found '(all|ignore)'"):
            import_directory(tmp_path, policy=ANY, dest=tmp_path / "out", **choices)  # type: ignore[arg-type]
