"""Progress adds up: totals from the manifest, never backwards, every blob ends; and it is shown in three ways."""

from __future__ import annotations

import io
import itertools
import json
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import rich.console
import rich.progress
import tqdm
from builders import Store
from docker_images import an_image, context, pull, push

from ocikit.errors import DigestMismatchError, MissingDependencyError
from ocikit.image import Policy, SystemContext, copy, docker
from ocikit.image.types import BlobInfo
from ocikit.spec import Digest
from ocikit.testing import Answer, Corrupt, Fault, Registry, Reset, Truncate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
ENDS = (copy.ArtifactDone, copy.ArtifactSkipped, copy.ArtifactFailed)
LAYERS = 3


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry, on loopback."""
    with Registry() as made:
        yield made
    docker.close_connections()


class Watch:
    """Holds all events against what they promise."""

    def __init__(self) -> None:
        self.events: list[copy.ProgressEvent] = []
        self.tally = copy.ProgressTally()

    def __call__(self, event: copy.ProgressEvent) -> None:
        """Take an event."""
        before, size = self.tally.offset, self.tally.size
        self.events.append(event)
        self.tally(event)
        assert before <= self.tally.offset <= self.tally.size
        assert isinstance(event, copy.ArtifactsPlanned) or self.tally.size == size

    def ends(self) -> list[str]:
        """Return how the blobs ended, having looked that each did, once, and went forward until then."""
        (planned, *events) = self.events
        assert isinstance(planned, copy.ArtifactsPlanned)
        ended = [event.number for event in events if isinstance(event, ENDS)]
        assert sorted(ended) == sorted(planned.artifacts)
        for number in planned.artifacts:
            reads = [
                event
                for event in events
                if isinstance(event, copy.ArtifactRead | copy.ArtifactDone) and event.number == number
            ]
            offsets = [event.offset for event in reads]
            assert offsets == sorted(offsets)
            assert offsets == list(itertools.accumulate(event.offset_update for event in reads))
        return [one.state for one in self.tally.blobs]


@pytest.mark.parametrize("fault", [Reset(sent=150_000), Truncate(sent=150_000), Answer(status=503)], ids=str)
def test_what_is_tried_again_never_goes_back(registry: Registry, tmp_path: Path, fault: Any) -> None:
    """A pull that breaks off and goes on reads every byte once, as far as is told."""
    name, sys = f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry)
    push(an_image(tmp_path / "images", size=300_000, layers=LAYERS), name, sys)
    registry.inject(Fault(kind="blob", method="GET", do=fault, times=3))
    watch = Watch()
    pull(name, f"oci:{tmp_path}/back:x", sys, progress=watch, progress_interval=0)
    assert watch.ends() == ["done"] * (LAYERS + 1)
    assert watch.tally.offset == watch.tally.size > LAYERS * 300_000


@pytest.mark.parametrize("parallel", [1, 4])
def test_what_fails_is_told(registry: Registry, tmp_path: Path, parallel: int) -> None:
    """A blob that is wrong ends as failed, with the very error; so do those that were not done then."""
    name, sys = f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry)
    push(an_image(tmp_path / "images", layers=LAYERS), name, sys)
    registry.inject(Fault(kind="blob", method="GET", do=Corrupt(at=10), skip=1, times=None))
    watch = Watch()
    with pytest.raises(DigestMismatchError) as caught:
        pull(name, f"oci:{tmp_path}/back:x", sys, progress=watch, max_parallel=parallel)
    assert set(watch.ends()) <= {"done", "failed"}
    failed = [event for event in watch.events if isinstance(event, copy.ArtifactFailed)]
    assert failed
    assert all(event.error is caught.value for event in failed)


def test_what_is_there_counts_as_dealt_with(registry: Registry, tmp_path: Path) -> None:
    """A second push skips everything, and the total is reached."""
    name, sys = f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry)
    source = an_image(tmp_path / "images", layers=LAYERS)
    push(source, name, sys)
    watch = Watch()
    push(source, name, sys, progress=watch)
    assert watch.ends() == ["skipped"] * (LAYERS + 1)
    assert watch.tally.offset == watch.tally.size > 0


def test_recompressed_blobs_keep_their_number(tmp_path: Path) -> None:
    """What has another digest in the end is still the blob that began."""
    layout = Store()
    noise = random.Random(1)  # noqa: S311 - only has to be the same every time
    image = layout.image({"a": noise.randbytes(300_000)}, {"b": noise.randbytes(300_000)}, platform=False)
    source = layout.layout(tmp_path / "in", {"x": image})
    watch = Watch()
    options = copy.CopyOptions(
        destination_ctx=SystemContext(compression_format="zstd"), progress=watch, progress_interval=0
    )
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    assert watch.ends() == ["done"] * 3
    assert watch.tally.offset == watch.tally.size


def test_blobs_without_a_size_and_without_a_plan() -> None:
    """They count once their size is known; what nobody planned is planned when it begins."""
    tally = copy.ProgressTally()
    unknown = BlobInfo(digest=Digest.from_bytes(b"x"))
    for event, totals in (
        (copy.ArtifactsPlanned(artifacts={0: unknown}), (0, 0)),
        (copy.ArtifactRead(artifact=unknown, number=0, offset=10, offset_update=10), (0, 0)),
        (copy.ArtifactDone(artifact=unknown, number=0, offset=30, offset_update=20), (30, 30)),
        (copy.NewArtifact(artifact=BlobInfo(digest=unknown.digest, size=5), number=1), (30, 35)),
        (copy.ArtifactRead(artifact=unknown, number=1, offset=4, offset_update=4), (34, 35)),
        (copy.ArtifactRead(artifact=unknown, number=1, offset=2, offset_update=0), (34, 35)),
        (copy.ArtifactFailed(artifact=unknown, number=1, error=ValueError()), (34, 35)),
        (copy.NewArtifact(artifact=BlobInfo(digest=unknown.digest, size=9), number=2, offset=6), (40, 44)),
        (copy.NewArtifact(artifact=BlobInfo(digest=unknown.digest, size=9), number=2, offset=0), (40, 44)),
        (copy.ArtifactDone(artifact=unknown, number=2, offset=9, offset_update=9), (43, 44)),
    ):
        tally(event)
        assert (tally.offset, tally.size) == totals
    assert [one.state for one in tally.blobs] == ["done", "failed", "done"]


def test_lines_of_json(registry: Registry, tmp_path: Path) -> None:
    """Each event is one line that is read as JSON, with the totals; two copies may share them."""
    name, sys = f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry)
    push(an_image(tmp_path / "images", layers=LAYERS), name, sys)
    file = io.StringIO()
    tell = copy.progress_lines(file)

    def work(number: int) -> None:
        pull(name, f"oci:{tmp_path}/back{number}:x", sys, progress=tell, progress_interval=0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert {line["event"] for line in lines} == {"planned", "new", "read", "done"}
    planned = [line for line in lines if line["event"] == "planned"]
    assert [len(line["blobs"]) for line in planned] == [LAYERS + 1] * 2
    assert set(planned[0]["blobs"][0]) == {"number", "digest", "media_type", "offset", "size"}
    assert len({one["number"] for line in planned for one in line["blobs"]}) == 2 * (LAYERS + 1)
    totals = [(line["total_offset"], line["total_size"]) for line in lines]
    assert totals == sorted(totals)
    assert totals[-1][0] == totals[-1][1] == 2 * sum(one["size"] for one in planned[0]["blobs"])
    registry.inject(Fault(kind="blob", method="GET", do=Corrupt(at=10), times=None))
    file.truncate(0)
    with pytest.raises(DigestMismatchError):
        work(2)
    assert {"event": "failed", "error_type": "DigestMismatchError"}.items() <= json.loads(
        file.getvalue().splitlines()[-1]
    ).items()


def test_a_bar_of_tqdm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the total."""
    # A thread of tqdm's would stay, for the bars that come later.
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)
    file = io.StringIO()
    source = an_image(tmp_path / "images", layers=LAYERS)
    with copy.progress_tqdm(file=file, mininterval=0, desc="app") as bar:
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=source, options=copy.CopyOptions(progress=bar))
    assert "app: 100%" in file.getvalue()
    bar.close()


