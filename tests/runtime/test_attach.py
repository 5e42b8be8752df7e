"""Those who are attached to a container see what it writes, and write to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime
from ocikit.errors import DetachedError, NotExistError, NotRunningError, NotSupportedError, SystemCallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0

#: Writes a line for each that it reads.
ECHO = "while read line; do echo got $line; done; echo end >&2; exit 3"


@pytest.fixture
def kept(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> Iterator[Callable[..., Any]]:
    """Create detached containers that read what is typed by those who attach."""
    made = []

    def create(script: str, *, stdin: Any = "monitor", process: Any = None) -> runtime.Container:
        bundle = make_bundle("sh", "-c", script, process=process)
        container = runtime.create(root, new_id(), bundle, lifetime="detached", stdin=stdin)
        made.append(container)
        return container

    yield create
    for container in made:
        container.destroy(force=True)


def all_of(attachment: runtime.Attachment, stream: str) -> bytes:
    """Return what is still to be written to a stream."""
    return b"".join(chunk.data for chunk in attachment if chunk.stream == stream)


def read_until(attachment: runtime.Attachment, ending: bytes) -> bytes:
    """Read up to some bytes."""
    found = b""
    while not found.endswith(ending):
        chunk = attachment.read(PATIENCE)
        assert chunk is not None, found
        found += chunk.data
    return found


def test_a_conversation(kept: Callable[..., runtime.Container]) -> None:
    """Who attaches before the start sees everything; what is written arrives, and its end does."""
    container = kept(ECHO)
    with container.attach() as attachment:
        assert attachment.writable
        assert not attachment.terminal
        assert attachment.read(0.05) is None
        assert not attachment.ended
        container.start()
        attachment.write(b"one\n")
        assert read_until(attachment, b"\n") == b"got one\n"
        attachment.write(b"two\nthr")
        assert read_until(attachment, b"\n") == b"got two\n"
        attachment.write(b"ee\n")
        attachment.close_stdin()
        rest = list(attachment)
        assert b"".join(one.data for one in rest if one.stream == "stdout") == b"got three\n"
        assert b"".join(one.data for one in rest if one.stream == "stderr") == b"end\n"
        assert attachment.ended
        assert attachment.read() is None
    assert container.wait(PATIENCE).exit_code == 3
    with container.logs() as log:
        assert [line.text for line in log if line.stream == "stdout"] == ["got one", "got two", "got three"]


def test_several_see_the_same(kept: Callable[..., runtime.Container]) -> None:
    """Everybody who is attached sees everything, whoever it was that wrote."""
    container = kept(ECHO)
    attached = [container.attach() for _ in range(5)]
    container.start()
    for number, one in enumerate(attached):
        one.write(f"{number}\n".encode())
        for other in attached:
            assert read_until(other, b"\n") == f"got {number}\n".encode()
    attached.pop(2).close()
    attached[0].close_stdin()
    for one in attached:
        assert all_of(one, "stderr") == b"end\n"
        one.close()


def test_another_process_attaches(kept: Callable[..., runtime.Container]) -> None:
    """A container is attached to by any process that may write its state."""
    container = kept(ECHO)
    script = (
        "import sys; from ocikit import runtime\n"
        "container = runtime.load(*sys.argv[1:])\n"
        "with container.attach() as attachment:\n"
        "    container.start(); attachment.write(b'hello\\n'); attachment.close_stdin()\n"
        "    print(b''.join(chunk.data for chunk in attachment if chunk.stream == 'stdout'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, container.root, container.id],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == "b'got hello\\n'\n"


def test_a_slow_reader_is_let_go(kept: Callable[..., runtime.Container]) -> None:
    """Who does not read keeps neither the container nor the others, and is told."""
    container = kept("while read word; do head -c 50000 /dev/zero; done; exit 3")
    with container.attach() as slow, container.attach() as fast:
        container.start()
        for _ in range(200):  # no more at once than there is room for on any host: the fast one may be slow
            fast.write(b"more\n")
            left = 50_000
            while left:
                chunk = fast.read(PATIENCE)
                assert chunk is not None
                left -= len(chunk.data)
        fast.close_stdin()
        assert container.wait(PATIENCE).exit_code == 3
        with pytest.raises(DetachedError, match="fast enough"):
            all_of(slow, "stdout")
        assert slow.ended


def test_what_was_said_before_the_end_is_heard(kept: Callable[..., runtime.Container]) -> None:
    """Who writes to a container that ends meanwhile learns that, and still reads what it has written."""
    container = kept("echo hello; echo again; exit 3")
    with container.attach() as attachment:
        container.start()
        container.wait(PATIENCE)
        with pytest.raises(DetachedError, match="has ended"):
            attachment.write(b"x" * 10_000_000)
        assert all_of(attachment, "stdout") == b"hello\nagain\n"


def test_a_container_that_does_not_read(kept: Callable[..., runtime.Container]) -> None:
    """Input waits for the container, in its order; output goes on meanwhile."""
    container = kept("for i in 1 2 3; do echo $i; sleep 0.1; done; grep -c '^line [0-9]*5$'")
    data = "".join(f"line {number}\n" for number in range(200_000)).encode()
    with container.attach() as writer:
        container.start()
        writer.write(data)
        writer.close_stdin()
        found = all_of(writer, "stdout")
    assert found == b"1\n2\n3\n20000\n"


def test_input_after_the_writer_is_gone(kept: Callable[..., runtime.Container]) -> None:
    """What was written before letting go arrives; another one goes on with it."""
    container = kept(ECHO)
    with container.attach() as first:
        first.write(b"one\n")
    with container.attach() as second:
        container.start()
        second.write(b"two\n")
        second.close_stdin()
        assert all_of(second, "stdout") == b"got one\ngot two\n"


@pytest.mark.parametrize("more", [False, True], ids=["nothing more", "more output"])
def test_what_was_said_by_who_read_nothing_is_heard(kept: Callable[..., runtime.Container], *, more: bool) -> None:
    """Who writes and lets go is heard, whatever it has not read, and whatever the container writes in the meantime."""
    container = kept('echo one; read word; echo "$word"; read number; exit "$number"')
    with container.attach() as first:
        container.start()
        assert read_until(first, b"one\n") == b"one\n"
        with container.attach() as second:
            first.write(b"two\n")
            assert read_until(first, b"two\n") == b"two\n"  # the second one has it, too, and does not read it
            monitor = container._find_monitor()
            assert monitor is not None
            monitor.signal(signal.SIGSTOP)  # so that all this has happened when it looks again
            try:
                second.write(b"7\n")
                if more:
                    container.exec(["sh", "-c", "echo more > /proc/1/fd/1"]).wait(PATIENCE)
                second.close()
            finally:
                monitor.signal(signal.SIGCONT)
            assert container.wait(PATIENCE).exit_code == 7


def test_a_terminal(kept: Callable[..., runtime.Container]) -> None:
    """The terminal of a container outlives its creator with the monitor: it is typed at, resized and logged."""
    container = kept("stty size; read line; stty size; echo got $line", stdin=None, process={"terminal": True})
    assert container.console is None
    with container.attach() as attachment:
        assert attachment.terminal
        attachment.resize(40, 120)
        time.sleep(0.05)
        container.start()
        assert read_until(attachment, b"\r\n") == b"40 120\r\n"
        attachment.resize(50, 132)
        attachment.write(b"hello\n")
        assert all_of(attachment, "stdout").endswith(b"50 132\r\ngot hello\r\n")
        with pytest.raises(ValueError, match="resize"):
            attachment.resize(-1, 70000)
    assert container.wait(PATIENCE).exit_code == 0
    with container.logs() as log:
        assert [line.text for line in log][-1] == "got hello\r"


def test_output_alone(kept: Callable[..., runtime.Container]) -> None:
    """A container whose input is nothing can be watched, and not be written to."""
    container = kept("echo hello", stdin="null")
    with container.attach() as attachment:
        assert not attachment.writable
        with pytest.raises(ValueError, match='stdin="monitor"'):
            attachment.write(b"x")
        with pytest.raises(ValueError, match="terminal"):
            attachment.resize(1, 1)
        container.start()
        assert all_of(attachment, "stdout") == b"hello\n"


def test_the_end(kept: Callable[..., runtime.Container]) -> None:
    """Nobody attaches to what has ended, or was destroyed."""
    container = kept("true")
    container.start()
    container.wait(PATIENCE)
    monitor = container._find_monitor()
    assert monitor is not None
    assert monitor.wait(PATIENCE)
    with pytest.raises(NotRunningError, match="nobody can attach"):
        container.attach()
    container.destroy()
    with pytest.raises(NotExistError):
        container.attach()


def test_a_monitor_that_is_killed(kept: Callable[..., runtime.Container]) -> None:
    """Who is attached when the monitor is killed learns it."""
    container = kept(ECHO)
    container.start()
    with container.attach() as attachment:
        monitor = container._find_monitor()
        assert monitor is not None
        monitor.signal(9)
        with pytest.raises(DetachedError):
            attachment.read(PATIENCE)
        with pytest.raises(DetachedError):
            attachment.write(b"x\n" * 1_000_000)


def test_too_many(kept: Callable[..., runtime.Container], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen are attached at a time; the next one is refused when it has waited, and taken in when there is room."""
    monkeypatch.setattr("ocikit.runtime.attachment._TIMEOUT", 1.0)
    container = kept(ECHO)
    container.start()
    attached = [container.attach() for _ in range(16)]
    with pytest.raises(SystemCallError, match="sixteen"):
        container.attach()
    attached.pop().close()
    with container.attach() as late:
        late.write(b"hello\n")
        assert read_until(late, b"\n") == b"got hello\n"
    for one in attached:
        one.close()


