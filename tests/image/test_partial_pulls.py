"""Pulls that end in the middle go on where they were, in the next process too, and nobody downloads a blob twice."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
import test_layout_crash
from builders import Store, check_layout, names_in
from docker_images import context, pull, push
from partial_pulls import (
    PULL_ONCE,
    break_off,
    content,
    end,
    gets,
    hang,
    noise,
    partial_of,
    partials,
    ranges,
    start_pull,
    there,
    wait_for_size,
)

from ocikit.errors import DigestMismatchError, SizeMismatchError
from ocikit.image import SystemContext, copy
from ocikit.testing import Answer, Corrupt, Delay, Fault, Features, Registry, Truncate

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def pulled(registry: Registry, layout: Path, tmp_path: Path, **options: Any) -> copy.CopyResult:
    """Pull the image into a layout, in this process."""
    return pull(
        f"docker://{registry.address}/app:1", f"oci:{layout}:x", context(tmp_path / "conf", registry), **options
    )


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_killed_again_and_again(tmp_path: Path, knows_ranges: bool) -> None:  # noqa: FBT001 - a case
    """Each process goes on where the one before was killed: what comes over the network is the blob, once."""
    with Registry(features=Features(ranges=knows_ranges)) as registry:
        (one,) = there(registry, tmp_path, 6 * MIB)
        digest, size = one
        layout, steps = tmp_path / "l", (MIB, 400_000, 1, 3 * MIB) if knows_ranges else (2 * MIB, 4 * MIB)
        position = 0
        for step in steps:
            hang(registry, digest, step)
            position = position + step if knows_ranges else max(position, step)
            process = start_pull(registry, tmp_path / "conf", layout)
            wait_for_size(layout, digest, position)
            end(process, signal.SIGKILL)
            registry.clear_faults()
        pulled(registry, layout, tmp_path)
        sent = [one.bytes_out for one in gets(registry, digest)]
        if knows_ranges:
            assert sum(sent) == size
            places = (MIB, MIB + 400_000, MIB + 400_001, position)
            assert [one.headers.get("range", "") for one in gets(registry, digest)] == [
                "",
                *(f"bytes={at}-" for at in places),
            ]
        else:
            assert sent == [*steps, size]
    check_layout(layout)
    assert partials(layout) == []


def test_killed_when_all_but_the_name_is_there(registry: Registry, tmp_path: Path) -> None:
    """A blob that came whole and was not named yet is hashed and named, and not asked for."""
    ((digest, size),) = there(registry, tmp_path, MIB)
    layout = tmp_path / "l"
    file = break_off(registry, tmp_path, digest, 500_000)
    with file.open("ab") as rest:
        rest.write(content(registry, digest)[500_000:])
    result = pulled(registry, layout, tmp_path)
    assert gets(registry, digest) == []
    assert [(blob.outcome, blob.size) for blob in result.blobs if blob.digest == digest] == [
        (copy.BlobOutcome.COPIED, size)
    ]
    check_layout(layout)


def test_killed_at_every_step(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as it is about to name anything, a pull leaves a layout that the next one makes whole."""
    there(registry, tmp_path, 700_000)
    monkeypatch.setattr(test_layout_crash, "CHANGES", "rename,renameat,unlinkat")

    def check(place: Path) -> None:
        if (place / "l" / "oci-layout").exists():
            check_layout(place / "l")
        pulled(registry, place / "l", tmp_path)
        assert names_in(place / "l") == ["x"]
        check_layout(place / "l")
        test_layout_crash.no_leftovers(place / "l")

    def command(place: Path) -> list[str]:
        return [PULL_ONCE, registry.address, str(tmp_path / "conf"), str(place / "l")]

    assert test_layout_crash.at_every_step(tmp_path, lambda _: None, command, check) >= 5