def test_bars_of_rich(tmp_path: Path) -> None:
    """One for everything, which reaches the total, and one for each blob as long as it is on its way."""
    source = an_image(tmp_path / "images", layers=LAYERS)
    console = rich.console.Console(file=io.StringIO(), force_terminal=True, width=100)
    most = 0
    with rich.progress.Progress(console=console, auto_refresh=False) as progress:
        bars = copy.progress_rich(progress)

        def tell(event: copy.ProgressEvent) -> None:
            nonlocal most
            bars(event)
            most = max(most, len(progress.tasks))

        options = copy.CopyOptions(progress=tell, progress_interval=0)
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=source, options=options)
        bars.close()
        (task,) = progress.tasks
        assert task.completed == task.total
        assert task.total
    assert most > 1
    with copy.progress_rich() as own:
        own(copy.ArtifactsPlanned(artifacts={}))


@pytest.mark.parametrize(("package", "function"), [("tqdm", copy.progress_tqdm), ("rich", copy.progress_rich)])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, package: str, function: Any) -> None:
    """An error says which package, and which extra."""
    for name in [one for one in sys.modules if one.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*ocikit\[progress\]"):
        function()


def test_copying_loads_no_bars() -> None:
    """Bars are loaded by those who show them."""
    code = "import sys; from ocikit.image import copy; copy.CopyOptions; print({'tqdm', 'rich'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