@pytest.mark.parametrize(
    "packet", [b"", b"i", b"s", b"s\1", b"s\1\0\1", b"s\1\0\1\0\1", b"z" * 100, b"\0", b"i" * 8193, b"c" * 8193, b"x"]
)
def test_strange_words(kept: Callable[..., runtime.Container], packet: bytes) -> None:
    """What is no word of the conversation is overheard, and harms nobody."""
    container = kept(ECHO)
    container.start()
    directory = os.open(f"{container.root}/{container.id}", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger, container.attach() as attachment:
        stranger.connect(f"/proc/self/fd/{directory}/attach")
        os.close(directory)
        assert stranger.recv(100)[:1] == b"h"
        # The end of the input may be the end of the container.
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                stranger.send(packet)
        stranger.close()
        if packet[:1] != b"c":
            attachment.write(b"\n\nhello\n")
            assert b"hello\n" in read_until(attachment, b"hello\n")
        assert container.status() is runtime.Status.RUNNING or packet[:1] == b"c"


def test_forked_children_let_go(kept: Callable[..., runtime.Container]) -> None:
    """A forked child of somebody who is attached is not."""
    container = kept(ECHO)
    with container.attach() as attachment:
        number = attachment.fileno()
        child = os.fork()
        if child == 0:
            try:
                os.fstat(number)
            except OSError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


def test_sockets_are_private(kept: Callable[..., runtime.Container]) -> None:
    """Nobody else on the host can even try."""
    container = kept(ECHO)
    path = Path(container.root) / container.id / "attach"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_container_without_a_monitor(root: Path, bundle: Path, container_id: str) -> None:
    """Where there is no monitor, there is nothing to attach to."""
    with (
        runtime.create(root, container_id, bundle, stdin="null") as container,
        pytest.raises(NotSupportedError, match="nobody can attach"),
    ):
        container.attach()


def test_the_end_before_that_of_the_owner(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Who is attached to a container of this process learns of its end, and nobody attaches any more."""
    with runtime.create(root, container_id, make_bundle("echo", "one"), lifetime="process") as container:
        with container.attach() as attachment:
            container.start()
            assert list(attachment) == [("stdout", b"one\n")]
            assert attachment.ended
        with pytest.raises(NotRunningError, match="has ended"):
            container.attach()
        container.destroy()


def test_places_of_those_who_have_gone(kept: Callable[..., runtime.Container]) -> None:
    """While a container does not read its input, those who have gone keep no place from others."""
    container = kept("sleep 1000")
    container.start()
    with container.attach() as writer:
        # As much as the pipe holds, and a piece that has to wait.
        writer.write(bytes(80 << 10))
        attached = [container.attach() for _ in range(15)]
        for one in attached:
            one.write(b"x")
            one.close()
        with container.attach() as late:
            assert late.writable


def test_descriptors_that_are_sent_along(kept: Callable[..., runtime.Container]) -> None:
    """A monitor takes no descriptors of those who write to it."""
    container = kept(ECHO)
    container.start()
    monitor = container._find_monitor()
    assert monitor is not None
    with container.attach() as attachment:
        before = len(os.listdir(f"/proc/{monitor.pid}/fd"))
        with socket.socket(fileno=os.dup(attachment.fileno())) as connection:
            for _ in range(20):
                socket.send_fds(connection, [b"i"], [0, 1, 2] * 50)
        attachment.write(b"\nhello\n")
        assert read_until(attachment, b"got hello\n")
        assert len(os.listdir(f"/proc/{monitor.pid}/fd")) == before


def test_who_is_forgotten_is_closed(kept: Callable[..., runtime.Container]) -> None:
    """An attachment that nobody has any more holds no descriptor."""
    container = kept(ECHO)
    before = os.listdir("/proc/self/fd")
    container.attach()
    assert os.listdir("/proc/self/fd") == before
