"""SCMP_ACT_NOTIFY: a program outside of the container is asked about system calls, and decides."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from bpf_machine import ARCHITECTURES, MACHINE
from probing import add_probe
from seccomp_profiles import NOTIFIED, arg, call, number, profile

from ocikit import runtime
from ocikit.errors import LimitExceededError, ParseError, SetupError, SystemCallError
from ocikit.runtime.seccomp import Notification, ReceivedListener, hand_over, notifications, receive_listener
from ocikit.spec import ContainerProcessState, LinuxNamespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.spec import LinuxSeccomp

GETSID = f"n:{number('getsid')}:7:8"
GETPPID = f"n:{number('getppid')}"


@pytest.fixture(scope="module")
def rootfs(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root file system with the program that makes system calls."""
    return add_probe(rootfs, tmp_path_factory.mktemp("probe") / "rootfs")


class Agent:
    """An agent in a thread: it answers every call with what a function makes of it, until that is False.

    It ends, too, when nobody is left to ask.
    """

    def __init__(self, path: Path, answer: Callable[[Notification, int], object]) -> None:
        self.path = str(path)
        self.states: list[ContainerProcessState] = []
        self.seen: list[Notification] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes an agent that nobody has connected to.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._socket.close()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            received = receive_listener(connection)
        self.states.append(received.state)
        try:
            self._ask(received)
        finally:
            os.close(received.fd)

    def _ask(self, received: ReceivedListener) -> None:
        for notification in notifications(received.fd):
            self.seen.append(notification)
            if self._answer(notification, received.fd) is False:
                return


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of the agent's socket; such paths are short."""
    return tmp_path_factory.mktemp("agent") / "s"


@pytest.fixture
def run(
    root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str], path: Path
) -> Callable[..., runtime.Completed]:
    """Run the program that makes calls, some of which the agent is asked about."""

    def notified(names: tuple[str, ...], *asked: str, **more: Any) -> runtime.Completed:
        linux = {"seccomp": notifying(path, *names)} | more.pop("linux", {})
        return runtime.run(root, new_id(), make_bundle("probe", *asked, linux=linux, **more), timeout=60)

    return notified


def notifying(path: Path, *names: str, **fields: Any) -> LinuxSeccomp:
    """Make a profile that asks an agent about some calls."""
    return profile("SCMP_ACT_ALLOW", call(*names, **NOTIFIED), listenerPath=str(path), **fields)


@pytest.mark.parametrize("nnp", [True, False])
def test_an_agent_decides(run: Callable[..., runtime.Completed], path: Path, *, nnp: bool) -> None:
    """It refuses a call, makes one up, and lets one through; the others it never hears of."""

    def answer(notification: Notification, fd: int) -> None:
        match notification.arguments[0]:
            case 7:
                notification.fail(fd, errno.ENOMEDIUM)
            case 8:
                notification.succeed(fd, 4711)
            case _:
                notification.proceed(fd)

    asked = [f"n:{number('getpgid')}:{value}" for value in (7, 8, 0)]
    with Agent(path, answer) as agent:
        done = run(("getpgid",), *asked, GETPPID, process={"no_new_privileges": nnp})
    assert done[:3] == (0, None, b"-%d\n4711\n1\n0\n" % errno.ENOMEDIUM)
    assert {one.number for one in agent.seen} == {number("getpgid")}
    assert {one.architecture for one in agent.seen} == {ARCHITECTURES[MACHINE]}
    assert all(one.pid > 0 for one in agent.seen)


def test_what_the_agent_is_told(root: Path, make_bundle: Callable[..., Path], container_id: str, path: Path) -> None:
    """The process and its container, as the specification has it."""
    seccomp = notifying(path, "getsid", listenerMetadata="some=thing")
    bundle = make_bundle("true", linux={"seccomp": seccomp}, annotations={"key": "välue"})
    with (
        Agent(path, lambda notification, fd: notification.proceed(fd)) as agent,
        runtime.create(root, container_id, bundle) as container,
    ):
        pid = container.pid
    (state,) = agent.states
    assert state.to_dict() == {
        "ociVersion": state.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "some=thing",
        "state": {
            "ociVersion": state.oci_version,
            "id": container_id,
            "status": "creating",
            "pid": pid,
            "bundle": str(bundle),
            "annotations": {"key": "välue"},
        },
    }


