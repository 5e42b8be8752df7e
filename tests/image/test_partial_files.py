"""Files of partial blobs: who may write one, who waits, what strangers can do with theirs, and when they go."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from builders import Store, check_layout, digest_of
from partial_pulls import PREFIX, noise, partials
from unprivileged import NOBODY

from ocikit.errors import DigestMismatchError, LayoutBusyError
from ocikit.image import Policy, copy, layout
from ocikit.image.layout import partial
from ocikit.image.layout.problems import ProblemKind
from ocikit.image.layout.store import Access, Layout
from ocikit.image.types import BlobInfo, PartialBlob
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
DATA = noise(1, 2 * MIB)
DIGEST = digest_of(DATA)
INFO = BlobInfo(digest=Digest(DIGEST), size=len(DATA))


def nothing() -> None:
    """Go on."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A layout with an image."""
    store = Store()
    return store.layout(tmp_path / "l", {"x": store.image(platform=False)})


@pytest.fixture
def opened(place: Path) -> Iterator[Layout]:
    """The same, open to be written."""
    with Layout(str(place), Access.WRITE) as found:
        yield found


def begin(opened: Layout, go_on: Callable[[], object] = nothing) -> PartialBlob:
    """Begin the blob, which nobody else is at."""
    found = partial.begin_blob(opened.blobs, INFO, go_on)
    assert isinstance(found, PartialBlob)
    return found


class Broken(io.BytesIO):
    """A stream that breaks off at its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return what there is, and fail then."""
        data = super().read(size)
        if not data:
            raise ConnectionResetError("broken off")
        return data


def leave(opened: Layout, size: int = MIB) -> Path:
    """Leave a part of the blob; return its file."""
    with begin(opened) as found, pytest.raises(ConnectionResetError):
        found.complete(Broken(DATA[:size]))
    (file,) = partials_of(opened)
    return file


def partials_of(opened: Layout) -> list[Path]:
    """Return the files of partial blobs of a layout."""
    from pathlib import Path  # noqa: PLC0415 - for this alone

    return partials(Path(opened.path))


def test_a_part_is_gone_on_with(opened: Layout) -> None:
    """What came stays, with its first bytes to be seen, and the rest makes it whole."""
    file = leave(opened)
    assert file.read_bytes() == DATA[:MIB]
    assert file.stat().st_mode & 0o777 == 0o644
    with begin(opened) as found:
        assert (found.offset, DATA.startswith(found.start)) == (MIB, True)
        assert found.complete(io.BytesIO(DATA[MIB:])) == INFO
    assert partials_of(opened) == []
    stream, size = opened.open_blob(Digest(DIGEST))
    with stream:
        assert (stream.read(), size) == (DATA, len(DATA))
    assert partial.begin_blob(opened.blobs, INFO, nothing) == INFO


def test_what_is_wrong_is_given_up_and_begun_anew(opened: Layout) -> None:
    """A whole that has another digest leaves nothing, and the same blob can be completed from its beginning."""
    leave(opened).write_bytes(bytes(MIB))
    with begin(opened) as found:
        with pytest.raises(DigestMismatchError):
            found.complete(io.BytesIO(DATA[MIB:]))
        assert (found.offset, found.start) == (0, b"")
        assert found.complete(io.BytesIO(DATA)) == INFO
    assert opened.blobs.size(Digest(DIGEST)) == len(DATA)


def test_more_than_there_can_be_is_nothing(opened: Layout) -> None:
    """A file that is larger than the blob is begun anew."""
    leave(opened).write_bytes(DATA + b"more")
    with begin(opened) as found:
        assert found.offset == 0
    assert partials_of(opened) == []


def test_one_at_a_time(opened: Layout) -> None:
    """Others wait, take over what is there when it is given up, and find the blob when it is whole."""
    first = begin(opened)
    found: list[PartialBlob | BlobInfo | None] = []
    waits = threading.Event()
    waiting = threading.Thread(target=lambda: found.append(partial.begin_blob(opened.blobs, INFO, waits.set)))
    waiting.start()
    assert waits.wait(60)
    assert found == []
    with first, pytest.raises(ConnectionResetError):
        first.complete(Broken(DATA[:MIB]))
    waiting.join(60)
    (second,) = found
    assert isinstance(second, PartialBlob)
    assert second.offset == MIB
    waits.clear()
    waiting = threading.Thread(target=lambda: found.append(partial.begin_blob(opened.blobs, INFO, waits.set)))
    waiting.start()
    assert waits.wait(60)
    second.complete(io.BytesIO(DATA[MIB:]))
    waiting.join(60)
    assert found[1] == INFO


