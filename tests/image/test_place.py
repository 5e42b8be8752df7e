"""Where images are unpacked: only where other users cannot get at them, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ocikit._fs import lock_directory
from ocikit.errors import UnpackError
from ocikit.image.place import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Make a directory that every user can enter; the directories of pytest are closed to all but root."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def make(path: Path, *, keeps_others_out: bool = True) -> None:
    """Make a directory with a file in it."""
    with new_directory(path, keeps_others_out=keeps_others_out) as fd:
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_it_appears_whole(tmp_path: Path) -> None:
    """The directory is there when the block has ended, not before, and nothing else is."""
    with new_directory(tmp_path / "new", keeps_others_out=True) as fd:
        assert not (tmp_path / "new").exists()
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert mode_of(tmp_path / "new") == 0o700


def test_missing_directories_are_made_private(tmp_path: Path) -> None:
    """What is above it and missing keeps others out too."""
    make(tmp_path / "a" / "b" / "new")
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/new")] == [0o700] * 3


def test_an_empty_directory_is_taken_over(tmp_path: Path) -> None:
    """An empty directory is as good as none."""
    (tmp_path / "new").mkdir(mode=0o755)
    make(tmp_path / "new")
    assert (tmp_path / "new" / "file").exists()
    assert mode_of(tmp_path / "new") == 0o700


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    """Whatever ends the block, nothing remains, and the error is the one that was raised."""

    def fail() -> None:
        with new_directory(tmp_path / "new", keeps_others_out=True) as fd:
            os.mkdir("inner", dir_fd=fd)
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_something_is_there(tmp_path: Path) -> None:
    """Neither a file nor a directory with something in it is replaced; a link is not followed."""
    (tmp_path / "file").touch()
    (tmp_path / "full" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    for name, number in (("file", errno.EEXIST), ("full", errno.ENOTEMPTY), ("link", errno.EEXIST)):
        with pytest.raises(UnpackError, match=name) as caught:
            make(tmp_path / name)
        assert caught.value.errno == number
    assert {path.name for path in tmp_path.iterdir()} == {"file", "full", "elsewhere", "link"}


def test_something_came_meanwhile(tmp_path: Path) -> None:
    """What appears under the name before the end stays, and the new directory does not."""
    with (
        pytest.raises(UnpackError, match=r"in its place.*something else was put there meanwhile"),
        new_directory(tmp_path / "new", keeps_others_out=True),
    ):
        (tmp_path / "new" / "theirs").mkdir(parents=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "theirs"]


def test_no_name() -> None:
    """The root of the file system is no place."""
    with pytest.raises(UnpackError, match="Invalid argument"):
        make(Path("/"))


def test_a_directory_that_everybody_writes_to(open_place: Path) -> None:
    """A world-writable directory is refused, unless it is sticky like /tmp."""
    open_place.chmod(0o777)
    with pytest.raises(UnpackError, match="every user can write to") as caught:
        make(open_place / "new")
    assert caught.value.errno == errno.EPERM
    open_place.chmod(0o1777)
    make(open_place / "new")
    assert mode_of(open_place / "new") == 0o700


def test_a_directory_that_another_group_writes_to(open_place: Path) -> None:
    """The members of another group could exchange what was unpacked."""
    os.chown(open_place, 0, 4321)
    open_place.chmod(0o775)
    with pytest.raises(UnpackError, match="group 4321 can write"):
        make(open_place / "new")
    open_place.chmod(0o755)
    make(open_place / "new")
    assert (open_place / "new").exists()


def test_a_directory_of_another_user(open_place: Path) -> None:
    """Its owner could exchange what was unpacked."""
    os.chown(open_place, NOBODY, NOBODY)
    with pytest.raises(UnpackError, match="another user"):
        make(open_place / "new")


def test_others_must_not_find_programs_in_it(open_place: Path) -> None:
    """A directory with the modes of an image needs one above it that keeps other users out."""
    with pytest.raises(UnpackError, match="chmod 0700"):
        make(open_place / "new", keeps_others_out=False)
    make(open_place / "private" / "new", keeps_others_out=False)
    open_place.chmod(0o700)
    make(open_place / "new", keeps_others_out=False)
    assert (open_place / "new" / "file").exists()


def test_nothing_is_inherited(tmp_path: Path) -> None:
    """Neither the group nor the access control list of the directory above passes on."""
    os.chown(tmp_path, 0, 4321)
    tmp_path.chmod(0o2750)
    everything = bytes.fromhex("0200000001000700ffffffff04000700ffffffff20000700ffffffff")
    os.setxattr(tmp_path, "system.posix_acl_default", everything)
    make(tmp_path / "new")
    assert ((tmp_path / "new").stat().st_gid, mode_of(tmp_path / "new")) == (os.getegid(), 0o700)
    assert os.listxattr(tmp_path / "new") == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """The next one to make a directory there removes what a kill -9 left, and nothing that is in use."""
    program = (
        "import os, signal, sys; from ocikit.image.place import new_directory\n"
        "with new_directory(sys.argv[1], keeps_others_out=True) as fd:\n"
        "    os.mkdir('inner', dir_fd=fd); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "dead")], check=False)
    assert done.returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    with new_directory(tmp_path / "slow", keeps_others_out=True):
        assert left[0] not in tmp_path.iterdir()
        make(tmp_path / "quick")
    assert {path.name for path in tmp_path.iterdir()} == {"slow", "quick"}


def test_leftovers_that_are_locked_stay(tmp_path: Path) -> None:
    """A directory that somebody is making is locked, and a lock is respected."""
    busy = tmp_path / ".ocikit-tmp-tree-0123"
    busy.mkdir()
    with lock_directory(busy, exclusive=True):
        make(tmp_path / "new")
        assert busy.exists()
    make(tmp_path / "newer")
    assert not busy.exists()