def test_calls_that_init_itself_makes(run: Callable[..., runtime.Completed], path: Path) -> None:
    """The agent has the listener before the first call that it is asked about, whatever that is."""
    names = ("read", "close", "openat", "execve", "capset", "sendmsg", "getsid")
    with Agent(path, lambda notification, fd: notification.proceed(fd)) as agent:
        done = run(names, GETSID, GETPPID, process={"no_new_privileges": False})
    assert (done.exit_code, done.stdout.split()[1]) == (0, b"0")
    seen = {one.number for one in agent.seen}
    assert {number(name) for name in ("read", "close", "openat", "execve", "capset", "getsid")} <= seen
    assert number("sendmsg") not in seen  # the listener itself went another way


def test_a_start_that_waits_for_an_agent_is_interrupted(
    root: Path, make_bundle: Callable[..., Path], container_id: str, path: Path
) -> None:
    """An agent that does not answer when the program is executed keeps nobody from pressing Ctrl-C."""
    over = threading.Event()

    def answer(_notification: Notification, _listener: int) -> bool:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return not over.wait(60)

    bundle = make_bundle("true", linux={"seccomp": notifying(path, "execve")})
    with Agent(path, answer):
        try:
            with pytest.raises(KeyboardInterrupt):
                runtime.run(root, container_id, bundle)
            assert list(root.iterdir()) == []
        finally:
            over.set()


def test_without_an_agent_any_more(run: Callable[..., runtime.Completed], path: Path) -> None:
    """When the agent is gone, calls fail; nobody in the container holds the listener, which would make them wait."""
    with Agent(path, lambda *_: False):
        done = run(("getsid",), GETSID, GETSID)
    assert done[:3] == (0, None, b"-%d\n" % errno.ENOSYS * 2)


def test_a_created_container_holds_no_listener(
    root: Path, make_bundle: Callable[..., Path], container_id: str, path: Path
) -> None:
    """It is the agent's alone."""
    bundle = make_bundle("true", linux={"seccomp": notifying(path, "getsid")})
    with (
        Agent(path, lambda notification, fd: notification.proceed(fd)),
        runtime.create(root, container_id, bundle) as container,
    ):
        held = [os.readlink(f"/proc/{container.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{container.pid}/fd")]
        ours = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    assert [one for one in held if "seccomp" in one] == []
    assert len([one for one in ours if "seccomp" in one]) <= 1  # the agent is a thread of ours


def test_conditions(run: Callable[..., runtime.Completed], path: Path) -> None:
    """The agent is asked only about the calls that the conditions select."""
    seccomp = profile("SCMP_ACT_ALLOW", call("getppid", args=[arg(0, "EQ", 5)], **NOTIFIED), listenerPath=str(path))
    with Agent(path, lambda notification, fd: notification.succeed(fd, 99)) as agent:
        done = run((), f"{GETPPID}:4", f"{GETPPID}:5", linux={"seccomp": seccomp})
    assert (done.stdout, len(agent.seen)) == (b"0\n99\n", 1)


# -------------------------------------------------------------------------------------------------------------- errors


def refused(run: Callable[..., runtime.Completed], root: Path) -> SetupError:
    """Return why there is no container; nothing of it is left."""
    with pytest.raises(SetupError) as caught:
        run(("getsid",), GETSID)
    assert list(root.iterdir()) == []
    return caught.value


def test_agents_that_are_not_there(run: Callable[..., runtime.Completed], root: Path, path: Path) -> None:
    """No socket, a file, and a socket that nobody listens at: each is said, with the path."""
    error = refused(run, root)
    assert (error.errno, error.filename) == (errno.ENOENT, str(path))
    assert "failed to connect with seccomp agent at" in str(error)
    path.touch()
    assert refused(run, root).errno == errno.ECONNREFUSED
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(path))
        assert refused(run, root).errno == errno.EPROTOTYPE


