"""What a source or a destination can be: archives, directories of places, lists, and transports of somebody else."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, check_layout, manifest_at, names_in, skopeo_digest
from hypothesis import given
from hypothesis import strategies as st
from registries import running_registry
from stores import fill, specifier

from ocikit.errors import InvalidReferenceError, LayoutError
from ocikit.image import (
    FoundImage,
    ImageReference,
    ImageTransport,
    PlaceTransport,
    Policy,
    parse_image_name,
    sync,
)
from ocikit.image.copy import CopyOptions
from ocikit.image.recognition import is_unfinished
from ocikit.image.syncing.destinations import FORMS, destination_of
from ocikit.image.syncing.presence import presence
from ocikit.image.transports.directory import DirectoryReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image import BlobInfo, ByteStream, ImageSource, SyncReport, SystemContext

ANY = Policy.insecure_accept_anything()


def image(content: str) -> tuple[Store, dict[str, Any]]:
    """Return a store with an image of one file, and its descriptor."""
    store = Store()
    return store, store.image({"file": content.encode()}, platform=False)


def outcomes_of(report: SyncReport) -> list[str]:
    """Return what became of each image, in order."""
    return [str(one.outcome) for one in report.images]


def inbox(path: Path) -> dict[str, str]:
    """Make a directory with places of every kind and other things; return the digests by name."""
    path.mkdir()
    store, one = image("archive")
    two = store.image({"file": b"second"}, platform=False)
    store.archive(path / "a.tar.gz", {"app:1": one, "app:2": two}, compress="gzip")
    found = {"app:1": one["digest"], "app:2": two["digest"]}
    for kind in ("layout", "dir", "nameless"):
        store, top = image(kind)
        if kind == "dir":
            store.directory(path / "files:1", top)
        elif kind == "nameless":
            store.archive(path / "nameless.oci.tar", {"": top})
        else:
            store.layout(path / "layout", {"lib/base": top})
        found[{"layout": "lib/base", "dir": "files-1", "nameless": "nameless"}[kind]] = top["digest"]
    (path / "notes.txt").write_text("nothing")
    (path / ".hidden.tar").write_bytes(b"x")
    (path / "half.tar.part").write_bytes(b"x")
    (path / "directory").mkdir()
    return found


def test_a_directory_of_places(tmp_path: Path) -> None:
    """Archives, layouts and dir images in a directory all go into one layout; what is none of these is named."""
    expected = inbox(tmp_path / "in")
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out")
    assert {name: manifest_at(tmp_path / "out", name) for name in names_in(tmp_path / "out")} == expected
    check_layout(tmp_path / "out")
    assert [path.name for path in report.ignored] == [".hidden.tar", "directory", "half.tar.part", "notes.txt"]
    scoped = sync(ANY, source=tmp_path / "in", dest=tmp_path / "scoped", scoped=True)
    names = [str(one.destination).rpartition("/scoped:")[2] for one in scoped.images]
    assert names == ["a/app:1", "a/app:2", "files-1", "layout/lib/base", "nameless"]


def test_places_that_cannot_be_read(tmp_path: Path) -> None:
    """A damaged archive fails by itself, before anything is copied or beside everything else."""
    expected = inbox(tmp_path / "in")
    (tmp_path / "in" / "b.tar").write_bytes(b"no archive at all")
    with pytest.raises(LayoutError) as caught:
        sync(ANY, source=tmp_path / "in", dest=tmp_path / "out")
    assert any("nothing was copied" in note for note in caught.value.__notes__)
    assert not (tmp_path / "out").exists()
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", on_error="continue", delete_extra=True)
    assert [one.source for one in report.failed] == [tmp_path / "in" / "b.tar"]
    assert sorted(names_in(tmp_path / "out")) == sorted(expected)


def test_what_arrives_is_no_source(tmp_path: Path) -> None:
    """A layout below the directory that it is filled from is left alone, also the second time."""
    expected = inbox(tmp_path / "in")
    for outcome in ("copied", "unchanged"):
        report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "in" / "zz")
        assert [str(one.outcome) for one in report.images] == [outcome] * len(expected)
    assert tmp_path / "in" / "zz" in report.ignored


def test_an_archive_is_opened_once(tmp_path: Path) -> None:
    """All images of an archive come from the file as it was when the first one was copied, though it goes meanwhile."""
    store = Store()
    tops = {f"app:{n}": store.image({"n": b"%d" % n}, platform=False) for n in range(4)}
    archive = store.archive(tmp_path / "in.tar.gz", tops, compress="gzip")
    report = sync(ANY, source=archive, dest=tmp_path / "out", progress=lambda _: archive.unlink(missing_ok=True))
    assert [str(one.digest) for one in report.images] == [top["digest"] for top in tops.values()]
    check_layout(tmp_path / "out")


def test_archives_into_where_they_are(tmp_path: Path) -> None:
    """A directory of places is not filled from itself: it would have more images every time."""
    inbox(tmp_path / "in")
    before = sorted(os.listdir(tmp_path / "in"))
    with pytest.raises(LayoutError, match="the destination itself"):
        sync(ANY, source=tmp_path / "in", dest=tmp_path / "in", into="oci-archive")
    assert sorted(os.listdir(tmp_path / "in")) == before


def test_a_store(tmp_path: Path) -> None:
    """All images of a store of podman, under their names there; one by its name; and what is no store is an error."""
    store, top = image("of a store")
    store.layout(tmp_path / "in", {"x": top})
    for name in ("localhost/app:1", "localhost/app:2"):
        fill(tmp_path, "vfs", f"oci:{tmp_path}/in:x", name)
    place = f"containers-storage:{specifier(tmp_path, 'vfs')}"
    report = sync(ANY, source=place, dest=tmp_path / "out")
    assert sorted(names_in(tmp_path / "out")) == ["localhost/app:1", "localhost/app:2"]
    assert outcomes_of(report) == ["copied"] * 2
    report = sync(ANY, source=f"{place}localhost/app:2", dest=tmp_path / "one")
    assert names_in(tmp_path / "one") == ["localhost/app:2"]
    report = sync(ANY, source="containers-storage:[vfs@/proc/nowhere]", dest=tmp_path / "no", on_error="continue")
    assert [one.source for one in report.failed] == ["containers-storage:[vfs@/proc/nowhere]"]


@pytest.mark.parametrize("into", FORMS)
def test_a_place_for_each(into: Any, tmp_path: Path) -> None:
    """Each image gets a layout, an archive or a directory that skopeo reads, and that is a source in its turn."""
    expected = inbox(tmp_path / "in")
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", into=into)
    suffix = ".tar" if into == "oci-archive" else ""
    files = {name: f"{name.replace('/', '-').replace(':', '-')}{suffix}" for name in expected}
    assert sorted(os.listdir(tmp_path / "out")) == sorted(files.values())
    for one in report.images:
        assert skopeo_digest(str(one.destination)) == str(one.digest)
    back = sync(ANY, source=tmp_path / "out", dest=tmp_path / "back")
    assert {str(one.digest) for one in back.images} == set(expected.values())
    if into != "dir":
        assert sorted(names_in(tmp_path / "back")) == sorted(expected)


@given(name=st.text(max_size=60) | st.from_regex(r"\w+\.(tmp|part|swp)"), form=st.sampled_from(sorted(FORMS)))
def test_no_name_leads_elsewhere(name: str, form: str) -> None:
    """Whatever an image is called, its place is directly in the directory, and neither hidden nor unfinished."""
    with contextlib.suppress(InvalidReferenceError):
        reference = destination_of("/srv/images", form).reference(name)
        assert isinstance(reference, ImageReference)
        path = Path(reference.policy_configuration_identity)
        assert path.parent == Path("/srv/images")
        assert not is_unfinished(path.name)
        assert ":" not in path.name
        assert parse_image_name(str(reference)).string_within_transport == reference.string_within_transport


def test_hostile_layouts(tmp_path: Path) -> None:
    """Names outside the grammar, and one name for two images, fail alone; the others are copied."""
    store = Store()
    tops = [store.image({"n": b"%d" % number}, platform=False) for number in range(4)]
    store.layout(tmp_path / "in", {"../../etc": tops[0], "good": tops[1], "twice": tops[2], "other": tops[3]})
    text = (tmp_path / "in" / "index.json").read_text().replace('"other"', '"twice"')
    (tmp_path / "in" / "index.json").write_text(text)
    report = sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", on_error="continue")
    assert names_in(tmp_path / "out") == ["good"]
    assert len(report.failed) == len(report.images) - 1


@pytest.mark.parametrize("wrong", ["deep", "missing", "not json", "large"])
def test_presence_of_what_is_of_no_use(wrong: str, tmp_path: Path) -> None:
    """An image at the destination that is damaged in any way is not there, or is not whole; looking ends."""
    store = Store()
    top = store.image({"a": b"a"}, platform=False)
    if wrong == "deep":
        for _ in range(20):
            top = store.index(top)
    elif wrong == "not json":
        store.blobs[top["digest"]] = b"{" * top["size"]
    elif wrong == "large":
        top = {**top, "size": 5 << 20}
    store.layout(tmp_path / "out", {"x": top})
    if wrong == "missing":
        (tmp_path / "out" / "blobs" / top["digest"].replace(":", "/")).unlink()
    assert presence(parse_image_name(f"oci:{tmp_path}/out:x")) is None
    assert presence(parse_image_name(f"oci:{tmp_path}/out:y")) is None


# Transports of somebody else


class _Shelf(ImageTransport):
    """A directory of ``dir`` images, by their names."""

    name = "shelf"

    def parse_reference(self, reference: str) -> ImageReference:
        return _OnShelf(path=reference, resolved=os.path.realpath(reference))

    def validate_policy_configuration_scope(self, scope: str) -> None:
        raise ValueError(scope)

    def list_images(self, place: str, sys: object = None) -> Iterator[FoundImage]:
        """List them, in the order of their names."""
        del sys
        for name in sorted(os.listdir(place)) if Path(place).exists() else ():
            yield FoundImage(reference=self.image_in(place, name), name=name)

    def image_in(self, place: str, name: str) -> ImageReference:
        """Return one."""
        return self.parse_reference(f"{place}/{name}")


class _OnShelf(DirectoryReference):
    @property
    def transport(self) -> ImageTransport:
        return SHELF

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        source = super().new_image_source(sys)
        get_blob = source.get_blob

        def counted(info: BlobInfo) -> tuple[ByteStream, int]:
            stream, size = get_blob(info)
            return BLOBS.opened(stream), size

        vars(source)["get_blob"] = counted
        return source


class _Blobs:
    """Counts the blobs of shelves that are open."""

    most = now = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def opened(self, stream: ByteStream) -> ByteStream:
        """Count one until it is closed."""
        close = stream.close
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

        class Counted(io.BytesIO):
            def close(counted) -> None:  # noqa: N805 - the other self is wanted in here
                if not counted.closed:
                    with self._lock:
                        self.now -= 1
                super().close()
                close()

        return Counted(stream.read())


SHELF = _Shelf()
BLOBS = _Blobs()


def test_a_transport_of_somebody_else(tmp_path: Path) -> None:
    """A transport whose places say what is in them is gone through, and filled, without being known here."""
    assert isinstance(SHELF, PlaceTransport)
    assert not isinstance(parse_image_name("oci:/x").transport, PlaceTransport)
    expected = inbox(tmp_path / "in")
    (tmp_path / "shelf").mkdir()
    place = SHELF.parse_reference(str(tmp_path / "shelf"))
    for outcome in ("copied", "unchanged"):
        report = sync(
            ANY, source=tmp_path / "in", dest=place, rename=lambda found: (found.name or "").replace("/", "-")
        )
        assert [str(one.outcome) for one in report.images] == [outcome] * len(expected)
    report = sync(ANY, source=place, dest=tmp_path / "out")
    assert sorted(names_in(tmp_path / "out")) == sorted(name.replace("/", "-") for name in expected)


def test_blobs_of_several_images_are_bounded_together(tmp_path: Path) -> None:
    """With several images at a time no more blobs are copied at once than with one."""
    (tmp_path / "shelf").mkdir()
    for number in range(8):
        store = Store()
        files = ({f"{layer}": os.urandom(200_000)} for layer in range(3))
        store.directory(tmp_path / "shelf" / f"app{number}", store.image(*files, platform=False))
    BLOBS.most = BLOBS.now = 0
    place = SHELF.parse_reference(str(tmp_path / "shelf"))
    sync(ANY, source=place, dest=tmp_path / "out", max_images=4, options=CopyOptions(max_parallel=1))
    assert BLOBS.most == 1
    assert len(names_in(tmp_path / "out")) == 8


# The peer


@pytest.fixture
def registry(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[str]:
    """Run a registry on loopback; give its address."""
    with running_registry(peer("docker-registry"), tmp_path) as address:
        yield address


def test_as_skopeo_sync(registry: str, tmp_path: Path) -> None:
    """What skopeo sync brings from a registry into a directory comes from there into a layout, the same images."""
    store = Store()
    tops = {tag: store.image({"shared": b"s"}, {"n": tag.encode()}, platform=False) for tag in ("1.0", "1.1", "latest")}
    store.layout(tmp_path / "in", tops)
    skopeo = ["skopeo", "--insecure-policy"]
    for tag in tops:
        source, there = f"oci:{tmp_path}/in:{tag}", f"docker://{registry}/team/app:{tag}"
        subprocess.run([*skopeo, "copy", "-q", "--dest-tls-verify=false", source, there], check=True)
    command = [*skopeo, "sync", "--src-tls-verify=false", "--src=docker", "--dest=dir", f"{registry}/team/app"]
    subprocess.run([*command, str(tmp_path / "peer")], check=True, capture_output=True)
    report = sync(ANY, source=tmp_path / "peer", dest=tmp_path / "out")
    found = {name: manifest_at(tmp_path / "out", name) for name in names_in(tmp_path / "out")}
    assert found == {f"app-{tag}": top["digest"] for tag, top in tops.items()}
    sync(ANY, source=f"oci:{tmp_path}/in", dest=tmp_path / "ours", into="dir", prefix="app:")
    for ours, theirs in (("app-1.0", "app:1.0"), ("app-1.1", "app:1.1"), ("app-latest", "app:latest")):
        files = {path.name: path.read_bytes() for path in (tmp_path / "peer" / theirs).iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / "ours" / ours).iterdir()} == files
    assert report.bytes_copied > 0