def test_ctrl_c(registry: Registry, tmp_path: Path) -> None:
    """Ctrl-C ends a pull at once, and what had come stays for the next one."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    registry.inject(Fault(kind="blob", reference=digest, do=Delay(seconds=0.05, every=16384)))
    process = start_pull(registry, tmp_path / "conf", tmp_path / "l")
    wait_for_size(tmp_path / "l", digest, MIB // 2)
    assert b"KeyboardInterrupt" in end(process, signal.SIGINT)
    registry.clear_faults()
    registry.clear_requests()
    come = partial_of(tmp_path / "l", digest).stat().st_size
    assert MIB // 2 <= come < size
    pulled(registry, tmp_path / "l", tmp_path)
    assert ranges(registry, digest) == [(f"bytes={come}-", 206, size - come)]
    assert partials(tmp_path / "l") == []


def test_processes_and_threads_share_downloads(registry: Registry, tmp_path: Path) -> None:
    """Four processes with eight threads each want images that share layers: every blob is sent once."""
    names = [f"app{number}" for number in range(8)]
    store = Store()
    layers = [{"shared": noise(number, 300_000)} for number in range(4)]
    images = {name: store.image(*layers, {"own": name.encode() * 9999}, platform=False) for name in names}
    source = store.layout(tmp_path / "in", images)
    for name in names:
        push(f"oci:{source}:{name}", f"docker://{registry.address}/{name}:1", context(tmp_path / "conf", registry))
    registry.clear_requests()
    layout = tmp_path / "l"
    processes = [
        start_pull(registry, tmp_path / f"conf{number}", layout, names[number:] + names[:number], threads=8)
        for number in range(4)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    assert sorted(names_in(layout)) == names
    seen = check_layout(layout)
    wanted = {digest: len(data) for digest, data in store.blobs.items() if digest in seen}
    manifests = {image["digest"] for image in images.values()}
    for digest, size in wanted.items():
        if digest not in manifests:
            assert ranges(registry, digest) == [("", 200, size)], digest
    assert partials(layout) == []


def test_who_waits_takes_over(registry: Registry, tmp_path: Path) -> None:
    """One waits for what another process downloads; when that is killed, it goes on there."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    hang(registry, digest, MIB)
    layout = tmp_path / "l"
    process = start_pull(registry, tmp_path / "conf", layout)
    wait_for_size(layout, digest, MIB)
    events: list[copy.ProgressEvent] = []
    waiting = threading.Thread(target=lambda: pulled(registry, layout, tmp_path, progress=events.append))
    waiting.start()
    registry.wait_for(lambda one: one.kind == "manifest", count=2)
    end(process, signal.SIGKILL)
    waiting.join(60)
    assert ranges(registry, digest) == [("", 200, MIB), (f"bytes={MIB}-", 206, size - MIB)]
    of_blobs = [event for event in events if not isinstance(event, copy.ArtifactsPlanned)]
    mine = [event for event in of_blobs if event.artifact.digest == digest]
    assert isinstance(mine[0], copy.NewArtifact)
    assert mine[0].offset == MIB
    updates = [event.offset_update for event in mine if isinstance(event, copy.ArtifactRead | copy.ArtifactDone)]
    assert sum(updates) == size - MIB
    assert isinstance(mine[-1], copy.ArtifactDone)
    assert mine[-1].offset == size


def test_a_part_that_is_something_else(registry: Registry, tmp_path: Path) -> None:
    """What turns out wrong when the whole is there is given up, and the blob is read anew, once."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    layout = tmp_path / "l"
    file = break_off(registry, tmp_path, digest, MIB)
    file.write_bytes(bytes(MIB))
    offsets: list[int] = []

    def tell(event: copy.ProgressEvent) -> None:
        if isinstance(event, copy.NewArtifact) and event.artifact.digest == digest:
            offsets.append(event.offset)

    pulled(registry, layout, tmp_path, progress=tell)
    assert ranges(registry, digest) == [(f"bytes={MIB}-", 206, size - MIB), ("", 200, size)]
    assert offsets == [MIB, 0]
    check_layout(layout)


def test_a_registry_that_sends_something_else(registry: Registry, tmp_path: Path) -> None:
    """A blob that is another one is an error after the second time, and nothing of it stays."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    layout = tmp_path / "l"
    break_off(registry, tmp_path, digest, MIB)
    registry.inject(Fault(kind="blob", reference=digest, do=Corrupt(at=1000), times=None))
    with pytest.raises(DigestMismatchError):
        pulled(registry, layout, tmp_path)
    assert [sent for _, _, sent in ranges(registry, digest)] == [size - MIB, size]
    assert partials(layout) == []
    assert names_in(layout) == []