def test_nobody_waits_for_ever(opened: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes, one who waits is told to help itself; where it is told to end, it ends."""

    class Enough(BaseException):
        pass

    def end() -> None:
        raise Enough

    with begin(opened) as held:
        with pytest.raises(Enough):
            partial.begin_blob(opened.blobs, INFO, end)
        monkeypatch.setattr(partial, "_PATIENCE_SECONDS", 0.0)
        assert partial.begin_blob(opened.blobs, INFO, nothing) is None
        opened.blobs.put(io.BytesIO(DATA), INFO)
        assert partial.begin_blob(opened.blobs, INFO, nothing) == INFO
        held.complete(io.BytesIO(DATA))
    assert partials_of(opened) == []


def test_told_to_end_while_hashing(opened: Layout) -> None:
    """Who ends while what is there is read leaves it there."""

    def end() -> None:
        raise KeyboardInterrupt

    file = leave(opened)
    with pytest.raises(KeyboardInterrupt):
        partial.begin_blob(opened.blobs, INFO, end)
    assert file.read_bytes() == DATA[:MIB]


def link_to(victim: Path, file: Path) -> None:
    """Put a symbolic link there."""
    file.symlink_to(victim)


def second_name(victim: Path, file: Path) -> None:
    """Put a second name of somebody's file there."""
    os.link(victim, file)


def of_a_stranger(victim: Path, file: Path) -> None:
    """Put a file there that another user can write at any time."""
    file.write_bytes(victim.read_bytes())
    os.chown(file, NOBODY, NOBODY)


def for_all(victim: Path, file: Path) -> None:
    """Put a file there that everybody can write."""
    file.write_bytes(victim.read_bytes())
    file.chmod(0o666)


STRANGE: dict[str, Callable[[Path, Path], object]] = {
    "a link": link_to,
    "a link to nothing": lambda _, file: file.symlink_to("nowhere"),
    "a second name": second_name,
    "a file of a stranger": of_a_stranger,
    "a file for all": for_all,
    "a pipe": lambda _, file: os.mkfifo(file),
    "a directory": lambda _, file: file.mkdir(),
}


@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE.keys())
def test_strange_files(tmp_path: Path, opened: Layout, put: Callable[[Path, Path], object]) -> None:
    """Whatever has the name already is not written and not gone on with, and the blob comes all the same."""
    file = leave(opened)
    file.unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(DATA[:MIB])
    put(victim, file)
    found = partial.begin_blob(opened.blobs, INFO, nothing)
    if isinstance(found, PartialBlob):
        with found:
            assert found.offset == 0
            found.complete(io.BytesIO(DATA))
    else:
        assert found is None
        opened.blobs.put(io.BytesIO(DATA), INFO)
    assert victim.read_bytes() == DATA[:MIB]
    assert opened.blobs.size(Digest(DIGEST)) == len(DATA)


def test_a_file_that_somebody_removes(opened: Layout) -> None:
    """A file that is gone from its directory when it is whole becomes the blob all the same."""
    with begin(opened) as found:
        (file,) = partials_of(opened)
        file.unlink()
        found.complete(io.BytesIO(DATA))
    assert opened.blobs.size(Digest(DIGEST)) == len(DATA)
    stream, _ = opened.open_blob(Digest(DIGEST))
    with stream:
        assert stream.read() == DATA


def test_a_file_that_somebody_exchanges(opened: Layout) -> None:
    """What is put in the place of the file does not become the blob."""
    with begin(opened) as found:
        (file,) = partials_of(opened)
        file.rename(file.with_name("elsewhere"))
        file.write_bytes(b"something else")
        found.complete(io.BytesIO(DATA))
    assert opened.blobs.size(Digest(DIGEST)) == len(DATA)
    assert file.read_bytes() == b"something else"


