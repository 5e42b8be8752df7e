"""A host that has no descriptor left: what cannot be made leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ocikit import runtime
from ocikit.runtime.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Host:
    """Takes every descriptor there is at the moment in which init is about to introduce itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._taken: list[int] = []
        self.full = False
        hear = Launch._hear_of_init

        def hear_without_room(launch: Launch) -> int:
            if self.full:
                self._take_all()
            return hear(launch)

        monkeypatch.setattr(Launch, "_hear_of_init", hear_without_room)

    def _take_all(self) -> None:
        while True:
            try:
                self._taken.append(os.dup(2))
            except OSError:
                return

    def release(self) -> None:
        """Give them back."""
        self.full = False
        while self._taken:
            os.close(self._taken.pop())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with a low limit on descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    host = Host(monkeypatch)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 1024), before[1]))
        yield host
    finally:
        host.release()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def children() -> set[str]:
    """Return the children of this process, zombies too."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


def descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


def test_creation_without_a_free_descriptor(root: Path, bundle: Path, container_id: str, host: Host) -> None:
    """An init whose descriptor there was no room for is killed and waited for; the next creation does well."""
    with runtime.create(root, f"{container_id}-before", bundle, stdin="null"):
        pass
    before, open_before = children(), descriptors()
    host.full = True
    with pytest.raises(OSError, match="Too many open files") as caught:
        runtime.create(root, container_id, bundle, stdin="null")
    assert caught.value.errno == errno.EMFILE
    host.release()
    assert children() == before
    assert descriptors() == open_before
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        assert container.status() is runtime.Status.CREATED


def test_exec_without_a_free_descriptor(root: Path, bundle: Path, container_id: str, host: Host) -> None:
    """A further process that there was no room for leaves nothing, neither here nor in the container."""
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        container.exec(["true"], stdin="null").end()
        before, open_before = children(), descriptors()
        host.full = True
        with pytest.raises(OSError, match="Too many open files") as caught:
            container.exec(["true"], stdin="null")
        assert caught.value.errno == errno.EMFILE
        host.release()
        assert children() == before
        assert descriptors() == open_before
        assert container.exec(["true"], stdin="null").wait(10).exit_code == 0


def test_a_host_that_ends_first(root: Path, bundle: Path, container_id: str) -> None:
    """An interpreter that ends while processes of containers go on says nothing about descriptors it still holds."""
    script = (
        "import sys\n"
        "from ocikit import runtime\n"
        "container = runtime.load(sys.argv[1], sys.argv[2])\n"
        "for _ in range(3):\n"
        "    container.exec(['sleep', '1000'], stdin='null', stdout='null', stderr='null')\n"
        "from ocikit.runtime import process\n"
        "process.contextlib = process.os = None  # as at the end of an interpreter\n"
    )
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        command = [sys.executable, "-c", script, str(root), container_id]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