def test_a_blob_that_has_another_size_there(registry: Registry, tmp_path: Path) -> None:
    """A registry that has a longer or a shorter blob than the manifest says is wrong, whatever came before."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    layout = tmp_path / "l"
    break_off(registry, tmp_path, digest, MIB)
    longer = content(registry, digest) + b"x"
    headers = {"Content-Range": f"bytes {MIB}-{size}/{size + 1}"}
    registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=206, headers=headers, body=longer[MIB:])))
    registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=200, body=longer)))
    with pytest.raises(SizeMismatchError):
        pulled(registry, layout, tmp_path)
    assert [wanted for wanted, _, _ in ranges(registry, digest)] == [f"bytes={MIB}-", ""]
    assert partials(layout) == []
    pulled(registry, layout, tmp_path)
    check_layout(layout)


def test_a_registry_that_refuses_parts(registry: Registry, tmp_path: Path) -> None:
    """Who answers 416 to a Range is asked for the whole, of which what is there is passed over."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    layout = tmp_path / "l"
    break_off(registry, tmp_path, digest, MIB)
    registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=416)))
    # And on the way there the connection breaks.
    registry.inject(Fault(kind="blob", reference=digest, do=Truncate(sent=1000)))
    pulled(registry, layout, tmp_path)
    assert [sent for _, _, sent in ranges(registry, digest)][-1] in {size, size - MIB}
    check_layout(layout)


def test_small_parts_do_not_stay(registry: Registry, tmp_path: Path) -> None:
    """What is less than a quarter of a mebibyte is not worth a file when a pull fails."""
    ((digest, _),) = there(registry, tmp_path, 2 * MIB)
    registry.inject(Fault(kind="blob", reference=digest, do=Truncate(sent=200_000)))
    registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=404)))
    with pytest.raises(Exception, match="404"):
        pulled(registry, tmp_path / "l", tmp_path)
    assert partials(tmp_path / "l") == []


def test_layouts_that_share_blobs_share_parts(registry: Registry, tmp_path: Path) -> None:
    """A part in a shared directory is gone on with by a pull into another layout that has the same one."""
    ((digest, size),) = there(registry, tmp_path, 2 * MIB)
    shared = tmp_path / "shared"
    there_ = SystemContext(oci_shared_blob_dir_path=str(shared))
    registry.inject(Fault(kind="blob", reference=digest, do=Truncate(sent=MIB)))
    registry.inject(Fault(kind="blob", reference=digest, do=Answer(status=404)))
    with pytest.raises(Exception, match="404"):
        pulled(registry, tmp_path / "one", tmp_path, destination_ctx=there_)
    assert partial_of(shared, digest).stat().st_size == MIB
    registry.clear_requests()
    pulled(registry, tmp_path / "two", tmp_path, destination_ctx=there_, link_blobs=True)
    assert ranges(registry, digest) == [(f"bytes={MIB}-", 206, size - MIB)]
    assert partials(shared) == []
    algorithm, _, encoded = digest.partition(":")
    assert (shared / algorithm / encoded).stat().st_size == size


def test_what_is_read_on_the_way_is_read_whole(registry: Registry, tmp_path: Path) -> None:
    """Layers that are recompressed or held against their diffIDs leave no parts, and are right."""
    there(registry, tmp_path, MIB)
    name = f"docker://{registry.address}/app:1"
    sys = context(tmp_path / "conf", registry)
    pull(name, f"oci:{tmp_path}/checked:x", sys, verify_diff_ids=True)
    zstd = SystemContext(compression_format=copy.Compression.ZSTD) if hasattr(copy, "Compression") else None
    if zstd is not None:
        pull(name, f"oci:{tmp_path}/zstd:x", sys, destination_ctx=zstd)
    for place in ("dir:d", "oci-archive:a.tar:x"):
        kind, _, path = place.partition(":")
        pull(name, f"{kind}:{tmp_path}/{path}", sys)
    assert [file for file in tmp_path.rglob("*") if "part-" in file.name] == []
    check_layout(tmp_path / "checked")


def test_a_full_disk_is_not_kept_full(registry: Registry, tmp_path: Path) -> None:
    """When there is no room for a blob, what there is of it goes, and the error says where there is none."""
    there(registry, tmp_path, 6 * MIB)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "ocikit-test", str(disk)], check=True)
    try:
        with pytest.raises(OSError, match=str(disk)) as caught:
            pulled(registry, disk / "l", tmp_path)
        assert caught.value.errno == errno.ENOSPC
        assert partials(disk / "l") == []
        assert json.loads((disk / "l" / "index.json").read_bytes())["manifests"] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
