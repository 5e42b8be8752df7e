"""A layout as a database: how it begins, who waits for whom, what a crash leaves, what is never followed."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import resource
import threading
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from builders import Store, check_layout, digest_of

from ocikit._fs import atomic_write
from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    LayoutBusyError,
    LayoutError,
    NotSupportedError,
    SizeMismatchError,
)
from ocikit.image import BlobInfo
from ocikit.image.layout.locks import hold
from ocikit.image.layout.store import Access, Layout
from ocikit.image.layout.temporary import TemporaryFile, remove_stale
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STALE = ".ocikit-tmp-new-0123456789abcdef"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return a layout with one image."""
    store = Store()
    return store.layout(tmp_path / "layout", {"x": store.image()})


def open_layout(path: Path, access: Access = Access.READ, *, shared: Path | None = None) -> Layout:
    """Open a layout."""
    return Layout(str(path), access, shared_blobs=str(shared) if shared is not None else None)


def tree(path: Path) -> set[str]:
    """Return the names of everything below a directory."""
    return {str(found.relative_to(path)) for found in path.rglob("*")}


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_layout(tmp_path: Path, exists: bool) -> None:  # noqa: FBT001
    """Opening to write makes an empty layout of a missing directory, and of an empty one."""
    path = tmp_path / "new"
    if exists:
        path.mkdir(0o700)
    with open_layout(path, Access.WRITE) as opened:
        assert len(opened.index()) == 0
    assert tree(path) == {"oci-layout", "index.json", "blobs"}
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert check_layout(path) == set()
    assert path.stat().st_mode & 0o777 == (0o700 if exists else 0o755)


@pytest.mark.parametrize("begun", [["blobs"], ["blobs", "index.json"], ["blobs", STALE], ["index.json", "oci-layout"]])
def test_a_layout_that_was_begun_is_finished(tmp_path: Path, begun: list[str]) -> None:
    """What a crash left of a new layout, or git of an empty one, becomes one with the next writer."""
    with open_layout(tmp_path / "model", Access.WRITE):
        pass
    path = tmp_path / "new"
    path.mkdir()
    for name in begun:
        if name == "blobs":
            (path / name).mkdir()
        else:
            (path / name).write_bytes((tmp_path / "model" / name).read_bytes() if name != STALE else b"{")
    with pytest.raises(LayoutError):
        open_layout(path)
    with open_layout(path, Access.WRITE):
        pass
    assert tree(path) == {"oci-layout", "index.json", "blobs"}


def test_a_directory_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """A directory that is neither empty nor a layout is refused, and nothing in it changes."""
    for name in ("file", STALE):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LayoutError, match="not empty and is no layout"):
        open_layout(tmp_path, Access.WRITE)
    assert tree(tmp_path) == {"file", STALE}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no oci-layout file"),
        (b"", "not JSON"),
        (b'{"imageLayoutVersion":"2.0.0"}', "expected '1.0.0', found '2.0.0'"),
        (b"{}", "imageLayoutVersion"),
    ],
)
@pytest.mark.parametrize("access", list(Access))
def test_unknown_versions(layout: Path, access: Access, content: bytes | None, message: str) -> None:
    """A layout without its version, or of one that is not known, is not opened for anything."""
    (layout / "oci-layout").unlink()
    (layout / "else").write_bytes(b"")
    if content is not None:
        (layout / "oci-layout").write_bytes(content)
    with pytest.raises(
        LayoutError, match=message if content is not None or access is not Access.WRITE else "no layout"
    ):
        open_layout(layout, access)


