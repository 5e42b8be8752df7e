"""The log that a monitor keeps of what its container writes."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import NotSupportedError, SystemCallError
from ocikit.runtime import CreateOptions, LogOptions
from ocikit.runtime.logs import LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0

#: Writes so many lines.
COUNT = "i=0; while [ $i -lt {} ]; do echo line $i; i=$((i+1)); done"

#: Waits for a signal, from the beginning on and where the script has to go on.
SIGNALLED = "trap go=1 USR1"
PAUSE = 'until [ "$go" ]; do sleep 0.01; done'


@pytest.fixture
def logged(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> Iterator[Callable[..., Any]]:
    """Run a script in a detached container, by default to its end."""
    made = []

    def start(script: str, *, wait: bool = True, process: Any = None, **log: Any) -> runtime.Container:
        options = CreateOptions(log=LogOptions(**log))
        bundle = make_bundle("sh", "-c", script, process=process)
        container = runtime.create(root, new_id(), bundle, lifetime="detached", options=options)
        made.append(container)
        container.start()
        if wait:
            container.wait(PATIENCE)
        return container

    yield start
    for container in made:
        container.destroy(force=True)


def written(container: runtime.Container, **options: Any) -> list[tuple[str, bytes]]:
    """Read a log."""
    with container.logs(**options) as log:
        return [(line.stream, line.data) for line in log]


@pytest.mark.parametrize("form", ["json", "cri"])
def test_lines_are_logged(logged: Callable[..., runtime.Container], form: str) -> None:
    """Each line is there with its stream and its time; the last one, which has no end, is partial."""
    before = dt.datetime.now(dt.UTC)
    container = logged("echo one; echo two >&2; echo; printf three", format=form)
    assert sorted(written(container)) == sorted(
        [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"\n"), ("stdout", b"three")]
    )
    assert written(container, stream="stderr") == [("stderr", b"two\n")]
    with container.logs() as log:
        lines = list(log)
    assert [line.partial for line in lines if line.data == b"three"] == [True]
    # The monitor's time has more digits than are read.
    assert all(before <= line.time + dt.timedelta(microseconds=1) for line in lines)
    assert all(line.time <= dt.datetime.now(dt.UTC) for line in lines)
    assert written(container, since=dt.datetime.now(dt.UTC)) == []


def test_the_formats_are_those_of_others(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """A log is one that docker's and Kubernetes' readers understand."""
    logged("echo one; echo two >&2", path=tmp_path / "json.log", format="json")
    lines = sorted((tmp_path / "json.log").read_text().splitlines())
    found = [json.loads(line) for line in lines]
    assert [set(one) for one in found] == [{"log", "stream", "time"}] * 2
    assert {(one["log"], one["stream"]) for one in found} == {("one\n", "stdout"), ("two\n", "stderr")}
    logged("echo one; printf two", path=tmp_path / "cri.log", format="cri")
    rows = [line.split(" ", 3) for line in (tmp_path / "cri.log").read_text().splitlines()]
    assert [row[1:] for row in rows] == [["stdout", "F", "one"], ["stdout", "P", "two"]]
    for row in rows:
        assert len(row[0]) == len("2026-01-01T00:00:00.000000000Z")
        assert dt.datetime.fromisoformat(row[0]).tzinfo is dt.UTC


@pytest.mark.parametrize("form", ["json", "cri"])
def test_every_byte_comes_back(logged: Callable[..., runtime.Container], form: str) -> None:
    """What is no text, what is none in one of its parts, and control characters are what they were."""
    pieces = [
        bytes(range(256)),
        "äöü€😀\u2028\ud7ff\ue000\U0010ffff".encode(),
        b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xf4\x90\x80\x80",
        b'\x1b[31m\x07\\"\x7f', b'{"log":"forged\\n"}', b"\r", b"",
    ]  # fmt: skip
    data = b"\n".join(pieces)
    script = "printf '" + "".join(f"\\{byte:03o}" for byte in data) + "'"
    container = logged(script, format=form)
    assert b"".join(piece for _, piece in written(container)) == data


def test_long_lines_come_in_parts(logged: Callable[..., runtime.Container]) -> None:
    """A line longer than what is kept of it is written in parts, none of which ends in the middle of a character."""
    euros = "i=0; while [ $i -lt 9000 ]; do printf €€; i=$((i+1)); done"
    container = logged(f"head -c 100000 /dev/zero | tr '\\0' x; echo; {euros}")
    with container.logs() as log:
        lines = list(log)
    assert b"".join(line.data for line in lines) == b"x" * 100_000 + b"\n" + "€€".encode() * 9000
    assert len(lines) > 8
    for line in lines:
        line.data.decode()


def test_logs_are_rotated(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """A file that is full is put aside; as many are kept as were asked for, and read in their order."""
    path = tmp_path / "log"
    container = logged(COUNT.format(2000), path=path, max_bytes=20_000, max_files=3)
    names = sorted(one.name for one in tmp_path.glob("log*"))
    assert names == ["log", "log.1", "log.2"]
    assert all(20_000 <= (tmp_path / name).stat().st_size < 20_200 for name in names[1:])
    found = [int(data.split()[1]) for _, data in written(container)]
    assert found == list(range(found[0], 2000))
    assert 0 < found[0] < 2000


def test_one_file_alone_begins_anew(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """With one file, there is never more on the disk than that."""
    path = tmp_path / "log"
    container = logged(COUNT.format(900), path=path, max_bytes=9_000, max_files=1)
    assert [one.name for one in tmp_path.glob("log*")] == ["log"]
    assert written(container)[-1] == ("stdout", b"line 899\n")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 700, 1999, 2000, 2001, 5000])
def test_the_last_lines(tmp_path: Path, count: int) -> None:
    """The tail of a log is found without reading what comes before it, over the ends of files."""

    def line(number: int) -> str:
        return json.dumps({"log": f"{number}\n", "stream": "stdout", "time": "2026-01-01T00:00:00.000000001Z"}) + "\n"

    for name, numbers in (("log.2", range(700)), ("log.1", range(700, 1400)), ("log", range(1400, 2000))):
        (tmp_path / name).write_text("".join(map(line, numbers)))
    with LogReader(str(tmp_path / "log"), "json", 3, tail=count) as log:
        found = [int(one.data) for one in log]
    assert found == list(range(2000))[max(0, 2000 - count) :]


@pytest.mark.parametrize(
    "torn",
    [b"{", b"{}\n", b'{"log": 5, "stream": "stdout", "time": "x"}\n', b"\xff\xfe\n", b"[]\n", b"[" * 100_000 + b"\n",
     b'{"log": "x", "stream": "neither", "time": "2026-01-01T00:00:00Z"}\n', b"x" * 3_000_000 + b"\n",
     b'{"log": "\\ud800", "stream": "stdout", "time": "2026-01-01T00:00:00Z"}\n'],
)  # fmt: skip
def test_damaged_logs_are_read(tmp_path: Path, torn: bytes) -> None:
    """Lines that no monitor has written are left out; those around them are read."""
    good = b'{"log": "good\\n", "stream": "stdout", "time": "2026-01-01T00:00:00Z"}\n'
    (tmp_path / "log").write_bytes(good + torn + b"\n" + good)
    with LogReader(str(tmp_path / "log"), "json", 1) as log:
        assert [line.data for line in log] == [b"good\n"] * 2


def test_following_ends_with_the_container(logged: Callable[..., runtime.Container]) -> None:
    """Who follows gets each line when it is written, from the first one on, and the end with that of the container."""
    container = logged("echo begin; cat /go >/dev/null 2>&1; sleep 0.3; echo middle; sleep 0.3; echo end", wait=False)
    assert [data for _, data in written(container, follow=True)] == [b"begin\n", b"middle\n", b"end\n"]
    with container.logs(follow=True, tail=1) as log:
        assert [line.data for line in log] == [b"end\n"]


def test_following_over_many_files(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """Who follows fast enough loses nothing when files are put aside meanwhile."""
    container = logged(COUNT.format(3000), wait=False, path=tmp_path / "log", max_bytes=10_000, max_files=50)
    assert [int(data.split()[1]) for _, data in written(container, follow=True)] == list(range(3000))


def test_another_process_follows(logged: Callable[..., runtime.Container]) -> None:
    """The log is read by whoever may read the state, in any process."""
    container = logged("for i in 1 2 3; do echo $i; sleep 0.2; done", wait=False)
    script = (
        "import sys; from ocikit import runtime\n"
        "for line in runtime.load(*sys.argv[1:]).logs(follow=True): print(line.text, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, container.root, container.id],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "2", "3"]


def test_nothing_to_follow_any_more(logged: Callable[..., runtime.Container]) -> None:
    """Who follows a container that is destroyed meanwhile comes to the end, with all that was written."""
    container = logged("echo begin; sleep 1000", wait=False)
    log = container.logs(follow=True)
    first = log.wait(PATIENCE)
    assert first is not None
    assert first.data == b"begin\n"
    assert log.wait(0.05) is None
    assert not log.ended
    timer = threading.Timer(0.2, container.destroy, kwargs={"force": True})
    timer.start()
    assert list(log) == []
    assert log.ended
    timer.join()
    log.close()


def test_a_log_never_blocks_its_container(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """What finds no room on a full disk is lost and counted, the container goes on, and with room so does the log."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=True)
    try:
        script = f"{SIGNALLED}; echo ready; {PAUSE}; go=; seq 1 20000; {PAUSE}; echo after; exit 3"
        container = logged(script, wait=False, path=small / "log")
        assert next(iter(container.logs(follow=True))).data == b"ready\n"
        with container.attach() as attachment:
            container.signal(signal.SIGUSR1)
            # Who is attached is told of what was, or was not, written down.
            while not next(iter(attachment)).data.endswith(b"\n20000\n"):
                pass
        lines = [data for _, data in written(container)]
        assert 500 < len(lines) < 1000
        assert lines == [b"ready\n", *(b"%d\n" % number for number in range(1, len(lines)))]
        os.truncate(small / "log", 20_000)
        container.signal(signal.SIGUSR1)
        assert container.wait(PATIENCE).exit_code == 3
        assert written(container)[-1] == ("stdout", b"after\n")
        assert json.loads((Path(container.root) / container.id / "exit.json").read_text())["log_lost"] > 1_000_000
        container.destroy()
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_streams_that_go_elsewhere(root: Path, bundle: Path, container_id: str) -> None:
    """A container whose output goes elsewhere has no log, and says how it would have one."""
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        with pytest.raises(NotSupportedError, match='lifetime="process"'):
            container.logs()
        with pytest.raises(NotSupportedError, match='lifetime="process"'):
            container.attach()


