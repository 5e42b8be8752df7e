"""The state root: nobody else's word is taken, one id is one container, and what is removed is gone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ocikit import runtime
from ocikit.errors import ExistError, InvalidIDError, NotExistError, StateError, SystemCallError
from ocikit.runtime.state.documents import MAX_STATE_BYTES
from ocikit.runtime.state.root import StateRoot, default_root

NOBODY = 65534


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give an empty state root."""
    StateRoot.make(str(tmp_path / "deep/er/state")).__exit__()
    return tmp_path / "deep/er/state"


def add(state: Path, name: str, text: bytes = b"{}") -> Path:
    """Add a container as runc would."""
    directory = state / name
    directory.mkdir(0o711)
    (directory / "state.json").write_bytes(text)
    (directory / "state.json").chmod(0o600)
    return directory


def test_the_root_is_made_for_us_alone(state: Path) -> None:
    """The modes are those of runc, whatever the umask says, and what we make is marked as ours from the beginning."""
    before = os.umask(0o077)
    try:
        with StateRoot.make(str(state)) as root, root.claim("a"):
            assert (state / "a").stat().st_mode & 0o7777 == 0o1711
    finally:
        os.umask(before)
    assert state.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_root_that_others_write_to_is_refused(state: Path, mode: int) -> None:
    """Whoever may write to the state root could have us kill anything."""
    state.chmod(mode)
    with pytest.raises(StateError, match="lets others write"):
        runtime.list_containers(state)
    with pytest.raises(StateError, match="lets others write"):
        StateRoot.make(str(state))


def test_a_root_of_another_user_is_refused(state: Path) -> None:
    """Not only what others may write is theirs, but also what belongs to them."""
    os.chown(state, NOBODY, NOBODY)
    with pytest.raises(StateError, match=f"belongs to user {NOBODY}"):
        runtime.load(state, "a")


@pytest.mark.parametrize("what", ["directory", "file"])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_container_that_others_write_to_is_refused(state: Path, what: str, how: str) -> None:
    """The directory and the state of a container are checked like the root."""
    directory = add(state, "a")
    target = directory if what == "directory" else directory / "state.json"
    if how == "owner":
        os.chown(target, NOBODY, NOBODY)
    else:
        target.chmod(0o777)
    with pytest.raises(StateError, match=r"belongs to|lets others write"):
        runtime.load(state, "a")
    assert runtime.list_containers(state) == []


def test_links_are_not_followed(state: Path, tmp_path: Path) -> None:
    """A link in the place of a container or of its state is not what it refers to."""
    real = add(tmp_path, "real")
    (state / "linked").symlink_to(real)
    with pytest.raises(StateError):
        runtime.load(state, "linked")
    (state / "half").mkdir(0o711)
    (state / "half/state.json").symlink_to(real / "state.json")
    with pytest.raises(StateError):
        runtime.load(state, "half")


def test_a_state_that_is_no_file_does_not_hang(state: Path) -> None:
    """To open a fifo would wait for somebody to write into it."""
    (state / "a").mkdir(0o711)
    os.mkfifo(state / "a/state.json", 0o600)
    with pytest.raises(StateError, match="regular file"):
        runtime.load(state, "a")


def test_a_state_beyond_all_measure_is_not_read(state: Path) -> None:
    """The limit is on what is read, not on what is parsed."""
    add(state, "a")
    os.truncate(state / "a/state.json", MAX_STATE_BYTES + 1)
    with pytest.raises(StateError, match="bytes"):
        runtime.load(state, "a")