def test_hosts_do_not_write_each_others_files(opened: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks of another host are not seen, both write files of their own; what one left, the other copies."""
    first = begin(opened)
    monkeypatch.setattr(partial, "_kernel", lambda: "another")
    second = begin(opened)
    names = {file.name for file in partials_of(opened)}
    assert len(names) == 2
    with second, pytest.raises(ConnectionResetError):
        second.complete(Broken(DATA[:MIB]))
    with first:
        first.complete(io.BytesIO(DATA))
    assert opened.blobs.size(Digest(DIGEST)) == len(DATA)
    (left,) = partials_of(opened)
    assert left.read_bytes() == DATA[:MIB]
    opened.blobs.remove(Digest(DIGEST))
    monkeypatch.undo()
    with begin(opened) as third:
        assert third.offset == MIB
        third.complete(io.BytesIO(DATA[MIB:]))
    assert left.read_bytes() == DATA[:MIB]


def test_without_locks_there_are_no_parts(opened: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has no locks, blobs are put as a whole."""

    def refuse(fd: int, operation: int) -> None:
        del fd
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as here:
        here.setattr(fcntl, "flock", refuse)
        assert partial.begin_blob(opened.blobs, INFO, nothing) is None
    assert partials_of(opened) == []


@pytest.mark.parametrize(
    "info", [BlobInfo(size=5), BlobInfo(digest=Digest(DIGEST)), BlobInfo(digest=Digest("x:y"), size=1)]
)
def test_what_has_no_parts(opened: Layout, info: BlobInfo) -> None:
    """A blob of which digest or size is not known, or whose digest nobody can compute, is put as a whole."""
    assert partial.begin_blob(opened.blobs, info, nothing) is None


def test_a_part_is_no_blob(place: Path) -> None:
    """A check tells of it and finds nothing wrong; statistics do not count it; an image that is deleted leaves it."""
    before = layout.stat(place, "x").to_dict()
    with Layout(str(place), Access.WRITE) as opened:
        file = leave(opened)
        assert DIGEST not in {digest for digest, _ in opened.blob_sizes()}
    report = layout.fsck(place)
    assert report.ok
    assert [(one.kind, one.digest, one.path) for one in report if one.digest == DIGEST] == [
        (ProblemKind.PARTIAL_BLOB, DIGEST, str(file))
    ]
    assert f"{MIB:,} bytes" in str(report)
    assert layout.stat(place, "x").to_dict() == before
    assert not layout.fsck(place, repair=True).of_kind(ProblemKind.STALE_TEMPORARY)
    assert file.exists()
    check_layout(place)


def test_garbage(place: Path) -> None:
    """Collection counts and removes parts that nobody is at, once they are as old as asked for."""
    with Layout(str(place), Access.WRITE) as opened:
        file = leave(opened)
        with begin(opened):
            assert layout.gc(place, dry_run=True).temporaries == ()
        with pytest.raises(LayoutBusyError):
            layout.gc(place)
    assert layout.gc(place, min_age=3600).temporaries == ()
    would = layout.gc(place, dry_run=True)
    assert (would.temporaries, would.bytes_freed >= MIB, file.exists()) == ((file.name,), True, True)
    did = layout.gc(place)
    assert (did.temporaries, did.bytes_freed, file.exists()) == (would.temporaries, would.bytes_freed, False)


def old(file: Path) -> None:
    """Make it four days old."""
    then = time.time() - 4 * 86400
    os.utime(file, (then, then))


def from_the_future(file: Path) -> None:
    """Make it one of next year."""
    os.utime(file, (time.time() + 365 * 86400,) * 2)


def misnamed(file: Path) -> None:
    """Give it a name that nobody looks for."""
    file.rename(file.with_name(f"{PREFIX}x"))


@pytest.mark.parametrize("age", [old, from_the_future, misnamed])
def test_what_nobody_wants_goes_with_the_next_writer(place: Path, age: Callable[[Path], object]) -> None:
    """A part that is days old, or that nobody can go on with, goes; a young one stays, and one that is written."""
    with Layout(str(place), Access.WRITE) as opened:
        file = leave(opened)
    Layout(str(place), Access.WRITE).close()
    assert file.exists()
    age(file)
    assert layout.fsck(place).of_kind(ProblemKind.STALE_TEMPORARY)
    with Layout(str(place), Access.WRITE) as again:
        assert len(again.tidied) == 1
    assert partials(place) == []


def test_what_is_there_is_not_wanted(place: Path) -> None:
    """A part of a blob that came whole in another way goes with the next writer."""
    with Layout(str(place), Access.WRITE) as opened:
        leave(opened)
        opened.blobs.put(io.BytesIO(DATA), INFO)
    Layout(str(place), Access.WRITE).close()
    assert partials(place) == []


def test_a_child_that_is_forked_lets_go(opened: Layout) -> None:
    """A forked child that lives on keeps no lock and removes no file."""
    held = begin(opened)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            os.close(writer)
            held.close()
            os.read(reader, 1)
        os._exit(0)
    try:
        assert len(partials_of(opened)) == 1
        with held, pytest.raises(ConnectionResetError):
            held.complete(Broken(DATA[:MIB]))
        with begin(opened) as again:
            assert again.offset == MIB
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)


def test_a_copy_from_a_layout(place: Path, tmp_path: Path) -> None:
    """A copy from a layout, which has no use for parts, does not touch them."""
    with Layout(str(place), Access.WRITE) as opened:
        file = leave(opened)
    store = Store()
    source = store.layout(tmp_path / "in", {"y": store.image({"new": b"new"}, platform=False)})
    copy.image(Policy.insecure_accept_anything(), src=f"oci:{source}:y", dest=f"oci:{place}:y")
    assert file.read_bytes() == DATA[:MIB]