def test_logs_that_cannot_be(root: Path, bundle: Path, container_id: str, tmp_path: Path) -> None:
    """A log that cannot be opened is an error of creation, which leaves nothing."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing" / "log", tmp_path, tmp_path / "link", tmp_path / "fifo", Path("/dev/null")):
        options = CreateOptions(log=LogOptions(path=path))
        with pytest.raises(SystemCallError, match=str(path).removesuffix("/log")):
            runtime.create(root, container_id, bundle, lifetime="detached", options=options)
    assert list(root.iterdir()) == []
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_is_private(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """What a container writes is not for every user of the host."""
    umask = os.umask(0)
    try:
        logged("echo secret", path=tmp_path / "log")
    finally:
        os.umask(umask)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_pipes_and_logs(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """One stream may be logged while the other one is read here."""
    bundle = make_bundle("sh", "-c", "echo out; echo err >&2")
    with runtime.create(root, container_id, bundle, lifetime="detached", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        assert container.stdout.read() == b"out\n"
        container.wait(PATIENCE)
        assert written(container) == [("stderr", b"err\n")]
        container.destroy()


def test_two_containers_and_one_log(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """A log goes on where another one has ended."""
    for number in itertools.islice(itertools.count(), 2):
        container = logged(f"echo {number}", path=tmp_path / "log")
    assert [data for _, data in written(container)] == [b"0\n", b"1\n"]


def test_logs_that_are_forgotten_are_closed(logged: Callable[..., runtime.Container]) -> None:
    """A loop over a log leaves no descriptor behind."""
    container = logged("echo one; echo two")
    before = os.listdir("/proc/self/fd")
    for follow in (False, True):
        assert [line.data for line in container.logs(follow=follow)] == [b"one\n", b"two\n"]
    assert next(iter(container.logs(follow=True))).data == b"one\n"
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_something_else_in_the_place_of_a_log(
    logged: Callable[..., runtime.Container], tmp_path: Path, kind: str
) -> None:
    """What somebody has put in the place of a log keeps neither the container nor a reader."""
    container = logged("seq 1 200; exit 3", wait=False, path=tmp_path / "log", max_bytes=1000, max_files=2)
    assert container.wait(PATIENCE).exit_code == 3
    for name in ("log", "log.1"):
        (tmp_path / name).unlink()
        if kind == "fifo":
            os.mkfifo(tmp_path / name)
        elif kind == "directory":
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).symlink_to("/etc/passwd")
    assert list(container.logs()) == []
    assert list(container.logs(follow=True)) == []


def test_a_log_that_becomes_a_fifo(logged: Callable[..., runtime.Container], tmp_path: Path) -> None:
    """A monitor waits for nobody who might read what it finds in the place of its log."""
    (tmp_path / "aside").mkdir()
    container = logged(
        f"{SIGNALLED}; echo ready; {PAUSE}; seq 1 200; exit 3", wait=False, path=tmp_path / "log", max_files=1,
        max_bytes=100,
    )  # fmt: skip
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.mkfifo(tmp_path / "fifo")
            with contextlib.suppress(OSError):
                os.rename(tmp_path / "fifo", tmp_path / "log")

    assert next(iter(container.logs(follow=True))).data == b"ready\n"
    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    try:
        container.signal(signal.SIGUSR1)
        assert container.wait(PATIENCE).exit_code == 3
    finally:
        stop.set()
        exchanging.join()
    assert container._is_written()


def test_formats(tmp_path: Path) -> None:
    """A format that there is none of is refused where it is said."""
    with pytest.raises(ValueError, match="format"):
        LogOptions(path=tmp_path / "log", format="xml")  # type: ignore[arg-type]
