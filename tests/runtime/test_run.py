"""Running a container to its end: its pipes are served, and nothing of it is left, whatever happens."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import LimitExceededError, RunTimeoutError, SetupError
from ocikit.spec import LinuxDevice, LinuxNamespace, User

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.spec import Spec

SHARED_PIDS = tuple(LinuxNamespace(type=name) for name in ("network", "ipc", "uts", "mount"))


@pytest.fixture
def run(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Callable[..., runtime.Completed]:
    """Run a shell script in a container."""

    def shell(script: str, **options: object) -> runtime.Completed:
        linux = options.pop("linux", None)
        return runtime.run(root, container_id, make_bundle("sh", "-c", script, linux=linux), **options)  # type: ignore[arg-type]

    return shell


def test_what_it_says_and_how_it_ends(run: Callable[..., runtime.Completed], root: Path) -> None:
    """Output, errors and the exit code are there; the container is not."""
    assert run("echo out; echo err >&2; exit 7") == (7, None, b"out\n", b"err\n")
    assert run("kill -9 $$; sleep 10", linux={"namespaces": SHARED_PIDS}) == (None, signal.SIGKILL, b"", b"")
    assert list(root.iterdir()) == []


def test_options_of_creation(run: Callable[..., runtime.Completed]) -> None:
    """They are those of create; who asks for the terminal elsewhere cannot have it read here."""
    reading, writing = os.pipe()
    try:
        run("echo passed on >&3", options=runtime.CreateOptions(preserve_fds=(writing,)))
        assert os.read(reading, 100) == b"passed on\n"
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(ValueError, match="a console socket takes the terminal away"):
        run("true", options=runtime.CreateOptions(console_socket="/no/such"))


def test_a_user_by_name_is_root(
    root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On Linux ids count alone; that nobody takes a name for the user, it is warned about."""
    for user, warned in ((User(username="nobody"), True), (User(uid=99, username="nobody"), False), (User(), False)):
        caplog.clear()
        spec = make_spec("true", process={"user": user})
        assert runtime.run(root, container_id, tmp_path, spec=spec).exit_code == 0
        assert ("'nobody' does not count on Linux, and uid is 0: the program runs as root" in caplog.text) == warned


def test_nothing_to_run(root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str) -> None:
    """Without a process in its configuration a container can be created; it ends when it is started."""
    spec = attrs.evolve(make_spec(), process=None)
    (tmp_path / "config.json").write_bytes(spec.to_json())
    with runtime.create(root, container_id, tmp_path) as container:
        assert container.status() is runtime.Status.CREATED
        with pytest.raises(SetupError, match=r"\$.process"):
            container.start()
    with runtime.create(root, container_id, tmp_path) as container:
        loaded = runtime.load(root, container_id)
        loaded.start()
        assert loaded.wait(30).exit_code not in {0, None}


def test_fifos_have_no_numbers(run: Callable[..., runtime.Completed]) -> None:
    """A FIFO among the devices is made, whatever device numbers stand beside it."""
    fifo = LinuxDevice(path="/dev/fifo", type="p", major=8, minor=666)
    assert run("test -p /dev/fifo", linux={"devices": (fifo,)}).exit_code == 0


def test_more_than_a_pipe_holds(run: Callable[..., runtime.Completed]) -> None:
    """Input and output of any size pass at the same time."""
    data = os.urandom(1 << 20)
    assert run("cat", input=data).stdout == data
    assert run("head -c 10", input=data).stdout == data[:10]
    assert run("cat", input=b"").stdout == run("cat").stdout == b""


def test_a_container_that_closes_its_pipes(run: Callable[..., runtime.Completed]) -> None:
    """The end of its output is not the end of the container."""
    assert run("exec >&- 2>&- <&-; sleep 0.1; exit 4", input=b"x" * 100_000).exit_code == 4


def test_what_takes_too_long(run: Callable[..., runtime.Completed], root: Path) -> None:
    """It is killed and removed."""
    with pytest.raises(TimeoutError, match="was killed"):
        run("echo; sleep 1000", timeout=0.3)
    assert list(root.iterdir()) == []


def test_what_says_too_much(run: Callable[..., runtime.Completed], root: Path) -> None:
    """It is killed and removed; nobody's memory is filled by a container."""
    with pytest.raises(LimitExceededError, match="stdout"):
        run("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", output_limit=100_000)
    assert list(root.iterdir()) == []
    assert len(run("head -c 1000 /dev/zero", output_limit=1000).stdout or b"") == 1000


def test_what_outlives_the_first_process(run: Callable[..., runtime.Completed]) -> None:
    """Who keeps the pipes open without being the container's first process ends with it."""
    assert run("sleep 1000 & echo started", linux={"namespaces": SHARED_PIDS}).stdout == b"started\n"


def test_a_pipe_that_nobody_would_serve(run: Callable[..., runtime.Completed]) -> None:
    """There is no way to write into it, and so there is none."""
    with pytest.raises(ValueError, match="stdin"):
        run("cat", stdin="pipe")


def test_text_is_no_input(run: Callable[..., runtime.Completed], root: Path) -> None:
    """Input of the wrong kind is told before there is a container."""
    with pytest.raises(TypeError, match="str"):
        run("true", input="text")
    assert not root.exists()


def test_paths_are_text_bytes_or_objects(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whatever the operating system takes for a path names a state root and a bundle, and nothing is left of either."""
    bundle = make_bundle("true")
    kinds: tuple[Callable[[Path], Any], ...] = (str, os.fsencode, os.path.relpath, lambda path: path)
    for kind in kinds:
        assert runtime.run(kind(root), container_id, kind(bundle)).exit_code == 0
        assert list(root.iterdir()) == []


def test_what_was_written_before_the_time_was_up(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Whoever runs other people's programs wants to know how far one came."""
    bundle = make_bundle("sh", "-c", "echo far; echo odd >&2; sleep 1000")
    with pytest.raises(RunTimeoutError) as caught:
        runtime.run(root, container_id, bundle, timeout=1)
    assert (caught.value.stdout, caught.value.stderr) == (b"far\n", b"odd\n")
    assert not (root / container_id).exists()
