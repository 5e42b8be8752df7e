"""What must not be deleted with the extras: the last copy of what was damaged, other people's files, fresh images."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, check_layout, manifest_at, names_in

from ocikit.errors import ImageNotFoundError
from ocikit.image import Policy, sync
from ocikit.image.recognition import is_doubtful
from ocikit.image.syncing.destinations import destination_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.image import SyncReport

ANY = Policy.insecure_accept_anything()
FORMS = ("oci", "oci-archive", "dir")


def layout(path: Path, *names: str, content: str = "") -> Path:
    """Make a layout with images of these names."""
    store = Store()
    images = {name: store.image({"own": f"{name}{content}".encode()}, platform=False) for name in names}
    return store.layout(path, images)


def reasons(report: SyncReport) -> list[str]:
    """Return why each image was skipped."""
    return [one.reason for one in report.skipped]


def _loses_its_mark(place: Path) -> None:
    (place / "oci-layout").unlink()


def _is_emptied(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()


def _is_a_file(content: bytes) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        shutil.rmtree(place)
        place.write_bytes(content)

    return change


def _is_put_aside(place: Path) -> None:
    place.rename(place.with_name("web.part"))


def _leads_nowhere(place: Path) -> None:
    shutil.rmtree(place)
    place.symlink_to("nowhere")


@pytest.mark.parametrize(
    "happens",
    [_loses_its_mark, _is_emptied, _is_a_file(b""), _is_a_file(b"web\0\0\0"), _is_put_aside, _leads_nowhere],
)
def test_what_was_damaged_keeps_its_copy(happens: Callable[[Path], None], tmp_path: Path) -> None:
    """While something at the source may be an image, nothing is deleted, and the report names it."""
    layout(tmp_path / "in" / "web", "web")
    layout(tmp_path / "in" / "other", "other")
    arguments: dict[str, Any] = {"source": tmp_path / "in", "dest": tmp_path / "out", "delete_extra": True}
    sync(ANY, **arguments)
    happens(tmp_path / "in" / "web")
    for dry_run in (True, False):
        report = sync(ANY, **arguments, dry_run=dry_run)
        assert not report.deleted
        assert [reason.partition(" looks unfinished or damaged")[0] for reason in reasons(report)] == [
            f"not deleted: {report.ignored[0]}"
        ]
    assert sorted(names_in(tmp_path / "out")) == ["other", "web"]


def test_one_place_of_several_that_was_damaged(tmp_path: Path) -> None:
    """So it is with a place that is named itself."""
    places = [layout(tmp_path / name, name) for name in ("a", "b")]
    sync(ANY, source=places, dest=tmp_path / "out")
    (places[1] / "oci-layout").unlink()
    report = sync(ANY, source=places, dest=tmp_path / "out", delete_extra=True)
    assert len(reasons(report)) == 1
    assert sorted(names_in(tmp_path / "out")) == ["a", "b"]


def test_what_is_no_doubt(tmp_path: Path) -> None:
    """Text, directories of other things, and what file systems keep do not hinder."""
    (tmp_path / "notes").write_text("mine: ü\n")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "notes").touch()
    (tmp_path / "lost+found").mkdir()
    assert not [path for path in tmp_path.iterdir() if is_doubtful(path)]


@pytest.mark.parametrize("into", ["oci", "dir"])
@pytest.mark.parametrize("inner", ["mine.txt", "directory/mine.txt", "blobs/sha256/mine.txt"])
def test_other_files_in_a_place(into: Any, inner: str, tmp_path: Path) -> None:
    """A place with a file that is no part of an image stays, with that file."""
    layout(tmp_path / "in", "a", "b")
    out = tmp_path / "out"
    sync(ANY, source=tmp_path / "in", dest=out, into=into)
    mine = out / "b" / inner
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    arguments: dict[str, Any] = {"source": f"oci:{tmp_path}/in:a", "dest": out, "into": into, "delete_extra": True}
    for dry_run in (True, False):
        (reason,) = reasons(sync(ANY, **arguments, dry_run=dry_run))
        assert reason.endswith("is no part of an image")
    assert mine.read_text() == "mine"
    shutil.rmtree(out / "b" / inner.partition("/")[0]) if into == "dir" and "/" in inner else mine.unlink()
    if inner.startswith("directory") and into == "oci":
        mine.parent.rmdir()
    assert len(sync(ANY, **arguments).deleted) == 1
    assert [path.name for path in out.iterdir()] == ["a"]


@pytest.mark.parametrize("into", ["one", *FORMS])
def test_a_prefix_is_a_boundary(into: Any, tmp_path: Path) -> None:
    """Two calls fill one place, each below a prefix of its own, and neither deletes what is the other's."""
    out = tmp_path / "out"
    for number in ("one", "two"):
        layout(tmp_path / number, f"{number}a", f"{number}b")
        sync(ANY, source=tmp_path / number, dest=out, into=into, prefix=f"{number}/", delete_extra=True)
    again = sync(ANY, source=tmp_path / "one", dest=out, into=into, prefix="one/", delete_extra=True)
    assert [str(one.outcome) for one in again.images] == ["unchanged"] * 2
    source = f"oci:{tmp_path}/two:twoa"
    last = sync(ANY, source=source, dest=out, into=into, prefix="two/", delete_extra=True)
    assert [str(one.outcome) for one in last.images] == ["unchanged", "deleted"]
    everything = sync(ANY, source=out, dest=tmp_path / "all")
    assert len(everything.images) == 3


