"""``NOTIFY_SOCKET``: the program of a container tells systemd that it is ready (sd_notify(3)).

A caller with this variable is a service of systemd that waits for a word. What stands in it is a socket of the host,
which no container gets: it gets one of its own, and of what is said there only ``READY=1`` is passed on, together with
the process that the service is from then on. Create makes the directory of that socket, and start listens.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from ocikit._fs import Descriptor
from ocikit.runtime.options import NOTIFY_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.runtime.container import Container
    from ocikit.spec import Spec

__all__ = ["VARIABLE", "Notifications", "told_where"]

#: The variable, of the caller as of the program.
VARIABLE: Final = "NOTIFY_SOCKET"
_SOCKET: Final = "notify.sock"
_INSIDE: Final = "/run/notify"
_READY: Final = b"READY=1"
_MESSAGE_BYTES: Final = 4096

#: How long systemd may take to say that it has read what it was told, in seconds.
_PATIENCE: Final = 30.0


def told_where(spec: Spec, root: str, container_id: str) -> Spec:
    """Tell the program of a socket; return the configuration as it is when it has no program."""
    if spec.process is None:
        return spec
    import attrs  # noqa: PLC0415 - who starts a container needs none of it

    from ocikit.spec import Mount  # noqa: PLC0415

    options = ("bind", "nosuid", "noexec", "nodev", "ro")
    mount = Mount(destination=_INSIDE, source=f"{root}/{container_id}/{NOTIFY_DIRECTORY}", options=options)
    others = (entry for entry in spec.process.env if not entry.startswith(f"{VARIABLE}="))
    spec = spec.with_process(env=(*others, f"{VARIABLE}={_INSIDE}/{_SOCKET}"))
    return attrs.evolve(spec, mounts=(*spec.mounts, mount))


class Notifications:
    """The socket of a container that is about to be started.

    Nothing at all for a container that was made without such a socket.
    """

    def __init__(self, container: Container, say: Callable[[str, str], None]) -> None:
        """Listen: what the program says from now on is kept until it is read.

        Args:
            container: The container.
            say: Is told, as a level and a text, of a systemd that does not listen.
        """
        self._container = container
        self._say = say
        self._socket: socket.socket | None = None
        path = os.path.join(container.root, container.id, NOTIFY_DIRECTORY)
        with contextlib.suppress(FileNotFoundError):
            found = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with Descriptor(found) as directory:
                self._socket = _listen(directory.fd)

    def pass_on(self, main: int) -> None:
        """Wait until the program says that it is ready, or has ended; tell systemd, and listen no longer.

        Args:
            main: The process that the service is from now on.
        """
        if self._socket is None:
            return
        with self._socket as said:
            if not self._wait(said):
                return
        try:
            _tell(os.environ[VARIABLE], main)
        except OSError as error:
            self._say("warning", f"{VARIABLE}: systemd was not told that the container is ready: {error}")

    def _wait(self, said: socket.socket) -> bool:
        with self._container._init().held() as ending:  # noqa: SLF001 - this module is a part of the runtime
            waiting = select.poll()
            waiting.register(said, select.POLLIN)
            if ending is not None:
                waiting.register(ending, select.POLLIN)
            while True:
                ready = dict(waiting.poll(0 if ending is None else None))
                if said.fileno() not in ready:
                    return False
                if _READY in said.recv(_MESSAGE_BYTES).split(b"\n"):
                    return True


def _listen(directory: int) -> socket.socket:
    # Through the descriptor: the path may be longer than that of a socket may be.
    where = f"/proc/self/fd/{directory}/{_SOCKET}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        listening.bind(where)
        os.chmod(where, 0o777)  # noqa: S103 - whoever the program runs as
    except OSError:
        listening.close()
        raise
    return listening


def _tell(address: str, main: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        systemd.send(_READY + b"\n")
        systemd.send(b"MAINPID=%d\n" % main)
        _await_reading(systemd)


def _await_reading(systemd: socket.socket) -> None:
    """Wait until it was read by whom (sd_notify_barrier(3)): who it is about may be gone right after."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with Descriptor(reading) as ours:
        with Descriptor(writing) as theirs:
            socket.send_fds(systemd, [b"BARRIER=1"], [theirs.fd])
        waiting = select.poll()
        waiting.register(ours.fd, select.POLLIN)
        waiting.poll(_PATIENCE * 1000)
