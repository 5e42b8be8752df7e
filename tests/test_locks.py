"""Directories as locks of threads and processes, and descriptors that are not handed on to forked children."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ocikit._fs import Descriptor, lock_directory, no_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Do some work in several threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("held", "wanted"), [(True, True), (True, False), (False, True)])
def test_locks_exclude(tmp_path: Path, held: bool, wanted: bool) -> None:  # noqa: FBT001
    """Who wants to be alone waits for everybody, and everybody for who is alone; the error names the directory."""
    with lock_directory(tmp_path, exclusive=held), pytest.raises(TimeoutError, match=tmp_path.name):  # noqa: SIM117
        with lock_directory(tmp_path, exclusive=wanted, timeout=0.02):
            pass
    with lock_directory(tmp_path, exclusive=wanted, timeout=0):
        pass


def test_readers_share(tmp_path: Path) -> None:
    """Any number of holders that need not be alone hold the lock at the same time."""
    with lock_directory(tmp_path, exclusive=False), lock_directory(tmp_path, exclusive=False, timeout=0) as second:
        assert os.path.samestat(os.fstat(second), tmp_path.stat())


def test_threads_take_turns(tmp_path: Path) -> None:
    """Of threads that increment a number under the lock none loses a step, whether they wait with a timeout or not."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def increment(number: int) -> None:
        for _ in range(25):
            with lock_directory(tmp_path, exclusive=True, timeout=60 if number % 2 else None):
                counter.write_text(str(int(counter.read_text()) + 1))

    in_threads(increment, 4)
    assert counter.read_text() == "100"


HOLDER = """
import sys
from ocikit._fs import lock_directory
with lock_directory(sys.argv[1], exclusive=True):
    print(flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_elsewhere(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a lock in another process; it lets go when its standard input ends, or when it is killed."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        try:
            yield holder
        finally:
            holder.kill()


def test_processes_take_turns(tmp_path: Path) -> None:
    """A lock of another process is respected, and is free when that process ends, however it ends."""
    for end in ("close", "kill"):
        with held_elsewhere(tmp_path) as holder:
            with pytest.raises(TimeoutError), lock_directory(tmp_path, exclusive=False, timeout=0.02):
                pass
            if end == "kill":
                holder.kill()
            elif holder.stdin is not None:
                holder.stdin.close()
            with lock_directory(tmp_path, exclusive=True, timeout=60):
                pass


@pytest.mark.parametrize("replaced", [True, False])
def test_a_directory_that_went_away_is_not_locked(tmp_path: Path, replaced: bool) -> None:  # noqa: FBT001
    """Who waited for a directory that was removed or replaced meanwhile is told so, and holds nothing."""
    place = tmp_path / "place"
    place.mkdir()
    outcomes: list[object] = []

    def wait() -> None:
        try:
            with lock_directory(place, exclusive=True):
                outcomes.append("locked")
        except OSError as error:
            outcomes.append(error)

    thread = threading.Thread(target=wait)
    with lock_directory(place, exclusive=True):
        thread.start()
        while not is_waiting(place):
            pass
        shutil.rmtree(place)
        if replaced:
            place.mkdir()
    thread.join()
    (error,) = outcomes
    assert isinstance(error, FileNotFoundError)
    assert str(place) in str(error)


def is_waiting(place: Path) -> bool:
    """Tell whether somebody waits for the lock of a directory."""
    with open("/proc/locks") as locks:
        return any("->" in line and f":{place.stat().st_ino} " in line for line in locks)


def test_only_directories_are_locked(tmp_path: Path) -> None:
    """A link, a file, and what is not there are errors of the system; nothing is created."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name, kind in {"file": NotADirectoryError, "link": OSError, "missing": FileNotFoundError}.items():
        with pytest.raises(kind), lock_directory(tmp_path / name, exclusive=True):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_lock_is_taken_below_a_descriptor(tmp_path: Path) -> None:
    """A relative path starts at the directory that is handed in."""
    (tmp_path / "inner").mkdir()
    with Descriptor(os.open(tmp_path, os.O_PATH)) as above:  # noqa: SIM117
        with lock_directory("inner", exclusive=True, dir_fd=above.fd):
            with pytest.raises(TimeoutError), lock_directory(tmp_path / "inner", exclusive=True, timeout=0):
                pass


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    """An error in the block frees the lock, and no descriptor stays open."""
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), lock_directory(tmp_path, exclusive=True):
        raise KeyError
    with lock_directory(tmp_path, exclusive=True, timeout=0):
        pass
    assert len(os.listdir("/proc/self/fd")) == descriptors


def in_child(work: Callable[[], bool]) -> bool:
    """Fork, as a host may do at any moment, and return what some work in the child finds."""
    pid = os.fork()
    if pid == 0:
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A child of the host that was forked under the lock and lives on does not keep it."""
    reader, writer = os.pipe()
    with lock_directory(tmp_path, exclusive=True):
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        with lock_directory(tmp_path, exclusive=True, timeout=10):
            pass
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(pid, 0)


def test_a_copy_in_a_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A copy of the descriptor that nobody knows of (to list a directory makes one) does not keep the lock."""
    reader, writer = os.pipe()
    with lock_directory(tmp_path, exclusive=True) as fd:
        copy = os.dup(fd)
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)  # as long as the parent wants it
            os._exit(0)
        os.close(copy)
    with lock_directory(tmp_path, exclusive=True, timeout=0):
        pass
    os.close(writer)
    os.waitpid(pid, 0)
    os.close(reader)


def test_nobody_forks_between_opening_and_knowing() -> None:
    """While a descriptor is opened or closed that children must not have, forks of other threads wait."""
    forked = threading.Event()

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        forked.set()

    thread = threading.Thread(target=fork)
    with no_fork:
        thread.start()
        assert not forked.wait(0.1)
    thread.join()
    assert forked.is_set()


def test_a_forked_child_cannot_free_the_lock(tmp_path: Path) -> None:
    """Leaving the block in a forked child does not free the lock of the parent."""
    with lock_directory(tmp_path, exclusive=True):
        assert in_child(lambda: True)
        with pytest.raises(TimeoutError), lock_directory(tmp_path, exclusive=True, timeout=0):
            pass


def test_a_descriptor_is_closed_in_forked_children(tmp_path: Path) -> None:
    """A descriptor is closed in a child, and closing it there again does not close what has its number now."""
    with Descriptor(os.open(tmp_path, os.O_RDONLY)) as ours:

        def look() -> bool:
            try:
                os.fstat(ours.fd)
            except OSError:
                reused = os.dup2(1, ours.fd)
                ours.close()
                os.fstat(reused)
                return True
            return False

        assert in_child(look)
        os.fstat(ours.fd)


def test_a_descriptor_is_closed_once(tmp_path: Path) -> None:
    """Closing twice is nothing, also when the number belongs to somebody else by then."""
    ours = Descriptor(os.open(tmp_path, os.O_RDONLY))
    number = ours.fileno()
    with ours:
        assert ours.fd == number
    assert ours.fileno() == -1
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        assert other == number
        ours.close()
        os.fstat(other)
    finally:
        os.close(other)