def test_nothing_that_is_wanted(tmp_path: Path) -> None:
    """A pattern without a match does not empty the destination."""
    layout(tmp_path / "in", "a")
    layout(tmp_path / "out", "b")
    with pytest.raises(ImageNotFoundError, match="no images that are wanted"):
        sync(ANY, source=tmp_path / "in", dest=tmp_path / "out", include="nothing*", delete_extra=True)
    assert names_in(tmp_path / "out") == ["b"]


@pytest.mark.parametrize("into", ["one", *FORMS])
def test_what_arrives_meanwhile_stays(into: Any, tmp_path: Path) -> None:
    """An image that was found too much, and replaced by another one before its turn, is not deleted."""
    out = tmp_path / "out"
    sync(ANY, source=layout(tmp_path / "old", "a", "b"), dest=out, into=into)
    layout(tmp_path / "new", "b", content="!")
    target = destination_of(out, into)
    (extra,) = target.extras([target.reference("a")], None, "")
    sync(ANY, source=tmp_path / "new", dest=out, into=into)
    reason = target.remove(extra, None)
    assert reason is not None
    assert "another image" in reason
    if into == "one":
        assert manifest_at(out, "b") == manifest_at(tmp_path / "new", "b")
    assert len(sync(ANY, source=tmp_path / "new", dest=out, into=into).unchanged) == 1


@pytest.mark.parametrize("into", ["one", *FORMS])
def test_what_is_gone_meanwhile(into: Any, tmp_path: Path) -> None:
    """What somebody else deleted first is no error."""
    out = tmp_path / "out"
    sync(ANY, source=layout(tmp_path / "old", "a", "b"), dest=out, into=into)
    target = destination_of(out, into)
    (extra,) = target.extras([target.reference("a")], None, "")
    assert target.remove(extra, None) is None
    reason = target.remove(extra, None)
    assert reason is not None
    assert "gone meanwhile" in reason
    shutil.rmtree(out)
    assert target.remove(extra, None) == reason


@pytest.mark.parametrize("into", ["one", *FORMS])
def test_two_at_once(into: Any, tmp_path: Path) -> None:
    """Two calls that delete the same extras both succeed, and all of these are gone."""
    out = tmp_path / "out"
    layout(tmp_path / "old", "a", *(f"gone{number}" for number in range(12)))
    sync(ANY, source=tmp_path / "old", dest=out, into=into)
    reports: list[SyncReport] = []
    source = f"oci:{tmp_path}/old:a"
    start = threading.Barrier(2)

    def run() -> None:
        start.wait(10)
        reports.append(sync(ANY, source=source, dest=out, into=into, delete_extra=True, on_error="continue"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [report.failed for report in reports] == [(), ()]
    assert sum(len(report.deleted) for report in reports) == 12
    if into == "one":
        check_layout(out)
        assert names_in(out) == ["a"]
    else:
        assert len(list(out.iterdir())) == 1
