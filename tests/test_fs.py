"""The cellar: nothing leaves a root, and files appear whole."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ocikit._fs import (
    TEMPORARY_PREFIX,
    Descriptor,
    ProcessLocks,
    atomic_write,
    fsync_directory,
    open_in_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root beside a secret, with links that try to leave it and decoys where they lead to inside."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "secret").write_text("inside")
    for name, target in {
        "absolute": "/etc/passwd",
        "upwards": "../../../../../../etc/passwd",
        "near": "../secret",
        "etc/upwards": "../../secret",
        "through": "directory/passwd",
        "directory": "/etc",
        "loop": "loop",
        "dangling": "/nowhere/at/all",
        "dots": "..",
        "top": "/",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    """Open the root."""
    with Descriptor(os.open(root, os.O_PATH | os.O_DIRECTORY)) as directory:
        yield directory.fd


def read(fd: int) -> str:
    """Read a descriptor to its end, and close it."""
    with os.fdopen(fd) as file:
        return file.read()


@pytest.mark.parametrize(
    "path",
    """
    etc/passwd /etc/passwd ./etc/passwd //etc//passwd ../../etc/passwd etc/../../../secret absolute upwards near
    etc/upwards through directory/passwd directory/../etc/passwd dots/secret dots/dots/dots/secret top/etc/passwd
    top/../absolute
    """.split(),
)
def test_no_path_leads_out(root_fd: int, path: str) -> None:
    """Whatever a path and the links on it say, what is opened is in the root."""
    assert read(open_in_root(root_fd, path, os.O_RDONLY)) == "inside"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("loop", errno.ELOOP),
        ("dangling", errno.ENOENT),
        ("missing", errno.ENOENT),
        ("", errno.ENOENT),
        ("etc/passwd/", errno.ENOTDIR),
        ("etc/passwd/..", errno.ENOTDIR),
        ("x" * 256, errno.ENAMETOOLONG),
        ("y/" * 2100, errno.ENAMETOOLONG),
    ],
)
def test_what_is_not_there_is_an_error_of_the_system(root_fd: int, path: str, error: int) -> None:
    """A lookup that finds nothing fails as open does, and names the path."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what matters
        open_in_root(root_fd, path, os.O_RDONLY)
    assert (caught.value.errno, caught.value.filename) == (error, path)


def test_links_of_procfs_are_refused() -> None:
    """A link that is no path (the root or a descriptor of a process) is not followed."""
    with Descriptor(os.open("/proc/self", os.O_PATH)) as process:
        for path in ("root/etc/passwd", "cwd/.", "fd/0", "exe"):
            with pytest.raises(OSError, match=r"Too many levels|symbolic") as caught:
                open_in_root(process.fd, path, os.O_RDONLY)
            assert caught.value.errno == errno.ELOOP


def test_a_nul_does_not_end_a_path(root_fd: int) -> None:
    """A path with a NUL is refused, as open refuses it, and not cut there."""
    for path in ("secret\0/../x", b"secret\0"):
        with pytest.raises(ValueError, match="NUL"):
            open_in_root(root_fd, path)


def test_any_bytes_are_a_name(root: Path, root_fd: int) -> None:
    """Names that are no UTF-8 are opened, as bytes and as Python's text of them."""
    name = b"\xff\xfe name"
    (root / os.fsdecode(name)).write_text("inside")
    assert read(open_in_root(root_fd, name, os.O_RDONLY)) == "inside"
    assert read(open_in_root(root_fd, os.fsdecode(name), os.O_RDONLY)) == "inside"