def test_what_is_no_directory(tmp_path: Path) -> None:
    """A missing directory is an OSError, a file in its place a LayoutError."""
    with pytest.raises(FileNotFoundError):
        open_layout(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    for access in Access:
        with pytest.raises(LayoutError, match="expected a layout directory"):
            open_layout(tmp_path / "file", access)


def test_links_are_not_followed(layout: Path, tmp_path: Path) -> None:
    """Links in the place of files, of directories of blobs or of blobs are refused, wherever they lead."""
    data = b"secret"
    digest = Digest(digest_of(data))
    (tmp_path / "secret").write_bytes(data)
    blob = layout / "blobs" / "sha256" / digest.hex
    blob.symlink_to(tmp_path / "secret")
    with open_layout(layout) as opened, pytest.raises(LayoutError, match="expected a regular file"):
        opened.open_blob(digest)
    blob.unlink()
    os.mkfifo(blob)
    with open_layout(layout) as opened, pytest.raises(LayoutError, match="expected a regular file"):
        opened.open_blob(digest)
    blob.unlink()
    (layout / "blobs" / "sha256").rename(tmp_path / "sha256")
    (layout / "blobs" / "sha256").symlink_to(tmp_path / "sha256")
    with open_layout(layout) as opened, pytest.raises(LayoutError, match="expected a directory"):
        opened.open_blob(digest)
    (layout / "blobs").rename(tmp_path / "blobs")
    (layout / "blobs").symlink_to(tmp_path / "blobs")
    with pytest.raises(LayoutError, match="oci_shared_blob_dir_path"):
        open_layout(layout)
    (layout / "index.json").unlink()
    (layout / "index.json").symlink_to(tmp_path / "secret")
    (layout / "blobs").unlink()
    (layout / "blobs").mkdir()
    with open_layout(layout) as opened, pytest.raises(LayoutError, match="expected a regular file"):
        opened.index()


def test_blobs_that_are_not_there(layout: Path) -> None:
    """A missing blob is an error with its path, whatever its digest looks like."""
    with open_layout(layout) as opened:
        for text in ("sha256:" + "0" * 64, "sha512:" + "0" * 128, "other:" + "x" * 500, "a.b+c:_"):
            with pytest.raises(BlobNotFoundError, match="it is not there"):
                opened.open_blob(Digest(text))
            assert opened.blobs.size(Digest(text)) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_blobs_are_stored_whole(layout: Path, algorithm: str) -> None:
    """A blob appears under its digest when all of it is there; what is known of it is filled in."""
    data = os.urandom(3_000_000)
    digest = Digest(digest_of(data, algorithm))
    with open_layout(layout, Access.WRITE) as opened:
        for info in (BlobInfo(digest=digest, size=len(data)), BlobInfo(digest=digest)):
            assert opened.blobs.put(io.BytesIO(data), info) == BlobInfo(digest=digest, size=len(data))
        assert opened.blobs.size(digest) == len(data)
        unknown = opened.blobs.put(io.BytesIO(data), BlobInfo(media_type="kept"))
        assert unknown == BlobInfo(digest=Digest(digest_of(data)), size=len(data), media_type="kept")
        opened.blobs.sync()
    path = layout / "blobs" / algorithm / digest.hex
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o644


def test_blobs_that_are_not_what_they_should_be(layout: Path) -> None:
    """Wrong digests, wrong sizes and unknown algorithms leave nothing behind, not even for a moment."""
    before = tree(layout)
    data = b"x" * 3_000_000

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1, /) -> bytes:
            self.taken += size
            return bytes(size)

    endless = Endless()
    with open_layout(layout, Access.WRITE) as opened:
        put = opened.blobs.put
        with pytest.raises(DigestMismatchError, match=digest_of(b"y")):
            put(io.BytesIO(data), BlobInfo(digest=Digest(digest_of(b"y"))))
        for size in (len(data) - 1, len(data) + 1, 0):
            with pytest.raises(SizeMismatchError):
                put(io.BytesIO(data), BlobInfo(digest=Digest(digest_of(data)), size=size))
        with pytest.raises(SizeMismatchError):
            put(endless, BlobInfo(size=5_000_000))
        with pytest.raises(NotSupportedError):
            put(io.BytesIO(data), BlobInfo(digest=Digest("blake3:" + "0" * 64)))
        assert tree(layout) == before
    assert endless.taken < 10_000_000


def test_one_index_for_many_writers(layout: Path) -> None:
    """Images that are added at the same time are all there afterwards."""
    manifests = [b'{"number":%d}' % number for number in range(24)]

    def add(part: int) -> None:
        for number in range(part, len(manifests), 4):
            with open_layout(layout, Access.WRITE) as opened:
                stored = opened.blobs.put(io.BytesIO(manifests[number]), BlobInfo())
                assert stored.digest is not None
                descriptor = opened.index().descriptor(0)
                opened.add(evolve(descriptor, digest=stored.digest, size=stored.size), f"n{number}")

    threads = [threading.Thread(target=add, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_layout(layout) as opened:
        assert sorted(opened.index().names()) == sorted(["x", *(f"n{number}" for number in range(24))])


def test_removing_waits_for_those_who_rely_on_blobs(layout: Path) -> None:
    """Whoever wants to remove waits for all that have the layout open, and keeps new ones out meanwhile."""
    opened = open_layout(layout)
    happened: list[str] = []

    def remove() -> None:
        with open_layout(layout, Access.REMOVE):
            happened.append("removing")

    remover = threading.Thread(target=remove)
    remover.start()
    with open_layout(layout, Access.WRITE):  # neither waits for the other
        remover.join(0.2)
        happened.append("reading")
    opened.close()
    remover.join()
    assert happened == ["reading", "removing"]


def test_a_thread_does_not_wait_for_itself(layout: Path) -> None:
    """Asking for what its own open layout excludes is an error at once, the other way round too."""
    with open_layout(layout), pytest.raises(LayoutBusyError, match="close that source or destination first"):
        open_layout(layout, Access.REMOVE)
    with open_layout(layout, Access.REMOVE), pytest.raises(LayoutBusyError):
        open_layout(layout)
    with open_layout(layout), open_layout(layout):
        pass
    with open_layout(layout, Access.REMOVE):
        pass


def test_a_forked_child_holds_nothing(layout: Path) -> None:
    """A child that was forked while a layout was open does not keep its lock."""
    opened = open_layout(layout)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    opened.close()
    with open_layout(layout, Access.REMOVE):
        pass
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_system_without_locks(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on where there are no locks; writing does not."""

    def flock(_: int, __: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with open_layout(layout) as opened:
        assert len(opened.index()) == 1
    with pytest.raises(OSError, match="not supported"):
        open_layout(layout, Access.WRITE)


def test_leftovers_go_and_work_in_progress_stays(layout: Path) -> None:
    """The next writer removes temporary files that nobody writes any more; readers remove nothing."""
    stale = {layout / STALE, layout / ".ocikit-tmp-0123456789abcdef"}
    for path in stale:
        path.write_bytes(b"half")
    (layout / ".ocikit-tmp-directory").mkdir()
    with open_layout(layout):
        assert all(path.exists() for path in stale)
    directory = os.open(layout, os.O_RDONLY)
    with TemporaryFile(directory) as file:
        file.write(b"on its way")
        with open_layout(layout, Access.WRITE):
            pass
        assert not any(path.exists() for path in stale)
        file.rename("arrived", directory)
    os.close(directory)
    assert (layout / "arrived").read_bytes() == b"on its way"
    assert (layout / ".ocikit-tmp-directory").exists()


@pytest.fixture
def small_files() -> Iterator[int]:
    """Let no file become larger than the number of bytes that is returned."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_errors_of_the_disk_say_where(tmp_path: Path, small_files: int) -> None:
    """What the system says of a descriptor is of no use without the path; and nothing is left."""
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=str(tmp_path)) as caught, TemporaryFile(directory) as file:
        file.write(bytes(small_files + 1))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path))
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        atomic_write(directory, "name", bytes(small_files + 1))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "name"))
    os.close(directory)
    assert list(tmp_path.iterdir()) == []


