"""How further processes end, and what is left of them: nothing."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from executing import output

from ocikit import runtime
from ocikit.errors import LimitExceededError, NotExistError, NotRunningError, PausedError, RunTimeoutError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}


def test_communicating(running: runtime.Container) -> None:
    """Pipes are fed and read side by side, however much goes through them."""
    data = os.urandom(1 << 20)
    with running.exec(["sh", "-c", "cat; echo err >&2; exit 3"], stdin="pipe", stdout="pipe", stderr="pipe") as process:
        assert process.communicate(data, timeout=60) == (3, None, data, b"err\n")
    with running.exec(["cat"], stdin="pipe", stdout="pipe") as process:
        assert process.communicate(timeout=60).stdout == b""


def test_communicating_for_too_long(running: runtime.Container) -> None:
    """When its time is up it is killed, and what it wrote so far is in the error."""
    with running.exec(["sh", "-c", "echo so far; sleep 1000"], stdin="null", stdout="pipe") as process:
        with pytest.raises(RunTimeoutError) as caught:
            process.communicate(timeout=0.3)
        assert caught.value.stdout == b"so far\n"
        assert process.wait(timeout=30).signal == signal.SIGKILL
    with running.exec(["cat", "/dev/zero"], stdin="null", stdout="pipe") as process:
        with pytest.raises(LimitExceededError, match="stdout"):
            process.communicate(output_limit=1000)
        assert process.wait(timeout=30).signal == signal.SIGKILL


def test_exit_codes_and_signals(running: runtime.Container) -> None:
    """Its end is told as it was, as often as it is asked for; before it, poll says None and wait can give up."""
    process = running.exec(["sh", "-c", "read x; exit 42"], stdin="pipe")
    assert process.poll() is None
    with pytest.raises(TimeoutError):
        process.wait(timeout=0.01)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait().exit_code == 42
    assert process.poll() == process.wait()
    with pytest.raises(NotRunningError, match=str(process.pid)):
        process.signal(signal.SIGTERM)
    process.kill()
    process.close()
    ended = running.exec(["sleep", "1000"], **QUIET)
    ended.signal(signal.SIGTERM)
    assert ended.wait(timeout=30).signal == signal.SIGTERM


def test_a_block_ends_it(running: runtime.Container) -> None:
    """At the end of a with block nothing of it is left."""
    with running.exec(["sleep", "1000"], **QUIET) as process:
        assert process.poll() is None
    assert process.wait().signal == signal.SIGKILL
    assert running.processes() == [running.pid]


def test_nobody_has_to_wait_for_it(running: runtime.Container) -> None:
    """A container ends while we hold on to processes of it that we never wait for."""
    processes = [running.exec(["sleep", "1000"], **QUIET) for _ in range(3)]
    running.kill()
    assert running.wait(timeout=30).signal == signal.SIGKILL
    assert {process.wait(timeout=30).signal for process in processes} == {signal.SIGKILL}


def test_an_attendant_that_is_killed(running: runtime.Container) -> None:
    """The process goes on, and an end that nobody saw is never given a wrong code."""
    with running.exec(["sh", "-c", "read x; exit 3"], stdin="pipe") as process:
        with process.held() as attendant:
            assert attendant is not None
            signal.pidfd_send_signal(attendant, signal.SIGKILL)
            os.waitid(os.P_PIDFD, attendant, os.WEXITED | os.WNOWAIT)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(timeout=30).exit_code in {3, None}
        assert process.wait().signal is None


def test_one_that_is_forgotten_goes_on_and_is_reaped(running: runtime.Container) -> None:
    """Forgetting the object is not ending the process; that it ended is noticed with the next one."""
    process = running.exec(["sleep", "1000"], **QUIET)
    pid = process.pid
    del process
    assert pid in running.processes()
    os.kill(pid, signal.SIGKILL)
    while pid in running.processes():
        os.sched_yield()
    output(running, "true")
    output(running, "true")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("args", "number", "words"),
    [
        (["nosuch"], 2, "nosuch"),
        (["/bin"], 13, "/bin"),
        (["/etc/passwd"], 13, "/etc/passwd"),
        (["/bin/busybox/x"], 20, "/bin/busybox/x"),
    ],
)
def test_a_program_that_cannot_be_executed(
    running: runtime.Container, args: list[str], number: int, words: str
) -> None:
    """It is an error of the call, with the errno, and no process."""
    with pytest.raises(SetupError, match=words) as caught:
        running.exec(args)
    assert caught.value.errno in {number, 2}
    assert running.processes() == [running.pid]


def test_a_script_without_interpreter(
    root: Path, make_bundle: Callable[..., Path], container_id: str, rootfs: Path
) -> None:
    """What only execve can find out is an error of the call as well."""
    script = rootfs / "tmp/script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    try:
        with runtime.create(root, container_id, make_bundle(), stdin="null") as container:
            container.start()
            with pytest.raises(SetupError, match="execute '/tmp/script'"):
                container.exec(["/tmp/script"])
            assert container.processes() == [container.pid]
    finally:
        script.unlink()


def test_a_stopped_container(root: Path, obedient: Path, container_id: str) -> None:
    """There is nothing to enter in a container that has ended, or that is gone."""
    with runtime.create(root, container_id, obedient, stdin="null") as container:
        container.start()
        other = runtime.load(root, container_id)
        container.kill()
        container.wait()
        with pytest.raises(NotRunningError):
            container.exec(["true"])
        container.destroy()
        with pytest.raises((NotExistError, NotRunningError)):
            other.exec(["true"])


def test_a_paused_container(running: runtime.Container) -> None:
    """A paused container is not entered unless that is asked for; then the process runs when it is resumed."""
    running.pause()
    with pytest.raises(PausedError):
        running.exec(["true"])
    started: list[runtime.ContainerProcess] = []
    thread = threading.Thread(
        target=lambda: started.append(running.exec(["sh", "-c", "exit 6"], ignore_paused=True, **QUIET))
    )
    thread.start()
    while len(running.processes()) < 2:
        os.sched_yield()
    assert not started
    running.resume()
    thread.join(timeout=30)
    assert started[0].wait(timeout=30).exit_code == 6


def test_an_interrupted_wait_for_a_paused_container(running: runtime.Container) -> None:
    """Ctrl-C while the process is frozen on its way in leaves no process, frozen or not."""
    running.pause()
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        while len(running.processes()) < 2:
            os.sched_yield()
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        running.exec(["sleep", "1000"], ignore_paused=True, **QUIET)
    thread.join()
    running.resume()
    assert running.processes() == [running.pid]


def test_nothing_is_left_open(running: runtime.Container) -> None:
    """However a process comes and goes, no descriptor of it stays, and no child."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(10):
        with running.exec(["sh", "-c", f"exit {number}"], stdin="pipe", stdout="pipe", stderr="pipe") as process:
            process.wait(timeout=60)
        with pytest.raises(SetupError):
            running.exec(["nosuch"], **QUIET)
        with running.exec(["true"], terminal=True):
            pass
        running.exec(["true"], terminal=True).wait(timeout=60)
    del process
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    assert [pid for some in children for pid in some] == [str(running.pid)]


def test_a_forked_child_of_the_host(running: runtime.Container) -> None:
    """It neither ends nor reaps a process of its parent, and is not kept waiting by locks of its parent's threads."""
    with running.exec(["sh", "-c", "read x; exit 7"], stdin="pipe") as process:
        child = os.fork()
        if child == 0:
            with process:
                pass
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert process.poll() is None
        assert process.communicate(b"\n", timeout=60).exit_code == 7


def test_what_fails_at_once_is_told(running: runtime.Container) -> None:
    """A process that cannot be executed may be faster than its helper, which makes it known: the error is its own."""
    script = f"{running.rootfs}/bin/broken"
    with open(script, "w") as file:
        file.write("no program\n")
    os.chmod(script, 0o755)
    for _ in range(100):
        with pytest.raises(SetupError, match="execute 'broken'"):
            running.exec(["broken"], stdin="null")
    assert running.processes() == [running.pid]