def test_what_is_opened_is_not_inherited(root_fd: int) -> None:
    """Descriptors close on exec, whatever the flags say; a place is opened without a right to read it."""
    fd = open_in_root(root_fd, "etc/passwd")
    try:
        assert not os.get_inheritable(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(fd, 1)
    finally:
        os.close(fd)


def test_a_file_is_made_inside(root: Path, root_fd: int) -> None:
    """A file that is created through a link that leads out is created inside."""
    (root / "new").symlink_to("/etc/../../created")
    with Descriptor(open_in_root(root_fd, "new", os.O_WRONLY | os.O_CREAT, 0o600)):
        assert (root / "created").is_file()
    assert not (root.parent / "created").exists()


def test_exchanging_directories_for_links_does_not_help(root: Path, root_fd: int) -> None:
    """While a directory on the way is exchanged for a link that leads out, nothing outside is ever opened."""
    done = threading.Event()
    (root / "swap").mkdir()
    (root / "swap/secret").write_text("inside")
    (root / "link").symlink_to("../../")

    def exchange() -> None:
        while not done.is_set():
            (root / "swap").rename(root / "kept")
            (root / "link").rename(root / "swap")
            (root / "swap").rename(root / "link")
            (root / "kept").rename(root / "swap")

    thread = threading.Thread(target=exchange)
    thread.start()
    found = set()
    try:
        for _ in range(3000):
            with contextlib.suppress(FileNotFoundError):
                found.add(read(open_in_root(root_fd, "swap/secret", os.O_RDONLY)))
    finally:
        done.set()
        thread.join()
    assert found == {"inside"}


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Do some work in several threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Make a directory, and open it."""
    place = tmp_path / "directory"
    place.mkdir()
    with Descriptor(os.open(place, os.O_RDONLY | os.O_DIRECTORY)) as opened:
        yield place, opened.fd


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced(directory: tuple[Path, int], durable: bool) -> None:  # noqa: FBT001
    """The file has the new content and exactly the mode; a link at its name is replaced, not followed."""
    place, fd = directory
    (place / "other").write_text("other")
    (place / "file").symlink_to("other")
    before = os.umask(0o077)
    try:
        atomic_write(fd, "file", b"new" * 100_000, mode=0o664, durable=durable)
    finally:
        os.umask(before)
    assert not (place / "file").is_symlink()
    assert (place / "file").read_bytes() == b"new" * 100_000
    assert (place / "file").stat().st_mode & 0o7777 == 0o664
    assert (place / "other").read_text() == "other"
    assert sorted(path.name for path in place.iterdir()) == ["file", "other"]


def test_a_write_that_fails_changes_nothing(directory: tuple[Path, int]) -> None:
    """When the disk takes only a part, the old content stays, and no temporary file."""
    place, fd = directory
    atomic_write(fd, "file", b"old")
    descriptors = len(os.listdir("/proc/self/fd"))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            atomic_write(fd, "file", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in place.iterdir()] == ["file"]
    assert (place / "file").read_bytes() == b"old"
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_directory_in_the_way_stays(directory: tuple[Path, int]) -> None:
    """A directory is not replaced by a file, and nothing is left of the attempt."""
    place, fd = directory
    (place / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write(fd, "file", b"new")
    assert [path.name for path in place.iterdir()] == ["file"]


def test_readers_see_the_old_or_the_new(directory: tuple[Path, int]) -> None:
    """Whoever reads while four threads write sees one of their contents, whole."""
    place, fd = directory
    contents = [bytes([number]) * (50_000 + number) for number in range(4)]
    atomic_write(fd, "file", contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add((place / "file").read_bytes())

    def write(number: int) -> None:
        for _ in range(100):
            atomic_write(fd, "file", contents[number], durable=False)

    reader = threading.Thread(target=look)
    reader.start()
    in_threads(write, 4)
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert (place / "file").read_bytes() in contents


WRITER = """
import os, sys
from ocikit._fs import atomic_write
fd = os.open(sys.argv[1], os.O_RDONLY)
number = 0
while True:
    atomic_write(fd, "file", bytes([number % 256]) * 3_000_000, durable=number % 2 == 0)
    number += 1
    if number == 2:
        print(flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(directory: tuple[Path, int]) -> None:
    """After kill -9 at any moment the file is whole; what is left beside it is known by its name."""
    place, _ = directory
    moments = random.Random(1)  # noqa: S311 - the moments are to be the same in every run
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(moments.random() * 0.03)
            writer.kill()
        data = (place / "file").read_bytes()
        assert len(data) == 3_000_000
        assert data == data[:1] * 3_000_000
    others = [path.name for path in place.iterdir() if path.name != "file"]
    assert all(name.startswith(TEMPORARY_PREFIX) for name in others)


def test_what_cannot_be_synced_is_left_alone(directory: tuple[Path, int]) -> None:
    """File systems without a sync of directories are no error; a descriptor without rights is."""
    fsync_directory(directory[1])
    with Descriptor(os.open("/proc", os.O_RDONLY)) as procfs:
        fsync_directory(procfs.fd)
    with Descriptor(os.open("/", os.O_PATH)) as place, pytest.raises(OSError, match="Bad file descriptor"):
        fsync_directory(place.fd)


def test_locks_are_new_in_a_forked_child() -> None:
    """Nobody is left there who could give up the old ones."""
    locks = ProcessLocks(3)
    with locks.of(0), locks.of(1):
        assert locks.of(3) is locks.of(0)
        assert not locks.of(4).acquire(blocking=False)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if all(locks.of(number).acquire(blocking=False) for number in range(3)) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