def test_new_files_are_as_private_as_the_umask_says(layout: Path) -> None:
    """Who keeps others out of new files keeps them out of blobs and archives, too."""
    before = os.umask(0o027)
    try:
        with open_layout(layout, Access.WRITE) as opened:
            digest = opened.blobs.put(io.BytesIO(b"secret"), BlobInfo()).digest
    finally:
        os.umask(before)
    assert digest is not None
    assert (layout / "blobs" / "sha256" / digest.hex).stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("call", ["flock", "fstat"])
def test_an_interrupt_while_a_file_is_made(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between two steps leaves no file; nor does it before a with block is entered."""
    directory = os.open(tmp_path, os.O_RDONLY)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fcntl if call == "flock" else os, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            TemporaryFile(directory)
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(TemporaryFile, "__enter__", interrupted)
        with pytest.raises(KeyboardInterrupt), TemporaryFile(directory):
            pass
    assert list(tmp_path.iterdir()) == []
    os.close(directory)


def test_leftovers_that_belong_to_nobody_here(tmp_path: Path) -> None:
    """Links and other things with the name of a temporary file are not touched."""
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / STALE).symlink_to(target)
    directory = os.open(tmp_path, os.O_RDONLY)
    remove_stale(directory)
    os.close(directory)
    assert (tmp_path / STALE).is_symlink()
    assert target.exists()


def test_a_layout_that_was_replaced(layout: Path, tmp_path: Path) -> None:
    """Adding to a layout whose directory was replaced meanwhile is refused, not done in the other one."""
    with open_layout(layout, Access.WRITE) as opened:
        descriptor = opened.index().descriptor(0)
        layout.rename(tmp_path / "moved")
        store = Store()
        store.layout(layout, {"y": store.image()})
        before = (layout / "index.json").read_bytes()
        with pytest.raises(LayoutError, match="replaced by another"):
            opened.add(descriptor, "z")
    assert (layout / "index.json").read_bytes() == before


def test_shared_blobs(layout: Path, tmp_path: Path) -> None:
    """Blobs go to, and come from, a shared directory; its leftovers are removed, its blobs are not locked."""
    shared = tmp_path / "a" / "shared"
    with open_layout(layout, Access.WRITE, shared=shared) as opened:
        stored = opened.blobs.put(io.BytesIO(b"data"), BlobInfo())
        assert stored.digest is not None
        assert opened.has_shared_blobs
        with open_layout(layout, Access.REMOVE, shared=shared) as removing:
            assert removing.blobs.size(stored.digest) == 4
    assert tree(shared) == {"sha256", f"sha256/{stored.digest.hex}"}
    (shared / STALE).write_bytes(b"")
    with open_layout(layout, Access.WRITE, shared=shared), open_layout(layout) as own:
        assert not (shared / STALE).exists()
        with pytest.raises(BlobNotFoundError):
            own.open_blob(stored.digest)


def test_a_lock_of_something_else(tmp_path: Path) -> None:
    """A lock that is held by another thread is waited for, however it is held."""
    order: list[str] = []

    def other() -> None:
        with hold(str(tmp_path), exclusive=False, where="w"):
            order.append("other")

    with hold(str(tmp_path), exclusive=True, where="w"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
