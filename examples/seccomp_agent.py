"""An agent for system calls: a program outside of the container decides what some of its calls do.

Here ``mkdir`` is refused with an error of ours, and ``sethostname`` seems to succeed while nothing happens.
``python examples/seccomp_agent.py IMAGE``, as root; IMAGE is a reference such as ``oci-archive:busybox.tar.gz``.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import sys
import tempfile
import threading
from pathlib import Path

import ocikit
from ocikit import image, runtime
from ocikit.runtime.seccomp import notifications, receive_listener
from ocikit.spec import LinuxSeccomp, LinuxSyscall

# Numbers differ between machines, and aarch64 has no mkdir.
MKDIR = {83, 258} if platform.machine() == "x86_64" else {34}
SCRIPT = "mkdir /tmp/new || echo refused; hostname other && echo believed; cat /proc/sys/kernel/hostname"


def serve(listening: socket.socket) -> None:
    """Decide for one container until nobody is left in it."""
    connection, _ = listening.accept()
    with connection:
        received = receive_listener(connection)
    print(f"agent: container {received.state.state.id}, with the metadata {received.state.metadata!r}")
    try:
        for call in notifications(received.fd):
            # Never look at what arguments point to in order to let a call go on: it can be changed meanwhile.
            if call.number in MKDIR:
                call.fail(received.fd, errno.EDQUOT)
            else:
                call.succeed(received.fd)
    finally:
        os.close(received.fd)  # from then on, such calls fail with ENOSYS


def main(work: Path, reference: str) -> None:
    """Run a container whose filter asks the agent."""
    policy = image.Policy.insecure_accept_anything()
    bundle = ocikit.bundle.create(reference, work / "bundle", policy=policy, args=["sh", "-c", SCRIPT])
    socket_path = str(work / "agent.sock")
    asked = LinuxSyscall(names=("mkdir", "mkdirat", "sethostname"), action="SCMP_ACT_NOTIFY")
    profile = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(asked,), listener_path=socket_path, listener_metadata="example"
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(socket_path)
        listening.listen()
        agent = threading.Thread(target=serve, args=(listening,), daemon=True)
        agent.start()
        spec = bundle.spec.with_linux(seccomp=profile)
        done = runtime.run(work / "state", f"ocikit-agent-{os.getpid()}", bundle, spec=spec, timeout=60)
        agent.join(10)
    print(done.stdout.decode() + done.stderr.decode(), end="")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ocikit-agent-") as directory:
        main(Path(directory), sys.argv[1])