def test_an_agent_that_does_not_accept(
    run: Callable[..., runtime.Completed], root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr(hand_over, "_TIMEOUT", 1)
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as others:
        listening.bind(str(path))
        listening.listen(0)
        for _ in range(1):
            others.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        error = refused(run, root)
    assert error.errno == errno.ETIMEDOUT


def test_paths_that_are_too_long(run: Callable[..., runtime.Completed], root: Path) -> None:
    """The kernel has room for 107 bytes, and says nothing helpful about longer ones."""
    seccomp = notifying("/" + "x" * 107, "getsid")  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="at most 107 bytes"):
        run((), GETSID, linux={"seccomp": seccomp})
    assert list(root.iterdir()) == []


def test_an_agent_in_another_pid_namespace(run: Callable[..., runtime.Completed], path: Path) -> None:
    """A container that shares the host's pid namespace is no different."""
    shared = tuple(LinuxNamespace(type=kind) for kind in ("network", "ipc", "uts", "mount"))
    with Agent(path, lambda notification, fd: notification.fail(fd, errno.EBUSY)):
        done = run(("getsid",), GETSID, linux={"namespaces": shared, "seccomp": notifying(path, "getsid")})
    assert done.stdout == b"-%d\n" % errno.EBUSY


# ----------------------------------------------------------------------------------------------------------- receiving


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give two ends of a connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


STATE = b'{"ociVersion":"1.2.0","fds":["seccompFd"],"pid":1,"state":{"ociVersion":"1.2.0","id":"a","status":"creating","bundle":"/"}}'  # noqa: E501


def test_messages_in_parts(pair: tuple[socket.socket, socket.socket]) -> None:
    """A runtime may send its message in several parts; the descriptor is the one of that name, and not inherited."""
    ours, theirs = pair
    reader, writer = os.pipe()
    document = STATE.replace(b'["seccompFd"]', b'["other","seccompFd"]')
    ours.sendmsg([document[:10]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reader, writer]))])
    ours.sendall(document[10:])
    ours.close()
    before = len(os.listdir("/proc/self/fd"))
    received = receive_listener(theirs)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert (received.state.state.id, os.get_inheritable(received.fd)) == ("a", False)
    os.write(received.fd, b"x")
    assert os.read(reader, 1) == b"x"
    for fd in (reader, writer, received.fd):
        os.close(fd)


@pytest.mark.parametrize(
    ("document", "fds", "error"),
    [
        (b"", 1, ParseError),
        (b"{}", 1, ParseError),
        (STATE, 0, ParseError),
        (STATE, 2, ParseError),
        (STATE.replace(b"seccompFd", b"other"), 1, ParseError),
        (STATE[:-1] + b'," ":"' + b"x" * (5 << 20) + b'"}', 1, LimitExceededError),
    ],
)
def test_messages_that_are_none(
    pair: tuple[socket.socket, socket.socket], document: bytes, fds: int, error: type[Exception]
) -> None:
    """They are refused, and no descriptor is left open."""
    ours, theirs = pair
    before = len(os.listdir("/proc/self/fd"))

    def send() -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), ours:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * fds))] if fds else []
            if document:
                sent = ours.sendmsg([document], rights)
                ours.sendall(document[sent:])

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(error):
        receive_listener(theirs)
    theirs.close()
    sender.join()
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_what_is_no_listener() -> None:
    """Asking something else for notifications is an error, as is answering it."""
    with open(os.devnull, "rb") as null:
        with pytest.raises(SystemCallError, match="receive a notification of seccomp"):
            Notification.receive(null.fileno())
        made_up = Notification(1, 2, 3, 4, 5, (0,) * 6)
        for answer in (lambda fd: made_up.fail(fd, 1), made_up.succeed, made_up.proceed):
            with pytest.raises(SystemCallError, match="answer a notification of seccomp"):
                answer(null.fileno())