def test_what_does_not_exist(state: Path, tmp_path: Path) -> None:
    """No root, no directory and no state are all no container; a bad id is told before anything is looked at."""
    (state / "empty").mkdir(0o711)
    for root, name in ((tmp_path / "nowhere", "a"), (state, "a"), (state, "empty")):
        with pytest.raises(NotExistError, match="container does not exist"):
            runtime.load(root, name)
    with pytest.raises(InvalidIDError):
        runtime.load("/nowhere", "a/b")
    assert runtime.list_containers(tmp_path / "nowhere") == []


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    """The error names the path and what is wrong."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemCallError, match="open state root"):
        runtime.list_containers(tmp_path / "file")
    with pytest.raises(SystemCallError, match="make state root"):
        StateRoot.make(str(tmp_path / "file/below"))


def test_an_id_is_claimed_once(state: Path) -> None:
    """Of any number of threads that claim an id, one gets it."""
    go, won = threading.Event(), []

    def claim() -> None:
        with StateRoot.open(str(state)) as root:
            go.wait()
            try:
                with root.claim("a") as directory:
                    won.append(directory)
                    Path(f"/proc/self/fd/{directory}/state.json").write_bytes(b"{}")
            except ExistError:
                pass

    threads = [threading.Thread(target=claim) for _ in range(16)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_remains_of_an_interrupted_creation_are_claimed_again(state: Path) -> None:
    """Our own note without a state is nobody's container; anything else in the directory is."""
    (state / "ours").mkdir(0o711)
    (state / "ours/ocikit.json").touch(0o600)
    (state / "other").mkdir(0o711)
    (state / "other/exec.fifo").touch(0o600)
    (state / "empty").mkdir(0o711)
    for name in ("made", "begun"):
        (state / name).mkdir(0o1711)
    (state / "begun/.ocikit-tmp-0123").touch(0o600)
    with StateRoot.open(str(state)) as root:
        for name in ("ours", "made", "begun"):
            with root.claim(name):
                pass
        for name in ("other", "empty"):
            with pytest.raises(ExistError), root.claim(name):
                pass


def test_the_lock_orders_threads(state: Path) -> None:
    """Who waits for the lock of a container that is removed finds that it is gone."""
    add(state, "a")
    waiting, found = threading.Event(), []

    def lock() -> None:
        with StateRoot.open(str(state)) as root:
            waiting.set()
            try:
                with root.lock("a"):
                    found.append("a lock")
            except NotExistError:
                found.append("nothing")

    with StateRoot.open(str(state)) as root:
        with root.lock("a") as directory:
            thread = threading.Thread(target=lock)
            thread.start()
            waiting.wait()
            with pytest.raises(TimeoutError), root.lock("a", timeout=0.05):
                pass
            root.remove("a", directory)
        thread.join()
    assert found == ["nothing"]


def test_whatever_is_in_a_container_is_removed(state: Path) -> None:
    """Files of other programs, directories and links go with their container; what links refer to stays."""
    directory = add(state, "a")
    (directory / "deep/er").mkdir(parents=True)
    (directory / "deep/er/file").touch()
    (directory / "link").symlink_to(state.parent)
    with StateRoot.open(str(state)) as root, root.lock("a") as fd:
        root.remove("a", fd)
    assert list(state.iterdir()) == []


def test_ids_are_those_of_directories(state: Path) -> None:
    """Files, links and names that are no ids are left out."""
    for name in ("b", "a", ".hidden", "a,b", "a b"):
        (state / name).mkdir()
    (state / "file").touch()
    (state / "link").symlink_to("a")
    with StateRoot.open(str(state)) as root:
        assert root.ids() == [".hidden", "a", "b"]


@pytest.mark.parametrize(
    ("user", "directory", "expected"),
    [
        (0, None, "/run/runc"),
        (0, "/run/user/0", "/run/runc"),
        (1000, "/run/user/1000", "/run/user/1000/runc"),
        (1000, None, "/run/runc"),
        (1000, "", "/run/runc"),
    ],
)
def test_default_roots(monkeypatch: pytest.MonkeyPatch, user: int, directory: str | None, expected: str) -> None:
    """They are those of runc; a variable in root's environment hides nothing."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if directory is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    assert default_root() == expected
