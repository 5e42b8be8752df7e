"""Removing trees that somebody else made: by descriptor, through no link, whatever their modes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest

from ocikit._fs import remove_tree

NOBODY = 65534


def _remove(directory: Path, name: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        remove_tree(name, dir_fd=fd)
    finally:
        os.close(fd)


def test_everything_below_goes_and_nothing_behind_a_link(tmp_path: Path) -> None:
    """Files, nodes, links and directories are removed; what links point to stays."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("gone")
    (tree / "a" / "b" / "link").symlink_to(kept)
    os.mkfifo(tree / "fifo")
    (tree / os.fsdecode(b"\xff")).mkdir()
    _remove(tmp_path, "tree")
    assert not tree.exists()
    assert (kept / "file").read_text() == "kept"


def test_a_link_and_a_file_go_by_themselves(tmp_path: Path) -> None:
    """What is no directory is unlinked, a symbolic link to a directory too."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").touch()
    for name in ("link", "file", "missing"):
        _remove(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_tree_deeper_than_any_path_goes(tmp_path: Path) -> None:
    """The depth of a tree is not limited by the length of a path or the depth of recursion."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("directory" * 5, dir_fd=fd)
        inner = os.open("directory" * 5, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    _remove(tmp_path, "directory" * 5)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_deeper_than_there_are_descriptors_goes(tmp_path: Path) -> None:
    """A program in a container can nest directories at will; each of them needs no descriptor of its own."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.mkdir("also", dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, before[1]))
    try:
        _remove(tmp_path, "d")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["also"]


def test_a_directory_that_is_moved_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is above a directory that somebody moves is not taken for what was above it before."""
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "kept" / "inner").mkdir(parents=True)
    (tmp_path / "kept" / "file").touch()
    listed: list[int] = []
    listdir = os.listdir

    def moving(fd: int) -> list[str]:
        names = listdir(fd)
        listed.append(fd)
        if len(listed) == 2:
            (tmp_path / "kept" / "inner").rmdir()
            (tmp_path / "tree" / "inner").rename(tmp_path / "kept" / "inner")
        return names

    monkeypatch.setattr(os, "listdir", moving)
    with pytest.raises(OSError, match="moved away") as caught:
        _remove(tmp_path, "tree")
    assert caught.value.errno == errno.EBUSY
    assert (tmp_path / "kept" / "inner").is_dir()
    assert (tmp_path / "kept" / "file").exists()


def test_the_unprivileged_remove_directories_they_may_not_enter() -> None:
    """Directories without any permission are removed by their owner, who is not root."""
    top = Path(tempfile.mkdtemp())  # in /tmp itself: the directories of pytest can only be entered by root
    try:
        os.chown(top, NOBODY, NOBODY)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setresuid(NOBODY, NOBODY, NOBODY)
                tree = top / "tree" / "inner"
                tree.mkdir(parents=True)
                (tree / "file").touch()
                tree.chmod(0)
                tree.parent.chmod(0o500)
                _remove(top, "tree")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert list(top.iterdir()) == []
    finally:
        shutil.rmtree(top)
