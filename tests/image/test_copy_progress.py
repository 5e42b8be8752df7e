"""A copy tells what it does, ends when it is told to, and shares a layout with others."""

from __future__ import annotations

import json
import random
import threading
from typing import TYPE_CHECKING

import pytest
from builders import Store, check_layout, manifest_at, names_in

from ocikit.image import Policy, copy

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ALL = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)


def big(path: Path) -> Path:
    """Make a layout with layers of several chunks each."""
    noise = random.Random(1)  # noqa: S311 - only has to be incompressible, and the same every time
    store = Store()
    layers = [{f"{number}": noise.randbytes(3_000_000)} for number in range(3)]
    return store.layout(path, {"x": store.image(*layers, platform=False)})


@pytest.mark.parametrize("parallel", [1, 4])
def test_events(tmp_path: Path, parallel: int) -> None:
    """Each blob begins, is read in pieces that add up, and is done; a second copy skips it. One thread is told."""
    layout = big(tmp_path / "in")
    events: list[copy.ProgressEvent] = []
    threads = set()

    def tell(event: copy.ProgressEvent) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    options = copy.CopyOptions(progress=tell, progress_interval=0, max_parallel=parallel)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    planned = events.pop(0)
    assert isinstance(planned, copy.ArtifactsPlanned)
    assert [(one.digest, one.size) for one in planned.artifacts.values()] == [
        (one.digest, one.size) for one in result.blobs
    ]
    assert planned.size == sum(one.size for one in result.blobs)
    for number, blob in zip(planned.artifacts, result.blobs, strict=True):
        mine = [e for e in events if not isinstance(e, copy.ArtifactsPlanned) and e.artifact.digest == blob.digest]
        assert {event.number for event in mine} == {number}
        assert isinstance(mine[0], copy.NewArtifact)
        assert isinstance(mine[-1], copy.ArtifactDone)
        assert all(isinstance(event, copy.ArtifactRead) for event in mine[1:-1])
        reads = [event for event in mine[1:] if isinstance(event, copy.ArtifactRead | copy.ArtifactDone)]
        assert sum(event.offset_update for event in reads) == blob.size == reads[-1].offset
        assert [event.offset for event in reads] == sorted(event.offset for event in reads)
        assert mine[0].artifact.media_type == blob.media_type
    assert sum(isinstance(event, copy.ArtifactRead) for event in events) > len(result.blobs)
    assert threads == {threading.current_thread()}
    events.clear()
    copy.image(ANY, dest=f"oci:{tmp_path}/out:y", src=f"oci:{layout}:x", options=options)
    assert [type(event) for event in events] == [copy.ArtifactsPlanned, *[copy.ArtifactSkipped] * len(result.blobs)]


class Enough(BaseException):
    """What a caller may raise to end a copy."""


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize(
    "kind", [copy.ArtifactsPlanned, copy.NewArtifact, copy.ArtifactRead, copy.ArtifactDone, copy.ArtifactSkipped]
)
def test_raising_ends_the_copy(tmp_path: Path, kind: type, parallel: int) -> None:
    """What the callable raises reaches the caller as it is, no thread is left, and nothing is visible."""
    layout = big(tmp_path / "in")
    raised = Enough("enough")
    out = tmp_path / "out"
    copy.image(ANY, dest=f"oci:{out}:before", src=f"oci:{layout}:x")
    manifest = json.loads((layout / "blobs" / manifest_at(layout).replace(":", "/")).read_bytes())
    if kind is not copy.ArtifactSkipped:
        for layer in manifest["layers"]:
            (out / "blobs" / layer["digest"].replace(":", "/")).unlink()

    def tell(event: copy.ProgressEvent) -> None:
        if isinstance(event, kind):
            raise raised

    running = threading.active_count()
    options = copy.CopyOptions(progress=tell, progress_interval=0, max_parallel=parallel)
    with pytest.raises(Enough) as caught:
        copy.image(ANY, dest=f"oci:{out}:x", src=f"oci:{layout}:x", options=options)
    assert caught.value is raised
    assert threading.active_count() == running
    assert names_in(out) == ["before"]
    copy.image(ANY, dest=f"oci:{out}:x", src=f"oci:{layout}:x")
    check_layout(out)


def test_many_copies_into_one_layout(tmp_path: Path) -> None:
    """Threads that write images with shared layers into one layout lose none of them."""
    stores = []
    for number in range(8):
        store = Store()
        image = store.image({"shared": b"shared"}, {"own": b"%d" % number}, platform=False)
        stores.append(store.layout(tmp_path / f"in{number}", {"x": image}))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            copy.image(ANY, dest=f"oci:{tmp_path}/out:n{number}", src=f"oci:{stores[number]}:x")
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check_layout(tmp_path / "out")
    for number in range(8):
        assert manifest_at(tmp_path / "out", f"n{number}") == manifest_at(stores[number])
