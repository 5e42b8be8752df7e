"""Listing: whatever can be loaded, filtered, and nothing else."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from peer_runc import Runc


def test_containers_are_filtered(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> None:
    """By the beginning of the id, by annotations, by both; sorted by id."""
    prefix = new_id()
    labels = {"a": {"app": "x", "tier": "web"}, "b": {"app": "x"}, "c": {}}
    containers = [
        runtime.create(root, f"{prefix}-{name}", make_bundle(annotations=annotations))
        for name, annotations in reversed(labels.items())
    ]

    def names(**filters: object) -> list[str]:
        return [one.id.removeprefix(f"{prefix}-") for one in runtime.list_containers(root, **filters)]  # type: ignore[arg-type]

    assert names() == names(prefix="", labels={}) == ["a", "b", "c"]
    assert names(prefix=f"{prefix}-b") == ["b"]
    assert names(labels={"app": "x"}) == ["a", "b"]
    assert names(labels={"app": "x", "tier": "web"}) == ["a"]
    assert names(prefix=f"{prefix}-c", labels={"app": "x"}) == names(labels={"app": "y"}) == []
    for container in containers:
        container.destroy()
    assert names() == []


def test_what_cannot_be_loaded_is_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged state does not keep the others from being listed."""
    root.mkdir(0o700)
    for name, text in {"bad": b"{", "good": b"{}", "other": None}.items():
        (root / name).mkdir(0o711)
        if text is not None:
            (root / name / "state.json").write_bytes(text)
    assert [one.id for one in runtime.list_containers(root)] == ["good"]
    assert "container bad is left out" in caplog.text
    assert "other" not in caplog.text


def test_listing_while_containers_come_and_go(root: Path, bundle: Path, container_id: str) -> None:
    """What vanishes between two looks is not an error."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        while not stop.is_set():
            try:
                for container in runtime.list_containers(root):
                    container.status()
                    container.state()
            except BaseException as error:  # noqa: BLE001 - it is reported by the test
                failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(10):
        with runtime.create(root, container_id, bundle) as container:
            container.start()
    stop.set()
    thread.join()
    assert failures == []


def test_a_list_opens_nothing(runc: Runc, bundle: Path, new_id: Callable[[], str]) -> None:
    """However many containers there are, to list them and their states costs no descriptor."""
    for _ in range(3):
        runc.create(new_id(), bundle)
    before = sorted(os.listdir("/proc/self/fd"))
    found = runtime.list_containers(runc.root)
    assert len(found) == 3
    assert {one.state().pid for one in found} == {one.pid for one in found}
    assert {one.status() for one in found} == {runtime.Status.CREATED}
    assert sorted(os.listdir("/proc/self/fd")) == before
